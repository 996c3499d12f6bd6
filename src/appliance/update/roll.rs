//! How a pair updates itself without a missed mail: what is known of both in, the next step out. Pure.
//!
//! ```text
//! ship ─► the standby: write, restart, trial good, PAIR again ─► handover ─► the other: the same
//! ```
//!
//! The step follows from what both appliances say of themselves, so that it does not matter who took the
//! order, which of them is primary, or what was cut off. Invariants: a restart is ordered only of a
//! standby, in PAIR, while the other is not on trial; an image that failed on one is not tried on the
//! other; the second one is not touched before the first has served with it; one that does not serve gives
//! the role back; each wait has a bound, after which the roll is stopped with a sentence. Deliberately absent:
//! undoing what was done on the first when the second fails: both versions work together.

use super::driver::Status;
use super::order::{Act, Order, Outcome, Published};
use super::record::{Condition, Place};
use super::rules::Standing;
use crate::appliance::report::Slot;
use crate::appliance::slot::digest::Digest;
use crate::ops::status::{RollState, RollStep};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use understudy_proto::time::UnixMs;

/// Form of a kept roll; one of another form is not gone on with.
pub const FORM: u32 = 1;
const MINUTE: Duration = Duration::from_secs(60);
/// How long an order may lie there before it counts as lost.
pub const PICKUP_MAX: Duration = MINUTE.saturating_mul(2);
/// How long an image may take to be written and compared.
pub const INSTALL_MAX: Duration = MINUTE.saturating_mul(60);
/// How long the file may take to the peer.
pub const SHIP_MAX: Duration = MINUTE.saturating_mul(120);
/// How long an appliance that was told to restart may go on.
pub const RESTART_MAX: Duration = MINUTE.saturating_mul(10);
/// How long a trial may take: two tries, each with a full copy (`trial::Policy`).
pub const TRIAL_MAX: Duration = MINUTE.saturating_mul(14 * 60);
/// How long the two may be no pair while nothing is on trial.
pub const PAIR_MAX: Duration = MINUTE.saturating_mul(60);
/// How long the peer may say nothing: a start that hangs, twice, and the way back.
pub const SILENT_MAX: Duration = MINUTE.saturating_mul(60);
/// Pause between two attempts at a handover.
pub const HANDOVER_PAUSE: Duration = Duration::from_secs(30);
/// Attempts at a handover.
pub const HANDOVERS_MAX: u32 = 6;
/// Looks in a row at which the new version must answer as primary before the other appliance is touched: a
/// minute, at one each second.
pub const SERVED_LOOKS: u32 = 60;
/// Looks at which it may fail to, in all, before the role goes back.
pub const MUTE_LOOKS: u32 = 180;
/// Orders of one kind to one appliance.
pub const ORDERS_MAX: u32 = 3;

/// One of the two appliances.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Node {
    /// This one, which took the order and drives.
    Here,
    /// The other.
    Peer,
}

impl Node {
    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Here => Self::Peer,
            Self::Peer => Self::Here,
        }
    }
}

/// How far the new image is on an appliance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// It is not there, or not whole.
    Absent,
    /// It is there; the next start tries it.
    Ready,
    /// It runs, on trial.
    Trial,
    /// It runs and is kept.
    Good,
    /// It was tried and failed.
    Bad,
}

/// What is known of an appliance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeFacts {
    /// The id of its boot.
    pub boot: String,
    /// How far the image is.
    pub target: Target,
    /// Why this image failed there some day; `None` when it never did.
    pub failed: Option<String>,
    /// What became of its last order.
    pub order: Option<Outcome>,
    /// The order that it obeys now.
    pub working: Option<String>,
}

/// What is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Of this appliance; `None` while it is not known.
    pub here: Option<NodeFacts>,
    /// Of the peer; `None` while it says nothing.
    pub peer: Option<NodeFacts>,
    /// Whether the file is there whole.
    pub shipped: bool,
    /// Whether everything acknowledged is on both.
    pub pair: bool,
    /// Who is primary, where that is known.
    pub primary: Option<Node>,
    /// Whether the primary answers at its floating addresses, as it says itself; `None` where it says
    /// nothing of that, as a release from before this does.
    pub serving: Option<bool>,
    /// Why the last handover did not come about.
    pub handover: Option<String>,
}

/// What is to be done now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing: wait.
    Wait,
    /// Send the file to the peer, or go on with it.
    Ship,
    /// Give this order.
    Give(Node, Order),
    /// Have this one, the primary, hand over.
    HandOver(Node),
}

/// Why a roll goes no further.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Why {
    /// The image was tried on this one and was not healthy.
    Failed(Node),
    /// The image failed on this one before.
    FailedBefore(Node, String),
    /// This one does not take the order.
    Refused(Node, String),
    /// Nothing took the order off.
    NotTaken(Node),
    /// It was told to restart and did not.
    NoRestart(Node),
    /// The image was ready and is not any more.
    CalledOff(Node),
    /// It takes too long there.
    Slow(Node),
    /// The file does not get to the peer.
    NotShipped,
    /// This appliance does not know its own slots.
    Unknown,
    /// The peer says nothing of updates.
    Silent,
    /// The two do not become a pair.
    NoPair,
    /// This one runs the image and did not answer as primary.
    NotServing(Node),
    /// The handover does not come about.
    NoHandover(String),
    /// An operator went back.
    ByOperator,
}

impl Why {
    /// What happened, and what to do.
    #[must_use]
    pub fn words(&self) -> (String, &'static str) {
        const ELSE: &str = "Nothing else was touched. See docs/runbook/update-roll.md.";
        const MEND: &str = "Mend that, then give the same update again.";
        let who = |node: &Node| match node {
            Node::Here => "this appliance",
            Node::Peer => "the peer",
        };
        match self {
            Self::Failed(n) => {
                let who = who(n);
                (format!("{who} tried the image, was not healthy and went back by itself"), ELSE)
            }
            Self::FailedBefore(n, why) => (
                format!("the image failed on {} before: {why}", who(n)),
                "Take the next version. If the cause lay elsewhere: --again",
            ),
            Self::Refused(n, why) => (format!("{} refuses: {why}", who(n)), ELSE),
            Self::NotTaken(n) => (
                format!("nothing on {} takes the order off", who(n)),
                "See there: journalctl -u understudy-update; then give the update again.",
            ),
            Self::NoRestart(n) => (format!("{} was told to restart and did not", who(n)), MEND),
            Self::CalledOff(n) => (format!("the image was called off on {}", who(n)), ELSE),
            Self::Slow(n) => (format!("it takes too long on {}", who(n)), ELSE),
            Self::NotShipped => ("the file does not get to the peer".to_owned(), MEND),
            Self::Unknown => (
                "this appliance does not know how its own slots stand".to_owned(),
                "See journalctl -u understudy-settle, and docs/runbook/slot-dead.md.",
            ),
            Self::Silent => (
                "the peer says nothing of updates: it is away, or of a release that cannot"
                    .to_owned(),
                "Bring it back; one of an older release is updated by itself first: --only-here",
            ),
            Self::NoPair => ("the two appliances do not become a pair".to_owned(), MEND),
            Self::NotServing(n) => (
                format!(
                    "{} runs the image and did not answer mail as primary; the role goes back",
                    who(n)
                ),
                "Go back there, too: understudy update rollback. See docs/runbook/update-roll.md.",
            ),
            Self::NoHandover(why) => (format!("the handover does not come about: {why}"), MEND),
            Self::ByOperator => ("an operator went back".to_owned(), ELSE),
        }
    }
}

/// An order that was given and of which nothing is known yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Pending {
    order: Order,
    /// The boot in which it was given.
    boot: String,
    /// For how long nobody works on it.
    waited: Duration,
}

/// How far it is with one of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Course {
    /// It had the image ready, or ran it, since the roll began.
    installed: bool,
    pending: Option<Pending>,
    installs: u32,
    restarts: u32,
}

/// How it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It goes on.
    UnderWay,
    /// It is through.
    Done,
    /// It goes no further.
    Stopped(Why),
}

/// What is to be rolled out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// Names the roll, and the orders that it gives.
    pub id: String,
    /// The version, for people.
    pub version: String,
    /// The image.
    pub image: Digest,
    /// Length of its file, in bytes.
    pub len: u64,
    /// BLAKE3 of its file.
    pub file: Digest,
    /// Length of the image, in bytes.
    pub slot_len: u64,
    /// Even when it is older than what runs.
    pub downgrade: bool,
    /// Even when it failed before.
    pub again: bool,
    /// Only here; then, whether to restart.
    pub only_here: Option<bool>,
    /// The user who asked.
    pub uid: u32,
    /// When, by this machine's clock.
    pub began: UnixMs,
}

/// A roll. Kept whole, so that it goes on after a restart of whoever drives it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Roll {
    form: u32,
    /// What is rolled out.
    pub task: Task,
    /// How it stands.
    pub state: State,
    /// What it is at.
    pub step: RollStep,
    here: Course,
    peer: Course,
    handovers: u32,
    /// Looks in a row at which the new version served.
    #[serde(default)]
    served: u32,
    /// Looks at which it did not.
    #[serde(default)]
    mute: u32,
    /// It does not serve: the role goes back.
    #[serde(default)]
    back: bool,
    given: u32,
    /// For how long it is at this step, as far as this process and the one before have seen.
    waited: Duration,
    /// For how long the peer has said nothing.
    silent: Duration,
    /// Since the last attempt at a handover.
    handed: Option<Duration>,
}

impl Roll {
    /// A roll that begins.
    #[must_use]
    pub fn new(task: Task) -> Self {
        Self {
            form: FORM,
            task,
            state: State::UnderWay,
            step: RollStep::Waiting,
            here: Course::default(),
            peer: Course::default(),
            handovers: 0,
            served: 0,
            mute: 0,
            back: false,
            given: 0,
            waited: Duration::ZERO,
            silent: Duration::ZERO,
            handed: None,
        }
    }

    /// Reads what [`Self::write`] gave; `None` when it is something else.
    #[must_use]
    pub fn read(text: &[u8]) -> Option<Self> {
        serde_json::from_slice(text).ok().filter(|roll: &Self| roll.form == FORM)
    }

    /// The text to keep.
    #[must_use]
    pub fn write(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(self).unwrap_or_default()
    }

    /// Whether it goes on.
    #[must_use]
    pub fn is_under_way(&self) -> bool {
        self.state == State::UnderWay
    }

    /// Whether this differs from `before` in more than how long it has waited.
    #[must_use]
    pub fn differs(&self, before: &Self) -> bool {
        fn plain(roll: &Roll) -> Roll {
            let mut roll = roll.clone();
            (roll.waited, roll.silent) = (Duration::ZERO, Duration::ZERO);
            (roll.served, roll.mute) = (0, 0);
            roll.handed = roll.handed.map(|_| Duration::ZERO);
            for course in [&mut roll.here, &mut roll.peer] {
                if let Some(pending) = &mut course.pending {
                    pending.waited = Duration::ZERO;
                }
            }
            roll
        }
        plain(self) != plain(before)
    }

    /// For reports.
    #[must_use]
    pub fn reported(&self) -> RollState {
        match self.state {
            State::UnderWay => RollState::UnderWay,
            State::Done => RollState::Done,
            State::Stopped(_) => RollState::Stopped,
        }
    }

    /// Ends it.
    pub fn stop(&mut self, why: Why) {
        if self.is_under_way() {
            self.state = State::Stopped(why);
        }
    }

    /// What to do now that `elapsed` has passed since it was last asked. What it becomes is to be kept
    /// before the step is done.
    pub fn next(&mut self, facts: &Facts, elapsed: Duration) -> Step {
        if !self.is_under_way() {
            return Step::Wait;
        }
        self.waited = self.waited.saturating_add(elapsed);
        self.handed = self.handed.map(|since| since.saturating_add(elapsed));
        let heard = facts.peer.is_some() || self.task.only_here.is_some();
        self.silent = if heard { Duration::ZERO } else { self.silent.saturating_add(elapsed) };
        match self.decide(facts, elapsed) {
            Ok(step) => step,
            Err(why) => {
                self.stop(why);
                Step::Wait
            }
        }
    }

    fn decide(&mut self, facts: &Facts, elapsed: Duration) -> Result<Step, Why> {
        let Some(here) = &facts.here else {
            self.within(PAIR_MAX, Why::Unknown)?;
            return Ok(Step::Wait);
        };
        if let Some(restart) = self.task.only_here {
            return self.alone(here, restart, elapsed);
        }
        let Some(peer) = &facts.peer else {
            return if self.silent > SILENT_MAX { Err(Why::Silent) } else { Ok(Step::Wait) };
        };
        let both = [(Node::Here, here), (Node::Peer, peer)];
        for (node, known) in both {
            self.note(node, known)?;
        }
        let mut busy = false;
        for (node, known) in both {
            busy |= self.look_after(node, known, elapsed)?;
        }
        if busy {
            return Ok(Step::Wait);
        }
        // Who is on trial is waited for, before anything else is touched.
        for (node, known) in both {
            if known.target == Target::Trial {
                return self.wait_at(trying(node), TRIAL_MAX, Why::Slow(node));
            }
        }
        let lacks = |node| match node {
            Node::Here => here.target != Target::Good,
            Node::Peer => peer.target != Target::Good,
        };
        if !lacks(Node::Here) && !lacks(Node::Peer) {
            if facts.pair {
                self.state = State::Done;
                return Ok(Step::Wait);
            }
            return self.wait_at(RollStep::Waiting, PAIR_MAX, Why::NoPair);
        }
        let (Some(primary), true) = (facts.primary, facts.pair) else {
            return self.wait_at(RollStep::Waiting, PAIR_MAX, Why::NoPair);
        };
        if lacks(Node::Peer) && !facts.shipped && peer.target == Target::Absent {
            self.enter(RollStep::Shipping);
            self.within(SHIP_MAX, Why::NotShipped)?;
            return Ok(Step::Ship);
        }
        let standby = primary.other();
        if self.back {
            return self.give_back(primary, lacks(primary), facts);
        }
        if lacks(standby) && !lacks(primary) && !self.has_served(facts.serving) {
            self.enter(RollStep::Handover);
            if self.mute > MUTE_LOOKS {
                (self.back, self.handovers, self.handed) = (true, 0, None);
            }
            return Ok(Step::Wait);
        }
        if lacks(standby) {
            let known = if standby == Node::Here { here } else { peer };
            return self.advance(standby, known);
        }
        self.hand_over(primary, facts)
    }

    /// The roll of one appliance.
    fn alone(&mut self, here: &NodeFacts, restart: bool, elapsed: Duration) -> Result<Step, Why> {
        self.note(Node::Here, here)?;
        if self.look_after(Node::Here, here, elapsed)? {
            return Ok(Step::Wait);
        }
        match here.target {
            Target::Trial => self.wait_at(RollStep::TryingHere, TRIAL_MAX, Why::Slow(Node::Here)),
            Target::Good => {
                self.state = State::Done;
                Ok(Step::Wait)
            }
            Target::Ready if !restart => {
                self.state = State::Done;
                Ok(Step::Wait)
            }
            _ => self.advance(Node::Here, here),
        }
    }

    /// Takes in how far the image is there.
    fn note(&mut self, node: Node, known: &NodeFacts) -> Result<(), Why> {
        let again = self.task.again;
        let course = self.course(node);
        match known.target {
            Target::Ready | Target::Trial | Target::Good => course.installed = true,
            Target::Bad if course.installed => return Err(Why::Failed(node)),
            Target::Absent | Target::Bad => {}
        }
        let runs = matches!(known.target, Target::Trial | Target::Good);
        match &known.failed {
            Some(why) if !again && !runs => Err(Why::FailedBefore(node, why.clone())),
            _ => Ok(()),
        }
    }

    /// Whether an order that was given is still to be waited for.
    fn look_after(
        &mut self,
        node: Node,
        known: &NodeFacts,
        elapsed: Duration,
    ) -> Result<bool, Why> {
        let course = self.course(node);
        let Some(pending) = &mut course.pending else { return Ok(false) };
        let restart = pending.order.act == Act::Restart;
        if known.boot != pending.boot {
            // It has restarted, or was cut off: what is there now counts.
            course.pending = None;
            return Ok(false);
        }
        if let Some(outcome) = known.order.as_ref().filter(|o| o.id == pending.order.id) {
            if let Some(failed) = &outcome.failed {
                return Err(Why::Refused(node, failed.to_string()));
            }
            if !restart {
                course.pending = None;
                return Ok(false);
            }
        } else if known.working.as_ref() == Some(&pending.order.id) {
            pending.waited = Duration::ZERO;
        } else {
            pending.waited = pending.waited.saturating_add(elapsed);
            if pending.waited > PICKUP_MAX {
                course.pending = None;
                return Ok(false);
            }
        }
        if restart {
            self.enter(restarting(node));
            self.within(RESTART_MAX, Why::NoRestart(node))?;
        } else {
            self.enter(installing(node));
            self.within(INSTALL_MAX, Why::Slow(node))?;
        }
        Ok(true)
    }

    /// The next order to one that does not have the image yet, or has it ready.
    fn advance(&mut self, node: Node, known: &NodeFacts) -> Result<Step, Why> {
        let (downgrade, again) = (self.task.downgrade, self.task.again);
        let course = self.course(node);
        let (act, count, step) = match known.target {
            Target::Ready => (Act::Restart, &mut course.restarts, restarting(node)),
            _ if course.installed => return Err(Why::CalledOff(node)),
            _ => (Act::Install { downgrade, again }, &mut course.installs, installing(node)),
        };
        *count += 1;
        if *count > ORDERS_MAX {
            return Err(Why::NotTaken(node));
        }
        self.given += 1;
        let order = Order { id: format!("{}-{}", self.task.id, self.given), act };
        let (boot, waited) = (known.boot.clone(), Duration::ZERO);
        self.course(node).pending = Some(Pending { order: order.clone(), boot, waited });
        self.enter(step);
        Ok(Step::Give(node, order))
    }

    /// Whether the new version has answered as primary for long enough.
    fn has_served(&mut self, serving: Option<bool>) -> bool {
        if self.served < SERVED_LOOKS {
            if serving == Some(false) {
                (self.served, self.mute) = (0, self.mute + 1);
            } else {
                self.served += 1;
            }
        }
        self.served >= SERVED_LOOKS
    }

    /// The new version does not serve: the one that does gets the role back, and the roll ends.
    fn give_back(&mut self, primary: Node, is_old: bool, facts: &Facts) -> Result<Step, Why> {
        if is_old {
            return Err(Why::NotServing(primary.other()));
        }
        match self.hand_over(primary, facts) {
            Err(Why::NoHandover(_)) => Err(Why::NotServing(primary)),
            next => next,
        }
    }

    fn hand_over(&mut self, primary: Node, facts: &Facts) -> Result<Step, Why> {
        self.enter(RollStep::Handover);
        if self.handed.is_some_and(|since| since < HANDOVER_PAUSE) {
            return Ok(Step::Wait);
        }
        if self.handovers >= HANDOVERS_MAX {
            let why = facts.handover.clone().unwrap_or_else(|| "no answer".to_owned());
            return Err(Why::NoHandover(why));
        }
        self.handovers += 1;
        (self.served, self.mute) = (0, 0);
        self.handed = Some(Duration::ZERO);
        Ok(Step::HandOver(primary))
    }

    fn course(&mut self, node: Node) -> &mut Course {
        match node {
            Node::Here => &mut self.here,
            Node::Peer => &mut self.peer,
        }
    }

    fn enter(&mut self, step: RollStep) {
        if self.step != step {
            (self.step, self.waited) = (step, Duration::ZERO);
        }
    }

    fn within(&self, bound: Duration, why: Why) -> Result<(), Why> {
        if self.waited > bound { Err(why) } else { Ok(()) }
    }

    fn wait_at(&mut self, step: RollStep, bound: Duration, why: Why) -> Result<Step, Why> {
        self.enter(step);
        self.within(bound, why)?;
        Ok(Step::Wait)
    }
}

const fn trying(node: Node) -> RollStep {
    match node {
        Node::Here => RollStep::TryingHere,
        Node::Peer => RollStep::TryingThere,
    }
}

const fn installing(node: Node) -> RollStep {
    match node {
        Node::Here => RollStep::InstallingHere,
        Node::Peer => RollStep::InstallingThere,
    }
}

const fn restarting(node: Node) -> RollStep {
    match node {
        Node::Here => RollStep::RestartingHere,
        Node::Peer => RollStep::RestartingThere,
    }
}

/// What an appliance's own words mean for the image called `image`.
#[must_use]
pub fn facts_of(published: &Published, image: Digest) -> NodeFacts {
    let status = &published.status;
    let failed = status.failed.iter().find(|f| f.blake3 == image);
    NodeFacts {
        boot: published.boot.clone(),
        target: target(status, image),
        failed: failed.map(|f| f.why.clone()),
        order: published.order.clone(),
        working: published.working.as_ref().map(|w| w.id.clone()),
    }
}

fn target(status: &Status, image: Digest) -> Target {
    let place = |slot: Slot| match slot {
        Slot::A => status.a.as_ref(),
        Slot::B => status.b.as_ref(),
    };
    let is = |place: Option<&Place>| place.is_some_and(|p| p.image.blake3 == Some(image));
    let (Standing::Settled(runs) | Standing::Trial(runs) | Standing::Fallback(runs)) =
        status.standing
    else {
        return Target::Absent;
    };
    if is(place(runs)) {
        return if matches!(status.standing, Standing::Trial(_)) {
            Target::Trial
        } else {
            Target::Good
        };
    }
    let idle = runs.other();
    match place(idle).filter(|_| is(place(idle))).map(|place| place.condition) {
        Some(Condition::Bad) => Target::Bad,
        Some(Condition::Ready) if status.to_try == Some(idle) => Target::Ready,
        _ => Target::Absent,
    }
}

#[cfg(test)]
#[path = "roll_tests.rs"]
mod tests;
