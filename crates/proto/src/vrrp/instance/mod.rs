//! One virtual router (RFC 9568 6), subordinate to the pair.
//!
//! ```text
//!   stand:   Silent ───────► Initialize     only listens and reports
//!            Standby ──────► Backup         times the Active, reports, never becomes Active
//!            Holder ───────► Active         at once, while the lease lives; else Backup
//!
//!   Active ── outranked ───────────────► Backup ── that one is gone ──► Active
//!   Active ── lease over, fault ───────► Backup ── pulse, fault over ──► Active
//! ```
//!
//! Invariants: Active only while the stand is Holder *and* the last pulse's deadline lies ahead;
//! addresses are added on entering Active and removed on leaving it, and adverts with a priority
//! above zero are sent only in between (DESIGN.md 3, invariant 8). An advert that is not accepted
//! changes nothing but a counter. One call makes at most [`OUTPUTS_PER_CALL_MAX`] outputs.
//!
//! Deliberately absent: any decision about who writes; preemption by a standby.

use super::packet::{
    ADDRESSES_MAX, Advert, Arrival, Checksum, DecodeError, GROUP, Interval, TTL, decode, encode,
};
use crate::time::Mono;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::net::Ipv4Addr;
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

/// Most outputs of one `handle_*` or `set_*` call.
pub const OUTPUTS_PER_CALL_MAX: usize = 16;

/// What an instance is made of.
#[derive(Clone, Debug)]
pub struct Config {
    /// Virtual Router ID; 1-255.
    pub vrid: u8,
    /// The time between our adverts.
    pub interval: Interval,
    /// The interface's own address: where our adverts come from, and the tie-breaker.
    pub source: Ipv4Addr,
    /// The addresses that this instance stands for; 1-255 of them.
    pub addresses: Vec<Ipv4Addr>,
    /// The checksum form to begin with; an accepted advert's form replaces it.
    pub checksum: Checksum,
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
        source: Ipv4Addr,
        /// Its priority; 255 for the owner of the addresses.
        priority: u8,
    },
    /// Active_Down_Timer: no accepted advert for three intervals and the skew.
    MasterDown,
    /// The Active sent priority 0. `MasterDown` follows after the skew.
    ActiveReleased {
        /// Its address.
        source: Ipv4Addr,
    },
    /// We are the Holder, but one of higher rank advertises: we yielded.
    Outranked {
        /// Its address.
        source: Ipv4Addr,
        /// Its priority.
        priority: u8,
    },
    /// The lease was not renewed in time: addresses removed, priority 0 sent.
    Lapsed,
    /// The interface cannot carry the addresses, or the kernel refuses them: withdrawn if Active.
    Fault,
    /// [`FAULT_RETRY`] passed without another word of a fault; a Holder tries again.
    FaultOver,
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
    /// Send this VRRP message to [`GROUP`].
    SendAdvert(Vec<u8>),
    /// Send gratuitous ARPs for every address.
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
    /// TTL below 255.
    pub ttl: u64,
    /// Shorter or longer than announced.
    pub length: u64,
    /// Not version 3.
    pub version: u64,
    /// Not an advertisement.
    pub kind: u64,
    /// Checksum wrong in both forms.
    pub checksum: u64,
    /// Virtual router id, address count or interval of zero.
    pub value: u64,
    /// Our virtual router id for other addresses: two configurations disagree.
    pub addresses: u64,
    /// Sent to something else than the multicast group.
    pub destination: u64,
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
            own_source,
        } = *self;
        [ttl, length, version, kind, checksum, value, addresses, destination, own_source]
            .iter()
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
        });
    }
}

/// The machine. Drain [`Instance::poll_output`] to `None` after every other call.
#[derive(Debug)]
pub struct Instance {
    config: Config,
    /// The configured addresses, sorted, to compare with those of an advert.
    addresses: Vec<Ipv4Addr>,
    checksum: Checksum,
    stand: Stand,
    role: Role,
    /// Active only before this moment.
    lease: Mono,
    /// Not Active before this moment: a fault.
    fault_until: Option<Mono>,
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
}

/// The Active that was heard last.
#[derive(Clone, Copy, Debug)]
struct Heard {
    source: Ipv4Addr,
    priority: u8,
    /// Forgotten then.
    until: Mono,
}

impl Instance {
    /// A silent instance. Its Active_Down_Timer runs from `now`.
    #[must_use]
    pub fn new(mut config: Config, now: Mono) -> Self {
        config.addresses.truncate(ADDRESSES_MAX);
        let mut addresses = config.addresses.clone();
        addresses.sort_unstable();
        let mut instance = Self {
            addresses,
            checksum: config.checksum,
            stand: Stand::Silent,
            role: Role::Initialize,
            lease: Mono::default(),
            fault_until: None,
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
        if stand == self.stand {
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
            Stand::Standby { .. } => self.step_down(Role::Backup, now),
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
    pub fn set_source(&mut self, source: Ipv4Addr) {
        self.config.source = source;
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
        let Some(advert) = self.accept(bytes, arrival) else { return };
        let source = arrival.source;
        match (&self.role, advert.priority) {
            // RFC 9568 6.4.3: "If the Priority in the ADVERTISEMENT is zero, then: Send an
            // ADVERTISEMENT, Reset the Adver_Timer".
            (Role::Active(_), 0) => {
                self.heard = self.heard.filter(|heard| heard.source != source);
                self.advertise(now);
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
            self.try_activate(now);
        }
        if take_due(&mut self.down_at, now) {
            match self.stand {
                Stand::Holder { .. } => self.try_activate(now),
                Stand::Silent | Stand::Standby { .. } => self.report(Event::MasterDown),
            }
        }
        self.reign(now);
    }

    /// The next thing to do, if any.
    pub fn poll_output(&mut self) -> Option<Output> {
        let output = self.outputs.pop_front()?;
        if matches!(output, Output::SendAdvert(_)) {
            bump(&mut self.counters.sent);
        }
        Some(output)
    }

    /// When to call [`Instance::handle_timeout`].
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Mono> {
        let mut next = [self.heard.map(|heard| heard.until), self.fault_until, self.down_at]
            .into_iter()
            .flatten()
            .min();
        if let Role::Active(reign) = &self.role {
            let reign = [reign.advert_at, reign.refresh_at, reign.announce_at, self.lease];
            next = reign.into_iter().chain(next).min();
        }
        match &self.role {
            Role::Active(Reign { announce_again_at: Some(at), .. }) => {
                next.map(|next| next.min(*at))
            }
            _ => next,
        }
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
    pub fn holder(&self) -> Option<Ipv4Addr> {
        match self.role {
            Role::Active(_) => Some(self.config.source),
            Role::Initialize | Role::Backup => self.heard.map(|heard| heard.source),
        }
    }

    /// What came and went.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    // ---- Reception -----------------------------------------------------------------------------

    /// RFC 9568 7.1. What is not accepted is counted.
    fn accept(&mut self, bytes: &[u8], arrival: Arrival) -> Option<Advert> {
        let errors = &mut self.counters.errors;
        let decoded = match decode(bytes, arrival, TTL) {
            Ok(decoded) => decoded,
            Err(error) => {
                errors.count(error);
                return None;
            }
        };
        let advert = decoded.advert;
        if advert.vrid != self.config.vrid {
            bump(&mut self.counters.other_vrid);
            return None;
        }
        if arrival.destination != GROUP {
            bump(&mut errors.destination);
            return None;
        }
        if arrival.source == self.config.source {
            bump(&mut errors.own_source);
            return None;
        }
        // As keepalived: equal in count and set; the order is free.
        let mut addresses = advert.addresses.clone();
        addresses.sort_unstable();
        if addresses != self.addresses {
            bump(&mut errors.addresses);
            return None;
        }
        bump(&mut self.counters.received);
        self.checksum = decoded.checksum;
        Some(advert)
    }

    /// Another Active while we are Active (RFC 9568 6.4.3).
    fn meet_rival(&mut self, source: Ipv4Addr, advert: &Advert, now: Mono) {
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
    fn hear_active(&mut self, source: Ipv4Addr, advert: &Advert, now: Mono) {
        // A Holder that was outranked preempts: who ranks below it does not reset its timer. A
        // standby leaves preemption to the pair: whoever is Active, is.
        let preempts = match self.stand {
            Stand::Holder { priority } => advert.priority < priority.get(),
            Stand::Silent | Stand::Standby { .. } => false,
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
    fn hear_release(&mut self, source: Ipv4Addr, now: Mono) {
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
    fn note(&mut self, source: Ipv4Addr, priority: u8, now: Mono) {
        let until = now.after(self.down_interval());
        self.remember(Heard { source, priority, until });
    }

    /// Remembers an Active that we do not time, until three of its own intervals passed.
    fn note_rival(&mut self, source: Ipv4Addr, advert: &Advert, now: Mono) {
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
        }));
        self.advertise(now);
        self.output(Output::Announce { times: GARP_BURST });
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
        let again = take_due(&mut reign.announce_again_at, now);
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
        let advert = Advert {
            vrid: self.config.vrid,
            priority,
            interval: self.config.interval,
            addresses: self.config.addresses.clone(),
        };
        let bytes = encode(&advert, self.config.source, GROUP, self.checksum);
        self.output(Output::SendAdvert(bytes));
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
            Stand::Standby { priority } | Stand::Holder { priority } => priority.get(),
        }
    }

    /// RFC 9568 6.1: Skew_Time = ((256 - Priority) * Active_Adver_Interval) / 256.
    fn skew(&self) -> Duration {
        self.active_interval.duration() * (256 - u32::from(self.priority())) / 256
    }

    /// RFC 9568 6.1: Active_Down_Interval = 3 * Active_Adver_Interval + Skew_Time.
    fn down_interval(&self) -> Duration {
        self.active_interval.duration() * DOWN_ADVERTS + self.skew()
    }
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
