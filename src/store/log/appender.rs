//! The one thread that writes the log.
//!
//! A batch is what was queued during the sync before it: no timer. It is encoded, shown to readers
//! (the pair ships it while the disk works), written at once and synced once. A failed write or
//! sync is final: nothing of the batch is ever reported durable, and the store stops
//! (DESIGN.md 3, invariant 11).

use super::segment::{self, MARKER_LEN, Marker, Place, SEGMENT_HEADER_LEN, SegmentHeader};
use super::{Block, Entry, INDEX_EVERY, Inner, Job, Log, MERGE_KEEP_FACTOR, Pin, Segment, Tail};
use crate::base::{clock, metric, task};
use crate::store::disk::{DiskFile, Open};
use crate::store::error::{Context, StoreError, lock};
use log::{error, info, warn};
use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use understudy_proto::id::{Epoch, Lsn};
use understudy_proto::record::{self, HEADER_LEN, Header, RecordError};

/// Most records in a batch.
const BATCH_RECORDS_MAX: usize = 1_024;
/// Most bytes in a batch, unless its only record is longer.
const BATCH_BYTES_MAX: usize = 24 << 20;

/// Starts the appender on the last segment, whose end is at `offset`.
pub(in crate::store) fn spawn(
    log: &Log,
    file: Arc<dyn DiskFile>,
    offset: u64,
) -> std::thread::JoinHandle<()> {
    let tail = log.last();
    let mut appender =
        Appender { log: log.clone(), file, offset, tail, batch: Batch::default(), indexed: 0 };
    task::thread("log-appender", move || {
        if let Err(e) = appender.run() {
            let why = format!("the log cannot be written: {e}");
            error!(err:% = e, runbook = "disk-failure"; "the log cannot be written");
            appender.log.fail(&why);
        }
    })
}

/// The last record that was taken from the peer, or why the next was not.
type Brought = Result<Lsn, StoreError>;

struct Appender {
    log: Log,
    file: Arc<dyn DiskFile>,
    /// End of what is written in the segment.
    offset: u64,
    /// The last record encoded.
    tail: Tail,
    batch: Batch,
    /// Offset of the segment's last index entry.
    indexed: u64,
}

/// While it lives, the disk works: whoever watches sees for how long.
struct Busy<'a>(&'a Inner);

impl<'a> Busy<'a> {
    fn new(inner: &'a Inner) -> Self {
        inner.disk_since.store(clock::mono().0, Ordering::Relaxed);
        Self(inner)
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.disk_since.store(0, Ordering::Relaxed);
    }
}

#[derive(Default)]
struct Batch {
    /// The marker's place, then records.
    bytes: Vec<u8>,
    records: Vec<(usize, record::Chain)>,
    /// Given back when the batch is durable.
    credits: Vec<OwnedSemaphorePermit>,
    /// The log's end before it.
    before: Tail,
    /// Epochs that begin in it.
    epochs: Vec<(Epoch, Lsn)>,
    /// Who brought records of it, or hears why they were not taken.
    bringers: Vec<(oneshot::Sender<Brought>, Brought)>,
}

impl Appender {
    /// Works until the store stops.
    fn run(&mut self) -> Result<(), StoreError> {
        loop {
            let jobs = {
                let queue = lock(&self.log.0.queue);
                let inner: &Inner = &self.log.0;
                let mut queue = inner
                    .queued
                    .wait_while(queue, |q| q.jobs.is_empty() && !q.closed)
                    .unwrap_or_else(PoisonError::into_inner);
                if queue.jobs.is_empty() || self.log.is_stopped() {
                    return Ok(());
                }
                std::mem::take(&mut queue.jobs)
            };
            self.work(jobs)?;
        }
    }

    fn work(&mut self, jobs: VecDeque<Job>) -> Result<(), StoreError> {
        for job in jobs {
            match job {
                Job::Append { lsn, epoch, entry } => self.append(lsn, epoch, entry)?,
                Job::Replica { records, done } => {
                    let outcome = self.replicate(&records)?;
                    self.batch.bringers.push((done, outcome));
                }
                Job::SetAside { from, done } => {
                    self.flush()?;
                    let outcome = self.set_aside(from)?;
                    answer(done, outcome);
                }
                Job::Trim => {
                    self.flush()?;
                    self.trim()?;
                }
            }
        }
        self.flush()
    }

    fn append(&mut self, lsn: Lsn, epoch: Epoch, entry: Entry) -> Result<(), StoreError> {
        self.make_room(HEADER_LEN + entry.payload.len())?;
        if lsn != self.tail.lsn.next() {
            // The peer's records came in between: a lease was not revoked before it should have.
            return Err(StoreError::NotNext { after: self.tail.lsn, source: RecordError::Chain });
        }
        let header = Header {
            len: 0,
            kind: entry.kind,
            flags: entry.flags,
            lsn,
            epoch: epoch.max(self.tail.epoch),
            tenant: entry.tenant,
            nonce: entry.nonce,
            chain: self.tail.chain,
        };
        let at = self.batch.bytes.len();
        let chain = record::encode(&mut self.batch.bytes, self.tail.chain, &header, &entry.payload);
        self.batch.credits.extend(entry.credit);
        self.took(at, Tail { lsn, epoch: header.epoch, chain });
        Ok(())
    }

    /// Takes in the peer's records up to the first that does not fit.
    fn replicate(&mut self, records: &[u8]) -> Result<Brought, StoreError> {
        let mut rest = records;
        let mut outcome = Ok(());
        while !rest.is_empty() {
            let fits = record::verify(self.tail.chain, rest).and_then(|(header, _, whole)| {
                let next = header.lsn == self.tail.lsn.next() && header.epoch >= self.tail.epoch;
                if next { Ok((header, whole)) } else { Err(RecordError::Chain) }
            });
            let (header, whole) = match fits {
                Ok(fits) => fits,
                Err(source) => {
                    outcome = Err(StoreError::NotNext { after: self.tail.lsn, source });
                    break;
                }
            };
            self.make_room(whole)?;
            let (record, after) = rest.split_at(whole);
            let at = self.batch.bytes.len();
            self.batch.bytes.extend_from_slice(record);
            self.took(at, Tail { lsn: header.lsn, epoch: header.epoch, chain: header.chain });
            rest = after;
        }
        {
            let mut queue = lock(&self.log.0.queue);
            // Records that this node decided itself are never queued behind the peer's; if they
            // are, `append` finds out.
            if !queue.jobs.iter().any(|j| matches!(j, Job::Append { .. })) {
                queue.next = self.tail.lsn.next();
            }
        }
        Ok(outcome.map(|()| self.tail.lsn))
    }

    fn took(&mut self, at: usize, tail: Tail) {
        if tail.epoch > self.tail.epoch {
            self.batch.epochs.push((tail.epoch, tail.lsn));
        }
        self.batch.records.push((at, tail.chain));
        self.tail = tail;
    }

    /// Makes sure that a record of `len` bytes fits into the batch and the batch into the segment.
    fn make_room(&mut self, len: usize) -> Result<(), StoreError> {
        let full = self.batch.records.len() >= BATCH_RECORDS_MAX
            || self.batch.bytes.len() + len > BATCH_BYTES_MAX;
        if full {
            self.flush()?;
        }
        let end = self.offset + (self.batch.bytes.len().max(MARKER_LEN) + len) as u64;
        let empty = self.offset <= SEGMENT_HEADER_LEN as u64 && self.batch.records.is_empty();
        if end > self.log.0.settings.segment_len && !empty {
            self.flush()?;
            self.roll()?;
        }
        if self.batch.records.is_empty() {
            self.batch.before = self.tail;
            self.batch.bytes.clear();
            self.batch.bytes.resize(MARKER_LEN, 0);
        }
        Ok(())
    }

    /// Writes and syncs the batch, then reports it durable.
    fn flush(&mut self) -> Result<(), StoreError> {
        let mut batch = std::mem::take(&mut self.batch);
        if batch.records.is_empty() {
            for (done, outcome) in batch.bringers {
                answer(done, outcome);
            }
            return Ok(());
        }
        let first = batch.before.lsn.next();
        let chain = batch.before.chain;
        let marker = Marker { first, chain, hints: self.log.hints() };
        segment::encode_marker(&mut batch.bytes, &marker);
        let block = Arc::new(Block {
            first,
            last: self.tail.lsn,
            bytes: batch.bytes,
            records: batch.records,
        });
        let inner = Arc::clone(&self.log.0);
        let path = {
            let keep = lock(&inner.peer).map_or(self.log.applied(), |p| p.min(self.log.applied()));
            let mut state = lock(&inner.state);
            state.tail = self.tail;
            for (epoch, lsn) in batch.epochs {
                state.note_epoch(epoch, lsn);
            }
            state.remember(Arc::clone(&block), keep);
            let Some(segment) = state.segments.back_mut() else { return Err(StoreError::Stopped) };
            if segment.index.is_empty() || self.offset >= self.indexed + INDEX_EVERY {
                segment.index.push(Place { offset: self.offset, next: first, chain });
                self.indexed = self.offset;
            }
            segment.path.clone()
        };
        inner.appended.send_replace(self.tail.lsn);
        for (done, outcome) in batch.bringers {
            answer(done, outcome);
        }
        let busy = Busy::new(&inner);
        self.file.write_at(self.offset, &block.bytes).context("write", &path)?;
        let began = clock::mono();
        self.file.sync_data().context("sync", &path)?;
        let took = clock::mono().since(began).as_micros();
        drop(busy);
        metric::LOG_SYNCS.inc();
        metric::LOG_SYNC_MICROSECONDS.add(u64::try_from(took).unwrap_or(u64::MAX));
        metric::LOG_BYTES.add(block.bytes.len() as u64);
        metric::LOG_RECORDS.add(self.tail.lsn.0.saturating_sub(first.0).saturating_add(1));
        self.offset += block.bytes.len() as u64;
        inner.durable.send_replace(self.tail.lsn);
        if inner.alone.load(Ordering::Acquire) {
            self.log.commit(self.tail.lsn);
        }
        Ok(())
    }

    /// Begins a new segment. Everything before it is durable.
    fn roll(&mut self) -> Result<(), StoreError> {
        let inner = Arc::clone(&self.log.0);
        let settings = &inner.settings;
        let epochs = lock(&inner.state).epochs.clone();
        let (first, chain) = (self.tail.lsn.next(), self.tail.chain);
        let header = SegmentHeader { first, chain, hints: self.log.hints(), epochs };
        let _busy = Busy::new(&inner);
        self.file =
            segment::create(inner.disk.as_ref(), &settings.dir, &header, settings.segment_len)?;
        self.offset = SEGMENT_HEADER_LEN as u64;
        self.indexed = 0;
        let path = segment::path(&settings.dir, first);
        lock(&inner.state).segments.push_back(Segment { first, chain, path, index: Vec::new() });
        Ok(())
    }

    /// Copies the tail from `from` on into a file of its own, then cuts it off.
    fn set_aside(&mut self, from: Lsn) -> Result<Result<usize, StoreError>, StoreError> {
        let inner = Arc::clone(&self.log.0);
        if from > self.tail.lsn {
            return Ok(Ok(0));
        }
        let before = Lsn(from.0.saturating_sub(1));
        {
            // From here on nothing of the tail can be committed, and whoever still waits for an lsn
            // of it never takes the next reign's record of that lsn for its own.
            let mut waiters = lock(&inner.waiters);
            let committed = self.log.committed();
            if from <= committed {
                return Ok(Err(StoreError::Committed { from, committed }));
            }
            inner.durable.send_replace(before);
            drop(waiters.split_off(&from));
        }
        let copied = self.log.chain_at(before).and_then(|chain| {
            self.copy_aside(from)?;
            Ok(chain.unwrap_or_default())
        });
        let chain = match copied {
            Ok(chain) => chain,
            Err(e) => {
                inner.durable.send_replace(self.tail.lsn);
                return Ok(Err(e));
            }
        };
        let count = usize::try_from(self.tail.lsn.0 - before.0).unwrap_or(usize::MAX);
        self.cut(from, chain)?;
        let mut queue = lock(&inner.queue);
        queue.next = from;
        warn!(lsn:% = from, count; "uncommitted records were set aside");
        Ok(Ok(count))
    }

    fn copy_aside(&self, from: Lsn) -> Result<(), StoreError> {
        let inner = &self.log.0;
        let dir = inner.settings.dir.join("aside");
        let temporary = dir.join("aside.tmp");
        let file = inner.disk.open(&temporary, Open::Create).context("create", &temporary)?;
        let (mut next, mut offset, mut epoch) = (from, 0, None);
        while next <= self.tail.lsn {
            // All batches are flushed, and the tail no longer counts as durable: read what is there.
            let bytes = self.log.read_up_to(next, 1 << 20, self.tail.lsn)?;
            if bytes.is_empty() {
                return Err(StoreError::damaged(&temporary, offset, "the tail cannot be read"));
            }
            let mut rest = bytes.as_slice();
            while let Ok((header, _, whole)) = record::decode(rest) {
                epoch.get_or_insert(header.epoch);
                next = header.lsn.next();
                rest = rest.get(whole..).unwrap_or_default();
            }
            file.write_at(offset, &bytes).context("write", &temporary)?;
            offset += bytes.len() as u64;
        }
        file.sync_data().context("sync", &temporary)?;
        let epoch = epoch.unwrap_or_default();
        // The same position may be set aside twice in an epoch: keep both.
        let names = inner.disk.list(&dir).context("list", &dir)?;
        let stem = format!("{}-{}", epoch.0, from.0);
        let name = std::iter::once(format!("{stem}.log"))
            .chain((2_u32..).map(|n| format!("{stem}.{n}.log")))
            .find(|name| !names.contains(name))
            .unwrap_or(stem);
        let path = dir.join(name);
        inner.disk.rename(&temporary, &path).context("rename", &temporary)?;
        inner.disk.sync_dir(&dir).context("sync", &dir)
    }

    /// Cuts the log right before `from`, whose predecessor has `chain`. Later segments go first,
    /// newest first, each durably, so that a power cut never leaves a gap.
    fn cut(&mut self, from: Lsn, chain: record::Chain) -> Result<(), StoreError> {
        let inner = Arc::clone(&self.log.0);
        let dir = &inner.settings.dir;
        let (path, place, later) = {
            let mut state = lock(&inner.state);
            state.reader = None;
            while state.recent.back().is_some_and(|b| b.last >= from) {
                if let Some(block) = state.recent.pop_back() {
                    state.recent_bytes -= block.bytes.len();
                }
            }
            let keep = state.segments.partition_point(|s| s.first <= from).max(1);
            let later: Vec<_> = state.segments.drain(keep..).map(|s| s.path).collect();
            state.epochs.retain(|(_, first)| *first < from);
            let epoch = state.epochs.last().map_or(Epoch(0), |(epoch, _)| *epoch);
            state.tail = Tail { lsn: Lsn(from.0.saturating_sub(1)), epoch, chain };
            self.tail = state.tail;
            let Some(segment) = state.segments.back_mut() else { return Err(StoreError::Stopped) };
            segment.index.retain(|p| p.next < from);
            (segment.path.clone(), segment.place(from), later)
        };
        for path in later.iter().rev() {
            inner.disk.remove(path).context("remove", path)?;
            inner.disk.sync_dir(dir).context("sync", dir)?;
        }
        self.file = inner.disk.open(&path, Open::Existing).context("open", &path)?;
        self.offset = segment::offset_of(Arc::clone(&self.file), &path, place, from)?;
        self.indexed = 0;
        cut_file(self.file.as_ref(), &path, self.offset, inner.settings.segment_len)?;
        inner.appended.send_replace(self.tail.lsn);
        inner.durable.send_replace(self.tail.lsn);
        Ok(())
    }

    /// Removes whole segments that nobody needs any more, oldest first, each durably.
    fn trim(&mut self) -> Result<(), StoreError> {
        let inner = Arc::clone(&self.log.0);
        let settings = &inner.settings;
        let floor = Lsn(inner.floor.load(Ordering::Acquire));
        let peer = *lock(&inner.peer);
        loop {
            let oldest = {
                // Held until the segment is gone from the table: see `Log::pin`.
                let mut pins = lock(&inner.pins);
                let mut state = lock(&inner.state);
                let kept = (state.segments.len() as u64).saturating_mul(settings.segment_len);
                let next = state.segments.get(1).map(|s| s.first);
                if kept > settings.keep_bytes.saturating_mul(MERGE_KEEP_FACTOR)
                    && let Some(lsn) = pins.remove(&Pin::Merge)
                {
                    log::error!(lsn:% = lsn, bytes = kept, runbook = "branched"; "the log has become too long to be kept for a merge any more");
                }
                let pin = pins.values().min();
                let free = next.is_some_and(|next| {
                    next.0 <= floor.0.saturating_add(1)
                        && pin.is_none_or(|pin| next <= *pin)
                        && match peer {
                            // Nobody will ever ask for it.
                            Some(Lsn(u64::MAX)) => true,
                            // A replaced peer begins anew: it needs the log's start while it can be kept.
                            Some(peer) => {
                                next.0 <= peer.0.saturating_add(1) && kept > settings.keep_bytes
                            }
                            None => kept > settings.keep_bytes,
                        }
                });
                if free { state.segments.pop_front() } else { None }
            };
            let Some(oldest) = oldest else { return Ok(()) };
            inner.disk.remove(&oldest.path).context("remove", &oldest.path)?;
            inner.disk.sync_dir(&settings.dir).context("sync", &settings.dir)?;
            info!(lsn:% = oldest.first; "a log segment was trimmed");
        }
    }
}

/// Makes the end of a segment at `offset` durable: zeros follow. All of what stood there goes at once.
fn cut_file(
    file: &dyn DiskFile,
    path: &Path,
    offset: u64,
    segment_len: u64,
) -> Result<(), StoreError> {
    file.set_len(offset).context("cut", path)?;
    file.sync_data().context("sync", path)?;
    file.allocate(segment_len).context("reserve space for", path)?;
    file.sync_data().context("sync", path)
}

fn answer<T>(done: oneshot::Sender<T>, outcome: T) {
    if done.send(outcome).is_err() {
        info!("whoever asked the log has gone");
    }
}
