//! One model appliance: the real machine, and a log, a register and a VRRP instance that can fail.

use super::world::service::Face;
use crate::id::{Epoch, Lsn, NodeId};
use crate::pair::{History, LogState, Machine, Register, Timers};
use crate::time::Mono;
use std::collections::VecDeque;

/// A random number generator that is the same everywhere.
pub(super) struct Rng(u64);

impl Rng {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0xD1B5_4A32_D192_ED03)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// From `low` up to, but not including, `high`.
    pub(super) fn range(&mut self, low: u64, high: u64) -> u64 {
        low + self.next() % (high - low)
    }

    /// True in `n` of 1000 cases.
    pub(super) fn chance(&mut self, n: u64) -> bool {
        self.next() % 1000 < n
    }
}

/// A record. Operation 0 is the first record of an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rec {
    pub(super) epoch: u64,
    pub(super) op: u64,
    /// Hash of this record and all before it.
    pub(super) chain: u64,
}

pub(super) const REC_LEN: usize = 32;

impl Rec {
    pub(super) fn after(before: u64, epoch: u64, op: u64) -> Self {
        let mix = before.wrapping_add(epoch << 40).wrapping_add(op);
        let chain = (mix ^ (mix >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9) ^ (mix >> 32);
        Self { epoch, op, chain }
    }

    pub(super) fn encode(self, lsn: u64, out: &mut Vec<u8>) {
        for number in [lsn, self.epoch, self.op, self.chain] {
            out.extend_from_slice(&number.to_le_bytes());
        }
    }

    pub(super) fn decode(bytes: &[u8]) -> (u64, Self) {
        let at = |i: usize| u64::from_le_bytes(bytes[i * 8..i * 8 + 8].try_into().unwrap());
        (at(0), Self { epoch: at(1), op: at(2), chain: at(3) })
    }
}

/// Where the record of that position is in a list.
pub(super) fn index(lsn: u64) -> usize {
    usize::try_from(lsn).unwrap() - 1
}

/// A log: what is appended, and how much of it is durable.
#[derive(Default)]
pub(super) struct Log {
    pub(super) recs: Vec<Rec>,
    pub(super) durable: u64,
    /// How many of the oldest records are not kept any more.
    pub(super) trimmed: u64,
    /// First position of each epoch.
    epochs: Vec<(Epoch, Lsn)>,
    /// Counts cuts, so that news from before one is known as such.
    pub(super) cuts: u32,
    /// What was set aside.
    pub(super) aside: Vec<Rec>,
}

impl Log {
    pub(super) fn tail(&self) -> u64 {
        self.recs.len() as u64
    }

    pub(super) fn chain(&self) -> u64 {
        self.recs.last().map_or(7, |r| r.chain)
    }

    pub(super) fn push(&mut self, rec: Rec) {
        self.recs.push(rec);
        if self.epochs.last().is_none_or(|(e, _)| e.0 != rec.epoch) {
            self.epochs.push((Epoch(rec.epoch), Lsn(self.tail())));
        }
    }

    /// All of it is put aside: the other node has taken over what it lacked.
    pub(super) fn retire(&mut self) {
        let all = std::mem::take(&mut self.recs);
        self.aside.extend_from_slice(&all);
        self.trimmed = 0;
        self.cut(0);
    }

    pub(super) fn cut(&mut self, tail: u64) {
        self.recs.truncate(usize::try_from(tail).unwrap());
        self.durable = self.durable.min(tail);
        self.epochs.retain(|(_, first)| first.0 <= tail);
        self.cuts += 1;
    }

    /// A copy of the other's log takes the place of this one.
    pub(super) fn replace(&mut self, recs: &[Rec], trimmed: u64) {
        self.retire();
        for rec in recs {
            self.push(*rec);
        }
        self.durable = self.tail();
        self.trimmed = trimmed;
    }

    /// Whether `rec` is durable here at that position.
    pub(super) fn holds(&self, lsn: u64, rec: &Rec) -> bool {
        lsn <= self.durable && self.recs.get(index(lsn)) == Some(rec)
    }

    pub(super) fn state(&self, committed: u64) -> LogState {
        LogState {
            tail: Lsn(self.tail()),
            durable: Lsn(self.durable),
            committed: Lsn(committed),
            first: Lsn(self.trimmed + 1),
            history: History::new(self.epochs.clone()),
        }
    }
}

/// A boot-time clock: where it began, and how much too fast it runs, in millionths.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    pub(super) base: u64,
    pub(super) start: u64,
    pub(super) ppm: i64,
}

impl Clock {
    pub(super) fn at(&self, now: u64) -> Mono {
        let passed = now.saturating_sub(self.base);
        let passed = passed.cast_signed();
        Mono((self.start.cast_signed() + passed + passed * self.ppm / 1_000_000).cast_unsigned())
    }

    /// The first moment at which this clock says `mono`, or more.
    pub(super) fn when(&self, mono: Mono) -> u64 {
        let passed = mono.0.saturating_sub(self.start).min(1 << 43).cast_signed();
        let about = self.base + (passed * 1_000_000 / (1_000_000 + self.ppm)).cast_unsigned();
        (about..).find(|now| self.at(*now) >= mono || mono.0 - self.start > 1 << 43).unwrap()
    }
}

/// A model appliance.
pub(super) struct Node {
    pub(super) machine: Machine,
    pub(super) alive: bool,
    pub(super) frozen: bool,
    /// Frozen together with its network card.
    pub(super) paused: bool,
    /// Counts starts; news of an earlier life does not arrive.
    pub(super) life: u32,
    pub(super) log: Log,
    /// Commits told to the log, as the process knows.
    pub(super) committed: u64,
    /// What of it a restart still knows.
    pub(super) known_commit: u64,
    pub(super) applied: u64,
    pub(super) syncing: bool,
    /// The register on disk.
    pub(super) register: Register,
    /// On its way there.
    pub(super) writing: VecDeque<(u64, Register)>,
    pub(super) slow_disk_until: u64,
    /// The next sync fails.
    pub(super) sync_fails: bool,
    /// The disk has no room for new mail,
    pub(super) low: bool,
    /// nor for anything else,
    pub(super) full: bool,
    /// or for little else (with `low`).
    pub(super) nearly: bool,
    /// Mails that it has taken while it had no room for them.
    pub(super) taken_when_low: u32,
    /// Behind this, the disk lacks what it said it had (`Slip::SyncRetried`).
    pub(super) only_in_memory: Option<u64>,
    pub(super) clock: Clock,
    /// It runs another release.
    pub(super) old: bool,
    /// Epoch stamped on new records.
    pub(super) stamp: u64,
    pub(super) lease: bool,
    /// Readers are served until then.
    pub(super) lease_until: u64,
    /// Clients that wait: position and operation.
    pub(super) waiters: VecDeque<(u64, u64)>,
    /// A tail that is being set aside begins here.
    pub(super) setting_aside: Option<u64>,
    pub(super) face: Face,
    pub(super) timer_at: u64,
    pub(super) beacon_seq: u64,
    /// Newest beacon of the peer: its life and number.
    pub(super) beacon_heard: (u32, u64),
    /// Timeouts at the same moment.
    pub(super) spins: u32,
    pub(super) last_spin: u64,
    pub(super) stopping: bool,
}

impl Node {
    pub(super) fn new(n: usize, timers: Timers) -> Self {
        let me = NodeId(u8::try_from(n).unwrap());
        let register = Register::formed(me);
        let log = Log::default();
        Self {
            machine: Machine::new(me, timers, register, log.state(0), Mono(0)),
            alive: false,
            frozen: false,
            paused: false,
            life: 0,
            log,
            committed: 0,
            known_commit: 0,
            applied: 0,
            syncing: false,
            register,
            writing: VecDeque::new(),
            slow_disk_until: 0,
            sync_fails: false,
            low: false,
            full: false,
            nearly: false,
            taken_when_low: 0,
            only_in_memory: None,
            clock: Clock { base: 0, start: 0, ppm: 0 },
            old: false,
            stamp: 0,
            lease: false,
            lease_until: 0,
            waiters: VecDeque::new(),
            setting_aside: None,
            face: Face::default(),
            timer_at: u64::MAX,
            beacon_seq: 0,
            beacon_heard: (0, 0),
            spins: 0,
            last_spin: 0,
            stopping: false,
        }
    }

    pub(super) fn runs(&self) -> bool {
        self.alive && !self.frozen
    }

    /// What the disk never had is gone.
    pub(super) fn lose_memory(&mut self) {
        if let Some(tail) = self.only_in_memory.take() {
            self.log.cut(tail.min(self.log.tail()));
            self.known_commit = self.known_commit.min(tail);
        }
    }

    /// Whether a reader who asks now gets an answer.
    pub(super) fn serves_readers(&self, now: u64) -> bool {
        self.runs() && self.lease && self.clock.at(now).0 < self.lease_until
    }

    /// What a process loses when it dies.
    pub(super) fn die(&mut self) {
        self.alive = false;
        self.frozen = false;
        self.life += 1;
        self.syncing = false;
        self.writing.clear();
        self.lease = false;
        self.waiters.clear();
        self.setting_aside = None;
        self.face = Face::default();
        self.timer_at = u64::MAX;
        self.stopping = false;
        self.log.cuts += 1;
    }

    /// The process starts on what the disk holds.
    pub(super) fn start(&mut self, timers: Timers, now: Mono) {
        self.alive = true;
        self.log.durable = self.log.tail(); // The log is synced when it is opened.
        self.known_commit = self.known_commit.min(self.log.tail());
        self.committed = self.known_commit;
        self.applied = self.known_commit;
        let me = self.machine.me;
        self.machine = Machine::new(me, timers, self.register, self.log.state(self.committed), now);
        self.beacon_seq = 0;
        self.beacon_heard = (0, 0);
    }
}
