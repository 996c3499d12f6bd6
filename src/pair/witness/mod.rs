//! The third vote: a small server on a third machine, and a node's connection to it.
//!
//! ```text
//!  node: pair's driver ── ask ──► client ══ TLS 1.3, pins on both sides ══► server ──► one file
//!                      ◄─ answer, or Lost ─┘                                (a pair each, fsynced)
//! ```
//!
//! Invariants: what the server answers as done is durable; a pair's questions are decided one after
//! the other; a file that cannot be made durable ends the server. The client answers every question
//! once, `Lost` where the witness does not in time. Absent on purpose: what the answers mean
//! (`proto::pair`), and mail: the witness never sees any.

mod client;
mod server;
#[cfg(test)]
mod tests;

pub use client::{Client, ClientOptions, Held, WitnessStatus};
pub use server::{PairEntry, Server, ServerOptions, WitnessError, init};

use std::io;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};
use understudy_proto::pair::witness::{WITNESS_MESSAGE_LEN_MAX, WitnessMessageError};
use understudy_proto::time::Mono;

/// The port that a witness listens on.
pub const WITNESS_PORT: u16 = 7401;
/// The name in a witness's certificate. Nobody looks at it: the pin counts.
const WITNESS_NAME: &str = "understudy-witness";

/// Most lines about one connection's coming and going within [`LINES_EVERY`].
const LINES_MAX: u8 = 10;
/// The time in which lines are counted.
const LINES_EVERY: Duration = Duration::from_mins(1);

/// Counts the lines about a connection that comes and goes: a few are said at once, no more.
#[derive(Default)]
struct Lines {
    since: Option<Mono>,
    said: u8,
    unsaid: u64,
}

impl Lines {
    /// Whether a line may be written, and how many were left out since the last.
    fn may_say(&mut self, now: Mono) -> Option<u64> {
        if self.since.is_none_or(|since| now.since(since) >= LINES_EVERY) {
            (self.since, self.said) = (Some(now), 0);
        }
        if self.said >= LINES_MAX {
            self.unsaid = self.unsaid.saturating_add(1);
            return None;
        }
        self.said += 1;
        Some(std::mem::take(&mut self.unsaid))
    }
}

/// Reads messages off a stream; whole ones only. Dropping [`Incoming::next`] loses nothing.
struct Incoming<R> {
    reader: R,
    bytes: Vec<u8>,
}

impl<R: AsyncRead + Unpin> Incoming<R> {
    fn new(reader: R) -> Self {
        Self { reader, bytes: Vec::with_capacity(WITNESS_MESSAGE_LEN_MAX) }
    }

    /// The next message, as `decode` reads it.
    async fn next<T>(
        &mut self,
        decode: impl Fn(&[u8]) -> Result<Option<(T, usize)>, WitnessMessageError>,
    ) -> io::Result<T> {
        loop {
            let invalid = |e| io::Error::new(io::ErrorKind::InvalidData, e);
            if let Some((message, whole)) = decode(&self.bytes).map_err(invalid)? {
                self.bytes.drain(..whole.min(self.bytes.len()));
                return Ok(message);
            }
            // A message that is not whole is shorter than the longest: the buffer stays bounded.
            let mut piece = [0; WITNESS_MESSAGE_LEN_MAX];
            let len = self.reader.read(&mut piece).await?;
            if len == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.bytes.extend_from_slice(piece.get(..len).unwrap_or_default());
        }
    }
}
