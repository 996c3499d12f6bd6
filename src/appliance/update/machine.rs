//! The machine's own disks: two slots and the loader's block on the boot disk, records on the data
//! disk.
//!
//! Invariants: the boot disk is the one that the loader was read from; where two could be it, none is
//! touched (two disks that were flashed alike cannot be told apart). The ESP is mounted for moments
//! only. Deliberately absent: making or growing partitions.

use super::install::Machine;
use super::record::Records;
use crate::appliance::disk::inventory::{Disk, Inventory, KernelArguments};
use crate::appliance::disk::{plan, scan};
use crate::appliance::report::{Slot, Trouble};
use crate::appliance::slot::env::{Env, LEN};
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Where the data disk is mounted.
pub const DATA: &str = "/data";
/// Where the records lie.
pub const RECORDS_DIR: &str = "/data/appliance/update";
/// Their file.
const RECORDS_NAME: &str = "records.json";
/// Where the ESP is mounted for a moment.
const ESP_MOUNT: &str = "/run/understudy/esp";
/// Held by whoever has it mounted.
const ESP_LOCK: &str = "/run/understudy/esp.lock";
/// The loader's block on the ESP.
const GRUBENV: &str = "EFI/debian/grubenv";
/// Longest records, in bytes.
const RECORDS_LEN_MAX: u64 = 256 * 1024;

/// The partitions of the boot disk that an update needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partitions {
    /// `esp`.
    pub esp: PathBuf,
    /// `slot-a`.
    pub a: PathBuf,
    /// `slot-b`.
    pub b: PathBuf,
}

/// Why the boot disk is not known.
#[derive(Debug, thiserror::Error)]
pub enum NoBootDisk {
    /// The one that the loader was read from is not there, or the loader did not say which.
    #[error("the disk that this system was started from is not there")]
    None,
    /// Several could be it.
    #[error("several disks were flashed with Understudy ({}): pull all but one", .0.join(", "))]
    Several(Vec<String>),
    /// It lacks one of them.
    #[error("the boot disk {0} has not the partitions esp, slot-a and slot-b, each once")]
    Lacking(String),
}

impl Partitions {
    /// Those of the boot disk, as [`plan::boot_disk`] finds it for everybody.
    ///
    /// # Errors
    /// See [`NoBootDisk`].
    pub fn find(kernel: KernelArguments, disks: Vec<Disk>) -> Result<Self, NoBootDisk> {
        let inventory = Inventory { kernel, disks, ..Inventory::default() };
        let disk = match plan::boot_disk(&inventory) {
            Ok(disk) => disk.ok_or(NoBootDisk::None)?,
            Err(Trouble::SeveralBootDisks(names)) => return Err(NoBootDisk::Several(names)),
            Err(_) => return Err(NoBootDisk::None),
        };
        let device = |name: &str| {
            let node = disk.named(name).and_then(|entry| disk.node(entry));
            let lacking = || NoBootDisk::Lacking(disk.name.clone());
            node.map(|node| scan::device(&node.name)).ok_or_else(lacking)
        };
        Ok(Self { esp: device("esp")?, a: device("slot-a")?, b: device("slot-b")? })
    }

    fn slot(&self, slot: Slot) -> &Path {
        match slot {
            Slot::A => &self.a,
            Slot::B => &self.b,
        }
    }
}

/// The disks of this machine.
#[derive(Debug)]
pub struct RealMachine {
    partitions: Partitions,
    records_dir: PathBuf,
    /// The slot that is open.
    open: Option<(Slot, File)>,
}

/// The ESP while it is mounted, by one program at a time: it cannot be mounted to be read and to be
/// written at once.
struct Mounted {
    // Held for its drop, after the one below.
    _lock: File,
}

impl Mounted {
    fn new(esp: &Path, how: MsFlags) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(ESP_MOUNT)?;
        let mut options = OpenOptions::new();
        let lock = options.write(true).create(true).truncate(false).mode(0o600).open(ESP_LOCK)?;
        lock.lock()?;
        let flags =
            how | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC | MsFlags::MS_NOSUID | MsFlags::MS_NOATIME;
        mount(Some(esp), ESP_MOUNT, Some("vfat"), flags, None::<&str>)?;
        Ok(Self { _lock: lock })
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Whoever else reads there does not keep it mounted for ever.
        let busy = umount2(ESP_MOUNT, MntFlags::empty()).is_err();
        if busy && umount2(ESP_MOUNT, MntFlags::MNT_DETACH).is_err() {
            log::warn!(path = ESP_MOUNT; "the loader's partition stays mounted");
        }
    }
}

impl RealMachine {
    /// The machine with this boot disk.
    #[must_use]
    pub fn new(partitions: Partitions) -> Self {
        Self { partitions, records_dir: PathBuf::from(RECORDS_DIR), open: None }
    }

    /// The loader's block; `None` when it is not one.
    ///
    /// # Errors
    /// The ESP cannot be mounted or read.
    pub fn read_env(&mut self) -> io::Result<Option<Env>> {
        let _mounted = Mounted::new(&self.partitions.esp, MsFlags::MS_RDONLY)?;
        let file = File::open(Path::new(ESP_MOUNT).join(GRUBENV))?;
        let mut block = Vec::new();
        file.take(2 * u64::try_from(LEN).unwrap_or(0)).read_to_end(&mut block)?;
        Ok(Env::read(&block).filter(|_| block.len() == LEN))
    }

    fn slot(&mut self, slot: Slot) -> io::Result<&mut File> {
        if self.open.as_ref().is_none_or(|(open, _)| *open != slot) {
            let file =
                OpenOptions::new().read(true).write(true).open(self.partitions.slot(slot))?;
            self.open = Some((slot, file));
        }
        let open = self.open.as_mut().map(|(_, file)| file);
        open.ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

/// The records in `dir`: `None` when no data disk is mounted at [`DATA`]. Without a file, or with one
/// that cannot be read, nothing is known.
///
/// # Errors
/// The data disk cannot be read.
pub fn read_records() -> io::Result<Option<Records>> {
    if !is_mounted(Path::new(DATA))? {
        return Ok(None);
    }
    let mut text = Vec::new();
    match File::open(Path::new(RECORDS_DIR).join(RECORDS_NAME)) {
        Ok(file) => file.take(RECORDS_LEN_MAX).read_to_end(&mut text)?,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Some(Records::default())),
        Err(e) => return Err(e),
    };
    Ok(Some(Records::read(&text).unwrap_or_default()))
}

/// Whether a file system of its own is mounted at `path`.
fn is_mounted(path: &Path) -> io::Result<bool> {
    match fs::metadata(path) {
        Ok(there) => Ok(there.dev() != fs::metadata("/")?.dev()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e),
    }
}

/// Replaces the file `name` in `dir` by `bytes`, durably and at once. Nobody else may read it.
pub(super) fn replace(dir: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let (new, path) = (dir.join(format!("{name}.new")), dir.join(name));
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, &path)?;
    File::open(dir)?.sync_all()
}

/// Writes `block` over the file at `path`, where it lies: but for its date nothing of the file
/// system changes.
fn overwrite(path: &Path, block: &[u8; LEN]) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(path)?;
    if file.metadata()?.len() != u64::try_from(LEN).unwrap_or(0) {
        let reason = format!("{} has not {LEN} bytes: flash the disk again", path.display());
        return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
    }
    // One call: both sectors are next to each other on the disk.
    if file.write_at(block, 0)? != LEN {
        return Err(io::ErrorKind::WriteZero.into());
    }
    file.sync_all()
}

impl Machine for RealMachine {
    fn write_env(&mut self, block: &[u8; LEN]) -> io::Result<()> {
        let _mounted = Mounted::new(&self.partitions.esp, MsFlags::empty())?;
        overwrite(&Path::new(ESP_MOUNT).join(GRUBENV), block)
    }

    fn write_records(&mut self, records: &Records) -> io::Result<()> {
        replace(&self.records_dir, RECORDS_NAME, &records.write())
    }

    fn slot_len(&mut self, slot: Slot) -> io::Result<u64> {
        self.slot(slot)?.seek(SeekFrom::End(0))
    }

    fn write_slot(&mut self, slot: Slot, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.slot(slot)?.write_all_at(bytes, offset)
    }

    fn sync_slot(&mut self, slot: Slot) -> io::Result<()> {
        let file = self.slot(slot)?;
        file.sync_all()?;
        // What is read back is to come from the disk, not from memory.
        posix_fadvise(&*file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED)?;
        Ok(())
    }

    fn read_slot(&mut self, slot: Slot, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.slot(slot)?.read_exact_at(out, offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::appliance::disk::gpt::{Entry, Found, Geometry, Guid};
    use crate::appliance::disk::inventory::{Content, Node};
    use crate::appliance::disk::perform::own_table;

    const ESP: Guid = Guid([0xe5; 16]);

    /// A disk with partitions of these names.
    fn disk(name: &str, parts: &[&str]) -> Disk {
        let entry = |(number, part): (u32, &&str)| {
            let mut units = [0; 36];
            for (unit, c) in units.iter_mut().zip(part.encode_utf16()) {
                *unit = c;
            }
            let id = if *part == "esp" { ESP } else { Guid([u8::try_from(number).unwrap(); 16]) };
            let first = u64::from(number) * 2048;
            let last = first + 2047;
            Entry { number, kind: Guid::LINUX, id, first, last, attributes: 0, name: units }
        };
        let entries: Vec<Entry> = (1..).zip(parts).map(entry).collect();
        let node = |entry: &Entry| Node {
            name: format!("{name}{}", entry.number),
            number: entry.number,
            first: entry.first,
            sectors: 2048,
            content: Content::Unseen,
        };
        let geometry = Geometry { sector: 512, sectors: 1 << 22 };
        let mut table = own_table(geometry, || Guid([9; 16])).unwrap();
        let nodes = entries.iter().map(node).collect();
        table.entries = entries;
        Disk {
            name: name.to_owned(),
            aliases: Vec::new(),
            geometry,
            read_only: false,
            table: Found { primary: Ok(table.clone()), backup: Ok(table), loose: Vec::new() },
            content: Content::Unseen,
            nodes,
        }
    }

    #[test]
    fn the_boot_disk_is_the_one_that_the_loader_was_read_from() {
        let kernel = KernelArguments { esp: Some(ESP), ..KernelArguments::default() };
        let find = |disks: &[Disk]| Partitions::find(kernel.clone(), disks.to_vec());
        let path = |name| Path::new("/dev").join(name);
        let partitions = Partitions { esp: path("sda2"), a: path("sda3"), b: path("sda4") };
        let ours = disk("sda", &["UNDERSTUDY", "esp", "slot-a", "slot-b"]);
        // A disk of another system is no hindrance.
        let other = disk("sdb", &["slot-a", "slot-b", "data"]);
        assert_eq!(find(&[ours.clone(), other.clone()]).unwrap(), partitions);
        let twin = disk("sdc", &["esp", "slot-a", "slot-b"]);
        let both = find(&[ours.clone(), twin]);
        assert!(matches!(both, Err(NoBootDisk::Several(names)) if names == ["sda", "sdc"]));
        assert!(matches!(find(&[other]), Err(NoBootDisk::None)));
        let lacking = find(&[disk("sda", &["esp", "slot-a"])]);
        assert!(matches!(lacking, Err(NoBootDisk::Lacking(name)) if name == "sda"));
        let network = Partitions::find(KernelArguments::default(), vec![ours]);
        assert!(matches!(network, Err(NoBootDisk::None)));
    }

    #[test]
    fn the_block_is_written_where_it_lies() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("grubenv");
        let block = Env { active: Slot::B, ..Env::default() }.write();
        assert!(overwrite(&path, &block).is_err(), "no file is made");
        fs::write(&path, [0; LEN]).unwrap();
        let inode = fs::metadata(&path).unwrap().ino();
        overwrite(&path, &block).unwrap();
        assert_eq!(fs::read(&path).unwrap(), block);
        assert_eq!(fs::metadata(&path).unwrap().ino(), inode);
        fs::write(&path, [0; LEN + 1]).unwrap();
        assert!(overwrite(&path, &block).is_err());
    }

    #[test]
    fn files_serve_as_disks() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::write(path("a"), [1; 9000]).unwrap();
        fs::write(path("b"), [2; 8000]).unwrap();
        let partitions = Partitions { esp: path("esp"), a: path("a"), b: path("b") };
        let mut machine = RealMachine { partitions, records_dir: path("records"), open: None };
        assert_eq!(machine.slot_len(Slot::B).unwrap(), 8000);
        machine.write_slot(Slot::B, 10, b"word").unwrap();
        machine.sync_slot(Slot::B).unwrap();
        let mut out = [0; 4];
        machine.read_slot(Slot::B, 10, &mut out).unwrap();
        assert_eq!(&out, b"word");
        machine.read_slot(Slot::A, 10, &mut out).unwrap();
        assert_eq!(out, [1; 4]);
        let records = Records { data_format: 7, ..Records::default() };
        machine.write_records(&Records::default()).unwrap();
        machine.write_records(&records).unwrap();
        let text = fs::read(path("records").join(RECORDS_NAME)).unwrap();
        assert_eq!(Records::read(&text), Some(records));
    }
}
