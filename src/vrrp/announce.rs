//! Gratuitous ARP: telling hosts and switches on the link where an address lives now.
//!
//! Each announcement is sent in both forms, request and reply: some hosts learn from one only
//! (RFC 5227 3, RFC 5944 4.6). Invariants: the socket receives nothing and never blocks.
//! Deliberately absent: probing for a conflict. Who holds the address is the pair's decision.

use super::interface::Interface;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, bind, send, socket};
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};

/// A packet socket on one interface.
#[derive(Debug)]
pub(super) struct Announcer {
    socket: OwnedFd,
    mac: [u8; 6],
}

impl Announcer {
    pub(super) fn open(interface: &Interface) -> nix::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        // Protocol 0: a packet socket that is asked for no protocol receives none.
        let socket = socket(AddressFamily::Packet, SockType::Raw, flags, None)?;
        bind(socket.as_raw_fd(), &interface.link)?;
        Ok(Self { socket, mac: interface.mac })
    }

    /// Announces `address` once.
    pub(super) fn announce(&self, address: Ipv4Addr) -> nix::Result<()> {
        for operation in [Operation::Request, Operation::Reply] {
            let frame = gratuitous(operation, self.mac, address);
            send(self.socket.as_raw_fd(), &frame, MsgFlags::empty())?;
        }
        Ok(())
    }
}

#[derive(Clone, Copy)]
enum Operation {
    Request = 1,
    Reply = 2,
}

/// RFC 826 over Ethernet; sender and target are `address`, so that every cache updates.
fn gratuitous(operation: Operation, mac: [u8; 6], address: Ipv4Addr) -> [u8; FRAME_LEN] {
    let mut frame = [0; FRAME_LEN];
    let parts: [&[u8]; 8] = [
        &BROADCAST,
        &mac,
        &[0x08, 0x06],                                 // EtherType: ARP
        &[0, 1, 0x08, 0x00, 6, 4, 0, operation as u8], // Ethernet, IPv4, their lengths
        &mac,
        &address.octets(),
        &BROADCAST,
        &address.octets(),
    ];
    for (to, from) in frame.iter_mut().zip(parts.into_iter().flatten()) {
        *to = *from;
    }
    frame
}

const BROADCAST: [u8; 6] = [0xff; 6];
const FRAME_LEN: usize = 14 + 28;

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write;

    /// Captured from keepalived 2.2.7; the reply differs in its operation only.
    #[test]
    fn frames_are_those_of_keepalived() {
        let mac = [0x2a, 0x8f, 0x0f, 0x03, 0xd6, 0x8f];
        let hex = |operation| {
            let frame = gratuitous(operation, mac, Ipv4Addr::new(10, 99, 0, 100));
            frame.iter().fold(String::new(), |mut text, byte| {
                write!(text, "{byte:02x}").unwrap();
                text
            })
        };
        let golden = "ffffffffffff2a8f0f03d68f080600010800060400012a8f0f03d68f0a630064\
                      ffffffffffff0a630064";
        assert_eq!(hex(Operation::Request), golden);
        assert_eq!(hex(Operation::Reply), golden.replace("06040001", "06040002"));
    }
}
