//! The stream: outside mail servers that send message after message and keep each until it is
//! accepted, as RFC 5321 4.5.4.1 asks, only with less patience between two attempts.
//!
//! Invariants: message `n` is always the same bytes; it is recorded as accepted only after its 250
//! was read; every attempt whose answer never came is counted as open.

use crate::net::{self, Host};
use crate::smtp::{Outcome, Sender};
use crate::{Result, lock, mime, now};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How many mail servers send at once.
pub(crate) const SENDERS: u32 = 4;
/// Pause of a sender between two messages, where nothing else is asked for.
pub(crate) const PACE: Duration = Duration::from_millis(90);
/// Pause before the next attempt.
const RETRY: Duration = Duration::from_millis(50);
/// How long senders may go on trying after the stream was stopped.
const FINISH_MAX: Duration = Duration::from_secs(40);

/// Bytes of a small message: their latencies can be compared.
const SMALL: usize = 8_192;
/// Most latencies that are kept.
const LATENCIES_MAX: usize = 500_000;

/// What became of a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Record {
    /// When its 250 was read.
    pub(crate) accepted: Option<Instant>,
    /// Transactions that were begun.
    pub(crate) attempts: u32,
    /// Transactions whose answer never came.
    pub(crate) open: u32,
    /// The 5xx that it got: no mail of the lab deserves one.
    pub(crate) rejected: Option<String>,
}

/// All messages by number.
pub(crate) type Records = BTreeMap<u32, Record>;

#[derive(Default)]
struct Shared {
    stopping: AtomicBool,
    next: AtomicU32,
    in_flight: AtomicU32,
    accepted: AtomicU32,
    bytes: AtomicU64,
    records: Mutex<Records>,
    /// When each small message was accepted, and how long its transaction took.
    latencies: Mutex<Vec<(Instant, Duration)>>,
}

/// The senders at work. Dropping it leaves the threads to the end of the process.
pub(crate) struct Stream {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<Result<()>>>,
}

impl Stream {
    /// Starts the senders; each pauses for `pace` between two messages, and waits for `patience` for the
    /// answer to the end of the data.
    pub(crate) fn start(pace: Duration, patience: Duration) -> Result<Self> {
        let shared = Arc::new(Shared::default());
        let mut threads = Vec::new();
        for n in 0..SENDERS {
            let shared = Arc::clone(&shared);
            let body = move || work(&shared, pace, patience);
            threads.push(net::thread(Host::Sender, &format!("sender {n}"), body)?);
        }
        Ok(Self { shared, threads })
    }

    /// How many messages were accepted.
    pub(crate) fn accepted(&self) -> u32 {
        self.shared.accepted.load(Relaxed)
    }

    /// Their bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.shared.bytes.load(Relaxed)
    }

    /// How many transactions are under way now.
    pub(crate) fn in_flight(&self) -> u32 {
        self.shared.in_flight.load(Relaxed)
    }

    /// How long the transactions of small messages took that were accepted between the two.
    pub(crate) fn latencies(&self, from: Instant, until: Instant) -> Vec<Duration> {
        let all = lock(&self.shared.latencies);
        all.iter().filter(|(at, _)| (from..until).contains(at)).map(|(_, took)| *took).collect()
    }

    /// The books as they are now.
    pub(crate) fn records(&self) -> Records {
        lock(&self.shared.records).clone()
    }

    /// Lets each sender finish its message; gives the books and the bytes that were accepted.
    ///
    /// # Errors
    /// A sender could not work at all.
    pub(crate) fn finish(self) -> Result<(Records, u64)> {
        self.shared.stopping.store(true, Relaxed);
        for thread in self.threads {
            net::join(thread)?;
        }
        let records = std::mem::take(&mut *lock(&self.shared.records));
        Ok((records, self.shared.bytes.load(Relaxed)))
    }
}

fn work(shared: &Shared, pace: Duration, patience: Duration) {
    let mut session = None;
    while !shared.stopping.load(Relaxed) {
        let n = shared.next.fetch_add(1, Relaxed).saturating_add(1);
        deliver(shared, n, patience, &mut session);
        std::thread::sleep(pace);
    }
}

/// Tries until message `n` is accepted, or refused for good.
fn deliver(shared: &Shared, n: u32, patience: Duration, session: &mut Option<Sender>) {
    let message = mime::message(n);
    let to = mime::recipient(n).address;
    lock(&shared.records).entry(n).or_default();
    let mut stopped_at = None;
    loop {
        if shared.stopping.load(Relaxed) && *stopped_at.get_or_insert_with(now) + FINISH_MAX < now()
        {
            return;
        }
        let anew = || Some(Sender::connect().ok()?.waiting(patience));
        let Some(open) = session.take().or_else(anew) else {
            std::thread::sleep(RETRY);
            continue;
        };
        let (outcome, open) = attempt(shared, open, to, &message);
        let mut records = lock(&shared.records);
        let record = records.entry(n).or_default();
        record.attempts = record.attempts.saturating_add(1);
        match outcome {
            Outcome::Accepted => {
                record.accepted = Some(now());
                shared.accepted.fetch_add(1, Relaxed);
                let len = u64::try_from(message.len()).unwrap_or_default();
                shared.bytes.fetch_add(len, Relaxed);
                *session = Some(open);
                return;
            }
            Outcome::Rejected(words) => {
                record.rejected = Some(words);
                return;
            }
            Outcome::Open => record.open = record.open.saturating_add(1),
            Outcome::Later => {}
        }
        drop(records);
        std::thread::sleep(RETRY);
    }
}

fn attempt(shared: &Shared, mut open: Sender, to: &str, message: &str) -> (Outcome, Sender) {
    shared.in_flight.fetch_add(1, Relaxed);
    let at = now();
    let outcome = open.send(to, message);
    if outcome == Outcome::Accepted && message.len() <= SMALL {
        let mut latencies = lock(&shared.latencies);
        if latencies.len() < LATENCIES_MAX {
            latencies.push((now(), at.elapsed()));
        }
    }
    shared.in_flight.fetch_sub(1, Relaxed);
    (outcome, open)
}
