//! The main job, played for people: a pair accepts real mail on a floating address, loses its
//! primary in the middle of it, gets it back, hands over, loses its pair link; then everything is
//! counted on both.

use crate::appliance::{Pair, Setup};
use crate::net::{self, Host};
use crate::probe::ms;
use crate::stage::{self, Access, Stage};
use crate::timeline::{Timeline, Tone};
use crate::workdir::Workdir;
use crate::{Options, Result, fail, interrupt, inventory, now, stay, stream};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

/// How long a returning appliance must hold before it counts again. Shorter than in real life.
const STABILITY_MS: u32 = 2_000;

/// How long each scene lasts.
struct Pace {
    steady: Duration,
    alone: Duration,
    together: Duration,
    handed: Duration,
    cut: Duration,
    mended: Duration,
}

impl Pace {
    fn of(quick: bool) -> Self {
        let [steady, alone, together, handed, cut, mended] =
            if quick { [2, 2, 1, 2, 3, 1] } else { [7, 9, 4, 6, 8, 4] }.map(Duration::from_secs);
        Self { steady, alone, together, handed, cut, mended }
    }
}

/// Plays it.
///
/// # Errors
/// The world or the pair cannot be made, or a scene does not end as it should.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    net::build()?;
    let tale = Arc::new(Timeline::start(false));
    let mut work = Workdir::new(options.keep.as_deref())?;
    tale.say(
        Tone::Head,
        "Two appliances, A and B, an outside sender and a client: four hosts in two networks",
    );
    let made = stage::form(options, &work, &Setup::calm(STABILITY_MS), &tale);
    let (mut pair, access) = match made {
        Ok(made) => made,
        Err(e) => {
            work.stays();
            return Err(e);
        }
    };
    let played = play(&mut pair, &access, &tale, &Pace::of(options.quick));
    if !matches!(played, Ok(true)) {
        pair.report_logs();
        work.stays();
    }
    let good = played?;
    if options.stay {
        stay::until_told(&pair, &access)?;
    }
    if !interrupt::came() {
        stop(&mut pair)?;
    }
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn play(pair: &mut Pair, access: &Access, tale: &Arc<Timeline>, pace: &Pace) -> Result<bool> {
    let mut stage = Stage::open(pair, access, tale, stream::PACE)?;
    tale.head("1  Mail comes in; everything is on both appliances before it is acknowledged");
    stage.go_on(pace.steady)?;
    let lost = kill_primary(&mut stage, pace)?;
    bring_back(&mut stage, lost, pace)?;
    hand_over(&mut stage, pace)?;
    cut_the_link(&mut stage, pace)?;
    tale.head("6  The stream ends; now everything is counted, on one appliance and on the other");
    let books = stage.end()?;
    inventory::take(pair, access, tale, &books)
}

fn kill_primary(stage: &mut Stage<'_>, pace: &Pace) -> Result<Host> {
    let lost = stage.primary()?;
    stage.tale.head(format!("2  The primary, {lost}, is killed in the middle of the stream"));
    let midst = stage.midst();
    let at = now();
    stage.pair.of_mut(lost).kill()?;
    stage.tale.say(Tone::Bad, format!("SIGKILL of {lost}, with {midst} transactions under way"));
    let took = stage.first_banner(at)?;
    let heir = lost.peer();
    stage
        .tale
        .say(Tone::Good, format!("{heir} answers at the floating address, {} later", ms(took)));
    stage.pair.wait_primary(heir)?;
    stage.go_on(pace.alone)?;
    let status = stage.status(heir)?;
    if status.rpo_zero || status.state != "SOLO" {
        return fail(format!("{heir} is alone and says {}", status.words()));
    }
    stage.event(format!("SIGKILL of {lost}"), at);
    Ok(lost)
}

fn bring_back(stage: &mut Stage<'_>, lost: Host, pace: &Pace) -> Result<()> {
    stage.tale.head(format!("3  {lost} comes back and catches up while the stream goes on"));
    let at = now();
    stage.pair.of_mut(lost).start()?;
    stage.pair.settle("the pair is whole again")?;
    let heir = stage.primary()?;
    stage
        .tale
        .say(Tone::Good, format!("PAIR again {} after the start of {lost}", ms(at.elapsed())));
    if heir == lost {
        return fail(format!("{lost} took the primary role back without being asked"));
    }
    stage.go_on(pace.together)?;
    stage.event(format!("return of {lost}"), at);
    Ok(())
}

fn hand_over(stage: &mut Stage<'_>, pace: &Pace) -> Result<()> {
    let from = stage.primary()?;
    let to = from.peer();
    stage.tale.head(format!("4  Planned work: {from} hands over to {to}"));
    stage.midst();
    let at = now();
    stage.pair.of(from).cli(&["handover"])?;
    stage.tale.say(Tone::Plain, format!("understudy handover on {from}: {}", ms(at.elapsed())));
    stage.pair.wait_primary(to)?;
    stage.pair.settle("the pair is whole after the handover")?;
    stage.go_on(pace.handed)?;
    stage.event(format!("handover from {from} to {to}"), at);
    Ok(())
}

fn cut_the_link(stage: &mut Stage<'_>, pace: &Pace) -> Result<()> {
    let primary = stage.primary()?;
    stage.tale.head("5  The cross-link between the two is cut; the service network stays");
    let at = now();
    net::cut(Host::A, "link")?;
    stage.tale.say(Tone::Bad, "cross-link cut");
    stage.go_on(pace.cut)?;
    // What is true now: the second path carries the log, or the primary says that it is alone.
    let status = stage.status(primary)?;
    let log = match (&status.session, status.rpo_zero) {
        (Some(path), true) => format!("the log goes to {path}, over the service network"),
        _ => format!("{primary} is {} and says so", status.words()),
    };
    stage.tale.say(Tone::Plain, log);
    if status.rpo_zero != (status.state == "PAIR") {
        return fail(format!("{primary} is {} and says RPO 0: {}", status.state, status.rpo_zero));
    }
    if stage.primary()? != primary {
        return fail("cutting the cross-link moved the primary role");
    }
    stage.event("cut of the cross-link", at);
    let at = now();
    net::mend(Host::A, "link")?;
    stage.tale.say(Tone::Plain, "cross-link mended");
    stage.pair.settle("the pair is whole after the cut")?;
    stage.go_on(pace.mended)?;
    stage.event("the cross-link comes back", at);
    Ok(())
}

/// Stops both as a service manager does, the standby first.
fn stop(pair: &mut Pair) -> Result<()> {
    let primary = pair.primary().unwrap_or(Host::A);
    pair.of_mut(primary.peer()).stop()?;
    pair.of_mut(primary).stop()
}
