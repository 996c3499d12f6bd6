//! Joins over loopback, as the running process answers them.

use super::*;
use crate::base::task;
use crate::tls::LinkTls;
use std::os::unix::fs::PermissionsExt;
use tempfile::{TempDir, tempdir};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

const AT_ONCE: Patience = Patience { refused: Duration::ZERO, silent: Duration::ZERO };
const NOW: UnixMs = UnixMs(1_790_000_000_000);

/// Node 0 with its join door open at a free port, and its first token.
async fn node_0() -> (TempDir, SocketAddr, Token) {
    let dir = tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let token = init(dir.path(), &[at], clock::now_ms()).unwrap();
    open(&dir, listener);
    (dir, at, token)
}

/// Node 0 of the pair of `secret`.
async fn node_0_of(secret: &PairSecret, made: UnixMs) -> (TempDir, SocketAddr) {
    let dir = tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    init_by_secret(dir.path(), secret, made).unwrap();
    open(&dir, listener);
    (dir, at)
}

/// Answers joins.
fn open(dir: &TempDir, listener: TcpListener) {
    let id = PairIdentity::load(dir.path()).unwrap().unwrap();
    let join = LinkTls::new(&id.link_identity(), None).unwrap().join;
    let path = dir.path().to_owned();
    task::spawn("door", async move {
        static STRANGERS: Strangers = Strangers::new(8);
        while let Ok((tcp, peer)) = listener.accept().await {
            if let Ok(mut tls) = TlsAcceptor::from(join.clone()).accept(tcp).await {
                answer(&path, &mut tls, peer, &STRANGERS).await;
            }
        }
    });
}

fn refusal(result: Result<PairIdentity, FormationError>) -> Refusal {
    match result {
        Err(FormationError::Refused(why)) => why,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_token_makes_a_pair_once() {
    let (zero, _, token) = node_0().await;
    let one = tempdir().unwrap();
    let token: Token = token.to_string().parse().unwrap();
    let joined = join(one.path(), &token).await.unwrap();
    assert_eq!((joined.node, joined.config_id), (NodeId(1), 2));

    let here = PairIdentity::load(zero.path()).unwrap().unwrap();
    let there = PairIdentity::load(one.path()).unwrap().unwrap();
    assert_eq!(here.peer_pin(), Pin::of_pem(&there.certificate_pem));
    assert_eq!(there.peer_pin(), Pin::of_pem(&here.certificate_pem));
    assert_eq!(here.beacon_key.expose(), there.beacon_key.expose());
    assert_eq!((here.pair, here.config_id), (there.pair, there.config_id));
    for file in ["tls/ca.key", "tls/ca.pem", "tls/service.key"] {
        let read = |dir: &TempDir| std::fs::read(dir.path().join(file)).unwrap();
        assert_eq!(read(&zero), read(&one), "{file}");
    }
    let mode = std::fs::metadata(one.path().join(identity::FILE)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    let late = tempdir().unwrap();
    assert_eq!(refusal(join(late.path(), &token).await), Refusal::NoToken);
    assert!(PairIdentity::load(late.path()).unwrap().is_none());
    assert!(matches!(
        join(one.path(), &token).await,
        Err(FormationError::AlreadyPaired { node: NodeId(1), .. })
    ));
    assert!(matches!(
        init(zero.path(), token.addresses(), NOW),
        Err(FormationError::AlreadyPaired { node: NodeId(0), .. })
    ));
}

#[tokio::test]
async fn a_replaced_node_joins_with_a_new_token() {
    let (zero, at, first) = node_0().await;
    let one = tempdir().unwrap();
    join(one.path(), &first).await.unwrap();
    let second = token(zero.path(), &[at], clock::now_ms()).unwrap();
    let old = PairIdentity::load(zero.path()).unwrap().unwrap().peer_pin();
    assert!(old.is_some(), "the old peer stays until the token is used");
    let new = tempdir().unwrap();
    let joined = join(new.path(), &second).await.unwrap();
    assert_eq!((joined.node, joined.config_id), (NodeId(1), 3));
    let id = PairIdentity::load(zero.path()).unwrap().unwrap();
    assert_eq!(id.peer_pin(), Pin::of_pem(&joined.certificate_pem));
    assert_ne!(id.peer_pin(), old);
}

#[tokio::test]
async fn wrong_and_expired_tokens_are_refused() {
    let (zero, at, first) = node_0().await;
    let one = tempdir().unwrap();
    let expired = token(zero.path(), &[at], UnixMs(0)).unwrap();
    // The newer token voids the older.
    assert_eq!(refusal(join(one.path(), &first).await), Refusal::Wrong);
    assert_eq!(refusal(join(one.path(), &expired).await), Refusal::Expired);
    // A token of another pair: the certificate behind the address is not the one that it names.
    let (_other, _, foreign) = node_0().await;
    let mixed = Token::new(foreign.pair(), foreign.pin(), NOW, &[at]).unwrap();
    let other = join(one.path(), &mixed).await;
    assert!(matches!(other, Err(FormationError::OtherNode { address }) if address == at));
    assert!(PairIdentity::load(one.path()).unwrap().is_none());
    assert!(PairIdentity::load(zero.path()).unwrap().unwrap().peer_pin().is_none());
}

#[tokio::test]
async fn a_node_with_a_log_does_not_join() {
    let (_zero, _, token) = node_0().await;
    let one = tempdir().unwrap();
    std::fs::create_dir(one.path().join("log")).unwrap();
    std::fs::write(one.path().join("log/1.seg"), b"x").unwrap();
    assert!(matches!(join(one.path(), &token).await, Err(FormationError::HasData(_))));
}

#[tokio::test]
async fn a_secret_that_both_have_makes_a_pair_once() {
    let secret = PairSecret::random();
    let (zero, at) = node_0_of(&secret, clock::now_ms()).await;
    let one = tempdir().unwrap();
    assert_eq!(answers(&[at], AT_ONCE).await, Some(at), "a formed pair is seen from outside");
    // The first path is dead, as a cable that is not plugged in.
    let dead = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let joined = join(one.path(), Invitation::of_secret(&secret, &[dead, at])).await.unwrap();
    let here = PairIdentity::load(zero.path()).unwrap().unwrap();
    assert_eq!((joined.node, joined.pair), (NodeId(1), here.pair));
    assert_eq!((here.peer_pin(), joined.peer_pin()), (joined.own_pin(), here.own_pin()));
    assert_eq!(here.beacon_key.expose(), joined.beacon_key.expose());
    let used = Invitation::of_secret(&secret, &[at]);
    let late = tempdir().unwrap();
    assert_eq!(refusal(join(late.path(), used).await), Refusal::NoToken);
    assert!(matches!(
        init_by_secret(zero.path(), &secret, NOW),
        Err(FormationError::AlreadyPaired { node: NodeId(0), .. })
    ));
}

#[tokio::test]
async fn another_secret_or_an_old_one_is_refused() {
    let secret = PairSecret::random();
    let (zero, at) = node_0_of(&secret, clock::now_ms()).await;
    let one = tempdir().unwrap();
    let other = Invitation::of_secret(&PairSecret::random(), &[at]);
    assert_eq!(refusal(join(one.path(), other.clone()).await), Refusal::Wrong);
    // The right pair is no proof of its secret.
    let guessed = Invitation { pair: Invitation::of_secret(&secret, &[]).pair, ..other };
    assert_eq!(refusal(join(one.path(), guessed).await), Refusal::Wrong);
    let (old, at) = node_0_of(&secret, UnixMs(0)).await;
    let expired = Invitation::of_secret(&secret, &[at]);
    assert_eq!(refusal(join(one.path(), expired.clone()).await), Refusal::Expired);
    assert!(PairIdentity::load(one.path()).unwrap().is_none());
    assert!(PairIdentity::load(zero.path()).unwrap().unwrap().peer_pin().is_none());
    // Its clock was wrong, and was set since.
    renew(old.path(), &secret, clock::now_ms()).unwrap();
    join(one.path(), expired.clone()).await.unwrap();
    renew(old.path(), &secret, clock::now_ms()).unwrap();
    let late = tempdir().unwrap();
    assert_eq!(refusal(join(late.path(), expired).await), Refusal::NoToken, "used is used");
    let joined = PairIdentity::load(old.path()).unwrap().unwrap();
    renew(old.path(), &PairSecret::random(), clock::now_ms()).unwrap();
    let after = PairIdentity::load(old.path()).unwrap().unwrap();
    assert_eq!(
        (after.pair, after.peer_pin()),
        (joined.pair, joined.peer_pin()),
        "a pair stays one"
    );
}

#[tokio::test]
async fn files_that_were_made_anew_count_until_somebody_has_joined() {
    let (first, second) = (PairSecret::random(), PairSecret::random());
    let (zero, at) = node_0_of(&first, clock::now_ms()).await;
    renew(zero.path(), &second, clock::now_ms()).unwrap();
    let one = tempdir().unwrap();
    assert_eq!(
        refusal(join(one.path(), Invitation::of_secret(&first, &[at])).await),
        Refusal::Wrong
    );
    // A token that was made since is not undone by the same files.
    let token = token(zero.path(), &[at], clock::now_ms()).unwrap();
    renew(zero.path(), &second, clock::now_ms()).unwrap();
    let joined = join(one.path(), &token).await.unwrap();
    assert_eq!(joined.pair, Invitation::of_secret(&second, &[]).pair);
}

#[tokio::test]
async fn an_answer_that_was_lost_is_asked_for_again() {
    let secret = PairSecret::random();
    let (zero, at) = node_0_of(&secret, clock::now_ms()).await;
    let one = tempdir().unwrap();
    // As far as node 0 knows the other one has joined; that one has heard nothing.
    let own = joining(one.path(), Invitation::of_secret(&secret, &[]).pair).unwrap();
    let invitation = Invitation::of_secret(&secret, &[at]);
    drop(ask(at, &invitation, &own.certificate_pem).await.unwrap().ok().unwrap());
    let before = PairIdentity::load(zero.path()).unwrap().unwrap();
    assert_eq!(before.peer_pin(), Pin::of_pem(&own.certificate_pem));
    let joined = join(one.path(), invitation.clone()).await.unwrap();
    assert_eq!(joined.certificate_pem, own.certificate_pem);
    assert_eq!(joined.beacon_key.expose(), before.beacon_key.expose());
    assert!(!one.path().join(JOINING).exists());
    let other = tempdir().unwrap();
    assert_eq!(refusal(join(other.path(), invitation).await), Refusal::NoToken);
    // The same one by a new token: what it came by first is void.
    std::fs::remove_file(one.path().join(identity::FILE)).unwrap();
    std::fs::write(
        one.path().join(JOINING),
        serde_json::to_vec(&(&own.certificate_pem, &own.key_pem)).unwrap(),
    )
    .unwrap();
    let token = token(zero.path(), &[at], clock::now_ms()).unwrap();
    assert_eq!(join(one.path(), &token).await.unwrap().config_id, 3);
}

/// Somebody between the two, with a certificate of its own: it hands on what it is told, or makes up
/// an answer itself.
async fn in_the_middle(to: Option<SocketAddr>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let own = Identity::self_signed("middle", clock::now_ms()).unwrap();
    let join = LinkTls::new(&own, None).unwrap().join;
    task::spawn("middle", async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let Ok(mut tls) = TlsAcceptor::from(join.clone()).accept(tcp).await else { continue };
            let asked = receive(&mut tls).await.unwrap();
            let answer = if let Some(to) = to {
                let mut on = knock(to, None).await.unwrap();
                send(&mut on, &asked).await.unwrap();
                receive(&mut on).await.unwrap()
            } else {
                let request: Request = codec::decode("a join", &asked).unwrap();
                codec::encode(&Answer::Welcome(Box::new(Welcome {
                    node: NodeId(1),
                    config_id: 2,
                    beacon_key: [0; 32],
                    authority_pem: String::new(),
                    service_key_pem: String::new(),
                    certificate_pem: own.certificate_pem.clone(),
                    // What it was told is all that it knows.
                    proof: request.proof,
                })))
            };
            send(&mut tls, &answer).await.unwrap();
        }
    });
    at
}

#[tokio::test]
async fn whoever_stands_between_fails_with_both() {
    let secret = PairSecret::random();
    let (zero, at) = node_0_of(&secret, clock::now_ms()).await;
    let one = tempdir().unwrap();
    let relay = in_the_middle(Some(at)).await;
    let by_relay = join(one.path(), Invitation::of_secret(&secret, &[relay])).await;
    assert_eq!(refusal(by_relay), Refusal::Wrong, "node 0 sees another certificate than its own");
    assert!(PairIdentity::load(zero.path()).unwrap().unwrap().peer_pin().is_none());
    let liar = in_the_middle(None).await;
    let by_liar = join(one.path(), Invitation::of_secret(&secret, &[liar])).await;
    assert!(matches!(by_liar, Err(FormationError::Stranger { address }) if address == liar));
    assert!(PairIdentity::load(one.path()).unwrap().is_none());
    assert!(!one.path().join("tls").exists(), "nothing of a stranger was kept");
    // Neither has burnt the secret, and a liar on one path does not keep the two apart.
    join(one.path(), Invitation::of_secret(&secret, &[liar, at])).await.unwrap();
}

#[test]
fn nonsense_is_refused_and_changes_nothing() {
    let dir = tempdir().unwrap();
    init(dir.path(), &[SocketAddr::from(([127, 0, 0, 1], 7400))], NOW).unwrap();
    let before = std::fs::read(dir.path().join(identity::FILE)).unwrap();
    let refused = |request: &[u8]| decide(dir.path(), request, NOW).err().map(|no| no.refusal);
    assert_eq!(refused(b"nonsense"), Some(Refusal::Malformed));
    let request = Request { pair: [0; 16], certificate_pem: "x".to_owned(), proof: [0; 32] };
    let request = codec::encode(&request);
    assert_eq!(refused(&request), Some(Refusal::Malformed));
    assert_eq!(before, std::fs::read(dir.path().join(identity::FILE)).unwrap());
    // A stranger is refused before the keys are read: they are not even there.
    let mut id = PairIdentity::load(dir.path()).unwrap().unwrap();
    id.token = None;
    let unpaired = tempdir().unwrap();
    change(unpaired.path(), |_| Ok::<_, FormationError>((id, ()))).unwrap();
    let no = decide(unpaired.path(), &request, NOW).err().map(|no| no.refusal);
    assert_eq!(no, Some(Refusal::NoToken));
    assert!(!unpaired.path().join("tls/service.key").exists());
    assert!(!format!("{:?}", PairIdentity::load(dir.path()).unwrap()).contains("PRIVATE"));
    assert!(matches!(token(tempdir().unwrap().path(), &[], NOW), Err(FormationError::NotPaired)));
    assert!(matches!(init(dir.path(), &[], NOW), Err(FormationError::NoAddress)));
}

/// A peer that is away for a moment, as one that restarts, is in its pair all the same.
#[tokio::test]
async fn a_door_that_opens_late_is_seen() {
    let place = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = place.local_addr().unwrap();
    drop(place);
    let peers = [at];
    let patience = Patience { refused: Duration::from_secs(30), silent: Duration::from_secs(60) };
    let dir = tempdir().unwrap();
    init_by_secret(dir.path(), &PairSecret::random(), clock::now_ms()).unwrap();
    let late = async {
        clock::sleep_until(clock::mono().after(Duration::from_millis(300))).await;
        open(&dir, TcpListener::bind(at).await.unwrap());
    };
    let (seen, ()) = tokio::join!(answers(&peers, patience), late);
    assert_eq!(seen, Some(at));
    assert_eq!(answers(&["127.0.0.1:1".parse().unwrap()], AT_ONCE).await, None);
}
