//! The way between the two is cut until both lead and both have acknowledged; then it is mended, and
//! the real branch jobs take the one over, while nodes are killed, lose power and lose each other.
//! In half of the histories the log has been trimmed, so that whoever begins anew gets a full copy.

use super::relay::Way;
use super::*;

/// What each side acknowledges at least before the way is mended.
const APART: u64 = 20;
/// Histories of one test run, at the same time.
const SPLITS: u64 = 3;
/// Time for both to lead and to acknowledge.
const APART_WITHIN: Duration = Duration::from_secs(45);

/// What happened to have happened.
#[derive(Clone, Copy, Debug, Default)]
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
async fn outgrow_the_log(nodes: &Nodes, told: &mut Vec<String>) {
    let mut alone = false;
    let trimmed = async {
        for seed in (0..=u8::MAX).cycle() {
            if !alone {
                // Not while neither leads, or both would stop.
                let mut nodes = nodes.lock().await;
                let led = nodes.iter().any(|node| node.lease().is_some());
                if let Some(standby) = nodes.iter_mut().find(|node| led && node.lease().is_none()) {
                    standby.stop().await;
                    alone = true;
                }
            }
            force_who_waits(nodes, told).await;
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
    if tokio::time::timeout(WHOLE_WITHIN, trimmed).await.is_err() {
        show(nodes).await;
        panic!("{told:?}: the log is never trimmed");
    }
    boot_all(nodes).await;
}

/// A primary that slept, on a machine with much to do, does not go on alone by itself.
async fn force_who_waits(nodes: &Nodes, told: &mut Vec<String>) {
    let nodes = nodes.lock().await;
    let waits = |process: &&Process| {
        let status = process.pair.status();
        status.borrow().pair.waiting == understudy_proto::pair::Waiting::Operator
    };
    if let Some(process) = nodes.iter().filter_map(|n| n.process.as_ref()).find(waits) {
        told.push("forced".to_owned());
        process.pair.force_solo(OPERATOR).await.unwrap_or_default(); // Refused where it leads by now.
    }
}

async fn show(nodes: &Nodes) {
    for process in nodes.lock().await.iter().filter_map(|node| node.process.as_ref()) {
        eprintln!("{:#?}\n{:#?}", process.pair.status().borrow(), process.pair.journal());
    }
}

/// Both lead, and acknowledge what the other does not have.
async fn live_apart(nodes: &Nodes, book: &Book, told: &mut Vec<String>) {
    let count = |n: usize| book.by[n].load(Ordering::Relaxed);
    let before = [count(0), count(1)];
    let apart = async {
        while (0..2).any(|n| count(n) < before[n] + APART) {
            force_who_waits(nodes, told).await;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    if tokio::time::timeout(APART_WITHIN, apart).await.is_err() {
        show(nodes).await;
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

async fn history(seed: u64, kinds: fn() -> Kinds) -> Seen {
    let (mut zero, mut one) = Appliance::pair();
    (zero.kinds, one.kinds) = (kinds, kinds);
    let (way, doors) = Way::to([zero.at, one.at]).await;
    [one.peer, zero.peer] = doors;
    let disks = |appliance: &Appliance| SimDisk::empty(appliance.dir.path());
    let nodes: Nodes = Arc::new(tokio::sync::Mutex::new(formed_on(disks, (zero, one)).await));
    let book = Arc::new(Book::default());
    let writers = writers(&nodes, &book);
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut told = vec![format!("seed {seed}")];
    whole(&nodes, &mut dice, &told).await;
    if seed.is_multiple_of(2) {
        told.push("the log is trimmed".to_owned());
        outgrow_the_log(&nodes, &mut told).await;
        // Whatever else happens: it goes on, or begins anew.
        something_begins(&nodes, true).await;
        told.push(disturb(&nodes, &way, &mut dice).await);
        boot_all(&nodes).await;
        whole(&nodes, &mut dice, &told).await;
    }
    for _ in 0..=dice.below(2) {
        told.push("split".to_owned());
        way.cut(true);
        live_apart(&nodes, &book, &mut told).await;
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
        let running: Vec<_> = batch.map(|s| (s, tokio::spawn(history(s, kinds)))).collect();
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
    assert!(all.merges > 0, "never a merge");
    assert!(all.copies > 0 || seeds < 2, "never a full copy");
}

/// Like [`Setting`], but one of the branch's changes is forgotten.
struct Forgetful;

impl Apply for Forgetful {
    fn kind(&self) -> Kind {
        Setting.kind()
    }

    fn apply(&self, keys: &mut dyn KeysMut, at: Position, key: &[u8]) -> Result<(), ApplyError> {
        Setting.apply(keys, at, key)
    }
}

impl Merge for Forgetful {
    fn planner(&self, _: u8) -> Box<dyn Planner> {
        Box::new(Fewer(Sets::default()))
    }

    fn merge(&self, on: &mut Merging<'_>, key: &[u8]) -> Result<(), ApplyError> {
        Setting.merge(on, key)
    }
}

struct Fewer(Sets);

impl Planner for Fewer {
    fn fold(&mut self, side: Of, at: Position, kind: Kind, key: &[u8]) -> Result<(), DecodeError> {
        self.0.fold(side, at, kind, key)
    }

    fn plan(self: Box<Self>, known: &Known<'_>) -> Result<Vec<Vec<u8>>, ApplyError> {
        let mut tasks = Box::new(self.0).plan(known)?;
        // Not one of the last, which may have been under way when the node fell.
        tasks.remove(tasks.len() / 2);
        Ok(tasks)
    }
}

/// The control: were one change of a branch forgotten, the test above would fail.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_merge_that_forgets_one_change_is_found_out() {
    let kinds = || {
        let others: Vec<Box<dyn Merge>> =
            vec![Box::new(DirectoryRules), Box::new(MailboxRules), Box::new(QueueRules)];
        Kinds::new(others.into_iter().chain([Box::new(Forgetful) as Box<dyn Merge>]).collect())
    };
    let panic = tokio::spawn(history(1, kinds)).await.expect_err("not seen").into_panic();
    let what = panic.downcast_ref::<String>().map_or("", String::as_str);
    assert!(what.contains("was acknowledged and is lost"), "{what}");
}
