//! An account's credentials as they count: with their last use and their end.

use super::rows::{self, Credential, CredentialKind, PASSWORD, Secret};
use super::{SESSION_IDLE_MS, SESSION_IDLE_OWN_MS};
use crate::id::AccountId;
use crate::keys::Keys;
use crate::mailbox::RowError;
use crate::time::UnixMs;

/// A credential as it counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The row.
    pub credential: Credential,
    /// When it was used last, as far as that is written down: milliseconds since 1970, of TOTP the
    /// step.
    pub last: Option<u64>,
    /// From when on it opens nothing; `None`: it has no end.
    pub ends: Option<UnixMs>,
}

impl Held {
    /// Whether it opens nothing any more.
    #[must_use]
    pub fn is_over(&self, now: UnixMs) -> bool {
        self.ends.is_some_and(|ends| ends <= now)
    }
}

/// Tenant's view: the account's credentials, the password first; also those that are over.
///
/// A session rests on the password that it began with: whoever changes it, on either side of a fork,
/// ends every session that is older, also those that this side does not know of yet. One that a passkey
/// opened needs no password, but ends with a new one all the same, and with its passkey.
pub fn held(keys: &dyn Keys, account: AccountId) -> Result<Vec<Held>, RowError> {
    let (all, last) = (rows::credentials(keys, account)?, rows::last_uses(keys, account)?);
    let password = all.iter().find(|c| c.id == PASSWORD).map(|c| c.created);
    let passkeys: Vec<Vec<u8>> =
        all.iter().filter_map(|c| c.secret.passkey()).map(|passkey| passkey.id.clone()).collect();
    let each = |credential: Credential| {
        let last = last.get(&credential.id).copied();
        let ends = match (&credential.secret, credential.secret.session()) {
            (Secret::Blake3Until { until, .. }, _) => Some(*until),
            (_, Some(session)) => {
                let began = credential.created;
                let idle = if session.own_device { SESSION_IDLE_OWN_MS } else { SESSION_IDLE_MS };
                let used = last.unwrap_or_default().max(began.0);
                let stands = match session.passkey {
                    Some(id) => {
                        password.is_none_or(|password| password <= began)
                            && passkeys.iter().any(|known| known == id)
                    }
                    None => password.is_some_and(|password| password <= began),
                };
                Some(if stands { UnixMs(used.saturating_add(idle)) } else { UnixMs(0) })
            }
            _ => None,
        };
        Held { credential, last, ends }
    };
    Ok(all.into_iter().map(each).collect())
}

impl Held {
    pub(super) fn is(&self, kind: CredentialKind) -> bool {
        self.credential.kind() == kind
    }
}
