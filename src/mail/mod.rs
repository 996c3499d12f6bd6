//! Mailboxes and messages in use: what SMTP, IMAP and later JMAP ask for.
//!
//! The rules are [`understudy_proto::mailbox`]; this room adds bodies, splits long commands into
//! changes of bounded size, and waits: a delivery returns at commit, everything after which the same
//! session may look returns once it is visible. Absent: protocols, and memory of what sessions have
//! seen.

mod account;
mod away;
mod error;
mod ingest;
mod listing;
mod mailbox;
mod message;
mod objects;
mod outbox;
mod repeats;
mod search;

use crate::base::task;
use crate::directory::Login;
use crate::store::{PrimaryLease, Store, WriteError};
pub use account::{Message, Snapshot};
pub use error::{Class, MailError};
pub use ingest::{Envelope, Ingest, Staged};
use listing::Listings;
pub use listing::{Listed, Listing};
pub use mailbox::Changes;
pub use objects::{NewUpload, ObjectError, ObjectsFound, Submission};
pub use outbox::{Claim, NotNow};
use repeats::Repeats;
pub use search::{Field, Found, Indexer, Leaf, Snippet};
use std::sync::Arc;
use understudy_proto::id::{Lsn, TenantId};
use understudy_proto::mailbox::{MailboxRefusal, MailboxRules};
use understudy_proto::record::Kind;
use understudy_proto::rule::Command;

/// How many of the log's last records are looked through at a promotion.
/// The unanswered ones are among the very last; bodies count, so this bounds the bytes, too.
const REMEMBERED_RECORDS: u64 = 2_000;

/// All tenants' mail. Cheap to clone.
#[derive(Clone)]
pub struct Mail {
    store: Store,
    repeats: Arc<Repeats>,
    search: Arc<search::Search>,
    listings: Arc<Listings>,
    outbox: Arc<outbox::Outbox>,
}

impl Mail {
    /// The mail that lies in `store`.
    #[must_use]
    pub fn new(store: Store) -> Self {
        let search = Arc::new(search::Search::new());
        let (repeats, listings, outbox) = Default::default();
        Self { store, repeats, search, listings, outbox }
    }

    /// This node becomes primary and promotes the log up to `tail`. Returns at once; deliveries wait
    /// until the last records are looked through for transactions that may be repeated. Committed
    /// ones count, too: the old primary may have died between the commit and the answer.
    pub fn promoted(&self, tail: Lsn) {
        self.repeats.begin();
        let mail = self.clone();
        // The handle is not needed: deliveries wait for the outcome.
        drop(task::thread("repeats", move || {
            let after = Lsn(tail.0.saturating_sub(REMEMBERED_RECORDS));
            let mut found = Vec::new();
            let looked = mail.store.changes(Kind::MAILBOX, after, tail, |_, change| {
                found.extend(MailboxRules::transaction(change));
            });
            if let Err(e) = looked {
                log::warn!(err:% = e; "not all repeated transactions can be recognised");
            }
            mail.repeats.remember(found);
        }));
    }

    /// Wakes at each visible change of the account.
    #[must_use]
    pub fn watch(&self, login: &Login) -> tokio::sync::watch::Receiver<u64> {
        self.store.watch(login.tenant, u64::from(login.account.0))
    }

    /// One change, committed and visible when it returns.
    async fn write<C>(
        &self,
        lease: &PrimaryLease,
        tenant: TenantId,
        command: C,
    ) -> Result<C::Answer, MailError>
    where
        C: Command<Refusal = MailboxRefusal>,
    {
        let written = self.store.write(lease, tenant, command).await?;
        // It is committed: whatever fails now, "it was not done" would be wrong.
        let shown = self.store.applied(tenant, written.lsn).await;
        shown.map_err(|e| MailError::Unknown(e.to_string()))?;
        Ok(written.answer)
    }
}

impl From<WriteError<MailboxRefusal>> for MailError {
    fn from(e: WriteError<MailboxRefusal>) -> Self {
        match e {
            WriteError::Refused(why) => Self::Refused(why),
            unknown @ WriteError::Unknown => Self::Unknown(unknown.to_string()),
            other => Self::NotWritten(other.to_string()),
        }
    }
}
