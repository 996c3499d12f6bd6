//! The main job on machines: the image is flashed on two of them, they form a pair by what their
//! `site.toml` says, mail comes in, one loses its power and comes back, both are updated, a bad update
//! goes back by itself, one is lost for good and replaced; then everything is counted on both.
//!
//! The processors are emulated: times are printed, none is judged.

use crate::appliance::Status;
use crate::count::{self, Copy};
use crate::desk::Desk;
use crate::imap::{self, Reader};
use crate::machine::{self, Machine};
use crate::mime::PEOPLE;
use crate::net::{self, Host};
use crate::probe::{Prober, ms};
use crate::stream::{Records, Stream};
use crate::timeline::{Timeline, Tone, print};
use crate::workdir::Workdir;
use crate::{Context, LabError, Options, Result, fail, now, pause, wait_for};
use rustls::ClientConfig;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::Duration;

/// Pause of a sender between two messages: two emulated machines share two cores with everything else.
const PACE: Duration = Duration::from_millis(1_500);
/// How long a scene of the stream lasts.
const SCENE: Duration = Duration::from_secs(20);
/// How long the floating address may be silent.
const SILENCE_MAX: Duration = Duration::from_secs(120);
/// How long senders wait for the answer to a message: here the primary itself may wait for its standby for
/// half a minute.
const ANSWER_MAX: Duration = Duration::from_secs(120);
/// How long an update of both may take, or one that fails twice.
const UPDATE_MAX: Duration = Duration::from_secs(2_400);
/// How long a server may need to answer a reader.
const PATIENCE: Duration = Duration::from_secs(60);
/// Timers for a processor that stands still for hundreds of milliseconds at times.
const SLOW: &str = "\n[settings.pair]\nheartbeat_ms = 100\nheartbeats_missed_max = 20\n\
    session_silence_heartbeats = 60\nlease_ms = 1500\nack_timeout_ms = 12000\nstability_ms = 5000\n\
    boot_wait_ms = 300000\nstale_after_ms = 2500\nsolo_after_ms = 2500\nnap_ms = 3000\n\
    handover_ms = 15000\nconnect_timeout_ms = 5000\n";

/// The two machines, and what the lab knows of them.
struct Machines {
    a: Machine,
    b: Machine,
    /// Where the site files lie.
    dir: PathBuf,
    /// The image, unpacked.
    image: PathBuf,
}

impl Machines {
    fn of(&self, host: Host) -> &Machine {
        if host == Host::B { &self.b } else { &self.a }
    }

    fn of_mut(&mut self, host: Host) -> &mut Machine {
        if host == Host::B { &mut self.b } else { &mut self.a }
    }

    fn status(&self, host: Host) -> Result<Status> {
        let text = self.of(host).cli(&["status", "--json"])?;
        let report: Value = serde_json::from_str(&text).context("status")?;
        Status::read(&report)
    }

    fn is_pair(&self) -> bool {
        let both = [Host::A, Host::B].map(|host| self.status(host).ok());
        both.iter().all(|s| s.as_ref().is_some_and(|s| s.state == "PAIR"))
    }

    fn updates(&self, host: Host) -> Result<Value> {
        let text = self.of(host).cli(&["update", "status", "--json"])?;
        serde_json::from_str(&text).context("update status")
    }

    fn version(&self, host: Host) -> Result<String> {
        let status = self.updates(host)?;
        let version = status.pointer("/running").and_then(Value::as_str);
        version.map_or_else(|| fail("no version in the update's status"), |v| Ok(v.to_owned()))
    }

    /// Whether no update is under way.
    fn are_idle(&self) -> bool {
        [Host::A, Host::B].into_iter().all(|host| {
            self.updates(host).is_ok_and(|status| {
                let state = status.pointer("/roll/state").and_then(Value::as_str);
                state != Some("under-way")
            })
        })
    }

    /// Says how the updates stand, where that has changed.
    fn tell_updates(&self, told: &mut String, tale: &Timeline) {
        let one = |host: Host| {
            let status = self.updates(host).ok();
            let text = |path| {
                let value = status.as_ref().and_then(|s| s.pointer(path)).cloned();
                value.unwrap_or_default().to_string()
            };
            format!("{host}: {} {} {}", text("/running"), text("/standing"), text("/roll"))
        };
        let now = format!("{}   {}", one(Host::A), one(Host::B));
        if now != *told {
            tale.say(Tone::Plain, &now);
            *told = now;
        }
    }

    /// Who is primary; waits a little for one.
    fn primary(&self) -> Result<Host> {
        let mut found = None;
        wait_for("one machine is primary", SILENCE_MAX, || {
            let is = |host: &Host| self.status(*host).is_ok_and(|s| s.is_primary());
            found = [Host::A, Host::B].into_iter().find(is);
            Ok(found.is_some())
        })?;
        found.ok_or_else(|| LabError("nobody is primary".into()))
    }
}

/// Plays it.
///
/// # Errors
/// The world or the machines cannot be made, or a scene does not end as it should.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let Some(image) = &options.image else { return fail("--image: which?") };
    net::build()?;
    for host in [Host::A, Host::B] {
        net::make_room(host)?;
    }
    let tale = Arc::new(Timeline::start(false));
    let mut work = Workdir::new(options.keep.as_deref())?;
    let played = flash(options, image, work.path(), &tale).and_then(|mut machines| {
        let good = play(options, &mut machines, &tale);
        if !matches!(good, Ok(true)) {
            for machine in [&machines.a, &machines.b] {
                print(&format!("\n--- {}\n{}", machine.serial().display(), machine.last_lines()));
                let status = machine.read_fat("STATUS.txt").unwrap_or_else(|e| e.to_string());
                print(&format!("--- STATUS.txt\n{status}"));
            }
        }
        good
    });
    if !matches!(played, Ok(true)) {
        work.stays();
    }
    Ok(if played? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Two disks from one image, each with its own `site.toml`.
fn flash(options: &Options, image: &Path, dir: &Path, tale: &Timeline) -> Result<Machines> {
    tale.head("1  One image is flashed on two machines; site.toml says which is which");
    let raw = dir.join("image");
    let mut unpack = Command::new("zstd");
    unpack.args(["-d", "-q", "--sparse", "-o"]).arg(&raw).arg(image);
    if !unpack.status().context("zstd")?.success() {
        return fail(format!("{} cannot be unpacked", image.display()));
    }
    machine::make_key(dir)?;
    let [a, b] = sites(&options.binary, dir)?;
    let a = Machine::flash(Host::A, dir, &raw, &a)?;
    let b = Machine::flash(Host::B, dir, &raw, &b)?;
    Ok(Machines { a, b, dir: dir.to_owned(), image: raw })
}

fn play(options: &Options, machines: &mut Machines, tale: &Arc<Timeline>) -> Result<bool> {
    let at = now();
    machines.a.switch_on()?;
    machines.b.switch_on()?;
    machines.a.wait("answers to SSH", |m| m.cli(&["--version"]).is_ok())?;
    tale.say(Tone::Plain, format!("A answers, {} after the power switch", ms(at.elapsed())));
    machines.b.wait("answers to SSH", |m| m.cli(&["--version"]).is_ok())?;
    settle(machines, "the pair forms by itself")?;
    tale.say(Tone::Good, format!("PAIR, {} after the power switch", ms(at.elapsed())));
    let access = provision(machines)?;
    let prober = Prober::start()?;
    let stream = Stream::start(PACE, ANSWER_MAX)?;
    let [ada, _] = PEOPLE;
    let desk = Desk::start(&access.tls, ada.address, &access.passwords[0])?;
    tale.head("2  Mail comes in at the floating address");
    go_on(&stream, tale)?;

    let lost = machines.primary()?;
    tale.head(format!("3  The power of {lost}, the primary, fails"));
    let at = now();
    machines.of_mut(lost).cut_power()?;
    first_banner(&prober, at, tale, lost.peer())?;
    go_on(&stream, tale)?;
    machines.of_mut(lost).switch_on()?;
    settle(machines, "the pair is whole again")?;
    tale.say(Tone::Good, format!("PAIR again, {} after the power cut", ms(at.elapsed())));

    if let Some(update) = &options.update {
        tale.head("4  Both are updated under the stream, one after the other");
        upgrade(machines, update, tale)?;
        go_on(&stream, tale)?;
    }
    if let Some(bad) = &options.bad {
        tale.head("5  A bad update goes back by itself");
        suffer(machines, bad, tale)?;
        go_on(&stream, tale)?;
    }

    let dead = machines.primary()?;
    tale.head(format!("6  {dead}, the primary, dies for good; a new machine takes its place"));
    let at = now();
    machines.of_mut(dead).cut_power()?;
    first_banner(&prober, at, tale, dead.peer())?;
    replace(machines, dead)?;
    go_on(&stream, tale)?;
    settle(machines, "the new machine is part of the pair")?;
    tale.say(Tone::Good, format!("PAIR, {} after the old one died", ms(at.elapsed())));
    go_on(&stream, tale)?;

    tale.head("7  The stream ends; now everything is counted, on one machine and on the other");
    let (records, _) = stream.finish()?;
    let seen = desk.finish()?;
    prober.finish()?;
    let first = machines.primary()?;
    let one = show(&access)?;
    machines.of(first).cli(&["handover"])?;
    wait_for("the other is primary", SILENCE_MAX, || {
        Ok(machines.status(first.peer()).is_ok_and(|s| s.is_primary()))
    })?;
    let two = show(&access)?;
    for complaint in &seen.complaints {
        print(&format!("  Ada: {complaint}"));
    }
    Ok(report(&records, &one, &two) && seen.complaints.is_empty())
}

/// Orders an update on the primary, and does not stay: that machine restarts in the course of it.
fn order(machines: &Machines, update: &Path, tale: &Timeline) -> Result<Host> {
    let host = machines.primary()?;
    let at = now();
    let said = machines.of(host).feed(update, &["update", "install", "--detach", "-"])?;
    tale.say(Tone::Plain, format!("{host} has the update, {} after the order", ms(at.elapsed())));
    for line in said.lines() {
        tale.say(Tone::Plain, format!("{host}: {line}"));
    }
    Ok(host)
}

fn upgrade(machines: &Machines, update: &Path, tale: &Timeline) -> Result<()> {
    let before = [machines.version(Host::A)?, machines.version(Host::B)?];
    let at = now();
    order(machines, update, tale)?;
    let mut told = String::new();
    wait_for("both run the new version", UPDATE_MAX, || {
        pause(Duration::from_secs(5))?;
        machines.tell_updates(&mut told, tale);
        let is_new = |(host, old): (Host, &String)| machines.version(host).is_ok_and(|v| v != *old);
        let new = [Host::A, Host::B].into_iter().zip(&before).all(is_new);
        Ok(new && machines.is_pair() && machines.are_idle())
    })?;
    let version = machines.version(Host::A)?;
    tale.say(Tone::Good, format!("both run {version}, PAIR, {} after the order", ms(at.elapsed())));
    Ok(())
}

fn suffer(machines: &Machines, bad: &Path, tale: &Timeline) -> Result<()> {
    let before = [machines.version(Host::A)?, machines.version(Host::B)?];
    let at = now();
    let by = order(machines, bad, tale)?;
    let mut told = String::new();
    wait_for("the bad update is given up", UPDATE_MAX, || {
        pause(Duration::from_secs(5))?;
        machines.tell_updates(&mut told, tale);
        let failed = machines.updates(by.peer()).is_ok_and(|s| {
            s.pointer("/failed").and_then(Value::as_array).is_some_and(|f| !f.is_empty())
        });
        Ok(failed && machines.is_pair() && machines.are_idle())
    })?;
    let after = [machines.version(Host::A)?, machines.version(Host::B)?];
    if before != after {
        return fail(format!("ran {before:?} before, {after:?} after the bad update"));
    }
    tale.say(Tone::Good, format!("both run what they ran, PAIR, {} later", ms(at.elapsed())));
    Ok(())
}

/// Waits until both say PAIR.
fn settle(machines: &mut Machines, what: &str) -> Result<()> {
    wait_for(what, machine::START_MAX, || {
        pause(Duration::from_secs(2))?;
        Ok(machines.is_pair())
    })
}

fn go_on(stream: &Stream, tale: &Timeline) -> Result<()> {
    let before = stream.accepted();
    pause(SCENE)?;
    wait_for("the stream goes on", SILENCE_MAX, || Ok(stream.accepted() > before))?;
    tale.say(Tone::Plain, format!("{} messages accepted so far", stream.accepted()));
    Ok(())
}

fn first_banner(prober: &Prober, at: std::time::Instant, tale: &Timeline, by: Host) -> Result<()> {
    let mut first = None;
    wait_for("a banner on the floating address", SILENCE_MAX, || {
        first = prober.first(at);
        Ok(first.is_some())
    })?;
    let took = first.map_or_else(|| at.elapsed(), |first| first.saturating_duration_since(at));
    tale.say(Tone::Good, format!("{by} answers at the floating address, {} later", ms(took)));
    Ok(())
}

/// A new machine in the place of one that is gone: flashed, with the pair's token in its site file.
fn replace(machines: &mut Machines, dead: Host) -> Result<()> {
    let token = machines.of(dead.peer()).cli(&["pair", "token"])?;
    let before =
        std::fs::read_to_string(machines.dir.join(site_name(dead))).context("site file")?;
    let token = format!("token = \"{}\"\n", token.trim());
    let line = |line: &str| {
        if line.starts_with("secret = ") { token.clone() } else { format!("{line}\n") }
    };
    let site: String = before.lines().map(line).collect();
    let image = machines.image.clone();
    let machine = machines.of_mut(dead);
    machine.flash_again(&image, &site)?;
    machine.switch_on()
}

fn site_name(host: Host) -> String {
    format!("site-{}.toml", host.name())
}

/// How people get in.
struct Access {
    tls: Arc<ClientConfig>,
    passwords: [String; 2],
}

fn provision(machines: &Machines) -> Result<Access> {
    // On whoever is primary by then: an emulated machine that stood still may have lost the role.
    let say = |words: &[&str]| {
        let mut said = Ok(String::new());
        let heard = wait_for("the primary does what it is told", SILENCE_MAX, || {
            said = machines.of(machines.primary()?).cli(words);
            if let Err(e) = &said {
                print(&format!("  {e}"));
                pause(Duration::from_secs(2))?;
            }
            Ok(said.is_ok())
        });
        heard.and(said)
    };
    say(&["tenant", "create", "customer"])?;
    say(&["domain", "add", "customer", "customer.example"])?;
    let make = |address: &str| {
        say(&["account", "create", address])?;
        let made = say(&["credential", "app-password", address, "--label", "lab"])?;
        Ok::<_, LabError>(made.trim().to_owned())
    };
    let [ada, grace] = PEOPLE;
    Ok(Access {
        tls: imap::trust_anybody()?,
        passwords: [make(ada.address)?, make(grace.address)?],
    })
}

fn show(access: &Access) -> Result<Copy> {
    let (tls, passwords) = (Arc::clone(&access.tls), access.passwords.clone());
    let thread = net::thread(Host::Client, "count", move || {
        let mut copy = Copy::default();
        for (person, password) in PEOPLE.iter().zip(&passwords) {
            let mut reader = None;
            wait_for("sign in", SILENCE_MAX, || {
                reader = Reader::open(&tls, person.address, password, PATIENCE).ok();
                Ok(reader.is_some())
            })?;
            let mut reader = reader.ok_or_else(|| LabError("no session".into()))?;
            copy.mailboxes.insert(*person, reader.items(1)?);
        }
        Ok(copy)
    })?;
    net::join(thread)?
}

fn report(records: &Records, one: &Copy, two: &Copy) -> bool {
    let totals = count::totals(records);
    let verdicts = [one, two].map(|copy| count::judge(records, copy));
    for verdict in &verdicts {
        print(&format!(
            "  accepted {}, there once {}, missing {:?}, double {:?}, strange {:?}",
            totals.accepted, verdict.once, verdict.missing, verdict.double, verdict.strange
        ));
    }
    let good = verdicts.iter().all(count::Verdict::is_good)
        && one == two
        && totals.accepted > 0
        && totals.rejected == 0;
    print(if good {
        "\n  Nothing that was accepted is missing or double on either machine.\n"
    } else {
        "\n  THIS IS NOT RIGHT: see above.\n"
    });
    good
}

/// The two site files, made as an operator makes them, and more for emulated processors.
fn sites(binary: &Path, dir: &Path) -> Result<[String; 2]> {
    let public = dir.join("key.pub");
    let mut make = Command::new(binary);
    make.args(["site-config", "make", "--hostname", "mx.customer.example", "--name", "mail"]);
    make.args(["--language", "en", "--floating", net::FLOATING]);
    for (host, more) in [(Host::A, ""), (Host::B, "-b")] {
        let address = format!("{}/24", host.service());
        make.args([&format!("--interface{more}"), &net::mac(host, "service")]);
        make.args([&format!("--address{more}"), &address]);
        make.args([&format!("--crosslink{more}"), &net::mac(host, "link")]);
        make.args([&format!("--crosslink-address{more}"), &format!("{}/24", host.link())]);
    }
    make.arg("--ssh-key").arg(&public).arg("--out").arg(dir);
    let made = make.output().context("site-config make")?;
    if !made.status.success() {
        return fail(format!("site-config make: {}", String::from_utf8_lossy(&made.stderr)));
    }
    let site = |host: Host| {
        let path = dir.join(site_name(host));
        let text = std::fs::read_to_string(&path).context(path.display())?;
        let text = format!("{text}{SLOW}");
        std::fs::write(&path, &text).context(path.display())?;
        Ok::<_, LabError>(text)
    };
    Ok([site(Host::A)?, site(Host::B)?])
}
