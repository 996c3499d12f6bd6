//! The holder of the epoch: commits, ships, goes alone, admits, hands over.
//!
//! Invariants: in PAIR and JOINING nothing is committed that the standby does not have durably
//! (1); SOLO is recorded before the first commit under it (2); a peer is admitted only once its copy
//! is durable and nothing is committed without it (5); the lease and the addresses come only when
//! everything that this node promoted is visible (8).

#[cfg(test)]
use super::Mutant;
use super::arbitration::{Limbo, Right, Wanted};
use super::frame::{Frame, PhaseName};
use super::history::History;
use super::machine::{After, Machine, Output, Phase, RECORDS_LEN_MAX, VrrpStand};
use super::register::{Insync, Register};
use super::standby::Standby;
use super::status::State;
use crate::id::{Epoch, Lsn, NodeId};
use crate::time::Mono;
use std::collections::VecDeque;
use std::time::Duration;

/// A copy counts as "nearly there" when it lacks at most so many records: then the primary may
/// afford to wait for it.
const NEARLY_RECORDS: u64 = 1_000;
/// Why a primary goes on alone where nothing else was said.
const UNANSWERED: &str = "the standby does not answer";

/// How the primary commits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// With the standby.
    Pair,
    /// With the standby, which is not insync yet: it must have everything up to `target` first.
    Joining { target: Lsn },
    /// Alone.
    Solo,
}

/// What is known of the standby on this session.
#[derive(Clone, Debug)]
pub(super) struct Follower {
    /// Next record to read for it.
    next: Lsn,
    /// Whether records are being read.
    reading: bool,
    /// Sent and not acknowledged: last record and bytes of each frame.
    under_way: VecDeque<(Lsn, usize)>,
    /// Its last durable record.
    durable: Lsn,
    /// Since when it is there.
    since: Mono,
    /// Since when it has acknowledged nothing although something is under way.
    waiting_since: Option<Mono>,
    /// Whether it has recorded that it is insync in this epoch.
    admitted: bool,
    /// Whether [`Frame::Admit`] was sent in this epoch.
    admit_sent: bool,
}

/// A handover that is under way.
#[derive(Clone, Copy, Debug)]
struct Handing {
    epoch: Epoch,
    since: Mono,
    /// The lease is revoked and the log's tail is known.
    drained: bool,
    sent: bool,
}

/// The primary's own state.
#[derive(Clone, Debug)]
pub(super) struct Primary {
    pub(super) epoch: Epoch,
    /// The epoch in which this reign began; echoes of earlier ones count no more.
    pub(super) first: Epoch,
    /// Readers may be served until then, by what the standby has echoed.
    pub(super) granted: Mono,
    /// What the driver was last told of that.
    pub(super) lease_told: Option<Mono>,
    mode: Mode,
    follower: Option<Follower>,
    /// What the peer was asked for on this session: a log that ends here.
    pub(super) offered: Option<Lsn>,
    /// Since when a standby that is needed is away. Begins anew with the end of each session on
    /// which it may have believed to be linked: it counts its staleness from the same moment.
    lost_at: Option<Mono>,
    /// The standby had its time: it is asked again only once SOLO is recorded.
    giving_up: bool,
    /// It said goodbye: it will not promote itself.
    pub(super) gone: bool,
    /// Why it goes on alone, if it does.
    pub(super) why: &'static str,
    /// This node slept, so the standby may have taken over: not alone before it was heard.
    pub(super) unsure: bool,
    /// The peer has committed changes that this log lacks.
    pub(super) branch: Option<Lsn>,
    /// SOLO is being recorded.
    pub(super) leaving: bool,
    /// An admission is being recorded.
    pub(super) admitting: bool,
    /// The epoch's first record; what must be visible before this node serves.
    ready: Option<Lsn>,
    /// The lease is minted.
    leading: bool,
    /// It is to be minted again after a handover of which the standby never heard.
    resumes: bool,
    /// The peer was there when this reign began: no stability is asked of it.
    quick: bool,
    pub(super) full_copy: bool,
    handing: Option<Handing>,
}

impl Primary {
    fn new(epoch: Epoch, mode: Mode, quick: bool) -> Self {
        Self {
            epoch,
            first: epoch,
            granted: Mono(0),
            lease_told: None,
            mode,
            follower: None,
            offered: None,
            lost_at: None,
            giving_up: false,
            gone: false,
            why: UNANSWERED,
            unsure: false,
            branch: None,
            leaving: false,
            admitting: false,
            ready: None,
            leading: false,
            resumes: false,
            quick,
            full_copy: false,
            handing: None,
        }
    }

    pub(super) fn state(&self) -> State {
        match self.mode {
            _ if self.branch.is_some() => State::Branched,
            Mode::Solo if self.follower.is_some() => State::Joining,
            Mode::Solo => State::Solo,
            Mode::Joining { .. } => State::Joining,
            Mode::Pair => State::Pair,
        }
    }

    pub(super) fn peer_durable(&self) -> Option<Lsn> {
        self.follower.as_ref().map(|f| f.durable)
    }

    pub(super) fn needs_full_copy(&self) -> bool {
        self.full_copy
    }

    /// RPO 0 is claimed only while the standby is there and knows that it is insync.
    pub(super) fn has_admitted(&self) -> bool {
        self.follower.as_ref().is_some_and(|f| f.admitted)
    }

    /// The peer was told to take over: this node leads no more unless it begins anew.
    pub(super) fn handed_over(&self) -> bool {
        self.handing.is_some_and(|h| h.sent)
    }

    /// Services run, or are about to.
    pub(super) fn serves(&self) -> bool {
        self.leading && self.handing.is_none()
    }

    pub(super) fn is_solo(&self) -> bool {
        self.mode == Mode::Solo
    }

    pub(super) fn has_follower(&self) -> bool {
        self.follower.is_some()
    }

    /// The standby has said that it leaves.
    pub(super) fn has_left(&self) -> bool {
        self.gone
    }

    /// Nothing is being decided.
    pub(super) fn is_settled(&self) -> bool {
        let busy = self.leaving || self.admitting || self.unsure;
        self.serves() && !busy
    }

    pub(super) fn handing_to(&self) -> Option<Epoch> {
        self.handing.map(|h| h.epoch)
    }

    /// The reign that the peer was told to begin.
    pub(super) fn handed_to(&self) -> Option<Epoch> {
        self.handing.filter(|h| h.sent).map(|h| h.epoch)
    }

    fn can_hand_over(&self) -> bool {
        self.mode == Mode::Pair && self.has_admitted() && self.leading && self.handing.is_none()
    }

    pub(super) fn session_lost(&mut self, now: Mono) {
        self.follower = None;
        self.full_copy = false;
        if self.offered.take().is_some() || self.lost_at.is_none() {
            self.lost_at = Some(now);
        }
    }

    /// The peer has acknowledged what this log lacks: nothing is asked of it before that is here.
    pub(super) fn branched(&mut self, fork: Lsn, now: Mono) {
        self.branch = Some(fork);
        self.session_lost(now);
    }

    /// While this node slept in PAIR, the standby may have taken over.
    pub(super) fn slept(&mut self, now: Mono) {
        self.lost_at = Some(now);
        self.unsure = self.mode == Mode::Pair;
    }

    /// Since when an answer of the standby is due.
    fn waiting_since(&self, session: Option<Mono>) -> Option<Mono> {
        match &self.follower {
            Some(f) => f.waiting_since,
            // A session may be older than the reign that began on it by a handover.
            None => session
                .filter(|_| self.offered.is_some())
                .map(|since| self.lost_at.map_or(since, |at| since.max(at))),
        }
    }

    pub(super) fn deadlines(&self, machine: &Machine) -> [Option<Mono>; 4] {
        let timers = &machine.timers;
        let session = machine.session.as_ref().map(|s| s.since);
        let handing = self.handing.map(|h| h.since.after(timers.handover));
        let lost = self.lost_at.map(|at| at.after(timers.ack_timeout));
        let stalled = self.waiting_since(session).map(|at| at.after(timers.ack_timeout));
        [handing, lost, stalled, Some(self.granted)]
    }
}

/// Whether `epoch` is one of `node`'s: no two nodes can ever open the same one.
pub(super) const fn may_open(node: NodeId, epoch: Epoch) -> bool {
    epoch.0 & 1 == (node.0 & 1) as u64
}

/// The next epoch that `node` may open.
pub(super) fn next_epoch(seen: Epoch, node: NodeId) -> Epoch {
    let next = seen.next();
    if may_open(node, next) { next } else { next.next() }
}

impl Machine {
    pub(super) fn primary(&mut self) -> Option<&mut Primary> {
        match &mut self.phase {
            Phase::Primary(p) => Some(p),
            _ => None,
        }
    }

    fn follower(&mut self) -> Option<&mut Follower> {
        self.primary().and_then(|p| p.follower.as_mut())
    }

    /// Leads alone: the register that says so is durable.
    pub(super) fn lead_solo(&mut self, register: Register, reason: &'static str) {
        self.begin_reign(register.epoch, Mode::Solo, reason);
    }

    /// Takes a handover: the register that says so is durable.
    pub(super) fn reign(&mut self, epoch: Epoch) {
        let linked = self.standby().is_some_and(|s| s.joined);
        let (tail, first) = (self.log.tail, self.standby().map_or(epoch, |s| s.epoch));
        self.begin_reign(epoch, Mode::Pair, "handover");
        if linked && let Some(p) = self.primary() {
            p.first = first; // The old primary promises before it has recorded the new reign.
            p.offered = Some(tail);
            self.send(Frame::Reign { epoch });
        }
    }

    fn begin_reign(&mut self, epoch: Epoch, mode: Mode, reason: &'static str) {
        if self.stopping {
            return;
        }
        let mut primary = Primary::new(epoch, mode, self.session.is_some());
        if mode != Mode::Solo {
            primary.lost_at = Some(self.now);
        }
        self.phase = Phase::Primary(primary);
        self.rested();
        self.unconfirmed();
        self.put(Output::BeginEpoch(epoch));
        self.note(reason);
    }

    /// Before each lease: what is in the log may have been sent by somebody who got no answer.
    fn unconfirmed(&mut self) {
        let (after, tail) = (self.log.committed, self.log.tail);
        self.put(Output::Unconfirmed { after, tail });
    }

    /// The epoch's first record is in the log.
    pub(super) fn epoch_begun(&mut self, epoch: Epoch, lsn: Lsn) {
        let Some(p) = self.primary() else { return };
        if p.epoch != epoch {
            return;
        }
        if !p.leading {
            p.ready = Some(lsn);
        }
        self.greet_as_primary();
    }

    pub(super) fn step_primary(&mut self) {
        self.commit();
        self.serve_when_ready();
        self.ship();
        self.leave_when_lost();
        self.admit_when_copied();
        self.hand_over_when_unwell();
        self.hand_over_when_drained();
        self.mind_the_witness();
    }

    fn commit(&mut self) {
        let Phase::Primary(p) = &self.phase else { return };
        let alone = self.log.durable;
        let both = p.follower.as_ref().map_or(Lsn(0), |f| f.durable).min(alone);
        let target = match p.mode {
            // The witness may say "both": then the peer could be promoted without these.
            Mode::Solo if self.court.may_hold_both() && self.is_arbitrated() => both,
            Mode::Solo => alone,
            #[cfg(test)]
            Mode::Joining { .. } if self.broken(Mutant::JoiningCommitsAlone) => alone,
            #[cfg(test)]
            Mode::Pair if self.broken(Mutant::CommitBeforePeer) => alone,
            #[cfg(test)]
            Mode::Pair if p.leaving && self.broken(Mutant::SoloBeforeRecorded) => alone,
            Mode::Joining { .. } | Mode::Pair => both,
        };
        if target > self.log.committed {
            let (epoch, told) = (p.epoch, p.follower.is_some());
            self.log.committed = target;
            self.put(Output::Commit(target));
            if told {
                self.send(Frame::Commit { epoch, lsn: target });
            }
        }
    }

    /// Invariant 8: the lease, then the addresses, once all that was promoted is visible here.
    fn serve_when_ready(&mut self) {
        let applied = self.applied;
        #[cfg(test)]
        let applied = if self.broken(Mutant::ServedUnapplied) { Lsn(u64::MAX) } else { applied };
        // The standby may have taken over meanwhile, with the witness's word. (By evidence it may not
        // while it hears adverts: they begin again at once, unless this node slept.)
        let blind = self.is_arbitrated() && self.needs_lease() && !self.lease_is_fresh();
        let Some(p) = self.primary() else { return };
        if p.leading || p.handing.is_some() || p.ready.is_none_or(|ready| applied < ready) {
            return;
        }
        if p.unsure || p.resumes && blind {
            return;
        }
        (p.leading, p.resumes) = (true, false);
        p.lease_told = None;
        let epoch = p.epoch;
        self.put(Output::Lead(epoch));
        self.tell_lease();
        self.stand(VrrpStand::Holder);
    }

    fn ship(&mut self) {
        let (tail, window) = (self.log.tail, self.timers.window);
        let Some(f) = self.follower() else { return };
        let under_way: usize = f.under_way.iter().map(|(_, bytes)| bytes).sum();
        if !f.reading && f.next <= tail && under_way < window {
            f.reading = true;
            let from = f.next;
            self.put(Output::Read { from, max: RECORDS_LEN_MAX });
        }
    }

    /// What [`Output::Read`] asked for.
    pub(super) fn records_read(&mut self, from: Lsn, last: Lsn, bytes: Vec<u8>) {
        let (now, commit) = (self.now, self.log.committed);
        let Some(p) = self.primary() else { return };
        let epoch = p.epoch;
        let Some(f) = p.follower.as_mut() else { return };
        if !f.reading || f.next != from {
            return; // Asked for on an earlier session.
        }
        f.reading = false;
        if bytes.is_empty() || last < from {
            self.close_session("the log does not hold any more what the standby lacks");
            return;
        }
        f.next = last.next();
        f.under_way.push_back((last, bytes.len()));
        if f.waiting_since.is_none() {
            f.waiting_since = Some(now);
        }
        self.send(Frame::Records { epoch, commit, bytes });
    }

    /// A standby's acknowledgement. One of an earlier epoch on the same session is as true.
    pub(super) fn acked(&mut self, epoch: Epoch, durable: Lsn) {
        let now = self.now;
        if self.primary().is_some_and(|p| epoch > p.epoch) {
            self.see(epoch);
            return;
        }
        let Some(f) = self.follower() else { return };
        if durable <= f.durable || durable >= f.next {
            return;
        }
        f.durable = durable;
        while f.under_way.front().is_some_and(|(last, _)| *last <= durable) {
            f.under_way.pop_front();
        }
        f.waiting_since = (!f.under_way.is_empty()).then_some(now);
    }

    /// PAIR or JOINING without answers: record SOLO first, then go on.
    ///
    /// The session ends first, and a whole `ack_timeout` passes after that: by then a standby that
    /// lives knows itself stale, so it does not take over from a primary that acknowledged alone. With a
    /// witness the swap decides, and the first sign is enough, as for a standby: no beacon on any path.
    /// The lease has run out by then, and nobody is served until the word is there.
    fn leave_when_lost(&mut self) {
        let (now, limit) = (self.now, self.timers.ack_timeout);
        #[cfg(test)]
        let limit = if self.broken(Mutant::SoloUnwarned) { limit.mul_f32(0.1) } else { limit };
        let arbitrated = self.is_arbitrated();
        let session = self.session.as_ref().map(|s| s.since);
        let quiet = self.timed && self.silence_tells();
        let unheard = session.is_some() && quiet;
        let quiet = quiet || (self.timed && self.heard.beacon.is_none());
        let alone_after = match (arbitrated, quiet) {
            (true, true) => Duration::ZERO,
            (true, false) => self.timers.solo_after,
            (false, _) => limit,
        };
        let recorded_both = self.needs_lease();
        let Some(p) = self.primary() else { return };
        if (p.mode == Mode::Solo && !recorded_both) || p.leaving || p.handing.is_some() {
            return;
        }
        let due = |since: Option<Mono>| since.is_some_and(|at| now.since(at) >= limit);
        // It answers on the session, but its beacons do not arrive: nobody could be served.
        let mute = p.follower.as_ref().filter(|f| f.admitted).map(|f| p.granted.max(f.since));
        let silent = due(p.waiting_since(session)) || (recorded_both && due(mute)) || unheard;
        if !recorded_both && (p.follower.is_none() || silent) {
            // Nothing was promised to the peer yet: the register still says SOLO.
            p.mode = Mode::Solo;
            self.close_session(UNANSWERED);
            return;
        }
        if silent && !p.gone {
            p.giving_up = true;
            self.close_session(UNANSWERED);
        }
        let Some(p) = self.primary() else { return };
        let lost = p.lost_at.is_some_and(|at| now.since(at) >= alone_after);
        if p.gone || (p.offered.is_none() && !p.unsure && lost) {
            p.leaving = true;
            p.admitting = false;
            self.decide(Insync::Only(self.me), After::Solo, Right::Insync);
        }
    }

    /// The standby is back before anything was recorded: with a witness, no need to leave.
    pub(super) fn stay(&mut self) {
        if !self.is_arbitrated() || self.is_persisting() {
            return;
        }
        if self.court.wants() == Some(After::Solo) {
            self.withdraw();
        }
        if let Some(p) = self.primary() {
            p.leaving = false;
            p.giving_up = false;
        }
    }

    /// What was asked of the witness is not to be had.
    pub(super) fn not_granted(&mut self, wanted: Wanted) {
        if let Some(p) = self.primary() {
            match wanted.after {
                After::Admit => {
                    p.admitting = false;
                    self.admit_again();
                }
                After::Solo => {
                    // The witness does not let it go alone: whoever is there is asked again.
                    p.leaving = false;
                    p.giving_up = false;
                    self.greet_as_primary();
                }
                _ => {}
            }
        } else if wanted.right == Right::Agreed {
            self.close_session("the witness knows a later reign: ask anew");
        }
    }

    /// An operator wants this node to go on alone, whatever the witness says.
    pub(super) fn forced(&mut self) {
        if self.is_arbitrated()
            && self.session.is_none()
            && self.primary().is_some_and(|p| p.mode != Mode::Solo)
        {
            self.go_alone_unarbitrated();
        }
    }

    /// The lone holder's new epoch is durable: the witness holds it, too.
    pub(super) fn renewed(&mut self, epoch: Epoch) {
        let Some(p) = self.primary() else { return };
        p.epoch = epoch;
        self.put(Output::BeginEpoch(epoch));
        // Whoever copies is asked anew, in the new reign.
        self.close_session("a new epoch begins");
    }

    /// SOLO is durable.
    pub(super) fn solo_recorded(&mut self, epoch: Epoch) {
        let Some(p) = self.primary() else { return };
        let why = p.why;
        *p = Primary {
            ready: p.ready,
            leading: p.leading,
            branch: p.branch,
            full_copy: p.full_copy,
            lease_told: p.lease_told,
            ..Primary::new(epoch, Mode::Solo, false)
        };
        self.put(Output::BeginEpoch(epoch));
        self.note(why);
    }

    /// The peer said Hello and this node is primary.
    pub(super) fn greet_as_primary(&mut self) {
        let Some(hello) = self.peer_hello().cloned() else { return };
        let Some(p) = self.primary() else { return };
        if hello.phase == PhaseName::Primary {
            // It steps down when it hears our epoch. Where its beacons and ours do not arrive that is a
            // new Hello: ours on this session may be from before. (After a handover it knows.)
            let (epoch, alone) = (p.epoch, p.mode == Mode::Solo);
            if alone && self.session.as_ref().is_some_and(|s| s.said.register.seen < epoch) {
                self.close_session("the peer does not know of our reign: say it anew");
            }
            return;
        }
        // What it records when an admission is still under way is that it is alone, too.
        let leaves = p.leaving
            || p.mode == Mode::Pair && (p.handing.is_some() || (p.giving_up && !p.unsure));
        if leaves || p.offered.is_some() || p.gone {
            return;
        }
        let epoch = p.epoch;
        if self.log.history.last() < epoch {
            return; // Its first record may be in the log already: no fork can be told before it is named.
        }
        let fork = History::fork(&self.log, &hello.log);
        let kept = |fork: Lsn| fork.next() >= self.log.first;
        match fork {
            Some(fork) if self.commits_beyond(&hello, fork) => {
                if let Some(p) = self.primary() {
                    p.branch = Some(fork);
                }
                self.send(Frame::Branched { fork });
            }
            Some(fork) if kept(fork) => {
                if let Some(p) = self.primary() {
                    p.offered = Some(fork);
                }
                self.send(Frame::Join { epoch, fork });
            }
            _ => {
                if let Some(p) = self.primary() {
                    p.full_copy = true;
                }
            }
        }
    }

    /// Whether the peer may have acknowledged something after `fork`.
    pub(super) fn commits_beyond(&self, hello: &super::Hello, fork: Lsn) -> bool {
        #[cfg(test)]
        if self.broken(Mutant::SetAsideCommitted) {
            return false;
        }
        hello.register.may_have_acknowledged(hello.node, &hello.log, fork)
    }

    /// The standby's log ends at `tail`, durably, and equals ours up to there.
    pub(super) fn joined(&mut self, epoch: Epoch, tail: Lsn) {
        let now = self.now;
        let Some(p) = self.primary() else { return };
        if p.epoch != epoch || p.offered != Some(tail) || p.follower.is_some() {
            return;
        }
        // It answers what was asked of it just now: it has not led since. (A Hello does not prove
        // that; it may have waited, unread, while this node slept.)
        p.unsure = false;
        p.giving_up = false;
        p.why = UNANSWERED;
        p.lost_at = None;
        // Limbo may have been asked of it before it followed, and not been heard.
        let was_apart = p.branch.take().is_some() || std::mem::take(&mut p.full_copy);
        p.follower = Some(Follower {
            next: tail.next(),
            reading: false,
            under_way: VecDeque::new(),
            durable: tail,
            since: now,
            waiting_since: None,
            admitted: false,
            admit_sent: false,
        });
        if was_apart {
            self.court.limbo = Limbo::No;
        }
        // The last word of that may have been lost with the session, and no record may follow.
        let lsn = self.log.committed.min(tail);
        self.send(Frame::Commit { epoch, lsn });
    }

    fn admit_when_copied(&mut self) {
        self.readmit();
        self.start_joining();
        let copied = {
            let (tail, committed) = (self.log.tail, self.log.committed);
            let Some(p) = self.primary() else { return };
            let Mode::Joining { target } = p.mode else { return };
            let Some(f) = &p.follower else { return };
            !p.admitting
                && !p.leaving
                && f.durable >= target
                && f.durable >= committed
                && target <= tail
        };
        #[cfg(test)]
        let copied = copied || self.admits_early();
        if !copied {
            return;
        }
        if let Some(p) = self.primary() {
            p.admitting = true;
        }
        // A witness that has lost what it held is seeded with the admission.
        let right = self.witness_needs_seed().unwrap_or(Right::Insync);
        self.decide(Insync::Both, After::Admit, right);
    }

    #[cfg(test)]
    fn admits_early(&self) -> bool {
        let Phase::Primary(p) = &self.phase else { return false };
        self.broken(Mutant::AdmitBeforeCopy)
            && matches!(p.mode, Mode::Joining { .. })
            && !p.admitting
    }

    /// In PAIR, a standby is told that it is insync once it has everything that is committed: it
    /// may have marked itself stale since, or never have heard it.
    fn readmit(&mut self) {
        let (committed, arbitration) = (self.log.committed, self.register.arbitration);
        let switching = self.is_switching();
        let Some(p) = self.primary() else { return };
        if p.mode != Mode::Pair || p.leaving || switching {
            return;
        }
        let epoch = p.epoch;
        if let Some(f) = &mut p.follower
            && !f.admit_sent
            && f.durable >= committed
        {
            f.admit_sent = true;
            self.send(Frame::Admit { epoch, arbitration });
        }
    }

    /// SOLO with a copy that is nearly there, on a session that held: from now on wait for it.
    fn start_joining(&mut self) {
        let (now, tail, stability) = (self.now, self.log.tail, self.timers.stability);
        let Some(since) = self.session.as_ref().map(|s| s.since) else { return };
        #[cfg(test)]
        let early = self.broken(Mutant::AdmitBeforeCopy);
        #[cfg(not(test))]
        let early = false;
        let fresh = self.lease_is_fresh();
        let Some(p) = self.primary() else { return };
        if p.mode != Mode::Solo || p.leaving || !p.leading || !fresh {
            return;
        }
        let stable = p.quick || now.since(since) >= stability;
        let Some(f) = &p.follower else { return };
        let lacks = tail.0.saturating_sub(f.durable.0);
        if stable && (lacks <= NEARLY_RECORDS || early) {
            p.mode = Mode::Joining { target: tail };
            p.admitting = false;
        }
    }

    /// The admission is durable here: tell the peer.
    pub(super) fn admit_recorded(&mut self, epoch: Epoch) {
        let now = self.now;
        let away = self.session.is_none();
        let arbitration = self.register.arbitration;
        let Some(p) = self.primary() else { return };
        p.epoch = epoch;
        p.mode = Mode::Pair;
        p.admitting = false;
        p.quick = false;
        if away && p.lost_at.is_none() {
            p.lost_at = Some(now);
        }
        self.put(Output::BeginEpoch(epoch));
        if let Some(f) = self.follower() {
            f.admit_sent = true;
            self.send(Frame::Admit { epoch, arbitration });
        }
        self.court.limbo = Limbo::No;
        self.note("the standby has everything");
    }

    /// The standby is to hear anew who decides.
    pub(super) fn admit_again(&mut self) {
        self.court.limbo = Limbo::No;
        if let Some(f) = self.follower() {
            f.admit_sent = false;
            f.admitted = false;
        }
    }

    /// The standby has recorded that it is insync.
    pub(super) fn admitted(&mut self, epoch: Epoch) {
        if let Some(p) = self.primary()
            && p.epoch == epoch
            && let Some(f) = &mut p.follower
        {
            f.admitted = true;
        }
    }

    /// Why the standby says goodbye, by what its beacons said last.
    pub(super) fn farewell(&self) -> &'static str {
        let full = self.heard.health.is_some_and(|health| health.full);
        if full { "the standby's disk is full" } else { "the standby leaves in good order" }
    }

    /// The standby stops in good order: no need to wait for its silence.
    pub(super) fn goodbye(&mut self, why: &'static str) {
        if let Some(session) = &mut self.session {
            session.hello = None; // What it said of itself is over, too.
        }
        let Some(p) = self.primary() else { return };
        p.gone = true;
        p.why = why;
        p.follower = None;
        // It does not take up a handover any more, either; its epoch is passed over.
        let handed = p.handing.take().map(|h| h.epoch);
        if let Some(epoch) = handed {
            if self.stopping {
                return self.step_down("an orderly stop"); // Nobody is left to hand over to.
            }
            if self.is_arbitrated() {
                return self.step_down("the standby stopped during a handover");
            }
            let Some(p) = self.primary() else { return };
            p.leading = false;
            let seen = self.register.seen.max(epoch);
            self.register.seen = seen;
            self.unconfirmed();
        }
    }

    /// Whether the standby could take over now. Not while who decides is changing.
    #[must_use]
    pub fn may_hand_over(&self) -> bool {
        let decided = !self.is_deciding() && self.court.limbo == Limbo::No;
        decided && matches!(&self.phase, Phase::Primary(p) if p.can_hand_over())
    }

    pub(super) fn handover(&mut self) {
        let (now, seen, peer) = (self.now, self.register.seen, self.me.peer());
        if !self.may_hand_over() {
            return;
        }
        let Some(p) = self.primary() else { return };
        let epoch = next_epoch(seen, peer);
        p.handing = Some(Handing { epoch, since: now, drained: false, sent: false });
        self.put(Output::Revoke);
        #[cfg(test)]
        if self.broken(Mutant::AddressesKept) {
            return;
        }
        self.stand(VrrpStand::Silent);
    }

    /// The lease is revoked and the log ends at `tail`.
    pub(super) fn revoked(&mut self, tail: Lsn) {
        self.log.tail = self.log.tail.max(tail);
        if let Some(h) = self.primary().and_then(|p| p.handing.as_mut()) {
            h.drained = true;
        }
    }

    fn hand_over_when_drained(&mut self) {
        let (now, limit) = (self.now, self.timers.handover);
        let (tail, durable, committed) = (self.log.tail, self.log.durable, self.log.committed);
        let (linked, stopping) = (self.session.is_some(), self.stopping);
        let Some(p) = self.primary() else { return };
        let peer_has = p.follower.as_ref().is_some_and(|f| f.durable >= tail);
        let Some(h) = p.handing.as_mut() else { return };
        let over = now.since(h.since) >= limit || !linked;
        if !h.sent && h.drained && over && stopping {
            self.step_down("an orderly stop");
            return;
        }
        if !h.sent && h.drained && over {
            // The peer never heard of it: go on as before. Whoever waited got no answer.
            p.handing = None;
            (p.leading, p.resumes) = (false, true);
            self.unconfirmed();
            return;
        }
        if h.sent && over {
            // It may lead already: only it can tell.
            self.step_down("a handover got no answer");
            return;
        }
        if !h.sent && h.drained && peer_has && durable >= tail && committed >= tail {
            h.sent = true;
            let epoch = h.epoch;
            self.send(Frame::HandoverGo { epoch });
        }
    }

    /// The peer leads now, as it was asked to.
    pub(super) fn reigned(&mut self, epoch: Epoch) {
        if self.primary().and_then(|p| p.handing_to()) != Some(epoch) {
            return;
        }
        let holder = self.me.peer();
        let insync = Insync::Both;
        let register =
            Register { epoch, holder, insync, seen: epoch, stale: false, ..self.register };
        self.persist(register, After::Obey);
    }

    /// That is recorded here: follow it.
    pub(super) fn obey(&mut self, epoch: Epoch) {
        if self.primary().and_then(|p| p.handing_to()) != Some(epoch) {
            return; // It took too long, and this node has stepped down.
        }
        if self.session.is_none() {
            self.step_down("a handover lost its session");
            return;
        }
        if self.stopping {
            self.retire();
            return;
        }
        self.hear_anew();
        self.phase = Phase::Standby(Standby::insync(epoch));
        let tail = self.log.tail;
        self.send(Frame::Joined { epoch, tail });
        self.stand(VrrpStand::Standby);
        self.note("handover");
    }
}
