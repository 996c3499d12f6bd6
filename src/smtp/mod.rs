//! SMTP: mail comes in on port 25, people send theirs on 465 and 587, and what is for others leaves
//! through the durable queue.
//!
//! The protocol is [`understudy_proto::smtp`]; this room drives it over sockets and asks `directory`
//! and `mail`. Invariants: a message's 250 is written after [`Mail::deliver`] returned under a lease
//! that is still valid, and at no other place; bodies are streamed, never held whole; the queue is
//! drained under the primary's lease only. Absent: spam and policy checks, DSN, MTA-STS, DANE.

mod message;
mod queue;
mod session;

use crate::base::limit::{Limit, SMTP_SESSIONS, SUBMISSION_SESSIONS};
use crate::config;
use crate::directory::{Directory, Resolved};
use crate::mail::Mail;
use crate::net;
use crate::tls;
use std::sync::Arc;
use understudy_proto::smtp::{Limits, NO_PLACE, Service};

/// Most sessions of one source on port 25: a gateway in front of us may bring all mail there is.
const MX_PER_SOURCE_MAX: usize = 200;
/// Most sessions of one source on the submission ports: an office behind one address.
const SUBMISSION_PER_SOURCE_MAX: usize = 100;

/// The three doors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// 25: mail for those who live here. STARTTLS.
    Mx,
    /// 587: mail from those who live here. STARTTLS, then AUTH.
    Submission,
    /// 465: the same under TLS from the first byte. RFC 8314 3.3.
    Submissions,
}

/// The service; clones are the same one.
#[derive(Clone)]
pub struct Smtp(Arc<Inner>);

struct Inner {
    hostname: String,
    config: config::Smtp,
    directory: Directory,
    mail: Mail,
    tls: tls::Service,
}

impl Smtp {
    /// The service named `hostname` in greetings and traces.
    #[must_use]
    pub fn new(
        hostname: &str,
        config: config::Smtp,
        directory: Directory,
        mail: Mail,
        tls: tls::Service,
    ) -> Self {
        let hostname = hostname.to_owned();
        Self(Arc::new(Inner { hostname, config, directory, mail, tls }))
    }

    /// How many sessions a port takes, for [`net::Sessions`]. 465 and 587 share one limit's places
    /// only if they share the `Sessions`.
    #[must_use]
    pub fn limits(port: Port) -> net::Limits {
        let (limit, per_source_max): (&'static Limit, usize) = match port {
            Port::Mx => (&SMTP_SESSIONS, MX_PER_SOURCE_MAX),
            Port::Submission | Port::Submissions => {
                (&SUBMISSION_SESSIONS, SUBMISSION_PER_SOURCE_MAX)
            }
        };
        let refusal = if port == Port::Submissions { b"" } else { NO_PLACE };
        net::Limits { limit, per_source_max, refusal }
    }

    fn session_limits(&self) -> Limits {
        Limits {
            message: self.0.config.message_size_max,
            recipients: self.0.config.recipients_max,
            command_timeout: self.0.config.idle_timeout,
            data_timeout: self.0.config.idle_timeout,
            ..Limits::default()
        }
    }

    /// What an address leads to. RFC 5321 4.5.1: `postmaster` without a domain is the postmaster
    /// of our own name, or of the domain that it lies in.
    fn resolve(&self, address: &str) -> Result<Resolved, crate::directory::DirectoryError> {
        if address.contains('@') {
            return self.0.directory.resolve(address);
        }
        let hostname = self.0.hostname.as_str();
        let parent = hostname.split_once('.').map(|(_, parent)| parent);
        for domain in [Some(hostname), parent].into_iter().flatten() {
            let found = self.0.directory.resolve(&format!("{address}@{domain}"))?;
            if matches!(found, Resolved::Account { .. }) {
                return Ok(found);
            }
        }
        Ok(Resolved::UnknownAccount)
    }
}

impl Port {
    fn service(self) -> Service {
        match self {
            Self::Mx => Service::Mx,
            Self::Submission | Self::Submissions => Service::Submission,
        }
    }
}
