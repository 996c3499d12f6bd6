//! Conversations (RFC 8621 3): which messages of an account belong together.
//!
//! | key | value |
//! |---|---|
//! | `T` account email | [`ThreadId`]: the conversation of a message |
//! | `j` account thread email | nothing: a message of a conversation |
//! | `H` account hash | [`ThreadId`]: where a message with that Message-ID is, or is answered |
//!
//! Invariants: a message's conversation is found when it comes, by its Message-ID, what it answers and
//! its references, and never changes; so two that turn out to be one stay two. A message of an older
//! release has no row and is a conversation of its own. What `H` knows stays when the messages are gone:
//! a later answer is still of the same conversation. Deliberately absent: subjects; people answer old
//! mail to write something new, and that is said by the client.

use super::rows::RowError;
use crate::codec::{self, Key};
use crate::id::{AccountId, EmailId, ThreadId};
use crate::keys::{Keys, KeysMut};
use crate::message::Summary;
use std::ops::ControlFlow;

/// Message-IDs are compared by so many bytes of their BLAKE3.
const HASH_LEN: usize = 16;

fn key_thread(account: AccountId, email: EmailId) -> Vec<u8> {
    Key::new(b'T').u32(account.0).u64(email.0).done()
}

fn key_member(account: AccountId, thread: ThreadId, email: EmailId) -> Vec<u8> {
    Key::new(b'j').u32(account.0).u64(thread.0).u64(email.0).done()
}

fn key_named(account: AccountId, message_id: &str) -> Vec<u8> {
    let hash = blake3::hash(message_id.as_bytes());
    let short = hash.as_bytes().first_chunk::<HASH_LEN>().copied().unwrap_or_default();
    Key::new(b'H').u32(account.0).bytes(&short).done()
}

fn row(keys: &dyn Keys, key: &[u8]) -> Result<Option<ThreadId>, RowError> {
    Ok(keys.get(key)?.map(|v| codec::decode("a conversation", &v)).transpose()?)
}

/// The conversation of a message.
pub fn thread_of(
    keys: &dyn Keys,
    account: AccountId,
    email: EmailId,
) -> Result<ThreadId, RowError> {
    Ok(row(keys, &key_thread(account, email))?.unwrap_or(ThreadId(email.0)))
}

/// The messages of a conversation in the order in which they came; none where there is no such one.
pub fn thread_emails(
    keys: &dyn Keys,
    account: AccountId,
    thread: ThreadId,
) -> Result<Vec<EmailId>, RowError> {
    let mut emails = Vec::new();
    let (from, to) = Key::new(b'j').u32(account.0).u64(thread.0).range();
    keys.scan(&from, &to, &mut |key, _| {
        emails.extend(codec::u64_at(key, 13).map(EmailId));
        ControlFlow::Continue(())
    })?;
    let first = EmailId(thread.0);
    if emails.is_empty()
        && super::email(keys, account, first)?.is_some()
        && row(keys, &key_thread(account, first))?.is_none()
    {
        emails.push(first);
    }
    Ok(emails)
}

/// A message comes, under a new id.
pub(super) fn join(
    keys: &mut dyn KeysMut,
    account: AccountId,
    email: EmailId,
    summary: &Summary,
) -> Result<(), RowError> {
    let answered = summary.in_reply_to.iter().rev().chain(summary.references.iter().rev());
    let mut found = None;
    for id in summary.message_id.iter().chain(answered) {
        found = row(keys, &key_named(account, id))?;
        if found.is_some() {
            break;
        }
    }
    let thread = found.unwrap_or(ThreadId(email.0));
    let value = codec::encode(&thread);
    keys.put(&key_thread(account, email), &value)?;
    keys.put(&key_member(account, thread, email), &[])?;
    // Its own, the one that it answers, and the first of all: answers to the same message are found to be
    // of one conversation even where that message never came here. No more: rows per change are bounded.
    let ends = [
        &summary.message_id,
        &summary.in_reply_to.last().cloned(),
        &summary.references.first().cloned(),
    ];
    for id in ends.into_iter().flatten() {
        let key = key_named(account, id);
        if keys.get(&key)?.is_none() {
            keys.put(&key, &value)?;
        }
    }
    Ok(())
}

/// A message goes for good; the conversation that it was of.
pub(super) fn leave(
    keys: &mut dyn KeysMut,
    account: AccountId,
    email: EmailId,
) -> Result<ThreadId, RowError> {
    let thread = thread_of(keys, account, email)?;
    keys.delete(&key_thread(account, email))?;
    keys.delete(&key_member(account, thread, email))?;
    Ok(thread)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::MemKeys;

    const ME: AccountId = AccountId(1);

    fn said(id: &str, answers: &[&str], references: &[&str]) -> Summary {
        let all = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect();
        Summary {
            message_id: Some(id.to_owned()),
            in_reply_to: all(answers),
            references: all(references),
            ..Summary::default()
        }
    }

    #[test]
    fn answers_are_of_the_conversation_of_what_they_answer() {
        let mut keys = MemKeys::default();
        let mut come = |n, summary: &Summary| {
            join(&mut keys, ME, EmailId(n), summary).unwrap();
            thread_of(&keys, ME, EmailId(n)).unwrap().0
        };
        assert_eq!(come(1, &said("a", &[], &[])), 1);
        assert_eq!(come(2, &said("b", &["a"], &["a"])), 1);
        assert_eq!(come(3, &said("x", &[], &[])), 3);
        // Only by a reference further back.
        assert_eq!(come(4, &said("d", &["c"], &["a", "b", "c"])), 1);
        // The same message once more, as a copy.
        assert_eq!(come(5, &said("d", &["c"], &[])), 1);
        // Two answers to what never came here.
        assert_eq!(come(6, &said("p", &["old"], &["root", "old"])), 6);
        assert_eq!(come(7, &said("q", &["older"], &["root", "older"])), 6);
        // Without ids: each its own.
        assert_eq!(come(8, &Summary::default()), 8);
        assert_eq!(come(9, &Summary::default()), 9);
        // Another account knows nothing of it.
        join(&mut keys, AccountId(2), EmailId(1), &said("b", &["a"], &[])).unwrap();
        assert_eq!(thread_of(&keys, AccountId(2), EmailId(1)).unwrap(), ThreadId(1));
        let of = |n| thread_emails(&keys, ME, ThreadId(n)).unwrap();
        assert_eq!(of(1), [1, 2, 4, 5].map(EmailId));
        assert_eq!(of(6), [6, 7].map(EmailId));
        assert!(of(2).is_empty());
        // The first goes; the conversation stays what it is.
        assert_eq!(leave(&mut keys, ME, EmailId(1)).unwrap(), ThreadId(1));
        join(&mut keys, ME, EmailId(10), &said("e", &["a"], &[])).unwrap();
        assert_eq!(thread_emails(&keys, ME, ThreadId(1)).unwrap(), [2, 4, 5, 10].map(EmailId));
    }
}
