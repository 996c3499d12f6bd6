//! What operators do to the directory. Each call is one change, committed when it returns.

use super::{Directory, DirectoryError, Login, Resolved, hashing, password};
use crate::base::clock;
use crate::base::secret::Secret;
use crate::base::source::Source;
use crate::store::PrimaryLease;
use std::collections::BTreeSet;
use understudy_proto::directory::{
    self, Account, AddAlias, AddAppPassword, AddDomain, CloseAccount, CreateAccount, CreateTenant,
    DirectoryRefusal, Held, QuotaLimit, RemoveAlias, RemoveDomain, RevokeCredential,
    Secret as Proof, SetAdministrator, SetPassword, SetQuota, Sweep, TOTP, Tenant,
};
use understudy_proto::id::{AccountId, TenantId};
use understudy_proto::mailbox::{self, Quota};
use understudy_proto::rule::Command;
use understudy_proto::time::UnixMs;

/// A person's password has at least this many characters.
const PASSWORD_LEN_MIN: usize = 10;
const DAY_MS: u64 = 24 * 60 * 60 * 1_000;
/// And at most this many bytes: hashing is not for essays.
const PASSWORD_LEN_MAX: usize = 1_000;

/// Longest life of an app password that has an end, in days.
pub const APP_PASSWORD_DAYS_MAX: u32 = 3_660;

/// A fresh app password: shown once, kept by nobody.
#[derive(Debug)]
pub struct NewAppPassword {
    /// Its number within the account, to revoke it by.
    pub id: u32,
    /// The password.
    pub plain: Secret<String>,
}

/// Hashes a password that a person has chosen, if it is neither too short nor too long.
pub(super) async fn hash_chosen(
    plain: Secret<String>,
    source: Option<Source>,
) -> Result<Proof, DirectoryError> {
    let len = plain.expose().len();
    if plain.expose().chars().count() < PASSWORD_LEN_MIN || len > PASSWORD_LEN_MAX {
        return Err(DirectoryError::PasswordLength {
            min: PASSWORD_LEN_MIN,
            max: PASSWORD_LEN_MAX,
        });
    }
    hashing::run(source, move |bench| password::hash(bench, &plain))
        .await?
        .map_err(|e| DirectoryError::Hash(e.to_string()))
}

impl Directory {
    /// Creates a tenant. Its data key is durable on every insync node before it exists.
    pub async fn create_tenant(
        &self,
        lease: &PrimaryLease,
        name: &str,
    ) -> Result<TenantId, DirectoryError> {
        let id = CreateTenant::next_id(&self.store.read(TenantId::SYSTEM)?, self.store.node())?;
        let version = self.store.keyring().add(id)?;
        self.replicated(lease, version).await?;
        let command = CreateTenant { id, name: name.to_owned() };
        self.write(lease, TenantId::SYSTEM, command).await
    }

    /// All tenants.
    pub fn tenants(&self) -> Result<Vec<Tenant>, DirectoryError> {
        let all = directory::tenants(&self.store.read(TenantId::SYSTEM)?)?;
        Ok(all.into_iter().filter(|tenant| self.sees(tenant.id)).collect())
    }

    /// The tenant of that name (without regard to case), or with that number.
    pub fn find_tenant(&self, name: &str) -> Result<Tenant, DirectoryError> {
        let all = self.tenants()?;
        let named = all.iter().find(|t| t.name.to_lowercase() == name.to_lowercase());
        named
            .or_else(|| all.iter().find(|t| t.id.to_string() == name))
            .cloned()
            .ok_or_else(|| DirectoryRefusal::Missing(format!("tenant {name}")).into())
    }

    /// Gives a domain to a tenant.
    pub async fn add_domain(
        &self,
        lease: &PrimaryLease,
        tenant: TenantId,
        domain: &str,
    ) -> Result<(), DirectoryError> {
        let command = AddDomain { tenant, domain: domain.to_owned() };
        self.write(lease, TenantId::SYSTEM, command).await
    }

    /// Takes a domain away.
    pub async fn remove_domain(
        &self,
        lease: &PrimaryLease,
        domain: &str,
    ) -> Result<(), DirectoryError> {
        let canonical = directory::canonical_domain(domain)?;
        if let Some(owner) = self.domain_owner(&canonical)? {
            let ours = |address: &str| address.ends_with(&format!("@{canonical}"));
            let accounts = self.accounts(owner)?.into_iter().filter(|a| !a.closed);
            let mut used = accounts
                .map(|a| a.address)
                .chain(self.aliases(owner)?.into_iter().map(|(alias, _)| alias));
            if let Some(address) = used.find(|address| ours(address)) {
                return Err(DirectoryError::DomainInUse(address));
            }
        }
        self.write(lease, TenantId::SYSTEM, RemoveDomain { domain: domain.to_owned() }).await
    }

    /// All domains and whose they are.
    pub fn domains(&self) -> Result<Vec<(String, TenantId)>, DirectoryError> {
        let all = directory::domains(&self.store.read(TenantId::SYSTEM)?)?;
        Ok(all.into_iter().filter(|(_, owner)| self.sees(*owner)).collect())
    }

    /// Creates an account; the address's domain says for which tenant.
    pub async fn create_account(
        &self,
        lease: &PrimaryLease,
        address: &str,
        name: &str,
    ) -> Result<Login, DirectoryError> {
        let tenant = self.owner_of(address)?;
        let command = CreateAccount { address: address.to_owned(), name: name.to_owned() };
        let account = self.write(lease, tenant, command).await?;
        Ok(Login { tenant, account, address: directory::canonical_address(address)? })
    }

    /// The accounts of a tenant, closed ones too.
    pub fn accounts(&self, tenant: TenantId) -> Result<Vec<Account>, DirectoryError> {
        Ok(directory::accounts(&self.store.read(tenant)?)?)
    }

    /// The aliases of a tenant with the main address of each one's account.
    pub fn aliases(&self, tenant: TenantId) -> Result<Vec<(String, String)>, DirectoryError> {
        let view = self.store.read(tenant)?;
        let mut all = Vec::new();
        for (alias, account) in directory::aliases(&view)? {
            let main = directory::account(&view, account)?.map(|a| a.address).unwrap_or_default();
            all.push((alias, main));
        }
        Ok(all)
    }

    /// Closes an account: its addresses and credentials go, its mail is kept.
    pub async fn close_account(
        &self,
        lease: &PrimaryLease,
        address: &str,
    ) -> Result<(), DirectoryError> {
        let (tenant, account) = self.find_account(address)?;
        self.write(lease, tenant, CloseAccount { account }).await
    }

    /// Says how many bytes an account's mail may take.
    pub async fn set_account_quota(
        &self,
        lease: &PrimaryLease,
        address: &str,
        limit: QuotaLimit,
    ) -> Result<(), DirectoryError> {
        let (tenant, account) = self.find_account(address)?;
        self.write(lease, tenant, SetQuota { account: Some(account), limit }).await
    }

    /// Says how many bytes the mail of those may take of whom nothing else is said.
    pub async fn set_tenant_quota(
        &self,
        lease: &PrimaryLease,
        tenant: TenantId,
        limit: QuotaLimit,
    ) -> Result<(), DirectoryError> {
        self.write(lease, tenant, SetQuota { account: None, limit }).await
    }

    /// What is said of an account's limit, what it takes and what it may take.
    pub fn account_quota(&self, address: &str) -> Result<(QuotaLimit, Quota), DirectoryError> {
        let (tenant, account) = self.find_account(address)?;
        let view = self.store.read(tenant)?;
        let said = directory::quota_said(&view, Some(account))?;
        Ok((said, mailbox::quota(&view, account)?))
    }

    /// What is said of a tenant's default limit.
    pub fn tenant_quota(&self, tenant: TenantId) -> Result<QuotaLimit, DirectoryError> {
        Ok(directory::quota_said(&self.store.read(tenant)?, None)?)
    }

    /// Makes an account an administrator of its tenant, or none any more.
    pub async fn set_administrator(
        &self,
        lease: &PrimaryLease,
        address: &str,
        on: bool,
    ) -> Result<(), DirectoryError> {
        let (tenant, account) = self.find_account(address)?;
        self.write(lease, tenant, SetAdministrator { account, on }).await
    }

    /// The administrators of a tenant.
    pub fn administrators(&self, tenant: TenantId) -> Result<BTreeSet<AccountId>, DirectoryError> {
        Ok(directory::administrators(&self.store.read(tenant)?)?)
    }

    /// Whether who is signed in is an administrator of their tenant.
    pub fn is_administrator(&self, login: &Login) -> Result<bool, DirectoryError> {
        Ok(directory::is_administrator(&self.store.read(login.tenant)?, login.account)?)
    }

    /// Gives an account another address, in any domain of its tenant.
    pub async fn add_alias(
        &self,
        lease: &PrimaryLease,
        alias: &str,
        address: &str,
    ) -> Result<(), DirectoryError> {
        let (tenant, account) = self.find_account(address)?;
        let canonical = directory::canonical_address(alias)?;
        let (_, domain) = directory::split_address(&canonical)?;
        if self.domain_owner(domain)? != Some(tenant) {
            let what = format!("domain {domain} of the account's tenant");
            return Err(DirectoryRefusal::Missing(what).into());
        }
        self.write(lease, tenant, AddAlias { address: alias.to_owned(), account }).await
    }

    /// Takes an alias away.
    pub async fn remove_alias(
        &self,
        lease: &PrimaryLease,
        alias: &str,
    ) -> Result<(), DirectoryError> {
        let tenant = self.owner_of(alias)?;
        self.write(lease, tenant, RemoveAlias { address: alias.to_owned() }).await
    }

    /// Sets a person's password.
    pub async fn set_password(
        &self,
        lease: &PrimaryLease,
        address: &str,
        plain: Secret<String>,
    ) -> Result<(), DirectoryError> {
        let at = self.find_account(address)?;
        self.set_password_of(lease, at, plain, None).await
    }

    /// The same for an account, asked from `source`.
    pub(super) async fn set_password_of(
        &self,
        lease: &PrimaryLease,
        (tenant, account): (TenantId, AccountId),
        plain: Secret<String>,
        source: Option<Source>,
    ) -> Result<(), DirectoryError> {
        let secret = hash_chosen(plain, source).await?;
        self.write(lease, tenant, SetPassword { account, secret }).await
    }

    /// Makes an app password for one device. It ends after `days`, at most
    /// [`APP_PASSWORD_DAYS_MAX`]; never where that is `None`.
    pub async fn add_app_password(
        &self,
        lease: &PrimaryLease,
        address: &str,
        label: &str,
        days: Option<u32>,
    ) -> Result<NewAppPassword, DirectoryError> {
        let at = self.find_account(address)?;
        self.add_app_password_of(lease, at, label, days).await
    }

    pub(super) async fn add_app_password_of(
        &self,
        lease: &PrimaryLease,
        (tenant, account): (TenantId, AccountId),
        label: &str,
        days: Option<u32>,
    ) -> Result<NewAppPassword, DirectoryError> {
        let until = days.map(|days| {
            let days = u64::from(days.min(APP_PASSWORD_DAYS_MAX));
            UnixMs(clock::now_ms().0.saturating_add(days * DAY_MS))
        });
        let (plain, secret) = password::new_app_password(until);
        let command = AddAppPassword { account, label: label.to_owned(), secret };
        let id = self.write(lease, tenant, command).await?;
        Ok(NewAppPassword { id, plain })
    }

    /// An account's credentials, also those that are over, without their secrets' content.
    pub fn credentials(&self, address: &str) -> Result<Vec<Held>, DirectoryError> {
        let (tenant, account) = self.find_account(address)?;
        Ok(directory::held(&self.store.read(tenant)?, account)?)
    }

    /// Takes the second factor away: the person has lost what shows the codes.
    pub async fn reset_totp(
        &self,
        lease: &PrimaryLease,
        address: &str,
    ) -> Result<(), DirectoryError> {
        let (tenant, account) = self.find_account(address)?;
        let missing = || DirectoryRefusal::Missing(format!("second factor of {address}"));
        if !self.credentials(address)?.iter().any(|held| held.credential.id == TOTP) {
            return Err(missing().into());
        }
        self.write(lease, tenant, RevokeCredential { account, id: TOTP }).await
    }

    /// Removes the rows of what is over, in all tenants; each account is a change of its own. The
    /// answer is how many went.
    pub async fn sweep_credentials(&self, lease: &PrimaryLease) -> Result<usize, DirectoryError> {
        let mut count = 0;
        for tenant in self.tenants()? {
            for account in self.accounts(tenant.id)? {
                let held = directory::held(&self.store.read(tenant.id)?, account.id)?;
                if held.iter().any(|h| h.is_over(clock::now_ms())) {
                    count += self.write(lease, tenant.id, Sweep { account: account.id }).await?;
                }
            }
        }
        Ok(count)
    }

    /// Revokes a credential.
    pub async fn revoke_credential(
        &self,
        lease: &PrimaryLease,
        address: &str,
        id: u32,
    ) -> Result<(), DirectoryError> {
        let (tenant, account) = self.find_account(address)?;
        self.write(lease, tenant, RevokeCredential { account, id }).await
    }

    fn owner_of(&self, address: &str) -> Result<TenantId, DirectoryError> {
        let canonical = directory::canonical_address(address)?;
        let (_, domain) = directory::split_address(&canonical)?;
        self.domain_owner(domain)?
            .ok_or_else(|| DirectoryRefusal::Missing(format!("domain {domain} here")).into())
    }

    fn find_account(&self, address: &str) -> Result<(TenantId, AccountId), DirectoryError> {
        match self.resolve(address)? {
            Resolved::Account { tenant, account } => Ok((tenant, account)),
            _ => Err(DirectoryRefusal::Missing(format!("account {address}")).into()),
        }
    }

    /// Waits until a version of the keyring is durable wherever it must be.
    pub(super) async fn replicated(
        &self,
        lease: &PrimaryLease,
        version: u64,
    ) -> Result<(), DirectoryError> {
        tokio::select! {
            () = self.store.keyring().replicated(version) => Ok(()),
            // Only a primary is told: without the lease nobody would end the wait.
            () = lease.revoked() => Err(DirectoryError::NotWritten(
                "primacy ended before the tenant's key was on both appliances".to_owned(),
            )),
        }
    }

    /// One change, committed and visible on this node when it returns.
    pub(super) async fn write<C>(
        &self,
        lease: &PrimaryLease,
        tenant: TenantId,
        command: C,
    ) -> Result<C::Answer, DirectoryError>
    where
        C: Command<Refusal = DirectoryRefusal>,
    {
        let written = self.store.write(lease, tenant, command).await?;
        self.store.applied(tenant, written.lsn).await?;
        Ok(written.answer)
    }
}
