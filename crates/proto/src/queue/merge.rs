//! Merging the outbound queue: union; delivered on either side is delivered, and what was cancelled on
//! either side and not delivered is cancelled.

use super::{Item, NewItem, QueueRules, Settle, item, next_id};
use crate::codec::{self, DecodeError};
use crate::id::{AccountId, Lsn, QueueId, UploadId};
use crate::mailbox::{ACCOUNTS, MailboxRules, came, delivered, enqueue_shipped, find_body};
use crate::merge::{Known, Merging, key_body};
use crate::objects::{ObjectId, ObjectsRules, Queued, Sent, requeue, sent, withdraw};
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
    /// Messages that were submitted, and whose.
    submitted: BTreeMap<(AccountId, ObjectId), Queued>,
    /// Submissions that were cancelled, with their items.
    cancelled: BTreeMap<(AccountId, ObjectId), Vec<QueueId>>,
    /// Bodies that came, by their content.
    came: BTreeMap<[u8; 32], UploadId>,
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
            && let Some(body) = came(change)?
        {
            self.came.insert(body.hash, body.upload);
        }
        if kind == Kind::OBJECTS {
            match sent(change)? {
                Some(Sent::Submitted(of, queued, came)) => {
                    self.came.extend(came.map(|upload| (queued.hash, upload)));
                    self.submitted.insert(of, queued);
                }
                Some(Sent::Cancelled(of, items)) => {
                    self.cancelled.insert(of, items);
                }
                None => {}
            }
        }
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
    /// A message that the branch submitted and did not send to all.
    Submitted {
        of: (AccountId, ObjectId),
        queued: Box<Queued>,
        came: Option<UploadId>,
        highest: QueueId,
    },
    /// A submission that the branch cancelled; both know its items. `sent`: we sent some of it.
    Cancelled { of: (AccountId, ObjectId), items: Vec<QueueId>, sent: bool },
    /// The branch sent some of what we cancelled.
    Sent { of: (AccountId, ObjectId) },
}

/// The rule, as notes name it.
const SENT: &str = "cancelled on one side, sent on the other";

/// Items that came by submissions.
fn own(trace: &Trace) -> BTreeSet<QueueId> {
    trace.submitted.values().flat_map(|q| (q.first.0..).map(QueueId).take(q.items.len())).collect()
}

#[derive(Default)]
struct Plan {
    ours: Trace,
    theirs: Trace,
}

impl Plan {
    /// Submissions of the branch, and what either side cancelled.
    fn submissions(
        &mut self,
        highest: QueueId,
        known: &Known<'_>,
        tasks: &mut Vec<Task>,
    ) -> Result<(), ApplyError> {
        let Self { ours, theirs } = self;
        let any =
            |trace: &Trace, items: &[QueueId]| items.iter().any(|i| trace.done.contains_key(i));
        for (of, items) in &ours.cancelled {
            if !ours.submitted.contains_key(of) && any(theirs, items) {
                tasks.push(Task::Sent { of: of.clone() });
            }
        }
        for (of, items) in std::mem::take(&mut theirs.cancelled) {
            if theirs.submitted.remove(&of).is_none() {
                let sent = any(ours, &items);
                tasks.push(Task::Cancelled { of, items, sent });
            }
        }
        for (of, mut queued) in std::mem::take(&mut theirs.submitted) {
            let account = known.number(ACCOUNTS, &of.0.0.to_be_bytes(), of.0.0)?;
            // Somebody who is away answered one sender on both sides.
            if ours.submitted.contains_key(&(AccountId(account), of.1.clone())) {
                continue;
            }
            for (n, item) in (queued.first.0..).map(QueueId).zip(&mut queued.items) {
                if let Some(done) = theirs.done.get(&n) {
                    item.to.retain(|to| !done.contains(to));
                }
            }
            queued.items.retain(|item| !item.to.is_empty());
            if !queued.items.is_empty() {
                let came = theirs.came.get(&queued.hash).copied();
                tasks.push(Task::Submitted { of, queued: Box::new(queued), came, highest });
            }
        }
        Ok(())
    }
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

    fn plan(mut self: Box<Self>, known: &Known<'_>) -> Result<Vec<Vec<u8>>, ApplyError> {
        let submitted = own(&self.theirs);
        let new = self.theirs.new.keys().chain(&submitted);
        let highest = new.max().copied().unwrap_or_default();
        let mut tasks = Vec::new();
        self.submissions(highest, known, &mut tasks)?;
        let Self { ours, theirs } = *self;
        for (id, done) in &theirs.done {
            if !theirs.new.contains_key(id) && !submitted.contains(id) {
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
                    *account = here(on, *account)?;
                }
                let id = next_id(on.keys())?.max(highest.next());
                let row = key_body(on.branch(), body.upload);
                let change = enqueue_shipped((id, item, created), (row, body.size));
                on.change(&MailboxRules, change)
            }
            Task::Submitted { of: (theirs, id), mut queued, came, highest } => {
                let account = here(on, theirs)?;
                let row = match came {
                    Some(upload) => Some(key_body(on.branch(), upload)),
                    None => find_body(on.keys(), account, queued.email, &queued.hash)?,
                };
                let Some(row) = row else {
                    let lost = "a message that was to be sent".to_owned();
                    on.note(named(account, &id), "its message is nowhere any more", lost, Lsn(0));
                    return Ok(());
                };
                queued.items.iter_mut().for_each(|item| item.account = Some(account));
                queued.first = next_id(on.keys())?.max(highest.next());
                on.change(&ObjectsRules, requeue((account, id), *queued, row))
            }
            Task::Cancelled { of: (account, id), items, sent } => {
                if sent {
                    let account = here(on, account)?;
                    on.note(named(account, &id), SENT, "that it was cancelled".into(), Lsn(0));
                }
                on.change(&ObjectsRules, withdraw(items))
            }
            Task::Sent { of: (account, id) } => {
                on.note(named(account, &id), SENT, "that it was cancelled".into(), Lsn(0));
                Ok(())
            }
        }
    }
}

fn here(on: &Merging<'_>, theirs: AccountId) -> Result<AccountId, ApplyError> {
    let same = theirs.0;
    Ok(AccountId(on.known().number(ACCOUNTS, &same.to_be_bytes(), same)?))
}

fn named(account: AccountId, id: &ObjectId) -> String {
    format!("account {account}: submission {id}")
}
