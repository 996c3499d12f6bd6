//! Bodies on their way into the log: cut into parts, compressed, sealed, interleaved with
//! everything else.
//!
//! Invariants: no part is longer than 256 KiB, so that no attachment blocks a batch. What a session
//! holds is one part; what all sessions have waiting for the disk is bounded by the log's credit.
//! Compression and sealing happen in the session's task, never in the appender.
//!
//! Deliberately absent: waiting for the disk. Whoever links the body waits for its own change, which
//! comes after all parts.

use super::error::StoreError;
use super::lease::PrimaryLease;
use super::log::Entry;
use super::seal::{self, TAG_LEN, record_aad};
use super::view::pack::{COMPRESSED, LAST, PART_LEN_MAX, PREFIX_LEN, Prefix};
use super::{Inner, Slot, Store};
use crate::base::secret;
use std::ops::Range;
use std::sync::Arc;
use understudy_proto::id::{TenantId, UploadId};
use understudy_proto::keys::{BodyAddress, BodyRef};
use understudy_proto::record::Kind;

/// zstd's level for parts: the cheapest; higher ones win little on mail (research/store.md).
const ZSTD_LEVEL: i32 = 1;

/// An upload in progress. Dropping it without [`BodyWriter::finish`] gives the upload up.
#[must_use = "an upload that is not finished is given up"]
pub struct BodyWriter {
    store: Arc<Inner>,
    slot: Arc<Slot>,
    lease: PrimaryLease,
    upload: UploadId,
    /// Content that is not in a part yet; at least a byte of it is kept for the last part.
    buffer: Vec<u8>,
    parts: u32,
    size: u64,
    hasher: Box<blake3::Hasher>,
    finished: bool,
}

impl Store {
    /// Begins an upload into `tenant`.
    pub async fn begin_body(
        &self,
        lease: &PrimaryLease,
        tenant: TenantId,
    ) -> Result<BodyWriter, StoreError> {
        let inner = self.inner();
        inner.enter(lease).await?;
        inner.check_room()?;
        Ok(BodyWriter {
            slot: inner.known_slot(tenant)?,
            store: Arc::clone(inner),
            lease: lease.clone(),
            upload: UploadId(secret::random()),
            buffer: Vec::new(),
            parts: 0,
            size: 0,
            hasher: Box::default(),
            finished: false,
        })
    }

    /// Reads `range` of a body, less at its end. Read aligned chunks of at most 256 KiB: each call
    /// opens every part that it touches.
    pub fn read_body(
        &self,
        tenant: TenantId,
        address: &BodyAddress,
        range: Range<u64>,
    ) -> Result<Vec<u8>, StoreError> {
        let inner = self.inner();
        let slot = inner.known_slot(tenant)?;
        inner.view(&slot)?.read_body(address, range)
    }
}

impl BodyWriter {
    /// Appends content. Waits while the disk is behind.
    pub async fn write(&mut self, content: &[u8]) -> Result<(), StoreError> {
        self.hasher.update(content);
        self.size += content.len() as u64;
        let mut rest = content;
        while !rest.is_empty() {
            if self.buffer.len() == PART_LEN_MAX {
                let part = std::mem::take(&mut self.buffer);
                self.send(&part, 0).await?;
                // Its memory serves the next part.
                self.buffer = part;
                self.buffer.clear();
            }
            let room = PART_LEN_MAX - self.buffer.len();
            let (now, later) = rest.split_at(rest.len().min(room));
            self.buffer.extend_from_slice(now);
            rest = later;
        }
        Ok(())
    }

    /// Ends the upload: a command may name it from here on.
    pub async fn finish(mut self) -> Result<BodyRef, StoreError> {
        let part = std::mem::take(&mut self.buffer);
        self.send(&part, LAST).await?;
        self.finished = true;
        let hash = *self.hasher.finalize().as_bytes();
        Ok(BodyRef { upload: self.upload, size: self.size, hash })
    }

    async fn send(&mut self, content: &[u8], flags: u16) -> Result<(), StoreError> {
        let credit = self.store.log.credit(PREFIX_LEN + content.len() + TAG_LEN).await?;
        let mut entry = self.seal_part(content, flags)?;
        entry.credit = Some(credit);
        if flags & LAST == 0 {
            self.store.log.submit(&self.lease, entry)?;
        } else {
            self.store.submit_last_part(&self.lease, &self.slot, self.upload, entry)?;
        }
        self.parts += 1;
        Ok(())
    }

    fn seal_part(&self, content: &[u8], flags: u16) -> Result<Entry, StoreError> {
        let len = u32::try_from(content.len()).unwrap_or(u32::MAX);
        let prefix = Prefix { upload: self.upload, index: self.parts, len }.encode();
        let compressed = zstd::bulk::compress(content, ZSTD_LEVEL).ok();
        let smaller = compressed.filter(|c| c.len() < content.len());
        let flags = if smaller.is_some() { flags | COMPRESSED } else { flags };
        let (tenant, kind, nonce) = (self.slot.tenant, Kind::BODY_PART, seal::nonce());
        let aad = record_aad(tenant, kind, flags, &prefix);
        let stored = smaller.as_deref().unwrap_or(content);
        let sealed = self.store.keyring.sealing_cipher(tenant)?.seal(&nonce, &aad, stored)?;
        let mut payload = Vec::with_capacity(PREFIX_LEN + sealed.len());
        payload.extend_from_slice(&prefix);
        payload.extend_from_slice(&sealed);
        Ok(Entry { tenant, kind, flags, nonce, payload, credit: None })
    }
}

impl Drop for BodyWriter {
    fn drop(&mut self) {
        if self.finished || self.parts == 0 {
            return;
        }
        let (tenant, kind) = (self.slot.tenant, Kind::BODY_ABORT);
        let payload = self.upload.0.to_vec();
        let entry = Entry { tenant, kind, flags: 0, nonce: [0; 24], payload, credit: None };
        if let Err(e) = self.store.log.submit(&self.lease, entry) {
            // It stays open until newer uploads push it out.
            log::debug!(tenant:% = tenant, err:% = e; "an upload could not be given up");
        }
    }
}

impl std::fmt::Debug for BodyWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BodyWriter").field("size", &self.size).finish_non_exhaustive()
    }
}
