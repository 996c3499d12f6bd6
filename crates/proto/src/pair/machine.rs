//! The machine's face: what goes in, what comes out, and what all parts share.
//!
//! A driver calls [`Machine::handle`] and drains [`Machine::poll_output`] to `None` after each call.
//! Outputs are carried out in order. [`Output::Persist`] is answered with [`Input::Persisted`] once
//! the register is durable; nothing that rests on it happens before.

#[cfg(test)]
use super::Mutant;
use super::arbitration::{Court, Limbo, Right};
use super::frame::{Beacon, Frame, Hello, PhaseName, VERSION};
use super::health::{Health, Own};
use super::history::LogState;
use super::lease::Stamp;
use super::primary::{Primary, may_open};
use super::register::{Arbitration, Register};
use super::standby::Standby;
use super::status::{Role, State, Status, Waiting};
use super::witness::{WitnessAnswer, WitnessAsk};
use crate::id::{Epoch, Lsn, NodeId};
use crate::time::Mono;
use std::collections::VecDeque;
use std::time::Duration;

/// Times and sizes. The defaults are the safe ones.
#[derive(Clone, Copy, Debug)]
pub struct Timers {
    /// The primary goes on alone when the standby has not answered for so long.
    pub ack_timeout: Duration,
    /// A returning node must hold its session for so long before it is admitted.
    pub stability: Duration,
    /// Silence on all paths for so long counts as "the peer sends nothing".
    pub silence: Duration,
    /// A session on which nothing arrives for so long is over; the link's.
    pub session_silence: Duration,
    /// What is heard later than this after the session's end was not under way before it.
    pub echo: Duration,
    /// When a standby without a session decides whether it still hears its primary. Must be well
    /// below `ack_timeout` ([`Timers::check`]): a standby is stale before the primary acknowledges alone.
    pub stale_after: Duration,
    /// A node that was SOLO listens for so long at boot before it goes on.
    pub solo_boot_wait: Duration,
    /// A node that waits for its peer at boot says so to the operator after this time.
    pub boot_wait: Duration,
    /// A handover that is not taken up within this time is over.
    pub handover: Duration,
    /// A fault of the service network that is over earlier moves nothing.
    pub fault_hold: Duration,
    /// A node that has begun to reign, or tried to hand over for its health, does not hand over for a
    /// fault of its service network within this time,
    pub fault_pause: Duration,
    /// nor for a full disk within this.
    pub room_pause: Duration,
    /// The machine asks to be woken at least so often: it must notice that it slept.
    pub pulse: Duration,
    /// A node that was not woken for so long has slept: what it knew of its peer may be over. Must be
    /// below the time in which a standby takes over.
    pub nap: Duration,
    /// A read lease: readers are served for so long after a stamp that the standby has echoed.
    pub lease: Duration,
    /// With a witness, the primary asks to go on alone when its standby's session has been gone for
    /// so long: the witness arbitrates, so this may be short.
    pub solo_after: Duration,
    /// Who decides, as configured.
    pub arbitration: Arbitration,
    /// Without an answer of the witness for so long, the pair agrees to do without it.
    pub witness_gone: Duration,
    /// The witness is looked at so often where nothing is asked of it.
    pub witness_look: Duration,
    /// Bytes of records that are under way to the standby at most.
    pub window: usize,
    /// A standby whose disk has fewer free bytes than this asks to be left: its log could not go on
    /// for long. Room for a few segments, so that none meets a full disk before.
    pub log_room: u64,
    /// Whether floating addresses are there: then a takeover needs the Active's silence, too.
    pub vrrp: bool,
    /// Whether there is a peer at all.
    pub has_peer: bool,
    /// The rule that is taken out.
    #[cfg(test)]
    pub(crate) mutant: Option<Mutant>,
}

impl Default for Timers {
    fn default() -> Self {
        Self {
            ack_timeout: Duration::from_secs(1),
            stability: Duration::from_secs(30),
            silence: Duration::from_millis(100),
            session_silence: Duration::from_millis(250),
            echo: Duration::from_millis(100),
            stale_after: Duration::from_millis(250),
            solo_boot_wait: Duration::from_secs(3),
            boot_wait: Duration::from_secs(120),
            handover: Duration::from_secs(2),
            fault_hold: Duration::from_millis(200),
            fault_pause: Duration::from_secs(5),
            room_pause: Duration::from_secs(600),
            pulse: Duration::from_millis(50),
            nap: Duration::from_millis(200),
            lease: Duration::from_millis(75),
            solo_after: Duration::from_millis(250),
            arbitration: Arbitration::None,
            witness_gone: Duration::from_secs(60),
            witness_look: Duration::from_secs(5),
            window: 8 * 1024 * 1024,
            log_room: 256 * 1024 * 1024,
            vrrp: true,
            has_peer: true,
            #[cfg(test)]
            mutant: None,
        }
    }
}

/// The next moment.
const INSTANT: Duration = Duration::from_micros(1);
/// In which a standby notices that it is left behind, beyond `stale_after`.
const STALE_TIME: Duration = Duration::from_millis(100);
/// A process that may not pause for so long sleeps all the time.
const NAP_MIN: Duration = Duration::from_millis(50);
/// The skew of a standby's Master_Down_Timer, in 256ths of an advert interval: 256 less priority 100.
const SKEW: u32 = 156;

/// Times that do not fit together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{setting}` in [pair] {why}")]
pub struct Misfit {
    /// The setting's name in the config file.
    pub setting: &'static str,
    /// What it must be.
    pub why: &'static str,
}

/// VRRP's Master_Down_Timer on a standby, for that pause between two adverts.
fn master_down(advert: Duration) -> Duration {
    advert.saturating_mul(3 * 256 + SKEW) / 256 // RFC 9568 6.1
}

impl Timers {
    /// Whether these times fit together and with the pause between two adverts of the floating
    /// addresses, if there are any.
    ///
    /// # Errors
    /// An inequality of docs/design/replication.md does not hold.
    pub fn check(&self, advert: Option<Duration>) -> Result<(), Misfit> {
        let promise = self.lease.saturating_add(self.lease / 10);
        // Where nothing else is heard any more, the first advert that counts tells a standby.
        let told = self.stale_after.max(self.echo + advert.unwrap_or_default());
        let noticed = self.session_silence + told + STALE_TIME;
        let woken = self.nap + self.pulse;
        let rules = [
            (
                noticed < self.ack_timeout,
                "ack_timeout_ms",
                "must be more than `session_silence_heartbeats` heartbeats, 100 ms, and the longer of \
                 `stale_after_ms` and of `heartbeats_missed_max` heartbeats with `advert_ms`, \
                 together: so long it may take a standby to notice that it is left behind",
            ),
            (
                self.echo < self.stale_after,
                "stale_after_ms",
                "must be more than `heartbeats_missed_max` heartbeats: what is heard before that may \
                 have been under way (at most a quarter of `ack_timeout_ms` counts)",
            ),
            (
                promise < self.silence,
                "lease_ms",
                "and a tenth of it must be less than `heartbeats_missed_max` heartbeats: a lease ends \
                 before the peer counts as silent",
            ),
            (self.pulse < self.nap, "nap_ms", "must be more than 50 ms"),
            (
                self.nap >= NAP_MIN && advert.is_none_or(|a| woken + a < master_down(a)),
                "nap_ms",
                "does not fit the adverts: a takeover would be quicker than a pause that this \
                 appliance notices; make `advert_ms` 30 or more",
            ),
        ];
        let broken = rules.into_iter().find(|(holds, ..)| !holds);
        broken.map_or(Ok(()), |(_, setting, why)| Err(Misfit { setting, why }))
    }

    /// `nap` and `pulse` for that pause between two adverts: with it they fit into a standby's
    /// Master_Down_Timer.
    #[must_use]
    pub fn for_adverts(self, advert: Duration) -> Self {
        // 7/9 and a quarter of that are less than the whole.
        let nap = self.nap.min((master_down(advert).saturating_sub(advert)) * 7 / 9);
        Self { nap, pulse: self.pulse.min(nap / 4), ..self }
    }
}

/// Why a node leads that an operator has told to.
pub(super) const FORCED: &str = "an operator said so";

/// Most bytes of records in one frame.
pub(super) const RECORDS_LEN_MAX: usize = 1024 * 1024;

/// What VRRP hears on the service network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VrrpNews {
    /// Master_Down_Timer ran out: nobody advertises the addresses.
    MasterDown,
    /// Somebody does.
    HeardActive,
    /// This node's own interface is down or unfit: its silence says nothing about the Active.
    Fault,
    /// It is well again; Master_Down_Timer must run out anew.
    FaultOver,
}

/// What an operator asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// Move the primary role to the peer.
    Handover,
    /// Lead with what is here, whatever the peer may have. Confirmed and audited by the caller.
    ForceSolo,
    /// Stop in good order.
    Stop,
}

/// What happens to the machine.
#[derive(Clone, Debug)]
pub enum Input {
    /// A session with the peer stands. All that an earlier one asked of the log is done (replica
    /// appends; a tail that was to be set aside is, and [`Input::SetAsideDone`] came); `LogState` was
    /// read after that.
    SessionUp(LogState),
    /// It is gone.
    SessionDown,
    /// A frame came on it.
    Frame(Frame),
    /// An authenticated beacon of the peer came.
    Beacon(Beacon),
    /// Records up to here are in the log (not yet durable). Never of a tail that was set aside since.
    Appended(Lsn),
    /// Records up to here are durable. Never of a tail that was set aside since.
    Durable(Lsn),
    /// Everything up to here is visible to readers of this node.
    Applied(Lsn),
    /// The register of that number is durable.
    Persisted(u64),
    /// The epoch's first record is in the log.
    EpochBegun {
        /// The epoch.
        epoch: Epoch,
        /// Its record.
        lsn: Lsn,
    },
    /// [`Output::Revoke`] is done: nothing more enters the log under that lease, which ends here.
    Revoked(Lsn),
    /// What [`Output::Read`] asked for; empty when nothing is there (any more).
    Records {
        /// First record in `bytes`.
        from: Lsn,
        /// Last record in `bytes`.
        last: Lsn,
        /// Whole encoded records.
        bytes: Vec<u8>,
    },
    /// [`Output::SetAside`] is done; the log ends here.
    SetAsideDone(Lsn),
    /// The replica's records do not continue this log, or a tail could not be set aside.
    AppendFailed,
    /// News of the service network.
    Vrrp(VrrpNews),
    /// The witness's answer to [`Output::Witness`] of that number.
    Witness {
        /// Which question.
        number: u64,
        /// The answer.
        answer: WitnessAnswer,
    },
    /// How much room this node's disk has.
    Disk {
        /// Free bytes.
        free: u64,
        /// Bytes that stay free for all but new mail.
        reserve: u64,
    },
    /// An operator speaks.
    Operator(Operator),
    /// Time passes.
    Timeout,
}

/// What VRRP shall do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VrrpStand {
    /// Neither advertise nor wait.
    Silent,
    /// Watch the Active.
    Standby,
    /// Hold the addresses.
    Holder,
}

/// What the driver shall do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send a frame.
    Send(Frame),
    /// Close the session; it may be opened anew.
    CloseSession(&'static str),
    /// Read whole records from the log for the peer: [`Input::Records`].
    Read {
        /// First record wanted.
        from: Lsn,
        /// Most bytes.
        max: usize,
    },
    /// Append the primary's records.
    Append(Vec<u8>),
    /// Put the log's tail from this record on aside, durably, and cut it: [`Input::SetAsideDone`].
    SetAside(Lsn),
    /// Make the register durable: [`Input::Persisted`].
    Persist {
        /// Its number.
        number: u64,
        /// The register.
        register: Register,
    },
    /// Append the epoch's first record and stamp what follows with it: [`Input::EpochBegun`].
    BeginEpoch(Epoch),
    /// Records up to here are committed.
    Commit(Lsn),
    /// Records that may have been acknowledged without the client learning it: after `after`.
    Unconfirmed {
        /// Last record known to be committed.
        after: Lsn,
        /// The log's tail.
        tail: Lsn,
    },
    /// This node may write: mint the lease.
    Lead(Epoch),
    /// It may not (any more): revoke the lease before anything else: [`Input::Revoked`].
    Revoke,
    /// What VRRP shall do.
    Vrrp(VrrpStand),
    /// Ask the witness: [`Input::Witness`], always, [`WitnessAnswer::Lost`] at the latest when the
    /// driver's time for an answer is over. A newer question takes the place of an older one.
    Witness {
        /// Its number.
        number: u64,
        /// The question.
        ask: WitnessAsk,
    },
    /// Readers may be served until then (CLOCK_BOOTTIME); `u64::MAX` is without limit.
    Lease(Mono),
    /// For the journal and the log.
    Note(Note),
}

/// A thing that happened, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// State before.
    pub from: State,
    /// State after.
    pub to: State,
    /// Role after.
    pub role: Role,
    /// The reign after.
    pub epoch: Epoch,
    /// Why.
    pub reason: &'static str,
}

/// What happens once a register is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    /// Nothing.
    Nothing,
    /// Lead alone.
    LeadSolo { reason: &'static str },
    /// The standby that was told to follow may hear so.
    Follow { epoch: Epoch },
    /// The primary goes on alone.
    Solo,
    /// The lone primary begins a new epoch: the witness was seeded.
    Renew,
    /// The standby obeys nobody for now, and may say so.
    InLimbo { epoch: Epoch },
    /// The peer is insync.
    Admit,
    /// The standby is insync.
    Admitted,
    /// The standby takes no more records for now, and may say so.
    Aside,
    /// The standby takes a handover.
    Reign,
    /// The old primary follows the new one.
    Obey,
}

/// The part that a node plays.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "a process has one, and it never moves")]
pub(super) enum Phase {
    Recovering,
    Primary(Primary),
    Standby(Standby),
    /// Its records after the fork are to be taken over by the primary. `None`: no fork is known.
    Branched {
        fork: Option<Lsn>,
    },
}

/// What is heard of the peer outside the session.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Heard {
    /// The last beacon.
    pub(super) beacon: Option<Mono>,
    /// The last beacon in which it was primary.
    pub(super) leading: Option<Mono>,
    /// Since when nobody advertises the addresses.
    pub(super) master_down: bool,
    /// The last advert of an Active.
    pub(super) active: Option<Mono>,
    /// The newest stamp of the peer as primary.
    pub(super) stamp: Option<Stamp>,
    /// The highest epoch of the beacons that came while the session stood. They may have overtaken
    /// what is on it, or it may be over and the news of that late: judged at its end.
    pub(super) overtook: Epoch,
    /// What the last beacon said of the peer's health.
    pub(super) health: Option<Health>,
    /// Whose beacons are heard: the random number of its start.
    pub(super) boot: Option<[u8; 8]>,
    /// The start of the peer whose guardian said goodbye.
    pub(super) gone: Option<[u8; 8]>,
}

/// The session.
#[derive(Clone, Debug)]
pub(super) struct Session {
    pub(super) since: Mono,
    /// What this node said of itself.
    pub(super) said: Hello,
    /// What the peer said of itself.
    pub(super) hello: Option<Hello>,
}

/// One node of the pair.
#[derive(Clone, Debug)]
pub struct Machine {
    pub(super) me: NodeId,
    pub(super) timers: Timers,
    pub(super) now: Mono,
    /// As it will be once the newest [`Output::Persist`] is done.
    pub(super) register: Register,
    /// As it is for certain.
    pub(super) durable_register: Register,
    pub(super) log: LogState,
    pub(super) applied: Lsn,
    pub(super) phase: Phase,
    pub(super) session: Option<Session>,
    /// Whether the clock brought this step about. Only then has everything that came been taken in, so
    /// that silence means something: after a pause of this process what was said meanwhile still waits.
    pub(super) timed: bool,
    /// When the last session ended (boot, before the first).
    pub(super) session_end: Mono,
    pub(super) heard: Heard,
    pub(super) stopping: bool,
    /// Until when this node begins no reign: it has promised so.
    pub(super) promised: Mono,
    pub(super) court: Court,
    pub(super) health: Own,
    /// When to watch the Active again after a pause that ends Master_Down_Timer.
    watch_at: Option<Mono>,
    vrrp: VrrpStand,
    /// The epoch in which this node asked the peer to follow, on this session.
    pub(super) asked: Option<Epoch>,
    persisting: VecDeque<(u64, Register, After)>,
    next_persist: u64,
    outputs: VecDeque<Output>,
    last_state: (State, Role),
    last_arbitration: Arbitration,
}

impl Machine {
    /// A node that boots: always RECOVERING (invariant 6).
    #[must_use]
    pub fn new(me: NodeId, timers: Timers, register: Register, log: LogState, now: Mono) -> Self {
        let applied = log.committed;
        let mut machine = Self {
            me,
            timers,
            now,
            register,
            durable_register: register,
            log,
            applied,
            phase: Phase::Recovering,
            session: None,
            timed: false,
            session_end: now,
            heard: Heard::default(),
            stopping: false,
            promised: now,
            court: Court::new(now),
            health: Own::new(now),
            watch_at: None,
            vrrp: VrrpStand::Silent,
            asked: None,
            persisting: VecDeque::new(),
            next_persist: 1,
            outputs: VecDeque::new(),
            last_state: (State::Recovering, Role::None),
            last_arbitration: register.arbitration,
        };
        // What was promised before this start is not known any more.
        if timers.has_peer {
            machine.promised = now.after(machine.promise());
        }
        machine.put(Output::Vrrp(VrrpStand::Silent));
        #[cfg(test)]
        if machine.broken(Mutant::ResumeOnBoot) && register.holder == me && register.epoch.0 > 0 {
            machine.lead_solo(register, "resumed");
        }
        machine.step();
        machine
    }

    /// Takes one input at a moment that is not before the last one.
    pub fn handle(&mut self, now: Mono, input: Input) {
        let before = self.now;
        self.now = before.max(now);
        self.timed = matches!(input, Input::Timeout);
        if self.timers.has_peer && now.since(before) >= self.timers.nap {
            self.slept(before);
        }
        match input {
            Input::SessionUp(log) => self.session_up(log),
            Input::SessionDown => self.session_down(),
            Input::Frame(frame) => self.frame(frame),
            Input::Beacon(beacon) => self.beacon_heard(&beacon),
            Input::Appended(lsn) => self.log.tail = self.log.tail.max(lsn),
            Input::Durable(lsn) => self.durable(lsn),
            Input::Applied(lsn) => self.applied = self.applied.max(lsn),
            Input::Persisted(number) => self.persisted(number),
            Input::EpochBegun { epoch, lsn } => {
                self.log.history.begin(epoch, lsn);
                self.log.tail = self.log.tail.max(lsn);
                self.epoch_begun(epoch, lsn);
            }
            Input::Revoked(tail) => self.revoked(tail),
            Input::Records { from, last, bytes } => self.records_read(from, last, bytes),
            Input::SetAsideDone(tail) => self.set_aside_done(tail),
            Input::AppendFailed => {
                if matches!(self.phase, Phase::Standby(_)) {
                    self.branch(None, "the peer's records do not continue this log");
                }
            }
            Input::Vrrp(VrrpNews::MasterDown) => self.heard.master_down = !self.nic_fault(),
            Input::Vrrp(VrrpNews::Fault) => {
                self.fault(true);
                self.heard.master_down = self.heard.master_down && self.nic_fault_ignored();
            }
            Input::Vrrp(VrrpNews::FaultOver) => {
                self.fault(false);
                self.heard.master_down = false;
                self.watch_anew();
            }
            Input::Vrrp(VrrpNews::HeardActive) => {
                self.heard.master_down = false;
                self.heard.active = Some(self.now);
            }
            Input::Disk { free, reserve } => self.disk(free, reserve),
            Input::Operator(word) => self.operator(word),
            Input::Witness { number, answer } => self.witness_said(number, answer),
            Input::Timeout => {}
        }
        self.step();
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Input::Timeout`] is due: always later than the last input.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Mono> {
        let pulse = self.timers.has_peer.then(|| self.now.after(self.timers.pulse));
        let deadlines = match &self.phase {
            Phase::Recovering => self.recovering_deadlines(),
            Phase::Primary(p) => p.deadlines(self),
            Phase::Standby(s) => s.deadlines(self),
            Phase::Branched { .. } => [None; 4],
        };
        let unheard = self.heard.beacon.map(|at| at.after(self.timers.silence));
        // A step that the clock did not bring about leaves it to one that is.
        let untimed = (!self.timed && self.silence_tells()).then(|| self.now.after(INSTANT));
        let court =
            [self.court.deadline(self.now), Some(self.promised), self.watch_at, unheard, untimed];
        deadlines
            .into_iter()
            .chain(court)
            .chain([pulse])
            .flatten()
            .filter(|at| *at > self.now)
            .min()
    }

    /// The truth, for people.
    #[must_use]
    pub fn status(&self) -> Status {
        let (state, role) = self.visible_state();
        let primary = match &self.phase {
            Phase::Primary(p) => Some(p),
            _ => None,
        };
        Status {
            node: self.me,
            state,
            // A primary whose standby does not promise to wait may have been replaced.
            rpo_zero: state == State::Pair
                && primary.is_none_or(|p| p.has_admitted() && self.is_waited_for()),
            role,
            epoch: primary.map_or(self.register.epoch, |p| p.epoch),
            linked: self.session.is_some(),
            tail: self.log.tail,
            durable: self.log.durable,
            committed: self.log.committed,
            peer_durable: primary.and_then(|p| p.peer_durable()),
            waiting: self.waiting(),
            branch: match &self.phase {
                Phase::Primary(p) => p.branch,
                Phase::Branched { fork } => *fork,
                _ => None,
            },
            witness: self.witness_status(),
            peer: self.peer_health(),
        }
    }

    /// Whether the standby promises just now not to go on without this node.
    fn is_waited_for(&self) -> bool {
        #[cfg(test)]
        if self.broken(Mutant::RpoUnproven) {
            return true;
        }
        self.lease_is_fresh()
    }

    /// Whether an orderly stop is through: the process may end.
    #[must_use]
    pub fn stopped(&self) -> bool {
        self.stopping && !matches!(self.phase, Phase::Primary(_))
    }

    fn waiting(&self) -> Waiting {
        match &self.phase {
            Phase::Branched { .. } if self.session.is_some() => Waiting::Nothing,
            Phase::Primary(p) if p.needs_full_copy() => Waiting::FullCopy,
            Phase::Primary(p) if !p.unsure => Waiting::Nothing,
            _ if self.session.is_some() => Waiting::Nothing,
            Phase::Standby(s) if s.insync && !self.register.stale => Waiting::Nothing,
            _ if self.may_resume_solo() => Waiting::Peer,
            _ if self.alone_for() >= self.timers.boot_wait => Waiting::Operator,
            _ => Waiting::Peer,
        }
    }

    /// For how long there has been no session.
    pub(super) fn alone_for(&self) -> Duration {
        self.now.since(self.session_end)
    }

    fn state(&self) -> (State, Role) {
        match &self.phase {
            Phase::Recovering => (State::Recovering, Role::None),
            Phase::Branched { .. } => (State::Branched, Role::None),
            Phase::Primary(p) => (p.state(), Role::Primary),
            Phase::Standby(s) if s.insync && !self.register.stale => (State::Pair, Role::Standby),
            Phase::Standby(_) => (State::Joining, Role::Standby),
        }
    }

    /// Invariant 13: a standby claims RPO 0 only while it hears its primary, which has asked for its
    /// copy on this session: a peer may be there, and play no part any more.
    fn visible_state(&self) -> (State, Role) {
        #[cfg(test)]
        if self.broken(Mutant::StandbyBoasts) {
            return self.state();
        }
        let asked = matches!(&self.phase, Phase::Standby(s) if s.joined) && self.session.is_some();
        match self.state() {
            (State::Pair, Role::Standby) if !asked => (State::Recovering, Role::Standby),
            state => state,
        }
    }

    pub(super) fn phase_name(&self) -> PhaseName {
        match self.phase {
            Phase::Recovering => PhaseName::Recovering,
            Phase::Primary(_) => PhaseName::Primary,
            Phase::Standby(_) => PhaseName::Standby,
            Phase::Branched { .. } => PhaseName::Branched,
        }
    }

    pub(super) fn put(&mut self, output: Output) {
        self.outputs.push_back(output);
    }

    /// Tells VRRP where it stands; what it heard in an earlier stand counts no more.
    pub(super) fn stand(&mut self, stand: VrrpStand) {
        if self.vrrp == stand {
            return;
        }
        self.vrrp = stand;
        self.watch_at = None;
        self.heard.master_down = false;
        self.put(Output::Vrrp(stand));
    }

    /// Starts Master_Down_Timer anew: falls silent, and watches again a pulse later. (Two words at
    /// once would be one to whoever only takes the newest.)
    fn watch_anew(&mut self) {
        if self.vrrp == VrrpStand::Standby {
            self.stand(VrrpStand::Silent);
            self.watch_at = Some(self.now.after(self.timers.pulse));
        }
    }

    fn nic_fault_ignored(&self) -> bool {
        #[cfg(test)]
        if self.broken(Mutant::NicFaultIgnored) {
            return true;
        }
        false
    }

    fn nic_fault(&self) -> bool {
        self.health.has_fault() && !self.nic_fault_ignored()
    }

    pub(super) fn send(&mut self, frame: Frame) {
        if self.session.is_some() {
            self.put(Output::Send(frame));
        }
    }

    /// Makes `register` durable, then does `after`. Registers become durable in order.
    pub(super) fn persist(&mut self, register: Register, after: After) {
        let number = self.next_persist;
        self.next_persist = self.next_persist.saturating_add(1);
        self.register = register;
        self.persisting.push_back((number, register, after));
        self.tell_lease(); // First: who is promoted on the strength of it serves other readers.
        self.put(Output::Persist { number, register });
    }

    /// Whether a register is on its way to the disk.
    pub(super) fn is_persisting(&self) -> bool {
        !self.persisting.is_empty()
    }

    /// Whether this node has decided to lead, and only the disk is missing.
    pub(super) fn about_to_lead(&self) -> bool {
        self.persisting.iter().any(|(_, register, after)| {
            matches!(after, After::LeadSolo { .. } | After::Reign) && *register == self.register
        })
    }

    fn persisted(&mut self, number: u64) {
        while let Some((first, register, after)) = self.persisting.front().copied() {
            if first > number {
                break;
            }
            self.persisting.pop_front();
            self.durable_register = register;
            let epoch = register.epoch;
            // Whoever has seen or promised something else since does not act on an old decision.
            let current = register == self.register;
            match after {
                After::Nothing => {}
                After::Follow { epoch } if current => self.send(Frame::Follow { epoch }),
                After::Admitted if current => self.send(Frame::Admitted { epoch }),
                // Whatever else was recorded meanwhile: it stays stale.
                After::Aside if self.register.stale => self.aside(),
                After::LeadSolo { reason } if current => self.lead_solo(register, reason),
                After::Reign if current => self.reign(epoch),
                After::Solo if current => self.solo_recorded(epoch),
                After::Renew if current => self.renewed(epoch),
                After::InLimbo { epoch } if current => self.send(Frame::InLimbo { epoch }),
                After::Admit if current => self.admit_recorded(epoch),
                After::Obey if current => self.obey(epoch),
                _ => {}
            }
        }
    }

    fn session_up(&mut self, log: LogState) {
        if self.session.is_some() {
            self.session_down();
        }
        let behind = if matches!(self.phase, Phase::Primary(_)) { self.log.tail } else { Lsn(0) };
        self.log.tail = log.tail.max(behind);
        self.log.durable = self.log.durable.max(log.durable).min(self.log.tail);
        self.log.first = log.first;
        self.log.history = log.history;
        let hello = Hello {
            version: VERSION,
            node: self.me,
            phase: self.phase_name(),
            register: self.durable_register,
            log: self.log.clone(),
        };
        self.session = Some(Session { since: self.now, said: hello.clone(), hello: None });
        self.send(Frame::Hello(hello));
    }

    fn session_down(&mut self) {
        if self.session.take().is_none() {
            return;
        }
        self.session_end = self.now;
        self.asked = None;
        self.court.limbo = Limbo::No;
        if self.court.wants() == Some(After::Reign) {
            self.withdraw();
        }
        match &mut self.phase {
            Phase::Primary(p) => p.session_lost(self.now),
            Phase::Standby(s) => s.session_lost(self.now),
            Phase::Recovering | Phase::Branched { .. } => {}
        }
        self.judge_overtaking();
    }

    fn beacon_heard(&mut self, beacon: &Beacon) {
        if beacon.node != self.me.peer() {
            return;
        }
        if self.heard.gone == Some(beacon.boot) {
            return; // On another path, said before the goodbye.
        }
        let says = &beacon.says;
        if says.phase == PhaseName::Gone {
            // Only of the process that was heard: an old goodbye, said again, means nothing.
            if self.heard.boot == Some(beacon.boot) {
                self.peer_gone(beacon.boot);
            }
            return;
        }
        self.heard.boot = Some(beacon.boot);
        self.heard.gone = None;
        self.heard.beacon = Some(self.now);
        self.heard.health = Some(says.health);
        if says.phase == PhaseName::Primary {
            self.heard.leading = Some(self.now);
        }
        self.lease_heard(beacon);
        // On a session everything is heard in order; a datagram that overtakes it proves nothing.
        if self.session.is_none() || matches!(self.phase, Phase::Primary(_)) {
            let news = says.seen > self.register.seen;
            self.see(says.seen);
            if news && matches!(self.phase, Phase::Standby(_)) {
                self.grow_stale("the primary went on without this copy");
            }
        } else if self.asked != Some(says.seen) {
            self.heard.overtook = self.heard.overtook.max(says.seen);
        }
    }

    /// The session is over: a higher epoch that was heard beside it did not come on it.
    fn judge_overtaking(&mut self) {
        let epoch = std::mem::take(&mut self.heard.overtook);
        if epoch <= self.register.seen || self.overtaking_ignored() {
            return;
        }
        self.see(epoch);
        // With a witness whoever comes second is refused.
        let evidence = self.register.arbitration == Arbitration::None;
        if evidence && matches!(self.phase, Phase::Standby(_)) {
            self.grow_stale("the primary went on without this copy");
        }
    }

    fn overtaking_ignored(&self) -> bool {
        #[cfg(test)]
        if self.broken(Mutant::OvertakingIgnored) {
            return true;
        }
        false
    }

    /// The peer's guardian has signed that its process is over and its addresses are removed: no
    /// reader is served there any more, so no promise binds.
    fn peer_gone(&mut self, boot: [u8; 8]) {
        self.heard.gone = Some(boot);
        self.heard.leading = None;
        self.heard.stamp = None;
        self.promised = self.now;
        // It may have led alone before it ended; without a witness, what it says is proof only
        // right after the session's end (`promote_when_alone`), else silence and the two Hellos.
        if self.is_arbitrated() {
            self.goodbye("the standby's process is over");
            self.close_session("the peer's process is over");
        }
    }

    /// Invariant 4: remembers the highest epoch for good; a lower reign ends with it.
    pub(super) fn see(&mut self, epoch: Epoch) {
        #[cfg(test)]
        if self.broken(Mutant::NoFencing) {
            return;
        }
        // What it is about to begin itself, or was about to before that, the peer may have read at the
        // witness already: nobody else can open it.
        let own = self.register.holder == self.me
            && epoch <= self.register.epoch
            && may_open(self.me, epoch);
        // In the epoch of a handover of which it has not heard, the peer leads by its own right.
        let deposed = matches!(&self.phase, Phase::Primary(p)
            if p.epoch < epoch && p.handed_to() != Some(epoch) && !own);
        if epoch > self.register.seen {
            let seen = self.court.outdated(epoch, self.me).unwrap_or(epoch);
            self.persist(Register { seen, ..self.register }, After::Nothing);
        }
        if deposed {
            self.step_down("a higher epoch was seen");
        }
    }

    /// This node did not run for a while. Its silence may have been taken for death, and the peer's
    /// news may lie unread: nothing of what it knew of the peer counts any more.
    fn slept(&mut self, since: Mono) {
        #[cfg(test)]
        if self.broken(Mutant::SleepIgnored) {
            return;
        }
        // Except a later reign: that stays true.
        self.heard = Heard { overtook: self.heard.overtook, ..Heard::default() };
        match &mut self.phase {
            Phase::Primary(p) => {
                p.slept(self.now);
                // With a witness it is asked; it knows.
                p.unsure &= self.register.arbitration == Arbitration::None;
            }
            Phase::Standby(s) => {
                // Had it been awake, it would have decided by now whether it hears its primary.
                let linked = s.linked_until(since);
                let late = self.now.since(linked) >= self.timers.stale_after.saturating_mul(2);
                if late && self.register.arbitration == Arbitration::None {
                    self.grow_stale("this node slept");
                } else {
                    self.watch_anew();
                }
            }
            Phase::Recovering | Phase::Branched { .. } => {}
        }
        self.close_session("this node slept");
        self.session_end = self.now;
    }

    pub(super) fn never_stale(&self) -> bool {
        #[cfg(test)]
        if self.broken(Mutant::NeverStale) {
            return true;
        }
        false
    }

    #[cfg(test)]
    pub(super) fn broken(&self, mutant: Mutant) -> bool {
        self.timers.mutant == Some(mutant)
    }

    /// Gives up every part: revoke first, then everything else.
    pub(super) fn step_down(&mut self, reason: &'static str) {
        self.withdraw();
        self.put(Output::Revoke);
        self.stand(VrrpStand::Silent);
        self.phase = Phase::Recovering;
        // The peer must hear the new part: both say Hello again.
        self.close_session(reason);
        self.note(reason);
    }

    /// Closes the session; what is still on it is not ours any more.
    pub(super) fn close_session(&mut self, reason: &'static str) {
        if self.session.is_some() {
            self.put(Output::CloseSession(reason));
            self.session_down();
        }
    }

    /// Two histories: nothing is discarded, nobody goes on here without an operator.
    pub(super) fn branch(&mut self, fork: Option<Lsn>, reason: &'static str) {
        if let Phase::Branched { fork: known } = &mut self.phase {
            *known = fork.or(*known);
            return;
        }
        self.withdraw();
        self.put(Output::Revoke);
        self.stand(VrrpStand::Silent);
        self.phase = Phase::Branched { fork };
        match fork {
            Some(fork) => self.send(Frame::Branched { fork }),
            None => self.close_session(reason),
        }
        self.note(reason);
    }

    fn frame(&mut self, frame: Frame) {
        if self.session.is_none() {
            return;
        }
        match frame {
            Frame::Hello(hello) => self.hello(hello),
            Frame::Ping
            | Frame::Config { .. }
            | Frame::Sorry(_)
            | Frame::Side { .. }
            | Frame::Keyring { .. }
            | Frame::KeyringAck { .. } => {}
            Frame::Join { epoch, fork } => self.join(epoch, fork),
            Frame::Joined { epoch, tail } => self.joined(epoch, tail),
            Frame::Records { epoch, commit, bytes } => self.records(epoch, commit, bytes),
            Frame::Ack { epoch, durable } => self.acked(epoch, durable),
            Frame::Commit { epoch, lsn } => self.commit_told(epoch, lsn),
            Frame::Admit { epoch, arbitration } => self.admit(epoch, arbitration),
            Frame::Admitted { epoch } => self.admitted(epoch),
            Frame::Lead { epoch } => self.led(epoch),
            Frame::Follow { epoch } => self.followed(epoch),
            Frame::HandoverGo { epoch } => self.handover_go(epoch),
            Frame::Reign { epoch } => self.reigned(epoch),
            Frame::Limbo { epoch } => self.limbo(epoch),
            Frame::InLimbo { epoch } => self.in_limbo(epoch),
            Frame::Refuse { seen } => {
                self.see(seen);
                if self.asked.take().is_some() {
                    self.close_session("the peer has seen a higher epoch: ask anew");
                }
            }
            Frame::Goodbye => self.goodbye(self.farewell()),
            Frame::Branched { fork } => {
                if let Phase::Primary(p) = &mut self.phase {
                    p.branched(fork, self.now);
                } else {
                    self.branch(Some(fork), "each node has committed changes that the other lacks");
                }
            }
        }
    }

    fn hello(&mut self, hello: Hello) {
        if hello.version != VERSION || hello.node != self.me.peer() {
            self.close_session("the peer speaks another version, or is no peer");
            return;
        }
        self.see(hello.register.seen);
        if let Some(session) = &mut self.session {
            session.hello = Some(hello);
        }
        self.heard.gone = None;
        match &mut self.phase {
            Phase::Primary(p) => {
                p.gone = false;
                self.stay();
                self.greet_as_primary();
            }
            Phase::Recovering | Phase::Standby(_) | Phase::Branched { .. } => {
                self.greet_without_primary();
            }
        }
    }

    /// The peer's Hello on this session.
    pub(super) fn peer_hello(&self) -> Option<&Hello> {
        self.session.as_ref().and_then(|s| s.hello.as_ref())
    }

    fn durable(&mut self, lsn: Lsn) {
        self.log.durable = self.log.durable.max(lsn);
        self.log.tail = self.log.tail.max(lsn);
        if let Phase::Standby(s) = &self.phase
            && s.joined
        {
            let (epoch, durable) = (s.epoch, self.log.durable);
            self.send(Frame::Ack { epoch, durable });
        }
    }

    fn operator(&mut self, word: Operator) {
        match word {
            Operator::Handover => self.handover(),
            Operator::ForceSolo => match &mut self.phase {
                Phase::Primary(p) => {
                    p.unsure = false;
                    p.why = FORCED;
                    self.forced();
                }
                _ => self.record_reign(FORCED, Right::Agreed),
            },
            Operator::Stop => {
                self.stopping = true;
                match &self.phase {
                    Phase::Primary(_) if self.may_hand_over() => self.handover(),
                    Phase::Primary(_) => self.step_down("an orderly stop"),
                    _ => self.retire(),
                }
            }
        }
    }

    /// Plays no part any more, and says so: the primary need not wait for this node's silence.
    pub(super) fn retire(&mut self) {
        self.withdraw();
        self.send(Frame::Goodbye);
        self.stand(VrrpStand::Silent);
        self.phase = Phase::Recovering;
        self.note("an orderly stop");
    }

    /// What follows from where things stand; idempotent.
    fn step(&mut self) {
        self.step_court();
        if self.watch_at.is_some_and(|at| self.now >= at) {
            self.stand(VrrpStand::Standby);
        }
        match self.phase {
            Phase::Primary(_) => self.step_primary(),
            Phase::Standby(_) => self.step_standby(),
            Phase::Recovering => self.step_recovering(),
            Phase::Branched { .. } => {}
        }
        self.keep_promise();
        self.tell_lease();
        self.note("");
        self.note_arbitration();
    }

    /// Notes who decides from now on, once it is durable.
    fn note_arbitration(&mut self) {
        let now = self.durable_register.arbitration;
        if std::mem::replace(&mut self.last_arbitration, now) == now {
            return;
        }
        self.remark(match now {
            Arbitration::None => "the witness decides no more: the two nodes alone do",
            Arbitration::Witness => "the witness decides",
            Arbitration::Limbo => "who decides is about to change",
        });
    }

    /// Notes what changes neither state nor role.
    pub(super) fn remark(&mut self, reason: &'static str) {
        let ((state, role), epoch) = (self.last_state, self.register.epoch);
        self.put(Output::Note(Note { from: state, to: state, role, epoch, reason }));
    }

    /// Notes a change of state or role; without a reason, one that followed from something noted.
    pub(super) fn note(&mut self, reason: &'static str) {
        let now = self.visible_state();
        if now == self.last_state {
            return;
        }
        let epoch = match &self.phase {
            Phase::Primary(p) => p.epoch,
            _ => self.register.epoch,
        };
        let (from, _) = std::mem::replace(&mut self.last_state, now);
        let reason = if reason.is_empty() { "as follows from the state" } else { reason };
        self.put(Output::Note(Note { from, to: now.0, role: now.1, epoch, reason }));
    }
}
