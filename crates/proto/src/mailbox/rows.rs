//! The rows of mailboxes and how they are read. Writing happens in `apply` alone.

use crate::codec::{self, Key};
use crate::id::{AccountId, EmailId, Epoch, Lsn, MailboxId, ModSeq, ThreadId, Uid};
use crate::keys::{BodyAddress, Keys, KeysError, KeysMut};
use crate::message::Summary;
use crate::rule::{ApplyError, DecideError};
use crate::time::UnixMs;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::ops::ControlFlow;

/// RFC 9051 2.3.2: a message's system flags and keywords.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Flags {
    /// System flags, see the constants.
    pub bits: u8,
    /// Keywords as first written, sorted without regard to case, no two alike.
    pub keywords: Vec<String>,
}

impl Flags {
    /// `\Seen`
    pub const SEEN: u8 = 1;
    /// `\Answered`
    pub const ANSWERED: u8 = 2;
    /// `\Flagged`
    pub const FLAGGED: u8 = 4;
    /// `\Deleted`
    pub const DELETED: u8 = 8;
    /// `\Draft`
    pub const DRAFT: u8 = 16;

    /// System flags alone.
    #[must_use]
    pub fn system(bits: u8) -> Self {
        Self { bits, keywords: Vec::new() }
    }

    /// Whether all of `bits` are set.
    #[must_use]
    pub fn has(&self, bits: u8) -> bool {
        self.bits & bits == bits
    }

    /// Adds a keyword; keywords are compared without regard to case (RFC 9051 2.3.2).
    pub fn add_keyword(&mut self, keyword: &str) {
        if let Err(at) = self.find(keyword) {
            self.keywords.insert(at, keyword.to_owned());
        }
    }

    /// Whether the keyword is set.
    #[must_use]
    pub fn has_keyword(&self, keyword: &str) -> bool {
        self.find(keyword).is_ok()
    }

    /// Adds all of `other`.
    pub fn add(&mut self, other: &Self) {
        self.bits |= other.bits;
        for keyword in &other.keywords {
            self.add_keyword(keyword);
        }
    }

    /// Removes all of `other`.
    pub fn remove(&mut self, other: &Self) {
        self.bits &= !other.bits;
        self.keywords.retain(|k| !other.has_keyword(k));
    }

    fn find(&self, keyword: &str) -> Result<usize, usize> {
        let wanted = keyword.to_ascii_lowercase();
        self.keywords.binary_search_by(|k| k.to_ascii_lowercase().cmp(&wanted))
    }
}

/// A message in a mailbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its UID there.
    pub uid: Uid,
    /// The message itself.
    pub email: EmailId,
    /// Its flags there.
    pub flags: Flags,
    /// When it last changed, in the account's count.
    pub modseq: ModSeq,
    /// RFC 9051 2.3.3: when it arrived.
    pub internal_date: UnixMs,
    /// RFC822.SIZE in bytes.
    pub size: u64,
}

/// RFC 6154: what a mailbox is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Role {
    /// Where mail arrives.
    Inbox,
    /// `\Drafts`
    Drafts,
    /// `\Sent`
    Sent,
    /// `\Junk`
    Junk,
    /// `\Trash`
    Trash,
    /// `\Archive`
    Archive,
}

/// A mailbox with its counters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mailbox {
    /// Its id, given once.
    pub id: MailboxId,
    /// Full name in UTF-8; `/` separates levels; `INBOX` is spelt so.
    pub name: String,
    /// What it is for.
    pub role: Option<Role>,
    /// RFC 9051 2.3.1.1.
    pub uid_validity: u32,
    /// The next message's UID, at least.
    pub uid_next: Uid,
    /// When it last changed, in the account's count.
    pub modseq: ModSeq,
    /// Messages in it.
    pub exists: u32,
    /// Of them without `\Seen`.
    pub unseen: u32,
    /// Of them with `\Deleted`.
    pub deleted: u32,
    /// Whether the account subscribes to it.
    pub subscribed: bool,
}

/// An account's counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountState {
    /// The last modseq given.
    pub modseq: ModSeq,
    /// The last email id given.
    pub email: EmailId,
    /// The last mailbox id given.
    pub mailbox: MailboxId,
}

/// What is known of a message without its body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Email {
    /// The mailbox that it lies in.
    pub mailbox: MailboxId,
    /// Its UID there.
    pub uid: Uid,
    /// Where its bytes are.
    pub body: BodyAddress,
    /// Length in bytes.
    pub size: u64,
    /// BLAKE3 of its bytes.
    pub hash: [u8; 32],
    /// Structure and headers, as scanned at delivery.
    pub summary: Summary,
}

/// What one command changed in one mailbox.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Touched {
    /// Which mailbox.
    pub mailbox: MailboxId,
    /// Messages that came or changed.
    pub changed: Vec<Uid>,
    /// Messages that went.
    pub expunged: Vec<Uid>,
}

/// What one command changed: a row of the account's change log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeRow {
    /// Per mailbox.
    pub touched: Vec<Touched>,
}

/// What is gone for good since one command: what [`ChangeRow`] cannot say, as it names places.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gone {
    /// Messages, with the conversation that each was of.
    pub emails: Vec<(EmailId, ThreadId)>,
    /// Mailboxes.
    pub mailboxes: Vec<MailboxId>,
}

/// A message that was expunged, until no branch can need it any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grave {
    /// Its entry as it was.
    pub entry: Entry,
    /// What is known of it.
    pub email: Email,
}

pub(crate) fn key_grave(account: AccountId, mailbox: MailboxId, uid: Uid) -> Vec<u8> {
    Key::new(b'g').u32(account.0).u32(mailbox.0).u32(uid.0).done()
}

/// Where a message went that left this place without being expunged.
pub(crate) fn key_forward(account: AccountId, mailbox: MailboxId, uid: Uid) -> Vec<u8> {
    Key::new(b'f').u32(account.0).u32(mailbox.0).u32(uid.0).done()
}

pub(crate) fn key_mailbox_grave(account: AccountId, mailbox: MailboxId) -> Vec<u8> {
    Key::new(b'G').u32(account.0).u32(mailbox.0).done()
}

pub(crate) fn key_jump(account: AccountId, mailbox: MailboxId) -> Vec<u8> {
    Key::new(b'J').u32(account.0).u32(mailbox.0).done()
}

pub(crate) fn key_reserved(account: AccountId, mailbox: MailboxId) -> Vec<u8> {
    Key::new(b'N').u32(account.0).u32(mailbox.0).done()
}

pub(crate) fn key_state(account: AccountId) -> Vec<u8> {
    Key::new(b'A').u32(account.0).done()
}

pub(crate) fn key_mailbox(account: AccountId, mailbox: MailboxId) -> Vec<u8> {
    Key::new(b'b').u32(account.0).u32(mailbox.0).done()
}

pub(crate) fn key_entry(account: AccountId, mailbox: MailboxId, uid: Uid) -> Vec<u8> {
    Key::new(b'm').u32(account.0).u32(mailbox.0).u32(uid.0).done()
}

pub(crate) fn key_email(account: AccountId, email: EmailId) -> Vec<u8> {
    Key::new(b'e').u32(account.0).u64(email.0).done()
}

pub(super) fn key_fork(account: AccountId) -> Vec<u8> {
    Key::new(b'F').u32(account.0).done()
}

pub(super) fn key_gone(account: AccountId, modseq: ModSeq) -> Vec<u8> {
    Key::new(b'D').u32(account.0).u64(modseq.0).done()
}

pub(crate) fn key_change(account: AccountId, modseq: ModSeq) -> Vec<u8> {
    Key::new(b'C').u32(account.0).u64(modseq.0).done()
}

/// A row could not be read or decoded.
#[derive(Debug, thiserror::Error)]
pub enum RowError {
    /// Reading failed.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// Decoding failed.
    #[error(transparent)]
    Decode(#[from] codec::DecodeError),
}

impl From<RowError> for ApplyError {
    fn from(e: RowError) -> Self {
        match e {
            RowError::Keys(e) => Self::Keys(e),
            RowError::Decode(e) => Self::Decode(e),
        }
    }
}

impl<R> From<RowError> for DecideError<R> {
    fn from(e: RowError) -> Self {
        match e {
            RowError::Keys(e) => Self::Keys(e),
            RowError::Decode(e) => Self::Decode(e),
        }
    }
}

fn row<T: serde::de::DeserializeOwned>(
    keys: &dyn Keys,
    what: &'static str,
    key: &[u8],
) -> Result<Option<T>, RowError> {
    Ok(keys.get(key)?.map(|v| codec::decode(what, &v)).transpose()?)
}

/// The account's counters; `None` when there is no such account.
pub fn account_state(
    keys: &dyn Keys,
    account: AccountId,
) -> Result<Option<AccountState>, RowError> {
    row(keys, "account counters", &key_state(account))
}

/// Which history of the account this is: another one after each merge that touched it.
pub fn fork(keys: &dyn Keys, account: AccountId) -> Result<Lsn, RowError> {
    Ok(row(keys, "the last merge of an account", &key_fork(account))?.unwrap_or_default())
}

/// One mailbox.
pub fn mailbox(
    keys: &dyn Keys,
    account: AccountId,
    mailbox: MailboxId,
) -> Result<Option<Mailbox>, RowError> {
    row(keys, "mailbox", &key_mailbox(account, mailbox))
}

/// All mailboxes of the account, by id.
pub fn mailboxes(keys: &dyn Keys, account: AccountId) -> Result<Vec<Mailbox>, RowError> {
    let (from, to) = Key::new(b'b').u32(account.0).range();
    collect(keys, "mailbox", &from, &to)
}

/// One message in a mailbox.
pub fn entry(
    keys: &dyn Keys,
    account: AccountId,
    mailbox: MailboxId,
    uid: Uid,
) -> Result<Option<Entry>, RowError> {
    row(keys, "mailbox entry", &key_entry(account, mailbox, uid))
}

/// The messages of a mailbox with `first <= uid <= last`, ascending.
pub fn entries_range(
    keys: &dyn Keys,
    account: AccountId,
    mailbox: MailboxId,
    (first, last): (Uid, Uid),
) -> Result<Vec<Entry>, RowError> {
    let from = key_entry(account, mailbox, first);
    // The key after the last wanted one: the same with a zero byte behind it.
    let mut to = key_entry(account, mailbox, last);
    to.push(0);
    collect(keys, "mailbox entry", &from, &to)
}

/// An expunged message.
pub fn grave(
    keys: &dyn Keys,
    account: AccountId,
    mailbox: MailboxId,
    uid: Uid,
) -> Result<Option<Grave>, RowError> {
    row(keys, "expunged message", &key_grave(account, mailbox, uid))
}

/// The place to which a message was moved from this one.
pub(super) fn forward(
    keys: &dyn Keys,
    account: AccountId,
    mailbox: MailboxId,
    uid: Uid,
) -> Result<Option<(MailboxId, Uid)>, RowError> {
    row(keys, "moved message", &key_forward(account, mailbox, uid))
}

/// A deleted mailbox.
pub fn mailbox_grave(
    keys: &dyn Keys,
    account: AccountId,
    mailbox: MailboxId,
) -> Result<Option<Mailbox>, RowError> {
    row(keys, "deleted mailbox", &key_mailbox_grave(account, mailbox))
}

/// The mailbox, or as it was when it was deleted: it may come back.
pub(super) fn mailbox_or_grave(
    keys: &dyn Keys,
    account: AccountId,
    id: MailboxId,
) -> Result<Option<Mailbox>, RowError> {
    match mailbox(keys, account, id)? {
        None => mailbox_grave(keys, account, id),
        found => Ok(found),
    }
}

/// The epoch in which the mailbox's UIDs last left a gap.
pub(super) fn jumped(
    keys: &dyn Keys,
    account: AccountId,
    mailbox: MailboxId,
) -> Result<Epoch, RowError> {
    Ok(row(keys, "gap in a mailbox", &key_jump(account, mailbox))?.unwrap_or_default())
}

/// The UID that the mailbox's next message gets: the ones below may be a branch's.
pub(super) fn next_uid(
    keys: &dyn Keys,
    account: AccountId,
    mailbox: &Mailbox,
) -> Result<Uid, RowError> {
    let reserved: Option<Uid> = row(keys, "reserved UIDs", &key_reserved(account, mailbox.id))?;
    Ok(mailbox.uid_next.max(reserved.unwrap_or_default()))
}

/// Messages that left a place (expunged or moved) and deleted mailboxes, as kept for a merge, at most
/// `limit` of each.
pub fn graves(keys: &dyn Keys, limit: usize) -> Result<(GraveKeys, MailboxKeys), RowError> {
    let mut found = (Vec::new(), Vec::new());
    for table in *b"gf" {
        let (from, to) = Key::new(table).range();
        keys.scan(&from, &to, &mut |key, _| {
            if found.0.len() >= limit {
                return ControlFlow::Break(());
            }
            if let (Some(a), Some(m), Some(u)) =
                (codec::u32_at(key, 1), codec::u32_at(key, 5), codec::u32_at(key, 9))
            {
                found.0.push((AccountId(a), MailboxId(m), Uid(u)));
            }
            ControlFlow::Continue(())
        })?;
    }
    let (from, to) = Key::new(b'G').range();
    keys.scan(&from, &to, &mut |key, _| {
        if let (Some(a), Some(m)) = (codec::u32_at(key, 1), codec::u32_at(key, 5)) {
            found.1.push((AccountId(a), MailboxId(m)));
        }
        if found.1.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    Ok(found)
}

/// See [`graves`].
pub type GraveKeys = Vec<(AccountId, MailboxId, Uid)>;
/// See [`graves`].
pub type MailboxKeys = Vec<(AccountId, MailboxId)>;

/// One message.
pub fn email(
    keys: &dyn Keys,
    account: AccountId,
    email: EmailId,
) -> Result<Option<Email>, RowError> {
    row(keys, "message", &key_email(account, email))
}

/// The row of a message, for [`body_at`].
pub(crate) fn email_row(account: AccountId, email: EmailId) -> Vec<u8> {
    key_email(account, email)
}

/// The row that has the body of this content, as [`body_at`] reads it: the message's own, else any of
/// the account, also of one that was expunged. The account's messages are looked through then: for
/// merges only, and rare there.
pub(crate) fn find_body(
    keys: &dyn Keys,
    account: AccountId,
    id: EmailId,
    hash: &[u8; 32],
) -> Result<Option<Vec<u8>>, RowError> {
    if email(keys, account, id)?.is_some_and(|email| email.hash == *hash) {
        return Ok(Some(key_email(account, id)));
    }
    for table in *b"eg" {
        let (from, to) = Key::new(table).u32(account.0).range();
        let (mut found, mut failed) = (None, None);
        keys.scan(&from, &to, &mut |key, value| {
            let has = match table {
                b'e' => codec::decode("message", value).map(|email: Email| email.hash),
                _ => codec::decode("expunged message", value).map(|grave: Grave| grave.email.hash),
            };
            match has {
                Ok(has) if has == *hash => found = Some(key.to_vec()),
                Ok(_) => return ControlFlow::Continue(()),
                Err(e) => failed = Some(e),
            }
            ControlFlow::Break(())
        })?;
        if let Some(e) = failed {
            return Err(e.into());
        }
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

/// Where the body lies that a row speaks of: one of a message, of an expunged one, or of a body that a
/// branch shipped.
pub(crate) fn body_at(keys: &dyn Keys, key: &[u8]) -> Result<Option<BodyAddress>, RowError> {
    let Some(value) = keys.get(key)? else { return Ok(None) };
    Ok(Some(match key.first() {
        Some(b'e') => codec::decode::<Email>("message", &value)?.body,
        Some(b'g') => codec::decode::<Grave>("expunged message", &value)?.email.body,
        _ => codec::decode("address of a body", &value)?,
    }))
}

/// What changed in `mailbox` after `since`: UIDs that came or changed (and may be gone again by
/// now) and UIDs that went, each ascending and once.
pub fn touched_since(
    keys: &dyn Keys,
    account: AccountId,
    mailbox: MailboxId,
    since: ModSeq,
) -> Result<Touched, RowError> {
    let from = key_change(account, since.next());
    let (_, to) = Key::new(b'C').u32(account.0).range();
    let mut all = Touched { mailbox, ..Touched::default() };
    for row in collect::<ChangeRow>(keys, "change row", &from, &to)? {
        for touched in row.touched.into_iter().filter(|t| t.mailbox == mailbox) {
            all.changed.extend(touched.changed);
            all.expunged.extend(touched.expunged);
        }
    }
    for uids in [&mut all.changed, &mut all.expunged] {
        uids.sort_unstable();
        uids.dedup();
    }
    Ok(all)
}

/// What an account's messages and mailboxes went through since a modseq.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Since {
    /// Messages that came or changed and are there, ascending and once.
    pub emails: Vec<EmailId>,
    /// What went.
    pub gone: Gone,
}

/// What changed in the account after `since`; `None` where more than `rows_max` commands changed
/// something, which is too much to be told one by one.
pub fn account_since(
    keys: &dyn Keys,
    account: AccountId,
    since: ModSeq,
    rows_max: usize,
) -> Result<Option<Since>, RowError> {
    let from = key_change(account, since.next());
    let (_, to) = Key::new(b'C').u32(account.0).range();
    let Some(rows) = collect_at_most::<ChangeRow>(keys, "change row", (&from, &to), rows_max)?
    else {
        return Ok(None);
    };
    let mut emails = BTreeSet::new();
    for touched in rows.into_iter().flat_map(|row| row.touched) {
        for uid in touched.changed {
            emails.extend(entry(keys, account, touched.mailbox, uid)?.map(|e| e.email));
        }
    }
    let from = key_gone(account, since.next());
    let (_, to) = Key::new(b'D').u32(account.0).range();
    let Some(rows) = collect_at_most::<Gone>(keys, "what is gone", (&from, &to), rows_max)? else {
        return Ok(None);
    };
    let mut gone = Gone::default();
    for row in rows {
        gone.emails.extend(row.emails);
        gone.mailboxes.extend(row.mailboxes);
    }
    Ok(Some(Since { emails: emails.into_iter().collect(), gone }))
}

/// `None` where there are more than `max`.
fn collect_at_most<T: serde::de::DeserializeOwned>(
    keys: &dyn Keys,
    what: &'static str,
    (from, to): (&[u8], &[u8]),
    max: usize,
) -> Result<Option<Vec<T>>, RowError> {
    let mut count = 0_usize;
    keys.scan(from, to, &mut |_, _| {
        count = count.saturating_add(1);
        if count > max { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    if count > max { Ok(None) } else { collect(keys, what, from, to).map(Some) }
}

/// The counters of all accounts.
pub fn account_states(keys: &dyn Keys) -> Result<Vec<(AccountId, AccountState)>, RowError> {
    let (from, to) = Key::new(b'A').range();
    let mut accounts = Vec::new();
    let states = collect_with(keys, "account counters", (&from, &to), |key, _| {
        accounts.extend(codec::u32_at(key, 1).map(AccountId));
        true
    })?;
    Ok(accounts.into_iter().zip(states).collect())
}

/// At most `limit` messages with `first <= id < end` that are there, ascending.
pub fn emails_range(
    keys: &dyn Keys,
    account: AccountId,
    (first, end): (EmailId, EmailId),
    limit: usize,
) -> Result<Vec<(EmailId, Email)>, RowError> {
    let (from, to) = (key_email(account, first), key_email(account, end));
    let mut ids = Vec::new();
    let emails = collect_with(keys, "message", (&from, &to), |key, _| {
        ids.extend(codec::u64_at(key, 5).map(EmailId));
        ids.len() < limit
    })?;
    Ok(ids.into_iter().zip(emails).collect())
}

/// See [`places_touched_since`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlacesTouched {
    /// The places, ascending and each once.
    pub places: Vec<(MailboxId, Uid)>,
    /// The last change that was looked at; the one asked about without any.
    pub last: ModSeq,
    /// There are no more.
    pub all: bool,
}

/// Places at which something came, changed or went after `since`, until they are `limit`
/// with repeats; no change is taken in part.
pub fn places_touched_since(
    keys: &dyn Keys,
    account: AccountId,
    since: ModSeq,
    limit: usize,
) -> Result<PlacesTouched, RowError> {
    let from = key_change(account, since.next());
    let (_, to) = Key::new(b'C').u32(account.0).range();
    let mut last = since;
    let mut places = Vec::new();
    collect_with(keys, "change row", (&from, &to), |key, row: &ChangeRow| {
        last = codec::u64_at(key, 5).map_or(last, ModSeq);
        for t in &row.touched {
            places.extend(t.changed.iter().chain(&t.expunged).map(|uid| (t.mailbox, *uid)));
        }
        places.len() < limit
    })?;
    let all = places.len() < limit;
    places.sort_unstable();
    places.dedup();
    Ok(PlacesTouched { places, last, all })
}

fn collect<T: serde::de::DeserializeOwned>(
    keys: &dyn Keys,
    what: &'static str,
    from: &[u8],
    to: &[u8],
) -> Result<Vec<T>, RowError> {
    collect_with(keys, what, (from, to), |_, _| true)
}

/// The same, as long as `more` says so of the rows that it is shown.
fn collect_with<T: serde::de::DeserializeOwned>(
    keys: &dyn Keys,
    what: &'static str,
    (from, to): (&[u8], &[u8]),
    mut more: impl FnMut(&[u8], &T) -> bool,
) -> Result<Vec<T>, RowError> {
    let mut rows = Vec::new();
    let mut failed = None;
    keys.scan(from, to, &mut |key, value| match codec::decode(what, value) {
        Ok(row) => {
            let more = more(key, &row);
            rows.push(row);
            if more { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        }
        Err(e) => {
            failed = Some(e);
            ControlFlow::Break(())
        }
    })?;
    failed.map_or(Ok(rows), |e| Err(e.into()))
}

/// Writes the mailboxes that a new account starts with. Part of the directory's change that creates
/// the account, so that no account is ever without its INBOX.
pub fn create_account_rows(
    keys: &mut dyn KeysMut,
    account: AccountId,
    uid_validity: u32,
) -> Result<(), KeysError> {
    let start = [
        ("INBOX", Role::Inbox),
        ("Drafts", Role::Drafts),
        ("Sent", Role::Sent),
        ("Junk", Role::Junk),
        ("Trash", Role::Trash),
        ("Archive", Role::Archive),
    ];
    let mut id = MailboxId(0);
    for (name, role) in start {
        id = id.next();
        let row = Mailbox {
            id,
            name: name.to_owned(),
            role: Some(role),
            uid_validity: uid_validity.saturating_add(id.0),
            uid_next: Uid(1),
            modseq: ModSeq(1),
            exists: 0,
            unseen: 0,
            deleted: 0,
            subscribed: true,
        };
        keys.put(&key_mailbox(account, id), &codec::encode(&row))?;
    }
    let state = AccountState { modseq: ModSeq(1), email: EmailId(0), mailbox: id };
    keys.put(&key_state(account), &codec::encode(&state))
}
