//! What can go wrong with mail, and how it looks from outside.

use crate::store::StoreError;
use understudy_proto::mailbox::{MailboxRefusal, RowError};

/// Why mail could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum MailError {
    /// A rule says no.
    #[error("{0}")]
    Refused(#[from] MailboxRefusal),
    /// This node may not write; nothing was changed.
    #[error("the change could not be made: {0}")]
    NotWritten(String),
    /// The change is in the log, and whether it stays, or how it looks, cannot be told any more.
    #[error("the change may have been made or not: {0}")]
    Unknown(String),
    /// The view or a body cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A row cannot be read.
    #[error(transparent)]
    Row(#[from] RowError),
}

/// What an edge turns into its protocol's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Class {
    /// The command breaks a rule: it will be refused again.
    Refused(MailboxRefusal),
    /// The disk reserve is reached.
    Full,
    /// It may work later; nothing is lost.
    Temporary,
}

impl MailError {
    /// How it looks from outside. Unknown is temporary: in doubt defer, never bounce.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            Self::Refused(why) => Class::Refused(why.clone()),
            Self::Store(StoreError::NoRoom { .. }) => Class::Full,
            Self::NotWritten(_) | Self::Unknown(_) | Self::Store(_) | Self::Row(_) => {
                Class::Temporary
            }
        }
    }
}
