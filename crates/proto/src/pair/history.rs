//! Where two logs part: each log's epochs and their first positions tell.

use crate::id::{Epoch, Lsn};
use serde::{Deserialize, Serialize};

/// Most epochs that a history names; older ones are forgotten.
pub(super) const EPOCHS_MAX: usize = 256;

/// The epochs of a log with the position of each one's first record, ascending.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History(Vec<(Epoch, Lsn)>);

/// What a log holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogState {
    /// Its last record.
    pub tail: Lsn,
    /// Its last durable record.
    pub durable: Lsn,
    /// The last record known to be committed.
    pub committed: Lsn,
    /// Its oldest record that is still there (one past the tail when it is empty).
    pub first: Lsn,
    /// Its epochs.
    pub history: History,
}

impl History {
    /// From the log's table; keeps the newest [`EPOCHS_MAX`].
    #[must_use]
    pub fn new(mut epochs: Vec<(Epoch, Lsn)>) -> Self {
        let old = epochs.len().saturating_sub(EPOCHS_MAX);
        Self(epochs.split_off(old))
    }

    /// A new epoch begins at `lsn`.
    pub fn begin(&mut self, epoch: Epoch, lsn: Lsn) {
        if self.last() >= epoch {
            return; // The log's own table had it already.
        }
        self.0.push((epoch, lsn));
        if self.0.len() > EPOCHS_MAX {
            self.0.remove(0);
        }
    }

    /// The last epoch that has a record.
    #[must_use]
    pub fn last(&self) -> Epoch {
        self.0.last().map_or(Epoch(0), |(epoch, _)| *epoch)
    }

    /// The epoch of the record at `lsn`; `None` when the history reaches back too little to say.
    #[must_use]
    pub fn epoch_of(&self, lsn: Lsn) -> Option<Epoch> {
        self.0.iter().rev().find(|(_, first)| *first <= lsn).map(|(epoch, _)| *epoch)
    }

    /// Forgets what begins above `tail`.
    pub fn cut(&mut self, tail: Lsn) {
        self.0.retain(|(_, first)| *first <= tail);
    }

    /// The last record that two logs share; `None` when the histories reach back too little to say.
    ///
    /// One epoch has one writer, so records of the same epoch at the same position are the same
    /// record: the logs agree up to the end of the shorter part of their last common epoch.
    #[must_use]
    pub fn fork(ours: &LogState, theirs: &LogState) -> Option<Lsn> {
        if ours.tail.0 == 0 || theirs.tail.0 == 0 {
            return Some(Lsn(0));
        }
        let common = ours.history.0.iter().enumerate().rev().find_map(|(i, (epoch, first))| {
            let at = theirs.history.0.iter().position(|e| e == &(*epoch, *first))?;
            let end = |log: &LogState, i: usize| {
                let next = log.history.0.get(i.saturating_add(1));
                next.map_or(log.tail, |(_, first)| Lsn(first.0.saturating_sub(1)))
            };
            Some(end(ours, i).min(end(theirs, at)))
        });
        let whole =
            |log: &LogState| log.history.0.first().is_some_and(|(_, first)| *first == Lsn(1));
        // Two whole histories without a common epoch share nothing.
        common.or_else(|| (whole(ours) && whole(theirs)).then_some(Lsn(0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(tail: u64, epochs: &[(u64, u64)]) -> LogState {
        let history = History::new(epochs.iter().map(|(e, l)| (Epoch(*e), Lsn(*l))).collect());
        LogState { tail: Lsn(tail), history, ..LogState::default() }
    }

    #[test]
    fn logs_part_where_their_last_common_epoch_ends() {
        let ours = log(30, &[(1, 1), (2, 10), (4, 21)]);
        for (theirs, fork) in [
            (log(30, &[(1, 1), (2, 10), (4, 21)]), Some(30)),
            (log(25, &[(1, 1), (2, 10), (4, 21)]), Some(25)),
            (log(25, &[(1, 1), (2, 10)]), Some(20)),
            (log(15, &[(1, 1), (2, 10)]), Some(15)),
            (log(25, &[(1, 1), (3, 12)]), Some(9)),
            (log(0, &[]), Some(0)),
            (log(25, &[(3, 1)]), Some(0)),
            (log(25, &[(3, 12)]), None),
        ] {
            assert_eq!(History::fork(&ours, &theirs), fork.map(Lsn), "{theirs:?}");
            assert_eq!(History::fork(&theirs, &ours), fork.map(Lsn), "{theirs:?}");
        }
    }
}
