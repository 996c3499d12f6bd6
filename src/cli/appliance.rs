//! `understudy appliance`: what the units of the flashable image and its screen run. Not for people.
//!
//! Invariants: `boot` ends with exit code 0 whatever happened, so that the machine comes up to its
//! network and its screen; a passphrase comes by stdin only.

use super::error::CliError;
use super::{output, screen};
use crate::appliance::boot::{self, Unlocked};
use crate::appliance::report::{DataOutcome, SiteOutcome};
use crate::appliance::update::driver;
use crate::appliance::update::trial::Policy;
use crate::base::log as logger;
use crate::base::secret::Secret;
use crate::ops::request::Failure;
use crate::ops::status::Language;
use log::LevelFilter;
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

/// Longest passphrase that is read, in bytes.
const PASSPHRASE_MAX: u64 = 1024;

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// Find the disks, take in site.toml, open the data: the first thing at each start.
    Boot,
    /// Open the data with the passphrase on stdin, or try once more what failed at the start.
    Unlock,
    /// Confirm a site.toml that was changed; it is in force from the next start on.
    AcceptSite,
    /// Settle what the last start left; on a slot on trial, wait until it is good or too late.
    Settle(Settle),
    /// Show the status page on a terminal, until it is told to end.
    Screen(screen::Args),
}

#[derive(clap::Args)]
pub(super) struct Settle {
    /// Seconds that a slot on trial has to become healthy; copying from the peer does not count.
    #[arg(long, value_name = "SECONDS", default_value_t = Policy::default().within.as_secs())]
    within: u64,
    /// Seconds that it must be healthy in a row.
    #[arg(long, value_name = "SECONDS", default_value_t = Policy::default().healthy_for.as_secs())]
    healthy_for: u64,
}

pub(super) fn perform(command: Command, config: &Path) -> Result<(), CliError> {
    match command {
        Command::Screen(args) => screen::perform(args, config),
        Command::Boot => start(),
        Command::Unlock => unlock(),
        Command::AcceptSite => accept_site(),
        Command::Settle(args) => {
            let policy = Policy {
                within: Duration::from_secs(args.within),
                healthy_for: Duration::from_secs(args.healthy_for),
                ..Policy::default()
            };
            driver::settle(config, policy, &mut output::complain).map_err(CliError::from)
        }
    }
}

fn start() -> Result<(), CliError> {
    logger::init(LevelFilter::Info);
    let report = boot::boot();
    let site = match report.site {
        SiteOutcome::Applied => "in force",
        SiteOutcome::Changed => "changed",
        SiteOutcome::Refused => "refused",
        SiteOutcome::Missing => "missing",
    };
    let data = match &report.data {
        DataOutcome::Mounted { what } => what.as_str(),
        DataOutcome::Locked => "locked",
        DataOutcome::Absent => "absent",
    };
    output::say(&format!("site.toml: {site}; data: {data}; troubles: {}\n", report.troubles.len()))
}

fn unlock() -> Result<(), CliError> {
    logger::init(LevelFilter::Warn);
    let mut bytes = Vec::with_capacity(usize::try_from(PASSPHRASE_MAX).unwrap_or_default());
    io::stdin()
        .lock()
        .take(PASSPHRASE_MAX)
        .read_to_end(&mut bytes)
        .map_err(|source| CliError::Input { what: "the passphrase", source })?;
    while bytes.last().is_some_and(|b| matches!(b, b'\n' | b'\r')) {
        bytes.pop();
    }
    match boot::unlock(Secret::new(bytes)) {
        Unlocked::Mounted => output::say("The data is open.\n"),
        Unlocked::Not(troubles) => {
            let words: Vec<(String, String)> =
                troubles.iter().map(|t| t.words(Language::En)).collect();
            let what: Vec<&str> = words.iter().map(|(what, _)| what.as_str()).collect();
            let todo = words.first().map(|(_, todo)| todo.clone()).unwrap_or_default();
            Err(Failure::new(what.join("; "), todo).into())
        }
    }
}

fn accept_site() -> Result<(), CliError> {
    boot::accept_site().map_err(|e| {
        let stays = "What was in force stays in force (docs/runbook/site-file.md).";
        Failure::new(e.to_string(), stays)
    })?;
    output::say("site.toml is confirmed; restart to put it in force.\n")
}
