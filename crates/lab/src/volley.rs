//! A client that connects every 5 ms, whatever became of the attempts before: does one fail?
//!
//! An attempt has succeeded when its banner was read, and failed when it was refused, reset, closed
//! or silent for [`PATIENCE`]. That is shorter than the second after which a kernel sends a lost
//! first packet again, so a lost packet counts as a failure.

use crate::net::{self, FLOATING, Host};
use crate::{Context, Result, lock, now, probe};
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, connect, socket};
use std::collections::BTreeMap;
use std::io::{ErrorKind, Read};
use std::net::{SocketAddrV4, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Pause between the beginnings of two attempts.
const PERIOD: Duration = Duration::from_millis(5);
/// How long an attempt may take.
const PATIENCE: Duration = Duration::from_millis(900);
/// How often open attempts are looked at.
const LOOK: Duration = Duration::from_micros(300);
/// Attempts under way at once: more than fit into [`PATIENCE`].
const OPEN_MAX: usize = 400;

/// What came of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Volleys {
    /// When each success was complete, ascending.
    pub(crate) successes: Vec<Instant>,
    /// How often it failed, by reason.
    pub(crate) failures: BTreeMap<String, u32>,
}

impl Volleys {
    /// How many failed.
    pub(crate) fn failed(&self) -> u32 {
        self.failures.values().sum()
    }
}

#[derive(Default)]
struct Shared {
    stopping: AtomicBool,
    result: Mutex<Volleys>,
}

/// The client at work.
pub(crate) struct Volley {
    shared: Arc<Shared>,
    thread: JoinHandle<Result<Result<()>>>,
}

struct Attempt {
    stream: TcpStream,
    begun: Instant,
}

impl Volley {
    /// Begins.
    pub(crate) fn start() -> Result<Self> {
        let shared = Arc::new(Shared::default());
        let its = Arc::clone(&shared);
        let thread = net::thread(Host::Client, "volley", move || work(&its))?;
        Ok(Self { shared, thread })
    }

    /// The longest time without a banner around `from`, up to now.
    pub(crate) fn gap(&self, from: Instant) -> Duration {
        probe::longest_gap(&lock(&self.shared.result).successes, from, now())
    }

    /// Begins no more attempts and waits for the last ones.
    ///
    /// # Errors
    /// It could not work at all.
    pub(crate) fn finish(self) -> Result<Volleys> {
        self.shared.stopping.store(true, Relaxed);
        net::join(self.thread)??;
        Ok(std::mem::take(&mut *lock(&self.shared.result)))
    }
}

fn work(shared: &Shared) -> Result<()> {
    let address: SocketAddrV4 = format!("{FLOATING}:25").parse().context("address")?;
    let mut open: Vec<Attempt> = Vec::new();
    let mut next = now();
    loop {
        let stopping = shared.stopping.load(Relaxed);
        if stopping && open.is_empty() {
            return Ok(());
        }
        if !stopping && now() >= next && open.len() < OPEN_MAX {
            next = now() + PERIOD;
            open.push(begin(address)?);
        }
        let mut result = lock(&shared.result);
        open.retain_mut(|attempt| match look(attempt) {
            None => true,
            Some(Ok(())) => {
                result.successes.push(now());
                false
            }
            Some(Err(why)) => {
                *result.failures.entry(why).or_default() += 1;
                false
            }
        });
        drop(result);
        std::thread::sleep(LOOK);
    }
}

fn begin(address: SocketAddrV4) -> Result<Attempt> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let fd = socket(AddressFamily::Inet, SockType::Stream, flags, None).context("socket")?;
    match connect(fd.as_raw_fd(), &SockaddrIn::from(address)) {
        Ok(()) | Err(Errno::EINPROGRESS | Errno::ENETUNREACH | Errno::EHOSTUNREACH) => {}
        Err(e) => return Err(e).context("connect"),
    }
    Ok(Attempt { stream: TcpStream::from(fd), begun: now() })
}

/// `None` while nothing is known yet.
fn look(attempt: &mut Attempt) -> Option<std::result::Result<(), String>> {
    let mut bytes = [0; 512];
    match attempt.stream.read(&mut bytes) {
        Ok(0) => Some(Err("closed without a banner".into())),
        Ok(_) if bytes.starts_with(b"220") => Some(Ok(())),
        Ok(n) => {
            let text = String::from_utf8_lossy(bytes.get(..n).unwrap_or_default());
            Some(Err(text.trim().to_owned()))
        }
        Err(e) if e.kind() == ErrorKind::WouldBlock => {
            (attempt.begun.elapsed() > PATIENCE).then(|| Err("silence".into()))
        }
        Err(e) => Some(Err(e.kind().to_string())),
    }
}
