//! What of a merge is kept, and for how long.

use super::*;
use std::time::Duration;

const KEPT: Duration = Duration::from_secs(30 * 86_400);

fn originals(node: &Node, branch: BranchId) -> usize {
    let mut count = 0;
    let show = |_, _, _: &[u8]| {
        count += 1;
        Ok(())
    };
    records(&node.keys, branch, show).unwrap();
    count
}

#[test]
fn originals_are_kept_for_their_time_whatever_the_clock_says() {
    let (mut a, mut b, fork) = split(&Node::new());
    for n in 0..3 {
        b.deliver(ADA, 500 + n, false, false);
    }
    // The clock is of 1970, is set right, and jumps again.
    a.now = 1_000;
    let mut merged = merge(&a, &b, fork, None);
    let branch = BranchId { fork, epoch: b.epoch };
    let mut round = |now: u64, seen: Duration| {
        merged.now = now;
        merged.run(&ForgetBranch { seen, kept: KEPT }).unwrap();
        while merged.run(&ForgetBranch { seen: Duration::ZERO, kept: KEPT }).unwrap() > 0 {}
        originals(&merged, branch)
    };
    let day = Duration::from_secs(86_400);
    assert_eq!(round(1_700_000_000_000, day), 3);
    assert_eq!(round(1_900_000_000_000, day * 29), 3);
    assert_eq!(round(1_900_000_000_000, Duration::ZERO), 3);
    assert_eq!(round(1_000, Duration::from_millis(1)), 0);
    let last = merged.last();
    // Nothing is written once all is gone.
    for seen in [Duration::ZERO, day] {
        assert_eq!(merged.run(&ForgetBranch { seen, kept: KEPT }).unwrap(), 0);
    }
    assert_eq!(merged.last(), last);
    let (from, to) = prefix(b'k', branch).range();
    assert_eq!(merged.keys.rows.range(from..to).count(), 0);
    assert!(progress(&merged.keys, branch).unwrap().unwrap().finished.is_some());
}

/// What ours lost, in order: each change is carried out over the rows of `merged`.
fn brought_back(merged: &Node, branch: BranchId) -> (Vec<Note>, MemKeys) {
    let (all, mut keys) = (notes(&merged.keys, branch).unwrap(), merged.keys.clone());
    let mut lost = Vec::new();
    for (number, note) in (0..).zip(all) {
        if let Some((kind, change)) = original(&merged.keys, branch, number).unwrap() {
            let at = Position { lsn: Lsn(0), epoch: Epoch(0) };
            Node::rule(kind).apply(&mut keys, at, &change).unwrap();
            assert_eq!(note.original, Lsn(0));
            lost.push(note);
        }
    }
    (lost, keys)
}

fn forget(merged: &mut Node) {
    merged.run(&ForgetBranch { seen: KEPT * 2, kept: KEPT }).unwrap();
    while merged.run(&ForgetBranch { seen: Duration::ZERO, kept: KEPT }).unwrap() > 0 {}
}

fn rules(notes: &[Note]) -> Vec<&str> {
    notes.iter().map(|note| note.rule.as_str()).collect()
}

#[test]
fn a_password_that_the_branch_overwrites_is_kept_and_never_said() {
    let (mut a, mut b, fork) = split(&Node::new());
    let password = |node: &mut Node, text: &str| {
        let secret = Secret::Argon2id(text.into());
        node.run(&SetPassword { account: ADA, secret }).unwrap();
    };
    password(&mut a, "leader's");
    b.now = a.now;
    password(&mut b, "branch's");
    let branch = BranchId { fork, epoch: b.epoch };
    let mut merged = merge(&a, &b, fork, None);
    let (lost, keys) = brought_back(&merged, branch);
    assert_eq!(rules(&lost), ["set on both sides: the later one"]);
    assert!(!format!("{lost:?}").contains("leader's"), "{lost:?}");
    let now = directory::credentials(&keys, ADA).unwrap().into_iter().find(|c| c.id == 0).unwrap();
    assert_eq!(secret(&now.secret), "leader's");
    forget(&mut merged);
    assert_eq!(original(&merged.keys, branch, 0).unwrap(), None);
    assert_eq!(notes(&merged.keys, branch).unwrap(), []);

    // The branch revoked it.
    let (_, mut b, _) = split(&Node::new());
    b.run(&RevokeCredential { account: ADA, id: 0 }).unwrap();
    let (lost, keys) = brought_back(&merge(&a, &b, fork, None), branch);
    assert_eq!(rules(&lost), ["a revocation always wins"]);
    assert!(directory::credentials(&keys, ADA).unwrap().iter().any(|c| c == &now));
}

#[test]
fn what_an_account_got_here_that_the_branch_closed_is_kept() {
    let (mut a, mut b, fork) = split(&Node::new());
    let secret = Secret::Argon2id("leader's".into());
    a.run(&AddAppPassword { account: BOB, label: "phone".into(), secret }).unwrap();
    a.run(&AddAlias { address: "rob@example.org".into(), account: BOB }).unwrap();
    b.run(&CloseAccount { account: BOB }).unwrap();
    let merged = merge(&a, &b, fork, None);
    assert!(directory::credentials(&merged.keys, BOB).unwrap().is_empty());
    let (lost, keys) = brought_back(&merged, BranchId { fork, epoch: b.epoch });
    assert_eq!(rules(&lost), ["a closing always wins"; 2]);
    assert_eq!(directory::credentials(&keys, BOB).unwrap().len(), 1);
    assert!(directory::address(&keys, "rob@example.org").unwrap().is_some());
}

#[test]
fn what_lost_of_names_is_said_whoever_lost() {
    let (mut a, mut b, fork) = split(&Node::new());
    // Removed on the leader, given anew on the branch.
    a.act(&Do::Alias(0), 1_001);
    a.act(&Do::Domain(0), 1_001);
    b.act(&Do::Alias(2), 1_002);
    b.act(&Do::Domain(2), 1_002);
    for (node, subscribed) in [(&mut a, false), (&mut b, true)] {
        node.run(&Subscribe { account: ADA, mailbox: box_of(2), subscribed: !subscribed }).unwrap();
        node.run(&Subscribe { account: ADA, mailbox: box_of(2), subscribed }).unwrap();
    }
    for (a, b) in [(&a, &b), (&b, &a)] {
        let branch = BranchId { fork, epoch: b.epoch };
        let merged = merge(a, b, fork, None);
        let all = notes(&merged.keys, branch).unwrap();
        let mut said: Vec<_> = all.iter().map(|n| (n.object.as_str(), n.lost.as_str())).collect();
        said.sort_unstable();
        let removed = "its removal";
        assert_eq!(
            said,
            [
                ("account 1: mailbox Work", "its unsubscription"),
                ("alias alias@example.org", removed),
                ("domain moved.example", removed),
            ]
        );
        // The branch's in its records, the leader's in the notes.
        for (number, note) in (0..).zip(&all) {
            let kept = original(&merged.keys, branch, number).unwrap().is_some();
            let recorded = note.original > Lsn(0);
            assert!(kept || recorded || note.lost == "its unsubscription", "{note:?}");
        }
    }
}

#[test]
fn of_limits_that_both_sides_set_the_later_counts() {
    let (mut a, mut b, fork) = split(&Node::new());
    let set = |node: &mut Node, account, limit| {
        node.run(&SetQuota { account, limit: QuotaLimit::Octets(limit) }).unwrap();
    };
    // Clocks agree; the branch says all later, or alone.
    set(&mut a, None, 1);
    b.now = a.now + 1_000;
    for (account, limit) in [(None, 2), (Some(ADA), 3)] {
        set(&mut b, account, limit);
    }
    a.now = b.now + 1_000;
    set(&mut a, Some(BOB), 4);
    for (a, b) in [(&a, &b), (&b, &a)] {
        let merged = merge(a, b, fork, None);
        let said = |account| directory::quota_said(&merged.keys, account).unwrap();
        assert_eq!(said(None), QuotaLimit::Octets(2));
        assert_eq!([ADA, BOB].map(|account| said(Some(account))), [3, 4].map(QuotaLimit::Octets));
        let notes = notes(&merged.keys, BranchId { fork, epoch: b.epoch }).unwrap();
        assert_eq!(notes.len(), 1, "{notes:?}");
    }
}
