//! The files of the system that a site makes: written under /run and /etc at each start.
//!
//! ```text
//! card (by name, or renamed by its MAC) ─► bond ─► VLAN ─► addresses
//! ```
//!
//! Invariants: pure; the same site gives the same files. A network that stands on a card by its MAC, on a
//! bond or in a VLAN is called as its section is, so that VRRP and the firewall can name it. Addresses
//! are there without a cable too: the peer may be off when this machine starts.

use super::Site;
use super::network::{Network, Nic, Port, cards, contains, network_of};
use super::pair::{Invite, Node};
use crate::base::secret::{Secret, serialize_exposed};
use crate::config::Cidr;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::path::PathBuf;

/// Where the invitation lies that `understudy appliance form` reads.
pub const INVITATION_PATH: &str = "/run/understudy/invitation.toml";
/// The configuration of the program.
const CONFIG_PATH: &str = "/run/understudy/understudy.toml";
/// What opens the recovery menu of the screen: a hash.
const CODE_PATH: &str = "/run/understudy/recovery-code";
const NETWORK_DIR: &str = "/run/systemd/network";
/// SSH, health and metrics, web console.
const MANAGEMENT_PORTS: &str = "{ 22, 9100, 9443 }";
/// The pair's link and its heartbeats.
const PAIR_PORT: u16 = 7400;

/// A file of the system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SystemFile {
    /// Where; its folder may be missing.
    pub path: PathBuf,
    /// Permission bits.
    pub mode: u32,
    /// User and group.
    pub owner: Owner,
    /// Content.
    pub text: String,
}

/// Whose a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// User and group root.
    Root,
    /// User and group understudy.
    Understudy,
}

/// By what this appliance gets into its pair, as a file that only the program can read.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Invitation {
    /// "a" makes the pair, "b" joins it.
    pub node: String,
    /// The secret of both.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "exposed")]
    pub secret: Option<Secret<String>>,
    /// Or a token of the other one.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "exposed")]
    pub token: Option<Secret<String>>,
}

fn exposed<S: serde::Serializer>(secret: &Option<Secret<String>>, s: S) -> Result<S::Ok, S::Error> {
    match secret {
        Some(secret) => serialize_exposed(secret, s),
        None => s.serialize_none(),
    }
}

/// A card or a bond, and what is on it.
struct Base<'s> {
    port: &'s Port,
    name: String,
    /// Networks without a VLAN.
    plain: Vec<&'s Network>,
    /// VLANs: number, name, networks.
    vlans: Vec<(u16, String, Vec<&'s Network>)>,
}

/// How the networks lie on cards, and what the interfaces are called.
pub(super) struct Layout<'s> {
    site: &'s Site,
    bases: Vec<Base<'s>>,
}

impl<'s> Layout<'s> {
    pub(super) fn of(site: &'s Site) -> Self {
        let mut layout = Self { site, bases: Vec::new() };
        let others = [
            ("crosslink", site.crosslink.as_ref()),
            ("management", site.management.network.as_ref()),
        ];
        layout.add("service", &site.service);
        for (role, network) in others {
            if let Some(network) = network {
                layout.add(role, network);
            }
        }
        layout
    }

    fn add(&mut self, role: &str, network: &'s Network) {
        let at = self.bases.iter().position(|b| *b.port == network.port);
        let at = at.unwrap_or_else(|| {
            let name = match &network.port {
                Port::One(Nic::Name(name)) => name.clone(),
                Port::One(Nic::Mac(_)) | Port::Bond { .. } => role.to_owned(),
            };
            let base = Base { port: &network.port, name, plain: Vec::new(), vlans: Vec::new() };
            self.bases.push(base);
            self.bases.len() - 1
        });
        let Some(base) = self.bases.get_mut(at) else { return };
        let Some(id) = network.vlan else { return base.plain.push(network) };
        match base.vlans.iter_mut().find(|(known, ..)| *known == id) {
            Some((.., networks)) => networks.push(network),
            None => base.vlans.push((id, format!("{role}.{id}"), vec![network])),
        }
    }

    /// The interface of the service network.
    pub(super) fn service(&self) -> String {
        self.interface(&self.site.service)
    }

    fn interface(&self, network: &Network) -> String {
        let base = self.bases.iter().find(|b| *b.port == network.port);
        let vlan = |b: &Base<'_>| {
            let vlan = b.vlans.iter().find(|(id, ..)| Some(*id) == network.vlan);
            vlan.map_or_else(|| b.name.clone(), |(_, name, _)| name.clone())
        };
        base.map(vlan).unwrap_or_default()
    }
}

impl Site {
    /// All files of the system that this site makes.
    #[must_use]
    pub fn files(&self) -> Vec<SystemFile> {
        let layout = Layout::of(self);
        let mut files = vec![
            root("/etc/hostname", format!("{}\n", self.name)),
            root(
                "/etc/resolv.conf",
                self.service.dns.iter().map(|ip| format!("nameserver {ip}\n")).collect(),
            ),
        ];
        for base in &layout.bases {
            self.networks(base, &mut files);
        }
        files.push(root("/run/understudy/nft.d/site.nft", self.firewall(&layout)));
        if !self.ntp.is_empty() {
            let text = format!("{HEAD}[Time]\nNTP={}\n", self.ntp.join(" "));
            files.push(root("/run/systemd/timesyncd.conf.d/site.conf", text));
        }
        if !self.authorized_keys.is_empty() {
            let text = self.authorized_keys.iter().map(|key| format!("{key}\n")).collect();
            files.push(root("/run/understudy/authorized_keys", text));
        }
        files.push(SystemFile {
            path: CONFIG_PATH.into(),
            mode: 0o640,
            owner: Owner::Understudy,
            text: self.understudy_toml.clone(),
        });
        files.extend(self.invitation());
        files.extend(self.recovery_code_hash.as_ref().map(|hash| SystemFile {
            path: CODE_PATH.into(),
            mode: 0o400,
            owner: Owner::Root,
            text: format!("{hash}\n"),
        }));
        files
    }

    /// The program runs as a user of its own and cannot read what the site file was applied from.
    fn invitation(&self) -> Option<SystemFile> {
        let pair = self.pair.as_ref()?;
        let (secret, token) = match &pair.invite {
            Invite::Secret(secret) => (Some(Secret::new(secret.to_string())), None),
            Invite::Token(token) => (None, Some(token.clone())),
        };
        let node = if pair.node == Node::A { "a" } else { "b" }.to_owned();
        let text = toml::to_string(&Invitation { node, secret, token }).ok()?;
        Some(SystemFile {
            path: INVITATION_PATH.into(),
            mode: 0o400,
            owner: Owner::Understudy,
            text,
        })
    }

    fn networks(&self, base: &Base<'_>, files: &mut Vec<SystemFile>) {
        let name = &base.name;
        match base.port {
            Port::One(Nic::Name(_)) => {}
            Port::One(Nic::Mac(_)) => {
                let card = cards(base.port).map(matching).collect::<String>();
                let text = format!("{HEAD}[Match]\n{card}\n[Link]\nName={name}\n");
                files.push(network(10, name, "link", text));
            }
            Port::Bond { members, lacp } => {
                let mode = if *lacp {
                    "Mode=802.3ad\nLACPTransmitRate=fast\nTransmitHashPolicy=layer3+4\n"
                } else {
                    "Mode=active-backup\n"
                };
                // Its first card's address. One that is made of the machine's id would be the same on two
                // boards that came with the same id.
                let text = format!(
                    "{HEAD}[NetDev]\nName={name}\nKind=bond\nMACAddress=none\n\n[Bond]\n{mode}MIIMonitorSec=100ms\n"
                );
                files.push(network(10, name, "netdev", text));
                for (i, member) in members.iter().enumerate() {
                    let text = format!(
                        "{HEAD}[Match]\n{}\n[Link]\nRequiredForOnline=no\n\n[Network]\nBond={name}\n",
                        matching(member)
                    );
                    files.push(network(20, &format!("{name}-{}", i + 1), "network", text));
                }
            }
        }
        let vlans =
            base.vlans.iter().map(|(_, name, _)| format!("VLAN={name}\n")).collect::<String>();
        let text = self.addressed(name, &base.plain, &vlans);
        files.push(network(30, name, "network", text));
        for (id, name, networks) in &base.vlans {
            let text = format!("{HEAD}[NetDev]\nName={name}\nKind=vlan\n\n[VLAN]\nId={id}\n");
            files.push(network(10, name, "netdev", text));
            files.push(network(30, name, "network", self.addressed(name, networks, "")));
        }
    }

    /// The .network file of an interface. `KeepConfiguration`: the floating addresses are not
    /// networkd's, and stay when it starts anew.
    fn addressed(&self, name: &str, networks: &[&Network], vlans: &str) -> String {
        let online = if networks.iter().any(|n| **n == self.service) { "no-carrier" } else { "no" };
        let mut text = format!(
            "{HEAD}[Match]\nName={name}\n\n[Link]\nRequiredForOnline={online}\n\n[Network]\n\
             DHCP=no\nIPv6AcceptRA=no\nLLMNR=no\nMulticastDNS=no\nKeepConfiguration=static\n\
             ConfigureWithoutCarrier=yes\n{vlans}"
        );
        let mut routes = String::new();
        for net in networks {
            for address in &net.addresses {
                text.push_str(&format!("Address={}/{}\n", address.address, address.prefix));
            }
            for gateway in &net.gateways {
                if **net == self.service {
                    text.push_str(&format!("Gateway={gateway}\n"));
                    continue;
                }
                let is_near = |to: &Cidr| {
                    net.addresses.iter().any(|a| a.prefix <= to.prefix && contains(*a, to.address))
                };
                let from = self.management.from.iter().filter(|to| !is_near(to));
                for to in from.filter(|to| to.address.is_ipv4() == gateway.is_ipv4()) {
                    let to = format!("{}/{}", to.address, to.prefix);
                    routes.push_str(&format!("\n[Route]\nDestination={to}\nGateway={gateway}\n"));
                }
            }
        }
        text + &routes
    }

    /// Rules for the chains `management` and `pair` of the image's table `inet understudy`.
    fn firewall(&self, layout: &Layout<'_>) -> String {
        let mut text = HEAD.to_owned();
        let network = self.management.network.as_ref().unwrap_or(&self.service);
        let interface = layout.interface(network);
        let own: Vec<Cidr> = network.addresses.iter().map(|a| network_of(*a)).collect();
        let sources = if self.management.from.is_empty() { &own } else { &self.management.from };
        for source in sources {
            let family = family(source.address);
            let to = network.addresses.iter().map(|a| a.address);
            let to = of_family(to, source.address);
            if !to.is_empty() {
                text.push_str(&format!(
                    "add rule inet understudy management iifname \"{interface}\" {family} daddr {{ {to} }} \
                     {family} saddr {}/{} tcp dport {MANAGEMENT_PORTS} accept\n",
                    source.address, source.prefix
                ));
            }
        }
        for (own, peer) in self.pair.iter().flat_map(|p| &p.paths) {
            let family = family(*own);
            text.push_str(&format!(
                "add rule inet understudy pair {family} saddr {peer} {family} daddr {own} \
                 meta l4proto {{ tcp, udp }} th dport {PAIR_PORT} accept\n"
            ));
        }
        text
    }
}

const HEAD: &str = "# Made from site.toml at each start.\n";

fn root(path: &str, text: String) -> SystemFile {
    SystemFile { path: path.into(), mode: 0o644, owner: Owner::Root, text }
}

fn network(order: u8, name: &str, kind: &str, text: String) -> SystemFile {
    root(&format!("{NETWORK_DIR}/{order}-{name}.{kind}"), text)
}

/// How `[Match]` finds a card. A VLAN has its card's address too, but no permanent one.
fn matching(nic: &Nic) -> String {
    match nic {
        Nic::Name(name) => format!("Name={name}\n"),
        Nic::Mac(_) => format!("PermanentMACAddress={nic}\n"),
    }
}

fn family(ip: IpAddr) -> &'static str {
    if ip.is_ipv4() { "ip" } else { "ip6" }
}

fn of_family(ips: impl Iterator<Item = IpAddr>, like: IpAddr) -> String {
    let ips = ips.filter(|ip| ip.is_ipv4() == like.is_ipv4());
    ips.map(|ip| ip.to_string()).collect::<Vec<_>>().join(", ")
}
