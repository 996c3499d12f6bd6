//! Power cuts. One recorded run of a workload gives, for a cut at each of its disk operations, what
//! the disk would hold; the store must come back from each with every acknowledged change.

use super::support::*;
use crate::base::task;
use crate::store::disk::{Cut, Disk, Event, Image, Open, Replay, SimDisk};
use crate::store::{LeaseControl, PrimaryLease, Store, StoreError, WriteError};
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use understudy_proto::codec;
use understudy_proto::id::{Epoch, Lsn, TenantId};
use understudy_proto::keys::BodyAddress;
use understudy_proto::record;

const T3: TenantId = TenantId(3);

/// What a row should hold.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Want {
    Value(Vec<u8>),
    Body(Vec<u8>),
}

/// A change of the workload.
#[derive(Clone, Debug)]
struct Done {
    tenant: TenantId,
    lsn: Lsn,
    key: Vec<u8>,
    want: Want,
}

/// A recorded run.
struct Run {
    events: Vec<Event>,
    /// All changes that were in the log, by branch: the first was set aside in the middle.
    branches: [Vec<Done>; 2],
    /// From this event on, the records that were set aside must be in their file.
    set_aside_at: usize,
    set_aside: usize,
}

struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % n
    }
}

/// Some changes one after the other, now and then several at once.
async fn changes(
    node: &Node,
    lease: &PrimaryLease,
    random: &mut Random,
    rounds: usize,
) -> Vec<Done> {
    let store = &node.store;
    let done = Arc::new(Mutex::new(Vec::new()));
    for round in 0..rounds {
        let tenant = [T1, T2, T3][usize::try_from(random.below(3)).unwrap()];
        let key = format!("k{}", random.below(40)).into_bytes();
        match random.below(8) {
            0 | 1 => {
                let len = [0, 300, 3_000, 20_000][usize::try_from(random.below(4)).unwrap()];
                // One in a few large ones is enough to roll segments.
                let len = if len == 20_000 && round % 5 == 0 { 300_000 } else { len };
                let content = noise(len, random.below(u64::MAX));
                let body = upload(store, lease, tenant, &content).await;
                let link = Link::new(std::str::from_utf8(&key).unwrap(), &body);
                let lsn = store.write(lease, tenant, link).await.unwrap().lsn;
                done.lock().unwrap().push(Done { tenant, lsn, key, want: Want::Body(content) });
            }
            2 if round % 4 == 0 => {
                let mut given_up = store.begin_body(lease, tenant).await.unwrap();
                given_up.write(&noise(263_000, 5)).await.unwrap();
            }
            3 => {
                let mut writes = Vec::new();
                for n in 0..6_u8 {
                    let (store, lease) = (store.clone(), lease.clone());
                    let (key, value) = (vec![b'p', n], noise(20 + usize::from(n), round as u64));
                    let done = Arc::clone(&done);
                    writes.push(task::spawn("tests::write", async move {
                        let put = Put::new(&key, &value);
                        let lsn = store.write(&lease, T1, put).await.unwrap().lsn;
                        let want = Want::Value(value);
                        done.lock().unwrap().push(Done { tenant: T1, lsn, key, want });
                    }));
                }
                for write in writes {
                    write.await.unwrap();
                }
            }
            _ => {
                let value = noise(usize::try_from(random.below(2_000)).unwrap(), random.0);
                let lsn = store.write(lease, tenant, Put::new(&key, &value)).await.unwrap().lsn;
                done.lock().unwrap().push(Done { tenant, lsn, key, want: Want::Value(value) });
            }
        }
        if random.below(6) == 0 {
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
    }
    std::mem::take(&mut done.lock().unwrap())
}

/// Changes that are durable but never committed, and what they would have left.
async fn tail(node: &Node, lease: &PrimaryLease, control: &LeaseControl) -> Vec<Done> {
    let log = node.store.log();
    log.commit_alone(false);
    let mut durable = log.durable();
    let mut writes = Vec::new();
    let mut done = Vec::new();
    for n in 0..8_u8 {
        let (store, lease) = (node.store.clone(), lease.clone());
        let (key, value) = (vec![b't', n], vec![n; 30_000]);
        let lsn = log.last().lsn.next();
        done.push(Done { tenant: T2, lsn, key: key.clone(), want: Want::Value(value.clone()) });
        writes.push(task::spawn("tests::write", async move {
            let outcome = store.write(&lease, T2, Put::new(&key, &value)).await;
            assert!(matches!(outcome, Err(WriteError::Unknown)), "{outcome:?}");
        }));
        while *durable.borrow_and_update() < lsn {
            durable.changed().await.unwrap();
        }
    }
    control.revoke();
    for write in writes {
        write.await.unwrap();
    }
    done
}

/// Runs the workload on `disk` and records it.
fn record(seed: u64, disk: SimDisk) -> Run {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(2).enable_time().build().unwrap().block_on(async {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        disk.record();
        let node = Node::with(disk, |o| {
            o.checkpoint_every = Duration::from_millis(4);
            o.pack_len = 200_000;
        });
        node.store.add_tenant_key(T3).unwrap();
        node.store.log().keep_for_peer(Some(Lsn(u64::MAX)));
        let (lease, control) = node.reign(1).await;
        let mut first = changes(&node, &lease, &mut random, 30).await;
        let from = node.store.log().last().lsn.next();
        let mut second = first.clone();
        let aside = tail(&node, &lease, &control).await;
        let set_aside = node.store.log().set_aside(from).await.unwrap();
        assert_eq!(set_aside, aside.len());
        let set_aside_at = node.disk.recorded();
        first.extend(aside);
        let (lease, _control) = node.reign(2).await;
        second.extend(changes(&node, &lease, &mut random, 30).await);
        while node.store.log().first() == Lsn(1) {
            // Until something was trimmed.
            second.extend(changes(&node, &lease, &mut random, 10).await);
        }
        assert!(node.died.lock().unwrap().is_empty());
        node.store.close();
        Run { events: node.disk.recording(), branches: [first, second], set_aside_at, set_aside }
    })
}

/// What the tenants' rows should be when the log ends at `end`.
fn model(branch: &[Done], end: Lsn) -> BTreeMap<TenantId, (u64, BTreeMap<Vec<u8>, Want>)> {
    let mut changes: Vec<&Done> = branch.iter().filter(|d| d.lsn <= end).collect();
    changes.sort_by_key(|d| d.lsn);
    let mut tenants: BTreeMap<TenantId, (u64, BTreeMap<Vec<u8>, Want>)> = BTreeMap::new();
    for done in changes {
        let (count, rows) = tenants.entry(done.tenant).or_default();
        *count += 1;
        rows.insert(done.key.clone(), done.want.clone());
    }
    tenants
}

/// Whether a tenant's view is what the model says.
fn same(
    store: &Store,
    tenant: TenantId,
    (count, wanted): &(u64, BTreeMap<Vec<u8>, Want>),
) -> Result<(), String> {
    let view = match store.read(tenant) {
        Ok(view) => view,
        Err(StoreError::UnknownTenant(_)) if wanted.is_empty() => return Ok(()),
        Err(e) => return Err(e.to_string()),
    };
    let mut found = rows(&view);
    found.retain(|(key, _)| key != COUNT);
    if count_of(&view) != *count || found.len() != wanted.len() {
        return Err(format!("{tenant}: {} changes, not {count}", count_of(&view)));
    }
    for (key, value) in found {
        let content = match wanted.get(&key) {
            Some(Want::Value(v)) if *v == value => continue,
            Some(Want::Body(content)) => content,
            other => return Err(format!("{tenant}: {key:?} is wrong, not {}", other.is_some())),
        };
        let address: BodyAddress =
            codec::decode("an address", &value).map_err(|e| e.to_string())?;
        let body = store.read_body(tenant, &address, 0..u64::MAX).map_err(|e| e.to_string())?;
        if body != *content {
            return Err(format!("{tenant}: the body of {key:?} is wrong"));
        }
    }
    Ok(())
}

type Dump = Vec<(TenantId, Vec<(Vec<u8>, Vec<u8>)>)>;

fn dump(store: &Store) -> Dump {
    [T1, T2, T3].into_iter().filter_map(|t| Some((t, rows(&store.read(t).ok()?)))).collect()
}

fn open(disk: &SimDisk, died: &Arc<Mutex<Vec<String>>>) -> Result<Store, String> {
    let opened = catch_unwind(AssertUnwindSafe(|| {
        Store::open(Arc::new(disk.clone()), options(died), registry())
    }));
    opened.map_err(|_panic| "opening panicked".to_owned())?.map_err(|e| e.to_string())
}

/// Opens what a cut left, commits all of it, and compares. Returns the rows.
async fn recover(run: &Run, disk: &SimDisk, acknowledged: Lsn, at: usize) -> Result<Dump, String> {
    let died = Arc::default();
    let store = open(disk, &died)?;
    let end = store.log().last();
    if end.lsn < acknowledged {
        return Err(format!("the log ends at {}, {acknowledged} was acknowledged", end.lsn));
    }
    let lsn = store.log().begin_epoch(Epoch(end.epoch.0 + 10)).await.map_err(|e| e.to_string())?;
    store.log().commit_alone(true);
    store.applied(TenantId::SYSTEM, lsn).await.map_err(|e| e.to_string())?;
    let none = (0, BTreeMap::new());
    let compare = |branch: &[Done]| {
        let model = model(branch, end.lsn);
        [T1, T2, T3].into_iter().try_for_each(|t| same(&store, t, model.get(&t).unwrap_or(&none)))
    };
    let [first, second] = &run.branches;
    compare(second).or_else(|e| compare(first).map_err(|f| format!("at {}: {e}; {f}", end.lsn)))?;
    if at >= run.set_aside_at && aside_records(disk) < run.set_aside {
        return Err("what was set aside is gone".to_owned());
    }
    let dump = dump(&store);
    if dump.len() == 3 {
        // The log goes on.
        let (lease, _control) = PrimaryLease::mint(Epoch(end.epoch.0 + 10));
        store.write(&lease, T1, Put::new(b"k0", b"on")).await.map_err(|e| e.to_string())?;
        store.write(&lease, T1, Put::new(b"k1", b"on")).await.map_err(|e| e.to_string())?;
    }
    if died.lock().unwrap().is_empty() { Ok(dump) } else { Err(format!("{died:?}")) }
}

/// Records in the files of what was set aside.
fn aside_records(disk: &SimDisk) -> usize {
    let dir = root().join("log/aside");
    let mut most = 0;
    for name in disk.list(&dir).unwrap_or_default() {
        let file = disk.open(&dir.join(&name), Open::Existing).unwrap();
        let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
        file.read_at(0, &mut bytes).unwrap();
        let (mut rest, mut count) = (bytes.as_slice(), 0);
        while let Ok((_, _, whole)) = record::decode(rest) {
            count += 1;
            rest = &rest[whole..];
        }
        most = most.max(count);
    }
    most
}

/// Everything that must hold after a cut that left `image`.
async fn survive(run: &Run, image: &Image, acknowledged: Lsn, at: usize) -> Result<(), String> {
    let disk = SimDisk::new(image);
    let before = recover(run, &disk, acknowledged, at).await?;
    // What the first recovery wrote on is cut, too: the second comes to the same rows.
    let died = Arc::default();
    let store = open(&SimDisk::new(&disk.cut(Cut::Torn(at as u64))), &died)?;
    store.log().commit_alone(true);
    let last = store.log().last().lsn;
    store.applied(TenantId::SYSTEM, last).await.map_err(|e| e.to_string())?;
    let mut after = dump(&store);
    if before.len() == 3 {
        let lost = |key: &[u8]| value(&store.read(T1).unwrap(), key).is_none_or(|v| v != b"on");
        if lost(b"k0") || lost(b"k1") {
            return Err("what was written after the recovery is gone".to_owned());
        }
    }
    let own = |dump: &mut Dump| {
        for (_, rows) in dump {
            rows.retain(|(k, _)| k != COUNT && k != b"k0" && k != b"k1");
        }
    };
    let mut before = before;
    own(&mut before);
    own(&mut after);
    if before == after { Ok(()) } else { Err("a second recovery differs".to_owned()) }
}

/// The sync gate: between the last write of each acknowledged record and its acknowledgement, its
/// segment was synced, and the segment's name before.
fn gate(events: &[Event]) -> Result<usize, String> {
    let mut segments: BTreeMap<u64, PathBuf> = BTreeMap::new();
    let mut names: BTreeMap<PathBuf, u64> = BTreeMap::new();
    let mut unsynced: BTreeMap<Lsn, u64> = BTreeMap::new();
    let mut unnamed: BTreeSet<u64> = BTreeSet::new();
    let mut acknowledgements = 0;
    for event in events {
        match event {
            Event::Link(path, inode) => drop(names.insert(path.clone(), *inode)),
            Event::Rename(from, to) => {
                let inode = names.remove(from).unwrap();
                if to.extension().is_some_and(|e| e == "seg") {
                    segments.insert(inode, to.clone());
                    unnamed.insert(inode);
                }
                names.insert(to.clone(), inode);
            }
            Event::SyncDir(dir) => {
                unnamed.retain(|inode| segments[inode].parent() != Some(dir));
            }
            Event::Write(inode, _, data) if segments.contains_key(inode) => {
                let mut rest = data.get(56..).unwrap_or_default();
                while let Ok((header, _, whole)) = record::decode(rest) {
                    unsynced.insert(header.lsn, *inode);
                    rest = &rest[whole..];
                }
            }
            Event::Sync(inode) => unsynced.retain(|_, i| i != inode),
            Event::Acknowledged(lsn) => {
                acknowledgements += 1;
                if let Some((early, inode)) = unsynced.range(..=*lsn).next() {
                    return Err(format!("{early} in segment {inode} was not synced"));
                }
                if !unnamed.is_empty() {
                    return Err("a segment's name was not synced".to_owned());
                }
            }
            _ => {}
        }
    }
    Ok(acknowledgements)
}

/// Follows the run and hands over each cut: its event's number, what is durable, and what was
/// acknowledged before it.
fn each_cut(events: &[Event], mut visit: impl FnMut(usize, &Replay, Lsn)) {
    let dirs = [root().to_owned()].into();
    let mut replay = Replay::new(&Image { dirs, ..Image::default() });
    let mut acknowledged = Lsn(0);
    for (at, event) in events.iter().enumerate() {
        visit(at, &replay, acknowledged);
        replay.follow(event);
        if let Event::Acknowledged(lsn) = event {
            acknowledged = acknowledged.max(*lsn);
        }
    }
    visit(events.len(), &replay, acknowledged);
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
}

#[test]
fn every_acknowledged_change_survives_a_cut_at_each_operation() {
    let run = record(1, SimDisk::empty(root()));
    assert!(gate(&run.events).unwrap() > 30);
    let runtime = runtime();
    let (mut cuts, mut last) = (0, Lsn(0));
    each_cut(&run.events, |at, replay, acknowledged| {
        let how = match at % 4 {
            0 => Cut::Lost,
            1 => Cut::Kept,
            _ => Cut::Torn(at as u64),
        };
        if let Err(e) = runtime.block_on(survive(&run, &replay.cut(how), acknowledged, at)) {
            panic!("cut at {at} of {} ({how:?}): {e}", run.events.len());
        }
        (cuts, last) = (cuts + 1, acknowledged);
    });
    println!("{cuts} cuts, {last} changes acknowledged");
}

#[test]
fn other_workloads_survive_random_cuts() {
    let runtime = runtime();
    for seed in 2..6 {
        let run = record(seed, SimDisk::empty(root()));
        gate(&run.events).unwrap();
        let mut random = Random(seed << 7 | 1);
        each_cut(&run.events, |at, replay, acknowledged| {
            if random.below(25) == 0 {
                let how = Cut::Torn(random.below(1 << 40));
                let outcome = runtime.block_on(survive(&run, &replay.cut(how), acknowledged, at));
                if let Err(e) = outcome {
                    panic!("seed {seed}, cut at {at} ({how:?}): {e}");
                }
            }
        });
    }
}

#[test]
fn a_cut_during_recovery_changes_nothing() {
    let run = record(7, SimDisk::empty(root()));
    let runtime = runtime();
    let mut random = Random(77);
    let mut cut_in_recovery = 0;
    each_cut(&run.events, |at, replay, acknowledged| {
        if random.below(12) != 0 {
            return;
        }
        let mut image = replay.cut(Cut::Torn(random.below(1 << 40)));
        for _ in 0..2 {
            let disk = SimDisk::new(&image);
            disk.cut_after(Some(random.below(40)));
            let died = Arc::default();
            drop(open(&disk, &died));
            cut_in_recovery += u32::from(disk.is_dead());
            image = disk.cut(Cut::Torn(random.below(1 << 40)));
        }
        let outcome = runtime.block_on(survive(&run, &image, acknowledged, at));
        if let Err(e) = outcome {
            panic!("cut at {at}, then in recovery: {e}");
        }
    });
    assert!(cut_in_recovery > 20, "{cut_in_recovery}");
}

#[test]
fn without_syncs_changes_are_lost_and_the_gate_shows_it() {
    let disk = SimDisk::empty(root());
    disk.lie();
    let run = record(1, disk);
    assert!(gate(&run.events).is_err(), "the gate sees no missing sync");
    let (mut losses, mut cuts) = (0, 0);
    each_cut(&run.events, |at, replay, acknowledged| {
        if at % 20 == 0 && acknowledged > Lsn(0) {
            cuts += 1;
            let disk = SimDisk::new(&replay.cut(Cut::Torn(at as u64)));
            let died = Arc::default();
            // Only opened: what is left of the indexes may be beyond reading.
            let lost = open(&disk, &died).map_or(true, |s| s.log().last().lsn < acknowledged);
            losses += u32::from(lost);
        }
    });
    assert!(losses * 2 > cuts, "{losses} losses in {cuts} cuts");
}
