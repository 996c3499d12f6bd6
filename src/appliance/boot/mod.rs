//! `understudy appliance boot`: what makes a flashed machine a running one.
//!
//! ```text
//! clock ─► wait for disks ─► FAT: site.toml ─► data disk ─► what is in force ─► /run, /etc
//!                                                              └► site.toml, STATUS.txt, boot.json
//! ```
//!
//! Invariants: it ends, and the machine goes on to its network and its screen, whatever is wrong with
//! disks and files; what is wrong is in the report. A wrong site file never replaces a good one, a
//! changed one waits for a person once anything depends on this machine. Deliberately absent: anything
//! that runs after the start, but for the trial of a changed network, and a last word in STATUS.txt once it
//! is known what has become of the slot.

pub mod fat;
mod firmware;
pub mod import;
mod status;
mod system;
mod timekeeping;
pub mod trial;

use crate::appliance::disk::drive::{self, Brought, Wish};
use crate::appliance::disk::inventory::Key;
use crate::appliance::disk::plan::End;
use crate::appliance::disk::scan;
use crate::appliance::report::{self, BootReport, DataOutcome, SiteOutcome, Trouble};
use crate::appliance::site::{self, Site};
use crate::appliance::update;
use crate::base::clock;
use crate::base::secret::Secret;
use crate::ops::status::Language;
use fat::Fat;
use import::{Act, Decision, Kept, Lying, Trial};
use std::path::Path;
use std::time::Duration;
use std::{fs, io};

/// What is in force on this machine, as text, while it runs: without the recovery code in clear.
pub const SITE_IN_FORCE: &str = "/run/understudy/site.toml";
/// How long the file system's check may hold up the network.
const CHECK_AT_BOOT: Duration = Duration::from_secs(10 * 60);
/// How long it may take when somebody waits for it.
pub const CHECK_BY_HAND: Duration = Duration::from_secs(12 * 60 * 60);
/// Where our records of the machine are kept.
const RECORDS: &str = "/data/appliance";
/// Where the program keeps everything.
const DATA_DIR: &str = "/data/understudy";

/// Brings this machine up as far as it goes, and says how far that was.
#[must_use]
pub fn boot() -> BootReport {
    let mut troubles = Vec::new();
    let clock_was = timekeeping::at_start();
    system::prepare();
    drive::wait();
    if let Err(e) = update::driver::arrived() {
        log::warn!(err:% = e; "the loader is not told that this slot has come up");
    }
    let fat = Fat::default();
    let found = Fat::site();
    // What the disk needs must be known before what is in force can be: that lies on the disk.
    let read = found.as_ref().ok().and_then(Option::as_ref).and_then(|text| site::read(text).ok());
    if let Some(site) = &read {
        drive::wait_for(&site.disk);
    }
    let (brought, data) = bring(&fat, read.as_ref(), Given::default(), CHECK_AT_BOOT);
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
    let missing = firmware::missing();
    troubles.extend((!missing.is_empty()).then_some(Trouble::FirmwareMissing(missing)));
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

/// A passphrase, if somebody gave one, and whether it was typed twice.
#[derive(Clone, Copy, Default)]
struct Given<'a> {
    passphrase: Option<&'a Secret<Vec<u8>>>,
    twice: bool,
}

fn bring(fat: &Fat, site: Option<&Site>, given: Given<'_>, check: Duration) -> (Brought, Data) {
    let choice = site.map(|site| &site.disk);
    let Given { passphrase, twice } = given;
    let wish = Wish { choice, key_file: fat, passphrase, twice, check };
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
    let lying = Lying {
        found,
        kept: if mounted { Kept::read(records) } else { None },
        trial: if mounted { Trial::read(records) } else { None },
        tried_now: trial::mark().is_some(),
        installing: mounted && import::installing(Path::new(DATA_DIR)),
    };
    let mut decision = import::decide(lying.clone());
    let mut of_trial = None;
    let begun = match decision.in_force.as_ref().filter(|_| decision.on_trial) {
        // Who will end it is there before it begins.
        Some(site) => trial::begin(site.trial_minutes).map(|mark| of_trial = Some(mark.trouble())),
        None => Ok(()),
    };
    let lasting = begun.and_then(|()| make_last(&decision.acts, mounted, troubles));
    if let Err(e) = lasting {
        let said = e.to_string();
        troubles.push(Trouble::DataFailed { tried: "keep site.toml".to_owned(), said });
        if decision.on_trial && !lying.tried_now {
            // A trial that is not written down would go on after a power cut.
            trial::end();
            of_trial = None;
            decision = import::decide(Lying { trial: None, ..lying });
        }
    }
    troubles.extend(of_trial);
    troubles.extend(decision.troubles.iter().cloned());
    decision
}

/// Does what was decided, in its order. What the data disk does not take ends it: the FAT's file must
/// stay as it was then, to be taken in once more.
fn make_last(acts: &[Act], mounted: bool, troubles: &mut Vec<Trouble>) -> io::Result<()> {
    let records = Path::new(RECORDS);
    for act in acts {
        let put = match act {
            Act::Keep(kept) if mounted => kept.write(records).map(Ok)?,
            Act::Try(trial) if mounted => trial.write(records).map(Ok)?,
            Act::EndTrial if mounted => Trial::forget(records).map(Ok)?,
            Act::Keep(_) | Act::Try(_) | Act::EndTrial => Ok(()),
            Act::SetAside(text) => Fat::set_aside(text),
            Act::PutBack(text) => Fat::put_site(text),
        };
        if let Err(e) = put {
            troubles.push(Trouble::SiteUnreachable(e.to_string()));
        }
    }
    Ok(())
}

fn outcome(end: End, data: Data, language: Language) -> DataOutcome {
    match end {
        End::Mounted => DataOutcome::Mounted { what: system::describe(data, language) },
        End::Locked => DataOutcome::Locked,
        End::New => DataOutcome::New,
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
    if let Err(e) = Fat::put_status(&status::text(&told(report.clone()), site)) {
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

/// What people are told: with what has become of the slot since the start.
fn told(report: BootReport) -> BootReport {
    match update::driver::what_settled() {
        Some(settled) => settled.join(report),
        None => report,
    }
}

/// Writes `STATUS.txt` anew where more is known of the slot than at the start.
pub fn restate() {
    let Some(report) = report::read() else { return };
    let now = told(report.clone());
    if now == report {
        return;
    }
    if let Err(e) = Fat::put_status(&status::text(&now, site_in_force().as_ref())) {
        log::warn!(err:% = e; "STATUS.txt does not say what has become of the slot");
    }
}

fn site_in_force() -> Option<Site> {
    site::read(&fs::read(SITE_IN_FORCE).ok()?).ok()
}

/// What came of trying to open the data by hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unlocked {
    /// It is there; mail can start.
    Mounted,
    /// It is not, for these reasons.
    Not(Vec<Trouble>),
}

/// Opens the data with a passphrase, or tries once more what did not work at the start, puts in force
/// what lies there, and brings the report up to date. An empty passphrase counts as none; one that was
/// typed `twice` may become the first of a new disk.
#[must_use]
pub fn unlock(passphrase: Secret<Vec<u8>>, twice: bool) -> Unlocked {
    system::prepare();
    let fat = Fat::default();
    let found = Fat::site();
    let read = found.as_ref().ok().and_then(Option::as_ref).and_then(|text| site::read(text).ok());
    let passphrase = Some(passphrase).filter(|p| !p.expose().is_empty());
    let given = Given { passphrase: passphrase.as_ref(), twice };
    let (brought, data) = bring(&fat, read.as_ref(), given, CHECK_BY_HAND);
    if brought.end != End::Mounted {
        let mut troubles = brought.troubles;
        if troubles.is_empty() {
            troubles.push(match brought.end {
                End::Locked => Trouble::WrongPassphrase,
                End::New => Trouble::PassphraseOnce,
                End::Mounted | End::Absent => Trouble::DataDiskMissing("data".to_owned()),
            });
        }
        return Unlocked::Not(troubles);
    }
    let Some(mut report) = report::read() else { return Unlocked::Mounted };
    let of_data =
        |t: &Trouble| matches!(t.runbook(), "data-disk" | "data-locked" | "data-disk-full");
    let of_site = |t: &Trouble| matches!(t.runbook(), "site-file" | "site-trial");
    report.troubles.retain(|t| !of_data(t) && !of_site(t));
    let mut troubles = brought.troubles;
    let decision = settle(found, true, &mut troubles);
    troubles.extend(room());
    report.troubles.extend(troubles);
    // Without a device it was mounted already, and the report says what it is.
    if data.is_some() {
        report.data = outcome(End::Mounted, data, report.language);
    }
    report.site = decision.outcome;
    if let Some(site) = decision.in_force.as_ref().filter(|site| !system::is_in_force(site)) {
        // Until now nobody could know better than the FAT's file.
        report.language = site.language;
        report.troubles.extend(system::put_in_force(site).into_iter().map(Trouble::SystemFile));
        system::restart_network();
    }
    keep(report, decision.in_force.as_ref());
    Unlocked::Mounted
}

/// Starts what its conditions kept from starting while the data disk was not there.
pub fn start_what_waited() {
    system::start_what_waited();
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

/// What came of accepting a site file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// It is in force from the next start on.
    Kept,
    /// It changes the network: the next start tries it.
    ForTrial {
        /// For so long.
        minutes: u16,
    },
    /// One was on trial, and is kept for good now.
    Confirmed,
}

/// Accepts the site file as it lies on the FAT; while one is on trial, that one for good.
///
/// # Errors
/// As [`AcceptError`] says; what was in force stays so.
pub fn accept_site() -> Result<Accepted, AcceptError> {
    match trial::confirm() {
        Ok(()) => return Ok(Accepted::Confirmed),
        Err(trial::ConfirmError::Keep(e)) => return Err(AcceptError::Keep(e)),
        // There is none.
        Err(_) => {}
    }
    let bytes = Fat::site().map_err(AcceptError::Unreachable)?.ok_or(AcceptError::Missing)?;
    let site = site::read(&bytes)
        .map_err(|e| AcceptError::Refused(e.iter().map(ToString::to_string).collect()))?;
    if !scan::is_mounted(Path::new(scan::DATA)) {
        return Err(AcceptError::Keep(io::Error::other("it is not mounted")));
    }
    let kept = Kept::of(&bytes, &site);
    let accepted = accept(Path::new(RECORDS), &kept, &site).map_err(AcceptError::Keep)?;
    Fat::put_site(&kept.text).map_err(|e| AcceptError::Unreachable(e.to_string()))?;
    if let Some(mut report) = report::read() {
        if accepted == Accepted::Kept {
            report.site = SiteOutcome::Applied;
        }
        let of_change =
            |t: &Trouble| matches!(t, Trouble::SiteChanged | Trouble::SiteAccepted { .. });
        report.troubles.retain(|t| !of_change(t));
        if let Accepted::ForTrial { minutes } = accepted {
            report.troubles.push(Trouble::SiteAccepted { minutes });
        }
        keep(report, Some(&site));
    }
    Ok(accepted)
}

/// Keeps what cannot cut the way to this machine; lets the next start try what can.
fn accept(records: &Path, kept: &Kept, site: &Site) -> io::Result<Accepted> {
    let former = Kept::read(records).and_then(|kept| site::read(kept.text.as_bytes()).ok());
    if former.is_some_and(|former| !former.is_reached_as(site)) {
        Trial::of(kept.clone()).write(records)?;
        return Ok(Accepted::ForTrial { minutes: site.trial_minutes });
    }
    kept.write(records)?;
    Trial::forget(records)?;
    Ok(Accepted::Kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORMER: &str = "name = \"mail\"\nhostname = \"mx.example.net\"\n\
                          [service]\ninterface = \"eth0\"\naddress = \"10.0.0.1/24\"\n";

    fn kept(text: &str) -> (Kept, Site) {
        let site = site::read(text.as_bytes()).unwrap();
        (Kept::of(text.as_bytes(), &site), site)
    }

    #[test]
    fn a_changed_network_is_tried_and_all_else_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let (former, site) = kept(FORMER);
        assert_eq!(accept(dir.path(), &former, &site).unwrap(), Accepted::Kept, "the first");
        let moved = FORMER.replace("0.0.1/24", "0.0.2/24");
        let (moved, site) = kept(&format!("trial_minutes = 3\n{moved}"));
        let accepted = accept(dir.path(), &moved, &site).unwrap();
        assert_eq!(accepted, Accepted::ForTrial { minutes: 3 });
        assert_eq!(Kept::read(dir.path()).unwrap().text, former.text);
        assert_eq!(Trial::read(dir.path()), Some(Trial::of(moved)));
        // Thought better of: nothing is left to be tried.
        let (named, site) = kept(&FORMER.replace("\"mail\"", "\"post\""));
        assert_eq!(accept(dir.path(), &named, &site).unwrap(), Accepted::Kept);
        assert_eq!(Kept::read(dir.path()).unwrap().text, named.text);
        assert_eq!(Trial::read(dir.path()), None);
    }
}
