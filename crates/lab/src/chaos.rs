//! The stream under random faults, all from one seed, and the same count at the end.
//!
//! A round is one fault at a random moment: SIGKILL of either appliance, a freeze (SIGSTOP and
//! SIGCONT), or the cross-link cut. The next round begins when the pair is whole again: what may
//! happen while it is not whole belongs to the simulator, which can look at every order of events.

use crate::appliance::Pair;
use crate::mime::Rng;
use crate::net::{self, Host};
use crate::probe::ms;
use crate::stage::{self, Access, Stage};
use crate::timeline::{Timeline, Tone};
use crate::workdir::Workdir;
use crate::{Options, Result, inventory, now, pause};
use nix::sys::signal::Signal;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

/// How long a returning appliance must hold before it counts again.
const STABILITY_MS: u32 = 1_000;
/// Rounds, when nobody says.
const ROUNDS: usize = 5;
/// Most rounds in one run.
const ROUNDS_MAX: usize = 1_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// SIGKILL, and a start after so many ms.
    Kill(Host, u64),
    /// SIGSTOP for so many ms.
    Freeze(Host, u64),
    /// The cross-link is cut for so many ms.
    Cut(u64),
}

impl Fault {
    fn draw(rng: &mut Rng) -> Self {
        let host = if rng.below(3) == 0 { Host::B } else { Host::A };
        match rng.below(4) {
            0 | 1 => Self::Kill(host, rng.below(4_000)),
            2 => Self::Freeze(host, 20 + rng.below(3_000)),
            _ => Self::Cut(50 + rng.below(4_000)),
        }
    }

    fn words(self) -> String {
        match self {
            Self::Kill(host, time) => format!("SIGKILL of {host}, back after {time} ms"),
            Self::Freeze(host, time) => format!("{host} frozen for {time} ms"),
            Self::Cut(time) => format!("cross-link cut for {time} ms"),
        }
    }
}

/// Plays it.
///
/// # Errors
/// The world or the pair cannot be made, or the pair does not become whole again.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    net::build()?;
    let tale = Arc::new(Timeline::start(false));
    let mut work = Workdir::new(options.keep.as_deref())?;
    let seed = options.seed.unwrap_or(1);
    let rounds = options.rounds.unwrap_or(ROUNDS).min(ROUNDS_MAX);
    tale.say(Tone::Head, format!("{rounds} faults from seed {seed} (again: --seed {seed})"));
    let formed = stage::form(options, &work, STABILITY_MS, &tale);
    let played = formed.and_then(|(mut pair, access)| {
        let played = play(&mut pair, &access, &tale, seed, rounds);
        if !matches!(played, Ok(true)) {
            pair.report_logs();
        }
        played
    });
    if !matches!(played, Ok(true)) {
        work.stays();
    }
    Ok(if played? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn play(
    pair: &mut Pair,
    access: &Access,
    tale: &Arc<Timeline>,
    seed: u64,
    rounds: usize,
) -> Result<bool> {
    let mut rng = Rng::new(seed);
    let mut stage = Stage::open(pair, access, tale)?;
    for round in 1..=rounds {
        stage.go_on(Duration::from_millis(500 + rng.below(2_000)))?;
        // Whoever is primary now is A in the drawing: one seed, one story.
        let primary = stage.primary()?;
        let fault = match Fault::draw(&mut rng) {
            Fault::Kill(Host::A, time) => Fault::Kill(primary, time),
            Fault::Kill(_, time) => Fault::Kill(primary.peer(), time),
            Fault::Freeze(Host::A, time) => Fault::Freeze(primary, time),
            Fault::Freeze(_, time) => Fault::Freeze(primary.peer(), time),
            cut @ Fault::Cut(_) => cut,
        };
        tale.head(format!("{round}  {} (primary {primary})", fault.words()));
        let at = now();
        happen(&mut stage, fault)?;
        stage.pair.settle("the pair is whole again")?;
        tale.say(Tone::Good, format!("whole again {} after the fault", ms(at.elapsed())));
        stage.event(format!("{round} {}", fault.words()), at);
    }
    tale.head("The stream ends; now everything is counted");
    let books = stage.end()?;
    inventory::take(pair, access, tale, &books)
}

fn happen(stage: &mut Stage<'_>, fault: Fault) -> Result<()> {
    stage.midst();
    let pause = |time| pause(Duration::from_millis(time));
    match fault {
        Fault::Kill(host, time) => {
            stage.pair.of_mut(host).kill()?;
            pause(time)?;
            stage.pair.of_mut(host).start()
        }
        Fault::Freeze(host, time) => {
            stage.pair.of(host).signal(Signal::SIGSTOP)?;
            pause(time)?;
            stage.pair.of(host).signal(Signal::SIGCONT)
        }
        Fault::Cut(time) => {
            net::cut(Host::A, "link")?;
            pause(time)?;
            net::mend(Host::A, "link")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_is_one_story() {
        let draw = |seed| {
            let mut rng = Rng::new(seed);
            (0..50).map(|_| Fault::draw(&mut rng)).collect::<Vec<_>>()
        };
        assert_eq!(draw(3), draw(3));
        assert_ne!(draw(3), draw(4));
        let all = draw(3);
        assert!(all.iter().any(|f| matches!(f, Fault::Kill(..))));
        assert!(all.iter().any(|f| matches!(f, Fault::Freeze(..))));
        assert!(all.iter().any(|f| matches!(f, Fault::Cut(_))));
    }
}
