//! Certificates and keys that both appliances of a pair hold: what one obtains, the other shows after a
//! takeover.
//!
//! Invariants: an item is durable here before [`Vault::put`] returns; of two values of one item the later
//! version wins, of one version the greater bytes, on either node and in any order, so that both end with
//! the same. At most [`ITEMS_MAX`] items. Absent: how the other node hears of them (`app`), and removing:
//! what is not wanted any more is not shown.

use super::{TlsError, files};
use crate::base::secret::{self, Secret};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// Most items. Each is a message to the other node: fewer than it lets wait.
pub const ITEMS_MAX: usize = 16;
/// Longest value, in bytes.
pub const VALUE_LEN_MAX: usize = 48 * 1024;
const FILE: &str = "vault.json";

/// One item as it is kept and told.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Item {
    /// What it is.
    pub name: String,
    /// Grows with each change.
    pub version: u64,
    /// Its content.
    #[serde(serialize_with = "secret::serialize_exposed")]
    pub value: Secret<String>,
}

/// The items. Clones are the same.
#[derive(Clone)]
pub struct Vault(Arc<Inner>);

struct Inner {
    path: PathBuf,
    items: Mutex<BTreeMap<String, Item>>,
    /// Counts what is put here.
    puts: watch::Sender<u64>,
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Vault").field("path", &self.0.path).finish_non_exhaustive()
    }
}

impl Vault {
    /// What lies in `dir` (`<data_dir>/tls`); empty where nothing does.
    ///
    /// # Errors
    /// The file cannot be read, or is damaged.
    pub fn open(dir: &Path) -> Result<Self, TlsError> {
        let path = dir.join(FILE);
        let failed = |source| TlsError::File { path: path.clone(), source };
        files::folder(dir).map_err(failed)?;
        let list: Vec<Item> = match files::read(&path).map_err(failed)? {
            None => Vec::new(),
            Some(bytes) => serde_json::from_slice(&bytes).map_err(|e| failed(e.into()))?,
        };
        let items = list.into_iter().map(|item| (item.name.clone(), item)).collect();
        let puts = watch::Sender::new(0);
        Ok(Self(Arc::new(Inner { path, items: Mutex::new(items), puts })))
    }

    /// An item's content.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Secret<String>> {
        self.lock().get(name).map(|item| item.value.clone())
    }

    /// Replaces an item. Waits for the disk.
    ///
    /// # Errors
    /// It cannot be written; there are too many, or it is too long.
    pub fn put(&self, name: &str, value: Secret<String>) -> Result<(), TlsError> {
        let mut items = self.lock();
        let version = items.get(name).map_or(0, |item| item.version).saturating_add(1);
        self.take(&mut items, Item { name: name.to_owned(), version, value })?;
        self.0.puts.send_modify(|n| *n += 1);
        Ok(())
    }

    /// Takes in what the other node holds, unless ours goes before; whether anything changed. Waits for
    /// the disk.
    ///
    /// # Errors
    /// As [`Self::put`].
    pub fn merge(&self, theirs: Item) -> Result<bool, TlsError> {
        let mut items = self.lock();
        let ours = items.get(&theirs.name);
        if ours.is_some_and(|ours| rank(ours) >= rank(&theirs)) {
            return Ok(false);
        }
        self.take(&mut items, theirs).map(|()| true)
    }

    fn take(&self, items: &mut BTreeMap<String, Item>, item: Item) -> Result<(), TlsError> {
        let failed = |source| TlsError::File { path: self.0.path.clone(), source };
        let fits = items.contains_key(&item.name) || items.len() < ITEMS_MAX;
        if !fits || item.value.expose().len() > VALUE_LEN_MAX {
            return Err(failed(std::io::Error::other("the vault is full")));
        }
        let mut next = items.clone();
        next.insert(item.name.clone(), item);
        let list: Vec<&Item> = next.values().collect();
        let text = serde_json::to_string(&list).map_err(|e| failed(e.into()))?;
        let text = Secret::new(text);
        files::write_secret(&self.0.path, text.expose().as_bytes()).map_err(failed)?;
        *items = next;
        Ok(())
    }

    /// All items, for the other node, over the pair's link only.
    #[must_use]
    pub fn export(&self) -> Vec<Item> {
        self.lock().values().cloned().collect()
    }

    /// Changes whenever an item is put here; not by a merge, which the other node knows of.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.0.puts.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Item>> {
        self.0.items.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn rank(item: &Item) -> (u64, &str) {
    (item.version, item.value.expose())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open() -> (tempfile::TempDir, Vault) {
        let dir = tempfile::tempdir().unwrap();
        let vault = Vault::open(dir.path()).unwrap();
        (dir, vault)
    }

    fn put(vault: &Vault, name: &str, value: &str) {
        vault.put(name, Secret::new(value.to_owned())).unwrap();
    }

    fn all(vault: &Vault) -> Vec<(String, u64, String)> {
        let items = vault.export().into_iter();
        items.map(|i| (i.name.clone(), i.version, i.value.expose().clone())).collect()
    }

    #[test]
    fn what_is_put_is_there_after_a_restart() {
        let (dir, vault) = open();
        put(&vault, "a", "1");
        put(&vault, "a", "2");
        let again = Vault::open(dir.path()).unwrap();
        assert_eq!(all(&again), [("a".to_owned(), 2, "2".to_owned())]);
        assert!(!format!("{:?}", again.export()).contains("\"2\""));
        std::fs::write(dir.path().join(FILE), "{").unwrap();
        assert!(Vault::open(dir.path()).is_err(), "damage is not taken for nothing");
    }

    #[test]
    fn both_nodes_end_with_the_same_in_whatever_order_they_hear() {
        let ((_a, a), (_b, b)) = (open(), open());
        put(&a, "own", "x");
        put(&b, "own", "y");
        put(&a, "acme", "old");
        put(&a, "acme", "new");
        put(&b, "acme", "other");
        let (from_a, from_b) = (a.export(), b.export());
        for item in from_b.iter().rev().chain(&from_b) {
            a.merge(item.clone()).unwrap();
        }
        for item in &from_a {
            b.merge(item.clone()).unwrap();
        }
        assert_eq!(all(&a), all(&b));
        assert_eq!(all(&a)[0].2, "new");
        assert_eq!(all(&a)[1].2, "y");
        let watch = a.watch();
        assert!(!a.merge(from_b[0].clone()).unwrap(), "nothing new");
        put(&b, "acme", "newer");
        assert!(a.merge(b.export()[0].clone()).unwrap());
        assert!(!watch.has_changed().unwrap(), "the other node knows");
        put(&a, "acme", "newest");
        assert!(watch.has_changed().unwrap());
    }

    #[test]
    fn it_has_an_end() {
        let (_dir, vault) = open();
        for n in 0..ITEMS_MAX {
            put(&vault, &n.to_string(), "x");
        }
        assert!(vault.put("more", Secret::default()).is_err());
        put(&vault, "1", "y");
        let long = Secret::new("x".repeat(VALUE_LEN_MAX + 1));
        assert!(vault.put("1", long).is_err());
        assert_eq!(vault.get("1").unwrap().expose(), "y");
    }
}
