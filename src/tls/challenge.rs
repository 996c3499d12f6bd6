//! What is shown to a certificate authority that asks whether a name is ours (RFC 8555 8).
//!
//! Invariant: an answer is there from before the authority is told to ask until its order is over.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

/// The answers that are due now. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Challenges(Arc<RwLock<HashMap<String, String>>>);

impl Challenges {
    /// What is served at `/.well-known/acme-challenge/TOKEN` (RFC 8555 8.3).
    #[must_use]
    pub fn http(&self, token: &str) -> Option<String> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(token).cloned()
    }
}
