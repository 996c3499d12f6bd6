//! Sign-in: a name and a password become a [`Login`].

use super::recent::Asked;
use super::standing::{Follower, wants_code};
use super::{Directory, DirectoryError, Recent, Resolved, Standing, hashing, password};
use crate::base::clock;
use crate::base::metric;
use crate::base::secret::Secret;
use crate::base::source::Source;
use understudy_proto::directory::{self, Held, PASSWORD, Secret as Proof};
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

/// What `name` means, before anything is proved.
pub(super) struct Named {
    pub(super) login: Login,
    /// What can open the account, also what is over.
    pub(super) held: Vec<Held>,
    pub(super) follower: Follower,
}

/// A person's password that was right.
pub(super) struct Right {
    password: Held,
    tag: Option<[u8; 32]>,
}

impl Directory {
    /// Checks a name (any address of the account) and a password, asked from `source`: one of the
    /// account's app passwords, or the person's where no second factor is wanted (programs cannot ask
    /// for a code). `None` is "wrong", whatever of it was. The session must end when its [`Standing`]
    /// is lost.
    pub async fn authenticate(
        &self,
        name: &str,
        plain: &Secret<String>,
        source: Source,
    ) -> Result<Option<(Login, Standing)>, DirectoryError> {
        let named = self.named(name)?;
        // App passwords are long random texts: one fast hash each, on this thread.
        let now = clock::now_ms();
        let is_right =
            |h: &&Held| !h.is_over(now) && password::is_app_password(&h.credential.secret, plain);
        let app = named.as_ref().and_then(|named| named.held.iter().find(is_right).cloned());
        let named = match (named, app) {
            (Some(named), Some(app)) => {
                let standing = named.follower.standing(self, &named.login, app, None);
                return Ok(Some((named.login, standing)));
            }
            (named, _) => named,
        };
        // As long for a name that nobody has.
        let right = self.check_password(name, plain, source, named.as_ref()).await?;
        let (Some(named), Some(right)) = (named, right) else { return Ok(None) };
        if wants_code(&named.held) {
            log::info!(
                tenant:% = named.login.tenant,
                account:% = named.login.account;
                "a program has the right password, but this account has a second factor: it needs an app password"
            );
            return Ok(None);
        }
        let stay = right.tag.map(|tag| self.recent.stay(tag));
        let standing = named.follower.standing(self, &named.login, right.password, stay);
        // It may have been changed while it was hashed.
        Ok(standing.stands().then_some((named.login, standing)))
    }

    /// Whether `plain` is the person's password.
    pub(super) async fn check_password(
        &self,
        name: &str,
        plain: &Secret<String>,
        source: Source,
        named: Option<&Named>,
    ) -> Result<Option<Right>, DirectoryError> {
        let Some(Named { login, held, .. }) = named else {
            hash_and_compare(source, None, plain.clone(), None).await?;
            return Ok(None);
        };
        let password = held.iter().find(|h| h.credential.id == PASSWORD).cloned();
        let tag = password.as_ref().and_then(|password| {
            let proof = &password.credential.secret;
            let (tenant, account) = (login.tenant, login.account);
            self.recent.tag(&Asked { tenant, account, credential: PASSWORD, proof, name, plain })
        });
        if tag.as_ref().is_some_and(|tag| self.recent.knows(tag)) {
            metric::LOGINS_RECENT.inc();
        } else {
            let proof = password.as_ref().map(|password| password.credential.secret.clone());
            let recent = tag.map(|tag| (self.recent.clone(), tag));
            if !hash_and_compare(source, proof, plain.clone(), recent).await? {
                return Ok(None);
            }
        }
        Ok(password.map(|password| Right { password, tag }))
    }

    /// Whom `name` means, and what can open that account. Whoever changes it from now on is heard.
    pub(super) fn named(&self, name: &str) -> Result<Option<Named>, DirectoryError> {
        match self.resolve(name)? {
            Resolved::Account { tenant, account } => self.account_of(tenant, account),
            _ => Ok(None),
        }
    }

    /// The same of an account.
    pub(super) fn account_of(
        &self,
        tenant: TenantId,
        account: AccountId,
    ) -> Result<Option<Named>, DirectoryError> {
        let follower = self.follow(tenant, account);
        let view = self.store.read(tenant)?;
        let Some(row) = directory::account(&view, account)?.filter(|a| !a.closed) else {
            return Ok(None);
        };
        let held = directory::held(&view, account)?;
        let login = Login { tenant, account, address: row.address };
        Ok(Some(Named { login, held, follower }))
    }
}

/// Compares on the thread for hashes. Without a proof the same work is done for nothing, so that time
/// does not tell which names exist.
pub(super) async fn hash_and_compare(
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
