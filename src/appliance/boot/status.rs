//! `STATUS.txt`: how the machine is, for people with another computer.
//!
//! Pure. UTF-8 with the line ends of Windows; the words are those of the screen.

use crate::appliance::report::{BootReport, DataOutcome, SiteOutcome, Slot};
use crate::appliance::site::Site;
use crate::base::clock;
use crate::ops::status::Language;

/// Longest line, in characters.
const WIDTH: usize = 96;

/// The whole file.
pub(super) fn text(report: &BootReport, site: Option<&Site>) -> String {
    let german = report.language == Language::De;
    let pick = |en: &'static str, de: &'static str| if german { de } else { en };
    let time: String = clock::rfc3339(report.at).chars().take(16).collect();
    let mut lines = vec![
        format!("Understudy {}", env!("CARGO_PKG_VERSION")),
        format!("{} {} UTC", pick("Started:   ", "Gestartet: "), time.replace('T', " ")),
    ];
    if let Some(slot) = report.slot {
        let name = match slot {
            Slot::A => "A",
            Slot::B => "B",
        };
        let trial = if report.trial { pick(" (on trial)", " (auf Probe)") } else { "" };
        lines.push(format!("{} {name}{trial}", pick("System:    ", "System:    ")));
    }
    lines.push(format!("site.toml:  {}", words_of_site(report.site, german)));
    lines.push(format!(
        "{} {}",
        pick("Data:      ", "Daten:     "),
        match &report.data {
            DataOutcome::Mounted { what } => what.as_str(),
            DataOutcome::Locked => pick("waits for its passphrase", "wartet auf die Passphrase"),
            DataOutcome::New => {
                pick("new, waits for its first passphrase", "neu, wartet auf ihre erste Passphrase")
            }
            DataOutcome::Absent => pick("not there", "nicht vorhanden"),
        }
    ));
    for (en, de, address) in site.map(addresses).unwrap_or_default() {
        lines.push(format!("{:<11} {address}", pick(en, de)));
    }
    lines.push(String::new());
    let passphrase = match &report.data {
        DataOutcome::Locked => Some(pick(
            "Mail starts once the passphrase was typed: press u on the machine's own screen.",
            "Die Mail startet mit der Passphrase: am Bildschirm des Geräts u drücken.",
        )),
        DataOutcome::New => Some(pick(
            "Mail starts once the data has a passphrase: press u on the machine's own screen.",
            "Die Mail startet, sobald die Daten eine Passphrase haben: am Bildschirm des Geräts u drücken.",
        )),
        DataOutcome::Mounted { .. } | DataOutcome::Absent => None,
    };
    match passphrase {
        Some(todo) => lines.extend(folded("", todo)),
        None if report.troubles.is_empty() => {
            lines.push(pick("Nothing is wrong.", "Alles in Ordnung.").to_owned());
        }
        None => {}
    }
    for (number, trouble) in (1..).zip(&report.troubles) {
        let (what, todo) = trouble.words(report.language);
        lines.extend(folded(&format!("{number}. "), &what));
        lines.extend(folded("   ", &todo));
        lines.push(format!("   docs/runbook/{}.md", trouble.runbook()));
        lines.push(String::new());
    }
    lines.join("\r\n") + "\r\n"
}

const fn words_of_site(outcome: SiteOutcome, german: bool) -> &'static str {
    match (outcome, german) {
        (SiteOutcome::Applied, false) => "in force",
        (SiteOutcome::Applied, true) => "in Kraft",
        (SiteOutcome::Taken, false) => {
            "changed and in force (without confirmation, since nothing was set up yet)"
        }
        (SiteOutcome::Taken, true) => {
            "geändert und in Kraft (ohne Bestätigung, weil noch nichts eingerichtet war)"
        }
        (SiteOutcome::Trial, false) => "changed and in force on trial",
        (SiteOutcome::Trial, true) => "geändert und auf Probe in Kraft",
        (SiteOutcome::Changed, false) => "changed, waits to be confirmed",
        (SiteOutcome::Changed, true) => "geändert, wartet auf Bestätigung",
        (SiteOutcome::Refused, false) => "refused",
        (SiteOutcome::Refused, true) => "abgelehnt",
        (SiteOutcome::Missing, false) => "missing",
        (SiteOutcome::Missing, true) => "fehlt",
    }
}

/// Own and floating addresses, with what they are for.
fn addresses(site: &Site) -> Vec<(&'static str, &'static str, String)> {
    let mut rows = Vec::new();
    let mut of = |en, de, list: &[crate::config::Cidr]| {
        rows.extend(list.iter().map(|a| (en, de, format!("{}/{}", a.address, a.prefix))));
    };
    of("Service:", "Dienst:", &site.service.addresses);
    if let Some(network) = &site.management.network {
        of("Management:", "Verwaltung:", &network.addresses);
    }
    if let Some(network) = &site.crosslink {
        of("Cross-link:", "Querkabel:", &network.addresses);
    }
    rows
}

/// `text` in lines of at most [`WIDTH`] characters, the first after `head`, the others below it.
fn folded(head: &str, text: &str) -> Vec<String> {
    let indent = " ".repeat(head.chars().count());
    let (mut lines, mut line) = (Vec::new(), head.to_owned());
    let mut empty = true;
    for word in text.split_whitespace() {
        if !empty && line.chars().count() + 1 + word.chars().count() > WIDTH {
            lines.push(std::mem::replace(&mut line, indent.clone()));
            empty = true;
        }
        if !empty {
            line.push(' ');
        }
        line.push_str(word);
        empty = false;
    }
    lines.push(line);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::appliance::report::Trouble;
    use understudy_proto::time::UnixMs;

    #[test]
    fn it_says_what_is_and_what_to_do_in_both_languages() {
        let mut report = BootReport {
            at: UnixMs(1_785_153_600_123),
            language: Language::De,
            slot: Some(Slot::B),
            trial: true,
            site: SiteOutcome::Changed,
            data: DataOutcome::Locked,
            troubles: vec![Trouble::SiteChanged],
        };
        let german = text(&report, None);
        for words in ["2026-07-27 12:00 UTC", "B (auf Probe)", "Passphrase", "1. site.toml wurde"] {
            assert!(german.contains(words), "{words}: {german}");
        }
        assert!(german.contains("docs/runbook/site-file.md"));
        assert!(german.split("\r\n").all(|l| !l.contains('\n') && l.chars().count() <= WIDTH));
        report.language = Language::En;
        report.troubles.clear();
        let english = text(&report, None);
        assert!(english.contains("press u") && !english.contains("Nothing is wrong."));
        report.data = DataOutcome::Mounted { what: "vda6".into() };
        assert!(text(&report, None).contains("Nothing is wrong."));
    }

    #[test]
    fn long_words_stay_whole() {
        assert_eq!(folded("1. ", "a b"), ["1. a b"]);
        let long = "x".repeat(200);
        assert_eq!(folded("1. ", &format!("a {long} b")), ["1. a", &format!("   {long}"), "   b"]);
    }
}
