//! Who this node is in its pair: `<data_dir>/pair/identity.json`.

use super::FormationError;
use crate::base::secret::{Secret, serialize_exposed};
use crate::tls::{Identity, Pin, files};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use understudy_proto::id::NodeId;
use understudy_proto::time::UnixMs;

/// Version of the file's format.
pub(super) const VERSION: u32 = 1;
/// The file, below the data directory.
pub(super) const FILE: &str = "pair/identity.json";

/// A pair, forever: 128 random bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PairId(pub [u8; 16]);

/// Everything that makes this node a node of its pair. One file, replaced as a whole.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PairIdentity {
    pub(super) version: u32,
    /// Which pair.
    pub pair: PairId,
    /// Which of its nodes.
    pub node: NodeId,
    /// Whether this node began the pair: what it holds then is the pair's.
    pub founded: bool,
    /// Counts the joins: a node that was replaced knows a lower one.
    pub config_id: u64,
    /// Our certificate on the link, PEM.
    pub certificate_pem: String,
    /// Its private key, PEM.
    #[serde(serialize_with = "serialize_exposed")]
    pub key_pem: Secret<String>,
    /// What authenticates beacons.
    #[serde(serialize_with = "exposed_hex", deserialize_with = "secret_hex")]
    pub beacon_key: Secret<[u8; 32]>,
    /// The peer's certificate, PEM; `None` until somebody has joined.
    pub peer_certificate_pem: Option<String>,
    /// A token that waits for its use.
    pub(super) token: Option<Pending>,
    /// The one that the peer came by: it may not have heard the answer, and ask again.
    #[serde(default)]
    pub(super) used: Option<Pending>,
}

/// A token that was given out.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Pending {
    /// Derived from the token's secret.
    #[serde(serialize_with = "exposed_hex", deserialize_with = "secret_hex")]
    pub(super) key: Secret<[u8; 32]>,
    pub(super) expires: UnixMs,
}

impl PairIdentity {
    /// The identity in `data_dir`; `None` where the node is in no pair.
    ///
    /// # Errors
    /// The file cannot be read or is damaged.
    pub fn load(data_dir: &Path) -> Result<Option<Self>, FormationError> {
        let path = data_dir.join(FILE);
        let found = files::read(&path)
            .map_err(|source| FormationError::File { path: path.clone(), source })?;
        let Some(bytes) = found else { return Ok(None) };
        let id: Self = serde_json::from_slice(&bytes)
            .map_err(|e| FormationError::Damaged { path: path.clone(), why: e.to_string() })?;
        if id.version != VERSION {
            let why = format!("its format {} belongs to another release", id.version);
            return Err(FormationError::Damaged { path, why });
        }
        Ok(Some(id))
    }

    /// The pin of the peer's certificate.
    #[must_use]
    pub fn peer_pin(&self) -> Option<Pin> {
        self.peer_certificate_pem.as_deref().and_then(Pin::of_pem)
    }

    /// The pin of our own certificate.
    #[must_use]
    pub fn own_pin(&self) -> Option<Pin> {
        Pin::of_pem(&self.certificate_pem)
    }

    /// Our certificate and key for [`crate::tls::LinkTls`].
    #[must_use]
    pub fn link_identity(&self) -> Identity {
        Identity {
            certificate_pem: self.certificate_pem.clone(),
            key_pem: self.key_pem.expose().clone(),
        }
    }
}

/// Replaces the identity in `data_dir` by what `f` makes of it, durably and alone: the command line
/// and the running process may both come here.
pub(super) fn change<T>(
    data_dir: &Path,
    f: impl FnOnce(Option<PairIdentity>) -> Result<(PairIdentity, T), FormationError>,
) -> Result<T, FormationError> {
    let path = data_dir.join(FILE);
    let dir = data_dir.join("pair");
    let file = |path: &Path| {
        let path = PathBuf::from(path);
        move |source| FormationError::File { path, source }
    };
    files::folder(&dir).map_err(file(&dir))?;
    let lock_path = dir.join("lock");
    let lock = File::create(&lock_path).map_err(file(&lock_path))?;
    lock.lock().map_err(file(&lock_path))?;
    let (new, result) = f(PairIdentity::load(data_dir)?)?;
    let text = serde_json::to_vec_pretty(&new)
        .map_err(|e| FormationError::Damaged { path: path.clone(), why: e.to_string() })?;
    files::write_secret(&path, &text).map_err(file(&path))?;
    Ok(result)
}

impl fmt::Display for PairId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl Serialize for PairId {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&hex(&self.0))
    }
}

impl<'de> Deserialize<'de> for PairId {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        from_hex(&String::deserialize(d)?)
            .map(Self)
            .ok_or_else(|| D::Error::custom("a pair id is 32 hexadecimal digits"))
    }
}

fn exposed_hex<S: Serializer>(secret: &Secret<[u8; 32]>, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_str(&hex(secret.expose()))
}

fn secret_hex<'de, D: Deserializer<'de>>(d: D) -> Result<Secret<[u8; 32]>, D::Error> {
    from_hex(&String::deserialize(d)?)
        .map(Secret::new)
        .ok_or_else(|| D::Error::custom("a key is 64 hexadecimal digits"))
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn from_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    if text.len() != N * 2 {
        return None;
    }
    for (to, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        for digit in pair {
            let value = char::from(*digit).to_digit(16).and_then(|v| u8::try_from(v).ok())?;
            *to = *to << 4 | value;
        }
    }
    Some(bytes)
}
