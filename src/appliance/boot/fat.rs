//! The FAT partition UNDERSTUDY, which any laptop can edit: mounted for moments only.
//!
//! Invariants: a file is replaced by writing a new one beside it, syncing it and renaming it: a power
//! cut leaves the old one or the new one, as far as FAT can promise. Where the boot disk is not known
//! for sure there is no FAT.

use crate::appliance::disk::inventory::{FAT, Inventory};
use crate::appliance::disk::perform::{KEY_FILE, KeyFile};
use crate::appliance::disk::{drive, plan, scan};
use crate::appliance::site::FILE_LEN_MAX;
use crate::base::secret::Secret;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use std::cell::RefCell;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// Where it is mounted, for moments.
pub const PLACE: &str = "/run/understudy/fat";
/// The file that says what this appliance is.
const SITE: &str = "site.toml";
/// The file that says how it is.
const STATUS: &str = "STATUS.txt";
/// What was tried in the place of the site file, and nobody confirmed.
const REVERTED: &str = "site.reverted.toml";
/// Longest key file that is read, in bytes.
const KEY_LEN_MAX: u64 = 4096;

/// The FAT of the boot disk.
#[derive(Debug, Default)]
pub struct Fat {
    /// The key file, once it was read.
    key: RefCell<Option<Secret<Vec<u8>>>>,
}

impl Fat {
    /// Its device, as the kernel has it now; `None` where it is not known for sure.
    fn device() -> Option<PathBuf> {
        let kernel = drive::kernel_arguments();
        let inventory = Inventory { kernel, disks: scan::disks(), ..Inventory::default() };
        let disk = plan::boot_disk(&inventory).ok().flatten()?;
        disk.named(FAT).and_then(|entry| disk.node(entry)).map(|node| scan::device(&node.name))
    }

    /// Whether there is one.
    #[must_use]
    pub fn is_there() -> bool {
        Self::device().is_some()
    }

    /// The site file as it lies there; `None` if it does not.
    ///
    /// # Errors
    /// The partition cannot be read; why, in words.
    pub fn site() -> Result<Option<Vec<u8>>, String> {
        if Self::device().is_none() {
            return Ok(None);
        }
        let most = u64::try_from(FILE_LEN_MAX).unwrap_or(u64::MAX).saturating_add(1);
        Self::with(false, |folder| read_file(&folder.join(SITE), most)).map_err(|e| e.to_string())
    }

    /// Replaces the site file.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn put_site(text: &str) -> io::Result<()> {
        Self::with(true, |folder| replace(folder, SITE, text.as_bytes()))
    }

    /// Puts beside the site file what was tried in its place.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn set_aside(text: &str) -> io::Result<()> {
        Self::with(true, |folder| replace(folder, REVERTED, text.as_bytes()))
    }

    /// Replaces `STATUS.txt`.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn put_status(text: &str) -> io::Result<()> {
        Self::with(true, |folder| replace(folder, STATUS, text.as_bytes()))
    }

    /// Mounts it, does something with it, and lets go of it again.
    fn with<T>(write: bool, act: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
        let device = Self::device().ok_or_else(|| io::Error::other("it is not there"))?;
        let place = Path::new(PLACE);
        fs::create_dir_all(place)?;
        let mut flags = MsFlags::MS_NODEV | MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
        if !write {
            flags |= MsFlags::MS_RDONLY;
        }
        mount(Some(&device), place, Some("vfat"), flags, Some("umask=0077"))?;
        let done = act(place);
        // Somebody may look at it just now; it goes when they have.
        let gone =
            umount2(place, MntFlags::empty()).or_else(|_| umount2(place, MntFlags::MNT_DETACH));
        let done = done?;
        gone?;
        Ok(done)
    }
}

impl KeyFile for Fat {
    fn read(&self) -> Option<Secret<Vec<u8>>> {
        if self.key.borrow().is_none() && Self::device().is_some() {
            let read = Self::with(false, |folder| read_file(&folder.join(KEY_FILE), KEY_LEN_MAX));
            *self.key.borrow_mut() = read.ok().flatten().filter(|k| !k.is_empty()).map(Secret::new);
        }
        self.key.borrow().clone()
    }

    fn keep(&self, key: &Secret<Vec<u8>>) -> io::Result<()> {
        Self::with(true, |folder| {
            // It may open something, although it could not be read a moment ago.
            if folder.join(KEY_FILE).exists() {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            replace(folder, KEY_FILE, key.expose())
        })?;
        *self.key.borrow_mut() = Some(key.clone());
        Ok(())
    }
}

/// The start of a file; `None` if it is not there.
fn read_file(path: &Path, most: u64) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

/// Puts a whole new file in the place of one.
pub(super) fn replace(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let new = folder.join(format!("{name}.new"));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, folder.join(name))?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_as_a_whole() {
        let folder = tempfile::tempdir().unwrap();
        replace(folder.path(), SITE, b"old and long").unwrap();
        fs::write(folder.path().join("site.toml.new"), "left by a power cut, longer").unwrap();
        replace(folder.path(), SITE, b"new").unwrap();
        assert_eq!(read_file(&folder.path().join(SITE), 99).unwrap().unwrap(), b"new");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        assert_eq!(read_file(&folder.path().join(KEY_FILE), 9).unwrap(), None);
        assert_eq!(read_file(&folder.path().join(SITE), 2).unwrap().unwrap(), b"ne");
    }
}
