//! Two branches become one: what a branch shipped, and how far its merge is.
//!
//! A merge is a rebase: what each side changed since the fork is folded ([`Planner`]), and tasks
//! carry the branch's changes over to the leader's rows ([`Merge`]), as ordinary changes of their
//! kinds inside a [`Kind::BRANCH`] change, which moves the cursor with them.
//!
//! | key | value |
//! |---|---|
//! | `B` `s` branch | [`Progress`] |
//! | `B` `r` branch lsn part | a record of the branch as it was: kept until [`ForgetBranch`] |
//! | `B` `u` branch upload | where a body that the branch shipped lies |
//! | `B` `m` branch table id | what an id of the branch became |
//! | `B` `n` branch number | [`Note`]: what lost, by which rule |
//! | `B` `o` branch number | what lost, where no record of the branch has it: [`original`] |
//! | `B` `c` branch object | when clients of ours changed it last, if since the merge's first stage |
//! | `B` `k` branch | for how long all that was kept since its merge, in ms |
//!
//! Invariants: a branch's record is durable here before any of it is merged; a task and the cursor
//! behind it are one change. Absent: shipping (src/pair), and rules of any kind.

mod commands;
#[cfg(test)]
mod tests;

pub use commands::{Begin, Finish, ForgetBranch, MergeFault, Stage, Step, Take};

use crate::codec::{self, Key};
use crate::id::{Epoch, Lsn, NodeId, UploadId};
use crate::keys::{Keys, KeysError, KeysMut, Overlay};
use crate::mailbox::RowError;
use crate::record::Kind;
use crate::rule::{Apply, ApplyError, Merge, Moment, Planner, Position, Side};
use crate::time::UnixMs;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;

/// Which branch.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct BranchId {
    /// The last record that both sides share.
    pub fork: Lsn,
    /// The branch's last epoch.
    pub epoch: Epoch,
}

impl fmt::Display for BranchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.fork, self.epoch)
    }
}

/// How far the merge of a branch into one tenant is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Every record of the branch up to here is durable in our log.
    pub taken: Lsn,
    /// The stage that runs, counted over all kinds; 0 while records are taken.
    pub stage: u8,
    /// The stage's next task.
    pub task: u32,
    /// Our own changes up to here count as made on the other side.
    pub upto: Lsn,
    /// When the first record was taken.
    pub began: UnixMs,
    /// When the merge was complete.
    pub finished: Option<UnixMs>,
    /// Notes so far.
    pub notes: u32,
}

/// What lost in a merge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// When it was merged.
    pub when: UnixMs,
    /// Which object.
    pub object: String,
    /// By which rule.
    pub rule: String,
    /// What lost.
    pub lost: String,
    /// The branch's record that has the original; 0 where ours has lost: then `lost` says all, or
    /// [`original`] has it.
    pub original: Lsn,
}

/// A record of the branch, or a piece of one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    /// Its position on the branch.
    pub lsn: Lsn,
    /// Its epoch there.
    pub epoch: Epoch,
    /// What it is.
    pub kind: Kind,
    /// Which piece this is.
    pub part: u32,
    /// Whether it is the last piece.
    pub last: bool,
    /// The change, in clear.
    pub bytes: Vec<u8>,
    /// The branch's uploads that it links, and what they are called here.
    pub bodies: Vec<(UploadId, UploadId)>,
}

/// Longest piece of a branch's record in bytes: with its wrapper it fits into a record.
pub const PIECE_LEN_MAX: usize = 128 * 1024;

/// Variants may only be added at the end ([`crate::codec`]).
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Change {
    Take { branch: BranchId, taken: Vec<Taken>, now: UnixMs },
    Stage { branch: BranchId, stage: u8 },
    Step { branch: BranchId, task: u32, now: UnixMs, made: Vec<Made> },
    Finish { branch: BranchId, now: UnixMs },
    Forget { keys: Vec<Vec<u8>> },
    Begin { branch: BranchId, now: UnixMs },
    Kept { counted: Vec<(BranchId, u64)> },
}

/// What a task made.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Made {
    Change(Kind, Vec<u8>),
    Row(Vec<u8>, Vec<u8>),
    Note { object: String, rule: String, lost: String, original: Lsn },
}

fn prefix(sub: u8, branch: BranchId) -> Key {
    Key::new(b'B').bytes(&[sub]).u64(branch.fork.0).u64(branch.epoch.0)
}

fn key_taken(branch: BranchId, lsn: Lsn, part: u32) -> Vec<u8> {
    prefix(b'r', branch).u64(lsn.0).u32(part).done()
}

/// The row that says where a body lies which the branch knew as `upload`.
#[must_use]
pub fn key_body(branch: BranchId, upload: UploadId) -> Vec<u8> {
    prefix(b'u', branch).bytes(&upload.0).done()
}

fn key_map(branch: BranchId, table: u8, old: &[u8]) -> Vec<u8> {
    prefix(b'm', branch).bytes(&[table]).bytes(old).done()
}

fn key_original(branch: BranchId, note: u32) -> Vec<u8> {
    prefix(b'o', branch).u32(note).done()
}

fn key_changed(branch: BranchId, object: &[u8]) -> Vec<u8> {
    prefix(b'c', branch).bytes(object).done()
}

/// A kind says that a client changed `object`, the key of one of its rows, while branches are merged:
/// what came after a stage began is not in its plan. `at`: where that change stands; what a merge
/// makes itself stands nowhere ([`Merging::change`]) and is no client's.
pub(crate) fn changed(
    keys: &mut dyn KeysMut,
    at: Position,
    object: &[u8],
    when: UnixMs,
) -> Result<(), RowError> {
    if at.lsn == Lsn(0) {
        return Ok(());
    }
    for (branch, progress) in branches(keys)? {
        if progress.stage > 0 && progress.finished.is_none() {
            keys.put(&key_changed(branch, object), &codec::encode(&when))?;
        }
    }
    Ok(())
}

/// Whether a change of [`Kind::BRANCH`] merged something: the other side's, so none can merge it back.
pub fn is_step(change: &[u8]) -> Result<bool, codec::DecodeError> {
    Ok(matches!(codec::decode("change of a merge", change)?, Change::Step { .. }))
}

/// How far the merge of `branch` is in this view; `None` when nothing was taken.
pub fn progress(keys: &dyn Keys, branch: BranchId) -> Result<Option<Progress>, RowError> {
    let row = keys.get(&prefix(b's', branch).done())?;
    Ok(row.map(|row| codec::decode("progress of a merge", &row)).transpose()?)
}

/// The branches that this view knows of.
pub fn branches(keys: &dyn Keys) -> Result<Vec<(BranchId, Progress)>, RowError> {
    let (from, to) = Key::new(b'B').bytes(b"s").range();
    let mut found = Vec::new();
    scan(keys, (&from, &to), |key, value| {
        if let (Some(fork), Some(epoch)) = (codec::u64_at(key, 2), codec::u64_at(key, 10)) {
            let id = BranchId { fork: Lsn(fork), epoch: Epoch(epoch) };
            found.push((id, codec::decode("progress of a merge", value)?));
        }
        Ok(())
    })?;
    Ok(found)
}

/// The first record that a merge which is not finished needs of our own log; `keys` are the system's
/// rows: there a merge begins and ends.
pub fn needs_log_from(keys: &dyn Keys) -> Result<Option<Lsn>, RowError> {
    let unfinished =
        branches(keys)?.into_iter().filter(|(_, progress)| progress.finished.is_none());
    Ok(unfinished.map(|(branch, _)| branch.fork.next()).min())
}

/// What lost when `branch` was merged into this view.
pub fn notes(keys: &dyn Keys, branch: BranchId) -> Result<Vec<Note>, RowError> {
    let (from, to) = prefix(b'n', branch).range();
    let mut found = Vec::new();
    scan(keys, (&from, &to), |_, value| {
        found.push(codec::decode("note of a merge", value)?);
        Ok(())
    })?;
    Ok(found)
}

/// What lost as a change of its kind, where the note with this number (from 0) keeps it. Never to be
/// shown as it is: it may be a secret.
pub fn original(
    keys: &dyn Keys,
    branch: BranchId,
    note: u32,
) -> Result<Option<(Kind, Vec<u8>)>, RowError> {
    let row = keys.get(&key_original(branch, note))?;
    Ok(row.map(|row| codec::decode("what lost in a merge", &row)).transpose()?)
}

/// Shows the branch's records that are here, in order.
pub fn records(
    keys: &dyn Keys,
    branch: BranchId,
    mut show: impl FnMut(Position, Kind, &[u8]) -> Result<(), codec::DecodeError>,
) -> Result<(), RowError> {
    let (from, to) = prefix(b'r', branch).range();
    let mut whole = Vec::new();
    scan(keys, (&from, &to), |_, value| {
        let taken: Taken = codec::decode("record of a branch", value)?;
        whole.extend_from_slice(&taken.bytes);
        if taken.last {
            show(Position { lsn: taken.lsn, epoch: taken.epoch }, taken.kind, &whole)?;
            whole.clear();
        }
        Ok(())
    })
}

/// The branch's change at `lsn`, if all of it is here.
pub(crate) fn record(
    keys: &dyn Keys,
    branch: BranchId,
    lsn: Lsn,
) -> Result<Option<Vec<u8>>, RowError> {
    let (from, to) = prefix(b'r', branch).u64(lsn.0).range();
    let (mut whole, mut found) = (Vec::new(), false);
    scan(keys, (&from, &to), |_, value| {
        let taken: Taken = codec::decode("record of a branch", value)?;
        whole.extend_from_slice(&taken.bytes);
        found = taken.last;
        Ok(())
    })?;
    Ok(found.then_some(whole))
}

fn scan(
    keys: &dyn Keys,
    (from, to): (&[u8], &[u8]),
    mut each: impl FnMut(&[u8], &[u8]) -> Result<(), codec::DecodeError>,
) -> Result<(), RowError> {
    let mut failed = None;
    keys.scan(from, to, &mut |key, value| match each(key, value) {
        Ok(()) => ControlFlow::Continue(()),
        Err(e) => {
            failed = Some(e);
            ControlFlow::Break(())
        }
    })?;
    failed.map_or(Ok(()), |e| Err(e.into()))
}

/// What a plan may know of what was merged before it.
#[derive(Clone, Copy)]
pub struct Known<'a> {
    keys: &'a dyn Keys,
    branch: BranchId,
}

impl<'a> Known<'a> {
    /// Over the rows of the leader.
    #[must_use]
    pub fn new(keys: &'a dyn Keys, branch: BranchId) -> Self {
        Self { keys, branch }
    }

    /// What the branch's `old` became.
    pub fn mapped(&self, table: u8, old: &[u8]) -> Result<Option<Vec<u8>>, KeysError> {
        self.keys.get(&key_map(self.branch, table, old))
    }

    /// [`Known::mapped`] for ids that are numbers; an id that was not mapped is itself.
    pub fn number(&self, table: u8, old: &[u8], same: u32) -> Result<u32, KeysError> {
        let row = self.mapped(table, old)?;
        Ok(row.and_then(|row| codec::u32_at(&row, 0)).unwrap_or(same))
    }
}

/// The leader's rows while tasks are carried out.
pub struct Merging<'a> {
    before: &'a dyn Keys,
    rows: Overlay<'a>,
    branch: BranchId,
    node: NodeId,
    made: Vec<Made>,
    bytes: usize,
    /// The next note's number.
    notes: u32,
}

impl<'a> Merging<'a> {
    fn new(keys: &'a dyn Keys, branch: BranchId, node: NodeId, notes: u32) -> Self {
        let (rows, made) = (Overlay::new(keys), Vec::new());
        Self { before: keys, rows, branch, node, made, bytes: 0, notes }
    }

    /// The rows as they are now.
    #[must_use]
    pub fn keys(&self) -> &dyn Keys {
        &self.rows
    }

    /// The rows as they were before this step: clients see it all at once.
    #[must_use]
    pub fn before(&self) -> &dyn Keys {
        self.before
    }

    /// Which branch is merged.
    #[must_use]
    pub fn branch(&self) -> BranchId {
        self.branch
    }

    /// Who leads: some ids are given by node.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// What was noted before.
    #[must_use]
    pub fn known(&self) -> Known<'_> {
        Known::new(&self.rows, self.branch)
    }

    /// When clients of ours changed the row `object` last, if since the merge's first stage and if
    /// its kind says so ([`changed`]).
    pub(crate) fn changed(&self, object: &[u8]) -> Result<Option<UnixMs>, RowError> {
        let row = self.rows.get(&key_changed(self.branch, object))?;
        Ok(row.map(|row| codec::decode("time of a change", &row)).transpose()?)
    }

    /// Makes a change of `rule`'s kind. It stands at no position of its own: it is nobody's own.
    pub fn change(&mut self, rule: &dyn Apply, change: Vec<u8>) -> Result<(), ApplyError> {
        let at = Position { lsn: Lsn(0), epoch: Epoch(0) };
        rule.apply(&mut self.rows, at, &change)?;
        self.bytes = self.bytes.saturating_add(change.len());
        self.made.push(Made::Change(rule.kind(), change));
        Ok(())
    }

    /// Remembers that the branch's `old` is `new` here. Each kind has tables of its own.
    pub fn map(&mut self, table: u8, old: &[u8], new: &[u8]) -> Result<(), ApplyError> {
        let key = key_map(self.branch, table, old);
        self.rows.put(&key, new)?;
        self.bytes = self.bytes.saturating_add(key.len()).saturating_add(new.len());
        self.made.push(Made::Row(key, new.to_vec()));
        Ok(())
    }

    /// Lists what lost. `original`: the branch's record that has it, 0 where ours has lost and `lost`
    /// says all of it.
    pub fn note(&mut self, object: String, rule: &str, lost: String, original: Lsn) {
        let rule = rule.to_owned();
        self.bytes = self.bytes.saturating_add(object.len()).saturating_add(lost.len());
        self.made.push(Made::Note { object, rule, lost, original });
        self.notes = self.notes.saturating_add(1);
    }

    /// Lists what ours lost, and keeps it: `change` would bring it back. Our log is trimmed long
    /// before what lost may go.
    pub fn note_ours(
        &mut self,
        object: String,
        rule: &str,
        lost: String,
        (kind, change): (Kind, Vec<u8>),
    ) {
        let (key, row) = (key_original(self.branch, self.notes), codec::encode(&(kind, change)));
        self.bytes = self.bytes.saturating_add(key.len()).saturating_add(row.len());
        self.made.push(Made::Row(key, row));
        self.note(object, rule, lost, Lsn(0));
    }

    /// Where a change that a merge makes may keep what ours lost, for the note that comes next: a pair
    /// of kind and change, as [`Merging::note_ours`] keeps it. For what is too long for a step.
    pub(crate) fn original_row(&self) -> Vec<u8> {
        key_original(self.branch, self.notes)
    }

    /// The branch's change at `lsn`.
    pub fn record(&self, lsn: Lsn) -> Result<Option<Vec<u8>>, RowError> {
        record(&self.rows, self.branch, lsn)
    }
}

/// The kinds that can be merged, in the order in which they are.
#[derive(Clone, Default)]
pub struct Kinds(Arc<Vec<Box<dyn Merge>>>);

impl Kinds {
    /// These kinds.
    #[must_use]
    pub fn new(kinds: Vec<Box<dyn Merge>>) -> Self {
        Self(Arc::new(kinds))
    }

    /// Whether changes of this kind can be merged.
    #[must_use]
    pub fn merges(&self, kind: Kind) -> bool {
        self.get(kind).is_some()
    }

    fn get(&self, kind: Kind) -> Option<&dyn Merge> {
        self.0.iter().find(|k| k.kind() == kind).map(AsRef::as_ref)
    }

    /// How many stages a merge has.
    #[must_use]
    pub fn stages(&self) -> u8 {
        self.0.iter().fold(0, |sum, k| sum.saturating_add(k.stages()))
    }

    /// The kind whose turn it is in `stage` (from 1), and its own number for it.
    fn at(&self, stage: u8) -> Option<(&dyn Merge, u8)> {
        let mut left = stage.checked_sub(1)?;
        for kind in self.0.iter() {
            match left.checked_sub(kind.stages()) {
                None => return Some((kind.as_ref(), left)),
                Some(rest) => left = rest,
            }
        }
        None
    }

    /// Begins to plan `stage`, counted from 1.
    #[must_use]
    pub fn planner(&self, stage: u8) -> Option<Box<dyn Planner>> {
        self.at(stage).map(|(kind, own)| kind.planner(own))
    }

    /// The uploads that a change links.
    pub fn bodies(&self, kind: Kind, change: &[u8]) -> Result<Vec<UploadId>, codec::DecodeError> {
        self.get(kind).map_or(Ok(Vec::new()), |k| k.bodies(change))
    }
}

impl fmt::Debug for Kinds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|k| k.kind())).finish()
    }
}

/// The kind [`Kind::BRANCH`].
#[derive(Clone, Debug, Default)]
pub struct MergeRules(pub Kinds);

impl Apply for MergeRules {
    fn kind(&self) -> Kind {
        Kind::BRANCH
    }

    fn apply(&self, keys: &mut dyn KeysMut, at: Position, change: &[u8]) -> Result<(), ApplyError> {
        match codec::decode("change of a merge", change)? {
            Change::Take { branch, taken, now } => take(keys, branch, taken, now),
            Change::Stage { branch, stage } => {
                let progress = progress_of(keys, branch)?;
                put_progress(keys, branch, Progress { stage, task: 0, upto: at.lsn, ..progress })
            }
            Change::Step { branch, task, now, made } => {
                let mut progress = progress_of(keys, branch)?;
                for made in made {
                    match made {
                        Made::Change(kind, change) => {
                            let rule = self.0.get(kind);
                            let rule = rule.ok_or(ApplyError::Missing("a kind that is merged"))?;
                            rule.apply(keys, Position { lsn: Lsn(0), ..at }, &change)?;
                        }
                        Made::Row(key, value) => keys.put(&key, &value)?,
                        Made::Note { object, rule, lost, original } => {
                            let note = Note { when: now, object, rule, lost, original };
                            let key = prefix(b'n', branch).u32(progress.notes).done();
                            keys.put(&key, &codec::encode(&note))?;
                            progress.notes = progress.notes.saturating_add(1);
                        }
                    }
                }
                put_progress(keys, branch, Progress { task, ..progress })
            }
            Change::Finish { branch, now } => {
                let progress = progress_of(keys, branch)?;
                put_progress(keys, branch, Progress { finished: Some(now), ..progress })
            }
            Change::Begin { branch, now } => {
                put_progress(keys, branch, Progress { began: now, ..Progress::default() })
            }
            Change::Kept { counted } => {
                for (branch, ms) in counted {
                    keys.put(&prefix(b'k', branch).done(), &ms.to_be_bytes())?;
                }
                Ok(())
            }
            Change::Forget { keys: gone } => {
                for key in gone {
                    keys.delete(&key)?;
                }
                Ok(())
            }
        }
    }
}

fn take(
    keys: &mut dyn KeysMut,
    branch: BranchId,
    all: Vec<Taken>,
    now: UnixMs,
) -> Result<(), ApplyError> {
    let progress = progress(keys, branch)?;
    let mut progress = progress.unwrap_or_else(|| Progress { began: now, ..Progress::default() });
    for taken in all {
        for (theirs, ours) in &taken.bodies {
            let address = keys.body(*ours)?.ok_or(ApplyError::Missing("a shipped body"))?;
            keys.put(&key_body(branch, *theirs), &codec::encode(&address))?;
            keys.body_done(*ours)?;
        }
        keys.put(&key_taken(branch, taken.lsn, taken.part), &codec::encode(&taken))?;
        if taken.last {
            progress.taken = progress.taken.max(taken.lsn);
        }
    }
    put_progress(keys, branch, progress)
}

fn progress_of(keys: &dyn Keys, branch: BranchId) -> Result<Progress, ApplyError> {
    Ok(progress(keys, branch)?.unwrap_or_default())
}

fn put_progress(
    keys: &mut dyn KeysMut,
    branch: BranchId,
    progress: Progress,
) -> Result<(), ApplyError> {
    Ok(keys.put(&prefix(b's', branch).done(), &codec::encode(&progress))?)
}

/// Folds our changes for a plan; see [`Planner::fold`].
pub fn fold_theirs(
    planner: &mut dyn Planner,
    keys: &dyn Keys,
    branch: BranchId,
) -> Result<(), RowError> {
    records(keys, branch, |at, kind, change| planner.fold(Side::Theirs, at, kind, change))
}

/// What merging asks of a moment: nothing but the time.
fn now(moment: Moment) -> UnixMs {
    moment.now
}
