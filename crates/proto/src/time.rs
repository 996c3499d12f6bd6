//! Two clocks, never mixed: [`UnixMs`] for what people and other systems read, [`Mono`] for timers; and the
//! calendar.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Wall-clock time in milliseconds since 1970-01-01 UTC. May jump; never used for safety.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct UnixMs(pub u64);

/// Monotonic time in microseconds since an arbitrary start (`CLOCK_BOOTTIME` in the appliance).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Mono(pub u64);

impl Mono {
    /// The moment `delay` from here; saturates at the end of time.
    #[must_use]
    pub fn after(self, delay: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(delay.as_micros()).unwrap_or(u64::MAX)))
    }

    /// Time passed since `earlier`; zero when `earlier` lies ahead.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

/// Days since 1970-01-01 as year, month and day of the Gregorian calendar: years of 400 and eras that begin
/// on 1 March, so that the leap day comes last (H. Hinnant, "chrono-compatible low-level date algorithms").
#[must_use]
pub fn civil(days: i64) -> (i64, i64, i64) {
    let z = days.saturating_add(719_468);
    let (era, of_era) = (z.div_euclid(146_097), z.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let m = (5 * of_year + 2) / 153;
    let month = if m < 10 { m + 3 } else { m - 9 };
    let year = era.saturating_mul(400) + year_of_era + i64::from(month <= 2);
    (year, month, of_year - (153 * m + 2) / 5 + 1)
}

/// The other way round; the month is one of 1 to 12.
#[must_use]
pub fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// How many days a month (1 to 12) has.
#[must_use]
pub fn month_len(year: i64, month: i64) -> i64 {
    let leap = year.rem_euclid(4) == 0 && (year.rem_euclid(100) != 0 || year.rem_euclid(400) == 0);
    match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// `2026-07-27T12:00:00.123Z` (RFC 3339, UTC).
#[must_use]
pub fn rfc3339(at: UnixMs) -> String {
    format!("{}.{:03}Z", date_time(at, 0), at.0 % 1_000)
}

/// `2026-07-27T12:00:00Z` (RFC 8620 1.4).
#[must_use]
pub fn utc_date(at: UnixMs) -> String {
    format!("{}Z", date_time(at, 0))
}

/// `2026-07-27T14:00:00+02:00`: by a clock that is so many minutes ahead of UTC.
#[must_use]
pub fn zoned_date(at: UnixMs, zone_minutes: i16) -> String {
    let sign = if zone_minutes < 0 { '-' } else { '+' };
    let (h, m) = (zone_minutes.unsigned_abs() / 60, zone_minutes.unsigned_abs() % 60);
    format!("{}{sign}{h:02}:{m:02}", date_time(at, zone_minutes))
}

fn date_time(at: UnixMs, zone_minutes: i16) -> String {
    let seconds = i64::try_from(at.0 / 1_000).unwrap_or(i64::MAX);
    let seconds = seconds.saturating_add(i64::from(zone_minutes) * 60);
    let (year, month, day) = civil(seconds.div_euclid(86_400));
    let second = seconds.rem_euclid(86_400);
    let (h, m, s) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}")
}

/// Reads an RFC 3339 date and time; `None` for what is none, or lies before 1970.
#[must_use]
pub fn parse_rfc3339(text: &str) -> Option<UnixMs> {
    let number = |from: usize, to: usize| -> Option<i64> {
        let digits = text.get(from..to)?;
        digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok())?
    };
    let mark = |at: usize, marks: &str| text.get(at..=at).is_some_and(|c| marks.contains(c));
    let marks = [(4, "-"), (7, "-"), (10, "Tt "), (13, ":"), (16, ":")];
    if !marks.iter().all(|(at, marks)| mark(*at, marks)) {
        return None;
    }
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (h, m, s) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    if !(1..=12).contains(&month) || !(1..=month_len(year, month)).contains(&day) {
        return None;
    }
    if h > 23 || m > 59 || s > 60 {
        return None;
    }
    let (mut zone, mut ms) = (text.get(19..)?, 0);
    if let Some(rest) = zone.strip_prefix('.') {
        let len = rest.bytes().take_while(u8::is_ascii_digit).count();
        let digits = format!("{:0<3}", rest.get(..len.min(3))?);
        ms = if len == 0 { return None } else { digits.parse().ok()? };
        zone = rest.get(len..)?;
    }
    let ahead = match zone.as_bytes() {
        b"Z" | b"z" => 0,
        [sign @ (b'+' | b'-'), _, _, b':', _, _] => {
            let at = text.len() - 5;
            let minutes = number(at, at + 2)? * 60 + number(at + 3, at + 5)?;
            if *sign == b'-' { -minutes } else { minutes }
        }
        _ => return None,
    };
    let seconds = days(year, month, day) * 86_400 + h * 3_600 + m * 60 + s - ahead * 60;
    Some(UnixMs(u64::try_from(seconds).ok()?.checked_mul(1_000)?.checked_add(ms)?))
}

/// Reads a UTCDate (RFC 8620 1.4): `2014-10-30T06:12:00Z`, with a fraction that is not zero or none.
#[must_use]
pub fn parse_utc_date(text: &str) -> Option<UnixMs> {
    let fraction = text.get(19..)?.strip_suffix('Z')?;
    let digits = fraction.strip_prefix('.');
    let fits =
        fraction.is_empty() || digits.is_some_and(|d| d.len() <= 9 && d.bytes().any(|b| b != b'0'));
    let strict = text.get(10..11) == Some("T") && text.get(17..19) != Some("60");
    if fits && strict { parse_rfc3339(text) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_709_251_200_000, "2024-03-01T00:00:00.000Z"),
            (4_107_542_399_001, "2100-02-28T23:59:59.001Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (1_785_153_600_123, "2026-07-27T12:00:00.123Z"),
        ] {
            assert_eq!(rfc3339(UnixMs(ms)), text);
            assert_eq!(parse_rfc3339(text), Some(UnixMs(ms)));
        }
        assert_eq!(zoned_date(UnixMs(1_785_153_600_123), -210), "2026-07-27T08:30:00-03:30");
        assert_eq!(parse_rfc3339("2026-07-27T08:30:00-03:30"), Some(UnixMs(1_785_153_600_000)));
        assert_eq!(parse_rfc3339("2026-07-27t12:00:00.5z"), Some(UnixMs(1_785_153_600_500)));
        for wrong in [
            "",
            "2026-02-29T00:00:00Z",
            "2026-07-27T12:00:00",
            "2026-07-27T12:00:00.Z",
            "2026-07-27T24:00:00Z",
            "1969-12-31T00:00:00Z",
            "2026-07-27T12:00:00+0200",
            "2026-07-27T12:00:0ÄZ",
        ] {
            assert_eq!(parse_rfc3339(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn only_rfc_8620_dates_are_utc_dates() {
        assert_eq!(parse_utc_date("2014-10-30T06:12:00Z"), Some(UnixMs(1_414_649_520_000)));
        assert_eq!(parse_utc_date("1970-01-01T00:00:00.25Z"), Some(UnixMs(250)));
        assert!(parse_utc_date("2024-02-29T00:00:00Z").is_some());
        for bad in [
            "2014-10-30T14:12:00+08:00",
            "2014-10-30t06:12:00Z",
            "2014-10-30 06:12:00Z",
            "2014-10-30T06:12:00z",
            "2014-10-30T06:12:60Z",
            "2014-10-30T06:12:00.000Z",
            "2014-10-30T06:12:00.Z",
            "2014-10-30T06:12:00.1234567891Z",
            "2014-10-30T06:12Z",
            "2023-02-29T00:00:00Z",
            "2014-13-01T00:00:00Z",
            "2014-10-30T24:00:00Z",
            "2014-10-30",
            "2014-10-30T06:12:0\u{e9}",
            "",
        ] {
            assert_eq!(parse_utc_date(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn days_come_back(day in -700_000i64..3_000_000) {
            let (year, month, of_month) = civil(day);
            prop_assert_eq!(days(year, month, of_month), day);
            prop_assert!((1..=month_len(year, month)).contains(&of_month));
        }

        #[test]
        fn dates_come_back(seconds in 0u64..253_402_300_800) {
            let at = UnixMs(seconds * 1_000);
            prop_assert_eq!(parse_utc_date(&utc_date(at)), Some(at));
        }

        #[test]
        fn any_text_is_a_date_or_none(text in "[0-9TZ:.+äx-]{0,30}|[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]{0,14}Z") {
            prop_assert!(parse_rfc3339(&text).is_none() || text.len() >= 20);
            prop_assert!(parse_utc_date(&text).is_none() || parse_rfc3339(&text).is_some());
        }
    }
}
