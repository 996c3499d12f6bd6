//! What became of the pair and why: the last moves, for `status` and for the morning after.
//!
//! One JSON object a line in `<data_dir>/pair/journal`, oldest first, rewritten whole. It is told
//! after the fact and decides nothing: a damaged line is skipped.

use crate::tls::files;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::Path;
use understudy_proto::id::{Epoch, NodeId};
use understudy_proto::pair::{Role, State};
use understudy_proto::time::UnixMs;

/// Entries kept.
pub(super) const ENTRIES_MAX: usize = 100;
const NAME: &str = "journal";

/// One move.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// When.
    pub at: UnixMs,
    /// On which node.
    pub node: NodeId,
    /// State before.
    pub from: State,
    /// State after.
    pub to: State,
    /// Role before.
    pub role_from: Role,
    /// Role after.
    pub role: Role,
    /// The reign after.
    pub epoch: Epoch,
    /// Why.
    pub reason: String,
    /// Milliseconds since the session with the peer was lost, where that began it.
    pub took_ms: Option<u64>,
    /// The user of the system whose word it was (`handover`, `force-solo`), as the kernel said.
    #[serde(default)]
    pub asked_by: Option<u32>,
}

impl Entry {
    /// Whether the primary role came to this node, or it went on alone by an operator's word.
    #[must_use]
    pub fn is_move_here(&self) -> bool {
        self.role == Role::Primary && (self.role_from != Role::Primary || self.asked_by.is_some())
    }
}

/// The entries in `dir`, oldest first; none where there is no journal yet.
pub(super) fn read(dir: &Path) -> io::Result<Vec<Entry>> {
    let Some(bytes) = files::read(&dir.join(NAME))? else { return Ok(Vec::new()) };
    let text = String::from_utf8_lossy(&bytes);
    let mut entries: Vec<Entry> =
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    keep_newest(&mut entries);
    Ok(entries)
}

/// Replaces the journal in `dir`.
pub(super) fn write(dir: &Path, entries: &[Entry]) -> io::Result<()> {
    let mut text = String::new();
    for entry in entries {
        text.push_str(&serde_json::to_string(entry).map_err(io::Error::other)?);
        text.push('\n');
    }
    files::write_secret(&dir.join(NAME), text.as_bytes())
}

/// Forgets the oldest beyond [`ENTRIES_MAX`].
pub(super) fn keep_newest(entries: &mut Vec<Entry>) {
    let excess = entries.len().saturating_sub(ENTRIES_MAX);
    entries.drain(..excess);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_entries_are_kept_and_damage_is_skipped() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(dir.path()).unwrap(), []);
        let entry = |n: u64| Entry {
            at: UnixMs(n),
            node: NodeId(1),
            from: State::Recovering,
            to: State::Solo,
            role_from: Role::None,
            role: Role::Primary,
            epoch: Epoch(n),
            reason: "because\nof \"it\"".to_owned(),
            took_ms: Some(n),
            asked_by: Some(1_000),
        };
        let mut entries: Vec<Entry> = (0..150).map(entry).collect();
        keep_newest(&mut entries);
        write(dir.path(), &entries).unwrap();
        let path = dir.path().join(NAME);
        let text = format!("{{\"torn\n{}", std::fs::read_to_string(&path).unwrap());
        std::fs::write(path, text).unwrap();
        let found = read(dir.path()).unwrap();
        assert_eq!(found, entries);
        assert_eq!(found.first().unwrap().at, UnixMs(50));
    }

    #[test]
    fn an_entry_of_an_earlier_release_is_read_and_one_by_an_operators_word_is_a_move() {
        let text = r#"{"at":1,"node":0,"from":"PAIR","to":"SOLO","role_from":"primary",
            "role":"primary","epoch":2,"reason":"x","took_ms":null}"#;
        let mut entry: Entry = serde_json::from_str(text).unwrap();
        assert!(entry.asked_by.is_none() && !entry.is_move_here());
        entry.asked_by = Some(0);
        assert!(entry.is_move_here());
        // Whoever hands over moves the role away.
        entry.role = Role::Standby;
        assert!(!entry.is_move_here());
    }
}
