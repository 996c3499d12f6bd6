//! Who knocks while the addresses move is shown to the new door.
//!
//! During a handover there are some milliseconds in which neither appliance may take a connection. A
//! SYN that is lost then is sent again only after a second (RFC 6298 2.1). So the old Active keeps
//! what arrives for the floating addresses, and once the new one announces an address, sends them on
//! to that Ethernet address. Its answer goes to the client directly; nothing of a connection passes
//! through here.
//!
//! Invariants: only SYNs for floating addresses are kept, at most [`HELD_MAX`] of them and for
//! [`HELD_FOR`]; nothing is sent back to where it came from, so that two relays cannot play ball; it
//! ends after [`RELAY_FOR`], or when this node is Holder again. Deliberately absent: virtual Ethernet
//! addresses (the interface takes frames for them only while it holds them), fragments.

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
use nix::sys::socket::{ControlMessageOwned, MsgFlags, bind, recvmsg, setsockopt, sockopt};
use nix::sys::time::TimeSpec;
use socket2::{Domain, Protocol, SockFilter, Socket, Type};
use std::collections::{HashMap, VecDeque};
use std::io::{self, IoSliceMut, Read};
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
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
    /// Whoever came earlier was answered here; microseconds of [`Mono`].
    since: AtomicU64,
    /// Whether an announcement of each address was heard.
    moved: AtomicBool,
}

impl Relay {
    /// Begins to keep what arrives for the pair's groups. When this returns, nothing is missed.
    ///
    /// # Errors
    /// An interface is not there, or the kernel gives no packet socket.
    pub(super) fn start(groups: &[GroupConfig]) -> io::Result<Self> {
        let mut links: Vec<Link> = Vec::new();
        for group in groups.iter().filter(|g| !g.kind.is_origin() && !g.virtual_mac) {
            let addresses = group.addresses.iter().map(|a| a.address);
            match links.iter_mut().find(|link| link.name == group.interface) {
                Some(link) => link.addresses.extend(addresses),
                None => links.push(Link::open(&group.interface, addresses.collect())?),
            }
        }
        let stop = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        let shared =
            Arc::new(Shared { stop, since: AtomicU64::new(0), moved: AtomicBool::new(false) });
        let told = shared.clone();
        // Not by `task::thread`, which ends the process where the system gives none: the addresses
        // are moving, and without a relay some clients come a second late.
        let thread = Builder::new().name("vrrp-relay".to_owned()).spawn(move || {
            in_time();
            work(&mut links, &told);
        })?;
        Ok(Self { shared, thread })
    }

    /// Whoever came before `since` is not sent on.
    pub(super) fn since(&self, since: Mono) {
        self.shared.since.store(since.0, Ordering::Release);
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
    to: IpAddr,
}

impl Link {
    fn open(name: &str, addresses: Vec<IpAddr>) -> io::Result<Self> {
        let port = Port::find(name)?;
        let protocol = Protocol::from(i32::from(EVERYTHING.to_be()));
        let socket = Socket::new(Domain::PACKET, Type::RAW, Some(protocol))?;
        socket.attach_filter(&SYNS_AND_ANNOUNCEMENTS)?;
        bind(socket.as_raw_fd(), &port.link)?;
        socket.set_nonblocking(true)?;
        setsockopt(&socket, sockopt::ReceiveTimestampns, &true)?;
        // What came before filter and bind is not for it.
        let mut bytes = [0; FRAME_LEN_MAX + 1];
        let mut early = 0;
        while early < READ_MAX && (&socket).read(&mut bytes).is_ok() {
            early += 1;
        }
        let (moved, held) = (HashMap::new(), VecDeque::new());
        Ok(Self { name: name.to_owned(), port, addresses, socket, moved, held, relayed: 0 })
    }

    fn receive(&mut self, since: &AtomicU64) {
        let mut bytes = [0; FRAME_LEN_MAX + 1];
        for _ in 0..READ_MAX {
            let (len, at) = match take(&self.socket, &mut bytes) {
                Ok(taken) => taken,
                Err(Errno::EINTR) => continue,
                Err(_) => return, // Nothing more, or the interface is down for the moment.
            };
            let frame = bytes.get(..len).unwrap_or_default();
            if let Some(found) = answer(frame, self.port.mac, &self.addresses)
                && is_of_one(found.mac)
            {
                self.moved.insert(found.address, found.mac);
                self.pass_on(Mono(since.load(Ordering::Acquire)));
            } else if let Some(knock) = Knock::read(frame, &self.addresses) {
                // Whoever has waited too long has knocked again.
                let now = clock::mono();
                while self.held.pop_front_if(|(at, _)| now.since(*at) >= HELD_FOR).is_some() {}
                match self.moved.get(&knock.to).copied() {
                    Some(mac) => self.send(knock, mac),
                    None if self.held.len() < HELD_MAX => {
                        self.held.push_back((at, knock));
                    }
                    None => {}
                }
            }
        }
    }

    /// Those whose address has moved.
    fn pass_on(&mut self, since: Mono) {
        let now = clock::mono();
        for (at, knock) in std::mem::take(&mut self.held) {
            match self.moved.get(&knock.to).copied() {
                Some(mac) if at >= since && now.since(at) < HELD_FOR => self.send(knock, mac),
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

/// The next frame's length, and when it came. (By the kernel's stamp: when it is read is later, and
/// whoever was answered before the door closed must not be sent on, too.)
fn take(socket: &Socket, bytes: &mut [u8]) -> nix::Result<(usize, Mono)> {
    let mut parts = [IoSliceMut::new(bytes)];
    let mut space = nix::cmsg_space!(TimeSpec);
    let flags = MsgFlags::MSG_DONTWAIT;
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut space), flags)?;
    let stamp = message.cmsgs()?.find_map(|control| match control {
        ControlMessageOwned::ScmTimestampns(stamp) => Some(stamp),
        _ => None,
    });
    Ok((message.bytes, stamp.map_or_else(clock::mono, clock::moment_of)))
}

/// Whether an Ethernet address is one machine's: frames for a group would come back.
fn is_of_one(mac: [u8; 6]) -> bool {
    mac[0] & 1 == 0 && mac != [0; 6]
}

fn work(links: &mut [Link], shared: &Shared) {
    let end = clock::mono().after(RELAY_FOR);
    loop {
        let left = end.since(clock::mono());
        if left.is_zero() {
            break;
        }
        let mut fds = vec![PollFd::new(shared.stop.as_fd(), PollFlags::POLLIN)];
        fds.extend(links.iter().map(|link| PollFd::new(link.socket.as_fd(), PollFlags::POLLIN)));
        match ppoll(&mut fds, Some(TimeSpec::from(left)), None) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => std::thread::sleep(Duration::from_millis(1)), // Out of memory.
        }
        if shared.stop.read().is_ok() {
            break;
        }
        for link in &mut *links {
            link.receive(&shared.since);
        }
        if links.iter().all(Link::is_moved) {
            shared.moved.store(true, Ordering::Release);
        }
    }
    let count: usize = links.iter().map(|link| link.relayed).sum();
    info!(count; "beginnings of connections passed on to the new active router");
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
        let (to, ends, len, header_len) = match [*t0, *t1] {
            // RFC 791 3.1. A fragment is no beginning that can be told.
            ETHER_IPV4 => {
                let whole = packet.get(6..8).is_some_and(|f| matches!(f, [0 | 0x40, 0]));
                let tcp = packet.get(9) == Some(&TCP);
                let header_len = usize::from(packet.first()? & 0x0f) * 4;
                let len = u16::from_be_bytes(*packet.get(2..4)?.first_chunk()?);
                let to = IpAddr::from(*packet.get(16..20)?.first_chunk::<4>()?);
                (whole && tcp).then_some((to, packet.get(12..20)?, usize::from(len), header_len))?
            }
            // RFC 8200 3.
            ETHER_IPV6 => {
                let tcp = packet.get(6) == Some(&TCP);
                let len = u16::from_be_bytes(*packet.get(4..6)?.first_chunk()?);
                let to = IpAddr::from(*packet.get(24..40)?.first_chunk::<16>()?);
                tcp.then_some((to, packet.get(8..40)?, usize::from(len) + 40, 40))?
            }
            _ => return None,
        };
        let segment = packet.get(header_len..len).filter(|_| addresses.contains(&to))?;
        let syn = segment.get(13)? & SYN_ACK == SYN;
        let sum = whole_checksum(ends, segment).filter(|_| syn)?;
        // Without what Ethernet has padded it with.
        let mut frame = frame.get(..HEAD_LEN + len)?.to_vec();
        let at = HEAD_LEN + header_len + CHECKSUM_AT;
        frame.get_mut(at..at + 2)?.copy_from_slice(&sum);
        Some(Self { frame, to })
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
/// `ETH_P_ALL`.
const EVERYTHING: u16 = 3;

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
/// `SKF_AD_OFF + SKF_AD_PKTTYPE`.
const PACKET_TYPE: u32 = 0xffff_f000 + 4;
/// `SKF_AD_OFF + SKF_AD_VLAN_TAG_PRESENT`.
const VLAN_TAG_PRESENT: u32 = 0xffff_f000 + 48;
/// `linux/if_packet.h`: to this host, to all, to a group; beyond it others' and our own.
const PACKET_MULTICAST: u32 = 2;

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
            assert_eq!(knock.to, floating()[0]);
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
        assert_eq!(Knock::read(&frame, &floating()).unwrap().to, floating()[1]);
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
