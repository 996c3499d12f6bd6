//! A message comes in: streamed into the log, scanned on the way, never held whole.
//!
//! [`Mail::begin`] → [`Ingest::write`] … → [`Ingest::finish`] → [`Mail::deliver`] or
//! [`Mail::append`]. Dropping an `Ingest` or a `Staged` abandons the upload; nothing remains of it.

use super::{Mail, MailError};
use crate::directory::Login;
use crate::store::{BodyWriter, PrimaryLease};
use std::collections::{BTreeMap, BTreeSet};
use understudy_proto::id::{AccountId, MailboxId, TenantId, Uid};
use understudy_proto::mailbox::{
    Append, Deliver, Flags, INBOX, MailboxRefusal, RECIPIENTS_PER_CHANGE_MAX, Recipient,
};
use understudy_proto::message::{Scanner, Summary};
use understudy_proto::queue::NewItem;
use understudy_proto::time::UnixMs;

/// Most remote recipients of one queue item: with their addresses a change stays within a record.
const REMOTE_PER_CHANGE_MAX: usize = 50;

/// Who sends what to whom.
#[derive(Clone, Debug, Default)]
pub struct Envelope {
    /// Reverse-path; empty for the null reverse-path.
    pub from: String,
    /// Recipients here.
    pub local: Vec<(TenantId, AccountId)>,
    /// Recipients elsewhere; only with a sender.
    pub remote: Vec<String>,
    /// Who submitted it; `None` for mail from outside.
    pub sender: Option<Login>,
}

/// A message on its way in.
pub struct Ingest {
    bodies: Vec<(TenantId, BodyWriter)>,
    scanner: Box<Scanner>,
    /// Hash of the content without the trace that we add: the same when it is sent again.
    content: blake3::Hasher,
}

/// A message that is in, but nobody's yet.
pub struct Staged {
    bodies: Vec<(TenantId, BodyWriter)>,
    summary: Summary,
    content: [u8; 32],
}

impl Mail {
    /// Begins a message for accounts (or queues) of `tenants`.
    pub async fn begin(
        &self,
        lease: &PrimaryLease,
        tenants: &[TenantId],
    ) -> Result<Ingest, MailError> {
        let mut bodies = Vec::with_capacity(tenants.len());
        for tenant in tenants.iter().copied().collect::<BTreeSet<_>>() {
            bodies.push((tenant, self.store.begin_body(lease, tenant).await?));
        }
        Ok(Ingest { bodies, scanner: Box::new(Scanner::new()), content: blake3::Hasher::new() })
    }

    /// Delivers a message: to the INBOX of each local recipient and into the queue for the others.
    /// Returns at commit: durable on every insync node, so the answer may be 250. A transaction that
    /// an earlier primary took without being able to say so is not taken twice.
    pub async fn deliver(
        &self,
        lease: &PrimaryLease,
        envelope: &Envelope,
        staged: Staged,
    ) -> Result<(), MailError> {
        let Staged { bodies, summary, content } = staged;
        let mut local: BTreeMap<TenantId, BTreeSet<AccountId>> = BTreeMap::new();
        for &(tenant, account) in &envelope.local {
            local.entry(tenant).or_default().insert(account);
        }
        let sender = envelope.sender.as_ref().filter(|_| !envelope.remote.is_empty());
        // Should a later change fail, the sender tries again: these are not taken twice.
        let mut committed: Vec<[u8; 16]> = Vec::new();
        for (tenant, writer) in bodies {
            let accounts: Vec<_> = local.remove(&tenant).unwrap_or_default().into_iter().collect();
            let outbound = sender.filter(|login| login.tenant == tenant).map(|login| NewItem {
                from: envelope.from.clone(),
                to: envelope.remote.clone(),
                account: Some(login.account),
            });
            let remote =
                outbound.as_ref().map_or(0, |o| o.to.len().div_ceil(REMOTE_PER_CHANGE_MAX));
            let chunks = accounts.chunks(RECIPIENTS_PER_CHANGE_MAX).count().max(remote).max(1);
            let mut commands = Vec::with_capacity(chunks);
            for i in 0..chunks {
                let part = accounts.chunks(RECIPIENTS_PER_CHANGE_MAX).nth(i).unwrap_or_default();
                let outbound = outbound.as_ref().and_then(|all| {
                    let to = all.to.chunks(REMOTE_PER_CHANGE_MAX).nth(i)?.to_vec();
                    Some(NewItem { to, ..all.clone() })
                });
                let id = transaction(tenant, &envelope.from, part, outbound.as_ref(), &content);
                commands.push((id, part.to_vec(), outbound));
            }
            self.repeats.loaded().await;
            commands.retain(|(id, ..)| !self.repeats.contains(*id));
            if commands.is_empty() {
                continue; // Dropping the writer abandons the upload.
            }
            let body = match writer.finish().await {
                Ok(body) => body,
                Err(e) => {
                    committed.iter().for_each(|id| self.repeats.keep(*id));
                    return Err(e.into());
                }
            };
            let last = commands.len().saturating_sub(1);
            for (i, (transaction, accounts, outbound)) in commands.into_iter().enumerate() {
                let to = accounts
                    .into_iter()
                    .map(|account| Recipient { account, mailbox: INBOX })
                    .collect();
                let command = Deliver {
                    body: body.clone(),
                    summary: summary.clone(),
                    transaction,
                    to,
                    outbound,
                    flags: Flags::default(),
                    last: i == last,
                };
                if let Err(e) = self.store.write(lease, tenant, command).await {
                    committed.iter().for_each(|id| self.repeats.keep(*id));
                    return Err(e.into());
                }
                committed.push(transaction);
            }
        }
        if sender.is_some() {
            self.queue_again();
        }
        Ok(())
    }

    /// RFC 9051 6.3.12: puts a message into a mailbox.
    pub async fn append(
        &self,
        lease: &PrimaryLease,
        login: &Login,
        mailbox: MailboxId,
        staged: Staged,
        flags: Flags,
        internal_date: Option<UnixMs>,
    ) -> Result<Uid, MailError> {
        let Staged { bodies, summary, .. } = staged;
        for (tenant, writer) in bodies {
            if tenant == login.tenant {
                let body = writer.finish().await?;
                let account = login.account;
                let command = Append { account, mailbox, body, summary, flags, internal_date };
                return self.write(lease, tenant, command).await;
            }
        }
        Err(MailboxRefusal::NoSuchAccount.into())
    }
}

impl Ingest {
    /// Adds trace lines of our own: part of the message, not of its identity.
    pub async fn trace(&mut self, bytes: &[u8]) -> Result<(), MailError> {
        self.scanner.feed(bytes);
        for (_, body) in &mut self.bodies {
            body.write(bytes).await?;
        }
        Ok(())
    }

    /// Adds content, in pieces of any length. Waits where the log's credit is used up.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), MailError> {
        self.content.update(bytes);
        self.trace(bytes).await
    }

    /// All content is here.
    #[must_use]
    pub fn finish(self) -> Staged {
        Staged {
            bodies: self.bodies,
            summary: self.scanner.finish(),
            content: self.content.finalize().into(),
        }
    }
}

/// The identity of one change's share of a transaction.
fn transaction(
    tenant: TenantId,
    from: &str,
    accounts: &[AccountId],
    outbound: Option<&NewItem>,
    content: &[u8; 32],
) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&tenant.0.to_be_bytes());
    hasher.update(from.as_bytes()).update(&[0]);
    for account in accounts {
        hasher.update(&account.0.to_be_bytes());
    }
    let mut remote: Vec<&str> =
        outbound.map(|o| o.to.iter().map(String::as_str).collect()).unwrap_or_default();
    remote.sort_unstable();
    for to in remote {
        hasher.update(&[0]).update(to.as_bytes());
    }
    hasher.update(&[0]).update(content);
    let mut id = [0; 16];
    hasher.finalize_xof().fill(&mut id);
    id
}
