//! The witness itself: connections of many pairs, one register each.
//!
//! Whoever connects proves a key; the pin of its certificate and the pair that it names must be
//! together in the configuration. A node's newest connection ends its older one, so that a pair
//! holds no more connections than it has pins.

use super::{Incoming, Lines, WITNESS_NAME};
use crate::base::{clock, task};
use crate::net::{self, ListenError};
use crate::pair::formation::PairId;
use crate::pair::register::{self, RegisterError};
use crate::pair::strangers::{Stranger, Strangers};
use crate::store::disk::{Disk, Lock};
use crate::tls::{self, Identity, Pin, TlsError, files};
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::server::TlsStream;
use understudy_proto::id::NodeId;
use understudy_proto::pair::witness::{
    Verdict, WITNESS_VERSION, WitnessAnswer, WitnessAsk, WitnessRegister, WitnessReply,
    WitnessRequest, decide,
};

/// Most pairs of one witness.
const PAIRS_MAX: usize = 1_000;
/// Most pins of one pair: its two nodes, and two that are about to replace them.
const PINS_MAX: usize = 4;
/// Connections that have not shown yet who they are.
static STRANGERS: Strangers = Strangers::new(64);
/// Most time from accept to welcome.
const HELLO_TIMEOUT: Duration = Duration::from_secs(5);
/// Most time that a node may take to receive an answer.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause after accept(2) failed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The identity's file, in the witness's folder: certificate and key.
const IDENTITY: &str = "identity.pem";
/// The registers' folder in it.
const REGISTERS: &str = "registers";

/// What a witness is built from.
pub struct ServerOptions {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Its folder, made by [`init`].
    pub dir: PathBuf,
    /// The disk that the folder lies on.
    pub disk: Arc<dyn Disk>,
    /// Whom it serves.
    pub pairs: Vec<PairEntry>,
    /// A node that asks nothing for so long has gone.
    pub idle_timeout: Duration,
}

/// A pair that a witness serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PairEntry {
    /// Its id.
    pub id: PairId,
    /// The pins of its nodes; at most [`PINS_MAX`].
    pub pins: Vec<Pin>,
}

/// Why there is no witness, or none any more.
#[derive(Debug, thiserror::Error)]
pub enum WitnessError {
    /// The port cannot be opened.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// Its certificate cannot be made or used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A file or folder cannot be used.
    #[error("{}: {source}; check the disk, its space and its permissions", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// `init` was not run.
    #[error(
        "{} holds no identity of a witness: run `understudy witness init --dir {}` once",
        dir.display(), dir.display()
    )]
    NoIdentity {
        /// The folder.
        dir: PathBuf,
    },
    /// Two processes on one folder would both believe that they decide.
    #[error("another witness runs on {}: stop it, or give this one a folder of its own", dir.display())]
    Running {
        /// The folder.
        dir: PathBuf,
    },
    /// A register cannot be read or made durable.
    #[error(transparent)]
    Register(#[from] RegisterError),
    /// The configuration names too much, or something twice.
    #[error("{0}")]
    Pairs(String),
}

/// Makes the identity of a witness in `dir`, or finds the one that is there. Returns its pin.
///
/// # Errors
/// The folder cannot be used, or holds a damaged identity.
pub fn init(dir: &Path) -> Result<Pin, WitnessError> {
    let path = dir.join(IDENTITY);
    let file = |path: &Path| {
        let path = path.to_owned();
        move |source| WitnessError::File { path, source }
    };
    files::folder(dir).map_err(file(dir))?;
    let identity = match load(dir)? {
        Some(identity) => identity,
        None => {
            let new = Identity::self_signed(WITNESS_NAME, clock::now_ms())?;
            let text = format!("{}{}", new.certificate_pem, new.key_pem);
            files::write_secret(&path, text.as_bytes()).map_err(file(&path))?;
            new
        }
    };
    pin_of(&identity, &path)
}

/// One text holds both: the readers of PEM each take what is theirs.
fn load(dir: &Path) -> Result<Option<Identity>, WitnessError> {
    let path = dir.join(IDENTITY);
    let found = files::read(&path).map_err(|source| WitnessError::File { path, source })?;
    Ok(found.map(|bytes| {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        Identity { certificate_pem: text.clone(), key_pem: text }
    }))
}

fn pin_of(identity: &Identity, path: &Path) -> Result<Pin, WitnessError> {
    Pin::of_pem(&identity.certificate_pem).ok_or_else(|| WitnessError::File {
        path: path.to_owned(),
        source: io::Error::new(io::ErrorKind::InvalidData, "it holds no certificate"),
    })
}

/// A running witness. Dropping it closes everything.
pub struct Server {
    address: SocketAddr,
    pin: Pin,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

struct Shared {
    tls: Arc<ServerConfig>,
    disk: Arc<dyn Disk>,
    registers: PathBuf,
    pairs: HashMap<[u8; 16], Arc<Kept>>,
    idle_timeout: Duration,
    /// Why the witness must end. Set once; nothing is answered afterwards.
    failed: watch::Sender<Option<String>>,
    _lock: Box<dyn Lock>,
}

/// What is kept for a pair.
struct Kept {
    id: PairId,
    pins: Vec<Pin>,
    /// What the file holds. Locked from reading it to having written it.
    held: Mutex<Option<WitnessRegister>>,
    /// The newest connection of each pin: told to end when a newer one comes.
    seats: Mutex<BTreeMap<[u8; 32], watch::Sender<bool>>>,
    /// What was said of the coming and going of each pin.
    lines: Mutex<BTreeMap<[u8; 32], Lines>>,
}

impl Kept {
    /// Takes the seat of `pin`. Returns what tells when a newer connection has it.
    fn seat(&self, pin: Pin) -> watch::Receiver<bool> {
        let (seat, ended) = watch::channel(false);
        if let Some(older) = lock(&self.seats).insert(pin.0, seat) {
            older.send_replace(true);
        }
        ended
    }

    /// Whether a line about `pin` may be written, and how many were left out since the last. Pins
    /// are those of the configuration: a few.
    fn may_say(&self, pin: Pin) -> Option<u64> {
        lock(&self.lines).entry(pin.0).or_default().may_say(clock::mono())
    }
}

impl Server {
    /// Reads every pair's register, opens the port and serves.
    ///
    /// # Errors
    /// See [`WitnessError`]. A damaged register is put aside: its pair must seed the witness anew.
    pub fn start(options: ServerOptions) -> Result<Self, WitnessError> {
        let ServerOptions { listen, dir, disk, pairs, idle_timeout } = options;
        let identity = load(&dir)?.ok_or_else(|| WitnessError::NoIdentity { dir: dir.clone() })?;
        let pin = pin_of(&identity, &dir.join(IDENTITY))?;
        let tls = tls::witness_server(&identity)?;
        let lock_path = dir.join("lock");
        let lock = disk
            .lock(&lock_path)
            .map_err(|source| WitnessError::File { path: lock_path, source })?
            .ok_or_else(|| WitnessError::Running { dir: dir.clone() })?;
        let registers = dir.join(REGISTERS);
        let pairs = open(disk.as_ref(), &registers, pairs)?;
        let listener = net::listen_at(listen)?;
        let address = listener.address();
        let failed = watch::Sender::new(None);
        let shared =
            Arc::new(Shared { tls, disk, registers, pairs, idle_timeout, failed, _lock: lock });
        let accepting =
            task::spawn_critical("witness-accept", accept(Arc::clone(&shared), listener));
        Ok(Self { address, pin, shared, accepting })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The pin of its certificate: what the nodes' configuration names.
    #[must_use]
    pub fn pin(&self) -> Pin {
        self.pin
    }

    /// Returns when the witness must end, and why: a register could not be made durable.
    pub async fn failed(&self) -> String {
        let mut failed = self.shared.failed.subscribe();
        match failed.wait_for(Option::is_some).await {
            Ok(why) => why.clone().unwrap_or_default(),
            // The sender lives in `self`.
            Err(_closed) => String::new(),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
        for kept in self.shared.pairs.values() {
            lock(&kept.seats).clear();
        }
    }
}

fn open(
    disk: &dyn Disk,
    dir: &Path,
    pairs: Vec<PairEntry>,
) -> Result<HashMap<[u8; 16], Arc<Kept>>, WitnessError> {
    if pairs.len() > PAIRS_MAX {
        let text = format!("{} pairs are configured; a witness serves {PAIRS_MAX}", pairs.len());
        return Err(WitnessError::Pairs(text));
    }
    let mut found = HashMap::new();
    for PairEntry { id, pins } in pairs {
        if pins.is_empty() || pins.len() > PINS_MAX {
            let text = format!("pair {id} must have 1 to {PINS_MAX} pins");
            return Err(WitnessError::Pairs(text));
        }
        let held = read(disk, dir, id)?;
        let (seats, lines) = (Mutex::default(), Mutex::default());
        let kept = Arc::new(Kept { id, pins, held: Mutex::new(held), seats, lines });
        if found.insert(id.0, kept).is_some() {
            return Err(WitnessError::Pairs(format!("pair {id} is configured twice")));
        }
    }
    Ok(found)
}

fn read(disk: &dyn Disk, dir: &Path, id: PairId) -> Result<Option<WitnessRegister>, WitnessError> {
    let name = id.to_string();
    match register::read_named(disk, dir, &name) {
        Ok(held) => Ok(held),
        Err(e @ RegisterError::Damaged { .. }) => {
            log::error!(pair:% = id, err:% = e, runbook = "witness-distrusted";
                "a register is damaged and put aside, its pair must seed it anew");
            let (path, aside) = (dir.join(&name), dir.join(format!("{name}.damaged")));
            let file = |source| WitnessError::File { path: path.clone(), source };
            disk.rename(&path, &aside).map_err(file)?;
            disk.sync_dir(dir).map_err(file)?;
            Ok(None)
        }
        Err(e) => Err(e.into()),
    }
}

async fn accept(shared: Arc<Shared>, listener: net::Listener) {
    loop {
        let (tcp, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(e) => {
                if let Some(count) = STRANGERS.may_say(clock::mono()) {
                    log::warn!(err:% = e, count, runbook = "witness-refused";
                        "cannot accept a node, pausing");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // Before the task: what waits to be started has a place, too.
        let stranger = STRANGERS.enter(peer.ip());
        task::spawn("witness-node", admit(Arc::clone(&shared), tcp, peer, stranger));
    }
}

async fn admit(shared: Arc<Shared>, tcp: TcpStream, peer: SocketAddr, mut who: Stranger<'static>) {
    let greeted = tokio::select! {
        biased;
        () = who.pushed_out() => Err(io::Error::other("its place was needed for a newer one")),
        greeted = tokio::time::timeout(HELLO_TIMEOUT, greet(&shared, tcp)) => match greeted {
            Ok(greeted) => greeted,
            Err(_elapsed) => Err(io::Error::other("it has not shown in time who it is")),
        },
    };
    drop(who);
    match greeted {
        Ok(node) => attend(&shared, node, peer).await,
        Err(e) => {
            if let Some(count) = STRANGERS.may_say(clock::mono()) {
                log::warn!(peer:% = peer, err:% = e, count, runbook = "witness-refused";
                    "a connection is refused");
            }
        }
    }
}

/// A node that was let in.
struct Node {
    incoming: Incoming<ReadHalf<TlsStream<TcpStream>>>,
    writer: WriteHalf<TlsStream<TcpStream>>,
    kept: Arc<Kept>,
    node: NodeId,
    pin: Pin,
    ended: watch::Receiver<bool>,
}

/// TLS and hello of whoever has connected.
async fn greet(shared: &Shared, tcp: TcpStream) -> io::Result<Node> {
    tcp.set_nodelay(true)?;
    let tls = TlsAcceptor::from(Arc::clone(&shared.tls)).accept(tcp).await?;
    let pin = tls::peer_pin(tls.get_ref().1)
        .ok_or_else(|| io::Error::other("it has shown no certificate"))?;
    let (reader, mut writer) = tokio::io::split(tls);
    let mut incoming = Incoming::new(reader);
    let hello = incoming.next(WitnessRequest::decode).await?;
    match recognize(shared, hello, pin) {
        Ok((kept, node)) => {
            send(&mut writer, &WitnessReply::Welcome).await?;
            // Only now: who cannot be welcomed throws nobody out, and leaves no seat behind.
            let ended = kept.seat(pin);
            Ok(Node { incoming, writer, kept, node, pin, ended })
        }
        Err(sentence) => {
            send(&mut writer, &WitnessReply::sorry(&sentence)).await?;
            writer.shutdown().await?;
            Err(io::Error::other(sentence))
        }
    }
}

/// Finds the pair of a hello, where the pin is one of its; or the sentence that says why not.
fn recognize(
    shared: &Shared,
    hello: WitnessRequest,
    pin: Pin,
) -> Result<(Arc<Kept>, NodeId), String> {
    let WitnessRequest::Hello { version, pair, node } = hello else {
        return Err("a node says hello before it asks".to_owned());
    };
    if version != WITNESS_VERSION {
        return Err(format!(
            "this witness speaks version {WITNESS_VERSION} of the protocol and the node version \
             {version}: bring both to the same release"
        ));
    }
    let id = PairId(pair);
    let kept = shared.pairs.get(&pair).ok_or_else(|| {
        format!(
            "this witness does not know pair {id}: add to its configuration what `understudy \
             pair show` prints on a node of the pair, and start it again"
        )
    })?;
    if !kept.pins.contains(&pin) {
        return Err(format!(
            "this witness knows pair {id}, but not a node with the pin {pin}: if that node has \
             joined anew, put its pin into the configuration of the witness and start it again"
        ));
    }
    Ok((Arc::clone(kept), node))
}

/// Serves a node until it goes.
async fn attend(shared: &Arc<Shared>, mut node: Node, peer: SocketAddr) {
    let (id, number) = (node.kept.id, node.node.0);
    if let Some(count) = node.kept.may_say(node.pin) {
        log::info!(pair:% = id, node = number, peer:% = peer, count; "a node has connected");
    }
    let mut ended = node.ended.clone();
    let reason = tokio::select! {
        biased;
        // The sender is dropped when the witness ends.
        _ = ended.wait_for(|ended| *ended) => "a newer connection took its place".to_owned(),
        e = converse(shared, &mut node) => e.to_string(),
    };
    let mut seats = lock(&node.kept.seats);
    // Only our own seat: a newer connection has put its own there, and told us so.
    if !*ended.borrow() {
        seats.remove(&node.pin.0);
    }
    drop(seats);
    if let Some(count) = node.kept.may_say(node.pin) {
        log::info!(pair:% = id, node = number, peer:% = peer, reason, count; "a node has gone");
    }
}

/// Returns why it ended.
async fn converse(shared: &Arc<Shared>, node: &mut Node) -> io::Error {
    loop {
        let next = node.incoming.next(WitnessRequest::decode);
        let (number, ask) = match tokio::time::timeout(shared.idle_timeout, next).await {
            Ok(Ok(WitnessRequest::Ask { number, ask })) => (number, ask),
            Ok(Ok(WitnessRequest::Hello { .. })) => return io::Error::other("it said hello twice"),
            Ok(Err(e)) => return e,
            Err(_elapsed) => return io::Error::new(io::ErrorKind::TimedOut, "it says nothing"),
        };
        let (shared, kept, asker) = (Arc::clone(shared), Arc::clone(&node.kept), node.node);
        // The lock is held while the file is written, so the question goes to its end on a thread of
        // its own even where the node leaves meanwhile.
        let work = move || carry_out(&shared, &kept, asker, ask);
        let answer = match tokio::task::spawn_blocking(work).await {
            Ok(Some(answer)) => answer,
            Ok(None) => return io::Error::other("the witness cannot keep what it is told"),
            Err(e) => return io::Error::other(e),
        };
        let reply = WitnessReply::Answer { number, answer };
        match tokio::time::timeout(WRITE_TIMEOUT, send(&mut node.writer, &reply)).await {
            Ok(Ok(())) => {}
            Ok(Err(e)) => return e,
            Err(_elapsed) => return io::ErrorKind::TimedOut.into(),
        }
    }
}

/// Decides a question and makes durable what follows; `None` where nothing may be answered.
fn carry_out(
    shared: &Shared,
    kept: &Kept,
    asker: NodeId,
    ask: WitnessAsk,
) -> Option<WitnessAnswer> {
    let mut held = lock(&kept.held);
    // A disk that has failed once is not believed again (invariant 11).
    if shared.failed.borrow().is_some() {
        return None;
    }
    let new = match decide(*held, ask) {
        Verdict::Answer(answer) => {
            if matches!(answer, WitnessAnswer::Refused(_)) {
                log::info!(pair:% = kept.id, node = asker.0, epoch:% = epoch(*held);
                    "a change is refused, the witness holds another reign");
            }
            return Some(answer);
        }
        Verdict::Hold(new) => new,
    };
    let name = kept.id.to_string();
    if let Err(e) = register::write_named(shared.disk.as_ref(), &shared.registers, &name, &new) {
        log::error!(pair:% = kept.id, err:% = e, runbook = "disk-failure";
            "a register cannot be made durable, the witness stops");
        shared.failed.send_replace(Some(e.to_string()));
        return None;
    }
    log::info!(
        pair:% = kept.id, node = asker.0, from:% = epoch(*held), epoch:% = new.epoch,
        insync:? = new.insync, holder = new.holder.0;
        "the reign has changed"
    );
    *held = Some(new);
    Some(WitnessAnswer::Done(*held))
}

fn epoch(held: Option<WitnessRegister>) -> String {
    held.map_or_else(|| "nothing".to_owned(), |register| register.epoch.to_string())
}

async fn send<W: AsyncWrite + Unpin>(writer: &mut W, reply: &WitnessReply) -> io::Result<()> {
    writer.write_all(&reply.encode()).await?;
    writer.flush().await
}

/// What a lock guards here is whole after every statement.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
