//! Room for a start on a disk that is full: one file, `ballast`, which is thrown off when not even a
//! segment of the log fits any more, and taken aboard again when there is room.
//!
//! Invariants: the program keeps a reserve and does not fill its disk; something else may. Whoever starts
//! then can write the little that a start needs (process ids, the pair's register, the log's next segment):
//! mail is refused (the reserve is not there), and what is kept can be read and deleted.
//!
//! Deliberately absent: looking while the program runs. A disk that was full at one start and is full at
//! the next without the ballast needs a person.

use super::disk::{Disk, Open};
use super::error::{Context, StoreError};
use std::path::Path;

/// The file's name in the data directory.
const NAME: &str = "ballast";
/// For what a start writes besides a segment of the log, in bytes.
const MORE: u64 = 16 << 20;

/// Throws the ballast off, or takes it aboard; whether it was thrown off. To be called before anything in
/// `dir` is written. `segment_len` and `reserve` are those of the store, in bytes.
///
/// # Errors
/// Where the disk refuses.
pub fn trim(
    disk: &dyn Disk,
    dir: &Path,
    segment_len: u64,
    reserve: u64,
) -> Result<bool, StoreError> {
    let path = dir.join(NAME);
    let len = segment_len.saturating_add(MORE);
    let free = disk.free(dir).context("ask for the free space of", dir)?;
    let aboard = disk.list(dir).context("list", dir)?.iter().any(|name| name == NAME);
    if aboard && free < segment_len {
        disk.remove(&path).context("remove", &path)?;
        disk.sync_dir(dir).context("sync", dir)?;
        return Ok(true);
    }
    if !aboard && free >= reserve.saturating_add(len) {
        let file = disk.open(&path, Open::Create).context("create", &path)?;
        file.allocate(len).context("reserve space for", &path)?;
        file.sync_data().context("sync", &path)?;
        disk.sync_dir(dir).context("sync", dir)?;
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::disk::SimDisk;

    const SEGMENT: u64 = 64 << 20;
    const RESERVE: u64 = 1 << 30;

    #[test]
    fn it_goes_when_the_disk_is_full_and_comes_back_with_room() {
        let dir = Path::new("/data");
        let disk = SimDisk::empty(dir);
        let trim = || trim(&disk, dir, SEGMENT, RESERVE).unwrap();
        let has = || disk.list(dir).unwrap().contains(&NAME.to_owned());
        // None is taken aboard where it would touch the reserve.
        disk.say_free(Some(RESERVE + SEGMENT));
        assert!(!trim() && !has());
        disk.say_free(Some(RESERVE + SEGMENT + MORE));
        assert!(!trim() && has());
        // Below its reserve the program still starts by itself.
        disk.say_free(Some(SEGMENT));
        assert!(!trim() && has());
        disk.fill(true);
        assert!(trim() && !has());
        // And once only.
        assert!(!trim() && !has());
        disk.fill(false);
        disk.say_free(Some(RESERVE + SEGMENT + MORE));
        assert!(!trim() && has());
        let file = disk.open(&dir.join(NAME), Open::Existing).unwrap();
        assert_eq!(file.len().unwrap(), SEGMENT + MORE);
    }
}
