//! Who knocks while the addresses move is shown to the new door.
//!
//! During a handover there are some milliseconds in which neither appliance may take a connection. A
//! SYN that is lost then is sent again only after a second (RFC 6298 2.1). So the old Active keeps
//! what arrives for the floating addresses, and once the new one announces an address, sends them on
//! to that Ethernet address. Its answer goes to the client directly; nothing of a connection passes
//! through here.
//!
//! Invariants: only SYNs for floating addresses are kept, at most [`HELD_MAX`] of them and for
//! [`HELD_FOR`]; none that this machine has answered is sent on (a second answer, with another sequence
//! number, would end in a reset); nothing is sent back to where it came from, so that two relays cannot
//! play ball; it ends after [`RELAY_FOR`] or [`RELAYED_MAX`], or when this node is Holder again.
//! Deliberately absent: virtual Ethernet addresses (the interface takes frames for them only while it
//! holds them), fragments.

use super::GroupConfig;
use super::announce::{ETHER_IPV4, ETHER_IPV6, checksum};
use super::engine::in_time;
use super::link::Port;
use super::probe::answer;
use crate::base::clock;
use crate::base::filter::{
    AND, JUMP, JUMP_IF_EQUAL, JUMP_IF_GREATER, LOAD_BYTE, LOAD_BYTE_AFTER, LOAD_HALF,
    LOAD_HEADER_LEN, RETURN,
};
use log::{debug, info};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::socket::bind;
use nix::sys::time::TimeSpec;
use socket2::{Domain, Protocol, SockFilter, Socket, Type};
use std::collections::{HashMap, HashSet, VecDeque};
use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;
use understudy_proto::time::Mono;

/// SYNs that wait. A client whose SYN finds no room comes a second later.
const HELD_MAX: usize = 1_024;

/// Afterwards the client has sent it again.
const HELD_FOR: Duration = Duration::from_millis(900);

/// How long it works: a handover that was not taken up in this time is over, and every cache knows
/// the new Ethernet address.
const RELAY_FOR: Duration = Duration::from_secs(3);

/// How long the end of the process waits for the new Active's announcement.
const FAREWELL_MAX: Duration = Duration::from_millis(150);

/// Answers that are known. With so many in the moment before the door closes nothing is sent on.
const ANSWERED_MAX: usize = 8_192;

/// SYNs sent on in all: with more it is a flood, and this thread's priority is needed for adverts.
const RELAYED_MAX: usize = 8_192;

/// Pause after a round that left something unread.
const BREATH: Duration = Duration::from_millis(1);

/// Frames read in one round.
const READ_MAX: usize = 256;

/// A SYN with all its options; longer ones (with data, RFC 7413) are not kept.
const FRAME_LEN_MAX: usize = 256;

/// A relay at work. Dropping it ends it at once.
#[derive(Debug)]
pub(super) struct Relay {
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    stop: EventFd,
    /// Whether an announcement of each address was heard.
    moved: AtomicBool,
}

impl Relay {
    /// Begins to keep what arrives for the pair's groups. When this returns, nothing is missed.
    ///
    /// # Errors
    /// An interface is not there, or the kernel gives no packet socket.
    pub(super) fn start(groups: &[GroupConfig]) -> io::Result<Self> {
        // First: who is answered while the rest begins was answered here, too.
        let mut answers = Answers::open()?;
        let mut links: Vec<Link> = Vec::new();
        for group in groups.iter().filter(|g| !g.kind.is_origin() && !g.virtual_mac) {
            let addresses = group.addresses.iter().map(|a| a.address);
            match links.iter_mut().find(|link| link.name == group.interface) {
                Some(link) => link.addresses.extend(addresses),
                None => links.push(Link::open(&group.interface, addresses.collect())?),
            }
        }
        let stop = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        let shared = Arc::new(Shared { stop, moved: AtomicBool::new(false) });
        let told = shared.clone();
        // Not by `task::thread`, which ends the process where the system gives none: the addresses
        // are moving, and without a relay some clients come a second late.
        let thread = Builder::new().name("vrrp-relay".to_owned()).spawn(move || {
            in_time();
            work(&mut links, &mut answers, &told);
        })?;
        Ok(Self { shared, thread })
    }

    /// Waits until the new Active has announced itself, a moment at most, and ends. For the end of
    /// the process.
    pub(super) fn finish(self) {
        let end = clock::mono().after(FAREWELL_MAX);
        while !self.thread.is_finished()
            && !self.shared.moved.load(Ordering::Acquire)
            && clock::mono() < end
        {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        // A full counter has told it already.
        self.shared.stop.write(1).map(drop).unwrap_or_default();
    }
}

/// One interface.
struct Link {
    name: String,
    port: Port,
    addresses: Vec<IpAddr>,
    socket: Socket,
    /// Where each address lives now.
    moved: HashMap<IpAddr, [u8; 6]>,
    held: VecDeque<(Mono, Knock)>,
    relayed: usize,
}

/// A SYN in its frame.
struct Knock {
    frame: Vec<u8>,
    from: SocketAddr,
    to: SocketAddr,
}

impl Link {
    fn open(name: &str, addresses: Vec<IpAddr>) -> io::Result<Self> {
        let port = Port::find(name)?;
        let socket = Socket::new(Domain::PACKET, Type::RAW, Some(everything()))?;
        socket.attach_filter(&SYNS_AND_ANNOUNCEMENTS)?;
        bind(socket.as_raw_fd(), &port.link)?;
        socket.set_nonblocking(true)?;
        // What came before filter and bind is not for it.
        let mut bytes = [0; FRAME_LEN_MAX + 1];
        let mut early = 0;
        while early < READ_MAX && (&socket).read(&mut bytes).is_ok() {
            early += 1;
        }
        let (moved, held) = (HashMap::new(), VecDeque::new());
        Ok(Self { name: name.to_owned(), port, addresses, socket, moved, held, relayed: 0 })
    }

    /// Takes in what has come; whether there may be more.
    fn receive(&mut self, answers: &mut Answers) -> bool {
        let mut bytes = [0; FRAME_LEN_MAX + 1];
        if self.held.len() + READ_MAX > HELD_MAX {
            answers.read();
            self.held.retain(|(_, held)| !answers.has(held));
        }
        for _ in 0..READ_MAX {
            let Some(len) = read(&self.socket, &mut bytes) else { return false };
            let frame = bytes.get(..len).unwrap_or_default();
            if let Some(found) = answer(frame, self.port.mac, &self.addresses)
                && is_of_one(found.mac)
            {
                self.moved.insert(found.address, found.mac);
            } else if self.held.len() < HELD_MAX
                && let Some(knock) = Knock::read(frame, &self.addresses)
            {
                self.held.push_back((clock::mono(), knock));
            }
        }
        true
    }

    /// Those whose address has moved. Whoever has waited too long has knocked again.
    fn pass_on(&mut self, answers: &Answers) {
        let now = clock::mono();
        for (at, knock) in std::mem::take(&mut self.held) {
            match self.moved.get(&knock.to.ip()).copied() {
                _ if now.since(at) >= HELD_FOR => {}
                Some(mac) if !answers.has(&knock) => self.send(knock, mac),
                Some(_) => {}
                None => self.held.push_back((at, knock)),
            }
        }
    }

    fn send(&mut self, mut knock: Knock, mac: [u8; 6]) {
        if !knock.readdress(self.port.mac, mac) {
            return;
        }
        match self.socket.send(&knock.frame) {
            Ok(_) => self.relayed += 1,
            Err(e) => debug!(err:% = e; "a connection's beginning was not passed on"),
        }
    }

    fn is_moved(&self) -> bool {
        self.addresses.iter().all(|address| self.moved.contains_key(address))
    }
}

/// The connections that this machine's listeners have answered since it was opened: each SYN+ACK that
/// leaves, by whatever interface.
struct Answers {
    socket: Socket,
    /// Who was answered, and as whom.
    ends: HashSet<(SocketAddr, SocketAddr)>,
}

impl Answers {
    fn open() -> io::Result<Self> {
        // Bound to no interface, and from the IP header on.
        let socket = Socket::new(Domain::PACKET, Type::DGRAM, Some(everything()))?;
        socket.attach_filter(&OUR_ANSWERS)?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, ends: HashSet::new() })
    }

    fn read(&mut self) {
        let mut bytes = [0; FRAME_LEN_MAX + 1];
        while !self.is_full()
            && let Some(len) = read(&self.socket, &mut bytes)
        {
            let packet = bytes.get(..len).unwrap_or_default();
            let version = packet.first().map(|b| b >> 4);
            let kind = if version == Some(6) { ETHER_IPV6 } else { ETHER_IPV4 };
            if let Some(Segment { from, to, flags, .. }) = Segment::read(kind, packet)
                && flags & SYN_ACK == SYN_ACK
            {
                self.ends.insert((to, from));
            }
        }
    }

    fn has(&self, knock: &Knock) -> bool {
        self.is_full() || self.ends.contains(&(knock.from, knock.to))
    }

    fn is_full(&self) -> bool {
        self.ends.len() >= ANSWERED_MAX
    }
}

/// The next frame's length. `None`: nothing more, or the interface is down for the moment.
fn read(mut socket: &Socket, bytes: &mut [u8]) -> Option<usize> {
    loop {
        match socket.read(bytes) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            found => return found.ok(),
        }
    }
}

/// Whether an Ethernet address is one machine's: frames for a group would come back.
fn is_of_one(mac: [u8; 6]) -> bool {
    mac[0] & 1 == 0 && mac != [0; 6]
}

fn work(links: &mut [Link], answers: &mut Answers, shared: &Shared) {
    let end = clock::mono().after(RELAY_FOR);
    loop {
        let left = end.since(clock::mono());
        if left.is_zero() {
            break;
        }
        let mut fds = vec![
            PollFd::new(shared.stop.as_fd(), PollFlags::POLLIN),
            PollFd::new(answers.socket.as_fd(), PollFlags::POLLIN),
        ];
        fds.extend(links.iter().map(|link| PollFd::new(link.socket.as_fd(), PollFlags::POLLIN)));
        match ppoll(&mut fds, Some(TimeSpec::from(left)), None) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => std::thread::sleep(Duration::from_millis(1)), // Out of memory.
        }
        if shared.stop.read().is_ok() {
            break;
        }
        let mut more = false;
        for link in &mut *links {
            more |= link.receive(answers);
        }
        // After the SYNs: an answer leaves before anything else is done with its SYN.
        answers.read();
        for link in &mut *links {
            link.pass_on(answers);
        }
        if links.iter().all(Link::is_moved) {
            shared.moved.store(true, Ordering::Release);
        }
        // With so many answers nothing is sent on any more.
        if relayed(links) >= RELAYED_MAX || answers.is_full() {
            break;
        }
        if more {
            std::thread::sleep(BREATH); // A flood: others of this priority have work, too.
        }
    }
    let count = relayed(links);
    info!(count; "beginnings of connections passed on to the new active router");
}

/// A TCP segment in its IP packet.
struct Segment<'a> {
    from: SocketAddr,
    to: SocketAddr,
    /// Its flags (RFC 9293 3.1).
    flags: u8,
    /// Both IP addresses, as in the packet.
    addresses: &'a [u8],
    ip_header_len: usize,
    bytes: &'a [u8],
}

impl<'a> Segment<'a> {
    fn read(ether_type: [u8; 2], packet: &'a [u8]) -> Option<Self> {
        let (addresses, ip_header_len, len) = match ether_type {
            // RFC 791 3.1. A fragment is no beginning that can be told.
            ETHER_IPV4 => {
                let whole = packet.get(6..8).is_some_and(|f| matches!(f, [0 | 0x40, 0]));
                let tcp = packet.get(9) == Some(&TCP);
                let header_len = usize::from(packet.first()? & 0x0f) * 4;
                let len = u16::from_be_bytes(*packet.get(2..4)?.first_chunk()?);
                (whole && tcp).then_some((packet.get(12..20)?, header_len, usize::from(len)))?
            }
            // RFC 8200 3.
            ETHER_IPV6 => {
                let tcp = packet.get(6) == Some(&TCP);
                let len = u16::from_be_bytes(*packet.get(4..6)?.first_chunk()?);
                tcp.then_some((packet.get(8..40)?, 40, usize::from(len) + 40))?
            }
            _ => return None,
        };
        let bytes = packet.get(ip_header_len..len)?;
        let port = |at| Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?));
        let (from, to) = addresses.split_at_checked(addresses.len() / 2)?;
        let (from, to) = (SocketAddr::new(ip(from)?, port(0)?), SocketAddr::new(ip(to)?, port(2)?));
        let flags = *bytes.get(13)?;
        Some(Self { from, to, flags, addresses, ip_header_len, bytes })
    }
}

fn ip(octets: &[u8]) -> Option<IpAddr> {
    let four = <[u8; 4]>::try_from(octets).map(IpAddr::from);
    four.or_else(|_| <[u8; 16]>::try_from(octets).map(IpAddr::from)).ok()
}

fn relayed(links: &[Link]) -> usize {
    links.iter().map(|link| link.relayed).sum()
}

impl Knock {
    /// A SYN for one of `addresses`, its checksum made whole: a frame that has never left this
    /// machine (virtual machines, namespaces) comes with a part of it only.
    fn read(frame: &[u8], addresses: &[IpAddr]) -> Option<Self> {
        if frame.len() > FRAME_LEN_MAX {
            return None;
        }
        let (head, packet) = frame.split_first_chunk::<HEAD_LEN>()?;
        let [.., t0, t1] = head;
        let segment = Segment::read([*t0, *t1], packet)?;
        if segment.flags & SYN_ACK != SYN || !addresses.contains(&segment.to.ip()) {
            return None;
        }
        let sum = whole_checksum(segment.addresses, segment.bytes)?;
        // Without what Ethernet has padded it with.
        let begins = HEAD_LEN + segment.ip_header_len;
        let mut frame = frame.get(..begins + segment.bytes.len())?.to_vec();
        let at = begins + CHECKSUM_AT;
        frame.get_mut(at..at + 2)?.copy_from_slice(&sum);
        Some(Self { frame, from: segment.from, to: segment.to })
    }

    /// Where it goes now; false where it came from there.
    fn readdress(&mut self, own: [u8; 6], to: [u8; 6]) -> bool {
        let Some((head, _)) = self.frame.split_first_chunk_mut::<HEAD_LEN>() else { return false };
        let [d @ .., _, _, _, _, _, _, _, _] = &mut *head;
        let _old: [u8; 6] = std::mem::replace(d, to);
        let [_, _, _, _, _, _, from @ .., _, _] = head;
        let from = std::mem::replace(from, own);
        from != to
    }
}

/// The checksum that a TCP segment must carry (RFC 9293 3.1) if it carries that, or the sum over the
/// addresses alone, which network cards complete. `ends` are both addresses.
fn whole_checksum(ends: &[u8], segment: &[u8]) -> Option<[u8; 2]> {
    let found = *segment.get(CHECKSUM_AT..)?.first_chunk::<2>()?;
    let len = u16::try_from(segment.len()).ok()?.to_be_bytes();
    let pseudo = [ends, &[0, TCP], &len].concat();
    let bare = [&pseudo, segment.get(..CHECKSUM_AT)?, &[0, 0], segment.get(CHECKSUM_AT + 2..)?];
    let right = checksum(&bare.concat());
    let [high, low] = checksum(&pseudo);
    let partial = [!high, !low];
    (found == right || found == partial).then_some(right)
}

const HEAD_LEN: usize = 14;
const TCP: u8 = 6;
/// Of the checksum in a TCP header.
const CHECKSUM_AT: usize = 16;
const SYN: u8 = 0x02;
const SYN_ACK: u8 = 0x12;

/// `ETH_P_ALL`: what leaves, too, is seen by no other.
fn everything() -> Protocol {
    Protocol::from(i32::from(3_u16.to_be()))
}

/// What this lets through of all that passes: SYNs, ARP and neighbour advertisements that come in
/// and belong to no VLAN on the interface.
const SYNS_AND_ANNOUNCEMENTS: [SockFilter; 21] = [
    /*  0 */ SockFilter::new(LOAD_BYTE, 0, 0, PACKET_TYPE),
    /*  1 */ SockFilter::new(JUMP_IF_GREATER, 18, 0, PACKET_MULTICAST),
    /*  2 */ SockFilter::new(LOAD_BYTE, 0, 0, VLAN_TAG_PRESENT),
    /*  3 */ SockFilter::new(JUMP_IF_EQUAL, 0, 16, 0),
    /*  4 */ SockFilter::new(LOAD_HALF, 0, 0, 12),
    /*  5 */ SockFilter::new(JUMP_IF_EQUAL, 13, 0, 0x0806),
    /*  6 */ SockFilter::new(JUMP_IF_EQUAL, 0, 5, 0x0800),
    /*  7 */ SockFilter::new(LOAD_BYTE, 0, 0, 23),
    /*  8 */ SockFilter::new(JUMP_IF_EQUAL, 0, 11, TCP as u32),
    /*  9 */ SockFilter::new(LOAD_HEADER_LEN, 0, 0, 14),
    /* 10 */ SockFilter::new(LOAD_BYTE_AFTER, 0, 0, 14 + 13),
    /* 11 */ SockFilter::new(JUMP, 0, 0, 5),
    /* 12 */ SockFilter::new(JUMP_IF_EQUAL, 0, 7, 0x86dd),
    /* 13 */ SockFilter::new(LOAD_BYTE, 0, 0, 20),
    /* 14 */ SockFilter::new(JUMP_IF_EQUAL, 4, 0, 58),
    /* 15 */ SockFilter::new(JUMP_IF_EQUAL, 0, 4, TCP as u32),
    /* 16 */ SockFilter::new(LOAD_BYTE, 0, 0, 14 + 40 + 13),
    /* 17 */ SockFilter::new(AND, 0, 0, SYN_ACK as u32),
    /* 18 */ SockFilter::new(JUMP_IF_EQUAL, 0, 1, SYN as u32),
    /* 19 */ SockFilter::new(RETURN, 0, 0, u32::MAX),
    /* 20 */ SockFilter::new(RETURN, 0, 0, 0),
];
/// What this lets through of all packets: SYN+ACKs that this machine sends.
const OUR_ANSWERS: [SockFilter; 17] = [
    /*  0 */ SockFilter::new(LOAD_BYTE, 0, 0, PACKET_TYPE),
    /*  1 */ SockFilter::new(JUMP_IF_EQUAL, 0, 13, PACKET_OUTGOING),
    /*  2 */ SockFilter::new(LOAD_BYTE, 0, 0, 0),
    /*  3 */ SockFilter::new(AND, 0, 0, 0xf0),
    /*  4 */ SockFilter::new(JUMP_IF_EQUAL, 0, 5, 0x40),
    /*  5 */ SockFilter::new(LOAD_BYTE, 0, 0, 9),
    /*  6 */ SockFilter::new(JUMP_IF_EQUAL, 0, 8, TCP as u32),
    /*  7 */ SockFilter::new(LOAD_HEADER_LEN, 0, 0, 0),
    /*  8 */ SockFilter::new(LOAD_BYTE_AFTER, 0, 0, 13),
    /*  9 */ SockFilter::new(JUMP, 0, 0, 3),
    /* 10 */ SockFilter::new(LOAD_BYTE, 0, 0, 6),
    /* 11 */ SockFilter::new(JUMP_IF_EQUAL, 0, 3, TCP as u32),
    /* 12 */ SockFilter::new(LOAD_BYTE, 0, 0, 40 + 13),
    /* 13 */ SockFilter::new(AND, 0, 0, SYN_ACK as u32),
    /* 14 */ SockFilter::new(JUMP_IF_EQUAL, 1, 0, SYN_ACK as u32),
    /* 15 */ SockFilter::new(RETURN, 0, 0, 0),
    /* 16 */ SockFilter::new(RETURN, 0, 0, u32::MAX),
];
/// `SKF_AD_OFF + SKF_AD_PKTTYPE`.
const PACKET_TYPE: u32 = 0xffff_f000 + 4;
/// `SKF_AD_OFF + SKF_AD_VLAN_TAG_PRESENT`.
const VLAN_TAG_PRESENT: u32 = 0xffff_f000 + 48;
/// `linux/if_packet.h`: to this host, to all, to a group; beyond it others' and our own.
const PACKET_MULTICAST: u32 = 2;
/// `linux/if_packet.h`.
const PACKET_OUTGOING: u32 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: [u8; 6] = [2, 0, 0, 0, 0, 1];
    const CLIENT: [u8; 6] = [2, 0, 0, 0, 0, 9];
    const NEW: [u8; 6] = [2, 0, 0, 0, 0, 2];

    fn syn_v4(flags: u8, full: bool) -> Vec<u8> {
        let ends = [10, 0, 0, 9, 10, 0, 0, 100];
        let mut tcp =
            vec![0xc3, 0x50, 0, 25, 1, 2, 3, 4, 0, 0, 0, 0, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0];
        let pseudo = [&ends[..], &[0, 6, 0, 20]].concat();
        let sum = if full {
            checksum(&[&pseudo[..], &tcp].concat())
        } else {
            checksum(&pseudo).map(|b| !b)
        };
        tcp[16..18].copy_from_slice(&sum);
        let ip = [0x45, 0, 0, 40, 0, 1, 0x40, 0, 64, 6, 0, 0];
        let padding = [0; 6];
        [&OWN[..], &CLIENT, &ETHER_IPV4, &ip, &ends, &tcp, &padding].concat()
    }

    fn floating() -> Vec<IpAddr> {
        vec!["10.0.0.100".parse().unwrap(), "2001:db8::100".parse().unwrap()]
    }

    #[test]
    fn a_syn_for_a_floating_address_goes_on_with_a_whole_checksum() {
        for full in [true, false] {
            let mut knock = Knock::read(&syn_v4(SYN, full), &floating()).unwrap();
            assert_eq!(knock.to.to_string(), "10.0.0.100:25");
            assert_eq!(knock.from.to_string(), "10.0.0.9:50000");
            assert!(knock.readdress(OWN, NEW));
            assert_eq!(knock.frame.len(), 14 + 40, "without padding");
            assert_eq!(knock.frame[..12], [NEW, OWN].concat());
            let covered = [&knock.frame[26..34], &[0, 6, 0, 20], &knock.frame[34..]].concat();
            assert_eq!(checksum(&covered), [0, 0]);
        }
    }

    #[test]
    fn a_syn_over_ipv6_goes_on_too() {
        let from: std::net::Ipv6Addr = "2001:db8::9".parse().unwrap();
        let to: std::net::Ipv6Addr = "2001:db8::100".parse().unwrap();
        let ends = [from.octets(), to.octets()].concat();
        let mut tcp =
            vec![0xc3, 0x50, 0, 25, 1, 2, 3, 4, 0, 0, 0, 0, 0x50, SYN, 0xff, 0xff, 0, 0, 0, 0];
        let sum = checksum(&[&ends[..], &[0, 6, 0, 20], &tcp].concat());
        tcp[16..18].copy_from_slice(&sum);
        let ip = [0x60, 0, 0, 0, 0, 20, 6, 64];
        let frame = [&OWN[..], &CLIENT, &ETHER_IPV6, &ip, &ends, &tcp].concat();
        assert_eq!(Knock::read(&frame, &floating()).unwrap().to.ip(), floating()[1]);
    }

    #[test]
    fn nothing_else_goes_on() {
        let read = |frame: &[u8]| Knock::read(frame, &floating()).is_some();
        assert!(!read(&syn_v4(0x12, true)), "an answer");
        assert!(!read(&syn_v4(0x10, true)), "a connection that stands");
        let mut bent = syn_v4(SYN, true);
        bent[50] ^= 1;
        assert!(!read(&bent), "a wrong checksum stays wrong");
        let mut elsewhere = syn_v4(SYN, true);
        elsewhere[33] = 7;
        assert!(!read(&elsewhere));
        let mut fragment = syn_v4(SYN, true);
        fragment[20] = 0x20;
        assert!(!read(&fragment));
        for len in 0..54 {
            assert!(!read(&syn_v4(SYN, true)[..len]), "cut to {len}");
        }
        let mut knock = Knock::read(&syn_v4(SYN, true), &floating()).unwrap();
        assert!(!knock.readdress(OWN, CLIENT), "two relays do not play ball");
    }
}
