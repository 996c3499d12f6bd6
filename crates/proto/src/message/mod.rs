//! What a mail message says about itself, understood while its bytes stream past.
//!
//! [`Scanner`] takes a message of any size in chunks of any size and gives a [`Summary`]: what IMAP,
//! search and threads need without reading the body again. Invariants: any bytes give a `Summary`,
//! nothing is refused; chunking makes no difference; memory stays bounded ([`Scanner`]'s constants)
//! and so does the encoded `Summary` ([`SUMMARY_LEN_MAX`]), so that it fits one row and one record.
//!
//! Deliberately absent: building messages, verifying them (`mail_auth`), and holding them.

pub mod address;
pub mod date;
pub mod decode;
pub mod header;
pub mod html;
mod preview;
mod scanner;
mod structure;

pub use scanner::{DEPTH_MAX, HEADER_LEN_MAX, PARTS_MAX, Scanner};

use crate::time::UnixMs;
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// Longest encoding of a [`Summary`] in bytes, whatever the message: it travels in one record of
/// the log with room to spare.
pub const SUMMARY_LEN_MAX: usize = 240 * 1024;
/// Longest [`Summary::preview`] in bytes (RFC 8970 4.1 allows 256 characters).
pub const PREVIEW_LEN_MAX: usize = 256;

/// What is kept of a message besides its bytes. Stored in the message's row at delivery.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// The message's length in octets.
    pub size: u64,
    /// Length of the message's header in octets, the empty line that ends it included.
    pub header_len: u32,
    /// RFC 9051 7.5.2 ENVELOPE: the parenthesised list, ready to send.
    pub envelope: Vec<u8>,
    /// RFC 9051 7.5.2 BODY: the parenthesised list without extension data, ready to send.
    pub body: Vec<u8>,
    /// RFC 9051 7.5.2 BODYSTRUCTURE: the parenthesised list, ready to send.
    pub bodystructure: Vec<u8>,
    /// Every part in the order of the message; the first is the message itself. The part after one
    /// of kind [`PartKind::Message`] is the root of the message that it carries.
    pub parts: Vec<Part>,
    /// The first text that a person would read, white space folded, at most [`PREVIEW_LEN_MAX`].
    pub preview: String,
    /// The decoded subject, at most 512 bytes; empty without one.
    pub subject: String,
    /// `Name <mailbox@host>, …` of From, decoded, at most 512 bytes.
    pub from: String,
    /// The same of To, at most 1 KiB.
    pub to: String,
    /// The same of Cc, at most 1 KiB.
    pub cc: String,
    /// Message-ID without its angle brackets, at most 256 bytes.
    pub message_id: Option<String>,
    /// The message ids in In-Reply-To, without angle brackets, at most four.
    pub in_reply_to: Vec<String>,
    /// The message ids in References, without angle brackets: the first and the last fifteen.
    pub references: Vec<String>,
    /// When the sender says it was sent; `None` when it does not say, or says what is no date.
    pub date: Option<UnixMs>,
    /// How far the sender's clock was ahead of UTC, in minutes: with `date` it gives the sender's
    /// day, which RFC 9051 6.4.4 SENTON compares.
    pub zone_minutes: i16,
}

/// One entity of a message: the message itself, a body part, or the root of a message in a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// RFC 9051 6.4.5 part numbers. The root of a message has its carrier's path (none for the
    /// outermost) when it is a multipart, and that path with a 1 appended when it is not.
    pub path: Vec<u16>,
    /// What the part is made of.
    pub kind: PartKind,
    /// `type/subtype` in lower case, at most 127 bytes.
    pub media: String,
    /// The `charset` parameter in lower case, at most 40 bytes.
    pub charset: Option<String>,
    /// How the body's octets are encoded.
    pub encoding: Encoding,
    /// Whether the part asks to be treated as an attachment (RFC 2183 2.2).
    pub attachment: bool,
    /// Where the header lies in the message, the empty line that ends it included.
    pub header: Span,
    /// Where the body lies in the message.
    pub body: Span,
}

/// What a part is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PartKind {
    /// Text; also a part that names no type.
    Text,
    /// Parts between boundaries.
    Multipart,
    /// A message; the next entry of [`Summary::parts`] is its root.
    Message,
    /// Anything else, and whatever lies beyond the scanner's bounds.
    Other,
}

/// RFC 2045 6: how a body's octets are encoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Encoding {
    /// `7bit`, `8bit`, `binary` or none named: the octets are the content.
    #[default]
    Identity,
    /// `quoted-printable`.
    QuotedPrintable,
    /// `base64`.
    Base64,
    /// A name that we do not know: the content cannot be decoded.
    Unknown,
}

/// A stretch of the message in octets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// Offset of its first octet from the start of the message.
    pub at: u64,
    /// Its length.
    pub len: u64,
}

impl Span {
    /// The stretch as a range of offsets.
    #[must_use]
    pub fn range(self) -> Range<u64> {
        self.at..self.at.saturating_add(self.len)
    }
}

/// RFC 9051 6.4.5: which piece of a part a section names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SectionPart {
    /// `BODY[]`, `BODY[1.2]`.
    Whole,
    /// `BODY[HEADER]`, `BODY[2.HEADER]`; HEADER.FIELDS selects from it ([`header::select`]).
    Header,
    /// `BODY[TEXT]`, `BODY[2.TEXT]`.
    Text,
    /// `BODY[2.MIME]`.
    Mime,
}

impl Summary {
    /// RFC 9051 6.4.5: where the section lies in the message, as octet offsets inside `0..size`;
    /// `None` when the message has no such section (then FETCH answers NIL).
    #[must_use]
    pub fn section(&self, path: &[u32], what: SectionPart) -> Option<Range<u64>> {
        if path.is_empty() {
            let root = self.parts.first()?;
            return match what {
                SectionPart::Whole => Some(0..self.size),
                SectionPart::Header => Some(root.header.range()),
                SectionPart::Text => Some(root.body.range()),
                SectionPart::Mime => None,
            };
        }
        // A part comes before the root of the message that it carries, so the first match is it.
        let (index, part) = self.parts.iter().enumerate().find(|(_, p)| p.is_at(path))?;
        match what {
            SectionPart::Whole => Some(part.body.range()),
            SectionPart::Mime => Some(part.header.range()),
            SectionPart::Header | SectionPart::Text => {
                // RFC 9051 6.4.5: with part numbers, these are only for MESSAGE parts.
                if part.kind != PartKind::Message {
                    return None;
                }
                let root = self.parts.get(index.checked_add(1)?)?;
                Some(if what == SectionPart::Header { root.header } else { root.body }.range())
            }
        }
    }

    /// The part at `path`, to decode its body; an empty path names the message itself.
    #[must_use]
    pub fn part(&self, path: &[u32]) -> Option<&Part> {
        if path.is_empty() {
            return self.parts.first();
        }
        self.parts.iter().find(|p| p.is_at(path))
    }
}

impl Part {
    fn is_at(&self, path: &[u32]) -> bool {
        self.path.len() == path.len()
            && self.path.iter().zip(path).all(|(a, b)| u32::from(*a) == *b)
    }
}

#[cfg(test)]
mod tests;
