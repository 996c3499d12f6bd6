//! Asks systemd for something, by its tool.

use super::disk::run::{Call, RunError};
use std::time::Duration;

const SYSTEMCTL: &str = "/usr/bin/systemctl";
/// How long it may take to be asked.
const SYSTEMCTL_MAX: Duration = Duration::from_secs(60);

/// Runs `systemctl` with `arguments`.
///
/// # Errors
/// It refuses, or does not answer in time.
pub(super) fn call(arguments: &[&str]) -> Result<(), RunError> {
    Call::new(SYSTEMCTL, SYSTEMCTL_MAX, arguments).run().map(drop)
}

/// Asks for a restart of this machine through its firmware, in good order unless `by_force`. Returns when
/// it was asked for.
///
/// # Errors
/// systemd does not do it.
pub(super) fn restart(by_force: bool) -> Result<(), RunError> {
    if by_force { call(&["reboot", "--force"]) } else { call(&["reboot"]) }
}
