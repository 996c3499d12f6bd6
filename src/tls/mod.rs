//! Certificates and keys: what services show to the world and how the two appliances know each
//! other.
//!
//! Invariants: aws-lc-rs is the one provider; private keys are in files of mode 0600 only; the pair
//! trusts *pins, not dates* (an expired certificate alarms, it stops nothing). Absent on purpose:
//! reload of the operator's own files without restart.
//!
//! `<data_dir>/tls/` holds the appliance's own authority (`ca.pem`, `ca.key`) and the service key.
//! Forming a pair copies them to the other node. Certificates are in the vault, which the two keep alike:
//! clients meet the same certificate behind a floating address, whoever holds it.

pub mod acme;
mod authority;
mod challenge;
mod cms;
mod der;
pub mod files;
mod pin;
mod service;
mod shown;
pub mod ticket;
pub mod vault;

pub use authority::{Authority, Identity, Names};
pub use challenge::{ACME_TLS, Challenges};
pub use der::{not_after, not_after_pem};
pub use pin::{
    JOIN_ALPN, LINK_ALPN, LinkTls, Pin, PinRefusal, WITNESS_ALPN, WrongPin, join_client,
    opportunistic_client, peer_pin, witness_client, witness_server,
};
pub use service::{Service, ShownCertificate};

use std::path::PathBuf;
use std::sync::{Arc, Once};
use tokio_rustls::rustls;
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs, hash::Hash};

/// Why there is no certificate to show.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file does not hold what it should.
    #[error("{path} holds no {what} in PEM form ({why})")]
    Pem {
        /// Which.
        path: PathBuf,
        /// "certificate" or "private key".
        what: &'static str,
        /// What the parser says.
        why: String,
    },
    /// Only one of certificate and key is configured, or they do not belong together.
    #[error("certificate {certificate} and key {key} cannot be used together: {why}")]
    Mismatch {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What rustls says.
        why: String,
    },
    /// A certificate cannot be made.
    #[error("a certificate cannot be made: {0}")]
    Make(#[from] rcgen::Error),
    /// A TLS configuration cannot be made.
    #[error("TLS cannot be set up: {0}")]
    Setup(#[from] rustls::Error),
}

/// Makes aws-lc-rs the process's provider; once, however often it is called.
pub fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        if aws_lc_rs::default_provider().install_default().is_err() {
            log::debug!("a TLS provider was installed before");
        }
    });
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// SHA-256, as `openssl x509 -fingerprint -sha256` counts.
fn sha256(bytes: &[u8]) -> [u8; 32] {
    let hash: &dyn Hash = match aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256 {
        rustls::SupportedCipherSuite::Tls13(suite) => suite.common.hash_provider,
        rustls::SupportedCipherSuite::Tls12(suite) => suite.common.hash_provider,
    };
    let mut out = [0; 32];
    for (to, from) in out.iter_mut().zip(hash.hash(bytes).as_ref()) {
        *to = *from;
    }
    out
}

#[cfg(test)]
mod tests;
