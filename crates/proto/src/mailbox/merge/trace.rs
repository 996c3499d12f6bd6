//! What one side did to its accounts since the fork.

use super::super::apply::Change;
use super::super::commands::FlagsOp;
use super::super::rows::{Flags, Role};
use super::FIRST_MAILBOXES;
use crate::id::{AccountId, EmailId, Lsn, MailboxId, ModSeq, Uid};
use crate::time::UnixMs;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A message's place.
pub(super) type Spot = (MailboxId, Uid);

/// Which message, whatever was done to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum Lineage {
    /// It was there at the fork, at this place: both sides know it.
    Base(MailboxId, Uid),
    /// It came since, by this transaction (the n-th time): perhaps on both sides.
    Sent([u8; 16], u32),
    /// It came since, at this place of this side.
    New(MailboxId, Uid),
}

/// Where the bytes of a message that is new on its side come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Content {
    /// The delivery in this record.
    Record(Lsn),
    /// A copy of a message that both sides knew.
    Of(Spot),
}

/// What was done to flags, as what it comes to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ops {
    /// All flags that are not in `added` were taken off.
    reset: bool,
    added: Flags,
    removed: Flags,
}

impl Ops {
    fn then(&mut self, op: FlagsOp, flags: &Flags) {
        match op {
            FlagsOp::Add => {
                self.added.add(flags);
                self.removed.remove(flags);
            }
            FlagsOp::Remove => {
                self.removed.add(flags);
                self.added.remove(flags);
            }
            FlagsOp::Set => {
                *self = Self { reset: true, added: flags.clone(), removed: Flags::default() };
            }
        }
    }

    fn bit(&self, bit: u8) -> Option<bool> {
        said(self.added.has(bit), self.removed.has(bit) || self.reset)
    }

    fn keyword(&self, keyword: &str) -> Option<bool> {
        said(self.added.has_keyword(keyword), self.removed.has_keyword(keyword) || self.reset)
    }

    /// The flags after these operations of the branch, where the leader has `now` after its own.
    /// ha.md 2.5: add beats remove, except for `\Deleted`.
    pub(super) fn on(&self, now: &Flags, ours: &Self) -> Flags {
        let decide = |now: bool, theirs: Option<bool>, ours: Option<bool>, add_wins: bool| match (
            theirs, ours,
        ) {
            (Some(t), Some(o)) if t != o => add_wins,
            (Some(t), _) => t,
            (None, _) => now,
        };
        let mut bits = 0;
        for bit in [Flags::SEEN, Flags::ANSWERED, Flags::FLAGGED, Flags::DELETED, Flags::DRAFT] {
            let add_wins = bit != Flags::DELETED;
            if decide(now.has(bit), self.bit(bit), ours.bit(bit), add_wins) {
                bits |= bit;
            }
        }
        let mut flags = Flags::system(bits);
        for keyword in now.keywords.iter().chain(&self.added.keywords) {
            let (theirs, ours) = (self.keyword(keyword), ours.keyword(keyword));
            if decide(now.has_keyword(keyword), theirs, ours, true) {
                flags.add_keyword(keyword);
            }
        }
        flags
    }
}

fn said(added: bool, removed: bool) -> Option<bool> {
    if added { Some(true) } else { removed.then_some(false) }
}

/// What became of one message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Trace {
    /// Where it is; `None` when it was expunged.
    pub(super) place: Option<Spot>,
    /// Where it was last.
    pub(super) last: Spot,
    /// It is not where it was at the fork, or where it arrived.
    pub(super) moved: bool,
    /// More was done to it than marking it `\Deleted`: it survives the other side's expunge.
    pub(super) touched: bool,
    /// What was done to its flags.
    pub(super) ops: Ops,
    /// For one that is new on this side: its bytes, flags and date.
    pub(super) new: Option<(Content, Flags, Option<UnixMs>)>,
}

impl Trace {
    fn at(spot: Spot) -> Self {
        let ops = Ops::default();
        Self { place: Some(spot), last: spot, moved: false, touched: false, ops, new: None }
    }
}

/// What became of one mailbox.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct BoxTrace {
    /// It is new on this side.
    pub(super) created: Option<Option<Role>>,
    /// Its name, where it is new or was renamed.
    pub(super) name: Option<String>,
    pub(super) deleted: bool,
    pub(super) subscribed: Option<bool>,
    /// One above the highest UID that was given here since the fork.
    pub(super) next: Option<Uid>,
}

/// One account on one side.
#[derive(Clone, Debug, Default)]
pub(super) struct AccountTrace {
    /// The highest numbers that were given.
    pub(super) modseq: ModSeq,
    pub(super) email: EmailId,
    pub(super) mailbox: MailboxId,
    pub(super) messages: BTreeMap<Lineage, Trace>,
    pub(super) boxes: BTreeMap<MailboxId, BoxTrace>,
    /// Places that were left.
    pub(super) left: Vec<Spot>,
    /// Messages that are not where they were at the fork.
    at: BTreeMap<Spot, Lineage>,
    sent: BTreeMap<[u8; 16], u32>,
}

/// All accounts of a tenant on one side.
#[derive(Clone, Debug, Default)]
pub(super) struct SideTrace(pub(super) BTreeMap<AccountId, AccountTrace>);

impl SideTrace {
    /// Takes in this side's next change.
    pub(super) fn fold(&mut self, lsn: Lsn, change: Change) {
        match change {
            Change::Deliver { transaction, to, .. } => {
                for placed in to {
                    let account = self.account(placed.account, placed.modseq);
                    account.email = account.email.max(placed.email);
                    let spot = (placed.mailbox, placed.uid);
                    let lineage = account.arrival(transaction, spot);
                    let content = Content::Record(lsn);
                    let new = Some((content, placed.flags, Some(placed.internal_date)));
                    account.put(lineage, Trace { new, ..Trace::at(spot) });
                }
            }
            Change::Flags { account, mailbox, modseq, op, flags, uids } => {
                let account = self.account(account, modseq);
                let marks = op == FlagsOp::Add && flags == Flags::system(Flags::DELETED);
                for uid in uids {
                    let trace = account.trace((mailbox, uid));
                    trace.ops.then(op, &flags);
                    trace.touched |= !marks;
                    if let Some((_, now, _)) = &mut trace.new {
                        *now = op.on(now, &flags);
                    }
                }
            }
            Change::Copy { account, from, to, modseq, first_email, pairs, remove } => {
                let count = pairs.len() as u64;
                let account = self.account(account, modseq);
                account.email = account.email.max(EmailId(first_email.0.saturating_add(count)));
                for (old, new) in pairs {
                    if remove {
                        account.shift((from, old), (to, new));
                    } else {
                        account.copy((from, old), (to, new), None);
                    }
                }
            }
            Change::CopyFlagged { account, from, to, modseq, first_email, pairs, flags } => {
                let count = pairs.len() as u64;
                let account = self.account(account, modseq);
                account.email = account.email.max(EmailId(first_email.0.saturating_add(count)));
                for ((old, new), flags) in pairs.into_iter().zip(flags) {
                    account.copy((from, old), (to, new), Some(flags));
                }
            }
            Change::Move { account, from, to, modseq, pairs } => {
                let account = self.account(account, modseq);
                for (old, new) in pairs {
                    account.shift((from, old), (to, new));
                }
            }
            Change::Expunge { account, mailbox, modseq, uids } => {
                let account = self.account(account, modseq);
                for uid in uids {
                    account.expunge((mailbox, uid));
                }
            }
            other => self.fold_mailboxes(other),
        }
    }

    fn fold_mailboxes(&mut self, change: Change) {
        match change {
            Change::Create { account, modseq, new, .. } => {
                self.account(account, modseq).create(new);
            }
            Change::Rename { account, modseq, names, parents, .. } => {
                let account = self.account(account, modseq);
                account.create(parents);
                for (id, name) in names {
                    account.boxes.entry(id).or_default().name = Some(name);
                }
            }
            Change::Delete { account, mailbox, modseq } => {
                let account = self.account(account, modseq);
                account.boxes.entry(mailbox).or_default().deleted = true;
            }
            Change::Subscribe { account, mailbox, subscribed } => {
                let account = self.account(account, ModSeq(0));
                account.boxes.entry(mailbox).or_default().subscribed = Some(subscribed);
            }
            Change::SubscribeAt { account, mailbox, subscribed, modseq } => {
                let account = self.account(account, modseq);
                account.boxes.entry(mailbox).or_default().subscribed = Some(subscribed);
            }
            // Clients saw that UIDNEXT.
            Change::Gap { next } => {
                for (account, id, next) in next {
                    let row = self.account(account, ModSeq(0)).boxes.entry(id).or_default();
                    row.next = row.next.max(Some(next));
                }
            }
            // What a merge did is not this side's own: it never stands outside a merge's step.
            _ => {}
        }
    }

    fn account(&mut self, account: AccountId, modseq: ModSeq) -> &mut AccountTrace {
        let account = self.0.entry(account).or_default();
        account.modseq = account.modseq.max(modseq);
        account
    }
}

impl AccountTrace {
    fn arrival(&mut self, transaction: [u8; 16], spot: Spot) -> Lineage {
        if transaction == [0; 16] {
            return Lineage::New(spot.0, spot.1);
        }
        let times = self.sent.entry(transaction).or_default();
        *times = times.saturating_add(1);
        Lineage::Sent(transaction, *times)
    }

    /// A message gets a place that was never given.
    fn put(&mut self, lineage: Lineage, trace: Trace) {
        if let Some(spot) = trace.place {
            self.at.insert(spot, lineage);
            let next = &mut self.boxes.entry(spot.0).or_default().next;
            *next = (*next).max(Some(spot.1.next()));
        }
        self.messages.insert(lineage, trace);
    }

    fn lineage(&self, spot: Spot) -> Lineage {
        self.at.get(&spot).copied().unwrap_or(Lineage::Base(spot.0, spot.1))
    }

    fn trace(&mut self, spot: Spot) -> &mut Trace {
        let lineage = self.lineage(spot);
        self.messages.entry(lineage).or_insert_with(|| Trace::at(spot))
    }

    fn shift(&mut self, from: Spot, to: Spot) {
        let lineage = self.lineage(from);
        let mut trace = self.trace(from).clone();
        (trace.place, trace.last) = (Some(to), to);
        (trace.moved, trace.touched) = (true, true);
        self.at.remove(&from);
        self.left.push(from);
        self.put(lineage, trace);
    }

    fn copy(&mut self, from: Spot, to: Spot, flags: Option<Flags>) {
        let lineage = self.lineage(from);
        let source = self.trace(from);
        source.touched = true;
        let (content, then, date) = source.new.clone().unwrap_or_else(|| {
            let spot = match lineage {
                Lineage::Base(mailbox, uid) => (mailbox, uid),
                _ => from,
            };
            (Content::Of(spot), Flags::default(), None)
        });
        let new = Some((content, flags.unwrap_or(then), date));
        self.put(Lineage::New(to.0, to.1), Trace { new, ..Trace::at(to) });
    }

    fn expunge(&mut self, spot: Spot) {
        let lineage = self.lineage(spot);
        self.at.remove(&spot);
        self.left.push(spot);
        if let Lineage::New(..) = lineage {
            self.messages.remove(&lineage);
        } else {
            let trace = self.messages.entry(lineage).or_insert_with(|| Trace::at(spot));
            (trace.place, trace.last) = (None, spot);
        }
    }

    fn create(&mut self, new: Vec<(MailboxId, String, Option<Role>)>) {
        for (id, name, role) in new {
            self.mailbox = self.mailbox.max(id);
            let row = self.boxes.entry(id).or_default();
            (row.created, row.name) = (Some(role), Some(name));
        }
    }

    /// Whether this side's mailbox `id` came into being after the fork.
    pub(super) fn is_new(&self, id: MailboxId) -> bool {
        id > FIRST_MAILBOXES && self.boxes.get(&id).is_some_and(|b| b.created.is_some())
    }

    /// Whether the place was given since the fork.
    pub(super) fn gave(&self, spot: Spot) -> bool {
        self.at.contains_key(&spot)
    }
}
