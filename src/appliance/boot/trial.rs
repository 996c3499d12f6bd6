//! A changed network on trial: who is asked, until when, and what happens when nobody says yes.
//!
//! ```text
//! start ─► /run/…/site-trial.json ─► watch ─┬─ somebody says yes ─► kept for good
//!                                            └─ time is up ─► former file to the FAT ─► restart
//! ```
//! Invariants: what was kept is not touched before somebody says yes, so a trial that ends in any other
//! way ends with it at the next start. Saying yes is a file in a folder of the group `understudy`: it
//! takes being on the machine, over the network that is on trial or at its screen, and no root. Of that
//! file only its being there counts.

use super::fat::{Fat, replace};
use super::import::{self, Act, Lying, Stage, Trial};
use super::{RECORDS, keep, system};
use crate::appliance::report::{self, SiteOutcome, Trouble};
use crate::appliance::systemd;
use crate::base::clock;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;
use understudy_proto::time::{Mono, UnixMs};

/// There while this start tries a site file.
pub const MARK: &str = "/run/understudy/site-trial.json";
/// Whoever may say yes can write here.
const ASK_DIR: &str = "/run/understudy/site-trial";
/// What says yes.
const YES: &str = "confirm";
/// How often it is looked for.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long somebody who has said yes waits for what comes of it.
const YES_WAIT: Duration = Duration::from_secs(20);
/// How long a restart in good order may be asked for in vain, before it is done without.
const ORDERLY: Duration = Duration::from_secs(5 * 60);
/// How often a restart is asked for again.
const RESTART_EVERY: Duration = Duration::from_secs(30);

/// A trial of this start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// When it is over.
    pub until: Mono,
    /// The same by this machine's clock, as that was at the start.
    pub until_ms: UnixMs,
    /// How long it is in all.
    pub minutes: u16,
}

impl Mark {
    fn new(minutes: u16, now: Mono, now_ms: UnixMs) -> Self {
        let time = Duration::from_secs(u64::from(minutes) * 60);
        let ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Self { until: now.after(time), until_ms: UnixMs(now_ms.0.saturating_add(ms)), minutes }
    }

    /// What to tell of it.
    #[must_use]
    pub const fn trouble(self) -> Trouble {
        Trouble::SiteOnTrial { until: self.until_ms, minutes: self.minutes }
    }
}

/// The trial of this start; `None` where nothing is on trial.
#[must_use]
pub fn mark() -> Option<Mark> {
    serde_json::from_slice(&fs::read(MARK).ok()?).ok()
}

/// Lets the trial of this start begin, unless it has.
///
/// # Errors
/// It cannot be written down: then nobody would end it, and it must not begin.
pub(super) fn begin(minutes: u16) -> io::Result<Mark> {
    if let Some(mark) = mark() {
        return Ok(mark);
    }
    system::shared_folder(Path::new(ASK_DIR))?;
    let mark = Mark::new(minutes, clock::mono(), clock::now_ms());
    let (folder, name) = place()?;
    replace(folder, name, &serde_json::to_vec(&mark)?)?;
    Ok(mark)
}

fn place() -> io::Result<(&'static Path, &'static str)> {
    let path = Path::new(MARK);
    let name = path.file_name().and_then(|n| n.to_str());
    path.parent().zip(name).ok_or_else(|| io::Error::other("it has no folder"))
}

/// There is no trial of this start any more.
pub(super) fn end() {
    for path in [Path::new(ASK_DIR).join(YES).as_path(), Path::new(MARK)] {
        if let Err(e) = fs::remove_file(path)
            && e.kind() != io::ErrorKind::NotFound
        {
            log::warn!(err:% = e, path:% = path.display(); "a file cannot be removed");
        }
    }
}

/// Why a trial was not confirmed.
#[derive(Debug, thiserror::Error)]
pub enum ConfirmError {
    /// There is none.
    #[error("no site.toml is on trial")]
    NoTrial,
    /// The word cannot be left where it is looked for.
    #[error("{ASK_DIR}/{YES} cannot be written: {0}")]
    Ask(io::Error),
    /// Nobody has taken it.
    #[error("nobody took the confirmation within {} s", YES_WAIT.as_secs())]
    NoAnswer,
    /// The data disk refuses.
    #[error("the data disk cannot keep it: {0}")]
    Keep(io::Error),
}

/// Keeps what is on trial, for good. For root.
///
/// # Errors
/// As [`ConfirmError`] says; the trial goes on.
pub fn confirm() -> Result<(), ConfirmError> {
    if mark().is_none() {
        return Err(ConfirmError::NoTrial);
    }
    confirm_in(Path::new(RECORDS))?;
    end();
    if let Some(mut report) = report::read() {
        if report.site == SiteOutcome::Trial {
            report.site = SiteOutcome::Applied;
        }
        report.troubles.retain(|t| !matches!(t, Trouble::SiteOnTrial { .. }));
        keep(report, super::site_in_force().as_ref());
    }
    log::info!("the site file on trial is confirmed");
    Ok(())
}

fn confirm_in(records: &Path) -> Result<(), ConfirmError> {
    let running = Trial::read(records).filter(|t| t.stage == Stage::Running);
    let trial = running.ok_or(ConfirmError::NoTrial)?;
    trial.kept().write(records).map_err(ConfirmError::Keep)?;
    // From here on it is kept; what is left of the trial, another start takes away.
    if let Err(e) = Trial::forget(records) {
        log::warn!(err:% = e; "what is left of a trial cannot be removed");
    }
    Ok(())
}

/// Says yes, as anybody in the group `understudy`, and waits until it was heard.
///
/// # Errors
/// As [`ConfirmError`] says.
pub fn say_yes() -> Result<(), ConfirmError> {
    if mark().is_none() {
        return Err(ConfirmError::NoTrial);
    }
    fs::write(Path::new(ASK_DIR).join(YES), "").map_err(ConfirmError::Ask)?;
    let until = clock::mono().after(YES_WAIT);
    while clock::mono() < until {
        if mark().is_none() {
            return Ok(());
        }
        std::thread::sleep(LOOK_EVERY);
    }
    Err(ConfirmError::NoAnswer)
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// It is decided.
    Done,
    /// Somebody said yes.
    Confirm,
    /// Nobody did.
    Restart,
    /// Time is left.
    Wait,
}

const fn step(mark: Option<Mark>, yes: bool, now: Mono) -> Step {
    match mark {
        None => Step::Done,
        Some(_) if yes => Step::Confirm,
        Some(mark) if now.0 >= mark.until.0 => Step::Restart,
        Some(_) => Step::Wait,
    }
}

/// Waits for somebody to say yes, or for the end of the time: then the former file is put back and the
/// machine restarts with it.
pub fn watch() {
    let mut since = None;
    loop {
        let yes = fs::symlink_metadata(Path::new(ASK_DIR).join(YES)).is_ok();
        match step(mark(), yes, clock::mono()) {
            Step::Done => return,
            Step::Confirm => match confirm() {
                Ok(()) => return,
                Err(e) => {
                    log::error!(err:% = e, runbook = "site-trial"; "the site file on trial cannot be kept");
                    // Whoever said yes is told so, and may say it again.
                    drop(fs::remove_file(Path::new(ASK_DIR).join(YES)));
                }
            },
            Step::Restart => {
                let begun = *since.get_or_insert_with(|| {
                    log::error!(runbook = "site-trial"; "nobody has confirmed the changed network: the former site file comes back");
                    put_back();
                    clock::mono()
                });
                if let Err(e) = systemd::restart(clock::mono().since(begun) >= ORDERLY) {
                    log::warn!(err:% = e; "the restart cannot be asked for");
                }
                std::thread::sleep(RESTART_EVERY);
            }
            Step::Wait => {}
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// Puts the former file where it counts while the data disk is locked, too. What the records say, the
/// next start settles.
fn put_back() {
    for act in former(Path::new(RECORDS), Fat::site()) {
        let put = match &act {
            Act::SetAside(text) => Fat::set_aside(text),
            Act::PutBack(text) => Fat::put_site(text),
            Act::Keep(_) | Act::Try(_) | Act::EndTrial => Ok(()),
        };
        if let Err(e) = put {
            log::warn!(err:% = e; "the former site file cannot be put back yet");
        }
    }
}

/// What the next start will do, as of now.
fn former(records: &Path, found: Result<Option<Vec<u8>>, String>) -> Vec<Act> {
    let (kept, trial) = (import::Kept::read(records), Trial::read(records));
    import::decide(Lying { found, kept, trial, tried_now: false, installing: false }).acts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::appliance::site;

    fn at(seconds: u64) -> Mono {
        Mono(seconds * 1_000_000)
    }

    #[test]
    fn a_trial_ends_with_a_word_or_with_its_time() {
        let mark = Some(Mark::new(10, at(40), UnixMs(1_000)));
        assert_eq!(step(mark, false, at(639)), Step::Wait);
        assert_eq!(step(mark, false, at(640)), Step::Restart);
        assert_eq!(step(mark, true, at(41)), Step::Confirm);
        assert_eq!(step(mark, true, at(900)), Step::Confirm, "late, but before the restart");
        assert_eq!(step(None, true, at(900)), Step::Done);
        assert_eq!(mark.map(|m| m.until_ms), Some(UnixMs(601_000)));
    }

    const FORMER: &str = "name = \"mail\"\nhostname = \"mx.example.net\"\n\
                          [service]\ninterface = \"eth0\"\naddress = \"10.0.0.1/24\"\n";

    #[test]
    fn only_what_runs_is_confirmed_and_only_what_runs_is_put_back() {
        let dir = tempfile::tempdir().unwrap();
        let kept =
            |text: &str| import::Kept::of(text.as_bytes(), &site::read(text.as_bytes()).unwrap());
        let changed = FORMER.replace("0.0.1/24", "0.0.2/24");
        kept(FORMER).write(dir.path()).unwrap();
        let mut trial = Trial::of(kept(&changed));
        trial.write(dir.path()).unwrap();
        assert!(matches!(confirm_in(dir.path()), Err(ConfirmError::NoTrial)), "not tried yet");
        trial.stage = Stage::Running;
        trial.write(dir.path()).unwrap();
        let acts = former(dir.path(), Ok(Some(changed.clone().into_bytes())));
        let back = [Act::SetAside(changed.clone()), Act::PutBack(FORMER.to_owned()), Act::EndTrial];
        assert_eq!(acts, back);
        confirm_in(dir.path()).unwrap();
        assert_eq!(import::Kept::read(dir.path()).unwrap().text, changed);
        assert_eq!(Trial::read(dir.path()), None);
        assert_eq!(former(dir.path(), Ok(Some(changed.into_bytes()))), []);
    }
}
