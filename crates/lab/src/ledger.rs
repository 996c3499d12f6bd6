//! The books, kept over a whole run: what each UID of each mailbox ever named.
//!
//! After each round the mailboxes are read from the primary. What was accepted before the reading
//! began must be there exactly once; what was there before must be there still, under its UID. (The
//! answer to a sender is given at the commit, and readers are shown it a moment later: they ask again.)
//! Only new messages are read anew, so that a long run stays linear. A pair that was split and
//! merged may give a message another UID, above all others; no UID names two messages even then.

use crate::imap::{Item, Reader};
use crate::mime::{self, PEOPLE, Person};
use crate::net::{self, Host};
use crate::stage::Access;
use crate::stream::Records;
use crate::{Result, fail, now, pause, wait_for};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How long a server may need to list everything.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long signing in may fail.
const SIGN_IN_MAX: Duration = Duration::from_secs(15);
/// How long what was accepted may be invisible, on a machine with much else to do.
const VISIBLE_WITHIN: Duration = Duration::from_secs(5);
/// Pause before the mailboxes are read again.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// One mailbox.
#[derive(Clone, Debug, Default)]
struct Folio {
    validity: Option<u32>,
    /// Whom each UID names.
    named: BTreeMap<u32, Option<u32>>,
    /// Whom each UID named that is gone.
    gone: BTreeMap<u32, Option<u32>>,
}

/// All of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger {
    folios: BTreeMap<Person, Folio>,
    merged: bool,
}

impl Ledger {
    /// An empty one; of a pair that may be split and merged, or not.
    pub(crate) fn new(merged: bool) -> Self {
        Self { merged, ..Self::default() }
    }

    /// Reads the mailboxes and holds them against `records`, which were taken before. Gives what is
    /// wrong.
    ///
    /// # Errors
    /// They cannot be read.
    pub(crate) fn check(&mut self, access: &Access, records: &Records) -> Result<Vec<String>> {
        let end = now() + VISIBLE_WITHIN;
        let mut wrong = self.read(access)?;
        while self.lacks(records) && now() < end {
            pause(LOOK_AGAIN)?;
            wrong.extend(self.read(access)?);
        }
        wrong.extend(self.judge(records));
        Ok(wrong)
    }

    /// Whether something that was accepted was not seen yet.
    fn lacks(&self, records: &Records) -> bool {
        let seen: BTreeSet<u32> = self
            .folios
            .values()
            .flat_map(|folio| folio.named.values())
            .flatten()
            .copied()
            .collect();
        records.iter().any(|(n, r)| r.accepted.is_some() && !seen.contains(n))
    }

    fn read(&mut self, access: &Access) -> Result<Vec<String>> {
        let (access, mut ledger) = (access.clone(), std::mem::take(self));
        let thread = net::thread(Host::Client, "ledger", move || {
            let mut wrong = Vec::new();
            for (person, password) in PEOPLE.iter().zip(&access.passwords) {
                let mut reader = sign_in(&access, person.address, password)?;
                let folio = ledger.folios.entry(*person).or_default();
                wrong.extend(folio.read(&mut reader, person.address, ledger.merged)?);
            }
            Ok((ledger, wrong))
        })?;
        let (ledger, wrong) = net::join(thread)??;
        *self = ledger;
        Ok(wrong)
    }

    fn judge(&self, records: &Records) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut there: BTreeMap<u32, u32> = BTreeMap::new();
        for (person, folio) in &self.folios {
            for (uid, number) in &folio.named {
                match number {
                    Some(n) if mime::recipient(*n) == *person => {
                        *there.entry(*n).or_default() += 1;
                    }
                    _ => wrong.push(format!("UID {uid} of {} is strange", person.address)),
                }
            }
        }
        for (n, times) in &there {
            if *times > 1 {
                wrong.push(format!("message {n} is there {times} times"));
            }
        }
        let accepted = records.iter().filter(|(_, r)| r.accepted.is_some());
        for (n, _) in accepted.filter(|(n, _)| !there.contains_key(n)) {
            wrong.push(format!("message {n} was accepted and is missing"));
        }
        let refused = records.iter().filter_map(|(n, r)| Some((n, r.rejected.as_ref()?)));
        wrong.extend(refused.map(|(n, why)| format!("message {n} was refused: {why}")));
        wrong
    }
}

impl Folio {
    fn read(&mut self, reader: &mut Reader, name: &str, merged: bool) -> Result<Vec<String>> {
        let mut wrong = Vec::new();
        let validity = reader.uid_validity();
        let before = *self.validity.get_or_insert(validity);
        if before != validity {
            wrong.push(format!("{name}: UIDVALIDITY went from {before} to {validity}"));
        }
        let next = self.named.last_key_value().map_or(1, |(uid, _)| uid.saturating_add(1));
        let shown = reader.uids()?;
        let items = reader.items(next)?;
        let gone = self.named.extract_if(.., |uid, _| merged && !shown.contains(uid));
        self.gone.extend(gone.collect::<Vec<_>>());
        wrong.extend(self.enter(next, &shown, &items).into_iter().map(|w| format!("{name}: {w}")));
        Ok(wrong)
    }

    /// Enters what is new; gives what changed among the old.
    fn enter(&mut self, next: u32, shown: &BTreeSet<u32>, items: &[Item]) -> Vec<String> {
        let mut wrong: Vec<String> = Vec::new();
        for uid in self.named.keys().filter(|uid| !shown.contains(uid)) {
            wrong.push(format!("UID {uid} was there and is gone"));
        }
        for uid in shown.range(..next).filter(|uid| !self.named.contains_key(uid)) {
            wrong.push(format!("UID {uid} came below UIDs that were there"));
        }
        for item in items {
            let entered = *self.named.entry(item.uid).or_insert(item.number);
            let before = self.gone.get(&item.uid).copied().unwrap_or(entered);
            if before != item.number {
                wrong.push(format!("UID {} was {before:?} and is {:?}", item.uid, item.number));
            }
        }
        wrong
    }
}

fn sign_in(access: &Access, name: &str, password: &str) -> Result<Reader> {
    let (mut reader, mut last) = (None, String::new());
    let signed_in = wait_for("sign in", SIGN_IN_MAX, || {
        match Reader::open(&access.tls, name, password, PATIENCE) {
            Ok(session) => reader = Some(session),
            Err(e) => last = e.to_string(),
        }
        Ok(reader.is_some())
    });
    match (signed_in, reader) {
        (Ok(()), Some(reader)) => Ok(reader),
        _ => fail(format!("{name} cannot sign in: {last}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(uid: u32, number: u32) -> Item {
        Item { uid, number: Some(number) }
    }

    #[test]
    fn what_was_there_stays() {
        let mut folio = Folio::default();
        assert!(folio.enter(1, &[1, 2].into(), &[item(1, 11), item(2, 12)]).is_empty());
        // RFC 9051: from a UID past the end, the last message comes.
        assert!(folio.enter(3, &[1, 2].into(), &[item(2, 12)]).is_empty());
        assert_eq!(folio.clone().enter(3, &[2].into(), &[item(2, 12)]).len(), 1);
        assert_eq!(folio.clone().enter(3, &[1, 2].into(), &[item(2, 13)]).len(), 1);
        folio.named.remove(&1);
        assert_eq!(folio.enter(3, &[1, 2].into(), &[]).len(), 1);
    }

    #[test]
    fn accepted_is_there_once() {
        let [ada, _] = PEOPLE;
        let ledger = |items: &[Item]| {
            let mut folio = Folio::default();
            folio.enter(1, &items.iter().map(|i| i.uid).collect(), items);
            Ledger { folios: [(ada, folio)].into(), merged: false }
        };
        let mut records = Records::new();
        records.entry(1).or_default().accepted = Some(now());
        assert!(ledger(&[item(1, 1)]).judge(&records).is_empty());
        // Something that came after the books were taken is fine.
        assert!(ledger(&[item(1, 1), item(2, 2)]).judge(&records).is_empty());
        assert_eq!(ledger(&[]).judge(&records).len(), 1);
        assert_eq!(ledger(&[item(1, 1), item(2, 1)]).judge(&records).len(), 1);
        // Grace's, in Ada's mailbox.
        assert_eq!(ledger(&[item(1, 1), item(2, 3)]).judge(&records).len(), 1);
    }
}
