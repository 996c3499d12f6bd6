//! Which session counts.
//!
//! Both nodes dial while they have no session, so two connections may come up at once. Each node
//! applies the same rule to whatever comes up second: a connection that the *lower* node opened
//! beats one that the higher opened; among those of the same opener the newer wins, because a node
//! dials only when it believes that the older is gone. So both keep the same one.

use super::SessionId;
use std::sync::{Mutex, PoisonError};
use tokio::sync::watch;
use understudy_proto::id::NodeId;

pub(super) struct Slot {
    node: NodeId,
    state: Mutex<State>,
    /// Whether a session counts; wakes the dialler.
    busy: watch::Sender<bool>,
}

#[derive(Default)]
struct State {
    last: u64,
    current: Option<Held>,
}

struct Held {
    id: SessionId,
    opener: NodeId,
    end: watch::Sender<bool>,
}

/// A session's place. It must end when [`Place::ended`] does.
pub(super) struct Place {
    pub(super) id: SessionId,
    end: watch::Receiver<bool>,
}

impl Slot {
    pub(super) fn new(node: NodeId) -> Self {
        Self { node, state: Mutex::default(), busy: watch::Sender::new(false) }
    }

    /// Whether a connection opened by `opener` would count now. Asked before we say hello.
    pub(super) fn would_take(&self, opener: NodeId) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.current.as_ref().is_none_or(|held| held.opener == opener || opener < held.opener)
    }

    /// Lets a connection opened by `opener` count, and ends the one that did before; `None` where
    /// that one is to stay.
    pub(super) fn take(&self, opener: NodeId) -> Option<Place> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(held) = &state.current {
            if opener > held.opener {
                return None;
            }
            held.end.send_replace(true);
        }
        state.last += 1;
        let id = SessionId(state.last);
        let (end, ended) = watch::channel(false);
        state.current = Some(Held { id, opener, end });
        self.busy.send_replace(true);
        Some(Place { id, end: ended })
    }

    /// The session is over.
    pub(super) fn leave(&self, id: SessionId) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.current.as_ref().is_some_and(|held| held.id == id) {
            state.current = None;
            self.busy.send_replace(false);
        }
    }

    /// Asks the session to end.
    pub(super) fn close(&self, id: SessionId) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(held) = state.current.as_ref().filter(|held| held.id == id) {
            held.end.send_replace(true);
        }
    }

    /// Asks whichever session counts to end.
    pub(super) fn close_all(&self) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(held) = &state.current {
            held.end.send_replace(true);
        }
    }

    /// Returns while no session counts.
    pub(super) async fn free(&self) {
        let mut busy = self.busy.subscribe();
        // The sender lives in `self`: there is always an answer.
        while *busy.borrow_and_update() {
            if busy.changed().await.is_err() {
                return;
            }
        }
    }

    /// Whether a session counts.
    pub(super) fn is_taken(&self) -> bool {
        *self.busy.borrow()
    }

    /// Which node we are.
    pub(super) fn node(&self) -> NodeId {
        self.node
    }
}

impl Place {
    /// Returns once the session is to end.
    pub(super) async fn ended(&mut self) {
        while !*self.end.borrow_and_update() {
            if self.end.changed().await.is_err() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOW: NodeId = NodeId(0);
    const HIGH: NodeId = NodeId(1);

    #[test]
    fn both_nodes_keep_the_same_of_two_connections() {
        for order in [[LOW, HIGH], [HIGH, LOW]] {
            let slot = Slot::new(LOW);
            let mut kept = None;
            for opener in order {
                assert_eq!(
                    slot.would_take(opener),
                    slot.take(opener).is_some_and(|_| {
                        kept = Some(opener);
                        true
                    })
                );
            }
            assert_eq!(kept, Some(LOW));
        }
    }

    #[tokio::test]
    async fn a_newer_connection_of_the_same_opener_ends_the_older() {
        let slot = Slot::new(HIGH);
        let mut old = slot.take(LOW).unwrap();
        let new = slot.take(LOW).unwrap();
        old.ended().await;
        slot.leave(old.id);
        assert!(!slot.would_take(HIGH), "the newer one still counts");
        slot.leave(new.id);
        slot.free().await;
        assert!(slot.would_take(HIGH));
    }
}
