//! The certificate that services show.

use super::authority::{Authority, Identity, Names, fingerprint};
use super::ticket::Tickets;
use super::{TlsError, cms, der, files, install, provider, sha256};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::sign::SigningKey;
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{self, ServerConfig};
use understudy_proto::time::UnixMs;

/// An own certificate with less left than this is renewed at start.
const RENEW_BEFORE_MS: u64 = 60 * 86_400_000;

/// What services show to their clients. Clones are the same.
#[derive(Clone)]
pub struct Service {
    config: Arc<ServerConfig>,
    not_after: Option<UnixMs>,
    fingerprint: String,
    authority: Option<String>,
    tickets: Tickets,
    /// For what is signed besides handshakes.
    chain: Arc<[CertificateDer<'static>]>,
    key: Arc<dyn SigningKey>,
}

impl Service {
    /// From the operator's files, both PEM: the certificate with its chain, and its private key.
    ///
    /// # Errors
    /// A file is missing or holds something else, or the two do not belong together.
    pub fn from_files(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let (chain_pem, key_pem) = (read(certificate)?, read(key)?);
        let chain = chain(certificate, &chain_pem)?;
        let private = private(key, &key_pem)?;
        Self::build(chain, private, None).map_err(|e| match e {
            TlsError::Setup(why) => TlsError::Mismatch {
                certificate: certificate.to_owned(),
                key: key.to_owned(),
                why: why.to_string(),
            },
            other => other,
        })
    }

    /// From `dir` (`<data_dir>/tls`): `service.pem` under our own authority `ca.pem`. What is
    /// missing is made; a certificate that is for other names or ends within 60 days is made anew,
    /// over the same key.
    ///
    /// # Errors
    /// A file cannot be read or written or is damaged.
    pub fn own(dir: &Path, names: &Names, now: UnixMs) -> Result<Self, TlsError> {
        let authority = Authority::load_or_generate(dir, now)?;
        let path = dir.join("service.pem");
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
        let wanted = wanted(names, &authority, &key_pem);
        let wanted_path = dir.join("service.for");
        let kept = match (read_if_there(&path)?, read_if_there(&wanted_path)?) {
            (Some(pem), Some(kept)) if kept == wanted => Some(pem).filter(|pem| {
                let left = der::not_after_pem(pem).map(|t| t.0.saturating_sub(now.0));
                left.is_some_and(|left| left > RENEW_BEFORE_MS)
            }),
            _ => None,
        };
        let chain_pem = match kept {
            Some(pem) => pem,
            None => {
                let Identity { certificate_pem, .. } =
                    authority.issue(names, Some(&key_pem), now)?;
                save(&path, &certificate_pem)?;
                save(&wanted_path, &wanted)?;
                certificate_pem
            }
        };
        let chain = chain(&path, &chain_pem)?;
        Self::build(chain, private(&key_path, &key_pem)?, Some(authority.fingerprint()))
    }

    fn build(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        authority: Option<String>,
    ) -> Result<Self, TlsError> {
        install();
        let leaf = chain.first().cloned();
        let kept: Arc<[CertificateDer<'static>]> = chain.clone().into();
        let signing = provider().key_provider.load_private_key(key.clone_key())?;
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13, &TLS12])?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        let tickets = Tickets::default();
        config.ticketer = Arc::new(tickets.clone());
        Ok(Self {
            config: Arc::new(config),
            not_after: leaf.as_ref().and_then(|c| der::not_after(c)),
            fingerprint: leaf.as_ref().map(|c| fingerprint(c)).unwrap_or_default(),
            authority,
            tickets,
            chain: kept,
            key: signing,
        })
    }

    /// For [`crate::net::Stream::upgrade`]. TLS 1.3 and 1.2.
    #[must_use]
    pub fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }

    /// The same for a service whose clients choose among `protocols` (ALPN), the first that both know.
    #[must_use]
    pub fn config_for(&self, protocols: &[&[u8]]) -> Arc<ServerConfig> {
        let mut config = ServerConfig::clone(&self.config);
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        Arc::new(config)
    }

    /// The keys of session tickets, to be shared with the other node.
    #[must_use]
    pub fn tickets(&self) -> Tickets {
        self.tickets.clone()
    }

    /// `content`, signed (CMS) with the service's key; `None` where that is of a kind that CMS signs
    /// otherwise.
    #[must_use]
    pub fn sign(&self, content: &[u8]) -> Option<Vec<u8>> {
        cms::sign(&self.chain, &self.key, content)
    }

    /// When the certificate expires; `None` where it does not say so readably.
    #[must_use]
    pub fn not_after(&self) -> Option<UnixMs> {
        self.not_after
    }

    /// SHA-256 of the certificate, `AB:CD:…`.
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

fn chain(path: &Path, pem: &str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bad = |why: String| TlsError::Pem { path: path.to_owned(), what: "certificate", why };
    let chain = CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| bad(e.to_string()))?;
    if chain.is_empty() {
        return Err(bad("there is none in it".to_owned()));
    }
    Ok(chain)
}

fn private(path: &Path, pem: &str) -> Result<PrivateKeyDer<'static>, TlsError> {
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
