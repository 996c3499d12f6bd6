//! What people reach over HTTPS: the app's files, the API beside JMAP, JMAP (`docs/design/web.md`).
//!
//! Invariants: all tenants share one origin, so nothing that a tenant wrote is served as a page of it
//! ([`assets::frame`] is the empty frame that messages are shown in); whatever says nothing else may do
//! nothing (`http::protect`). Absent on purpose: the operator's console, which has a port of its own.

mod api;
mod assets;
mod jmap;

use crate::directory::Directory;
use crate::mail::Mail;
use axum::Router;
use axum::routing::get;
use std::sync::Arc;

/// What clients are told about this appliance.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// The name that the appliance greets with.
    pub hostname: String,
    /// IMAP with STARTTLS; ports of `None` are turned off.
    pub imap: Option<u16>,
    /// IMAP with TLS from the first byte.
    pub imaps: Option<u16>,
    /// Submission with STARTTLS.
    pub submission: Option<u16>,
    /// Submission with TLS from the first byte.
    pub submissions: Option<u16>,
    /// Largest message in bytes.
    pub message_size_max: u64,
}

/// The service: the state of every handler. Clones are the same.
#[derive(Clone)]
pub struct Web(Arc<Inner>);

struct Inner {
    directory: Directory,
    mail: Mail,
    facts: Facts,
}

impl Web {
    /// The service over `directory` and `mail`.
    #[must_use]
    pub fn new(directory: Directory, mail: Mail, facts: Facts) -> Self {
        Self(Arc::new(Inner { directory, mail, facts }))
    }

    /// Tenants, accounts, credentials.
    #[must_use]
    pub fn directory(&self) -> &Directory {
        &self.0.directory
    }

    /// Mailboxes, messages, the queue.
    #[must_use]
    pub fn mail(&self) -> &Mail {
        &self.0.mail
    }

    /// What clients are told about this appliance.
    #[must_use]
    pub fn facts(&self) -> &Facts {
        &self.0.facts
    }

    /// For [`crate::http::Site`].
    pub fn router(self) -> Router {
        Router::new()
            .nest("/api", api::router())
            .merge(jmap::router())
            .route("/frame", get(assets::frame))
            .fallback_service(get(assets::serve))
            .with_state(self)
    }
}

#[cfg(test)]
mod tests;
