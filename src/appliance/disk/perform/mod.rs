//! Does one step of the plan, with the tools of the image.
//!
//! Invariants: what a step promises is durable when it returns. A table is written under the lock that
//! udev respects. Secrets reach tools by stdin, or by a file in `/run` that goes with the step.
//! Deliberately absent: any decision.

use super::gpt::{self, Entry, Geometry, Guid, Table};
use super::inventory::{Disk, Key, OWN_DATA, UNFINISHED};
use super::plan::{self, OPENED, Place, Step};
use super::run::{Call, RunError};
use super::scan;
use crate::base::clock;
use crate::base::secret::{self, Secret};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::mount::{MsFlags, mount};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a tool may take that only reads and writes a little.
const SHORT: Duration = Duration::from_secs(30);
/// How long a file system may take to be made, or a key to be tried.
const LONG: Duration = Duration::from_secs(180);
/// How long somebody else may look at a disk that is to be changed, and how often that is tried.
const LOCK_WAIT_MAX: Duration = Duration::from_secs(10);
const LOCK_LOOK_EVERY: Duration = Duration::from_millis(50);
/// Bytes of a key that a machine makes for itself.
const KEY_LEN: usize = 64;
/// A random key needs no stretching: trying to guess it is hopeless as it is.
const ROUNDS: &str = "1000";
/// Memory that stretching a passphrase takes, in KiB: small machines have 512 MiB in all.
const STRETCH_KIB: &str = "131072";
/// Shortest passphrase that is taken, in bytes.
pub const PASSPHRASE_LEAST: usize = 8;
/// Array that we make.
const ARRAY: &str = "/dev/md127";
/// Where a key is for the moment in which the TPM takes it over.
const ENROL_KEY: &str = "/run/understudy/enrol.key";
/// Name of the key file on the FAT.
pub const KEY_FILE: &str = "data.key";

const BLOCKDEV: &str = "/usr/sbin/blockdev";
const CRYPTENROLL: &str = "/usr/bin/systemd-cryptenroll";
const CRYPTSETUP: &str = "/usr/sbin/cryptsetup";
const E2FSCK: &str = "/usr/sbin/e2fsck";
const MDADM: &str = "/usr/sbin/mdadm";
const MKE2FS: &str = "/usr/sbin/mke2fs";
const PARTX: &str = "/usr/bin/partx";
const UDEVADM: &str = "/usr/bin/udevadm";

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// A tool did not do it.
    #[error(transparent)]
    Tool(#[from] RunError),
    /// A file or device could not be used.
    #[error("{what}: {source}")]
    Io {
        /// Which.
        what: String,
        /// Why.
        source: io::Error,
    },
    /// The disk is not as it was when the plan was made.
    #[error("{0} has changed meanwhile")]
    Changed(String),
    /// e2fsck gave up.
    #[error("{0}")]
    Unclean(String),
    /// No passphrase, or too short a one.
    #[error("a passphrase has at least {PASSPHRASE_LEAST} bytes")]
    Passphrase,
    /// The key does not open it.
    #[error("the key does not open it")]
    WrongKey,
}

/// Where the key file lies.
pub trait KeyFile {
    /// Its content; `None` if it is not there.
    fn read(&self) -> Option<Secret<Vec<u8>>>;
    /// Makes one that lasts; never called where there is one.
    ///
    /// # Errors
    /// It cannot be kept.
    fn keep(&self, key: &Secret<Vec<u8>>) -> io::Result<()>;
}

/// What steps need besides themselves.
pub struct Means<'a> {
    /// The disks as the plan saw them.
    pub disks: &'a [Disk],
    /// The key file.
    pub key_file: &'a dyn KeyFile,
    /// The passphrase, if somebody gave one.
    pub passphrase: Option<&'a Secret<Vec<u8>>>,
    /// How long the file system's check may take.
    pub check: Duration,
}

/// Does `step`.
///
/// # Errors
/// As [`StepError`] says; it can be tried again.
pub fn perform(step: &Step, means: &Means<'_>) -> Result<(), StepError> {
    match step {
        Step::Repair { disk } => rewrite(means, disk, |table, _| Some(table.clone())),
        Step::Adopt { disk, data, empty } => rewrite(means, disk, |table, geometry| {
            plan::adopted(table, geometry, *data, *empty, fresh_guid)
        }),
        Step::Begin(place) => mark(means, place, true),
        Step::Finish(places) => places.iter().try_for_each(|place| mark(means, place, false)),
        Step::Partition { disk } => partition(means, disk),
        Step::Reread { disk } => reread(&scan::device(disk)),
        Step::MakeKey => {
            let key = Secret::new(secret::random::<KEY_LEN>().to_vec());
            means.key_file.keep(&key).map_err(|e| about("the key file", e))
        }
        Step::CreateArray(members) => create_array(members),
        Step::Assemble { members, waiting } => assemble(members, waiting.as_deref()),
        Step::AddMember { array, member, again } => {
            let how = if *again { "--re-add" } else { "--add" };
            tool(MDADM, SHORT, &["--manage", text(array)?, how, text(member)?])
        }
        Step::Format { device, key } => format(device, *key, means),
        Step::Open { device, key } => open(device, *key, means),
        Step::Check { device } => check(device, means.check),
        Step::Mount { device } => mount_data(device),
    }
}

fn about(what: impl Into<String>, source: io::Error) -> StepError {
    StepError::Io { what: what.into(), source }
}

fn tool(program: &'static str, deadline: Duration, arguments: &[&str]) -> Result<(), StepError> {
    Call::new(program, deadline, arguments).run()?;
    Ok(())
}

fn text(path: &Path) -> Result<&str, StepError> {
    path.to_str().ok_or_else(|| StepError::Changed(path.display().to_string()))
}

fn fresh_guid() -> Guid {
    Guid::random(secret::random())
}

/// Writes what `change` makes of the table that counts.
fn rewrite(
    means: &Means<'_>,
    name: &str,
    change: impl FnOnce(&Table, Geometry) -> Option<Table>,
) -> Result<(), StepError> {
    let changed = || StepError::Changed(name.to_owned());
    let disk = means.disks.iter().find(|d| d.name == name).ok_or_else(changed)?;
    let path = disk.path();
    let file = lock(&path)?;
    // As it is now, under the lock.
    let found = gpt::read(disk.geometry, |at, len| read(&file, at, len));
    let found = found.map_err(|e| about(path.display().to_string(), e))?;
    let table = found.table().filter(|_| found == disk.table).ok_or_else(changed)?;
    let table = change(table, disk.geometry).ok_or_else(changed)?;
    write(&file, &path, disk.geometry, &table)?;
    told(&path)?;
    drop(file);
    settle();
    Ok(())
}

/// Opens a disk for a change of its table; udev looks away while the lock is held, and is waited for
/// while it looks.
fn lock(path: &Path) -> Result<Flock<File>, StepError> {
    let file = OpenOptions::new().read(true).write(true).open(path);
    let mut file = file.map_err(|e| about(path.display().to_string(), e))?;
    let end = clock::mono().after(LOCK_WAIT_MAX);
    loop {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(locked) => return Ok(locked),
            Err((back, Errno::EWOULDBLOCK)) if clock::mono() < end => file = back,
            Err((_, e)) => return Err(about(path.display().to_string(), e.into())),
        }
        std::thread::sleep(LOCK_LOOK_EVERY);
    }
}

fn read(file: &File, at: u64, len: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; len];
    file.read_exact_at(&mut bytes, at)?;
    Ok(bytes)
}

/// Each part is durable before the next one begins, so that one copy is always whole.
fn write(file: &File, path: &Path, geometry: Geometry, table: &Table) -> Result<(), StepError> {
    let done = || -> io::Result<()> {
        for write in table.writes(geometry) {
            file.write_all_at(&write.bytes, write.at)?;
            file.sync_all()?;
        }
        if let Some(first) = gpt::protective(geometry, &read(file, 0, 512)?) {
            file.write_all_at(&first, 0)?;
            file.sync_all()?;
        }
        Ok(())
    };
    done().map_err(|e| about(path.display().to_string(), e))
}

/// Lets the kernel know of the table, partition by partition: a disk in use refuses to be read anew.
fn told(path: &Path) -> Result<(), StepError> {
    tool(PARTX, SHORT, &["--update", text(path)?])
}

fn reread(path: &Path) -> Result<(), StepError> {
    // As a whole first: partitions whose places have changed can be told no other way.
    if tool(BLOCKDEV, SHORT, &["--rereadpt", text(path)?]).is_err() {
        told(path)?;
    }
    settle();
    Ok(())
}

/// Waits until udev has made what it makes of the change; where there is no udev there is no need.
fn settle() {
    drop(Call::new(UDEVADM, SHORT, &["settle", "--timeout=10"]).ask());
}

fn mark(means: &Means<'_>, place: &Place, unfinished: bool) -> Result<(), StepError> {
    rewrite(means, &place.disk, |table, _| {
        let mut table = table.clone();
        let entry = table.entries.iter_mut().find(|e| e.number == place.number)?;
        entry.attributes &= !UNFINISHED;
        if unfinished {
            entry.attributes |= UNFINISHED;
        }
        Some(table)
    })
}

/// The table of an empty disk: all of it for data.
pub(in crate::appliance) fn own_table(
    geometry: Geometry,
    mut fresh: impl FnMut() -> Guid,
) -> Option<Table> {
    let mut name = [0; 36];
    for (unit, c) in name.iter_mut().zip(OWN_DATA.encode_utf16()) {
        *unit = c;
    }
    let entry = Entry {
        number: 1,
        kind: Guid::LINUX,
        id: fresh(),
        first: 0,
        last: 0,
        attributes: UNFINISHED,
        name,
    };
    Table::whole(geometry, fresh(), entry)
}

fn partition(means: &Means<'_>, name: &str) -> Result<(), StepError> {
    let changed = || StepError::Changed(name.to_owned());
    let disk = means.disks.iter().find(|d| d.name == name).ok_or_else(changed)?;
    let path = disk.path();
    let file = lock(&path)?;
    if scan::content(&path) != super::inventory::Content::Blank {
        return Err(changed());
    }
    let table = own_table(disk.geometry, fresh_guid).ok_or_else(changed)?;
    write(&file, &path, disk.geometry, &table)?;
    told(&path)?;
    drop(file);
    settle();
    Ok(())
}

fn create_array([a, b]: &[PathBuf; 2]) -> Result<(), StepError> {
    let name = format!("--name={OWN_DATA}");
    let arguments = [
        "--create",
        ARRAY,
        "--run",
        "--level=1",
        "--raid-devices=2",
        "--metadata=1.2",
        "--bitmap=internal",
        "--homehost=any",
        &name,
        text(a)?,
        text(b)?,
    ];
    tool(MDADM, LONG, &arguments)?;
    settle();
    Ok(())
}

fn assemble(members: &[PathBuf], waiting: Option<&Path>) -> Result<(), StepError> {
    if let Some(array) = waiting {
        return tool(MDADM, LONG, &["--run", text(array)?]);
    }
    let mut arguments = vec!["--assemble", ARRAY, "--run"];
    for member in members {
        arguments.push(text(member)?);
    }
    tool(MDADM, LONG, &arguments)?;
    settle();
    Ok(())
}

fn format(device: &Path, key: Option<Key>, means: &Means<'_>) -> Result<(), StepError> {
    if Path::new(OPENED).exists() {
        tool(CRYPTSETUP, SHORT, &["close", OWN_DATA])?;
    }
    let Some(key) = key else { return file_system(device) };
    if key == Key::Tpm2 {
        let first = Secret::new(secret::random::<KEY_LEN>().to_vec());
        encrypt(device, key, &first)?;
        give_to_tpm(device, &first)?;
    } else {
        encrypt(device, key, &secret_for(key, means)?)?;
    }
    // With what will open it from now on: a key that does not open is found out while it is empty.
    open(device, key, means)?;
    file_system(Path::new(OPENED))
}

fn secret_for(key: Key, means: &Means<'_>) -> Result<Secret<Vec<u8>>, StepError> {
    match key {
        Key::File => means.key_file.read().ok_or(StepError::WrongKey),
        Key::Tpm2 => Err(StepError::WrongKey),
        Key::Passphrase => {
            let long = |p: &&Secret<Vec<u8>>| p.expose().len() >= PASSPHRASE_LEAST;
            means.passphrase.filter(long).cloned().ok_or(StepError::Passphrase)
        }
    }
}

/// Makes the encrypted container. Works on plain files, too.
pub(super) fn encrypt(device: &Path, key: Key, secret: &Secret<Vec<u8>>) -> Result<(), StepError> {
    let mut arguments = vec![
        "luksFormat",
        "--batch-mode",
        "--type",
        "luks2",
        "--label",
        OWN_DATA,
        "--subsystem",
        key.subsystem(),
    ];
    arguments.extend(match key {
        Key::Passphrase => ["--pbkdf", "argon2id", "--pbkdf-memory", STRETCH_KIB],
        Key::Tpm2 | Key::File => ["--pbkdf", "pbkdf2", "--pbkdf-force-iterations", ROUNDS],
    });
    arguments.extend(["--key-file", "-", text(device)?]);
    Call::new(CRYPTSETUP, LONG, &arguments).stdin(secret).run()?;
    synced(device)
}

/// Seals a new key in the TPM and forgets the first one. Bound to this TPM alone, not to what was
/// started: an update of the firmware must not lock a mail system out.
fn give_to_tpm(device: &Path, first: &Secret<Vec<u8>>) -> Result<(), StepError> {
    let enrol = || -> Result<(), StepError> {
        let mut file = OpenOptions::new();
        let file = file.write(true).create(true).truncate(true).mode(0o600).open(ENROL_KEY);
        let file = file.map_err(|e| about(ENROL_KEY, e))?;
        file.write_all_at(first.expose(), 0).map_err(|e| about(ENROL_KEY, e))?;
        let key = format!("--unlock-key-file={ENROL_KEY}");
        let arguments =
            [key.as_str(), "--tpm2-device=auto", "--tpm2-pcrs=", "--wipe-slot=0", text(device)?];
        tool(CRYPTENROLL, LONG, &arguments)
    };
    let enrolled = enrol();
    match fs::remove_file(ENROL_KEY) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(about(ENROL_KEY, e)),
        _ => enrolled?,
    }
    synced(device)
}

fn open(device: &Path, key: Key, means: &Means<'_>) -> Result<(), StepError> {
    let path = text(device)?;
    let said = if key == Key::Tpm2 {
        let arguments = ["open", "--type", "luks2", "--token-only", path, OWN_DATA];
        Call::new(CRYPTSETUP, LONG, &arguments).ask()?
    } else {
        let secret = match key {
            Key::Passphrase => means.passphrase.cloned().ok_or(StepError::WrongKey)?,
            key => secret_for(key, means)?,
        };
        let arguments = ["open", "--type", "luks2", "--key-file", "-", path, OWN_DATA];
        Call::new(CRYPTSETUP, LONG, &arguments).stdin(&secret).ask()?
    };
    match said.code {
        0 => Ok(()),
        // cryptsetup(8), RETURN CODES: no permission (bad passphrase).
        2 if key != Key::Tpm2 => Err(StepError::WrongKey),
        _ => Err(Call::new(CRYPTSETUP, LONG, &["open", path]).failed(&said).into()),
    }
}

/// Makes the file system. Works on plain files, too.
pub(super) fn file_system(device: &Path) -> Result<(), StepError> {
    // To discard a whole disk takes some of them minutes.
    let arguments =
        ["-q", "-F", "-t", "ext4", "-E", "nodiscard", "-L", OWN_DATA, "-m", "1", text(device)?];
    tool(MKE2FS, LONG, &arguments)?;
    synced(device)
}

/// Checks the file system and mends what can be mended without asking.
pub(super) fn check(device: &Path, deadline: Duration) -> Result<(), StepError> {
    let call = Call::new(E2FSCK, deadline, &["-p", text(device)?]);
    let said = call.ask()?;
    // e2fsck(8), EXIT CODE: bits 1 mended, 2 mended and a mounted one is to be restarted.
    if matches!(said.code, 0..=3) {
        return Ok(());
    }
    Err(StepError::Unclean(call.failed(&said).to_string()))
}

fn mount_data(device: &Path) -> Result<(), StepError> {
    let place = Path::new(scan::DATA);
    fs::create_dir_all(place).map_err(|e| about(scan::DATA, e))?;
    let flags = MsFlags::MS_NODEV | MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC | MsFlags::MS_NOATIME;
    // What cannot be written any more shall not be written on.
    mount(Some(device), place, Some("ext4"), flags, Some("errors=remount-ro"))
        .map_err(|e| about(device.display().to_string(), e.into()))
}

fn synced(device: &Path) -> Result<(), StepError> {
    let synced = File::open(device).and_then(|f| f.sync_all());
    synced.map_err(|e| about(device.display().to_string(), e))
}

#[cfg(test)]
mod tests;
