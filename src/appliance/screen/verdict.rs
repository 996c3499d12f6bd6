//! What all the facts come to: one level, one word, one sentence, and what is wrong, worst first.
//!
//! Invariants: pure; both languages say the same. A machine on which something is wrong is never
//! called good, and one whose mail program does not answer is never said to serve.

use super::advice::advice;
use super::canvas::Level;
use super::facts::{Facts, Program};
use super::pick;
use crate::appliance::report::{DataOutcome, SiteOutcome, Trouble};
use crate::ops::status::{Language, Role, State, StatusReport};

/// A start may take so long before its silence is called wrong.
const START_S: u64 = 180;
/// And so long while its disks are not done, which a large one that is checked needs: the deadline of
/// understudy-boot.service.
const DISKS_S: u64 = 30 * 60;
/// A mail program that has answered before may be silent for so long: it is being restarted.
const SILENCE_S: u64 = 30;
/// From so much use on the data disk is called full soon.
const DISK_USED_PERCENT: u64 = 90;
/// Pages whose problems mean that this machine does not do its work.
const GRAVE: &[&str] = &[
    "branched",
    "disk-failure",
    "store-stopped",
    "recovering",
    "force-solo",
    "runtime-stuck",
    "listener-down",
];

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) level: Level,
    pub(super) what: String,
    pub(super) todo: String,
    pub(super) page: String,
}

/// What it comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) level: Level,
    /// In capitals, for the band.
    pub(super) word: &'static str,
    pub(super) sentence: String,
    pub(super) todo: String,
    /// What is wrong, worst first; where `told`, the first is the sentence already.
    pub(super) findings: Vec<Finding>,
    pub(super) told: bool,
}

pub(super) fn verdict(facts: &Facts, language: Language) -> Verdict {
    let findings = findings(facts, language);
    let worst = findings.iter().map(|f| f.level).max().unwrap_or(Level::Good);
    let (own, word) = standing(facts, language);
    // What is on its way comes first, unless something is broken besides.
    let level = if own == Level::Wait && worst < Level::Bad { own } else { own.max(worst) };
    if let (Level::Attention | Level::Bad, Some(first)) = (level, findings.first()) {
        let lead = match level {
            Level::Bad => pick(language, "Fault", "Störung"),
            _ => pick(language, "Attention", "Achtung"),
        };
        let (sentence, todo) = (format!("{lead}: {}", first.what), first.todo.clone());
        return Verdict { level, word, sentence, todo, findings, told: true };
    }
    let (sentence, todo) = calm(facts, level, language);
    let (sentence, todo) = (sentence.to_owned(), todo.to_owned());
    Verdict { level, word, sentence, todo, findings, told: false }
}

/// Where this machine stands by itself, whatever else is wrong.
fn standing(facts: &Facts, language: Language) -> (Level, &'static str) {
    if let Some(report) = facts.status() {
        return serving(report, language);
    }
    let data = facts.boot.as_ref().map(|b| &b.data);
    if facts.lost() {
        return (Level::Bad, pick(language, "DATA DISK FAILED", "DATENPLATTE AUSGEFALLEN"));
    }
    if facts.is_new() {
        return (Level::Attention, pick(language, "NEW DISK", "NEUE PLATTE"));
    }
    if facts.locked() {
        return (Level::Attention, pick(language, "LOCKED", "VERSCHLOSSEN"));
    }
    if data == Some(&DataOutcome::Absent) {
        return (Level::Bad, pick(language, "NO DATA DISK", "KEINE DATENPLATTE"));
    }
    if unset(facts) {
        return (Level::Attention, pick(language, "NOT SET UP", "NICHT EINGERICHTET"));
    }
    if starting(facts) {
        return (Level::Wait, pick(language, "STARTING", "STARTET"));
    }
    if pausing(facts) {
        return (Level::Wait, pick(language, "NO ANSWER", "KEINE ANTWORT"));
    }
    (Level::Bad, pick(language, "MAIL STOPPED", "POST STEHT"))
}

fn serving(report: &StatusReport, language: Language) -> (Level, &'static str) {
    match (report.state, report.role) {
        (State::Recovering, _) | (State::Joining | State::Pair, Role::None) => {
            (Level::Bad, pick(language, "NOT SERVING", "BEDIENT NICHT"))
        }
        (State::Branched, _) => (Level::Bad, pick(language, "BRANCHED", "GETRENNTE WEGE")),
        (State::Solo, _) => (Level::Attention, pick(language, "ALONE", "ALLEIN")),
        (State::Joining, _) => (Level::Attention, pick(language, "COPYING", "KOPIERT")),
        (State::Pair, Role::Primary) => (Level::Good, pick(language, "PRIMARY", "PRIMARY")),
        (State::Pair, Role::Standby) => (Level::Good, pick(language, "STANDBY", "STANDBY")),
        (State::Standalone, _) => (Level::Good, pick(language, "SERVING", "BEDIENT")),
    }
}

/// Whether there is nothing that the mail program could start with.
pub(super) fn unset(facts: &Facts) -> bool {
    let site = facts.boot.as_ref().map(|b| b.site);
    !facts.configured && matches!(site, Some(SiteOutcome::Missing | SiteOutcome::Refused))
}

/// Whether the silence of the mail program is still that of a start.
pub(super) fn starting(facts: &Facts) -> bool {
    let due = if facts.boot.is_none() { DISKS_S } else { START_S };
    facts.up_s < due && !matches!(facts.program, Program::Stuck)
}

/// Whether the silence of the mail program is still that of its own restart.
pub(super) fn pausing(facts: &Facts) -> bool {
    facts.boot.is_some() && facts.status().is_none() && facts.silent_s < SILENCE_S
}

/// The sentence where nothing is known to be wrong, or its cause is not.
fn calm(facts: &Facts, level: Level, language: Language) -> (&'static str, &'static str) {
    let idle = pick(language, "Nothing needs to be done.", "Es ist nichts zu tun.");
    if level == Level::Wait && !starting(facts) {
        return (
            pick(
                language,
                "The mail program does not answer at this moment; it may be restarting.",
                "Das Mailprogramm antwortet gerade nicht; vielleicht startet es neu.",
            ),
            pick(language, "Please wait half a minute.", "Bitte eine halbe Minute warten."),
        );
    }
    if level == Level::Wait {
        return (
            pick(
                language,
                "This machine is starting. Mail follows within about two minutes.",
                "Diese Maschine startet. Die Post folgt in etwa zwei Minuten.",
            ),
            pick(language, "Please wait.", "Bitte warten."),
        );
    }
    let status = facts.status().map(|s| (s.state, s.role));
    let sentence = match (level, status) {
        (Level::Good, Some((State::Pair, Role::Standby))) => pick(
            language,
            "Everything is fine: this appliance is the standby, its peer serves.",
            "Alles in Ordnung: Dieses Gerät ist der Standby, das andere bedient.",
        ),
        (Level::Good, Some((State::Pair, _))) => pick(
            language,
            "Everything is fine: this appliance serves, its peer has a full copy.",
            "Alles in Ordnung: Dieses Gerät bedient, das andere hat eine volle Kopie.",
        ),
        (Level::Good, _) => pick(
            language,
            "Everything is fine: this appliance serves. It has no peer.",
            "Alles in Ordnung: Dieses Gerät bedient. Es hat kein zweites.",
        ),
        // The program has not said what is wrong yet; it does within a moment.
        _ => pick(
            language,
            "Attention: this appliance is not at rest; why is not known yet.",
            "Achtung: Dieses Gerät ist nicht in Ruhe; der Grund ist noch nicht bekannt.",
        ),
    };
    let todo = if level == Level::Good {
        idle
    } else {
        pick(language, "Wait a minute, then look again.", "Eine Minute warten, wieder hinsehen.")
    };
    (sentence, todo)
}

/// What is wrong, worst first; what is equally bad in the order of its nearness to mail.
fn findings(facts: &Facts, language: Language) -> Vec<Finding> {
    let mut found = Vec::new();
    if let Some(report) = facts.status() {
        of_program(&mut found, report, language);
    } else {
        of_silence(&mut found, facts, language);
    }
    if let Some(boot) = &facts.boot {
        let level =
            if facts.status().is_some() || unset(facts) { Level::Attention } else { Level::Bad };
        found.extend(boot.troubles.iter().map(|trouble| {
            let (what, todo) = trouble.words(language);
            Finding { level, what, todo, page: trouble.runbook().to_owned() }
        }));
    }
    of_machine(&mut found, facts, language);
    found.sort_by_key(|f| std::cmp::Reverse(f.level));
    found
}

fn of_program(found: &mut Vec<Finding>, report: &StatusReport, language: Language) {
    for problem in &report.problems {
        let grave = GRAVE.contains(&problem.runbook.as_str());
        found.push(Finding {
            level: if grave { Level::Bad } else { Level::Attention },
            what: language.sentence(&problem.what),
            todo: advice(&problem.runbook, language).to_owned(),
            page: problem.runbook.clone(),
        });
    }
    if let Some(question) = &report.waiting_for {
        let lead = pick(language, "it waits for", "es wartet auf");
        let what = format!("{lead}: {}", language.sentence(question));
        found.push(own(Level::Attention, what, "recovering", language));
    }
}

/// Why the mail program does not answer, as far as that has no cause of its own.
fn of_silence(found: &mut Vec<Finding>, facts: &Facts, language: Language) {
    if facts.lost() {
        return;
    }
    if matches!(facts.program, Program::Stuck) && !pausing(facts) {
        let what = pick(
            language,
            "the mail program runs, but does not answer",
            "das Mailprogramm läuft, antwortet aber nicht",
        );
        found.push(own(Level::Bad, what.to_owned(), "runtime-stuck", language));
        return;
    }
    if facts.is_new() {
        let what = pick(
            language,
            "the data disk is new and has no passphrase yet; mail starts once it has one",
            "die Datenplatte ist neu, noch ohne Passphrase; die Post beginnt, sobald sie eine hat",
        );
        let todo = pick(
            language,
            "Press u, type a passphrase twice, and note it: nobody can open the data without.",
            "u drücken, zweimal eine Passphrase eingeben, sie notieren: ohne sie öffnet das niemand.",
        );
        let page = "data-locked".to_owned();
        let (what, todo) = (what.to_owned(), todo.to_owned());
        found.push(Finding { level: Level::Attention, what, todo, page });
        return;
    }
    if facts.locked() {
        found.push(Finding {
            level: Level::Attention,
            what: pick(
                language,
                "the data disk is locked; no mail is served here until it is unlocked",
                "die Datenplatte ist verschlossen; bis sie offen ist, gibt es hier keine Post",
            )
            .to_owned(),
            todo: pick(
                language,
                "Press u and type the passphrase.",
                "u drücken und die Passphrase eingeben.",
            )
            .to_owned(),
            page: "data-locked".to_owned(),
        });
        return;
    }
    let data = facts.boot.as_ref().map(|b| &b.data);
    if data == Some(&DataOutcome::Absent) {
        if facts.boot.as_ref().is_none_or(|b| b.troubles.is_empty()) {
            let what = pick(language, "there is no data disk", "es gibt keine Datenplatte");
            found.push(own(Level::Bad, what.to_owned(), "data-disk", language));
        }
        return;
    }
    if unset(facts) || starting(facts) || pausing(facts) {
        return;
    }
    let what = if facts.boot.is_none() {
        pick(
            language,
            "the start of this machine has not come to its end",
            "der Start dieser Maschine ist nicht zu Ende gekommen",
        )
    } else {
        pick(language, "the mail program does not run", "das Mailprogramm läuft nicht")
    };
    found.push(own(Level::Bad, what.to_owned(), "not-running", language));
}

fn of_machine(found: &mut Vec<Finding>, facts: &Facts, language: Language) {
    if facts.lost() {
        found.push(Finding { level: Level::Bad, ..of_trouble(&Trouble::DataLost, language) });
    }
    for interface in facts.interfaces.iter().filter(|i| i.on && !i.carrier) {
        let name = &interface.name;
        let what = match language {
            Language::En => format!("the network interface {name} has no link"),
            Language::De => format!("die Netzschnittstelle {name} hat keine Verbindung"),
        };
        found.push(own(Level::Attention, what, "link-down", language));
    }
    let told = found.iter().any(|f| f.page == "data-disk-full");
    let full = facts.disk.filter(|d| !told && d.used_percent() >= DISK_USED_PERCENT);
    if let Some(disk) = full {
        let used = disk.used_percent();
        let what = match language {
            Language::En => format!("the data disk is {used} % full"),
            Language::De => format!("die Datenplatte ist zu {used} % voll"),
        };
        found.push(own(Level::Attention, what, "data-disk-full", language));
    }
    if let Some(trouble) = facts.clock.trouble(facts.up_s) {
        found.push(of_trouble(&trouble, language));
    }
}

fn of_trouble(trouble: &Trouble, language: Language) -> Finding {
    let (what, todo) = trouble.words(language);
    Finding { level: Level::Attention, what, todo, page: trouble.runbook().to_owned() }
}

fn own(level: Level, what: String, page: &str, language: Language) -> Finding {
    Finding { level, what, todo: advice(page, language).to_owned(), page: page.to_owned() }
}
