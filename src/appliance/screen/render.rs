//! The status page: facts in, lines out.
//!
//! From the top: what this is, the state in capitals on a coloured band, one sentence, what to do,
//! then mail, pair, addresses, network, disk and clock, then what else is wrong, and the keys.
//!
//! Invariants: at most the given lines and columns, whatever the facts; lists give way to each other
//! and say what they leave out. Deliberately absent: a look at the world, and the terminal.

use super::canvas::{Canvas, FIXED_BLANK, Level, Screen, Style, cut, wrap};
use super::facts::{Clock, Facts, Interface, Program};
use super::pick;
use super::verdict::{Finding, Verdict, pausing, starting, unset, verdict};
use crate::appliance::report::{DataOutcome, SiteOutcome, Slot};
use crate::base::clock;
use crate::ops::status::{AddressReport, Holder, Language, Role, State, StatusReport};

/// Columns of a row's label, with the space after it.
const LABEL: usize = 11;
/// Longest name of an interface (`IFNAMSIZ` less its end).
const NAME_MAX: usize = 15;
/// From so many lines on the band is three lines high, and the page breathes.
const TALL: usize = 32;
/// Lines that the sentence may take.
const SENTENCE_LINES: usize = 3;
/// Lines that what to do may take.
const TODO_LINES: usize = 2;
// Lines that each list is sure of, where there is much to tell.
const SURE_FLOATING: usize = 2;
const SURE_NETWORK: usize = 2;
const SURE_FINDINGS: usize = 3;

type Rows = Vec<(Style, String)>;

/// The page for a terminal of `columns` and `lines`.
#[must_use]
pub fn render(facts: &Facts, language: Language, columns: usize, lines: usize) -> Screen {
    let verdict = verdict(facts, language);
    let tall = lines >= TALL;
    let mut page = Canvas::new(columns);
    page.push(Style::Strong, &title(facts, language));
    band(&mut page, &verdict, tall);
    page.paragraph(Style::Strong, 0, &verdict.sentence, SENTENCE_LINES);
    let todo = match verdict.findings.first().filter(|_| verdict.told) {
        Some(finding) => with_page(&verdict.todo, &finding.page, language),
        None => verdict.todo.clone(),
    };
    page.paragraph(Style::Plain, 0, &todo, TODO_LINES);
    let above = mail_rows(facts, language);
    let below = machine_rows(facts, language);
    let also = verdict.findings.get(usize::from(verdict.told)..).unwrap_or_default();
    let mut floating = labelled(pick(language, "Floating", "Gleitend"), floating(facts, language));
    let mut network = labelled(pick(language, "Network", "Netz"), network(facts, language));
    let mut also: Rows = if also.is_empty() { Rows::new() } else { list(also, columns, language) };
    // One line stays for the keys.
    let fixed = page.len() + above.len() + below.len() + 1;
    let mut room = lines.saturating_sub(fixed);
    let mut shares = [
        (also.len(), SURE_FINDINGS),
        (network.len(), SURE_NETWORK),
        (floating.len(), SURE_FLOATING),
    ]
    .map(|(want, sure)| {
        let share = want.min(sure).min(room);
        room -= share;
        (want, share)
    });
    for (want, share) in &mut shares {
        let more = want.saturating_sub(*share).min(room);
        *share += more;
        room -= more;
    }
    let [(_, for_also), (_, for_network), (_, for_floating)] = shares;
    shorten(&mut also, for_also, language);
    shorten(&mut network, for_network, language);
    shorten(&mut floating, for_floating, language);
    let mut gap = |page: &mut Canvas| {
        if room > 0 {
            page.push(Style::Plain, "");
            room -= 1;
        }
    };
    gap(&mut page);
    page.extend(above);
    page.extend(floating);
    page.extend(network);
    page.extend(below);
    if !also.is_empty() {
        gap(&mut page);
    }
    page.extend(also);
    page.finish(lines, &keys(facts, language))
}

/// What this is, on one line; the menu shows it too.
pub(super) fn title(facts: &Facts, language: Language) -> String {
    let slot = facts.boot.as_ref().and_then(|b| b.slot.map(|s| (s, b.trial)));
    let slot = match slot {
        Some((slot, trial)) => {
            let trial = if trial { pick(language, " ON TRIAL", " AUF PROBE") } else { "" };
            let word = pick(language, "slot", "Slot");
            format!(" · {word} {}{trial}", letter(slot))
        }
        None => String::new(),
    };
    let minutes = facts.up_s / 60;
    let up = match (minutes / 1_440, minutes / 60 % 24) {
        (0, 0) => format!("{minutes} min"),
        (0, hours) => format!("{hours} h {} min", minutes % 60),
        (days, hours) => format!("{days} d {hours} h"),
    };
    let since = pick(language, "up", "läuft seit");
    // A long name gives way; what follows it does not.
    let name = cut(&facts.hostname, 30);
    let name = if name.is_empty() { name } else { format!(" · {name}") };
    format!("Understudy {}{name}{slot} · {since} {up}", facts.version)
}

const fn letter(slot: Slot) -> char {
    match slot {
        Slot::A => 'A',
        Slot::B => 'B',
    }
}

fn band(page: &mut Canvas, verdict: &Verdict, tall: bool) {
    let sign = match verdict.level {
        Level::Good => "[OK]",
        Level::Wait => "[..]",
        Level::Attention => "[!!]",
        Level::Bad => "[XX]",
    };
    let mut spaced = String::new();
    for c in verdict.word.chars() {
        spaced.push(' ');
        spaced.push(c);
    }
    let style = Style::Band(verdict.level);
    if tall {
        page.push(style, "");
    }
    page.push(style, &format!(" {sign}  {spaced}"));
    if tall {
        page.push(style, "");
    }
}

fn row(label: &str, text: &str) -> String {
    format!("{label:<width$} {text}", width = LABEL - 1)
}

/// The first line with the label, the others below it.
fn labelled(label: &str, lines: Rows) -> Rows {
    let mut label = label;
    lines.into_iter().map(|(style, text)| (style, row(std::mem::take(&mut label), &text))).collect()
}

/// Keeps `room` lines; the last then counts what is left out.
fn shorten(rows: &mut Rows, room: usize, language: Language) {
    if rows.len() <= room {
        return;
    }
    let kept = room.saturating_sub(1);
    let left = rows.len() - kept;
    rows.truncate(kept);
    if room > 0 {
        let more = pick(language, "more lines", "weitere Zeilen");
        rows.push((Style::Plain, row("", &format!("... {left} {more}"))));
    }
}

fn with_page(todo: &str, page: &str, language: Language) -> String {
    format!("{todo} ({}:{FIXED_BLANK}{page})", pick(language, "page", "Seite"))
}

/// Whether mail is served, by whom, and how safely.
fn mail_rows(facts: &Facts, language: Language) -> Rows {
    let Some(report) = facts.status() else { return silent_rows(facts, language) };
    let mut rows =
        vec![mail_row(report, language), pair_row(report, language), rpo_row(report, language)];
    if report.node.is_some() {
        rows.push(witness_row(report, language));
    }
    rows
}

fn silent_rows(facts: &Facts, language: Language) -> Rows {
    let (style, mail) = match facts.program {
        _ if pausing(facts) && !starting(facts) && !unset(facts) && !facts.locked() => {
            (Style::Plain, pick(language, "no answer at this moment", "gerade keine Antwort"))
        }
        Program::Stuck => (
            Style::Bad,
            pick(
                language,
                "not known: the mail program does not answer",
                "unbekannt: das Mailprogramm antwortet nicht",
            ),
        ),
        _ if starting(facts) && !unset(facts) => {
            (Style::Plain, pick(language, "not yet: it is starting", "noch nicht: es startet"))
        }
        _ => (
            Style::Warn,
            pick(
                language,
                "NOT SERVED HERE: the mail program does not run",
                "HIER NICHT BEDIENT: das Mailprogramm läuft nicht",
            ),
        ),
    };
    let pair = if unset(facts) {
        pick(language, "none yet: this appliance is not set up", "noch keines: nicht eingerichtet")
    } else {
        pick(
            language,
            "not known here; the other appliance's screen may say more",
            "hier unbekannt; der Schirm des anderen Geräts kann mehr sagen",
        )
    };
    vec![
        (style, row(pick(language, "Mail", "Post"), mail)),
        (Style::Plain, row(pick(language, "Pair, RPO", "Paar, RPO"), pair)),
    ]
}

fn mail_row(report: &StatusReport, language: Language) -> (Style, String) {
    let (style, who) = match (report.role, report.state) {
        (_, State::Recovering) | (Role::None, _) => (
            Style::Bad,
            pick(language, "NOT SERVED by this appliance", "von diesem Gerät NICHT bedient"),
        ),
        (Role::Primary, _) => (Style::Plain, pick(language, "served here", "hier bedient")),
        (Role::Standby, _) => {
            (Style::Plain, pick(language, "served by the peer", "vom anderen Gerät bedient"))
        }
    };
    let s = report.sessions;
    let text = format!(
        "{who} · SMTP {}, Subm. {}, IMAP {} · {} {}",
        s.smtp,
        s.submission,
        s.imap,
        pick(language, "queue", "Ausgang"),
        report.queue_depth
    );
    (style, row(pick(language, "Mail", "Post"), &text))
}

fn pair_row(report: &StatusReport, language: Language) -> (Style, String) {
    let label = pick(language, "Pair", "Paar");
    let Some(node) = report.node else {
        let alone = pick(language, "none: this appliance stands alone", "keines: ein Gerät allein");
        return (Style::Plain, row(label, alone));
    };
    let role = match report.role {
        Role::Primary => "Primary",
        Role::Standby => "Standby",
        Role::None => pick(language, "no role", "keine Rolle"),
    };
    let insync: Vec<String> = report.insync.iter().map(ToString::to_string).collect();
    let lag = match report.lag {
        Some(lag) => format!("{} {}", lag.records, pick(language, "behind", "zurück")),
        None => pick(language, "lag unknown", "Rückstand ?").to_owned(),
    };
    let text = format!(
        "{} · {role} · {} {node} · {} {} · {} {} · {lag}",
        report.state,
        pick(language, "node", "Knoten"),
        pick(language, "epoch", "Epoche"),
        report.epoch,
        pick(language, "in sync", "gleichauf"),
        insync.join("+"),
    );
    let style = if matches!(report.state, State::Pair) { Style::Plain } else { Style::Warn };
    (style, row(label, &text))
}

fn rpo_row(report: &StatusReport, language: Language) -> (Style, String) {
    let (style, text) = match (report.rpo_zero, report.state) {
        (true, _) => (
            Style::Plain,
            pick(
                language,
                "yes: losing one appliance loses nothing",
                "ja: ein Gerät darf ausfallen, nichts geht verloren",
            ),
        ),
        (false, State::Standalone) => {
            (Style::Plain, pick(language, "no: there is one appliance", "nein: nur ein Gerät"))
        }
        (false, _) => (
            Style::Warn,
            pick(
                language,
                "NO: there is no second copy of what comes in now",
                "NEIN: was jetzt eingeht, hat keine zweite Kopie",
            ),
        ),
    };
    (style, row("RPO 0", text))
}

fn witness_row(report: &StatusReport, language: Language) -> (Style, String) {
    let label = pick(language, "Witness", "Zeuge");
    match &report.witness {
        None => (Style::Plain, row(label, pick(language, "none", "keiner"))),
        Some(w) if w.reachable => {
            let text = format!("{} {}", w.address, pick(language, "answers", "antwortet"));
            (Style::Plain, row(label, &text))
        }
        Some(w) => {
            let silent = pick(language, "DOES NOT ANSWER", "ANTWORTET NICHT");
            (Style::Warn, row(label, &format!("{} {silent}", w.address)))
        }
    }
}

fn floating(facts: &Facts, language: Language) -> Rows {
    let Some(report) = facts.status() else { return Rows::new() };
    if report.addresses.is_empty() {
        return vec![(Style::Plain, pick(language, "none", "keine").to_owned())];
    }
    let name = width(report.addresses.iter().map(|a| a.interface.as_str()));
    let show = |a: &AddressReport| {
        let (style, holder) = match &a.holder {
            Holder::Here => (Style::Plain, pick(language, "held here", "hier gehalten").to_owned()),
            Holder::Other(who) => {
                (Style::Plain, format!("{} {who}", pick(language, "held by", "gehalten von")))
            }
            Holder::Nobody => {
                (Style::Bad, pick(language, "HELD BY NOBODY", "VON NIEMANDEM GEHALTEN").to_owned())
            }
        };
        (style, format!("{:<20} {:<name$}  {holder}", a.address, cut(&a.interface, name)))
    };
    report.addresses.iter().map(show).collect()
}

fn network(facts: &Facts, language: Language) -> Rows {
    if facts.interfaces.is_empty() {
        let none = pick(language, "NO INTERFACE FOUND", "KEINE SCHNITTSTELLE GEFUNDEN");
        return vec![(Style::Bad, none.to_owned())];
    }
    let floating: Vec<&str> = facts
        .status()
        .map_or(Vec::new(), |s| s.addresses.iter().map(|a| a.address.as_str()).collect());
    let name = width(facts.interfaces.iter().map(|i| i.name.as_str()));
    let show = |i: &Interface| {
        let (style, link) = match (i.on, i.carrier) {
            (false, _) => (Style::Plain, pick(language, "off", "aus").to_owned()),
            (true, false) => (Style::Bad, pick(language, "NO LINK", "KEIN LINK").to_owned()),
            (true, true) => match i.speed {
                Some(speed) => (Style::Plain, format!("Link {speed} Mbit/s")),
                None => (Style::Plain, "Link".to_owned()),
            },
        };
        let own = i.addresses.iter().filter(|a| !floating.contains(&a.as_str()));
        let addresses: Vec<String> = own.map(|a| role_of(a, facts, language)).collect();
        (style, format!("{:<name$}  {link:<17} {}", cut(&i.name, name), addresses.join(", ")))
    };
    facts.interfaces.iter().map(show).collect()
}

/// Columns that the longest of `names` takes, within bounds.
fn width<'a>(names: impl Iterator<Item = &'a str>) -> usize {
    names.map(|n| n.chars().count()).max().unwrap_or(0).clamp(6, NAME_MAX)
}

fn role_of(address: &str, facts: &Facts, language: Language) -> String {
    let bare = address.split('/').next().unwrap_or_default();
    let mut text = address.to_owned();
    if facts.service.iter().any(|s| s == bare) {
        text += pick(language, " (mail)", " (Post)");
    }
    if facts.management.as_deref() == Some(bare) {
        text += pick(language, " (management)", " (Verwaltung)");
    }
    text
}

/// The disk, the clock, and the slot while it is on trial.
fn machine_rows(facts: &Facts, language: Language) -> Rows {
    let mut rows = vec![data_row(facts, language)];
    let now: String = clock::rfc3339(facts.now).chars().take(19).collect();
    let now = now.replace('T', " ");
    let (style, set) = match facts.clock {
        Clock::Set { ago_s } => {
            let minutes = ago_s / 60;
            let text = match language {
                Language::En => format!("set by a time server {minutes} min ago"),
                Language::De => format!("vor {minutes} min vom Zeitserver gestellt"),
            };
            (Style::Plain, text)
        }
        Clock::Unset => {
            let text = pick(language, "NOT SET by a time server", "von KEINEM Zeitserver gestellt");
            (Style::Warn, text.to_owned())
        }
    };
    rows.push((style, row(pick(language, "Clock", "Uhr"), &format!("{now} UTC · {set}"))));
    let site = match facts.boot.as_ref().map(|b| b.site) {
        Some(SiteOutcome::Taken) => pick(
            language,
            "was changed and is in force: nothing was set up yet",
            "wurde geändert und gilt: es war noch nichts eingerichtet",
        ),
        Some(SiteOutcome::Trial) => pick(
            language,
            "the changed network is ON TRIAL: r, then 4 keeps it",
            "das geänderte Netz läuft AUF PROBE: r, dann 4 behält es",
        ),
        _ => "",
    };
    if !site.is_empty() {
        rows.push((Style::Warn, row("site.toml", site)));
    }
    if let Some((slot, true)) = facts.boot.as_ref().and_then(|b| b.slot.map(|s| (s, b.trial))) {
        let (this, other) = (letter(slot), letter(slot.other()));
        let text = match language {
            Language::En => format!("slot {this} is on trial; if it fails, slot {other} returns"),
            Language::De => {
                format!("Slot {this} läuft auf Probe; taugt er nicht, kehrt Slot {other} zurück")
            }
        };
        rows.push((Style::Warn, row("Update", &text)));
    }
    rows
}

fn data_row(facts: &Facts, language: Language) -> (Style, String) {
    let label = pick(language, "Data disk", "Daten");
    let (mut style, what) = match facts.boot.as_ref().map(|b| &b.data) {
        None => (Style::Plain, pick(language, "not known yet", "noch unbekannt").to_owned()),
        Some(DataOutcome::Mounted { what }) => (Style::Plain, what.clone()),
        Some(DataOutcome::Locked) if facts.disk.is_none() => {
            (Style::Warn, pick(language, "LOCKED (key u)", "VERSCHLOSSEN (Taste u)").to_owned())
        }
        Some(DataOutcome::New) if facts.disk.is_none() => (
            Style::Warn,
            pick(language, "NEW, no passphrase yet", "NEU, ohne Passphrase").to_owned(),
        ),
        Some(DataOutcome::Locked | DataOutcome::New) => {
            (Style::Plain, pick(language, "unlocked", "aufgeschlossen").to_owned())
        }
        Some(DataOutcome::Absent) => (Style::Bad, pick(language, "NONE", "KEINE").to_owned()),
    };
    if facts.lost() {
        let text = pick(language, "FAILED or pulled out", "AUSGEFALLEN oder gezogen");
        return (Style::Bad, row(label, text));
    }
    let room = facts.disk.map(|disk| {
        let used = disk.used_percent();
        if used >= 90 {
            style = Style::Warn;
        }
        let free = size(disk.free);
        let (of, gone) = (pick(language, "free", "frei"), pick(language, "used", "belegt"));
        format!(" · {used} % {gone}, {free} {of}")
    });
    // How full it is must stay to be seen, however long its name is.
    let room = room.unwrap_or_default();
    (style, row(label, &format!("{}{room}", cut(&what, 44))))
}

/// `931 GiB`.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["MiB", "GiB", "TiB", "PiB"];
    let mut value = bytes >> 20;
    let mut units = UNITS.iter();
    let mut unit = units.next().copied().unwrap_or_default();
    while value >= 10_000 {
        let Some(next) = units.next() else { break };
        (value, unit) = (value >> 10, next);
    }
    format!("{value} {unit}")
}

/// What else is wrong, each with what to do.
fn list(findings: &[Finding], columns: usize, language: Language) -> Rows {
    let count = findings.len();
    let head = pick(language, "Also wrong", "Außerdem nicht in Ordnung");
    let mut rows = vec![(Style::Strong, format!("{head} ({count}):"))];
    for finding in findings {
        let (style, sign) = match finding.level {
            Level::Bad => (Style::Bad, "[XX]"),
            _ => (Style::Warn, "[!!]"),
        };
        let width = columns.saturating_sub(5);
        let mut sign = sign;
        for line in wrap(&finding.what, width, 3) {
            rows.push((style, format!("{sign:<4} {line}")));
            sign = "";
        }
        let todo = with_page(&finding.todo, &finding.page, language);
        rows.extend(wrap(&todo, width, 2).into_iter().map(|l| (Style::Plain, format!("     {l}"))));
    }
    rows
}

fn keys(facts: &Facts, language: Language) -> String {
    let unlock = if facts.is_new() {
        pick(language, "[u] set a passphrase  ", "[u] Passphrase setzen  ")
    } else if facts.locked() {
        pick(language, "[u] unlock the disk  ", "[u] Platte aufschließen  ")
    } else {
        ""
    };
    let other = pick(language, "[l] Deutsch", "[l] English");
    let menu = pick(language, "[r] recovery menu", "[r] Notfallmenü");
    let draw = pick(language, "[space] redraw", "[Leertaste] neu zeichnen");
    format!("{unlock}{other}  {menu}  {draw}")
}
