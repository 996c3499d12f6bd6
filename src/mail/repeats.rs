//! Transactions that an earlier primary may have taken without being able to say so.
//!
//! When this node becomes primary it looks through the log's last records. Their senders may never
//! have got an answer and will try again: an equal envelope and content gets the original's 250
//! instead of a second copy (DESIGN.md 3). The takeover does not wait for the look, deliveries do.

use crate::base::clock;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use understudy_proto::time::UnixMs;

/// How long a transaction is recognised.
const REMEMBERED: Duration = Duration::from_secs(3_600);
/// Most transactions that are remembered.
const REPEATS_MAX: usize = 100_000;

/// The remembered transactions.
pub(super) struct Repeats {
    until: Mutex<HashMap<[u8; 16], UnixMs>>,
    /// Looks that are under way.
    looking: watch::Sender<usize>,
}

impl Default for Repeats {
    fn default() -> Self {
        Self { until: Mutex::default(), looking: watch::Sender::new(0) }
    }
}

impl Repeats {
    /// A look begins: deliveries wait for [`Repeats::remember`].
    pub(super) fn begin(&self) {
        self.looking.send_modify(|n| *n = n.saturating_add(1));
    }

    /// A look is over; it found these.
    pub(super) fn remember(&self, found: impl IntoIterator<Item = [u8; 16]>) {
        let millis = u64::try_from(REMEMBERED.as_millis()).unwrap_or(u64::MAX);
        let until = UnixMs(clock::now_ms().0.saturating_add(millis));
        {
            let mut map = self.until.lock().unwrap_or_else(PoisonError::into_inner);
            for transaction in found {
                if map.len() >= REPEATS_MAX {
                    break;
                }
                map.insert(transaction, until);
            }
        }
        self.looking.send_modify(|n| *n = n.saturating_sub(1));
    }

    /// A transaction of several changes broke off after this one: the sender will try again.
    pub(super) fn keep(&self, transaction: [u8; 16]) {
        self.begin();
        self.remember([transaction]);
    }

    /// Returns once no look is under way.
    pub(super) async fn loaded(&self) {
        // The sender lives in `self`, so that the wait ends only with the looks.
        let _gone = self.looking.subscribe().wait_for(|n| *n == 0).await.is_err();
    }

    /// Whether it is one of them.
    pub(super) fn contains(&self, transaction: [u8; 16]) -> bool {
        let mut map = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        if map.is_empty() {
            return false;
        }
        let now = clock::now_ms();
        map.retain(|_, until| *until > now);
        map.contains_key(&transaction)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn deliveries_wait_for_the_look_and_repeats_are_known() {
        let repeats = Repeats::default();
        repeats.loaded().await;
        repeats.begin();
        let wait = tokio::time::timeout(Duration::from_millis(20), repeats.loaded());
        assert!(wait.await.is_err(), "a look is under way");
        repeats.remember([[1; 16]]);
        repeats.loaded().await;
        assert!(repeats.contains([1; 16]));
        assert!(!repeats.contains([2; 16]));
    }
}
