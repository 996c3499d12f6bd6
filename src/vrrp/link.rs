//! Ethernet interfaces: one that is there, and one of our own with a virtual router's Ethernet
//! address (RFC 9568 7.3), a macvlan on the first.
//!
//! Invariants: an own interface is up only while its addresses are here, so that no switch learns
//! the virtual Ethernet address from a Backup; its name says whose it is, and one that an earlier
//! process left is replaced. What was changed on the interface under it is put back.
//! Deliberately absent: adverts of unicast groups through it, which keep the interface's own.

use super::address::{AddressError, Addresses};
use super::interface::Interface;
use super::setting::{self, Settings};
use log::warn;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoMacVlan, LinkAttribute, LinkFlags, LinkInfo, LinkMessage, MacVlanMode,
};
use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;
use nix::sys::socket::LinkAddr;
use std::io;

/// An Ethernet interface through which frames go.
#[derive(Clone, Debug)]
pub(super) struct Port {
    /// Its number in the kernel.
    pub(super) index: u32,
    /// In the form that packet sockets bind to.
    pub(super) link: LinkAddr,
    /// Its Ethernet address.
    pub(super) mac: [u8; 6],
}

impl From<&Interface> for Port {
    fn from(interface: &Interface) -> Self {
        Self { index: interface.index, link: interface.link, mac: interface.mac }
    }
}

impl Port {
    /// The interface of this name, whatever its state.
    pub(super) fn find(name: &str) -> nix::Result<Self> {
        let link = getifaddrs()?
            .filter(|entry| entry.interface_name == name)
            .find_map(|entry| entry.address?.as_link_addr().copied())
            .ok_or(Errno::ENODEV)?;
        let index = u32::try_from(link.ifindex()).ok().ok_or(Errno::ENODEV)?;
        let mac = link.addr().ok_or(Errno::ENODEV)?;
        Ok(Self { index, link, mac })
    }
}

/// Why there is no interface for the virtual Ethernet address.
#[derive(Debug, thiserror::Error)]
pub(super) enum LinkError {
    #[error("the interface for the virtual MAC cannot be made: {0}")]
    Netlink(#[from] AddressError),
    #[error("the kernel refuses the interface for the virtual MAC: {0}; does it have macvlan?")]
    Refused(Errno),
    #[error("the interface for the virtual MAC cannot be set up: {path}: {source}")]
    Setting { path: String, source: io::Error },
}

/// An interface of our own.
#[derive(Debug)]
pub(super) struct VirtualLink {
    pub(super) port: Port,
    name: String,
    up: bool,
    /// Settings of the interface under it that it needs.
    needs: Vec<String>,
}

impl VirtualLink {
    /// Makes it, down. `parent` is the interface under it.
    pub(super) fn make(
        netlink: &mut Addresses,
        settings: &mut Settings,
        parent: &str,
        parent_index: u32,
        mac: [u8; 6],
    ) -> Result<Self, LinkError> {
        let [.., family, vrid] = mac;
        let name = format!("vrrp{parent_index}.{family}.{vrid}");
        if let Ok(old) = Port::find(&name) {
            delete(netlink, old.index)?;
        }
        let mut message = LinkMessage::default();
        message.attributes = vec![
            LinkAttribute::IfName(name.clone()),
            LinkAttribute::Link(parent_index),
            LinkAttribute::Address(mac.to_vec()),
            LinkAttribute::LinkInfo(vec![
                LinkInfo::Kind(InfoKind::MacVlan),
                LinkInfo::Data(InfoData::MacVlan(vec![InfoMacVlan::Mode(MacVlanMode::Private)])),
            ]),
        ];
        tell(netlink, RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL)?;
        let port = Port::find(&name).map_err(LinkError::Refused)?;
        let mut made = Self { port, up: false, name: name.clone(), needs: Vec::new() };
        match made.set_up(settings, parent, family == FAMILY_IPV6) {
            Ok(()) => Ok(made),
            Err(error) => {
                made.remove(netlink, settings);
                Err(error)
            }
        }
    }

    /// Both interfaces see each request for an address; each may answer for its own only, and ask
    /// with its own only, or the floating address would be learned with the wrong Ethernet address.
    /// What comes in here goes out through the other, which reverse-path filtering must allow.
    fn set_up(
        &mut self,
        settings: &mut Settings,
        parent: &str,
        ipv6: bool,
    ) -> Result<(), LinkError> {
        let name = &self.name;
        // Its only addresses are the floating ones: no link-local one of its own.
        let bare = set(&format!("ipv6/conf/{name}/addr_gen_mode"), "1");
        if ipv6 {
            bare?;
            return set(&format!("ipv6/conf/{name}/accept_ra"), "0");
        }
        set(&format!("ipv4/conf/{name}/arp_ignore"), "1")?;
        set(&format!("ipv4/conf/{name}/rp_filter"), "2")?;
        for (setting, value) in [("arp_ignore", "1"), ("arp_announce", "2")] {
            let path = format!("ipv4/conf/{parent}/{setting}");
            let setting = |source| LinkError::Setting { path: path.clone(), source };
            settings.change(&path, value).map_err(setting)?;
            self.needs.push(path);
        }
        Ok(())
    }

    /// Brings it up or takes it down; true when that was a change.
    pub(super) fn raise(&mut self, netlink: &mut Addresses, up: bool) -> Result<bool, LinkError> {
        if self.up == up {
            return Ok(false);
        }
        let mut message = LinkMessage::default();
        message.header.index = self.port.index;
        message.header.flags = if up { LinkFlags::Up } else { LinkFlags::empty() };
        message.header.change_mask = LinkFlags::Up;
        tell(netlink, RouteNetlinkMessage::SetLink(message), 0)?;
        self.up = up;
        Ok(true)
    }

    pub(super) fn is_up(&self) -> bool {
        self.up
    }

    /// Whether it is as we left it: nobody has removed it or taken it down.
    pub(super) fn is_whole(&self) -> bool {
        let Ok(mut entries) = getifaddrs() else { return true }; // Not known: no reason to act.
        entries.any(|entry| {
            let index = entry.address.as_ref().and_then(|a| Some(a.as_link_addr()?.ifindex()));
            entry.interface_name == self.name
                && index.is_some_and(|found| u32::try_from(found) == Ok(self.port.index))
                && (!self.up || entry.flags.contains(InterfaceFlags::IFF_UP))
        })
    }

    /// Removes it. Once the interface under it is gone, so is this.
    pub(super) fn remove(self, netlink: &mut Addresses, settings: &mut Settings) {
        if let Err(error) = delete(netlink, self.port.index)
            && !matches!(error, LinkError::Refused(Errno::ENODEV))
        {
            warn!(err:% = error; "interface of a virtual MAC was not removed");
        }
        for path in self.needs {
            settings.release(&path);
        }
    }
}

fn delete(netlink: &mut Addresses, index: u32) -> Result<(), LinkError> {
    let mut message = LinkMessage::default();
    message.header.index = index;
    tell(netlink, RouteNetlinkMessage::DelLink(message), 0)
}

fn tell(
    netlink: &mut Addresses,
    request: RouteNetlinkMessage,
    flags: u16,
) -> Result<(), LinkError> {
    match netlink.ask(request, flags)? {
        None => Ok(()),
        Some(errno) => Err(LinkError::Refused(errno)),
    }
}

fn set(path: &str, value: &str) -> Result<(), LinkError> {
    let setting = |source| LinkError::Setting { path: path.to_owned(), source };
    setting::set(path, value).map_err(setting)
}

/// The fifth octet of a virtual Ethernet address (RFC 9568 7.3).
const FAMILY_IPV6: u8 = 2;
