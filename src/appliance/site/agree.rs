//! Whether the two files of a pair make a pair.
//!
//! Absent on purpose: what each file says by itself ([`super::read`] has seen to that).

use super::pair::{Invite, Pair};
use super::{Site, SiteError};
use crate::config;
use crate::ops::status::Language;
use std::collections::BTreeSet;
use std::net::IpAddr;

/// What does not fit between the two files of a pair; empty when they agree. The language is that of
/// the first.
#[must_use]
pub fn agree(a: &Site, b: &Site) -> Vec<SiteError> {
    let mut found = Found { language: a.language, errors: Vec::new() };
    let (Some(ours), Some(theirs)) = (&a.pair, &b.pair) else {
        found.say(
            "one of the files has no [pair]: two appliances alone need no comparing",
            "eine der Dateien hat kein [pair]: zwei einzelne Geräte muss man nicht vergleichen",
        );
        return found.errors;
    };
    if ours.node == theirs.node {
        found.say(
            "[pair] `node` is the same in both: write \"a\" in one and \"b\" in the other",
            "[pair] `node` ist in beiden gleich: in der einen \"a\" und in der anderen \"b\" schreiben",
        );
    }
    if a.name == b.name {
        found.say(
            "`name` is the same in both: each appliance has its own",
            "`name` ist in beiden gleich: jedes Gerät hat seinen eigenen",
        );
    }
    found.same("`hostname`", a.hostname == b.hostname);
    found.same("[floating]", floating(a) == floating(b));
    found.same("[witness]", a.witness == b.witness);
    if let (Invite::Secret(one), Invite::Secret(other)) = (&ours.invite, &theirs.invite) {
        found.same("[pair] `secret`", one.expose() == other.expose());
    }
    found.reach("A", "B", ours, b);
    found.reach("B", "A", theirs, a);
    for ip in addresses(a).intersection(&addresses(b)) {
        found.say(
            format!("both have the own address {ip}: give each machine its own"),
            format!("beide haben die eigene Adresse {ip}: jeder Maschine eine eigene geben"),
        );
    }
    for (name, ours, theirs) in settings(a, b) {
        found.say(
            format!("{name} is \"{ours}\" in one and \"{theirs}\" in the other: write the same"),
            format!("{name} ist in der einen \"{ours}\" und in der anderen \"{theirs}\": gleich schreiben"),
        );
    }
    found.errors
}

struct Found {
    language: Language,
    errors: Vec<SiteError>,
}

impl Found {
    fn say(&mut self, en: impl Into<String>, de: impl Into<String>) {
        let (en, de) = (en.into(), de.into());
        self.errors.push(SiteError { line: None, language: self.language, en, de });
    }

    fn same(&mut self, what: &str, is_same: bool) {
        if !is_same {
            self.say(
                format!("{what} differs: it must be the same in both files"),
                format!("{what} ist verschieden: es muss in beiden Dateien gleich sein"),
            );
        }
    }

    fn reach(&mut self, from: &str, to: &str, pair: &Pair, other: &Site) {
        let own = addresses(other);
        for (_, peer) in pair.paths.iter().filter(|(_, peer)| !own.contains(peer)) {
            self.say(
                format!("[pair] `peer` of file {from} has {peer}, which is no own address in file {to}"),
                format!("[pair] `peer` der Datei {from} hat {peer}, das ist in Datei {to} keine eigene Adresse"),
            );
        }
    }
}

fn floating(site: &Site) -> Option<(u8, BTreeSet<(IpAddr, u8)>)> {
    let floating = site.floating.as_ref()?;
    let addresses = floating.addresses.iter().map(|a| (a.address, a.prefix));
    Some((floating.vrid, addresses.collect()))
}

/// Own addresses in the networks that the other one is in too.
fn addresses(site: &Site) -> BTreeSet<IpAddr> {
    let networks = [Some(&site.service), site.crosslink.as_ref(), site.management.network.as_ref()];
    networks.iter().flatten().flat_map(|n| n.addresses.iter().map(|a| a.address)).collect()
}

/// Settings that a pair must have alike and that were not compared above.
fn settings(a: &Site, b: &Site) -> Vec<(String, String, String)> {
    let of = |site: &Site| {
        let config = config::parse(&site.understudy_toml);
        config.map(|c| c.agreement([0; 16])).unwrap_or_default()
    };
    let (ours, theirs) = (of(a), of(b));
    let compared = |name: &str| name == "hostname" || name == "[pair.witness] pin";
    let differing = ours.into_iter().filter_map(|(name, value)| {
        let other = theirs.iter().find(|(n, _)| *n == name).map_or("", |(_, other)| other);
        (other != value && !compared(&name) && floating(a) == floating(b))
            .then(|| (name, value, other.to_owned()))
    });
    differing.collect()
}
