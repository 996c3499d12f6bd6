//! MAIL and RCPT: the envelope.

use super::{Answer, Envelope, Event, Pending, Question, Service, Session};
use crate::smtp::content::{Content, Fault};
use crate::smtp::{address, reply};
use smtp_proto::{MAIL_BODY_7BIT, MAIL_BODY_8BITMIME, MAIL_SMTPUTF8, MailFrom, RcptTo};
use std::borrow::Cow;

/// From MAIL to the message's end.
pub(super) struct Transaction {
    from: String,
    pub(super) to: Vec<String>,
    utf8: bool,
    size: Option<u64>,
    pub(super) body: Body,
}

/// How far the message's body is.
pub(super) enum Body {
    None,
    /// The driver has begun one; DATA's content is in the session's state.
    Text,
    /// Chunks come by BDAT; boxed, as most transactions have none.
    Chunks(Box<Content>),
}

impl Session {
    /// RFC 5321 4.1.1.2.
    pub(super) fn mail(&mut self, from: MailFrom<Cow<'_, str>>, text: &str) {
        if self.hello.is_none() {
            return self.reply(reply::HELLO_FIRST);
        }
        if self.options.service == Service::Submission && !self.authenticated {
            let reply = if self.tls.is_none() { reply::TLS_FIRST } else { reply::AUTH_FIRST };
            return self.reply(reply);
        }
        if self.transaction.is_some() {
            return self.reply(reply::NESTED_MAIL);
        }
        if self.counts.messages >= self.options.limits.messages {
            return self.close_with(reply::TOO_MANY_MESSAGES);
        }
        if !parameters_are_known(&from) {
            return self.reply(reply::UNKNOWN_PARAMETER);
        }
        let utf8 = from.flags & MAIL_SMTPUTF8 != 0;
        // smtp-proto also gives the empty path for <postmaster> and for source routes.
        let is_path = if from.address.is_empty() {
            path(text).is_empty()
        } else {
            address::is_mailbox(&from.address)
        };
        if !is_path {
            return self.reply(reply::BAD_SENDER);
        }
        if !utf8 && !from.address.is_ascii() {
            return self.reply(reply::NEEDS_UTF8);
        }
        let size = u64::try_from(from.size).unwrap_or(u64::MAX);
        if size > self.options.limits.message {
            // RFC 1870 6.1.
            return self.reply(reply::TOO_BIG);
        }
        let from = from.address.into_owned();
        let size = (size > 0).then_some(size);
        let transaction =
            Transaction { from: from.clone(), to: Vec::new(), utf8, size, body: Body::None };
        // A null reverse-path is nobody's: RFC 5321 4.5.5, notifications have it.
        if self.options.service == Service::Submission && !from.is_empty() {
            self.ask(Question::SendAs { from }, Pending::Sender(transaction));
        } else {
            self.sender_answered(transaction, &Answer::Yes);
        }
    }

    pub(super) fn sender_answered(&mut self, transaction: Transaction, answer: &Answer) {
        match answer {
            Answer::Yes => {
                self.counts.messages = self.counts.messages.saturating_add(1);
                self.transaction = Some(transaction);
                self.reply(reply::SENDER_OK);
            }
            Answer::No | Answer::Unknown | Answer::NotLocal => self.reply(reply::NOT_YOUR_ADDRESS),
            _ => self.reply(reply::TRY_LATER),
        }
    }

    /// RFC 5321 4.1.1.3.
    pub(super) fn rcpt(&mut self, to: RcptTo<Cow<'_, str>>, text: &str) {
        let Some(transaction) = &self.transaction else {
            return self.reply(reply::MAIL_FIRST);
        };
        if !matches!(transaction.body, Body::None) {
            return self.reply(reply::CHUNKS_BEGUN);
        }
        // RFC 3461's parameters come only where DSN is announced.
        if to.flags != 0 || to.orcpt.is_some() || to.rrvs != 0 {
            return self.reply(reply::UNKNOWN_PARAMETER);
        }
        let address = if to.address.is_empty() && path(text).eq_ignore_ascii_case("postmaster") {
            // RFC 5321 4.5.1: without a domain, it is ours.
            "postmaster".to_owned()
        } else if address::is_mailbox(&to.address) {
            to.address.into_owned()
        } else {
            return self.reply(reply::BAD_RECIPIENT);
        };
        if !transaction.utf8 && !address.is_ascii() {
            return self.reply(reply::NEEDS_UTF8);
        }
        if transaction.to.len() >= self.options.limits.recipients {
            // RFC 5321 4.5.3.1.10: the client sends the rest another time.
            return self.reply(reply::TOO_MANY_RECIPIENTS);
        }
        self.ask(Question::Recipient { address: address.clone() }, Pending::Recipient(address));
    }

    pub(super) fn recipient_answered(&mut self, address: String, answer: &Answer) {
        let refusal = match answer {
            Answer::Yes => None,
            Answer::NotLocal if self.options.service == Service::Submission => None,
            Answer::NotLocal => Some(reply::RELAY_DENIED),
            Answer::Unknown | Answer::No => Some(reply::UNKNOWN_RECIPIENT),
            Answer::Full => Some(reply::FULL),
            Answer::OverQuota => Some(reply::MAILBOX_FULL),
            _ => Some(reply::TRY_LATER),
        };
        let Some(refusal) = refusal else {
            if let Some(transaction) = &mut self.transaction {
                transaction.to.push(address);
            }
            return self.reply(reply::RECIPIENT_OK);
        };
        self.event(Event::RecipientRefused { code: refusal.code });
        // Counted apart from other errors: a mailing list may well have twenty who have left.
        super::write_reply(&mut self.replies, refusal);
        if refusal.is_error() {
            let count = self.counts.refused_recipients.saturating_add(1);
            self.counts.refused_recipients = count;
            if count > self.options.limits.refused_recipients {
                self.close_with(reply::TOO_MANY_UNKNOWN);
            }
        }
    }

    /// What the driver is told when the body begins.
    pub(super) fn envelope(&self) -> Option<Box<Envelope>> {
        let transaction = self.transaction.as_ref()?;
        let hello = self.hello.as_ref()?;
        Some(Box::new(Envelope {
            from: transaction.from.clone(),
            to: transaction.to.clone(),
            helo: hello.name.clone(),
            esmtp: hello.esmtp,
            tls: self.tls.clone(),
            authenticated: self.authenticated,
            utf8: transaction.utf8,
            size: transaction.size,
        }))
    }

    /// Ends the transaction without a message; the driver forgets a body that it has begun.
    pub(super) fn forget_transaction(&mut self) {
        self.message_deadline = None;
        let Some(transaction) = self.transaction.take() else { return };
        let begun = match transaction.body {
            Body::None => false,
            // After a fault the body is forgotten already.
            Body::Text => !matches!(&self.state, super::State::Text(c) if c.fault.is_some()),
            Body::Chunks(content) => content.fault.is_none(),
        };
        if begun {
            self.outputs.push_back(super::Output::Abort);
        }
    }

    /// A body that comes by BDAT.
    pub(super) fn body_mut(&mut self) -> Option<&mut Content> {
        match &mut self.transaction.as_mut()?.body {
            Body::Chunks(content) => Some(content),
            Body::None | Body::Text => None,
        }
    }

    /// Refuses a message whose body is complete or given up; the transaction is over.
    pub(super) fn refuse_message(&mut self, fault: Fault) {
        self.transaction = None;
        self.message_deadline = None;
        self.event(Event::MessageRefused(fault));
        self.reply(fault.reply());
    }
}

/// RFC 5321 4.1.1.11: parameters of extensions that EHLO does not offer are unknown here. AUTH
/// (RFC 4954 5) is accepted and ignored, as those who are not trusted must have it.
fn parameters_are_known(from: &MailFrom<Cow<'_, str>>) -> bool {
    from.flags & !(MAIL_BODY_7BIT | MAIL_BODY_8BITMIME | MAIL_SMTPUTF8) == 0
        && from.trans_id.is_none()
        && from.by == 0
        && from.env_id.is_none()
        && from.solicit.is_none()
        && from.mtrk.is_none()
        && from.hold_for == 0
        && from.hold_until == 0
        && from.mt_priority == 0
}

/// What stands between the first `<` and the next `>`.
fn path(text: &str) -> &str {
    text.split_once('<').and_then(|(_, rest)| rest.split_once('>')).map_or("", |(p, _)| p.trim())
}
