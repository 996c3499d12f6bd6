//! The branch's side: its records after the fork, in clear, bodies before the changes that link
//! them.

use super::{BranchError, Piece, Word};
use crate::store::{Plain, Store, StoreError};
use std::collections::{HashMap, HashSet};
use tokio::sync::mpsc::Sender;
use understudy_proto::directory;
use understudy_proto::id::{Lsn, TenantId, UploadId};
use understudy_proto::merge::{self, BranchId, Kinds, PIECE_LEN_MAX};
use understudy_proto::record::Kind;

/// An upload that a change after the fork links has mostly begun at most so many records before it.
/// For one that began earlier all of the log is read once more.
const LOOK_BACK: u64 = if cfg!(test) { 20 } else { 20_000 };
/// A message ends when its pieces have so many bytes.
const MESSAGE_BYTES: usize = 192 * 1024;

/// Sends everything; runs on a thread of its own. Ends early when nobody listens.
pub(super) fn ship(
    store: &Store,
    kinds: &Kinds,
    (branch, system, after): (BranchId, bool, Lsn),
    to: &Sender<Word>,
) {
    let after = after.max(branch.fork);
    let mut shipping = Shipping {
        store,
        kinds,
        to,
        from: Lsn(0),
        parts: HashMap::new(),
        sent: HashSet::new(),
        known: HashSet::new(),
        pieces: Vec::new(),
        bytes: 0,
    };
    let said = match shipping.run(branch.fork, after, system) {
        Ok(()) => Word::End,
        Err(BranchError::Gone) => return,
        Err(e) => {
            log::error!(err:% = e, runbook = "branched"; "this branch cannot be shipped");
            Word::Fault(e.to_string())
        }
    };
    if to.blocking_send(said).is_err() {
        log::debug!("nobody waits for the branch any more");
    }
}

struct Shipping<'a> {
    store: &'a Store,
    kinds: &'a Kinds,
    to: &'a Sender<Word>,
    /// Behind it the log was read; what began before is looked for when it is needed.
    from: Lsn,
    /// Where the parts of each upload are that were seen, and their numbers, ascending.
    parts: HashMap<UploadId, Vec<(u32, Lsn)>>,
    sent: HashSet<UploadId>,
    /// The tenants of this branch.
    known: HashSet<TenantId>,
    pieces: Vec<Piece>,
    bytes: usize,
}

/// What is shipped of one record.
struct Found {
    tenant: TenantId,
    lsn: Lsn,
    epoch: understudy_proto::id::Epoch,
    kind: Kind,
    change: Vec<u8>,
}

impl Shipping<'_> {
    fn run(&mut self, fork: Lsn, after: Lsn, system: bool) -> Result<(), BranchError> {
        let log = self.store.log();
        let (first, last) = (log.first(), *log.durable().borrow());
        if first > fork.next() {
            return Err(BranchError::Trimmed { first, fork });
        }
        let from = Lsn(fork.0.saturating_sub(LOOK_BACK).max(first.0.saturating_sub(1)));
        self.from = from;
        let view = self.store.read(TenantId::SYSTEM)?;
        self.known = directory::tenants(&view)?.into_iter().map(|t| t.id).collect();
        let mut next = from;
        while next < last {
            // A piece of the log at a time, so that what was found in it can be sent.
            let end = Lsn(next.0.saturating_add(256)).min(last);
            let (mut found, mut alien) = (Vec::new(), None);
            let store = self.store;
            store.history(next, end, |header, plain| {
                if header.lsn > fork
                    && let Plain::Change(change) = &plain
                    && let Some(why) = self.alien(header.kind, change)
                {
                    alien.get_or_insert((header.lsn, why));
                }
                let Some(change) = self.note(header.lsn, plain, system) else { return Ok(()) };
                let wanted = (header.tenant == TenantId::SYSTEM) == system
                    && !self.is_unfinished_import(header.tenant, header.kind);
                if header.lsn > after && wanted && header.kind != Kind::BRANCH {
                    let (tenant, lsn, epoch) = (header.tenant, header.lsn, header.epoch);
                    found.push(Found { tenant, lsn, epoch, kind: header.kind, change });
                } else if let Ok(bodies) = self.kinds.bodies(header.kind, &change) {
                    // Most are linked once; one that is linked again is found again.
                    bodies.iter().for_each(|upload| drop(self.parts.remove(upload)));
                }
                Ok::<(), StoreError>(())
            })?;
            if let Some((lsn, why)) = alien {
                return Err(BranchError::Peer(format!("record {lsn} {why}")));
            }
            for found in found {
                self.send_change(found)?;
            }
            next = end;
        }
        self.flush()
    }

    /// Nobody was told that it is here: its file can be imported at the leader.
    fn is_unfinished_import(&self, tenant: TenantId, kind: Kind) -> bool {
        kind == Kind::IMPORT && !self.known.contains(&tenant)
    }

    /// Why a change of this branch cannot be merged, if it cannot.
    fn alien(&self, kind: Kind, change: &[u8]) -> Option<String> {
        if kind != Kind::BRANCH {
            let what = || format!("is of kind {}, which cannot be merged", kind.0);
            return (!self.kinds.merges(kind)).then(what);
        }
        match merge::is_step(change) {
            Ok(false) => None,
            // What it merged is the other side's: whoever took it back might double it.
            Ok(true) => Some("merged the other side's mail already: an operator decides".into()),
            Err(e) => Some(format!("is not understood: {e}")),
        }
    }

    /// Remembers a part; gives a change back. The system has no bodies.
    fn note(&mut self, lsn: Lsn, plain: Plain, system: bool) -> Option<Vec<u8>> {
        match plain {
            Plain::Change(bytes) => return Some(bytes),
            Plain::Part { upload, index } if !system => {
                self.parts.entry(upload).or_default().push((index, lsn));
            }
            Plain::Abort(upload) => drop(self.parts.remove(&upload)),
            Plain::Part { .. } | Plain::Other => {}
        }
        None
    }

    /// Where all parts of an upload are, in order; empty when the log has not all of them.
    fn parts_of(&mut self, upload: UploadId, upto: Lsn) -> Result<Vec<Lsn>, BranchError> {
        let whole = |parts: &[(u32, Lsn)]| {
            !parts.is_empty() && parts.iter().map(|(index, _)| *index).eq(0..count_of(parts))
        };
        if !self.parts.get(&upload).is_some_and(|parts| whole(parts)) {
            self.look_back(upload, upto)?;
        }
        let parts = self.parts.remove(&upload).filter(|parts| whole(parts)).unwrap_or_default();
        Ok(parts.into_iter().map(|(_, lsn)| lsn).collect())
    }

    /// Reads the log from where it begins, for this upload and for all others whose begin is missing.
    fn look_back(&mut self, upload: UploadId, upto: Lsn) -> Result<(), BranchError> {
        let partial = |parts: &Vec<(u32, Lsn)>| parts.first().is_some_and(|(index, _)| *index > 0);
        let mut wanted: HashMap<UploadId, Vec<(u32, Lsn)>> = self
            .parts
            .iter()
            .filter(|(_, parts)| partial(parts))
            .map(|(id, _)| (*id, Vec::new()))
            .collect();
        // This one may have been seen and forgotten: up to here it is looked for.
        self.parts.remove(&upload);
        wanted.insert(upload, Vec::new());
        let before = Lsn(self.store.log().first().0.saturating_sub(1));
        self.store.history(before, upto, |header, plain| {
            if let Plain::Part { upload: of, index } = plain
                && (of == upload || header.lsn <= self.from)
                && let Some(parts) = wanted.get_mut(&of)
            {
                parts.push((index, header.lsn));
            }
            Ok::<(), StoreError>(())
        })?;
        for (id, mut parts) in wanted {
            parts.append(&mut self.parts.remove(&id).unwrap_or_default());
            self.parts.insert(id, parts);
        }
        Ok(())
    }

    fn send_change(&mut self, found: Found) -> Result<(), BranchError> {
        let Found { tenant, lsn, epoch, kind, change } = found;
        let mut bodies = self.kinds.bodies(kind, &change)?;
        bodies.retain(|upload| !self.sent.contains(upload));
        for upload in &bodies {
            let parts = self.parts_of(*upload, lsn)?;
            if parts.is_empty() {
                let what = format!("the body of record {lsn} is not in the log any more");
                return Err(BranchError::Peer(what));
            }
            let count = parts.len();
            for (i, at) in parts.into_iter().enumerate() {
                let (_, bytes) = self.store.part(at)?;
                let last = i.saturating_add(1) == count;
                self.push(Piece::Body { tenant, upload: *upload, last, bytes })?;
            }
            self.sent.insert(*upload);
        }
        let mut chunks: Vec<&[u8]> = change.chunks(PIECE_LEN_MAX).collect();
        if chunks.is_empty() {
            chunks.push(&[]);
        }
        let count = chunks.len();
        for (i, chunk) in chunks.into_iter().enumerate() {
            let part = u32::try_from(i).unwrap_or(u32::MAX);
            let (last, bytes) = (i.saturating_add(1) == count, chunk.to_vec());
            let bodies = if part == 0 { bodies.clone() } else { Vec::new() };
            self.push(Piece::Change { tenant, lsn, epoch, kind, part, last, bytes, bodies })?;
        }
        Ok(())
    }

    fn push(&mut self, piece: Piece) -> Result<(), BranchError> {
        let (Piece::Body { bytes, .. } | Piece::Change { bytes, .. }) = &piece;
        let len = bytes.len().saturating_add(128);
        if self.bytes.saturating_add(len) > MESSAGE_BYTES {
            self.flush()?;
        }
        self.bytes = self.bytes.saturating_add(len);
        self.pieces.push(piece);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), BranchError> {
        self.bytes = 0;
        let pieces = std::mem::take(&mut self.pieces);
        if pieces.is_empty() {
            return Ok(());
        }
        self.to.blocking_send(Word::Pieces(pieces)).map_err(|_gone| BranchError::Gone)
    }
}

fn count_of(parts: &[(u32, Lsn)]) -> u32 {
    u32::try_from(parts.len()).unwrap_or(u32::MAX)
}
