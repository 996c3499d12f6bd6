//! FETCH: what is asked of each message.

use super::command::ParseError;
use super::scan::{Parsed, Scanner, utf8};
use super::sequence::Target;

/// FETCH.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetch {
    /// Which messages.
    pub target: Target,
    /// What of each, in the order asked, macros expanded, no item twice.
    pub items: Vec<Item>,
}

impl Fetch {
    /// Whether answering sets \Seen (RFC 9051 6.4.5).
    #[must_use]
    pub fn sets_seen(&self) -> bool {
        self.items.iter().any(|i| matches!(i, Item::Content { peek: false, .. }))
    }
}

/// One item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// The flags.
    Flags,
    /// When it arrived.
    InternalDate,
    /// RFC822.SIZE.
    Size,
    /// ENVELOPE.
    Envelope,
    /// BODY: the structure without extension data.
    Body,
    /// BODYSTRUCTURE.
    BodyStructure,
    /// UID.
    Uid,
    /// Some of the message's bytes.
    Content {
        /// Which.
        section: Section,
        /// The first byte of the section wanted, and how many at most (never zero).
        partial: Option<(u32, u32)>,
        /// \Seen stays as it is.
        peek: bool,
        /// How the client called it; the answer is called the same.
        label: Label,
    },
}

/// RFC 9051 6.4.5.1: which part of the message, and what of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Section {
    /// The part's path; empty for the whole message.
    pub part: Vec<u32>,
    /// What of it.
    pub what: What,
}

/// What of a part.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum What {
    /// Everything.
    #[default]
    All,
    /// The header of the message.
    Header,
    /// These fields of the header of the message.
    HeaderFields(Vec<String>),
    /// The other fields.
    HeaderFieldsNot(Vec<String>),
    /// The body of the message without its header.
    Text,
    /// The MIME header of the part.
    Mime,
}

/// How a content item is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Label {
    /// `BODY[…]`
    Body,
    /// `RFC822`
    Rfc822,
    /// `RFC822.HEADER`
    Rfc822Header,
    /// `RFC822.TEXT`
    Rfc822Text,
}

/// Most items of one FETCH, most fields of one HEADER.FIELDS, most levels of a part's path.
const ITEMS_MAX: usize = 128;

/// Parses what follows the target and a space.
pub(crate) fn parse(s: &mut Scanner<'_>, target: Target) -> Parsed<Fetch> {
    let mut items = Vec::new();
    let listed = s.eat(b'(');
    loop {
        item(s, listed, &mut items)?;
        if items.len() > ITEMS_MAX {
            return Err(ParseError::Bad("FETCH asks for too many items"));
        }
        if !listed || s.eat(b')') {
            break;
        }
        s.sp()?;
    }
    // RFC 9051 6.4.9: a UID FETCH always answers with the UID.
    if target.is_uid() && !items.contains(&Item::Uid) {
        items.insert(0, Item::Uid);
    }
    Ok(Fetch { target, items })
}

fn item(s: &mut Scanner<'_>, listed: bool, items: &mut Vec<Item>) -> Parsed<()> {
    // The word would swallow `BODY[`, because `[` may stand in an atom: it is cut off here.
    let word = s.peek_word();
    let word = word.split(|&b| b == b'[').next().unwrap_or_default();
    let name = String::from_utf8_lossy(word).to_ascii_uppercase();
    for &b in word {
        s.eat(b);
    }
    let add: &[Item] = match name.as_str() {
        "ALL" if !listed => &[Item::Flags, Item::InternalDate, Item::Size, Item::Envelope],
        "FAST" if !listed => &[Item::Flags, Item::InternalDate, Item::Size],
        "FULL" if !listed => {
            &[Item::Flags, Item::InternalDate, Item::Size, Item::Envelope, Item::Body]
        }
        "FLAGS" => &[Item::Flags],
        "INTERNALDATE" => &[Item::InternalDate],
        "RFC822.SIZE" => &[Item::Size],
        "ENVELOPE" => &[Item::Envelope],
        "BODYSTRUCTURE" => &[Item::BodyStructure],
        "UID" => &[Item::Uid],
        "BODY" if s.peek() != Some(b'[') => &[Item::Body],
        "BODY" => &[content(s, false)?],
        "BODY.PEEK" => &[content(s, true)?],
        "RFC822" => &[whole(What::All, false, Label::Rfc822)],
        "RFC822.HEADER" => &[whole(What::Header, true, Label::Rfc822Header)],
        "RFC822.TEXT" => &[whole(What::Text, false, Label::Rfc822Text)],
        _ => return Err(ParseError::Bad("that FETCH item is not supported")),
    };
    for item in add {
        if !items.contains(item) {
            items.push(item.clone());
        }
    }
    Ok(())
}

fn whole(what: What, peek: bool, label: Label) -> Item {
    Item::Content { section: Section { part: Vec::new(), what }, partial: None, peek, label }
}

fn content(s: &mut Scanner<'_>, peek: bool) -> Parsed<Item> {
    s.expect(b'[', "a section is missing")?;
    let section = section(s)?;
    s.expect(b']', "a section does not end")?;
    let mut partial = None;
    if s.eat(b'<') {
        let from = s.number()?;
        s.expect(b'.', "a partial needs a start and a length")?;
        partial = Some((from, s.nz_number()?));
        s.expect(b'>', "a partial does not end")?;
    }
    Ok(Item::Content { section, partial, peek, label: Label::Body })
}

fn section(s: &mut Scanner<'_>) -> Parsed<Section> {
    let mut part = Vec::new();
    loop {
        match s.peek() {
            Some(b'0'..=b'9') => {
                if part.len() == ITEMS_MAX {
                    return Err(ParseError::Bad("a section is too deep"));
                }
                part.push(s.nz_number()?);
                if !s.eat(b'.') {
                    return Ok(Section { part, what: What::All });
                }
            }
            Some(b']') if part.is_empty() => return Ok(Section::default()),
            _ => break,
        }
    }
    let what = match s.word()?.as_str() {
        "HEADER" => What::Header,
        "HEADER.FIELDS" => What::HeaderFields(fields(s)?),
        "HEADER.FIELDS.NOT" => What::HeaderFieldsNot(fields(s)?),
        "TEXT" => What::Text,
        "MIME" if !part.is_empty() => What::Mime,
        _ => return Err(ParseError::Bad("that section does not exist")),
    };
    Ok(Section { part, what })
}

fn fields(s: &mut Scanner<'_>) -> Parsed<Vec<String>> {
    s.sp()?;
    s.expect(b'(', "header fields are a list")?;
    let mut fields = Vec::new();
    loop {
        let field = utf8(s.astring()?)?;
        // RFC 5322 2.2: printable US-ASCII except the colon. It is echoed, so nothing else may pass.
        if field.is_empty() || !field.bytes().all(|b| b.is_ascii_graphic() && b != b':') {
            return Err(ParseError::Bad("that is no header field's name"));
        }
        fields.push(field);
        if s.eat(b')') {
            return Ok(fields);
        }
        if fields.len() == ITEMS_MAX {
            return Err(ParseError::Bad("too many header fields"));
        }
        s.sp()?;
    }
}
