//! `understudy appliance boot`: what makes a flashed machine a running one.
//!
//! ```text
//! clock ─► wait for disks ─► FAT: site.toml ─► data disk ─► what is in force ─► /run, /etc
//!                                                              └► site.toml, STATUS.txt, boot.json
//! ```
//!
//! Invariants: it ends, and the machine goes on to its network and its screen, whatever is wrong with
//! disks and files; what is wrong is in the report. A wrong site file never replaces a good one, a
//! changed one waits for a person. Deliberately absent: anything that runs after the start.

pub mod fat;
pub mod import;
mod status;
mod system;
mod timekeeping;

use crate::appliance::disk::drive::{self, Brought, Wish};
use crate::appliance::disk::inventory::Key;
use crate::appliance::disk::plan::End;
use crate::appliance::disk::scan;
use crate::appliance::report::{self, BootReport, DataOutcome, SiteOutcome, Trouble};
use crate::appliance::site::{self, Site};
use crate::base::clock;
use crate::base::secret::Secret;
use crate::ops::status::Language;
use fat::Fat;
use import::{Decision, Kept};
use std::io;
use std::path::Path;
use std::time::Duration;

/// What is in force on this machine, as text, while it runs: without the recovery code in clear.
pub const SITE_IN_FORCE: &str = "/run/understudy/site.toml";
/// How long the file system's check may hold up the network.
const CHECK_AT_BOOT: Duration = Duration::from_secs(10 * 60);
/// How long it may take when somebody waits for it.
const CHECK_BY_HAND: Duration = Duration::from_secs(12 * 60 * 60);
/// Where our records of the machine are kept.
const RECORDS: &str = "/data/appliance";

/// Brings this machine up as far as it goes, and says how far that was.
#[must_use]
pub fn boot() -> BootReport {
    let mut troubles = Vec::new();
    let clock_was = timekeeping::at_start();
    system::prepare();
    drive::wait();
    let fat = Fat::default();
    let found = Fat::site();
    // What the disk needs must be known before what is in force can be: that lies on the disk.
    let read = found.as_ref().ok().and_then(Option::as_ref).and_then(|text| site::read(text).ok());
    let (brought, data) = bring(&fat, read.as_ref(), None, CHECK_AT_BOOT);
    troubles.extend(brought.troubles);
    let decision = settle(found, brought.end == End::Mounted, &mut troubles);
    // Where the boot disk is not known, nobody can say whether there is a site file.
    if troubles.iter().any(|t| t.runbook() == "boot-disk") {
        troubles.retain(|t| *t != Trouble::SiteMissing);
    }
    let kernel = drive::kernel_arguments();
    let in_force = decision.in_force.as_ref();
    let language = in_force.or(read.as_ref()).map_or(decision.language, |site| site.language);
    if let Some(site) = in_force {
        troubles.extend(system::put_in_force(site).into_iter().map(Trouble::SystemFile));
    }
    troubles.extend(timekeeping::after_data(clock_was, brought.end == End::Mounted));
    troubles.extend(room());
    let report = BootReport {
        at: clock::now_ms(),
        language,
        slot: kernel.slot,
        trial: kernel.trial,
        site: decision.outcome,
        data: outcome(brought.end, data, language),
        troubles,
    };
    keep(report, in_force)
}

/// What was mounted: its device and what opens it.
type Data = Option<(std::path::PathBuf, Option<Key>)>;

fn bring(
    fat: &Fat,
    site: Option<&Site>,
    passphrase: Option<&Secret<Vec<u8>>>,
    check: Duration,
) -> (Brought, Data) {
    let choice = site.map(|site| &site.disk);
    let wish = Wish { choice, key_file: fat, passphrase, check };
    let mut brought = drive::bring(&wish);
    if brought.end == End::Mounted
        && let Err(e) = system::folders()
    {
        let said = e.to_string();
        brought.troubles.push(Trouble::DataFailed { tried: "folders".to_owned(), said });
    }
    let data = brought.device.take();
    (brought, data)
}

/// Decides what is in force, and makes that last.
fn settle(
    found: Result<Option<Vec<u8>>, String>,
    mounted: bool,
    troubles: &mut Vec<Trouble>,
) -> Decision {
    let records = Path::new(RECORDS);
    let kept = if mounted { Kept::read(records) } else { None };
    let decision = import::decide(found, kept);
    troubles.extend(decision.troubles.iter().cloned());
    let mut lasting = true;
    if let (Some(kept), true) = (&decision.keep, mounted)
        && let Err(e) = kept.write(records)
    {
        // Not kept: then the file must stay as it was, to be taken in once more.
        lasting = false;
        let said = e.to_string();
        troubles.push(Trouble::DataFailed { tried: "keep site.toml".to_owned(), said });
    }
    if let (Some(text), true) = (&decision.put_back, lasting)
        && let Err(e) = Fat::put_site(text)
    {
        troubles.push(Trouble::SiteUnreachable(e.to_string()));
    }
    decision
}

fn outcome(end: End, data: Data, language: Language) -> DataOutcome {
    match end {
        End::Mounted => DataOutcome::Mounted { what: system::describe(data, language) },
        End::Locked => DataOutcome::Locked,
        End::Absent => DataOutcome::Absent,
    }
}

/// Whether there is room for mail.
fn room() -> Option<Trouble> {
    if !scan::is_mounted(Path::new(scan::DATA)) {
        return None;
    }
    system::short_of_room(Path::new(scan::DATA)).map(Trouble::DataFull)
}

/// Writes the report for everything else on the machine, and for people with another computer.
fn keep(mut report: BootReport, site: Option<&Site>) -> BootReport {
    if let Err(e) = Fat::put_status(&status::text(&report, site)) {
        let known = |t: &Trouble| matches!(t, Trouble::SiteUnreachable(_));
        if !report.troubles.iter().any(known) && Fat::is_there() {
            report.troubles.push(Trouble::SiteUnreachable(e.to_string()));
        }
    }
    for trouble in &report.troubles {
        let (reason, _) = trouble.words(Language::En);
        log::warn!(reason, runbook = trouble.runbook(); "something is wrong with this machine");
    }
    if let Err(e) = system::write_report(&report) {
        log::warn!(err:% = e, path = report::PATH; "the report cannot be written");
    }
    report
}

/// What came of trying to open the data by hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unlocked {
    /// It is there; mail can start.
    Mounted,
    /// It is not, for these reasons.
    Not(Vec<Trouble>),
}

/// Opens the data with a passphrase, or tries once more what did not work at the start, and brings the
/// report up to date. An empty passphrase counts as none.
#[must_use]
pub fn unlock(passphrase: Secret<Vec<u8>>) -> Unlocked {
    let fat = Fat::default();
    let found = Fat::site();
    let read = found.as_ref().ok().and_then(Option::as_ref).and_then(|text| site::read(text).ok());
    let passphrase = Some(passphrase).filter(|p| !p.expose().is_empty());
    let (brought, data) = bring(&fat, read.as_ref(), passphrase.as_ref(), CHECK_BY_HAND);
    if brought.end != End::Mounted {
        let mut troubles = brought.troubles;
        if troubles.is_empty() {
            troubles.push(match brought.end {
                End::Locked => Trouble::WrongPassphrase,
                End::Mounted | End::Absent => Trouble::DataDiskMissing("data".to_owned()),
            });
        }
        return Unlocked::Not(troubles);
    }
    let Some(mut report) = report::read() else { return Unlocked::Mounted };
    let of_data =
        |t: &Trouble| matches!(t.runbook(), "data-disk" | "data-locked" | "data-disk-full");
    report.troubles.retain(|t| !of_data(t) && t.runbook() != "site-file");
    let mut troubles = brought.troubles;
    let decision = settle(found, true, &mut troubles);
    troubles.extend(room());
    report.troubles.extend(troubles);
    // Without a device it was mounted already, and the report says what it is.
    if data.is_some() {
        report.data = outcome(End::Mounted, data, report.language);
    }
    report.site = decision.outcome;
    keep(report, decision.in_force.as_ref());
    Unlocked::Mounted
}

/// Why a changed site file is not taken in.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    /// The FAT cannot be read.
    #[error("site.toml cannot be read: {0}")]
    Unreachable(String),
    /// There is none.
    #[error("there is no site.toml on the partition UNDERSTUDY")]
    Missing,
    /// It is wrong: one line each.
    #[error("site.toml is refused:\n  {}", .0.join("\n  "))]
    Refused(Vec<String>),
    /// The data disk is not there, or refuses.
    #[error("the data disk cannot keep it: {0}")]
    Keep(io::Error),
}

/// Confirms the site file as it lies on the FAT: from the next start on it is in force.
///
/// # Errors
/// As [`AcceptError`] says; what was in force stays so.
pub fn accept_site() -> Result<(), AcceptError> {
    let bytes = Fat::site().map_err(AcceptError::Unreachable)?.ok_or(AcceptError::Missing)?;
    let site = site::read(&bytes)
        .map_err(|e| AcceptError::Refused(e.iter().map(ToString::to_string).collect()))?;
    if !scan::is_mounted(Path::new(scan::DATA)) {
        return Err(AcceptError::Keep(io::Error::other("it is not mounted")));
    }
    let kept = Kept::of(&bytes, &site);
    kept.write(Path::new(RECORDS)).map_err(AcceptError::Keep)?;
    Fat::put_site(&kept.text).map_err(|e| AcceptError::Unreachable(e.to_string()))?;
    if let Some(mut report) = report::read() {
        report.site = SiteOutcome::Applied;
        report.troubles.retain(|t| *t != Trouble::SiteChanged);
        keep(report, Some(&site));
    }
    Ok(())
}
