//! Session tickets that either node of the pair understands: a client that comes back after a takeover
//! resumes instead of negotiating anew.
//!
//! The keys are random, live in memory only, and go to the other node over the pair's link. The node
//! that serves makes them: a new one every [`ROTATE_EVERY`]; tickets of the one before still count.
//! Invariants: a ticket's key is gone after twice that time; who sends garbage gets a full handshake.
//! Absent: a store of sessions, early data.

use crate::base::clock;
use crate::base::secret::{self, Secret};
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio_rustls::rustls::server::ProducesTickets;
use understudy_proto::time::Mono;

/// A key makes tickets for so long.
pub const ROTATE_EVERY: Duration = Duration::from_secs(6 * 3_600);
/// The same in seconds, doubled: what clients are told.
const LIFETIME_SECONDS: u32 = 12 * 3_600;
const NAME_LEN: usize = 8;
const NONCE_LEN: usize = 24;
const KEY_LEN: usize = 32;
/// A longer ticket is not ours. They hold a client's certificates at most, and ours have none.
const TICKET_LEN_MAX: usize = 16 * 1024;

#[derive(Clone)]
struct Key {
    /// Tells keys apart; not secret.
    name: [u8; NAME_LEN],
    secret: Secret<[u8; KEY_LEN]>,
    /// How old it was, and when: this node's clock may be younger than the key.
    age: Duration,
    since: Mono,
}

/// One key, as the other node is told: name, key, age in milliseconds.
pub type SharedKey = ([u8; NAME_LEN], [u8; KEY_LEN], u64);

/// The keys. Clones are the same.
#[derive(Clone)]
pub struct Tickets(Arc<Mutex<Keys>>);

struct Keys {
    current: Key,
    previous: Option<Key>,
    /// Counts changes.
    generation: u64,
}

impl Default for Tickets {
    fn default() -> Self {
        let current = Key::new(clock::mono());
        Self(Arc::new(Mutex::new(Keys { current, previous: None, generation: 1 })))
    }
}

impl std::fmt::Debug for Tickets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tickets")
    }
}

impl Key {
    fn new(now: Mono) -> Self {
        let (name, secret) = (secret::random(), Secret::new(secret::random()));
        Self { name, secret, age: Duration::ZERO, since: now }
    }

    fn age(&self, now: Mono) -> Duration {
        self.age.saturating_add(now.since(self.since))
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(self.secret.expose().into())
    }

    fn shared(&self, now: Mono) -> SharedKey {
        let age = u64::try_from(self.age(now).as_millis()).unwrap_or(u64::MAX);
        (self.name, *self.secret.expose(), age)
    }
}

impl Keys {
    fn rotate(&mut self, now: Mono) {
        let age = self.current.age(now);
        if age >= ROTATE_EVERY {
            let old = std::mem::replace(&mut self.current, Key::new(now));
            self.previous = Some(old).filter(|_| age < ROTATE_EVERY * 2);
            self.generation += 1;
        }
        if self.previous.as_ref().is_some_and(|k| k.age(now) >= ROTATE_EVERY * 2) {
            self.previous = None;
        }
    }
}

impl Tickets {
    /// Changes whenever [`Self::export`] does.
    #[must_use]
    pub fn generation(&self) -> u64 {
        let mut keys = self.lock();
        keys.rotate(clock::mono());
        keys.generation
    }

    /// For the other node, over the pair's link only: the newest key first.
    #[must_use]
    pub fn export(&self) -> Vec<SharedKey> {
        let now = clock::mono();
        let mut keys = self.lock();
        keys.rotate(now);
        [Some(&keys.current), keys.previous.as_ref()]
            .into_iter()
            .flatten()
            .map(|key| key.shared(now))
            .collect()
    }

    /// The other node's keys take the place of these. Its own tickets of before count no more.
    pub fn adopt(&self, shared: &[SharedKey]) {
        self.adopt_at(shared, clock::mono());
    }

    fn adopt_at(&self, shared: &[SharedKey], now: Mono) {
        let mut theirs = shared.iter().map(|(name, key, age_ms)| {
            let (age, secret) = (Duration::from_millis(*age_ms), Secret::new(*key));
            Key { name: *name, secret, age, since: now }
        });
        let Some(current) = theirs.next() else { return };
        let previous = theirs.next();
        let mut keys = self.lock();
        keys.current = current;
        keys.previous = previous;
        keys.generation += 1;
    }

    fn lock(&self) -> MutexGuard<'_, Keys> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        LIFETIME_SECONDS
    }

    /// Name, nonce, sealed state.
    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let key = {
            let mut keys = self.lock();
            keys.rotate(clock::mono());
            keys.current.clone()
        };
        let nonce: [u8; NONCE_LEN] = secret::random();
        let payload = Payload { msg: plain, aad: &key.name };
        let sealed = key.cipher().encrypt(&XNonce::from(nonce), payload).ok()?;
        Some([key.name.as_slice(), &nonce, &sealed].concat())
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        if ticket.len() > TICKET_LEN_MAX {
            return None;
        }
        let (name, rest) = ticket.split_first_chunk::<NAME_LEN>()?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>()?;
        let key = {
            let mut keys = self.lock();
            keys.rotate(clock::mono());
            let known = [Some(&keys.current), keys.previous.as_ref()];
            known.into_iter().flatten().find(|key| key.name == *name).cloned()
        }?;
        let payload = Payload { msg: sealed, aad: name };
        key.cipher().decrypt(&XNonce::from(*nonce), payload).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_other_node_opens_what_this_one_sealed() {
        let (here, there) = (Tickets::default(), Tickets::default());
        let ticket = here.encrypt(b"state").unwrap();
        assert_eq!(here.decrypt(&ticket).unwrap(), b"state");
        assert_eq!(there.decrypt(&ticket), None);
        there.adopt(&here.export());
        assert_eq!(there.decrypt(&ticket).unwrap(), b"state");
        for len in 0..ticket.len() {
            assert_eq!(there.decrypt(&ticket[..len]), None);
            let mut other = ticket.clone();
            other[len] ^= 1;
            assert_eq!(there.decrypt(&other), None);
        }
    }

    #[test]
    fn a_key_that_is_older_than_the_clock_does_not_live_longer_for_that() {
        let tickets = Tickets::default();
        let old = ([1; NAME_LEN], [2; KEY_LEN], 11 * 3_600_000);
        // An hour after the start of this machine.
        let adopted = Mono(0).after(Duration::from_secs(3_600));
        tickets.adopt_at(&[([3; NAME_LEN], [4; KEY_LEN], 0), old], adopted);
        let knows = |at: Mono| {
            let mut keys = tickets.lock();
            keys.rotate(at);
            keys.previous.as_ref().is_some_and(|key| key.name == old.0)
        };
        assert!(knows(adopted.after(Duration::from_secs(3_599))));
        assert!(!knows(adopted.after(Duration::from_secs(3_600))), "twelve hours are over");
    }

    #[test]
    fn a_key_is_replaced_and_then_gone() {
        let tickets = Tickets::default();
        let ticket = tickets.encrypt(b"state").unwrap();
        let generation = tickets.generation();
        let later = |n: u32| {
            let mut keys = tickets.lock();
            let now = keys.current.since.after(ROTATE_EVERY * n);
            keys.rotate(now);
            keys.rotate(now.after(ROTATE_EVERY));
        };
        later(1);
        assert!(tickets.generation() > generation);
        assert_eq!(tickets.decrypt(&ticket), None);
    }
}
