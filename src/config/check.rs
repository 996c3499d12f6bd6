//! Finds what nobody meant: unknown keys, wrong types, sections written as something else.
//!
//! Works on the parsed file with its positions and on [`super::file`]'s description, so that each
//! problem has a line, a column, a key and, where there is one, a suggestion.

use super::file::{File, KeyDoc, SectionDoc, Times};
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Most problems that one report shows.
const PROBLEMS_MAX: usize = 20;
/// Longest unknown key for which a similar one is sought, in bytes.
const GUESS_LEN_MAX: usize = 64;

/// One thing that is wrong in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Line and column, from 1; `None` when the file lacks something as a whole.
    pub place: Option<(usize, usize)>,
    /// What is wrong and what to write instead.
    pub text: String,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {path}: {source}. `understudy config example` prints a file to start from", path = path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is far larger than any configuration.
    #[error("the configuration is longer than 1 MiB: is this the right file?")]
    TooLong,
    /// The file's content is wrong.
    #[error("{}", Report(file.as_deref(), problems))]
    Invalid {
        /// Which file, when it came from one.
        file: Option<PathBuf>,
        /// All problems, at least one.
        problems: Vec<Problem>,
    },
}

impl ConfigError {
    pub(super) fn in_file(self, path: &Path) -> Self {
        match self {
            Self::Invalid { problems, .. } => {
                Self::Invalid { file: Some(path.to_owned()), problems }
            }
            other => other,
        }
    }
}

struct Report<'a>(Option<&'a Path>, &'a [Problem]);

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self.0.map_or_else(|| "configuration".into(), |p| p.display().to_string());
        for (i, problem) in self.1.iter().take(PROBLEMS_MAX).enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            match problem.place {
                Some((line, column)) => {
                    write!(f, "{file}, line {line}, column {column}: {}", problem.text)?;
                }
                None => write!(f, "{file}: {}", problem.text)?,
            }
        }
        match self.1.len().checked_sub(PROBLEMS_MAX) {
            Some(more) if more > 0 => write!(f, "\n… and {more} more"),
            _ => Ok(()),
        }
    }
}

/// Where things stand in the file, for problems found later.
pub(super) struct Places<'a> {
    text: &'a str,
    table: DeTable<'a>,
}

impl Places<'_> {
    /// Line and column of `key` in `section` (the `index`th of several); of the section when the
    /// key is absent. The empty section is the top.
    pub(super) fn of(&self, section: &str, index: usize, key: &str) -> Option<(usize, usize)> {
        if section.is_empty() {
            return Some(self.place(&find(&self.table, key)?.0));
        }
        let (outer, inner) = section.split_once('.').map_or((section, None), |(o, i)| (o, Some(i)));
        let (mut span, mut value) = find(&self.table, outer)?;
        if let Some(inner) = inner {
            (span, value) = find(value.as_table()?, inner)?;
        }
        let (span, value) = match value {
            DeValue::Array(items) => {
                let item = items.get(index)?;
                (item.span(), item.get_ref())
            }
            _ => (span, value),
        };
        let span = value.as_table().and_then(|t| find(t, key)).map_or(span, |(span, _)| span);
        Some(self.place(&span))
    }

    fn place(&self, span: &Range<usize>) -> (usize, usize) {
        place(self.text, span.start)
    }
}

/// Parses `text`, checks every key's name and type, and reads it.
pub(super) fn read(text: &str) -> Result<(File, Places<'_>), ConfigError> {
    let table = DeTable::parse(text).map_err(|e| syntax(text, &e))?.into_inner();
    let mut check = Check { text, problems: Vec::new() };
    check.top(&table);
    if !check.problems.is_empty() {
        return Err(invalid(check.problems));
    }
    // What is left for serde to refuse is what the check above cannot see.
    let file = toml::from_str(text).map_err(|e| syntax(text, &e))?;
    Ok((file, Places { text, table }))
}

pub(super) fn invalid(problems: Vec<Problem>) -> ConfigError {
    ConfigError::Invalid { file: None, problems }
}

struct Check<'a> {
    text: &'a str,
    problems: Vec<Problem>,
}

impl Check<'_> {
    fn top(&mut self, table: &DeTable<'_>) {
        for (key, value) in table {
            let name: &str = key.get_ref();
            if let Some(section) = File::SECTIONS.iter().find(|s| s.name == name) {
                self.section("", section, key, value);
            } else if let Some(doc) = File::KEYS.iter().find(|k| k.name == name) {
                self.key_type("", doc, value);
            } else {
                let names = File::KEYS.iter().map(|k| k.name);
                let names = names.chain(File::SECTIONS.iter().map(|s| s.name));
                self.unknown("", key, value.get_ref().is_table(), names);
            }
        }
    }

    /// `outer` is the section around it, with its dot; empty at the top.
    fn section(
        &mut self,
        outer: &str,
        section: &SectionDoc,
        key: &Spanned<toml::de::DeString<'_>>,
        value: &Spanned<DeValue<'_>>,
    ) {
        let name = format!("{outer}{}", section.name);
        match (section.times, value.get_ref()) {
            (Times::Many, DeValue::Array(items)) => {
                for item in items.iter() {
                    match item.get_ref() {
                        DeValue::Table(table) => self.keys(&name, section, table),
                        _ => self.problem(
                            &item.span(),
                            format!("`{name}` is a list of sections: write [[{name}]] above each"),
                        ),
                    }
                }
            }
            (Times::Many, _) => {
                self.problem(
                    &key.span(),
                    format!("there may be several of `{name}`: write [[{name}]]"),
                );
            }
            (_, DeValue::Table(table)) => self.keys(&name, section, table),
            (_, DeValue::Array(_)) => {
                self.problem(&key.span(), format!("there is only one `{name}`: write [{name}]"));
            }
            _ => self.problem(&key.span(), format!("`{name}` is a section: write [{name}]")),
        }
    }

    fn keys(&mut self, own: &str, section: &SectionDoc, table: &DeTable<'_>) {
        let shown = header(own, section.times);
        for (key, value) in table {
            let name: &str = key.get_ref();
            if let Some(inner) = section.sections.iter().find(|s| s.name == name) {
                self.section(&format!("{own}."), inner, key, value);
                continue;
            }
            match section.keys.iter().find(|k| k.name == name) {
                Some(doc) => self.key_type(&shown, doc, value),
                None => {
                    let names = section.keys.iter().map(|k| k.name);
                    let names = names.chain(section.sections.iter().map(|s| s.name));
                    self.unknown(&shown, key, false, names);
                }
            }
        }
    }

    /// Refuses `key`, with the most likely meaning: a slip of the pen, or the wrong section.
    fn unknown(
        &mut self,
        section: &str,
        key: &Spanned<toml::de::DeString<'_>>,
        is_section: bool,
        known: impl Iterator<Item = &'static str>,
    ) {
        let name: &str = key.get_ref();
        let what = if is_section { "section" } else { "key" };
        let place = if section.is_empty() { String::new() } else { format!(" in {section}") };
        let advice = if let Some(similar) = similar(name, known) {
            format!("; did you mean `{similar}`?")
        } else if let Some(home) = home_of(name) {
            format!("; it belongs {home}")
        } else {
            "; `understudy config example` shows all keys".into()
        };
        self.problem(&key.span(), format!("unknown {what} `{}`{place}{advice}", shorten(name)));
    }

    fn key_type(&mut self, section: &str, doc: &KeyDoc, value: &Spanned<DeValue<'_>>) {
        let Some(example) = (doc.value)() else { return };
        let fits = match (&example, value.get_ref()) {
            (toml::Value::Array(examples), DeValue::Array(items)) => {
                let wanted = examples.first().map_or("string", toml::Value::type_str);
                items.iter().all(|i| i.get_ref().type_str() == wanted)
            }
            (example, value) => example.type_str() == value.type_str(),
        };
        if !fits {
            let wanted = match example {
                toml::Value::Integer(_) => "a whole number",
                toml::Value::String(_) => "a text in quotes",
                toml::Value::Array(_) => "a list of texts in quotes",
                _ => example.type_str(),
            };
            let space = if section.is_empty() { "" } else { " " };
            let name = doc.name;
            self.problem(
                &value.span(),
                format!("{section}{space}`{name}` must be {wanted}, as in `{name} = {example}`"),
            );
        }
    }

    fn problem(&mut self, span: &Range<usize>, text: String) {
        self.problems.push(Problem { place: Some(place(self.text, span.start)), text });
    }
}

/// How a section is written in the file.
pub(super) fn header(name: &str, times: Times) -> String {
    if times == Times::Many { format!("[[{name}]]") } else { format!("[{name}]") }
}

fn find<'t, 'i>(table: &'t DeTable<'i>, key: &str) -> Option<(Range<usize>, &'t DeValue<'i>)> {
    table.get_key_value(key).map(|(k, v)| (k.span(), v.get_ref()))
}

fn syntax(text: &str, error: &toml::de::Error) -> ConfigError {
    let place = error.span().map(|span| place(text, span.start));
    invalid(vec![Problem { place, text: error.message().replace('\n', "; ") }])
}

/// Line and column (in characters) of a byte offset, from 1.
fn place(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
    (line, column)
}

/// The section that has a key of this name.
fn home_of(name: &str) -> Option<String> {
    if File::KEYS.iter().any(|k| k.name == name) {
        return Some("at the top, before the first [section]".into());
    }
    let mut homes = File::SECTIONS.iter().filter(|s| s.keys.iter().any(|k| k.name == name));
    homes.next().map(|s| format!("in {}", header(s.name, s.times)))
}

/// The known name that `name` is most likely a slip of the pen for.
#[must_use]
pub fn similar(name: &str, known: impl Iterator<Item = &'static str>) -> Option<&'static str> {
    if name.len() > GUESS_LEN_MAX {
        return None;
    }
    let near = known.map(|k| (distance(name, k), k)).min()?;
    (near.0 <= near.1.len().max(3) / 3).then_some(near.1)
}

/// Levenshtein distance in characters, row by row.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        if let Some(first) = row.first_mut() {
            *first = left;
        }
        for (slot, y) in row.iter_mut().skip(1).zip(b.chars()) {
            let cost = diagonal + usize::from(x != y);
            diagonal = *slot;
            left = cost.min(diagonal + 1).min(left + 1);
            *slot = left;
        }
    }
    row.last().copied().unwrap_or_default()
}

fn shorten(name: &str) -> String {
    name.chars().take(GUESS_LEN_MAX).flat_map(char::escape_debug).collect()
}
