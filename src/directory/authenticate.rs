//! Sign-in: a name and a password become a [`Login`].

use super::recent::Asked;
use super::standing::Follower;
use super::{Directory, DirectoryError, Resolved, Standing, password};
use crate::base::metric;
use crate::base::secret::Secret;
use crate::base::task;
use std::sync::OnceLock;
use std::sync::mpsc::{SyncSender, sync_channel};
use tokio::sync::{Semaphore, oneshot};
use understudy_proto::directory::{self, Credential, PASSWORD, Secret as Proof};
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
    /// account's app passwords). `None` is "wrong", whichever of the two it was. The session must end
    /// when its [`Standing`] is lost.
    pub async fn authenticate(
        &self,
        name: &str,
        plain: &Secret<String>,
    ) -> Result<Option<(Login, Standing)>, DirectoryError> {
        let Some((login, credentials, follower)) = self.named(name)? else {
            metric::PASSWORD_HASHES.inc();
            hash_and_compare(None, plain.clone()).await?;
            return Ok(None);
        };
        // App passwords are long random texts: one fast hash each, on this thread.
        let is_app = |c: &&Credential| matches!(c.secret, Proof::Blake3 { .. });
        let right = |c: &&Credential| password::verify(&c.secret, plain);
        if let Some(app) = credentials.iter().filter(is_app).find(right) {
            let standing = follower.standing(self, &login, app.clone());
            return Ok(Some((login, standing)));
        }
        let password = credentials.into_iter().find(|c| c.id == PASSWORD);
        let tag = password.as_ref().and_then(|password| {
            let (tenant, account, proof) = (login.tenant, login.account, &password.secret);
            self.recent.tag(&Asked { tenant, account, credential: PASSWORD, proof, name, plain })
        });
        if tag.as_ref().is_some_and(|tag| self.recent.knows(tag)) {
            metric::LOGINS_RECENT.inc();
        } else {
            metric::PASSWORD_HASHES.inc();
            let proof = password.as_ref().map(|password| password.secret.clone());
            if !hash_and_compare(proof, plain.clone()).await? {
                return Ok(None);
            }
        }
        let Some(password) = password else { return Ok(None) };
        let standing = follower.standing(self, &login, password);
        // It may have been changed while it was hashed.
        if !standing.stands() {
            return Ok(None);
        }
        if let Some(tag) = tag.filter(|tag| !self.recent.knows(tag)) {
            self.recent.remember(tag);
        }
        Ok(Some((login, standing)))
    }

    /// Whom `name` means, and what can open that account. Whoever changes it from now on is heard.
    fn named(
        &self,
        name: &str,
    ) -> Result<Option<(Login, Vec<Credential>, Follower)>, DirectoryError> {
        let Resolved::Account { tenant, account } = self.resolve(name)? else { return Ok(None) };
        let follower = self.follow(tenant, account);
        let view = self.store.read(tenant)?;
        let Some(row) = directory::account(&view, account)?.filter(|a| !a.closed) else {
            return Ok(None);
        };
        let credentials = directory::credentials(&view, account)?;
        Ok(Some((Login { tenant, account, address: row.address }, credentials, follower)))
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
