//! Dates of RFC 9051 section 9: `date` (SEARCH) and `date-time` (APPEND, INTERNALDATE).
//!
//! Times are kept in UTC; INTERNALDATE is always written with the zone `+0000`.

use crate::time::{self, UnixMs};

/// A day: days since 1970-01-01, negative before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Day(pub i64);

const MS_PER_DAY: u64 = 86_400_000;
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

impl Day {
    /// The day, in UTC, on which `time` lies.
    #[must_use]
    pub fn of(time: UnixMs) -> Self {
        Self(i64::try_from(time.0 / MS_PER_DAY).unwrap_or(i64::MAX))
    }

    /// The day of a calendar date; `None` when there is no such day.
    #[must_use]
    pub fn from_civil(year: u32, month: u32, day: u32) -> Option<Self> {
        if !(1..=12).contains(&month)
            || day == 0
            || i64::from(day) > time::month_len(i64::from(year), i64::from(month))
            || year > 9999
        {
            return None;
        }
        Some(Self(time::days(i64::from(year), i64::from(month), i64::from(day))))
    }

    /// Year, month and day of the month.
    fn civil(self) -> (i64, i64, i64) {
        time::civil(self.0)
    }
}

/// Parses `1-Feb-1994`.
#[must_use]
pub fn parse_date(text: &str) -> Option<Day> {
    let mut parts = text.split('-');
    let day = digits(parts.next()?.trim_start_matches(' '), 1, 2)?;
    let month = parts.next()?;
    let month = MONTHS.iter().position(|m| m.eq_ignore_ascii_case(month))?;
    let year = digits(parts.next()?, 4, 4)?;
    if parts.next().is_some() {
        return None;
    }
    Day::from_civil(year, u32::try_from(month).ok()? + 1, day)
}

/// Parses `17-Jul-1996 02:44:25 -0700` (a leading space may stand for the day's first digit).
/// Times before 1970 become 1970: no mail is older.
#[must_use]
pub fn parse_date_time(text: &str) -> Option<UnixMs> {
    let mut parts = text.trim_start_matches(' ').split(' ');
    let day = parse_date(parts.next()?)?;
    let mut clock = parts.next()?.split(':');
    let hour = digits(clock.next()?, 2, 2).filter(|h| *h < 24)?;
    let minute = digits(clock.next()?, 2, 2).filter(|m| *m < 60)?;
    let second = digits(clock.next()?, 2, 2).filter(|s| *s <= 60)?;
    let (sign, zone) = parts.next()?.split_at_checked(1)?;
    let zone = digits(zone, 4, 4)?;
    if clock.next().is_some() || parts.next().is_some() || zone % 100 > 59 {
        return None;
    }
    let offset = i64::from(zone / 100 * 60 + zone % 100) * 60;
    let offset = match sign {
        "+" => offset,
        "-" => -offset,
        _ => return None,
    };
    let seconds = day.0 * 86_400 + i64::from(hour * 3600 + minute * 60 + second) - offset;
    Some(UnixMs(u64::try_from(seconds).unwrap_or(0).saturating_mul(1000)))
}

/// Appends `time` as a quoted `date-time`.
pub fn write_date_time(out: &mut Vec<u8>, time: UnixMs) {
    let (year, month, day) = Day::of(time).civil();
    let seconds = time.0 % MS_PER_DAY / 1000;
    let month = usize::try_from(month - 1).ok().and_then(|m| MONTHS.get(m)).unwrap_or(&"Jan");
    let (h, m, s) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    put!(out, "\"{day:2}-{month}-{year:04} {h:02}:{m:02}:{s:02} +0000\"");
}

fn digits(text: &str, min: usize, max: usize) -> Option<u32> {
    if text.len() < min || text.len() > max || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn dates_are_read_as_the_rfc_writes_them() {
        assert_eq!(parse_date("1-Jan-1970"), Some(Day(0)));
        assert_eq!(parse_date("01-Feb-1994"), Some(Day(8797)));
        assert_eq!(parse_date("29-feb-2000"), Some(Day(11016)));
        for bad in
            ["29-Feb-2001", "31-Apr-2020", "0-Jan-2020", "1-Foo-2020", "1-Jan-20", "1-Jan-2020-"]
        {
            assert_eq!(parse_date(bad), None, "{bad}");
        }
        assert_eq!(parse_date_time("17-Jul-1996 02:44:25 -0700"), Some(UnixMs(837_596_665_000)));
        assert_eq!(parse_date_time(" 1-Jan-1970 01:00:00 +0100"), Some(UnixMs(0)));
        for bad in
            ["17-Jul-1996 02:44:25", "17-Jul-1996 24:00:00 +0000", "17-Jul-1996 02:44:25 0700", ""]
        {
            assert_eq!(parse_date_time(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn every_time_comes_back(seconds in 0u64..253_402_300_800) {
            let mut out = Vec::new();
            write_date_time(&mut out, UnixMs(seconds * 1000));
            let text = String::from_utf8(out).unwrap();
            prop_assert_eq!(text.len(), 28);
            prop_assert_eq!(parse_date_time(text.trim_matches('"')), Some(UnixMs(seconds * 1000)));
        }

        #[test]
        fn any_text_parses_or_not(text in ".{0,40}") {
            prop_assert!(parse_date_time(&text).is_none_or(|t| t.0 % 1000 == 0));
        }
    }
}
