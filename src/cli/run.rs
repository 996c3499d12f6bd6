//! `understudy run`: the appliance itself.

use super::error::CliError;
use super::{Part, Program};
use crate::config;
use std::path::Path;
use std::process::ExitCode;

/// Run this appliance.
#[derive(Clone, Copy, clap::Args)]
pub(super) struct Args {
    /// Be the main process of the guardian that starts this one.
    #[arg(long, hide = true)]
    guarded: bool,
}

pub(super) fn perform(
    program: &dyn Program,
    args: Args,
    path: &Path,
) -> Result<ExitCode, CliError> {
    let config = config::load(path)?;
    let part = if args.guarded { Part::Guarded } else { Part::Whole };
    Ok(program.run(config, part)?)
}
