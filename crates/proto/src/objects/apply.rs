//! Changes of objects and what they do to the rows.

use super::rows::{self, Body, Object, What, key_change, key_object, key_state};
use super::submission::{self, Queued};
use super::{ObjectId, ObjectType};
use crate::codec::{self, DecodeError};
use crate::id::{AccountId, Lsn, ModSeq, QueueId, UploadId};
use crate::keys::{BodyAddress, BodyRef, KeysMut};
use crate::mailbox;
use crate::merge::{self, BranchId, key_body};
use crate::queue;
use crate::record::Kind;
use crate::rule::{Apply, ApplyError, Position};
use crate::time::UnixMs;
use serde::{Deserialize, Serialize};

/// A version of an object. It is the first one where it was created when it was updated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Put {
    pub(super) id: ObjectId,
    pub(super) created: UnixMs,
    pub(super) updated: UnixMs,
    pub(super) json: String,
    pub(super) body: Option<BodyRef>,
}

/// Variants may only be added at the end ([`crate::codec`]).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Change {
    /// Objects are written, then others go; each has a modseq, from `first` on.
    Set {
        account: AccountId,
        object_type: ObjectType,
        first: ModSeq,
        puts: Vec<Put>,
        gone: Vec<ObjectId>,
        when: UnixMs,
    },
    /// Merge: counters go to what either branch had reached.
    Raise { account: AccountId, object_type: ObjectType, modseq: ModSeq },
    /// Merge: a version of the branch is taken. It stays where it is, in the branch's record: two of
    /// them might not fit into one of ours.
    Adopt { account: AccountId, object_type: ObjectType, modseq: ModSeq, from: Version },
    /// Merge: what ours lost is kept in `row`, as the change that would bring it back.
    Keep { account: AccountId, object_type: ObjectType, id: ObjectId, row: Vec<u8> },
    /// Merge: an object stays as it is, but whoever knows a modseq of it reads it again.
    Touch { account: AccountId, object_type: ObjectType, modseq: ModSeq, id: ObjectId },
    /// Merge: what changed before is told to those who know a later modseq; whether it came.
    Tell { account: AccountId, object_type: ObjectType, first: ModSeq, ids: Vec<(ObjectId, bool)> },
    /// A message goes into the queue, with its submission.
    Submit { account: AccountId, modseq: ModSeq, put: Put, queued: Box<Queued> },
    /// It leaves the queue unsent; its submission says so.
    Unsend { account: AccountId, modseq: ModSeq, put: Put, items: Vec<QueueId> },
    /// Merge: a message that the branch submitted goes into the queue. `row` has its body.
    Requeue { account: AccountId, id: ObjectId, queued: Box<Queued>, row: Vec<u8> },
    /// Merge: what the branch cancelled leaves the queue.
    Withdraw { items: Vec<QueueId> },
    /// An answer of somebody who is away goes into the queue, with the note of who was answered.
    Answer { account: AccountId, modseq: ModSeq, put: Put, queued: Box<Queued>, body: BodyRef },
}

/// The n-th version in the change that a branch made at `lsn`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Version {
    pub(super) branch: BranchId,
    pub(super) lsn: Lsn,
    pub(super) n: u32,
}

/// What a client's change did to objects, whatever else it did.
pub(super) struct Did {
    pub(super) account: AccountId,
    pub(super) object_type: ObjectType,
    pub(super) first: ModSeq,
    pub(super) puts: Vec<Put>,
    pub(super) gone: Vec<ObjectId>,
}

impl Did {
    pub(super) fn of(change: &[u8]) -> Result<Option<Self>, DecodeError> {
        Ok(match codec::decode("change of objects", change)? {
            Change::Set { account, object_type, first, puts, gone, .. } => {
                Some(Self { account, object_type, first, puts, gone })
            }
            Change::Submit { account, modseq, put, .. }
            | Change::Unsend { account, modseq, put, .. } => {
                Some(submission::did((account, ObjectType::EmailSubmission), modseq, put))
            }
            Change::Answer { account, modseq, put, .. } => {
                Some(submission::did((account, ObjectType::Answered), modseq, put))
            }
            _ => None,
        })
    }
}

/// The uploads that a change links.
pub(super) fn bodies(change: &[u8]) -> Result<Vec<UploadId>, DecodeError> {
    Ok(match codec::decode("change of objects", change)? {
        Change::Set { puts, .. } => {
            puts.into_iter().filter_map(|put| Some(put.body?.upload)).collect()
        }
        Change::Answer { body, .. } => vec![body.upload],
        _ => Vec::new(),
    })
}

impl Version {
    /// The version itself.
    pub(super) fn read(self, keys: &dyn crate::keys::Keys) -> Result<Put, ApplyError> {
        let record = merge::record(keys, self.branch, self.lsn)?;
        let record = record.ok_or(ApplyError::Missing("a record of the branch"))?;
        let puts = Did::of(&record)?.map(|did| did.puts).unwrap_or_default();
        let n = usize::try_from(self.n).unwrap_or(usize::MAX);
        puts.into_iter().nth(n).ok_or(ApplyError::Missing("a version in a record of the branch"))
    }
}

/// The kind [`Kind::OBJECTS`].
#[derive(Clone, Copy, Debug, Default)]
pub struct ObjectsRules;

impl Apply for ObjectsRules {
    fn kind(&self) -> Kind {
        Kind::OBJECTS
    }

    fn apply(&self, keys: &mut dyn KeysMut, at: Position, change: &[u8]) -> Result<(), ApplyError> {
        match codec::decode("change of objects", change)? {
            Change::Set { account, object_type, first, puts, gone, when } => {
                let of = (account, object_type);
                let mut modseq = first;
                for put in puts {
                    merge::changed(keys, at, &key_object(account, object_type, &put.id), when)?;
                    let body = match &put.body {
                        Some(body) => Some(body_of(keys, body)?),
                        None => None,
                    };
                    write(keys, of, modseq, put, body)?;
                    modseq = modseq.next();
                }
                for id in gone {
                    merge::changed(keys, at, &key_object(account, object_type, &id), when)?;
                    remove(keys, of, modseq, &id)?;
                    modseq = modseq.next();
                }
            }
            Change::Raise { account, object_type, modseq } => {
                raise(keys, (account, object_type), modseq, 0, 0)?;
            }
            Change::Adopt { account, object_type, modseq, from } => {
                let put = from.read(keys)?;
                let body = match &put.body {
                    Some(body) => {
                        let row = keys.get(&key_body(from.branch, body.upload))?;
                        let address = row.map(|row| codec::decode("address of a body", &row));
                        let address = given(body, address.transpose()?)?;
                        Some(Body { address, size: body.size, hash: body.hash })
                    }
                    None => None,
                };
                write(keys, (account, object_type), modseq, put, body)?;
            }
            Change::Keep { account, object_type, id, row } => {
                let Object { id, modseq, created, updated, json, .. } =
                    rows::object(keys, account, object_type, &id)?
                        .ok_or(ApplyError::Missing("an object"))?;
                let puts = vec![Put { id, created, updated, json, body: None }];
                let (first, gone) = (modseq, Vec::new());
                let kept = Change::Set { account, object_type, first, puts, gone, when: updated };
                keys.put(&row, &codec::encode(&(Kind::OBJECTS, codec::encode(&kept))))?;
                return Ok(());
            }
            Change::Touch { account, object_type, modseq, id } => {
                let object = rows::object(keys, account, object_type, &id)?
                    .ok_or(ApplyError::Missing("an object"))?;
                let object = Object { modseq, ..object };
                keys.put(&key_object(account, object_type, &id), &codec::encode(&object))?;
                record(keys, (account, object_type), modseq, (What::Updated, id))?;
                raise(keys, (account, object_type), modseq, 0, 0)?;
            }
            Change::Tell { account, object_type, first, ids } => {
                let mut modseq = first;
                for (id, came) in ids {
                    let what = match rows::object(keys, account, object_type, &id)? {
                        None => What::Destroyed,
                        Some(_) if came => What::Created,
                        Some(_) => What::Updated,
                    };
                    record(keys, (account, object_type), modseq, (what, id))?;
                    raise(keys, (account, object_type), modseq, 0, 0)?;
                    modseq = modseq.next();
                }
            }
            Change::Submit { account, modseq, put, queued } => {
                let of = (account, ObjectType::EmailSubmission);
                merge::changed(keys, at, &key_object(of.0, of.1, &put.id), put.updated)?;
                let row = mailbox::email_row(account, queued.email);
                submission::enqueue(keys, (account, &put.id), *queued, &row)?;
                write(keys, of, modseq, put, None)?;
            }
            Change::Unsend { account, modseq, put, items } => {
                let of = (account, ObjectType::EmailSubmission);
                merge::changed(keys, at, &key_object(of.0, of.1, &put.id), put.updated)?;
                items.into_iter().try_for_each(|id| queue::remove(keys, id))?;
                write(keys, of, modseq, put, None)?;
            }
            Change::Answer { account, modseq, put, queued, body } => {
                let of = (account, ObjectType::Answered);
                merge::changed(keys, at, &key_object(of.0, of.1, &put.id), put.updated)?;
                let body = body_of(keys, &body)?;
                submission::put_items(keys, *queued, &body.address)?;
                write(keys, of, modseq, put, None)?;
            }
            Change::Requeue { account, id, queued, row } => {
                submission::enqueue(keys, (account, &id), *queued, &row)?;
            }
            Change::Withdraw { items } => {
                items.into_iter().try_for_each(|id| queue::remove(keys, id))?;
            }
        }
        Ok(())
    }
}

type Of = (AccountId, ObjectType);

/// The file of an upload that is linked for the last time.
fn body_of(keys: &mut dyn KeysMut, body: &BodyRef) -> Result<Body, ApplyError> {
    let address = keys.body(body.upload)?;
    let address = given(body, address)?;
    keys.body_done(body.upload)?;
    Ok(Body { address, size: body.size, hash: body.hash })
}

fn given(body: &BodyRef, address: Option<BodyAddress>) -> Result<BodyAddress, ApplyError> {
    match address {
        Some(address) => Ok(address),
        None if body.size == 0 => Ok(BodyAddress::default()),
        None => Err(ApplyError::Missing("the body of an upload")),
    }
}

fn write(
    keys: &mut dyn KeysMut,
    of: Of,
    modseq: ModSeq,
    put: Put,
    body: Option<Body>,
) -> Result<(), ApplyError> {
    let Put { id, created, updated, json, body: _ } = put;
    let (account, object_type) = of;
    let before = rows::object(keys, account, object_type, &id)?;
    let object = Object { object_type, id: id.clone(), modseq, created, updated, json, body };
    keys.put(&key_object(account, object_type, &id), &codec::encode(&object))?;
    let what = if before.is_some() { What::Updated } else { What::Created };
    let old = before.as_ref().map_or(0, Object::weight);
    record(keys, of, modseq, (what, id))?;
    let step = i64::from(before.is_none());
    raise(keys, of, modseq, step, signed(object.weight()).saturating_sub(signed(old)))
}

fn remove(keys: &mut dyn KeysMut, of: Of, modseq: ModSeq, id: &ObjectId) -> Result<(), ApplyError> {
    let (account, object_type) = of;
    let before = rows::object(keys, account, object_type, id)?;
    let before = before.ok_or(ApplyError::Missing("an object"))?;
    keys.delete(&key_object(account, object_type, id))?;
    // What is in the queue is sent: RFC 8621 7.5. It cannot be cancelled any more.
    keys.delete(&submission::key_held(account, id))?;
    record(keys, of, modseq, (What::Destroyed, id.clone()))?;
    raise(keys, of, modseq, -1, signed(before.weight()).saturating_neg())
}

fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// Writes the change row and wakes the account's followers.
fn record(
    keys: &mut dyn KeysMut,
    (account, object_type): Of,
    modseq: ModSeq,
    (what, id): (What, ObjectId),
) -> Result<(), ApplyError> {
    if object_type.is_followed() {
        let row = rows::Change { what, id };
        keys.put(&key_change(account, object_type, modseq), &codec::encode(&row))?;
        keys.wake(u64::from(account.0));
    }
    Ok(())
}

/// The counters go up to `modseq`, and by what came or went.
fn raise(
    keys: &mut dyn KeysMut,
    (account, object_type): Of,
    modseq: ModSeq,
    count: i64,
    bytes: i64,
) -> Result<(), ApplyError> {
    let mut state = rows::state(keys, account, object_type)?;
    state.modseq = state.modseq.max(modseq);
    let all = i64::from(state.count).saturating_add(count).max(0);
    state.count = u32::try_from(all).unwrap_or(u32::MAX);
    state.bytes = state.bytes.saturating_add_signed(bytes);
    Ok(keys.put(&key_state(account, object_type), &codec::encode(&state))?)
}
