//! What the start of this machine came to, for the screen, `STATUS.txt` and the operator.
//!
//! Written once by `understudy appliance boot`, read by everything else; a missing file means that
//! this is no appliance of ours, or that it has not come so far.

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

/// What came of `site.toml`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SiteOutcome {
    /// Taken in, now or at an earlier start, and in force.
    Applied,
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
    /// It is not there, or must not be touched; the troubles say why.
    Absent,
}

/// What is wrong, so that an operator must know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trouble {
    /// There is no `site.toml`.
    SiteMissing,
    /// `site.toml` is wrong: one line each, with its line number.
    SiteRefused(Vec<String>),
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
        let (what, todo) = match (self, language) {
            (Self::SiteMissing, Language::En) => (
                "there is no site.toml on the partition UNDERSTUDY",
                "Write one (understudy site-config make) and restart.",
            ),
            (Self::SiteMissing, Language::De) => (
                "auf der Partition UNDERSTUDY liegt keine site.toml",
                "Eine anlegen (understudy site-config make) und neu starten.",
            ),
            (Self::SiteRefused(lines), Language::En) => {
                return (
                    format!("site.toml is refused: {}", lines.join("; ")),
                    "Correct it on any computer and restart.".to_owned(),
                );
            }
            (Self::UpdateFailed { .. } | Self::SlotDead(_), _) => return self.slot_words(language),
            (Self::SiteRefused(lines), Language::De) => {
                return (
                    format!("site.toml wird abgelehnt: {}", lines.join("; ")),
                    "Auf irgendeinem Rechner berichtigen und neu starten.".to_owned(),
                );
            }
        };
        (what.to_owned(), todo.to_owned())
    }

    /// The words for what is wrong with a slot; empty for everything else.
    fn slot_words(&self, language: Language) -> (String, String) {
        match (self, language) {
            (Self::UpdateFailed { version }, Language::En) => (
                format!(
                    "the update{} failed; the version before runs",
                    version.as_ref().map_or_else(String::new, |v| format!(" to {v}"))
                ),
                "Nothing is lost. Install the next version when there is one.".to_owned(),
            ),
            (Self::UpdateFailed { version }, Language::De) => (
                format!(
                    "die Aktualisierung{} ist gescheitert; die Version davor läuft",
                    version.as_ref().map_or_else(String::new, |v| format!(" auf {v}"))
                ),
                "Nichts ist verloren. Die nächste Version installieren, sobald es sie gibt."
                    .to_owned(),
            ),
            (Self::SlotDead(slot), Language::En) => (
                format!("slot {slot} did not start; the system of slot {} runs", slot.other()),
                "Install an update: it is written to the slot that is broken.".to_owned(),
            ),
            (Self::SlotDead(slot), Language::De) => (
                format!(
                    "Platz {slot} ist nicht gestartet; das System von Platz {} läuft",
                    slot.other()
                ),
                "Eine Aktualisierung installieren: sie überschreibt den defekten Platz.".to_owned(),
            ),
            (Self::SiteMissing | Self::SiteRefused(_), _) => Default::default(),
        }
    }

    /// The page that helps: `docs/runbook/<name>.md`.
    #[must_use]
    pub fn runbook(&self) -> &'static str {
        match self {
            Self::SiteMissing | Self::SiteRefused(_) => "site-file",
            Self::UpdateFailed { .. } => "update-failed",
            Self::SlotDead(_) => "slot-dead",
        }
    }
}
