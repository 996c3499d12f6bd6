//! Whose word lets a node act: its own durable register, or first the witness's (invariants 2 and 3).
//!
//! ```text
//!   decide ─► in force: none ────────────────────────────────► Persist ─► act
//!          └► in force: witness ─► Swap / Seed ─► Done ──────► Persist ─► act
//!                                    │   └► Refused: judged by what it holds: again, or never
//!                                    └► Lost: Read first, for it may have been done
//! ```
//!
//! Invariants: one question under way; nothing rests on a lost answer; a witness that knows less than
//! this node is believed nothing; the set that may be larger than believed (a swap to Both whose answer
//! was lost) counts as larger until the witness says otherwise. A late swap of an earlier decision
//! entitles this node to ask for another, never to act: a third may still be under way.

#[cfg(test)]
use super::Mutant;
use super::frame::Frame;
use super::machine::{After, Machine, Output, Phase};
use super::primary::{may_open, next_epoch};
use super::register::{Arbitration, Insync, Register};
use super::status::WitnessStatus;
use super::witness::{WitnessAnswer, WitnessAsk, WitnessRegister};
use crate::id::{Epoch, NodeId};
use crate::time::Mono;
use std::time::Duration;

/// Shortest pause after an answer that did not help.
const PAUSE_MIN: Duration = Duration::from_millis(50);
/// Longest.
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// The driver always answers; if it does not, the question counts as lost after this time.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// By what right a reign is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Right {
    /// This node is insync in the reign that holds: compare and swap.
    Insync,
    /// Both nodes agreed, the lone holder renews what it holds, or an operator answers for it.
    Agreed,
}

/// A decision that waits for the witness.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub(super) insync: Insync,
    pub(super) after: After,
    pub(super) right: Right,
    /// The epoch, where another named it.
    pub(super) epoch: Option<Epoch>,
    /// Who decides from then on.
    pub(super) arbitration: Arbitration,
}

/// A question under way.
#[derive(Clone, Copy, Debug)]
struct Asked {
    number: u64,
    ask: WitnessAsk,
    at: Mono,
}

/// How far the standby is on its way between two deciders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Limbo {
    No,
    Asked,
    Recorded,
}

/// What is asked of the witness and what it said.
#[derive(Clone, Debug)]
pub(super) struct Court {
    next: u64,
    asked: Option<Asked>,
    wanted: Option<Wanted>,
    /// What it was last known to hold, if it ever answered.
    held: Option<Option<WitnessRegister>>,
    /// The last answer; boot before the first.
    answered_at: Mono,
    /// Since the last question it has answered.
    reachable: bool,
    retry_at: Mono,
    pause: Duration,
    /// Ask what it holds before asking for more.
    read_first: bool,
    /// A swap to Both was asked for and may be done, or may still be done.
    open_both: bool,
    /// Whether the standby obeys neither, on this session.
    pub(super) limbo: Limbo,
}

impl Court {
    pub(super) fn new(now: Mono) -> Self {
        Self {
            next: 1,
            asked: None,
            wanted: None,
            held: None,
            answered_at: now,
            reachable: false,
            retry_at: now,
            pause: PAUSE_MIN,
            read_first: true,
            open_both: false,
            limbo: Limbo::No,
        }
    }

    /// Whether the witness may hold "both" without this node's register saying so.
    pub(super) fn may_hold_both(&self) -> bool {
        self.open_both || self.wanted.is_some_and(|w| w.insync == Insync::Both)
    }

    /// When the next question is due, or an answer overdue.
    pub(super) fn deadline(&self, now: Mono) -> Option<Mono> {
        match self.asked {
            Some(asked) => Some(asked.at.after(ANSWER_MAX)),
            None => Some(self.retry_at).filter(|at| *at > now),
        }
    }

    pub(super) fn wants(&self) -> Option<After> {
        self.wanted.map(|w| w.after)
    }

    /// The peer has opened `epoch`, and a swap of node `me` is under way that rests on an earlier one:
    /// only a witness that was rolled back does it. What to have seen, so that it is never believed.
    pub(super) fn outdated(&self, epoch: Epoch, me: NodeId) -> Option<Epoch> {
        match self.asked?.ask {
            WitnessAsk::Swap { expect: Some(expect), new } if expect < epoch => {
                (!may_open(me, epoch)).then(|| epoch.max(new.epoch.next()))
            }
            _ => None,
        }
    }

    fn rest(&mut self, now: Mono) {
        self.retry_at = now.after(self.pause);
        self.pause = self.pause.saturating_mul(2).min(PAUSE_MAX);
        self.read_first = true;
    }
}

fn as_held(register: &Register) -> WitnessRegister {
    WitnessRegister { epoch: register.epoch, holder: register.holder, insync: register.insync }
}

impl Machine {
    /// Whether the witness's word is needed.
    pub(super) fn is_arbitrated(&self) -> bool {
        self.register.arbitration == Arbitration::Witness
    }

    /// Whether a decision waits for the witness or the disk.
    pub(super) fn is_deciding(&self) -> bool {
        self.court.wanted.is_some() || self.is_persisting()
    }

    /// Whether this node has asked the witness to let it lead.
    pub(super) fn wants_to_lead(&self) -> bool {
        matches!(self.court.wants(), Some(After::LeadSolo { .. } | After::Reign))
    }

    /// Carries a decision out: recorded here at once, or once the witness has recorded it.
    pub(super) fn decide(&mut self, insync: Insync, after: After, right: Right) {
        let arbitration = self.register.arbitration;
        self.want(Wanted { insync, after, right, epoch: None, arbitration });
    }

    pub(super) fn want(&mut self, wanted: Wanted) {
        #[cfg(test)]
        let skipped = match wanted.after {
            After::LeadSolo { .. } => self.broken(Mutant::PromoteWithoutSwap),
            After::Solo => self.broken(Mutant::SoloWithoutSwap),
            _ => false,
        };
        #[cfg(not(test))]
        let skipped = false;
        let witness = self.is_arbitrated() || wanted.arbitration == Arbitration::Witness;
        if !witness || skipped {
            self.court.wanted = None;
            let register = self.register_for(&wanted);
            self.persist(register, wanted.after);
            return;
        }
        self.court.wanted = Some(wanted);
        self.tell_lease(); // Before the question: the peer may be promoted from its answer on.
        self.step_court();
    }

    /// What is wanted is wanted no more. It may have been done, or be done late.
    pub(super) fn withdraw(&mut self) {
        if self.court.wanted.take().is_some() {
            self.court.read_first = true;
        }
    }

    /// The register that a decision asks for.
    pub(super) fn register_for(&self, wanted: &Wanted) -> Register {
        let seen = self.register.seen.max(self.register.epoch);
        // A lone holder that decides without the witness does not overrule what it holds.
        let bound = self.is_arbitrated() || wanted.insync == Insync::Both;
        let held = self.court.held.flatten().filter(|_| bound);
        let seen = seen.max(held.map_or(Epoch(0), |h| h.epoch));
        let epoch = wanted.epoch.unwrap_or_else(|| next_epoch(seen, self.me));
        Register {
            epoch,
            holder: self.me,
            insync: wanted.insync,
            seen: epoch,
            stale: false,
            arbitration: wanted.arbitration,
        }
    }

    /// Asks what is to be asked, if the time has come.
    pub(super) fn step_court(&mut self) {
        let now = self.now;
        if self.timers.arbitration == Arbitration::None && !self.is_arbitrated() {
            return;
        }
        if let Some(asked) = self.court.asked {
            if now.since(asked.at) >= ANSWER_MAX {
                self.witness_said(asked.number, WitnessAnswer::Lost);
            }
            // A decision does not wait for a look; its question takes the look's place.
            if self.court.wanted.is_none() || asked.ask != WitnessAsk::Read {
                return;
            }
            let agreed = self.court.wanted.is_some_and(|w| w.right == Right::Agreed);
            if self.court.read_first && !agreed {
                return;
            }
        }
        if now < self.court.retry_at {
            return;
        }
        match self.court.wanted {
            Some(wanted) => self.ask_for(&wanted),
            None if self.court.read_first || now >= self.look_at() => self.ask(WitnessAsk::Read),
            None => {}
        }
    }

    /// When the witness is looked at next without a need.
    fn look_at(&self) -> Mono {
        let every = if self.court.reachable { self.timers.witness_look } else { Duration::ZERO };
        self.court.answered_at.after(every)
    }

    fn ask_for(&mut self, wanted: &Wanted) {
        let new = as_held(&self.register_for(wanted));
        let held = self.court.held.flatten().filter(|held| held.epoch > self.register.epoch);
        // Whoever knows of a later reign than its own swaps nothing for its own: only a witness that
        // was rolled back holds that still.
        let overtaken = self.register.seen > self.register.epoch;
        if overtaken && held.is_none() && matches!(wanted.after, After::LeadSolo { .. }) {
            self.court.read_first = true;
        }
        let expect = match held {
            Some(held) => self.is_entitled(wanted, &held).then_some(held.epoch),
            // What the witness holds, then, is what this node's own register says.
            None => self.register.insync.has(self.me).then_some(self.register.epoch),
        };
        if wanted.right == Right::Insync && !self.court.read_first && expect.is_none() {
            return self.withdraw_refused();
        }
        let ask = match wanted.right {
            Right::Agreed => WitnessAsk::Seed { new },
            Right::Insync if self.court.read_first => WitnessAsk::Read,
            Right::Insync => WitnessAsk::Swap { expect, new },
        };
        if ask != WitnessAsk::Read && new.insync == Insync::Both {
            self.court.open_both = true;
        }
        self.ask(ask);
    }

    fn ask(&mut self, ask: WitnessAsk) {
        let number = self.court.next;
        self.court.next = number.saturating_add(1);
        self.court.asked = Some(Asked { number, ask, at: self.now });
        self.put(Output::Witness { number, ask });
    }

    /// The witness has answered, or has not.
    pub(super) fn witness_said(&mut self, number: u64, answer: WitnessAnswer) {
        let now = self.now;
        let Some(asked) = self.court.asked.take_if(|a| a.number == number) else { return };
        #[cfg(test)]
        if answer == WitnessAnswer::Lost
            && self.broken(Mutant::LostSwapAssumed)
            && let WitnessAsk::Swap { new, .. } = asked.ask
        {
            return self.granted(new);
        }
        let held = match answer {
            WitnessAnswer::Lost => {
                self.court.reachable = false;
                self.court.rest(now);
                return self.go_on_agreed();
            }
            WitnessAnswer::Done(held) | WitnessAnswer::Refused(held) => held,
        };
        self.court.reachable = true;
        self.court.answered_at = now;
        self.court.held = Some(held);
        match (asked.ask, answer) {
            (WitnessAsk::Swap { new, .. } | WitnessAsk::Seed { new }, WitnessAnswer::Done(_)) => {
                self.court.held = Some(Some(new));
                self.granted(new);
            }
            (ask, _) => {
                // It was answered, so it is not done later.
                if ask != WitnessAsk::Read {
                    self.court.open_both = false;
                }
                self.judge(held, ask == WitnessAsk::Read);
            }
        }
    }

    /// The witness holds `new`, which this node has asked for.
    fn granted(&mut self, new: WitnessRegister) {
        self.court.pause = PAUSE_MIN;
        self.court.retry_at = self.now;
        self.court.read_first = false;
        self.court.open_both = new.insync == Insync::Both;
        let wanted = self
            .court
            .wanted
            .take_if(|w| w.insync == new.insync && w.epoch.is_none_or(|epoch| epoch == new.epoch));
        let Some(wanted) = wanted else {
            self.court.read_first = true;
            return; // Withdrawn meanwhile: taken up when it is found there.
        };
        let register = Register { epoch: new.epoch, seen: new.epoch, ..self.register_for(&wanted) };
        if register.epoch < self.register.seen {
            self.court.wanted = Some(wanted); // Something newer was seen meanwhile: ask anew.
            self.court.read_first = true;
            return;
        }
        self.persist(register, wanted.after);
    }

    /// What is to be thought of what the witness holds.
    fn judge(&mut self, held: Option<WitnessRegister>, looked: bool) {
        let (me, now) = (self.me, self.now);
        let agreed = self.court.wanted.is_some_and(|w| w.right == Right::Agreed);
        if looked && agreed {
            return self.step_court(); // What it holds is to be replaced, whatever it is.
        }
        let Some(held) = held.filter(|h| self.believes(h)) else {
            // It knows less than this node: nothing rests on it before the pair has seeded it anew.
            self.withdraw_refused();
            return;
        };
        if held.epoch > self.register.seen && held.holder != me && self.is_arbitrated() {
            if matches!(self.phase, Phase::Standby(_)) && self.session.is_some() {
                // The answer may have overtaken what is on the session: then only that counts.
                if self.court.wanted.is_none() {
                    return self.looked();
                }
                self.close_session("the witness knows a later reign");
            }
            self.see(held.epoch);
            if !held.insync.has(me) && matches!(self.phase, Phase::Standby(_)) {
                self.grow_stale("the witness knows a later reign without this copy");
            }
        }
        let Some(wanted) = self.court.wanted else { return self.looked() };
        // Only a handover is taken up by reading. Behind any other swap of this node that is found
        // there, a later one may be under way: one more swap voids it.
        if wanted.after == After::Reign && wanted.epoch == Some(held.epoch) && held.holder == me {
            return self.granted(held);
        }
        let entitled = self.is_entitled(&wanted, &held);
        if !entitled {
            return self.withdraw_refused();
        }
        self.court.read_first = false;
        if looked {
            self.step_court();
        } else {
            self.court.rest(now);
        }
    }

    /// It was read and nothing is wanted: the next look is due in its own time.
    const fn looked(&mut self) {
        self.court.pause = PAUSE_MIN;
        self.court.read_first = false;
    }

    /// Whether what the witness holds gives this node the right to what it wants.
    fn is_entitled(&self, wanted: &Wanted, held: &WitnessRegister) -> bool {
        match (wanted.right, wanted.after) {
            (Right::Agreed, _) => false, // It holds something higher than what was agreed.
            (_, After::LeadSolo { .. }) => {
                held.insync.has(self.me) && held.epoch >= self.register.seen
            }
            (_, After::Reign) => held.epoch == self.register.epoch,
            _ => held.holder == self.me,
        }
    }

    /// A witness that holds less than this node durably knows has lost something.
    fn believes(&self, held: &WitnessRegister) -> bool {
        #[cfg(test)]
        if self.broken(Mutant::TrustRolledBackWitness) {
            return true;
        }
        !self.is_arbitrated() || held.epoch >= self.register.seen
    }

    /// What is wanted cannot be had: whoever wants it asks again, at leisure.
    fn withdraw_refused(&mut self) {
        self.court.rest(self.now);
        if let Some(wanted) = self.court.wanted.take() {
            self.not_granted(wanted);
        }
    }

    /// Both nodes agreed and the witness is away: their word is enough, and it decides no more.
    fn go_on_agreed(&mut self) {
        let Some(wanted) = self.court.wanted else { return };
        if wanted.right == Right::Insync {
            return;
        }
        self.withdraw();
        if !matches!(wanted.after, After::LeadSolo { .. }) {
            self.not_granted(wanted);
        } else {
            let alone = Wanted { arbitration: Arbitration::None, ..wanted };
            let register = self.register_for(&alone);
            self.persist(register, alone.after);
        }
    }

    /// Whether the witness has been away for so long that the pair does without it.
    pub(super) fn witness_is_gone(&self) -> bool {
        self.now.since(self.court.answered_at) >= self.timers.witness_gone
    }

    /// Whether the witness answers, knows nothing that this node does not, and could be put in force
    /// or be seeded anew; `true` as well where it merely holds a late swap of this node.
    pub(super) fn witness_needs_seed(&self) -> Option<Right> {
        if self.timers.arbitration == Arbitration::None || !self.court.reachable {
            return None;
        }
        let held = self.court.held?;
        let right = match held {
            Some(held) if !self.is_arbitrated() && held.epoch > self.register.seen => {
                if self.register.insync != Insync::Both {
                    return None;
                }
                Right::Agreed
            }
            _ if !self.is_arbitrated() => Right::Agreed,
            None => Right::Agreed,
            Some(held) if held.epoch < self.register.seen => Right::Agreed,
            Some(held) if held == as_held(&self.register) => return None,
            Some(held) if held.holder == self.me => Right::Insync,
            Some(_) => return None,
        };
        Some(right)
    }

    /// The standby obeys neither: now the primary may change who decides.
    pub(super) fn in_limbo(&mut self, epoch: Epoch) {
        let Phase::Primary(p) = &self.phase else { return };
        if p.epoch == epoch && self.court.limbo == Limbo::Asked {
            self.court.limbo = Limbo::Recorded;
        }
    }

    /// From now on the evidence rules hold.
    fn go_unarbitrated(&mut self) {
        self.withdraw();
        self.court.open_both = false;
        self.persist(Register { arbitration: Arbitration::None, ..self.register }, After::Nothing);
        self.admit_again();
    }

    /// As [`Self::go_unarbitrated`], and alone: the peer has a branch, needs a full copy or has left for
    /// want of room, and obeys neither, and only who is alone can merge, give a copy, or go on; or an
    /// operator wants it so.
    pub(super) fn go_alone_unarbitrated(&mut self) {
        let Some(p) = self.primary() else { return };
        p.leaving = true;
        p.admitting = false;
        let wanted = Wanted {
            insync: Insync::Only(self.me),
            after: After::Solo,
            right: Right::Agreed,
            epoch: None,
            arbitration: Arbitration::None,
        };
        let register = self.register_for(&wanted);
        self.withdraw();
        self.court.open_both = false;
        self.persist(register, wanted.after);
    }

    /// The primary is about to change who decides; this standby records that it obeys neither.
    pub(super) fn limbo(&mut self, epoch: Epoch) {
        let seen = self.register.seen;
        let may = match &self.phase {
            Phase::Standby(s) => epoch == s.epoch && (s.joined || s.aside) && !self.wants_to_lead(),
            // It leads no more, whoever decides; or it lacks too much to be asked to join.
            Phase::Branched { .. } => true,
            Phase::Recovering => !self.is_deciding() && !self.about_to_lead(),
            Phase::Primary(_) => false,
        };
        if epoch < seen || !may {
            return;
        }
        let register = Register { arbitration: Arbitration::Limbo, seen: epoch, ..self.register };
        self.persist(register, After::InLimbo { epoch });
    }

    /// The primary puts a witness in force, seeds it anew, or does without it.
    ///
    /// A change of who decides has three durable steps: the standby obeys neither, the primary obeys
    /// the new one, the standby (with its next Admit) does too. So the two never obey different ones.
    pub(super) fn mind_the_witness(&mut self) {
        let Phase::Primary(p) = &self.phase else { return };
        #[cfg(test)]
        if self.broken(Mutant::SwitchAlone)
            && self.is_arbitrated()
            && self.witness_is_gone()
            && !self.is_persisting()
        {
            if let Some(p) = self.primary() {
                p.leaving = false;
            }
            return self.go_unarbitrated();
        }
        let apart = (p.branch.is_some() || p.full_copy) && p.offered.is_none();
        let apart = apart && self.peer_hello().is_some();
        // Its disk is full: it has left, and stays on the session.
        let aside = p.has_left() && self.session.is_some();
        if (apart || aside) && !p.is_solo() && self.is_arbitrated() && self.witness_is_gone() {
            if self.is_in_limbo() {
                self.go_alone_unarbitrated();
            }
            return;
        }
        if self.is_deciding() || !p.is_settled() {
            return;
        }
        let (solo, admitted, follows) = (p.is_solo(), p.has_admitted(), p.has_follower());
        let open = self.court.open_both && self.register.insync != Insync::Both;
        let gone = self.is_arbitrated() && self.witness_is_gone();
        if gone && solo && !open {
            // Nobody else could be promoted by what the witness holds.
            return self.go_unarbitrated();
        }
        if gone {
            if (admitted || open && follows) && self.is_in_limbo() {
                self.go_unarbitrated();
            }
            return;
        }
        let Some(right) = self.witness_needs_seed() else {
            if self.court.limbo != Limbo::No {
                self.admit_again(); // It was about to change, and is not any more.
            }
            return;
        };
        let arbitration = Arbitration::Witness;
        if solo && !open {
            let insync = Insync::Only(self.me);
            self.want(Wanted { insync, after: After::Renew, right, epoch: None, arbitration });
        } else if admitted
            && self.register.insync == Insync::Both
            && (self.is_arbitrated() || self.is_in_limbo())
        {
            let (insync, after) = (Insync::Both, After::Admit);
            self.want(Wanted { insync, after, right, epoch: None, arbitration });
        }
    }

    /// Whether a change of who decides is asked for, or not durable yet: the standby is not to leave
    /// its limbo before that is settled.
    pub(super) fn is_switching(&self) -> bool {
        let now = self.durable_register.arbitration;
        let asked = self.court.wanted.is_some_and(|w| w.arbitration != now);
        asked || self.register.arbitration != now
    }

    /// Whether the standby has recorded that it obeys neither; asks it to.
    fn is_in_limbo(&mut self) -> bool {
        let Phase::Primary(p) = &self.phase else { return false };
        let epoch = p.epoch;
        if self.court.limbo == Limbo::No {
            self.court.limbo = Limbo::Asked;
            self.send(Frame::Limbo { epoch });
        }
        self.court.limbo == Limbo::Recorded
    }

    pub(super) fn witness_status(&self) -> WitnessStatus {
        let configured = self.timers.arbitration == Arbitration::Witness;
        let in_force = self.is_arbitrated();
        let reachable = self.court.reachable && configured;
        let trusted = in_force && self.court.held.flatten().is_some_and(|h| self.believes(&h));
        WitnessStatus { configured, in_force, reachable, trusted }
    }
}
