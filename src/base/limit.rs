//! Named bounds of the whole process: how many of something may be under way at once.
//!
//! Invariants: a permit returns itself when dropped. Waiting is fair (first come, first served).
//! `/metrics` shows each limit's size, use and refusals.
//!
//! Deliberately absent: limits per peer or per tenant; those belong to the services.

use crate::base::metric::Counter;
use tokio::sync::{Semaphore, SemaphorePermit};

/// A bound on something that is under way at once.
#[derive(Debug)]
pub struct Limit {
    name: &'static str,
    size: u32,
    free: Semaphore,
    refused: Counter,
}

/// The right to be under way; given back when dropped.
#[derive(Debug)]
#[must_use = "the place is given back as soon as this is dropped"]
pub struct Permit<'a>(
    #[expect(dead_code, reason = "held for its drop")] Option<SemaphorePermit<'a>>,
);

impl Limit {
    /// A limit of `size` places.
    #[must_use]
    pub const fn new(name: &'static str, size: u32) -> Self {
        Self {
            name,
            size,
            free: Semaphore::const_new(size as usize),
            refused: Counter::new("refused", "refused"),
        }
    }

    /// Takes one place, waiting for it.
    pub async fn enter(&self) -> Permit<'_> {
        self.enter_many(1).await
    }

    /// Takes `places` at once (a credit), waiting for them; at most the limit's size.
    pub async fn enter_many(&self, places: u32) -> Permit<'_> {
        // Acquiring fails only when the semaphore is closed, which nothing here does.
        Permit(self.free.acquire_many(places.min(self.size)).await.ok())
    }

    /// Takes one place if there is one now; counts the refusal otherwise.
    #[must_use]
    pub fn try_enter(&self) -> Option<Permit<'_>> {
        if let Ok(permit) = self.free.try_acquire() {
            Some(Permit(Some(permit)))
        } else {
            self.refused.inc();
            None
        }
    }

    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Its number of places.
    #[must_use]
    pub const fn size(&self) -> u32 {
        self.size
    }

    /// Places taken now.
    #[must_use]
    pub fn used(&self) -> u32 {
        let free = u32::try_from(self.free.available_permits()).unwrap_or(u32::MAX);
        self.size.saturating_sub(free)
    }

    /// How often [`Limit::try_enter`] said no.
    #[must_use]
    pub fn refusals(&self) -> u64 {
        self.refused.get()
    }
}

/// SMTP sessions (port 25) at once.
pub static SMTP_SESSIONS: Limit = Limit::new("smtp_sessions", 1_000);
/// Submission sessions (465, 587) at once.
pub static SUBMISSION_SESSIONS: Limit = Limit::new("submission_sessions", 1_000);
/// IMAP sessions at once.
pub static IMAP_SESSIONS: Limit = Limit::new("imap_sessions", 10_000);
/// HTTPS connections at once.
pub static HTTPS_SESSIONS: Limit = Limit::new("https_sessions", 10_000);
/// Connections at once that are only told to use HTTPS.
pub static HTTP_SESSIONS: Limit = Limit::new("http_sessions", 1_000);
/// Connections of the operators' console at once.
pub static CONSOLE_SESSIONS: Limit = Limit::new("console_sessions", 256);
/// Requests of HTTP at once that wait for their answer.
pub static HTTP_REQUESTS: Limit = Limit::new("http_requests", 1_024);

/// Every limit, for `/metrics`.
pub static ALL: &[&Limit] = &[
    &SMTP_SESSIONS,
    &SUBMISSION_SESSIONS,
    &IMAP_SESSIONS,
    &HTTPS_SESSIONS,
    &HTTP_SESSIONS,
    &CONSOLE_SESSIONS,
    &HTTP_REQUESTS,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn places_come_back() {
        static TWO: Limit = Limit::new("two", 2);
        let a = TWO.enter().await;
        let b = TWO.try_enter();
        assert!(b.is_some() && TWO.try_enter().is_none());
        assert_eq!((TWO.used(), TWO.refusals()), (2, 1));
        drop((a, b));
        assert_eq!(TWO.used(), 0);
        let all = TWO.enter_many(99).await;
        assert_eq!(TWO.used(), 2);
        drop(all);
    }
}
