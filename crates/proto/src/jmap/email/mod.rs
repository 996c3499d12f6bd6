//! What an Email is (RFC 8621 4): its properties from rows, header and parts.
//!
//! Invariants: any message has all properties; names of properties are those of RFC 8621, anything else is
//! no property. Deliberately absent: building messages, and fetching them (src/web/jmap).

mod body;
mod header;
mod query;

pub use body::{Bodies, BodyPart, DEFAULT_PART_PROPERTIES, part_value, parts};
pub use header::{Form, HeaderProperty, addresses, form, group_addresses};
pub use query::{Condition, Sort, SortBy, TextIn, parse_condition, parse_sort};

use crate::mailbox::Flags;
use serde_json::{Map, Value, json};

/// How many of [`DEFAULT_PROPERTIES`], the first ones, are an Email's metadata (RFC 8621 4.1.1).
pub const METADATA: usize = 7;
/// RFC 8621 4.2: what `Email/get` gives where the client names nothing.
pub const DEFAULT_PROPERTIES: [&str; 24] = [
    "id",
    "blobId",
    "threadId",
    "mailboxIds",
    "keywords",
    "size",
    "receivedAt",
    "messageId",
    "inReplyTo",
    "references",
    "sender",
    "from",
    "to",
    "cc",
    "bcc",
    "replyTo",
    "subject",
    "sentAt",
    "hasAttachment",
    "preview",
    "bodyValues",
    "textBody",
    "htmlBody",
    "attachments",
];

/// RFC 8621 4.1.1: what IMAP's flags are called here. `\Deleted` has no name: it is not seen.
const SYSTEM: [(u8, &str); 4] = [
    (Flags::SEEN, "$seen"),
    (Flags::ANSWERED, "$answered"),
    (Flags::FLAGGED, "$flagged"),
    (Flags::DRAFT, "$draft"),
];

/// Flags as `keywords`.
#[must_use]
pub fn keywords(flags: &Flags) -> Value {
    let mut all = Map::new();
    for (bit, name) in SYSTEM {
        if flags.has(bit) {
            all.insert(name.to_owned(), json!(true));
        }
    }
    for keyword in &flags.keywords {
        all.insert(keyword.to_ascii_lowercase(), json!(true));
    }
    Value::Object(all)
}

/// One keyword as flags; `None` for what is no keyword (RFC 8621 4.1.1).
#[must_use]
pub fn keyword(name: &str) -> Option<Flags> {
    let lower = name.to_ascii_lowercase();
    if let Some((bit, _)) = SYSTEM.iter().find(|(_, system)| *system == lower) {
        return Some(Flags::system(*bit));
    }
    let is_atom = |b: u8| (0x21..=0x7e).contains(&b) && !b"(){]%*\"\\".contains(&b);
    if lower.is_empty() || lower.len() > 255 || !lower.bytes().all(is_atom) {
        return None;
    }
    let mut flags = Flags::default();
    flags.add_keyword(&lower);
    Some(flags)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keywords_are_flags_by_other_names() {
        let mut flags = Flags::system(Flags::SEEN | Flags::DELETED);
        flags.add_keyword("$Forwarded");
        assert_eq!(keywords(&flags), json!({ "$seen": true, "$forwarded": true }));
        assert_eq!(keyword("$SEEN"), Some(Flags::system(Flags::SEEN)));
        assert!(keyword("$forwarded").unwrap().has_keyword("$Forwarded"));
        for wrong in ["", "a b", "ä", "a(", "\\seen"] {
            assert_eq!(keyword(wrong), None, "{wrong}");
        }
    }
}
