//! One message on its way from a session into the store.

use super::Smtp;
use crate::base::{clock, secret};
use crate::directory::{Login, Resolved};
use crate::mail::{self, Class, Ingest, MailError};
use crate::store::PrimaryLease;
use log::{error, warn};
use std::net::IpAddr;
use understudy_proto::id::TenantId;
use understudy_proto::mailbox::MailboxRefusal;
use understudy_proto::smtp::{Answer, Envelope, trace};
use understudy_proto::time::Mono;

/// A message whose body is coming in.
pub(super) struct Message {
    /// Queue id: in the trace, the reply and the log.
    pub(super) id: String,
    pub(super) begun: Mono,
    pub(super) size: u64,
    envelope: mail::Envelope,
    /// `None` once storing a piece has failed.
    ingest: Option<Ingest>,
}

impl Message {
    /// Begins to store a message, its trace first. An error is what the client is answered.
    pub(super) async fn begin(
        smtp: &Smtp,
        lease: &PrimaryLease,
        envelope: &Envelope,
        login: Option<&Login>,
        peer: IpAddr,
    ) -> Result<Self, Answer> {
        let id = queue_id();
        let mut routed = mail::Envelope {
            from: envelope.from.clone(),
            sender: login.cloned(),
            ..mail::Envelope::default()
        };
        let mut tenants: Vec<TenantId> = Vec::new();
        for to in &envelope.to {
            match (smtp.resolve(to), login) {
                (Ok(Resolved::Account { tenant, account }), _) => {
                    routed.local.push((tenant, account));
                    tenants.push(tenant);
                }
                (Ok(Resolved::NotLocal), Some(login)) => {
                    routed.remote.push(to.clone());
                    tenants.push(login.tenant);
                }
                // The directory changed since RCPT: the next attempt gets the right answer there.
                (Ok(_), _) => return Err(Answer::Temporary),
                (Err(e), _) => {
                    warn!(queue_id:% = id, err:% = e; "recipient cannot be looked up");
                    return Err(Answer::Temporary);
                }
            }
        }
        let head = head(smtp, envelope, peer, &id);
        let begun = async {
            let mut ingest = smtp.0.mail.begin(lease, &tenants).await?;
            ingest.trace(&head).await?;
            Ok::<_, MailError>(ingest)
        };
        let ingest = begun.await.map_err(|e| refusal(&id, &e))?;
        let ingest = Some(ingest);
        Ok(Self { id, begun: clock::mono(), size: 0, envelope: routed, ingest })
    }

    /// Stores a piece of the body. After a failure nothing more is stored, and the commit fails.
    pub(super) async fn write(&mut self, bytes: &[u8]) {
        let Some(ingest) = &mut self.ingest else { return };
        self.size = self.size.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        if let Err(e) = ingest.write(bytes).await {
            warn!(queue_id:% = self.id, err:% = e; "body cannot be stored");
            self.ingest = None;
        }
    }

    /// Delivers it. [`Answer::Committed`] only when it is durable on every insync node.
    pub(super) async fn commit(self, smtp: &Smtp, lease: &PrimaryLease) -> Answer {
        let Some(ingest) = self.ingest else { return Answer::Temporary };
        let delivered = smtp.0.mail.deliver(lease, &self.envelope, ingest.finish());
        match delivered.await {
            Ok(()) => Answer::Committed { id: self.id },
            Err(e) => refusal(&self.id, &e),
        }
    }
}

/// In doubt temporary: the sender keeps the message and tries again.
fn refusal(id: &str, e: &MailError) -> Answer {
    match e.class() {
        // A full mailbox may be emptied: RFC 5321 4.2.2, 452.
        Class::Refused(MailboxRefusal::TooMany(_) | MailboxRefusal::OverQuota) => {
            warn!(queue_id:% = id, err:% = e; "message does not fit");
            Answer::Full
        }
        // RFC 5321 4.2.2: 452, insufficient system storage.
        Class::Full => {
            warn!(queue_id:% = id, err:% = e; "message does not fit");
            Answer::Full
        }
        Class::Refused(_) => {
            error!(queue_id:% = id, err:% = e, runbook = "mail-refused"; "message was refused");
            Answer::Temporary
        }
        Class::Temporary => {
            warn!(queue_id:% = id, err:% = e; "message cannot be stored");
            Answer::Temporary
        }
    }
}

/// RFC 5321 4.4: what we add in front. The queue takes `Return-Path:` off again for others.
fn head(smtp: &Smtp, envelope: &Envelope, peer: IpAddr, id: &str) -> Vec<u8> {
    let mut head = trace::return_path(&envelope.from);
    head.extend(trace::received(&trace::Trace {
        helo: &envelope.helo,
        peer: Some(peer),
        by: &smtp.0.hostname,
        esmtp: envelope.esmtp,
        tls: envelope.tls.as_ref(),
        authenticated: envelope.authenticated,
        utf8: envelope.utf8,
        id,
        recipient: match envelope.to.as_slice() {
            [only] => Some(only),
            _ => None,
        },
        at: clock::now_ms(),
    }));
    head
}

/// Twelve random hexadecimal digits.
fn queue_id() -> String {
    secret::random::<6>().iter().map(|byte| format!("{byte:02x}")).collect()
}
