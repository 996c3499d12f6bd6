//! One connection: hyper speaks, this hands each request to the router and ends in time.

use super::body::{Keeping, Steady, drain};
use super::protect::protect;
use super::wire::Wire;
use super::{
    BUFFER_LEN_MAX, CONNECTION_WINDOW, Client, HEADER_LEN_MAX, HEADERS_MAX, HTTP_2, IDLE_TIMEOUT,
    Inner, Kept, PING_EVERY, PING_TIMEOUT, SEND_LEN_MAX, STREAM_WINDOW, STREAMS_MAX, host,
};
use crate::base::{clock, metric, task};
use crate::net::{Notice, Session as Connection};
use crate::store::PrimaryLease;
use crate::tls::ACME_TLS;
use axum::body::Body;
use axum::http::header::{CONNECTION, RETRY_AFTER};
use axum::http::{HeaderValue, Request, Response, StatusCode, Version};
use axum::response::IntoResponse;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use tokio::sync::{mpsc, oneshot, watch};
use tower::ServiceExt;
use understudy_proto::time::Mono;

/// Serves one connection to its end.
pub(super) async fn run<P>(
    site: Arc<Inner>,
    connection: Connection<P>,
    lease: Option<PrimaryLease>,
) {
    static LAST_ID: AtomicU64 = AtomicU64::new(0);
    let session = LAST_ID.fetch_add(1, Ordering::Relaxed) + 1;
    let Connection { mut stream, peer, local, notice, .. } = connection;
    // Whoever has said nothing yet misses nothing.
    tokio::select! {
        biased;
        spoken = stream.spoken_to() => if spoken.is_err() {
            return;
        },
        () = notice.given() => return,
    }
    let stream = match &site.tls {
        Some(tls) => match stream.upgrade(tls).await {
            // RFC 8737 3: the handshake was all that the authority wanted.
            Ok(stream) if stream.alpn() == Some(ACME_TLS) => return,
            Ok(stream) => stream,
            Err(e) => {
                log::debug!(session, peer:% = peer, err:% = e; "no TLS came about");
                return;
            }
        },
        None => stream,
    };
    let (secure, header_timeout) = (stream.is_tls(), site.header_timeout);
    let second = stream.alpn() == Some(HTTP_2);
    let (kept, mut gone_on) = mpsc::channel(1);
    let kept = Kept { _place: Some(kept) };
    let client = Client { peer, local, lease, notice: notice.clone(), session, secure, kept };
    let busy = Arc::new(Busy::default());
    let service = {
        let busy = Arc::clone(&busy);
        service_fn(move |request| {
            let under_way = UnderWay::new(&busy);
            answer(Arc::clone(&site), client.clone(), under_way, request)
        })
    };
    let io = TokioIo::new(Wire::new(stream));
    let ended = if second {
        // Dropped with this future: the requests of the connection end with it.
        let (_here, gone) = watch::channel(());
        let mut builder = http2::Builder::new(Streams(gone));
        builder
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS_MAX)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(u32::try_from(HEADER_LEN_MAX).unwrap_or(u32::MAX))
            .max_send_buf_size(SEND_LEN_MAX)
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_TIMEOUT);
        let connection = builder.serve_connection(io, service);
        drive(connection, |c| c.graceful_shutdown(), notice, Some(&busy)).await
    } else {
        let mut builder = http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(header_timeout)
            .max_header_size(HEADER_LEN_MAX)
            .max_buf_size(BUFFER_LEN_MAX)
            .max_headers(HEADERS_MAX);
        let connection = builder.serve_connection(io, service).with_upgrades();
        drive(connection, |c| c.graceful_shutdown(), notice, None).await
    };
    if !second {
        // Nothing is ever sent: it ends with the last who has it.
        gone_on.recv().await;
    }
    match ended {
        Ok(()) => log::debug!(session, peer:% = peer; "HTTP session ended"),
        Err(e) => log::debug!(session, peer:% = peer, err:% = e; "HTTP session broke off"),
    }
}

/// Runs `connection` to its end; tells the client to go when notice is given, or when it has been idle
/// for too long.
async fn drive<C>(
    connection: C,
    tell: fn(Pin<&mut C>),
    notice: Notice,
    busy: Option<&Busy>,
) -> hyper::Result<()>
where
    C: Future<Output = hyper::Result<()>>,
{
    let mut connection = pin!(connection);
    tokio::select! {
        biased;
        ended = connection.as_mut() => return ended,
        () = notice.given() => {}
        () = idle(busy) => {}
    }
    tell(connection.as_mut());
    // It keeps `notice` until it has said so: whoever withdraws the pass waits for that, a moment.
    let ended = connection.await;
    drop(notice);
    ended
}

/// Ends once nothing was asked for [`IDLE_TIMEOUT`].
async fn idle(busy: Option<&Busy>) {
    let Some(busy) = busy else { return std::future::pending().await };
    loop {
        let until = busy.last().after(IDLE_TIMEOUT);
        if busy.requests.load(Ordering::Relaxed) == 0 && until <= clock::mono() {
            return;
        }
        clock::sleep_until(until.max(clock::mono().after(IDLE_TIMEOUT / 10))).await;
    }
}

/// What a connection has to do.
struct Busy {
    requests: AtomicUsize,
    /// When a request came or was done, in microseconds of [`Mono`].
    last: AtomicU64,
}

impl Default for Busy {
    fn default() -> Self {
        Self { requests: AtomicUsize::new(0), last: AtomicU64::new(clock::mono().0) }
    }
}

impl Busy {
    fn last(&self) -> Mono {
        Mono(self.last.load(Ordering::Relaxed))
    }
}

/// One request, until its answer has been sent.
struct UnderWay(Arc<Busy>);

impl UnderWay {
    fn new(busy: &Arc<Busy>) -> Self {
        busy.requests.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(busy))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.last.store(clock::mono().0, Ordering::Relaxed);
        self.0.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Runs the requests of a connection of HTTP/2, until the connection is gone.
#[derive(Clone)]
struct Streams(watch::Receiver<()>);

impl<F> hyper::rt::Executor<F> for Streams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        let mut gone = self.0.clone();
        drop(task::spawn("http-stream", async move {
            tokio::select! {
                biased;
                // Nothing is ever sent: it changes by ending.
                _ = gone.changed() => {}
                () = stream => {}
            }
        }));
    }
}

async fn answer(
    site: Arc<Inner>,
    client: Client,
    under_way: UnderWay,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    metric::HTTP_REQUESTS.inc();
    let began = clock::mono();
    let first = request.version() < Version::HTTP_2;
    let (session, peer, secure) = (client.session, client.peer, client.secure);
    let notice = client.notice.clone();
    let (left, mut rest) = oneshot::channel();
    let request = request.map(|body| Body::new(Steady::new(body, left)));
    let mut response = handle(&site, client, request).await;
    // hyper does so itself for HTTP/1.1.
    if !first && let Ok(rest) = rest.try_recv() {
        drain(rest).await;
    }
    protect(&mut response, secure);
    // RFC 9112 9.6. What is under way while notice is given is the last of its connection.
    if first && notice.is_given() {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    let elapsed = clock::mono().since(began);
    log::debug!(
        session,
        peer:% = peer,
        code = response.status().as_u16(),
        elapsed_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        "HTTP request answered"
    );
    Ok(response.map(|inner| Body::new(Keeping { inner, _kept: under_way })))
}

async fn handle(site: &Inner, client: Client, mut request: Request<Body>) -> Response<Body> {
    // Until the answer begins: what is then sent is bounded by the connection.
    let Some(_place) = site.requests.enter(client.peer.ip()) else {
        let mut busy = plain(StatusCode::SERVICE_UNAVAILABLE, "Too many requests at once");
        busy.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
        return busy;
    };
    let host = match host::of(&request) {
        Ok(host) => host,
        Err(host::BadHost) => {
            return plain(StatusCode::BAD_REQUEST, "The host is missing or wrong");
        }
    };
    request.extensions_mut().insert(client);
    if let Some(host) = host {
        request.extensions_mut().insert(host);
    }
    match site.router.clone().oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

fn plain(status: StatusCode, text: &'static str) -> Response<Body> {
    (status, text).into_response()
}
