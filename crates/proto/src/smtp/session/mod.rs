//! The server's side of one connection: RFC 5321 with 1870, 2034, 2920, 3030, 3207, 4954, 6152,
//! 6409 and 6531, as a machine without sockets, clock or store.
//!
//! ```text
//!            .--------- line ---------.
//!            v                        |
//!  greeting -> Command -> question? --'   Command -> Auth -> Command
//!                |  ^                     Command -> Tls -> Command (all forgotten)
//!   DATA / BDAT  v  |  Commit answered
//!              Text / Chunk ---------'    any -> Closed
//! ```
//!
//! While a question is open no input is processed, so pipelined commands keep their order; the
//! driver stops reading when [`Session::wants_input`] says so, which is what bounds the memory.
//! One file per group of commands: `hello`, `auth`, `mail`, `body`.

mod auth;
mod body;
mod hello;
mod line;
mod mail;
mod types;

pub use types::{
    Answer, Envelope, Event, INPUT_MAX, Limits, Options, Output, Password, Question, Service, Tls,
};

use super::content::Content;
use super::reply::{self, Reply};
use crate::time::Mono;
use auth::AuthStep;
use body::Chunk;
use line::{Line, LineBuffer};
use mail::Transaction;
use smtp_proto::{Error, Request};
use std::borrow::Cow;
use std::collections::VecDeque;

/// What a connection is told that finds no place, before it is closed: RFC 5321 3.1.
pub const NO_PLACE: &[u8] = b"421 4.7.0 Too many connections, try again later\r\n";

/// One connection. Not `Debug`: its buffers may hold a password.
pub struct Session {
    options: Options,
    tls: Option<Tls>,
    state: State,
    pending: Option<Pending>,
    /// Input that waits behind an open question; processed up to `read`.
    input: Vec<u8>,
    read: usize,
    line: LineBuffer,
    /// Replies not yet handed out: RFC 2920 3.2 wants those of one group together.
    replies: Vec<u8>,
    outputs: VecDeque<Output>,
    hello: Option<Hello>,
    authenticated: bool,
    transaction: Option<Transaction>,
    counts: Counts,
    deadline: Mono,
    /// When the message that is being sent must be complete.
    message_deadline: Option<Mono>,
}

enum State {
    Command,
    Auth(AuthStep),
    Text(Content),
    Chunk(Chunk),
    Tls,
    Closed,
}

/// What an open question is about.
enum Pending {
    Sender(Transaction),
    Recipient(String),
    Credentials,
    BeginText,
    BeginChunk(Chunk),
    Commit,
}

/// What the client said in EHLO or HELO.
struct Hello {
    name: String,
    esmtp: bool,
}

#[derive(Default)]
struct Counts {
    errors: u32,
    /// Commands since the last accepted message that moved nothing.
    idle: u32,
    messages: u32,
    auth_failures: u32,
    refused_recipients: u32,
}

impl Session {
    /// A session whose greeting is ready. `options.tls` is set where TLS came first (port 465).
    #[must_use]
    pub fn new(options: Options, now: Mono) -> Self {
        let deadline = now.after(options.limits.command_timeout);
        let greeting = format!("220 {} ESMTP Understudy\r\n", options.hostname);
        Self {
            tls: options.tls.clone(),
            options,
            state: State::Command,
            pending: None,
            input: Vec::new(),
            read: 0,
            line: LineBuffer::default(),
            replies: greeting.into_bytes(),
            outputs: VecDeque::new(),
            hello: None,
            authenticated: false,
            transaction: None,
            counts: Counts::default(),
            deadline,
            message_deadline: None,
        }
    }

    /// True when the driver should read: no question is open and nothing waits to be processed.
    #[must_use]
    pub fn wants_input(&self) -> bool {
        self.pending.is_none()
            && self.read == self.input.len()
            && !matches!(self.state, State::Tls | State::Closed)
    }

    /// Takes what was read. Plaintext behind STARTTLS is dropped (RFC 3207 6, command injection);
    /// more than [`INPUT_MAX`] octets behind an open question close the session.
    pub fn handle_input(&mut self, bytes: &[u8], now: Mono) {
        if matches!(self.state, State::Tls | State::Closed) {
            return;
        }
        let waiting = self.input.len().saturating_sub(self.read);
        if waiting.saturating_add(bytes.len()) > INPUT_MAX {
            self.close_with(reply::TOO_MANY_ERRORS);
            return;
        }
        self.input.extend_from_slice(bytes);
        self.advance(now);
    }

    /// Takes the answer to the open question; one that answers no question is ignored. Answers
    /// that make no sense for the question count as [`Answer::Temporary`].
    pub fn handle_answer(&mut self, answer: Answer, now: Mono) {
        let Some(pending) = self.pending.take() else { return };
        self.deadline = now.after(self.options.limits.command_timeout);
        match pending {
            Pending::Sender(transaction) => self.sender_answered(transaction, &answer),
            Pending::Recipient(address) => self.recipient_answered(address, &answer),
            Pending::Credentials => self.credentials_answered(&answer),
            Pending::BeginText => self.text_answered(&answer, now),
            Pending::BeginChunk(chunk) => self.chunk_answered(chunk, &answer, now),
            Pending::Commit => self.commit_answered(answer),
        }
        self.advance(now);
    }

    /// The handshake that [`Output::StartTls`] asked for is complete. RFC 3207 4.2: everything
    /// that the client said before is forgotten.
    pub fn handle_tls(&mut self, tls: Tls, now: Mono) {
        if !matches!(self.state, State::Tls) {
            return;
        }
        self.tls = Some(tls);
        self.state = State::Command;
        self.deadline = now.after(self.options.limits.command_timeout);
    }

    /// Closes the session if its time is up: RFC 5321 4.5.3.2.
    pub fn handle_timeout(&mut self, now: Mono) {
        if self.poll_timeout().is_some_and(|deadline| now >= deadline) {
            self.close_with(reply::TIMEOUT);
        }
    }

    /// Closes the session: this node stops, or is no longer primary. No acknowledgement follows,
    /// even if the answer to an open commit comes afterwards.
    pub fn handle_shutdown(&mut self) {
        self.close_with(reply::SHUTDOWN);
    }

    /// Closes the session: what the client signed in with is not valid any more.
    pub fn handle_sign_out(&mut self) {
        self.close_with(reply::SIGNED_OUT);
    }

    /// The next thing to do. `None`: answer the open question, or read.
    pub fn poll_output(&mut self) -> Option<Output> {
        if let Some(output) = self.outputs.pop_front() {
            return Some(output);
        }
        // While a question is open, replies wait for it, so that a pipelined group is answered
        // with one write.
        if self.pending.is_some() || self.replies.is_empty() {
            return None;
        }
        Some(Output::Send(std::mem::take(&mut self.replies)))
    }

    /// When [`Session::handle_timeout`] wants to be called; `None` while a question is open.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Mono> {
        if self.pending.is_some() || matches!(self.state, State::Closed) {
            return None;
        }
        Some(self.message_deadline.map_or(self.deadline, |end| end.min(self.deadline)))
    }

    /// Processes waiting input until it ends or a question opens.
    fn advance(&mut self, now: Mono) {
        let input = std::mem::take(&mut self.input);
        let mut rest = input.get(self.read..).unwrap_or_default();
        while !rest.is_empty() && self.pending.is_none() {
            rest = match self.state {
                State::Command | State::Auth(_) => self.take_line(rest, now),
                State::Text(_) => self.take_text(rest, now),
                State::Chunk(_) => self.take_chunk(rest, now),
                State::Tls | State::Closed => &[],
            };
        }
        if rest.is_empty() {
            self.read = 0;
        } else {
            self.read = input.len().saturating_sub(rest.len());
            self.input = input;
        }
    }

    fn take_line<'a>(&mut self, rest: &'a [u8], now: Mono) -> &'a [u8] {
        let (line, tail) = self.line.take(rest);
        match line {
            Line::Partial => {}
            Line::Flood => self.close_with(reply::LINE_TOO_LONG),
            // A line that another parser would end elsewhere: nothing after it can be trusted.
            Line::BareNewline => self.close_with(reply::BARE_NEWLINE),
            Line::TooLong => {
                self.deadline = now.after(self.options.limits.command_timeout);
                if matches!(self.state, State::Auth(_)) {
                    // RFC 4954 4: an over-long line ends the exchange.
                    self.state = State::Command;
                    self.reply(reply::AUTH_LINE_TOO_LONG);
                } else {
                    self.reply(reply::LINE_TOO_LONG);
                }
            }
            Line::Whole(line) => {
                self.deadline = now.after(self.options.limits.command_timeout);
                match std::mem::replace(&mut self.state, State::Command) {
                    State::Auth(step) => self.auth_line(step, &line),
                    _ => self.command(&line),
                }
            }
        }
        tail
    }

    /// Takes one command line, with its CRLF.
    fn command(&mut self, line: &[u8]) {
        let text = line.strip_suffix(b"\r\n").unwrap_or(line);
        if text.iter().any(|b| b.is_ascii_control() && *b != b'\t') {
            self.reply(reply::NOT_TEXT);
            return;
        }
        let Ok(text) = std::str::from_utf8(text) else {
            let verb = text.get(..5).unwrap_or_default();
            let envelope =
                verb.eq_ignore_ascii_case(b"MAIL ") || verb.eq_ignore_ascii_case(b"RCPT ");
            self.reply(if envelope { reply::NEEDS_UTF8 } else { reply::NOT_TEXT });
            return;
        };
        match Request::parse(&mut line.iter()) {
            Ok(request) => self.request(request, text),
            Err(_) if is_bdat(text) => self.close_with(reply::BAD_CHUNK),
            Err(error) => self.reply(match error {
                Error::UnknownCommand => reply::UNKNOWN_COMMAND,
                Error::InvalidSenderAddress => reply::BAD_SENDER,
                Error::InvalidRecipientAddress => reply::BAD_RECIPIENT,
                Error::UnsupportedParameter { .. } => reply::UNKNOWN_PARAMETER,
                // NeedsMoreData: the parser read past the line's end for something missing.
                _ => reply::SYNTAX,
            }),
        }
    }

    fn request(&mut self, request: Request<Cow<'_, str>>, text: &str) {
        let verb = request.name();
        match request {
            Request::Data | Request::Rset | Request::Quit | Request::StartTls
                if text.trim().len() != verb.len() =>
            {
                self.reply(reply::NO_PARAMETERS);
            }
            Request::Ehlo { host } => self.ehlo(&host),
            Request::Helo { host } => self.helo(&host),
            Request::StartTls => self.start_tls(),
            Request::Auth { mechanism, initial_response } => {
                self.auth(mechanism, &initial_response)
            }
            Request::Mail { from } => self.mail(from, text),
            Request::Rcpt { to } => self.rcpt(to, text),
            Request::Data => self.data(),
            Request::Bdat { chunk_size, is_last } => self.bdat(chunk_size, is_last, text),
            Request::Rset => {
                self.forget_transaction();
                self.idle(reply::OK);
            }
            Request::Noop { .. } => self.idle(reply::OK),
            // RFC 5321 7.3: VRFY and EXPN would tell a harvester who is here.
            Request::Vrfy { .. } => self.idle(reply::NO_VRFY),
            Request::Help { .. } => self.idle(reply::HELP),
            Request::Expn { .. }
            | Request::Lhlo { .. }
            | Request::Etrn { .. }
            | Request::Atrn { .. }
            | Request::Burl { .. } => self.reply(reply::NOT_IMPLEMENTED),
            Request::Quit => self.close_with(reply::BYE),
        }
    }

    /// Answers a command that moves nothing; too many of them end the session.
    fn idle(&mut self, reply: Reply) {
        self.counts.idle = self.counts.idle.saturating_add(1);
        if self.counts.idle > self.options.limits.idle_commands {
            self.close_with(reply::TOO_MANY_COMMANDS);
        } else {
            self.reply(reply);
        }
    }

    /// Writes a reply; too many errors end the session.
    fn reply(&mut self, reply: Reply) {
        write_reply(&mut self.replies, reply);
        if reply.is_error() {
            self.counts.errors = self.counts.errors.saturating_add(1);
            if self.counts.errors > self.options.limits.errors {
                self.close_with(reply::TOO_MANY_ERRORS);
            }
        }
    }

    fn ask(&mut self, question: Question, pending: Pending) {
        self.pending = Some(pending);
        self.outputs.push_back(Output::Ask(question));
    }

    fn event(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    /// Writes the last reply and ends everything.
    fn close_with(&mut self, last: Reply) {
        if matches!(self.state, State::Closed) {
            return;
        }
        self.forget_transaction();
        // In the handshake there is nobody who could read a plaintext reply.
        if !matches!(self.state, State::Tls) {
            write_reply(&mut self.replies, last);
        }
        if last != reply::BYE {
            self.event(Event::Closed { code: last.code, reason: last.text });
        }
        self.send_replies();
        self.outputs.push_back(Output::Close);
        self.state = State::Closed;
        self.pending = None;
        self.message_deadline = None;
        self.input = Vec::new();
        self.read = 0;
    }

    /// Puts the waiting replies in order with the outputs.
    fn send_replies(&mut self) {
        if !self.replies.is_empty() {
            let replies = std::mem::take(&mut self.replies);
            self.outputs.push_back(Output::Send(replies));
        }
    }
}

fn is_bdat(text: &str) -> bool {
    text.trim_start().as_bytes().get(..4).is_some_and(|verb| verb.eq_ignore_ascii_case(b"BDAT"))
}

fn write_reply(to: &mut Vec<u8>, reply: Reply) {
    let space = if reply.status.is_empty() { "" } else { " " };
    let line = format!("{} {}{space}{}\r\n", reply.code, reply.status, reply.text);
    to.extend_from_slice(line.as_bytes());
}

/// Runs a session over arbitrary input with fixed answers; the entry for fuzzing. Returns the
/// number of octets that the session sent.
#[must_use]
pub fn explore(service: Service, input: &[u8]) -> usize {
    let mut session = Session::new(Options::new(service, "mx.example.net", true), Mono(0));
    let (mut sent, mut n) = (0_usize, 0_u32);
    let (head, rest) = input.split_at_checked(1).unwrap_or_default();
    let step = head.first().map_or(1, |&n| usize::from(n).max(1));
    for piece in rest.chunks(step) {
        session.handle_input(piece, Mono(0));
        while !session.wants_input() {
            let Some(output) = session.poll_output() else { break };
            match output {
                Output::Send(bytes) => sent = sent.saturating_add(bytes.len()),
                Output::StartTls => session.handle_tls(Tls::default(), Mono(0)),
                Output::Ask(Question::Commit) => {
                    session.handle_answer(Answer::Committed { id: "q".to_owned() }, Mono(0));
                }
                Output::Ask(_) => {
                    n = n.wrapping_add(1);
                    let answer = if n.is_multiple_of(5) { Answer::Unknown } else { Answer::Yes };
                    session.handle_answer(answer, Mono(0));
                }
                Output::Close => return sent,
                Output::Body(_) | Output::Abort | Output::Event(_) => {}
            }
        }
        while let Some(output) = session.poll_output() {
            if let Output::Send(bytes) = output {
                sent = sent.saturating_add(bytes.len());
            }
        }
    }
    sent
}

#[cfg(test)]
mod tests;
