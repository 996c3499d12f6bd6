//! What to do next about the disks: a pure function of what there is.
//!
//! Invariants (held by the property tests): two disks that may be the one we started from: nothing is
//! done. A step that destroys content ([`Step::Format`], [`Step::CreateArray`]) is planned only for a
//! partition with [`UNFINISHED`], which is set only on what was seen empty, or on a disk that was seen
//! empty as a whole; where a foreign signature turns up in it all the same, nothing is done.
//! Nothing is set up without a site file that is right.

use super::gpt::{Fault, Geometry, Guid, Table};
use super::inventory::{
    Array, BOOT_DATA, Content, Disk, FAT, Inventory, Key, Node, OWN_DATA, UNFINISHED,
};
use crate::appliance::report::Trouble;
use crate::appliance::site::{DiskChoice, Encryption};
use std::path::PathBuf;

/// A data partition of at most this many bytes is as the image was flashed: it has not been grown, and
/// the disk's GUIDs are those of every other flashed disk.
pub const FLASHED_MAX: u64 = 32 * 1024 * 1024;
/// The smallest data partition that is worth anything, in bytes.
pub const DATA_LEAST: u64 = 256 * 1024 * 1024;

/// How often the kernel is asked to read a table again.
const REREADS_MAX: usize = 3;

/// A partition of a disk, both by their places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Name of the disk.
    pub disk: String,
    /// Number of the partition.
    pub number: u32,
}

/// One thing to do. Each can be done again after it was cut short.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Writes the copy of a disk's table that counts over the broken one.
    Repair {
        /// Name of the disk.
        disk: String,
    },
    /// Makes a flashed disk this machine's own: fresh GUIDs, the table's copy at the end, the data
    /// partition up to the end. `empty`: that partition was empty and is marked as unfinished.
    Adopt {
        /// Name of the disk.
        disk: String,
        /// Number of the data partition.
        data: u32,
        /// Whether it holds nothing.
        empty: bool,
    },
    /// Gives an empty disk a table with one partition for data, unfinished.
    Partition {
        /// Name of the disk.
        disk: String,
    },
    /// Lets the kernel read a disk's table again.
    Reread {
        /// Name of the disk.
        disk: String,
    },
    /// Marks an empty partition as unfinished.
    Begin(Place),
    /// Takes the mark away from all of them.
    Finish(Vec<Place>),
    /// Makes a key file on the FAT.
    MakeKey,
    /// Makes a mirror of two partitions.
    CreateArray([PathBuf; 2]),
    /// Starts a mirror with the members that there are; an array that waits for more is started.
    Assemble {
        /// Devices of the members.
        members: Vec<PathBuf>,
        /// The array that waits.
        waiting: Option<PathBuf>,
    },
    /// Puts a fresh partition into a mirror that lacks one.
    AddMember {
        /// Device of the array.
        array: PathBuf,
        /// Device of the partition.
        member: PathBuf,
        /// Whether it was in it before: then it goes back as what it was, or not at all.
        again: bool,
    },
    /// Encrypts (`key`) and makes a file system.
    Format {
        /// Device.
        device: PathBuf,
        /// What shall open it; `None`: not encrypted.
        key: Option<Key>,
    },
    /// Opens what is encrypted.
    Open {
        /// Device.
        device: PathBuf,
        /// What opens it.
        key: Key,
    },
    /// Checks the file system and mends what can be mended safely.
    Check {
        /// Device of the file system.
        device: PathBuf,
    },
    /// Mounts it at `/data`.
    Mount {
        /// Device of the file system.
        device: PathBuf,
    },
}

impl Step {
    /// For the log and for people who look for it there.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Repair { .. } => "repair-table",
            Self::Adopt { .. } => "adopt-disk",
            Self::Partition { .. } => "partition-disk",
            Self::Reread { .. } => "reread-table",
            Self::Begin(_) => "begin",
            Self::Finish(_) => "finish",
            Self::MakeKey => "make-key",
            Self::CreateArray(_) => "create-mirror",
            Self::Assemble { .. } => "start-mirror",
            Self::AddMember { .. } => "add-to-mirror",
            Self::Format { .. } => "format",
            Self::Open { .. } => "open",
            Self::Check { .. } => "check",
            Self::Mount { .. } => "mount",
        }
    }
}

/// What there is to know besides the inventory.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ask<'a> {
    /// What the site file says; `None` without one that is right.
    pub choice: Option<&'a DiskChoice>,
    /// Whether a passphrase is at hand.
    pub passphrase: Typed,
    /// What was done since this start.
    pub done: &'a [Step],
    /// What was tried since this start, and failed.
    pub failed: &'a [Step],
}

/// How a passphrase came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Typed {
    /// Not.
    #[default]
    Not,
    /// Once: it may open what it opened before.
    Once,
    /// Twice, and the same: it may become that of a new disk, which a slip would lock for ever.
    Twice,
}

/// What comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Do this and look again.
    Do(Step),
    /// There is nothing more to do.
    End {
        /// What came of it.
        data: End,
        /// What is wrong.
        troubles: Vec<Trouble>,
    },
}

/// How it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The data is there.
    Mounted,
    /// A passphrase is wanted.
    Locked,
    /// A new disk waits for its first passphrase.
    New,
    /// It is not there.
    Absent,
}

impl From<Trouble> for Next {
    fn from(trouble: Trouble) -> Self {
        Self::End { data: End::Absent, troubles: vec![trouble] }
    }
}

impl From<Step> for Next {
    fn from(step: Step) -> Self {
        Self::Do(step)
    }
}

const ABSENT: Next = Next::End { data: End::Absent, troubles: Vec::new() };

/// Device of the opened data.
pub const OPENED: &str = "/dev/mapper/understudy-data";

fn dev(name: &str) -> PathBuf {
    PathBuf::from("/dev").join(name)
}

/// By name and type, what every disk has that was flashed, whatever became of its GUIDs.
const FLASHED: [(&str, Guid); 3] =
    [(FAT, Guid::BASIC), ("esp", Guid::ESP), ("slot-a", Guid::LINUX)];

fn is_flashed(disk: &Disk) -> bool {
    FLASHED.iter().all(|(name, kind)| disk.table.holds(name, *kind))
}

/// The disk that this system was started from: the one with the loader's partition. Where neither a
/// loader nor a slot is named (network boot), the one that was flashed; `Ok(None)` if there is none.
///
/// # Errors
/// None has it, or several have (two disks flashed from one image: research on two machines has shown
/// that whoever answers first is not the same one twice).
pub fn boot_disk(inventory: &Inventory) -> Result<Option<&Disk>, Trouble> {
    let kernel = &inventory.kernel;
    let is_it = |disk: &&Disk| match kernel.esp {
        Some(esp) => disk.table.has(esp),
        None => kernel.slot.is_none() && is_flashed(disk),
    };
    let found: Vec<&Disk> = inventory.disks.iter().filter(is_it).collect();
    match found.as_slice() {
        [] if kernel.esp.is_none() => Ok(None),
        [] => Err(Trouble::BootDiskMissing),
        [one] => Ok(Some(one)),
        many => Err(Trouble::SeveralBootDisks(many.iter().map(|d| d.name.clone()).collect())),
    }
}

/// The PARTUUID by which the boot disk is known after `step`: what the loader gave is that from before a
/// change of its table.
#[must_use]
pub fn followed(esp: Guid, step: &Step, before: &[Disk], after: &[Disk]) -> Guid {
    let (Step::Adopt { disk, .. } | Step::Repair { disk }) = step else { return esp };
    let of = |disks: &'_ [Disk]| disks.iter().find(|d| d.name == *disk).map(|d| d.table.clone());
    let number = of(before).and_then(|table| table.number_of(esp));
    let now = of(after).and_then(|table| table.table()?.entry(number?).map(|e| e.id));
    now.unwrap_or(esp)
}

/// What to do next.
#[must_use]
pub fn next(inventory: &Inventory, ask: Ask<'_>) -> Next {
    if inventory.mounted {
        return Next::End { data: End::Mounted, troubles: degraded(inventory, ask) };
    }
    let boot = match boot_disk(inventory) {
        Ok(boot) => boot,
        Err(trouble) => return trouble.into(),
    };
    if let Some(next) = boot.and_then(|disk| settle_boot_disk(disk, ask)) {
        return next;
    }
    let go = |target: Target| with_target(inventory, &target, ask).unwrap_or_else(|end| end);
    let next = target(inventory, boot, ask).map_or_else(|end| end, go);
    if !begins(&next) {
        return next;
    }
    // Before anything new is begun: not while what was set up lies somewhere else, because the site
    // file was changed, or a disk of another machine is in.
    let chosen = |disk: &Disk| is_chosen(disk, boot, ask);
    let elsewhere: Vec<Part<'_>> =
        set_up(inventory, boot, ask).into_iter().filter(|p| !chosen(p.disk)).collect();
    match elsewhere.as_slice() {
        [] => next,
        [own] if boot.is_some_and(|b| b.name == own.disk.name) && !is_member(own) => {
            go(own.target())
        }
        all => Trouble::DataElsewhere(all.iter().map(|p| p.node.name.clone()).collect()).into(),
    }
}

/// Whether this begins to set up something new.
const fn begins(next: &Next) -> bool {
    matches!(
        next,
        Next::Do(
            Step::Partition { .. }
                | Step::Begin(_)
                | Step::MakeKey
                | Step::CreateArray(_)
                | Step::Format { .. }
        )
    )
}

/// Whether the site file wants the data on this disk.
fn is_chosen(disk: &Disk, boot: Option<&Disk>, ask: Ask<'_>) -> bool {
    let Some(choice) = ask.choice else { return false };
    let mut named = choice.mirror.iter().chain(&choice.device).peekable();
    if named.peek().is_none() {
        return boot.is_some_and(|b| b.name == disk.name);
    }
    named.any(|name| disk.aliases.contains(name))
}

/// What the boot disk's table needs first.
fn settle_boot_disk(disk: &Disk, ask: Ask<'_>) -> Option<Next> {
    let why = |fault: Fault| {
        Trouble::BootDiskTable { disk: disk.name.clone(), why: fault.to_string() }.into()
    };
    let table = match (&disk.table.primary, &disk.table.backup) {
        (Ok(table), _) => table,
        (Err(fault), _) if disk.read_only => return Some(why(*fault)),
        (Err(_), Ok(_)) => return Some(Step::Repair { disk: disk.name.clone() }.into()),
        (Err(fault), Err(_)) => return Some(why(*fault)),
    };
    if let Some(data) = disk.named(BOOT_DATA)
        && data.sectors().saturating_mul(disk.geometry.sector.into()) <= FLASHED_MAX
    {
        let empty = match disk.node(data) {
            Some(node) => node.content == Content::Blank,
            None => return Some(reread(disk, ask)),
        };
        if disk.read_only {
            return Some(Trouble::DiskReadOnly(disk.name.clone()).into());
        }
        return Some(
            if adopted(table, disk.geometry, data.number, empty, || Guid([0; 16])).is_some() {
                Step::Adopt { disk: disk.name.clone(), data: data.number, empty }.into()
            } else {
                Trouble::DataTooSmall(disk.name.clone()).into()
            },
        );
    }
    None
}

/// Lets the kernel look again, some times: udev does so too, and meanwhile there are no partitions.
fn reread(disk: &Disk, ask: Ask<'_>) -> Next {
    let step = Step::Reread { disk: disk.name.clone() };
    if ask.done.iter().filter(|s| **s == step).count() >= REREADS_MAX {
        let why = "the kernel sees its partitions differently".to_owned();
        return Trouble::BootDiskTable { disk: disk.name.clone(), why }.into();
    }
    step.into()
}

/// The table of a flashed disk as this machine's own; `None` where the disk is too small.
#[must_use]
pub fn adopted(
    table: &Table,
    geometry: Geometry,
    data: u32,
    empty: bool,
    mut fresh: impl FnMut() -> Guid,
) -> Option<Table> {
    let mut table = table.clone();
    table.stretch(geometry)?;
    table.grow(geometry, data);
    table.disk = fresh();
    for entry in &mut table.entries {
        entry.id = fresh();
        if entry.number == data && empty {
            entry.attributes |= UNFINISHED;
        }
    }
    let grown = table.entry(data)?.sectors().saturating_mul(geometry.sector.into());
    (grown >= DATA_LEAST).then_some(table)
}

/// Where the data is, or shall be.
struct Target {
    device: PathBuf,
    /// For people.
    name: String,
    content: Content,
    unfinished: bool,
    places: Vec<Place>,
}

/// A partition for data on a disk.
struct Part<'a> {
    disk: &'a Disk,
    node: &'a Node,
    unfinished: bool,
}

impl Part<'_> {
    fn place(&self) -> Place {
        Place { disk: self.disk.name.clone(), number: self.node.number }
    }

    fn path(&self) -> PathBuf {
        dev(&self.node.name)
    }

    fn target(&self) -> Target {
        Target {
            device: self.path(),
            name: self.node.name.clone(),
            content: self.node.content.clone(),
            unfinished: self.unfinished,
            places: vec![self.place()],
        }
    }
}

fn target(inventory: &Inventory, boot: Option<&Disk>, ask: Ask<'_>) -> Result<Target, Next> {
    let Some(choice) = ask.choice else {
        return without_choice(inventory, boot, ask);
    };
    if let [a, b] = choice.mirror.as_slice() {
        return mirror(inventory, boot, ask, [a, b]);
    }
    let disk = match (&choice.device, boot) {
        (Some(device), _) => by_name(inventory, device)?,
        (None, Some(boot)) => boot,
        (None, None) => return Err(Trouble::BootDiskMissing.into()),
    };
    part(disk, boot, ask).map(|part| part.target())
}

fn by_name<'a>(inventory: &'a Inventory, name: &str) -> Result<&'a Disk, Next> {
    let found: Vec<&Disk> =
        inventory.disks.iter().filter(|d| d.aliases.iter().any(|a| a == name)).collect();
    match found.as_slice() {
        [one] => Ok(one),
        [] => Err(Trouble::DataDiskMissing(name.to_owned()).into()),
        many => {
            let names = many.iter().map(|d| d.name.clone()).collect();
            Err(Trouble::SeveralDataDisks(names).into())
        }
    }
}

/// The partition for data on that disk, or what comes first.
fn part<'a>(disk: &'a Disk, boot: Option<&Disk>, ask: Ask<'_>) -> Result<Part<'a>, Next> {
    let name = if boot.is_some_and(|b| b.name == disk.name) { BOOT_DATA } else { OWN_DATA };
    // Cut short while it was written; whatever else lies there has two copies or none.
    if disk.named(name).is_some() && disk.table.primary.is_err() {
        return Err(match disk.read_only {
            true => Trouble::DiskReadOnly(disk.name.clone()).into(),
            false => Step::Repair { disk: disk.name.clone() }.into(),
        });
    }
    if let Some(entry) = disk.named(name) {
        let Some(node) = disk.node(entry) else { return Err(reread(disk, ask)) };
        return Ok(Part { disk, node, unfinished: entry.attributes & UNFINISHED != 0 });
    }
    let bytes = disk.geometry.sectors.saturating_mul(disk.geometry.sector.into());
    Err(if !disk.table.is_none() || disk.content != Content::Blank {
        foreign(&disk.name, &disk.content)
    } else if disk.read_only {
        Trouble::DiskReadOnly(disk.name.clone()).into()
    } else if bytes < DATA_LEAST.saturating_mul(2) {
        Trouble::DataTooSmall(disk.name.clone()).into()
    } else {
        Step::Partition { disk: disk.name.clone() }.into()
    })
}

fn foreign(name: &str, content: &Content) -> Next {
    let found = match content {
        Content::Foreign(found) => found.clone(),
        Content::Unseen => "partitions".to_owned(),
        Content::Blank => "nothing".to_owned(),
        Content::Unknown => "bytes without a known form".to_owned(),
        Content::Luks(_) => "crypto_LUKS".to_owned(),
        Content::Ext4 => "ext4".to_owned(),
        Content::Member(_) => "linux_raid_member".to_owned(),
    };
    Trouble::DataForeign { what: name.to_owned(), found }.into()
}

/// Everything that was set up for data, wherever it lies.
fn set_up<'a>(inventory: &'a Inventory, boot: Option<&Disk>, ask: Ask<'_>) -> Vec<Part<'a>> {
    let ours = |part: &Part<'_>| {
        !part.unfinished
            && matches!(part.node.content, Content::Luks(_) | Content::Ext4 | Content::Member(_))
    };
    let named = |d: &&Disk| d.named(OWN_DATA).is_some() || boot.is_some_and(|b| b.name == d.name);
    let disks = inventory.disks.iter().filter(named);
    disks.filter_map(|d| part(d, boot, ask).ok()).filter(ours).collect()
}

/// Without a site file: data that was set up before is opened where there is just one; nothing is made.
fn without_choice(
    inventory: &Inventory,
    boot: Option<&Disk>,
    ask: Ask<'_>,
) -> Result<Target, Next> {
    let ours = |part: &Part<'_>| {
        !part.unfinished
            && matches!(part.node.content, Content::Luks(_) | Content::Ext4 | Content::Member(_))
    };
    let named = |d: &&Disk| d.named(OWN_DATA).is_some() || boot.is_some_and(|b| b.name == d.name);
    let disks = inventory.disks.iter().filter(named);
    let parts: Vec<Part<'_>> = disks.filter_map(|d| part(d, boot, ask).ok()).filter(ours).collect();
    match parts.as_slice() {
        [] => Err(ABSENT),
        [one] if is_member(one) => mirrored(inventory, &[one], ask),
        [one] => Ok(one.target()),
        [a, b] if is_member(a) && a.node.content == b.node.content => {
            mirrored(inventory, &[a, b], ask)
        }
        many => {
            let names = many.iter().map(|p| p.node.name.clone()).collect();
            Err(Trouble::SeveralDataDisks(names).into())
        }
    }
}

fn is_member(part: &Part<'_>) -> bool {
    matches!(part.node.content, Content::Member(_))
}

fn mirror(
    inventory: &Inventory,
    boot: Option<&Disk>,
    ask: Ask<'_>,
    names: [&str; 2],
) -> Result<Target, Next> {
    let mut parts = Vec::new();
    let mut missing = None;
    for name in names {
        match by_name(inventory, name).and_then(|disk| part(disk, boot, ask)) {
            Ok(part) if is_member(&part) => parts.push(part),
            Ok(part) if part.unfinished && is_ours(&part.node.content) => parts.push(part),
            Ok(part) => missing = Some(foreign(&part.node.name, &part.node.content)),
            Err(Next::Do(step)) => return Err(step.into()),
            Err(end) => missing = Some(end),
        }
    }
    match (parts.as_slice(), missing) {
        ([a, b], _) if a.place() == b.place() => {
            Err(Trouble::SeveralDataDisks(vec![a.node.name.clone()]).into())
        }
        // A mirror is never begun with one disk, but goes on with one.
        ([a], Some(end)) if a.unfinished => Err(end),
        ([], Some(end)) => Err(end),
        (parts, _) => mirrored(inventory, &parts.iter().collect::<Vec<_>>(), ask),
    }
}

/// The array of these members, or what comes first.
fn mirrored(inventory: &Inventory, parts: &[&Part<'_>], ask: Ask<'_>) -> Result<Target, Next> {
    let arrays: Vec<&Array> = inventory
        .arrays
        .iter()
        .filter(|a| parts.iter().any(|p| a.members.contains(&p.node.name)))
        .collect();
    let finished: Vec<&&Part<'_>> = parts.iter().filter(|p| !p.unfinished).collect();
    let array = match (arrays.as_slice(), parts) {
        ([array], _) => *array,
        ([], [a, b]) if finished.is_empty() => {
            return Err(Step::CreateArray([a.path(), b.path()]).into());
        }
        ([], _) => {
            let members: Vec<PathBuf> = finished.iter().map(|p| p.path()).collect();
            return Err(once(Step::Assemble { members, waiting: None }, ask));
        }
        (many, _) => {
            let names = many.iter().map(|a| a.name.clone()).collect();
            return Err(Trouble::SeveralDataDisks(names).into());
        }
    };
    if !array.active {
        let step = Step::Assemble { members: vec![], waiting: Some(dev(&array.name)) };
        return Err(once(step, ask));
    }
    let begun = !finished.is_empty();
    for part in parts.iter().filter(|_| begun) {
        let inside = array.members.contains(&part.node.name);
        let (array, member) = (dev(&array.name), part.path());
        let step = Step::AddMember { array, member, again: !part.unfinished };
        if inside && part.unfinished {
            return Err(Step::Finish(vec![part.place()]).into());
        }
        if !inside && !ask.done.contains(&step) && !ask.failed.contains(&step) {
            return Err(step.into());
        }
    }
    Ok(Target {
        device: dev(&array.name),
        name: array.name.clone(),
        content: array.content.clone(),
        unfinished: !begun,
        places: parts.iter().map(|p| p.place()).collect(),
    })
}

/// A step that would change nothing a second time.
fn once(step: Step, ask: Ask<'_>) -> Next {
    if ask.done.contains(&step) {
        return Trouble::DataDiskMissing("RAID".to_owned()).into();
    }
    step.into()
}

/// From a partition or an array to `/data`.
fn with_target(inventory: &Inventory, target: &Target, ask: Ask<'_>) -> Result<Next, Next> {
    if target.unfinished {
        return make(inventory, target, ask);
    }
    Ok(match (&target.content, &inventory.opened) {
        // Empty without our mark: a table of other makers, or of an image of ours with nothing in it.
        (Content::Blank, _) if ask.choice.is_some() => match target.places.as_slice() {
            [place] => Step::Begin(place.clone()).into(),
            _ => foreign(&target.name, &target.content),
        },
        (Content::Ext4, _) => mount(target.device.clone(), ask),
        (Content::Luks(_), Some(Content::Ext4)) => mount(OPENED.into(), ask),
        (Content::Luks(_), Some(other)) => foreign(&target.name, other),
        (Content::Luks(key), None) => open(inventory, target, *key, ask),
        (other, _) => foreign(&target.name, other),
    })
}

fn mount(device: PathBuf, ask: Ask<'_>) -> Next {
    let check = Step::Check { device: device.clone() };
    if ask.done.contains(&check) { Step::Mount { device }.into() } else { check.into() }
}

fn open(inventory: &Inventory, target: &Target, key: Key, ask: Ask<'_>) -> Next {
    match key {
        Key::Tpm2 if !inventory.tpm => Trouble::TpmMissing.into(),
        Key::File if !inventory.key_file => Trouble::KeyMissing.into(),
        Key::Passphrase if ask.passphrase == Typed::Not => {
            Next::End { data: End::Locked, troubles: vec![] }
        }
        key => Step::Open { device: target.device.clone(), key }.into(),
    }
}

/// Whether something with our mark may hold this: nothing, or what we had begun to make.
const fn is_ours(content: &Content) -> bool {
    matches!(content, Content::Blank | Content::Unknown | Content::Luks(_) | Content::Ext4)
}

/// Sets up what was found empty.
fn make(inventory: &Inventory, target: &Target, ask: Ask<'_>) -> Result<Next, Next> {
    let formatted = |s: &Step| matches!(s, Step::Format { device, .. } if *device == target.device);
    if ask.done.iter().any(formatted) {
        return Ok(Step::Finish(target.places.clone()).into());
    }
    // Nothing of others, although the mark says that there is nothing: marks can be copied.
    if !is_ours(&target.content) {
        return Err(foreign(&target.name, &target.content));
    }
    let Some(choice) = ask.choice else { return Err(ABSENT) };
    // A TPM may be there and refuse.
    let refused = |s: &Step| matches!(s, Step::Format { key: Some(Key::Tpm2), .. });
    let tpm = inventory.tpm && !ask.failed.iter().any(refused);
    let key = match choice.encryption {
        Encryption::Auto if tpm => Some(Key::Tpm2),
        Encryption::Auto | Encryption::KeyFile => Some(Key::File),
        Encryption::Tpm2 => Some(Key::Tpm2),
        Encryption::Passphrase => Some(Key::Passphrase),
        Encryption::None => None,
    };
    Ok(match key {
        Some(Key::Tpm2) if !tpm => Trouble::TpmMissing.into(),
        Some(Key::File) if !inventory.key_file => Step::MakeKey.into(),
        Some(Key::Passphrase) if ask.passphrase != Typed::Twice => {
            Next::End { data: End::New, troubles: vec![] }
        }
        key => Step::Format { device: target.device.clone(), key }.into(),
    })
}

/// What is wrong although the data is there.
fn degraded(inventory: &Inventory, ask: Ask<'_>) -> Vec<Trouble> {
    let wanted = ask.choice.map_or(0, |c| c.mirror.len());
    let thin = |a: &&Array| a.content != Content::Unseen && a.members.len() < wanted;
    inventory.arrays.iter().filter(thin).map(|a| Trouble::MirrorDegraded(a.name.clone())).collect()
}

#[cfg(test)]
mod tests;
