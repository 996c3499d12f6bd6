//! The steps of a merge, as the leader's commands.

use super::{
    BranchId, Change, Kinds, Merging, Taken, branches, codec, now, prefix, progress, progress_of,
};
use crate::id::{Lsn, NodeId};
use crate::keys::Keys;
use crate::record::Kind;
use crate::rule::{ApplyError, Command, DecideError, Decision, Moment};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

/// Most rows that one step writes before it ends.
const STEP_ROWS_MAX: usize = 1_000;
/// Most bytes of changes that one step holds before it ends.
const STEP_BYTES_MAX: usize = 64 * 1024;
/// Most rows that one [`ForgetBranch`] removes.
const FORGET_ROWS_MAX: usize = 1_000;

/// Why a merge cannot go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MergeFault {
    /// The stage was left meanwhile.
    #[error("the merge is at another stage by now")]
    Stage,
    /// A task met rows that it does not understand.
    #[error("a task of the merge cannot be carried out: {0}")]
    Task(String),
    /// Mail of this branch may be here already, as the other's.
    #[error(
        "branch {0}, which parts at the same record, was merged here, if only in part: to merge this \
         one, too, might double mail, so an operator decides"
    )]
    Other(BranchId),
}

type Decided<A> = Result<Decision<A>, DecideError<MergeFault>>;

fn decided<A>(change: &Change, answer: A) -> Decided<A> {
    Ok(Decision { change: Some(codec::encode(change)), answer })
}

/// A merge begins, for the system's rows: from here on it is known after a restart, too. Refused when
/// another branch of the same fork was merged: they share records, and which is not known.
#[derive(Clone, Copy, Debug)]
pub struct Begin {
    /// Which branch.
    pub branch: BranchId,
}

impl Command for Begin {
    const KIND: Kind = Kind::BRANCH;
    type Answer = ();
    type Refusal = MergeFault;

    fn decide(&self, keys: &dyn Keys, moment: Moment) -> Decided<()> {
        // The system's stages come first: before the first of them nothing was merged anywhere.
        let merged = branches(keys)?.into_iter().find(|(id, progress)| {
            id.fork == self.branch.fork && *id != self.branch && progress.stage > 0
        });
        if let Some((other, _)) = merged {
            return Err(DecideError::Refused(MergeFault::Other(other)));
        }
        if progress(keys, self.branch)?.is_some() {
            return Ok(Decision { change: None, answer: () });
        }
        decided(&Change::Begin { branch: self.branch, now: now(moment) }, ())
    }
}

/// Records of the branch become durable here. Those that are here already are passed over.
#[derive(Clone, Debug)]
pub struct Take {
    /// Which branch.
    pub branch: BranchId,
    /// Its records, or pieces of them, in order; together at most 200 KiB.
    pub taken: Vec<Taken>,
}

impl Command for Take {
    const KIND: Kind = Kind::BRANCH;
    type Answer = ();
    type Refusal = MergeFault;

    fn decide(&self, keys: &dyn Keys, moment: Moment) -> Decided<()> {
        let at = progress(keys, self.branch)?.map_or(Lsn(0), |p| p.taken);
        let taken: Vec<Taken> = self.taken.iter().filter(|t| t.lsn > at).cloned().collect();
        if taken.is_empty() {
            return Ok(Decision { change: None, answer: () });
        }
        // Clients' uploads may have pushed it out meanwhile: it is shipped again.
        for (_, ours) in taken.iter().flat_map(|t| &t.bodies) {
            if keys.body(*ours)?.is_none() {
                return Err(DecideError::Refused(MergeFault::Task(
                    "a shipped body is gone".into(),
                )));
            }
        }
        decided(&Change::Take { branch: self.branch, taken, now: now(moment) }, ())
    }
}

/// A stage begins: our own changes up to here count as made on the other side.
#[derive(Clone, Copy, Debug)]
pub struct Stage {
    /// Which branch.
    pub branch: BranchId,
    /// Which stage, from 1.
    pub stage: u8,
}

impl Command for Stage {
    const KIND: Kind = Kind::BRANCH;
    type Answer = ();
    type Refusal = MergeFault;

    fn decide(&self, keys: &dyn Keys, _moment: Moment) -> Decided<()> {
        let found = progress(keys, self.branch)?.unwrap_or_default();
        if found.stage >= self.stage {
            return Ok(Decision { change: None, answer: () });
        }
        decided(&Change::Stage { branch: self.branch, stage: self.stage }, ())
    }
}

/// The next tasks are carried out, with the cursor behind them.
#[derive(Clone, Debug)]
pub struct Step {
    /// Which branch.
    pub branch: BranchId,
    /// The stage that the tasks belong to.
    pub stage: u8,
    /// All tasks of the stage.
    pub tasks: Arc<[Vec<u8>]>,
    /// The kinds.
    pub kinds: Kinds,
    /// Who leads.
    pub node: NodeId,
}

impl Command for Step {
    const KIND: Kind = Kind::BRANCH;
    /// Tasks of the stage that are done.
    type Answer = usize;
    type Refusal = MergeFault;

    fn decide(&self, keys: &dyn Keys, moment: Moment) -> Decided<usize> {
        let found = progress(keys, self.branch)?.unwrap_or_default();
        let Some((kind, _)) = self.kinds.at(self.stage).filter(|_| found.stage == self.stage)
        else {
            return Err(DecideError::Refused(MergeFault::Stage));
        };
        let mut task = found.task as usize;
        let mut on = Merging::new(keys, self.branch, self.node, found.notes);
        while let Some(next) = self.tasks.get(task)
            && on.rows.len() < STEP_ROWS_MAX
            && on.bytes < STEP_BYTES_MAX
        {
            kind.merge(&mut on, next).map_err(fault)?;
            task = task.saturating_add(1);
        }
        if task == found.task as usize {
            return Ok(Decision { change: None, answer: task });
        }
        let made = on.made;
        let next = u32::try_from(task).unwrap_or(u32::MAX);
        decided(&Change::Step { branch: self.branch, task: next, now: now(moment), made }, task)
    }
}

fn fault(e: ApplyError) -> DecideError<MergeFault> {
    match e {
        ApplyError::Keys(e) => DecideError::Keys(e),
        ApplyError::Decode(e) => DecideError::Decode(e),
        ApplyError::Missing(what) => DecideError::Refused(MergeFault::Task(what.to_owned())),
    }
}

/// All of the branch is merged.
#[derive(Clone, Copy, Debug)]
pub struct Finish {
    /// Which branch.
    pub branch: BranchId,
}

impl Command for Finish {
    const KIND: Kind = Kind::BRANCH;
    type Answer = ();
    type Refusal = MergeFault;

    fn decide(&self, keys: &dyn Keys, moment: Moment) -> Decided<()> {
        if progress_of(keys, self.branch).map_err(fault)?.finished.is_some() {
            return Ok(Decision { change: None, answer: () });
        }
        decided(&Change::Finish { branch: self.branch, now: now(moment) }, ())
    }
}

/// What is kept of merged branches goes, but for the fact that they were merged, once it was kept for
/// longer than `kept`: counted while somebody led, not by the date, which may jump. What was `seen` is
/// counted; repeat with nothing seen while it answers that something was done: then rows go.
#[derive(Clone, Copy, Debug)]
pub struct ForgetBranch {
    /// The time that has passed since this was done last.
    pub seen: Duration,
    /// How long it is kept.
    pub kept: Duration,
}

impl Command for ForgetBranch {
    const KIND: Kind = Kind::BRANCH;
    /// Rows that were written or went.
    type Answer = usize;
    type Refusal = MergeFault;

    fn decide(&self, keys: &dyn Keys, _moment: Moment) -> Decided<usize> {
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let (seen, kept) = (ms(self.seen), ms(self.kept));
        let (mut counted, mut gone) = (Vec::new(), Vec::new());
        for (branch, progress) in branches(keys)? {
            if progress.finished.is_none() {
                continue;
            }
            let had = keys.get(&prefix(b'k', branch).done())?;
            let had = had.and_then(|row| codec::u64_at(&row, 0)).unwrap_or(0);
            if seen == 0 && had <= kept {
                continue;
            }
            // To count it is enough that there is something.
            let most = if seen == 0 { FORGET_ROWS_MAX } else { gone.len().saturating_add(1) };
            let before = gone.len();
            // The count goes last: it says that the others may.
            for sub in *b"crumnok" {
                let (from, to) = prefix(sub, branch).range();
                keys.scan(&from, &to, &mut |key, _| {
                    if gone.len() >= most {
                        return ControlFlow::Break(());
                    }
                    gone.push(key.to_vec());
                    ControlFlow::Continue(())
                })?;
            }
            if seen > 0 && gone.len() > before {
                counted.push((branch, had.saturating_add(seen)));
            }
        }
        if seen > 0 && !counted.is_empty() {
            let count = counted.len();
            return decided(&Change::Kept { counted }, count);
        }
        if seen > 0 || gone.is_empty() {
            return Ok(Decision { change: None, answer: 0 });
        }
        let count = gone.len();
        decided(&Change::Forget { keys: gone }, count)
    }
}
