//! What the two appliances of a pair must have alike, as names and values that people can compare.
//!
//! Whatever stands here decides about time or addresses on both sides at once: a pair whose files
//! disagree about it would keep promises to itself that it does not make.

use super::{Config, Vrrp, VrrpTakeover};

/// What the key is derived from under which passwords are compared.
const PASSWORD_CONTEXT: &str = "understudy 2026 vrrp password in an agreement";

impl Config {
    /// The settings that must be equal on both appliances of that pair, in a fixed order. They cross
    /// the pair's session and are shown to people: a password is in them as a keyed hash only.
    #[must_use]
    pub fn agreement(&self, id: [u8; 16]) -> Vec<(String, String)> {
        let mut settings = Vec::new();
        let mut add = |name: String, value: String| settings.push((name, value));
        if let Some(pair) = &self.pair {
            // Clients meet the same name on both.
            add("hostname".to_owned(), self.hostname.clone());
            for (name, value) in [
                ("lease_ms", pair.lease),
                ("ack_timeout_ms", pair.ack_timeout),
                ("stability_ms", pair.stability),
                ("heartbeat_ms", pair.heartbeat),
            ] {
                add(format!("[pair] {name}"), value.as_millis().to_string());
            }
            let missed = pair.heartbeats_missed_max.to_string();
            add("[pair] heartbeats_missed_max".to_owned(), missed);
            let silence = pair.session_silence_heartbeats.to_string();
            add("[pair] session_silence_heartbeats".to_owned(), silence);
            let pin = pair.witness.map_or_else(
                || "none".to_owned(),
                |witness| witness.pin.iter().map(|b| format!("{b:02x}")).collect(),
            );
            add("[pair.witness] pin".to_owned(), pin);
            let gone = pair.witness.map_or(0, |witness| witness.gone.as_millis());
            add("[pair.witness] gone_ms".to_owned(), gone.to_string());
        }
        let mut groups: Vec<(String, String)> = Vec::new();
        for group in &self.vrrp {
            // RFC 9568 5.2.3: the same id in both families is two routers.
            let ipv6 = group.addresses.first().is_some_and(|a| a.address.is_ipv6());
            let family = if ipv6 { " of IPv6" } else { "" };
            let name = format!("[[vrrp]] vrid {}{family}", group.vrid);
            groups.push((name.clone(), router(group)));
            if let Some(password) = &group.password {
                groups.push((format!("{name} password"), hidden(password, id)));
            }
        }
        groups.sort_unstable();
        settings.extend(groups);
        settings
    }
}

/// What tells two passwords apart and gives neither away: four bytes of a hash under the pair's id.
fn hidden(password: &str, id: [u8; 16]) -> String {
    let hash = blake3::keyed_hash(&blake3::derive_key(PASSWORD_CONTEXT, &id), password.as_bytes());
    let shown = hash.to_hex().chars().take(8).collect::<String>();
    format!("known by {shown}")
}

/// A virtual router in words. The interface may be called differently, and may ask for another
/// tracking command; the addresses may stand in any order; an origin's priority may differ, so that
/// one of the two appliances goes first; unicast peers are each other's, but both speak by unicast.
fn router(group: &Vrrp) -> String {
    let mut addresses: Vec<String> =
        group.addresses.iter().map(|a| format!("{}/{}", a.address, a.prefix)).collect();
    addresses.sort_unstable();
    let version = if group.version_2 { 2 } else { 3 };
    let mut what = format!(
        "{} every {} ms in version {version}",
        addresses.join(" "),
        group.advert.as_millis()
    );
    if let Some(sync) = &group.sync {
        what.push_str(&format!(" with sync {sync}"));
    }
    if !group.unicast.is_empty() {
        what.push_str(" by unicast");
    }
    if group.virtual_mac {
        what.push_str(" with virtual_mac");
    }
    match group.origin.as_ref().map(|origin| origin.takeover) {
        None => {}
        Some(VrrpTakeover::Never) => what.push_str(" for an origin, takeover never"),
        Some(VrrpTakeover::Confirm) => what.push_str(" for an origin, takeover confirm"),
        Some(VrrpTakeover::Automatic) => what.push_str(" for an origin, takeover automatic"),
    }
    what
}

#[cfg(test)]
mod tests {
    use super::super::parse;

    const ID: [u8; 16] = [7; 16];

    #[test]
    fn order_and_interfaces_do_not_matter_values_do() {
        let file = |first: &str, second: &str, advert: u32| {
            let text = format!(
                "hostname = \"a\"\n[pair]\nlisten = [\"10.0.0.1:1\"]\npeer = [\"10.0.0.2:1\"]\n\
                 [[vrrp]]\ninterface = \"{first}\"\nvrid = 7\naddress = [\"10.0.0.100/24\", \"10.0.0.101/24\"]\n\
                 advert_ms = {advert}\n\
                 [[vrrp]]\ninterface = \"{second}\"\nvrid = 8\naddress = [\"10.0.1.100/24\"]\n"
            );
            parse(&text).unwrap().agreement(ID)
        };
        let ours = file("eth0", "eth1", 100);
        assert_eq!(ours, file("lan", "wan", 100));
        assert_ne!(ours, file("eth0", "eth1", 200));
        assert!(ours.contains(&("[pair.witness] pin".to_owned(), "none".to_owned())));
    }

    /// The settings of a file with these lines in its root, its [pair] and its [[vrrp]].
    fn with(root: &str, pair: &str, vrrp: &str) -> Vec<(String, String)> {
        let text = format!(
            "{root}\n[pair]\nlisten = [\"10.0.0.1:1\"]\npeer = [\"10.0.0.2:1\"]\nack_timeout_ms = 2000\n{pair}\n\
             [[vrrp]]\ninterface = \"eth0\"\nvrid = 7\naddress = [\"10.0.0.100/24\"]\n\
             advert_ms = 1000\n{vrrp}\n"
        );
        parse(&text).unwrap().agreement(ID)
    }

    #[test]
    fn what_both_must_have_alike_is_compared() {
        let root = "hostname = \"a\"";
        let ours = with(root, "", "");
        for (root, pair, vrrp) in [
            ("hostname = \"b\"", "", ""),
            (root, "heartbeats_missed_max = 5", ""),
            (root, "session_silence_heartbeats = 12", ""),
            (root, "", "unicast = [\"10.0.0.2\"]"),
            (root, "", "version = 2"),
            (root, "", "sync = \"all\""),
            (root, "", "virtual_mac = true"),
            (root, "", "kind = \"origin\""),
        ] {
            assert_ne!(with(root, pair, vrrp), ours, "{root} {pair} {vrrp}");
        }
        let unicast = |peer: &str| with(root, "", &format!("unicast = [\"{peer}\"]"));
        assert_eq!(unicast("10.0.0.2"), unicast("10.0.0.3"), "each names the other");
        let origin = |rest: &str| with(root, "", &format!("kind = \"origin\"\n{rest}"));
        assert_ne!(origin("takeover = \"confirm\""), origin("takeover = \"never\""));
        assert_eq!(origin("priority = 10"), origin("priority = 20"), "one of the two goes first");
    }

    #[test]
    fn both_families_of_one_id_have_names_of_their_own() {
        let both = "[[vrrp]]\ninterface = \"eth0\"\nvrid = 7\naddress = [\"2001:db8::1/64\"]";
        let settings = with("hostname = \"a\"", "", both);
        let names: std::collections::BTreeSet<_> = settings.iter().map(|(name, _)| name).collect();
        assert_eq!(names.len(), settings.len(), "{settings:?}");
    }

    #[test]
    fn passwords_are_compared_and_not_told() {
        let of = |password: &str| {
            let vrrp = format!("version = 2\npassword = \"{password}\"");
            with("hostname = \"a\"", "", &vrrp)
        };
        assert_eq!(of("secret"), of("secret"));
        assert_ne!(of("secret"), of("Secret"));
        assert_ne!(of("secret"), with("hostname = \"a\"", "", "version = 2"));
        assert!(!format!("{:?}", of("secret")).contains("secret"));
        assert_ne!(super::hidden("secret", ID), super::hidden("secret", [8; 16]));
    }
}
