//! An appliance of the bench: a host, a data directory, a configuration, and the real binary.
//!
//! An appliance may be several processes: all that live in its host are its own. Invariants: a
//! process is ended by its own id and by nothing broader, and ends with the lab (`setpriv
//! --pdeathsig`), for which it must be started by the main thread. What an operator would
//! type goes through the command line; only the status, asked many times a second, is read from the
//! control socket itself. Absent on purpose: any knowledge of what lies in the data directory,
//! except the authority's certificate, which clients need.

use crate::net::{self, FLOATING, Host};
use crate::steady;
use crate::timeline::{Timeline, Tone};
use crate::witness::Witness;
use crate::{Context, LabError, Options, Result, fail, interrupt, now, pause, wait_for};
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::signal::{Signal, kill};
use nix::sys::statvfs::statvfs;
use nix::unistd::Pid;
use serde_json::Value;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

/// How long a process may take to begin to answer.
const START_MAX: Duration = Duration::from_secs(60);
/// How long the pair may take to stand where it should.
pub(crate) const PAIR_MAX: Duration = Duration::from_secs(60);
/// How long an answer on the control socket may take.
const ANSWER_MAX: Duration = Duration::from_secs(1);
/// How long SIGTERM may take.
const STOP_MAX: Duration = Duration::from_secs(10);
/// How long the rest of an appliance may live after its main process.
const BURY_MAX: Duration = Duration::from_secs(2);

/// Where one appliance says it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Status {
    /// PAIR, JOINING, SOLO, RECOVERING, BRANCHED.
    pub(crate) state: String,
    /// primary, standby, none.
    pub(crate) role: String,
    /// Whether losing one appliance now loses nothing.
    pub(crate) rpo_zero: bool,
    /// The reign.
    pub(crate) epoch: u64,
    /// The peer's address over which the log goes.
    pub(crate) session: Option<String>,
}

impl Status {
    /// Reads a report.
    ///
    /// # Errors
    /// It lacks what every report says.
    pub(crate) fn read(report: &Value) -> Result<Self> {
        let text = |key: &str| {
            let value = report.get(key).and_then(Value::as_str).map(str::to_owned);
            value.ok_or_else(|| LabError(format!("status without {key}: {report}")))
        };
        let paths = report.get("paths").and_then(Value::as_array).into_iter().flatten();
        let mut carrying =
            paths.filter(|p| p.get("session").and_then(Value::as_bool).unwrap_or_default());
        Ok(Self {
            state: text("state")?,
            role: text("role")?,
            rpo_zero: report.get("rpo_zero").and_then(Value::as_bool).unwrap_or_default(),
            epoch: report.get("epoch").and_then(Value::as_u64).unwrap_or_default(),
            session: carrying
                .next()
                .and_then(|p| p.get("peer"))
                .and_then(Value::as_str)
                .map(str::to_owned),
        })
    }

    /// Whether it is the primary.
    pub(crate) fn is_primary(&self) -> bool {
        self.role == "primary"
    }

    /// `SOLO primary`.
    pub(crate) fn words(&self) -> String {
        if self.role == "none" {
            self.state.clone()
        } else {
            format!("{} {}", self.state, self.role)
        }
    }
}

/// The control socket of an appliance.
#[derive(Clone, Debug)]
pub(crate) struct Control(PathBuf);

impl Control {
    /// Where it stands.
    ///
    /// # Errors
    /// It does not run, or does not answer within a second.
    pub(crate) fn status(&self) -> Result<Status> {
        let mut socket = UnixStream::connect(&self.0).context("control socket")?;
        socket.set_read_timeout(Some(ANSWER_MAX)).context("timeout")?;
        socket.write_all(b"{\"cmd\":\"status\"}\n").context("control socket")?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer).context("control socket")?;
        let answer: Value = serde_json::from_str(&answer).context("status")?;
        match answer.pointer("/ok/status") {
            Some(report) => Status::read(report),
            None => fail(format!("status: {answer}")),
        }
    }
}

/// How the appliances of a pair are set up.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    /// How long a returning appliance must hold before it counts.
    pub(crate) stability_ms: u32,
    /// More lines for `[store]`.
    pub(crate) store: String,
    /// More lines for `[pair]`.
    pub(crate) pair: String,
    /// Who gets a disk whose size can be changed.
    pub(crate) small_disk: Option<Host>,
    /// Whether a witness arbitrates.
    pub(crate) witness: bool,
    /// Whether each appliance has a core for itself, as it would on a machine of its own.
    pub(crate) own_core: bool,
}

impl Setup {
    /// Nothing special.
    pub(crate) fn calm(stability_ms: u32) -> Self {
        Self {
            stability_ms,
            store: "segment_mib = 16\n".to_owned(),
            pair: String::new(),
            small_disk: None,
            witness: false,
            own_core: false,
        }
    }
}

/// A disk whose size can be changed: a tmpfs in the lab's own mount namespace.
#[derive(Debug)]
pub(crate) struct Disk(PathBuf);

impl Disk {
    /// More than any run needs: only what is used takes memory.
    const ROOMY: &str = "size=8g";

    fn mount(at: &Path) -> Result<Self> {
        let none = MsFlags::empty();
        mount(Some("tmpfs"), at, Some("tmpfs"), none, Some(Self::ROOMY)).context(at.display())?;
        Ok(Self(at.to_owned()))
    }

    fn resize(&self, size: &str) -> Result<()> {
        let (none, remount) = (None::<&str>, MsFlags::MS_REMOUNT);
        mount(none, &self.0, none, remount, Some(size)).context("resize of a disk")
    }

    /// Leaves so many KiB of it.
    pub(crate) fn shrink(&self, left_kib: u64) -> Result<()> {
        let is = statvfs(&self.0).context(self.0.display())?;
        let used = is.blocks().saturating_sub(is.blocks_free()).saturating_mul(is.fragment_size());
        self.resize(&format!("size={}k", used.div_ceil(1024).saturating_add(left_kib)))
    }

    /// Makes it roomy again.
    pub(crate) fn grow(&self) -> Result<()> {
        self.resize(Self::ROOMY)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: a process that just ended may still be on it. The mount ends with the lab anyway.
        umount2(&self.0, MntFlags::MNT_DETACH).unwrap_or_default();
    }
}

/// What of an appliance a signal is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    /// The process that holds the data.
    Main,
    /// Every process.
    All,
}

impl Part {
    /// `the main process of`, `all of`.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Main => "the main process of",
            Self::All => "all of",
        }
    }
}

/// Sends a signal; who is gone already does not matter.
fn signal_all(pids: &[Pid], signal: Signal) -> Result<()> {
    for pid in pids {
        match kill(*pid, signal) {
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(e) => return fail(format!("signal to {pid}: {e}")),
        }
    }
    Ok(())
}

/// One appliance.
#[derive(Debug)]
pub(crate) struct Appliance {
    host: Host,
    dir: PathBuf,
    binary: PathBuf,
    child: Option<Child>,
    disk: Option<Disk>,
    /// The only core that it may use.
    core: Option<usize>,
}

impl Appliance {
    /// Writes its configuration into `dir/<host>`, which must not exist.
    ///
    /// # Errors
    /// The folder is there already or cannot be made.
    fn new(host: Host, dir: &Path, binary: &Path, setup: &Setup) -> Result<Self> {
        let dir = dir.join(host.name());
        fs::create_dir(&dir).context(dir.display())?;
        let data = dir.join("data");
        fs::create_dir(&data).context(dir.display())?;
        let disk = match setup.small_disk {
            Some(small) if small == host => Some(Disk::mount(&data)?),
            _ => None,
        };
        let core = setup.own_core.then(|| steady::core_of(host));
        let appliance = Self { host, dir, binary: binary.to_owned(), child: None, disk, core };
        fs::write(appliance.config(), appliance.text(setup)).context("configuration")?;
        Ok(appliance)
    }

    fn text(&self, setup: &Setup) -> String {
        let Setup { stability_ms, store, pair, .. } = setup;
        let peer = self.host.peer();
        format!(
            "data_dir = \"{data}\"\n\
             hostname = \"mx.customer.example\"\n\
             \n\
             [listen]\n\
             addresses = [\"{FLOATING}\"]\n\
             \n\
             [management]\n\
             address = \"127.0.0.1:9100\"\n\
             \n\
             [store]\n\
             reserve_mib = 64\n\
             {store}\
             \n\
             [pair]  # the cross-link first, then the service network\n\
             listen = [\"{}:7400\", \"{}:7400\"]\n\
             peer = [\"{}:7400\", \"{}:7400\"]\n\
             stability_ms = {stability_ms}\n\
             {pair}\
             \n\
             [[vrrp]]\n\
             interface = \"service\"\n\
             vrid = 51\n\
             address = [\"{FLOATING}/24\"]\n\
             advert_ms = 100\n",
            self.host.link(),
            self.host.service(),
            peer.link(),
            peer.service(),
            data = self.data().display(),
        )
    }

    fn config(&self) -> PathBuf {
        self.dir.join("understudy.toml")
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// Its small disk, where it has one.
    pub(crate) fn disk(&self) -> Option<&Disk> {
        self.disk.as_ref()
    }

    /// Whether it is being given a full copy.
    pub(crate) fn is_receiving(&self) -> bool {
        self.data().join("incoming").is_dir()
    }

    /// Its log.
    pub(crate) fn log(&self) -> PathBuf {
        self.dir.join("log.txt")
    }

    /// The certificate that its clients are to trust.
    pub(crate) fn authority(&self) -> PathBuf {
        self.data().join("tls").join("ca.pem")
    }

    /// Its control socket.
    pub(crate) fn control(&self) -> Control {
        Control(self.data().join("control.sock"))
    }

    /// Starts it and waits until it answers. Its log grows over several starts.
    ///
    /// # Errors
    /// It ends at once, or does not answer.
    pub(crate) fn start(&mut self) -> Result<()> {
        let log = File::options().create(true).append(true).open(self.log()).context("log")?;
        let mut command = match self.core {
            None => net::command(self.host, &self.binary),
            // It replaces itself, too: the process id stays.
            Some(core) => {
                let mut command = net::command(self.host, Path::new("taskset"));
                command.args(["--cpu-list", &core.to_string()]).arg(&self.binary);
                command
            }
        };
        command.arg("run").arg("--config").arg(self.config());
        // A group of its own: the terminal's Ctrl-C is for the lab.
        command.process_group(0).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let child = interrupt::unblocked(|| command.spawn());
        self.child = Some(child.context(self.binary.display())?);
        let control = self.control();
        wait_for(&format!("{} answers", self.host), START_MAX, || {
            self.must_live()?;
            Ok(control.status().is_ok())
        })
    }

    /// Its process id, while it runs.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Fails when the process has ended by itself.
    pub(crate) fn must_live(&mut self) -> Result<()> {
        let Some(child) = self.child.as_mut() else { return Ok(()) };
        match child.try_wait().context("wait")? {
            None => Ok(()),
            Some(status) => fail(format!("{} ended by itself ({status})", self.host)),
        }
    }

    /// The process that we started.
    fn child_pid(&self) -> Result<Pid> {
        let Some(child) = self.child.as_ref() else {
            return fail(format!("{} does not run", self.host));
        };
        Ok(Pid::from_raw(i32::try_from(child.id()).context("process id")?))
    }

    /// The process that holds the data, as it says itself; else the one that we started.
    pub(crate) fn main_pid(&self) -> Result<Pid> {
        let text = fs::read_to_string(self.data().join("run").join("main.pid")).unwrap_or_default();
        match text.trim().parse().map(Pid::from_raw) {
            // A file of an earlier life names nobody, or somebody else.
            Ok(pid) if net::processes(self.host)?.contains(&pid) => Ok(pid),
            _ => self.child_pid(),
        }
    }

    /// All its processes, the one that holds the data last: nobody is to hear of its end in time
    /// to say something.
    pub(crate) fn pids(&self) -> Result<Vec<Pid>> {
        let main = self.main_pid()?;
        let mut all = net::processes(self.host)?;
        all.retain(|pid| *pid != main);
        all.push(main);
        Ok(all)
    }

    /// Sends a signal to the main process alone, or to all.
    pub(crate) fn signal(&self, signal: Signal, part: Part) -> Result<()> {
        let pids = match part {
            Part::Main => vec![self.main_pid()?],
            Part::All => self.pids()?,
        };
        signal_all(&pids, signal)
    }

    /// SIGKILL of everything. Returns when all is gone and its sockets are closed.
    pub(crate) fn kill(&mut self) -> Result<()> {
        let pids = self.pids()?;
        self.kill_these(&pids)
    }

    /// [`Self::kill`] with the processes looked up before.
    pub(crate) fn kill_these(&mut self, pids: &[Pid]) -> Result<()> {
        signal_all(pids, Signal::SIGKILL)?;
        self.bury()
    }

    /// SIGKILL of the main process alone. Whoever else there is may do what it thinks right.
    pub(crate) fn crash(&self) -> Result<()> {
        self.signal(Signal::SIGKILL, Part::Main)
    }

    /// Waits until an appliance that lost its main process has ended by itself; ends what is left.
    pub(crate) fn bury(&mut self) -> Result<()> {
        let host = self.host;
        let end = now() + BURY_MAX;
        while !net::processes(host)?.is_empty() && now() < end {
            if let Some(child) = self.child.as_mut() {
                child.try_wait().context("wait")?;
            }
            pause(Duration::from_millis(5))?;
        }
        signal_all(&net::processes(host)?, Signal::SIGKILL)?;
        self.reap()
    }

    fn reap(&mut self) -> Result<()> {
        if let Some(mut child) = self.child.take() {
            child.wait().context("wait")?;
        }
        Ok(())
    }

    /// SIGTERM, as a service manager stops it.
    pub(crate) fn stop(&mut self) -> Result<()> {
        signal_all(&[self.child_pid()?], Signal::SIGTERM)?;
        let host = self.host;
        let Some(child) = self.child.as_mut() else { return Ok(()) };
        wait_for(&format!("{host} stops"), STOP_MAX, || {
            Ok(child.try_wait().context("wait")?.is_some())
        })?;
        self.reap()
    }

    /// What an operator types: `understudy <arguments> --config …`. Gives what it prints.
    ///
    /// # Errors
    /// It refuses; the words are its own.
    pub(crate) fn cli(&self, arguments: &[&str]) -> Result<String> {
        self.cli_with_input(arguments, "")
    }

    /// [`Self::cli`] with something on standard input, where secrets go.
    pub(crate) fn cli_with_input(&self, arguments: &[&str], input: &str) -> Result<String> {
        let typed = format!("understudy {} (on {})", arguments.join(" "), self.host);
        let mut child = self.type_in(arguments)?;
        if let Some(mut stdin) = child.stdin.take()
            && let Err(e) = stdin.write_all(input.as_bytes())
            && !input.is_empty()
        {
            return fail(format!("{typed}: {e}"));
        }
        let output = child.wait_with_output().context(&typed)?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
        }
        fail(format!("{typed}: {}", String::from_utf8_lossy(&output.stderr).trim()))
    }

    /// Types a command without waiting for its end.
    pub(crate) fn type_in(&self, arguments: &[&str]) -> Result<Child> {
        let mut command = net::command(self.host, &self.binary);
        command.args(arguments).arg("--config").arg(self.config());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        interrupt::unblocked(|| command.spawn()).context(self.binary.display())
    }

    /// Whether it runs; one that has ended by itself is gone afterwards.
    pub(crate) fn runs(&mut self) -> Result<bool> {
        let Some(child) = self.child.as_mut() else { return Ok(false) };
        if child.try_wait().context("wait")?.is_some() {
            self.bury()?;
        }
        Ok(self.child.is_some())
    }

    /// The last lines of its log.
    pub(crate) fn last_words(&self, lines: usize) -> String {
        let text = fs::read(self.log()).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let all: Vec<&str> = text.lines().collect();
        let last = all.iter().skip(all.len().saturating_sub(lines));
        last.map(|line| format!("    {line}\n")).collect()
    }
}

impl Drop for Appliance {
    fn drop(&mut self) {
        let ended = net::processes(self.host).and_then(|p| signal_all(&p, Signal::SIGKILL));
        if let Err(e) = ended.and_then(|()| self.reap()) {
            crate::timeline::error(&format!("{} may still run: {e}", self.host));
        }
    }
}

/// Both of them.
#[derive(Debug)]
pub(crate) struct Pair {
    pub(crate) a: Appliance,
    pub(crate) b: Appliance,
    pub(crate) witness: Option<Witness>,
}

impl Pair {
    /// Forms a pair as an operator does, and waits until both say PAIR.
    ///
    /// # Errors
    /// A command is refused, or the pair does not come together.
    pub(crate) fn form(
        options: &Options,
        dir: &Path,
        setup: &Setup,
        tale: &Timeline,
    ) -> Result<Self> {
        let a = Appliance::new(Host::A, dir, &options.binary, setup)?;
        let b = Appliance::new(Host::B, dir, &options.binary, setup)?;
        let mut pair = Self { a, b, witness: None };
        let formed = pair.join(tale).and_then(|()| {
            if setup.witness { pair.trust_witness(options, dir, tale) } else { Ok(()) }
        });
        if formed.is_err() {
            pair.report_logs();
        }
        formed.map(|()| pair)
    }

    fn join(&mut self, tale: &Timeline) -> Result<()> {
        self.a.cli(&["pair", "init"])?;
        tale.say(Tone::Plain, "understudy pair init on A, then run");
        self.a.start()?;
        let token = self.a.cli(&["pair", "token"])?;
        self.b.cli_with_input(&["pair", "join"], &token)?;
        tale.say(Tone::Plain, "understudy pair join on B with A's one-time token, then run");
        self.b.start()?;
        self.settle("the pair comes together")
    }

    /// Gives a formed pair a witness, as an operator does: its pin into both files, the pair's into
    /// its own, and both started again.
    fn trust_witness(&mut self, options: &Options, dir: &Path, tale: &Timeline) -> Result<()> {
        let (mut witness, section) = Witness::init(options, dir)?;
        witness.admit(&self.a.cli(&["pair", "show"])?)?;
        witness.start()?;
        self.witness = Some(witness);
        tale.say(Tone::Plain, "understudy witness on a third host; both appliances are told of it");
        for appliance in [&mut self.a, &mut self.b] {
            let path = appliance.config();
            let text = fs::read_to_string(&path).context(path.display())?;
            // Before the first [[vrrp]]: it belongs to [pair].
            let text = text.replacen("\n[[vrrp]]", &format!("{section}\n[[vrrp]]"), 1);
            fs::write(&path, text).context(path.display())?;
        }
        // The standby first, so that nothing moves but once.
        let primary = self.primary().unwrap_or(Host::A);
        for host in [primary.peer(), primary] {
            self.of_mut(host).stop()?;
        }
        self.a.start()?;
        self.b.start()?;
        self.settle("the pair comes together with its witness")
    }

    /// That appliance.
    pub(crate) fn of(&self, host: Host) -> &Appliance {
        if host == Host::B { &self.b } else { &self.a }
    }

    /// That appliance.
    pub(crate) fn of_mut(&mut self, host: Host) -> &mut Appliance {
        if host == Host::B { &mut self.b } else { &mut self.a }
    }

    /// Which is the primary now, if exactly one says so.
    pub(crate) fn primary(&self) -> Option<Host> {
        let is = |a: &Appliance| a.control().status().is_ok_and(|s| s.is_primary());
        match (is(&self.a), is(&self.b)) {
            (true, false) => Some(Host::A),
            (false, true) => Some(Host::B),
            _ => None,
        }
    }

    /// Waits until both say PAIR and one of them is the primary; says which.
    pub(crate) fn settle(&mut self, what: &str) -> Result<()> {
        self.settle_within(what, PAIR_MAX, |_| {})
    }

    /// [`Self::settle`] with a limit of one's own, and something to look at meanwhile.
    pub(crate) fn settle_within(
        &mut self,
        what: &str,
        limit: Duration,
        mut look: impl FnMut(&Self),
    ) -> Result<()> {
        wait_for(what, limit, || {
            look(self);
            self.a.must_live()?;
            self.b.must_live()?;
            self.witness.as_mut().map_or(Ok(()), Witness::must_live)?;
            let (a, b) = (self.a.control().status(), self.b.control().status());
            let (Ok(a), Ok(b)) = (a, b) else { return Ok(false) };
            Ok(a.state == "PAIR" && b.state == "PAIR" && a.is_primary() != b.is_primary())
        })
    }

    /// Waits until `host` is the primary.
    pub(crate) fn wait_primary(&mut self, host: Host) -> Result<()> {
        wait_for(&format!("{host} becomes primary"), PAIR_MAX, || {
            self.of_mut(host).must_live()?;
            Ok(self.of(host).control().status().is_ok_and(|s| s.is_primary()))
        })
    }

    /// Prints the ends of both logs, for somebody who has to find out.
    pub(crate) fn report_logs(&self) {
        if interrupt::came() {
            return;
        }
        for appliance in [&self.a, &self.b] {
            let log = appliance.log();
            let words = appliance.last_words(12);
            crate::timeline::print(&format!(
                "\nlast lines of {} ({}):\n{words}",
                appliance.host,
                log.display()
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read() {
        let report = serde_json::json!({
            "state": "PAIR", "role": "primary", "rpo_zero": true, "epoch": 3,
            "paths": [
                {"peer": "10.77.1.2:7400", "reachable": false, "session": false},
                {"peer": "10.77.0.2:7400", "reachable": true, "session": true}
            ]
        });
        let status = Status::read(&report).unwrap();
        assert!(status.is_primary() && status.rpo_zero);
        assert_eq!(status.words(), "PAIR primary");
        assert_eq!(status.session.as_deref(), Some("10.77.0.2:7400"));
    }

    #[test]
    fn an_answer_without_a_state_is_no_status() {
        assert!(Status::read(&serde_json::json!({"role": "none"})).is_err());
    }
}
