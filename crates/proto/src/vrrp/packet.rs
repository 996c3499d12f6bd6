//! The VRRP advertisement on the wire (RFC 9568 5.2), version 3 over IPv4.
//!
//! ```text
//!  0                   1                   2                   3
//! |Version| Type  | Virtual Rtr ID|   Priority    |IPvX Addr Count|
//! |Reserve| Max Advertise Interval|          Checksum             |
//! |                  IPvX addresses, 4 octets each                |
//! ```
//!
//! Invariants: [`decode`] never panics, allocates at most [`ADDRESSES_MAX`] addresses, and accepts
//! nothing that [`encode`] could not have made (reserved bits apart). Deliberately absent: version 2
//! and the HMAC trailer of keepalived 2.4, and any judgement about who sent the advert.

use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;
use std::time::Duration;

/// The IP protocol number of VRRP (RFC 9568 5.1.1.4).
pub const PROTOCOL: u8 = 112;

/// The multicast group of VRRP over IPv4 (RFC 9568 5.1.1.2).
pub const GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 18);

/// RFC 9568 5.1.1.3: sent with this TTL, and dropped when it arrives with less: no router forwards
/// an advert that still carries 255, so it comes from the link.
pub const TTL: u8 = 255;

/// Most addresses in one advert: the count is one octet.
pub const ADDRESSES_MAX: usize = 255;

/// The longest advert in octets.
pub const LEN_MAX: usize = HEADER_LEN + 4 * ADDRESSES_MAX;

/// One advertisement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advert {
    /// Virtual Router ID; 1-255.
    pub vrid: u8,
    /// 255 = owner of the addresses, 1-254 = backs them up, 0 = releases them (RFC 9568 5.2.4).
    pub priority: u8,
    /// The time between two adverts of this sender.
    pub interval: Interval,
    /// The addresses that the sender stands for; 1-255 of them.
    pub addresses: Vec<Ipv4Addr>,
}

/// Max Advertise Interval: 12 bits of centiseconds, never zero (10 ms to 40.95 s).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct Interval(u16);

impl Interval {
    /// The protocol's default, one second.
    pub const SECOND: Self = Self(100);

    /// From centiseconds; `None` outside 1-4095.
    #[must_use]
    pub fn from_centis(centis: u16) -> Option<Self> {
        (1..=0x0fff).contains(&centis).then_some(Self(centis))
    }

    /// From a duration; `None` when it is no whole number of centiseconds within 1-4095.
    #[must_use]
    pub fn from_duration(interval: Duration) -> Option<Self> {
        let nanos = interval.as_nanos();
        let centis = u16::try_from(nanos / 10_000_000).ok()?;
        nanos.is_multiple_of(10_000_000).then(|| Self::from_centis(centis))?
    }

    /// In centiseconds, as on the wire.
    #[must_use]
    pub fn centis(self) -> u16 {
        self.0
    }

    /// As a duration.
    #[must_use]
    pub fn duration(self) -> Duration {
        Duration::from_millis(u64::from(self.0) * 10)
    }
}

impl TryFrom<u16> for Interval {
    type Error = &'static str;

    fn try_from(centis: u16) -> Result<Self, Self::Error> {
        Self::from_centis(centis).ok_or("an interval is 1-4095 centiseconds")
    }
}

impl From<Interval> for u16 {
    fn from(interval: Interval) -> Self {
        interval.0
    }
}

/// What the checksum of a version 3 advert over IPv4 covers. RFC 5798 could be read either way;
/// keepalived includes the pseudo-header, RFC 9568 5.2.8 settled on leaving it out. Both are
/// accepted, and answered in kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Checksum {
    /// Pseudo-header and message: keepalived's default, and ours.
    #[default]
    WithPseudoHeader,
    /// The message alone: RFC 9568.
    MessageOnly,
}

/// How a datagram arrived: what its IP header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// The sender's address.
    pub source: Ipv4Addr,
    /// The address that it was sent to.
    pub destination: Ipv4Addr,
    /// The TTL that was left.
    pub ttl: u8,
}

/// An advert that passed every check which needs no configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// The advert.
    pub advert: Advert,
    /// The form in which its checksum holds.
    pub checksum: Checksum,
}

/// Why a datagram is no advert for us (RFC 9568 7.1). Each is dropped and counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// It crossed a router, or pretends that it did not.
    #[error("TTL {found} is below {least}: the advert is not from this link")]
    Ttl {
        /// What was left.
        found: u8,
        /// What is asked for.
        least: u8,
    },
    /// Shorter or longer than its header says.
    #[error("{found} octets where the header announces {expected}")]
    Length {
        /// Octets that came.
        found: usize,
        /// Octets that the header (or the shortest advert) needs.
        expected: usize,
    },
    /// Another version of the protocol.
    #[error("VRRP version {0}, only version 3 is spoken")]
    Version(u8),
    /// RFC 9568 5.2.2: 1, ADVERTISEMENT, is the only type.
    #[error("VRRP type {0} is unknown")]
    Type(u8),
    /// Damaged on its way, or made by something that is not VRRP.
    #[error("the checksum holds neither with nor without the pseudo-header")]
    Checksum,
    /// RFC 9568 5.2.3: 1-255.
    #[error("virtual router id 0 is not allowed")]
    Vrid,
    /// RFC 9568 5.2.5: at least one.
    #[error("the advert names no address")]
    NoAddresses,
    /// An interval of zero would be a promise to advertise without pause.
    #[error("the advertisement interval is 0")]
    Interval,
}

/// Decodes an advert: every check of RFC 9568 7.1 that needs no configuration. `ttl_min` is
/// [`TTL`] for multicast.
///
/// # Errors
/// What is wrong with it; the datagram is then to be ignored.
pub fn decode(bytes: &[u8], arrival: Arrival, ttl_min: u8) -> Result<Decoded, DecodeError> {
    // RFC 9568 5.1.1.3.
    if arrival.ttl < ttl_min {
        return Err(DecodeError::Ttl { found: arrival.ttl, least: ttl_min });
    }
    let short = DecodeError::Length { found: bytes.len(), expected: HEADER_LEN };
    let (header, rest) = bytes.split_first_chunk::<HEADER_LEN>().ok_or(short)?;
    let [version_type, vrid, priority, count, interval_high, interval_low, _, _] = *header;
    if version_type >> 4 != VERSION {
        return Err(DecodeError::Version(version_type >> 4));
    }
    if version_type & 0x0f != ADVERTISEMENT {
        return Err(DecodeError::Type(version_type & 0x0f));
    }
    let expected = HEADER_LEN + 4 * usize::from(count);
    if bytes.len() != expected {
        return Err(DecodeError::Length { found: bytes.len(), expected });
    }
    let checksum = verify(bytes, arrival).ok_or(DecodeError::Checksum)?;
    if vrid == 0 {
        return Err(DecodeError::Vrid);
    }
    if count == 0 {
        return Err(DecodeError::NoAddresses);
    }
    // RFC 9568 5.2.6: the reserved bits are ignored.
    let interval = Interval::from_centis(u16::from_be_bytes([interval_high & 0x0f, interval_low]))
        .ok_or(DecodeError::Interval)?;
    let (addresses, _) = rest.as_chunks::<4>();
    let addresses = addresses.iter().copied().map(Ipv4Addr::from).collect();
    Ok(Decoded { advert: Advert { vrid, priority, interval, addresses }, checksum })
}

/// Encodes an advert for its way from `source` to `destination`. Addresses beyond
/// [`ADDRESSES_MAX`] are left out: configuration refuses them before.
#[must_use]
pub fn encode(
    advert: &Advert,
    source: Ipv4Addr,
    destination: Ipv4Addr,
    checksum: Checksum,
) -> Vec<u8> {
    let addresses = advert.addresses.iter().take(ADDRESSES_MAX);
    let count = u8::try_from(addresses.len()).unwrap_or(u8::MAX);
    let [interval_high, interval_low] = advert.interval.centis().to_be_bytes();
    let head = [(VERSION << 4) | ADVERTISEMENT, advert.vrid, advert.priority, count];
    let tail: Vec<u8> = addresses.flat_map(Ipv4Addr::octets).collect();
    let mut sum = Sum::default();
    if checksum == Checksum::WithPseudoHeader {
        sum.add_pseudo_header(source, destination, HEADER_LEN + tail.len());
    }
    sum.add(&head);
    sum.add(&[interval_high, interval_low]);
    sum.add(&tail);
    let mut bytes = Vec::with_capacity(HEADER_LEN + tail.len());
    bytes.extend_from_slice(&head);
    bytes.extend_from_slice(&[interval_high, interval_low]);
    bytes.extend_from_slice(&(!sum.folded()).to_be_bytes());
    bytes.extend_from_slice(&tail);
    bytes
}

/// Splits a datagram, as a raw IPv4 socket gives it, into what its header says and its payload.
/// `None` when it is no whole IPv4 datagram of protocol 112.
#[must_use]
pub fn split_ip(datagram: &[u8]) -> Option<(Arrival, &[u8])> {
    // RFC 791 3.1.
    let fixed = datagram.first_chunk::<20>()?;
    let [version_ihl, _, len_high, len_low, _, _, _, _, ttl, protocol, _, _, ref addresses @ ..] =
        *fixed;
    let [s0, s1, s2, s3, d0, d1, d2, d3] = *addresses;
    if version_ihl >> 4 != 4 || protocol != PROTOCOL {
        return None;
    }
    let header_len = usize::from(version_ihl & 0x0f) * 4;
    let total_len = usize::from(u16::from_be_bytes([len_high, len_low]));
    if header_len < fixed.len() {
        return None;
    }
    let payload = datagram.get(header_len..total_len)?;
    let arrival = Arrival {
        source: Ipv4Addr::new(s0, s1, s2, s3),
        destination: Ipv4Addr::new(d0, d1, d2, d3),
        ttl,
    };
    Some((arrival, payload))
}

fn verify(bytes: &[u8], arrival: Arrival) -> Option<Checksum> {
    let mut message = Sum::default();
    message.add(bytes);
    let mut whole = message;
    whole.add_pseudo_header(arrival.source, arrival.destination, bytes.len());
    if whole.folded() == 0xffff {
        Some(Checksum::WithPseudoHeader)
    } else if message.folded() == 0xffff {
        Some(Checksum::MessageOnly)
    } else {
        None
    }
}

/// The Internet checksum (RFC 1071) as a running sum of 16-bit words. At most [`LEN_MAX`] octets
/// and a pseudo-header pass through one: 32 bits do not overflow.
#[derive(Clone, Copy, Default)]
struct Sum(u32);

impl Sum {
    /// Adds octets; all but the last call bring an even number of them.
    fn add(&mut self, bytes: &[u8]) {
        let (words, odd) = bytes.as_chunks::<2>();
        for word in words {
            self.0 = self.0.saturating_add(u32::from(u16::from_be_bytes(*word)));
        }
        if let [last] = *odd {
            self.0 = self.0.saturating_add(u32::from(u16::from_be_bytes([last, 0])));
        }
    }

    /// RFC 9293 3.1 describes it: addresses, zero, protocol, length.
    fn add_pseudo_header(&mut self, source: Ipv4Addr, destination: Ipv4Addr, len: usize) {
        self.add(&source.octets());
        self.add(&destination.octets());
        self.add(&[0, PROTOCOL]);
        self.add(&u16::try_from(len).unwrap_or(u16::MAX).to_be_bytes());
    }

    fn folded(self) -> u16 {
        let once = (self.0 >> 16) + (self.0 & 0xffff);
        let twice = (once >> 16) + (once & 0xffff);
        u16::try_from(twice).unwrap_or(u16::MAX)
    }
}

const VERSION: u8 = 3;
const ADVERTISEMENT: u8 = 1;
const HEADER_LEN: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SOURCE: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);
    const VIP: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 100);

    fn hex(text: &str) -> Vec<u8> {
        let digit = |c: u8| u8::try_from(char::from(c).to_digit(16).unwrap()).unwrap();
        text.as_bytes().chunks(2).map(|pair| (digit(pair[0]) << 4) | digit(pair[1])).collect()
    }

    fn arrival(destination: Ipv4Addr) -> Arrival {
        Arrival { source: SOURCE, destination, ttl: 255 }
    }

    fn golden() -> Advert {
        Advert { vrid: 51, priority: 200, interval: Interval::SECOND, addresses: vec![VIP] }
    }

    /// Captured from keepalived 2.2.7; the last one is the first with RFC 9568's checksum.
    #[test]
    fn golden_packets_both_ways() {
        let peer = Ipv4Addr::new(10, 99, 0, 2);
        for (text, destination, form) in [
            ("3133c801006410ad0a630064", GROUP, Checksum::WithPseudoHeader),
            ("3133c8010064e65a0a630064", peer, Checksum::WithPseudoHeader),
            ("3133c8010064fb9f0a630064", GROUP, Checksum::MessageOnly),
        ] {
            let bytes = hex(text);
            let decoded = decode(&bytes, arrival(destination), TTL).unwrap();
            assert_eq!(decoded, Decoded { advert: golden(), checksum: form });
            assert_eq!(encode(&golden(), SOURCE, destination, form), bytes);
        }
    }

    #[test]
    fn version_2_is_refused_by_name() {
        let bytes = hex("2133c80100010c030a6300640000000000000000");
        assert_eq!(decode(&bytes, arrival(GROUP), TTL), Err(DecodeError::Version(2)));
    }

    #[test]
    fn each_check_has_its_error() {
        let sealed = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut bytes = hex("3133c8010064fb9f0a630064");
            change(&mut bytes);
            bytes[6] = 0;
            bytes[7] = 0;
            let mut sum = Sum::default();
            sum.add(&bytes);
            let sum = !sum.folded();
            bytes[6..8].copy_from_slice(&sum.to_be_bytes());
            decode(&bytes, arrival(GROUP), TTL)
        };
        assert!(sealed(&|_| ()).is_ok());
        assert_eq!(sealed(&|b| b[0] = 0x32), Err(DecodeError::Type(2)));
        assert_eq!(sealed(&|b| b[1] = 0), Err(DecodeError::Vrid));
        assert_eq!(sealed(&|b| b[2] = 255).unwrap().advert.priority, 255);
        assert_eq!(sealed(&|b| b[2] = 0).unwrap().advert.priority, 0);
        assert_eq!(
            sealed(&|b| b[3] = 2),
            Err(DecodeError::Length { found: 12, expected: 16 }),
            "announces more than it carries"
        );
        assert_eq!(sealed(&|b| b.push(0)), Err(DecodeError::Length { found: 13, expected: 12 }));
        let no_addresses = |b: &mut Vec<u8>| {
            b[3] = 0;
            b.truncate(8);
        };
        assert_eq!(sealed(&no_addresses), Err(DecodeError::NoAddresses));
        assert_eq!(sealed(&|b| b[5] = 0), Err(DecodeError::Interval));
        // RFC 9568 5.2.6: reserved bits are ignored on reception.
        assert_eq!(sealed(&|b| b[4] = 0xf0).unwrap().advert.interval, Interval::SECOND);

        let mut damaged = hex("3133c801006410ad0a630064");
        damaged[2] ^= 1;
        assert_eq!(decode(&damaged, arrival(GROUP), TTL), Err(DecodeError::Checksum));
        let routed = Arrival { ttl: 254, ..arrival(GROUP) };
        let bytes = hex("3133c801006410ad0a630064");
        assert_eq!(decode(&bytes, routed, TTL), Err(DecodeError::Ttl { found: 254, least: 255 }));
        assert!(decode(&bytes, routed, 254).is_ok());
        assert_eq!(
            decode(&bytes[..7], arrival(GROUP), TTL),
            Err(DecodeError::Length { found: 7, expected: 8 })
        );
    }

    #[test]
    fn intervals_keep_to_their_12_bits() {
        assert_eq!(Interval::from_centis(0), None);
        assert_eq!(Interval::from_centis(4096), None);
        assert_eq!(Interval::from_duration(Duration::from_millis(105)), None);
        assert_eq!(Interval::from_duration(Duration::from_micros(10_001)), None);
        assert_eq!(Interval::from_duration(Duration::from_secs(41)), None);
        let tenth = Interval::from_duration(Duration::from_millis(100)).unwrap();
        assert_eq!((tenth.centis(), tenth.duration()), (10, Duration::from_millis(100)));
    }

    #[test]
    fn an_ip_header_is_split_off() {
        let payload = hex("3133c801006410ad0a630064");
        let mut datagram = hex("45c0002000010000ff7000000a630001e0000012");
        datagram.extend_from_slice(&payload);
        assert_eq!(split_ip(&datagram), Some((arrival(GROUP), payload.as_slice())));
        // With the router-alert option the header is 24 octets long.
        let mut with_option = hex("46c0002400010000ff7000000a630001e000001294040000");
        with_option.extend_from_slice(&payload);
        assert_eq!(split_ip(&with_option), Some((arrival(GROUP), payload.as_slice())));
        assert_eq!(split_ip(&datagram[..31]), None, "cut short");
        datagram[9] = 17;
        assert_eq!(split_ip(&datagram), None, "not VRRP");
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..1200)) {
            drop(decode(&bytes, arrival(GROUP), TTL));
            let _split = split_ip(&bytes);
        }

        /// What is accepted is exactly what would be sent, whatever the reserved bits say.
        #[test]
        fn damaged_adverts_never_panic_and_reencode(
            at in 0usize..12, value: u8, plain: bool,
        ) {
            let form = if plain { Checksum::MessageOnly } else { Checksum::WithPseudoHeader };
            let mut bytes = encode(&golden(), SOURCE, GROUP, form);
            bytes[at] = value;
            if let Ok(found) = decode(&bytes, arrival(GROUP), TTL) {
                prop_assert_eq!(encode(&found.advert, SOURCE, GROUP, found.checksum), bytes);
            }
        }

        #[test]
        fn round_trip(
            vrid in 1u8.., priority: u8, centis in 1u16..4096, source: u32, destination: u32,
            addresses in proptest::collection::vec(any::<u32>(), 1..=255), plain: bool,
        ) {
            let form = if plain { Checksum::MessageOnly } else { Checksum::WithPseudoHeader };
            let (source, destination) = (Ipv4Addr::from(source), Ipv4Addr::from(destination));
            let advert = Advert {
                vrid,
                priority,
                interval: Interval::from_centis(centis).unwrap(),
                addresses: addresses.into_iter().map(Ipv4Addr::from).collect(),
            };
            let bytes = encode(&advert, source, destination, form);
            let found = decode(&bytes, Arrival { source, destination, ttl: 255 }, TTL).unwrap();
            prop_assert_eq!(found.advert, advert);
        }
    }
}
