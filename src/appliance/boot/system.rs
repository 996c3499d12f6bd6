//! What is put on the running system: files, folders, the report.

use crate::appliance::disk::inventory::Key;
use crate::appliance::disk::run::{Call, RunError};
use crate::appliance::disk::scan;
use crate::appliance::report::{self, BootReport};
use crate::appliance::site::{Owner, Site, SystemFile};
use crate::appliance::systemd;
use crate::ops::status::Language;
use nix::sys::stat::{Mode, umask};
use nix::sys::statvfs::statvfs;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where everything of ours lies while the machine runs.
const RUN: &str = "/run/understudy";
/// Makes names of devices.
const UDEVADM: &str = "/usr/bin/udevadm";
/// How long it may take for the cards.
const UDEV_MAX: Duration = Duration::from_secs(30);
/// Units with conditions on the data disk, or on what is only known with it; then all the others.
const WAITED: [&str; 4] = [
    "systemd-journal-flush.service",
    "understudy.service",
    "understudy-site-trial.service",
    "multi-user.target",
];
/// The user of the program.
const USER: &str = "understudy";
/// Less room than this share of the disk is told of.
const ROOM_LEAST_PERCENT: u64 = 5;
/// What ext4 keeps for its journal, and people call GiB.
const MIB: u64 = 1024 * 1024;

/// Makes the folder in which everybody finds the report; what fails will fail again where it is used.
pub(super) fn prepare() {
    // Folders on the way to files of others (networkd's, say) must be open to them, whatever the unit
    // says; each file has its own mode.
    umask(Mode::from_bits_truncate(0o022));
    let made = fs::create_dir_all(RUN)
        .and_then(|()| fs::set_permissions(RUN, Permissions::from_mode(0o755)));
    if let Err(e) = made {
        log::warn!(err:% = e, path = RUN; "a folder cannot be made");
    }
}

/// Writes the files of the system that `site` makes; returns what went wrong.
pub(super) fn put_in_force(site: &Site) -> Vec<String> {
    let mut wrong = Vec::new();
    let ids = ids(&fs::read_to_string("/etc/passwd").unwrap_or_default(), USER);
    let mut files = site.files();
    files.push(SystemFile {
        path: super::SITE_IN_FORCE.into(),
        mode: 0o600,
        owner: Owner::Root,
        text: site.applied(),
    });
    for file in &files {
        if let Err(e) = write(file, ids) {
            wrong.push(format!("{}: {e}", file.path.display()));
        }
    }
    if let Err(e) = name_cards() {
        wrong.push(format!("names of network cards: {e}"));
    }
    // The kernel has taken its name from the image already.
    if let Err(e) = fs::write("/proc/sys/kernel/hostname", format!("{}\n", site.name)) {
        wrong.push(format!("host name: {e}"));
    }
    wrong
}

/// Whether `site` is what is in force now.
pub(super) fn is_in_force(site: &Site) -> bool {
    fs::read_to_string(super::SITE_IN_FORCE).is_ok_and(|text| text == site.applied())
}

/// Lets systemd do something; what it refuses is logged, and seen on the screen by what is missing.
fn systemctl(arguments: &[&str]) {
    if let Err(e) = systemd::call(arguments) {
        log::warn!(err:% = e; "systemd does not do all that it was asked for");
    }
}

/// Lets the network take its files again.
pub(super) fn restart_network() {
    systemctl(&["restart", "systemd-networkd.service", "nftables.service"]);
}

/// Starts what waited for the data disk. A unit's conditions are looked at when it is started, and
/// never again: so each is started once more, and with the target whatever else is wanted and did not
/// run. SSH has made a host key for today only; the lasting one lies on the disk.
pub(super) fn start_what_waited() {
    let mut start = vec!["start", "--no-block"];
    start.extend(WAITED);
    systemctl(&start);
    systemctl(&["try-restart", "--no-block", "ssh.service"]);
}

/// Lets udev give the cards the names of the files that were just written: it has seen the cards before
/// them, and the network is configured by these names.
fn name_cards() -> Result<(), RunError> {
    Call::new(UDEVADM, UDEV_MAX, &["control", "--reload"]).run()?;
    let again = ["trigger", "--action=add", "--subsystem-match=net", "--settle"];
    Call::new(UDEVADM, UDEV_MAX, &again).run()?;
    Ok(())
}

/// Writes a file under a name of its own first: whoever reads it sees all of it or none.
fn write(file: &SystemFile, ids: Option<(u32, u32)>) -> io::Result<()> {
    let folder = file.path.parent().ok_or_else(|| io::Error::other("it has no folder"))?;
    fs::create_dir_all(folder)?;
    let mut name = file.path.clone().into_os_string();
    name.push(".new");
    let new = PathBuf::from(name);
    if new.exists() {
        fs::remove_file(&new)?;
    }
    let mut options = fs::OpenOptions::new();
    let mut opened = std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600)
        .write(true)
        .create_new(true)
        .open(&new)?;
    io::Write::write_all(&mut opened, file.text.as_bytes())?;
    if file.owner == Owner::Understudy {
        let (user, group) = ids.ok_or_else(|| io::Error::other("there is no user understudy"))?;
        chown(&new, Some(user), Some(group))?;
    }
    fs::set_permissions(&new, Permissions::from_mode(file.mode))?;
    fs::rename(&new, &file.path)
}

/// User and group id, by `/etc/passwd`: the image has no other users.
fn ids(passwd: &str, user: &str) -> Option<(u32, u32)> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let named = fields.next() == Some(user);
        let ids = (fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?);
        named.then_some(ids)
    })
}

/// A folder in which the program's group may leave words for root.
pub(super) fn shared_folder(folder: &Path) -> io::Result<()> {
    let ids = ids(&fs::read_to_string("/etc/passwd").unwrap_or_default(), USER);
    let (_, group) = ids.ok_or_else(|| io::Error::other("there is no user understudy"))?;
    fs::create_dir_all(folder)?;
    chown(folder, None, Some(group))?;
    fs::set_permissions(folder, Permissions::from_mode(0o770))
}

/// The folders of the data disk, each with its owner.
pub(super) fn folders() -> io::Result<()> {
    let ids = ids(&fs::read_to_string("/etc/passwd").unwrap_or_default(), USER);
    let data = Path::new(scan::DATA);
    fs::set_permissions(data, Permissions::from_mode(0o755))?;
    for (name, mode) in [("understudy", 0o710), ("appliance", 0o700), ("journal", 0o755)] {
        let folder = data.join(name);
        fs::create_dir_all(&folder)?;
        fs::set_permissions(&folder, Permissions::from_mode(mode))?;
        if name == USER {
            let (user, group) =
                ids.ok_or_else(|| io::Error::other("there is no user understudy"))?;
            chown(&folder, Some(user), Some(group))?;
        }
    }
    Ok(())
}

/// MiB that are left, where that is little.
pub(super) fn short_of_room(place: &Path) -> Option<u64> {
    let room = statvfs(place).ok()?;
    let (left, all) = (room.blocks_available(), room.blocks());
    let little = all > 0 && left.saturating_mul(100) / all < ROOM_LEAST_PERCENT;
    little.then(|| left.saturating_mul(room.fragment_size()) / MIB)
}

/// `/dev/nvme0n1p6, 931 GiB, encrypted (TPM)`.
pub(super) fn describe(data: Option<(PathBuf, Option<Key>)>, language: Language) -> String {
    let bytes = statvfs(scan::DATA).map_or(0, |s| s.blocks().saturating_mul(s.fragment_size()));
    let size = if bytes >= 10 * 1024 * MIB {
        format!("{} GiB", bytes / (1024 * MIB))
    } else {
        format!("{} MiB", bytes / MIB)
    };
    let Some((device, key)) = data else { return size };
    let how = match (key, language) {
        (Some(Key::Tpm2), Language::En) => "encrypted (TPM)",
        (Some(Key::Tpm2), Language::De) => "verschlüsselt (TPM)",
        (Some(Key::File), Language::En) => {
            "encrypted (the key lies on UNDERSTUDY: whoever has this boot disk can read it)"
        }
        (Some(Key::File), Language::De) => {
            "verschlüsselt (der Schlüssel liegt auf UNDERSTUDY: wer diese Boot-Platte hat, kann lesen)"
        }
        (Some(Key::Passphrase), Language::En) => "encrypted (passphrase)",
        (Some(Key::Passphrase), Language::De) => "verschlüsselt (Passphrase)",
        (None, Language::En) => "not encrypted",
        (None, Language::De) => "nicht verschlüsselt",
    };
    format!("{}, {size}, {how}", device.display())
}

/// Writes the report where everything else looks for it.
pub(super) fn write_report(report: &BootReport) -> io::Result<()> {
    let path = PathBuf::from(report::PATH);
    let text = serde_json::to_string_pretty(report)?;
    write(&SystemFile { path, mode: 0o644, owner: Owner::Root, text }, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_users_ids_are_found() {
        let passwd = "root:x:0:0::/root:/bin/sh\nbroken\nunderstudy:*:900:901:x:/data:/n\n";
        assert_eq!(ids(passwd, "understudy"), Some((900, 901)));
        assert_eq!(ids(passwd, "nobody"), None);
        assert_eq!(ids("understudy:x:a:b", "understudy"), None);
    }

    /// A unit that is skipped without the data disk is started once that is unlocked: by its name, or
    /// with the target that wants it.
    #[test]
    fn whatever_waits_for_the_data_disk_is_started_with_it() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut folders = vec![
            root.join("systemd/image"),
            root.join("systemd"),
            root.join("image/root/etc/systemd/system"),
        ];
        let mut seen = 0;
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).unwrap().flatten() {
                if entry.file_type().unwrap().is_dir() {
                    folders.push(entry.path());
                    continue;
                }
                let text = fs::read_to_string(entry.path()).unwrap();
                let waits = |line: &str| {
                    [
                        "ConditionPathIsMountPoint=/data",
                        "ConditionPathExists=/run/understudy/site-trial",
                    ]
                    .iter()
                    .any(|condition| line.starts_with(condition))
                };
                if !text.lines().any(waits) {
                    continue;
                }
                seen += 1;
                let own = entry.file_name().into_string().unwrap();
                let of = folder.file_name().unwrap().to_str().unwrap();
                let unit = of.strip_suffix(".d").unwrap_or(&own);
                let wanted = text.contains("WantedBy=multi-user.target");
                assert!(WAITED.contains(&unit) || wanted, "{unit} never starts after unlocking");
            }
        }
        assert!(seen >= 3, "only {seen}");
    }

    #[test]
    fn a_file_gets_its_mode_and_replaces_what_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b/c.conf");
        for (mode, text) in [(0o600, "one"), (0o644, "two")] {
            let file =
                SystemFile { path: path.clone(), mode, owner: Owner::Root, text: text.to_owned() };
            write(&file, None).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, mode);
        }
        assert!(short_of_room(folder.path()).is_none_or(|mib| mib < 1 << 30));
    }
}
