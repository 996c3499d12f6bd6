//! Passwords that were right a short while ago: thousands come back at once without a hash for each.
//!
//! An entry is a keyed BLAKE3 over the account, the credential *with its stored hash*, the name and
//! the password: a changed or revoked credential has no entry. The key is random and lives in memory
//! only, like the entries; the pair's other node learns both over the pair's link, so that a takeover
//! does not empty them. Invariants: nothing here reaches a disk; an entry ends `TTL` after the last
//! *full* check or the end of the last session that rests on it ([`Stay`]), whichever is later: a hit
//! alone never prolongs it; at most `ENTRIES_MAX`, and as many as sessions.

use super::Directory;
use crate::base::clock;
use crate::base::secret::{self, Secret};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use understudy_proto::directory::Secret as Proof;
use understudy_proto::id::{AccountId, TenantId};
use understudy_proto::time::Mono;
use zeroize::Zeroize;

/// Log-ins that are remembered; the oldest goes first.
const ENTRIES_MAX: usize = 50_000;
/// How long a password is known after its last session, or its check in full.
const TTL: Duration = Duration::from_secs(15 * 60);
/// So often the entries of those who are signed in are made new, also for the other node.
pub const RENEW_EVERY: Duration = Duration::from_secs(5 * 60);

/// One remembered log-in, as the other node is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    tag: [u8; 32],
    /// How long it still counts: the two nodes' clocks say different things.
    left_ms: u32,
}

/// Log-ins of late. Clones are the same.
#[derive(Clone)]
pub struct Recent(Arc<Mutex<Inner>>);

struct Inner {
    key: Secret<[u8; 32]>,
    /// Position in `order`, and when it ends.
    ends: HashMap<[u8; 32], (u64, Mono)>,
    /// In the order of their checks.
    order: BTreeMap<u64, [u8; 32]>,
    next: u64,
    /// Sessions that rest on each.
    open: HashMap<[u8; 32], usize>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.order.values_mut().for_each(Zeroize::zeroize);
    }
}

/// A session that rests on a remembered log-in, which is known for as long. (Whose credential changes
/// has another entry, or none, so an old one opens nothing.)
pub(super) struct Stay {
    recent: Recent,
    tag: [u8; 32],
}

impl Drop for Stay {
    fn drop(&mut self) {
        self.recent.lock().left(self.tag, clock::mono());
    }
}

impl Default for Recent {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Inner::new(Secret::new(secret::random())))))
    }
}

impl Inner {
    fn new(key: Secret<[u8; 32]>) -> Self {
        Self { key, ends: HashMap::new(), order: BTreeMap::new(), next: 0, open: HashMap::new() }
    }

    fn insert(&mut self, tag: [u8; 32], end: Mono) {
        if let Some((old, _)) = self.ends.insert(tag, (self.next, end)) {
            self.order.remove(&old);
        }
        self.order.insert(self.next, tag);
        self.next += 1;
        if self.order.len() > ENTRIES_MAX
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.ends.remove(&oldest);
        }
    }

    fn knows(&self, tag: &[u8; 32], now: Mono) -> bool {
        self.open.contains_key(tag) || self.ends.get(tag).is_some_and(|(_, end)| now < *end)
    }

    fn left(&mut self, tag: [u8; 32], now: Mono) {
        // None when another node's key came meanwhile.
        let Some(count) = self.open.get_mut(&tag) else { return };
        *count = count.saturating_sub(1);
        if *count == 0 {
            self.open.remove(&tag);
            self.insert(tag, now.after(TTL));
        }
    }

    fn renew(&mut self, now: Mono) {
        let open: Vec<[u8; 32]> = self.open.keys().copied().collect();
        for tag in open {
            self.insert(tag, now.after(TTL));
        }
    }
}

/// What a log-in rests on.
pub(super) struct Asked<'a> {
    pub(super) tenant: TenantId,
    pub(super) account: AccountId,
    pub(super) credential: u32,
    pub(super) proof: &'a Proof,
    pub(super) name: &'a str,
    pub(super) plain: &'a Secret<String>,
}

impl Recent {
    /// `None` for a proof that is cheap to check in full.
    pub(super) fn tag(&self, asked: &Asked<'_>) -> Option<[u8; 32]> {
        let Proof::Argon2id(phc) = asked.proof else { return None };
        let mut hasher = blake3::Hasher::new_keyed(self.lock().key.expose());
        hasher.update(&asked.tenant.0.to_be_bytes());
        hasher.update(&asked.account.0.to_be_bytes());
        hasher.update(&asked.credential.to_be_bytes());
        // With their lengths, so that no two questions have the same bytes.
        for text in [phc.as_str(), asked.name, asked.plain.expose().as_str()] {
            hasher.update(&u64::try_from(text.len()).unwrap_or(u64::MAX).to_be_bytes());
            hasher.update(text.as_bytes());
        }
        Some(hasher.finalize().into())
    }

    /// Whether this was checked in full, and a session of it is open or was within `TTL`.
    pub(super) fn knows(&self, tag: &[u8; 32]) -> bool {
        self.lock().knows(tag, clock::mono())
    }

    /// A session begins that rests on it.
    pub(super) fn stay(&self, tag: [u8; 32]) -> Stay {
        *self.lock().open.entry(tag).or_default() += 1;
        Stay { recent: self.clone(), tag }
    }

    /// Makes the entries of those who are signed in new: they count from now on, and are told to the
    /// other node again. To be called every [`RENEW_EVERY`].
    pub fn renew(&self) {
        self.lock().renew(clock::mono());
    }

    /// It was just checked in full.
    pub(super) fn remember(&self, tag: [u8; 32]) {
        let end = clock::mono().after(TTL);
        self.lock().insert(tag, end);
    }

    /// For the other node: the key, to be sent over the pair's link only.
    #[must_use]
    pub fn key(&self) -> Secret<[u8; 32]> {
        self.lock().key.clone()
    }

    /// At most `max` entries from position `from` on, and the position to go on from.
    #[must_use]
    pub fn since(&self, from: u64, max: usize) -> (Vec<Known>, u64) {
        let now = clock::mono();
        let inner = self.lock();
        let mut next = from;
        let mut known = Vec::new();
        for (at, tag) in inner.order.range(from..).take(max) {
            next = at + 1;
            let end = inner.ends.get(tag).map_or(now, |(_, end)| *end);
            let left_ms = u32::try_from(end.since(now).as_millis()).unwrap_or(u32::MAX);
            if left_ms > 0 {
                known.push(Known { tag: *tag, left_ms });
            }
        }
        (known, next)
    }

    /// The other node's key: what was remembered under another one is forgotten.
    pub fn adopt(&self, key: Secret<[u8; 32]>) {
        let mut inner = self.lock();
        if inner.key.expose() != key.expose() {
            *inner = Inner::new(key);
        }
    }

    /// What the other node remembers, under the key that it told.
    pub fn learn(&self, known: &[Known]) {
        let now = clock::mono();
        let mut inner = self.lock();
        for entry in known {
            let left = Duration::from_millis(entry.left_ms.into()).min(TTL);
            inner.insert(entry.tag, now.after(left));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Directory {
    /// The log-ins of late, to be shared with the other node.
    #[must_use]
    pub fn recent(&self) -> &Recent {
        &self.recent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(recent: &Recent, phc: &str, name: &str, plain: &str) -> [u8; 32] {
        let asked = Asked {
            tenant: TenantId(7),
            account: AccountId(9),
            credential: 0,
            proof: &Proof::Argon2id(phc.to_owned()),
            name,
            plain: &Secret::new(plain.to_owned()),
        };
        recent.tag(&asked).unwrap()
    }

    #[test]
    fn only_the_same_question_is_known() {
        let recent = Recent::default();
        recent.remember(tag(&recent, "hash", "ann", "secret"));
        assert!(recent.knows(&tag(&recent, "hash", "ann", "secret")));
        for (phc, name, plain) in [
            ("other", "ann", "secret"),
            ("hash", "bob", "secret"),
            ("hash", "ann", "Secret"),
            ("hasha", "nn", "secret"),
        ] {
            assert!(!recent.knows(&tag(&recent, phc, name, plain)));
        }
    }

    #[test]
    fn the_other_node_knows_what_it_is_told() {
        let (here, there) = (Recent::default(), Recent::default());
        let asked = |recent: &Recent| tag(recent, "hash", "ann", "secret");
        here.remember(asked(&here));
        let (known, next) = here.since(0, 10);
        assert_eq!(here.since(next, 10).0, []);
        there.learn(&known);
        assert!(!there.knows(&asked(&there)), "under another key");
        there.adopt(here.key());
        assert!(!there.knows(&asked(&there)), "forgotten with the key");
        there.learn(&known);
        there.adopt(here.key());
        assert!(there.knows(&asked(&there)));
        let over: Vec<Known> = known.iter().map(|k| Known { left_ms: 0, ..*k }).collect();
        there.learn(&over);
        assert!(!there.knows(&asked(&there)), "it has ended");
    }

    #[test]
    fn who_stays_signed_in_is_known_for_as_long_and_a_while_after() {
        let (recent, other) = (Recent::default(), Recent::default());
        let ann = tag(&recent, "hash", "ann", "secret");
        recent.remember(ann);
        let (first, second) = (recent.stay(ann), recent.stay(ann));
        let now = clock::mono();
        let (hours, while_after) = (now.after(TTL * 40), TTL - Duration::from_secs(60));
        let (_, told) = recent.since(0, 10);
        assert!(recent.lock().knows(&ann, hours));
        // The other node is told again and again.
        recent.lock().renew(hours);
        let (known, _) = recent.since(told, 10);
        assert_eq!(known.len(), 1);
        other.adopt(recent.key());
        other.learn(&known);
        assert!(other.knows(&tag(&other, "hash", "ann", "secret")));
        recent.lock().ends.clear();
        drop(first);
        assert!(recent.lock().knows(&ann, hours), "one is still open");
        drop(second);
        assert!(recent.lock().knows(&ann, now.after(while_after)));
        assert!(!recent.lock().knows(&ann, hours));
        // A key that came meanwhile forgets them all.
        let stay = recent.stay(ann);
        recent.adopt(Secret::new([7; 32]));
        drop(stay);
        assert_eq!(recent.since(0, 10).0, []);
    }

    #[test]
    fn the_oldest_is_forgotten() {
        let recent = Recent::default();
        for n in 0..=ENTRIES_MAX {
            recent.remember(tag(&recent, &n.to_string(), "", ""));
        }
        assert!(!recent.knows(&tag(&recent, "0", "", "")));
        assert!(recent.knows(&tag(&recent, "1", "", "")));
        let (first, next) = recent.since(0, 100);
        assert_eq!((first.len(), next), (100, 101));
    }
}
