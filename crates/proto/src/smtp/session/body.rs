//! DATA and BDAT: the message's octets, and the one place where a 250 for a message is written.

use super::mail::Body;
use super::{Answer, Event, Output, Pending, Question, Session, State};
use crate::smtp::content::{Content, Fault};
use crate::smtp::reply::{self, Reply};
use crate::time::Mono;

/// A refused message is read to its end, so that its sender sees the reply, up to this many times
/// the accepted size.
const DISCARD_FACTOR: u64 = 4;

/// A chunk on its way.
pub(super) struct Chunk {
    size: u64,
    left: u64,
    last: bool,
    /// The chunk is read and dropped, then this is the reply: RFC 3030 2, it must be consumed.
    refused: Option<Reply>,
}

impl Session {
    /// RFC 5321 4.1.1.4.
    pub(super) fn data(&mut self) {
        match &self.transaction {
            None => self.reply(reply::MAIL_FIRST),
            Some(t) if !matches!(t.body, Body::None) => self.reply(reply::CHUNKS_BEGUN),
            Some(t) if t.to.is_empty() => self.reply(reply::NO_RECIPIENTS),
            Some(_) => {
                if let Some(envelope) = self.envelope() {
                    self.ask(Question::Begin(envelope), Pending::BeginText);
                }
            }
        }
    }

    pub(super) fn text_answered(&mut self, answer: &Answer, now: Mono) {
        if let Some(refusal) = begin_refusal(answer) {
            self.transaction = None;
            return self.reply(refusal);
        }
        if let Some(transaction) = &mut self.transaction {
            transaction.body = Body::Text;
        }
        let limits = &self.options.limits;
        self.deadline = now.after(limits.data_timeout);
        self.message_deadline = Some(now.after(limits.message_timeout));
        self.state = State::Text(Content::new(limits.message, limits.line));
        self.reply(reply::GO_AHEAD);
    }

    pub(super) fn take_text<'a>(&mut self, input: &'a [u8], now: Mono) -> &'a [u8] {
        self.deadline = now.after(self.options.limits.data_timeout);
        let State::Text(content) = &mut self.state else { return input };
        let had_fault = content.fault.is_some();
        let mut out = Vec::new();
        let rest = content.take_text(input, &mut out);
        let (fault, seen) = (content.fault, content.seen);
        self.pass_body(out, fault, had_fault);
        if let Some(fault) = fault
            && seen > self.discard_max()
        {
            self.event(Event::MessageRefused(fault));
            self.close_with(fault.reply());
            return &[];
        }
        let Some(rest) = rest else { return &[] };
        self.state = State::Command;
        self.deadline = now.after(self.options.limits.command_timeout);
        match fault {
            Some(fault) => self.refuse_message(fault),
            None => self.ask(Question::Commit, Pending::Commit),
        }
        rest
    }

    /// RFC 3030 2.
    pub(super) fn bdat(&mut self, size: usize, last: bool, text: &str) {
        let size = u64::try_from(size).unwrap_or(u64::MAX);
        // smtp-proto's numbers wrap past 20 digits; a length that is not believed ends all.
        if text.len() > BDAT_LINE_MAX {
            return self.close_with(reply::BAD_CHUNK);
        }
        if size > self.discard_max() {
            return self.close_with(reply::TOO_BIG);
        }
        let mut chunk = Chunk { size, left: size, last, refused: None };
        let max = self.options.limits.message;
        match &mut self.transaction {
            None => chunk.refused = Some(reply::MAIL_FIRST),
            Some(t) if t.to.is_empty() => chunk.refused = Some(reply::NO_RECIPIENTS),
            Some(t) => match &mut t.body {
                Body::Chunks(content) => {
                    if content.size.saturating_add(size) > max {
                        content.fail(Fault::TooBig);
                        self.outputs.push_back(Output::Abort);
                    }
                }
                Body::None | Body::Text if size > max => {
                    chunk.refused = Some(reply::TOO_BIG);
                    self.transaction = None;
                }
                Body::None | Body::Text => {
                    if let Some(envelope) = self.envelope() {
                        return self.ask(Question::Begin(envelope), Pending::BeginChunk(chunk));
                    }
                }
            },
        }
        self.start_chunk(chunk);
    }

    pub(super) fn chunk_answered(&mut self, mut chunk: Chunk, answer: &Answer, now: Mono) {
        if let Some(refusal) = begin_refusal(answer) {
            self.transaction = None;
            chunk.refused = Some(refusal);
        } else if let Some(transaction) = &mut self.transaction {
            let limits = &self.options.limits;
            let content = Content::new(limits.message, limits.line);
            transaction.body = Body::Chunks(Box::new(content));
            self.message_deadline = Some(now.after(limits.message_timeout));
        }
        self.start_chunk(chunk);
    }

    fn start_chunk(&mut self, chunk: Chunk) {
        if chunk.left == 0 {
            self.end_chunk(chunk);
        } else {
            self.state = State::Chunk(chunk);
        }
    }

    pub(super) fn take_chunk<'a>(&mut self, input: &'a [u8], now: Mono) -> &'a [u8] {
        self.deadline = now.after(self.options.limits.data_timeout);
        let State::Chunk(mut chunk) = std::mem::replace(&mut self.state, State::Command) else {
            return input;
        };
        let take = usize::try_from(chunk.left).unwrap_or(usize::MAX).min(input.len());
        let (bytes, rest) = input.split_at_checked(take).unwrap_or((input, &[]));
        chunk.left = chunk.left.saturating_sub(u64::try_from(take).unwrap_or(u64::MAX));
        if chunk.refused.is_none()
            && let Some(content) = self.body_mut()
        {
            let had_fault = content.fault.is_some();
            let mut out = Vec::new();
            content.take_chunk(bytes, &mut out);
            let fault = content.fault;
            self.pass_body(out, fault, had_fault);
        }
        self.start_chunk(chunk);
        rest
    }

    /// Each chunk has one reply, however it went.
    fn end_chunk(&mut self, chunk: Chunk) {
        self.state = State::Command;
        if let Some(refused) = chunk.refused {
            return self.reply(refused);
        }
        let Some(content) = self.body_mut() else {
            return self.reply(reply::MAIL_FIRST);
        };
        if chunk.last {
            let had_fault = content.fault.is_some();
            content.end_chunks();
            let fault = content.fault;
            self.pass_body(Vec::new(), fault, had_fault);
        }
        match self.body_mut().and_then(|content| content.fault) {
            Some(fault) => self.refuse_message(fault),
            None if chunk.last => self.ask(Question::Commit, Pending::Commit),
            None => {
                let line = format!("250 2.0.0 {} octets received\r\n", chunk.size);
                self.replies.extend_from_slice(line.as_bytes());
            }
        }
    }

    /// RFC 5321 4.2.5: from here on the message is ours. The only 250 for one.
    pub(super) fn commit_answered(&mut self, answer: Answer) {
        self.transaction = None;
        self.message_deadline = None;
        match answer {
            Answer::Committed { id } => {
                self.counts.idle = 0;
                self.counts.errors = 0;
                let id: String = id.chars().filter(|c| is_id(*c)).take(ID_MAX).collect();
                let line = format!("250 2.0.0 Accepted as {id}\r\n");
                self.replies.extend_from_slice(line.as_bytes());
            }
            Answer::No => self.reply(reply::REFUSED),
            Answer::Full => self.reply(reply::FULL),
            _ => self.reply(reply::TRY_LATER),
        }
    }

    /// Hands octets on; at the first fault the driver forgets the body instead.
    fn pass_body(&mut self, out: Vec<u8>, fault: Option<Fault>, had_fault: bool) {
        if fault.is_some() && !had_fault {
            self.outputs.push_back(Output::Abort);
        } else if fault.is_none() && !out.is_empty() {
            self.outputs.push_back(Output::Body(out));
        }
    }

    fn discard_max(&self) -> u64 {
        self.options.limits.message.saturating_mul(DISCARD_FACTOR)
    }
}

/// Longest queue id that a client is told, in characters.
const ID_MAX: usize = 64;

/// Longest BDAT line: the verb, 19 digits, LAST, and some blanks.
const BDAT_LINE_MAX: usize = 40;

fn is_id(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')
}

fn begin_refusal(answer: &Answer) -> Option<Reply> {
    match answer {
        Answer::Yes => None,
        Answer::Full => Some(reply::FULL),
        _ => Some(reply::TRY_LATER),
    }
}
