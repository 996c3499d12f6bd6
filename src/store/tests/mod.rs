//! The store as its callers see it, on disks that keep and disks that lose.

mod copy;
mod power;
mod support;

use self::support::*;
use super::disk::{Cut, SimDisk};
use super::*;
use tokio::sync::oneshot;
use understudy_proto::id::{Epoch, UploadId};
use understudy_proto::keys::{BodyRef, Keys};

#[tokio::test]
async fn what_is_written_can_be_read() {
    let node = Node::new(SimDisk::empty(root()));
    let (lease, _control) = node.reign(1).await;
    let store = &node.store;
    let mut topic = store.watch(T1, 7);
    let written = store.write(&lease, T1, Put::new(b"name", b"value")).await.unwrap();
    assert_eq!(written.answer, 1);
    store.applied(T1, written.lsn).await.unwrap();
    let view = store.read(T1).unwrap();
    assert_eq!(value(&view, b"name").as_deref(), Some(b"value".as_slice()));
    assert!(topic.has_changed().unwrap());
    topic.borrow_and_update();
    // Each change counts on the one before it, visible or not.
    let mut writes = Vec::new();
    for n in 0..50_u8 {
        writes.push(store.write(&lease, T1, Put::new(&[n], b"x")));
    }
    let mut answers = Vec::new();
    for write in writes {
        answers.push(write.await.unwrap().answer);
    }
    assert_eq!(answers, (2..=51).collect::<Vec<u64>>());
    assert!(matches!(store.read(TenantId(9)), Err(StoreError::UnknownTenant(_))));
}

#[tokio::test]
async fn bodies_come_back_in_ranges() {
    let node = Node::new(SimDisk::empty(root()));
    let (lease, _control) = node.reign(1).await;
    let store = &node.store;
    for len in [0, 1, 100, 256 * 1024, 256 * 1024 + 1, 700_000] {
        let content = noise(len, len as u64);
        let body = upload(store, &lease, T1, &content).await;
        assert_eq!(body.size, len as u64);
        assert_eq!(body.hash, *blake3::hash(&content).as_bytes());
        let key = format!("body{len}");
        let written = store.write(&lease, T1, Link::new(&key, &body)).await.unwrap();
        store.applied(T1, written.lsn).await.unwrap();
        let address = address(&store.read(T1).unwrap(), key.as_bytes());
        assert_eq!(address.len(), len as u64);
        assert_eq!(store.read_body(T1, &address, 0..u64::MAX).unwrap(), content);
        let (from, to) = (len / 3, len / 3 * 2);
        let range = from as u64..to as u64;
        assert_eq!(store.read_body(T1, &address, range).unwrap(), &content[from..to]);
        // Linked once, the upload's id is forgotten.
        assert!(store.read(T1).unwrap().body(body.upload).unwrap().is_none());
    }
    let unknown = BodyRef { upload: UploadId([1; 16]), size: 1, hash: [0; 32] };
    let refused = store.write(&lease, T1, Link::new("x", &unknown)).await;
    assert!(matches!(refused, Err(WriteError::Refused(_))), "{refused:?}");
}

/// Polls `future` a little and says whether it is still waiting.
async fn waits<F: Future + Unpin>(future: &mut F) -> bool {
    tokio::time::timeout(Duration::from_millis(30), future).await.is_err()
}

#[tokio::test]
async fn nothing_uncommitted_is_seen_and_nothing_is_said_that_rests_on_it() {
    let node = Node::new(SimDisk::empty(root()));
    let (lease, _control) = node.reign(1).await;
    let (store, log) = (&node.store, node.store.log());
    log.commit_alone(false);
    let mut write = Box::pin(store.write(&lease, T1, Put::new(b"k", b"v")));
    assert!(waits(&mut write).await);
    let mut look = Box::pin(store.write(&lease, T1, Put::new(b"k", b"look")));
    let mut refused = Box::pin(store.write(&lease, T1, Put::new(b"k", b"refuse")));
    assert!(waits(&mut look).await && waits(&mut refused).await);
    assert_eq!(rows(&store.read(T1).unwrap()), []);
    // Another tenant's answer rests on nothing of this one.
    let other = store.write(&lease, T2, Put::new(b"k", b"look")).await.unwrap();
    assert_eq!((other.answer, other.lsn), (0, Lsn(0)));
    log.commit(*log.durable().borrow());
    let written = write.await.unwrap();
    assert_eq!(look.await.unwrap().answer, 1);
    let said = refused.await.unwrap_err();
    assert!(matches!(&said, WriteError::Refused(why) if why == "after 1"), "{said:?}");
    store.applied(T1, written.lsn).await.unwrap();
    assert_eq!(rows(&store.read(T1).unwrap()).len(), 2);
    // The pending rows are gone once they are visible.
    let slot = store.inner().slot(T1);
    lock(&slot.pending).forget(written.lsn);
    assert!(lock(&slot.pending).is_empty());
}

#[tokio::test]
async fn a_revoked_lease_writes_nothing_more_and_the_next_decides_over_its_rest() {
    let node = Node::new(SimDisk::empty(root()));
    let (lease, control) = node.reign(1).await;
    let (store, log) = (&node.store, node.store.log());
    store.write(&lease, T1, Put::new(b"k", b"1")).await.unwrap();
    log.commit_alone(false);
    let mut write = Box::pin(store.write(&lease, T1, Put::new(b"k", b"2")));
    assert!(waits(&mut write).await);
    let mut body = store.begin_body(&lease, T1).await.unwrap();
    control.revoke();
    assert!(matches!(write.await, Err(WriteError::Unknown)));
    let end = log.last().lsn;
    assert!(matches!(
        store.write(&lease, T1, Put::new(b"k", b"3")).await,
        Err(WriteError::NotPrimary)
    ));
    body.write(b"x").await.unwrap();
    assert!(matches!(body.finish().await, Err(StoreError::NotPrimary)));
    assert!(matches!(store.begin_body(&lease, T1).await, Err(StoreError::NotPrimary)));
    assert_eq!(log.last().lsn, end);
    // The next lease finds the change that nobody answered for, once it is committed.
    let (next, _control) = PrimaryLease::mint(Epoch(2));
    log.begin_epoch(Epoch(2)).await.unwrap();
    let mut write = Box::pin(store.write(&next, T1, Put::new(b"k", b"4")));
    assert!(waits(&mut write).await);
    log.commit_alone(true);
    assert_eq!(write.await.unwrap().answer, 3);
    assert!(node.died.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_stale_lease_disturbs_nothing_and_a_stale_wait_is_never_answered() {
    let node = Node::new(SimDisk::empty(root()));
    let (old, control) = node.reign(1).await;
    let (store, log) = (&node.store, node.store.log());
    log.commit_alone(false);
    let end = log.last().lsn;
    let mut stale = log.committed_at(end.next());
    let mut write = Box::pin(store.write(&old, T1, Put::new(b"k", b"1")));
    assert!(waits(&mut write).await);
    control.revoke();
    assert!(write.await.is_err());
    assert_eq!(log.set_aside(end.next()).await.unwrap(), 1);
    assert!(stale.try_recv().is_err_and(|e| e == oneshot::error::TryRecvError::Closed));
    let (next, _control) = PrimaryLease::mint(Epoch(2));
    let mut first = Box::pin(store.write(&next, T1, Put::new(b"k", b"1")));
    assert!(waits(&mut first).await);
    // The old lease knocks again between two changes of the next.
    assert!(matches!(
        store.write(&old, T1, Put::new(b"k", b"1")).await,
        Err(WriteError::NotPrimary)
    ));
    let slot = store.inner().slot(T1);
    assert!(!lock(&slot.pending).is_empty());
    let mut second = Box::pin(store.write(&next, T1, Put::new(b"k", b"2")));
    assert!(waits(&mut second).await);
    log.commit_alone(true);
    assert_eq!((first.await.unwrap().answer, second.await.unwrap().answer), (1, 2));
}

#[test]
fn snapshots_and_uploads_may_cross_threads() {
    fn crosses<T: Send + Sync>() {}
    crosses::<ReadView>();
    crosses::<Store>();
    crosses::<BodyWriter>();
}

#[tokio::test]
async fn what_was_set_aside_does_not_hold_up_the_next_reign() {
    let node = Node::new(SimDisk::empty(root()));
    let (lease, control) = node.reign(1).await;
    let (store, log) = (&node.store, node.store.log());
    log.commit_alone(false);
    let mut write = Box::pin(store.write(&lease, T1, Put::new(b"k", b"1")));
    assert!(waits(&mut write).await);
    control.revoke();
    assert!(write.await.is_err());
    let (next, _control) = PrimaryLease::mint(Epoch(2));
    let mut early = Box::pin(store.write(&next, T1, Put::new(b"k", b"2")));
    assert!(waits(&mut early).await);
    assert_eq!(log.set_aside(log.committed().next()).await.unwrap(), 1);
    log.commit_alone(true);
    log.begin_epoch(Epoch(2)).await.unwrap();
    assert_eq!(early.await.unwrap().answer, 1);
}

#[tokio::test]
async fn a_change_that_cannot_be_applied_never_gets_into_the_log() {
    let node = Node::new(SimDisk::empty(root()));
    let (lease, _control) = node.reign(1).await;
    let store = &node.store;
    let end = store.log().last().lsn;
    let outcome = store.write(&lease, T1, Put::new(b"k", b"bug")).await;
    assert!(matches!(outcome, Err(WriteError::Apply(_))), "{outcome:?}");
    let large = vec![1; 300_000];
    let outcome = store.write(&lease, T1, Put::new(b"k", &large)).await;
    assert!(matches!(outcome, Err(WriteError::TooLarge { .. })), "{outcome:?}");
    assert_eq!(store.log().last().lsn, end);
    assert_eq!(store.write(&lease, T1, Put::new(b"k", b"v")).await.unwrap().answer, 1);
}

#[tokio::test]
async fn a_failed_sync_ends_the_store_and_nobody_is_answered() {
    let node = Node::new(SimDisk::empty(root()));
    let (lease, _control) = node.reign(1).await;
    let store = &node.store;
    store.write(&lease, T1, Put::new(b"k", b"v")).await.unwrap();
    node.disk.record();
    node.disk.fail_syncs(true);
    let outcome = store.write(&lease, T1, Put::new(b"k", b"w")).await;
    assert!(matches!(outcome, Err(WriteError::Unknown)), "{outcome:?}");
    node.disk.fail_syncs(false);
    for _ in 0..3 {
        let outcome = store.write(&lease, T1, Put::new(b"k", b"x")).await;
        assert!(matches!(outcome, Err(WriteError::Store(StoreError::Stopped))), "{outcome:?}");
    }
    let events = node.disk.recording();
    assert!(!events.iter().any(|e| matches!(e, disk::Event::Acknowledged(_))));
    assert_eq!(node.died.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_standby_applies_what_is_committed_and_becomes_primary() {
    let primary = Node::new(SimDisk::empty(root()));
    let standby = {
        let died = Arc::default();
        let disk = SimDisk::empty(root());
        let store = Store::open(Arc::new(disk.clone()), options(&died), registry()).unwrap();
        Node { store, disk, died }
    };
    standby.store.keyring().import(&primary.store.keyring().export()).unwrap();
    let (lease, _control) = primary.reign(1).await;
    let content = noise(600_000, 3);
    let body = upload(&primary.store, &lease, T1, &content).await;
    let lsn = primary.store.write(&lease, T1, Link::new("mail", &body)).await.unwrap().lsn;
    let open = primary.store.begin_body(&lease, T2).await.unwrap();
    let (theirs, ours) = (primary.store.log(), standby.store.log());
    while ours.last().lsn < theirs.last().lsn {
        let records = theirs.read_from(ours.last().lsn.next(), 300_000).unwrap();
        ours.append_replica(records).await.unwrap();
    }
    let mut durable = ours.durable();
    while *durable.borrow_and_update() < lsn {
        durable.changed().await.unwrap();
    }
    assert_eq!(rows(&standby.store.read(T1).unwrap()), [], "not committed, not visible");
    ours.commit(Lsn(lsn.0 - 1));
    standby.store.applied(T1, Lsn(lsn.0 - 1)).await.unwrap();
    assert_eq!(rows(&standby.store.read(T1).unwrap()), []);
    ours.commit(Lsn(lsn.0 + 1_000));
    standby.store.applied(T1, lsn).await.unwrap();
    let address = address(&standby.store.read(T1).unwrap(), b"mail");
    assert_eq!(standby.store.read_body(T1, &address, 0..u64::MAX).unwrap(), content);
    drop(open);
    let (lease, _control) = standby.reign(2).await;
    let written = standby.store.write(&lease, T1, Put::new(b"k", b"v")).await.unwrap();
    assert_eq!(written.answer, 2);
}

#[tokio::test]
async fn views_are_closed_and_opened_again_as_needed() {
    let node = Node::with(SimDisk::empty(root()), |o| {
        o.open_views_max = 2;
        o.checkpoint_every = Duration::from_millis(1);
    });
    let (lease, _control) = node.reign(1).await;
    let store = &node.store;
    for round in 1..=3_u64 {
        for tenant in (1..8).map(TenantId) {
            store.add_tenant_key(tenant).unwrap();
            let write = store.write(&lease, tenant, Put::new(b"k", &round.to_be_bytes()));
            let written = write.await.unwrap();
            assert_eq!(written.answer, round);
            store.applied(tenant, written.lsn).await.unwrap();
        }
    }
    let held = store.read(TenantId(1)).unwrap();
    let open = || store.inner().open_views.load(Ordering::Relaxed);
    for _ in 0..200 {
        if open() <= 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
        store.write(&lease, TenantId(7), Put::new(b"k", b"again")).await.unwrap();
    }
    assert!(open() <= 2, "{}", open());
    assert_eq!(count_of(&held), 3);
    for tenant in (1..7).map(TenantId) {
        let view = store.read(tenant).unwrap();
        assert_eq!(value(&view, b"k").unwrap(), 3_u64.to_be_bytes());
    }
    assert!(node.died.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_real_disk_works_and_is_locked() {
    let dir = tempfile::tempdir().unwrap();
    let died = Arc::default();
    let mut options = options(&died);
    options.dir = dir.path().join("data");
    let open = || Store::open(Arc::new(disk::RealDisk), options.clone(), registry());
    let content = noise(300_000, 1);
    for round in 1..=3_u64 {
        let store = open().unwrap();
        assert!(matches!(open(), Err(StoreError::Locked(_))));
        store.add_tenant_key(T1).unwrap();
        let lsn = store.log().begin_epoch(Epoch(round)).await.unwrap();
        store.log().commit_alone(true);
        store.applied(T1, lsn).await.unwrap();
        let (lease, _control) = PrimaryLease::mint(Epoch(round));
        let body = upload(&store, &lease, T1, &content).await;
        let written = store.write(&lease, T1, Link::new("mail", &body)).await.unwrap();
        assert_eq!(written.answer, round);
        store.applied(T1, written.lsn).await.unwrap();
        let address = address(&store.read(T1).unwrap(), b"mail");
        assert_eq!(store.read_body(T1, &address, 0..u64::MAX).unwrap(), content);
        if round == 2 {
            store.close();
        }
    }
    assert!(died.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_damaged_pack_is_named() {
    let node = Node::new(SimDisk::empty(root()));
    let (lease, _control) = node.reign(1).await;
    let body = upload(&node.store, &lease, T1, &noise(5_000, 9)).await;
    let written = node.store.write(&lease, T1, Link::new("mail", &body)).await.unwrap();
    node.store.applied(T1, written.lsn).await.unwrap();
    node.store.close();
    let mut image = node.disk.cut(Cut::Lost);
    let pack = root().join("tenants/1/packs/00000001.pack");
    let whole = Arc::make_mut(image.files.get_mut(&pack).unwrap());
    let middle = whole.len() / 2;
    whole[middle] ^= 1;
    let again = Node::new(SimDisk::new(&image));
    let address = address(&again.store.read(T1).unwrap(), b"mail");
    let e = again.store.read_body(T1, &address, 0..10).unwrap_err();
    assert!(matches!(e, StoreError::Damaged { .. }), "{e}");
    assert!(e.to_string().contains("00000001.pack"), "{e}");
    Arc::make_mut(image.files.get_mut(&pack).unwrap()).truncate(100);
    let died = Arc::default();
    let disk = Arc::new(SimDisk::new(&image));
    let e = Store::open(disk, options(&died), registry()).unwrap_err();
    assert!(e.to_string().contains("00000001.pack"), "{e}");
}

#[tokio::test]
async fn a_session_that_panics_takes_nothing_with_it() {
    let node = Node::new(SimDisk::empty(root()));
    let (lease, _control) = node.reign(1).await;
    node.store.write(&lease, T1, Put::new(b"k", b"v")).await.unwrap();
    let (store, of_session) = (node.store.clone(), lease.clone());
    let session = task::spawn("tests::panics", async move {
        let mut body = store.begin_body(&of_session, T1).await.unwrap();
        body.write(&noise(300_000, 1)).await.unwrap();
        let _view = store.read(T1).unwrap();
        panic!("as meant");
    });
    assert!(session.await.is_err());
    assert_eq!(node.store.write(&lease, T1, Put::new(b"k", b"w")).await.unwrap().answer, 2);
    let store = node.store.clone();
    drop(node);
    // Whether what it closes is checkpointed or not.
    tokio::time::sleep(Duration::from_millis(60)).await;
    let last = task::spawn("tests::panics", async move {
        let _store = store;
        panic!("as meant");
    });
    assert!(last.await.is_err());
}

/// A node that came back set its tail aside from the segments, not from memory; what it had just
/// declared no longer durable it then could not read, and tried without end.
#[tokio::test]
async fn a_tail_is_set_aside_after_a_restart() {
    let disk = SimDisk::empty(root());
    let node = Node::new(disk.clone());
    let (lease, _control) = node.reign(1).await;
    let log = node.store.log();
    log.commit_alone(false);
    let end = log.last().lsn;
    for value in [b"1", b"2"] {
        let mut write = Box::pin(node.store.write(&lease, T1, Put::new(b"k", value)));
        assert!(waits(&mut write).await);
    }
    let mut durable = log.durable();
    durable.wait_for(|lsn| *lsn >= Lsn(end.0 + 2)).await.unwrap();
    node.store.close();
    drop(node);

    let node = Node::new(disk.clone());
    let log = node.store.log();
    assert_eq!(log.last().lsn, Lsn(end.0 + 2));
    assert_eq!(log.set_aside(end.next()).await.unwrap(), 2);
    assert_eq!(log.last().lsn, end);
    let aside = disk.list(&root().join("log/aside")).unwrap();
    assert_eq!(aside.len(), 1, "{aside:?}");
}

#[tokio::test]
async fn the_reserve_refuses_new_bodies_and_nothing_else() {
    let node = Node::with(SimDisk::empty(root()), |o| o.reserve_bytes = u64::MAX);
    let (lease, _control) = node.reign(1).await;
    let refused = node.store.begin_body(&lease, T1).await;
    assert!(matches!(refused, Err(StoreError::NoRoom { .. })), "{:?}", refused.err());
    assert_eq!(node.store.write(&lease, T1, Put::new(b"k", b"1")).await.unwrap().answer, 1);
}
