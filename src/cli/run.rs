//! `understudy run`: the appliance itself.

use super::Program;
use super::error::CliError;
use crate::config;
use std::path::Path;

pub(super) fn perform(program: &dyn Program, path: &Path) -> Result<(), CliError> {
    let config = config::load(path)?;
    Ok(program.run(config)?)
}
