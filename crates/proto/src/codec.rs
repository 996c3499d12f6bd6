//! How commands' results, changes and rows become bytes and back.
//!
//! postcard over serde: compact, bounded, stable. Enums may only grow at their end; a struct that
//! must change gets a new variant or a new [`crate::record::Kind`] version, never new fields.

use serde::{Serialize, de::DeserializeOwned};

/// Bytes that are not what they should be: written by a newer release, or damaged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} cannot be read: {why}")]
pub struct DecodeError {
    /// What was being read.
    pub what: &'static str,
    /// What postcard says.
    pub why: String,
}

/// Encodes `value`; infallible for the plain data types that this crate stores.
#[must_use]
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    // Serialisation into memory fails only for types that this crate does not use (maps of unknown
    // length, trait objects). An empty encoding would be refused by every decoder.
    postcard::to_allocvec(value).unwrap_or_default()
}

/// Decodes all of `bytes` as a `T`; trailing bytes are an error.
pub fn decode<T: DeserializeOwned>(what: &'static str, bytes: &[u8]) -> Result<T, DecodeError> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        Ok((_, rest)) => Err(DecodeError { what, why: format!("{} bytes too many", rest.len()) }),
        Err(e) => Err(DecodeError { what, why: e.to_string() }),
    }
}

/// Builds an ordered key: a table's letter, then fixed-width big-endian numbers.
#[derive(Debug, Clone)]
pub struct Key(Vec<u8>);

impl Key {
    /// Starts a key of `table`.
    #[must_use]
    pub fn new(table: u8) -> Self {
        Self(vec![table])
    }

    /// Appends a `u32`, big-endian, so that byte order is number order.
    #[must_use]
    pub fn u32(mut self, n: u32) -> Self {
        self.0.extend_from_slice(&n.to_be_bytes());
        self
    }

    /// Appends a `u64`, big-endian.
    #[must_use]
    pub fn u64(mut self, n: u64) -> Self {
        self.0.extend_from_slice(&n.to_be_bytes());
        self
    }

    /// Appends raw bytes; only as a key's last part, or where the length is fixed.
    #[must_use]
    pub fn bytes(mut self, b: &[u8]) -> Self {
        self.0.extend_from_slice(b);
        self
    }

    /// The finished key.
    #[must_use]
    pub fn done(self) -> Vec<u8> {
        self.0
    }

    /// The half-open range `[from, to)` of all keys that start with this prefix.
    #[must_use]
    pub fn range(self) -> (Vec<u8>, Vec<u8>) {
        let from = self.0;
        let mut to = from.clone();
        while let Some(last) = to.pop() {
            if let Some(next) = last.checked_add(1) {
                to.push(next);
                return (from, to);
            }
        }
        (from, vec![0xff; 64])
    }
}

/// Reads a big-endian `u32` at `at`, if the key is that long.
#[must_use]
pub fn u32_at(key: &[u8], at: usize) -> Option<u32> {
    key.get(at..at.checked_add(4)?).and_then(|b| b.try_into().ok()).map(u32::from_be_bytes)
}

/// Reads a big-endian `u64` at `at`, if the key is that long.
#[must_use]
pub fn u64_at(key: &[u8], at: usize) -> Option<u64> {
    key.get(at..at.checked_add(8)?).and_then(|b| b.try_into().ok()).map(u64::from_be_bytes)
}
