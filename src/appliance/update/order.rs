//! How who may not touch slots has them touched: an order in a file, and what became of it in another.
//!
//! ```text
//! understudy: DIR/order.json, data_dir/update/offer.update
//!     ─► root (`understudy appliance update`, woken by the file): takes the order, obeys
//!     ─► /run/understudy/update.json: what became of the order, and how updates stand here
//! ```
//!
//! Invariants: an order is taken off before it is obeyed, and lies in memory, so that none is obeyed
//! twice or after a restart; what an order points to is read as a hostile file, and only a trusted
//! signature makes an image of it. Deliberately absent: secrecy (everybody may read the outcome).

use super::driver::Status;
use crate::ops::request::Failure;
use nix::libc;
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use understudy_proto::time::UnixMs;

/// Where orders are left, on an appliance: made by the unit of the program, whose user owns it.
pub const ORDERS: &str = "/run/understudy-update";
/// An order's file there.
pub const ORDER_NAME: &str = "order.json";
/// What became of it, and how updates stand: [`Published`] as JSON.
pub const PUBLISHED: &str = "/run/understudy/update.json";
/// Longest order, in bytes.
const ORDER_LEN_MAX: u64 = 4096;
/// Longest outcome that is read, in bytes.
const PUBLISHED_LEN_MAX: u64 = 1024 * 1024;
/// Longest id of an order, in bytes.
const ID_LEN_MAX: usize = 64;
/// Largest update, in bytes: a slot that could not be compressed, and what stands before it.
pub const OFFER_LEN_MAX: u64 = 520 * 1024 * 1024;

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Act {
    /// Write the offered update into the idle slot.
    Install {
        /// Even when it is older than what runs.
        downgrade: bool,
        /// Even when it failed here before.
        again: bool,
    },
    /// Restart the machine.
    Restart,
    /// Go back, or call off what waits.
    Rollback {
        /// And restart, where there is something to go back to.
        restart: bool,
    },
}

/// An order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Its name: what became of it is told with it.
    pub id: String,
    /// What is to be done.
    pub act: Act,
}

/// What became of an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// Whose.
    pub id: String,
    /// Why it was not done; `None` when it was.
    pub failed: Option<Failure>,
}

/// An order that is being obeyed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Working {
    /// Which.
    pub id: String,
    /// Bytes of the image that are written.
    pub written: u64,
    /// Bytes that are compared.
    pub compared: u64,
}

/// What everybody may know of this machine's updates.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Published {
    /// When, by this machine's clock.
    pub at: UnixMs,
    /// The id of this boot.
    pub boot: String,
    /// What became of the last order of this boot.
    pub order: Option<Outcome>,
    /// The order that is being obeyed.
    pub working: Option<Working>,
    /// How updates stand.
    #[serde(flatten)]
    pub status: Status,
}

/// Leaves an order in `dir`, in the place of one that nobody has taken.
///
/// # Errors
/// The file cannot be written.
pub fn leave(dir: &Path, order: &Order) -> io::Result<()> {
    let text = serde_json::to_vec(order)?;
    write_over(&dir.join(ORDER_NAME), &text, 0o600)
}

/// Takes the order in `dir` off; `None` where there is none.
///
/// # Errors
/// It is no file of an order, or cannot be taken off: then it must not be obeyed.
pub fn take(dir: &Path) -> io::Result<Option<Order>> {
    let path = dir.join(ORDER_NAME);
    let opened = open_hostile(&path, ORDER_LEN_MAX);
    match fs::remove_file(&path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let file = match opened {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let mut text = Vec::new();
    file.take(ORDER_LEN_MAX).read_to_end(&mut text)?;
    let order: Order = serde_json::from_slice(&text)?;
    let named = (1..=ID_LEN_MAX).contains(&order.id.len()) && order.id.is_ascii();
    if !named {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "an order without a right id"));
    }
    Ok(Some(order))
}

/// Opens a file whose folder belongs to somebody else: a regular one, of at most `len_max` bytes, that
/// is not reached through a link, and whose opening cannot wait.
///
/// # Errors
/// It is something else, or cannot be opened.
pub fn open_hostile(path: &Path, len_max: u64) -> io::Result<File> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let there = file.metadata()?;
    if !there.is_file() || there.len() > len_max {
        let reason = format!("{} is no file of at most {len_max} bytes", path.display());
        return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
    }
    Ok(file)
}

/// What is published at `path`; `None` where nothing is, or it is not understood.
#[must_use]
pub fn published(path: &Path) -> Option<Published> {
    let mut text = Vec::new();
    File::open(path).ok()?.take(PUBLISHED_LEN_MAX).read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}

/// Publishes at `path`, at once and for everybody.
///
/// # Errors
/// The file cannot be written.
pub fn publish(path: &Path, published: &Published) -> io::Result<()> {
    write_over(path, &serde_json::to_vec_pretty(published)?, 0o644)
}

fn write_over(path: &Path, text: &[u8], mode: u32) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let new = PathBuf::from(name);
    match fs::remove_file(&new) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&new)?;
    // Whatever the caller's mask takes away.
    file.set_permissions(Permissions::from_mode(mode))?;
    file.write_all(text)?;
    drop(file);
    fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn an_order_is_taken_once() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(take(dir.path()).unwrap(), None);
        let order = Order { id: "a-1".into(), act: Act::Rollback { restart: true } };
        leave(dir.path(), &Order { id: "a-0".into(), act: Act::Restart }).unwrap();
        leave(dir.path(), &order).unwrap();
        assert_eq!(take(dir.path()).unwrap(), Some(order));
        assert_eq!(take(dir.path()).unwrap(), None);
    }

    #[test]
    fn what_is_no_order_is_taken_off_and_not_obeyed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(ORDER_NAME);
        for text in ["", "{}", r#"{"id":"","act":"restart"}"#, &"x".repeat(5000)] {
            fs::write(&path, text).unwrap();
            assert!(take(dir.path()).is_err(), "{text}");
            assert!(!path.exists());
        }
        let real = dir.path().join("real");
        fs::write(&real, r#"{"id":"a","act":"restart"}"#).unwrap();
        symlink(&real, &path).unwrap();
        assert!(take(dir.path()).is_err(), "a link is not followed");
        assert!(real.exists() && !path.exists());
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(take(dir.path()).is_err(), "and a pipe does not make it wait");
    }
}
