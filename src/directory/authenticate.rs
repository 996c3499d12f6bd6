//! Sign-in: a name and a password become a [`Login`].

use super::recent::Asked;
use super::standing::Follower;
use super::{Directory, DirectoryError, Recent, Resolved, Standing, hashing, password};
use crate::base::metric;
use crate::base::secret::Secret;
use crate::base::source::Source;
use understudy_proto::directory::{self, Credential, PASSWORD, Secret as Proof};
use understudy_proto::id::{AccountId, TenantId};

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
    /// account's app passwords), asked from `source`. `None` is "wrong", whichever of the two it was.
    /// The session must end when its [`Standing`] is lost.
    pub async fn authenticate(
        &self,
        name: &str,
        plain: &Secret<String>,
        source: Source,
    ) -> Result<Option<(Login, Standing)>, DirectoryError> {
        let Some((login, credentials, follower)) = self.named(name)? else {
            hash_and_compare(source, None, plain.clone(), None).await?;
            return Ok(None);
        };
        // App passwords are long random texts: one fast hash each, on this thread.
        let is_right = |c: &&Credential| password::is_app_password(&c.secret, plain);
        if let Some(app) = credentials.iter().find(is_right) {
            let standing = follower.standing(self, &login, app.clone(), None);
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
            let proof = password.as_ref().map(|password| password.secret.clone());
            let recent = tag.map(|tag| (self.recent.clone(), tag));
            if !hash_and_compare(source, proof, plain.clone(), recent).await? {
                return Ok(None);
            }
        }
        let Some(password) = password else { return Ok(None) };
        let stay = tag.map(|tag| self.recent.stay(tag));
        let standing = follower.standing(self, &login, password, stay);
        // It may have been changed while it was hashed.
        if !standing.stands() {
            return Ok(None);
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
    source: Source,
    proof: Option<Proof>,
    plain: Secret<String>,
    recent: Option<(Recent, [u8; 32])>,
) -> Result<bool, DirectoryError> {
    hashing::run(Some(source), move |bench| {
        // Another session of the same client may have been first.
        if recent.as_ref().is_some_and(|(recent, tag)| recent.knows(tag)) {
            metric::LOGINS_RECENT.inc();
            return Ok(true);
        }
        metric::PASSWORD_HASHES.inc();
        let Some(proof) = proof else {
            return password::hash(bench, &plain).map(|_| false);
        };
        let right = password::verify(bench, &proof, &plain);
        if let Some((recent, tag)) = recent.filter(|_| right) {
            recent.remember(tag);
        }
        Ok(right)
    })
    .await
    .inspect_err(|_full| metric::LOGINS_PUT_OFF.inc())?
    .map_err(|e| DirectoryError::Hash(e.to_string()))
}
