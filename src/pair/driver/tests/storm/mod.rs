//! Random histories over the real store, link and driver of two nodes whose disks can lose power.
//!
//! Each seed chooses faults (SIGKILL, power cut with unsynced writes lost or torn, both at once, a
//! failing fsync, a full or slow disk, handover, orderly stop) while writers write; then both nodes are brought up, and
//! every acknowledged change must be there exactly once, on both, and nothing else must differ.
//! In [`split`], the way between the two is cut, too, until both lead, and the branches are merged.
//! Absent: frozen nodes (`proto::pair::sim` and the lab's chaos have those).
//! `STORM_FROM`, `STORM_SEEDS` and `STORM_STEPS` choose other histories.

mod relay;
mod split;

use super::*;
use crate::store::disk::Cut;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
use tokio::task::JoinHandle;

/// Writers of each history.
const WRITERS: usize = 3;
/// Histories of one test run, at the same time: most of each is waiting.
const HISTORIES: u64 = 4;
const STEPS: u64 = 7;
/// On a machine that is busy with other tests, too, and with a full copy on the way.
const WHOLE_WITHIN: Duration = Duration::from_secs(180);
/// The fault that cuts the power of both.
const BOTH: u64 = 4;

struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % n
    }
}

/// A node whose disk outlives its process.
struct Node {
    appliance: Appliance,
    disk: SimDisk,
    process: Option<Process>,
    /// Branches that were put away here, and full copies that took their place.
    retired: u64,
    copied: u64,
}

impl Node {
    fn config(&self) -> config::Pair {
        config::Pair {
            // What other tests do to the two cores must not look like a dead peer.
            heartbeats_missed_max: 60,
            ack_timeout: Duration::from_millis(7_000),
            stale_after: Duration::from_millis(1_600),
            // A full copy takes long enough to be disturbed.
            resync_bytes_per_s: 8 << 20,
            ..self.appliance.config()
        }
    }

    fn boot(&mut self) {
        if self.process.is_none() {
            self.appliance.restart.store(false, Ordering::Relaxed);
            self.count(self.orders());
            let disk = Arc::new(self.disk.clone());
            let config = Some(self.config());
            self.process = Some(self.appliance.start_on(disk, config).unwrap());
        }
    }

    /// Ends the process; the disk then holds what such an end leaves.
    async fn end(&mut self, how: Cut) {
        if let Some(process) = self.process.take() {
            let image = self.disk.cut(how);
            process.kill().await;
            self.disk = SimDisk::new(&image);
        }
    }

    /// What the next start carries out: putting a branch away, taking a full copy.
    fn orders(&self) -> [bool; 2] {
        let dir = self.appliance.dir.path();
        let has =
            |dir: &Path, order| self.disk.list(dir).is_ok_and(|l| l.iter().any(|n| n == order));
        [has(dir, "retire"), has(&dir.join("incoming"), "complete")]
    }

    fn count(&mut self, [retired, copied]: [bool; 2]) {
        self.retired += u64::from(retired);
        self.copied += u64::from(copied);
    }

    /// As `execv` does it. The power may go while what was ordered is carried out.
    async fn start_anew_if_it_asks(&mut self, dice: &mut Dice) {
        if self.process.is_none() || !self.appliance.restart.load(Ordering::Relaxed) {
            return;
        }
        self.end(Cut::Kept).await;
        if dice.below(2) == 0 {
            let ordered = self.orders();
            self.disk.cut_after(Some(dice.below(20)));
            let done = swap::at_boot(&self.disk, self.appliance.dir.path()).is_ok();
            let survived = done && !self.disk.is_dead();
            let how = if survived { Cut::Kept } else { Cut::Torn(dice.below(u64::MAX) | 1) };
            self.disk = SimDisk::new(&self.disk.cut(how));
            let left = self.orders();
            self.count([ordered[0] && !left[0], ordered[1] && !left[1]]);
        }
        self.boot();
    }

    async fn stop(&mut self) {
        if let Some(process) = self.process.take() {
            process.pair.stop().await.unwrap_or_default();
            process.kill().await;
            let image = self.disk.cut(Cut::Lost); // An orderly end leaves nothing unsynced that counts.
            self.disk = SimDisk::new(&image);
        }
    }

    /// The disk is full for a while. A process that stops over it is ended, as the real one ends.
    async fn full_for(&mut self, time: Duration, how: Cut) {
        self.appliance.fatal.store(false, Ordering::Relaxed);
        self.disk.fill(true);
        tokio::time::sleep(time).await;
        self.disk.fill(false);
        if self.appliance.fatal.load(Ordering::Relaxed) {
            self.end(how).await;
        }
    }

    fn lease(&self) -> Option<(Store, PrimaryLease)> {
        let process = self.process.as_ref()?;
        Some((process.store.clone(), process.pair.lease()?))
    }

    fn rows(&self) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let mut rows = BTreeMap::new();
        let view = self.process.as_ref().unwrap().store.read(TenantId::SYSTEM).unwrap();
        view.scan(b"w", b"x", &mut |key, value| {
            rows.insert(key.to_vec(), value.to_vec());
            ControlFlow::Continue(())
        })
        .unwrap();
        rows
    }
}

/// What the writers know.
#[derive(Default)]
struct Book {
    next: AtomicU64,
    acknowledged: Mutex<BTreeSet<String>>,
    /// How many by each node.
    by: [AtomicU64; 2],
    stop: AtomicBool,
}

type Nodes = Arc<tokio::sync::Mutex<[Node; 2]>>;

async fn write_on(nodes: Nodes, book: Arc<Book>) {
    while !book.stop.load(Ordering::Relaxed) {
        let number = book.next.fetch_add(1, Ordering::Relaxed);
        let leads = {
            let nodes = nodes.lock().await;
            // In a split both do: each has its clients.
            let turn = usize::try_from(number % 2).unwrap();
            let lead = |n: usize| nodes[n].lease().map(|(store, lease)| (n, store, lease));
            lead(turn).or_else(|| lead(1 - turn))
        };
        let Some((n, store, lease)) = leads else {
            tokio::time::sleep(Duration::from_millis(5)).await;
            continue;
        };
        let key = format!("w{number:06}");
        let write = store.write(&lease, TenantId::SYSTEM, Set(key.clone()));
        // No answer, or a refusal, says nothing: the change may be there or not.
        if let Ok(Ok(_)) = tokio::time::timeout(Duration::from_secs(3), write).await {
            book.acknowledged.lock().unwrap().insert(key);
            book.by[n].fetch_add(1, Ordering::Relaxed);
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

async fn fault(nodes: &Nodes, dice: &mut Dice, what: u64) -> String {
    let mut nodes = nodes.lock().await;
    let victim = usize::try_from(dice.below(2)).unwrap();
    let torn = Cut::Torn(dice.below(u64::MAX) | 1);
    match what {
        0 | 1 => nodes[victim].end(Cut::Kept).await,
        2 => nodes[victim].end(torn).await,
        3 => nodes[victim].end(Cut::Lost).await,
        BOTH => {
            for node in nodes.iter_mut() {
                node.end(torn).await;
            }
        }
        5 => {
            // The store stops by itself, as it would end the process; the node comes back with a
            // disk that works.
            nodes[victim].disk.fail_syncs(true);
            tokio::time::sleep(Duration::from_millis(dice.below(200))).await;
            nodes[victim].end(torn).await;
        }
        6 => nodes[victim].stop().await,
        7 => nodes[victim].full_for(Duration::from_millis(dice.below(1_500)), torn).await,
        8 => {
            nodes[victim].disk.slow_syncs(Duration::from_millis(dice.below(300)));
            tokio::time::sleep(Duration::from_millis(dice.below(2_000))).await;
            nodes[victim].disk.slow_syncs(Duration::ZERO);
        }
        _ => {
            let leads = nodes.iter().find(|node| node.lease().is_some());
            if let Some(process) = leads.and_then(|node| node.process.as_ref()) {
                process.pair.handover(OPERATOR).await.unwrap_or_default(); // Refused where it cannot be.
            }
        }
    }
    format!("{what} at node {victim}")
}

/// Waits until the two are a pair. Whoever asks to be started anew on the way there is.
async fn whole(nodes: &Nodes, dice: &mut Dice, told: &[String]) {
    let paired = |node: &Node| {
        let status = node.process.as_ref().unwrap().pair.status();
        let status = status.borrow();
        status.pair.rpo_zero && status.pair.linked
    };
    let both = async {
        loop {
            let mut nodes = nodes.lock().await;
            for node in nodes.iter_mut() {
                node.start_anew_if_it_asks(dice).await;
            }
            if nodes.iter().all(paired) {
                return;
            }
            drop(nodes);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    if tokio::time::timeout(WHOLE_WITHIN, both).await.is_err() {
        let nodes = nodes.lock().await;
        for node in nodes.iter() {
            let process = node.process.as_ref().unwrap();
            let (status, merging) = (process.pair.status(), process.pair.merging());
            eprintln!("{:#?} {merging:#?}\n{:#?}", status.borrow(), process.pair.journal());
        }
        panic!("{told:?}: never whole again");
    }
}

/// Two nodes, formed.
async fn formed_on(
    disks: impl Fn(&Appliance) -> SimDisk,
    (zero, one): (Appliance, Appliance),
) -> [Node; 2] {
    let token = formation::init(zero.dir.path(), &[zero.at], clock::now_ms()).unwrap();
    let [mut a, mut b] = [zero, one].map(|appliance| {
        let disk = disks(&appliance);
        Node { appliance, disk, process: None, retired: 0, copied: 0 }
    });
    a.boot();
    a.process.as_ref().unwrap().serving().await;
    soon(formation::join(b.appliance.dir.path(), &token)).await.unwrap();
    b.boot();
    [a, b]
}

async fn history(seed: u64, steps: u64, lying: bool) -> (usize, u64) {
    let disks = |appliance: &Appliance| {
        let disk = SimDisk::empty(appliance.dir.path());
        if lying {
            disk.lie();
        }
        disk
    };
    let formed = formed_on(disks, Appliance::pair()).await;
    let nodes: Nodes = Arc::new(tokio::sync::Mutex::new(formed));
    let book = Arc::new(Book::default());
    let writers = writers(&nodes, &book);
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut told = vec![format!("seed {seed}")];
    whole(&nodes, &mut dice, &told).await;
    for step in 0..steps {
        tokio::time::sleep(Duration::from_millis(30 + dice.below(300))).await;
        let what = if lying && step == 0 { BOTH } else { dice.below(10) };
        told.push(fault(&nodes, &mut dice, what).await);
        tokio::time::sleep(Duration::from_millis(dice.below(2_500))).await;
        for node in nodes.lock().await.iter_mut() {
            node.boot();
        }
        if dice.below(3) > 0 {
            whole(&nodes, &mut dice, &told).await;
        }
    }
    whole(&nodes, &mut dice, &told).await;
    finish(&nodes, &book, writers, &told).await
}

fn writers(nodes: &Nodes, book: &Arc<Book>) -> Vec<JoinHandle<()>> {
    (0..WRITERS).map(|_| tokio::spawn(write_on(Arc::clone(nodes), Arc::clone(book)))).collect()
}

/// The end of a history; says how much was acknowledged and how much was asked for.
async fn finish(
    nodes: &Nodes,
    book: &Book,
    writers: Vec<JoinHandle<()>>,
    told: &[String],
) -> (usize, u64) {
    book.stop.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await.unwrap();
    }
    compare(nodes, book, told).await;
    let acknowledged = book.acknowledged.lock().unwrap().len();
    for node in nodes.lock().await.iter_mut() {
        node.end(Cut::Kept).await;
    }
    (acknowledged, book.next.load(Ordering::Relaxed))
}

/// Everything acknowledged is there once, and the two nodes hold the same.
async fn compare(nodes: &Nodes, book: &Book, told: &[String]) {
    let nodes = nodes.lock().await;
    let mut equal = false;
    for _ in 0..400 {
        let [a, b] = nodes.each_ref().map(Node::rows);
        if a == b {
            equal = true;
            break;
        }
        tokio::time::sleep(Duration::from_millis(25)).await; // The standby applies what is told.
    }
    assert!(equal, "{told:?}: the two nodes hold different rows");
    let rows = nodes[0].rows();
    for key in book.acknowledged.lock().unwrap().iter() {
        assert!(rows.contains_key(key.as_bytes()), "{told:?}: {key} was acknowledged and is lost");
    }
    for (key, times) in &rows {
        assert_eq!(times, &[1], "{told:?}: {} applied twice", String::from_utf8_lossy(key));
    }
}

fn from_env(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_whatever_disks_and_processes_do() {
    let from = from_env("STORM_FROM", 1);
    let (seeds, steps) = (from_env("STORM_SEEDS", HISTORIES), from_env("STORM_STEPS", STEPS));
    for batch in
        (from..from + seeds).collect::<Vec<_>>().chunks(usize::try_from(HISTORIES).unwrap())
    {
        let running: Vec<_> =
            batch.iter().map(|s| (*s, tokio::spawn(history(*s, steps, false)))).collect();
        for (seed, history) in running {
            let (acknowledged, asked) = history.await.unwrap();
            println!("seed {seed}: {acknowledged} of {asked} changes acknowledged, none lost");
            assert!(acknowledged > 100, "seed {seed} wrote next to nothing");
        }
    }
}

/// The control: were nothing synced, the test above would fail.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn disks_that_only_say_so_are_found_out() {
    let outcome = tokio::spawn(history(1, 1, true)).await;
    assert!(outcome.is_err(), "nothing was synced, and nothing was missed: {outcome:?}");
}
