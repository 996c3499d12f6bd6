//! The operating system's files. Modes are 0600 and 0700: nobody else reads mail.

use super::{Disk, DiskFile, Lock, Open};
use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate, posix_fallocate};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

/// The disk of the machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

#[derive(Debug)]
struct RealFile(File);

struct RealLock {
    // Held for its drop: closing the file gives the lock back.
    _file: File,
}

impl Lock for RealLock {}

impl Disk for RealDisk {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn DiskFile>> {
        let create = how == Open::Create;
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(create)
            .truncate(create)
            .mode(0o600)
            .open(path)?;
        Ok(Arc::new(RealFile(file)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_dir(path)
    }

    fn is_dir(&self, path: &Path) -> io::Result<bool> {
        match std::fs::symlink_metadata(path) {
            Ok(found) => Ok(found.is_dir()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(e),
        }
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        match DirBuilder::new().mode(0o700).create(path) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
            other => other,
        }
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(path)? {
            // Names that are not UTF-8 are not ours.
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn free(&self, path: &Path) -> io::Result<u64> {
        let stat = nix::sys::statvfs::statvfs(path)?;
        Ok(stat.blocks_available().saturating_mul(stat.fragment_size()))
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Box::new(RealLock { _file: file }))),
            Err(std::fs::TryLockError::WouldBlock) => Ok(None),
            Err(std::fs::TryLockError::Error(e)) => Err(e),
        }
    }
}

impl DiskFile for RealFile {
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(out, offset)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write_all_at(data, offset)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        if self.len()? >= len {
            return Ok(());
        }
        let end = i64::try_from(len).map_err(|e| io::Error::new(io::ErrorKind::InvalidInput, e))?;
        match posix_fallocate(&self.0, 0, end) {
            Ok(()) => Ok(()),
            // Some file systems cannot reserve; zeros on demand are as correct, only slower.
            Err(Errno::EOPNOTSUPP | Errno::EINVAL) => self.0.set_len(len),
            Err(e) => Err(e.into()),
        }
    }

    fn zero(&self, from: u64, to: u64) -> io::Result<()> {
        let wrong = |e| io::Error::new(io::ErrorKind::InvalidInput, e);
        let start = i64::try_from(from).map_err(wrong)?;
        let len = i64::try_from(to.saturating_sub(from)).map_err(wrong)?;
        if len == 0 {
            return Ok(());
        }
        match fallocate(&self.0, FallocateFlags::FALLOC_FL_ZERO_RANGE, start, len) {
            Ok(()) => Ok(()),
            // Some file systems cannot; to give the room back and take it again is as correct, where
            // there is room.
            Err(Errno::EOPNOTSUPP | Errno::EINVAL) => {
                self.set_len(from)?;
                self.sync_data()?;
                self.allocate(to)
            }
            Err(e) => Err(e.into()),
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_behave() {
        let dir = tempfile::tempdir().unwrap();
        let disk = RealDisk;
        let sub = dir.path().join("sub");
        disk.create_dir(&sub).unwrap();
        disk.create_dir(&sub).unwrap();
        let file = disk.open(&sub.join("a"), Open::Create).unwrap();
        file.allocate(8192).unwrap();
        assert_eq!(file.len().unwrap(), 8192);
        file.allocate(10).unwrap();
        assert_eq!(file.len().unwrap(), 8192);
        file.write_at(1, b"to be zeros").unwrap();
        file.zero(2, 8192).unwrap();
        assert_eq!(file.len().unwrap(), 8192);
        let mut zeroed = [1; 12];
        file.read_at(1, &mut zeroed).unwrap();
        assert_eq!(&zeroed, b"t\0\0\0\0\0\0\0\0\0\0\0");
        file.zero(8192, 8192).unwrap();
        file.write_at(8190, b"word").unwrap();
        file.sync_data().unwrap();
        let mut out = [0; 4];
        file.read_at(8190, &mut out).unwrap();
        assert_eq!(&out, b"word");
        assert!(file.read_at(8191, &mut out).is_err());
        file.set_len(3).unwrap();
        disk.rename(&sub.join("a"), &sub.join("b")).unwrap();
        disk.sync_dir(&sub).unwrap();
        assert_eq!(disk.list(&sub).unwrap(), ["b"]);
        let lock = disk.lock(&sub.join("lock")).unwrap();
        assert!(lock.is_some() && disk.lock(&sub.join("lock")).unwrap().is_none());
        assert!(disk.is_dir(&sub).unwrap() && !disk.is_dir(&sub.join("b")).unwrap());
        assert!(!disk.is_dir(&sub.join("none")).unwrap());
        disk.remove(&sub.join("b")).unwrap();
        assert!(disk.open(&sub.join("b"), Open::Existing).is_err());
        drop(lock);
        disk.remove(&sub.join("lock")).unwrap();
        disk.rename(&sub, &dir.path().join("moved")).unwrap();
        disk.remove_dir(&dir.path().join("moved")).unwrap();
    }
}
