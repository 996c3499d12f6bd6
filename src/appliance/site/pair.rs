//! `[floating]`, `[pair]` and `[witness]`: what makes one of two.
//!
//! Invariants: whoever is in a pair has floating addresses and a way to prove that it belongs there;
//! each of the peer's addresses is in a network that this appliance is in too.

use super::Site;
use super::network::{Network, contains, ip};
use super::reader::{Reader, shorten, title};
use crate::base::secret::Secret;
use crate::config::{Cidr, PairSecret};
use std::net::{IpAddr, SocketAddr};

/// Most floating addresses, and most addresses of the peer (those of a link's paths).
const FLOATING_MAX: usize = 16;
const PEERS_MAX: usize = 4;
/// How tokens of `understudy pair token` begin.
const TOKEN_PREFIX: &str = "understudy-";

/// The addresses that move.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Floating {
    /// With the prefix length of their network; at least one.
    pub addresses: Vec<Cidr>,
    /// Virtual router id, 1 to 255.
    pub vrid: u8,
}

/// One of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Node {
    /// The one that makes the pair.
    A,
    /// The one that joins it.
    B,
}

/// By what an appliance gets into its pair.
#[derive(Clone, Debug)]
pub enum Invite {
    /// Both files carry it.
    Secret(PairSecret),
    /// The other appliance has made it.
    Token(Secret<String>),
}

/// The other appliance.
#[derive(Clone, Debug)]
pub struct Pair {
    /// Which one this is.
    pub node: Node,
    /// By what it gets into the pair.
    pub invite: Invite,
    /// Own address and the peer's, cross-link first; at least one.
    pub paths: Vec<(IpAddr, IpAddr)>,
}

/// The third vote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Witness {
    /// Address and port.
    pub address: SocketAddr,
    /// 64 hexadecimal digits.
    pub pin: String,
}

/// `[floating]`.
pub(super) fn floating(r: &mut Reader<'_>, service: &Network) -> Option<Floating> {
    if !r.has("floating") {
        return None;
    }
    let texts = r.texts("floating", "address");
    if texts.is_empty() || texts.len() > FLOATING_MAX {
        r.error(
            r.line("floating", "address"),
            format!("[floating] `address` must name 1 to {FLOATING_MAX} addresses"),
            format!("[floating] `address` muss 1 bis {FLOATING_MAX} Adressen nennen"),
        );
    }
    let mut addresses: Vec<Cidr> = Vec::new();
    for text in &texts {
        let bare = text.value.split_once('/').map_or(text.value.as_str(), |(bare, _)| bare);
        let bare = super::reader::At { value: bare.to_owned(), line: text.line };
        let Some(ip) = ip(r, "floating", "address", &bare) else { continue };
        let home = service.addresses.iter().find(|a| contains(**a, ip));
        let Some(home) = home else {
            r.error(
                text.line,
                format!("[floating] `address` has {ip}, which is in no network of [service] `address`: choose a free address there"),
                format!("[floating] `address` hat {ip}, das liegt in keinem Netz von [service] `address`: dort eine freie Adresse wählen"),
            );
            continue;
        };
        let cidr = Cidr { address: ip, prefix: home.prefix };
        if text.value.contains('/') && Cidr::parse(text.value.trim()) != Some(cidr) {
            let shown = shorten(&text.value);
            r.error(
                text.line,
                format!("[floating] `address` has {shown}, but its network in [service] has /{}: leave the prefix length out", home.prefix),
                format!("[floating] `address` hat {shown}, aber sein Netz in [service] hat /{}: die Präfixlänge weglassen", home.prefix),
            );
        }
        addresses.push(cidr);
    }
    if r.is_absent("floating", "vrid") {
        r.error(
            r.line("floating", "vrid"),
            "[floating] `vrid` is missing: write a number that no other router has, as in vrid = 51",
            "[floating] `vrid` fehlt: eine Nummer hinschreiben, die kein anderer Router hat, etwa vrid = 51",
        );
    }
    let vrid = r.number("floating", "vrid", 1, 255).and_then(|n| u8::try_from(n).ok());
    Some(Floating { addresses, vrid: vrid.unwrap_or(1) })
}

/// `[pair]`.
pub(super) fn pair(
    r: &mut Reader<'_>,
    service: &Network,
    crosslink: Option<&Network>,
) -> Option<Pair> {
    if !r.has("pair") {
        return None;
    }
    let node = r.needed("pair", "node").map(|said| match said.value.as_str() {
        "a" | "A" => Node::A,
        "b" | "B" => Node::B,
        other => {
            let shown = shorten(other);
            r.error(
                said.line,
                format!("[pair] `node` is \"{shown}\": it must be \"a\" or \"b\""),
                format!("[pair] `node` ist \"{shown}\": richtig ist \"a\" oder \"b\""),
            );
            Node::A
        }
    });
    let invite = invite(r);
    let paths = paths(r, service, crosslink);
    Some(Pair { node: node?, invite: invite?, paths })
}

fn invite(r: &mut Reader<'_>) -> Option<Invite> {
    match (r.text("pair", "secret"), r.text("pair", "token")) {
        (Some(secret), None) => match secret.value.parse::<PairSecret>() {
            Ok(secret) => Some(Invite::Secret(secret)),
            Err(e) => {
                r.error(
                    secret.line,
                    format!("[pair] `secret`: {e}"),
                    "[pair] `secret` ist kein Geheimnis eines Paares, oder ein Zeichen fehlt oder ist falsch: \
                     `understudy site-config make` macht es, in beiden Dateien gleich",
                );
                None
            }
        },
        (None, Some(token)) => {
            if !token.value.trim().starts_with(TOKEN_PREFIX) {
                r.error(
                    token.line,
                    "[pair] `token` is no token: `understudy pair token` on the other appliance prints one",
                    "[pair] `token` ist keines: `understudy pair token` auf dem anderen Gerät gibt eines aus",
                );
            }
            Some(Invite::Token(Secret::new(token.value)))
        }
        (Some(_), Some(_)) => {
            r.error(
                r.line("pair", "token"),
                "[pair] has `secret` and `token`: keep `token` where a dead appliance is replaced, else `secret`",
                "[pair] hat `secret` und `token`: `token` behalten, wo ein totes Gerät ersetzt wird, sonst `secret`",
            );
            None
        }
        (None, None) => {
            r.error(
                r.line("pair", "secret"),
                "[pair] has no `secret`: take both files of `understudy site-config make`; or write a `token` where a dead appliance is replaced",
                "[pair] hat kein `secret`: beide Dateien von `understudy site-config make` nehmen; oder `token`, wo ein totes Gerät ersetzt wird",
            );
            None
        }
    }
}

/// Which own address goes with each of the peer's.
fn paths(
    r: &mut Reader<'_>,
    service: &Network,
    crosslink: Option<&Network>,
) -> Vec<(IpAddr, IpAddr)> {
    let peers = r.texts("pair", "peer");
    if peers.is_empty() || peers.len() > PEERS_MAX {
        r.error(
            r.line("pair", "peer"),
            format!("[pair] `peer` must name 1 to {PEERS_MAX} addresses: the other one's own"),
            format!(
                "[pair] `peer` muss 1 bis {PEERS_MAX} Adressen nennen: die eigenen des anderen"
            ),
        );
    }
    let own: Vec<Cidr> =
        crosslink.into_iter().chain([service]).flat_map(|n| n.addresses.iter().copied()).collect();
    let mut paths: Vec<(usize, IpAddr, IpAddr)> = Vec::new();
    for text in &peers {
        let Some(peer) = ip(r, "pair", "peer", text) else { continue };
        let shown = title("pair", "peer");
        if own.iter().any(|a| a.address == peer) {
            r.error(
                text.line,
                format!(
                    "{shown} has {peer}, which is this appliance itself: write the other one's"
                ),
                format!(
                    "{shown} hat {peer}, das ist dieses Gerät selbst: die des anderen hinschreiben"
                ),
            );
        } else if paths.iter().any(|(_, _, known)| *known == peer) {
            r.error(
                text.line,
                format!("{shown} names {peer} twice: keep one"),
                format!("{shown} nennt {peer} zweimal: einmal genügt"),
            );
        } else if let Some((at, a)) = own.iter().enumerate().find(|(_, a)| contains(**a, peer)) {
            if paths.iter().any(|(known, _, _)| *known == at) {
                r.error(
                    text.line,
                    format!(
                        "{shown} has {peer}, the second in one network: keep one of each network"
                    ),
                    format!("{shown} hat {peer}, die zweite in einem Netz: je Netz eine behalten"),
                );
            }
            paths.push((at, a.address, peer));
        } else {
            r.error(
                text.line,
                format!("{shown} has {peer}, which is in no network of [crosslink] or [service] here: look at both files"),
                format!("{shown} hat {peer}, das liegt in keinem Netz von [crosslink] oder [service] hier: beide Dateien prüfen"),
            );
        }
    }
    paths.sort_by_key(|(at, _, _)| *at);
    paths.into_iter().map(|(_, own, peer)| (own, peer)).collect()
}

/// `[witness]`.
pub(super) fn witness(r: &mut Reader<'_>) -> Option<Witness> {
    if !r.has("witness") {
        return None;
    }
    let address = r.needed("witness", "address").and_then(|text| {
        let address = text.value.trim().parse::<SocketAddr>().ok().filter(|a| a.port() != 0);
        if address.is_none() {
            let shown = shorten(&text.value);
            r.error(
                text.line,
                format!("[witness] `address` is \"{shown}\": write address and port, as in \"192.0.2.7:7401\""),
                format!("[witness] `address` ist \"{shown}\": richtig sind Adresse und Port, etwa \"192.0.2.7:7401\""),
            );
        }
        address
    });
    let pin = r.needed("witness", "pin").and_then(|text| {
        let pin = text.value.trim().to_ascii_lowercase();
        let right = pin.len() == 64 && pin.bytes().all(|b| b.is_ascii_hexdigit());
        if !right {
            r.error(
                text.line,
                "[witness] `pin` must be 64 hexadecimal digits: `understudy witness init` prints it there",
                "[witness] `pin` muss aus 64 Hexadezimalziffern bestehen: `understudy witness init` gibt sie dort aus",
            );
        }
        right.then_some(pin)
    });
    Some(Witness { address: address?, pin: pin? })
}

/// Sections that need each other, and addresses that two would have.
pub(super) fn distinct(r: &mut Reader<'_>, site: &Site) {
    for (section, other) in
        [("pair", "floating"), ("floating", "pair"), ("crosslink", "pair"), ("witness", "pair")]
    {
        if r.has(section) && !r.has(other) {
            r.error(
                r.line(section, ""),
                format!("[{section}] needs [{other}] beside it: write that, or leave both out"),
                format!(
                    "[{section}] braucht [{other}] daneben: hinschreiben, oder beide weglassen"
                ),
            );
        }
    }
    let Some(floating) = &site.floating else { return };
    let networks = [Some(&site.service), site.crosslink.as_ref(), site.management.network.as_ref()];
    let own: Vec<IpAddr> =
        networks.iter().flatten().flat_map(|n| n.addresses.iter().map(|a| a.address)).collect();
    let peers: Vec<IpAddr> =
        site.pair.iter().flat_map(|p| p.paths.iter().map(|(_, peer)| *peer)).collect();
    let mut seen: Vec<IpAddr> = Vec::new();
    for ip in floating.addresses.iter().map(|a| a.address) {
        let (en, de) = if own.contains(&ip) {
            ("this appliance's own address", "die eigene Adresse dieses Geräts")
        } else if peers.contains(&ip) {
            ("the other appliance's own address", "die eigene Adresse des anderen Geräts")
        } else if site.service.gateways.contains(&ip) {
            ("the router's address", "die Adresse des Routers")
        } else if seen.contains(&ip) {
            ("there twice", "doppelt da")
        } else {
            seen.push(ip);
            continue;
        };
        r.error(
            r.line("floating", "address"),
            format!("[floating] `address` has {ip}, which is {en}: choose one that no machine has"),
            format!(
                "[floating] `address` hat {ip}, das ist {de}: eine wählen, die keine Maschine hat"
            ),
        );
    }
}
