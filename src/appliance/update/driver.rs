//! This machine's updates: gathers the facts, asks the rules, does what they say.
//!
//! Invariants: what writes holds [`LOCK`], and gathers its facts after it got it; results are data,
//! words for people are made by the command line. Deliberately absent: rules ([`super::rules`]), and
//! waiting for a restart: whoever asked for one does that.

use super::install::{self, InstallError, Machine, Progress};
use super::machine::{self, NoBootDisk, Partitions, RealMachine};
use super::offer;
use super::order::{
    self, Act, OFFER_LEN_MAX, ORDERS, Order, Outcome, PUBLISHED, Published, Working,
};
use super::record::{FailedImage, Place, Records};
use super::rules::{self, Booted, Facts, Refusal, Standing, Wishes};
use super::trial::{Health, Policy, Trial, Verdict};
use crate::appliance::disk::{drive, scan};
use crate::appliance::report::{self, BootReport, DataOutcome, Slot, Trouble};
use crate::appliance::slot::env::Env;
use crate::appliance::slot::keys::{KeyError, KeyId, TRUSTED_DIR, TrustedKeys};
use crate::appliance::slot::package::{self, Manifest, Package, PackageError};
use crate::appliance::slot::version::Version;
use crate::appliance::systemd;
use crate::base::clock;
use crate::config;
use crate::ops::health;
use crate::ops::request::Failure;
use serde::{Deserialize, Serialize};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Folder of what lives until the next start.
const RUN_DIR: &str = "/run/understudy";
/// Held by whoever changes slots, block or records.
pub const LOCK: &str = "/run/understudy/update.lock";
/// What [`settle`] came to, for the screen and others: [`Settled`] as JSON.
pub const SETTLED: &str = "/run/understudy/settle.json";
/// Longest text of the system that is read (`/etc/os-release`), in bytes.
const TEXT_LEN_MAX: u64 = 64 * 1024;
/// Bytes between two words of how far an order is.
const PROGRESS_EVERY: u64 = 8 * 1024 * 1024;

/// Why an update's command did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum UpdateError {
    /// It may not be.
    #[error("{0}")]
    Refused(#[from] Refusal),
    /// It was not installed.
    #[error("{0}")]
    Install(#[from] InstallError),
    /// The file is not right.
    #[error("{0}")]
    Package(#[from] PackageError),
    /// The trusted keys cannot be read.
    #[error("{0}")]
    Key(#[from] KeyError),
    /// The boot disk is not known.
    #[error("{0}")]
    Disk(#[from] NoBootDisk),
    /// Another update is under way.
    #[error("another update is under way on this appliance")]
    Underway,
    /// The system refused something.
    #[error("{what}: {source}")]
    Io {
        /// What was done.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
}

impl UpdateError {
    /// What to do about it.
    #[must_use]
    pub fn advice(&self) -> &'static str {
        const DISK: &str = "This appliance goes on with what it runs; look at its disk \
            (docs/runbook/slot-dead.md).";
        match self {
            Self::Refused(refusal) | Self::Install(InstallError::Refused(refusal)) => {
                refusal.advice()
            }
            Self::Install(InstallError::Package(e)) | Self::Package(e) => match e {
                PackageError::UnknownKey(_) => {
                    "Fetch it from whoever made this appliance; trusted keys are in \
                     /etc/understudy/update-keys."
                }
                PackageError::Write(_) => DISK,
                _ => "What runs here was not touched.",
            },
            Self::Install(_) | Self::Disk(_) => DISK,
            Self::Key(_) => "Mend the key's file; without it nothing can be trusted.",
            Self::Underway => "Wait for it: understudy update status",
            Self::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                "Slots are for root. Where understudy runs, its operator may do it, too: \
                 understudy update install"
            }
            Self::Io { .. } => "What runs here was not touched.",
        }
    }
}

fn io_error(what: impl Into<String>) -> impl FnOnce(io::Error) -> UpdateError {
    let what = what.into();
    move |source| UpdateError::Io { what, source }
}

/// What an update would come to.
#[derive(Debug)]
pub struct Checked {
    /// What it is.
    pub manifest: Manifest,
    /// Who signed it.
    pub key: KeyId,
    /// The slot that it would go into, or why it would not be taken.
    pub verdict: Result<Slot, Refusal>,
}

/// How updates stand on this appliance. The steps of a pair's update are read from this.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The version that runs.
    pub running: String,
    /// What the loader told the kernel.
    pub booted: Booted,
    /// How it stands.
    pub standing: Standing,
    /// The slot that starts when nothing is tried; `None` when the loader's block cannot be read.
    pub active: Option<Slot>,
    /// The slot that is tried at the next start.
    pub to_try: Option<Slot>,
    /// How often.
    pub tries: u8,
    /// What is in slot A, as far as it is known.
    pub a: Option<Place>,
    /// What is in slot B, as far as it is known.
    pub b: Option<Place>,
    /// The format that the data has.
    pub data_format: Option<u32>,
    /// Images that failed here.
    pub failed: Vec<FailedImage>,
    /// What is wrong.
    pub troubles: Vec<Trouble>,
}

/// What a start came to; in [`SETTLED`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settled {
    /// Whether the trial of this slot is going on.
    pub trial: bool,
    /// What is wrong.
    pub troubles: Vec<Trouble>,
}

impl Settled {
    /// What the start came to, with what has become of the slot since.
    #[must_use]
    pub fn join(self, mut boot: BootReport) -> BootReport {
        boot.trial = self.trial;
        for trouble in self.troubles {
            if !boot.troubles.contains(&trouble) {
                boot.troubles.push(trouble);
            }
        }
        boot
    }
}

/// Whether the package in `file` (`-`: stdin) is whole and signed; what it is, and by whom. Needs no
/// privilege.
///
/// # Errors
/// It is not signed by a trusted key, or makes no sense.
pub fn inspect(file: &Path) -> Result<(Manifest, KeyId), UpdateError> {
    let package = open(file)?;
    let (manifest, key) = (package.manifest().clone(), package.key());
    package.unpack(package::SLOT_LEN_MAX, &mut |_, _| Ok(()))?;
    Ok((manifest, key))
}

/// Says whether the package in `file` (`-`: stdin) would be taken, and touches nothing.
///
/// # Errors
/// It is not signed by a trusted key, makes no sense, or this machine cannot be looked at.
pub fn check(file: &Path, wishes: Wishes) -> Result<Checked, UpdateError> {
    // Also its image: a copy that was damaged on the way is better found now.
    let (manifest, key) = inspect(file)?;
    let (_, facts) = gather()?;
    let verdict = rules::judge(&facts, &manifest, wishes).map(|(slot, _)| slot);
    Ok(Checked { manifest, key, verdict })
}

/// Installs the package in `file` (`-`: stdin). Returns the slot that is tried at the next start.
///
/// # Errors
/// See [`UpdateError`]; the running system is what starts, after each of them.
pub fn install(
    file: &Path,
    wishes: Wishes,
    progress: &mut dyn FnMut(Progress),
) -> Result<Slot, UpdateError> {
    let package = open(file)?;
    let _lock = lock()?;
    let slot = install_locked(package, wishes, progress)?;
    // For those who ask without being root; what they see is renewed by the next start, too.
    publish_or_say(None);
    Ok(slot)
}

fn install_locked(
    package: Package<impl Read>,
    wishes: Wishes,
    progress: &mut dyn FnMut(Progress),
) -> Result<Slot, UpdateError> {
    let (machine, facts) = gather()?;
    let mut machine = machine.ok_or(Refusal::NoSlot)?;
    Ok(install::install(&mut machine, &facts, package, wishes, progress)?)
}

/// How updates stand here.
///
/// # Errors
/// This machine cannot be looked at.
pub fn status() -> Result<Status, UpdateError> {
    let (_, facts) = gather()?;
    Ok(status_of(facts))
}

fn status_of(facts: Facts) -> Status {
    let troubles = rules::review(&facts).troubles;
    let standing = facts.standing();
    let Facts { booted, env, records, running, .. } = facts;
    let known = records.is_some();
    let records = records.unwrap_or_default();
    Status {
        running: running.to_string(),
        booted,
        standing,
        active: env.as_ref().map(|env| env.active),
        to_try: env.as_ref().and_then(|env| env.trial),
        tries: env.as_ref().map_or(0, |env| env.tries),
        a: records.a,
        b: records.b,
        data_format: Some(records.data_format).filter(|_| known),
        failed: records.failed,
        troubles,
    }
}

/// Goes back; see [`rules::back`]. Returns the slot that starts next, `None` for the running one.
///
/// # Errors
/// See [`UpdateError`].
pub fn rollback() -> Result<Option<Slot>, UpdateError> {
    let _lock = lock()?;
    let to = rollback_locked()?;
    publish_or_say(None);
    Ok(to)
}

fn rollback_locked() -> Result<Option<Slot>, UpdateError> {
    let (machine, facts) = gather()?;
    let mut machine = machine.ok_or(Refusal::NoSlot)?;
    let back = rules::back(&facts)?;
    write(&mut machine, Some(&back.env), back.wipe, Some(&back.records))?;
    Ok(back.to)
}

/// Obeys the order that was left, if there is one, and tells what became of it.
///
/// # Errors
/// There is no right order, or what became of it cannot be told; an order that was not done is told.
pub fn obey(config: &Path, say: &mut dyn FnMut(&str)) -> Result<(), UpdateError> {
    let taken = order::take(Path::new(ORDERS)).map_err(io_error("cannot take the order"))?;
    let Some(order) = taken else { return Ok(()) };
    let _lock = wait_for_lock()?;
    let working = Working { id: order.id.clone(), written: 0, compared: 0 };
    publish(None, Some(working))?;
    let done = perform(&order, config);
    let failed = done.as_ref().err().map(|e| Failure::new(e.to_string(), e.advice()));
    say(&match &failed {
        None => format!("done: {:?}", order.act),
        Some(failure) => format!("not done: {:?}: {}", order.act, failure.what),
    });
    publish(Some(Outcome { id: order.id.clone(), failed }), None)?;
    if done.is_ok_and(|restart| restart)
        && let Err(e) = restart()
    {
        let failed = Some(Failure::new(e.to_string(), e.advice()));
        publish(Some(Outcome { id: order.id, failed }), None)?;
    }
    Ok(())
}

/// Does what the order says; whether a restart is part of it and still to be done.
fn perform(order: &Order, config: &Path) -> Result<bool, UpdateError> {
    match order.act {
        Act::Install { downgrade, again } => {
            let offer = config::load(config)
                .map_err(|e| io_error("cannot read the configuration")(io::Error::other(e)))?
                .data_dir
                .join(offer::DIR)
                .join(offer::READY);
            let file = order::open_hostile(&offer, OFFER_LEN_MAX)
                .map_err(io_error("cannot open the update that was offered"))?;
            let trusted = TrustedKeys::load(Path::new(TRUSTED_DIR))?;
            let package = package::open(file.take(OFFER_LEN_MAX), &trusted)?;
            let id = &order.id;
            install_locked(package, Wishes { downgrade, again }, &mut told_progress(id))?;
            Ok(false)
        }
        Act::Restart => Ok(true),
        Act::Rollback { restart } => Ok(rollback_locked()?.is_some() && restart),
    }
}

/// Tells everybody now and then how far it is.
fn told_progress(id: &str) -> impl FnMut(Progress) + use<> {
    let mut working = Working { id: id.to_owned(), written: 0, compared: 0 };
    let mut told = (0, 0);
    move |progress| {
        match progress {
            Progress::Writing(at) => working.written = at,
            Progress::Comparing(at) => working.compared = at,
        }
        let now = (working.written / PROGRESS_EVERY, working.compared / PROGRESS_EVERY);
        if now != told {
            told = now;
            // What is published stays; only how far it is changes.
            if let Some(mut published) = order::published(Path::new(PUBLISHED)) {
                published.working = Some(working.clone());
                if let Err(e) = order::publish(Path::new(PUBLISHED), &published) {
                    log::debug!(err:% = e, path = PUBLISHED; "progress of an update is not told");
                }
            }
        }
    }
}

/// Publishes how updates stand; `order` in the place of what became of the one before.
fn publish(order: Option<Outcome>, working: Option<Working>) -> Result<(), UpdateError> {
    let (_, facts) = gather()?;
    let (at, boot) = (facts.now, facts.boot.clone());
    let before = order::published(Path::new(PUBLISHED)).and_then(|before| before.order);
    let published =
        Published { at, boot, order: order.or(before), working, status: status_of(facts) };
    order::publish(Path::new(PUBLISHED), &published)
        .map_err(io_error(format!("cannot write {PUBLISHED}")))
}

fn publish_or_say(order: Option<Outcome>) {
    if let Err(e) = publish(order, None) {
        log::warn!(err:% = e, path = PUBLISHED; "how updates stand is not told");
    }
}

/// Restarts this machine through its firmware. Returns when that was asked for.
///
/// # Errors
/// systemd does not do it, in order or by force.
pub fn restart() -> Result<(), UpdateError> {
    let failed = io_error("cannot restart this machine");
    nix::unistd::sync();
    let asked = systemd::restart(false).or_else(|_| systemd::restart(true));
    asked.map_err(|e| failed(io::Error::other(e)))
}

/// The system has come up, so its slot is whole: the loader counts its starts anew.
///
/// # Errors
/// The loader's block cannot be read or written.
pub fn arrived() -> Result<(), UpdateError> {
    let kernel = drive::kernel_arguments();
    if kernel.slot.is_none() {
        return Ok(());
    }
    let _lock = wait_for_lock()?;
    let mut machine = RealMachine::new(Partitions::find(kernel, scan::disks())?);
    let env = machine.read_env().map_err(io_error("cannot read the loader's block"))?;
    match env.filter(|env| env.starts > 0) {
        Some(env) => write(&mut machine, Some(&Env { starts: 0, ..env }), None, None),
        None => Ok(()),
    }
}

/// What each start runs once: settles what the last one left, and, on a slot on trial, waits until
/// it is good or too late. `say` gets lines for the journal; `known` is called when [`what_settled`] has
/// changed.
///
/// # Errors
/// This machine cannot be looked at, or a disk failed. A slot on trial then stays on trial: the
/// loader counts its starts.
pub fn settle(
    config: &Path,
    policy: Policy,
    known: &dyn Fn(),
    say: &mut dyn FnMut(&str),
) -> Result<(), UpdateError> {
    let standing = settle_start(say)?;
    known();
    let Standing::Trial(slot) = standing else { return Ok(()) };
    say(&format!("slot {slot} is on trial"));
    let mut trial = Trial::new(policy, clock::mono());
    let mut last = String::new();
    loop {
        std::thread::sleep(policy.every);
        let (health, why) = application(config);
        if why != last {
            say(&why);
            last.clone_from(&why);
        }
        match trial.look(health, clock::mono()) {
            Verdict::Wait => {}
            Verdict::Good => {
                settle_good(slot, say)?;
                known();
                return Ok(());
            }
            Verdict::Late => return settle_late(slot, &why, say),
        }
    }
}

fn settle_start(say: &mut dyn FnMut(&str)) -> Result<Standing, UpdateError> {
    let _lock = wait_for_lock()?;
    let (machine, facts) = gather()?;
    let review = rules::review(&facts);
    for note in &review.notes {
        say(note);
    }
    for trouble in &review.troubles {
        let (what, todo) = trouble.words(crate::ops::status::Language::En);
        say(&format!("{what}. {todo} (docs/runbook/{}.md)", trouble.runbook()));
    }
    let trial = matches!(review.standing, Standing::Trial(_));
    tell(&Settled { trial, troubles: review.troubles.clone() })?;
    if let Some(mut machine) = machine {
        write(&mut machine, review.env.as_ref(), review.wipe, review.records.as_ref())?;
    }
    publish_or_say(None);
    Ok(review.standing)
}

fn settle_good(slot: Slot, say: &mut dyn FnMut(&str)) -> Result<(), UpdateError> {
    let _lock = wait_for_lock()?;
    let (machine, facts) = gather()?;
    if !facts.is_tried(slot) {
        say("the trial was called off");
        return Ok(());
    }
    let mut machine = machine.ok_or(Refusal::NoSlot)?;
    let (env, records) = rules::settled(&facts, slot);
    write(&mut machine, Some(&env), None, records.as_ref())?;
    say(&format!("slot {slot} is good: it starts from now on"));
    let facts = Facts { env: Some(env), records, ..facts };
    tell(&Settled { trial: false, troubles: rules::review(&facts).troubles })?;
    publish_or_say(None);
    Ok(())
}

fn settle_late(slot: Slot, why: &str, say: &mut dyn FnMut(&str)) -> Result<(), UpdateError> {
    let lock = wait_for_lock()?;
    let (machine, facts) = gather()?;
    if !facts.is_tried(slot) {
        say("the trial was called off");
        return Ok(());
    }
    if let (Some(mut machine), Some(records)) = (machine, rules::late(&facts, slot, why)) {
        // Whether or not it can be kept: the loader must get its turn.
        if let Err(e) = write(&mut machine, None, None, Some(&records)) {
            say(&e.to_string());
        }
    }
    drop(lock);
    say(&format!("slot {slot} was not healthy in time; this machine restarts"));
    restart()
}

/// Writes what there is, in the order that the rules ask for.
fn write(
    machine: &mut RealMachine,
    env: Option<&Env>,
    wipe: Option<Slot>,
    records: Option<&Records>,
) -> Result<(), UpdateError> {
    if let Some(env) = env {
        machine.write_env(&env.write()).map_err(io_error("cannot write the loader's block"))?;
    }
    if let Some(slot) = wipe {
        let room = machine.slot_len(slot).map_err(io_error(format!("cannot open slot {slot}")))?;
        install::behead(machine, slot, room)?;
    }
    if let Some(records) = records {
        machine.write_records(records).map_err(io_error("cannot write the records of updates"))?;
    }
    Ok(())
}

/// What this start came to, as [`settle`] left it; `None` where it has not run.
#[must_use]
pub fn what_settled() -> Option<Settled> {
    serde_json::from_str(&text_of(SETTLED).ok()?).ok()
}

fn tell(settled: &Settled) -> Result<(), UpdateError> {
    let text = serde_json::to_vec(settled).unwrap_or_default();
    let new = PathBuf::from(format!("{SETTLED}.new"));
    fs::write(&new, text)
        .and_then(|()| fs::rename(&new, SETTLED))
        .map_err(io_error(format!("cannot write {SETTLED}")))
}

fn open(file: &Path) -> Result<Package<Box<dyn Read>>, UpdateError> {
    let trusted = TrustedKeys::load(Path::new(TRUSTED_DIR))?;
    let reader: Box<dyn Read> = if file == Path::new("-") {
        Box::new(io::stdin())
    } else {
        let opened = File::open(file);
        Box::new(opened.map_err(io_error(format!("cannot open {}", file.display())))?)
    };
    Ok(package::open(reader, &trusted)?)
}

/// Held until it is dropped; an error while another holds it.
fn lock() -> Result<File, UpdateError> {
    let file = lock_file()?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(UpdateError::Underway),
        Err(fs::TryLockError::Error(source)) => Err(lock_error()(source)),
    }
}

/// Held until it is dropped; waits while another holds it.
fn wait_for_lock() -> Result<File, UpdateError> {
    let file = lock_file()?;
    file.lock().map_err(lock_error())?;
    Ok(file)
}

fn lock_file() -> Result<File, UpdateError> {
    DirBuilder::new().recursive(true).mode(0o755).create(RUN_DIR).map_err(lock_error())?;
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600);
    options.open(LOCK).map_err(lock_error())
}

fn lock_error() -> impl FnOnce(io::Error) -> UpdateError {
    io_error(format!("cannot lock {LOCK}"))
}

/// The facts, and the machine's disks where it came from a slot.
fn gather() -> Result<(Option<RealMachine>, Facts), UpdateError> {
    let kernel = drive::kernel_arguments();
    let booted = Booted { slot: kernel.slot, trial: kernel.trial, failed: kernel.failed };
    let mut machine = None;
    let mut env = None;
    if booted.slot.is_some() {
        let partitions = Partitions::find(kernel, scan::disks())?;
        let mut found = RealMachine::new(partitions);
        env = found.read_env().map_err(io_error("cannot read the loader's block"))?;
        machine = Some(found);
    }
    let records =
        machine::read_records().map_err(io_error("cannot read the records of updates"))?;
    let release = text_of("/etc/os-release").unwrap_or_default();
    let boot = text_of("/proc/sys/kernel/random/boot_id")?.trim().to_owned();
    let running = running(&release)?;
    Ok((machine, Facts { booted, env, records, running, boot, now: clock::now_ms() }))
}

fn text_of(path: &str) -> Result<String, UpdateError> {
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(TEXT_LEN_MAX).read_to_string(&mut text))
        .map_err(io_error(format!("cannot read {path}")))?;
    Ok(text)
}

/// The version of the image, as its os-release says it; that of this program elsewhere.
fn running(release: &str) -> Result<Version, UpdateError> {
    let named = release.lines().find_map(|line| line.strip_prefix("IMAGE_VERSION="));
    let text = named.map_or(env!("CARGO_PKG_VERSION"), |text| text.trim_matches('"'));
    let strange = || format!("/etc/os-release says IMAGE_VERSION={text}");
    text.parse().map_err(|e| io_error(strange())(io::Error::other(e)))
}

/// What the application says of itself, and in words.
fn application(config: &Path) -> (Health, String) {
    if report::read().is_some_and(|report| report.data == DataOutcome::Locked) {
        return (Health::Locked, "the data waits for its passphrase".to_owned());
    }
    let address = match config::load(config) {
        Ok(config) => config.management.address,
        Err(e) => return (Health::Unhealthy, e.to_string()),
    };
    match health::ask(address) {
        Ok(said) => judge(&said),
        Err(e) => (Health::Unhealthy, format!("nothing answers on {address}: {e}")),
    }
}

/// The body of `/healthz`, as far as it matters here.
#[derive(Deserialize)]
struct Answer {
    reasons: Vec<Reason>,
}

#[derive(Deserialize)]
struct Reason {
    what: String,
    runbook: String,
}

fn judge(said: &health::Said) -> (Health, String) {
    if said.healthy {
        return (Health::Healthy, "understudy is healthy".to_owned());
    }
    let reasons = serde_json::from_str::<Answer>(&said.body).map(|answer| answer.reasons);
    let reasons = reasons.unwrap_or_default();
    let words: Vec<&str> = reasons.iter().map(|reason| reason.what.as_str()).collect();
    let joins = !reasons.is_empty() && reasons.iter().all(|reason| reason.runbook == "joining");
    let health = if joins { Health::Joining } else { Health::Unhealthy };
    (health, format!("understudy is not healthy: {}", words.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_image_says_its_version() {
        let version = |text| running(text).unwrap().to_string();
        assert_eq!(version("ID=debian\nIMAGE_VERSION=\"1.2.3+g1\"\n"), "1.2.3+g1");
        assert_eq!(version("ID=debian\n"), env!("CARGO_PKG_VERSION"));
        assert!(running("IMAGE_VERSION=trixie").is_err());
    }

    #[test]
    fn who_only_copies_is_not_unhealthy() {
        let board = health::Board::default();
        let judged = |facts: health::Facts| {
            board.set(facts);
            let health = board.health(understudy_proto::time::Mono(1));
            let body = serde_json::to_string(&health).unwrap();
            judge(&health::Said { healthy: health.ok, body })
        };
        let standby = health::Facts {
            duty: health::Duty::Standby,
            linked: true,
            insync: true,
            ..health::Facts::default()
        };
        assert_eq!(judged(standby.clone()).0, Health::Healthy);
        assert_eq!(judged(health::Facts { insync: false, ..standby.clone() }).0, Health::Joining);
        let lost = health::Facts { insync: false, linked: false, ..standby };
        let (health, words) = judged(lost);
        assert_eq!(health, Health::Unhealthy);
        assert!(words.ends_with("the primary is not reachable, the copy is not complete yet"));
        let odd = health::Said { healthy: false, body: "<html>".into() };
        assert_eq!(judge(&odd).0, Health::Unhealthy);
    }
}
