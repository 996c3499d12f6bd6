use super::*;
use crate::codec;
use crate::directory::{DirectoryRules, QuotaLimit, SetQuota};
use crate::id::{AccountId, EmailId, Epoch, Lsn, MailboxId, ModSeq, ThreadId, Uid, UploadId};
use crate::keys::{BodyAddress, BodyRef, KeysMut, MemKeys, Overlay};
use crate::message::Summary;
use crate::rule::{Apply, Command, DecideError, ENTRIES_PER_CHANGE_MAX, Moment, Position};
use crate::time::UnixMs;
use proptest::prelude::*;

const ME: AccountId = AccountId(1);
const AT: Position = Position { lsn: Lsn(1), epoch: Epoch(1) };

fn start() -> MemKeys {
    let mut keys = MemKeys::default();
    create_account_rows(&mut keys, ME, 7).unwrap();
    keys
}

type Decided<C> = Result<(Option<Vec<u8>>, <C as Command>::Answer), <C as Command>::Refusal>;

fn decide<C: Command>(keys: &MemKeys, command: &C) -> Decided<C> {
    let moment = Moment { now: UnixMs(1_700_000_000_000), random: [0; 32], fork: Epoch(0) };
    match command.decide(keys, moment) {
        Ok(decision) => Ok((decision.change, decision.answer)),
        Err(DecideError::Refused(why)) => Err(why),
        Err(e) => panic!("{e}"),
    }
}

fn run<C: Command>(keys: &mut MemKeys, command: &C) -> Result<C::Answer, C::Refusal> {
    let (change, answer) = decide(keys, command)?;
    if let Some(change) = change {
        MailboxRules.apply(keys, AT, &change).unwrap();
    }
    check_counts(keys);
    Ok(answer)
}

/// The invariants of the module's head.
fn check_counts(keys: &MemKeys) {
    assert_eq!(quota(keys, ME).unwrap().used, all_sizes(keys));
    for row in mailboxes(keys, ME).unwrap() {
        let entries = entries_range(keys, ME, row.id, (Uid(0), Uid(u32::MAX))).unwrap();
        let count = |f: &dyn Fn(&Entry) -> bool| {
            u32::try_from(entries.iter().filter(|e| f(e)).count()).unwrap()
        };
        assert_eq!(row.exists, count(&|_| true));
        assert_eq!(row.unseen, count(&|e| !e.flags.has(Flags::SEEN)));
        assert_eq!(row.deleted, count(&|e| e.flags.has(Flags::DELETED)));
        for e in entries {
            assert!(e.uid < row.uid_next);
            let email = email(keys, ME, e.email).unwrap().unwrap();
            assert_eq!((email.mailbox, email.uid, email.size), (row.id, e.uid, e.size));
        }
    }
}

fn all_sizes(keys: &MemKeys) -> u64 {
    let entries = |row: &Mailbox| entries_range(keys, ME, row.id, (Uid(0), Uid(u32::MAX))).unwrap();
    mailboxes(keys, ME).unwrap().iter().flat_map(entries).map(|e| e.size).sum()
}

fn body(keys: &mut MemKeys, n: u8) -> BodyRef {
    let upload = UploadId([n; 16]);
    keys.bodies.insert(upload, BodyAddress::default());
    BodyRef { upload, size: u64::from(n), hash: [n; 32] }
}

fn append(keys: &mut MemKeys, mailbox: MailboxId, flags: Flags) -> Uid {
    let body = body(keys, 3);
    let summary = Summary::default();
    let command = Append { account: ME, mailbox, body, summary, flags, internal_date: None };
    run(keys, &command).unwrap()
}

#[test]
fn what_goes_over_the_limit_is_refused_and_what_arrives_is_stored() {
    let mut keys = start();
    let limit = |keys: &mut MemKeys, account, limit| {
        let moment = Moment { now: UnixMs(1), random: [0; 32], fork: Epoch(0) };
        let decision = SetQuota { account, limit }.decide(keys, moment).unwrap();
        DirectoryRules.apply(keys, AT, &decision.change.unwrap()).unwrap();
    };
    let add = |keys: &mut MemKeys| {
        let (body, summary, flags) = (body(keys, 3), Summary::default(), Flags::default());
        let (account, mailbox) = (ME, INBOX);
        run(keys, &Append { account, mailbox, body, summary, flags, internal_date: None })
    };
    limit(&mut keys, None, QuotaLimit::Octets(7));
    assert_eq!([add(&mut keys), add(&mut keys)], [Ok(Uid(1)), Ok(Uid(2))]);
    assert_eq!(add(&mut keys), Err(MailboxRefusal::OverQuota));
    let copy = |to, remove| Copy { account: ME, from: INBOX, uids: vec![Uid(1)], to, remove };
    assert_eq!(run(&mut keys, &copy(INBOX, false)), Err(MailboxRefusal::OverQuota));
    run(&mut keys, &copy(MailboxId(6), true)).unwrap();
    // It was accepted while there was room.
    let body = body(&mut keys, 9);
    let (summary, to) = (Summary::default(), vec![Recipient { account: ME, mailbox: INBOX }]);
    let (flags, transaction) = (Flags::default(), [4; 16]);
    run(&mut keys, &Deliver { body, summary, transaction, to, outbound: None, flags, last: true })
        .unwrap();
    let now = quota(&keys, ME).unwrap();
    assert_eq!(now, Quota { used: 15, limit: Some(7) });
    assert!(now.is_full());
    // Said of the account itself, it counts whatever the tenant's is. (Accounts are the directory's.)
    keys.put(b"L\0\0\0\x01", &codec::encode(&QuotaLimit::Unlimited)).unwrap();
    assert_eq!(quota(&keys, ME).unwrap().limit, None);
    add(&mut keys).unwrap();
}

#[test]
fn an_account_that_was_never_counted_is_counted_once() {
    let mut keys = start();
    append(&mut keys, INBOX, Flags::system(Flags::DELETED));
    append(&mut keys, INBOX, Flags::default());
    let forget = |keys: &mut MemKeys| keys.rows.retain(|key, _| key.first() != Some(&b'Q'));
    forget(&mut keys);
    assert_eq!(quota(&keys, ME).unwrap().used, 6);
    append(&mut keys, INBOX, Flags::default());
    forget(&mut keys);
    run(&mut keys, &Expunge { account: ME, mailbox: INBOX, uids: vec![Uid(1)] }).unwrap();
    let row = keys.rows.iter().find(|(key, _)| key.first() == Some(&b'Q')).map(|(_, v)| v.clone());
    assert_eq!(row, Some(codec::encode(&6_u64)));
}

#[test]
fn a_subscription_raises_the_modseq_of_its_mailbox() {
    let mut keys = start();
    let before = account_state(&keys, ME).unwrap().unwrap().modseq;
    let command = Subscribe { account: ME, mailbox: MailboxId(2), subscribed: false };
    run(&mut keys, &command).unwrap();
    let row = mailbox(&keys, ME, MailboxId(2)).unwrap().unwrap();
    assert!(!row.subscribed && row.modseq == before.next());
    assert_eq!(account_state(&keys, ME).unwrap().unwrap().modseq, before.next());
    assert_eq!(decide(&keys, &command).unwrap().0, None);
}

#[test]
fn a_delivery_reaches_everybody_once_and_links_its_body() {
    let mut keys = start();
    let other = AccountId(2);
    create_account_rows(&mut keys, other, 7).unwrap();
    let body = body(&mut keys, 9);
    let to = [ME, other].map(|account| Recipient { account, mailbox: INBOX }).to_vec();
    let command = Deliver {
        body: body.clone(),
        summary: Summary::default(),
        transaction: [4; 16],
        to,
        outbound: None,
        flags: Flags::default(),
        last: true,
    };
    let (change, ()) = decide(&keys, &command).unwrap();
    let change = change.unwrap();
    assert_eq!(MailboxRules::transaction(&change), Some([4; 16]));
    MailboxRules.apply(&mut keys, AT, &change).unwrap();
    for account in [ME, other] {
        assert_eq!(mailbox(&keys, account, INBOX).unwrap().unwrap().exists, 1);
    }
    assert!(!keys.bodies.contains_key(&body.upload), "the upload is linked for good");
    assert_eq!(keys.woken, [1, 2]);
    let again = MailboxRules.apply(&mut keys, AT, &change);
    assert!(again.is_err(), "a body that was never uploaded is damage, not an empty message");
}

#[test]
fn whoever_follows_an_account_learns_all_places_in_pieces() {
    let mut keys = start();
    let since = account_state(&keys, ME).unwrap().unwrap().modseq;
    for _ in 0..5 {
        append(&mut keys, INBOX, Flags::system(Flags::DELETED));
    }
    let command = Expunge { account: ME, mailbox: INBOX, uids: vec![Uid(1), Uid(4)] };
    run(&mut keys, &command).unwrap();
    let state = account_state(&keys, ME).unwrap().unwrap();
    let whole = places_touched_since(&keys, ME, since, usize::MAX).unwrap();
    assert_eq!(whole.places, [1, 2, 3, 4, 5].map(|uid| (INBOX, Uid(uid))));
    assert!(whole.all && whole.last == state.modseq);
    let (mut at, mut places) = (since, Vec::new());
    loop {
        let piece = places_touched_since(&keys, ME, at, 2).unwrap();
        places.extend(piece.places);
        at = piece.last;
        if piece.all {
            break;
        }
    }
    assert_eq!(at, state.modseq);
    places.sort_unstable();
    places.dedup();
    assert_eq!(places, whole.places);
    let none = places_touched_since(&keys, ME, at, 2).unwrap();
    assert_eq!(none, PlacesTouched { places: Vec::new(), last: at, all: true });
    let ids = |range, limit| {
        let emails = emails_range(&keys, ME, range, limit).unwrap();
        emails.into_iter().map(|(id, _)| id.0).collect::<Vec<_>>()
    };
    assert_eq!(ids((EmailId(0), EmailId(5)), usize::MAX), [2, 3]);
    assert_eq!(ids((EmailId(0), state.email.next()), 2), [2, 3]);
    assert_eq!(account_states(&keys).unwrap(), [(ME, state)]);
}

#[test]
fn flags_change_only_where_they_differ() {
    let mut keys = start();
    let uid = append(&mut keys, INBOX, Flags::default());
    let set = |op, bits| SetFlags {
        account: ME,
        mailbox: INBOX,
        uids: vec![uid, Uid(99)],
        op,
        flags: Flags::system(bits),
    };
    let entries = run(&mut keys, &set(FlagsOp::Add, Flags::SEEN)).unwrap();
    assert_eq!(entries.len(), 1);
    assert!(entries[0].flags.has(Flags::SEEN));
    let (change, _) = decide(&keys, &set(FlagsOp::Add, Flags::SEEN)).unwrap();
    assert!(change.is_none(), "nothing to do needs no change");
    run(&mut keys, &set(FlagsOp::Set, Flags::DELETED)).unwrap();
    assert_eq!(entry(&keys, ME, INBOX, uid).unwrap().unwrap().flags.bits, Flags::DELETED);
    let touched = touched_since(&keys, ME, INBOX, ModSeq(1)).unwrap();
    assert_eq!(touched.changed, [uid]);
}

#[test]
fn moved_messages_get_new_uids_and_leave() {
    let mut keys = start();
    let (a, b) = (
        append(&mut keys, INBOX, Flags::default()),
        append(&mut keys, INBOX, Flags::system(Flags::SEEN)),
    );
    let archive = mailboxes(&keys, ME).unwrap().pop().unwrap().id;
    let command =
        Copy { account: ME, from: INBOX, uids: vec![a, Uid(77), b], to: archive, remove: true };
    assert_eq!(run(&mut keys, &command).unwrap(), [(a, Uid(1)), (b, Uid(2))]);
    assert_eq!(mailbox(&keys, ME, INBOX).unwrap().unwrap().exists, 0);
    assert_eq!(mailbox(&keys, ME, archive).unwrap().unwrap().unseen, 1);
    let gone = touched_since(&keys, ME, INBOX, ModSeq(1)).unwrap().expunged;
    assert_eq!(gone, [a, b]);
    let same = Copy { account: ME, from: archive, uids: vec![Uid(1)], to: archive, remove: false };
    assert_eq!(run(&mut keys, &same).unwrap(), [(Uid(1), Uid(3))]);
}

#[test]
fn only_deleted_messages_are_expunged_and_uids_stay_gone() {
    let mut keys = start();
    let kept = append(&mut keys, INBOX, Flags::default());
    let gone = append(&mut keys, INBOX, Flags::system(Flags::DELETED));
    let command = Expunge { account: ME, mailbox: INBOX, uids: vec![kept, gone] };
    assert_eq!(run(&mut keys, &command).unwrap(), [gone]);
    assert_eq!(append(&mut keys, INBOX, Flags::default()), Uid(gone.0 + 1));
}

#[test]
fn mailboxes_are_created_renamed_and_deleted_with_their_levels() {
    let mut keys = start();
    let create = |name: &str| CreateMailbox { account: ME, name: name.into(), role: None };
    let leaf = run(&mut keys, &create("Work/2026/Q1/")).unwrap();
    let names: Vec<String> =
        mailboxes(&keys, ME).unwrap().into_iter().map(|m| m.name).skip(6).collect();
    assert_eq!(names, ["Work", "Work/2026", "Work/2026/Q1"]);
    for (name, why) in [
        ("inbox", MailboxRefusal::AlreadyExists),
        ("Work", MailboxRefusal::AlreadyExists),
        ("a//b", MailboxRefusal::BadName("a level of it is empty")),
        ("a\nb", MailboxRefusal::BadName("it has control characters")),
    ] {
        assert_eq!(run(&mut keys, &create(name)), Err(why), "{name}");
    }
    let work = mailboxes(&keys, ME).unwrap()[6].id;
    let rename = |mailbox, name: &str| RenameMailbox { account: ME, mailbox, name: name.into() };
    assert!(run(&mut keys, &rename(work, "Work/below")).is_err());
    assert_eq!(run(&mut keys, &rename(INBOX, "x")), Err(MailboxRefusal::IsInbox));
    run(&mut keys, &rename(work, "Old/Work")).unwrap();
    assert_eq!(mailbox(&keys, ME, leaf).unwrap().unwrap().name, "Old/Work/2026/Q1");
    append(&mut keys, leaf, Flags::default());
    let delete = DeleteMailbox { account: ME, mailbox: leaf };
    assert_eq!(run(&mut keys, &delete), Err(MailboxRefusal::NotEmpty));
}

#[derive(Clone, Debug)]
enum Step {
    Append(u32, u8),
    Flags(u32, Vec<u32>, u8, u8),
    Copy(u32, Vec<u32>, u32, bool),
    Expunge(u32, Vec<u32>),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let mailbox = 1u32..4;
    let uids = prop::collection::btree_set(1u32..12, 0..5).prop_map(|s| s.into_iter().collect());
    let step = prop_oneof![
        (mailbox.clone(), 0u8..32).prop_map(|(m, f)| Step::Append(m, f)),
        (mailbox.clone(), uids, 0u8..3, 0u8..32).prop_map(|(m, u, o, f)| Step::Flags(m, u, o, f)),
        (mailbox.clone(), prop::collection::vec(1u32..12, 0..5), mailbox.clone(), any::<bool>())
            .prop_map(|(m, mut u, t, r)| {
                u.sort_unstable();
                u.dedup();
                Step::Copy(m, u, t, r)
            }),
        (mailbox, prop::collection::vec(1u32..12, 0..5)).prop_map(|(m, mut u)| {
            u.sort_unstable();
            u.dedup();
            Step::Expunge(m, u)
        }),
    ];
    prop::collection::vec(step, 0..30)
}

fn to_uids(uids: Vec<u32>) -> Vec<Uid> {
    uids.into_iter().map(Uid).collect()
}

#[test]
fn the_longest_changes_fit_into_what_one_change_may_touch() {
    let mut keys = start();
    append(&mut keys, INBOX, Flags::system(Flags::DELETED));
    let all = |keys: &MemKeys| {
        let all = entries_range(keys, ME, INBOX, (Uid(0), Uid(u32::MAX))).unwrap();
        all.into_iter().map(|e| e.uid).take(UIDS_PER_CHANGE_MAX).collect::<Vec<_>>()
    };
    while all(&keys).len() < UIDS_PER_CHANGE_MAX {
        let (uids, remove) = (all(&keys), false);
        run(&mut keys, &Copy { account: ME, from: INBOX, uids, to: INBOX, remove }).unwrap();
    }
    let rows = |keys: &MemKeys, change: Option<Vec<u8>>| {
        let mut overlay = Overlay::new(keys);
        MailboxRules.apply(&mut overlay, AT, &change.unwrap()).unwrap();
        assert!(overlay.len() <= ENTRIES_PER_CHANGE_MAX, "{}", overlay.len());
    };
    let (uids, to) = (all(&keys), MailboxId(6));
    let moved = Copy { account: ME, from: INBOX, uids: uids.clone(), to, remove: true };
    rows(&keys, decide(&keys, &moved).unwrap().0);
    let expunge = Expunge { account: ME, mailbox: INBOX, uids: uids.clone() };
    rows(&keys, decide(&keys, &expunge).unwrap().0);
    let graves = uids.into_iter().map(|uid| (ME, INBOX, uid)).collect();
    for n in 2..=u32::try_from(RECIPIENTS_PER_CHANGE_MAX).unwrap() {
        create_account_rows(&mut keys, AccountId(n), 7).unwrap();
    }
    let to = (1..=u32::try_from(RECIPIENTS_PER_CHANGE_MAX).unwrap())
        .map(|n| Recipient { account: AccountId(n), mailbox: INBOX })
        .collect();
    let ids = |name: &str| (0..4).map(|n| format!("{name}{n}@example.org")).collect::<Vec<_>>();
    let summary = Summary {
        message_id: Some("a@example.org".into()),
        in_reply_to: ids("b"),
        references: ids("c"),
        ..Summary::default()
    };
    let body = body(&mut keys, 9);
    let (flags, transaction) = (Flags::default(), [0; 16]);
    let deliver = Deliver { body, summary, transaction, to, outbound: None, flags, last: true };
    rows(&keys, decide(&keys, &deliver).unwrap().0);
    rows(&keys, decide(&keys, &ForgetGraves { graves, mailboxes: Vec::new() }).unwrap().0);
}

/// Each message of the account by its id, with its mailbox.
fn all_emails(keys: &MemKeys) -> std::collections::BTreeMap<EmailId, (MailboxId, Entry)> {
    let mut all = std::collections::BTreeMap::new();
    for row in mailboxes(keys, ME).unwrap() {
        for entry in entries_range(keys, ME, row.id, (Uid(0), Uid(u32::MAX))).unwrap() {
            assert_eq!(
                thread_emails(keys, ME, thread_of(keys, ME, entry.email).unwrap()).unwrap(),
                [entry.email]
            );
            assert!(all.insert(entry.email, (row.id, entry)).is_none());
        }
    }
    all
}

#[test]
fn too_many_changes_are_not_told_one_by_one() {
    let mut keys = start();
    for _ in 0..3 {
        append(&mut keys, INBOX, Flags::default());
    }
    let since = |since, max| account_since(&keys, ME, ModSeq(since), max).unwrap();
    assert_eq!(since(1, 2), None);
    assert_eq!(since(1, 3).unwrap().emails.len(), 3);
    assert_eq!(since(2, 2).unwrap().emails.len(), 2);
}

#[test]
fn a_move_keeps_ids_and_what_goes_is_told() {
    let mut keys = start();
    let (archive, mine) = (MailboxId(6), MailboxId(7));
    let uid = append(&mut keys, INBOX, Flags::system(Flags::DELETED));
    let id = entry(&keys, ME, INBOX, uid).unwrap().unwrap().email;
    let moved = Copy { account: ME, from: INBOX, uids: vec![uid], to: archive, remove: true };
    let new = run(&mut keys, &moved).unwrap()[0].1;
    assert_eq!(entry(&keys, ME, archive, new).unwrap().unwrap().email, id);
    // Within one mailbox, too: it gets another UID.
    let again = Copy { account: ME, from: archive, uids: vec![new], to: archive, remove: true };
    let newer = run(&mut keys, &again).unwrap()[0].1;
    assert!(newer > new);
    assert_eq!(email(&keys, ME, id).unwrap().unwrap().uid, newer);
    let state = account_state(&keys, ME).unwrap().unwrap();
    run(&mut keys, &Expunge { account: ME, mailbox: archive, uids: vec![newer] }).unwrap();
    run(&mut keys, &CreateMailbox { account: ME, name: "mine".into(), role: None }).unwrap();
    run(&mut keys, &DeleteMailbox { account: ME, mailbox: mine }).unwrap();
    let told = account_since(&keys, ME, state.modseq, 10).unwrap().unwrap();
    assert_eq!(told.gone.emails, [(id, ThreadId(id.0))]);
    assert_eq!((told.gone.mailboxes, told.emails), (vec![mine], vec![]));
}

proptest! {
    /// Whatever is done: counts hold, UIDs grow, and whoever follows the change log from any point
    /// ends with the same mailbox as whoever reads it afresh.
    #[test]
    fn the_change_log_tells_everything(steps in steps(), follow_from in 0usize..30) {
        let mut keys = start();
        let mut since = ModSeq(1);
        let mut known: std::collections::BTreeMap<Uid, Entry> = Default::default();
        let mut all_uids: std::collections::BTreeSet<(MailboxId, Uid)> = Default::default();
        let mut emails = all_emails(&keys);
        for (i, step) in steps.into_iter().enumerate() {
            if i == follow_from {
                let row = mailbox(&keys, ME, INBOX).unwrap().unwrap();
                since = account_state(&keys, ME).unwrap().unwrap().modseq;
                known = entries_range(&keys, ME, row.id, (Uid(0), Uid(u32::MAX))).unwrap()
                    .into_iter().map(|e| (e.uid, e)).collect();
                emails = all_emails(&keys);
            }
            match step {
                Step::Append(m, f) => {
                    let uid = append(&mut keys, MailboxId(m), Flags::system(f));
                    prop_assert!(all_uids.insert((MailboxId(m), uid)), "a UID is given twice");
                }
                Step::Flags(m, u, op, f) => {
                    let op = [FlagsOp::Add, FlagsOp::Remove, FlagsOp::Set][op as usize];
                    let flags = Flags::system(f);
                    run(&mut keys, &SetFlags { account: ME, mailbox: MailboxId(m), uids: to_uids(u), op, flags }).unwrap();
                }
                Step::Copy(m, u, t, remove) => {
                    let pairs = run(&mut keys, &Copy { account: ME, from: MailboxId(m), uids: to_uids(u), to: MailboxId(t), remove }).unwrap();
                    for (_, new) in pairs {
                        prop_assert!(all_uids.insert((MailboxId(t), new)), "a UID is given twice");
                    }
                }
                Step::Expunge(m, u) => {
                    run(&mut keys, &Expunge { account: ME, mailbox: MailboxId(m), uids: to_uids(u) }).unwrap();
                }
            }
        }
        let touched = touched_since(&keys, ME, INBOX, since).unwrap();
        for uid in touched.expunged { known.remove(&uid); }
        for uid in touched.changed {
            if let Some(e) = entry(&keys, ME, INBOX, uid).unwrap() { known.insert(uid, e); }
        }
        let fresh: Vec<Entry> = entries_range(&keys, ME, INBOX, (Uid(0), Uid(u32::MAX))).unwrap();
        prop_assert_eq!(known.into_values().collect::<Vec<_>>(), fresh);

        // The same for the whole account, by the ids of its messages.
        let told = account_since(&keys, ME, since, usize::MAX).unwrap().unwrap();
        let now = all_emails(&keys);
        for (id, thread) in told.gone.emails {
            prop_assert_eq!(thread, ThreadId(id.0));
            emails.remove(&id);
        }
        for id in told.emails {
            emails.insert(id, now.get(&id).cloned().unwrap());
        }
        prop_assert_eq!(emails, now);
    }

    /// The decider's overlay and the view end with the same rows.
    #[test]
    fn an_overlay_applies_like_the_view(bits in 0u8..32, n in 1usize..5) {
        let mut keys = start();
        for _ in 0..n { append(&mut keys, INBOX, Flags::default()); }
        let command = SetFlags { account: ME, mailbox: INBOX, uids: to_uids(vec![1, 2, 3]), op: FlagsOp::Add, flags: Flags::system(bits) };
        let (change, _) = decide(&keys, &command).unwrap();
        if let Some(change) = change {
            let base = keys.clone();
            let mut overlay = Overlay::new(&base);
            MailboxRules.apply(&mut overlay, AT, &change).unwrap();
            MailboxRules.apply(&mut keys, AT, &change).unwrap();
            for (key, value) in overlay.into_writes() {
                prop_assert_eq!(keys.rows.get(&key), value.as_ref());
            }
        }
    }
}
