use super::*;
use crate::codec;
use crate::id::{AccountId, EmailId, Epoch, Lsn, ModSeq, QueueId, UploadId};
use crate::keys::{BodyAddress, BodyPart, BodyRef, MemKeys, Overlay};
use crate::mailbox::{self, Append, Flags, INBOX, MailboxRules, create_account_rows};
use crate::message::Summary;
use crate::queue::{self, QueueRules, Settle};
use crate::record::PAYLOAD_LEN_MAX;
use crate::rule::{Apply, Command, DecideError, ENTRIES_PER_CHANGE_MAX, Moment, Position};
use crate::time::UnixMs;

const ADA: AccountId = AccountId(1);
const CARD: ObjectType = ObjectType::ContactCard;

struct Bench {
    keys: MemKeys,
    now: u64,
    lsn: u64,
}

impl Bench {
    fn new() -> Self {
        let mut keys = MemKeys::default();
        create_account_rows(&mut keys, ADA, 1).unwrap();
        Self { keys, now: 1_700_000_000_000, lsn: 0 }
    }

    fn run<C: Command>(&mut self, command: &C) -> Result<C::Answer, C::Refusal> {
        self.lsn += 1;
        let mut random = [0; 32];
        random[..8].copy_from_slice(&self.lsn.to_be_bytes());
        let moment = Moment { now: UnixMs(self.now), random, fork: Epoch(0) };
        let decision = match command.decide(&self.keys, moment) {
            Ok(decision) => decision,
            Err(DecideError::Refused(why)) => return Err(why),
            Err(e) => panic!("{e}"),
        };
        if let Some(change) = decision.change {
            assert!(change.len() <= PAYLOAD_LEN_MAX - 1_024, "it does not fit into a record");
            let at = Position { lsn: Lsn(self.lsn), epoch: Epoch(1) };
            let mut rows = Overlay::new(&self.keys);
            ObjectsRules.apply(&mut rows, at, &change).unwrap();
            assert!(rows.len() <= ENTRIES_PER_CHANGE_MAX);
            ObjectsRules.apply(&mut self.keys, at, &change).unwrap();
        }
        Ok(decision.answer)
    }

    fn set(&mut self, put: Vec<NewObject>, destroy: Vec<ObjectId>) -> SetAnswer {
        self.run(&set(CARD, put, destroy)).unwrap()
    }

    fn card(&mut self, json: &str) -> ObjectId {
        self.set(vec![new(json)], vec![]).put.remove(0).unwrap().id
    }

    fn upload(&mut self, size: u64) -> Result<ObjectId, ObjectRefusal> {
        self.now += 1;
        let upload = UploadId(self.now.to_be_bytes().repeat(2).try_into().unwrap());
        let part = BodyPart { pack: 1, offset: 2, stored_len: 3, len: 4 };
        self.keys.bodies.insert(upload, BodyAddress { parts: vec![part] });
        let body = BodyRef { upload, size, hash: [7; 32] };
        self.run(&KeepUpload { account: ADA, body, media: "a/b".into(), name: "\"x\"".into() })
    }

    /// A message of Ada's.
    fn email(&mut self) -> EmailId {
        self.now += 1;
        let upload = UploadId(self.now.to_be_bytes().repeat(2).try_into().unwrap());
        let part = BodyPart { pack: 1, offset: 2, stored_len: 3, len: 4 };
        self.keys.bodies.insert(upload, BodyAddress { parts: vec![part] });
        let append = Append {
            account: ADA,
            mailbox: INBOX,
            body: BodyRef { upload, size: 4, hash: [7; 32] },
            summary: Summary::default(),
            flags: Flags::default(),
            internal_date: None,
        };
        let moment = Moment { now: UnixMs(self.now), random: [0; 32], fork: Epoch(0) };
        let change = append.decide(&self.keys, moment).unwrap().change.unwrap();
        let at = Position { lsn: Lsn(1), epoch: Epoch(1) };
        MailboxRules.apply(&mut self.keys, at, &change).unwrap();
        mailbox::account_state(&self.keys, ADA).unwrap().unwrap().email
    }

    fn submit(&mut self, to: Vec<String>, hold: u64) -> Result<ObjectId, ObjectRefusal> {
        let (email, at) = (self.email(), UnixMs(self.now + hold));
        let (from, json) = ("ada@here".to_owned(), "{}".to_owned());
        self.run(&Submit { account: ADA, email, from, to, at, json }).map(|w| w.id)
    }

    fn unsend(&mut self, id: &ObjectId) -> Result<Written, ObjectRefusal> {
        self.run(&Unsend { account: ADA, id: id.clone(), json: "cancelled".into() })
    }

    fn changes(&self, since: u64, most: usize) -> Changes {
        changes(&self.keys, ADA, CARD, ModSeq(since), most).unwrap().unwrap()
    }
}

fn set(object_type: ObjectType, put: Vec<NewObject>, destroy: Vec<ObjectId>) -> SetObjects {
    SetObjects { account: ADA, object_type, if_state: None, put, destroy }
}

fn new(json: &str) -> NewObject {
    NewObject { json: json.to_owned(), ..NewObject::default() }
}

fn again(id: &ObjectId, json: &str) -> NewObject {
    NewObject { id: Some(id.clone()), ..new(json) }
}

#[test]
fn objects_come_change_and_go_and_each_as_far_as_it_can() {
    let mut bench = Bench::new();
    let first = bench.set(vec![new("1"), new("2")], vec![]);
    let ids: Vec<_> = first.put.iter().map(|p| p.as_ref().unwrap().id.clone()).collect();
    assert_ne!(ids[0], ids[1]);
    assert!(ids.iter().all(|id| id.as_str().starts_with('c') && id.as_str().len() == 33));
    assert_eq!(ObjectId::parse(ids[0].as_str()), Some(ids[0].clone()));
    assert_eq!((first.old, first.new), (ModSeq(0), ModSeq(2)));
    let nobody = ObjectId::parse("nobody").unwrap();
    let known = |n| NewObject { if_modseq: Some(ModSeq(n)), ..again(&ids[0], "3") };
    let put = vec![known(9), again(&nobody, "4"), known(1)];
    let answer = bench.set(put, vec![nobody.clone(), ids[1].clone(), ids[1].clone()]);
    assert_eq!(answer.put[0], Err(ObjectRefusal::Changed));
    assert_eq!(answer.put[1], Err(ObjectRefusal::NotFound));
    assert_eq!(answer.put[2], Err(ObjectRefusal::Twice));
    let gone = [Err(ObjectRefusal::Twice), Ok(()), Err(ObjectRefusal::Twice)];
    assert_eq!(answer.destroyed, gone);
    let answer = bench.set(vec![known(1)], vec![]);
    let written = answer.put[0].clone().unwrap();
    assert_eq!(written.modseq, answer.new);
    assert!(written.updated > written.created, "although the clock stands still");
    let all = objects(&bench.keys, ADA, CARD, None, 10).unwrap();
    assert_eq!(all.iter().map(|o| o.json.as_str()).collect::<Vec<_>>(), ["3"]);
    assert!(objects(&bench.keys, ADA, CARD, Some(&all[0].id), 10).unwrap().is_empty());
    assert_eq!(object(&bench.keys, ADA, CARD, &ids[1]).unwrap(), None);
    let counters = ObjectState { modseq: ModSeq(4), count: 1, bytes: 1 };
    assert_eq!(state(&bench.keys, ADA, CARD).unwrap(), counters);
    assert!(bench.keys.woken.contains(&1));
    let stale = SetObjects { if_state: Some(ModSeq(3)), ..set(CARD, vec![], vec![]) };
    assert_eq!(bench.run(&stale), Err(ObjectRefusal::State));
    let nobody = SetObjects { account: AccountId(9), ..set(CARD, vec![], vec![]) };
    assert_eq!(bench.run(&nobody), Err(ObjectRefusal::NoSuchAccount));
}

#[test]
fn ids_are_given_by_one_side_alone() {
    let mut bench = Bench::new();
    let mut put = |object_type, new| {
        bench.run(&set(object_type, vec![new], vec![])).unwrap().put.remove(0).map(|w| w.id)
    };
    let one = ObjectId::singleton();
    assert_eq!(put(ObjectType::Preferences, new("{}")), Err(ObjectRefusal::Id));
    assert_eq!(put(ObjectType::Preferences, again(&one, "{}")), Ok(one.clone()));
    let other = ObjectId::parse("other").unwrap();
    assert_eq!(put(ObjectType::Preferences, again(&other, "{}")), Err(ObjectRefusal::Full));
    assert_eq!(put(ObjectType::Upload, new("{}")), Err(ObjectRefusal::Id));
    for bad in ["", "a b", "a/b", "ä", &"x".repeat(65)] {
        assert_eq!(ObjectId::parse(bad), None, "{bad}");
    }
    for object_type in ObjectType::ALL {
        assert_eq!(ObjectType::by_name(object_type.name()), Some(object_type));
    }
}

#[test]
fn changes_can_be_asked_for_in_pieces_of_any_length() {
    let mut bench = Bench::new();
    let (a, b) = (bench.card("a"), bench.card("b"));
    bench.set(vec![again(&a, "a2"), new("c")], vec![b.clone()]);
    let all = bench.changes(0, 100);
    assert_eq!((all.to, all.more, all.created.len()), (ModSeq(5), false, 2));
    assert!(all.updated.is_empty() && all.destroyed.is_empty(), "it came and went: {all:?}");
    let since = bench.changes(2, 100);
    assert_eq!((since.updated, since.destroyed, since.created.len()), (vec![a], vec![b], 1));
    assert_eq!(changes(&bench.keys, ADA, CARD, ModSeq(6), 9).unwrap(), None);
    for most in [0, 1, 2, 3] {
        let (mut at, mut known) = (0, std::collections::BTreeSet::new());
        loop {
            let some = bench.changes(at, most);
            assert!(some.created.len() + some.updated.len() + some.destroyed.len() <= most.max(1));
            known.extend(some.created.into_iter().chain(some.updated));
            some.destroyed.iter().for_each(|id| {
                known.remove(id);
            });
            at = some.to.0;
            if !some.more {
                break;
            }
        }
        let here = objects(&bench.keys, ADA, CARD, None, 10).unwrap();
        assert!(known.into_iter().eq(here.into_iter().map(|o| o.id)), "{most}");
    }
}

#[test]
fn what_is_too_much_is_refused_and_what_is_allowed_fits() {
    let mut bench = Bench::new();
    let long = "x".repeat(JSON_LEN_MAX);
    assert!(bench.set(vec![new(&long)], vec![]).put[0].is_ok());
    let answer = bench.set(vec![new(&(long.clone() + "x"))], vec![]);
    assert_eq!(answer.put[0], Err(ObjectRefusal::TooLarge));
    let two = set(CARD, vec![new(&long), new(&long)], vec![]);
    assert_eq!(bench.run(&two), Err(ObjectRefusal::TooMuch));
    let many = |n| vec![new("{}"); n];
    assert!(bench.set(many(OBJECTS_PER_CHANGE_MAX), vec![]).put.iter().all(Result::is_ok));
    let more = set(CARD, many(OBJECTS_PER_CHANGE_MAX + 1), vec![]);
    assert_eq!(bench.run(&more), Err(ObjectRefusal::TooMuch));
    let most = usize::try_from(ObjectType::Identity.most()).unwrap();
    let answer = bench.run(&set(ObjectType::Identity, many(most + 1), vec![])).unwrap();
    assert_eq!(answer.put.iter().filter(|p| p.is_ok()).count(), most);
    assert_eq!(answer.put[most], Err(ObjectRefusal::Full));
}

#[test]
fn uploads_are_kept_for_a_while_and_the_oldest_make_room() {
    let mut bench = Bench::new();
    let first = bench.upload(5).unwrap();
    let row = object(&bench.keys, ADA, ObjectType::Upload, &first).unwrap().unwrap();
    assert_eq!(row.body.unwrap().size, 5);
    assert!(bench.keys.bodies.is_empty(), "linked for the last time");
    let json: serde_json::Value = serde_json::from_str(&row.json).unwrap();
    assert_eq!((json["name"].as_str(), json["size"].as_u64()), (Some("\"x\""), Some(5)));
    let second = bench.upload(UPLOAD_BYTES_MAX - 10_000).unwrap();
    assert!(object(&bench.keys, ADA, ObjectType::Upload, &first).unwrap().is_some());
    let third = bench.upload(20_000).unwrap();
    let left = objects(&bench.keys, ADA, ObjectType::Upload, None, 10).unwrap();
    assert_eq!(left.len(), 1, "{first} {second}");
    assert_eq!(left[0].id, third);
    let (account, object_type) = (ADA, ObjectType::Upload);
    let mut forget = |before| {
        bench.run(&ForgetObjects { account, object_type, before: UnixMs(before) }).unwrap()
    };
    let now = row.created.0;
    assert_eq!((forget(now), forget(now + 10), forget(now + 10)), (0, 1, 0));
    assert_eq!(state(&bench.keys, ADA, ObjectType::Upload).unwrap().bytes, 0);
}

#[test]
fn a_file_travels_with_its_tenant() {
    let mut bench = Bench::new();
    let id = bench.upload(5).unwrap();
    let key = rows::key_object(ADA, ObjectType::Upload, &id);
    let (bare, body) = crate::carry::split(&key, &bench.keys.rows[&key]).unwrap().unwrap();
    assert_eq!(body.parts.len(), 1);
    let object: Object = codec::decode("object", &bare).unwrap();
    assert!(object.body.unwrap().address.is_empty());
    let card = bench.card("{}");
    let key = rows::key_object(ADA, CARD, &card);
    assert_eq!(crate::carry::split(&key, &bench.keys.rows[&key]).unwrap(), None);
}

#[test]
fn a_message_is_held_and_can_be_cancelled_until_its_time_has_come() {
    let mut bench = Bench::new();
    let to = |n: usize| (0..n).map(|i| format!("{i}@far.example")).collect::<Vec<_>>();
    let now = bench.submit(to(1), 0).unwrap();
    let later = bench.submit(to(120), 10_000).unwrap();
    let items = held(&bench.keys, ADA, &later).unwrap();
    assert_eq!(items.iter().map(|i| i.to.len()).collect::<Vec<_>>(), [50, 50, 20]);
    assert!(items.iter().all(|i| i.next.0 == bench.now + 10_000 && i.created == i.next));
    assert!(items.iter().all(|i| i.body.parts.len() == 1 && i.size == 4));
    assert_eq!(queue::items(&bench.keys, 10).unwrap().len(), 4);
    // Its time has come: somebody may be sending it.
    assert_eq!(bench.unsend(&now), Err(ObjectRefusal::Changed));
    bench.now += 9_999;
    let written = bench.unsend(&later).unwrap();
    assert!(held(&bench.keys, ADA, &later).unwrap().is_empty());
    let row = object(&bench.keys, ADA, ObjectType::EmailSubmission, &later).unwrap().unwrap();
    assert_eq!((row.json.as_str(), row.modseq), ("cancelled", written.modseq));
    assert_eq!(bench.unsend(&later), Err(ObjectRefusal::Changed), "it is not there any more");
    let nobody = ObjectId::parse("nobody").unwrap();
    assert_eq!(bench.unsend(&nobody), Err(ObjectRefusal::NotFound));
    assert_eq!(queue::items(&bench.keys, 10).unwrap().len(), 1);
    // One that was tried and waits for the next attempt is on its way.
    let tried = bench.submit(to(1), 0).unwrap();
    let id = held(&bench.keys, ADA, &tried).unwrap()[0].id;
    let (next, reason) = (UnixMs(bench.now + 60_000), "451".to_owned());
    let settle = Settle { id, done: vec![], next, reason, over: true };
    let at = Position { lsn: Lsn(1), epoch: Epoch(1) };
    QueueRules.apply(&mut bench.keys, at, &codec::encode(&settle)).unwrap();
    assert_eq!(bench.unsend(&tried), Err(ObjectRefusal::Changed));
}

#[test]
fn what_cannot_be_sent_is_refused_and_what_is_held_is_not_forgotten() {
    let mut bench = Bench::new();
    assert_eq!(bench.submit(vec![], 0), Err(ObjectRefusal::TooMuch));
    assert_eq!(bench.submit(vec!["x".repeat(ADDRESSES_LEN_MAX)], 0), Err(ObjectRefusal::TooMuch));
    let at = UnixMs(0);
    let (email, from, json) = (EmailId(9), String::new(), String::new());
    let gone = Submit { account: ADA, email, from, to: vec!["a@b".into()], at, json };
    assert_eq!(bench.run(&gone).unwrap_err(), ObjectRefusal::NotFound);
    let held_back = bench.submit(vec!["a@b".into()], u64::MAX / 2).unwrap();
    let most = u64::try_from(HOLD_MAX.as_millis()).unwrap();
    assert_eq!(held(&bench.keys, ADA, &held_back).unwrap()[0].next.0, bench.now + most);
    let (account, object_type) = (ADA, ObjectType::EmailSubmission);
    let forget = ForgetObjects { account, object_type, before: UnixMs(u64::MAX) };
    assert_eq!(bench.run(&forget), Ok(0));
    bench.unsend(&held_back).unwrap();
    assert_eq!(bench.run(&forget), Ok(1));
    assert!(!bench.keys.rows.keys().any(|key| key[0] == b'h'));
    assert_eq!(queue::item(&bench.keys, QueueId(1)).unwrap(), None);
}
