//! Sign-in: a name and a password become a [`Login`].

use super::{Directory, DirectoryError, Resolved, password};
use crate::base::secret::Secret;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use understudy_proto::directory::{self, PASSWORD, Secret as Proof};
use understudy_proto::id::{AccountId, TenantId};

/// Password hashes that are computed at once: each takes a core and 19 MiB.
const HASHES_MAX: usize = 2;
/// Sign-ins that may wait for a hash; more are told to come again.
const WAITING_MAX: usize = 200;

static HASHES: Semaphore = Semaphore::const_new(HASHES_MAX);
static WAITING: Semaphore = Semaphore::const_new(WAITING_MAX);

/// Who is signed in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// Whose customer.
    pub tenant: TenantId,
    /// Which account.
    pub account: AccountId,
    /// The account's main address.
    pub address: String,
}

impl Directory {
    /// Checks a name (any address of the account) and a password (the person's, or one of the
    /// account's app passwords). `None` is "wrong", whichever of the two it was.
    pub async fn authenticate(
        &self,
        name: &str,
        plain: &Secret<String>,
    ) -> Result<Option<Login>, DirectoryError> {
        let mut proofs = Vec::new();
        let mut login = None;
        if let Resolved::Account { tenant, account } = self.resolve(name)? {
            let view = self.store.read(tenant)?;
            if let Some(row) = directory::account(&view, account)?.filter(|a| !a.closed) {
                proofs = directory::credentials(&view, account)?;
                login = Some(Login { tenant, account, address: row.address });
            }
        }
        // App passwords are long random texts: one fast hash each, on this thread.
        let is_app = |p: &&directory::Credential| matches!(p.secret, Proof::Blake3 { .. });
        if proofs.iter().filter(is_app).any(|p| password::verify(&p.secret, plain)) {
            return Ok(login);
        }
        let proof = proofs.into_iter().find(|p| p.id == PASSWORD).map(|p| p.secret);
        Ok(if hash_and_compare(proof, plain.clone()).await? { login } else { None })
    }
}

/// Compares under the semaphore. Without a proof the same work is done for nothing, so that time
/// does not tell which names exist.
async fn hash_and_compare(
    proof: Option<Proof>,
    plain: Secret<String>,
) -> Result<bool, DirectoryError> {
    run_hash(move || match proof {
        Some(proof) => Ok(password::verify(&proof, &plain)),
        None => password::hash(&plain).map(|_| false),
    })
    .await?
    .map_err(|e| DirectoryError::Hash(e.to_string()))
}

/// Runs one hash off the async threads, at most [`HASHES_MAX`] at once.
pub(super) async fn run_hash<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, DirectoryError> {
    let _waiting = WAITING.try_acquire().map_err(|_full| DirectoryError::Busy)?;
    let _turn = HASHES.acquire().await.map_err(|_closed| DirectoryError::Busy)?;
    spawn_blocking(work).await.map_err(|e| DirectoryError::Hash(e.to_string()))
}
