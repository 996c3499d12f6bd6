//! The outbound queue: what goes to other domains and is not there yet.
//!
//! One row per message (`q` id) and a counter (`Q`) in the sender's tenant. Items are made by the
//! change that accepts the message ([`crate::mailbox::Deliver`]), so that accepting and queueing are
//! one, or by one that submits a message which is there ([`crate::objects::Submit`]); [`Settle`] records
//! what an attempt achieved. Absent: when to try again and whom to ask (src/smtp).

mod merge;

use crate::codec::{self, Key};
use crate::id::{AccountId, QueueId};
use crate::keys::{BodyAddress, Keys, KeysError, KeysMut};
use crate::mailbox::RowError;
use crate::record::Kind;
use crate::rule::{Apply, ApplyError, Command, DecideError, Decision, Moment, Position};
use crate::time::UnixMs;
use serde::{Deserialize, Serialize};
use std::ops::ControlFlow;

/// Longest text of a last error that an item keeps, in bytes.
pub const REASON_LEN_MAX: usize = 500;

/// A message for other domains, as it is accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewItem {
    /// Reverse-path; empty for the null reverse-path.
    pub from: String,
    /// Forward-paths outside this appliance.
    pub to: Vec<String>,
    /// Who submitted it, and gets the bounce.
    pub account: Option<AccountId>,
}

/// A message in the queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// Its id within the tenant.
    pub id: QueueId,
    /// Reverse-path; empty for the null reverse-path.
    pub from: String,
    /// Forward-paths that are still open.
    pub to: Vec<String>,
    /// Who submitted it.
    pub account: Option<AccountId>,
    /// Where its bytes are.
    pub body: BodyAddress,
    /// Length in bytes.
    pub size: u64,
    /// When it was accepted; for one that is held, the time at which it is first tried.
    pub created: UnixMs,
    /// When to try next.
    pub next: UnixMs,
    /// Attempts so far.
    pub attempts: u32,
    /// What the last attempt said.
    pub reason: String,
}

fn key_item(id: QueueId) -> Vec<u8> {
    Key::new(b'q').u64(id.0).done()
}

/// The id of the next item.
pub(crate) fn next_id(keys: &dyn Keys) -> Result<QueueId, RowError> {
    let last: QueueId = match keys.get(b"Q")? {
        Some(v) => codec::decode("queue counter", &v)?,
        None => QueueId(0),
    };
    Ok(last.next())
}

/// Takes an item out, if it is there.
pub(crate) fn remove(keys: &mut dyn KeysMut, id: QueueId) -> Result<(), KeysError> {
    keys.delete(&key_item(id))
}

/// Writes a new item that is tried at `at` and counts as accepted then; called by the change that
/// accepts the message.
pub(crate) fn enqueue(
    keys: &mut dyn KeysMut,
    id: QueueId,
    new: NewItem,
    (body, size): (BodyAddress, u64),
    at: UnixMs,
) -> Result<(), KeysError> {
    let NewItem { from, to, account } = new;
    let item = Item {
        id,
        from,
        to,
        account,
        body,
        size,
        created: at,
        next: at,
        attempts: 0,
        reason: String::new(),
    };
    keys.put(b"Q", &codec::encode(&id))?;
    keys.put(&key_item(id), &codec::encode(&item))?;
    keys.wake(QUEUE_TOPIC);
    Ok(())
}

/// The topic that wakes whoever drains a tenant's queue; no account has this number.
pub const QUEUE_TOPIC: u64 = u64::MAX;

/// All items of the tenant's queue, oldest first, at most `limit`.
pub fn items(keys: &dyn Keys, limit: usize) -> Result<Vec<Item>, RowError> {
    let (from, to) = Key::new(b'q').range();
    let mut items = Vec::new();
    let mut failed = None;
    keys.scan(&from, &to, &mut |_, value| {
        match codec::decode("queue item", value) {
            Ok(item) => items.push(item),
            Err(e) => failed = Some(e),
        }
        if failed.is_some() || items.len() >= limit {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    })?;
    failed.map_or(Ok(items), |e| Err(e.into()))
}

/// One item, if it is there.
pub fn item(keys: &dyn Keys, id: QueueId) -> Result<Option<Item>, RowError> {
    Ok(keys.get(&key_item(id))?.map(|row| codec::decode("queue item", &row)).transpose()?)
}

/// What an attempt achieved: recipients that need no further attempt (delivered, or given up and
/// bounced), and when to try the rest.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Settle {
    /// Which item.
    pub id: QueueId,
    /// Forward-paths that are done.
    pub done: Vec<String>,
    /// When to try what remains.
    pub next: UnixMs,
    /// What the attempt said of what remains.
    pub reason: String,
    /// Whether the attempt is over; else more of its recipients are being tried.
    pub over: bool,
}

/// The item is not there (any more): somebody settled it before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no such item in the queue")]
pub struct NoSuchItem;

impl Command for Settle {
    const KIND: Kind = Kind::QUEUE;
    type Answer = ();
    type Refusal = NoSuchItem;

    fn decide(
        &self,
        keys: &dyn Keys,
        _moment: Moment,
    ) -> Result<Decision<()>, DecideError<NoSuchItem>> {
        if keys.get(&key_item(self.id))?.is_none() {
            return Err(DecideError::Refused(NoSuchItem));
        }
        let mut settle = self.clone();
        let mut end = settle.reason.len().min(REASON_LEN_MAX);
        while !settle.reason.is_char_boundary(end) {
            end = end.saturating_sub(1);
        }
        settle.reason.truncate(end);
        Ok(Decision { change: Some(codec::encode(&settle)), answer: () })
    }
}

/// The kind [`Kind::QUEUE`].
#[derive(Clone, Copy, Debug, Default)]
pub struct QueueRules;

impl Apply for QueueRules {
    fn kind(&self) -> Kind {
        Kind::QUEUE
    }

    fn apply(
        &self,
        keys: &mut dyn KeysMut,
        _at: Position,
        change: &[u8],
    ) -> Result<(), ApplyError> {
        let settle: Settle = codec::decode("change of the queue", change)?;
        let key = key_item(settle.id);
        let row = keys.get(&key)?.ok_or(ApplyError::Missing("an item of the queue"))?;
        let mut item: Item = codec::decode("queue item", &row)?;
        item.to.retain(|to| !settle.done.contains(to));
        if item.to.is_empty() {
            keys.delete(&key)?;
        } else {
            if settle.over {
                item.attempts = item.attempts.saturating_add(1);
                item.next = settle.next;
            }
            if !settle.reason.is_empty() {
                item.reason = settle.reason;
            }
            keys.put(&key, &codec::encode(&item))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{Epoch, Lsn};
    use crate::keys::MemKeys;

    #[test]
    fn an_item_leaves_with_its_last_recipient() {
        let mut keys = MemKeys::default();
        let new = NewItem {
            from: "a@here".into(),
            to: vec!["b@there".into(), "c@there".into()],
            account: Some(AccountId(1)),
        };
        let id = next_id(&keys).unwrap();
        enqueue(&mut keys, id, new, (BodyAddress::default(), 0), UnixMs(5)).unwrap();
        assert_eq!(items(&keys, 10).unwrap().len(), 1);
        let at = Position { lsn: Lsn(1), epoch: Epoch(1) };
        let moment = Moment { now: UnixMs(9), random: [0; 32], fork: Epoch(0) };
        let mut settle = |done: &str, next| {
            let (done, reason) = (vec![done.into()], "451".into());
            let s = Settle { id, done, next, reason, over: true };
            let change = s.decide(&keys, moment).unwrap().change.unwrap();
            QueueRules.apply(&mut keys, at, &change).unwrap();
            items(&keys, 10).unwrap()
        };
        let left = settle("b@there", UnixMs(99));
        assert_eq!((left[0].to.len(), left[0].attempts, left[0].next), (1, 1, UnixMs(99)));
        assert!(settle("c@there", UnixMs(0)).is_empty());
        assert_eq!(next_id(&keys).unwrap(), QueueId(2), "ids are never given again");
    }
}
