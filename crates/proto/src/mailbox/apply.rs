//! Changes of mailboxes and what they do to the rows.

use super::UID_JUMP;
use super::commands::{At, CopyPairs, FirstEmail, FlagsOp, NewMailbox};
use super::quota;
use super::rows::{
    self, AccountState, ChangeRow, Email, Entry, Flags, Gone, Grave, Mailbox, Touched, key_change,
    key_email, key_entry, key_fork, key_forward, key_gone, key_grave, key_jump, key_mailbox,
    key_mailbox_grave, key_reserved, key_state,
};
use super::thread;
use crate::codec;
use crate::id::{AccountId, EmailId, Epoch, MailboxId, ModSeq, QueueId, Uid};
use crate::keys::{BodyRef, KeysMut};
use crate::message::Summary;
use crate::queue;
use crate::record::Kind;
use crate::rule::{Apply, ApplyError, Position};
use crate::time::UnixMs;
use serde::{Deserialize, Serialize};

/// One recipient's copy of a delivered message, all its numbers fixed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Placed {
    pub(super) account: AccountId,
    pub(super) mailbox: MailboxId,
    pub(super) uid: Uid,
    pub(super) email: EmailId,
    pub(super) modseq: ModSeq,
    pub(super) flags: Flags,
    pub(super) internal_date: UnixMs,
}

/// Variants may only be added at the end ([`crate::codec`]).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Change {
    Deliver {
        body: BodyRef,
        summary: Box<Summary>,
        transaction: [u8; 16],
        to: Vec<Placed>,
        outbound: Option<(QueueId, queue::NewItem, UnixMs)>,
        last: bool,
    },
    Flags {
        account: AccountId,
        mailbox: MailboxId,
        modseq: At,
        op: FlagsOp,
        flags: Flags,
        uids: Vec<Uid>,
    },
    Copy {
        account: AccountId,
        from: MailboxId,
        to: MailboxId,
        modseq: At,
        first_email: FirstEmail,
        pairs: CopyPairs,
        remove: bool,
    },
    Expunge {
        account: AccountId,
        mailbox: MailboxId,
        modseq: At,
        uids: Vec<Uid>,
    },
    Create {
        account: AccountId,
        modseq: At,
        uid_validity: u32,
        new: Vec<NewMailbox>,
    },
    Rename {
        account: AccountId,
        modseq: At,
        names: Vec<(MailboxId, String)>,
        parents: Vec<NewMailbox>,
        uid_validity: u32,
    },
    Delete {
        account: AccountId,
        mailbox: MailboxId,
        modseq: At,
    },
    Subscribe {
        account: AccountId,
        mailbox: MailboxId,
        subscribed: bool,
    },
    /// A copy that says which flags it took along, so that a merge knows them.
    CopyFlagged {
        account: AccountId,
        from: MailboxId,
        to: MailboxId,
        modseq: At,
        first_email: FirstEmail,
        pairs: CopyPairs,
        flags: Vec<Flags>,
    },
    /// Merge: counters go to what either branch had reached.
    Raise {
        account: AccountId,
        modseq: At,
        email: EmailId,
        mailbox: MailboxId,
        next: Vec<(MailboxId, Uid)>,
    },
    /// Merge: one message gets a place.
    Place(Box<Place>),
    /// Merge: what changed before is told to those who know a later modseq.
    Touch {
        account: AccountId,
        modseq: At,
        touched: Vec<Touched>,
    },
    /// Merge: a deleted mailbox comes back.
    Revive {
        account: AccountId,
        modseq: At,
        mailbox: MailboxId,
        name: String,
    },
    /// Merge: a message of the branch goes to other domains. `row` has its body's address.
    Enqueue {
        id: QueueId,
        new: queue::NewItem,
        created: UnixMs,
        row: Vec<u8>,
        size: u64,
    },
    /// Nothing that was removed is needed for a merge any more.
    Forget {
        graves: Vec<(AccountId, MailboxId, Uid)>,
        mailboxes: Vec<(AccountId, MailboxId)>,
    },
    /// Merge: UIDs below are kept free for the branch's messages. UIDNEXT does not say so: clients
    /// look for what comes up from there (RFC 9051 2.3.1.1).
    Reserve {
        account: AccountId,
        next: Vec<(MailboxId, Uid)>,
    },
    /// UIDNEXT leaves the gap of a reign that may have a rival, before a message does.
    Gap {
        next: Vec<(AccountId, MailboxId, Uid)>,
    },
    /// Messages go to another mailbox and keep their ids.
    Move {
        account: AccountId,
        from: MailboxId,
        to: MailboxId,
        modseq: At,
        pairs: CopyPairs,
    },
    /// [`Change::Subscribe`] that followers of mailboxes are told.
    SubscribeAt {
        account: AccountId,
        mailbox: MailboxId,
        subscribed: bool,
        modseq: At,
    },
}

/// See [`Change::Place`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Place {
    pub(super) account: AccountId,
    pub(super) modseq: ModSeq,
    pub(super) source: Source,
    /// The source leaves where it was.
    pub(super) remove: bool,
    pub(super) to: MailboxId,
    pub(super) uid: Uid,
    pub(super) email: EmailId,
    pub(super) flags: Flags,
}

/// Where a placed message comes from.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Source {
    /// Another place of the same account.
    Entry(MailboxId, Uid),
    /// One that was expunged there.
    Grave(MailboxId, Uid),
    /// A body that a branch shipped: the row that has its address.
    Shipped { row: Vec<u8>, size: u64, hash: [u8; 32], summary: Box<Summary>, date: UnixMs },
}

/// The kind [`Kind::MAILBOX`].
#[derive(Clone, Copy, Debug, Default)]
pub struct MailboxRules;

impl MailboxRules {
    /// The transaction that a change delivers, if it is a delivery: see
    /// [`super::Deliver::transaction`].
    #[must_use]
    pub fn transaction(change: &[u8]) -> Option<[u8; 16]> {
        match codec::decode("change of mailboxes", change) {
            Ok(Change::Deliver { transaction, .. }) if transaction != [0; 16] => Some(transaction),
            _ => None,
        }
    }
}

impl Apply for MailboxRules {
    fn kind(&self) -> Kind {
        Kind::MAILBOX
    }

    fn apply(&self, keys: &mut dyn KeysMut, at: Position, change: &[u8]) -> Result<(), ApplyError> {
        match codec::decode("change of mailboxes", change)? {
            Change::Deliver { body, summary, transaction: _, to, outbound, last } => {
                deliver(keys, at.epoch, (&body, &summary), to, outbound, last)
            }
            Change::Flags { account, mailbox, modseq, op, flags, uids } => {
                set_flags(keys, (account, mailbox), modseq, op, &flags, &uids)
            }
            Change::Copy { account, from, to, modseq, first_email, pairs, remove } => {
                copy(keys, (account, at.epoch), (from, to), (modseq, first_email), &pairs, remove)
            }
            Change::Expunge { account, mailbox, modseq, uids } => {
                expunge(keys, (account, mailbox), modseq, &uids)
            }
            Change::Create { account, modseq, uid_validity, new } => {
                create(keys, account, modseq, uid_validity, new)
            }
            Change::Rename { account, modseq, names, parents, uid_validity } => {
                create(keys, account, modseq, uid_validity, parents)?;
                for (id, name) in names {
                    let mut row = mailbox(keys, account, id)?;
                    row.name = name;
                    row.modseq = modseq;
                    put_mailbox(keys, account, &row)?;
                }
                Ok(())
            }
            Change::Delete { account, mailbox: id, modseq } => {
                let row = mailbox(keys, account, id)?;
                keys.put(&key_mailbox_grave(account, id), &codec::encode(&row))?;
                keys.delete(&key_mailbox(account, id))?;
                bury(keys, account, modseq, Gone { mailboxes: vec![id], ..Gone::default() })?;
                record(keys, account, modseq, vec![])
            }
            Change::Subscribe { account, mailbox: id, subscribed } => {
                let mut row = mailbox(keys, account, id)?;
                row.subscribed = subscribed;
                put_mailbox(keys, account, &row)?;
                keys.wake(u64::from(account.0));
                Ok(())
            }
            Change::SubscribeAt { account, mailbox: id, subscribed, modseq } => {
                let row = mailbox(keys, account, id)?;
                put_mailbox(keys, account, &Mailbox { subscribed, modseq, ..row })?;
                record(keys, account, modseq, vec![])
            }
            Change::CopyFlagged { account, from, to, modseq, first_email, pairs, flags: _ } => {
                copy(keys, (account, at.epoch), (from, to), (modseq, first_email), &pairs, false)
            }
            Change::Raise { account, modseq, email, mailbox, next } => {
                keys.put(&key_fork(account), &codec::encode(&at.lsn))?;
                raise(keys, account, AccountState { modseq, email, mailbox }, next)
            }
            Change::Place(place) => put_in_place(keys, *place),
            Change::Touch { account, modseq, touched } => touch(keys, account, modseq, touched),
            Change::Revive { account, modseq, mailbox, name } => {
                revive(keys, account, modseq, (mailbox, name))
            }
            Change::Enqueue { id, new, created, row, size } => {
                let address = match keys.get(&row)? {
                    Some(row) => codec::decode("address of a body", &row)?,
                    None => return Err(ApplyError::Missing("the body of a shipped message")),
                };
                Ok(queue::enqueue(keys, id, new, (address, size), created)?)
            }
            Change::Forget { graves, mailboxes } => {
                for (account, mailbox, uid) in graves {
                    keys.delete(&key_grave(account, mailbox, uid))?;
                    keys.delete(&key_forward(account, mailbox, uid))?;
                }
                for (account, mailbox) in mailboxes {
                    keys.delete(&key_mailbox_grave(account, mailbox))?;
                }
                Ok(())
            }
            Change::Move { account, from, to, modseq, pairs } => {
                mv(keys, (account, at.epoch), (from, to), modseq, &pairs)
            }
            Change::Gap { next } => {
                for (account, id, next) in next {
                    let mut row = mailbox(keys, account, id)?;
                    row.uid_next = row.uid_next.max(next);
                    put_mailbox(keys, account, &row)?;
                    keys.put(&key_jump(account, id), &codec::encode(&at.epoch))?;
                }
                Ok(())
            }
            Change::Reserve { account, next } => {
                for (id, next) in next {
                    let row = rows::mailbox_or_grave(keys, account, id)?
                        .ok_or(ApplyError::Missing("a mailbox"))?;
                    let next = next.max(rows::next_uid(keys, account, &row)?);
                    keys.put(&key_reserved(account, id), &codec::encode(&next))?;
                }
                Ok(())
            }
        }
    }
}

fn raise(
    keys: &mut dyn KeysMut,
    account: AccountId,
    to: AccountState,
    next: Vec<(MailboxId, Uid)>,
) -> Result<(), ApplyError> {
    let mut state = state(keys, account)?;
    state.modseq = state.modseq.max(to.modseq);
    state.email = state.email.max(to.email);
    state.mailbox = state.mailbox.max(to.mailbox);
    keys.put(&key_state(account), &codec::encode(&state))?;
    for (id, next) in next {
        let mut row = mailbox(keys, account, id)?;
        row.uid_next = row.uid_next.max(next);
        put_mailbox(keys, account, &row)?;
    }
    Ok(())
}

fn put_in_place(keys: &mut dyn KeysMut, place: Place) -> Result<(), ApplyError> {
    let Place { account, modseq, source, remove, to, uid, email: id, flags } = place;
    let (mut row, internal_date) = match &source {
        Source::Entry(mailbox, uid) => {
            let entry = entry(keys, account, *mailbox, *uid)?;
            (email(keys, account, entry.email)?, entry.internal_date)
        }
        Source::Grave(mailbox, uid) => {
            let grave = rows::grave(keys, account, *mailbox, *uid)?
                .ok_or(ApplyError::Missing("an expunged message"))?;
            (grave.email, grave.entry.internal_date)
        }
        Source::Shipped { row, size, hash, summary, date } => {
            let address = match keys.get(row)? {
                Some(row) => codec::decode("address of a body", &row)?,
                None if *size == 0 => crate::keys::BodyAddress::default(),
                None => return Err(ApplyError::Missing("the body of a shipped message")),
            };
            let (mailbox, summary) = (to, Summary::clone(summary));
            (Email { mailbox, uid, body: address, size: *size, hash: *hash, summary }, *date)
        }
    };
    (row.mailbox, row.uid) = (to, uid);
    let used = quota::used(keys, account)?.saturating_add(row.size);
    quota::put_used(keys, account, used)?;
    put_email(keys, account, id, &row)?;
    let entry = Entry { uid, email: id, flags, modseq, internal_date, size: row.size };
    let mut target = mailbox(keys, account, to)?;
    // The gap that it may come behind was not left by this reign.
    put_entry(keys, account, &mut target, &entry)?;
    put_mailbox(keys, account, &target)?;
    let mut state = state(keys, account)?;
    state.email = state.email.max(id);
    keys.put(&key_state(account), &codec::encode(&state))?;
    let mut touched = vec![Touched { mailbox: to, changed: vec![uid], expunged: vec![] }];
    if let (Source::Entry(from, old), true) = (source, remove) {
        remove_entries(keys, (account, from), modseq, &[old], Left::Renamed(to, &[uid]))?;
        touched.push(Touched { mailbox: from, changed: vec![], expunged: vec![old] });
    }
    record(keys, account, modseq, touched)
}

fn touch(
    keys: &mut dyn KeysMut,
    account: AccountId,
    modseq: ModSeq,
    touched: Vec<Touched>,
) -> Result<(), ApplyError> {
    for Touched { mailbox: id, changed, .. } in &touched {
        for &uid in changed {
            if let Some(mut entry) = rows::entry(keys, account, *id, uid)? {
                entry.modseq = modseq;
                keys.put(&key_entry(account, *id, uid), &codec::encode(&entry))?;
            }
        }
        if let Some(mut row) = rows::mailbox(keys, account, *id)? {
            row.modseq = modseq;
            put_mailbox(keys, account, &row)?;
        }
    }
    record(keys, account, modseq, touched)
}

fn revive(
    keys: &mut dyn KeysMut,
    account: AccountId,
    modseq: ModSeq,
    (id, name): (MailboxId, String),
) -> Result<(), ApplyError> {
    let row = rows::mailbox_grave(keys, account, id)?;
    let row = row.ok_or(ApplyError::Missing("a deleted mailbox"))?;
    put_mailbox(keys, account, &Mailbox { name, modseq, ..row })?;
    record(keys, account, modseq, vec![])
}

fn deliver(
    keys: &mut dyn KeysMut,
    epoch: Epoch,
    (body, summary): (&BodyRef, &Summary),
    to: Vec<Placed>,
    outbound: Option<(QueueId, queue::NewItem, UnixMs)>,
    last: bool,
) -> Result<(), ApplyError> {
    let address = match keys.body(body.upload)? {
        Some(address) => address,
        None if body.size == 0 => crate::keys::BodyAddress::default(),
        None => return Err(ApplyError::Missing("the body of a delivery")),
    };
    for placed in to {
        let Placed { account, mailbox: id, uid, email, modseq, flags, internal_date } = placed;
        let row = Email {
            mailbox: id,
            uid,
            body: address.clone(),
            size: body.size,
            hash: body.hash,
            summary: summary.clone(),
        };
        let used = quota::used(keys, account)?.saturating_add(body.size);
        quota::put_used(keys, account, used)?;
        put_email(keys, account, email, &row)?;
        let entry = Entry { uid, email, flags, modseq, internal_date, size: body.size };
        let mut row = mailbox(keys, account, id)?;
        add(keys, (account, epoch), &mut row, &entry)?;
        put_mailbox(keys, account, &row)?;
        let mut state = state(keys, account)?;
        state.email = email;
        keys.put(&key_state(account), &codec::encode(&state))?;
        let touched = Touched { mailbox: id, changed: vec![uid], expunged: vec![] };
        record(keys, account, modseq, vec![touched])?;
    }
    if let Some((id, new, now)) = outbound {
        queue::enqueue(keys, id, new, (address, body.size), now)?;
    }
    if last {
        keys.body_done(body.upload)?;
    }
    Ok(())
}

fn set_flags(
    keys: &mut dyn KeysMut,
    (account, id): (AccountId, MailboxId),
    modseq: ModSeq,
    op: FlagsOp,
    flags: &Flags,
    uids: &[Uid],
) -> Result<(), ApplyError> {
    let mut row = mailbox(keys, account, id)?;
    for &uid in uids {
        let mut entry = entry(keys, account, id, uid)?;
        count(&mut row, &entry, false);
        entry.flags = op.on(&entry.flags, flags);
        entry.modseq = modseq;
        count(&mut row, &entry, true);
        keys.put(&key_entry(account, id, uid), &codec::encode(&entry))?;
    }
    row.modseq = modseq;
    put_mailbox(keys, account, &row)?;
    let touched = Touched { mailbox: id, changed: uids.to_vec(), expunged: vec![] };
    record(keys, account, modseq, vec![touched])
}

fn copy(
    keys: &mut dyn KeysMut,
    (account, epoch): (AccountId, Epoch),
    (from, to): (MailboxId, MailboxId),
    (modseq, first_email): (ModSeq, EmailId),
    pairs: &[(Uid, Uid)],
    remove: bool,
) -> Result<(), ApplyError> {
    let mut email_id = first_email;
    let mut target = mailbox(keys, account, to)?;
    let mut used = quota::used(keys, account)?;
    for &(old, new) in pairs {
        let source = entry(keys, account, from, old)?;
        let mut email = email(keys, account, source.email)?;
        email.mailbox = to;
        email.uid = new;
        put_email(keys, account, email_id, &email)?;
        used = used.saturating_add(source.size);
        let entry = Entry { uid: new, email: email_id, modseq, ..source };
        add(keys, (account, epoch), &mut target, &entry)?;
        email_id = email_id.next();
    }
    put_mailbox(keys, account, &target)?;
    quota::put_used(keys, account, used)?;
    let mut state = state(keys, account)?;
    state.email = EmailId(email_id.0.saturating_sub(1));
    keys.put(&key_state(account), &codec::encode(&state))?;
    let (olds, news): (Vec<Uid>, Vec<Uid>) = pairs.iter().copied().unzip();
    let mut touched = vec![Touched { mailbox: to, changed: news.clone(), expunged: vec![] }];
    if remove {
        remove_entries(keys, (account, from), modseq, &olds, Left::Renamed(to, &news))?;
        touched.push(Touched { mailbox: from, changed: vec![], expunged: olds });
    }
    record(keys, account, modseq, touched)
}

fn mv(
    keys: &mut dyn KeysMut,
    (account, epoch): (AccountId, Epoch),
    (from, to): (MailboxId, MailboxId),
    modseq: ModSeq,
    pairs: &[(Uid, Uid)],
) -> Result<(), ApplyError> {
    let (olds, news): (Vec<Uid>, Vec<Uid>) = pairs.iter().copied().unzip();
    let mut moved = Vec::with_capacity(pairs.len());
    for &(old, new) in pairs {
        moved.push(Entry { uid: new, modseq, ..entry(keys, account, from, old)? });
    }
    remove_entries(keys, (account, from), modseq, &olds, Left::Moved(to, &news))?;
    let mut target = mailbox(keys, account, to)?;
    for entry in &moved {
        let row = email(keys, account, entry.email)?;
        let row = Email { mailbox: to, uid: entry.uid, ..row };
        keys.put(&key_email(account, entry.email), &codec::encode(&row))?;
        add(keys, (account, epoch), &mut target, entry)?;
    }
    put_mailbox(keys, account, &target)?;
    let came = Touched { mailbox: to, changed: news, expunged: vec![] };
    let went = Touched { mailbox: from, changed: vec![], expunged: olds };
    record(keys, account, modseq, vec![came, went])
}

fn expunge(
    keys: &mut dyn KeysMut,
    (account, id): (AccountId, MailboxId),
    modseq: ModSeq,
    uids: &[Uid],
) -> Result<(), ApplyError> {
    remove_entries(keys, (account, id), modseq, uids, Left::Expunged)?;
    let touched = Touched { mailbox: id, changed: vec![], expunged: uids.to_vec() };
    record(keys, account, modseq, vec![touched])
}

/// Why messages leave a place; with the mailbox and the UID of each where they are now.
#[derive(Clone, Copy)]
enum Left<'a> {
    /// For good.
    Expunged,
    /// To another place, under the same id.
    Moved(MailboxId, &'a [Uid]),
    /// To another place, where they got another id: in merges, and in moves of older releases.
    Renamed(MailboxId, &'a [Uid]),
}

fn remove_entries(
    keys: &mut dyn KeysMut,
    (account, id): (AccountId, MailboxId),
    modseq: ModSeq,
    uids: &[Uid],
    left: Left<'_>,
) -> Result<(), ApplyError> {
    let mut row = mailbox(keys, account, id)?;
    let mut gone = Gone::default();
    let mut used = quota::used(keys, account)?;
    for (at, &uid) in uids.iter().enumerate() {
        let entry = entry(keys, account, id, uid)?;
        count(&mut row, &entry, false);
        match left {
            // A merge that looks for it here finds it there.
            Left::Moved(to, news) | Left::Renamed(to, news) => {
                let new = news.get(at).ok_or(ApplyError::Missing("where a message went"))?;
                keys.put(&key_forward(account, id, uid), &codec::encode(&(to, *new)))?;
            }
            // Should the other branch have changed it, the merge brings it back.
            Left::Expunged => {
                let email = email(keys, account, entry.email)?;
                let grave = Grave { entry: entry.clone(), email };
                keys.put(&key_grave(account, id, uid), &codec::encode(&grave))?;
            }
        }
        keys.delete(&key_entry(account, id, uid))?;
        if !matches!(left, Left::Moved(..)) {
            used = used.saturating_sub(entry.size);
            keys.delete(&key_email(account, entry.email))?;
            let thread = thread::leave(keys, account, entry.email)?;
            gone.emails.push((entry.email, thread));
        }
    }
    row.modseq = modseq;
    put_mailbox(keys, account, &row)?;
    quota::put_used(keys, account, used)?;
    bury(keys, account, modseq, gone)
}

/// A message comes, under a new id.
fn put_email(
    keys: &mut dyn KeysMut,
    account: AccountId,
    id: EmailId,
    row: &Email,
) -> Result<(), ApplyError> {
    keys.put(&key_email(account, id), &codec::encode(row))?;
    Ok(thread::join(keys, account, id, &row.summary)?)
}

/// Records what is gone for good.
fn bury(
    keys: &mut dyn KeysMut,
    account: AccountId,
    modseq: ModSeq,
    gone: Gone,
) -> Result<(), ApplyError> {
    if gone != Gone::default() {
        keys.put(&key_gone(account, modseq), &codec::encode(&gone))?;
    }
    Ok(())
}

fn create(
    keys: &mut dyn KeysMut,
    account: AccountId,
    modseq: ModSeq,
    uid_validity: u32,
    new: Vec<NewMailbox>,
) -> Result<(), ApplyError> {
    let mut state = state(keys, account)?;
    for (id, name, role) in new {
        let row = Mailbox {
            id,
            name,
            role,
            uid_validity: uid_validity.saturating_add(id.0),
            uid_next: Uid(1),
            modseq,
            exists: 0,
            unseen: 0,
            deleted: 0,
            subscribed: false,
        };
        put_mailbox(keys, account, &row)?;
        state.mailbox = state.mailbox.max(id);
    }
    keys.put(&key_state(account), &codec::encode(&state))?;
    record(keys, account, modseq, vec![])
}

/// Puts an entry into a mailbox and counts it.
fn add(
    keys: &mut dyn KeysMut,
    (account, epoch): (AccountId, Epoch),
    row: &mut Mailbox,
    entry: &Entry,
) -> Result<(), ApplyError> {
    if entry.uid.0.saturating_sub(row.uid_next.0) >= UID_JUMP {
        keys.put(&key_jump(account, row.id), &codec::encode(&epoch))?;
    }
    put_entry(keys, account, row, entry)
}

fn put_entry(
    keys: &mut dyn KeysMut,
    account: AccountId,
    row: &mut Mailbox,
    entry: &Entry,
) -> Result<(), ApplyError> {
    keys.put(&key_entry(account, row.id, entry.uid), &codec::encode(entry))?;
    count(row, entry, true);
    row.uid_next = row.uid_next.max(entry.uid.next());
    row.modseq = entry.modseq;
    Ok(())
}

/// Counts an entry in or out of its mailbox.
fn count(row: &mut Mailbox, entry: &Entry, into: bool) {
    let step = |n: &mut u32, counts: bool| {
        if counts {
            *n = if into { n.saturating_add(1) } else { n.saturating_sub(1) };
        }
    };
    step(&mut row.exists, true);
    step(&mut row.unseen, !entry.flags.has(Flags::SEEN));
    step(&mut row.deleted, entry.flags.has(Flags::DELETED));
}

/// Raises the account's modseq, writes the change row and wakes the account's followers.
fn record(
    keys: &mut dyn KeysMut,
    account: AccountId,
    modseq: ModSeq,
    touched: Vec<Touched>,
) -> Result<(), ApplyError> {
    let mut state = state(keys, account)?;
    state.modseq = state.modseq.max(modseq);
    keys.put(&key_state(account), &codec::encode(&state))?;
    if !touched.is_empty() {
        let row = ChangeRow { touched };
        keys.put(&key_change(account, modseq), &codec::encode(&row))?;
    }
    keys.wake(u64::from(account.0));
    Ok(())
}

fn put_mailbox(
    keys: &mut dyn KeysMut,
    account: AccountId,
    row: &Mailbox,
) -> Result<(), ApplyError> {
    Ok(keys.put(&key_mailbox(account, row.id), &codec::encode(row))?)
}

fn state(keys: &dyn KeysMut, account: AccountId) -> Result<AccountState, ApplyError> {
    rows::account_state(keys, account)?.ok_or(ApplyError::Missing("an account"))
}

fn mailbox(keys: &dyn KeysMut, account: AccountId, id: MailboxId) -> Result<Mailbox, ApplyError> {
    rows::mailbox(keys, account, id)?.ok_or(ApplyError::Missing("a mailbox"))
}

fn entry(
    keys: &dyn KeysMut,
    account: AccountId,
    id: MailboxId,
    uid: Uid,
) -> Result<Entry, ApplyError> {
    rows::entry(keys, account, id, uid)?.ok_or(ApplyError::Missing("a message in a mailbox"))
}

fn email(keys: &dyn KeysMut, account: AccountId, id: EmailId) -> Result<Email, ApplyError> {
    rows::email(keys, account, id)?.ok_or(ApplyError::Missing("a message"))
}
