//! The rows of objects and how they are read. Writing happens in `apply` alone.

use super::{ObjectId, ObjectType};
use crate::codec::{self, Key};
use crate::id::{AccountId, ModSeq};
use crate::keys::{BodyAddress, Keys};
use crate::mailbox::RowError;
use crate::time::UnixMs;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::ControlFlow;

/// An object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Object {
    /// What it is.
    pub object_type: ObjectType,
    /// Its id.
    pub id: ObjectId,
    /// When it last changed, in the type's count.
    pub modseq: ModSeq,
    /// When it was created.
    pub created: UnixMs,
    /// When it last changed.
    pub updated: UnixMs,
    /// What it says; without its id.
    pub json: String,
    /// Its bytes, if it is a file.
    pub body: Option<Body>,
}

/// A file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Body {
    /// Where its bytes are.
    pub address: BodyAddress,
    /// Length in bytes.
    pub size: u64,
    /// BLAKE3 of its bytes.
    pub hash: [u8; 32],
}

impl Object {
    /// What it counts in [`ObjectState::bytes`].
    pub(super) fn weight(&self) -> u64 {
        let json = u64::try_from(self.json.len()).unwrap_or(u64::MAX);
        json.saturating_add(self.body.as_ref().map_or(0, |b| b.size))
    }
}

/// The counters of one type of one account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectState {
    /// The last modseq given.
    pub modseq: ModSeq,
    /// How many objects there are.
    pub count: u32,
    /// Bytes that they take, with their files.
    pub bytes: u64,
}

/// What one step did to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum What {
    /// It came.
    Created,
    /// It changed.
    Updated,
    /// It went.
    Destroyed,
}

/// A row of a type's change log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// What was done.
    pub what: What,
    /// To which object.
    pub id: ObjectId,
}

/// RFC 8620 5.2: what changed since a state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// The state that one has who knows these changes.
    pub to: ModSeq,
    /// Whether there are more.
    pub more: bool,
    /// Objects that came.
    pub created: Vec<ObjectId>,
    /// Objects that changed.
    pub updated: Vec<ObjectId>,
    /// Objects that went.
    pub destroyed: Vec<ObjectId>,
}

fn table(letter: u8, account: AccountId, object_type: ObjectType) -> Key {
    Key::new(letter).u32(account.0).bytes(&[object_type.code()])
}

pub(super) fn key_object(account: AccountId, object_type: ObjectType, id: &ObjectId) -> Vec<u8> {
    table(b'o', account, object_type).bytes(id.as_str().as_bytes()).done()
}

pub(super) fn key_state(account: AccountId, object_type: ObjectType) -> Vec<u8> {
    table(b'O', account, object_type).done()
}

pub(super) fn key_change(account: AccountId, object_type: ObjectType, modseq: ModSeq) -> Vec<u8> {
    table(b'P', account, object_type).u64(modseq.0).done()
}

/// One object.
pub fn object(
    keys: &dyn Keys,
    account: AccountId,
    object_type: ObjectType,
    id: &ObjectId,
) -> Result<Option<Object>, RowError> {
    let row = keys.get(&key_object(account, object_type, id))?;
    Ok(row.map(|row| codec::decode("object", &row)).transpose()?)
}

/// The type's objects by id, those behind `after`, at most `limit`.
pub fn objects(
    keys: &dyn Keys,
    account: AccountId,
    object_type: ObjectType,
    after: Option<&ObjectId>,
    limit: usize,
) -> Result<Vec<Object>, RowError> {
    let (mut from, to) = table(b'o', account, object_type).range();
    if let Some(after) = after {
        // The key after this one: the same with a zero byte behind it.
        from = key_object(account, object_type, after);
        from.push(0);
    }
    let mut all = Vec::new();
    let mut failed = None;
    keys.scan(&from, &to, &mut |_, value| {
        if all.len() >= limit {
            return ControlFlow::Break(());
        }
        match codec::decode("object", value) {
            Ok(object) => all.push(object),
            Err(e) => failed = Some(e),
        }
        if failed.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    failed.map_or(Ok(all), |e| Err(e.into()))
}

/// The type's counters.
pub fn state(
    keys: &dyn Keys,
    account: AccountId,
    object_type: ObjectType,
) -> Result<ObjectState, RowError> {
    let row = keys.get(&key_state(account, object_type))?;
    let row = row.map(|row| codec::decode("counters of objects", &row)).transpose()?;
    Ok(row.unwrap_or_default())
}

/// RFC 8620 5.2: what changed since `since`, at most `most` objects (at least one). `None`: that
/// state was never given.
pub fn changes(
    keys: &dyn Keys,
    account: AccountId,
    object_type: ObjectType,
    since: ModSeq,
    most: usize,
) -> Result<Option<Changes>, RowError> {
    let last = state(keys, account, object_type)?.modseq;
    if since > last {
        return Ok(None);
    }
    let from = key_change(account, object_type, since.next());
    let (_, to) = table(b'P', account, object_type).range();
    // Of each object what was done first and last: what lies between is nothing to a client.
    let mut seen: BTreeMap<ObjectId, (What, What)> = BTreeMap::new();
    let (mut found, mut failed) = (Changes { to: last, ..Changes::default() }, None);
    let mut upto = since;
    keys.scan(&from, &to, &mut |key, value| {
        let change: Change = match codec::decode("change of an object", value) {
            Ok(change) => change,
            Err(e) => {
                failed = Some(e);
                return ControlFlow::Break(());
            }
        };
        if !seen.contains_key(&change.id) && seen.len() >= most.max(1) {
            (found.more, found.to) = (true, upto);
            return ControlFlow::Break(());
        }
        upto = codec::u64_at(key, 6).map_or(upto, ModSeq);
        seen.entry(change.id)
            .and_modify(|(_, last)| *last = change.what)
            .or_insert((change.what, change.what));
        ControlFlow::Continue(())
    })?;
    if let Some(e) = failed {
        return Err(e.into());
    }
    for (id, did) in seen {
        match did {
            (What::Created, What::Destroyed) => {}
            (_, What::Destroyed) => found.destroyed.push(id),
            (What::Created, _) => found.created.push(id),
            _ => found.updated.push(id),
        }
    }
    Ok(Some(found))
}
