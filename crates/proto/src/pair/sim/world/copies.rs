//! Branches that are taken over, step by step, as `src/pair/branch` does.

use super::{Event, MS, SECOND, World};
use crate::id::Epoch;
use crate::pair::sim::Slip;
use crate::pair::{Insync, Register, Role, State};
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

impl World {
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
        let here: BTreeSet<u64> = self.nodes[n].log.recs.iter().map(|r| r.op).collect();
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
