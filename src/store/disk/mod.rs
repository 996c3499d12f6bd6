//! The one door to durable storage: log, packs, indexes and keyring all go through [`Disk`].
//!
//! Invariants: nothing is assumed durable before `sync_data` (a file's bytes and length) or
//! `sync_dir` (names) returned; a name is assumed neither present nor gone until then.
//! Production runs on [`RealDisk`]; [`SimDisk`] cuts the power in tests.
//!
//! Deliberately absent: buffering, retries (a failed sync is final) and appending.

mod real;
mod sim;

pub use real::RealDisk;
pub use sim::{Cut, Event, Image, Replay, SimDisk};

use std::fmt::Debug;
use std::io;
use std::path::Path;
use std::sync::Arc;
use understudy_proto::id::Lsn;

/// How a file is opened. Always for reading and writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open {
    /// It must exist.
    Existing,
    /// It is made, or emptied when it exists.
    Create,
}

/// A lock that lasts as long as the value.
pub trait Lock: Send + Sync {}

/// Folders and names.
pub trait Disk: Send + Sync + Debug {
    /// Opens a file.
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn DiskFile>>;
    /// Renames a file, replacing what bears the new name, or a folder with all that is in it. Durable
    /// once the old folder and then the new one were synced.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Removes an empty folder.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;
    /// Whether there is a folder of that name.
    fn is_dir(&self, path: &Path) -> io::Result<bool>;
    /// Makes a folder; nothing happens when it exists.
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// The names in a folder, sorted.
    fn list(&self, path: &Path) -> io::Result<Vec<String>>;
    /// Makes a folder's names durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Bytes that are free for us where `path` lies.
    fn free(&self, path: &Path) -> io::Result<u64>;
    /// Takes an exclusive lock; `None` when another process holds it.
    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>>;
    /// Told right before writers up to `lsn` get their answer: tests prove a sync in between.
    fn acknowledging(&self, lsn: Lsn) {
        let _: Lsn = lsn;
    }
}

/// An open file.
pub trait DiskFile: Send + Sync + Debug {
    /// Fills `out` from `offset`; an error when the file ends before.
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()>;
    /// Writes all of `data` at `offset`; the file grows as needed.
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()>;
    /// Length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Whether it has no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    /// Cuts the file, or extends it with zeros.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Reserves space up to `len` and extends the file to it with zeros; never shortens it.
    fn allocate(&self, len: u64) -> io::Result<()>;
    /// Makes the bytes from `from` to `to` read as zeros, and keeps the room that they have; the file
    /// grows as needed.
    fn zero(&self, from: u64, to: u64) -> io::Result<()>;
    /// Makes bytes and length durable.
    fn sync_data(&self) -> io::Result<()>;
}
