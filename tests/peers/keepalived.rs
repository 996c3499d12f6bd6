//! Our virtual router and Debian's keepalived on one link, each in its own namespace.
//!
//! Ours runs as a process of its own (this test binary, started again), so that it can be killed
//! and frozen. It prints what it reports; it is told where to stand through its standard input.

use super::link::{INTERFACE, Link};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;
use tempfile::TempDir;
use understudy::base::{clock::mono, task};
use understudy::vrrp::{GroupConfig, Interval, Priority, Stand, Vrrp};
use understudy_proto::time::Mono;

const A: usize = 0;
const B: usize = 1;
const VIP: &str = "10.99.0.100";

/// 3 x 100 ms + 156/256 x 100 ms: priority 100 gives up.
const DOWN: Duration = Duration::from_micros(360_937);
/// The skew of priority 100 alone.
const SKEW: Duration = Duration::from_micros(60_937);
const INTERVAL: Duration = Duration::from_millis(100);
/// What a loaded machine of two cores and `ip` as a looking glass add.
const SLACK: Duration = Duration::from_millis(250);
/// For what has no theoretical time.
const LONG: Duration = Duration::from_secs(5);

#[test]
fn keepalived_obeys_our_adverts_and_takes_over_when_we_are_killed() {
    let link = Link::new(["10.99.0.1/24", "10.99.0.2/24"]);
    let _peer = Keepalived::start(&link, B, 100);
    link.wait(B, VIP, true, LONG);

    let mut ours = Ours::start(&link, A);
    ours.told("HeardActive { source: 10.99.0.2, priority: 100 }", LONG);
    let (asked, active) = (ours.tell("holder"), ours.told("Entered(Active)", LONG));
    println!(
        "stand(Holder): {:?} to the thread, {:?} to us",
        active.since(asked),
        mono().since(asked)
    );
    assert!(mono().since(asked) < Duration::from_millis(50));
    let yielded = link.wait(B, VIP, false, SLACK);
    println!("keepalived yielded after {yielded:?}");
    link.wait(A, VIP, true, SLACK);
    std::thread::sleep(Duration::from_secs(1));
    assert!(link.has(A, VIP) && !link.has(B, VIP), "and stays there");

    ours.kill();
    let killed = mono();
    let taken = link.wait(B, VIP, true, DOWN + SLACK);
    println!("SIGKILL to keepalived as master: {taken:?}");
    assert!(taken > DOWN - INTERVAL - INTERVAL);
    link.wait(A, VIP, false, Duration::from_secs(2));
    let lost = mono().since(killed);
    println!("SIGKILL to our kernel without the address: {lost:?}");
    assert!(lost < Duration::from_millis(1_300) + SLACK);

    let mut ours = Ours::start(&link, A);
    ours.tell("holder");
    link.wait(A, VIP, true, LONG);
    link.wait(B, VIP, false, SLACK);

    ours.stop();
    assert!(!link.has(A, VIP), "removed before we ended");
    let taken = link.wait(B, VIP, true, SKEW + SLACK);
    println!("priority 0 to keepalived as master: {taken:?}");
}

#[test]
fn we_hear_keepalived_and_its_end() {
    let link = Link::new(["10.99.0.1/24", "10.99.0.2/24"]);
    let mut ours = Ours::start(&link, A);
    ours.tell("standby");
    ours.told("MasterDown", LONG);
    let peer = Keepalived::start(&link, B, 150);
    ours.told("HeardActive { source: 10.99.0.2, priority: 150 }", LONG);
    std::thread::sleep(Duration::from_millis(500));
    assert!(link.has(B, VIP) && !link.has(A, VIP));

    // SIGTERM: priority 0, then the skew.
    peer.stop();
    let released = ours.told("ActiveReleased { source: 10.99.0.2 }", LONG);
    let down = ours.told("MasterDown", LONG).since(released);
    println!("priority 0 to MasterDown: {down:?}");
    assert!(SKEW <= down && down < SKEW + SLACK);

    let _peer = Keepalived::start(&link, B, 150);
    ours.told("HeardActive { source: 10.99.0.2, priority: 150 }", LONG);
    std::thread::sleep(Duration::from_millis(500));
    let cut = mono();
    link.plug(B, false);
    let down = ours.told("MasterDown", LONG).since(cut);
    println!("cut link to MasterDown: {down:?}");
    // The last advert came up to an interval before the cut; to cut takes its time, too.
    assert!(DOWN - INTERVAL <= down && down < DOWN + SLACK);
    assert!(!link.has(A, VIP), "nobody told us to take over");
    assert_eq!(ours.errors(), "0");
}

#[test]
fn a_stuck_main_process_gives_the_address_away() {
    let link = Link::new(["10.99.0.1/24", "10.99.0.2/24"]);
    let mut ours = Ours::start(&link, A);
    ours.tell("holder");
    link.wait(A, VIP, true, LONG);
    let _peer = Keepalived::start(&link, B, 100);
    std::thread::sleep(Duration::from_millis(700));
    assert!(link.has(A, VIP) && !link.has(B, VIP));
    let asked = ours.tell("stuck");
    let lapsed = ours.told("Lapsed", LONG).since(asked);
    println!("last pulse to lapse: {lapsed:?}");
    assert!(lapsed < Duration::from_millis(500) + SLACK);
    assert!(!link.has(A, VIP));
    link.wait(B, VIP, true, SKEW + SLACK);
}

/// The peer has our rank but the lower address: without the lapse we would preempt it.
#[test]
fn a_thawed_process_does_not_take_the_address_back() {
    let link = Link::new(["10.99.0.3/24", "10.99.0.2/24"]);
    let mut ours = Ours::start(&link, A);
    ours.tell("holder");
    link.wait(A, VIP, true, LONG);
    let _peer = Keepalived::start(&link, B, 200);
    std::thread::sleep(Duration::from_millis(700));
    assert!(link.has(A, VIP) && !link.has(B, VIP));
    ours.signal(Signal::SIGSTOP);
    let gone = link.wait(A, VIP, false, Duration::from_millis(1_300) + SLACK);
    println!("SIGSTOP to our kernel without the address: {gone:?}");
    link.wait(B, VIP, true, LONG);
    ours.signal(Signal::SIGCONT);
    let end = mono().after(Duration::from_secs(2));
    while mono() < end {
        assert!(!link.has(A, VIP), "the thawed process serves beside the other");
        assert!(link.has(B, VIP));
    }
    ours.told("Lapsed", LONG);
    ours.told("HeardActive { source: 10.99.0.2, priority: 200 }", LONG);
}

#[test]
fn a_lost_carrier_withdraws_and_returns() {
    let link = Link::new(["10.99.0.1/24", "10.99.0.2/24"]);
    let mut ours = Ours::start(&link, A);
    ours.tell("holder");
    link.wait(A, VIP, true, LONG);
    link.plug(A, false);
    let gone = link.wait(A, VIP, false, Duration::from_millis(250) + SLACK);
    println!("lost carrier to no address: {gone:?}");
    ours.told("Fault", LONG);
    link.plug(A, true);
    ours.told("FaultOver", LONG);
    link.wait(A, VIP, true, SLACK);
}

/// Debian's keepalived on one host. Stopped when dropped.
struct Keepalived {
    child: Child,
    _dir: TempDir,
}

impl Keepalived {
    fn start(link: &Link, host: usize, priority: u8) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let config = format!(
            "global_defs {{\n  router_id peer\n  vrrp_version 3\n}}\n\
             vrrp_instance peer {{\n  state BACKUP\n  interface {INTERFACE}\n  \
             virtual_router_id 51\n  priority {priority}\n  advert_int 0.1\n  \
             virtual_ipaddress {{\n    {VIP}/24\n  }}\n}}\n"
        );
        std::fs::write(path("keepalived.conf"), config).unwrap();
        // Pid files of its own: one that a killed keepalived left would stop the next.
        let child = link
            .command(host, "keepalived")
            .args(["--dont-fork", "--log-console", "--vrrp"])
            .arg("--use-file")
            .arg(path("keepalived.conf"))
            .arg("--pid")
            .arg(path("keepalived.pid"))
            .arg("--vrrp_pid")
            .arg(path("vrrp.pid"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("keepalived is installed");
        Self { child, _dir: dir }
    }

    fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        if self.child.try_wait().unwrap().is_none() {
            signal(&self.child, Signal::SIGTERM);
            self.child.wait().unwrap();
        }
    }
}

impl Drop for Keepalived {
    fn drop(&mut self) {
        self.end();
    }
}

/// Our virtual router in a process of its own. Killed when dropped.
struct Ours {
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
}

impl Ours {
    fn start(link: &Link, host: usize) -> Self {
        let binary = std::env::current_exe().unwrap();
        let mut child = link
            .command(host, binary.to_str().unwrap())
            .args(["peers::keepalived::our_process", "--exact", "--ignored", "--nocapture"])
            .env(OUR_PROCESS, "yes")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = sync_channel(10_000);
        task::thread("our-output", move || {
            for line in output.lines().map_while(Result::ok) {
                println!("  {line}");
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let input = child.stdin.take();
        let mut ours = Self { child, input, lines };
        ours.told("started", LONG);
        ours
    }

    /// Gives a word; returns the time just before.
    fn tell(&mut self, word: &str) -> Mono {
        let now = mono();
        writeln!(self.input.as_mut().unwrap(), "{word}").unwrap();
        now
    }

    /// Waits for what it reports, skipping everything else; returns when it happened.
    fn told(&mut self, what: &str, limit: Duration) -> Mono {
        let end = mono().after(limit);
        loop {
            let line = match self.lines.recv_timeout(end.since(mono())) {
                Ok(line) => line,
                Err(RecvTimeoutError::Timeout) => panic!("not told of {what} within {limit:?}"),
                Err(RecvTimeoutError::Disconnected) => panic!("ended instead of telling of {what}"),
            };
            let mut words = line.splitn(3, ' ');
            if words.next() == Some("@")
                && let (Some(at), Some(found)) = (words.next(), words.next())
                && found == what
            {
                return Mono(at.parse().unwrap());
            }
        }
    }

    /// How many adverts it dropped.
    fn errors(&mut self) -> String {
        self.tell("errors");
        loop {
            let line = self.lines.recv_timeout(LONG).unwrap();
            if let Some(count) = line.strip_prefix("errors ") {
                return count.to_owned();
            }
        }
    }

    fn signal(&self, which: Signal) {
        signal(&self.child, which);
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Closes its input and waits for its end.
    fn stop(mut self) {
        self.input = None;
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Ours {
    fn drop(&mut self) {
        // Both fail for a process that has ended.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn signal(child: &Child, which: Signal) {
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), which).unwrap();
}

const OUR_PROCESS: &str = "UNDERSTUDY_TEST_VRRP";

/// Not a test: what [`Ours`] starts.
#[test]
#[ignore = "not a test but the process that the tests of this module start"]
fn our_process() {
    if std::env::var_os(OUR_PROCESS).is_none() {
        return;
    }
    let vrrp = Vrrp::start(vec![GroupConfig::new(
        INTERFACE,
        51,
        vec![format!("{VIP}/24").parse().unwrap()],
        Interval::from_duration(INTERVAL).unwrap(),
    )])
    .unwrap();
    let mut events = vrrp.events().unwrap();
    task::thread("our-events", move || {
        while let Some(event) = events.blocking_recv() {
            println!("@ {} {:?}", event.at.0, event.kind);
        }
    });
    let (sender, words) = sync_channel(16);
    task::thread("our-input", move || {
        for word in std::io::stdin().lines().map_while(Result::ok) {
            sender.send(word).unwrap();
        }
    });
    println!("\n@ {} started", mono().0);
    let mut serving = true;
    loop {
        if serving {
            vrrp.serving_pulse(mono().after(Duration::from_millis(500)));
        }
        match words.recv_timeout(Duration::from_millis(100)).as_deref() {
            Ok("holder") => vrrp.stand(Stand::Holder { priority: Priority::HOLDER }),
            Ok("standby") => vrrp.stand(Stand::Standby { priority: Priority::STANDBY }),
            Ok("stuck") => serving = false,
            Ok("errors") => println!("errors {}", vrrp.status()[0].errors.total()),
            Ok(word) => panic!("what is {word}?"),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    vrrp.stop();
}
