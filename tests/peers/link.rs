//! A switch with two hosts, each a network namespace of its own. Needs root; cleans up after itself.

use nix::sched::{CloneFlags, setns};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use understudy::base::clock::mono;

/// The hosts' interface.
pub(super) const INTERFACE: &str = "e0";

/// Their other one, after [`Link::with_second`].
pub(super) const SECOND: &str = "e1";

/// Three namespaces: the switch, and the hosts `a` and `b` with an address of each family.
pub(super) struct Link {
    switch: String,
    hosts: [String; 2],
}

impl Link {
    /// Names carry the process id and a number: tests run beside each other.
    pub(super) fn new(addresses: [&str; 2]) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let n = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = |part| format!("vrrp-{}-{n}-{part}", std::process::id());
        let link = Self { switch: name("switch"), hosts: [name("a"), name("b")] };
        for namespace in link.namespaces() {
            ip(&["netns", "add", namespace]);
            ip(&["-n", namespace, "link", "set", "lo", "up"]);
            // Addresses of the hosts' own serve at once.
            let dad = "echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad";
            ip(&["netns", "exec", namespace, "sh", "-c", dad]);
        }
        link.wire("br0", INTERFACE, PORTS, addresses, OWN_V6);
        link
    }

    /// As [`Link::new`], and on a second wire of their own the hosts 10.98.0.1 and 10.98.0.2.
    pub(super) fn with_second(addresses: [&str; 2]) -> Self {
        let link = Self::new(addresses);
        let second = ["10.98.0.1/24", "10.98.0.2/24"];
        link.wire("br1", SECOND, SECOND_PORTS, second, ["fd98::1", "fd98::2"]);
        link
    }

    fn wire(
        &self,
        bridge: &str,
        interface: &str,
        ports: [&str; 2],
        addresses: [&str; 2],
        addresses_v6: [&str; 2],
    ) {
        let switch = self.switch.as_str();
        ip(&["-n", switch, "link", "add", bridge, "type", "bridge"]);
        ip(&["-n", switch, "link", "set", bridge, "up"]);
        let all = self.hosts.iter().zip(ports).zip(addresses).zip(addresses_v6);
        for (((host, port), address), v6) in all {
            ip(&[
                "-n", switch, "link", "add", port, "type", "veth", "peer", interface, "netns", host,
            ]);
            ip(&["-n", switch, "link", "set", port, "master", bridge, "up"]);
            ip(&["-n", host, "link", "set", interface, "up"]);
            ip(&["-n", host, "address", "add", address, "dev", interface]);
            let v6 = format!("{v6}/64");
            ip(&["-n", host, "address", "add", &v6, "dev", interface, "nodad"]);
        }
    }

    /// A command that will run on a host.
    pub(super) fn command(&self, host: usize, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.hosts[host], program]);
        command
    }

    /// Runs `run` in a thread whose network is that of a host.
    pub(super) fn inside<T: Send + 'static>(
        &self,
        host: usize,
        run: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<T> {
        Self::inside_of(self.hosts[host].clone(), run)
    }

    /// As [`Link::inside`], at the switch, which has `address` then: a third host.
    pub(super) fn at_switch<T: Send + 'static>(
        &self,
        address: &str,
        run: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<T> {
        // An IPv6 address that is still being probed for cannot be used.
        ip(&["-n", &self.switch, "address", "replace", address, "dev", "br0", "nodad"]);
        Self::inside_of(self.switch.clone(), run)
    }

    fn inside_of<T: Send + 'static>(
        namespace: String,
        run: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<T> {
        std::thread::spawn(move || {
            let file = std::fs::File::open(format!("/run/netns/{namespace}")).unwrap();
            setns(file, CloneFlags::CLONE_NEWNET).unwrap();
            run()
        })
    }

    /// Gives a host an address by hand.
    pub(super) fn give(&self, host: usize, address: &str) {
        ip(&["-n", &self.hosts[host], "address", "add", address, "dev", INTERFACE, "nodad"]);
    }

    /// Unplugs a host, or plugs it in again.
    pub(super) fn plug(&self, host: usize, plugged: bool) {
        self.set_port(PORTS[host], plugged);
    }

    /// As [`Link::plug`], on the second wire.
    pub(super) fn plug_second(&self, host: usize, plugged: bool) {
        self.set_port(SECOND_PORTS[host], plugged);
    }

    fn set_port(&self, port: &str, plugged: bool) {
        let state = if plugged { "up" } else { "down" };
        ip(&["-n", &self.switch, "link", "set", port, state]);
    }

    /// Takes an address that was given by hand.
    pub(super) fn take(&self, host: usize, address: &str) {
        ip(&["-n", &self.hosts[host], "address", "delete", address, "dev", INTERFACE]);
    }

    /// What a shell says on a host, standard error included.
    pub(super) fn shell(&self, host: usize, script: &str) -> String {
        let output = self.command(host, "sh").args(["-c", script]).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        String::from_utf8_lossy(&output.stdout).into_owned() + &error
    }

    /// What a shell says at the switch.
    pub(super) fn shell_at_switch(&self, script: &str) -> String {
        ip(&["netns", "exec", &self.switch, "sh", "-c", script])
    }

    /// Whether a host's kernel has this address, on whatever interface.
    pub(super) fn has(&self, host: usize, address: &str) -> bool {
        let list = ip(&["-n", &self.hosts[host], "-o", "address", "show"]);
        list.split_whitespace().any(|word| word.split('/').next() == Some(address))
    }

    /// Waits until a host has the address, or has it no more; gives the time that this took.
    pub(super) fn wait(&self, host: usize, address: &str, has: bool, limit: Duration) -> Duration {
        let start = mono();
        while self.has(host, address) != has {
            let waited = mono().since(start);
            assert!(waited < limit, "host {host}: has {address} is not {has} after {waited:?}");
            std::thread::sleep(Duration::from_millis(1));
        }
        mono().since(start)
    }

    fn namespaces(&self) -> [&str; 3] {
        [&self.switch, &self.hosts[0], &self.hosts[1]]
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        for namespace in self.namespaces() {
            // Best effort: one that could not be made cannot be removed.
            drop(Command::new("ip").args(["netns", "delete", namespace]).output());
        }
    }
}

fn ip(arguments: &[&str]) -> String {
    let output = Command::new("ip").args(arguments).output().expect("iproute2 is installed");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {}: {error} (root needed)", arguments.join(" "));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

const PORTS: [&str; 2] = ["port-a", "port-b"];
const SECOND_PORTS: [&str; 2] = ["second-a", "second-b"];

/// The hosts' own IPv6 addresses.
pub(super) const OWN_V6: [&str; 2] = ["fd99::1", "fd99::2"];
