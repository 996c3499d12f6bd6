//! The one log: every change of every tenant, in one order.
//!
//! Invariants: an lsn is given once, in the order of the records' bytes. Nothing is reported durable
//! before the sync of its batch returned, nothing committed before it is durable here, and no view
//! sees a record above the commit lsn. A durable record leaves the log only by trimming (it is in
//! checkpointed views) or by being set aside (a copy is durable first).
//!
//! ```text
//!  deciders, bodies ─┐                 ┌─► recent records in memory ─► peer, views
//!                    ├─► queue ─► appender: encode, write, one sync per batch ─► durable
//!  peer's records ───┘                                          pair: commit ─► writers, views
//! ```
//!
//! Deliberately absent: when to commit. The pair knows who must hold a record; it calls
//! [`Log::commit`].

mod appender;
mod recover;
mod segment;
#[cfg(test)]
mod tests;

pub(super) use appender::spawn;
pub(super) use recover::{Recovered, SegmentBase, begin_at, begins_with, recover};

use self::segment::{Cursor, EPOCHS_MAX, Hints, Place, SEGMENT_HEADER_LEN, Step};
use super::disk::{Disk, Open};
use super::error::{Context, StoreError, lock};
use super::lease::PrimaryLease;
use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};
use understudy_proto::id::{Epoch, Lsn, TenantId};
use understudy_proto::record::{self, Chain, Kind};
use understudy_proto::time::Mono;

/// Bytes of payload that may wait for the disk, over all sessions.
pub(super) const CREDIT_BYTES: usize = 32 << 20;
/// Bytes of encoded records that stay in memory for the peer and the views while they lag.
const RECENT_BYTES_MAX: usize = 32 << 20;
/// Bytes of encoded records that stay in memory once everybody has them.
const RECENT_BYTES_IDLE: usize = 1 << 20;
/// For a merge the log is kept until it is so many times as long as `log_keep_bytes`: a branch that
/// comes back too late, or cannot be merged, must not fill the disk that clients write to.
const MERGE_KEEP_FACTOR: u64 = 4;
/// A segment's index has an entry for a batch at least this many bytes after the one before.
const INDEX_EVERY: u64 = 256 * 1024;

/// The end of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tail {
    /// The last record; 0 when there is none.
    pub lsn: Lsn,
    /// Its epoch.
    pub epoch: Epoch,
    /// Its chain.
    pub chain: Chain,
}

/// What records stay in the log for, whatever else would trim them. See [`Log::pin`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pin {
    /// A copy of the views that goes on from there: however long the log gets.
    Copy,
    /// The merge of a branch. Over restarts, too: [`super::Store::open`] finds it in the rows. Given
    /// up when the log is [`MERGE_KEEP_FACTOR`] times as long as `log_keep_bytes`.
    Merge,
}

/// A record on its way into the log.
pub(super) struct Entry {
    pub(super) tenant: TenantId,
    pub(super) kind: Kind,
    pub(super) flags: u16,
    pub(super) nonce: [u8; 24],
    pub(super) payload: Vec<u8>,
    /// Given back once the record is durable.
    pub(super) credit: Option<OwnedSemaphorePermit>,
}

/// What the appender is asked to do, strictly in this order.
enum Job {
    Append { lsn: Lsn, epoch: Epoch, entry: Entry },
    Replica { records: Vec<u8>, done: oneshot::Sender<Result<Lsn, StoreError>> },
    SetAside { from: Lsn, done: oneshot::Sender<Result<usize, StoreError>> },
    Trim,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    next: Lsn,
    epoch: Epoch,
    closed: bool,
}

/// A batch as it was written, kept for readers.
struct Block {
    first: Lsn,
    last: Lsn,
    /// The batch's marker, then its records.
    bytes: Vec<u8>,
    /// Where each record begins in `bytes`, and its chain.
    records: Vec<(usize, Chain)>,
}

impl Block {
    fn record_at(&self, lsn: Lsn) -> Option<(usize, Chain)> {
        let n = usize::try_from(lsn.0.checked_sub(self.first.0)?).ok()?;
        self.records.get(n).copied()
    }
}

struct Segment {
    first: Lsn,
    chain: Chain,
    path: PathBuf,
    /// Batches' first records and offsets, ascending.
    index: Vec<Place>,
}

impl Segment {
    /// The nearest known place at or before record `lsn`.
    fn place(&self, lsn: Lsn) -> Place {
        let known = self.index.partition_point(|p| p.next <= lsn);
        let indexed = self.index.get(..known).and_then(|places| places.last());
        indexed.copied().unwrap_or(Place {
            offset: SEGMENT_HEADER_LEN as u64,
            next: self.first,
            chain: self.chain,
        })
    }
}

#[derive(Default)]
struct State {
    tail: Tail,
    epochs: Vec<(Epoch, Lsn)>,
    segments: VecDeque<Segment>,
    recent: VecDeque<Arc<Block>>,
    recent_bytes: usize,
    /// Where the last read from a segment ended.
    reader: Option<(Lsn, Place)>,
}

/// The log. Clones are the same log.
#[derive(Clone)]
pub struct Log(Arc<Inner>);

/// Called with a sentence when the store must stop: a failed sync, a change that cannot be applied.
pub type FatalHook = Arc<dyn Fn(&str) + Send + Sync>;

pub(super) struct Settings {
    pub(super) dir: PathBuf,
    pub(super) segment_len: u64,
    pub(super) keep_bytes: u64,
    pub(super) fatal: FatalHook,
}

struct Inner {
    disk: Arc<dyn Disk>,
    settings: Settings,
    queue: Mutex<Queue>,
    queued: Condvar,
    state: Mutex<State>,
    appended: watch::Sender<Lsn>,
    durable: watch::Sender<Lsn>,
    committed: watch::Sender<Lsn>,
    applied: watch::Sender<Lsn>,
    /// Writers that wait for a commit, by lsn.
    waiters: Mutex<BTreeMap<Lsn, Vec<oneshot::Sender<()>>>>,
    alone: AtomicBool,
    /// Everything up to here is in checkpointed views.
    floor: AtomicU64,
    peer: Mutex<Option<Lsn>>,
    /// Records from here on stay, however many they are.
    pins: Mutex<BTreeMap<Pin, Lsn>>,
    viewer: Mutex<bool>,
    viewer_called: Condvar,
    stopped: AtomicBool,
    /// Since when the disk works on a batch, in microseconds of [`Mono`]; 0 while it does not.
    disk_since: AtomicU64,
    credit: Arc<Semaphore>,
    /// See [`Log::set_fork`].
    fork: AtomicU64,
    /// Held while the file that says so is written.
    fork_file: Mutex<()>,
}

/// Where [`Log::set_fork`] keeps its epoch: 8 bytes, little-endian, and their CRC-32C.
const FORK_FILE: &str = "fork";

impl Log {
    /// Since when the disk has been busy with the batch that it works on, if it is.
    #[must_use]
    pub fn disk_since(&self) -> Option<Mono> {
        Some(self.0.disk_since.load(Ordering::Relaxed)).filter(|at| *at > 0).map(Mono)
    }

    /// The last record, durable or not yet.
    #[must_use]
    pub fn last(&self) -> Tail {
        lock(&self.0.state).tail
    }

    /// The last record that is durable on this node.
    #[must_use]
    pub fn durable(&self) -> watch::Receiver<Lsn> {
        self.0.durable.subscribe()
    }

    /// The last record that [`Log::read_from`] gives; it may not be durable yet.
    #[must_use]
    pub fn appended(&self) -> watch::Receiver<Lsn> {
        self.0.appended.subscribe()
    }

    /// Bytes that each of its files takes on the disk, from its beginning on.
    #[must_use]
    pub fn segment_len(&self) -> u64 {
        self.0.settings.segment_len
    }

    /// The oldest record that is still in the log, or the next one's lsn if there is none.
    #[must_use]
    pub fn first(&self) -> Lsn {
        lock(&self.0.state).segments.front().map_or(Lsn(1), |s| s.first)
    }

    /// The first record of each epoch that is still known (the newest 252), ascending.
    #[must_use]
    pub fn epochs(&self) -> Vec<(Epoch, Lsn)> {
        lock(&self.0.state).epochs.clone()
    }

    /// The last committed record.
    #[must_use]
    pub fn committed(&self) -> Lsn {
        *self.0.committed.borrow()
    }

    /// The last record that is in the views.
    #[must_use]
    pub fn applied(&self) -> Lsn {
        *self.0.applied.borrow()
    }

    /// Follows [`Log::applied`].
    #[must_use]
    pub fn watch_applied(&self) -> watch::Receiver<Lsn> {
        self.0.applied.subscribe()
    }

    /// The chain after record `lsn`; `None` when the log does not hold it (any more). The record
    /// right before the oldest one is known, too.
    pub fn chain_at(&self, lsn: Lsn) -> Result<Option<Chain>, StoreError> {
        {
            let state = lock(&self.0.state);
            if lsn == state.tail.lsn {
                return Ok(Some(state.tail.chain));
            }
            if lsn > state.tail.lsn {
                return Ok(None);
            }
            if let Some(segment) = state.segments.iter().find(|s| s.first == lsn.next()) {
                return Ok(Some(segment.chain));
            }
            if state.segments.front().is_none_or(|s| lsn < s.first) {
                return Ok(None);
            }
            let block = state.recent.iter().rev().find(|b| b.first <= lsn);
            if let Some((_, chain)) = block.and_then(|b| b.record_at(lsn)) {
                return Ok(Some(chain));
            }
        }
        let bytes = self.read_from(lsn, 1)?;
        Ok(record::decode(&bytes).ok().map(|(header, _, _)| header.chain))
    }

    /// Whole encoded records from `lsn` on: at least one if there is one, and no more than
    /// `max_bytes` unless the first is longer. Empty past the log's end; an error before its start.
    pub fn read_from(&self, lsn: Lsn, max_bytes: usize) -> Result<Vec<u8>, StoreError> {
        let durable = *self.0.durable.borrow();
        self.read_up_to(lsn, max_bytes, durable)
    }

    /// Whether reading from `lsn` on asks no disk.
    #[must_use]
    pub fn has_in_memory(&self, lsn: Lsn) -> bool {
        let state = lock(&self.0.state);
        let oldest = state.recent.front().map_or(state.tail.lsn.next(), |b| b.first);
        lsn >= oldest
    }

    /// [`Log::read_from`], with `in_file`: the last record that is whole in the segments' files.
    fn read_up_to(&self, lsn: Lsn, max_bytes: usize, in_file: Lsn) -> Result<Vec<u8>, StoreError> {
        let blocks: Vec<Arc<Block>> = {
            let state = lock(&self.0.state);
            let first = state.segments.front().map_or(Lsn(1), |s| s.first);
            if lsn < first {
                return Err(StoreError::NotInLog { asked: lsn, first, last: state.tail.lsn });
            }
            if lsn > state.tail.lsn {
                return Ok(Vec::new());
            }
            let mut bytes = 0;
            let from = state.recent.partition_point(|b| b.last < lsn);
            if state.recent.get(from).is_some_and(|b| b.first <= lsn) {
                let mut enough = |b: &&Arc<Block>| {
                    let go_on = bytes < max_bytes;
                    bytes += b.bytes.len();
                    go_on
                };
                state.recent.range(from..).take_while(|b| enough(b)).cloned().collect()
            } else {
                Vec::new()
            }
        };
        if blocks.is_empty() {
            return self.read_segments(lsn, max_bytes, in_file);
        }
        let mut out = Vec::new();
        for block in blocks {
            let (mut at, _) = block.record_at(lsn.max(block.first)).unwrap_or_default();
            let rest = block.bytes.get(at..).unwrap_or_default();
            if out.len() + rest.len() <= max_bytes {
                out.extend_from_slice(rest);
                continue;
            }
            while let Some(rest) = block.bytes.get(at..).filter(|r| !r.is_empty()) {
                let whole = record::decode(rest).map_or(rest.len(), |(_, _, whole)| whole);
                if !out.is_empty() && out.len() + whole > max_bytes {
                    return Ok(out);
                }
                out.extend_from_slice(rest.get(..whole).unwrap_or_default());
                at += whole;
            }
        }
        Ok(out)
    }

    /// Appends records of the primary, which must continue this log exactly. Returns the last one's
    /// lsn once [`Log::last`] counts them; [`Log::durable`] says when they are on the disk. Of
    /// records that do not all fit, those before the first misfit are kept.
    pub async fn append_replica(&self, records: Vec<u8>) -> Result<Lsn, StoreError> {
        let (done, answer) = oneshot::channel();
        self.push(Job::Replica { records, done })?;
        answer.await.map_err(|oneshot::error::RecvError { .. }| StoreError::Stopped)?
    }

    /// [`Log::append_replica`] for a thread that may block; returns once the records are durable.
    pub(super) fn append_blocking(&self, records: Vec<u8>) -> Result<Lsn, StoreError> {
        let (done, answer) = oneshot::channel();
        self.push(Job::Replica { records, done })?;
        let last = answer
            .blocking_recv()
            .map_err(|oneshot::error::RecvError { .. }| StoreError::Stopped)??;
        // Setting nothing aside is answered behind the sync of what came before it.
        let (done, answer) = oneshot::channel();
        self.push(Job::SetAside { from: Lsn(u64::MAX), done })?;
        answer
            .blocking_recv()
            .map_err(|oneshot::error::RecvError { .. }| StoreError::Stopped)??;
        Ok(last)
    }

    /// Begins `epoch` with a record of its own and returns its lsn once it is durable here.
    pub async fn begin_epoch(&self, epoch: Epoch) -> Result<Lsn, StoreError> {
        let mut durable = self.durable();
        let lsn = {
            let mut queue = lock(&self.0.queue);
            queue.epoch = epoch;
            let (tenant, kind) = (TenantId::SYSTEM, Kind::EPOCH);
            let (flags, nonce, payload) = (0, [0; 24], Vec::new());
            self.0
                .enqueue(&mut queue, Entry { tenant, kind, flags, nonce, payload, credit: None })?
        };
        loop {
            if *durable.borrow_and_update() >= lsn {
                return Ok(lsn);
            }
            if self.is_stopped() || durable.changed().await.is_err() {
                return Err(StoreError::Stopped);
            }
        }
    }

    /// Stamps `epoch` on records that are submitted from now on.
    pub fn set_epoch(&self, epoch: Epoch) {
        lock(&self.0.queue).epoch = epoch;
    }

    /// Raises the commit lsn, at most to what is durable here: writers get their answers, views
    /// apply. A larger `lsn` is cut, not remembered: call again when [`Log::durable`] moves.
    pub fn commit(&self, lsn: Lsn) {
        let ready = {
            let mut waiters = lock(&self.0.waiters);
            let lsn = lsn.min(*self.0.durable.borrow());
            if self.is_stopped() || lsn <= self.committed() {
                return;
            }
            let later = waiters.split_off(&lsn.next());
            let ready = std::mem::replace(&mut *waiters, later);
            if !ready.is_empty() {
                self.0.disk.acknowledging(lsn);
            }
            self.0.committed.send_replace(lsn);
            ready
        };
        for writer in ready.into_values().flatten() {
            // A session that has gone meanwhile needs no answer.
            if writer.send(()).is_err() {
                continue;
            }
        }
        self.call_viewer();
    }

    /// For tests of a store without a pair around it: the pair itself calls [`Log::commit`].
    /// While `alone`, whatever is durable here is committed at once: this node is the only member
    /// of `insync` (SOLO, durably recorded first) or has no peer at all.
    pub fn commit_alone(&self, alone: bool) {
        self.0.alone.store(alone, Ordering::Release);
        if alone {
            self.commit(*self.0.durable.borrow());
        }
    }

    /// Moves the uncommitted records from `from` on into a file under `log/aside/`, durable there
    /// before they leave the log, and says how many they were. [`Log::durable`] and
    /// [`Log::appended`] go back to where the log then ends.
    pub async fn set_aside(&self, from: Lsn) -> Result<usize, StoreError> {
        let (done, answer) = oneshot::channel();
        self.push(Job::SetAside { from, done })?;
        answer.await.map_err(|oneshot::error::RecvError { .. }| StoreError::Stopped)?
    }

    /// What the peer holds: records above stay in the log however many they are. `None`: the peer
    /// is absent and `log_keep_bytes` bounds what is kept for it.
    pub fn keep_for_peer(&self, lsn: Option<Lsn>) {
        *lock(&self.0.peer) = lsn;
    }

    /// Keeps the records from `lsn` on for this purpose until it is called for it again. Once this
    /// returned, [`Log::first`] says whether they are still here.
    pub fn pin(&self, purpose: Pin, lsn: Option<Lsn>) {
        let mut pins = lock(&self.0.pins);
        match lsn {
            Some(lsn) => pins.insert(purpose, lsn),
            None => pins.remove(&purpose),
        };
    }

    /// From `epoch` on another node may go on, too: this one was promoted without a witness. Zero:
    /// no other can. Durable when it returns, and known again after a restart.
    ///
    /// # Errors
    /// The disk refuses; then what counted before counts.
    pub fn set_fork(&self, epoch: Epoch) -> Result<(), StoreError> {
        let _writing = lock(&self.0.fork_file);
        self.write_fork(epoch)
    }

    /// No other node can go on from the fork of epoch `seen`. A fork that was noted meanwhile stays.
    ///
    /// # Errors
    /// As [`Log::set_fork`].
    pub fn clear_fork(&self, seen: Epoch) -> Result<(), StoreError> {
        let _writing = lock(&self.0.fork_file);
        if self.fork() == seen { self.write_fork(Epoch(0)) } else { Ok(()) }
    }

    fn write_fork(&self, epoch: Epoch) -> Result<(), StoreError> {
        if self.fork() == epoch {
            return Ok(());
        }
        let (dir, disk) = (&self.0.settings.dir, &self.0.disk);
        let (path, temporary) = (dir.join(FORK_FILE), dir.join("fork.tmp"));
        let mut bytes = epoch.0.to_le_bytes().to_vec();
        bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
        let file = disk.open(&temporary, Open::Create).context("create", &temporary)?;
        file.write_at(0, &bytes).context("write", &temporary)?;
        file.sync_data().context("sync", &temporary)?;
        disk.rename(&temporary, &path).context("rename", &temporary)?;
        disk.sync_dir(dir).context("sync", dir)?;
        self.0.fork.store(epoch.0, Ordering::Release);
        Ok(())
    }

    /// See [`Log::set_fork`].
    #[must_use]
    pub fn fork(&self) -> Epoch {
        Epoch(self.0.fork.load(Ordering::Acquire))
    }

    /// Whether somebody waits for the log: clients are busy.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        !lock(&self.0.waiters).is_empty() || !lock(&self.0.queue).jobs.is_empty()
    }

    /// Whether the store has ended.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.0.stopped.load(Ordering::Acquire)
    }
}

/// Reads what [`Log::set_fork`] wrote last. A file that is not whole was never in force: it gets its
/// name only when it is durable.
fn read_fork(disk: &dyn Disk, dir: &std::path::Path) -> Result<Epoch, StoreError> {
    let path = dir.join(FORK_FILE);
    if !disk.list(dir).context("list", dir)?.iter().any(|name| name == FORK_FILE) {
        return Ok(Epoch(0));
    }
    let file = disk.open(&path, Open::Existing).context("open", &path)?;
    let mut bytes = [0; 12];
    file.read_at(0, &mut bytes).context("read", &path)?;
    let (epoch, crc) = bytes.split_first_chunk::<8>().unwrap_or((&[0; 8], &[]));
    if crc != crc32c::crc32c(epoch).to_le_bytes() {
        return Err(StoreError::damaged(&path, 0, "its checksum is wrong"));
    }
    Ok(Epoch(u64::from_le_bytes(*epoch)))
}

/// For the rest of the store.
impl Log {
    /// Waits for room for `bytes` of payload in the queue.
    pub(super) async fn credit(&self, bytes: usize) -> Result<OwnedSemaphorePermit, StoreError> {
        let permits = u32::try_from(bytes.min(CREDIT_BYTES)).unwrap_or(u32::MAX);
        let credit = Arc::clone(&self.0.credit).acquire_many_owned(permits).await;
        credit.map_err(|tokio::sync::AcquireError { .. }| StoreError::Stopped)
    }

    /// Adds `bytes` to `credit` if there is room. Whoever has decided cannot wait: those who come
    /// next do.
    pub(super) fn charge(
        &self,
        mut credit: OwnedSemaphorePermit,
        bytes: usize,
    ) -> OwnedSemaphorePermit {
        let permits = u32::try_from(bytes).unwrap_or(u32::MAX);
        if let Ok(more) = Arc::clone(&self.0.credit).try_acquire_many_owned(permits) {
            credit.merge(more);
        }
        credit
    }

    /// The lsn and epoch that the next record will probably get.
    pub(super) fn expected(&self) -> (Lsn, Epoch) {
        let queue = lock(&self.0.queue);
        (queue.next, queue.epoch)
    }

    /// Queues a record under `lease` and returns its lsn and epoch.
    pub(super) fn submit(
        &self,
        lease: &PrimaryLease,
        entry: Entry,
    ) -> Result<(Lsn, Epoch), StoreError> {
        let _held = lease.hold().ok_or(StoreError::NotPrimary)?;
        let mut queue = lock(&self.0.queue);
        let epoch = queue.epoch;
        Ok((self.0.enqueue(&mut queue, entry)?, epoch))
    }

    /// The lsn that was given last.
    pub(super) fn assigned(&self) -> Lsn {
        Lsn(lock(&self.0.queue).next.0.saturating_sub(1))
    }

    /// Completes when `lsn` is committed; the receiver fails when the store stops.
    pub(super) fn committed_at(&self, lsn: Lsn) -> oneshot::Receiver<()> {
        let (sender, receiver) = oneshot::channel();
        let mut waiters = lock(&self.0.waiters);
        if self.committed() >= lsn {
            drop(waiters);
            if sender.send(()).is_err() {
                log::trace!("a writer has gone before its answer");
            }
        } else if !self.is_stopped() {
            waiters.entry(lsn).or_default().push(sender);
        }
        receiver
    }

    /// Ends the store: nobody gets an answer any more, nothing is written any more. The hook comes
    /// first, so that a process which it ends says nothing more to anybody.
    pub(super) fn fail(&self, why: &str) {
        if !self.0.stopped.swap(true, Ordering::AcqRel) {
            (self.0.settings.fatal)(why);
        }
        self.stop();
    }

    /// Stops without blame.
    pub(super) fn stop(&self) {
        self.0.stopped.store(true, Ordering::Release);
        lock(&self.0.queue).closed = true;
        self.0.queued.notify_all();
        self.0.credit.close();
        lock(&self.0.waiters).clear();
        // Whoever waits for these sees that the store has stopped.
        self.0.durable.send_modify(|_| ());
        self.0.applied.send_modify(|_| ());
        self.call_viewer();
    }

    /// Told by the views: everything up to `applied` is visible, up to `floor` checkpointed.
    pub(super) fn views_are_at(&self, applied: Lsn, floor: Lsn) {
        self.0.applied.send_if_modified(|a| std::mem::replace(a, applied) != applied);
        let before = self.0.floor.swap(floor.0, Ordering::AcqRel);
        let trimmable = {
            let mut state = lock(&self.0.state);
            let keep = lock(&self.0.peer).map_or(applied, |p| p.min(applied));
            state.forget(RECENT_BYTES_IDLE, keep);
            state.segments.get(1).is_some_and(|s| s.first.0 <= floor.0.saturating_add(1))
        };
        if trimmable && before != floor.0 && self.push(Job::Trim).is_err() {
            log::debug!("the log is not trimmed: the store has stopped");
        }
    }

    /// Waits until the viewer is called or `timeout` passes.
    pub(super) fn wait_for_call(&self, timeout: Duration) {
        let called = lock(&self.0.viewer);
        let waited = self.0.viewer_called.wait_timeout_while(called, timeout, |called| !*called);
        let (mut called, _) = waited.unwrap_or_else(std::sync::PoisonError::into_inner);
        *called = false;
    }

    fn call_viewer(&self) {
        *lock(&self.0.viewer) = true;
        self.0.viewer_called.notify_one();
    }

    fn push(&self, job: Job) -> Result<(), StoreError> {
        let mut queue = lock(&self.0.queue);
        if queue.closed {
            return Err(StoreError::Stopped);
        }
        queue.jobs.push_back(job);
        self.0.queued.notify_one();
        Ok(())
    }

    /// Reads from the segments on disk. Two segments at most are touched in one call.
    fn read_segments(
        &self,
        lsn: Lsn,
        max_bytes: usize,
        in_file: Lsn,
    ) -> Result<Vec<u8>, StoreError> {
        let (path, first, last, place) = {
            let state = lock(&self.0.state);
            let n = state.segments.partition_point(|s| s.first <= lsn).saturating_sub(1);
            let Some(segment) = state.segments.get(n) else { return Ok(Vec::new()) };
            // What is not durable may not be in the file yet; `recent` has it.
            let last = state
                .segments
                .get(n + 1)
                .map_or(in_file, |next| Lsn(next.first.0.saturating_sub(1)));
            let cached = state.reader.filter(|(s, p)| *s == segment.first && p.next == lsn);
            let place = cached.map_or_else(|| segment.place(lsn), |(_, place)| place);
            (segment.path.clone(), segment.first, last, place)
        };
        let file = self.0.disk.open(&path, Open::Existing).context("open", &path)?;
        let mut cursor = Cursor::new(file, path.clone(), place)?;
        let mut out = Vec::new();
        while cursor.place().next <= last {
            let before = cursor.place();
            match cursor.step()? {
                Step::Marker(..) => {}
                Step::Record(header) if header.lsn < lsn => {}
                Step::Record(_) => {
                    if !out.is_empty() && out.len() + cursor.record().len() > max_bytes {
                        lock(&self.0.state).reader = Some((first, before));
                        return Ok(out);
                    }
                    out.extend_from_slice(cursor.record());
                }
                Step::End(end) => {
                    let what = format!("record {} is missing or broken ({end:?})", before.next);
                    return Err(StoreError::damaged(&path, before.offset, what));
                }
            }
        }
        lock(&self.0.state).reader = Some((first, cursor.place()));
        Ok(out)
    }

    fn hints(&self) -> Hints {
        Hints { committed: self.committed(), floor: Lsn(self.0.floor.load(Ordering::Acquire)) }
    }
}

impl Inner {
    fn enqueue(&self, queue: &mut Queue, entry: Entry) -> Result<Lsn, StoreError> {
        if queue.closed {
            return Err(StoreError::Stopped);
        }
        let lsn = queue.next;
        queue.next = lsn.next();
        queue.jobs.push_back(Job::Append { lsn, epoch: queue.epoch, entry });
        self.queued.notify_one();
        Ok(lsn)
    }
}

impl State {
    fn remember(&mut self, block: Arc<Block>, keep: Lsn) {
        self.recent_bytes += block.bytes.len();
        self.recent.push_back(block);
        self.forget(RECENT_BYTES_MAX, Lsn(u64::MAX));
        self.forget(RECENT_BYTES_IDLE, keep);
    }

    /// Drops the oldest blocks beyond `bytes` whose records are all at most `keep`. The newest
    /// always stays: it may not be in its segment yet.
    fn forget(&mut self, bytes: usize, keep: Lsn) {
        while self.recent_bytes > bytes
            && self.recent.len() > 1
            && let Some(block) = self.recent.pop_front_if(|b| b.last <= keep)
        {
            self.recent_bytes -= block.bytes.len();
        }
    }

    fn note_epoch(&mut self, epoch: Epoch, lsn: Lsn) {
        if self.epochs.last().is_none_or(|(last, _)| *last < epoch) {
            self.epochs.push((epoch, lsn));
            if self.epochs.len() > EPOCHS_MAX {
                self.epochs.remove(0);
            }
        }
    }
}
