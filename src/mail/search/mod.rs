//! Full text: which messages of an account hold what somebody looks for.
//!
//! ```text
//! view ──► indexer (a thread, low priority) ──► index of the tenant (tantivy, data_dir/search/<tenant>)
//!   │                                              │ marks: how far
//!   └──────── what is newer: read directly ────────┴──► found
//! ```
//!
//! Invariants: the index is a cache, and the view alone says what is there; what the index does not
//! hold yet is looked through within a bound, else the answer says `partial`; an index that is missing,
//! damaged or of another format makes no error. Absent: order, ranking, what IMAP SEARCH needs.

mod document;
mod index;
mod indexer;
mod shelf;
mod snippet;
#[cfg(test)]
mod tests;
mod words;

pub use indexer::Indexer;
pub use snippet::Snippet;

use self::document::Document;
use self::index::{IndexError, Snapshot, guarded};
use self::shelf::Shelves;
use self::words::Query;
use super::{Mail, MailError};
use crate::base::{clock, metric};
use crate::directory::Login;
use crate::store::{ReadView, Store};
use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use understudy_proto::id::{AccountId, EmailId, MailboxId, ModSeq, TenantId, Uid};
use understudy_proto::mailbox::{self, Email, MailboxRefusal, PlacesTouched};
use understudy_proto::time::Mono;

/// How long one search reads messages that the index does not hold.
const DIRECT_TIME_MAX: Duration = Duration::from_millis(150);
/// Most places at which something changed since the index was written that one search looks at.
const TOUCHED_MAX: usize = 20_000;
/// Message ids that are looked at together where there is no index.
const BLOCK: u64 = 100;

/// Where a message lies. What lies at a place never changes, and no place is given twice.
type Place = (MailboxId, Uid);

/// What of a message is told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    From,
    To,
    Cc,
    Bcc,
    Subject,
    /// Texts, names of attachments, and who and what messages in it are from and about.
    Body,
    /// Its own id and those that it refers to.
    MessageId,
}

const FIELDS: usize = 7;
const PARTS: [Part; FIELDS] =
    [Part::From, Part::To, Part::Cc, Part::Bcc, Part::Subject, Part::Body, Part::MessageId];

impl Part {
    fn name(self) -> &'static str {
        match self {
            Self::From => "from",
            Self::To => "to",
            Self::Cc => "cc",
            Self::Bcc => "bcc",
            Self::Subject => "subject",
            Self::Body => "body",
            Self::MessageId => "id",
        }
    }

    /// Names and addresses have no forms.
    fn is_stemmed(self) -> bool {
        matches!(self, Self::Subject | Self::Body)
    }
}

/// RFC 8621 4.4.1: where a text is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// From, To, Cc, Bcc, Subject and body; each word may be in another of them.
    Text,
    /// Names and addresses in From.
    From,
    /// Names and addresses in To.
    To,
    /// Names and addresses in Cc.
    Cc,
    /// Names and addresses in Bcc.
    Bcc,
    /// The subject.
    Subject,
    /// Text parts, and the names of attachments.
    Body,
    /// Message-ID, In-Reply-To and References.
    MessageId,
}

impl Field {
    fn parts(self) -> &'static [Part] {
        match self {
            Self::Text => &[Part::From, Part::To, Part::Cc, Part::Bcc, Part::Subject, Part::Body],
            Self::From => &[Part::From],
            Self::To => &[Part::To],
            Self::Cc => &[Part::Cc],
            Self::Bcc => &[Part::Bcc],
            Self::Subject => &[Part::Subject],
            Self::Body => &[Part::Body],
            Self::MessageId => &[Part::MessageId],
        }
    }
}

/// One condition of a filter: `text` is in `field`, with the meaning that docs/design/search.md gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// Where.
    pub field: Field,
    /// What, as it was typed.
    pub text: String,
}

/// What a search found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Per leaf, in order, its messages, ascending. All were there in the view that was read.
    pub leaves: Vec<Vec<EmailId>>,
    /// Not everything could be looked through in time: there may be more.
    pub partial: bool,
}

/// What all searches share.
pub(super) struct Search {
    /// Set once an indexer runs: without one, everything is looked through directly.
    shelves: OnceLock<Arc<Shelves>>,
}

impl Search {
    pub(super) fn new() -> Self {
        Self { shelves: OnceLock::new() }
    }

    fn snapshot(&self, tenant: TenantId) -> Option<Arc<Snapshot>> {
        self.shelves.get()?.get(tenant).snapshot()
    }

    /// The index of the tenant gave an error: it is looked at closely before it is used again.
    fn suspect(&self, tenant: TenantId, e: &IndexError) {
        log::warn!(tenant:% = tenant, err:% = e; "a search goes on without the index");
        if let Some(shelves) = self.shelves.get() {
            shelves.get(tenant).suspect();
        }
    }
}

impl Mail {
    /// Finds the account's messages for each of `leaves`. Blocks: up to about 150 ms where much is not
    /// indexed yet, a few otherwise. A text without a word in it finds nothing.
    ///
    /// # Errors
    /// There is no such account, or its rows cannot be read.
    pub fn search(&self, login: &Login, leaves: &[Leaf]) -> Result<Found, MailError> {
        let queries: Vec<_> =
            leaves.iter().map(|leaf| (leaf.field.parts(), Query::parse(&leaf.text))).collect();
        // Before the view: what it holds is then never newer.
        let snapshot = self.search.snapshot(login.tenant);
        let end = clock::mono().after(DIRECT_TIME_MAX);
        let mut found = None;
        if let Some(snapshot) = snapshot {
            let looked = guarded(|| Looking::new(self, login, &queries, end)?.indexed(&snapshot));
            match looked {
                Ok(done) => found = Some(done),
                Err(IndexError::Mail(e)) => return Err(e),
                Err(e) => self.search.suspect(login.tenant, &e),
            }
        }
        let mut found = match found {
            Some(found) => found,
            None => Looking::new(self, login, &queries, end)?.unindexed()?,
        };
        for emails in &mut found.leaves {
            emails.sort_unstable();
            emails.dedup();
        }
        if found.partial {
            metric::SEARCHES_PARTIAL.inc();
        }
        Ok(found)
    }
}

/// Reads what of a message can be found. What its bytes do not give, its row does.
fn document(store: &Store, tenant: TenantId, email: &Email) -> Document {
    let read = Document::read(email, |range| store.read_body(tenant, &email.body, range));
    read.unwrap_or_else(|e| {
        log::warn!(tenant:% = tenant, err:% = e; "a message cannot be read for the search");
        Document::of_row(email)
    })
}

/// One search under way.
struct Looking<'a> {
    store: &'a Store,
    tenant: TenantId,
    account: AccountId,
    queries: &'a [(&'static [Part], Query)],
    view: ReadView,
    state: mailbox::AccountState,
    /// When reading messages ends.
    end: Mono,
    found: Found,
}

impl<'a> Looking<'a> {
    fn new(
        mail: &'a Mail,
        login: &Login,
        queries: &'a [(&'static [Part], Query)],
        end: Mono,
    ) -> Result<Self, MailError> {
        let view = mail.store.read(login.tenant)?;
        let state =
            mailbox::account_state(&view, login.account)?.ok_or(MailboxRefusal::NoSuchAccount)?;
        let found = Found { leaves: vec![Vec::new(); queries.len()], partial: false };
        let (store, tenant, account) = (&mail.store, login.tenant, login.account);
        Ok(Self { store, tenant, account, queries, view, state, end, found })
    }

    /// By the index, and by reading what it does not hold.
    fn indexed(mut self, snapshot: &Snapshot) -> Result<Found, IndexError> {
        let Some(mark) = snapshot.marks.get(&self.account).copied() else {
            return Ok(self.unindexed()?);
        };
        let touched = self.touched(mark.modseq)?;
        // Until the log is applied after a crash, the view is behind the index.
        let known = touched.all && mark.modseq <= self.state.modseq;
        self.found.partial |= !touched.all;
        let (mut gone, mut fresh) = (BTreeSet::new(), Vec::new());
        for place in touched.places {
            match self.email_at(place)? {
                None => drop(gone.insert(place)),
                Some(email) if email >= mark.below && !snapshot.has(self.account, place)? => {
                    fresh.push(email);
                }
                Some(_) => {}
            }
        }
        let queries = self.queries;
        for (at, (parts, query)) in queries.iter().enumerate() {
            for (place, email) in snapshot.find(self.account, parts, query)? {
                let there = if known {
                    !gone.contains(&place)
                } else {
                    self.email_at(place)? == Some(email)
                };
                if there {
                    self.hit(at, email);
                }
            }
        }
        fresh.sort_unstable();
        for email in fresh.into_iter().rev() {
            if clock::mono() >= self.end {
                self.found.partial = true;
                break;
            }
            if let Some(row) = self.row(email)? {
                self.read(email, &row);
            }
        }
        Ok(self.below(mark.below)?)
    }

    /// By reading alone.
    fn unindexed(self) -> Result<Found, MailError> {
        let end = self.state.email.next();
        self.below(end)
    }

    /// Reads the messages with ids below `end`, the newest first.
    fn below(mut self, mut end: EmailId) -> Result<Found, MailError> {
        while end.0 > 0 {
            if clock::mono() >= self.end {
                // Ids are never given twice: the last ones may all be gone.
                let none = mailbox::emails_range(&self.view, self.account, (EmailId(0), end), 1)?;
                self.found.partial |= !none.is_empty();
                break;
            }
            let first = EmailId(end.0.saturating_sub(BLOCK));
            let block = (first, end);
            let emails = mailbox::emails_range(&self.view, self.account, block, usize::MAX)?;
            for (id, row) in emails.iter().rev() {
                if clock::mono() >= self.end {
                    self.found.partial = true;
                    return Ok(self.found);
                }
                self.read(*id, row);
            }
            end = first;
        }
        Ok(self.found)
    }

    fn touched(&self, since: ModSeq) -> Result<PlacesTouched, MailError> {
        Ok(mailbox::places_touched_since(&self.view, self.account, since, TOUCHED_MAX)?)
    }

    fn email_at(&self, (mailbox, uid): Place) -> Result<Option<EmailId>, MailError> {
        Ok(mailbox::entry(&self.view, self.account, mailbox, uid)?.map(|entry| entry.email))
    }

    fn row(&self, email: EmailId) -> Result<Option<Email>, MailError> {
        Ok(mailbox::email(&self.view, self.account, email)?)
    }

    fn read(&mut self, email: EmailId, row: &Email) {
        let document = document(self.store, self.tenant, row);
        let queries = self.queries;
        for (at, (parts, query)) in queries.iter().enumerate() {
            if document.has(parts, query) {
                self.hit(at, email);
            }
        }
    }

    fn hit(&mut self, leaf: usize, email: EmailId) {
        if let Some(found) = self.found.leaves.get_mut(leaf) {
            found.push(email);
        }
    }
}
