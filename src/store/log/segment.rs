//! A segment of the log: its bytes, and reading them back.
//!
//! Invariants: a segment bears its final name only once its header is durable. Each batch begins
//! with a marker, written and synced together with the batch's records; since a batch is written
//! only after the one before it was synced, a sound marker proves that everything before it in the
//! log was durable once. `docs/design/store_format.md` has the layout.

use crate::store::disk::{Disk, DiskFile, Open};
use crate::store::error::{Context, StoreError};
use crate::store::keyring::Fields;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use understudy_proto::id::{Epoch, Lsn};
use understudy_proto::record::{self, Chain, HEADER_LEN, Header, PAYLOAD_LEN_MAX, RecordError};

/// Length of a segment's header in bytes: one page.
pub(super) const SEGMENT_HEADER_LEN: usize = 4_096;
/// Length of a batch's marker in bytes.
pub(super) const MARKER_LEN: usize = 56;
/// Most epochs that a segment's header, and the log in memory, remember.
pub(super) const EPOCHS_MAX: usize = 252;
/// Bytes that are read from a segment at a time.
const READ_LEN: usize = 1 << 20;
const SEGMENT_MAGIC: &[u8; 4] = b"USS1";
const MARKER_MAGIC: &[u8; 4] = b"USB1";
const VERSION: u16 = 1;

/// What a segment says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    /// Its first record.
    pub(super) first: Lsn,
    /// Chain before that record.
    pub(super) chain: Chain,
    /// What was known when it was made.
    pub(super) hints: Hints,
    /// First lsn of each epoch before it.
    pub(super) epochs: Vec<(Epoch, Lsn)>,
}

/// What was true of the whole store when this was written. Never more than a lower bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Hints {
    /// Committed up to here.
    pub(super) committed: Lsn,
    /// Everything up to here is in checkpointed views.
    pub(super) floor: Lsn,
}

impl Hints {
    pub(super) fn raise(&mut self, other: Self) {
        self.committed = self.committed.max(other.committed);
        self.floor = self.floor.max(other.floor);
    }
}

/// The beginning of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Marker {
    /// The batch's first record.
    pub(super) first: Lsn,
    /// Chain before that record.
    pub(super) chain: Chain,
    /// What was known when it was written.
    pub(super) hints: Hints,
}

/// The name of the segment that begins with `first`.
pub(super) fn path(dir: &Path, first: Lsn) -> PathBuf {
    dir.join(format!("{:016x}.seg", first.0))
}

/// The first lsn in a segment's name.
pub(super) fn first_of(name: &str) -> Option<Lsn> {
    u64::from_str_radix(name.strip_suffix(".seg")?, 16).ok().map(Lsn)
}

/// Makes a segment, durable with its name, and opens it.
pub(super) fn create(
    disk: &dyn Disk,
    dir: &Path,
    header: &SegmentHeader,
    len: u64,
) -> Result<Arc<dyn DiskFile>, StoreError> {
    let temporary = dir.join("segment.tmp");
    let file = disk.open(&temporary, Open::Create).context("create", &temporary)?;
    file.allocate(len).context("reserve space for", &temporary)?;
    file.write_at(0, &encode_header(header)).context("write", &temporary)?;
    file.sync_data().context("sync", &temporary)?;
    let path = path(dir, header.first);
    disk.rename(&temporary, &path).context("rename", &temporary)?;
    disk.sync_dir(dir).context("sync", dir)?;
    Ok(file)
}

fn encode_header(header: &SegmentHeader) -> Vec<u8> {
    let newest = header.epochs.len().saturating_sub(EPOCHS_MAX);
    let epochs = header.epochs.get(newest..).unwrap_or_default();
    let mut out = SEGMENT_MAGIC.to_vec();
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&[0; 2]);
    out.extend_from_slice(&u32::try_from(epochs.len()).unwrap_or(0).to_le_bytes());
    out.extend_from_slice(&header.first.0.to_le_bytes());
    out.extend_from_slice(&header.hints.committed.0.to_le_bytes());
    out.extend_from_slice(&header.hints.floor.0.to_le_bytes());
    out.extend_from_slice(&header.chain.0);
    for (epoch, lsn) in epochs {
        out.extend_from_slice(&epoch.0.to_le_bytes());
        out.extend_from_slice(&lsn.0.to_le_bytes());
    }
    out.resize(SEGMENT_HEADER_LEN, 0);
    put_crc(&mut out);
    out
}

/// Reads and checks the header of the segment at `path`.
pub(super) fn read_header(file: &dyn DiskFile, path: &Path) -> Result<SegmentHeader, StoreError> {
    let damaged = |what: &str| StoreError::damaged(path, 0, what);
    if file.len().context("measure", path)? < SEGMENT_HEADER_LEN as u64 {
        return Err(damaged("the segment is shorter than its header"));
    }
    let mut bytes = vec![0; SEGMENT_HEADER_LEN];
    file.read_at(0, &mut bytes).context("read", path)?;
    let mut fields = Fields(&bytes);
    if &fields.take::<4>() != SEGMENT_MAGIC {
        return Err(damaged("this is no segment of a log"));
    }
    if !crc_holds(&bytes) {
        return Err(damaged("the header's checksum is wrong"));
    }
    let _crc: [u8; 4] = fields.take();
    let found = u16::from_le_bytes(fields.take());
    if found != VERSION {
        return Err(StoreError::Version { path: path.to_owned(), found, known: VERSION });
    }
    let _reserved: [u8; 2] = fields.take();
    let count = u32::from_le_bytes(fields.take());
    let count = usize::try_from(count).unwrap_or(usize::MAX).min(EPOCHS_MAX);
    let first = Lsn(u64::from_le_bytes(fields.take()));
    let committed = Lsn(u64::from_le_bytes(fields.take()));
    let floor = Lsn(u64::from_le_bytes(fields.take()));
    let chain = Chain(fields.take());
    let epochs = (0..count)
        .map(|_| {
            let epoch = Epoch(u64::from_le_bytes(fields.take()));
            (epoch, Lsn(u64::from_le_bytes(fields.take())))
        })
        .collect();
    Ok(SegmentHeader { first, chain, hints: Hints { committed, floor }, epochs })
}

/// Writes a marker over the first [`MARKER_LEN`] bytes of `out`.
pub(super) fn encode_marker(out: &mut [u8], marker: &Marker) {
    let mut bytes = MARKER_MAGIC.to_vec();
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&marker.first.0.to_le_bytes());
    bytes.extend_from_slice(&marker.hints.committed.0.to_le_bytes());
    bytes.extend_from_slice(&marker.hints.floor.0.to_le_bytes());
    bytes.extend_from_slice(&marker.chain.0);
    put_crc(&mut bytes);
    if let Some(slot) = out.get_mut(..MARKER_LEN) {
        slot.copy_from_slice(&bytes);
    }
}

/// The marker at the start of `bytes`, if a sound one is there.
fn decode_marker(bytes: &[u8]) -> Option<Marker> {
    let bytes = bytes.get(..MARKER_LEN)?;
    let mut fields = Fields(bytes);
    if &fields.take::<4>() != MARKER_MAGIC || !crc_holds(bytes) {
        return None;
    }
    let _crc: [u8; 4] = fields.take();
    let first = Lsn(u64::from_le_bytes(fields.take()));
    let committed = Lsn(u64::from_le_bytes(fields.take()));
    let floor = Lsn(u64::from_le_bytes(fields.take()));
    Some(Marker { first, chain: Chain(fields.take()), hints: Hints { committed, floor } })
}

/// The checksum at bytes 4..8 covers everything after it.
fn put_crc(bytes: &mut [u8]) {
    let crc = crc32c::crc32c(bytes.get(8..).unwrap_or_default());
    if let Some(slot) = bytes.get_mut(4..8) {
        slot.copy_from_slice(&crc.to_le_bytes());
    }
}

fn crc_holds(bytes: &[u8]) -> bool {
    let crc = crc32c::crc32c(bytes.get(8..).unwrap_or_default());
    bytes.get(4..8) == Some(&crc.to_le_bytes())
}

/// Where a segment stops being readable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Nothing was ever written here.
    Clean,
    /// Something is here that does not continue what came before it.
    Broken(RecordError),
}

/// What a cursor finds next.
#[derive(Debug)]
pub(super) enum Step {
    /// A batch begins at this offset.
    Marker(Marker, u64),
    /// A record; its bytes are [`Cursor::record`].
    Record(Header),
    /// The end.
    End(End),
}

/// Reads a segment forward and verifies checksums, numbers and chain.
pub(super) struct Cursor {
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    len: u64,
    /// Where the next step begins.
    offset: u64,
    /// The next record's number.
    next: Lsn,
    /// Chain before it.
    chain: Chain,
    buffer: Vec<u8>,
    buffer_at: u64,
    /// The last record within the file.
    last: (u64, usize),
}

/// From where a cursor can go on: offset, next record and the chain before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) offset: u64,
    pub(super) next: Lsn,
    pub(super) chain: Chain,
}

impl Cursor {
    pub(super) fn new(
        file: Arc<dyn DiskFile>,
        path: PathBuf,
        from: Place,
    ) -> Result<Self, StoreError> {
        let len = file.len().context("measure", &path)?;
        let (offset, next, chain) = (from.offset, from.next, from.chain);
        let buffer = Vec::new();
        Ok(Self { file, path, len, offset, next, chain, buffer, buffer_at: 0, last: (0, 0) })
    }

    /// Where it stands.
    pub(super) fn place(&self) -> Place {
        Place { offset: self.offset, next: self.next, chain: self.chain }
    }

    /// Moves on by one marker or record.
    pub(super) fn step(&mut self) -> Result<Step, StoreError> {
        let head = self.peek(MARKER_LEN)?;
        if head.iter().all(|b| *b == 0) {
            return Ok(Step::End(End::Clean));
        }
        if let Some(marker) = decode_marker(head) {
            if marker.first != self.next || marker.chain != self.chain {
                return Ok(Step::End(End::Broken(RecordError::Chain)));
            }
            let at = self.offset;
            self.offset += MARKER_LEN as u64;
            return Ok(Step::Marker(marker, at));
        }
        let mut need = HEADER_LEN;
        for _ in 0..2 {
            let (chain, next) = (self.chain, self.next);
            let bytes = self.peek(need)?;
            match record::verify(chain, bytes) {
                Ok((header, _, whole)) if header.lsn == next => {
                    self.last = (self.offset, whole);
                    self.offset += whole as u64;
                    self.next = header.lsn.next();
                    self.chain = header.chain;
                    return Ok(Step::Record(header));
                }
                Ok(_) => return Ok(Step::End(End::Broken(RecordError::Chain))),
                Err(RecordError::Incomplete) if bytes.len() >= HEADER_LEN => {
                    need = HEADER_LEN + PAYLOAD_LEN_MAX;
                }
                Err(e) => return Ok(Step::End(End::Broken(e))),
            }
        }
        Ok(Step::End(End::Broken(RecordError::Incomplete)))
    }

    /// The bytes of the record that [`Cursor::step`] found last.
    pub(super) fn record(&self) -> &[u8] {
        let (at, len) = self.last;
        let start = usize::try_from(at.saturating_sub(self.buffer_at)).unwrap_or(usize::MAX);
        self.buffer.get(start..start.saturating_add(len)).unwrap_or_default()
    }

    /// Looks for a batch after a break: a sound marker of a later record proves that what is broken
    /// had been synced. Returns its offset.
    pub(super) fn later_batch(&mut self) -> Result<Option<u64>, StoreError> {
        let expected = self.next;
        while self.offset < self.len {
            let window = self.peek(READ_LEN)?;
            if window.is_empty() {
                break;
            }
            let mut at = 0;
            while let Some(found) = window.get(at..).and_then(find_marker) {
                at += found;
                let marker = window.get(at..).and_then(decode_marker);
                if marker.is_some_and(|m| m.first > expected) {
                    return Ok(Some(self.offset + at as u64));
                }
                at += 1;
            }
            // Windows overlap, so that no marker is cut in two.
            let advance = window.len().saturating_sub(MARKER_LEN - 1).max(1);
            self.offset += advance as u64;
        }
        Ok(None)
    }

    /// Up to `want` bytes from the current offset; fewer only at the file's end.
    fn peek(&mut self, want: usize) -> Result<&[u8], StoreError> {
        let left = usize::try_from(self.len.saturating_sub(self.offset)).unwrap_or(usize::MAX);
        let want = want.min(left);
        let have = self.offset >= self.buffer_at
            && self.offset + want as u64 <= self.buffer_at + self.buffer.len() as u64;
        if !have {
            self.buffer.clear();
            self.buffer.resize(want.max(READ_LEN.min(left)), 0);
            self.buffer_at = self.offset;
            self.file.read_at(self.offset, &mut self.buffer).context("read", &self.path)?;
        }
        let start = usize::try_from(self.offset - self.buffer_at).unwrap_or(usize::MAX);
        Ok(self.buffer.get(start..start.saturating_add(want)).unwrap_or_default())
    }
}

fn find_marker(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        at += bytes.get(at..)?.iter().position(|b| *b == MARKER_MAGIC[0])?;
        if bytes.get(at..)?.starts_with(MARKER_MAGIC) {
            return Some(at);
        }
        at += 1;
    }
}

/// Where record `wanted` begins, found by reading on from `from`.
pub(super) fn offset_of(
    file: Arc<dyn DiskFile>,
    path: &Path,
    from: Place,
    wanted: Lsn,
) -> Result<u64, StoreError> {
    let mut cursor = Cursor::new(file, path.to_owned(), from)?;
    while cursor.place().next < wanted {
        let place = cursor.place();
        match cursor.step()? {
            // The loop ends right behind the record before `wanted`: before its batch's marker.
            Step::Marker(..) | Step::Record(_) => {}
            Step::End(_) => {
                let what = format!("record {} is missing or broken", place.next);
                return Err(StoreError::damaged(path, place.offset, what));
            }
        }
    }
    Ok(cursor.place().offset)
}
