//! What is shown to a certificate authority that asks whether a name is ours (RFC 8555 8, RFC 8737).
//!
//! Invariant: an answer is there from before the authority is told to ask until its order is over.

use super::{TlsError, provider};
use rcgen::{CertificateParams, CustomExtension, KeyPair, SanType};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::sign::CertifiedKey;

/// The protocol of [`Challenges::tls`] (RFC 8737 6.2).
pub const ACME_TLS: &[u8] = b"acme-tls/1";

/// The answers that are due now. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Challenges(Arc<RwLock<Answers>>);

#[derive(Debug, Default)]
struct Answers {
    /// By token.
    http: HashMap<String, String>,
    /// By the name that the authority asks for.
    tls: HashMap<String, Arc<CertifiedKey>>,
}

/// An answer; it is gone when this is dropped.
#[derive(Debug)]
pub(super) struct Posted {
    challenges: Challenges,
    http: Option<String>,
    tls: Option<String>,
}

impl Challenges {
    /// What is served at `/.well-known/acme-challenge/TOKEN` (RFC 8555 8.3).
    #[must_use]
    pub fn http(&self, token: &str) -> Option<String> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).http.get(token).cloned()
    }

    /// The certificate that is shown to who asks for `name` by [`ACME_TLS`] (RFC 8737 3).
    #[must_use]
    pub fn tls(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        let answers = self.0.read().unwrap_or_else(PoisonError::into_inner);
        answers.tls.get(&name.to_ascii_lowercase()).cloned()
    }

    pub(super) fn post_http(&self, token: &str, answer: &str) -> Posted {
        let mut answers = self.0.write().unwrap_or_else(PoisonError::into_inner);
        answers.http.insert(token.to_owned(), answer.to_owned());
        Posted { challenges: self.clone(), http: Some(token.to_owned()), tls: None }
    }

    /// `digest` is that of the key authorisation.
    pub(super) fn post_tls(&self, asked: &Asked, digest: &[u8]) -> Result<Posted, TlsError> {
        let (san, name) = match asked {
            Asked::Name(name) => (SanType::DnsName(name.as_str().try_into()?), name.clone()),
            Asked::Address(ip) => (SanType::IpAddress(*ip), reverse(*ip)),
        };
        let mut params = CertificateParams::new(Vec::new())?;
        params.subject_alt_names = vec![san];
        params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?.der().clone();
        let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        // Not `from_der`: it looks into the certificate, whose extension must be critical (RFC 8737 3).
        let key = provider().key_provider.load_private_key(key)?;
        let shown = CertifiedKey::new(vec![certificate], key);
        let mut answers = self.0.write().unwrap_or_else(PoisonError::into_inner);
        answers.tls.insert(name.clone(), Arc::new(shown));
        Ok(Posted { challenges: self.clone(), http: None, tls: Some(name) })
    }
}

/// Whom an authority asks about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Name(String),
    Address(IpAddr),
}

/// RFC 8738 6: an address is asked for by its name in the reverse tree.
fn reverse(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(v4) => {
            let [a, b, c, d] = v4.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        IpAddr::V6(v6) => {
            let mut name = String::with_capacity(72);
            for octet in v6.octets().iter().rev() {
                name.push_str(&format!("{:x}.{:x}.", octet & 15, octet >> 4));
            }
            name + "ip6.arpa"
        }
    }
}

impl Drop for Posted {
    fn drop(&mut self) {
        let mut answers = self.challenges.0.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(token) = &self.http {
            answers.http.remove(token);
        }
        if let Some(name) = &self.tls {
            answers.tls.remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_there_while_it_is_posted() {
        let challenges = Challenges::default();
        let http = challenges.post_http("token", "token.thumbprint");
        assert_eq!(challenges.http("token").as_deref(), Some("token.thumbprint"));
        let name = challenges.post_tls(&Asked::Name("mx.example.net".into()), &[7; 32]).unwrap();
        let ip = Asked::Address("192.0.2.1".parse().unwrap());
        let address = challenges.post_tls(&ip, &[7; 32]).unwrap();
        assert!(challenges.tls("MX.example.net").is_some());
        assert!(challenges.tls("1.2.0.192.in-addr.arpa").is_some());
        drop((http, name, address));
        assert_eq!(challenges.http("token"), None);
        assert!(challenges.tls("mx.example.net").is_none());
        assert!(challenges.tls("1.2.0.192.in-addr.arpa").is_none());
    }

    #[test]
    fn addresses_are_named_in_reverse() {
        let v6 = reverse("2001:db8::1".parse().unwrap());
        assert_eq!(v6, format!("1.{}8.b.d.0.1.0.0.2.ip6.arpa", "0.".repeat(23)));
    }
}
