//! The appliance's own certificate authority, and the certificates that it signs.

use super::{TlsError, der, files, sha256};
use crate::base::secret;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType, SerialNumber, date_time_ymd,
};
use std::net::IpAddr;
use std::path::Path;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use understudy_proto::time::UnixMs;

/// How long a service certificate holds. Apple's clients take no longer one, even under an
/// authority that the user has installed (825 days).
const SERVICE_DAYS: u64 = 800;
/// How long an authority, and an appliance's own certificate, hold. The pair does not look at it.
const AUTHORITY_DAYS: u64 = 36_500;
/// A clock before this (2026-01-01) is a dead battery: certificates are dated from here instead.
const CLOCK_FLOOR: UnixMs = UnixMs(1_767_225_600_000);
/// A clock after this (2200-01-01) is as wrong.
const CLOCK_CEILING: UnixMs = UnixMs(7_258_118_400_000);
const DAY_MS: u64 = 86_400_000;

/// A certificate authority of our own.
pub struct Authority {
    certificate_pem: String,
    certificate: CertificateDer<'static>,
    key: KeyPair,
    name: String,
}

/// A certificate and its private key.
pub struct Identity {
    /// The certificate, PEM; followed by its authority's where it has one.
    pub certificate_pem: String,
    /// The private key, PKCS#8 PEM.
    pub key_pem: String,
}

/// What a service certificate is good for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// Host names. The first is the subject.
    pub hosts: Vec<String>,
    /// Addresses; unspecified ones (0.0.0.0) are left out.
    pub addresses: Vec<IpAddr>,
}

impl Authority {
    /// A new authority. Its name carries letters of its key, so that no two are confused by clients.
    ///
    /// # Errors
    /// Key generation failed.
    pub fn generate(now: UnixMs) -> Result<Self, TlsError> {
        let key = KeyPair::generate()?;
        let name = name_of(&key);
        let certificate = params(&name, now)?.self_signed(&key)?;
        Ok(Self {
            certificate_pem: certificate.pem(),
            certificate: certificate.der().clone(),
            key,
            name,
        })
    }

    /// The authority whose files lie in `dir`; made there first where there is none.
    ///
    /// # Errors
    /// A file cannot be read or written or is damaged. A damaged authority is never replaced
    /// silently: clients may have it installed.
    pub fn load_or_generate(dir: &Path, now: UnixMs) -> Result<Self, TlsError> {
        if let Some(found) = Self::load(dir)? {
            return Ok(found);
        }
        let new = Self::generate(now)?;
        new.save(dir)?;
        Ok(new)
    }

    /// The authority whose files lie in `dir`, if any.
    ///
    /// # Errors
    /// As [`Self::load_or_generate`].
    pub fn load(dir: &Path) -> Result<Option<Self>, TlsError> {
        let path = dir.join(FILE);
        match files::read(&path).map_err(|source| TlsError::File { path: path.clone(), source })? {
            None => Ok(None),
            Some(bytes) => Self::from_pem(&String::from_utf8_lossy(&bytes))
                .map(Some)
                .map_err(|why| TlsError::Pem { path, what: "authority", why: why.to_string() }),
        }
    }

    /// Writes the authority into `dir`: `ca.key` (certificate and key together, so that no power
    /// cut can separate them; mode 0600) and `ca.pem` (the certificate alone, to hand out).
    ///
    /// # Errors
    /// As [`files::write_secret`].
    pub fn save(&self, dir: &Path) -> Result<(), TlsError> {
        files::folder(dir).map_err(|source| TlsError::File { path: dir.to_owned(), source })?;
        for (file, text) in [(FILE, self.to_pem()), ("ca.pem", self.certificate_pem.clone())] {
            let path = dir.join(file);
            files::write_secret(&path, text.as_bytes())
                .map_err(|source| TlsError::File { path, source })?;
        }
        Ok(())
    }

    /// Certificate and key in one text: for the other node of the pair.
    #[must_use]
    pub fn to_pem(&self) -> String {
        format!("{}{}", self.certificate_pem, self.key.serialize_pem())
    }

    /// Reads [`Self::to_pem`]'s text.
    ///
    /// # Errors
    /// It holds no certificate, or no key.
    pub fn from_pem(text: &str) -> Result<Self, TlsError> {
        let bad = |what: &'static str, why: String| TlsError::Pem { path: FILE.into(), what, why };
        let certificate = CertificateDer::from_pem_slice(text.as_bytes())
            .map_err(|e| bad("certificate", e.to_string()))?
            .into_owned();
        let key = PrivateKeyDer::from_pem_slice(text.as_bytes())
            .map_err(|e| bad("private key", e.to_string()))?;
        let key = KeyPair::try_from(&key)?;
        let name = name_of(&key);
        let end = text
            .find("-----BEGIN PRIVATE KEY")
            .ok_or_else(|| bad("private key", "not PKCS#8".to_owned()))?;
        let certificate_pem = text.get(..end).unwrap_or_default().to_owned();
        Ok(Self { certificate_pem, certificate, key, name })
    }

    /// The certificate, PEM: what clients install to trust this appliance.
    #[must_use]
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// SHA-256 of the certificate, as `openssl x509 -fingerprint -sha256` prints it.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        fingerprint(&self.certificate)
    }

    /// A service certificate for `names` over `key_pem`, or over a new key.
    ///
    /// # Errors
    /// A name that no certificate can carry; a damaged key.
    pub fn issue(
        &self,
        names: &Names,
        key_pem: Option<&str>,
        now: UnixMs,
    ) -> Result<Identity, TlsError> {
        let key = match key_pem {
            Some(pem) => KeyPair::from_pem(pem)?,
            None => KeyPair::generate()?,
        };
        let mut params = CertificateParams::new(names.hosts.clone())?;
        for ip in names.addresses.iter().filter(|ip| !ip.is_unspecified()) {
            params.subject_alt_names.push(SanType::IpAddress(*ip));
        }
        params.distinguished_name = subject(names.hosts.first().map_or("understudy", |h| h));
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        date(&mut params, now, SERVICE_DAYS);
        let issuer = Issuer::new(self.params(now)?, &self.key);
        let certificate = params.signed_by(&key, &issuer)?;
        Ok(Identity {
            certificate_pem: format!("{}{}", certificate.pem(), self.certificate_pem),
            key_pem: key.serialize_pem(),
        })
    }

    /// What the issuer's side of a signature needs of our own certificate: name and key usage. The
    /// key identifier follows from the key; dates play no part.
    fn params(&self, now: UnixMs) -> Result<CertificateParams, TlsError> {
        params(&self.name, now)
    }
}

const FILE: &str = "ca.key";

fn params(name: &str, now: UnixMs) -> Result<CertificateParams, TlsError> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name = subject(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    date(&mut params, now, AUTHORITY_DAYS);
    Ok(params)
}

fn subject(name: &str) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, name);
    subject
}

/// Dates `params` from yesterday, so that a client whose clock is a little late takes it.
fn date(params: &mut CertificateParams, now: UnixMs, days: u64) {
    let now = now.clamp(CLOCK_FLOOR, CLOCK_CEILING);
    params.serial_number = Some(SerialNumber::from(secret::random::<16>().to_vec()));
    let (year, month, day) = der::date(UnixMs(now.0.saturating_sub(DAY_MS)));
    params.not_before = date_time_ymd(year, month, day);
    let (year, month, day) = der::date(UnixMs(now.0.saturating_add(days * DAY_MS)));
    params.not_after = date_time_ymd(year, month, day);
}

impl Identity {
    /// A certificate that signs itself, for the pair link: known by its pin.
    ///
    /// # Errors
    /// Key generation failed.
    pub fn self_signed(name: &str, now: UnixMs) -> Result<Self, TlsError> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(vec![name.to_owned()])?;
        params.distinguished_name = subject(name);
        date(&mut params, now, AUTHORITY_DAYS);
        let certificate = params.self_signed(&key)?;
        Ok(Self { certificate_pem: certificate.pem(), key_pem: key.serialize_pem() })
    }
}

/// `AB:CD:…`
pub(super) fn fingerprint(der: &[u8]) -> String {
    let pairs: Vec<String> = sha256(der).iter().map(|b| format!("{b:02X}")).collect();
    pairs.join(":")
}

fn name_of(key: &KeyPair) -> String {
    let hash = sha256(key.public_key_raw());
    let letters: String = hash.iter().take(4).map(|b| format!("{b:02x}")).collect();
    format!("Understudy {letters}")
}
