//! A toy kind of change, and a node to run it on.

use crate::store::disk::{Disk, SimDisk};
use crate::store::{LeaseControl, PrimaryLease, ReadView, Store, StoreOptions};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use understudy_proto::codec;
use understudy_proto::id::{Epoch, NodeId, TenantId, UploadId};
use understudy_proto::keys::{BodyAddress, BodyRef, Keys, KeysMut};
use understudy_proto::merge::MergeRules;
use understudy_proto::record::Kind;
use understudy_proto::rule::{
    Apply, ApplyError, Command, DecideError, Decision, Moment, Position, Registry,
};

pub(super) const T1: TenantId = TenantId(1);
pub(super) const T2: TenantId = TenantId(2);
const TOY: Kind = Kind(900);
/// The row that counts a tenant's changes: applying one twice or never shows.
pub(super) const COUNT: &[u8] = b"~count";

#[derive(serde::Serialize, serde::Deserialize)]
enum Change {
    Put { key: Vec<u8>, value: Vec<u8>, count: u64 },
    Link { key: Vec<u8>, upload: UploadId, count: u64 },
}

pub(super) struct Toy;

impl Apply for Toy {
    fn kind(&self) -> Kind {
        TOY
    }

    fn apply(&self, keys: &mut dyn KeysMut, _: Position, change: &[u8]) -> Result<(), ApplyError> {
        let count = match codec::decode("a toy", change)? {
            Change::Put { key, value, count } => {
                keys.put(&key, &value)?;
                count
            }
            Change::Link { key, upload, count } => {
                let address = keys.body(upload)?.ok_or(ApplyError::Missing("upload"))?;
                keys.put(&key, &codec::encode(&address))?;
                keys.body_done(upload)?;
                count
            }
        };
        let before = count_of(keys);
        if before + 1 != count {
            return Err(ApplyError::Missing("the change before"));
        }
        keys.put(COUNT, &count.to_be_bytes())?;
        keys.wake(7);
        Ok(())
    }
}

pub(super) fn count_of(keys: &dyn Keys) -> u64 {
    let value = keys.get(COUNT).unwrap();
    value.map_or(0, |v| u64::from_be_bytes(v.try_into().unwrap()))
}

pub(super) struct Put {
    key: Vec<u8>,
    value: Vec<u8>,
}

impl Put {
    pub(super) fn new(key: &[u8], value: &[u8]) -> Self {
        Self { key: key.to_vec(), value: value.to_vec() }
    }
}

impl Command for Put {
    const KIND: Kind = TOY;
    type Answer = u64;
    type Refusal = String;

    fn decide(&self, keys: &dyn Keys, _: Moment) -> Result<Decision<u64>, DecideError<String>> {
        let count = count_of(keys) + 1;
        if self.value == b"refuse" {
            return Err(DecideError::Refused(format!("after {}", count - 1)));
        }
        if self.value == b"look" {
            return Ok(Decision { change: None, answer: count - 1 });
        }
        // A value that no node could apply.
        let wrong = if self.value == b"bug" { 7 } else { 0 };
        let (key, value) = (self.key.clone(), self.value.clone());
        let change = Change::Put { key, value, count: count + wrong };
        Ok(Decision { change: Some(codec::encode(&change)), answer: count })
    }
}

pub(super) struct Link {
    key: Vec<u8>,
    upload: UploadId,
}

impl Link {
    pub(super) fn new(key: &str, body: &BodyRef) -> Self {
        Self { key: key.as_bytes().to_vec(), upload: body.upload }
    }
}

impl Command for Link {
    const KIND: Kind = TOY;
    type Answer = u64;
    type Refusal = String;

    fn decide(&self, keys: &dyn Keys, _: Moment) -> Result<Decision<u64>, DecideError<String>> {
        if keys.body(self.upload)?.is_none() {
            return Err(DecideError::Refused("no such upload".to_owned()));
        }
        let count = count_of(keys) + 1;
        let change = Change::Link { key: self.key.clone(), upload: self.upload, count };
        Ok(Decision { change: Some(codec::encode(&change)), answer: count })
    }
}

pub(super) fn root() -> &'static Path {
    Path::new("/data")
}

pub(super) fn registry() -> Registry {
    Registry::default().with(Toy).with(MergeRules::default())
}

/// A store in memory, what it died of included.
pub(super) struct Node {
    pub(super) store: Store,
    pub(super) disk: SimDisk,
    pub(super) died: Arc<Mutex<Vec<String>>>,
}

pub(super) fn options(died: &Arc<Mutex<Vec<String>>>) -> StoreOptions {
    let mut options = StoreOptions::new(root(), NodeId(0));
    options.segment_len = 128 * 1024;
    options.checkpoint_every = Duration::from_millis(20);
    let died = Arc::clone(died);
    options.fatal = Arc::new(move |why| died.lock().unwrap().push(why.to_owned()));
    options
}

impl Node {
    /// A node with two tenants.
    pub(super) fn new(disk: SimDisk) -> Self {
        Self::with(disk, |_| ())
    }

    pub(super) fn with(disk: SimDisk, change: impl FnOnce(&mut StoreOptions)) -> Self {
        let died = Arc::default();
        let mut options = options(&died);
        change(&mut options);
        let store =
            Store::open(Arc::new(disk.clone()) as Arc<dyn Disk>, options, registry()).unwrap();
        store.add_tenant_key(T1).unwrap();
        store.add_tenant_key(T2).unwrap();
        Self { store, disk, died }
    }

    /// Makes the node a primary without a peer.
    pub(super) async fn reign(&self, epoch: u64) -> (PrimaryLease, LeaseControl) {
        self.store.log().begin_epoch(Epoch(epoch)).await.unwrap();
        self.store.log().commit_alone(true);
        PrimaryLease::mint(Epoch(epoch))
    }
}

pub(super) async fn upload(
    store: &Store,
    lease: &PrimaryLease,
    tenant: TenantId,
    content: &[u8],
) -> BodyRef {
    let mut body = store.begin_body(lease, tenant).await.unwrap();
    for piece in content.chunks(50_000) {
        body.write(piece).await.unwrap();
    }
    body.finish().await.unwrap()
}

pub(super) fn value(view: &ReadView, key: &[u8]) -> Option<Vec<u8>> {
    view.get(key).unwrap()
}

pub(super) fn address(view: &ReadView, key: &[u8]) -> BodyAddress {
    codec::decode("an address", &value(view, key).unwrap()).unwrap()
}

/// All rows.
pub(super) fn rows(view: &ReadView) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut rows = Vec::new();
    view.scan(&[], &[0xff; 8], &mut |k, v| {
        rows.push((k.to_vec(), v.to_vec()));
        ControlFlow::Continue(())
    })
    .unwrap();
    rows
}

/// Bytes that do not compress.
pub(super) fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; len];
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    hasher.finalize_xof().fill(&mut bytes);
    bytes
}
