//! Objects of accounts on both sides of a fork.

use super::*;
use crate::id::ModSeq;
use crate::objects::{
    Changes, GiveAnswer, KeepUpload, NewObject, Object, ObjectId, ObjectType, SetAnswer,
    SetObjects, Submit, Unsend, held,
};

const CARD: ObjectType = ObjectType::ContactCard;
const PREFERENCES: ObjectType = ObjectType::Preferences;

/// What a queue has: recipients, when it is tried, and the body's first part.
type Queue = Vec<(Vec<String>, UnixMs, bool)>;
type All = BTreeMap<(String, &'static str, ObjectId), Version>;
/// JSON, `created`, `updated`, and whether there is a file.
type Version = (String, UnixMs, UnixMs, bool);

impl Node {
    fn set_objects(
        &mut self,
        (account, object_type): (AccountId, ObjectType),
        put: Vec<NewObject>,
        destroy: Vec<ObjectId>,
    ) -> SetAnswer {
        let set = SetObjects { account, object_type, if_state: None, put, destroy };
        self.run(&set).unwrap()
    }

    fn put_object(
        &mut self,
        of: (AccountId, ObjectType),
        id: Option<&ObjectId>,
        json: &str,
    ) -> ObjectId {
        let new = NewObject { id: id.cloned(), json: json.into(), if_modseq: None };
        self.set_objects(of, vec![new], vec![]).put.remove(0).unwrap().id
    }

    fn objects_of(&self, of: (AccountId, ObjectType)) -> Vec<Object> {
        objects::objects(&self.keys, of.0, of.1, None, 10_000).unwrap()
    }

    fn all_objects(&self) -> All {
        let mut all = BTreeMap::new();
        for account in directory::accounts(&self.keys).unwrap() {
            for object_type in ObjectType::ALL {
                let here = self.objects_of((account.id, object_type));
                let state = objects::state(&self.keys, account.id, object_type).unwrap();
                assert_eq!(usize::try_from(state.count).unwrap(), here.len(), "the count is wrong");
                let bytes: u64 = here
                    .iter()
                    .map(|o| o.json.len() as u64 + o.body.as_ref().map_or(0, |b| b.size))
                    .sum();
                assert_eq!(state.bytes, bytes, "the sum is wrong");
                for o in here {
                    assert!(o.modseq <= state.modseq);
                    let version = (o.json, o.created, o.updated, o.body.is_some());
                    all.insert((account.address.clone(), object_type.name(), o.id), version);
                }
            }
        }
        all
    }

    fn object_changes(&self, of: (AccountId, ObjectType), since: &Node) -> Changes {
        let since = objects::state(&since.keys, of.0, of.1).unwrap().modseq;
        objects::changes(&self.keys, of.0, of.1, since, 100_000).unwrap().unwrap()
    }
}

/// Whoever knew what `side` had and follows the changes has what there is now.
fn check_followed(side: &Node, merged: &Node, of: (AccountId, ObjectType)) {
    let changes = merged.object_changes(of, side);
    let now = merged.objects_of(of);
    let mut known: BTreeMap<ObjectId, (ModSeq, String)> =
        side.objects_of(of).into_iter().map(|o| (o.id, (o.modseq, o.json))).collect();
    for id in changes.created.iter().chain(&changes.updated) {
        if let Some(o) = now.iter().find(|o| o.id == *id) {
            // A version that was read under this modseq is this version.
            let before = known.insert(id.clone(), (o.modseq, o.json.clone()));
            assert!(before.is_none_or(|b| b.0 != o.modseq || b.1 == o.json), "{id}");
        }
    }
    for id in &changes.destroyed {
        known.remove(id);
    }
    let now = now.into_iter().map(|o| (o.id, (o.modseq, o.json)));
    assert_eq!(
        known.into_iter().map(|(id, (_, json))| (id, json)).collect::<Vec<_>>(),
        now.map(|(id, (_, json))| (id, json)).collect::<Vec<_>>()
    );
}

fn noted(merged: &Node, branch: &Node, fork: Lsn) -> Vec<(String, String, bool)> {
    let id = BranchId { fork, epoch: branch.epoch };
    let all = (0..).zip(notes(&merged.keys, id).unwrap());
    let kept = |n| original(&merged.keys, id, n).unwrap().is_some();
    all.map(|(n, note)| (note.rule, note.lost, kept(n) || note.original > Lsn(0))).collect()
}

/// Both ways round: the same, once and again, interrupted or not.
fn both(a: &Node, b: &Node, fork: Lsn) -> All {
    let (ab, ba) = (merge(a, b, fork, None), merge(b, a, fork, None));
    assert_eq!(ab.all_objects(), ba.all_objects(), "it depends on who leads");
    assert_eq!(merge(&ab, b, fork, None).keys.rows, ab.keys.rows, "merged again");
    for stop in [3, 8] {
        let half = merge(a, b, fork, Some(stop));
        assert_eq!(merge(&half, b, fork, None).all_objects(), ab.all_objects(), "interrupted");
    }
    for merged in [&ab, &ba] {
        for side in [a, b] {
            check_followed(side, merged, (ADA, CARD));
            check_followed(side, merged, (ADA, PREFERENCES));
        }
    }
    for (merged, other) in [(&ab, b), (&ba, a)] {
        assert!(noted(merged, other, fork).iter().all(|(.., kept)| *kept), "its original is gone");
    }
    ab.all_objects()
}

fn base() -> (Node, Vec<ObjectId>) {
    let mut base = Node::new();
    let ids = (0..3).map(|n| base.put_object((ADA, CARD), None, &format!("base {n}"))).collect();
    (base, ids)
}

fn texts(all: &All) -> Vec<String> {
    let mut texts: Vec<_> = all.values().map(|version| version.0.clone()).collect();
    texts.sort();
    texts
}

#[test]
fn the_later_version_wins_and_the_other_is_kept_whole() {
    let (base, ids) = base();
    let (mut a, mut b, fork) = split(&base);
    a.put_object((ADA, CARD), Some(&ids[0]), "left");
    b.now += 50_000;
    b.put_object((ADA, CARD), Some(&ids[0]), "right");
    a.put_object((ADA, CARD), Some(&ids[1]), "only left");
    b.put_object((ADA, CARD), Some(&ids[2]), "only right");
    let all = both(&a, &b, fork);
    assert_eq!(texts(&all), ["only left", "only right", "right"]);
    for (x, y) in [(&a, &b), (&b, &a)] {
        let noted = noted(&merge(x, y, fork, None), y, fork);
        assert_eq!(noted.len(), 1);
        assert_eq!((noted[0].1.as_str(), noted[0].2), ("left", true));
    }
    // What ours lost can be brought back.
    let id = BranchId { fork, epoch: b.epoch };
    let mut merged = merge(&a, &b, fork, None);
    let (kind, change) = original(&merged.keys, id, 0).unwrap().unwrap();
    let at = Position { lsn: Lsn(0), epoch: Epoch(0) };
    Node::rule(kind).apply(&mut merged.keys, at, &change).unwrap();
    assert_eq!(merged.objects_of((ADA, CARD)).iter().filter(|o| o.json == "left").count(), 1);
}

#[test]
fn removed_against_changed_survives_and_removed_alone_goes() {
    let (base, ids) = base();
    let (mut a, mut b, fork) = split(&base);
    a.set_objects((ADA, CARD), vec![], vec![ids[0].clone(), ids[1].clone()]);
    b.put_object((ADA, CARD), Some(&ids[0]), "right");
    b.set_objects((ADA, CARD), vec![], vec![ids[1].clone()]);
    b.set_objects((ADA, CARD), vec![], vec![ids[2].clone()]);
    let all = both(&a, &b, fork);
    assert_eq!(texts(&all), ["right"]);
    for (x, y) in [(&a, &b), (&b, &a)] {
        let noted = noted(&merge(x, y, fork, None), y, fork);
        assert_eq!(noted.len(), 1);
        assert_eq!(noted[0].1, "its removal");
    }
}

#[test]
fn objects_follow_their_account_and_files_their_bytes() {
    let (mut a, mut b, fork) = split(&Node::new());
    let new =
        |name: &str| CreateAccount { address: format!("{name}@example.org"), name: name.into() };
    a.run(&new("dave")).unwrap();
    let (here, there) = (a.run(&new("carol")).unwrap(), b.run(&new("carol")).unwrap());
    assert_ne!(here, there);
    let one = ObjectId::singleton();
    a.put_object((here, PREFERENCES), Some(&one), "left");
    b.put_object((there, CARD), None, "card");
    b.put_object((there, PREFERENCES), Some(&one), "first");
    b.now += 50_000;
    b.put_object((there, PREFERENCES), Some(&one), "right");
    let body = b.body(7);
    b.run(&KeepUpload { account: ADA, body, media: "a/b".into(), name: String::new() }).unwrap();
    let all = both(&a, &b, fork);
    let carols = all.iter().filter(|((who, ..), _)| who == "carol@example.org");
    assert_eq!(carols.map(|(_, v)| v.0.as_str()).collect::<Vec<_>>(), ["card", "right"]);
    let merged = merge(&a, &b, fork, None);
    let file = merged.objects_of((ADA, ObjectType::Upload)).remove(0);
    assert_eq!(file.body.unwrap().address.parts[0].pack, 9, "as it was shipped");
}

#[test]
fn objects_as_long_as_they_come_are_merged() {
    let (base, ids) = base();
    let (mut a, mut b, fork) = split(&base);
    let long = |c: &str| c.repeat(objects::JSON_LEN_MAX);
    for (node, c) in [(&mut a, "x"), (&mut b, "y")] {
        for id in &ids {
            node.put_object((ADA, CARD), Some(id), &long(c));
        }
        let many = vec![NewObject { json: c.into(), ..NewObject::default() }; 1_000];
        node.set_objects((ADA, CARD), many, vec![]);
    }
    let all = both(&a, &b, fork);
    assert_eq!(all.len(), 2_003);
    let merged = merge_while(&a, &b, fork, |node| {
        node.put_object((ADA, CARD), None, "meanwhile");
    });
    check_followed(&b, &merged, (ADA, CARD));
    check_followed(&a, &merged, (ADA, CARD));
}

fn act(node: &mut Node, ids: &[ObjectId], (what, which, n): (u8, u8, u8)) {
    let id = &ids[usize::from(which) % ids.len()];
    let text = format!("{} {n}", node.epoch.0);
    let there = node.objects_of((ADA, CARD)).iter().any(|o| o.id == *id);
    let one = ObjectId::singleton();
    match what {
        0 | 1 if there => {
            node.put_object((ADA, CARD), Some(id), if what == 0 { &text } else { "the same" });
        }
        2 if there => {
            node.set_objects((ADA, CARD), vec![], vec![id.clone()]);
        }
        3 => {
            node.put_object((ADA, CARD), None, &text);
        }
        4 => {
            node.put_object((ADA, PREFERENCES), Some(&one), &text);
        }
        5 => {
            node.set_objects((ADA, PREFERENCES), vec![], vec![one]);
        }
        // Of its own, if it has any: it came and goes.
        6 => {
            let mut all = node.objects_of((ADA, CARD)).into_iter().map(|o| o.id);
            if let Some(own) = all.rfind(|id| !ids.contains(id)) {
                node.set_objects((ADA, CARD), vec![], vec![own]);
            }
        }
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]
    #[test]
    fn objects_come_out_the_same_whichever_side_leads(
        left in prop::collection::vec((0u8..7, 0u8..3, 0u8..3), 0..10),
        right in prop::collection::vec((0u8..7, 0u8..3, 0u8..3), 0..10),
        during in prop::collection::vec((0u8..7, 0u8..3, 0u8..3), 0..8),
        skew in prop::sample::select(vec![0u64, 500, 50_000]),
    ) {
        let (base, ids) = base();
        let (mut a, mut b, fork) = split(&base);
        b.now += skew;
        left.iter().for_each(|d| act(&mut a, &ids, *d));
        right.iter().for_each(|d| act(&mut b, &ids, *d));
        let all = both(&a, &b, fork);
        // Whatever either side changed or made, and has, is there: as it was, or a later one.
        for side in [&a, &b] {
            for (key, version) in side.all_objects() {
                let changed = base.all_objects().get(&key) != Some(&version);
                let now = all.get(&key);
                prop_assert!(!changed || now.is_some_and(|now| now.2 >= version.2), "lost: {version:?}");
            }
        }
        // The leader's clients go on meanwhile: theirs is the latest, so it stays.
        let (mut during, mut last) = (during.into_iter(), None);
        let mut lead = a.clone();
        lead.now += 1_000_000;
        let merged = merge_while(&lead, &b, fork, |node| {
            if let Some(d) = during.next() {
                act(node, &ids, d);
                last = Some(node.all_objects());
            }
        });
        for side in [&a, &b] {
            check_followed(side, &merged, (ADA, CARD));
            check_followed(side, &merged, (ADA, PREFERENCES));
        }
        let now = merged.all_objects();
        for (key, version) in last.unwrap_or_default() {
            let new = version.2.0 > lead.now;
            prop_assert!(!new || now.get(&key) == Some(&version), "{version:?} is lost");
        }
    }
}

/// Two recipients, in ten seconds or at once.
fn submit(node: &mut Node, n: u32, hold: u64) -> Option<ObjectId> {
    let all = node.messages(ADA);
    let email = all.iter().find(|(_, _, hash)| hash[..4] == n.to_be_bytes())?.1.email;
    let to = ["x", "y"].map(|name| format!("{name}@{n}.example")).to_vec();
    let (from, json, at) = (String::new(), "pending".to_owned(), UnixMs(node.now + hold));
    Some(node.run(&Submit { account: ADA, email, from, to, at, json }).unwrap().id)
}

fn unsend(node: &mut Node, id: &ObjectId) -> bool {
    let (id, json) = (id.clone(), "canceled".to_owned());
    node.run(&Unsend { account: ADA, id, json }).is_ok()
}

fn queue_of(node: &Node) -> Queue {
    let all = queue::items(&node.keys, 100).unwrap().into_iter();
    let mut all: Queue = all.map(|i| (i.to, i.next, i.body.parts.is_empty())).collect();
    all.sort();
    all
}

#[test]
fn what_is_held_is_sent_once_or_cancelled_whoever_leads() {
    let mut base = Node::new();
    let both_know = submit(&mut base, 101, 900_000).unwrap();
    let (mut a, mut b, fork) = split(&base);
    // Of the branch's own: a message of theirs, one that was there and is moved here, one cancelled.
    b.deliver(ADA, 200, false, false);
    let theirs = submit(&mut b, 200, 900_000).unwrap();
    submit(&mut b, 102, 900_000).unwrap();
    a.act(&Do::Copy(0, 2, 1, true), 1_001);
    a.act(&Do::Expunge(1, 0), 1_001);
    let undone = submit(&mut b, 103, 900_000).unwrap();
    assert!(unsend(&mut b, &undone));
    assert!(unsend(&mut a, &both_know));
    let expected = [
        vec!["x@102.example".to_owned(), "y@102.example".into()],
        vec!["x@200.example".into(), "y@200.example".into()],
    ];
    let (ab, ba) = (merge(&a, &b, fork, None), merge(&b, &a, fork, None));
    for merged in [&ab, &ba] {
        let queue = queue_of(merged);
        let to: Vec<_> = queue
            .iter()
            .map(|(to, ..)| to.clone())
            .filter(|to| !to[0].ends_with("there.example"))
            .collect();
        assert_eq!(to, expected);
        assert!(queue.iter().all(|(_, _, bare)| !bare), "without its body");
        let submission = held(&merged.keys, ADA, &theirs).unwrap();
        assert_eq!(submission[0].to[0], "x@200.example", "its number is another one");
        let mut merged = (*merged).clone();
        assert!(unsend(&mut merged, &theirs), "it can be cancelled here, too");
        assert_eq!(queue_of(&merged).len(), queue.len() - 1);
    }
}

#[test]
fn whom_both_answered_has_one_answer_and_others_theirs() {
    let (mut a, mut b, fork) = split(&Node::new());
    let give = |node: &mut Node, n: u32, to: &str| {
        let body = node.body(n);
        node.run(&GiveAnswer { account: ADA, to: to.to_owned(), body })
    };
    give(&mut a, 1, "both@far.example").unwrap();
    give(&mut b, 2, "Both@far.example").unwrap();
    give(&mut b, 3, "theirs@far.example").unwrap();
    assert!(give(&mut b, 4, "theirs@far.example").is_err(), "once a week");
    b.now += u64::try_from(objects::ANSWERED_FOR.as_millis()).unwrap();
    for (x, y) in [(&a, &b), (&b, &a)] {
        let mut merged = merge(x, y, fork, None);
        let queue = queue_of(&merged).into_iter();
        let mut to: Vec<_> = queue
            .filter(|(to, ..)| to[0].contains("far.example"))
            .map(|(to, _, bare)| (to[0].to_lowercase(), bare))
            .collect();
        to.sort();
        assert_eq!(to, [("both@far.example".into(), false), ("theirs@far.example".into(), false)]);
        merged.now = a.now;
        assert!(give(&mut merged, 5, "theirs@far.example").is_err());
        assert!(notes(&merged.keys, BranchId { fork, epoch: y.epoch }).unwrap().is_empty());
    }
    assert!(give(&mut b, 6, "theirs@far.example").is_ok(), "a week later");
}

#[test]
fn what_was_sent_and_cancelled_is_noted() {
    let mut base = Node::new();
    let id = submit(&mut base, 101, 900_000).unwrap();
    let (mut a, mut b, fork) = split(&base);
    assert!(unsend(&mut a, &id));
    let item = held(&b.keys, ADA, &id).unwrap()[0].id;
    let (done, reason) = (vec!["x@101.example".to_owned()], String::new());
    b.run(&Settle { id: item, done, next: UnixMs(0), reason, over: true }).unwrap();
    for (x, y) in [(&a, &b), (&b, &a)] {
        let merged = merge(x, y, fork, None);
        assert!(held(&merged.keys, ADA, &id).unwrap().is_empty(), "the rest stays here");
        let branch = BranchId { fork, epoch: y.epoch };
        assert!(
            notes(&merged.keys, branch)
                .unwrap()
                .iter()
                .any(|n| n.rule.contains("sent on the other"))
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]
    #[test]
    fn queues_come_out_the_same_whichever_side_leads(
        left in prop::collection::vec((0u8..4, 0u8..4), 0..8),
        right in prop::collection::vec((0u8..4, 0u8..4), 0..8),
    ) {
        let mut base = Node::new();
        let mut first = Vec::new();
        for n in 0..3 {
            first.extend(submit(&mut base, 101 + n, 900_000));
        }
        let (mut a, mut b, fork) = split(&base);
        for (node, all, salt) in [(&mut a, left, 300), (&mut b, right, 400)] {
            let mut known = first.clone();
            for (what, n) in all {
                let id = known.get(usize::from(n)).cloned();
                match (what, id) {
                    (0, _) => {
                        node.deliver(ADA, salt + u32::from(n), false, false);
                        known.extend(submit(node, salt + u32::from(n), 900_000));
                    }
                    (1, _) => known.extend(submit(node, 101 + u32::from(n % 3), 900_000)),
                    (2, Some(id)) => {
                        unsend(node, &id);
                    }
                    (_, Some(id)) => {
                        let Some(item) = held(&node.keys, ADA, &id).unwrap().pop() else { continue };
                        let (done, reason) = (item.to[..1].to_vec(), String::new());
                        let settle = Settle { id: item.id, done, next: item.next, reason, over: true };
                        node.run(&settle).unwrap();
                    }
                    _ => {}
                }
            }
        }
        let (ab, ba) = (merge(&a, &b, fork, None), merge(&b, &a, fork, None));
        prop_assert_eq!(queue_of(&ab), queue_of(&ba));
        prop_assert_eq!(ab.all_objects(), ba.all_objects());
        prop_assert!(queue_of(&ab).iter().all(|(_, _, bare)| !bare));
        let half = merge(&a, &b, fork, Some(6));
        prop_assert_eq!(queue_of(&merge(&half, &b, fork, None)), queue_of(&ab));
    }
}
