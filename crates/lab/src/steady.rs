//! What does the second copy cost? Messages a second of a pair against the same appliance alone.
//!
//! 16 connections send messages of 4 KB as fast as they are acknowledged, everything synced. The two
//! are measured in turn, so that a machine that slows down slows both.

use crate::appliance::Pair;
use crate::mime;
use crate::net::{self, Host};
use crate::smtp::{Outcome, Sender};
use crate::timeline::{Timeline, Tone};
use crate::{LabError, Result, fail, now, wait_for};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::time::Duration;

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
}

/// Measures. The people of the lab must be there.
///
/// # Errors
/// The pair does not do what it should, or nothing is accepted.
pub(crate) fn measure(pair: &mut Pair, tale: &Timeline) -> Result<Steady> {
    let (mut both, mut alone) = (Vec::new(), Vec::new());
    let numbers = Arc::new(AtomicU32::new(1));
    for _ in 0..TURNS {
        pair.settle("the pair is whole")?;
        let primary = pair.primary().ok_or_else(|| LabError("nobody is primary".into()))?;
        both.push(rate(&numbers)?);
        pair.of_mut(primary.peer()).kill()?;
        wait_for("the primary is alone", ALONE_MAX, || {
            Ok(pair.of(primary).control().status().is_ok_and(|s| s.state == "SOLO"))
        })?;
        alone.push(rate(&numbers)?);
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

fn rate(numbers: &Arc<AtomicU32>) -> Result<f64> {
    let stopping = Arc::new(AtomicBool::new(false));
    let accepted = Arc::new(AtomicU32::new(0));
    let mut threads = Vec::new();
    for n in 0..CONNECTIONS {
        let (numbers, stopping) = (Arc::clone(numbers), Arc::clone(&stopping));
        let accepted = Arc::clone(&accepted);
        threads.push(net::thread(Host::Sender, &format!("steady {n}"), move || {
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
