//! The example is right, every mistake is answered with its line in both languages, and what is made of
//! a site is what the golden files say (`BLESS=1` rewrites them).

use super::*;
use crate::base::secret::Secret;
use crate::config;
use proptest::prelude::*;
use std::path::Path;

/// An appliance alone, in five lines.
const ALONE: &str = "name = \"mail\"\nhostname = \"mx.example.net\"\n[service]\ninterface = \"eth0\"\naddress = \"10.0.0.1/24\"\n";

fn alone(top: &str, rest: &str) -> String {
    format!("{top}{ALONE}{rest}")
}

fn pair(node: &str, own: u8, other: u8) -> String {
    format!(
        "name = \"mail-{node}\"\nlanguage = \"de\"\nhostname = \"mx.example.net\"\n\
         [service]\nbond = [\"eth0\", \"52:54:00:AA:00:0{own}\"]\nbond_mode = \"802.3ad\"\nvlan = 20\n\
         address = [\"10.0.0.{own}/24\", \"2001:db8::{own}/64\"]\ngateway = [\"10.0.0.254\", \"fe80::1\"]\n\
         dns = [\"10.0.0.53\", \"2001:db8::53\"]\n\
         [crosslink]\ninterface = \"52-54-00-BB-00-0{own}\"\naddress = \"10.0.1.{own}/30\"\n\
         [management]\nvlan = 30\naddress = \"10.9.0.{own}/24\"\ngateway = \"10.9.0.254\"\nfrom = [\"10.9.0.0/24\", \"10.8.1.2/16\"]\n\
         [floating]\naddress = [\"10.0.0.100\", \"2001:db8::100/64\"]\nvrid = 51\n\
         [pair]\nnode = \"{node}\"\npeer = [\"10.0.0.{other}\", \"10.0.1.{other}\"]\n\
         secret = \"{SECRET}\"\n\
         [witness]\naddress = \"192.0.2.7:7401\"\npin = \"{}\"\n\
         [ssh]\nauthorized_keys = [\"{KEY}\"]\n[ntp]\nservers = [\"ntp.example.net\", \"10.0.0.53\"]\n\
         [settings]\nlog_level = \"debug\"\n[settings.smtp]\nrelay = \"smarthost.example.net:25\"\n",
        "ab".repeat(32)
    )
}

const SECRET: &str = "pair-AAAAAAAAAAAAAAAAAAAAAAAAAABgexr_";
const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPuD6kW2QkD0v4b8Xn0sJt2xW7Zl4t0sQe3G5s9a1b2c anna@office";

fn errors(text: &str) -> Vec<String> {
    read(text.as_bytes()).unwrap_err().iter().map(ToString::to_string).collect()
}

fn committed(name: &str, made: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, made).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(found, made, "run `BLESS=1 cargo test appliance::site` and commit {name}");
}

#[test]
fn the_committed_examples_are_the_generated_ones_and_right() {
    committed("configs/site.example.toml", &example(Language::En));
    committed("configs/site.beispiel.toml", &example(Language::De));
    for language in [Language::En, Language::De] {
        let site = read(example(language).as_bytes()).unwrap();
        assert_eq!((site.name.as_str(), site.language), ("mail-a", language));
        assert!(example(language).lines().all(|l| l.chars().count() <= 100));
    }
}

#[test]
fn every_key_of_the_example_is_known() {
    // Uncommented, all keys are there: what is then wrong is their values, never their names.
    let all: String = example(Language::En)
        .lines()
        .map(|l| match l.strip_prefix('#') {
            Some(rest) if !rest.starts_with(' ') && !rest.is_empty() => format!("{rest}\n"),
            _ => format!("{l}\n"),
        })
        .collect();
    for error in errors(&all) {
        assert!(!error.contains("unknown") && !error.contains("cannot be read"), "{error}");
    }
}

#[test]
fn golden() {
    let plain = read(ALONE.as_bytes()).unwrap();
    let a = read(pair("a", 1, 2).as_bytes()).unwrap();
    let mac = "[service]\ninterface = \"52:54:00:00:00:01\"\naddress = \"10.0.0.1/24\"\n[management]\nfrom = \"0.0.0.0/0\"\n[ssh]\n";
    let mac =
        read(format!("name = \"m\"\nhostname = \"mx.example.net\"\n{mac}").as_bytes()).unwrap();
    for (name, site) in [("alone", plain), ("pair", a), ("mac", mac)] {
        let files = site
            .files()
            .into_iter()
            .map(|f| format!("=== {} {:o} {:?}\n{}", f.path.display(), f.mode, f.owner, f.text));
        committed(&format!("src/appliance/site/golden/{name}.txt"), &files.collect::<String>());
        assert!(config::parse(&site.understudy_toml).is_ok());
    }
}

#[test]
fn what_the_program_gets_is_what_the_site_says() {
    let site = read(pair("b", 2, 1).as_bytes()).unwrap();
    let config = config::parse(&site.understudy_toml).unwrap();
    let at = |text: &str| text.parse::<std::net::SocketAddr>().unwrap();
    let link = config.pair.unwrap();
    assert_eq!(link.listen, [at("10.0.1.2:7400"), at("10.0.0.2:7400")], "the cross-link first");
    assert_eq!(link.peer, [at("10.0.1.1:7400"), at("10.0.0.1:7400")]);
    assert_eq!(link.witness.unwrap().address, at("192.0.2.7:7401"));
    assert_eq!(config.management.address, at("10.9.0.2:9100"));
    assert_eq!(config.vrrp.len(), 2);
    assert!(config.vrrp.iter().all(|g| g.interface == "service.20" && g.sync.is_some()));
    assert_eq!(config.log_level, log::LevelFilter::Debug);
    assert_eq!(config.smtp.relay.unwrap().host, "smarthost.example.net");
    let invitation =
        site.files().into_iter().find(|f| f.path.ends_with("invitation.toml")).unwrap();
    assert_eq!((invitation.mode, invitation.owner), (0o400, Owner::Understudy));
    let invitation: Invitation = toml::from_str(&invitation.text).unwrap();
    assert_eq!(invitation.node, "b");
    assert_eq!(invitation.secret.unwrap().expose(), SECRET);
    let alone = read(ALONE.as_bytes()).unwrap();
    assert!(alone.files().iter().all(|f| !f.path.ends_with("invitation.toml")));
    assert_eq!(config::parse(&alone.understudy_toml).unwrap().listen.addresses.len(), 1);
}

#[test]
fn the_recovery_code_is_kept_as_a_hash() {
    let text = alone("# Gerät\r\nrecovery_code = \"4821-9937-0142\" # note it\n", "");
    let site = read(text.as_bytes()).unwrap();
    let hash = site.recovery_code_hash.clone().unwrap();
    assert!(code_fits(&hash, &Secret::new("482199370142".to_owned())));
    assert!(code_fits(&hash, &Secret::new(" 4821 9937 0142\n".to_owned())));
    assert!(!code_fits(&hash, &Secret::new("4821-9937-0143".to_owned())));
    assert!(!code_fits("nonsense", &Secret::new("4821-9937-0142".to_owned())));
    let kept = site.applied();
    assert!(!kept.contains("9937") && !kept.contains('\r') && kept.contains("# note it"), "{kept}");
    let again = read(kept.as_bytes()).unwrap();
    assert_eq!(again.recovery_code_hash.unwrap(), hash);
    assert_eq!(again.applied, kept, "a file that was applied stays as it is");
    assert!(!format!("{site:?}").contains("9937"));
}

#[test]
fn mistakes_get_line_and_advice() {
    for (text, expected) in mistakes() {
        let shown = errors(&text).join("\n");
        assert!(shown.contains(expected), "{text}\n shows {shown}\nlacks {expected}");
    }
}

#[expect(clippy::too_many_lines, reason = "a table")]
fn mistakes() -> Vec<(String, &'static str)> {
    vec![
        (alone("adress = 1\n", ""), "line 1: unknown key `adress`; "),
        (alone("hostnam = \"a\"\n", ""), "line 1: unknown key `hostnam`; did you mean `hostname`?"),
        (alone("vrid = 5\n", ""), "line 1: unknown key `vrid`; it belongs in [floating]"),
        (
            alone("", "name = \"a\"\n"),
            "line 6: unknown key `name` in [service]; it belongs at the top",
        ),
        (alone("", "[servcie]\n"), "line 6: unknown section `servcie`; did you mean `service`?"),
        (
            alone("colour = 3\n", ""),
            "line 1: unknown key `colour`; `understudy site-config example`",
        ),
        (
            alone("language = 1\n", ""),
            "line 1: `language` must be a text in quotes, as in language = \"en\"",
        ),
        (
            alone("", "vlan = \"20\"\n"),
            "line 6: [service] `vlan` must be a whole number without quotes",
        ),
        (alone("", "dns = 5\n"), "line 6: [service] `dns` must be a list of texts"),
        (alone("disk = 5\n", ""), "line 1: `disk` is a section: write [disk]"),
        (alone("a = = 3\n", ""), "line 1: this line cannot be read ("),
        (alone("x = \u{201e}mail\u{201c}\n", ""), "line 1: the quotes are typographic"),
        (alone("language = \"fr\"\n", ""), "line 1: `language` is \"fr\""),
        (ALONE.replace("\"mail\"", "\"mail a\""), "line 1: `name` is \"mail a\""),
        (ALONE.replace("mx.example.net", "mx"), "line 2: `hostname` is \"mx\": write a full name"),
        (
            ALONE.replace("name = \"mail\"\n", ""),
            "`name` is missing: write it, as in name = \"mail-a\"",
        ),
        (alone("recovery_code = \"1234\"\n", ""), "line 1: `recovery_code` must have at least 8"),
        (ALONE.replace("interface = \"eth0\"\n", ""), "line 3: [service] `interface` is missing"),
        (ALONE.replace("eth0", "lo"), "line 4: [service] `interface` is \"lo\": write a card"),
        (ALONE.replace("eth0", "01:00:5e:00:00:01"), "line 4: [service] `interface` is"),
        (
            alone("", "bond = [\"eth1\", \"eth2\"]\n"),
            "line 6: [service] `interface` and `bond` are both there",
        ),
        (
            ALONE.replace("interface = \"eth0\"", "bond = [\"eth1\", \"eth1\"]"),
            "[service] `bond` names eth1 twice",
        ),
        (ALONE.replace("interface = \"eth0\"", "bond = \"eth1\""), "must name 2 to 8 cards"),
        (alone("", "bond_mode = \"lacp\"\n"), "line 6: [service] `bond_mode` is \"lacp\""),
        (alone("", "vlan = 4095\n"), "line 6: [service] `vlan` is 4095: it must be 1 to 4094"),
        (ALONE.replace("10.0.0.1/24", "10.0.0.1"), "line 5: [service] `address` has \"10.0.0.1\""),
        (ALONE.replace("10.0.0.1/24", "10.0.0.0/24"), "write an address of one machine"),
        (ALONE.replace("10.0.0.1/24", "10.0.0.255/24"), "write an address of one machine"),
        (
            alone("", "gateway = \"10.0.1.254\"\n"),
            "line 6: [service] `gateway` is 10.0.1.254, which is in no network",
        ),
        (alone("", "gateway = \"10.0.0.1\"\n"), "which is this appliance itself"),
        (alone("", "gateway = [\"10.0.0.2\", \"10.0.0.3\"]\n"), "two routers of one family"),
        (alone("", "dns = [\"a\"]\n"), "line 6: [service] `dns` has \"a\""),
        (
            alone("", "dns = [\"10.0.0.1\", \"10.0.0.2\", \"10.0.0.3\", \"10.0.0.4\"]\n"),
            "at most 3",
        ),
        (alone("", "[management]\nfrom = \"all\"\n"), "line 7: [management] `from` has \"all\""),
        (
            alone("", "[management]\ninterface = \"eth1\"\naddress = \"10.0.0.2/24\"\n"),
            "whose network is that of [service] too",
        ),
        (
            alone("", "[management]\ngateway = \"10.0.0.254\"\naddress = \"10.1.0.1/24\"\n"),
            "write those too",
        ),
        (alone("", "[disk]\nencryption = \"yes\"\n"), "line 7: [disk] `encryption` is \"yes\""),
        (alone("", "[disk]\ndevice = \"sda\"\n"), "line 7: [disk] `device` has \"sda\""),
        (alone("", "[disk]\nmirror = [\"/dev/a\", \"/dev/a\"]\n"), "must name two different disks"),
        (
            alone("", "[disk]\ndevice = \"/dev/a\"\nmirror = [\"/dev/b\", \"/dev/c\"]\n"),
            "keep one of them",
        ),
        (
            alone("", "[ssh]\nauthorized_keys = \"ssh-rsa AAAA\"\n"),
            "line 7: [ssh] `authorized_keys` has",
        ),
        (alone("", "[ntp]\nservers = [\"a b\"]\n"), "line 7: [ntp] `servers` has \"a b\""),
        (
            alone("", "[settings.smtp]\nidle_timeot_ms = 1\n"),
            "line 7: in [settings]: unknown key `idle_timeot_ms`",
        ),
        (
            alone("", "[settings.store]\nreserve_mib = 1\n"),
            "line 7: in [settings]: [store] `reserve_mib`",
        ),
        (
            alone("", "[settings]\nhostname = \"a.b\"\n"),
            "line 7: `settings.hostname` is made from the rest",
        ),
        (
            alone("", "[settings.listen]\naddresses = []\n"),
            "line 7: `settings.listen.addresses` is made",
        ),
        (alone("", "[pair]\n"), "line 6: [pair] needs [floating] beside it"),
        (alone("", "[floating]\n"), "line 6: [floating] needs [pair] beside it"),
    ]
}

#[test]
fn mistakes_of_a_pair_get_line_and_advice() {
    let a = pair("a", 1, 2);
    for (from, to, expected) in [
        ("node = \"a\"", "node = \"c\"", "Zeile 23: [pair] `node` ist \"c\""),
        ("vrid = 51", "vrid = 256", "Zeile 21: [floating] `vrid` ist 256"),
        ("vrid = 51\n", "", "[floating] `vrid` fehlt"),
        (
            "\"10.0.0.100\"",
            "\"10.0.9.100\"",
            "Zeile 20: [floating] `address` hat 10.0.9.100, das liegt in keinem Netz",
        ),
        ("\"10.0.0.100\"", "\"10.0.0.1\"", "das ist die eigene Adresse dieses Geräts"),
        ("\"10.0.0.100\"", "\"10.0.0.2\"", "das ist die eigene Adresse des anderen"),
        ("\"10.0.0.100\"", "\"10.0.0.254\"", "das ist die Adresse des Routers"),
        ("\"10.0.0.100\"", "\"10.0.0.100/25\"", "hat /24: die Präfixlänge weglassen"),
        ("peer = [\"10.0.0.2\"", "peer = [\"10.0.0.1\"", "das ist dieses Gerät selbst"),
        ("peer = [\"10.0.0.2\"", "peer = [\"10.3.0.2\"", "liegt in keinem Netz von [crosslink]"),
        ("peer = [\"10.0.0.2\"", "peer = [\"10.0.0.2\", \"10.0.0.3\"", "die zweite in einem Netz"),
        ("secret = \"pair-", "secret = \"pair-A", "[pair] `secret` ist kein Geheimnis"),
        ("secret = \"", "token = \"x\"\n#", "[pair] `token` ist keines"),
        ("secret = \"", "token = \"understudy-x\"\nsecret = \"", "[pair] hat `secret` und `token`"),
        ("secret = \"", "#", "[pair] hat kein `secret`"),
        ("192.0.2.7:7401", "192.0.2.7", "Zeile 27: [witness] `address` ist \"192.0.2.7\""),
        ("pin = \"ab", "pin = \"xb", "Zeile 28: [witness] `pin`"),
        ("52-54-00-BB-00-01", "eth0", "[crosslink] benutzt eth0, die [service] schon hat"),
        ("\"10.0.1.1/30\"", "\"10.0.0.9/30\"", "dessen Netz auch das von [service] ist"),
    ] {
        assert!(a.contains(from), "{from}");
        let shown = errors(&a.replacen(from, to, 1)).join("\n");
        assert!(shown.contains(expected), "{from} -> {to}\n shows {shown}\nlacks {expected}");
    }
}

#[test]
fn all_mistakes_are_told_at_once_in_the_order_of_the_file() {
    let found = errors(
        &alone("language = \"de\"\n", "vlan = 0\ngateway = \"x\"\n[ntp]\nservers = \"-\"\n")
            .replace("\"mail\"", "\"-\""),
    );
    assert_eq!(found.len(), 4, "{found:?}");
    let lines: Vec<&str> = found.iter().filter_map(|e| e.split(':').next()).collect();
    assert_eq!(lines, ["Zeile 2", "Zeile 7", "Zeile 8", "Zeile 10"]);
    let broken = errors("language = \"de\"\nname = mail\nhostname = x y\n");
    assert!(broken.len() >= 2 && broken.iter().all(|e| e.starts_with("Zeile ")), "{broken:?}");
    let english = read(b"language = \"de\"\nvrid = 1\n").unwrap_err();
    assert!(english[0].words(Language::En).starts_with("line 2: unknown key"));
    assert_eq!(read(&vec![b' '; FILE_LEN_MAX + 1]).unwrap_err().len(), 1);
    assert!(errors("").iter().any(|e| e.contains("`name` is missing")));
}

#[test]
fn any_editor_will_do() {
    let text = alone("# Gerät\n", "").replace('\n', "\r\n");
    let utf16: Vec<u8> = "\u{feff}"
        .chars()
        .chain(text.chars())
        .collect::<String>()
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    for bytes in [utf16, format!("\u{feff}{text}").into_bytes()] {
        assert_eq!(read(&bytes).unwrap().applied(), text.replace('\r', ""));
    }
}

#[test]
fn the_files_of_a_pair_agree_or_say_where_not() {
    let (a, b) = (pair("a", 1, 2), pair("b", 2, 1));
    let site = |text: &str| read(text.as_bytes()).unwrap();
    assert_eq!(agree(&site(&a), &site(&b)), []);
    for (from, to, expected) in [
        ("node = \"b\"", "node = \"a\"", "`node` ist in beiden gleich"),
        ("mail-b", "mail-a", "`name` ist in beiden gleich"),
        ("mx.example.net", "my.example.net", "`hostname` ist verschieden"),
        ("vrid = 51", "vrid = 52", "[floating] ist verschieden"),
        ("10.0.0.100", "10.0.0.101", "[floating] ist verschieden"),
        (":7401", ":7402", "[witness] ist verschieden"),
        (SECRET, OTHER_SECRET, "[pair] `secret` ist verschieden"),
        ("10.0.1.2/30", "10.0.1.1/29\"\n#", "beide haben die eigene Adresse 10.0.1.1"),
        ("10.0.0.1\", \"10", "10.0.0.3\", \"10", "`peer` der Datei B hat 10.0.0.3"),
        ("\"10.0.0.2/24\"", "\"10.0.0.4/24\"", "`peer` der Datei A hat 10.0.0.2"),
        (
            "[settings]\n",
            "[settings]\npair.lease_ms = 80\n",
            "[pair] lease_ms ist in der einen \"75\"",
        ),
    ] {
        assert!(b.contains(from), "{from}");
        let changed = b.replacen(from, to, 1).replace(
            "\"10.0.1.1\"]",
            if to.contains("10.0.1.1") { "\"10.0.1.2\"]" } else { "\"10.0.1.1\"]" },
        );
        let shown: Vec<String> =
            agree(&site(&a), &site(&changed)).iter().map(ToString::to_string).collect();
        assert!(shown.iter().any(|e| e.contains(expected)), "{from} -> {to} shows {shown:?}");
    }
    assert_eq!(agree(&site(&a), &site(ALONE)).len(), 1);
}

const OTHER_SECRET: &str = "pair-AQEBAQEBAQEBAQEBAQEBAQEBAQEg61iU";

fn plan() -> Plan {
    let node = |name: &str, own: u8| PlanNode {
        name: name.to_owned(),
        cards: vec!["eth0".to_owned()],
        address: vec![format!("10.0.0.{own}/24")],
        crosslink: Some(("eth1".to_owned(), format!("10.0.1.{own}/30"))),
    };
    Plan {
        language: Language::De,
        hostname: "mx.example.net".to_owned(),
        nodes: vec![node("mail-a", 1), node("mail-b", 2)],
        vlan: None,
        gateway: vec!["10.0.0.254".to_owned()],
        dns: Vec::new(),
        floating: vec!["10.0.0.100".to_owned()],
        vrid: 51,
        authorized_keys: vec![KEY.to_owned()],
        ntp: Vec::new(),
    }
}

#[test]
fn made_files_are_right_and_agree() {
    let [a, b] = make(&plan()).unwrap().try_into().unwrap();
    assert_ne!(a.recovery_code.expose(), b.recovery_code.expose());
    let (one, other) =
        (read(a.text.expose().as_bytes()).unwrap(), read(b.text.expose().as_bytes()).unwrap());
    assert_eq!(agree(&one, &other), []);
    assert!(code_fits(one.recovery_code_hash.as_deref().unwrap(), &a.recovery_code));
    let alone = Plan {
        nodes: plan()
            .nodes
            .into_iter()
            .take(1)
            .map(|n| PlanNode { crosslink: None, ..n })
            .collect(),
        ..plan()
    };
    let [alone] = make(&alone).unwrap().try_into().unwrap();
    assert!(read(alone.text.expose().as_bytes()).unwrap().pair.is_none());
    let wrong = make(&Plan { floating: vec!["10.0.7.1".to_owned()], ..plan() }).unwrap_err();
    assert!(wrong[0].to_string().contains("10.0.7.1"), "{wrong:?}");
}

proptest! {
    #[test]
    fn no_text_panics(text in "\\PC{0,200}") {
        drop(read(text.as_bytes()));
    }

    #[test]
    fn no_damaged_file_panics(at in any::<prop::sample::Index>(), with in "\\PC{0,3}") {
        let text = pair("a", 1, 2);
        let at = at.index(text.len());
        let mut damaged: String = text.get(..at).unwrap_or_default().to_owned();
        damaged.push_str(&with);
        damaged.push_str(text.get(at + 1..).unwrap_or_default());
        if let Ok(site) = read(damaged.as_bytes()) {
            prop_assert!(config::parse(&site.understudy_toml).is_ok());
            prop_assert!(!site.files().is_empty());
        }
    }

    #[test]
    fn networks_are_arithmetic(ip: u32, prefix in 0u8..=32, other: u32) {
        let cidr = config::Cidr { address: std::net::IpAddr::V4(ip.into()), prefix };
        let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
        let inside = ip & mask == other & mask;
        prop_assert_eq!(network::contains(cidr, std::net::IpAddr::V4(other.into())), inside);
        prop_assert_eq!(network::network_of(cidr).address, std::net::IpAddr::V4((ip & mask).into()));
    }
}
