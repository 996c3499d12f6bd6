//! The count: what was accepted against what is there.
//!
//! A message that got its 250 must be there exactly once, in its recipient's mailbox. A transaction
//! whose answer never came is open: its message may be there or not, but not twice. Nothing else
//! may be there at all. Both appliances must hold the same mailboxes, UID by UID.

use crate::desk::Seen;
use crate::imap::Item;
use crate::mime::{self, Person};
use crate::stream::Records;
use std::collections::BTreeMap;

/// A copy of the mailboxes, as one appliance serves them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Copy {
    /// Each person's INBOX.
    pub(crate) mailboxes: BTreeMap<Person, Vec<Item>>,
}

/// What the count of one copy found. Numbers of messages, ascending.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Accepted and there exactly once.
    pub(crate) once: usize,
    /// Accepted and not there.
    pub(crate) missing: Vec<u32>,
    /// There more than once, accepted or not.
    pub(crate) double: Vec<u32>,
    /// There, though never accepted nor open, or in somebody else's mailbox.
    pub(crate) strange: Vec<String>,
    /// Never accepted, open, and there once.
    pub(crate) open_there: usize,
}

impl Verdict {
    /// Whether nothing is lost, double or strange.
    pub(crate) fn is_good(&self) -> bool {
        self.missing.is_empty() && self.double.is_empty() && self.strange.is_empty()
    }
}

/// What the stream has to answer for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    /// Messages that got their 250.
    pub(crate) accepted: usize,
    /// Transactions whose answer never came.
    pub(crate) open: u32,
    /// Messages that had such a transaction and got their 250 at a later attempt.
    pub(crate) open_then_accepted: usize,
    /// Messages that had such a transaction and never got a 250.
    pub(crate) open_for_good: usize,
    /// Messages that were refused for good.
    pub(crate) rejected: usize,
    /// Messages that were given up without ever being taken.
    pub(crate) given_up: usize,
}

/// Sums the books up.
pub(crate) fn totals(records: &Records) -> Totals {
    let mut t = Totals::default();
    for r in records.values() {
        t.open = t.open.saturating_add(r.open);
        let (accepted, open) = (r.accepted.is_some(), r.open > 0);
        t.accepted += usize::from(accepted);
        t.open_then_accepted += usize::from(accepted && open);
        t.open_for_good += usize::from(!accepted && open);
        t.rejected += usize::from(r.rejected.is_some());
        t.given_up += usize::from(!accepted && !open && r.rejected.is_none());
    }
    t
}

/// Holds a copy against the books.
pub(crate) fn judge(records: &Records, copy: &Copy) -> Verdict {
    let mut verdict = Verdict::default();
    let mut there: BTreeMap<u32, u32> = BTreeMap::new();
    for (person, items) in &copy.mailboxes {
        for item in items {
            match item.number {
                None => verdict.strange.push(format!("UID {} of {}", item.uid, person.address)),
                Some(n) if mime::recipient(n) != *person => {
                    verdict.strange.push(format!("message {n} in {}", person.address));
                }
                Some(n) => *there.entry(n).or_default() += 1,
            }
        }
    }
    for (n, record) in records {
        let times = there.remove(n).unwrap_or_default();
        match (record.accepted.is_some(), record.open > 0, times) {
            (true, _, 0) => verdict.missing.push(*n),
            (true, _, 1) => verdict.once += 1,
            (false, true, 1) => verdict.open_there += 1,
            (false, _, 0) => {}
            (false, false, 1) => verdict.strange.push(format!("message {n}, never accepted")),
            (_, _, _) => verdict.double.push(*n),
        }
    }
    verdict.strange.extend(there.keys().map(|n| format!("message {n}, never sent")));
    verdict
}

/// What the reader saw and `copy` does not have, or has under another UID.
pub(crate) fn vanished(seen: &Seen, items: &[Item]) -> Vec<u32> {
    let there: BTreeMap<u32, Option<u32>> = items.iter().map(|i| (i.uid, i.number)).collect();
    let lost = seen.messages.iter().filter(|(uid, number)| there.get(uid) != Some(number));
    lost.map(|(uid, _)| *uid).collect()
}

/// `n` messages of a mailbox, spread evenly.
pub(crate) fn sample(items: &[Item], n: usize) -> Vec<Item> {
    let step = items.len().div_ceil(n.max(1)).max(1);
    items.iter().copied().step_by(step).collect()
}

/// Whether a stored message is what was sent: our trace header may stand before it, nothing else
/// may differ (RFC 5321 4.4, RFC 5322 3.6.7).
pub(crate) fn is_what_was_sent(stored: &[u8], n: u32) -> bool {
    let sent = mime::message(n);
    let Some(trace) = stored.strip_suffix(sent.as_bytes()) else { return false };
    let trace = String::from_utf8_lossy(trace);
    let mut lines = trace.split_terminator("\r\n");
    let first = lines.next().unwrap_or_default();
    let header =
        |l: &str| ["Received:", "Return-Path:", "Delivered-To:"].iter().any(|h| l.starts_with(h));
    header(first)
        && trace.ends_with("\r\n")
        && lines.all(|l| header(l) || l.starts_with([' ', '\t']))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::now;
    use crate::stream::Record;

    fn records(accepted: &[u32], open: &[u32]) -> Records {
        let mut records = Records::new();
        for n in accepted {
            records.entry(*n).or_default().accepted = Some(now());
        }
        for n in open {
            records.entry(*n).or_default().open = 1;
        }
        records
    }

    fn copy(numbers: &[u32]) -> Copy {
        let mut copy = Copy::default();
        for (uid, n) in (1..).zip(numbers) {
            let mailbox = copy.mailboxes.entry(mime::recipient(*n)).or_default();
            mailbox.push(Item { uid, number: Some(*n) });
        }
        copy
    }

    #[test]
    fn accepted_once_is_good() {
        let verdict = judge(&records(&[1, 2, 3], &[]), &copy(&[3, 1, 2]));
        assert!(verdict.is_good());
        assert_eq!(verdict.once, 3);
    }

    #[test]
    fn accepted_must_be_there_and_not_twice() {
        let verdict = judge(&records(&[1, 2], &[]), &copy(&[1, 1]));
        assert_eq!((verdict.missing.clone(), verdict.double.clone()), (vec![2], vec![1]));
        assert!(!verdict.is_good());
    }

    #[test]
    fn open_may_be_there_or_not_but_not_twice() {
        assert!(judge(&records(&[], &[1]), &copy(&[])).is_good());
        let once = judge(&records(&[], &[1]), &copy(&[1]));
        assert!(once.is_good());
        assert_eq!(once.open_there, 1);
        assert_eq!(judge(&records(&[], &[1]), &copy(&[1, 1])).double, vec![1]);
        // Open at first, accepted at the second attempt: then it is like any other.
        assert!(judge(&records(&[1], &[1]), &copy(&[1])).is_good());
        assert_eq!(judge(&records(&[1], &[1]), &copy(&[1, 1])).double, vec![1]);
    }

    #[test]
    fn nothing_else_is_there() {
        assert_eq!(judge(&records(&[], &[]), &copy(&[5])).strange.len(), 1);
        let mut refused = Records::new();
        refused.insert(5, Record::default());
        assert_eq!(judge(&refused, &copy(&[5])).strange.len(), 1);
        let [ada, grace] = mime::PEOPLE;
        let mut other = Copy::default();
        other.mailboxes.insert(ada, vec![Item { uid: 1, number: None }]);
        other.mailboxes.insert(grace, vec![Item { uid: 1, number: Some(1) }]);
        let verdict = judge(&records(&[1], &[]), &other);
        assert_eq!((verdict.strange.len(), verdict.missing.len()), (2, 1));
    }

    #[test]
    fn the_books_are_summed() {
        let mut books = records(&[1, 2], &[2, 3]);
        books.entry(4).or_default().rejected = Some("550".into());
        books.entry(5).or_default();
        let t = totals(&books);
        assert_eq!((t.accepted, t.open, t.open_then_accepted), (2, 2, 1));
        assert_eq!((t.open_for_good, t.rejected, t.given_up), (1, 1, 1));
    }

    #[test]
    fn only_trace_headers_may_stand_before_a_message() {
        let sent = mime::message(3);
        let good = format!("Return-Path: <a@b>\r\nReceived: from x\r\n\tby y\r\n{sent}");
        assert!(is_what_was_sent(good.as_bytes(), 3));
        assert!(!is_what_was_sent(good.as_bytes(), 4));
        assert!(!is_what_was_sent(sent.as_bytes(), 3));
        assert!(!is_what_was_sent(format!("X: y\r\n{sent}").as_bytes(), 3));
        assert!(!is_what_was_sent(format!("Received: x\r\n\r\n{sent}").as_bytes(), 3));
        assert!(!is_what_was_sent(format!("Received: x\r\n{sent}.").as_bytes(), 3));
    }

    #[test]
    fn what_was_seen_is_looked_for() {
        let mut seen = Seen::default();
        seen.messages.insert(1, Some(11));
        seen.messages.insert(2, Some(12));
        let items = [Item { uid: 1, number: Some(11) }, Item { uid: 2, number: Some(13) }];
        assert_eq!(vanished(&seen, &items), vec![2]);
    }

    #[test]
    fn a_sample_is_spread() {
        let items: Vec<Item> = (1..=100).map(|uid| Item { uid, number: Some(uid) }).collect();
        let uids: Vec<u32> = sample(&items, 20).iter().map(|i| i.uid).collect();
        assert_eq!((uids.len(), uids.first(), uids.last()), (20, Some(&1), Some(&96)));
        assert_eq!(sample(&items[..3], 20).len(), 3);
    }
}
