//! Small secret files: written whole or not at all, readable by us only.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Largest file that [`read`] takes, in bytes.
pub const FILE_LEN_MAX: u64 = 1 << 20;

/// Makes `dir` (mode 0700) where it is missing.
///
/// # Errors
/// As mkdir(2).
pub fn folder(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    if let Some(parent) = dir.parent() {
        sync_dir(parent)?;
    }
    Ok(())
}

/// Replaces `path` by `bytes` (mode 0600): after a power cut the old or the new file is there,
/// never a mixture. Returns when the new one is durable.
///
/// # Errors
/// The old file stands when this fails before the rename. A failed sync of the folder leaves it
/// open which of the two a power cut would leave.
pub fn write_secret(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a file's path"));
    };
    let mut new = name.to_os_string();
    new.push(".new");
    let new = dir.join(new);
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    // A file left behind by a crash may have been made with other rights.
    file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
    file.write_all(bytes)?;
    file.sync_all()?;
    drop(file);
    std::fs::rename(&new, path)?;
    sync_dir(dir)
}

/// Reads all of `path`; `None` where there is no such file.
///
/// # Errors
/// As open(2) and read(2); files above [`FILE_LEN_MAX`] are refused.
pub fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    let mut bytes = Vec::new();
    file.take(FILE_LEN_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_LEN_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the file is too large"));
    }
    Ok(Some(bytes))
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    File::open(dir)?.sync_all()
}
