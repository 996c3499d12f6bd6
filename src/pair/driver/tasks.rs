//! What the driver's one task must not wait for: the log's answers, the register, the journal.

use super::super::journal::{self, Entry};
use super::super::register;
use crate::base::task;
use crate::store::disk::Disk;
use crate::store::{Log, Room, Store, StoreError};
use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinHandle;
use understudy_proto::id::Lsn;
use understudy_proto::pair::{Input, Register};

/// Answers that wait for the driver; workers wait with them.
pub(super) const DONE_MAX: usize = 64;
/// Consecutive appends are put together up to so many bytes.
const APPEND_LEN_MAX: usize = 4 << 20;
/// Pause between two looks at the disk's free space,
const ROOM_EVERY: Duration = Duration::from_secs(5);
/// and where it has less than so many times its reserve, or what the log needs.
const ROOM_EVERY_LITTLE: Duration = Duration::from_millis(250);
const LITTLE_ROOM: u64 = 2;

/// What a worker reports.
pub(super) enum Done {
    /// For the machine.
    Input(Input),
    /// A job of the log's queue is done.
    Log(Input),
    /// The log cannot be read for the peer.
    Unreadable(StoreError),
    /// The peer's keyring of that version was taken in, or refused.
    Keyring(u64, Result<(), StoreError>),
    /// The door is closed, and whoever was on the doorstep is in.
    DoorClosed,
    /// How much room the disk has.
    Room(Room),
    /// The process must end: why.
    Fatal(String),
}

/// What the log is asked, strictly in this order.
enum Job {
    Append(Vec<u8>),
    SetAside(Lsn),
    /// Where does the log end once everything queued is in it?
    Tail,
}

/// The log's jobs. A primary that keeps to its window fills half of it at most: what is queued here is
/// not acknowledged yet.
#[derive(Clone)]
pub(super) struct LogQueue(Arc<Shared>);

struct Shared {
    jobs: Mutex<Jobs>,
    filled: Notify,
    /// Most bytes of records that may wait.
    len_max: usize,
}

/// The peer sends more than it may before it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the peer sent {len} bytes of records without waiting for an answer, and {max} may wait here; \
     are both appliances of the same release?"
)]
pub(super) struct LogQueueFull {
    /// Bytes that would wait.
    pub(super) len: usize,
    /// Bytes that may.
    pub(super) max: usize,
}

#[derive(Default)]
struct Jobs {
    waiting: VecDeque<Job>,
    /// Bytes of records in them.
    len: usize,
    /// Whether the worker has one in hand, or its answer is not taken yet.
    busy: bool,
}

impl LogQueue {
    /// With `len_max` bytes of records at most.
    pub(super) fn new(len_max: usize) -> Self {
        let (jobs, filled) = (Mutex::default(), Notify::new());
        Self(Arc::new(Shared { jobs, filled, len_max }))
    }

    /// # Errors
    /// Too much waits already; nothing of `bytes` is taken.
    pub(super) fn append(&self, bytes: Vec<u8>) -> Result<(), LogQueueFull> {
        let mut jobs = self.lock();
        let (len, max) = (jobs.len.saturating_add(bytes.len()), self.0.len_max);
        if len > max {
            return Err(LogQueueFull { len, max });
        }
        jobs.len = len;
        match jobs.waiting.back_mut() {
            // One append, one sync: what has come while the disk was busy goes together.
            Some(Job::Append(last)) if last.len() + bytes.len() <= APPEND_LEN_MAX => {
                last.extend_from_slice(&bytes);
            }
            _ => jobs.waiting.push_back(Job::Append(bytes)),
        }
        drop(jobs);
        self.0.filled.notify_one();
        Ok(())
    }

    pub(super) fn set_aside(&self, from: Lsn) {
        self.push(Job::SetAside(from));
    }

    pub(super) fn tail(&self) {
        self.push(Job::Tail);
    }

    /// Whether everything asked has been answered, and the answers taken by the driver.
    pub(super) fn is_idle(&self) -> bool {
        let jobs = self.lock();
        jobs.waiting.is_empty() && !jobs.busy
    }

    /// The driver has taken the answer to a job.
    pub(super) fn answered(&self) {
        self.lock().busy = false;
        self.0.filled.notify_one();
    }

    fn push(&self, job: Job) {
        self.lock().waiting.push_back(job);
        self.0.filled.notify_one();
    }

    async fn next(&self) -> Job {
        loop {
            {
                let mut jobs = self.lock();
                if !jobs.busy
                    && let Some(job) = jobs.waiting.pop_front()
                {
                    if let Job::Append(bytes) = &job {
                        jobs.len = jobs.len.saturating_sub(bytes.len());
                    }
                    jobs.busy = true;
                    return job;
                }
            }
            self.0.filled.notified().await;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Jobs> {
        self.0.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Carries the log's jobs out, one after the other.
pub(super) fn log_worker(queue: LogQueue, log: Log, done: mpsc::Sender<Done>) -> JoinHandle<()> {
    task::spawn("pair-log", async move {
        loop {
            let outcome = match queue.next().await {
                Job::Append(bytes) => log.append_replica(bytes).await.map(Input::Appended),
                Job::SetAside(from) => {
                    let cut = log.set_aside(from).await;
                    cut.map(|_count| Input::SetAsideDone(log.last().lsn))
                }
                // An empty append is answered after everything queued before it.
                Job::Tail => log.append_replica(Vec::new()).await.map(Input::Revoked),
            };
            let answer = match outcome {
                Ok(input) => Done::Log(input),
                Err(StoreError::Stopped) => return,
                Err(e) => {
                    log::error!(err:% = e, runbook = "branched"; "the peer's log does not fit ours");
                    Done::Log(Input::AppendFailed)
                }
            };
            if done.send(answer).await.is_err() {
                return;
            }
        }
    })
}

/// Looks at the disk's free space. A disk that does not answer is `vital`'s business.
pub(super) fn room_worker(store: Store, log_room: u64, done: mpsc::Sender<Done>) -> JoinHandle<()> {
    task::spawn("pair-room", async move {
        let mut known = true;
        loop {
            let mut pause = ROOM_EVERY;
            let look = store.clone();
            match tokio::task::spawn_blocking(move || look.room()).await {
                Ok(Ok(room)) => {
                    known = true;
                    if room.free < room.reserve.max(log_room).saturating_mul(LITTLE_ROOM) {
                        pause = ROOM_EVERY_LITTLE;
                    }
                    if done.send(Done::Room(room)).await.is_err() {
                        return;
                    }
                }
                Ok(Err(e)) if known => {
                    known = false;
                    log::warn!(err:% = e, runbook = "own-health"; "the disk's free space is not known");
                }
                Ok(Err(_)) => {}
                Err(e) => log::debug!(err:% = e; "nobody looked at the disk's free space"),
            }
            tokio::time::sleep(pause).await;
        }
    })
}

/// Makes registers durable; of several that wait, only the newest.
pub(super) fn register_worker(
    mut registers: watch::Receiver<Option<(u64, Register)>>,
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    done: mpsc::Sender<Done>,
) -> JoinHandle<()> {
    task::spawn("pair-register", async move {
        while registers.changed().await.is_ok() {
            let Some((number, register)) = *registers.borrow_and_update() else { continue };
            let (disk, dir) = (Arc::clone(&disk), dir.clone());
            let write = move || register::write(disk.as_ref(), &dir, &register);
            let answer = match tokio::task::spawn_blocking(write).await {
                Ok(Ok(())) => Done::Input(Input::Persisted(number)),
                Ok(Err(e)) => Done::Fatal(e.to_string()),
                Err(e) => Done::Fatal(e.to_string()),
            };
            if done.send(answer).await.is_err() {
                return;
            }
        }
    })
}

/// Writes the journal whenever it has changed.
pub(super) fn journal_worker(
    mut entries: watch::Receiver<Arc<Vec<Entry>>>,
    dir: PathBuf,
) -> JoinHandle<()> {
    task::spawn("pair-journal", async move {
        while entries.changed().await.is_ok() {
            let now = Arc::clone(&entries.borrow_and_update());
            let dir = dir.clone();
            match tokio::task::spawn_blocking(move || journal::write(&dir, &now)).await {
                Ok(Ok(())) => {}
                Ok(Err(e)) => log::warn!(err:% = e; "the pair's journal cannot be written"),
                Err(e) => log::warn!(err:% = e; "the pair's journal was not written"),
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_peer_that_waits_for_no_answer_is_stopped() {
        let queue = LogQueue::new(10);
        assert_eq!(queue.append(vec![0; 6]), Ok(()));
        assert_eq!(queue.append(vec![0; 4]), Ok(()));
        assert_eq!(queue.append(vec![0; 1]), Err(LogQueueFull { len: 11, max: 10 }));
        assert!(matches!(queue.next().await, Job::Append(bytes) if bytes.len() == 10));
        assert_eq!(queue.append(vec![0; 10]), Ok(()), "what is in hand does not wait");
    }
}
