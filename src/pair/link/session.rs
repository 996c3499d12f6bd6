//! A session's frames, encoded as `proto::pair::frame` says; a ping where nothing else is to say.

use super::slot::Place;
use super::{Event, QUEUE_LEN_MAX, SessionId, Shared};
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use understudy_proto::id::NodeId;
use understudy_proto::pair::Frame;
use understudy_proto::pair::frame::FRAME_LEN_MAX;

/// Small frames are written together up to so many bytes.
const BATCH_LEN: usize = 256 * 1024;
/// Bytes that one read asks for.
const READ_LEN: usize = 128 * 1024;
/// How long the peer's last frames are read once nothing can be written any more.
const LAST_WORDS: Duration = Duration::from_millis(50);
/// Length of a frame's length field.
const LENGTH_LEN: usize = 4;

/// Where frames for the peer wait. Clones are the same queue.
#[derive(Clone, Debug)]
pub struct Queue(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    waiting: Mutex<Waiting>,
    /// Frames have come.
    filled: Notify,
    /// Frames have gone.
    drained: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    frames: VecDeque<Vec<u8>>,
    len: usize,
    /// The last frame has been queued: the session ends when it has gone.
    ending: bool,
    closed: bool,
}

/// Why a frame was not queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueueError {
    /// The peer takes less than we have: [`Queue::drained`] says when to try again.
    #[error("the pair link's queue is full")]
    Full,
    /// The session is over.
    #[error("the pair link's session is over")]
    Closed,
    /// Beyond [`FRAME_LEN_MAX`].
    #[error("a frame of {0} bytes cannot be sent")]
    Length(usize),
}

impl Queue {
    fn new() -> Self {
        Self(Arc::default())
    }

    /// Queues a frame.
    ///
    /// # Errors
    /// See [`QueueError`]; the frame is not sent then.
    pub fn send(&self, frame: &Frame) -> Result<(), QueueError> {
        let frame = frame.encode();
        if frame.len().saturating_sub(LENGTH_LEN) > FRAME_LEN_MAX {
            return Err(QueueError::Length(frame.len()));
        }
        let mut waiting = self.lock();
        if waiting.closed || waiting.ending {
            return Err(QueueError::Closed);
        }
        if waiting.len.saturating_add(frame.len()) > QUEUE_LEN_MAX {
            return Err(QueueError::Full);
        }
        waiting.len += frame.len();
        waiting.frames.push_back(frame);
        drop(waiting);
        self.0.filled.notify_one();
        Ok(())
    }

    /// Drops what waits, sends `frame` and ends the session: the peer is to know why.
    pub fn end_with(&self, frame: &Frame) {
        let frame = frame.encode();
        let mut waiting = self.lock();
        if waiting.closed {
            return;
        }
        waiting.ending = true;
        waiting.frames.clear();
        waiting.len = frame.len();
        waiting.frames.push_back(frame);
        drop(waiting);
        self.0.filled.notify_one();
    }

    /// Bytes that wait to be written.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().len
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns once frames have gone since the last call, or the session is over.
    pub async fn drained(&self) {
        self.0.drained.notified().await;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves what waits to `batch`: at least one frame where there is one. Returns whether it holds
    /// the last frame of the session.
    fn take(&self, batch: &mut Vec<u8>) -> bool {
        let mut waiting = self.lock();
        while let Some(frame) = waiting.frames.front() {
            if !batch.is_empty() && batch.len().saturating_add(frame.len()) > BATCH_LEN {
                break;
            }
            let Some(frame) = waiting.frames.pop_front() else { break };
            waiting.len = waiting.len.saturating_sub(frame.len());
            batch.extend_from_slice(&frame);
        }
        waiting.ending && waiting.frames.is_empty()
    }

    fn close(&self) {
        let mut waiting = self.lock();
        waiting.closed = true;
        waiting.frames.clear();
        waiting.len = 0;
        drop(waiting);
        self.0.drained.notify_one();
    }
}

/// A TLS stream of either direction, with the address of the peer's end.
pub(super) trait Secured: AsyncRead + AsyncWrite + Unpin + Send {
    fn peer(&self) -> Option<SocketAddr>;
}

impl Secured for tokio_rustls::server::TlsStream<TcpStream> {
    fn peer(&self) -> Option<SocketAddr> {
        self.get_ref().0.peer_addr().ok()
    }
}

impl Secured for tokio_rustls::client::TlsStream<TcpStream> {
    fn peer(&self) -> Option<SocketAddr> {
        self.get_ref().0.peer_addr().ok()
    }
}

/// Carries frames until the session ends, where the slot lets it count at all.
pub(super) async fn run<S: Secured>(shared: &Shared, stream: S, opener: NodeId) {
    let Some(peer) = stream.peer() else { return };
    let Some(mut place) = shared.slot.take(opener) else { return };
    shared.refusals.clear();
    let session = place.id;
    let leaving = Leaving { shared, session, queue: Queue::new() };
    let up = Event::Up { session, peer, queue: leaving.queue.clone() };
    if shared.events.send(up).await.is_err() {
        return;
    }
    let reason = carry(shared, stream, &mut place, &leaving.queue).await;
    drop(leaving);
    if shared.events.send(Event::Down { session, reason }).await.is_err() {
        log::debug!("the link has ended");
    }
}

/// Gives the slot back even where the task is aborted.
struct Leaving<'a> {
    shared: &'a Shared,
    session: SessionId,
    queue: Queue,
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.queue.close();
        self.shared.slot.leave(self.session);
    }
}

/// Returns why it ended.
async fn carry<S: Secured>(shared: &Shared, stream: S, place: &mut Place, queue: &Queue) -> String {
    let session = place.id;
    let (mut reader, mut writer) = tokio::io::split(stream);
    tokio::select! {
        biased;
        () = place.ended() => "another connection took its place, or it was closed here".to_owned(),
        e = write_all(&mut writer, queue, shared.options.heartbeat) => {
            // A peer that has gone may have said why before.
            let rest = read_all(&mut reader, shared, session);
            match tokio::time::timeout(LAST_WORDS, rest).await {
                Ok(_) | Err(_) => format!("writing: {e}"),
            }
        }
        e = read_all(&mut reader, shared, session) => format!("reading: {e}"),
    }
}

async fn write_all<S: Secured>(
    writer: &mut WriteHalf<S>,
    queue: &Queue,
    heartbeat: Duration,
) -> io::Error {
    let ping = Frame::Ping.encode();
    let mut batch = Vec::new();
    loop {
        batch.clear();
        let last = queue.take(&mut batch);
        if batch.is_empty() {
            if tokio::time::timeout(heartbeat, queue.0.filled.notified()).await.is_ok() {
                continue;
            }
            batch.extend_from_slice(&ping);
        }
        let written = match writer.write_all(&batch).await {
            Ok(()) => writer.flush().await,
            Err(e) => Err(e),
        };
        if let Err(e) = written {
            return e;
        }
        if last {
            return io::Error::other("closed here, and the peer was told why");
        }
        queue.0.drained.notify_one();
        // One huge frame must not keep its memory.
        batch.shrink_to(BATCH_LEN);
    }
}

async fn read_all<S: Secured>(
    reader: &mut ReadHalf<S>,
    shared: &Shared,
    session: SessionId,
) -> io::Error {
    let mut bytes = Vec::new();
    loop {
        // Whole frames first: what has arrived is never judged by the clock.
        let mut used = 0;
        while let Some((frame, whole)) = match split(bytes.get(used..).unwrap_or_default()) {
            Ok(found) => found,
            Err(e) => return e,
        } {
            used += whole;
            let frame = match Frame::decode(frame) {
                Ok(Frame::Ping) => continue,
                Ok(frame) => frame,
                Err(e) => return io::Error::new(io::ErrorKind::InvalidData, e),
            };
            let event = Event::Frame { session, frame };
            if shared.events.send(event).await.is_err() {
                return io::Error::other("the link has ended");
            }
        }
        bytes.drain(..used);
        bytes.reserve(READ_LEN);
        // `timeout` polls the read first, so bytes that came while we were not scheduled count.
        let read = reader.read_buf(&mut bytes);
        match tokio::time::timeout(shared.options.silence, read).await {
            Ok(Ok(0)) => return io::ErrorKind::UnexpectedEof.into(),
            Ok(Ok(_)) => {}
            Ok(Err(e)) => return e,
            Err(_elapsed) => return io::Error::new(io::ErrorKind::TimedOut, "the peer is silent"),
        }
    }
}

/// The body of the frame at the start of `bytes`, and the frame's whole length; `None` while it is
/// not whole.
fn split(bytes: &[u8]) -> io::Result<Option<(&[u8], usize)>> {
    let Some((length, rest)) = bytes.split_first_chunk::<LENGTH_LEN>() else { return Ok(None) };
    let len =
        Frame::body_len(*length).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
    Ok(rest.get(..len).map(|body| (body, len + LENGTH_LEN)))
}
