//! What a value of a property may be: RFC 8620 1.

use super::super::Map;
use crate::objects::ObjectId;
use crate::smtp::address;
use crate::time::UnixMs;
use serde_json::Value;

/// Longest text of one property in bytes; signatures and answers are the longest.
const TEXT_LEN_MAX: usize = 64 * 1024;
/// Longest name in bytes: RFC 9610 2 says so of address books.
const NAME_LEN_MAX: usize = 255;
/// Most addresses in one list.
const ADDRESSES_MAX: usize = 100;
/// Largest number that all JSON parsers agree on (RFC 8620 1.3).
const INT_MAX: u64 = (1 << 53) - 1;

pub(super) fn text(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.len() <= TEXT_LEN_MAX)
}

pub(super) fn text_or_null(value: &Value) -> bool {
    value.is_null() || text(value)
}

/// One line for people, perhaps empty.
pub(super) fn line(value: &Value) -> bool {
    let fine = |text: &str| text.len() <= NAME_LEN_MAX && !text.chars().any(char::is_control);
    value.as_str().is_some_and(fine)
}

pub(super) fn line_or_null(value: &Value) -> bool {
    value.is_null() || line(value)
}

pub(super) fn name(value: &Value) -> bool {
    line(value) && value.as_str().is_some_and(|text| !text.trim().is_empty())
}

pub(super) fn boolean(value: &Value) -> bool {
    value.is_boolean()
}

pub(super) fn unsigned(value: &Value) -> bool {
    value.as_u64().is_some_and(|n| n <= INT_MAX)
}

pub(super) fn date_or_null(value: &Value) -> bool {
    value.is_null() || value.as_str().and_then(utc_date).is_some()
}

pub(super) fn null(value: &Value) -> bool {
    value.is_null()
}

/// An address as it stands in a header and an envelope; a wildcard (`*@`) is none.
pub(super) fn email(value: &Value) -> bool {
    value.as_str().is_some_and(|text| address::is_mailbox(text) && !text.starts_with("*@"))
}

/// RFC 8621 4.1.2.3: `EmailAddress[]`, or null.
pub(super) fn addresses_or_null(value: &Value) -> bool {
    let one = |one: &Value| {
        let Some(one) = one.as_object() else { return false };
        let known = one.keys().all(|key| key == "name" || key == "email");
        known && one.get("name").is_none_or(line_or_null) && one.get("email").is_some_and(email)
    };
    value.is_null()
        || value.as_array().is_some_and(|all| all.len() <= ADDRESSES_MAX && all.iter().all(one))
}

/// RFC 8620 1.2.
pub(super) fn is_id(text: &str) -> bool {
    ObjectId::parse(text).is_some()
}

/// A set: each member true.
pub(super) fn set_of(value: &Value, most: usize, member: impl Fn(&str) -> bool) -> bool {
    let all = |all: &Map| all.len() <= most && all.iter().all(|(k, v)| v == true && member(k));
    value.as_object().is_some_and(all)
}

/// RFC 8620 1.4: `2014-10-30T06:12:00Z`, with a fraction that is not zero or none.
#[must_use]
pub fn utc_date(text: &str) -> Option<UnixMs> {
    let bytes = text.as_bytes();
    let shape = b"dddd-dd-ddTdd:dd:dd";
    let fits = |(b, s): (&u8, &u8)| if *s == b'd' { b.is_ascii_digit() } else { b == s };
    if bytes.len() < shape.len() || !bytes.iter().zip(shape).all(fits) {
        return None;
    }
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<u64>().ok();
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    let fraction = match text.get(19..)?.strip_suffix('Z')? {
        "" => 0,
        rest => {
            let digits = rest.strip_prefix('.')?;
            let all = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
            if !all || digits.len() > 9 || digits.bytes().all(|b| b == b'0') {
                return None;
            }
            digits.chars().chain("00".chars()).take(3).collect::<String>().parse().ok()?
        }
    };
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = match month {
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        1..=12 => 31,
        _ => return None,
    };
    if !(1..=length).contains(&day) || hour > 23 || minute > 59 || second > 59 || year < 1970 {
        return None;
    }
    // Days from civil, with years that start in March, so that the leap day is a year's last.
    let shifted = if month > 2 { year } else { year - 1 };
    let (era, of_era) = (shifted / 400, shifted % 400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    Some(UnixMs((((days * 24 + hour) * 60 + minute) * 60 + second) * 1_000 + fraction))
}

/// A time as RFC 8620 1.4 writes it, to the second.
#[must_use]
pub fn utc_text(at: UnixMs) -> String {
    // `Tue, 14 Nov 2023 22:13:20 +0000`: all that is left to do is to put it in order.
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let text = crate::smtp::trace::date(at);
    let mut words = text.split(' ').skip(1);
    let mut next = || words.next().unwrap_or_default();
    let (day, month, year, clock) = (next(), next(), next(), next());
    let month = MONTHS.iter().position(|name| *name == month).unwrap_or(0).saturating_add(1);
    format!("{year}-{month:02}-{day}T{clock}Z")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_rfc_8620_dates_are_dates() {
        assert_eq!(utc_date("2014-10-30T06:12:00Z"), Some(UnixMs(1_414_649_520_000)));
        assert_eq!(utc_date("1970-01-01T00:00:00.25Z"), Some(UnixMs(250)));
        assert!(utc_date("2024-02-29T00:00:00Z").is_some());
        for bad in [
            "2014-10-30T14:12:00+08:00",
            "2014-10-30t06:12:00Z",
            "2014-10-30T06:12:00z",
            "2014-10-30T06:12:00.000Z",
            "2014-10-30T06:12:00.Z",
            "2014-10-30T06:12Z",
            "2023-02-29T00:00:00Z",
            "2014-13-01T00:00:00Z",
            "2014-10-30T24:00:00Z",
            "2014-10-30",
            "2014-10-30T06:12:0\u{e9}",
            "",
        ] {
            assert_eq!(utc_date(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn dates_come_back(seconds in 0u64..253_402_300_800) {
            let at = UnixMs(seconds * 1_000);
            prop_assert_eq!(utc_date(&utc_text(at)), Some(at));
        }

        #[test]
        fn any_text_is_a_date_or_none(text in "\\PC{0,30}|[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]{0,14}Z") {
            let _either = utc_date(&text);
        }
    }
}
