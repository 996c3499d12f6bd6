//! What passes on a host's interface, read by a small parser that shares nothing with ours.

use super::link::Link;
use socket2::{Domain, Protocol, Socket, Type};
use std::io::Read;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread::JoinHandle;
use std::time::Duration;

/// A thread that listens in a host's namespace.
pub(super) struct Capture {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Vec<u8>>>,
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
            let mut frames = Vec::new();
            let mut frame = [0; 2048];
            while !stopped.load(Ordering::Relaxed) {
                if let Ok(len) = socket.read(&mut frame) {
                    frames.push(frame[..len].to_vec());
                }
            }
            frames
        });
        listens.recv().unwrap();
        Self { stop, thread }
    }

    pub(super) fn stop(self) -> Frames {
        self.stop.store(true, Ordering::Relaxed);
        Frames(self.thread.join().unwrap())
    }
}

pub(super) struct Frames(Vec<Vec<u8>>);

/// A VRRP message as it passed.
#[derive(Clone, Debug)]
pub(super) struct Advert {
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
    /// Keepalived's priority is never ours, and it is not stopped while the capture runs.
    pub(super) fn is_ours(&self) -> bool {
        matches!(self.priority, 0 | 200)
    }

    pub(super) fn hex(&self) -> String {
        self.payload.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl Frames {
    pub(super) fn adverts(&self) -> impl Iterator<Item = Advert> {
        self.0.iter().filter_map(|frame| advert(frame))
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
        self.0.iter().filter(|frame| frame.len() >= 42).filter(told).count()
    }
}

fn advert(frame: &[u8]) -> Option<Advert> {
    let mac = frame[6..12].try_into().unwrap();
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
    Some(Advert { mac, source, destination, ttl, class, vrid, priority, payload })
}

/// The Internet checksum, with the pseudo-header in version 3.
pub(super) fn verify(advert: &Advert) -> bool {
    let mut covered = Vec::new();
    if advert.payload[0] >> 4 == 3 {
        for address in [advert.source, advert.destination] {
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
