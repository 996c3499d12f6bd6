//! A standby that was away too long is given everything anew, while mail goes on.
//!
//! The pair keeps little log. It is filled, its standby dies, more mail comes than the log keeps,
//! and the standby returns: twice. The first copy is left alone, and the clients' latency before and
//! during it is compared. During the second both appliances are killed. Then everything is counted
//! on both.

use crate::appliance::{Pair, Setup};
use crate::clerk::{Clerks, Door};
use crate::mime::{self, Rng};
use crate::net::{self, Host};
use crate::smtp::{Outcome, Sender};
use crate::spread::{millis, percentile};
use crate::stage::{self, Access, Stage};
use crate::stream::{self, Records};
use crate::timeline::{Timeline, Tone};
use crate::workdir::Workdir;
use crate::{Context, LabError, Options, Result, fail, inventory, lock, now, pause, wait_for};
use std::fs;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Mail in the pair before the copy, when nobody says.
const MIB: u32 = 1_024;
/// How long a returning appliance must hold before it counts.
const STABILITY_MS: u32 = 1_000;
/// From here on a copy takes long enough by itself.
const LARGE_MIB: u32 = 256;
/// Little log is kept: a standby that was away for more needs everything.
const STORE: &str = "segment_mib = 8\nlog_keep_mib = 16\n";
/// Mail that comes while the standby is away, in MiB: more than the log keeps.
const MEANWHILE_MIB: u32 = 48;
/// Connections that fill.
const FILLERS: u32 = 4;
/// How long latencies are taken before the copy.
const BEFORE: Duration = Duration::from_secs(10);
/// How often a copy is broken off.
const KILLS: usize = 3;
/// How long one MiB may take to be copied, beside [`COPY_MAX`].
const COPY_PER_MIB: Duration = Duration::from_millis(500);
/// How long a copy of nothing may take.
const COPY_MAX: Duration = Duration::from_secs(90);
/// How long the primary may take to go on alone.
const ALONE_MAX: Duration = Duration::from_secs(15);
/// What p99 during the copy may be of what it was before.
const RATIO_MAX: f64 = 2.0;

/// Plays it.
///
/// # Errors
/// The world or the pair cannot be made, or a copy does not complete.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    net::build()?;
    let tale = Arc::new(Timeline::start(false));
    let mut work = Workdir::new(options.keep.as_deref())?;
    let mib = options.mib.unwrap_or(MIB);
    tale.say(Tone::Head, format!("{mib} MiB of mail, and a standby that was away too long"));
    // A small copy is slowed down, or it is over before it can be broken off.
    let rate = if mib < LARGE_MIB { 8 } else { 50 };
    let pair = format!("resync_mib_per_s = {rate}\n");
    let setup = Setup { store: STORE.into(), pair, ..Setup::calm(STABILITY_MS) };
    let formed = stage::form(options, &work, &setup, &tale);
    let seed = options.seed.unwrap_or(1);
    let played = formed.and_then(|(mut pair, access)| {
        let played = play(&mut pair, &access, &tale, (mib, seed));
        if !matches!(played, Ok(true)) {
            pair.report_logs();
        }
        played
    });
    if !matches!(played, Ok(true)) {
        work.stays();
    }
    Ok(if played? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn play(
    pair: &mut Pair,
    access: &Access,
    tale: &Arc<Timeline>,
    (mib, seed): (u32, u64),
) -> Result<bool> {
    let mut bulk = Bulk::default();
    bulk.fill(mib, tale)?;
    let door = Door { tls: Arc::clone(&access.tls), password: access.clerk.clone() };
    let mut clerks = Clerks::start(&door, seed)?;
    let mut stage = Stage::open(pair, access, tale, stream::PACE)?;
    let limit = COPY_MAX + COPY_PER_MIB * mib;
    tale.head("A full copy while mail goes on");
    let primary = left_behind(&mut stage, &mut bulk)?;
    let latency = undisturbed(&mut stage, primary, limit)?;
    tale.head(format!("A full copy, broken off {KILLS} times by kill -9"));
    let primary = left_behind(&mut stage, &mut bulk)?;
    broken_off(&mut stage, primary, limit, &mut Rng::new(seed))?;
    tale.head("The stream ends; now everything is counted");
    let mut books = stage.end()?;
    clerks.rest()?;
    clerks.verify()?;
    books.bytes = books.bytes.saturating_add(bulk.bytes);
    books.records.append(&mut bulk.records);
    let counted = inventory::take(pair, access, tale, &books)?;
    clerks.verify()?;
    let wrong = clerks.complaints();
    for what in &wrong {
        tale.say(Tone::Bad, what);
    }
    // Of a small copy a few slow moments are a large share: its figures say little.
    let calm = latency.report(tale) || mib < LARGE_MIB;
    Ok(counted && wrong.is_empty() && calm)
}

/// The standby dies, and more mail comes than the log keeps. Gives the primary.
fn left_behind(stage: &mut Stage<'_>, bulk: &mut Bulk) -> Result<Host> {
    let primary = stage.primary()?;
    stage.pair.of_mut(primary.peer()).kill()?;
    wait_for("the primary goes on alone", ALONE_MAX, || {
        Ok(stage.status(primary).is_ok_and(|s| s.state == "SOLO"))
    })?;
    stage.tale.say(Tone::Bad, format!("{} is dead, {primary} is alone", primary.peer()));
    bulk.fill(MEANWHILE_MIB, stage.tale)?;
    Ok(primary)
}

/// What clients noticed.
struct Latency {
    /// SMTP and IMAP, before and during.
    smtp: [Vec<Duration>; 2],
    imap: [Vec<Duration>; 2],
}

impl Latency {
    /// Says it; whether both ratios are as wanted.
    fn report(&self, tale: &Timeline) -> bool {
        let mut calm = true;
        for (name, [before, during]) in [("SMTP", &self.smtp), ("IMAP", &self.imap)] {
            let of = |times: &[Duration], p| millis(percentile(times, p));
            let ratio = of(during, 99) / of(before, 99).max(0.1);
            let good = ratio <= RATIO_MAX;
            calm &= good;
            let tone = if good { Tone::Good } else { Tone::Bad };
            tale.say(
                tone,
                format!(
                    "{name}: p50 {:.0} ms before, {:.0} during; p99 {:.0} ms before, {:.0} during: \
                     ratio {ratio:.2} (wanted <= {RATIO_MAX:.0}; {} and {} samples)",
                    of(before, 50),
                    of(during, 50),
                    of(before, 99),
                    of(during, 99),
                    before.len(),
                    during.len(),
                ),
            );
        }
        calm
    }
}

fn undisturbed(stage: &mut Stage<'_>, primary: Host, limit: Duration) -> Result<Latency> {
    let from = now();
    pause(BEFORE)?;
    let at = now();
    stage.pair.of_mut(primary.peer()).start()?;
    let copied = complete(stage, primary.peer(), limit)?;
    if !copied {
        return fail("the standby came back without a full copy: the log was still there");
    }
    let took = at.elapsed();
    stage.tale.say(Tone::Good, format!("PAIR again after {:.1} s", took.as_secs_f64()));
    let both = |f: &dyn Fn(Instant, Instant) -> Vec<Duration>| [f(from, at), f(at, now())];
    Ok(Latency {
        smtp: both(&|a, b| stage.smtp_latency(a, b)),
        imap: both(&|a, b| stage.imap_latency(a, b)),
    })
}

/// Waits until the pair is whole; says whether a copy was seen on the way.
fn complete(stage: &mut Stage<'_>, standby: Host, limit: Duration) -> Result<bool> {
    let mut seen = false;
    stage.pair.settle_within("the copy completes and the pair is whole", limit, |pair| {
        seen |= pair.of(standby).is_receiving();
    })?;
    Ok(seen)
}

/// Kills the standby, the primary and the standby again while the copy is under way.
fn broken_off(stage: &mut Stage<'_>, primary: Host, limit: Duration, rng: &mut Rng) -> Result<()> {
    let standby = primary.peer();
    // The log is still kept for the copy before: only a disk that was replaced needs another one.
    let data = stage.pair.of(standby).data();
    for folder in ["log", "system", "tenants"] {
        fs::remove_dir_all(data.join(folder)).context(folder)?;
    }
    fs::remove_file(data.join("pair/register")).context("register")?;
    stage.pair.of_mut(standby).start()?;
    for (kill, host) in [standby, primary, standby].into_iter().enumerate() {
        let (mut receiving, mut whole) = (false, false);
        wait_for("a copy is under way", limit, || {
            // What an earlier attempt left behind is no copy yet: the two must talk, too.
            let talks = stage.status(primary).is_ok_and(|s| s.is_primary() && s.session.is_some());
            receiving = talks && stage.pair.of(standby).is_receiving();
            whole = stage.status(standby).is_ok_and(|s| s.state == "PAIR");
            Ok(receiving || whole)
        })?;
        if whole {
            return fail(format!("the copy was over before kill {} of {KILLS}", kill + 1));
        }
        pause(Duration::from_millis(rng.below(400)))?;
        stage.pair.of_mut(host).kill()?;
        stage.tale.say(Tone::Bad, format!("SIGKILL of {host} while {standby} is being copied to"));
        pause(Duration::from_millis(rng.below(1_000)))?;
        stage.pair.of_mut(host).start()?;
    }
    let at = now();
    complete(stage, standby, limit)?;
    let took = at.elapsed().as_secs_f64();
    stage.tale.say(Tone::Good, format!("PAIR again {took:.1} s after the last start"));
    Ok(())
}

/// Large messages, and their books.
#[derive(Default)]
struct Bulk {
    records: Records,
    bytes: u64,
    next: u32,
}

impl Bulk {
    /// Sends so many MiB.
    fn fill(&mut self, mib: u32, tale: &Timeline) -> Result<()> {
        let at = now();
        let shared = Arc::new((AtomicU32::new(self.next), Mutex::new(Records::new())));
        let end = self.next.saturating_add(mib);
        let mut threads = Vec::new();
        for n in 0..FILLERS {
            let shared = Arc::clone(&shared);
            let body = move || {
                let (next, records) = &*shared;
                fill(next, end, records)
            };
            threads.push(net::thread(Host::Sender, &format!("filler {n}"), body)?);
        }
        for thread in threads {
            self.bytes = self.bytes.saturating_add(net::join(thread)??);
        }
        self.next = end;
        self.records.append(&mut lock(&shared.1));
        let per_s = f64::from(mib) / at.elapsed().as_secs_f64();
        tale.say(Tone::Plain, format!("{mib} MiB accepted, {per_s:.0} MiB a second"));
        Ok(())
    }
}

fn fill(next: &AtomicU32, end: u32, records: &Mutex<Records>) -> Result<u64> {
    let (mut session, mut bytes) = (None, 0_u64);
    loop {
        let index = next.fetch_add(1, Relaxed);
        if index >= end {
            return Ok(bytes);
        }
        let number = mime::BULK_FROM.saturating_add(index);
        let message = mime::message(number);
        let mut left = FILL_ATTEMPTS;
        loop {
            left = left.checked_sub(1).ok_or_else(|| {
                LabError(format!("message {number} was not accepted in {FILL_ATTEMPTS} attempts"))
            })?;
            let Some(mut open) = session.take().or_else(|| Sender::connect().ok()) else {
                pause(FILL_PAUSE)?;
                continue;
            };
            let outcome = open.send(mime::recipient(number).address, &message);
            let mut records = lock(records);
            let record = records.entry(number).or_default();
            record.attempts = record.attempts.saturating_add(1);
            match outcome {
                Outcome::Accepted => {
                    record.accepted = Some(now());
                    session = Some(open);
                    bytes = bytes.saturating_add(u64::try_from(message.len()).unwrap_or_default());
                    break;
                }
                Outcome::Rejected(why) => return fail(format!("message {number}: {why}")),
                Outcome::Open => record.open = record.open.saturating_add(1),
                Outcome::Later => {}
            }
            drop(records);
            pause(FILL_PAUSE)?;
        }
    }
}

/// Attempts for one large message, and the pause between two.
const FILL_ATTEMPTS: u32 = 200;
const FILL_PAUSE: Duration = Duration::from_millis(100);
