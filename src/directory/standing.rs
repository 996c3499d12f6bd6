//! What an open session rests on: the credential that it was opened with.
//!
//! The commit that revokes or replaces the credential, or closes the account, wakes everybody who
//! holds a [`Standing`] of that account; only the end of a credential that has one is waited for.
//! Invariant: who began to follow before the rows were read misses no change. What cannot be read
//! stands no longer: the client signs in again. Absent: rights. There is one: to be the account.

use super::recent::Stay;
use super::{Directory, DirectoryError, Login};
use crate::base::clock;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use understudy_proto::directory::{self, Credential, Held, PASSWORD, sign_in_topic};
use understudy_proto::id::{AccountId, TenantId};
use understudy_proto::time::UnixMs;

/// Longest sleep until a credential's end: the clock that ends are told by may be set.
const SLEEP_MAX: Duration = Duration::from_secs(60);

/// A credential that was right when the session began.
#[derive(Clone)]
pub struct Standing {
    directory: Directory,
    tenant: TenantId,
    account: AccountId,
    credential: Credential,
    /// As it was when it was looked at last: use puts it off.
    ends: Option<UnixMs>,
    changes: watch::Receiver<u64>,
    /// Its password stays known while the session lasts.
    _stay: Option<Arc<Stay>>,
}

impl Standing {
    /// Ends when the credential is not valid any more. Cancellable.
    pub async fn lost(&mut self) {
        loop {
            let ends = self.ends;
            let changed = tokio::select! {
                changed = self.changes.changed() => changed.is_ok(),
                () = end(ends) => true,
            };
            if !changed {
                // The store is gone, and the process with it.
                return std::future::pending().await;
            }
            if !self.still_stands() {
                return;
            }
        }
    }

    /// Whether it is not valid any more; looks only where something has changed, or at its end.
    pub fn is_lost(&mut self) -> bool {
        let changed = self.changes.has_changed().unwrap_or(false);
        if changed {
            self.changes.mark_unchanged();
        }
        let over = self.ends.is_some_and(|ends| ends <= clock::now_ms());
        (changed || over) && !self.still_stands()
    }

    /// Whether the credential is as it was.
    #[must_use]
    pub fn stands(&self) -> bool {
        self.clone().still_stands()
    }

    fn still_stands(&mut self) -> bool {
        let found = self.look().unwrap_or_else(|e| {
            log::warn!(tenant = self.tenant.0, account = self.account.0, err:% = e; "a credential cannot be looked up, its sessions end");
            None
        });
        let Some(held) = found else { return false };
        self.ends = held.ends;
        true
    }

    /// The credential, if it opens the account.
    fn look(&self) -> Result<Option<Held>, DirectoryError> {
        let view = self.directory.store.read(self.tenant)?;
        if directory::account(&view, self.account)?.is_none_or(|a| a.closed) {
            return Ok(None);
        }
        let all = directory::held(&view, self.account)?;
        if self.credential.id == PASSWORD && wants_code(&all) {
            return Ok(None);
        }
        let now = clock::now_ms();
        Ok(all.into_iter().find(|h| h.credential == self.credential && !h.is_over(now)))
    }
}

/// Whether the password alone does not open the account.
pub(super) fn wants_code(all: &[Held]) -> bool {
    all.iter().any(|held| held.credential.is_confirmed_totp())
}

/// Waits for a time of the wall clock; for ever where there is none.
async fn end(ends: Option<UnixMs>) {
    let Some(ends) = ends else { return std::future::pending().await };
    loop {
        let left = ends.0.saturating_sub(clock::now_ms().0);
        if left == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(left).min(SLEEP_MAX)).await;
    }
}

impl fmt::Debug for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Standing")
            .field("account", &self.account)
            .field("credential", &self.credential.id)
            .finish_non_exhaustive()
    }
}

/// The changes of an account's credentials from now on: taken before the rows are read.
pub(super) struct Follower(watch::Receiver<u64>);

impl Directory {
    pub(super) fn follow(&self, tenant: TenantId, account: AccountId) -> Follower {
        Follower(self.store.watch(tenant, sign_in_topic(account)))
    }
}

impl Follower {
    pub(super) fn standing(
        self,
        directory: &Directory,
        login: &Login,
        held: Held,
        stay: Option<Stay>,
    ) -> Standing {
        let (directory, changes) = (directory.clone(), self.0);
        let (tenant, account, _stay) = (login.tenant, login.account, stay.map(Arc::new));
        let Held { credential, ends, .. } = held;
        Standing { directory, tenant, account, credential, ends, changes, _stay }
    }
}
