//! The stream under faults, all from one seed; books after each round, and the count at the end.
//!
//! The next round begins when the pair is whole again: what may happen while it is not whole
//! belongs to the simulator, which can look at every order of events. One line a round; what led
//! to it is in `timeline.txt` beside the appliances' logs.

use crate::appliance::{Pair, Setup};
use crate::clerk::sides::Sides;
use crate::clerk::{Clerks, Door};
use crate::desk::Seen;
use crate::fault::{self, Deck, Extras, Fault};
use crate::ledger::Ledger;
use crate::mime::Rng;
use crate::net::{self, Host};
use crate::probe::ms;
use crate::spread::Spread;
use crate::stage::{self, Access, Stage};
use crate::timeline::{Timeline, Tone, print};
use crate::workdir::Workdir;
use crate::{Options, Result, inventory, now, pause};
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

/// How long a returning appliance must hold before it counts again.
const STABILITY_MS: u32 = 1_000;
/// Rounds, when nobody says.
const ROUNDS: usize = 20;
/// Most rounds in one run.
const ROUNDS_MAX: usize = 10_000;
/// Pause of a sender between two messages.
const PACE: Duration = Duration::from_millis(150);

/// Plays it.
///
/// # Errors
/// The world or the pair cannot be made, or the pair does not become whole again.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    net::build()?;
    let mut work = Workdir::new(options.keep.as_deref())?;
    let tale = Arc::new(match options.verbose {
        true => Timeline::start(false),
        false => Timeline::into_file(&work.path().join("timeline.txt"))?,
    });
    let seed = options.seed.unwrap_or(1);
    let rounds = options.rounds.unwrap_or(ROUNDS).min(ROUNDS_MAX);
    let arbitration = if options.witness { "witness" } else { "none" };
    print(&format!("{rounds} faults from seed {seed}, arbitration {arbitration}"));
    let witness = options.witness;
    let setup = Setup { small_disk: Some(Host::B), witness, ..Setup::calm(STABILITY_MS) };
    let formed = stage::form(options, &work, &setup, &tale);
    let played = formed.and_then(|(mut pair, access)| {
        let played = play(&mut pair, &access, &tale, (seed, rounds, options.split));
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

/// What a round came to.
struct Round {
    fault: Fault,
    /// Longest time without a banner.
    silent: Duration,
    /// From the fault until the pair was whole again.
    whole: Duration,
    /// Messages and changes that were acknowledged meanwhile.
    mail: u32,
    changes: u64,
    wrong: Vec<String>,
}

fn play(
    pair: &mut Pair,
    access: &Access,
    tale: &Arc<Timeline>,
    (seed, rounds, split): (u64, usize, bool),
) -> Result<bool> {
    let door = Door { tls: Arc::clone(&access.tls), password: access.clerk.clone() };
    let witness = pair.witness.is_some();
    // A merge may renumber what they know to the last flag; a witness lets none come about.
    let merged = split && !witness;
    let mut clerks = if merged { Clerks::none(&door) } else { Clerks::start(&door, seed)? };
    let mut stage = Stage::open(pair, access, tale, PACE)?;
    if split {
        stage.sides = Some(Sides::new(&door, seed)?);
    }
    let extras = Extras { witness, split };
    let (mut rng, mut deck, mut ledger) = (Rng::new(seed), Deck::new(extras), Ledger::new(merged));
    let mut done: BTreeMap<Fault, Vec<Round>> = BTreeMap::new();
    for number in 1..=rounds {
        let fault = deck.draw(&mut rng);
        // The next rounds do not depend on how much chance this one used.
        let mut its = Rng::new(seed.wrapping_mul(ROUNDS_SEED).wrapping_add(rng.next()));
        tale.head(format!("{number}  {}", fault.name()));
        let round = round(&mut stage, &clerks, &mut ledger, access, fault, &mut its);
        let round = round.inspect_err(|e| print(&format!("{number:>4}  {}: {e}", fault.name())))?;
        print(&line(number, &round));
        let good = round.wrong.is_empty();
        for what in round.wrong.iter().take(WRONG_MAX) {
            print(&format!("      WRONG: {what}"));
        }
        done.entry(fault).or_default().push(round);
        if !good {
            return Ok(false);
        }
    }
    summary(&done);
    tale.head("The stream ends; now everything is counted");
    let mut sides = stage.sides.take();
    let mut books = stage.end()?;
    if merged {
        // What a reader saw may have another number now: the ledger has watched that.
        books.seen = Seen::default();
    }
    clerks.rest()?;
    clerks.verify()?;
    let counted = inventory::take(pair, access, tale, &books)?;
    // The other appliance leads since the count.
    clerks.verify()?;
    let mut wrong = clerks.complaints();
    if let Some(sides) = &mut sides {
        wrong.extend(sides.check()?);
    }
    for what in &wrong {
        print(&format!("  WRONG: {what}"));
    }
    if let Some(witness) = &pair.witness {
        print(&format!("  {}", witness.memory()?));
    }
    let worked = report(&clerks, sides.as_ref(), (split, merged), &done);
    Ok(counted && wrong.is_empty() && worked)
}

/// Says what the clients did; and whether it was enough to show something.
fn report(
    clerks: &Clerks,
    sides: Option<&Sides>,
    (split, merged): (bool, bool),
    done: &BTreeMap<Fault, Vec<Round>>,
) -> bool {
    let filed = clerks.filed();
    if !merged {
        print(&format!(
            "  clerks: {} changes acknowledged, {} open, {} refused for now; {} looks of the auditor",
            filed.acknowledged, filed.open, filed.refused, filed.audits
        ));
    }
    let clerks_worked = merged || filed.acknowledged.min(filed.audits) > 0;
    let Some(sides) = sides else { return clerks_worked };
    let played: usize =
        done.iter().filter(|(f, _)| f.parts()).map(|(_, rounds)| rounds.len()).sum();
    let (acknowledged, less) = sides.acknowledged();
    print(&format!(
        "  splits: {played}; {acknowledged} IMAP changes acknowledged on a side, {less} by the side \
         that did less"
    ));
    let both = if merged { less > 0 } else { less == 0 && acknowledged > 0 };
    clerks_worked && (!split || played > 0) && both
}

/// Spreads the seeds of rounds.
const ROUNDS_SEED: u64 = 0x2545_f491_4f6c_dd1d;
/// Most wrongs of a round that are printed.
const WRONG_MAX: usize = 8;

fn round(
    stage: &mut Stage<'_>,
    clerks: &Clerks,
    ledger: &mut Ledger,
    access: &Access,
    fault: Fault,
    rng: &mut Rng,
) -> Result<Round> {
    pause(Duration::from_millis(200 + rng.below(800)))?;
    let filed = |stage: &Stage<'_>| {
        let apart = stage.sides.as_ref().map_or(0, |sides| sides.acknowledged().0);
        clerks.filed().acknowledged.saturating_add(apart)
    };
    let (mail, changes) = (stage.accepted(), filed(stage));
    let at = now();
    let mut wrong = fault::happen(stage, fault, rng)?;
    stage.pair.settle("the pair is whole again")?;
    let whole = at.elapsed();
    stage.go_on(Duration::from_millis(200))?;
    let silent = stage.gap(at);
    wrong.extend(ledger.check(access, &stage.records())?);
    wrong.extend(clerks.complaints());
    if let Some(sides) = &mut stage.sides {
        wrong.extend(sides.check()?);
    }
    let mail = stage.accepted().saturating_sub(mail);
    let changes = filed(stage).saturating_sub(changes);
    stage.event(fault.name(), at);
    stage.tale.say(Tone::Plain, format!("the books hold: {}", wrong.is_empty()));
    Ok(Round { fault, silent, whole, mail, changes, wrong })
}

fn line(number: usize, round: &Round) -> String {
    format!(
        "{number:>4}  {:<44} silent {:>8}  whole {:>8}  +{} mail +{} changes  {}",
        round.fault.name(),
        ms(round.silent),
        ms(round.whole),
        round.mail,
        round.changes,
        if round.wrong.is_empty() { "ok" } else { "WRONG" }
    )
}

fn summary(done: &BTreeMap<Fault, Vec<Round>>) {
    print(&format!(
        "\n  {:<44}{:>7}{:>9}{:>9}{:>9}{:>11}",
        "longest time without a banner, ms", "rounds", "min", "median", "max", "whole, s"
    ));
    for (fault, rounds) in done {
        let silent = Spread::of(&rounds.iter().map(|r| r.silent).collect::<Vec<_>>());
        let whole = Spread::of(&rounds.iter().map(|r| r.whole).collect::<Vec<_>>());
        print(&format!(
            "  {:<44}{:>7}{:>9.0}{:>9.0}{:>9.0}{:>11.1}",
            fault.name(),
            rounds.len(),
            silent.least,
            silent.middle,
            silent.most,
            whole.middle / 1_000.0
        ));
    }
    let all: Vec<&Round> = done.values().flatten().collect();
    let mail: u64 = all.iter().map(|r| u64::from(r.mail)).sum();
    let changes: u64 = all.iter().map(|r| r.changes).sum();
    print(&format!(
        "\n  {} rounds: {mail} messages and {changes} IMAP changes acknowledged; books held in each",
        all.len()
    ));
}
