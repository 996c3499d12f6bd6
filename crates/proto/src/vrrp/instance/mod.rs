//! One virtual router (RFC 9568 6), subordinate to the pair.
//!
//! ```text
//!   stand:   Silent ───────► Initialize     only listens and reports
//!            Standby ──────► Backup         times the Active, reports, never becomes Active
//!            Holder ───────► Active         at once, while the lease lives; else Backup
//!
//!   Active ── outranked ───────────────► Backup ── that one is gone ──► Active
//!   Active ── lease over, fault, held ─► Backup ── pulse, fault over ──► Active
//! ```
//!
//! Invariants: Active only while the stand is Holder *and* the last pulse's deadline lies ahead;
//! addresses are added on entering Active and removed on leaving it, and adverts with a priority
//! above zero are sent only in between (DESIGN.md 3, invariant 8). An advert that is not accepted
//! changes nothing but a counter. Who is deaf (a fault) calls nobody down. One call makes at most
//! [`OUTPUTS_PER_CALL_MAX`] outputs.
//!
//! Deliberately absent: any decision about who writes; preemption by a standby.

use super::packet::{
    ADDRESSES_MAX, Advert, Arrival, Authentication, Checksum, DecodeError, Decoded, Interval, TTL,
    Version, decode, encode, group_of,
};
use crate::time::Mono;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;

/// How long the kernel keeps an address that nobody refreshes: a frozen or killed process loses it
/// by itself. The kernel counts in seconds.
pub const ADDRESS_LIFETIME: Duration = Duration::from_secs(1);

/// How often an address is refreshed: three refreshes may be late before the kernel removes it.
pub const ADDRESS_REFRESH: Duration = Duration::from_millis(250);

/// Gratuitous ARPs per address in one burst, as keepalived's `garp_master_repeat`.
pub const GARP_BURST: u8 = 5;

/// When the burst is repeated, for switches that were still learning (`garp_master_delay`).
pub const GARP_DELAY: Duration = Duration::from_secs(5);

/// How often one gratuitous ARP per address is sent while Active (`garp_master_refresh`).
pub const GARP_REFRESH: Duration = Duration::from_secs(60);

/// Least time between two bursts that other Actives' adverts cause: one router that never yields
/// must not make us flood the link.
pub const GARP_REPEAT_MIN: Duration = Duration::from_secs(1);

/// How long an instance stays down after the last word of a fault.
pub const FAULT_RETRY: Duration = Duration::from_secs(1);

/// How long a conflict that is not heard again counts as going on.
pub const CONFLICT_KEPT: Duration = Duration::from_secs(10);

/// How often a conflict that goes on is reported again.
pub const CONFLICT_REPEAT: Duration = Duration::from_secs(60);

/// How long the pair's two appliances may both be Holders of one rank: the guardian that gives the
/// addresses away has that long to hear of it. After it the rule of everybody counts, the higher
/// address.
pub const MEETING_MAX: Duration = Duration::from_secs(1);

/// Most unicast peers of one virtual router: a pair needs one, an origin of several machines more.
pub const PEERS_MAX: usize = 8;

/// Most outputs of one `handle_*` or `set_*` call.
pub const OUTPUTS_PER_CALL_MAX: usize = 16 + 2 * PEERS_MAX;

/// What an instance is made of.
#[derive(Clone, Debug)]
pub struct Config {
    /// Virtual Router ID; 1-255.
    pub vrid: u8,
    /// The version spoken; adverts of another are dropped.
    pub version: Version,
    /// The time between our adverts; whole seconds in version 2.
    pub interval: Interval,
    /// The interface's own address: where our adverts come from, and the tie-breaker. Link-local
    /// for IPv6 (RFC 9568 5.1.2.1). Its family is the instance's.
    pub source: IpAddr,
    /// The addresses that this instance stands for; 1-255 of the family of `source`.
    pub addresses: Vec<IpAddr>,
    /// The checksum form to begin with; an accepted advert's form replaces it.
    pub checksum: Checksum,
    /// Version 2: what adverts carry, ours and those that are accepted.
    pub authentication: Authentication,
    /// Unicast peers, at most [`PEERS_MAX`]; none for multicast.
    pub peers: Vec<IpAddr>,
    /// Whether unicast adverts are accepted of `peers` only.
    pub check_source: bool,
    /// The TTL or hop limit that a unicast advert must have left. Multicast is always [`TTL`].
    pub ttl_min: u8,
    /// Whether it belongs to a sync group: see [`synchronise`].
    pub synced: bool,
}

impl Config {
    /// Version 3, multicast, alone.
    #[must_use]
    pub fn new(vrid: u8, interval: Interval, source: IpAddr, addresses: Vec<IpAddr>) -> Self {
        Self {
            vrid,
            version: Version::V3,
            interval,
            source,
            addresses,
            checksum: Checksum::default(),
            authentication: Authentication::None,
            peers: Vec::new(),
            check_source: true,
            ttl_min: TTL,
            synced: false,
        }
    }
}

/// A priority that is derived, not owned: 1-254. 0 and 255 have meanings of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct Priority(u8);

impl Priority {
    /// Of the node that holds the current epoch.
    pub const HOLDER: Self = Self(200);
    /// Of an insync standby.
    pub const STANDBY: Self = Self(100);

    /// `None` for 0 (release) and 255 (address owner).
    #[must_use]
    pub fn new(priority: u8) -> Option<Self> {
        (1..=254).contains(&priority).then_some(Self(priority))
    }

    /// As on the wire.
    #[must_use]
    pub fn get(self) -> u8 {
        self.0
    }
}

impl TryFrom<u8> for Priority {
    type Error = &'static str;

    fn try_from(priority: u8) -> Result<Self, Self::Error> {
        Self::new(priority).ok_or("a derived priority is 1-254")
    }
}

impl From<Priority> for u8 {
    fn from(priority: Priority) -> Self {
        priority.0
    }
}

/// Where the pair tells the instance to stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stand {
    /// Not fit to serve: listen and report, say nothing.
    Silent,
    /// Insync: time the Active and report, but leave taking over to the pair.
    Standby {
        /// Shortens or lengthens the skew (RFC 9568 6.1).
        priority: Priority,
    },
    /// As `Standby`, and Active_Down_Timer starts anew even where it stood so already: what was
    /// heard, or not heard, before this word says nothing any more.
    StandbyAnew {
        /// As in `Standby`.
        priority: Priority,
    },
    /// Holder of the epoch: be Active.
    Holder {
        /// What the adverts say.
        priority: Priority,
    },
}

/// RFC 9568 6.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// Takes no part.
    Initialize,
    /// Watches the Active.
    Backup,
    /// Has the addresses and advertises.
    Active,
}

/// What the pair should know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// The state changed.
    Entered(State),
    /// An Active is heard that was not heard before, or whose priority changed.
    HeardActive {
        /// Its address.
        source: IpAddr,
        /// Its priority; 255 for the owner of the addresses.
        priority: u8,
    },
    /// Active_Down_Timer: no accepted advert for three intervals and the skew.
    MasterDown,
    /// The Active sent priority 0. `MasterDown` follows after the skew.
    ActiveReleased {
        /// Its address.
        source: IpAddr,
    },
    /// We are the Holder, but one of higher rank advertises: we yielded.
    Outranked {
        /// Its address.
        source: IpAddr,
        /// Its priority.
        priority: u8,
    },
    /// The lease was not renewed in time: addresses removed, priority 0 sent.
    Lapsed,
    /// The interface cannot carry the addresses, or the kernel refuses them: withdrawn if Active.
    Fault,
    /// [`FAULT_RETRY`] passed without another word of a fault; a Holder tries again, another times
    /// the Active anew.
    FaultOver,
    /// Another of the sync group is not fit to be Active: addresses removed, priority 0 sent.
    Held,
    /// Somebody uses our virtual router id in another way than we do. Repeated while it lasts.
    Conflict {
        /// Its address.
        source: IpAddr,
        /// What differs.
        conflict: Conflict,
    },
}

/// What another router with our virtual router id does differently. Its adverts are dropped, so each
/// ends as two Actives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Conflict {
    /// It stands for other addresses: a stranger, or two files that disagree.
    Addresses,
    /// It speaks the other version.
    Version,
    /// Version 2: another pause between adverts (RFC 3768 7.1). Version 3 adopts it.
    Interval,
    /// Version 2: another password, or none.
    Authentication,
}

/// What the driver has to do, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Add the addresses, to be removed by the kernel after `valid_for` unless refreshed.
    /// If that fails, call [`Instance::handle_fault`].
    AddAddresses {
        /// Lifetime.
        valid_for: Duration,
    },
    /// Extend the addresses' lifetime. If that fails, call [`Instance::handle_fault`].
    RefreshAddresses {
        /// Lifetime from now on.
        valid_for: Duration,
    },
    /// Remove the addresses.
    RemoveAddresses,
    /// Send this VRRP message.
    SendAdvert {
        /// The multicast group, or a unicast peer.
        to: IpAddr,
        /// The message.
        bytes: Vec<u8>,
    },
    /// Send gratuitous ARPs or unsolicited neighbour advertisements for every address.
    Announce {
        /// How many for each.
        times: u8,
    },
    /// Tell the pair.
    Event(Event),
}

/// What came and went since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Adverts handed out for sending, priority 0 included.
    pub sent: u64,
    /// Adverts accepted.
    pub received: u64,
    /// Adverts of other virtual routers on this link: no error.
    pub other_vrid: u64,
    /// Adverts dropped, by reason.
    pub errors: Errors,
}

/// Adverts that were dropped (RFC 9568 7.1). None of them resets a timer, so each kind, if it goes
/// on, ends as two Actives: worth an alarm.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Errors {
    /// TTL or hop limit too low.
    pub ttl: u64,
    /// Shorter or longer than announced.
    pub length: u64,
    /// Not the version that is spoken.
    pub version: u64,
    /// Not an advertisement.
    pub kind: u64,
    /// Checksum wrong in both forms.
    pub checksum: u64,
    /// Virtual router id, address count or interval of zero.
    pub value: u64,
    /// Our virtual router id for other addresses: two configurations disagree.
    pub addresses: u64,
    /// Sent to something else than the multicast group or, for unicast, ourselves.
    pub destination: u64,
    /// Unicast of somebody who is no peer.
    pub source: u64,
    /// Version 2: another password, or a kind that is not spoken.
    pub authentication: u64,
    /// Version 2: another interval.
    pub interval: u64,
    /// Carries our own source address: a loop, or a duplicate address.
    pub own_source: u64,
}

impl Errors {
    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        let Self {
            ttl,
            length,
            version,
            kind,
            checksum,
            value,
            addresses,
            destination,
            source,
            authentication,
            interval,
            own_source,
        } = *self;
        [ttl, length, version, kind, checksum, value, addresses, destination, source]
            .iter()
            .chain(&[authentication, interval, own_source])
            .fold(0, |sum, n| sum.saturating_add(*n))
    }

    fn count(&mut self, error: DecodeError) {
        bump(match error {
            DecodeError::Ttl { .. } => &mut self.ttl,
            DecodeError::Length { .. } => &mut self.length,
            DecodeError::Version(_) => &mut self.version,
            DecodeError::Type(_) => &mut self.kind,
            DecodeError::Checksum => &mut self.checksum,
            DecodeError::Vrid | DecodeError::NoAddresses | DecodeError::Interval => &mut self.value,
            DecodeError::Authentication(_) => &mut self.authentication,
        });
    }
}

/// The machine. Drain [`Instance::poll_output`] to `None` after every other call.
#[derive(Debug)]
pub struct Instance {
    config: Config,
    /// The configured addresses, sorted, to compare with those of an advert.
    addresses: Vec<IpAddr>,
    checksum: Checksum,
    /// The pair's other appliance on this link, as far as it is known.
    peer: Option<IpAddr>,
    stand: Stand,
    role: Role,
    /// Active only before this moment.
    lease: Mono,
    /// Not Active before this moment: a fault.
    fault_until: Option<Mono>,
    /// Not Active: another of the sync group is unfit.
    held: bool,
    clash: Option<Clash>,
    heard: Option<Heard>,
    /// RFC 9568 6.2, Active_Down_Timer.
    down_at: Option<Mono>,
    /// RFC 9568 6.1, Active_Adver_Interval.
    active_interval: Interval,
    outputs: VecDeque<Output>,
    counters: Counters,
}

#[derive(Debug)]
enum Role {
    Initialize,
    Backup,
    Active(Reign),
}

/// The timers of an Active.
#[derive(Debug)]
struct Reign {
    advert_at: Mono,
    refresh_at: Mono,
    announce_again_at: Option<Mono>,
    announce_at: Mono,
    announced: Mono,
    since: Mono,
    /// When the pair's other appliance was first and last met as a Holder, too.
    met: Option<(Mono, Mono)>,
    /// When clients were last called here once more, after the other one went.
    called: Option<Mono>,
    /// When they are called again.
    call_again_at: Option<Mono>,
}

/// The conflict that was heard last.
#[derive(Clone, Copy, Debug)]
struct Clash {
    source: IpAddr,
    conflict: Conflict,
    seen: Mono,
    reported: Mono,
}

/// The Active that was heard last.
#[derive(Clone, Copy, Debug)]
struct Heard {
    source: IpAddr,
    priority: u8,
    /// Forgotten then.
    until: Mono,
}

impl Instance {
    /// A silent instance. Its Active_Down_Timer runs from `now`.
    #[must_use]
    pub fn new(mut config: Config, now: Mono) -> Self {
        config.addresses.truncate(ADDRESSES_MAX);
        config.peers.truncate(PEERS_MAX);
        // RFC 9568 5.2.9: "the first address MUST be the IPv6 link-local address".
        config.addresses.sort_by_key(|address| !is_link_local(*address));
        let mut addresses = config.addresses.clone();
        addresses.sort_unstable();
        let mut instance = Self {
            addresses,
            checksum: config.checksum,
            peer: None,
            stand: Stand::Silent,
            role: Role::Initialize,
            lease: Mono::default(),
            fault_until: None,
            held: config.synced,
            clash: None,
            heard: None,
            down_at: None,
            active_interval: config.interval,
            outputs: VecDeque::with_capacity(OUTPUTS_PER_CALL_MAX),
            counters: Counters::default(),
            config,
        };
        instance.down_at = Some(now.after(instance.down_interval()));
        instance
    }

    /// Takes the pair's word. A Holder becomes Active within this call if its lease lives (see
    /// [`Instance::handle_pulse`]) and there is no fault.
    pub fn set_stand(&mut self, stand: Stand, now: Mono) {
        self.expire_lease(now);
        let (stand, anew) = match stand {
            Stand::StandbyAnew { priority } => (Stand::Standby { priority }, true),
            stand => (stand, false),
        };
        if stand == self.stand {
            if anew {
                self.heard = None;
                self.down_at = Some(now.after(self.down_interval()));
            }
            return;
        }
        self.stand = stand;
        match stand {
            Stand::Holder { .. } => {
                if matches!(self.role, Role::Active(_)) {
                    self.advertise(now); // The priority changed.
                } else {
                    // The pair has the epoch: nobody needs to be waited for. Who still advertises
                    // with a higher rank will outrank us.
                    self.enter(Role::Backup);
                    self.down_at = None;
                    self.try_activate(now);
                }
            }
            Stand::Standby { .. } | Stand::StandbyAnew { .. } => {
                self.step_down(Role::Backup, now);
                if anew {
                    self.heard = None;
                    self.down_at = Some(now.after(self.down_interval()));
                }
            }
            Stand::Silent => self.step_down(Role::Initialize, now),
        }
    }

    /// The main process lives and may serve until `until`. Without a pulse no instance is Active.
    pub fn handle_pulse(&mut self, until: Mono, now: Mono) {
        // A gap is noticed even if its end comes with a fresh lease: who heard another Active
        // meanwhile must not go on as if nothing had happened.
        self.expire_lease(now);
        self.lease = self.lease.max(until);
        self.try_activate(now);
    }

    /// The interface has another address of its own now.
    pub fn set_source(&mut self, source: IpAddr) {
        self.config.source = source;
    }

    /// Where the adverts of the pair's other appliance come from, as it says on the pair's session:
    /// who was promoted later is not outranked by its higher address, see [`MEETING_MAX`].
    pub fn set_peer(&mut self, peer: IpAddr) {
        self.peer = Some(peer);
    }

    /// The interface is unfit (gone, down, without carrier), or the kernel refused to add or
    /// refresh an address. Say it again while it lasts: after [`FAULT_RETRY`] it counts as over.
    pub fn handle_fault(&mut self, now: Mono) {
        let known = self.fault_until.replace(now.after(FAULT_RETRY)).is_some();
        if matches!(self.role, Role::Active(_)) {
            // Nobody hears of a reign that could not begin.
            self.outputs.retain(|output| matches!(output, Output::Event(_)));
            self.withdraw(Event::Fault);
        } else if !known {
            self.report(Event::Fault);
        }
    }

    /// Takes the payload of an IP datagram of protocol 112.
    ///
    /// Call it for everything that waits in the socket before [`Instance::handle_timeout`]: a
    /// driver that was late must not call an Active down whose adverts it has not read.
    pub fn handle_input(&mut self, bytes: &[u8], arrival: Arrival, now: Mono) {
        self.expire_lease(now);
        let Some(advert) = self.accept(bytes, arrival, now) else { return };
        let source = arrival.source;
        match (&self.role, advert.priority) {
            // RFC 9568 6.4.3: "If the Priority in the ADVERTISEMENT is zero, then: Send an
            // ADVERTISEMENT, Reset the Adver_Timer".
            (Role::Active(_), 0) => {
                self.heard = self.heard.filter(|heard| heard.source != source);
                self.advertise(now);
                self.call_clients(source, now);
            }
            (Role::Active(_), _) => self.meet_rival(source, &advert, now),
            (_, 0) => self.hear_release(source, now),
            (_, _) => self.hear_active(source, &advert, now),
        }
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Mono) {
        self.expire_lease(now);
        self.heard = self.heard.filter(|heard| now < heard.until);
        if take_due(&mut self.fault_until, now) {
            self.report(Event::FaultOver);
            // Whoever was deaf has heard nothing for another reason than a dead Active.
            if self.down_at.is_some() || !matches!(self.stand, Stand::Holder { .. }) {
                self.down_at = Some(now.after(self.down_interval()));
            }
            self.try_activate(now);
        }
        if self.fault_until.is_none() && take_due(&mut self.down_at, now) {
            match self.stand {
                Stand::Holder { .. } => self.try_activate(now),
                Stand::Silent | Stand::Standby { .. } | Stand::StandbyAnew { .. } => {
                    self.report(Event::MasterDown);
                }
            }
        }
        self.reign(now);
    }

    /// The next thing to do, if any.
    pub fn poll_output(&mut self) -> Option<Output> {
        let output = self.outputs.pop_front()?;
        if matches!(output, Output::SendAdvert { .. }) {
            bump(&mut self.counters.sent);
        }
        Some(output)
    }

    /// When to call [`Instance::handle_timeout`].
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Mono> {
        let down_at = self.down_at.filter(|_| self.fault_until.is_none());
        let mut next = [self.heard.map(|heard| heard.until), self.fault_until, down_at]
            .into_iter()
            .flatten()
            .min();
        if let Role::Active(reign) = &self.role {
            let reign = [reign.advert_at, reign.refresh_at, reign.announce_at, self.lease];
            next = reign.into_iter().chain(next).min();
        }
        let again = match &self.role {
            Role::Active(reign) => [reign.announce_again_at, reign.call_again_at],
            _ => [None; 2],
        };
        next.into_iter().chain(again.into_iter().flatten()).min()
    }

    /// RFC 9568 6.3.
    #[must_use]
    pub fn state(&self) -> State {
        match self.role {
            Role::Initialize => State::Initialize,
            Role::Backup => State::Backup,
            Role::Active(_) => State::Active,
        }
    }

    /// Who holds the addresses, as far as we know: ourselves, or the Active heard last.
    #[must_use]
    pub fn holder(&self) -> Option<IpAddr> {
        match self.role {
            Role::Active(_) => Some(self.config.source),
            Role::Initialize | Role::Backup => self.heard.map(|heard| heard.source),
        }
    }

    /// Whoever is Active although we are the Holder, with its priority: a stranger, or a peer that
    /// believes to be the Holder, too.
    #[must_use]
    pub fn outranked_by(&self) -> Option<(IpAddr, u8)> {
        let holder = matches!(self.stand, Stand::Holder { .. });
        let other = self.heard.filter(|_| holder && !matches!(self.role, Role::Active(_)));
        other.map(|heard| (heard.source, heard.priority))
    }

    /// Whether that router was the last one heard, and not longer ago than an Active may be silent.
    #[must_use]
    pub fn hears(&self, source: IpAddr) -> bool {
        self.heard.is_some_and(|heard| heard.source == source)
    }

    /// The conflict that goes on, if any.
    #[must_use]
    pub fn conflict(&self, now: Mono) -> Option<(IpAddr, Conflict)> {
        let clash = self.clash.filter(|clash| now.since(clash.seen) < CONFLICT_KEPT)?;
        Some((clash.source, clash.conflict))
    }

    /// Whether it is Active or would be, its sync group apart.
    #[must_use]
    pub fn is_ready(&self, now: Mono) -> bool {
        let clear = matches!(self.role, Role::Active(_)) || self.down_at.is_none();
        let holder = matches!(self.stand, Stand::Holder { .. });
        holder && clear && self.fault_until.is_none() && now < self.lease
    }

    /// What came and went.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    // ---- Reception -----------------------------------------------------------------------------

    /// RFC 9568 7.1. What is not accepted is counted.
    fn accept(&mut self, bytes: &[u8], arrival: Arrival, now: Mono) -> Option<Advert> {
        let errors = &mut self.counters.errors;
        let unicast = !self.config.peers.is_empty();
        let ttl_min = if unicast { self.config.ttl_min } else { TTL };
        let decoded = match decode(bytes, arrival, ttl_min) {
            Ok(decoded) => decoded,
            Err(error) => {
                errors.count(error);
                return None;
            }
        };
        let Decoded { advert, checksum } = decoded;
        if advert.vrid != self.config.vrid {
            bump(&mut self.counters.other_vrid);
            return None;
        }
        let source = self.config.source;
        if arrival.destination != if unicast { source } else { group_of(source) } {
            bump(&mut errors.destination);
            return None;
        }
        if arrival.source == source {
            bump(&mut errors.own_source);
            return None;
        }
        if unicast && self.config.check_source && !self.config.peers.contains(&arrival.source) {
            bump(&mut errors.source);
            return None;
        }
        if let Some(conflict) = self.conflict_of(&advert) {
            let errors = &mut self.counters.errors;
            bump(match conflict {
                Conflict::Addresses => &mut errors.addresses,
                Conflict::Version => &mut errors.version,
                Conflict::Interval => &mut errors.interval,
                Conflict::Authentication => &mut errors.authentication,
            });
            self.clash(arrival.source, conflict, now);
            return None;
        }
        bump(&mut self.counters.received);
        self.checksum = checksum;
        Some(advert)
    }

    fn conflict_of(&self, advert: &Advert) -> Option<Conflict> {
        if advert.version != self.config.version {
            return Some(Conflict::Version);
        }
        if advert.authentication != self.config.authentication {
            return Some(Conflict::Authentication);
        }
        // As keepalived: equal in count and set; the order is free.
        let mut addresses = advert.addresses.clone();
        addresses.sort_unstable();
        if addresses != self.addresses {
            return Some(Conflict::Addresses);
        }
        // RFC 3768 7.1; version 3 adopts the Active's (RFC 9568 6.4.2).
        let differs = advert.version == Version::V2 && advert.interval != self.config.interval;
        differs.then_some(Conflict::Interval)
    }

    fn clash(&mut self, source: IpAddr, conflict: Conflict, now: Mono) {
        let known = self.clash.filter(|clash| {
            clash.source == source
                && clash.conflict == conflict
                && now.since(clash.reported) < CONFLICT_REPEAT
        });
        let reported = known.map_or(now, |clash| clash.reported);
        self.clash = Some(Clash { source, conflict, seen: now, reported });
        if known.is_none() {
            self.report(Event::Conflict { source, conflict });
        }
    }

    /// The pair's other appliance is a Holder of our rank, too: of a handover one half is late. Reigns
    /// follow each other, so whoever began just now is the later one and stays, whatever its address;
    /// the other is about to hear the pair's word, and calls no clients back until then. `false` when
    /// this has gone on for too long.
    fn meet_peer(&mut self, source: IpAddr, advert: &Advert, now: Mono) -> bool {
        if self.peer != Some(source) || advert.priority != self.priority() {
            return false;
        }
        // Whoever else is heard meanwhile makes no new meeting of it.
        let over = self.down_interval().max(MEETING_MAX);
        let Role::Active(reign) = &mut self.role else { return false };
        let begun = reign.met.filter(|(_, last)| now.since(*last) < over).map(|(first, _)| first);
        let anew = begun.is_none();
        let first = begun.unwrap_or(now);
        reign.met = Some((first, now));
        let later = now.since(reign.since) < MEETING_MAX;
        let early = now.since(first) < MEETING_MAX;
        if !later && !early {
            return false;
        }
        self.note_rival(source, advert, now);
        // Switches learn from it where a virtual Ethernet address is. Once: the other may be as new.
        if later && anew {
            self.advertise(now);
        }
        true
    }

    /// The peer was Active, too, and has gone: whoever asked meanwhile may have had its answer. It says
    /// so even where nothing else of it was heard: after a split the pair's word may reach it first.
    fn call_clients(&mut self, source: IpAddr, now: Mono) {
        if self.peer == Some(source) {
            self.handle_reunion(now);
        }
    }

    /// A way to the pair's other appliance is there again that was lost: who lives behind it may
    /// remember that one as Active. Called at once and a second later, when the other one has surely
    /// gone; not more often, for whoever forges adverts must not make us flood the link.
    pub fn handle_reunion(&mut self, now: Mono) {
        let Role::Active(reign) = &mut self.role else { return };
        reign.call_again_at.get_or_insert_with(|| now.after(GARP_REPEAT_MIN));
        if reign.called.is_none_or(|called| now.since(called) >= GARP_REPEAT_MIN) {
            reign.met = None;
            reign.called = Some(now);
            reign.announced = now;
            self.output(Output::Announce { times: GARP_BURST });
        }
    }

    /// Another Active while we are Active (RFC 9568 6.4.3).
    fn meet_rival(&mut self, source: IpAddr, advert: &Advert, now: Mono) {
        if self.meet_peer(source, advert, now) {
            return;
        }
        // "If the Priority in the ADVERTISEMENT is greater than the local Priority, or equal and
        // the primary IPvX address of the sender is greater".
        let (theirs, ours) = ((advert.priority, source), (self.priority(), self.config.source));
        if theirs > ours {
            self.output(Output::RemoveAddresses);
            self.active_interval = advert.interval;
            self.enter(Role::Backup);
            self.report(Event::Outranked { source, priority: advert.priority });
            self.down_at = Some(now.after(self.down_interval()));
            self.note(source, advert.priority, now);
            return;
        }
        // RFC 9568 6.4.3: a lower one is answered at once, so that it and the switches learn.
        self.note_rival(source, advert, now);
        self.advertise(now);
        let mut announce = false;
        if let Role::Active(reign) = &mut self.role
            && now.since(reign.announced) >= GARP_REPEAT_MIN
        {
            reign.announced = now;
            reign.announce_again_at = Some(now.after(GARP_DELAY));
            announce = true;
        }
        if announce {
            self.output(Output::Announce { times: GARP_BURST });
        }
    }

    /// An Active while we are none (RFC 9568 6.4.2).
    fn hear_active(&mut self, source: IpAddr, advert: &Advert, now: Mono) {
        // A Holder that was outranked preempts: who ranks below it does not reset its timer. A
        // standby leaves preemption to the pair: whoever is Active, is.
        let preempts = match self.stand {
            Stand::Holder { priority } => advert.priority < priority.get(),
            Stand::Silent | Stand::Standby { .. } | Stand::StandbyAnew { .. } => false,
        };
        if preempts {
            if self.down_at.is_none() {
                self.note_rival(source, advert, now);
            }
            return;
        }
        self.active_interval = advert.interval;
        self.down_at = Some(now.after(self.down_interval()));
        self.note(source, advert.priority, now);
    }

    /// Priority 0 while we are not Active (RFC 9568 6.4.2: "Set the Active_Down_Timer to
    /// Skew_Time"). Only the Active that we know can release: the farewell of a rival that lost
    /// says nothing about it.
    fn hear_release(&mut self, source: IpAddr, now: Mono) {
        let known = match self.heard {
            Some(heard) => heard.source == source,
            None => self.down_at.is_some(),
        };
        if !known {
            return;
        }
        let at = now.after(self.skew());
        self.heard = None;
        self.down_at = Some(self.down_at.map_or(at, |down_at| down_at.min(at)));
        self.report(Event::ActiveReleased { source });
    }

    /// Remembers the Active that Active_Down_Timer is about.
    fn note(&mut self, source: IpAddr, priority: u8, now: Mono) {
        let until = now.after(self.down_interval());
        self.remember(Heard { source, priority, until });
    }

    /// Remembers an Active that we do not time, until three of its own intervals passed.
    fn note_rival(&mut self, source: IpAddr, advert: &Advert, now: Mono) {
        let until = now.after(advert.interval.duration() * (DOWN_ADVERTS + 1));
        self.remember(Heard { source, priority: advert.priority, until });
    }

    fn remember(&mut self, heard: Heard) {
        let before = self.heard.replace(heard).map(|old| (old.source, old.priority));
        if before != Some((heard.source, heard.priority)) {
            let Heard { source, priority, .. } = heard;
            self.report(Event::HeardActive { source, priority });
        }
    }

    // ---- Transitions ---------------------------------------------------------------------------

    fn try_activate(&mut self, now: Mono) {
        let may = matches!(self.stand, Stand::Holder { .. })
            && !matches!(self.role, Role::Active(_))
            && self.down_at.is_none()
            && self.fault_until.is_none()
            && !self.held
            && now < self.lease;
        if !may {
            return;
        }
        self.heard = None;
        self.active_interval = self.config.interval;
        self.output(Output::AddAddresses { valid_for: ADDRESS_LIFETIME });
        self.enter(Role::Active(Reign {
            advert_at: now,
            refresh_at: now.after(ADDRESS_REFRESH),
            announce_again_at: Some(now.after(GARP_DELAY)),
            announce_at: now.after(GARP_REFRESH),
            announced: now,
            since: now,
            met: None,
            called: None,
            call_again_at: None,
        }));
        self.advertise(now);
        self.output(Output::Announce { times: GARP_BURST });
    }

    fn set_held(&mut self, held: bool, now: Mono) {
        self.held = held;
        if held && matches!(self.role, Role::Active(_)) {
            self.withdraw(Event::Held);
        }
        self.try_activate(now);
    }

    /// The pair wants no Active here.
    fn step_down(&mut self, role: Role, now: Mono) {
        if matches!(self.role, Role::Active(_)) {
            self.release();
        }
        self.enter(role);
        // Nobody is timed: begin, so that a new stand gets its own MasterDown.
        if self.down_at.is_none() {
            self.down_at = Some(now.after(self.down_interval()));
        }
    }

    fn expire_lease(&mut self, now: Mono) {
        if matches!(self.role, Role::Active(_)) && now >= self.lease {
            self.withdraw(Event::Lapsed);
        }
    }

    /// Still Holder, but not fit to have the addresses. Whoever becomes Active now is timed as one
    /// that outranked us.
    fn withdraw(&mut self, why: Event) {
        self.release();
        self.enter(Role::Backup);
        self.report(why);
    }

    /// Addresses first: nobody may be told that they are free while we still answer for them.
    fn release(&mut self) {
        self.output(Output::RemoveAddresses);
        self.send(0);
        self.heard = None;
    }

    fn enter(&mut self, role: Role) {
        let before = self.state();
        self.role = role;
        if self.state() != before {
            self.report(Event::Entered(self.state()));
        }
    }

    // ---- Active --------------------------------------------------------------------------------

    /// What an Active does by the clock.
    fn reign(&mut self, now: Mono) {
        let Role::Active(reign) = &mut self.role else { return };
        let advertise = reign.advert_at <= now;
        let refresh = reign.refresh_at <= now;
        if refresh {
            reign.refresh_at = now.after(ADDRESS_REFRESH);
        }
        let again =
            take_due(&mut reign.announce_again_at, now) | take_due(&mut reign.call_again_at, now);
        let announce = reign.announce_at <= now;
        if again || announce {
            reign.announced = now;
            reign.announce_at = now.after(GARP_REFRESH);
        }
        if refresh {
            self.output(Output::RefreshAddresses { valid_for: ADDRESS_LIFETIME });
        }
        if advertise {
            self.advertise(now);
        }
        if again {
            self.output(Output::Announce { times: GARP_BURST });
        } else if announce {
            self.output(Output::Announce { times: 1 });
        }
    }

    /// Sends an advert and sets Adver_Timer, without drift while we are in time.
    fn advertise(&mut self, now: Mono) {
        let priority = self.priority();
        let interval = self.config.interval.duration();
        if let Role::Active(reign) = &mut self.role {
            let next = reign.advert_at.after(interval);
            let in_time = reign.advert_at <= now && now < next;
            reign.advert_at = if in_time { next } else { now.after(interval) };
            self.send(priority);
        }
    }

    fn send(&mut self, priority: u8) {
        let Config { vrid, version, interval, source, authentication, .. } = self.config;
        let addresses = self.config.addresses.clone();
        let advert = Advert { version, vrid, priority, interval, addresses, authentication };
        let group = [group_of(source)];
        let unicast = !self.config.peers.is_empty();
        let to = if unicast { self.config.peers.as_slice() } else { &group };
        for to in to {
            let bytes = encode(&advert, source, *to, self.checksum);
            self.outputs.push_back(Output::SendAdvert { to: *to, bytes });
        }
    }

    fn report(&mut self, event: Event) {
        self.output(Output::Event(event));
    }

    fn output(&mut self, output: Output) {
        self.outputs.push_back(output);
    }

    fn priority(&self) -> u8 {
        match self.stand {
            Stand::Silent => PRIORITY_SILENT,
            Stand::Standby { priority }
            | Stand::StandbyAnew { priority }
            | Stand::Holder { priority } => priority.get(),
        }
    }

    /// RFC 9568 6.1: Skew_Time = ((256 - Priority) * Active_Adver_Interval) / 256.
    /// RFC 3768 6.1: ((256 - Priority) / 256) seconds.
    fn skew(&self) -> Duration {
        let unit = match self.config.version {
            Version::V2 => Duration::from_secs(1),
            Version::V3 => self.active_interval.duration(),
        };
        unit * (256 - u32::from(self.priority())) / 256
    }

    /// RFC 9568 6.1: Active_Down_Interval = 3 * Active_Adver_Interval + Skew_Time.
    fn down_interval(&self) -> Duration {
        self.active_interval.duration() * DOWN_ADVERTS + self.skew()
    }
}

/// Lets the members of one sync group move as one: all are Active, or none. To be called after
/// anything else was done to any of them; then drain all of them.
///
/// A member that is unfit (a fault, a higher rank on its link, another stand) holds all others.
pub fn synchronise(members: &mut [&mut Instance], now: Mono) {
    let held = !members.iter().all(|member| member.is_ready(now));
    for member in members {
        member.set_held(held, now);
    }
}

/// RFC 4291 2.5.6.
fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}

/// Takes a one-shot timer if it is due.
fn take_due(timer: &mut Option<Mono>, now: Mono) -> bool {
    timer.take_if(|at| *at <= now).is_some()
}

fn bump(counter: &mut u64) {
    *counter = counter.saturating_add(1);
}

/// Adverts that may be missed before the Active counts as down.
const DOWN_ADVERTS: u32 = 3;

/// Nothing is advertised with it; it makes a silent node's skew the longest.
const PRIORITY_SILENT: u8 = 1;

#[cfg(test)]
mod tests;
