//! The reader at his desk: one IMAP session that looks for new mail all day, and does not mind who
//! serves it as long as nothing that he has seen changes.
//!
//! Invariants: a UID that once named a message never names another (RFC 9051 2.3.1.1), UIDVALIDITY
//! stays, and after each reconnection the newest messages are read again to see that they are still
//! there.

use crate::imap::{Item, Reader};
use crate::net::{self, Host};
use crate::{Result, lock, now, probe};
use rustls::ClientConfig;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Pause between two looks.
pub(crate) const PERIOD: Duration = Duration::from_millis(100);
/// Pause before a new connection.
const RECONNECT: Duration = Duration::from_millis(20);
/// How long the server may be silent.
const PATIENCE: Duration = Duration::from_secs(3);
/// How many of the newest messages are read again after a reconnection.
const AGAIN: u32 = 20;
/// Most complaints that are kept.
const COMPLAINTS_MAX: usize = 10;

/// What the reader has seen.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// The lab's number (none for other mail) of each UID.
    pub(crate) messages: BTreeMap<u32, Option<u32>>,
    /// Sessions that were opened.
    pub(crate) sessions: u32,
    /// What no server may do.
    pub(crate) complaints: Vec<String>,
    uid_validity: Option<u32>,
    rounds: Vec<Instant>,
}

impl Seen {
    fn complain(&mut self, what: String) {
        if self.complaints.len() < COMPLAINTS_MAX {
            self.complaints.push(what);
        }
    }

    fn opened(&mut self, uid_validity: u32) {
        self.sessions = self.sessions.saturating_add(1);
        let before = *self.uid_validity.get_or_insert(uid_validity);
        if before != uid_validity {
            self.complain(format!("UIDVALIDITY changed from {before} to {uid_validity}"));
        }
    }

    /// Takes in what a look from `from` on has shown.
    fn look(&mut self, from: u32, items: &[Item]) {
        let gone: Vec<u32> = self
            .messages
            .range(from..)
            .map(|(uid, _)| *uid)
            .filter(|uid| !items.iter().any(|i| i.uid == *uid))
            .collect();
        for uid in gone {
            self.complain(format!("the message with UID {uid} was there and is gone"));
        }
        for item in items {
            let before = *self.messages.entry(item.uid).or_insert(item.number);
            if before != item.number {
                let uid = item.uid;
                self.complain(format!("UID {uid} was message {before:?} and is {:?}", item.number));
            }
        }
    }

    fn next_uid(&self) -> u32 {
        self.messages.last_key_value().map_or(1, |(uid, _)| uid.saturating_add(1))
    }
}

#[derive(Default)]
struct Shared {
    stopping: AtomicBool,
    seen: Mutex<Seen>,
}

/// The reader at work.
pub(crate) struct Desk {
    shared: Arc<Shared>,
    thread: JoinHandle<Result<()>>,
}

impl Desk {
    /// Sits down.
    pub(crate) fn start(tls: &Arc<ClientConfig>, name: &str, password: &str) -> Result<Self> {
        let shared = Arc::new(Shared::default());
        let (its, tls) = (Arc::clone(&shared), Arc::clone(tls));
        let (name, password) = (name.to_owned(), password.to_owned());
        let thread = net::thread(Host::Client, "reader", move || {
            while !its.stopping.load(Relaxed) {
                // However a session ends, the next one is opened.
                if read(&its, &tls, &name, &password).is_err() {
                    std::thread::sleep(RECONNECT);
                }
            }
        })?;
        Ok(Self { shared, thread })
    }

    /// How many messages he has seen.
    pub(crate) fn count(&self) -> usize {
        lock(&self.shared.seen).messages.len()
    }

    /// The longest time without a finished look around `from`, up to now.
    pub(crate) fn gap(&self, from: Instant) -> Duration {
        probe::longest_gap(&lock(&self.shared.seen).rounds, from, now())
    }

    /// Ends it.
    pub(crate) fn finish(self) -> Result<Seen> {
        self.shared.stopping.store(true, Relaxed);
        net::join(self.thread)?;
        Ok(std::mem::take(&mut *lock(&self.shared.seen)))
    }
}

/// One session, until it breaks or the day ends.
fn read(shared: &Shared, tls: &Arc<ClientConfig>, name: &str, password: &str) -> Result<()> {
    let mut session = Reader::open(tls, name, password, PATIENCE)?;
    lock(&shared.seen).opened(session.uid_validity());
    let mut again = AGAIN;
    while !shared.stopping.load(Relaxed) {
        session.noop()?;
        let from = lock(&shared.seen).next_uid().saturating_sub(again).max(1);
        again = 0;
        let items = session.items(from)?;
        let mut seen = lock(&shared.seen);
        seen.look(from, &items);
        seen.rounds.push(now());
        drop(seen);
        std::thread::sleep(PERIOD);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(uid: u32, number: u32) -> Item {
        Item { uid, number: Some(number) }
    }

    #[test]
    fn what_was_seen_must_stay() {
        let mut seen = Seen::default();
        seen.opened(9);
        seen.look(1, &[item(1, 11), item(2, 12)]);
        // RFC 9051: from a UID past the end, the last message comes.
        seen.look(3, &[item(2, 12)]);
        assert!(seen.complaints.is_empty());
        assert_eq!(seen.next_uid(), 3);
        seen.opened(9);
        seen.look(1, &[item(1, 11), item(2, 12), item(3, 13)]);
        assert!(seen.complaints.is_empty());
        seen.look(2, &[item(3, 13)]);
        assert_eq!(seen.complaints.len(), 1);
        seen.look(1, &[item(1, 11), item(2, 99), item(3, 13)]);
        assert_eq!(seen.complaints.len(), 2);
        seen.opened(10);
        assert_eq!(seen.complaints.len(), 3);
    }
}
