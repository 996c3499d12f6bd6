//! RFC 8621 7: a message of the account is sent, now or later, and may be held back until then.
//!
//! The message goes into the queue and its `EmailSubmission` comes in one change, so that neither is
//! there without the other; so it is when it is cancelled. Its bytes stay where they are: the queue
//! names the body of the Email. All recipients go into the queue, those who live here, too: who drains
//! it delivers to them, at the time for which the message is held (src/smtp/queue).
//!
//! | key | value |
//! |---|---|
//! | `h` account submission | the items of the queue that the submission is; they may be gone |
//!
//! A submission is known by its id, never by the number of an item: that is another one after a merge.

use super::apply::{Change, Put};
use super::commands::{ObjectRefusal, check_account, later, new_id};
use super::{CHANGE_LEN_MAX, JSON_LEN_MAX, ObjectId, ObjectType, Written, rows};
use crate::codec::{self, DecodeError, Key};
use crate::id::{AccountId, EmailId, ModSeq, QueueId, UploadId};
use crate::keys::{BodyAddress, Keys, KeysMut};
use crate::mailbox::{self, RowError};
use crate::queue::{self, Item, NewItem};
use crate::record::Kind;
use crate::rule::{ApplyError, Command, DecideError, Decision, Moment};
use crate::time::UnixMs;
use serde::{Deserialize, Serialize};

/// Most recipients of one item: a host takes 100 at once (RFC 5321 4.5.3.1.8), and others wait.
const RECIPIENTS_PER_ITEM_MAX: usize = 50;
/// Most bytes of a submission's addresses: with them a step of a merge stays within a record.
pub const ADDRESSES_LEN_MAX: usize = 100 * 1024;
/// Longest time for which a message is held.
pub const HOLD_MAX: std::time::Duration = std::time::Duration::from_hours(366 * 24);

/// A message of the account is to be sent. Whether the account may send so is checked before.
#[derive(Clone, Debug)]
pub struct Submit {
    /// Whose.
    pub account: AccountId,
    /// Which message.
    pub email: EmailId,
    /// Reverse-path.
    pub from: String,
    /// Forward-paths, at least one, no two alike; here or elsewhere.
    pub to: Vec<String>,
    /// When it is sent, at most [`HOLD_MAX`] ahead; now if that is past.
    pub at: UnixMs,
    /// What its `EmailSubmission` says.
    pub json: String,
}

/// What a submission put into the queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Queued {
    /// The first item; the others follow it.
    pub(crate) first: QueueId,
    pub(crate) items: Vec<NewItem>,
    /// When they are sent. They count as accepted then: nobody gives up on them earlier.
    pub(crate) at: UnixMs,
    pub(crate) email: EmailId,
    pub(crate) hash: [u8; 32],
    pub(crate) size: u64,
}

impl Queued {
    /// The items with their numbers.
    pub(crate) fn numbered(self) -> Vec<(QueueId, NewItem)> {
        let first = self.first.0;
        (first..).map(QueueId).zip(self.items).collect()
    }
}

/// What a change did to the queue: whose, by which object. A body that came with it is named.
pub(crate) enum Sent {
    Submitted((AccountId, ObjectId), Queued, Option<UploadId>),
    Cancelled((AccountId, ObjectId), Vec<QueueId>),
}

/// What a change of objects did to the queue, if it did.
pub(crate) fn sent(change: &[u8]) -> Result<Option<Sent>, DecodeError> {
    Ok(match codec::decode("change of objects", change)? {
        Change::Submit { account, put, queued, .. } => {
            Some(Sent::Submitted((account, put.id), *queued, None))
        }
        Change::Answer { account, put, queued, body, .. } => {
            Some(Sent::Submitted((account, put.id), *queued, Some(body.upload)))
        }
        Change::Unsend { account, put, items, .. } => {
            Some(Sent::Cancelled((account, put.id), items))
        }
        _ => None,
    })
}

/// A change that puts the branch's submission into our queue; `row` has its body.
pub(crate) fn requeue(
    (account, id): (AccountId, ObjectId),
    queued: Queued,
    row: Vec<u8>,
) -> Vec<u8> {
    codec::encode(&Change::Requeue { account, id, queued: Box::new(queued), row })
}

/// A change that takes what is left of a submission from the queue.
pub(crate) fn withdraw(items: Vec<QueueId>) -> Vec<u8> {
    codec::encode(&Change::Withdraw { items })
}

pub(super) fn key_held(account: AccountId, id: &ObjectId) -> Vec<u8> {
    Key::new(b'h').u32(account.0).bytes(id.as_str().as_bytes()).done()
}

/// The items of a submission that are still in the queue.
pub fn held(keys: &dyn Keys, account: AccountId, id: &ObjectId) -> Result<Vec<Item>, RowError> {
    let row = keys.get(&key_held(account, id))?;
    let ids: Vec<QueueId> = row
        .map(|row| codec::decode("items of a submission", &row))
        .transpose()?
        .unwrap_or_default();
    let mut items = Vec::with_capacity(ids.len());
    for id in ids {
        items.extend(queue::item(keys, id)?);
    }
    Ok(items)
}

impl Command for Submit {
    const KIND: Kind = Kind::OBJECTS;
    type Answer = Written;
    type Refusal = ObjectRefusal;

    fn decide(
        &self,
        keys: &dyn Keys,
        moment: Moment,
    ) -> Result<Decision<Written>, DecideError<ObjectRefusal>> {
        let refuse = |why| Err(DecideError::Refused(why));
        let (account, object_type) = (self.account, ObjectType::EmailSubmission);
        check_account(keys, account)?;
        let Some(email) = mailbox::email(keys, account, self.email)? else {
            return refuse(ObjectRefusal::NotFound);
        };
        let addresses = self.to.iter().map(|to| to.len().saturating_add(self.from.len()));
        let len = addresses.fold(0, usize::saturating_add);
        let most = self.json.len().saturating_add(len) > CHANGE_LEN_MAX;
        if self.to.is_empty() || len > ADDRESSES_LEN_MAX || most {
            return refuse(ObjectRefusal::TooMuch);
        }
        if self.json.len() > JSON_LEN_MAX {
            return refuse(ObjectRefusal::TooLarge);
        }
        let state = rows::state(keys, account, object_type)?;
        if state.count >= object_type.most() {
            return refuse(ObjectRefusal::Full);
        }
        let hold = u64::try_from(HOLD_MAX.as_millis()).unwrap_or(u64::MAX);
        let at = UnixMs(self.at.0.clamp(moment.now.0, moment.now.0.saturating_add(hold)));
        let item = |to: &[String]| NewItem {
            from: self.from.clone(),
            to: to.to_vec(),
            account: Some(account),
        };
        let queued = Box::new(Queued {
            first: queue::next_id(keys)?,
            items: self.to.chunks(RECIPIENTS_PER_ITEM_MAX).map(item).collect(),
            at,
            email: self.email,
            hash: email.hash,
            size: email.size,
        });
        let (id, modseq) = (new_id(object_type, moment, 0), state.modseq.next());
        let (created, updated) = (moment.now, moment.now);
        let put = Put { id: id.clone(), created, updated, json: self.json.clone(), body: None };
        let change = Change::Submit { account, modseq, put, queued };
        let answer = Written { id, modseq, created, updated };
        Ok(Decision { change: Some(codec::encode(&change)), answer })
    }
}

/// RFC 8621 7.1 `undoStatus`: what is held is not sent. Refused once its time has come: who drains
/// the queue may have begun.
#[derive(Clone, Debug)]
pub struct Unsend {
    /// Whose.
    pub account: AccountId,
    /// Which submission.
    pub id: ObjectId,
    /// What it says then.
    pub json: String,
}

impl Command for Unsend {
    const KIND: Kind = Kind::OBJECTS;
    type Answer = Written;
    /// [`ObjectRefusal::Changed`]: it is too late.
    type Refusal = ObjectRefusal;

    fn decide(
        &self,
        keys: &dyn Keys,
        moment: Moment,
    ) -> Result<Decision<Written>, DecideError<ObjectRefusal>> {
        let (account, object_type) = (self.account, ObjectType::EmailSubmission);
        if self.json.len() > JSON_LEN_MAX {
            return Err(DecideError::Refused(ObjectRefusal::TooLarge));
        }
        let Some(before) = rows::object(keys, account, object_type, &self.id)? else {
            return Err(DecideError::Refused(ObjectRefusal::NotFound));
        };
        let items = held(keys, account, &self.id)?;
        let row = keys.get(&key_held(account, &self.id))?;
        let all: Vec<QueueId> = row
            .map(|row| codec::decode("items of a submission", &row))
            .transpose()?
            .unwrap_or_default();
        let untouched = |item: &Item| item.attempts == 0 && item.next > moment.now;
        if items.is_empty() || items.len() < all.len() || !items.iter().all(untouched) {
            return Err(DecideError::Refused(ObjectRefusal::Changed));
        }
        let modseq = rows::state(keys, account, object_type)?.modseq.next();
        let (created, updated) = (before.created, later(Some(&before), moment));
        let (id, json) = (self.id.clone(), self.json.clone());
        let put = Put { id: id.clone(), created, updated, json, body: None };
        let change = Change::Unsend { account, modseq, put, items: all };
        let answer = Written { id, modseq, created, updated };
        Ok(Decision { change: Some(codec::encode(&change)), answer })
    }
}

/// Puts a submission into the queue; `row` has its body.
pub(super) fn enqueue(
    keys: &mut dyn KeysMut,
    (account, id): (AccountId, &ObjectId),
    queued: Queued,
    row: &[u8],
) -> Result<(), ApplyError> {
    let body = mailbox::body_at(keys, row)?.ok_or(ApplyError::Missing("the body to be sent"))?;
    let ids = put_items(keys, queued, &body)?;
    Ok(keys.put(&key_held(account, id), &codec::encode(&ids))?)
}

pub(super) fn put_items(
    keys: &mut dyn KeysMut,
    queued: Queued,
    body: &BodyAddress,
) -> Result<Vec<QueueId>, ApplyError> {
    let (at, size) = (queued.at, queued.size);
    let mut ids = Vec::with_capacity(queued.items.len());
    for (id, new) in queued.numbered() {
        queue::enqueue(keys, id, new, (body.clone(), size), at)?;
        ids.push(id);
    }
    Ok(ids)
}

/// What a change that also went to the queue did to its object.
pub(super) fn did(
    (account, object_type): (AccountId, ObjectType),
    first: ModSeq,
    put: Put,
) -> super::apply::Did {
    super::apply::Did { account, object_type, first, puts: vec![put], gone: Vec::new() }
}
