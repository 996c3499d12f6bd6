//! Mailboxes and messages in use: what SMTP, IMAP and later JMAP ask for.
//!
//! The rules are [`understudy_proto::mailbox`]; this room adds bodies, splits long commands into
//! changes of bounded size, and waits: a delivery returns at commit, everything after which the same
//! session may look returns once it is visible. Absent: protocols, and memory of what sessions have
//! seen.

mod error;
mod ingest;
mod mailbox;
mod message;
mod outbox;

use crate::directory::Login;
use crate::store::{PrimaryLease, Store, WriteError};
pub use error::{Class, MailError};
pub use ingest::{Envelope, Ingest, Staged};
pub use mailbox::Changes;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use understudy_proto::id::TenantId;
use understudy_proto::mailbox::MailboxRefusal;
use understudy_proto::rule::Command;
use understudy_proto::time::UnixMs;

/// All tenants' mail. Cheap to clone.
#[derive(Clone)]
pub struct Mail {
    store: Store,
    /// Transactions that were on their way when the last primary died; see [`Mail::remember`].
    repeats: Arc<Mutex<HashMap<[u8; 16], UnixMs>>>,
}

impl Mail {
    /// The mail that lies in `store`.
    #[must_use]
    pub fn new(store: Store) -> Self {
        Self { store, repeats: Arc::default() }
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
        self.store.applied(tenant, written.lsn).await?;
        Ok(written.answer)
    }
}

impl From<WriteError<MailboxRefusal>> for MailError {
    fn from(e: WriteError<MailboxRefusal>) -> Self {
        match e {
            WriteError::Refused(why) => Self::Refused(why),
            other => Self::NotWritten(other.to_string()),
        }
    }
}
