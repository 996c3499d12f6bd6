//! The proof that this node is primary.
//!
//! Invariants: only `pair` mints one (`tests/tidy`). Once `LeaseControl::revoke` has returned, no
//! record of that lease enters the log any more: a submission holds the lease while it queues.
//! Dropping the control revokes too, so that a pair that died leaves nobody who may write.
//!
//! What is written needs no clock: the standby refuses a reign that is over. What is *read* does: a
//! lease is fresh until a moment that the pair moves on ([`LeaseControl::extend`]), and `net` sends
//! nothing while it is not (DESIGN.md 3, invariant 7). A fresh mint is not fresh before that.
//!
//! Before a revocation in good order notice is given, so that whoever speaks under the lease can take
//! its leave while it still may. Nobody has to, and nobody is waited for who does not.
//!
//! Deliberately absent: how long a lease lasts. That is the pair's to know.

use crate::base::clock;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use tokio::sync::watch;
use understudy_proto::id::Epoch;
use understudy_proto::time::Mono;

/// Proof that this node is primary. Clones are the same lease.
#[derive(Clone)]
pub struct PrimaryLease(Arc<Inner>);

/// The pair's end of a lease.
#[must_use = "dropping the control revokes the lease"]
pub struct LeaseControl(Arc<Inner>);

struct Inner {
    epoch: Epoch,
    valid: RwLock<bool>,
    revoked: watch::Sender<bool>,
    /// Whether it is about to be revoked; followed by those who want to say something before.
    notice: watch::Sender<bool>,
    /// Until when it is fresh, in microseconds of [`Mono`].
    until: AtomicU64,
    /// Wakes those whose answers wait for it.
    extended: watch::Sender<()>,
}

impl PrimaryLease {
    /// Makes a lease of `epoch` and the control that ends it. Only `pair` calls this, and only once
    /// the lease before is revoked.
    pub fn mint(epoch: Epoch) -> (Self, LeaseControl) {
        let inner = Arc::new(Inner {
            epoch,
            valid: RwLock::new(true),
            revoked: watch::Sender::new(false),
            notice: watch::Sender::new(false),
            until: AtomicU64::new(0),
            extended: watch::Sender::new(()),
        });
        (Self(Arc::clone(&inner)), LeaseControl(inner))
    }

    /// The reign in which it was minted.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.0.epoch
    }

    /// Whether it has not been revoked.
    #[must_use]
    pub fn valid(&self) -> bool {
        *self.0.valid.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether readers may be answered at `now`: nobody else can have become primary yet.
    #[must_use]
    pub fn fresh(&self, now: Mono) -> bool {
        now.0 < self.0.until.load(Ordering::Acquire)
    }

    /// Returns once it is fresh, or revoked.
    pub async fn decided(&self) {
        let mut changed = self.0.extended.subscribe();
        while self.valid() && !self.fresh(clock::mono()) {
            // The sender lives in `self`, so that the wait ends only with a change.
            if changed.changed().await.is_err() {
                return;
            }
        }
    }

    /// Returns once it is revoked.
    pub async fn revoked(&self) {
        let mut revoked = self.0.revoked.subscribe();
        // The sender lives in `self`, so that the wait ends only with the revocation.
        while !*revoked.borrow_and_update() {
            if revoked.changed().await.is_err() {
                return;
            }
        }
    }

    /// Becomes `true` shortly before the lease is revoked in good order. Whoever holds it has not
    /// finished yet ([`LeaseControl::all_gone`]).
    #[must_use]
    pub fn notice(&self) -> watch::Receiver<bool> {
        self.0.notice.subscribe()
    }

    /// Keeps the lease from being revoked while the guard lives; `None` when it already is.
    pub(super) fn hold(&self) -> Option<RwLockReadGuard<'_, bool>> {
        let guard = self.0.valid.read().unwrap_or_else(PoisonError::into_inner);
        guard.then_some(guard)
    }

    /// Whether both are the same lease.
    pub(super) fn same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl fmt::Debug for PrimaryLease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PrimaryLease").field("epoch", &self.0.epoch).finish_non_exhaustive()
    }
}

impl LeaseControl {
    /// Readers may be answered until `until`, and no longer: also an earlier moment than before.
    pub fn extend(&self, until: Mono) {
        self.0.until.store(until.0, Ordering::Release);
        self.0.extended.send_replace(());
    }

    /// Gives notice of a revocation that follows, or takes it back.
    pub fn give_notice(&self, given: bool) {
        self.0.notice.send_replace(given);
    }

    /// Returns once nobody holds a [`PrimaryLease::notice`] any more.
    pub async fn all_gone(&self) {
        self.0.notice.closed().await;
    }

    /// Ends the lease: when this returns, nothing more is written under it.
    pub fn revoke(&self) {
        *self.0.valid.write().unwrap_or_else(PoisonError::into_inner) = false;
        self.0.revoked.send_replace(true);
        self.0.extended.send_replace(());
    }
}

impl Drop for LeaseControl {
    fn drop(&mut self) {
        self.revoke();
    }
}

impl fmt::Debug for LeaseControl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LeaseControl").field("epoch", &self.0.epoch).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_lease_is_fresh_until_the_moment_that_it_was_extended_to() {
        let (lease, control) = PrimaryLease::mint(Epoch(3));
        assert!(!lease.fresh(Mono(0)), "a mint says nothing about readers");
        control.extend(Mono(100));
        assert!(lease.fresh(Mono(99)) && !lease.fresh(Mono(100)));
        let later = async { control.extend(Mono(u64::MAX)) };
        tokio::join!(lease.decided(), later);
        control.extend(Mono(0));
        tokio::join!(lease.decided(), async { control.revoke() });
    }

    #[tokio::test]
    async fn notice_is_given_to_all_and_ends_nothing() {
        let (lease, control) = PrimaryLease::mint(Epoch(3));
        control.all_gone().await;
        let (mut first, second) = (lease.notice(), lease.clone().notice());
        control.give_notice(true);
        assert!(*first.borrow_and_update() && *second.borrow() && lease.valid());
        drop(first);
        let left = async {
            tokio::task::yield_now().await;
            drop(second);
        };
        tokio::join!(control.all_gone(), left);
        control.give_notice(false);
        assert!(!*lease.notice().borrow());
    }

    #[tokio::test]
    async fn a_lease_ends_when_it_is_revoked_or_its_control_is_dropped() {
        let (lease, control) = PrimaryLease::mint(Epoch(3));
        assert!(lease.valid() && lease.hold().is_some());
        control.revoke();
        assert!(!lease.valid() && lease.hold().is_none());
        lease.revoked().await;
        let (lease, control) = PrimaryLease::mint(Epoch(4));
        drop(control);
        lease.clone().revoked().await;
        assert!(!lease.valid());
    }
}
