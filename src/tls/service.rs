//! The certificate that services show.

use super::authority::{Authority, Identity, Names, fingerprint};
use super::challenge::{ACME_TLS, Challenges};
use super::shown::{Chooser, Shown};
use super::ticket::Tickets;
use super::vault::Vault;
use super::{TlsError, acme, cms, der, files, install, provider, sha256};
use crate::base::clock;
use crate::base::secret::Secret;
use crate::net::Acceptor;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{self, ServerConfig};
use understudy_proto::time::UnixMs;

/// An own certificate with less left than this is renewed at start.
const RENEW_BEFORE_MS: u64 = 60 * 86_400_000;

/// What services show to their clients. Clones are the same, but for what they offer.
#[derive(Clone)]
pub struct Service {
    /// Chooses among `shown` for whoever came to no known address of ours.
    config: Arc<ServerConfig>,
    /// Whether challenges by TLS are answered here.
    answers: bool,
    shown: Shown,
    not_after: Option<UnixMs>,
    fingerprint: String,
    authority: Option<String>,
    tickets: Tickets,
    challenges: Challenges,
    vault: Vault,
}

/// A certificate that clients may be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownCertificate {
    /// Names and addresses that it is for.
    pub names: Vec<String>,
    /// `authority` (our own), `own` (the operator's files) or `acme`.
    pub source: &'static str,
    /// From when it holds.
    pub from: UnixMs,
    /// Until when.
    pub until: UnixMs,
    /// SHA-256, `AB:CD:…`.
    pub fingerprint: String,
}

/// The item of the vault that holds our authority's certificate for the services.
const OWN: &str = "own";

/// A certificate of our own authority, and what it was made for.
#[derive(Serialize, Deserialize)]
struct Own {
    wanted: String,
    chain: String,
}

impl Service {
    /// From the operator's files, both PEM: the certificate with its chain, and its private key. `dir`
    /// (`<data_dir>/tls`) holds what else is shown.
    ///
    /// # Errors
    /// A file is missing or holds something else, or the two do not belong together.
    pub fn from_files(dir: &Path, certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let (chain_pem, key_pem) = (read(certificate)?, read(key)?);
        let chain = chain(certificate, &chain_pem)?;
        let private = private(key, &key_pem)?;
        Self::build(Vault::open(dir)?, chain, private, None).map_err(|e| match e {
            TlsError::Setup(why) => TlsError::Mismatch {
                certificate: certificate.to_owned(),
                key: key.to_owned(),
                why: why.to_string(),
            },
            other => other,
        })
    }

    /// From `dir` (`<data_dir>/tls`): a certificate for `names` under our own authority `ca.pem`. What is
    /// missing is made; a certificate that is for other names or ends within 60 days is made anew,
    /// over the same key.
    ///
    /// # Errors
    /// A file cannot be read or written or is damaged.
    pub fn own(dir: &Path, names: &Names, now: UnixMs) -> Result<Self, TlsError> {
        Self::under(&Authority::load_or_generate(dir, now)?, dir, names, now)
    }

    /// The same for this node alone, under the pair's authority: what is shown at the addresses of one
    /// machine is not shared with the other.
    ///
    /// # Errors
    /// As [`Self::own`].
    pub fn console(dir: &Path, names: &Names, now: UnixMs) -> Result<Self, TlsError> {
        Self::under(&Authority::load_or_generate(dir, now)?, &dir.join("console"), names, now)
    }

    fn under(
        authority: &Authority,
        dir: &Path,
        names: &Names,
        now: UnixMs,
    ) -> Result<Self, TlsError> {
        let vault = Vault::open(dir)?;
        let key_path = dir.join("service.key");
        let key_pem = match read_if_there(&key_path)? {
            Some(key_pem) => key_pem,
            None => {
                let key_pem = rcgen::KeyPair::generate()?.serialize_pem();
                save(&key_path, &key_pem)?;
                key_pem
            }
        };
        // Which certificate is wanted, as one value: names, authority, key.
        let wanted = wanted(names, authority, &key_pem);
        let kept = own(&vault).filter(|own| own.wanted == wanted).filter(|own| {
            let left = der::not_after_pem(&own.chain).map(|t| t.0.saturating_sub(now.0));
            left.is_some_and(|left| left > RENEW_BEFORE_MS)
        });
        let chain_pem = match kept {
            Some(own) => own.chain,
            None => {
                let Identity { certificate_pem, .. } =
                    authority.issue(names, Some(&key_pem), now)?;
                let own = Own { wanted: wanted.clone(), chain: certificate_pem.clone() };
                let text = serde_json::to_string(&own).map_err(|e| file(dir, e.into()))?;
                vault.put(OWN, Secret::new(text))?;
                certificate_pem
            }
        };
        let chain = chain(dir, &chain_pem)?;
        let private = private(&key_path, &key_pem)?;
        let mut service = Self::build(vault, chain, private, Some(authority.fingerprint()))?;
        service.shown.own = Some(Arc::new((wanted, Secret::new(key_pem))));
        Ok(service)
    }

    fn build(
        vault: Vault,
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        authority: Option<String>,
    ) -> Result<Self, TlsError> {
        install();
        let leaf = chain.first().cloned();
        let base = Arc::new(CertifiedKey::from_der(chain, key, &provider())?);
        let shown = Shown::new(base);
        let (tickets, challenges) = (Tickets::default(), Challenges::default());
        let chooser = Chooser::new(shown.clone(), None, None);
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13, &TLS12])?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(chooser));
        config.ticketer = Arc::new(tickets.clone());
        let service = Self {
            config: Arc::new(config),
            answers: false,
            shown,
            not_after: leaf.as_ref().and_then(|c| der::not_after(c)),
            fingerprint: leaf.as_ref().map(|c| fingerprint(c)).unwrap_or_default(),
            authority,
            tickets,
            challenges,
            vault,
        };
        service.refresh();
        Ok(service)
    }

    /// Shows from now on what the vault holds. Sessions go on as they began.
    pub fn refresh(&self) {
        let mut obtained = Vec::new();
        for item in self.vault.export() {
            let Some(name) = item.name.strip_prefix(acme::CERTIFICATE) else { continue };
            match acme::Obtained::read(item.value.expose()).and_then(|found| found.shown()) {
                Ok(found) => obtained.push(found),
                Err(e) => log::warn!(host = name, err:% = e, runbook = "certificate-renewal";
                    "a certificate that is kept cannot be shown"),
            }
        }
        let base = self.shown.own.as_ref().and_then(|made| {
            // The other node's, where it was made for the same: clients see one certificate.
            let (wanted, key_pem) = &**made;
            let own = own(&self.vault).filter(|own| own.wanted == *wanted)?;
            let chain = chain(Path::new(OWN), &own.chain).ok()?;
            let key = private(Path::new(OWN), key_pem.expose()).ok()?;
            CertifiedKey::from_der(chain, key, &provider()).ok()
        });
        self.shown.replace(base, obtained);
    }

    /// For [`crate::net::Stream::upgrade`] of a client that came to an address that does not matter. TLS
    /// 1.3 and 1.2.
    #[must_use]
    pub fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }

    /// The same for a service whose clients choose among `protocols` (ALPN), the first that both know. It
    /// answers authorities that ask by TLS (RFC 8737), too.
    #[must_use]
    pub fn offering(&self, protocols: &[&[u8]]) -> Self {
        let mut config = ServerConfig::clone(&self.config);
        let all = protocols.iter().copied().chain([ACME_TLS]);
        config.alpn_protocols = all.map(<[u8]>::to_vec).collect();
        config.cert_resolver = self.chooser(true, None);
        Self { config: Arc::new(config), answers: true, ..self.clone() }
    }

    fn chooser(&self, answers: bool, local: Option<IpAddr>) -> Arc<Chooser> {
        let challenges = answers.then(|| self.challenges.clone());
        Arc::new(Chooser::new(self.shown.clone(), challenges, local))
    }

    /// The keys of session tickets, to be shared with the other node.
    #[must_use]
    pub fn tickets(&self) -> Tickets {
        self.tickets.clone()
    }

    /// `content`, signed (CMS); `None` where the key is of a kind that CMS signs otherwise.
    #[must_use]
    pub fn sign(&self, content: &[u8]) -> Option<Vec<u8>> {
        cms::sign(&self.shown.most_trusted(clock::now_ms()), content)
    }

    /// What authorities are answered.
    #[must_use]
    pub fn challenges(&self) -> Challenges {
        self.challenges.clone()
    }

    /// What is shared with the other node; [`Self::refresh`] after it changes.
    #[must_use]
    pub fn vault(&self) -> Vault {
        self.vault.clone()
    }

    /// Everything that clients may be shown: our own or the operator's first, then what was obtained.
    #[must_use]
    pub fn certificates(&self) -> Vec<ShownCertificate> {
        let own = if self.authority.is_some() { "authority" } else { "own" };
        let certificate = |(number, key): (usize, Arc<CertifiedKey>)| {
            let leaf = key.cert.first()?;
            let (from, until) = der::life(leaf)?;
            Some(ShownCertificate {
                names: der::names(leaf),
                source: if number == 0 { own } else { "acme" },
                from,
                until,
                fingerprint: fingerprint(leaf),
            })
        };
        self.shown.all().into_iter().enumerate().filter_map(certificate).collect()
    }

    /// When the certificate of our own, or the operator's, expires; `None` where it does not say so
    /// readably.
    #[must_use]
    pub fn not_after(&self) -> Option<UnixMs> {
        self.not_after
    }

    /// SHA-256 of that certificate, `AB:CD:…`.
    #[must_use]
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// SHA-256 of our own authority's certificate, `AB:CD:…`: what an operator compares when
    /// installing it on a client. `None` with the operator's own certificate.
    #[must_use]
    pub fn authority_fingerprint(&self) -> Option<&str> {
        self.authority.as_deref()
    }
}

impl Acceptor for Service {
    fn config_at(&self, local: Option<IpAddr>) -> Arc<ServerConfig> {
        // Without other certificates there is nothing to choose.
        let Some(local) = local.filter(|_| self.shown.has_choice()) else { return self.config() };
        let mut config = ServerConfig::clone(&self.config);
        config.cert_resolver = self.chooser(self.answers, Some(local));
        Arc::new(config)
    }
}

fn own(vault: &Vault) -> Option<Own> {
    serde_json::from_str(vault.get(OWN)?.expose()).ok()
}

fn wanted(names: &Names, authority: &Authority, key_pem: &str) -> String {
    let mut text = format!("authority {}\n", authority.fingerprint());
    text.push_str(&format!("key {}\n", fingerprint(&sha256(key_pem.as_bytes()))));
    for host in &names.hosts {
        text.push_str(&format!("host {host}\n"));
    }
    for address in &names.addresses {
        text.push_str(&format!("address {address}\n"));
    }
    text
}

pub(super) fn chain(path: &Path, pem: &str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bad = |why: String| TlsError::Pem { path: path.to_owned(), what: "certificate", why };
    let chain = CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| bad(e.to_string()))?;
    if chain.is_empty() {
        return Err(bad("there is none in it".to_owned()));
    }
    Ok(chain)
}

pub(super) fn private(path: &Path, pem: &str) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|e| TlsError::Pem {
        path: path.to_owned(),
        what: "private key",
        why: match e {
            rustls::pki_types::pem::Error::NoItemsFound => "there is none in it".to_owned(),
            other => other.to_string(),
        },
    })
}

fn read(path: &Path) -> Result<String, TlsError> {
    let missing = || std::io::Error::from(std::io::ErrorKind::NotFound);
    read_if_there(path)?.ok_or_else(|| TlsError::File { path: path.to_owned(), source: missing() })
}

fn read_if_there(path: &Path) -> Result<Option<String>, TlsError> {
    let found = files::read(path).map_err(|source| file(path, source))?;
    Ok(found.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

fn save(path: &Path, text: &str) -> Result<(), TlsError> {
    files::write_secret(path, text.as_bytes()).map_err(|source| file(path, source))
}

fn file(path: &Path, source: std::io::Error) -> TlsError {
    TlsError::File { path: PathBuf::from(path), source }
}
