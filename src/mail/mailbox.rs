//! Mailboxes: what is in them, what changed, and changing them.

use super::{Mail, MailError};
use crate::directory::Login;
use crate::store::{PrimaryLease, ReadView};
use understudy_proto::id::{MailboxId, ModSeq, Uid};
use understudy_proto::mailbox::{
    self, Copy, CreateMailbox, DeleteMailbox, Entry, Expunge, Flags, FlagsOp, INBOX, Mailbox,
    MailboxRefusal, RenameMailbox, Role, SetFlags, Subscribe, UIDS_PER_CHANGE_MAX,
};

/// How often a mailbox is emptied again when mail arrives while it is being deleted.
const EMPTY_TRIES_MAX: usize = 16;
/// Most messages that one change copies: each brings a row with its whole summary.
const COPIES_PER_CHANGE_MAX: usize = 100;
const ALL: (Uid, Uid) = (Uid(0), Uid(u32::MAX));

/// What changed in a mailbox since a modseq.
#[derive(Clone, Debug)]
pub struct Changes {
    /// The mailbox as it is now.
    pub mailbox: Mailbox,
    /// Messages that came or changed and are there, ascending.
    pub changed: Vec<Entry>,
    /// Messages that went, ascending.
    pub expunged: Vec<Uid>,
}

/// The account's count of changes in `view`.
fn now(view: &ReadView, login: &Login) -> Result<ModSeq, MailError> {
    Ok(mailbox::account_state(view, login.account)?.ok_or(MailboxRefusal::NoSuchAccount)?.modseq)
}

impl Mail {
    /// All mailboxes of the account, by name.
    pub fn mailboxes(&self, login: &Login) -> Result<Vec<Mailbox>, MailError> {
        let view = self.store.read(login.tenant)?;
        let mut all = mailbox::mailboxes(&view, login.account)?;
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }

    /// A mailbox and all its messages, ascending by UID, as of one moment.
    pub fn entries(
        &self,
        login: &Login,
        id: MailboxId,
    ) -> Result<(Mailbox, Vec<Entry>), MailError> {
        let view = self.store.read(login.tenant)?;
        let mut row =
            mailbox::mailbox(&view, login.account, id)?.ok_or(MailboxRefusal::NoSuchMailbox)?;
        let entries = mailbox::entries_range(&view, login.account, id, ALL)?;
        // What is known is known as of the account's count: the next look begins there.
        row.modseq = now(&view, login)?;
        Ok((row, entries))
    }

    /// What changed in a mailbox after `since`, as of one moment.
    pub fn changes(
        &self,
        login: &Login,
        id: MailboxId,
        since: ModSeq,
    ) -> Result<Changes, MailError> {
        let view = self.store.read(login.tenant)?;
        let mut mailbox =
            mailbox::mailbox(&view, login.account, id)?.ok_or(MailboxRefusal::NoSuchMailbox)?;
        let changed_at = std::mem::replace(&mut mailbox.modseq, now(&view, login)?);
        if changed_at <= since {
            return Ok(Changes { mailbox, changed: Vec::new(), expunged: Vec::new() });
        }
        let touched = mailbox::touched_since(&view, login.account, id, since)?;
        let mut changed = Vec::with_capacity(touched.changed.len());
        for uid in touched.changed {
            changed.extend(mailbox::entry(&view, login.account, id, uid)?);
        }
        Ok(Changes { mailbox, changed, expunged: touched.expunged })
    }

    /// RFC 9051 6.4.6: changes flags. Gives the messages that are there, as they are now.
    pub async fn flags(
        &self,
        lease: &PrimaryLease,
        login: &Login,
        mailbox: MailboxId,
        uids: &[Uid],
        op: FlagsOp,
        flags: Flags,
    ) -> Result<Vec<Entry>, MailError> {
        let mut entries = Vec::with_capacity(uids.len());
        for uids in uids.chunks(UIDS_PER_CHANGE_MAX) {
            let (uids, flags) = (uids.to_vec(), flags.clone());
            let command = SetFlags { account: login.account, mailbox, uids, op, flags };
            entries.extend(self.write(lease, login.tenant, command).await?);
        }
        Ok(entries)
    }

    /// RFC 9051 6.4.7: copies messages. Gives old and new UIDs.
    pub async fn copy(
        &self,
        lease: &PrimaryLease,
        login: &Login,
        from: MailboxId,
        uids: &[Uid],
        to: MailboxId,
    ) -> Result<Vec<(Uid, Uid)>, MailError> {
        let view = self.store.read(login.tenant)?;
        let quota = mailbox::quota(&view, login.account)?;
        if quota.limit.is_some() {
            // RFC 9051 6.4.7: all of them or none, and they are more than one change.
            let mut size = 0_u64;
            for uid in uids {
                let entry = mailbox::entry(&view, login.account, from, *uid)?;
                size = size.saturating_add(entry.map_or(0, |e| e.size));
            }
            if !quota.has_room_for(size) {
                return Err(MailboxRefusal::OverQuota.into());
            }
        }
        drop(view);
        self.copy_or_move(lease, login, from, uids, to, false).await
    }

    /// RFC 6851: moves messages. Gives old and new UIDs.
    pub async fn mv(
        &self,
        lease: &PrimaryLease,
        login: &Login,
        from: MailboxId,
        uids: &[Uid],
        to: MailboxId,
    ) -> Result<Vec<(Uid, Uid)>, MailError> {
        self.copy_or_move(lease, login, from, uids, to, true).await
    }

    async fn copy_or_move(
        &self,
        lease: &PrimaryLease,
        login: &Login,
        from: MailboxId,
        uids: &[Uid],
        to: MailboxId,
        remove: bool,
    ) -> Result<Vec<(Uid, Uid)>, MailError> {
        let mut pairs = Vec::with_capacity(uids.len());
        for uids in uids.chunks(COPIES_PER_CHANGE_MAX) {
            let command = Copy { account: login.account, from, uids: uids.to_vec(), to, remove };
            pairs.extend(self.write(lease, login.tenant, command).await?);
        }
        Ok(pairs)
    }

    /// RFC 9051 6.4.3 and 6.4.9: messages with `\Deleted` go for good; all, or those in `only`.
    pub async fn expunge(
        &self,
        lease: &PrimaryLease,
        login: &Login,
        id: MailboxId,
        only: Option<&[Uid]>,
    ) -> Result<Vec<Uid>, MailError> {
        let uids: Vec<Uid> = if let Some(only) = only {
            only.to_vec()
        } else {
            let (_, entries) = self.entries(login, id)?;
            entries.iter().filter(|e| e.flags.has(Flags::DELETED)).map(|e| e.uid).collect()
        };
        let mut gone = Vec::with_capacity(uids.len());
        for uids in uids.chunks(UIDS_PER_CHANGE_MAX) {
            let command = Expunge { account: login.account, mailbox: id, uids: uids.to_vec() };
            gone.extend(self.write(lease, login.tenant, command).await?);
        }
        Ok(gone)
    }

    /// RFC 9051 6.3.4: creates a mailbox and the levels above it.
    pub async fn create(
        &self,
        lease: &PrimaryLease,
        login: &Login,
        name: &str,
        role: Option<Role>,
    ) -> Result<MailboxId, MailError> {
        let command = CreateMailbox { account: login.account, name: name.to_owned(), role };
        self.write(lease, login.tenant, command).await
    }

    /// RFC 9051 6.3.6: renames a mailbox and those below it. INBOX stays, and gives what is in it.
    pub async fn rename(
        &self,
        lease: &PrimaryLease,
        login: &Login,
        mailbox: MailboxId,
        name: &str,
    ) -> Result<(), MailError> {
        if mailbox == INBOX {
            let new = self.create(lease, login, name, None).await?;
            let (_, entries) = self.entries(login, INBOX)?;
            let uids: Vec<Uid> = entries.iter().map(|e| e.uid).collect();
            self.mv(lease, login, INBOX, &uids, new).await?;
            return Ok(());
        }
        let command = RenameMailbox { account: login.account, mailbox, name: name.to_owned() };
        self.write(lease, login.tenant, command).await
    }

    /// RFC 9051 6.3.5: deletes a mailbox with all that is in it; those below it stay.
    pub async fn delete(
        &self,
        lease: &PrimaryLease,
        login: &Login,
        mailbox: MailboxId,
    ) -> Result<(), MailError> {
        if mailbox == INBOX {
            return Err(MailboxRefusal::IsInbox.into());
        }
        for _ in 0..EMPTY_TRIES_MAX {
            let (_, entries) = self.entries(login, mailbox)?;
            let uids: Vec<Uid> = entries.iter().map(|e| e.uid).collect();
            let deleted = Flags::system(Flags::DELETED);
            self.flags(lease, login, mailbox, &uids, FlagsOp::Add, deleted).await?;
            self.expunge(lease, login, mailbox, Some(&uids)).await?;
            let command = DeleteMailbox { account: login.account, mailbox };
            match self.write(lease, login.tenant, command).await {
                Err(MailError::Refused(MailboxRefusal::NotEmpty)) => {}
                done => return done,
            }
        }
        Err(MailboxRefusal::NotEmpty.into())
    }

    /// RFC 9051 6.3.7 and 6.3.8.
    pub async fn subscribe(
        &self,
        lease: &PrimaryLease,
        login: &Login,
        mailbox: MailboxId,
        subscribed: bool,
    ) -> Result<(), MailError> {
        let command = Subscribe { account: login.account, mailbox, subscribed };
        self.write(lease, login.tenant, command).await
    }
}
