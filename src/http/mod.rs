//! HTTP/1.1 and HTTP/2 over the sessions of `net` (RFC 9110, 9112, 9113).
//!
//! Invariants: a connection lives under its pass, and so does each request in it: all of them are dropped
//! when the pass is revoked; at notice the client is told (GOAWAY, `Connection: close`) and requests under
//! way are answered. Every wait for a client is bounded here; what a handler waits for is the handler's.
//! Each answer carries the headers of [`protect`]. Absent on purpose: paths and who is asking (`web`),
//! HTTP/3, compression (the app's files are compressed when they are built).

mod body;
mod host;
mod protect;
pub mod redirect;
mod session;
mod wire;

pub use host::Host;

use crate::base::limit;
use crate::net::{Limits, Notice, Open, Session as Connection, Sessions};
use crate::store::PrimaryLease;
use crate::tls::Service;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// Connections of port 443; one address may be a company.
pub const LIMITS: Limits =
    Limits { limit: &limit::HTTPS_SESSIONS, per_source_max: 1_000, refusal: b"" };
/// Connections of port 80.
pub const PLAIN_LIMITS: Limits =
    Limits { limit: &limit::HTTP_SESSIONS, per_source_max: 100, refusal: b"" };
/// Connections of the operators' console.
pub const CONSOLE_LIMITS: Limits =
    Limits { limit: &limit::CONSOLE_SESSIONS, per_source_max: 64, refusal: b"" };
/// Requests that wait for their answer.
const REQUESTS: Limits = Limits { limit: &limit::HTTP_REQUESTS, per_source_max: 256, refusal: b"" };
/// What our clients may speak (ALPN, RFC 7301), the first that they know.
pub const PROTOCOLS: &[&[u8]] = &[HTTP_2, b"http/1.1"];
const HTTP_2: &[u8] = b"h2";

/// Longest body that is read as a whole, in bytes; a route that takes longer ones says so
/// (`DefaultBodyLimit` on the route). Who reads a body piece by piece counts by itself.
pub const BODY_LEN_MAX: usize = 1 << 20;
/// Longest header section, request line included, in bytes: beyond it the answer is 431 (RFC 6585 5).
const HEADER_LEN_MAX: usize = 32 * 1024;
/// Most fields in it.
const HEADERS_MAX: usize = 100;
/// Most bytes that HTTP/1.1 has read and not yet handed on.
const BUFFER_LEN_MAX: usize = 64 * 1024;
/// Most time from the end of one answer, or the beginning, to the end of the next request's header. It
/// is also how long a connection of HTTP/1.1 is kept for its next request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// A connection of HTTP/2 without a request is closed after so long.
const IDLE_TIMEOUT: Duration = Duration::from_secs(300);
/// A client of HTTP/2 is asked so often whether it is still there,
const PING_EVERY: Duration = Duration::from_secs(60);
/// and has so long for its answer.
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// Most requests at once in one connection of HTTP/2.
const STREAMS_MAX: u32 = 100;
/// Bytes of one request's body that may be under way in HTTP/2,
const STREAM_WINDOW: u32 = 256 * 1024;
/// and of all requests of a connection.
const CONNECTION_WINDOW: u32 = 1 << 20;
/// Bytes that wait to be sent in one answer.
const SEND_LEN_MAX: usize = 128 * 1024;
/// A body that does not go on for so long is given up,
const BODY_SILENCE_MAX: Duration = Duration::from_secs(60);
/// and one that is slower on average than this, in bytes a second,
const BODY_RATE_MIN: u64 = 1024;
/// after so long.
const BODY_GRACE: Duration = Duration::from_secs(30);
/// What of a request nobody read is read away up to so many bytes,
const DRAIN_LEN_MAX: usize = 64 * 1024;
/// and for so long.
const DRAIN_WAIT: Duration = Duration::from_secs(1);
/// A client that takes nothing of what is sent for so long is gone.
const WRITE_TIMEOUT: Duration = Duration::from_secs(300);

/// Who asks; an extension of every request.
#[derive(Clone, Debug)]
pub struct Client {
    /// Their address.
    pub peer: SocketAddr,
    /// The address of ours that they connected to.
    pub local: SocketAddr,
    /// The proof that this node may write; `None` where requests are answered in every role.
    pub lease: Option<PrimaryLease>,
    /// An answer that goes on (events) ends when this is given.
    pub notice: Notice,
    /// Names the connection in the log.
    pub session: u64,
    /// Whether TLS protects it.
    pub secure: bool,
    /// The connection's place is taken as long as somebody has this: a WebSocket goes on after its answer.
    pub kept: Kept,
}

/// See [`Client::kept`].
#[derive(Clone, Debug, Default)]
pub struct Kept {
    _place: Option<mpsc::Sender<()>>,
}

/// What is served on a port. Clones are the same.
#[derive(Clone)]
pub struct Site(Arc<Inner>);

struct Inner {
    router: Router,
    tls: Option<Service>,
    requests: Sessions,
    header_timeout: Duration,
}

impl Site {
    /// `router`, under `tls` (which offers [`PROTOCOLS`]) or in the clear.
    #[must_use]
    pub fn new(router: Router, tls: Option<Service>) -> Self {
        Self::with_patience(router, tls, HEADER_TIMEOUT)
    }

    fn with_patience(router: Router, tls: Option<Service>, header_timeout: Duration) -> Self {
        let router = router.layer(DefaultBodyLimit::max(BODY_LEN_MAX));
        let requests = Sessions::new(REQUESTS);
        Self(Arc::new(Inner { router, tls, requests, header_timeout }))
    }

    /// Serves one connection to its end. For [`crate::net::serve`].
    pub async fn serve(self, connection: Connection<PrimaryLease>) {
        let lease = connection.pass.clone();
        session::run(self.0, connection, Some(lease)).await;
    }

    /// The same for a listener that is open in every role.
    pub async fn serve_always(self, connection: Connection<Open>) {
        session::run(self.0, connection, None).await;
    }
}

#[cfg(test)]
mod tests;
