//! How many bytes an account's messages take, and how many they may.
//!
//! | key | value |
//! |---|---|
//! | `Q` account | the bytes of its messages, each copy counted |
//!
//! Invariant: the row equals the sum of the account's entries after each change. An account that an older
//! release filled has no row: the first change that adds or removes a message counts its entries once.
//! The limit is the directory's ([`crate::directory::quota_limit`]). Deliberately absent: deliveries are not
//! refused here. What was accepted is stored; whoever answers RCPT looks before.

use super::rows::{Entry, RowError};
use crate::codec::{self, Key};
use crate::directory;
use crate::id::AccountId;
use crate::keys::{Keys, KeysMut};
use std::ops::ControlFlow;

/// What an account takes and may take, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quota {
    /// What its messages take.
    pub used: u64,
    /// What they may take; `None`: as much as there is.
    pub limit: Option<u64>,
}

impl Quota {
    /// Whether so many bytes more are within the limit.
    #[must_use]
    pub fn has_room_for(self, more: u64) -> bool {
        self.limit.is_none_or(|limit| self.used.saturating_add(more) <= limit)
    }

    /// Whether the limit is reached: no more mail is accepted for the account.
    #[must_use]
    pub fn is_full(self) -> bool {
        self.limit.is_some_and(|limit| self.used >= limit)
    }
}

fn key_used(account: AccountId) -> Vec<u8> {
    Key::new(b'Q').u32(account.0).done()
}

/// What an account takes and may take.
pub fn quota(keys: &dyn Keys, account: AccountId) -> Result<Quota, RowError> {
    let limit = directory::quota_limit(keys, account)?;
    Ok(Quota { used: used(keys, account)?, limit })
}

/// The bytes of an account's messages. To be asked before a change touches its entries.
pub(super) fn used(keys: &dyn Keys, account: AccountId) -> Result<u64, RowError> {
    match keys.get(&key_used(account))? {
        Some(row) => Ok(codec::decode("what an account takes", &row)?),
        None => counted(keys, account),
    }
}

fn counted(keys: &dyn Keys, account: AccountId) -> Result<u64, RowError> {
    let (from, to) = Key::new(b'm').u32(account.0).range();
    let (mut sum, mut failed) = (0_u64, None);
    keys.scan(&from, &to, &mut |_, value| match codec::decode::<Entry>("mailbox entry", value) {
        Ok(entry) => {
            sum = sum.saturating_add(entry.size);
            ControlFlow::Continue(())
        }
        Err(e) => {
            failed = Some(e);
            ControlFlow::Break(())
        }
    })?;
    failed.map_or(Ok(sum), |e| Err(e.into()))
}

pub(super) fn put_used(
    keys: &mut dyn KeysMut,
    account: AccountId,
    used: u64,
) -> Result<(), crate::keys::KeysError> {
    keys.put(&key_used(account), &codec::encode(&used))
}
