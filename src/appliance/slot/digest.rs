//! What an image is known by: BLAKE3 and SHA-256, counted in one pass.
//!
//! BLAKE3 names an image everywhere; SHA-256 is what staff can count with `sha256sum`. Deliberately
//! absent: secrets. What is compared here is public.

use aws_lc_rs::digest::{Context, SHA256};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;
use std::str::FromStr;

/// 32 bytes, written as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

/// Text that is no digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a digest is 64 hexadecimal digits")]
pub struct NotADigest;

/// Both digests of what was seen so far.
pub struct Hashing {
    blake3: blake3::Hasher,
    sha256: Context,
}

/// Both digests of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digests {
    /// BLAKE3.
    pub blake3: Digest,
    /// SHA-256.
    pub sha256: Digest,
}

impl Default for Hashing {
    fn default() -> Self {
        Self { blake3: blake3::Hasher::new(), sha256: Context::new(&SHA256) }
    }
}

impl Hashing {
    /// Counts `bytes` in.
    pub fn update(&mut self, bytes: &[u8]) {
        self.blake3.update(bytes);
        self.sha256.update(bytes);
    }

    /// The digests of everything that was counted in.
    #[must_use]
    pub fn finish(self) -> Digests {
        let mut sha256 = [0; 32];
        for (to, from) in sha256.iter_mut().zip(self.sha256.finish().as_ref()) {
            *to = *from;
        }
        Digests { blake3: Digest(*self.blake3.finalize().as_bytes()), sha256: Digest(sha256) }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = NotADigest;

    fn from_str(text: &str) -> Result<Self, NotADigest> {
        let nibble =
            |digit: &u8| char::from(*digit).to_digit(16).and_then(|n| u8::try_from(n).ok());
        if text.len() != 64 {
            return Err(NotADigest);
        }
        let mut out = [0; 32];
        for (to, pair) in out.iter_mut().zip(text.as_bytes().chunks(2)) {
            let [high, low] = pair else { return Err(NotADigest) };
            *to = nibble(high).zip(nibble(low)).map(|(h, l)| h << 4 | l).ok_or(NotADigest)?;
        }
        Ok(Self(out))
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_are_what_others_count() {
        let mut hashing = Hashing::default();
        hashing.update(b"ab");
        hashing.update(b"c");
        let found = hashing.finish();
        let sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(found.sha256.to_string(), sha256);
        assert_eq!(found.sha256, sha256.to_uppercase().parse().unwrap());
        assert_eq!(found.blake3.0, *blake3::hash(b"abc").as_bytes());
        for wrong in ["", "ab", &sha256.replace('b', "g"), &"é".repeat(32)] {
            assert_eq!(wrong.parse::<Digest>(), Err(NotADigest));
        }
    }
}
