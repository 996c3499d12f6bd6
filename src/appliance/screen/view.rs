//! The recovery menu, as lines.
//!
//! Invariants: those of the page: it fits, both languages say the same, nothing hostile passes. What
//! is typed is never shown, not even as stars.

use super::action::{ALL, Action, Outcome};
use super::canvas::{Canvas, Screen, Style, harmless, wrap};
use super::facts::Facts;
use super::menu::{Menu, Mode};
use super::pick;
use super::render::{render, title};
use crate::ops::status::Language;
use understudy_proto::time::Mono;

/// Lines that a paragraph may take.
const PARAGRAPH: usize = 4;

/// What the terminal shows: the page, or where the menu stands.
#[must_use]
pub fn view(
    facts: &Facts,
    menu: &Menu,
    language: Language,
    (columns, lines): (usize, usize),
    now: Mono,
) -> Screen {
    let mut page = Canvas::new(columns);
    page.push(Style::Strong, &title(facts, language));
    page.push(Style::Plain, "");
    let back = pick(language, "[Esc] back", "[Esc] zurück");
    let any = pick(language, "[any key] back", "[beliebige Taste] zurück");
    let last = match menu.mode() {
        Mode::Page => return render(facts, language, columns, lines),
        Mode::Off => {
            off(&mut page, language);
            any
        }
        Mode::Code | Mode::Checking => {
            code(&mut page, menu, language, now);
            back
        }
        Mode::List => {
            list(&mut page, menu, language);
            pick(
                language,
                "[1]-[9] or arrows and Enter  [F2] Deutsch  [Esc] close",
                "[1]-[9] oder Pfeile und Enter  [F2] English  [Esc] schließen",
            )
        }
        Mode::Confirm(action) => {
            heading(&mut page, *action, language);
            page.push(Style::Plain, "");
            page.push(Style::Strong, pick(language, "Do it?", "Ausführen?"));
            pick(language, "[y] yes  [any other key] no", "[j] ja  [jede andere Taste] nein")
        }
        Mode::Passphrase => {
            heading(&mut page, Action::Unlock, language);
            pick(language, "[Enter] unlock  [Esc] back", "[Enter] aufschließen  [Esc] zurück")
        }
        Mode::First => {
            heading(&mut page, Action::SetPassphrase, language);
            pick(language, "[Enter] next  [Esc] back", "[Enter] weiter  [Esc] zurück")
        }
        Mode::Again => {
            heading(&mut page, Action::SetPassphrase, language);
            page.push(Style::Plain, "");
            page.push(Style::Strong, pick(language, "Once more, please.", "Bitte noch einmal."));
            pick(language, "[Enter] set it  [Esc] back", "[Enter] setzen  [Esc] zurück")
        }
        Mode::Differs => {
            heading(&mut page, Action::SetPassphrase, language);
            page.push(Style::Plain, "");
            let text = pick(
                language,
                "The two were not the same. Nothing was done.",
                "Die beiden waren nicht gleich. Nichts wurde getan.",
            );
            page.push(Style::Bad, text);
            any
        }
        Mode::Busy(action) => {
            heading(&mut page, *action, language);
            page.push(Style::Plain, "");
            page.push(Style::Strong, pick(language, "Working ...", "In Arbeit ..."));
            pick(language, "Please wait.", "Bitte warten.")
        }
        Mode::Outcome(action, outcome) => {
            came_of(&mut page, (*action, outcome), language, (columns, lines));
            any
        }
    };
    page.finish(lines, last)
}

fn off(page: &mut Canvas, language: Language) {
    page.push(
        Style::Strong,
        pick(language, "The recovery menu is off.", "Das Notfallmenü ist abgeschaltet."),
    );
    page.push(Style::Plain, "");
    let how = pick(
        language,
        "site.toml has no recovery code. To turn the menu on, write a line such as \
         recovery_code = \"4821-9937-0142-5586\" at its top (another code), on the partition \
         UNDERSTUDY of the boot medium, and restart. The appliance keeps only a hash of it.",
        "In site.toml steht kein Notfallcode. Um das Menü einzuschalten, oben eine Zeile wie \
         recovery_code = \"4821-9937-0142-5586\" (ein anderer Code) in die Datei auf der Partition \
         UNDERSTUDY des Startmediums schreiben und neu starten. Das Gerät behält nur eine \
         Prüfsumme davon.",
    );
    page.paragraph(Style::Plain, 0, how, PARAGRAPH + 2);
}

fn code(page: &mut Canvas, menu: &Menu, language: Language, now: Mono) {
    page.push(Style::Strong, pick(language, "Recovery menu", "Notfallmenü"));
    page.push(Style::Plain, "");
    let wait = menu.blocked_s(now);
    if matches!(menu.mode(), Mode::Checking) {
        page.push(Style::Plain, pick(language, "Comparing ...", "Vergleiche ..."));
    } else if wait > 0 {
        let wrong = menu.wrong();
        let text = match language {
            Language::En => format!("That was not the code ({wrong}). Try again in {wait} s."),
            Language::De => format!("Das war nicht der Code ({wrong}). Noch {wait} s warten."),
        };
        page.push(Style::Warn, &text);
    } else {
        let text = pick(
            language,
            "Type the recovery code from site.toml and press Enter. Nothing is shown as you type.",
            "Den Notfallcode aus site.toml eingeben, dann Enter. Beim Tippen erscheint nichts.",
        );
        page.paragraph(Style::Plain, 0, text, PARAGRAPH);
    }
}

fn list(page: &mut Canvas, menu: &Menu, language: Language) {
    page.push(
        Style::Strong,
        pick(
            language,
            "Recovery menu. Each line says what it will do and asks before it does it.",
            "Notfallmenü. Jede Zeile sagt, was sie tut, und fragt, bevor sie es tut.",
        ),
    );
    page.push(Style::Plain, "");
    for (at, action) in ALL.iter().enumerate() {
        let chosen = at == menu.chosen();
        let (style, sign) = if chosen { (Style::Strong, '>') } else { (Style::Plain, ' ') };
        page.push(style, &format!("{sign} {}  {}", at + 1, action.words(language).0));
    }
}

fn heading(page: &mut Canvas, action: Action, language: Language) {
    let (name, does) = action.words(language);
    page.push(Style::Strong, name);
    page.push(Style::Plain, "");
    page.paragraph(Style::Plain, 0, does, PARAGRAPH);
}

fn came_of(
    page: &mut Canvas,
    (action, outcome): (Action, &Outcome),
    language: Language,
    (columns, lines): (usize, usize),
) {
    let (style, end) = if outcome.ok {
        (Style::Strong, pick(language, "[OK] done", "[OK] erledigt"))
    } else {
        (Style::Bad, pick(language, "[XX] NOT DONE", "[XX] NICHT ERLEDIGT"))
    };
    page.push(style, &format!("{}: {end}", action.words(language).0));
    page.push(Style::Plain, "");
    if outcome.text.expose().trim().is_empty() {
        page.push(Style::Plain, pick(language, "(it said nothing)", "(keine Ausgabe)"));
    }
    // The end of what a program says tells most.
    let room = lines.saturating_sub(page.len() + 1);
    let text = outcome.text.expose();
    let mut said: Vec<String> = Vec::new();
    for line in text.lines().rev() {
        let mut wrapped = wrap(&harmless(line), columns, PARAGRAPH);
        wrapped.truncate(room.saturating_sub(said.len()));
        said.extend(wrapped.into_iter().rev());
        if said.len() >= room {
            break;
        }
    }
    page.extend(said.into_iter().rev().map(|line| (Style::Plain, line)));
}
