//! Merging mailboxes: what each side did to an account since the fork, and how the two become one.
//!
//! `trace` folds changes into what they come to; `plan` sets both sides against each other; `task`
//! carries out. Two stages: first every account that the branch touched gets counters above both
//! sides' and the branch's mailboxes, then its messages are merged (docs/design/merge.md).
//!
//! Invariants: a UID that either side gave is only ever given to that message, or to none; what a
//! client of either side has not seen gets a UID above all that it has. Absent: bodies.

mod plan;
mod task;
mod trace;

use super::apply::{Change, MailboxRules};
use crate::codec::{self, DecodeError};
use crate::id::{MailboxId, QueueId, UploadId};
use crate::keys::BodyRef;
use crate::merge::Merging;
use crate::queue;
use crate::rule::{ApplyError, Merge, Planner};
use crate::time::UnixMs;

/// Table of the merge's map: account of the branch to ours.
pub(crate) const ACCOUNTS: u8 = b'a';
/// Account and mailbox of the branch to our mailbox.
const MAILBOXES: u8 = b'b';

/// The mailboxes that every account begins with.
const FIRST_MAILBOXES: MailboxId = MailboxId(6);

impl Merge for MailboxRules {
    fn bodies(&self, change: &[u8]) -> Result<Vec<UploadId>, DecodeError> {
        Ok(match codec::decode("change of mailboxes", change)? {
            Change::Deliver { body, .. } => vec![body.upload],
            _ => Vec::new(),
        })
    }

    fn stages(&self) -> u8 {
        2
    }

    fn planner(&self, stage: u8) -> Box<dyn Planner> {
        Box::new(plan::Plan::new(stage))
    }

    fn merge(&self, on: &mut Merging<'_>, task: &[u8]) -> Result<(), ApplyError> {
        task::carry_out(on, codec::decode("task of a merge", task)?)
    }
}

/// What a delivery put into the outbound queue.
pub(crate) struct Outbound {
    pub(crate) id: QueueId,
    pub(crate) new: queue::NewItem,
    pub(crate) created: UnixMs,
    pub(crate) transaction: [u8; 16],
    pub(crate) body: BodyRef,
}

/// What a change of mailboxes put into the outbound queue, if it did.
pub(crate) fn delivered(change: &[u8]) -> Result<Option<Outbound>, DecodeError> {
    Ok(match codec::decode("change of mailboxes", change)? {
        Change::Deliver { body, transaction, outbound: Some((id, new, created)), .. } => {
            Some(Outbound { id, new, created, transaction, body })
        }
        _ => None,
    })
}

/// The body that a change of mailboxes brought, if it did.
pub(crate) fn came(change: &[u8]) -> Result<Option<BodyRef>, DecodeError> {
    Ok(match codec::decode("change of mailboxes", change)? {
        Change::Deliver { body, .. } => Some(body),
        _ => None,
    })
}

/// A change that puts a message of a branch into the outbound queue; `row` has its body's address.
pub(crate) fn enqueue_shipped(
    (id, new, created): (QueueId, queue::NewItem, UnixMs),
    (row, size): (Vec<u8>, u64),
) -> Vec<u8> {
    codec::encode(&Change::Enqueue { id, new, created, row, size })
}
