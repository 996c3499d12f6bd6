//! The accept loop: from a listener to one supervised task per session.

use super::gate::{Gate, Leave, Notice, Pass, Stop};
use super::held::Socket;
use super::listen::Listener;
use super::session::Stream;
use super::table::Table;
use crate::base::limit::{Limit, Permit};
use crate::base::source::Source;
use crate::base::task;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::TcpStream;

/// First pause after accept(2) failed for want of files or memory; doubles up to the longest.
const ACCEPT_PAUSE_MIN: Duration = Duration::from_millis(10);
/// Longest such pause.
const ACCEPT_PAUSE_MAX: Duration = Duration::from_secs(1);

/// How many sessions a service holds, and what it says to the others.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The process-wide bound of the service's sessions; its name goes into logs and tasks.
    pub limit: &'static Limit,
    /// Most of them from one source: an IPv4 address or an IPv6 /64.
    pub per_source_max: usize,
    /// Sent, as far as it goes at once, before a connection beyond a limit is closed. Empty for
    /// implicit TLS.
    pub refusal: &'static [u8],
}

/// How many listeners cannot accept at the moment; clones count together.
#[derive(Clone, Debug, Default)]
pub struct Deaf(Arc<AtomicUsize>);

impl Deaf {
    /// The number.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// One listener's part of [`Deaf`].
struct Ear {
    of: Deaf,
    is_deaf: bool,
}

impl Ear {
    fn set(&mut self, is_deaf: bool) {
        if is_deaf && !self.is_deaf {
            self.of.0.fetch_add(1, Ordering::Relaxed);
        } else if !is_deaf && self.is_deaf {
            self.of.0.fetch_sub(1, Ordering::Relaxed);
        }
        self.is_deaf = is_deaf;
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        self.set(false);
    }
}

/// The sessions of one service; clones count together.
#[derive(Clone, Debug)]
pub struct Sessions {
    limits: Limits,
    /// Sources with at least one session; no more of them than the limit has places.
    by_source: Arc<Mutex<HashMap<Source, usize>>>,
    table: Table,
    deaf: Deaf,
}

/// A place among the service's sessions; given back when dropped.
#[derive(Debug)]
pub struct Place {
    _permit: Permit<'static>,
    by_source: Arc<Mutex<HashMap<Source, usize>>>,
    source: Source,
}

/// A connection as the handler gets it.
#[derive(Debug)]
pub struct Session<P> {
    /// Its bytes, still plain.
    pub stream: Stream,
    /// Who connected.
    pub peer: SocketAddr,
    /// The address of ours that they connected to.
    pub local: SocketAddr,
    /// The pass that was current at accept. The session is dropped when it is revoked.
    pub pass: P,
    /// Given before the pass is withdrawn in good order: the session says goodbye and ends.
    pub notice: Notice,
}

impl Sessions {
    /// No sessions yet, under `limits`.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        let (table, deaf) = (Table::default(), Deaf::default());
        Self { limits, by_source: Arc::default(), table, deaf }
    }

    /// Counts their listeners among those of `deaf` while they cannot accept.
    #[must_use]
    pub fn heard_in(self, deaf: &Deaf) -> Self {
        Self { deaf: deaf.clone(), ..self }
    }

    /// Lists their connections in `table`, too.
    #[must_use]
    pub fn listed_in(self, table: &Table) -> Self {
        Self { table: table.clone(), ..self }
    }

    /// A place for `peer`; `None` where there is none. [`serve`] asks for each connection.
    #[must_use]
    pub fn enter(&self, peer: IpAddr) -> Option<Place> {
        let permit = self.limits.limit.try_enter()?;
        let source = Source::of(peer);
        let mut by_source = self.by_source.lock().unwrap_or_else(PoisonError::into_inner);
        let of_source = by_source.get(&source).copied().unwrap_or(0);
        if of_source >= self.limits.per_source_max {
            return None;
        }
        by_source.insert(source, of_source + 1);
        Some(Place { _permit: permit, by_source: Arc::clone(&self.by_source), source })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut by_source = self.by_source.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(n) = by_source.get_mut(&self.source) {
            *n = n.saturating_sub(1);
            if *n == 0 {
                by_source.remove(&self.source);
            }
        }
    }
}

/// Accepts until `stop`, and runs `handler` in a task of its own for each session. A session is
/// dropped (its connection closed) when its pass is revoked and when the process stops; without a
/// current pass a connection is closed at once.
pub async fn serve<G, H, F>(listener: Listener, sessions: Sessions, gate: G, stop: Stop, handler: H)
where
    G: Gate,
    H: Fn(Session<G::Pass>) -> F + Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let name = sessions.limits.limit.name();
    let mut pause = ACCEPT_PAUSE_MIN;
    let mut ear = Ear { of: sessions.deaf.clone(), is_deaf: false };
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.stopped() => return,
            accepted = listener.accept_counted() => accepted,
            // Nobody waits in vain: it only has nothing to accept.
            () = tokio::time::sleep(ACCEPT_PAUSE_MIN), if ear.is_deaf => {
                ear.set(false);
                continue;
            }
        };
        let (tcp, peer, greeting) = match accepted {
            Ok(accepted) => {
                ear.set(false);
                pause = ACCEPT_PAUSE_MIN;
                accepted
            }
            Err(e) if is_of_one_connection(&e) => continue,
            Err(e) => {
                // EMFILE, ENFILE, ENOBUFS, ENOMEM: trying again at once would only burn the CPU.
                if !ear.is_deaf {
                    log::error!(service = name, err:% = e, runbook = "listener-down";
                        "a listener cannot accept");
                }
                ear.set(true);
                tokio::select! {
                    () = stop.stopped() => return,
                    () = tokio::time::sleep(pause) => {}
                }
                pause = (pause * 2).min(ACCEPT_PAUSE_MAX);
                continue;
            }
        };
        let Some(pass) = gate.current() else {
            log::debug!(service = name, peer:% = peer; "not primary, connection closed");
            continue;
        };
        let Some(place) = sessions.enter(peer.ip()) else {
            log::info!(service = name, peer:% = peer; "too many sessions, connection refused");
            // A refusal is an answer, too.
            if pass.leave() == Leave::Now {
                refuse(&tcp, sessions.limits.refusal);
            }
            continue;
        };
        let local = tcp.local_addr().unwrap_or_else(|_| listener.address());
        let stream = Stream::Plain(Socket::new(tcp, &pass).counted_by(greeting));
        let notice = pass.notice();
        let running = handler(Session { stream, peer, local, pass: pass.clone(), notice });
        let stop = stop.clone();
        // A connection that finds no room in the table is served all the same.
        let listed = sessions.table.open(local, peer);
        task::spawn(name, async move {
            let _place = (place, listed);
            tokio::select! {
                biased;
                () = pass.revoked() => {}
                () = stop.stopped() => {}
                () = running => {}
            }
        });
    }
}

/// Errors that belong to the connection that was to be accepted, not to the listener: accept(2)
/// asks to treat them like EAGAIN.
fn is_of_one_connection(e: &io::Error) -> bool {
    use io::ErrorKind as K;
    matches!(
        e.kind(),
        K::ConnectionAborted
            | K::ConnectionReset
            | K::ConnectionRefused
            | K::Interrupted
            | K::NetworkDown
            | K::NetworkUnreachable
            | K::HostUnreachable
    )
}

fn refuse(tcp: &TcpStream, refusal: &[u8]) {
    // A fresh socket's buffer takes a short line at once; where it does not, closing says enough.
    if let Err(e) = tcp.try_write(refusal) {
        log::debug!(err:% = e; "refusal not sent");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::{Open, listen, stop};
    use std::net::Ipv6Addr;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::watch;

    #[derive(Clone)]
    struct Lease(watch::Receiver<bool>);

    impl Gate for Lease {
        type Pass = Self;
        fn current(&self) -> Option<Self> {
            self.0.borrow().then(|| self.clone())
        }
    }

    impl Pass for Lease {
        async fn revoked(&self) {
            self.0.clone().wait_for(|valid| !valid).await.map(drop).unwrap_or_default();
        }

        fn leave(&self) -> Leave {
            if *self.0.borrow() { Leave::Now } else { Leave::Never }
        }

        async fn decided(&self) {}
    }

    #[test]
    fn a_deaf_listener_counts_once_until_it_hears_or_ends() {
        let deaf = Deaf::default();
        let mut ears = [false; 2].map(|is_deaf| Ear { of: deaf.clone(), is_deaf });
        ears[0].set(true);
        ears[0].set(true);
        ears[1].set(true);
        assert_eq!(deaf.count(), 2);
        ears[0].set(false);
        assert_eq!(deaf.count(), 1);
        drop(ears);
        assert_eq!(deaf.count(), 0);
    }

    fn start<G: Gate>(limit: &'static Limit, gate: G, stop: Stop) -> SocketAddr {
        let listener = listen(&[IpAddr::from([127, 0, 0, 1])], 0).unwrap().remove(0);
        let at = listener.address();
        let sessions = Sessions::new(Limits { limit, per_source_max: 2, refusal: b"421 full\r\n" });
        let echo = |mut s: Session<G::Pass>| async move {
            let mut line = [0; 5];
            while s.stream.read_exact(&mut line).await.is_ok() {
                assert_ne!(&line, b"panic", "as asked");
                s.stream.write_all(&line).await.unwrap();
            }
        };
        task::spawn("accept", serve(listener, sessions, gate, stop, echo));
        at
    }

    async fn said(tcp: &mut TcpStream) -> Vec<u8> {
        let mut all = Vec::new();
        let read = tcp.read_to_end(&mut all);
        tokio::time::timeout(Duration::from_secs(5), read).await.unwrap().unwrap_or_default();
        all
    }

    async fn echoes(tcp: &mut TcpStream) -> bool {
        let mut back = [0; 5];
        tcp.write_all(b"hello").await.is_ok() && tcp.read_exact(&mut back).await.is_ok()
    }

    #[tokio::test]
    async fn sessions_are_bounded_per_source_and_freed() {
        let (_control, stop) = stop();
        static A: Limit = Limit::new("test", 3);
        let at = start(&A, Open, stop);
        let mut a = TcpStream::connect(at).await.unwrap();
        let mut b = TcpStream::connect(at).await.unwrap();
        assert!(echoes(&mut a).await && echoes(&mut b).await);
        let mut c = TcpStream::connect(at).await.unwrap();
        assert_eq!(said(&mut c).await, b"421 full\r\n");
        drop(a);
        while A.used() > 1 {
            tokio::task::yield_now().await;
        }
        let mut d = TcpStream::connect(at).await.unwrap();
        assert!(echoes(&mut d).await);
    }

    #[tokio::test]
    async fn a_panic_ends_that_session_only() {
        let (_control, stop) = stop();
        static B: Limit = Limit::new("test", 3);
        let at = start(&B, Open, stop);
        let mut a = TcpStream::connect(at).await.unwrap();
        let mut b = TcpStream::connect(at).await.unwrap();
        assert!(echoes(&mut b).await);
        a.write_all(b"panic").await.unwrap();
        assert_eq!(said(&mut a).await, b"");
        assert!(echoes(&mut b).await);
        while B.used() > 1 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_revoked_pass_ends_sessions_and_closes_the_door() {
        let (_control, stop) = stop();
        let (lease, gate) = watch::channel(true);
        static C: Limit = Limit::new("test", 3);
        let at = start(&C, Lease(gate), stop);
        let mut a = TcpStream::connect(at).await.unwrap();
        assert!(echoes(&mut a).await);
        lease.send_replace(false);
        assert_eq!(said(&mut a).await, b"");
        let mut b = TcpStream::connect(at).await.unwrap();
        assert_eq!(said(&mut b).await, b"");
        assert_eq!(C.used(), 0);
        lease.send_replace(true);
        let mut c = TcpStream::connect(at).await.unwrap();
        assert!(echoes(&mut c).await);
    }

    #[tokio::test]
    async fn stopping_ends_sessions_and_listener() {
        let (control, stop) = stop();
        static D: Limit = Limit::new("test", 3);
        let at = start(&D, Open, stop);
        let mut a = TcpStream::connect(at).await.unwrap();
        assert!(echoes(&mut a).await);
        control.stop();
        assert_eq!(said(&mut a).await, b"");
        while TcpStream::connect(at).await.is_ok() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn an_address_that_is_not_here_yet_can_be_listened_on() {
        let later = IpAddr::from([192, 0, 2, 77]);
        let listeners = listen(&[later, IpAddr::from(Ipv6Addr::LOCALHOST)], 0);
        // A machine without IPv6 refuses the second; the first is what matters.
        if let Err(e) = listeners {
            assert_ne!(e.address.ip(), later);
        }
    }
}
