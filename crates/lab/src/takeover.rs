//! How long does nobody answer? SIGKILL of the primary until the first SMTP banner on the floating
//! address, seen from the client; and the same for two keepalived, in the same networks and run.
//!
//! The clock starts before the kill. The probe starts when the process is gone, so that no banner
//! of the dead can be taken for one of the living. The kernel of the dead owns the address for a
//! while and refuses connections: that counts as silence, too.

use crate::appliance::{Pair, Setup};
use crate::keepalived::Rivals;
use crate::net::{self, Host};
use crate::probe::{BANNER, CONNECT};
use crate::timeline::{Timeline, Tone, print};
use crate::workdir::Workdir;
use crate::{Options, Result, fail, now, pause, smtp};
use serde_json::json;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// How long a returning appliance must hold before the next round.
const STABILITY_MS: u32 = 500;
/// Rounds, when nobody says.
const ROUNDS: usize = 20;
/// How long a round may take before it counts as failed.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// Pause between two attempts: a refusal comes at once, and asking faster helps nobody.
const PAUSE: Duration = Duration::from_millis(1);
/// A round begins after a moment that differs, so that kills do not fall in step with adverts.
const CALM: Duration = Duration::from_millis(500);

/// Measures and prints.
///
/// # Errors
/// The world or a pair cannot be made, or an address stays silent.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    net::build()?;
    let tale = Timeline::start(options.json);
    let mut work = Workdir::new(options.keep.as_deref())?;
    let rounds = options.rounds.unwrap_or(ROUNDS).max(1);
    let ours = measure_ours(options, &mut work, rounds, &tale)?;
    let theirs = match Rivals::new(work.path())? {
        Some(rivals) => Some(measure_theirs(rivals, rounds, &tale)?),
        None => {
            tale.say(Tone::Plain, "keepalived is not installed: no comparison");
            None
        }
    };
    report(options.json, &ours, theirs.as_deref());
    Ok(ExitCode::SUCCESS)
}

fn measure_ours(
    options: &Options,
    work: &mut Workdir,
    rounds: usize,
    tale: &Timeline,
) -> Result<Vec<Duration>> {
    tale.say(Tone::Head, format!("{rounds} times: SIGKILL of the primary until the first banner"));
    let formed = Pair::form(options, work.path(), &Setup::calm(STABILITY_MS), tale);
    let measured = formed.and_then(|mut pair| {
        let times = (0..rounds).map(|round| ours(&mut pair, round, tale)).collect();
        if let Err(e) = &times {
            tale.say(Tone::Bad, e);
            pair.report_logs();
        }
        times
    });
    if measured.is_err() {
        work.stays();
    }
    measured
}

fn ours(pair: &mut Pair, round: usize, tale: &Timeline) -> Result<Duration> {
    pair.settle("the pair is whole")?;
    pause(calm(round))?;
    let Some(lost) = pair.primary() else { return fail("nobody is primary") };
    let at = now();
    pair.of_mut(lost).kill()?;
    let took = silence(at)?;
    pair.wait_primary(lost.peer())?;
    tale.say(
        Tone::Plain,
        format!("{lost} killed, {} answers: {:.0} ms", lost.peer(), millis(took)),
    );
    pair.of_mut(lost).start()?;
    Ok(took)
}

fn measure_theirs(mut rivals: Rivals, rounds: usize, tale: &Timeline) -> Result<Vec<Duration>> {
    tale.head(format!("{rounds} times: the same with two keepalived, adverts every 100 ms"));
    let mut times = Vec::new();
    for round in 0..rounds {
        rivals.settle()?;
        pause(calm(round))?;
        let at = rivals.kill_first()?;
        let took = silence(at)?;
        tale.say(
            Tone::Plain,
            format!("keepalived killed, the other answers: {:.0} ms", millis(took)),
        );
        times.push(took);
        rivals.revive_first()?;
    }
    Ok(times)
}

/// Half a second and a bit, spread over one advert's period.
fn calm(round: usize) -> Duration {
    let step = u64::try_from(round.wrapping_mul(37) % 100).unwrap_or_default();
    CALM + Duration::from_millis(step)
}

/// From `at` until a banner, asked for from the client's host.
fn silence(at: Instant) -> Result<Duration> {
    let thread = net::thread(Host::Client, "probe", move || {
        while at.elapsed() < SILENCE_MAX {
            if smtp::banner(25, CONNECT, BANNER).is_ok() {
                return Ok(at.elapsed());
            }
            std::thread::sleep(PAUSE);
        }
        fail(format!("no banner within {} s", SILENCE_MAX.as_secs()))
    })?;
    net::join(thread)?
}

/// Milliseconds, to a tenth.
fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 10_000.0).round() / 10.0
}

/// Least, middle and most, in milliseconds.
fn spread(times: &[Duration]) -> (f64, f64, f64) {
    let mut sorted: Vec<f64> = times.iter().map(|t| millis(*t)).collect();
    sorted.sort_by(f64::total_cmp);
    let at = |i: usize| sorted.get(i).copied().unwrap_or_default();
    let n = sorted.len();
    let middle = if n.is_multiple_of(2) {
        f64::midpoint(at((n / 2).saturating_sub(1)), at(n / 2))
    } else {
        at(n / 2)
    };
    (at(0), middle, at(n.saturating_sub(1)))
}

fn report(as_json: bool, ours: &[Duration], theirs: Option<&[Duration]>) {
    let (least, middle, most) = spread(ours);
    let ratio = theirs.map(|t| middle / spread(t).1);
    if as_json {
        let figures = |times: &[Duration]| {
            let (least, middle, most) = spread(times);
            let all: Vec<f64> = times.iter().map(|t| millis(*t)).collect();
            json!({ "min_ms": least, "median_ms": middle, "max_ms": most, "all_ms": all })
        };
        let object = json!({
            "rounds": ours.len(),
            "understudy": figures(ours),
            "keepalived": theirs.map(figures),
            "ratio": ratio,
        });
        print(&object.to_string());
        return;
    }
    let line = |name: &str, (least, middle, most): (f64, f64, f64)| {
        print(&format!("  {name:<34}{least:>10.0}{middle:>10.0}{most:>10.0}"));
    };
    print(&format!(
        "\n  {:<34}{:>10}{:>10}{:>10}",
        "SIGKILL to first banner, ms", "min", "median", "max"
    ));
    line("understudy (mail on both)", (least, middle, most));
    if let Some(times) = theirs {
        line("keepalived (moves the address only)", spread(times));
    }
    if let Some(ratio) = ratio {
        print(&format!("  understudy / keepalived, medians: {ratio:.2}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_is_the_median() {
        let times = |ms: &[u64]| ms.iter().map(|m| Duration::from_millis(*m)).collect::<Vec<_>>();
        assert_eq!(spread(&times(&[30, 10, 20])), (10.0, 20.0, 30.0));
        assert_eq!(spread(&times(&[40, 10, 20, 30])), (10.0, 25.0, 40.0));
        assert_eq!(spread(&times(&[7])), (7.0, 7.0, 7.0));
    }
}
