//! Settings that revert by themselves unless they are confirmed: a wrong address locks nobody out.
//!
//! ```text
//! begin ─► in force for a while ─┬─► confirmed: it stays
//!                                └─► time is over, or a restart came first: what was before
//! ```
//!
//! Invariants: a change that nobody confirmed is not in force after a restart, so that pulling the
//! plug is a way back; time is counted by the clock since boot, which nobody sets. Pure: whoever
//! applies settings keeps a [`Change`] in a file and asks it. Deliberately absent: what is changed.

use serde::{Deserialize, Serialize};
use std::time::Duration;
use understudy_proto::time::Mono;

/// How long a change waits for its confirmation: a laptop finds the new address, staff type a line.
pub const WINDOW: Duration = Duration::from_secs(600);

/// A change that waits for its confirmation. `T` is the settings, or what names them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change<T> {
    /// What was in force before.
    pub before: T,
    /// What is in force while it waits.
    pub after: T,
    /// The id of the boot in which it came into force.
    boot: String,
    /// Until when it waits, in microseconds since that boot.
    until: u64,
}

/// What is to be in force now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Force<'a, T> {
    /// The change, for so much longer.
    After(&'a T, Duration),
    /// What was before: the change is to be forgotten.
    Before(&'a T),
}

impl<T> Change<T> {
    /// A change from `before` to `after` that waits from `now` on.
    #[must_use]
    pub fn begin(before: T, after: T, boot: &str, now: Mono, window: Duration) -> Self {
        let window = u64::try_from(window.as_micros()).unwrap_or(u64::MAX);
        Self { before, after, boot: boot.to_owned(), until: now.0.saturating_add(window) }
    }

    /// What is to be in force at `now` of this `boot`.
    #[must_use]
    pub fn in_force(&self, boot: &str, now: Mono) -> Force<'_, T> {
        if self.boot == boot && now.0 < self.until {
            Force::After(&self.after, Mono(self.until).since(now))
        } else {
            Force::Before(&self.before)
        }
    }

    /// The settings that stay from now on: the change when it is confirmed in time, else, as an
    /// error, what was before.
    ///
    /// # Errors
    /// The time is over; what was before is in force again.
    pub fn confirm(self, boot: &str, now: Mono) -> Result<T, T> {
        match self.in_force(boot, now) {
            Force::After(..) => Ok(self.after),
            Force::Before(_) => Err(self.before),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const S: u64 = 1_000_000;

    proptest! {
        #[test]
        fn only_what_was_confirmed_in_time_stays(
            begun in 0..100_000_u64,
            later in 0..1_000_u64,
            same_boot in any::<bool>(),
        ) {
            let change = Change::begin("old", "new", "boot 1", Mono(begun * S), WINDOW);
            let text = serde_json::to_string(&change).unwrap();
            let change: Change<&str> = serde_json::from_str(&text).unwrap();
            let boot = if same_boot { "boot 1" } else { "boot 2" };
            let now = Mono((begun + later) * S);
            let in_time = same_boot && later < 600;
            let left = Duration::from_secs(600_u64.saturating_sub(later));
            let wanted = if in_time { Force::After(&"new", left) } else { Force::Before(&"old") };
            prop_assert_eq!(change.in_force(boot, now), wanted);
            let stays = if in_time { Ok("new") } else { Err("old") };
            prop_assert_eq!(change.confirm(boot, now), stays);
        }
    }
}
