//! Merging objects: what one side did counts; of two versions the later one, and what lost is noted;
//! removed against changed, it survives (docs/design/merge.md).
//!
//! Two stages: first the counters of every type that the branch touched go above both sides', then
//! its objects are merged, and what ours did since the fork is told again, above both. So whoever
//! follows from any state of either side ends with what is there. Invariant: JSON is in no task and in
//! no change of a merge, but where it was put: two long objects would not fit into one record.

use super::apply::{Change, Did, ObjectsRules, Version, bodies};
use super::rows::{self, key_object};
use super::{ObjectId, ObjectType};
use crate::codec::{self, DecodeError};
use crate::id::{AccountId, Lsn, ModSeq, UploadId};
use crate::mailbox::{self, ACCOUNTS};
use crate::merge::{Known, Merging};
use crate::record::Kind;
use crate::rule::{ApplyError, Merge, Planner, Position, Side};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Rules, as notes name them.
const LATER: &str = "changed on both sides: the later one";
const SURVIVES: &str = "removed on one side, changed on the other: survives";
const NOWHERE: &str = "its account is nowhere any more";
/// Most objects that one task tells of: each comes to a row.
const TOLD_MAX: usize = 500;

type Of = (AccountId, ObjectType);

/// What one side did to an object.
#[derive(Clone, Copy, Debug, Default)]
struct Trace {
    /// It came on this side.
    new: bool,
    /// Where its last version is; `None` where it is gone.
    put: Option<(Lsn, u32)>,
    /// The last change.
    at: Lsn,
}

/// What one side did to a type.
#[derive(Default)]
struct Touched {
    last: ModSeq,
    objects: BTreeMap<ObjectId, Trace>,
}

#[derive(Default)]
struct Plan {
    stage: u8,
    ours: BTreeMap<Of, Touched>,
    theirs: BTreeMap<Of, Touched>,
}

/// Accounts are the branch's.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Task {
    Raise {
        of: Of,
        modseq: ModSeq,
    },
    /// `put`: where the branch's last version is; `None`: it is gone there. `ours`: our side changed
    /// or removed it since the fork.
    Object {
        of: Of,
        id: ObjectId,
        at: Lsn,
        put: Option<u32>,
        ours: bool,
    },
    /// Objects of ours, and whether they came since the fork.
    Tell {
        of: Of,
        ids: Vec<(ObjectId, bool)>,
    },
}

impl Planner for Plan {
    fn fold(
        &mut self,
        side: Side,
        at: Position,
        kind: Kind,
        change: &[u8],
    ) -> Result<(), DecodeError> {
        if kind != Kind::OBJECTS {
            return Ok(());
        }
        let Some(did) = Did::of(change)? else { return Ok(()) };
        let all = match side {
            Side::Ours => &mut self.ours,
            Side::Theirs => &mut self.theirs,
        };
        let touched = all.entry((did.account, did.object_type)).or_default();
        let count = u64::try_from(did.puts.len().saturating_add(did.gone.len()));
        let last = did.first.0.saturating_add(count.unwrap_or(u64::MAX)).saturating_sub(1);
        touched.last = touched.last.max(ModSeq(last));
        for (n, put) in (0..).zip(did.puts) {
            let first = Trace { new: put.created == put.updated, ..Trace::default() };
            let trace = touched.objects.entry(put.id).or_insert(first);
            (trace.put, trace.at) = (Some((at.lsn, n)), at.lsn);
        }
        for id in did.gone {
            let trace = touched.objects.entry(id).or_default();
            (trace.put, trace.at) = (None, at.lsn);
        }
        Ok(())
    }

    fn plan(self: Box<Self>, known: &Known<'_>) -> Result<Vec<Vec<u8>>, ApplyError> {
        let Self { stage, ours, theirs } = *self;
        let mut tasks = Vec::new();
        for (of, touched) in theirs {
            if stage == 0 {
                tasks.push(Task::Raise { of, modseq: touched.last });
                continue;
            }
            let account = known.number(ACCOUNTS, &of.0.0.to_be_bytes(), of.0.0)?;
            let here = ours.get(&(AccountId(account), of.1));
            for (id, trace) in touched.objects {
                // What came and went on the branch is nobody's.
                if trace.new && trace.put.is_none() {
                    continue;
                }
                let ours = here.is_some_and(|here| here.objects.contains_key(&id));
                let put = trace.put.map(|(_, n)| n);
                tasks.push(Task::Object { of, id, at: trace.at, put, ours });
            }
            let told: Vec<_> = here
                .iter()
                .flat_map(|here| here.objects.iter().map(|(id, t)| (id.clone(), t.new)))
                .collect();
            if of.1.is_followed() {
                tasks.extend(told.chunks(TOLD_MAX).map(|ids| Task::Tell { of, ids: ids.to_vec() }));
            }
        }
        Ok(tasks.iter().map(codec::encode).collect())
    }
}

impl Merge for ObjectsRules {
    fn bodies(&self, change: &[u8]) -> Result<Vec<UploadId>, DecodeError> {
        bodies(change)
    }

    fn stages(&self) -> u8 {
        2
    }

    fn planner(&self, stage: u8) -> Box<dyn Planner> {
        Box::new(Plan { stage, ..Plan::default() })
    }

    fn merge(&self, on: &mut Merging<'_>, task: &[u8]) -> Result<(), ApplyError> {
        match codec::decode("task of a merge", task)? {
            Task::Raise { of, modseq } => {
                let (account, object_type) = here(on, of)?;
                make(on, &Change::Raise { account, object_type, modseq })
            }
            Task::Object { of, id, at, put, ours } => {
                let of = here(on, of)?;
                meet(on, of, id, (at, put, ours))
            }
            Task::Tell { of, ids } => {
                let (account, object_type) = here(on, of)?;
                let first = next(on, (account, object_type))?;
                make(on, &Change::Tell { account, object_type, first, ids })
            }
        }
    }
}

fn make(on: &mut Merging<'_>, change: &Change) -> Result<(), ApplyError> {
    on.change(&ObjectsRules, codec::encode(change))
}

/// The branch's account by our number.
fn here(on: &Merging<'_>, (account, object_type): Of) -> Result<Of, ApplyError> {
    let same = account.0;
    Ok((AccountId(on.known().number(ACCOUNTS, &same.to_be_bytes(), same)?), object_type))
}

fn next(on: &Merging<'_>, (account, object_type): Of) -> Result<ModSeq, ApplyError> {
    Ok(rows::state(on.keys(), account, object_type)?.modseq.next())
}

/// One object that the branch changed or removed meets ours, as it is now.
fn meet(
    on: &mut Merging<'_>,
    of: Of,
    id: ObjectId,
    (at, put, ours): (Lsn, Option<u32>, bool),
) -> Result<(), ApplyError> {
    let (account, object_type) = of;
    let what = format!("account {account}: {} {id}", object_type.name());
    if mailbox::account_state(on.keys(), account)?.is_none() {
        on.note(what, NOWHERE, "the object".to_owned(), at);
        return Ok(());
    }
    let now = rows::object(on.keys(), account, object_type, &id)?;
    let ours = ours || on.changed(&key_object(account, object_type, &id))?.is_some();
    let modseq = next(on, of)?;
    let branch = on.branch();
    let adopt = |n| {
        let from = Version { branch, lsn: at, n };
        Change::Adopt { account, object_type, modseq, from }
    };
    let gone = |gone| {
        let when = crate::time::UnixMs(0);
        Change::Set { account, object_type, first: modseq, puts: vec![], gone, when }
    };
    match (now, put) {
        (None, None) => Ok(()),
        (Some(_), None) if !ours => make(on, &gone(vec![id])),
        (Some(_), None) => {
            on.note(what, SURVIVES, "its removal".to_owned(), at);
            Ok(())
        }
        (None, Some(n)) => {
            if ours {
                let undo = (Kind::OBJECTS, codec::encode(&gone(vec![id])));
                on.note_ours(what, SURVIVES, "its removal".to_owned(), undo);
            }
            make(on, &adopt(n))
        }
        (Some(_), Some(n)) if !ours => make(on, &adopt(n)),
        (Some(now), Some(n)) => {
            let theirs = Version { branch, lsn: at, n }.read(on.keys())?;
            let order = (now.updated, &now.json).cmp(&(theirs.updated, &theirs.json));
            // What is nobody's text is not listed: how far mail was answered, and whom.
            let said = |json: &str| object_type.is_followed().then(|| said(json));
            if order.is_lt() && said(&now.json).is_none() {
                return make(on, &adopt(n));
            }
            if order.is_lt() {
                let row = on.original_row();
                let (id, lost) = (id.clone(), said(&now.json).unwrap_or_default());
                make(on, &Change::Keep { account, object_type, id, row })?;
                on.note(what, LATER, lost, Lsn(0));
                return make(on, &adopt(n));
            }
            if let (true, Some(lost)) = (order.is_gt(), said(&theirs.json)) {
                on.note(what, LATER, lost, at);
            }
            // A client of the branch may hold its version under the modseq that ours has.
            make(on, &Change::Touch { account, object_type, modseq, id })
        }
    }
}

/// What a note says of a version: enough to know it by. All of it is kept elsewhere.
fn said(json: &str) -> String {
    const LEN: usize = 100;
    json.chars().take(LEN).collect()
}
