//! The reader at his desk: two devices that look for new mail all day, and do not mind who serves
//! them as long as nothing that he has seen on either changes or goes back in time.
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
/// How many of the newest messages are read again after a reconnection, and every so many looks.
const AGAIN: u32 = 20;
/// His devices, each with a session of its own.
const DEVICES: usize = 2;
/// Most looks whose times are kept.
const LOOKS_MAX: usize = 500_000;
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
    /// When each look of any device was over, and how long it took.
    looks: Vec<(Instant, Duration)>,
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

    /// Takes in what a look at `from..` has shown that began when `below` was the next UID: another
    /// session may have seen more meanwhile.
    fn look(&mut self, from: u32, below: u32, items: &[Item]) {
        let gone: Vec<u32> = self
            .messages
            .range(from..below.max(from))
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
    threads: Vec<JoinHandle<Result<()>>>,
}

impl Desk {
    /// Sits down.
    pub(crate) fn start(tls: &Arc<ClientConfig>, name: &str, password: &str) -> Result<Self> {
        let shared = Arc::new(Shared::default());
        let mut threads = Vec::new();
        for device in 0..DEVICES {
            let (its, tls) = (Arc::clone(&shared), Arc::clone(tls));
            let (name, password) = (name.to_owned(), password.to_owned());
            threads.push(net::thread(Host::Client, "reader", move || {
                while !its.stopping.load(Relaxed) {
                    // However a session ends, the next one is opened.
                    if read(&its, device, &tls, (&name, &password)).is_err() {
                        std::thread::sleep(RECONNECT);
                    }
                }
            })?);
        }
        Ok(Self { shared, threads })
    }

    /// How many messages he has seen.
    pub(crate) fn count(&self) -> usize {
        lock(&self.shared.seen).messages.len()
    }

    /// The longest time without a finished look around `from`, up to now.
    pub(crate) fn gap(&self, from: Instant) -> Duration {
        probe::longest_gap(&lock(&self.shared.seen).rounds, from, now())
    }

    /// How long the looks took that ended between the two.
    pub(crate) fn latencies(&self, from: Instant, until: Instant) -> Vec<Duration> {
        let seen = lock(&self.shared.seen);
        let looks = seen.looks.iter().filter(|(at, _)| (from..until).contains(at));
        looks.map(|(_, took)| *took).collect()
    }

    /// Ends it.
    pub(crate) fn finish(self) -> Result<Seen> {
        self.shared.stopping.store(true, Relaxed);
        for thread in self.threads {
            net::join(thread)?;
        }
        Ok(std::mem::take(&mut *lock(&self.shared.seen)))
    }
}

/// One session, until it breaks or the day ends.
fn read(
    shared: &Shared,
    device: usize,
    tls: &Arc<ClientConfig>,
    (name, password): (&str, &str),
) -> Result<()> {
    let mut session = Reader::open(tls, name, password, PATIENCE)?;
    lock(&shared.seen).opened(session.uid_validity());
    let mut turns: u32 = 0;
    while !shared.stopping.load(Relaxed) {
        let below = lock(&shared.seen).next_uid();
        let again = if turns.is_multiple_of(AGAIN) { AGAIN } else { 0 };
        let from = below.saturating_sub(again).max(1);
        turns = turns.wrapping_add(1);
        let at = now();
        session.noop()?;
        let items = session.items(from)?;
        let mut seen = lock(&shared.seen);
        seen.look(from, below, &items);
        if seen.looks.len() < LOOKS_MAX {
            seen.looks.push((now(), at.elapsed()));
        }
        if device == 0 {
            seen.rounds.push(now());
        }
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
        seen.look(1, 1, &[item(1, 11), item(2, 12)]);
        // RFC 9051: from a UID past the end, the last message comes.
        seen.look(3, 3, &[item(2, 12)]);
        assert!(seen.complaints.is_empty());
        assert_eq!(seen.next_uid(), 3);
        seen.opened(9);
        seen.look(1, 3, &[item(1, 11), item(2, 12), item(3, 13)]);
        assert!(seen.complaints.is_empty());
        // The other device was slower: what it does not know yet is not gone.
        seen.look(1, 3, &[item(1, 11), item(2, 12)]);
        assert!(seen.complaints.is_empty());
        seen.look(2, 4, &[item(3, 13)]);
        assert_eq!(seen.complaints.len(), 1);
        seen.look(1, 4, &[item(1, 11), item(2, 99), item(3, 13)]);
        assert_eq!(seen.complaints.len(), 2);
        seen.opened(10);
        assert_eq!(seen.complaints.len(), 3);
    }
}
