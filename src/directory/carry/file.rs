//! The file that a tenant travels in: `docs/design/tenant_export.md` has the layout.
//!
//! Invariants: nothing of a tenant is outside a sealed chunk; chunks cannot be left out, moved or cut
//! off unnoticed; a file bears its name only when it is whole and durable. The passphrase's key opens
//! only the file's own random key, so that a file can be given another passphrase by its head alone.

use super::CarryError;
use crate::base::secret::{Secret, random};
use crate::store::disk::{Disk, DiskFile, Open};
use argon2::{Algorithm, Argon2, Params, Version};
use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{KeyInit, XChaCha20Poly1305};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use understudy_proto::codec;
use zeroize::Zeroizing;

const MAGIC: &[u8; 8] = b"USTENANT";
const VERSION: u16 = 1;
/// Length of the head in bytes.
const HEAD_LEN: usize = 128;
/// Up to here the head is what the file's key is sealed with.
const HEAD_CLEAR_LEN: usize = 56;
const NONCE_LEN: usize = 24;
const TAG_LEN: usize = 16;
/// Plain bytes of a chunk; a single longer item makes a longer one.
const CHUNK_LEN: usize = 1 << 20;
/// Longest plain chunk that is read, in bytes.
const CHUNK_LEN_MAX: usize = 16 << 20;
/// argon2id: 64 MiB, three passes. Only who has the file may try passphrases.
const MEMORY_KIB: u32 = 64 * 1024;
const PASSES: u32 = 3;
/// Most memory that a file may ask for, in KiB.
const MEMORY_KIB_MAX: u32 = 1 << 20;
const PASSES_MAX: u32 = 20;
/// zstd's level for chunks.
const ZSTD_LEVEL: i32 = 1;

/// What both sides need to seal and open chunks.
struct Seal {
    aead: XChaCha20Poly1305,
    head: [u8; HEAD_LEN],
    number: u64,
}

impl Seal {
    /// The nonce says which chunk it is and whether it is the last; the key is the file's own.
    fn nonce(&mut self, last: bool) -> [u8; NONCE_LEN] {
        let mut nonce = [0; NONCE_LEN];
        for (slot, byte) in nonce.iter_mut().zip(self.number.to_le_bytes()) {
            *slot = byte;
        }
        if let Some(slot) = nonce.last_mut() {
            *slot = u8::from(last);
        }
        self.number = self.number.saturating_add(1);
        nonce
    }
}

fn passphrase_key(
    passphrase: &Secret<String>,
    salt: &[u8],
    memory: u32,
    passes: u32,
) -> Result<XChaCha20Poly1305, CarryError> {
    let params = Params::new(memory, passes, 1, Some(32)).map_err(|_e| CarryError::Format)?;
    let mut key = Zeroizing::new([0; 32]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(passphrase.expose().as_bytes(), salt, key.as_mut_slice())
        .map_err(|_e| CarryError::Format)?;
    Ok(XChaCha20Poly1305::new(key.as_slice().try_into().map_err(|_e| CarryError::Format)?))
}

/// Writes a file. Its calls block.
pub(super) struct Writer {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    temporary: PathBuf,
    file: Arc<dyn DiskFile>,
    offset: u64,
    seal: Seal,
    plain: Vec<u8>,
}

impl Writer {
    /// Begins a file; none may be there.
    pub(super) fn create(
        disk: Arc<dyn Disk>,
        path: &Path,
        passphrase: &Secret<String>,
    ) -> Result<Self, CarryError> {
        let name = path.file_name().and_then(|n| n.to_str()).ok_or(CarryError::Path)?;
        let dir = path.parent().filter(|d| d.is_absolute()).ok_or(CarryError::Path)?;
        let io = |source| CarryError::Io { path: path.to_owned(), source };
        if disk.list(dir).map_err(io)?.iter().any(|n| n == name) {
            return Err(CarryError::FileExists(path.to_owned()));
        }
        let temporary = dir.join(format!("{name}.part"));
        let file = disk.open(&temporary, Open::Create).map_err(io)?;
        let (head, aead) = new_head(passphrase)?;
        file.write_at(0, &head).map_err(io)?;
        Ok(Self {
            disk,
            path: path.to_owned(),
            temporary,
            file,
            offset: HEAD_LEN as u64,
            seal: Seal { aead, head, number: 0 },
            plain: Vec::new(),
        })
    }

    /// Adds an item.
    pub(super) fn item(&mut self, item: &impl Serialize) -> Result<(), CarryError> {
        let bytes = codec::encode(item);
        let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        if self.plain.len() + bytes.len() > CHUNK_LEN && !self.plain.is_empty() {
            self.chunk(false)?;
        }
        self.plain.extend_from_slice(&len.to_le_bytes());
        self.plain.extend_from_slice(&bytes);
        Ok(())
    }

    fn chunk(&mut self, last: bool) -> Result<(), CarryError> {
        let io = |source| CarryError::Io { path: self.temporary.clone(), source };
        let packed = zstd::bulk::compress(&self.plain, ZSTD_LEVEL).map_err(io)?;
        let nonce = self.seal.nonce(last);
        let payload = Payload { msg: &packed, aad: &self.seal.head };
        let sealed = self.seal.aead.encrypt(&nonce.into(), payload);
        let sealed = sealed.map_err(|chacha20poly1305::Error| CarryError::Format)?;
        let mut out = u32::try_from(sealed.len()).unwrap_or(u32::MAX).to_le_bytes().to_vec();
        out.extend_from_slice(&u32::try_from(self.plain.len()).unwrap_or(u32::MAX).to_le_bytes());
        out.extend_from_slice(&sealed);
        self.file.write_at(self.offset, &out).map_err(io)?;
        self.offset += out.len() as u64;
        self.plain.clear();
        Ok(())
    }

    /// Ends the file and makes it durable under its name. Says how long it is.
    pub(super) fn finish(mut self) -> Result<u64, CarryError> {
        self.chunk(true)?;
        let io = |source| CarryError::Io { path: self.path.clone(), source };
        self.file.sync_data().map_err(io)?;
        self.disk.rename(&self.temporary, &self.path).map_err(io)?;
        if let Some(dir) = self.path.parent() {
            self.disk.sync_dir(dir).map_err(io)?;
        }
        Ok(self.offset)
    }
}

fn new_head(
    passphrase: &Secret<String>,
) -> Result<([u8; HEAD_LEN], XChaCha20Poly1305), CarryError> {
    let (salt, id, nonce) = (random::<16>(), random::<16>(), random::<NONCE_LEN>());
    let key = Zeroizing::new(random::<32>());
    let mut head = MAGIC.to_vec();
    head.extend_from_slice(&VERSION.to_le_bytes());
    head.extend_from_slice(&[0; 2]);
    for number in [MEMORY_KIB, PASSES, 1] {
        head.extend_from_slice(&number.to_le_bytes());
    }
    head.extend_from_slice(&salt);
    head.extend_from_slice(&id);
    let outer = passphrase_key(passphrase, &salt, MEMORY_KIB, PASSES)?;
    let payload = Payload { msg: key.as_slice(), aad: &head };
    let sealed = outer.encrypt(&nonce.into(), payload);
    let sealed = sealed.map_err(|chacha20poly1305::Error| CarryError::Format)?;
    head.extend_from_slice(&nonce);
    head.extend_from_slice(&sealed);
    let head = head.try_into().map_err(|_too_long| CarryError::Format)?;
    let aead = key.as_slice().try_into().map_err(|_e| CarryError::Format)?;
    Ok((head, XChaCha20Poly1305::new(aead)))
}

/// Reads a file. Its calls block.
pub(super) struct Reader {
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    len: u64,
    offset: u64,
    seal: Seal,
    plain: Vec<u8>,
    at: usize,
    ended: bool,
}

impl Reader {
    pub(super) fn open(
        disk: &dyn Disk,
        path: &Path,
        passphrase: &Secret<String>,
    ) -> Result<Self, CarryError> {
        let io = |source| CarryError::Io { path: path.to_owned(), source };
        let file = disk.open(path, Open::Existing).map_err(io)?;
        let len = file.len().map_err(io)?;
        let mut head = [0; HEAD_LEN];
        if len < HEAD_LEN as u64 {
            return Err(CarryError::Format);
        }
        file.read_at(0, &mut head).map_err(io)?;
        let aead = open_head(&head, passphrase)?;
        Ok(Self {
            path: path.to_owned(),
            file,
            len,
            offset: HEAD_LEN as u64,
            seal: Seal { aead, head, number: 0 },
            plain: Vec::new(),
            at: 0,
            ended: false,
        })
    }

    /// Which file it is.
    pub(super) fn id(&self) -> [u8; 16] {
        field(&self.seal.head, 40)
    }

    /// Bytes read and bytes in all.
    pub(super) fn place(&self) -> (u64, u64) {
        (self.offset, self.len)
    }

    /// The next item; `None` at the end.
    pub(super) fn item<T: DeserializeOwned>(&mut self) -> Result<Option<T>, CarryError> {
        while self.at >= self.plain.len() {
            if self.ended {
                return Ok(None);
            }
            self.chunk()?;
        }
        let rest = self.plain.get(self.at..).unwrap_or_default();
        let (len, rest) = rest.split_first_chunk::<4>().ok_or(CarryError::Format)?;
        let len = usize::try_from(u32::from_le_bytes(*len)).unwrap_or(usize::MAX);
        let bytes = rest.get(..len).ok_or(CarryError::Format)?;
        self.at += 4 + len;
        codec::decode("an item", bytes).map(Some).map_err(|_e| CarryError::Format)
    }

    fn chunk(&mut self) -> Result<(), CarryError> {
        let io = |source| CarryError::Io { path: self.path.clone(), source };
        let damaged = CarryError::Damaged { at: self.offset };
        let mut lens = [0; 8];
        if self.offset + 8 > self.len {
            return Err(damaged);
        }
        self.file.read_at(self.offset, &mut lens).map_err(io)?;
        let sealed_len = usize::try_from(u32::from_le_bytes(field(&lens, 0))).unwrap_or(usize::MAX);
        let plain_len = usize::try_from(u32::from_le_bytes(field(&lens, 4))).unwrap_or(usize::MAX);
        let end = self.offset.saturating_add(8).saturating_add(sealed_len as u64);
        if sealed_len > CHUNK_LEN_MAX || plain_len > CHUNK_LEN_MAX || end > self.len {
            return Err(damaged);
        }
        let mut sealed = vec![0; sealed_len];
        self.file.read_at(self.offset + 8, &mut sealed).map_err(io)?;
        // Only the last chunk ends where the file does.
        self.ended = end == self.len;
        let nonce = self.seal.nonce(self.ended);
        let payload = Payload { msg: &sealed, aad: &self.seal.head };
        let opened = self.seal.aead.decrypt(&nonce.into(), payload);
        let Ok(packed) = opened else { return Err(damaged) };
        let Ok(plain) = zstd::bulk::decompress(&packed, plain_len) else { return Err(damaged) };
        (self.plain, self.at, self.offset) = (plain, 0, end);
        Ok(())
    }
}

fn open_head(
    head: &[u8; HEAD_LEN],
    passphrase: &Secret<String>,
) -> Result<XChaCha20Poly1305, CarryError> {
    if !head.starts_with(MAGIC) {
        return Err(CarryError::Format);
    }
    let version = u16::from_le_bytes(field(head, 8));
    if version != VERSION {
        return Err(CarryError::Version(version));
    }
    let number = |at| u32::from_le_bytes(field(head, at));
    let (memory, passes) = (number(12), number(16));
    if memory > MEMORY_KIB_MAX || passes > PASSES_MAX || number(20) != 1 {
        return Err(CarryError::Format);
    }
    let outer = passphrase_key(passphrase, &field::<16>(head, 24), memory, passes)?;
    let clear = head.get(..HEAD_CLEAR_LEN).unwrap_or_default();
    let sealed = head.get(HEAD_CLEAR_LEN + NONCE_LEN..).unwrap_or_default();
    debug_assert_eq!(sealed.len(), 32 + TAG_LEN);
    let nonce = field::<NONCE_LEN>(head, HEAD_CLEAR_LEN);
    let key = outer.decrypt(&nonce.into(), Payload { msg: sealed, aad: clear });
    let key = Zeroizing::new(key.map_err(|chacha20poly1305::Error| CarryError::Passphrase)?);
    let key = key.as_slice().try_into().map_err(|_e| CarryError::Format)?;
    Ok(XChaCha20Poly1305::new(key))
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.get(at..at + N).and_then(|b| b.try_into().ok()).unwrap_or([0; N])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::disk::RealDisk;

    fn words(n: usize) -> Vec<Vec<u8>> {
        (0..n).map(|i| vec![u8::try_from(i % 251).unwrap(); 100_000]).collect()
    }

    #[test]
    fn a_file_gives_back_what_was_put_in_and_only_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("acme.tenant");
        let secret = Secret::new("correct horse".to_owned());
        let mut writer = Writer::create(Arc::new(RealDisk), &path, &secret).unwrap();
        for item in words(40) {
            writer.item(&item).unwrap();
        }
        assert!(!path.exists());
        writer.finish().unwrap();
        let again = Writer::create(Arc::new(RealDisk), &path, &secret);
        assert!(matches!(again, Err(CarryError::FileExists(_))));
        let read = |path: &Path| {
            let mut reader = Reader::open(&RealDisk, path, &secret)?;
            let mut all: Vec<Vec<u8>> = Vec::new();
            while let Some(item) = reader.item()? {
                all.push(item);
            }
            Ok::<_, CarryError>(all)
        };
        assert_eq!(read(&path).unwrap(), words(40));
        let wrong = Reader::open(&RealDisk, &path, &Secret::new("wrong".to_owned()));
        assert!(matches!(wrong, Err(CarryError::Passphrase)));
        // A chunk that is missing at the end, and one damaged byte anywhere.
        let whole = std::fs::read(&path).unwrap();
        let other = dir.path().join("other");
        for cut in [whole.len() - 1, whole.len() / 2, HEAD_LEN, 50] {
            std::fs::write(&other, &whole[..cut]).unwrap();
            assert!(read(&other).is_err(), "{cut}");
        }
        for at in [10, 45, 100, HEAD_LEN + 2, HEAD_LEN + 50, whole.len() - 3] {
            let mut bytes = whole.clone();
            bytes[at] ^= 4;
            std::fs::write(&other, &bytes).unwrap();
            assert!(read(&other).is_err(), "{at}");
        }
    }
}
