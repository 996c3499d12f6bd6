//! What the two appliances of a pair must have alike, as names and values that people can compare.
//!
//! Whatever stands here decides about time or addresses on both sides at once: a pair whose files
//! disagree about it would keep promises to itself that it does not make.

use super::Config;

impl Config {
    /// The settings that must be equal on both appliances, in a fixed order.
    #[must_use]
    pub fn agreement(&self) -> Vec<(String, String)> {
        let mut settings = Vec::new();
        let mut add = |name: String, value: String| settings.push((name, value));
        if let Some(pair) = &self.pair {
            for (name, value) in [
                ("lease_ms", pair.lease),
                ("ack_timeout_ms", pair.ack_timeout),
                ("stability_ms", pair.stability),
                ("heartbeat_ms", pair.heartbeat),
            ] {
                add(format!("[pair] {name}"), value.as_millis().to_string());
            }
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
            let mut addresses: Vec<String> =
                group.addresses.iter().map(|a| format!("{}/{}", a.address, a.prefix)).collect();
            addresses.sort_unstable();
            let advert = group.advert.as_millis();
            // The interface may be called differently; the addresses may stand in any order.
            let what = format!("{} every {advert} ms", addresses.join(" "));
            groups.push((format!("[[vrrp]] vrid {}", group.vrid), what));
        }
        groups.sort_unstable();
        settings.extend(groups);
        settings
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse;

    #[test]
    fn order_and_interfaces_do_not_matter_values_do() {
        let file = |first: &str, second: &str, advert: u32| {
            let text = format!(
                "hostname = \"a\"\n[pair]\nlisten = [\"10.0.0.1:1\"]\npeer = [\"10.0.0.2:1\"]\n\
                 [[vrrp]]\ninterface = \"{first}\"\nvrid = 7\naddress = [\"10.0.0.100/24\", \"10.0.0.101/24\"]\n\
                 advert_ms = {advert}\n\
                 [[vrrp]]\ninterface = \"{second}\"\nvrid = 8\naddress = [\"10.0.1.100/24\"]\n"
            );
            parse(&text).unwrap().agreement()
        };
        let ours = file("eth0", "eth1", 100);
        assert_eq!(ours, file("lan", "wan", 100));
        assert_ne!(ours, file("eth0", "eth1", 200));
        assert!(ours.contains(&("[pair.witness] pin".to_owned(), "none".to_owned())));
    }
}
