//! FETCH: any amount of messages, any size, in bounded memory.
//!
//! Messages are taken by batches from the view. A [`Producer`] turns a batch into pieces of the
//! answer, each on a blocking thread; the next piece is made when the client has taken the last.

use super::super::answer::{Done, End, Failure};
use super::super::session::Session;
use super::super::wire::PIECE_LEN;
use super::expunged_some;
use crate::directory::Login;
use crate::mail::{Mail, MailError};
use std::collections::VecDeque;
use std::io::Write;
use std::ops::Range;
use std::sync::Arc;
use understudy_proto::imap::fetch::{Fetch, Item, Section, What};
use understudy_proto::imap::response;
use understudy_proto::imap::sequence::SeqNum;
use understudy_proto::mailbox::{Email, Entry, Flags, FlagsOp};
use understudy_proto::message::{SectionPart, header};

/// Messages that are taken from the view at once.
const BATCH: usize = 256;
/// Most bytes of a body that are read at once.
const READ_LEN: u64 = 256 * 1024;
/// Longest header from which fields are picked, in bytes; what comes after is not looked at.
const HEADER_LEN_MAX: u64 = 1024 * 1024;

/// RFC 9051 6.4.5.
pub(super) async fn run(s: &mut Session, fetch: Fetch) -> Result<Done, Failure> {
    let positions = s.selected()?.positions(&fetch.target);
    let sets_seen = fetch.sets_seen() && !s.selected()?.read_only;
    let tells_flags = fetch.items.contains(&Item::Flags);
    let items: Arc<[Item]> = fetch.items.into();
    let mut all = positions.into_iter().flatten().peekable();
    let mut gone = false;
    while all.peek().is_some() {
        let batch: Vec<usize> = all.by_ref().take(BATCH).collect();
        if sets_seen {
            set_seen(s, &batch).await?;
        }
        let view = s.selected()?;
        let rows: VecDeque<(SeqNum, Entry)> = batch
            .iter()
            .filter_map(|&at| view.get(at))
            .map(|(seq, entry, _)| (seq, entry.clone()))
            .collect();
        if tells_flags {
            for (_, entry) in &rows {
                view.told_flags(entry.uid);
            }
        }
        let mail = s.service.mail.clone();
        let login = s.login()?.clone();
        gone |= produce(s, Producer::new(mail, login, Arc::clone(&items), rows)).await?;
    }
    Ok(if gone { expunged_some("Some of the messages are gone") } else { Done::ok("Fetched") })
}

/// RFC 9051 6.4.5: fetching a body sets \Seen. The change is told as news, or by the answer itself
/// when it has FLAGS. That it cannot be made is no reason not to give the message.
async fn set_seen(s: &mut Session, batch: &[usize]) -> Result<(), Failure> {
    let view = s.selected()?;
    let mailbox = view.mailbox;
    let unseen: Vec<_> = batch
        .iter()
        .filter_map(|&at| view.get(at))
        .filter(|(_, entry, gone)| !gone && !entry.flags.has(Flags::SEEN))
        .map(|(_, entry, _)| entry.uid)
        .collect();
    if unseen.is_empty() {
        return Ok(());
    }
    let seen = Flags::system(Flags::SEEN);
    let mail = &s.service.mail;
    match mail.flags(&s.lease, s.login()?, mailbox, &unseen, FlagsOp::Add, seen).await {
        Ok(entries) => {
            let view = s.selected()?;
            entries.into_iter().for_each(|entry| view.stored(entry, None));
        }
        Err(why) => log::warn!(session = s.id, err:% = why; "messages could not be marked as seen"),
    }
    Ok(())
}

/// Sends all that `producer` makes; whether some message was gone.
async fn produce(s: &mut Session, mut producer: Producer) -> Result<bool, Failure> {
    loop {
        let made = super::blocking(move || {
            let mut piece = Vec::with_capacity(PIECE_LEN);
            let more = producer.make(&mut piece);
            Ok((producer, piece, more))
        });
        let (back, piece, more) = made.await?;
        producer = back;
        s.wire.out.extend_from_slice(&piece);
        s.wire.relieve().await?;
        match more {
            Ok(true) => {}
            Ok(false) => return Ok(producer.gone),
            // Nothing of the message at fault has been announced: the command can be answered.
            Err(why) if producer.open.is_none() => return Err(why.into()),
            Err(why) => return Err(End::Broken(why).into()),
        }
    }
}

/// Turns messages into FETCH responses, piece by piece.
struct Producer {
    mail: Mail,
    login: Login,
    items: Arc<[Item]>,
    rows: VecDeque<(SeqNum, Entry)>,
    /// The message whose response is not complete.
    open: Option<Open>,
    gone: bool,
}

/// A message whose response is under way.
struct Open {
    entry: Entry,
    email: Option<Box<Email>>,
    /// The next item.
    item: usize,
    /// What is left of a literal that was announced.
    literal: Range<u64>,
}

impl Producer {
    fn new(mail: Mail, login: Login, items: Arc<[Item]>, rows: VecDeque<(SeqNum, Entry)>) -> Self {
        Self { mail, login, items, rows, open: None, gone: false }
    }

    /// Appends to `out` until it holds a piece; whether there is more.
    fn make(&mut self, out: &mut Vec<u8>) -> Result<bool, MailError> {
        while out.len() < PIECE_LEN {
            let Some(open) = &mut self.open else {
                let Some((seq, entry)) = self.rows.pop_front() else { return Ok(false) };
                self.begin(seq, entry, out)?;
                continue;
            };
            if !open.literal.is_empty()
                && let Some(email) = &open.email
            {
                let end = open.literal.end.min(open.literal.start.saturating_add(READ_LEN));
                let bytes = self.mail.read(&self.login, &email.body, open.literal.start..end)?;
                out.extend_from_slice(&bytes);
                open.literal.start = end;
                continue;
            }
            let Some(item) = self.items.get(open.item) else {
                response::fetch_close(out);
                self.open = None;
                continue;
            };
            if open.item > 0 {
                out.push(b' ');
            }
            open.item += 1;
            open.write(&self.mail, &self.login, item, out)?;
        }
        Ok(true)
    }

    fn begin(&mut self, seq: SeqNum, entry: Entry, out: &mut Vec<u8>) -> Result<(), MailError> {
        let needs_email = |item: &Item| {
            matches!(item, Item::Envelope | Item::Body | Item::BodyStructure | Item::Content { .. })
        };
        let mut email = None;
        if self.items.iter().any(needs_email) {
            email = self.mail.email(&self.login, entry.email)?.map(Box::new);
            if email.is_none() {
                // RFC 2180 4.1.2: another session expunged it and we may not say so here.
                self.gone = true;
                return Ok(());
            }
        }
        response::fetch_open(out, seq);
        self.open = Some(Open { entry, email, item: 0, literal: 0..0 });
        Ok(())
    }
}

impl Open {
    fn write(
        &mut self,
        mail: &Mail,
        login: &Login,
        item: &Item,
        out: &mut Vec<u8>,
    ) -> Result<(), MailError> {
        let summary = self.email.as_ref().map(|e| &e.summary);
        match item {
            Item::Flags => response::flags_item(out, &self.entry.flags),
            Item::InternalDate => response::internal_date_item(out, self.entry.internal_date),
            Item::Size => number(out, "RFC822.SIZE", self.entry.size),
            Item::Uid => number(out, "UID", self.entry.uid.0.into()),
            Item::Envelope => named(out, "ENVELOPE", summary.map(|s| s.envelope.as_slice())),
            Item::Body => named(out, "BODY", summary.map(|s| s.body.as_slice())),
            Item::BodyStructure => {
                named(out, "BODYSTRUCTURE", summary.map(|s| s.bodystructure.as_slice()));
            }
            Item::Content { section, partial, label, .. } => {
                let origin = partial.map(|(from, _)| from);
                response::content_label(out, *label, section, origin);
                return self.content(mail, login, section, *partial, out);
            }
        }
        Ok(())
    }

    /// Writes a literal, or announces it: the rest follows by pieces.
    fn content(
        &mut self,
        mail: &Mail,
        login: &Login,
        section: &Section,
        partial: Option<(u32, u32)>,
        out: &mut Vec<u8>,
    ) -> Result<(), MailError> {
        let what = match section.what {
            What::All => SectionPart::Whole,
            What::Text => SectionPart::Text,
            What::Mime => SectionPart::Mime,
            What::Header | What::HeaderFields(_) | What::HeaderFieldsNot(_) => SectionPart::Header,
        };
        let Some(email) = &self.email else { return Ok(()) };
        let Some(range) = email.summary.section(&section.part, what) else {
            out.extend_from_slice(b"NIL");
            return Ok(());
        };
        let (names, not) = match &section.what {
            What::HeaderFields(names) => (names, false),
            What::HeaderFieldsNot(names) => (names, true),
            _ => {
                self.literal = cut(range, partial);
                response::literal(out, self.literal.end.saturating_sub(self.literal.start));
                return Ok(());
            }
        };
        let raw = read_header(mail, login, email, range)?;
        let fields = header::select(&raw, names, not);
        let len = u64::try_from(fields.len()).unwrap_or(u64::MAX);
        let wanted = cut(0..len, partial);
        let index = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        let wanted = fields.get(index(wanted.start)..index(wanted.end)).unwrap_or_default();
        response::literal(out, u64::try_from(wanted.len()).unwrap_or(u64::MAX));
        out.extend_from_slice(wanted);
        Ok(())
    }
}

/// RFC 9051 6.4.5: the part of `range` that a partial names; empty when it starts behind the end.
fn cut(range: Range<u64>, partial: Option<(u32, u32)>) -> Range<u64> {
    let Some((from, len)) = partial else { return range };
    let start = range.start.saturating_add(from.into()).min(range.end);
    start..start.saturating_add(len.into()).min(range.end)
}

/// A header section, as far as [`HEADER_LEN_MAX`].
pub(super) fn read_header(
    mail: &Mail,
    login: &Login,
    email: &Email,
    range: Range<u64>,
) -> Result<Vec<u8>, MailError> {
    let end = range.end.min(range.start.saturating_add(HEADER_LEN_MAX));
    let mut raw = Vec::new();
    let mut at = range.start;
    while at < end {
        let to = end.min(at.saturating_add(READ_LEN));
        raw.extend_from_slice(&mail.read(login, &email.body, at..to)?);
        at = to;
    }
    Ok(raw)
}

fn number(out: &mut Vec<u8>, name: &str, value: u64) {
    // Writing into memory cannot fail.
    write!(out, "{name} {value}").unwrap_or_default();
}

fn named(out: &mut Vec<u8>, name: &str, value: Option<&[u8]>) {
    out.extend_from_slice(name.as_bytes());
    out.push(b' ');
    out.extend_from_slice(value.unwrap_or(b"NIL"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partials_stay_inside_the_section() {
        for (partial, expected) in [
            (None, 10..20),
            (Some((0, 5)), 10..15),
            (Some((8, 5)), 18..20),
            (Some((10, 5)), 20..20),
            (Some((u32::MAX, u32::MAX)), 20..20),
        ] {
            assert_eq!(cut(10..20, partial), expected);
        }
    }
}
