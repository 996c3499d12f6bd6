//! Sign-in: a name and a password become a [`Login`].

use super::recent::Asked;
use super::{Directory, DirectoryError, Resolved, password};
use crate::base::metric;
use crate::base::secret::Secret;
use crate::base::task;
use std::sync::OnceLock;
use std::sync::mpsc::{SyncSender, sync_channel};
use tokio::sync::{Semaphore, oneshot};
use understudy_proto::directory::{self, PASSWORD, Secret as Proof};
use understudy_proto::id::{AccountId, TenantId};

/// Sign-ins that may wait for a hash; more are told to come again.
const WAITING_MAX: usize = 200;

static WAITING: Semaphore = Semaphore::const_new(WAITING_MAX);

/// Hashes are computed one after the other on one thread: each takes a core for tens of milliseconds
/// and 19 MiB, which the allocator keeps for every thread that ever asked for them.
static HASHER: OnceLock<SyncSender<Job>> = OnceLock::new();

type Job = Box<dyn FnOnce() + Send>;

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
        let tag = proof.as_ref().zip(login.as_ref()).and_then(|(proof, login)| {
            let (tenant, account) = (login.tenant, login.account);
            self.recent.tag(&Asked { tenant, account, credential: PASSWORD, proof, name, plain })
        });
        if tag.as_ref().is_some_and(|tag| self.recent.knows(tag)) {
            metric::LOGINS_RECENT.inc();
            return Ok(login);
        }
        metric::PASSWORD_HASHES.inc();
        if !hash_and_compare(proof, plain.clone()).await? {
            return Ok(None);
        }
        if let Some(tag) = tag {
            self.recent.remember(tag);
        }
        Ok(login)
    }
}

/// Compares on the thread for hashes. Without a proof the same work is done for nothing, so that time
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

/// Runs one hash on the thread for hashes.
pub(super) async fn run_hash<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, DirectoryError> {
    let _waiting = WAITING.try_acquire().map_err(|_full| DirectoryError::Busy)?;
    let (done, outcome) = oneshot::channel();
    // Whoever hung up meanwhile needs no answer.
    let job = Box::new(move || drop(done.send(work())));
    let hasher = HASHER.get_or_init(|| {
        let (jobs, queue) = sync_channel::<Job>(WAITING_MAX);
        drop(task::thread("password-hash", move || queue.into_iter().for_each(|job| job())));
        jobs
    });
    hasher.try_send(job).map_err(|_full| DirectoryError::Busy)?;
    outcome.await.map_err(|e| DirectoryError::Hash(e.to_string()))
}
