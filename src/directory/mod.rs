//! Whose address is this, and who is asking: the directory in use.
//!
//! The rules are [`understudy_proto::directory`]; this room adds what touches the world: the store,
//! hashing, and the order of the two writes that make a tenant (its key first). Invariants: what
//! cannot be read is temporary, never "unknown"; a wrong name costs as much time as a wrong
//! password. One cache: [`Recent`].

mod administer;
mod attempts;
mod authenticate;
mod carry;
mod hashing;
mod operators;
mod passkey;
mod password;
mod people;
mod recent;
mod session;
mod standing;
mod totp;

use crate::store::{Store, StoreError, WriteError};
pub use administer::{APP_PASSWORD_DAYS_MAX, NewAppPassword};
use attempts::Attempts;
pub use authenticate::Login;
pub use carry::{Arrival, CarryError, CarryProgress, Exported};
pub use operators::OperatorLogin;
#[cfg(test)]
pub(crate) use passkey::authenticator::Authenticator;
pub use passkey::{Assertion, Registration, Relying};
pub use people::PersonFound;
pub use recent::{Known, RENEW_EVERY, Recent};
pub use session::{
    FreshTotp, PasskeyOptions, PasskeySignIn, SignInError, SignedIn, WebSession, WebSignIn,
};
pub use standing::Standing;
use understudy_proto::directory::{self, AddressError, DirectoryRefusal};
use understudy_proto::id::{AccountId, TenantId};
use understudy_proto::mailbox::RowError;

/// The directory of all tenants. Cheap to clone.
#[derive(Clone)]
pub struct Directory {
    store: Store,
    recent: Recent,
    attempts: Attempts,
    /// For this tenant's administrators: other tenants and their domains do not exist.
    only: Option<TenantId>,
}

/// What an address leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolved {
    /// An account here.
    Account {
        /// Whose customer.
        tenant: TenantId,
        /// Whose mailbox.
        account: AccountId,
    },
    /// The domain is ours, the address is nobody's.
    UnknownAccount,
    /// The domain is not ours.
    NotLocal,
}

/// Why the directory gives no answer.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// A rule says no; the text says which.
    #[error("{0}")]
    Refused(#[from] DirectoryRefusal),
    /// The text is no address or domain.
    #[error("{0}")]
    Address(#[from] AddressError),
    /// This node may not write, or the outcome is unknown: ask again.
    #[error("the change could not be made: {0}")]
    NotWritten(String),
    /// The view cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A row cannot be read.
    #[error(transparent)]
    Row(#[from] RowError),
    /// The domain has addresses.
    #[error("{0} is in this domain; remove it first")]
    DomainInUse(String),
    /// A password is too short or too long.
    #[error("a password has at least {min} characters and at most {max} bytes")]
    PasswordLength {
        /// Fewest characters.
        min: usize,
        /// Most bytes.
        max: usize,
    },
    /// Hashing a password failed.
    #[error("the password could not be hashed: {0}")]
    Hash(String),
    /// Too many sign-ins are being checked.
    #[error("too many sign-ins are being checked; try again in a moment")]
    Busy,
    /// Too many of them come from one source.
    #[error("too many sign-ins from this address are being checked; try again in a moment")]
    SourceBusy,
}

impl From<WriteError<DirectoryRefusal>> for DirectoryError {
    fn from(e: WriteError<DirectoryRefusal>) -> Self {
        match e {
            WriteError::Refused(why) => Self::Refused(why),
            other => Self::NotWritten(other.to_string()),
        }
    }
}

impl Directory {
    /// The directory that lies in `store`.
    #[must_use]
    pub fn new(store: Store) -> Self {
        Self { store, recent: Recent::default(), attempts: Attempts::default(), only: None }
    }

    /// The same directory in which there is no tenant but this one: what another has is answered
    /// exactly as what nobody has.
    #[must_use]
    pub fn confined(&self, tenant: TenantId) -> Self {
        Self { only: Some(tenant), ..self.clone() }
    }

    /// The tenant that this is confined to.
    #[must_use]
    pub fn only(&self) -> Option<TenantId> {
        self.only
    }

    /// Whether a tenant exists here, as far as this is not confined to another.
    fn sees(&self, tenant: TenantId) -> bool {
        self.only.is_none_or(|only| only == tenant)
    }

    /// The tenant that has a canonical domain.
    fn domain_owner(&self, canonical: &str) -> Result<Option<TenantId>, DirectoryError> {
        let owner = directory::domain_owner(&self.store.read(TenantId::SYSTEM)?, canonical)?;
        Ok(owner.filter(|tenant| self.sees(*tenant)))
    }

    /// Whether there is no customer yet. What cannot be read counts as some.
    pub fn serves_nobody(&self) -> bool {
        self.tenants().is_ok_and(|tenants| tenants.is_empty())
    }

    /// Finds what an address leads to. Text that is no address is nobody's.
    pub fn resolve(&self, address: &str) -> Result<Resolved, DirectoryError> {
        let Ok(canonical) = directory::canonical_address(address) else {
            return Ok(Resolved::NotLocal);
        };
        let (_, domain) = directory::split_address(&canonical)?;
        let Some(tenant) = self.domain_owner(domain)? else {
            return Ok(Resolved::NotLocal);
        };
        let view = self.store.read(tenant)?;
        if let Some(found) = directory::address(&view, &canonical)? {
            return Ok(Resolved::Account { tenant, account: found.account });
        }
        // RFC 5321 4.5.1: every domain has a postmaster. Until an alias says who, it is the tenant's
        // first account.
        let postmaster = canonical.strip_prefix("postmaster@").is_some();
        let first = if postmaster { directory::accounts(&view)? } else { Vec::new() };
        Ok(first
            .iter()
            .find(|a| !a.closed)
            .map_or(Resolved::UnknownAccount, |a| Resolved::Account { tenant, account: a.id }))
    }

    /// Whether the account may write in the name of `from`: its own addresses, and the null
    /// reverse-path (RFC 5321 4.5.5).
    pub fn may_send_as(&self, login: &Login, from: &str) -> Result<bool, DirectoryError> {
        Ok(from.is_empty()
            || self.resolve(from)?
                == Resolved::Account { tenant: login.tenant, account: login.account })
    }
}
