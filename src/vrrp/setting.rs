//! Settings of interfaces that are changed while a virtual Ethernet address needs it, and put back.
//!
//! Invariants: only what stands at the kernel's default (0) is changed; what it was is written down
//! first, so that a guardian that was killed is cleaned up after at the next start, within the same
//! boot. Deliberately absent: settings of our own interfaces, which vanish with them.

use log::{info, warn};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The longest file that is read.
const FILE_LEN_MAX: u64 = 64 << 10;

/// What is changed now.
#[derive(Debug, Default)]
pub(super) struct Settings {
    file: Option<PathBuf>,
    /// How many virtual links need each; all of them were 0 before.
    changed: BTreeMap<String, usize>,
}

impl Settings {
    /// Puts back what an earlier process of this boot has left, which it has written to
    /// `run_dir`.
    pub(super) fn open(run_dir: &Path) -> Self {
        let file = run_dir.join("interface-settings");
        let short = fs::metadata(&file).is_ok_and(|found| found.len() <= FILE_LEN_MAX);
        if short && let Ok(text) = fs::read_to_string(&file) {
            for path in left(&text, &boot()) {
                info!(path; "a setting that an earlier process changed is put back");
                put(path, "0");
            }
        }
        let settings = Self { file: Some(file), changed: BTreeMap::new() };
        settings.write();
        settings
    }

    /// Sets `path` (below `/proc/sys/net`) to `value` if it is 0, until it is released.
    pub(super) fn change(&mut self, path: &str, value: &str) -> io::Result<()> {
        if let Some(users) = self.changed.get_mut(path) {
            // The interface may be another of that name since: its settings begin at 0.
            if get(path)? == "0" {
                set(path, value)?;
            }
            *users += 1;
            return Ok(());
        }
        if get(path)? != "0" {
            return Ok(());
        }
        self.changed.insert(path.to_owned(), 1);
        self.write();
        let done = set(path, value);
        if done.is_err() {
            self.release(path);
        }
        done
    }

    /// One user less; after the last one it is 0 again. What was not changed stays.
    pub(super) fn release(&mut self, path: &str) {
        let Some(users) = self.changed.get_mut(path) else { return };
        *users -= 1;
        if *users == 0 {
            self.changed.remove(path);
            put(path, "0");
            self.write();
        }
    }

    fn write(&self) {
        let Some(file) = &self.file else { return };
        let written = if self.changed.is_empty() {
            match fs::remove_file(file) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
                other => other,
            }
        } else {
            let lines: Vec<String> =
                std::iter::once(boot()).chain(self.changed.keys().cloned()).collect();
            fs::write(file, lines.join("\n"))
        };
        if let Err(e) = written {
            warn!(path:% = file.display(), err:% = e, runbook = "address-left";
                "changed settings cannot be written down");
        }
    }
}

/// The paths of a file that was written in this boot.
fn left<'a>(text: &'a str, boot: &str) -> Vec<&'a str> {
    let mut lines = text.lines();
    if lines.next() != Some(boot) {
        return Vec::new();
    }
    lines.filter(|path| is_ours(path)).collect()
}

/// Whatever the file says, nothing else is touched.
fn is_ours(path: &str) -> bool {
    let interface = path.strip_prefix("ipv4/conf/").and_then(|rest| {
        rest.strip_suffix("/arp_ignore").or_else(|| rest.strip_suffix("/arp_announce"))
    });
    interface.is_some_and(|name| !name.contains('/') && name != "..")
}

fn boot() -> String {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    id.trim().to_owned()
}

/// Sets it; an interface that is gone has no settings.
fn put(path: &str, value: &str) {
    match set(path, value) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            warn!(path, err:% = e, runbook = "address-left";
                "a setting of an interface was not put back");
        }
        _ => {}
    }
}

/// Writes `value` to `path` below `/proc/sys/net`.
pub(super) fn set(path: &str, value: &str) -> io::Result<()> {
    fs::write(format!("/proc/sys/net/{path}"), value)
}

fn get(path: &str) -> io::Result<String> {
    Ok(fs::read_to_string(format!("/proc/sys/net/{path}"))?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_we_change_is_put_back_and_only_in_the_same_boot() {
        let text = "this-boot\nipv4/conf/eth0/arp_ignore\nipv4/conf/../../kernel/arp_ignore\n\
                    ipv4/ip_forward\nipv4/conf/eth0/arp_announce\n";
        let ours = ["ipv4/conf/eth0/arp_ignore", "ipv4/conf/eth0/arp_announce"];
        assert_eq!(left(text, "this-boot"), ours);
        assert!(left(text, "another").is_empty());
        assert!(left("", "another").is_empty());
    }

    #[test]
    fn what_is_changed_is_written_down_until_it_is_released() {
        let dir = tempfile::tempdir().unwrap();
        let mut settings = Settings::open(dir.path());
        let file = dir.path().join("interface-settings");
        let path = "ipv4/conf/eth0/arp_ignore";
        settings.changed.insert(path.to_owned(), 2);
        settings.write();
        assert_eq!(left(&fs::read_to_string(&file).unwrap(), &boot()), [path]);
        settings.changed.clear();
        settings.write();
        assert!(!file.exists());
    }
}
