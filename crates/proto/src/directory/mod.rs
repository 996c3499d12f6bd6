//! Tenants, domains, accounts, aliases, credentials: one kind of change ([`Kind::DIRECTORY`]).
//!
//! The system's view says which tenants there are and whose each domain is; everything about people
//! lies in their tenant's own view, so that a tenant's folder is all of that tenant.
//!
//! | view | key | value |
//! |---|---|---|
//! | system | `S` | the last tenant id given |
//! | system | `t` tenant | [`Tenant`] |
//! | system | `d` domain | [`TenantId`] that owns it |
//! | system | `W` operator | [`Operator`] |
//! | tenant | `D` | the last account id given |
//! | tenant | `a` account | [`Account`] |
//! | tenant | `R` account | there while the account is an administrator of the tenant |
//! | tenant | `x` address | [`Address`] |
//! | tenant | `c` account credential | [`Credential`] |
//! | tenant | `l` account credential | when it was used last; of [`TOTP`] the last step |
//! | tenant | `L` account | [`QuotaLimit`] |
//!
//! Invariants: ids are given once; a domain has one owner; an address has one account; domains and
//! addresses are keyed in canonical form ([`canonical_address`]). Absent: checking passwords
//! (src/directory) and mailboxes ([`crate::mailbox`]), except that an account is born with its own.

use crate::id::AccountId;

mod address;
mod apply;
mod commands;
mod credential;
mod held;
mod merge;
mod operator;
mod quota;
mod rows;
#[cfg(test)]
mod tests;

pub use address::{AddressError, canonical_address, canonical_domain, split_address};
pub use apply::DirectoryRules;
pub use commands::{
    AddAlias, AddDomain, CloseAccount, CreateAccount, CreateTenant, DirectoryRefusal, RemoveAlias,
    RemoveDomain,
};
pub use credential::{
    AddAppPassword, AddPasskey, AddSession, BeginTotp, ConfirmTotp, RevokeCredential, SetPassword,
    Sweep, TouchSession, UsePasskey, UseStep,
};
pub use held::{Held, held};
pub use merge::{TENANTS, created_tenant, merged_tenant};
pub use operator::{
    AddOperator, OPERATOR_NAME_LEN_MAX, OPERATORS_MAX, RemoveOperator, SetAdministrator,
    SetOperatorPassword,
};
pub use quota::{QuotaLimit, SetQuota, quota_limit, quota_said};
pub use rows::{
    Account, Address, Credential, CredentialKind, Operator, PASSWORD, Passkey, PasskeyAlgorithm,
    Secret, SessionProof, TOTP, Tenant, account, accounts, address, administrators, aliases,
    credentials, domain_owner, domains, is_administrator, operator, operators, tenant, tenants,
};

/// The topic that is woken when a credential of the account comes, changes or goes, or the account
/// is closed; apart from the account's own, which mail wakes.
#[must_use]
pub fn sign_in_topic(account: AccountId) -> u64 {
    1 << 32 | u64::from(account.0)
}

/// Most app passwords of one account.
pub const APP_PASSWORDS_MAX: usize = 100;
/// Most passkeys of one account.
pub const PASSKEYS_MAX: usize = 16;
/// Most web sessions of one account: with one more, the one that was unused for longest ends.
pub const SESSIONS_MAX: usize = 50;
/// A web session ends so long after its last use, in milliseconds.
pub const SESSION_IDLE_MS: u64 = 12 * HOUR_MS;
/// The same where the person said that the device is their own.
pub const SESSION_IDLE_OWN_MS: u64 = 30 * 24 * HOUR_MS;
/// The use of a web session is written down once in so long, in milliseconds.
pub const SESSION_TOUCH_MS: u64 = HOUR_MS;
const HOUR_MS: u64 = 60 * 60 * 1_000;
/// Longest name of a tenant, an account or a credential's label, in bytes.
pub const LABEL_LEN_MAX: usize = 200;
