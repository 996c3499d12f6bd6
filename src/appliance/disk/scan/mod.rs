//! Looks at this machine's disks, as they are now.
//!
//! Reads `/sys/class/block`, the tables at both ends of each disk, and what may be ours. What cannot
//! be read is left out of the picture: a broken disk must not hide the others. Writes nothing.

use super::gpt::{self, Fault, Found, Geometry};
use super::inventory::{
    Array, BOOT_DATA, Content, Disk, Inventory, KernelArguments, Key, Node, OWN_DATA,
};
use super::plan::OPENED;
use super::run::Call;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Bytes at each end that must be zero for something to count as empty.
pub const EDGE: usize = 1024 * 1024;
/// How long reading signatures may take.
const PROBE_DEADLINE: Duration = Duration::from_secs(20);
/// Most disks that are looked at; more are a storage array, which we are not.
const DISKS_MAX: usize = 256;
const BLKID: &str = "/usr/sbin/blkid";
const TPM: &str = "/dev/tpmrm0";
/// Where the data is mounted.
pub const DATA: &str = "/data";

/// All disks with their tables; contents are not looked at. For waiting.
#[must_use]
pub fn disks() -> Vec<Disk> {
    let mut names = entries(Path::new("/sys/class/block"));
    names.retain(|name| is_disk(&Path::new("/sys/class/block").join(name), name));
    names.truncate(DISKS_MAX);
    let links = links();
    names.into_iter().filter_map(|name| disk(name, &links)).collect()
}

/// Everything; `key_file` is what is known of the FAT.
#[must_use]
pub fn all(kernel: KernelArguments, key_file: bool) -> Inventory {
    let mut disks = disks();
    for disk in &mut disks {
        if disk.table.is_none() {
            disk.content = content(&disk.path());
        }
        let named = |number| {
            let entry = disk.table.table()?.entry(number)?;
            matches!(entry.name().as_str(), BOOT_DATA | OWN_DATA).then_some(())
        };
        let ours: Vec<bool> = disk.nodes.iter().map(|n| named(n.number).is_some()).collect();
        for (node, _) in disk.nodes.iter_mut().zip(ours).filter(|(_, ours)| *ours) {
            node.content = content(&Path::new("/dev").join(&node.name));
        }
    }
    Inventory {
        kernel,
        arrays: arrays(),
        tpm: Path::new(TPM).exists(),
        key_file,
        opened: Path::new(OPENED).exists().then(|| content(Path::new(OPENED))),
        mounted: is_mounted(Path::new(DATA)),
        disks,
    }
}

/// Whether something is mounted there.
#[must_use]
pub fn is_mounted(place: &Path) -> bool {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    mounts.lines().any(|l| l.split(' ').nth(1).is_some_and(|p| Path::new(p) == place))
}

fn entries(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.filter_map(|e| e.file_name().into_string().ok()).collect();
    names.sort();
    names
}

/// Whole disks have a device behind them; loops, RAM disks, mappings and arrays have none.
fn is_disk(folder: &Path, name: &str) -> bool {
    let hidden = text(&folder.join("hidden")).as_deref() == Some("1");
    let odd = ["sr", "fd", "loop", "ram", "zram"].iter().any(|start| {
        name.strip_prefix(start).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    });
    // The boot areas of an eMMC chip are disks of their own, with nothing of anybody's in them.
    let boot_area = name.starts_with("mmcblk") && name.contains("boot");
    folder.join("device").exists()
        && !folder.join("partition").exists()
        && !hidden
        && !odd
        && !boot_area
}

fn text(path: &Path) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.trim().to_owned())
}

fn number(path: &Path) -> Option<u64> {
    text(path)?.parse().ok()
}

/// Other names of disks: link and the kernel's name.
fn links() -> Vec<(String, String)> {
    let mut links = Vec::new();
    for folder in ["/dev/disk/by-id", "/dev/disk/by-path"] {
        for name in entries(Path::new(folder)) {
            let link = Path::new(folder).join(name);
            let target = fs::canonicalize(&link).ok();
            let name = target.as_deref().and_then(Path::file_name).and_then(|n| n.to_str());
            if let (Some(link), Some(name)) = (link.to_str(), name) {
                links.push((link.to_owned(), name.to_owned()));
            }
        }
    }
    links
}

fn disk(name: String, links: &[(String, String)]) -> Option<Disk> {
    let folder = Path::new("/sys/class/block").join(&name);
    let bytes = number(&folder.join("size"))?.checked_mul(512)?;
    let sector = number(&folder.join("queue/logical_block_size"))?;
    if sector == 0 || bytes == 0 {
        return None;
    }
    let geometry = Geometry { sector: u32::try_from(sector).ok()?, sectors: bytes / sector };
    let mut aliases = vec![name.clone(), format!("/dev/{name}")];
    aliases.extend(links.iter().filter(|(_, n)| *n == name).map(|(link, _)| link.clone()));
    Some(Disk {
        aliases,
        geometry,
        read_only: number(&folder.join("ro")) == Some(1),
        table: table(&Path::new("/dev").join(&name), geometry),
        content: Content::Unseen,
        nodes: nodes(&folder),
        name,
    })
}

/// The table; a disk that cannot be read has a broken one, not none, so that it is never set up.
fn table(path: &Path, geometry: Geometry) -> Found {
    let broken =
        Found { primary: Err(Fault::Header), backup: Err(Fault::Header), loose: Vec::new() };
    let Ok(file) = File::open(path) else { return broken };
    let read = |at, len| {
        let mut bytes = vec![0; len];
        file.read_exact_at(&mut bytes, at)?;
        Ok(bytes)
    };
    gpt::read(geometry, read).unwrap_or(broken)
}

fn nodes(folder: &Path) -> Vec<Node> {
    let node = |name: String| {
        let own = folder.join(&name);
        Some(Node {
            number: u32::try_from(number(&own.join("partition"))?).ok()?,
            first: number(&own.join("start"))?,
            sectors: number(&own.join("size"))?,
            content: Content::Unseen,
            name,
        })
    };
    entries(folder).into_iter().filter_map(node).collect()
}

fn arrays() -> Vec<Array> {
    let block = Path::new("/sys/class/block");
    let array = |name: String| {
        let md = block.join(&name).join("md");
        let state = text(&md.join("array_state"))?;
        let works = |member: &String| {
            let state = text(&md.join(format!("dev-{member}/state"))).unwrap_or_default();
            !state.split(',').any(|word| word == "faulty")
        };
        let active = !matches!(state.as_str(), "clear" | "inactive");
        let content =
            if active { content(&Path::new("/dev").join(&name)) } else { Content::Unseen };
        let members =
            entries(&block.join(&name).join("slaves")).into_iter().filter(works).collect();
        Some(Array { members, active, content, name })
    };
    entries(block).into_iter().filter(|name| name.starts_with("md")).filter_map(array).collect()
}

/// What is on a device; what cannot be read is foreign.
#[must_use]
pub fn content(device: &Path) -> Content {
    let unreadable = || Content::Foreign("unreadable".to_owned());
    let Some(path) = device.to_str() else { return unreadable() };
    // Straight from the device: a cache would remember what was there before.
    let call = Call::new(BLKID, PROBE_DEADLINE, &["-c", "/dev/null", "-p", "-o", "export", path]);
    match call.ask() {
        Ok(said) if matches!(said.code, 0 | 2) => {
            of_signature(&said.out).unwrap_or_else(|| match edges(device) {
                Ok(true) => Content::Blank,
                Ok(false) => Content::Unknown,
                Err(_) => unreadable(),
            })
        }
        // 8: signatures that contradict each other.
        Ok(said) if said.code == 8 => Content::Foreign("several signatures".to_owned()),
        Ok(_) | Err(_) => unreadable(),
    }
}

/// What blkid's words mean; `None` where there is no signature. Of a partition blkid always has
/// something to say, from the table that it is in (`PART_ENTRY_…`).
fn of_signature(said: &str) -> Option<Content> {
    let value = |key: &str| {
        said.lines().filter_map(|l| l.split_once('=')).find(|(k, _)| *k == key).map(|(_, v)| v)
    };
    let ours = value("LABEL") == Some(OWN_DATA);
    Some(match value("TYPE") {
        Some("crypto_LUKS") if ours && value("VERSION") == Some("2") => {
            let named = |key: &&Key| value("SUBSYSTEM") == Some(key.subsystem());
            match Key::ALL.iter().find(named) {
                Some(key) => Content::Luks(*key),
                None => Content::Foreign("crypto_LUKS".to_owned()),
            }
        }
        Some("ext4") if ours => Content::Ext4,
        // `<host>:<name>`, or the name alone.
        Some("linux_raid_member")
            if value("LABEL").is_some_and(|l| l.rsplit(':').next() == Some(OWN_DATA)) =>
        {
            Content::Member(value("UUID").unwrap_or_default().to_owned())
        }
        Some(other) => Content::Foreign(other.to_owned()),
        None => Content::Foreign(format!("partition table {}", value("PTTYPE")?)),
    })
}

/// Whether the first and the last [`EDGE`] bytes are zero.
fn edges(device: &Path) -> std::io::Result<bool> {
    use std::io::{Seek, SeekFrom};
    let mut file = File::open(device)?;
    let len = file.seek(SeekFrom::End(0))?;
    let edge = usize::try_from(len).unwrap_or(EDGE).min(EDGE);
    let mut bytes = vec![0; edge];
    for at in [0, len.saturating_sub(u64::try_from(edge).unwrap_or(len))] {
        file.read_exact_at(&mut bytes, at)?;
        if bytes.iter().any(|b| *b != 0) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The disk's device of that name.
#[must_use]
pub fn device(name: &str) -> PathBuf {
    Path::new("/dev").join(name)
}

#[cfg(test)]
mod tests;
