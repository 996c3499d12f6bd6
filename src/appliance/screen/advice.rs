//! What to do, in a sentence, for each runbook that a problem may name.
//!
//! A problem of `status` carries its sentence and its runbook; who stands before the machine has no
//! runbook at hand. A test finds a runbook of the program's problems that has no sentence here.

use super::pick;
use crate::ops::status::Language;

/// Runbook, English, German.
static ADVICE: &[(&str, &str, &str)] = &[
    (
        "address-missing",
        "Check the cable, the switch port and the interface's name in site.toml.",
        "Kabel, Switch-Port und den Namen der Schnittstelle in site.toml prüfen.",
    ),
    (
        "branched",
        "Leave both machines on: they put it right by themselves once they hear each other.",
        "Beide Maschinen anlassen: Sie bringen es selbst in Ordnung, sobald sie sich hören.",
    ),
    (
        "certificate-renewal",
        "See that the names lead here, and that port 80 or 443 is open from outside.",
        "Prüfen, ob die Namen hierher führen und Port 80 oder 443 von außen offen ist.",
    ),
    (
        "clock-unset",
        "Check the time server in site.toml, and the way to it.",
        "Den Zeitserver in site.toml und den Weg dorthin prüfen.",
    ),
    (
        "data-disk-full",
        "Make room before it is full: new mail is refused then. The page tells how.",
        "Platz schaffen, ehe sie voll ist: Dann wird neue Post abgewiesen. Die Seite sagt wie.",
    ),
    (
        "data-disk",
        "Check the disk, its cables and its controller, then restart.",
        "Die Platte, ihre Kabel und ihren Controller prüfen, dann neu starten.",
    ),
    (
        "disk-failure",
        "Turn this machine off and replace the disk; the other one keeps serving.",
        "Diese Maschine ausschalten und die Platte ersetzen; die andere bedient weiter.",
    ),
    (
        "store-stopped",
        "Turn this machine off and replace the disk; the other one keeps serving.",
        "Diese Maschine ausschalten und die Platte ersetzen; die andere bedient weiter.",
    ),
    (
        "force-solo",
        "First try to bring the other machine back. Else read the page, then decide.",
        "Erst versuchen, die andere Maschine zurückzubringen. Sonst die Seite lesen, dann entscheiden.",
    ),
    (
        "joining",
        "Wait: it gets complete by itself. Leave both machines on.",
        "Abwarten: Sie wird von selbst vollständig. Beide Maschinen anlassen.",
    ),
    (
        "link-down",
        "Check the cable, the other end and its switch port.",
        "Kabel, Gegenseite und Switch-Port prüfen.",
    ),
    (
        "listener-down",
        "Restart the mail program (key r).",
        "Das Mailprogramm neu starten (Taste r).",
    ),
    (
        "not-running",
        "Restart the mail program, then the machine (key r). Its log says why (key r, 1).",
        "Das Mailprogramm neu starten, dann die Maschine (Taste r). Sein Log sagt, warum (Taste r, 1).",
    ),
    (
        "own-health",
        "Restart the mail program (key r). If it comes back, replace this machine.",
        "Das Mailprogramm neu starten (Taste r). Kommt es wieder, diese Maschine ersetzen.",
    ),
    (
        "runtime-stuck",
        "Restart the mail program (key r). If that does not help, restart the machine.",
        "Das Mailprogramm neu starten (Taste r). Hilft das nicht, die Maschine neu starten.",
    ),
    (
        "pair-certificate",
        "Nothing is urgent: mail goes on. Follow the page in working hours.",
        "Nichts eilt: Die Post läuft weiter. Der Seite folgen, wenn wieder Arbeitszeit ist.",
    ),
    (
        "pair-config-differs",
        "Make the site.toml files of the two machines agree, then restart both.",
        "Die site.toml beider Maschinen in Einklang bringen, dann beide neu starten.",
    ),
    (
        "pair-full-copy",
        "Leave both machines on and follow the page.",
        "Beide Maschinen anlassen und der Seite folgen.",
    ),
    (
        "pair-keyring",
        "Leave both machines on and follow the page.",
        "Beide Maschinen anlassen und der Seite folgen.",
    ),
    (
        "pair-refused",
        "Was a machine replaced? Then join it with a token (key r, 6). Else follow the page.",
        "Wurde eine Maschine ersetzt? Dann mit einem Token verbinden (Taste r, 6). Sonst siehe Seite.",
    ),
    (
        "peer-lost",
        "Bring the other machine or its cables back. It then catches up by itself.",
        "Die andere Maschine oder ihre Kabel zurückbringen. Sie holt dann von selbst auf.",
    ),
    (
        "recovering",
        "Turn the other machine on too and wait a minute: the two find out who serves.",
        "Auch die andere Maschine einschalten, eine Minute warten: Beide finden heraus, wer bedient.",
    ),
    (
        "update-roll",
        "Mail goes on. `understudy update status` says why; then give the update again.",
        "Die Post läuft weiter. `understudy update status` sagt, warum; dann das Update erneut geben.",
    ),
    (
        "vrrp-address-conflict",
        "Another device uses our addresses: find it and turn that off.",
        "Ein anderes Gerät benutzt unsere Adressen: es finden und das abstellen.",
    ),
    (
        "vrrp-foreign-router",
        "Another device uses our VRRP number: give one of the two another.",
        "Ein anderes Gerät benutzt unsere VRRP-Nummer: einem der beiden eine andere geben.",
    ),
    (
        "witness-distrusted",
        "Nothing is urgent: it heals once both machines have seen the witness.",
        "Nichts eilt: Es heilt, sobald beide Maschinen den Zeugen gesehen haben.",
    ),
    (
        "witness-lost",
        "Mail goes on. Bring the witness back, or the way to it.",
        "Die Post läuft weiter. Den Zeugen oder den Weg zu ihm zurückbringen.",
    ),
    (
        "witness-refused",
        "Mail goes on. Correct the pins that the page names.",
        "Die Post läuft weiter. Die Pins berichtigen, die die Seite nennt.",
    ),
];

/// What to do about a problem that names `runbook`.
pub(super) fn advice(runbook: &str, language: Language) -> &'static str {
    ADVICE.iter().find(|(name, ..)| *name == runbook).map_or_else(
        || pick(language, "Follow the page.", "Der Seite folgen."),
        |(_, en, de)| pick(language, en, de),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn every_problem_of_the_program_has_its_advice() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let report = std::fs::read_to_string(root.join("src/app/report.rs")).unwrap();
        let mut checked = 0;
        for entry in std::fs::read_dir(root.join("docs/runbook")).unwrap() {
            let file = entry.unwrap().file_name().into_string().unwrap();
            let name = file.trim_end_matches(".md");
            if report.contains(&format!("\"{name}\"")) {
                assert!(ADVICE.iter().any(|(n, ..)| *n == name), "no advice for {name}");
                checked += 1;
            }
        }
        assert!(checked > 8, "only {checked}");
        for (name, ..) in ADVICE {
            assert!(root.join(format!("docs/runbook/{name}.md")).exists(), "no page {name}");
        }
    }
}
