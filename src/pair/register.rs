//! The register on disk: `<data_dir>/pair/register`, replaced atomically; and a witness's, one for
//! each pair.
//!
//! ```text
//! magic [4] ‖ crc32c u32 (over all that follows) ‖ format u16 ‖ postcard of the register
//! "USG1": proto::pair::Register          "USW1": proto::pair::witness::WitnessRegister
//! ```
//! Invariant: after a power cut the old or the new one is there, whole. A damaged one is an error,
//! never a guess: it is what keeps a stale copy from leading.

use crate::store::disk::{Disk, Open};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io;
use std::path::{Path, PathBuf};
use understudy_proto::codec;
use understudy_proto::codec::DecodeError;
use understudy_proto::pair::witness::WitnessRegister;
use understudy_proto::pair::{Arbitration, Register};

const HEAD_LEN: usize = 10;
/// Longest register in bytes; a longer file is damage.
const LEN_MAX: u64 = 1_024;
const NAME: &str = "register";

/// What can be kept so.
pub(super) trait Kept: Serialize + DeserializeOwned {
    /// The first bytes of its file.
    const MAGIC: &'static [u8; 4];
    /// The format that is written.
    const FORMAT: u16;

    /// Reads a body of `format`; `None` for one that this release does not know.
    fn read(format: u16, body: &[u8]) -> Option<Result<Self, DecodeError>> {
        (format == Self::FORMAT).then(|| codec::decode("a register", body))
    }
}

impl Kept for Register {
    const MAGIC: &'static [u8; 4] = b"USG1";
    const FORMAT: u16 = 2;

    fn read(format: u16, body: &[u8]) -> Option<Result<Self, DecodeError>> {
        match format {
            Self::FORMAT => Some(codec::decode("the pair's register", body)),
            FORMAT_UNARBITRATED => {
                let whole = [body, &codec::encode(&Arbitration::None)].concat();
                Some(codec::decode("the pair's register", &whole))
            }
            _ => None,
        }
    }
}

/// A register without the arbitration: of releases before there was a witness.
const FORMAT_UNARBITRATED: u16 = 1;

impl Kept for WitnessRegister {
    const MAGIC: &'static [u8; 4] = b"USW1";
    const FORMAT: u16 = 1;
}

/// The register cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// The system refused.
    #[error("cannot {what} {}: {source}; check the disk, its space and its permissions", path.display())]
    Io {
        /// A verb.
        what: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is not what was written.
    #[error(
        "{} is damaged ({why}); without it this appliance cannot know whether its copy is current: \
         keep the disk, and let it join its peer anew",
        path.display()
    )]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
}

/// Reads the register in `dir`; `None` where none was ever written.
pub(super) fn read(disk: &dyn Disk, dir: &Path) -> Result<Option<Register>, RegisterError> {
    read_named(disk, dir, NAME)
}

/// Makes `register` the one in `dir`. Returns once it is durable.
pub(super) fn write(disk: &dyn Disk, dir: &Path, register: &Register) -> Result<(), RegisterError> {
    write_named(disk, dir, NAME, register)
}

/// Reads what is kept as `name` in `dir`, which is made where it is missing.
pub(super) fn read_named<T: Kept>(
    disk: &dyn Disk,
    dir: &Path,
    name: &str,
) -> Result<Option<T>, RegisterError> {
    let path = dir.join(name);
    disk.create_dir(dir).map_err(io_error("make", dir))?;
    // A folder whose name is lost in a power cut takes what is in it along, synced or not; and who
    // made it may not have got so far.
    if let Some(parent) = dir.parent() {
        disk.sync_dir(parent).map_err(io_error("sync", parent))?;
    }
    let names = disk.list(dir).map_err(io_error("list", dir))?;
    if !names.iter().any(|found| found == name) {
        return Ok(None);
    }
    let file = disk.open(&path, Open::Existing).map_err(io_error("open", &path))?;
    let len = file.len().map_err(io_error("measure", &path))?;
    let damaged = |why: &str| RegisterError::Damaged { path: path.clone(), why: why.to_owned() };
    if len > LEN_MAX {
        return Err(damaged("it is too long"));
    }
    let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
    file.read_at(0, &mut bytes).map_err(io_error("read", &path))?;
    decode(&bytes).map(Some).map_err(|why| damaged(&why))
}

/// Makes `kept` what is kept as `name` in `dir`. Returns once it is durable.
pub(super) fn write_named<T: Kept>(
    disk: &dyn Disk,
    dir: &Path,
    name: &str,
    kept: &T,
) -> Result<(), RegisterError> {
    let (path, new) = (dir.join(name), dir.join(format!("{name}.new")));
    let file = disk.open(&new, Open::Create).map_err(io_error("create", &new))?;
    file.write_at(0, &encode(kept)).map_err(io_error("write", &new))?;
    file.sync_data().map_err(io_error("sync", &new))?;
    disk.rename(&new, &path).map_err(io_error("rename", &new))?;
    disk.sync_dir(dir).map_err(io_error("sync", dir))
}

fn encode<T: Kept>(kept: &T) -> Vec<u8> {
    let mut body = T::FORMAT.to_le_bytes().to_vec();
    body.extend_from_slice(&codec::encode(kept));
    let mut out = T::MAGIC.to_vec();
    out.extend_from_slice(&crc32c::crc32c(&body).to_le_bytes());
    out.extend_from_slice(&body);
    out
}

fn decode<T: Kept>(bytes: &[u8]) -> Result<T, String> {
    if bytes.len() < HEAD_LEN {
        return Err("it is too short".to_owned());
    }
    let rest = bytes.strip_prefix(T::MAGIC).ok_or("it is no register of this kind")?;
    let (crc, body) = rest.split_first_chunk::<4>().ok_or("it is too short")?;
    if u32::from_le_bytes(*crc) != crc32c::crc32c(body) {
        return Err("the checksum is wrong".to_owned());
    }
    let (format, register) = body.split_first_chunk::<2>().ok_or("it is too short")?;
    let format = u16::from_le_bytes(*format);
    match T::read(format, register) {
        Some(read) => read.map_err(|e| e.to_string()),
        None => Err(format!("format {format} belongs to another release")),
    }
}

fn io_error(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> RegisterError {
    let path = path.to_owned();
    move |source| RegisterError::Io { what, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::disk::{Cut, RealDisk, SimDisk};
    use proptest::prelude::*;
    use understudy_proto::id::{Epoch, NodeId};
    use understudy_proto::pair::Insync;

    fn register(epoch: u64) -> Register {
        Register { epoch: Epoch(epoch), insync: Insync::Both, ..Register::formed(NodeId(1)) }
    }

    #[test]
    fn a_register_is_read_as_written() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("pair");
        assert_eq!(read(&RealDisk, &dir).unwrap(), None);
        for epoch in [1, u64::MAX] {
            write(&RealDisk, &dir, &register(epoch)).unwrap();
            assert_eq!(read(&RealDisk, &dir).unwrap(), Some(register(epoch)));
        }
        std::fs::write(dir.join(NAME), b"").unwrap();
        assert!(matches!(read(&RealDisk, &dir), Err(RegisterError::Damaged { .. })));
    }

    #[test]
    fn a_register_outlives_a_power_cut_together_with_its_folder() {
        let data = Path::new("/data");
        let disk = SimDisk::empty(data);
        let dir = data.join("pair");
        assert_eq!(read(&disk, &dir).unwrap(), None);
        write(&disk, &dir, &register(3)).unwrap();
        let disk = SimDisk::new(&disk.cut(Cut::Lost));
        assert_eq!(read(&disk, &dir).unwrap(), Some(register(3)));
    }

    /// As written by a release that knew no witness.
    #[test]
    fn a_register_of_the_first_format_is_read() {
        let mut body = FORMAT_UNARBITRATED.to_le_bytes().to_vec();
        let known = register(7);
        let old = (known.epoch, known.holder, known.insync, known.seen, known.stale);
        body.extend_from_slice(&codec::encode(&old));
        let crc = crc32c::crc32c(&body).to_le_bytes();
        assert_eq!(decode(&[Register::MAGIC, crc.as_slice(), &body].concat()), Ok(known));
    }

    proptest! {
        #[test]
        fn damage_is_noticed(epoch: u64, at in any::<prop::sample::Index>(), bit in 0u8..8, cut in any::<prop::sample::Index>()) {
            let whole = encode(&register(epoch));
            prop_assert_eq!(decode(&whole), Ok(register(epoch)));
            let mut flipped = whole.clone();
            flipped[at.index(whole.len())] ^= 1 << bit;
            prop_assert!(decode::<Register>(&flipped).is_err());
            prop_assert!(decode::<Register>(&whole[..cut.index(whole.len())]).is_err());
            prop_assert!(decode::<WitnessRegister>(&whole).is_err());
        }
    }
}
