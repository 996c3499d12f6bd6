//! What of a message can be found: read from its row and its bytes.
//!
//! Bounded per message: [`TEXT_LEN_MAX`] of text, attachments that are text only up to
//! [`ATTACHMENT_LEN_MAX`] (of all others, their names). Whoever indexes and whoever looks through
//! directly read the same. Deliberately absent: text in PDF and office files.

use super::words::{Query, Word, Words};
use super::{FIELDS, Part};
use std::ops::Range;
use understudy_proto::mailbox::Email;
use understudy_proto::message::decode::{TextDecoder, text};
use understudy_proto::message::header::{self, Structured};
use understudy_proto::message::html::Html;
use understudy_proto::message::{self, HEADER_LEN_MAX, PartKind, Span, address};

/// Most text of one message, in bytes; what follows cannot be found.
const TEXT_LEN_MAX: usize = 1024 * 1024;
/// Longest attachment, in encoded bytes, whose text can be found.
const ATTACHMENT_LEN_MAX: u64 = 256 * 1024;
/// Most bytes of a message that are read at once: a part of a body.
const READ_LEN: u64 = 256 * 1024;
/// Most of a part's own header that is looked at, in bytes.
const PART_HEADER_LEN_MAX: u64 = 16 * 1024;

/// The texts of a message, per part of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Document([Vec<String>; FIELDS]);

impl Document {
    /// Reads a message; `read` gives its bytes.
    pub(super) fn read<E>(
        email: &Email,
        read: impl FnMut(Range<u64>) -> Result<Vec<u8>, E>,
    ) -> Result<Self, E> {
        let mut reader = Reader { read, at: 0, bytes: Vec::new(), size: email.size };
        let mut document = Self::default();
        let Some(root) = email.summary.parts.first() else { return Ok(document) };
        let header = reader.collect(root.header, HEADER_LEN_MAX as u64)?;
        document.header(&header);
        let mut left = TEXT_LEN_MAX;
        let mut inner = false;
        for part in &email.summary.parts {
            document.part(&mut reader, part, std::mem::take(&mut inner), &mut left)?;
            // What follows a message's part is the message in it.
            inner = part.kind == PartKind::Message;
        }
        Ok(document)
    }

    /// What the row alone tells, where the bytes cannot be read.
    pub(super) fn of_row(email: &Email) -> Self {
        let mut document = Self::default();
        let summary = &email.summary;
        document.add(Part::From, summary.from.clone());
        document.add(Part::To, summary.to.clone());
        document.add(Part::Cc, summary.cc.clone());
        document.add(Part::Subject, summary.subject.clone());
        for id in summary.message_id.iter().chain(&summary.in_reply_to).chain(&summary.references) {
            document.add(Part::MessageId, id.clone());
        }
        document.add(Part::Body, summary.preview.clone());
        document
    }

    /// Texts of one part, which do not continue each other.
    pub(super) fn texts(&self, part: Part) -> &[String] {
        self.0.get(part as usize).map_or(&[], Vec::as_slice)
    }

    /// Whether all that is looked for is in one of `parts`, each unit in any of them.
    pub(super) fn has(&self, parts: &[Part], query: &Query) -> bool {
        if query.units.is_empty() {
            return false;
        }
        let mut missing: Vec<_> = query.units.iter().collect();
        for part in parts {
            for text in self.texts(*part) {
                let words: Vec<Word> = Words::of(text).collect();
                missing.retain(|unit| unit.places(&words, part.is_stemmed()).next().is_none());
                if missing.is_empty() {
                    return true;
                }
            }
        }
        false
    }

    fn add(&mut self, part: Part, text: String) {
        if !text.is_empty()
            && let Some(texts) = self.0.get_mut(part as usize)
        {
            texts.push(text);
        }
    }

    fn header(&mut self, raw: &[u8]) {
        for field in header::fields(raw) {
            let name = String::from_utf8_lossy(field.name).to_ascii_lowercase();
            let part = match name.as_str() {
                "from" => Part::From,
                "to" => Part::To,
                "cc" => Part::Cc,
                "bcc" => Part::Bcc,
                "subject" => {
                    self.add(Part::Subject, header::decode_words(field.value));
                    continue;
                }
                "message-id" | "in-reply-to" | "references" => {
                    header::message_ids(field.value).for_each(|id| self.add(Part::MessageId, id));
                    continue;
                }
                _ => continue,
            };
            for address in address::parse(field.value) {
                self.add(part, address.display().unwrap_or_default());
            }
        }
    }

    fn part<E>(
        &mut self,
        reader: &mut Reader<impl FnMut(Range<u64>) -> Result<Vec<u8>, E>>,
        part: &message::Part,
        inner: bool,
        left: &mut usize,
    ) -> Result<(), E> {
        let header = reader.collect(part.header, PART_HEADER_LEN_MAX)?;
        if inner {
            let about = ["From", "Subject"].map(|name| header::find(&header, name));
            about.into_iter().flatten().for_each(|v| self.add(Part::Body, header::decode_words(v)));
        }
        if part.kind == PartKind::Multipart {
            return Ok(());
        }
        self.add(Part::Body, file_name(&header).unwrap_or_default());
        let long = part.attachment && part.body.len > ATTACHMENT_LEN_MAX;
        if part.kind != PartKind::Text || long || *left == 0 {
            return Ok(());
        }
        let mut out = Text::new(part.media == "text/html", *left);
        let mut decoder = TextDecoder::new(part.encoding, part.charset.as_deref());
        let mut piece = String::new();
        reader.each(part.body, &mut |bytes| {
            decoder.feed(bytes, &mut piece);
            out.take(&mut piece)
        })?;
        decoder.finish(&mut piece);
        out.take(&mut piece);
        *left = left.saturating_sub(out.text.len());
        self.add(Part::Body, out.text);
        Ok(())
    }
}

/// RFC 2183 2.3, or as senders did before: the name of the file that a part carries.
fn file_name(raw: &[u8]) -> Option<String> {
    let named = |field: &str, parameter: &str| {
        Structured::parse(header::find(raw, field)?).parameter(parameter)
    };
    let name =
        named("Content-Disposition", "filename").or_else(|| named("Content-Type", "name"))?;
    // Many write encoded words there, which RFC 2047 5 forbids.
    Some(header::decode_words(text(&name, None).as_bytes()))
}

/// A part's text on its way.
struct Text {
    html: Option<Html>,
    text: String,
    left: usize,
}

impl Text {
    fn new(html: bool, left: usize) -> Self {
        Self { html: html.then(Html::default), text: String::new(), left }
    }

    /// Takes what is decoded; `false` when it was enough.
    fn take(&mut self, piece: &mut String) -> bool {
        let (text, left) = (&mut self.text, self.left);
        let mut show = |c: char| {
            if text.len() < left {
                text.push(c);
            }
        };
        for c in piece.drain(..) {
            match &mut self.html {
                Some(html) => html.push(c, &mut show),
                None => show(c),
            }
        }
        self.text.len() < self.left
    }
}

/// Reads a message chunk by chunk and keeps the last one: most messages are one.
struct Reader<R> {
    read: R,
    at: u64,
    bytes: Vec<u8>,
    size: u64,
}

impl<E, R: FnMut(Range<u64>) -> Result<Vec<u8>, E>> Reader<R> {
    fn collect(&mut self, span: Span, most: u64) -> Result<Vec<u8>, E> {
        let mut all = Vec::new();
        let span = Span { at: span.at, len: span.len.min(most) };
        self.each(span, &mut |bytes| {
            all.extend_from_slice(bytes);
            true
        })?;
        Ok(all)
    }

    /// Shows the bytes of `span` until `show` has had enough.
    fn each(&mut self, span: Span, show: &mut dyn FnMut(&[u8]) -> bool) -> Result<(), E> {
        let range = span.range();
        let (mut at, end) = (range.start, range.end.min(self.size));
        while at < end {
            if !self.holds(at) {
                self.at = at - at % READ_LEN;
                self.bytes = (self.read)(self.at..self.at.saturating_add(READ_LEN).min(self.size))?;
            }
            let from = usize::try_from(at.saturating_sub(self.at)).unwrap_or(usize::MAX);
            let to = usize::try_from(end.saturating_sub(self.at)).unwrap_or(usize::MAX);
            let bytes = self.bytes.get(from..to.min(self.bytes.len())).unwrap_or_default();
            // A body that is shorter than its row says.
            if bytes.is_empty() || !show(bytes) {
                return Ok(());
            }
            at = at.saturating_add(bytes.len() as u64);
        }
        Ok(())
    }

    fn holds(&self, at: u64) -> bool {
        at >= self.at && at < self.at.saturating_add(self.bytes.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use understudy_proto::message::Scanner;

    fn document(raw: &str) -> Document {
        let mut scanner = Scanner::new();
        scanner.feed(raw.as_bytes());
        let email = Email {
            mailbox: Default::default(),
            uid: Default::default(),
            body: Default::default(),
            size: raw.len() as u64,
            hash: [0; 32],
            summary: scanner.finish(),
        };
        let read = |range: Range<u64>| {
            let end = usize::try_from(range.end).unwrap().min(raw.len());
            Ok::<_, ()>(raw.as_bytes()[usize::try_from(range.start).unwrap()..end].to_vec())
        };
        Document::read(&email, read).unwrap()
    }

    #[test]
    fn a_message_is_read_as_a_person_reads_it() {
        let d = document(concat!(
            "From: =?utf-8?q?J=C3=BCrgen?= <j@example.org>\r\nTo: a@example.org, B <b@example.com>\r\n",
            "Bcc: hidden@example.net\r\nSubject: =?iso-8859-1?q?Gr=FC=DFe?=\r\nMessage-ID: <one@example.org>\r\n",
            "References: <zero@example.org>\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n",
            "--x\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n",
            "<style>p{color:red}</style><p>Sch=C3=B6ne <b>T=C3=B6</b>ne</p><p>Ende</p>\r\n",
            "--x\r\nContent-Type: application/pdf; name=\"=?utf-8?q?Angebot=5F2026=2Epdf?=\"\r\n",
            "Content-Transfer-Encoding: base64\r\nContent-Disposition: attachment\r\n\r\nc2VjcmV0\r\n",
            "--x\r\nContent-Type: text/csv\r\nContent-Disposition: attachment; filename*=utf-8''L%C3%B6hne.csv\r\n\r\n",
            "konto;betrag\r\n--x\r\nContent-Type: message/rfc822\r\n\r\nFrom: in@example.org\r\nSubject: Inneres\r\n\r\ntief\r\n--x--\r\n",
        ));
        assert_eq!(d.texts(Part::From), ["Jürgen <j@example.org>"]);
        assert_eq!(d.texts(Part::To), ["a@example.org", "B <b@example.com>"]);
        assert_eq!(d.texts(Part::Bcc), ["hidden@example.net"]);
        assert_eq!(d.texts(Part::Subject), ["Grüße"]);
        assert_eq!(d.texts(Part::MessageId), ["one@example.org", "zero@example.org"]);
        let body = d.texts(Part::Body).join("|");
        for has in [
            "Schöne Töne",
            "Ende",
            "Angebot_2026.pdf",
            "Löhne.csv",
            "konto;betrag",
            "Inneres",
            "tief",
        ] {
            assert!(body.contains(has), "{has} in {body}");
        }
        assert!(!body.contains("color") && !body.contains("secret"), "{body}");
    }

    #[test]
    fn long_messages_are_read_in_part() {
        let line = "lorem ipsum dolor sit amet\r\n";
        let raw = format!("Subject: x\r\n\r\n{}", line.repeat(100_000));
        let d = document(&raw);
        assert_eq!(d.texts(Part::Body).iter().map(String::len).sum::<usize>(), TEXT_LEN_MAX);
        let big = "YWJj".repeat(100_000);
        let raw = format!(
            "Content-Type: text/plain; name=big.txt\r\nContent-Disposition: attachment\r\nContent-Transfer-Encoding: base64\r\n\r\n{big}"
        );
        assert_eq!(document(&raw).texts(Part::Body), ["big.txt"]);
        assert_eq!(document(""), Document::default());
    }
}
