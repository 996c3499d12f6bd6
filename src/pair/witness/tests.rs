//! Server and clients over loopback: what is kept, what is refused, what comes back.

use super::*;
use crate::base::clock;
use crate::pair::formation::{self, PairIdentity};
use crate::pair::testing::{free, soon};
use crate::store::disk::RealDisk;
use crate::tls::{Identity, Pin};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tempfile::{TempDir, tempdir};
use understudy_proto::id::{Epoch, NodeId};
use understudy_proto::pair::Insync;
use understudy_proto::pair::witness::{WitnessAnswer, WitnessAsk, WitnessRegister};
use understudy_proto::time::Mono;

/// Two nodes of a pair, and a witness's folder.
struct Stage {
    witness: TempDir,
    at: SocketAddr,
    pin: Pin,
    nodes: [PairIdentity; 2],
    _dirs: [TempDir; 2],
}

fn own_pin(identity: &PairIdentity) -> Pin {
    Pin::of_pem(&identity.certificate_pem).unwrap()
}

impl Stage {
    fn new() -> Self {
        let dirs = [tempdir().unwrap(), tempdir().unwrap()];
        let witness = tempdir().unwrap();
        let nodes = [NodeId(0), NodeId(1)].map(|node| {
            let dir = &dirs[usize::from(node.0)];
            formation::init(dir.path(), &[free()], clock::now_ms()).unwrap();
            PairIdentity::load(dir.path()).unwrap().unwrap()
        });
        let [zero, mut one] = nodes;
        (one.pair, one.node) = (zero.pair, NodeId(1));
        let pin = init(witness.path()).unwrap();
        Self { witness, at: free(), pin, nodes: [zero, one], _dirs: dirs }
    }

    fn entry(&self) -> PairEntry {
        PairEntry { id: self.nodes[0].pair, pins: self.nodes.iter().map(own_pin).collect() }
    }

    fn options(&self, pairs: Vec<PairEntry>) -> ServerOptions {
        ServerOptions {
            listen: self.at,
            dir: self.witness.path().to_owned(),
            disk: Arc::new(RealDisk),
            pairs,
            idle_timeout: Duration::from_secs(10),
        }
    }

    fn serve(&self) -> Server {
        Server::start(self.options(vec![self.entry()])).unwrap()
    }

    fn client_with(&self, node: usize, pin: Pin) -> Client {
        let options = ClientOptions {
            address: self.at,
            pin,
            connect_timeout: Duration::from_secs(5),
            answer_timeout: Duration::from_secs(5),
            keepalive: Duration::from_millis(50),
        };
        Client::start(options, &self.nodes[node]).unwrap()
    }

    fn client(&self, node: usize) -> Client {
        self.client_with(node, self.pin)
    }
}

fn register(epoch: u64, holder: u8) -> WitnessRegister {
    WitnessRegister { epoch: Epoch(epoch), holder: NodeId(holder), insync: Insync::Both }
}

fn swap(expect: Option<u64>, new: WitnessRegister) -> WitnessAsk {
    WitnessAsk::Swap { expect: expect.map(Epoch), new }
}

async fn ask(client: &mut Client, number: u64, ask: WitnessAsk) -> WitnessAnswer {
    assert!(client.ask(number, ask));
    let (answered, answer) = soon(client.answer()).await.unwrap();
    assert_eq!(answered, number);
    answer
}

/// What the client says is wrong, once it says anything.
async fn problem(client: &Client) -> String {
    soon(async {
        loop {
            if let Some(problem) = client.status().problem {
                return problem;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
}

async fn reached(client: &Client) -> WitnessStatus {
    soon(async {
        loop {
            let status = client.status();
            if status.reachable {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
}

/// Ends it; returns when its folder and port are free.
async fn end(server: Server) {
    drop(server);
    tokio::time::sleep(Duration::from_millis(50)).await;
}

#[tokio::test]
async fn of_two_nodes_that_ask_one_gets_the_reign() {
    let stage = Stage::new();
    let server = stage.serve();
    let (mut a, mut b) = (stage.client(0), stage.client(1));
    assert_eq!(ask(&mut a, 1, WitnessAsk::Read).await, WitnessAnswer::Done(None));
    let first = register(1, 0);
    assert_eq!(ask(&mut a, 2, swap(None, first)).await, WitnessAnswer::Done(Some(first)));
    let (of_a, of_b) = (register(2, 0), register(2, 1));
    assert_eq!(ask(&mut b, 7, swap(Some(1), of_b)).await, WitnessAnswer::Done(Some(of_b)));
    assert_eq!(ask(&mut a, 3, swap(Some(1), of_a)).await, WitnessAnswer::Refused(Some(of_b)));
    let status = reached(&a).await;
    assert!(status.round_trip.is_some() && status.heard.is_some(), "{status:?}");
    assert_eq!(server.pin(), stage.pin);
}

#[tokio::test]
async fn what_was_answered_is_there_after_a_restart() {
    let stage = Stage::new();
    let server = stage.serve();
    let mut a = stage.client(0);
    ask(&mut a, 1, swap(None, register(5, 1))).await;
    // Nobody else may decide in the same folder.
    let twice = Server::start(ServerOptions { listen: free(), ..stage.options(Vec::new()) });
    assert!(matches!(twice, Err(WitnessError::Running { .. })));
    end(server).await;
    // While it is away, a question is lost: once, and in time.
    let lost = ClientOptions {
        address: stage.at,
        pin: stage.pin,
        connect_timeout: Duration::from_secs(1),
        answer_timeout: Duration::from_millis(30),
        keepalive: Duration::from_millis(50),
    };
    let mut lost = Client::start(lost, &stage.nodes[1]).unwrap();
    assert_eq!(ask(&mut lost, 9, WitnessAsk::Read).await, WitnessAnswer::Lost);
    assert!(!lost.status().reachable);
    let _server = stage.serve();
    // The client that was there before finds it by itself.
    assert_eq!(ask(&mut a, 2, WitnessAsk::Read).await, WitnessAnswer::Done(Some(register(5, 1))));
    assert_eq!(reached(&a).await.held, Held::Register(register(5, 1)));
}

#[tokio::test]
async fn strangers_are_refused_in_a_sentence() {
    let stage = Stage::new();
    // A pair that the witness does not know.
    let other = Server::start(stage.options(Vec::new())).unwrap();
    let client = stage.client(0);
    let text = problem(&client).await;
    assert!(text.contains("does not know pair") && text.contains("understudy pair show"), "{text}");
    end(other).await;
    drop(client);
    // A node whose key is not one of its pair's.
    let only_zero = PairEntry { pins: vec![own_pin(&stage.nodes[0])], ..stage.entry() };
    let server = Server::start(stage.options(vec![only_zero])).unwrap();
    let text = problem(&stage.client(1)).await;
    assert!(text.contains(&own_pin(&stage.nodes[1]).to_string()), "{text}");
    reached(&stage.client(0)).await;
    // A witness that is not the one that the node was told.
    let text = problem(&stage.client_with(0, Pin([3; 32]))).await;
    assert!(text.contains("expects the pin 0303") && text.contains("witness init"), "{text}");
    end(server).await;
}

#[tokio::test]
async fn a_nodes_newer_connection_ends_its_older() {
    let stage = Stage::new();
    let _server = stage.serve();
    let older = stage.client(0);
    reached(&older).await;
    let mut newer = stage.client(0);
    reached(&newer).await;
    assert_eq!(ask(&mut newer, 1, WitnessAsk::Read).await, WitnessAnswer::Done(None));
    // The older comes back and takes its place again: there is one seat for a pin.
    soon(async {
        while older.status().problem.is_none() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

#[test]
fn what_comes_and_goes_without_end_fills_no_log() {
    let mut lines = Lines::default();
    let second = |n: u64| Mono::default().after(Duration::from_secs(n));
    let said = (0..59).filter(|n| lines.may_say(second(*n)).is_some()).count();
    assert_eq!(said, usize::from(LINES_MAX));
    assert_eq!(lines.may_say(second(60)), Some(49), "those that were left out are counted");
    assert_eq!(lines.may_say(second(61)), Some(0));
}

/// Two processes with one key, as after a data directory was copied.
#[tokio::test]
async fn two_with_one_key_throw_each_other_out_ever_more_seldom() {
    let stage = Stage::new();
    let _server = stage.serve();
    let (one, two) = (stage.client(0), stage.client(0));
    // How often either was seen to lose the witness.
    let mut losses = 0;
    let mut was = [false; 2];
    for _ in 0..750 {
        for (client, was) in [&one, &two].into_iter().zip(&mut was) {
            let now = client.status().reachable;
            losses += u32::from(*was && !now);
            *was = now;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    // With the shortest pause each time it would be some thirty.
    assert!((1..=12).contains(&losses), "{losses}");
}

#[tokio::test]
async fn a_connection_that_just_ends_says_nothing_about_pins() {
    let stage = Stage::new();
    let listener = tokio::net::TcpListener::bind(stage.at).await.unwrap();
    let closing = async { while listener.accept().await.is_ok() {} };
    let client = stage.client(0);
    let text = tokio::select! {
        () = closing => String::new(),
        text = problem(&client) => text,
    };
    assert!(!text.is_empty() && !text.contains("pin"), "{text}");
}

#[tokio::test]
async fn a_damaged_register_is_put_aside_and_holds_nothing() {
    let stage = Stage::new();
    let server = stage.serve();
    let mut a = stage.client(0);
    ask(&mut a, 1, swap(None, register(5, 1))).await;
    end(server).await;
    let file = stage.witness.path().join("registers").join(stage.nodes[0].pair.to_string());
    std::fs::write(&file, b"garbage").unwrap();
    let _server = stage.serve();
    assert_eq!(ask(&mut a, 2, WitnessAsk::Read).await, WitnessAnswer::Done(None));
    assert!(file.with_extension("damaged").exists());
    let seed = WitnessAsk::Seed { new: register(6, 0) };
    assert_eq!(ask(&mut a, 3, seed).await, WitnessAnswer::Done(Some(register(6, 0))));
}

#[tokio::test]
async fn a_disk_that_fails_once_ends_the_witness() {
    let stage = Stage::new();
    let server = stage.serve();
    let mut a = stage.client(0);
    ask(&mut a, 1, swap(None, register(1, 0))).await;
    // No file can be made in a folder that is none.
    let folder = stage.witness.path().join("registers");
    std::fs::rename(&folder, stage.witness.path().join("moved")).unwrap();
    std::fs::write(&folder, b"").unwrap();
    assert!(a.ask(2, swap(Some(1), register(2, 0))));
    assert!(!soon(server.failed()).await.is_empty());
    // Even where the disk works again: nothing is answered any more.
    std::fs::remove_file(&folder).unwrap();
    std::fs::rename(stage.witness.path().join("moved"), &folder).unwrap();
    drop(a);
    let options = ClientOptions {
        address: stage.at,
        pin: stage.pin,
        connect_timeout: Duration::from_secs(1),
        answer_timeout: Duration::from_millis(200),
        keepalive: Duration::from_millis(50),
    };
    let mut late = Client::start(options, &stage.nodes[1]).unwrap();
    assert_eq!(ask(&mut late, 3, WitnessAsk::Read).await, WitnessAnswer::Lost);
}

#[tokio::test]
async fn many_pairs_share_a_witness_and_see_only_their_own() {
    let (one, two) = (Stage::new(), Stage::new());
    let _server = Server::start(one.options(vec![one.entry(), two.entry()])).unwrap();
    let mut a = one.client(0);
    let options = ClientOptions {
        address: one.at,
        pin: one.pin,
        connect_timeout: Duration::from_secs(5),
        answer_timeout: Duration::from_secs(5),
        keepalive: Duration::from_secs(1),
    };
    let mut b = Client::start(options, &two.nodes[0]).unwrap();
    ask(&mut a, 1, swap(None, register(9, 0))).await;
    assert_eq!(ask(&mut b, 1, WitnessAsk::Read).await, WitnessAnswer::Done(None));
}

#[tokio::test]
async fn bytes_that_are_no_protocol_end_their_connection_only() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio_rustls::rustls::pki_types::ServerName;
    let stage = Stage::new();
    let _server = stage.serve();
    let mut tcp = tokio::net::TcpStream::connect(stage.at).await.unwrap();
    tcp.write_all(&[0xff; 2_000]).await.unwrap();
    let mut rest = Vec::new();
    soon(tcp.read_to_end(&mut rest)).await.unwrap_or_default();
    // Over TLS, with a key that anybody can make.
    let own = Identity::self_signed("stranger", clock::now_ms()).unwrap();
    let config = crate::tls::witness_client(&own, stage.pin).unwrap();
    let tcp = tokio::net::TcpStream::connect(stage.at).await.unwrap();
    let name = ServerName::try_from("x").unwrap();
    let mut tls = tokio_rustls::TlsConnector::from(config).connect(name, tcp).await.unwrap();
    tls.write_all(&[0, 3, 9, 9, 9]).await.unwrap();
    let mut rest = Vec::new();
    soon(tls.read_to_end(&mut rest)).await.unwrap_or_default();
    assert!(rest.is_empty(), "{rest:?}");
    reached(&stage.client(0)).await;
}

/// Connects from `from`, says nothing, and comes again whenever it is thrown out.
async fn stay(from: &'static str, at: SocketAddr) {
    loop {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(from.parse().unwrap()).unwrap();
        if let Ok(mut tcp) = socket.connect(at).await {
            tcp.read_u8().await.unwrap_or_default();
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_that_say_nothing_keep_no_node_out() {
    let stage = Stage::new();
    let _server = stage.serve();
    let mut strangers = tokio::task::JoinSet::new();
    for n in 0..150 {
        let from = if n % 2 == 0 { "127.0.0.66:0" } else { "127.0.0.67:0" };
        strangers.spawn(stay(from, stage.at));
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let mut a = stage.client(0);
    assert_eq!(ask(&mut a, 1, WitnessAsk::Read).await, WitnessAnswer::Done(None));
    assert_eq!(a.status().problem, None, "at the first attempt");
}

#[test]
fn an_identity_is_made_once_and_named_by_its_pin() {
    let dir = tempdir().unwrap();
    let folder = dir.path().join("witness");
    let pin = init(&folder).unwrap();
    assert_eq!(init(&folder).unwrap(), pin);
    let bare = Server::start(ServerOptions {
        listen: free(),
        dir: Path::new("/nonexistent/witness").to_owned(),
        disk: Arc::new(RealDisk),
        pairs: Vec::new(),
        idle_timeout: Duration::from_secs(1),
    });
    let text = bare.err().unwrap().to_string();
    assert!(text.contains("understudy witness init --dir"), "{text}");
}
