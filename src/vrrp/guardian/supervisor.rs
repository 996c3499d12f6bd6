//! The guardian itself: it starts the main process, acts for it, and outlives it by some
//! milliseconds.
//!
//! Invariants: whatever ends the main process, its addresses are removed first, then priority 0 and
//! the goodbye go out, then this process ends with the main process's status. The goodbye is said
//! only of a process that is dead (reaped), never of one that is merely silent: a frozen one may be
//! thawed. Deliberately absent: an async runtime, restarting the main process (the service manager's
//! work), any decision.

use super::channel::{Buffer, Channel, ChannelError};
use super::farewell;
use super::message::{GOODBYE_LEN_MAX, Goodbye, Order, PATHS_MAX, Report};
use super::tickle::Tickler;
use crate::base::{clock, privilege, task};
use crate::vrrp::door;
use crate::vrrp::engine::{Engine, in_time};
use crate::vrrp::{EVENTS_MAX, GroupConfig, GroupStatus, VrrpEvent};
use log::{debug, error, info, warn};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::time::TimeSpec;
use nix::unistd::Pid;
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use understudy_proto::time::Mono;

/// How often the groups' status is looked at, and at most sent.
const STATUS_EVERY: Duration = Duration::from_millis(25);
/// How often the main process hears that we live, whatever happens.
const ALIVE_EVERY: Duration = Duration::from_millis(500);
/// Messages taken in one round: signals and the child's end are looked at in between.
const MESSAGES_MAX: usize = 64;
/// A main process that has closed its socket and lives on is killed after so long.
const CLOSED_MAX: Duration = Duration::from_secs(1);

/// Why there is no guardian.
#[derive(Debug, thiserror::Error)]
pub enum GuardianError {
    /// The kernel refuses what never fails.
    #[error("{what} failed: {source}; the system is out of something")]
    System {
        /// Which call.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
}

/// Starts `/proc/self/exe` with `arguments` as the main process, guards it, and returns its exit
/// code when it has ended; 128 and the signal's number where a signal ended it. To be called from
/// the main thread, while there is no other: the main process dies with this thread.
///
/// `run_dir` gets `main.pid` for as long as the main process lives.
///
/// # Errors
/// The main process could not be started.
pub fn supervise(
    arguments: impl IntoIterator<Item = std::ffi::OsString>,
    run_dir: &Path,
) -> Result<u8, GuardianError> {
    let system = |what| move |source: io::Error| GuardianError::System { what, source };
    let mut mask = SigSet::empty();
    for signal in PASSED_ON.into_iter().chain([Signal::SIGCHLD]) {
        mask.add(signal);
    }
    mask.thread_block().map_err(|e| system("sigprocmask")(e.into()))?;
    let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
    let signals = SignalFd::with_flags(&mask, flags).map_err(|e| system("signalfd")(e.into()))?;
    let (channel, theirs) = Channel::pair().map_err(|e| system("socketpair")(e.into()))?;
    let child = Command::new("/proc/self/exe")
        .arg0("understudy")
        .args(arguments)
        .stdin(Stdio::from(theirs))
        .spawn()
        .map_err(system("starting the main process"))?;
    let pid_file = write_pid(run_dir, child.id());
    be_privileged();
    let supervisor = Supervisor {
        run_dir: run_dir.to_owned(),
        child,
        channel: Arc::new(channel),
        signals,
        engine: None,
        goodbye: None,
        tickler: Tickler::default(),
        buffer: Buffer::default(),
        said: Mono::default(),
        looked: Mono::default(),
        closed: None,
        left: false,
    };
    let status = supervisor.guard();
    if let Some(path) = pid_file
        && let Err(e) = fs::remove_file(&path)
    {
        debug!(path:% = path.display(), err:% = e; "file of the process id not removed");
    }
    log::logger().flush();
    Ok(code(status))
}

/// Signals that the main process gets, which then stops in good order.
const PASSED_ON: [Signal; 3] = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP];

/// What is good to have: to run in time, not to be swapped out, and to end without a core: the end
/// takes the main process along. The main process was started
/// before, and has none of it.
fn be_privileged() {
    let granted = [
        ("name", prctl::set_name(c"guardian")),
        ("no core", privilege::no_core()),
        ("locked memory", privilege::lock_memory()),
    ];
    for (what, answer) in granted {
        if let Err(errno) = answer {
            debug!(reason = what, err:% = errno; "the guardian goes on without");
        }
    }
    in_time();
}

/// So that tests and people can end the main process alone.
fn write_pid(run_dir: &Path, pid: u32) -> Option<PathBuf> {
    let path = run_dir.join("main.pid");
    let new = run_dir.join("main.pid.new");
    let written = fs::create_dir_all(run_dir)
        .and_then(|()| fs::write(&new, format!("{pid}\n")))
        .and_then(|()| fs::rename(&new, &path));
    if let Err(e) = written {
        warn!(path:% = path.display(), err:% = e; "the main process's id cannot be written down");
        return None;
    }
    Some(path)
}

/// An exit code as shells give it.
fn code(status: ExitStatus) -> u8 {
    let number = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    number.and_then(|n| u8::try_from(n).ok()).unwrap_or(1)
}

struct Supervisor {
    run_dir: PathBuf,
    child: Child,
    channel: Arc<Channel>,
    signals: SignalFd,
    engine: Option<Running>,
    goodbye: Option<Goodbye>,
    tickler: Tickler,
    buffer: Buffer,
    /// When the main process was last told anything.
    said: Mono,
    /// When the status was last looked at.
    looked: Mono,
    /// When the main process closed its end.
    closed: Option<Mono>,
    /// An address may still be here although its groups have ended.
    left: bool,
}

/// The groups of one `Start`.
struct Running {
    run: u64,
    engine: Engine,
    reported: Vec<GroupStatus>,
}

impl Supervisor {
    /// Until the main process has ended and everything is said and done for it.
    fn guard(mut self) -> ExitStatus {
        loop {
            self.wait();
            self.pass_signals_on();
            self.listen();
            match self.child.try_wait() {
                Ok(None) => {}
                Ok(Some(status)) => {
                    self.bury(status);
                    return status;
                }
                Err(e) => {
                    error!(err:% = e, runbook = "guardian-gone"; "the main process cannot be waited for")
                }
            }
            self.report();
            if let Some(running) = &self.engine {
                self.tickler.work(&running.engine.status(), clock::mono());
            }
        }
    }

    /// Sleeps until a message, a signal, or time for the next report.
    fn wait(&self) {
        let now = clock::mono();
        let mut next = self.said.after(ALIVE_EVERY);
        if self.engine.is_some() {
            let look = self.looked.after(STATUS_EVERY);
            next = next.min(look).min(self.tickler.next(now).unwrap_or(look));
        }
        let mut fds = vec![PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
        if self.closed.is_none() {
            fds.push(PollFd::new(self.channel.as_fd(), PollFlags::POLLIN));
        }
        match ppoll(&mut fds, Some(TimeSpec::from(next.since(now).min(ALIVE_EVERY))), None) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => {
                warn!(err:% = errno; "the guardian cannot wait");
                std::thread::sleep(Duration::from_millis(1)); // Out of memory: no busy loop.
            }
        }
    }

    fn pass_signals_on(&self) {
        while let Ok(Some(found)) = self.signals.read_signal() {
            let signal = i32::try_from(found.ssi_signo).ok().and_then(|n| n.try_into().ok());
            if let Some(signal) = signal.filter(|signal| PASSED_ON.contains(signal)) {
                self.kill(signal);
            }
        }
    }

    /// Not reaped yet, so the id is still the main process's.
    fn kill(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).map(Pid::from_raw);
        if let Ok(pid) = pid
            && let Err(errno) = kill(pid, signal)
        {
            debug!(err:% = errno; "the main process takes no signal");
        }
    }

    fn listen(&mut self) {
        for _ in 0..MESSAGES_MAX {
            if self.closed.is_some() {
                break;
            }
            match self.channel.receive_with(&mut self.buffer) {
                Ok(Some((order, descriptors))) => self.obey(order, &descriptors),
                Ok(None) => break,
                Err(error) => {
                    // It has ended, or what speaks is not our program any more.
                    if !matches!(error, ChannelError::Closed) {
                        error!(err:% = error, runbook = "guardian-gone"; "the main process speaks nonsense");
                        self.kill(Signal::SIGKILL);
                    }
                    self.closed = Some(clock::mono());
                    self.end();
                }
            }
        }
        if self.closed.is_some_and(|at| clock::mono().since(at) > CLOSED_MAX) {
            self.kill(Signal::SIGKILL);
        }
    }

    fn obey(&mut self, order: Order, descriptors: &[OwnedFd]) {
        let engine = self.engine.as_ref().map(|running| &running.engine);
        match (order, engine) {
            (Order::Start { run, configs }, _) => self.start(run, configs),
            (Order::Stand(stand), Some(engine)) => engine.stand(stand),
            (Order::Pulse { until }, Some(engine)) => engine.pulse(until),
            (Order::Claim(claim), Some(engine)) => engine.claim(claim),
            (Order::Peer(words), Some(engine)) => engine.hear_peer(words),
            (Order::Tickle(connections), Some(_)) => {
                self.tickler.add(connections, clock::mono());
            }
            (Order::Goodbye(goodbye), _) => {
                let fits =
                    goodbye.datagram.len() <= GOODBYE_LEN_MAX && goodbye.paths.len() <= PATHS_MAX;
                self.goodbye = fits.then_some(goodbye);
            }
            (Order::Reunion, Some(engine)) => engine.reunite(),
            (Order::HoldNewcomers, Some(engine)) => engine.hold_newcomers(),
            (Order::Door { number, closed, listeners }, _) => {
                let whole = descriptors.len() == listeners;
                let all = if whole { Ok(()) } else { Err(Errno::EMFILE.into()) };
                let done = door::set(descriptors, closed).and(all);
                let refused = done.err().map(|e| e.to_string());
                self.say(&Report::Door { number, refused });
            }
            (Order::Stop { run }, engine) => {
                if let Some(engine) = engine {
                    engine.stop_in_order();
                }
                self.end();
                self.say(&Report::Stopped { run });
            }
            (
                Order::Stand(_)
                | Order::Pulse { .. }
                | Order::Claim(_)
                | Order::Peer(_)
                | Order::Tickle(_)
                | Order::Reunion
                | Order::HoldNewcomers,
                None,
            ) => {}
        }
    }

    /// Removes the addresses and sends priority 0.
    fn end(&mut self) {
        if let Some(Running { engine, .. }) = self.engine.take() {
            engine.stop();
            self.left = engine.left_address();
        }
    }

    fn start(&mut self, run: u64, configs: Vec<GroupConfig>) {
        self.end(); // Of the image before an exec.
        let (sender, events) = mpsc::channel(EVENTS_MAX);
        match Engine::start(configs, sender, Some(&self.run_dir)) {
            Ok(engine) => {
                let channel = self.channel.clone();
                drop(task::thread("events", move || pump(run, events, &channel)));
                self.engine = Some(Running { run, engine, reported: Vec::new() });
                self.looked = Mono::default();
                self.report(); // The first status is there before the answer.
                self.say(&Report::Started { run });
                if let Err(errno) = privilege::lock_memory() {
                    debug!(reason = "locked memory", err:% = errno; "the guardian goes on without");
                }
            }
            Err(e) => self.say(&Report::Refused { run, reason: e.to_string() }),
        }
    }

    /// Says how things are, when they have changed, and that we live.
    fn report(&mut self) {
        let now = clock::mono();
        if let Some(running) = &mut self.engine
            && now.since(self.looked) >= STATUS_EVERY
        {
            self.looked = now;
            let groups = running.engine.status();
            if groups != running.reported {
                let report = Report::Status { run: running.run, groups: groups.clone() };
                if matches!(self.channel.try_send(&report), Ok(true)) {
                    running.reported = groups;
                    self.said = now;
                }
            }
        }
        if now.since(self.said) >= ALIVE_EVERY {
            self.say(&Report::Alive);
        }
    }

    /// Without waiting: a main process that does not read now will not miss a report.
    fn say(&mut self, report: &Report) {
        self.said = clock::mono();
        match self.channel.try_send(report) {
            Ok(true) | Err(ChannelError::Closed) => {}
            Ok(false) => debug!("the main process does not read"),
            Err(error) => warn!(err:% = error; "the main process could not be told something"),
        }
    }

    /// The main process is dead.
    fn bury(&mut self, status: ExitStatus) {
        // Its last words may still be in the socket: a goodbye counts.
        while let Ok(Some(order)) = self.channel.receive(&mut self.buffer) {
            if let Order::Goodbye(_) = order {
                self.obey(order, &[]);
            }
        }
        self.end();
        if self.left {
            // A goodbye says that the addresses are gone: it would be a lie.
            error!(runbook = "address-left"; "no goodbye: an address may still be here");
        } else if let Some(goodbye) = &self.goodbye {
            farewell::send(goodbye);
        }
        if status.success() {
            info!("the main process has ended, and so does its guardian");
        } else {
            error!(reason:% = status, runbook = "process-abort";
                "the main process has ended, and so does its guardian");
        }
    }
}

/// Carries events to the main process. It waits while that does not read: the thread "vrrp" then
/// keeps the last word of each kind.
fn pump(run: u64, mut events: mpsc::Receiver<VrrpEvent>, channel: &Channel) {
    in_time();
    while let Some(event) = events.blocking_recv() {
        if let Err(error) = channel.send(&Report::Event { run, event }) {
            debug!(err:% = error; "an event does not reach the main process");
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_those_of_shells() {
        assert_eq!(code(ExitStatus::from_raw(0)), 0);
        assert_eq!(code(ExitStatus::from_raw(4 << 8)), 4);
        assert_eq!(code(ExitStatus::from_raw(9)), 137);
    }
}
