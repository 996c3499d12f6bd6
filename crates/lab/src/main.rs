//! The engineers' bench: two appliances in network namespaces, a sender outside, a reader at his
//! desk, faults in between, and an honest count at the end.
//!
//! `demo` plays the main job for people; `takeover` measures it. Nothing here is part of the product
//! and nothing outside the namespaces is touched: they vanish with the process.

mod appliance;
mod browser;
mod chaos;
mod clerk;
mod count;
mod demo;
mod desk;
mod fault;
mod ghost;
mod imap;
mod interrupt;
mod inventory;
mod keepalived;
mod ledger;
mod machine;
mod machines;
mod metrics;
mod mime;
mod net;
mod probe;
mod resync;
mod smtp;
mod spread;
mod stage;
mod stampede;
mod stay;
mod steady;
mod stream;
mod takeover;
mod timeline;
mod volley;
mod watch;
mod web;
mod witness;
mod workdir;

use std::fmt::Display;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What went wrong, in words: the lab is for people.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct LabError(String);

/// The lab's results.
pub(crate) type Result<T> = std::result::Result<T, LabError>;

/// Makes a [`LabError`].
pub(crate) fn fail<T>(what: impl Display) -> Result<T> {
    Err(LabError(what.to_string()))
}

/// Puts words before an error.
pub(crate) trait Context<T> {
    /// Says what was being done.
    fn context(self, what: impl Display) -> Result<T>;
}

impl<T, E: Display> Context<T> for std::result::Result<T, E> {
    fn context(self, what: impl Display) -> Result<T> {
        self.map_err(|e| LabError(format!("{what}: {e}")))
    }
}

/// Longest sleep without a look at the interrupt.
const SLICE: Duration = Duration::from_millis(50);

/// The lab's clock.
#[expect(clippy::disallowed_methods, reason = "the lab measures real time and decides nothing")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Takes a lock. A thread that panicked with it fails the lab at its end; until then its data serves.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sleeps, unless somebody has had enough.
///
/// # Errors
/// Ctrl-C or SIGTERM came: everything is to end and to clean up behind itself.
pub(crate) fn pause(time: Duration) -> Result<()> {
    let end = now() + time;
    while !interrupt::came() {
        let left = end.saturating_duration_since(now());
        if left.is_zero() {
            return Ok(());
        }
        std::thread::sleep(left.min(SLICE));
    }
    fail("interrupted")
}

/// Asks `done` every 20 ms until it says yes.
pub(crate) fn wait_for(
    what: &str,
    limit: Duration,
    mut done: impl FnMut() -> Result<bool>,
) -> Result<()> {
    let end = now() + limit;
    loop {
        if done()? {
            return Ok(());
        }
        if now() > end {
            return fail(format!("{what}: not within {} s", limit.as_secs()));
        }
        pause(Duration::from_millis(20))?;
    }
}

const USAGE: &str = "\
understudy-lab demo [--stay] [--quick] [--keep DIR]
    the pair accepts mail, loses its primary, hands over, loses its link; then everything is counted
understudy-lab takeover [--rounds N] [--only CASE] [--json] [--keep DIR]
    power loss, crash, handover and freeze of the primary, beside keepalived; PAIR against SOLO.
    --only power, crash, handover or frozen measures that alone, without keepalived
understudy-lab steady [--json] [--keep DIR]
    PAIR against SOLO alone
understudy-lab chaos [--rounds N] [--seed N] [--arbitration none|witness] [--split] [--verbose] [--keep DIR]
    faults at random moments of the stream, books after each; then everything is counted.
    --split plays nothing but splits, with clients on both sides
understudy-lab resync [--mib N] [--seed N] [--keep DIR]
    a standby that was away too long gets a full copy under load, and again while both are killed
understudy-lab stampede [--clients N] [--within SECONDS] [--json] [--keep DIR]
    IMAP clients with passwords lose their node: when is the last one back, how many hashes did it cost
understudy-lab web [--messages N] [--json] [--keep DIR]
    what the app's requests cost in an account with many messages: list, open, search
understudy-lab browser [--rounds N] [--within SECONDS] [--arbitration none|witness] [--keep DIR]
    somebody writes in a browser while the node behind it goes: no character is lost, and when does the app's
    stream come back after the floating address (in the project's folder; ui/node_modules must be there)
understudy-lab machines --image FILE [--update FILE] [--bad FILE] [--keep DIR]
    the flashed image on two emulated machines: power loss, an update of both, one that is bad, a dead
    machine replaced; then everything is counted
All take --binary PATH (default: beside this program); with a witness also --pairs N: that many in its
file.";

/// What the command line says.
#[derive(Debug, Default)]
pub(crate) struct Options {
    pub(crate) stay: bool,
    pub(crate) quick: bool,
    pub(crate) json: bool,
    pub(crate) split: bool,
    /// `--arbitration witness`
    pub(crate) witness: bool,
    pub(crate) verbose: bool,
    pub(crate) rounds: Option<usize>,
    pub(crate) only: Option<String>,
    pub(crate) seed: Option<u64>,
    pub(crate) clients: Option<usize>,
    pub(crate) mib: Option<u32>,
    pub(crate) messages: Option<u32>,
    pub(crate) pairs: Option<usize>,
    pub(crate) within: Option<u32>,
    pub(crate) binary: PathBuf,
    pub(crate) keep: Option<PathBuf>,
    pub(crate) image: Option<PathBuf>,
    pub(crate) update: Option<PathBuf>,
    pub(crate) bad: Option<PathBuf>,
}

fn main() -> ExitCode {
    if let Err(e) = interrupt::block() {
        timeline::error(&e);
    }
    let mut arguments = std::env::args().skip(1);
    let command = arguments.next().unwrap_or_default();
    let result = options(arguments).and_then(|options| match command.as_str() {
        "demo" => demo::run(&options),
        "takeover" => takeover::run(&options),
        "steady" => steady::run(&options),
        "chaos" => chaos::run(&options),
        "resync" => resync::run(&options),
        "stampede" => stampede::run(&options),
        "web" => web::run(&options),
        "browser" => browser::run(&options),
        "machines" => machines::run(&options),
        _ => fail(USAGE),
    });
    match result {
        Ok(code) => code,
        Err(e) => {
            timeline::error(&e);
            ExitCode::from(2)
        }
    }
}

fn options(mut arguments: impl Iterator<Item = String>) -> Result<Options> {
    let beside = std::env::current_exe().context("where is this program")?;
    let mut options = Options { binary: beside.with_file_name("understudy"), ..Options::default() };
    while let Some(argument) = arguments.next() {
        let mut value = || {
            arguments.next().ok_or_else(|| LabError(format!("{argument} needs a value\n{USAGE}")))
        };
        match argument.as_str() {
            "--stay" => options.stay = true,
            "--quick" => options.quick = true,
            "--json" => options.json = true,
            "--arbitration" => {
                options.witness = match value()?.as_str() {
                    "none" => false,
                    "witness" => true,
                    _ => return fail("--arbitration: none or witness"),
                }
            }
            "--split" => options.split = true,
            "--verbose" => options.verbose = true,
            "--rounds" => options.rounds = Some(value()?.parse().context("--rounds")?),
            "--only" => options.only = Some(value()?),
            "--clients" => options.clients = Some(value()?.parse().context("--clients")?),
            "--seed" => options.seed = Some(value()?.parse().context("--seed")?),
            "--messages" => options.messages = Some(value()?.parse().context("--messages")?),
            "--mib" => options.mib = Some(value()?.parse().context("--mib")?),
            "--pairs" => options.pairs = Some(value()?.parse().context("--pairs")?),
            "--within" => options.within = Some(value()?.parse().context("--within")?),
            "--binary" => options.binary = value()?.into(),
            "--image" => options.image = Some(value()?.into()),
            "--update" => options.update = Some(value()?.into()),
            "--bad" => options.bad = Some(value()?.into()),
            "--keep" => options.keep = Some(value()?.into()),
            _ => return fail(format!("unknown argument {argument}\n{USAGE}")),
        }
    }
    if !options.binary.is_file() {
        return fail(format!(
            "{} is not there; build it first: ./build.sh release",
            options.binary.display()
        ));
    }
    Ok(options)
}
