//! Changes of the directory and what they do to the rows.

use super::quota::{QuotaLimit, key_limit};
use super::rows::{
    self, Account, Address, Credential, KEY_LAST_ACCOUNT, KEY_LAST_TENANT, Operator, TOTP, Tenant,
    key_account, key_address, key_administrator, key_credential, key_domain, key_last,
    key_operator, key_tenant,
};
use super::sign_in_topic;
use crate::codec;
use crate::id::{AccountId, TenantId};
use crate::keys::KeysMut;
use crate::mailbox;
use crate::merge;
use crate::record::Kind;
use crate::rule::{Apply, ApplyError, Position};
use crate::time::UnixMs;
use serde::{Deserialize, Serialize};

/// Variants may only be added at the end ([`crate::codec`]).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Change {
    CreateTenant(Tenant),
    SetDomain {
        domain: String,
        owner: Option<TenantId>,
    },
    CreateAccount(Account),
    CloseAccount(AccountId),
    SetAlias {
        address: String,
        account: Option<AccountId>,
    },
    SetCredential {
        account: AccountId,
        credential: Credential,
    },
    RevokeCredential {
        account: AccountId,
        id: u32,
    },
    /// [`Change::SetDomain`] that says when, so that a merge knows which was later.
    SetDomainAt {
        domain: String,
        owner: Option<TenantId>,
        when: UnixMs,
    },
    /// [`Change::SetAlias`], likewise.
    SetAliasAt {
        address: String,
        account: Option<AccountId>,
        when: UnixMs,
    },
    /// Merge: an account that was created on both sides has the other one's attributes.
    Describe {
        account: AccountId,
        name: String,
        created: UnixMs,
    },
    /// A session comes, or none; what is over, or gives way to it, goes.
    Turn {
        account: AccountId,
        came: Option<Credential>,
        gone: Vec<u32>,
    },
    /// A session was used, or a step of TOTP.
    Used {
        account: AccountId,
        id: u32,
        last: u64,
    },
    /// How many bytes an account's mail may take; of nobody: the tenant's default.
    SetQuota {
        account: Option<AccountId>,
        limit: QuotaLimit,
        when: UnixMs,
    },
    /// An operator comes, has another password, or goes.
    SetOperatorAt {
        name: String,
        operator: Option<Operator>,
        when: UnixMs,
    },
    /// An account becomes an administrator of its tenant, or is none any more.
    SetAdministrator {
        account: AccountId,
        on: bool,
    },
}

/// The kind [`Kind::DIRECTORY`].
#[derive(Clone, Copy, Debug, Default)]
pub struct DirectoryRules;

impl Apply for DirectoryRules {
    fn kind(&self) -> Kind {
        Kind::DIRECTORY
    }

    fn apply(&self, keys: &mut dyn KeysMut, at: Position, change: &[u8]) -> Result<(), ApplyError> {
        let change = codec::decode("change of the directory", change)?;
        if let Some((object, when)) = object(&change) {
            merge::changed(keys, at, &object, when)?;
        }
        match change {
            Change::CreateTenant(tenant) => {
                keys.put(KEY_LAST_TENANT, &codec::encode(&tenant.id))?;
                keys.put(&key_tenant(tenant.id), &codec::encode(&tenant))?;
            }
            Change::SetDomain { domain, owner } | Change::SetDomainAt { domain, owner, .. } => {
                match owner {
                    Some(owner) => keys.put(&key_domain(&domain), &codec::encode(&owner))?,
                    None => keys.delete(&key_domain(&domain))?,
                }
            }
            Change::CreateAccount(account) => create_account(keys, &account)?,
            Change::CloseAccount(id) => close_account(keys, id)?,
            Change::SetAlias { address, account } | Change::SetAliasAt { address, account, .. } => {
                match account.map(|account| Address { account, alias: true }) {
                    Some(row) => keys.put(&key_address(&address), &codec::encode(&row))?,
                    None => keys.delete(&key_address(&address))?,
                }
            }
            Change::SetCredential { account, credential } => {
                let key = key_credential(account, credential.id);
                keys.put(&key, &codec::encode(&credential))?;
                keys.wake(sign_in_topic(account));
            }
            Change::RevokeCredential { account, id } => {
                revoke(keys, account, id)?;
                keys.wake(sign_in_topic(account));
            }
            Change::Turn { account, came, gone } => {
                for id in gone {
                    revoke(keys, account, id)?;
                }
                if let Some(came) = came {
                    keys.put(&key_credential(account, came.id), &codec::encode(&came))?;
                }
                keys.wake(sign_in_topic(account));
            }
            // Whoever waits for the end of a session looks again by then.
            Change::Used { account, id, last } => {
                keys.put(&key_last(account, id), &codec::encode(&last))?;
            }
            Change::SetQuota { account, limit, .. } => {
                match limit {
                    QuotaLimit::Inherited => keys.delete(&key_limit(account))?,
                    limit => keys.put(&key_limit(account), &codec::encode(&limit))?,
                }
                // JMAP tells it to whom it is about.
                match account {
                    Some(account) => keys.wake(u64::from(account.0)),
                    None => {
                        for account in rows::accounts(keys)? {
                            keys.wake(u64::from(account.id.0));
                        }
                    }
                }
            }
            Change::SetOperatorAt { name, operator, .. } => match operator {
                Some(operator) => keys.put(&key_operator(&name), &codec::encode(&operator))?,
                None => keys.delete(&key_operator(&name))?,
            },
            Change::SetAdministrator { account, on: true } => {
                keys.put(&key_administrator(account), &codec::encode(&()))?;
            }
            Change::SetAdministrator { account, on: false } => {
                keys.delete(&key_administrator(account))?;
            }
            Change::Describe { account, name, created } => {
                let row = rows::account(keys, account)?.ok_or(ApplyError::Missing("an account"))?;
                keys.put(&key_account(account), &codec::encode(&Account { name, created, ..row }))?;
            }
        }
        Ok(())
    }
}

/// The row of which both sides may have a version, and when this change made its own.
fn object(change: &Change) -> Option<(Vec<u8>, UnixMs)> {
    Some(match change {
        Change::SetDomainAt { domain, when, .. } => (key_domain(domain), *when),
        Change::SetAliasAt { address, when, .. } => (key_address(address), *when),
        Change::SetCredential { account, credential } => {
            (key_credential(*account, credential.id), credential.created)
        }
        Change::Turn { account, came: Some(credential), .. } => {
            (key_credential(*account, credential.id), credential.created)
        }
        Change::SetQuota { account, when, .. } => (key_limit(*account), *when),
        Change::SetOperatorAt { name, when, .. } => (key_operator(name), *when),
        Change::SetAdministrator { account, .. } => (key_administrator(*account), UnixMs(0)),
        Change::RevokeCredential { account, id } => (key_credential(*account, *id), UnixMs(0)),
        _ => return None,
    })
}

fn create_account(keys: &mut dyn KeysMut, account: &Account) -> Result<(), ApplyError> {
    keys.put(KEY_LAST_ACCOUNT, &codec::encode(&account.id))?;
    keys.put(&key_account(account.id), &codec::encode(account))?;
    let row = Address { account: account.id, alias: false };
    keys.put(&key_address(&account.address), &codec::encode(&row))?;
    // RFC 9051 2.3.1.1: the second of its creation, as for any new mailbox.
    let uid_validity = u32::try_from(account.created.0 / 1_000).unwrap_or(u32::MAX).max(1);
    mailbox::create_account_rows(keys, account.id, uid_validity)?;
    Ok(())
}

fn revoke(keys: &mut dyn KeysMut, account: AccountId, id: u32) -> Result<(), ApplyError> {
    keys.delete(&key_credential(account, id))?;
    if id != TOTP {
        // Numbers are given again: the last use was another's. A step of TOTP stays used.
        keys.delete(&key_last(account, id))?;
    }
    Ok(())
}

fn close_account(keys: &mut dyn KeysMut, id: AccountId) -> Result<(), ApplyError> {
    let mut account = rows::account(keys, id)?.ok_or(ApplyError::Missing("an account"))?;
    account.closed = true;
    keys.put(&key_account(id), &codec::encode(&account))?;
    keys.delete(&key_address(&account.address))?;
    for (address, owner) in rows::aliases(keys)? {
        if owner == id {
            keys.delete(&key_address(&address))?;
        }
    }
    for credential in rows::credentials(keys, id)? {
        revoke(keys, id, credential.id)?;
    }
    keys.delete(&key_last(id, TOTP))?;
    keys.delete(&key_administrator(id))?;
    keys.wake(sign_in_topic(id));
    Ok(())
}
