//! Names and marks that say nothing, and code that needs an explanation.

use super::lexer::words;
use super::{report, sources};

const FOLDERS: &[&str] = &["src", "crates", "tests", "fuzz/src"];

/// Names that tell where something was left instead of what it is.
const EMPTY_NAMES: &[&str] =
    &["util", "utils", "common", "helper", "helpers", "misc", "manager", "managers"];

/// Files that may hold `unsafe`, besides the lab (which never ships).
const UNSAFE_ALLOWED: &[&str] = &["src/base/privilege.rs"];

#[test]
fn modules_have_names_that_say_something() {
    let mut findings = Vec::new();
    for source in sources(FOLDERS) {
        let parts = source.path.split('/').map(|p| p.strip_suffix(".rs").unwrap_or(p));
        let empty: Vec<&str> = parts.filter(|p| EMPTY_NAMES.contains(p)).collect();
        findings.extend(empty.iter().map(|p| format!("{}: `{p}`", source.path)));
        for name in EMPTY_NAMES {
            if !words(&source.code, &format!("mod {name}")).is_empty() {
                findings.push(format!("{}: `mod {name}`", source.path));
            }
        }
    }
    report("Name a module after what it holds; split it if it holds several things:", &findings);
}

#[test]
fn nothing_is_left_for_later() {
    let marks =
        [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X"), concat!("HA", "CK")];
    let mut findings = Vec::new();
    for source in sources(FOLDERS) {
        for (number, line) in source.text.lines().enumerate() {
            if marks.iter().any(|mark| !words(line, mark).is_empty()) {
                findings.push(format!("{}:{}", source.path, number + 1));
            }
        }
    }
    report("Do it now, or write an issue and leave no mark:", &findings);
}

#[test]
fn unsafe_stays_where_it_is_known() {
    let mut findings = Vec::new();
    for source in sources(FOLDERS) {
        let known = UNSAFE_ALLOWED.contains(&source.path.as_str());
        if known || source.path.starts_with("crates/lab/") {
            continue;
        }
        for at in words(&source.code, "unsafe") {
            findings.push(format!("{}:{}", source.path, source.line_of(at)));
        }
    }
    report(
        "nix, socket2 and rustix have safe ways for almost everything; else UNSAFE_ALLOWED:",
        &findings,
    );
}

#[test]
fn every_module_says_what_it_is_for() {
    let mut findings = Vec::new();
    for source in sources(FOLDERS) {
        // `tests.rs` says it with its name.
        if !source.is_test() && !source.text.trim_start().starts_with("//!") {
            findings.push(source.path);
        }
    }
    report("Open each file with `//!`: what it does, its invariants, what is absent:", &findings);
}
