//! Two appliances whose updates fail, whose power and link are cut, and whose driver forgets what it was
//! about to do: many histories from seeds, each of which ends as it must.

use super::*;

const TICK: Duration = Duration::from_secs(5);
/// Ticks that a start takes.
const BOOT: u32 = 12;
/// Ticks that a trial must be a pair, and how long it may take.
const HEALTHY: u32 = 12;
const WITHIN: u32 = 120;
/// A roll that has not ended after so many ticks hangs: more than all bounds after each other.
const TICKS_MAX: u32 = 40_000;

struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }
    fn one_in(&mut self, sides: u64) -> bool {
        self.roll(sides) == 0
    }
}

struct Machine {
    /// Ticks until it is up.
    down: u32,
    up_for: u32,
    boot: u32,
    target: Target,
    tries: u32,
    trial_for: u32,
    healthy_for: u32,
    /// The image is not healthy here.
    sick: bool,
    failed: Option<String>,
    left: Option<Order>,
    obeys: Option<(Order, u32)>,
    outcome: Option<Outcome>,
    refuses: bool,
    tried: u32,
}

impl Machine {
    fn new() -> Self {
        Self {
            down: 0,
            up_for: 100,
            boot: 1,
            target: Target::Absent,
            tries: 0,
            trial_for: 0,
            healthy_for: 0,
            sick: false,
            failed: None,
            left: None,
            obeys: None,
            outcome: None,
            refuses: false,
            tried: 0,
        }
    }

    /// The power goes, or it restarts: what lay in memory is gone, and the loader chooses.
    fn restart(&mut self) {
        (self.down, self.up_for) = (BOOT, 0);
        self.boot += 1;
        (self.left, self.obeys, self.outcome) = (None, None, None);
        (self.trial_for, self.healthy_for) = (0, 0);
        match self.target {
            Target::Ready | Target::Trial if self.tries > 0 => {
                self.tries -= 1;
                self.tried += 1;
                self.target = Target::Trial;
            }
            Target::Ready | Target::Trial => {
                self.target = Target::Bad;
                self.failed = Some("not healthy".into());
            }
            _ => {}
        }
    }

    fn tick(&mut self, paired: bool) {
        if self.down > 0 {
            self.down -= 1;
            return;
        }
        self.up_for += 1;
        if self.obeys.is_none()
            && let Some(order) = self.left.take()
        {
            self.obeys = Some((order, 10));
        }
        if let Some((order, left)) = &mut self.obeys {
            *left -= 1;
            if *left == 0 {
                let order = order.clone();
                self.obeys = None;
                self.obey(&order);
            }
        }
        if self.target == Target::Trial && self.down == 0 {
            self.trial_for += 1;
            self.healthy_for = if paired && !self.sick { self.healthy_for + 1 } else { 0 };
            if self.healthy_for >= HEALTHY {
                self.target = Target::Good;
            } else if self.trial_for > WITHIN {
                self.restart();
            }
        }
    }

    fn obey(&mut self, order: &Order) {
        let failed = self.refuses.then(|| Failure::new("no", "none"));
        self.outcome = Some(Outcome { id: order.id.clone(), failed });
        match order.act {
            _ if self.refuses => {}
            Act::Install { .. } => (self.target, self.tries) = (Target::Ready, 2),
            Act::Restart => self.restart(),
            Act::Rollback { .. } => unreachable!(),
        }
    }

    fn facts(&self) -> Option<NodeFacts> {
        (self.down == 0).then(|| NodeFacts {
            boot: self.boot.to_string(),
            target: self.target.clone(),
            failed: self.failed.clone(),
            order: self.outcome.clone(),
            working: self.obeys.as_ref().map(|(order, _)| order.id.clone()),
        })
    }
}

use crate::ops::request::Failure;

/// What may go wrong in a history.
#[derive(Clone, Copy, Debug, Default)]
struct Faults {
    power: bool,
    link: bool,
    crash: bool,
    lost: bool,
    sick: [bool; 2],
    /// The image is healthy there as standby, and does not answer as primary.
    deaf: [bool; 2],
    refuses: Option<usize>,
    handover: bool,
}

struct World {
    nodes: [Machine; 2],
    primary: usize,
    /// Ticks that the link is down.
    cut: u32,
    shipped: u32,
    handover: Option<String>,
    dice: Dice,
    faults: Faults,
}

impl World {
    fn paired(&self) -> bool {
        self.cut == 0 && self.nodes.iter().all(|n| n.down == 0 && n.up_for > 3)
    }

    fn tick(&mut self) {
        self.cut = self.cut.saturating_sub(1);
        if self.faults.link && self.dice.one_in(400) {
            self.cut = u32::try_from(self.dice.roll(60)).unwrap();
        }
        for i in 0..2 {
            if self.faults.power && self.dice.one_in(900) && self.nodes[i].down == 0 {
                self.nodes[i].restart();
            }
        }
        let paired = self.paired();
        for node in &mut self.nodes {
            node.tick(paired);
        }
        // The other takes over at once.
        if self.nodes[self.primary].down > 0 && self.nodes[1 - self.primary].down == 0 {
            self.primary = 1 - self.primary;
        }
    }

    fn facts(&self) -> Facts {
        let heard = self.cut == 0;
        Facts {
            here: self.nodes[0].facts(),
            peer: self.nodes[1].facts().filter(|_| heard),
            shipped: self.shipped >= 20,
            pair: self.paired(),
            primary: Some(if self.primary == 0 { Node::Here } else { Node::Peer }),
            serving: Some(!self.is_mute(self.primary)),
            handover: self.handover.clone(),
        }
    }

    fn is_mute(&self, node: usize) -> bool {
        self.faults.deaf[node] && self.nodes[node].target == Target::Good
    }

    fn perform(&mut self, step: Step) {
        match step {
            Step::Wait => {}
            Step::Ship => self.shipped += 1,
            Step::HandOver(node) => {
                let from = usize::from(node == Node::Peer);
                assert_eq!(from, self.primary, "only the primary hands over");
                assert!(self.paired());
                if !self.is_mute(from) {
                    let to = &self.nodes[1 - from].target;
                    assert_eq!(*to, Target::Good, "to one that is verified");
                }
                if self.faults.handover {
                    self.handover = Some("the other one is unfit".into());
                } else {
                    self.primary = 1 - from;
                }
            }
            Step::Give(node, order) => {
                let to = usize::from(node == Node::Peer);
                let other = &self.nodes[1 - to];
                assert!(!self.is_mute(1 - to), "the other one must be seen to serve");
                assert_ne!(
                    other.target,
                    Target::Bad,
                    "what failed on one is not tried on the other"
                );
                assert!(order.act != Act::Install { downgrade: false, again: true });
                if order.act == Act::Restart {
                    assert!(self.paired(), "only in PAIR");
                    assert_ne!(to, self.primary, "only a standby");
                    assert_ne!(other.target, Target::Trial, "only while the other is verified");
                }
                if self.faults.lost && self.dice.one_in(3) {
                    return;
                }
                self.nodes[to].left = Some(order);
            }
        }
    }
}

fn task() -> Task {
    Task {
        id: "r".into(),
        version: "2.0.0".into(),
        image: Digest([7; 32]),
        len: 5,
        file: Digest([8; 32]),
        slot_len: 9,
        downgrade: false,
        again: false,
        only_here: None,
        uid: 0,
        began: UnixMs(0),
    }
}

/// One history; how it ended, the world then, and after how many ticks.
fn history(seed: u64, primary: usize, faults: Faults) -> (Roll, World, u32) {
    let mut nodes = [Machine::new(), Machine::new()];
    for (node, sick) in nodes.iter_mut().zip(faults.sick) {
        node.sick = sick;
    }
    if let Some(who) = faults.refuses {
        nodes[who].refuses = true;
    }
    let (dice, handover) = (Dice(seed), None);
    let mut world = World { nodes, primary, cut: 0, shipped: 0, handover, dice, faults };
    // What lies on the disk of the node that drives.
    let mut kept = Roll::new(task()).write();
    for ticks in 0..TICKS_MAX {
        world.tick();
        if world.nodes[0].down > 0 {
            continue;
        }
        let before = Roll::read(&kept).unwrap();
        let mut roll = before.clone();
        let step = roll.next(&world.facts(), TICK);
        kept = roll.write();
        if !roll.is_under_way() {
            assert_eq!(step, Step::Wait);
            return (roll, world, ticks);
        }
        // The process ends after it has kept what it is about to do, and before it does it.
        if faults.crash && world.dice.one_in(50) {
            continue;
        }
        world.perform(step);
    }
    panic!("seed {seed}: it hangs: {:?}", Roll::read(&kept));
}

#[test]
fn without_faults_both_run_it_and_the_first_primary_goes_last() {
    for primary in [0, 1] {
        let (roll, world, ticks) = history(1, primary, Faults::default());
        assert_eq!(roll.state, State::Done);
        assert!(world.nodes.iter().all(|n| n.target == Target::Good && n.tried == 1));
        assert_eq!(world.primary, 1 - primary, "it moved once");
        assert!(ticks < 500, "{ticks}");
    }
}

#[test]
fn an_image_that_fails_first_touches_nothing_else() {
    for primary in [0, 1] {
        let mut sick = [false; 2];
        sick[1 - primary] = true;
        let (roll, world, _) = history(1, primary, Faults { sick, ..Faults::default() });
        let node = if primary == 0 { Node::Peer } else { Node::Here };
        assert_eq!(roll.state, State::Stopped(Why::Failed(node)));
        assert_eq!(world.nodes[primary].tried, 0);
        assert_eq!(world.nodes[primary].boot, 1);
        assert_eq!(world.primary, primary);
    }
}

#[test]
fn one_that_fails_second_leaves_the_first_serving() {
    for primary in [0, 1] {
        let mut sick = [false; 2];
        sick[primary] = true;
        let (roll, world, _) = history(1, primary, Faults { sick, ..Faults::default() });
        let node = if primary == 0 { Node::Here } else { Node::Peer };
        assert_eq!(roll.state, State::Stopped(Why::Failed(node)));
        assert_eq!(world.nodes[1 - primary].target, Target::Good);
        assert_eq!(world.primary, 1 - primary);
    }
}

#[test]
fn one_that_does_not_serve_gives_the_role_back() {
    for primary in [0, 1] {
        let mut deaf = [false; 2];
        deaf[1 - primary] = true;
        let (roll, world, _) = history(1, primary, Faults { deaf, ..Faults::default() });
        let node = if primary == 0 { Node::Peer } else { Node::Here };
        assert_eq!(roll.state, State::Stopped(Why::NotServing(node)));
        assert_eq!(world.primary, primary, "who serves is primary again");
        let served = &world.nodes[primary];
        assert_eq!((served.boot, &served.target), (1, &Target::Absent), "and was not touched");
    }
}

#[test]
fn a_moment_of_silence_is_no_reason_to_go_back() {
    let mut roll = Roll::new(task());
    let mut world_of = Machine::new();
    world_of.target = Target::Good;
    let (here, peer) = (Machine::new().facts(), world_of.facts());
    let mut looks = 0;
    loop {
        let facts = Facts {
            here: here.clone(),
            peer: peer.clone(),
            shipped: true,
            pair: true,
            primary: Some(Node::Peer),
            serving: Some(looks != 3),
            handover: None,
        };
        looks += 1;
        match roll.next(&facts, TICK) {
            Step::Wait => assert!(roll.is_under_way() && looks < 2 * SERVED_LOOKS),
            step => {
                assert!(matches!(step, Step::Give(Node::Here, _)), "{step:?}");
                break;
            }
        }
    }
    assert_eq!(looks, 4 + SERVED_LOOKS, "the row begins anew after a silence");
}

#[test]
fn refusals_stop_it_with_their_words() {
    let refuses = |who| Faults { refuses: Some(who), ..Faults::default() };
    let (roll, world, _) = history(1, 0, refuses(1));
    assert!(matches!(roll.state, State::Stopped(Why::Refused(Node::Peer, _))));
    assert_eq!(world.nodes[1].boot, 1);
    let (roll, ..) = history(1, 0, refuses(0));
    assert!(matches!(roll.state, State::Stopped(Why::Refused(Node::Here, _))));
    let handover = Faults { handover: true, ..Faults::default() };
    let (roll, world, _) = history(1, 0, handover);
    let why = "the other one is unfit".to_owned();
    assert_eq!(roll.state, State::Stopped(Why::NoHandover(why)));
    assert_eq!(world.nodes[0].boot, 1, "the primary was not touched");
}

#[test]
fn whatever_happens_it_ends_and_what_it_says_is_so() {
    let mut done = 0;
    for seed in 0..150_u64 {
        let mut dice = Dice(seed.wrapping_mul(77));
        let faults = Faults {
            power: dice.one_in(2),
            link: dice.one_in(2),
            crash: dice.one_in(2),
            lost: dice.one_in(2),
            sick: [dice.one_in(8), dice.one_in(8)],
            deaf: [dice.one_in(8), dice.one_in(8)],
            refuses: None,
            handover: dice.one_in(10),
        };
        let primary = usize::from(dice.one_in(2));
        let (roll, world, _) = history(seed, primary, faults);
        let good = world.nodes.iter().all(|n| n.target == Target::Good);
        match roll.state {
            State::Done => {
                assert!(good && world.paired(), "seed {seed}");
                done += 1;
            }
            State::Stopped(why) => assert!(!why.words().0.is_empty()),
            State::UnderWay => unreachable!(),
        }
    }
    assert!(done > 60, "most get through: {done}");
}

#[test]
fn a_peer_that_never_answers_is_not_waited_for_for_ever() {
    let mut roll = Roll::new(task());
    let facts = Facts {
        here: Machine::new().facts(),
        peer: None,
        shipped: false,
        pair: true,
        primary: Some(Node::Here),
        serving: None,
        handover: None,
    };
    for _ in 0..SILENT_MAX.as_secs() / 5 {
        assert_eq!(roll.next(&facts, TICK), Step::Wait);
        assert!(roll.is_under_way());
        roll = Roll::read(&roll.write()).unwrap();
    }
    roll.next(&facts, TICK);
    assert_eq!(roll.state, State::Stopped(Why::Silent));
}

#[test]
fn one_alone_restarts_only_when_asked() {
    for restart in [false, true] {
        let mut roll = Roll::new(Task { only_here: Some(restart), ..task() });
        let mut node = Machine::new();
        let mut restarts = 0;
        while roll.is_under_way() {
            node.tick(true);
            let here = node.facts();
            let (pair, primary, serving, handover) = (false, None, None, None);
            let facts =
                Facts { here, peer: None, shipped: false, pair, primary, serving, handover };
            match roll.next(&facts, TICK) {
                Step::Give(Node::Here, order) => {
                    restarts += u32::from(order.act == Act::Restart);
                    node.left = Some(order);
                }
                Step::Wait => {}
                other => panic!("{other:?}"),
            }
        }
        assert_eq!((roll.state, restarts), (State::Done, u32::from(restart)));
        assert_eq!(node.target, if restart { Target::Good } else { Target::Ready });
    }
}

#[test]
fn what_failed_before_is_not_taken_unless_asked() {
    for again in [false, true] {
        let mut roll = Roll::new(Task { again, ..task() });
        let mut world = World {
            nodes: [Machine::new(), Machine::new()],
            primary: 0,
            cut: 0,
            shipped: 99,
            handover: None,
            dice: Dice(1),
            faults: Faults::default(),
        };
        world.nodes[0].failed = Some("not healthy".into());
        world.nodes[0].target = Target::Bad;
        let step = roll.next(&world.facts(), TICK);
        if again {
            let act = Act::Install { downgrade: false, again: true };
            assert!(matches!(step, Step::Give(Node::Peer, order) if order.act == act));
        } else {
            let why = Why::FailedBefore(Node::Here, "not healthy".into());
            assert_eq!(roll.state, State::Stopped(why));
        }
    }
}
