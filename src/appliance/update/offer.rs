//! The update that an operator or the peer hands over, in `<data_dir>/update`, piece by piece.
//!
//! Invariants: a file of [`READY`]'s name was whole when it got the name, its manifest signed by a
//! trusted key and its digest the one that was named. Nothing here needs a privilege: whoever installs
//! checks it all again. Deliberately absent: slots.

use super::machine::replace;
use super::order::OFFER_LEN_MAX;
use crate::appliance::slot::digest::{Digest, Hashing};
use crate::appliance::slot::keys::{KeyError, TrustedKeys};
use crate::appliance::slot::package::{self, CHUNK, Manifest, PackageError};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Folder below `data_dir`.
pub const DIR: &str = "update";
/// An update that is whole.
pub const READY: &str = "offer.update";
/// One that an operator is handing over.
pub const UPLOAD: &str = "upload.part";
/// One that the peer is handing over.
pub const INCOMING: &str = "incoming.part";
/// How far the pair's update is.
const ROLL: &str = "roll.json";
/// Longest such file, in bytes.
const ROLL_LEN_MAX: u64 = 256 * 1024;

/// Why an offer is not taken.
#[derive(Debug, thiserror::Error)]
pub enum OfferError {
    /// The disk.
    #[error("the update cannot be kept on the data disk: {0}")]
    Io(#[from] io::Error),
    /// The file.
    #[error("{0}")]
    Package(#[from] PackageError),
    /// The keys.
    #[error("{0}")]
    Key(#[from] KeyError),
    /// A piece does not continue what is there.
    #[error("this piece begins at byte {offset}, but {have} are there")]
    Gap {
        /// Where the piece begins.
        offset: u64,
        /// What is there.
        have: u64,
    },
    /// It is longer than any update.
    #[error("an update has at most {OFFER_LEN_MAX} bytes")]
    Long,
    /// It is another than was named.
    #[error("the file did not arrive as it was sent")]
    Unlike,
}

/// A file as it lies there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// What it says of itself; signed.
    pub manifest: Manifest,
    /// Its length, in bytes.
    pub len: u64,
    /// BLAKE3 of the whole file.
    pub file: Digest,
}

/// The folder with these files.
#[derive(Clone, Debug)]
pub struct Offers {
    dir: PathBuf,
    trusted: PathBuf,
}

impl Offers {
    /// The folder below `data_dir`; who may sign is said in the folder `trusted`.
    #[must_use]
    pub fn new(data_dir: &Path, trusted: &Path) -> Self {
        Self { dir: data_dir.join(DIR), trusted: trusted.to_owned() }
    }

    /// Adds a piece to `name`; one at 0 begins anew. Gives how many bytes are there.
    ///
    /// # Errors
    /// See [`OfferError`]; a beginning that nobody trusted has signed is refused at once.
    pub fn put(&self, name: &str, offset: u64, bytes: &[u8]) -> Result<u64, OfferError> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.dir)?;
        let mut options = OpenOptions::new();
        options.write(true).create(true).mode(0o600).truncate(offset == 0);
        let file = options.open(self.dir.join(name))?;
        let have = file.metadata()?.len();
        if have != offset {
            return Err(OfferError::Gap { offset, have });
        }
        let len = have.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        if len > OFFER_LEN_MAX {
            return Err(OfferError::Long);
        }
        if offset == 0 {
            match package::open(bytes, &TrustedKeys::load(&self.trusted)?) {
                // A manifest that is longer than this piece: it is looked at in the end.
                Ok(_) | Err(PackageError::Short) => {}
                Err(e) => return Err(e.into()),
            }
        }
        file.write_all_at(bytes, offset)?;
        Ok(len)
    }

    /// How many bytes of `name` are there.
    #[must_use]
    pub fn have(&self, name: &str) -> u64 {
        fs::metadata(self.dir.join(name)).map_or(0, |there| there.len())
    }

    /// What `name` is: its manifest when a trusted key has signed it, and its digest.
    ///
    /// # Errors
    /// See [`OfferError`].
    pub fn examine(&self, name: &str) -> Result<Offer, OfferError> {
        let path = self.dir.join(name);
        let trusted = TrustedKeys::load(&self.trusted)?;
        let manifest = package::open(File::open(&path)?, &trusted)?.manifest().clone();
        let (mut file, mut hashing, mut len) = (File::open(&path)?, Hashing::default(), 0_u64);
        let mut buffer = vec![0; CHUNK];
        loop {
            let read = file.read(&mut buffer)?;
            if read == 0 {
                break;
            }
            hashing.update(buffer.get(..read).unwrap_or_default());
            len = len.saturating_add(u64::try_from(read).unwrap_or(0));
        }
        Ok(Offer { manifest, len, file: hashing.finish().blake3 })
    }

    /// Makes `name` the update that is whole.
    ///
    /// # Errors
    /// The disk.
    pub fn accept(&self, name: &str) -> Result<(), OfferError> {
        File::open(self.dir.join(name))?.sync_all()?;
        fs::rename(self.dir.join(name), self.dir.join(READY))?;
        File::open(&self.dir)?.sync_all()?;
        Ok(())
    }

    /// A piece of the update that is whole, at most `len` bytes.
    ///
    /// # Errors
    /// The disk.
    pub fn piece(&self, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let file = File::open(self.dir.join(READY))?;
        let mut piece = vec![0; len];
        let mut have = 0;
        while have < len {
            let at = offset.saturating_add(u64::try_from(have).unwrap_or(u64::MAX));
            let read = file.read_at(piece.get_mut(have..).unwrap_or_default(), at)?;
            if read == 0 {
                break;
            }
            have += read;
        }
        piece.truncate(have);
        Ok(piece)
    }

    /// Removes the update of a roll that is over. What an operator hands over meanwhile stays.
    pub fn forget(&self) {
        self.remove(&[READY, INCOMING]);
    }

    /// Removes what an operator did not hand over whole before the program ended.
    pub fn forget_upload(&self) {
        self.remove(&[UPLOAD]);
    }

    fn remove(&self, names: &[&str]) {
        for name in names {
            if let Err(e) = fs::remove_file(self.dir.join(name))
                && e.kind() != io::ErrorKind::NotFound
            {
                log::debug!(err:% = e, path = *name; "an update that was handed over stays");
            }
        }
    }

    /// Keeps how far the pair's update is, durably.
    ///
    /// # Errors
    /// The disk.
    pub fn save_roll(&self, text: &[u8]) -> io::Result<()> {
        replace(&self.dir, ROLL, text)
    }

    /// How far it was; `None` where there was none.
    ///
    /// # Errors
    /// The disk.
    pub fn load_roll(&self) -> io::Result<Option<Vec<u8>>> {
        match File::open(self.dir.join(ROLL)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
            Ok(file) => {
                let mut text = Vec::new();
                file.take(ROLL_LEN_MAX).read_to_end(&mut text)?;
                Ok(Some(text))
            }
        }
    }
}

/// Copies `from` in pieces of at most `len` bytes to `put`, which gets each with its offset.
///
/// # Errors
/// Those of reading, as `unread` says them, and of `put`.
pub fn in_pieces<E>(
    mut from: impl Read,
    len: usize,
    unread: fn(io::Error) -> E,
    mut put: impl FnMut(u64, &[u8]) -> Result<(), E>,
) -> Result<u64, E> {
    let (mut buffer, mut at) = (Vec::with_capacity(len), 0_u64);
    loop {
        buffer.clear();
        let limit = u64::try_from(len).unwrap_or(u64::MAX);
        let read = (&mut from).take(limit).read_to_end(&mut buffer).map_err(unread)?;
        if read == 0 {
            return Ok(at);
        }
        put(at, &buffer)?;
        at = at.saturating_add(u64::try_from(read).unwrap_or(u64::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::appliance::slot::keys::SigningKey;
    use crate::appliance::slot::package::tests::{about, packed};

    #[test]
    fn an_update_arrives_in_pieces() {
        let dir = tempfile::tempdir().unwrap();
        let (key, _) = SigningKey::generate().unwrap();
        let trusted = dir.path().join("trusted");
        fs::create_dir(&trusted).unwrap();
        let offers = Offers::new(dir.path(), &trusted);
        let bytes = packed(about("1.2.3"), &[7; 20_000], &key);
        let unsigned = offers.put(UPLOAD, 0, &bytes);
        assert!(matches!(unsigned, Err(OfferError::Package(PackageError::UnknownKey(_)))));
        fs::write(trusted.join("a.pub"), key.public().to_pem()).unwrap();
        let mut put = |offset, piece: &[u8]| offers.put(UPLOAD, offset, piece).map(drop);
        let len = in_pieces(&bytes[..], 300, OfferError::Io, &mut put).unwrap();
        assert_eq!(len, u64::try_from(bytes.len()).unwrap());
        assert!(matches!(offers.put(UPLOAD, 5, b"x"), Err(OfferError::Gap { offset: 5, .. })));
        let offer = offers.examine(UPLOAD).unwrap();
        assert_eq!((offer.len, offer.manifest.slot_len), (len, 20_000));
        offers.accept(UPLOAD).unwrap();
        assert_eq!(offers.piece(3, 1_000_000).unwrap(), &bytes[3..]);
        assert!(offers.piece(len, 10).unwrap().is_empty());
        assert_eq!(offers.have(UPLOAD), 0);
        offers.put(UPLOAD, 0, &bytes).unwrap();
        offers.forget();
        assert_eq!(
            (offers.have(READY), offers.have(UPLOAD)),
            (0, len),
            "the next one is on its way"
        );
        offers.forget_upload();
        assert_eq!(offers.have(UPLOAD), 0);
        assert_eq!(offers.load_roll().unwrap(), None);
        offers.save_roll(b"x").unwrap();
        assert_eq!(offers.load_roll().unwrap().as_deref(), Some(&b"x"[..]));
    }
}
