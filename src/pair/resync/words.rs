//! What the two nodes say to each other about a full copy.
//!
//! ```text
//! u8 version ‖ [32] BLAKE3 of what follows ‖ u32 length ‖ postcard of the word ‖ its bytes
//! ```
//! The primary says, the standby answers each word once, in order.

use crate::store::{LogBase, SealedRow, Source};
use serde::{Deserialize, Serialize};
use understudy_proto::codec;
use understudy_proto::id::{Epoch, Lsn, TenantId};
use understudy_proto::pair::LogState;
use understudy_proto::record::Chain;

/// The version that this release speaks.
const VERSION: u8 = 1;
const HASH_LEN: usize = 32;
const HEAD_LEN: usize = 1 + HASH_LEN + 4;

/// A word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Word {
    /// I make you a full copy of about so many bytes.
    Begin { source: Source, log: LogState, bytes: u64, tenants: u32 },
    /// Now comes this tenant: what do you have of it?
    Tenant(TenantId),
    /// Its rows that you have are too old.
    ForgetRows,
    /// Bytes of a pack.
    Pack { pack: u32, offset: u64 },
    /// Rows, ascending.
    Rows,
    /// Bodies that no row names yet.
    Uploads,
    /// That was all of the tenant.
    Finish { lsn: Lsn, packs: Vec<(u32, u64)> },
    /// The log begins here: where does yours end?
    Base { first: Lsn, chain: Chain, epochs: Vec<(Epoch, Lsn)> },
    /// Records.
    Records,
    /// A piece of the keyring.
    Keys,
    /// Everything was sent: put it in place.
    Complete,
    /// How far it has come.
    Progress { bytes: u64, tenants: u32, per_s: u64 },
    /// Answer: done.
    Taken,
    /// Answer: that is here.
    Has { done: Option<Lsn>, packs: Vec<(u32, u64)> },
    /// Answer: the log ends here.
    Tail(Lsn),
    /// Answer: no, and why. The copy is over.
    Refused(String),
}

impl Word {
    /// Whether it answers another.
    pub(super) fn is_answer(&self) -> bool {
        matches!(self, Self::Taken | Self::Has { .. } | Self::Tail(_) | Self::Refused(_))
    }

    /// As a message, with its bytes.
    pub(super) fn encode(&self, bytes: &[u8]) -> Vec<u8> {
        let word = codec::encode(self);
        let len = u32::try_from(word.len()).unwrap_or(u32::MAX).to_le_bytes();
        let mut hasher = blake3::Hasher::new();
        hasher.update(&len).update(&word).update(bytes);
        let mut out = Vec::with_capacity(HEAD_LEN + word.len() + bytes.len());
        out.push(VERSION);
        out.extend_from_slice(hasher.finalize().as_bytes());
        out.extend_from_slice(&len);
        out.extend_from_slice(&word);
        out.extend_from_slice(bytes);
        out
    }

    /// Reads a message; `Err` says what is wrong with it.
    pub(super) fn decode(message: &[u8]) -> Result<(Self, &[u8]), String> {
        let (version, rest) = message.split_first().ok_or("an empty message")?;
        if *version != VERSION {
            return Err(format!(
                "version {version} of the full copy, this release speaks {VERSION}"
            ));
        }
        let (hash, rest) = rest.split_first_chunk::<HASH_LEN>().ok_or("a short message")?;
        if blake3::hash(rest).as_bytes() != hash {
            return Err("a message was damaged on its way".to_owned());
        }
        let (len, rest) = rest.split_first_chunk::<4>().ok_or("a short message")?;
        let len = usize::try_from(u32::from_le_bytes(*len)).unwrap_or(usize::MAX);
        let (word, bytes) = rest.split_at_checked(len).ok_or("a short message")?;
        let word = codec::decode("a word of the full copy", word).map_err(|e| e.to_string())?;
        Ok((word, bytes))
    }
}

impl From<LogBase> for Word {
    fn from(base: LogBase) -> Self {
        Self::Base { first: base.first, chain: base.chain, epochs: base.epochs }
    }
}

/// Rows as bytes.
pub(super) fn encode_rows(rows: &[SealedRow]) -> Vec<u8> {
    codec::encode(&rows)
}

/// And back.
pub(super) fn decode_rows(bytes: &[u8]) -> Result<Vec<SealedRow>, String> {
    codec::decode("rows", bytes).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn words_come_back() {
        let rows = vec![(b"k".to_vec(), b"v".to_vec()), (Vec::new(), vec![0; 300])];
        let bytes = encode_rows(&rows);
        let message = Word::Rows.encode(&bytes);
        let (word, found) = Word::decode(&message).unwrap();
        assert_eq!((word, decode_rows(found).unwrap()), (Word::Rows, rows));
        let refused = Word::Refused("no".into());
        assert!(refused.is_answer() && !Word::Complete.is_answer());
    }

    proptest! {
        #[test]
        fn damage_is_noticed(at in any::<prop::sample::Index>(), bit in 0u8..8, cut in any::<prop::sample::Index>()) {
            let whole = Word::Pack { pack: 3, offset: 70_000 }.encode(&[7; 50]);
            let mut flipped = whole.clone();
            flipped[at.index(whole.len())] ^= 1 << bit;
            prop_assert!(Word::decode(&flipped).is_err());
            prop_assert!(Word::decode(&whole[..cut.index(whole.len())]).is_err());
        }

        #[test]
        fn nothing_panics(bytes: Vec<u8>) {
            drop(Word::decode(&bytes));
            drop(decode_rows(&bytes));
        }
    }
}
