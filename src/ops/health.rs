//! Health and metrics over HTTP, from a thread that needs nothing of the async runtime.
//!
//! `/healthz` is 200 only if this node can do what its role demands, with reasons in JSON when not
//! (503). `/metrics` is Prometheus' text format.
//!
//! Invariants: an answer reads atomics and one snapshot ([`Board`]), so that it comes, and is true,
//! when the runtime hangs. Only GET and HEAD are served, bodies are never read, requests are
//! answered one after another. Deliberately absent: TLS and passwords (the management network is
//! the fence; tiny_http bounds connections by file descriptors only) and anything that changes.

use crate::base::clock;
use crate::base::metric;
use crate::base::task;
use log::{info, warn};
use serde::Serialize;
use socket2::{Domain, Socket, Type};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tiny_http::{Header, Method, Request, Response, Server};
use understudy_proto::time::Mono;

/// A runtime whose heartbeat is older than this is stuck.
pub const HEARTBEAT_AGE_MAX: Duration = Duration::from_secs(2);
/// Pause between two heartbeats of the runtime.
const HEARTBEAT_EVERY: Duration = Duration::from_millis(250);
/// Connections that wait; monitoring has few.
const BACKLOG: i32 = 16;
/// Pause before listening is tried again after an accept failed.
const RETRY_PAUSE: Duration = Duration::from_millis(200);
/// How long an answer may take: the thread that gives it waits for nothing.
const ANSWER_WAIT: Duration = Duration::from_secs(3);
/// Longest answer read, in bytes.
const ANSWER_LEN_MAX: u64 = 64 * 1024;

/// What this node is to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Duty {
    /// Find out who may serve.
    #[default]
    Recovering,
    /// Serve.
    Primary,
    /// Keep a copy that may take over at once.
    Standby,
}

/// What health is judged by. Set as a whole, whenever something in it changes.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// What this node is to do.
    pub duty: Duty,
    /// Whether losing one appliance now loses nothing.
    pub rpo_zero: bool,
    /// Primary: whether the lease holds.
    pub lease: bool,
    /// Primary: whether all service listeners are up.
    pub listeners_up: bool,
    /// Primary: floating addresses that are to be here and are not.
    pub addresses_missing: usize,
    /// Standby: whether the link to the primary stands.
    pub linked: bool,
    /// Standby: whether it counts: everything acknowledged is durable here, too.
    pub insync: bool,
    /// Whether the last sync to disk failed. Once true it stays true: an fsync failure is final.
    pub sync_failed: bool,
}

/// What app writes and the health thread reads.
#[derive(Debug, Default)]
pub struct Board {
    facts: RwLock<Facts>,
    /// [`Mono`] of the runtime's last sign of life, in microseconds; 0 before the first.
    beat: AtomicU64,
}

/// Whether this node can do what its role demands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Health {
    /// The answer.
    pub ok: bool,
    /// What this node is to do.
    pub duty: Duty,
    /// Whether losing one appliance now loses nothing.
    pub rpo_zero: bool,
    /// Why not.
    pub reasons: Vec<Reason>,
}

/// One reason not to be healthy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Reason {
    /// What is wrong.
    pub what: &'static str,
    /// `docs/runbook/<name>.md`.
    pub runbook: &'static str,
}

impl Board {
    /// Replaces the facts.
    pub fn set(&self, facts: Facts) {
        *self.facts.write().unwrap_or_else(PoisonError::into_inner) = facts;
    }

    /// The facts now.
    #[must_use]
    pub fn facts(&self) -> Facts {
        self.facts.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The runtime lives at `now`.
    pub fn beat(&self, now: Mono) {
        self.beat.store(now.0, Ordering::Relaxed);
    }

    /// Whether the runtime has shown life within [`HEARTBEAT_AGE_MAX`] before `now`.
    #[must_use]
    pub fn beats(&self, now: Mono) -> bool {
        now.since(Mono(self.beat.load(Ordering::Relaxed))) <= HEARTBEAT_AGE_MAX
    }

    /// Judges the facts at `now`.
    #[must_use]
    pub fn health(&self, now: Mono) -> Health {
        let facts = self.facts();
        let primary = facts.duty == Duty::Primary;
        let standby = facts.duty == Duty::Standby;
        let checks = [
            (!self.beats(now), "the runtime is stuck", "runtime-stuck"),
            (facts.sync_failed, "a sync to disk failed", "disk-failure"),
            (facts.duty == Duty::Recovering, "who may serve is not decided yet", "recovering"),
            (primary && !facts.lease, "the lease of the primary is not held", "no-lease"),
            (primary && !facts.listeners_up, "a service listener is down", "listener-down"),
            (
                primary && facts.addresses_missing > 0,
                "a floating address is missing",
                "address-missing",
            ),
            (standby && !facts.linked, "the primary is not reachable", "peer-lost"),
            (standby && !facts.insync, "the copy is not complete yet", "joining"),
        ];
        let reasons: Vec<Reason> = checks
            .into_iter()
            .filter(|(bad, ..)| *bad)
            .map(|(_, what, runbook)| Reason { what, runbook })
            .collect();
        Health { ok: reasons.is_empty(), duty: facts.duty, rpo_zero: facts.rpo_zero, reasons }
    }
}

/// What a running node says about its health.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// Whether it does what its role demands.
    pub healthy: bool,
    /// [`Health`] as JSON.
    pub body: String,
}

/// Asks the node that serves its health at `address` on this machine.
pub fn ask(mut address: SocketAddr) -> std::io::Result<Said> {
    if address.ip().is_unspecified() {
        address.set_ip(Ipv4Addr::LOCALHOST.into());
    }
    let mut stream = TcpStream::connect_timeout(&address, ANSWER_WAIT)?;
    stream.set_read_timeout(Some(ANSWER_WAIT))?;
    stream.set_write_timeout(Some(ANSWER_WAIT))?;
    stream.write_all(b"GET /healthz HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
    let mut text = String::new();
    stream.take(ANSWER_LEN_MAX).read_to_string(&mut text)?;
    let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body).to_owned();
    Ok(Said { healthy: text.split_whitespace().nth(1) == Some("200"), body })
}

/// Tells the board that the runtime lives, for as long as it does.
pub async fn heartbeat(board: Arc<Board>) {
    loop {
        board.beat(clock::mono());
        tokio::time::sleep(HEARTBEAT_EVERY).await;
    }
}

/// Serves `board` and the metrics at `address`, on a thread of its own, until the process ends.
/// Returns the address that was bound (port 0 picks one).
pub fn serve(address: SocketAddr, board: Arc<Board>) -> std::io::Result<SocketAddr> {
    let listener = listen(address)?;
    let bound = listener.local_addr()?;
    info!(addr:% = bound; "health is served");
    task::thread("health", move || {
        loop {
            // tiny_http ends its accept thread for good at the first error (no file descriptors
            // left, for instance); health has to come back when they do.
            match listener
                .try_clone()
                .map_err(Into::into)
                .and_then(|l| Server::from_listener(l, None))
            {
                Ok(server) => requests(&server, &board),
                Err(e) => warn!(err:% = e; "health cannot be served"),
            }
            std::thread::sleep(RETRY_PAUSE);
        }
    });
    Ok(bound)
}

/// The address may come later than this process, or go and come back.
fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    if address.is_ipv4() {
        socket.set_freebind_v4(true)?;
    } else {
        socket.set_freebind_v6(true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn requests(server: &Server, board: &Board) {
    loop {
        match server.recv() {
            Ok(request) => reply(request, board),
            Err(e) => {
                warn!(err:% = e; "health listener failed");
                return;
            }
        }
    }
}

fn reply(request: Request, board: &Board) {
    let (status, kind, body) = answer(request.method(), request.url(), board);
    let mut response = Response::from_string(body).with_status_code(status);
    for (name, value) in [("Content-Type", kind), ("Cache-Control", "no-store")] {
        if let Ok(header) = Header::from_bytes(name, value) {
            response.add_header(header);
        }
    }
    if let Err(e) = request.respond(response) {
        log::debug!(err:% = e; "health answer not delivered");
    }
}

fn answer(method: &Method, url: &str, board: &Board) -> (u16, &'static str, String) {
    const TEXT: &str = "text/plain; charset=utf-8";
    if !matches!(method, Method::Get | Method::Head) {
        return (405, TEXT, "only GET and HEAD\n".into());
    }
    match url.split('?').next() {
        Some("/healthz") => {
            let health = board.health(clock::mono());
            let status = if health.ok { 200 } else { 503 };
            let mut body = serde_json::to_string(&health).unwrap_or_default();
            body.push('\n');
            (status, "application/json", body)
        }
        Some("/metrics") => (200, "text/plain; version=0.0.4; charset=utf-8", metric::render()),
        _ => (404, TEXT, "here are /healthz and /metrics\n".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn primary() -> Facts {
        Facts {
            duty: Duty::Primary,
            rpo_zero: true,
            lease: true,
            listeners_up: true,
            ..Facts::default()
        }
    }

    fn reasons(facts: Facts) -> Vec<&'static str> {
        let board = Board::default();
        board.beat(Mono(1_000_000));
        board.set(facts);
        board.health(Mono(2_000_000)).reasons.iter().map(|r| r.runbook).collect()
    }

    #[test]
    fn an_address_that_is_not_here_yet_is_no_hindrance() {
        for address in ["192.0.2.1:0", "[2001:db8::1]:0"] {
            assert_ne!(listen(address.parse().unwrap()).unwrap().local_addr().unwrap().port(), 0);
        }
    }

    #[test]
    fn each_duty_is_judged_by_its_own_demands() {
        assert!(reasons(primary()).is_empty());
        let standby = Facts { duty: Duty::Standby, linked: true, insync: true, ..Facts::default() };
        assert!(reasons(standby.clone()).is_empty());
        assert_eq!(reasons(Facts::default()), ["recovering"]);
        assert_eq!(reasons(Facts { lease: false, ..primary() }), ["no-lease"]);
        assert_eq!(reasons(Facts { listeners_up: false, ..primary() }), ["listener-down"]);
        assert_eq!(reasons(Facts { addresses_missing: 1, ..primary() }), ["address-missing"]);
        assert_eq!(reasons(Facts { sync_failed: true, ..primary() }), ["disk-failure"]);
        assert_eq!(
            reasons(Facts { linked: false, insync: false, ..standby }),
            ["peer-lost", "joining"]
        );
    }

    #[test]
    fn every_reason_has_its_runbook() {
        let board = Board::default();
        let worst = Facts { addresses_missing: 1, sync_failed: true, ..Facts::default() };
        for duty in [Duty::Recovering, Duty::Primary, Duty::Standby] {
            board.set(Facts { duty, ..worst.clone() });
            for reason in board.health(Mono(9_000_000)).reasons {
                let page = format!("docs/runbook/{}.md", reason.runbook);
                let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
                assert!(root.join(&page).exists(), "{page}");
            }
        }
    }

    #[test]
    fn a_stuck_runtime_is_noticed() {
        let board = Board::default();
        board.set(primary());
        board.beat(Mono(1_000_000));
        assert!(board.beats(Mono(3_000_000)) && !board.beats(Mono(3_000_001)));
        assert!(board.health(Mono(3_000_000)).ok);
        assert_eq!(board.health(Mono(3_000_001)).reasons[0].runbook, "runtime-stuck");
    }

    fn get(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).unwrap();
        write!(stream, "{request} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn it_answers_over_http_without_any_runtime() {
        let board = Arc::new(Board::default());
        let address = serve(SocketAddr::from(([127, 0, 0, 1], 0)), board.clone()).unwrap();
        assert!(get(address, "GET /healthz").starts_with("HTTP/1.1 503"));
        board.set(primary());
        board.beat(clock::mono());
        let said = ask(address).unwrap();
        assert!(said.healthy && said.body.starts_with("{\"ok\":true"), "{said:?}");
        let healthy = get(address, "GET /healthz?verbose");
        assert!(healthy.starts_with("HTTP/1.1 200"), "{healthy}");
        assert!(
            healthy
                .ends_with("{\"ok\":true,\"duty\":\"primary\",\"rpo_zero\":true,\"reasons\":[]}\n")
        );
        assert!(get(address, "GET /metrics").contains("# TYPE understudy_rpo_zero gauge"));
        assert!(get(address, "POST /healthz").starts_with("HTTP/1.1 405"));
        assert!(get(address, "GET /").starts_with("HTTP/1.1 404"));
        assert!(get(address, "HEAD /metrics").starts_with("HTTP/1.1 200"));
    }
}
