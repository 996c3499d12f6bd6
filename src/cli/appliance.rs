//! `understudy appliance`: what the units of the flashable image run. Not for people.

use super::error::CliError;
use super::{output, screen};
use crate::appliance::update::driver;
use crate::appliance::update::trial::Policy;
use std::path::Path;
use std::time::Duration;

#[derive(clap::Subcommand)]
pub(super) enum Command {
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
