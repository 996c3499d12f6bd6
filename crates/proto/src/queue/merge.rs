//! Merging the outbound queue: union; delivered on either side is delivered.

use super::{Item, NewItem, QueueRules, Settle, item, next_id};
use crate::codec::{self, DecodeError};
use crate::id::{AccountId, QueueId};
use crate::mailbox::{ACCOUNTS, MailboxRules, delivered, enqueue_shipped};
use crate::merge::{Known, Merging, key_body};
use crate::record::Kind;
use crate::rule::{ApplyError, Merge, Planner, Position, Side};
use crate::time::UnixMs;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// What one side did.
#[derive(Default)]
struct Trace {
    /// Items that came, by transaction or number.
    new: BTreeMap<QueueId, New>,
    /// Recipients that are done.
    done: BTreeMap<QueueId, BTreeSet<String>>,
    /// The n-th time that a transaction put something into the queue.
    sent: BTreeMap<[u8; 16], Vec<QueueId>>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct New {
    item: NewItem,
    created: UnixMs,
    transaction: [u8; 16],
    body: crate::keys::BodyRef,
}

impl Trace {
    fn fold(&mut self, kind: Kind, change: &[u8]) -> Result<(), DecodeError> {
        if kind == Kind::MAILBOX
            && let Some(out) = delivered(change)?
        {
            let (transaction, item, created) = (out.transaction, out.new, out.created);
            if transaction != [0; 16] {
                self.sent.entry(transaction).or_default().push(out.id);
            }
            self.new.insert(out.id, New { item, created, transaction, body: out.body });
        }
        if kind == Kind::QUEUE {
            let settle: Settle = codec::decode("change of the queue", change)?;
            self.done.entry(settle.id).or_default().extend(settle.done);
        }
        Ok(())
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
enum Task {
    /// The branch settled recipients of an item that both know (its id is ours).
    Settle { id: QueueId, done: Vec<String> },
    /// An item that came on the branch and is not done there.
    New { new: Box<New>, highest: QueueId },
}

#[derive(Default)]
struct Plan {
    ours: Trace,
    theirs: Trace,
}

impl Planner for Plan {
    fn fold(
        &mut self,
        side: Side,
        _at: Position,
        kind: Kind,
        change: &[u8],
    ) -> Result<(), DecodeError> {
        match side {
            Side::Ours => self.ours.fold(kind, change),
            Side::Theirs => self.theirs.fold(kind, change),
        }
    }

    fn plan(self: Box<Self>, _known: &Known<'_>) -> Result<Vec<Vec<u8>>, ApplyError> {
        let Self { ours, theirs } = *self;
        let mut tasks = Vec::new();
        let highest = theirs.new.keys().max().copied().unwrap_or_default();
        for (id, done) in &theirs.done {
            if !theirs.new.contains_key(id) {
                let done = done.iter().cloned().collect();
                tasks.push(Task::Settle { id: *id, done });
            }
        }
        for (id, new) in theirs.new {
            let done = theirs.done.get(&id).cloned().unwrap_or_default();
            let nth = |t: &Trace| {
                let all = theirs.sent.get(&new.transaction)?;
                let nth = all.iter().position(|i| *i == id)?;
                t.sent.get(&new.transaction)?.get(nth).copied()
            };
            // A client's retry on the other side: one item.
            if let Some(same) = nth(&ours) {
                tasks.push(Task::Settle { id: same, done: done.into_iter().collect() });
                continue;
            }
            let mut new = Box::new(new);
            new.item.to.retain(|to| !done.contains(to));
            if !new.item.to.is_empty() {
                tasks.push(Task::New { new, highest });
            }
        }
        Ok(tasks.iter().map(codec::encode).collect())
    }
}

impl Merge for QueueRules {
    fn planner(&self, _stage: u8) -> Box<dyn Planner> {
        Box::new(Plan::default())
    }

    fn merge(&self, on: &mut Merging<'_>, task: &[u8]) -> Result<(), ApplyError> {
        match codec::decode("task of a merge", task)? {
            Task::Settle { id, done } => {
                let Some(Item { next, .. }) = item(on.keys(), id)? else { return Ok(()) };
                let reason = String::new();
                let settle = Settle { id, done, next, reason, over: false };
                on.change(self, codec::encode(&settle))
            }
            Task::New { new, highest } => {
                let New { mut item, created, body, .. } = *new;
                if let Some(account) = &mut item.account {
                    let same = account.0;
                    let key = same.to_be_bytes();
                    *account = AccountId(on.known().number(ACCOUNTS, &key, same)?);
                }
                let id = next_id(on.keys())?.max(highest.next());
                let row = key_body(on.branch(), body.upload);
                let change = enqueue_shipped((id, item, created), (row, body.size));
                on.change(&MailboxRules, change)
            }
        }
    }
}
