//! Which certificate a client is shown.
//!
//! Invariants: an authority's certificate goes before our own or the operator's, but not once it has
//! expired; whoever names no host (RFC 6066 3: addresses are no names) gets the one for the address that
//! they came to; in doubt it is our own. What is shown can be replaced at any time.

use super::challenge::{ACME_TLS, Challenges};
use crate::base::clock;
use crate::base::secret::Secret;
use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;
use understudy_proto::time::UnixMs;

/// One that was got from an authority.
#[derive(Clone, Debug)]
pub(super) struct Certificate {
    pub(super) names: Vec<String>,
    pub(super) addresses: Vec<IpAddr>,
    pub(super) until: UnixMs,
    pub(super) key: Arc<CertifiedKey>,
}

/// What is shown. Clones are the same.
#[derive(Clone)]
pub(super) struct Shown {
    list: Arc<RwLock<List>>,
    /// What the certificate under our own authority is made for, and its key.
    pub(super) own: Option<Arc<(String, Secret<String>)>>,
}

struct List {
    obtained: Vec<Certificate>,
    base: Arc<CertifiedKey>,
}

impl Shown {
    pub(super) fn new(base: Arc<CertifiedKey>) -> Self {
        Self { list: Arc::new(RwLock::new(List { obtained: Vec::new(), base })), own: None }
    }

    /// Shows `obtained` from now on, and `base` if there is another.
    pub(super) fn replace(&self, base: Option<CertifiedKey>, obtained: Vec<Certificate>) {
        let mut list = self.list.write().unwrap_or_else(PoisonError::into_inner);
        list.obtained = obtained;
        if let Some(base) = base {
            list.base = Arc::new(base);
        }
    }

    /// Whether it matters to which address a client comes.
    pub(super) fn has_choice(&self) -> bool {
        !self.list.read().unwrap_or_else(PoisonError::into_inner).obtained.is_empty()
    }

    /// All of them: the base first.
    pub(super) fn all(&self) -> Vec<Arc<CertifiedKey>> {
        let list = self.list.read().unwrap_or_else(PoisonError::into_inner);
        let obtained = list.obtained.iter().map(|c| Arc::clone(&c.key));
        std::iter::once(Arc::clone(&list.base)).chain(obtained).collect()
    }

    /// One that an authority has given, while there is one: strangers trust it, whatever its name.
    pub(super) fn most_trusted(&self, now: UnixMs) -> Arc<CertifiedKey> {
        let list = self.list.read().unwrap_or_else(PoisonError::into_inner);
        let valid = list.obtained.iter().find(|c| c.until > now);
        Arc::clone(valid.map_or(&list.base, |c| &c.key))
    }

    fn choose(&self, name: Option<&str>, local: Option<IpAddr>, now: UnixMs) -> Arc<CertifiedKey> {
        let local = local.map(|ip| ip.to_canonical());
        let list = self.list.read().unwrap_or_else(PoisonError::into_inner);
        let fits = |c: &&Certificate| match name {
            Some(name) => c.names.iter().any(|known| known.eq_ignore_ascii_case(name)),
            None => local.is_some_and(|ip| c.addresses.contains(&ip)),
        };
        let mut valid = list.obtained.iter().filter(|c| c.until > now);
        Arc::clone(valid.find(fits).map_or(&list.base, |c| &c.key))
    }
}

/// Chooses for clients that came to one address of ours.
pub(super) struct Chooser {
    shown: Shown,
    challenges: Option<Challenges>,
    local: Option<IpAddr>,
}

impl Chooser {
    pub(super) fn new(shown: Shown, challenges: Option<Challenges>, local: Option<IpAddr>) -> Self {
        Self { shown, challenges, local }
    }
}

impl std::fmt::Debug for Chooser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Chooser").field("local", &self.local).finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Chooser {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // RFC 8737 3: who speaks this protocol speaks no other.
        if let Some(challenges) = &self.challenges
            && hello.alpn().is_some_and(|mut offered| offered.any(|name| name == ACME_TLS))
        {
            return challenges.tls(hello.server_name()?);
        }
        Some(self.shown.choose(hello.server_name(), self.local, clock::now_ms()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::authority::{Authority, Names};
    use super::super::service::{chain, private};
    use super::*;
    use std::path::Path;

    const NOW: UnixMs = UnixMs(1_790_000_000_000);

    fn key() -> Arc<CertifiedKey> {
        let names = Names { hosts: vec!["x.example".into()], addresses: Vec::new() };
        let made = Authority::generate(NOW).unwrap().issue(&names, None, NOW).unwrap();
        let chain = chain(Path::new("x"), &made.certificate_pem).unwrap();
        let key = private(Path::new("x"), &made.key_pem).unwrap();
        Arc::new(CertifiedKey::from_der(chain, key, &super::super::provider()).unwrap())
    }

    #[test]
    fn names_and_addresses_find_their_certificate_until_it_expires() {
        let (base, named, addressed) = (key(), key(), key());
        let ip: IpAddr = "192.0.2.1".parse().unwrap();
        let shown = Shown::new(base.clone());
        assert!(!shown.has_choice());
        let until = UnixMs(NOW.0 + 1_000);
        let certificate =
            |names: &[&str], addresses: &[IpAddr], key: &Arc<CertifiedKey>| Certificate {
                names: names.iter().map(|&n| n.to_owned()).collect(),
                addresses: addresses.to_vec(),
                until,
                key: key.clone(),
            };
        let all = vec![
            certificate(&["mx.example.net"], &[], &named),
            certificate(&[], &[ip], &addressed),
        ];
        shown.replace(None, all);
        let other: IpAddr = "192.0.2.2".parse().unwrap();
        for (name, local, now, wanted) in [
            (Some("MX.example.net"), Some(ip), NOW, &named),
            (Some("other.example"), Some(ip), NOW, &base),
            (None, Some(ip), NOW, &addressed),
            (None, Some("::ffff:192.0.2.1".parse().unwrap()), NOW, &addressed),
            (None, Some(other), NOW, &base),
            (None, None, NOW, &base),
            (Some("mx.example.net"), None, until, &base),
        ] {
            assert!(Arc::ptr_eq(&shown.choose(name, local, now), wanted), "{name:?} {local:?}");
        }
    }
}
