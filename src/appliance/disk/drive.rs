//! Looks, plans, does, and looks again, until there is nothing to do.
//!
//! Invariants: at most [`STEPS_MAX`] steps; a step that failed is tried once more, since devices come
//! and go while udev looks at them; each ends in a log line. Whatever happens, there is an answer.

use super::gpt::Guid;
use super::inventory::{Disk, Inventory, KernelArguments, Key};
use super::perform::{self, KeyFile, Means, StepError};
use super::plan::{self, Ask, End, Next, Step, Typed};
use super::run::RunError;
use super::scan;
use crate::appliance::report::Trouble;
use crate::appliance::site::{DiskChoice, Encryption};
use crate::base::clock;
use crate::base::secret::Secret;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use understudy_proto::time::Mono;

/// Most steps of one start: what takes more turns in a circle.
const STEPS_MAX: usize = 40;
/// How long nothing new may come before all disks count as there.
const QUIET: Duration = Duration::from_secs(4);
/// How long a disk that the site file names is waited for, once the others are there: a controller may start
/// its disks one after the other.
const NAMED_MAX: Duration = Duration::from_secs(60);
/// How long disks are waited for at most.
const WAIT_MAX: Duration = Duration::from_secs(120);
/// There while udev has something to do: it loads the drivers that bring disks.
const UDEV_BUSY: &str = "/run/udev/queue";
/// How long after a step failed it is tried again.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// How often new disks are looked for.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// PARTUUID by which the boot disk is known, where that was changed since the start.
const FOLLOWED: &str = "/run/understudy/boot-disk";

/// What to bring up, and with what.
pub struct Wish<'a> {
    /// From the site file; `None` without one that is right.
    pub choice: Option<&'a DiskChoice>,
    /// Where the key file lies.
    pub key_file: &'a dyn KeyFile,
    /// The passphrase, if somebody gave one.
    pub passphrase: Option<&'a Secret<Vec<u8>>>,
    /// Whether it was typed twice.
    pub twice: bool,
    /// How long the file system's check may take.
    pub check: Duration,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Brought {
    /// How it ended.
    pub end: End,
    /// The device that holds the data, and what opens it; known where this call has mounted it.
    pub device: Option<(PathBuf, Option<Key>)>,
    /// What is wrong.
    pub troubles: Vec<Trouble>,
}

/// What the loader said; where the boot disk's table has been changed since, what became of that.
#[must_use]
pub fn kernel_arguments() -> KernelArguments {
    // A machine without /proc has other sorrows; it counts as started from a network.
    let line = fs::read_to_string("/proc/cmdline").unwrap_or_default();
    let mut kernel = KernelArguments::parse(&line);
    if let Some(esp) = fs::read_to_string(FOLLOWED).ok().and_then(|text| Guid::parse(&text)) {
        kernel.esp = Some(esp);
    }
    kernel
}

/// Keeps in mind, until the next start, by what the boot disk is known after `step`.
fn follow(kernel: &KernelArguments, step: &Step, before: &[Disk]) {
    let Some(esp) = kernel.esp else { return };
    let now = plan::followed(esp, step, before, &scan::disks());
    if now != esp
        && let Err(e) = fs::write(FOLLOWED, format!("{now}\n"))
    {
        log::warn!(err:% = e, path = FOLLOWED; "the boot disk cannot be kept in mind");
    }
}

/// Waits until the disks are there: [`QUIET`] after the last new one and after udev has loaded its
/// drivers, once the boot disk is known; [`WAIT_MAX`] at most.
pub fn wait() {
    let (kernel, started) = (kernel_arguments(), clock::mono());
    let (mut names, mut since) = (Vec::new(), started);
    loop {
        let inventory =
            Inventory { kernel: kernel.clone(), disks: scan::disks(), ..Inventory::default() };
        let now: Vec<String> = inventory.disks.iter().map(|d| d.name.clone()).collect();
        if now != names || Path::new(UDEV_BUSY).exists() {
            (names, since) = (now, clock::mono());
        }
        let found = !matches!(plan::boot_disk(&inventory), Err(Trouble::BootDiskMissing));
        if enough(started, since, clock::mono(), found) {
            return;
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// Waits for the disks that `choice` names, [`NAMED_MAX`] at most. Without this a mirror would go on with half
/// of it, and data would count as missing, only since a disk is slow.
pub fn wait_for(choice: &DiskChoice) {
    let started = clock::mono();
    let there = |name: &str| Path::new(name).exists();
    while clock::mono().since(started) < NAMED_MAX
        && (missing(choice, there).is_some() || Path::new(UDEV_BUSY).exists())
    {
        std::thread::sleep(LOOK_EVERY);
    }
    if let Some(name) = missing(choice, there) {
        log::warn!(path = name; "a disk that site.toml names has not come");
    }
}

/// The first disk that `choice` names and that is not there.
fn missing(choice: &DiskChoice, there: impl Fn(&str) -> bool) -> Option<&str> {
    choice.mirror.iter().chain(&choice.device).map(String::as_str).find(|name| !there(name))
}

/// Whether to wait no longer.
fn enough(started: Mono, since: Mono, now: Mono, found: bool) -> bool {
    now.since(started) >= WAIT_MAX || (found && now.since(since) >= QUIET)
}

/// Does what the plan says, to the end.
#[must_use]
pub fn bring(wish: &Wish<'_>) -> Brought {
    let (mut done, mut failed, mut tried) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..STEPS_MAX {
        let kernel = kernel_arguments();
        let inventory = scan::all(kernel.clone(), wish.key_file.read().is_some());
        let ask = Ask {
            choice: wish.choice,
            passphrase: match (wish.passphrase, wish.twice) {
                (None, _) => Typed::Not,
                (Some(_), false) => Typed::Once,
                (Some(_), true) => Typed::Twice,
            },
            done: &done,
            failed: &failed,
        };
        let step = match plan::next(&inventory, ask) {
            Next::Do(step) => step,
            Next::End { data, troubles } => {
                return Brought { end: data, device: device(&done), troubles };
            }
        };
        let means = Means {
            disks: &inventory.disks,
            key_file: wish.key_file,
            passphrase: wish.passphrase,
            check: wish.check,
        };
        let started = clock::mono();
        match perform::perform(&step, &means) {
            Ok(()) => {
                let elapsed_ms = clock::mono().since(started).as_millis();
                log::info!(cmd = step.name(), elapsed_ms:% = elapsed_ms; "a step of the disks is done");
                follow(&kernel, &step, &inventory.disks);
                done.push(step);
            }
            Err(e) => {
                log::warn!(cmd = step.name(), err:% = e; "a step of the disks failed");
                if is_passing(&e) && !tried.contains(&step) {
                    tried.push(step);
                    std::thread::sleep(AGAIN_AFTER);
                    continue;
                }
                if !may_go_on(&step, wish.choice) {
                    let (end, trouble) = end_of(&step, &e);
                    return Brought { end, device: None, troubles: vec![trouble] };
                }
                failed.push(step);
            }
        }
    }
    let said = format!("no end after {STEPS_MAX} steps");
    let trouble = Trouble::DataFailed { tried: "plan".to_owned(), said };
    Brought { end: End::Absent, device: None, troubles: vec![trouble] }
}

/// Whether it may work a second later.
const fn is_passing(error: &StepError) -> bool {
    match error {
        StepError::Tool(RunError::Deadline { .. })
        | StepError::Unclean(_)
        | StepError::Passphrase
        | StepError::WrongKey => false,
        StepError::Tool(_) | StepError::Io { .. } | StepError::Changed(_) => true,
    }
}

/// Whether there is another way when this one failed.
fn may_go_on(step: &Step, choice: Option<&DiskChoice>) -> bool {
    match step {
        Step::Format { key: Some(Key::Tpm2), .. } => {
            choice.is_some_and(|c| c.encryption == Encryption::Auto)
        }
        Step::AddMember { .. } => true,
        _ => false,
    }
}

fn end_of(step: &Step, error: &StepError) -> (End, Trouble) {
    match (step, error) {
        (Step::Open { key: Key::Passphrase, .. }, StepError::WrongKey) => {
            (End::Locked, Trouble::WrongPassphrase)
        }
        (_, StepError::Unclean(said)) => (End::Absent, Trouble::DataUnclean(said.clone())),
        (Step::Format { key: Some(Key::Passphrase), .. }, StepError::Passphrase) => {
            let said = error.to_string();
            (End::New, Trouble::DataFailed { tried: step.name().to_owned(), said })
        }
        _ => {
            let said = error.to_string();
            (End::Absent, Trouble::DataFailed { tried: step.name().to_owned(), said })
        }
    }
}

/// What was mounted, by what was done for it.
fn device(done: &[Step]) -> Option<(PathBuf, Option<Key>)> {
    let mounted = done.iter().find_map(|step| match step {
        Step::Mount { device } => Some((device.clone(), None)),
        _ => None,
    })?;
    let opened = done.iter().rev().find_map(|step| match step {
        Step::Open { device, key } => Some((device.clone(), Some(*key))),
        Step::Format { device, key: Some(key) } => Some((device.clone(), Some(*key))),
        _ => None,
    });
    Some(opened.unwrap_or(mounted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_ends_after_quiet_or_at_last() {
        let at = |s: u64| Mono(s * 1_000_000);
        assert!(!enough(at(0), at(0), at(3), true));
        assert!(enough(at(0), at(0), at(4), true));
        assert!(!enough(at(0), at(2), at(5), true));
        assert!(!enough(at(0), at(0), at(119), false));
        assert!(enough(at(0), at(119), at(120), false));
    }

    #[test]
    fn each_disk_that_is_named_is_waited_for() {
        let mirror = ["/dev/x", "/dev/y"].map(str::to_owned).to_vec();
        let both = DiskChoice { mirror, ..DiskChoice::default() };
        assert_eq!(missing(&both, |_| true), None);
        assert_eq!(missing(&both, |name| name == "/dev/x"), Some("/dev/y"));
        let one = DiskChoice { device: Some("/dev/z".to_owned()), ..DiskChoice::default() };
        assert_eq!(missing(&one, |_| false), Some("/dev/z"));
        assert_eq!(missing(&DiskChoice::default(), |_| false), None);
    }

    #[test]
    fn what_was_mounted_is_named_by_its_own_device() {
        let part = PathBuf::from("/dev/sda6");
        let mount = Step::Mount { device: plan::OPENED.into() };
        let open = Step::Open { device: part.clone(), key: Key::File };
        assert_eq!(device(&[open.clone(), mount]), Some((part.clone(), Some(Key::File))));
        assert_eq!(device(&[Step::Mount { device: part.clone() }]), Some((part, None)));
        assert_eq!(device(&[open]), None);
    }
}
