//! Over loopback: services' TLS through the whole stack, pins between two nodes.

use super::*;
use crate::base::{limit::Limit, task};
use crate::net::{self, Open, Session, Stream};
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use understudy_proto::time::UnixMs;

const NOW: UnixMs = UnixMs(1_790_000_000_000);

fn names() -> Names {
    Names {
        hosts: vec!["mx.example.net".to_owned()],
        addresses: vec![IpAddr::from([127, 0, 0, 1]), IpAddr::from([0, 0, 0, 0])],
    }
}

/// Connects as a client that has installed `dir`'s authority.
async fn trusting(
    dir: &Path,
    at: std::net::SocketAddr,
    name: &str,
    version: &'static rustls::SupportedProtocolVersion,
) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(dir.join("ca.pem")).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let tcp = TcpStream::connect(at).await?;
    TlsConnector::from(Arc::new(config)).connect(name, tcp).await
}

use std::path::Path;

#[tokio::test]
async fn a_client_that_installed_the_authority_trusts_the_service() {
    static LIMIT: Limit = Limit::new("test", 10);
    let dir = tempfile::tempdir().unwrap();
    let now = crate::base::clock::now_ms();
    let service = Service::own(dir.path(), &names(), now).unwrap();
    let listener = net::listen(&[IpAddr::from([127, 0, 0, 1])], 0).unwrap().remove(0);
    let at = listener.address();
    let (_control, stop) = net::stop();
    let config = service.config();
    let limits = net::Limits { limit: &LIMIT, per_source_max: 10, refusal: b"" };
    let handler = move |session: Session<Open>| {
        let config = Arc::clone(&config);
        async move {
            let Ok(mut stream) = session.stream.upgrade(&config).await else { return };
            let facts = stream.tls_facts().unwrap();
            stream.write_all(facts.version.as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
            assert!(Stream::is_tls(&stream));
        }
    };
    task::spawn("accept", net::serve(listener, net::Sessions::new(limits), Open, stop, handler));

    for (name, version, says) in [
        ("mx.example.net", &rustls::version::TLS13, "TLSv1_3"),
        ("127.0.0.1", &rustls::version::TLS12, "TLSv1_2"),
    ] {
        let mut tls = trusting(dir.path(), at, name, version).await.unwrap();
        let mut said = String::new();
        tls.read_to_string(&mut said).await.unwrap();
        assert_eq!(said, says);
    }
    assert!(trusting(dir.path(), at, "other.example", &rustls::version::TLS13).await.is_err());
}

#[test]
fn the_own_certificate_stays_until_something_changes() {
    let dir = tempfile::tempdir().unwrap();
    let first = Service::own(dir.path(), &names(), NOW).unwrap();
    let again = Service::own(dir.path(), &names(), NOW).unwrap();
    assert_eq!(first.fingerprint(), again.fingerprint());
    let left = first.not_after().unwrap().0 - NOW.0;
    assert!((799 * 86_400_000..=800 * 86_400_000).contains(&left), "{left}");
    let key = std::fs::read(dir.path().join("service.key")).unwrap();

    let late = UnixMs(NOW.0 + 750 * 86_400_000);
    let renewed = Service::own(dir.path(), &names(), late).unwrap();
    assert_ne!(first.fingerprint(), renewed.fingerprint());
    let mut more = names();
    more.hosts.push("imap.example.net".to_owned());
    let wider = Service::own(dir.path(), &more, late).unwrap();
    assert_ne!(wider.fingerprint(), renewed.fingerprint());
    assert_eq!(first.authority_fingerprint(), wider.authority_fingerprint());
    assert_eq!(key, std::fs::read(dir.path().join("service.key")).unwrap());
    for file in ["ca.key", "service.key"] {
        let mode = std::fs::metadata(dir.path().join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
}

#[test]
fn a_dead_clock_battery_makes_usable_certificates() {
    let dir = tempfile::tempdir().unwrap();
    let service = Service::own(dir.path(), &names(), UnixMs(0)).unwrap();
    assert!(service.not_after().unwrap() > UnixMs(1_830_000_000_000));
    Identity::self_signed("x", UnixMs(u64::MAX)).unwrap();
}

#[test]
fn the_operators_files_are_used_or_refused_with_a_reason() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let one = Authority::generate(NOW).unwrap().issue(&names(), None, NOW).unwrap();
    let two = Authority::generate(NOW).unwrap().issue(&names(), None, NOW).unwrap();
    std::fs::write(at("cert"), &one.certificate_pem).unwrap();
    std::fs::write(at("key"), &one.key_pem).unwrap();
    std::fs::write(at("foreign"), &two.key_pem).unwrap();
    let service = Service::from_files(dir.path(), &at("cert"), &at("key")).unwrap();
    assert_eq!(service.authority_fingerprint(), None);
    let error = |c: &str, k: &str| {
        Service::from_files(dir.path(), &at(c), &at(k))
            .err()
            .map(|e| e.to_string())
            .unwrap_or_default()
    };
    assert!(error("cert", "foreign").contains("cannot be used together"));
    assert!(error("cert", "cert").contains("holds no private key"), "{}", error("cert", "cert"));
    assert!(error("key", "key").contains("holds no certificate"));
    assert!(error("missing", "key").contains("missing"));
}

#[test]
fn an_authority_survives_its_journey() {
    let here = Authority::generate(NOW).unwrap();
    let there = Authority::from_pem(&here.to_pem()).unwrap();
    assert_eq!(here.fingerprint(), there.fingerprint());
    assert_eq!(here.certificate_pem(), there.certificate_pem());
    assert!(Authority::from_pem("nothing").is_err());
}

#[test]
fn pins_are_written_and_read() {
    let pin = Pin::of(b"x");
    assert_eq!(pin.to_string().parse(), Ok(pin));
    for bad in ["", "zz", &"g".repeat(64), &"é".repeat(32)] {
        assert!(bad.parse::<Pin>().is_err());
    }
}

/// Performs one handshake over loopback; what each side thinks of it after a byte each way.
async fn handshake(server: Arc<ServerConfig>, client: Arc<ClientConfig>) -> (bool, bool) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let serve = async move {
        let (tcp, _) = listener.accept().await.unwrap();
        let Ok(mut tls) = TlsAcceptor::from(server).accept(tcp).await else { return false };
        let mut byte = [0];
        tls.read_exact(&mut byte).await.is_ok() && tls.write_all(&byte).await.is_ok()
    };
    let connect = async move {
        let tcp = TcpStream::connect(at).await.unwrap();
        let name = ServerName::try_from("understudy.invalid").unwrap();
        let Ok(mut tls) = TlsConnector::from(client).connect(name, tcp).await else {
            return false;
        };
        let mut byte = [7];
        tls.write_all(&byte).await.is_ok() && tls.read_exact(&mut byte).await.is_ok()
    };
    tokio::join!(serve, connect)
}

#[tokio::test]
async fn only_the_pinned_peer_gets_through_at_any_date() {
    // Made when the clock said 2026; the handshake happens now, and in 200 years.
    let a = Identity::self_signed("understudy-0", UnixMs(0)).unwrap();
    let b = Identity::self_signed("understudy-1", UnixMs(u64::MAX)).unwrap();
    let foreign = Identity::self_signed("understudy-1", UnixMs(0)).unwrap();
    let pin = |i: &Identity| Pin::of_pem(&i.certificate_pem);
    let at_a = LinkTls::new(&a, pin(&b)).unwrap();
    let at_b = LinkTls::new(&b, pin(&a)).unwrap();
    let at_foreign = LinkTls::new(&foreign, pin(&a)).unwrap();
    let misled = LinkTls::new(&b, pin(&foreign)).unwrap();

    let server = at_a.server.unwrap();
    assert_eq!(handshake(server.clone(), at_b.client.unwrap()).await, (true, true));
    assert_eq!(handshake(server.clone(), at_foreign.client.unwrap()).await, (false, false));
    // b takes nobody but the one whom it pinned.
    assert_eq!(handshake(server.clone(), misled.client.unwrap()).await, (false, false));
    // Without a certificate nobody gets through the link's door, but through the join's.
    let joiner = join_client(pin(&a)).unwrap();
    assert_eq!(handshake(server, joiner.clone()).await, (false, false));
    assert_eq!(handshake(at_a.join.clone(), joiner).await, (true, true));
    assert!(not_after_pem(&a.certificate_pem).is_some());
}

/// One handshake; how it began, for each side.
async fn kinds(
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
) -> Option<rustls::HandshakeKind> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let serve = async move {
        let (tcp, _) = listener.accept().await.unwrap();
        let mut tls = TlsAcceptor::from(server).accept(tcp).await.unwrap();
        tls.write_all(b"x").await.unwrap();
    };
    let connect = async move {
        let tcp = TcpStream::connect(at).await.unwrap();
        let name = ServerName::try_from("mail.example.com").unwrap();
        let mut tls = TlsConnector::from(client).connect(name, tcp).await.unwrap();
        // TLS 1.3: tickets come after the handshake.
        tls.read_exact(&mut [0]).await.unwrap();
        tls.get_ref().1.handshake_kind()
    };
    tokio::join!(serve, connect).1
}

#[tokio::test]
async fn a_session_is_resumed_at_the_other_node() {
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let names = Names { hosts: vec!["mail.example.com".to_owned()], addresses: Vec::new() };
    let now = crate::base::clock::now_ms();
    let here = Service::own(first.path(), &names, now).unwrap();
    for file in ["ca.pem", "ca.key", "service.key"] {
        std::fs::copy(first.path().join(file), second.path().join(file)).unwrap();
    }
    let there = Service::own(second.path(), &names, now).unwrap();
    let mut roots = RootCertStore::empty();
    let authority = std::fs::read(first.path().join("ca.pem")).unwrap();
    roots.add(CertificateDer::from_pem_slice(&authority).unwrap()).unwrap();
    let client = Arc::new(
        ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth(),
    );
    let full =
        |kind: Option<rustls::HandshakeKind>| !matches!(kind, Some(rustls::HandshakeKind::Resumed));
    assert!(full(kinds(here.config(), client.clone()).await));
    assert!(!full(kinds(here.config(), client.clone()).await));
    there.tickets().adopt(&here.tickets().export());
    assert!(!full(kinds(there.config(), client.clone()).await));
    // What it had of the first node before is of use after the takeover.
    assert!(full(kinds(Service::own(second.path(), &names, now).unwrap().config(), client).await));
}
