//! The process's log: one line an event, on stderr, read by people, by journald and by grep.
//!
//! ```text
//! 2026-07-27T12:00:00.123Z info  smtp::session: message accepted session=8f2c code=250
//! ```
//!
//! Invariants: a line is one `write`, never broken by what a peer sent (control characters and
//! quotes in values are escaped). Under journald (`JOURNAL_STREAM`) the time is left to it and the
//! priority is given as `<3>`..`<7>`. A panic is a log line, too.
//!
//! Deliberately absent: files, rotation, filters per module. Keys are those of `docs/logging.md`.

use crate::base::{clock, metric};
use log::kv::{Error, Key, Value, VisitSource};
use log::{Level, LevelFilter, Log, Metadata, Record};
use std::fmt::Write as _;
use std::io::Write as _;

/// Longest value of a key and longest message in characters; the rest is cut and marked.
const TEXT_LEN_MAX: usize = 500;

/// Starts logging to stderr at `level` and routes panics into the log. Later calls only change the
/// level.
pub fn init(level: LevelFilter) {
    let logger = Logger { journald: std::env::var_os("JOURNAL_STREAM").is_some() };
    if log::set_boxed_logger(Box::new(logger)).is_ok() {
        std::panic::set_hook(Box::new(|info| {
            let place = info.location().map(ToString::to_string).unwrap_or_default();
            let why = info.payload_as_str().unwrap_or("");
            let thread = std::thread::current();
            let thread = thread.name().unwrap_or("unnamed");
            log::error!(thread, place, reason = why, runbook = "task-panic"; "panic");
        }));
    }
    log::set_max_level(level);
}

struct Logger {
    journald: bool,
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // Dependencies speak only when something is wrong.
        let ours = metadata.target().starts_with("understudy");
        metadata.level() <= log::max_level() && (ours || metadata.level() <= Level::Warn)
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let line = line(record, self.journald);
            if std::io::stderr().lock().write_all(line.as_bytes()).is_err() {
                metric::LOG_LINES_LOST.inc();
            }
        }
    }

    fn flush(&self) {}
}

/// The finished line of `record`, with its line feed.
fn line(record: &Record<'_>, journald: bool) -> String {
    let mut line = Line(String::with_capacity(160));
    let (priority, level) = match record.level() {
        Level::Error => (3, "error"),
        Level::Warn => (4, "warn "),
        Level::Info => (6, "info "),
        Level::Debug => (7, "debug"),
        Level::Trace => (7, "trace"),
    };
    if journald {
        line.push(format_args!("<{priority}>"));
    } else {
        line.push(format_args!("{} ", clock::rfc3339(clock::now_ms())));
    }
    let target = record.target();
    let target = target.strip_prefix("understudy::").unwrap_or(target);
    line.push(format_args!("{level} {target}: "));
    line.text(&record.args().to_string(), false);
    if record.key_values().visit(&mut line).is_err() {
        line.push(format_args!(" (a key could not be shown)"));
    }
    line.0.push('\n');
    line.0
}

/// A line in the making.
struct Line(String);

impl Line {
    fn push(&mut self, args: std::fmt::Arguments<'_>) {
        let written = self.0.write_fmt(args);
        debug_assert!(written.is_ok(), "writing into a String cannot fail");
    }

    /// Appends `text` on one line; a value that is not a plain word is quoted.
    fn text(&mut self, text: &str, value: bool) {
        let plain = |c: char| !c.is_control() && !c.is_whitespace() && !matches!(c, '"' | '=');
        let quoted = value && (text.is_empty() || !text.chars().all(plain));
        if quoted {
            self.0.push('"');
        }
        let mut chars = text.chars();
        for c in chars.by_ref().take(TEXT_LEN_MAX) {
            // Bidirectional overrides would let a peer's text lie about its neighbours.
            let hidden = matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
            if c.is_control() || hidden || (quoted && matches!(c, '"' | '\\')) {
                self.push(format_args!("{}", c.escape_default()));
            } else {
                self.0.push(c);
            }
        }
        if chars.next().is_some() {
            self.0.push('…');
        }
        if quoted {
            self.0.push('"');
        }
    }
}

impl<'kvs> VisitSource<'kvs> for Line {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), Error> {
        self.push(format_args!(" {key}="));
        self.text(&value.to_string(), true);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(message: &str, kv: &[(&str, &str)], journald: bool) -> String {
        line(
            &Record::builder()
                .level(Level::Info)
                .target("understudy::smtp")
                .args(format_args!("{message}"))
                .key_values(&kv)
                .build(),
            journald,
        )
    }

    #[test]
    fn a_line_reads_as_documented() {
        assert_eq!(
            shown("message accepted", &[("session", "8f2c"), ("from", "a b")], true),
            "<6>info  smtp: message accepted session=8f2c from=\"a b\"\n"
        );
        let line = shown("x", &[], false);
        assert!(line.ends_with("Z info  smtp: x\n") && line.starts_with("20"), "{line}");
    }

    #[test]
    fn a_peer_cannot_forge_a_line() {
        let line = shown("x", &[("reason", "a\r\n<0>fake \"quoted\"\u{202e}")], true);
        assert_eq!(line.matches('\n').count(), 1);
        assert!(line.contains(r#"reason="a\r\n<0>fake \"quoted\"\u{202e}""#), "{line}");
    }

    #[test]
    fn long_texts_are_cut() {
        let line = shown("x", &[("reason", &"y".repeat(10_000))], true);
        assert!(line.len() < 600 && line.contains('…'));
    }
}
