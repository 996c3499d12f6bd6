//! The way between the two is cut until both lead and both have acknowledged; then it is mended, and
//! the real branch jobs take the one over, while nodes are killed, lose power and lose each other.
//! In half of the histories the log has been trimmed, so that whoever begins anew gets a full copy.

use super::*;

/// What each side acknowledges at least before the way is mended.
const APART: u64 = 20;
/// Histories of one test run, at the same time.
const SPLITS: u64 = 3;
/// Time for both to lead and to acknowledge.
const APART_WITHIN: Duration = Duration::from_secs(45);

/// What happened to have happened.
#[derive(Clone, Copy, Default)]
struct Seen {
    acknowledged: usize,
    merges: u64,
    copies: u64,
}

async fn boot_all(nodes: &Nodes) {
    for node in nodes.lock().await.iter_mut() {
        node.boot();
    }
}

/// The standby is away while the log grows so much that it does not reach back any more: it gets a
/// full copy, as whoever begins anew later will.
async fn outgrow_the_log(nodes: &Nodes, dice: &mut Dice) {
    for node in nodes.lock().await.iter_mut() {
        if node.lease().is_none() {
            node.end(Cut::Torn(dice.below(u64::MAX) | 1)).await;
        }
    }
    let trimmed = async {
        for seed in (0..=u8::MAX).cycle() {
            // Not under the lock: the writers go on.
            let leads = nodes.lock().await.iter().find_map(Node::lease);
            if let Some((store, lease)) = leads {
                if store.log().first() > Lsn(20) {
                    return;
                }
                let mut body = store.begin_body(&lease, TenantId::SYSTEM).await.unwrap();
                body.write(&vec![seed; 400_000]).await.unwrap();
                body.finish().await.unwrap();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(45), trimmed).await;
    assert!(waited.is_ok(), "the log is never trimmed");
    boot_all(nodes).await;
}

/// Both lead, and acknowledge what the other does not have.
async fn live_apart(nodes: &Nodes, book: &Book, told: &[String]) {
    let count = |n: usize| book.by[n].load(Ordering::Relaxed);
    let before = [count(0), count(1)];
    let apart = async {
        while (0..2).any(|n| count(n) < before[n] + APART) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    // What is on its way from before the cut does not count for much.
    if tokio::time::timeout(APART_WITHIN, apart).await.is_err() {
        for node in nodes.lock().await.iter() {
            let process = node.process.as_ref().unwrap();
            eprintln!("{:#?}\n{:#?}", process.pair.status().borrow(), process.pair.journal());
        }
        panic!("{told:?}: the two do not both lead");
    }
}

/// Waits for the merge to begin, or for the full copy, but not for long.
async fn something_begins(nodes: &Nodes, copy: bool) {
    let begun = |node: &Node| {
        node.process.as_ref().is_some_and(|process| match copy {
            false => process.pair.merging().is_some(),
            true => process.pair.status().borrow().copy.is_some(),
        })
    };
    for _ in 0..600 {
        if nodes.lock().await.iter().any(begun) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Somebody falls, or the way is cut for a while.
async fn disturb(nodes: &Nodes, way: &Way, dice: &mut Dice) -> String {
    if dice.below(4) == 0 {
        way.cut(true);
        tokio::time::sleep(Duration::from_millis(dice.below(1_500))).await;
        way.cut(false);
        return "cut while merging".to_owned();
    }
    let what = dice.below(BOTH + 2);
    fault(nodes, dice, what).await
}

async fn history(seed: u64) -> Seen {
    let disks = |appliance: &Appliance| SimDisk::empty(appliance.dir.path());
    let (formed, way) = formed_on(disks, true).await;
    let (nodes, way): (Nodes, _) = (Arc::new(tokio::sync::Mutex::new(formed)), way.unwrap());
    let book = Arc::new(Book::default());
    let writers = writers(&nodes, &book);
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut told = vec![format!("seed {seed}")];
    whole(&nodes, &mut dice, &told).await;
    if seed % 2 == 0 {
        told.push("the log is trimmed".to_owned());
        outgrow_the_log(&nodes, &mut dice).await;
        // Whatever else happens: it goes on, or begins anew.
        something_begins(&nodes, true).await;
        told.push(disturb(&nodes, &way, &mut dice).await);
        boot_all(&nodes).await;
        whole(&nodes, &mut dice, &told).await;
    }
    for _ in 0..=dice.below(2) {
        told.push("split".to_owned());
        way.cut(true);
        live_apart(&nodes, &book, &told).await;
        if dice.below(3) == 0 {
            let what = dice.below(BOTH + 2);
            told.push(fault(&nodes, &mut dice, what).await);
            boot_all(&nodes).await;
        }
        way.cut(false);
        for _ in 0..dice.below(4) {
            something_begins(&nodes, dice.below(3) == 0).await;
            tokio::time::sleep(Duration::from_millis(dice.below(60))).await;
            told.push(disturb(&nodes, &way, &mut dice).await);
            tokio::time::sleep(Duration::from_millis(dice.below(300))).await;
            boot_all(&nodes).await;
            for node in nodes.lock().await.iter_mut() {
                node.start_anew_if_it_asks(&mut dice).await;
            }
        }
        whole(&nodes, &mut dice, &told).await;
    }
    let count = |of: fn(&Node) -> u64, nodes: &[Node; 2]| nodes.iter().map(of).sum();
    let (merges, copies) = {
        let nodes = nodes.lock().await;
        (count(|n| n.retired, &nodes), count(|n| n.copied, &nodes))
    };
    let (acknowledged, _) = finish(&nodes, &book, writers, &told).await;
    Seen { acknowledged, merges, copies }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_branches_become_one_whatever_disks_processes_and_links_do() {
    let from = from_env("STORM_FROM", 1);
    let seeds = from_env("STORM_SEEDS", SPLITS);
    let mut all = Seen::default();
    for first in (from..from + seeds).step_by(usize::try_from(SPLITS).unwrap()) {
        let batch = first..(first + SPLITS).min(from + seeds);
        let running: Vec<_> = batch.map(|s| (s, tokio::spawn(history(s)))).collect();
        for (seed, history) in running {
            let seen = history.await.unwrap();
            println!(
                "seed {seed}: {} changes acknowledged, none lost; merges: {}, full copies: {}",
                seen.acknowledged, seen.merges, seen.copies
            );
            all.merges += seen.merges;
            all.copies += seen.copies;
        }
    }
    assert!(all.merges >= seeds, "splits without a merge: {} in {seeds} histories", all.merges);
    assert!(all.copies > 0 || seeds < 2, "never a full copy");
}
