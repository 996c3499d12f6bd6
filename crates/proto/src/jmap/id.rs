//! Ids and states as text (RFC 8620 1.2): a letter and numbers, so that one of another kind is none.

use crate::id::{AccountId, EmailId, Lsn, MailboxId, ModSeq, ThreadId};
use std::fmt;
use std::str::FromStr;

/// The id of an account.
#[must_use]
pub fn account_id(account: AccountId) -> String {
    format!("u{account}")
}

/// The account that an id names.
#[must_use]
pub fn parse_account(id: &str) -> Option<AccountId> {
    number(id, 'u').map(AccountId)
}

/// The id of a message.
#[must_use]
pub fn email_id(email: EmailId) -> String {
    format!("m{email}")
}

/// The message that an id names.
#[must_use]
pub fn parse_email(id: &str) -> Option<EmailId> {
    number(id, 'm').map(EmailId)
}

/// The id of a conversation.
#[must_use]
pub fn thread_id(thread: ThreadId) -> String {
    format!("t{thread}")
}

/// The conversation that an id names.
#[must_use]
pub fn parse_thread(id: &str) -> Option<ThreadId> {
    number(id, 't').map(ThreadId)
}

/// The id of a mailbox.
#[must_use]
pub fn mailbox_id(mailbox: MailboxId) -> String {
    format!("b{mailbox}")
}

/// The mailbox that an id names.
#[must_use]
pub fn parse_mailbox(id: &str) -> Option<MailboxId> {
    number(id, 'b').map(MailboxId)
}

/// One spelling for each number: `m01` is not `m1`.
fn number<T: FromStr + ToString>(id: &str, letter: char) -> Option<T> {
    let digits = id.strip_prefix(letter)?;
    let number: T = digits.parse().ok()?;
    (number.to_string() == digits).then_some(number)
}

/// RFC 8620 6: octets that can be fetched.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum BlobId {
    /// A whole message.
    Email(EmailId),
    /// One of its parts, by its place in the summary, its transfer encoding removed.
    Part(EmailId, u16),
    /// Something that was uploaded.
    Upload(String),
    /// A part of a message that is itself such a blob (RFC 8621 4.9), as [`BlobId::Part`].
    Inside(Box<Self>, u16),
}

/// How deep messages in messages have ids.
const INSIDE_MAX: usize = 8;

impl fmt::Display for BlobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Email(email) => write!(f, "e{email}"),
            Self::Part(email, part) => write!(f, "e{email}-{part}"),
            Self::Upload(id) => f.write_str(id),
            Self::Inside(outer, part) => write!(f, "{outer}-{part}"),
        }
    }
}

impl BlobId {
    /// Reads one.
    #[must_use]
    pub fn parse(id: &str) -> Option<Self> {
        let mut steps = id.split('-');
        let first = steps.next()?;
        let mut blob = if first.starts_with('f') {
            let is_id = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
            let fits = first.len() <= 255 && first.bytes().all(is_id);
            fits.then(|| Self::Upload(first.to_owned()))?
        } else {
            Self::Email(EmailId(number(first, 'e')?))
        };
        for (depth, step) in steps.enumerate() {
            let part: u16 = step.parse().ok().filter(|n: &u16| n.to_string() == step)?;
            if depth >= INSIDE_MAX {
                return None;
            }
            blob = blob.part(part);
        }
        Some(blob)
    }

    /// The message of a mailbox that it is, or is of.
    #[must_use]
    pub fn email(&self) -> Option<EmailId> {
        match self {
            Self::Email(email) | Self::Part(email, _) => Some(*email),
            Self::Inside(outer, _) => outer.email(),
            Self::Upload(_) => None,
        }
    }

    /// A part of this message.
    #[must_use]
    pub fn part(self, part: u16) -> Self {
        match self {
            Self::Email(email) => Self::Part(email, part),
            outer => Self::Inside(Box::new(outer), part),
        }
    }
}

/// RFC 8620 1.6.2: what a client knows. What has a higher number than `counter` was created since, what
/// changed after `modseq` was changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Which history it is of: after a merge it is another one.
    pub fork: Lsn,
    /// The account's count of changes.
    pub modseq: ModSeq,
    /// The last number that was given.
    pub counter: u64,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.fork, self.modseq, self.counter)
    }
}

impl State {
    /// Reads one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.splitn(3, '-').map(str::parse::<u64>);
        let mut next = || numbers.next()?.ok();
        let (fork, modseq, counter) = (Lsn(next()?), ModSeq(next()?), next()?);
        let state = Self { fork, modseq, counter };
        (state.to_string() == text).then_some(state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn each_id_has_one_spelling() {
        assert_eq!(parse_email("m12"), Some(EmailId(12)));
        for wrong in ["", "m", "m012", "b12", "m+1", "m-1", "m99999999999999999999"] {
            assert_eq!(parse_email(wrong), None, "{wrong}");
        }
        let upload = BlobId::Upload("fA_9".into());
        for id in [
            BlobId::Email(EmailId(7)),
            BlobId::Part(EmailId(7), 3),
            BlobId::Part(EmailId(7), 3).part(0),
            upload.clone().part(2).part(1),
            upload,
        ] {
            assert_eq!(BlobId::parse(&id.to_string()), Some(id));
        }
        for wrong in
            ["e", "e1-", "e1-01", "e1-1-01", "f-", "f1--1", "e1-1-1-1-1-1-1-1-1-1", "fä", "x1"]
        {
            assert_eq!(BlobId::parse(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_state_or_none(fork: u64, modseq: u64, counter: u64, text in "[0-9-]{0,12}") {
            let state = State { fork: Lsn(fork), modseq: ModSeq(modseq), counter };
            prop_assert_eq!(State::parse(&state.to_string()), Some(state));
            prop_assert!(State::parse(&text).is_none_or(|s| s.to_string() == text));
        }
    }
}
