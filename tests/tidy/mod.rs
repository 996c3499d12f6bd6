//! Style as a test: what reviewers would otherwise have to remember. Each failure says what to do.

mod docs;
mod layering;
mod lexer;
mod model;
mod proto;
mod words;

use std::path::{Path, PathBuf};

/// A source file, as written and without its comments and texts.
struct Source {
    /// Path from the repository's root, with `/`.
    path: String,
    /// As written.
    text: String,
    /// Comments and the contents of literals are blanks; lines stay where they are. Code of tests
    /// is blank, too: tests compose as they like.
    code: String,
}

impl Source {
    /// `src/pair/link.rs` is in the room `pair`.
    fn room(&self) -> Option<&str> {
        let rest = self.path.strip_prefix("src/")?;
        let first = rest.split('/').next()?;
        Some(first.strip_suffix(".rs").unwrap_or(first))
    }

    fn is_test(&self) -> bool {
        let name = self.path.rsplit('/').next().unwrap_or_default();
        name == "tests.rs" || self.path.contains("/tests/") || self.path.starts_with("tests/")
    }

    fn line_of(&self, at: usize) -> usize {
        self.code.get(..at).unwrap_or(&self.code).matches('\n').count() + 1
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All Rust files under the given folders of the repository.
fn sources(folders: &[&str]) -> Vec<Source> {
    let mut files = Vec::new();
    for folder in folders {
        walk(&root().join(folder), &mut files);
    }
    files.sort();
    let rust = files.into_iter().filter(|f| f.extension().is_some_and(|e| e == "rs"));
    let mut sources: Vec<Source> = rust.map(|file| source(&file)).collect();
    assert!(!sources.is_empty(), "no sources found under {folders:?}");
    let tests: Vec<String> = sources.iter().flat_map(test_modules).collect();
    for source in &mut sources {
        if tests.iter().any(|t| source.path.starts_with(t)) {
            source.code.clear();
        }
    }
    sources
}

/// Starts of the paths of what `source` declares as `#[cfg(test)] mod name;`.
fn test_modules(source: &Source) -> Vec<String> {
    let home = ["/mod.rs", "/lib.rs", "/main.rs", ".rs"];
    let home = home.iter().find_map(|end| source.path.strip_suffix(end)).unwrap_or_default();
    let declared = source.text.split("#[cfg(test)]").skip(1);
    declared
        .filter_map(|rest| rest.trim_start().strip_prefix("mod ")?.split_once(';'))
        .filter(|(name, _)| name.chars().all(|c| c.is_alphanumeric() || c == '_'))
        .flat_map(|(name, _)| [format!("{home}/{name}.rs"), format!("{home}/{name}/")])
        .collect()
}

fn source(file: &Path) -> Source {
    let path = file.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
    let text = std::fs::read_to_string(file).unwrap();
    let mut source = Source { path, code: lexer::code(&text), text };
    source.code = if source.is_test() { String::new() } else { lexer::without_tests(&source.code) };
    source
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            if path.file_name().is_some_and(|n| n != "target") {
                walk(&path, files);
            }
        } else {
            files.push(path);
        }
    }
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// Fails with all findings, one a line.
fn report(rule: &str, findings: &[String]) {
    assert!(findings.is_empty(), "\n{rule}\n  {}\n", findings.join("\n  "));
}
