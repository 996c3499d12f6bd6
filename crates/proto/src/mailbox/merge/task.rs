//! Carries out a merge's tasks over the leader's rows.

use super::super::apply::{Change, MailboxRules, Place, Source};
use super::super::commands::FlagsOp;
use super::super::rows::{self, AccountState, Flags, Mailbox, Touched};
use super::super::{INBOX, NAME_LEN_MAX};
use super::plan::{Created, Open, Task, key_in, key_of};
use super::trace::{Content, Ops, Spot, Trace};
use super::{ACCOUNTS, MAILBOXES};
use crate::codec;
use crate::id::{AccountId, Lsn, MailboxId, ModSeq, Uid};
use crate::merge::{Merging, key_body};
use crate::rule::ApplyError;

/// Most numbers that are tried behind a mailbox's name.
const SUFFIXES_MAX: u32 = 10_000;
/// Most moves of one message, by clients of ours while one stage runs, that are followed.
const MOVES_MAX: u32 = 100_000;

pub(super) fn carry_out(on: &mut Merging<'_>, task: Task) -> Result<(), ApplyError> {
    match task {
        Task::Open(task) => open(on, *task),
        Task::Rename { account, mailbox, name, ours, ours_new } => {
            let Some(it) = It::find(on, account)? else { return Ok(()) };
            rename(on, it, mailbox, (name, ours), &ours_new)
        }
        Task::Name { account, mailbox, name } => {
            let Some(it) = It::find(on, account)? else { return Ok(()) };
            let id = it.mailbox(on, mailbox)?;
            let all = rows::mailboxes(on.keys(), it.ours)?;
            // One that was deleted on the branch was never made here.
            if id == mailbox || all.iter().any(|m| m.name == name) || all.iter().all(|m| m.id != id)
            {
                return Ok(());
            }
            let (account, modseq) = (it.ours, next_modseq(on, it.ours)?);
            let (names, parents) = (vec![(id, name)], Vec::new());
            make(on, &Change::Rename { account, modseq, names, parents, uid_validity: 0 })
        }
        Task::Subscribe { account, mailbox, subscribed, beaten } => {
            let Some(it) = It::find(on, account)? else { return Ok(()) };
            let id = it.mailbox(on, mailbox)?;
            let row = rows::mailbox(on.keys(), it.ours, id)?;
            if let Some(row) = row.as_ref().filter(|_| beaten) {
                let what = format!("account {}: mailbox {}", it.ours, row.name);
                on.note(what, "add beats remove", "its unsubscription".into(), Lsn(0));
            }
            match row {
                Some(row) if row.subscribed != subscribed => {
                    let (account, modseq) = (it.ours, next_modseq(on, it.ours)?);
                    make(on, &Change::SubscribeAt { account, mailbox: id, subscribed, modseq })
                }
                _ => Ok(()),
            }
        }
        Task::Arrive { account, trace, source } => {
            let Some(it) = It::find(on, account)? else {
                let at = match &trace.new {
                    Some((Content::Record(lsn), ..)) => *lsn,
                    _ => Lsn(0),
                };
                let (what, lost) =
                    (format!("account {account}"), format!("message {}", trace.last.1));
                on.note(what, "its account is not there", lost, at);
                return Ok(());
            };
            arrive(on, it, *trace, source)
        }
        Task::Meet { account, base, theirs, ours, upto } => {
            let Some(it) = It::find(on, account)? else { return Ok(()) };
            meet(on, it, (base, upto), &theirs, ours.as_deref())
        }
        Task::Again { account, spot } => {
            let it = It { theirs: account, ours: account };
            let Some(entry) = rows::entry(on.keys(), account, spot.0, spot.1)? else {
                return Ok(());
            };
            let uid = next_uid(on, account, spot.0)?;
            it.place(on, Source::Entry(spot.0, spot.1), true, (spot.0, uid), entry.flags)
        }
        Task::Touch { account, touched } => {
            let modseq = next_modseq(on, account)?;
            make(on, &Change::Touch { account, modseq, touched: vec![touched] })
        }
        Task::Next { account, mailboxes } => {
            let Some(it) = It::find(on, account)? else { return Ok(()) };
            let (account, mut next) = (it.ours, Vec::new());
            for mailbox in mailboxes {
                let id = it.mailbox(on, mailbox)?;
                if let Some(row) = rows::mailbox(on.keys(), account, id)? {
                    let above = rows::next_uid(on.keys(), account, &row)?;
                    next.extend((above > row.uid_next).then_some((id, above)));
                }
            }
            if next.is_empty() {
                return Ok(());
            }
            let AccountState { modseq, email, mailbox } = state(on, account)?;
            make(on, &Change::Raise { account, modseq, email, mailbox, next })
        }
        Task::Delete { account, mailbox } => {
            let Some(it) = It::find(on, account)? else { return Ok(()) };
            let id = it.mailbox(on, mailbox)?;
            let Some(row) = rows::mailbox(on.keys(), it.ours, id)? else { return Ok(()) };
            if row.exists > 0 || id == INBOX {
                let what = format!("account {}: mailbox {}", it.ours, row.name);
                on.note(what, "delete against mail: kept", "its deletion".into(), Lsn(0));
                return Ok(());
            }
            let modseq = next_modseq(on, it.ours)?;
            make(on, &Change::Delete { account: it.ours, mailbox: id, modseq })
        }
    }
}

fn make(on: &mut Merging<'_>, change: &Change) -> Result<(), ApplyError> {
    on.change(&MailboxRules, codec::encode(change))
}

fn state(on: &Merging<'_>, account: AccountId) -> Result<AccountState, ApplyError> {
    rows::account_state(on.keys(), account)?.ok_or(ApplyError::Missing("an account"))
}

fn next_modseq(on: &Merging<'_>, account: AccountId) -> Result<ModSeq, ApplyError> {
    Ok(state(on, account)?.modseq.next())
}

fn next_uid(on: &Merging<'_>, account: AccountId, id: MailboxId) -> Result<Uid, ApplyError> {
    let row = rows::mailbox(on.keys(), account, id)?.ok_or(ApplyError::Missing("a mailbox"))?;
    Ok(rows::next_uid(on.keys(), account, &row)?)
}

/// An account: its id on the branch and here.
#[derive(Clone, Copy)]
struct It {
    theirs: AccountId,
    ours: AccountId,
}

impl It {
    fn find(on: &Merging<'_>, theirs: AccountId) -> Result<Option<Self>, ApplyError> {
        let ours = AccountId(on.known().number(ACCOUNTS, &key_of(theirs), theirs.0)?);
        let found = rows::account_state(on.keys(), ours)?.is_some();
        Ok(found.then_some(Self { theirs, ours }))
    }

    /// Our mailbox for the branch's.
    fn mailbox(self, on: &Merging<'_>, id: MailboxId) -> Result<MailboxId, ApplyError> {
        Ok(MailboxId(on.known().number(MAILBOXES, &key_in(self.theirs, id), id.0)?))
    }

    /// The same, brought back if it was deleted here; INBOX if it is nowhere.
    fn open_mailbox(self, on: &mut Merging<'_>, id: MailboxId) -> Result<MailboxId, ApplyError> {
        let id = self.mailbox(on, id)?;
        if rows::mailbox(on.keys(), self.ours, id)?.is_some() {
            return Ok(id);
        }
        let Some(grave) = rows::mailbox_grave(on.keys(), self.ours, id)? else { return Ok(INBOX) };
        let name = free_name(on, self.ours, (&grave.name, None))?;
        let modseq = next_modseq(on, self.ours)?;
        let what = format!("account {}: mailbox {name}", self.ours);
        on.note(what, "delete against mail: restored", "its deletion".into(), Lsn(0));
        make(on, &Change::Revive { account: self.ours, modseq, mailbox: id, name })?;
        Ok(id)
    }

    /// The UID that the branch's message keeps here, or the next one. Below the UIDNEXT that clients
    /// see now nothing comes up any more (RFC 9051 2.3.1.1), and what we gave is not its own. What
    /// this step does, they see at once.
    fn uid(self, on: &Merging<'_>, theirs: Spot, ours: MailboxId) -> Result<Uid, ApplyError> {
        let next = next_uid(on, self.ours, ours)?;
        // What clients saw of one that they deleted and that comes back, they saw.
        let before = rows::mailbox_or_grave(on.before(), self.ours, ours)?;
        let seen = before.map_or(Uid(1), |row| row.uid_next);
        let same = self.mailbox(on, theirs.0)? == ours;
        let free = rows::entry(on.keys(), self.ours, ours, theirs.1)?.is_none();
        Ok(if same && theirs.1 >= seen && theirs.1 < next && free { theirs.1 } else { next })
    }

    fn place(
        self,
        on: &mut Merging<'_>,
        source: Source,
        remove: bool,
        (to, uid): Spot,
        flags: Flags,
    ) -> Result<(), ApplyError> {
        let state = state(on, self.ours)?;
        let (modseq, email) = (state.modseq.next(), state.email.next());
        let account = self.ours;
        let place = Place { account, modseq, source, remove, to, uid, email, flags };
        make(on, &Change::Place(Box::new(place)))
    }

    /// Clients of the branch learn that a UID which they know is gone.
    fn gone(self, on: &mut Merging<'_>, (mailbox, uid): Spot) -> Result<(), ApplyError> {
        let modseq = next_modseq(on, self.ours)?;
        let touched = vec![Touched { mailbox, changed: vec![], expunged: vec![uid] }];
        make(on, &Change::Touch { account: self.ours, modseq, touched })
    }

    fn set_flags(self, on: &mut Merging<'_>, spot: Spot, flags: Flags) -> Result<(), ApplyError> {
        let Some(entry) = rows::entry(on.keys(), self.ours, spot.0, spot.1)? else {
            return Ok(());
        };
        if entry.flags == flags {
            return Ok(());
        }
        let modseq = next_modseq(on, self.ours)?;
        let (account, op, uids) = (self.ours, FlagsOp::Set, vec![spot.1]);
        make(on, &Change::Flags { account, mailbox: spot.0, modseq, op, flags, uids })
    }
}

fn open(on: &mut Merging<'_>, task: Open) -> Result<(), ApplyError> {
    let Some(it) = It::find(on, task.account)? else { return Ok(()) };
    let account = it.ours;
    let (modseq, email, mailbox) = (task.modseq, task.email, task.mailbox);
    make(on, &Change::Raise { account, modseq, email, mailbox, next: Vec::new() })?;
    let base = rows::mailbox(on.keys(), account, INBOX)?.ok_or(ApplyError::Missing("an INBOX"))?;
    let uid_validity = base.uid_validity.saturating_sub(INBOX.0);
    // What both knew comes back before what is new takes its name.
    for &(theirs, _, used) in &task.next {
        if used && task.created.iter().all(|new| new.id != theirs) {
            yield_name(on, it, theirs, &task.ours_new)?;
            it.open_mailbox(on, theirs)?;
        }
    }
    for Created { id: theirs, name, role, twin } in task.created {
        let all = rows::mailboxes(on.keys(), account)?;
        let same = all.iter().find(|m| m.name == name && task.ours_new.contains(&m.id));
        let id = match same.or_else(|| all.iter().find(|m| Some(m.id) == twin)) {
            // Created on both sides under one name: one mailbox.
            Some(found) => found.id,
            None => {
                let id = state(on, account)?.mailbox.next();
                let free = free_name(on, account, (&name, None))?;
                if free != name {
                    let what = format!("account {account}: mailbox {free}");
                    on.note(what, "same name twice: suffix", name, Lsn(0));
                }
                let modseq = next_modseq(on, account)?;
                let new = vec![(id, free, role)];
                make(on, &Change::Create { account, modseq, uid_validity, new })?;
                id
            }
        };
        on.map(MAILBOXES, &key_in(it.theirs, theirs), &id.0.to_be_bytes())?;
    }
    let mut next = Vec::new();
    for (theirs, uid, used) in task.next {
        let mut id = it.mailbox(on, theirs)?;
        if used {
            id = it.open_mailbox(on, theirs)?;
        }
        // One that was deleted here may come back.
        let row = rows::mailbox_or_grave(on.keys(), account, id)?;
        let Some(row) = row.filter(|_| it.mailbox(on, theirs).ok() == Some(id)) else { continue };
        if uid > row.uid_next {
            next.push((id, uid));
        }
    }
    // What clients of ours get meanwhile goes above the branch's, too.
    if next.is_empty() { Ok(()) } else { make(on, &Change::Reserve { account, next }) }
}

/// A new mailbox of ours gives way to a deleted one that both knew and that comes back.
fn yield_name(
    on: &mut Merging<'_>,
    it: It,
    id: MailboxId,
    ours_new: &[MailboxId],
) -> Result<(), ApplyError> {
    let all = rows::mailboxes(on.keys(), it.ours)?;
    let Some(grave) = rows::mailbox_grave(on.keys(), it.ours, id)? else { return Ok(()) };
    let same = |m: &&Mailbox| m.name == grave.name && ours_new.contains(&m.id);
    let Some(other) = all.iter().find(same) else { return Ok(()) };
    if all.iter().any(|m| m.id == id) {
        return Ok(());
    }
    let suffixed = suffixed_name(on, it.ours, (&grave.name, other.id))?;
    let what = format!("account {}: mailbox {suffixed}", it.ours);
    on.note(what, "same name twice: suffix", grave.name, Lsn(0));
    let (account, modseq) = (it.ours, next_modseq(on, it.ours)?);
    let (names, parents) = (vec![(other.id, suffixed)], Vec::new());
    make(on, &Change::Rename { account, modseq, names, parents, uid_validity: 0 })
}

/// `name`, or the same with a number behind it.
fn free_name(
    on: &Merging<'_>,
    account: AccountId,
    (name, of): (&str, Option<MailboxId>),
) -> Result<String, ApplyError> {
    let all = rows::mailboxes(on.keys(), account)?;
    let taken = |name: &str| all.iter().any(|m| m.name == name && Some(m.id) != of);
    if !taken(name) {
        return Ok(name.to_owned());
    }
    suffixed_name(on, account, (name, of.unwrap_or_default()))
}

/// `name` with the lowest free number behind it; `of` may have it already.
fn suffixed_name(
    on: &Merging<'_>,
    account: AccountId,
    (name, of): (&str, MailboxId),
) -> Result<String, ApplyError> {
    let all = rows::mailboxes(on.keys(), account)?;
    let taken = |name: &str| all.iter().any(|m| m.name == name && m.id != of);
    let mut short = name.to_owned();
    while short.len() > NAME_LEN_MAX.saturating_sub(8) {
        short.pop();
    }
    let numbered = (2..SUFFIXES_MAX).map(|n| format!("{short} ({n})")).find(|n| !taken(n));
    numbered.ok_or(ApplyError::Missing("a free name for a mailbox"))
}

fn rename(
    on: &mut Merging<'_>,
    it: It,
    mailbox: MailboxId,
    (theirs, ours): (String, Option<String>),
    ours_new: &[MailboxId],
) -> Result<(), ApplyError> {
    let all = rows::mailboxes(on.keys(), it.ours)?;
    let Some(row) = all.iter().find(|m| m.id == mailbox) else { return Ok(()) };
    let mut name = theirs;
    if let Some(ours) = ours.filter(|ours| *ours != name) {
        let what = format!("account {}: mailbox {mailbox}", it.ours);
        let rule = "renamed on both sides: the first by alphabet";
        on.note(what, rule, ours.clone().max(name.clone()), Lsn(0));
        name = name.min(ours);
    }
    if row.name == name {
        return Ok(());
    }
    let mut names = Vec::new();
    if let Some(other) = all.iter().find(|m| m.name == name) {
        let mine: &Mailbox = row;
        // What is new gives way to what both know; of those the younger to the older.
        let other_yields = ours_new.contains(&other.id) || mine.id < other.id;
        let yields = if other_yields { other.id } else { mailbox };
        let suffixed = suffixed_name(on, it.ours, (&name, yields))?;
        if !other_yields && suffixed == mine.name {
            return Ok(());
        }
        let what = format!("account {}: mailbox {suffixed}", it.ours);
        on.note(what, "same name twice: suffix", name.clone(), Lsn(0));
        names.push((yields, suffixed));
        if other_yields {
            names.push((mailbox, name));
        }
    } else {
        names.push((mailbox, name));
    }
    let (account, modseq) = (it.ours, next_modseq(on, it.ours)?);
    make(on, &Change::Rename { account, modseq, names, parents: Vec::new(), uid_validity: 0 })
}

/// Where our side has a message.
struct Found {
    /// Its entry, or its grave.
    source: Source,
    flags: Flags,
    /// It was moved after the stage began: our trace does not know.
    moved: bool,
}

/// Where our side has a message that both know. Clients of ours may have moved it since the stage
/// began: then it is where the places that it left say.
fn find(
    on: &Merging<'_>,
    account: AccountId,
    base: Spot,
    ours: Option<&Trace>,
) -> Result<Option<Found>, ApplyError> {
    let (mut spot, mut moved) = (ours.map_or(base, |t| t.last), false);
    for _ in 0..MOVES_MAX {
        if let Some(entry) = rows::entry(on.keys(), account, spot.0, spot.1)? {
            let source = Source::Entry(spot.0, spot.1);
            return Ok(Some(Found { source, flags: entry.flags, moved }));
        }
        if let Some(grave) = rows::grave(on.keys(), account, spot.0, spot.1)? {
            let source = Source::Grave(spot.0, spot.1);
            return Ok(Some(Found { source, flags: grave.entry.flags, moved }));
        }
        match rows::forward(on.keys(), account, spot.0, spot.1)? {
            Some(next) => (spot, moved) = (next, true),
            None => return Ok(None),
        }
    }
    // Never noted as lost: the merge stands still instead.
    Err(ApplyError::Missing("the end of a message's moves"))
}

fn arrive(
    on: &mut Merging<'_>,
    it: It,
    trace: Trace,
    source: Option<Option<Trace>>,
) -> Result<(), ApplyError> {
    let (Some(place), Some((content, flags, date))) = (trace.place, trace.new) else {
        return Ok(());
    };
    let found = match content {
        Content::Record(lsn) => shipped(on, lsn, date)?,
        Content::Of(base) => {
            find(on, it.ours, base, source.flatten().as_ref())?.map(|found| found.source)
        }
    };
    let Some(found) = found else {
        let what = format!("account {}: message {}/{}", it.ours, place.0, place.1);
        on.note(what, "its source is not there", String::new(), Lsn(0));
        return left(on, it, place);
    };
    let to = it.open_mailbox(on, place.0)?;
    let uid = it.uid(on, place, to)?;
    it.place(on, found, false, (to, uid), flags)?;
    if uid == place.1 { Ok(()) } else { it.gone(on, (to, place.1)) }
}

/// The message that a record of the branch delivered.
fn shipped(
    on: &Merging<'_>,
    lsn: Lsn,
    date: Option<crate::time::UnixMs>,
) -> Result<Option<Source>, ApplyError> {
    let Some(change) = on.record(lsn)? else { return Ok(None) };
    Ok(match codec::decode("change of mailboxes", &change)? {
        Change::Deliver { body, summary, .. } => Some(Source::Shipped {
            row: key_body(on.branch(), body.upload),
            size: body.size,
            hash: body.hash,
            summary,
            date: date.unwrap_or_default(),
        }),
        _ => None,
    })
}

/// A message that both sides know, and that the branch did something to.
fn meet(
    on: &mut Merging<'_>,
    it: It,
    (base, upto): (Spot, ModSeq),
    theirs: &Trace,
    ours: Option<&Trace>,
) -> Result<(), ApplyError> {
    let nothing = Ops::default();
    let (our_ops, our_move) = ours.map_or((&nothing, false), |t| (&t.ops, t.moved));
    let what = format!("account {}: message {}/{}", it.ours, base.0, base.1);
    let Some(Found { source, flags: now, moved }) = find(on, it.ours, base, ours)? else {
        let Some(place) = theirs.place else { return Ok(()) };
        if theirs.touched {
            on.note(what, "expunge against change: cannot be restored", String::new(), Lsn(0));
        }
        return left(on, it, place);
    };
    // Changed after the stage began, and not only marked as deleted, as far as can be told.
    let meanwhile = match source {
        Source::Entry(mailbox, uid) => rows::entry(on.keys(), it.ours, mailbox, uid)?
            .is_some_and(|entry| entry.modseq > upto && !entry.flags.has(Flags::DELETED)),
        _ => false,
    };
    let our_touch = moved || meanwhile || ours.is_some_and(|t| t.touched);
    let our_move = our_move || moved;
    let mut flags = theirs.ops.on(&now, our_ops);
    match (&source, theirs.place) {
        (Source::Entry(mailbox, uid), None) if !our_touch => {
            let (account, mailbox, uids) = (it.ours, *mailbox, vec![*uid]);
            let modseq = next_modseq(on, account)?;
            make(on, &Change::Expunge { account, mailbox, modseq, uids })
        }
        (Source::Entry(mailbox, uid), None) => {
            let spot = (*mailbox, *uid);
            flags.bits &= !Flags::DELETED;
            on.note(what, "expunge against change: survives", "its expunge".into(), Lsn(0));
            if our_move {
                return it.set_flags(on, spot, flags);
            }
            // Clients of the branch saw it go: it comes back as a new message.
            let uid = next_uid(on, it.ours, spot.0)?;
            it.place(on, source, true, (spot.0, uid), flags)
        }
        (Source::Entry(mailbox, uid), Some(place)) => {
            let spot = (*mailbox, *uid);
            let to = it.mailbox(on, place.0)?;
            if !theirs.moved || (our_move && to == spot.0) {
                it.set_flags(on, spot, flags)?;
                return if theirs.moved || place != spot { left(on, it, place) } else { Ok(()) };
            }
            let to = it.open_mailbox(on, place.0)?;
            let new = it.uid(on, place, to)?;
            if our_move {
                on.note(what, "moved to two mailboxes: in both", String::new(), Lsn(0));
                it.set_flags(on, spot, flags.clone())?;
            }
            it.place(on, source, !our_move, (to, new), flags)?;
            if new == place.1 { Ok(()) } else { it.gone(on, (to, place.1)) }
        }
        (_, Some(place)) if theirs.touched => {
            flags.bits &= !Flags::DELETED;
            on.note(what, "expunge against change: survives", "its expunge".into(), Lsn(0));
            let to = it.open_mailbox(on, place.0)?;
            let moved_here = theirs.moved;
            let uid = if moved_here { it.uid(on, place, to)? } else { next_uid(on, it.ours, to)? };
            it.place(on, source, false, (to, uid), flags)?;
            if uid == place.1 { Ok(()) } else { it.gone(on, (to, place.1)) }
        }
        (_, Some(place)) => left(on, it, place),
        (_, None) => Ok(()),
    }
}

/// The branch had the message at a place of its own, which it is not at here.
fn left(on: &mut Merging<'_>, it: It, place: Spot) -> Result<(), ApplyError> {
    let to = it.mailbox(on, place.0)?;
    if rows::entry(on.keys(), it.ours, to, place.1)?.is_some() {
        return Ok(());
    }
    it.gone(on, (to, place.1))
}
