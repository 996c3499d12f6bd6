//! Full copies: from one store into another under writes, interrupted, and with the power cut at the
//! receiver at each of its disk operations.

use super::support::*;
use crate::store::disk::{Cut, Disk, Image, Replay, SimDisk};
use crate::store::swap::{self, Old, Swapped};
use crate::store::{Pin, PrimaryLease, Store};
use std::collections::BTreeMap;
use std::sync::Arc;
use understudy_proto::codec;
use understudy_proto::id::{Epoch, Lsn, TenantId};
use understudy_proto::keys::BodyAddress;
use understudy_proto::merge::{Begin, BranchId, Finish};
use understudy_proto::record;

const TENANTS: [TenantId; 3] = [TenantId::SYSTEM, T1, T2];

async fn blocking<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(f).await.unwrap()
}

/// Everything a tenant has: its rows, and its bodies instead of their addresses.
fn content(store: &Store) -> BTreeMap<(TenantId, Vec<u8>), Vec<u8>> {
    let mut all = BTreeMap::new();
    for tenant in TENANTS {
        for (key, value) in rows(&store.read(tenant).unwrap()) {
            let address = key.starts_with(b"body").then(|| codec::decode("an address", &value));
            let value = match address {
                Some(Ok(address)) => {
                    let address: BodyAddress = address;
                    store.read_body(tenant, &address, 0..address.len()).unwrap()
                }
                _ => value,
            };
            all.insert((tenant, key), value);
        }
    }
    all
}

/// One attempt, in the order in which `pair` does it. `go_on` is asked before each step; `false` is
/// the end of it. Says whether it came through.
fn attempt(from: &Store, to: &Store, mut go_on: impl FnMut(&'static str) -> bool) -> bool {
    macro_rules! step {
        ($name:literal) => {
            if !go_on($name) {
                return false;
            }
        };
    }
    from.log().pin(Pin::Copy, Some(from.log().applied().next()));
    let mut incoming = to.incoming(from.source().unwrap()).unwrap();
    let (mut first, mut last) = (Lsn(u64::MAX), Lsn(0));
    for tenant in from.keyring().tenants() {
        step!("tenant");
        let progress = incoming.tenant(tenant).unwrap();
        if let Some(done) = progress.done {
            if done.next() >= from.log().first() {
                (first, last) = (first.min(done.next()), last.max(done));
                from.log().pin(Pin::Copy, Some(first));
                continue;
            }
            incoming.forget_rows().unwrap();
        }
        let mut sent: BTreeMap<u32, u64> = progress.packs.into_iter().collect();
        let mut packs = |packs: &[(u32, u64)], go_on: &mut dyn FnMut(&'static str) -> bool| {
            for (pack, len) in packs {
                let at = sent.entry(*pack).or_default();
                while *at < *len {
                    if !go_on("pack") {
                        return false;
                    }
                    let n = usize::try_from((*len - *at).min(60_000)).unwrap();
                    let bytes = from.read_pack(tenant, *pack, *at, n).unwrap();
                    incoming.pack(*pack, *at, &bytes).unwrap();
                    *at += bytes.len() as u64;
                }
            }
            true
        };
        if !packs(&from.packs(tenant).unwrap(), &mut go_on) {
            return false;
        }
        step!("snapshot");
        let snapshot = from.snapshot(tenant).unwrap();
        let ends = snapshot.packs().unwrap();
        if !packs(&ends, &mut go_on) {
            return false;
        }
        let mut after: Option<Vec<u8>> = None;
        loop {
            step!("rows");
            let rows = snapshot.rows(after.as_deref(), 4_000).unwrap();
            let Some((key, _)) = rows.last() else { break };
            after = Some(key.clone());
            incoming.rows(&rows).unwrap();
        }
        incoming.finish_tenant(snapshot.lsn(), &ends, snapshot.uploads()).unwrap();
        (first, last) = (first.min(snapshot.lsn().next()), last.max(snapshot.lsn()));
    }
    let base = from.log_base(first).unwrap();
    let mut next = incoming.log_base(&base).unwrap().next();
    while next <= last || next <= from.log().committed() {
        step!("log");
        let (bytes, after) = from.committed_from(next, 20_000).unwrap();
        assert!(after > next);
        assert_eq!(incoming.append(bytes).unwrap().next(), after);
        next = after;
    }
    step!("complete");
    incoming.complete(&from.keyring().export(), Old::Held, "before").unwrap();
    true
}

/// The source, with bodies of several parts, one of them still in upload.
async fn source() -> (Node, PrimaryLease, crate::store::LeaseControl) {
    let node = Node::with(SimDisk::empty(root()), |o| o.pack_len = 300_000);
    let (lease, control) = node.reign(1).await;
    for n in 0..40_u64 {
        let tenant = if n % 3 == 0 { T2 } else { T1 };
        if n % 4 == 0 {
            let body = upload(&node.store, &lease, tenant, &noise(40_000, n)).await;
            let link = Link::new(&format!("body {n}"), &body);
            node.store.write(&lease, tenant, link).await.unwrap();
        } else {
            let put = Put::new(format!("key {n}").as_bytes(), &noise(900, n));
            node.store.write(&lease, tenant, put).await.unwrap();
        }
    }
    (node, lease, control)
}

/// Ships what the copy lacks, as a primary does after `Join`.
async fn catch_up(from: &Store, to: &Store) {
    let mut durable = to.log().durable();
    let next = to.log().last().lsn.next();
    assert!(from.log().first() <= next);
    let chain = from.log().chain_at(to.log().last().lsn).unwrap().unwrap();
    assert_eq!(chain, to.log().last().chain, "the copy's log is the source's");
    let mut next = next;
    while next <= from.log().last().lsn {
        let bytes = from.log().read_from(next, 50_000).unwrap();
        let last = to.log().append_replica(bytes).await.unwrap();
        next = last.next();
    }
    while *durable.borrow_and_update() < from.log().last().lsn {
        durable.changed().await.unwrap();
    }
    to.log().commit(from.log().last().lsn);
    for tenant in TENANTS {
        to.applied(tenant, from.log().last().lsn).await.unwrap();
    }
}

/// A node that has something else.
async fn target() -> Node {
    let node = Node::new(SimDisk::empty(root()));
    let (lease, _control) = node.reign(3).await;
    node.store.write(&lease, T1, Put::new(b"old", b"old")).await.unwrap();
    node
}

fn reopen(image: &Image) -> (Node, Swapped) {
    let disk = SimDisk::new(image);
    let swapped = swap::at_boot(&disk, root()).unwrap();
    (Node::new(disk), swapped)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_under_writes_is_what_the_source_is() {
    let (a, lease, _control) = source().await;
    let mut open = a.store.begin_body(&lease, T1).await.unwrap();
    open.write(&noise(300_000, 77)).await.unwrap();
    let b = target().await;
    let runtime = tokio::runtime::Handle::current();
    let (from, to, writer) = (a.store.clone(), b.store.clone(), lease.clone());
    let through = blocking(move || {
        let (mut n, store) = (0_u32, from.clone());
        attempt(&from, &to, |step| {
            n += 1;
            runtime.block_on(async {
                let key = format!("while {step} {n}");
                for tenant in [T1, T2] {
                    store.write(&writer, tenant, Put::new(key.as_bytes(), b"x")).await.unwrap();
                }
                if n % 3 == 0 {
                    let body = upload(&store, &writer, T2, &noise(20_000, n.into())).await;
                    let link = Link::new(&format!("body at {n}"), &body);
                    store.write(&writer, T2, link).await.unwrap();
                }
            });
            n < 400
        })
    })
    .await;
    assert!(through);
    let (b, swapped) = reopen(&b.disk.cut(Cut::Lost));
    assert_eq!(swapped, Swapped::Installed);
    assert_ne!(b.store.source().unwrap(), a.store.source().unwrap());
    // The upload that was open all the time is linked now.
    let body = open.finish().await.unwrap();
    a.store.write(&lease, T1, Link::new("body late", &body)).await.unwrap();
    let last = a.store.write(&lease, T1, Put::new(b"last", b"x")).await.unwrap();
    a.store.applied(T1, last.lsn).await.unwrap();
    catch_up(&a.store, &b.store).await;
    let (ours, theirs) = (content(&a.store), content(&b.store));
    assert!(theirs.contains_key(&(T1, b"body late".to_vec())));
    assert_eq!(ours, theirs);
    assert!(b.died.lock().unwrap().is_empty());
    // And once more from its disk.
    b.store.close();
    let (b, _) = reopen(&b.disk.cut(Cut::Lost));
    assert_eq!(content(&b.store), ours);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_is_interrupted_goes_on_and_survives_each_power_cut() {
    let (a, _lease, _control) = source().await;
    let b = target().await;
    b.store.close();
    let before = b.disk.cut(Cut::Lost);
    let (b, _) = reopen(&before);
    let old = content(&b.store);
    let ours = content(&a.store);
    b.disk.record();
    for stop in [1, 3, 9, 14, 7] {
        let (from, to) = (a.store.clone(), b.store.clone());
        let mut steps = 0;
        let through = blocking(move || {
            attempt(&from, &to, |_| {
                steps += 1;
                steps <= stop
            })
        });
        assert!(!through.await);
    }
    let (from, to) = (a.store.clone(), b.store.clone());
    assert!(blocking(move || attempt(&from, &to, |_| true)).await);
    let events = b.disk.recording();
    let mut replay = Replay::new(&before);
    for (n, event) in events.iter().enumerate() {
        replay.follow(event);
        if n % 7 != 0 && n + 12 < events.len() {
            continue;
        }
        for cut in [Cut::Lost, Cut::Kept, Cut::Torn(n as u64)] {
            let (b, swapped) = reopen(&replay.cut(cut));
            if swapped == Swapped::Installed {
                assert_eq!(content(&b.store), ours, "event {n}");
                continue;
            }
            assert_eq!(content(&b.store), old, "event {n}");
            if n % 21 == 0 {
                let (from, to) = (a.store.clone(), b.store.clone());
                assert!(blocking(move || attempt(&from, &to, |_| true)).await);
                let (b, swapped) = reopen(&b.disk.cut(Cut::Lost));
                assert_eq!((swapped, content(&b.store)), (Swapped::Installed, ours.clone()));
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_sources_half_copy_is_thrown_away() {
    let (a, _lease, _control) = source().await;
    let (c, _lease_c, _control_c) = source().await;
    let b = target().await;
    for from in [&a, &c] {
        let (from, to) = (from.store.clone(), b.store.clone());
        let mut steps = 0;
        let half = move || {
            attempt(&from, &to, |_| {
                steps += 1;
                steps < 12
            })
        };
        assert!(!blocking(half).await);
    }
    let (from, to) = (c.store.clone(), b.store.clone());
    assert!(blocking(move || attempt(&from, &to, |_| true)).await);
    let disk: Arc<dyn Disk> = Arc::new(SimDisk::new(&b.disk.cut(Cut::Lost)));
    assert_eq!(swap::at_boot(disk.as_ref(), root()).unwrap(), Swapped::Installed);
    assert!(swap::forget_retired(disk.as_ref(), root()).unwrap());
    let store = Store::open(disk, options(&Arc::default()), registry()).unwrap();
    assert_eq!(content(&store), content(&c.store));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pinned_log_is_not_trimmed() {
    let node = Node::with(SimDisk::empty(root()), |o| o.log_keep_bytes = 0);
    let (lease, _control) = node.reign(1).await;
    node.store.log().pin(Pin::Copy, Some(Lsn(3)));
    for n in 0..40_u64 {
        let put = Put::new(format!("{n}").as_bytes(), &noise(20_000, n));
        node.store.write(&lease, T1, put).await.unwrap();
    }
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    assert_eq!(node.store.log().first(), Lsn(1));
    let bytes = node.store.log().read_from(Lsn(3), 1).unwrap();
    assert!(record::decode(&bytes).is_ok());
    node.store.log().pin(Pin::Copy, None);
    while node.store.log().first() <= Lsn(3) {
        node.store.write(&lease, T1, Put::new(b"more", b"x")).await.unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

/// Writes until about `bytes` more are in the log, and the views had time to be checkpointed.
async fn fill(store: &Store, lease: &PrimaryLease, bytes: usize) {
    for n in 0..bytes / 20_000 {
        let put = Put::new(b"filler", &noise(20_000, n as u64));
        store.write(lease, T1, put).await.unwrap();
    }
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    for _ in 0..3 {
        store.write(lease, T1, Put::new(b"more", b"x")).await.unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(60)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_purposes_pin_the_log_and_the_lower_one_counts() {
    let node = Node::with(SimDisk::empty(root()), |o| o.log_keep_bytes = 256 * 1024);
    let (lease, _control) = node.reign(1).await;
    let log = node.store.log();
    log.pin(Pin::Merge, Some(Lsn(2)));
    log.pin(Pin::Copy, Some(Lsn(30)));
    fill(&node.store, &lease, 800_000).await;
    assert_eq!(log.first(), Lsn(1));
    log.pin(Pin::Copy, None);
    fill(&node.store, &lease, 40_000).await;
    assert_eq!(log.first(), Lsn(1), "the end of a copy is not the end of the merge");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_merge_needs_the_log_after_a_restart_too_but_not_without_bound() {
    let keep = |o: &mut crate::store::StoreOptions| o.log_keep_bytes = 256 * 1024;
    let node = Node::with(SimDisk::empty(root()), keep);
    let branch = BranchId { fork: Lsn(1), epoch: Epoch(3) };
    {
        let (lease, _control) = node.reign(1).await;
        node.store.write(&lease, TenantId::SYSTEM, Begin { branch }).await.unwrap();
    }
    node.store.close();
    let disk = SimDisk::new(&node.disk.cut(Cut::Lost));
    drop(node);
    let node = Node::with(disk, keep);
    let (lease, _control) = node.reign(2).await;
    fill(&node.store, &lease, 700_000).await;
    assert_eq!(node.store.log().first(), Lsn(1), "the merge needs the log from its fork on");
    // It never goes on: the disk must not fill up.
    fill(&node.store, &lease, 800_000).await;
    assert!(node.store.log().first() > branch.fork.next());
    // What is finished needs nothing.
    let done = node.store.write(&lease, TenantId::SYSTEM, Finish { branch }).await.unwrap();
    node.store.applied(TenantId::SYSTEM, done.lsn).await.unwrap();
    let view = node.store.read(TenantId::SYSTEM).unwrap();
    assert_eq!(understudy_proto::merge::needs_log_from(&view).unwrap(), None);
}
