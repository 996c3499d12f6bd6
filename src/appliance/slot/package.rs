//! The file that an update comes in: what it is, who signed it, and the image of a slot.
//!
//! ```text
//! magic 8 │ key's id 8 │ signature 64 │ length 4 (LE) │ manifest (JSON) │ slot image (zstd) …
//! ```
//!
//! Invariants: nothing of the manifest is believed before its signature is, and nothing of the image
//! counts before its digest is the manifest's. A file is read once, front to back, in bounded memory:
//! it may come through a pipe. Deliberately absent: differences between images, and names of files: a
//! slot is one piece.

use super::digest::{Digest, Digests, Hashing};
use super::keys::{KeyId, SIGNATURE_LEN, SigningKey, TrustedKeys};
use super::version::Version;
use serde::{Deserialize, Serialize};
use std::io::{self, BufReader, Read, Seek, Write};

/// What a package begins with; a form that this version cannot read has another one.
pub const MAGIC: [u8; 8] = *b"USTUPD\x01\n";
/// What is signed begins with this, so that no signature of ours ever means something else.
const DOMAIN: &[u8] = b"understudy update manifest 1\0";
/// Longest manifest, in bytes.
pub const MANIFEST_LEN_MAX: usize = 64 * 1024;
/// Largest slot, in bytes: that of the partition table.
pub const SLOT_LEN_MAX: u64 = 512 * 1024 * 1024;
/// Length of what is read and written at a time, in bytes.
pub const CHUNK: usize = 1024 * 1024;
/// Largest window of a compressed image, as a power of two: what decompressing may take of memory.
const WINDOW_LOG_MAX: u32 = 23;
/// Bytes by which compressing may lengthen what cannot be compressed.
const COMPRESSED_EXTRA: u64 = CHUNK as u64;
/// How hard is compressed: most of a slot is compressed already.
const LEVEL: i32 = 9;

/// What whoever builds an image says about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// Its version.
    pub version: Version,
    /// The data format that it writes once it is marked good.
    pub data_format: u32,
    /// The oldest data format that it reads.
    pub data_format_least: u32,
    /// When it was built, in seconds since 1970 (`SOURCE_DATE_EPOCH`).
    pub built: u64,
}

/// What a package says about its image. Fields that are not known here mean nothing here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// What its builder says.
    #[serde(flatten)]
    pub about: About,
    /// Length of the image, in bytes.
    pub slot_len: u64,
    /// BLAKE3 of the image: its name.
    pub blake3: Digest,
    /// SHA-256 of the image.
    pub sha256: Digest,
}

/// Why a package is not taken.
#[derive(Debug, thiserror::Error)]
pub enum PackageError {
    /// It cannot be read.
    #[error("the update cannot be read: {0}")]
    Read(#[source] io::Error),
    /// It begins with something else.
    #[error(
        "this is no update of Understudy (a file `understudy-<version>.update`), or one for a later form"
    )]
    Strange,
    /// It ends too early.
    #[error("the update is cut off; fetch it again")]
    Short,
    /// Nobody whom this appliance trusts has signed it.
    #[error("the update is signed with the key {0}, which this appliance does not trust")]
    UnknownKey(KeyId),
    /// Its signature is not that of its manifest.
    #[error("the signature does not hold: this update was damaged or forged; fetch it again")]
    Forged,
    /// It was signed, but makes no sense.
    #[error("the manifest makes no sense: {0}")]
    Manifest(String),
    /// It does not fit.
    #[error("the image has {len} bytes, the slot {room}")]
    Large {
        /// Length of the image.
        len: u64,
        /// Room in the slot.
        room: u64,
    },
    /// The image is not the one that was signed.
    #[error("the image is not what was signed: the update was damaged; fetch it again")]
    Damaged,
    /// The image could not be written.
    #[error("the image cannot be written: {0}")]
    Write(#[source] io::Error),
}

/// A package whose manifest is signed by a key that is trusted; its image is still to be read.
pub struct Package<R> {
    manifest: Manifest,
    key: KeyId,
    body: R,
}

/// What stands before the image.
struct Head {
    key: KeyId,
    signature: [u8; SIGNATURE_LEN],
    manifest: Vec<u8>,
}

impl Manifest {
    fn read(text: &[u8]) -> Result<Self, PackageError> {
        let manifest: Self =
            serde_json::from_slice(text).map_err(|e| PackageError::Manifest(e.to_string()))?;
        if manifest.about.data_format_least > manifest.about.data_format {
            let reason = "it cannot read the data format that it writes";
            return Err(PackageError::Manifest(reason.into()));
        }
        if !(1..=SLOT_LEN_MAX).contains(&manifest.slot_len) {
            let reason = format!("a slot of {} bytes", manifest.slot_len);
            return Err(PackageError::Manifest(reason));
        }
        Ok(manifest)
    }
}

impl Head {
    fn read(reader: &mut impl Read) -> Result<Self, PackageError> {
        let mut magic = [0; 8];
        fill(reader, &mut magic).map_err(|e| match e {
            PackageError::Short => PackageError::Strange,
            other => other,
        })?;
        if magic != MAGIC {
            return Err(PackageError::Strange);
        }
        let (mut key, mut signature, mut len) = ([0; 8], [0; SIGNATURE_LEN], [0; 4]);
        fill(reader, &mut key)?;
        fill(reader, &mut signature)?;
        fill(reader, &mut len)?;
        let len = usize::try_from(u32::from_le_bytes(len)).unwrap_or(usize::MAX);
        if len > MANIFEST_LEN_MAX {
            return Err(PackageError::Strange);
        }
        let mut manifest = vec![0; len];
        fill(reader, &mut manifest)?;
        Ok(Self { key: KeyId(key), signature, manifest })
    }
}

fn signed_text(key: KeyId, manifest: &[u8]) -> Vec<u8> {
    [DOMAIN, &key.0, manifest].concat()
}

fn fill(reader: &mut impl Read, out: &mut [u8]) -> Result<(), PackageError> {
    reader.read_exact(out).map_err(|e| match e.kind() {
        io::ErrorKind::UnexpectedEof => PackageError::Short,
        _ => PackageError::Read(e),
    })
}

/// Reads what stands before the image, and believes it only when a trusted key has signed it.
///
/// # Errors
/// See [`PackageError`].
pub fn open<R: Read>(mut reader: R, trusted: &TrustedKeys) -> Result<Package<R>, PackageError> {
    let head = Head::read(&mut reader)?;
    let key = trusted.get(head.key).ok_or(PackageError::UnknownKey(head.key))?;
    if !key.verifies(&signed_text(head.key, &head.manifest), &head.signature) {
        return Err(PackageError::Forged);
    }
    Ok(Package { manifest: Manifest::read(&head.manifest)?, key: head.key, body: reader })
}

impl<R: Read> Package<R> {
    /// What it is.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Who signed it.
    #[must_use]
    pub fn key(&self) -> KeyId {
        self.key
    }

    /// Hands the image to `write`, piece by piece with its offset, at most `room` bytes.
    ///
    /// # Errors
    /// After any error what was written counts for nothing: the digest is known at the end only.
    pub fn unpack(
        self,
        room: u64,
        write: &mut dyn FnMut(u64, &[u8]) -> io::Result<()>,
    ) -> Result<(), PackageError> {
        unpack(&self.manifest, self.body, room, write)
    }
}

fn unpack(
    manifest: &Manifest,
    body: impl Read,
    room: u64,
    write: &mut dyn FnMut(u64, &[u8]) -> io::Result<()>,
) -> Result<(), PackageError> {
    let len = manifest.slot_len;
    if len > room {
        return Err(PackageError::Large { len, room });
    }
    let mut decoder = zstd::stream::read::Decoder::new(body.take(len + COMPRESSED_EXTRA))
        .map_err(PackageError::Read)?;
    decoder.window_log_max(WINDOW_LOG_MAX).map_err(PackageError::Read)?;
    let (mut buffer, mut hashing, mut at) = (vec![0; CHUNK], Hashing::default(), 0_u64);
    while at < len {
        let wanted = usize::try_from(len - at).unwrap_or(CHUNK).min(CHUNK);
        let piece = buffer.get_mut(..wanted).unwrap_or_default();
        decoder.read_exact(piece).map_err(undone)?;
        hashing.update(piece);
        write(at, piece).map_err(PackageError::Write)?;
        at += u64::try_from(wanted).unwrap_or(0);
    }
    // The end must be the end: nothing follows that nobody has signed.
    if decoder.read(&mut [0; 1]).map_err(undone)? != 0 {
        return Err(PackageError::Damaged);
    }
    let wanted = Digests { blake3: manifest.blake3, sha256: manifest.sha256 };
    if hashing.finish() == wanted { Ok(()) } else { Err(PackageError::Damaged) }
}

/// An error while decompressing: the source's own, or one of what it gave.
fn undone(e: io::Error) -> PackageError {
    match e.kind() {
        io::ErrorKind::UnexpectedEof => PackageError::Short,
        // zstd's own errors are of this kind.
        io::ErrorKind::Other => PackageError::Damaged,
        _ => PackageError::Read(e),
    }
}

/// Makes a package of the image in `slot`.
///
/// # Errors
/// [`PackageError::Read`] and [`PackageError::Write`]; [`PackageError::Manifest`] for an image or a
/// description that no appliance would take.
pub fn pack(
    about: About,
    slot: &mut (impl Read + Seek),
    key: &SigningKey,
    out: &mut impl Write,
) -> Result<Manifest, PackageError> {
    let (mut hashing, mut slot_len, mut buffer) = (Hashing::default(), 0_u64, vec![0; CHUNK]);
    loop {
        let read = slot.read(&mut buffer).map_err(PackageError::Read)?;
        if read == 0 {
            break;
        }
        hashing.update(buffer.get(..read).unwrap_or_default());
        slot_len += u64::try_from(read).unwrap_or(0);
    }
    let Digests { blake3, sha256 } = hashing.finish();
    let manifest = Manifest { about, slot_len, blake3, sha256 };
    let text = serde_json::to_vec(&manifest).map_err(|e| PackageError::Manifest(e.to_string()))?;
    Manifest::read(&text)?;
    let len = u32::try_from(text.len()).ok().filter(|_| text.len() <= MANIFEST_LEN_MAX);
    let len = len.ok_or_else(|| PackageError::Manifest("it is too long".into()))?;
    let id = key.public().id();
    let signature = key.sign(&signed_text(id, &text));
    let head = [&MAGIC[..], &id.0, &signature, &len.to_le_bytes(), &text].concat();
    out.write_all(&head).map_err(PackageError::Write)?;
    slot.rewind().map_err(PackageError::Read)?;
    zstd::stream::copy_encode(BufReader::new(slot), &mut *out, LEVEL)
        .map_err(PackageError::Write)?;
    out.flush().map_err(PackageError::Write)?;
    Ok(manifest)
}

/// For fuzzers: reads all of `bytes` as if it were signed, into nothing. Gives how many bytes of an
/// image came out, at most `room`.
#[must_use]
pub fn explore(bytes: &[u8], room: u64) -> u64 {
    let (mut rest, mut written) = (bytes, 0);
    let mut count = |_: u64, piece: &[u8]| {
        written += u64::try_from(piece.len()).unwrap_or(0);
        Ok(())
    };
    if let Ok(manifest) = Head::read(&mut rest).and_then(|head| Manifest::read(&head.manifest)) {
        drop(unpack(&manifest, rest, room, &mut count));
    }
    written
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Cursor;

    pub(crate) fn about(version: &str) -> About {
        About { version: version.parse().unwrap(), data_format: 1, data_format_least: 1, built: 7 }
    }

    pub(crate) fn packed(about: About, image: &[u8], key: &SigningKey) -> Vec<u8> {
        let mut out = Vec::new();
        pack(about, &mut Cursor::new(image), key, &mut out).unwrap();
        out
    }

    fn image(len: usize) -> Vec<u8> {
        let mut image: Vec<u8> =
            (0..len).map(|i| u8::try_from((i * i / 7) % 251).unwrap()).collect();
        image.extend([0; 5000]);
        image
    }

    fn taken(bytes: &[u8], trusted: &TrustedKeys) -> Result<(Manifest, Vec<u8>), PackageError> {
        let mut out = Vec::new();
        let package = open(bytes, trusted)?;
        let manifest = package.manifest().clone();
        package.unpack(SLOT_LEN_MAX, &mut |at, piece| {
            assert_eq!(at, u64::try_from(out.len()).unwrap());
            out.extend_from_slice(piece);
            Ok(())
        })?;
        Ok((manifest, out))
    }

    #[test]
    fn what_is_packed_is_taken_with_either_key() {
        let keys = [SigningKey::generate().unwrap().0, SigningKey::generate().unwrap().0];
        let trusted = TrustedKeys::of(keys.iter().map(SigningKey::public).collect());
        let image = image(3 * CHUNK / 2);
        for key in &keys {
            let bytes = packed(about("1.2.3"), &image, key);
            assert_eq!(bytes, packed(about("1.2.3"), &image, key), "reproducible");
            let (manifest, out) = taken(&bytes, &trusted).unwrap();
            assert_eq!(manifest.about, about("1.2.3"));
            assert!(out == image);
            let room = manifest.slot_len - 1;
            let small = open(&*bytes, &trusted).unwrap();
            let refused = small.unpack(room, &mut |_, _| panic!("nothing is written"));
            assert!(matches!(refused, Err(PackageError::Large { .. })));
            assert_eq!(explore(&bytes, SLOT_LEN_MAX), manifest.slot_len);
        }
        let stranger = SigningKey::generate().unwrap().0;
        let bytes = packed(about("1.2.3"), &image, &stranger);
        let refused = taken(&bytes, &trusted);
        assert!(
            matches!(refused, Err(PackageError::UnknownKey(id)) if id == stranger.public().id())
        );
    }

    #[test]
    fn every_changed_byte_is_noticed() {
        let key = SigningKey::generate().unwrap().0;
        let trusted = TrustedKeys::of(vec![key.public()]);
        let bytes = packed(about("1.2.3"), &image(20_000), &key);
        let whole = taken(&bytes, &trusted).unwrap();
        let head = 84 + serde_json::to_vec(&whole.0).unwrap().len();
        for at in (0..bytes.len()).filter(|at| *at < head || at % 97 == 0) {
            let mut changed = bytes.clone();
            changed[at] ^= 0x10;
            // A frame of zstd has bits that mean nothing; what comes out is the same, or an error.
            match taken(&changed, &trusted) {
                Ok(other) => assert!(at >= head && other == whole, "byte {at}"),
                Err(e) => assert!(!e.to_string().is_empty()),
            }
            assert!(taken(&bytes[..at], &trusted).is_err(), "cut at {at}");
        }
        let longer = [&bytes[..], b"more"].concat();
        assert!(taken(&longer, &trusted).is_err());
        let twice = [&bytes[..], &bytes[head..]].concat();
        assert!(matches!(taken(&twice, &trusted), Err(PackageError::Damaged)));
    }

    #[test]
    fn a_signed_manifest_must_make_sense() {
        let key = SigningKey::generate().unwrap().0;
        let odd = About { data_format_least: 2, ..about("1.2.3") };
        let made = pack(odd, &mut Cursor::new(b"x"), &key, &mut Vec::new());
        assert!(matches!(made, Err(PackageError::Manifest(_))));
        let made = pack(about("1.2.3"), &mut Cursor::new(b""), &key, &mut Vec::new());
        assert!(matches!(made, Err(PackageError::Manifest(_))));
        // What later versions say besides is no hindrance.
        let text = format!(
            r#"{{"version":"1.2.3","data_format":3,"data_format_least":2,"built":1,"slot_len":1,
            "later":[],"blake3":"{0}","sha256":"{0}"}}"#,
            Digest([3; 32])
        );
        assert_eq!(Manifest::read(text.as_bytes()).unwrap().about.data_format, 3);
        let huge = text.replace("\"slot_len\":1", "\"slot_len\":536870913");
        assert!(Manifest::read(huge.as_bytes()).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
            len in any::<u32>(),
        ) {
            prop_assert!(explore(&bytes, 1 << 20) <= 1 << 20);
            let headed = [&MAGIC[..], &[0; 72], &len.to_le_bytes(), &bytes].concat();
            prop_assert!(explore(&headed, 1 << 20) <= 1 << 20);
            let trusted = TrustedKeys::of(vec![SigningKey::generate().unwrap().0.public()]);
            prop_assert!(open(&*headed, &trusted).is_err());
        }
    }
}
