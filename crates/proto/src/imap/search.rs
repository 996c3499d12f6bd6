//! SEARCH: the program as parsed, and its evaluation over one message at a time.
//!
//! Evaluation asks for what is cheap first: numbers, flags and dates lie in the mailbox's entry;
//! header fields and body text are asked for only when nothing cheaper has decided. How text
//! compares is the message's business ([`Message`]). Absent: SEARCHRES, WITHIN, FUZZY.

use super::command::ParseError;
use super::date::{self, Day};
use super::scan::{Parsed, Scanner, utf8};
use super::sequence::{Ranges, SeqNum, SequenceSet};
use crate::mailbox::{Entry, Flags};
use std::cmp::Ordering;

/// SEARCH.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Search {
    /// The answer names uids.
    pub uid: bool,
    /// RFC 4731: the answer is an ESEARCH with these; `None` for a plain SEARCH.
    pub returns: Option<Returns>,
    /// What is looked for.
    pub key: Key<SequenceSet>,
}

/// RFC 4731: what an ESEARCH tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Returns {
    /// The lowest number.
    pub min: bool,
    /// The highest number.
    pub max: bool,
    /// All numbers.
    pub all: bool,
    /// How many.
    pub count: bool,
}

/// A search key over sets `S`: as written ([`SequenceSet`]) or resolved ([`Ranges`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key<S> {
    /// Every message.
    All,
    /// System flags that must be set, or must not.
    Flag(u8, bool),
    /// \Recent, which no message has.
    Recent,
    /// A keyword that must be set, or must not.
    Keyword(String, bool),
    /// Sequence numbers.
    Seq(S),
    /// Uids.
    Uid(S),
    /// The internal date's day compares so.
    Arrived(When, Day),
    /// The Date field's day compares so.
    Sent(When, Day),
    /// More bytes than this.
    Larger(u32),
    /// Fewer bytes than this.
    Smaller(u32),
    /// A header field contains the text; with an empty text, it exists.
    Field(String, String),
    /// The body contains the text.
    Body(String),
    /// Header or body contains the text.
    Text(String),
    /// Not this.
    Not(Box<Self>),
    /// One of both.
    Or(Box<Self>, Box<Self>),
    /// All of these.
    And(Vec<Self>),
}

/// How a date compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Earlier than the day.
    Before,
    /// On the day.
    On,
    /// On the day or later.
    Since,
}

impl When {
    fn holds(self, date: Day, than: Day) -> bool {
        match self {
            Self::Before => date < than,
            Self::On => date == than,
            Self::Since => date >= than,
        }
    }
}

/// Deepest nesting of NOT, OR and parentheses.
const DEPTH_MAX: usize = 32;
/// Most keys of one program.
const KEYS_MAX: usize = 1_000;
/// Most texts of one program that need the header or the body.
const NEEDLES_MAX: usize = 32;
/// Longest text looked for, in bytes.
const NEEDLE_LEN_MAX: usize = 1_024;

/// Parses what follows `SEARCH `.
pub(crate) fn parse(s: &mut Scanner<'_>, uid: bool) -> Parsed<Search> {
    let mut returns = None;
    if s.eat_word("RETURN") {
        s.sp()?;
        returns = Some(parse_returns(s)?);
        s.sp()?;
    }
    if s.eat_word("CHARSET") {
        s.sp()?;
        let charset = utf8(s.astring()?)?;
        if !["UTF-8", "US-ASCII"].iter().any(|c| charset.eq_ignore_ascii_case(c)) {
            return Err(ParseError::BadCharset);
        }
        s.sp()?;
    }
    let mut parser = Parser { keys: 0, needles: 0 };
    let mut all = Vec::new();
    loop {
        all.push(parser.key(s, 0)?);
        // A space at the very end is a known slip of clients.
        if !s.eat(b' ') || s.is_empty() {
            break;
        }
    }
    Ok(Search { uid, returns, key: and(all) })
}

fn parse_returns(s: &mut Scanner<'_>) -> Parsed<Returns> {
    let mut returns = Returns::default();
    s.expect(b'(', "RETURN takes a list")?;
    while !s.eat(b')') {
        match s.word()?.as_str() {
            "MIN" => returns.min = true,
            "MAX" => returns.max = true,
            "ALL" => returns.all = true,
            "COUNT" => returns.count = true,
            _ => return Err(ParseError::Bad("that SEARCH return is not supported")),
        }
        s.eat(b' ');
    }
    // RFC 4731 3.1: an empty list means ALL.
    if returns == Returns::default() {
        returns.all = true;
    }
    Ok(returns)
}

fn and(mut keys: Vec<Key<SequenceSet>>) -> Key<SequenceSet> {
    match keys.pop() {
        Some(only) if keys.is_empty() => only,
        Some(last) => {
            keys.push(last);
            Key::And(keys)
        }
        None => Key::All,
    }
}

struct Parser {
    keys: usize,
    needles: usize,
}

impl Parser {
    fn key(&mut self, s: &mut Scanner<'_>, depth: usize) -> Parsed<Key<SequenceSet>> {
        self.keys += 1;
        if depth > DEPTH_MAX || self.keys > KEYS_MAX {
            return Err(ParseError::Bad("the search is too deep or too long"));
        }
        if s.eat(b'(') {
            let mut all = vec![self.key(s, depth + 1)?];
            while !s.eat(b')') {
                s.sp()?;
                all.push(self.key(s, depth + 1)?);
            }
            return Ok(and(all));
        }
        if matches!(s.peek(), Some(b'0'..=b'9' | b'*')) {
            return Ok(Key::Seq(s.sequence_set()?));
        }
        let word = s.word()?;
        if let Some(key) = plain(&word) {
            return Ok(key);
        }
        s.expect(b' ', "no such search key, or it lacks its argument")?;
        Ok(match word.as_str() {
            "NOT" => Key::Not(Box::new(self.key(s, depth + 1)?)),
            "OR" => {
                let one = self.key(s, depth + 1)?;
                s.sp()?;
                Key::Or(Box::new(one), Box::new(self.key(s, depth + 1)?))
            }
            "UID" => Key::Uid(s.sequence_set()?),
            "KEYWORD" | "UNKEYWORD" => Key::Keyword(utf8(s.astring()?)?, word == "KEYWORD"),
            "BEFORE" => Key::Arrived(When::Before, day(s)?),
            "ON" => Key::Arrived(When::On, day(s)?),
            "SINCE" => Key::Arrived(When::Since, day(s)?),
            "SENTBEFORE" => Key::Sent(When::Before, day(s)?),
            "SENTON" => Key::Sent(When::On, day(s)?),
            "SENTSINCE" => Key::Sent(When::Since, day(s)?),
            "LARGER" => Key::Larger(s.number()?),
            "SMALLER" => Key::Smaller(s.number()?),
            "FROM" | "TO" | "CC" | "BCC" | "SUBJECT" => Key::Field(word, self.needle(s)?),
            "HEADER" => {
                let field = utf8(s.astring()?)?.to_ascii_uppercase();
                s.sp()?;
                Key::Field(field, self.needle(s)?)
            }
            "BODY" => Key::Body(self.needle(s)?),
            "TEXT" => Key::Text(self.needle(s)?),
            _ => return Err(ParseError::Bad("no such search key")),
        })
    }

    fn needle(&mut self, s: &mut Scanner<'_>) -> Parsed<String> {
        self.needles += 1;
        let text = s.text()?;
        if self.needles > NEEDLES_MAX || text.len() > NEEDLE_LEN_MAX {
            return Err(ParseError::Bad("the search has too many or too long texts"));
        }
        Ok(text)
    }
}

/// Keys without arguments.
fn plain(word: &str) -> Option<Key<SequenceSet>> {
    Some(match word {
        "ALL" => Key::All,
        // RFC 9051 6.4.4 dropped these; for RFC 3501 no message here is ever recent.
        "RECENT" | "NEW" => Key::Recent,
        "OLD" => Key::All,
        "ANSWERED" => Key::Flag(Flags::ANSWERED, true),
        "DELETED" => Key::Flag(Flags::DELETED, true),
        "DRAFT" => Key::Flag(Flags::DRAFT, true),
        "FLAGGED" => Key::Flag(Flags::FLAGGED, true),
        "SEEN" => Key::Flag(Flags::SEEN, true),
        "UNANSWERED" => Key::Flag(Flags::ANSWERED, false),
        "UNDELETED" => Key::Flag(Flags::DELETED, false),
        "UNDRAFT" => Key::Flag(Flags::DRAFT, false),
        "UNFLAGGED" => Key::Flag(Flags::FLAGGED, false),
        "UNSEEN" => Key::Flag(Flags::SEEN, false),
        _ => return None,
    })
}

fn day(s: &mut Scanner<'_>) -> Parsed<Day> {
    date::parse_date(&utf8(s.astring()?)?).ok_or(ParseError::Bad("that is no date"))
}

/// A message as SEARCH sees it. The fallible methods may read; they are asked last.
pub trait Message {
    /// Why reading failed.
    type Error;
    /// Its number in the view.
    fn seq(&self) -> SeqNum;
    /// Its entry: uid, flags, internal date, size.
    fn entry(&self) -> &Entry;
    /// The day of its Date field.
    fn sent(&mut self) -> Result<Option<Day>, Self::Error>;
    /// Whether a header field of that name (in capitals) contains the text.
    fn field_has(&mut self, field: &str, needle: &str) -> Result<bool, Self::Error>;
    /// Whether the header contains the text.
    fn header_has(&mut self, needle: &str) -> Result<bool, Self::Error>;
    /// Whether the body contains the text.
    fn body_has(&mut self, needle: &str) -> Result<bool, Self::Error>;
}

impl Key<SequenceSet> {
    /// Resolves the sets against a view whose last message has these numbers (zero: it is empty),
    /// and puts what is cheap first.
    #[must_use]
    pub fn resolve(&self, last_seq: u32, last_uid: u32) -> Key<Ranges> {
        let go = |key: &Self| key.resolve(last_seq, last_uid);
        match self {
            Self::All => Key::All,
            Self::Recent => Key::Recent,
            Self::Flag(bits, set) => Key::Flag(*bits, *set),
            Self::Keyword(name, set) => Key::Keyword(name.clone(), *set),
            Self::Seq(set) => Key::Seq(set.resolve(last_seq)),
            Self::Uid(set) => Key::Uid(set.resolve(last_uid)),
            Self::Arrived(when, day) => Key::Arrived(*when, *day),
            Self::Sent(when, day) => Key::Sent(*when, *day),
            Self::Larger(n) => Key::Larger(*n),
            Self::Smaller(n) => Key::Smaller(*n),
            Self::Field(field, needle) => Key::Field(field.clone(), needle.clone()),
            Self::Body(needle) => Key::Body(needle.clone()),
            Self::Text(needle) => Key::Text(needle.clone()),
            Self::Not(key) => Key::Not(Box::new(go(key))),
            Self::Or(a, b) => {
                let (a, b) = (go(a), go(b));
                let (a, b) = if b.cost() < a.cost() { (b, a) } else { (a, b) };
                Key::Or(Box::new(a), Box::new(b))
            }
            Self::And(keys) => {
                let mut keys: Vec<_> = keys.iter().map(go).collect();
                keys.sort_by_key(Key::cost);
                Key::And(keys)
            }
        }
    }
}

/// What a key needs: nothing but the entry, the summary or header, the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Cost {
    Entry,
    Header,
    Body,
}

impl Key<Ranges> {
    fn cost(&self) -> Cost {
        match self {
            Self::Sent(..) | Self::Field(..) => Cost::Header,
            Self::Body(_) | Self::Text(_) => Cost::Body,
            Self::Not(key) => key.cost(),
            Self::Or(a, b) => a.cost().max(b.cost()),
            Self::And(keys) => keys.iter().map(Self::cost).max().unwrap_or(Cost::Entry),
            _ => Cost::Entry,
        }
    }

    /// Whether answering may read more than the mailbox's entries.
    #[must_use]
    pub fn reads(&self) -> bool {
        self.cost() > Cost::Entry
    }

    /// Whether the message is what is looked for.
    pub fn matches<M: Message>(&self, message: &mut M) -> Result<bool, M::Error> {
        let entry = message.entry();
        Ok(match self {
            Self::All => true,
            Self::Recent => false,
            Self::Flag(bits, set) => entry.flags.has(*bits) == *set,
            Self::Keyword(name, set) => entry.flags.has_keyword(name) == *set,
            Self::Seq(set) => set.contains(message.seq().0),
            Self::Uid(set) => set.contains(entry.uid.0),
            Self::Arrived(when, day) => when.holds(Day::of(entry.internal_date), *day),
            Self::Larger(n) => entry.size.cmp(&u64::from(*n)) == Ordering::Greater,
            Self::Smaller(n) => entry.size.cmp(&u64::from(*n)) == Ordering::Less,
            Self::Sent(when, day) => message.sent()?.is_some_and(|d| when.holds(d, *day)),
            Self::Field(field, needle) => message.field_has(field, needle)?,
            Self::Body(needle) => needle.is_empty() || message.body_has(needle)?,
            Self::Text(needle) => {
                needle.is_empty() || message.header_has(needle)? || message.body_has(needle)?
            }
            Self::Not(key) => !key.matches(message)?,
            Self::Or(a, b) => a.matches(message)? || b.matches(message)?,
            Self::And(keys) => {
                for key in keys {
                    if !key.matches(message)? {
                        return Ok(false);
                    }
                }
                true
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{EmailId, ModSeq, Uid};
    use crate::message::decode::contains;
    use crate::time::UnixMs;

    struct Fake {
        entry: Entry,
        asked: Vec<&'static str>,
    }

    impl Message for Fake {
        type Error = ();
        fn seq(&self) -> SeqNum {
            SeqNum(3)
        }
        fn entry(&self) -> &Entry {
            &self.entry
        }
        fn sent(&mut self) -> Result<Option<Day>, ()> {
            self.asked.push("sent");
            Ok(Some(Day(100)))
        }
        fn field_has(&mut self, field: &str, needle: &str) -> Result<bool, ()> {
            self.asked.push("field");
            Ok(field == "SUBJECT" && contains("Grüße aus Köln", needle))
        }
        fn header_has(&mut self, needle: &str) -> Result<bool, ()> {
            self.asked.push("header");
            Ok(contains("Subject: Grüße", needle))
        }
        fn body_has(&mut self, needle: &str) -> Result<bool, ()> {
            self.asked.push("body");
            Ok(contains("the body", needle))
        }
    }

    fn fake() -> Fake {
        let mut flags = Flags::system(Flags::SEEN);
        flags.add_keyword("$Forwarded");
        let entry = Entry {
            uid: Uid(30),
            email: EmailId(1),
            flags,
            modseq: ModSeq(1),
            internal_date: UnixMs(86_400_000 * 10 + 5),
            size: 500,
        };
        Fake { entry, asked: Vec::new() }
    }

    fn program(text: &str) -> Search {
        parse(&mut Scanner::new(text.as_bytes()), false).unwrap()
    }

    #[test]
    fn keys_hold_or_not() {
        for (text, expected) in [
            ("ALL", true),
            ("SEEN", true),
            ("UNSEEN", false),
            ("NEW", false),
            ("OLD", true),
            ("KEYWORD $forwarded", true),
            ("UNKEYWORD $Junk", true),
            ("3", true),
            ("4:*", true), // the view has three: *:4 contains 3
            ("1:2", false),
            ("UID 30:*", true),
            ("UID 1:29", false),
            ("BEFORE 12-Jan-1970", true),
            ("ON 11-Jan-1970", true),
            ("SINCE 11-Jan-1970", true),
            ("SINCE \"12-Jan-1970\"", false),
            ("SENTON 11-Apr-1970", true),
            ("LARGER 499 SMALLER 501", true),
            ("LARGER 500", false),
            ("SUBJECT \"GRÜSSE\"", true),
            ("SUBJECT \"GRÜßE\"", true),
            ("SUBJECT {6+}\r\nK\u{f6}ln ", false),
            ("CHARSET utf-8 SUBJECT {5}\r\nK\u{f6}ln", true),
            ("HEADER Subject aus", true),
            ("BODY \"THE\"", true),
            ("TEXT nothing", false),
            ("TEXT \"\"", true),
            ("NOT SEEN", false),
            ("OR UNSEEN (SEEN 3)", true),
            ("OR (UNSEEN 3) NOT UID 30", false),
            ("(SEEN) ALL ", true),
        ] {
            let key = program(text).key.resolve(3, 30);
            assert_eq!(key.matches(&mut fake()), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_cheap_decides_first() {
        for (text, asked) in [
            ("BODY x SUBJECT y UNSEEN", vec![]),
            ("BODY x SUBJECT y SEEN", vec!["field"]),
            ("OR BODY the SEEN", vec![]),
            ("NOT (BODY x SEEN)", vec!["body"]),
        ] {
            let mut message = fake();
            program(text).key.resolve(3, 30).matches(&mut message).unwrap();
            assert_eq!(message.asked, asked, "{text}");
        }
    }

    #[test]
    fn returns_and_charsets_are_known_or_refused() {
        let search = program("RETURN (MIN COUNT) ALL");
        assert_eq!(search.returns, Some(Returns { min: true, count: true, ..Returns::default() }));
        assert_eq!(
            program("RETURN () ALL").returns.unwrap(),
            Returns { all: true, ..Returns::default() }
        );
        let bad = |t: &str| parse(&mut Scanner::new(t.as_bytes()), false).unwrap_err();
        assert_eq!(bad("CHARSET KOI8-R TEXT x"), ParseError::BadCharset);
        let deep = format!("{}ALL{}", "(".repeat(100), ")".repeat(100));
        for text in ["", "FOO", "SUBJECT", "BEFORE yesterday", "(ALL", deep.as_str()] {
            assert!(matches!(bad(text), ParseError::Bad(_)), "{text}");
        }
    }
}
