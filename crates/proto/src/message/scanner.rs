//! The scanner: finds a message's parts line by line and writes its [`Summary`].
//!
//! ```text
//! message ─ header ─┬─ leaf body
//!                   ├─ multipart: preamble, (boundary line, part)*, last boundary line, epilogue
//!                   └─ message/rfc822: a message
//! ```
//!
//! Invariants: `open` is the path from the message to the entity that the next line belongs to; its
//! last frame is in its header exactly when `header` is `Some`. A line is looked at once its start
//! (`LINE_HEAD_LEN` octets) is there, so that chunks make no difference.
//! Absent: a rule for what is no header. A header ends at its empty line, at a boundary or at the end.

use super::preview::Preview;
use super::structure::{self, Entity, Node};
use super::{Encoding, Part, PartKind, Span, Summary, address, date, header};

/// Deepest nesting of parts that is looked into; multiparts and messages deeper down are opaque.
pub const DEPTH_MAX: usize = 32;
/// Most parts of one message; what comes after belongs to the last one, which is opaque.
pub const PARTS_MAX: usize = 500;
/// Longest header section in bytes that is looked at; the rest of a longer one is not.
pub const HEADER_LEN_MAX: usize = 256 * 1024;
/// How much of a boundary counts, in bytes. RFC 2046 5.1.1 allows 70.
const BOUNDARY_LEN_MAX: usize = 200;
/// How much of a line must be seen to know whether it is a boundary line: hyphens on both ends.
const LINE_HEAD_LEN: usize = BOUNDARY_LEN_MAX + 4;
/// Longest ENVELOPE of the message, in bytes.
const ENVELOPE_LEN_MAX: usize = 48 * 1024;
/// Longest ENVELOPE of a message inside, in bytes.
const INNER_ENVELOPE_LEN_MAX: usize = 8 * 1024;
/// Length of an ENVELOPE of a header without fields, which costs nothing of the budget.
const EMPTY_ENVELOPE_LEN: usize = 41;
/// How many bytes all parts' headers and inner envelopes together may add to each structure list.
const STRUCTURE_BUDGET: usize = 32 * 1024;

/// Understands a message while it streams past. Feed it every octet in order, then finish.
#[derive(Debug)]
pub struct Scanner {
    /// Offset of the next octet that is not yet looked at.
    at: u64,
    /// Line ends before `at`.
    lines: u64,
    /// Length of the line end before the current line: 0, 1 or 2.
    line_end_len: u64,
    /// The start of the current line until it is known what it is; then empty.
    line: Vec<u8>,
    state: LineState,
    /// The last octet was a CR.
    after_cr: bool,
    nodes: Vec<Node>,
    open: Vec<Frame>,
    /// The start of the header that the last frame is in.
    header: Option<Vec<u8>>,
    /// `PARTS_MAX` was reached: no line is a boundary line any more.
    sealed: bool,
    budget: usize,
    summary: Summary,
    preview: Preview,
}

/// What the rest of the current line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LineState {
    /// Too little was seen.
    Unknown,
    /// Header or body.
    Content,
    /// A boundary line; with whether a part begins behind it.
    Boundary { part: bool },
}

/// An entity that has not ended.
#[derive(Debug)]
struct Frame {
    node: usize,
    /// What ends its parts; empty unless it is a multipart before its epilogue.
    boundary: Vec<u8>,
    /// Whether parts without a type are messages (RFC 2046 5.1.5).
    digest: bool,
    /// Line ends before its body.
    lines_before: u64,
}

impl Default for Scanner {
    fn default() -> Self {
        Self::new()
    }
}

impl Scanner {
    /// A scanner at the start of a message.
    #[must_use]
    pub fn new() -> Self {
        let mut scanner = Self {
            at: 0,
            lines: 0,
            line_end_len: 0,
            line: Vec::new(),
            state: LineState::Unknown,
            after_cr: false,
            nodes: Vec::new(),
            open: Vec::new(),
            header: None,
            sealed: false,
            budget: STRUCTURE_BUDGET,
            summary: Summary::default(),
            preview: Preview::default(),
        };
        scanner.begin_entity(0);
        scanner
    }

    /// Takes the next octets of the message; any chunking gives the same summary.
    pub fn feed(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while let Some(first) = rest.first() {
            if self.state == LineState::Unknown
                && self.line.is_empty()
                && self.header.is_none()
                && *first != b'-'
            {
                // Most lines of most messages: nothing needs to be collected.
                self.state = LineState::Content;
            }
            let end = memchr::memchr(b'\n', rest).map_or(rest.len(), |i| i + 1);
            if self.state == LineState::Unknown {
                let taken = end.min(LINE_HEAD_LEN.saturating_sub(self.line.len()));
                let (head, more) = rest.split_at_checked(taken).unwrap_or((rest, &[]));
                self.line.extend_from_slice(head);
                rest = more;
                if head.ends_with(b"\n") || self.line.len() >= LINE_HEAD_LEN {
                    self.look_at_line();
                }
            } else {
                let (piece, more) = rest.split_at_checked(end).unwrap_or((rest, &[]));
                rest = more;
                self.take(piece);
            }
        }
    }

    /// The message ended.
    #[must_use]
    pub fn finish(mut self) -> Summary {
        if !self.line.is_empty() {
            self.look_at_line();
        }
        while self.header.is_some() {
            self.end_header(self.at);
        }
        while !self.open.is_empty() {
            self.end_entity(self.at, self.lines);
        }
        let Self { mut nodes, mut summary, preview, .. } = self;
        summary.envelope =
            nodes.first_mut().map(|n| std::mem::take(&mut n.envelope)).unwrap_or_default();
        structure::write_body(&mut summary.body, &nodes, 0, false);
        structure::write_body(&mut summary.bodystructure, &nodes, 0, true);
        summary.size = self.at;
        summary.parts = nodes.into_iter().map(|n| n.part).collect();
        let header_len = summary.parts.first().map_or(0, |p| p.header.len);
        summary.header_len = u32::try_from(header_len).unwrap_or(u32::MAX);
        summary.preview = preview.finish();
        summary
    }

    /// The current line's start is known: finds out what it is.
    fn look_at_line(&mut self) {
        let mut line = std::mem::take(&mut self.line);
        let ends_header = self.header.is_some() && matches!(line.as_slice(), b"\n" | b"\r\n");
        self.state = LineState::Content;
        if let Some((frame, last)) = self.boundary(&line) {
            while self.header.is_some() {
                self.end_header(self.at);
            }
            // RFC 2046 5.1.1: the line end before a boundary belongs to the boundary.
            let end = self.at.saturating_sub(self.line_end_len);
            let lines = self.lines.saturating_sub(u64::from(self.line_end_len > 0));
            while self.open.len() > frame + 1 {
                self.end_entity(end, lines);
            }
            self.state = LineState::Boundary { part: !last };
            if let Some(frame) = self.open.last_mut().filter(|_| last) {
                frame.boundary.clear();
            }
        }
        self.take(&line);
        if ends_header {
            self.end_header(self.at);
        }
        // The buffer is kept for the next line.
        line.clear();
        self.line = line;
    }

    /// The frame whose boundary the line is, and whether it is its last.
    fn boundary(&self, line: &[u8]) -> Option<(usize, bool)> {
        let line = line.strip_prefix(b"--").filter(|_| !self.sealed)?;
        // RFC 2046 5.1.1: the line must begin with the boundary, more may follow. 5.1.2: an outer
        // boundary ends what lies inside. Of boundaries that begin alike the longest is meant.
        let (index, frame) = self
            .open
            .iter()
            .enumerate()
            .filter(|(_, f)| !f.boundary.is_empty() && line.starts_with(&f.boundary))
            .max_by_key(|(_, f)| f.boundary.len())?;
        Some((index, line.get(frame.boundary.len()..).is_some_and(|l| l.starts_with(b"--"))))
    }

    /// Takes a piece of the current line: all of it, or up to somewhere before its end.
    fn take(&mut self, piece: &[u8]) {
        if self.state == LineState::Content {
            match &mut self.header {
                Some(header) => {
                    let room = HEADER_LEN_MAX.saturating_sub(header.len());
                    header.extend_from_slice(piece.get(..room).unwrap_or(piece));
                }
                None => self.preview.feed(piece),
            }
        }
        self.at = self.at.saturating_add(u64::try_from(piece.len()).unwrap_or(u64::MAX));
        let Some(line) = piece.strip_suffix(b"\n") else {
            self.after_cr = piece.ends_with(b"\r");
            return;
        };
        let crlf = if line.is_empty() { self.after_cr } else { line.ends_with(b"\r") };
        self.line_end_len = if crlf { 2 } else { 1 };
        self.after_cr = false;
        self.lines += 1;
        let state = std::mem::replace(&mut self.state, LineState::Unknown);
        if state == (LineState::Boundary { part: true }) {
            self.begin_entity(self.at);
        }
    }

    /// An entity begins with its header, inside the last frame.
    fn begin_entity(&mut self, at: u64) {
        let node = self.nodes.len();
        if let Some(parent) = self.open.last().and_then(|f| self.nodes.get_mut(f.node)) {
            parent.children.push(node);
        }
        self.sealed = node + 1 >= PARTS_MAX;
        self.nodes.push(Node {
            part: Part {
                path: Vec::new(),
                kind: PartKind::Other,
                media: String::new(),
                charset: None,
                encoding: Encoding::Identity,
                attachment: false,
                header: Span { at, len: 0 },
                body: Span::default(),
            },
            head: Vec::new(),
            tail: Vec::new(),
            envelope: Vec::new(),
            children: Vec::new(),
            lines: 0,
        });
        self.open.push(Frame { node, boundary: Vec::new(), digest: false, lines_before: 0 });
        self.header = Some(Vec::new());
    }

    /// The last frame's header ended; its body begins at `at`.
    fn end_header(&mut self, at: u64) {
        let mut raw = self.header.take().unwrap_or_default();
        let depth = self.open.len().saturating_sub(1);
        let parent = depth.checked_sub(1).and_then(|i| self.open.get(i));
        let digest = parent.is_some_and(|f| f.digest);
        let parent = parent.and_then(|f| self.nodes.get(f.node));
        let is_root = parent.is_none_or(|p| p.part.kind == PartKind::Message);
        let mut path = parent.map(|p| p.part.path.clone()).unwrap_or_default();
        let number = parent.map_or(1, |p| p.children.len());
        let envelope = match parent {
            None => structure::envelope(&raw, ENVELOPE_LEN_MAX),
            Some(_) if is_root => {
                structure::envelope(&raw, INNER_ENVELOPE_LEN_MAX.min(self.budget))
            }
            Some(_) => Vec::new(),
        };
        if depth == 0 {
            summarise(&mut self.summary, &raw);
        } else {
            let cost = envelope.len().saturating_sub(EMPTY_ENVELOPE_LEN);
            self.budget = self.budget.saturating_sub(cost);
        }
        if self.sealed {
            raw = b"Content-Type: application/octet-stream".to_vec();
        }
        let entity = Entity::read(&raw, digest, depth >= DEPTH_MAX, &mut self.budget);
        // RFC 9051 6.4.5: a message that is no multipart has the one part 1.
        if !is_root || entity.kind != PartKind::Multipart {
            path.push(u16::try_from(number).unwrap_or(u16::MAX));
        }
        let Some(frame) = self.open.last_mut() else { return };
        frame.lines_before = self.lines;
        frame.digest = entity.media == "multipart/digest";
        frame.boundary = entity.boundary;
        frame.boundary.truncate(BOUNDARY_LEN_MAX);
        let Some(node) = self.nodes.get_mut(frame.node) else { return };
        let header = Span { at: node.part.header.at, len: at.saturating_sub(node.part.header.at) };
        node.part = Part {
            path,
            kind: entity.kind,
            media: entity.media,
            charset: entity.charset,
            encoding: entity.encoding,
            attachment: entity.attachment,
            header,
            body: Span { at, len: 0 },
        };
        (node.head, node.tail, node.envelope) = (entity.head, entity.tail, envelope);
        match node.part.kind {
            PartKind::Message => self.begin_entity(at),
            PartKind::Multipart => {}
            PartKind::Text | PartKind::Other => {
                let node = frame.node;
                let inner = self.open.iter().any(|f| {
                    self.nodes.get(f.node).is_some_and(|n| n.part.kind == PartKind::Message)
                });
                if let Some(node) = self.nodes.get(node).filter(|_| !inner) {
                    self.preview.begin(&node.part);
                }
            }
        }
    }

    /// The last frame's entity ended before `at`, where `lines` line ends have been.
    fn end_entity(&mut self, at: u64, lines: u64) {
        self.preview.end();
        let Some(frame) = self.open.pop() else { return };
        let Some(node) = self.nodes.get_mut(frame.node) else { return };
        node.part.body.len = at.saturating_sub(node.part.body.at);
        node.lines = lines.saturating_sub(frame.lines_before);
    }
}

/// Most message ids kept of In-Reply-To.
const IN_REPLY_TO_MAX: usize = 4;
/// Most message ids kept of References: the thread's first and the latest ones.
const REFERENCES_MAX: usize = 16;
/// How much of a raw subject is decoded, in bytes.
const RAW_SUBJECT_LEN_MAX: usize = 4_096;

/// What the message's own header says about the message.
fn summarise(summary: &mut Summary, raw: &[u8]) {
    let ids = |name| header::find(raw, name).map(header::message_ids).into_iter().flatten();
    let subject = header::find(raw, "Subject").unwrap_or_default();
    let subject = subject.get(..RAW_SUBJECT_LEN_MAX).unwrap_or(subject);
    summary.subject = bounded(header::decode_words(subject), 512);
    summary.from = display(raw, "From", 512);
    summary.to = display(raw, "To", 1_024);
    summary.cc = display(raw, "Cc", 1_024);
    summary.message_id = ids("Message-ID").next();
    summary.in_reply_to = ids("In-Reply-To").take(IN_REPLY_TO_MAX).collect();
    let mut references: Vec<String> = ids("References").collect();
    let excess = references.len().saturating_sub(REFERENCES_MAX);
    if excess > 0 {
        references.drain(1..=excess);
    }
    summary.references = references;
    let date = header::find(raw, "Date").and_then(date::parse);
    summary.date = date.map(|d| d.at);
    summary.zone_minutes = date.map_or(0, |d| d.zone_minutes);
}

/// The addresses of a field as a person reads them, cut at `limit` bytes.
fn display(raw: &[u8], name: &str, limit: usize) -> String {
    let mut out = String::new();
    for text in structure::addresses(raw, name).iter().filter_map(address::Address::display) {
        if !out.is_empty() {
            out.push_str(", ");
        }
        out.push_str(&text);
        if out.len() > limit {
            break;
        }
    }
    bounded(out, limit)
}

fn bounded(mut text: String, limit: usize) -> String {
    text.truncate(text.floor_char_boundary(limit));
    text
}
