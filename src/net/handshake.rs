//! TCP handshakes under way: who has our SYN+ACK and whose answer has not come yet (SYN-RECEIVED, RFC
//! 9293 3.3.2). The kernel keeps these apart from every socket that a program holds; it tells of them
//! when it is asked (`sock_diag(7)`).
//!
//! Invariant: a question costs a fraction of a millisecond, and is bounded. Deliberately absent:
//! handshakes whose SYN+ACK was sent again, a second later: such clients are far or not there at all.

use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_sock_diag::SockDiagMessage;
use netlink_packet_sock_diag::constants::{AF_INET, AF_INET6, IPPROTO_TCP};
use netlink_packet_sock_diag::inet::{
    ExtensionFlags, InetRequest, InetResponse, SocketId, StateFlags, Timer,
};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType};
use nix::sys::socket::{recv, send, socket};
use socket2::SockRef;
use std::io;
use std::os::fd::AsRawFd;
use std::time::Duration;

/// How long the kernel may take for a piece of its answer.
const ANSWER_WAIT: Duration = Duration::from_millis(20);
/// Bytes of such a piece: the kernel makes none that is larger.
const PIECE_LEN_MAX: usize = 32 * 1024;
/// Pieces that are read: a flood of half-open connections is not looked through to its end.
const PIECES_MAX: usize = 16;

/// Whether one is under way at one of these ports of this machine.
///
/// # Errors
/// The kernel does not say.
pub(super) fn are_under_way(ports: &[u16]) -> io::Result<bool> {
    let found = one_of(AF_INET, SocketId::new_v4(), ports)?;
    Ok(found || one_of(AF_INET6, SocketId::new_v6(), ports)?)
}

fn one_of(family: u8, socket_id: SocketId, ports: &[u16]) -> io::Result<bool> {
    let flags = SockFlag::SOCK_CLOEXEC;
    let protocol = SockProtocol::NetlinkSockDiag;
    let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, protocol)?;
    SockRef::from(&socket).set_read_timeout(Some(ANSWER_WAIT))?;
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    let request = SockDiagMessage::InetRequest(InetRequest {
        family,
        protocol: IPPROTO_TCP,
        extensions: ExtensionFlags::empty(),
        states: StateFlags::SYN_RECV,
        socket_id,
    });
    let mut message = NetlinkMessage::new(header, NetlinkPayload::from(request));
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    send(socket.as_raw_fd(), &bytes, MsgFlags::empty())?;
    let mut piece = vec![0; PIECE_LEN_MAX];
    for _ in 0..PIECES_MAX {
        let len = recv(socket.as_raw_fd(), &mut piece, MsgFlags::empty())?;
        let mut rest = piece.get(..len).unwrap_or_default();
        while !rest.is_empty() {
            let message = NetlinkMessage::deserialize(rest).map_err(io::Error::other)?;
            match message.payload {
                NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(found)) => {
                    if is_fresh(&found) && ports.contains(&found.header.socket_id.source_port) {
                        return Ok(true);
                    }
                }
                NetlinkPayload::Error(error) => return Err(error.to_io()),
                _ => return Ok(false), // The end.
            }
            // Each begins at a multiple of four (`NLMSG_ALIGN`).
            let next =
                usize::try_from(message.header.length).unwrap_or(usize::MAX).next_multiple_of(4);
            rest = rest.get(next..).unwrap_or_default();
        }
    }
    Ok(false)
}

fn is_fresh(found: &InetResponse) -> bool {
    !matches!(found.header.timer, Some(Timer::Retransmit(_, again)) if again > 0)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use socket2::{Domain, SockFilter, Socket, Type};
    use std::net::{SocketAddr, TcpListener};

    #[test]
    fn who_has_not_answered_yet_is_seen() {
        for at in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(at).unwrap();
            let at = listener.local_addr().unwrap();
            assert!(!are_under_way(&[at.port()]).unwrap());
            let client = half_open(at);
            assert!(are_under_way(&[1, at.port()]).unwrap());
            assert!(!are_under_way(&[at.port() ^ 1]).unwrap(), "another port's");
            drop(client);
        }
    }

    /// A client that is deaf: the answer to its SYN does not reach it.
    pub(in crate::net) fn half_open(at: SocketAddr) -> Socket {
        let client = Socket::new(Domain::for_address(at), Type::STREAM, None).unwrap();
        client.attach_filter(&[SockFilter::new(crate::base::filter::RETURN, 0, 0, 0)]).unwrap();
        client.set_nonblocking(true).unwrap();
        assert!(client.connect(&at.into()).is_err(), "in progress");
        client
    }
}
