//! AUTH PLAIN (RFC 4616) and LOGIN, over TLS on the submission service only.

use super::{Answer, Event, Password, Pending, Question, Service, Session, State};
use crate::smtp::{base64, reply};
use smtp_proto::{AUTH_LOGIN, AUTH_PLAIN};

/// Where an exchange stands.
pub(super) enum AuthStep {
    Plain,
    LoginName,
    LoginPassword { name: String },
}

impl Session {
    /// RFC 4954 4.
    pub(super) fn auth(&mut self, mechanism: u64, initial: &str) {
        if self.options.service == Service::Mx {
            return self.reply(reply::NO_AUTH_HERE);
        }
        if self.tls.is_none() {
            return self.reply(reply::AUTH_NEEDS_TLS);
        }
        if !self.hello.as_ref().is_some_and(|hello| hello.esmtp) {
            return self.reply(reply::HELLO_FIRST);
        }
        if self.authenticated {
            return self.reply(reply::AUTH_ALREADY);
        }
        if self.transaction.is_some() {
            return self.reply(reply::IN_TRANSACTION);
        }
        let step = match mechanism {
            AUTH_PLAIN => AuthStep::Plain,
            AUTH_LOGIN => AuthStep::LoginName,
            _ => return self.reply(reply::NO_SUCH_MECHANISM),
        };
        match (initial, &step) {
            ("", AuthStep::Plain) => self.challenge("", step),
            ("", _) => self.challenge("VXNlcm5hbWU6", step),
            // RFC 4954 4: "=" is an initial response that is empty.
            ("=", _) => self.auth_line(step, b"\r\n"),
            (response, _) => self.auth_line(step, response.as_bytes()),
        }
    }

    fn challenge(&mut self, text: &str, step: AuthStep) {
        self.replies.extend_from_slice(format!("334 {text}\r\n").as_bytes());
        self.state = State::Auth(step);
    }

    /// Takes one response of the exchange.
    pub(super) fn auth_line(&mut self, step: AuthStep, line: &[u8]) {
        let line = line.strip_suffix(b"\r\n").unwrap_or(line);
        if line == b"*" {
            return self.reply(reply::AUTH_CANCELLED);
        }
        let text = base64::decode(line).and_then(|bytes| String::from_utf8(bytes).ok());
        let Some(text) = text.filter(|_| line.is_ascii()) else {
            return self.reply(reply::BAD_BASE64);
        };
        match step {
            AuthStep::Plain => self.plain(&text),
            AuthStep::LoginName => {
                self.challenge("UGFzc3dvcmQ6", AuthStep::LoginPassword { name: text });
            }
            AuthStep::LoginPassword { name } => self.credentials(name, text),
        }
    }

    fn plain(&mut self, text: &str) {
        let mut parts = text.split('\0');
        let (Some(as_whom), Some(name), Some(password), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return self.reply(reply::BAD_BASE64);
        };
        // RFC 4616 2: an authorisation identity other than one's own would be someone else.
        if !as_whom.is_empty() && as_whom != name {
            return self.failed();
        }
        self.credentials(name.to_owned(), password.to_owned());
    }

    fn credentials(&mut self, name: String, password: String) {
        let nul = name.contains('\0') || password.contains('\0');
        if name.is_empty() || password.is_empty() || nul {
            return self.failed();
        }
        let password = Password::new(password);
        self.ask(Question::Credentials { name, password }, Pending::Credentials);
    }

    pub(super) fn credentials_answered(&mut self, answer: &Answer) {
        match answer {
            Answer::Yes => {
                self.authenticated = true;
                self.reply(reply::AUTHENTICATED);
            }
            Answer::No | Answer::Unknown => self.failed(),
            _ => self.reply(reply::AUTH_LATER),
        }
    }

    fn failed(&mut self) {
        self.event(Event::AuthFailed);
        self.counts.auth_failures = self.counts.auth_failures.saturating_add(1);
        self.reply(reply::BAD_CREDENTIALS);
        if self.counts.auth_failures >= self.options.limits.auth_failures {
            self.close_with(reply::TOO_MANY_ERRORS);
        }
    }
}
