//! Reads the tokens of RFC 9051 section 9 from one complete command, literals included.
//!
//! Every method either takes what it names off the front or fails and leaves the command refused;
//! nothing backtracks. No token is longer than the command, which `input` bounds.

use super::command::ParseError;
use super::name;
use super::sequence::SequenceSet;
use crate::mailbox::Flags;
use std::borrow::Cow;

/// Result of reading a token.
pub(crate) type Parsed<T> = Result<T, ParseError>;

/// Most keywords that one command may name.
const KEYWORDS_MAX: usize = 64;
/// Longest keyword in bytes.
const KEYWORD_LEN_MAX: usize = 128;

/// The rest of a command.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scanner<'a>(&'a [u8]);

impl<'a> Scanner<'a> {
    /// Reads from `command`, which has no trailing line end.
    pub(crate) fn new(command: &'a [u8]) -> Self {
        Self(command)
    }

    /// Whether all is read.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next byte, left in place.
    pub(crate) fn peek(&self) -> Option<u8> {
        self.0.first().copied()
    }

    /// What is left.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.0
    }

    /// Takes `byte` if it comes next.
    pub(crate) fn eat(&mut self, byte: u8) -> bool {
        match self.0.split_first() {
            Some((&first, rest)) if first == byte => {
                self.0 = rest;
                true
            }
            _ => false,
        }
    }

    /// Takes `byte` or fails.
    pub(crate) fn expect(&mut self, byte: u8, otherwise: &'static str) -> Parsed<()> {
        if self.eat(byte) { Ok(()) } else { Err(ParseError::Bad(otherwise)) }
    }

    /// Takes one space.
    pub(crate) fn sp(&mut self) -> Parsed<()> {
        self.expect(b' ', "a space is missing")
    }

    /// Takes spaces that a sloppy client left at the end; anything else there is an error.
    pub(crate) fn end(&mut self) -> Parsed<()> {
        while self.eat(b' ') {}
        if self.is_empty() {
            Ok(())
        } else {
            Err(ParseError::Bad("unexpected characters at the end"))
        }
    }

    fn take_while(&mut self, keep: impl Fn(u8) -> bool) -> &'a [u8] {
        let len = self.0.iter().position(|&b| !keep(b)).unwrap_or(self.0.len());
        let (taken, rest) = self.0.split_at_checked(len).unwrap_or((self.0, &[]));
        self.0 = rest;
        taken
    }

    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    /// The atom that comes next, left in place; empty when none does.
    pub(crate) fn peek_word(&self) -> &'a [u8] {
        let mut ahead = *self;
        ahead.take_while(is_atom_char)
    }

    /// Takes the atom `word`, in any case, if exactly it comes next.
    pub(crate) fn eat_word(&mut self, word: &str) -> bool {
        let next = self.peek_word();
        if !next.eq_ignore_ascii_case(word.as_bytes()) {
            return false;
        }
        self.take(next.len());
        true
    }

    /// An atom, in capitals: keywords of the protocol.
    pub(crate) fn word(&mut self) -> Parsed<String> {
        let word = self.take_while(is_atom_char);
        if word.is_empty() {
            return Err(ParseError::Bad("a word is missing"));
        }
        Ok(String::from_utf8_lossy(word).to_ascii_uppercase())
    }

    /// RFC 9051 9: `tag`.
    pub(crate) fn tag(&mut self) -> Option<String> {
        let tag = self.take_while(|b| is_astring_char(b) && b != b'+' && b.is_ascii());
        if tag.is_empty() || tag.len() > super::input::TAG_LEN_MAX {
            return None;
        }
        String::from_utf8(tag.to_vec()).ok()
    }

    /// A number of at most 32 bits.
    pub(crate) fn number(&mut self) -> Parsed<u32> {
        let digits = self.take_while(|b| b.is_ascii_digit());
        std::str::from_utf8(digits)
            .ok()
            .and_then(|d| d.parse().ok())
            .ok_or(ParseError::Bad("a number is missing or too large"))
    }

    /// A number of at most 32 bits that is not zero.
    pub(crate) fn nz_number(&mut self) -> Parsed<u32> {
        match self.number()? {
            0 => Err(ParseError::Bad("a number may not be zero here")),
            n => Ok(n),
        }
    }

    /// RFC 9051 9: `sequence-set`.
    pub(crate) fn sequence_set(&mut self) -> Parsed<SequenceSet> {
        let text = self.take_while(|b| matches!(b, b'0'..=b'9' | b':' | b',' | b'*'));
        SequenceSet::parse(text).ok_or(ParseError::Bad("that is no sequence set"))
    }

    /// RFC 9051 9: `quoted`.
    fn quoted(&mut self) -> Parsed<Cow<'a, [u8]>> {
        self.expect(b'"', "a quoted string is missing")?;
        let plain = self.take_while(|b| !matches!(b, b'"' | b'\\' | b'\r' | b'\n' | 0));
        if self.eat(b'"') {
            return Ok(Cow::Borrowed(plain));
        }
        let mut text = plain.to_vec();
        loop {
            if self.eat(b'"') {
                return Ok(Cow::Owned(text));
            }
            if self.eat(b'\\') {
                match self.peek() {
                    Some(b @ (b'"' | b'\\')) => {
                        text.push(b);
                        self.take(1);
                    }
                    _ => return Err(ParseError::Bad("only \\ and \" may follow a \\")),
                }
            }
            let more = self.take_while(|b| !matches!(b, b'"' | b'\\' | b'\r' | b'\n' | 0));
            text.extend_from_slice(more);
            if !matches!(self.peek(), Some(b'"' | b'\\')) {
                return Err(ParseError::Bad("a quoted string does not end"));
            }
        }
    }

    /// RFC 9051 9: `literal`, RFC 7888: non-synchronising too. The bytes follow in the command.
    fn literal(&mut self) -> Parsed<&'a [u8]> {
        let len = self.literal_len()?;
        usize::try_from(len)
            .ok()
            .and_then(|len| self.take(len))
            .ok_or(ParseError::Bad("a literal is incomplete"))
    }

    /// The announcement of a literal, through its line end.
    pub(crate) fn literal_len(&mut self) -> Parsed<u32> {
        self.expect(b'{', "a literal is missing")?;
        let len = self.number()?;
        self.eat(b'+');
        self.expect(b'}', "a literal's length does not end")?;
        self.eat(b'\r');
        self.expect(b'\n', "a literal's length does not end its line")?;
        Ok(len)
    }

    /// RFC 9051 9: `string`.
    pub(crate) fn string(&mut self) -> Parsed<Cow<'a, [u8]>> {
        match self.peek() {
            Some(b'"') => self.quoted(),
            Some(b'{') => self.literal().map(Cow::Borrowed),
            _ => Err(ParseError::Bad("a string is missing")),
        }
    }

    /// RFC 9051 9: `nstring`.
    pub(crate) fn nstring(&mut self) -> Parsed<Option<Cow<'a, [u8]>>> {
        if self.eat_word("NIL") { Ok(None) } else { self.string().map(Some) }
    }

    /// RFC 9051 9: `astring`.
    pub(crate) fn astring(&mut self) -> Parsed<Cow<'a, [u8]>> {
        if matches!(self.peek(), Some(b'"' | b'{')) {
            return self.string();
        }
        match self.take_while(is_astring_char) {
            [] => Err(ParseError::Bad("an argument is missing")),
            atom => Ok(Cow::Borrowed(atom)),
        }
    }

    /// An `astring` that must be UTF-8.
    pub(crate) fn text(&mut self) -> Parsed<String> {
        utf8(self.astring()?)
    }

    /// A mailbox's name, decoded; INBOX in any case is `INBOX`.
    pub(crate) fn mailbox(&mut self) -> Parsed<String> {
        let raw = self.astring()?;
        name::decode(&raw).ok_or(ParseError::Bad("that is no valid mailbox name"))
    }

    /// RFC 9051 9: `list-mailbox`: a name with wildcards, decoded.
    pub(crate) fn list_mailbox(&mut self) -> Parsed<String> {
        let raw = if matches!(self.peek(), Some(b'"' | b'{')) {
            self.string()?
        } else {
            match self.take_while(|b| is_astring_char(b) || matches!(b, b'%' | b'*')) {
                [] => return Err(ParseError::Bad("a mailbox pattern is missing")),
                pattern => Cow::Borrowed(pattern),
            }
        };
        name::decode_pattern(&raw).ok_or(ParseError::Bad("that is no valid mailbox pattern"))
    }

    /// Flags in parentheses, or (STORE allows it) bare.
    pub(crate) fn flags(&mut self) -> Parsed<Flags> {
        let mut flags = Flags::default();
        let listed = self.eat(b'(');
        if listed && self.eat(b')') {
            return Ok(flags);
        }
        loop {
            self.flag(&mut flags)?;
            if listed && self.eat(b')') {
                return Ok(flags);
            }
            if !listed && self.is_empty() {
                return Ok(flags);
            }
            self.sp()?;
        }
    }

    fn flag(&mut self, flags: &mut Flags) -> Parsed<()> {
        if self.eat(b'\\') {
            flags.bits |= match self.word()?.as_str() {
                "SEEN" => Flags::SEEN,
                "ANSWERED" => Flags::ANSWERED,
                "FLAGGED" => Flags::FLAGGED,
                "DELETED" => Flags::DELETED,
                "DRAFT" => Flags::DRAFT,
                // RFC 3501 2.3.2: \Recent cannot be altered by the client; clients that copy a
                // message's flags send it all the same.
                "RECENT" => 0,
                _ => return Err(ParseError::Bad("that system flag does not exist")),
            };
            return Ok(());
        }
        let keyword = self.take_while(is_atom_char);
        if keyword.is_empty() || !keyword.is_ascii() {
            return Err(ParseError::Bad("a flag is missing"));
        }
        if flags.keywords.len() == KEYWORDS_MAX || keyword.len() > KEYWORD_LEN_MAX {
            return Err(ParseError::Bad("too many or too long keywords"));
        }
        flags.add_keyword(&String::from_utf8_lossy(keyword));
        Ok(())
    }
}

/// `bytes` as UTF-8 or a refusal.
pub(crate) fn utf8(bytes: Cow<'_, [u8]>) -> Parsed<String> {
    match std::str::from_utf8(&bytes) {
        Ok(text) => Ok(text.to_owned()),
        Err(_) => Err(ParseError::Bad("an argument is not UTF-8")),
    }
}

/// RFC 9051 9: `ATOM-CHAR`, and bytes above 127, which some clients send unencoded.
pub(crate) fn is_atom_char(b: u8) -> bool {
    b > 0x20 && b != 0x7f && !matches!(b, b'(' | b')' | b'{' | b'%' | b'*' | b'"' | b'\\' | b']')
}

/// RFC 9051 9: `ASTRING-CHAR`.
fn is_astring_char(b: u8) -> bool {
    is_atom_char(b) || b == b']'
}
