//! Sets what both sides did against each other and lists what is to be done.

use super::super::apply::{Change, MailboxRules};
use super::super::rows::{Role, Touched};
use super::trace::{AccountTrace, BoxTrace, Content, Lineage, SideTrace, Spot, Trace};
use super::{ACCOUNTS, MAILBOXES};
use crate::codec::{self, DecodeError};
use crate::id::{AccountId, EmailId, MailboxId, ModSeq, Uid};
use crate::merge::Known;
use crate::record::Kind;
use crate::rule::{Apply, ApplyError, Planner, Position, Side};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Most messages whose modseq one task raises.
const TOUCH_MAX: usize = 300;
/// Most mailboxes of one [`Open`]: with the longest names, and notes about them, they fit into a
/// record together with what a step held before.
const BOXES_MAX: usize = 16;

/// One thing to do. Ids are the branch's unless said otherwise.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Task {
    /// First of an account: counters above both sides', some of the branch's mailboxes.
    Open(Box<Open>),
    /// The branch renamed a mailbox that both know.
    Rename {
        account: AccountId,
        mailbox: MailboxId,
        name: String,
        ours: Option<String>,
        ours_new: Vec<MailboxId>,
    },
    /// A mailbox that is new on the branch gets the name that it had there, if that is free by now.
    Name { account: AccountId, mailbox: MailboxId, name: String },
    Subscribe {
        account: AccountId,
        mailbox: MailboxId,
        subscribed: bool,
        /// One side unsubscribed it.
        beaten: bool,
    },
    /// A message that the branch has and we have not.
    Arrive { account: AccountId, trace: Box<Trace>, source: Option<Option<Trace>> },
    /// A message that both know and the branch did something to.
    /// `upto`: an entry of ours with a higher modseq was changed after the stage began.
    Meet {
        account: AccountId,
        base: Spot,
        theirs: Box<Trace>,
        ours: Option<Box<Trace>>,
        upto: ModSeq,
    },
    /// Our own message whose UID a client of the branch would not expect (ids are ours).
    Again { account: AccountId, spot: Spot },
    /// What we changed is told to clients of the branch (ids are ours).
    Touch { account: AccountId, touched: Touched },
    /// All messages of the branch are in their places: UIDNEXT goes above what it had.
    Next { account: AccountId, mailboxes: Vec<MailboxId> },
    /// The branch deleted a mailbox that both know.
    Delete { account: AccountId, mailbox: MailboxId },
}

/// See [`Task::Open`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Open {
    pub(super) account: AccountId,
    pub(super) modseq: ModSeq,
    pub(super) email: EmailId,
    pub(super) mailbox: MailboxId,
    /// Mailboxes that are new on the branch.
    pub(super) created: Vec<Created>,
    /// Where the branch gave UIDs: one above the highest, and whether any is in use.
    pub(super) next: Vec<(MailboxId, Uid, bool)>,
    /// Our own mailboxes that are new.
    pub(super) ours_new: Vec<MailboxId>,
}

/// A mailbox that is new on the branch.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Created {
    pub(super) id: MailboxId,
    pub(super) name: String,
    pub(super) role: Option<Role>,
    /// Our own new one of that name: it may have given way to another by the time that this is opened.
    pub(super) twin: Option<MailboxId>,
}

/// The fold of both sides.
pub(super) struct Plan {
    stage: u8,
    ours: SideTrace,
    theirs: SideTrace,
}

impl Plan {
    pub(super) fn new(stage: u8) -> Self {
        Self { stage, ours: SideTrace::default(), theirs: SideTrace::default() }
    }
}

impl Planner for Plan {
    fn fold(
        &mut self,
        side: Side,
        at: Position,
        kind: Kind,
        change: &[u8],
    ) -> Result<(), DecodeError> {
        if kind != MailboxRules.kind() {
            return Ok(());
        }
        let change: Change = codec::decode("change of mailboxes", change)?;
        match side {
            Side::Ours => self.ours.fold(at.lsn, change),
            Side::Theirs => self.theirs.fold(at.lsn, change),
        }
        Ok(())
    }

    fn plan(self: Box<Self>, known: &Known<'_>) -> Result<Vec<Vec<u8>>, ApplyError> {
        let nothing = AccountTrace::default();
        let (mut tasks, mut last) = (Vec::new(), Vec::new());
        for (id, theirs) in &self.theirs.0 {
            let ours_id = AccountId(known.number(ACCOUNTS, &key_of(*id), id.0)?);
            let ours = self.ours.0.get(&ours_id).unwrap_or(&nothing);
            if self.stage == 0 {
                open(&mut tasks, *id, theirs, ours);
                continue;
            }
            messages(&mut tasks, *id, theirs, ours);
            again(&mut tasks, known, (*id, ours_id), theirs, ours)?;
            told(&mut tasks, ours_id, ours);
            let given = theirs.boxes.iter().filter(|(_, row)| row.next.is_some());
            let given: Vec<MailboxId> = given.map(|(mailbox, _)| *mailbox).collect();
            for some in given.chunks(TOUCH_MAX) {
                last.push(Task::Next { account: *id, mailboxes: some.to_vec() });
            }
            for (mailbox, row) in &theirs.boxes {
                if row.deleted && !theirs.is_new(*mailbox) {
                    tasks.push(Task::Delete { account: *id, mailbox: *mailbox });
                }
            }
            // Names last: a mailbox that goes takes no name from another.
            mailboxes(&mut tasks, known, (*id, theirs), ours)?;
            for (mailbox, row) in &theirs.boxes {
                if let Some(name) = row.name.clone().filter(|_| theirs.is_new(*mailbox)) {
                    tasks.push(Task::Name { account: *id, mailbox: *mailbox, name });
                }
            }
        }
        Ok(tasks.iter().chain(&last).map(codec::encode).collect())
    }
}

pub(super) fn key_of(account: AccountId) -> [u8; 4] {
    account.0.to_be_bytes()
}

pub(super) fn key_in(account: AccountId, mailbox: MailboxId) -> Vec<u8> {
    codec::Key::new(0).u32(account.0).u32(mailbox.0).done()
}

/// In pieces that each fit into a record, whatever the mailboxes are called.
fn open(tasks: &mut Vec<Task>, account: AccountId, theirs: &AccountTrace, ours: &AccountTrace) {
    let mut used: BTreeMap<MailboxId, bool> = BTreeMap::new();
    for trace in theirs.messages.values() {
        if let Some(spot) = trace.place.filter(|spot| theirs.gave(*spot)) {
            used.insert(spot.0, true);
        }
    }
    // What both knew comes back before what is new takes its name.
    let (new, known): (Vec<_>, Vec<_>) =
        theirs.boxes.iter().partition(|(id, _)| theirs.is_new(**id));
    let next = |boxes: &[(&MailboxId, &BoxTrace)]| {
        let given = boxes.iter().filter_map(|(id, row)| {
            row.next.map(|next| (**id, next, used.get(id).copied().unwrap_or_default()))
        });
        given.collect::<Vec<_>>()
    };
    let mut piece = |created, next| {
        tasks.push(Task::Open(Box::new(Open {
            account,
            modseq: theirs.modseq,
            email: theirs.email,
            mailbox: theirs.mailbox,
            created,
            next,
            ours_new: new_boxes(ours),
        })));
    };
    let known = next(&known);
    // Counters go up even where there is nothing else.
    piece(Vec::new(), known.get(..BOXES_MAX).unwrap_or(&known).to_vec());
    for some in known.get(BOXES_MAX..).unwrap_or_default().chunks(BOXES_MAX) {
        piece(Vec::new(), some.to_vec());
    }
    let alive: Vec<_> = new.into_iter().filter(|(_, row)| !row.deleted).collect();
    for some in alive.chunks(BOXES_MAX) {
        let created = some.iter().map(|(id, row)| {
            let mut news = ours.boxes.iter().filter(|(id, _)| ours.is_new(**id));
            let twin = news.find(|(_, ours)| !ours.deleted && ours.name == row.name);
            Created {
                id: **id,
                name: row.name.clone().unwrap_or_default(),
                role: row.created.unwrap_or_default(),
                twin: twin.map(|(id, _)| *id),
            }
        });
        piece(created.collect(), next(some));
    }
}

fn new_boxes(ours: &AccountTrace) -> Vec<MailboxId> {
    ours.boxes.keys().copied().filter(|id| ours.is_new(*id)).collect()
}

fn mailboxes(
    tasks: &mut Vec<Task>,
    known: &Known<'_>,
    (account, theirs): (AccountId, &AccountTrace),
    ours: &AccountTrace,
) -> Result<(), ApplyError> {
    for (&mailbox, row) in &theirs.boxes {
        // Created on both sides under one name: one mailbox, of which each side said something.
        let here = MailboxId(known.number(MAILBOXES, &key_in(account, mailbox), mailbox.0)?);
        let other = ours.boxes.get(&here).filter(|_| ours.is_new(here) == theirs.is_new(mailbox));
        if let Some(name) = row.name.clone().filter(|_| !theirs.is_new(mailbox)) {
            let ours_name = other.and_then(|o| o.name.clone());
            let ours_new = new_boxes(ours);
            tasks.push(Task::Rename { account, mailbox, name, ours: ours_name, ours_new });
        }
        if let Some(subscribed) =
            row.subscribed.filter(|_| !(theirs.is_new(mailbox) && row.deleted))
        {
            // As for flags: add beats remove.
            let ours = other.and_then(|o| o.subscribed);
            let beaten = ours.is_some_and(|ours| ours != subscribed);
            let subscribed = subscribed || beaten;
            tasks.push(Task::Subscribe { account, mailbox, subscribed, beaten });
        }
    }
    Ok(())
}

fn messages(tasks: &mut Vec<Task>, account: AccountId, theirs: &AccountTrace, ours: &AccountTrace) {
    // The first stage raised ours above the branch's, which is above all that both knew.
    let upto = theirs.modseq.max(ours.modseq);
    // In order of the branch's places, so that what gets new UIDs keeps its order.
    let mut all: Vec<(&Lineage, &Trace)> = theirs.messages.iter().collect();
    // What is new first: what it is copied from may move. The rest gets its UIDs behind that.
    all.sort_by_key(|(_, trace)| (trace.new.is_none(), trace.last));
    for (lineage, trace) in all {
        let other = ours.messages.get(lineage);
        let (theirs, ours_box) = (Box::new(trace.clone()), other.cloned().map(Box::new));
        match (lineage, other) {
            (Lineage::Base(mailbox, uid), _) => {
                let base = (*mailbox, *uid);
                tasks.push(Task::Meet { account, base, theirs, ours: ours_box, upto });
            }
            (Lineage::Sent(..), Some(found)) => {
                let base = found.last;
                tasks.push(Task::Meet { account, base, theirs, ours: ours_box, upto });
            }
            _ if trace.place.is_none() => {}
            _ => {
                let source = match trace.new {
                    Some((Content::Of((mailbox, uid)), ..)) => {
                        Some(ours.messages.get(&Lineage::Base(mailbox, uid)).cloned())
                    }
                    _ => None,
                };
                tasks.push(Task::Arrive { account, trace: theirs, source });
            }
        }
    }
}

/// Our messages below the branch's highest UID: its clients would not look for them there.
fn again(
    tasks: &mut Vec<Task>,
    known: &Known<'_>,
    (id, ours_id): (AccountId, AccountId),
    theirs: &AccountTrace,
    ours: &AccountTrace,
) -> Result<(), ApplyError> {
    let mut next: BTreeMap<MailboxId, Uid> = BTreeMap::new();
    for (mailbox, row) in &theirs.boxes {
        if let Some(theirs) = row.next {
            let here = known.number(MAILBOXES, &key_in(id, *mailbox), mailbox.0)?;
            let highest = next.entry(MailboxId(here)).or_default();
            *highest = (*highest).max(theirs);
        }
    }
    let mut spots: Vec<Spot> = ours.messages.values().filter_map(|t| t.place).collect();
    spots.retain(|s| ours.gave(*s) && next.get(&s.0).is_some_and(|next| s.1 < *next));
    spots.sort_unstable();
    tasks.extend(spots.into_iter().map(|spot| Task::Again { account: ours_id, spot }));
    Ok(())
}

fn told(tasks: &mut Vec<Task>, account: AccountId, ours: &AccountTrace) {
    let mut all: Vec<(Spot, bool)> = ours.left.iter().map(|spot| (*spot, false)).collect();
    all.extend(ours.messages.values().filter_map(|t| t.place).map(|spot| (spot, true)));
    let changed = |b: &BoxTrace| b.name.is_some();
    let renamed = ours.boxes.iter().filter(|(_, b)| changed(b)).map(|(id, _)| *id);
    let mut by_box: BTreeMap<MailboxId, Vec<(Uid, bool)>> =
        renamed.map(|id| (id, Vec::new())).collect();
    all.sort_unstable();
    for ((mailbox, uid), here) in all {
        by_box.entry(mailbox).or_default().push((uid, here));
    }
    for (mailbox, uids) in by_box {
        let mut chunks: Vec<&[(Uid, bool)]> = uids.chunks(TOUCH_MAX).collect();
        if chunks.is_empty() {
            chunks.push(&[]);
        }
        for chunk in chunks {
            let part = |here: bool| chunk.iter().filter(|u| u.1 == here).map(|u| u.0).collect();
            let touched = Touched { mailbox, changed: part(true), expunged: part(false) };
            tasks.push(Task::Touch { account, touched });
        }
    }
}
