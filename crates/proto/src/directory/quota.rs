//! How many bytes the mail of an account may take: the tenant's default, and accounts of which it is said.
//!
//! | view | key | value |
//! |---|---|---|
//! | tenant | `L` account | [`QuotaLimit`]; account 0, which is nobody's: the tenant's default |

use super::apply::Change;
use super::commands::{Refused, decided, open_account};
use crate::codec::{self, Key};
use crate::id::AccountId;
use crate::keys::Keys;
use crate::mailbox::RowError;
use crate::record::Kind;
use crate::rule::{Command, Decision, Moment};
use serde::{Deserialize, Serialize};

/// What was said of an account's or a tenant's limit. Variants may only be added at the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum QuotaLimit {
    /// Nothing: an account has its tenant's, a tenant has none.
    #[default]
    Inherited,
    /// There is none, whatever the tenant's is.
    Unlimited,
    /// So many bytes.
    Octets(u64),
}

pub(super) fn key_limit(account: Option<AccountId>) -> Vec<u8> {
    Key::new(b'L').u32(account.map_or(0, |id| id.0)).done()
}

/// What was said of an account's limit, or of the tenant's default.
pub fn quota_said(keys: &dyn Keys, account: Option<AccountId>) -> Result<QuotaLimit, RowError> {
    let row = keys.get(&key_limit(account))?;
    Ok(row.map(|row| codec::decode("a limit", &row)).transpose()?.unwrap_or_default())
}

/// The limit that an account has, in bytes.
pub fn quota_limit(keys: &dyn Keys, account: AccountId) -> Result<Option<u64>, RowError> {
    let said = match quota_said(keys, Some(account))? {
        QuotaLimit::Inherited => quota_said(keys, None)?,
        said => said,
    };
    Ok(match said {
        QuotaLimit::Octets(limit) => Some(limit),
        QuotaLimit::Inherited | QuotaLimit::Unlimited => None,
    })
}

/// Says how many bytes the mail of an account may take, or of those of which nothing is said.
#[derive(Clone, Copy, Debug)]
pub struct SetQuota {
    /// Whose; `None`: the tenant's default.
    pub account: Option<AccountId>,
    /// How many.
    pub limit: QuotaLimit,
}

impl Command for SetQuota {
    const KIND: Kind = Kind::DIRECTORY;
    type Answer = ();
    type Refusal = super::DirectoryRefusal;

    fn decide(&self, keys: &dyn Keys, moment: Moment) -> Refused<()> {
        if let Some(account) = self.account {
            open_account(keys, account)?;
        }
        if quota_said(keys, self.account)? == self.limit {
            return Ok(Decision { change: None, answer: () });
        }
        let Self { account, limit } = *self;
        decided(&Change::SetQuota { account, limit, when: moment.now }, ())
    }
}
