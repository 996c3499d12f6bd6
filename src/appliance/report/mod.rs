//! What the start of this machine came to, for the screen, `STATUS.txt` and the operator.
//!
//! Written once by `understudy appliance boot`, read by everything else; a missing file means that
//! this is no appliance of ours, or that it has not come so far.

mod words;

use crate::ops::status::Language;
use serde::{Deserialize, Serialize};
use understudy_proto::time::UnixMs;

/// Where the report lies, while the machine runs.
pub const PATH: &str = "/run/understudy/boot.json";

/// One of the two places that hold a system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Slot {
    /// The first.
    A,
    /// The second.
    B,
}

impl Slot {
    /// The other one.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
}

/// What the start of this machine came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootReport {
    /// By this machine's clock, which may be wrong.
    pub at: UnixMs,
    /// The language that `site.toml` asks for.
    pub language: Language,
    /// Where this system was read from; `None` where no slot is known (network boot).
    pub slot: Option<Slot>,
    /// Whether this slot is on trial: it has not been marked good yet.
    pub trial: bool,
    /// What came of `site.toml`.
    pub site: SiteOutcome,
    /// What came of the data disk.
    pub data: DataOutcome,
    /// What is wrong, worst first.
    pub troubles: Vec<Trouble>,
}

/// Reads the report of this machine's start; `None` where there is none, or it cannot be understood.
#[must_use]
pub fn read() -> Option<BootReport> {
    serde_json::from_slice(&std::fs::read(PATH).ok()?).ok()
}

/// What came of `site.toml`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SiteOutcome {
    /// Taken in, now or at an earlier start, and in force.
    Applied,
    /// It was changed since, and taken in: nothing depended on this machine yet.
    Taken,
    /// It was changed and accepted, and is in force on trial; see [`Trouble::SiteOnTrial`].
    Trial,
    /// It was changed since; what was in force stays so until an operator confirms.
    Changed,
    /// It is wrong; see [`Trouble::SiteRefused`]. What was in force, if anything, stays so.
    Refused,
    /// There is none.
    Missing,
}

/// What came of the data disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DataOutcome {
    /// It is mounted at `/data`.
    Mounted {
        /// For people: `/dev/nvme0n1p6, 931 GiB, encrypted (TPM)`.
        what: String,
    },
    /// It waits for a passphrase, at the screen.
    Locked,
    /// It is new and waits for its first passphrase, at the screen.
    New,
    /// It is not there, or must not be touched; the troubles say why.
    Absent,
}

/// What is wrong, so that an operator must know. Names of disks are the kernel's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trouble {
    /// There is no `site.toml`.
    SiteMissing,
    /// `site.toml` is wrong: one line each, with its line number.
    SiteRefused(Vec<String>),
    /// `site.toml` was changed after it was taken in.
    SiteChanged,
    /// A changed network was accepted; the next start tries it.
    SiteAccepted {
        /// For how long.
        minutes: u16,
    },
    /// A changed network is tried; without somebody's word the former file comes back.
    SiteOnTrial {
        /// Until when, by this machine's clock.
        until: UnixMs,
        /// How long that is, from the start.
        minutes: u16,
    },
    /// A changed network was tried and nobody confirmed it: the former file is in force.
    SiteReverted,
    /// The partition UNDERSTUDY cannot be read or written; why.
    SiteUnreachable(String),
    /// A file of the system that the site file makes cannot be written; which and why.
    SystemFile(String),
    /// Several disks are flashed alike; nothing was touched.
    SeveralBootDisks(Vec<String>),
    /// The disk that the loader was read from is not there.
    BootDiskMissing,
    /// The boot disk's partition table is broken, or smaller disks hold it.
    BootDiskTable {
        /// Which disk.
        disk: String,
        /// What is wrong with it.
        why: String,
    },
    /// A disk that must be written refuses.
    DiskReadOnly(String),
    /// There is no room for data.
    DataTooSmall(String),
    /// A disk that the site file names is not there.
    DataDiskMissing(String),
    /// More than one could be it.
    SeveralDataDisks(Vec<String>),
    /// The site file wants it on a disk that holds none, while these hold what was set up.
    DataElsewhere(Vec<String>),
    /// Something else is on it; nothing was touched.
    DataForeign {
        /// Disk or partition.
        what: String,
        /// What is there.
        found: String,
    },
    /// The data's file system is damaged beyond what may be mended without asking.
    DataUnclean(String),
    /// The data disk does not do what it is told: what was tried and what was said.
    DataFailed {
        /// What was tried.
        tried: String,
        /// What the tool said.
        said: String,
    },
    /// The passphrase does not open it.
    WrongPassphrase,
    /// The disk is new: a passphrase that was typed once does not become its first.
    PassphraseOnce,
    /// The key file is gone from the partition UNDERSTUDY.
    KeyMissing,
    /// This machine has no TPM, but the data needs it.
    TpmMissing,
    /// A mirror runs on one disk.
    MirrorDegraded(String),
    /// A disk of a mirror is being filled; until then one disk alone holds everything.
    MirrorFilling(String),
    /// The data disk failed while the machine ran, or was pulled out.
    DataLost,
    /// The data disk is nearly full: MiB that are left.
    DataFull(u64),
    /// No time server has set the clock since the start, or for hours.
    ClockUnset,
    /// The clock was wrong and is set to the latest time that is known to have been.
    ClockWrong(UnixMs),
    /// The clock says a time that is years after the build of this image: it may be far ahead.
    ClockFar {
        /// What it says.
        at: UnixMs,
        /// Whole years since the build.
        years: u64,
    },
    /// Devices want firmware that is not in the image: its names.
    FirmwareMissing(Vec<String>),
    /// An update was tried and was not healthy; the loader went back to the version before.
    UpdateFailed {
        /// Its version, where the data disk remembers it.
        version: Option<String>,
    },
    /// This slot should have started, and did not; the other one runs.
    SlotDead(Slot),
}

impl Trouble {
    /// What is wrong, and what to do.
    #[must_use]
    pub fn words(&self, language: Language) -> (String, String) {
        match language {
            Language::En => words::english(self),
            Language::De => words::german(self),
        }
    }

    /// The page that helps: `docs/runbook/<name>.md`.
    #[must_use]
    pub const fn runbook(&self) -> &'static str {
        match self {
            Self::SiteMissing
            | Self::SiteRefused(_)
            | Self::SiteChanged
            | Self::SiteUnreachable(_)
            | Self::SystemFile(_) => "site-file",
            Self::SiteAccepted { .. } | Self::SiteOnTrial { .. } | Self::SiteReverted => {
                "site-trial"
            }
            Self::SeveralBootDisks(_)
            | Self::BootDiskMissing
            | Self::BootDiskTable { .. }
            | Self::DiskReadOnly(_) => "boot-disk",
            Self::DataTooSmall(_)
            | Self::DataDiskMissing(_)
            | Self::SeveralDataDisks(_)
            | Self::DataElsewhere(_)
            | Self::DataForeign { .. }
            | Self::DataUnclean(_)
            | Self::DataFailed { .. }
            | Self::MirrorDegraded(_)
            | Self::MirrorFilling(_) => "data-disk",
            Self::WrongPassphrase | Self::PassphraseOnce | Self::KeyMissing | Self::TpmMissing => {
                "data-locked"
            }
            Self::DataLost => "disk-failure",
            Self::DataFull(_) => "data-disk-full",
            Self::ClockUnset => "clock-unset",
            Self::ClockWrong(_) | Self::ClockFar { .. } => "clock-wrong",
            Self::FirmwareMissing(_) => "firmware-missing",
            Self::UpdateFailed { .. } => "update-failed",
            Self::SlotDead(_) => "slot-dead",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each trouble has its own words in both languages, and its page.
    #[test]
    fn every_trouble_has_words_and_a_page() {
        let all = words::tests_samples();
        for trouble in &all {
            let (en, de) = (trouble.words(Language::En), trouble.words(Language::De));
            assert!(!en.0.is_empty() && !en.1.is_empty() && en != de, "{trouble:?}");
            let page =
                format!("{}/docs/runbook/{}.md", env!("CARGO_MANIFEST_DIR"), trouble.runbook());
            assert!(std::path::Path::new(&page).exists(), "{page}");
            let text = serde_json::to_string(trouble).unwrap();
            assert_eq!(serde_json::from_str::<Trouble>(&text).unwrap(), *trouble);
        }
    }
}
