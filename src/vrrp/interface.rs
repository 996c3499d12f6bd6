//! The network interface under a virtual router: is it fit, and what does the kernel say of it?
//!
//! Invariant: an [`Interface`] was up, had carrier and an address of its own when it was found.
//! Deliberately absent: being told of changes (RTNLGRP_LINK); the driver looks again several times
//! a second, which also notices what no message tells.

use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;
use nix::sys::socket::LinkAddr;
use std::net::Ipv4Addr;

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
    pub(super) source: Ipv4Addr,
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
}

impl Interface {
    /// Looks at the interface `name`; `floating` are the addresses that are never its own.
    pub(super) fn find(name: &str, floating: &[Ipv4Addr]) -> Result<Self, InterfaceError> {
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
            if let Some(found) = address.as_sockaddr_in()
                && source.is_none()
                && !floating.contains(&found.ip())
            {
                source = Some(found.ip());
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
        let source = source.ok_or(InterfaceError::NoAddress)?;
        Ok(Self { index, link, mac, source })
    }
}

/// `linux/if_arp.h`.
const ARPHRD_ETHER: u16 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_unfit_is_named() {
        let missing = Interface::find("no-such-link", &[]);
        assert!(matches!(missing, Err(InterfaceError::Missing)), "{missing:?}");
        let loopback = Interface::find("lo", &[]);
        assert!(matches!(loopback, Err(InterfaceError::NotEthernet)), "{loopback:?}");
    }
}
