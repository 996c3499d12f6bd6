//! What people reach over HTTPS: the app's files, the API beside JMAP, JMAP (`docs/design/web.md`).
//!
//! Invariants: all tenants share one origin, so nothing that a tenant wrote is served as a page of it
//! (the app's empty `message.html` is the frame that messages are shown in); whatever says nothing else may do
//! nothing (`http::protect`). The operators' console ([`Console`])
//! has a port, a router and credentials of its own, and nothing of the others is served there.

mod api;
mod assets;
mod caller;
mod console;
mod discover;
mod failure;
mod jmap;
mod stream;
mod xml;

pub use api::{Notice, Words};
pub use console::Console;

use crate::base::secret::{self, Secret};
use crate::directory::Directory;
use crate::mail::Mail;
use crate::ops::request::Ask;
use axum::Router;
use std::sync::Arc;
use understudy_proto::id::TenantId;

/// What clients are told about this appliance.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// The name that the appliance greets with.
    pub hostname: String,
    /// Other names of it that a certificate is had for; all in lower case.
    pub names: Vec<String>,
    /// The web.
    pub https: Option<u16>,
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
    providers: Providers,
    /// For what is given out and comes back within minutes ([`api`]): this process's alone.
    key: Secret<[u8; 32]>,
}

/// What is going on, for the people of a tenant.
pub type Notices = Arc<dyn Fn(TenantId) -> Option<Notice> + Send + Sync>;
/// Content, signed with the service's certificate (CMS, RFC 5652); `None` where that cannot be.
pub type Signer = Arc<dyn Fn(&[u8]) -> Option<Vec<u8>> + Send + Sync>;

/// What other rooms add to the web.
#[derive(Clone, Default)]
pub struct Providers {
    /// For the banner; without it nothing is ever going on.
    pub notices: Option<Notices>,
    /// For configuration profiles; without it they are not signed.
    pub signer: Option<Signer>,
    /// For administrators of tenants; without it they can ask for nothing.
    pub operator: Option<Ask>,
}

impl Web {
    /// The service over `directory` and `mail`.
    #[must_use]
    pub fn new(directory: Directory, mail: Mail, facts: Facts) -> Self {
        let (providers, key) = (Providers::default(), Secret::new(secret::random()));
        Self(Arc::new(Inner { directory, mail, facts, providers, key }))
    }

    /// The same service with what other rooms add.
    #[must_use]
    pub fn with(self, providers: Providers) -> Self {
        let Inner { directory, mail, facts, key, .. } = &*self.0;
        let (directory, mail, facts) = (directory.clone(), mail.clone(), facts.clone());
        Self(Arc::new(Inner { directory, mail, facts, providers, key: key.clone() }))
    }

    /// What is going on, for the people of `tenant`.
    #[must_use]
    pub fn notice(&self, tenant: TenantId) -> Option<Notice> {
        self.0.providers.notices.as_ref().and_then(|notices| notices(tenant))
    }

    /// What does what administrators of tenants ask for.
    #[must_use]
    pub fn operator(&self) -> Option<&Ask> {
        self.0.providers.operator.as_ref()
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
            .merge(discover::router())
            .fallback(discover::or_asset)
            .with_state(self)
    }
}

#[cfg(test)]
mod tests;
