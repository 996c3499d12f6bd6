//! Two appliances, the networks between them, and what goes wrong.
//!
//! The driver here carries out every [`Output`] in order, as `src/pair` does.

use super::node::{Log, Node, REC_LEN, Rec, Rng, index};
use super::oracle::Oracle;
use super::witness::Witness;
use crate::id::{Epoch, Lsn};
use crate::pair::witness::{WitnessAnswer, WitnessAsk};
use crate::pair::{
    Arbitration, Beacon, Frame, Input, Insync, Mutant, Note, Operator, Output, PhaseName, Register,
    Role, Saying, State, Status, Timers, VrrpNews, VrrpStand, Waiting,
};
use crate::time::Mono;
use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, VecDeque};
use std::time::Duration;

const MS: u64 = 1_000;
const SECOND: u64 = 1_000 * MS;
const MASTER_DOWN: u64 = 361 * MS;
const SESSION_SILENCE: u64 = 300 * MS;
const ADVERT: u64 = 100 * MS;
const BEACON: u64 = 25 * MS;
/// When everything is healed, the pair must be whole again within this time.
const LIVENESS: u64 = 90 * SECOND;

/// What a driver's tasks report to the machine.
#[derive(Clone, Copy, Debug)]
enum News {
    Appended(u64),
    Applied(u64),
    EpochBegun(u64, u64),
    Revoked,
    Read { from: u64, max: usize },
    SetAside,
    AppendFailed,
}

#[derive(Clone, Copy, Debug)]
enum Happening {
    Timer,
    SendBeacon,
    Beacon {
        life: u32,
        beacon: Beacon,
    },
    SendAdvert,
    Advert,
    MasterDown {
        watch: u32,
    },
    Synced {
        tail: u64,
        cuts: u32,
    },
    RegisterWritten,
    News {
        news: News,
        cuts: u32,
    },
    Opened {
        session: u32,
    },
    KeepAlive {
        session: u32,
    },
    Exit,
    /// The witness's answer.
    Verdict {
        number: u64,
        answer: WitnessAnswer,
    },
}

#[derive(Clone, Copy, Debug)]
enum Event {
    /// At a node, in one of its lives.
    Node {
        n: usize,
        life: u32,
        what: Happening,
    },
    /// Deliver what is next on a session, to that node.
    Pump {
        session: u32,
        to: usize,
    },
    Connect,
    Client,
    Fault,
    Restart(usize),
    Thaw(usize),
    Die(usize),
    Mend(usize),
    EndFaults,
    Look,
    /// A question reaches the witness.
    Court {
        n: usize,
        life: u32,
        number: u64,
        ask: WitnessAsk,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Pending,
    Open,
    Closed,
}

enum Item {
    Frame(Frame),
    Fin,
}

struct Session {
    id: u32,
    sides: [Side; 2],
    /// What is under way to each side, and when it may arrive.
    queues: [VecDeque<(u64, Item)>; 2],
    heard: [u64; 2],
    over_service: bool,
}

/// What a history is made of.
struct Plan {
    timers: Timers,
    faults_until: u64,
    fault_every: u64,
    write_every: u64,
    /// The session may use the service network when the cross-link is cut.
    fallback: bool,
    /// Both networks may be cut at once, and operators may be wrong.
    splits: bool,
    slow_disks: bool,
    freezes: bool,
    /// One node restarts again and again.
    crash_loop: bool,
    /// A witness is configured.
    witness: bool,
    /// Processes are watched by a guardian that says goodbye for them.
    guardian: bool,
}

/// What was seen to happen, over all histories.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Stats {
    pub(super) acked: u64,
    pub(super) takeovers: u64,
    pub(super) solos: u64,
    pub(super) admissions: u64,
    pub(super) handovers: u64,
    pub(super) set_asides: u64,
    pub(super) elections: u64,
    pub(super) resumes: u64,
    pub(super) stales: u64,
    pub(super) branched: u64,
    pub(super) splits: u64,
    pub(super) forced: u64,
    pub(super) swaps: u64,
    pub(super) seeds: u64,
    pub(super) refusals: u64,
    pub(super) lost_swaps: u64,
    pub(super) without: u64,
    pub(super) reads: u64,
    pub(super) merges: u64,
    pub(super) events: u64,
}

impl Stats {
    fn counts(&mut self) -> [(&'static str, &mut u64); 20] {
        [
            ("acknowledged", &mut self.acked),
            ("takeovers", &mut self.takeovers),
            ("SOLO", &mut self.solos),
            ("admissions", &mut self.admissions),
            ("handovers", &mut self.handovers),
            ("set aside", &mut self.set_asides),
            ("elections", &mut self.elections),
            ("resumes", &mut self.resumes),
            ("stale standbys", &mut self.stales),
            ("BRANCHED", &mut self.branched),
            ("splits", &mut self.splits),
            ("forced", &mut self.forced),
            ("swaps", &mut self.swaps),
            ("seeds", &mut self.seeds),
            ("refusals", &mut self.refusals),
            ("lost answers", &mut self.lost_swaps),
            ("without the witness", &mut self.without),
            ("reads", &mut self.reads),
            ("merges", &mut self.merges),
            ("events", &mut self.events),
        ]
    }

    pub(super) fn add(&mut self, other: &Self) {
        let mut other = *other;
        for ((_, sum), (_, more)) in self.counts().into_iter().zip(other.counts()) {
            *sum += *more;
        }
    }

    /// A simulator that exercises nothing proves nothing.
    pub(super) fn assert_exercised(&mut self) {
        for (name, count) in self.counts() {
            if name == "forced" {
                continue; // Few histories come to that: not in every thousand.
            }
            assert!(*count > 0, "{name}: never");
        }
    }
}

pub(super) struct World {
    now: u64,
    order: u64,
    heap: BinaryHeap<Reverse<Entry>>,
    rng: Rng,
    pub(super) nodes: [Node; 2],
    backlog: [VecDeque<(u32, Happening)>; 2],
    session: Option<Session>,
    sessions: u32,
    cross: bool,
    service: bool,
    /// Beacons to that node are lost.
    deaf: [bool; 2],
    /// The session's path carries nothing until then.
    burst_until: u64,
    plan: Plan,
    witness: Witness,
    /// A branch that is being taken over: by whom, in which life, and up to where.
    merging: Option<(usize, u32, u32, u64)>,
    pub(super) oracle: Oracle,
    pub(super) stats: Stats,
    trace: bool,
    faults_over: Option<u64>,
    op: u64,
    quiet_since: Option<u64>,
    done: bool,
}

struct Entry {
    at: u64,
    order: u64,
    event: Event,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.order == other.order
    }
}
impl Eq for Entry {}
impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

impl World {
    pub(super) fn new(seed: u64, mutant: Option<Mutant>, trace: bool) -> Self {
        let mut rng = Rng::new(seed);
        let witness = rng.chance(500);
        let splits = rng.chance(if witness { 400 } else { 100 });
        let timers = Timers {
            stability: Duration::from_millis(if rng.chance(30) { 30_000 } else { 2_000 }),
            boot_wait: Duration::from_secs(5),
            arbitration: if witness { Arbitration::Witness } else { Arbitration::None },
            witness_gone: Duration::from_secs(3),
            witness_look: Duration::from_millis(500),
            mutant,
            ..Timers::default()
        };
        let plan = Plan {
            timers,
            faults_until: rng.range(4 * SECOND, 16 * SECOND),
            fault_every: rng.range(100 * MS, 3 * SECOND),
            write_every: rng.range(5 * MS, 80 * MS),
            fallback: rng.chance(500),
            splits,
            slow_disks: rng.chance(300),
            freezes: rng.chance(300),
            crash_loop: rng.chance(100),
            witness,
            guardian: rng.chance(500),
        };
        let mut world = Self {
            now: SECOND,
            order: 0,
            heap: BinaryHeap::with_capacity(256),
            rng,
            nodes: [Node::new(0, timers), Node::new(1, timers)],
            backlog: [VecDeque::new(), VecDeque::new()],
            session: None,
            sessions: 0,
            cross: true,
            service: true,
            deaf: [false; 2],
            burst_until: 0,
            plan,
            witness: Witness::new(),
            merging: None,
            oracle: Oracle::default(),
            stats: Stats::default(),
            trace,
            faults_over: None,
            op: 0,
            quiet_since: None,
            done: false,
        };
        for n in 0..2 {
            let at = world.now + world.rng.range(0, 500 * MS);
            world.at(at, Event::Restart(n));
        }
        let until = world.plan.faults_until;
        world.at(until, Event::EndFaults);
        world.after(0, Event::Connect);
        world.after(SECOND, Event::Client);
        let first = world.rng.range(500 * MS, 4 * SECOND);
        world.after(first, Event::Fault);
        world
    }

    pub(super) fn run(&mut self) {
        while let Some(Reverse(Entry { at, event, .. })) = self.heap.pop() {
            self.now = at;
            self.stats.events += 1;
            self.happen(event);
            self.oracle.check(&self.nodes);
            if self.oracle.failure.is_some() || self.done {
                break;
            }
        }
        self.stats.acked = self.oracle.acked.len() as u64;
        self.stats.splits = u64::from(self.oracle.split);
    }

    fn say(&self, what: impl FnOnce() -> String) {
        if self.trace {
            eprintln!("{:>10.3} ms  {}", self.now as f64 / 1000.0, what());
        }
    }

    fn at(&mut self, at: u64, event: Event) {
        self.order += 1;
        self.heap.push(Reverse(Entry { at: at.max(self.now), order: self.order, event }));
    }

    fn after(&mut self, delay: u64, event: Event) {
        self.at(self.now + delay, event);
    }

    fn node_after(&mut self, delay: u64, n: usize, what: Happening) {
        let life = self.nodes[n].life;
        self.after(delay, Event::Node { n, life, what });
    }

    fn news(&mut self, n: usize, low: u64, high: u64, news: News) {
        let delay = self.rng.range(low, high);
        let cuts = self.nodes[n].log.cuts;
        self.node_after(delay, n, Happening::News { news, cuts });
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Node { n, life, what } => {
                if life == self.nodes[n].life {
                    let datagram = matches!(what, Happening::Beacon { .. } | Happening::Advert);
                    if self.nodes[n].frozen && datagram && self.nodes[n].paused {
                        return; // A paused virtual machine has no network card.
                    }
                    if self.nodes[n].frozen {
                        self.backlog[n].push_back((life, what));
                    } else {
                        self.node_event(n, what);
                    }
                }
            }
            Event::Pump { session, to } => self.pump(session, to),
            Event::Connect => self.connect(),
            Event::Client => self.client(),
            Event::Fault => self.fault(),
            Event::Restart(n) => self.restart(n),
            Event::Thaw(n) => self.thaw(n),
            Event::Die(n) if self.nodes[n].alive && self.faults_over.is_none() => {
                let back = self.rng.range(100 * MS, 5 * SECOND);
                self.crash(n, false, back);
            }
            Event::Die(_) => {}
            Event::Mend(what) => self.mend(what),
            Event::EndFaults => self.end_faults(),
            Event::Look => self.look(),
            Event::Court { n, life, number, ask } => self.court(n, life, number, ask),
        }
    }

    fn node_event(&mut self, n: usize, what: Happening) {
        match what {
            Happening::Timer => {
                let node = &mut self.nodes[n];
                let due = node.timer_at <= self.now;
                if due {
                    node.timer_at = u64::MAX;
                    if node.last_spin == self.now {
                        node.spins += 1
                    } else {
                        node.spins = 0
                    }
                    node.last_spin = self.now;
                    if node.spins > 20 {
                        self.oracle.fail(|| format!("node {n} asks for the same moment forever"));
                    }
                    self.feed(n, Input::Timeout);
                }
            }
            Happening::SendBeacon => self.send_beacon(n),
            Happening::Beacon { life, beacon } => {
                let node = &mut self.nodes[n];
                if (life, beacon.sequence) > node.beacon_heard {
                    node.beacon_heard = (life, beacon.sequence);
                    self.feed(n, Input::Beacon(beacon));
                }
            }
            Happening::SendAdvert => self.send_advert(n),
            Happening::Advert => {
                if self.nodes[n].vrrp == VrrpStand::Standby {
                    self.nodes[n].heard_advert = self.now;
                    self.feed(n, Input::Vrrp(VrrpNews::HeardActive));
                    self.watch(n);
                }
            }
            Happening::MasterDown { watch } => {
                if self.nodes[n].vrrp_watch == watch {
                    self.feed(n, Input::Vrrp(VrrpNews::MasterDown));
                }
            }
            Happening::Synced { tail, cuts } => {
                let node = &mut self.nodes[n];
                node.syncing = false;
                if node.log.cuts == cuts {
                    node.log.durable = node.log.durable.max(tail);
                    let durable = Lsn(node.log.durable);
                    self.feed(n, Input::Durable(durable));
                }
                self.sync(n);
            }
            Happening::RegisterWritten => {
                if let Some((number, register)) = self.nodes[n].writing.pop_front() {
                    self.nodes[n].register = register;
                    self.notice_split();
                    if !self.nodes[n].writing.is_empty() {
                        self.write_register(n);
                    }
                    self.feed(n, Input::Persisted(number));
                }
            }
            Happening::News { news, cuts } => self.tell(n, news, cuts),
            Happening::Opened { session } => self.opened(n, session),
            Happening::KeepAlive { session } => self.keep_alive(n, session),
            Happening::Verdict { number, answer } => {
                self.feed(n, Input::Witness { number, answer });
            }
            Happening::Exit => {
                if self.nodes[n].machine.stopped() || self.nodes[n].stopping {
                    self.say(|| format!("node {n} exits"));
                    self.kill(n);
                    let back = self.rng.range(100 * MS, 4 * SECOND);
                    self.after(back, Event::Restart(n));
                }
            }
        }
    }

    // --- the driver

    fn feed(&mut self, n: usize, input: Input) {
        if self.trace && !matches!(input, Input::Timeout | Input::Beacon(_)) {
            let text = format!("{input:?}");
            let text: String = text.chars().take(230).collect();
            self.say(|| format!("{n} < {text}"));
        }
        self.nodes[n].machine.handle(Mono(self.now), input);
        self.drain(n);
    }

    fn drain(&mut self, n: usize) {
        while let Some(output) = self.nodes[n].machine.poll_output() {
            if self.trace {
                let text = format!("{output:?}");
                let text: String = text.chars().take(230).collect();
                self.say(|| format!("{n}   > {text}"));
            }
            self.carry_out(n, output);
        }
        if let Some(at) = self.nodes[n].machine.poll_timeout()
            && at.0 < self.nodes[n].timer_at
        {
            self.nodes[n].timer_at = at.0;
            let life = self.nodes[n].life;
            self.at(at.0, Event::Node { n, life, what: Happening::Timer });
        }
    }

    fn carry_out(&mut self, n: usize, output: Output) {
        match output {
            Output::Send(frame) => self.send(n, Item::Frame(frame)),
            Output::CloseSession(_) => self.close(n),
            Output::Read { from, max } => {
                self.news(n, 0, 500, News::Read { from: from.0, max });
            }
            Output::Append(bytes) => self.append_replica(n, &bytes),
            Output::SetAside(from) => {
                self.nodes[n].setting_aside = Some(from.0);
                self.news(n, 200, 10 * MS, News::SetAside);
            }
            Output::Persist { number, register } => {
                self.nodes[n].writing.push_back((number, register));
                if self.nodes[n].writing.len() == 1 {
                    self.write_register(n);
                }
            }
            Output::BeginEpoch(epoch) => {
                self.nodes[n].stamp = epoch.0;
                self.append(n, 0);
                let lsn = self.nodes[n].log.tail();
                self.news(n, 0, MS, News::EpochBegun(epoch.0, lsn));
            }
            Output::Commit(lsn) => self.commit(n, lsn.0),
            Output::Unconfirmed { .. } => {}
            Output::Lead(epoch) => {
                self.nodes[n].stamp = epoch.0;
                self.nodes[n].lease = true;
                self.nodes[n].lease_until = 0;
            }
            Output::Revoke => {
                self.nodes[n].lease = false;
                self.news(n, 0, 2 * MS, News::Revoked);
            }
            Output::Vrrp(stand) => self.vrrp(n, stand),
            Output::Witness { number, ask } => self.ask_witness(n, number, ask),
            Output::Lease(until) => self.nodes[n].lease_until = until.0,
            Output::Note(note) => self.note(&note),
        }
    }

    fn note(&mut self, note: &Note) {
        let count = match note.reason {
            "the primary is gone" => &mut self.stats.takeovers,
            "the standby does not answer" => &mut self.stats.solos,
            "the standby has everything" => &mut self.stats.admissions,
            "handover" if note.role == Role::Primary => &mut self.stats.handovers,
            "this node was alone before and nobody leads" => &mut self.stats.resumes,
            "the witness knows no later reign" => &mut self.stats.resumes,
            reason if reason.starts_with("the witness decides no more") => &mut self.stats.without,
            "the link is down but the primary is heard" => &mut self.stats.stales,
            reason if reason.starts_with("elected") => &mut self.stats.elections,
            _ if note.to == State::Branched => &mut self.stats.branched,
            _ => return,
        };
        *count += 1;
    }

    fn tell(&mut self, n: usize, news: News, cuts: u32) {
        let same = self.nodes[n].log.cuts == cuts;
        match news {
            News::Appended(lsn) if same => self.feed(n, Input::Appended(Lsn(lsn))),
            News::Appended(_) => {}
            News::Applied(lsn) => {
                let node = &mut self.nodes[n];
                node.applied = node.applied.max(lsn);
                self.feed(n, Input::Applied(Lsn(lsn)));
            }
            News::EpochBegun(epoch, lsn) if same => {
                self.feed(n, Input::EpochBegun { epoch: Epoch(epoch), lsn: Lsn(lsn) });
            }
            News::EpochBegun(..) => {}
            News::Revoked => {
                let tail = Lsn(self.nodes[n].log.tail());
                self.feed(n, Input::Revoked(tail));
            }
            News::Read { from, max } => self.read(n, from, max),
            News::SetAside => {
                if self.set_aside(n) {
                    let tail = Lsn(self.nodes[n].log.tail());
                    self.feed(n, Input::SetAsideDone(tail));
                }
            }
            News::AppendFailed => self.feed(n, Input::AppendFailed),
        }
    }

    fn read(&mut self, n: usize, from: u64, max: usize) {
        let log = &self.nodes[n].log;
        let most = (max / REC_LEN) as u64;
        let most = most.min(1 + from % 17);
        let last = log.tail().min(from + most - 1);
        let mut bytes = Vec::new();
        for lsn in from..=last {
            log.recs[index(lsn)].encode(lsn, &mut bytes);
        }
        self.feed(n, Input::Records { from: Lsn(from), last: Lsn(last), bytes });
    }

    fn set_aside(&mut self, n: usize) -> bool {
        let Some(from) = self.nodes[n].setting_aside.take() else { return false };
        let node = &mut self.nodes[n];
        let tail: Vec<Rec> = node.log.recs[index(from)..].to_vec();
        node.log.cut(from - 1);
        node.waiters.retain(|(lsn, _)| *lsn < from);
        node.log.aside.extend_from_slice(&tail);
        if node.committed >= from {
            self.oracle.fail(|| format!("node {n} puts committed record {from} aside"));
        }
        if tail.iter().any(|r| r.op != 0) {
            self.stats.set_asides += 1;
        }
        self.oracle.set_aside(n, &tail);
        true
    }

    fn append(&mut self, n: usize, op: u64) {
        let node = &mut self.nodes[n];
        let rec = Rec::after(node.log.chain(), node.stamp, op);
        node.log.push(rec);
        let (lsn, stamp) = (node.log.tail(), node.stamp);
        self.oracle.wrote(n, stamp);
        self.news(n, 0, 500, News::Appended(lsn));
        self.sync(n);
    }

    fn append_replica(&mut self, n: usize, bytes: &[u8]) {
        for record in bytes.chunks(REC_LEN) {
            let (lsn, rec) = Rec::decode(record);
            let log = &mut self.nodes[n].log;
            if lsn != log.tail() + 1 || Rec::after(log.chain(), rec.epoch, rec.op) != rec {
                self.news(n, 0, 500, News::AppendFailed);
                self.say(|| format!("node {n} refuses record {lsn}"));
                return;
            }
            log.push(rec);
        }
        let lsn = self.nodes[n].log.tail();
        self.news(n, 0, 500, News::Appended(lsn));
        self.sync(n);
    }

    fn disk_time(&mut self, n: usize) -> u64 {
        if self.nodes[n].slow_disk_until > self.now {
            return self.rng.range(100 * MS, 600 * MS);
        }
        match self.rng.range(0, 100) {
            0 => 300 * MS,
            1..10 => self.rng.range(3 * MS, 20 * MS),
            _ => self.rng.range(100, 3 * MS),
        }
    }

    fn sync(&mut self, n: usize) {
        let log = &self.nodes[n].log;
        if self.nodes[n].syncing || log.durable >= log.tail() {
            return;
        }
        let what = Happening::Synced { tail: log.tail(), cuts: log.cuts };
        self.nodes[n].syncing = true;
        let time = self.disk_time(n);
        self.node_after(time, n, what);
    }

    fn write_register(&mut self, n: usize) {
        let time = self.disk_time(n);
        self.node_after(time, n, Happening::RegisterWritten);
    }

    fn commit(&mut self, n: usize, lsn: u64) {
        let from = self.nodes[n].committed;
        self.oracle.commits(&self.nodes, n, from, lsn);
        let node = &mut self.nodes[n];
        node.committed = node.committed.max(lsn);
        if self.rng.chance(250) {
            node.known_commit = node.committed;
        }
        while let Some((at, _)) = self.nodes[n].waiters.front().copied()
            && at <= lsn
        {
            self.nodes[n].waiters.pop_front();
            let rec = self.nodes[n].log.recs[index(at)];
            self.oracle.acknowledged(at, rec, &self.nodes, n, self.now);
        }
        self.news(n, 0, 5 * MS, News::Applied(lsn));
    }

    // --- sessions

    fn path_up(&self, over_service: bool) -> bool {
        if over_service { self.service } else { self.cross }
    }

    fn connect(&mut self) {
        let again = self.rng.range(20 * MS, 120 * MS);
        self.after(again, Event::Connect);
        let over_service = !self.cross && self.plan.fallback;
        let running = |n: &Node| n.alive && !n.frozen;
        if !self.path_up(over_service) || !self.nodes.iter().all(running) {
            return;
        }
        if let Some(s) = &self.session {
            let shut = s.sides.iter().filter(|s| **s == Side::Closed).count();
            if shut == 0 || (shut == 1 && self.rng.chance(500)) {
                return;
            }
        }
        for n in 0..2 {
            self.shut(n); // A new connection takes the place of a half-open one.
        }
        self.sessions += 1;
        self.session = Some(Session {
            id: self.sessions,
            sides: [Side::Pending; 2],
            queues: [VecDeque::new(), VecDeque::new()],
            heard: [self.now; 2],
            over_service,
        });
        for n in 0..2 {
            let delay = self.rng.range(MS, 10 * MS);
            self.node_after(delay, n, Happening::Opened { session: self.sessions });
        }
    }

    fn opened(&mut self, n: usize, id: u32) {
        let Some(s) = self.session.as_mut().filter(|s| s.id == id) else { return };
        if s.sides[n] != Side::Pending {
            return;
        }
        s.sides[n] = Side::Open;
        s.heard[n] = self.now;
        if self.set_aside(n) {
            let tail = Lsn(self.nodes[n].log.tail());
            self.feed(n, Input::SetAsideDone(tail));
        }
        let state = self.nodes[n].log.state(self.nodes[n].committed);
        self.feed(n, Input::SessionUp(state));
        self.node_after(50 * MS, n, Happening::KeepAlive { session: id });
    }

    fn send(&mut self, n: usize, item: Item) {
        let to = 1 - n;
        let delay = if self.rng.chance(20) {
            self.rng.range(5 * MS, 40 * MS)
        } else {
            self.rng.range(50, 3 * MS)
        };
        let ready = self.now + delay;
        let Some(s) = &mut self.session else { return };
        if s.sides[n] != Side::Open || s.sides[to] == Side::Closed {
            return;
        }
        let idle = s.queues[to].is_empty();
        s.queues[to].push_back((ready, item));
        if idle {
            let session = s.id;
            self.at(ready, Event::Pump { session, to });
        }
    }

    fn pump(&mut self, id: u32, to: usize) {
        let (now, burst) = (self.now, self.burst_until);
        let Some(s) = self.session.as_mut().filter(|s| s.id == id) else { return };
        let up = if s.over_service { self.service } else { self.cross };
        let again = if !up || s.sides[to] == Side::Pending || self.nodes[to].frozen {
            Some(now + 5 * MS)
        } else if now < burst {
            Some(burst)
        } else {
            None
        };
        if let Some(at) = again {
            if s.sides[to] != Side::Closed {
                self.at(at, Event::Pump { session: id, to });
            }
            return;
        }
        let item = s.queues[to].pop_front();
        let next = s.queues[to].front().map(|(ready, _)| *ready);
        let open = s.sides[to] == Side::Open;
        s.heard[to] = now;
        if let Some(ready) = next {
            self.at(ready, Event::Pump { session: id, to });
        }
        match item {
            Some((_, Item::Frame(frame))) if open => self.feed(to, Input::Frame(frame)),
            Some((_, Item::Fin)) if open => self.shut(to),
            _ => {}
        }
    }

    /// The machine closes its side.
    fn close(&mut self, n: usize) {
        self.send(n, Item::Fin);
        if let Some(s) = &mut self.session {
            s.sides[n] = Side::Closed;
        }
    }

    /// The side of `n` ends, and the machine hears so.
    fn shut(&mut self, n: usize) {
        let Some(s) = &mut self.session else { return };
        let was = std::mem::replace(&mut s.sides[n], Side::Closed);
        if was == Side::Open && self.nodes[n].alive {
            self.feed(n, Input::SessionDown);
        }
    }

    fn keep_alive(&mut self, n: usize, id: u32) {
        let (now, burst) = (self.now, self.burst_until);
        let peer = &self.nodes[1 - n];
        let sends = peer.alive && !peer.frozen;
        let Some(s) = self.session.as_mut().filter(|s| s.id == id) else { return };
        if s.sides[n] != Side::Open {
            return;
        }
        let up = if s.over_service { self.service } else { self.cross };
        if sends && up && now >= burst && s.sides[1 - n] != Side::Closed {
            s.heard[n] = now;
        }
        if now - s.heard[n] > SESSION_SILENCE {
            self.send(n, Item::Fin);
            self.shut(n);
            return;
        }
        let delay = self.rng.range(30 * MS, 70 * MS);
        self.node_after(delay, n, Happening::KeepAlive { session: id });
    }

    // --- beacons and adverts

    fn send_beacon(&mut self, n: usize) {
        self.node_after(BEACON, n, Happening::SendBeacon);
        let says = self.nodes[n].machine.beacon(Mono(self.now));
        self.nodes[n].beacon_seq += 1;
        let sequence = self.nodes[n].beacon_seq;
        let node = self.nodes[n].machine.me;
        let boot = u64::from(self.nodes[n].life).to_le_bytes();
        let beacon = Beacon { pair: [0; 16], node, says, sequence, boot };
        let to = 1 - n;
        if !self.nodes[to].alive || self.deaf[to] || !(self.cross || self.service) {
            return;
        }
        let life = self.nodes[n].life;
        let copies = match self.rng.range(0, 100) {
            0 => 0,
            1 => 2,
            _ => 1,
        };
        for _ in 0..copies {
            let late = self.rng.chance(10);
            let delay =
                if late { self.rng.range(5 * MS, 80 * MS) } else { self.rng.range(50, 3 * MS) };
            self.node_after(delay, to, Happening::Beacon { life, beacon });
        }
    }

    fn send_advert(&mut self, n: usize) {
        if self.nodes[n].vrrp != VrrpStand::Holder {
            self.nodes[n].advertising = false;
            return;
        }
        self.node_after(ADVERT, n, Happening::SendAdvert);
        let to = 1 - n;
        if self.service && self.nodes[to].alive && !self.rng.chance(5) {
            let delay = self.rng.range(50, 3 * MS);
            self.node_after(delay, to, Happening::Advert);
        }
    }

    fn vrrp(&mut self, n: usize, stand: VrrpStand) {
        if self.nodes[n].vrrp == stand {
            return;
        }
        self.nodes[n].vrrp = stand;
        self.nodes[n].vrrp_watch += 1;
        match stand {
            VrrpStand::Silent => {}
            VrrpStand::Standby => self.watch(n),
            VrrpStand::Holder if self.nodes[n].advertising => {}
            VrrpStand::Holder => {
                self.nodes[n].advertising = true;
                self.node_after(0, n, Happening::SendAdvert);
            }
        }
    }

    /// Starts the Master_Down_Timer.
    fn watch(&mut self, n: usize) {
        self.nodes[n].vrrp_watch += 1;
        let watch = self.nodes[n].vrrp_watch;
        self.node_after(MASTER_DOWN, n, Happening::MasterDown { watch });
    }

    // --- the witness

    fn ask_witness(&mut self, n: usize, number: u64, ask: WitnessAsk) {
        let delay = match self.rng.range(0, 200) {
            0 => self.rng.range(20 * MS, 900 * MS), // Stuck in a switch: it may come late.
            _ => self.rng.range(100, 3 * MS),
        };
        let life = self.nodes[n].life;
        self.after(delay, Event::Court { n, life, number, ask });
        let lost = Happening::Verdict { number, answer: WitnessAnswer::Lost };
        self.node_after(300 * MS, n, lost);
    }

    fn court(&mut self, n: usize, life: u32, number: u64, ask: WitnessAsk) {
        if !self.witness.up || !self.witness.reach[n] {
            return;
        }
        let held = self.witness.held.map_or(Epoch(0), |h| h.epoch);
        let top = self.witness.top;
        let answer = self.witness.answer(ask);
        match (ask, answer) {
            (WitnessAsk::Read, _) => {}
            (_, WitnessAnswer::Refused(_)) => self.stats.refusals += 1,
            (WitnessAsk::Swap { .. }, _) => self.stats.swaps += 1,
            (WitnessAsk::Seed { .. }, _) => self.stats.seeds += 1,
        }
        let did = ask != WitnessAsk::Read && matches!(answer, WitnessAnswer::Done(_));
        if did && held < top && self.nodes[n].register.seen < top {
            // It had forgotten a reign of which this node had not heard: nobody could know.
            self.oracle.split = true;
        }
        self.say(|| format!("witness: {n} {ask:?} -> {answer:?}"));
        let lossy = self.now < self.witness.lossy_until;
        if self.rng.chance(if lossy { 500 } else { 10 }) {
            self.stats.lost_swaps += u64::from(did);
            return;
        }
        let delay = self.rng.range(100, 3 * MS);
        self.after(delay, Event::Node { n, life, what: Happening::Verdict { number, answer } });
    }

    fn witness_fault(&mut self, time: u64) {
        match self.rng.range(0, 100) {
            0..30 => {
                self.say(|| "the witness is away".to_owned());
                self.witness.up = false;
                self.after(time * 2, Event::Mend(4));
            }
            30..60 => {
                let n = usize::from(self.rng.chance(500));
                self.say(|| format!("node {n} is cut from the witness"));
                self.witness.reach[n] = false;
                self.after(time * 3, Event::Mend(5 + n));
            }
            60..80 => self.witness.lossy_until = self.now + time,
            80..92 => {
                let back = usize::try_from(self.rng.range(1, 4)).unwrap();
                self.witness.roll_back(back);
                self.say(|| format!("the witness is rolled back to {:?}", self.witness.held));
            }
            _ => {
                self.say(|| "the witness has lost everything".to_owned());
                self.witness.held = None;
            }
        }
    }

    /// The guardian's goodbye.
    fn say_gone(&mut self, n: usize) {
        let to = 1 - n;
        if !self.nodes[to].alive || self.deaf[to] || !(self.cross || self.service) {
            return;
        }
        let node = &self.nodes[n];
        let life = node.life;
        let said = node.machine.beacon(Mono(self.now));
        let says = Saying { phase: PhaseName::Gone, echo: None, ..said };
        let boot = u64::from(life).to_le_bytes();
        let beacon =
            Beacon { pair: [0; 16], node: node.machine.me, says, sequence: u64::MAX, boot };
        let delay = self.rng.range(MS, 5 * MS);
        self.node_after(delay, to, Happening::Beacon { life, beacon });
    }

    // --- clients and faults

    fn client(&mut self) {
        if self.faults_over.is_some_and(|at| self.now > at + SECOND) {
            return;
        }
        let delay = self.rng.range(MS, self.plan.write_every * 2);
        self.after(delay, Event::Client);
        if self.oracle.split {
            self.merge();
        }
        for n in 0..2 {
            self.stats.reads += u64::from(self.nodes[n].serves_readers(self.now));
            self.oracle.read(&self.nodes, n, self.now);
            let node = &self.nodes[n];
            if node.alive && !node.frozen && node.lease && node.waiters.len() < 100 {
                self.op += 1;
                let op = self.op;
                self.append(n, op);
                let lsn = self.nodes[n].log.tail();
                self.nodes[n].waiters.push_back((lsn, op));
            }
        }
    }

    fn fault(&mut self) {
        if self.faults_over.is_some() {
            return;
        }
        let delay = self.rng.range(self.plan.fault_every / 4, self.plan.fault_every * 2);
        self.after(delay, Event::Fault);
        if self.plan.crash_loop && self.nodes[0].alive && self.rng.chance(600) {
            self.kill(0);
            let back = self.rng.range(100 * MS, 600 * MS);
            self.after(back, Event::Restart(0));
            return;
        }
        for n in 0..2 {
            let node = &self.nodes[n];
            let waits = node.alive && node.machine.status().waiting == Waiting::Operator;
            let rash = if self.plan.witness { 50 } else { 500 };
            if waits && !node.frozen && self.plan.splits && self.rng.chance(rash) {
                self.force(n);
            }
        }
        let n = usize::from(self.rng.chance(500));
        // Most faults hit the primary: that is where it hurts.
        let n = if self.nodes[1 - n].lease && self.rng.chance(400) { 1 - n } else { n };
        let alive = self.nodes[n].alive;
        let long = self.rng.chance(120);
        let (least, most) = if long { (3 * SECOND, 9 * SECOND) } else { (50 * MS, 3 * SECOND) };
        let time = self.rng.range(least, most);
        match self.rng.range(0, 100) {
            0..18 if alive => self.crash(n, false, time),
            18..32 if alive => self.crash(n, true, time),
            32..36 if self.nodes[1 - n].alive && alive => {
                let power = self.rng.chance(500);
                self.crash(n, power, time);
                let time = self.rng.range(50 * MS, 4 * SECOND);
                self.crash(1 - n, power, time);
            }
            36..48 if self.cross && (self.service || self.plan.splits) => {
                self.say(|| "cross-link cut".to_owned());
                self.cross = false;
                self.after(time, Event::Mend(0));
            }
            48..56 if self.service && (self.cross || self.plan.splits) => {
                self.say(|| "service network cut".to_owned());
                self.service = false;
                self.after(time, Event::Mend(1));
            }
            56..60 if self.plan.splits => {
                self.say(|| "both networks cut".to_owned());
                self.cross = false;
                self.service = false;
                self.after(time, Event::Mend(0));
                self.after(time, Event::Mend(1));
            }
            60..66 => {
                self.say(|| format!("node {n} is deaf for beacons"));
                self.deaf[n] = true;
                self.after(time, Event::Mend(2 + n));
            }
            66..72 => self.burst_until = self.now + time.min(400 * MS),
            72..79 if alive && self.plan.freezes && !self.nodes[n].frozen => {
                self.say(|| format!("node {n} freezes"));
                self.nodes[n].frozen = true;
                self.nodes[n].paused = self.rng.chance(500);
                let time = self.rng.range(50 * MS, 2 * SECOND);
                self.after(time, Event::Thaw(n));
                if self.rng.chance(400) {
                    let then = self.rng.range(0, time * 2);
                    self.after(then, Event::Die(1 - n));
                }
            }
            79..86 if self.plan.slow_disks => {
                self.say(|| format!("node {n}'s disk is slow"));
                self.nodes[n].slow_disk_until = self.now + time;
            }
            86..94 if alive && !self.nodes[n].frozen => {
                self.feed(n, Input::Operator(Operator::Handover));
            }
            94..100 if alive && !self.nodes[n].frozen => {
                self.feed(n, Input::Operator(Operator::Stop));
                for delay in [5 * MS, 200 * MS, 2500 * MS] {
                    self.node_after(delay, n, Happening::Exit);
                }
            }
            _ => {}
        }
        if self.plan.witness && self.rng.chance(250) {
            self.witness_fault(time);
        }
        self.notice_split();
    }

    fn force(&mut self, n: usize) {
        self.stats.forced += 1;
        self.oracle.split = true;
        self.feed(n, Input::Operator(Operator::ForceSolo));
    }

    /// Without a witness, two nodes that hear nothing of each other may both lead.
    fn notice_split(&mut self) {
        let evidence = self.nodes.iter().all(|n| n.register.arbitration == Arbitration::None);
        let cut = !self.cross && !self.service;
        if cut && evidence && self.nodes.iter().all(|n| n.alive) {
            self.oracle.split = true;
        }
    }

    fn crash(&mut self, n: usize, power: bool, back: u64) {
        self.say(|| format!("node {n} {}", if power { "loses power" } else { "is killed" }));
        if power {
            let log: &mut Log = &mut self.nodes[n].log;
            let keep = self.rng.range(log.durable, log.tail() + 1);
            log.cut(keep);
            self.oracle.lost_tail(n);
        }
        let half_written = self.nodes[n].writing.front().copied();
        if let Some((_, register)) = half_written
            && self.rng.chance(500)
        {
            self.nodes[n].register = register;
        }
        if power {
            self.power_off(n)
        } else {
            self.kill(n)
        }
        self.after(back, Event::Restart(n));
    }

    /// The process ends; its kernel resets the session.
    fn kill(&mut self, n: usize) {
        self.send(n, Item::Fin);
        if self.plan.guardian && self.nodes[n].alive {
            self.say_gone(n);
        }
        self.power_off(n);
    }

    fn power_off(&mut self, n: usize) {
        self.nodes[n].die();
        self.backlog[n].clear();
        if let Some(s) = &mut self.session {
            s.sides[n] = Side::Closed;
        }
    }

    fn restart(&mut self, n: usize) {
        if self.nodes[n].alive {
            return;
        }
        self.say(|| {
            let node = &self.nodes[n];
            format!("node {n} starts: tail {}, {:?}", node.log.tail(), node.register)
        });
        self.oracle.restarted(n);
        self.nodes[n].start(self.plan.timers, self.now);
        self.drain(n);
        self.node_after(0, n, Happening::SendBeacon);
        self.notice_split();
    }

    fn thaw(&mut self, n: usize) {
        if !std::mem::replace(&mut self.nodes[n].frozen, false) {
            return;
        }
        self.say(|| format!("node {n} thaws"));
        self.oracle.read(&self.nodes, n, self.now); // Before it has noticed anything.
        if self.rng.chance(500) {
            self.feed(n, Input::Timeout);
        }
        while let Some((life, what)) = self.backlog[n].pop_front() {
            if life == self.nodes[n].life {
                self.node_event(n, what);
            }
        }
    }

    fn mend(&mut self, what: usize) {
        match what {
            0 => self.cross = true,
            1 => self.service = true,
            2 | 3 => self.deaf[what - 2] = false,
            4 => self.witness.up = true,
            n => self.witness.reach[n - 5] = true,
        }
        self.say(|| format!("mended {what}"));
    }

    fn end_faults(&mut self) {
        self.say(|| "faults end".to_owned());
        self.faults_over = Some(self.now);
        self.witness.lossy_until = 0;
        for what in 0..7 {
            self.mend(what);
        }
        for n in 0..2 {
            self.nodes[n].slow_disk_until = 0;
            self.thaw(n);
            let time = self.rng.range(0, 2 * SECOND);
            self.after(time, Event::Restart(n));
        }
        self.after(100 * MS, Event::Look);
    }

    // --- branches

    /// The leading node takes over what the other has after the fork, through its own log; once that
    /// is committed, the other puts all it has aside and starts empty.
    fn merge(&mut self) {
        let statuses = self.statuses();
        let Some(n) = (0..2).find(|n| statuses[*n].role == Role::Primary) else { return };
        let node = &self.nodes[n];
        let ready = statuses[n].linked && node.alive && !node.frozen && node.lease;
        let peer = &self.nodes[1 - n];
        let waits = peer.alive && !peer.frozen && statuses[1 - n].state == State::Branched;
        let Some(fork) = statuses[n].branch.filter(|_| ready && waits) else {
            self.merging = None;
            return;
        };
        let alone = node.register.insync == Insync::Only(node.machine.me);
        match self.merging {
            None if alone => {
                let here: BTreeSet<u64> = node.log.recs.iter().map(|r| r.op).collect();
                let from = usize::try_from(fork.0).unwrap();
                let branch = peer.log.recs.get(from..).unwrap_or_default();
                let ops: Vec<u64> = branch.iter().map(|r| r.op).collect();
                for op in ops.into_iter().filter(|op| !here.contains(op)) {
                    self.append(n, op);
                }
                let node = &self.nodes[n];
                self.merging = Some((n, node.life, node.log.cuts, node.log.tail()));
            }
            Some((by, life, cuts, tail)) => {
                if (by, life, cuts) != (n, node.life, node.log.cuts) {
                    self.merging = None;
                } else if node.committed >= tail && node.log.durable >= tail {
                    self.merging = None;
                    self.retire(1 - n);
                }
            }
            None => {}
        }
    }

    fn retire(&mut self, n: usize) {
        self.say(|| format!("node {n}'s branch is taken over"));
        self.stats.merges += 1;
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

    // --- the end

    fn statuses(&self) -> [Status; 2] {
        [self.nodes[0].machine.status(), self.nodes[1].machine.status()]
    }

    fn look(&mut self) {
        self.after(50 * MS, Event::Look);
        self.merge();
        let Some(over) = self.faults_over else { return };
        if self.now < over + 2 * SECOND + 500 * MS {
            return;
        }
        let statuses = self.statuses();
        let branched = statuses.iter().any(|s| s.state == State::Branched);
        let whole = statuses.iter().all(|s| s.state == State::Pair)
            && statuses.iter().any(|s| s.role == Role::Primary && s.rpo_zero)
            && statuses.iter().all(|s| s.witness.in_force == self.plan.witness)
            && statuses[0].committed == statuses[0].tail
            && statuses[1].committed == statuses[1].tail
            && self.nodes.iter().all(|n| n.waiters.is_empty() && n.log.tail() == n.committed);
        if branched && !self.oracle.split {
            self.oracle.fail(|| format!("BRANCHED without a split: {statuses:?}"));
        }
        if whole {
            let since = *self.quiet_since.get_or_insert(self.now);
            if self.now >= since + 300 * MS {
                self.oracle.final_check(&self.nodes);
                self.done = true;
            }
            return;
        }
        self.quiet_since = None;
        if self.now > over + LIVENESS {
            self.oracle.fail(|| format!("not whole in time: {statuses:#?}"));
        }
    }
}
