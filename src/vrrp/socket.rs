//! The raw socket through which adverts go out and come in.
//!
//! Invariants: bound to one interface, never blocks, sends with TTL or hop limit 255 and traffic
//! class 0xC0 from the interface's own address, does not hear itself. Deliberately absent: any look
//! into the payload.

use super::interface::Interface;
use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrIn6, recvmsg};
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, SockAddr, Socket, Type};
use std::io::{self, ErrorKind, IoSliceMut, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use understudy_proto::vrrp::{Arrival, GROUP_V4, GROUP_V6, LEN_MAX, PROTOCOL, TTL, split_ip};

/// A socket for the adverts of one virtual router.
#[derive(Debug)]
pub(super) struct AdvertSocket {
    socket: Socket,
    index: u32,
    ipv6: bool,
}

impl AdvertSocket {
    /// Whether this process may open raw sockets at all.
    pub(super) fn probe() -> io::Result<()> {
        raw(Domain::IPV4).map(drop)
    }

    /// Opens the socket on `interface`; `unicast` does not join the group.
    pub(super) fn open(name: &str, interface: &Interface, unicast: bool) -> io::Result<Self> {
        let socket = match interface.source {
            IpAddr::V4(source) => open_v4(name, interface.index, source, unicast)?,
            IpAddr::V6(source) => open_v6(name, interface.index, source, unicast)?,
        };
        Ok(Self { socket, index: interface.index, ipv6: interface.source.is_ipv6() })
    }

    pub(super) fn send(&self, advert: &[u8], to: IpAddr) -> io::Result<()> {
        let to = match to {
            IpAddr::V4(to) => SocketAddr::V4(SocketAddrV4::new(to, 0)),
            IpAddr::V6(to) => SocketAddr::V6(SocketAddrV6::new(to, 0, 0, self.scope(to))),
        };
        self.socket.send_to(advert, &SockAddr::from(to)).map(|_| ())
    }

    fn scope(&self, to: Ipv6Addr) -> u32 {
        let local = to.is_unicast_link_local() || to.is_multicast();
        if local { self.index } else { 0 }
    }

    /// The next datagram that waits, if any. Its payload lies in `buffer`.
    pub(super) fn receive<'b>(&self, buffer: &'b mut Buffer) -> io::Result<Received<'b>> {
        let found = if self.ipv6 { self.receive_v6(buffer) } else { self.receive_v4(buffer) };
        match found {
            Ok(Some((arrival, range))) => Ok(buffer
                .0
                .get(range)
                .map_or(Received::Noise, |bytes| Received::Datagram(arrival, bytes))),
            Ok(None) => Ok(Received::Noise),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(Received::Nothing),
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(Received::Noise),
            Err(error) => Err(error),
        }
    }

    /// A raw IPv4 socket gives the IP header, too.
    fn receive_v4(&self, buffer: &mut Buffer) -> io::Result<Option<Found>> {
        let len = (&self.socket).read(&mut buffer.0)?;
        let Some((arrival, payload)) = buffer.0.get(..len).and_then(split_ip) else {
            return Ok(None);
        };
        // Behind the payload there may be padding, before it the header with its options.
        let header = buffer.0.first().map_or(0, |first| usize::from(first & 0x0f) * 4);
        Ok(Some((arrival, header..header + payload.len())))
    }

    /// RFC 3542 4: a raw IPv6 socket gives the payload; the header's fields come beside it.
    fn receive_v6(&self, buffer: &mut Buffer) -> io::Result<Option<Found>> {
        let mut control = cmsg_space!(i32, nix::libc::in6_pktinfo);
        let mut parts = [IoSliceMut::new(&mut buffer.0)];
        let fd = self.socket.as_raw_fd();
        let message =
            recvmsg::<SockaddrIn6>(fd, &mut parts, Some(&mut control), MsgFlags::empty())?;
        let (mut ttl, mut destination) = (None, None);
        for part in message.cmsgs()? {
            match part {
                ControlMessageOwned::Ipv6HopLimit(found) => ttl = u8::try_from(found).ok(),
                ControlMessageOwned::Ipv6PacketInfo(info) => {
                    destination = Some(Ipv6Addr::from(info.ipi6_addr.s6_addr));
                }
                _ => {}
            }
        }
        let source = message.address.map(|from| from.ip());
        let (Some(source), Some(destination), Some(ttl)) = (source, destination, ttl) else {
            return Ok(None);
        };
        let arrival =
            Arrival { source: IpAddr::V6(source), destination: IpAddr::V6(destination), ttl };
        Ok(Some((arrival, 0..message.bytes)))
    }
}

/// How a datagram arrived, and where its payload lies in the buffer.
type Found = (Arrival, std::ops::Range<usize>);

fn open_v4(name: &str, index: u32, source: Ipv4Addr, unicast: bool) -> io::Result<Socket> {
    let socket = raw(Domain::IPV4)?;
    socket.bind_device(Some(name.as_bytes()))?;
    // RFC 9568 5.1.1.3.
    socket.set_multicast_ttl_v4(u32::from(TTL))?;
    socket.set_ttl_v4(u32::from(TTL))?;
    socket.set_tos_v4(INTERNETWORK_CONTROL)?;
    socket.set_multicast_loop_v4(false)?;
    // Only groups that this socket joined, whatever else the machine listens to.
    socket.set_multicast_all_v4(false)?;
    // RFC 9568 5.1.1.1: the source is the interface's primary address.
    if unicast {
        socket.bind(&SocketAddr::V4(SocketAddrV4::new(source, 0)).into())?;
    } else {
        socket.set_multicast_if_v4(&source)?;
        socket.join_multicast_v4_n(&GROUP_V4, &InterfaceIndexOrAddress::Index(index))?;
    }
    Ok(socket)
}

fn open_v6(name: &str, index: u32, source: Ipv6Addr, unicast: bool) -> io::Result<Socket> {
    let socket = raw(Domain::IPV6)?;
    socket.bind_device(Some(name.as_bytes()))?;
    // RFC 9568 5.1.2.3.
    socket.set_multicast_hops_v6(u32::from(TTL))?;
    socket.set_unicast_hops_v6(u32::from(TTL))?;
    socket.set_tclass_v6(INTERNETWORK_CONTROL)?;
    socket.set_multicast_loop_v6(false)?;
    socket.set_multicast_all_v6(false)?;
    socket.set_multicast_if_v6(index)?;
    socket.set_recv_hoplimit_v6(true)?;
    nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::Ipv6RecvPacketInfo, &true)
        .map_err(|errno: Errno| io::Error::from(errno))?;
    // RFC 9568 5.1.2.1: the source is the interface's link-local address.
    let scope = if source.is_unicast_link_local() { index } else { 0 };
    socket.bind(&SocketAddr::V6(SocketAddrV6::new(source, 0, 0, scope)).into())?;
    if !unicast {
        socket.join_multicast_v6(&GROUP_V6, index)?;
    }
    Ok(socket)
}

fn raw(domain: Domain) -> io::Result<Socket> {
    let protocol = Protocol::from(i32::from(PROTOCOL));
    Socket::new(domain, Type::RAW.nonblocking(), Some(protocol))
}

impl AsFd for AdvertSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// What came of a look into the socket.
pub(super) enum Received<'b> {
    /// Nothing waits any more.
    Nothing,
    /// Something that is no datagram of VRRP, or cut short.
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
const INTERNETWORK_CONTROL: u32 = 0xc0;
