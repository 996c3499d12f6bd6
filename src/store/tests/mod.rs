//! The store as its callers see it, on disks that keep and disks that lose.

mod power;
mod support;

use self::support::*;
use super::disk::{Cut, SimDisk};
use super::*;
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
