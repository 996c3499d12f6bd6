//! The log's record: what is written to a segment, shipped to the peer and read back.
//!
//! The header is 88 bytes, little-endian; the payload follows, sealed with the tenant's data key
//! (XChaCha20-Poly1305, nonce in the header, `tenant ‖ kind ‖ flags` as associated data).
//!
//! ```text
//!  0  u32  magic "USR1"
//!  4  u32  crc32c over bytes 8..88 and the payload
//!  8  u32  payload length
//! 12  u16  kind
//! 14  u16  flags
//! 16  u64  lsn
//! 24  u64  epoch
//! 32  u32  tenant
//! 36  u32  reserved, zero
//! 40  [24] nonce
//! 64  [24] chain: BLAKE3 (first 24 bytes) of previous chain ‖ bytes 8..64 ‖ payload
//! ```
//!
//! The chain makes a log a history: two logs with the same chain value at an lsn are equal up to it.

use crate::id::{Epoch, Lsn, TenantId};
use serde::{Deserialize, Serialize};

/// Length of a record's header in bytes.
pub const HEADER_LEN: usize = 88;
/// Largest payload of one record in bytes: a body part of 256 KiB, incompressible, and its seal.
pub const PAYLOAD_LEN_MAX: usize = 272 * 1024;
const MAGIC: u32 = u32::from_le_bytes(*b"USR1");

/// What a record's payload is. Numbers are forever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Kind(pub u16);

impl Kind {
    /// A body's part: the store's own.
    pub const BODY_PART: Self = Self(1);
    /// An upload that will not be finished: the store's own.
    pub const BODY_ABORT: Self = Self(2);
    /// An epoch begins: the pair's own. Payload: `pair::EpochStart`, unsealed, tenant 0.
    pub const EPOCH: Self = Self(3);
    /// Tenants, domains, accounts, aliases, credentials.
    pub const DIRECTORY: Self = Self(16);
    /// Mailboxes and messages.
    pub const MAILBOX: Self = Self(17);
    /// The outbound queue.
    pub const QUEUE: Self = Self(18);
    /// What a branch had that is merged here, and how far the merge is.
    pub const BRANCH: Self = Self(19);
    /// A tenant that comes from another pair.
    pub const IMPORT: Self = Self(20);
    /// JSON objects of accounts: identities, contacts, submissions, uploads.
    pub const OBJECTS: Self = Self(21);
}

/// The value that links a record to all records before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Chain(pub [u8; 24]);

/// A record's header, decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Length of the payload in bytes.
    pub len: u32,
    /// What the payload is.
    pub kind: Kind,
    /// Reserved for the kind; part of the sealed payload's associated data.
    pub flags: u16,
    /// Position in the log.
    pub lsn: Lsn,
    /// The reign in which it was decided.
    pub epoch: Epoch,
    /// Whose change it is.
    pub tenant: TenantId,
    /// Nonce of the payload's seal.
    pub nonce: [u8; 24],
    /// Link to everything before.
    pub chain: Chain,
}

/// Why bytes are not the next record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Fewer bytes than the record needs: the log's end, or more must be read.
    #[error("the record is incomplete")]
    Incomplete,
    /// No record starts here.
    #[error("no record starts here")]
    Magic,
    /// The payload's length is out of bounds.
    #[error("the record claims an impossible length of {0} bytes")]
    Length(u32),
    /// Header or payload is damaged.
    #[error("the record's checksum is wrong")]
    Checksum,
    /// The record does not continue what came before it.
    #[error("the record does not continue the log before it")]
    Chain,
}

/// Appends one whole record to `out` and returns its chain value.
pub fn encode(out: &mut Vec<u8>, previous: Chain, header: &Header, payload: &[u8]) -> Chain {
    let start = out.len();
    out.extend_from_slice(&MAGIC.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&u32::try_from(payload.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(&header.kind.0.to_le_bytes());
    out.extend_from_slice(&header.flags.to_le_bytes());
    out.extend_from_slice(&header.lsn.0.to_le_bytes());
    out.extend_from_slice(&header.epoch.0.to_le_bytes());
    out.extend_from_slice(&header.tenant.0.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&header.nonce);
    let chain = link(previous, out.get(start + 8..).unwrap_or_default(), payload);
    out.extend_from_slice(&chain.0);
    let crc = crc32c::crc32c(out.get(start + 8..).unwrap_or_default());
    let crc = crc32c::crc32c_append(crc, payload);
    if let Some(slot) = out.get_mut(start + 4..start + 8) {
        slot.copy_from_slice(&crc.to_le_bytes());
    }
    out.extend_from_slice(payload);
    chain
}

/// Decodes the record at the start of `bytes`: header, payload, and its whole length in bytes.
/// The chain is not checked: [`verify`] does, where the previous value is known.
pub fn decode(bytes: &[u8]) -> Result<(Header, &[u8], usize), RecordError> {
    let head = bytes.get(..HEADER_LEN).ok_or(RecordError::Incomplete)?;
    if u32_le(head, 0) != MAGIC {
        return Err(RecordError::Magic);
    }
    let len = u32_le(head, 8);
    if len as usize > PAYLOAD_LEN_MAX {
        return Err(RecordError::Length(len));
    }
    let whole = HEADER_LEN.saturating_add(len as usize);
    let payload = bytes.get(HEADER_LEN..whole).ok_or(RecordError::Incomplete)?;
    let crc = crc32c::crc32c(head.get(8..).unwrap_or_default());
    if crc32c::crc32c_append(crc, payload) != u32_le(head, 4) {
        return Err(RecordError::Checksum);
    }
    let header = Header {
        len,
        kind: Kind(u16_le(head, 12)),
        flags: u16_le(head, 14),
        lsn: Lsn(u64_le(head, 16)),
        epoch: Epoch(u64_le(head, 24)),
        tenant: TenantId(u32_le(head, 32)),
        nonce: array(head, 40),
        chain: Chain(array(head, 64)),
    };
    Ok((header, payload, whole))
}

/// Checks that the record at the start of `bytes` continues a log whose last chain is `previous`.
pub fn verify(previous: Chain, bytes: &[u8]) -> Result<(Header, &[u8], usize), RecordError> {
    let (header, payload, whole) = decode(bytes)?;
    let body = bytes.get(8..64).unwrap_or_default();
    if link(previous, body, payload) == header.chain {
        Ok((header, payload, whole))
    } else {
        Err(RecordError::Chain)
    }
}

fn link(previous: Chain, head: &[u8], payload: &[u8]) -> Chain {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&previous.0).update(head).update(payload);
    let mut chain = [0; 24];
    hasher.finalize_xof().fill(&mut chain);
    Chain(chain)
}

fn array<const N: usize>(b: &[u8], at: usize) -> [u8; N] {
    b.get(at..at + N).and_then(|s| s.try_into().ok()).unwrap_or([0; N])
}

fn u16_le(b: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(array(b, at))
}

fn u32_le(b: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array(b, at))
}

fn u64_le(b: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array(b, at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header(lsn: u64) -> Header {
        Header {
            len: 0,
            kind: Kind::MAILBOX,
            flags: 3,
            lsn: Lsn(lsn),
            epoch: Epoch(7),
            tenant: TenantId(9),
            nonce: [5; 24],
            chain: Chain::default(),
        }
    }

    proptest! {
        #[test]
        fn records_come_back_as_written(payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..8)) {
            let mut bytes = Vec::new();
            let mut chain = Chain::default();
            for (i, p) in payloads.iter().enumerate() {
                chain = encode(&mut bytes, chain, &header(i as u64 + 1), p);
            }
            let mut previous = Chain::default();
            let mut rest = bytes.as_slice();
            for (i, p) in payloads.iter().enumerate() {
                let (h, payload, whole) = verify(previous, rest).unwrap();
                prop_assert_eq!(h.lsn, Lsn(i as u64 + 1));
                prop_assert_eq!(payload, p.as_slice());
                previous = h.chain;
                rest = &rest[whole..];
            }
            prop_assert!(rest.is_empty());
            prop_assert_eq!(previous, chain);
        }

        #[test]
        fn any_flipped_bit_is_noticed(payload in prop::collection::vec(any::<u8>(), 0..100), at in any::<prop::sample::Index>(), bit in 0u8..8) {
            let mut bytes = Vec::new();
            encode(&mut bytes, Chain::default(), &header(1), &payload);
            let i = at.index(bytes.len());
            bytes[i] ^= 1 << bit;
            prop_assert!(verify(Chain::default(), &bytes).is_err());
        }
    }

    #[test]
    fn a_record_of_another_history_is_refused() {
        let mut bytes = Vec::new();
        encode(&mut bytes, Chain([1; 24]), &header(1), b"x");
        assert_eq!(verify(Chain::default(), &bytes).unwrap_err(), RecordError::Chain);
    }
}
