//! The link between the two appliances: one TLS session, and beacons on every path.
//!
//! ```text
//!  driver ── send ──► queue ──► writer ─┐           ┌─► reader ──► events ──► driver
//!                                       └── TLS ────┘
//!  dial (while no session) ──► hello ──► slot ◄── hello ◄── accept :7400 ──► join (formation)
//!  beacon sender, every heartbeat ──► UDP, each path ──► check key, counter ──► beacons ──► driver
//! ```
//!
//! Invariants: a frame is whole and in order, or its session is over; at most one session counts at
//! a time, and both nodes choose the same one when both connect (see [`slot`]); what is queued is
//! bounded in bytes. Only the pinned peer gets past TLS; only the pair's key makes a beacon. Absent on
//! purpose: what frames and beacons mean (`proto::pair`).

mod beacon;
mod door;
mod refusal;
mod session;
mod slot;

pub use session::{Queue, QueueError};

use crate::base::secret::Secret;
use crate::base::task;
use crate::net::{self, ListenError, Listener};
use crate::pair::formation::PairIdentity;
use crate::tls::{LinkTls, TlsError};
use crate::vrrp::guardian::Guardian;
use refusal::Refusals;
use slot::Slot;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use understudy_proto::pair::{Beacon, Frame, Saying};

/// Most bytes that wait to be written; a frame that finds more waiting is refused.
pub const QUEUE_LEN_MAX: usize = 16 << 20;
/// Events that wait for the driver. The reader waits with them, so frames are bounded, too.
const EVENTS_MAX: usize = 32;
/// Beacons that wait for the driver; more are dropped, as the network might.
const BEACONS_MAX: usize = 64;
/// Longest pause between two attempts to connect.
const RECONNECT_MAX: Duration = Duration::from_secs(1);
/// Shortest pause between two attempts to connect, whatever the config says.
const RECONNECT_MIN: Duration = Duration::from_millis(5);

/// How a link is to behave.
#[derive(Clone, Debug)]
pub struct Options {
    /// Own addresses, cross-link first.
    pub listen: Vec<SocketAddr>,
    /// The peer's, in the same order.
    pub peer: Vec<SocketAddr>,
    /// Pause between two beacons on each path, and longest pause between two frames.
    pub heartbeat: Duration,
    /// A session on which nothing arrives for so long is over.
    pub silence: Duration,
    /// How long one attempt to connect may take, TLS included.
    pub connect_timeout: Duration,
    /// First pause between two attempts to connect; doubles up to 1 s.
    pub reconnect: Duration,
    /// Where formation keeps its files: joins come in at the same port.
    pub data_dir: PathBuf,
    /// Who says goodbye to the peer when this process has ended.
    pub guardian: Option<Guardian>,
}

/// Which session: counts up within the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);

/// What happens on the link.
#[derive(Debug)]
pub enum Event {
    /// A session counts now; frames go into its queue.
    Up {
        /// Which.
        session: SessionId,
        /// The peer's end.
        peer: SocketAddr,
        /// Where frames for the peer go.
        queue: Queue,
    },
    /// A frame arrived. Frames of a session that no longer counts may still come; drop them.
    Frame {
        /// On which.
        session: SessionId,
        /// The frame; never a ping.
        frame: Frame,
    },
    /// A session is over.
    Down {
        /// Which.
        session: SessionId,
        /// Why, for the log.
        reason: String,
    },
    /// Somebody has joined the pair, perhaps in the place of a lost peer. The link admits them.
    Joined(Box<PairIdentity>),
}

/// A beacon of the peer, authenticated, newer than those before it on its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard {
    /// On which path: index into the configured addresses.
    pub path: usize,
    /// What it says.
    pub beacon: Beacon,
}

/// A running link. Dropping it closes everything.
pub struct Link {
    /// What happens on it.
    pub events: mpsc::Receiver<Event>,
    /// What the peer says on any path.
    pub beacons: mpsc::Receiver<Heard>,
    say: watch::Sender<Option<Saying>>,
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<()>>,
}

/// What the link's tasks share.
struct Shared {
    options: Options,
    current: RwLock<Current>,
    slot: Slot,
    refusals: Refusals,
    beacon_key: watch::Sender<Secret<[u8; 32]>>,
    events: mpsc::Sender<Event>,
}

/// Who we are and whom we admit; changes when somebody joins.
struct Current {
    identity: PairIdentity,
    tls: LinkTls,
}

/// Why there is no link.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// A port cannot be opened.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The identity's certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

impl Link {
    /// Opens the ports and starts connecting. `identity` says who we are and who the peer is; while
    /// there is no peer, only joins are answered.
    ///
    /// # Errors
    /// A port cannot be opened, or the identity's certificate cannot be used.
    pub fn start(options: Options, identity: PairIdentity) -> Result<Self, LinkError> {
        let tls = LinkTls::new(&identity.link_identity(), identity.peer_pin())?;
        let listeners: Vec<Listener> =
            options.listen.iter().map(|at| net::listen_at(*at)).collect::<Result<_, _>>()?;
        let (events, events_out) = mpsc::channel(EVENTS_MAX);
        let (beacons, beacons_out) = mpsc::channel(BEACONS_MAX);
        let beacon_key = watch::Sender::new(identity.beacon_key.clone());
        let say = watch::Sender::new(None);
        let mut tasks = beacon::start(&options, &identity, &beacon_key, &say, &beacons)?;
        let shared = Arc::new(Shared {
            options,
            slot: Slot::new(identity.node),
            refusals: Refusals::default(),
            current: RwLock::new(Current { identity, tls }),
            beacon_key,
            events,
        });
        for listener in listeners {
            tasks.push(task::spawn("pair-accept", door::accept(Arc::clone(&shared), listener)));
        }
        tasks.push(task::spawn("pair-dial", door::dial(Arc::clone(&shared))));
        Ok(Self { events: events_out, beacons: beacons_out, say, shared, tasks })
    }

    /// What every beacon says from now on; before the first call none is sent. A new part or epoch
    /// goes out at once, a new position with the next heartbeat.
    pub fn say(&self, saying: Saying) {
        self.say.send_if_modified(|old| {
            let key = |s: &Saying| (s.phase, s.seen, s.echo);
            // An echo is a read lease: the primary waits for it.
            let urgent = old.is_none_or(|old| key(&old) != key(&saying));
            *old = Some(saying);
            urgent
        });
    }

    /// How many sentences [`Link::refusals`] has.
    #[must_use]
    pub fn refusals_len(&self) -> usize {
        self.shared.refusals.len()
    }

    /// Why no session comes about, a sentence each; empty once one does.
    #[must_use]
    pub fn refusals(&self) -> Vec<String> {
        self.shared.refusals.sentences()
    }

    /// Closes everything; when this returns the ports are free.
    pub async fn stop(mut self) {
        for task in std::mem::take(&mut self.tasks) {
            task.abort();
            if let Err(e) = task.await
                && !e.is_cancelled()
            {
                log::debug!(err:% = e; "a task of the pair link had ended before");
            }
        }
    }

    /// Ends `session`, if it still counts; [`Event::Down`] follows.
    pub fn close(&self, session: SessionId) {
        self.shared.slot.close(session);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
        self.shared.slot.close_all();
    }
}

impl Shared {
    fn read<T>(&self, f: impl FnOnce(&Current) -> T) -> T {
        f(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whoever has joined is the peer from now on; a session with a former one ends.
    fn joined(&self, identity: &PairIdentity) -> Result<(), TlsError> {
        let tls = LinkTls::new(&identity.link_identity(), identity.peer_pin())?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) =
            Current { identity: identity.clone(), tls };
        self.beacon_key.send_replace(identity.beacon_key.clone());
        self.slot.close_all();
        Ok(())
    }
}

#[cfg(test)]
mod tests;
