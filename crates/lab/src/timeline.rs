//! What people see: one line per event, with the seconds since the start.

use crate::{Context, Result};
use std::fmt::Display;
use std::fs::File;
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::sync::Mutex;
use std::time::Instant;

/// How a line is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    /// Something goes on.
    Plain,
    /// Something good.
    Good,
    /// Something bad that we did on purpose.
    Bad,
    /// A heading.
    Head,
}

/// The timeline.
#[derive(Debug)]
pub(crate) struct Timeline {
    start: Instant,
    colour: bool,
    quiet: bool,
    /// Where it is written instead of standard output.
    file: Option<File>,
    lock: Mutex<()>,
}

impl Timeline {
    /// Starts the clock. Colours only on a terminal and without `NO_COLOR`.
    pub(crate) fn start(quiet: bool) -> Self {
        let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self { start: crate::now(), colour, quiet, file: None, lock: Mutex::new(()) }
    }

    /// One that is written into a file, for whoever has to find out.
    ///
    /// # Errors
    /// The file cannot be made.
    pub(crate) fn into_file(path: &Path) -> Result<Self> {
        let file = File::create(path).context(path.display())?;
        Ok(Self {
            start: crate::now(),
            colour: false,
            quiet: false,
            file: Some(file),
            lock: Mutex::new(()),
        })
    }

    /// Prints an event.
    pub(crate) fn say(&self, tone: Tone, text: impl Display) {
        if self.quiet {
            return;
        }
        let seconds = self.start.elapsed().as_secs_f64();
        let (sign, code) = match tone {
            Tone::Plain => ("·", "0"),
            Tone::Good => ("✓", "32"),
            Tone::Bad => ("✗", "31"),
            Tone::Head => ("▶", "1"),
        };
        let line = if self.colour {
            format!("\x1b[2m{seconds:8.3} s\x1b[0m  \x1b[{code}m{sign} {text}\x1b[0m")
        } else {
            format!("{seconds:8.3} s  {sign} {text}")
        };
        self.line(&line);
    }

    /// Prints a heading, with space above it.
    pub(crate) fn head(&self, text: impl Display) {
        if !self.quiet {
            self.line("");
            self.say(Tone::Head, text);
        }
    }

    fn line(&self, text: &str) {
        let turn = self.lock.lock();
        match &self.file {
            None => print(text),
            Some(file) => {
                let mut file = file;
                if writeln!(file, "{text}").is_err() {
                    // The disk is full; the play goes on.
                }
            }
        }
        drop(turn);
    }
}

/// Prints to standard output; whoever closed it does not want to know.
pub(crate) fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    if writeln!(out, "{text}").and_then(|()| out.flush()).is_err() {
        // Nobody listens any more; the exit code still tells.
    }
}

/// Prints an error to standard error.
pub(crate) fn error(text: &impl Display) {
    if writeln!(std::io::stderr(), "understudy-lab: {text}").is_err() {
        // Nobody listens any more; the exit code still tells.
    }
}
