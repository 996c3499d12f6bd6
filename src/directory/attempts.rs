//! Wrong codes of a second factor, counted by account.
//!
//! A code has six digits, so whoever knows the password would guess it in a day. Invariants: an
//! attempt counts before its code is compared, so that many at once are no more than many; at most
//! [`ACCOUNTS_MAX`] accounts are known, the one whose pause is over first goes first. Absent: a copy
//! on the other node; who guesses cannot bring about a takeover.

use crate::base::clock;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use understudy_proto::id::{AccountId, TenantId};
use understudy_proto::time::Mono;

/// Wrong codes of an account in a row,
const WRONG_CODES_MAX: u32 = 5;
/// then the pause until the next ones.
const WRONG_CODES_PAUSE: Duration = Duration::from_secs(15 * 60);
/// Accounts with wrong codes of late.
const ACCOUNTS_MAX: usize = 10_000;

type Whose = (TenantId, AccountId);

/// How often it was tried since, and until when that counts.
type Tried = HashMap<Whose, (u32, Mono)>;

/// Wrong codes of late. Clones are the same.
#[derive(Clone, Default)]
pub(super) struct Attempts(Arc<Mutex<Tried>>);

impl Attempts {
    /// Before a code is compared. The error says how long to wait.
    pub(super) fn begin(&self, whose: Whose) -> Result<(), Duration> {
        begin(&mut self.lock(), whose, clock::mono())
    }

    /// It was right.
    pub(super) fn right(&self, whose: Whose) {
        self.lock().remove(&whose);
    }

    fn lock(&self) -> MutexGuard<'_, Tried> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn begin(tried: &mut Tried, whose: Whose, now: Mono) -> Result<(), Duration> {
    tried.retain(|_, (_, until)| now < *until);
    let count = match tried.get(&whose) {
        Some((count, until)) if *count >= WRONG_CODES_MAX => return Err(until.since(now)),
        Some((count, _)) => count.saturating_add(1),
        None => 1,
    };
    tried.insert(whose, (count, now.after(WRONG_CODES_PAUSE)));
    if tried.len() > ACCOUNTS_MAX {
        let first = tried.iter().min_by_key(|(_, (_, until))| *until).map(|(whose, _)| *whose);
        first.map(|first| tried.remove(&first));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_has_a_few_attempts_then_a_pause() {
        let (mut tried, start) = (Tried::new(), Mono(1_000_000));
        let ada = (TenantId(1), AccountId(1));
        for _ in 0..WRONG_CODES_MAX {
            assert_eq!(begin(&mut tried, ada, start), Ok(()));
        }
        assert_eq!(begin(&mut tried, ada, start), Err(WRONG_CODES_PAUSE));
        assert_eq!(begin(&mut tried, (TenantId(2), AccountId(1)), start), Ok(()), "another's");
        let later = start.after(WRONG_CODES_PAUSE);
        assert_eq!(begin(&mut tried, ada, later), Ok(()));
        assert_eq!(tried.len(), 1, "what is over is forgotten");
    }

    #[test]
    fn there_is_a_bound() {
        let mut tried = Tried::new();
        for n in 0..=u32::try_from(ACCOUNTS_MAX).unwrap() {
            let now = Mono(u64::from(n));
            assert_eq!(begin(&mut tried, (TenantId(1), AccountId(n)), now), Ok(()));
        }
        assert_eq!(tried.len(), ACCOUNTS_MAX);
        assert!(!tried.contains_key(&(TenantId(1), AccountId(0))), "the oldest went");
    }
}
