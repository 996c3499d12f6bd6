//! RFC 5322 3.3 dates, with the obsolete forms of 4.3: when a message says that it was sent.
//!
//! Deliberately absent: writing dates, and guessing at what is no such date.

use crate::time::{self, UnixMs};

/// Longest value in bytes that is looked at.
const DATE_LEN_MAX: usize = 256;
const MONTHS: [&[u8]; 12] = [
    b"jan", b"feb", b"mar", b"apr", b"may", b"jun", b"jul", b"aug", b"sep", b"oct", b"nov", b"dec",
];

/// A moment and the clock by which it was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Date {
    /// The moment.
    pub at: UnixMs,
    /// How far that clock was ahead of UTC, in minutes.
    pub zone_minutes: i16,
}

/// Reads the value of a Date field. `None` when it is no date, or one before 1970.
#[must_use]
pub fn parse(value: &[u8]) -> Option<Date> {
    let plain = super::header::without_comments(value.get(..DATE_LEN_MAX).unwrap_or(value));
    let mut words =
        plain.split(|b| b.is_ascii_whitespace() || *b == b',').filter(|w| !w.is_empty()).peekable();
    if words.peek()?.iter().all(u8::is_ascii_alphabetic) {
        words.next(); // The day of the week says nothing new.
    }
    let day = number(words.next()?, 1, 2)?;
    let name = words.next()?.get(..3)?.to_ascii_lowercase();
    let month = i64::try_from(MONTHS.iter().position(|m| **m == name)?).ok()? + 1;
    let year = words.next()?;
    // RFC 5322 4.3: two digits below 50 mean this century; other short years the last one.
    let year = match (number(year, 2, 5)?, year.len()) {
        (y @ 0..=49, 2) => y + 2000,
        (y, 2 | 3) => y + 1900,
        (y, _) => y,
    };
    let mut clock = words.next()?.split(|b| *b == b':');
    let hour = number(clock.next()?, 1, 2)?;
    let minute = number(clock.next()?, 1, 2)?;
    let second = clock.next().map_or(Some(0), |s| number(s, 1, 2))?;
    if !(1..=time::month_len(year, month)).contains(&day) || hour > 23 || minute > 59 || second > 60
    {
        return None;
    }
    let zone = words.next().map_or(Some(0), zone)?;
    let seconds = ((time::days(year, month, day) * 24 + hour) * 60 + minute - zone) * 60 + second;
    let at = UnixMs(u64::try_from(seconds).ok()?.saturating_mul(1_000));
    Some(Date { at, zone_minutes: i16::try_from(zone).ok()? })
}

fn number(digits: &[u8], least: usize, most: usize) -> Option<i64> {
    if !(least..=most).contains(&digits.len()) || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(digits.iter().fold(0, |n, d| n * 10 + i64::from(d - b'0')))
}

/// Minutes ahead of UTC.
fn zone(word: &[u8]) -> Option<i64> {
    if let Some((sign @ (b'+' | b'-'), digits)) = word.split_first() {
        let n = number(digits, 4, 4)?;
        let minutes = n / 100 * 60 + n % 100;
        return (n % 100 < 60).then_some(if *sign == b'-' { -minutes } else { minutes });
    }
    // RFC 5322 4.3: the names of North America; every other name means -0000.
    let hours = match word.to_ascii_uppercase().as_slice() {
        b"EDT" => -4,
        b"EST" | b"CDT" => -5,
        b"CST" | b"MDT" => -6,
        b"MST" | b"PDT" => -7,
        b"PST" => -8,
        _ => 0,
    };
    Some(hours * 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn dates_in_all_their_forms() {
        let s = |v: &str| parse(v.as_bytes()).map(|d| (d.at.0 / 1000, d.zone_minutes));
        assert_eq!(s("Fri, 21 Nov 1997 09:55:06 -0600"), Some((880_127_706, -360)));
        assert_eq!(s(" 21 Nov 97 09:55:06 GMT"), Some((880_106_106, 0)));
        assert_eq!(s("Thu,\r\n 13\r\n Feb\r\n 1969 23:32 -0330 (Newfoundland)"), None);
        assert_eq!(s("Tue, 29 Feb 2000 00:00 +0130"), Some((951_777_000, 90)));
        assert_eq!(s("Fri (x \\) (y)), 1 Jan 2021 00:00:60 EST"), Some((1_609_477_260, -300)));
        assert_eq!(s("1 Jan 70 00:00:00 Z"), Some((0, 0)));
        assert_eq!(s("1 January 2024 1:02:03"), Some((1_704_070_923, 0)));
        assert_eq!(s("30 Feb 2024 00:00:00 +0000"), None);
        assert_eq!(s("1 Jan 2024 24:00:00 +0000"), None);
        assert_eq!(s("1 Jan 2024 00:00:00 +00:00"), None);
        assert_eq!(s("yesterday"), None);
        assert_eq!(s(""), None);
    }

    proptest! {
        #[test]
        fn anything_may_stand_there(v in prop::collection::vec(any::<u8>(), 0..80)) {
            prop_assert!(parse(&v).is_none_or(|d| d.zone_minutes.abs() < 6_000));
        }
    }
}
