//! Does a dead, thawed or stale appliance still answer?
//!
//! The ghost sits in the service network and sends everything for the floating address to one
//! appliance, whoever holds it now, as a client or router with a stale ARP entry does. It holds
//! sessions from before the fault and opens new ones all the time. What it reads while it counts
//! is an answer that must not be. A reset or a silent close is none: it carries nothing.

use crate::net::{self, FLOATING, Host};
use crate::{Context, Result, lock, smtp};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long a connection may take: an appliance that answers does so at once.
const CONNECT: Duration = Duration::from_millis(20);
/// Pause between two attempts.
const PERIOD: Duration = Duration::from_millis(5);
/// How long the sessions from before the fault may take to open.
const HELD_CONNECT: Duration = Duration::from_millis(500);
/// Sessions that are held open at once.
const SESSIONS_MAX: usize = 64;
/// Ports that are asked in turn.
const PORTS: [u16; 2] = [25, 143];
/// Most answers that are kept in words.
const ANSWERS_MAX: usize = 16;

#[derive(Default)]
struct Shared {
    stopping: AtomicBool,
    counting: AtomicBool,
    attempts: AtomicU32,
    answers: Mutex<Vec<String>>,
}

/// The ghost at work.
pub(crate) struct Ghost {
    shared: Arc<Shared>,
    thread: JoinHandle<Result<()>>,
}

/// What it found.
#[derive(Clone, Debug, Default)]
pub(crate) struct Haunted {
    /// Questions asked while it counted.
    pub(crate) attempts: u32,
    /// What was answered.
    pub(crate) answers: Vec<String>,
}

impl Ghost {
    /// Begins to ask `target`; with `held`, which must serve then, opens sessions first.
    ///
    /// # Errors
    /// It cannot be aimed.
    pub(crate) fn haunt(target: Host, held: bool) -> Result<Self> {
        net::aim(Host::Ghost, target)?;
        let shared = Arc::new(Shared::default());
        let mut sessions = Vec::new();
        if held {
            let open = || PORTS.map(|port| smtp::banner(port, HELD_CONNECT, HELD_CONNECT));
            let thread = net::thread(Host::Ghost, "ghost", open)?;
            for session in net::join(thread)? {
                sessions.push(session.context("the ghost's session")?);
            }
        }
        let its = Arc::clone(&shared);
        let thread = net::thread(Host::Ghost, "ghost", move || work(&its, sessions))?;
        Ok(Self { shared, thread })
    }

    /// From now on an answer counts.
    pub(crate) fn count(&self) {
        self.shared.counting.store(true, Relaxed);
    }

    /// Ends it.
    ///
    /// # Errors
    /// It could not work at all.
    pub(crate) fn finish(self) -> Result<Haunted> {
        self.shared.stopping.store(true, Relaxed);
        net::join(self.thread)?;
        let answers = std::mem::take(&mut *lock(&self.shared.answers));
        Ok(Haunted { attempts: self.shared.attempts.load(Relaxed), answers })
    }
}

fn work(shared: &Shared, held: Vec<TcpStream>) {
    let mut sessions = Vec::new();
    for mut session in held {
        // A question that waits in the socket of a frozen process.
        if session.set_nonblocking(true).is_ok() && session.write_all(b"NOOP\r\n").is_ok() {
            sessions.push(session);
        }
    }
    let mut turn = 0;
    while !shared.stopping.load(Relaxed) {
        turn += 1;
        if let Some(port) = PORTS.get(turn % PORTS.len()) {
            sessions.extend(knock(*port));
        }
        if shared.counting.load(Relaxed) {
            shared.attempts.fetch_add(1, Relaxed);
        }
        let excess = sessions.len().saturating_sub(SESSIONS_MAX);
        sessions.drain(..excess);
        sessions.retain_mut(|session| listen(shared, session));
        std::thread::sleep(PERIOD);
    }
}

fn knock(port: u16) -> Option<TcpStream> {
    let address = format!("{FLOATING}:{port}").parse().ok()?;
    let session = TcpStream::connect_timeout(&address, CONNECT).ok()?;
    session.set_nonblocking(true).ok()?;
    Some(session)
}

/// Reads what came; says whether the session is still open.
fn listen(shared: &Shared, session: &mut TcpStream) -> bool {
    let mut bytes = [0; 512];
    match session.read(&mut bytes) {
        Ok(0) => false,
        Ok(n) => {
            if shared.counting.load(Relaxed) {
                let text = String::from_utf8_lossy(bytes.get(..n).unwrap_or_default());
                let mut answers = lock(&shared.answers);
                if answers.len() < ANSWERS_MAX {
                    answers.push(text.trim().to_owned());
                }
            }
            true
        }
        Err(e) => e.kind() == ErrorKind::WouldBlock,
    }
}
