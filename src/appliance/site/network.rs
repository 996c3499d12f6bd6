//! `[service]`, `[crosslink]` and `[management]`: cards, VLANs, addresses, routers.
//!
//! Invariants: an address is one that a machine can have in its network, none stands twice, and no
//! network is on two cables, so that each packet has one way.

use super::Site;
use super::reader::{At, Reader, shorten, title};
use crate::config::Cidr;
use std::fmt;
use std::net::IpAddr;

/// Longest name of a network card (Linux IFNAMSIZ), in bytes.
const NAME_LEN_MAX: usize = 15;
/// Names that cards cannot have: the kernel's own, and those that we give.
const OURS: [&str; 4] = ["lo", "service", "crosslink", "management"];
/// Most cards of one bond.
const MEMBERS_MAX: usize = 8;
/// Most addresses of one network, and most networks that may manage.
const ADDRESSES_MAX: usize = 16;
/// Most name servers: what resolvers read (resolv.conf(5)).
const DNS_MAX: usize = 3;

/// A network card.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Nic {
    /// By the name that the kernel and udev give it.
    Name(String),
    /// By the address that it was made with.
    Mac([u8; 6]),
}

impl fmt::Display for Nic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Mac([a, b, c, d, e, g]) => {
                write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
            }
        }
    }
}

/// What a network is plugged into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Port {
    /// One card.
    One(Nic),
    /// Several that work as one.
    Bond {
        /// At least two.
        members: Vec<Nic>,
        /// Whether by LACP (IEEE 802.3ad); otherwise one works and the others wait.
        lacp: bool,
    },
}

/// A network that the appliance is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// Where it is plugged in.
    pub port: Port,
    /// Its VLAN there, 1 to 4094.
    pub vlan: Option<u16>,
    /// Own addresses in it; at least one.
    pub addresses: Vec<Cidr>,
    /// Routers, at most one of a family.
    pub gateways: Vec<IpAddr>,
    /// Name servers; of the service network only.
    pub dns: Vec<IpAddr>,
}

/// Who may reach SSH, metrics and console, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Management {
    /// A network of its own; `None`: that of the service.
    pub network: Option<Network>,
    /// Networks that may; empty: those of the addresses.
    pub from: Vec<Cidr>,
}

/// Whether `ip` is in the network of `cidr`.
pub(super) fn contains(cidr: Cidr, ip: IpAddr) -> bool {
    prefix_of(cidr.address, cidr.prefix).is_some()
        && prefix_of(cidr.address, cidr.prefix) == prefix_of(ip, cidr.prefix)
        && cidr.address.is_ipv4() == ip.is_ipv4()
}

/// Whether two networks have addresses in common.
fn overlap(a: Cidr, b: Cidr) -> bool {
    if a.prefix <= b.prefix { contains(a, b.address) } else { contains(b, a.address) }
}

/// The first `prefix` bits of `ip`.
fn prefix_of(ip: IpAddr, prefix: u8) -> Option<u128> {
    let (bits, len) = match ip {
        IpAddr::V4(ip) => (u128::from(ip.to_bits()), 32_u32),
        IpAddr::V6(ip) => (ip.to_bits(), 128),
    };
    let host = len.checked_sub(u32::from(prefix))?;
    Some(bits.checked_shr(host).unwrap_or_default())
}

/// The network's first address, as `nft` and `.network` files name it.
pub(super) fn network_of(cidr: Cidr) -> Cidr {
    let bits = prefix_of(cidr.address, cidr.prefix).unwrap_or_default();
    let address = match cidr.address {
        IpAddr::V4(_) => {
            let bits = bits.checked_shl(32 - u32::from(cidr.prefix)).unwrap_or_default();
            IpAddr::V4(u32::try_from(bits).unwrap_or_default().into())
        }
        IpAddr::V6(_) => {
            IpAddr::V6(bits.checked_shl(128 - u32::from(cidr.prefix)).unwrap_or_default().into())
        }
    };
    Cidr { address, prefix: cidr.prefix }
}

/// RFC 1122 3.2.1.3: an IPv4 host number is neither all zeros nor all ones, but on links of two
/// (RFC 3021).
fn is_host(cidr: Cidr) -> bool {
    let IpAddr::V4(ip) = cidr.address else { return true };
    let hosts = u32::MAX.checked_shr(u32::from(cidr.prefix)).unwrap_or_default();
    cidr.prefix >= 31 || (ip.to_bits() & hosts != 0 && ip.to_bits() & hosts != hosts)
}

/// `[service]`.
pub(super) fn service(r: &mut Reader<'_>) -> Network {
    let port = port(r, "service");
    if port.is_none() && r.is_absent("service", "interface") && r.is_absent("service", "bond") {
        no_port(r, "service");
    }
    let dns = dns(r);
    let network = network(r, "service", port.unwrap_or_else(nowhere));
    Network { dns, gateways: gateways(r, "service", &network), ..network }
}

/// `[crosslink]`.
pub(super) fn crosslink(r: &mut Reader<'_>) -> Option<Network> {
    if !r.has("crosslink") {
        return None;
    }
    let port = port(r, "crosslink");
    if port.is_none() && r.is_absent("crosslink", "interface") && r.is_absent("crosslink", "bond") {
        no_port(r, "crosslink");
    }
    Some(network(r, "crosslink", port.unwrap_or_else(nowhere)))
}

/// `[management]`.
pub(super) fn management(r: &mut Reader<'_>, service: &Network) -> Management {
    let from = sources(r);
    let own = ["interface", "bond", "vlan", "address", "gateway"];
    if own.iter().all(|key| r.is_absent("management", key)) {
        return Management { network: None, from };
    }
    let port = port(r, "management");
    let elsewhere = port.is_some() || !r.is_absent("management", "vlan");
    let mut network = network(r, "management", port.unwrap_or_else(|| service.port.clone()));
    if !elsewhere {
        network.vlan = service.vlan;
    }
    network.gateways = gateways(r, "management", &network);
    if !network.gateways.is_empty() && from.is_empty() {
        r.error(
            r.line("management", "gateway"),
            "[management] `gateway` leads to the networks of `from`: write those too",
            "[management] `gateway` führt zu den Netzen von `from`: auch diese hinschreiben",
        );
    }
    Management { network: Some(network), from }
}

fn nowhere() -> Port {
    Port::One(Nic::Name(String::new()))
}

fn no_port(r: &mut Reader<'_>, section: &'static str) {
    let shown = title(section, "interface");
    r.error(
        r.line(section, "interface"),
        format!("{shown} is missing: write the network card, as in interface = \"eth0\""),
        format!("{shown} fehlt: die Netzwerkkarte hinschreiben, etwa interface = \"eth0\""),
    );
}

fn port(r: &mut Reader<'_>, section: &'static str) -> Option<Port> {
    let one = r.text(section, "interface");
    let bond = r.texts(section, "bond");
    let lacp = bond_mode(r, section);
    if one.is_some() && !bond.is_empty() {
        let shown = title(section, "interface");
        r.error(
            r.line(section, "bond"),
            format!("{shown} and `bond` are both there: keep one of them"),
            format!("{shown} und `bond` stehen beide da: nur eines davon behalten"),
        );
    }
    if let Some(one) = one {
        return nic(r, section, "interface", &one).map(Port::One);
    }
    if r.is_absent(section, "bond") {
        return None;
    }
    let mut members: Vec<Nic> = Vec::new();
    for member in &bond {
        if let Some(nic) = nic(r, section, "bond", member) {
            if members.contains(&nic) {
                twice(r, section, "bond", member);
            }
            members.push(nic);
        }
    }
    if bond.len() < 2 || bond.len() > MEMBERS_MAX {
        let shown = title(section, "bond");
        r.error(
            r.line(section, "bond"),
            format!("{shown} must name 2 to {MEMBERS_MAX} cards; write one alone as `interface`"),
            format!("{shown} muss 2 bis {MEMBERS_MAX} Karten nennen; eine allein als `interface`"),
        );
    }
    Some(Port::Bond { members, lacp })
}

fn bond_mode(r: &mut Reader<'_>, section: &'static str) -> bool {
    let Some(mode) = r.text(section, "bond_mode") else { return false };
    match mode.value.as_str() {
        "active-backup" => false,
        "802.3ad" => true,
        other => {
            let (title, shown) = (title(section, "bond_mode"), shorten(other));
            r.error(
                mode.line,
                format!("{title} is \"{shown}\": it must be \"active-backup\" or \"802.3ad\""),
                format!("{title} ist \"{shown}\": richtig ist \"active-backup\" oder \"802.3ad\""),
            );
            false
        }
    }
}

fn nic(r: &mut Reader<'_>, section: &str, key: &str, text: &At<String>) -> Option<Nic> {
    let found = mac(&text.value).map(Nic::Mac).or_else(|| {
        let name = &text.value;
        let right = (1..=NAME_LEN_MAX).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
            && name.bytes().next().is_some_and(|b| b.is_ascii_alphabetic())
            && !OURS.contains(&name.as_str());
        right.then(|| Nic::Name(name.clone()))
    });
    if found.is_none() {
        let (title, shown) = (title(section, key), shorten(&text.value));
        r.error(
            text.line,
            format!("{title} is \"{shown}\": write a card, as in \"eth0\", or its MAC address, as in \"52:54:00:12:34:56\""),
            format!("{title} ist \"{shown}\": richtig ist eine Karte, etwa \"eth0\", oder ihre MAC-Adresse, etwa \"52:54:00:12:34:56\""),
        );
    }
    found
}

/// Six pairs of hexadecimal digits with `:` or `-` between them; a unicast address.
fn mac(text: &str) -> Option<[u8; 6]> {
    let mut mac = [0; 6];
    let parts: Vec<&str> = text.split([':', '-']).collect();
    if parts.len() != mac.len() {
        return None;
    }
    for (to, part) in mac.iter_mut().zip(parts) {
        let right = part.len() == 2 && part.bytes().all(|b| b.is_ascii_hexdigit());
        *to = u8::from_str_radix(part, 16).ok().filter(|_| right)?;
    }
    mac.first().is_some_and(|first| first & 1 == 0).then_some(mac)
}

fn network(r: &mut Reader<'_>, section: &'static str, port: Port) -> Network {
    let vlan = r.number(section, "vlan", 1, 4094);
    let mut addresses: Vec<Cidr> = Vec::new();
    let texts = r.texts(section, "address");
    if texts.is_empty() || texts.len() > ADDRESSES_MAX {
        let shown = title(section, "address");
        r.error(
            r.line(section, "address"),
            format!("{shown} must name 1 to {ADDRESSES_MAX} addresses, as in [\"10.0.0.1/24\"]"),
            format!("{shown} muss 1 bis {ADDRESSES_MAX} Adressen nennen, etwa [\"10.0.0.1/24\"]"),
        );
    }
    for text in &texts {
        let Some(cidr) = Cidr::parse(text.value.trim()).filter(|c| c.prefix > 0 && is_host(*c))
        else {
            let (title, shown) = (title(section, "address"), shorten(&text.value));
            r.error(
                text.line,
                format!("{title} has \"{shown}\": write an address of one machine with its prefix length, as in \"10.0.0.1/24\""),
                format!("{title} hat \"{shown}\": richtig ist die Adresse einer Maschine mit Präfixlänge, etwa \"10.0.0.1/24\""),
            );
            continue;
        };
        if addresses.iter().any(|a| a.address == cidr.address) {
            twice(r, section, "address", text);
        }
        addresses.push(cidr);
    }
    Network { port, vlan, addresses, gateways: Vec::new(), dns: Vec::new() }
}

fn gateways(r: &mut Reader<'_>, section: &'static str, network: &Network) -> Vec<IpAddr> {
    let mut gateways: Vec<IpAddr> = Vec::new();
    for text in r.texts(section, "gateway") {
        let (title, shown) = (title(section, "gateway"), shorten(&text.value));
        let Some(ip) = ip(r, section, "gateway", &text) else { continue };
        let link_local = matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
        if !link_local && !network.addresses.iter().any(|a| contains(*a, ip)) {
            r.error(
                text.line,
                format!("{title} is {shown}, which is in no network of `address`: look at both, and at the prefix length"),
                format!("{title} ist {shown} und liegt in keinem Netz von `address`: beide prüfen, auch die Präfixlänge"),
            );
        }
        if network.addresses.iter().any(|a| a.address == ip) {
            r.error(
                text.line,
                format!("{title} is {shown}, which is this appliance itself: write the router's"),
                format!(
                    "{title} ist {shown}, das ist dieses Gerät selbst: die des Routers hinschreiben"
                ),
            );
        }
        if gateways.iter().any(|g| g.is_ipv4() == ip.is_ipv4()) {
            r.error(
                text.line,
                format!("{title} names two routers of one family: keep one"),
                format!("{title} nennt zwei Router desselben Protokolls: einen behalten"),
            );
        }
        gateways.push(ip);
    }
    gateways
}

fn dns(r: &mut Reader<'_>) -> Vec<IpAddr> {
    let texts = r.texts("service", "dns");
    if texts.len() > DNS_MAX {
        r.error(
            r.line("service", "dns"),
            format!("[service] `dns` names {}: at most {DNS_MAX}", texts.len()),
            format!("[service] `dns` nennt {}: höchstens {DNS_MAX}", texts.len()),
        );
    }
    texts.iter().filter_map(|text| ip(r, "service", "dns", text)).collect()
}

/// The networks that may manage. A host number in them is what people write.
fn sources(r: &mut Reader<'_>) -> Vec<Cidr> {
    let texts = r.texts("management", "from");
    if texts.len() > ADDRESSES_MAX {
        let count = texts.len();
        r.error(
            r.line("management", "from"),
            format!("[management] `from` names {count}: at most {ADDRESSES_MAX}"),
            format!("[management] `from` nennt {count}: höchstens {ADDRESSES_MAX}"),
        );
    }
    let mut from = Vec::new();
    for text in &texts {
        match network_text(text.value.trim()) {
            Some(network) => from.push(network),
            None => {
                let shown = shorten(&text.value);
                r.error(
                    text.line,
                    format!("[management] `from` has \"{shown}\": write a network, as in \"10.9.0.0/16\""),
                    format!("[management] `from` hat \"{shown}\": richtig ist ein Netz, etwa \"10.9.0.0/16\""),
                );
            }
        }
    }
    from
}

/// A network or one address; all of a family is `0.0.0.0/0` or `::/0`.
fn network_text(text: &str) -> Option<Cidr> {
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().ok()?;
    let longest = if address.is_ipv4() { 32 } else { 128 };
    let prefix = prefix.map_or(Ok(longest), str::parse).ok().filter(|p| *p <= longest)?;
    Some(network_of(Cidr { address, prefix }))
}

/// An address of one machine.
pub(super) fn ip(
    r: &mut Reader<'_>,
    section: &'static str,
    key: &str,
    text: &At<String>,
) -> Option<IpAddr> {
    let found = text.value.trim().parse::<IpAddr>().ok();
    let found = found.filter(|ip| !ip.is_unspecified() && !ip.is_multicast());
    if found.is_none() {
        let (title, shown) = (title(section, key), shorten(&text.value));
        r.error(
            text.line,
            format!("{title} has \"{shown}\": write an address without prefix length, as in \"10.0.0.2\""),
            format!("{title} hat \"{shown}\": richtig ist eine Adresse ohne Präfixlänge, etwa \"10.0.0.2\""),
        );
    }
    found
}

fn twice(r: &mut Reader<'_>, section: &str, key: &str, text: &At<String>) {
    let (title, shown) = (title(section, key), shorten(&text.value));
    r.error(
        text.line,
        format!("{title} names {shown} twice: keep one"),
        format!("{title} nennt {shown} zweimal: einmal genügt"),
    );
}

/// No network on two cables, no card in two places.
pub(super) fn distinct(r: &mut Reader<'_>, site: &Site) {
    let mut all: Vec<(&'static str, &Network)> = vec![("service", &site.service)];
    all.extend(site.crosslink.iter().map(|n| ("crosslink", n)));
    all.extend(site.management.network.iter().map(|n| ("management", n)));
    let pairs = all.iter().enumerate().flat_map(|(i, b)| all.iter().take(i).map(move |a| (a, b)));
    for ((first, a), (second, b)) in pairs {
        let same = a.port == b.port && a.vlan == b.vlan;
        let common = b.addresses.iter().find(|x| {
            let of = |y: &&Cidr| if same { y.address == x.address } else { overlap(**y, **x) };
            a.addresses.iter().any(|y| of(&y))
        });
        if let Some(common) = common {
            let shown = format!("{}/{}", common.address, common.prefix);
            r.error(
                r.line(second, "address"),
                format!("[{second}] `address` has {shown}, whose network is that of [{first}] too: give each a network of its own"),
                format!("[{second}] `address` hat {shown}, dessen Netz auch das von [{first}] ist: jedem ein eigenes geben"),
            );
        }
        if *second == "crosslink" && same {
            r.error(
                r.line(second, "interface"),
                "[crosslink] is on the cards of [service]: give it another card, or a `vlan`",
                "[crosslink] liegt auf den Karten von [service]: eine andere Karte oder ein `vlan` geben",
            );
        }
        if a.port != b.port
            && let Some(card) =
                cards(&a.port).find(|card| cards(&b.port).any(|other| other == *card))
        {
            r.error(
                r.line(second, "interface").or_else(|| r.line(second, "bond")),
                format!("[{second}] uses {card}, which [{first}] has already"),
                format!("[{second}] benutzt {card}, die [{first}] schon hat"),
            );
        }
    }
}

pub(super) fn cards(port: &Port) -> impl Iterator<Item = &Nic> {
    match port {
        Port::One(nic) => std::slice::from_ref(nic).iter(),
        Port::Bond { members, .. } => members.iter(),
    }
}
