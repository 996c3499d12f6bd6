//! Walks the parsed file: values with their lines, and everything that is wrong with them.
//!
//! Invariants: a problem never ends the reading; unknown keys and wrong types are said once, by
//! [`Reader::new`], and their values are then as if absent. Absent on purpose: what values mean.

use super::SiteError;
use super::keys::{Kind, SECTIONS, SETTINGS, Section};
use crate::config::similar;
use crate::ops::status::Language;
use std::ops::Range;
use toml::de::{DeTable, DeValue};

/// Most problems that one reading keeps.
const ERRORS_MAX: usize = 40;
/// Longest part of a wrong value that is shown, in characters.
const SHOWN_MAX: usize = 60;

/// A value and the line that it stands in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) line: Option<usize>,
}

/// The file, and what is wrong with it so far.
pub(super) struct Reader<'t> {
    text: &'t str,
    table: DeTable<'t>,
    language: Language,
    errors: Vec<SiteError>,
}

impl<'t> Reader<'t> {
    /// Parses `text` and checks the name and the type of every key.
    pub(super) fn new(text: &'t str) -> Self {
        let (table, syntax) = DeTable::parse_recoverable(text);
        let mut reader = Self {
            text,
            table: table.into_inner(),
            language: language_of(text),
            errors: Vec::new(),
        };
        for error in &syntax {
            reader.syntax(error.span(), error.message());
        }
        if syntax.is_empty() {
            reader.check();
        }
        reader
    }

    /// Whether nothing was wrong so far.
    pub(super) fn is_right(&self) -> bool {
        self.errors.is_empty()
    }

    /// What was wrong, in the order of the file.
    pub(super) fn into_errors(mut self) -> Vec<SiteError> {
        self.errors.sort_by_key(|e| e.line);
        self.errors.dedup();
        self.errors
    }

    /// The language that the file asks for.
    pub(super) const fn language(&self) -> Language {
        self.language
    }

    /// Something is wrong at `line`; both texts say what, and what to do.
    pub(super) fn error(
        &mut self,
        line: Option<usize>,
        en: impl Into<String>,
        de: impl Into<String>,
    ) {
        if self.errors.len() < ERRORS_MAX {
            let (en, de) = (en.into(), de.into());
            self.errors.push(SiteError { line, language: self.language, en, de });
        }
    }

    /// Whether the file has that section.
    pub(super) fn has(&self, section: &str) -> bool {
        self.table.get(section).is_some()
    }

    /// The line of `key`; of its section, where the key is absent.
    pub(super) fn line(&self, section: &str, key: &str) -> Option<usize> {
        if section.is_empty() {
            return Some(self.line_at(self.table.get_key_value(key)?.0.span().start));
        }
        let (name, value) = self.table.get_key_value(section)?;
        let inner = value.get_ref().as_table().and_then(|table| table.get_key_value(key));
        Some(self.line_at(inner.map_or_else(|| name.span().start, |(k, _)| k.span().start)))
    }

    /// The line of the deepest of `path` that is in the file.
    pub(super) fn line_of_path(&self, path: &[String]) -> Option<usize> {
        let (mut table, mut found) = (&self.table, None);
        for name in path {
            let Some((key, value)) = table.get_key_value(name.as_str()) else { break };
            found = Some(self.line_at(key.span().start));
            let inner = match value.get_ref() {
                DeValue::Array(items) => items.iter().next().and_then(|i| i.get_ref().as_table()),
                other => other.as_table(),
            };
            let Some(inner) = inner else { break };
            table = inner;
        }
        found
    }

    /// The text of `key`.
    pub(super) fn text(&self, section: &str, key: &str) -> Option<At<String>> {
        let (value, line) = self.value(section, key)?;
        Some(At { value: value.as_str()?.to_owned(), line })
    }

    /// Where the value of a top key stands in the text, quotes and all.
    pub(super) fn span(&self, key: &str) -> Option<Range<usize>> {
        self.table.get(key).map(toml::Spanned::span)
    }

    /// The text of `key`, which must be there.
    pub(super) fn needed(&mut self, section: &str, key: &str) -> Option<At<String>> {
        let found = self.text(section, key);
        if found.is_none() && self.is_absent(section, key) {
            let (line, shown) = (self.line(section, key), title(section, key));
            let example = example(section, key);
            self.error(
                line,
                format!("{shown} is missing: write it, as in {key} = {example}"),
                format!("{shown} fehlt: hinschreiben, etwa {key} = {example}"),
            );
        }
        found
    }

    /// The texts of `key`: those of a list, or one alone.
    pub(super) fn texts(&self, section: &str, key: &str) -> Vec<At<String>> {
        let Some((value, line)) = self.value(section, key) else { return Vec::new() };
        match value {
            DeValue::Array(items) => items
                .iter()
                .filter_map(|item| {
                    let line = Some(self.line_at(item.span().start));
                    Some(At { value: item.get_ref().as_str()?.to_owned(), line })
                })
                .collect(),
            value => value.as_str().map(|s| At { value: s.to_owned(), line }).into_iter().collect(),
        }
    }

    /// The number of `key`, within `range`.
    pub(super) fn number(
        &mut self,
        section: &str,
        key: &str,
        least: u16,
        most: u16,
    ) -> Option<u16> {
        let (value, line) = self.value(section, key)?;
        let text = value.as_integer()?.to_string();
        let number = text.parse().ok().filter(|n| (least..=most).contains(n));
        if number.is_none() {
            let shown = title(section, key);
            self.error(
                line,
                format!("{shown} is {text}: it must be {least} to {most}"),
                format!("{shown} ist {text}: richtig ist {least} bis {most}"),
            );
        }
        number
    }

    /// Whether the file does not have `key` at all, not even with a value of a wrong type.
    pub(super) fn is_absent(&self, section: &str, key: &str) -> bool {
        self.value(section, key).is_none()
    }

    fn value(&self, section: &str, key: &str) -> Option<(&DeValue<'t>, Option<usize>)> {
        let table = match section {
            "" => &self.table,
            name => self.table.get(name)?.get_ref().as_table()?,
        };
        let value = table.get(key)?;
        Some((value.get_ref(), Some(self.line_at(value.span().start))))
    }

    fn line_at(&self, at: usize) -> usize {
        self.text.get(..at).unwrap_or(self.text).matches('\n').count() + 1
    }

    fn syntax(&mut self, span: Option<Range<usize>>, message: &str) {
        let line = span.map(|span| self.line_at(span.start));
        let content = line.and_then(|n| self.text.lines().nth(n - 1)).unwrap_or_default();
        if content.contains(['\u{201c}', '\u{201d}', '\u{201e}', '\u{ab}', '\u{bb}']) {
            self.error(
                line,
                "the quotes are typographic ones: write straight ones (\")",
                "die Anführungszeichen sind typografische: gerade schreiben (\")",
            );
            return;
        }
        let message = message.replace('\n', "; ");
        self.error(
            line,
            format!(
                "this line cannot be read ({message}): write key = \"text\", key = 1 or \
                 key = [\"text\", \"text\"]"
            ),
            format!(
                "diese Zeile ist nicht zu lesen ({message}): richtig ist name = \"text\", \
                 name = 1 oder name = [\"text\", \"text\"]"
            ),
        );
    }

    /// Names and types of all keys.
    fn check(&mut self) {
        let mut found = Vec::new();
        for (key, value) in &self.table {
            let (name, line) = (key.get_ref().as_ref(), self.line_at(key.span().start));
            if let Some(doc) = SECTIONS.iter().find(|s| s.name == name && !name.is_empty()) {
                match value.get_ref().as_table() {
                    Some(_) if name == SETTINGS => {}
                    Some(table) => {
                        for (key, value) in table {
                            let line = self.line_at(key.span().start);
                            found.extend(fault(doc, key.get_ref(), value.get_ref(), line));
                        }
                    }
                    None => found.push((
                        line,
                        format!("`{name}` is a section: write [{name}] and its keys below"),
                        format!(
                            "`{name}` ist ein Abschnitt: [{name}] schreiben, die Namen darunter"
                        ),
                    )),
                }
            } else if let Some(top) = SECTIONS.first() {
                found.extend(fault(top, name, value.get_ref(), line));
            }
        }
        for (line, en, de) in found {
            self.error(Some(line), en, de);
        }
    }
}

/// What is wrong with the name or the type of a key in `section`.
fn fault(
    section: &Section,
    name: &str,
    value: &DeValue<'_>,
    line: usize,
) -> Option<(usize, String, String)> {
    let Some(key) = section.keys.iter().find(|k| k.name == name) else {
        let (en, de) = unknown(section, name, value.is_table());
        return Some((line, en, de));
    };
    let is_text = |v: &DeValue<'_>| v.as_str().is_some();
    let (fits, en, de) = match key.kind {
        Kind::Text => (is_text(value), "a text in quotes", "ein Text in Anführungszeichen"),
        Kind::Number => (
            value.as_integer().is_some(),
            "a whole number without quotes",
            "eine ganze Zahl ohne Anführungszeichen",
        ),
        Kind::Texts => (
            match value {
                DeValue::Array(items) => items.iter().all(|item| is_text(item.get_ref())),
                value => is_text(value),
            },
            "a list of texts in quotes",
            "eine Liste von Texten in Anführungszeichen",
        ),
    };
    if fits {
        return None;
    }
    let (shown, example) = (title(section.name, name), key.example);
    Some((
        line,
        format!("{shown} must be {en}, as in {name} = {example}"),
        format!("{shown} muss {de} sein, etwa {name} = {example}"),
    ))
}

fn unknown(section: &Section, name: &str, is_section: bool) -> (String, String) {
    let known = section.keys.iter().map(|k| k.name);
    let sections =
        SECTIONS.iter().map(|s| s.name).filter(|s| section.name.is_empty() && !s.is_empty());
    let guess = similar(name, known.chain(sections));
    let home = SECTIONS.iter().find(|s| s.keys.iter().any(|k| k.name == name));
    let (en, de) = match (guess, home) {
        (Some(guess), _) => (format!("did you mean `{guess}`?"), format!("ist `{guess}` gemeint?")),
        (None, Some(Section { name: "", .. })) => (
            "it belongs at the top, before the first [section]".to_owned(),
            "es gehört an den Anfang, vor den ersten [Abschnitt]".to_owned(),
        ),
        (None, Some(home)) => {
            (format!("it belongs in [{}]", home.name), format!("es gehört in [{}]", home.name))
        }
        (None, None) => (
            "`understudy site-config example` shows all of them; settings of understudy.toml \
             belong in [settings]"
                .to_owned(),
            "`understudy site-config example` zeigt alle; Einstellungen von understudy.toml \
             gehören in [settings]"
                .to_owned(),
        ),
    };
    let place =
        if section.name.is_empty() { String::new() } else { format!(" in [{}]", section.name) };
    let name = shorten(name);
    let (what_en, what_de) =
        if is_section { ("section", "unbekannter Abschnitt") } else { ("key", "unbekannter Name") };
    (format!("unknown {what_en} `{name}`{place}; {en}"), format!("{what_de} `{name}`{place}; {de}"))
}

/// How a key is called in messages.
pub(super) fn title(section: &str, key: &str) -> String {
    if section.is_empty() { format!("`{key}`") } else { format!("[{section}] `{key}`") }
}

fn example(section: &str, key: &str) -> &'static str {
    let key = super::keys::section(section).and_then(|s| s.keys.iter().find(|k| k.name == key));
    key.map_or("\"...\"", |k| k.example)
}

/// The start of a wrong value, so that nothing in it can steer a screen.
pub(super) fn shorten(value: &str) -> String {
    let mut shown: String = value.chars().take(SHOWN_MAX).flat_map(char::escape_debug).collect();
    if value.chars().nth(SHOWN_MAX).is_some() {
        shown.push('…');
    }
    shown
}

/// The language that a text asks for, even one that cannot be parsed; English if none.
fn language_of(text: &str) -> Language {
    let said = text.lines().find_map(|line| {
        let rest = line.trim_start().strip_prefix("language")?;
        rest.trim_start().strip_prefix('=')
    });
    let value =
        said.map(|v| v.trim_start().trim_start_matches(['"', '\'', '\u{201e}', '\u{201c}']));
    if value.is_some_and(|v| v.starts_with("de")) { Language::De } else { Language::En }
}
