//! A session's socket: buffered answers, bounded waits.
//!
//! Invariants: the buffer grows past [`PIECE_LEN`] by one response at most before it is sent; a peer
//! that takes nothing for [`WRITE_TIMEOUT`] is gone.

use crate::directory::Standing;
use crate::net::Stream;
use crate::tls::Service;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

/// Answers are sent when about this many bytes are there.
pub(super) const PIECE_LEN: usize = 32 * 1024;
/// Most bytes that are read at once.
const READ_LEN: usize = 16 * 1024;
/// Most time that a peer may take to accept one piece.
const WRITE_TIMEOUT: Duration = Duration::from_secs(300);

/// The socket and what waits to be sent.
pub(super) struct Wire {
    /// `None` only while TLS starts.
    stream: Option<Stream>,
    /// Answers not yet sent. Append, then [`Wire::flush`] or [`Wire::relieve`].
    pub(super) out: Vec<u8>,
    input: Box<[u8]>,
    /// Ends a long answer to whoever may not have it any more.
    pub(super) standing: Rests,
}

/// In the middle of an answer there is no place to say so: only closing is left.
fn signed_out() -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, "what the client signed in with is over")
}

/// What the session rests on: nothing before the log-in.
#[derive(Default)]
pub(super) struct Rests {
    on: Option<Standing>,
    lost: bool,
}

impl Rests {
    pub(super) fn begin(&mut self, standing: Standing) {
        (self.on, self.lost) = (Some(standing), false);
    }

    /// Whether it is lost.
    pub(super) fn is_lost(&mut self) -> bool {
        self.lost |= self.on.as_mut().is_some_and(Standing::is_lost);
        self.lost
    }

    /// Ends when it is lost; at once when it already is. Cancellable.
    pub(super) async fn lost(&mut self) {
        match &mut self.on {
            _ if self.lost => {}
            Some(standing) => {
                standing.lost().await;
                self.lost = true;
            }
            None => std::future::pending().await,
        }
    }
}

impl Wire {
    pub(super) fn new(stream: Stream) -> Self {
        Self {
            stream: Some(stream),
            out: Vec::new(),
            input: vec![0; READ_LEN].into(),
            standing: Rests::default(),
        }
    }

    /// Whether TLS protects it.
    pub(super) fn is_tls(&self) -> bool {
        self.stream.as_ref().is_some_and(Stream::is_tls)
    }

    /// Performs the TLS handshake.
    pub(super) async fn upgrade(&mut self, tls: &Service) -> io::Result<()> {
        let stream = self.stream.take().ok_or(io::ErrorKind::NotConnected)?;
        self.stream = Some(stream.upgrade(tls).await?);
        Ok(())
    }

    /// The next bytes from the peer; empty at the end, `None` when the session has lost what it
    /// rests on. Cancellable: bytes are never lost.
    pub(super) async fn read(&mut self) -> io::Result<Option<&[u8]>> {
        let stream = self.stream.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        let n = tokio::select! {
            biased;
            () = self.standing.lost() => return Ok(None),
            read = stream.read(&mut self.input) => read?,
        };
        Ok(Some(self.input.get(..n).unwrap_or_default()))
    }

    /// Sends the buffered answers if there are many: not to whoever may not have them any more.
    pub(super) async fn relieve(&mut self) -> io::Result<()> {
        if self.out.len() < PIECE_LEN {
            return Ok(());
        }
        if self.standing.is_lost() {
            return Err(signed_out());
        }
        self.flush().await
    }

    /// Sends all buffered answers.
    pub(super) async fn flush(&mut self) -> io::Result<()> {
        if self.out.is_empty() {
            return Ok(());
        }
        let stream = self.stream.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        let out = &self.out;
        let send = async {
            // By pieces, so that the time is per piece and a slow link is not a dead one.
            for piece in out.chunks(PIECE_LEN) {
                timeout(WRITE_TIMEOUT, stream.write_all(piece)).await??;
            }
            timeout(WRITE_TIMEOUT, stream.flush()).await??;
            io::Result::Ok(())
        };
        tokio::select! {
            biased;
            // What is taken at once is: the session can then say why it ends.
            sent = send => sent?,
            () = self.standing.lost() => return Err(signed_out()),
        }
        self.out.clear();
        // A large answer was the exception: its buffer is not kept for an idle session.
        self.out.shrink_to(2 * PIECE_LEN);
        Ok(())
    }

    /// Sends what is left and says goodbye to the socket.
    pub(super) async fn close(mut self) {
        if self.flush().await.is_ok()
            && let Some(mut stream) = self.stream
            && let Ok(Err(e)) = timeout(WRITE_TIMEOUT, stream.shutdown()).await
        {
            log::debug!(err:% = e; "connection not closed cleanly");
        }
    }
}
