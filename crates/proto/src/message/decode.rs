//! From a body's octets to text, streaming: transfer encodings, charsets, substring search.
//!
//! Decoders never refuse: damaged input gives what can be read of it. Splitting the input makes no
//! difference, and each holds only a few octets between calls. Deliberately absent: encoding.

use super::Encoding;
use encoding_rs::{CoderResult, Decoder, UTF_8, WINDOWS_1252};

/// White space at the end of a quoted-printable line that is held back in case the line ends there;
/// more than this is content. RFC 2045 6.7 limits lines to 76 octets.
const QP_BLANKS_MAX: usize = 256;

/// RFC 2045 6: removes a transfer encoding, streaming.
#[derive(Debug)]
pub struct TransferDecoder(Transfer);

#[derive(Debug)]
enum Transfer {
    Identity,
    Base64 { bits: u32, have: u8 },
    QuotedPrintable { state: Qp, blanks: Vec<u8> },
}

#[derive(Clone, Copy, Debug)]
enum Qp {
    Text,
    Equals,
    /// `=` and blanks: a soft line break if the line ends here.
    EqualsBlank,
    Hex(u8),
}

impl TransferDecoder {
    /// A decoder at the start of a body. An unknown encoding is passed through.
    #[must_use]
    pub fn new(encoding: Encoding) -> Self {
        Self(match encoding {
            Encoding::Identity | Encoding::Unknown => Transfer::Identity,
            Encoding::Base64 => Transfer::Base64 { bits: 0, have: 0 },
            Encoding::QuotedPrintable => {
                Transfer::QuotedPrintable { state: Qp::Text, blanks: Vec::new() }
            }
        })
    }

    /// Decodes the next octets onto the end of `out`.
    pub fn feed(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        match &mut self.0 {
            Transfer::Identity => out.extend_from_slice(bytes),
            Transfer::Base64 { bits, have } => {
                bytes.iter().for_each(|b| base64_octet(*b, bits, have, out));
            }
            Transfer::QuotedPrintable { state, blanks } => {
                bytes.iter().for_each(|b| *state = qp_octet(*b, *state, blanks, out));
            }
        }
    }

    /// The body ended: gives what was held back.
    pub fn finish(self, out: &mut Vec<u8>) {
        // RFC 2045 6.7 (3): white space at the end of a line is no content; a base64 rest of less
        // than one octet is none either.
        if let Transfer::QuotedPrintable { state: Qp::Hex(first), .. } = self.0 {
            out.extend_from_slice(&[b'=', first]);
        }
    }
}

/// RFC 2045 6.8: characters outside the alphabet are ignored. `=` ends a quantum; text that goes on
/// after it is taken as a second encoding that was appended.
fn base64_octet(b: u8, bits: &mut u32, have: &mut u8, out: &mut Vec<u8>) {
    let six = match b {
        b'A'..=b'Z' => b - b'A',
        b'a'..=b'z' => b - b'a' + 26,
        b'0'..=b'9' => b - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        b'=' => {
            (*bits, *have) = (0, 0);
            return;
        }
        _ => return,
    };
    *bits = (*bits << 6 | u32::from(six)) & 0xfff;
    *have += 6;
    if *have >= 8 {
        *have -= 8;
        let [.., octet] = (*bits >> *have).to_be_bytes();
        out.push(octet);
    }
}

fn qp_octet(b: u8, state: Qp, blanks: &mut Vec<u8>, out: &mut Vec<u8>) -> Qp {
    match state {
        Qp::Text => match b {
            b' ' | b'\t' if blanks.len() < QP_BLANKS_MAX => blanks.push(b),
            b'\r' if blanks.len() < QP_BLANKS_MAX => blanks.push(b),
            b'\n' => {
                // RFC 2045 6.7 (3): white space at the end of a line was added on the way.
                let eol: &[u8] = if blanks.ends_with(b"\r") { b"\r\n" } else { b"\n" };
                blanks.clear();
                out.extend_from_slice(eol);
            }
            _ => {
                out.append(blanks);
                if b == b'=' {
                    return Qp::Equals;
                }
                out.push(b);
            }
        },
        Qp::Equals | Qp::EqualsBlank => match (b, state) {
            // RFC 2045 6.7 (5): a soft line break is no content.
            (b'\n', _) => {}
            (b' ' | b'\t' | b'\r', _) => return Qp::EqualsBlank,
            (_, Qp::Equals) if b.is_ascii_hexdigit() => return Qp::Hex(b),
            _ => {
                out.push(b'=');
                return qp_octet(b, Qp::Text, blanks, out);
            }
        },
        Qp::Hex(first) => match (hex(first), hex(b)) {
            (Some(high), Some(low)) => out.push(high << 4 | low),
            _ => {
                out.extend_from_slice(&[b'=', first]);
                return qp_octet(b, Qp::Text, blanks, out);
            }
        },
    }
    Qp::Text
}

/// The value of a hexadecimal digit.
pub(super) fn hex(b: u8) -> Option<u8> {
    char::from(b).to_digit(16).and_then(|d| u8::try_from(d).ok())
}

/// Turns octets of a charset into UTF-8, streaming.
struct CharsetDecoder {
    /// `None` until the first octets beyond ASCII tell UTF-8 from windows-1252.
    decoder: Option<Decoder>,
    /// The start of a first sequence beyond ASCII, at most three octets.
    undecided: Vec<u8>,
}

impl CharsetDecoder {
    /// Missing, unknown and ASCII labels are guessed: UTF-8 if the first sequence beyond ASCII is.
    fn new(charset: Option<&str>) -> Self {
        let label = charset.unwrap_or_default().trim().as_bytes();
        let guess = [&b"us-ascii"[..], b"ascii"].iter().any(|a| label.eq_ignore_ascii_case(a));
        let encoding = if guess { None } else { encoding_rs::Encoding::for_label(label) };
        Self { decoder: encoding.map(|e| e.new_decoder()), undecided: Vec::new() }
    }

    fn feed(&mut self, bytes: &[u8], out: &mut String, last: bool) {
        if let Some(decoder) = &mut self.decoder {
            return convert(decoder, bytes, out, last);
        }
        let mut rest = bytes;
        if self.undecided.is_empty() {
            let ascii = rest.iter().position(|b| !b.is_ascii()).unwrap_or(rest.len());
            let (plain, more) = rest.split_at_checked(ascii).unwrap_or((rest, &[]));
            out.push_str(std::str::from_utf8(plain).unwrap_or_default());
            rest = more;
        }
        while let [b, more @ ..] = rest {
            self.undecided.push(*b);
            rest = more;
            let chosen = match std::str::from_utf8(&self.undecided) {
                Ok(_) => UTF_8,
                Err(e) if e.error_len().is_none() => continue,
                Err(_) => WINDOWS_1252,
            };
            return self.decide(chosen, rest, out, last);
        }
        if last && !self.undecided.is_empty() {
            self.decide(WINDOWS_1252, &[], out, last);
        }
    }

    fn decide(
        &mut self,
        chosen: &'static encoding_rs::Encoding,
        rest: &[u8],
        out: &mut String,
        last: bool,
    ) {
        let mut decoder = chosen.new_decoder();
        convert(&mut decoder, &std::mem::take(&mut self.undecided), out, false);
        convert(&mut decoder, rest, out, last);
        self.decoder = Some(decoder);
    }
}

fn convert(decoder: &mut Decoder, bytes: &[u8], out: &mut String, last: bool) {
    let mut rest = bytes;
    loop {
        let need = decoder.max_utf8_buffer_length(rest.len()).unwrap_or(rest.len());
        out.reserve(need);
        let (result, read, _) = decoder.decode_to_string(rest, out, last);
        rest = rest.get(read..).unwrap_or_default();
        if result == CoderResult::InputEmpty {
            return;
        }
    }
}

/// Turns all of `bytes` into UTF-8; see [`TextDecoder`] for the rules.
#[must_use]
pub fn text(bytes: &[u8], charset: Option<&str>) -> String {
    let mut out = String::new();
    CharsetDecoder::new(charset).feed(bytes, &mut out, true);
    out
}

/// Turns a body's octets into text, streaming: transfer encoding, then charset to UTF-8. What is not
/// readable becomes U+FFFD. A missing or unknown charset is read as UTF-8 or else windows-1252.
pub struct TextDecoder {
    transfer: TransferDecoder,
    charset: CharsetDecoder,
    octets: Vec<u8>,
}

impl TextDecoder {
    /// A decoder at the start of a body; take both arguments from its [`super::Part`].
    #[must_use]
    pub fn new(encoding: Encoding, charset: Option<&str>) -> Self {
        Self {
            transfer: TransferDecoder::new(encoding),
            charset: CharsetDecoder::new(charset),
            octets: Vec::new(),
        }
    }

    /// Decodes the next octets onto the end of `out`, at most about three times as many bytes.
    pub fn feed(&mut self, bytes: &[u8], out: &mut String) {
        self.octets.clear();
        self.transfer.feed(bytes, &mut self.octets);
        self.charset.feed(&self.octets, out, false);
    }

    /// The body ended: gives what was held back.
    pub fn finish(mut self, out: &mut String) {
        self.octets.clear();
        self.transfer.finish(&mut self.octets);
        self.charset.feed(&self.octets, out, true);
    }
}

/// Finds a text in a text that comes in chunks, without regard to case: each character is mapped to
/// its upper and then its lower case (RFC 5051 in spirit, without its decomposition).
#[derive(Clone, Debug)]
pub struct Search {
    needle: Vec<char>,
    /// Knuth-Morris-Pratt: how much of the needle still matches after a mismatch behind this many.
    fallback: Vec<usize>,
    matched: usize,
    found: bool,
}

impl Search {
    /// A search for `needle`; the empty text is found in everything.
    #[must_use]
    pub fn new(needle: &str) -> Self {
        let needle: Vec<char> = needle.chars().flat_map(fold_case).collect();
        let mut search =
            Self { fallback: Vec::with_capacity(needle.len()), matched: 0, found: false, needle };
        // The table is the needle's search for itself, one character behind.
        for (i, c) in search.needle.clone().into_iter().enumerate() {
            if i > 0 {
                search.step(c);
            }
            search.fallback.push(search.matched);
        }
        search.matched = 0;
        search.found = search.needle.is_empty();
        search
    }

    /// Looks at the next text; says whether the needle has been found so far.
    pub fn feed(&mut self, text: &str) -> bool {
        for c in text.chars() {
            if self.found {
                break;
            }
            for c in fold_case(c) {
                self.step(c);
                self.found |= self.matched == self.needle.len();
            }
        }
        self.found
    }

    /// Forgets a partial match: what follows does not continue the text (another part or field).
    pub fn interrupt(&mut self) {
        self.matched = 0;
    }

    /// Whether the needle has been found.
    #[must_use]
    pub fn found(&self) -> bool {
        self.found
    }

    fn step(&mut self, c: char) {
        while self.matched > 0 && self.needle.get(self.matched) != Some(&c) {
            self.matched = self.fallback.get(self.matched - 1).copied().unwrap_or(0);
        }
        if self.needle.get(self.matched) == Some(&c) {
            self.matched += 1;
        }
    }
}

/// Whether `text` holds `needle` without regard to case.
#[must_use]
pub fn contains(text: &str, needle: &str) -> bool {
    Search::new(needle).feed(text)
}

fn fold_case(c: char) -> impl Iterator<Item = char> {
    c.to_uppercase().flat_map(char::to_lowercase)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decoded(encoding: Encoding, charset: Option<&str>, chunks: &[&[u8]]) -> String {
        let mut out = String::new();
        let mut decoder = TextDecoder::new(encoding, charset);
        for c in chunks {
            decoder.feed(c, &mut out);
        }
        decoder.finish(&mut out);
        out
    }

    #[test]
    fn transfer_encodings_are_removed() {
        let b64 = |s: &str| decoded(Encoding::Base64, None, &[s.as_bytes()]);
        assert_eq!(b64("SGVsbG8sIHdvcmxkIQ=="), "Hello, world!");
        assert_eq!(b64("SGVs\r\nbG8=\r\nSGk="), "HelloHi");
        assert_eq!(b64("SGVsbG8"), "Hello");
        assert_eq!(b64("!S?G-V s"), "Hel");
        let qp = |s: &str| decoded(Encoding::QuotedPrintable, None, &[s.as_bytes()]);
        assert_eq!(qp("caf=C3=a9 =\r\nnoir  \r\nx"), "café noir\r\nx");
        assert_eq!(qp("a=ZZ=4 =\t\r\nb="), "a=ZZ=4 b");
        assert_eq!(qp("100%=3D100% \n"), "100%=100%\n");
    }

    #[test]
    fn charsets_become_utf_8() {
        let id = |b: &[u8], c| decoded(Encoding::Identity, c, &[b]);
        assert_eq!(id(b"caf\xe9", Some("iso-8859-1")), "café");
        assert_eq!(id(b"\xa4", Some("ISO-8859-15")), "€");
        assert_eq!(id(b"\x80", Some("windows-1252")), "€");
        assert_eq!(id("café".as_bytes(), Some("us-ascii")), "café");
        assert_eq!(id(b"caf\xe9 x", None), "café x");
        assert_eq!(id(b"caf\xe9", Some("x-unheard-of")), "café");
        assert_eq!(id(b"\x1b$B$3$s\x1b(B", Some("iso-2022-jp")), "こん");
        assert_eq!(id(b"\xff", Some("utf-8")), "\u{fffd}");
    }

    #[test]
    fn search_knows_no_case_and_no_chunks() {
        assert!(contains("Die STRASSE", "straße"));
        assert!(contains("ΟΔΟΣ", "οδος"));
        assert!(contains("xaabaabaaabx", "AABAAA"));
        assert!(!contains("abc", "abd"));
        assert!(contains("", ""));
        let mut s = Search::new("needle");
        assert!(!s.feed("nee"));
        assert!(s.feed("NeedLE"));
        let mut s = Search::new("needle");
        s.feed("nee");
        s.interrupt();
        assert!(!s.feed("dle"));
    }

    proptest! {
        #[test]
        fn chunks_make_no_difference(
            bytes in prop::collection::vec(prop_oneof![Just(b'='), Just(b'\n'), Just(b'\r'), Just(b' '), Just(b'4'), any::<u8>()], 0..200),
            cut in any::<prop::sample::Index>(),
            encoding in prop_oneof![Just(Encoding::Identity), Just(Encoding::Base64), Just(Encoding::QuotedPrintable)],
            charset in prop_oneof![Just(None), Just(Some("utf-8")), Just(Some("iso-2022-jp")), Just(Some("gb18030")), Just(Some("utf-16"))],
        ) {
            let (a, b) = bytes.split_at(cut.index(bytes.len() + 1));
            prop_assert_eq!(decoded(encoding, charset, &[&bytes]), decoded(encoding, charset, &[a, b]));
        }

        #[test]
        fn search_finds_what_contains_finds(hay in "[abAB]{0,30}", needle in "[abAB]{0,4}", cut in 0usize..30) {
            let (a, b) = hay.split_at(cut.min(hay.len()));
            let mut s = Search::new(&needle);
            s.feed(a);
            prop_assert_eq!(s.feed(b), hay.to_lowercase().contains(&needle.to_lowercase()));
        }
    }
}
