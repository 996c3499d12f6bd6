//! Gratuitous ARP and unsolicited neighbour advertisements: telling hosts and switches on the link
//! where an address lives now. And adverts that must leave with a virtual Ethernet address.
//!
//! Each ARP announcement is sent in both forms, request and reply: some hosts learn from one only
//! (RFC 5227 3, RFC 5944 4.6). Invariants: the socket receives nothing and never blocks.
//! Deliberately absent: probing for a conflict, see [`super::probe`].

use super::link::Port;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, bind, send, socket};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, OwnedFd};
use understudy_proto::vrrp::{PROTOCOL, TTL};

/// A packet socket on one interface.
#[derive(Debug)]
pub(super) struct Announcer {
    socket: OwnedFd,
    mac: [u8; 6],
}

impl Announcer {
    pub(super) fn open(port: &Port) -> nix::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        // Protocol 0: a packet socket that is asked for no protocol receives none.
        let socket = socket(AddressFamily::Packet, SockType::Raw, flags, None)?;
        bind(socket.as_raw_fd(), &port.link)?;
        Ok(Self { socket, mac: port.mac })
    }

    /// Announces `address` once.
    pub(super) fn announce(&self, address: IpAddr) -> nix::Result<()> {
        match address {
            IpAddr::V4(address) => {
                self.put(&gratuitous(Operation::Request, self.mac, address))?;
                self.put(&gratuitous(Operation::Reply, self.mac, address))
            }
            IpAddr::V6(address) => self.put(&unsolicited(self.mac, address)),
        }
    }

    /// Sends a multicast advert with this socket's Ethernet address as its source
    /// (RFC 9568 7.2: "Set the source MAC address to the Virtual Router MAC Address").
    pub(super) fn advertise(
        &self,
        advert: &[u8],
        source: IpAddr,
        group: IpAddr,
    ) -> nix::Result<()> {
        let frame = match (source, group) {
            (IpAddr::V4(source), IpAddr::V4(group)) => advert_v4(self.mac, advert, source, group),
            (IpAddr::V6(source), IpAddr::V6(group)) => advert_v6(self.mac, advert, source, group),
            _ => return Err(nix::errno::Errno::EAFNOSUPPORT),
        };
        self.put(&frame)
    }

    fn put(&self, frame: &[u8]) -> nix::Result<()> {
        send(self.socket.as_raw_fd(), frame, MsgFlags::empty()).map(drop)
    }
}

/// RFC 826.
#[derive(Clone, Copy)]
pub(super) enum Operation {
    Request = 1,
    Reply = 2,
}

/// Sender and target are `address`, so that every cache updates.
fn gratuitous(operation: Operation, mac: [u8; 6], address: Ipv4Addr) -> Vec<u8> {
    arp(operation, mac, address, BROADCAST, address)
}

/// RFC 826 over Ethernet, to everybody.
pub(super) fn arp(
    operation: Operation,
    mac: [u8; 6],
    sender: Ipv4Addr,
    target_mac: [u8; 6],
    target: Ipv4Addr,
) -> Vec<u8> {
    [
        &BROADCAST[..],
        &mac,
        &ETHER_ARP,
        &[0, 1, 0x08, 0x00, 6, 4, 0, operation as u8], // Ethernet, IPv4, their lengths
        &mac,
        &sender.octets(),
        &target_mac,
        &target.octets(),
    ]
    .concat()
}

/// RFC 4861 7.2.6: an unsolicited neighbour advertisement with the override flag, to all nodes.
fn unsolicited(mac: [u8; 6], address: Ipv6Addr) -> Vec<u8> {
    let body = [&[0x20, 0, 0, 0][..], &address.octets(), &[2, 1], &mac].concat();
    icmp_v6(mac, address, ALL_NODES, NEIGHBOUR_ADVERTISEMENT, &body)
}

/// An ICMPv6 message of neighbour discovery in its frame; hop limit 255 (RFC 4861 7.1).
pub(super) fn icmp_v6(
    mac: [u8; 6],
    source: Ipv6Addr,
    to: Ipv6Addr,
    kind: u8,
    body: &[u8],
) -> Vec<u8> {
    let message = |sum: [u8; 2]| [&[kind, 0][..], &sum, body].concat();
    let bare = message([0, 0]);
    let len = u32::try_from(bare.len()).unwrap_or(u32::MAX).to_be_bytes();
    // RFC 8200 8.1.
    let covered = [&source.octets()[..], &to.octets(), &len, &[0, 0, 0, ICMP_V6], &bare].concat();
    let message = message(checksum(&covered));
    frame_v6(mac, source, to, ICMP_V6, 0, &message)
}

fn advert_v6(mac: [u8; 6], advert: &[u8], source: Ipv6Addr, group: Ipv6Addr) -> Vec<u8> {
    frame_v6(mac, source, group, PROTOCOL, INTERNETWORK_CONTROL, advert)
}

/// RFC 8200 3 and RFC 2464 7: an IPv6 packet to a multicast group, in Ethernet.
fn frame_v6(
    mac: [u8; 6],
    source: Ipv6Addr,
    group: Ipv6Addr,
    protocol: u8,
    class: u8,
    payload: &[u8],
) -> Vec<u8> {
    let [.., g0, g1, g2, g3] = group.octets();
    let [len_high, len_low] = u16::try_from(payload.len()).unwrap_or(u16::MAX).to_be_bytes();
    let head = [0x60 | class >> 4, class << 4, 0, 0, len_high, len_low, protocol, TTL];
    [
        &[0x33, 0x33, g0, g1, g2, g3][..],
        &mac,
        &ETHER_IPV6,
        &head,
        &source.octets(),
        &group.octets(),
        payload,
    ]
    .concat()
}

/// RFC 791 3.1 and RFC 1112 6.4: an IPv4 packet to a multicast group, in Ethernet.
fn advert_v4(mac: [u8; 6], advert: &[u8], source: Ipv4Addr, group: Ipv4Addr) -> Vec<u8> {
    let [_, g1, g2, g3] = group.octets();
    let [len_high, len_low] = u16::try_from(20 + advert.len()).unwrap_or(u16::MAX).to_be_bytes();
    let header = |[sum_high, sum_low]: [u8; 2]| {
        let fixed = [0x45, INTERNETWORK_CONTROL, len_high, len_low, 0, 0, 0x40, 0, TTL, PROTOCOL];
        [&fixed[..], &[sum_high, sum_low], &source.octets(), &group.octets()].concat()
    };
    let header = header(checksum(&header([0, 0])));
    [&[0x01, 0x00, 0x5e, g1 & 0x7f, g2, g3][..], &mac, &ETHER_IPV4, &header, advert].concat()
}

/// RFC 1071.
pub(super) fn checksum(bytes: &[u8]) -> [u8; 2] {
    let (words, odd) = bytes.as_chunks::<2>();
    let odd = odd.first().map_or(0, |last| u32::from(*last) << 8);
    let sum = words.iter().map(|word| u32::from(u16::from_be_bytes(*word))).fold(odd, |a, b| a + b);
    let once = (sum >> 16) + (sum & 0xffff);
    let twice = (once >> 16) + (once & 0xffff);
    (!u16::try_from(twice).unwrap_or(u16::MAX)).to_be_bytes()
}

const BROADCAST: [u8; 6] = [0xff; 6];
pub(super) const ETHER_ARP: [u8; 2] = [0x08, 0x06];
pub(super) const ETHER_IPV4: [u8; 2] = [0x08, 0x00];
pub(super) const ETHER_IPV6: [u8; 2] = [0x86, 0xdd];
pub(super) const ICMP_V6: u8 = 58;
pub(super) const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const INTERNETWORK_CONTROL: u8 = 0xc0;

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write;

    const MAC: [u8; 6] = [0x2a, 0x8f, 0x0f, 0x03, 0xd6, 0x8f];

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().fold(String::new(), |mut text, byte| {
            write!(text, "{byte:02x}").unwrap();
            text
        })
    }

    /// Captured from keepalived 2.2.7; the reply differs in its operation only.
    #[test]
    fn frames_are_those_of_keepalived() {
        let hex = |operation| hex(&gratuitous(operation, MAC, Ipv4Addr::new(10, 99, 0, 100)));
        let golden = "ffffffffffff2a8f0f03d68f080600010800060400012a8f0f03d68f0a630064\
                      ffffffffffff0a630064";
        assert_eq!(hex(Operation::Request), golden);
        assert_eq!(hex(Operation::Reply), golden.replace("06040001", "06040002"));
    }

    /// Whatever the checksum covers sums up to all ones with it.
    fn sums_up(parts: &[&[u8]]) -> bool {
        checksum(&parts.concat()) == [0, 0]
    }

    #[test]
    fn a_neighbour_advertisement_overrides() {
        let address: Ipv6Addr = "2001:db8::100".parse().unwrap();
        let frame = unsolicited(MAC, address);
        assert_eq!(hex(&frame[..14]), "3333000000012a8f0f03d68f86dd");
        assert_eq!(hex(&frame[14..22]), "6000000000203aff", "hop limit 255");
        assert_eq!(frame[22..38], address.octets());
        assert_eq!(frame[54..56], [136, 0]);
        assert_eq!(frame[58], 0x20, "override, and nothing else");
        assert_eq!(frame[62..78], address.octets());
        assert_eq!(hex(&frame[78..]), "02012a8f0f03d68f");
        assert!(sums_up(&[&frame[22..54], &[0, 0, 0, 32, 0, 0, 0, 58], &frame[54..]]));
    }

    #[test]
    fn adverts_leave_with_the_virtual_address() {
        let mac = [0, 0, 0x5e, 0, 1, 51];
        let group = Ipv4Addr::new(224, 0, 0, 18);
        let frame = advert_v4(mac, &[0x31; 12], Ipv4Addr::new(10, 99, 0, 1), group);
        assert_eq!(hex(&frame[..14]), "01005e00001200005e0001330800");
        assert_eq!(hex(&frame[14..24]), "45c0002000004000ff70");
        assert!(sums_up(&[&frame[14..34]]));
        assert_eq!(frame.len(), 14 + 20 + 12);
        let group = "ff02::12".parse().unwrap();
        let frame = advert_v6(mac, &[0x31; 24], "fe80::1".parse().unwrap(), group);
        assert_eq!(hex(&frame[..22]), "33330000001200005e00013386dd6c000000001870ff");
        assert_eq!(frame.len(), 14 + 40 + 24);
    }
}
