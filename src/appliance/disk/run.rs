//! Runs one tool of the image: absolute path, arguments, a secret on its stdin, a deadline.
//!
//! Invariants: no shell; what a tool says is read to its end and kept up to [`SAID_MAX`] bytes; at the
//! deadline it is killed. Nothing that it was given on stdin is ever shown.

use crate::base::secret::Secret;
use crate::base::{clock, task};
use std::io::{self, Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

/// Longest answer that is kept, in bytes.
const SAID_MAX: u64 = 64 * 1024;
/// How often an end is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// Longest text of a tool that is shown to people, in characters.
const SHOWN_MAX: usize = 300;

/// A tool to run.
#[derive(Debug)]
pub struct Call<'a> {
    program: &'static str,
    arguments: Vec<&'a str>,
    stdin: Option<&'a Secret<Vec<u8>>>,
    deadline: Duration,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// Its exit code.
    pub code: i32,
    /// Its stdout, as text.
    pub out: String,
    /// Its stderr, as text.
    pub err: String,
}

/// Why a tool did not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// It is not there, or cannot be run.
    #[error("{program} cannot be run: {source}")]
    Start {
        /// Which.
        program: &'static str,
        /// Why.
        source: io::Error,
    },
    /// It did not come to an end.
    #[error("{program} did not end within {} s", deadline.as_secs())]
    Deadline {
        /// Which.
        program: &'static str,
        /// How long it had.
        deadline: Duration,
    },
    /// It was killed by a signal of others.
    #[error("{program} was killed")]
    Killed {
        /// Which.
        program: &'static str,
    },
    /// It says that it failed.
    #[error("{program} failed ({code}): {said}")]
    Failed {
        /// Which.
        program: &'static str,
        /// Its exit code.
        code: i32,
        /// The start of what it said.
        said: String,
    },
}

impl<'a> Call<'a> {
    /// `program` with these arguments, which has until `deadline`.
    #[must_use]
    pub fn new(program: &'static str, deadline: Duration, arguments: &[&'a str]) -> Self {
        Self { program, arguments: arguments.to_vec(), stdin: None, deadline }
    }

    /// What it reads on its stdin.
    #[must_use]
    pub const fn stdin(mut self, secret: &'a Secret<Vec<u8>>) -> Self {
        self.stdin = Some(secret);
        self
    }

    /// Runs it; exit codes other than 0 are no error here.
    ///
    /// # Errors
    /// It cannot be started, does not end in time or is killed.
    pub fn ask(&self) -> Result<Said, RunError> {
        let program = self.program;
        let start = |source| RunError::Start { program, source };
        let mut child = Command::new(program)
            .args(&self.arguments)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("LC_ALL", "C")
            .stdin(if self.stdin.is_some() { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(start)?;
        let out = gather("tool-out", child.stdout.take());
        let err = gather("tool-err", child.stderr.take());
        if let (Some(mut stdin), Some(secret)) = (child.stdin.take(), self.stdin) {
            // A tool that reads nothing says so by its exit code; secrets fit into a pipe.
            drop(stdin.write_all(secret.expose()));
        }
        let status = self.wait(&mut child).map_err(start)?;
        let (out, err) = (out.join().unwrap_or_default(), err.join().unwrap_or_default());
        match status {
            None => Err(RunError::Deadline { program, deadline: self.deadline }),
            Some(status) => match status.code() {
                None => Err(RunError::Killed { program }),
                Some(code) => Ok(Said { code, out, err }),
            },
        }
    }

    /// Runs it; every exit code but 0 is an error.
    ///
    /// # Errors
    /// As [`Self::ask`], and [`RunError::Failed`].
    pub fn run(&self) -> Result<Said, RunError> {
        let said = self.ask()?;
        if said.code == 0 { Ok(said) } else { Err(self.failed(&said)) }
    }

    /// An error of what it said.
    #[must_use]
    pub fn failed(&self, said: &Said) -> RunError {
        let text = format!("{} {}", said.err.trim(), said.out.trim());
        let words: Vec<&str> = text.split_whitespace().collect();
        let said_short = words.join(" ").chars().take(SHOWN_MAX).collect();
        RunError::Failed { program: self.program, code: said.code, said: said_short }
    }

    /// Its end; `None` if it had to be killed.
    fn wait(&self, child: &mut Child) -> io::Result<Option<ExitStatus>> {
        let end = clock::mono().after(self.deadline);
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(Some(status));
            }
            if clock::mono() >= end {
                child.kill()?;
                child.wait()?;
                return Ok(None);
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }
}

/// Gathers a stream's text.
struct Gathered {
    thread: std::thread::JoinHandle<()>,
    text: std::sync::mpsc::Receiver<String>,
}

impl Gathered {
    fn join(self) -> Option<String> {
        let text = self.text.recv().ok();
        drop(self.thread.join());
        text
    }
}

fn gather<R: Read + Send + 'static>(name: &'static str, stream: Option<R>) -> Gathered {
    let (sender, text) = std::sync::mpsc::sync_channel(1);
    let thread = task::thread(name, move || {
        let mut bytes = Vec::new();
        if let Some(mut stream) = stream {
            // What cannot be read is not shown; the exit code says whether it worked.
            let kept = stream.by_ref().take(SAID_MAX).read_to_end(&mut bytes);
            if kept.is_ok() {
                drop(io::copy(&mut stream, &mut io::sink()));
            }
        }
        drop(sender.send(String::from_utf8_lossy(&bytes).into_owned()));
    });
    Gathered { thread, text }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_secs(20);

    #[test]
    fn a_tool_gets_its_secret_and_says_its_word() {
        let secret = Secret::new(b"hunter2".to_vec());
        let said = Call::new("/bin/cat", SHORT, &[]).stdin(&secret).run().unwrap();
        assert_eq!(said.out, "hunter2");
        let call = Call::new("/bin/ls", SHORT, &["/nonexistent"]);
        assert_ne!(call.ask().unwrap().code, 0);
        let error = call.run().unwrap_err().to_string();
        assert!(error.contains("/bin/ls failed") && error.contains("nonexistent"), "{error}");
        assert!(matches!(Call::new("/nope", SHORT, &[]).run(), Err(RunError::Start { .. })));
    }

    #[test]
    fn a_tool_that_hangs_is_killed_and_one_that_babbles_is_cut() {
        let hangs = Call::new("/bin/sleep", Duration::from_millis(50), &["600"]);
        assert!(matches!(hangs.run(), Err(RunError::Deadline { .. })));
        let babbles = Call::new("/usr/bin/head", SHORT, &["-c", "1000000", "/dev/zero"]);
        assert_eq!(babbles.run().unwrap().out.len(), usize::try_from(SAID_MAX).unwrap());
    }
}
