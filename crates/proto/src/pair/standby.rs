//! The follower: takes records, acknowledges what is durable, and takes over when nobody leads.
//!
//! Invariants: records of an epoch below the highest seen are refused (4); nothing is applied before
//! the primary says that it is committed (1); only a standby that is insync by its durable register
//! and not stale promotes itself, and only when session, adverts and beacons are all silent (3); one
//! whose log has hardly room records that it is stale, then asks to be left (12).

#[cfg(test)]
use super::Mutant;
use super::arbitration::{Right, Wanted};
use super::frame::{Frame, PhaseName};
use super::machine::{After, Machine, Output, Phase, VrrpStand};
use super::register::{Arbitration, Insync, Register};
use crate::id::{Epoch, Lsn};
use crate::time::Mono;

/// The standby's own state.
#[derive(Clone, Debug)]
pub(super) struct Standby {
    pub(super) epoch: Epoch,
    /// The primary counts on this copy.
    pub(super) insync: bool,
    /// The primary asked for this copy on this session.
    linked: bool,
    /// When the last session ended on which it did. The primary counts from there, too.
    end: Mono,
    /// The primary knows where this log ends.
    pub(super) joined: bool,
    /// A tail is being set aside.
    setting_aside: bool,
    /// On this session it has asked to be left.
    pub(super) aside: bool,
    /// How far the primary has committed.
    told: Lsn,
}

impl Standby {
    fn new(epoch: Epoch, insync: bool) -> Self {
        Self {
            epoch,
            insync,
            linked: true,
            end: Mono(0),
            joined: false,
            setting_aside: false,
            aside: false,
            told: Lsn(0),
        }
    }

    /// The old primary after a handover: it has everything and is known to.
    pub(super) fn insync(epoch: Epoch) -> Self {
        Self { joined: true, ..Self::new(epoch, true) }
    }

    pub(super) fn session_lost(&mut self, now: Mono) {
        if self.linked {
            self.end = now;
        }
        self.linked = false;
        self.joined = false;
        self.aside = false;
    }

    /// Until when the primary counted on this copy for sure, seen from `now`.
    pub(super) fn linked_until(&self, now: Mono) -> Mono {
        if self.linked { now } else { self.end }
    }

    pub(super) fn deadlines(&self, machine: &Machine) -> [Option<Mono>; 4] {
        let t = &machine.timers;
        let leading = machine.heard.leading;
        let ended = machine.session_end.max(leading.unwrap_or_default()).after(t.silence / 2);
        [
            Some(self.end.after(t.stale_after)),
            Some(machine.session_end.after(t.silence)),
            leading.map(|at| at.after(t.silence)),
            Some(ended),
        ]
    }
}

impl Machine {
    pub(super) fn standby(&mut self) -> Option<&mut Standby> {
        match &mut self.phase {
            Phase::Standby(s) => Some(s),
            _ => None,
        }
    }

    /// Invariant 4. Says so to whoever speaks in an epoch that is over.
    fn refuses(&mut self, epoch: Epoch) -> bool {
        #[cfg(test)]
        if self.broken(Mutant::NoFencing) {
            return false;
        }
        let seen = self.register.seen;
        if epoch < seen {
            self.send(Frame::Refuse { seen });
        }
        epoch < seen
    }

    /// A primary wants this node as its standby.
    pub(super) fn join(&mut self, epoch: Epoch, fork: Lsn) {
        let leads = matches!(self.phase, Phase::Primary(_)) || self.about_to_lead();
        if leads
            || self.stopping
            || matches!(self.phase, Phase::Branched { .. })
            || self.refuses(epoch)
        {
            return;
        }
        let r = self.register;
        let insync = r.epoch == epoch && r.insync == Insync::Both && !r.stale;
        if !insync && (!r.stale || r.seen < epoch) {
            // From here on the primary may go on without this copy.
            let seen = r.seen.max(epoch);
            self.persist(Register { seen, stale: true, ..r }, After::Nothing);
        }
        let acknowledged =
            self.applied > fork || self.register.may_have_acknowledged(self.me, &self.log, fork);
        #[cfg(test)]
        let acknowledged = acknowledged && !self.broken(Mutant::SetAsideCommitted);
        if acknowledged {
            self.branch(Some(fork), "this log has committed changes that the primary lacks");
            return;
        }
        let mut standby = Standby::new(epoch, insync);
        if self.log.tail > fork {
            standby.setting_aside = true;
            self.put(Output::SetAside(fork.next()));
        }
        self.withdraw();
        self.hear_anew();
        self.phase = Phase::Standby(standby);
        self.stand(if insync { VrrpStand::Standby } else { VrrpStand::Silent });
        self.note("the peer leads");
    }

    /// The peer leads, and says so now: what was or was not heard of it before tells nothing. (It may
    /// have led before: that its beacons of then ceased is no sign that it is gone.)
    pub(super) fn hear_anew(&mut self) {
        #[cfg(test)]
        if self.broken(Mutant::OldEars) && matches!(self.phase, Phase::Primary(_)) {
            return;
        }
        (self.heard.leading, self.heard.active, self.heard.gone) = (None, None, None);
        self.heard.master_down = false;
    }

    pub(super) fn set_aside_done(&mut self, tail: Lsn) {
        self.log.tail = tail;
        self.log.durable = self.log.durable.min(tail);
        self.log.history.cut(tail);
        // A node that leads by now has been asked to cut its log by nobody.
        if let Some(s) = self.standby() {
            s.setting_aside = false;
        }
    }

    /// The primary's records.
    pub(super) fn records(&mut self, epoch: Epoch, commit: Lsn, bytes: Vec<u8>) {
        if self.refuses(epoch) {
            return;
        }
        let Some(s) = self.standby() else { return };
        if s.joined && s.epoch == epoch {
            s.told = s.told.max(commit);
            self.put(Output::Append(bytes));
        }
    }

    /// How far the primary has committed.
    pub(super) fn commit_told(&mut self, epoch: Epoch, lsn: Lsn) {
        if self.refuses(epoch) {
            return;
        }
        if let Some(s) = self.standby()
            && s.joined
            && s.epoch == epoch
        {
            s.told = s.told.max(lsn);
        }
    }

    /// The primary has recorded that this copy is insync.
    pub(super) fn admit(&mut self, epoch: Epoch, arbitration: Arbitration) {
        if self.refuses(epoch) {
            return;
        }
        let holder = self.me.peer();
        let Some(s) = self.standby() else { return };
        if !s.joined {
            return;
        }
        s.epoch = epoch;
        s.insync = true;
        let insync = Insync::Both;
        let register = Register { epoch, holder, insync, seen: epoch, stale: false, arbitration };
        if self.durable_register == register && !self.is_persisting() {
            self.send(Frame::Admitted { epoch });
            return;
        }
        self.persist(register, After::Admitted);
        self.stand(VrrpStand::Standby);
        self.note("the primary has admitted this copy");
    }

    /// The primary asks this node to lead.
    pub(super) fn handover_go(&mut self, epoch: Epoch) {
        if self.refuses(epoch) {
            return;
        }
        let ready = self.log.durable == self.log.tail && !self.register.stale;
        let Some(s) = self.standby() else { return };
        if !s.joined || !s.insync || !ready {
            return;
        }
        let arbitration = self.register.arbitration;
        self.want(Wanted {
            insync: Insync::Both,
            after: After::Reign,
            right: Right::Insync,
            epoch: Some(epoch),
            arbitration,
        });
    }

    pub(super) fn step_standby(&mut self) {
        self.commit_what_was_told();
        self.stand_aside_when_full();
        self.join_when_durable();
        self.stale_when_led_elsewhere();
        self.promote_when_alone();
        #[cfg(test)]
        self.ack_early();
    }

    fn commit_what_was_told(&mut self) {
        let (durable, committed) = (self.log.durable, self.log.committed);
        let Some(s) = self.standby() else { return };
        let target = s.told.min(durable);
        if target > committed && !s.setting_aside {
            self.log.committed = target;
            self.put(Output::Commit(target));
        }
    }

    fn join_when_durable(&mut self) {
        let (linked, tail) = (self.session.is_some(), self.log.tail);
        let (durable, persisting) = (self.log.durable >= tail, self.is_persisting());
        let Some(s) = self.standby() else { return };
        let asked = linked && s.linked && !s.joined && !s.aside;
        if asked && durable && !persisting && !s.setting_aside {
            s.joined = true;
            let epoch = s.epoch;
            self.send(Frame::Joined { epoch, tail });
        }
    }

    /// Invariant 12: a log without room leaves in good order. Staleness is recorded first, so the
    /// primary may go on alone at once. Nothing is taken on this session any more; with clearly more
    /// room a new one begins, and the copy goes on where it is.
    fn stand_aside_when_full(&mut self) {
        let full = self.health.is_full();
        let ready = self.session.is_some() && !self.is_deciding();
        let Some(s) = self.standby() else { return };
        if !ready || !s.linked || full == s.aside {
            return;
        }
        if !full {
            self.close_session("the disk has room again");
            return;
        }
        (s.aside, s.joined, s.insync) = (true, false, false);
        self.persist(Register { stale: true, ..self.register }, After::Aside);
        self.stand(VrrpStand::Silent);
        self.note("the disk is full: the primary is asked to go on without this copy");
    }

    /// It is recorded that this node does not promote itself.
    pub(super) fn aside(&mut self) {
        if self.standby().is_some_and(|s| s.aside) {
            self.send(Frame::Goodbye);
        }
    }

    /// Asked for by nobody, but hearing a primary: it will go on alone, so this copy grows old.
    fn stale_when_led_elsewhere(&mut self) {
        let Phase::Standby(s) = &self.phase else { return };
        // With a witness it need not be decided here: whoever comes second is refused.
        if s.linked || self.register.stale || self.register.arbitration != Arbitration::None {
            return;
        }
        let echo = s.end.after(self.timers.echo);
        let decided = self.now.since(s.end) >= self.timers.stale_after;
        let heard = |at: Option<Mono>| at.is_some_and(|at| at > echo);
        // On a new session it says that it leads, and does not ask: it has given this copy up.
        let ignored = self.peer_hello().is_some_and(|h| h.phase == PhaseName::Primary);
        if decided && (ignored || heard(self.heard.leading) || heard(self.heard.active)) {
            self.grow_stale("the link is down but the primary is heard");
        }
    }

    /// This copy may lack what is acknowledged from now on: it does not promote itself any more. The
    /// decision counts at once; a node that reboots before it is durable is RECOVERING anyway.
    pub(super) fn grow_stale(&mut self, reason: &'static str) {
        if self.register.stale || self.never_stale() {
            return;
        }
        self.persist(Register { stale: true, ..self.register }, After::Nothing);
        self.stand(VrrpStand::Silent);
        self.note(reason);
    }

    fn promote_when_alone(&mut self) {
        let Phase::Standby(s) = &self.phase else { return };
        let r = &self.durable_register;
        let entitled = s.insync
            && r.insync == Insync::Both
            && !self.register.stale
            && self.register.arbitration != Arbitration::Limbo;
        #[cfg(test)]
        let entitled = entitled || self.broken(Mutant::PromoteUnchecked);
        if !entitled || s.setting_aside || self.is_deciding() || !self.is_free() {
            return;
        }
        if self.is_arbitrated() {
            if self.has_reason() || self.timed && self.silence_tells() {
                // What was said on it is over: the new reign begins with two new Hellos.
                self.close_session("the primary is gone");
                self.record_reign("the primary is gone", Right::Insync);
            }
            return;
        }
        if self.session.is_some() {
            return;
        }
        let t = &self.timers;
        // Its guardian has signed that the primary's process is over, and the session on which it
        // waited for this copy has only just ended: it cannot have gone on alone in between.
        let over = self.heard.gone.is_some() && self.now.since(s.end) < t.stale_after;
        if over {
            return self.record_reign("the primary's process has ended", Right::Insync);
        }
        let silent = self.now.since(self.session_end) >= t.silence
            && self.heard.leading.is_none_or(|at| self.now.since(at) >= t.silence);
        let unwatched = !t.vrrp || self.heard.master_down;
        #[cfg(test)]
        let unwatched = unwatched || (self.register.stale && self.broken(Mutant::PromoteUnchecked));
        if !silent || !unwatched {
            return;
        }
        self.record_reign("the primary is gone", Right::Insync);
    }

    /// With a witness the first sign is enough, for the epoch step arbitrates: a goodbye, a session
    /// that ended with no beacon after it, beacons that fell silent on every path, or adverts that
    /// were heard and ceased.
    pub(super) fn suspects(&self) -> bool {
        self.has_reason() || self.silence_tells()
    }

    /// Something was heard that tells it.
    fn has_reason(&self) -> bool {
        let Phase::Standby(s) = &self.phase else { return false };
        let unadvertised = self.heard.master_down && self.heard.active.is_some();
        self.is_arbitrated() && s.insync && (self.heard.gone.is_some() || unadvertised)
    }

    /// With a witness: nothing was heard for so long that this node would act, if that is all that
    /// came. A step that acts on it must be a `timed` one.
    pub(super) fn silence_tells(&self) -> bool {
        let (now, silence) = (self.now, self.timers.silence);
        let since = |at: Option<Mono>| at.map(|at| now.since(at));
        if !self.is_arbitrated() {
            return false;
        }
        match &self.phase {
            Phase::Standby(s) if s.insync => {
                let last = since(self.heard.leading);
                let ended = self.session.is_none()
                    && now.since(self.session_end) >= silence / 2
                    && last.is_none_or(|age| age >= silence / 2);
                ended || last.is_some_and(|age| age >= silence)
            }
            Phase::Primary(p) if self.needs_lease() && !p.leaving => {
                since(self.heard.beacon).is_some_and(|age| age >= silence)
            }
            _ => false,
        }
    }

    #[cfg(test)]
    fn ack_early(&mut self) {
        let durable = self.log.tail;
        if self.broken(Mutant::AckBeforeSync)
            && let Some(s) = self.standby()
            && s.joined
        {
            let epoch = s.epoch;
            self.send(Frame::Ack { epoch, durable });
        }
    }

    /// Neither is primary and the peer leads: this node records that it will not promote by itself.
    pub(super) fn led(&mut self, epoch: Epoch) {
        if matches!(self.phase, Phase::Primary(_)) {
            return;
        }
        let (seen, insync) = (self.register.seen, (self.register.epoch, self.register.insync));
        // The peer ranked what this node's disk held then. What has been decided since counts, too, and
        // may be written by now.
        let said = self.session.as_ref().map(|s| (s.said.register.epoch, s.said.register.insync));
        let moved_on = said != Some(insync);
        if epoch <= seen || self.stopping || self.about_to_lead() || moved_on {
            self.send(Frame::Refuse { seen });
            return;
        }
        self.withdraw();
        if !matches!(self.phase, Phase::Branched { .. }) {
            self.phase = Phase::Recovering;
        }
        self.stand(VrrpStand::Silent);
        // Whoever promises to follow obeys neither witness nor evidence until it is admitted: the
        // leader may find no witness and go on without one.
        let arbitration = match self.register.arbitration {
            Arbitration::Witness => Arbitration::Limbo,
            other => other,
        };
        let register = Register { seen: epoch, stale: true, arbitration, ..self.register };
        self.persist(register, After::Follow { epoch });
        self.note("the peer is to lead");
    }
}
