//! Carrying a tenant from one pair to another: its rows and bodies as ordinary changes.
//!
//! A tenant that arrives is filled step by step ([`Kind::IMPORT`]): rows first, without the places of
//! their bodies, then bodies. A row of its own (`~import`) says how far it is, so that each step
//! happens once however often it is tried. Invariants: only a tenant without rows is begun; steps are
//! taken in order; the last one removes the row. A branch's import is merged by taking its steps here
//! (`merge`). Absent: which tenant, domains (the system's view) and
//! the file (src/directory/carry).

mod merge;

use crate::codec::{self, DecodeError};
use crate::directory::Account;
use crate::id::UploadId;
use crate::keys::{BodyAddress, Keys, KeysMut};
use crate::mailbox::{Email, RowError};
use crate::objects::Object;
use crate::queue::Item;
use crate::record::Kind;
use crate::rule::{Apply, ApplyError, Command, DecideError, Decision, Moment, Position};
use serde::{Deserialize, Serialize};
use std::ops::ControlFlow;

/// The row that says how far an import is.
pub const KEY_IMPORT: &[u8] = b"~import";
/// Above every key of a tenant's view.
const KEY_END: &[u8] = &[0xff];

/// A row: key and value.
pub type Row = (Vec<u8>, Vec<u8>);

/// How far an import is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Which file it comes from.
    pub file: [u8; 16],
    /// The step that comes next.
    pub next: u64,
}

/// What a step does.
///
/// Variants may only be added at the end ([`crate::codec`]).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// Puts rows, as [`split`] left them.
    Rows(Vec<Row>),
    /// Gives rows the body of an upload.
    Bodies(Vec<(UploadId, Vec<Vec<u8>>)>),
    /// The tenant is whole.
    Finish,
    /// Part of a step that a branch took, merged: rows, and rows (first of each pair) that have the
    /// address of a body for rows. The step is whole with its `last` part.
    Merged { rows: Vec<Row>, bodies: Vec<(Vec<u8>, Vec<Vec<u8>>)>, last: bool },
}

/// A step of an import. The answer is the step that comes next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Import {
    /// Which file it comes from.
    pub file: [u8; 16],
    /// Which step of it, from 0.
    pub number: u64,
    /// What it does.
    pub step: Step,
}

/// Why a step is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImportRefusal {
    /// There is something that does not come from this file.
    #[error("the tenant has data of its own")]
    NotEmpty,
    /// A step before it is missing.
    #[error("step {0} of the import comes next")]
    Order(u64),
}

/// How far an import into this view is; `None` where none is under way.
pub fn progress(keys: &dyn Keys) -> Result<Option<Progress>, RowError> {
    Ok(keys.get(KEY_IMPORT)?.map(|v| codec::decode("an import", &v)).transpose()?)
}

/// Whether a row means something in its own pair only: how far an import is, what branches had
/// ([`crate::merge`]), what is kept for a merge (`g`, `G`, `f`: their bodies lie in its packs), and
/// the epoch of a gap (`J`: here it would hide that none was left).
#[must_use]
pub fn is_local(key: &[u8]) -> bool {
    is_forged(key) || matches!(key.first(), Some(b'g' | b'G' | b'f' | b'J'))
}

/// Whether no file has such a row; others of [`is_local`] are in files of older versions, and stay
/// behind.
#[must_use]
pub fn is_forged(key: &[u8]) -> bool {
    key == KEY_IMPORT || key.first() == Some(&b'B')
}

/// Whether the view has no row, but for what branches had.
pub fn is_empty(keys: &dyn Keys) -> Result<bool, RowError> {
    let mut empty = true;
    for (from, to) in [(&[][..], &b"B"[..]), (b"C", KEY_END)] {
        keys.scan(from, to, &mut |_, _| {
            empty = false;
            ControlFlow::Break(())
        })?;
    }
    Ok(empty)
}

/// Takes the place of a body out of a row: it means nothing in another store. `None` where the row
/// names no body.
pub fn split(key: &[u8], value: &[u8]) -> Result<Option<(Vec<u8>, BodyAddress)>, DecodeError> {
    match key.first() {
        Some(b'e') => {
            let mut email: Email = codec::decode("email", value)?;
            let body = std::mem::take(&mut email.body);
            Ok(Some((codec::encode(&email), body)))
        }
        Some(b'q') => {
            let mut item: Item = codec::decode("queue item", value)?;
            let body = std::mem::take(&mut item.body);
            Ok(Some((codec::encode(&item), body)))
        }
        Some(b'o') => {
            let mut object: Object = codec::decode("object", value)?;
            let Some(body) = object.body.as_mut().map(|b| std::mem::take(&mut b.address)) else {
                return Ok(None);
            };
            Ok(Some((codec::encode(&object), body)))
        }
        _ => Ok(None),
    }
}

/// A row as a tenant has it whose domains are other ones, by `.suffix` at their end: accounts and
/// addresses bear the longer names, all else stays.
pub fn renamed(suffix: &str, (mut key, value): Row) -> Result<Row, DecodeError> {
    match key.first() {
        Some(b'a') => {
            let account: Account = codec::decode("an account", &value)?;
            let address = format!("{}.{suffix}", account.address);
            Ok((key, codec::encode(&Account { address, ..account })))
        }
        Some(b'x') => {
            key.push(b'.');
            key.extend_from_slice(suffix.as_bytes());
            Ok((key, value))
        }
        _ => Ok((key, value)),
    }
}

/// Puts a body's place into a row that [`split`] took one out of.
fn join(key: &[u8], value: &[u8], body: BodyAddress) -> Result<Vec<u8>, ApplyError> {
    match key.first() {
        Some(b'e') => {
            let email: Email = codec::decode("email", value)?;
            Ok(codec::encode(&Email { body, ..email }))
        }
        Some(b'q') => {
            let item: Item = codec::decode("queue item", value)?;
            Ok(codec::encode(&Item { body, ..item }))
        }
        Some(b'o') => {
            let mut object: Object = codec::decode("object", value)?;
            let file = object.body.as_mut().ok_or(ApplyError::Missing("an object with a file"))?;
            file.address = body;
            Ok(codec::encode(&object))
        }
        _ => Err(ApplyError::Missing("a row that has a body")),
    }
}

impl Command for Import {
    const KIND: Kind = Kind::IMPORT;
    type Answer = u64;
    type Refusal = ImportRefusal;

    fn decide(
        &self,
        keys: &dyn Keys,
        _moment: Moment,
    ) -> Result<Decision<u64>, DecideError<ImportRefusal>> {
        let refuse = |why| Err(DecideError::Refused(why));
        match progress(keys)? {
            Some(at) if at.file != self.file => return refuse(ImportRefusal::NotEmpty),
            Some(at) if self.number < at.next => {
                return Ok(Decision { change: None, answer: at.next });
            }
            Some(at) if self.number > at.next => return refuse(ImportRefusal::Order(at.next)),
            Some(_) => {}
            None if !is_empty(keys)? => return refuse(ImportRefusal::NotEmpty),
            None if self.number != 0 => return refuse(ImportRefusal::Order(0)),
            None => {}
        }
        let answer = self.number.saturating_add(1);
        let mut import = self.clone();
        if let Step::Rows(rows) = &mut import.step {
            rows.retain(|(key, _)| !is_local(key));
        }
        Ok(Decision { change: Some(codec::encode(&import)), answer })
    }
}

/// The kind [`Kind::IMPORT`].
#[derive(Clone, Copy, Debug, Default)]
pub struct ImportRules;

impl Apply for ImportRules {
    fn kind(&self) -> Kind {
        Kind::IMPORT
    }

    fn apply(
        &self,
        keys: &mut dyn KeysMut,
        _at: Position,
        change: &[u8],
    ) -> Result<(), ApplyError> {
        let import: Import = codec::decode("a step of an import", change)?;
        let mut next = import.number.saturating_add(1);
        match import.step {
            Step::Rows(rows) => {
                for (key, value) in rows {
                    keys.put(&key, &value)?;
                }
            }
            Step::Bodies(bodies) => {
                for (upload, rows) in bodies {
                    let body = keys.body(upload)?.ok_or(ApplyError::Missing("an upload"))?;
                    give_body(keys, &body, rows)?;
                    keys.body_done(upload)?;
                }
            }
            Step::Merged { rows, bodies, last } => {
                for (key, value) in rows {
                    keys.put(&key, &value)?;
                }
                for (at, rows) in bodies {
                    let at = keys.get(&at)?.ok_or(ApplyError::Missing("a shipped body"))?;
                    let body: BodyAddress = codec::decode("address of a body", &at)?;
                    give_body(keys, &body, rows)?;
                }
                next = import.number.saturating_add(u64::from(last));
            }
            Step::Finish => return Ok(keys.delete(KEY_IMPORT)?),
        }
        Ok(keys.put(KEY_IMPORT, &codec::encode(&Progress { file: import.file, next }))?)
    }
}

fn give_body(
    keys: &mut dyn KeysMut,
    body: &BodyAddress,
    rows: Vec<Vec<u8>>,
) -> Result<(), ApplyError> {
    for key in rows {
        let row = keys.get(&key)?.ok_or(ApplyError::Missing("an imported row"))?;
        keys.put(&key, &join(&key, &row, body.clone())?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{AccountId, Epoch, Lsn, QueueId};
    use crate::keys::{BodyPart, MemKeys};
    use crate::time::UnixMs;

    const FILE: [u8; 16] = [7; 16];

    fn take(keys: &mut MemKeys, number: u64, step: Step) -> Result<u64, ImportRefusal> {
        let moment = Moment { now: UnixMs(0), random: [0; 32], fork: Epoch(0) };
        let decision = match (Import { file: FILE, number, step }).decide(keys, moment) {
            Ok(decision) => decision,
            Err(DecideError::Refused(why)) => return Err(why),
            Err(e) => panic!("{e}"),
        };
        if let Some(change) = decision.change {
            let at = Position { lsn: Lsn(1), epoch: Epoch(1) };
            ImportRules.apply(keys, at, &change).unwrap();
        }
        Ok(decision.answer)
    }

    fn item() -> Item {
        Item {
            id: QueueId(3),
            from: String::new(),
            to: vec!["x@example.net".into()],
            account: Some(AccountId(1)),
            body: BodyAddress { parts: vec![BodyPart { pack: 9, ..BodyPart::default() }] },
            size: 5,
            created: UnixMs(1),
            next: UnixMs(2),
            attempts: 1,
            reason: "later".into(),
        }
    }

    #[test]
    fn steps_are_taken_once_and_in_order() {
        let mut keys = MemKeys::default();
        let (key, value) = (b"q\0\0\0\0\0\0\0\x03".to_vec(), codec::encode(&item()));
        let (bare, body) = split(&key, &value).unwrap().unwrap();
        assert_eq!(body, item().body);
        assert_eq!(split(b"a", b"anything").unwrap(), None);
        let rows = Step::Rows(vec![(b"a".to_vec(), b"1".to_vec()), (key.clone(), bare)]);
        assert_eq!(take(&mut keys, 1, rows.clone()), Err(ImportRefusal::Order(0)));
        assert_eq!(take(&mut keys, 0, rows.clone()), Ok(1));
        assert_eq!(take(&mut keys, 0, Step::Finish), Ok(1), "known already: nothing happens");
        let upload = UploadId([1; 16]);
        let here = BodyAddress { parts: vec![BodyPart { pack: 2, ..BodyPart::default() }] };
        keys.bodies.insert(upload, here.clone());
        assert_eq!(take(&mut keys, 1, Step::Bodies(vec![(upload, vec![key.clone()])])), Ok(2));
        assert_eq!(take(&mut keys, 3, Step::Finish), Err(ImportRefusal::Order(2)));
        assert_eq!(progress(&keys).unwrap(), Some(Progress { file: FILE, next: 2 }));
        assert_eq!(take(&mut keys, 2, Step::Finish), Ok(3));
        let found: Item = codec::decode("queue item", &keys.rows[&key]).unwrap();
        assert_eq!(found, Item { body: here, ..item() });
        assert!(keys.bodies.is_empty() && keys.rows.len() == 2);
        assert_eq!(take(&mut keys, 0, rows), Err(ImportRefusal::NotEmpty));
    }

    #[test]
    fn what_belongs_to_another_pair_stays_behind() {
        let mut keys = MemKeys::default();
        let row = |key: &[u8]| (key.to_vec(), b"1".to_vec());
        let local = [&b"J\0\0\0\x01\0\0\0\x01"[..], b"g\0", b"G\0", b"f\0", b"B\0", KEY_IMPORT];
        assert!(local.iter().all(|key| is_local(key)) && !is_local(b"N\0"));
        let mut rows: Vec<Row> = local.iter().map(|key| row(key)).collect();
        rows.push(row(b"a"));
        assert_eq!(take(&mut keys, 0, Step::Rows(rows)), Ok(1));
        assert_eq!(take(&mut keys, 1, Step::Finish), Ok(2));
        assert_eq!(keys.rows.into_keys().collect::<Vec<_>>(), [b"a".to_vec()]);
    }

    #[test]
    fn another_files_import_is_not_gone_on_with() {
        let mut keys = MemKeys::default();
        let other = Progress { file: [8; 16], next: 4 };
        keys.rows.insert(KEY_IMPORT.to_vec(), codec::encode(&other));
        assert_eq!(take(&mut keys, 4, Step::Finish), Err(ImportRefusal::NotEmpty));
    }
}
