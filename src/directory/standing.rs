//! What an open session rests on: the credential that it was opened with.
//!
//! The commit that revokes or replaces the credential, or closes the account, wakes everybody who
//! holds a [`Standing`] of that account; nothing is polled. Invariant: who began to follow before the
//! rows were read misses no change. What cannot be read stands no longer: the client signs in again.
//! Absent: rights. There is one: to be the account.

use super::recent::Stay;
use super::{Directory, DirectoryError, Login};
use std::fmt;
use std::sync::Arc;
use tokio::sync::watch;
use understudy_proto::directory::{self, Credential, sign_in_topic};
use understudy_proto::id::{AccountId, TenantId};

/// A credential that was right when the session began.
#[derive(Clone)]
pub struct Standing {
    directory: Directory,
    tenant: TenantId,
    account: AccountId,
    credential: Credential,
    changes: watch::Receiver<u64>,
    /// Its password stays known while the session lasts.
    _stay: Option<Arc<Stay>>,
}

impl Standing {
    /// Ends when the credential is not valid any more. Cancellable.
    pub async fn lost(&mut self) {
        loop {
            if self.changes.changed().await.is_err() {
                // The store is gone, and the process with it.
                return std::future::pending().await;
            }
            if !self.stands() {
                return;
            }
        }
    }

    /// Whether it is not valid any more; looks only where something has changed.
    pub fn is_lost(&mut self) -> bool {
        let changed = self.changes.has_changed().unwrap_or(false);
        if changed {
            self.changes.mark_unchanged();
        }
        changed && !self.stands()
    }

    /// Whether the credential is as it was.
    #[must_use]
    pub fn stands(&self) -> bool {
        self.look().unwrap_or_else(|e| {
            log::warn!(tenant = self.tenant.0, account = self.account.0, err:% = e; "a credential cannot be looked up, its sessions end");
            false
        })
    }

    fn look(&self) -> Result<bool, DirectoryError> {
        let view = self.directory.store.read(self.tenant)?;
        let open = directory::account(&view, self.account)?.is_some_and(|a| !a.closed);
        Ok(open && directory::credentials(&view, self.account)?.contains(&self.credential))
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
        credential: Credential,
        stay: Option<Stay>,
    ) -> Standing {
        let (directory, changes) = (directory.clone(), self.0);
        let (tenant, account, _stay) = (login.tenant, login.account, stay.map(Arc::new));
        Standing { directory, tenant, account, credential, changes, _stay }
    }
}
