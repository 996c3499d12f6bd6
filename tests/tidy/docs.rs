//! Code and documents name the same things: runbooks, log keys, RFCs.

use super::lexer::words;
use super::{Source, read, report, root, sources};
use std::collections::BTreeSet;

fn product() -> Vec<Source> {
    sources(&["src", "crates/proto/src"])
}

/// The text in quotes at the start of `rest`.
fn quoted(rest: &str) -> Option<&str> {
    rest.trim_start_matches([' ', '=', ':']).strip_prefix('"')?.split('"').next()
}

#[test]
fn every_runbook_that_is_named_exists() {
    let mut findings = Vec::new();
    for source in product() {
        for (at, word) in source.text.match_indices("runbook") {
            let rest = source.text.get(at + word.len()..).unwrap_or_default();
            let assigned = rest.starts_with(" = ") || rest.starts_with(": ");
            let Some(name) = quoted(rest).filter(|_| assigned) else { continue };
            if !root().join(format!("docs/runbook/{name}.md")).exists() {
                findings.push(format!("{}: docs/runbook/{name}.md", source.path));
            }
        }
    }
    report("Write the runbook (symptom, confirm, act, undo):", &findings);
}

#[test]
fn every_runbook_has_its_four_parts() {
    let mut findings = Vec::new();
    for entry in std::fs::read_dir(root().join("docs/runbook")).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        for part in ["**Symptom.**", "**Confirm.**", "**Act.**", "**Undo.**"] {
            if !text.contains(part) {
                findings.push(format!("{}: {part}", path.display()));
            }
        }
    }
    report("A runbook has four parts:", &findings);
}

/// The keys of a log macro's call, from what stands between `(` and `;`.
fn keys(call: &str) -> Vec<String> {
    let Some((head, _)) = call.split_once(';') else { return Vec::new() };
    let head = head
        .split_once("target: ")
        .map_or(head, |(_, rest)| rest.split_once(',').map_or("", |(_, rest)| rest));
    let mut keys = Vec::new();
    let (mut depth, mut word, mut open) = (0_i32, String::new(), true);
    for c in head.chars() {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            ',' if depth == 0 => {
                keys.push(std::mem::take(&mut word));
                open = true;
            }
            c if open && (c.is_alphanumeric() || c == '_') => word.push(c),
            c if open && !c.is_whitespace() => open = false,
            _ => {}
        }
    }
    keys.push(word);
    keys.retain(|k| !k.is_empty());
    keys
}

/// Calls of the log macros: level, line, text of the call.
fn log_calls(source: &Source) -> Vec<(&'static str, usize, String)> {
    let mut calls = Vec::new();
    for level in ["error", "warn", "info", "debug", "trace"] {
        let mark = format!("{level}!(");
        for (at, _) in source.code.match_indices(&mark) {
            let rest = source.code.get(at + mark.len()..).unwrap_or_default();
            let mut depth = 1;
            let end = rest.find(|c| {
                depth += i32::from(c == '(') - i32::from(c == ')');
                depth == 0
            });
            let call = rest.get(..end.unwrap_or(0)).unwrap_or_default();
            calls.push((level, source.line_of(at), call.to_owned()));
        }
    }
    calls
}

#[test]
fn log_keys_are_documented() {
    let document = read("docs/logging.md");
    let known: BTreeSet<&str> =
        document.lines().filter_map(|l| l.strip_prefix("| `")?.split('`').next()).collect();
    let mut findings = Vec::new();
    for source in product() {
        for (level, line, call) in log_calls(&source) {
            for key in keys(&call).iter().filter(|k| !known.contains(k.as_str())) {
                findings.push(format!("{}:{line}: {level}! has `{key}`", source.path));
            }
        }
    }
    report("Use a key of docs/logging.md, or add yours there with its meaning:", &findings);
}

#[test]
fn an_error_names_its_runbook() {
    let mut findings = Vec::new();
    for source in product() {
        for (level, line, call) in log_calls(&source) {
            if level == "error" && !keys(&call).iter().any(|k| k == "runbook") {
                findings.push(format!("{}:{line}", source.path));
            }
        }
    }
    report("`error` means that a human must act: name the runbook, or log a warning:", &findings);
}

/// Names after `before` at the start of a trimmed line.
fn names_after<'a>(text: &'a str, before: &str) -> Vec<&'a str> {
    let rest = text.lines().filter_map(|l| l.trim().strip_prefix(before));
    rest.filter_map(|r| r.split(|c: char| !c.is_alphanumeric() && c != '_').next()).collect()
}

#[test]
fn every_metric_and_limit_is_used() {
    let rooms = sources(&["src"]);
    let mut findings = Vec::new();
    for (file, starts) in [
        ("src/base/metric.rs", &["Counter ", "Gauge "][..]),
        ("src/base/limit.rs", &["pub static "]),
    ] {
        let text = read(file);
        for name in starts.iter().flat_map(|start| names_after(&text, start)) {
            let used = |s: &Source| s.path != file && !words(&s.code, name).is_empty();
            if name.len() > 3 && name != "ALL" && !rooms.iter().any(used) {
                findings.push(format!("{file}: {name}"));
            }
        }
    }
    report("A number that nobody feeds lies to its reader; feed it or remove it:", &findings);
}

#[test]
fn every_setting_has_an_effect() {
    let rooms = sources(&["src"]);
    let mut findings = Vec::new();
    for field in names_after(&read("src/config/resolved.rs"), "pub ") {
        // What `Timers` is made from is read there, for the pair.
        let outside = |s: &Source| s.room() != Some("config") || s.path == "src/config/timers.rs";
        let read = |s: &Source| outside(s) && !words(&s.code, field).is_empty();
        if !matches!(field, "struct" | "enum") && !rooms.iter().any(read) {
            findings.push(field.to_owned());
        }
    }
    report("A setting that does nothing lies to its reader; use it or remove it:", &findings);
}

#[test]
fn cited_rfcs_are_listed() {
    let table = read("docs/rfc.tsv");
    let listed: BTreeSet<&str> = table.lines().filter_map(|l| l.split('\t').next()).collect();
    let mut findings = BTreeSet::new();
    for source in product() {
        for (at, mark) in source.text.match_indices("RFC ") {
            let rest = source.text.get(at + mark.len()..).unwrap_or_default();
            let number: String = rest.chars().take_while(char::is_ascii_digit).collect();
            if !number.is_empty() && !listed.contains(number.as_str()) {
                findings.insert(format!("{}: RFC {number}", source.path));
            }
        }
    }
    let findings: Vec<String> = findings.into_iter().collect();
    report("List the RFC in docs/rfc.tsv with how far it is followed:", &findings);
}

#[test]
fn the_rfc_table_is_a_table() {
    let mut findings = Vec::new();
    for line in read("docs/rfc.tsv").lines().skip(1) {
        let cells: Vec<&str> = line.split('\t').collect();
        let good = matches!(cells.as_slice(), [number, _, "yes" | "partial" | "no", _, ..] if number.parse::<u32>().is_ok());
        if !good {
            findings.push(line.to_owned());
        }
    }
    report("docs/rfc.tsv: number, title, yes|partial|no, note, separated by tabs:", &findings);
}

#[test]
fn log_calls_are_read_as_written() {
    let found = keys(r"session:% = id, code = f(1, 2), err:err = e; ");
    assert_eq!(found, ["session", "code", "err"]);
    assert!(keys(" ").is_empty());
    assert_eq!(keys("cmd, ok; "), ["cmd", "ok"]);
}
