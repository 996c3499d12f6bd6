//! Whether a changed site file could cut the way to this machine.
//!
//! Compared is what the files make, not what they say: a comment, or a card that is named in another
//! order, is no change. Keys of SSH count, since they are a way too.

use super::Site;
use toml::{Table, Value};

/// Files of the system on which the way to this machine rests.
const FILES: [&str; 4] = [
    "/run/systemd/network/",
    "/run/understudy/nft.d/",
    "/run/understudy/authorized_keys",
    "/etc/resolv.conf",
];
/// Sections of understudy.toml that do the same.
const SECTIONS: [&str; 5] = ["listen", "management", "console", "pair", "vrrp"];

impl Site {
    /// Whether this machine is reached, and reaches its peer, in the same way under `other`.
    #[must_use]
    pub fn is_reached_as(&self, other: &Self) -> bool {
        files(self) == files(other) && sections(self) == sections(other)
    }
}

fn files(site: &Site) -> Vec<(String, String)> {
    let mut files: Vec<(String, String)> = site
        .files()
        .into_iter()
        .map(|file| (file.path.to_string_lossy().into_owned(), file.text))
        .filter(|(path, _)| FILES.iter().any(|start| path.starts_with(start)))
        .collect();
    files.sort();
    files
}

fn sections(site: &Site) -> Vec<Option<Value>> {
    let table: Table = toml::from_str(&site.understudy_toml).unwrap_or_default();
    SECTIONS.iter().map(|name| table.get(*name).cloned()).collect()
}

#[cfg(test)]
mod tests {
    use crate::appliance::site;

    const PAIR: &str = "name = \"mail-a\"\nhostname = \"mx.example.net\"\n\
        [service]\ninterface = \"eth0\"\nvlan = 20\naddress = [\"10.0.0.1/24\"]\n\
        gateway = \"10.0.0.254\"\ndns = [\"10.0.0.53\"]\n\
        [floating]\naddress = [\"10.0.0.100\"]\nvrid = 51\n\
        [pair]\nnode = \"a\"\npeer = [\"10.0.0.2\"]\n\
        secret = \"pair-AAAAAAAAAAAAAAAAAAAAAAAAAABgexr_\"\n\
        [management]\nfrom = [\"10.0.0.0/24\"]\n[settings]\nlog_level = \"debug\"\n";

    #[test]
    fn what_makes_the_network_counts_and_nothing_else() {
        let site = |text: &str| site::read(text.as_bytes()).unwrap();
        let former = site(PAIR);
        for (from, to) in [
            ("10.0.0.1/24", "10.0.0.3/24"),
            ("10.0.0.1/24", "10.0.0.1/16"),
            ("\"eth0\"", "\"eth1\""),
            ("interface = \"eth0\"", "bond = [\"eth0\", \"eth1\"]"),
            ("vlan = 20", "vlan = 21"),
            (".254", ".253"),
            (".53", ".54"),
            (".100", ".101"),
            ("vrid = 51", "vrid = 52"),
            ("\"10.0.0.2\"", "\"10.0.0.4\""),
            ("10.0.0.0/24", "10.0.0.0/25"),
        ] {
            let changed = PAIR.replacen(from, to, 1);
            assert_ne!(changed, PAIR);
            assert!(!former.is_reached_as(&site(&changed)), "{from} → {to}");
        }
        for (from, to) in [
            ("\"mail-a\"", "\"post-a\""),
            ("mx.example.net", "mail.example.net"),
            ("debug", "info"),
            ("[service]", "# The office.\n[service]"),
            ("vrid = 51", "vrid = 51\n[ntp]\nservers = \"10.0.0.53\""),
            ("name =", "trial_minutes = 30\nname ="),
        ] {
            let changed = PAIR.replacen(from, to, 1);
            assert_ne!(changed, PAIR);
            assert!(former.is_reached_as(&site(&changed)), "{from} → {to}");
        }
    }
}
