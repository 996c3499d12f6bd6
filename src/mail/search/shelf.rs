//! The open indexes, one per tenant: who searches takes a snapshot, the indexer puts new ones there.
//!
//! Invariants: an index is verified before its first use in this process and after every doubt; one
//! that is damaged is never used again, and removed by the indexer.

use super::index::{Index, IndexError, Marks, Snapshot, guarded};
use crate::base::{clock, metric};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use understudy_proto::id::TenantId;
use understudy_proto::time::Mono;

/// How long an index stays open that nobody uses.
const IDLE_MAX: Duration = Duration::from_secs(600);

/// All indexes of this node.
pub(super) struct Shelves {
    dir: PathBuf,
    shelves: Mutex<BTreeMap<TenantId, Arc<Shelf>>>,
}

/// One tenant's index.
pub(super) struct Shelf {
    tenant: TenantId,
    dir: PathBuf,
    state: Mutex<State>,
    opened: Condvar,
}

#[derive(Default)]
struct State {
    open: Option<Arc<Open>>,
    /// Somebody opens it, which takes as long as reading it does.
    opening: bool,
    /// All of it was read since the process began.
    verified: bool,
    damaged: bool,
    used: Mono,
}

/// An index and what of it may be searched.
pub(super) struct Open {
    pub(super) index: Index,
    snapshot: Mutex<Arc<Snapshot>>,
}

impl Open {
    pub(super) fn new(index: Index, marks: Marks) -> Result<Self, IndexError> {
        let snapshot = Mutex::new(Arc::new(index.snapshot(marks)?));
        Ok(Self { index, snapshot })
    }

    pub(super) fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&lock(&self.snapshot))
    }

    /// From here on, searches see this.
    pub(super) fn publish(&self, snapshot: Snapshot) {
        *lock(&self.snapshot) = Arc::new(snapshot);
    }
}

impl Shelves {
    pub(super) fn new(dir: PathBuf) -> Self {
        Self { dir, shelves: Mutex::default() }
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn get(&self, tenant: TenantId) -> Arc<Shelf> {
        let mut shelves = lock(&self.shelves);
        let shelf = shelves.entry(tenant).or_insert_with(|| {
            let dir = self.dir.join(tenant.to_string());
            Arc::new(Shelf { tenant, dir, state: Mutex::default(), opened: Condvar::new() })
        });
        Arc::clone(shelf)
    }

    /// Closes what nobody used for a while.
    pub(super) fn close_idle(&self) {
        let now = clock::mono();
        for shelf in lock(&self.shelves).values() {
            let mut state = lock(&shelf.state);
            if now.since(state.used) > IDLE_MAX {
                state.open = None;
            }
        }
    }

    /// Removes what is not of one of `tenants`.
    pub(super) fn keep(&self, tenants: &[TenantId]) -> std::io::Result<()> {
        lock(&self.shelves).retain(|tenant, _| tenants.contains(tenant));
        for entry in std::fs::read_dir(&self.dir)? {
            let entry = entry?;
            let name = entry.file_name();
            if !tenants.iter().any(|t| name.to_str() == Some(t.to_string().as_str())) {
                let (path, is_dir) = (entry.path(), entry.file_type()?.is_dir());
                if is_dir { std::fs::remove_dir_all(path)? } else { std::fs::remove_file(path)? }
            }
        }
        Ok(())
    }
}

impl Shelf {
    /// What can be searched; `None` where there is no sound index, or it is being opened.
    pub(super) fn snapshot(&self) -> Option<Arc<Snapshot>> {
        self.open().map(|open| open.snapshot())
    }

    /// The index, made anew where there is no sound one. For the indexer alone.
    pub(super) fn open_or_create(&self) -> Result<Arc<Open>, IndexError> {
        let mut tried = false;
        loop {
            let waited = self.opened.wait_while(lock(&self.state), |state| state.opening);
            let mut state = waited.unwrap_or_else(PoisonError::into_inner);
            match state.open.take().filter(|_| self.dir.is_dir()) {
                Some(open) => {
                    state.open = Some(Arc::clone(&open));
                    return Ok(open);
                }
                // Nobody opens what is removed and made while the lock is held.
                None if tried || state.damaged => return self.create(&mut state),
                None => {}
            }
            drop(state);
            // By us, or by a search that was faster.
            self.open();
            tried = true;
        }
    }

    fn create(&self, state: &mut State) -> Result<Arc<Open>, IndexError> {
        if self.dir.exists() {
            std::fs::remove_dir_all(&self.dir)?;
        }
        metric::SEARCH_REBUILDS.inc();
        let open = Arc::new(guarded(|| Open::new(Index::create(&self.dir)?, Marks::new()))?);
        let (kept, used) = (Some(Arc::clone(&open)), clock::mono());
        *state = State { open: kept, opening: false, verified: true, damaged: false, used };
        Ok(open)
    }

    /// Whether it was there and whole when somebody last looked.
    pub(super) fn is_sound(&self) -> bool {
        let state = lock(&self.state);
        state.verified && !state.damaged && self.dir.is_dir()
    }

    /// It gave an error: it is read in full before it is used again.
    pub(super) fn suspect(&self) {
        let mut state = lock(&self.state);
        state.open = None;
        state.verified = false;
    }

    fn open(&self) -> Option<Arc<Open>> {
        let verify = {
            let mut state = lock(&self.state);
            state.used = clock::mono();
            if state.open.is_some() || state.damaged || state.opening {
                return state.open.clone();
            }
            state.opening = true;
            !state.verified
        };
        let opened = guarded(|| {
            let opened = Index::open(&self.dir, verify)?;
            opened.map(|(index, marks)| Open::new(index, marks)).transpose()
        });
        let mut state = lock(&self.state);
        state.opening = false;
        self.opened.notify_all();
        match opened {
            Ok(Some(open)) => {
                state.open = Some(Arc::new(open));
                state.verified = true;
            }
            Ok(None) => {}
            Err(e) => {
                log::warn!(tenant:% = self.tenant, err:% = e;
                    "the search index cannot be used and is built anew");
                state.damaged = true;
            }
        }
        state.open.clone()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
