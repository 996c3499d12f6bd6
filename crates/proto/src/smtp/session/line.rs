//! Cuts input into command lines, the same ones however the input arrives.

use memchr::memchr;

/// Longest command line that is kept, in octets with CRLF. RFC 5321 4.5.3.1.4 has 512, and each
/// extension adds to it; this is more than all of ours together.
const COMMAND_MAX: usize = 2_048;

/// Octets of one line after which the peer is no mail client.
const FLOOD_MAX: usize = 65_536;

/// The line that is being collected.
#[derive(Default)]
pub(super) struct LineBuffer {
    kept: Vec<u8>,
    total: usize,
    last: Option<u8>,
    /// A CR was followed by something else.
    bare_cr: bool,
}

/// What came of the input.
pub(super) enum Line {
    /// No line end yet.
    Partial,
    /// One line with its CRLF.
    Whole(Vec<u8>),
    TooLong,
    BareNewline,
    Flood,
}

impl LineBuffer {
    /// Takes input up to the end of a line; also what is left of it.
    pub(super) fn take<'a>(&mut self, input: &'a [u8]) -> (Line, &'a [u8]) {
        let end = memchr(b'\n', input);
        let upto = end.map_or(input.len(), |at| at.saturating_add(1));
        let (run, tail) = input.split_at_checked(upto).unwrap_or((input, &[]));
        let before = self.last;
        self.push(run);
        if self.total > FLOOD_MAX {
            return (Line::Flood, &[]);
        }
        if end.is_none() {
            return (Line::Partial, &[]);
        }
        let crlf = match run {
            [.., cr, _] => *cr == b'\r',
            _ => before == Some(b'\r'),
        };
        let line = std::mem::take(self);
        let line = if !crlf || line.bare_cr {
            Line::BareNewline
        } else if line.total > COMMAND_MAX {
            Line::TooLong
        } else {
            Line::Whole(line.kept)
        };
        (line, tail)
    }

    fn push(&mut self, run: &[u8]) {
        self.total = self.total.saturating_add(run.len());
        let room = COMMAND_MAX.saturating_sub(self.kept.len());
        self.kept.extend(run.iter().take(room));
        for &byte in run {
            self.bare_cr |= self.last == Some(b'\r') && byte != b'\n';
            self.last = Some(byte);
        }
    }
}
