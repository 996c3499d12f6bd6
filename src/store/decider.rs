//! Deciding: one command at a time per tenant, over committed rows plus what is decided but not yet
//! visible.
//!
//! Invariants: a tenant's changes enter the log in the order in which they were decided. Nothing
//! is answered before everything that the answer rests on is committed, a refusal neither. What a
//! lease left undecided in the log is in the views before the next lease decides anything.
//! A snapshot is opened under the tenant's lock, and pending rows are dropped only under it, after
//! the view that holds them committed: so no row falls between the two.
//!
//! Deliberately absent: knowledge of kinds, and changes over several tenants.

use super::error::{StoreError, WriteError, lock};
use super::lease::PrimaryLease;
use super::log::Entry;
use super::seal::{self, TAG_LEN, record_aad};
use super::view::ReadView;
use super::{Inner, Slot, Store, Written};
use crate::base::{clock, secret};
use std::collections::{BTreeMap, VecDeque};
use tokio::sync::OwnedSemaphorePermit;
use understudy_proto::id::{Lsn, TenantId, UploadId};
use understudy_proto::keys::{BodyAddress, Keys, KeysError, Overlay, Visit, scan_layered};
use understudy_proto::record::{Kind, PAYLOAD_LEN_MAX};
use understudy_proto::rule::{
    Apply, ApplyError, Command, DecideError, Decision, ENTRIES_PER_CHANGE_MAX, Moment, Position,
};

/// What one change is charged while it waits for the disk, in bytes: more than most need.
const CHANGE_CREDIT: usize = 16 * 1024;

type Rows = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// What a tenant has decided and its view does not hold yet.
#[derive(Default)]
pub(super) struct Pending {
    /// Under which lease.
    lease: Option<PrimaryLease>,
    writes: Rows,
    /// The newest change that wrote each key of `writes`.
    newest: BTreeMap<Vec<u8>, Lsn>,
    /// The keys of each change, oldest first.
    changes: VecDeque<(Lsn, Vec<Vec<u8>>)>,
    /// Uploads whose last part is on its way.
    uploads: BTreeMap<UploadId, Lsn>,
    /// The tenant's last change.
    last: Lsn,
}

impl Pending {
    /// Begins anew under another lease: what the one before left is in the view, or set aside.
    /// A lease that is over by now touches nothing: the next one's rows may be here.
    fn enter(&mut self, lease: &PrimaryLease) -> Result<(), StoreError> {
        if !lease.valid() {
            return Err(StoreError::NotPrimary);
        }
        if !self.lease.as_ref().is_some_and(|ours| ours.same(lease)) {
            *self = Self { lease: Some(lease.clone()), ..Self::default() };
        }
        Ok(())
    }

    fn add(&mut self, lsn: Lsn, rows: Rows) {
        let keys: Vec<Vec<u8>> = rows.keys().cloned().collect();
        for key in &keys {
            self.newest.insert(key.clone(), lsn);
        }
        self.writes.extend(rows);
        self.changes.push_back((lsn, keys));
        self.last = lsn;
    }

    /// Drops what the view holds.
    pub(super) fn forget(&mut self, applied: Lsn) {
        while let Some((lsn, keys)) = self.changes.pop_front_if(|(lsn, _)| *lsn <= applied) {
            for key in keys {
                if self.newest.get(&key) == Some(&lsn) {
                    self.newest.remove(&key);
                    self.writes.remove(&key);
                }
            }
        }
        self.uploads.retain(|_, lsn| *lsn > applied);
        if self.writes.is_empty() && self.changes.is_empty() {
            self.changes.shrink_to_fit();
        }
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.writes.is_empty() && self.newest.is_empty() && self.changes.is_empty()
    }
}

/// The decider's rows: a snapshot and what is pending over it.
struct Layered<'a> {
    view: &'a ReadView,
    pending: &'a Pending,
}

impl Keys for Layered<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, KeysError> {
        match self.pending.writes.get(key) {
            Some(value) => Ok(value.clone()),
            None => self.view.get(key),
        }
    }

    fn scan(&self, from: &[u8], to: &[u8], visit: &mut Visit<'_>) -> Result<(), KeysError> {
        scan_layered(self.view, &self.pending.writes, (from, to), false, visit)
    }

    fn scan_back(&self, from: &[u8], to: &[u8], visit: &mut Visit<'_>) -> Result<(), KeysError> {
        scan_layered(self.view, &self.pending.writes, (from, to), true, visit)
    }

    /// A finished upload may still be on its way to the pack: then its address is empty.
    fn body(&self, id: UploadId) -> Result<Option<BodyAddress>, KeysError> {
        match self.view.body(id)? {
            None if self.pending.uploads.contains_key(&id) => Ok(Some(BodyAddress::default())),
            found => Ok(found),
        }
    }
}

/// What deciding a `C` gave, or why it was not decided.
type Decided<C> = Result<
    Outcome<<C as Command>::Answer, <C as Command>::Refusal>,
    WriteError<<C as Command>::Refusal>,
>;

/// What deciding gave.
enum Outcome<A, R> {
    /// A change that is in the log.
    Changed(A, Lsn),
    /// No change; what was said rests on everything up to this lsn.
    Unchanged(Result<A, R>, Lsn),
}

impl Store {
    /// Decides `command` and makes its change durable. Returns at commit: the change is durable on
    /// every insync node. [`Store::applied`] waits until it is visible.
    pub async fn write<C: Command>(
        &self,
        lease: &PrimaryLease,
        tenant: TenantId,
        command: C,
    ) -> Result<Written<C::Answer>, WriteError<C::Refusal>> {
        let inner = self.inner();
        inner.enter(lease).await?;
        let credit = inner.log.credit(CHANGE_CREDIT).await?;
        let slot = inner.known_slot(tenant)?;
        match inner.decide(lease, &slot, &command, credit)? {
            Outcome::Changed(answer, lsn) => {
                inner.wait_committed(lease, lsn).await.ok_or(WriteError::Unknown)?;
                Ok(Written { answer, lsn })
            }
            Outcome::Unchanged(said, lsn) => {
                inner.wait_committed(lease, lsn).await.ok_or(WriteError::NotPrimary)?;
                let answer = said.map_err(WriteError::Refused)?;
                Ok(Written { answer, lsn })
            }
        }
    }
}

impl Inner {
    /// Waits until the views hold everything that was in the log when `lease` was first used: a new
    /// reign decides over all that the one before left.
    pub(super) async fn enter(&self, lease: &PrimaryLease) -> Result<(), StoreError> {
        if !lease.valid() {
            return Err(StoreError::NotPrimary);
        }
        let floor = {
            let mut reign = lock(&self.reign);
            match &*reign {
                Some((ours, floor)) if ours.same(lease) => *floor,
                _ => {
                    let floor = self.log.assigned();
                    *reign = Some((lease.clone(), floor));
                    floor
                }
            }
        };
        let mut applied = self.log.watch_applied();
        loop {
            if !lease.valid() {
                return Err(StoreError::NotPrimary);
            }
            if self.log.is_stopped() {
                return Err(StoreError::Stopped);
            }
            // What was set aside meanwhile will never be applied.
            if *applied.borrow_and_update() >= floor.min(self.log.assigned()) {
                return Ok(());
            }
            tokio::select! {
                () = lease.revoked() => {}
                changed = applied.changed() => {
                    changed.map_err(|tokio::sync::watch::error::RecvError { .. }| StoreError::Stopped)?;
                }
            }
        }
    }

    /// Waits for the commit of `lsn`; `None` when the lease or the store ends before.
    pub(super) async fn wait_committed(&self, lease: &PrimaryLease, lsn: Lsn) -> Option<()> {
        let committed = self.log.committed_at(lsn);
        tokio::select! {
            biased;
            committed = committed => committed.ok(),
            () = lease.revoked() => None,
        }
    }

    fn decide<C: Command>(
        &self,
        lease: &PrimaryLease,
        slot: &Slot,
        command: &C,
        credit: OwnedSemaphorePermit,
    ) -> Decided<C> {
        let tenant = slot.tenant;
        let mut pending = lock(&slot.pending);
        pending.enter(lease)?;
        pending.forget(*slot.applied.borrow());
        let view = ReadView::new(self.view(slot)?)?;
        let keys = Layered { view: &view, pending: &pending };
        let fork = self.log.fork();
        let moment = Moment { now: clock::now_ms(), random: secret::random(), fork };
        let decision = match command.decide(&keys, moment) {
            Ok(decision) => decision,
            Err(DecideError::Refused(refusal)) => {
                return Ok(Outcome::Unchanged(Err(refusal), pending.last));
            }
            Err(DecideError::Keys(e)) => return Err(e.into()),
            Err(DecideError::Decode(e)) => return Err(e.into()),
        };
        let Decision { change: Some(change), answer } = decision else {
            return Ok(Outcome::Unchanged(Ok(decision.answer), pending.last));
        };
        let rule = self
            .registry
            .get(C::KIND)
            .ok_or(StoreError::UnknownKind { lsn: Lsn(0), kind: C::KIND })?;
        let (lsn, epoch) = self.log.expected();
        let expected = Position { lsn, epoch };
        // A change that its own rule cannot apply must not get into the log: no node could ever
        // pass it.
        let mut rows = apply(rule, &keys, expected, &change)?;
        if rows.len() > ENTRIES_PER_CHANGE_MAX || change.len() > PAYLOAD_LEN_MAX - TAG_LEN {
            return Err(WriteError::TooLarge { rows: rows.len(), bytes: change.len() });
        }
        let credit = self.log.charge(credit, change.len().saturating_sub(CHANGE_CREDIT));
        let entry = self.seal_change(tenant, C::KIND, &change, credit)?;
        let (lsn, epoch) = self.log.submit(lease, entry)?;
        let mut in_log = InLog { store: self, tenant, lsn, pending: false };
        let at = Position { lsn, epoch };
        if at != expected {
            // Another tenant's change came first: what the rows say of the position changes.
            rows = apply(rule, &keys, at, &change)?;
        }
        pending.add(lsn, rows);
        in_log.pending = true;
        Ok(Outcome::Changed(answer, lsn))
    }

    fn seal_change(
        &self,
        tenant: TenantId,
        kind: Kind,
        change: &[u8],
        credit: OwnedSemaphorePermit,
    ) -> Result<Entry, StoreError> {
        let (nonce, flags) = (seal::nonce(), 0);
        let aad = record_aad(tenant, kind, flags, &[]);
        let payload = self.keyring.sealing_cipher(tenant)?.seal(&nonce, &aad, change)?;
        Ok(Entry { tenant, kind, flags, nonce, payload, credit: Some(credit) })
    }

    /// Queues an upload's last part and lets the decider know of the upload.
    pub(super) fn submit_last_part(
        &self,
        lease: &PrimaryLease,
        slot: &Slot,
        upload: UploadId,
        entry: Entry,
    ) -> Result<(), StoreError> {
        let mut pending = lock(&slot.pending);
        pending.enter(lease)?;
        let (lsn, _) = self.log.submit(lease, entry)?;
        pending.uploads.insert(upload, lsn);
        Ok(())
    }
}

/// A change that is in the log. If its rule fails or panics before the change is pending, nobody
/// may decide over rows that lack it: the store stops.
struct InLog<'a> {
    store: &'a Inner,
    tenant: TenantId,
    lsn: Lsn,
    pending: bool,
}

impl Drop for InLog<'_> {
    fn drop(&mut self) {
        if !self.pending {
            let (lsn, tenant) = (self.lsn, self.tenant);
            self.store.log.fail(&format!("change {lsn} of tenant {tenant} could not be applied"));
        }
    }
}

fn apply(
    rule: &dyn Apply,
    keys: &dyn Keys,
    at: Position,
    change: &[u8],
) -> Result<Rows, ApplyError> {
    let mut overlay = Overlay::new(keys);
    rule.apply(&mut overlay, at, change)?;
    Ok(overlay.into_writes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use understudy_proto::id::Epoch;

    fn rows(keys: &[&[u8]]) -> Rows {
        keys.iter().map(|k| (k.to_vec(), Some(b"v".to_vec()))).collect()
    }

    #[test]
    fn a_row_is_pending_until_its_newest_change_is_applied() {
        let mut pending = Pending::default();
        pending.add(Lsn(1), rows(&[b"a", b"b"]));
        pending.add(Lsn(3), rows(&[b"b", b"c"]));
        pending.forget(Lsn(2));
        assert_eq!(pending.writes.keys().collect::<Vec<_>>(), [b"b", b"c"]);
        pending.forget(Lsn(3));
        assert!(pending.is_empty());
        assert_eq!(pending.last, Lsn(3));
    }

    #[test]
    fn a_session_that_outlived_its_lease_does_not_empty_the_next_reigns_rows() {
        let (old, control) = PrimaryLease::mint(Epoch(1));
        let mut pending = Pending::default();
        pending.enter(&old).unwrap();
        pending.add(Lsn(1), rows(&[b"a"]));
        control.revoke();
        let (next, _control) = PrimaryLease::mint(Epoch(2));
        pending.enter(&next).unwrap();
        assert!(pending.is_empty());
        pending.add(Lsn(2), rows(&[b"b"]));
        assert!(matches!(pending.enter(&old), Err(StoreError::NotPrimary)));
        pending.enter(&next).unwrap();
        assert!(!pending.is_empty());
    }
}
