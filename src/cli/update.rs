//! `understudy update`: what an appliance runs, and what it is to run next; and for whoever builds
//! images, `pack` and `keygen`.
//!
//! Where the program runs, it is asked over the control socket: it brings the update to its peer, too,
//! and its operator needs no root. Where it does not run, root does it directly. Deliberately absent:
//! fetching updates from anywhere. A file, or a pipe.

use super::error::CliError;
use super::{client, output};
use crate::appliance::report::Slot;
use crate::appliance::slot::keys::{KeyError, SigningKey};
use crate::appliance::slot::package::{self, About, Manifest, PackageError};
use crate::appliance::update::driver::{self, Status, UpdateError};
use crate::appliance::update::install::Progress;
use crate::appliance::update::offer::in_pieces;
use crate::appliance::update::order::{self, Outcome, PUBLISHED, Working};
use crate::appliance::update::record::{Condition, Place};
use crate::appliance::update::rules::{Standing, Wishes};
use crate::ops::request::{Answer, Failure, Request, UpdateInstall, UpdatePiece, UpdateRollback};
use crate::ops::status::{Language, RollReport, RollState, RollStep};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Bytes between two lines of progress.
const PROGRESS_EVERY: u64 = 16 * 1024 * 1024;
/// Bytes handed over at a time: in base64 below `ops::control::REQUEST_LEN_MAX`.
const PIECE_LEN: usize = 45 * 1024;
/// How often is asked how far it is.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// Bytes of a MiB.
const MIB: u64 = 1024 * 1024;

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// Say what an update is, and whether it would be taken here.
    Check {
        /// The update; `-` reads it from stdin.
        file: PathBuf,
    },
    /// Install an update: on both appliances of a pair, one after the other, without a missed mail.
    Install(Install),
    /// Show what runs, what is in the other slot, and what is tried next.
    Status {
        /// As JSON, for scripts.
        #[arg(long)]
        json: bool,
    },
    /// Go back to the version before, or call off an update that waits for its restart.
    Rollback {
        /// Restart at once.
        #[arg(long)]
        restart: bool,
    },
    /// Make an update of a slot's image (for whoever builds images).
    Pack(Pack),
    /// Make a key that signs updates; its public half goes to FILE.pub.
    Keygen {
        /// Where the private key goes.
        #[arg(long)]
        out: PathBuf,
    },
}

#[derive(clap::Args)]
pub(super) struct Install {
    /// The update; `-` reads it from stdin.
    file: PathBuf,
    /// Only on this appliance: write it into the idle slot, so that the next start tries it.
    #[arg(long)]
    only_here: bool,
    /// Restart this appliance at once; without this, --only-here waits for the next start.
    #[arg(long)]
    restart: bool,
    /// Come back as soon as it has begun; `update status` says how far it is.
    #[arg(long)]
    detach: bool,
    /// Take a version that is older than the one that runs.
    #[arg(long)]
    downgrade: bool,
    /// Take an image that was tried here before and failed.
    #[arg(long)]
    again: bool,
}

#[derive(clap::Args)]
pub(super) struct Pack {
    /// The slot's image.
    #[arg(long)]
    slot: PathBuf,
    /// JSON with version, data_format, data_format_least and built (seconds since 1970).
    #[arg(long)]
    manifest: PathBuf,
    /// The private key: PEM, Ed25519.
    #[arg(long)]
    key: PathBuf,
    /// Where the update goes.
    #[arg(long)]
    out: PathBuf,
}

impl From<UpdateError> for CliError {
    fn from(e: UpdateError) -> Self {
        let advice = e.advice();
        Failure::new(e.to_string(), advice).into()
    }
}

impl From<PackageError> for CliError {
    fn from(e: PackageError) -> Self {
        Failure::new(e.to_string(), "Nothing was made.").into()
    }
}

impl From<KeyError> for CliError {
    fn from(e: KeyError) -> Self {
        Failure::new(e.to_string(), "Nothing was made.").into()
    }
}

pub(super) fn perform(command: Command, config: &Path) -> Result<(), CliError> {
    match command {
        Command::Check { file } => check(&file),
        Command::Install(args) => install(&args, config),
        Command::Status { json } => status(json, config),
        Command::Rollback { restart } => rollback(restart, config),
        Command::Pack(args) => pack(&args),
        Command::Keygen { out } => keygen(&out),
    }
}

fn check(file: &Path) -> Result<(), CliError> {
    if !is_root() {
        let (manifest, key) = driver::inspect(file)?;
        output::say(&described(&manifest))?;
        return output::say(&format!("Signed   with key {key}, which is trusted here\n"));
    }
    let checked = driver::check(file, Wishes::default())?;
    output::say(&described(&checked.manifest))?;
    output::say(&format!("Signed   with key {}, which is trusted here\n", checked.key))?;
    match checked.verdict {
        Ok(slot) => output::say(&format!("Here     it would go into slot {slot}\n")),
        Err(refusal) => Err(UpdateError::Refused(refusal).into()),
    }
}

fn described(manifest: &Manifest) -> String {
    format!(
        "Version  {}\nBuilt    {}\nImage    {} MiB, blake3 {}\n         sha256 {}\n\
         Data     reads formats {} to {}\n",
        manifest.about.version,
        output::time(manifest.about.built.saturating_mul(1000)),
        manifest.slot_len.div_ceil(MIB),
        manifest.blake3,
        manifest.sha256,
        manifest.about.data_format_least,
        manifest.about.data_format,
    )
}

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// How far the update of late is, where the program runs; `None` where root is to do it alone.
fn asked(config: &Path) -> Result<Option<Option<RollReport>>, CliError> {
    match client::ask(config, &Request::UpdateProgress) {
        Ok(Answer::Update(report)) => Ok(Some(report.roll)),
        Ok(other) => Err(client::strange(&other)),
        Err(_) if is_root() => Ok(None),
        Err(e) => Err(e),
    }
}

fn install(args: &Install, config: &Path) -> Result<(), CliError> {
    if asked(config)?.is_some() {
        return hand_over(args, config);
    }
    let wishes = Wishes { downgrade: args.downgrade, again: args.again };
    let slot = driver::install(&args.file, wishes, &mut progress())?;
    output::say(&format!("Slot {slot} is written and compared; the next start tries it.\n"))?;
    restart(args.restart)
}

/// Hands the file to the program, and tells how far it is until that is over.
fn hand_over(args: &Install, config: &Path) -> Result<(), CliError> {
    let from: Box<dyn Read> = if args.file == Path::new("-") {
        Box::new(io::stdin())
    } else {
        let file = File::open(&args.file);
        Box::new(file.map_err(|source| CliError::Input { what: "the update", source })?)
    };
    let unread = |source| CliError::Input { what: "the update", source };
    let appliance = client::Client::of(config)?;
    let mut told = 0;
    let mut put = |offset: u64, piece: &[u8]| -> Result<(), CliError> {
        let piece = UpdatePiece { offset, bytes: STANDARD.encode(piece) };
        match appliance.ask(&Request::UpdatePiece(piece))? {
            Answer::Received(_) => {}
            other => return Err(client::strange(&other)),
        }
        if offset >= told {
            output::complain(&format!("{} MiB handed over", offset / MIB));
            told = offset.saturating_add(PROGRESS_EVERY);
        }
        Ok(())
    };
    let len = in_pieces(from, PIECE_LEN, unread, &mut put)?;
    let request = Request::UpdateInstall(UpdateInstall {
        len,
        only_here: args.only_here,
        restart: args.restart,
        downgrade: args.downgrade,
        again: args.again,
    });
    client::tell(config, &request)?;
    if args.detach {
        return output::say("It has begun: understudy update status\n");
    }
    follow(config, args.restart)
}

/// Tells how far it is, until it is over or this appliance restarts.
fn follow(config: &Path, restart: bool) -> Result<(), CliError> {
    const RESTARTS: &str = "This appliance restarts; it goes on: understudy update status\n";
    let mut last = String::new();
    loop {
        let Ok(Answer::Update(report)) = client::ask(config, &Request::UpdateProgress) else {
            return output::say(RESTARTS);
        };
        let Some(roll) = report.roll else { return Ok(()) };
        if roll.state == RollState::UnderWay && roll.step == RollStep::RestartingHere {
            // Whoever follows over SSH is let go before the network is.
            return output::say(RESTARTS);
        }
        let line = roll_line(&roll);
        match roll.state {
            RollState::UnderWay if line == last => {}
            RollState::UnderWay => output::complain(&line),
            RollState::Done if roll.only_here && !restart => {
                return output::say(&format!(
                    "{} is written and compared; the next start tries it.\n",
                    roll.version
                ));
            }
            RollState::Done => return output::say(&format!("{} runs.\n", roll.version)),
            RollState::Stopped => {
                let what = format!("stopped: {}", roll.why.unwrap_or_default());
                return Err(Failure::new(what, roll.advice.unwrap_or_default()).into());
            }
        }
        last = line;
        std::thread::sleep(ASK_EVERY);
    }
}

/// `1.2.3: goes to the peer, 3/60 MiB`.
fn roll_line(roll: &RollReport) -> String {
    let step = roll.step.words(Language::En);
    let bytes = roll.bytes.map(|(done, total)| format!(", {}/{} MiB", done / MIB, total / MIB));
    format!("{}: {step}{}", roll.version, bytes.unwrap_or_default())
}

/// A line on stderr now and then.
fn progress() -> impl FnMut(Progress) {
    let mut next = (0, 0);
    move |progress| {
        let (at, due, verb) = match progress {
            Progress::Writing(at) => (at, &mut next.0, "written"),
            Progress::Comparing(at) => (at, &mut next.1, "compared"),
        };
        if at >= *due {
            output::complain(&format!("{} MiB {verb}", at / MIB));
            *due = at.saturating_add(PROGRESS_EVERY);
        }
    }
}

fn restart(now: bool) -> Result<(), CliError> {
    if now {
        driver::restart()?;
        return output::say("This machine restarts.\n");
    }
    output::say("Next: systemctl reboot\n")
}

fn rollback(now: bool, config: &Path) -> Result<(), CliError> {
    if asked(config)?.is_some() {
        client::tell(config, &Request::UpdateRollback(UpdateRollback { restart: now }))?;
        return output::say("It is done; what starts next: understudy update status\n");
    }
    match driver::rollback()? {
        Some(slot) => {
            output::say(&format!("Slot {slot} starts next.\n"))?;
            restart(now)
        }
        None => output::say("The update that waited is called off; what runs stays.\n"),
    }
}

/// What `update status --json` prints.
#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    status: Status,
    order: Option<Outcome>,
    working: Option<Working>,
    roll: Option<RollReport>,
}

fn status(json: bool, config: &Path) -> Result<(), CliError> {
    let published = order::published(Path::new(PUBLISHED));
    let (order, working) =
        published.as_ref().map_or((None, None), |p| (p.order.clone(), p.working.clone()));
    let status = match published {
        // What root has said is as new as the last change; root itself looks.
        Some(published) if !is_root() => published.status,
        _ => driver::status()?,
    };
    // A program that does not answer is no reason to hide the rest.
    let roll = asked(config).ok().flatten().flatten();
    if json {
        let shown = Shown { status, order, working, roll };
        let text = serde_json::to_string_pretty(&shown);
        let text = text.map_err(|e| CliError::Strange(e.to_string()))?;
        return output::say(&format!("{text}\n"));
    }
    output::say(&screen(&status))?;
    roll.map_or(Ok(()), |roll| output::say(&roll_screen(&roll)))
}

fn roll_screen(roll: &RollReport) -> String {
    let place = if roll.only_here { "here" } else { "pair" };
    let state = match roll.state {
        RollState::UnderWay => roll_line(roll),
        RollState::Done => format!("{}: through", roll.version),
        RollState::Stopped => {
            let why = roll.why.as_deref().unwrap_or_default();
            let todo = roll.advice.as_deref().unwrap_or_default();
            format!("{}: STOPPED: {why}\n         {todo}", roll.version)
        }
    };
    let peer = roll.peer_running.as_deref().map(|version| format!("Peer     {version}\n"));
    format!("{}Update   ({place}) {state}\n", peer.unwrap_or_default())
}

fn screen(status: &Status) -> String {
    let standing = match status.standing {
        Standing::NoSlot => "not from a slot: this system is not updated here".to_owned(),
        Standing::Settled(slot) => format!("slot {slot}"),
        Standing::Trial(slot) => format!("slot {slot}, on trial"),
        Standing::Fallback(slot) => {
            format!("slot {slot}, because slot {} did not start", slot.other())
        }
    };
    let next = match (status.to_try, status.active) {
        _ if status.standing == Standing::NoSlot => "-".to_owned(),
        (Some(slot), _) => format!("slot {slot} is tried, {} more times", status.tries),
        (None, Some(slot)) => format!("slot {slot}"),
        (None, None) => "slot A: the loader's block cannot be read".to_owned(),
    };
    let mut text = format!("Running  {} ({standing})\nNext     {next}\n", status.running);
    for (slot, place) in [(Slot::A, &status.a), (Slot::B, &status.b)] {
        let content = place.as_ref().map_or_else(|| "empty, or not known".to_owned(), content);
        text.push_str(&format!("Slot {slot}   {content}\n"));
    }
    for failed in &status.failed {
        let at = output::time(failed.at.0);
        text.push_str(&format!("Failed   {} ({at}): {}\n", failed.version, failed.why));
    }
    for trouble in &status.troubles {
        let (what, todo) = trouble.words(Language::En);
        let page = trouble.runbook();
        text.push_str(&format!("\n! {what}\n  {todo} (docs/runbook/{page}.md)\n"));
    }
    text
}

fn content(place: &Place) -> String {
    let condition = match place.condition {
        Condition::Writing => "half written",
        Condition::Ready => "written, not tried to the end",
        Condition::Good => "good",
        Condition::Bad => "failed",
    };
    format!("{}, {condition} ({})", place.image.version, output::time(place.at.0))
}

fn pack(args: &Pack) -> Result<(), CliError> {
    let key = SigningKey::load(&args.key)?;
    let text = std::fs::read(&args.manifest)
        .map_err(|source| CliError::Input { what: "the manifest", source })?;
    let about: About = serde_json::from_slice(&text)
        .map_err(|e| CliError::Usage(format!("{}: {e}", args.manifest.display())))?;
    let mut slot = File::open(&args.slot)
        .map_err(|source| CliError::Input { what: "the slot's image", source })?;
    let out = File::create(&args.out).map_err(CliError::Output)?;
    let mut out = BufWriter::new(out);
    let manifest = package::pack(about, &mut slot, &key, &mut out)?;
    let file = out.into_inner().map_err(|e| CliError::Output(e.into_error()))?;
    file.sync_all().map_err(CliError::Output)?;
    output::say(&described(&manifest))?;
    output::say(&format!("Signed   with key {}\n", key.public().id()))
}

fn keygen(out: &Path) -> Result<(), CliError> {
    let (key, text) = SigningKey::generate()?;
    let mut public = out.as_os_str().to_owned();
    public.push(".pub");
    let write = |path: &Path, text: &str, mode: u32| -> io::Result<()> {
        // A key that is there is never replaced.
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    write(out, &text, 0o600).map_err(CliError::Output)?;
    write(Path::new(&public), &key.public().to_pem(), 0o644).map_err(CliError::Output)?;
    output::say(&format!(
        "Key {}. Keep {} where nobody finds it and nothing loses it; images trust {}.\n",
        key.public().id(),
        out.display(),
        Path::new(&public).display(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::appliance::report::Trouble;
    use crate::appliance::update::record::{FailedImage, Image};
    use crate::appliance::update::rules::Booted;
    use understudy_proto::time::UnixMs;

    #[test]
    fn a_key_and_an_update_are_made() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        keygen(&path("key")).unwrap();
        assert!(keygen(&path("key")).is_err(), "no key is replaced");
        std::fs::write(path("slot"), [7; 10_000]).unwrap();
        let manifest =
            r#"{"version":"1.2.3","data_format":1,"data_format_least":1,"built":0,"more":""}"#;
        std::fs::write(path("manifest"), manifest).unwrap();
        let args = Pack {
            slot: path("slot"),
            manifest: path("manifest"),
            key: path("key"),
            out: path("out"),
        };
        pack(&args).unwrap();
        let bytes = std::fs::read(path("out")).unwrap();
        assert_eq!(package::explore(&bytes, 20_000), 10_000);
        std::fs::write(path("manifest"), "{}").unwrap();
        assert!(matches!(pack(&args), Err(CliError::Usage(_))));
    }

    #[test]
    fn the_status_fits_on_a_screen() {
        let version = "1.2.3".parse().unwrap();
        let image = Image::flashed("1.2.2".parse().unwrap());
        let condition = Condition::Good;
        let place = Place { image, condition, boot: "x".into(), at: UnixMs(0) };
        let blake3 = crate::appliance::slot::digest::Digest([1; 32]);
        let why = "not healthy".to_owned();
        let status = Status {
            running: "1.2.2".into(),
            booted: Booted::default(),
            standing: Standing::Settled(Slot::A),
            active: Some(Slot::A),
            to_try: Some(Slot::B),
            tries: 2,
            a: Some(place),
            b: None,
            data_format: Some(1),
            failed: vec![FailedImage { blake3, version, at: UnixMs(0), why }],
            troubles: vec![Trouble::UpdateFailed { version: Some("1.2.3".into()) }],
        };
        assert_eq!(
            screen(&status),
            "Running  1.2.2 (slot A)\nNext     slot B is tried, 2 more times\n\
             Slot A   1.2.2, good (1970-01-01 00:00:00)\nSlot B   empty, or not known\n\
             Failed   1.2.3 (1970-01-01 00:00:00): not healthy\n\n\
             ! the update to 1.2.3 failed; the version before runs\n  \
             Nothing is lost. Install the next version when there is one. \
             (docs/runbook/update-failed.md)\n"
        );
    }
}
