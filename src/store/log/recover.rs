//! Finding the log's end after a stop or a power cut.
//!
//! The last segment is read whole, earlier ones from the replay floor on. What does not continue
//! the log in the last segment is cut if it can be the torn rest of the batch that was being written
//! when the power went (it was never acknowledged), and is damage if a later batch follows.

use super::segment::{self, Cursor, End, Hints, Place, SEGMENT_HEADER_LEN, SegmentHeader, Step};
use super::{CREDIT_BYTES, INDEX_EVERY, Inner, Log, Queue, Segment, Settings, State, Tail};
use crate::store::disk::{Disk, DiskFile, Open};
use crate::store::error::{Context, StoreError};
use log::warn;
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Condvar, Mutex};
use tokio::sync::{Semaphore, watch};
use understudy_proto::id::{Epoch, Lsn, TenantId};
use understudy_proto::record::{Chain, Header, Kind};

/// A log that is ready for the appender.
pub(in crate::store) struct Recovered {
    pub(in crate::store) log: Log,
    /// The last segment.
    pub(in crate::store) file: Arc<dyn DiskFile>,
    /// Where its last record ends.
    pub(in crate::store) offset: u64,
    /// Committed at least up to here.
    pub(in crate::store) committed: Lsn,
    /// Every view holds everything up to here durably.
    pub(in crate::store) floor: Lsn,
    /// Whose records lie above `floor`, and each one's last.
    pub(in crate::store) tenants: BTreeMap<TenantId, Lsn>,
}

/// Opens the log in `settings.dir`, or begins one.
pub(in crate::store) fn recover(
    disk: Arc<dyn Disk>,
    settings: Settings,
) -> Result<Recovered, StoreError> {
    let dir = &settings.dir;
    let mut headers = BTreeMap::new();
    for name in disk.list(dir).context("list", dir)? {
        let path = dir.join(&name);
        if name.ends_with(".tmp") {
            disk.remove(&path).context("remove", &path)?;
            continue;
        }
        let Some(first) = segment::first_of(&name) else { continue };
        let file = disk.open(&path, Open::Existing).context("open", &path)?;
        let header = segment::read_header(file.as_ref(), &path)?;
        if header.first != first {
            return Err(StoreError::damaged(&path, 0, "its name and its header differ"));
        }
        headers.insert(first, header);
    }
    if headers.is_empty() {
        let header = SegmentHeader {
            first: Lsn(1),
            chain: Chain::default(),
            hints: Hints::default(),
            epochs: Vec::new(),
        };
        segment::create(disk.as_ref(), dir, &header, settings.segment_len)?;
        headers.insert(Lsn(1), header);
    }
    let mut scan = Scan::new(disk.as_ref(), &settings);
    let last = headers.last_key_value().map(|(_, h)| h.clone());
    let Some(last) = last else { return Err(StoreError::Stopped) };
    let (file, offset, hints) = scan.last_segment(&last)?;
    scan.earlier_segments(&headers, hints)?;
    let (state, tenants) = (scan.state, scan.tenants);
    let floor = hints.floor.max(Lsn(headers.keys().next().map_or(0, |f| f.0.saturating_sub(1))));
    let committed = hints.committed.max(floor);
    let log = build(disk, settings, state)?;
    Ok(Recovered { log, file, offset, committed, floor, tenants })
}

/// Where a log begins that is a copy's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::store) struct SegmentBase {
    pub(in crate::store) first: Lsn,
    /// Chain before the first record.
    pub(in crate::store) chain: Chain,
    pub(in crate::store) epochs: Vec<(Epoch, Lsn)>,
}

impl SegmentBase {
    fn header(&self) -> SegmentHeader {
        let before = before(self.first);
        SegmentHeader {
            first: self.first,
            chain: self.chain,
            // The copy's views hold everything before it.
            hints: Hints { committed: before, floor: before },
            epochs: self.epochs.clone(),
        }
    }
}

/// Whether the log in `dir` begins like that, as far as it has begun.
pub(in crate::store) fn begins_with(
    disk: &dyn Disk,
    dir: &std::path::Path,
    base: &SegmentBase,
) -> Result<bool, StoreError> {
    let names = disk.list(dir).context("list", dir)?;
    let Some(first) = names.iter().filter_map(|name| segment::first_of(name)).min() else {
        return Ok(true);
    };
    let path = segment::path(dir, first);
    let file = disk.open(&path, Open::Existing).context("open", &path)?;
    Ok(segment::read_header(file.as_ref(), &path)? == base.header())
}

/// Begins a log with `base` in `dir`, unless it has begun.
pub(in crate::store) fn begin_at(
    disk: &dyn Disk,
    dir: &std::path::Path,
    base: &SegmentBase,
    segment_len: u64,
) -> Result<(), StoreError> {
    let names = disk.list(dir).context("list", dir)?;
    if !names.iter().any(|name| segment::first_of(name).is_some()) {
        segment::create(disk, dir, &base.header(), segment_len)?;
    }
    Ok(())
}

struct Scan<'a> {
    disk: &'a dyn Disk,
    settings: &'a Settings,
    state: State,
    tenants: BTreeMap<TenantId, Lsn>,
}

impl<'a> Scan<'a> {
    fn new(disk: &'a dyn Disk, settings: &'a Settings) -> Self {
        Self { disk, settings, state: State::default(), tenants: BTreeMap::new() }
    }

    fn note_tenant(&mut self, header: &Header) {
        if header.kind != Kind::EPOCH {
            let last = self.tenants.entry(header.tenant).or_default();
            *last = header.lsn.max(*last);
        }
    }

    /// Reads the last segment to its end, and cuts what the power cut left there.
    fn last_segment(
        &mut self,
        header: &SegmentHeader,
    ) -> Result<(Arc<dyn DiskFile>, u64, Hints), StoreError> {
        let path = segment::path(&self.settings.dir, header.first);
        let file = self.disk.open(&path, Open::Existing).context("open", &path)?;
        self.state.epochs.clone_from(&header.epochs);
        let (mut segment, mut cursor) = self.begin(header, Arc::clone(&file))?;
        let mut hints = header.hints;
        let epoch = header.epochs.last().map_or(Epoch(0), |(epoch, _)| *epoch);
        let mut tail = Tail { lsn: before(header.first), epoch, chain: header.chain };
        let end = loop {
            match cursor.step()? {
                Step::Marker(marker, offset) => {
                    hints.raise(marker.hints);
                    index(&mut segment, Place { offset, next: marker.first, chain: marker.chain });
                }
                Step::Record(header) => {
                    self.note_tenant(&header);
                    if header.epoch > tail.epoch {
                        self.state.note_epoch(header.epoch, header.lsn);
                    }
                    tail = Tail { lsn: header.lsn, epoch: header.epoch, chain: header.chain };
                }
                Step::End(end) => break end,
            }
        };
        let offset = cursor.place().offset;
        if let Some(at) = cursor.later_batch()? {
            let what = format!(
                "record {} is broken, but a batch that was written after it stands at byte {at}",
                tail.lsn.next()
            );
            return Err(StoreError::damaged(&path, offset, what));
        }
        if let End::Broken(why) = end {
            warn!(lsn:% = tail.lsn, reason:% = why; "the log's torn end was cut");
        }
        // What lies behind the end may be the rest of a torn batch, or of a tail that was cut
        // before the power went: nothing old may follow what is written next. The segment keeps its
        // room: on a full disk, given back, it might not be had again, and nobody could read mail.
        let len = file.len().context("read the length of", &path)?;
        let whole = self.settings.segment_len.max(len);
        file.zero(offset, whole).context("clear the end of", &path)?;
        file.sync_data().context("sync", &path)?;
        self.state.tail = tail;
        self.state.segments.push_front(segment);
        Ok((file, offset, hints))
    }

    /// Checks that the segments follow each other, and reads those that views may need.
    fn earlier_segments(
        &mut self,
        headers: &BTreeMap<Lsn, SegmentHeader>,
        hints: Hints,
    ) -> Result<(), StoreError> {
        let mut next: Option<&SegmentHeader> = None;
        for header in headers.values().rev() {
            if let Some(next) = next {
                let needed = next.first > hints.floor.next();
                let segment = self.earlier(header, next, needed)?;
                self.state.segments.push_front(segment);
            }
            next = Some(header);
        }
        Ok(())
    }

    fn earlier(
        &mut self,
        header: &SegmentHeader,
        next: &SegmentHeader,
        needed: bool,
    ) -> Result<Segment, StoreError> {
        let path = segment::path(&self.settings.dir, header.first);
        let file = self.disk.open(&path, Open::Existing).context("open", &path)?;
        let (mut segment, mut cursor) = self.begin(header, file)?;
        while needed && cursor.place().next < next.first {
            match cursor.step()? {
                Step::Marker(marker, offset) => {
                    index(&mut segment, Place { offset, next: marker.first, chain: marker.chain });
                }
                Step::Record(header) => self.note_tenant(&header),
                Step::End(_) => {
                    let place = cursor.place();
                    let what = format!("record {} is missing or broken", place.next);
                    return Err(StoreError::damaged(&path, place.offset, what));
                }
            }
        }
        if needed && cursor.place().chain != next.chain {
            let path = segment::path(&self.settings.dir, next.first);
            return Err(StoreError::damaged(&path, 0, "it does not continue the one before it"));
        }
        Ok(segment)
    }

    fn begin(
        &self,
        header: &SegmentHeader,
        file: Arc<dyn DiskFile>,
    ) -> Result<(Segment, Cursor), StoreError> {
        let path = segment::path(&self.settings.dir, header.first);
        let (first, chain) = (header.first, header.chain);
        let place = Place { offset: SEGMENT_HEADER_LEN as u64, next: first, chain };
        let cursor = Cursor::new(file, path.clone(), place)?;
        Ok((Segment { first, chain, path, index: Vec::new() }, cursor))
    }
}

fn index(segment: &mut Segment, place: Place) {
    if segment.index.last().is_none_or(|l| place.offset >= l.offset + INDEX_EVERY) {
        segment.index.push(place);
    }
}

fn before(lsn: Lsn) -> Lsn {
    Lsn(lsn.0.saturating_sub(1))
}

fn build(disk: Arc<dyn Disk>, settings: Settings, state: State) -> Result<Log, StoreError> {
    let fork = super::read_fork(disk.as_ref(), &settings.dir)?;
    let tail = state.tail;
    let queue =
        Queue { jobs: VecDeque::new(), next: tail.lsn.next(), epoch: tail.epoch, closed: false };
    Ok(Log(Arc::new(Inner {
        disk,
        settings,
        queue: Mutex::new(queue),
        queued: Condvar::new(),
        state: Mutex::new(state),
        appended: watch::Sender::new(tail.lsn),
        durable: watch::Sender::new(tail.lsn),
        committed: watch::Sender::new(Lsn(0)),
        applied: watch::Sender::new(Lsn(0)),
        waiters: Mutex::new(BTreeMap::new()),
        alone: AtomicBool::new(false),
        floor: AtomicU64::new(0),
        peer: Mutex::new(None),
        pins: Mutex::default(),
        viewer: Mutex::new(false),
        viewer_called: Condvar::new(),
        stopped: AtomicBool::new(false),
        disk_since: AtomicU64::new(0),
        credit: Arc::new(Semaphore::new(CREDIT_BYTES)),
        fork: AtomicU64::new(fork.0),
        fork_file: Mutex::default(),
    })))
}
