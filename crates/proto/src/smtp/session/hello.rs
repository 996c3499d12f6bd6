//! EHLO, HELO and STARTTLS: what each side can do, and a fresh start under TLS.

use super::{Hello, Output, Service, Session, State};
use crate::smtp::reply;

impl Session {
    /// RFC 5321 4.1.1.1. Also resets a transaction: RFC 5321 4.1.4.
    pub(super) fn ehlo(&mut self, host: &str) {
        if !self.greeted(host, true) {
            return;
        }
        let mut lines = vec![
            self.options.hostname.clone(),
            "PIPELINING".to_owned(),
            format!("SIZE {}", self.options.limits.message),
            "8BITMIME".to_owned(),
            "SMTPUTF8".to_owned(),
            "ENHANCEDSTATUSCODES".to_owned(),
            "CHUNKING".to_owned(),
        ];
        if self.tls.is_none() && self.options.starttls {
            lines.push("STARTTLS".to_owned());
        }
        // RFC 4954 4: a mechanism that would send the password in the clear is not offered.
        if self.options.service == Service::Submission && self.tls.is_some() {
            lines.push("AUTH PLAIN LOGIN".to_owned());
        }
        let last = lines.len().saturating_sub(1);
        for (n, line) in lines.iter().enumerate() {
            let mark = if n == last { ' ' } else { '-' };
            self.replies.extend_from_slice(format!("250{mark}{line}\r\n").as_bytes());
        }
    }

    /// RFC 5321 4.1.1.1, for clients without extensions.
    pub(super) fn helo(&mut self, host: &str) {
        if self.greeted(host, false) {
            let line = format!("250 {}\r\n", self.options.hostname);
            self.replies.extend_from_slice(line.as_bytes());
        }
    }

    fn greeted(&mut self, host: &str, esmtp: bool) -> bool {
        self.forget_transaction();
        self.counts.idle = self.counts.idle.saturating_add(1);
        if self.counts.idle > self.options.limits.idle_commands {
            self.close_with(reply::TOO_MANY_COMMANDS);
            return false;
        }
        // RFC 5321 4.1.4: whatever the name is, mail is not refused for it.
        self.hello = Some(Hello { name: host.to_owned(), esmtp });
        true
    }

    /// RFC 3207 4.
    pub(super) fn start_tls(&mut self) {
        if self.tls.is_some() {
            self.reply(reply::TLS_ALREADY);
        } else if !self.options.starttls {
            self.reply(reply::NO_STARTTLS);
        } else {
            self.forget_transaction();
            self.hello = None;
            self.reply(reply::READY_FOR_TLS);
            self.send_replies();
            self.outputs.push_back(Output::StartTls);
            self.state = State::Tls;
        }
    }
}
