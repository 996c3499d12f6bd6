//! What passes on a host's interface, read by a small parser that shares nothing with ours.

use super::link::Link;
use nix::ifaddrs::getifaddrs;
use socket2::{Domain, Protocol, Socket, Type};
use std::io::Read;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread::JoinHandle;
use std::time::Duration;
use understudy::vrrp::Checksum;

/// A thread that listens in a host's namespace.
pub(super) struct Capture {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Frames>,
}

impl Capture {
    pub(super) fn start(link: &Link, host: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let (ready, listens) = sync_channel(1);
        let thread = link.inside(host, move || {
            let all = Protocol::from(i32::from(3_u16.to_be()));
            let mut socket = Socket::new(Domain::PACKET, Type::RAW, Some(all)).unwrap();
            socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
            ready.send(()).unwrap();
            let entries = getifaddrs().unwrap();
            let own = entries.filter_map(|entry| entry.address?.as_link_addr()?.addr()).collect();
            let mut frames = Vec::new();
            let mut frame = [0; 2048];
            while !stopped.load(Ordering::Relaxed) {
                if let Ok(len) = socket.read(&mut frame) {
                    frames.push(frame[..len].to_vec());
                }
            }
            Frames { frames, own }
        });
        listens.recv().unwrap();
        Self { stop, thread }
    }

    pub(super) fn stop(self) -> Frames {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

pub(super) struct Frames {
    frames: Vec<Vec<u8>>,
    /// Ethernet addresses of the host that listened.
    own: Vec<[u8; 6]>,
}

/// A VRRP message as it passed.
#[derive(Clone, Debug)]
pub(super) struct Advert {
    /// Sent by another host than the one that listened.
    pub(super) is_ours: bool,
    pub(super) mac: [u8; 6],
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    pub(super) ttl: u8,
    pub(super) class: u8,
    pub(super) vrid: u8,
    pub(super) priority: u8,
    pub(super) payload: Vec<u8>,
}

impl Advert {
    /// Whether it says that this address is its sender's.
    pub(super) fn covers(&self, address: IpAddr) -> bool {
        let octets = match address {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        };
        self.source.is_ipv4() == address.is_ipv4()
            && self.payload[8..].chunks(octets.len()).any(|found| found == octets)
    }

    pub(super) fn hex(&self) -> String {
        self.payload.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl Frames {
    pub(super) fn adverts(&self) -> impl Iterator<Item = Advert> {
        self.frames.iter().filter_map(|frame| advert(frame, &self.own))
    }

    /// Those about `address`, of virtual router `vrid`.
    pub(super) fn adverts_of(&self, vrid: u8, address: IpAddr) -> impl Iterator<Item = Advert> {
        self.adverts().filter(move |a| a.vrid == vrid && a.covers(address))
    }

    /// How often somebody who has no address asked who has `address` (RFC 5227 2.1.1, RFC 4862
    /// 5.4.2) before anybody advertised in virtual router `vrid`.
    pub(super) fn probes_before_advert(&self, address: IpAddr, vrid: u8) -> usize {
        let advertised = |frame: &&Vec<u8>| {
            let found = advert(frame, &self.own);
            found.is_some_and(|advert| advert.vrid == vrid && advert.covers(address))
        };
        let probe = |frame: &&Vec<u8>| match address {
            IpAddr::V4(address) => {
                frame.len() >= 42
                    && frame[12..14] == [8, 6]
                    && frame[28..32] == [0; 4]
                    && frame[38..42] == address.octets()
            }
            IpAddr::V6(address) => {
                frame.len() >= 78
                    && frame[12..14] == [0x86, 0xdd]
                    && frame[20] == 58
                    && frame[22..38] == [0; 16]
                    && frame[54] == 135
                    && frame[62..78] == address.octets()
            }
        };
        let before = self.frames.iter().take_while(|frame| !advertised(frame));
        before.filter(probe).count()
    }

    /// How often `mac` said to all that it has `address`.
    pub(super) fn announced(&self, address: IpAddr, mac: [u8; 6]) -> usize {
        let told = |frame: &&Vec<u8>| match address {
            IpAddr::V4(address) => {
                let octets = address.octets();
                frame[12..14] == [8, 6]
                    && frame[..6] == [0xff; 6]
                    && frame[22..28] == mac
                    && frame[28..32] == octets
                    && frame[38..42] == octets
            }
            IpAddr::V6(address) => {
                frame[12..14] == [0x86, 0xdd]
                    && frame.len() >= 86
                    && frame[..6] == [0x33, 0x33, 0, 0, 0, 1]
                    && frame[20..22] == [58, 255]
                    && frame[54] == 136
                    && frame[58] & 0x20 != 0
                    && frame[62..78] == address.octets()
                    && frame[80..86] == mac
            }
        };
        self.frames.iter().filter(|frame| frame.len() >= 42).filter(told).count()
    }
}

fn advert(frame: &[u8], own: &[[u8; 6]]) -> Option<Advert> {
    let mac = frame[6..12].try_into().unwrap();
    let is_ours = !own.contains(&mac);
    let (source, destination, ttl, class, payload) = match (&frame[12..14], frame[14] >> 4) {
        ([8, 0], 4) if frame[23] == 112 => {
            let start = 14 + 4 * usize::from(frame[14] & 15);
            let end = 14 + usize::from(u16::from_be_bytes([frame[16], frame[17]]));
            let at =
                |from: usize| IpAddr::from(<[u8; 4]>::try_from(&frame[from..from + 4]).unwrap());
            (at(26), at(30), frame[22], frame[15], &frame[start..end])
        }
        ([0x86, 0xdd], 6) if frame[20] == 112 => {
            let at =
                |from: usize| IpAddr::from(<[u8; 16]>::try_from(&frame[from..from + 16]).unwrap());
            let class = (frame[14] << 4) | (frame[15] >> 4);
            let end = 54 + usize::from(u16::from_be_bytes([frame[18], frame[19]]));
            (at(22), at(38), frame[21], class, &frame[54..end])
        }
        _ => return None,
    };
    let payload = payload.to_vec();
    let (vrid, priority) = (payload[1], payload[2]);
    Some(Advert { is_ours, mac, source, destination, ttl, class, vrid, priority, payload })
}

/// Whether the Internet checksum is that of `form`, which version 2 does not know.
pub(super) fn verify(advert: &Advert, form: Checksum) -> bool {
    let mut covered = Vec::new();
    let destination = match (advert.source, form) {
        _ if advert.payload[0] >> 4 != 3 => None,
        (IpAddr::V4(_), Checksum::MessageOnly) => None,
        (IpAddr::V4(_), Checksum::WithGroupHeader) => Some([224, 0, 0, 18].into()),
        _ => Some(advert.destination),
    };
    if let Some(destination) = destination {
        for address in [advert.source, destination] {
            match address {
                IpAddr::V4(address) => covered.extend(address.octets()),
                IpAddr::V6(address) => covered.extend(address.octets()),
            }
        }
        covered.extend([0, 112, 0, u8::try_from(advert.payload.len()).unwrap()]);
    }
    covered.extend(&advert.payload);
    let words = covered.chunks(2).map(|pair| u64::from(pair[0]) * 256 + u64::from(pair[1]));
    words.sum::<u64>() % 0xffff == 0
}
