//! What this machine has, as far as decisions about disks need it: plain data.

use super::gpt::{Entry, Found, Geometry, Guid};
use crate::appliance::report::Slot;
use std::path::PathBuf;

/// Name of the boot disk's partition for data.
pub const BOOT_DATA: &str = "data";
/// Name of the partition for data on a disk of its own, and label of what we make in it.
pub const OWN_DATA: &str = "understudy-data";
/// Name of the partition that any computer can edit.
pub const FAT: &str = "UNDERSTUDY";
/// Attribute bit of a partition for data: we found it empty and are not done with making it. What is
/// in it is ours to throw away until the bit goes; nothing was ever mounted from it.
pub const UNFINISHED: u64 = 1 << 48;

/// The kernel arguments that the loader gives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KernelArguments {
    /// PARTUUID of the partition that the loader was read from.
    pub esp: Option<Guid>,
    /// The slot that this system was read from.
    pub slot: Option<Slot>,
    /// Whether this slot is on trial.
    pub trial: bool,
    /// The slot that did not prove itself.
    pub failed: Option<Slot>,
}

impl KernelArguments {
    /// Reads `/proc/cmdline`; the last of equal arguments counts, what makes no sense does not.
    #[must_use]
    pub fn parse(line: &str) -> Self {
        let value = |name: &str| {
            let words = line.split_whitespace().rev();
            words.filter_map(|word| word.split_once('=')).find(|(n, _)| *n == name).map(|(_, v)| v)
        };
        let slot = |name| match value(name) {
            Some("a") => Some(Slot::A),
            Some("b") => Some(Slot::B),
            _ => None,
        };
        Self {
            esp: value("understudy.esp").and_then(Guid::parse),
            slot: slot("understudy.slot"),
            trial: value("understudy.try") == Some("1"),
            failed: slot("understudy.failed"),
        }
    }
}

/// What decisions about disks rest on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inventory {
    /// From the loader.
    pub kernel: KernelArguments,
    /// All disks.
    pub disks: Vec<Disk>,
    /// Whether there is a TPM 2.0.
    pub tpm: bool,
    /// Whether the boot disk's FAT holds a key file for the data.
    pub key_file: bool,
    /// What is in the opened `understudy-data`; `None` while it is not open.
    pub opened: Option<Content>,
    /// RAID arrays that stand.
    pub arrays: Vec<Array>,
    /// Whether something is mounted at `/data`.
    pub mounted: bool,
}

/// A disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// The kernel's name: `nvme0n1`.
    pub name: String,
    /// All names that a site file may call it: `nvme0n1`, `/dev/nvme0n1`, `/dev/disk/by-id/…`.
    pub aliases: Vec<String>,
    /// Its size.
    pub geometry: Geometry,
    /// Whether it refuses to be written.
    pub read_only: bool,
    /// Its partition table.
    pub table: Found,
    /// Content of the whole disk, where it has no table.
    pub content: Content,
    /// Partitions, as the kernel has them.
    pub nodes: Vec<Node>,
}

impl Disk {
    /// Its device.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        PathBuf::from("/dev").join(&self.name)
    }

    /// The partition of that name, if the table has exactly one.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<&Entry> {
        let mut all = self.table.table()?.entries.iter().filter(|e| e.name() == name);
        all.next().filter(|_| all.next().is_none())
    }

    /// The kernel's device of that entry, if the kernel sees it just where the table has it.
    #[must_use]
    pub fn node(&self, entry: &Entry) -> Option<&Node> {
        let scale = u64::from(self.geometry.sector) / 512;
        self.nodes.iter().find(|node| {
            node.number == entry.number
                && Some(node.first) == entry.first.checked_mul(scale)
                && Some(node.sectors) == entry.sectors().checked_mul(scale)
        })
    }
}

/// A partition, as the kernel has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// The kernel's name: `nvme0n1p6`.
    pub name: String,
    /// As in the table.
    pub number: u32,
    /// First sector, in units of 512 bytes whatever the disk has.
    pub first: u64,
    /// Sectors of 512 bytes.
    pub sectors: u64,
    /// What is in it; looked at only where it may be ours.
    pub content: Content,
}

/// What something holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Content {
    /// Nobody has looked.
    #[default]
    Unseen,
    /// No signature, and the first and last MiB are zero.
    Blank,
    /// No signature, but not empty.
    Unknown,
    /// LUKS2 with our label.
    Luks(Key),
    /// ext4 with our label.
    Ext4,
    /// A member of a RAID with our label, by the array's UUID.
    Member(String),
    /// Something of others, by its type: `ntfs`, `LVM2_member`.
    Foreign(String),
}

/// What opens encrypted data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// The TPM of this machine.
    Tpm2,
    /// A file on the boot disk's FAT.
    File,
    /// Something that people know.
    Passphrase,
}

impl Key {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Tpm2, Self::File, Self::Passphrase];

    /// How the header of the encrypted data names it (LUKS2: subsystem).
    #[must_use]
    pub const fn subsystem(self) -> &'static str {
        match self {
            Self::Tpm2 => "understudy-tpm2",
            Self::File => "understudy-key-file",
            Self::Passphrase => "understudy-passphrase",
        }
    }
}

/// A RAID array that stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Array {
    /// The kernel's name: `md127`.
    pub name: String,
    /// Names of the partitions in it that work.
    pub members: Vec<String>,
    /// Whether it can be read.
    pub active: bool,
    /// What is in it.
    pub content: Content,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_arguments_are_read() {
        let id = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B";
        let line = format!(
            "BOOT_IMAGE=/vmlinuz understudy.slot=a understudy.try=1 understudy.esp=x \
             understudy.failed=b understudy.esp={id} quiet\n"
        );
        let read = KernelArguments::parse(&line);
        assert_eq!(read.esp, Guid::parse(id));
        assert_eq!((read.slot, read.trial, read.failed), (Some(Slot::A), true, Some(Slot::B)));
        assert_eq!(
            KernelArguments::parse("understudy.slot=c understudy.failed="),
            KernelArguments::default()
        );
    }
}
