//! What the leader's clients do while a branch is merged: any of their operations, before any task.

use super::*;
use crate::mailbox::{ForgetGraves, graves};

/// The stage in which messages are merged.
const MESSAGES: u8 = 4;
/// The directory's.
const DIRECTORY: u8 = 2;

/// Merges; the leader's client does `what` right after the messages' stage began.
fn merged_while(a: &Node, b: &Node, fork: Lsn, what: impl Fn(&mut Node)) -> Node {
    merged_while_in(MESSAGES, a, (b, fork), what)
}

fn merged_while_in(which: u8, a: &Node, (b, fork): (&Node, Lsn), what: impl Fn(&mut Node)) -> Node {
    let (id, mut done) = (BranchId { fork, epoch: b.epoch }, false);
    merge_while(a, b, fork, |node| {
        let stage = progress(&node.keys, id).unwrap().unwrap().stage;
        if stage == which && !std::mem::replace(&mut done, true) {
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
fn what_the_branch_expunged_survives_a_flag_of_the_leaders_client_meanwhile() {
    let (a, mut b, fork) = split(&Node::new());
    (0..3).for_each(|_| b.act(&Do::Expunge(0, 0), 1_002));
    let merged = merged_while(&a, &b, fork, |node| {
        node.act(&Do::Flags(0, 0, 0, Flags::FLAGGED), 1_003);
        node.act(&Do::Flags(0, 1, 0, Flags::DELETED), 1_003);
    });
    assert_eq!(places(&merged, 100), [(INBOX, Flags::FLAGGED)]);
    assert_eq!((places(&merged, 101), places(&merged, 102)), (vec![], vec![]));
    check_uids(&a, &merged).unwrap();
    check_uids(&b, &merged).unwrap();
}

#[test]
fn a_mailbox_that_was_deleted_meanwhile_comes_back_with_its_uids_ascending() {
    let (a, mut b, fork) = split(&Node::new());
    (0..3).for_each(|_| b.act(&Do::Append(3), 1_002));
    // Above the branch's UIDs; `look` holds what comes back against that.
    let merged = merged_while(&a, &b, fork, |node| {
        node.act(&Do::Append(3), 1_003);
        node.act(&Do::Delete(3), 1_003);
    });
    assert_eq!(merged.messages(ADA).iter().filter(|m| m.0.id == box_of(3)).count(), 3);
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

/// What the leader's clients change while the directory is merged: the later one has it, and what
/// lost is noted and kept.
#[test]
fn what_is_changed_meanwhile_in_the_directory_is_compared_and_kept() {
    const ALIAS: &str = "alias@example.org";
    const BEHIND: u64 = 10_000_000;
    let mut base = Node::new();
    let carol =
        base.run(&CreateAccount { address: "carol@example.org".into(), name: "c".into() }).unwrap();
    let to = |node: &mut Node, account, tenant, text: &str| {
        node.run(&RemoveAlias { address: ALIAS.into() }).unwrap();
        node.run(&AddAlias { address: ALIAS.into(), account }).unwrap();
        node.run(&RemoveDomain { domain: DOMAIN.into() }).unwrap();
        node.run(&AddDomain { tenant, domain: DOMAIN.into() }).unwrap();
        node.run(&SetPassword { account: ADA, secret: Secret::Argon2id(text.into()) }).unwrap();
    };
    let is = |keys: &MemKeys| {
        let ada = directory::credentials(keys, ADA).unwrap();
        let password = ada.into_iter().find(|c| c.id == 0).map(|c| secret(&c.secret));
        let alias = directory::address(keys, ALIAS).unwrap().map(|row| row.account);
        (alias, directory::domain_owner(keys, DOMAIN).unwrap(), password)
    };
    for later in [true, false] {
        let (mut a, mut b, fork) = split(&base);
        to(&mut b, BOB, TenantId(4), "branch's");
        let branch = BranchId { fork, epoch: b.epoch };
        let theirs = (Some(BOB), Some(TenantId(4)), Some("branch's".to_owned()));
        let ours = (Some(carol), Some(TenantId(2)), Some("leader's".to_owned()));
        a.now = if later { b.now + BEHIND } else { b.now - BEHIND };
        let mut merged = merged_while_in(DIRECTORY, &a, (&b, fork), |node| {
            to(node, carol, TenantId(2), "leader's");
        });
        assert_eq!(is(&merged.keys), if later { ours.clone() } else { theirs });
        let all = notes(&merged.keys, branch).unwrap();
        assert_eq!(all.len(), 3, "{all:?}");
        let mut back = merged.keys.clone();
        for (n, note) in (0..).zip(&all) {
            assert_eq!(note.original > Lsn(0), later, "{note:?}");
            if let Some((kind, change)) = original(&merged.keys, branch, n).unwrap() {
                let at = Position { lsn: Lsn(0), epoch: Epoch(0) };
                Node::rule(kind).apply(&mut back, at, &change).unwrap();
            }
        }
        assert_eq!(is(&back), ours);
        // It goes with the rest.
        let month = std::time::Duration::from_secs(31 * 86_400);
        merged.run(&ForgetBranch { seen: month, kept: month / 2 }).unwrap();
        let none = std::time::Duration::ZERO;
        while merged.run(&ForgetBranch { seen: none, kept: month / 2 }).unwrap() > 0 {}
        let (from, to) = prefix(b'c', branch).range();
        assert_eq!(merged.keys.rows.range(from..to).count(), 0);
    }
}

#[test]
fn what_is_revoked_or_set_meanwhile_is_revoked() {
    let password = |node: &mut Node, text: &str| {
        let secret = Secret::Argon2id(text.into());
        node.run(&SetPassword { account: ADA, secret }).unwrap();
    };
    let revoke = |node: &mut Node| {
        node.run(&RevokeCredential { account: ADA, id: 0 }).unwrap();
    };
    let check = |merged: &Node, fork, kept| {
        let branch = BranchId { fork, epoch: Epoch(3) };
        let ada = directory::credentials(&merged.keys, ADA).unwrap();
        assert!(ada.iter().all(|c| c.id != 0), "a revocation always wins");
        assert_eq!(notes(&merged.keys, branch).unwrap().len(), 1);
        assert_eq!(original(&merged.keys, branch, 0).unwrap().is_some(), kept);
    };
    let (a, mut b, fork) = split(&Node::new());
    password(&mut b, "branch's");
    check(&merged_while_in(DIRECTORY, &a, (&b, fork), revoke), fork, false);
    let (a, mut b, fork) = split(&Node::new());
    revoke(&mut b);
    let merged = merged_while_in(DIRECTORY, &a, (&b, fork), |node| password(node, "leader's"));
    check(&merged, fork, true);
}

#[test]
fn any_number_of_aliases_of_an_account_that_the_branch_closed_is_noted() {
    let (mut a, mut b, fork) = split(&Node::new());
    for n in 0..2_000 {
        a.run(&AddAlias { address: format!("{n}@example.org"), account: BOB }).unwrap();
    }
    b.run(&CloseAccount { account: BOB }).unwrap();
    let merged = merge(&a, &b, fork, None);
    let branch = BranchId { fork, epoch: b.epoch };
    assert_eq!(notes(&merged.keys, branch).unwrap().len(), 2_000);
    assert!(original(&merged.keys, branch, 1_999).unwrap().is_some());
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
