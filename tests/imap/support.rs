//! A node that serves IMAP on free ports, and a client that speaks it.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use understudy::base::{clock, secret::Secret, task};
use understudy::directory::{Directory, Login};
use understudy::imap::Imap;
use understudy::mail::{Envelope, Mail};
use understudy::net::held::Socket;
use understudy::net::{self, Notice, Session, Stream};
use understudy::store::disk::{Disk, RealDisk};
use understudy::store::{LeaseControl, PrimaryLease, Store, StoreOptions};
use understudy::{config, tls};
use understudy_proto::directory::DirectoryRules;
use understudy_proto::id::{Epoch, NodeId, Uid};
use understudy_proto::mailbox::MailboxRules;
use understudy_proto::queue::QueueRules;
use understudy_proto::rule::Registry;
use understudy_proto::time::Mono;

pub(crate) const ADDRESS: &str = "ada@example.org";
pub(crate) const PASSWORD: &str = "correct horse battery";
pub(crate) const APPEND_LIMIT: u64 = 64 * 1024 * 1024;
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Server {
    pub(crate) imap: SocketAddr,
    /// As `imap`, but answers leave only while the lease is fresh.
    pub(crate) held: SocketAddr,
    pub(crate) imaps: SocketAddr,
    pub(crate) directory: Directory,
    pub(crate) store: Store,
    pub(crate) mail: Mail,
    pub(crate) lease: PrimaryLease,
    pub(crate) login: Login,
    pub(crate) ca: PathBuf,
    pub(crate) control: LeaseControl,
    client: TlsConnector,
    _dir: TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        // Sessions that are left hold the store, too: it must not write once its folder is gone.
        self.store.close();
    }
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::with(config::Imap {
            idle_timeout: Duration::from_secs(1800),
            keepalive: Duration::from_secs(120),
        })
        .await
    }

    pub(crate) async fn with(config: config::Imap) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut options = StoreOptions::new(dir.path().join("data"), NodeId(0));
        options.segment_len = 8 * 1024 * 1024;
        let rules = Registry::default().with(DirectoryRules).with(MailboxRules).with(QueueRules);
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        let store = Store::open(disk, options, rules).unwrap();
        store.log().begin_epoch(Epoch(1)).await.unwrap();
        store.log().commit_alone(true);
        // What the pair says of keys once it has them on every node: here there is one.
        store.keyring().mark_replicated(u64::MAX);
        let (lease, control) = PrimaryLease::mint(Epoch(1));
        control.extend(Mono(u64::MAX));
        let directory = Directory::new(store.clone());
        let tenant = directory.create_tenant(&lease, "example").await.unwrap();
        directory.add_domain(&lease, tenant, "example.org").await.unwrap();
        let login = directory.create_account(&lease, ADDRESS, "Ada").await.unwrap();
        let password = Secret::new(PASSWORD.to_owned());
        directory.set_password(&lease, ADDRESS, password).await.unwrap();
        let mail = Mail::new(store.clone());
        let tls_dir = dir.path().join("tls");
        let names =
            tls::Names { hosts: vec!["localhost".into()], addresses: vec![[127, 0, 0, 1].into()] };
        let service = tls::Service::own(&tls_dir, &names, clock::now_ms()).unwrap();
        let ca = tls_dir.join("ca.pem");
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(&ca).unwrap()).unwrap();
        let client = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let imap = Imap::new(directory.clone(), mail.clone(), service, config, APPEND_LIMIT);
        Self {
            imap: listen(imap.clone(), lease.clone(), false, false),
            held: listen(imap.clone(), lease.clone(), false, true),
            imaps: listen(imap, lease.clone(), true, false),
            directory,
            store,
            mail,
            lease,
            login,
            ca,
            control,
            client: TlsConnector::from(Arc::new(client)),
            _dir: dir,
        }
    }

    /// Delivers a message to the account, as SMTP does, and waits until it can be seen.
    pub(crate) async fn deliver(&self, message: &[u8]) {
        let before = self.uid_next();
        let tenants = [self.login.tenant];
        let mut ingest = self.mail.begin(&self.lease, &tenants).await.unwrap();
        ingest.write(message).await.unwrap();
        let local = vec![(self.login.tenant, self.login.account)];
        let envelope = Envelope { local, ..Envelope::default() };
        self.mail.deliver(&self.lease, &envelope, ingest.finish()).await.unwrap();
        while self.uid_next() == before {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    fn uid_next(&self) -> Uid {
        let all = self.mail.mailboxes(&self.login).unwrap();
        all.iter().find(|m| m.name == "INBOX").unwrap().uid_next
    }

    /// A connection to port 143, greeting read.
    pub(crate) async fn plain(&self) -> Client {
        let tcp = TcpStream::connect(self.imap).await.unwrap();
        Client::new(Box::new(tcp)).await
    }

    /// The same, where answers leave only while the lease is fresh.
    pub(crate) async fn held(&self) -> Client {
        let tcp = TcpStream::connect(self.held).await.unwrap();
        Client::new(Box::new(tcp)).await
    }

    /// A connection to port 993, greeting read.
    pub(crate) async fn secure(&self) -> Client {
        let tcp = TcpStream::connect(self.imaps).await.unwrap();
        Client::new(self.handshake(Box::new(tcp)).await).await
    }

    /// A session that is logged in.
    pub(crate) async fn client(&self) -> Client {
        self.client_with(PASSWORD).await
    }

    /// A session that is logged in with another password.
    pub(crate) async fn client_with(&self, password: &str) -> Client {
        let mut client = self.secure().await;
        client.ok(&format!("LOGIN {ADDRESS} \"{password}\"")).await;
        client
    }

    /// A session that has INBOX selected.
    pub(crate) async fn inbox(&self) -> Client {
        let mut client = self.client().await;
        client.ok("SELECT INBOX").await;
        client
    }

    pub(crate) async fn handshake(&self, io: Io) -> Io {
        let name = ServerName::try_from("localhost").unwrap();
        Box::new(self.client.connect(name, io).await.unwrap())
    }
}

fn listen(imap: Imap, lease: PrimaryLease, implicit_tls: bool, held: bool) -> SocketAddr {
    let listener = net::listen(&[IpAddr::from([127, 0, 0, 1])], 0).unwrap().remove(0);
    let local = listener.address();
    task::spawn("imap", async move {
        while let Ok((tcp, peer)) = listener.accept().await {
            let stream =
                if held { Stream::Plain(Socket::new(tcp, &lease)) } else { Stream::from(tcp) };
            let (pass, notice) = (lease.clone(), Notice::new(lease.notice()));
            let session = Session { stream, peer, local, pass, notice };
            task::spawn("imap", imap.clone().serve(session, implicit_tls));
        }
    });
    local
}

pub(crate) trait Duplex:
    tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send
{
}
impl<T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send> Duplex for T {}
pub(crate) type Io = Box<dyn Duplex>;

/// A client that waits for each command's end.
pub(crate) struct Client {
    io: BufReader<Io>,
    pub(crate) greeting: String,
    tag: u32,
}

/// What a command got.
#[derive(Debug)]
pub(crate) struct Reply {
    /// Untagged responses, literals in place, without the final line end.
    pub(crate) lines: Vec<String>,
    /// The tagged response without its tag.
    pub(crate) end: String,
}

impl Reply {
    /// The one untagged response that contains `word`.
    #[track_caller]
    pub(crate) fn line(&self, word: &str) -> &str {
        let mut found = self.lines.iter().filter(|l| l.contains(word));
        let line = found.next().unwrap_or_else(|| panic!("no {word} in {self:?}"));
        assert!(found.next().is_none(), "more than one {word} in {self:?}");
        line
    }
}

impl Client {
    pub(crate) async fn new(io: Io) -> Self {
        let mut client = Self { io: BufReader::new(io), greeting: String::new(), tag: 0 };
        client.greeting = client.response().await.expect("a greeting");
        client
    }

    pub(crate) fn into_io(self) -> Io {
        self.io.into_inner()
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.io.write_all(bytes.as_ref()).await.unwrap();
        self.io.flush().await.unwrap();
    }

    /// The next response, literals in place; `None` at the end.
    pub(crate) async fn response(&mut self) -> Option<String> {
        let mut all = Vec::new();
        loop {
            let read = self.io.read_until(b'\n', &mut all);
            let n = tokio::time::timeout(PATIENCE, read).await.expect("an answer in time");
            if n.unwrap_or(0) == 0 {
                return None;
            }
            assert!(all.ends_with(b"\r\n"));
            all.truncate(all.len() - 2);
            let Some(open) = all.iter().rposition(|&b| b == b'{').filter(|_| all.ends_with(b"}"))
            else {
                return Some(String::from_utf8_lossy(&all).into_owned());
            };
            let len = std::str::from_utf8(&all[open + 1..all.len() - 1]).unwrap();
            let len: usize = len.parse().unwrap();
            all.extend_from_slice(b"\r\n");
            let start = all.len();
            all.resize(start + len, 0);
            self.io.read_exact(&mut all[start..]).await.unwrap();
        }
    }

    /// Waits until a response begins, and leaves the rest of it.
    pub(crate) async fn starts(&mut self, with: &str) {
        let mut start = vec![0; with.len()];
        self.io.read_exact(&mut start).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&start), with);
    }

    /// How many bytes come until the connection ends.
    pub(crate) async fn rest(&mut self) -> usize {
        let (mut all, mut piece) = (0, vec![0; 65_536]);
        loop {
            let read = self.io.read(&mut piece);
            match tokio::time::timeout(PATIENCE, read).await.expect("an end in time") {
                Ok(0) | Err(_) => return all,
                Ok(n) => all += n,
            }
        }
    }

    /// Runs a command to its end.
    pub(crate) async fn run(&mut self, command: &str) -> Reply {
        self.tag += 1;
        let tag = format!("t{}", self.tag);
        self.send(format!("{tag} {command}\r\n")).await;
        self.reply(&tag).await
    }

    /// Reads to the tagged response.
    pub(crate) async fn reply(&mut self, tag: &str) -> Reply {
        let mut lines = Vec::new();
        loop {
            let line = self.response().await.unwrap_or_else(|| panic!("closed after {lines:?}"));
            if let Some(end) = line.strip_prefix(&format!("{tag} ")) {
                return Reply { lines, end: end.to_owned() };
            }
            lines.push(line);
        }
    }

    #[track_caller]
    fn check(reply: Reply, command: &str, word: &str) -> Reply {
        assert!(reply.end.starts_with(word), "{command}: {reply:?}");
        reply
    }

    pub(crate) async fn ok(&mut self, command: &str) -> Reply {
        let reply = self.run(command).await;
        Self::check(reply, command, "OK")
    }

    pub(crate) async fn no(&mut self, command: &str) -> Reply {
        let reply = self.run(command).await;
        Self::check(reply, command, "NO")
    }

    pub(crate) async fn bad(&mut self, command: &str) -> Reply {
        let reply = self.run(command).await;
        Self::check(reply, command, "BAD")
    }

    /// Appends a message with a non-synchronising literal.
    pub(crate) async fn append(&mut self, before: &str, message: &[u8]) -> Reply {
        self.tag += 1;
        let tag = format!("t{}", self.tag);
        self.send(format!("{tag} APPEND {before} {{{}+}}\r\n", message.len())).await;
        self.send(message).await;
        self.send("\r\n").await;
        let reply = self.reply(&tag).await;
        Self::check(reply, before, "OK")
    }
}

impl Client {
    /// A client on a stream whose greeting was read before.
    pub(crate) fn wrap(io: Io) -> Self {
        Self { io: BufReader::new(io), greeting: String::new(), tag: 100 }
    }
}
