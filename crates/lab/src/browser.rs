//! A person writes in a real browser while the node behind it goes: is every character kept, and when
//! does the app hear of new mail again?
//!
//! The browser lives on the client's host and plays `ui/takeover`; lab and browser speak through files
//! of one folder: `cut-N` asks for a fault, `moved-N` answers with the times of the fault and of the
//! first banner on the floating address, `back-N` says when the app's stream was there again, `ready-N`
//! that both appliances are. The stream's time is judged only where somebody gives a limit
//! (`--within`); that nothing was lost is, always, by the journey itself.

use crate::appliance::{Pair, Setup};
use crate::net::{self, FLOATING, Host};
use crate::probe::{Prober, ms};
use crate::timeline::{Timeline, Tone};
use crate::workdir::Workdir;
use crate::{Context, LabError, Options, Result, fail, interrupt, now, stage, wait_for};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitCode, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Kinds of takeover.
const KINDS: usize = 3;
/// What had come before the fault may be noticed so long after it.
const UNDER_WAY: Duration = Duration::from_millis(5);
/// How long a returning appliance must hold before the next round.
const STABILITY_MS: u32 = 500;
/// How long the browser may take from one word to the next.
const PATIENCE: Duration = Duration::from_secs(90);
/// How long the floating address may stay silent.
const SILENCE_MAX: Duration = Duration::from_secs(30);
const USER: &str = "browser@customer.example";
const PASSWORD: &str = "a long enough password";
/// Playwright, as `npm ci` puts it into `ui`.
const PLAYWRIGHT: &str = "node_modules/@playwright/test/cli.js";

/// Plays it.
///
/// # Errors
/// The world or the pair cannot be made, or the browser is not there.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let ui = std::path::absolute("ui").context("ui")?;
    if !ui.join(PLAYWRIGHT).is_file() {
        return fail(
            "ui/node_modules is not there: (cd ui && npm ci); run this in the project's folder",
        );
    }
    net::build()?;
    let tale = Timeline::start(options.json);
    let mut work = Workdir::new(options.keep.as_deref())?;
    let folder = work.path().join("stage");
    fs::create_dir_all(&folder).context(folder.display())?;
    let setup = Setup { witness: options.witness, ..Setup::calm(STABILITY_MS) };
    let good = stage::with_pair(options, &mut work, "pair", &setup, &tale, |pair| {
        let primary = pair.primary().ok_or_else(|| LabError("nobody is primary".into()))?;
        pair.of(primary).cli(&["account", "create", USER])?;
        pair.of(primary).cli_with_input(&["credential", "password", USER], PASSWORD)?;
        let rounds = options.rounds.unwrap_or(KINDS).max(1);
        let mut browser = Browser::start(&ui, folder, rounds)?;
        tale.head(format!("a browser on https://{FLOATING}, and {rounds} takeovers"));
        let prober = Prober::start()?;
        let mut good = true;
        for round in 0..rounds {
            good &= takeover(pair, &mut browser, &prober, round, options.within, &tale)?;
        }
        prober.finish()?;
        browser.end()?;
        Ok(good)
    })?;
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// One takeover; whether the stream was back in time.
fn takeover(
    pair: &mut Pair,
    browser: &mut Browser,
    prober: &Prober,
    round: usize,
    within: Option<u32>,
    tale: &Timeline,
) -> Result<bool> {
    browser.wait(&format!("cut-{round}"))?;
    let primary = pair.primary().ok_or_else(|| LabError("nobody is primary".into()))?;
    let (at, wall) = (now(), wall_ms()?);
    // None sends the browser a word: a switch that fails under both cables; a cable pulled out of the
    // side where the clients are; the first again, behind a firewall that lets no tickle through.
    let what = match round % KINDS {
        0 => net::cut_off(primary).map(|()| "both of its networks are cut")?,
        1 => net::unplug(primary, "service").map(|()| "its cable to the clients is out")?,
        _ => {
            firewall(true)?;
            net::cut_off(primary)?;
            "both of its networks are cut, and a firewall keeps tickles from a person who waits"
        }
    };
    let moved = first_banner(prober, now() + UNDER_WAY)?.saturating_duration_since(at);
    browser.tell(
        &format!("moved-{round}"),
        &json!({ "cut": wall, "moved": wall + moved.as_secs_f64() * 1e3 }),
    )?;
    let back = browser.wait(&format!("back-{round}"))?;
    let back: Value = serde_json::from_str(&back).context("back")?;
    let number = |key: &str| {
        let number = back.get(key).and_then(Value::as_f64);
        number.ok_or_else(|| LabError(format!("the browser did not say {key}: {back}")))
    };
    let since_cut = number("stream")? - wall;
    let since_moved = since_cut - moved.as_secs_f64() * 1e3;
    let late = within.is_some_and(|within| since_moved > f64::from(within) * 1e3);
    let text = format!(
        "{primary}: {what}; address moved after {}, the app's stream is back after {since_cut:.0} ms, \
         {since_moved:.0} ms after the address; {:.0} characters written, none lost",
        ms(moved),
        number("characters")?
    );
    tale.say(if late { Tone::Bad } else { Tone::Good }, text);
    firewall(false)?;
    net::mend_all(primary)?;
    net::plug_in(primary, "service")?;
    pair.settle("the pair is whole again")?;
    browser.tell(&format!("ready-{round}"), &json!({}))?;
    Ok(!late)
}

fn first_banner(prober: &Prober, at: Instant) -> Result<Instant> {
    let mut first = None;
    wait_for("a banner on the floating address", SILENCE_MAX, || {
        first = prober.first(at);
        Ok(first.is_some())
    })?;
    first.map_or_else(|| fail("no banner"), Ok)
}

/// Whether the client's host refuses tickles: ACKs without a timestamp, which its connections have.
fn firewall(stands: bool) -> Result<()> {
    let rules = "add table inet lab\nflush table inet lab\n".to_owned()
        + if stands {
            "add chain inet lab in { type filter hook input priority 0; }\n\
             add rule inet lab in tcp sport 443 ip length 40 tcp flags == ack drop\n"
        } else {
            "delete table inet lab\n"
        };
    let mut command = net::command(Host::Client, Path::new("nft"));
    let output = command.arg(rules).output().context("nft (Debian package nftables)")?;
    if output.status.success() {
        return Ok(());
    }
    fail(format!("nft: {}", String::from_utf8_lossy(&output.stderr).trim()))
}

/// The clock that the browser has, too.
#[expect(clippy::disallowed_methods, reason = "the lab measures real time and decides nothing")]
fn wall_ms() -> Result<f64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH).context("clock")?.as_secs_f64() * 1e3)
}

/// The browser with its journey. It ends with the lab, and must be started by the main thread.
struct Browser {
    child: Child,
    folder: PathBuf,
}

impl Browser {
    fn start(ui: &Path, folder: PathBuf, rounds: usize) -> Result<Self> {
        let mut command = net::command(Host::Client, Path::new("node"));
        command.args([PLAYWRIGHT, "test"]).current_dir(ui).stdin(Stdio::null());
        command.env("UI_BASE_URL", format!("https://{FLOATING}"));
        command.env("UI_USER", USER).env("UI_PASSWORD", PASSWORD);
        command.env("UI_STAGE", &folder).env("UI_ROUNDS", rounds.to_string());
        command.process_group(0);
        let child =
            interrupt::unblocked(|| command.spawn()).context("node (Debian package nodejs)")?;
        Ok(Self { child, folder })
    }

    /// Waits for its next word.
    fn wait(&mut self, name: &str) -> Result<String> {
        let path = self.folder.join(name);
        wait_for(&format!("the browser's {name}"), PATIENCE, || {
            if path.exists() {
                return Ok(true);
            }
            match self.child.try_wait().context("wait")? {
                None => Ok(false),
                Some(status) => fail(format!("the journey ended before {name} ({status})")),
            }
        })?;
        fs::read_to_string(&path).context(path.display())
    }

    /// Says something, as a whole.
    fn tell(&self, name: &str, what: &Value) -> Result<()> {
        let (new, path) = (self.folder.join("new"), self.folder.join(name));
        fs::write(&new, what.to_string()).context(new.display())?;
        fs::rename(&new, &path).context(path.display())
    }

    /// Waits until the journey is over; it says itself what was wrong.
    fn end(mut self) -> Result<()> {
        let mut status = None;
        wait_for("the journey ends", PATIENCE, || {
            status = self.child.try_wait().context("wait")?;
            Ok(status.is_some())
        })?;
        match status {
            Some(status) if status.success() => Ok(()),
            Some(status) => fail(format!("the journey failed ({status})")),
            None => fail("the journey does not end"),
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Chromium ends when its pipe to Playwright closes.
        if matches!(self.child.try_wait(), Ok(None)) && self.child.kill().is_ok() {
            self.child.wait().map(drop).unwrap_or_default();
        }
    }
}
