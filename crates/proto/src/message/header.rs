//! Header sections: their fields, unfolding, RFC 2047 encoded words, structured values.
//!
//! Tolerant: any bytes are a header section, lines that are no field are passed over, LF alone ends
//! a line. Nothing here refuses. Deliberately absent: addresses ([`super::address`]).

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
