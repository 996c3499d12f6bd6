//! What operators and administrators of tenants have done on this node: `<data_dir>/audit.log`.
//!
//! One JSON object a line, durable before the answer goes out; what cannot be kept is logged, and done all
//! the same. Invariants: at most [`FILE_LEN_MAX`] bytes a file and one older file; a line that a power cut
//! tore is passed over. Deliberately absent: the other node's lines, and proof against root.

use super::request::AuditEntry;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Most entries of one answer.
pub const SHOWN_MAX: usize = 1_000;
/// A file that is longer becomes the older one, in bytes.
const FILE_LEN_MAX: u64 = 4 * 1024 * 1024;
/// Longest text of an entry, in characters.
const TEXT_LEN_MAX: usize = 500;
const FILE: &str = "audit.log";
const OLDER: &str = "audit.log.1";

/// The audit of this node. Clones are the same.
#[derive(Clone, Debug)]
pub struct Audit(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    dir: PathBuf,
    len_max: u64,
    /// Held while a file is written or read.
    turn: Mutex<()>,
}

impl Audit {
    /// The audit in `data_dir`.
    #[must_use]
    pub fn new(data_dir: &Path) -> Self {
        Self::of_len(data_dir, FILE_LEN_MAX)
    }

    fn of_len(data_dir: &Path, len_max: u64) -> Self {
        Self(Arc::new(Inner { dir: data_dir.to_owned(), len_max, turn: Mutex::new(()) }))
    }

    /// Keeps an entry. Waits for the disk.
    ///
    /// # Errors
    /// Those of the file.
    pub fn keep(&self, mut entry: AuditEntry) -> io::Result<()> {
        for text in [&mut entry.about, &mut entry.what] {
            *text = text.chars().take(TEXT_LEN_MAX).collect();
        }
        let mut line = serde_json::to_vec(&entry)?;
        line.push(b'\n');
        let _turn = self.0.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let path = self.0.dir.join(FILE);
        let mut file = open(&path)?;
        let mut len = file.metadata()?.len();
        if len >= self.0.len_max {
            fs::rename(&path, self.0.dir.join(OLDER))?;
            file = open(&path)?;
            File::open(&self.0.dir)?.sync_all()?;
            len = 0;
        }
        if len > 0 && is_torn(&mut file)? {
            line.insert(0, b'\n');
        }
        file.write_all(&line)?;
        file.sync_data()?;
        if len == 0 {
            File::open(&self.0.dir)?.sync_all()?;
        }
        Ok(())
    }

    /// The latest `limit` of the entries that are `wanted`, the latest first.
    ///
    /// # Errors
    /// Those of the files.
    pub fn latest(
        &self,
        limit: usize,
        wanted: impl Fn(&AuditEntry) -> bool,
    ) -> io::Result<Vec<AuditEntry>> {
        let _turn = self.0.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let mut found = Vec::new();
        for name in [FILE, OLDER] {
            let file = match File::open(self.0.dir.join(name)) {
                Ok(file) => file,
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                Err(e) => return Err(e),
            };
            let mut of_file = Vec::new();
            for line in BufReader::new(file).split(b'\n') {
                let entry = serde_json::from_slice::<AuditEntry>(&line?);
                of_file.extend(entry.ok().filter(&wanted));
            }
            of_file.reverse();
            found.append(&mut of_file);
        }
        found.truncate(limit);
        Ok(found)
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)
}

/// Whether the last line has no end.
fn is_torn(file: &mut File) -> io::Result<bool> {
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last != *b"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(n: u64) -> AuditEntry {
        AuditEntry {
            when_ms: n,
            by: "operator anna".into(),
            tenant: n.is_multiple_of(2).then_some(2),
            command: "tenant-create".into(),
            about: "ü".repeat(1_000),
            ok: true,
            what: String::new(),
        }
    }

    fn numbers(all: &[AuditEntry]) -> Vec<u64> {
        all.iter().map(|entry| entry.when_ms).collect()
    }

    #[test]
    fn the_latest_come_first_and_the_oldest_go() {
        let dir = tempfile::tempdir().unwrap();
        let audit = Audit::of_len(dir.path(), 3_000);
        assert!(audit.latest(9, |_| true).unwrap().is_empty());
        for n in 0..20 {
            audit.keep(entry(n)).unwrap();
        }
        assert_eq!(numbers(&audit.latest(3, |_| true).unwrap()), [19, 18, 17]);
        let all = audit.latest(99, |_| true).unwrap();
        assert!((3..10).contains(&all.len()), "{}", all.len());
        assert_eq!(all[0].about.chars().count(), TEXT_LEN_MAX);
        let theirs = audit.latest(2, |entry| entry.tenant == Some(2)).unwrap();
        assert_eq!(numbers(&theirs), [18, 16]);
    }

    #[test]
    fn a_line_that_was_torn_is_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let audit = Audit::new(dir.path());
        audit.keep(entry(1)).unwrap();
        let path = dir.path().join(FILE);
        let whole = fs::read(&path).unwrap();
        for len in 0..whole.len() {
            fs::write(&path, [whole.as_slice(), &whole[..len]].concat()).unwrap();
            audit.keep(entry(2)).unwrap();
            let all = numbers(&audit.latest(9, |_| true).unwrap());
            let cut_is_whole = len + 1 == whole.len();
            assert_eq!(all, if cut_is_whole { vec![2, 1, 1] } else { vec![2, 1] }, "{len}");
        }
    }
}
