//! Two appliances and the networks between them.
//!
//! The driver here carries out every [`Output`] in order, as `src/pair` does. What goes wrong, and when,
//! is in [`faults`]; branches that are taken over are in [`copies`].

mod copies;
mod faults;
pub(super) mod service;

use self::copies::{Copying, Merging};
use self::faults::Broken;
use self::service::Advert;
use super::node::{Node, REC_LEN, Rec, Rng, index};
use super::oracle::Oracle;
use super::witness::Witness;
use super::{Rules, Slip};
use crate::id::{Epoch, Lsn};
use crate::pair::witness::{WitnessAnswer, WitnessAsk};
use crate::pair::{
    Arbitration, Beacon, Frame, Input, Note, Output, PhaseName, Role, Saying, State, Status, Timers,
};
use crate::time::Mono;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

const MS: u64 = 1_000;
const SECOND: u64 = 1_000 * MS;
const SESSION_SILENCE: u64 = 300 * MS;
const BEACON: u64 = 25 * MS;
const FAULT_PAUSE: Duration = Duration::from_secs(2);
const ROOM_PAUSE: Duration = Duration::from_secs(3);
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
    Advert(Advert),
    /// The VRRP instance's timer.
    FaceTimer,
    /// What it says.
    Face(crate::vrrp::Event),
    /// The node looks at its disk's room.
    Room,
    /// The node sees that its service interface is down.
    NicSeen,
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
    /// Both networks fail, for longer than either node waits.
    Part,
    CutCross,
    NicDown(usize),
    Restart(usize),
    Thaw(usize),
    Die {
        n: usize,
        life: u32,
        power: bool,
    },
    Mend(Broken),
    /// The leader's word that a branch is merged reaches it.
    Taken {
        n: usize,
        life: u32,
    },
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

/// The cross-link, and the service network, where they are numbered.
const CROSS: usize = 0;
const SERVICE: usize = 1;

/// A network that loses all that is sent to one node, and nothing of what that node sends.
#[derive(Clone, Copy, Debug)]
struct OneWay {
    to: usize,
    /// The stream the other way ends at once, too: acknowledgements are lost, and its window is full.
    /// Else it holds out until a side has heard nothing for too long.
    stalls: bool,
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
    /// Service interfaces go down.
    nics: bool,
    /// Logs are trimmed as far as they may be.
    trims: bool,
    /// Somebody is started with another release, now and then.
    skews: bool,
    /// The witness forgets again and again.
    forgetful: bool,
    /// Bits flip in logs.
    flips: bool,
    /// What is still wrong with one node when all else is healed.
    left: Option<Broken>,
    /// Syncs fail and disks fill.
    disks: bool,
    /// Faults hit what is under way.
    aimed: bool,
    /// The two clocks run up to two hundredths differently.
    drift: bool,
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
    pub(super) heals: u64,
    pub(super) forced: u64,
    pub(super) swaps: u64,
    pub(super) seeds: u64,
    pub(super) refusals: u64,
    pub(super) lost_swaps: u64,
    pub(super) without: u64,
    pub(super) reads: u64,
    pub(super) merges: u64,
    pub(super) aimed: u64,
    pub(super) failed_syncs: u64,
    pub(super) full_disks: u64,
    pub(super) left: u64,
    pub(super) copies: u64,
    pub(super) damaged: u64,
    pub(super) broken_copies: u64,
    pub(super) unwell: u64,
    pub(super) skewed: u64,
    pub(super) actives: u64,
    pub(super) nic_faults: u64,
    pub(super) one_ways: u64,
    pub(super) half_sessions: u64,
    pub(super) events: u64,
}

impl Stats {
    fn counts(&mut self) -> [(&'static str, &mut u64); 34] {
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
            ("splits that were over before the end", &mut self.heals),
            ("forced", &mut self.forced),
            ("swaps", &mut self.swaps),
            ("seeds", &mut self.seeds),
            ("refusals", &mut self.refusals),
            ("lost answers", &mut self.lost_swaps),
            ("without the witness", &mut self.without),
            ("reads", &mut self.reads),
            ("merges", &mut self.merges),
            ("aimed faults", &mut self.aimed),
            ("failed syncs", &mut self.failed_syncs),
            ("full disks", &mut self.full_disks),
            ("left for a full disk", &mut self.left),
            ("full copies", &mut self.copies),
            ("damaged logs", &mut self.damaged),
            ("full copies broken off", &mut self.broken_copies),
            ("handed over for health", &mut self.unwell),
            ("version refused", &mut self.skewed),
            ("Active", &mut self.actives),
            ("interface faults", &mut self.nic_faults),
            ("one-way losses", &mut self.one_ways),
            ("sessions that ended by one", &mut self.half_sessions),
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
    /// Each node's interface there; its clients are behind it.
    nic: [bool; 2],
    /// Beacons to that node are lost.
    deaf: [bool; 2],
    /// What is lost one way on each network ([`CROSS`], [`SERVICE`]).
    one_way: [Option<OneWay>; 2],
    /// The session's path carries nothing until then.
    burst_until: u64,
    plan: Plan,
    witness: Witness,
    merging: Option<Merging>,
    copying: Option<Copying>,
    rules: Rules,
    pub(super) oracle: Oracle,
    pub(super) stats: Stats,
    trace: bool,
    faults_over: Option<u64>,
    op: u64,
    quiet_since: Option<u64>,
    /// When somebody last handed over for its health.
    unwell_at: Option<u64>,
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
    pub(super) fn new(seed: u64, rules: Rules, trace: bool) -> Self {
        let mut rng = Rng::new(seed);
        let witness = rng.chance(500);
        // Some histories are about two branches: parted once, for long.
        let parted = !witness && rng.chance(100);
        let splits = parted || rng.chance(if witness { 400 } else { 100 });
        let timers = Timers {
            stability: Duration::from_millis(if rng.chance(30) { 30_000 } else { 2_000 }),
            boot_wait: Duration::from_secs(5),
            arbitration: if witness { Arbitration::Witness } else { Arbitration::None },
            witness_gone: Duration::from_secs(3),
            witness_look: Duration::from_millis(500),
            mutant: rules.mutant,
            fault_pause: FAULT_PAUSE,
            room_pause: ROOM_PAUSE,
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
            nics: rng.chance(300),
            trims: !splits && rng.chance(300),
            skews: rng.chance(100),
            forgetful: witness && rng.chance(200),
            flips: !splits && rng.chance(250),
            left: match rng.range(0, 20) {
                n @ 0..2 => Some(Broken::Nic(usize::try_from(n).unwrap())),
                n @ 2..4 => Some(Broken::Room(usize::try_from(n - 2).unwrap())),
                _ => None,
            },
            disks: rng.chance(300),
            aimed: parted || rng.chance(300),
            drift: rng.chance(100),
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
            nic: [true; 2],
            deaf: [false; 2],
            one_way: [None; 2],
            burst_until: 0,
            plan,
            witness: Witness::new(),
            merging: None,
            copying: None,
            rules,
            oracle: Oracle::default(),
            stats: Stats::default(),
            trace,
            faults_over: None,
            op: 0,
            quiet_since: None,
            unwell_at: None,
            done: false,
        };
        for n in 0..2 {
            world.new_clock(n);
            let at = world.now + world.rng.range(0, 500 * MS);
            world.at(at, Event::Restart(n));
        }
        if parted {
            let at = world.now + world.rng.range(2 * SECOND, 5 * SECOND);
            world.at(at, Event::Part);
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
            self.oracle.check(&self.nodes, self.now);
            if self.oracle.failure.is_some() || self.done {
                break;
            }
        }
        self.stats.acked = self.oracle.acked.len() as u64;
        self.stats.splits = self.oracle.splits;
        self.stats.heals = self.oracle.heals;
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

    /// What the clock of node `n` says.
    fn clock(&self, n: usize) -> Mono {
        self.nodes[n].clock.at(self.now)
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
                if life == self.nodes[n].life && self.nodes[n].alive {
                    let datagram = matches!(what, Happening::Beacon { .. } | Happening::Advert(_));
                    if self.nodes[n].frozen && datagram && self.nodes[n].paused {
                        return; // A paused virtual machine has no network card.
                    }
                    let vrrp = matches!(
                        what,
                        Happening::Advert(_) | Happening::FaceTimer | Happening::NicSeen
                    );
                    if vrrp && self.plan.guardian && !self.nodes[n].paused {
                        self.node_event(n, what); // In a process of its own.
                    } else if self.nodes[n].frozen {
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
            Event::Part => self.part(),
            Event::CutCross => self.cut_cross(),
            Event::NicDown(n) => self.nic_next(n),
            Event::Restart(n) => self.restart(n),
            Event::Thaw(n) => self.thaw(n),
            Event::Die { n, life, power } => self.die(n, life, power),
            Event::Taken { n, life } => self.taken(n, life),
            Event::Mend(what) if self.faults_over.is_some() && self.plan.left == Some(what) => {}
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
            Happening::Advert(advert) => self.advert(n, advert),
            Happening::FaceTimer => self.face_timer(n),
            Happening::Face(said) => self.face_said(n, said),
            Happening::NicSeen => self.nic_seen(n),
            Happening::Room => self.look_at_room(n),
            Happening::Synced { .. } | Happening::RegisterWritten if !self.wrote_to_disk(n) => {}
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
        let now = self.clock(n);
        self.nodes[n].machine.handle(now, input);
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
            && let at = self.nodes[n].clock.when(at)
            && at < self.nodes[n].timer_at
        {
            self.nodes[n].timer_at = at;
            let life = self.nodes[n].life;
            self.at(at, Event::Node { n, life, what: Happening::Timer });
        }
    }

    fn carry_out(&mut self, n: usize, output: Output) {
        match output {
            Output::Send(mut frame) => {
                if let Frame::Hello(hello) = &mut frame
                    && self.nodes[0].old != self.nodes[1].old
                {
                    hello.version -= 1; // To each, the other speaks another one.
                    self.stats.skewed += 1;
                }
                self.aim_at(n, &frame);
                self.send(n, Item::Frame(frame));
            }
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
                if register.solo(self.nodes[n].machine.me) {
                    self.nodes[n].face.decided = self.now;
                }
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
                self.oracle.leads(&self.nodes, n);
            }
            Output::Revoke => {
                self.nodes[n].lease = false;
                self.news(n, 0, 2 * MS, News::Revoked);
            }
            Output::Vrrp(stand) => self.take_stand(n, stand),
            Output::Witness { number, ask } => self.ask_witness(n, number, ask),
            Output::Lease(until) => self.nodes[n].lease_until = until.0,
            Output::Note(note) => self.note(n, &note),
        }
    }

    fn note(&mut self, n: usize, note: &Note) {
        if note.reason == "the primary is gone" {
            self.check_deaf(n);
        }
        if note.reason.starts_with("handing over: ") {
            self.check_ping_pong(n);
        }
        let count = match note.reason {
            "the primary is gone" => &mut self.stats.takeovers,
            "the standby does not answer"
            | "the standby leaves in good order"
            | "the standby's disk is full"
            | "the standby's process is over" => &mut self.stats.solos,
            reason if reason.starts_with("the disk is full") => &mut self.stats.left,
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
        if from <= log.trimmed {
            let (from, last, bytes) = (Lsn(from), Lsn(from - 1), Vec::new());
            return self.feed(n, Input::Records { from, last, bytes });
        }
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

    /// Whether a new connection comes about: that takes both ways.
    fn path_up(&self, over_service: bool) -> bool {
        if over_service { self.serviced() } else { self.crossed() }
    }

    /// Whether the cross-link carries what one node says to the other, both ways.
    fn crossed(&self) -> bool {
        self.cross && self.one_way[CROSS].is_none()
    }

    /// Whether that network carries what is sent to node `to`.
    fn carries(&self, network: usize, to: usize) -> bool {
        let up = if network == CROSS { self.cross } else { self.service && self.nic == [true; 2] };
        up && self.one_way[network].is_none_or(|loss| loss.to != to)
    }

    /// Whether a datagram on every path reaches node `to`.
    fn reaches(&self, to: usize) -> bool {
        self.carries(CROSS, to) || self.carries(SERVICE, to)
    }

    /// Whether what is next on a session reaches node `to`. What does not arrive is sent again: a
    /// stream loses nothing, it stands still.
    fn streams(&self, over_service: bool, to: usize) -> bool {
        let network = if over_service { SERVICE } else { CROSS };
        self.carries(network, to) && self.one_way[network].is_none_or(|loss| !loss.stalls)
    }

    fn connect(&mut self) {
        let again = self.rng.range(20 * MS, 120 * MS);
        self.after(again, Event::Connect);
        let over_service = !self.crossed() && self.plan.fallback;
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
        let paths = [self.streams(false, to), self.streams(true, to)];
        let Some(s) = self.session.as_mut().filter(|s| s.id == id) else { return };
        let up = paths[usize::from(s.over_service)];
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
        let paths = [self.streams(false, n), self.streams(true, n)];
        let peer = &self.nodes[1 - n];
        let sends = peer.alive && !peer.frozen;
        let Some(s) = self.session.as_mut().filter(|s| s.id == id) else { return };
        if s.sides[n] != Side::Open {
            return;
        }
        let up = paths[usize::from(s.over_service)];
        if sends && up && now >= burst && s.sides[1 - n] != Side::Closed {
            s.heard[n] = now;
        }
        if now - s.heard[n] > SESSION_SILENCE {
            let network = if s.over_service { SERVICE } else { CROSS };
            self.stats.half_sessions += u64::from(self.one_way[network].is_some());
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
        self.pulse(n);
        self.hear_adverts(n);
        let says = self.nodes[n].machine.beacon(self.clock(n));
        self.nodes[n].beacon_seq += 1;
        let sequence = self.nodes[n].beacon_seq;
        let node = self.nodes[n].machine.me;
        let boot = u64::from(self.nodes[n].life).to_le_bytes();
        let beacon = Beacon { pair: [0; 16], node, says, sequence, boot };
        let to = 1 - n;
        let skewed = self.nodes[0].old != self.nodes[1].old;
        if !self.nodes[to].alive || skewed || self.deaf[to] || !self.reaches(to) {
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
        if did && held < top {
            self.nobody_could_know(n, top);
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

    /// The guardian's goodbye.
    fn say_gone(&mut self, n: usize) {
        let to = 1 - n;
        if !self.nodes[to].alive || self.deaf[to] || !self.reaches(to) {
            return;
        }
        let node = &self.nodes[n];
        let life = node.life;
        let said = node.machine.beacon(self.clock(n));
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
        if self.oracle.is_split() {
            self.merge();
        }
        self.look_for_the_heal();
        self.full_copy();
        for n in 0..2 {
            if !self.nic[n] {
                continue;
            }
            self.stats.reads += u64::from(self.nodes[n].serves_readers(self.now));
            self.oracle.read(&self.nodes, n, self.now);
            let node = &self.nodes[n];
            let refuses = node.low && self.rules.slip != Some(Slip::ReserveIgnored);
            if node.runs() && node.lease && !refuses && node.waiters.len() < 100 {
                self.fill_up(n);
                self.op += 1;
                let op = self.op;
                self.append(n, op);
                let lsn = self.nodes[n].log.tail();
                self.nodes[n].waiters.push_back((lsn, op));
            }
        }
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
        if self.plan.flips && self.rng.chance(250) && self.flip(n) {
            return;
        }
        let old = self.plan.skews && self.faults_over.is_none() && self.rng.chance(300);
        self.nodes[n].old = old;
        let now = self.clock(n);
        self.nodes[n].start(self.plan.timers, now);
        self.start_face(n);
        self.drain(n);
        self.node_after(MS, n, Happening::Room);
        self.aim(n, 60, 40 * MS);
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
            if life == self.nodes[n].life && !matches!(what, Happening::FaceTimer) {
                self.node_event(n, what);
            }
        }
        self.face_thaws(n);
    }

    fn end_faults(&mut self) {
        self.say(|| "faults end".to_owned());
        self.faults_over = Some(self.now);
        self.witness.lossy_until = 0;
        for what in Broken::ALL {
            if self.plan.left != Some(what) {
                self.mend(what);
            }
        }
        self.leave_broken();
        for n in 0..2 {
            self.nodes[n].slow_disk_until = 0;
            self.nodes[n].sync_fails = false;
            self.thaw(n);
            if self.nodes[n].old {
                self.kill(n); // It is upgraded.
            }
            let time = self.rng.range(0, 2 * SECOND);
            self.after(time, Event::Restart(n));
        }
        self.after(100 * MS, Event::Look);
    }

    /// A split is over when the two are a pair again, whatever goes on otherwise.
    fn look_for_the_heal(&mut self) {
        let statuses = self.statuses();
        let whole = !self.is_cut()
            && self.nodes.iter().all(Node::runs)
            && statuses.iter().all(|s| s.linked && s.state == State::Pair)
            && statuses.iter().any(|s| s.role == Role::Primary && s.rpo_zero);
        self.oracle.looks_whole(&self.nodes, whole, self.now);
    }

    // --- the end

    fn statuses(&self) -> [Status; 2] {
        [self.nodes[0].machine.status(), self.nodes[1].machine.status()]
    }

    fn look(&mut self) {
        self.after(50 * MS, Event::Look);
        self.merge();
        self.look_for_the_heal();
        self.full_copy();
        let Some(over) = self.faults_over else { return };
        if self.now < over + 2 * SECOND + 500 * MS {
            return;
        }
        let statuses = self.statuses();
        let branched = statuses.iter().any(|s| s.state == State::Branched);
        let whole = statuses.iter().all(|s| s.state == State::Pair)
            && statuses.iter().any(|s| s.role == Role::Primary && s.rpo_zero)
            && statuses.iter().all(|s| s.witness.in_force == self.plan.witness)
            // Exactly one has the addresses, and it is the primary.
            && !self.leads_unwell()
            && (0..2).all(|n| self.nodes[n].face.is_active() == self.leads(n))
            && statuses[0].committed == statuses[0].tail
            && statuses[1].committed == statuses[1].tail
            && self.nodes.iter().all(|n| n.waiters.is_empty() && n.log.tail() == n.committed);
        if branched && !self.oracle.is_split() {
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
