//! What can go wrong in the store, and of whose making it is.

use std::fmt::Debug;
use std::io;
use std::path::{Path, PathBuf};
use understudy_proto::codec::DecodeError;
use understudy_proto::id::{Lsn, TenantId};
use understudy_proto::keys::KeysError;
use understudy_proto::record::{Kind, RecordError};
use understudy_proto::rule::ApplyError;

/// Whom an error concerns. In doubt [`Class::Temporary`]: mail is deferred, never bounced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The asker broke a rule.
    Peer,
    /// It may work later, or on the other appliance. The outcome may even be unknown.
    Temporary,
    /// It will not work however often it is tried; an operator must act.
    Permanent,
    /// A mistake in this program.
    Bug,
}

/// The store cannot do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The operating system refused.
    #[error("cannot {what} {}: {source}; check the disk, its space and its permissions", path.display())]
    Io {
        /// What was tried: a verb.
        what: &'static str,
        /// With which file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Bytes that were durable are no longer what they were.
    #[error("{} is damaged at byte {at}: {what}; {remedy}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Byte offset of the first thing that is wrong.
        at: u64,
        /// What is wrong.
        what: String,
        /// What the operator can do.
        remedy: &'static str,
    },
    /// A file is of a release that this one does not know.
    #[error("{} has format version {found}, this release reads {known}; run the release that wrote it", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u16,
        /// Ours.
        known: u16,
    },
    /// Another process works on the same data.
    #[error("{} is locked by another process; stop it first", .0.display())]
    Locked(PathBuf),
    /// No data key: the tenant was never added here, or was erased.
    #[error("tenant {0} has no data key on this appliance")]
    UnknownTenant(TenantId),
    /// Something sealed does not open with the tenant's key.
    #[error(
        "data of tenant {0} does not open with its key: damage, or the keyring of another pair"
    )]
    Unsealed(TenantId),
    /// A key that would replace one under which data lies.
    #[error(
        "the peer's keyring has another key for tenant {0}: this appliance holds data of another pair; erase its data directory before joining"
    )]
    KeyConflict(TenantId),
    /// The tenant's index cannot be read or written.
    #[error("the index of tenant {tenant} cannot be used: {why}")]
    View {
        /// Whose.
        tenant: TenantId,
        /// What the index says.
        why: String,
    },
    /// A committed change cannot be applied.
    #[error("change {lsn} of tenant {tenant} cannot be applied: {source}")]
    Apply {
        /// Position of the change.
        lsn: Lsn,
        /// Whose change.
        tenant: TenantId,
        /// Why.
        source: ApplyError,
    },
    /// A committed change is of a kind that this release does not know.
    #[error("change {lsn} is of kind {}, which this release does not know; run the release that wrote it", kind.0)]
    UnknownKind {
        /// Position of the change.
        lsn: Lsn,
        /// Its kind.
        kind: Kind,
    },
    /// Records from the peer that do not continue this log.
    #[error("records from the peer do not continue this log after {after}: {source}")]
    NotNext {
        /// Our last record.
        after: Lsn,
        /// What is wrong with the first that does not fit.
        source: RecordError,
    },
    /// A position that is trimmed already, or lies beyond the log's end.
    #[error("the log holds {first}..={last}, not {asked}")]
    NotInLog {
        /// What was asked for.
        asked: Lsn,
        /// The oldest that there is.
        first: Lsn,
        /// The newest that there is.
        last: Lsn,
    },
    /// Committed records are never set aside.
    #[error("records from {from} cannot be set aside: everything up to {committed} is committed")]
    Committed {
        /// Where the tail was to be cut.
        from: Lsn,
        /// The last committed record.
        committed: Lsn,
    },
    /// The disk reserve is reached: new bodies are refused before the disk is full.
    #[error("the disk has {free} bytes left and {reserve} are reserved; free or add space")]
    NoRoom {
        /// Bytes free.
        free: u64,
        /// Bytes that stay free.
        reserve: u64,
    },
    /// This node is not primary (any more).
    #[error("this appliance is not primary")]
    NotPrimary,
    /// A body's address leads nowhere.
    #[error("no body of tenant {0} lies at that address")]
    NoBody(TenantId),
    /// The store ended, after a failed sync or because it is closing.
    #[error("the store has stopped")]
    Stopped,
}

impl StoreError {
    /// Whom it concerns.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            Self::Io { .. }
            | Self::Locked(_)
            | Self::UnknownTenant(_)
            | Self::View { .. }
            | Self::NotNext { .. }
            | Self::NotInLog { .. }
            | Self::NoRoom { .. }
            | Self::NotPrimary
            | Self::Stopped => Class::Temporary,
            Self::Damaged { .. }
            | Self::Version { .. }
            | Self::Unsealed(_)
            | Self::KeyConflict(_)
            | Self::UnknownKind { .. } => Class::Permanent,
            Self::Apply { .. } | Self::Committed { .. } | Self::NoBody(_) => Class::Bug,
        }
    }

    pub(super) fn view(tenant: TenantId, why: &impl std::fmt::Display) -> Self {
        Self::View { tenant, why: why.to_string() }
    }

    pub(super) fn damaged(path: &Path, at: u64, what: impl Into<String>) -> Self {
        Self::Damaged {
            path: path.to_owned(),
            at,
            what: what.into(),
            remedy: "do not delete it: keep the disk, and let this appliance join its peer anew",
        }
    }
}

/// Gives an I/O error its verb and path.
pub(super) trait Context<T> {
    fn context(self, what: &'static str, path: &Path) -> Result<T, StoreError>;
}

impl<T> Context<T> for io::Result<T> {
    fn context(self, what: &'static str, path: &Path) -> Result<T, StoreError> {
        self.map_err(|source| StoreError::Io { what, path: path.to_owned(), source })
    }
}

/// Why a command was not carried out, or may not have been.
#[derive(Debug, thiserror::Error)]
pub enum WriteError<R: Debug> {
    /// The kind said no. Like an answer, it is given only once everything it rests on is committed.
    #[error("refused: {0:?}")]
    Refused(R),
    /// This node is not primary; nothing was decided.
    #[error("this appliance is not primary")]
    NotPrimary,
    /// The change is in this node's log but primacy ended before it was committed: it may survive
    /// or not. To the outside: temporary.
    #[error("primacy ended before the change was committed; it may survive or not")]
    Unknown,
    /// The rows cannot be read.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// A row cannot be decoded.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The rows refuse the change that was decided over them; nothing was written.
    #[error("a decided change cannot be applied: {0}")]
    Apply(#[from] ApplyError),
    /// The change touches more rows or bytes than one change may; nothing was written.
    #[error("the change touches {rows} rows in {bytes} bytes; it must be cut into several")]
    TooLarge {
        /// Rows that it touches.
        rows: usize,
        /// Length of its payload.
        bytes: usize,
    },
    /// The store cannot.
    #[error(transparent)]
    Store(StoreError),
}

impl<R: Debug> From<StoreError> for WriteError<R> {
    fn from(e: StoreError) -> Self {
        match e {
            StoreError::NotPrimary => Self::NotPrimary,
            e => Self::Store(e),
        }
    }
}

impl<R: Debug> WriteError<R> {
    /// Whom it concerns.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            Self::Refused(_) => Class::Peer,
            Self::NotPrimary | Self::Unknown | Self::Keys(_) | Self::Decode(_) => Class::Temporary,
            Self::Apply(_) | Self::TooLarge { .. } => Class::Bug,
            Self::Store(e) => e.class(),
        }
    }
}

/// Locks `mutex`. A thread that panicked while holding a lock of the store ends the process
/// (`base::task::thread`); a session's panic leaves the data that it held as it was.
pub(super) fn lock<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
