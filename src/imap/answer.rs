//! How commands end: what the client is told, and what the log says.

use crate::directory::DirectoryError;
use crate::mail::{Class, MailError};
use std::io;
use understudy_proto::imap::response::{Code, Status};
use understudy_proto::mailbox::MailboxRefusal;

/// The tagged answer of a command.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) status: Status,
    pub(super) code: Option<Code<'static>>,
    pub(super) text: String,
}

impl Done {
    /// OK.
    pub(super) fn ok(text: &str) -> Self {
        Self { status: Status::Ok, code: None, text: text.to_owned() }
    }

    /// OK with a response code.
    pub(super) fn ok_with(code: Code<'static>, text: &str) -> Self {
        Self { code: Some(code), ..Self::ok(text) }
    }

    /// NO with a response code.
    pub(super) fn no(code: &'static str, text: &str) -> Self {
        Self { status: Status::No, code: Some(Code::Plain(code)), text: text.to_owned() }
    }

    /// BAD.
    pub(super) fn bad(text: &str) -> Self {
        Self { status: Status::Bad, code: None, text: text.to_owned() }
    }
}

/// Why a command gives no [`Done`].
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// Mail refuses, or cannot now: the command is answered NO.
    #[error(transparent)]
    Mail(#[from] MailError),
    /// The directory cannot now: the command is answered NO.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The session ends.
    #[error(transparent)]
    End(#[from] End),
}

/// Why a session ends.
#[derive(Debug, thiserror::Error)]
pub(super) enum End {
    /// The client is told with BYE.
    #[error("{0}")]
    Bye(&'static str),
    /// The client has logged out and been told so.
    #[error("logged out")]
    LoggedOut,
    /// The client closed the connection.
    #[error("the client went away")]
    Gone,
    /// The socket failed.
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
    /// A response was announced and cannot be completed, or a command's outcome is not known: only
    /// closing tells the client.
    #[error("a response could not be completed: {0}")]
    Broken(MailError),
}

impl From<io::Error> for Failure {
    fn from(e: io::Error) -> Self {
        Self::End(End::Io(e))
    }
}

/// The answer to what `mail` says no to; `missing` is the code for a mailbox that is not there.
pub(super) fn refused(why: &MailError, missing: &'static str) -> Done {
    let text = why.to_string();
    match why.class() {
        Class::Refused(refusal) => match refusal {
            MailboxRefusal::NoSuchMailbox => Done::no(missing, &text),
            MailboxRefusal::AlreadyExists => Done::no("ALREADYEXISTS", &text),
            MailboxRefusal::BadName(_) | MailboxRefusal::IsInbox => Done::no("CANNOT", &text),
            MailboxRefusal::NotEmpty => Done::no("INUSE", &text),
            // RFC 9208 5, RFC 5530 3.
            MailboxRefusal::OverQuota => Done::no("OVERQUOTA", &text),
            MailboxRefusal::TooMany(_) => Done::no("LIMIT", &text),
            MailboxRefusal::NoSuchAccount => Done::no("AUTHORIZATIONFAILED", &text),
        },
        // RFC 9051 7.1.
        Class::Full => {
            log::warn!(err:% = text; "an IMAP command could not be carried out");
            Done::no("LIMIT", "There is no room for new messages now")
        }
        // What is wrong inside is not the client's business; the log has it.
        Class::Temporary => {
            log::warn!(err:% = text; "an IMAP command could not be carried out");
            Done::no("UNAVAILABLE", "This cannot be done right now; try again in a moment")
        }
    }
}
