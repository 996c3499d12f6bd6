//! Adding, refreshing and removing floating addresses through netlink (RFC 3549).
//!
//! Invariants: every request is acknowledged by the kernel before the call returns, or the call
//! fails within [`ANSWER_WAIT`]. Every address carries a lifetime: if this process freezes or dies,
//! the kernel removes the address (DESIGN.md 3, invariant 8). An IPv6 address serves at once: the
//! pair knows that nobody else has it, so no duplicate address detection (RFC 4862 5.4) delays it;
//! and it installs no route, whose lifetime would be the address's, unless there is no other (see
//! [`Place::Own`]). Deliberately absent: listing addresses, routes of their own.

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage,
    NetlinkPayload,
};
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, CacheInfo,
};
use netlink_packet_route::{AddressFamily as RouteFamily, RouteNetlinkMessage};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket,
};
use serde::{Deserialize, Serialize};
use socket2::SockRef;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::str::FromStr;
use std::time::Duration;

/// How long the kernel may take to answer. It does so within the call that asks; this is for a
/// kernel that does not answer at all.
pub(super) const ANSWER_WAIT: Duration = Duration::from_millis(100);

/// A floating address and the length of its network's prefix: `10.0.0.100/24`, `2001:db8::100/64`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FloatingAddress {
    /// The address.
    pub address: IpAddr,
    /// 0-32, or 0-128.
    pub prefix_len: u8,
}

/// Why a text is no floating address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no floating address; write it as 10.0.0.100/24")]
pub struct FloatingAddressError(String);

impl FromStr for FloatingAddress {
    type Err = FloatingAddressError;

    /// Without a length, the prefix is the address alone (/32, /128), as in keepalived.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || FloatingAddressError(text.to_owned());
        let (address, prefix_len) = match text.split_once('/') {
            Some((address, prefix_len)) => (address, Some(prefix_len)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok().ok_or_else(wrong)?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let prefix_len = match prefix_len {
            Some(text) => text.parse().ok().filter(|len| *len <= longest).ok_or_else(wrong)?,
            None => longest,
        };
        let usable = !(address.is_unspecified() || address.is_multicast() || address.is_loopback());
        usable.then_some(Self { address, prefix_len }).ok_or_else(wrong)
    }
}

impl fmt::Display for FloatingAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix_len)
    }
}

/// Why an address could not be added or removed.
#[derive(Debug, thiserror::Error)]
pub enum AddressError {
    /// The request did not leave, or the answer did not come.
    #[error("netlink does not work: {0}; is the process allowed to use it?")]
    Netlink(#[source] Errno),
    /// CAP_NET_ADMIN is missing.
    #[error("changing {0} is not permitted; the process needs CAP_NET_ADMIN")]
    NotPermitted(FloatingAddress),
    /// The interface is gone.
    #[error("the interface of {0} is gone")]
    NoInterface(FloatingAddress),
    /// The kernel said no for another reason.
    #[error("the kernel refuses to change {address}: {errno}")]
    Refused {
        /// Which address.
        address: FloatingAddress,
        /// Why.
        errno: Errno,
    },
    /// Something came that is not an answer.
    #[error("netlink answers what was not asked: {0}")]
    Answer(String),
}

impl AddressError {
    /// An address whose interface is gone is removed.
    pub(super) fn or_gone(self) -> Result<(), Self> {
        if matches!(self, Self::NoInterface(_)) { Ok(()) } else { Err(self) }
    }
}

/// The interface, by its number, that addresses are put on.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place {
    /// One that has addresses and routes of its own.
    Shared(u32),
    /// One of ours that has nothing else. Of link-local addresses there is a network on each
    /// interface (RFC 4291 2.5.6): without a route there, nobody could be answered.
    Own(u32),
}

impl Place {
    fn index(self) -> u32 {
        let (Self::Shared(index) | Self::Own(index)) = self;
        index
    }

    /// Whether the address needs the route of its prefix, which is fe80::/64 then.
    fn routes(self, address: IpAddr) -> bool {
        let local = matches!(address, IpAddr::V6(address) if address.is_unicast_link_local());
        local && matches!(self, Self::Own(_))
    }
}

/// A netlink socket that changes addresses.
#[derive(Debug)]
pub(super) struct Addresses {
    socket: OwnedFd,
    sequence: u32,
}

impl Addresses {
    pub(super) fn open() -> io::Result<Self> {
        let socket = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::NetlinkRoute,
        )?;
        SockRef::from(&socket).set_read_timeout(Some(ANSWER_WAIT))?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Adds `address` for `valid_for` (whole seconds, at least one), or extends its life.
    pub(super) fn hold(
        &mut self,
        place: Place,
        address: FloatingAddress,
        valid_for: Duration,
    ) -> Result<(), AddressError> {
        let seconds = u32::try_from(valid_for.as_secs()).unwrap_or(u32::MAX).max(1);
        let mut lifetime = CacheInfo::default();
        lifetime.ifa_valid = seconds;
        lifetime.ifa_preferred = seconds;
        let mut message = message(place, address);
        message.attributes.push(AddressAttribute::CacheInfo(lifetime));
        if address.address.is_ipv6() {
            message.header.flags = AddressHeaderFlags::Nodad;
            let mut flags = AddressFlags::Nodad;
            flags.set(AddressFlags::Noprefixroute, !place.routes(address.address));
            message.attributes.push(AddressAttribute::Flags(flags));
        }
        let request = RouteNetlinkMessage::NewAddress(message);
        match self.ask(request, NLM_F_CREATE | NLM_F_REPLACE)? {
            None => Ok(()),
            Some(errno) => Err(refusal(address, errno)),
        }
    }

    /// Removes `address`; one that is not there (any more) is removed.
    pub(super) fn remove(
        &mut self,
        place: Place,
        address: FloatingAddress,
    ) -> Result<(), AddressError> {
        let request = RouteNetlinkMessage::DelAddress(message(place, address));
        match self.ask(request, 0)? {
            None | Some(Errno::EADDRNOTAVAIL) => Ok(()),
            Some(errno) => Err(refusal(address, errno)),
        }
    }

    /// Sends a request and waits for its acknowledgement: `None`, or the kernel's reason.
    pub(super) fn ask(
        &mut self,
        request: RouteNetlinkMessage,
        flags: u16,
    ) -> Result<Option<Errno>, AddressError> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
        header.sequence_number = self.sequence;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::from(request));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        let fd = self.socket.as_raw_fd();
        send(fd, &bytes, MsgFlags::empty()).map_err(AddressError::Netlink)?;
        let mut buffer = [0; ANSWER_LEN_MAX];
        for _ in 0..STALE_ANSWERS_MAX {
            let len = recv(fd, &mut buffer, MsgFlags::empty()).map_err(AddressError::Netlink)?;
            let answer = buffer.get(..len).unwrap_or(&buffer);
            let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(answer)
                .map_err(|error| AddressError::Answer(error.to_string()))?;
            // An answer to a request whose wait was over when it came.
            if answer.header.sequence_number != self.sequence {
                continue;
            }
            let NetlinkPayload::Error(error) = answer.payload else {
                return Err(AddressError::Answer("not an acknowledgement".to_owned()));
            };
            return Ok(error.code.map(|code| Errno::from_raw(code.get().saturating_neg())));
        }
        Err(AddressError::Answer("only old answers".to_owned()))
    }
}

fn message(place: Place, address: FloatingAddress) -> AddressMessage {
    let ip = address.address;
    let mut message = AddressMessage::default();
    message.header.family = match ip {
        IpAddr::V4(_) => RouteFamily::Inet,
        IpAddr::V6(_) => RouteFamily::Inet6,
    };
    message.header.prefix_len =
        if place.routes(ip) { LINK_LOCAL_PREFIX } else { address.prefix_len };
    message.header.index = place.index();
    message.attributes = vec![AddressAttribute::Local(ip), AddressAttribute::Address(ip)];
    message
}

fn refusal(address: FloatingAddress, errno: Errno) -> AddressError {
    match errno {
        Errno::EPERM | Errno::EACCES => AddressError::NotPermitted(address),
        Errno::ENODEV => AddressError::NoInterface(address),
        errno => AddressError::Refused { address, errno },
    }
}

/// RFC 4291 2.5.6.
const LINK_LOCAL_PREFIX: u8 = 64;

/// Room for an acknowledgement, which repeats the request, with an explanation.
const ANSWER_LEN_MAX: usize = 4_096;

/// Answers to earlier requests that are skipped before we give up.
const STALE_ANSWERS_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floating_addresses_are_written_with_their_prefix() {
        let parse = |text: &str| text.parse::<FloatingAddress>().map(|a| a.to_string());
        assert_eq!(parse("10.0.0.100/24").unwrap(), "10.0.0.100/24");
        assert_eq!(parse("10.0.0.100").unwrap(), "10.0.0.100/32");
        assert_eq!(parse("2001:db8::100/64").unwrap(), "2001:db8::100/64");
        assert_eq!(parse("fe80::100").unwrap(), "fe80::100/128");
        for wrong in [
            "",
            "10.0.0",
            "10.0.0.1/33",
            "10.0.0.1/",
            "0.0.0.0/0",
            "224.0.0.18/32",
            "::1",
            "ff02::12",
            "fe80::1/129",
        ] {
            assert_eq!(parse(wrong), Err(FloatingAddressError(wrong.to_owned())));
        }
    }

    #[test]
    fn an_interface_that_is_not_there_is_named_as_such() {
        let mut addresses = Addresses::open().unwrap();
        let address = "192.0.2.1/32".parse().unwrap();
        let answer = addresses.hold(Place::Shared(0x7fff_fff0), address, Duration::from_secs(1));
        // Who may not change addresses learns that first.
        assert!(matches!(
            answer,
            Err(AddressError::NoInterface(_) | AddressError::NotPermitted(_))
        ));
    }
}
