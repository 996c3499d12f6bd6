//! What the client sends: bytes in, in any chunking, commands out.
//!
//! ```text
//!          line complete                    accept            all bytes
//! Command ───────────────► Event    Asked ─────────► Message ──────────► Trailer ─► Command
//!    │  └─ {n} of APPEND ──► AppendStart ─┘ └ refuse ► Discard (not sent: Command)
//!    └─ {n} refused ► Discard ► Command, swallowing the rest of the refused command
//! ```
//!
//! Invariants: chunking makes no difference; memory is bounded by [`COMMAND_LEN_MAX`] and one chunk
//! of input; bytes of a literal are never taken for a command. The session asks for the next event
//! only when the last one is dealt with, so that commands are executed in order, and reads from the
//! socket only when there is none.

use super::command::{self, Announced, Append, Command, ParseError};
use super::scan::Scanner;
use imap_codec::fragmentizer::{FragmentInfo, Fragmentizer, LiteralAnnouncement};
use imap_types::core::LiteralMode;

/// Longest command in bytes, literals included, APPEND's message not.
pub const COMMAND_LEN_MAX: usize = 128 * 1024;
/// The same before the log-in: room for a name, a password, an ID and a SASL response.
pub const COMMAND_LEN_MAX_BEFORE_LOGIN: usize = 16 * 1024;
/// Longest tag in bytes.
pub const TAG_LEN_MAX: usize = 128;
/// Longest piece of an APPEND's message in bytes.
pub const CHUNK_LEN_MAX: usize = 64 * 1024;

/// What the client wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Execute this.
    Command {
        /// Its tag.
        tag: String,
        /// The command.
        command: Command,
    },
    /// Answer the tag (`*` when it has none) with the error.
    Refused {
        /// The command's tag.
        tag: Option<String>,
        /// Why.
        why: Refusal,
    },
    /// Send `+`: the client waits before it sends a literal.
    Continue,
    /// A line that is no command ([`Input::expect_line`]), without its end.
    Line(Vec<u8>),
    /// APPEND begins: answer with [`Input::accept_append`] or [`Input::refuse_append`].
    AppendStart {
        /// Its tag.
        tag: String,
        /// Where to, and how.
        append: Append,
        /// Length of the message in bytes, never zero.
        size: u32,
    },
    /// More of the message.
    AppendChunk(Vec<u8>),
    /// The message is complete: store it and answer.
    AppendEnd,
    /// The command went wrong after its message: forget it and answer BAD.
    AppendAborted(&'static str),
    /// Send BYE and close: the client does not speak IMAP.
    Close(&'static str),
}

/// Why a command is not executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It cannot be parsed.
    #[error(transparent)]
    Parse(ParseError),
    /// NO [TOOBIG] (RFC 7889): its message is larger than APPENDLIMIT.
    #[error("the message is larger than this server takes")]
    TooBig,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Mode {
    /// Lines and short literals of a command. `swallow`: it was refused already.
    Command { swallow: bool },
    /// The next line is no command.
    Line(Vec<u8>),
    /// APPEND was announced; the session decides.
    Asked { size: u32, sync: bool },
    /// The message of an APPEND.
    Message { left: u32 },
    /// What follows the message.
    Trailer,
    /// A literal that nobody wants.
    Discard { left: u32 },
    /// Nothing more is read.
    Closed,
}

/// Frames and parses what one client sends.
#[derive(Clone, Debug)]
pub struct Input {
    buffer: Vec<u8>,
    /// How much of `buffer` is used up.
    at: usize,
    fragmentizer: Fragmentizer,
    /// Bytes of the current command that the fragmentizer has.
    fed: usize,
    /// Bytes that the command's literal still lacks.
    literal_left: usize,
    mode: Mode,
    authenticated: bool,
    append_limit: u64,
}

impl Input {
    /// For a new connection; `append_limit` is the largest message in bytes that APPEND takes.
    #[must_use]
    pub fn new(append_limit: u64) -> Self {
        Self {
            buffer: Vec::new(),
            at: 0,
            fragmentizer: fragmentizer(),
            fed: 0,
            literal_left: 0,
            mode: Mode::Command { swallow: false },
            authenticated: false,
            append_limit,
        }
    }

    /// Takes bytes from the client. Only when [`Self::poll_output`] gave `None`, so that what is
    /// held stays bounded by what is read at once.
    pub fn handle_input(&mut self, bytes: &[u8]) {
        if self.mode != Mode::Closed {
            self.buffer.drain(..self.at);
            self.at = 0;
            self.buffer.extend_from_slice(bytes);
        }
    }

    /// Somebody logged in: commands may be longer, and APPEND is understood.
    pub fn log_in(&mut self) {
        self.authenticated = true;
    }

    /// The next line is no command but an answer of the client (AUTHENTICATE, IDLE).
    pub fn expect_line(&mut self) {
        self.mode = Mode::Line(Vec::new());
    }

    /// Whether bytes wait that came with the last command. Before TLS starts there may be none: an
    /// attacker could have put them there (RFC 9051 6.2.1).
    #[must_use]
    pub fn has_more(&self) -> bool {
        self.at < self.buffer.len()
    }

    /// The announced message is wanted; true when the client waits for `+`.
    #[must_use]
    pub fn accept_append(&mut self) -> bool {
        let Mode::Asked { size, sync } = self.mode else { return false };
        // The message goes past the fragmentizer, which starts afresh at what follows it.
        self.restart();
        self.mode = Mode::Message { left: size };
        sync
    }

    /// The announced message is not wanted. The command can be answered at once; a message that is
    /// on its way already is passed over.
    pub fn refuse_append(&mut self) {
        if let Mode::Asked { size, sync } = self.mode {
            self.pass_over(size, sync);
        }
    }

    /// The next event; `None` when more bytes are needed.
    #[must_use]
    pub fn poll_output(&mut self) -> Option<Event> {
        loop {
            match &mut self.mode {
                Mode::Closed | Mode::Asked { .. } => return None,
                Mode::Message { left: 0 } => self.mode = Mode::Trailer,
                Mode::Message { left } => {
                    let rest = self.buffer.get(self.at..).unwrap_or_default();
                    let len = rest.len().min(CHUNK_LEN_MAX).min(usize(*left));
                    let chunk = rest.get(..len).filter(|c| !c.is_empty())?.to_vec();
                    self.at += len;
                    *left = left.saturating_sub(u32::try_from(len).unwrap_or(u32::MAX));
                    return Some(Event::AppendChunk(chunk));
                }
                Mode::Discard { left: 0 } => self.mode = Mode::Command { swallow: true },
                Mode::Discard { left } => {
                    let len = self.buffer.len().saturating_sub(self.at).min(usize(*left));
                    if len == 0 {
                        return None;
                    }
                    self.at += len;
                    *left = left.saturating_sub(u32::try_from(len).unwrap_or(u32::MAX));
                }
                Mode::Line(_) => return self.line(),
                Mode::Command { .. } | Mode::Trailer => {
                    if let Some(event) = self.fragment()? {
                        return Some(event);
                    }
                }
            }
        }
    }

    /// At most `len_max` bytes, through the next line end if `line`; `None` when there are none.
    fn take(&mut self, line: bool, len_max: usize) -> Option<Vec<u8>> {
        let rest = self.buffer.get(self.at..).filter(|r| !r.is_empty())?;
        let end = if line { memchr::memchr(b'\n', rest) } else { None };
        let end = end.map_or(rest.len(), |i| i + 1);
        let taken = rest.get(..end.min(len_max)).unwrap_or(rest).to_vec();
        self.at += taken.len();
        Some(taken)
    }

    fn line(&mut self) -> Option<Event> {
        let more = self.take(true, usize::MAX)?;
        let len_max = self.len_max();
        let Mode::Line(line) = &mut self.mode else { return None };
        line.extend_from_slice(&more);
        if line.len() > len_max {
            return Some(self.close("the line is too long"));
        }
        if !line.ends_with(b"\n") {
            return None;
        }
        let line = trim_line_end(line).to_vec();
        self.restart();
        Some(Event::Line(line))
    }

    /// Advances the command by a line or literal. `None`: bytes are missing; `Some(None)`: go on.
    #[expect(clippy::option_option, reason = "three outcomes: starved, progressed, event")]
    fn fragment(&mut self) -> Option<Option<Event>> {
        let more = if self.literal_left > 0 {
            self.take(false, self.literal_left)?
        } else {
            self.take(true, self.len_max().saturating_sub(self.fed).saturating_add(1))?
        };
        self.literal_left = self.literal_left.saturating_sub(more.len());
        self.fed += more.len();
        self.fragmentizer.enqueue_bytes(&more);
        let found = self.fragmentizer.progress();
        if self.fed > self.len_max() {
            return Some(Some(self.close("the command is too long")));
        }
        Some(match found? {
            FragmentInfo::Line { announcement: Some(literal), .. } => self.announced(literal),
            FragmentInfo::Literal { .. } => None,
            FragmentInfo::Line { announcement: None, .. } => self.complete(),
        })
    }

    fn complete(&mut self) -> Option<Event> {
        let command = trim_line_end(self.fragmentizer.message_bytes()).to_vec();
        let mode = std::mem::replace(&mut self.mode, Mode::Closed);
        self.restart();
        match mode {
            Mode::Trailer if command.is_empty() => Some(Event::AppendEnd),
            Mode::Trailer => Some(Event::AppendAborted("one APPEND takes one message")),
            // Some clients send an empty line after a literal; it is no command.
            _ if command.is_empty() => None,
            Mode::Command { swallow: true } => None,
            _ => Some(parse(&command)),
        }
    }

    fn announced(&mut self, literal: LiteralAnnouncement) -> Option<Event> {
        let sync = literal.mode == LiteralMode::Sync;
        let size = literal.length;
        match self.mode {
            Mode::Trailer => {
                self.pass_over(size, sync);
                return Some(Event::AppendAborted("one APPEND takes one message"));
            }
            Mode::Command { swallow: true } => {
                self.pass_over(size, sync);
                return None;
            }
            _ => {}
        }
        let mut start = Scanner::new(self.fragmentizer.message_bytes());
        let tag = start.tag().filter(|_| start.eat(b' '));
        if self.authenticated
            && let Some(tag) = &tag
            && let Announced::Message(append) = command::announced(start.rest())
        {
            if size == 0 || u64::from(size) > self.append_limit {
                self.pass_over(size, sync);
                let empty = Refusal::Parse(ParseError::Bad("an empty message cannot be appended"));
                let why = if size == 0 { empty } else { Refusal::TooBig };
                return Some(Event::Refused { tag: Some(tag.clone()), why });
            }
            self.mode = Mode::Asked { size, sync };
            return Some(Event::AppendStart { tag: tag.clone(), append, size });
        }
        if self.fed.saturating_add(usize(size)) > self.len_max() {
            self.pass_over(size, sync);
            let why = Refusal::Parse(ParseError::Bad("the literal is too long"));
            return Some(Event::Refused { tag, why });
        }
        self.literal_left = usize(size);
        if size == 0 {
            // An empty literal is complete already; the fragmentizer has to notice.
            self.fragmentizer.progress();
        }
        sync.then_some(Event::Continue)
    }

    /// Gets over a literal that is not wanted. A client that waits for `+` takes the tagged answer
    /// instead and does not send it (RFC 9051 2.2.1).
    fn pass_over(&mut self, size: u32, sync: bool) {
        self.restart();
        if !sync {
            self.mode = Mode::Discard { left: size };
        }
    }

    fn restart(&mut self) {
        self.mode = Mode::Command { swallow: false };
        self.fragmentizer.skip_message();
        self.fed = 0;
        self.literal_left = 0;
    }

    fn close(&mut self, why: &'static str) -> Event {
        self.mode = Mode::Closed;
        self.buffer = Vec::new();
        self.at = 0;
        Event::Close(why)
    }

    fn len_max(&self) -> usize {
        if self.authenticated { COMMAND_LEN_MAX } else { COMMAND_LEN_MAX_BEFORE_LOGIN }
    }
}

fn fragmentizer() -> Fragmentizer {
    // One byte more than is allowed, so that nothing is ever cut off unseen.
    Fragmentizer::new(u32::try_from(COMMAND_LEN_MAX).unwrap_or(u32::MAX).saturating_add(1))
}

fn parse(command: &[u8]) -> Event {
    let mut s = Scanner::new(command);
    let Some(tag) = s.tag() else {
        let why = Refusal::Parse(ParseError::Bad("a command starts with a tag"));
        return Event::Refused { tag: None, why };
    };
    let parsed = s.sp().and_then(|()| command::parse(s.rest()));
    match parsed {
        Ok(command) => Event::Command { tag, command },
        Err(why) => Event::Refused { tag: Some(tag), why: Refusal::Parse(why) },
    }
}

fn trim_line_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

fn usize(n: u32) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}
