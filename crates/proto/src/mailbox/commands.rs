//! What can be asked of mailboxes, and how each is decided.

use super::apply::{Change, Placed};
use super::rows::{self, AccountState, Entry, Flags, Mailbox, Role};
use super::{KEYWORDS_MAX, MAILBOXES_MAX, NAME_LEN_MAX, UIDS_PER_CHANGE_MAX};
use crate::codec;
use crate::id::{AccountId, EmailId, MailboxId, ModSeq, Uid};
use crate::keys::{BodyRef, Keys};
use crate::message::Summary;
use crate::queue;
use crate::record::Kind;
use crate::rule::{Command, DecideError, Decision, Moment};
use crate::time::UnixMs;
use serde::{Deserialize, Serialize};

/// Why a command on mailboxes is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MailboxRefusal {
    /// The account is gone.
    #[error("there is no such account")]
    NoSuchAccount,
    /// The mailbox is gone.
    #[error("there is no such mailbox")]
    NoSuchMailbox,
    /// The name is taken.
    #[error("a mailbox of this name exists")]
    AlreadyExists,
    /// The name cannot be used.
    #[error("this mailbox name cannot be used: {0}")]
    BadName(&'static str),
    /// INBOX cannot be deleted; it is renamed by moving what is in it.
    #[error("INBOX cannot be deleted or renamed")]
    IsInbox,
    /// RFC 9051 6.3.5: a mailbox with messages is emptied first, in steps.
    #[error("the mailbox is not empty")]
    NotEmpty,
    /// RFC 9208 5: what the account may take is taken.
    #[error("the account has no room for this: its limit is reached")]
    OverQuota,
    /// A bound is reached.
    #[error("too many {0}")]
    TooMany(&'static str),
}

type Refused<A> = Result<Decision<A>, DecideError<MailboxRefusal>>;

fn refuse<T>(why: MailboxRefusal) -> Result<T, DecideError<MailboxRefusal>> {
    Err(DecideError::Refused(why))
}

fn decided<A>(change: &Change, answer: A) -> Decision<A> {
    Decision { change: Some(codec::encode(change)), answer }
}

fn state(keys: &dyn Keys, account: AccountId) -> Result<AccountState, DecideError<MailboxRefusal>> {
    rows::account_state(keys, account)?.map_or_else(|| refuse(MailboxRefusal::NoSuchAccount), Ok)
}

fn open(
    keys: &dyn Keys,
    account: AccountId,
    mailbox: MailboxId,
) -> Result<Mailbox, DecideError<MailboxRefusal>> {
    rows::mailbox(keys, account, mailbox)?.map_or_else(|| refuse(MailboxRefusal::NoSuchMailbox), Ok)
}

/// Who receives a delivery, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recipient {
    /// Whose.
    pub account: AccountId,
    /// Which of their mailboxes.
    pub mailbox: MailboxId,
}

/// A message arrives: for accounts of this tenant, for the outbound queue, or both.
#[derive(Clone, Debug)]
pub struct Deliver {
    /// The message's bytes.
    pub body: BodyRef,
    /// What the scanner saw in them.
    pub summary: Summary,
    /// Identity of the transaction: envelope and content, without the trace that we added. Lets a
    /// promoted standby recognise a transaction that is repeated because its answer was lost.
    pub transaction: [u8; 16],
    /// At most [`super::RECIPIENTS_PER_CHANGE_MAX`], no two alike.
    pub to: Vec<Recipient>,
    /// What goes to other domains.
    pub outbound: Option<queue::NewItem>,
    /// Flags that it arrives with (`\Seen` for what the account itself sent).
    pub flags: Flags,
    /// No further change links this upload.
    pub last: bool,
}

impl Command for Deliver {
    const KIND: Kind = Kind::MAILBOX;
    type Answer = ();
    type Refusal = MailboxRefusal;

    fn decide(&self, keys: &dyn Keys, moment: Moment) -> Refused<()> {
        if self.to.len() > super::RECIPIENTS_PER_CHANGE_MAX {
            return refuse(MailboxRefusal::TooMany("recipients in one change"));
        }
        let mut to = Vec::with_capacity(self.to.len());
        for recipient in &self.to {
            let state = state(keys, recipient.account)?;
            let mailbox = open(keys, recipient.account, recipient.mailbox)?;
            to.push(Placed {
                account: recipient.account,
                mailbox: recipient.mailbox,
                uid: next_uid(keys, recipient.account, &mailbox, moment)?,
                email: state.email.next(),
                modseq: state.modseq.next(),
                flags: self.flags.clone(),
                internal_date: moment.now,
            });
        }
        let outbound = match &self.outbound {
            Some(new) => Some((queue::next_id(keys)?, new.clone(), moment.now)),
            None => None,
        };
        let change = Change::Deliver {
            body: self.body.clone(),
            summary: Box::new(self.summary.clone()),
            transaction: self.transaction,
            to,
            outbound,
            last: self.last,
        };
        Ok(decided(&change, ()))
    }
}

/// RFC 9051 6.3.12: a client puts a message into a mailbox.
#[derive(Clone, Debug)]
pub struct Append {
    /// Whose.
    pub account: AccountId,
    /// Where.
    pub mailbox: MailboxId,
    /// The message's bytes.
    pub body: BodyRef,
    /// What the scanner saw in them.
    pub summary: Summary,
    /// Flags to set.
    pub flags: Flags,
    /// INTERNALDATE; now when absent.
    pub internal_date: Option<UnixMs>,
}

impl Command for Append {
    const KIND: Kind = Kind::MAILBOX;
    type Answer = Uid;
    type Refusal = MailboxRefusal;

    fn decide(&self, keys: &dyn Keys, moment: Moment) -> Refused<Uid> {
        let state = state(keys, self.account)?;
        let mailbox = open(keys, self.account, self.mailbox)?;
        check_keywords(&self.flags)?;
        check_room(keys, self.account, self.body.size)?;
        let uid = next_uid(keys, self.account, &mailbox, moment)?;
        let placed = Placed {
            account: self.account,
            mailbox: self.mailbox,
            uid,
            email: state.email.next(),
            modseq: state.modseq.next(),
            flags: self.flags.clone(),
            internal_date: self.internal_date.unwrap_or(moment.now),
        };
        let change = Change::Deliver {
            body: self.body.clone(),
            summary: Box::new(self.summary.clone()),
            transaction: [0; 16],
            to: vec![placed],
            outbound: None,
            last: true,
        };
        Ok(decided(&change, uid))
    }
}

fn check_room(
    keys: &dyn Keys,
    account: AccountId,
    more: u64,
) -> Result<(), DecideError<MailboxRefusal>> {
    let room = super::quota(keys, account)?.has_room_for(more);
    if room { Ok(()) } else { refuse(MailboxRefusal::OverQuota) }
}

fn check_keywords(flags: &Flags) -> Result<(), DecideError<MailboxRefusal>> {
    if flags.keywords.len() > KEYWORDS_MAX {
        return refuse(MailboxRefusal::TooMany("keywords"));
    }
    Ok(())
}

/// How a STORE combines flags: RFC 9051 6.4.6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FlagsOp {
    /// `+FLAGS`
    Add,
    /// `-FLAGS`
    Remove,
    /// `FLAGS`
    Set,
}

impl FlagsOp {
    /// The flags after the operation.
    #[must_use]
    pub fn on(self, old: &Flags, operand: &Flags) -> Flags {
        let mut new = old.clone();
        match self {
            Self::Add => new.add(operand),
            Self::Remove => new.remove(operand),
            Self::Set => new = operand.clone(),
        }
        new
    }
}

/// RFC 9051 6.4.6: flags of messages change. UIDs that are not there are passed over.
#[derive(Clone, Debug)]
pub struct SetFlags {
    /// Whose.
    pub account: AccountId,
    /// Where.
    pub mailbox: MailboxId,
    /// At most [`UIDS_PER_CHANGE_MAX`].
    pub uids: Vec<Uid>,
    /// How.
    pub op: FlagsOp,
    /// Which.
    pub flags: Flags,
}

impl Command for SetFlags {
    const KIND: Kind = Kind::MAILBOX;
    /// The messages as they stand now, changed or not.
    type Answer = Vec<Entry>;
    type Refusal = MailboxRefusal;

    fn decide(&self, keys: &dyn Keys, _moment: Moment) -> Refused<Vec<Entry>> {
        check_uids(&self.uids)?;
        let modseq = state(keys, self.account)?.modseq.next();
        open(keys, self.account, self.mailbox)?;
        let mut uids = Vec::new();
        let mut answer = Vec::new();
        for &uid in &self.uids {
            let Some(mut entry) = rows::entry(keys, self.account, self.mailbox, uid)? else {
                continue;
            };
            let flags = self.op.on(&entry.flags, &self.flags);
            check_keywords(&flags)?;
            if flags != entry.flags {
                uids.push(uid);
                entry.flags = flags;
                entry.modseq = modseq;
            }
            answer.push(entry);
        }
        if uids.is_empty() {
            return Ok(Decision { change: None, answer });
        }
        let change = Change::Flags {
            account: self.account,
            mailbox: self.mailbox,
            modseq,
            op: self.op,
            flags: self.flags.clone(),
            uids,
        };
        Ok(decided(&change, answer))
    }
}

fn check_uids(uids: &[Uid]) -> Result<(), DecideError<MailboxRefusal>> {
    if uids.len() > UIDS_PER_CHANGE_MAX {
        return refuse(MailboxRefusal::TooMany("messages in one change"));
    }
    Ok(())
}

/// RFC 9051 6.4.7 COPY, and RFC 6851 MOVE with `remove`.
#[derive(Clone, Debug)]
pub struct Copy {
    /// Whose.
    pub account: AccountId,
    /// Where from.
    pub from: MailboxId,
    /// At most [`UIDS_PER_CHANGE_MAX`]; those that are not there are passed over.
    pub uids: Vec<Uid>,
    /// Where to; may be the same mailbox.
    pub to: MailboxId,
    /// Whether they leave where they were.
    pub remove: bool,
}

impl Command for Copy {
    const KIND: Kind = Kind::MAILBOX;
    /// Old and new UID of each message.
    type Answer = Vec<(Uid, Uid)>;
    type Refusal = MailboxRefusal;

    fn decide(&self, keys: &dyn Keys, moment: Moment) -> Refused<Vec<(Uid, Uid)>> {
        check_uids(&self.uids)?;
        let state = state(keys, self.account)?;
        open(keys, self.account, self.from)?;
        let target = open(keys, self.account, self.to)?;
        let mut uid = next_uid(keys, self.account, &target, moment)?;
        let (mut pairs, mut flags, mut size) = (Vec::new(), Vec::new(), 0_u64);
        for &old in &self.uids {
            if let Some(entry) = rows::entry(keys, self.account, self.from, old)? {
                pairs.push((old, uid));
                flags.push(entry.flags);
                size = size.saturating_add(entry.size);
                uid = uid.next();
            }
        }
        if pairs.is_empty() {
            return Ok(Decision { change: None, answer: pairs });
        }
        if !self.remove {
            check_room(keys, self.account, size)?;
        }
        let (account, from, to) = (self.account, self.from, self.to);
        let (modseq, first_email) = (state.modseq.next(), state.email.next());
        let change = if self.remove {
            Change::Move { account, from, to, modseq, pairs: pairs.clone() }
        } else {
            let pairs = pairs.clone();
            Change::CopyFlagged { account, from, to, modseq, first_email, pairs, flags }
        };
        Ok(decided(&change, pairs))
    }
}

/// RFC 9051 6.4.3: messages go for good. UIDs that are not there are passed over.
#[derive(Clone, Debug)]
pub struct Expunge {
    /// Whose.
    pub account: AccountId,
    /// Where.
    pub mailbox: MailboxId,
    /// At most [`UIDS_PER_CHANGE_MAX`]; only those with `\Deleted` go.
    pub uids: Vec<Uid>,
}

impl Command for Expunge {
    const KIND: Kind = Kind::MAILBOX;
    /// What went.
    type Answer = Vec<Uid>;
    type Refusal = MailboxRefusal;

    fn decide(&self, keys: &dyn Keys, _moment: Moment) -> Refused<Vec<Uid>> {
        check_uids(&self.uids)?;
        let state = state(keys, self.account)?;
        open(keys, self.account, self.mailbox)?;
        let mut uids = Vec::new();
        for &uid in &self.uids {
            if rows::entry(keys, self.account, self.mailbox, uid)?
                .is_some_and(|e| e.flags.has(Flags::DELETED))
            {
                uids.push(uid);
            }
        }
        if uids.is_empty() {
            return Ok(Decision { change: None, answer: uids });
        }
        let change = Change::Expunge {
            account: self.account,
            mailbox: self.mailbox,
            modseq: state.modseq.next(),
            uids: uids.clone(),
        };
        Ok(decided(&change, uids))
    }
}

/// RFC 9051 6.3.4, with RFC 6154's USE. Levels above the new one are created with it.
#[derive(Clone, Debug)]
pub struct CreateMailbox {
    /// Whose.
    pub account: AccountId,
    /// Full name, UTF-8, levels separated by `/`; a trailing `/` is ignored.
    pub name: String,
    /// What it is for.
    pub role: Option<Role>,
}

impl Command for CreateMailbox {
    const KIND: Kind = Kind::MAILBOX;
    type Answer = MailboxId;
    type Refusal = MailboxRefusal;

    fn decide(&self, keys: &dyn Keys, _moment: Moment) -> Refused<MailboxId> {
        let state = state(keys, self.account)?;
        let all = rows::mailboxes(keys, self.account)?;
        let name = canonical_name(&self.name)?;
        if find(&all, &name).is_some() {
            return refuse(MailboxRefusal::AlreadyExists);
        }
        let mut names: Vec<String> = missing_parents(&all, &name);
        names.push(name);
        if all.len().saturating_add(names.len()) > MAILBOXES_MAX {
            return refuse(MailboxRefusal::TooMany("mailboxes"));
        }
        let mut id = state.mailbox;
        let last = names.len().saturating_sub(1);
        let new = names
            .into_iter()
            .enumerate()
            .map(|(i, name)| {
                id = id.next();
                (id, name, self.role.filter(|_| i == last))
            })
            .collect();
        let change = Change::Create {
            account: self.account,
            modseq: state.modseq.next(),
            uid_validity: uid_validity(keys, self.account)?,
            new,
        };
        Ok(decided(&change, id))
    }
}

/// RFC 9051 6.3.6. Mailboxes below it are renamed with it. INBOX is not renamed here.
#[derive(Clone, Debug)]
pub struct RenameMailbox {
    /// Whose.
    pub account: AccountId,
    /// Which.
    pub mailbox: MailboxId,
    /// The new full name.
    pub name: String,
}

impl Command for RenameMailbox {
    const KIND: Kind = Kind::MAILBOX;
    type Answer = ();
    type Refusal = MailboxRefusal;

    fn decide(&self, keys: &dyn Keys, _moment: Moment) -> Refused<()> {
        let state = state(keys, self.account)?;
        let old = open(keys, self.account, self.mailbox)?;
        if old.id == super::INBOX {
            return refuse(MailboxRefusal::IsInbox);
        }
        let all = rows::mailboxes(keys, self.account)?;
        let name = canonical_name(&self.name)?;
        if find(&all, &name).is_some() {
            return refuse(MailboxRefusal::AlreadyExists);
        }
        let below = format!("{}/", old.name);
        if name.starts_with(&below) {
            return refuse(MailboxRefusal::BadName("a mailbox cannot move below itself"));
        }
        let mut names = vec![(old.id, name.clone())];
        for child in &all {
            if let Some(rest) = child.name.strip_prefix(&below) {
                let renamed = format!("{name}/{rest}");
                if renamed.len() > NAME_LEN_MAX {
                    return refuse(MailboxRefusal::BadName("it is too long"));
                }
                if find(&all, &renamed).is_some() {
                    return refuse(MailboxRefusal::AlreadyExists);
                }
                names.push((child.id, renamed));
            }
        }
        let mut id = state.mailbox;
        let parents: Vec<_> = missing_parents(&all, &name)
            .into_iter()
            .map(|name| {
                id = id.next();
                (id, name, None)
            })
            .collect();
        if names.len().saturating_add(parents.len()) > UIDS_PER_CHANGE_MAX {
            return refuse(MailboxRefusal::TooMany("mailboxes below this one"));
        }
        let change = Change::Rename {
            account: self.account,
            modseq: state.modseq.next(),
            names,
            parents,
            uid_validity: uid_validity(keys, self.account)?,
        };
        Ok(decided(&change, ()))
    }
}

/// RFC 9051 6.3.5. The caller empties it first, in steps; mailboxes below it stay.
#[derive(Clone, Copy, Debug)]
pub struct DeleteMailbox {
    /// Whose.
    pub account: AccountId,
    /// Which.
    pub mailbox: MailboxId,
}

impl Command for DeleteMailbox {
    const KIND: Kind = Kind::MAILBOX;
    type Answer = ();
    type Refusal = MailboxRefusal;

    fn decide(&self, keys: &dyn Keys, _moment: Moment) -> Refused<()> {
        let state = state(keys, self.account)?;
        let mailbox = open(keys, self.account, self.mailbox)?;
        if mailbox.id == super::INBOX {
            return refuse(MailboxRefusal::IsInbox);
        }
        if mailbox.exists > 0 {
            return refuse(MailboxRefusal::NotEmpty);
        }
        let change = Change::Delete {
            account: self.account,
            mailbox: self.mailbox,
            modseq: state.modseq.next(),
        };
        Ok(decided(&change, ()))
    }
}

/// RFC 9051 6.3.7 and 6.3.8.
#[derive(Clone, Copy, Debug)]
pub struct Subscribe {
    /// Whose.
    pub account: AccountId,
    /// Which.
    pub mailbox: MailboxId,
    /// Whether from now on.
    pub subscribed: bool,
}

impl Command for Subscribe {
    const KIND: Kind = Kind::MAILBOX;
    type Answer = ();
    type Refusal = MailboxRefusal;

    fn decide(&self, keys: &dyn Keys, _moment: Moment) -> Refused<()> {
        let Self { account, mailbox, subscribed } = *self;
        if open(keys, account, mailbox)?.subscribed == subscribed {
            return Ok(Decision { change: None, answer: () });
        }
        let modseq = state(keys, account)?.modseq.next();
        let change = Change::SubscribeAt { account, mailbox, subscribed, modseq };
        Ok(decided(&change, ()))
    }
}

/// The UID that the mailbox's next message gets. In a reign that may have a rival the first one
/// leaves a gap, so that one UID never names two messages (ha.md 2.5).
fn next_uid(
    keys: &dyn Keys,
    account: AccountId,
    mailbox: &Mailbox,
    moment: Moment,
) -> Result<Uid, DecideError<MailboxRefusal>> {
    let next = rows::next_uid(keys, account, mailbox)?;
    if moment.fork > rows::jumped(keys, account, mailbox.id)? {
        return Ok(Uid(next.0.saturating_add(super::UID_JUMP)));
    }
    Ok(next)
}

/// In a reign that may have a rival: UIDNEXT goes over the gap before a message does. Whoever comes
/// from the rival then finds it above all that they know, and what they do not find as expunged
/// (RFC 9051 2.3.1.1), before anything of the rival's is known here. Nothing where it is done.
#[derive(Clone, Debug)]
pub struct LeaveGaps {
    /// Accounts whose mailboxes are looked through.
    pub accounts: Vec<AccountId>,
}

impl Command for LeaveGaps {
    const KIND: Kind = Kind::MAILBOX;
    /// Whether there may be more to do.
    type Answer = bool;
    type Refusal = MailboxRefusal;

    fn decide(&self, keys: &dyn Keys, moment: Moment) -> Refused<bool> {
        let mut next = Vec::new();
        'all: for &account in &self.accounts {
            for row in rows::mailboxes(keys, account)? {
                if next.len() >= UIDS_PER_CHANGE_MAX {
                    break 'all;
                }
                if moment.fork > rows::jumped(keys, account, row.id)? {
                    next.push((account, row.id, next_uid(keys, account, &row, moment)?));
                }
            }
        }
        let more = next.len() >= UIDS_PER_CHANGE_MAX;
        if next.is_empty() {
            return Ok(Decision { change: None, answer: more });
        }
        Ok(decided(&Change::Gap { next }, more))
    }
}

/// What expunging and deleting kept for a merge goes: no other branch can need it. Name only what
/// is committed on every node that counts, from [`rows::graves`]; what is gone is passed over.
#[derive(Clone, Debug)]
pub struct ForgetGraves {
    /// Expunged messages; at most [`UIDS_PER_CHANGE_MAX`].
    pub graves: Vec<(AccountId, MailboxId, Uid)>,
    /// Deleted mailboxes; at most as many.
    pub mailboxes: Vec<(AccountId, MailboxId)>,
}

impl Command for ForgetGraves {
    const KIND: Kind = Kind::MAILBOX;
    type Answer = ();
    type Refusal = MailboxRefusal;

    fn decide(&self, _keys: &dyn Keys, _moment: Moment) -> Refused<()> {
        let (graves, mailboxes) = (self.graves.clone(), self.mailboxes.clone());
        if graves.is_empty() && mailboxes.is_empty() {
            return Ok(Decision { change: None, answer: () });
        }
        if graves.len().max(mailboxes.len()) > UIDS_PER_CHANGE_MAX {
            return refuse(MailboxRefusal::TooMany("messages in one change"));
        }
        Ok(decided(&Change::Forget { graves, mailboxes }, ()))
    }
}

/// RFC 9051 2.3.1.1: the account's base, to which each mailbox adds its id. Ids are never given
/// again, so neither is a mailbox's UIDVALIDITY, whatever is renamed into its name.
fn uid_validity(keys: &dyn Keys, account: AccountId) -> Result<u32, DecideError<MailboxRefusal>> {
    let inbox = open(keys, account, super::INBOX)?;
    Ok(inbox.uid_validity.saturating_sub(super::INBOX.0))
}

/// INBOX is matched without regard to case (RFC 9051 5.1); all other names are taken literally.
fn canonical_name(name: &str) -> Result<String, DecideError<MailboxRefusal>> {
    let name = name.strip_suffix('/').unwrap_or(name);
    if name.is_empty() || name.split('/').any(str::is_empty) {
        return refuse(MailboxRefusal::BadName("a level of it is empty"));
    }
    if name.len() > NAME_LEN_MAX {
        return refuse(MailboxRefusal::BadName("it is too long"));
    }
    if name.chars().any(char::is_control) {
        return refuse(MailboxRefusal::BadName("it has control characters"));
    }
    let (top, rest) = name.split_once('/').map_or((name, None), |(t, r)| (t, Some(r)));
    Ok(match (top.eq_ignore_ascii_case("INBOX"), rest) {
        (true, None) => "INBOX".to_owned(),
        (true, Some(rest)) => format!("INBOX/{rest}"),
        (false, _) => name.to_owned(),
    })
}

fn find<'a>(all: &'a [Mailbox], name: &str) -> Option<&'a Mailbox> {
    all.iter().find(|m| m.name == name)
}

fn missing_parents(all: &[Mailbox], name: &str) -> Vec<String> {
    let mut parents = Vec::new();
    for (at, _) in name.match_indices('/') {
        if let Some(parent) = name.get(..at)
            && find(all, parent).is_none()
        {
            parents.push(parent.to_owned());
        }
    }
    parents
}

/// Ids and counters that a change carries; named so that `apply` and `decide` agree.
pub(super) type NewMailbox = (MailboxId, String, Option<Role>);
/// See [`Change::Copy`].
pub(super) type CopyPairs = Vec<(Uid, Uid)>;
/// See [`Change::Copy`].
pub(super) type FirstEmail = EmailId;
/// See [`Change`].
pub(super) type At = ModSeq;
