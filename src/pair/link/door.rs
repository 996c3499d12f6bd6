//! Getting a session: accepting, dialling, and the hello that both must say first.
//!
//! The hello is `"USL1" ‖ pair id [16] ‖ node u8`. The side that dialled says it first; the other
//! answers only where the connection may count, so that after both hellos both believe in it. A
//! hello that cannot be right is answered, too: then both can say what is wrong.

use super::refusal::{Refused, Why, why};
use super::session;
use super::{Event, RECONNECT_MAX, RECONNECT_MIN, Shared};
use crate::base::{clock, task};
use crate::net::Listener;
use crate::pair::formation::{self, PairId, SERVER_NAME};
use crate::pair::strangers::Strangers;
use crate::tls::{JOIN_ALPN, LINK_ALPN};
use socket2::SockRef;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::{LazyConfigAcceptor, TlsConnector, rustls};
use understudy_proto::id::NodeId;

/// Connections at the pair's port that have not shown yet who they are.
static STRANGERS: Strangers = Strangers::new(32);
/// Most time from accept to hello.
const HELLO_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause after accept(2) failed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// A session that lasted so long had held.
const HELD: Duration = Duration::from_secs(1);
/// How long whoever is refused may take to go, and most bytes that it may still send.
const LINGER: Duration = Duration::from_millis(500);
const LINGER_LEN_MAX: u64 = 16 * 1024;
const MAGIC: &[u8; 4] = b"USL1";
const HELLO_LEN: usize = 21;

/// Accepts forever.
pub(super) async fn accept(shared: Arc<Shared>, listener: Listener) {
    loop {
        let (tcp, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(e) => {
                if let Some(count) = STRANGERS.may_say(clock::mono()) {
                    log::warn!(err:% = e, count, runbook = "listener-down";
                        "cannot accept at the pair's port, pausing");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // Before the task: what waits to be started has a place, too.
        let mut stranger = STRANGERS.enter(peer.ip());
        let shared = Arc::clone(&shared);
        task::spawn("pair-accepted", async move {
            let accepted = tokio::select! {
                biased;
                () = stranger.pushed_out() => Err(io::Error::other("its place was needed")),
                accepted = tokio::time::timeout(HELLO_TIMEOUT, admit(&shared, tcp, peer)) => {
                    accepted.unwrap_or_else(|_elapsed| Err(io::ErrorKind::TimedOut.into()))
                }
            };
            drop(stranger);
            match accepted {
                Ok(Some(tls)) => session::run(&shared, tls, shared.slot.node().peer()).await,
                Ok(None) => {}
                Err(e) => match why(&shared, &e) {
                    Some(why) => shared.refusals.note(&shared, peer.ip(), why),
                    None => log::debug!(peer:% = peer, err:% = e; "pair connection refused"),
                },
            }
        });
    }
}

type ServerTls = tokio_rustls::server::TlsStream<TcpStream>;
type ClientTls = tokio_rustls::client::TlsStream<TcpStream>;

/// TLS and hello of a connection that came in; `None` where it was a join, or is not needed.
async fn admit(shared: &Shared, tcp: TcpStream, peer: SocketAddr) -> io::Result<Option<ServerTls>> {
    prepare(&tcp, shared.options.silence)?;
    let start = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), tcp).await?;
    let asks = |name: &[u8]| {
        start.client_hello().alpn().is_some_and(|mut names| names.any(|asked| asked == name))
    };
    if asks(JOIN_ALPN) {
        let config = shared.read(|c| Arc::clone(&c.tls.join));
        let mut tls = start.into_stream(config).await?;
        let dir = &shared.options.data_dir;
        if let Some(identity) = formation::answer(dir, &mut tls, peer, &STRANGERS).await {
            shared.joined(&identity).map_err(io::Error::other)?;
            if shared.events.send(Event::Joined(Box::new(identity))).await.is_err() {
                log::debug!("the link has ended");
            }
        }
        return Ok(None);
    }
    if !asks(LINK_ALPN) {
        return Err(io::Error::other("neither a peer nor a join"));
    }
    let Some(config) = shared.read(|c| c.tls.server.clone()) else {
        // The other side is told that this is no protocol of ours.
        let config = shared.read(|c| Arc::clone(&c.tls.join));
        linger(start.into_stream(config).into_fallible().await).await.map(drop).unwrap_or_default();
        return Err(io::Error::other(Refused(Why::NoPeerHere)));
    };
    let mut tls = linger(start.into_stream(config).into_fallible().await).await?;
    if let Err(e) = hear(shared, &mut tls).await {
        // It is the pinned peer: it may know who we are, and can say what is wrong.
        hello(shared, &mut tls).await?;
        tls.shutdown().await?;
        return Err(e);
    }
    if !shared.slot.would_take(shared.slot.node().peer()) {
        return Ok(None);
    }
    hello(shared, &mut tls).await?;
    Ok(Some(tls))
}

/// Dials whenever there is no session, forever.
pub(super) async fn dial(shared: Arc<Shared>) {
    let mut pause = shared.options.reconnect.max(RECONNECT_MIN);
    loop {
        shared.slot.free().await;
        let mut held = false;
        if let Some(config) = shared.read(|c| c.tls.client.clone()) {
            let own = shared.slot.node();
            for (i, peer) in shared.options.peer.iter().enumerate() {
                let from = shared.options.listen.get(i).map(SocketAddr::ip);
                let connecting = connect(&shared, Arc::clone(&config), from, *peer);
                match tokio::time::timeout(shared.options.connect_timeout, connecting).await {
                    Ok(Ok(tls)) => {
                        pause = shared.options.reconnect.max(RECONNECT_MIN);
                        let since = clock::mono();
                        session::run(&shared, tls, own).await;
                        held = clock::mono().since(since) >= HELD;
                        break;
                    }
                    Ok(Err(e)) => match why(&shared, &e) {
                        Some(why) => shared.refusals.note(&shared, peer.ip(), why),
                        None => log::debug!(peer:% = peer, err:% = e; "peer not reached"),
                    },
                    Err(_elapsed) => log::debug!(peer:% = peer; "peer did not answer in time"),
                }
            }
        }
        // A session that had held is sought again at once: a standby without one soon grows stale.
        if !held {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(RECONNECT_MAX);
        }
    }
}

async fn connect(
    shared: &Shared,
    config: Arc<rustls::ClientConfig>,
    from: Option<IpAddr>,
    peer: SocketAddr,
) -> io::Result<ClientTls> {
    let socket = if peer.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(from) = from.filter(|ip| !ip.is_unspecified() && ip.is_ipv4() == peer.is_ipv4()) {
        // The path is the addresses' pair, not whatever the routing table prefers.
        socket.bind(SocketAddr::new(from, 0))?;
    }
    let tcp = socket.connect(peer).await?;
    prepare(&tcp, shared.options.silence)?;
    let name = ServerName::try_from(SERVER_NAME).map_err(io::Error::other)?;
    let mut tls = TlsConnector::from(config).connect(name, tcp).await?;
    if shared.slot.is_taken() {
        return Err(io::Error::other("the peer's own connection came first"));
    }
    let said = hello(shared, &mut tls).await;
    // Where the other side has gone already, it has said why: that counts, not our failed write.
    hear(shared, &mut tls).await?;
    said.map(|()| tls)
}

/// A failed handshake's alert must reach the other side: bytes of it that lie unread here when the
/// connection is closed would make the kernel reset it, and the alert be lost.
async fn linger(handshake: Result<ServerTls, (io::Error, TcpStream)>) -> io::Result<ServerTls> {
    let (e, mut tcp) = match handshake {
        Ok(tls) => return Ok(tls),
        Err(failed) => failed,
    };
    let rest = async {
        tcp.shutdown().await?;
        tokio::io::copy(&mut (&mut tcp).take(LINGER_LEN_MAX), &mut tokio::io::sink()).await
    };
    match tokio::time::timeout(LINGER, rest).await {
        Ok(Ok(_)) => {}
        Ok(Err(e)) => log::trace!(err:% = e; "the other side did not wait for its refusal"),
        Err(_elapsed) => log::trace!("the other side does not go"),
    }
    Err(e)
}

fn prepare(tcp: &TcpStream, silence: Duration) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    // Bytes that the peer's kernel does not take for so long mean that it is gone.
    SockRef::from(tcp).set_tcp_user_timeout(Some(silence * 4))
}

async fn hello<S: AsyncWrite + Unpin>(shared: &Shared, stream: &mut S) -> io::Result<()> {
    let mut hello = Vec::with_capacity(HELLO_LEN);
    hello.extend_from_slice(MAGIC);
    hello.extend_from_slice(&shared.read(|c| c.identity.pair.0));
    hello.push(shared.slot.node().0);
    stream.write_all(&hello).await?;
    stream.flush().await
}

async fn hear<S: AsyncRead + Unpin>(shared: &Shared, stream: &mut S) -> io::Result<()> {
    let mut hello = [0; HELLO_LEN];
    stream.read_exact(&mut hello).await?;
    let ours = shared.read(|c| c.identity.pair);
    let refused = |why| Err(io::Error::other(Refused(why)));
    let Some(rest) = hello.strip_prefix(MAGIC) else { return refused(Why::OtherVersion) };
    let Some((pair, [node])) = rest.split_first_chunk() else { return refused(Why::OtherVersion) };
    if *pair != ours.0 {
        return refused(Why::OtherPair { theirs: PairId(*pair), ours });
    }
    if NodeId(*node) != shared.slot.node().peer() {
        return refused(Why::SameNode(NodeId(*node)));
    }
    Ok(())
}
