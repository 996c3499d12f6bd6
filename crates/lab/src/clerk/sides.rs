//! A clerk on each side of a split, and what the merge must make of their work.
//!
//! Both know two mailboxes to the last flag when the pair is split; then each works on the side that
//! it reaches, over the same messages and new ones, until the split ends. What the mailboxes must show
//! after the merge follows from what each side acknowledged (docs/design/merge.md, the table).
//!
//! Invariants: one message has one number and one place, so nobody copies; nobody puts a flag back as
//! it was. Whatever the rules say, a UID names one message for the whole run, and nothing comes below
//! the UIDs that a clerk saw. Absent on purpose: mailboxes made or renamed, work while it is merged.

use super::{
    CLERKS, Door, Entry, FULL, Flag, Marked, Model, NUMBERS, NUMBERS_FROM, Op, RECONNECT, Rng,
    Shared, Shelf, Shelves, VERIFY_MAX, day, make, read_both,
};
use crate::net::{self, Host};
use crate::{LabError, Result, fail, lock, wait_for};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::JoinHandle;
use std::time::Duration;

/// Changes that both know before a split.
const COMMON: u64 = 24;
/// Changes that a side that serves must acknowledge.
const SERVED: u64 = 8;
/// How long it may take to do so.
const SERVE_MAX: Duration = Duration::from_secs(20);
/// What the mailboxes' names begin with.
const NAME: &str = "side";
/// Sets its numbers apart from the other clerks'.
const SEED: u64 = 0x51de;

/// Both clerks, between two splits.
pub(crate) struct Sides {
    door: Door,
    rng: Rng,
    /// What the mailboxes show while the pair is whole.
    known: Model,
    /// The next message that both will know.
    next: u32,
    /// The next of the one near A, and of the one near B.
    apart_from: [u32; 2],
    /// What each side acknowledged, since the split.
    apart: Option<[Model; 2]>,
    acknowledged: u64,
    merged: u64,
}

/// Both clerks, while the pair is split.
pub(crate) struct Apart {
    sides: [Arc<Shared>; 2],
    threads: Vec<JoinHandle<Result<u32>>>,
}

impl Sides {
    /// Makes the mailboxes.
    ///
    /// # Errors
    /// They cannot be made.
    pub(crate) fn new(door: &Door, seed: u64) -> Result<Self> {
        make(door, &Shared::of(NAME, Vec::new()), 1)?;
        let known = Model { fork: Some(Shelves::default()), ..Model::default() };
        let from = |n: u32| NUMBERS_FROM + (CLERKS + n) * NUMBERS;
        Ok(Self {
            door: door.clone(),
            rng: Rng::new(seed ^ SEED),
            known,
            next: from(0),
            apart_from: [from(1), from(2)],
            apart: None,
            acknowledged: 0,
            merged: 0,
        })
    }

    /// Files what both sides will know. The pair is whole.
    ///
    /// # Errors
    /// Nobody serves.
    pub(crate) fn prepare(&mut self) -> Result<()> {
        let enough = self.known.acknowledged.saturating_add(COMMON);
        let shared = Shared::of(NAME, vec![self.known.clone()]);
        let at_work = self.work(&shared, Host::Client, self.next)?;
        let filed = wait_for("both sides know the same", SERVE_MAX, || {
            Ok(shared.models.iter().all(|m| lock(m).acknowledged >= enough))
        });
        shared.stopping.store(true, Relaxed);
        self.next = net::join(at_work)?;
        self.known = lock(shared.model(0)?).clone();
        filed
    }

    /// A clerk at work, until it is stopped; it gives the next free number.
    fn work(
        &mut self,
        shared: &Arc<Shared>,
        desk: Host,
        mut number: u32,
    ) -> Result<JoinHandle<Result<u32>>> {
        let (door, shared) = (self.door.clone(), Arc::clone(shared));
        let mut rng = Rng::new(self.rng.next());
        net::thread(desk, "side", move || {
            while !shared.stopping.load(Relaxed) {
                if day(&shared, &door, 0, &mut rng, &mut number).is_err() {
                    std::thread::sleep(RECONNECT);
                }
            }
            number
        })
    }

    /// Both begin: from now on each reaches its own appliance, and nothing else.
    ///
    /// # Errors
    /// A thread cannot be made.
    pub(crate) fn part(&mut self) -> Result<Apart> {
        let side = Model { fork: Some(self.known.shelves.clone()), ..self.known.clone() };
        let side = Model { acknowledged: 0, open: 0, refused: 0, ..side };
        let sides = [(), ()].map(|()| Shared::of(NAME, vec![side.clone()]));
        let desks = [(Host::NearA, Host::A), (Host::NearB, Host::B)];
        let mut threads = Vec::new();
        for (((desk, target), shared), number) in desks.into_iter().zip(&sides).zip(self.apart_from)
        {
            net::aim(desk, target)?;
            threads.push(self.work(shared, desk, number)?);
        }
        Ok(Apart { sides, threads })
    }

    /// Ends both; gives what was acknowledged near A, and near B. It must be merged.
    ///
    /// # Errors
    /// A clerk could not work at all.
    pub(crate) fn end(&mut self, apart: Apart) -> Result<[u64; 2]> {
        for shared in &apart.sides {
            shared.stopping.store(true, Relaxed);
        }
        for (thread, number) in apart.threads.into_iter().zip(&mut self.apart_from) {
            *number = net::join(thread)?;
        }
        let models = apart.sides.map(|shared| shared.models.first().map(|m| lock(m).clone()));
        let [Some(a), Some(b)] = models else { return fail("a side without a clerk") };
        let counts = [a.acknowledged, b.acknowledged];
        self.acknowledged += a.acknowledged + b.acknowledged;
        self.merged += a.acknowledged.min(b.acknowledged);
        self.apart = Some([a, b]);
        Ok(counts)
    }

    /// Reads the mailboxes of the pair, which is whole, and holds them against what was acknowledged.
    /// Gives what is wrong.
    ///
    /// # Errors
    /// They cannot be read.
    pub(crate) fn check(&mut self) -> Result<Vec<String>> {
        let (shared, door) = (Shared::of(NAME, Vec::new()), self.door.clone());
        let thread = net::thread(Host::Client, "merged", move || {
            let (mut last, mut seen) = (String::new(), None);
            let read = wait_for("the mailboxes of both sides are read", VERIFY_MAX, || {
                let shown = door.open().and_then(|mut s| read_both(&mut s, &shared, 0));
                match shown {
                    Ok(shown) => seen = Some(shown),
                    Err(e) => last = e.to_string(),
                }
                Ok(seen.is_some())
            });
            match (read, seen) {
                (Ok(()), Some(seen)) => Ok(seen),
                _ => fail(format!("the mailboxes of both sides: {last}")),
            }
        })?;
        let (validity, seen) = net::join(thread)??;
        for (shelf, validity) in validity.into_iter().enumerate() {
            self.known.selected(shelf, validity);
        }
        if let Some(sides) = self.apart.take() {
            self.known = merge(&self.known, &sides, &seen);
        } else {
            self.known.reconcile(&seen);
        }
        Ok(std::mem::take(&mut self.known.complaints))
    }

    /// Changes that were acknowledged on a side of a split; and of each split, those of the side that
    /// did less.
    pub(crate) fn acknowledged(&self) -> (u64, u64) {
        (self.acknowledged, self.merged)
    }
}

impl Apart {
    /// What was acknowledged near A, and near B.
    pub(crate) fn acknowledged(&self) -> [u64; 2] {
        self.sides.each_ref().map(|s| s.models.iter().map(|m| lock(m).acknowledged).sum())
    }

    /// Waits until both serve; or exactly one, which a witness lets.
    ///
    /// # Errors
    /// They do not.
    pub(crate) fn served(&self, both: bool) -> Result<()> {
        let enough = |n: &u64| *n >= SERVED;
        let served = wait_for("the sides serve", SERVE_MAX, || {
            let acknowledged = self.acknowledged();
            Ok(if both { acknowledged.iter().all(enough) } else { acknowledged.iter().any(enough) })
        });
        let [a, b] = self.acknowledged();
        served.map_err(|e| LabError(format!("{e}: {a} changes near A, {b} near B")))
    }
}

impl Model {
    /// A change on one side of a split, on a message that is not in doubt: none that undoes what this
    /// side did to a message of before.
    pub(super) fn choose_apart(&self, fork: &Shelves, rng: &mut Rng, next_number: u32) -> Op {
        let (shelf, picked) = self.pick(rng);
        let Some((uid, entry)) = picked else { return Op::Append(shelf, next_number) };
        let before = places(fork).get(&entry.number).copied();
        let flag = |flag: Flag| {
            let has = entry.flags.contains(&flag);
            let as_before = before.is_none_or(|(_, _, e)| e.flags.contains(&flag) == has);
            as_before.then_some(Op::Flag(shelf, uid, flag, !has))
        };
        let deleted = entry.flags.contains(&Flag::Deleted);
        let chosen = match rng.below(10) {
            0 | 1 => None,
            2 | 3 if before.is_none_or(|(s, ..)| s == shelf) => Some(Op::Move(shelf, uid)),
            4 | 5 => flag(Flag::Flagged),
            6 => flag(Flag::Seen),
            7 => flag(Flag::Answered),
            _ if deleted => Some(Op::Expunge(shelf, uid)),
            _ => Some(Op::Flag(shelf, uid, Flag::Deleted, true)),
        };
        let full = |op: &Op| matches!(op, Op::Move(..)) && self.shelf(1 - shelf).len() >= FULL;
        match chosen.filter(|op| !full(op)) {
            Some(op) => op,
            None if self.shelf(shelf).len() < FULL => Op::Append(shelf, next_number),
            None if deleted => Op::Expunge(shelf, uid),
            None => Op::Flag(shelf, uid, Flag::Deleted, true),
        }
    }
}

/// Where each message is, by its number.
fn places(shelves: &Shelves) -> BTreeMap<u32, (Shelf, u32, &Entry)> {
    let all = shelves.iter().enumerate();
    all.flat_map(|(shelf, of)| of.iter().map(move |(uid, e)| (e.number, (shelf, *uid, e))))
        .collect()
}

/// Where a message may be after the merge, and with what flags.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Must {
    /// Nowhere.
    Gone,
    /// Once, there, with these flags; and under that UID, where one is given.
    Be(Shelf, BTreeSet<Flag>, Option<u32>),
    /// Once, anywhere, without `\Deleted`: one side expunged it after more than marking it.
    Survive,
    /// At most once: a change of it had no answer.
    Doubt,
}

/// What the table says about one message: `was` before the split, `now` on each side.
fn rule(was: Option<(Shelf, u32, &Entry)>, now: [Option<(Shelf, u32, &Entry)>; 2]) -> Must {
    let be = |(shelf, _, e): (Shelf, u32, &Entry)| Must::Be(shelf, e.flags.clone(), None);
    let Some((shelf, uid, entry)) = was else {
        // Only one side knows it.
        return now.into_iter().flatten().next().map_or(Must::Gone, be);
    };
    let undeleted = |flags: &BTreeSet<Flag>| {
        flags.iter().copied().filter(|f| *f != Flag::Deleted).collect::<BTreeSet<_>>()
    };
    match now {
        [None, None] => Must::Gone,
        [Some(left), None] | [None, Some(left)] => {
            let (at, _, e) = left;
            let touched = at != shelf || undeleted(&e.flags) != undeleted(&entry.flags);
            if touched { Must::Survive } else { Must::Gone }
        }
        [Some((at, a_uid, a)), Some((bt, b_uid, b))] => {
            // Nobody puts a flag back: what differs from before was changed.
            let changed = a.flags.symmetric_difference(&entry.flags);
            let changed: BTreeSet<Flag> =
                changed.chain(b.flags.symmetric_difference(&entry.flags)).copied().collect();
            let flags = entry.flags.symmetric_difference(&changed).copied().collect();
            let stayed = a_uid == uid && b_uid == uid && at == shelf && bt == shelf;
            let to = if at == shelf { bt } else { at };
            Must::Be(to, flags, stayed.then_some(uid))
        }
    }
}

/// Where a message is shown: shelf, UID, flags.
type Spot = (Shelf, u32, BTreeSet<Flag>);
/// What both mailboxes show, by the messages' numbers.
type Shown = BTreeMap<u32, Vec<Spot>>;

/// What is known after a merge; what is wrong with it are its complaints.
fn merge(known: &Model, sides: &[Model; 2], seen: &[Vec<Marked>; 2]) -> Model {
    let mut after = Model {
        shelves: Shelves::default(),
        doubts: Vec::new(),
        fork: Some(Shelves::default()),
        ..known.clone()
    };
    for (side, near) in sides.iter().zip(["A", "B"]) {
        for (shelf, named) in side.named.iter().enumerate() {
            named.iter().for_each(|(uid, number)| after.name(shelf, *uid, *number));
        }
        for (shelf, validity) in side.validity.iter().enumerate() {
            validity.iter().for_each(|v| after.selected(shelf, *v));
        }
        for what in &side.complaints {
            after.complain(format!("near {near}: {what}"));
        }
    }
    let mut shown = Shown::new();
    for (shelf, items) in seen.iter().enumerate() {
        for Marked { item, flags } in items {
            let number = item.number.unwrap_or_default();
            after.name(shelf, item.uid, number);
            for (side, near) in sides.iter().zip(["A", "B"]) {
                if let Some(highest) = below(side, shelf, item.uid, number) {
                    let uid = item.uid;
                    after.complain(format!(
                        "UID {uid} of shelf {shelf} (message {number}) came below UID {highest} \
                         that was seen near {near}"
                    ));
                }
            }
            shown.entry(number).or_default().push((shelf, item.uid, flags.clone()));
            let entry = Entry { number, flags: flags.clone(), touched: 0 };
            after.shelf_mut(shelf).insert(item.uid, entry);
        }
    }
    for what in judge(known, sides, &shown) {
        after.complain(what);
    }
    for shelf in [0, 1] {
        let forgotten = after.forgotten(shelf);
        let [first, second] = &mut after.gone;
        if shelf == 0 { first } else { second }.extend(forgotten);
    }
    after
}

/// The highest UID that this side's clerk saw, if it knows nothing of the message and that is above.
fn below(side: &Model, shelf: Shelf, uid: u32, number: u32) -> Option<u32> {
    let named = side.named.get(shelf)?;
    let (highest, _) = named.last_key_value()?;
    (named.get(&uid) != Some(&number) && uid < *highest).then_some(*highest)
}

/// Holds what is shown against the table, message by message.
fn judge(known: &Model, sides: &[Model; 2], shown: &Shown) -> Vec<String> {
    let (was, now) = (places(&known.shelves), sides.each_ref().map(|s| places(&s.shelves)));
    let [a, b] = &now;
    let mut doubtful = BTreeSet::new();
    for side in sides {
        let of_side = side.doubts.iter().filter_map(|(op, _)| match (op, op.subject()) {
            (Op::Append(_, number), _) => Some(*number),
            (_, subject) => subject.and_then(|(s, uid)| Some(side.shelf(s).get(&uid)?.number)),
        });
        doubtful.extend(of_side);
    }
    let numbers: BTreeSet<u32> =
        [was.keys(), a.keys(), b.keys()].into_iter().flatten().copied().collect();
    let mut wrong = Vec::new();
    for number in numbers.iter().chain(&doubtful).chain(shown.keys()).collect::<BTreeSet<_>>() {
        let of = |places: &BTreeMap<u32, (Shelf, u32, &Entry)>| {
            places.get(number).map(|(s, u, e)| (*s, *u, (*e).clone()))
        };
        let at = [a.get(number).copied(), b.get(number).copied()];
        let must = match doubtful.contains(number) {
            true => Must::Doubt,
            false => rule(was.get(number).copied(), at),
        };
        let is = shown.get(number).map(Vec::as_slice).unwrap_or_default();
        if !fits(&must, is) {
            let (was, a, b) = (of(&was), of(a), of(b));
            wrong.push(format!(
                "message {number} was {was:?}, near A {a:?}, near B {b:?}; must {must:?}, is {is:?}"
            ));
        }
    }
    wrong
}

fn fits(must: &Must, is: &[Spot]) -> bool {
    match (must, is) {
        (Must::Gone | Must::Doubt, []) | (Must::Doubt, [_]) => true,
        (Must::Be(shelf, flags, uid), [(at, under, with)]) => {
            at == shelf && with == flags && uid.is_none_or(|uid| uid == *under)
        }
        (Must::Survive, [(_, _, with)]) => !with.contains(&Flag::Deleted),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::imap::Item;

    const NUMBER: u32 = 7;

    fn model(at: Option<(Shelf, u32, &[Flag])>) -> Model {
        let mut model = Model::default();
        if let Some((shelf, uid, flags)) = at {
            model.apply(Op::Append(shelf, NUMBER), Some(uid));
            for flag in flags {
                model.apply(Op::Flag(shelf, uid, *flag, true), None);
            }
        }
        model
    }

    fn shown(at: &[(Shelf, u32, &[Flag])]) -> [Vec<Marked>; 2] {
        let mut seen = [Vec::new(), Vec::new()];
        for (shelf, uid, flags) in at {
            let item = Item { uid: *uid, number: Some(NUMBER) };
            seen[*shelf].push(Marked { item, flags: flags.iter().copied().collect() });
        }
        seen
    }

    /// How many things are wrong, whichever side is A.
    fn wrong(was: &Model, sides: [Model; 2], is: &[(Shelf, u32, &[Flag])]) -> usize {
        let [a, b] = sides;
        let one = merge(was, &[a.clone(), b.clone()], &shown(is)).complaints;
        let other = merge(was, &[b, a], &shown(is)).complaints;
        assert_eq!(one.is_empty(), other.is_empty());
        one.len().min(other.len())
    }

    #[test]
    fn what_one_side_made_is_there_once() {
        let was = model(None);
        let sides = || [model(Some((0, 3, &[Flag::Seen]))), model(None)];
        assert_eq!(wrong(&was, sides(), &[(0, 3, &[Flag::Seen])]), 0);
        assert_eq!(wrong(&was, sides(), &[(0, 9, &[Flag::Seen])]), 0);
        assert_eq!(wrong(&was, sides(), &[]), 1);
        assert_eq!(wrong(&was, sides(), &[(1, 3, &[Flag::Seen])]), 1);
        assert_eq!(wrong(&was, sides(), &[(0, 3, &[])]), 1);
        assert_eq!(wrong(&was, sides(), &[(0, 3, &[Flag::Seen]), (0, 9, &[Flag::Seen])]), 1);
    }

    #[test]
    fn changes_of_both_sides_count() {
        let was = model(Some((0, 1, &[])));
        let flags = [Flag::Seen, Flag::Flagged];
        let sides = || [model(Some((0, 1, &[Flag::Seen]))), model(Some((0, 1, &[Flag::Flagged])))];
        assert_eq!(wrong(&was, sides(), &[(0, 1, &flags)]), 0);
        assert_eq!(wrong(&was, sides(), &[(0, 1, &[Flag::Seen])]), 1);
        // Nobody moved it: it keeps its UID.
        assert_eq!(wrong(&was, sides(), &[(0, 2, &flags)]), 1);
        let mut moved = was.clone();
        moved.apply(Op::Move(0, 1), Some(4));
        let sides = || [moved.clone(), model(Some((0, 1, &[Flag::Seen])))];
        assert_eq!(wrong(&was, sides(), &[(1, 4, &[Flag::Seen])]), 0);
        assert_eq!(wrong(&was, sides(), &[(0, 1, &[Flag::Seen])]), 1);
        assert_eq!(wrong(&was, sides(), &[(1, 4, &[])]), 1);
    }

    #[test]
    fn an_expunge_yields_to_more_than_a_mark() {
        let was = model(Some((0, 1, &[])));
        let mut gone = was.clone();
        gone.apply(Op::Expunge(0, 1), None);
        for left in [was.clone(), model(Some((0, 1, &[Flag::Deleted]))), gone.clone()] {
            assert_eq!(wrong(&was, [gone.clone(), left.clone()], &[]), 0);
            assert!(wrong(&was, [gone.clone(), left], &[(0, 1, &[])]) > 0);
        }
        let left = model(Some((0, 1, &[Flag::Deleted, Flag::Flagged])));
        let sides = || [gone.clone(), left.clone()];
        assert_eq!(wrong(&was, sides(), &[(0, 2, &[Flag::Flagged])]), 0);
        assert_eq!(wrong(&was, sides(), &[(0, 2, &[Flag::Flagged, Flag::Deleted])]), 1);
        assert_eq!(wrong(&was, sides(), &[]), 1);
    }

    #[test]
    fn no_uid_names_two_messages_and_nothing_comes_below_what_was_seen() {
        let was = model(None);
        let mut other = Model::default();
        other.apply(Op::Append(0, NUMBER + 1), Some(3));
        // Both gave UID 3; one of the two went.
        let one = model(Some((0, 3, &[])));
        let mut gone = other.clone();
        gone.apply(Op::Expunge(0, 3), None);
        assert_eq!(wrong(&was, [one, gone.clone()], &[(0, 3, &[])]), 1);
        // Below UID 3, which the other side saw.
        let one = model(Some((0, 2, &[])));
        assert_eq!(wrong(&was, [one.clone(), gone.clone()], &[(0, 2, &[])]), 1);
        assert_eq!(wrong(&was, [one, gone], &[(0, 4, &[])]), 0);
    }

    #[test]
    fn what_is_in_doubt_is_there_once_or_not() {
        let was = model(None);
        let mut doubt = model(None);
        doubt.doubts.push((Op::Append(0, NUMBER), crate::now()));
        let sides = || [doubt.clone(), model(None)];
        assert_eq!(wrong(&was, sides(), &[]), 0);
        assert_eq!(wrong(&was, sides(), &[(0, 1, &[])]), 0);
        assert_eq!(wrong(&was, sides(), &[(0, 1, &[]), (0, 2, &[])]), 1);
    }

    #[test]
    fn a_side_does_everything_but_copy_and_puts_no_flag_back() {
        let mut both = Model::default();
        (1..=20).for_each(|n| both.apply(Op::Append(0, n), Some(n)));
        let mut side = Model { fork: Some(both.shelves.clone()), ..both.clone() };
        let (mut rng, mut uid, mut kinds) = (Rng::new(5), 100, BTreeSet::new());
        let mut flagged = BTreeSet::new();
        for number in 1_000..2_000 {
            let op = side.choose(&mut rng, number);
            kinds.insert(format!("{op:?}").split('(').next().unwrap().to_owned());
            if let Op::Flag(shelf, uid, flag, _) = op {
                let of = side.shelf(shelf)[&uid].number;
                assert!(of >= 1_000 || flagged.insert((of, flag)), "{op:?}");
            }
            uid += 1;
            side.apply(op, Some(uid));
        }
        assert_eq!(kinds.len(), 4, "{kinds:?}");
        assert!(side.complaints.is_empty());
    }
}
