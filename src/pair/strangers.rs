//! Connections that have not shown yet who they are: few at once, and none keeps another out.
//!
//! Invariants: whoever comes gets a place; where its source, or all of them, hold too many, the one
//! that came first is pushed out. A node shows who it is within a round trip or two, so only somebody
//! who opens all places anew within that time could push it out, and one source cannot at all.
//! Absent on purpose: the time limit of a place (its owner's).

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use understudy_proto::time::Mono;

/// Most places of one source: a node dials one connection at a time, and a network's translation of
/// addresses may hide a few nodes behind one.
const PER_SOURCE_MAX: usize = 8;
/// Least time between two lines about connections that came to nothing.
const SAID_EVERY: Duration = Duration::from_secs(1);

/// The places.
pub(super) struct Strangers {
    size: usize,
    state: Mutex<State>,
}

struct State {
    last: u64,
    places: VecDeque<Place>,
    said: Option<Mono>,
    unsaid: u64,
}

struct Place {
    id: u64,
    source: IpAddr,
    end: watch::Sender<bool>,
}

/// A place; given back when dropped.
pub(super) struct Stranger<'a> {
    of: &'a Strangers,
    id: u64,
    end: watch::Receiver<bool>,
}

impl Strangers {
    /// With `size` places.
    pub(super) const fn new(size: usize) -> Self {
        let state = State { last: 0, places: VecDeque::new(), said: None, unsaid: 0 };
        Self { size, state: Mutex::new(state) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place for a connection from `from`.
    pub(super) fn enter(&self, from: IpAddr) -> Stranger<'_> {
        let source = source(from);
        let mut state = self.lock();
        let of_source = state.places.iter().filter(|p| p.source == source).count();
        let oldest = if of_source >= PER_SOURCE_MAX {
            state.places.iter().position(|p| p.source == source)
        } else {
            (state.places.len() >= self.size).then_some(0)
        };
        if let Some(place) = oldest.and_then(|at| state.places.remove(at)) {
            place.end.send_replace(true);
        }
        state.last += 1;
        let id = state.last;
        let (end, ended) = watch::channel(false);
        state.places.push_back(Place { id, source, end });
        Stranger { of: self, id, end: ended }
    }

    /// Whether a line may be written about one that came to nothing, and how many had none since the
    /// last.
    pub(super) fn may_say(&self, now: Mono) -> Option<u64> {
        let mut state = self.lock();
        if state.said.is_some_and(|at| now.since(at) < SAID_EVERY) {
            state.unsaid = state.unsaid.saturating_add(1);
            return None;
        }
        state.said = Some(now);
        Some(std::mem::take(&mut state.unsaid))
    }
}

impl Stranger<'_> {
    /// Returns once the place is needed for another.
    pub(super) async fn pushed_out(&mut self) {
        // The sender goes with the place: that is the same.
        while !*self.end.borrow_and_update() {
            if self.end.changed().await.is_err() {
                return;
            }
        }
    }
}

impl Drop for Stranger<'_> {
    fn drop(&mut self) {
        self.of.lock().places.retain(|place| place.id != self.id);
    }
}

/// What counts as one source: an IPv4 address, or the 2^64 addresses of one IPv6 network.
fn source(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn is_out(stranger: &Stranger<'_>) -> bool {
        *stranger.end.borrow()
    }

    #[test]
    fn a_source_pushes_out_only_its_own() {
        static PLACES: Strangers = Strangers::new(64);
        let node = PLACES.enter(ip("192.0.2.1"));
        let held: Vec<_> = (0..200).map(|_| PLACES.enter(ip("198.51.100.9"))).collect();
        assert!(!is_out(&node));
        let left = held.iter().filter(|s| !is_out(s)).count();
        assert_eq!(left, PER_SOURCE_MAX);
        assert!(held.iter().rev().take(left).all(|s| !is_out(s)), "the newest stay");
        drop(held);
        assert_eq!(PLACES.lock().places.len(), 1);
    }

    #[test]
    fn of_all_sources_the_oldest_goes() {
        static PLACES: Strangers = Strangers::new(4);
        let held: Vec<_> = (1..=5).map(|n| PLACES.enter(ip(&format!("192.0.2.{n}")))).collect();
        let out: Vec<bool> = held.iter().map(is_out).collect();
        assert_eq!(out, [true, false, false, false, false]);
    }

    #[test]
    fn an_ipv6_network_is_one_source() {
        let of = |text| source(ip(text));
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1:2:3"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:192.0.2.1"), ip("192.0.2.1"));
    }

    #[test]
    fn lines_are_counted() {
        let places = Strangers::new(1);
        let at = |ms: u64| Mono(ms * 1_000);
        let said: Vec<_> = [0, 10, 999, 1_000].into_iter().map(|t| places.may_say(at(t))).collect();
        assert_eq!(said, [Some(0), None, None, Some(2)]);
    }
}
