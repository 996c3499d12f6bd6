//! Certificates of a public authority, by ACME (RFC 8555; addresses by RFC 8738).
//!
//! The primary obtains and renews for both nodes: account and certificates lie in the vault. Challenges are
//! answered where they arrive, at the addresses that the primary has. Invariants: without agreement to the
//! authority's terms nothing is asked ([`Plan`] says when); what was obtained is shown only with its key.
//! Absent: dns-01, wildcards, revocation, renewal information (RFC 9773).

mod client;
mod driver;
mod plan;

pub use driver::{Acme, Ways};
pub use plan::{Alarm, Life, Next, Plan};

use super::service::{chain, private};
use super::shown::Certificate;
use super::{TlsError, der, provider};
use crate::base::secret::{self, Secret};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use tokio_rustls::rustls::sign::CertifiedKey;
use understudy_proto::time::UnixMs;

/// Items of the vault that hold a certificate begin with this.
pub(super) const CERTIFICATE: &str = "acme/certificate/";
/// The item that holds the account.
const ACCOUNT: &str = "acme/account";

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum AcmeError {
    /// The authority says no, or something else than it should.
    #[error("the authority: {0}")]
    Authority(#[from] instant_acme::Error),
    /// It did not find us where it looked.
    #[error("the authority does not believe that {asked} is ours: {why}")]
    Unproven {
        /// The name or address.
        asked: String,
        /// What it says.
        why: String,
    },
    /// It offers no way to prove what is ours that is open here.
    #[error("{0} can be proven by no way that is open: ports 80 and 443 are turned off")]
    NoWay(String),
    /// It took too long.
    #[error("the authority was not done in time")]
    Timeout,
    /// Keys, files.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// What is kept cannot be written.
    #[error("what was obtained cannot be kept: {0}")]
    Kept(#[from] serde_json::Error),
}

/// A certificate as it lies in the vault.
#[derive(Serialize, Deserialize)]
pub(super) struct Obtained {
    names: Vec<String>,
    addresses: Vec<IpAddr>,
    chain: String,
    #[serde(serialize_with = "secret::serialize_exposed")]
    key: Secret<String>,
}

impl Obtained {
    pub(super) fn read(text: &str) -> Result<Self, AcmeError> {
        Ok(serde_json::from_str(text)?)
    }

    /// As it is shown: chain and key belong together.
    pub(super) fn shown(&self) -> Result<Certificate, AcmeError> {
        let at = Path::new("the vault");
        let (list, key) = (chain(at, &self.chain)?, private(at, self.key.expose())?);
        let until = self.life().map_or(UnixMs(0), |life| life.until);
        let key = CertifiedKey::from_der(list, key, &provider()).map_err(TlsError::from)?;
        let addresses = self.addresses.iter().map(IpAddr::to_canonical).collect();
        Ok(Certificate { names: self.names.clone(), addresses, until, key: Arc::new(key) })
    }

    fn life(&self) -> Option<Life> {
        let (from, until) = der::life_pem(&self.chain)?;
        Some(Life { from, until })
    }
}
