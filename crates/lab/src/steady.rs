//! What does the second copy cost? Messages a second of a pair against the same appliance alone.
//!
//! 16 connections send messages of 4 KB as fast as they are acknowledged, everything synced. The two
//! are measured in turn, so that a machine that slows down slows both. In life each appliance is a
//! machine: here each has a core, so that the standby takes nothing from the primary but what the
//! protocol costs; the senders live on the standby's core. The disk is shared, and stays so.

use crate::appliance::{Pair, Setup};
use crate::mime;
use crate::net::{self, Host};
use crate::smtp::{Outcome, Sender};
use crate::stage;
use crate::timeline::{Timeline, Tone, print};
use crate::workdir::Workdir;
use crate::{Context, LabError, Options, Result, fail, now, wait_for};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use serde_json::{Value, json};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::time::Duration;

/// How long a returning appliance must hold before it counts.
const STABILITY_MS: u32 = 500;
/// What is left of the speed of one appliance, at least.
const RATIO_MIN: f64 = 0.7;

/// Connections that send at once.
const CONNECTIONS: u32 = 16;
/// Bytes of a message.
const MESSAGE_LEN: usize = 4_096;
/// How long one measurement takes, and how long it runs before that.
const MEASURE: Duration = Duration::from_secs(6);
const WARM_UP: Duration = Duration::from_secs(1);
/// Measurements of each.
const TURNS: usize = 3;
/// Pause after a message that was not accepted.
const AGAIN: Duration = Duration::from_millis(100);
/// How long the primary may take to go on alone.
const ALONE_MAX: Duration = Duration::from_secs(15);

/// Messages a second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Steady {
    /// Of a pair: medians.
    pub(crate) pair: f64,
    /// Of the same primary alone.
    pub(crate) solo: f64,
}

impl Steady {
    /// What is left of the speed.
    pub(crate) fn ratio(self) -> f64 {
        self.pair / self.solo
    }

    /// For machines.
    pub(crate) fn machine_readable(self) -> Value {
        json!({ "pair_per_s": self.pair, "solo_per_s": self.solo, "ratio": self.ratio() })
    }

    /// For people.
    pub(crate) fn report(self) {
        print(&format!(
            "  {:<54}{:>6.2} (PAIR {:.0}/s, SOLO {:.0}/s; wanted >= {RATIO_MIN})",
            "16 connections, 4 KB, synced: PAIR / SOLO",
            self.ratio(),
            self.pair,
            self.solo
        ));
    }
}

/// Measures this alone, and prints.
///
/// # Errors
/// As [`of_own_pair`].
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    net::build()?;
    let tale = Timeline::start(options.json);
    let mut work = Workdir::new(options.keep.as_deref())?;
    let steady = of_own_pair(options, &mut work, &tale)?;
    if options.json {
        print(&steady.machine_readable().to_string());
    } else {
        steady.report();
    }
    Ok(ExitCode::SUCCESS)
}

/// Forms a pair of which each has a core for itself, and measures.
///
/// # Errors
/// The machine has one core, the pair does not do what it should, or nothing is accepted.
pub(crate) fn of_own_pair(
    options: &Options,
    work: &mut Workdir,
    tale: &Timeline,
) -> Result<Steady> {
    if std::thread::available_parallelism().map_or(1, std::num::NonZero::get) < 2 {
        return fail("the cost of the second copy needs a core for each appliance");
    }
    let setup = Setup { own_core: true, ..Setup::calm(STABILITY_MS) };
    tale.head("messages a second: 16 connections, 4 KB, synced");
    stage::with_pair(options, work, "steady", &setup, tale, |pair| measure(pair, tale))
}

/// The core of an appliance that has one.
pub(crate) fn core_of(host: Host) -> usize {
    usize::from(host == Host::B)
}

fn measure(pair: &mut Pair, tale: &Timeline) -> Result<Steady> {
    let (mut both, mut alone) = (Vec::new(), Vec::new());
    let numbers = Arc::new(AtomicU32::new(1));
    for _ in 0..TURNS {
        pair.settle("the pair is whole")?;
        let primary = pair.primary().ok_or_else(|| LabError("nobody is primary".into()))?;
        both.push(rate(primary, &numbers)?);
        pair.of_mut(primary.peer()).kill()?;
        wait_for("the primary is alone", ALONE_MAX, || {
            Ok(pair.of(primary).control().status().is_ok_and(|s| s.state == "SOLO"))
        })?;
        alone.push(rate(primary, &numbers)?);
        pair.of_mut(primary.peer()).start()?;
        let last = |v: &[f64]| v.last().copied().unwrap_or_default();
        tale.say(
            Tone::Plain,
            format!("PAIR {:.0}, SOLO {:.0} messages a second", last(&both), last(&alone)),
        );
    }
    Ok(Steady { pair: middle(both), solo: middle(alone) })
}

fn middle(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates.get(rates.len() / 2).copied().unwrap_or_default()
}

/// Of a primary, which is left alone on its core.
fn rate(primary: Host, numbers: &Arc<AtomicU32>) -> Result<f64> {
    let stopping = Arc::new(AtomicBool::new(false));
    let accepted = Arc::new(AtomicU32::new(0));
    let mut threads = Vec::new();
    for n in 0..CONNECTIONS {
        let (numbers, stopping) = (Arc::clone(numbers), Arc::clone(&stopping));
        let accepted = Arc::clone(&accepted);
        threads.push(net::thread(Host::Sender, &format!("steady {n}"), move || {
            stay_on(core_of(primary.peer()))?;
            send(&numbers, &stopping, &accepted)
        })?);
    }
    crate::pause(WARM_UP)?;
    let (at, before) = (now(), accepted.load(Relaxed));
    crate::pause(MEASURE)?;
    let (after, took) = (accepted.load(Relaxed), at.elapsed());
    stopping.store(true, Relaxed);
    for thread in threads {
        net::join(thread)??;
    }
    if after == before {
        return fail("nothing was accepted");
    }
    Ok(f64::from(after.saturating_sub(before)) / took.as_secs_f64())
}

/// Keeps this thread on a core.
fn stay_on(core: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(core).context("core")?;
    sched_setaffinity(Pid::from_raw(0), &set).context("sched_setaffinity")
}

fn send(numbers: &AtomicU32, stopping: &AtomicBool, accepted: &AtomicU32) -> Result<()> {
    let mut session = Sender::connect()?;
    while !stopping.load(Relaxed) {
        let n = numbers.fetch_add(1, Relaxed);
        let message = mime::note_of(n, MESSAGE_LEN);
        match session.send(mime::recipient(n).address, &message) {
            Outcome::Accepted => {
                accepted.fetch_add(1, Relaxed);
            }
            // While one appliance goes on alone, nothing is accepted for a moment.
            Outcome::Later => {
                crate::pause(AGAIN)?;
                wait_for("the primary to accept again", ALONE_MAX, || {
                    let Ok(anew) = Sender::connect() else { return Ok(false) };
                    session = anew;
                    Ok(true)
                })?;
            }
            other => return fail(format!("a message was not accepted: {other:?}")),
        }
    }
    Ok(())
}
