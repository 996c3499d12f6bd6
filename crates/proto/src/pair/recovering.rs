//! A node without a part: it asks before it acts (invariant 6).
//!
//! It joins a primary that it hears; two nodes without a primary elect the one that was part of the
//! later reign; a node that was SOLO goes on after listening; all else waits for the peer or for an
//! operator.

use super::arbitration::{Right, Wanted};
use super::frame::{Frame, Hello, PhaseName};
use super::machine::{After, Machine, Phase, VrrpStand};
use super::primary::next_epoch;
use super::register::{Arbitration, Insync};
use crate::id::Epoch;
use crate::time::Mono;

impl Machine {
    pub(super) fn recovering_deadlines(&self) -> [Option<Mono>; 4] {
        let wait = |time| self.session.is_none().then(|| self.session_end.after(time));
        [wait(self.timers.solo_boot_wait), wait(self.timers.boot_wait), None, None]
    }

    /// Whether nobody else can have gone on since: this node was alone by its own register, and has
    /// heard of no later reign.
    pub(super) fn may_resume_solo(&self) -> bool {
        let r = &self.register;
        r.solo(self.me) && r.arbitration == Arbitration::None && !r.stale && r.seen == r.epoch
    }

    pub(super) fn step_recovering(&mut self) {
        if self.is_deciding() || self.session.is_some() || self.stopping || !self.is_free() {
            return;
        }
        let waited = self.alone_for();
        let led = self.heard.leading.is_some_and(|at| self.now.since(at) < self.timers.silence);
        if !self.timers.has_peer {
            self.record_reign("no peer is configured", Right::Insync);
        } else if self.is_arbitrated() {
            if waited >= self.timers.solo_boot_wait && !led {
                self.record_reign("the witness knows no later reign", Right::Insync);
            }
        } else if self.may_resume_solo() && waited >= self.timers.solo_boot_wait && !led {
            self.record_reign("this node was alone before and nobody leads", Right::Insync);
        }
    }

    pub(super) fn record_reign(&mut self, reason: &'static str, right: Right) {
        let insync = Insync::Only(self.me);
        let arbitration = match (right, self.register.arbitration) {
            // The other one agreed, or an operator answers for it: limbo is over for the leader.
            (Right::Agreed, Arbitration::Limbo) => Arbitration::None,
            (_, now) => now,
        };
        self.want(Wanted {
            insync,
            after: After::LeadSolo { reason },
            right,
            epoch: None,
            arbitration,
        });
    }

    /// The peer said Hello and this node is not primary.
    pub(super) fn greet_without_primary(&mut self) {
        let Some(session) = &self.session else { return };
        let (ours, Some(theirs)) = (&session.said, &session.hello) else { return };
        if theirs.phase == PhaseName::Primary || self.stopping || self.about_to_lead() {
            return; // It will ask us to join, or we it.
        }
        // Whoever is insync in the later reign has every acknowledged change: with both registers
        // on the table, staleness says nothing more. Of two equal ones, the standby that did not go
        // down leads (a primary that crashes again and again must not get the lead each time);
        // then the longer log spares a copy; the lower node decides the rest. Both nodes rank what
        // was said in the two Hellos, so both come to the same end.
        let rank = |hello: &Hello| {
            let insync = hello.register.insync.has(hello.node);
            let stood = hello.phase == PhaseName::Standby;
            let log = (hello.log.history.last(), hello.log.tail);
            (hello.register.epoch, insync, stood, log, hello.node.peer())
        };
        if rank(ours) < rank(theirs) {
            return; // It will ask us to follow.
        }
        // If both have acknowledged what the other lacks, it leads all the same: what the other has
        // more is taken over, not lost.
        let seen = self.register.seen.max(theirs.register.seen);
        let epoch = next_epoch(seen, self.me);
        // A standby stays one while it asks: should the peer die first, it may still take over.
        self.asked = Some(epoch);
        self.send(Frame::Lead { epoch });
    }

    /// The peer has recorded that it follows.
    pub(super) fn followed(&mut self, epoch: Epoch) {
        // The witness may have said yes meanwhile: one reign is enough, and a second one would reckon
        // with what the peer said before the first.
        let leads = matches!(self.phase, Phase::Primary(_)) || self.about_to_lead();
        if !leads && !self.stopping && self.asked == Some(epoch) {
            self.asked = None;
            // No standby any more: nobody else can lead now, whatever is heard until it is recorded.
            self.phase = Phase::Recovering;
            self.stand(VrrpStand::Silent);
            self.record_reign("elected: it was part of the later reign", Right::Agreed);
        }
    }
}
