//! Writers of responses: each appends one response, or one piece of one, to the session's buffer.
//!
//! The session flushes the buffer between calls; nothing here formats what grows with a mailbox in
//! one go, and message bytes never pass through. Strings are quoted where that is legal and literals
//! where not (RFC 9051 9); mailbox names go out in modified UTF-7.

use super::command::StatusItem;
use super::date::write_date_time;
use super::fetch::{Label, Section, What};
use super::list::{List, Row};
use super::name;
use super::search::Returns;
use super::sequence::{Ranges, SeqNum, write_in_order};
use crate::id::Uid;
use crate::mailbox::{Flags, Role};
use crate::time::UnixMs;

/// How a command ended, or the kind of an untagged status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Done.
    Ok,
    /// Not done.
    No,
    /// Not understood.
    Bad,
    /// The session ends.
    Bye,
}

impl Status {
    fn word(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::No => "NO",
            Self::Bad => "BAD",
            Self::Bye => "BYE",
        }
    }
}

/// RFC 9051 7.1: a response code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Code<'a> {
    /// A code without arguments: `READ-ONLY`, `TRYCREATE`, `UNAVAILABLE`, …
    Plain(&'static str),
    /// `CAPABILITY`
    Capability(String),
    /// `UIDNEXT`
    UidNext(Uid),
    /// `UIDVALIDITY`
    UidValidity(u32),
    /// `UNSEEN`: the first one (RFC 3501).
    Unseen(SeqNum),
    /// `PERMANENTFLAGS`, with `\*` when new keywords may be made.
    PermanentFlags(&'a [String], bool),
    /// `BADCHARSET`
    BadCharset,
    /// RFC 4315 `APPENDUID`
    AppendUid(u32, Uid),
    /// RFC 4315 `COPYUID`: validity of the target, pairs of source and target.
    CopyUid(u32, Vec<(Uid, Uid)>),
}

/// RFC 9051 5.1: the largest message that APPEND takes is told so (RFC 7889), the rest is fixed.
#[must_use]
pub fn capability(secure: bool, authenticated: bool, append_limit: u64) -> String {
    let mut text = String::from("IMAP4rev1 LITERAL+ SASL-IR ID ENABLE");
    if authenticated {
        text.push_str(
            " IDLE NAMESPACE UNSELECT UIDPLUS MOVE CHILDREN SPECIAL-USE CREATE-SPECIAL-USE \
             LIST-EXTENDED LIST-STATUS ESEARCH STATUS=SIZE QUOTA QUOTA=RES-STORAGE",
        );
        text.push_str(&format!(" APPENDLIMIT={append_limit}"));
    } else if secure {
        text.push_str(" AUTH=PLAIN");
    } else {
        // RFC 9051 6.2.3: no password in the clear.
        text.push_str(" STARTTLS LOGINDISABLED");
    }
    text
}

/// `tag OK [CODE] text`; a tag of `*` makes it untagged.
pub fn status(out: &mut Vec<u8>, tag: &str, status: Status, code: Option<&Code<'_>>, text: &str) {
    put!(out, "{tag} {} ", status.word());
    if let Some(code) = code {
        out.push(b'[');
        write_code(out, code);
        out.extend_from_slice(b"] ");
    }
    put!(out, "{text}\r\n");
}

fn write_code(out: &mut Vec<u8>, code: &Code<'_>) {
    match code {
        Code::Plain(word) => out.extend_from_slice(word.as_bytes()),
        Code::Capability(list) => put!(out, "CAPABILITY {list}"),
        Code::UidNext(uid) => put!(out, "UIDNEXT {uid}"),
        Code::UidValidity(validity) => put!(out, "UIDVALIDITY {validity}"),
        Code::Unseen(seq) => put!(out, "UNSEEN {}", seq.0),
        Code::PermanentFlags(keywords, more) => {
            out.extend_from_slice(b"PERMANENTFLAGS ");
            flag_names(out, keywords, *more);
        }
        Code::BadCharset => out.extend_from_slice(b"BADCHARSET (UTF-8 US-ASCII)"),
        Code::AppendUid(validity, uid) => put!(out, "APPENDUID {validity} {uid}"),
        Code::CopyUid(validity, pairs) => {
            put!(out, "COPYUID {validity} ");
            write_in_order(out, pairs.iter().map(|p| p.0));
            out.push(b' ');
            write_in_order(out, pairs.iter().map(|p| p.1));
        }
    }
}

/// `+ text`: the client may go on.
pub fn go_on(out: &mut Vec<u8>, text: &str) {
    put!(out, "+ {text}\r\n");
}

/// `* text`: a response that needs no more than its words.
pub fn untagged(out: &mut Vec<u8>, text: &str) {
    put!(out, "* {text}\r\n");
}

const SYSTEM_FLAGS: [(u8, &str); 5] = [
    (Flags::ANSWERED, "\\Answered"),
    (Flags::FLAGGED, "\\Flagged"),
    (Flags::DELETED, "\\Deleted"),
    (Flags::SEEN, "\\Seen"),
    (Flags::DRAFT, "\\Draft"),
];

/// `(\Answered … keyword …)`: all that can be; `more` adds `\*`.
fn flag_names(out: &mut Vec<u8>, keywords: &[String], more: bool) {
    out.push(b'(');
    for (i, (_, name)) in SYSTEM_FLAGS.iter().enumerate() {
        put!(out, "{}{name}", if i == 0 { "" } else { " " });
    }
    for keyword in keywords {
        put!(out, " {keyword}");
    }
    out.extend_from_slice(if more { b" \\*)" } else { b")" });
}

/// `* FLAGS (…)`: the flags that messages of the mailbox carry.
pub fn flags_known(out: &mut Vec<u8>, keywords: &[String]) {
    out.extend_from_slice(b"* FLAGS ");
    flag_names(out, keywords, false);
    out.extend_from_slice(b"\r\n");
}

/// `FLAGS (…)`: a message's flags, as an item of a FETCH response.
pub fn flags_item(out: &mut Vec<u8>, flags: &Flags) {
    out.extend_from_slice(b"FLAGS (");
    let system = SYSTEM_FLAGS.iter().filter(|(bit, _)| flags.has(*bit)).map(|(_, name)| *name);
    for (i, name) in system.chain(flags.keywords.iter().map(String::as_str)).enumerate() {
        put!(out, "{}{name}", if i == 0 { "" } else { " " });
    }
    out.push(b')');
}

/// `INTERNALDATE "…"`, as an item of a FETCH response.
pub fn internal_date_item(out: &mut Vec<u8>, time: UnixMs) {
    out.extend_from_slice(b"INTERNALDATE ");
    write_date_time(out, time);
}

/// `* n FETCH (`: items follow, separated by spaces, then [`fetch_close`].
pub fn fetch_open(out: &mut Vec<u8>, seq: SeqNum) {
    put!(out, "* {} FETCH (", seq.0);
}

/// Ends a FETCH response.
pub fn fetch_close(out: &mut Vec<u8>) {
    out.extend_from_slice(b")\r\n");
}

/// `BODY[…]<origin> `: what the bytes that follow are.
pub fn content_label(out: &mut Vec<u8>, label: Label, section: &Section, origin: Option<u32>) {
    match label {
        Label::Rfc822 => out.extend_from_slice(b"RFC822"),
        Label::Rfc822Header => out.extend_from_slice(b"RFC822.HEADER"),
        Label::Rfc822Text => out.extend_from_slice(b"RFC822.TEXT"),
        Label::Body => {
            out.extend_from_slice(b"BODY[");
            write_section(out, section);
            out.push(b']');
        }
    }
    if let Some(origin) = origin {
        put!(out, "<{origin}>");
    }
    out.push(b' ');
}

fn write_section(out: &mut Vec<u8>, section: &Section) {
    let dots = section.part.len().saturating_sub(usize::from(section.what == What::All));
    for (i, number) in section.part.iter().enumerate() {
        put!(out, "{number}{}", if i < dots { "." } else { "" });
    }
    let fields = match &section.what {
        What::All => return,
        What::Header => return out.extend_from_slice(b"HEADER"),
        What::Text => return out.extend_from_slice(b"TEXT"),
        What::Mime => return out.extend_from_slice(b"MIME"),
        What::HeaderFields(fields) => {
            out.extend_from_slice(b"HEADER.FIELDS (");
            fields
        }
        What::HeaderFieldsNot(fields) => {
            out.extend_from_slice(b"HEADER.FIELDS.NOT (");
            fields
        }
    };
    for (i, field) in fields.iter().enumerate() {
        if i > 0 {
            out.push(b' ');
        }
        // A field's name may hold what an atom may not: `)`, `"`, …
        if field.bytes().all(super::scan::is_atom_char) {
            out.extend_from_slice(field.as_bytes());
        } else {
            string(out, field.as_bytes());
        }
    }
    out.push(b')');
}

/// `{n}`: the announcement of a literal whose bytes follow.
pub fn literal(out: &mut Vec<u8>, len: u64) {
    put!(out, "{{{len}}}\r\n");
}

/// A string: quoted when it is short and printable ASCII, else a literal.
pub fn string(out: &mut Vec<u8>, text: &[u8]) {
    /// Longest quoted string in bytes; some clients read lines into small buffers.
    const QUOTED_LEN_MAX: usize = 1_000;
    if text.len() <= QUOTED_LEN_MAX && text.iter().all(|b| matches!(b, b' '..=b'~')) {
        out.push(b'"');
        for &b in text {
            if matches!(b, b'"' | b'\\') {
                out.push(b'\\');
            }
            out.push(b);
        }
        out.push(b'"');
    } else {
        literal(out, u64::try_from(text.len()).unwrap_or(u64::MAX));
        out.extend_from_slice(text);
    }
}

/// A mailbox's name.
pub fn mailbox(out: &mut Vec<u8>, name: &str) {
    string(out, name::encode(name).as_bytes());
}

/// `* LIST (…) "/" name` or `* LSUB …`.
pub fn list_row(out: &mut Vec<u8>, list: &List, row: &Row) {
    put!(out, "* {} (", if list.lsub { "LSUB" } else { "LIST" });
    let mut attributes: Vec<&str> = Vec::new();
    if !row.exists {
        // RFC 5258 3: \NonExistent implies \Noselect; old clients know only the latter.
        attributes.extend(if list.lsub {
            &["\\Noselect"][..]
        } else {
            &["\\NonExistent", "\\Noselect"]
        });
    }
    attributes.push(if row.has_children { "\\HasChildren" } else { "\\HasNoChildren" });
    if row.subscribed && list.return_subscribed {
        attributes.push("\\Subscribed");
    }
    attributes.extend(row.role.and_then(special_use));
    put!(out, "{}) \"{}\" ", attributes.join(" "), name::DELIMITER);
    mailbox(out, &row.name);
    if row.child_info {
        out.extend_from_slice(b" (\"CHILDINFO\" (\"SUBSCRIBED\"))");
    }
    out.extend_from_slice(b"\r\n");
}

/// RFC 6154 2: the attribute of a special use.
#[must_use]
pub fn special_use(role: Role) -> Option<&'static str> {
    match role {
        Role::Inbox => None,
        Role::Drafts => Some("\\Drafts"),
        Role::Sent => Some("\\Sent"),
        Role::Junk => Some("\\Junk"),
        Role::Trash => Some("\\Trash"),
        Role::Archive => Some("\\Archive"),
    }
}

/// `* STATUS name (…)`.
pub fn status_row(out: &mut Vec<u8>, name: &str, values: &[(StatusItem, u64)]) {
    out.extend_from_slice(b"* STATUS ");
    mailbox(out, name);
    out.extend_from_slice(b" (");
    for (i, (item, value)) in values.iter().enumerate() {
        let item = match item {
            StatusItem::Messages => "MESSAGES",
            StatusItem::Recent => "RECENT",
            StatusItem::UidNext => "UIDNEXT",
            StatusItem::UidValidity => "UIDVALIDITY",
            StatusItem::Unseen => "UNSEEN",
            StatusItem::Deleted => "DELETED",
            StatusItem::Size => "SIZE",
            StatusItem::DeletedStorage => "DELETED-STORAGE",
            StatusItem::AppendLimit => "APPENDLIMIT",
        };
        put!(out, "{}{item} {value}", if i == 0 { "" } else { " " });
    }
    out.extend_from_slice(b")\r\n");
}

/// RFC 9208 4.2.2: `* QUOTAROOT mailbox root`.
pub fn quota_root(out: &mut Vec<u8>, name: &str, root: Option<&str>) {
    out.extend_from_slice(b"* QUOTAROOT ");
    mailbox(out, name);
    if let Some(root) = root {
        out.push(b' ');
        string(out, root.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}

/// RFC 9208 4.2.1: `* QUOTA root (STORAGE used limit)`, in units of 1024 octets.
pub fn quota(out: &mut Vec<u8>, root: &str, used: u64, limit: u64) {
    out.extend_from_slice(b"* QUOTA ");
    string(out, root.as_bytes());
    put!(out, " (STORAGE {used} {limit})\r\n");
}

/// One number of a plain SEARCH response, which starts with `* SEARCH` and ends with a line end.
pub fn search_number(out: &mut Vec<u8>, number: u32) {
    put!(out, " {number}");
}

/// RFC 4731: `* ESEARCH (TAG "…") …`; `found` ascends.
pub fn esearch(out: &mut Vec<u8>, tag: &str, uid: bool, returns: Returns, found: &[u32]) {
    out.extend_from_slice(b"* ESEARCH (TAG ");
    string(out, tag.as_bytes());
    out.extend_from_slice(if uid { b") UID" } else { b")" });
    if let (Some(min), Some(max)) = (found.first(), found.last()) {
        if returns.min {
            put!(out, " MIN {min}");
        }
        if returns.max {
            put!(out, " MAX {max}");
        }
        if returns.all {
            out.extend_from_slice(b" ALL ");
            Ranges::of_sorted(found.iter().copied()).write(out);
        }
    }
    if returns.count {
        put!(out, " COUNT {}", found.len());
    }
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn statuses_carry_their_codes() {
        let pairs = vec![(Uid(5), Uid(9)), (Uid(6), Uid(10)), (Uid(8), Uid(11))];
        let keywords = ["$Junk".to_owned()];
        for (code, expected) in [
            (Code::Plain("TRYCREATE"), "[TRYCREATE] "),
            (Code::CopyUid(7, pairs), "[COPYUID 7 5:6,8 9:11] "),
            (Code::AppendUid(7, Uid(3)), "[APPENDUID 7 3] "),
            (
                Code::PermanentFlags(&keywords, true),
                "[PERMANENTFLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft $Junk \\*)] ",
            ),
            (Code::BadCharset, "[BADCHARSET (UTF-8 US-ASCII)] "),
        ] {
            let line = written(|o| status(o, "a", Status::No, Some(&code), "x"));
            assert_eq!(line, format!("a NO {expected}x\r\n"));
        }
    }

    #[test]
    fn strings_are_quoted_or_literals() {
        for (text, expected) in [
            ("", "\"\""),
            ("a \"b\" \\", "\"a \\\"b\\\" \\\\\""),
            ("ä", "{2}\r\nä"),
            ("a\r\nb", "{4}\r\na\r\nb"),
        ] {
            assert_eq!(written(|o| string(o, text.as_bytes())), expected);
        }
    }

    #[test]
    fn sections_are_called_as_asked() {
        for (part, what, origin, expected) in [
            (vec![], What::All, None, "BODY[] "),
            (vec![1, 2], What::All, Some(5), "BODY[1.2]<5> "),
            (vec![1, 2], What::Mime, None, "BODY[1.2.MIME] "),
            (
                vec![],
                What::HeaderFields(vec!["To".into(), "X)".into()]),
                None,
                "BODY[HEADER.FIELDS (To \"X)\")] ",
            ),
        ] {
            let section = Section { part, what };
            assert_eq!(written(|o| content_label(o, Label::Body, &section, origin)), expected);
        }
    }

    #[test]
    fn esearch_tells_what_was_asked() {
        let all = Returns { min: true, max: true, all: true, count: true };
        assert_eq!(
            written(|o| esearch(o, "A1", true, all, &[2, 3, 4, 9])),
            "* ESEARCH (TAG \"A1\") UID MIN 2 MAX 9 ALL 2:4,9 COUNT 4\r\n"
        );
        assert_eq!(
            written(|o| esearch(o, "A1", false, all, &[])),
            "* ESEARCH (TAG \"A1\") COUNT 0\r\n"
        );
    }

    #[test]
    fn list_rows_carry_attributes() {
        let list = List { return_subscribed: true, ..List::default() };
        let row = Row {
            name: "Entwürfe".into(),
            exists: true,
            role: Some(Role::Drafts),
            has_children: false,
            subscribed: true,
            child_info: false,
        };
        assert_eq!(
            written(|o| list_row(o, &list, &row)),
            "* LIST (\\HasNoChildren \\Subscribed \\Drafts) \"/\" \"Entw&APw-rfe\"\r\n"
        );
    }
}
