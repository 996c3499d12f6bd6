//! The one thread that writes views: it takes committed records in order, merges what waits into
//! one transaction per tenant, and checkpoints.
//!
//! Invariants: it never reads above the commit lsn. A committed record that cannot be applied, and a
//! checkpoint that fails, stop the store. The replay floor is below every record that no checkpoint
//! holds yet, so that nothing is trimmed or skipped that a view still needs.

use super::{Committed, View};
use crate::base::clock;
use crate::store::Inner;
use crate::store::error::StoreError;
use log::error;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use understudy_proto::id::{Lsn, TenantId};
use understudy_proto::record::{self, Kind};
use understudy_proto::time::Mono;

/// Most changes merged into one round.
const ROUND_RECORDS_MAX: usize = 512;
/// Most bytes of records read in one round.
const ROUND_BYTES_MAX: usize = 8 << 20;
/// How long the viewer sleeps when no view is dirty; it is called when something is committed.
const IDLE: Duration = Duration::from_secs(60);

/// A view whose last checkpoint does not hold all of it.
struct Dirty {
    /// The first record that the checkpoint does not hold.
    since: Lsn,
    at: Mono,
    changes: usize,
}

pub(in crate::store) struct Viewer {
    store: Arc<Inner>,
    /// Everything up to here is applied.
    position: Lsn,
    dirty: BTreeMap<TenantId, Dirty>,
}

impl Viewer {
    /// A viewer for views that hold everything up to `floor` durably.
    pub(in crate::store) fn new(store: Arc<Inner>, floor: Lsn) -> Self {
        store.log.views_are_at(floor, floor);
        Self { store, position: floor, dirty: BTreeMap::new() }
    }

    /// Works until the store stops, then checkpoints what is dirty if it was closed in peace.
    pub(in crate::store) fn run(mut self) {
        while !self.store.log.is_stopped() {
            let wait = match self.round() {
                Ok(true) => continue,
                Ok(false) => self.until_due(),
                Err(e) => return self.fail(&e),
            };
            self.store.log.wait_for_call(wait);
        }
        if self.store.in_peace() {
            while let Some(tenant) = self.dirty.keys().next().copied() {
                if let Err(e) = self.checkpoint(tenant) {
                    return self.fail(&e);
                }
            }
        }
    }

    /// Applies what is committed, then makes at most one due checkpoint. `false`: nothing to do.
    pub(in crate::store) fn round(&mut self) -> Result<bool, StoreError> {
        let applied = self.apply_committed()?;
        let checkpointed = self.checkpoint_one()?;
        self.store.close_unused_views();
        Ok(applied || checkpointed)
    }

    fn apply_committed(&mut self) -> Result<bool, StoreError> {
        let committed = self.store.log.committed();
        if self.position >= committed {
            return Ok(false);
        }
        let bytes = self.store.log.read_from(self.position.next(), ROUND_BYTES_MAX)?;
        let mut tenants: BTreeMap<TenantId, Vec<Committed<'_>>> = BTreeMap::new();
        let (mut rest, mut last, mut count) = (bytes.as_slice(), self.position, 0);
        while count < ROUND_RECORDS_MAX
            && last < committed
            && let Ok((header, payload, whole)) = record::decode(rest)
        {
            if header.kind != Kind::EPOCH {
                tenants.entry(header.tenant).or_default().push(Committed { header, payload });
            }
            last = header.lsn;
            count += 1;
            rest = rest.get(whole..).unwrap_or_default();
        }
        if last == self.position {
            let (asked, first) = (self.position.next(), self.store.log.first());
            return Err(StoreError::NotInLog { asked, first, last: committed });
        }
        for (tenant, records) in tenants {
            self.apply(tenant, &records)?;
        }
        self.position = last;
        self.store.log.views_are_at(self.position, self.floor());
        Ok(true)
    }

    fn apply(&mut self, tenant: TenantId, records: &[Committed<'_>]) -> Result<(), StoreError> {
        let slot = self.store.slot(tenant);
        let view = self.store.view(&slot)?;
        let before = view.applied();
        let topics = view.apply(&self.store.registry, records)?;
        let applied = view.applied();
        // A merge has begun or ended. (Nothing is trimmed meanwhile: the floor has not moved.)
        let of_merges = |r: &Committed<'_>| r.header.kind == Kind::BRANCH;
        if tenant == TenantId::SYSTEM && records.iter().any(of_merges) {
            self.store.pin_for_merges()?;
        }
        let new = records.iter().filter(|r| r.header.lsn > before);
        if let Some(since) = new.clone().map(|r| r.header.lsn).next() {
            let at = clock::mono();
            let dirty = self.dirty.entry(tenant).or_insert(Dirty { since, at, changes: 0 });
            dirty.changes += new.count();
        }
        slot.wake(&topics);
        slot.applied.send_replace(applied);
        slot.forget_applied(applied);
        Ok(())
    }

    /// Checkpoints the one view that is due the longest; the others follow in later rounds, so that
    /// they do not all stall the viewer at once.
    fn checkpoint_one(&mut self) -> Result<bool, StoreError> {
        let now = clock::mono();
        let options = &self.store.options;
        let due = self.dirty.iter().filter(|(_, d)| {
            now.since(d.at) >= options.checkpoint_every || d.changes >= options.checkpoint_changes
        });
        let Some(tenant) = due.min_by_key(|(_, d)| d.at).map(|(t, _)| *t) else {
            return Ok(false);
        };
        self.checkpoint(tenant)?;
        Ok(true)
    }

    fn checkpoint(&mut self, tenant: TenantId) -> Result<(), StoreError> {
        let slot = self.store.slot(tenant);
        self.store.view(&slot)?.checkpoint()?;
        self.dirty.remove(&tenant);
        self.store.log.views_are_at(self.position, self.floor());
        Ok(())
    }

    fn floor(&self) -> Lsn {
        let oldest = self.dirty.values().map(|d| d.since).min();
        oldest.map_or(self.position, |since| Lsn(since.0.saturating_sub(1)))
    }

    fn until_due(&self) -> Duration {
        let now = clock::mono();
        let every = self.store.options.checkpoint_every;
        let oldest = self.dirty.values().map(|d| now.since(d.at)).max();
        oldest.map_or(IDLE, |age| every.saturating_sub(age))
    }

    fn fail(&self, e: &StoreError) {
        if !self.store.log.is_stopped() {
            error!(err:% = e, runbook = "view-failure"; "a view cannot be written");
        }
        self.store.log.fail(&format!("a view cannot be written: {e}"));
    }
}

/// A view that nobody uses may be closed.
pub(in crate::store) fn is_idle(view: &Arc<View>) -> bool {
    Arc::strong_count(view) == 1 && !view.is_dirty()
}
