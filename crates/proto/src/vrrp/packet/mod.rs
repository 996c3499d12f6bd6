//! The VRRP advertisement on the wire: version 3 over IPv4 and IPv6 (RFC 9568 5.2), version 2 over
//! IPv4 (RFC 3768 5.1, with the authentication of RFC 2338 5.3.6 that it took out).
//!
//! ```text
//! v3 |Version| Type  | Virtual Rtr ID|   Priority    |IPvX Addr Count|
//!    |Reserve| Max Advertise Interval|          Checksum             |
//!    |        IPvX addresses, 4 or 16 octets each                    |
//! v2 |Version| Type  | Virtual Rtr ID|   Priority    | Count IP Addrs|
//!    |   Auth Type   |   Adver Int   |          Checksum             |
//!    |        IP addresses, 4 octets each    | 8 octets of password  |
//! ```
//!
//! Invariants: [`decode`] never panics, allocates at most [`ADDRESSES_MAX`] addresses, and accepts
//! nothing that [`encode`] could not have made (reserved bits apart). Deliberately absent: the IP
//! authentication header, the HMAC trailer of keepalived 2.4, any judgement about who sent it.

use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

/// The IP protocol number of VRRP (RFC 9568 5.1.1.4).
pub const PROTOCOL: u8 = 112;

/// The multicast group of VRRP over IPv4 (RFC 9568 5.1.1.2).
pub const GROUP_V4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 18);

/// The multicast group of VRRP over IPv6 (RFC 9568 5.1.2.2).
pub const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x12);

/// RFC 9568 5.1.1.3, 5.1.2.3: sent with this TTL or hop limit, and dropped when it arrives with
/// less: no router forwards an advert that still carries 255, so it comes from the link.
pub const TTL: u8 = 255;

/// Most addresses in one advert: the count is one octet.
pub const ADDRESSES_MAX: usize = 255;

/// The longest advert in octets: version 3 over IPv6.
pub const LEN_MAX: usize = HEADER_LEN + 16 * ADDRESSES_MAX;

/// Octets of a version 2 password.
pub const PASSWORD_LEN: usize = 8;

/// Version of the protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Version {
    /// RFC 3768: IPv4 only, whole seconds, for routers that know nothing else.
    V2,
    /// RFC 9568.
    #[default]
    V3,
}

/// What a version 2 advert proves itself with (RFC 2338 5.3.6). Sent in the clear: it keeps two
/// groups of one number apart by accident, not an enemy out.
#[derive(Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Authentication {
    /// Nothing; 8 zero octets are sent all the same. The only form of version 3.
    #[default]
    None,
    /// A password, filled up with zero octets (keepalived: `auth_type PASS`).
    Password([u8; PASSWORD_LEN]),
}

impl Authentication {
    /// A password of 1 to [`PASSWORD_LEN`] octets; `None` for another length.
    #[must_use]
    pub fn password(text: &str) -> Option<Self> {
        let mut password = [0; PASSWORD_LEN];
        let slot = password.get_mut(..text.len()).filter(|slot| !slot.is_empty())?;
        slot.copy_from_slice(text.as_bytes());
        Some(Self::Password(password))
    }
}

/// The password is not shown.
impl std::fmt::Debug for Authentication {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Password(_) => "Password(..)",
        })
    }
}

/// One advertisement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advert {
    /// Version 2 only carries IPv4 addresses.
    pub version: Version,
    /// Virtual Router ID; 1-255.
    pub vrid: u8,
    /// 255 = owner of the addresses, 1-254 = backs them up, 0 = releases them (RFC 9568 5.2.4).
    pub priority: u8,
    /// The time between two adverts of this sender; whole seconds in version 2.
    pub interval: Interval,
    /// The addresses that the sender stands for; 1-255 of them, of the family that carries them.
    pub addresses: Vec<IpAddr>,
    /// Version 2 only.
    pub authentication: Authentication,
}

/// The time between two adverts, never zero: 10 ms to 40.95 s in version 3 (12 bits of
/// centiseconds), 1 s to 255 s in version 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Interval(u16);

impl Interval {
    /// The protocol's default, one second.
    pub const SECOND: Self = Self(100);

    /// From centiseconds; `None` outside 1-4095.
    #[must_use]
    pub fn from_centis(centis: u16) -> Option<Self> {
        (1..=CENTIS_MAX).contains(&centis).then_some(Self(centis))
    }

    /// From a duration; `None` when it is no whole number of centiseconds within 1-4095.
    #[must_use]
    pub fn from_duration(interval: Duration) -> Option<Self> {
        let nanos = interval.as_nanos();
        let centis = u16::try_from(nanos / 10_000_000).ok()?;
        nanos.is_multiple_of(10_000_000).then(|| Self::from_centis(centis))?
    }

    /// From the seconds of version 2; `None` for zero.
    #[must_use]
    pub fn from_seconds(seconds: u8) -> Option<Self> {
        (seconds > 0).then_some(Self(u16::from(seconds) * 100))
    }

    /// In centiseconds, as version 3 has it on the wire. What is too long for it is cut to 40.95 s.
    #[must_use]
    pub fn centis(self) -> u16 {
        self.0.min(CENTIS_MAX)
    }

    /// In seconds, as version 2 has it on the wire; less than one becomes one.
    #[must_use]
    pub fn seconds(self) -> u8 {
        u8::try_from(self.0 / 100).unwrap_or(u8::MAX).max(1)
    }

    /// As a duration.
    #[must_use]
    pub fn duration(self) -> Duration {
        Duration::from_millis(u64::from(self.0) * 10)
    }
}

/// What the checksum of a version 3 advert over IPv4 covers. RFC 5798 could be read either way;
/// keepalived includes the pseudo-header, RFC 9568 5.2.8 settled on leaving it out. All are
/// accepted, and answered in kind. Version 2 never has a pseudo-header, IPv6 always has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Checksum {
    /// Pseudo-header and message: keepalived's default, and ours.
    #[default]
    WithPseudoHeader,
    /// The message alone: RFC 9568.
    MessageOnly,
    /// As the first, but with the multicast group as destination of a unicast advert: keepalived
    /// before 1.3.6.
    WithGroupHeader,
}

/// How a datagram arrived: what its IP header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// The sender's address.
    pub source: IpAddr,
    /// The address that it was sent to.
    pub destination: IpAddr,
    /// The TTL or hop limit that was left.
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
    /// Another version of the protocol, or version 2 over IPv6.
    #[error("VRRP version {0} is not spoken here")]
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
    /// Neither "none" nor a password; the IP authentication header is not spoken.
    #[error("authentication type {0} is not spoken")]
    Authentication(u8),
}

/// The multicast group of `address`' family.
#[must_use]
pub fn group_of(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => IpAddr::V4(GROUP_V4),
        IpAddr::V6(_) => IpAddr::V6(GROUP_V6),
    }
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
    let version = match (version_type >> 4, arrival.source) {
        (2, IpAddr::V4(_)) => Version::V2,
        (3, _) => Version::V3,
        (other, _) => return Err(DecodeError::Version(other)),
    };
    if version_type & 0x0f != ADVERTISEMENT {
        return Err(DecodeError::Type(version_type & 0x0f));
    }
    let addresses_len = usize::from(count) * address_len(arrival.source);
    let expected = HEADER_LEN + addresses_len + trailer_len(version);
    if bytes.len() != expected {
        return Err(DecodeError::Length { found: bytes.len(), expected });
    }
    let checksum = verify(bytes, arrival, version).ok_or(DecodeError::Checksum)?;
    if vrid == 0 {
        return Err(DecodeError::Vrid);
    }
    if count == 0 {
        return Err(DecodeError::NoAddresses);
    }
    let (addresses, trailer) = rest.split_at_checked(addresses_len).ok_or(short)?;
    let (interval, authentication) = match version {
        // RFC 9568 5.2.6: the reserved bits are ignored.
        Version::V3 => (
            Interval::from_centis(u16::from_be_bytes([interval_high & 0x0f, interval_low])),
            Authentication::None,
        ),
        // RFC 2338 5.3.6, 5.3.7: the octets are type of authentication and interval.
        Version::V2 => {
            (Interval::from_seconds(interval_low), authentication(interval_high, trailer)?)
        }
    };
    let interval = interval.ok_or(DecodeError::Interval)?;
    let addresses = match arrival.source {
        IpAddr::V4(_) => addresses.as_chunks::<4>().0.iter().copied().map(IpAddr::from).collect(),
        IpAddr::V6(_) => addresses.as_chunks::<16>().0.iter().copied().map(IpAddr::from).collect(),
    };
    let advert = Advert { version, vrid, priority, interval, addresses, authentication };
    Ok(Decoded { advert, checksum })
}

fn authentication(kind: u8, trailer: &[u8]) -> Result<Authentication, DecodeError> {
    match (kind, trailer.first_chunk::<PASSWORD_LEN>()) {
        // RFC 2338 5.3.10: ignored without authentication.
        (0, _) => Ok(Authentication::None),
        (1, Some(password)) => Ok(Authentication::Password(*password)),
        _ => Err(DecodeError::Authentication(kind)),
    }
}

/// Encodes an advert for its way from `source` to `destination`, which are of one family. Addresses
/// of the other family, and those beyond [`ADDRESSES_MAX`], are left out: configuration refuses
/// them before.
#[must_use]
pub fn encode(advert: &Advert, source: IpAddr, destination: IpAddr, checksum: Checksum) -> Vec<u8> {
    let fitting = advert.addresses.iter().filter(|a| a.is_ipv4() == source.is_ipv4());
    let addresses: Vec<IpAddr> = fitting.copied().take(ADDRESSES_MAX).collect();
    let count = u8::try_from(addresses.len()).unwrap_or(u8::MAX);
    let (version, interval) = match (advert.version, advert.authentication) {
        (Version::V3, _) => (3, advert.interval.centis().to_be_bytes()),
        (Version::V2, Authentication::None) => (2, [0, advert.interval.seconds()]),
        (Version::V2, Authentication::Password(_)) => (2, [1, advert.interval.seconds()]),
    };
    let len = HEADER_LEN + addresses.len() * address_len(source) + trailer_len(advert.version);
    let mut bytes = Vec::with_capacity(len);
    bytes.extend_from_slice(&[version << 4 | ADVERTISEMENT, advert.vrid, advert.priority, count]);
    bytes.extend_from_slice(&interval);
    bytes.extend_from_slice(&[0, 0]);
    for address in addresses {
        match address {
            IpAddr::V4(address) => bytes.extend_from_slice(&address.octets()),
            IpAddr::V6(address) => bytes.extend_from_slice(&address.octets()),
        }
    }
    match (advert.version, advert.authentication) {
        (Version::V3, _) => {}
        // RFC 2338 5.3.10: set to zero without authentication.
        (Version::V2, Authentication::None) => bytes.extend_from_slice(&[0; PASSWORD_LEN]),
        (Version::V2, Authentication::Password(password)) => bytes.extend_from_slice(&password),
    }
    let mut sum = Sum::default();
    if let Some(to) = covered(checksum, advert.version, source, destination) {
        sum.add_pseudo_header(source, to, bytes.len());
    }
    sum.add(&bytes);
    if let Some(slot) = bytes.get_mut(6..8) {
        slot.copy_from_slice(&(!sum.folded()).to_be_bytes());
    }
    bytes
}

/// The destination in the pseudo-header of this checksum; `None` when there is none.
fn covered(
    checksum: Checksum,
    version: Version,
    source: IpAddr,
    destination: IpAddr,
) -> Option<IpAddr> {
    match (version, source, checksum) {
        // RFC 3768 5.3.8.
        (Version::V2, _, _) => None,
        (Version::V3, _, Checksum::WithGroupHeader) => Some(group_of(source)),
        // RFC 9568 5.2.8: over IPv6 as RFC 8200 8.1 says.
        (Version::V3, IpAddr::V6(_), _) | (Version::V3, _, Checksum::WithPseudoHeader) => {
            Some(destination)
        }
        (Version::V3, IpAddr::V4(_), Checksum::MessageOnly) => None,
    }
}

fn address_len(family: IpAddr) -> usize {
    if family.is_ipv4() { 4 } else { 16 }
}

fn trailer_len(version: Version) -> usize {
    match version {
        Version::V2 => PASSWORD_LEN,
        Version::V3 => 0,
    }
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
        source: IpAddr::from([s0, s1, s2, s3]),
        destination: IpAddr::from([d0, d1, d2, d3]),
        ttl,
    };
    Some((arrival, payload))
}

/// The form in which the checksum holds, if any.
fn verify(bytes: &[u8], arrival: Arrival, version: Version) -> Option<Checksum> {
    let mut message = Sum::default();
    message.add(bytes);
    let Arrival { source, destination, .. } = arrival;
    let holds = |form: &Checksum| {
        let mut sum = message;
        if let Some(to) = covered(*form, version, source, destination) {
            sum.add_pseudo_header(source, to, bytes.len());
        }
        sum.folded() == 0xffff
    };
    [Checksum::WithPseudoHeader, Checksum::MessageOnly, Checksum::WithGroupHeader]
        .into_iter()
        .find(holds)
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

    /// Addresses, length, protocol: in this order, or another with the same sum (RFC 9293 3.1,
    /// RFC 8200 8.1).
    fn add_pseudo_header(&mut self, source: IpAddr, destination: IpAddr, len: usize) {
        for address in [source, destination] {
            match address {
                IpAddr::V4(address) => self.add(&address.octets()),
                IpAddr::V6(address) => self.add(&address.octets()),
            }
        }
        self.add(&[0, PROTOCOL]);
        self.add(&u16::try_from(len).unwrap_or(u16::MAX).to_be_bytes());
    }

    fn folded(self) -> u16 {
        let once = (self.0 >> 16) + (self.0 & 0xffff);
        let twice = (once >> 16) + (once & 0xffff);
        u16::try_from(twice).unwrap_or(u16::MAX)
    }
}

const ADVERTISEMENT: u8 = 1;
const HEADER_LEN: usize = 8;
const CENTIS_MAX: u16 = 0x0fff;

#[cfg(test)]
mod tests;
