//! The scanner (its structure follows in the next commits; the interface is settled).

use super::Summary;

/// Deepest nesting of parts that is looked into; deeper ones are opaque.
pub const DEPTH_MAX: usize = 32;
/// Most parts of one message; what comes after belongs to the last one, which is opaque.
pub const PARTS_MAX: usize = 1_000;
/// Longest header section in bytes that is looked at; the rest of a longer one is not.
pub const HEADER_LEN_MAX: usize = 256 * 1024;

/// Understands a message while it streams past. Feed it every octet in order, then finish.
#[derive(Debug, Default)]
pub struct Scanner {
    at: u64,
}

impl Scanner {
    /// A scanner at the start of a message.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next octets of the message; any chunking gives the same summary.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.at = self.at.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
    }

    /// The message ended.
    #[must_use]
    pub fn finish(self) -> Summary {
        Summary { size: self.at, ..Summary::default() }
    }
}
