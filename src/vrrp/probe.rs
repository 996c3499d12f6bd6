//! Is an address in use on the link? Asked before an origin's address is claimed.
//!
//! ARP probes (RFC 5227 2.1.1) and neighbour solicitations of duplicate address detection
//! (RFC 4862 5.4.2): sent from no address, so that nobody learns anything from the question.
//! Invariants: a probe ends within [`ROUNDS`] x [`ROUND`]; it blocks, so it has a thread of its own.
//! Deliberately absent: defence of an address that we hold (RFC 5227 2.4).

use super::announce::{ETHER_ARP, ETHER_IPV6, ICMP_V6, NEIGHBOUR_ADVERTISEMENT, Operation};
use super::announce::{arp, icmp_v6};
use super::link::Port;
use crate::base::clock;
use nix::sys::socket::bind;
use socket2::{Domain, Protocol, Socket, Type};
use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsRawFd;
use std::time::Duration;

/// How often each address is asked for.
const ROUNDS: usize = 3;

/// How long an answer is waited for.
const ROUND: Duration = Duration::from_millis(200);

/// Somebody answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct InUse {
    pub(super) address: IpAddr,
    pub(super) mac: [u8; 6],
}

impl fmt::Display for InUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.mac;
        write!(
            f,
            "{} is in use: {a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x} answers for it",
            self.address
        )
    }
}

/// Asks for all of `addresses`, which are of one family. The first answer ends it.
pub(super) fn probe(port: &Port, addresses: &[IpAddr]) -> io::Result<Option<InUse>> {
    let ipv6 = addresses.first().is_some_and(IpAddr::is_ipv6);
    let kind = if ipv6 { ETHER_IPV6 } else { ETHER_ARP };
    let protocol = Protocol::from(i32::from(u16::from_ne_bytes(kind)));
    let socket = Socket::new(Domain::PACKET, Type::RAW, Some(protocol))?;
    bind(socket.as_raw_fd(), &port.link)?;
    let mut frame = [0; FRAME_LEN_MAX];
    for _ in 0..ROUNDS {
        for address in addresses {
            (&socket).write_all(&question(port.mac, *address))?;
        }
        let end = clock::mono().after(ROUND);
        loop {
            let left = end.since(clock::mono());
            if left.is_zero() {
                break;
            }
            socket.set_read_timeout(Some(left))?;
            let len = match (&socket).read(&mut frame) {
                Ok(len) => len,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if let Some(found) = frame.get(..len).and_then(|f| answer(f, port.mac, addresses)) {
                return Ok(Some(found));
            }
        }
    }
    Ok(None)
}

fn question(mac: [u8; 6], address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => arp(Operation::Request, mac, Ipv4Addr::UNSPECIFIED, [0; 6], address),
        IpAddr::V6(address) => {
            let [.., a, b, c] = address.octets();
            // RFC 4291 2.7.1, the solicited-node address.
            let [low, high] = [u16::from_be_bytes([b, c]), u16::from_be_bytes([0xff, a])];
            let group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, high, low);
            let body = [&[0; 4][..], &address.octets()].concat();
            icmp_v6(mac, Ipv6Addr::UNSPECIFIED, group, NEIGHBOUR_SOLICITATION, &body)
        }
    }
}

/// Whether a frame of somebody else says that one of `addresses` is his.
pub(super) fn answer(frame: &[u8], own: [u8; 6], addresses: &[IpAddr]) -> Option<InUse> {
    let (head, packet) = frame.split_first_chunk::<14>()?;
    let [_, _, _, _, _, _, mac @ .., t0, t1] = head;
    let address = match [*t0, *t1] {
        // RFC 826: the sender's protocol address, in a request or a reply.
        ETHER_ARP => IpAddr::from(*packet.get(14..18)?.first_chunk::<4>()?),
        // RFC 4861 7.1.2: type, hop limit, target.
        ETHER_IPV6 => {
            let icmp = packet.get(40..).filter(|_| packet.get(6..8) == Some(&[ICMP_V6, 255]))?;
            let advertised = icmp.first() == Some(&NEIGHBOUR_ADVERTISEMENT);
            let target = icmp.get(8..24).filter(|_| advertised)?;
            IpAddr::from(*target.first_chunk::<16>()?)
        }
        _ => return None,
    };
    (*mac != own && addresses.contains(&address)).then_some(InUse { address, mac: *mac })
}

const NEIGHBOUR_SOLICITATION: u8 = 135;

/// More than the frames that matter; what is longer is cut.
const FRAME_LEN_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: [u8; 6] = [2, 0, 0, 0, 0, 1];
    const OTHER: [u8; 6] = [2, 0, 0, 0, 0, 2];

    #[test]
    fn answers_are_told_from_noise() {
        let address = Ipv4Addr::new(10, 0, 0, 100);
        let wanted = [IpAddr::V4(address)];
        let reply = |mac, sender| arp(Operation::Reply, mac, sender, OWN, Ipv4Addr::UNSPECIFIED);
        let found = Some(InUse { address: wanted[0], mac: OTHER });
        assert_eq!(answer(&reply(OTHER, address), OWN, &wanted), found);
        assert_eq!(answer(&reply(OWN, address), OWN, &wanted), None, "our own");
        let stranger = Ipv4Addr::new(10, 0, 0, 7);
        assert_eq!(answer(&reply(OTHER, stranger), OWN, &wanted), None);
        assert_eq!(answer(&question(OTHER, wanted[0]), OWN, &wanted), None, "asks as we do");
        let cut = &reply(OTHER, address)[..20];
        assert_eq!(answer(cut, OWN, &wanted), None);

        let address: Ipv6Addr = "2001:db8::12:3456".parse().unwrap();
        let wanted = [IpAddr::V6(address)];
        let body = [&[0x20, 0, 0, 0][..], &address.octets()].concat();
        let all: Ipv6Addr = "ff02::1".parse().unwrap();
        let advertised = icmp_v6(OTHER, address, all, NEIGHBOUR_ADVERTISEMENT, &body);
        let found = Some(InUse { address: wanted[0], mac: OTHER });
        assert_eq!(answer(&advertised, OWN, &wanted), found);
        let shown = found.map(|found| found.to_string()).unwrap_or_default();
        assert!(shown.contains("02:00:00:00:00:02"), "{shown}");
        let asked = question(OTHER, wanted[0]);
        assert_eq!(answer(&asked, OWN, &wanted), None);
        assert_eq!(asked[..6], [0x33, 0x33, 0xff, 0x12, 0x34, 0x56]);
    }
}
