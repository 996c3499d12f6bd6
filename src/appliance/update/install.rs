//! Writes an image into the idle slot, in steps of which each may be the last before a power cut.
//!
//! ```text
//! block: the running slot starts ─► records: being written ─► head of the slot: zeros
//!   ─► all but the head ─► head ─► read back, compare ─► records: ready ─► block: try it
//! ```
//!
//! Invariants: a slot without its head cannot be read by the loader, so that no half of an image
//! ever starts; the block names the image only after it was compared. Deliberately absent: going on
//! with a half: an update is written anew.

use super::record::{Condition, Image, Place, Records};
use super::rules::{Facts, Refusal, Wishes, env_to_try, env_while_writing, judge};
use crate::appliance::report::Slot;
use crate::appliance::slot::digest::Hashing;
use crate::appliance::slot::env::LEN;
use crate::appliance::slot::package::{CHUNK, Manifest, Package, PackageError};
use std::io::{self, Read};

/// What is written last of a slot, in bytes: the sector that says that there is a file system.
pub const HEAD_LEN: usize = 4096;

/// The disks of an appliance. What a function has returned from is durable, but for
/// [`Machine::write_slot`].
pub trait Machine {
    /// Writes the loader's block, over the one that is there.
    fn write_env(&mut self, block: &[u8; LEN]) -> io::Result<()>;
    /// Replaces the records.
    fn write_records(&mut self, records: &Records) -> io::Result<()>;
    /// Room in a slot, in bytes.
    fn slot_len(&mut self, slot: Slot) -> io::Result<u64>;
    /// Writes into a slot.
    fn write_slot(&mut self, slot: Slot, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Makes what was written into a slot durable, so that it is read from the disk afterwards.
    fn sync_slot(&mut self, slot: Slot) -> io::Result<()>;
    /// Reads from a slot.
    fn read_slot(&mut self, slot: Slot, offset: u64, out: &mut [u8]) -> io::Result<()>;
}

/// How far an update has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// So many bytes are written.
    Writing(u64),
    /// So many bytes are compared.
    Comparing(u64),
}

/// Why an update was not installed. The running system is what starts, after each of them.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// It may not be.
    #[error("{0}")]
    Refused(#[from] Refusal),
    /// The file is not right.
    #[error("{0}")]
    Package(#[from] PackageError),
    /// A disk failed.
    #[error("{what} failed: {source}")]
    Disk {
        /// What was done.
        what: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// The slot gives back something else than was written.
    #[error("slot {0} does not give back what was written to it")]
    Unlike(Slot),
}

fn disk(what: &'static str) -> impl FnOnce(io::Error) -> InstallError {
    move |source| InstallError::Disk { what, source }
}

/// Installs `package`, if it may be. Returns the slot that is tried at the next start.
///
/// # Errors
/// See [`InstallError`].
pub fn install(
    machine: &mut dyn Machine,
    facts: &Facts,
    package: Package<impl Read>,
    wishes: Wishes,
    progress: &mut dyn FnMut(Progress),
) -> Result<Slot, InstallError> {
    let manifest = package.manifest().clone();
    let (slot, mut records) = judge(facts, &manifest, wishes)?;
    let room = machine.slot_len(slot).map_err(disk("asking for the slot's size"))?;
    if manifest.slot_len > room {
        return Err(PackageError::Large { len: manifest.slot_len, room }.into());
    }
    let env = env_while_writing(facts.env.as_ref(), slot);
    if facts.env.as_ref() != Some(&env) {
        machine.write_env(&env.write()).map_err(disk("writing the loader's block"))?;
    }
    let place = |condition| {
        let (image, boot) = (Image::from(&manifest), facts.boot.clone());
        Some(Place { image, condition, boot, at: facts.now })
    };
    *records.place_mut(slot) = place(Condition::Writing);
    machine.write_records(&records).map_err(disk("writing the records of updates"))?;
    write(machine, slot, room, package, progress)?;
    if !compare(machine, slot, &manifest, progress)? {
        behead(machine, slot, room)?;
        return Err(InstallError::Unlike(slot));
    }
    *records.place_mut(slot) = place(Condition::Ready);
    machine.write_records(&records).map_err(disk("writing the records of updates"))?;
    let env = env_to_try(&env, slot);
    machine.write_env(&env.write()).map_err(disk("writing the loader's block"))?;
    Ok(slot)
}

/// Takes the head off a slot with `room` bytes: the loader cannot read it any more.
///
/// # Errors
/// [`InstallError::Disk`].
pub fn behead(machine: &mut dyn Machine, slot: Slot, room: u64) -> Result<(), InstallError> {
    let len = usize::try_from(room).unwrap_or(HEAD_LEN).min(HEAD_LEN);
    let zeros = [0; HEAD_LEN];
    let zeros = zeros.get(..len).unwrap_or_default();
    machine.write_slot(slot, 0, zeros).map_err(disk("writing the slot"))?;
    machine.sync_slot(slot).map_err(disk("syncing the slot"))
}

fn write(
    machine: &mut dyn Machine,
    slot: Slot,
    room: u64,
    package: Package<impl Read>,
    progress: &mut dyn FnMut(Progress),
) -> Result<(), InstallError> {
    behead(machine, slot, room)?;
    let mut head = Vec::new();
    package.unpack(room, &mut |offset, piece| {
        let mut at = offset;
        let mut body = piece;
        if offset == 0 {
            let (first, rest) = piece.split_at(piece.len().min(HEAD_LEN));
            head = first.to_vec();
            at = u64::try_from(first.len()).unwrap_or(0);
            body = rest;
        }
        if !body.is_empty() {
            machine.write_slot(slot, at, body)?;
        }
        progress(Progress::Writing(offset + u64::try_from(piece.len()).unwrap_or(0)));
        Ok(())
    })?;
    machine.sync_slot(slot).map_err(disk("syncing the slot"))?;
    machine.write_slot(slot, 0, &head).map_err(disk("writing the slot"))?;
    machine.sync_slot(slot).map_err(disk("syncing the slot"))
}

/// Whether the slot gives back the image of `manifest`.
fn compare(
    machine: &mut dyn Machine,
    slot: Slot,
    manifest: &Manifest,
    progress: &mut dyn FnMut(Progress),
) -> Result<bool, InstallError> {
    let (mut buffer, mut hashing, mut at) = (vec![0; CHUNK], Hashing::default(), 0);
    while at < manifest.slot_len {
        let wanted = usize::try_from(manifest.slot_len - at).unwrap_or(CHUNK).min(CHUNK);
        let piece = buffer.get_mut(..wanted).unwrap_or_default();
        machine.read_slot(slot, at, piece).map_err(disk("reading the slot back"))?;
        hashing.update(piece);
        at += u64::try_from(wanted).unwrap_or(0);
        progress(Progress::Comparing(at));
    }
    Ok(hashing.finish().blake3 == manifest.blake3)
}
