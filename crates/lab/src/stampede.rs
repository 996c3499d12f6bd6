//! Everybody comes back at once: clients that sit in IMAP over TLS with passwords, the death of their
//! node, and the time until the last of them is served again.
//!
//! Honest figures: the clients share this machine's cores with both appliances. So the time is judged
//! only where somebody gives a limit (`--within`); that passwords were not hashed again is, always.

use crate::appliance::{Pair, Setup};
use crate::imap::{self, Reader};
use crate::net::{self, Host};
use crate::timeline::{Timeline, Tone, print};
use crate::workdir::Workdir;
use crate::{LabError, Options, Result, metrics, now, pause, stage, wait_for};
use rustls::ClientConfig;
use serde_json::json;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Clients, when nobody says.
const CLIENTS: usize = 2_000;
/// Accounts, at most: few enough to be made in a minute, and more hashes than a takeover could hide.
const ACCOUNTS: usize = 500;
/// Clients of one host: a service takes 1,000 sessions of one source.
const PER_HOST: usize = 1_000;
/// How long a returning appliance must hold before it counts.
const STABILITY_MS: u32 = 500;
/// How long all log-ins may take.
const ALL_IN: Duration = Duration::from_secs(300);
/// How long a server may take for an answer before the client comes anew.
const PATIENCE: Duration = Duration::from_secs(30);
/// Pause of a client between two questions, and before it comes anew.
const PAUSE: Duration = Duration::from_millis(500);
const AGAIN: Duration = Duration::from_millis(50);
/// The standby is told within 200 ms.
const SHARED: Duration = Duration::from_secs(2);

/// What all clients share.
struct Crowd {
    tls: Arc<ClientConfig>,
    stop: AtomicBool,
    /// Rounds of the play: who was served in this one counts once.
    round: AtomicUsize,
    served: AtomicUsize,
    last: Mutex<Option<Instant>>,
}

/// Plays it.
///
/// # Errors
/// The world or the pair cannot be made, or clients do not come back.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    net::build()?;
    let tale = Timeline::start(options.json);
    let mut work = Workdir::new(options.keep.as_deref())?;
    let calm = Setup::calm(STABILITY_MS);
    stage::with_pair(options, &mut work, "pair", &calm, &tale, |pair| play(pair, options, &tale))
}

fn play(pair: &mut Pair, options: &Options, tale: &Timeline) -> Result<ExitCode> {
    let clients = options.clients.unwrap_or(CLIENTS).clamp(1, 2 * PER_HOST);
    let primary = pair.primary().ok_or_else(|| LabError("nobody is primary".into()))?;
    for n in 0..ACCOUNTS.min(clients) {
        pair.of(primary).cli(&["account", "create", &address(n)])?;
        let set = ["credential", "password", &address(n)];
        pair.of(primary).cli_with_input(&set, &password(n))?;
    }
    let crowd = Arc::new(Crowd {
        tls: imap::trust(&pair.of(primary).authority())?,
        stop: AtomicBool::new(false),
        round: AtomicUsize::new(1),
        served: AtomicUsize::new(0),
        last: Mutex::new(None),
    });
    tale.head(format!("{clients} clients sign in over TLS with passwords"));
    let begun = now();
    let mut threads = Vec::new();
    for n in 0..clients {
        let host = if n < PER_HOST { Host::Client } else { Host::Sender };
        let crowd = Arc::clone(&crowd);
        threads.push(net::thread(host, "client", move || client(&crowd, n))?);
    }
    let outcome = take_over(pair, primary, &crowd, clients, begun, tale);
    crowd.stop.store(true, SeqCst);
    for thread in threads {
        net::join(thread)?;
    }
    let (first, back, hashes) = outcome?;
    let within = options.within.map(u64::from).map(Duration::from_secs);
    let late = within.filter(|within| back > *within);
    let good = hashes == 0 && late.is_none();
    if options.json {
        print(
            &json!({ "clients": clients, "first_s": first.as_secs_f64(),
            "back_s": back.as_secs_f64(), "hashes": hashes })
            .to_string(),
        );
    }
    let text = format!("{hashes} passwords were hashed after the takeover");
    tale.say(if hashes == 0 { Tone::Good } else { Tone::Bad }, text);
    if let Some(within) = late {
        let within = within.as_secs();
        tale.say(Tone::Bad, format!("a client was not served again within {within} s"));
    }
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Time until all were in, time until all were back, hashes after the takeover.
fn take_over(
    pair: &mut Pair,
    primary: Host,
    crowd: &Crowd,
    clients: usize,
    begun: Instant,
    tale: &Timeline,
) -> Result<(Duration, Duration, u64)> {
    wait_for("all clients are in", ALL_IN, || Ok(crowd.served.load(SeqCst) >= clients))?;
    let first = begun.elapsed();
    tale.say(Tone::Plain, format!("all are in after {:.1} s", first.as_secs_f64()));
    pause(SHARED)?;
    let survivor = primary.peer();
    let before = hashes(survivor)?;
    crowd.served.store(0, SeqCst);
    let at = now();
    pair.of_mut(primary).kill()?;
    crowd.round.fetch_add(1, SeqCst);
    wait_for("all clients are back", ALL_IN, || Ok(crowd.served.load(SeqCst) >= clients))?;
    let last = *crate::lock(&crowd.last);
    let back = last.map_or_else(|| at.elapsed(), |last| last.saturating_duration_since(at));
    tale.say(
        Tone::Good,
        format!("{primary} killed; the last client is served after {:.1} s", back.as_secs_f64()),
    );
    Ok((first, back, hashes(survivor)?.saturating_sub(before)))
}

/// A client: signs in, asks now and then, comes anew when it is thrown out.
fn client(crowd: &Crowd, n: usize) {
    let account = n % ACCOUNTS;
    let mut counted = 0;
    let mut session: Option<Reader> = None;
    while !crowd.stop.load(SeqCst) {
        let round = crowd.round.load(SeqCst);
        let answered = match &mut session {
            Some(reader) => reader.noop(),
            None => Reader::open(&crowd.tls, &address(account), &password(account), PATIENCE)
                .map(|reader| session = Some(reader)),
        };
        if answered.is_err() {
            session = None;
            std::thread::sleep(AGAIN);
            continue;
        }
        if counted < round {
            counted = round;
            *crate::lock(&crowd.last) = Some(now());
            crowd.served.fetch_add(1, SeqCst);
        }
        std::thread::sleep(PAUSE);
    }
}

fn address(n: usize) -> String {
    format!("crowd{n}@customer.example")
}

fn password(n: usize) -> String {
    format!("a long enough password {n}")
}

/// Passwords that this appliance has hashed since it started.
fn hashes(host: Host) -> Result<u64> {
    metrics::read(host, "understudy_password_hashes_total")
}
