//! The process's log: one line an event, on stderr, read by people, by journald and by grep.
//!
//! ```text
//! 2026-07-27T12:00:00.123Z info  smtp::session: message accepted session=8f2c code=250
//! ```
//!
//! Invariants: a line is one `write`, never broken by what a peer sent (control characters and
//! quotes in values are escaped). Under journald (`JOURNAL_STREAM`) the time is left to it and the
//! priority is given as `<3>`..`<7>`. A panic is a log line, too. A thread that said [`never_wait`] is
//! not held up by who reads stderr: its lines go through a bounded queue to the thread "log", and what
//! does not fit is left out and counted.
//!
//! Deliberately absent: files, rotation, filters per module. Keys are those of `docs/logging.md`.

use crate::base::{clock, metric, task};
use log::kv::{Error, Key, Value, VisitSource};
use log::{Level, LevelFilter, Log, Metadata, Record};
use nix::sys::signal::SigSet;
use std::cell::Cell;
use std::fmt::Write as _;
use std::io;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// Lines of threads in a hurry that wait for the thread "log".
const WAITING_MAX: usize = 1_024;

/// How long the end of a process waits for such lines: a reader that stands still must not keep a
/// dead process's guardian.
const FLUSH_MAX: Duration = Duration::from_millis(100);

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
            log::logger().flush();
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
            match QUEUE.get().filter(|_| HURRIED.get()) {
                Some(queue) => queue.put(line),
                None => write(&mut io::stderr().lock(), &line),
            }
        }
    }

    /// Waits until nothing is queued, 100 ms at most. To be called before a process ends by itself.
    fn flush(&self) {
        if let Some(queue) = QUEUE.get() {
            queue.flush();
        }
    }
}

thread_local! {
    static HURRIED: Cell<bool> = const { Cell::new(false) };
}

static QUEUE: OnceLock<Queue> = OnceLock::new();

/// From now on this thread's lines are written by another: a full pipe (journald stands still) must
/// not keep adverts and heartbeats from going out.
pub fn never_wait() {
    QUEUE.get_or_init(|| {
        let (queue, lines) = Queue::new();
        let counts = queue.counts.clone();
        drop(task::thread("log", move || {
            // Signals are for those who wait for them.
            if let Err(errno) = SigSet::all().thread_block() {
                log::warn!(err:% = errno; "the log's thread cannot block signals");
            }
            pass_on(&lines, &counts, |line| write(&mut io::stderr().lock(), line));
        }));
        queue
    });
    HURRIED.set(true);
}

/// Lines on their way to the thread "log".
struct Queue {
    lines: SyncSender<String>,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    /// Lines that wait or are being written.
    waiting: AtomicUsize,
    /// Lines that there was no room for, since that was last said.
    left_out: AtomicU64,
}

impl Queue {
    fn new() -> (Self, Receiver<String>) {
        let (lines, receiver) = sync_channel(WAITING_MAX);
        (Self { lines, counts: Arc::default() }, receiver)
    }

    fn put(&self, line: String) {
        self.counts.waiting.fetch_add(1, Ordering::SeqCst);
        if self.lines.try_send(line).is_err() {
            self.counts.waiting.fetch_sub(1, Ordering::SeqCst);
            self.counts.left_out.fetch_add(1, Ordering::SeqCst);
            metric::LOG_LINES_LOST.inc();
        }
    }

    fn flush(&self) {
        let end = clock::mono().after(FLUSH_MAX);
        while self.counts.waiting.load(Ordering::SeqCst) > 0 && clock::mono() < end {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// The thread "log", until the queue is gone.
fn pass_on(lines: &Receiver<String>, counts: &Counts, mut write: impl FnMut(&str)) {
    while let Ok(line) = lines.recv() {
        write(&line);
        counts.waiting.fetch_sub(1, Ordering::SeqCst);
        let left_out = counts.left_out.swap(0, Ordering::SeqCst);
        if left_out > 0 {
            log::warn!(count = left_out; "lines were left out here: nobody read the log");
        }
    }
}

fn write(to: &mut impl io::Write, line: &str) {
    if to.write_all(line.as_bytes()).is_err() {
        metric::LOG_LINES_LOST.inc();
    }
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

    /// A reader that stands still holds nobody up; what was left out is counted, the rest comes.
    #[test]
    fn a_full_pipe_is_not_waited_for() {
        let (queue, lines) = Queue::new();
        for n in 0..WAITING_MAX + 3 {
            queue.put(format!("{n}\n"));
        }
        assert_eq!(queue.counts.left_out.load(Ordering::SeqCst), 3);
        queue.flush(); // Nobody writes: it gives up.
        assert_eq!(queue.counts.waiting.load(Ordering::SeqCst), WAITING_MAX);
        let counts = queue.counts.clone();
        drop(queue);
        let mut written = Vec::new();
        pass_on(&lines, &counts, |line| written.push(line.to_owned()));
        assert_eq!(written.len(), WAITING_MAX);
        assert_eq!(written.first().map(String::as_str), Some("0\n"));
        let Counts { waiting, left_out } = &*counts;
        assert_eq!((waiting.load(Ordering::SeqCst), left_out.load(Ordering::SeqCst)), (0, 0));
    }
}
