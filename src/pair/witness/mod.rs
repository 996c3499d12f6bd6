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
use tokio::io::{AsyncRead, AsyncReadExt};
use understudy_proto::pair::witness::{WITNESS_MESSAGE_LEN_MAX, WitnessMessageError};

/// The port that a witness listens on.
pub const WITNESS_PORT: u16 = 7401;
/// The name in a witness's certificate. Nobody looks at it: the pin counts.
const WITNESS_NAME: &str = "understudy-witness";

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
