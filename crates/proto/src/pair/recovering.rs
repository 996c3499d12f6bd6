//! A node without a part: it asks before it acts (invariant 6).
//!
//! It joins a primary that it hears; two nodes without a primary elect the one that was part of the
//! later reign; a node that was SOLO goes on after listening; all else waits for the peer or for an
//! operator.

use super::frame::{Frame, PhaseName};
use super::history::History;
use super::machine::{After, Machine, Phase};
use super::primary::next_epoch;
use super::register::{Insync, Register};
use crate::id::Epoch;
use crate::time::Mono;

/// What a node without a part knows.
#[derive(Clone, Debug, Default)]
pub(super) struct Recovering {
    /// Neither of the two may lead by itself.
    pub(super) deadlocked: bool,
}

impl Recovering {
    pub(super) fn deadline(&self, machine: &Machine) -> Option<Mono> {
        if machine.session.is_some() {
            return None;
        }
        let since = machine.boot.max(machine.session_end);
        let wait = if machine.may_resume_solo() {
            machine.timers.solo_boot_wait
        } else {
            machine.timers.boot_wait
        };
        Some(since.after(wait)).filter(|at| *at > machine.now)
    }
}

impl Machine {
    /// Whether nobody else can have gone on since: this node was alone by its own register, and has
    /// heard of no later reign.
    pub(super) fn may_resume_solo(&self) -> bool {
        let r = &self.register;
        r.solo(self.me) && !r.stale && r.seen == r.epoch
    }

    pub(super) fn step_recovering(&mut self) {
        if self.is_persisting() || self.session.is_some() || self.stopping {
            return;
        }
        let waited = self.now.since(self.boot.max(self.session_end));
        let led = self.heard.leading.is_some_and(|at| self.now.since(at) < self.timers.silence);
        if !self.timers.has_peer {
            self.lead_from_rest("no peer is configured");
        } else if self.may_resume_solo() && waited >= self.timers.solo_boot_wait && !led {
            self.lead_from_rest("this node was alone before and nobody leads");
        }
    }

    fn lead_from_rest(&mut self, reason: &'static str) {
        let epoch = next_epoch(self.register.seen.max(self.register.epoch), self.me);
        self.record_reign(epoch, reason);
    }

    fn record_reign(&mut self, epoch: Epoch, reason: &'static str) {
        let register = Register {
            epoch,
            holder: self.me,
            insync: Insync::Only(self.me),
            seen: epoch,
            stale: false,
        };
        self.persist(register, After::LeadSolo { reason });
    }

    /// The peer said Hello and this node is not primary.
    pub(super) fn greet_without_primary(&mut self) {
        let Some(hello) = self.peer_hello().cloned() else { return };
        if hello.phase == PhaseName::Primary || self.stopping {
            return; // It will ask us to join.
        }
        let fork = History::fork(&self.log, &hello.log);
        let nobody = hello.phase == PhaseName::Branched
            || (self.register.stale && hello.register.stale)
            || fork.is_none();
        if let (Phase::Recovering(r), true) = (&mut self.phase, nobody) {
            r.deadlocked = true;
        }
        let (false, Some(fork)) = (nobody, fork) else { return };
        // The part of a later reign has at least every acknowledged change; of two equal ones, the
        // longer log spares a copy; the lower node decides the rest.
        let mine = (
            self.durable_register.epoch,
            !self.durable_register.stale,
            self.log.history.last(),
            self.log.tail,
            self.me.peer(),
        );
        let theirs = (
            hello.register.epoch,
            !hello.register.stale,
            hello.log.history.last(),
            hello.log.tail,
            hello.node.peer(),
        );
        if mine < theirs {
            return; // It will ask us to follow.
        }
        if self.commits_beyond(&hello, fork) {
            self.send(Frame::Branched);
            self.branch("both nodes have committed changes that the other lacks");
            return;
        }
        let seen = self.register.seen.max(hello.register.seen);
        let epoch = next_epoch(seen, self.me);
        // A standby stays one while it asks: should the peer die first, it may still take over.
        self.asked = Some(epoch);
        self.send(Frame::Lead { epoch });
    }

    /// The peer has recorded that it follows.
    pub(super) fn followed(&mut self, epoch: Epoch) {
        let leads = matches!(self.phase, Phase::Primary(_) | Phase::Branched);
        if !leads && self.asked == Some(epoch) && epoch >= self.register.seen {
            self.asked = None;
            self.record_reign(epoch, "elected: it was part of the later reign");
        }
    }
}
