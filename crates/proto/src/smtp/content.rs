//! The text of a message on its way in: DATA's end and dots, and what no message may have.
//!
//! Streams: holds no line and no message. The first fault stays; after it nothing more comes out,
//! but DATA is still followed to its real end, so that not one byte of a refused message is ever
//! taken for a command.
//! Invariant: the text ends at CRLF.CRLF alone. A bare CR or LF is refused instead of repaired:
//! a system behind us that reads one as a line end would see another message (SMTP smuggling).

use super::reply::{self, Reply};
use memchr::{memchr, memchr3};

/// Why a message that was begun is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A CR without LF or an LF without CR.
    BareNewline,
    /// A line over `Limits::line`.
    LongLine,
    /// A NUL octet.
    Nul,
    /// More octets than `Limits::message`.
    TooBig,
    /// More than [`HOPS_MAX`] `Received:` headers: RFC 5321 6.3.
    Loop,
}

impl Fault {
    pub(super) fn reply(self) -> Reply {
        match self {
            Self::BareNewline => reply::BARE_NEWLINE_IN_MESSAGE,
            Self::LongLine => reply::LONG_LINE_IN_MESSAGE,
            Self::Nul => reply::NUL_IN_MESSAGE,
            Self::TooBig => reply::TOO_BIG,
            Self::Loop => reply::LOOP,
        }
    }
}

/// `Received:` headers after which a message is in a loop. RFC 5321 6.3: at least 100.
pub(super) const HOPS_MAX: u32 = 100;

const RECEIVED: &[u8] = b"received:";

/// One message's text.
pub(super) struct Content {
    size_max: u64,
    line_max: usize,
    /// Octets of content so far, without stuffed dots.
    pub(super) size: u64,
    /// Octets on the wire so far.
    pub(super) seen: u64,
    pub(super) fault: Option<Fault>,
    line: usize,
    cr: bool,
    in_header: bool,
    /// How much of `RECEIVED` this header line has matched; `None` when it is another.
    matched: Option<usize>,
    hops: u32,
    place: Place,
    raw_cr: bool,
}

/// Where DATA stands with respect to RFC 5321 4.5.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    LineStart,
    Dot,
    DotCr,
    Inside,
}

impl Content {
    pub(super) fn new(size_max: u64, line_max: usize) -> Self {
        Self {
            size_max,
            line_max,
            size: 0,
            seen: 0,
            fault: None,
            line: 0,
            cr: false,
            in_header: true,
            matched: Some(0),
            hops: 0,
            // DATA's own CRLF counts: a first line of "." ends an empty message.
            place: Place::LineStart,
            raw_cr: false,
        }
    }

    /// Takes DATA's text: content goes to `out`; `Some(rest)` when the text ended before `rest`.
    pub(super) fn take_text<'a>(&mut self, input: &'a [u8], out: &mut Vec<u8>) -> Option<&'a [u8]> {
        let mut rest = input;
        while let Some((&first, tail)) = rest.split_first() {
            match self.place {
                Place::LineStart if first == b'.' => {
                    self.place = Place::Dot;
                    rest = tail;
                }
                Place::Dot if first == b'\r' => {
                    self.place = Place::DotCr;
                    rest = tail;
                }
                Place::DotCr if first == b'\n' => {
                    self.count(input.len().saturating_sub(tail.len()));
                    return Some(tail);
                }
                Place::DotCr => {
                    // The dot was stuffing, the CR is the line's own, and bare.
                    self.inspect(b"\r", out);
                    self.raw_cr = true;
                    self.place = Place::Inside;
                }
                Place::LineStart | Place::Dot => {
                    self.raw_cr = false;
                    self.place = Place::Inside;
                }
                Place::Inside => rest = self.take_inside(rest, out),
            }
        }
        self.count(input.len());
        None
    }

    /// Takes part of a chunk, RFC 3030: all of it is content.
    pub(super) fn take_chunk(&mut self, input: &[u8], out: &mut Vec<u8>) {
        self.count(input.len());
        self.inspect(input, out);
    }

    /// Says that the last chunk is complete.
    pub(super) fn end_chunks(&mut self) {
        if self.cr {
            self.fail(Fault::BareNewline);
        }
    }

    /// Refuses the message, unless it is refused already.
    pub(super) fn fail(&mut self, fault: Fault) {
        self.fault.get_or_insert(fault);
    }

    fn count(&mut self, octets: usize) {
        self.seen = self.seen.saturating_add(u64::try_from(octets).unwrap_or(u64::MAX));
    }

    /// Takes the rest of a line, or all there is of it.
    fn take_inside<'a>(&mut self, rest: &'a [u8], out: &mut Vec<u8>) -> &'a [u8] {
        let end = memchr(b'\n', rest).map_or(rest.len(), |at| at.saturating_add(1));
        let (run, tail) = rest.split_at_checked(end).unwrap_or((rest, &[]));
        self.inspect(run, out);
        match run {
            [.., b'\r', b'\n'] => self.place = Place::LineStart,
            [b'\n'] if self.raw_cr => self.place = Place::LineStart,
            _ => {}
        }
        self.raw_cr = run.last() == Some(&b'\r');
        tail
    }

    /// Checks content and passes it on. Octets are judged in order, so that the first fault is
    /// the same however the input was cut.
    fn inspect(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        if self.fault.is_some() {
            return;
        }
        let room = usize::try_from(self.size_max.saturating_sub(self.size)).unwrap_or(usize::MAX);
        let fitting = bytes.get(..room.min(bytes.len())).unwrap_or(bytes);
        let mut rest = fitting;
        while self.fault.is_none() && !rest.is_empty() {
            rest = self.inspect_run(rest);
        }
        if fitting.len() < bytes.len() {
            self.fail(Fault::TooBig);
        }
        if self.fault.is_none() {
            self.size = self.size.saturating_add(u64::try_from(fitting.len()).unwrap_or(u64::MAX));
            out.extend_from_slice(fitting);
        }
    }

    fn inspect_run<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        if self.cr {
            self.cr = false;
            let Some((b'\n', tail)) = bytes.split_first() else {
                self.fail(Fault::BareNewline);
                return &[];
            };
            self.end_line();
            return tail;
        }
        let end = memchr3(b'\r', b'\n', 0, bytes).unwrap_or(bytes.len());
        let (run, tail) = bytes.split_at_checked(end).unwrap_or((bytes, &[]));
        if !run.is_empty() {
            self.match_header(run);
            self.line = self.line.saturating_add(run.len());
            if self.line > self.line_max {
                self.fail(Fault::LongLine);
            }
        }
        match tail.split_first() {
            Some((b'\r', tail)) => {
                self.cr = true;
                tail
            }
            Some((b'\n', _)) => {
                self.fail(Fault::BareNewline);
                &[]
            }
            Some(_) => {
                self.fail(Fault::Nul);
                &[]
            }
            None => &[],
        }
    }

    fn end_line(&mut self) {
        if self.line == 0 {
            self.in_header = false;
        }
        self.line = 0;
        self.matched = self.in_header.then_some(0);
    }

    fn match_header(&mut self, run: &[u8]) {
        for &byte in run {
            let Some(at) = self.matched else { return };
            self.matched = (RECEIVED.get(at) == Some(&byte.to_ascii_lowercase()))
                .then_some(at.saturating_add(1));
            if self.matched == Some(RECEIVED.len()) {
                self.matched = None;
                self.hops = self.hops.saturating_add(1);
                if self.hops > HOPS_MAX {
                    self.fail(Fault::Loop);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Content, Fault, HOPS_MAX};

    const SIZE_MAX: u64 = 5_000;
    const LINE_MAX: usize = 100;

    /// Feeds `wire` in pieces of `cut` octets; what came out, the fault, what was left over.
    fn text(wire: &[u8], cut: usize) -> (Vec<u8>, Option<Fault>, Option<Vec<u8>>) {
        let mut content = Content::new(SIZE_MAX, LINE_MAX);
        let mut out = Vec::new();
        for (n, piece) in wire.chunks(cut).enumerate() {
            if let Some(rest) = content.take_text(piece, &mut out) {
                let mut left = rest.to_vec();
                left.extend(wire.chunks(cut).skip(n + 1).flatten());
                return (out, content.fault, Some(left));
            }
        }
        (out, content.fault, None)
    }

    #[track_caller]
    fn check(wire: &str, out: &str, fault: Option<Fault>, left: Option<&str>) {
        for cut in [1, 2, 3, 7, wire.len()] {
            let (got, got_fault, got_left) = text(wire.as_bytes(), cut);
            assert_eq!(got_fault, fault, "{wire:?} cut {cut}");
            assert_eq!(got_left.as_deref(), left.map(str::as_bytes), "{wire:?} cut {cut}");
            if fault.is_none() {
                assert_eq!(String::from_utf8_lossy(&got), out, "{wire:?} cut {cut}");
            }
        }
    }

    // RFC 5321 4.5.2: transparency.
    #[test]
    fn dots_are_unstuffed_and_the_end_is_found() {
        check(".\r\n", "", None, Some(""));
        check("a\r\n.\r\nQUIT\r\n", "a\r\n", None, Some("QUIT\r\n"));
        check("..\r\n.a\r\n...b\r\n\r\n.\r\n", ".\r\na\r\n..b\r\n\r\n", None, Some(""));
        check("a.\r\n.\r\n", "a.\r\n", None, Some(""));
        check("a\r\n.", "a\r\n", None, None);
    }

    // RFC 5321 4.1.1.4: only <CRLF>.<CRLF> ends the text.
    #[test]
    fn smuggled_ends_neither_end_the_text_nor_pass() {
        let bare = Some(Fault::BareNewline);
        for fake in ["\n.\n", "\n.\r\n", "\r\n.\n", "\r.\r\n", "\r\n.\r", "\r.\r", "\r\n.\rx\n"] {
            check(&format!("a{fake}MAIL FROM:<x@y>\r\n.\r\nQUIT\r\n"), "", bare, Some("QUIT\r\n"));
        }
        check("a\r\n.\r\r\n.\r\nQUIT\r\n", "", bare, Some("QUIT\r\n"));
        check("a\r\r\n.\r\nQUIT\r\n", "", bare, Some("QUIT\r\n"));
        check("a\n\r\n.\r\n", "", bare, Some(""));
    }

    #[test]
    fn limits() {
        let line = "x".repeat(LINE_MAX);
        check(&format!("{line}\r\n.\r\n"), &format!("{line}\r\n"), None, Some(""));
        check(&format!("{line}x\r\n.\r\n"), "", Some(Fault::LongLine), Some(""));
        check("a\0b\r\n.\r\n", "", Some(Fault::Nul), Some(""));
        let lines = "0123456\r\n".repeat(usize::try_from(SIZE_MAX).unwrap() / 9);
        check(&format!("{lines}12345\r\n.\r\n"), "", Some(Fault::TooBig), Some(""));
        // The first fault is the one reported, wherever the input was cut.
        check(&format!("a\nb\r\n{lines}\r\n.\r\n"), "", Some(Fault::BareNewline), Some(""));
    }

    // RFC 5321 6.3: loop detection.
    #[test]
    fn hops_are_counted_in_the_header_only() {
        let hops = usize::try_from(HOPS_MAX).unwrap();
        let header = "ReceIved: x\r\n".repeat(hops);
        check(&format!("{header}\r\n.\r\n"), &format!("{header}\r\n"), None, Some(""));
        let body = format!("{header}\r\nReceived: x\r\n.\r\n");
        check(&body, body.strip_suffix(".\r\n").unwrap(), None, Some(""));
        check(&format!("{header}Received: x\r\n.\r\n"), "", Some(Fault::Loop), Some(""));
        check(
            &format!("{header}X-Received: x\r\n.\r\n"),
            &format!("{header}X-Received: x\r\n"),
            None,
            Some(""),
        );
    }

    #[test]
    fn chunks_are_content_without_dots() {
        let mut content = Content::new(SIZE_MAX, LINE_MAX);
        let mut out = Vec::new();
        content.take_chunk(b".\r\n..a\r", &mut out);
        content.take_chunk(b"\n", &mut out);
        content.end_chunks();
        assert_eq!((out.as_slice(), content.fault), (&b".\r\n..a\r\n"[..], None));
        content.take_chunk(b"a\r", &mut out);
        content.end_chunks();
        assert_eq!(content.fault, Some(Fault::BareNewline));
    }
}
