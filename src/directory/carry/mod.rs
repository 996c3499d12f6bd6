//! A tenant leaves and arrives: one encrypted file, made and read while traffic goes on.
//!
//! Invariants: an export is one committed state of the tenant, with all its bodies; the file does not
//! hold the tenant's data key, the other pair gives it one of its own. An import is ordinary changes,
//! so that the standby has it, too; until its last step no domain leads to the tenant. It goes on where
//! it was interrupted when the same file is given again.
//!
//! Deliberately absent: taking a tenant away from where it was.

mod export;
mod file;
mod import;
#[cfg(test)]
mod tests;

pub use export::Exported;

use crate::store::StoreError;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::PoisonError;
use understudy_proto::carry::Row;
use understudy_proto::id::TenantId;

/// Rows of one item, in bytes: well below what one change may hold.
const ROWS_LEN: usize = 160 * 1024;
/// And their number.
const ROWS_MAX: usize = 2_000;
/// Bytes of a body in one item.
const PART_LEN: usize = 256 * 1024;
/// Most rows that one body is given to at once; more get it again.
const BODY_ROWS_MAX: usize = 3_000;
/// Bodies that are given to rows in one step.
const BODIES_PER_STEP: usize = 64;

/// What a file holds, in this order: head, rows, bodies with their parts, end.
#[derive(Debug, Serialize, Deserialize)]
enum Item {
    Head {
        name: String,
        domains: Vec<String>,
        lsn: u64,
        exported_ms: u64,
    },
    Rows(Vec<Row>),
    /// The body of these rows; its parts follow.
    Body {
        rows: Vec<Vec<u8>>,
        size: u64,
    },
    Part(Vec<u8>),
    End {
        rows: u64,
        bodies: u64,
    },
}

/// What a tenant that arrives becomes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arrival {
    /// Another name than the file's.
    pub name: Option<String>,
    /// Its domains are another tenant's here: its own end in [`Arrival::suffix`] instead, so that
    /// nothing that is meant for the other reaches it, and its people sign in by the longer address.
    pub without_domains: bool,
}

impl Arrival {
    /// What the domains of `tenant` end in if it has none of the file's. Nobody can own such a domain
    /// (RFC 6761 6.4), and no other tenant here is given it.
    #[must_use]
    pub fn suffix(tenant: TenantId) -> String {
        format!("tenant{tenant}.invalid")
    }

    /// Which import it is: another arrival of the same file does not go on with it.
    fn identity(&self, file: [u8; 16]) -> [u8; 16] {
        if self.without_domains { file.map(|byte| !byte) } else { file }
    }
}

/// Why a tenant does not travel.
#[derive(Debug, thiserror::Error)]
pub enum CarryError {
    /// The file.
    #[error("{} cannot be used: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Not a place for a file.
    #[error("give the file's whole path, beginning with /")]
    Path,
    /// It would be overwritten.
    #[error("{} is there already; choose another name", .0.display())]
    FileExists(PathBuf),
    /// Not one of ours.
    #[error("the file is no tenant's, or its beginning is damaged")]
    Format,
    /// Of another release.
    #[error("the file has format version {0}, this release reads 1; use the release that wrote it")]
    Version(u16),
    /// It does not open.
    #[error("the passphrase does not open the file, or its beginning is damaged")]
    Passphrase,
    /// What is sealed was changed, or the end is missing.
    #[error("the file is damaged or cut off at byte {at}")]
    Damaged {
        /// Where the chunk begins that does not open.
        at: u64,
    },
    /// Names that are given already.
    #[error(
        "here already: {0}; give the tenant another name (--as), and if the domains are another \
         tenant's, import it without them (--without-domains)"
    )]
    Taken(String),
    /// Names that were given away while the import ran.
    #[error(
        "while the import ran, another tenant took {0}; all else is here: free it, then give the same \
         file again to go on"
    )]
    TakenMeanwhile(String),
    /// The directory or the store.
    #[error(transparent)]
    Directory(#[from] super::DirectoryError),
    /// No moment was found between two rounds of changes.
    #[error("changes are being applied without a pause; try again when there are fewer")]
    NoInstant,
    /// A change was not taken.
    #[error("the work stopped: {0}; an import goes on when the same file is given again")]
    Interrupted(String),
}

impl From<StoreError> for CarryError {
    fn from(e: StoreError) -> Self {
        match e {
            StoreError::NotPrimary | StoreError::Stopped => Self::Interrupted(e.to_string()),
            e => Self::Directory(e.into()),
        }
    }
}

/// How far it has come; shared with who asks.
#[derive(Debug, Default)]
pub struct CarryProgress(Mutex<(u64, u64)>);

impl CarryProgress {
    /// Bytes done, and about how many there are.
    #[must_use]
    pub fn get(&self) -> (u64, u64) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, done: u64, total: u64) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = (done, total);
    }
}
