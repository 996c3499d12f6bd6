//! Merging imports: the steps that a branch took are taken here, before all that it did to the tenant
//! afterwards. So both sides know what was imported, as if it had been there at the fork.
//!
//! Invariants: a tenant with data that does not come from the same file takes none of it: the merge
//! stands still there, and nothing is lost. A file that was imported here, too, is not taken again.

use super::{Import, ImportRules, Progress, Step, is_empty, is_local, progress};
use crate::codec::{self, DecodeError};
use crate::id::{Lsn, UploadId};
use crate::merge::{Known, Merging, key_body};
use crate::record::Kind;
use crate::rule::{ApplyError, Merge, Planner, Position, Side};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Bytes of a step that are one task, unless its first piece is longer.
const TASK_LEN: usize = 32 * 1024;

/// Pieces `from..to` of the step in the branch's record `at`.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Task {
    at: Lsn,
    file: [u8; 16],
    number: u64,
    from: u32,
    to: u32,
    last: bool,
}

#[derive(Default)]
struct Plan {
    /// Files that are whole here.
    ours: BTreeSet<[u8; 16]>,
    tasks: Vec<Task>,
}

/// The lengths of a step's pieces.
fn lengths(step: &Step) -> Vec<usize> {
    match step {
        Step::Rows(rows) => rows.iter().map(|(k, v)| k.len().saturating_add(v.len())).collect(),
        Step::Bodies(bodies) => {
            bodies.iter().map(|(_, rows)| rows.iter().map(Vec::len).sum::<usize>()).collect()
        }
        Step::Finish | Step::Merged { .. } => Vec::new(),
    }
}

impl Plan {
    fn take(&mut self, at: Lsn, import: &Import) {
        let (file, number) = (import.file, import.number);
        let (mut from, mut to, mut bytes) = (0_u32, 0_u32, 0_usize);
        for len in lengths(&import.step) {
            if to > from && bytes.saturating_add(len) > TASK_LEN {
                self.tasks.push(Task { at, file, number, from, to, last: false });
                (from, bytes) = (to, 0);
            }
            (to, bytes) = (to.saturating_add(1), bytes.saturating_add(len));
        }
        self.tasks.push(Task { at, file, number, from, to, last: true });
    }
}

impl Planner for Plan {
    fn fold(
        &mut self,
        side: Side,
        at: Position,
        kind: Kind,
        change: &[u8],
    ) -> Result<(), DecodeError> {
        if kind != Kind::IMPORT {
            return Ok(());
        }
        let import: Import = codec::decode("a step of an import", change)?;
        match side {
            Side::Ours => self.ours.extend((import.step == Step::Finish).then_some(import.file)),
            Side::Theirs => self.take(at.lsn, &import),
        }
        Ok(())
    }

    fn plan(self: Box<Self>, _known: &Known<'_>) -> Result<Vec<Vec<u8>>, ApplyError> {
        let new = self.tasks.iter().filter(|task| !self.ours.contains(&task.file));
        Ok(new.map(codec::encode).collect())
    }
}

impl Merge for ImportRules {
    fn bodies(&self, change: &[u8]) -> Result<Vec<UploadId>, DecodeError> {
        let import: Import = codec::decode("a step of an import", change)?;
        Ok(match import.step {
            Step::Bodies(bodies) => bodies.into_iter().map(|(upload, _)| upload).collect(),
            _ => Vec::new(),
        })
    }

    fn planner(&self, _stage: u8) -> Box<dyn Planner> {
        Box::new(Plan::default())
    }

    fn merge(&self, on: &mut Merging<'_>, task: &[u8]) -> Result<(), ApplyError> {
        let Task { at, file, number, from, to, last } = codec::decode("task of a merge", task)?;
        match progress(on.keys())? {
            Some(known) if known.file == file && number < known.next => return Ok(()),
            Some(known) if known == (Progress { file, next: number }) => {}
            None if number == 0 && is_empty(on.keys())? => {}
            _ => {
                return Err(ApplyError::Missing(
                    "an empty tenant for an import of the branch: it has data of its own here",
                ));
            }
        }
        let record = on.record(at)?.ok_or(ApplyError::Missing("a record of the branch"))?;
        let import: Import = codec::decode("a step of an import", &record)?;
        let (from, to) = (from as usize, to as usize);
        let step = match import.step {
            Step::Rows(mut rows) => {
                rows.truncate(to);
                let mut rows = rows.split_off(from.min(rows.len()));
                rows.retain(|(key, _)| !is_local(key));
                Step::Merged { rows, bodies: vec![], last }
            }
            Step::Bodies(mut bodies) => {
                bodies.truncate(to);
                let some = bodies.split_off(from.min(bodies.len())).into_iter();
                let bodies =
                    some.map(|(upload, rows)| (key_body(on.branch(), upload), rows)).collect();
                Step::Merged { rows: vec![], bodies, last }
            }
            Step::Finish => Step::Finish,
            // It came of a merge, so it never stands outside of one.
            Step::Merged { .. } => return Ok(()),
        };
        on.change(self, codec::encode(&Import { file, number, step }))
    }
}
