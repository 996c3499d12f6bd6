//! What messages can be asked for (RFC 8621 4.4).

use crate::id::MailboxId;
use crate::jmap::{MethodError, parse_mailbox};
use crate::mailbox::Flags;
use crate::time::{UnixMs, parse_rfc3339};
use serde_json::{Map, Value};

/// Most terms of one sort.
const SORTS_MAX: usize = 8;

/// One condition of a filter; an object with several properties is all of them ([`parse_condition`]).
#[derive(Clone, Debug, PartialEq)]
pub enum Condition {
    /// Lies in that mailbox; `None`: one that there is not.
    InMailbox(Option<MailboxId>),
    /// Lies in none of them.
    InMailboxOtherThan(Vec<MailboxId>),
    /// Came before.
    Before(UnixMs),
    /// Came at or after.
    After(UnixMs),
    /// Has at least so many bytes.
    MinSize(u64),
    /// Has fewer bytes.
    MaxSize(u64),
    /// Every message of its conversation has it.
    AllInThreadHave(Flags),
    /// At least one has.
    SomeInThreadHave(Flags),
    /// None has.
    NoneInThreadHave(Flags),
    /// Has the keyword.
    Has(Flags),
    /// Has it not.
    HasNot(Flags),
    /// Whether something is attached.
    HasAttachment(bool),
    /// Full text.
    Text(TextIn, String),
    /// A header field is there, and has the text in it.
    Header(String, Option<String>),
}

/// Where full text is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextIn {
    /// Everywhere.
    Anywhere,
    /// In From.
    From,
    /// In To.
    To,
    /// In Cc.
    Cc,
    /// In Bcc.
    Bcc,
    /// In Subject.
    Subject,
    /// In the bodies.
    Body,
}

/// One term of a sort.
#[derive(Clone, Debug, PartialEq)]
pub struct Sort {
    /// By what.
    pub by: SortBy,
    /// Least first.
    pub ascending: bool,
}

/// RFC 8621 4.4.2.
#[derive(Clone, Debug, PartialEq)]
pub enum SortBy {
    /// When it came.
    ReceivedAt,
    /// When it was sent.
    SentAt,
    /// How long it is.
    Size,
    /// The first of From.
    From,
    /// The first of To.
    To,
    /// Subject without `Re:`.
    Subject,
    /// Whether it has a keyword.
    HasKeyword(Flags),
    /// Whether all of its conversation have it.
    AllInThreadHaveKeyword(Flags),
    /// Whether one of its conversation has it.
    SomeInThreadHaveKeyword(Flags),
}

/// Reads a FilterCondition: all that it gives must hold.
///
/// # Errors
/// A property is unknown or of the wrong kind.
pub fn parse_condition(all: &Map<String, Value>) -> Result<Vec<Condition>, MethodError> {
    all.iter().filter(|(_, value)| !value.is_null()).map(|(name, value)| one(name, value)).collect()
}

fn one(name: &str, value: &Value) -> Result<Condition, MethodError> {
    let wrong = || MethodError::argument(format!("{name} is of the wrong kind"));
    let text = || value.as_str().ok_or_else(wrong);
    let date = || parse_rfc3339(text()?).ok_or_else(wrong);
    let size = || value.as_u64().ok_or_else(wrong);
    let flags = || super::keyword(text()?).ok_or_else(wrong);
    let words = |place| Ok(Condition::Text(place, text()?.to_owned()));
    Ok(match name {
        "inMailbox" => Condition::InMailbox(parse_mailbox(text()?)),
        "inMailboxOtherThan" => {
            let ids = value.as_array().ok_or_else(wrong)?;
            Condition::InMailboxOtherThan(
                ids.iter().filter_map(Value::as_str).filter_map(parse_mailbox).collect(),
            )
        }
        "before" => Condition::Before(date()?),
        "after" => Condition::After(date()?),
        "minSize" => Condition::MinSize(size()?),
        "maxSize" => Condition::MaxSize(size()?),
        "allInThreadHaveKeyword" => Condition::AllInThreadHave(flags()?),
        "someInThreadHaveKeyword" => Condition::SomeInThreadHave(flags()?),
        "noneInThreadHaveKeyword" => Condition::NoneInThreadHave(flags()?),
        "hasKeyword" => Condition::Has(flags()?),
        "notKeyword" => Condition::HasNot(flags()?),
        "hasAttachment" => Condition::HasAttachment(value.as_bool().ok_or_else(wrong)?),
        "text" => words(TextIn::Anywhere)?,
        "from" => words(TextIn::From)?,
        "to" => words(TextIn::To)?,
        "cc" => words(TextIn::Cc)?,
        "bcc" => words(TextIn::Bcc)?,
        "subject" => words(TextIn::Subject)?,
        "body" => words(TextIn::Body)?,
        "header" => {
            let parts = value.as_array().ok_or_else(wrong)?;
            let part = |at: usize| parts.get(at).and_then(Value::as_str).map(str::to_owned);
            if parts.len() > 2 {
                return Err(wrong());
            }
            Condition::Header(part(0).ok_or_else(wrong)?, part(1))
        }
        other => return Err(MethodError::UnsupportedFilter(format!("{other} is no condition"))),
    })
}

/// Reads `sort`; without one the newest come first.
///
/// # Errors
/// A term is unknown or of the wrong kind.
pub fn parse_sort(value: Option<&Value>) -> Result<Vec<Sort>, MethodError> {
    let terms = match value {
        None | Some(Value::Null) => &[][..],
        Some(value) => value
            .as_array()
            .filter(|all| all.len() <= SORTS_MAX)
            .ok_or_else(|| MethodError::argument("sort is a short list"))?,
    };
    let mut sorts = Vec::with_capacity(terms.len().saturating_add(1));
    for term in terms {
        let name = term.get("property").and_then(Value::as_str).unwrap_or_default();
        let ascending = match term.get("isAscending") {
            None | Some(Value::Null) => true,
            Some(value) => value.as_bool().ok_or_else(|| MethodError::argument("isAscending"))?,
        };
        let keyword = || {
            let name = term.get("keyword").and_then(Value::as_str).unwrap_or_default();
            super::keyword(name)
                .ok_or_else(|| MethodError::argument("a sort by a keyword names it"))
        };
        let by = match name {
            "receivedAt" => SortBy::ReceivedAt,
            "sentAt" => SortBy::SentAt,
            "size" => SortBy::Size,
            "from" => SortBy::From,
            "to" => SortBy::To,
            "subject" => SortBy::Subject,
            "hasKeyword" => SortBy::HasKeyword(keyword()?),
            "allInThreadHaveKeyword" => SortBy::AllInThreadHaveKeyword(keyword()?),
            "someInThreadHaveKeyword" => SortBy::SomeInThreadHaveKeyword(keyword()?),
            other => {
                return Err(MethodError::UnsupportedSort(format!("nothing is sorted by {other}")));
            }
        };
        sorts.push(Sort { by, ascending });
    }
    if sorts.is_empty() {
        sorts.push(Sort { by: SortBy::ReceivedAt, ascending: false });
    }
    Ok(sorts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn conditions_and_sorts_are_those_of_the_rfc() {
        let read = |value: Value| parse_condition(value.as_object().unwrap());
        let two = read(json!({ "inMailbox": "b1", "hasKeyword": "$seen", "text": null })).unwrap();
        assert_eq!(two.len(), 2);
        assert_eq!(read(json!({ "inMailbox": "x" })).unwrap(), [Condition::InMailbox(None)]);
        assert!(matches!(read(json!({ "x": 1 })), Err(MethodError::UnsupportedFilter(_))));
        assert!(matches!(
            read(json!({ "before": "today" })),
            Err(MethodError::InvalidArguments(_))
        ));
        let newest = Sort { by: SortBy::ReceivedAt, ascending: false };
        assert_eq!(parse_sort(None).unwrap(), std::slice::from_ref(&newest));
        let sort = json!([{ "property": "someInThreadHaveKeyword", "keyword": "$flagged", "isAscending": false }]);
        assert_eq!(parse_sort(Some(&sort)).unwrap().len(), 1);
        assert!(matches!(
            parse_sort(Some(&json!([{ "property": "x" }]))),
            Err(MethodError::UnsupportedSort(_))
        ));
    }
}
