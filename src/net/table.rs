//! The open connections of clients, for the other node: after a takeover it makes each of them notice.
//!
//! Invariants: at most [`CONNECTIONS_MAX`] are kept; what is left out by that only notices later.
//! Absent: anything about what a connection does.

use std::collections::{HashSet, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Most connections in the table.
pub const CONNECTIONS_MAX: usize = 65_536;
/// Changes that are kept for those who follow; who is further behind reads the whole table.
const CHANGES_MAX: usize = 8_192;

/// Our end, and the client's.
pub type Pair = (SocketAddr, SocketAddr);

/// The table. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Table(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    open: HashSet<Pair>,
    /// The latest changes: `true` for opened.
    changes: VecDeque<(bool, Pair)>,
    /// How many changes there were before those.
    before: u64,
}

/// What happened to the table since somebody looked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// Too much: these are open now.
    Whole(Vec<Pair>),
    /// This, in order; `true` for opened.
    Changes(Vec<(bool, Pair)>),
}

/// A connection's place; it leaves the table when this is dropped.
#[derive(Debug)]
pub struct Listed {
    table: Table,
    pair: Pair,
}

impl Inner {
    fn note(&mut self, opened: bool, pair: Pair) {
        self.changes.push_back((opened, pair));
        if self.changes.len() > CHANGES_MAX {
            self.changes.pop_front();
            self.before += 1;
        }
    }
}

impl Table {
    /// Lists a connection; `None` when the table is full.
    #[must_use]
    pub fn open(&self, local: SocketAddr, remote: SocketAddr) -> Option<Listed> {
        let pair = (local, remote);
        let mut inner = self.lock();
        if inner.open.len() >= CONNECTIONS_MAX || !inner.open.insert(pair) {
            return None;
        }
        inner.note(true, pair);
        Some(Listed { table: self.clone(), pair })
    }

    /// What happened since position `from` (`None` for the whole table), and the position after it.
    #[must_use]
    pub fn since(&self, from: Option<u64>) -> (News, u64) {
        let inner = self.lock();
        let next = inner.before + u64::try_from(inner.changes.len()).unwrap_or(u64::MAX);
        let skip = from
            .filter(|from| (inner.before..=next).contains(from))
            .and_then(|from| usize::try_from(from - inner.before).ok());
        let news = match skip {
            Some(skip) => News::Changes(inner.changes.iter().skip(skip).copied().collect()),
            None => News::Whole(inner.open.iter().copied().collect()),
        };
        (news, next)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        let mut inner = self.table.lock();
        inner.open.remove(&self.pair);
        inner.note(false, self.pair);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(port: u16) -> Pair {
        (SocketAddr::from(([192, 0, 2, 1], 993)), SocketAddr::from(([198, 51, 100, 1], port)))
    }

    #[test]
    fn a_follower_learns_each_change_or_the_whole() {
        let table = Table::default();
        let first = table.open(pair(1).0, pair(1).1).unwrap();
        let (news, at) = table.since(None);
        assert_eq!(news, News::Whole(vec![pair(1)]));
        let second = table.open(pair(2).0, pair(2).1);
        drop(first);
        let (news, next) = table.since(Some(at));
        assert_eq!(news, News::Changes(vec![(true, pair(2)), (false, pair(1))]));
        assert_eq!(table.since(Some(next)), (News::Changes(Vec::new()), next));
        for _ in 0..CHANGES_MAX {
            drop(table.open(pair(3).0, pair(3).1));
        }
        assert_eq!(table.since(Some(next)).0, News::Whole(vec![pair(2)]));
        drop(second);
    }
}
