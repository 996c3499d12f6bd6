//! A small world of network namespaces, made by this process and gone with it.
//!
//! ```text
//!        sender .20        client .10      witness .30      ghost .40, near-a .41, near-b .42
//!            |                |                |               |
//!   =========+=======+========+=======+========+===============+====  br-service 10.77.0.0/24  (floating .100)
//!                    |                |
//!                 A  .1            B  .2
//!                    |                |
//!   =================+================+====  br-link    10.77.1.0/24  (the pair's cross-link)
//! ```

use crate::{Context, LabError, Result, fail, interrupt, now};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::unistd::{Pid, getpid};
use std::fmt;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

/// What is mended of a split first is there so long before the rest.
const BETWEEN_NETWORKS: Duration = Duration::from_millis(300);
/// How long a killed process may take to end.
const END_MAX: Duration = Duration::from_secs(5);
/// The floating address.
pub(crate) const FLOATING: &str = "10.77.0.100";

/// A host of the small world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Host {
    /// The first appliance.
    A,
    /// The second.
    B,
    /// Somebody at a desk.
    Client,
    /// Somebody else's mail server.
    Sender,
    /// The pair's witness.
    Witness,
    /// Somebody who asks one appliance, whoever holds the address: see [`aim`].
    Ghost,
    /// Desks that reach one appliance of a pair that is split: see [`aim`].
    NearA,
    /// The other side's.
    NearB,
}

impl Host {
    /// Its namespace.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
            Self::Client => "client",
            Self::Sender => "sender",
            Self::Witness => "witness",
            Self::Ghost => "ghost",
            Self::NearA => "near-a",
            Self::NearB => "near-b",
        }
    }

    /// The other appliance; the same host for those that have none.
    pub(crate) fn peer(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
            other => other,
        }
    }

    /// Its last octet in both networks.
    fn octet(self) -> u8 {
        match self {
            Self::A => 1,
            Self::B => 2,
            Self::Client => 10,
            Self::Sender => 20,
            Self::Witness => 30,
            Self::Ghost => 40,
            Self::NearA => 41,
            Self::NearB => 42,
        }
    }

    /// Its address in the service network.
    pub(crate) fn service(self) -> String {
        format!("10.77.0.{}", self.octet())
    }

    /// Its address on the cross-link.
    pub(crate) fn link(self) -> String {
        format!("10.77.1.{}", self.octet())
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::A => "A",
            Self::B => "B",
            Self::Client => "the client",
            Self::Sender => "the sender",
            Self::Witness => "the witness",
            Self::Ghost => "the ghost",
            Self::NearA => "the desk near A",
            Self::NearB => "the desk near B",
        })
    }
}

const HOSTS: [Host; 8] = [
    Host::A,
    Host::B,
    Host::Client,
    Host::Sender,
    Host::Witness,
    Host::Ghost,
    Host::NearA,
    Host::NearB,
];

/// Leaves the machine's network for one of our own and builds the world in it. As an ordinary user
/// this needs user namespaces; as root it needs nothing. Must run before any thread is started.
pub(crate) fn build() -> Result<()> {
    enter()?;
    ip("link set lo up")?;
    for bridge in ["br-service", "br-link"] {
        ip(&format!("link add {bridge} type bridge forward_delay 0 stp_state 0"))?;
        ip(&format!("link set dev {bridge} up"))?;
    }
    for host in HOSTS {
        let ns = host.name();
        ip(&format!("netns add {ns}"))?;
        ip_in(host, "link set lo up")?;
        plug(host, "service", &host.service())?;
        if matches!(host, Host::A | Host::B) {
            plug(host, "link", &host.link())?;
        }
    }
    interrupt::listen()
}

fn enter() -> Result<()> {
    let (uid, gid) = (nix::unistd::getuid(), nix::unistd::getgid());
    let net = CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS;
    if uid.is_root() {
        unshare(net).context("a network namespace of our own")?;
    } else {
        unshare(net | CloneFlags::CLONE_NEWUSER).map_err(|e| {
            LabError(format!("user namespaces are not allowed here ({e}); run this as root"))
        })?;
        fs::write("/proc/self/setgroups", "deny").context("setgroups")?;
        fs::write("/proc/self/uid_map", format!("0 {uid} 1")).context("uid_map")?;
        fs::write("/proc/self/gid_map", format!("0 {gid} 1")).context("gid_map")?;
    }
    // Names of namespaces and sockets of daemons live in /run: ours alone.
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).context("mounts")?;
    mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::empty(), none).context("/run")?;
    Ok(())
}

fn plug(host: Host, net: &str, address: &str) -> Result<()> {
    let (ns, port) = (host.name(), port(host, net));
    ip(&format!("link add {port} type veth peer name {net} netns {ns}"))?;
    ip(&format!("link set dev {port} master br-{net} up"))?;
    ip_in(host, &format!("addr add {address}/24 dev {net}"))?;
    ip_in(host, &format!("link set dev {net} up"))
}

/// The bridge's side of a host's plug.
pub(crate) fn port(host: Host, net: &str) -> String {
    format!("{net}-{}", host.name())
}

/// The Ethernet address of a machine in the place of a host.
pub(crate) fn mac(host: Host, net: &str) -> String {
    format!("52:54:00:77:{:02x}:{:02x}", u8::from(net == "link"), host.octet())
}

/// Makes room for a machine in the place of a host: its plugs are taps that QEMU takes, and nobody
/// else has its addresses.
///
/// # Errors
/// There are no taps here (/dev/net/tun).
pub(crate) fn make_room(host: Host) -> Result<()> {
    for net in ["service", "link"] {
        let port = port(host, net);
        ip(&format!("link del {port}"))?;
        ip(&format!("tuntap add dev {port} mode tap"))?;
        ip(&format!("link set dev {port} master br-{net} up"))?;
    }
    Ok(())
}

/// Takes a host's plug out of a network (`service` or `link`): its own carrier stays, as behind a
/// switch that failed.
pub(crate) fn cut(host: Host, net: &str) -> Result<()> {
    ip(&format!("link set dev {} nomaster", port(host, net)))
}

/// Puts the plug back.
pub(crate) fn mend(host: Host, net: &str) -> Result<()> {
    ip(&format!("link set dev {} master br-{net}", port(host, net)))
}

/// Takes both plugs of a host out at once, as a power cut does.
pub(crate) fn cut_off(host: Host) -> Result<()> {
    let (link, service) = (port(host, "link"), port(host, "service"));
    batch(&format!("link set dev {link} nomaster\nlink set dev {service} nomaster\n"))
}

/// Several commands of `ip` at once.
fn batch(commands: &str) -> Result<()> {
    let mut command = Command::new("ip");
    command.args(["-batch", "-"]).stdin(Stdio::piped()).stdout(Stdio::null());
    let mut child = command.spawn().context("ip")?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(commands.as_bytes()).context("ip")?;
    }
    let status = child.wait().context("ip")?;
    if status.success() { Ok(()) } else { fail(format!("ip -batch: {status}")) }
}

/// Puts both plugs of a host back.
pub(crate) fn mend_all(host: Host) -> Result<()> {
    mend(host, "link")?;
    mend(host, "service")
}

/// Pulls a host's cable out: it loses its carrier, too.
pub(crate) fn unplug(host: Host, net: &str) -> Result<()> {
    ip(&format!("link set dev {} down", port(host, net)))
}

/// Plugs it in again.
pub(crate) fn plug_in(host: Host, net: &str) -> Result<()> {
    ip(&format!("link set dev {} up", port(host, net)))
}

/// Lets the two appliances hear everybody but each other, or mends that: the cross-link first, so that
/// one steps down before its clients hear the other.
pub(crate) fn split(apart: bool) -> Result<()> {
    let isolated = if apart { "on" } else { "off" };
    for net in ["link", "service"] {
        let both = [Host::A, Host::B].map(|host| {
            format!("link set dev {} type bridge_slave isolated {isolated}\n", port(host, net))
        });
        batch(&both.concat())?;
        if !apart {
            std::thread::sleep(BETWEEN_NETWORKS);
        }
    }
    Ok(())
}

/// From now on that host's packets for the floating address go to that appliance, whoever holds it.
pub(crate) fn aim(from: Host, target: Host) -> Result<()> {
    let mut show = command(target, Path::new("ip"));
    let output = show.args(["-brief", "link", "show", "dev", "service"]).output().context("ip")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let Some(mac) = text.split_whitespace().nth(2) else {
        return fail(format!("no hardware address in {text:?}"));
    };
    let neighbour = format!("neigh replace {FLOATING} lladdr {mac} nud permanent dev service");
    ip_in(from, &neighbour)
}

/// The processes that live in a host, ours excepted. What ends meanwhile is left out.
pub(crate) fn processes(host: Host) -> Result<Vec<Pid>> {
    let inode = |path: &Path| fs::metadata(path).map(|m| m.ino());
    let its = inode(Path::new(&path(host))).context(path(host))?;
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").context("/proc")?.flatten() {
        let pid = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok());
        let Some(pid) = pid.map(Pid::from_raw).filter(|p| *p != getpid()) else { continue };
        if inode(&entry.path().join("ns/net")).is_ok_and(|i| i == its) {
            found.push(pid);
        }
    }
    Ok(found)
}

/// Waits until a process has ended and its sockets are closed, whoever reaps it.
pub(crate) fn wait_ended(pid: Pid) -> Result<()> {
    let end = now() + END_MAX;
    while now() < end {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // proc_pid_stat(5): the state follows the name in parentheses.
        match stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next()) {
            None | Some('Z' | 'X') => return Ok(()),
            Some(_) => std::thread::sleep(Duration::from_micros(200)),
        }
    }
    fail(format!("process {pid} does not end"))
}

/// Moves the calling thread, and what it starts, into a host.
fn enter_host(host: Host) -> Result<()> {
    let path = path(host);
    let file = File::open(&path).context(&path)?;
    setns(file, CloneFlags::CLONE_NEWNET).context(path)
}

/// A thread that lives in a host.
///
/// # Errors
/// No thread can be made; the thread itself gives an error when it cannot enter.
pub(crate) fn thread<T: Send + 'static>(
    host: Host,
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<Result<T>>> {
    let body = move || {
        enter_host(host)?;
        Ok(work())
    };
    Builder::new().name(name.to_owned()).spawn(body).context("thread")
}

/// The end of such a thread.
pub(crate) fn join<T>(thread: JoinHandle<Result<T>>) -> Result<T> {
    thread.join().unwrap_or_else(|_| fail("a thread of the lab panicked"))
}

/// Where the namespace of a host is named.
pub(crate) fn path(host: Host) -> String {
    format!("/run/netns/{}", host.name())
}

/// A command that runs inside a host and ends with the thread that starts it. nsenter and setpriv
/// replace themselves by it: its process id is the child's.
pub(crate) fn command(host: Host, program: &Path) -> Command {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net={}", path(host)));
    command.args(["setpriv", "--pdeathsig", "KILL"]).arg(program);
    command
}

/// `ip` inside a host.
pub(crate) fn ip_in(host: Host, arguments: &str) -> Result<()> {
    // `ip -n` would mount /sys, which a container may not allow.
    done(command(host, Path::new("ip")).args(arguments.split_whitespace()), arguments)
}

fn ip(arguments: &str) -> Result<()> {
    done(Command::new("ip").args(arguments.split_whitespace()), arguments)
}

fn done(command: &mut Command, arguments: &str) -> Result<()> {
    let output = command.output().context("ip (Debian packages iproute2 and util-linux)")?;
    if output.status.success() {
        return Ok(());
    }
    fail(format!("ip {arguments}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}
