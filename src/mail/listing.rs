//! Every message of an account in memory, as far as lists are filtered and sorted by it.
//!
//! Invariant: a [`Listing`] is the rows as of its modseq; it is brought up to date by what changed since and
//! never guessed at. Bounded by messages in all ([`MESSAGES_MAX`]): the accounts that were not asked for the
//! longest are forgotten. Deliberately absent: what stands in a message; search has that.

use super::{MailError, Snapshot};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use understudy_proto::id::{AccountId, EmailId, Lsn, MailboxId, ModSeq, TenantId, ThreadId, Uid};
use understudy_proto::mailbox::{self, Entry, Flags};
use understudy_proto::time::UnixMs;

/// Messages that are held for all accounts together, at about 120 bytes each.
const MESSAGES_MAX: usize = 1_000_000;
/// What is further behind is read anew.
const CHANGES_MAX: usize = 5_000;

/// A message as lists see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its id.
    pub id: EmailId,
    /// Its conversation.
    pub thread: ThreadId,
    /// Where it lies.
    pub mailbox: MailboxId,
    /// When it came.
    pub received: UnixMs,
    /// Length in bytes.
    pub size: u64,
    /// Its flags.
    pub flags: Flags,
}

/// All messages of an account, by id.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    fork: Lsn,
    modseq: ModSeq,
    messages: Vec<Listed>,
}

impl Listing {
    /// All of them, by id.
    #[must_use]
    pub fn messages(&self) -> &[Listed] {
        &self.messages
    }

    /// One of them.
    #[must_use]
    pub fn get(&self, id: EmailId) -> Option<&Listed> {
        let at = self.messages.binary_search_by_key(&id, |m| m.id).ok()?;
        self.messages.get(at)
    }

    fn read(of: &Snapshot) -> Result<Self, MailError> {
        let mut messages = Vec::new();
        for row in of.mailboxes()? {
            let all = (Uid(0), Uid(u32::MAX));
            for entry in mailbox::entries_range(&of.view, of.account, row.id, all)? {
                messages.push(listed(of, row.id, entry)?);
            }
        }
        messages.sort_unstable_by_key(|m| m.id);
        Ok(Self { fork: of.fork(), modseq: of.state().modseq, messages })
    }

    /// `false`: too much has changed.
    fn follow(&mut self, of: &Snapshot) -> Result<bool, MailError> {
        let told = mailbox::account_since(&of.view, of.account, self.modseq, CHANGES_MAX)?;
        let Some(told) = told else { return Ok(false) };
        let mut changed = BTreeMap::new();
        for id in told.emails {
            if let Some(message) = of.message(id)? {
                let mailbox = message.email.mailbox;
                changed.insert(id, listed(of, mailbox, message.entry)?);
            }
        }
        let gone: std::collections::BTreeSet<EmailId> =
            told.gone.emails.iter().map(|(id, _)| *id).collect();
        if !gone.is_empty() {
            self.messages.retain(|m| !gone.contains(&m.id));
        }
        for message in &mut self.messages {
            if let Some(new) = changed.remove(&message.id) {
                *message = new;
            }
        }
        // What is left is new, and so are its ids.
        self.messages.extend(changed.into_values());
        self.messages.sort_by_key(|m| m.id);
        self.modseq = of.state().modseq;
        Ok(true)
    }
}

fn listed(of: &Snapshot, mailbox: MailboxId, entry: Entry) -> Result<Listed, MailError> {
    Ok(Listed {
        id: entry.email,
        thread: mailbox::thread_of(&of.view, of.account, entry.email)?,
        mailbox,
        received: entry.internal_date,
        size: entry.size,
        flags: entry.flags,
    })
}

/// The listings that are held.
#[derive(Default)]
pub(super) struct Listings(Mutex<Held>);

#[derive(Default)]
struct Held {
    by_account: HashMap<(TenantId, AccountId), (u64, Arc<Listing>)>,
    uses: u64,
}

impl Listings {
    pub(super) fn get(&self, of: &Snapshot) -> Result<Arc<Listing>, MailError> {
        let key = (of.tenant, of.account);
        let known = self.lock().find(key);
        let (fork, modseq) = (of.fork(), of.state().modseq);
        let listing = match known {
            Some(known) if known.fork == fork && known.modseq == modseq => return Ok(known),
            // An older snapshot than the one that is held: it is read for this once.
            Some(known) if known.fork == fork && known.modseq > modseq => {
                return Listing::read(of).map(Arc::new);
            }
            Some(mut known) if known.fork == fork => {
                if Arc::make_mut(&mut known).follow(of)? {
                    known
                } else {
                    Arc::new(Listing::read(of)?)
                }
            }
            _ => Arc::new(Listing::read(of)?),
        };
        self.lock().keep(key, &listing);
        Ok(listing)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn find(&mut self, key: (TenantId, AccountId)) -> Option<Arc<Listing>> {
        self.uses = self.uses.wrapping_add(1);
        let uses = self.uses;
        self.by_account.get_mut(&key).map(|(used, listing)| {
            *used = uses;
            Arc::clone(listing)
        })
    }

    fn keep(&mut self, key: (TenantId, AccountId), listing: &Arc<Listing>) {
        let newer = |(_, held): &(u64, Arc<Listing>)| {
            held.fork == listing.fork && held.modseq > listing.modseq
        };
        if self.by_account.get(&key).is_some_and(newer) {
            return;
        }
        self.by_account.insert(key, (self.uses, Arc::clone(listing)));
        let mut held: usize = self.by_account.values().map(|(_, l)| l.messages.len()).sum();
        while held > MESSAGES_MAX && self.by_account.len() > 1 {
            let oldest = self
                .by_account
                .iter()
                .filter(|(k, _)| **k != key)
                .min_by_key(|(_, (used, _))| *used);
            let Some((oldest, len)) = oldest.map(|(k, (_, l))| (*k, l.messages.len())) else {
                return;
            };
            self.by_account.remove(&oldest);
            held = held.saturating_sub(len);
        }
    }
}
