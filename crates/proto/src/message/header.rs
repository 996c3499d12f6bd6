//! Header sections: their fields, unfolding, RFC 2047 encoded words, structured values.
//!
//! Tolerant: any bytes are a header section, lines that are no field are passed over, LF alone ends
//! a line. Nothing here refuses. Deliberately absent: addresses ([`super::address`]).

use super::decode;
use std::ops::Range;

/// One field of a header section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    /// The name as written, without the colon.
    pub name: &'a [u8],
    /// The value as written, with its folding, without the line end that ends the field.
    pub value: &'a [u8],
    /// Where the whole field lies in the section, the line end included.
    pub range: Range<usize>,
}

/// The fields of a header section, in order. Stops at the empty line.
#[must_use]
pub fn fields(raw: &[u8]) -> Fields<'_> {
    Fields { raw, at: 0 }
}

/// Iterator of [`fields`].
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    raw: &'a [u8],
    at: usize,
}

impl<'a> Iterator for Fields<'a> {
    type Item = Field<'a>;

    fn next(&mut self) -> Option<Field<'a>> {
        loop {
            let start = self.at;
            let first = line_end(self.raw, start)?;
            if trim_eol(self.raw.get(start..first)?).is_empty() {
                self.at = self.raw.len();
                return None;
            }
            // RFC 5322 2.2.3: a line that starts with white space continues the field.
            let mut end = first;
            while matches!(self.raw.get(end), Some(b' ' | b'\t')) {
                end = line_end(self.raw, end)?;
            }
            self.at = end;
            let field = trim_eol(self.raw.get(start..end)?);
            let Some(colon) = memchr::memchr(b':', field) else { continue };
            // RFC 5322 4.5: obsolete syntax lets white space stand before the colon.
            let name = field.get(..colon)?.trim_ascii_end();
            if name.is_empty() || !name.iter().all(|b| (33..=126).contains(b)) {
                continue;
            }
            return Some(Field { name, value: field.get(colon + 1..)?, range: start..end });
        }
    }
}

/// The first field with this name, if there is one. Names compare without case.
#[must_use]
pub fn find<'a>(raw: &'a [u8], name: &str) -> Option<&'a [u8]> {
    fields(raw).find(|f| f.name.eq_ignore_ascii_case(name.as_bytes())).map(|f| f.value)
}

/// RFC 9051 6.4.5: the fields with one of `names` (`not`: with none of them) as they stand in `raw`,
/// and the empty line.
#[must_use]
pub fn select(raw: &[u8], names: &[impl AsRef<[u8]>], not: bool) -> Vec<u8> {
    let mut out = Vec::new();
    for field in fields(raw) {
        if names.iter().any(|n| field.name.eq_ignore_ascii_case(n.as_ref())) != not {
            let bytes = raw.get(field.range).unwrap_or_default();
            out.extend_from_slice(bytes);
            if !bytes.ends_with(b"\n") {
                out.extend_from_slice(b"\r\n");
            }
        }
    }
    out.extend_from_slice(b"\r\n");
    out
}

/// RFC 5322 2.2.3: the value on one line: line ends removed, outer white space trimmed.
#[must_use]
pub fn unfold(value: &[u8]) -> Vec<u8> {
    value
        .iter()
        .copied()
        .filter(|b| !matches!(b, b'\r' | b'\n'))
        .collect::<Vec<_>>()
        .trim_ascii()
        .to_vec()
}

/// One past the LF that ends the line at `start`, or the end; `None` at the end of `raw`.
fn line_end(raw: &[u8], start: usize) -> Option<usize> {
    let rest = raw.get(start..).filter(|r| !r.is_empty())?;
    Some(memchr::memchr(b'\n', rest).map_or(raw.len(), |i| start + i + 1))
}

fn trim_eol(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

// ---- encoded words

/// Longest encoded word in bytes that is read as one. RFC 2047 2 says 75; senders exceed it.
const ENCODED_WORD_LEN_MAX: usize = 2_048;

/// RFC 2047: the value as a person reads it, on one line. What is no encoded word is taken as UTF-8,
/// or else windows-1252; control characters become spaces.
#[must_use]
pub fn decode_words(value: &[u8]) -> String {
    let value = unfold(value);
    let mut out = String::new();
    // Adjacent words of one charset are joined before decoding: senders split characters.
    let mut run: Option<(String, Vec<u8>)> = None;
    let mut rest = value.as_slice();
    while let Some(at) = memchr::memmem::find(rest, b"=?") {
        let (before, word) = rest.split_at_checked(at).unwrap_or((rest, &[]));
        let Some((charset, octets, len)) = encoded_word(word) else {
            end_run(&mut run, &mut out);
            let plain = at.saturating_add(2);
            push_text(&mut out, &decode::text(rest.get(..plain).unwrap_or_default(), None));
            rest = rest.get(plain..).unwrap_or_default();
            continue;
        };
        // RFC 2047 6.2: white space between adjacent encoded words is not shown.
        if run.is_none() || !before.trim_ascii().is_empty() {
            end_run(&mut run, &mut out);
            push_text(&mut out, &decode::text(before, None));
        }
        match &mut run {
            Some((same, bytes)) if *same == charset => bytes.extend_from_slice(&octets),
            _ => {
                end_run(&mut run, &mut out);
                run = Some((charset, octets));
            }
        }
        rest = word.get(len..).unwrap_or_default();
    }
    end_run(&mut run, &mut out);
    push_text(&mut out, &decode::text(rest, None));
    out
}

fn end_run(run: &mut Option<(String, Vec<u8>)>, out: &mut String) {
    if let Some((charset, bytes)) = run.take() {
        push_text(out, &decode::text(&bytes, Some(&charset)));
    }
}

fn push_text(out: &mut String, text: &str) {
    out.extend(text.chars().map(|c| if c.is_control() { ' ' } else { c }));
}

/// The encoded word that `bytes` starts with: charset, octets, length in `bytes`.
fn encoded_word(bytes: &[u8]) -> Option<(String, Vec<u8>, usize)> {
    let bytes = bytes.get(..ENCODED_WORD_LEN_MAX).unwrap_or(bytes);
    let rest = bytes.strip_prefix(b"=?")?;
    let (charset, rest) = rest.split_at_checked(memchr::memchr(b'?', rest)?)?;
    let [b'?', encoding, b'?', text @ ..] = rest else { return None };
    let (text, after) = text.split_at_checked(memchr::memmem::find(text, b"?=")?)?;
    let octets = match encoding.to_ascii_uppercase() {
        b'B' => {
            let mut octets = Vec::new();
            decode::TransferDecoder::new(super::Encoding::Base64).feed(text, &mut octets);
            octets
        }
        b'Q' => q_octets(text),
        _ => return None,
    };
    // RFC 2231 5: a language may follow the charset.
    let charset = charset.split(|b| *b == b'*').next()?;
    let charset = String::from_utf8(charset.to_ascii_lowercase()).ok()?;
    Some((charset, octets, bytes.len() - after.len() + 2))
}

/// RFC 2047 4.2.
fn q_octets(text: &[u8]) -> Vec<u8> {
    percent_like(text, b'=')
        .into_iter()
        .map(|(b, coded)| if b == b'_' && !coded { b' ' } else { b })
        .collect()
}

/// Octets written as `mark` and two hexadecimal digits, each with whether it was.
fn percent_like(text: &[u8], mark: u8) -> Vec<(u8, bool)> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [b, more @ ..] = rest {
        rest = more;
        if let (true, [high, low, after @ ..]) = (*b == mark, more)
            && let (Some(high), Some(low)) = (decode::hex(*high), decode::hex(*low))
        {
            out.push((high << 4 | low, true));
            rest = after;
        } else {
            out.push((*b, false));
        }
    }
    out
}

// ---- structured values

/// Most parameters of one value; more are passed over.
const PARAMETERS_MAX: usize = 64;
/// Longest parameter in bytes; longer ones are cut.
const PARAMETER_LEN_MAX: usize = 2_048;

/// A value with parameters: Content-Type, Content-Disposition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Structured {
    /// What stands before the first semicolon, without comments, in lower case.
    pub value: Vec<u8>,
    /// Names in lower case and values, in order. RFC 2231 3: continuations are joined; 4: a value
    /// with a charset keeps its encoding, and its name the final `*`.
    pub parameters: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Structured {
    /// Reads a raw value.
    #[must_use]
    pub fn parse(raw: &[u8]) -> Self {
        let raw = unfold(raw);
        let mut lexer = Lexer { rest: &raw };
        let value = lexer.plain(b";").to_ascii_lowercase();
        let mut found = Vec::new();
        while found.len() < PARAMETERS_MAX && lexer.next_is(b';') {
            let name = lexer.plain(b"=;").to_ascii_lowercase();
            if !lexer.next_is(b'=') {
                continue;
            }
            let mut value = lexer.value();
            value.truncate(PARAMETER_LEN_MAX);
            if !name.is_empty() && name.len() <= 127 {
                found.push((name, value));
            }
        }
        Self { value, parameters: join_continuations(found) }
    }

    /// The parameter's octets, RFC 2231 encoding removed.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<Vec<u8>> {
        let name = name.as_bytes();
        let plain = self.parameters.iter().find(|(n, _)| n == name);
        if let Some((_, value)) = plain {
            return Some(value.clone());
        }
        let (_, value) =
            self.parameters.iter().find(|(n, _)| n.strip_suffix(b"*") == Some(name))?;
        let text = value.splitn(3, |b| *b == b'\'').nth(2)?;
        Some(percent_like(text, b'%').into_iter().map(|(b, _)| b).collect())
    }
}

/// RFC 2231 3: `name*0`, `name*1*`, … become one `name`, or `name*` if any of them is encoded.
fn join_continuations(found: Vec<(Vec<u8>, Vec<u8>)>) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut out: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    let sections: Vec<_> = found.iter().map(|(name, _)| section(name)).collect();
    for ((name, value), mine) in found.iter().zip(&sections) {
        let Some((base, 0, _)) = mine else {
            // A later section belongs to its first one; without one it stands for itself.
            if mine.is_none_or(|(base, _, _)| {
                !sections.iter().flatten().any(|(b, n, _)| *b == base && *n == 0)
            }) {
                out.push((name.clone(), value.clone()));
            }
            continue;
        };
        let mut pieces = Vec::new();
        for number in 0..PARAMETERS_MAX {
            let piece = found.iter().zip(&sections).find_map(|((_, value), s)| {
                s.filter(|(b, n, _)| b == base && *n == number).map(|(_, _, coded)| (value, coded))
            });
            let Some(piece) = piece else { break };
            pieces.push(piece);
        }
        let coded = pieces.iter().any(|(_, coded)| *coded);
        let mut joined = Vec::new();
        if coded && pieces.first().is_some_and(|(_, coded)| !coded) {
            joined.extend_from_slice(b"''");
        }
        for (value, piece_coded) in pieces {
            if coded && !piece_coded {
                value.iter().for_each(|b| push_percent(&mut joined, *b));
            } else {
                joined.extend_from_slice(value);
            }
        }
        joined.truncate(PARAMETER_LEN_MAX);
        let mut name = base.to_vec();
        if coded {
            name.push(b'*');
        }
        if !out.iter().any(|(n, _)| *n == name) {
            out.push((name, joined));
        }
    }
    out
}

/// `name*3*` is the name, 3, and whether the value is encoded.
fn section(name: &[u8]) -> Option<(&[u8], usize, bool)> {
    let (rest, coded) = name.strip_suffix(b"*").map_or((name, false), |rest| (rest, true));
    let star = memchr::memrchr(b'*', rest)?;
    let digits = rest.get(star.checked_add(1)?..)?;
    if !(1..=3).contains(&digits.len()) || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = digits.iter().fold(0, |n, d| n * 10 + usize::from(d - b'0'));
    Some((rest.get(..star)?, number, coded))
}

fn push_percent(out: &mut Vec<u8>, b: u8) {
    // RFC 2231 7: attribute-char.
    if b.is_ascii_graphic() && !b"*'%()<>@,;:\\\"/[]?=".contains(&b) {
        out.push(b);
    } else {
        out.push(b'%');
        for digit in [b >> 4, b & 15] {
            out.push(b"0123456789ABCDEF".get(usize::from(digit)).copied().unwrap_or(b'0'));
        }
    }
}

/// Reads a structured value from its front.
struct Lexer<'a> {
    rest: &'a [u8],
}

impl Lexer<'_> {
    /// Takes `b` if it is next after white space and comments.
    fn next_is(&mut self, b: u8) -> bool {
        self.skip_blank();
        let taken = self.rest.strip_prefix(&[b]);
        self.rest = taken.unwrap_or(self.rest);
        taken.is_some()
    }

    fn skip_blank(&mut self) {
        loop {
            self.rest = self.rest.trim_ascii_start();
            match comment_len(self.rest) {
                Some(len) => self.rest = self.rest.get(len..).unwrap_or_default(),
                None => return,
            }
        }
    }

    /// Takes what stands before the next of `ends`, without comments and white space.
    fn plain(&mut self, ends: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        loop {
            self.skip_blank();
            match self.rest {
                [b, rest @ ..] if !ends.contains(b) => {
                    out.push(*b);
                    self.rest = rest;
                }
                _ => return out,
            }
        }
    }

    /// Takes a parameter's value: a quoted string, or what stands before the semicolon.
    fn value(&mut self) -> Vec<u8> {
        self.skip_blank();
        if self.rest.first() == Some(&b'"') {
            let (value, len) = quoted(self.rest);
            self.rest = self.rest.get(len..).unwrap_or_default();
            // What stands between the quotes' end and the semicolon is no part of it.
            self.plain(b";");
            return value;
        }
        let end = memchr::memchr(b';', self.rest).unwrap_or(self.rest.len());
        let (value, rest) = self.rest.split_at_checked(end).unwrap_or((self.rest, &[]));
        self.rest = rest;
        // RFC 2045 5.1: a comment may follow; but parentheses also stand in unquoted file names.
        let value = value.trim_ascii();
        let mut at = 0;
        while let Some(open) = memchr::memmem::find(value.get(at..).unwrap_or_default(), b" (") {
            let (before, comment) = value.split_at_checked(at + open + 1).unwrap_or((value, &[]));
            let len = comment_len(comment).unwrap_or(1);
            if len == comment.len() {
                return before.trim_ascii_end().to_vec();
            }
            at = before.len() + len;
        }
        value.to_vec()
    }
}

/// The quoted string that `bytes` starts with: its content, and its length with the quotes. One
/// without an end reaches to the end.
pub(super) fn quoted(bytes: &[u8]) -> (Vec<u8>, usize) {
    let mut out = Vec::new();
    let mut escaped = false;
    for (i, b) in bytes.iter().enumerate().skip(1) {
        match b {
            _ if escaped => {
                out.push(*b);
                escaped = false;
            }
            b'\\' => escaped = true,
            b'"' => return (out, i + 1),
            b'\r' | b'\n' => {}
            _ => out.push(*b),
        }
    }
    (out, bytes.len())
}

/// Length of the comment that `bytes` starts with. RFC 5322 3.2.2: comments nest; one without an end
/// reaches to the end.
pub(super) fn comment_len(bytes: &[u8]) -> Option<usize> {
    if bytes.first() != Some(&b'(') {
        return None;
    }
    let mut depth = 0usize;
    let mut escaped = false;
    for (i, b) in bytes.iter().enumerate() {
        match b {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'(' => depth += 1,
            b')' => {
                depth -= 1;
                if depth == 0 {
                    return Some(i + 1);
                }
            }
            _ => {}
        }
    }
    Some(bytes.len())
}

/// The value with every comment replaced by a space.
pub(super) fn without_comments(value: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = value;
    while let [b, more @ ..] = rest {
        if let Some(len) = comment_len(rest) {
            out.push(b' ');
            rest = rest.get(len..).unwrap_or_default();
        } else {
            out.push(*b);
            rest = more;
        }
    }
    out
}

// ---- message ids

/// Longest message id in bytes; RFC 5322 2.1.1 leaves room for 998, real ones have under 200.
pub const MESSAGE_ID_LEN_MAX: usize = 256;

/// RFC 5322 3.6.4: the message ids in a value, without angle brackets, in order. Over-long ones are
/// passed over. Without any angle bracket, words with an at sign are taken.
pub fn message_ids(value: &[u8]) -> impl Iterator<Item = String> {
    let plain = without_comments(&unfold(value));
    let bare = !plain.contains(&b'<');
    let ids: Vec<String> = plain
        .split(|b| if bare { b.is_ascii_whitespace() } else { *b == b'>' })
        .filter_map(|piece| {
            let id = match memchr::memrchr(b'<', piece) {
                Some(open) => piece.get(open.checked_add(1)?..)?,
                None if bare && piece.contains(&b'@') => piece,
                None => return None,
            };
            let id: Vec<u8> =
                id.iter().copied().filter(|b| !b.is_ascii_control() && *b != b' ').collect();
            let id = decode::text(&id, None);
            (!id.is_empty() && id.len() <= MESSAGE_ID_LEN_MAX).then_some(id)
        })
        .collect();
    ids.into_iter()
}
