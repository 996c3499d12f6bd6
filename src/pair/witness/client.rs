//! A node's side: one task that keeps a connection warm and asks one question at a time.
//!
//! A question waits for a connection as long as it may wait for its answer. One that is not answered
//! in time is `Lost`, and its connection is given up: a witness that hangs must not hold back the
//! next question.

use super::{Incoming, Lines, WITNESS_NAME};
use crate::base::{clock, task};
use crate::pair::formation::PairIdentity;
use crate::tls::{self, Pin, PinRefusal, TlsError, WITNESS_ALPN};
use socket2::SockRef;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;
use understudy_proto::id::NodeId;
use understudy_proto::pair::witness::{
    WITNESS_VERSION, WitnessAnswer, WitnessAsk, WitnessRegister, WitnessReply, WitnessRequest,
};
use understudy_proto::time::Mono;

/// Questions and answers that wait. The machine has one under way.
const ASKS_MAX: usize = 8;
/// First pause between two attempts to connect; doubles up to the longest.
const RECONNECT_MIN: Duration = Duration::from_millis(50);
/// Longest such pause.
const RECONNECT_MAX: Duration = Duration::from_secs(2);
/// A connection that lasted so long had held. Longer than the longest pause: of two nodes with one
/// key, each pushes the other out whenever it comes back, and both must come back seldom.
const HELD: Duration = Duration::from_secs(5);
/// Our own questions ("what do you hold?") carry numbers of their own: the machine's come back.
const OWN: u64 = 1 << 63;
const NO_WITNESS: &str = "what answers there is no witness";

/// How a node reaches its witness.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// Where it listens.
    pub address: SocketAddr,
    /// The pin of its certificate.
    pub pin: Pin,
    /// How long one attempt to connect may take, TLS and hello included.
    pub connect_timeout: Duration,
    /// A question that is not answered for so long is lost.
    pub answer_timeout: Duration,
    /// Pause between two signs of life on a connection that is not used otherwise.
    pub keepalive: Duration,
}

/// What the witness was last seen to hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Held {
    /// It has not been asked yet.
    #[default]
    Unknown,
    /// Nothing: it is new, or has lost what it held.
    Nothing,
    /// This.
    Register(WitnessRegister),
}

/// What is known of the witness.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WitnessStatus {
    /// Where it is said to be.
    pub address: SocketAddr,
    /// Whether it answers.
    pub reachable: bool,
    /// From the last question to its answer.
    pub round_trip: Option<Duration>,
    /// When it last answered.
    pub heard: Option<Mono>,
    /// What it held then.
    pub held: Held,
    /// Why it is not reachable, or why it refuses us.
    pub problem: Option<String>,
}

/// The connection to the witness. Dropping it ends it.
pub struct Client {
    asks: mpsc::Sender<(u64, WitnessAsk)>,
    answers: mpsc::Receiver<(u64, WitnessAnswer)>,
    status: watch::Receiver<WitnessStatus>,
    task: JoinHandle<()>,
}

impl Drop for Client {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Client {
    /// Starts connecting, as the node that `identity` says.
    ///
    /// # Errors
    /// The identity's certificate cannot be used.
    pub fn start(options: ClientOptions, identity: &PairIdentity) -> Result<Self, TlsError> {
        let tls = tls::witness_client(&identity.link_identity(), options.pin)?;
        let (asks, asks_out) = mpsc::channel(ASKS_MAX);
        let (answers, answers_out) = mpsc::channel(ASKS_MAX);
        let (status, status_out) = watch::channel(WitnessStatus {
            address: options.address,
            reachable: false,
            round_trip: None,
            heard: None,
            held: Held::Unknown,
            problem: None,
        });
        let keeper = Keeper {
            who: Who { options, tls, pair: identity.pair.0, node: identity.node },
            asks: asks_out,
            answers,
            status,
            asked: None,
            own: OWN,
            lines: Lines::default(),
        };
        let task = task::spawn_critical("pair-witness", keeper.run());
        Ok(Self { asks, answers: answers_out, status: status_out, task })
    }

    /// Asks. The answer comes by [`Client::answer`], `Lost` at the latest after the time for it.
    /// Returns whether the question was taken: with false it is lost.
    #[must_use]
    pub fn ask(&self, number: u64, ask: WitnessAsk) -> bool {
        self.asks.try_send((number, ask)).is_ok()
    }

    /// The next answer.
    pub async fn answer(&mut self) -> Option<(u64, WitnessAnswer)> {
        self.answers.recv().await
    }

    /// What is known of the witness.
    #[must_use]
    pub fn status(&self) -> WitnessStatus {
        self.status.borrow().clone()
    }
}

/// Who asks whom.
struct Who {
    options: ClientOptions,
    tls: Arc<ClientConfig>,
    pair: [u8; 16],
    node: NodeId,
}

struct Keeper {
    who: Who,
    asks: mpsc::Receiver<(u64, WitnessAsk)>,
    answers: mpsc::Sender<(u64, WitnessAnswer)>,
    status: watch::Sender<WitnessStatus>,
    /// The machine's question, and until when it waits.
    asked: Option<(u64, WitnessAsk, Mono)>,
    /// The number of our next own question.
    own: u64,
    lines: Lines,
}

type Tls = TlsStream<TcpStream>;

/// A connection that was welcomed.
struct Line {
    incoming: Incoming<ReadHalf<Tls>>,
    writer: WriteHalf<Tls>,
    /// The question on it, and since when.
    under_way: Option<(u64, Mono)>,
    /// When it was last used.
    used: Mono,
}

impl Keeper {
    async fn run(mut self) {
        let mut pause = RECONNECT_MIN;
        loop {
            let (problem, ended) = match self.connect().await {
                Ok(line) => {
                    let since = clock::mono();
                    let problem = self.converse(line).await;
                    let ended = ended(&problem, clock::mono().since(since));
                    (problem, ended)
                }
                Err(e) => (e, Ended::NeverBegun),
            };
            self.lost(&problem);
            pause = self.rest(ended, pause).await;
        }
    }

    /// Pauses before the next attempt; returns the pause after that one.
    async fn rest(&mut self, ended: Ended, pause: Duration) -> Duration {
        let (rest, in_full) = match ended {
            Ended::Held => (RECONNECT_MIN, false),
            // Whoever waits for an answer does not wait for us to rest.
            Ended::NeverBegun if self.asked.is_some() => (RECONNECT_MIN, false),
            Ended::NeverBegun => (pause, false),
            Ended::ThrownOut => (pause, true),
        };
        self.pause(rest, in_full).await;
        if ended == Ended::Held { RECONNECT_MIN } else { (pause * 2).min(RECONNECT_MAX) }
    }

    fn lost(&mut self, problem: &io::Error) {
        let text = problem.to_string();
        let changed = self.status.send_if_modified(|status| {
            let new = status.reachable || status.problem.as_ref() != Some(&text);
            status.reachable = false;
            status.problem = Some(text.clone());
            new
        });
        if changed && let Some(count) = self.lines.may_say(clock::mono()) {
            log::warn!(addr:% = self.who.options.address, err:% = problem, count,
                runbook = "witness-lost"; "the witness is not reachable");
        }
    }

    /// Connects; meanwhile questions are taken, and lost in time.
    async fn connect(&mut self) -> io::Result<Line> {
        let attempt = connect(&self.who);
        tokio::pin!(attempt);
        loop {
            let deadline = self.asked.map(|(.., until)| until);
            tokio::select! {
                biased;
                connected = &mut attempt => return connected,
                Some(ask) = self.asks.recv() => {
                    take(&mut self.asked, ask, &self.who.options, &self.answers).await;
                }
                () = until(deadline) => lose(&mut self.asked, &self.answers).await,
            }
        }
    }

    async fn pause(&mut self, rest: Duration, in_full: bool) {
        let over = clock::mono().after(rest);
        loop {
            let deadline = self.asked.map(|(.., until)| until);
            tokio::select! {
                biased;
                () = clock::sleep_until(over) => return,
                Some(ask) = self.asks.recv() => {
                    take(&mut self.asked, ask, &self.who.options, &self.answers).await;
                    // A question does not wait for the end of a pause, but for one that keeps two
                    // nodes from throwing each other out.
                    if !in_full {
                        return;
                    }
                }
                () = until(deadline) => lose(&mut self.asked, &self.answers).await,
            }
        }
    }

    /// Asks and answers until the connection ends; returns why.
    async fn converse(&mut self, mut line: Line) -> io::Error {
        if let Some(count) = self.lines.may_say(clock::mono()) {
            log::info!(addr:% = self.who.options.address, count; "the witness is reached");
        }
        // What it holds is known from the start, and that it answers at all.
        let mut due = clock::mono();
        loop {
            if let Err(e) = self.say(&mut line, due).await {
                return e;
            }
            due = line.used.after(self.who.options.keepalive);
            let late =
                line.under_way.map(|(_, since)| since.after(self.who.options.answer_timeout));
            let deadline = self.asked.map(|(.., until)| until);
            tokio::select! {
                biased;
                reply = line.incoming.next(WitnessReply::decode) => {
                    if let Err(e) = self.hear(&mut line, reply).await {
                        return e;
                    }
                }
                Some(ask) = self.asks.recv() => {
                    take(&mut self.asked, ask, &self.who.options, &self.answers).await;
                }
                () = until(deadline) => {
                    lose(&mut self.asked, &self.answers).await;
                    return late_error();
                }
                () = until(late) => return late_error(),
                () = clock::sleep_until(due), if line.under_way.is_none() => {}
            }
        }
    }

    /// Sends the machine's question, or one of our own where it is time for a sign of life.
    async fn say(&mut self, line: &mut Line, due: Mono) -> io::Result<()> {
        let now = clock::mono();
        let (number, ask) = match &self.asked {
            Some((number, ask, _)) if line.under_way.is_none_or(|(n, _)| n != *number) => {
                (*number, *ask)
            }
            None if line.under_way.is_none() && now >= due => {
                self.own = self.own.checked_add(1).unwrap_or(OWN);
                (self.own, WitnessAsk::Read)
            }
            _ => return Ok(()),
        };
        let message = WitnessRequest::Ask { number, ask }.encode();
        let send = async {
            line.writer.write_all(&message).await?;
            line.writer.flush().await
        };
        match tokio::time::timeout(self.who.options.answer_timeout, send).await {
            Ok(sent) => sent?,
            Err(_elapsed) => return Err(late_error()),
        }
        line.under_way = Some((number, now));
        line.used = now;
        Ok(())
    }

    async fn hear(&mut self, line: &mut Line, reply: io::Result<WitnessReply>) -> io::Result<()> {
        let (number, answer) = match reply? {
            WitnessReply::Answer { number, answer } => (number, answer),
            WitnessReply::Sorry(why) => return Err(refused(&why)),
            WitnessReply::Welcome => return Err(io::Error::other("the witness welcomes us twice")),
        };
        let held = match answer {
            WitnessAnswer::Done(held) | WitnessAnswer::Refused(held) => held,
            WitnessAnswer::Lost => {
                return Err(io::Error::other("the witness says that it is lost"));
            }
        };
        // Answers come in order; one whose question was overtaken by the machine's is only news.
        let now = clock::mono();
        let round_trip =
            line.under_way.take_if(|(n, _)| *n == number).map(|(_, since)| now.since(since));
        self.status.send_modify(|status| {
            status.reachable = true;
            status.round_trip = round_trip.or(status.round_trip);
            status.heard = Some(now);
            status.held = held.map_or(Held::Nothing, Held::Register);
            status.problem = None;
        });
        if self.asked.take_if(|(n, ..)| *n == number).is_some() {
            tell(&self.answers, number, answer).await;
        }
        Ok(())
    }
}

/// How an attempt to reach the witness came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    /// It did not welcome us.
    NeverBegun,
    /// It welcomed us, and ended it soon: somebody else may have our key, and our seat.
    ThrownOut,
    /// The connection had held, or we gave it up ourselves.
    Held,
}

/// What the end of a connection that `lasted` so long says.
fn ended(problem: &io::Error, lasted: Duration) -> Ended {
    // What is late was given up by us: the next question needs a new connection at once.
    let ours = problem.kind() == io::ErrorKind::TimedOut;
    if ours || lasted >= HELD { Ended::Held } else { Ended::ThrownOut }
}

/// Takes a question; one that still waits is lost.
async fn take(
    asked: &mut Option<(u64, WitnessAsk, Mono)>,
    (number, ask): (u64, WitnessAsk),
    options: &ClientOptions,
    answers: &mpsc::Sender<(u64, WitnessAnswer)>,
) {
    let until = clock::mono().after(options.answer_timeout);
    if let Some((older, ..)) = asked.replace((number, ask, until)) {
        tell(answers, older, WitnessAnswer::Lost).await;
    }
}

/// The question's time is over.
async fn lose(
    asked: &mut Option<(u64, WitnessAsk, Mono)>,
    answers: &mpsc::Sender<(u64, WitnessAnswer)>,
) {
    if let Some((number, ..)) = asked.take() {
        tell(answers, number, WitnessAnswer::Lost).await;
    }
}

async fn tell(answers: &mpsc::Sender<(u64, WitnessAnswer)>, number: u64, answer: WitnessAnswer) {
    if answers.send((number, answer)).await.is_err() {
        log::debug!("nobody waits for the witness any more");
    }
}

async fn until(deadline: Option<Mono>) {
    match deadline {
        Some(at) => clock::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

fn late_error() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the witness did not answer in time")
}

fn refused(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, format!("the witness refuses us: {why}"))
}

async fn connect(who: &Who) -> io::Result<Line> {
    let timeout = who.options.connect_timeout;
    match tokio::time::timeout(timeout, greet(who)).await {
        Ok(line) => line,
        Err(_elapsed) => {
            Err(io::Error::new(io::ErrorKind::TimedOut, "no connection came about in time"))
        }
    }
}

/// rustls says only that verification failed; people need to know what to compare. An end or a reset
/// of the connection says nothing about keys.
fn no_tls(e: io::Error) -> io::Error {
    let text = match PinRefusal::of(&e) {
        Some(PinRefusal::Theirs(wrong)) => format!(
            "what answers there shows the pin {}, and [pair.witness] expects the pin {}: compare \
             it with what `understudy witness init` prints there",
            wrong.shown, wrong.pinned
        ),
        Some(PinRefusal::Ours) => "the witness refuses our certificate: see its log".to_owned(),
        Some(PinRefusal::Protocol) => NO_WITNESS.to_owned(),
        None => return e,
    };
    io::Error::new(e.kind(), text)
}

async fn greet(who: &Who) -> io::Result<Line> {
    let tcp = TcpStream::connect(who.options.address).await?;
    tcp.set_nodelay(true)?;
    SockRef::from(&tcp).set_tcp_user_timeout(Some(who.options.connect_timeout))?;
    let name = ServerName::try_from(WITNESS_NAME).map_err(io::Error::other)?;
    let connector = TlsConnector::from(Arc::clone(&who.tls));
    let tls = connector.connect(name, tcp).await.map_err(no_tls)?;
    if tls.get_ref().1.alpn_protocol() != Some(WITNESS_ALPN) {
        return Err(io::Error::other(NO_WITNESS));
    }
    let (reader, mut writer) = tokio::io::split(tls);
    let hello = WitnessRequest::Hello { version: WITNESS_VERSION, pair: who.pair, node: who.node };
    writer.write_all(&hello.encode()).await?;
    writer.flush().await?;
    let mut incoming = Incoming::new(reader);
    match incoming.next(WitnessReply::decode).await? {
        WitnessReply::Welcome => {}
        WitnessReply::Sorry(why) => return Err(refused(&why)),
        WitnessReply::Answer { .. } => {
            return Err(io::Error::other("the witness answers before it is asked"));
        }
    }
    Ok(Line { incoming, writer, under_way: None, used: clock::mono() })
}
