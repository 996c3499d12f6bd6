//! One account at one moment: what JMAP asks for, by ids that are the account's own.
//!
//! Invariant: all answers of a [`Snapshot`] are of the same moment, so a state and what is listed under it
//! belong together. Deliberately absent: JSON (src/web/jmap).

use super::listing::Listing;
use super::{Mail, MailError};
use crate::directory::Login;
use crate::store::ReadView;
use std::sync::Arc;
use understudy_proto::id::{AccountId, EmailId, Lsn, MailboxId, ModSeq, TenantId, ThreadId, Uid};
use understudy_proto::mailbox::{
    self, AccountState, Email, Entry, Mailbox, MailboxRefusal, Quota, Since,
};

/// Most commands whose changes are told one by one; whoever is further behind looks at everything anew.
const CHANGES_MAX: usize = 20_000;

/// An account as one moment left it.
pub struct Snapshot {
    pub(super) view: ReadView,
    pub(super) tenant: TenantId,
    pub(super) account: AccountId,
    mail: Mail,
    state: AccountState,
    fork: Lsn,
}

/// A message with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its id.
    pub id: EmailId,
    /// What is known of it.
    pub email: Email,
    /// Its place: flags, dates.
    pub entry: Entry,
    /// Its conversation.
    pub thread: ThreadId,
}

impl Mail {
    /// The account as it is now.
    pub fn snapshot(&self, login: &Login) -> Result<Snapshot, MailError> {
        let view = self.store.read(login.tenant)?;
        let (tenant, account) = (login.tenant, login.account);
        let state = mailbox::account_state(&view, account)?.ok_or(MailboxRefusal::NoSuchAccount)?;
        let fork = mailbox::fork(&view, account)?;
        Ok(Snapshot { view, tenant, account, mail: self.clone(), state, fork })
    }

    /// The message at a place.
    pub fn message_at(
        &self,
        login: &Login,
        mailbox: MailboxId,
        uid: Uid,
    ) -> Result<Option<Message>, MailError> {
        let account = self.snapshot(login)?;
        match mailbox::entry(&account.view, account.account, mailbox, uid)? {
            Some(entry) => account.message(entry.email),
            None => Ok(None),
        }
    }
}

impl Snapshot {
    /// The account's counters.
    #[must_use]
    pub fn state(&self) -> AccountState {
        self.state
    }

    /// Which history this is.
    #[must_use]
    pub fn fork(&self) -> Lsn {
        self.fork
    }

    /// What the account's messages take and may take.
    pub fn quota(&self) -> Result<Quota, MailError> {
        Ok(mailbox::quota(&self.view, self.account)?)
    }

    /// All mailboxes, by id.
    pub fn mailboxes(&self) -> Result<Vec<Mailbox>, MailError> {
        Ok(mailbox::mailboxes(&self.view, self.account)?)
    }

    /// One mailbox.
    pub fn mailbox(&self, id: MailboxId) -> Result<Option<Mailbox>, MailError> {
        Ok(mailbox::mailbox(&self.view, self.account, id)?)
    }

    /// One message.
    pub fn message(&self, id: EmailId) -> Result<Option<Message>, MailError> {
        let Some(email) = self.email(id)? else { return Ok(None) };
        let entry = mailbox::entry(&self.view, self.account, email.mailbox, email.uid)?;
        let Some(entry) = entry else { return Ok(None) };
        let thread = mailbox::thread_of(&self.view, self.account, id)?;
        Ok(Some(Message { id, email, entry, thread }))
    }

    /// What is known of a message.
    pub fn email(&self, id: EmailId) -> Result<Option<Email>, MailError> {
        Ok(mailbox::email(&self.view, self.account, id)?)
    }

    /// The messages of a conversation; none where there is no such one.
    pub fn thread(&self, id: ThreadId) -> Result<Vec<EmailId>, MailError> {
        Ok(mailbox::thread_emails(&self.view, self.account, id)?)
    }

    /// What changed since; `None` where that is too much to tell.
    pub fn since(&self, modseq: ModSeq) -> Result<Option<Since>, MailError> {
        Ok(mailbox::account_since(&self.view, self.account, modseq, CHANGES_MAX)?)
    }

    /// Every message of the account, in memory. The first time after a start it is read.
    pub fn listing(&self) -> Result<Arc<Listing>, MailError> {
        self.mail.listings.get(self)
    }
}
