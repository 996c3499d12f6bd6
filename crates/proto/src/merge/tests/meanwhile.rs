//! What the leader's clients do while a branch is merged: any of their operations, before any task.

use super::*;
use crate::mailbox::{ForgetGraves, graves};

/// The stage in which messages are merged.
const MESSAGES: u8 = 4;

/// Merges; the leader's client does `what` right after the messages' stage began.
fn merged_while(a: &Node, b: &Node, fork: Lsn, what: impl Fn(&mut Node)) -> Node {
    let (id, mut done) = (BranchId { fork, epoch: b.epoch }, false);
    merge_while(a, b, fork, |node| {
        let stage = progress(&node.keys, id).unwrap().unwrap().stage;
        if stage == MESSAGES && !std::mem::replace(&mut done, true) {
            what(node);
        }
    })
}

/// Where message `n` is, with its flags.
fn places(node: &Node, n: u32) -> Vec<(MailboxId, u8)> {
    let all = node.messages(ADA).into_iter().filter(|m| m.2[..4] == n.to_be_bytes());
    all.map(|(row, entry, _)| (row.id, entry.flags.bits)).collect()
}

#[test]
fn a_copy_of_what_was_moved_and_expunged_meanwhile_is_kept() {
    let (a, mut b, fork) = split(&Node::new());
    b.act(&Do::Copy(0, 0, 1, false), 1_002);
    let merged = merged_while(&a, &b, fork, |node| {
        node.act(&Do::Copy(0, 0, 2, true), 1_003);
        node.act(&Do::Copy(2, 0, 3, true), 1_003);
        node.act(&Do::Expunge(3, 0), 1_003);
    });
    // A copy alone is a change: the message survives its expunge, where the branch left it.
    assert_eq!(places(&merged, 100), [(INBOX, 0), (box_of(1), 0)]);
}

#[test]
fn what_the_branch_did_follows_a_message_that_is_moved_meanwhile() {
    let (a, mut b, fork) = split(&Node::new());
    b.act(&Do::Flags(0, 0, 0, Flags::FLAGGED), 1_002);
    b.act(&Do::Copy(0, 1, 2, true), 1_002);
    b.act(&Do::Expunge(0, 1), 1_002);
    let merged = merged_while(&a, &b, fork, |node| {
        (0..3).for_each(|_| node.act(&Do::Copy(0, 0, 1, true), 1_003));
        node.act(&Do::Copy(1, 0, 3, true), 1_003);
    });
    assert_eq!(places(&merged, 100), [(box_of(3), Flags::FLAGGED)]);
    assert_eq!(places(&merged, 101), [(box_of(1), 0), (box_of(2), 0)], "moved on both sides");
    assert_eq!(places(&merged, 102), [(box_of(1), 0)], "expunged against moved");
    for side in [&a, &b] {
        check_uids(side, &merged).unwrap();
    }
}

#[test]
fn nothing_is_kept_of_moves_and_expunges_once_no_branch_can_exist() {
    let mut node = Node::new();
    node.act(&Do::Copy(0, 0, 1, true), 1_001);
    node.act(&Do::Expunge(0, 0), 1_001);
    let rows = |node: &Node, table: u8| {
        let (from, to) = Key::new(table).range();
        node.keys.rows.range(from..to).count()
    };
    assert_eq!((rows(&node, b'f'), rows(&node, b'g')), (1, 1));
    assert_eq!(graves(&node.keys, 1).unwrap().0.len(), 1);
    let (graves, mailboxes) = graves(&node.keys, 10).unwrap();
    node.run(&ForgetGraves { graves, mailboxes }).unwrap();
    assert_eq!((rows(&node, b'f'), rows(&node, b'g')), (0, 0));
}

/// Changes of the same few messages, so that both sides and the clients meet at them.
fn mail() -> impl Strategy<Value = Vec<Do>> {
    let (m, u) = (|| 0u8..2, || 0u8..3);
    let one = prop_oneof![
        4 => (m(), u(), 0u8..4, any::<bool>()).prop_map(|(m, u, t, r)| Do::Copy(m, u, t, r)),
        1 => (m(), u(), 0u8..3, 0u8..32).prop_map(|(m, u, o, f)| Do::Flags(m, u, o, f)),
        1 => (m(), u()).prop_map(|(m, u)| Do::Expunge(m, u)),
    ];
    prop::collection::vec(one, 0..6)
}

/// What clients do, and so many steps of the merge later than what they did before.
fn during() -> impl Strategy<Value = Vec<(usize, Do)>> {
    let does = prop_oneof![does(), mail()];
    (does, prop::collection::vec(0usize..6, 14))
        .prop_map(|(does, skips)| skips.into_iter().zip(does).collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]
    #[test]
    fn nothing_vanishes_whatever_the_leaders_clients_do_during_a_merge(
        left in does(), right in prop_oneof![does(), mail()], during in during(),
    ) {
        let base = Node::new();
        let (mut a, mut b, fork) = split(&base);
        left.iter().for_each(|d| a.act(d, 1_001));
        right.iter().for_each(|d| b.act(d, 1_002));
        let (mut during, mut steps) = (during.iter().peekable(), 0);
        let merged = merge_while(&a, &b, fork, |node| {
            while let Some((_, does)) = during.next_if(|(skip, _)| *skip <= steps) {
                node.act(does, 1_003);
                steps = 0;
            }
            steps += 1;
        });
        counts(&merged);
        check_uids(&a, &merged)?;
        check_uids(&b, &merged)?;
        let (here, none) = (hashes(&merged), 0);
        let owed = |node: &Node, hash| node.owed.get(hash).copied().unwrap_or(none);
        for hash in merged.owed.keys().chain(b.owed.keys()).filter(|hash| !is_shared(**hash)) {
            let owed = owed(&merged, hash) + owed(&b, hash) - owed(&base, hash);
            let here = here.get(hash).copied().unwrap_or_default();
            prop_assert!(i64::try_from(here).unwrap() >= owed, "lost: {here} of {owed}");
        }
    }
}
