//! Body packs: append-only files that hold the parts of a tenant's bodies, sealed as they came
//! through the log.
//!
//! Invariants: a pack is a view. What lies beyond the length that the last checkpoint stored is cut
//! at recovery and written again, at the same offsets, by the replay. A pack is never changed, only
//! appended to; a frame carries all that is needed to open it.
//!
//! Deliberately absent: giving the space of dead bodies back.

use crate::store::disk::{Disk, DiskFile, Open};
use crate::store::error::{Context, StoreError, lock};
use crate::store::keyring::Fields;
use crate::store::seal::{Cipher, TAG_LEN, record_aad};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use understudy_proto::id::{TenantId, UploadId};
use understudy_proto::keys::BodyPart;
use understudy_proto::record::Kind;

/// Largest content of one part in bytes.
pub(in crate::store) const PART_LEN_MAX: usize = 256 * 1024;
/// Record flag: the content is zstd.
pub(in crate::store) const COMPRESSED: u16 = 1;
/// Record flag: the upload's last part.
pub(in crate::store) const LAST: u16 = 2;
/// Length of a part's clear prefix: upload, index, content length.
pub(in crate::store) const PREFIX_LEN: usize = 24;
const FRAME_MAGIC: &[u8; 4] = b"USF1";
const FRAME_HEADER_LEN: usize = 40;
const PACK_MAGIC: &[u8; 4] = b"USP1";
const PACK_VERSION: u16 = 1;
pub(super) const PACK_HEADER_LEN: u64 = 32;
/// Pack files that a tenant keeps open for reading.
const READERS_MAX: usize = 3;

/// The clear beginning of a `BODY_PART` record's payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) struct Prefix {
    pub(in crate::store) upload: UploadId,
    /// Number of the part in its upload, from 0.
    pub(in crate::store) index: u32,
    /// Length of the content in bytes.
    pub(in crate::store) len: u32,
}

impl Prefix {
    pub(in crate::store) fn encode(&self) -> [u8; PREFIX_LEN] {
        let mut out = [0; PREFIX_LEN];
        let bytes = self.upload.0.into_iter().chain(self.index.to_le_bytes());
        for (slot, byte) in out.iter_mut().zip(bytes.chain(self.len.to_le_bytes())) {
            *slot = byte;
        }
        out
    }

    /// Reads the prefix and gives the sealed content after it.
    pub(in crate::store) fn decode(payload: &[u8]) -> Option<(Self, &[u8])> {
        let (prefix, sealed) = payload.split_at_checked(PREFIX_LEN)?;
        let mut fields = Fields(prefix);
        let upload = UploadId(fields.take());
        let index = u32::from_le_bytes(fields.take());
        let len = u32::from_le_bytes(fields.take());
        (sealed.len() >= TAG_LEN).then_some((Self { upload, index, len }, sealed))
    }
}

/// Opens a part: what `BodyWriter` sealed.
pub(in crate::store) fn open_part(
    cipher: &Cipher,
    flags: u16,
    nonce: &[u8; 24],
    payload: &[u8],
) -> Result<Vec<u8>, StoreError> {
    let no_body = || StoreError::NoBody(cipher.tenant());
    let (prefix, sealed) = Prefix::decode(payload).ok_or_else(no_body)?;
    let aad = record_aad(cipher.tenant(), Kind::BODY_PART, flags, &prefix.encode());
    let stored = cipher.open(nonce, &aad, sealed)?;
    let len = usize::try_from(prefix.len).ok().filter(|l| *l <= PART_LEN_MAX);
    let len = len.ok_or_else(no_body)?;
    let content = if flags & COMPRESSED == 0 {
        stored
    } else {
        zstd::bulk::decompress(&stored, len).map_err(|_io| StoreError::Unsealed(cipher.tenant()))?
    };
    if content.len() == len { Ok(content) } else { Err(no_body()) }
}

/// Where a tenant's packs end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct PacksEnd {
    /// The pack that is written to; 0 before the first.
    pub(super) pack: u32,
    /// Its length in bytes.
    pub(super) len: u64,
}

/// Appends to a tenant's packs.
pub(super) struct PackWriter {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    tenant: TenantId,
    pack_len: u64,
    end: PacksEnd,
    file: Option<Arc<dyn DiskFile>>,
    /// Written since the last checkpoint.
    unsynced: Vec<(PathBuf, Arc<dyn DiskFile>)>,
    /// A pack was made since the last checkpoint.
    new_name: bool,
}

/// What a checkpoint must sync.
pub(super) struct Unsynced {
    pub(super) files: Vec<(PathBuf, Arc<dyn DiskFile>)>,
    pub(super) new_name: bool,
    pub(super) end: PacksEnd,
}

/// The file of pack number `pack`.
pub(super) fn path(dir: &Path, pack: u32) -> PathBuf {
    dir.join(format!("{pack:08x}.pack"))
}

impl PackWriter {
    /// Opens the packs in `dir` and cuts what the last checkpoint did not know.
    pub(super) fn open(
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        tenant: TenantId,
        pack_len: u64,
        end: PacksEnd,
    ) -> Result<Self, StoreError> {
        for name in disk.list(&dir).context("list", &dir)? {
            let stem = name.strip_suffix(".pack");
            let number = stem.and_then(|s| u32::from_str_radix(s, 16).ok());
            if number.is_some_and(|n| n > end.pack) {
                let path = dir.join(&name);
                disk.remove(&path).context("remove", &path)?;
            }
        }
        let mut file = None;
        if end.pack > 0 {
            let path = path(&dir, end.pack);
            let last = disk.open(&path, Open::Existing).context("open", &path)?;
            let len = last.len().context("measure", &path)?;
            if len < end.len {
                let what = format!("it ends there, the index knows {} bytes", end.len);
                return Err(StoreError::damaged(&path, len, what));
            }
            if len > end.len {
                last.set_len(end.len).context("cut", &path)?;
            }
            file = Some(last);
        }
        let (unsynced, new_name) = (Vec::new(), false);
        Ok(Self { disk, dir, tenant, pack_len, end, file, unsynced, new_name })
    }

    /// Appends a part and says where it lies.
    pub(super) fn append(
        &mut self,
        flags: u16,
        nonce: &[u8; 24],
        payload: &[u8],
        len: u32,
    ) -> Result<BodyPart, StoreError> {
        let frame = encode_frame(flags, nonce, payload);
        let file = self.file_with_room(frame.len() as u64)?;
        let path = path(&self.dir, self.end.pack);
        file.write_at(self.end.len, &frame).context("write", &path)?;
        if self.unsynced.last().is_none_or(|(p, _)| *p != path) {
            self.unsynced.push((path, file));
        }
        let part = BodyPart {
            pack: self.end.pack,
            offset: self.end.len,
            stored_len: u32::try_from(frame.len()).unwrap_or(u32::MAX),
            len,
        };
        self.end.len += frame.len() as u64;
        Ok(part)
    }

    /// Where they end now.
    pub(super) fn end(&self) -> PacksEnd {
        self.end
    }

    /// What is not synced yet; the caller syncs it all, or the store stops.
    pub(super) fn take_unsynced(&mut self) -> Unsynced {
        let new_name = std::mem::take(&mut self.new_name);
        Unsynced { files: std::mem::take(&mut self.unsynced), new_name, end: self.end }
    }

    fn file_with_room(&mut self, len: u64) -> Result<Arc<dyn DiskFile>, StoreError> {
        if let Some(file) = &self.file
            && (self.end.len + len <= self.pack_len || self.end.len <= PACK_HEADER_LEN)
        {
            return Ok(Arc::clone(file));
        }
        let pack = self.end.pack + 1;
        let path = path(&self.dir, pack);
        let file = self.disk.open(&path, Open::Create).context("create", &path)?;
        let mut head = PACK_MAGIC.to_vec();
        head.extend_from_slice(&PACK_VERSION.to_le_bytes());
        head.extend_from_slice(&[0; 2]);
        head.extend_from_slice(&self.tenant.0.to_le_bytes());
        head.extend_from_slice(&pack.to_le_bytes());
        head.resize(usize::try_from(PACK_HEADER_LEN).unwrap_or(0), 0);
        file.write_at(0, &head).context("write", &path)?;
        self.unsynced.push((path, Arc::clone(&file)));
        self.new_name = true;
        self.end = PacksEnd { pack, len: PACK_HEADER_LEN };
        self.file = Some(Arc::clone(&file));
        Ok(file)
    }
}

fn encode_frame(flags: u16, nonce: &[u8; 24], payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(FRAME_HEADER_LEN + payload.len());
    out.extend_from_slice(FRAME_MAGIC);
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&u32::try_from(payload.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(&flags.to_le_bytes());
    out.extend_from_slice(&[0; 2]);
    out.extend_from_slice(nonce);
    out.extend_from_slice(payload);
    let crc = crc32c::crc32c(out.get(8..).unwrap_or_default());
    if let Some(slot) = out.get_mut(4..8) {
        slot.copy_from_slice(&crc.to_le_bytes());
    }
    out
}

/// Reads from a tenant's packs.
pub(super) struct PackReader {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    open: Mutex<BTreeMap<u32, Arc<dyn DiskFile>>>,
}

impl PackReader {
    pub(super) fn new(disk: Arc<dyn Disk>, dir: PathBuf) -> Self {
        Self { disk, dir, open: Mutex::default() }
    }

    /// Reads and opens one part.
    pub(super) fn read(&self, cipher: &Cipher, part: &BodyPart) -> Result<Vec<u8>, StoreError> {
        let path = path(&self.dir, part.pack);
        let damaged = |what: &str| StoreError::damaged(&path, part.offset, what);
        let len = usize::try_from(part.stored_len).unwrap_or(usize::MAX);
        if !(FRAME_HEADER_LEN..=FRAME_HEADER_LEN + PREFIX_LEN + TAG_LEN + PART_LEN_MAX)
            .contains(&len)
        {
            return Err(StoreError::NoBody(cipher.tenant()));
        }
        let mut frame = vec![0; len];
        self.file(part.pack, &path)?.read_at(part.offset, &mut frame).context("read", &path)?;
        let (head, payload) = frame.split_at_checked(FRAME_HEADER_LEN).unwrap_or_default();
        let mut fields = Fields(head);
        if &fields.take::<4>() != FRAME_MAGIC {
            return Err(damaged("no body lies here"));
        }
        let crc = u32::from_le_bytes(fields.take());
        if crc32c::crc32c(frame.get(8..).unwrap_or_default()) != crc {
            return Err(damaged("the body's checksum is wrong"));
        }
        let _len: [u8; 4] = fields.take();
        let flags = u16::from_le_bytes(fields.take());
        let _reserved: [u8; 2] = fields.take();
        open_part(cipher, flags, &fields.take(), payload)
    }

    fn file(&self, pack: u32, path: &Path) -> Result<Arc<dyn DiskFile>, StoreError> {
        let mut open = lock(&self.open);
        if let Some(file) = open.get(&pack) {
            return Ok(Arc::clone(file));
        }
        let file = self.disk.open(path, Open::Existing).context("open", path)?;
        while open.len() >= READERS_MAX {
            open.pop_first();
        }
        open.insert(pack, Arc::clone(&file));
        Ok(file)
    }
}
