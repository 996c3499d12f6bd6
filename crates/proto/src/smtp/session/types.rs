//! What goes into and comes out of a session.

use crate::smtp::content::Fault;
use std::fmt;
use std::time::Duration;

/// Most input that may wait behind an open question, in octets; a driver reads at most this much.
pub const INPUT_MAX: usize = 65_536;

/// Which port the session came by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// Port 25: anyone brings mail for those who live here.
    Mx,
    /// Ports 465 and 587: those who live here bring mail for anyone. RFC 6409.
    Submission,
}

/// What a session is started with.
#[derive(Debug, Clone)]
pub struct Options {
    /// Which port.
    pub service: Service,
    /// Our name in the greeting and in EHLO.
    pub hostname: String,
    /// STARTTLS can be offered.
    pub starttls: bool,
    /// TLS that came before the first byte (port 465).
    pub tls: Option<Tls>,
    /// Bounds.
    pub limits: Limits,
}

impl Options {
    /// Options without implicit TLS and with the default limits.
    #[must_use]
    pub fn new(service: Service, hostname: &str, starttls: bool) -> Self {
        let hostname = hostname.to_owned();
        Self { service, hostname, starttls, tls: None, limits: Limits::default() }
    }
}

/// Bounds of one session.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Octets of a message; announced as SIZE.
    pub message: u64,
    /// Octets of one line of a message, without CRLF. RFC 5322 2.1.1 has 998, but real mail has
    /// whole HTML pages and attachments on one line, and what the origin accepted must not bounce
    /// here; beyond this it is no text, and a client would choke on it.
    pub line: usize,
    /// Recipients of a transaction; RFC 5321 4.5.3.1.8: at least 100.
    pub recipients: usize,
    /// Transactions of a session.
    pub messages: u32,
    /// Error replies between two messages.
    pub errors: u32,
    /// Commands without effect (NOOP, RSET, VRFY, EHLO ...) between two messages.
    pub idle_commands: u32,
    /// Failed attempts to authenticate.
    pub auth_failures: u32,
    /// Recipients of a session that were refused: bounds address harvesting.
    pub refused_recipients: u32,
    /// RFC 5321 4.5.3.2.7: until the next whole command.
    pub command_timeout: Duration,
    /// Until the next octet of a message.
    pub data_timeout: Duration,
    /// Until a message that was begun is complete.
    pub message_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message: 52_428_800,
            line: 65_536,
            recipients: 1_000,
            messages: 1_000,
            errors: 20,
            idle_commands: 100,
            auth_failures: 3,
            refused_recipients: 100,
            command_timeout: Duration::from_mins(5),
            data_timeout: Duration::from_mins(5),
            message_timeout: Duration::from_hours(2),
        }
    }
}

/// What a session's TLS is, for the trace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tls {
    /// Such as `TLSv1.3`.
    pub protocol: String,
    /// Such as `TLS_AES_256_GCM_SHA384`.
    pub cipher: String,
}

/// What the driver must do, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Write these octets.
    Send(Vec<u8>),
    /// Drop what was read and not handed in, shake hands, then call `handle_tls`.
    StartTls,
    /// Find the answer and call `handle_answer`.
    Ask(Question),
    /// The next octets of the body; store them before reading on, so that the peer is slowed.
    Body(Vec<u8>),
    /// The body that was begun will not be committed: forget it.
    Abort,
    /// Something for the log.
    Event(Event),
    /// Write what is to be written and close.
    Close,
}

/// A question that the session cannot answer itself. One at most is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// May the authenticated client send as this address? Yes, No, Temporary.
    SendAs {
        /// The reverse-path; never empty.
        from: String,
    },
    /// Does this address live here? Yes, Unknown, NotLocal, Full, OverQuota,
    /// Temporary.
    Recipient {
        /// The forward-path, without quotes; `postmaster` alone has no domain.
        address: String,
    },
    /// Is this the name's password? Yes, No, Temporary.
    Credentials {
        /// Authentication identity.
        name: String,
        /// The secret.
        password: Password,
    },
    /// Start to store a message: Yes, Full, Temporary. [`Output::Body`] follows.
    Begin(Box<Envelope>),
    /// The body is complete: deliver it. Committed, No (refused for good), Full, Temporary; the
    /// latter two also when storing one of its pieces has failed.
    Commit,
}

/// The answers; which of them fit is said at each question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Go on.
    Yes,
    /// Not allowed, and it will not be.
    No,
    /// The domain is ours, the address is nobody's.
    Unknown,
    /// The domain is not ours.
    NotLocal,
    /// The message is durable on every insync node and has this queue id.
    Committed {
        /// Told to the client; letters, digits, `-`, `_` and `.` only.
        id: String,
    },
    /// No room now.
    Full,
    /// The recipient has no room now: their limit is reached.
    OverQuota,
    /// Not known now: the client shall try again.
    Temporary,
}

/// A transaction as it stands when its body begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// Reverse-path without quotes; empty for a bounce.
    pub from: String,
    /// Accepted forward-paths, in order; at least one.
    pub to: Vec<String>,
    /// What the client called itself; unfiltered.
    pub helo: String,
    /// EHLO, not HELO.
    pub esmtp: bool,
    /// TLS of the session.
    pub tls: Option<Tls>,
    /// The client is authenticated.
    pub authenticated: bool,
    /// SMTPUTF8 was given.
    pub utf8: bool,
    /// What the client says that the size is; a hint.
    pub size: Option<u64>,
}

/// Facts for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A message that was being sent was refused.
    MessageRefused(Fault),
    /// A recipient was refused.
    RecipientRefused {
        /// The reply's code.
        code: u16,
    },
    /// A credential was wrong.
    AuthFailed,
    /// The session was closed otherwise than by QUIT.
    Closed {
        /// The reply's code.
        code: u16,
        /// The reply's text.
        reason: &'static str,
    },
}

/// A password on its way to the directory; never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

impl Password {
    pub(super) fn new(text: String) -> Self {
        Self(text)
    }

    /// The secret itself, to be put under the directory's own guard at once.
    #[must_use]
    pub fn into_inner(self) -> String {
        self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(..)")
    }
}
