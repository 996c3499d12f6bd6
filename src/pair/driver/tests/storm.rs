//! Random histories over the real store, link and driver of two nodes whose disks can lose power.
//!
//! Each seed chooses faults (SIGKILL, power cut with unsynced writes lost or torn, both at once, a
//! failing fsync, a full or slow disk, handover, orderly stop) while writers write; then both nodes are brought up, and
//! every acknowledged change must be there exactly once, on both, and nothing else must differ.
//! Absent: cut links and frozen nodes (`proto::pair::sim` and the lab's chaos have those).
//! `STORM_FROM`, `STORM_SEEDS` and `STORM_STEPS` choose other histories.

use super::*;
use crate::store::disk::Cut;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;

/// Writers of each history.
const WRITERS: usize = 3;
/// Histories of one test run, at the same time: most of each is waiting.
const HISTORIES: u64 = 4;
const STEPS: u64 = 7;
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
}

impl Node {
    fn config(&self) -> config::Pair {
        config::Pair {
            // What other tests do to the two cores must not look like a dead peer.
            heartbeats_missed_max: 60,
            ack_timeout: Duration::from_millis(7_000),
            stale_after: Duration::from_millis(1_600),
            ..self.appliance.config()
        }
    }

    fn boot(&mut self) {
        if self.process.is_none() {
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
    stop: AtomicBool,
}

type Nodes = Arc<tokio::sync::Mutex<[Node; 2]>>;

async fn write_on(nodes: Nodes, book: Arc<Book>) {
    while !book.stop.load(Ordering::Relaxed) {
        let leads = {
            let nodes = nodes.lock().await;
            nodes.iter().find_map(Node::lease)
        };
        let Some((store, lease)) = leads else {
            tokio::time::sleep(Duration::from_millis(5)).await;
            continue;
        };
        let key = format!("w{:06}", book.next.fetch_add(1, Ordering::Relaxed));
        let write = store.write(&lease, TenantId::SYSTEM, Set(key.clone()));
        // No answer, or a refusal, says nothing: the change may be there or not.
        if let Ok(Ok(_)) = tokio::time::timeout(Duration::from_secs(3), write).await {
            book.acknowledged.lock().unwrap().insert(key);
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
                process.pair.handover().await.unwrap_or_default(); // Refused where it cannot be.
            }
        }
    }
    format!("{what} at node {victim}")
}

async fn whole(nodes: &Nodes, told: &[String]) {
    let nodes = nodes.lock().await;
    for node in nodes.iter() {
        let mut status = node.process.as_ref().unwrap().pair.status();
        let paired = status.wait_for(|s| s.pair.rpo_zero && s.pair.linked);
        if tokio::time::timeout(Duration::from_secs(60), paired).await.is_err() {
            let journals = nodes.each_ref().map(|n| n.process.as_ref().unwrap().pair.journal());
            panic!("{told:?}: never whole again: {:#?}\n{journals:#?}", status.borrow());
        }
    }
}

async fn history(seed: u64, steps: u64, lying: bool) -> (usize, u64) {
    let (zero, one) = Appliance::pair();
    let token = formation::init(zero.dir.path(), &[zero.at], clock::now_ms()).unwrap();
    let [mut a, mut b] = [zero, one].map(|appliance| {
        let disk = SimDisk::empty(appliance.dir.path());
        if lying {
            disk.lie();
        }
        Node { appliance, disk, process: None }
    });
    a.boot();
    a.process.as_ref().unwrap().serving().await;
    soon(formation::join(b.appliance.dir.path(), &token)).await.unwrap();
    b.boot();
    let nodes: Nodes = Arc::new(tokio::sync::Mutex::new([a, b]));
    let book = Arc::new(Book::default());
    let writers: Vec<_> = (0..WRITERS)
        .map(|_| tokio::spawn(write_on(Arc::clone(&nodes), Arc::clone(&book))))
        .collect();
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut told = vec![format!("seed {seed}")];
    whole(&nodes, &told).await;
    for step in 0..steps {
        tokio::time::sleep(Duration::from_millis(30 + dice.below(300))).await;
        let what = if lying && step == 0 { BOTH } else { dice.below(10) };
        told.push(fault(&nodes, &mut dice, what).await);
        tokio::time::sleep(Duration::from_millis(dice.below(2_500))).await;
        for node in nodes.lock().await.iter_mut() {
            node.boot();
        }
        if dice.below(3) > 0 {
            whole(&nodes, &told).await;
        }
    }
    whole(&nodes, &told).await;
    book.stop.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await.unwrap();
    }
    compare(&nodes, &book, &told).await;
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
