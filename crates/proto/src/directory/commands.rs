//! What can be asked of the directory, and how each is decided.

use super::address::{AddressError, canonical_address, canonical_domain};
use super::apply::Change;
use super::rows::{self, Account, Tenant};
use super::{APP_PASSWORDS_MAX, LABEL_LEN_MAX, OPERATOR_NAME_LEN_MAX, OPERATORS_MAX, PASSKEYS_MAX};
use crate::codec;
use crate::id::{AccountId, NodeId, TenantId};
use crate::keys::Keys;
use crate::mailbox;
use crate::record::Kind;
use crate::rule::{Command, DecideError, Decision, Moment};

/// Why a command on the directory is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DirectoryRefusal {
    /// The name is taken.
    #[error("{0} exists already")]
    Exists(String),
    /// What is named is not there.
    #[error("there is no {0}")]
    Missing(String),
    /// The text is no address or domain.
    #[error("{0}")]
    Address(#[from] AddressError),
    /// The text cannot be a name.
    #[error("a name has 1 to {LABEL_LEN_MAX} bytes and no control characters")]
    Name,
    /// An account's main address goes with the account alone.
    #[error("this is the account's main address; only aliases are removed")]
    MainAddress,
    /// A bound is reached.
    #[error("an account has at most {APP_PASSWORDS_MAX} app passwords; revoke one first")]
    TooManyCredentials,
    /// The text cannot be an operator's name.
    #[error("an operator's name has 1 to {OPERATOR_NAME_LEN_MAX} of a-z, 0-9, `.`, `_` and `-`")]
    OperatorName,
    /// A bound is reached.
    #[error("there are at most {OPERATORS_MAX} operators; remove one first")]
    TooManyOperators,
    /// Likewise.
    #[error("an account has at most {PASSKEYS_MAX} passkeys; remove one first")]
    TooManyPasskeys,
    /// RFC 6238 5.2: a code opens once.
    #[error("this code was used before")]
    UsedCode,
}

pub(super) type Refused<A> = Result<Decision<A>, DecideError<DirectoryRefusal>>;

pub(super) fn refuse<T>(
    why: impl Into<DirectoryRefusal>,
) -> Result<T, DecideError<DirectoryRefusal>> {
    Err(DecideError::Refused(why.into()))
}

pub(super) fn decided<A>(change: &Change, answer: A) -> Refused<A> {
    Ok(Decision { change: Some(codec::encode(change)), answer })
}

pub(super) fn check_label(label: &str) -> Result<(), DecideError<DirectoryRefusal>> {
    if label.is_empty() || label.len() > LABEL_LEN_MAX || label.chars().any(char::is_control) {
        return refuse(DirectoryRefusal::Name);
    }
    Ok(())
}

fn canonical(address: &str) -> Result<String, DecideError<DirectoryRefusal>> {
    canonical_address(address).or_else(refuse)
}

pub(super) fn open_account(
    keys: &dyn Keys,
    id: AccountId,
) -> Result<Account, DecideError<DirectoryRefusal>> {
    match rows::account(keys, id)? {
        Some(account) if !account.closed => Ok(account),
        _ => refuse(DirectoryRefusal::Missing(format!("account {id}"))),
    }
}

/// System: a tenant begins. Its data key must be in the keyring before (src/directory sees to it).
#[derive(Clone, Debug)]
pub struct CreateTenant {
    /// Its id, as its key was made for.
    pub id: TenantId,
    /// Its name.
    pub name: String,
}

impl CreateTenant {
    /// The first id above all that were given: where a merge begins to count.
    pub fn first_free_id(keys: &dyn Keys) -> Result<TenantId, mailbox::RowError> {
        Ok(rows::last_tenant(keys)?.next())
    }

    /// The id that the next tenant gets when `node` creates it: even ones are node 0's, odd ones
    /// node 1's. A key that was made right before a crash is then never of the same tenant as one
    /// that the other node made meanwhile.
    pub fn next_id(keys: &dyn Keys, node: NodeId) -> Result<TenantId, mailbox::RowError> {
        Ok(Self::id_of(Self::first_free_id(keys)?, node))
    }

    /// The first of `node`'s ids from `next` on.
    #[must_use]
    pub fn id_of(next: TenantId, node: NodeId) -> TenantId {
        if next.0 & 1 == u32::from(node.0 & 1) { next } else { next.next() }
    }
}

impl Command for CreateTenant {
    const KIND: Kind = Kind::DIRECTORY;
    type Answer = TenantId;
    type Refusal = DirectoryRefusal;

    fn decide(&self, keys: &dyn Keys, moment: Moment) -> Refused<TenantId> {
        check_label(&self.name)?;
        let taken =
            rows::tenants(keys)?.iter().any(|t| t.name.to_lowercase() == self.name.to_lowercase());
        if taken || rows::last_tenant(keys)? >= self.id {
            return refuse(DirectoryRefusal::Exists(format!("tenant {}", self.name)));
        }
        let tenant = Tenant { id: self.id, name: self.name.clone(), created: moment.now };
        decided(&Change::CreateTenant(tenant), self.id)
    }
}

/// System: a domain belongs to a tenant.
#[derive(Clone, Debug)]
pub struct AddDomain {
    /// Whose.
    pub tenant: TenantId,
    /// The domain.
    pub domain: String,
}

impl Command for AddDomain {
    const KIND: Kind = Kind::DIRECTORY;
    type Answer = ();
    type Refusal = DirectoryRefusal;

    fn decide(&self, keys: &dyn Keys, moment: Moment) -> Refused<()> {
        let domain = canonical_domain(&self.domain).or_else(refuse)?;
        if rows::tenant(keys, self.tenant)?.is_none() {
            return refuse(DirectoryRefusal::Missing(format!("tenant {}", self.tenant)));
        }
        if rows::domain_owner(keys, &domain)?.is_some() {
            return refuse(DirectoryRefusal::Exists(format!("domain {domain}")));
        }
        let (owner, when) = (Some(self.tenant), moment.now);
        decided(&Change::SetDomainAt { domain, owner, when }, ())
    }
}

/// System: a domain is no longer ours. Addresses in it stay in the tenant, unreachable.
#[derive(Clone, Debug)]
pub struct RemoveDomain {
    /// The domain.
    pub domain: String,
}

impl Command for RemoveDomain {
    const KIND: Kind = Kind::DIRECTORY;
    type Answer = ();
    type Refusal = DirectoryRefusal;

    fn decide(&self, keys: &dyn Keys, moment: Moment) -> Refused<()> {
        let domain = canonical_domain(&self.domain).or_else(refuse)?;
        if rows::domain_owner(keys, &domain)?.is_none() {
            return refuse(DirectoryRefusal::Missing(format!("domain {domain}")));
        }
        decided(&Change::SetDomainAt { domain, owner: None, when: moment.now }, ())
    }
}

/// Tenant: an account begins, with its mailboxes. The caller checks that the domain is the tenant's.
#[derive(Clone, Debug)]
pub struct CreateAccount {
    /// Its main address.
    pub address: String,
    /// The person's name.
    pub name: String,
}

impl Command for CreateAccount {
    const KIND: Kind = Kind::DIRECTORY;
    type Answer = AccountId;
    type Refusal = DirectoryRefusal;

    fn decide(&self, keys: &dyn Keys, moment: Moment) -> Refused<AccountId> {
        check_label(&self.name)?;
        let address = canonical(&self.address)?;
        if rows::address(keys, &address)?.is_some() {
            return refuse(DirectoryRefusal::Exists(format!("address {address}")));
        }
        let id = rows::last_account(keys)?.next();
        let name = self.name.clone();
        let account = Account { id, address, name, created: moment.now, closed: false };
        decided(&Change::CreateAccount(account), id)
    }
}

/// Tenant: an account ends. Its mail is kept; its addresses and credentials go.
#[derive(Clone, Copy, Debug)]
pub struct CloseAccount {
    /// Which.
    pub account: AccountId,
}

impl Command for CloseAccount {
    const KIND: Kind = Kind::DIRECTORY;
    type Answer = ();
    type Refusal = DirectoryRefusal;

    fn decide(&self, keys: &dyn Keys, _moment: Moment) -> Refused<()> {
        open_account(keys, self.account)?;
        decided(&Change::CloseAccount(self.account), ())
    }
}

/// Tenant: another address of an account.
#[derive(Clone, Debug)]
pub struct AddAlias {
    /// The new address.
    pub address: String,
    /// Whose.
    pub account: AccountId,
}

impl Command for AddAlias {
    const KIND: Kind = Kind::DIRECTORY;
    type Answer = ();
    type Refusal = DirectoryRefusal;

    fn decide(&self, keys: &dyn Keys, moment: Moment) -> Refused<()> {
        let address = canonical(&self.address)?;
        open_account(keys, self.account)?;
        if rows::address(keys, &address)?.is_some() {
            return refuse(DirectoryRefusal::Exists(format!("address {address}")));
        }
        let (account, when) = (Some(self.account), moment.now);
        decided(&Change::SetAliasAt { address, account, when }, ())
    }
}

/// Tenant: an alias goes.
#[derive(Clone, Debug)]
pub struct RemoveAlias {
    /// The address.
    pub address: String,
}

impl Command for RemoveAlias {
    const KIND: Kind = Kind::DIRECTORY;
    type Answer = ();
    type Refusal = DirectoryRefusal;

    fn decide(&self, keys: &dyn Keys, moment: Moment) -> Refused<()> {
        let address = canonical(&self.address)?;
        match rows::address(keys, &address)? {
            None => refuse(DirectoryRefusal::Missing(format!("address {address}"))),
            Some(found) if !found.alias => refuse(DirectoryRefusal::MainAddress),
            Some(_) => {
                decided(&Change::SetAliasAt { address, account: None, when: moment.now }, ())
            }
        }
    }
}
