//! What every play needs: the pair with its people, senders and readers at work, and the books.

use crate::appliance::{Pair, Setup, Status};
use crate::clerk;
use crate::clerk::sides::Sides;
use crate::desk::{self, Desk, Seen};
use crate::imap;
use crate::mime::{self, PEOPLE};
use crate::net::{FLOATING, Host};
use crate::probe::{Prober, ms};
use crate::smtp::FINAL_PATIENCE;
use crate::stream::{Records, SENDERS, Stream};
use crate::timeline::{Timeline, Tone};
use crate::watch::Watch;
use crate::workdir::Workdir;
use crate::{Context, LabError, Options, Result, fail, now, pause, wait_for};
use rustls::ClientConfig;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long the floating address may stay silent before the play is broken off.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// A stream that has accepted nothing for so long stands still.
const STANDSTILL: Duration = Duration::from_secs(30);
/// How long a kill waits for the stream to be in the middle of something.
const MIDST_MAX: Duration = Duration::from_secs(3);

/// Something that was done to the pair, and what the world noticed.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    /// What was done.
    pub(crate) what: String,
    /// Longest time without an SMTP banner.
    pub(crate) smtp: Duration,
    /// Longest time without an answer to the reader.
    pub(crate) imap: Duration,
}

/// The play as it runs.
pub(crate) struct Stage<'a> {
    pub(crate) tale: &'a Timeline,
    pub(crate) pair: &'a mut Pair,
    /// Who works on both sides of a split, where there are splits.
    pub(crate) sides: Option<Sides>,
    stream: Stream,
    events: Vec<Event>,
    prober: Prober,
    desk: Desk,
    watch: Watch,
}

/// How people get in.
#[derive(Clone)]
pub(crate) struct Access {
    /// Trusts the pair's authority.
    pub(crate) tls: Arc<ClientConfig>,
    /// The app passwords of [`PEOPLE`].
    pub(crate) passwords: [String; 2],
    /// The app password of the clerks' account.
    pub(crate) clerk: String,
}

/// The books, when the stream has ended.
pub(crate) struct Books {
    /// What was done, and what the world noticed.
    pub(crate) events: Vec<Event>,
    /// What was sent.
    pub(crate) records: Records,
    /// Bytes of what was accepted.
    pub(crate) bytes: u64,
    /// What the reader saw.
    pub(crate) seen: Seen,
}

/// Forms the pair and makes the people in it.
///
/// # Errors
/// A command is refused; the ends of both logs have been printed then.
pub(crate) fn form(
    options: &Options,
    work: &Workdir,
    setup: &Setup,
    tale: &Timeline,
) -> Result<(Pair, Access)> {
    form_in(options, work.path(), setup, tale)
}

/// [`form`] in a folder, which is made.
///
/// # Errors
/// As [`form`].
pub(crate) fn form_in(
    options: &Options,
    dir: &Path,
    setup: &Setup,
    tale: &Timeline,
) -> Result<(Pair, Access)> {
    fs::create_dir_all(dir).context(dir.display())?;
    let mut pair = Pair::form(options, dir, setup, tale)?;
    let access = provision(&mut pair, tale);
    if access.is_err() {
        pair.report_logs();
    }
    Ok((pair, access?))
}

/// [`form_in`] a folder of the run's own, and what `body` does with the pair. When that fails, the
/// ends of both logs have been printed and the folder stays.
///
/// # Errors
/// As [`form`], and those of `body`.
pub(crate) fn with_pair<T>(
    options: &Options,
    work: &mut Workdir,
    folder: &str,
    setup: &Setup,
    tale: &Timeline,
    body: impl FnOnce(&mut Pair) -> Result<T>,
) -> Result<T> {
    let formed = form_in(options, &work.path().join(folder), setup, tale);
    let done = formed.and_then(|(mut pair, _)| {
        let done = body(&mut pair);
        if let Err(e) = &done {
            tale.say(Tone::Bad, e);
            pair.report_logs();
        }
        done
    });
    if done.is_err() {
        work.stays();
    }
    done
}

fn provision(pair: &mut Pair, tale: &Timeline) -> Result<Access> {
    let at = pair.primary().ok_or_else(|| LabError("nobody is primary".into()))?;
    let primary = pair.of(at);
    primary.cli(&["tenant", "create", "customer"])?;
    primary.cli(&["domain", "add", "customer", "customer.example"])?;
    let make = |address: &str| {
        primary.cli(&["account", "create", address])?;
        primary.cli(&["credential", "app-password", address, "--label", "lab"])
    };
    let [ada, grace] = PEOPLE;
    let passwords = [make(ada.address)?, make(grace.address)?];
    tale.say(
        Tone::Good,
        format!("tenant customer, domain customer.example, {} and {}", ada.address, grace.address),
    );
    let clerk = make(clerk::ADDRESS)?;
    Ok(Access { tls: imap::trust(&primary.authority())?, passwords, clerk })
}

impl<'a> Stage<'a> {
    /// Lets senders and readers begin.
    ///
    /// # Errors
    /// A thread cannot be made.
    pub(crate) fn open(
        pair: &'a mut Pair,
        access: &Access,
        tale: &'a Arc<Timeline>,
        pace: Duration,
    ) -> Result<Self> {
        let watch = Watch::start(pair, tale);
        let [ada, _] = PEOPLE;
        let [password, _] = &access.passwords;
        let desk = Desk::start(&access.tls, ada.address, password)?;
        let prober = Prober::start()?;
        let stream = Stream::start(pace, FINAL_PATIENCE)?;
        tale.say(
            Tone::Plain,
            format!("{SENDERS} outside mail servers send to {FLOATING}; Ada reads by IMAP"),
        );
        let (events, sides) = (Vec::new(), None);
        Ok(Self { tale, pair, sides, stream, events, prober, desk, watch })
    }

    /// Who is primary; waits a little for exactly one.
    pub(crate) fn primary(&self) -> Result<Host> {
        let mut found = None;
        wait_for("one appliance is primary", SILENCE_MAX, || {
            found = self.pair.primary();
            Ok(found.is_some())
        })?;
        found.ok_or_else(|| LabError("nobody is primary".into()))
    }

    /// Lets the stream go on for so long, and says how far it is.
    ///
    /// # Errors
    /// It stands still.
    pub(crate) fn go_on(&self, time: Duration) -> Result<()> {
        let (start, before) = (now(), self.stream.accepted());
        pause(time)?;
        wait_for("the stream goes on", STANDSTILL, || Ok(self.stream.accepted() > before))?;
        let more = self.stream.accepted().saturating_sub(before);
        let rate = f64::from(more) / start.elapsed().as_secs_f64();
        self.tale.say(
            Tone::Plain,
            format!(
                "{} messages accepted so far ({}), {rate:.0} a second; Ada has read {}",
                self.stream.accepted(),
                mime::bytes(self.stream.bytes()),
                self.desk.count(),
            ),
        );
        Ok(())
    }

    /// The books as they are now.
    pub(crate) fn records(&self) -> Records {
        self.stream.records()
    }

    /// How long small messages took to be accepted between the two.
    pub(crate) fn smtp_latency(&self, from: Instant, until: Instant) -> Vec<Duration> {
        self.stream.latencies(from, until)
    }

    /// How long the reader's looks took between the two.
    pub(crate) fn imap_latency(&self, from: Instant, until: Instant) -> Vec<Duration> {
        self.desk.latencies(from, until)
    }

    /// How many messages were accepted.
    pub(crate) fn accepted(&self) -> u32 {
        self.stream.accepted()
    }

    /// The longest time without a banner around `from`, up to now.
    pub(crate) fn gap(&self, from: Instant) -> Duration {
        self.prober.gap(from)
    }

    /// Waits until transactions are under way, so that a kill hits some; says how many.
    pub(crate) fn midst(&self) -> u32 {
        let end = now() + MIDST_MAX;
        while self.stream.in_flight() < 2 && now() < end {
            std::thread::sleep(Duration::from_micros(200));
        }
        self.stream.in_flight()
    }

    /// Waits for the first banner after `at`; says how long it took.
    pub(crate) fn first_banner(&self, at: Instant) -> Result<Duration> {
        let mut first = None;
        wait_for("a banner on the floating address", SILENCE_MAX, || {
            first = self.prober.first(at);
            Ok(first.is_some())
        })?;
        first.map_or_else(|| fail("no banner"), |f| Ok(f.saturating_duration_since(at)))
    }

    /// Enters an event that began at `at` and is over now.
    pub(crate) fn event(&mut self, what: impl Into<String>, at: Instant) {
        let what = what.into();
        let (smtp, imap) = (self.prober.gap(at), self.desk.gap(at));
        self.tale.say(
            Tone::Good,
            format!("{what}: {} without SMTP banner, {} without IMAP answer", ms(smtp), ms(imap)),
        );
        self.events.push(Event { what, smtp, imap });
    }

    /// Where `host` stands.
    pub(crate) fn status(&self, host: Host) -> Result<Status> {
        self.pair.of(host).control().status()
    }

    /// Ends the stream and whoever looks at it.
    ///
    /// # Errors
    /// One of them could not work at all.
    pub(crate) fn end(self) -> Result<Books> {
        self.tale.say(Tone::Plain, "the senders finish what they have begun");
        let (records, bytes) = self.stream.finish()?;
        // A few more looks, so that the reader has seen the last message, too.
        pause(desk::PERIOD * 5)?;
        let seen = self.desk.finish()?;
        self.prober.finish()?;
        self.watch.finish();
        Ok(Books { events: self.events, records, bytes, seen })
    }
}
