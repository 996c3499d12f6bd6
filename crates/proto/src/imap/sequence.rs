//! Sequence sets: parsed as the client wrote them, resolved against a mailbox, printed compactly.
//!
//! A range costs the same however wide it is: nothing here walks the numbers of a range unless the
//! mailbox really has them. Resolving sorts once; it is never quadratic.

use crate::id::Uid;

/// RFC 9051 2.3.1.2: a message's position in the session's view, from 1. Never stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeqNum(pub u32);

/// One end of a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bound {
    /// A number, never zero.
    Number(u32),
    /// `*`: the largest number in use.
    Last,
}

/// RFC 9051 9: `sequence-set`, not yet resolved; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SequenceSet(Vec<(Bound, Bound)>);

impl SequenceSet {
    /// Parses `text`; `None` when it is no sequence set.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let mut ranges = Vec::new();
        for part in text.split(|&b| b == b',') {
            let mut ends = part.split(|&b| b == b':');
            let from = bound(ends.next()?)?;
            let to = match ends.next() {
                Some(to) => bound(to)?,
                None => from,
            };
            if ends.next().is_some() {
                return None;
            }
            ranges.push((from, to));
        }
        Some(Self(ranges))
    }

    /// The numbers meant when `last` is the largest in use; with `last` zero, `*` means nothing.
    #[must_use]
    pub fn resolve(&self, last: u32) -> Ranges {
        let number = |b: Bound| match b {
            Bound::Number(n) => Some(n),
            Bound::Last if last == 0 => None,
            Bound::Last => Some(last),
        };
        let mut ranges: Vec<(u32, u32)> = self
            .0
            .iter()
            .filter_map(|&(a, b)| {
                let (a, b) = (number(a)?, number(b)?);
                Some((a.min(b), a.max(b)))
            })
            .collect();
        ranges.sort_unstable();
        let mut merged = Ranges::default();
        for (from, to) in ranges {
            merged.push(from, to);
        }
        merged
    }
}

fn bound(text: &[u8]) -> Option<Bound> {
    if text == b"*" {
        return Some(Bound::Last);
    }
    if !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    match std::str::from_utf8(text).ok()?.parse().ok()? {
        0 => None,
        n => Some(Bound::Number(n)),
    }
}

/// What a FETCH, STORE, COPY, MOVE or SEARCH names its messages by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Message sequence numbers.
    Seq(SequenceSet),
    /// Unique identifiers: the `UID` form of the command.
    Uid(SequenceSet),
}

impl Target {
    /// Whether the command is the `UID` form.
    #[must_use]
    pub fn is_uid(&self) -> bool {
        matches!(self, Self::Uid(_))
    }
}

/// Ascending, disjoint, non-adjacent inclusive ranges of numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranges(Vec<(u32, u32)>);

impl Ranges {
    /// The ranges of `numbers`, which ascend.
    #[must_use]
    pub fn of_sorted(numbers: impl IntoIterator<Item = u32>) -> Self {
        let mut ranges = Self::default();
        for n in numbers {
            ranges.push(n, n);
        }
        ranges
    }

    /// The ranges of `uids`, which ascend.
    #[must_use]
    pub fn of_uids(uids: &[Uid]) -> Self {
        Self::of_sorted(uids.iter().map(|u| u.0))
    }

    /// Adds `from..=to`, whose start is not below that of any range before it.
    fn push(&mut self, from: u32, to: u32) {
        match self.0.last_mut() {
            Some((_, end)) if from <= end.saturating_add(1) => *end = to.max(*end),
            _ => self.0.push((from, to)),
        }
    }

    /// The ranges, ascending.
    pub fn iter(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        self.0.iter().copied()
    }

    /// Whether nothing is named.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `n` is named.
    #[must_use]
    pub fn contains(&self, n: u32) -> bool {
        let after = self.0.partition_point(|&(from, _)| from <= n);
        after.checked_sub(1).and_then(|i| self.0.get(i)).is_some_and(|&(_, to)| n <= to)
    }

    /// Appends the set as text, `1:3,7`. Nothing is written for an empty one: it has no text form.
    pub fn write(&self, out: &mut Vec<u8>) {
        for (i, &(from, to)) in self.0.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            if from == to {
                put!(out, "{comma}{from}");
            } else {
                put!(out, "{comma}{from}:{to}");
            }
        }
    }
}

/// RFC 4315 3: appends uids in the order given, runs of ascending neighbours as ranges. COPYUID
/// pairs its two sets by position, so that sorting is not allowed.
pub fn write_in_order(out: &mut Vec<u8>, uids: impl Iterator<Item = Uid>) {
    let mut run: Option<(u32, u32)> = None;
    let mut first = true;
    let mut flush = |out: &mut Vec<u8>, run: (u32, u32)| {
        if !first {
            out.push(b',');
        }
        first = false;
        Ranges(vec![run]).write(out);
    };
    for Uid(uid) in uids {
        run = match run {
            Some((from, to)) if to.checked_add(1) == Some(uid) => Some((from, uid)),
            Some(done) => {
                flush(out, done);
                Some((uid, uid))
            }
            None => Some((uid, uid)),
        };
    }
    if let Some(done) = run {
        flush(out, done);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn text(ranges: &Ranges) -> String {
        let mut out = Vec::new();
        ranges.write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn sets_resolve_against_the_mailbox() {
        for (set, last, expected) in [
            ("1", 5, "1"),
            ("1:*", 5, "1:5"),
            ("*", 5, "5"),
            ("*:4", 5, "4:5"),
            ("5:1,3", 9, "1:5"),
            ("1,2,3,7", 9, "1:3,7"),
            ("*", 0, ""),
            // RFC 9051 6.4.9: 559:* always includes the last message.
            ("559:*", 10, "10:559"),
            ("1:4294967295", 3, "1:4294967295"),
            ("4294967295,4294967294", 3, "4294967294:4294967295"),
        ] {
            let set = SequenceSet::parse(set.as_bytes()).unwrap();
            assert_eq!(text(&set.resolve(last)), expected);
        }
        for bad in ["", "0", "1:", ":", "1,,2", "a", "1:2:3", "4294967296", "+1", "1 "] {
            assert_eq!(SequenceSet::parse(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn copyuid_keeps_the_order_of_the_pairs() {
        let mut out = Vec::new();
        write_in_order(&mut out, [4, 5, 6, 2, 9, 10, u32::MAX].into_iter().map(Uid));
        assert_eq!(out, b"4:6,2,9:10,4294967295");
    }

    proptest! {
        #[test]
        fn ranges_hold_exactly_what_was_put_in(numbers in prop::collection::btree_set(1u32..200, 0..50)) {
            let ranges = Ranges::of_sorted(numbers.iter().copied());
            for n in 0..201 {
                prop_assert_eq!(ranges.contains(n), numbers.contains(&n));
            }
            if !numbers.is_empty() {
                let again = SequenceSet::parse(text(&ranges).as_bytes()).unwrap().resolve(0);
                let back: BTreeSet<u32> = again.iter().flat_map(|(a, b)| a..=b).collect();
                prop_assert_eq!(back, numbers);
            }
        }

        #[test]
        fn any_bytes_parse_or_not(bytes in prop::collection::vec(prop::sample::select(b"0123456789:,*".to_vec()), 0..40), last in any::<u32>()) {
            if let Some(set) = SequenceSet::parse(&bytes) {
                let ranges = set.resolve(last);
                let mut before = None;
                for (from, to) in ranges.iter() {
                    prop_assert!(from <= to);
                    prop_assert!(before.is_none_or(|b: u32| b.saturating_add(1) < from));
                    before = Some(to);
                }
            }
        }
    }
}
