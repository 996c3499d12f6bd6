//! How long a merged branch's originals are kept.

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
