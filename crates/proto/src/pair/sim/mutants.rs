//! Rules that are taken out one at a time, and which invariant (docs/design/replication.md) each of
//! them carries. A checker that does not notice would prove nothing.

use super::{Rules, history, number};
use crate::pair::Mutant;
use std::fmt::Write as _;

/// Rules of the driver and the store that a test may take out of their model here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Slip {
    /// A sync that failed is tried again, and believed when it then says yes.
    SyncRetried,
    /// A branch is told that it is taken over before that is durable and committed.
    TakenTooEarly,
    /// A merge that begins anew takes over again what it had taken over before.
    TakenTwice,
    /// A log that is broken in the middle is cut there, and the node goes on as who it was.
    DamageIgnored,
    /// New mail is taken although the disk is below its reserve.
    ReserveIgnored,
}

impl Slip {
    const ALL: [Self; 5] = [
        Self::SyncRetried,
        Self::TakenTooEarly,
        Self::TakenTwice,
        Self::DamageIgnored,
        Self::ReserveIgnored,
    ];

    fn attacks(self) -> &'static [u8] {
        match self {
            Self::SyncRetried => &[11],
            Self::TakenTooEarly => &[9],
            Self::TakenTwice => &[10],
            Self::DamageIgnored => &[6, 9],
            Self::ReserveIgnored => &[12],
        }
    }
}

/// The invariants, by number.
const INVARIANTS: [(u8, &str); 13] = [
    (1, "commit: durable on every member of insync first"),
    (2, "record first: a smaller insync, before the first commit under it"),
    (3, "only insync is promoted, one holder per epoch"),
    (4, "fencing by refusal: lower epochs are refused"),
    (5, "admission order: copied, then waited for, then recorded, then told"),
    (6, "boot is RECOVERING: no role is resumed from disk"),
    (7, "readers need a lease"),
    (8, "addresses only where one can serve"),
    (9, "no durable record is discarded"),
    (10, "merge: deterministic, commutative, idempotent"),
    (11, "a failed sync is final"),
    (12, "disk reserve: new mail refused, handed over to the roomier node"),
    (13, "honesty: state and RPO"),
];

/// Which invariants the rule carries that this takes out.
fn attacks(mutant: Mutant) -> &'static [u8] {
    match mutant {
        Mutant::CommitBeforePeer | Mutant::AckBeforeSync => &[1],
        Mutant::SoloBeforeRecorded => &[1, 2],
        Mutant::SoloWithoutSwap => &[2, 3],
        Mutant::NeverStale | Mutant::PromoteUnchecked | Mutant::PromoteWithoutSwap => &[3],
        Mutant::TrustRolledBackWitness | Mutant::SwitchAlone | Mutant::LostSwapAssumed => &[3],
        Mutant::SoloUnwarned | Mutant::OldEars => &[3],
        Mutant::NoFencing | Mutant::OvertakingIgnored => &[4],
        Mutant::AdmitBeforeCopy | Mutant::JoiningCommitsAlone => &[5],
        Mutant::ResumeOnBoot => &[6],
        Mutant::SleepIgnored => &[4, 7],
        Mutant::NoLease | Mutant::GrantWhilePromoting => &[7],
        Mutant::ServedUnapplied | Mutant::AddressesKept | Mutant::NicFaultIgnored => &[8],
        Mutant::SetAsideCommitted => &[9],
        Mutant::NeverRests => &[8, 12],
        Mutant::FullStays => &[12],
        Mutant::RpoUnproven | Mutant::StandbyBoasts => &[13],
    }
}

/// Those that the simulator does not catch, and the tests that do (each is said to on the mutant).
const ELSEWHERE: [(Mutant, &str); 1] = [(
    Mutant::OvertakingIgnored,
    "a_standby_that_heard_of_a_later_reign_before_its_sessions_end_does_not_lead",
)];

/// Where to look first for what few histories show. (A change of what the simulator throws makes others
/// of them; then all are looked through again.)
const SEEN_BEFORE: [u64; 8] = [905, 931, 1_155, 1_909, 2_123, 4_309, 6_149, 22_312];

struct TakenOut {
    name: String,
    attacks: &'static [u8],
    rules: Rules,
}

fn all() -> Vec<TakenOut> {
    let machine = Mutant::ALL.map(|mutant| TakenOut {
        name: format!("{mutant:?}"),
        attacks: attacks(mutant),
        rules: Rules { mutant: Some(mutant), slip: None },
    });
    let driver = Slip::ALL.map(|slip| TakenOut {
        name: format!("{slip:?}, of the driver"),
        attacks: slip.attacks(),
        rules: Rules { mutant: None, slip: Some(slip) },
    });
    machine.into_iter().chain(driver).collect()
}

#[test]
fn each_invariant_is_attacked() {
    let all = all();
    for (invariant, name) in INVARIANTS {
        let attacked = all.iter().any(|one| one.attacks.contains(&invariant));
        assert!(attacked, "no rule of invariant {invariant} is taken out: {name}");
    }
    let known = |invariant: &u8| INVARIANTS.iter().any(|(number, _)| number == invariant);
    assert!(all.iter().all(|one| !one.attacks.is_empty() && one.attacks.iter().all(known)));
}

/// Each rule is needed, and the simulator sees that it is missing. `SIM_TABLE` names a file for the
/// table that this prints.
#[test]
fn every_mutant_is_caught() {
    let seeds = number("SIM_MUTANT_SEEDS", 20_000);
    let only = std::env::var("SIM_MUTANT").unwrap_or_default();
    let mut survivors = Vec::new();
    let mut caught = Vec::new();
    for one in all().into_iter().filter(|one| one.name.contains(&only)) {
        let mut order = (1..=300).chain(SEEN_BEFORE).chain(301..=seeds);
        // What breaks a promise with the rule in place shows nothing of the rule.
        let holds = |seed| history(seed, Rules::default(), false).1.is_none();
        let shows = |seed| history(seed, one.rules, false).1.filter(|_| holds(seed));
        match order.find_map(|seed| Some((seed, shows(seed)?))) {
            Some((seed, what)) => {
                let what = what.lines().next().unwrap_or_default();
                let what: String = what.chars().take(110).collect();
                println!("{}: caught at seed {seed}: {what}", one.name);
                caught.push((one, seed));
            }
            None => survivors.push(one.name),
        }
    }
    let table = table(&caught);
    println!("{table}");
    if let Ok(path) = std::env::var("SIM_TABLE") {
        std::fs::write(path, table).unwrap();
    }
    assert!(survivors.is_empty(), "not caught in {seeds} seeds: {survivors:?}");
}

/// Invariant, what was taken out (a mutant of the machine, or a slip of the driver), and the seed of the history that shows it.
fn table(caught: &[(TakenOut, u64)]) -> String {
    let mut text = "invariant | taken out | caught at seed\n".to_owned();
    for (invariant, name) in INVARIANTS {
        writeln!(text, "{invariant:>2} {name}").unwrap();
        for (one, seed) in caught.iter().filter(|(one, _)| one.attacks.contains(&invariant)) {
            writeln!(text, "   | {:<29} | {seed}", one.name).unwrap();
        }
        for (mutant, test) in ELSEWHERE.iter().filter(|(m, _)| attacks(*m).contains(&invariant)) {
            let name = format!("{mutant:?}");
            writeln!(text, "   | {name:<29} | not here; by pair::tests::{test}").unwrap();
        }
    }
    text
}
