//! SEARCH.
//!
//! What the mailbox's entries tell is searched at once; what needs headers or bodies is searched on
//! a blocking thread, a batch of messages at a time, for few sessions at once. Text is searched as a
//! person reads it: transfer encoding, charset and RFC 2047 removed; attachments that are no text
//! are not searched.

use super::super::answer::{Done, Failure};
use super::super::session::Session;
use super::fetch::read_header;
use crate::base::clock;
use crate::directory::Login;
use crate::mail::{Mail, MailError};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use understudy_proto::imap::date::Day;
use understudy_proto::imap::response::{self, Status};
use understudy_proto::imap::search::{Key, Message, Search};
use understudy_proto::imap::sequence::{Ranges, SeqNum};
use understudy_proto::mailbox::{Email, Entry};
use understudy_proto::message::decode::{Search as Seek, TextDecoder, contains};
use understudy_proto::message::{PartKind, SectionPart, header};

/// Searches that read messages at the same time: each uses a core and the disk.
const READING_MAX: usize = 2;
static READING: Semaphore = Semaphore::const_new(READING_MAX);
/// Messages that are searched by reading before the session looks up.
const BATCH: usize = 32;
/// Most bytes of a body that are read at once.
const READ_LEN: u64 = 256 * 1024;
/// Pause between two signs of life while a long search runs.
const SIGN_OF_LIFE: Duration = Duration::from_secs(20);

/// RFC 9051 6.4.4, RFC 4731.
pub(super) async fn run(s: &mut Session, tag: &str, search: &Search) -> Result<Done, Failure> {
    let view = s.selected()?;
    let key = search.key.resolve(view.exists(), view.last_uid().0);
    let number = |seq: SeqNum, entry: &Entry| if search.uid { entry.uid.0 } else { seq.0 };
    let found = if key.reads() {
        read(s, key, number).await?
    } else {
        let there = (0..).map_while(|at| view.get(at)).filter(|(_, _, gone)| !gone);
        let hit = |seq, entry| {
            let Ok(hit) = key.matches(&mut Glance { seq, entry });
            hit
        };
        there.filter(|(seq, e, _)| hit(*seq, *e)).map(|(seq, e, _)| number(seq, e)).collect()
    };
    if let Some(returns) = search.returns {
        response::esearch(&mut s.wire.out, tag, search.uid, returns, &found);
    } else {
        s.wire.out.extend_from_slice(b"* SEARCH");
        for number in found {
            response::search_number(&mut s.wire.out, number);
            s.wire.relieve().await?;
        }
        s.wire.out.extend_from_slice(b"\r\n");
    }
    Ok(Done::ok("Searched"))
}

/// Searches by reading, a batch of the view at a time.
async fn read(
    s: &mut Session,
    key: Key<Ranges>,
    number: impl Fn(SeqNum, &Entry) -> u32,
) -> Result<Vec<u32>, Failure> {
    let mut reader = Reader::new(s.service.mail.clone(), s.login()?.clone());
    let key = Arc::new(key);
    let mut found = Vec::new();
    let mut sign = clock::mono().after(SIGN_OF_LIFE);
    let mut at = 0;
    loop {
        let view = s.selected()?;
        let batch: Vec<(SeqNum, Entry)> = (at..at + BATCH)
            .map_while(|at| view.get(at))
            .filter(|(_, _, gone)| !gone)
            .map(|(seq, entry, _)| (seq, entry.clone()))
            .collect();
        if view.get(at).is_none() {
            return Ok(found);
        }
        at += BATCH;
        s.may_stay()?;
        let _turn = READING.acquire().await;
        let key = Arc::clone(&key);
        let searched = super::blocking(move || {
            let mut found = Vec::new();
            for (seq, entry) in batch {
                reader.open(seq, entry);
                if key.matches(&mut reader)? {
                    found.extend(reader.close());
                }
            }
            Ok((reader, found))
        });
        let (back, more) = searched.await?;
        reader = back;
        found.extend(more.iter().map(|(seq, entry)| number(*seq, entry)));
        if clock::mono() >= sign {
            response::status(&mut s.wire.out, "*", Status::Ok, None, "Still searching");
            s.wire.flush().await?;
            sign = clock::mono().after(SIGN_OF_LIFE);
        }
    }
}

/// A message of which only the entry is looked at.
struct Glance<'a> {
    seq: SeqNum,
    entry: &'a Entry,
}

impl Message for Glance<'_> {
    type Error = Infallible;

    fn seq(&self) -> SeqNum {
        self.seq
    }

    fn entry(&self) -> &Entry {
        self.entry
    }

    // The rest is never asked: `Key::reads` says so.
    fn sent(&mut self) -> Result<Option<Day>, Infallible> {
        Ok(None)
    }

    fn field_has(&mut self, _field: &str, _needle: &str) -> Result<bool, Infallible> {
        Ok(false)
    }

    fn header_has(&mut self, _needle: &str) -> Result<bool, Infallible> {
        Ok(false)
    }

    fn body_has(&mut self, _needle: &str) -> Result<bool, Infallible> {
        Ok(false)
    }
}

/// One message after the other, read as far as the search needs.
struct Reader {
    mail: Mail,
    login: Login,
    seq: SeqNum,
    entry: Option<Entry>,
    email: Option<Email>,
    header: Option<Vec<u8>>,
    nothing: Entry,
}

impl Reader {
    fn new(mail: Mail, login: Login) -> Self {
        let nothing = Entry {
            uid: Default::default(),
            email: Default::default(),
            flags: Default::default(),
            modseq: Default::default(),
            internal_date: Default::default(),
            size: 0,
        };
        Self { mail, login, seq: SeqNum(0), entry: None, email: None, header: None, nothing }
    }

    fn open(&mut self, seq: SeqNum, entry: Entry) {
        self.seq = seq;
        self.entry = Some(entry);
        self.email = None;
        self.header = None;
    }

    fn close(&mut self) -> Option<(SeqNum, Entry)> {
        self.entry.take().map(|entry| (self.seq, entry))
    }

    /// What is known of the message; `None` when another session has expunged it.
    fn email(&mut self) -> Result<Option<&Email>, MailError> {
        if self.email.is_none()
            && let Some(entry) = &self.entry
        {
            self.email = self.mail.email(&self.login, entry.email)?;
        }
        Ok(self.email.as_ref())
    }

    fn header(&mut self) -> Result<&[u8], MailError> {
        if self.header.is_none() {
            self.email()?;
            let mut raw = Vec::new();
            if let Some(email) = &self.email
                && let Some(range) = email.summary.section(&[], SectionPart::Header)
            {
                raw = read_header(&self.mail, &self.login, email, range)?;
            }
            self.header = Some(raw);
        }
        Ok(self.header.as_deref().unwrap_or_default())
    }
}

impl Message for Reader {
    type Error = MailError;

    fn seq(&self) -> SeqNum {
        self.seq
    }

    fn entry(&self) -> &Entry {
        self.entry.as_ref().unwrap_or(&self.nothing)
    }

    fn sent(&mut self) -> Result<Option<Day>, MailError> {
        Ok(self.email()?.and_then(|e| e.summary.date).map(Day::of))
    }

    fn field_has(&mut self, field: &str, needle: &str) -> Result<bool, MailError> {
        // The summary has the subject as a person reads it; only what it cut off needs the header.
        if field == "SUBJECT" {
            const CUT: usize = 500;
            let subject = self.email()?.map_or("", |e| e.summary.subject.as_str());
            if !needle.is_empty() && contains(subject, needle) {
                return Ok(true);
            }
            if !needle.is_empty() && subject.len() < CUT {
                return Ok(false);
            }
        }
        Ok(header::fields(self.header()?)
            .filter(|f| f.name.eq_ignore_ascii_case(field.as_bytes()))
            .any(|f| contains(&header::decode_words(f.value), needle)))
    }

    fn header_has(&mut self, needle: &str) -> Result<bool, MailError> {
        Ok(header::fields(self.header()?).any(|f| {
            let name = String::from_utf8_lossy(f.name);
            contains(&format!("{name}: {}", header::decode_words(f.value)), needle)
        }))
    }

    fn body_has(&mut self, needle: &str) -> Result<bool, MailError> {
        self.email()?;
        let Some(email) = &self.email else { return Ok(false) };
        let mut seek = Seek::new(needle);
        for part in email.summary.parts.iter().filter(|p| p.kind == PartKind::Text) {
            let mut decoder = TextDecoder::new(part.encoding, part.charset.as_deref());
            let range = part.body.range();
            let mut at = range.start;
            let mut text = String::new();
            while at < range.end {
                let to = range.end.min(at.saturating_add(READ_LEN));
                let bytes = self.mail.read(&self.login, &email.body, at..to)?;
                decoder.feed(&bytes, &mut text);
                if seek.feed(&text) {
                    return Ok(true);
                }
                text.clear();
                at = to;
            }
            decoder.finish(&mut text);
            if seek.feed(&text) {
                return Ok(true);
            }
            // The end of one part and the start of the next are no text of anybody's.
            seek.interrupt();
        }
        Ok(false)
    }
}
