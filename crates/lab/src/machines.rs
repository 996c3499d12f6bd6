//! The main job on machines: the image is flashed on two of them, they form a pair by what their
//! `site.toml` says, mail comes in, one loses its power, comes back, is lost for good and replaced;
//! then everything is counted on both.
//!
//! The processors are emulated: times are printed, none is judged.

use crate::appliance::Status;
use crate::count::{self, Copy};
use crate::desk::Desk;
use crate::imap::{self, Reader};
use crate::machine::{self, Machine};
use crate::mime::PEOPLE;
use crate::net::{self, Host};
use crate::probe::{Prober, ms};
use crate::stream::{Records, Stream};
use crate::timeline::{Timeline, Tone, print};
use crate::workdir::Workdir;
use crate::{Context, LabError, Options, Result, fail, now, pause, wait_for};
use rustls::ClientConfig;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::Duration;

/// Pause of a sender between two messages: two emulated machines share two cores with everything else.
const PACE: Duration = Duration::from_millis(1_500);
/// How long a scene of the stream lasts.
const SCENE: Duration = Duration::from_secs(20);
/// How long the floating address may be silent.
const SILENCE_MAX: Duration = Duration::from_secs(120);
/// How long a server may need to answer a reader.
const PATIENCE: Duration = Duration::from_secs(60);
/// Timers for a processor that stands still for hundreds of milliseconds at times.
const SLOW: &str = "\n[settings.pair]\nheartbeat_ms = 100\nheartbeats_missed_max = 20\n\
    session_silence_heartbeats = 60\nlease_ms = 4000\nack_timeout_ms = 12000\nstability_ms = 5000\n\
    boot_wait_ms = 300000\nstale_after_ms = 2500\nsolo_after_ms = 2500\nnap_ms = 3000\n\
    handover_ms = 15000\nconnect_timeout_ms = 5000\n";

/// The two machines, and what the lab knows of them.
struct Machines {
    a: Machine,
    b: Machine,
    dir: PathBuf,
    image: PathBuf,
    binary: PathBuf,
    /// The lab's key for SSH.
    key: String,
}

impl Machines {
    fn of(&self, host: Host) -> &Machine {
        if host == Host::B { &self.b } else { &self.a }
    }

    fn of_mut(&mut self, host: Host) -> &mut Machine {
        if host == Host::B { &mut self.b } else { &mut self.a }
    }

    fn status(&self, host: Host) -> Result<Status> {
        let text = self.of(host).cli(&["status", "--json"])?;
        let report: Value = serde_json::from_str(&text).context("status")?;
        Status::read(&report)
    }

    fn is_pair(&self) -> bool {
        let both = [Host::A, Host::B].map(|host| self.status(host).ok());
        both.iter().all(|s| s.as_ref().is_some_and(|s| s.state == "PAIR"))
    }

    /// Who is primary; waits a little for one.
    fn primary(&self) -> Result<Host> {
        let mut found = None;
        wait_for("one machine is primary", SILENCE_MAX, || {
            let is = |host: &Host| self.status(*host).is_ok_and(|s| s.is_primary());
            found = [Host::A, Host::B].into_iter().find(is);
            Ok(found.is_some())
        })?;
        found.ok_or_else(|| LabError("nobody is primary".into()))
    }
}
