//! Connections over loopback, with clients of our own.

use super::*;
use crate::base::task;
use crate::net::{self, Gate};
use crate::tls::{Challenges, Names, Service};
use axum::Extension;
use axum::body::Bytes;
use axum::routing::{get, post};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::net::IpAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use understudy_proto::id::Epoch;
use understudy_proto::time::Mono;

#[derive(Clone)]
struct Held(PrimaryLease);

impl Gate for Held {
    type Pass = PrimaryLease;
    fn current(&self) -> Option<PrimaryLease> {
        Some(self.0.clone()).filter(PrimaryLease::valid)
    }
}

struct Server {
    at: SocketAddr,
    lease: crate::store::LeaseControl,
    _stop: net::StopControl,
    dir: tempfile::TempDir,
}

async fn panics() -> &'static str {
    panic!("as asked")
}

fn app() -> Router {
    Router::new()
        .route(
            "/who",
            get(|Extension(client): Extension<Client>| async move {
                format!("{} {}", client.secure, client.lease.is_some_and(|lease| lease.valid()))
            }),
        )
        .route("/long", post(|body: Bytes| async move { body.len().to_string() }))
        .route("/never", get(|| async { std::future::pending::<()>().await }))
        .route("/panic", get(panics))
}

fn start(router: Router, secure: bool) -> Server {
    let dir = tempfile::tempdir().unwrap();
    let tls = secure.then(|| {
        let names =
            Names { hosts: vec!["localhost".into()], addresses: vec![[127, 0, 0, 1].into()] };
        let service = Service::own(dir.path(), &names, crate::base::clock::now_ms()).unwrap();
        service.offering(PROTOCOLS)
    });
    start_site(Site::new(router, tls), dir)
}

fn start_site(site: Site, dir: tempfile::TempDir) -> Server {
    let (lease, control) = PrimaryLease::mint(Epoch(1));
    control.extend(Mono(u64::MAX));
    let listener = net::listen(&[IpAddr::from([127, 0, 0, 1])], 0).unwrap().remove(0);
    let at = listener.address();
    let (stop_control, stop) = net::stop();
    let sessions = Sessions::new(LIMITS);
    let serve = net::serve(listener, sessions, Held(lease), stop, move |s| site.clone().serve(s));
    drop(task::spawn("accept", serve));
    Server { at, lease: control, _stop: stop_control, dir }
}

/// Says `text` and hears everything until the end.
async fn exchange(at: SocketAddr, text: &str) -> String {
    let mut tcp = TcpStream::connect(at).await.unwrap();
    tcp.write_all(text.as_bytes()).await.unwrap();
    let mut said = Vec::new();
    // A reset after the answer is an end, too.
    tcp.read_to_end(&mut said).await.map(drop).unwrap_or_default();
    String::from_utf8_lossy(&said).into_owned()
}

fn code(said: &str) -> &str {
    said.split(' ').nth(1).unwrap_or_default()
}

fn field<'s>(said: &'s str, name: &str) -> Option<&'s str> {
    said.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(": "))
}

#[tokio::test]
async fn every_answer_is_protected_and_says_who_asked() {
    let server = start(app(), false);
    let said =
        exchange(server.at, "GET /who HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
    assert!(said.ends_with("\r\n\r\nfalse true"), "{said}");
    let gone =
        exchange(server.at, "GET /no HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
    assert_eq!((code(&said), code(&gone)), ("200", "404"));
    for said in [said, gone] {
        assert_eq!(field(&said, "cache-control"), Some("no-store"));
        assert_eq!(field(&said, "x-content-type-options"), Some("nosniff"));
        assert_eq!(field(&said, "referrer-policy"), Some("no-referrer"));
        assert_eq!(field(&said, "cross-origin-opener-policy"), Some("same-origin"));
        assert!(field(&said, "content-security-policy").unwrap().contains("sandbox"));
        assert_eq!(field(&said, "strict-transport-security"), None, "in the clear");
    }
}

#[tokio::test]
async fn requests_without_a_usable_host_or_too_much_of_anything_are_refused() {
    let server = start(app(), false);
    let long = "x".repeat(HEADER_LEN_MAX);
    let body = "x".repeat(BODY_LEN_MAX + 1);
    let body =
        format!("POST /long HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let many: String = (0..=HEADERS_MAX).map(|n| format!("x-{n}: y\r\n")).collect();
    for (request, wanted) in [
        ("GET /who HTTP/1.1\r\n\r\n".to_owned(), "400"),
        ("GET /who HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n".to_owned(), "400"),
        ("GET /who HTTP/1.1\r\nhost: a b\r\n\r\n".to_owned(), "400"),
        ("nonsense\r\n\r\n".to_owned(), "400"),
        (format!("GET /who HTTP/1.1\r\nhost: a\r\nx: {long}\r\n\r\n"), "431"),
        (format!("GET /who HTTP/1.1\r\nhost: a\r\n{many}\r\n"), "431"),
        (body, "413"),
    ] {
        let request = request.replacen("\r\n", "\r\nconnection: close\r\n", 1);
        let said = exchange(server.at, &request).await;
        assert_eq!(code(&said), wanted, "{:.60}: {said}", request);
    }
}

#[tokio::test]
async fn who_is_too_slow_is_not_waited_for() {
    let site = Site::with_patience(app(), None, Duration::from_millis(50));
    let server = start_site(site, tempfile::tempdir().unwrap());
    for request in ["GET /who HTTP/1.1\r\nho", "GET /who HTTP/1.1\r\nhost: a\r\n\r\n"] {
        let said = exchange(server.at, request).await;
        assert_ne!(code(&said), "400", "{said}");
    }
}

#[tokio::test]
async fn port_80_sends_everybody_to_https_and_knows_no_other_challenge() {
    let server = start(redirect::router(Challenges::default(), 443), false);
    let other = start(redirect::router(Challenges::default(), 8443), false);
    for (server, head, wanted) in [
        (
            &server,
            "GET /a?b=c HTTP/1.1\r\nhost: Mail.Example.org:80",
            "https://mail.example.org/a?b=c",
        ),
        (&server, "POST / HTTP/1.1\r\nhost: [2001:db8::1]", "https://[2001:db8::1]/"),
        (&server, "GET /x HTTP/1.0", "https://127.0.0.1/x"),
        (&server, "GET http://b.example/y HTTP/1.1\r\nhost: a", "https://b.example/y"),
        (&server, "OPTIONS * HTTP/1.1\r\nhost: a", "https://a/"),
        (&other, "GET //evil.example/ HTTP/1.1\r\nhost: a", "https://a:8443//evil.example/"),
    ] {
        let said = exchange(server.at, &format!("{head}\r\nconnection: close\r\n\r\n")).await;
        assert_eq!((code(&said), field(&said, "location")), ("308", Some(wanted)), "{said}");
    }
    let ask = "GET /.well-known/acme-challenge/x HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    assert_eq!(code(&exchange(server.at, ask).await), "404");
}

type Sender = hyper::client::conn::http2::SendRequest<Full<Bytes>>;

/// A client of HTTP/2, and the end of its connection.
async fn second(server: &Server) -> (Sender, tokio::sync::oneshot::Receiver<bool>) {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(server.dir.path().join("ca.pem")).unwrap()).unwrap();
    let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![HTTP_2.to_vec()];
    let tcp = TcpStream::connect(server.at).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let tls = TlsConnector::from(Arc::new(config)).connect(name, tcp).await.unwrap();
    assert_eq!(tls.get_ref().1.alpn_protocol(), Some(HTTP_2));
    let io = TokioIo::new(tls);
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
    let (ended, end) = tokio::sync::oneshot::channel();
    drop(task::spawn("client", async move {
        ended.send(connection.await.is_ok()).unwrap_or_default();
    }));
    (sender, end)
}

async fn get_by(sender: &mut Sender, path: &str) -> Option<(u16, String)> {
    let request = axum::http::Request::get(format!("https://localhost{path}"));
    let request = request.body(Full::default()).unwrap();
    let response = sender.send_request(request).await.ok()?;
    let status = response.status().as_u16();
    assert!(response.headers().contains_key("strict-transport-security"));
    let bytes = response.into_body().collect().await.ok()?.to_bytes();
    Some((status, String::from_utf8(bytes.to_vec()).unwrap()))
}

#[tokio::test]
async fn http_2_is_spoken_where_the_client_can_and_a_panic_ends_one_request() {
    let server = start(app(), true);
    let (mut sender, _end) = second(&server).await;
    assert_eq!(get_by(&mut sender, "/who").await, Some((200, "true true".to_owned())));
    assert_eq!(get_by(&mut sender, "/panic").await, None);
    assert_eq!(get_by(&mut sender, "/who").await, Some((200, "true true".to_owned())));
    let request = axum::http::Request::get("https://localhost/who");
    let request = request.header("x", "y".repeat(HEADER_LEN_MAX)).body(Full::default()).unwrap();
    assert_eq!(sender.send_request(request).await.unwrap().status().as_u16(), 431);
}

#[tokio::test]
async fn at_notice_requests_under_way_are_answered_and_the_connection_ends() {
    let (release, wait) = tokio::sync::watch::channel(false);
    let router = Router::new().route(
        "/wait",
        get(move || {
            let mut wait = wait.clone();
            async move { wait.wait_for(|go| *go).await.is_ok().to_string() }
        }),
    );
    let server = start(router, true);
    let (mut sender, end) = second(&server).await;
    let mut other = sender.clone();
    let waits = get_by(&mut sender, "/wait");
    let leaves = async {
        while limit::HTTP_REQUESTS.used() == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        server.lease.give_notice(true);
        // The client has heard it: it may not ask for more.
        while get_by(&mut other, "/none").await.is_some() {}
        release.send_replace(true);
    };
    let (answered, ()) = tokio::join!(waits, leaves);
    assert_eq!(answered, Some((200, "true".to_owned())));
    assert!(end.await.unwrap(), "in good order");
    server.lease.all_gone().await;
}

#[tokio::test]
async fn at_notice_an_idle_connection_of_http_1_is_closed_and_a_busy_one_answers_first() {
    let server = start(app(), false);
    let mut tcp = TcpStream::connect(server.at).await.unwrap();
    tcp.write_all(b"GET /who HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    let mut said = vec![0; 4096];
    let len = tcp.read(&mut said).await.unwrap();
    assert_eq!(code(&String::from_utf8_lossy(&said[..len])), "200");
    server.lease.give_notice(true);
    assert_eq!(tcp.read(&mut said).await.unwrap(), 0);
    // Who comes now is served once.
    let late = exchange(server.at, "GET /who HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert!(late.is_empty() || field(&late, "connection") == Some("close"), "{late}");
}

#[tokio::test]
async fn a_revoked_lease_ends_connections_and_the_requests_in_them() {
    struct Told(mpsc::Sender<()>);
    impl Drop for Told {
        fn drop(&mut self) {
            self.0.try_send(()).unwrap_or_default();
        }
    }
    let (tell, mut told) = mpsc::channel(1);
    let router = Router::new().route(
        "/never",
        get(move || {
            let kept = Told(tell.clone());
            async move {
                std::future::pending::<()>().await;
                drop(kept);
            }
        }),
    );
    let server = start(router, true);
    let (mut sender, end) = second(&server).await;
    let asks = get_by(&mut sender, "/never");
    let revokes = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        server.lease.revoke();
    };
    let (answered, ()) = tokio::join!(asks, revokes);
    assert_eq!(answered, None);
    assert!(!end.await.unwrap(), "torn off");
    told.recv().await.unwrap();
}
