//! The rows of the directory and how they are read.

use crate::codec::{self, Key};
use crate::id::{AccountId, TenantId};
use crate::keys::Keys;
use crate::mailbox::RowError;
use crate::time::UnixMs;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::ControlFlow;

/// A customer organisation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tenant {
    /// Its id, given once.
    pub id: TenantId,
    /// Its name, unique without regard to case.
    pub name: String,
    /// When it was created.
    pub created: UnixMs,
}

/// A person's (or a function's) account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Its id, given once within the tenant.
    pub id: AccountId,
    /// Its main address, canonical.
    pub address: String,
    /// The person's name.
    pub name: String,
    /// When it was created.
    pub created: UnixMs,
    /// A closed account has no addresses and no credentials; its mail is kept.
    pub closed: bool,
}

/// What an address leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    /// Whose it is.
    pub account: AccountId,
    /// Whether it is an alias; the main address is none.
    pub alias: bool,
}

/// How a credential is proved. Never shown: [`fmt::Debug`] is redacted in all builds. Variants may only be
/// added at the end ([`crate::codec`]).
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Secret {
    /// A person's password as an argon2id PHC string.
    Argon2id(String),
    /// A machine-made app password: keyed BLAKE3 of it under a salt of its own.
    Blake3 {
        /// The key.
        salt: [u8; 32],
        /// The keyed hash.
        hash: [u8; 32],
    },
    /// [`Secret::Blake3`] that opens nothing from a time on.
    Blake3Until {
        /// The key.
        salt: [u8; 32],
        /// The keyed hash.
        hash: [u8; 32],
        /// When it ends.
        until: UnixMs,
    },
    /// A web session: BLAKE3 of its token, which is random, under a key of that purpose.
    Session {
        /// The hash.
        hash: [u8; 32],
        /// Whether the person said that the device is their own.
        own_device: bool,
    },
    /// What codes are computed from (RFC 6238). Whoever signs in must know them from the time on that
    /// the person has shown one.
    Totp {
        /// The shared secret.
        key: [u8; 20],
        /// Whether one was shown.
        confirmed: bool,
    },
    /// A passkey (WebAuthn): nothing of it is secret, its private half is in the authenticator alone.
    Passkey(Passkey),
    /// [`Secret::Session`] that was opened with a passkey, and ends with it.
    PasskeySession {
        /// The hash.
        hash: [u8; 32],
        /// Whether the person said that the device is their own.
        own_device: bool,
        /// [`Passkey::id`]. Its number would not do: a merge numbers credentials anew.
        passkey: Vec<u8>,
    },
}

/// What an assertion is checked against.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Passkey {
    /// The name that it is for (RP id).
    pub rp: String,
    /// The authenticator's name for it (credential id).
    pub id: Vec<u8>,
    /// What it signs with.
    pub algorithm: PasskeyAlgorithm,
    /// The public key (SubjectPublicKeyInfo, RFC 5280 4.1.2.7).
    pub key: Vec<u8>,
}

/// What a passkey signs with. Variants may only be added at the end ([`crate::codec`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PasskeyAlgorithm {
    /// ECDSA with P-256 and SHA-256.
    Es256,
    /// Ed25519.
    EdDsa,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
}

/// What a session's credential says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionProof<'a> {
    /// The token's hash.
    pub hash: &'a [u8; 32],
    /// Whether the person said that the device is their own.
    pub own_device: bool,
    /// The passkey that opened it, unless a password did.
    pub passkey: Option<&'a [u8]>,
}

impl Secret {
    /// What a session's says.
    #[must_use]
    pub fn session(&self) -> Option<SessionProof<'_>> {
        match self {
            Self::Session { hash, own_device } => {
                Some(SessionProof { hash, own_device: *own_device, passkey: None })
            }
            Self::PasskeySession { hash, own_device, passkey } => {
                Some(SessionProof { hash, own_device: *own_device, passkey: Some(passkey) })
            }
            _ => None,
        }
    }

    /// A passkey's.
    #[must_use]
    pub fn passkey(&self) -> Option<&Passkey> {
        match self {
            Self::Passkey(passkey) => Some(passkey),
            _ => None,
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// A secret that opens an account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credential {
    /// Its number within the account; [`PASSWORD`] for the person's password.
    pub id: u32,
    /// What its owner calls it.
    pub label: String,
    /// When it was made.
    pub created: UnixMs,
    /// The proof.
    pub secret: Secret,
}

/// Somebody who runs the appliance, with a password of their own for the console.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operator {
    /// The name.
    pub name: String,
    /// When it was added.
    pub created: UnixMs,
    /// The password: [`Secret::Argon2id`].
    pub secret: Secret,
}

/// What a credential is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CredentialKind {
    /// The person's password.
    Password,
    /// For one device.
    AppPassword,
    /// Of a browser.
    Session,
    /// The second factor.
    Totp,
    /// Both factors at once, for the web.
    Passkey,
}

impl Credential {
    /// What it is.
    #[must_use]
    pub fn kind(&self) -> CredentialKind {
        match (self.id, &self.secret) {
            (PASSWORD, _) => CredentialKind::Password,
            (TOTP, _) => CredentialKind::Totp,
            (_, Secret::Session { .. } | Secret::PasskeySession { .. }) => CredentialKind::Session,
            (_, Secret::Passkey(_)) => CredentialKind::Passkey,
            _ => CredentialKind::AppPassword,
        }
    }

    /// Whether it is a TOTP secret of which the person has shown a code.
    #[must_use]
    pub fn is_confirmed_totp(&self) -> bool {
        matches!(self.secret, Secret::Totp { confirmed: true, .. })
    }
}

/// The number of the person's password.
pub const PASSWORD: u32 = 0;
/// The number of the person's TOTP secret.
pub const TOTP: u32 = u32::MAX;

/// Whether an account has at most one credential of that number, whatever side of a fork made it;
/// other numbers are given one by one.
pub(crate) fn is_single(id: u32) -> bool {
    id == PASSWORD || id == TOTP
}

/// The number that the next app password, passkey or session gets.
pub(crate) fn next_credential(held: &[Credential]) -> u32 {
    let last = held.iter().map(|c| c.id).filter(|id| *id != TOTP).max();
    last.map_or(1, |id| id.saturating_add(1)).max(1)
}

pub(crate) const KEY_LAST_TENANT: &[u8] = b"S";
pub(crate) const KEY_LAST_ACCOUNT: &[u8] = b"D";

pub(crate) fn key_tenant(id: TenantId) -> Vec<u8> {
    Key::new(b't').u32(id.0).done()
}

pub(crate) fn key_domain(canonical: &str) -> Vec<u8> {
    Key::new(b'd').bytes(canonical.as_bytes()).done()
}

pub(crate) fn key_operator(name: &str) -> Vec<u8> {
    Key::new(b'W').bytes(name.as_bytes()).done()
}

pub(crate) fn key_administrator(account: AccountId) -> Vec<u8> {
    Key::new(b'R').u32(account.0).done()
}

pub(crate) fn key_account(id: AccountId) -> Vec<u8> {
    Key::new(b'a').u32(id.0).done()
}

pub(crate) fn key_address(canonical: &str) -> Vec<u8> {
    Key::new(b'x').bytes(canonical.as_bytes()).done()
}

pub(crate) fn key_credential(account: AccountId, id: u32) -> Vec<u8> {
    Key::new(b'c').u32(account.0).u32(id).done()
}

pub(crate) fn key_last(account: AccountId, id: u32) -> Vec<u8> {
    Key::new(b'l').u32(account.0).u32(id).done()
}

fn row<T: serde::de::DeserializeOwned>(
    keys: &dyn Keys,
    what: &'static str,
    key: &[u8],
) -> Result<Option<T>, RowError> {
    Ok(keys.get(key)?.map(|v| codec::decode(what, &v)).transpose()?)
}

/// All rows of a key prefix: the key's rest after `skip` bytes, and the value.
fn rows<T: serde::de::DeserializeOwned>(
    keys: &dyn Keys,
    what: &'static str,
    prefix: Key,
) -> Result<Vec<(Vec<u8>, T)>, RowError> {
    let (from, to) = prefix.range();
    let mut all = Vec::new();
    let mut failed = None;
    keys.scan(&from, &to, &mut |key, value| match codec::decode(what, value) {
        Ok(row) => {
            all.push((key.get(from.len()..).unwrap_or_default().to_vec(), row));
            ControlFlow::Continue(())
        }
        Err(e) => {
            failed = Some(e);
            ControlFlow::Break(())
        }
    })?;
    failed.map_or(Ok(all), |e| Err(e.into()))
}

fn values<T>(rows: Vec<(Vec<u8>, T)>) -> Vec<T> {
    rows.into_iter().map(|(_, v)| v).collect()
}

/// System view: the last tenant id given.
pub(crate) fn last_tenant(keys: &dyn Keys) -> Result<TenantId, RowError> {
    Ok(row(keys, "tenant counter", KEY_LAST_TENANT)?.unwrap_or_default())
}

/// Tenant's view: the last account id given.
pub(crate) fn last_account(keys: &dyn Keys) -> Result<AccountId, RowError> {
    Ok(row(keys, "account counter", KEY_LAST_ACCOUNT)?.unwrap_or_default())
}

/// System view: a tenant.
pub fn tenant(keys: &dyn Keys, id: TenantId) -> Result<Option<Tenant>, RowError> {
    row(keys, "tenant", &key_tenant(id))
}

/// System view: all tenants, by id.
pub fn tenants(keys: &dyn Keys) -> Result<Vec<Tenant>, RowError> {
    Ok(values(rows(keys, "tenant", Key::new(b't'))?))
}

/// System view: the tenant that owns a canonical domain.
pub fn domain_owner(keys: &dyn Keys, canonical: &str) -> Result<Option<TenantId>, RowError> {
    row(keys, "domain", &key_domain(canonical))
}

/// System view: all domains with their owners, by name.
pub fn domains(keys: &dyn Keys) -> Result<Vec<(String, TenantId)>, RowError> {
    Ok(rows(keys, "domain", Key::new(b'd'))?
        .into_iter()
        .map(|(k, v)| (String::from_utf8_lossy(&k).into_owned(), v))
        .collect())
}

/// System view: an operator.
pub fn operator(keys: &dyn Keys, name: &str) -> Result<Option<Operator>, RowError> {
    row(keys, "operator", &key_operator(name))
}

/// System view: all operators, by name.
pub fn operators(keys: &dyn Keys) -> Result<Vec<Operator>, RowError> {
    Ok(values(rows(keys, "operator", Key::new(b'W'))?))
}

/// Tenant's view: whether an account is an administrator of the tenant.
pub fn is_administrator(keys: &dyn Keys, account: AccountId) -> Result<bool, RowError> {
    Ok(row::<()>(keys, "administrator", &key_administrator(account))?.is_some())
}

/// Tenant's view: all its administrators.
pub fn administrators(keys: &dyn Keys) -> Result<BTreeSet<AccountId>, RowError> {
    let all = rows::<()>(keys, "administrator", Key::new(b'R'))?;
    Ok(all.into_iter().filter_map(|(key, ())| codec::u32_at(&key, 0).map(AccountId)).collect())
}

/// Tenant's view: an account.
pub fn account(keys: &dyn Keys, id: AccountId) -> Result<Option<Account>, RowError> {
    row(keys, "account", &key_account(id))
}

/// Tenant's view: all accounts, by id, closed ones too.
pub fn accounts(keys: &dyn Keys) -> Result<Vec<Account>, RowError> {
    Ok(values(rows(keys, "account", Key::new(b'a'))?))
}

/// Tenant's view: what a canonical address leads to.
pub fn address(keys: &dyn Keys, canonical: &str) -> Result<Option<Address>, RowError> {
    row(keys, "address", &key_address(canonical))
}

/// Tenant's view: all aliases with their accounts, by address.
pub fn aliases(keys: &dyn Keys) -> Result<Vec<(String, AccountId)>, RowError> {
    Ok(rows::<Address>(keys, "address", Key::new(b'x'))?
        .into_iter()
        .filter(|(_, a)| a.alias)
        .map(|(k, a)| (String::from_utf8_lossy(&k).into_owned(), a.account))
        .collect())
}

/// Tenant's view: the account's credentials, the password first.
pub fn credentials(keys: &dyn Keys, account: AccountId) -> Result<Vec<Credential>, RowError> {
    Ok(values(rows(keys, "credential", Key::new(b'c').u32(account.0))?))
}

/// Tenant's view: when the account's credentials were used last, by number. Milliseconds since 1970;
/// of [`TOTP`] the last step.
pub(crate) fn last_uses(
    keys: &dyn Keys,
    account: AccountId,
) -> Result<BTreeMap<u32, u64>, RowError> {
    let all = rows(keys, "last use of a credential", Key::new(b'l').u32(account.0))?;
    Ok(all.into_iter().filter_map(|(key, last)| Some((codec::u32_at(&key, 0)?, last))).collect())
}

/// Tenant's view: the same of one.
pub(crate) fn last_use(
    keys: &dyn Keys,
    account: AccountId,
    id: u32,
) -> Result<Option<u64>, RowError> {
    row(keys, "last use of a credential", &key_last(account, id))
}
