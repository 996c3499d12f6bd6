//! The tenants' data keys: one small file, `system/keyring`, rewritten whole.
//!
//! Invariants: a key is durable here before [`Keyring::add`] returns; the pair makes it durable on
//! the peer, too, before the tenant is used. A key under which data lies is never replaced. Keys
//! are never in the log, in an index or in a pack.
//!
//! Deliberately absent: a password over the keyring (the appliance must start unattended) and
//! erasing a key, which comes with erasing a tenant.

use super::disk::{Disk, Open};
use super::error::{Context, StoreError, lock};
use super::seal::Cipher;
use crate::base::secret::{Secret, random};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use tokio::sync::watch;
use understudy_proto::id::TenantId;
use zeroize::Zeroizing;

const MAGIC: &[u8; 4] = b"USK1";
const FORMAT: u16 = 1;
/// Magic, checksum, format, reserved, version, count.
const HEAD_LEN: usize = 24;
const ENTRY_LEN: usize = 36;
/// Largest keyring in bytes: a hundred thousand tenants.
const FILE_LEN_MAX: u64 = 4 << 20;

/// Tenant to data key.
pub struct Keyring {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    /// Held by the one who writes the file; the keys can be read meanwhile.
    writing: Mutex<()>,
    state: Mutex<State>,
    /// Whether nothing has ever been sealed here, so that a peer's keyring may replace ours.
    unused: AtomicBool,
    /// The newest version, for whoever carries the keyring to the peer.
    newest: watch::Sender<u64>,
    /// The version that is durable on every insync node.
    replicated: watch::Sender<u64>,
}

type Keys = BTreeMap<TenantId, Zeroizing<[u8; 32]>>;

#[derive(Default)]
struct State {
    version: u64,
    keys: Keys,
    ciphers: BTreeMap<TenantId, Arc<Cipher>>,
}

impl Keyring {
    /// Reads `dir`'s keyring, or makes one with the system's key. `unused` says that the log is
    /// empty; a log without a keyring is damage.
    pub(super) fn open(disk: Arc<dyn Disk>, dir: &Path, unused: bool) -> Result<Self, StoreError> {
        let path = dir.join("keyring");
        let names = disk.list(dir).context("list", dir)?;
        let exists = names.iter().any(|n| n == "keyring");
        if !exists && !unused {
            return Err(StoreError::damaged(&path, 0, "the keyring is missing, the log is not"));
        }
        let state = if exists { read(disk.as_ref(), &path)? } else { State::default() };
        let keyring = Self {
            disk,
            dir: dir.to_owned(),
            writing: Mutex::default(),
            newest: watch::Sender::new(state.version),
            replicated: watch::Sender::new(0),
            state: Mutex::new(state),
            unused: AtomicBool::new(unused),
        };
        keyring.add(TenantId::SYSTEM)?;
        Ok(keyring)
    }

    /// Counts the keyring's changes.
    #[must_use]
    pub fn version(&self) -> u64 {
        *self.newest.borrow()
    }

    /// All keys, in the file's format: only for the peer, only over mutual TLS.
    #[must_use]
    pub fn export(&self) -> Vec<u8> {
        encode(&lock(&self.state))
    }

    /// Takes in the peer's keyring and returns the version that is now durable here. On an
    /// appliance that never held a record the peer's keys replace its own.
    pub fn import(&self, exported: &[u8]) -> Result<u64, StoreError> {
        let path = self.dir.join("keyring");
        let theirs = decode(&path, exported)?;
        let _writing = lock(&self.writing);
        // Nobody may begin to seal with a key of ours while it is being replaced.
        let mut state = lock(&self.state);
        let fresh = self.unused.load(Ordering::Acquire);
        let mut next = State { version: theirs.version.max(state.version), ..State::default() };
        if !fresh {
            next.keys.clone_from(&state.keys);
        }
        for (tenant, key) in theirs.keys {
            if next.keys.get(&tenant).is_some_and(|ours| *ours != key) {
                return Err(StoreError::KeyConflict(tenant));
            }
            next.keys.insert(tenant, key);
        }
        if next.keys != state.keys || next.version != state.version {
            self.write(&next)?;
            *state = next;
            self.newest.send_replace(state.version);
        }
        Ok(state.version)
    }

    /// The version and the keys as they are.
    fn held(&self) -> (u64, Keys) {
        let state = lock(&self.state);
        (state.version, state.keys.clone())
    }

    /// Our keys and `theirs`, theirs where the two differ, in the file's format: for a copy of the
    /// peer's data.
    pub(super) fn with(&self, theirs: &[u8]) -> Result<Zeroizing<Vec<u8>>, StoreError> {
        let theirs = decode(&self.dir.join("keyring"), theirs)?;
        let state = lock(&self.state);
        let mut both = State { version: theirs.version.max(state.version), ..State::default() };
        both.keys.clone_from(&state.keys);
        both.keys.extend(theirs.keys);
        Ok(Zeroizing::new(encode(&both)))
    }

    /// All tenants that have a key, ascending.
    #[must_use]
    pub fn tenants(&self) -> Vec<TenantId> {
        lock(&self.state).keys.keys().copied().collect()
    }

    /// Gives `tenant` a key unless it has one; returns the version that holds it.
    pub fn add(&self, tenant: TenantId) -> Result<u64, StoreError> {
        let _writing = lock(&self.writing);
        let (version, keys) = self.held();
        if keys.contains_key(&tenant) {
            return Ok(version);
        }
        let mut next = State { version: version + 1, keys, ..State::default() };
        next.keys.insert(tenant, Zeroizing::new(random()));
        self.write(&next)?;
        let version = next.version;
        {
            let mut state = lock(&self.state);
            next.ciphers = std::mem::take(&mut state.ciphers);
            *state = next;
        }
        self.newest.send_replace(version);
        Ok(version)
    }

    /// Follows the newest version.
    #[must_use]
    pub fn newest(&self) -> watch::Receiver<u64> {
        self.newest.subscribe()
    }

    /// `version` is durable on every insync node. Only the pair knows and says so.
    pub fn mark_replicated(&self, version: u64) {
        self.replicated.send_if_modified(|known| {
            let higher = version > *known;
            *known = version.max(*known);
            higher
        });
    }

    /// Returns once `version` is durable on every insync node: a key is used only from then on.
    pub async fn replicated(&self, version: u64) {
        let mut replicated = self.replicated.subscribe();
        // The sender lives in `self`, so that the wait ends only with the version.
        let _gone = replicated.wait_for(|known| *known >= version).await.is_err();
    }

    /// Whether `tenant` has a key.
    #[must_use]
    pub fn has(&self, tenant: TenantId) -> bool {
        lock(&self.state).keys.contains_key(&tenant)
    }

    /// A key for `purpose` alone, made of the tenant's: every node has the same.
    pub fn derived(&self, tenant: TenantId, purpose: &str) -> Result<Secret<[u8; 32]>, StoreError> {
        let state = lock(&self.state);
        let key = state.keys.get(&tenant).ok_or(StoreError::UnknownTenant(tenant))?;
        Ok(Secret::new(blake3::derive_key(purpose, key.as_slice())))
    }

    /// The tenant's key, to seal data that will be durable: from here on a peer's keyring no longer
    /// replaces this one.
    pub(super) fn sealing_cipher(&self, tenant: TenantId) -> Result<Arc<Cipher>, StoreError> {
        self.unused.store(false, Ordering::Release);
        self.cipher(tenant)
    }

    /// The tenant's key, ready for use.
    pub(super) fn cipher(&self, tenant: TenantId) -> Result<Arc<Cipher>, StoreError> {
        let mut state = lock(&self.state);
        if let Some(cipher) = state.ciphers.get(&tenant) {
            return Ok(Arc::clone(cipher));
        }
        let key = state.keys.get(&tenant).ok_or(StoreError::UnknownTenant(tenant))?;
        let cipher = Arc::new(Cipher::new(tenant, key));
        state.ciphers.insert(tenant, Arc::clone(&cipher));
        Ok(cipher)
    }

    fn write(&self, state: &State) -> Result<(), StoreError> {
        let (path, temporary) = (self.dir.join("keyring"), self.dir.join("keyring.tmp"));
        let bytes = Zeroizing::new(encode(state));
        let file = self.disk.open(&temporary, Open::Create).context("create", &temporary)?;
        file.write_at(0, &bytes).context("write", &temporary)?;
        file.sync_data().context("sync", &temporary)?;
        self.disk.rename(&temporary, &path).context("rename", &temporary)?;
        self.disk.sync_dir(&self.dir).context("sync", &self.dir)
    }
}

impl std::fmt::Debug for Keyring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keyring").field("version", &self.version()).finish_non_exhaustive()
    }
}

fn read(disk: &dyn Disk, path: &Path) -> Result<State, StoreError> {
    let file = disk.open(path, Open::Existing).context("open", path)?;
    let len = file.len().context("measure", path)?;
    if len > FILE_LEN_MAX {
        return Err(StoreError::damaged(path, len, "the keyring is too long"));
    }
    let mut bytes = Zeroizing::new(vec![0; usize::try_from(len).unwrap_or(0)]);
    file.read_at(0, &mut bytes).context("read", path)?;
    decode(path, &bytes)
}

fn encode(state: &State) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&FORMAT.to_le_bytes());
    out.extend_from_slice(&[0; 2]);
    out.extend_from_slice(&state.version.to_le_bytes());
    out.extend_from_slice(&u32::try_from(state.keys.len()).unwrap_or(u32::MAX).to_le_bytes());
    for (tenant, key) in &state.keys {
        out.extend_from_slice(&tenant.0.to_le_bytes());
        out.extend_from_slice(key.as_slice());
    }
    let crc = crc32c::crc32c(out.get(8..).unwrap_or_default());
    if let Some(slot) = out.get_mut(4..8) {
        slot.copy_from_slice(&crc.to_le_bytes());
    }
    out
}

fn decode(path: &Path, bytes: &[u8]) -> Result<State, StoreError> {
    let damaged = |at: u64, what: &str| StoreError::damaged(path, at, what);
    let (head, entries) =
        bytes.split_at_checked(HEAD_LEN).ok_or_else(|| damaged(0, "it is too short"))?;
    let mut fields = Fields(head);
    if &fields.take::<4>() != MAGIC {
        return Err(damaged(0, "it is not a keyring"));
    }
    let crc = u32::from_le_bytes(fields.take());
    if crc32c::crc32c(bytes.get(8..).unwrap_or_default()) != crc {
        return Err(damaged(4, "the checksum is wrong"));
    }
    let format = u16::from_le_bytes(fields.take());
    if format != FORMAT {
        return Err(StoreError::Version { path: path.to_owned(), found: format, known: FORMAT });
    }
    let _reserved: [u8; 2] = fields.take();
    let mut state = State { version: u64::from_le_bytes(fields.take()), ..State::default() };
    let count = u32::from_le_bytes(fields.take());
    let (pieces, rest) = entries.as_chunks::<ENTRY_LEN>();
    if !rest.is_empty() || u32::try_from(pieces.len()) != Ok(count) {
        return Err(damaged(20, "the number of keys is wrong"));
    }
    for piece in pieces {
        let mut fields = Fields(piece);
        let tenant = TenantId(u32::from_le_bytes(fields.take()));
        state.keys.insert(tenant, Zeroizing::new(fields.take()));
    }
    Ok(state)
}

/// Takes fixed-width fields off the front of bytes; zeros past their end.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl Fields<'_> {
    pub(super) fn take<const N: usize>(&mut self) -> [u8; N] {
        match self.0.split_first_chunk::<N>() {
            Some((field, rest)) => {
                self.0 = rest;
                *field
            }
            None => [0; N],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::disk::{Cut, SimDisk};

    fn dir() -> PathBuf {
        PathBuf::from("/s")
    }

    #[test]
    fn keys_survive_and_differ() {
        let disk = SimDisk::empty(&dir());
        let ring = Keyring::open(Arc::new(disk.clone()), &dir(), true).unwrap();
        assert_eq!(ring.version(), 1);
        assert_eq!(ring.add(TenantId(5)).unwrap(), 2);
        assert_eq!(ring.add(TenantId(5)).unwrap(), 2);
        let exported = ring.export();
        let disk = SimDisk::new(&disk.cut(Cut::Lost));
        let again = Keyring::open(Arc::new(disk), &dir(), false).unwrap();
        assert_eq!(again.export(), exported);
        let sealed = ring.cipher(TenantId(5)).unwrap().seal_value(b"k", b"v").unwrap();
        assert_eq!(again.cipher(TenantId(5)).unwrap().open_value(b"k", &sealed).unwrap(), b"v");
        assert!(again.cipher(TenantId(0)).unwrap().open_value(b"k", &sealed).is_err());
        assert!(matches!(again.cipher(TenantId(6)), Err(StoreError::UnknownTenant(_))));
    }

    #[test]
    fn a_fresh_appliance_takes_its_peers_keys_and_a_used_one_refuses_others() {
        let open = || Keyring::open(Arc::new(SimDisk::empty(&dir())), &dir(), true).unwrap();
        let (primary, standby) = (open(), open());
        primary.add(TenantId(1)).unwrap();
        assert_eq!(standby.import(&primary.export()).unwrap(), 2);
        assert_eq!(standby.export(), primary.export());
        standby.sealing_cipher(TenantId(1)).unwrap();
        primary.add(TenantId(2)).unwrap();
        assert_eq!(standby.import(&primary.export()).unwrap(), 3);
        let stranger = open();
        assert!(matches!(standby.import(&stranger.export()), Err(StoreError::KeyConflict(_))));
        assert_eq!(standby.export(), primary.export());
    }

    #[test]
    fn damage_is_named() {
        let disk = SimDisk::empty(&dir());
        Keyring::open(Arc::new(disk.clone()), &dir(), true).unwrap();
        let image = disk.cut(Cut::Kept);
        let whole = image.files[&dir().join("keyring")].to_vec();
        for at in 0..whole.len() {
            let mut image = image.clone();
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            image.files.insert(dir().join("keyring"), Arc::new(bytes));
            let e = Keyring::open(Arc::new(SimDisk::new(&image)), &dir(), false).unwrap_err();
            assert!(e.to_string().contains("/s/keyring"), "{e}");
        }
        let empty = Keyring::open(Arc::new(SimDisk::empty(&dir())), &dir(), false).unwrap_err();
        assert!(empty.to_string().contains("missing"), "{empty}");
    }
}
