//! What is wrong and what to do, in both languages.

use super::Trouble;
use crate::base::clock;
use understudy_proto::time::UnixMs;

fn time(at: UnixMs) -> String {
    clock::rfc3339(at).chars().take(16).collect::<String>().replace('T', " ")
}

fn day(at: UnixMs) -> String {
    clock::rfc3339(at).chars().take(10).collect()
}

fn both(what: impl Into<String>, todo: &str) -> (String, String) {
    (what.into(), todo.to_owned())
}

fn to(word: &str, version: Option<&String>) -> String {
    version.map_or_else(String::new, |version| format!("{word}{version}"))
}

pub(super) fn english(trouble: &Trouble) -> (String, String) {
    match trouble {
        Trouble::SiteMissing => both(
            "there is no site.toml on the partition UNDERSTUDY, or it is empty",
            "Write one (understudy site-config make) and restart.",
        ),
        Trouble::SiteRefused(lines) => both(
            format!("site.toml is refused: {}", lines.join("; ")),
            "Correct it on any computer and restart.",
        ),
        Trouble::SiteChanged => both(
            "site.toml was changed; what was in force stays in force",
            "Accept the change at the screen (r, recovery code, 4) and restart, or put the earlier \
             file back.",
        ),
        Trouble::SiteAccepted { minutes } => both(
            "the changed network of site.toml is accepted and waits for a restart",
            &format!("Restart; it is on trial then, for {minutes} minutes, until it is confirmed."),
        ),
        Trouble::SiteOnTrial { until, minutes } => both(
            format!(
                "the changed network of site.toml is on trial until {} UTC ({minutes} minutes)",
                time(*until)
            ),
            "If all works: understudy site-config confirm, or 4 in the recovery menu. Else the \
             former site.toml comes back.",
        ),
        Trouble::SiteReverted => both(
            "nobody confirmed the changed network of site.toml: the former file is in force again",
            "The change lies beside it as site.reverted.toml: correct it and try again.",
        ),
        Trouble::SiteUnreachable(why) => both(
            format!("the partition UNDERSTUDY cannot be used: {why}"),
            "Check the boot disk; flash it again if need be.",
        ),
        Trouble::SystemFile(why) => both(
            format!("a setting could not be put in force: {why}"),
            "Restart; if it stays, install another version.",
        ),
        Trouble::SeveralBootDisks(disks) => both(
            format!("these disks are flashed alike: {}; none was touched", disks.join(", ")),
            "Pull out all but one, or wipe the others on another computer, and restart.",
        ),
        Trouble::BootDiskMissing => both(
            "the disk that this system was started from is not to be found",
            "Check the disk, its controller's mode (AHCI, NVMe) and cables; restart.",
        ),
        Trouble::BootDiskTable { disk, why } => both(
            format!("the partition table of {disk} is not right: {why}"),
            "Flash it again, or use a larger disk; data of a pair comes back from the other appliance.",
        ),
        Trouble::DiskReadOnly(disk) => both(
            format!("{disk} cannot be written"),
            "Open its write protection, or replace it; restart.",
        ),
        Trouble::DataTooSmall(disk) => both(
            format!("{disk} is too small for data"),
            "Use a larger disk, or name another one in site.toml.",
        ),
        Trouble::DataDiskMissing(disk) => both(
            format!("the data disk {disk} is not there"),
            "Check the disk and its cables, and its name in site.toml; restart.",
        ),
        Trouble::SeveralDataDisks(disks) => both(
            format!("several disks could be the data disk: {}; none was touched", disks.join(", ")),
            "Leave one of them in, or name the right one in site.toml; restart.",
        ),
        Trouble::DataElsewhere(disks) => both(
            format!("the data lies on {}, but site.toml names another disk", disks.join(", ")),
            "Put the earlier disk into site.toml, or wipe that one if nobody needs it; restart.",
        ),
        _ => english_of_data(trouble),
    }
}

fn english_of_data(trouble: &Trouble) -> (String, String) {
    match trouble {
        Trouble::DataForeign { what, found } => both(
            format!("{what} holds something else ({found}) and was not touched"),
            "If nobody needs it, wipe it on another computer; restart.",
        ),
        Trouble::DataUnclean(said) => both(
            format!("the data's file system is damaged: {said}"),
            "Replace the disk; a pair's data comes back from the other appliance.",
        ),
        Trouble::DataFailed { tried, said } => both(
            format!("the data disk could not be used ({tried}): {said}"),
            "Restart; if it stays, replace the disk.",
        ),
        Trouble::WrongPassphrase => {
            both("the passphrase does not open the data", "Try again at the screen.")
        }
        Trouble::PassphraseOnce => both(
            "the data disk is new, and its first passphrase must be typed twice",
            "Do it at the screen (key u).",
        ),
        Trouble::KeyMissing => both(
            "the key file of the data is gone from the partition UNDERSTUDY",
            "Put data.key back there from your copy and restart; without it, set up anew.",
        ),
        Trouble::TpmMissing => both(
            "the data needs the TPM of this machine, which is not there",
            "Switch it on in the firmware's settings, or set site.toml to another way; restart.",
        ),
        Trouble::MirrorDegraded(array) => both(
            format!("the mirror {array} runs on one disk"),
            "Replace the other disk with an empty one; name it in site.toml if its name changes.",
        ),
        Trouble::MirrorFilling(array) => both(
            format!(
                "the mirror {array} is being filled: until then one disk alone holds everything"
            ),
            "Leave both disks in; this goes away by itself.",
        ),
        Trouble::DataLost => both(
            "the data disk has failed or was pulled out; nothing can be written to it",
            "Turn this machine off and replace the disk; a pair's other appliance keeps serving.",
        ),
        Trouble::DataFull(left) => both(
            format!("the data disk is nearly full: {left} MiB are left"),
            "New mail is refused until there is room: delete, or move to a larger disk.",
        ),
        Trouble::ClockUnset => both(
            "no time server has set the clock; it may be wrong",
            "Check the time server in site.toml, and the way to it.",
        ),
        Trouble::ClockWrong(at) => both(
            format!(
                "the clock was wrong; it is set to {} UTC until a time server answers",
                time(*at)
            ),
            "Check that the time servers can be reached; replace the clock's battery.",
        ),
        Trouble::ClockFar { at, years } => both(
            format!(
                "the clock says {}; that is {years} years after this image was built, and may be far ahead",
                day(*at)
            ),
            "Compare it with a watch. Wrong: set it in the firmware's settings, or see that a time \
             server answers. Right: install an update.",
        ),
        Trouble::FirmwareMissing(names) => both(
            format!("a device wants firmware that is not in the image: {}", names.join(", ")),
            "If the device works all the same, leave it. Else use another one; the page tells more.",
        ),
        Trouble::UpdateFailed { version } => both(
            format!("the update{} failed; the version before runs", to(" to ", version.as_ref())),
            "Nothing is lost. Install the next version when there is one.",
        ),
        Trouble::SlotDead(slot) => both(
            format!("slot {slot} did not start; the system of slot {} runs", slot.other()),
            "Install an update: it is written to the slot that is broken.",
        ),
        // All others have their words above.
        _ => both("something is wrong", "See the log."),
    }
}

pub(super) fn german(trouble: &Trouble) -> (String, String) {
    match trouble {
        Trouble::SiteMissing => both(
            "auf der Partition UNDERSTUDY liegt keine site.toml, oder sie ist leer",
            "Eine anlegen (understudy site-config make) und neu starten.",
        ),
        Trouble::SiteRefused(lines) => both(
            format!("site.toml wird abgelehnt: {}", lines.join("; ")),
            "Auf irgendeinem Rechner berichtigen und neu starten.",
        ),
        Trouble::SiteChanged => both(
            "site.toml wurde geändert; bisher Gültiges gilt weiter",
            "Die Änderung am Bildschirm annehmen (r, Notfallcode, 4) und neu starten, oder die frühere \
             Datei zurücklegen.",
        ),
        Trouble::SiteAccepted { minutes } => both(
            "das geänderte Netz aus site.toml ist angenommen und wartet auf einen Neustart",
            &format!(
                "Neu starten; dann läuft es {minutes} Minuten auf Probe, bis es bestätigt ist."
            ),
        ),
        Trouble::SiteOnTrial { until, minutes } => both(
            format!(
                "das geänderte Netz aus site.toml läuft auf Probe bis {} UTC ({minutes} Minuten)",
                time(*until)
            ),
            "Geht alles, bestätigen: understudy site-config confirm, oder 4 im Notfallmenü. Sonst \
             kommt mit einem Neustart die frühere site.toml zurück.",
        ),
        Trouble::SiteReverted => both(
            "niemand hat das geänderte Netz aus site.toml bestätigt: es gilt wieder die frühere Datei",
            "Die Änderung liegt daneben als site.reverted.toml: berichtigen, noch einmal versuchen.",
        ),
        Trouble::SiteUnreachable(why) => both(
            format!("die Partition UNDERSTUDY ist nicht benutzbar: {why}"),
            "Die Boot-Platte prüfen; notfalls neu flashen.",
        ),
        Trouble::SystemFile(why) => both(
            format!("eine Einstellung konnte nicht in Kraft gesetzt werden: {why}"),
            "Neu starten; bleibt es dabei, eine andere Version einspielen.",
        ),
        Trouble::SeveralBootDisks(disks) => both(
            format!(
                "diese Platten sind gleich geflasht: {}; keine wurde angerührt",
                disks.join(", ")
            ),
            "Alle bis auf eine herausziehen oder an einem anderen Rechner löschen; neu starten.",
        ),
        Trouble::BootDiskMissing => both(
            "die Platte, von der dieses System gestartet ist, ist nicht zu finden",
            "Platte, Modus des Controllers (AHCI, NVMe) und Kabel prüfen; neu starten.",
        ),
        Trouble::BootDiskTable { disk, why } => both(
            format!("die Partitionstabelle von {disk} stimmt nicht: {why}"),
            "Neu flashen oder größere Platte nehmen; Daten eines Paares kommen vom anderen Gerät zurück.",
        ),
        Trouble::DiskReadOnly(disk) => both(
            format!("{disk} lässt sich nicht beschreiben"),
            "Schreibschutz öffnen oder Platte tauschen; neu starten.",
        ),
        Trouble::DataTooSmall(disk) => both(
            format!("{disk} ist zu klein für Daten"),
            "Größere Platte nehmen oder in site.toml eine andere nennen.",
        ),
        Trouble::DataDiskMissing(disk) => both(
            format!("die Datenplatte {disk} fehlt"),
            "Platte und Kabel prüfen, ebenso ihren Namen in site.toml; neu starten.",
        ),
        Trouble::SeveralDataDisks(disks) => both(
            format!(
                "mehrere Platten könnten die Datenplatte sein: {}; keine wurde angerührt",
                disks.join(", ")
            ),
            "Nur eine stecken lassen oder die richtige in site.toml nennen; neu starten.",
        ),
        Trouble::DataElsewhere(disks) => both(
            format!(
                "die Daten liegen auf {}, site.toml nennt aber eine andere Platte",
                disks.join(", ")
            ),
            "Die frühere Platte in site.toml eintragen, oder jene löschen, wenn niemand sie braucht; neu starten.",
        ),
        _ => german_of_data(trouble),
    }
}

fn german_of_data(trouble: &Trouble) -> (String, String) {
    match trouble {
        Trouble::DataForeign { what, found } => both(
            format!("auf {what} liegt etwas anderes ({found}); es wurde nicht angerührt"),
            "Wenn es niemand braucht, an einem anderen Rechner löschen; neu starten.",
        ),
        Trouble::DataUnclean(said) => both(
            format!("das Dateisystem der Daten ist beschädigt: {said}"),
            "Platte tauschen; die Daten eines Paares kommen vom anderen Gerät zurück.",
        ),
        Trouble::DataFailed { tried, said } => both(
            format!("die Datenplatte war nicht benutzbar ({tried}): {said}"),
            "Neu starten; bleibt es dabei, die Platte tauschen.",
        ),
        Trouble::WrongPassphrase => {
            both("die Passphrase öffnet die Daten nicht", "Am Bildschirm noch einmal versuchen.")
        }
        Trouble::PassphraseOnce => both(
            "die Datenplatte ist neu; ihre erste Passphrase muss zweimal eingegeben werden",
            "Am Bildschirm tun (Taste u).",
        ),
        Trouble::KeyMissing => both(
            "die Schlüsseldatei der Daten fehlt auf der Partition UNDERSTUDY",
            "data.key aus der eigenen Kopie dorthin zurücklegen und neu starten; sonst neu aufsetzen.",
        ),
        Trouble::TpmMissing => both(
            "die Daten brauchen das TPM dieser Maschine, und es ist nicht da",
            "Im Firmware-Setup einschalten oder in site.toml einen anderen Weg wählen; neu starten.",
        ),
        Trouble::MirrorDegraded(array) => both(
            format!("der Spiegel {array} läuft auf nur einer Platte"),
            "Die andere Platte durch eine leere ersetzen; neuen Namen in site.toml eintragen.",
        ),
        Trouble::MirrorFilling(array) => both(
            format!("der Spiegel {array} wird gefüllt: bis dahin hat nur eine Platte alle Daten"),
            "Beide Platten stecken lassen; das vergeht von selbst.",
        ),
        Trouble::DataLost => both(
            "die Datenplatte ist ausgefallen oder gezogen; es lässt sich nichts mehr schreiben",
            "Maschine ausschalten, Platte ersetzen; das andere Gerät eines Paares bedient weiter.",
        ),
        Trouble::DataFull(left) => both(
            format!("die Datenplatte ist fast voll: noch {left} MiB"),
            "Neue Mail wird abgewiesen, bis Platz ist: löschen oder auf eine größere Platte umziehen.",
        ),
        Trouble::ClockUnset => both(
            "kein Zeitserver hat die Uhr gestellt; sie kann falsch gehen",
            "Den Zeitserver in site.toml und den Weg dorthin prüfen.",
        ),
        Trouble::ClockWrong(at) => both(
            format!(
                "die Uhr ging falsch; bis ein Zeitserver antwortet, steht sie auf {} UTC",
                time(*at)
            ),
            "Prüfen, ob die Zeitserver erreichbar sind; Batterie der Uhr tauschen.",
        ),
        Trouble::ClockFar { at, years } => both(
            format!(
                "die Uhr zeigt {}; das ist {years} Jahre nach dem Bau dieses Images, vielleicht geht sie weit vor",
                day(*at)
            ),
            "Mit einer anderen Uhr vergleichen. Falsch: im Firmware-Setup stellen oder dafür sorgen, dass \
             ein Zeitserver antwortet. Richtig: eine Aktualisierung installieren.",
        ),
        Trouble::FirmwareMissing(names) => both(
            format!("ein Gerät verlangt Firmware, die im Image fehlt: {}", names.join(", ")),
            "Geht das Gerät trotzdem, ist nichts zu tun. Sonst ein anderes nehmen; die Seite sagt mehr.",
        ),
        Trouble::UpdateFailed { version } => both(
            format!(
                "die Aktualisierung{} ist gescheitert; die Version davor läuft",
                to(" auf ", version.as_ref())
            ),
            "Nichts ist verloren. Die nächste Version installieren, sobald es sie gibt.",
        ),
        Trouble::SlotDead(slot) => both(
            format!(
                "Platz {slot} ist nicht gestartet; das System von Platz {} läuft",
                slot.other()
            ),
            "Eine Aktualisierung installieren: sie überschreibt den defekten Platz.",
        ),
        // All others have their words above.
        _ => both("etwas stimmt nicht", "Siehe Protokoll."),
    }
}

#[cfg(test)]
pub(super) fn tests_samples() -> Vec<Trouble> {
    let text = || "x1".to_owned();
    vec![
        Trouble::SiteMissing,
        Trouble::SiteRefused(vec![text()]),
        Trouble::SiteChanged,
        Trouble::SiteOnTrial { until: UnixMs(1_785_153_600_123), minutes: 10 },
        Trouble::SiteReverted,
        Trouble::SiteAccepted { minutes: 10 },
        Trouble::PassphraseOnce,
        Trouble::ClockUnset,
        Trouble::SiteUnreachable(text()),
        Trouble::SystemFile(text()),
        Trouble::SeveralBootDisks(vec![text(), text()]),
        Trouble::BootDiskMissing,
        Trouble::BootDiskTable { disk: text(), why: text() },
        Trouble::DiskReadOnly(text()),
        Trouble::DataTooSmall(text()),
        Trouble::DataDiskMissing(text()),
        Trouble::SeveralDataDisks(vec![text()]),
        Trouble::DataElsewhere(vec![text()]),
        Trouble::DataForeign { what: text(), found: text() },
        Trouble::DataUnclean(text()),
        Trouble::DataFailed { tried: text(), said: text() },
        Trouble::WrongPassphrase,
        Trouble::KeyMissing,
        Trouble::TpmMissing,
        Trouble::MirrorDegraded(text()),
        Trouble::MirrorFilling(text()),
        Trouble::DataLost,
        Trouble::DataFull(3),
        Trouble::ClockWrong(UnixMs(1_785_153_600_123)),
        Trouble::ClockFar { at: UnixMs(1_785_153_600_123), years: 4 },
        Trouble::FirmwareMissing(vec![text(), text()]),
        Trouble::UpdateFailed { version: Some(text()) },
        Trouble::SlotDead(super::Slot::A),
    ]
}
