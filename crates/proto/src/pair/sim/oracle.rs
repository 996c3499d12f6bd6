//! The checker: knows what was acknowledged, and says when a promise is broken.

use super::node::{Node, Rec, index};
use crate::pair::Insync;
use std::collections::HashMap;

/// So long, in microseconds, the pair is whole before a split counts as over: longer than anything
/// that was decided in it takes to happen.
const WHOLE_FOR: u64 = 1_000_000;

/// A standby may claim RPO 0 wrongly for so many microseconds: until the end of a session on which
/// nothing comes any more is noticed (`SESSION_SILENCE`, and a look of up to 70 ms).
const BOAST_MAX: u64 = 400_000;

#[derive(Default)]
pub(super) struct Oracle {
    /// Every acknowledged operation, with its position.
    pub(super) acked: Vec<(u64, Rec)>,
    /// The committed history: one, as long as nothing was split.
    committed: Vec<Rec>,
    /// How many of `acked`, from the first on, are durable on each node.
    good: [usize; 2],
    /// How many of `acked` a reader of each node would see.
    seen: [usize; 2],
    /// Who wrote in an epoch.
    writers: Vec<Option<usize>>,
    /// Both nodes lived without any path between them, or an operator chose a side; until the two
    /// branches are one again.
    split: bool,
    /// How often that began, and how often it was over before the end.
    pub(super) splits: u64,
    pub(super) heals: u64,
    /// Since when the pair looks whole again.
    whole_since: Option<u64>,
    /// A node whose disk was replaced, until it has everything again.
    pub(super) replaced: [bool; 2],
    /// What was durable on each node's last disk when that broke.
    pub(super) broken: [Vec<Rec>; 2],
    /// What the other node, or an earlier life of each, acknowledged: visible before it leads again.
    promoted: [u64; 2],
    /// Since when each standby claims RPO 0 although an acknowledged change is on one disk only.
    boasts: [Option<u64>; 2],
    /// The first broken promise.
    pub(super) failure: Option<String>,
}

impl Oracle {
    pub(super) fn fail(&mut self, what: impl FnOnce() -> String) {
        if self.failure.is_none() {
            self.failure = Some(what());
        }
    }

    /// From now on there may be two branches.
    pub(super) fn parts(&mut self) {
        self.splits += u64::from(!self.split);
        self.split = true;
        self.whole_since = None;
    }

    pub(super) fn is_split(&self) -> bool {
        self.split
    }

    /// Whether the pair looks whole at `now`. Once it has for long enough that nothing is under way
    /// which was decided before, the two branches are one: everything that was acknowledged on
    /// either is in the one history exactly once, and from now on all promises count again.
    pub(super) fn looks_whole(&mut self, nodes: &[Node; 2], whole: bool, now: u64) {
        if !self.split || !whole {
            self.whole_since = None;
        } else if now - *self.whole_since.get_or_insert(now) >= WHOLE_FOR {
            self.whole_since = None;
            self.heal(nodes);
        }
    }

    fn heal(&mut self, nodes: &[Node; 2]) {
        let longer = usize::from(nodes[1].committed > nodes[0].committed);
        let committed = |n: usize| {
            let count = usize::try_from(nodes[n].committed).unwrap();
            &nodes[n].log.recs[..count]
        };
        let (recs, fewer) = (committed(longer), committed(1 - longer));
        if !recs.starts_with(fewer) {
            self.fail(|| "the committed records differ after a merge".to_owned());
        }
        // What a node that started again has not heard to be committed yet is there all the same.
        let all = &nodes[longer].log.recs;
        let mut places: HashMap<u64, u64> = HashMap::new();
        for (lsn, rec) in (1..).zip(all).filter(|(_, rec)| rec.op != 0) {
            if places.insert(rec.op, lsn).is_some() {
                self.fail(|| format!("operation {} is there twice after a merge", rec.op));
            }
        }
        // What was taken over from a branch has another place.
        for i in 0..self.acked.len() {
            let (lsn, rec) = self.acked[i];
            match places.get(&rec.op) {
                Some(at) => self.acked[i] = (*at, all[index(*at)]),
                None => self.fail(|| format!("operation {} ({lsn}) is lost in a merge", rec.op)),
            }
        }
        self.acked.sort_unstable_by_key(|(lsn, _)| *lsn);
        self.committed = recs.to_vec();
        (self.good, self.seen) = ([0; 2], [0; 2]);
        (self.promoted, self.boasts) = ([0; 2], [None; 2]); // Other places, and applied long since.
        self.split = false;
        self.heals += 1;
    }

    /// (b) One epoch, one writer.
    pub(super) fn wrote(&mut self, n: usize, epoch: u64) {
        let at = usize::try_from(epoch).unwrap();
        if self.writers.len() <= at {
            self.writers.resize(at + 1, None);
        }
        if *self.writers[at].get_or_insert(n) != n {
            self.fail(|| format!("both nodes wrote in epoch {epoch}"));
        }
    }

    /// (c), (d), (e): node `n` commits `from + 1 ..= to`.
    pub(super) fn commits(&mut self, nodes: &[Node; 2], n: usize, from: u64, to: u64) {
        let (me, peer) = (&nodes[n], &nodes[1 - n]);
        if to > me.log.durable {
            self.fail(|| format!("node {n} commits {to}, durable up to {}", me.log.durable));
            return;
        }
        if self.split {
            return;
        }
        let primary = me.machine.status().role == crate::pair::Role::Primary;
        for lsn in from + 1..=to {
            let i = index(lsn);
            let rec = me.log.recs[i];
            match self.committed.get(i) {
                Some(known) if *known == rec => {}
                Some(_) => self.fail(|| format!("node {n} commits another record {lsn}")),
                None if !primary => {
                    self.fail(|| format!("standby {n} commits {lsn} before its primary"));
                }
                None => {
                    let alone = me.register.insync == Insync::Only(me.machine.me)
                        && me.register.holder == me.machine.me;
                    // Of what a disk held until it broke, the peer was told, and cannot know better.
                    let had = self.broken[1 - n].get(i) == Some(&rec);
                    if !alone && !had && !peer.log.holds(lsn, &rec) {
                        self.fail(|| format!("node {n} commits {lsn} that its insync peer lacks"));
                    }
                    self.committed.push(rec);
                }
            }
        }
    }

    /// (h) Whoever acknowledges is the only one that serves readers.
    pub(super) fn acknowledged(
        &mut self,
        lsn: u64,
        rec: Rec,
        nodes: &[Node; 2],
        n: usize,
        now: u64,
    ) {
        self.acked.push((lsn, rec));
        self.promoted[1 - n] = self.promoted[1 - n].max(lsn);
        self.read(nodes, 1 - n, now);
    }

    /// (j) Node `n` is to serve: all that it has not acknowledged itself just now is visible there.
    pub(super) fn leads(&mut self, nodes: &[Node; 2], n: usize) {
        let (applied, needed) = (nodes[n].applied, self.promoted[n]);
        if !self.split && applied < needed {
            self.fail(|| {
                format!("node {n} serves, and shows only {applied} of {needed} acknowledged")
            });
        }
    }

    /// (h) A reader asks node `n`: everything that anyone has acknowledged before is there.
    pub(super) fn read(&mut self, nodes: &[Node; 2], n: usize, now: u64) {
        let node = &nodes[n];
        if self.split || !node.serves_readers(now) {
            return;
        }
        while let Some((lsn, rec)) = self.acked.get(self.seen[n])
            && *lsn <= node.committed
            && node.log.recs.get(index(*lsn)) == Some(rec)
        {
            self.seen[n] += 1;
        }
        if let Some((lsn, rec)) = self.acked.get(self.seen[n]).copied() {
            self.fail(|| format!("node {n} serves a stale read: it lacks {} ({lsn})", rec.op));
        }
    }

    /// What node `n` had made visible is to be made so again.
    pub(super) fn restarted(&mut self, n: usize) {
        self.seen[n] = 0;
        let last = self.acked.iter().map(|(lsn, _)| *lsn).max();
        self.promoted[n] = last.filter(|_| !self.split).unwrap_or_default();
    }

    /// (f) Nothing that is put aside was acknowledged.
    pub(super) fn set_aside(&mut self, n: usize, recs: &[Rec]) {
        self.lost_tail(n);
        if self.split {
            return;
        }
        for rec in recs.iter().filter(|r| r.op != 0) {
            if self.acked.iter().any(|(_, a)| a.op == rec.op) {
                self.fail(|| format!("node {n} puts acknowledged operation {} aside", rec.op));
            }
        }
    }

    /// Whether node `n` has everything that was acknowledged.
    pub(super) fn has_all(&self, nodes: &[Node; 2], n: usize) -> bool {
        self.acked.iter().all(|(lsn, rec)| nodes[n].log.holds(*lsn, rec))
    }

    /// A log was cut: count again.
    pub(super) fn lost_tail(&mut self, n: usize) {
        self.good[n] = 0;
        self.seen[n] = 0;
    }

    /// (a), (g) and (i), at every step.
    pub(super) fn check(&mut self, nodes: &[Node; 2], now: u64) {
        // (i) Addresses are only where changes are taken.
        for (n, node) in nodes.iter().enumerate() {
            if node.runs() && node.face.is_active() && !node.lease {
                self.fail(|| format!("node {n} has the addresses and may not write"));
            }
        }
        if self.split {
            self.boasts = [None; 2];
            return;
        }
        for (n, node) in nodes.iter().enumerate() {
            while let Some((lsn, rec)) = self.acked.get(self.good[n])
                && node.log.holds(*lsn, rec)
            {
                self.good[n] += 1;
            }
        }
        let all = self.acked.len();
        let newest = usize::from(nodes[1].register.epoch > nodes[0].register.epoch);
        for (n, node) in nodes.iter().enumerate() {
            self.replaced[n] &= self.good[n] < all;
            if !self.replaced[n]
                && nodes[newest].register.insync.has(node.machine.me)
                && self.good[n] < all
            {
                let (lsn, rec) = self.acked[self.good[n]];
                let (op, register) = (rec.op, nodes[newest].register);
                self.fail(|| {
                    format!("node {n} is insync in {register:?} and lacks operation {op} ({lsn})")
                });
            }
            let status = node.machine.status();
            // That a disk broke is known once the two talk again.
            let told = nodes[1 - n].runs() && nodes[1 - n].machine.status().linked;
            let wrong = (told || !self.replaced[1 - n])
                && node.runs()
                && status.rpo_zero
                && self.good != [all, all];
            if wrong && status.role == crate::pair::Role::Primary {
                self.fail(|| format!("node {n} says RPO 0 while an acknowledged change is on one"));
            }
            if !wrong {
                self.boasts[n] = None;
            } else if now - *self.boasts[n].get_or_insert(now) > BOAST_MAX {
                self.fail(|| format!("standby {n} goes on saying RPO 0 while it is not so"));
            }
        }
    }

    /// At the end: every acknowledged operation is there exactly once, on both.
    pub(super) fn final_check(&mut self, nodes: &[Node; 2]) {
        if nodes[0].log.recs != nodes[1].log.recs {
            self.fail(|| "the logs differ at the end".to_owned());
        }
        let recs = nodes[0].log.recs.iter().filter(|r| r.op != 0);
        let mut all: Vec<(u64, u64)> = recs.map(|r| (r.op, r.chain)).collect();
        all.sort_unstable();
        if let Some(twice) = all.windows(2).find(|w| w[0].0 == w[1].0) {
            self.fail(|| format!("operation {} is there twice", twice[0].0));
        }
        // What was taken over from a branch has another place.
        let is_there = |r: &Rec| {
            let at = all.partition_point(|(op, _)| *op < r.op);
            all.get(at).is_some_and(|(op, chain)| *op == r.op && (self.split || *chain == r.chain))
        };
        let lost = self.acked.iter().find(|(_, r)| !is_there(r));
        if let Some((lsn, rec)) = lost.copied() {
            self.fail(|| format!("operation {} ({lsn}) is lost", rec.op));
        }
    }
}
