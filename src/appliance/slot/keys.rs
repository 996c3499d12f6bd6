//! Who may sign an update: Ed25519 keys (RFC 8032), several at a time so that they can be changed.
//!
//! To change keys: ship an image that trusts the old and the new one, sign with the new one from
//! then on, and drop the old one an image later. Deliberately absent: expiry (an appliance may lie
//! in a drawer for years, and its clock may be wrong) and chains of keys.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Where the image keeps the keys that it trusts: `*.pub`.
pub const TRUSTED_DIR: &str = "/etc/understudy/update-keys";
/// Most keys that are trusted at a time.
pub const TRUSTED_MAX: usize = 8;
/// Longest file of a key, in bytes.
const FILE_LEN_MAX: u64 = 4 * 1024;
/// What comes before the 32 bytes of an Ed25519 key in a SubjectPublicKeyInfo (RFC 8410 4).
const SPKI_HEAD: &[u8] = &[0x30, 0x2a, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 3, 0x21, 0];
/// Length of a signature, in bytes.
pub const SIGNATURE_LEN: usize = 64;

/// What a key is called in a package: the first bytes of the SHA-256 of its 32 bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct KeyId(pub [u8; 8]);

/// A key that verifies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey([u8; 32]);

/// The keys that an appliance trusts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedKeys(Vec<PublicKey>);

/// A key that signs.
pub struct SigningKey(Ed25519KeyPair);

/// A key that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Its file cannot be read.
    #[error("the key {} cannot be read: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Its file holds something else.
    #[error("{} is no Ed25519 key: expected PEM (openssl genpkey -algorithm ed25519) or base64 of 32 bytes", .0.display())]
    Strange(PathBuf),
    /// There are more than [`TRUSTED_MAX`].
    #[error("{} holds more than {TRUSTED_MAX} keys", .0.display())]
    Many(PathBuf),
    /// The library did not make one.
    #[error("no key could be made on this machine")]
    Unmade,
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl PublicKey {
    /// Reads PEM (`PUBLIC KEY`) or base64 of the bare 32 bytes.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let der = decode(text)?;
        let bare = der.strip_prefix(SPKI_HEAD).unwrap_or(&der);
        bare.try_into().ok().map(Self)
    }

    /// As PEM.
    #[must_use]
    pub fn to_pem(&self) -> String {
        pem("PUBLIC KEY", &[SPKI_HEAD, &self.0].concat())
    }

    /// What a package calls it.
    #[must_use]
    pub fn id(&self) -> KeyId {
        let mut id = [0; 8];
        for (to, from) in id.iter_mut().zip(digest(&SHA256, &self.0).as_ref()) {
            *to = *from;
        }
        KeyId(id)
    }

    /// Whether this key made `signature` over `message`.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.0).verify(message, signature).is_ok()
    }
}

impl TrustedKeys {
    /// These.
    #[must_use]
    pub fn of(keys: Vec<PublicKey>) -> Self {
        Self(keys)
    }

    /// All `*.pub` in `dir`. None where the folder is missing: then nothing is trusted.
    ///
    /// # Errors
    /// A key that cannot be read is an error: an operator who put it there relies on it.
    pub fn load(dir: &Path) -> Result<Self, KeyError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| KeyError::Io { path, source }
        };
        let entries = match fs::read_dir(dir) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            other => other.map_err(failed(dir))?,
        };
        let mut keys = Vec::new();
        for entry in entries {
            let path = entry.map_err(failed(dir))?.path();
            if path.extension().is_none_or(|extension| extension != "pub") {
                continue;
            }
            let text = read_text(&path)?;
            keys.push(PublicKey::read(&text).ok_or_else(|| KeyError::Strange(path))?);
            if keys.len() > TRUSTED_MAX {
                return Err(KeyError::Many(dir.to_owned()));
            }
        }
        Ok(Self(keys))
    }

    /// The key that is called so.
    #[must_use]
    pub fn get(&self, id: KeyId) -> Option<&PublicKey> {
        self.0.iter().find(|key| key.id() == id)
    }
}

impl SigningKey {
    /// Makes a new one.
    ///
    /// # Errors
    /// [`KeyError::Unmade`].
    pub fn generate() -> Result<(Self, Zeroizing<String>), KeyError> {
        // Version 1 of PKCS #8: what openssl reads and writes, too.
        let der = Ed25519KeyPair::generate_pkcs8v1(&SystemRandom::new())
            .map_err(|_gone| KeyError::Unmade)?;
        let pair = Ed25519KeyPair::from_pkcs8(der.as_ref()).map_err(|_gone| KeyError::Unmade)?;
        Ok((Self(pair), Zeroizing::new(pem("PRIVATE KEY", der.as_ref()))))
    }

    /// Reads a PEM file (`PRIVATE KEY`, PKCS #8).
    ///
    /// # Errors
    /// [`KeyError::Io`], [`KeyError::Strange`].
    pub fn load(path: &Path) -> Result<Self, KeyError> {
        let text = Zeroizing::new(read_text(path)?);
        let strange = || KeyError::Strange(path.to_owned());
        let der = Zeroizing::new(decode(&text).ok_or_else(strange)?);
        Ed25519KeyPair::from_pkcs8(&der).map(Self).map_err(|_rejected| strange())
    }

    /// Its other half.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        let mut bytes = [0; 32];
        for (to, from) in bytes.iter_mut().zip(self.0.public_key().as_ref()) {
            *to = *from;
        }
        PublicKey(bytes)
    }

    /// Signs `message`.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> [u8; SIGNATURE_LEN] {
        let mut out = [0; SIGNATURE_LEN];
        for (to, from) in out.iter_mut().zip(self.0.sign(message).as_ref()) {
            *to = *from;
        }
        out
    }
}

fn read_text(path: &Path) -> Result<String, KeyError> {
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(FILE_LEN_MAX).read_to_string(&mut text))
        .map_err(|source| KeyError::Io { path: path.to_owned(), source })?;
    Ok(text)
}

/// The bytes of a PEM text's only block, or of bare base64.
fn decode(text: &str) -> Option<Vec<u8>> {
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with("-----"));
    STANDARD.decode(lines.collect::<String>()).ok()
}

fn pem(kind: &str, der: &[u8]) -> String {
    format!("-----BEGIN {kind}-----\n{}\n-----END {kind}-----\n", STANDARD.encode(der))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn keys_are_written_and_read() {
        let dir = tempfile::tempdir().unwrap();
        let (key, text) = SigningKey::generate().unwrap();
        let file = dir.path().join("key");
        fs::write(&file, &*text).unwrap();
        let again = SigningKey::load(&file).unwrap();
        assert_eq!(again.public(), key.public());
        let public = key.public();
        let signature = again.sign(b"words");
        assert!(public.verifies(b"words", &signature));
        assert!(!public.verifies(b"Words", &signature));
        assert!(!SigningKey::generate().unwrap().0.public().verifies(b"words", &signature));
        assert_eq!(PublicKey::read(&public.to_pem()), Some(public.clone()));
        let bare = STANDARD.encode(public.0);
        assert_eq!(PublicKey::read(&format!("{bare}\n")), Some(public.clone()));
        assert_eq!(PublicKey::read(&text), None, "a private key is no public one");
        let trusted = dir.path().join("trusted");
        assert_eq!(TrustedKeys::load(&trusted).unwrap(), TrustedKeys::default());
        fs::create_dir(&trusted).unwrap();
        fs::write(trusted.join("a.pub"), public.to_pem()).unwrap();
        fs::write(trusted.join("README"), "no key").unwrap();
        let keys = TrustedKeys::load(&trusted).unwrap();
        assert_eq!(keys.get(public.id()), Some(&public));
        assert_eq!(keys.get(KeyId([0; 8])), None);
        fs::write(trusted.join("b.pub"), "no key").unwrap();
        assert!(matches!(TrustedKeys::load(&trusted), Err(KeyError::Strange(_))));
    }

    #[test]
    fn openssl_makes_the_same_keys() {
        let dir = tempfile::tempdir().unwrap();
        let openssl = |arguments: &[&str]| {
            let made = Command::new("openssl").args(arguments).current_dir(dir.path()).output();
            assert!(made.expect("openssl must be there").status.success(), "{arguments:?}");
        };
        openssl(&["genpkey", "-algorithm", "ed25519", "-out", "theirs"]);
        openssl(&["pkey", "-in", "theirs", "-pubout", "-out", "theirs.pub"]);
        let theirs = SigningKey::load(&dir.path().join("theirs")).unwrap();
        let public = fs::read_to_string(dir.path().join("theirs.pub")).unwrap();
        assert_eq!(PublicKey::read(&public), Some(theirs.public()));
        let (ours, text) = SigningKey::generate().unwrap();
        fs::write(dir.path().join("ours"), &*text).unwrap();
        openssl(&["pkey", "-in", "ours", "-pubout", "-out", "ours.pub"]);
        let public = fs::read_to_string(dir.path().join("ours.pub")).unwrap();
        assert_eq!(PublicKey::read(&public), Some(ours.public()));
    }
}
