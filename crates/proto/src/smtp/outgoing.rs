//! A message as it leaves: what of it is sent, and what is added.
//!
//! Without the `Return-Path:` that stands in front (RFC 5321 4.4: the last host adds it) and without
//! `Bcc:` (RFC 5322 3.6.3); with `Date:` and `Message-ID:` behind the trace where it has none
//! (RFC 6409 8.2, 8.3). The same for the same header and time, so that all copies are one message.

use super::trace;
use crate::message::header;
use crate::time::UnixMs;
use std::ops::Range;

/// Octets of a message that are looked at; a header that is longer leaves as it is from there on.
pub const HEADER_MAX: usize = 262_144;

/// What is sent, piece by piece.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Octets of the message.
    Range(Range<u64>),
    /// Text of our own.
    Text(Vec<u8>),
}

impl Piece {
    /// Its length in octets.
    #[must_use]
    pub fn len(&self) -> u64 {
        match self {
            Self::Range(range) => range.end.saturating_sub(range.start),
            Self::Text(text) => u64::try_from(text.len()).unwrap_or(u64::MAX),
        }
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The pieces of a message of `size` octets that begins with `start` (at least its header, or
/// [`HEADER_MAX`] octets). `at`: when it was accepted here.
#[must_use]
pub fn pieces(start: &[u8], size: u64, hostname: &str, at: UnixMs) -> Vec<Piece> {
    let is = |name: &[u8], what: &str| name.eq_ignore_ascii_case(what.as_bytes());
    let (mut cut, mut trace_end) = (Vec::new(), 0);
    let (mut dated, mut named, mut first, mut in_trace) = (false, false, true, true);
    for field in header::fields(start) {
        let ours = first && is(field.name, "Return-Path");
        first = false;
        if ours || is(field.name, "Bcc") || is(field.name, "Resent-Bcc") {
            cut.push(field.range.clone());
        }
        in_trace &= ours || is(field.name, "Received");
        if in_trace {
            trace_end = field.range.end;
        }
        dated |= is(field.name, "Date");
        named |= is(field.name, "Message-ID");
    }
    let mut added = Vec::new();
    if !dated {
        added.extend_from_slice(format!("Date: {}\r\n", trace::date(at)).as_bytes());
    }
    if !named {
        let mut hasher = blake3::Hasher::new();
        hasher.update(start).update(&at.0.to_be_bytes());
        let unique = hasher.finalize().to_hex();
        let unique = unique.get(..32).unwrap_or_default();
        added.extend_from_slice(format!("Message-ID: <{unique}@{hostname}>\r\n").as_bytes());
    }
    let octets = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
    let (mut pieces, mut from) = (Vec::new(), 0);
    let mut upto = |pieces: &mut Vec<Piece>, end: u64, next: u64| {
        if from < end {
            pieces.push(Piece::Range(from..end));
        }
        from = next;
    };
    let mut added = Some(added).filter(|added| !added.is_empty());
    for range in cut {
        if range.start >= trace_end
            && let Some(text) = added.take()
        {
            upto(&mut pieces, octets(trace_end), octets(trace_end));
            pieces.push(Piece::Text(text));
        }
        upto(&mut pieces, octets(range.start), octets(range.end));
    }
    if let Some(text) = added {
        upto(&mut pieces, octets(trace_end), octets(trace_end));
        pieces.push(Piece::Text(text));
    }
    upto(&mut pieces, size, size);
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn left(text: &str) -> String {
        let bytes = text.as_bytes();
        let pieces = pieces(bytes, bytes.len() as u64, "mx.here", UnixMs(1_700_000_000_000));
        let all = pieces.into_iter().flat_map(|piece| match piece {
            Piece::Range(r) => {
                bytes[usize::try_from(r.start).unwrap()..usize::try_from(r.end).unwrap()].to_vec()
            }
            Piece::Text(text) => text,
        });
        String::from_utf8(all.collect()).unwrap()
    }

    #[test]
    fn who_is_in_bcc_is_told_to_nobody() {
        let text = "Return-Path: <a@b>\r\nReceived: x\r\n y\r\nDate: d\r\nBCC: c@d,\r\n e@f\r\n\
                    Message-ID: <1@2>\r\nbcc : g@h\r\nSubject: Bcc: no\r\n\r\nBcc: body\r\n";
        assert_eq!(
            left(text),
            "Received: x\r\n y\r\nDate: d\r\nMessage-ID: <1@2>\r\nSubject: Bcc: no\r\n\r\nBcc: body\r\n"
        );
    }

    #[test]
    fn date_and_message_id_are_there_behind_the_trace() {
        let all = left("Return-Path: <>\r\nReceived: x\r\nBcc: y\r\nSubject: s\r\n\r\nb");
        let (date, rest) =
            all.strip_prefix("Received: x\r\nDate: ").unwrap().split_once("\r\n").unwrap();
        assert_eq!(date, "Tue, 14 Nov 2023 22:13:20 +0000");
        let (id, rest) = rest.strip_prefix("Message-ID: <").unwrap().split_once("\r\n").unwrap();
        assert!(id.ends_with("@mx.here>") && id.len() == 41, "{id}");
        assert_eq!(rest, "Subject: s\r\n\r\nb");
        assert!(left("\r\nno header").ends_with(">\r\n\r\nno header"));
        assert!(left("Bcc: a\r\n").starts_with("Date: "));
    }

    proptest! {
        #[test]
        fn nothing_is_sent_twice_or_out_of_order(text in "(Bcc: a\r\n|Return-Path: x\r\n|Received: y\r\n|A: b\r\n|Date: c\r\n| d\r\n|\r\n|\n|e){0,12}") {
            let size = text.len() as u64;
            let mut at = 0;
            for piece in pieces(text.as_bytes(), size, "h", UnixMs(0)) {
                prop_assert!(!piece.is_empty());
                if let Piece::Range(range) = piece {
                    prop_assert!(at <= range.start && range.end <= size);
                    at = range.end;
                }
            }
            let (head, _) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
            if !head.contains("Bcc") && !head.contains("Return-Path") {
                prop_assert!(left(&text).len() >= text.len());
            }
        }
    }
}
