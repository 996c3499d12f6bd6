//! The raw socket through which adverts go out and come in.
//!
//! Invariants: bound to one interface, never blocks, sends with TTL 255 and ToS 0xC0 from the
//! interface's own address, does not hear itself. Deliberately absent: any look into the payload.

use super::interface::Interface;
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, SockAddr, Socket, Type};
use std::io::{self, ErrorKind, Read};
use std::net::SocketAddrV4;
use std::os::fd::{AsFd, BorrowedFd};
use understudy_proto::vrrp::{Arrival, GROUP, LEN_MAX, PROTOCOL, TTL, split_ip};

/// A socket for the adverts of one virtual router.
#[derive(Debug)]
pub(super) struct AdvertSocket(Socket);

impl AdvertSocket {
    /// Whether this process may open raw sockets at all.
    pub(super) fn probe() -> io::Result<()> {
        raw().map(drop)
    }

    pub(super) fn open(name: &str, interface: &Interface) -> io::Result<Self> {
        let socket = raw()?;
        socket.bind_device(Some(name.as_bytes()))?;
        // RFC 9568 5.1.1.3.
        socket.set_multicast_ttl_v4(u32::from(TTL))?;
        socket.set_ttl_v4(u32::from(TTL))?;
        socket.set_tos_v4(TOS_INTERNETWORK_CONTROL)?;
        socket.set_multicast_loop_v4(false)?;
        // Only groups that this socket joined, whatever else the machine listens to.
        socket.set_multicast_all_v4(false)?;
        // RFC 9568 5.1.1.1: the source is the interface's primary address.
        socket.set_multicast_if_v4(&interface.source)?;
        socket.join_multicast_v4_n(&GROUP, &InterfaceIndexOrAddress::Index(interface.index))?;
        Ok(Self(socket))
    }

    pub(super) fn send(&self, advert: &[u8]) -> io::Result<()> {
        let group = SockAddr::from(SocketAddrV4::new(GROUP, 0));
        self.0.send_to(advert, &group).map(|_| ())
    }

    /// The next datagram that waits, if any. Its payload lies in `buffer`.
    pub(super) fn receive<'b>(&self, buffer: &'b mut Buffer) -> io::Result<Received<'b>> {
        let len = match (&self.0).read(&mut buffer.0) {
            Ok(len) => len,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Received::Nothing),
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(Received::Noise),
            Err(error) => return Err(error),
        };
        let datagram = buffer.0.get(..len).and_then(split_ip);
        Ok(datagram.map_or(Received::Noise, |(arrival, bytes)| Received::Datagram(arrival, bytes)))
    }
}

fn raw() -> io::Result<Socket> {
    let protocol = Protocol::from(i32::from(PROTOCOL));
    Socket::new(Domain::IPV4, Type::RAW.nonblocking(), Some(protocol))
}

impl AsFd for AdvertSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// What came of a look into the socket.
pub(super) enum Received<'b> {
    /// Nothing waits any more.
    Nothing,
    /// Something that is no IPv4 datagram of VRRP, or cut short.
    Noise,
    /// How it arrived, and its payload.
    Datagram(Arrival, &'b [u8]),
}

/// Room for the longest advert with the longest IPv4 header. What is longer is cut by the kernel
/// and then refused for its length.
pub(super) struct Buffer([u8; LEN_MAX + 60]);

impl Default for Buffer {
    fn default() -> Self {
        Self([0; LEN_MAX + 60])
    }
}

/// Precedence "internetwork control" (RFC 791 3.1), as routers do.
const TOS_INTERNETWORK_CONTROL: u32 = 0xc0;
