//! The guardian and the main process, as two real processes on a link, killed and frozen in every
//! order. What the other host sees of it is read from the wire.

use super::link::{INTERFACE, Link};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, execv};
use socket2::{Domain, Protocol, Socket, Type};
use std::ffi::CString;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;
use tempfile::TempDir;
use understudy::base::{clock::mono, task};
use understudy::net::{Doorstep, listen};
use understudy::pair::formation::PairIdentity;
use understudy::vrrp::guardian::{self, Connection, Guardian};
use understudy::vrrp::{FloatingAddress, GroupConfig, Interval, Priority, Stand, Vrrp};
use understudy_proto::pair::{Beacon, PhaseName};
use understudy_proto::time::Mono;

const A: usize = 0;
const B: usize = 1;
const VIP: &str = "10.99.0.100";
const HOSTS: [&str; 2] = ["10.99.0.1/24", "10.99.0.2/24"];
/// What a loaded machine of two cores and `ip` as a looking glass add.
const SLACK: Duration = Duration::from_millis(400);
/// How long a pulse lasts.
const PULSE: Duration = Duration::from_millis(500);
/// The kernel's lifetime of an address, as measured.
const LIFETIME: Duration = Duration::from_millis(1_300);
/// For what has no theoretical time.
const LONG: Duration = Duration::from_secs(30);

#[test]
fn a_killed_main_process_loses_its_address_at_once_and_the_link_is_told() {
    let link = Link::new(HOSTS);
    let wire = Wire::listen(&link);
    let mut ours = Ours::start(&link);
    wire.hear(200);
    kill(ours.main(), Signal::SIGKILL).unwrap();
    let killed = mono();
    let released = wire.hear(0).since(killed);
    let gone = link.wait(A, VIP, false, SLACK);
    println!(
        "SIGKILL of the main process: priority 0 after {released:?}, no address {gone:?} later"
    );
    assert_eq!(ours.ended(), Some(128 + 9), "the status is the main process's");
    assert!(!ours.pid_file().exists());
}

/// Journald stands still: nobody reads what the guardian writes, and it does its work all the same.
#[test]
fn a_log_that_nobody_reads_is_not_waited_for() {
    let link = Link::new(HOSTS);
    let wire = Wire::listen(&link);
    let (reader, mut writer) = std::io::pipe().unwrap();
    let log = writer.try_clone().unwrap();
    let mut ours = Ours::start_in(tempfile::tempdir().unwrap(), &link, "", log.into());
    wire.hear(200);
    // Ends with the reader.
    task::thread("filler", move || while writer.write_all(&[b'x'; 1_024]).is_ok() {});
    std::thread::sleep(Duration::from_millis(300));
    kill(ours.main(), Signal::SIGKILL).unwrap();
    wire.hear(0);
    link.wait(A, VIP, false, SLACK);
    let end = mono().after(LONG);
    while ours.child.try_wait().unwrap().is_none() {
        assert!(mono() < end, "the guardian waits for a reader of its log");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(ours.ended(), Some(128 + 9));
    drop(reader);
}

#[test]
fn a_frozen_main_process_loses_its_address_with_its_last_pulse() {
    let link = Link::new(HOSTS);
    let wire = Wire::listen(&link);
    let mut ours = Ours::start(&link);
    wire.hear(200);
    kill(ours.main(), Signal::SIGSTOP).unwrap();
    let gone = link.wait(A, VIP, false, PULSE + SLACK);
    println!("SIGSTOP of the main process: no address after {gone:?}");
    wire.hear(0);
    assert_eq!(ours.child.try_wait().unwrap(), None, "its guardian waits for it");
    let limits = format!("/proc/{}/limits", ours.guardian());
    let limits = std::fs::read_to_string(limits).unwrap();
    let core = limits.lines().find_map(|line| line.strip_prefix("Max core file size")).unwrap();
    assert!(core.trim_start().starts_with('0'), "it dumps no core: {core}");
    // Alone, it may come back.
    kill(ours.main(), Signal::SIGCONT).unwrap();
    link.wait(A, VIP, true, LONG);
    kill(ours.guardian(), Signal::SIGTERM).unwrap();
    link.wait(A, VIP, false, LONG);
    assert_eq!(ours.ended(), Some(0), "stopped in good order");
}

#[test]
fn a_killed_guardian_takes_the_main_process_along_and_the_kernel_the_address() {
    let link = Link::new(HOSTS);
    let mut ours = Ours::start(&link);
    let main = ours.main();
    kill(ours.guardian(), Signal::SIGKILL).unwrap();
    ours.child.wait().unwrap();
    let end = mono().after(LONG);
    while kill(main, None).is_ok() && !is_dead(main) {
        assert!(mono() < end, "the main process outlives its guardian");
        std::thread::sleep(Duration::from_millis(1));
    }
    let gone = link.wait(A, VIP, false, LIFETIME + SLACK);
    println!("SIGKILL of the guardian: no address after {gone:?}");
}

#[test]
fn a_frozen_guardian_is_not_waited_for() {
    let link = Link::new(HOSTS);
    let mut ours = Ours::start(&link);
    let main = ours.main();
    kill(ours.guardian(), Signal::SIGSTOP).unwrap();
    link.wait(A, VIP, false, LIFETIME + SLACK);
    let end = mono().after(LONG);
    while !is_dead(main) {
        assert!(mono() < end, "the main process goes on without a guardian");
        std::thread::sleep(Duration::from_millis(10));
    }
    kill(ours.guardian(), Signal::SIGCONT).unwrap();
    assert_eq!(ours.ended(), Some(128 + 6), "aborted");
}

#[test]
fn both_frozen_and_thawed_begin_anew_together() {
    let link = Link::new(HOSTS);
    let mut ours = Ours::start(&link);
    // As when the machine sleeps: the group holds both.
    let group = Pid::from_raw(-ours.guardian().as_raw());
    kill(group, Signal::SIGSTOP).unwrap();
    link.wait(A, VIP, false, LIFETIME + SLACK);
    std::thread::sleep(Duration::from_secs(4));
    kill(group, Signal::SIGCONT).unwrap();
    link.wait(A, VIP, true, LONG);
    assert_eq!(ours.child.try_wait().unwrap(), None);
}

/// Of a process that is merely silent nothing is said: it may be thawed.
#[test]
fn the_peer_hears_a_goodbye_of_a_dead_process_only() {
    let link = Link::new(HOSTS);
    let mut ours = Ours::start_with(
        &link,
        "[pair]\nlisten = [\"10.99.0.1:7400\"]\npeer = [\"10.99.0.2:7400\"]\n\
         boot_wait_ms = 0\n",
    );
    let identity = PairIdentity::load(&ours.dir.path().join("data")).unwrap().unwrap();
    let (sender, beacons) = sync_channel(10_000);
    drop(link.inside(B, move || {
        let socket = UdpSocket::bind("10.99.0.2:7400").unwrap();
        let mut buffer = [0; 200];
        while let Ok(len) = socket.recv(&mut buffer) {
            let beacon = Beacon::decode(&buffer[..len], identity.beacon_key.expose());
            if sender.send(beacon.expect("a beacon of the pair")).is_err() {
                return;
            }
        }
    }));
    let alive = beacons.recv_timeout(LONG).unwrap();
    assert_ne!(alive.says.phase, PhaseName::Gone);
    kill(ours.main(), Signal::SIGSTOP).unwrap();
    std::thread::sleep(PULSE + PULSE);
    assert!(!link.has(A, VIP));
    assert!(beacons.try_iter().all(|beacon| beacon.says.phase != PhaseName::Gone));
    kill(ours.main(), Signal::SIGKILL).unwrap();
    let last = beacons.recv_timeout(LONG).unwrap();
    assert_eq!((last.says.phase, last.boot), (PhaseName::Gone, alive.boot));
    assert_eq!((last.node, last.pair, last.sequence), (alive.node, alive.pair, u64::MAX));
    assert_eq!(ours.ended(), Some(128 + 9));
}

/// A main process that replaces its own image (`execv`) keeps its guardian and starts anew with it.
#[test]
fn an_exec_of_the_main_process_is_a_new_start() {
    let link = Link::new(HOSTS);
    let wire = Wire::listen(&link);
    let mut ours = start_ours(&link, A, &[(STAGE, "1")]);
    wire.hear(201);
    wire.hear(0);
    wire.hear(202);
    assert!(link.has(A, VIP));
    assert_eq!(ours.try_wait().unwrap(), None);
    end(&mut ours);
}

/// The client's connection was with A, which lost power. Without a tickle it would wait for ever.
#[test]
fn clients_of_a_dead_appliance_are_reset() {
    clients_are_reset("10.99.0.100/24", "10.99.0.9/24", None);
}

#[test]
fn clients_of_a_dead_appliance_are_reset_over_ipv6() {
    // A floating IPv6 address brings no route: an appliance has an address of its own besides.
    let own = Some("2001:db8:99::2/64");
    clients_are_reset("2001:db8:99::100/64", "2001:db8:99::9/64", own);
}

fn clients_are_reset(floating: &str, client: &str, own: Option<&str>) {
    let link = Link::new(HOSTS);
    link.give(A, floating);
    if let Some(own) = own {
        link.give(B, own);
    }
    let at = SocketAddr::new(floating.parse::<FloatingAddress>().unwrap().address, 993);
    let (held, holding) = sync_channel(0);
    drop(link.inside(A, move || {
        let listener = TcpListener::bind(at).unwrap();
        let connections: Vec<_> = (0..2).map(|_| listener.accept().unwrap()).collect();
        held.send(()).unwrap();
        std::thread::sleep(LONG);
        drop(connections);
    }));
    let clients = link.at_switch(client, move || {
        // The listener may need a moment.
        let end = mono().after(LONG);
        let connect = || loop {
            match TcpStream::connect(at) {
                Ok(stream) => return stream,
                Err(e) => assert!(mono() < end, "{e}"),
            }
        };
        [connect(), connect()]
    });
    let [mut tickled, mut left_alone] = clients.join().unwrap();
    holding.recv_timeout(LONG).unwrap();
    link.plug(A, false);

    let remote = tickled.local_addr().unwrap().to_string();
    let env = [(TICKLE, remote.as_str()), (FLOATING, floating)];
    let mut ours = start_ours(&link, B, &env);
    tickled.set_read_timeout(Some(LONG)).unwrap();
    let answer = tickled.read(&mut [0]).map_err(|e| e.kind());
    assert_eq!(answer, Err(ErrorKind::ConnectionReset));
    left_alone.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    let answer = left_alone.read(&mut [0]).map_err(|e| e.kind());
    assert_eq!(answer, Err(ErrorKind::WouldBlock), "nobody told this one");
    end(&mut ours);
}

/// A handover from A to B in the middle of which somebody connects: neither may answer, and his SYN
/// is lost but for A's guardian. The kernel's counter tells that it was sent once.
#[test]
fn who_connects_during_a_handover_needs_no_second_attempt() {
    let link = Link::new(HOSTS);
    let dir = tempfile::tempdir().unwrap();
    let (leave, come) = (dir.path().join("leave"), dir.path().join("come"));
    let mut old = start_stage(&link, A, "leaves", &leave);
    link.wait(A, VIP, true, LONG);
    let mut new = start_stage(&link, B, "comes", &come);
    listen_ahead(&link);
    let (at_door, arrives) = sync_channel(0);
    let (left, leaves) = sync_channel(0);
    let client = link.at_switch("10.99.0.9/24", move || {
        let at: SocketAddr = format!("{VIP}:25").parse().unwrap();
        // Learns where the address lives: at A, where nobody listens.
        assert_eq!(TcpStream::connect(at).unwrap_err().kind(), ErrorKind::ConnectionRefused);
        at_door.send(()).unwrap();
        leaves.recv_timeout(LONG).unwrap();
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_nonblocking(true).unwrap();
        assert!(socket.connect(&at.into()).is_err(), "it is under way");
        at_door.send(()).unwrap();
        let end = mono().after(LONG);
        while socket.peer_addr().is_err() {
            assert!(mono() < end, "never connected");
            std::thread::sleep(Duration::from_millis(1));
        }
        at_door.send(()).unwrap();
        leaves.recv_timeout(LONG).unwrap();
    });
    arrives.recv_timeout(LONG).unwrap();
    std::fs::write(&leave, "").unwrap();
    link.wait(A, VIP, false, LONG);
    left.send(()).unwrap();
    arrives.recv_timeout(LONG).unwrap();
    std::fs::write(&come, "").unwrap();
    arrives.recv_timeout(LONG).unwrap();
    let retransmitted = link.shell_at_switch("cat /proc/net/netstat /proc/net/snmp");
    assert_eq!(counter(&retransmitted, "TcpExt:", "TCPSynRetrans"), 0);
    left.send(()).unwrap();
    client.join().unwrap();
    end(&mut old);
    end(&mut new);
}

/// Whose SYN came after the guardian began to remember them, and was answered all the same: shown to B,
/// too, it would have two answers, and the connection be reset.
#[test]
fn who_was_answered_during_a_handover_is_not_sent_on() {
    let link = Link::new(HOSTS);
    let dir = tempfile::tempdir().unwrap();
    let (leave, come) = (dir.path().join("leave"), dir.path().join("come"));
    let mut old = start_stage(&link, A, "greets", &leave);
    link.wait(A, VIP, true, LONG);
    let mut new = start_stage(&link, B, "comes", &come);
    listen_ahead(&link);
    std::fs::write(&leave, "").unwrap();
    let (connected, connects) = sync_channel(0);
    let (moved, moves) = sync_channel(0);
    let client = link.at_switch("10.99.0.9/24", move || {
        let at: SocketAddr = format!("{VIP}:25").parse().unwrap();
        let end = mono().after(LONG);
        let mut stream = loop {
            match TcpStream::connect(at) {
                Ok(stream) => break stream,
                Err(e) => assert!(mono() < end, "{e}"), // A does not listen yet.
            }
        };
        connected.send(()).unwrap();
        moves.recv_timeout(LONG).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        stream.read(&mut [0]).map_err(|e| e.kind())
    });
    connects.recv_timeout(LONG).unwrap();
    link.wait(A, VIP, false, LONG);
    std::fs::write(&come, "").unwrap();
    link.wait(B, VIP, true, LONG);
    moved.send(()).unwrap();
    assert_eq!(client.join().unwrap(), Err(ErrorKind::WouldBlock), "nothing came, and no reset");
    end(&mut old);
    end(&mut new);
}

/// The main process has given up the rights that some kernels want for this; its guardian has them.
#[test]
fn a_door_that_is_closed_answers_nobody_until_it_is_opened() {
    let link = Link::new(HOSTS);
    let dir = tempfile::tempdir().unwrap();
    let (close, closed) = (dir.path().join("close"), dir.path().join("close.done"));
    let mut ours = start_stage(&link, A, "closes", &close);
    link.wait(A, VIP, true, LONG);
    let (knock, knocks) = sync_channel(0);
    let (answer, answers) = sync_channel(0);
    let client = link.at_switch("10.99.0.9/24", move || {
        let at: SocketAddr = format!("{VIP}:25").parse().unwrap();
        while let Ok(limit) = knocks.recv_timeout(LONG) {
            let found = TcpStream::connect_timeout(&at, limit).map(drop).map_err(|e| e.kind());
            answer.send(found).unwrap();
        }
    });
    let knock_for = |limit| {
        knock.send(limit).unwrap();
        answers.recv_timeout(LONG).unwrap()
    };
    assert_eq!(knock_for(LONG / 2), Ok(()));
    std::fs::write(&close, "").unwrap();
    wait_for(&closed);
    assert_eq!(knock_for(Duration::from_millis(300)), Err(ErrorKind::TimedOut));
    std::fs::remove_file(&close).unwrap();
    assert_eq!(knock_for(LONG / 2), Ok(()));
    drop(knock);
    client.join().unwrap();
    end(&mut ours);
}

fn wait_for(file: &Path) {
    let end = mono().after(LONG);
    while !file.exists() {
        assert!(mono() < end, "{} does not come", file.display());
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// On host B, at an address that is not there yet.
fn listen_ahead(link: &Link) {
    let (listening, listens) = sync_channel(0);
    drop(link.inside(B, move || {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_freebind_v4(true).unwrap();
        let at: SocketAddr = format!("{VIP}:25").parse().unwrap();
        socket.bind(&at.into()).unwrap();
        socket.listen(8).unwrap();
        listening.send(()).unwrap();
        std::thread::sleep(LONG);
    }));
    listens.recv_timeout(LONG).unwrap();
}

/// A counter of a kernel's table: a line of names, then one of values.
fn counter(table: &str, family: &str, name: &str) -> u64 {
    let mut lines = table.lines().filter(|line| line.starts_with(family));
    let names = lines.next().unwrap().split_whitespace();
    let values = lines.next().unwrap().split_whitespace();
    let (_, value) = names.zip(values).find(|(found, _)| *found == name).unwrap();
    value.parse().unwrap()
}

/// The adverts that host B hears, by priority.
struct Wire(Receiver<(Mono, u8)>);

impl Wire {
    fn listen(link: &Link) -> Self {
        let (sender, heard) = sync_channel(10_000);
        drop(link.inside(B, move || {
            let vrrp = Some(Protocol::from(112));
            let socket = Socket::new(Domain::IPV4, Type::RAW, vrrp).unwrap();
            let group = Ipv4Addr::new(224, 0, 0, 18);
            socket.join_multicast_v4(&group, &Ipv4Addr::new(10, 99, 0, 2)).unwrap();
            let mut buffer = [0; 200];
            while let Ok(len) = (&socket).read(&mut buffer) {
                // After an IP header without options: version and type, vrid, priority.
                if len > 22 && sender.send((mono(), buffer[22])).is_err() {
                    return;
                }
            }
        }));
        Self(heard)
    }

    /// Waits for an advert of that priority.
    fn hear(&self, priority: u8) -> Mono {
        let end = mono().after(LONG);
        loop {
            let (at, found) = self.0.recv_timeout(end.since(mono())).expect("an advert");
            if found == priority {
                return at;
            }
        }
    }
}

/// An appliance alone on host A, with its address up. Killed when dropped.
pub(super) struct Ours {
    child: Child,
    dir: TempDir,
}

impl Ours {
    fn start(link: &Link) -> Self {
        Self::start_with(link, "")
    }

    /// `more` ends the configuration; with a `[pair]` in it, the pair is made first.
    pub(super) fn start_with(link: &Link, more: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let log = std::fs::File::create(dir.path().join("log")).unwrap();
        Self::start_in(dir, link, more, log.into())
    }

    fn start_in(dir: TempDir, link: &Link, more: &str, log: Stdio) -> Self {
        let config = dir.path().join("understudy.toml");
        let text = format!(
            "data_dir = \"{data}\"\nhostname = \"mx.here.example\"\n\
             [listen]\naddresses = [\"{VIP}\"]\n\
             [management]\naddress = \"127.0.0.1:9100\"\n\
             [store]\nsegment_mib = 16\nreserve_mib = 64\n\
             [[vrrp]]\ninterface = \"{INTERFACE}\"\nvrid = 51\n\
             address = [\"{VIP}/24\"]\nadvert_ms = 100\n{more}",
            data = dir.path().join("data").display(),
        );
        std::fs::write(&config, text).unwrap();
        let program = env!("CARGO_BIN_EXE_understudy");
        if more.contains("[pair]") {
            let mut init = link.command(A, program);
            let status = init.args(["pair", "init", "--config"]).arg(&config).status().unwrap();
            assert!(status.success());
        }
        let child = link
            .command(A, program)
            .args(["run", "--config"])
            .arg(&config)
            .process_group(0)
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let ours = Self { child, dir };
        link.wait(A, VIP, true, LONG);
        ours
    }

    /// What an operator's command ends with and says.
    pub(super) fn says(&self, link: &Link, words: &[&str]) -> (Option<i32>, String) {
        let mut command = link.command(A, env!("CARGO_BIN_EXE_understudy"));
        command.args(words).arg("--config").arg(self.dir.path().join("understudy.toml"));
        let output = command.output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(said).unwrap())
    }

    fn guardian(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap())
    }

    fn main(&self) -> Pid {
        let text = std::fs::read_to_string(self.pid_file()).unwrap();
        Pid::from_raw(text.trim().parse().unwrap())
    }

    fn pid_file(&self) -> std::path::PathBuf {
        self.dir.path().join("data/run/main.pid")
    }

    fn ended(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }
}

impl Drop for Ours {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
            println!("{log}");
        }
        end(&mut self.child);
    }
}

fn end(child: &mut Child) {
    // Both fail for a process that has ended.
    drop(child.kill());
    drop(child.wait());
}

/// Gone, or waiting to be reaped by whoever is its parent now.
fn is_dead(pid: Pid) -> bool {
    let path = format!("/proc/{pid}/stat");
    let stat = std::fs::read_to_string(Path::new(&path)).unwrap_or_default();
    stat.rsplit(") ").next().is_none_or(|rest| rest.is_empty() || rest.starts_with('Z'))
}

const OUR_PART: &str = "UNDERSTUDY_TEST_GUARDIAN";
const STAGE: &str = "UNDERSTUDY_TEST_STAGE";
/// A file: when it is there, the stage goes on.
const GO: &str = "UNDERSTUDY_TEST_GO";
const FLOATING: &str = "UNDERSTUDY_TEST_FLOATING";
const TICKLE: &str = "UNDERSTUDY_TEST_TICKLE";
const MAIN: [&str; 4] = ["peers::guardian::our_process", "--exact", "--ignored", "--nocapture"];

/// A guardian with a main process of this test's own, which holds the address.
fn start_ours(link: &Link, host: usize, env: &[(&str, &str)]) -> Child {
    let binary = std::env::current_exe().unwrap();
    let mut command = link.command(host, binary.to_str().unwrap());
    command.args(MAIN).env(OUR_PART, "guardian").stdin(Stdio::null());
    command.envs(env.iter().copied()).spawn().unwrap()
}

/// One that goes on when the file `go` is there.
fn start_stage(link: &Link, host: usize, stage: &str, go: &Path) -> Child {
    start_ours(link, host, &[(STAGE, stage), (GO, &go.to_string_lossy())])
}

/// Not a test: first the guardian; started again by that, the main process.
#[test]
#[ignore = "not a test but the processes that the tests of this module start"]
fn our_process() {
    let Some(part) = std::env::var_os(OUR_PART) else { return };
    // The guardian's child has the same environment: its standard input tells it.
    match Guardian::adopt() {
        Ok(guardian) => our_main(guardian),
        Err(_) if part == "guardian" => {
            let dir = tempfile::tempdir().unwrap();
            let arguments = MAIN.iter().map(Into::into);
            let code = guardian::supervise(arguments, dir.path()).unwrap();
            assert_eq!(code, 0);
        }
        Err(e) => panic!("{e}"),
    }
}

fn our_main(guardian: Guardian) {
    let stage = std::env::var(STAGE).unwrap_or_default();
    let floating = std::env::var(FLOATING).unwrap_or_else(|_| format!("{VIP}/24"));
    let floating: FloatingAddress = floating.parse().unwrap();
    let vrrp = Vrrp::start_guarded(
        guardian,
        vec![GroupConfig::new(
            INTERFACE,
            51,
            vec![floating],
            Interval::from_duration(Duration::from_millis(100)).unwrap(),
        )],
    )
    .unwrap();
    let priority = if stage == "2" {
        202
    } else if stage == "1" {
        201
    } else {
        200
    };
    if let Ok(remote) = std::env::var(TICKLE) {
        let local = SocketAddr::new(floating.address, 993);
        vrrp.tickle(vec![Connection { local, remote: remote.parse().unwrap() }]);
    }
    let go = std::env::var_os(GO).unwrap_or_default();
    let holder = Stand::Holder { priority: Priority::new(priority).unwrap() };
    if stage != "comes" {
        vrrp.stand(holder);
    }
    if stage == "closes" {
        return our_door(&vrrp, (floating.address, 25).into(), Path::new(&go));
    }
    let (mut moved, mut greeted) = (false, Vec::new());
    let end = mono().after(LONG);
    let exec_at = mono().after(Duration::from_secs(1));
    while mono() < end {
        vrrp.serving_pulse(Mono(u64::MAX));
        std::thread::sleep(Duration::from_millis(if stage == "comes" { 1 } else { 20 }));
        if !moved && Path::new(&go).exists() {
            moved = true;
            if stage == "comes" {
                vrrp.stand(holder);
            } else {
                vrrp.hold_newcomers(&[]);
                if stage == "greets" {
                    let listener = TcpListener::bind((floating.address, 25)).unwrap();
                    greeted.push((listener.accept().unwrap(), listener));
                }
                vrrp.stand(Stand::Silent);
            }
        }
        if stage == "1" && mono() > exec_at {
            // The environment of an exec is ours; to change it here would not be safe.
            let env = format!("{STAGE}=2");
            let words = ["/usr/bin/env", &env, &std::env::current_exe().unwrap().to_string_lossy()]
                .into_iter()
                .chain(MAIN)
                .map(|word| CString::new(word).unwrap())
                .collect::<Vec<_>>();
            let Err(e) = execv(&words[0], &words);
            panic!("exec: {e}");
        }
    }
}

/// The door of a listener is closed for as long as the file `close` is there.
fn our_door(vrrp: &Vrrp, at: SocketAddr, close: &Path) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
    let _entered = runtime.enter();
    let listener = listen(&[at.ip()], at.port()).unwrap().remove(0);
    let doorstep = Doorstep::default();
    let _listener = listener.behind(&doorstep);
    let end = mono().after(LONG);
    let mut closed = false;
    while mono() < end {
        vrrp.serving_pulse(Mono(u64::MAX));
        std::thread::sleep(Duration::from_millis(20));
        if closed != close.exists() {
            closed = !closed;
            if closed {
                vrrp.hold_newcomers(&doorstep.listeners());
                std::fs::write(close.with_extension("done"), "").unwrap();
            } else {
                vrrp.welcome_newcomers(&doorstep.listeners());
            }
        }
    }
}
