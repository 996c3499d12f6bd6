//! Floating addresses: the shell around `understudy_proto::vrrp`.
//!
//! One OS thread serves all virtual routers of this appliance, in a process of its own, the
//! [`guardian`]: adverts go out in time however busy the main process is, and its end is noticed. The
//! pair says where we stand and pulses while it may serve; without a pulse nothing is refreshed, and
//! the addresses go (DESIGN.md 3, invariant 8).
//!
//! ```text
//!  pair ── stand, pulse ──► Vrrp ═ socket ═► guardian ─► thread "vrrp" ◄──► raw socket per group
//!       ◄── VrrpEvent ─────      ◄════════                    └──► netlink, packet sockets
//! ```
//!
//! Deliberately absent: any decision.

mod address;
mod announce;
mod door;
mod driver;
mod engine;
mod group;
pub mod guardian;
mod interface;
mod link;
mod probe;
mod quota;
mod relay;
mod router;
mod setting;
mod socket;
mod track;

pub use address::{AddressError, FloatingAddress, FloatingAddressError};
pub use group::{GroupKind, Problem, TTL_MIN_DEFAULT, Track, Unicast};
pub use understudy_proto::vrrp::{
    Authentication, Checksum, Claim, ClaimWord, Errors, Event, Interval, PEERS_MAX, Priority,
    Stand, State, Takeover, Version,
};

use crate::base::clock;
use driver::ClaimOrder;
use engine::Engine;
use guardian::{Connection, Guardian};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use understudy_proto::time::{Mono, UnixMs};

/// Most virtual routers of one appliance.
pub const GROUPS_MAX: usize = 32;

/// Most addresses of one virtual router: announcing them all must not delay an advert.
pub const ADDRESSES_PER_GROUP_MAX: usize = 64;

/// Events that wait for the pair. Beyond it the thread keeps the latest of each kind and group: a
/// slow pair loses repetitions, never the last word.
pub const EVENTS_MAX: usize = 64;

/// How long a pulse counts at most, whatever deadline it carries: that of a lease comes earlier, but
/// a primary without a limit (alone, or without a witness) that stands still loses its addresses, too.
pub const PULSE_MAX: Duration = Duration::from_millis(200);

/// One virtual router: a `[[vrrp]]` section.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupConfig {
    /// The interface's name in the kernel, 1-15 bytes.
    pub interface: String,
    /// Virtual Router ID, 1-255; the same on both appliances, and used by nobody else on the link.
    pub vrid: u8,
    /// The floating addresses, 1-64 of them; the same on both appliances.
    pub addresses: Vec<FloatingAddress>,
    /// The time between two adverts.
    pub interval: Interval,
    /// The checksum form to begin with; what the peer uses is answered in kind.
    pub checksum: Checksum,
    /// What operators call it: `understudy address claim NAME`.
    pub name: String,
    /// The version spoken.
    pub version: Version,
    /// Version 2: the password of all its routers.
    pub authentication: Authentication,
    /// `None` for multicast.
    pub unicast: Option<Unicast>,
    /// Groups with the same word here move as one.
    pub sync: Option<String>,
    /// Whether the addresses lie on an interface of their own with the virtual router's Ethernet
    /// address (RFC 9568 7.3).
    pub virtual_mac: bool,
    /// A command that must succeed.
    pub track: Option<Track>,
    /// Whose addresses.
    pub kind: GroupKind,
}

/// Something that the pair should know. Origins' groups tell it nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VrrpEvent {
    /// The group's position in the configuration.
    pub group: usize,
    /// What happened.
    pub kind: Event,
    /// When.
    pub at: Mono,
}

/// What `status` and the health page show of a virtual router.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupStatus {
    /// The interface's name.
    pub interface: String,
    /// Virtual Router ID.
    pub vrid: u8,
    /// RFC 9568 6.3.
    pub state: State,
    /// Who holds the addresses: ourselves, or the Active that we hear.
    pub holder: Option<IpAddr>,
    /// The floating addresses.
    pub addresses: Vec<FloatingAddress>,
    /// Adverts handed to the kernel since the start.
    pub adverts_sent: u64,
    /// Adverts accepted since the start.
    pub adverts_received: u64,
    /// Adverts dropped since the start, by reason.
    pub errors: Errors,
    /// Adverts and announcements that the kernel did not take.
    pub send_errors: u64,
    /// What keeps this group from working, and what to do about it.
    pub fault: Option<String>,
    /// When the state last changed.
    pub last_transition: Option<UnixMs>,
    /// What operators call it.
    pub name: String,
    /// Whose addresses.
    pub kind: GroupKind,
    /// What our adverts say, or would.
    pub priority: u8,
    /// An origin's: how far a claim has come.
    pub claim: Claim,
    /// An origin's: the number of the last order that was taken, see [`Vrrp::claim`].
    pub order: u64,
    /// Why that order was refused.
    pub refusal: Option<String>,
    /// What is wrong beyond `fault`.
    pub problem: Option<Problem>,
    /// Where its adverts come from; `None` while the interface is unfit.
    pub source: Option<IpAddr>,
    /// An origin's, on the pair's holder: what the other appliance should know of its claim.
    pub word: Option<ClaimWord>,
}

/// What one appliance of a pair says to the other about a group, on their session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerGroup {
    /// The lowest of its floating addresses: both files have the same ones, in whatever order.
    pub address: IpAddr,
    /// [`GroupStatus::source`].
    pub source: Option<IpAddr>,
    /// [`GroupStatus::word`].
    pub word: Option<ClaimWord>,
}

/// Why the virtual routers could not be started.
#[derive(Debug, thiserror::Error)]
pub enum VrrpError {
    /// See [`GROUPS_MAX`].
    #[error("{0} [[vrrp]] sections; at most {GROUPS_MAX} are supported")]
    TooManyGroups(usize),
    /// Not a name that an interface can have.
    #[error("{0:?} is no interface name; see `ip link`")]
    InterfaceName(String),
    /// RFC 9568 5.2.3.
    #[error("vrid 0 on {0} is not allowed; choose 1-255")]
    Vrid(String),
    /// Two sections with the same identity.
    #[error("vrid {vrid} is configured twice on {interface}; choose another for one of them")]
    DuplicateVrid {
        /// The interface.
        interface: String,
        /// The virtual router id.
        vrid: u8,
    },
    /// None, or more than [`ADDRESSES_PER_GROUP_MAX`].
    #[error("vrid {vrid} has {found} addresses; give it 1-{ADDRESSES_PER_GROUP_MAX}")]
    AddressCount {
        /// The virtual router id.
        vrid: u8,
        /// How many it has.
        found: usize,
    },
    /// An address of two groups, or twice in one.
    #[error("address {0} is configured twice; remove one")]
    DuplicateAddress(IpAddr),
    /// Options that exclude each other.
    #[error("vrid {vrid} {what}")]
    Option {
        /// The virtual router id.
        vrid: u8,
        /// What, and what to do.
        what: &'static str,
    },
    /// CAP_NET_RAW is missing, or the kernel has no raw sockets.
    #[error("no raw socket: {0}; the process needs CAP_NET_RAW")]
    RawSocket(#[source] std::io::Error),
    /// A system call that only fails when the system is out of something.
    #[error("{what} failed: {source}; the system is out of something")]
    System {
        /// Which.
        what: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// It says why, or nothing at all.
    #[error("the guardian: {0}")]
    Guardian(String),
}

/// The virtual routers of this appliance. Dropping it is [`Vrrp::stop`].
#[derive(Debug)]
pub struct Vrrp {
    backend: Backend,
    events: Mutex<Option<mpsc::Receiver<VrrpEvent>>>,
}

/// Where the thread runs.
#[derive(Debug)]
enum Backend {
    Here(Engine),
    There(Guardian),
}

impl Vrrp {
    /// Starts the thread in this process; every group begins silent. An interface that is missing or
    /// unfit is no error here: it is reported as [`Event::Fault`], looked for again, and shown in the
    /// status.
    ///
    /// # Errors
    /// A configuration that cannot work, or a process that may not use raw sockets.
    pub fn start(configs: Vec<GroupConfig>) -> Result<Self, VrrpError> {
        let (sender, receiver) = mpsc::channel(EVENTS_MAX);
        let engine = Engine::start(configs, sender, None)?;
        Ok(Self { backend: Backend::Here(engine), events: Mutex::new(Some(receiver)) })
    }

    /// As [`Vrrp::start`], in the guardian. Groups of an earlier image of this process end there.
    ///
    /// # Errors
    /// As [`Vrrp::start`], or the guardian does not answer.
    pub fn start_guarded(guardian: Guardian, configs: Vec<GroupConfig>) -> Result<Self, VrrpError> {
        check(&configs)?;
        let receiver = guardian.start(configs)?;
        Ok(Self { backend: Backend::There(guardian), events: Mutex::new(Some(receiver)) })
    }

    /// Takes the pair's word for all groups, without waiting. As Holder, the addresses are there and
    /// the first advert is out within a millisecond or two, if there is a pulse
    /// ([`Vrrp::serving_pulse`]); otherwise with the first pulse. Of words that follow each other
    /// faster than that, the last one counts.
    pub fn stand(&self, stand: Stand) {
        match &self.backend {
            Backend::Here(engine) => engine.stand(stand),
            Backend::There(guardian) => guardian.stand(stand),
        }
    }

    /// The main process lives, its listeners listen, and it may serve until `deadline`. Counts for
    /// [`PULSE_MAX`] at most. To be called every 20 ms or so; costs a system call and never waits.
    /// When it stops, the addresses are removed at the last deadline; when the guardian stops, too,
    /// the kernel removes them a second after their last refresh.
    pub fn serving_pulse(&self, deadline: Mono) {
        let until = deadline.min(clock::mono().after(PULSE_MAX));
        match &self.backend {
            Backend::Here(engine) => engine.pulse(until),
            Backend::There(guardian) => guardian.pulse(until),
        }
    }

    /// The addresses are about to move to the peer: from when this returns, `listeners` answer no
    /// SYN. Who asks for a connection is remembered, and sent to the new Active once that announces
    /// itself, if none of them has answered; that ends by itself after some seconds, or as Holder.
    /// The door stays closed until [`Vrrp::welcome_newcomers`]. Blocks for a millisecond or two, 50 at
    /// most; what does not work is logged, and costs such clients a second.
    pub fn hold_newcomers(&self, listeners: &[Arc<TcpListener>]) {
        match &self.backend {
            Backend::Here(engine) => {
                engine.hold_newcomers();
                door::set_or_say(listeners, true);
            }
            Backend::There(guardian) => guardian.hold_newcomers(listeners),
        }
    }

    /// Opens the door of `listeners` again. Does not wait.
    pub fn welcome_newcomers(&self, listeners: &[Arc<TcpListener>]) {
        match &self.backend {
            Backend::Here(_) => door::set_or_say(listeners, false),
            Backend::There(guardian) => guardian.set_door(listeners, false),
        }
    }

    /// A way to the other appliance is back that was lost: clients behind it may remember that one as
    /// Active, and are called here. Does not wait.
    pub fn reunite(&self) {
        match &self.backend {
            Backend::Here(engine) => engine.reunite(),
            Backend::There(guardian) => guardian.reunite(),
        }
    }

    /// Whether every listener has followed the last of these two words. A word that got lost is to be
    /// said again.
    #[must_use]
    pub fn door_is_set(&self) -> bool {
        match &self.backend {
            Backend::Here(_) => true,
            Backend::There(guardian) => guardian.door_is_set(),
        }
    }

    /// What happens from now on; there is one receiver, given out once.
    #[must_use]
    pub fn events(&self) -> Option<mpsc::Receiver<VrrpEvent>> {
        lock(&self.events).take()
    }

    /// One entry for each group, in the configuration's order; at most some 25 ms older than the
    /// last thing that happened.
    #[must_use]
    pub fn status(&self) -> Vec<GroupStatus> {
        match &self.backend {
            Backend::Here(engine) => engine.status(),
            Backend::There(guardian) => guardian.status(),
        }
    }

    /// Connections that the node which died held, at most 65,536: once their local address is here,
    /// each client is made to notice that it must connect anew. Without a guardian nothing happens.
    pub fn tickle(&self, connections: Vec<Connection>) {
        if let Backend::There(guardian) = &self.backend {
            guardian.tickle(connections);
        }
    }

    /// Claims the addresses of an origin's group: on an operator's word, or that of health probes.
    /// They are probed first, unless `force`. Does not wait: when [`GroupStatus::order`] is at least
    /// the number given here, [`GroupStatus::claim`] and `refusal` are the answer, once the claim is
    /// not [`Claim::Probing`] any more. All groups of one `sync` are claimed together.
    pub fn claim(&self, group: usize, force: bool) -> u64 {
        self.order(group, Some(force))
    }

    /// Gives the addresses of an origin's group back, with priority 0. Number as [`Vrrp::claim`].
    pub fn release(&self, group: usize) -> u64 {
        self.order(group, None)
    }

    /// What to tell the other appliance, on the pair's session: whenever it changes, and every few
    /// seconds, because a word of a claim grows old.
    #[must_use]
    pub fn words_for_peer(&self) -> Vec<PeerGroup> {
        let word = |group: &GroupStatus| {
            let address = group.addresses.iter().map(|floating| floating.address).min()?;
            Some(PeerGroup { address, source: group.source, word: group.word })
        };
        self.status().iter().filter_map(word).collect()
    }

    /// The other appliance has said this; at most [`GROUPS_MAX`] count. Does not wait; of words that
    /// follow each other quickly, the last ones count.
    pub fn hear_peer(&self, mut words: Vec<PeerGroup>) {
        words.truncate(GROUPS_MAX);
        match &self.backend {
            Backend::Here(engine) => engine.hear_peer(words),
            Backend::There(guardian) => guardian.hear_peer(words),
        }
    }

    fn order(&self, group: usize, claim: Option<bool>) -> u64 {
        let number = clock::mono().0;
        let order = ClaimOrder { group, claim, number };
        match &self.backend {
            Backend::Here(engine) => engine.claim(order),
            Backend::There(guardian) => guardian.claim(order),
        }
        number
    }

    /// Removes the addresses, sends priority 0 and ends the thread. Blocks for a few milliseconds.
    pub fn stop(&self) {
        match &self.backend {
            Backend::Here(engine) => engine.stop_in_order(),
            Backend::There(guardian) => guardian.stop(),
        }
    }
}

impl Drop for Vrrp {
    fn drop(&mut self) {
        self.stop();
    }
}

fn check(configs: &[GroupConfig]) -> Result<(), VrrpError> {
    if configs.len() > GROUPS_MAX {
        return Err(VrrpError::TooManyGroups(configs.len()));
    }
    let mut identities = Vec::new();
    let mut addresses = Vec::new();
    for config in configs {
        let GroupConfig { interface, vrid, addresses: own, .. } = config;
        let fits = (1..INTERFACE_NAME_MAX).contains(&interface.len());
        if !fits || interface.contains(['/', '\0']) || interface.contains(char::is_whitespace) {
            return Err(VrrpError::InterfaceName(interface.clone()));
        }
        if *vrid == 0 {
            return Err(VrrpError::Vrid(interface.clone()));
        }
        let family = config.is_ipv6();
        if identities.contains(&(interface, vrid, family)) {
            return Err(VrrpError::DuplicateVrid { interface: interface.clone(), vrid: *vrid });
        }
        identities.push((interface, vrid, family));
        group::check(config)?;
        for floating in own {
            if addresses.contains(&floating.address) {
                return Err(VrrpError::DuplicateAddress(floating.address));
            }
            addresses.push(floating.address);
        }
    }
    Ok(())
}

/// What a lock guards here is whole after every statement: a panic elsewhere does not spoil it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `IFNAMSIZ`, with the closing zero.
const INTERFACE_NAME_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn group(interface: &str, vrid: u8, addresses: &[&str]) -> GroupConfig {
        let addresses = addresses.iter().map(|a| a.parse().unwrap()).collect();
        GroupConfig::new(interface, vrid, addresses, Interval::SECOND)
    }

    #[test]
    fn configurations_that_cannot_work_are_refused() {
        let refusal = |groups: &[GroupConfig]| check(groups).unwrap_err().to_string();
        let one = group("eth0", 51, &["10.0.0.100/24"]);
        check(&[one.clone(), group("eth0", 52, &["10.0.0.101"])]).unwrap();
        check(&[one.clone(), group("eth1", 51, &["10.0.1.100"])]).unwrap();
        assert_eq!(
            refusal(&[one.clone(), group("eth0", 51, &["10.0.0.101"])]),
            "vrid 51 is configured twice on eth0; choose another for one of them"
        );
        assert_eq!(
            refusal(&[one.clone(), group("eth1", 51, &["10.0.0.100"])]),
            "address 10.0.0.100 is configured twice; remove one"
        );
        assert_eq!(refusal(&[group("eth0", 51, &[])]), "vrid 51 has 0 addresses; give it 1-64");
        assert!(refusal(&[group("eth0", 0, &["10.0.0.1"])]).starts_with("vrid 0 on eth0"));
        assert!(refusal(&[group("a-name-too-long-", 1, &["10.0.0.1"])]).contains("ip link"));
        check(&[one.clone(), group("eth0", 51, &["fe80::100/128"])]).unwrap();
        let mixed = group("eth0", 51, &["10.0.0.100/24", "fe80::100"]);
        assert!(refusal(&[mixed]).contains("write two groups"));
        let v2 = |address: &str, centis| GroupConfig {
            version: Version::V2,
            interval: Interval::from_centis(centis).unwrap(),
            ..group("eth0", 51, &[address])
        };
        check(&[v2("10.0.0.100", 300)]).unwrap();
        assert!(refusal(&[v2("10.0.0.100", 10)]).contains("whole seconds"));
        assert!(refusal(&[v2("fe80::1", 100)]).contains("use version 3"));
        let password = Authentication::password("x").unwrap();
        let secret = GroupConfig { authentication: password, ..one.clone() };
        assert!(refusal(&[secret]).contains("only version 2"));
        let unicast = |peers: &[&str]| GroupConfig {
            unicast: Some(Unicast {
                peers: peers.iter().map(|p| p.parse().unwrap()).collect(),
                check_source: true,
                ttl_min: 255,
            }),
            ..one.clone()
        };
        check(&[unicast(&["10.0.0.2"])]).unwrap();
        assert!(refusal(&[unicast(&[])]).contains("1 to 8"));
        assert!(refusal(&[unicast(&["fe80::2"])]).contains("other family"));
        assert!(refusal(&vec![one; 33]).starts_with("33 [[vrrp]] sections"));
    }
}
