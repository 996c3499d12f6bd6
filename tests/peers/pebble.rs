//! Pebble, Let's Encrypt's own test server, at the other end of ACME: it checks every challenge for real,
//! by http-01 and tls-alpn-01, for names and for addresses.

use crate::smtp::appliance::{LONG, free_ports};
use crate::smtp::wire::Anyone;
use std::io::{BufRead, BufReader};
use std::net::IpAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, HandshakeKind};
use understudy::base::{clock, task};
use understudy::config;
use understudy::http::{self, Site, redirect};
use understudy::net::{self, Gate, Sessions};
use understudy::store::PrimaryLease;
use understudy::tls::acme::{Acme, Ways};
use understudy::tls::vault::Vault;
use understudy::tls::{Authority, Names, Service};
use understudy_proto::id::Epoch;
use understudy_proto::time::Mono;

/// A process that ends with the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        self.0.kill().unwrap_or_default();
        self.0.wait().map(drop).unwrap_or_default();
    }
}

struct Pebble {
    directory: String,
    _processes: [Process; 2],
}

fn start(program: &str, arguments: &[&str], dir: &Path) -> Process {
    let path = Path::new("/usr/bin").join(program);
    assert!(path.exists(), "install pebble for this test");
    let log = std::fs::File::create(dir.join(program)).unwrap();
    let mut command = Command::new(path);
    // A request has three tries for its nonce; then the next round is later than this test waits.
    command.args(arguments).env("PEBBLE_VA_NOSLEEP", "1").env("PEBBLE_WFE_NONCEREJECT", "1");
    let out = log.try_clone().unwrap();
    Process(command.stdin(Stdio::null()).stdout(out).stderr(log).spawn().unwrap())
}

/// Starts it; every name leads to 127.0.0.1, challenges are asked for at these ports.
fn pebble(dir: &Path, http: u16, https: u16) -> Pebble {
    let [acme, management, dns, control] = free_ports();
    let authority = Authority::generate(clock::now_ms()).unwrap();
    authority.save(&dir.join("root")).unwrap();
    let names = Names { hosts: vec!["localhost".into()], addresses: vec![[127, 0, 0, 1].into()] };
    let own = authority.issue(&names, None, clock::now_ms()).unwrap();
    std::fs::write(dir.join("cert.pem"), own.certificate_pem).unwrap();
    std::fs::write(dir.join("key.pem"), own.key_pem).unwrap();
    let at = |name: &str| dir.join(name).display().to_string();
    let text = serde_json::json!({"pebble": {
        "listenAddress": format!("127.0.0.1:{acme}"),
        "managementListenAddress": format!("127.0.0.1:{management}"),
        "certificate": at("cert.pem"),
        "privateKey": at("key.pem"),
        "httpPort": http,
        "tlsPort": https,
        "ocspResponderURL": "",
        "externalAccountBindingRequired": false,
    }});
    std::fs::write(dir.join("pebble.json"), text.to_string()).unwrap();
    let dns_at = format!("127.0.0.1:{dns}");
    let control = format!("127.0.0.1:{control}");
    let tests = ["-dns01", &dns_at, "-management", &control, "-defaultIPv4", "127.0.0.1"];
    let off = ["-defaultIPv6", "", "-http01", "", "-https01", "", "-tlsalpn01", ""];
    let names = start("pebble-challtestsrv", &[&tests[..], &off].concat(), dir);
    let config = at("pebble.json");
    let arguments = ["-config", &config, "-dnsserver", &dns_at, "-strict"];
    let server = start("pebble", &arguments, dir);
    let end = clock::mono().after(LONG);
    while std::net::TcpStream::connect(("127.0.0.1", acme)).is_err() {
        assert!(clock::mono() < end, "pebble does not start:\n{}", said(dir));
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let directory = format!("https://localhost:{acme}/dir");
    Pebble { directory, _processes: [names, server] }
}

fn said(dir: &Path) -> String {
    let mut lines = Vec::new();
    for program in ["pebble-challtestsrv", "pebble"] {
        let file = std::fs::File::open(dir.join(program)).unwrap();
        lines.extend(BufReader::new(file).lines().map_while(Result::ok));
    }
    lines.join("\n")
}

#[derive(Clone)]
struct Held(PrimaryLease);

impl Gate for Held {
    type Pass = PrimaryLease;
    fn current(&self) -> Option<PrimaryLease> {
        Some(self.0.clone())
    }
}

/// The certificate that is shown at `port` to who asks for `name`.
async fn shown(port: u16, name: &str) -> Vec<u8> {
    let config = ClientConfig::builder().dangerous();
    let anyone = Anyone(Arc::new(aws_lc_rs::default_provider()));
    let config = config.with_custom_certificate_verifier(Arc::new(anyone)).with_no_client_auth();
    let tcp = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let tls = TlsConnector::from(Arc::new(config)).connect(name, tcp).await.unwrap();
    let connection = tls.get_ref().1;
    assert_eq!(connection.handshake_kind(), Some(HandshakeKind::Full));
    connection.peer_certificates().unwrap()[0].to_vec()
}

struct Here {
    service: Service,
    https: u16,
    dir: tempfile::TempDir,
    acme: Acme,
    lease: PrimaryLease,
    leases: tokio::sync::watch::Sender<Option<PrimaryLease>>,
    _control: understudy::store::LeaseControl,
    _stop: net::StopControl,
    _pebble: Pebble,
}

/// An appliance's web side, and Pebble, which may come by `ways`.
fn here(ways: Ways) -> Here {
    let dir = tempfile::tempdir().unwrap();
    let [http, https] = free_ports();
    let pebble = pebble(dir.path(), http, https);
    let ip = IpAddr::from([127, 0, 0, 1]);
    let names = Names { hosts: vec!["mx.here.example".into()], addresses: vec![ip] };
    let service = Service::own(&dir.path().join("tls"), &names, clock::now_ms()).unwrap();
    let (lease, control) = PrimaryLease::mint(Epoch(1));
    control.extend(Mono(u64::MAX));
    let (stop_control, stop) = net::stop();
    let plain = Site::new(redirect::router(service.challenges(), https), None);
    let web = Site::new(axum::Router::new(), Some(service.offering(http::PROTOCOLS)));
    let ports = [(ways.http, http, plain), (ways.tls, https, web)];
    // What is not a way is shut; without TLS nobody sees the certificates.
    for (_, port, site) in ports.into_iter().filter(|(open, port, _)| *open || *port == https) {
        let listener = net::listen(&[ip], port).unwrap().remove(0);
        let (gate, sessions) = (Held(lease.clone()), Sessions::new(http::LIMITS));
        let serve =
            net::serve(listener, sessions, gate, stop.clone(), move |s| site.clone().serve(s));
        drop(task::spawn("accept", serve));
    }
    let wanted = config::Acme {
        directory: pebble.directory.clone(),
        contact: Some("mailto:postmaster@here.example".into()),
        names: vec!["mx.here.example".into(), "webmail.here.example".into()],
        addresses: vec![ip],
        root: Some(dir.path().join("root/ca.pem")),
    };
    let acme = Acme::new(wanted, service.clone(), ways).unwrap();
    let (leases, _) = tokio::sync::watch::channel(None);
    Here {
        service,
        https,
        dir,
        acme,
        lease,
        leases,
        _control: control,
        _stop: stop_control,
        _pebble: pebble,
    }
}

impl Here {
    async fn wait(&self, items: usize) {
        let end = clock::mono().after(LONG);
        while self.service.vault().export().len() < items {
            assert!(clock::mono() < end, "no certificates:\n{}", said(self.dir.path()));
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    }
}

async fn obtains_by(ways: Ways) {
    let here = here(ways);
    let own = shown(here.https, "mx.here.example").await;
    assert_eq!(shown(here.https, "127.0.0.1").await, own);
    let running = task::spawn("acme", here.acme.clone().run(here.leases.subscribe()));
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    assert_eq!(here.service.vault().export().len(), 1, "a standby asks for nothing");
    here.leases.send_replace(Some(here.lease.clone()));
    // Our own, the account, the names', the addresses'.
    here.wait(4).await;
    // The vault is written first, and then shown.
    let end = clock::mono().after(LONG);
    while shown(here.https, "127.0.0.1").await == own {
        assert!(clock::mono() < end);
    }
    let named = shown(here.https, "mx.here.example").await;
    let addressed = shown(here.https, "127.0.0.1").await;
    assert!(named != own && addressed != own && named != addressed);
    assert_eq!(shown(here.https, "webmail.here.example").await, named);
    assert_eq!(shown(here.https, "other.example").await, own);
    assert!(here.acme.alarms(clock::now_ms()).is_empty());
    running.abort();

    // The other node takes all of it over, and shows the same.
    let there = tempfile::tempdir().unwrap();
    std::fs::create_dir(there.path().join("tls")).unwrap();
    for file in ["ca.key", "ca.pem", "service.key"] {
        std::fs::copy(here.dir.path().join("tls").join(file), there.path().join("tls").join(file))
            .unwrap();
    }
    let vault = Vault::open(&there.path().join("tls")).unwrap();
    for item in here.service.vault().export() {
        assert!(vault.merge(item).unwrap());
    }
    drop(vault);
    let names =
        Names { hosts: vec!["mx.here.example".into()], addresses: vec![[127, 0, 0, 1].into()] };
    let there = Service::own(&there.path().join("tls"), &names, clock::now_ms()).unwrap();
    assert_eq!(there.fingerprint(), here.service.fingerprint());
    assert_eq!(there.vault().export().len(), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_are_obtained_over_port_80() {
    obtains_by(Ways { http: true, tls: false }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_are_obtained_over_port_443() {
    obtains_by(Ways { http: false, tls: true }).await;
}
