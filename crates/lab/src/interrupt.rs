//! Ctrl-C and SIGTERM end the lab in order: processes stop, the folder goes.
//!
//! The signals are blocked from the start and taken by a thread of their own; whoever waits asks
//! [`came`]. A second one ends the lab at once, and the kernel ends its children.

use crate::{Context, Result};
use nix::sys::signal::{SigSet, Signal, kill};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::Builder;

static CAME: AtomicBool = AtomicBool::new(false);

fn signals() -> SigSet {
    [Signal::SIGINT, Signal::SIGTERM].into_iter().collect()
}

/// Blocks them for this thread and all that it starts; for processes see [`unblocked`].
///
/// # Errors
/// The kernel refuses.
pub(crate) fn block() -> Result<()> {
    signals().thread_block().context("signals")
}

/// Starts a process that hears its signals: it inherits what its maker has blocked.
pub(crate) fn unblocked<T>(start: impl FnOnce() -> T) -> T {
    // Both change this thread's mask by known signals, which cannot fail.
    signals().thread_unblock().unwrap_or_default();
    let started = start();
    signals().thread_block().unwrap_or_default();
    started
}

/// Begins to wait for them; only after [`crate::net::build`], which must be alone.
///
/// # Errors
/// There is no thread to be had.
pub(crate) fn listen() -> Result<()> {
    let wait = || {
        let signals = signals();
        while signals.wait().is_ok() {
            if CAME.swap(true, Relaxed) {
                // To ourselves, so that it cannot fail.
                kill(nix::unistd::getpid(), Signal::SIGKILL).unwrap_or_default();
            }
        }
    };
    Builder::new().name("signals".into()).spawn(wait).context("thread").map(drop)
}

/// Whether one came.
pub(crate) fn came() -> bool {
    CAME.load(Relaxed)
}
