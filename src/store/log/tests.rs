//! The log without views.

use super::segment;
use super::*;
use crate::store::disk::{Cut, Image, SimDisk};
use crate::store::lease::LeaseControl;
use std::path::Path;

/// A log, its appender, and a lease to write with.
struct Bench {
    log: Log,
    lease: PrimaryLease,
    _control: LeaseControl,
    appender: Option<std::thread::JoinHandle<()>>,
    died: Arc<Mutex<Vec<String>>>,
    floor: Lsn,
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.log.stop();
        self.appender.take().unwrap().join().unwrap();
    }
}

fn dir() -> &'static Path {
    Path::new("/log")
}

fn disk() -> SimDisk {
    let disk = SimDisk::empty(dir());
    disk.create_dir(&dir().join("aside")).unwrap();
    disk.sync_dir(dir()).unwrap();
    disk
}

fn open(disk: &SimDisk) -> Result<Bench, StoreError> {
    let died = Arc::new(Mutex::new(Vec::new()));
    let reasons = Arc::clone(&died);
    let settings = Settings {
        dir: dir().to_owned(),
        segment_len: 16 * 1024,
        keep_bytes: 80 * 1024,
        fatal: Arc::new(move |why| reasons.lock().unwrap().push(why.to_owned())),
    };
    let recovered = recover(Arc::new(disk.clone()), settings)?;
    let appender = Some(spawn(&recovered.log, recovered.file, recovered.offset));
    let (lease, _control) = PrimaryLease::mint(Epoch(1));
    let log = recovered.log;
    Ok(Bench { log, lease, _control, appender, died, floor: recovered.floor })
}

impl Bench {
    fn submit(&self, len: usize) -> Lsn {
        let entry = Entry {
            tenant: TenantId(1),
            kind: Kind::MAILBOX,
            flags: 0,
            nonce: [1; 24],
            payload: vec![7; len],
            credit: None,
        };
        self.log.submit(&self.lease, entry).unwrap().0
    }

    async fn durable(&self, lsn: Lsn) {
        let mut durable = self.log.durable();
        while *durable.borrow_and_update() < lsn {
            durable.changed().await.unwrap();
        }
    }

    /// Appends `n` records, each in a batch of its own.
    async fn batches(&self, n: usize) {
        for i in 0..n {
            self.durable(self.submit(500 + i)).await;
        }
    }

    /// All records, read in pieces of `max` bytes.
    fn all(&self, max: usize) -> Vec<u8> {
        let (mut out, mut next) = (Vec::new(), self.log.first());
        loop {
            let bytes = self.log.read_from(next, max).unwrap();
            let mut rest = bytes.as_slice();
            while let Ok((header, _, whole)) = record::decode(rest) {
                assert_eq!(header.lsn, next);
                next = next.next();
                rest = &rest[whole..];
            }
            assert!(rest.is_empty());
            if bytes.is_empty() {
                return out;
            }
            out.extend_from_slice(&bytes);
        }
    }
}

/// Drops the log, cuts the power, and gives what is left.
fn power_off(bench: Bench, disk: &SimDisk) -> Image {
    drop(bench);
    disk.cut(Cut::Lost)
}

#[tokio::test]
async fn records_read_the_same_from_memory_and_disk() {
    let disk = disk();
    let bench = open(&disk).unwrap();
    bench.log.begin_epoch(Epoch(4)).await.unwrap();
    bench.batches(100).await;
    let last = (0..30).map(|n| bench.submit(n * 20)).max().unwrap();
    bench.durable(last).await;
    let all = bench.all(usize::MAX);
    assert_eq!(bench.all(3_000), all);
    assert_eq!(bench.all(1), all);
    assert!(bench.log.0.state.lock().unwrap().segments.len() > 4);
    let (tail, chains) = (bench.log.last(), chains(&bench));
    assert_eq!(tail.lsn, Lsn(131));
    assert_eq!(bench.log.epochs(), [(Epoch(4), Lsn(1))]);
    let image = power_off(bench, &disk);
    let again = open(&SimDisk::new(&image)).unwrap();
    assert_eq!(again.log.last(), tail);
    assert_eq!(again.log.epochs(), [(Epoch(4), Lsn(1))]);
    assert_eq!(again.all(2_000), all);
    assert_eq!(again.all(usize::MAX), all);
    assert_eq!(self::chains(&again), chains);
    assert!(again.log.chain_at(Lsn(132)).unwrap().is_none());
    again.durable(again.submit(1)).await;
    assert_eq!(again.log.last().lsn, Lsn(132));
}

fn chains(bench: &Bench) -> Vec<Chain> {
    (0..=bench.log.last().lsn.0).map(|n| bench.log.chain_at(Lsn(n)).unwrap().unwrap()).collect()
}

#[tokio::test]
async fn a_replica_is_the_same_log_and_takes_nothing_else() {
    let (primary_disk, standby_disk) = (disk(), disk());
    let (primary, standby) = (open(&primary_disk).unwrap(), open(&standby_disk).unwrap());
    primary.batches(40).await;
    let mut next = Lsn(1);
    while next <= primary.log.last().lsn {
        let records = primary.log.read_from(next, 5_000).unwrap();
        next = standby.log.append_replica(records).await.unwrap().next();
    }
    assert_eq!(standby.log.last(), primary.log.last());
    standby.durable(Lsn(40)).await;
    // The same again, a gap, rubbish.
    let bytes = primary.log.read_from(Lsn(39), 5_000).unwrap();
    let refused = standby.log.append_replica(bytes).await;
    assert!(matches!(refused, Err(StoreError::NotNext { after: Lsn(40), .. })), "{refused:?}");
    primary.batches(2).await;
    let bytes = primary.log.read_from(Lsn(42), 5_000).unwrap();
    assert!(standby.log.append_replica(bytes).await.is_err());
    assert!(standby.log.append_replica(vec![9; 200]).await.is_err());
    // What fits is kept, even if what follows is broken.
    let mut bytes = primary.log.read_from(Lsn(41), 5_000).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    assert!(standby.log.append_replica(bytes).await.is_err());
    standby.durable(Lsn(41)).await;
    assert_eq!(standby.log.last().lsn, Lsn(41));
    // Promoted, it goes on by itself.
    let lsn = standby.log.begin_epoch(Epoch(9)).await.unwrap();
    assert_eq!(lsn, Lsn(42));
    assert_eq!(standby.log.epochs(), [(Epoch(9), Lsn(42))]);
    assert!(standby.died.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_tail_is_set_aside_whole_and_nothing_committed_is() {
    let disk = disk();
    let bench = open(&disk).unwrap();
    bench.log.begin_epoch(Epoch(1)).await.unwrap();
    bench.batches(50).await;
    let all = bench.all(usize::MAX);
    bench.log.commit(Lsn(20));
    let refused = bench.log.set_aside(Lsn(20)).await;
    assert!(matches!(refused, Err(StoreError::Committed { .. })), "{refused:?}");
    assert_eq!(bench.log.set_aside(Lsn(52)).await.unwrap(), 0);
    let tail = bench.log.read_from(Lsn(21), usize::MAX).unwrap();
    assert_eq!(bench.log.set_aside(Lsn(21)).await.unwrap(), 31);
    assert_eq!(bench.log.last().lsn, Lsn(20));
    assert_eq!(*bench.log.durable().borrow(), Lsn(20));
    let kept = disk.open(&dir().join("aside/1-21.log"), Open::Existing).unwrap();
    let mut bytes = vec![0; usize::try_from(kept.len().unwrap()).unwrap()];
    kept.read_at(0, &mut bytes).unwrap();
    assert_eq!(bytes, tail);
    assert!(all.ends_with(&tail));
    // Another branch grows from there; set aside at the same place it gets its own file.
    bench.batches(3).await;
    assert_eq!(bench.log.set_aside(Lsn(21)).await.unwrap(), 3);
    assert_eq!(disk.list(&dir().join("aside")).unwrap(), ["1-21.2.log", "1-21.log"]);
    bench.log.begin_epoch(Epoch(3)).await.unwrap();
    assert_eq!(bench.log.epochs(), [(Epoch(1), Lsn(1)), (Epoch(3), Lsn(21))]);
    let (tail, whole) = (bench.log.last(), bench.all(usize::MAX));
    let again = open(&SimDisk::new(&power_off(bench, &disk))).unwrap();
    assert_eq!((again.log.last(), again.all(usize::MAX)), (tail, whole));
}

#[tokio::test]
async fn the_log_is_trimmed_below_views_and_peer() {
    let disk = disk();
    let bench = open(&disk).unwrap();
    bench.batches(200).await;
    let log = &bench.log;
    let segments = || log.0.state.lock().unwrap().segments.len();
    let before = segments();
    assert!(before > 8);
    // A peer that holds little keeps the log, however far the views are.
    log.keep_for_peer(Some(Lsn(30)));
    log.views_are_at(Lsn(200), Lsn(150));
    bench.batches(1).await;
    let first = log.first();
    assert!(first > Lsn(1) && first <= Lsn(31), "{first}");
    // An absent one keeps `keep_bytes`, a floor keeps all above it.
    log.keep_for_peer(None);
    log.views_are_at(Lsn(200), Lsn(60));
    bench.batches(1).await;
    assert!(log.first() > first && log.first() <= Lsn(61));
    log.views_are_at(Lsn(200), Lsn(200));
    bench.batches(1).await;
    assert_eq!(segments(), 5);
    assert!(matches!(log.read_from(Lsn(1), 1), Err(StoreError::NotInLog { .. })));
    assert!(log.chain_at(Lsn(1)).unwrap().is_none());
    let (first, all) = (log.first(), bench.all(usize::MAX));
    assert!(log.chain_at(Lsn(first.0 - 1)).unwrap().is_some());
    let again = open(&SimDisk::new(&power_off(bench, &disk))).unwrap();
    assert_eq!((again.log.first(), again.all(usize::MAX)), (first, all));
    assert_eq!(again.floor, Lsn(200), "the floor travels in the batches' markers");
}

/// Where each batch of a segment begins.
fn markers(bytes: &[u8]) -> Vec<usize> {
    (0..bytes.len()).filter(|at| bytes[*at..].starts_with(b"USB1")).collect()
}

#[tokio::test]
async fn damage_is_told_from_a_torn_end() {
    let disk = disk();
    let bench = open(&disk).unwrap();
    bench.batches(60).await;
    let image = power_off(bench, &disk);
    let names: Vec<_> = image.files.keys().cloned().collect();
    assert!(names.len() > 2);
    let with = |path: &PathBuf, change: &dyn Fn(&mut Vec<u8>)| {
        let mut image = image.clone();
        change(Arc::make_mut(image.files.get_mut(path).unwrap()));
        open(&SimDisk::new(&image))
    };
    let last = names.last().unwrap();
    let batches = markers(&image.files[last]);
    let first_in_last = segment::first_of(last.file_name().unwrap().to_str().unwrap()).unwrap();
    let count = 60 - usize::try_from(first_in_last.0).unwrap() + 1;
    assert_eq!(batches.len(), count);
    // The last batch may have been torn: it is cut, wherever it is broken.
    for at in [batches[count - 1], batches[count - 1] + 60, batches[count - 1] + 300] {
        let cut = with(last, &|b| b[at] ^= 1).unwrap();
        assert_eq!(cut.log.last().lsn, Lsn(59), "byte {at}");
        cut.batches(1).await;
        assert_eq!(cut.log.last().lsn, Lsn(60));
    }
    // Anything before it had been synced: that is damage, and the message says where.
    for at in [batches[0], batches[0] + 70, batches[count - 2], batches[count - 2] + 200] {
        let e = with(last, &|b| b[at] ^= 1).err().unwrap();
        let text = e.to_string();
        assert!(matches!(e, StoreError::Damaged { .. }), "{text}");
        assert!(text.contains(last.to_str().unwrap()) && text.contains("batch"), "{text}");
    }
    let e = with(last, &|b| b[batches[0]..batches[1]].fill(0)).err().unwrap();
    assert!(matches!(e, StoreError::Damaged { .. }), "{e}");
    // Earlier segments end where the next begins, all of them.
    for at in [markers(&image.files[&names[0]])[3] + 100, 20] {
        let e = with(&names[0], &|b| b[at] ^= 1).err().unwrap();
        assert!(e.to_string().contains(names[0].to_str().unwrap()), "{e}");
    }
    let e = with(last, &|b| b.truncate(1_000)).err().unwrap();
    assert!(matches!(e, StoreError::Damaged { .. }), "{e}");
    let mut gap = image.clone();
    gap.files.remove(&names[1]);
    let e = open(&SimDisk::new(&gap)).err().unwrap();
    assert!(matches!(e, StoreError::Damaged { .. }), "{e}");
}

#[tokio::test]
async fn a_failed_sync_is_final() {
    let disk = disk();
    let bench = open(&disk).unwrap();
    bench.log.commit_alone(true);
    bench.batches(3).await;
    let mut durable = bench.log.durable();
    durable.borrow_and_update();
    disk.fail_syncs(true);
    let lsn = bench.submit(10);
    let answer = bench.log.committed_at(lsn);
    assert!(answer.await.is_err());
    disk.fail_syncs(false);
    assert!(bench.log.is_stopped());
    assert_eq!(*durable.borrow(), Lsn(3));
    assert_eq!(bench.log.committed(), Lsn(3));
    assert_eq!(bench.died.lock().unwrap().len(), 1);
    bench.log.commit(lsn);
    assert_eq!(bench.log.committed(), Lsn(3));
    assert!(matches!(bench.log.append_replica(Vec::new()).await, Err(StoreError::Stopped)));
    assert!(matches!(bench.log.begin_epoch(Epoch(5)).await, Err(StoreError::Stopped)));
}

#[tokio::test]
async fn what_a_crash_left_unsynced_is_durable_once_the_log_counts_it() {
    let disk = disk();
    let bench = open(&disk).unwrap();
    bench.batches(3).await;
    // The write reached the page cache, the process died before the sync.
    disk.fail_syncs(true);
    let lsn = bench.submit(10);
    assert!(bench.log.committed_at(lsn).await.is_err());
    drop(bench);
    disk.fail_syncs(false);
    let bench = open(&disk).unwrap();
    assert_eq!(*bench.log.durable().borrow(), lsn);
    let again = open(&SimDisk::new(&power_off(bench, &disk))).unwrap();
    assert_eq!(again.log.last().lsn, lsn);
}

#[tokio::test]
async fn a_log_opens_on_a_full_disk() {
    let disk = disk();
    let bench = open(&disk).unwrap();
    bench.batches(3).await;
    drop(bench);
    disk.fill(true);
    let bench = open(&disk).unwrap();
    // Its last segment still has its room.
    bench.batches(1).await;
    assert_eq!(bench.log.durable().borrow().0, 4);
}
