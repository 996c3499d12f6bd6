//! Sentences about what is wrong, and why something happened, in German.
//!
//! They are made where the facts are, in English, and travel as text: into the log, through the JSON
//! of `status --json`, from one release to another. Here they are known again by their words. A
//! sentence that is not known stays as it is: a fact in English is better than none. A test reads
//! the sources and finds a sentence that was changed there and not here.

/// Nesting of sentences in sentences that is followed.
const DEPTH_MAX: usize = 4;

/// English and German; each `{}` stands for any words, in the same order on both sides.
static SENTENCES: &[(&str, &str)] = &[
    // What waits.
    (
        "the peer, which may know more than this appliance",
        "das andere Gerät, das mehr wissen kann als dieses",
    ),
    (
        "an operator: choose who serves, stop the other, then here: understudy pair force-solo --confirm",
        "einen Menschen: wählen, wer dient; das andere anhalten; dann hier: understudy pair force-solo --confirm",
    ),
    (
        "the peer, which lacks more of the log than is kept: a full copy is made for it",
        "das andere Gerät, dem mehr vom Log fehlt als aufbewahrt ist: es bekommt eine Vollkopie",
    ),
    // What is wrong.
    (
        "two histories after record {}: this appliance holds changes that the peer lacks",
        "zwei Verläufe nach Eintrag {}: dieses Gerät hat Änderungen, die dem anderen fehlen",
    ),
    ("the merge of a branch stands still: {}", "die Zusammenführung steht still: {}"),
    (
        "nothing is served until an operator says who serves",
        "nichts wird bedient, bis ein Mensch sagt, wer dient",
    ),
    ("who may serve is not decided yet", "noch ist nicht entschieden, wer dienen darf"),
    (
        "the peer is missing: what is acknowledged now is on one disk only",
        "das andere Gerät fehlt: was jetzt bestätigt wird, liegt nur auf einer Platte",
    ),
    (
        "the copy on the peer is not complete yet",
        "die Kopie auf dem anderen Gerät ist noch nicht vollständig",
    ),
    ("the path to {} is silent", "der Weg zu {} ist stumm"),
    ("the full copy stands still: {}", "die Vollkopie steht still: {}"),
    ("the witness {} is not reachable: {}", "der Zeuge {} ist nicht erreichbar: {}"),
    ("it has not answered yet", "er hat noch nicht geantwortet"),
    (
        "the witness holds less than the pair knows: nothing rests on it until the two have seeded it anew",
        "der Zeuge hält weniger, als das Paar weiß: nichts stützt sich auf ihn, bis beide ihn neu bestückt haben",
    ),
    (
        "a certificate of the pair's link has expired; the link goes on, its keys count",
        "ein Zertifikat der Paarverbindung ist abgelaufen; sie läuft weiter, ihre Schlüssel zählen",
    ),
    (
        "no certificate can be obtained for {}: see the log",
        "für {} ist kein Zertifikat zu bekommen: siehe Log",
    ),
    ("the certificate for {} has expired", "das Zertifikat für {} ist abgelaufen"),
    (
        "the certificate for {} ends in {} hours: see the log",
        "das Zertifikat für {} endet in {} Stunden: siehe Log",
    ),
    ("vrid {} on {}: {}", "vrid {} an {}: {}"),
    (
        "a service cannot accept connections: the system is out of files or memory",
        "ein Dienst nimmt keine Verbindung an: dem System fehlen Dateien oder Speicher",
    ),
    (
        "the store has stopped after a disk failure",
        "der Speicher hat nach einem Plattenfehler angehalten",
    ),
    (
        "the store has stopped: a disk failed; see the log",
        "der Speicher hat angehalten: eine Platte hat versagt; siehe Log",
    ),
    (
        "the disk hangs: nothing is acknowledged, and the addresses are let go",
        "die Platte hängt: nichts wird bestätigt, und die Adressen sind frei",
    ),
    ("the services hang: the addresses are let go", "die Dienste hängen: die Adressen sind frei"),
    (
        "the log cannot be read for the peer: {}",
        "das Log kann nicht für das andere Gerät gelesen werden: {}",
    ),
    (
        "the peer's keyring is refused: {}",
        "der Schlüsselbund des anderen Geräts wird abgewiesen: {}",
    ),
    (
        "the peer cannot take our keyring in: see its log and status",
        "das andere Gerät kann unseren Schlüsselbund nicht aufnehmen: siehe dort Log und status",
    ),
    // Who refuses whom.
    (
        "the peer at {} shows key {}, pinned is {}: if you replaced that appliance, run `understudy pair token` here and `understudy pair join` there; if not, somebody else answers there",
        "das andere Gerät auf {} zeigt den Schlüssel {}, bekannt ist {}: wurde es ersetzt, hier `understudy pair token` und dort `understudy pair join`; wenn nicht, antwortet dort jemand anderes",
    ),
    (
        "the peer at {} refuses our key {}: it has pinned another; if this appliance was replaced, run `understudy pair token` there and `understudy pair join` here; if not, see what that one says",
        "das andere Gerät auf {} weist unseren Schlüssel {} ab, es kennt einen anderen; wurde dieses Gerät ersetzt, dort `understudy pair token` und hier `understudy pair join`; wenn nicht, siehe dort",
    ),
    (
        "what answers at {} expects no peer: if it is to be this one's peer, run `understudy pair token` here and `understudy pair join` there; if not, correct `peer` under [pair]",
        "was auf {} antwortet, erwartet niemanden: soll es zu diesem gehören, hier `understudy pair token` und dort `understudy pair join`; wenn nicht, `peer` unter [pair] berichtigen",
    ),
    (
        "the appliance at {} wants to be the peer, but nobody has joined this pair yet: run `understudy pair token` here and `understudy pair join` there",
        "das Gerät auf {} will das andere sein, aber diesem Paar ist noch keines beigetreten: hier `understudy pair token` und dort `understudy pair join`",
    ),
    (
        "the appliance at {} is of pair {}, this one of pair {}: correct `peer` under [pair], or join one of the two to the other's pair with a token",
        "das Gerät auf {} gehört zum Paar {}, dieses zum Paar {}: `peer` unter [pair] berichtigen, oder eines dem Paar des anderen mit einem Token beitreten lassen",
    ),
    (
        "the peer at {} speaks another version of the link: bring both to the same release",
        "das andere Gerät auf {} spricht eine andere Fassung der Verbindung: beide auf dieselbe Version bringen",
    ),
    (
        "the peer at {} says that it is node {}, as this one is: one was copied from the other; empty the copy's data directory and join it with a token",
        "das andere Gerät auf {} sagt, es sei Knoten {}, wie dieses: eines ist eine Kopie; deren Datenverzeichnis leeren und sie mit einem Token beitreten lassen",
    ),
    (
        "the peer speaks for a reign that is over and is refused: the newest is epoch {}; it follows by itself, and if this stays, restart the peer",
        "das andere Gerät spricht für eine vergangene Epoche und wird abgewiesen: die neueste ist {}; es folgt von selbst; bleibt das so, das andere neu starten",
    ),
    (
        "the peer refuses this appliance's reign, epoch {}: it has seen epoch {}; this one follows by itself, and if this stays, restart this one",
        "das andere Gerät weist die Epoche {} dieses Geräts ab: es hat {} gesehen; dieses folgt von selbst; bleibt das so, dieses neu starten",
    ),
    (
        "the peer's log does not continue ours after record {}: it is refused, and nothing is thrown away; see `understudy branches` on the one that serves",
        "das Log des anderen Geräts setzt unseres nach Satz {} nicht fort: es wird abgewiesen, nichts geht verloren; siehe `understudy branches` auf dem, das dient",
    ),
    (
        "the peer refuses our log: it does not continue its own after record {}; nothing is thrown away, see `understudy branches` on the one that serves",
        "das andere Gerät weist unser Log ab: es setzt seines nach Satz {} nicht fort; nichts geht verloren, siehe `understudy branches` auf dem, das dient",
    ),
    (
        "the peer speaks version {} of the pair's protocol, this appliance version {}: bring both to the same release",
        "das andere Gerät spricht Fassung {} des Paarprotokolls, dieses {}: beide auf dieselbe Version bringen",
    ),
    (
        "the other appliance runs another release and does not say what its file says: bring both to the same",
        "das andere Gerät hat eine andere Version und sagt nicht, was in seiner Datei steht: beide auf dieselbe bringen",
    ),
    (
        "the configuration files of the two appliances disagree: {}; make them equal and start both anew",
        "die Konfigurationen der beiden Geräte widersprechen sich: {}; gleich machen und beide neu starten",
    ),
    ("{} is {} here and missing there", "{} ist hier {} und fehlt dort"),
    ("{} is missing here and {} there", "{} fehlt hier und ist dort {}"),
    ("{} is {} here and {} there", "{} ist hier {} und dort {}"),
    ("and {} more", "und {} weitere"),
    (
        "a section stands there another number of times than here",
        "ein Abschnitt steht dort nicht so oft wie hier",
    ),
    // The witness, as a node meets it.
    ("the witness did not answer in time", "der Zeuge hat nicht rechtzeitig geantwortet"),
    ("no connection came about in time", "keine Verbindung kam rechtzeitig zustande"),
    ("the witness refuses us: {}", "der Zeuge weist uns ab: {}"),
    (
        "what answers there shows the pin {}, and [pair.witness] expects the pin {}: compare it with what `understudy witness init` prints there",
        "was dort antwortet, zeigt den Pin {}, und [pair.witness] erwartet {}: vergleichen, was `understudy witness init` dort ausgibt",
    ),
    (
        "the witness refuses our certificate: see its log",
        "der Zeuge weist unser Zertifikat ab: siehe dort das Log",
    ),
    ("what answers there is no witness", "was dort antwortet, ist kein Zeuge"),
    // Addresses.
    ("{} uses our vrid, too, but {}", "{} benutzt auch unsere vrid, aber {}"),
    ("for other addresses", "für andere Adressen"),
    ("in the other version of the protocol", "in der anderen Version des Protokolls"),
    ("with another pause between adverts", "mit anderem Abstand der Adverts"),
    ("with another password", "mit anderem Kennwort"),
    ("{} advertises our addresses with priority {}", "{} meldet unsere Adressen mit Priorität {}"),
    (
        "the origin is gone: `understudy address claim {}`?",
        "der Ursprung ist fort: `understudy address claim {}`?",
    ),
    (
        "there is no interface of this name; check `interface` in [[vrrp]]",
        "keine Schnittstelle heißt so; `interface` in [[vrrp]] prüfen",
    ),
    (
        "the interface is down; `ip link set <interface> up`",
        "die Schnittstelle ist aus; `ip link set <interface> up`",
    ),
    (
        "the interface has no carrier; check its cable and switch port",
        "die Schnittstelle hat keinen Träger; Kabel und Switch-Port prüfen",
    ),
    ("the tracking command has not run yet", "das Prüfprogramm lief noch nicht"),
    ("the tracking command cannot run: {}", "das Prüfprogramm kann nicht laufen: {}"),
    ("the tracking command failed: {}", "das Prüfprogramm meldet einen Fehler: {}"),
    ("the tracking command took longer than {} ms", "das Prüfprogramm brauchte länger als {} ms"),
    // A full copy.
    ("the session with the peer ended", "die Sitzung mit dem anderen Gerät ist zu Ende"),
    ("the peer refuses it: {}", "das andere Gerät nimmt sie nicht: {}"),
    // Updates.
    ("the update to {} was stopped: {}", "das Update auf {} wurde angehalten: {}"),
    // Why the last move.
    ("handover", "Handover"),
    ("resumed", "wieder aufgenommen"),
    ("an operator said so", "ein Mensch hat es gesagt"),
    ("an orderly stop", "ein geordnetes Anhalten"),
    ("no peer is configured", "es ist kein anderes Gerät eingerichtet"),
    ("the witness knows no later reign", "der Zeuge kennt keine spätere Epoche"),
    (
        "this node was alone before and nobody leads",
        "dieser Knoten war zuvor allein, und niemand führt",
    ),
    ("elected: it was part of the later reign", "gewählt: er gehörte zur späteren Epoche"),
    ("the primary is gone", "der Primary ist fort"),
    ("the primary's process has ended", "der Prozess des Primary ist zu Ende"),
];

/// The sentence in German, where it is known.
pub(super) fn german(text: &str) -> String {
    translate(text, DEPTH_MAX)
}

fn translate(text: &str, depth: usize) -> String {
    let Some(depth) = depth.checked_sub(1) else { return text.to_owned() };
    for (english, german) in SENTENCES {
        if let Some(words) = fill(english, text) {
            let mut words = words.into_iter();
            let mut parts = german.split("{}");
            let mut out = parts.next().unwrap_or_default().to_owned();
            for part in parts {
                out.push_str(&translate(words.next().unwrap_or_default(), depth));
                out.push_str(part);
            }
            return out;
        }
    }
    match text.split_once("; ") {
        Some((first, rest)) => format!("{}; {}", translate(first, depth), translate(rest, depth)),
        None => text.to_owned(),
    }
}

/// What stands for each `{}` of `template` in `text`; `None` where they do not fit.
fn fill<'a>(template: &str, text: &'a str) -> Option<Vec<&'a str>> {
    let mut parts = template.split("{}");
    let mut rest = text.strip_prefix(parts.next()?)?;
    let mut words = Vec::new();
    let mut parts = parts.peekable();
    while let Some(part) = parts.next() {
        let (word, after) = if parts.peek().is_none() {
            (rest.strip_suffix(part)?, "")
        } else {
            rest.split_once(part)?
        };
        words.push(word);
        rest = after;
    }
    rest.is_empty().then_some(words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    /// Where the sentences are made.
    const SOURCES: &[&str] = &[
        "src/app/report.rs",
        "src/pair/agreement.rs",
        "src/pair/link/refusal.rs",
        "src/pair/driver/refusals.rs",
        "src/pair/driver/run.rs",
        "src/pair/resync/sending.rs",
        "src/pair/witness/client.rs",
        "src/vrrp/interface.rs",
        "src/vrrp/router.rs",
        "src/vrrp/track.rs",
        "crates/proto/src/pair/machine.rs",
        "crates/proto/src/pair/primary.rs",
        "crates/proto/src/pair/recovering.rs",
        "crates/proto/src/pair/standby.rs",
    ];

    /// A source's text before its tests: broken strings joined, what is filled in as `{}`.
    fn source(name: &str) -> String {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
        let text = std::fs::read_to_string(path).unwrap();
        let text = text.split("mod tests").next().unwrap();
        let mut joined = String::new();
        let mut lines = text.split("\\\n");
        joined.push_str(lines.next().unwrap());
        for line in lines {
            joined.push_str(line.trim_start());
        }
        let mut out = String::new();
        for (i, piece) in joined.split('{').enumerate() {
            match piece.split_once('}') {
                Some((hole, rest)) if i > 0 && !hole.contains(['\n', '"', '(']) => {
                    out.push_str("{}");
                    out.push_str(rest);
                }
                _ => {
                    out.push_str(if i > 0 { "{" } else { "" });
                    out.push_str(piece);
                }
            }
        }
        out.replace("{}{}", "{}")
    }

    #[test]
    fn every_sentence_is_made_somewhere() {
        let sources: Vec<String> = SOURCES.iter().map(|name| source(name)).collect();
        let known = |english: &str| sources.iter().any(|source| source.contains(english));
        let unknown: Vec<_> = SENTENCES.iter().map(|s| s.0).filter(|s| !known(s)).collect();
        assert!(unknown.is_empty(), "nothing says these any more: {unknown:#?}");
        for (english, german) in SENTENCES {
            assert_eq!(english.matches("{}").count(), german.matches("{}").count(), "{english}");
        }
    }

    #[test]
    fn every_sentence_of_the_pair_has_its_german() {
        let mut checked = 0;
        for name in ["src/app/report.rs", "src/pair/link/refusal.rs", "src/pair/driver/refusals.rs"]
        {
            // Strings are the odd pieces; comments have none, nor do these files escape quotes.
            for literal in source(name).split('"').skip(1).step_by(2) {
                if literal.len() > 45 && literal.contains(' ') {
                    let text = literal.replace("{}", "X");
                    assert_ne!(german(&text), text, "{name}: no German for {text:?}");
                    checked += 1;
                }
            }
        }
        assert!(checked > 15, "only {checked}");
        for name in ["recovering", "standby"] {
            let text = source(&format!("crates/proto/src/pair/{name}.rs"));
            for call in text.split("record_reign(\"").skip(1) {
                let reason = call.split('"').next().unwrap();
                assert_ne!(german(reason), reason, "no German for {reason:?}");
            }
        }
    }

    #[test]
    fn sentences_in_sentences_are_translated() {
        let english =
            "two histories after record 7: this appliance holds changes that the peer lacks";
        assert!(german(english).starts_with("zwei Verläufe nach Eintrag 7: "));
        assert_eq!(
            german("vrid 7 on eth0: 10.0.0.9 uses our vrid, too, but with another password"),
            "vrid 7 an eth0: 10.0.0.9 benutzt auch unsere vrid, aber mit anderem Kennwort"
        );
        assert_eq!(
            german(
                "the configuration files of the two appliances disagree: [pair] lease_ms is 75 \
                 here and 80 there; [[vrrp]] vrid 7 is missing here and x there; and 3 more; make \
                 them equal and start both anew"
            ),
            "die Konfigurationen der beiden Geräte widersprechen sich: [pair] lease_ms ist hier 75 \
             und dort 80; [[vrrp]] vrid 7 fehlt hier und ist dort x; und 3 weitere; gleich machen \
             und beide neu starten"
        );
        assert_eq!(german("what nobody has written"), "what nobody has written");
    }

    proptest::proptest! {
        #[test]
        fn no_text_breaks_it(text in "[a-z; {}]{0,200}") {
            proptest::prop_assert!(german(&text).len() < 4_000);
        }
    }
}
