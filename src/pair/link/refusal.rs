//! Why no session comes about: a sentence for people on each of the two sides.
//!
//! Invariants: what somebody says who is not at the peer's address never reaches the status, only
//! the log; no sender can fill the log ([`SAID_EVERY`], [`TOLD_MAX`], [`STRANGERS_EVERY`]); a session
//! that comes up ends what was wrong. Absent on purpose: refusals of a session that stands (the driver's).

use super::Shared;
use crate::base::clock;
use crate::pair::formation::PairId;
use crate::tls::{PinRefusal, WrongPin};
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use understudy_proto::id::NodeId;
use understudy_proto::time::Mono;

/// Least time between two lines about the peer's own refusals, in each direction.
const SAID_EVERY: Duration = Duration::from_secs(1);
/// A refusal that stays the same is said again after so long.
const SAID_AGAIN: Duration = Duration::from_mins(10);
/// Most different refusals that are said within [`SAID_AGAIN`], in each direction: two paths, and a
/// few reasons on each.
const TOLD_MAX: usize = 8;
/// Least time between two lines about strangers.
const STRANGERS_EVERY: Duration = Duration::from_secs(10);

/// Why two appliances do not talk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// It shows another key than the pinned one.
    WrongKey(WrongPin),
    /// It has pinned another key than ours.
    OurKey {
        /// The first digits of ours.
        own: String,
    },
    /// It speaks TLS, and wants no peer.
    NoPeerThere,
    /// It wants to be the peer of an appliance that has none.
    NoPeerHere,
    /// It says another pair.
    OtherPair {
        /// What it says.
        theirs: PairId,
        /// What we are in.
        ours: PairId,
    },
    /// It says something else than a hello of this release.
    OtherVersion,
    /// It says that it is the node that we are.
    SameNode(NodeId),
}

impl Why {
    /// Whether it is the other side that says no.
    fn is_theirs(&self) -> bool {
        matches!(self, Self::OurKey { .. } | Self::NoPeerThere)
    }
}

/// A refusal, for [`io::Error::other`].
#[derive(Debug)]
pub(super) struct Refused(pub(super) Why);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl std::error::Error for Refused {}

/// What a failed attempt to connect says about the two appliances; `None` where it says nothing.
pub(super) fn why(shared: &Shared, e: &io::Error) -> Option<Why> {
    if let Some(Refused(why)) = e.get_ref().and_then(|inner| inner.downcast_ref()) {
        return Some(why.clone());
    }
    Some(match PinRefusal::of(e)? {
        PinRefusal::Theirs(wrong) => Why::WrongKey(wrong),
        PinRefusal::Ours => Why::OurKey {
            own: shared.read(|c| c.identity.own_pin()).map_or_else(String::new, |pin| pin.brief()),
        },
        PinRefusal::Protocol => Why::NoPeerThere,
    })
}

/// A sentence says what is wrong, and what to do.
struct Sentence<'a>(IpAddr, &'a Why);

impl fmt::Display for Sentence<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(at, why) = self;
        match why {
            Why::WrongKey(WrongPin { shown, pinned, .. }) => write!(
                f,
                "the peer at {at} shows key {}, pinned is {}: if you replaced that appliance, run \
                 `understudy pair token` here and `understudy pair join` there; if not, somebody \
                 else answers there",
                shown.brief(),
                pinned.brief(),
            ),
            Why::OurKey { own } => write!(
                f,
                "the peer at {at} refuses our key {own}: it has pinned another; if this appliance \
                 was replaced, run `understudy pair token` there and `understudy pair join` here; \
                 if not, see what that one says",
            ),
            Why::NoPeerThere => write!(
                f,
                "what answers at {at} expects no peer: if it is to be this one's peer, run \
                 `understudy pair token` here and `understudy pair join` there; if not, correct \
                 `peer` under [pair]",
            ),
            Why::NoPeerHere => write!(
                f,
                "the appliance at {at} wants to be the peer, but nobody has joined this pair yet: \
                 run `understudy pair token` here and `understudy pair join` there",
            ),
            Why::OtherPair { theirs, ours } => write!(
                f,
                "the appliance at {at} is of pair {theirs}, this one of pair {ours}: correct \
                 `peer` under [pair], or join one of the two to the other's pair with a token",
            ),
            Why::OtherVersion => write!(
                f,
                "the peer at {at} speaks another version of the link: bring both to the same \
                 release",
            ),
            Why::SameNode(node) => write!(
                f,
                "the peer at {at} says that it is node {}, as this one is: one was copied from \
                 the other; empty the copy's data directory and join it with a token",
                node.0
            ),
        }
    }
}

/// What was refused lately.
#[derive(Default)]
pub(super) struct Refusals(Mutex<State>);

#[derive(Default)]
struct State {
    /// What we refuse, and what the peer refuses; shown until a session comes up.
    ours: Slot,
    theirs: Slot,
    strangers: Slot,
}

#[derive(Default)]
struct Slot {
    shown: Option<(IpAddr, Why)>,
    said: Option<Mono>,
    unsaid: u64,
    /// What was said within [`SAID_AGAIN`], oldest first; at most [`TOLD_MAX`].
    told: VecDeque<(Mono, IpAddr, Why)>,
}

impl Slot {
    /// Like [`Slot::speaks`], for what is wrong at `at`: two refusals that come by turns are two
    /// that stay the same.
    fn tells(&mut self, now: Mono, at: IpAddr, why: &Why) -> Option<u64> {
        self.told.retain(|(said, ..)| now.since(*said) < SAID_AGAIN);
        let known = self.told.iter().any(|(_, path, told)| *path == at && told == why);
        if known || self.told.len() >= TOLD_MAX {
            self.unsaid = self.unsaid.saturating_add(1);
            return None;
        }
        let count = self.speaks(now, SAID_EVERY)?;
        self.told.push_back((now, at, why.clone()));
        Some(count)
    }

    /// Whether it is time for a line, and how many were left out since the last one.
    fn speaks(&mut self, now: Mono, pause: Duration) -> Option<u64> {
        if self.said.is_some_and(|at| now.since(at) < pause) {
            self.unsaid = self.unsaid.saturating_add(1);
            return None;
        }
        self.said = Some(now);
        Some(std::mem::take(&mut self.unsaid))
    }
}

impl Refusals {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn len(&self) -> usize {
        let state = self.lock();
        usize::from(state.ours.shown.is_some()) + usize::from(state.theirs.shown.is_some())
    }

    /// The sentences for the status.
    pub(super) fn sentences(&self) -> Vec<String> {
        let state = self.lock();
        let shown = [&state.ours, &state.theirs].into_iter().filter_map(|slot| slot.shown.as_ref());
        shown.map(|(at, why)| Sentence(*at, why).to_string()).collect()
    }

    /// A session is there: all is well.
    pub(super) fn clear(&self) {
        let mut state = self.lock();
        (state.ours, state.theirs) = (Slot::default(), Slot::default());
    }

    /// Notes what was refused at `at`. Somebody at another address than the peer's, or beside a
    /// session that stands, is a stranger.
    pub(super) fn note(&self, shared: &Shared, at: IpAddr, why: Why) {
        let now = clock::mono();
        let peer =
            shared.options.peer.iter().any(|peer| peer.ip().to_canonical() == at.to_canonical());
        let mut state = self.lock();
        if !peer || shared.slot.is_taken() {
            let Some(count) = state.strangers.speaks(now, STRANGERS_EVERY) else { return };
            drop(state);
            let reason = Sentence(at, &why);
            log::warn!(peer:% = at, reason:% = reason, count, runbook = "pair-refused";
                "somebody is refused at the pair's port");
            return;
        }
        let theirs = why.is_theirs();
        let slot = if theirs { &mut state.theirs } else { &mut state.ours };
        slot.shown = Some((at, why.clone()));
        let Some(count) = slot.tells(now, at, &why) else { return };
        drop(state);
        let reason = Sentence(at, &why);
        if theirs {
            log::error!(peer:% = at, reason:% = reason, count, runbook = "pair-refused";
                "the peer refuses us");
        } else if let Why::WrongKey(WrongPin { shown, name, .. }) = &why {
            let host = name.as_deref().unwrap_or_default();
            log::error!(peer:% = at, sha256:% = shown, host, reason:% = reason, count,
                runbook = "pair-refused"; "the peer is refused");
        } else {
            log::error!(peer:% = at, reason:% = reason, count, runbook = "pair-refused";
                "the peer is refused");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_that_come_by_turns_fill_no_log() {
        let mut slot = Slot::default();
        let (one, two) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 1, 1]));
        let second = |n: u64| Mono::default().after(Duration::from_secs(n));
        let mut said = 0;
        for n in 0..600 {
            let (at, why) =
                if n % 2 == 0 { (one, Why::OtherVersion) } else { (two, Why::SameNode(NodeId(0))) };
            said += u32::from(slot.tells(second(n), at, &why).is_some());
        }
        assert_eq!(said, 2, "each once");
        assert_eq!(slot.tells(second(600), one, &Why::OtherVersion), Some(598), "and again later");
        assert_eq!(slot.tells(second(602), two, &Why::OtherVersion), Some(0), "a new one at once");
    }

    #[test]
    fn ever_new_refusals_fill_no_log() {
        let mut slot = Slot::default();
        let mut said = 0;
        for n in 0..=255 {
            let why = Why::OtherPair { theirs: PairId([n; 16]), ours: PairId([9; 16]) };
            let now = Mono::default().after(Duration::from_secs(u64::from(n)));
            said += usize::from(slot.tells(now, IpAddr::from([10, 0, 0, 1]), &why).is_some());
        }
        assert_eq!(said, TOLD_MAX);
    }
}
