//! What a value of a property may be: RFC 8620 1.

use super::super::Map;
use crate::objects::ObjectId;
use crate::smtp::address;
use crate::time::parse_utc_date;
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
    value.is_null() || value.as_str().and_then(parse_utc_date).is_some()
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
