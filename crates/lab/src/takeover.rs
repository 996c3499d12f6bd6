//! How long does nobody answer? Power loss, crash and handover, seen from the client; and the same
//! for two keepalived with an empty server, in the same networks and run.
//!
//! The clock starts before the fault. Until the first SMTP banner on the floating address everything
//! counts as silence: refusals, connections that nobody takes, resets. A handover is watched by a
//! client that connects every 5 ms and forgives nothing. A thawed primary is asked directly.

use crate::appliance::{Pair, Part, Setup};
use crate::ghost::Ghost;
use crate::keepalived::{Loss, Rivals};
use crate::net::{self, Host};
use crate::probe::{BANNER, CONNECT};
use crate::spread::{Spread, figures, millis};
use crate::stage;
use crate::steady::{self, Steady};
use crate::timeline::{Timeline, Tone, print};
use crate::volley::{Volley, Volleys};
use crate::workdir::Workdir;
use crate::{Options, Result, fail, now, pause, smtp, wait_for};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::collections::BTreeMap;
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
/// A round begins after a moment that differs, so that faults do not fall in step with adverts.
const CALM: Duration = Duration::from_millis(500);
/// How long after a handover its client goes on.
const AFTER: Duration = Duration::from_millis(300);
/// How long a takeover from a frozen primary may take.
const FROZEN_MAX: Duration = Duration::from_secs(10);
/// How long a thawed primary is asked.
const HAUNT: Duration = Duration::from_secs(1);
/// How long a primary may take to learn that it is alone.
const ALONE: Duration = Duration::from_secs(1);

/// What was measured of one kind of fault.
#[derive(Debug, Default)]
struct Case {
    name: &'static str,
    /// What the longest may be, in milliseconds.
    target: Option<f64>,
    ours: Vec<Duration>,
    theirs: Vec<Duration>,
    /// What must be nothing: connections that failed, or answers of the dead.
    stains: Option<Stains>,
}

#[derive(Debug, Default)]
struct Stains {
    what: &'static str,
    ours: BTreeMap<String, u32>,
    theirs: Option<u32>,
    /// Connections that came through with the kernel's second packet.
    late: u32,
}

impl Case {
    /// What became of a client's connections.
    fn stain(&mut self, result: Volleys) {
        let Some(stains) = &mut self.stains else { return };
        stains.late = stains.late.saturating_add(result.late);
        for (why, n) in result.failures {
            *stains.ours.entry(why).or_default() += n;
        }
    }
}

/// Measures and prints.
///
/// # Errors
/// The world or a pair cannot be made, or an address stays silent.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    net::build()?;
    let tale = Timeline::start(options.json);
    let mut work = Workdir::new(options.keep.as_deref())?;
    let rounds = options.rounds.unwrap_or(ROUNDS).max(1);
    if let Some(only) = &options.only {
        return run_one(options, only, &mut work, rounds, &tale);
    }
    let (mut cases, steady) = measure_ours(options, &mut work, rounds, &tale)?;
    match Rivals::new(work.path())? {
        Some(rivals) => measure_theirs(rivals, rounds, &mut cases, &tale)?,
        None => tale.say(Tone::Plain, "keepalived is not installed: no comparison"),
    }
    let clean = verdict(&cases);
    if options.json {
        print(&machine_readable(rounds, &cases, steady).to_string());
    } else {
        report(&cases, Some(steady));
    }
    Ok(clean)
}

/// Times are for people to judge; what must never be fails the run.
fn verdict(cases: &[Case]) -> ExitCode {
    let clean = cases.iter().filter_map(|c| c.stains.as_ref()).all(|s| s.ours.is_empty());
    if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// One kind of fault, without keepalived.
fn run_one(
    options: &Options,
    only: &str,
    work: &mut Workdir,
    rounds: usize,
    tale: &Timeline,
) -> Result<ExitCode> {
    let witnessed = WITNESSED.iter().map(|kind| (kind, true));
    let all = KINDS.iter().map(|kind| (kind, false)).chain(witnessed);
    let Some((kind, witness)) = all.into_iter().find(|((name, ..), _)| name.contains(only)) else {
        return fail("--only: power, crash, handover, frozen, standby or thawed, with");
    };
    let calm = Setup { witness, ..Setup::calm(STABILITY_MS) };
    let cases = stage::with_pair(options, work, "alone", &calm, tale, |pair| {
        of_kinds(&[*kind], pair, rounds, tale)
    })?;
    report(&cases, None);
    Ok(verdict(&cases))
}

fn new_case((name, target, stains): Kind) -> Case {
    let stains = stains.map(|what| Stains { what, ..Stains::default() });
    Case { name, target, stains, ..Case::default() }
}

/// All cases without a witness, then power loss with one.
fn measure_ours(
    options: &Options,
    work: &mut Workdir,
    rounds: usize,
    tale: &Timeline,
) -> Result<(Vec<Case>, Steady)> {
    let calm = Setup::calm(STABILITY_MS);
    let mut cases = stage::with_pair(options, work, "alone", &calm, tale, |pair| {
        of_kinds(&KINDS, pair, rounds, tale)
    })?;
    let witness = Setup { witness: true, ..calm };
    let with_witness = stage::with_pair(options, work, "witness", &witness, tale, |pair| {
        of_kinds(&WITNESSED, pair, rounds, tale)
    });
    cases.splice(..0, with_witness?);
    Ok((cases, steady::of_own_pair(options, work, tale)?))
}

fn of_kinds(kinds: &[Kind], pair: &mut Pair, rounds: usize, tale: &Timeline) -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    for kind in kinds {
        let mut case = new_case(*kind);
        measure_case(pair, &mut case, rounds, tale)?;
        cases.push(case);
    }
    if let Some(witness) = &pair.witness {
        tale.say(Tone::Plain, witness.memory()?);
    }
    Ok(cases)
}

fn measure_case(pair: &mut Pair, case: &mut Case, rounds: usize, tale: &Timeline) -> Result<()> {
    tale.head(format!("{rounds} times: {}", case.name));
    for round in 0..rounds {
        pair.settle("the pair is whole")?;
        pause(calm(round))?;
        let Some(primary) = pair.primary() else { return fail("nobody is primary") };
        let took = match case.name {
            POWER | WITNESS => power_loss(pair, primary)?,
            CRASH => main_crash(pair, primary)?,
            HANDOVER => hand_over(pair, primary, case)?,
            STANDBY => standby_loss(pair, primary.peer(), case)?,
            _ => frozen(pair, primary, case)?,
        };
        tale.say(Tone::Plain, format!("{primary}, primary: {:.0} ms", millis(took)));
        case.ours.push(took);
    }
    Ok(())
}

const WITNESS: &str = "power loss, with witness";
const STANDBY: &str = "standby lost, with witness";
const THAW_WITNESS: &str = "frozen, thawed, with witness";
const POWER: &str = "power loss, no witness";
const CRASH: &str = "process crash";
const HANDOVER: &str = "planned handover";
const THAW: &str = "frozen, taken over, thawed";

/// A case: its name, the longest silence that is wanted, and what must be nothing.
type Kind = (&'static str, Option<f64>, Option<&'static str>);

/// What is measured with a witness.
const WITNESSED: [Kind; 3] = [
    (WITNESS, Some(150.0), None),
    (STANDBY, None, Some("failed connections")),
    (THAW_WITNESS, None, Some("answers")),
];

/// What is measured without.
const KINDS: [Kind; 4] = [
    (POWER, Some(400.0), None),
    (CRASH, Some(50.0), None),
    (HANDOVER, Some(20.0), Some("failed connections")),
    (THAW, None, Some("answers")),
];

/// Both plugs out and SIGKILL of everything.
fn power_loss(pair: &mut Pair, lost: Host) -> Result<Duration> {
    let pids = pair.of(lost).pids()?;
    let at = now();
    net::cut_off(lost)?;
    pair.of_mut(lost).kill_these(&pids)?;
    let took = silence(at)?;
    pair.wait_primary(lost.peer())?;
    net::mend_all(lost)?;
    pair.of_mut(lost).start()?;
    Ok(took)
}

/// The same of the standby: who clients talk to stays, and learns that it is alone.
fn standby_loss(pair: &mut Pair, lost: Host, case: &mut Case) -> Result<Duration> {
    let volley = Volley::start()?;
    pause(AFTER)?;
    let pids = pair.of(lost).pids()?;
    let at = now();
    net::cut_off(lost)?;
    pair.of_mut(lost).kill_these(&pids)?;
    pause(ALONE)?;
    let gap = volley.gap(at);
    case.stain(volley.finish()?);
    net::mend_all(lost)?;
    pair.of_mut(lost).start()?;
    Ok(gap)
}

/// SIGKILL of the main process; its host and its links live.
fn main_crash(pair: &mut Pair, lost: Host) -> Result<Duration> {
    let main = pair.of(lost).main_pid()?;
    let at = now();
    pair.of(lost).crash()?;
    net::wait_ended(main)?;
    let took = silence(at)?;
    pair.wait_primary(lost.peer())?;
    pair.of_mut(lost).bury()?;
    pair.of_mut(lost).start()?;
    Ok(took)
}

fn hand_over(pair: &mut Pair, from: Host, case: &mut Case) -> Result<Duration> {
    let volley = Volley::start()?;
    pause(AFTER)?;
    let at = now();
    pair.of(from).cli(&["handover"])?;
    pair.wait_primary(from.peer())?;
    pause(AFTER)?;
    let gap = volley.gap(at);
    case.stain(volley.finish()?);
    Ok(gap)
}

/// SIGSTOP of the main process until the other one leads, and SIGCONT.
fn frozen(pair: &mut Pair, lost: Host, case: &mut Case) -> Result<Duration> {
    let ghost = Ghost::haunt(lost, true)?;
    let volley = Volley::start()?;
    pause(AFTER)?;
    let at = now();
    pair.of(lost).signal(Signal::SIGSTOP, Part::Main)?;
    let led = wait_for("the other one leads", FROZEN_MAX, || {
        Ok(pair.of(lost.peer()).control().status().is_ok_and(|s| s.is_primary()))
    });
    // Without a takeover the bench goes on and says so: whoever leads may answer.
    let led = led.is_ok();
    let rested = pause(AFTER);
    let gap = volley.gap(at);
    if led {
        ghost.count();
    }
    pair.of(lost).signal(Signal::SIGCONT, Part::Main)?;
    rested?;
    pause(HAUNT)?;
    volley.finish()?;
    let mut found = ghost.finish()?;
    if !led {
        found.answers.push(format!("no takeover within {} s", FROZEN_MAX.as_secs()));
    }
    if let Some(stains) = &mut case.stains {
        for answer in found.answers {
            *stains.ours.entry(answer).or_default() += 1;
        }
    }
    Ok(gap)
}

fn measure_theirs(
    mut rivals: Rivals,
    rounds: usize,
    cases: &mut [Case],
    tale: &Timeline,
) -> Result<()> {
    for case in cases.iter_mut() {
        let loss = match case.name {
            POWER => Loss::Power,
            CRASH => Loss::Crash,
            HANDOVER => Loss::Planned,
            _ => continue,
        };
        tale.head(format!("{rounds} times: {} of keepalived, adverts every 100 ms", case.name));
        for round in 0..rounds {
            rivals.settle()?;
            pause(calm(round))?;
            let took = if loss == Loss::Planned {
                theirs_planned(&mut rivals, case)?
            } else {
                let at = rivals.lose_first(loss)?;
                silence(at)?
            };
            tale.say(Tone::Plain, format!("keepalived: {:.0} ms", millis(took)));
            case.theirs.push(took);
            rivals.revive_first(loss)?;
        }
    }
    Ok(())
}

fn theirs_planned(rivals: &mut Rivals, case: &mut Case) -> Result<Duration> {
    let volley = Volley::start()?;
    pause(AFTER)?;
    let at = rivals.lose_first(Loss::Planned)?;
    pause(AFTER * 2)?;
    let gap = volley.gap(at);
    let failed = volley.finish()?.failed();
    if let Some(stains) = &mut case.stains {
        stains.theirs = Some(stains.theirs.unwrap_or_default().saturating_add(failed));
    }
    Ok(gap)
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

fn machine_readable(rounds: usize, cases: &[Case], steady: Steady) -> Value {
    let case = |c: &Case| {
        let theirs = (!c.theirs.is_empty()).then(|| figures(&c.theirs));
        let stains = c.stains.as_ref().map(|s| {
            let ours: u32 = s.ours.values().sum();
            json!({ "what": s.what, "understudy": ours, "keepalived": s.theirs, "seen": s.ours,
                "late": s.late })
        });
        json!({
            "case": c.name, "target_ms": c.target, "understudy": figures(&c.ours),
            "keepalived": theirs, "must_be_zero": stains,
        })
    };
    json!({
        "rounds": rounds,
        "cases": cases.iter().map(case).collect::<Vec<_>>(),
        "steady": steady.machine_readable(),
    })
}

fn report(cases: &[Case], steady: Option<Steady>) {
    print(&format!(
        "\n  {:<30}{:>8}{:>8}{:>8}{:>10}   {:>22}",
        "time without a banner, ms", "min", "median", "max", "target", "keepalived median, max"
    ));
    for case in cases {
        let (ours, theirs) = (Spread::of(&case.ours), Spread::of(&case.theirs));
        let target = case.target.map_or_else(|| "-".into(), |t| format!("<= {t:.0}"));
        let rivals = if case.theirs.is_empty() {
            "-".into()
        } else {
            format!("{:.0} {:>10.0}", theirs.middle, theirs.most)
        };
        let met = match case.target {
            Some(t) if ours.most <= t => "met",
            Some(t) if ours.middle <= t => "met by the median only",
            Some(_) => "MISSED",
            None => "",
        };
        print(&format!(
            "  {:<30}{:>8.0}{:>8.0}{:>8.0}{target:>10}   {rivals:>22}  {met}",
            case.name, ours.least, ours.middle, ours.most
        ));
    }
    print("");
    for (case, stains) in cases.iter().filter_map(|c| Some((c, c.stains.as_ref()?))) {
        let ours: u32 = stains.ours.values().sum();
        let theirs = stains.theirs.map_or_else(String::new, |n| format!(", keepalived {n}"));
        let rounds = case.ours.len();
        let name = format!("{}: {} in {rounds}", case.name, stains.what);
        print(&format!("  {name:<54}{ours:>6} (must be 0{theirs})"));
        if stains.late > 0 {
            print(&format!("      late, with the kernel's second packet: {}", stains.late));
        }
        for (what, n) in &stains.ours {
            print(&format!("      {n} times: {what}"));
        }
    }
    if let Some(steady) = steady {
        steady.report();
    }
}
