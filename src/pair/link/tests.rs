//! Two links over loopback.

use super::*;
use crate::base::clock;
use crate::pair::formation;
use crate::pair::testing::{free, soon};
use crate::tls::{Pin, join_client};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use understudy_proto::id::{Epoch, Lsn};
use understudy_proto::pair::frame::FRAME_LEN_MAX;
use understudy_proto::pair::{Health, PhaseName};

const HERE: Frame = Frame::Goodbye;

struct Node {
    dir: TempDir,
    at: Vec<SocketAddr>,
}

impl Node {
    fn new(paths: usize) -> Self {
        Self { dir: tempfile::tempdir().unwrap(), at: (0..paths).map(|_| free()).collect() }
    }

    fn options(&self, peer: &Self) -> Options {
        Options {
            listen: self.at.clone(),
            peer: peer.at.clone(),
            heartbeat: Duration::from_millis(25),
            silence: Duration::from_millis(600),
            connect_timeout: Duration::from_secs(2),
            reconnect: Duration::from_millis(10),
            data_dir: self.dir.path().to_owned(),
            guardian: None,
        }
    }

    fn start(&self, peer: &Self) -> Link {
        let identity = PairIdentity::load(self.dir.path()).unwrap().unwrap();
        Link::start(self.options(peer), identity).unwrap()
    }
}

/// The next session that comes up.
async fn up(link: &mut Link) -> (SessionId, Queue) {
    loop {
        if let Event::Up { session, queue, .. } = soon(link.events.recv()).await.unwrap() {
            return (session, queue);
        }
    }
}

/// Waits until both ends use one session, proven by a frame each way, and nothing changes any more
/// (the loser of two connections may still be on its way out when the first frames have passed).
async fn agree(a: &mut Link, b: &mut Link) -> (SessionId, SessionId) {
    let mut now: [Option<SessionId>; 2] = [None; 2];
    let mut heard: [Option<SessionId>; 2] = [None; 2];
    let mut sessions = 0;
    soon(async {
        loop {
            let next = async {
                tokio::select! {
                    event = a.events.recv() => (event.unwrap(), 0),
                    event = b.events.recv() => (event.unwrap(), 1),
                }
            };
            let agreed = now[0].is_some() && now[1].is_some() && now == heard;
            let quiet = Duration::from_millis(if agreed { 100 } else { 9_000 });
            let Ok((event, at)) = tokio::time::timeout(quiet, next).await else {
                assert!(agreed, "now {now:?}, heard {heard:?}");
                return;
            };
            match event {
                Event::Up { session, queue, .. } => {
                    sessions += 1;
                    now[at] = Some(session);
                    // It may be over already.
                    queue.send(&HERE).unwrap_or_default();
                }
                Event::Frame { session, frame } => {
                    assert_eq!(frame, HERE);
                    heard[at] = Some(session);
                }
                Event::Down { session, .. } => {
                    now[at] = now[at].filter(|current| *current != session);
                }
                Event::Joined(_) => {}
            }
        }
    })
    .await;
    assert!(sessions <= 6, "the link flaps");
    (now[0].unwrap(), now[1].unwrap())
}

/// A formed pair, whose first link ran while the second joined.
async fn pair(paths: usize) -> (Node, Node, Link) {
    let (zero, one) = (Node::new(paths), Node::new(paths));
    let token = formation::init(zero.dir.path(), &zero.at, clock::now_ms()).unwrap();
    let mut link = zero.start(&one);
    soon(formation::join(one.dir.path(), &token)).await.unwrap();
    assert!(matches!(soon(link.events.recv()).await, Some(Event::Joined(_))));
    (zero, one, link)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_join_comes_in_at_the_links_port_and_the_link_comes_up() {
    let (zero, one, mut a) = pair(2).await;
    let mut b = one.start(&zero);
    agree(&mut a, &mut b).await;

    let says = |phase, durable| {
        let (durable, stamp, echo) = (Lsn(durable), 1, None);
        Saying { phase, seen: Epoch(5), durable, stamp, echo, health: Health::default() }
    };
    let a_says = says(PhaseName::Primary, 9);
    let b_says = says(PhaseName::Standby, 8);
    a.say(a_says);
    b.say(b_says);
    for (link, says) in [(&mut a, b_says), (&mut b, a_says)] {
        let mut paths = std::collections::BTreeSet::new();
        while paths.len() < 2 {
            let Heard { path, beacon } = soon(link.beacons.recv()).await.unwrap();
            assert!(beacon.says.stamp > says.stamp, "stamped at sending");
            assert_eq!(Saying { stamp: says.stamp, ..beacon.says }, says);
            paths.insert(path);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_frames_arrive_whole_and_in_order() {
    let (zero, one, mut a) = pair(1).await;
    let mut b = one.start(&zero);
    // Nothing ran yet on b's link, so both see the session's start here.
    let (_, queue) = up(&mut a).await;
    let (session, _) = up(&mut b).await;
    let frame = |n: u8| {
        let len = if n.is_multiple_of(3) { FRAME_LEN_MAX / 2 } else { usize::from(n) + 1 };
        Frame::Records { epoch: Epoch(1), commit: Lsn(2), bytes: vec![n; len] }
    };
    let sender = task::spawn("sender", async move {
        for n in 0..60 {
            while let Err(QueueError::Full) = queue.send(&frame(n)) {
                queue.drained().await;
            }
        }
        let bytes = vec![0; FRAME_LEN_MAX];
        let long = Frame::Records { epoch: Epoch(1), commit: Lsn(2), bytes };
        assert!(matches!(queue.send(&long), Err(QueueError::Length(_))));
    });
    for n in 0..60 {
        match soon(b.events.recv()).await.unwrap() {
            Event::Frame { session: s, frame: f } => {
                assert_eq!((s, f == frame(n)), (session, true), "frame {n}");
            }
            other => panic!("{other:?}"),
        }
    }
    sender.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_link_is_noticed_and_comes_back() {
    let (zero, one, mut a) = pair(1).await;
    for _ in 0..3 {
        let mut b = one.start(&zero);
        let (at_a, _) = agree(&mut a, &mut b).await;
        b.stop().await;
        soon(async {
            loop {
                if let Event::Down { session, .. } = a.events.recv().await.unwrap()
                    && session == at_a
                {
                    break;
                }
            }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_dialling_at_once_settle_on_one_session() {
    let (zero, one, a) = pair(1).await;
    a.stop().await;
    for _ in 0..10 {
        let mut a = zero.start(&one);
        let mut b = one.start(&zero);
        agree(&mut a, &mut b).await;
        a.stop().await;
        b.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replaced_peer_is_admitted_and_the_old_one_refused() {
    let (zero, one, mut a) = pair(1).await;
    let mut old = one.start(&zero);
    agree(&mut a, &mut old).await;
    let new = Node { dir: tempfile::tempdir().unwrap(), at: one.at.clone() };
    let token = formation::token(zero.dir.path(), &zero.at, clock::now_ms()).unwrap();
    soon(formation::join(new.dir.path(), &token)).await.unwrap();
    soon(async {
        loop {
            if let Event::Joined(identity) = a.events.recv().await.unwrap() {
                assert_eq!(identity.config_id, 3);
                break;
            }
        }
    })
    .await;
    // The old one still runs at the peer's address, and is not let in.
    let session = async {
        loop {
            if let Some(Event::Up { .. }) = a.events.recv().await {
                return;
            }
        }
    };
    assert!(tokio::time::timeout(Duration::from_millis(300), session).await.is_err());
    old.stop().await;
    let mut b = new.start(&zero);
    agree(&mut a, &mut b).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_are_refused_at_the_door() {
    let (zero, one, mut a) = pair(1).await;
    let id = PairIdentity::load(zero.dir.path()).unwrap().unwrap();
    // A client that knows the pin but has neither certificate nor token.
    let config = join_client(Pin::of_pem(&id.certificate_pem).unwrap()).unwrap();
    let tcp = TcpStream::connect(zero.at[0]).await.unwrap();
    let name = ServerName::try_from(formation::SERVER_NAME).unwrap();
    let mut tls = TlsConnector::from(config).connect(name, tcp).await.unwrap();
    let mut answer = Vec::new();
    tokio::io::AsyncWriteExt::write_all(&mut tls, &[0, 0, 0, 1, 7]).await.unwrap();
    let read = tokio::io::AsyncReadExt::read_to_end(&mut tls, &mut answer);
    soon(read).await.unwrap_or_default();
    assert!(answer.len() < 16, "a refusal, nothing else: {answer:?}");
    // Another pair's node 1, pointed at our node 0.
    let (_zero, foreign, other) = pair(1).await;
    other.stop().await;
    let mut intruder = foreign.start(&zero);
    // Plain text at the port.
    let mut tcp = TcpStream::connect(zero.at[0]).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut tcp, b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let nothing = async {
        tokio::select! {
            e = a.events.recv() => format!("{e:?}"),
            e = intruder.events.recv() => format!("{e:?}"),
            b = a.beacons.recv() => format!("{b:?}"),
        }
    };
    let seen = tokio::time::timeout(Duration::from_millis(300), nothing).await;
    assert!(seen.is_err(), "{seen:?}");
    intruder.stop().await;
    let mut b = one.start(&zero);
    agree(&mut a, &mut b).await;
}
