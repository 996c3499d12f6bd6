//! The start of a flashed machine, and what an operator may add to it later.
//!
//! Invariants: `boot` ends with exit code 0 whatever happened, so that the machine comes up to its
//! network and its screen; a passphrase comes by stdin only.

use super::error::CliError;
use super::output;
use crate::appliance::boot::{self, Accepted, Unlocked, trial};
use crate::appliance::report::{DataOutcome, SiteOutcome};
use crate::base::log as logger;
use crate::base::secret::Secret;
use crate::ops::request::Failure;
use crate::ops::status::Language;
use log::LevelFilter;
use std::io::{self, Read};

/// Longest passphrase that is read, in bytes.
const PASSPHRASE_MAX: u64 = 1024;

pub(super) fn start() -> Result<(), CliError> {
    logger::init(LevelFilter::Info);
    let report = boot::boot();
    let site = match report.site {
        SiteOutcome::Applied => "in force",
        SiteOutcome::Taken => "changed, in force",
        SiteOutcome::Trial => "on trial",
        SiteOutcome::Changed => "changed",
        SiteOutcome::Refused => "refused",
        SiteOutcome::Missing => "missing",
    };
    let data = match &report.data {
        DataOutcome::Mounted { what } => what.as_str(),
        DataOutcome::Locked => "locked",
        DataOutcome::New => "waits for its first passphrase",
        DataOutcome::Absent => "absent",
    };
    output::say(&format!("site.toml: {site}; data: {data}; troubles: {}\n", report.troubles.len()))
}

pub(super) fn unlock(twice: bool) -> Result<(), CliError> {
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
    match boot::unlock(Secret::new(bytes), twice) {
        Unlocked::Mounted => {
            boot::start_what_waited();
            output::say("The data is open; mail starts.\n")
        }
        Unlocked::Not(troubles) => {
            let words: Vec<(String, String)> =
                troubles.iter().map(|t| t.words(Language::En)).collect();
            let what: Vec<&str> = words.iter().map(|(what, _)| what.as_str()).collect();
            let todo = words.first().map(|(_, todo)| todo.clone()).unwrap_or_default();
            Err(Failure::new(what.join("; "), todo).into())
        }
    }
}

pub(super) fn accept_site() -> Result<(), CliError> {
    let accepted = boot::accept_site().map_err(|e| {
        let stays = "What was in force stays in force (docs/runbook/site-file.md).";
        Failure::new(e.to_string(), stays)
    })?;
    match accepted {
        Accepted::Kept => output::say("site.toml is confirmed; restart to put it in force.\n"),
        Accepted::ForTrial { minutes } => output::say(&format!(
            "site.toml is accepted. It changes the network: after the next restart it is on trial for \
             {minutes} minutes, and stays only if it is confirmed then (understudy site-config confirm, \
             or 4 in the recovery menu).\n"
        )),
        Accepted::Confirmed => output::say("The site.toml on trial is confirmed for good.\n"),
    }
}

/// What the unit of a trial runs.
pub(super) fn watch_trial() {
    logger::init(LevelFilter::Info);
    trial::watch();
}
