//! The network interface under a virtual router: is it fit, and what does the kernel say of it?
//!
//! Invariant: an [`Interface`] was up, had carrier and an address of its own when it was found.
//! Deliberately absent: being told of changes (RTNLGRP_LINK); the driver looks again several times
//! a second, which also notices what no message tells.

use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;
use nix::sys::socket::LinkAddr;
use std::net::IpAddr;

/// Which address of an interface adverts come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// The first IPv4 address.
    V4,
    /// The first link-local IPv6 address (RFC 9568 5.1.2.1).
    LinkLocal,
    /// The first other IPv6 address, for unicast peers that are not on the link.
    Global,
}

/// A fit interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Interface {
    /// Its number in the kernel.
    pub(super) index: u32,
    /// Its Ethernet address, in the form that packet sockets bind to.
    pub(super) link: LinkAddr,
    /// Its Ethernet address.
    pub(super) mac: [u8; 6],
    /// Its first address that does not float.
    pub(super) source: IpAddr,
}

/// Why an interface is unfit.
#[derive(Debug, thiserror::Error)]
pub(super) enum InterfaceError {
    #[error("the kernel does not list its interfaces: {0}")]
    List(#[source] nix::Error),
    #[error("there is no interface of this name; check `interface` in [[vrrp]]")]
    Missing,
    #[error("the interface is down; `ip link set <interface> up`")]
    Down,
    #[error("the interface has no carrier; check its cable and switch port")]
    NoCarrier,
    #[error("the interface is not Ethernet")]
    NotEthernet,
    #[error("the interface has no IPv4 address of its own besides the floating ones")]
    NoAddress,
    #[error(
        "the interface has no IPv6 address of its own from which VRRP may speak; see `ip -6 address`"
    )]
    NoIpv6Address,
}

impl Interface {
    /// Looks at the interface `name`; `floating` are the addresses that are never its own.
    pub(super) fn find(
        name: &str,
        floating: &[IpAddr],
        wanted: Source,
    ) -> Result<Self, InterfaceError> {
        let mut flags = None;
        let mut link = None;
        let mut source = None;
        for entry in getifaddrs().map_err(InterfaceError::List)? {
            if entry.interface_name != name {
                continue;
            }
            flags = Some(entry.flags);
            let Some(address) = entry.address else { continue };
            if let Some(found) = address.as_link_addr() {
                link = Some(*found);
            }
            let v4 = address.as_sockaddr_in().map(|found| IpAddr::V4(found.ip()));
            let v6 = address.as_sockaddr_in6().map(|found| IpAddr::V6(found.ip()));
            if let Some(found) = v4.or(v6)
                && source.is_none()
                && wanted.fits(found)
                && !floating.contains(&found)
            {
                source = Some(found);
            }
        }
        let flags = flags.ok_or(InterfaceError::Missing)?;
        if !flags.contains(InterfaceFlags::IFF_UP) {
            return Err(InterfaceError::Down);
        }
        if !flags.contains(InterfaceFlags::IFF_RUNNING) {
            return Err(InterfaceError::NoCarrier);
        }
        let link = link.ok_or(InterfaceError::NotEthernet)?;
        let ethernet = link.hatype() == ARPHRD_ETHER && link.halen() == 6;
        let mac = link.addr().filter(|_| ethernet).ok_or(InterfaceError::NotEthernet)?;
        let index = u32::try_from(link.ifindex()).ok().ok_or(InterfaceError::Missing)?;
        let source = source.ok_or(match wanted {
            Source::V4 => InterfaceError::NoAddress,
            Source::LinkLocal | Source::Global => InterfaceError::NoIpv6Address,
        })?;
        Ok(Self { index, link, mac, source })
    }
}

impl Source {
    fn fits(self, address: IpAddr) -> bool {
        match (self, address) {
            (Self::V4, IpAddr::V4(_)) => true,
            (Self::LinkLocal, IpAddr::V6(address)) => address.is_unicast_link_local(),
            (Self::Global, IpAddr::V6(address)) => !address.is_unicast_link_local(),
            _ => false,
        }
    }
}

/// `linux/if_arp.h`.
const ARPHRD_ETHER: u16 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_unfit_is_named() {
        let missing = Interface::find("no-such-link", &[], Source::V4);
        assert!(matches!(missing, Err(InterfaceError::Missing)), "{missing:?}");
        let loopback = Interface::find("lo", &[], Source::V4);
        assert!(matches!(loopback, Err(InterfaceError::NotEthernet)), "{loopback:?}");
    }
}
