//! How the two appliances know each other: by the hash of a certificate, at any date.
//!
//! Each node's link certificate signs itself. Whoever shows exactly that certificate *and* proves
//! its key is the peer; names, chains and dates are not looked at. TLS 1.3 only.
//!
//! A witness lets every client prove its key and looks at the pin afterwards ([`peer_pin`]), so
//! that it can tell a stranger in a sentence what is wrong.

use super::der::common_name;
use super::{Identity, TlsError, install, provider, sha256};
use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::crypto::{
    CryptoProvider, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::NoServerSessionStorage;
use tokio_rustls::rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use tokio_rustls::rustls::version::TLS13;
use tokio_rustls::rustls::{
    AlertDescription, CertificateError, ClientConfig, CommonState, DigitallySignedStruct,
    DistinguishedName, Error, OtherError, ServerConfig, SignatureScheme,
};

/// ALPN name of the pair's link.
pub const LINK_ALPN: &[u8] = b"understudy-pair/1";
/// ALPN name of a join: the client has no pinned certificate yet, only a token.
pub const JOIN_ALPN: &[u8] = b"understudy-join/1";
/// ALPN name of a node's connection to its witness.
pub const WITNESS_ALPN: &[u8] = b"understudy-witness/1";

/// SHA-256 of a certificate's DER. Written as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pin(pub [u8; 32]);

/// Hexadecimal digits of [`Pin::brief`].
const BRIEF_DIGITS: usize = 16;
/// Longest name that is shown of a certificate, in characters.
const NAME_LEN_MAX: usize = 64;

/// Text that is not a pin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a pin is 64 hexadecimal digits")]
pub struct NotAPin;

impl Pin {
    /// The pin of a certificate.
    #[must_use]
    pub fn of(der: &[u8]) -> Self {
        Self(sha256(der))
    }

    /// The pin of the first certificate in a PEM text.
    #[must_use]
    pub fn of_pem(pem: &str) -> Option<Self> {
        CertificateDer::from_pem_slice(pem.as_bytes()).ok().map(|c| Self::of(&c))
    }

    /// Its first digits, for a sentence: enough to compare with what `understudy pair show` prints.
    #[must_use]
    pub fn brief(&self) -> String {
        self.to_string().chars().take(BRIEF_DIGITS).chain(['…']).collect()
    }
}

/// A certificate that is not the pinned one was shown.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the key {} is shown, pinned is {}", shown.brief(), pinned.brief())]
pub struct WrongPin {
    /// What was shown.
    pub shown: Pin,
    /// What is pinned.
    pub pinned: Pin,
    /// The name in the certificate that was shown: whatever its maker wrote, without control
    /// characters.
    pub name: Option<String>,
}

/// Why a handshake between two appliances came to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PinRefusal {
    /// We refuse what the other side has shown.
    Theirs(WrongPin),
    /// The other side refuses what we have shown.
    Ours,
    /// The other side does not speak what we ask for.
    Protocol,
}

impl PinRefusal {
    /// What `e`, the error of a TLS stream, says about pins; `None` for all others.
    #[must_use]
    pub fn of(e: &std::io::Error) -> Option<Self> {
        match e.get_ref()?.downcast_ref::<Error>()? {
            Error::InvalidCertificate(CertificateError::Other(OtherError(why))) => {
                why.downcast_ref::<WrongPin>().cloned().map(Self::Theirs)
            }
            // What the other side's `Only` makes of such an error on the wire.
            Error::AlertReceived(AlertDescription::CertificateUnknown) => Some(Self::Ours),
            Error::AlertReceived(AlertDescription::NoApplicationProtocol) => Some(Self::Protocol),
            _ => None,
        }
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Pin {
    type Err = NotAPin;

    fn from_str(text: &str) -> Result<Self, NotAPin> {
        let digits = text.as_bytes();
        let mut pin = [0; 32];
        if digits.len() != 64 {
            return Err(NotAPin);
        }
        for (to, pair) in pin.iter_mut().zip(digits.chunks(2)) {
            for digit in pair {
                let value = char::from(*digit).to_digit(16).and_then(|v| u8::try_from(v).ok());
                *to = *to << 4 | value.ok_or(NotAPin)?;
            }
        }
        Ok(Self(pin))
    }
}

/// Both sides' TLS of one pair link.
#[derive(Clone)]
pub struct LinkTls {
    /// For connections that come in with [`LINK_ALPN`]; only the peer's certificate passes.
    /// `None` while no peer is known.
    pub server: Option<Arc<ServerConfig>>,
    /// For connections that come in with [`JOIN_ALPN`]; any client passes, a token must follow.
    pub join: Arc<ServerConfig>,
    /// For connections that we open; `None` while no peer is known.
    pub client: Option<Arc<ClientConfig>>,
}

impl LinkTls {
    /// TLS between the node that is `identity` and the peer whose certificate is `peer`.
    ///
    /// # Errors
    /// Certificate and key do not belong together.
    pub fn new(identity: &Identity, peer: Option<Pin>) -> Result<Self, TlsError> {
        install();
        let (chain, key) = parts(identity)?;
        let mut join = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])?
            .with_no_client_auth()
            .with_single_cert(chain.clone(), key.clone_key())?;
        join.alpn_protocols = vec![JOIN_ALPN.to_vec()];
        let (mut server, mut client) = (None, None);
        if let Some(peer) = peer {
            let only = Arc::new(Only { pin: Some(peer), provider: provider() });
            let mut config = ServerConfig::builder_with_provider(provider())
                .with_protocol_versions(&[&TLS13])?
                .with_client_cert_verifier(Arc::<Only>::clone(&only))
                .with_single_cert(chain.clone(), key.clone_key())?;
            config.alpn_protocols = vec![LINK_ALPN.to_vec()];
            server = Some(Arc::new(config));
            let mut config = ClientConfig::builder_with_provider(provider())
                .with_protocol_versions(&[&TLS13])?
                .dangerous()
                .with_custom_certificate_verifier(only)
                .with_client_auth_cert(chain, key)?;
            config.alpn_protocols = vec![LINK_ALPN.to_vec()];
            config.enable_sni = false;
            client = Some(Arc::new(config));
        }
        Ok(Self { server, join: Arc::new(join), client })
    }
}

/// TLS of a node that joins: the server must show the certificate that the token names, or any where
/// none is known; [`peer_pin`] says which it has shown.
///
/// # Errors
/// The provider refuses TLS 1.3, which it does not.
pub fn join_client(server: Option<Pin>) -> Result<Arc<ClientConfig>, TlsError> {
    install();
    let only = Arc::new(Only { pin: server, provider: provider() });
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(only)
        .with_no_client_auth();
    config.alpn_protocols = vec![JOIN_ALPN.to_vec()];
    config.enable_sni = false;
    Ok(Arc::new(config))
}

/// TLS towards a host that nobody vouches for: any certificate passes whose key the host can prove.
/// It keeps those out who only listen (RFC 7435).
#[must_use]
pub fn opportunistic_client() -> Arc<ClientConfig> {
    install();
    let any = Arc::new(Only { pin: None, provider: provider() });
    let config = ClientConfig::builder().dangerous().with_custom_certificate_verifier(any);
    Arc::new(config.with_no_client_auth())
}

fn parts(
    identity: &Identity,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
    let bad = |what: &'static str, why: String| TlsError::Pem {
        path: Path::new("pair/identity.json").to_owned(),
        what,
        why,
    };
    let certificate = CertificateDer::from_pem_slice(identity.certificate_pem.as_bytes())
        .map_err(|e| bad("certificate", e.to_string()))?;
    let key = PrivateKeyDer::from_pem_slice(identity.key_pem.as_bytes())
        .map_err(|e| bad("private key", e.to_string()))?;
    Ok((vec![certificate], key))
}

/// TLS of a witness: every client must prove the key of a certificate, whichever that is; whose it
/// is, [`peer_pin`] says.
///
/// # Errors
/// Certificate and key do not belong together.
pub fn witness_server(identity: &Identity) -> Result<Arc<ServerConfig>, TlsError> {
    install();
    let (chain, key) = parts(identity)?;
    let any = Arc::new(Only { pin: None, provider: provider() });
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(any)
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![WITNESS_ALPN.to_vec()];
    // A session is held for months: resuming would only cost memory.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// TLS of a node towards the witness whose certificate is `server`.
///
/// # Errors
/// Certificate and key do not belong together.
pub fn witness_client(identity: &Identity, server: Pin) -> Result<Arc<ClientConfig>, TlsError> {
    install();
    let (chain, key) = parts(identity)?;
    let only = Arc::new(Only { pin: Some(server), provider: provider() });
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(only)
        .with_client_auth_cert(chain, key)?;
    config.alpn_protocols = vec![WITNESS_ALPN.to_vec()];
    config.enable_sni = false;
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// The pin of the certificate that the other side has shown and whose key it has proved.
#[must_use]
pub fn peer_pin(connection: &CommonState) -> Option<Pin> {
    connection.peer_certificates().and_then(|chain| chain.first()).map(|first| Pin::of(first))
}

/// Accepts one certificate, or any one where `pin` is `None`; the key is proved in both cases.
struct Only {
    pin: Option<Pin>,
    provider: Arc<CryptoProvider>,
}

impl Only {
    fn check(&self, certificate: &CertificateDer<'_>) -> Result<(), Error> {
        let Some(pinned) = self.pin else { return Ok(()) };
        let shown = Pin::of(certificate);
        // Pins are public: no constant-time comparison is needed.
        if shown == pinned {
            return Ok(());
        }
        let name = common_name(certificate)
            .map(|name| name.chars().filter(|c| !c.is_control()).take(NAME_LEN_MAX).collect());
        let why = WrongPin { shown, pinned, name };
        Err(Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(why)))))
    }
}

impl fmt::Debug for Only {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Only({:?})", self.pin)
    }
}

impl ServerCertVerifier for Only {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check(end_entity).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

impl ClientCertVerifier for Only {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.check(end_entity).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        ServerCertVerifier::verify_tls12_signature(self, message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        ServerCertVerifier::verify_tls13_signature(self, message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ServerCertVerifier::supported_verify_schemes(self)
    }
}
