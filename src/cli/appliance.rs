//! `understudy appliance`: what the units of the flashable image and its screen run. Not for people.

use super::error::CliError;
use super::{Program, boot, form, output, screen};
use crate::appliance::update::driver;
use crate::appliance::update::trial::Policy;
use std::path::Path;
use std::time::Duration;

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// Find the disks, take in site.toml, open the data: the first thing at each start.
    Boot,
    /// Open the data with the passphrase on stdin, or try once more what failed at the start; then let
    /// everything start that waited for it.
    Unlock {
        /// It was typed twice, the same: it may become the first one of a new disk.
        #[arg(long)]
        new: bool,
    },
    /// Confirm a site.toml that was changed; it is in force from the next start on.
    AcceptSite,
    /// Wait for the confirmation of a changed network; without it, restart with the former one.
    SiteTrial,
    /// Make or join the pair of site.toml, unless this appliance is in one; returns when it is.
    Form(form::Args),
    /// Show the status page on a terminal, until it is told to end.
    Screen(screen::Args),
    /// Settle what the last start left; on a slot on trial, wait until it is good or too late.
    Settle(Settle),
    /// Obey the order about updates that the program has left: the only way to slots without root.
    Update,
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

pub(super) fn perform(
    program: &dyn Program,
    command: Command,
    config: &Path,
) -> Result<(), CliError> {
    match command {
        Command::Boot => boot::start(),
        Command::Unlock { new } => boot::unlock(new),
        Command::AcceptSite => boot::accept_site(),
        Command::SiteTrial => {
            boot::watch_trial();
            Ok(())
        }
        Command::Form(args) => form::perform(program, &args, config),
        Command::Screen(args) => screen::perform(args, config),
        Command::Settle(args) => settle(&args, config),
        Command::Update => driver::obey(config, &mut output::complain).map_err(CliError::from),
    }
}

fn settle(args: &Settle, config: &Path) -> Result<(), CliError> {
    let policy = Policy {
        within: Duration::from_secs(args.within),
        healthy_for: Duration::from_secs(args.healthy_for),
        ..Policy::default()
    };
    driver::settle(config, policy, &crate::appliance::boot::restate, &mut output::complain)
        .map_err(CliError::from)
}
