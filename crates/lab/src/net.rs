//! A small world of network namespaces, made by this process and gone with it.
//!
//! ```text
//!        sender .20        client .10
//!            |                |
//!   =========+=======+========+=======+====  br-service 10.77.0.0/24  (floating .100)
//!                    |                |
//!                 A  .1            B  .2
//!                    |                |
//!   =================+================+====  br-link    10.77.1.0/24  (the pair's cross-link)
//! ```

use crate::{Context, LabError, Result, fail};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use std::fs::{self, File};
use std::process::Command;

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
}

impl Host {
    /// Its namespace.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
            Self::Client => "client",
            Self::Sender => "sender",
        }
    }

    /// Its last octet in both networks.
    fn octet(self) -> u8 {
        match self {
            Self::A => 1,
            Self::B => 2,
            Self::Client => 10,
            Self::Sender => 20,
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

/// Leaves the machine's network for one of our own and builds the world in it. As an ordinary user
/// this needs user namespaces; as root it needs nothing. Must run before any thread is started.
pub(crate) fn build() -> Result<()> {
    enter()?;
    ip("link set lo up")?;
    for bridge in ["br-service", "br-link"] {
        ip(&format!("link add {bridge} type bridge forward_delay 0 stp_state 0"))?;
        ip(&format!("link set {bridge} up"))?;
    }
    for host in [Host::A, Host::B, Host::Client, Host::Sender] {
        let ns = host.name();
        ip(&format!("netns add {ns}"))?;
        ip(&format!("-n {ns} link set lo up"))?;
        plug(host, "service", &host.service())?;
        if matches!(host, Host::A | Host::B) {
            plug(host, "link", &host.link())?;
        }
    }
    Ok(())
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
    // Reading /sys of the new network (interfaces' carriers) needs its own mount; optional.
    Ok(())
}

fn plug(host: Host, net: &str, address: &str) -> Result<()> {
    let (ns, port) = (host.name(), port(host, net));
    ip(&format!("link add {port} type veth peer name {net} netns {ns}"))?;
    ip(&format!("link set {port} master br-{net} up"))?;
    ip(&format!("-n {ns} addr add {address}/24 dev {net}"))?;
    ip(&format!("-n {ns} link set {net} up"))
}

fn port(host: Host, net: &str) -> String {
    format!("{net}-{}", host.name())
}

/// Takes a host's plug out of a network (`service` or `link`): its own carrier stays, as behind a
/// switch that failed.
pub(crate) fn cut(host: Host, net: &str) -> Result<()> {
    ip(&format!("link set {} nomaster", port(host, net)))
}

/// Puts the plug back.
pub(crate) fn mend(host: Host, net: &str) -> Result<()> {
    ip(&format!("link set {} master br-{net}", port(host, net)))
}

/// Moves the calling thread, and what it starts, into a host.
pub(crate) fn enter_host(host: Host) -> Result<()> {
    let path = format!("/run/netns/{}", host.name());
    let file = File::open(&path).context(&path)?;
    setns(file, CloneFlags::CLONE_NEWNET).context(path)
}

fn ip(arguments: &str) -> Result<()> {
    let output = Command::new("ip")
        .args(arguments.split_whitespace())
        .output()
        .context("ip (Debian package iproute2)")?;
    if output.status.success() {
        return Ok(());
    }
    fail(format!("ip {arguments}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}

/// A command that runs inside a host.
pub(crate) fn command(host: Host, program: &std::path::Path) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", host.name()]).arg(program);
    command
}
