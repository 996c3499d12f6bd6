//! Sockets that listen, also on addresses that this machine does not hold yet.

use super::doorstep::{Doorstep, Greeting};
use socket2::{Domain, Protocol, SockAddr, Socket, TcpKeepalive, Type};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream, UdpSocket};

/// Connections that the kernel keeps for us until we accept them. `net.core.somaxconn` caps it.
pub const BACKLOG: i32 = 1_024;
/// Silence after which the kernel asks whether the other side is still there.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
/// Time between two such questions.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
/// Unanswered questions after which the connection is dead.
const KEEPALIVE_RETRIES: u32 = 4;

/// A port cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot listen on {address}: {source}; is another process (or a second instance) using the \
     port, or is the right to open ports below 1024 missing (CAP_NET_BIND_SERVICE)?"
)]
pub struct ListenError {
    /// Where.
    pub address: SocketAddr,
    /// What the kernel says.
    #[source]
    pub source: io::Error,
}

/// A listening socket.
#[derive(Debug)]
pub struct Listener {
    inner: Arc<TcpListener>,
    doorstep: Doorstep,
    address: SocketAddr,
}

/// Opens `port` on each of `addresses`, which need not be held by this machine yet (a floating
/// address arrives with the Active role). Port 0 takes any free one, for tests.
///
/// # Errors
/// The first address that cannot be opened; those opened before it are closed again.
pub fn listen(addresses: &[IpAddr], port: u16) -> Result<Vec<Listener>, ListenError> {
    addresses.iter().map(|ip| listen_at(SocketAddr::new(*ip, port))).collect()
}

/// Opens one address with its port; as [`listen`].
///
/// # Errors
/// The address cannot be opened.
pub fn listen_at(address: SocketAddr) -> Result<Listener, ListenError> {
    open(address).map_err(|source| ListenError { address, source })
}

fn open(address: SocketAddr) -> io::Result<Listener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv4() {
        socket.set_freebind_v4(true)?;
    } else {
        // "0.0.0.0" and "::" may both be listed.
        socket.set_only_v6(true)?;
        socket.set_freebind_v6(true)?;
    }
    // Linux hands these two down to every accepted socket.
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(
        &TcpKeepalive::new()
            .with_time(KEEPALIVE_IDLE)
            .with_interval(KEEPALIVE_INTERVAL)
            .with_retries(KEEPALIVE_RETRIES),
    )?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::from(address))?;
    socket.listen(BACKLOG)?;
    let inner = Arc::new(TcpListener::from_std(socket.into())?);
    let address = inner.local_addr()?;
    Ok(Listener { inner, doorstep: Doorstep::default(), address })
}

/// Opens a socket for datagrams at `address`, which need not be held by this machine yet.
///
/// # Errors
/// The address cannot be opened.
pub fn datagram(address: SocketAddr) -> Result<UdpSocket, ListenError> {
    open_datagram(address).map_err(|source| ListenError { address, source })
}

fn open_datagram(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv4() {
        socket.set_freebind_v4(true)?;
    } else {
        socket.set_only_v6(true)?;
        socket.set_freebind_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::from(address))?;
    UdpSocket::from_std(socket.into())
}

impl Listener {
    /// The address listened on; with the real port where 0 was asked for.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Puts it behind `doorstep`.
    #[must_use]
    pub fn behind(self, doorstep: &Doorstep) -> Self {
        doorstep.add(&self.inner);
        Self { doorstep: doorstep.clone(), ..self }
    }

    /// See [`Doorstep::greeting`].
    #[cfg(test)]
    pub(super) fn greeting(&self) -> Greeting {
        self.doorstep.greeting()
    }

    /// The next connection, counted as ungreeted from before it is taken out of the kernel's queue.
    pub(super) async fn accept_counted(&self) -> io::Result<(TcpStream, SocketAddr, Greeting)> {
        std::future::poll_fn(|cx| {
            let greeting = self.doorstep.greeting();
            self.inner.poll_accept(cx).map(|taken| taken.map(|(tcp, peer)| (tcp, peer, greeting)))
        })
        .await
    }

    /// The next connection. Most users want [`super::serve`].
    ///
    /// # Errors
    /// As accept(2).
    pub async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        self.inner.accept().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Floating addresses come later, of either family.
    #[tokio::test]
    async fn addresses_that_are_not_here_yet_can_be_listened_on() {
        let absent: [IpAddr; 2] = ["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()];
        let listeners = listen(&absent, 0).unwrap();
        for (listener, ip) in listeners.iter().zip(absent) {
            assert_eq!(listener.address().ip(), ip);
            datagram(SocketAddr::new(ip, 0)).unwrap();
        }
    }
}
