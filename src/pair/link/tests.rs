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

/// Waits until both ends use one session, proven by a frame each way, and nothing changes any more
/// (the loser of two connections may still be on its way out when the first frames have passed).
async fn agree(a: &mut Link, b: &mut Link) -> (SessionId, SessionId) {
    let (at_a, at_b, _) = settle(a, b).await;
    (at_a, at_b)
}

/// The same, with the queue of the session's first end.
async fn settle(a: &mut Link, b: &mut Link) -> (SessionId, SessionId, Queue) {
    let mut first = None;
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
                    if at == 0 {
                        first = Some(queue);
                    }
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
    (now[0].unwrap(), now[1].unwrap(), first.unwrap())
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
        let health = Health::default();
        Saying { phase, seen: Epoch(5), durable, stamp, echo, answer: None, health }
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
            assert_eq!(Saying { stamp: says.stamp, answer: None, ..beacon.says }, says);
            paths.insert(path);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_frames_arrive_whole_and_in_order() {
    let (zero, one, mut a) = pair(1).await;
    let mut b = one.start(&zero);
    let (_, session, queue) = settle(&mut a, &mut b).await;
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
    let brief = |node: &Node| {
        let id = PairIdentity::load(node.dir.path()).unwrap().unwrap();
        id.own_pin().unwrap().brief()
    };
    let (was, is) = (brief(&one), brief(&new));
    refused(&a, &format!("shows key {was}, pinned is {is}: if you replaced")).await;
    refused(&old, &format!("refuses our key {was}: it has pinned another")).await;
    old.stop().await;
    let mut b = new.start(&zero);
    agree(&mut a, &mut b).await;
    assert_eq!((a.refusals(), b.refusals()), (Vec::new(), Vec::new()), "a session ends it");
}

/// Waits until a link says so.
async fn refused(link: &Link, sentence: &str) {
    let mut said = Vec::new();
    for _ in 0..2_000 {
        said = link.refusals();
        if said.iter().any(|s| s.contains(sentence)) {
            assert_eq!(said.len(), link.refusals_len());
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{sentence:?} is not in {said:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_of_another_pair_is_refused_and_both_say_so() {
    let (zero, one, mut a) = pair(1).await;
    // A whole other pair's node at the peer's address: its key is not pinned.
    let (_other_zero, foreign, other) = pair(1).await;
    other.stop().await;
    let foreign = Node { dir: foreign.dir, at: one.at.clone() };
    let intruder = foreign.start(&zero);
    refused(&a, "shows key").await;
    // Each sees a key that it has not pinned.
    refused(&intruder, "shows key").await;
    intruder.stop().await;
    // The right key, in a pair of another id.
    let mut identity = PairIdentity::load(one.dir.path()).unwrap().unwrap();
    let ours = identity.pair;
    identity.pair.0 = [7; 16];
    let theirs = identity.pair;
    let b = Link::start(one.options(&zero), identity).unwrap();
    refused(&a, &format!("is of pair {theirs}, this one of pair {ours}: correct `peer`")).await;
    refused(&b, &format!("is of pair {ours}, this one of pair {theirs}: correct `peer`")).await;
    b.stop().await;
    // The right pair, as the node that the other is.
    let mut identity = PairIdentity::load(one.dir.path()).unwrap().unwrap();
    identity.node = identity.node.peer();
    let b = Link::start(one.options(&zero), identity).unwrap();
    for link in [&a, &b] {
        refused(link, "says that it is node 0, as this one is: one was copied").await;
    }
    b.stop().await;
    let mut b = one.start(&zero);
    agree(&mut a, &mut b).await;
    assert_eq!(a.refusals(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_no_peer_yet_says_so_to_whoever_wants_to_be_it() {
    let (zero, one, a) = pair(1).await;
    a.stop().await;
    // The first appliance was formed anew: its data directory is another.
    let anew = Node { dir: tempfile::tempdir().unwrap(), at: zero.at.clone() };
    formation::init(anew.dir.path(), &anew.at, clock::now_ms()).unwrap();
    let a = anew.start(&one);
    let b = one.start(&anew);
    refused(&a, "wants to be the peer, but nobody has joined this pair yet: run").await;
    refused(&b, "expects no peer: if it is to be this one's peer, run").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_release_of_the_link_is_named() {
    let (zero, one, a) = pair(1).await;
    let id = PairIdentity::load(one.dir.path()).unwrap().unwrap();
    let tls = LinkTls::new(&id.link_identity(), id.peer_pin()).unwrap();
    let tcp = TcpStream::connect(zero.at[0]).await.unwrap();
    let name = ServerName::try_from(formation::SERVER_NAME).unwrap();
    let mut tls = TlsConnector::from(tls.client.unwrap()).connect(name, tcp).await.unwrap();
    let hello = [b"USL9".as_slice(), &id.pair.0, &[1]].concat();
    tokio::io::AsyncWriteExt::write_all(&mut tls, &hello).await.unwrap();
    refused(&a, "speaks another version of the link: bring both to the same release").await;
    // It gets our hello, and can tell, too.
    let mut answer = Vec::new();
    soon(tokio::io::AsyncReadExt::read_to_end(&mut tls, &mut answer)).await.unwrap();
    assert!(answer.starts_with(b"USL1"), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_not_at_the_peers_address_never_reaches_the_status() {
    let (zero, _one, a) = pair(1).await;
    let (_other_zero, foreign, other) = pair(1).await;
    other.stop().await;
    let id = PairIdentity::load(foreign.dir.path()).unwrap().unwrap();
    let zero_id = PairIdentity::load(zero.dir.path()).unwrap().unwrap();
    let tls = LinkTls::new(&id.link_identity(), zero_id.own_pin()).unwrap();
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.77:0".parse().unwrap()).unwrap();
    let tcp = socket.connect(zero.at[0]).await.unwrap();
    let name = ServerName::try_from(formation::SERVER_NAME).unwrap();
    let mut tls = TlsConnector::from(tls.client.unwrap()).connect(name, tcp).await.unwrap();
    let mut answer = Vec::new();
    let e = soon(tokio::io::AsyncReadExt::read_to_end(&mut tls, &mut answer)).await.unwrap_err();
    assert_eq!(crate::tls::PinRefusal::of(&e), Some(crate::tls::PinRefusal::Ours), "{e}");
    assert_eq!(a.refusals(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expired_certificate_keeps_nobody_apart() {
    let (zero, one, a) = pair(1).await;
    a.stop().await;
    let old = |node: &Node| {
        let mut id = PairIdentity::load(node.dir.path()).unwrap().unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec!["old".to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(2001, 1, 1);
        id.certificate_pem = params.self_signed(&key).unwrap().pem();
        id.key_pem = Secret::new(key.serialize_pem());
        let ends = crate::tls::not_after_pem(&id.certificate_pem).unwrap();
        (id, ends < clock::now_ms())
    };
    let ((mut a, a_over), (mut b, b_over)) = (old(&zero), old(&one));
    assert!(a_over && b_over, "both have expired");
    a.peer_certificate_pem = Some(b.certificate_pem.clone());
    b.peer_certificate_pem = Some(a.certificate_pem.clone());
    let mut a = Link::start(zero.options(&one), a).unwrap();
    let mut b = Link::start(one.options(&zero), b).unwrap();
    agree(&mut a, &mut b).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_are_refused_at_the_door() {
    let (zero, one, mut a) = pair(1).await;
    let id = PairIdentity::load(zero.dir.path()).unwrap().unwrap();
    // A client that knows the pin but has neither certificate nor token.
    let config = join_client(Pin::of_pem(&id.certificate_pem)).unwrap();
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
