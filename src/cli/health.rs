//! `understudy health`: asks `/healthz` like monitoring does, without needing curl on an appliance.

use super::error::CliError;
use super::output;
use crate::config;
use crate::ops::health;
use std::path::Path;

pub(super) fn perform(path: &Path) -> Result<(), CliError> {
    let address = config::load(path)?.management.address;
    let said = health::ask(address).map_err(|source| CliError::NoHealth {
        address,
        source,
        config: path.to_owned(),
    })?;
    output::say(&said.body)?;
    if said.healthy { Ok(()) } else { Err(CliError::Unhealthy) }
}
