//! Single stories, told with two machines on perfect disks and a link that obeys.

use super::machine::{Machine, Note};
use super::witness::{self, Verdict, WitnessAnswer, WitnessRegister};
use super::*;
use crate::id::{Epoch, Lsn, NodeId};
use crate::time::Mono;
use proptest::prelude::*;
use std::collections::VecDeque;
use std::time::Duration;

const MS: u64 = 1_000;

/// One node of a story: the machine, and a log that is as long as it says.
struct Side {
    machine: Machine,
    up: bool,
    log: LogState,
    register: Register,
    lease: bool,
    vrrp: VrrpStand,
    aside: Vec<(u64, u64)>,
    notes: Vec<Note>,
    sent: Vec<Frame>,
}

/// Two nodes. Disks take no time; frames arrive at the next millisecond.
struct Story {
    now: u64,
    sides: [Side; 2],
    frames: VecDeque<(usize, Frame)>,
    linked: bool,
    cross: bool,
    service: bool,
    /// Frames of these kinds are lost, and the session with them.
    lose: fn(&Frame) -> bool,
    timers: Timers,
    /// Whose beacons get lost.
    mute: Option<usize>,
    /// What the witness holds, while there is one.
    witness: Option<Option<WitnessRegister>>,
    /// A machine hears of the time only when it has asked to.
    lazy: bool,
    /// The registers' disk stands still: what it has not done yet.
    unwritten: Option<Vec<(usize, u64)>>,
    /// The witness does what it is asked, and says so late.
    unsaid: Option<Vec<(usize, Input)>>,
    /// Questions to the witness in this millisecond.
    asks: usize,
}

fn empty() -> LogState {
    LogState { first: Lsn(1), ..LogState::default() }
}

fn side(n: u8, register: Register, log: LogState, timers: Timers, now: u64) -> Side {
    let machine = Machine::new(NodeId(n), timers, register, log.clone(), Mono(now));
    Side {
        machine,
        up: true,
        log,
        register,
        lease: false,
        vrrp: VrrpStand::Silent,
        aside: Vec::new(),
        notes: Vec::new(),
        sent: Vec::new(),
    }
}

impl Story {
    fn new() -> Self {
        let formed = |n| side(n, Register::formed(NodeId(n)), empty(), Timers::default(), 0);
        Self {
            now: 0,
            sides: [formed(0), formed(1)],
            frames: VecDeque::new(),
            linked: false,
            cross: true,
            service: true,
            lose: |_| false,
            timers: Timers::default(),
            mute: None,
            witness: None,
            lazy: false,
            unwritten: None,
            unsaid: None,
            asks: 0,
        }
    }

    /// A pair in PAIR, node 0 primary, ten records in the log.
    fn pair() -> Self {
        let mut story = Self::new();
        story.run(500);
        assert_eq!(story.states(), [State::Pair, State::Pair]);
        story.write(10);
        story.run(100);
        story
    }

    fn states(&self) -> [State; 2] {
        [0, 1].map(|n| self.sides[n].machine.status().state)
    }

    fn roles(&self) -> [Role; 2] {
        [0, 1].map(|n| self.sides[n].machine.status().role)
    }

    fn status(&self, n: usize) -> Status {
        self.sides[n].machine.status()
    }

    fn noted(&self, n: usize, reason: &str) -> bool {
        self.sides[n].notes.iter().any(|note| note.reason.starts_with(reason))
    }

    fn feed(&mut self, n: usize, input: Input) {
        if !self.sides[n].up {
            return;
        }
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            self.sides[n].machine.handle(Mono(self.now), input);
            while let Some(output) = self.sides[n].machine.poll_output() {
                self.carry_out(n, output, &mut inputs);
            }
        }
    }

    fn carry_out(&mut self, n: usize, output: Output, inputs: &mut VecDeque<Input>) {
        let side = &mut self.sides[n];
        match output {
            Output::Send(frame) => {
                side.sent.push(frame.clone());
                if (self.lose)(&frame) {
                    self.cut();
                } else {
                    self.frames.push_back((1 - n, frame));
                }
            }
            Output::CloseSession(_) => self.cut(),
            Output::Read { from, .. } => {
                let (last, epoch) = (side.log.tail, side.log.history.last());
                let bytes = [last.0.to_be_bytes(), epoch.0.to_be_bytes()].concat();
                inputs.push_back(Input::Records { from, last, bytes });
            }
            Output::Append(bytes) => {
                let number = |at| u64::from_be_bytes(bytes[at..at + 8].try_into().unwrap());
                side.log.history.begin(Epoch(number(8)), side.log.tail.next());
                side.log.tail = Lsn(number(0));
                side.log.durable = side.log.tail;
                inputs.push_back(Input::Durable(side.log.tail));
            }
            Output::SetAside(from) => {
                side.aside.push((from.0, side.log.tail.0));
                side.log.tail = Lsn(from.0 - 1);
                side.log.durable = side.log.tail;
                side.log.history.cut(side.log.tail);
                inputs.push_back(Input::SetAsideDone(side.log.tail));
            }
            Output::Persist { number, register } => {
                side.register = register;
                match &mut self.unwritten {
                    Some(unwritten) => unwritten.push((n, number)),
                    None => inputs.push_back(Input::Persisted(number)),
                }
            }
            Output::BeginEpoch(epoch) => {
                let lsn = side.log.tail.next();
                side.log.tail = lsn;
                side.log.durable = lsn;
                side.log.history.begin(epoch, lsn);
                inputs.push_back(Input::EpochBegun { epoch, lsn });
                inputs.push_back(Input::Durable(lsn));
            }
            Output::Commit(lsn) => {
                side.log.committed = lsn;
                inputs.push_back(Input::Applied(lsn));
            }
            Output::Lead(_) => side.lease = true,
            Output::Revoke => {
                side.lease = false;
                inputs.push_back(Input::Revoked(side.log.tail));
            }
            Output::Vrrp(stand) => side.vrrp = stand,
            Output::Witness { number, ask } => {
                self.asks += 1;
                assert!(self.asks <= 20, "node {n} asks the witness without a pause: {ask:?}");
                let answer = match self.witness.map(|held| witness::decide(held, ask)) {
                    Some(Verdict::Hold(new)) => {
                        self.witness = Some(Some(new));
                        WitnessAnswer::Done(Some(new))
                    }
                    Some(Verdict::Answer(answer)) => answer,
                    None => WitnessAnswer::Lost,
                };
                let answer = Input::Witness { number, answer };
                match &mut self.unsaid {
                    Some(unsaid) if ask != witness::WitnessAsk::Read => unsaid.push((n, answer)),
                    _ => inputs.push_back(answer),
                }
            }
            Output::Lease(_) => {}
            Output::Note(note) => side.notes.push(note),
            Output::Unconfirmed { .. } => {}
        }
    }

    /// Whoever has the lease appends so many records.
    fn write(&mut self, records: u64) {
        for n in 0..2 {
            if self.sides[n].lease {
                let log = &mut self.sides[n].log;
                log.tail = Lsn(log.tail.0 + records);
                log.durable = log.tail;
                let tail = log.tail;
                self.feed(n, Input::Durable(tail));
            }
        }
    }

    fn cut(&mut self) {
        self.frames.clear();
        self.linked = false;
    }

    fn millisecond(&mut self) {
        self.now += MS;
        self.asks = 0;
        let was = self.linked;
        for _ in 0..self.frames.len() {
            if let Some((to, frame)) = self.frames.pop_front() {
                self.feed(to, Input::Frame(frame));
            }
        }
        let both = self.sides[0].up && self.sides[1].up;
        if !both || !self.cross {
            self.cut();
        }
        if !self.linked {
            for n in 0..2 {
                self.feed(n, Input::SessionDown);
            }
        }
        if both && self.cross && !self.linked && !was {
            self.linked = true;
            for n in 0..2 {
                let log = self.sides[n].log.clone();
                self.feed(n, Input::SessionUp(log));
            }
        }
        if both && self.now.is_multiple_of(25 * MS) && (self.cross || self.service) {
            for n in 0..2 {
                let says = self.sides[n].machine.beacon(Mono(self.now));
                if self.mute != Some(n) {
                    self.beacon(n, says);
                }
            }
        }
        if self.now.is_multiple_of(100 * MS) {
            for n in 0..2 {
                let heard = self.service && self.sides[1 - n].up;
                let active = heard && self.sides[1 - n].vrrp == VrrpStand::Holder;
                if self.sides[n].vrrp == VrrpStand::Standby {
                    let news = if active { VrrpNews::HeardActive } else { VrrpNews::MasterDown };
                    self.feed(n, Input::Vrrp(news));
                }
            }
        }
        for n in 0..2 {
            let asked = self.sides[n].machine.poll_timeout();
            if !self.lazy || asked.is_some_and(|at| at <= Mono(self.now)) {
                self.feed(n, Input::Timeout);
            }
        }
    }

    fn run(&mut self, ms: u64) {
        for _ in 0..ms {
            self.millisecond();
        }
    }

    /// The other node hears this beacon of node `from`.
    fn beacon(&mut self, from: usize, says: Saying) {
        let node = NodeId(u8::try_from(from).unwrap());
        let (pair, sequence, boot) = ([0; 16], self.now, [0; 8]);
        self.feed(1 - from, Input::Beacon(Beacon { pair, node, says, sequence, boot }));
    }

    /// The disk of node 0's register stands still: what it has not done.
    fn millisecond_of_a_slow_register(&mut self) -> Vec<u64> {
        self.unwritten = Some(Vec::new());
        self.run(1);
        let mut slow = Vec::new();
        for (n, number) in self.unwritten.take().unwrap() {
            match n {
                0 => slow.push(number),
                _ => self.feed(n, Input::Persisted(number)),
            }
        }
        slow
    }

    fn kill(&mut self, n: usize) {
        self.sides[n].up = false;
        self.sides[n].lease = false;
        self.sides[n].vrrp = VrrpStand::Silent;
    }

    fn start(&mut self, n: usize) {
        let old = &self.sides[n];
        let (register, log) = (old.register, old.log.clone());
        let aside = old.aside.clone();
        let number = u8::try_from(n).unwrap();
        self.sides[n] = side(number, register, log, self.timers, self.now);
        self.sides[n].aside = aside;
    }
}

#[test]
fn a_pair_forms_with_node_0_as_primary() {
    let mut story = Story::new();
    story.run(500);
    assert_eq!(story.states(), [State::Pair, State::Pair]);
    assert_eq!(story.roles(), [Role::Primary, Role::Standby]);
    assert!(story.sides[0].lease && story.sides[0].vrrp == VrrpStand::Holder);
    assert!(story.status(0).rpo_zero && story.status(1).rpo_zero);
}

#[test]
fn the_standby_takes_over_from_a_killed_primary() {
    let mut story = Story::pair();
    story.kill(0);
    story.run(400);
    assert_eq!(story.states()[1], State::Solo);
    assert!(story.sides[1].lease && story.sides[1].vrrp == VrrpStand::Holder);
    assert_eq!(story.sides[1].register.insync, Insync::Only(NodeId(1)));
    story.write(5);
    story.start(0);
    story.run(31_000);
    assert_eq!(story.states(), [State::Pair, State::Pair]);
    assert_eq!(story.roles(), [Role::Standby, Role::Primary]);
    assert_eq!(story.sides[0].log.tail, story.sides[1].log.tail);
    assert_eq!(story.sides[0].aside, []);
}

#[test]
fn a_cut_link_ends_in_solo_and_a_standby_that_never_promotes_itself() {
    let mut story = Story::pair();
    story.cross = false;
    story.run(300);
    assert!(story.sides[1].register.stale);
    let before = story.sides[0].log.committed;
    story.write(5);
    story.run(500);
    assert_eq!(story.sides[0].log.committed, before, "nothing is acknowledged before SOLO");
    story.run(300);
    assert_eq!(story.states()[0], State::Solo);
    assert!(story.sides[0].log.committed > before);
    story.kill(0);
    story.run(200_000);
    assert_eq!(story.roles()[1], Role::Standby);
    assert_eq!(story.status(1).waiting, Waiting::Operator);
}

/// The session ends with the primary's word that the last record is committed, and nobody writes.
#[test]
fn who_joins_again_hears_what_is_committed() {
    let mut story = Story::pair();
    story.lose = |frame| matches!(frame, Frame::Commit { .. });
    story.write(1);
    story.run(20);
    story.lose = |_| false;
    assert!(story.sides[1].log.committed < story.sides[0].log.committed);
    story.run(500);
    assert_eq!(story.states(), [State::Pair, State::Pair]);
    assert_eq!(story.sides[1].log.committed, story.sides[0].log.committed);
}

#[test]
fn two_rebooted_nodes_elect_a_primary_without_the_wait_for_stability() {
    let mut story = Story::pair();
    story.kill(0);
    story.kill(1);
    story.run(50);
    story.start(0);
    story.start(1);
    story.run(1_000);
    assert_eq!(story.states(), [State::Pair, State::Pair]);
    assert!(story.noted(0, "elected"));
}

#[test]
fn a_primary_that_crashes_again_and_again_loses_the_lead() {
    let mut story = Story::pair();
    story.kill(0);
    story.run(50);
    story.start(0);
    story.run(1_000);
    assert_eq!(story.roles(), [Role::Standby, Role::Primary]);
    assert_eq!(story.states(), [State::Pair, State::Pair]);
}

#[test]
fn an_operator_moves_the_primary_role() {
    let mut story = Story::pair();
    let operator = Input::Operator(Operator::Handover);
    story.feed(0, operator);
    assert!(!story.sides[0].lease);
    story.run(200);
    assert_eq!(story.roles(), [Role::Standby, Role::Primary]);
    assert_eq!(story.states(), [State::Pair, State::Pair]);
    story.write(3);
    story.run(100);
    assert_eq!(story.sides[0].log.committed, story.sides[1].log.tail);
}

/// A handover on a session that had stood for longer than `ack_timeout` closed that session at once,
/// and the new primary went SOLO after a second of silence.
#[test]
fn a_handover_on_an_old_session_keeps_it() {
    let mut story = Story::pair();
    story.run(5_000);
    let said = |story: &Story| {
        let hello = |frame: &&Frame| matches!(frame, Frame::Hello(_));
        story.sides.iter().map(|side| side.sent.iter().filter(hello).count()).sum::<usize>()
    };
    let before = said(&story);
    story.feed(0, Input::Operator(Operator::Handover));
    story.run(100);
    assert_eq!(story.roles(), [Role::Standby, Role::Primary]);
    assert_eq!(story.states(), [State::Pair, State::Pair]);
    assert_eq!(said(&story), before);
}

#[test]
fn a_standby_whose_own_interface_is_in_fault_does_not_count_its_silence() {
    for (mutant, takes_over) in [(None, false), (Some(Mutant::NicFaultIgnored), true)] {
        let mut story = Story::pair();
        story.sides[1].machine.timers.mutant = mutant;
        story.service = false;
        story.feed(1, Input::Vrrp(VrrpNews::Fault));
        story.run(300);
        story.kill(0);
        story.run(2_000);
        assert_eq!(story.roles()[1] == Role::Primary, takes_over);
        story.feed(1, Input::Vrrp(VrrpNews::FaultOver));
        story.run(400);
        assert_eq!(story.roles()[1], Role::Primary, "and once it is well, it does");
    }
}

/// The end of a session may be heard late: its last frames wait while a keyring is taken in. The
/// primary went on alone long before, said so in its beacons, and died.
#[test]
fn a_standby_that_heard_of_a_later_reign_before_its_sessions_end_does_not_lead() {
    for (mutant, leads) in [(None, false), (Some(Mutant::OvertakingIgnored), true)] {
        let mut story = Story::pair();
        story.sides[1].machine.timers.mutant = mutant;
        let mut says = story.sides[0].machine.beacon(Mono(story.now));
        says.seen = Epoch(says.seen.0 + 2);
        story.beacon(0, says);
        assert_eq!(story.states()[1], State::Pair, "the session may still bring it");
        story.kill(0);
        story.run(3_000);
        assert_eq!(story.roles()[1] == Role::Primary, leads);
    }
}

/// A pair whose primary has reigned for long enough to hand over for its health.
fn rested_pair() -> Story {
    let mut story = Story::pair();
    for side in &mut story.sides {
        side.machine.timers.room_pause = Duration::from_secs(8);
    }
    story.run(8_500);
    story
}

const GIB: u64 = 1 << 30;

fn disk(free: u64) -> Input {
    Input::Disk { free, reserve: GIB }
}

#[test]
fn a_primary_hands_over_when_its_service_network_is_in_fault() {
    let mut story = rested_pair();
    story.feed(0, Input::Vrrp(VrrpNews::Fault));
    story.run(150);
    assert_eq!(story.roles(), [Role::Primary, Role::Standby], "a blip moves nothing");
    story.run(200);
    assert_eq!(story.roles(), [Role::Standby, Role::Primary]);
    assert_eq!(story.states(), [State::Pair, State::Pair]);
    assert!(story.noted(0, "handing over: the service network"));
    assert_eq!(story.status(1).peer, Some(Health { fit: false, ..Health::default() }));
    assert!(story.sides[1].machine.peer_is_less_fit());
    story.run(30_000);
    assert_eq!(story.roles(), [Role::Standby, Role::Primary], "it stays where it is well");
}

#[test]
fn nobody_hands_over_to_a_node_that_is_as_bad_off() {
    for (ours, theirs, moves) in [
        (GIB / 3, 5 * GIB / 4, true),
        (GIB - 1, 5 * GIB / 4, true),
        (GIB, 9 * GIB, false),
        (GIB / 3, GIB, false),
        (GIB / 3, GIB / 3, false),
        (GIB / 2, 5 * GIB / 4 - 1, false),
    ] {
        let mut story = rested_pair();
        story.feed(0, disk(ours));
        story.feed(1, disk(theirs));
        story.run(300);
        let role = if moves { Role::Standby } else { Role::Primary };
        assert_eq!(story.roles()[0], role, "{ours} {theirs}");
        assert_eq!(story.states(), [State::Pair, State::Pair]);
    }
    let mut story = rested_pair();
    story.feed(1, Input::Vrrp(VrrpNews::Fault));
    story.feed(1, disk(9 * GIB));
    story.feed(0, disk(GIB / 3));
    story.run(2_000);
    assert_eq!(story.roles()[0], Role::Primary, "roomier, but not fit to serve");
    story.feed(0, Input::Vrrp(VrrpNews::Fault));
    story.run(2_000);
    assert_eq!(story.roles()[0], Role::Primary, "both in fault");
    story.feed(1, Input::Vrrp(VrrpNews::FaultOver));
    story.run(200);
    assert_eq!(story.roles()[0], Role::Standby);
}

const MIB: u64 = 1 << 20;

/// Below the reserve is room for the log; a standby goes before that ends, and no write waits for it.
#[test]
fn a_full_standby_is_left_in_good_order_and_comes_back_with_clearly_more_room() {
    for witness in [false, true] {
        let mut story = if witness { with_witness() } else { Story::pair() };
        story.feed(1, disk(300 * MIB));
        story.run(2_000);
        assert_eq!(story.states(), [State::Pair, State::Pair], "the reserve is there for the log");
        story.unwritten = Some(Vec::new());
        story.feed(1, disk(255 * MIB));
        story.run(30);
        assert!(story.sides[1].register.stale);
        assert_eq!(story.states()[0], State::Pair, "it hears of that once it is durable");
        for (n, number) in story.unwritten.take().unwrap() {
            story.feed(n, Input::Persisted(number));
        }
        story.run(30);
        assert_eq!(story.states()[0], State::Solo);
        assert!(story.noted(1, "the disk is full") && !story.noted(0, "the standby does not"));
        let taken = story.sides[1].log.tail;
        story.write(20);
        story.run(40_000);
        assert_eq!(story.sides[0].log.committed, story.sides[0].log.tail);
        assert_eq!(story.sides[1].log.tail, taken, "it takes nothing any more");
        assert_eq!(story.states()[0], State::Solo);
        assert!(story.status(0).peer.is_some_and(|peer| peer.full));
        story.feed(1, disk(511 * MIB));
        story.run(40_000);
        assert_eq!(story.states()[0], State::Solo, "not clearly more");
        story.feed(1, disk(512 * MIB));
        story.run(35_000);
        assert_eq!(story.states(), [State::Pair, State::Pair]);
        assert_eq!(story.sides[1].log.tail, story.sides[0].log.tail);
        story.kill(0);
        story.run(1_000);
        assert_eq!(story.roles()[1], Role::Primary, "it counts again");
    }
}

/// A full standby whose session comes and goes is asked again and again, and asks to be left each time.
#[test]
fn a_full_standby_is_not_joined_by_a_new_session() {
    let mut story = Story::pair();
    story.feed(1, disk(0));
    story.run(30);
    for _ in 0..3 {
        story.cut();
        story.write(3);
        story.run(35_000);
        assert_eq!(story.states()[0], State::Solo);
        assert_eq!(story.sides[0].log.committed, story.sides[0].log.tail);
    }
    story.kill(0);
    story.run(2_000);
    assert_eq!(story.roles()[1], Role::Standby, "it lacks what was acknowledged");
}

#[test]
fn two_bad_nodes_do_not_play_ping_pong() {
    for (mutant, back_at_once) in [(None, false), (Some(Mutant::NeverRests), true)] {
        let mut story = rested_pair();
        for side in &mut story.sides {
            side.machine.timers.mutant = mutant;
        }
        story.feed(0, disk(GIB / 3));
        story.feed(1, disk(2 * GIB));
        story.run(300);
        assert_eq!(story.roles(), [Role::Standby, Role::Primary]);
        story.feed(0, disk(2 * GIB));
        story.feed(1, disk(GIB / 3));
        story.run(300);
        assert_eq!(story.roles()[0] == Role::Primary, back_at_once);
        if mutant.is_none() {
            story.feed(1, Input::Vrrp(VrrpNews::Fault));
            story.run(3_000);
            assert_eq!(story.roles(), [Role::Standby, Role::Primary], "not within the pause");
            story.run(2_000);
            assert_eq!(story.roles(), [Role::Primary, Role::Standby], "and once it is over");
        }
    }
}

/// Before the peer was told to take over, that it leads in that epoch is no answer to it.
#[test]
fn a_peer_that_leads_by_its_own_right_ends_a_handover_that_it_has_not_heard_of() {
    let mut story = Story::pair();
    story.write(1);
    story.feed(0, Input::Operator(Operator::Handover));
    let told = |frame: &Frame| matches!(frame, Frame::HandoverGo { .. });
    assert!(!story.sides[0].lease && !story.sides[0].sent.iter().any(told));
    let mut says = story.sides[1].machine.beacon(Mono(story.now));
    says.phase = PhaseName::Primary;
    says.seen = primary::next_epoch(says.seen, NodeId(1));
    story.beacon(1, says);
    assert_eq!(story.roles()[0], Role::None);
    assert!(story.noted(0, "a higher epoch was seen"));
}

#[test]
fn a_handover_whose_frames_are_lost_still_ends_in_one_primary() {
    for lose in [(|f| matches!(f, Frame::HandoverGo { .. })) as fn(&Frame) -> bool, |f| {
        matches!(f, Frame::Reign { .. })
    }] {
        let mut story = Story::pair();
        story.lose = lose;
        story.feed(0, Input::Operator(Operator::Handover));
        story.run(200);
        story.lose = |_| false;
        story.run(35_000);
        assert_eq!(story.states(), [State::Pair, State::Pair]);
        let leases = story.sides.iter().filter(|s| s.lease).count();
        assert_eq!(leases, 1);
    }
}

#[test]
fn a_returning_node_sets_its_unacknowledged_tail_aside() {
    let mut story = Story::pair();
    story.cross = false;
    story.run(1);
    story.write(4);
    let tail = story.sides[0].log.tail.0;
    story.kill(0);
    story.run(500);
    assert_eq!(story.roles()[1], Role::Primary);
    story.cross = true;
    story.start(0);
    story.run(31_000);
    assert_eq!(story.states(), [State::Pair, State::Pair]);
    assert_eq!(story.sides[0].aside, [(tail - 3, tail)]);
}

#[test]
fn a_solo_holder_resumes_after_it_has_listened() {
    let mut story = Story::pair();
    story.kill(1);
    story.run(1_200);
    assert_eq!(story.states()[0], State::Solo);
    story.kill(0);
    story.run(50);
    story.start(0);
    story.run(2_900);
    assert_eq!(story.roles()[0], Role::None);
    story.run(200);
    assert_eq!(story.roles()[0], Role::Primary);
}

#[test]
fn a_member_of_a_pair_that_boots_alone_waits_for_an_operator() {
    let mut story = Story::pair();
    story.kill(0);
    story.kill(1);
    story.run(50);
    story.start(1);
    story.run(121_000);
    assert_eq!(story.roles()[1], Role::None);
    assert_eq!(story.status(1).waiting, Waiting::Operator);
    story.feed(1, Input::Operator(Operator::ForceSolo));
    story.run(50);
    assert_eq!(story.roles()[1], Role::Primary);
    assert!(story.sides[1].lease);
}

#[test]
fn a_split_ends_branched_and_discards_nothing() {
    let mut story = Story::pair();
    (story.cross, story.service) = (false, false);
    story.run(1_500);
    assert_eq!(story.roles(), [Role::Primary, Role::Primary]);
    story.write(3);
    (story.cross, story.service) = (true, true);
    story.run(500);
    assert_eq!(story.states(), [State::Branched, State::Branched]);
    assert_eq!(story.sides.iter().filter(|s| s.lease).count(), 1);
    assert!(!story.status(0).rpo_zero && !story.status(1).rpo_zero);
    assert!(story.sides.iter().all(|s| s.aside.is_empty()));
}

fn with_witness() -> Story {
    let mut story = Story::new();
    story.timers = Timers { arbitration: Arbitration::Witness, ..Timers::default() };
    story.witness = Some(None);
    for n in [0, 1] {
        story.start(n);
    }
    story.run(40_000);
    assert_eq!(story.states(), [State::Pair, State::Pair]);
    assert!(story.sides.iter().all(|s| s.register.arbitration == Arbitration::Witness));
    story
}

/// The session is only found dead after 250 ms; the lease, and soon the addresses, go before.
#[test]
fn with_a_witness_beacons_that_cease_are_enough_to_go_on_alone() {
    let mut story = with_witness();
    story.mute = Some(1);
    story.run(130);
    assert!(story.noted(0, "the standby does not answer"));
    assert_eq!(story.sides[0].register.insync, Insync::Only(NodeId(0)));
    assert!(story.sides[0].lease && story.roles()[0] == Role::Primary);
    story.mute = None;
    story.run(40_000);
    assert_eq!(story.states(), [State::Pair, State::Pair]);
    // Without one, silence on the session counts.
    let mut story = Story::pair();
    story.mute = Some(1);
    story.run(500);
    assert_eq!(story.states()[0], State::Pair);
}

/// It acts when the silence is long enough, not at the next step.
#[test]
fn silence_is_judged_when_it_is_due() {
    let mut story = with_witness();
    story.lazy = true;
    story.run(1_000);
    story.mute = Some(1);
    story.run(101);
    assert!(story.noted(0, "the standby does not answer"));
    let mut story = with_witness();
    story.lazy = true;
    story.run(1_000);
    story.mute = Some(0);
    story.run(101);
    assert!(story.noted(1, "the primary is gone"));
}

/// A pause of the process: the disk's answer is taken before what the peer said meanwhile.
#[test]
fn what_came_during_a_pause_is_heard_before_silence_counts() {
    for (n, timed) in [(0, false), (1, false), (0, true), (1, true)] {
        let mut story = with_witness();
        story.now += 120 * MS;
        let durable = Input::Durable(story.sides[n].log.durable);
        story.feed(n, if timed { Input::Timeout } else { durable });
        assert_eq!(story.linked, !timed, "node {n}: it is the clock's to say");
        let at = story.sides[n].machine.poll_timeout().unwrap();
        assert!(timed || at <= Mono(story.now + MS), "and it says so at once");
    }
}

/// It boots alone, and hears from a beacon that it was left behind just before it would lead.
#[test]
fn a_rolled_back_witness_gives_no_lead_to_who_knows_of_a_later_reign() {
    let mut story = with_witness();
    let old = story.witness;
    story.kill(1);
    story.run(1_000);
    assert_eq!(story.states()[0], State::Solo);
    story.write(3);
    let says = story.sides[0].machine.beacon(Mono(story.now));
    story.kill(0);
    story.witness = old;
    story.start(1);
    story.run(2_900);
    story.beacon(0, says);
    story.run(30_000);
    assert_eq!(story.roles()[1], Role::None);
    assert_eq!(story.witness, old, "it was asked for nothing");
}

/// The same, but it has asked the witness already, which does it: neither then, nor after a restart,
/// is that a right to lead.
#[test]
fn what_a_rolled_back_witness_did_meanwhile_gives_no_lead() {
    let mut story = with_witness();
    let old = story.witness;
    story.kill(0);
    story.run(1_000);
    assert_eq!(story.states()[1], State::Solo);
    story.write(3);
    let says = story.sides[1].machine.beacon(Mono(story.now));
    story.kill(1);
    story.witness = old;
    story.start(0);
    story.unsaid = Some(Vec::new());
    while story.witness == old {
        story.run(1);
    }
    story.beacon(1, says);
    for (n, answer) in story.unsaid.take().unwrap() {
        story.feed(n, answer);
    }
    story.run(30_000);
    assert_eq!(story.roles()[0], Role::None);
    story.kill(0);
    story.start(0);
    story.run(30_000);
    assert_eq!(story.roles()[0], Role::None);
    // Whoever led comes back, and nothing is missing.
    story.start(1);
    story.run(40_000);
    assert_eq!(story.states(), [State::Pair, State::Pair]);
    assert!(story.sides[1].aside.is_empty());
}

/// The witness has lost what it held; what the primary then asked of it lies before a slow disk, twice.
/// That the peer has read the first of it there deposes nobody.
#[test]
fn what_a_primary_is_about_to_record_is_no_higher_epoch() {
    let mut story = with_witness();
    let before = story.sides[0].register.epoch;
    story.witness = Some(None);
    let mut slow = Vec::new();
    while story.sides[0].register.epoch == before {
        slow.extend(story.millisecond_of_a_slow_register());
    }
    let seeded = story.sides[0].register.epoch;
    story.mute = Some(1);
    while story.sides[0].register.insync == Insync::Both {
        slow.extend(story.millisecond_of_a_slow_register());
    }
    let mut says = story.sides[1].machine.beacon(Mono(story.now));
    says.seen = seeded;
    story.beacon(1, says);
    assert_eq!(story.roles()[0], Role::Primary);
    for number in slow {
        story.feed(0, Input::Persisted(number));
    }
    assert_eq!(story.states()[0], State::Solo);
    story.mute = None;
    story.run(40_000);
    assert_eq!(story.states(), [State::Pair, State::Pair]);
}

/// The witness is asked to decide from now on, while the standby obeys nobody; the session ends and
/// comes back before it answers. The standby must not obey the old rules meanwhile.
#[test]
fn a_standby_stays_in_limbo_until_it_is_settled_who_decides() {
    let mut story = Story::new();
    story.timers = Timers { arbitration: Arbitration::Witness, ..Timers::default() };
    for n in [0, 1] {
        story.start(n);
    }
    story.run(40_000);
    assert_eq!(story.states(), [State::Pair, State::Pair]);
    assert_eq!(story.sides[0].register.arbitration, Arbitration::None, "there is no witness yet");
    story.witness = Some(None);
    story.unsaid = Some(Vec::new());
    while story.unsaid.as_ref().unwrap().is_empty() {
        story.run(1);
    }
    assert_eq!(story.sides[1].register.arbitration, Arbitration::Limbo);
    story.cut();
    story.run(20);
    assert!(story.linked);
    assert_eq!(story.sides[1].register.arbitration, Arbitration::Limbo);
    for (n, answer) in story.unsaid.take().unwrap() {
        story.feed(n, answer);
    }
    story.run(1_000);
    assert_eq!(story.states(), [State::Pair, State::Pair]);
    assert!(story.sides.iter().all(|s| s.register.arbitration == Arbitration::Witness));
}

/// Without a witness, on evidence alone: before the standby's disk has written that it leads, the
/// primary is there again, which then hears nothing but the session.
#[test]
fn a_primary_that_comes_back_too_late_hears_of_the_new_reign_on_the_session() {
    let mut story = Story::pair();
    story.service = false;
    story.cross = false;
    story.unwritten = Some(Vec::new());
    while story.sides[1].register.insync == Insync::Both {
        story.run(1);
    }
    assert!(story.sides[1].register.solo(NodeId(1)));
    story.mute = Some(1);
    story.cross = true;
    story.run(3);
    assert!(story.linked);
    for (n, number) in story.unwritten.take().unwrap() {
        story.feed(n, Input::Persisted(number));
    }
    story.run(50);
    assert_ne!(story.roles()[0], Role::Primary);
    assert_eq!(story.roles()[1], Role::Primary);
    story.mute = None;
    story.service = true;
    story.run(40_000);
    assert_eq!(story.states(), [State::Pair, State::Pair]);
}

/// Both are told to stop, the primary first.
#[test]
fn a_primary_stops_though_its_standby_leaves_during_the_handover() {
    let mut story = Story::pair();
    story.feed(0, Input::Operator(Operator::Stop));
    assert!(!story.sides[0].machine.stopped());
    story.feed(0, Input::Frame(Frame::Goodbye));
    assert!(story.sides[0].machine.stopped());
}

/// What was said in the Hello is what is ranked: it must still hold when the peer asks to be followed.
#[test]
fn who_is_about_to_record_a_later_reign_follows_nobody_on_what_it_said_before() {
    let mut story = with_witness();
    story.unwritten = Some(Vec::new());
    story.mute = Some(1);
    story.cut();
    while story.sides[0].register.insync == Insync::Both {
        story.run(1);
    }
    // It steps down before its disk has done that.
    let higher = primary::next_epoch(story.sides[0].register.seen, NodeId(1));
    let mut says = story.sides[1].machine.beacon(Mono(story.now));
    says.seen = higher;
    story.beacon(1, says);
    assert_eq!(story.roles()[0], Role::None);
    story.run(2);
    let epoch = primary::next_epoch(higher, NodeId(1));
    story.feed(0, Input::Frame(Frame::Lead { epoch }));
    let follows = story.sides[0].register;
    assert!(!follows.stale && follows.insync == Insync::Only(NodeId(0)), "{follows:?}");
    assert!(matches!(story.sides[0].sent.last(), Some(Frame::Refuse { .. })));
}

/// The standby leaves for want of room while the witness is away: the primary goes on without both.
#[test]
fn a_full_standby_does_not_tie_the_primary_to_a_witness_that_is_gone() {
    let mut story = with_witness();
    story.witness = None;
    story.run(1_000);
    story.feed(1, disk(255 * MIB));
    story.run(100);
    story.write(3);
    story.run(62_000);
    assert_eq!(story.states()[0], State::Solo);
    assert_eq!(story.sides[0].log.committed, story.sides[0].log.tail);
    assert_eq!(story.sides[0].register.arbitration, Arbitration::None);
    assert_eq!(story.sides[1].register.arbitration, Arbitration::Limbo);
    // With room again it is a pair, and with the witness it obeys that.
    story.feed(1, disk(512 * MIB));
    story.run(40_000);
    assert_eq!(story.states(), [State::Pair, State::Pair]);
    story.witness = Some(None);
    story.run(40_000);
    assert!(story.sides.iter().all(|s| s.register.arbitration == Arbitration::Witness));
}

#[test]
fn a_branched_peer_does_not_tie_the_primary_to_a_witness_that_is_gone() {
    let mut story = with_witness();
    story.witness = None;
    story.kill(1);
    story.run(100);
    // A witness that was rolled back let it lead alone meanwhile.
    let side = &mut story.sides[1];
    (side.register.holder, side.register.insync) = (NodeId(1), Insync::Only(NodeId(1)));
    (side.log.tail, side.log.durable) = (side.log.tail.next(), side.log.tail.next());
    story.start(1);
    story.run(90_000);
    assert_eq!(story.states(), [State::Branched, State::Branched]);
    // It serves, and can take the branch in; the other one obeys no witness that may come back.
    assert_eq!(story.sides[0].register.insync, Insync::Only(NodeId(0)));
    assert_eq!(story.sides[0].register.arbitration, Arbitration::None);
    assert_eq!(story.sides[1].register.arbitration, Arbitration::Limbo);
    assert!(story.sides[0].lease && story.sides[1].aside.is_empty());
}

#[test]
fn records_of_a_reign_that_rests_on_nobody_else_are_no_branch() {
    // Node 1 led alone once; node 0 leads alone since, and lost a record that node 1 had copied.
    let mut story = Story::pair();
    let (once, since) = (story.sides[0].register.epoch, Epoch(40));
    for n in [0, 1] {
        story.kill(n);
        let side = &mut story.sides[n];
        side.register.seen = since;
        side.register.stale = n == 1;
        side.log.history.begin(since, side.log.tail.next());
        side.log.tail = side.log.tail.next();
    }
    let [ours, theirs] = &mut story.sides;
    (ours.register.epoch, ours.register.insync) = (since, Insync::Only(NodeId(0)));
    (theirs.register.epoch, theirs.register.holder) = (once, NodeId(1));
    theirs.register.insync = Insync::Only(NodeId(1));
    theirs.log.tail = theirs.log.tail.next();
    let lost = theirs.log.tail.0;
    story.run(10);
    for n in [0, 1] {
        let log = &mut story.sides[n].log;
        log.durable = log.tail;
        story.start(n);
    }
    story.run(60_000);
    assert_eq!(story.states(), [State::Pair, State::Pair]);
    assert_eq!(story.sides[1].aside, [(lost, lost)]);
    // What it wrote in its own reign is another matter.
    let register = Register { epoch: since, ..story.sides[1].register };
    let register = Register { holder: NodeId(1), insync: Insync::Only(NodeId(1)), ..register };
    let log = LogState { tail: Lsn(99), ..story.sides[1].log.clone() };
    assert!(register.may_have_acknowledged(NodeId(1), &log, Lsn(lost)));
}

#[test]
fn a_lower_epoch_is_refused() {
    let mut story = Story::pair();
    let seen = story.sides[1].register.seen;
    let (epoch, tail) = (Epoch(seen.0 - 1), story.sides[1].log.tail);
    story.sides[1].sent.clear();
    let old = Frame::Records { epoch, commit: Lsn(99), bytes: vec![0; 16] };
    story.feed(1, Input::Frame(old));
    story.feed(1, Input::Frame(Frame::Join { epoch, fork: Lsn(0) }));
    assert_eq!(story.sides[1].sent, [Frame::Refuse { seen }, Frame::Refuse { seen }]);
    assert_eq!(story.sides[1].log.tail, tail);
}

#[test]
fn a_node_without_a_peer_leads_at_once() {
    let timers = Timers { has_peer: false, vrrp: false, ..Timers::default() };
    let register = Register::formed(NodeId(0));
    let mut story = Story::new();
    story.kill(1);
    story.sides[0] = side(0, register, empty(), timers, 0);
    story.feed(0, Input::Timeout);
    assert!(story.sides[0].lease);
    assert_eq!(story.sides[0].machine.poll_timeout(), None);
}

#[test]
fn a_primary_that_slept_does_not_go_on_alone_before_it_has_heard_its_standby() {
    let mut story = Story::pair();
    story.kill(1);
    story.run(5);
    story.now += 700 * MS;
    story.run(5_000);
    assert_eq!(story.states()[0], State::Pair);
    assert!(!story.status(0).rpo_zero);
    story.feed(0, Input::Operator(Operator::ForceSolo));
    story.run(50);
    assert_eq!(story.states()[0], State::Solo);
    assert!(story.noted(0, "an operator said so"));
}

/// A handover that came to nothing because its primary slept: the standby may have led meanwhile.
#[test]
fn a_primary_that_slept_in_a_handover_does_not_lead_before_it_has_heard_its_standby() {
    let mut story = Story::pair();
    story.kill(1);
    story.write(1);
    story.feed(0, Input::Operator(Operator::Handover));
    assert!(!story.sides[0].lease);
    story.now += 700 * MS;
    story.run(5_000);
    assert!(!story.sides[0].lease);
    story.start(1);
    story.run(40_000);
    assert_eq!(story.states(), [State::Pair, State::Pair]);
    assert!(story.sides.iter().any(|s| s.lease));
}

/// The registers' disk is slow: admission, and that the primary is alone, are both on their way.
#[test]
fn who_is_about_to_be_alone_admits_nobody() {
    let mut story = Story::pair();
    story.kill(1);
    story.run(5_000);
    assert_eq!(story.states()[0], State::Solo);
    story.start(1);
    let mut slow = Vec::new();
    while story.sides[0].register.insync != Insync::Both {
        slow.extend(story.millisecond_of_a_slow_register());
    }
    story.unwritten = Some(Vec::new());
    story.feed(0, Input::Frame(Frame::Goodbye));
    assert_eq!(story.sides[0].register.insync, Insync::Only(NodeId(0)));
    let alone = story.unwritten.take().unwrap();
    story.kill(1);
    story.cut();
    slow.extend(story.millisecond_of_a_slow_register());
    story.start(1);
    for _ in 0..1_000 {
        slow.extend(story.millisecond_of_a_slow_register());
    }
    slow.extend(alone.iter().map(|(_, number)| *number));
    slow.sort_unstable();
    for number in slow {
        story.feed(0, Input::Persisted(number));
    }
    story.run(40_000);
    story.write(3);
    story.run(100);
    assert_eq!(story.states(), [State::Pair, State::Pair]);
    story.kill(1);
    story.run(5_000);
    assert_eq!(story.states()[0], State::Solo);
}

#[test]
fn an_orderly_stop_hands_over_first() {
    let mut story = Story::pair();
    story.feed(0, Input::Operator(Operator::Stop));
    story.run(100);
    assert!(story.sides[0].machine.stopped());
    assert_eq!(story.roles()[1], Role::Primary);
    assert_eq!(story.states()[1], State::Solo);
    assert!(story.sides[1].lease);
}

fn any_hello() -> impl Strategy<Value = Frame> {
    let numbers = (0..9_u64, 0..9_u64, 0..30_u64, 0..30_u64);
    (numbers, 0..2_u8, any::<bool>(), any::<bool>(), 0..4_u8).prop_map(
        |(n, who, both, stale, p)| {
            let phases = [
                PhaseName::Recovering,
                PhaseName::Primary,
                PhaseName::Standby,
                PhaseName::Branched,
            ];
            let insync = if both { Insync::Both } else { Insync::Only(NodeId(who)) };
            let (epoch, seen) = (Epoch(n.0), Epoch(n.0.max(n.1)));
            let history = History::new(vec![(Epoch(n.1), Lsn(1)), (epoch, Lsn(n.3 / 2))]);
            let tail = Lsn(n.3);
            let formed = Register::formed(NodeId(0));
            let log = LogState {
                tail,
                durable: tail,
                committed: Lsn(n.2.min(n.3)),
                first: Lsn(1),
                history,
            };
            let register = Register { holder: NodeId(who), insync, seen, stale, epoch, ..formed };
            let phase = phases[usize::from(p)];
            Frame::Hello(Hello { version: 2, node: NodeId(0), phase, register, log })
        },
    )
}

fn any_input() -> impl Strategy<Value = Input> {
    let frames = (0..9_u64, 0..40_u64, 0..17_u8).prop_map(|(epoch, lsn, kind)| {
        let (epoch, lsn) = (Epoch(epoch), Lsn(lsn));
        Input::Frame(match kind {
            0 => Frame::Join { epoch, fork: lsn },
            1 => Frame::Joined { epoch, tail: lsn },
            2 => {
                Frame::Records { epoch, commit: lsn, bytes: [[0; 7].as_slice(), &[9; 9]].concat() }
            }
            3 => Frame::Ack { epoch, durable: lsn },
            4 => Frame::Commit { epoch, lsn },
            5 => Frame::Admitted { epoch },
            6 => Frame::Follow { epoch },
            7 => Frame::Reign { epoch },
            8 => Frame::Refuse { seen: epoch },
            9 => Frame::Goodbye,
            10 => Frame::Branched { fork: lsn },
            11 => Frame::Lead { epoch },
            _ => Frame::Ping,
        })
    });
    let others = (0..9_u64, 0..40_u64, 0..8_u8).prop_map(|(epoch, lsn, kind)| {
        let (epoch, lsn) = (Epoch(epoch), Lsn(lsn));
        match kind {
            0 => Input::SessionUp(LogState { tail: lsn, durable: lsn, ..empty() }),
            1 => Input::SessionDown,
            2 => Input::Durable(lsn),
            3 => Input::EpochBegun { epoch, lsn },
            4 => Input::Revoked(lsn),
            5 => Input::Records { from: lsn, last: lsn, bytes: vec![1] },
            6 => Input::Vrrp(VrrpNews::MasterDown),
            _ => Input::Timeout,
        }
    });
    prop_oneof![any_hello().prop_map(Input::Frame), frames, others]
}

proptest! {
    /// Whatever a peer says and whatever happens: no panic, and without an Admit, a handover or an
    /// election a stale standby never leads.
    #[test]
    fn no_input_makes_a_stale_standby_lead(inputs in prop::collection::vec((any_input(), 0..400_u64), 0..60)) {
        let log = LogState { tail: Lsn(20), durable: Lsn(20), committed: Lsn(10), first: Lsn(1),
            history: History::new(vec![(Epoch(2), Lsn(1))]) };
        let register = Register { epoch: Epoch(2), insync: Insync::Both,
            seen: Epoch(4), stale: true, ..Register::formed(NodeId(0)) };
        let mut machine = Machine::new(NodeId(1), Timers::default(), register, log, Mono(0));
        let (mut now, mut asked) = (0, false);
        for (input, ms) in inputs {
            now += ms * MS;
            machine.handle(Mono(now), input);
            while let Some(output) = machine.poll_output() {
                match output {
                    Output::Send(Frame::Lead { .. }) => asked = true,
                    Output::Persist { number, .. } => machine.handle(Mono(now), Input::Persisted(number)),
                    Output::Lead(_) => prop_assert!(asked, "a stale standby leads"),
                    _ => {}
                }
            }
            prop_assert!(machine.poll_timeout().is_some_and(|at| at > Mono(now)));
        }
    }
}

#[test]
fn who_needs_a_full_copy_does_not_tie_the_primary_to_a_witness_that_is_gone() {
    let mut story = with_witness();
    story.witness = None;
    story.kill(1);
    story.run(100);
    // Its disk was replaced, and the primary's log does not reach back to its beginning.
    story.sides[1].register = Register::formed(NodeId(1));
    story.sides[1].register.arbitration = Arbitration::Witness;
    story.sides[1].log = empty();
    story.sides[0].log.first = Lsn(2);
    story.start(1);
    story.run(90_000);
    let register = story.sides[0].register;
    assert_eq!(register.insync, Insync::Only(NodeId(0)));
    assert_eq!(register.arbitration, Arbitration::None);
    assert!(story.sides[0].lease);
    assert_eq!(story.status(0).waiting, Waiting::FullCopy);
}

#[test]
fn an_address_that_neither_can_hold_moves_the_lead_ever_more_seldom() {
    let mut story = Story::pair();
    let mut moves = 0;
    for _ in 0..3_600 {
        let before = story.roles();
        let Some(holder) = before.iter().position(|role| *role == Role::Primary) else {
            story.run(100);
            continue;
        };
        // Only who holds it notices.
        for n in [0, 1] {
            let news = if n == holder { VrrpNews::Fault } else { VrrpNews::FaultOver };
            story.feed(n, Input::Vrrp(news));
        }
        story.run(100);
        moves += usize::from(story.roles() != before);
    }
    assert!((2..20).contains(&moves), "{moves} in six minutes");
}

#[test]
fn the_defaults_keep_the_order_that_safety_needs() {
    let t = Timers::default();
    let ms = Duration::from_millis;
    assert_eq!(t.check(None), Ok(()));
    assert_eq!(t.check(Some(ms(100))), Ok(()));
    assert_eq!((t.for_adverts(ms(100)).nap, t.for_adverts(ms(100)).pulse), (t.nap, t.pulse));
    for advert in [30, 50, 90, 500, 1_000, 40_950].map(ms) {
        let patient = Timers { ack_timeout: t.ack_timeout.max(advert + ms(500)), ..t };
        assert_eq!(patient.for_adverts(advert).check(Some(advert)), Ok(()), "{advert:?}");
    }
    let refused = |t: Timers, advert| t.check(advert).unwrap_err().setting;
    // A standby that hears adverts alone would learn too late that its primary went on alone.
    assert_eq!(refused(t.for_adverts(ms(600)), Some(ms(600))), "ack_timeout_ms");
    assert_eq!(refused(t, Some(ms(50))), "nap_ms", "made for slower adverts");
    assert_eq!(refused(t.for_adverts(ms(20)), Some(ms(20))), "nap_ms", "too short to live with");
    assert_eq!(refused(Timers { ack_timeout: ms(600), ..t }, None), "ack_timeout_ms");
    assert_eq!(refused(Timers { echo: t.stale_after, ..t }, None), "stale_after_ms");
    assert_eq!(refused(Timers { lease: ms(91), ..t }, None), "lease_ms");
    assert_eq!(refused(Timers { pulse: t.nap, ..t }, None), "nap_ms");
}
