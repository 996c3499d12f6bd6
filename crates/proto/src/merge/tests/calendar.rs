//! A toy calendar, registered as groupware will be: whether the door is wide enough for the rules of
//! calendar objects (ha.md 2.5), and whether they come out the same whichever side leads.
//!
//! What a kind without rows as they were at the fork needs: its changes say which PARTSTATs they
//! changed, a removal leaves the object behind, and a row knows the record that changed it last.

use super::*;
use crate::keys::KeysMut;
use crate::mailbox::ACCOUNTS;
use crate::rule::{Decision, Merge, Planner};
use serde::{Deserialize, Serialize};

pub(super) const KIND: Kind = Kind(0x7ca1);
const HIGHER: &str = "changed on both sides: the higher SEQUENCE, then the later reign";
const SURVIVES: &str = "removed against changed: survives";
const REPLIES: &str = "answered on both sides: the later answer";

/// An attendee's PARTSTAT, and when it was given.
type PartStat = (UnixMs, String);

#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Object {
    sequence: u32,
    text: String,
    attendees: BTreeMap<String, PartStat>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
enum Change {
    /// `replied`: the attendees whose PARTSTAT it changed.
    Put {
        account: AccountId,
        uid: String,
        object: Object,
        replied: BTreeSet<String>,
    },
    /// An answer by mail (RFC 5546 3.2.3).
    Reply {
        account: AccountId,
        uid: String,
        attendee: String,
        stat: PartStat,
    },
    Remove {
        account: AccountId,
        uid: String,
    },
}

/// An object, or what is left of one.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Row {
    object: Object,
    /// The records that last changed its text, or removed it; and each PARTSTAT.
    put: (Lsn, Epoch),
    removed: Option<Lsn>,
    replied: BTreeMap<String, Lsn>,
}

fn key_object(account: AccountId, uid: &str) -> Vec<u8> {
    Key::new(b'K').u32(account.0).bytes(uid.as_bytes()).done()
}

fn row(keys: &dyn Keys, account: AccountId, uid: &str) -> Result<Option<Row>, ApplyError> {
    let row = keys.get(&key_object(account, uid))?;
    Ok(row.map(|row| codec::decode("object", &row)).transpose()?)
}

/// The calendar's changes, as sync-tokens follow them: under each number the reign that made it.
fn log_of(keys: &dyn Keys, account: AccountId) -> Vec<(u64, Epoch, String)> {
    let (from, to) = Key::new(b'Y').u32(account.0).range();
    let mut all = Vec::new();
    scan(keys, (&from, &to), |key, value| {
        let (epoch, uid) = codec::decode("change of a calendar", value)?;
        all.push((codec::u64_at(key, 5).unwrap(), epoch, uid));
        Ok(())
    })
    .unwrap();
    all
}

#[derive(Clone, Copy, Debug)]
pub(super) struct CalendarRules;

impl Apply for CalendarRules {
    fn kind(&self) -> Kind {
        KIND
    }

    fn apply(&self, keys: &mut dyn KeysMut, at: Position, change: &[u8]) -> Result<(), ApplyError> {
        let (account, uid, new) = match codec::decode("change of a calendar", change)? {
            Change::Put { account, uid, object, replied } => {
                let before = row(keys, account, &uid)?.filter(|row| row.removed.is_none());
                let mut known = before.map(|row| row.replied).unwrap_or_default();
                known.extend(replied.into_iter().map(|attendee| (attendee, at.lsn)));
                known.retain(|attendee, _| object.attendees.contains_key(attendee));
                let put = (at.lsn, at.epoch);
                (account, uid, Row { object, put, removed: None, replied: known })
            }
            Change::Reply { account, uid, attendee, stat } => {
                let mut row = row(keys, account, &uid)?.ok_or(ApplyError::Missing("an object"))?;
                row.object.attendees.insert(attendee.clone(), stat);
                row.replied.insert(attendee, at.lsn);
                (account, uid, row)
            }
            Change::Remove { account, uid } => {
                let mut row = row(keys, account, &uid)?.ok_or(ApplyError::Missing("an object"))?;
                row.removed = Some(at.lsn);
                (account, uid, row)
            }
        };
        keys.put(&key_object(account, &uid), &codec::encode(&new))?;
        let next = log_of(keys, account).last().map_or(1, |(n, ..)| n + 1);
        let key = Key::new(b'Y').u32(account.0).u64(next).done();
        Ok(keys.put(&key, &codec::encode(&(at.epoch, uid)))?)
    }
}

impl Command for Change {
    const KIND: Kind = KIND;
    type Answer = ();
    type Refusal = ();

    fn decide(&self, keys: &dyn Keys, moment: Moment) -> Result<Decision<()>, DecideError<()>> {
        let mut change = self.clone();
        let (Self::Put { account, uid, .. }
        | Self::Reply { account, uid, .. }
        | Self::Remove { account, uid }) = self;
        let now = row(keys, *account, uid).unwrap().filter(|row| row.removed.is_none());
        match (&mut change, now) {
            (Self::Put { object, replied, .. }, now) => {
                let before = now.map(|row| row.object.attendees).unwrap_or_default();
                for (attendee, stat) in &mut object.attendees {
                    match before.get(attendee) {
                        Some(same) if same.1 == stat.1 => stat.0 = same.0,
                        _ => stat.0 = moment.now,
                    }
                    if before.get(attendee).is_some_and(|before| before.1 != stat.1) {
                        replied.insert(attendee.clone());
                    }
                }
            }
            (Self::Reply { attendee, stat, .. }, Some(now))
                if now.object.attendees.contains_key(attendee) =>
            {
                stat.0 = moment.now;
            }
            (Self::Remove { .. }, Some(_)) => {}
            _ => return Err(DecideError::Refused(())),
        }
        Ok(Decision { change: Some(codec::encode(&change)), answer: () })
    }
}

/// What one side did to an object.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Trace {
    /// As it was put last, with the answers since.
    put: Option<((Lsn, Epoch), Object)>,
    replied: BTreeMap<String, PartStat>,
    removed: Option<Lsn>,
}

#[derive(Default)]
struct Plan(BTreeMap<(AccountId, String), Trace>);

impl Planner for Plan {
    fn fold(
        &mut self,
        side: Side,
        at: Position,
        kind: Kind,
        change: &[u8],
    ) -> Result<(), codec::DecodeError> {
        // Ours is in the rows: they know which records changed them.
        if kind != KIND || side == Side::Ours {
            return Ok(());
        }
        match codec::decode("change of a calendar", change)? {
            Change::Put { account, uid, object, replied } => {
                let it = self.0.entry((account, uid)).or_default();
                if it.removed.take().is_some() {
                    it.replied.clear();
                }
                let stats = object.attendees.iter().filter(|(a, _)| replied.contains(*a));
                it.replied.extend(stats.map(|(a, stat)| (a.clone(), stat.clone())));
                it.replied.retain(|attendee, _| object.attendees.contains_key(attendee));
                it.put = Some(((at.lsn, at.epoch), object));
            }
            Change::Reply { account, uid, attendee, stat } => {
                let it = self.0.entry((account, uid)).or_default();
                if let Some((_, object)) = &mut it.put {
                    object.attendees.insert(attendee.clone(), stat.clone());
                }
                it.replied.insert(attendee, stat);
            }
            Change::Remove { account, uid } => {
                self.0.entry((account, uid)).or_default().removed = Some(at.lsn);
            }
        }
        Ok(())
    }

    fn plan(self: Box<Self>, _: &Known<'_>) -> Result<Vec<Vec<u8>>, ApplyError> {
        Ok(self.0.iter().map(|task| codec::encode(&task)).collect())
    }
}

impl Merge for CalendarRules {
    fn planner(&self, _: u8) -> Box<dyn Planner> {
        Box::<Plan>::default()
    }

    fn merge(&self, on: &mut Merging<'_>, task: &[u8]) -> Result<(), ApplyError> {
        let ((theirs, uid), trace): ((AccountId, String), Trace) = codec::decode("task", task)?;
        let account = AccountId(on.known().number(ACCOUNTS, &theirs.0.to_be_bytes(), theirs.0)?);
        meet(on, account, uid, trace)
    }
}

fn make(on: &mut Merging<'_>, change: &Change) -> Result<(), ApplyError> {
    on.change(&CalendarRules, codec::encode(change))
}

fn meet(
    on: &mut Merging<'_>,
    account: AccountId,
    uid: String,
    theirs: Trace,
) -> Result<(), ApplyError> {
    let what = format!("account {account}: object {uid}");
    let Some(now) = row(on.keys(), account, &uid)? else {
        let Some((_, object)) = theirs.put.filter(|_| theirs.removed.is_none()) else {
            return Ok(());
        };
        let replied = theirs.replied.into_keys().collect();
        return make(on, &Change::Put { account, uid, object, replied });
    };
    let here = |lsn: Lsn| lsn > on.branch().fork;
    let (our_put, our_removal) = (here(now.put.0), now.removed);
    let our_replies: BTreeMap<String, PartStat> = now
        .replied
        .iter()
        .filter(|(_, lsn)| here(**lsn))
        .filter_map(|(a, _)| Some((a.clone(), now.object.attendees.get(a)?.clone())))
        .collect();
    match (our_removal, theirs.removed) {
        (Some(_), Some(_)) => return Ok(()),
        (None, Some(_)) if !our_put && our_replies.is_empty() => {
            return make(on, &Change::Remove { account, uid });
        }
        (None, Some(at)) => on.note(what.clone(), SURVIVES, "its removal".into(), at),
        (Some(lsn), None) if here(lsn) => {
            let kept = codec::encode(&Change::Remove { account, uid: uid.clone() });
            on.note_ours(what.clone(), SURVIVES, "its removal".into(), (KIND, kept));
        }
        _ => {}
    }
    let mut object = now.object.clone();
    if let Some(((at, epoch), put)) = theirs.put {
        let order = |epoch: Epoch, o: &Object| (o.sequence, epoch, o.text.clone());
        let same = (put.sequence, &put.text) == (object.sequence, &object.text);
        // Who removed it does not want its own version beside the other's.
        let alone = !our_put || our_removal.is_some();
        let beaten = theirs.removed.is_some() && our_put
            || !alone && order(now.put.1, &object) > order(epoch, &put);
        if !same && !alone && theirs.removed.is_none() {
            let loser = if beaten { &put } else { &object };
            let copy = format!("{uid} ({} {})", loser.sequence, loser.text);
            let said = format!("kept as {copy}");
            if beaten {
                on.note(what.clone(), HIGHER, said, at);
            } else {
                let (uid, object) = (uid.clone(), object.clone());
                let kept = Change::Put { account, uid, object, replied: BTreeSet::new() };
                on.note_ours(what.clone(), HIGHER, said, (KIND, codec::encode(&kept)));
            }
            let (object, replied) = (loser.clone(), BTreeSet::new());
            make(on, &Change::Put { account, uid: copy, object, replied })?;
        }
        if !beaten {
            object = put;
        }
    }
    // Three-way for each attendee: one side answered: it; both: the later answer.
    for (attendee, stat) in &mut object.attendees {
        let (ours, theirs) = (our_replies.get(attendee), theirs.replied.get(attendee));
        if let (Some(ours), Some(theirs)) = (ours, theirs)
            && ours.1 != theirs.1
        {
            let lost = format!("{attendee}: {}", ours.min(theirs).1);
            on.note(what.clone(), REPLIES, lost, Lsn(0));
        }
        if let Some(answer) = ours.max(theirs) {
            *stat = answer.clone();
        }
    }
    let replied = theirs.replied.into_keys().collect();
    if object == now.object && our_removal.is_none() {
        return Ok(());
    }
    make(on, &Change::Put { account, uid, object, replied })
}

impl Node {
    fn put(&mut self, account: AccountId, uid: &str, sequence: u32, text: &str) {
        let stats = ["ann", "ben"].map(|name| (name.to_owned(), self.stat(account, uid, name)));
        let (uid, attendees) = (uid.to_owned(), stats.into());
        let object = Object { sequence, text: text.to_owned(), attendees };
        let replied = BTreeSet::new();
        self.run(&Change::Put { account, uid, object, replied }).unwrap();
    }

    fn reply(&mut self, account: AccountId, uid: &str, attendee: &str, said: &str) {
        let (uid, attendee) = (uid.to_owned(), attendee.to_owned());
        let stat = (UnixMs(0), said.to_owned());
        let _gone = self.run(&Change::Reply { account, uid, attendee, stat });
    }

    fn remove(&mut self, account: AccountId, uid: &str) {
        let _gone = self.run(&Change::Remove { account, uid: uid.to_owned() });
    }

    fn stat(&self, account: AccountId, uid: &str, attendee: &str) -> PartStat {
        let row = row(&self.keys, account, uid).unwrap().filter(|row| row.removed.is_none());
        let known = row.and_then(|row| row.object.attendees.get(attendee).cloned());
        known.unwrap_or_else(|| (UnixMs(0), "NEEDS-ACTION".into()))
    }

    /// What is there, by the account's address.
    fn objects(&self) -> BTreeMap<(String, String), Object> {
        let mut all = BTreeMap::new();
        for account in directory::accounts(&self.keys).unwrap() {
            let (from, to) = Key::new(b'K').u32(account.id.0).range();
            scan(&self.keys, (&from, &to), |key, value| {
                let row: Row = codec::decode("object", value)?;
                if row.removed.is_none() {
                    let uid = String::from_utf8(key[5..].to_vec()).unwrap();
                    all.insert((account.address.clone(), uid), row.object);
                }
                Ok(())
            })
            .unwrap();
        }
        all
    }

    /// A sync-token (RFC 6578): the last change, and the reign that made it.
    fn token(&self) -> Option<(u64, Epoch)> {
        log_of(&self.keys, ADA).last().map(|(n, epoch, _)| (*n, *epoch))
    }

    /// What changed since; `None`: that token is not valid here (RFC 6578 3.2).
    fn since(&self, token: Option<(u64, Epoch)>) -> Option<BTreeSet<String>> {
        let all = log_of(&self.keys, ADA);
        let from = match token {
            None => 0,
            Some((n, epoch)) => {
                all.iter().find(|row| (row.0, row.1) == (n, epoch)).map(|row| row.0)?
            }
        };
        Some(all.into_iter().filter(|row| row.0 > from).map(|row| row.2).collect())
    }
}

fn base() -> Node {
    let mut base = Node::new();
    for uid in ["a", "b", "c"] {
        base.put(ADA, uid, 0, "base");
    }
    base
}

fn noted(merged: &Node, branch: &Node, fork: Lsn) -> Vec<(String, bool)> {
    let id = BranchId { fork, epoch: branch.epoch };
    let all = notes(&merged.keys, id).unwrap();
    let kept = |n| original(&merged.keys, id, n).unwrap().is_some();
    (0..).zip(all).map(|(n, note)| (note.rule, kept(n) || note.original > Lsn(0))).collect()
}

/// Both ways round: the same, once and again, interrupted or not.
fn both(a: &Node, b: &Node, fork: Lsn) -> BTreeMap<(String, String), Object> {
    let (ab, ba) = (merge(a, b, fork, None), merge(b, a, fork, None));
    assert_eq!(ab.objects(), ba.objects(), "it depends on who leads");
    assert_eq!(merge(&ab, b, fork, None).keys.rows, ab.keys.rows, "merged again");
    let half = merge(a, b, fork, Some(3));
    assert_eq!(merge(&half, b, fork, None).objects(), ab.objects(), "interrupted");
    for (merged, side, other) in [(&ab, a, b), (&ba, b, a)] {
        // The leader's tokens go on: what they tell is all that there is to know.
        let told = merged.since(side.token()).expect("the leader's own");
        for ((account, uid), object) in merged.objects() {
            let before = side.objects().get(&(account.clone(), uid.clone())).cloned();
            let same = before.as_ref() == Some(&object);
            assert!(same || account != "ada@example.org" || told.contains(&uid), "{uid} untold");
        }
        // The branch's past the fork are refused, from the first request on.
        let past = log_of(&other.keys, ADA).last().is_some_and(|row| row.1 == other.epoch);
        assert_eq!(merged.since(other.token()).is_none(), past);
        assert_eq!(side.since(other.token()).is_none(), past);
    }
    ab.objects()
}

#[test]
fn the_higher_sequence_wins_and_the_other_becomes_a_copy() {
    for (left, right, winner) in [(2, 1, "left"), (1, 2, "right"), (1, 1, "left")] {
        let (mut a, mut b, fork) = split(&base());
        // Of one SEQUENCE that of the later reign, which is the left one's; the clock says nothing.
        a.put(ADA, "a", left, "left");
        b.now += 50_000;
        b.put(ADA, "a", right, "right");
        let all = both(&a, &b, fork);
        let text = |uid: &str| all[&("ada@example.org".to_owned(), uid.to_owned())].text.clone();
        let (loser, sequence) = if winner == "left" { ("right", right) } else { ("left", left) };
        assert_eq!(
            (text("a").as_str(), text(&format!("a ({sequence} {loser})"))),
            (winner, loser.into())
        );
        for (a, b) in [(&a, &b), (&b, &a)] {
            let noted = noted(&merge(a, b, fork, None), b, fork);
            assert_eq!(noted, [(HIGHER.to_owned(), true)], "announced, with its original");
        }
    }
}

#[test]
fn answers_are_merged_attendee_by_attendee() {
    let (mut a, mut b, fork) = split(&base());
    a.reply(ADA, "a", "ann", "ACCEPTED");
    b.reply(ADA, "a", "ben", "DECLINED");
    // The one who did not answer since has no say, whatever his clock says.
    b.now -= 1_000_000;
    b.reply(ADA, "b", "ann", "TENTATIVE");
    a.now += 5_000;
    a.reply(ADA, "c", "ann", "ACCEPTED");
    b.put(ADA, "c", 3, "moved");
    b.reply(ADA, "c", "ann", "DECLINED");
    let all = both(&a, &b, fork);
    let stat = |uid: &str, name: &str| {
        all[&("ada@example.org".to_owned(), uid.to_owned())].attendees[name].1.clone()
    };
    assert_eq!((stat("a", "ann"), stat("a", "ben")), ("ACCEPTED".into(), "DECLINED".into()));
    assert_eq!((stat("b", "ann"), stat("b", "ben")), ("TENTATIVE".into(), "NEEDS-ACTION".into()));
    assert_eq!(stat("c", "ann"), "ACCEPTED", "the later answer");
    assert_eq!(all.len(), 3, "answers alone make no copy");
}

#[test]
fn what_is_removed_goes_unless_the_other_side_changed_it() {
    let (mut a, mut b, fork) = split(&base());
    a.remove(ADA, "a");
    a.remove(ADA, "b");
    b.put(ADA, "b", 1, "right");
    b.remove(ADA, "c");
    a.reply(ADA, "c", "ben", "ACCEPTED");
    let left: Vec<String> = both(&a, &b, fork).into_keys().map(|(_, uid)| uid).collect();
    assert_eq!(left, ["b", "c"]);
}

#[test]
fn objects_follow_their_account_to_its_number_here() {
    let (mut a, mut b, fork) = split(&base());
    let new =
        |name: &str| CreateAccount { address: format!("{name}@example.org"), name: name.into() };
    a.run(&new("dave")).unwrap();
    let (here, there) = (a.run(&new("carol")).unwrap(), b.run(&new("carol")).unwrap());
    assert_ne!(here, there);
    a.put(here, "x", 1, "left");
    b.put(there, "x", 2, "right");
    let all = both(&a, &b, fork);
    let carols: Vec<_> = all.iter().filter(|((who, _), _)| who == "carol@example.org").collect();
    assert_eq!(carols.iter().map(|(_, o)| o.text.as_str()).collect::<Vec<_>>(), ["right", "left"]);
}

fn act(node: &mut Node, (what, uid, n): (u8, u8, u8)) {
    let uid = ["a", "b", "c", "new"][usize::from(uid)];
    let said = ["ACCEPTED", "DECLINED", "TENTATIVE"][usize::from(n)];
    match what {
        0 => node.put(ADA, uid, u32::from(n), &format!("text {} {n}", node.epoch.0)),
        1 => node.put(ADA, uid, u32::from(n), "the same"),
        2 => node.reply(ADA, uid, "ann", said),
        3 => node.reply(ADA, uid, "ben", said),
        _ => node.remove(ADA, uid),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]
    #[test]
    fn calendars_come_out_the_same_whichever_side_leads(
        left in prop::collection::vec((0u8..5, 0u8..4, 0u8..3), 0..10),
        right in prop::collection::vec((0u8..5, 0u8..4, 0u8..3), 0..10),
        during in prop::collection::vec((0u8..5, 0u8..4, 0u8..3), 0..6),
    ) {
        let (mut a, mut b, fork) = split(&base());
        b.now += 500;
        left.iter().for_each(|d| act(&mut a, *d));
        right.iter().for_each(|d| act(&mut b, *d));
        let all = both(&a, &b, fork);
        // No text that was there on either side, and is not removed there, is lost.
        for (of, other) in [(&a, &b), (&b, &a)] {
            for ((who, uid), object) in of.objects() {
                let base = base().objects().get(&(who, uid.clone())).cloned();
                let changed = base.as_ref().is_none_or(|base| base.text != object.text);
                let wins = other.objects().values().any(|o| o.text == object.text);
                let there = all.values().any(|o| o.text == object.text);
                prop_assert!(!changed || wins || there, "{uid}: {} is lost", object.text);
            }
        }
        // The leader's clients go on meanwhile: what they put last is there, or a copy of it.
        let (mut during, mut last) = (during.into_iter(), BTreeMap::new());
        let merged = merge_while(&a, &b, fork, |node| {
            let Some((what, uid, n)) = during.next() else { return };
            act(node, (what, uid, n));
            if what != 2 && what != 3 {
                last.remove(&uid);
            }
            if what == 0 {
                last.insert(uid, format!("text {} {n}", node.epoch.0));
            }
        });
        for text in last.values() {
            prop_assert!(merged.objects().values().any(|o| o.text == *text), "{text} is lost");
        }
    }
}
