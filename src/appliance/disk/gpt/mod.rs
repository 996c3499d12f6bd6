//! GUID partition tables (UEFI 2.10, 5.3): read both copies, write both, in an order that survives a
//! power cut.
//!
//! Invariants: a copy counts only when its header's and its entries' checksums hold and every entry
//! lies inside the disk and beside the others. [`Table::writes`] puts the copy at the disk's end first:
//! at each moment one copy is whole, and firmware and [`read`] find it.
//! Deliberately absent: hybrid MBRs, entries of other sizes than 128 bytes, more than [`ENTRIES_MAX`].

use std::fmt;
use std::io;
use std::ops::RangeInclusive;

/// Bytes of an entry; nobody has ever used another size.
const ENTRY_LEN: usize = 128;
/// Entries of a table that we read; all tools make 128.
const ENTRIES_MAX: u32 = 256;
/// Entries of a table that we make.
const ENTRIES_MADE: u32 = 128;
/// Bytes of a header's known part.
const HEADER_LEN: usize = 92;
const SIGNATURE: &[u8; 8] = b"EFI PART";
const REVISION: u32 = 0x0001_0000;
/// Where partitions begin and end, in bytes: what disks and flash like.
const ALIGNMENT: u64 = 1024 * 1024;
/// The type of a protective MBR's one partition (UEFI 2.10, 5.2.3).
const PROTECTIVE: u8 = 0xee;

/// A GUID, in the order of bytes that disks have: the first three groups little-endian.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Guid(pub [u8; 16]);

impl Guid {
    /// Type of partitions with data of Linux.
    pub const LINUX: Self = Self([
        0xaf, 0x3d, 0xc6, 0x0f, 0x83, 0x84, 0x72, 0x47, 0x8e, 0x79, 0x3d, 0x69, 0xd8, 0x47, 0x7d,
        0xe4,
    ]);
    /// Type of partitions that every system may use.
    pub const BASIC: Self = Self([
        0xa2, 0xa0, 0xd0, 0xeb, 0xe5, 0xb9, 0x33, 0x44, 0x87, 0xc0, 0x68, 0xb6, 0xb7, 0x26, 0x99,
        0xc7,
    ]);
    /// Type of the partition with the loader.
    pub const ESP: Self = Self([
        0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9,
        0x3b,
    ]);
    const NONE: Self = Self([0; 16]);

    /// A random GUID (version 4) of 16 random bytes.
    #[must_use]
    pub fn random(bytes: [u8; 16]) -> Self {
        let [a, b, c, d, e, f, g, h, i, rest @ ..] = bytes;
        let [j, k, l, m, n, o, p] = rest;
        Self([a, b, c, d, e, f, g, h & 0x0f | 0x40, i & 0x3f | 0x80, j, k, l, m, n, o, p])
    }

    /// Reads `c12a7328-f81f-11d2-ba4b-00a0c93ec93b`, in either case.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let groups: Vec<&str> = text.trim().split('-').collect();
        if !groups.iter().map(|g| g.len()).eq([8, 4, 4, 4, 12])
            || !groups.iter().all(|g| g.bytes().all(|b| b.is_ascii_hexdigit()))
        {
            return None;
        }
        let value = u128::from_str_radix(&groups.concat(), 16).ok()?;
        Some(Self(swapped(value.to_be_bytes())))
    }
}

/// Between the text's order of bytes and the disk's; its own inverse.
const fn swapped(b: [u8; 16]) -> [u8; 16] {
    let [b0, b1, b2, b3, b4, b5, b6, b7, b8, b9, b10, b11, b12, b13, b14, b15] = b;
    [b3, b2, b1, b0, b5, b4, b7, b6, b8, b9, b10, b11, b12, b13, b14, b15]
}

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, byte) in swapped(self.0).iter().enumerate() {
            let dash = if matches!(at, 4 | 6 | 8 | 10) { "-" } else { "" };
            write!(f, "{dash}{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Size of a disk, as its kernel sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Bytes of a logical sector: 512 or 4096.
    pub sector: u32,
    /// How many sectors the disk has.
    pub sectors: u64,
}

impl Geometry {
    /// Sectors that `bytes` take.
    const fn sectors_of(self, bytes: u64) -> u64 {
        bytes.div_ceil(self.sector as u64)
    }

    fn aligned_up(self, lba: u64) -> u64 {
        lba.next_multiple_of(self.sectors_of(ALIGNMENT).max(1))
    }

    fn aligned_down(self, lba: u64) -> u64 {
        let step = self.sectors_of(ALIGNMENT).max(1);
        lba / step * step
    }
}

/// A partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// From 1, as in the kernel's names.
    pub number: u32,
    /// What it is for.
    pub kind: Guid,
    /// PARTUUID.
    pub id: Guid,
    /// First sector.
    pub first: u64,
    /// Last sector.
    pub last: u64,
    /// Attribute bits; 48 to 63 are the type's own.
    pub attributes: u64,
    /// Name in UTF-16, filled with zeros.
    pub name: [u16; 36],
}

impl Entry {
    /// The name, as text.
    #[must_use]
    pub fn name(&self) -> String {
        let end = self.name.iter().position(|c| *c == 0).unwrap_or(self.name.len());
        String::from_utf16_lossy(self.name.get(..end).unwrap_or_default())
    }

    /// How many sectors it has.
    #[must_use]
    pub const fn sectors(&self) -> u64 {
        self.last.saturating_sub(self.first).saturating_add(1)
    }

    fn decode(number: u32, bytes: &[u8]) -> Option<Self> {
        let kind = Guid(array(bytes, 0)?);
        if kind == Guid::NONE {
            return None;
        }
        let mut name = [0; 36];
        for (unit, pair) in name.iter_mut().zip(bytes.get(56..)?.chunks_exact(2)) {
            *unit = u16::from_le_bytes(array(pair, 0)?);
        }
        Some(Self {
            number,
            kind,
            id: Guid(array(bytes, 16)?),
            first: u64::from_le_bytes(array(bytes, 32)?),
            last: u64::from_le_bytes(array(bytes, 40)?),
            attributes: u64::from_le_bytes(array(bytes, 48)?),
            name,
        })
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(ENTRY_LEN);
        bytes.extend(self.kind.0);
        bytes.extend(self.id.0);
        bytes.extend(self.first.to_le_bytes());
        bytes.extend(self.last.to_le_bytes());
        bytes.extend(self.attributes.to_le_bytes());
        bytes.extend(self.name.iter().flat_map(|unit| unit.to_le_bytes()));
        bytes
    }
}

/// A table that holds together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// The disk's GUID.
    pub disk: Guid,
    /// First and last sector that partitions may have.
    pub usable: RangeInclusive<u64>,
    /// How many entries there is room for.
    room: u32,
    /// Where the copy at the end is, or should be.
    pub backup: u64,
    /// The partitions, by number.
    pub entries: Vec<Entry>,
}

/// Why a copy of a table does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// There is no table.
    #[error("no table")]
    None,
    /// A checksum does not hold.
    #[error("its checksum is wrong")]
    Checksum,
    /// A size that nobody uses, or a header for another place.
    #[error("its header makes no sense")]
    Header,
    /// Partitions overlap, or lie outside the usable part.
    #[error("its partitions overlap or lie outside")]
    Entries,
    /// The disk is smaller than the table says.
    #[error("the disk is smaller than its table says")]
    TooSmall,
}

/// What there is of a table on a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The copy at the start.
    pub primary: Result<Table, Fault>,
    /// The copy at the disk's last sector.
    pub backup: Result<Table, Fault>,
    /// Entries at the start as they stand, even where no checksum holds: what a loader that checks
    /// none (GRUB) has seen.
    pub loose: Vec<Entry>,
}

impl Found {
    /// The copy that counts.
    #[must_use]
    pub fn table(&self) -> Option<&Table> {
        self.primary.as_ref().ok().or_else(|| self.backup.as_ref().ok())
    }

    /// Whether there is nothing that looks like a table.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.primary == Err(Fault::None) && self.backup == Err(Fault::None)
    }

    /// Whether a loader or a kernel may have seen a partition `id` here.
    #[must_use]
    pub fn has(&self, id: Guid) -> bool {
        self.number_of(id).is_some()
    }

    /// The number of that partition.
    #[must_use]
    pub fn number_of(&self, id: Guid) -> Option<u32> {
        self.seen().find(|e| e.id == id).map(|e| e.number)
    }

    /// Whether one of that name and type may have been seen here.
    #[must_use]
    pub fn holds(&self, name: &str, kind: Guid) -> bool {
        self.seen().any(|e| e.kind == kind && e.name() == name)
    }

    fn seen(&self) -> impl Iterator<Item = &Entry> {
        let counted = self.table().into_iter().flat_map(|t| &t.entries);
        counted.chain(&self.loose)
    }
}

/// Reads both copies; `read` gives that many bytes from that byte on.
///
/// # Errors
/// Those of `read`.
pub fn read(
    geometry: Geometry,
    mut read: impl FnMut(u64, usize) -> io::Result<Vec<u8>>,
) -> io::Result<Found> {
    let nothing =
        || Ok(Found { primary: Err(Fault::None), backup: Err(Fault::None), loose: vec![] });
    if !matches!(geometry.sector, 512..=4096) || geometry.sectors < 4 {
        return nothing();
    }
    let (primary, loose) = copy(geometry, 1, &mut read)?;
    let (backup, _) = copy(geometry, geometry.sectors - 1, &mut read)?;
    Ok(Found { primary, backup, loose })
}

type Copy = (Result<Table, Fault>, Vec<Entry>);

fn copy(
    geometry: Geometry,
    at: u64,
    read: &mut impl FnMut(u64, usize) -> io::Result<Vec<u8>>,
) -> io::Result<Copy> {
    let size = u64::from(geometry.sector);
    let sector = read(at.saturating_mul(size), usize::try_from(geometry.sector).unwrap_or(512))?;
    let header = match Header::decode(&sector) {
        Ok(header) => header,
        Err(fault) => return Ok((Err(fault), Vec::new())),
    };
    let len = usize::try_from(header.room).unwrap_or_default().saturating_mul(ENTRY_LEN);
    let from = header.entries.saturating_mul(size);
    if header.entries >= geometry.sectors {
        return Ok((Err(Fault::TooSmall), Vec::new()));
    }
    let bytes = read(from, len)?;
    let entries: Vec<Entry> = (1..)
        .zip(bytes.chunks_exact(ENTRY_LEN))
        .filter_map(|(number, bytes)| Entry::decode(number, bytes))
        .collect();
    let table = header.check(geometry, at, &sector, &bytes, entries.clone());
    Ok((table, entries))
}

/// A header as it stands.
struct Header {
    len: usize,
    crc: u32,
    at: u64,
    other: u64,
    usable: RangeInclusive<u64>,
    disk: Guid,
    entries: u64,
    room: u32,
    entries_crc: u32,
}

impl Header {
    fn decode(sector: &[u8]) -> Result<Self, Fault> {
        if sector.get(..8) != Some(SIGNATURE.as_slice()) {
            return Err(Fault::None);
        }
        Self::fields(sector).filter(|h| h.room <= ENTRIES_MAX).ok_or(Fault::Header)
    }

    fn fields(s: &[u8]) -> Option<Self> {
        let (number, long) =
            (|at| array(s, at).map(u32::from_le_bytes), |at| array(s, at).map(u64::from_le_bytes));
        let len = usize::try_from(number(12)?).ok()?;
        if !(HEADER_LEN..=s.len()).contains(&len) || number(84)? != 128 {
            return None;
        }
        Some(Self {
            len,
            crc: number(16)?,
            at: long(24)?,
            other: long(32)?,
            usable: long(40)?..=long(48)?,
            disk: Guid(array(s, 56)?),
            entries: long(72)?,
            room: number(80)?,
            entries_crc: number(88)?,
        })
    }

    fn check(
        self,
        geometry: Geometry,
        at: u64,
        sector: &[u8],
        bytes: &[u8],
        entries: Vec<Entry>,
    ) -> Result<Table, Fault> {
        let mut header = sector.get(..self.len).ok_or(Fault::Header)?.to_vec();
        header.get_mut(16..20).ok_or(Fault::Header)?.fill(0);
        if crc32(&header) != self.crc || crc32(bytes) != self.entries_crc {
            return Err(Fault::Checksum);
        }
        if self.at != at {
            return Err(Fault::Header);
        }
        if *self.usable.end() >= geometry.sectors || self.other >= geometry.sectors {
            return Err(Fault::TooSmall);
        }
        let mut placed: Vec<(u64, u64)> = entries.iter().map(|e| (e.first, e.last)).collect();
        placed.sort_unstable();
        let inside = |&(first, last): &(u64, u64)| {
            first <= last && self.usable.contains(&first) && self.usable.contains(&last)
        };
        let apart = placed.is_sorted_by(|a, b| a.1 < b.0);
        if !placed.iter().all(inside) || !apart {
            return Err(Fault::Entries);
        }
        let backup = if at == 1 { self.other } else { at };
        Ok(Table { disk: self.disk, usable: self.usable, room: self.room, backup, entries })
    }
}

/// Bytes to be written at a byte of the disk; all of a step are durable before the next one begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// From this byte on.
    pub at: u64,
    /// What.
    pub bytes: Vec<u8>,
}

impl Table {
    /// A table with one partition over the whole disk; `None` where the disk is too small for any.
    #[must_use]
    pub fn whole(geometry: Geometry, disk: Guid, mut entry: Entry) -> Option<Self> {
        let mut table =
            Self { disk, usable: 0..=0, room: ENTRIES_MADE, backup: 0, entries: Vec::new() };
        table.stretch(geometry)?;
        entry.first = geometry.aligned_up(*table.usable.start());
        entry.last = geometry.aligned_down(table.usable.end().saturating_add(1)).checked_sub(1)?;
        if entry.first >= entry.last {
            return None;
        }
        table.entries.push(entry);
        Some(table)
    }

    /// Moves the copy at the end to the disk's end. `None` where the disk is too small for what the
    /// table holds.
    pub fn stretch(&mut self, geometry: Geometry) -> Option<()> {
        let array = geometry.sectors_of(u64::from(self.room.max(ENTRIES_MADE)) * ENTRY_LEN as u64);
        let start = (*self.usable.start()).max(array.checked_add(2)?);
        let end = geometry.sectors.checked_sub(array.checked_add(2)?)?;
        self.usable = start..=end;
        self.backup = geometry.sectors.checked_sub(1)?;
        let inside = |e: &Entry| e.first >= start && e.last <= end;
        (start < end && self.entries.iter().all(inside)).then_some(())
    }

    /// Lets partition `number` reach to the usable part's end, if it is the last one on the disk.
    pub fn grow(&mut self, geometry: Geometry, number: u32) {
        let end = geometry.aligned_down(self.usable.end().saturating_add(1)).saturating_sub(1);
        let furthest = self.entries.iter().map(|e| e.last).max();
        if let Some(entry) = self.entries.iter_mut().find(|e| e.number == number)
            && Some(entry.last) == furthest
        {
            entry.last = entry.last.max(end);
        }
    }

    /// The partition `number`.
    #[must_use]
    pub fn entry(&self, number: u32) -> Option<&Entry> {
        self.entries.iter().find(|e| e.number == number)
    }

    /// What makes this the disk's table, in order: the copy at the end, then the one at the start,
    /// entries before their header. A copy whose header does not fit its entries does not count.
    #[must_use]
    pub fn writes(&self, geometry: Geometry) -> Vec<Write> {
        let size = u64::from(geometry.sector);
        let room = self.room.max(ENTRIES_MADE);
        let len = usize::try_from(room).unwrap_or_default().saturating_mul(ENTRY_LEN);
        let mut entries = vec![0; len];
        for entry in &self.entries {
            let slots = entries.chunks_exact_mut(ENTRY_LEN);
            let at = usize::try_from(entry.number).unwrap_or_default().saturating_sub(1);
            if let Some(slot) = slots.into_iter().nth(at) {
                slot.copy_from_slice(&entry.encode());
            }
        }
        let array = geometry.sectors_of(u64::from(room) * ENTRY_LEN as u64);
        let behind = self.backup.saturating_sub(array);
        let header = |at, other, from| self.header(geometry, &entries, (at, other, from));
        let write = |lba: u64, bytes| Write { at: lba.saturating_mul(size), bytes };
        vec![
            write(behind, entries.clone()),
            write(self.backup, header(self.backup, 1, behind)),
            write(2, entries.clone()),
            write(1, header(1, self.backup, 2)),
        ]
    }

    fn header(&self, geometry: Geometry, entries: &[u8], place: (u64, u64, u64)) -> Vec<u8> {
        let (at, other, from) = place;
        let mut head = SIGNATURE.to_vec();
        head.extend(REVISION.to_le_bytes());
        head.extend(92_u32.to_le_bytes());
        head.extend([0; 8]);
        head.extend(at.to_le_bytes());
        head.extend(other.to_le_bytes());
        head.extend(self.usable.start().to_le_bytes());
        head.extend(self.usable.end().to_le_bytes());
        head.extend(self.disk.0);
        head.extend(from.to_le_bytes());
        head.extend(self.room.max(ENTRIES_MADE).to_le_bytes());
        head.extend(128_u32.to_le_bytes());
        head.extend(crc32(entries).to_le_bytes());
        let crc = crc32(&head);
        if let Some(place) = head.get_mut(16..20) {
            place.copy_from_slice(&crc.to_le_bytes());
        }
        head.resize(usize::try_from(geometry.sector).unwrap_or(512), 0);
        head
    }
}

/// The first sector of the disk with a protective partition over all of it, made of what is there; the
/// loader's code stays. `None` where it is right already.
#[must_use]
pub fn protective(geometry: Geometry, sector: &[u8]) -> Option<Vec<u8>> {
    let mut new = sector.to_vec();
    let all = u32::try_from(geometry.sectors.saturating_sub(1)).unwrap_or(u32::MAX);
    let ours = sector.get(510..512) == Some(&[0x55, 0xaa]) && sector.get(450) == Some(&PROTECTIVE);
    if !ours {
        let mut entry = vec![0, 0, 2, 0, PROTECTIVE, 0xff, 0xff, 0xff, 1, 0, 0, 0];
        entry.extend([0; 52]);
        new.get_mut(446..510)?.copy_from_slice(&entry);
        new.get_mut(510..512)?.copy_from_slice(&[0x55, 0xaa]);
    }
    new.get_mut(458..462)?.copy_from_slice(&all.to_le_bytes());
    (new != sector).then_some(new)
}

/// `bytes[at..at + N]`, if it is there.
fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

/// CRC-32 of UEFI (IEEE 802.3), a byte at a time.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        let [low, ..] = crc.to_le_bytes();
        let row = CRC_ROWS.get(usize::from(low ^ byte)).copied().unwrap_or_default();
        (crc >> 8) ^ row
    })
}

/// What each byte does to the checksum.
const CRC_ROWS: [u32; 256] = {
    let mut rows = [0; 256];
    let mut rest = rows.as_mut_slice();
    let mut byte = 0;
    while let Some((row, after)) = rest.split_first_mut() {
        let (mut crc, mut bit) = (byte, 0);
        while bit < 8 {
            crc = (crc >> 1) ^ (0xedb8_8320 & 0_u32.wrapping_sub(crc & 1));
            bit += 1;
        }
        *row = crc;
        byte += 1;
        rest = after;
    }
    rows
};

#[cfg(test)]
mod tests;
