//! Branches that are taken over, step by step, as `src/pair/branch` does; trimmed logs, and the full
//! copies that follow, as `src/pair/resync` makes them.
//!
//! What is merged here is numbers: each must be there once. The rules of `proto::merge` decide by a
//! tenant's rows, and a model log has none: its records are numbers, so that a history costs
//! milliseconds. To drive them, each record would carry a real change, each node a view that is built
//! anew at every cut and copy, and the checker would look for messages. That merges are deterministic
//! and the same both ways round is held where rows are (`merge::tests`); here, that whatever ends a
//! merge midway, all of it is there once, on both nodes.

use super::{Event, MS, SECOND, World};
use crate::id::Epoch;
use crate::pair::sim::Slip;
use crate::pair::{Insync, Register, Role, State, Waiting};
use std::collections::{BTreeSet, VecDeque};

/// A branch that is being taken over.
pub(super) struct Merging {
    /// By whom.
    by: usize,
    lives: [u32; 2],
    session: u32,
    cuts: u32,
    /// What is to be shipped.
    ops: VecDeque<u64>,
    /// The leader's tail after the last piece.
    tail: u64,
    /// "Taken" is on its way.
    taken: bool,
}

/// A full copy that is being made.
pub(super) struct Copying {
    by: usize,
    lives: [u32; 2],
    session: u32,
    /// When all of it is there.
    whole_at: u64,
    /// The log is kept from here on.
    pin: u64,
}

impl World {
    /// The oldest records go, as far as views and the peer allow.
    pub(super) fn trim(&mut self, n: usize) {
        let status = self.nodes[n].machine.status();
        let peer = status.peer_durable.filter(|_| status.linked).map_or(u64::MAX, |l| l.0);
        let pin = self.copying.as_ref().filter(|c| c.by == n).map_or(u64::MAX, |c| c.pin);
        let keep = self.rng.range(0, 60);
        let log = &mut self.nodes[n].log;
        let most = self.nodes[n].known_commit.min(peer).min(pin).min(log.durable);
        log.trimmed = log.trimmed.max(most.saturating_sub(keep));
    }

    /// A standby that lacks more than is kept gets everything anew. Until that is whole, it keeps what
    /// it has; then it starts with the copy as its log.
    pub(super) fn full_copy(&mut self) {
        let statuses = self.statuses();
        let lead = (0..2).find(|n| statuses[*n].role == Role::Primary);
        let fits = |n: &usize| {
            let peer = &self.nodes[1 - n];
            let takes =
                statuses[1 - n].role != Role::Primary && statuses[1 - n].state != State::Branched;
            let waits = statuses[*n].waiting == Waiting::FullCopy && statuses[*n].linked;
            waits && takes && peer.runs() && self.nodes[*n].runs()
        };
        let lives = [self.nodes[0].life, self.nodes[1].life];
        let n = lead.filter(fits);
        let same = |c: &Copying| n == Some(c.by) && c.lives == lives && c.session == self.sessions;
        if self.copying.as_ref().is_some_and(|c| !same(c)) {
            self.copying = None;
            self.stats.broken_copies += 1;
        }
        let Some(n) = n else { return };
        let Some(copying) = &self.copying else {
            let pin = self.nodes[n].known_commit;
            let time = self.rng.range(100 * MS, 3 * SECOND);
            let (session, whole_at) = (self.sessions, self.now + time);
            self.copying = Some(Copying { by: n, lives, session, whole_at, pin });
            self.say(|| format!("node {n} begins a full copy"));
            self.aim(n, 500, time);
            return;
        };
        if self.now >= copying.whole_at {
            let pin = copying.pin;
            self.copying = None;
            self.swap_in(n, 1 - n, pin);
        }
    }

    fn swap_in(&mut self, from: usize, to: usize, pin: u64) {
        self.stats.copies += 1;
        self.say(|| format!("node {to} has a full copy"));
        let committed = self.nodes[from].committed;
        let recs = self.nodes[from].log.recs[..usize::try_from(committed).unwrap()].to_vec();
        self.kill(to);
        let old = std::mem::take(&mut self.nodes[to].log.recs);
        let lost: Vec<_> = old
            .iter()
            .enumerate()
            .filter(|(i, r)| recs.get(*i) != Some(*r))
            .map(|(_, r)| *r)
            .collect();
        let node = &mut self.nodes[to];
        node.log.replace(&recs, pin);
        node.known_commit = committed;
        self.oracle.set_aside(to, &lost);
        let back = self.rng.range(50 * MS, SECOND);
        self.after(back, Event::Restart(to));
    }

    /// The leading node takes over what the other has after the fork, a piece at a time, through its
    /// own log; once that is committed, the other puts all it has aside and starts empty. Whatever
    /// ends in between begins anew, and what is there already is passed over.
    pub(super) fn merge(&mut self) {
        let statuses = self.statuses();
        let lead = (0..2).find(|n| statuses[*n].role == Role::Primary);
        let Some(n) = lead.filter(|n| self.may_merge(*n, &statuses)) else {
            self.merging = None;
            return;
        };
        let lives = [self.nodes[0].life, self.nodes[1].life];
        let cuts = self.nodes[n].log.cuts;
        let (session, now_known) = (self.sessions, (n, lives, self.sessions, cuts));
        let Some(m) = &mut self.merging else {
            if self.nodes[n].register.insync == Insync::Only(self.nodes[n].machine.me) {
                let ops = self.to_take(n, statuses[n].branch.unwrap_or_default().0);
                let tail = self.nodes[n].log.tail();
                self.merging =
                    Some(Merging { by: n, lives, session, cuts, ops, tail, taken: false });
            }
            return;
        };
        if (m.by, m.lives, m.session, m.cuts) != now_known {
            self.merging = None;
            return;
        }
        let there = self.nodes[n].committed >= m.tail && self.nodes[n].log.durable >= m.tail;
        if !there {
            return;
        }
        if m.ops.is_empty() {
            let delay = self.rng.range(MS, 100 * MS);
            self.say_taken(n, delay);
        } else {
            let piece: Vec<u64> =
                (0..self.rng.range(1, 6)).filter_map(|_| m.ops.pop_front()).collect();
            for op in piece {
                self.append(n, op);
            }
            let tail = self.nodes[n].log.tail();
            if let Some(m) = &mut self.merging {
                m.tail = tail;
                if m.ops.is_empty() && self.rules.slip == Some(Slip::TakenTooEarly) {
                    return self.say_taken(n, MS / 5);
                }
            }
            self.aim(n, 60, 20 * MS);
        }
    }

    fn say_taken(&mut self, n: usize, delay: u64) {
        let life = self.nodes[1 - n].life;
        if let Some(m) = &mut self.merging
            && !std::mem::replace(&mut m.taken, true)
        {
            self.after(delay, Event::Taken { n: 1 - n, life });
            if self.rng.chance(500) {
                self.aim(n, 500, 120 * MS);
            } else if self.plan.aimed {
                let delay = self.rng.range(0, MS);
                self.die_after(delay, n, true);
            }
        }
    }

    fn may_merge(&self, n: usize, statuses: &[crate::pair::Status; 2]) -> bool {
        let (node, peer) = (&self.nodes[n], &self.nodes[1 - n]);
        let ready = statuses[n].linked && node.runs() && node.lease;
        let waits = peer.runs() && statuses[1 - n].state == State::Branched;
        ready && waits && statuses[n].branch.is_some()
    }

    /// The branch's operations that are not there yet.
    fn to_take(&self, n: usize, fork: u64) -> VecDeque<u64> {
        let mut here: BTreeSet<u64> = self.nodes[n].log.recs.iter().map(|r| r.op).collect();
        if self.rules.slip == Some(Slip::TakenTwice) {
            here = BTreeSet::from([0]); // What begins an epoch is nobody's change.
        }
        let from = usize::try_from(fork).unwrap();
        let branch = self.nodes[1 - n].log.recs.get(from..).unwrap_or_default();
        branch.iter().map(|r| r.op).filter(|op| !here.contains(op)).collect()
    }

    /// "Taken" has come: the branch is over.
    pub(super) fn taken(&mut self, n: usize, life: u32) {
        let node = &self.nodes[n];
        if !node.runs() || node.life != life || node.machine.status().state != State::Branched {
            return;
        }
        self.merging = None;
        self.say(|| format!("node {n}'s branch is taken over"));
        self.stats.merges += 1;
        self.start_empty(n);
    }

    /// All of it is put aside, and the node starts as one that has nothing.
    pub(super) fn start_empty(&mut self, n: usize) {
        self.kill(n);
        let node = &mut self.nodes[n];
        node.log.retire();
        node.known_commit = 0;
        let old = node.register;
        let holder = node.machine.me.peer();
        let insync = Insync::Only(holder);
        node.register = Register { epoch: Epoch(0), holder, insync, stale: true, ..old };
        self.oracle.lost_tail(n);
        let back = self.rng.range(50 * MS, SECOND);
        self.after(back, Event::Restart(n));
    }
}
