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

/// Restarts this machine through its firmware: in good order unless `by_force` or that is refused.
/// Returns when it was asked for.
///
/// # Errors
/// systemd does not do it, in order or by force.
pub(super) fn restart(by_force: bool) -> Result<(), RunError> {
    nix::unistd::sync();
    if !by_force {
        match call(&["reboot"]) {
            Ok(()) => return Ok(()),
            Err(e) => log::warn!(err:% = e; "a restart in good order is refused"),
        }
    }
    call(&["reboot", "--force"])
}
