//! What people read: results on stdout, complaints on stderr.

use super::error::CliError;
use crate::base::clock;
use std::io::{self, Write};
use understudy_proto::time::UnixMs;

/// Writes `text` to stdout. A reader that has gone (`| head`) is no error.
pub(super) fn say(text: &str) -> Result<(), CliError> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => Err(CliError::Output(e)),
        _ => Ok(()),
    }
}

/// Writes a line to stderr. Where that fails nobody can be told.
pub(super) fn complain(text: &str) {
    drop(io::stderr().lock().write_all(format!("understudy: {text}\n").as_bytes()));
}

/// A table with aligned columns; `empty` when there are no rows.
pub(super) fn table(head: &[&str], rows: &[Vec<String>], empty: &str) -> Result<(), CliError> {
    if rows.is_empty() {
        return say(&format!("{empty}\n"));
    }
    let head: Vec<String> = head.iter().map(|h| (*h).to_owned()).collect();
    let mut widths = vec![0; head.len()];
    for row in std::iter::once(&head).chain(rows) {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in std::iter::once(&head).chain(rows) {
        let mut line = String::new();
        for (width, cell) in widths.iter().zip(row) {
            // What others wrote (labels, answers of servers) must not steer the terminal.
            let cell: String = cell.chars().filter(|c| !c.is_control()).collect();
            line.push_str(&format!("{cell:<width$}  "));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    say(&text)
}

/// `2026-07-27 12:00:00`, UTC.
pub(super) fn time(ms: u64) -> String {
    clock::rfc3339(UnixMs(ms)).chars().take(19).collect::<String>().replace('T', " ")
}
