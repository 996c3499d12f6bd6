//! Whether anything depends on this machine yet: until then a changed site file needs nobody's word.
//!
//! Invariants: reads only. Whatever cannot be read, or is not understood, counts as in use. The places
//! are those of the rooms `pair` and `store`, which this one may not call; tests hold them together.

use serde_json::Value;
use std::fs;
use std::io;
use std::path::Path;

/// Who this appliance is in its pair, below the data directory.
const IDENTITY: &str = "pair/identity.json";
/// There, once the other appliance has joined.
const PEER: &str = "peer_certificate_pem";
/// The tenants' keys: each has its own before anything of it is written.
const KEYRING: &str = "system/keyring";
/// Its length, in bytes, while only the system's own data has one.
const KEYRING_BARE: u64 = 60;
/// Folders that hold mail, or did.
const MAIL: [&str; 4] = ["tenants", "branches", "retired", "incoming"];

/// Whether the data directory holds neither a tenant nor a pair that two appliances have formed.
#[must_use]
pub fn installing(data_dir: &Path) -> bool {
    unformed(data_dir).unwrap_or(false)
        && bare(data_dir).unwrap_or(false)
        && MAIL.iter().all(|name| empty(&data_dir.join(name)).unwrap_or(false))
}

fn unformed(data_dir: &Path) -> io::Result<bool> {
    let Some(bytes) = there(fs::read(data_dir.join(IDENTITY)))? else { return Ok(true) };
    let identity: Value = serde_json::from_slice(&bytes)?;
    Ok(identity.get(PEER) == Some(&Value::Null))
}

fn bare(data_dir: &Path) -> io::Result<bool> {
    let keyring = there(fs::metadata(data_dir.join(KEYRING)))?;
    Ok(keyring.is_none_or(|file| file.len() <= KEYRING_BARE))
}

fn empty(folder: &Path) -> io::Result<bool> {
    Ok(there(fs::read_dir(folder))?.is_none_or(|mut entries| entries.next().is_none()))
}

/// `None` for what is not there.
fn there<T>(found: io::Result<T>) -> io::Result<Option<T>> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::PairSecret;
    use crate::pair::formation;
    use crate::store::disk::RealDisk;
    use crate::store::{Store, StoreOptions};
    use std::sync::Arc;
    use understudy_proto::id::{NodeId, TenantId};
    use understudy_proto::rule::Registry;
    use understudy_proto::time::UnixMs;

    /// An appliance that waits for the other one has formed no pair; one that both have has.
    #[test]
    fn a_pair_counts_once_the_other_has_joined() {
        let dir = tempfile::tempdir().unwrap();
        assert!(installing(dir.path()), "nothing at all");
        formation::init_by_secret(dir.path(), &PairSecret::random(), UnixMs(1)).unwrap();
        assert!(installing(dir.path()), "nobody has joined");
        let path = dir.path().join(IDENTITY);
        let mut identity: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        assert!(identity.get(PEER).is_some(), "the identity has another form now");
        identity[PEER] = Value::String("-----BEGIN".to_owned());
        fs::write(&path, identity.to_string()).unwrap();
        assert!(!installing(dir.path()));
        fs::write(&path, "{}").unwrap();
        assert!(!installing(dir.path()), "what is not understood");
        fs::write(&path, "").unwrap();
        assert!(!installing(dir.path()), "what is damaged");
    }

    /// The store makes the system's key by itself, and a tenant's before the tenant.
    #[test]
    fn a_tenant_counts_from_its_key_on() {
        let dir = tempfile::tempdir().unwrap();
        let options = StoreOptions::new(dir.path(), NodeId(0));
        let store = Store::open(Arc::new(RealDisk), options, Registry::default()).unwrap();
        assert!(installing(dir.path()), "the store of nobody");
        store.add_tenant_key(TenantId(1)).unwrap();
        assert!(!installing(dir.path()));
    }

    #[test]
    fn mail_counts_wherever_it_lies() {
        for name in MAIL {
            let dir = tempfile::tempdir().unwrap();
            fs::create_dir(dir.path().join(name)).unwrap();
            assert!(installing(dir.path()), "an empty {name}");
            fs::create_dir(dir.path().join(name).join("1")).unwrap();
            assert!(!installing(dir.path()), "{name}");
            fs::remove_dir_all(dir.path().join(name)).unwrap();
            fs::write(dir.path().join(name), "no folder").unwrap();
            assert!(!installing(dir.path()), "{name} cannot be read");
        }
    }
}
