//! What else travels between the two appliances on the session: snapshots, branches, and what lets
//! clients come back quickly.
//!
//! Messages of a topic arrive in order or the session is over. Bulk never delays records: a message
//! is queued only while little waits in the session's queue. A reader that is too slow ends the
//! session rather than the driver's pace, so senders keep at most [`UNANSWERED_MAX`] messages without
//! an answer. Absent on purpose: what the messages mean, and any of it surviving the session.

use super::link::{Queue, QueueError};
use crate::base::clock;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;
use understudy_proto::pair::Frame;

/// Longest message, in bytes.
pub const MESSAGE_LEN_MAX: usize = 512 * 1024;
/// Most messages of a topic that a sender leaves without an answer.
pub const UNANSWERED_MAX: usize = 32;
/// Events that wait for a topic's reader: twice what senders may leave unanswered.
const EVENTS_MAX: usize = 64;
/// Of these, so many are kept for the coming and going of sessions.
const EVENTS_SPARE: usize = 16;
/// With more bytes than this in the session's queue, bulk waits.
const QUEUE_LEN_LOW: usize = 2 << 20;
/// Pause before the queue is looked at again.
const PAUSE: Duration = Duration::from_millis(5);

/// What messages are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Topic {
    /// A full copy for a standby.
    Snapshot = 1,
    /// A branch that is to be merged.
    Branch = 2,
    /// Log-ins, ticket keys and connections, shared in memory.
    Shared = 3,
    /// Updates of the two appliances.
    Update = 4,
    /// Certificates, their keys and the account with the authority.
    Certificates = 5,
}

impl Topic {
    const ALL: [Self; 5] =
        [Self::Snapshot, Self::Branch, Self::Shared, Self::Update, Self::Certificates];

    fn of(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|topic| *topic as u8 == number)
    }
}

/// What a topic's reader learns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SideEvent {
    /// A session stands; nothing of an earlier one comes any more.
    Up,
    /// It is over: what was not answered may not have arrived.
    Down,
    /// The peer says this.
    Message(Vec<u8>),
}

/// Why a message was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SideError {
    /// The two appliances do not talk to each other at present.
    #[error("there is no session with the other appliance")]
    NoSession,
    /// Beyond [`MESSAGE_LEN_MAX`].
    #[error("a message of {0} bytes cannot be sent to the other appliance")]
    Length(usize),
}

/// The side channel. Clones are the same.
#[derive(Clone, Default)]
pub struct Side(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    session: Option<Queue>,
    readers: Vec<(Topic, mpsc::Sender<SideEvent>)>,
}

impl Side {
    /// A channel without a session yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The events of a topic; given out once.
    #[must_use]
    pub fn subscribe(&self, topic: Topic) -> Option<mpsc::Receiver<SideEvent>> {
        let mut inner = self.lock();
        if inner.readers.iter().any(|(known, _)| *known == topic) {
            return None;
        }
        let (sender, receiver) = mpsc::channel(EVENTS_MAX);
        if inner.session.is_some() && sender.try_send(SideEvent::Up).is_err() {
            return None;
        }
        inner.readers.push((topic, sender));
        Some(receiver)
    }

    /// Queues a message; waits while more urgent frames are under way.
    ///
    /// # Errors
    /// See [`SideError`].
    pub async fn send(&self, topic: Topic, bytes: Vec<u8>) -> Result<(), SideError> {
        if bytes.len() > MESSAGE_LEN_MAX {
            return Err(SideError::Length(bytes.len()));
        }
        let frame = Frame::Side { topic: topic as u8, bytes };
        loop {
            let Some(queue) = self.lock().session.clone() else { return Err(SideError::NoSession) };
            if queue.len() <= QUEUE_LEN_LOW {
                match queue.send(&frame) {
                    Ok(()) => return Ok(()),
                    Err(QueueError::Full) => {}
                    Err(QueueError::Closed) => return Err(SideError::NoSession),
                    Err(QueueError::Length(len)) => return Err(SideError::Length(len)),
                }
            }
            clock::sleep_until(clock::mono().after(PAUSE)).await;
        }
    }

    /// The driver: this session counts now.
    pub(super) fn up(&self, queue: Queue) {
        let mut inner = self.lock();
        inner.session = Some(queue);
        inner.tell(&SideEvent::Up);
    }

    /// The driver: it is over.
    pub(super) fn down(&self) {
        let mut inner = self.lock();
        if inner.session.take().is_some() {
            inner.tell(&SideEvent::Down);
        }
    }

    /// The driver: the peer says this. `false` ends the session: the reader is too slow.
    pub(super) fn arrived(&self, topic: u8, bytes: Vec<u8>) -> bool {
        let inner = self.lock();
        let reader = Topic::of(topic)
            .and_then(|topic| inner.readers.iter().find(|(known, _)| *known == topic));
        // What nobody reads here is of a release that has a topic more.
        let Some((_, reader)) = reader else { return true };
        if reader.is_closed() {
            return true;
        }
        reader.capacity() > EVENTS_SPARE && reader.try_send(SideEvent::Message(bytes)).is_ok()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// A reader that cannot be told is taken off: it sees the end of its channel, not a gap.
    fn tell(&mut self, event: &SideEvent) {
        self.readers.retain(|(topic, reader)| {
            let told = reader.try_send(event.clone()).is_ok();
            if !told {
                log::error!(topic:? = topic, runbook = "runtime-stuck"; "a reader of the pair's side channel stands still");
            }
            told
        });
    }
}
