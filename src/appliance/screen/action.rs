//! What the recovery menu can do. Each action is a command that exists besides the menu.
//!
//! Invariants: programs by absolute path, never a shell; a deadline and bounded output; what is typed
//! goes to the program's input, never into its arguments. Deliberately absent: repeating.

use super::pick;
use crate::appliance::boot::CHECK_BY_HAND;
use crate::base::clock;
use crate::base::secret::Secret;
use crate::ops::status::Language;
use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;
use understudy_proto::time::Mono;

/// Bytes that are kept of each of a program's two outputs.
const OUTPUT_LEN_MAX: u64 = 16 * 1024;
/// Pause between two looks whether a program has ended.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How long the ends of a program's outputs are waited for once it has ended; a grandchild may hold
/// them open.
const OUTPUT_WAIT: Duration = Duration::from_secs(2);
/// How long opening the data disk may take, in seconds: the file system's check, and the disk's own slow
/// hash. Whoever ended it sooner would interrupt a repair.
const UNLOCK_S: u64 = CHECK_BY_HAND.as_secs() + 600;
/// Lines of the mail program's log that are shown.
const LOG_LINES: &str = "--lines=15";

/// An action. The number in the menu never changes, so that it can be said over the phone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The last lines of the mail program's log.
    Log,
    /// The mail program is started anew.
    RestartMail,
    /// The peer becomes primary.
    HandOver,
    /// A changed site.toml takes force.
    AcceptSite,
    /// The data disk is opened with a passphrase.
    Unlock,
    /// The same on a new disk, whose passphrase it becomes; in the menu it is the same line.
    SetPassphrase,
    /// A token for an appliance that replaces the peer.
    Token,
    /// The system in the other slot comes back.
    Rollback,
    /// The machine is started anew.
    Reboot,
    /// The machine is turned off.
    PowerOff,
}

/// All actions, in the order of the menu.
pub const ALL: [Action; 9] = [
    Action::Log,
    Action::RestartMail,
    Action::HandOver,
    Action::AcceptSite,
    Action::Unlock,
    Action::Token,
    Action::Rollback,
    Action::Reboot,
    Action::PowerOff,
];

/// Where the programs are.
#[derive(Clone, Debug)]
pub struct Tools {
    /// This program.
    pub understudy: PathBuf,
    /// The configuration of the mail program.
    pub config: PathBuf,
    /// systemd's.
    pub systemctl: PathBuf,
    /// systemd's.
    pub journalctl: PathBuf,
}

impl Tools {
    /// Those of the image.
    #[must_use]
    pub fn of_image(config: &Path) -> Self {
        Self {
            understudy: "/usr/bin/understudy".into(),
            config: config.to_owned(),
            systemctl: "/usr/bin/systemctl".into(),
            journalctl: "/usr/bin/journalctl".into(),
        }
    }
}

/// What came of an action.
#[derive(Debug)]
pub struct Outcome {
    /// Whether it worked.
    pub ok: bool,
    /// What it said; a token is a secret.
    pub text: Secret<String>,
}

impl Action {
    /// What it is called, and what it does.
    #[must_use]
    pub const fn words(self, language: Language) -> (&'static str, &'static str) {
        let (name_en, name_de, does_en, does_de) = match self {
            Self::Log => (
                "Show the log of the mail program",
                "Log des Mailprogramms zeigen",
                "This shows the last 15 lines. It changes nothing.",
                "Das zeigt die letzten 15 Zeilen. Es ändert nichts.",
            ),
            Self::RestartMail => (
                "Restart the mail program",
                "Mailprogramm neu starten",
                "Mail stops here for some seconds; if there is a peer, it takes over meanwhile.",
                "Die Post ruht hier einige Sekunden; gibt es ein zweites Gerät, übernimmt es solange.",
            ),
            Self::HandOver => (
                "Hand over to the peer",
                "An das andere Gerät übergeben",
                "The peer serves from then on; this appliance becomes the standby. No mail is lost.",
                "Von da an bedient das andere Gerät; dieses wird Standby. Keine Post geht verloren.",
            ),
            Self::AcceptSite => (
                "Accept the changed site.toml",
                "Geänderte site.toml annehmen",
                "What site.toml says now is in force from the next restart on (8). A changed network is \
                 only tried then: choose 4 again within 10 minutes (trial_minutes), or the former \
                 file comes back. While one is tried, 4 keeps that one for good.",
                "Was jetzt in site.toml steht, gilt ab dem nächsten Neustart (8). Ein geändertes Netz \
                 läuft dann auf Probe: binnen 10 Minuten (trial_minutes) noch einmal 4 wählen, sonst \
                 kommt die frühere Datei zurück. Während einer Probe macht 4 sie endgültig.",
            ),
            Self::Unlock => (
                "Unlock the data disk",
                "Datenplatte aufschließen",
                "Type the passphrase of the data disk and press Enter. Nothing is shown as you type.",
                "Die Passphrase der Datenplatte eingeben, dann Enter. Beim Tippen erscheint nichts.",
            ),
            Self::SetPassphrase => (
                "Set the passphrase of the new data disk",
                "Passphrase der neuen Datenplatte setzen",
                "Type a passphrase of at least 8 letters and press Enter; you are asked for it twice. \
                 Nothing is shown as you type. Note it: nobody can open the data without it.",
                "Eine Passphrase mit mindestens 8 Zeichen eingeben, dann Enter; sie wird zweimal \
                 verlangt. Beim Tippen erscheint nichts. Notieren: Ohne sie öffnet niemand die Daten.",
            ),
            Self::Token => (
                "Make a token for a new peer",
                "Token für ein neues zweites Gerät",
                "The token is shown here, once. Whoever reads it can join this pair while it is \
                 good: mind who watches, and who records a serial line.",
                "Das Token erscheint hier, einmal. Wer es liest, kann dem Paar beitreten, solange es \
                 gilt: beachten, wer zusieht und wer eine serielle Leitung mitschneidet.",
            ),
            Self::Rollback => (
                "Go back to the other slot",
                "Zum anderen Slot zurückkehren",
                "The machine restarts with the version in the other slot. Mail stops here for some \
                 minutes; if there is a peer, it takes over meanwhile.",
                "Die Maschine startet mit der Version im anderen Slot. Die Post ruht hier einige \
                 Minuten; gibt es ein zweites Gerät, übernimmt es solange.",
            ),
            Self::Reboot => (
                "Restart the machine",
                "Maschine neu starten",
                "Mail stops here for some minutes; if there is a peer, it takes over meanwhile.",
                "Die Post ruht hier einige Minuten; gibt es ein zweites Gerät, übernimmt es solange.",
            ),
            Self::PowerOff => (
                "Turn the machine off",
                "Maschine ausschalten",
                "Mail stops here until somebody turns the machine on; if there is a peer, it takes \
                 over.",
                "Die Post ruht hier, bis jemand die Maschine einschaltet; gibt es ein zweites Gerät, \
                 übernimmt es.",
            ),
        };
        (pick(language, name_en, name_de), pick(language, does_en, does_de))
    }

    /// For the log.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::RestartMail => "restart-mail",
            Self::HandOver => "handover",
            Self::AcceptSite => "accept-site",
            Self::Unlock => "unlock",
            Self::SetPassphrase => "set-passphrase",
            Self::Token => "pair-token",
            Self::Rollback => "rollback",
            Self::Reboot => "reboot",
            Self::PowerOff => "poweroff",
        }
    }

    /// The program, its arguments, and how long it may take.
    fn command(self, tools: &Tools) -> (&Path, Vec<OsString>, Duration) {
        let ours = |words: &[&str]| {
            let mut args: Vec<OsString> = vec!["--config".into(), tools.config.clone().into()];
            args.extend(words.iter().map(OsString::from));
            args
        };
        let words = |words: &[&str]| words.iter().map(OsString::from).collect();
        let (program, args, seconds) = match self {
            Self::Log => {
                let args = [
                    "--unit=understudy.service",
                    LOG_LINES,
                    "--no-pager",
                    "--output=cat",
                    "--quiet",
                ];
                (&tools.journalctl, words(&args), 20)
            }
            Self::RestartMail => (&tools.systemctl, words(&["restart", "understudy.service"]), 120),
            Self::HandOver => (&tools.understudy, ours(&["handover"]), 70),
            Self::AcceptSite => (&tools.understudy, ours(&["appliance", "accept-site"]), 120),
            Self::Unlock => (&tools.understudy, ours(&["appliance", "unlock"]), UNLOCK_S),
            Self::SetPassphrase => {
                (&tools.understudy, ours(&["appliance", "unlock", "--new"]), UNLOCK_S)
            }
            Self::Token => (&tools.understudy, ours(&["pair", "token"]), 70),
            Self::Rollback => (&tools.understudy, ours(&["update", "rollback", "--restart"]), 120),
            Self::Reboot => (&tools.systemctl, words(&["reboot"]), 60),
            Self::PowerOff => (&tools.systemctl, words(&["poweroff"]), 60),
        };
        (program, args, Duration::from_secs(seconds))
    }

    /// Does it, which may take as long as its deadline.
    #[must_use]
    pub fn perform(self, tools: &Tools, typed: Option<&Secret<String>>) -> Outcome {
        let (program, args, wait) = self.command(tools);
        match run(program, &args, typed, clock::mono().after(wait)) {
            Ok(outcome) => outcome,
            Err(e) => {
                let text = Secret::new(format!("{}: {e}", program.display()));
                Outcome { ok: false, text }
            }
        }
    }
}

/// Runs a program to its end or to `deadline`, whichever comes first.
fn run(
    program: &Path,
    args: &[OsString],
    input: Option<&Secret<String>>,
    deadline: Mono,
) -> io::Result<Outcome> {
    let mut child = Command::new(program)
        .args(args)
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin")
        .env("LANG", "C.UTF-8")
        .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let outputs = [
        child.stdout.take().map(|from| collect("screen-stdout", from)),
        child.stderr.take().map(|from| collect("screen-stderr", from)),
    ];
    if let (Some(secret), Some(mut stdin)) = (input, child.stdin.take()) {
        // One line. It fits the pipe, so that a program that reads nothing does not hold us; who has
        // ended already says so itself.
        drop(stdin.write_all(secret.expose().as_bytes()).and_then(|()| stdin.write_all(b"\n")));
    }
    let status = wait(&mut child, deadline)?;
    let mut text = String::new();
    for output in outputs.into_iter().flatten() {
        match output.recv_timeout(OUTPUT_WAIT) {
            Ok(part) => text.push_str(part.expose()),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
        }
    }
    let ok = match status {
        Some(status) if status.success() => true,
        Some(status) => {
            if text.trim().is_empty() {
                text = status.to_string();
            }
            false
        }
        None => {
            text.push_str("\nno answer in time: it was ended");
            false
        }
    };
    Ok(Outcome { ok, text: Secret::new(text) })
}

/// `None` for a program that had to be ended.
fn wait(child: &mut Child, deadline: Mono) -> io::Result<Option<ExitStatus>> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if clock::mono() >= deadline {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// Reads to the end beside us, and keeps the start.
fn collect(name: &'static str, from: impl Read + Send + 'static) -> Receiver<Secret<String>> {
    let (give, take) = sync_channel(1);
    drop(crate::base::task::thread(name, move || {
        let mut bytes = Vec::new();
        let mut from = from;
        let kept = from.by_ref().take(OUTPUT_LEN_MAX).read_to_end(&mut bytes);
        let text = Secret::new(String::from_utf8_lossy(&bytes).into_owned());
        // Nobody waits any more where the deadline has passed.
        drop(give.send(text));
        if kept.is_ok() {
            drop(io::copy(&mut from, &mut io::sink()));
        }
    }));
    take
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tools() -> Tools {
        Tools {
            understudy: "/bin/echo".into(),
            config: "/c.toml".into(),
            systemctl: "/bin/false".into(),
            journalctl: "/nowhere/journalctl".into(),
        }
    }

    fn soon(seconds: u64) -> Mono {
        clock::mono().after(Duration::from_secs(seconds))
    }

    #[test]
    fn a_program_is_given_its_words_and_no_shell() {
        let done = Action::Token.perform(&tools(), None);
        assert!(done.ok);
        assert_eq!(done.text.expose(), "--config /c.toml pair token\n");
        let failed = Action::Reboot.perform(&tools(), None);
        assert!(!failed.ok);
        assert_eq!(failed.text.expose(), "exit status: 1");
        let missing = Action::Log.perform(&tools(), None);
        assert!(!missing.ok && missing.text.expose().contains("/nowhere/journalctl"));
    }

    #[test]
    fn what_is_typed_goes_to_the_input_only() {
        let typed = Secret::new("open $(sesame)".to_owned());
        let done = run(Path::new("/bin/cat"), &[], Some(&typed), soon(60)).unwrap();
        assert_eq!((done.ok, done.text.expose().as_str()), (true, "open $(sesame)\n"));
        let (_, args, _) = Action::Unlock.command(&tools());
        assert_eq!(args, ["--config", "/c.toml", "appliance", "unlock"]);
        // One that does not read its input is no reason to wait or to fail.
        assert!(run(Path::new("/bin/true"), &[], Some(&typed), soon(60)).unwrap().ok);
    }

    #[test]
    fn a_program_that_does_not_end_is_ended() {
        let done = run(Path::new("/bin/sleep"), &["600".into()], None, soon(0)).unwrap();
        assert!(!done.ok && done.text.expose().contains("in time"));
    }

    #[test]
    fn output_is_bounded() {
        let args = ["if=/dev/zero".into(), "bs=1M".into(), "count=8".into(), "status=none".into()];
        let done = run(Path::new("/bin/dd"), &args, None, soon(60)).unwrap();
        assert!(done.ok);
        assert_eq!(done.text.expose().len() as u64, OUTPUT_LEN_MAX);
    }

    #[test]
    fn both_languages_name_every_action() {
        for action in ALL {
            let (en, de) = (action.words(Language::En), action.words(Language::De));
            assert!(en.0 != de.0 && en.1 != de.1, "{action:?}");
            assert!(en.0.len() < 60 && de.0.chars().count() < 60, "{action:?}");
        }
    }
}
