//! The command that must succeed for a group to be fit.
//!
//! Invariants: it runs on a thread of its own, alone in a process group that is killed when its time
//! is over or when the tracker is dropped; one run at a time. Until it has succeeded once, the group
//! is unfit. It has no capability of ours and cannot gain any, and dies with us (what it started
//! in turn does not, if we are killed). Deliberately absent: a shell, its output, weights.

use super::group::Track;
use super::lock;
use crate::base::{clock, privilege, task};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How often a run is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How long a command that was killed is waited for.
const END_WAIT: Duration = Duration::from_millis(50);

/// A command that runs again and again until this is dropped.
#[derive(Debug)]
pub(super) struct Tracker {
    fault: Arc<Mutex<Option<String>>>,
    /// Its end tells the thread.
    _stop: SyncSender<()>,
}

impl Tracker {
    pub(super) fn start(track: Track) -> Self {
        let fault = Arc::new(Mutex::new(Some("the tracking command has not run yet".to_owned())));
        let (stop, stopped) = sync_channel(1);
        let told = fault.clone();
        drop(task::thread("vrrp-track", move || keep_running(&track, &told, &stopped)));
        Self { fault, _stop: stop }
    }

    /// Why the last run failed; `None` when it succeeded.
    pub(super) fn fault(&self) -> Option<String> {
        lock(&self.fault).clone()
    }
}

fn keep_running(track: &Track, fault: &Mutex<Option<String>>, stopped: &Receiver<()>) {
    loop {
        let Some(found) = run(track, stopped) else { return };
        *lock(fault) = found;
        if stopped.recv_timeout(track.every) != Err(RecvTimeoutError::Timeout) {
            return;
        }
    }
}

/// Runs it once and says why it failed, if it did; `None` when it was stopped.
fn run(track: &Track, stopped: &Receiver<()>) -> Option<Option<String>> {
    let Some((program, arguments)) = track.command.split_first() else { return Some(None) };
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0);
    // The guardian reads its signals from a descriptor, and may do what no command may.
    privilege::confine(&mut command);
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => return Some(Some(format!("the tracking command cannot run: {error}"))),
    };
    let end = clock::mono().after(track.timeout);
    loop {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => return Some(None),
            Ok(Some(status)) => {
                return Some(Some(format!("the tracking command failed: {status}")));
            }
            Ok(None) => {}
            Err(error) => {
                end_it(&mut child);
                return Some(Some(format!("the tracking command is lost: {error}")));
            }
        }
        if clock::mono() >= end {
            end_it(&mut child);
            let limit = track.timeout.as_millis();
            return Some(Some(format!("the tracking command took longer than {limit} ms")));
        }
        if stopped.recv_timeout(LOOK_EVERY) != Err(RecvTimeoutError::Timeout) {
            end_it(&mut child);
            return None;
        }
    }
}

/// Kills it with everything that it started in its process group.
fn end_it(child: &mut Child) {
    if let Ok(id) = i32::try_from(child.id()) {
        // It may have ended by itself just now: then there is nobody to end.
        killpg(Pid::from_raw(id), Signal::SIGKILL).unwrap_or_default();
    }
    // One that hangs in the kernel is not waited for long: its failure must be told.
    let end = clock::mono().after(END_WAIT);
    while matches!(child.try_wait(), Ok(None)) && clock::mono() < end {
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn track(command: &[&str], timeout_ms: u64) -> Track {
        Track {
            command: command.iter().map(|word| (*word).to_owned()).collect(),
            every: Duration::from_millis(10),
            timeout: Duration::from_millis(timeout_ms),
        }
    }

    fn once(command: &[&str], timeout_ms: u64) -> Option<String> {
        let (_stop, stopped) = sync_channel(1);
        run(&track(command, timeout_ms), &stopped).unwrap()
    }

    #[test]
    fn only_success_is_fit() {
        assert_eq!(once(&["true"], 10_000), None);
        assert!(once(&["false"], 10_000).unwrap().contains("failed: exit status: 1"));
        assert!(once(&["/no/such/program"], 10_000).unwrap().contains("cannot run"));
        assert!(once(&["sleep", "60"], 50).unwrap().contains("longer than 50 ms"));
    }

    #[test]
    fn a_tracker_is_unfit_until_it_succeeded_and_ends_with_its_owner() {
        let tracker = Tracker::start(track(&["sleep", "60"], 60_000));
        assert!(tracker.fault().unwrap().contains("not run yet"));
        let fault = tracker.fault.clone();
        drop(tracker);
        while Arc::strong_count(&fault) > 1 {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
