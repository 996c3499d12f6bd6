//! The example is what the program says, parses, and every mistake is answered with its place.

use super::*;
use proptest::prelude::*;
use std::time::Duration;

fn message(text: &str) -> String {
    parse(text).unwrap_err().to_string()
}

#[test]
fn the_committed_example_is_the_generated_one() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/understudy.example.toml");
    let generated = example::render();
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, &generated).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(committed, generated, "run `BLESS=1 cargo test config` and commit the example");
    let config = parse(&generated).unwrap();
    assert_eq!(config.hostname, "mx.example.net");
    assert_eq!(config.pair.unwrap().heartbeat, Duration::from_millis(25));
    assert_eq!(config.vrrp[0].addresses[0].prefix, 24);
}

#[test]
fn all_committed_files_are_right() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs");
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if matches!(path.file_name().and_then(|n| n.to_str()), Some(n) if n.starts_with("site.")) {
            continue; // Of another kind: appliance::site reads those.
        }
        if path.ends_with("witness.example.toml") {
            let witness = load_witness(&path).unwrap();
            assert_eq!((witness.listen.port(), witness.pairs.len()), (7401, 1));
            continue;
        }
        load(&path).unwrap();
    }
}

#[test]
fn optional_lines_are_right_once_uncommented() {
    let text: String = example::render()
        .lines()
        .map(|l| match l.strip_prefix('#') {
            Some(rest) if !rest.starts_with(' ') && !rest.is_empty() => format!("{rest}\n"),
            _ => format!("{l}\n"),
        })
        .collect();
    let config = parse(&text).unwrap();
    assert!(config.tls.own.is_some() && config.smtp.relay.is_some());
    assert_eq!(config.tls.acme.unwrap().names, ["mx.example.net"]);
}

#[test]
fn a_hostname_is_enough() {
    let config = parse("hostname = \"MX.example.net\"").unwrap();
    assert_eq!(config.hostname, "mx.example.net");
    assert_eq!(config.listen.smtp, Some(25));
    assert!(config.pair.is_none() && config.vrrp.is_empty());
}

#[test]
fn mistakes_get_place_key_and_suggestion() {
    for (text, expected) in [
        (
            "hostname = \"a\"\n[[vrrp]]\ninterface = \"e\"\nvrid = 1\n  adress = []\n",
            "configuration, line 5, column 3: unknown key `adress` in [[vrrp]]; did you mean `address`?",
        ),
        (
            "[store]\nreserve_mib = 255",
            "[store] `reserve_mib` must be at least four times `segment_mib`",
        ),
        ("[lisen]\n", "line 1, column 2: unknown section `lisen`; did you mean `listen`?"),
        (
            "[smtp]\nhostname = \"a\"",
            "line 2, column 1: unknown key `hostname` in [smtp]; it belongs at the top, before the first [section]",
        ),
        ("vrid = 3", "line 1, column 1: unknown key `vrid`; it belongs in [[vrrp]]"),
        ("colour = 3", "unknown key `colour`; `understudy config example` shows all keys"),
        (
            "[listen]\nsmtp = \"25\"",
            "line 2, column 8: [listen] `smtp` must be a whole number, as in `smtp = 25`",
        ),
        (
            "[listen]\naddresses = \"::\"",
            "[listen] `addresses` must be a list of texts in quotes, as in `addresses = [\"10.0.0.100\"]`",
        ),
        ("[vrrp]\nvrid = 3", "there may be several of `vrrp`: write [[vrrp]]"),
        ("[[smtp]]", "there is only one `smtp`: write [smtp]"),
        ("smtp = 25", "`smtp` is a section: write [smtp]"),
        ("a = = 3", "line 1, column 5: "),
        ("", "`hostname` is missing: write the name that clients use"),
        ("hostname = \"-a\"", "line 1, column 1: `hostname` is \"-a\": that is not a host name"),
        (
            "hostname = \"a\"\n[listen]\nsmtp = 70000",
            "line 3, column 1: [listen] `smtp` is 70000: a port is 1 to 65535, and 0 turns it off",
        ),
        (
            "hostname = \"a\"\n[listen]\nsmtp = 993",
            "[listen] `imaps` is 993, which `smtp` has already",
        ),
        ("hostname = \"a\"\n[tls]\nkey = \"k\"", "[tls] `key` needs `certificate` beside it"),
        (
            "hostname = \"a\"\n[pair]\n",
            "line 2, column 2: [pair] `listen` must name 1 to 4 addresses",
        ),
        ("hostname = \"a\"\n[smtp]\nrelay = \"a\"", "[smtp] `relay` is \"a\": write host and port"),
    ] {
        let shown = message(text);
        assert!(shown.contains(expected), "{text:?}\n shows {shown}\nlacks {expected}");
    }
}

#[test]
fn a_pairs_times_fit_together_and_with_the_adverts() {
    let file = |pair: &str, vrrp: &str| {
        format!(
            "hostname = \"a\"\n[pair]\nlisten = [\"10.0.1.1:7400\"]\npeer = [\"10.0.1.2:7400\"]\n\
             {pair}\n[[vrrp]]\ninterface = \"eth0\"\nvrid = 1\naddress = [\"10.0.0.1/24\"]\n{vrrp}"
        )
    };
    for (pair, vrrp, expected) in [
        ("ack_timeout_ms = 450", "", "[pair] `ack_timeout_ms` must be more than"),
        ("stale_after_ms = 100", "", "[pair] `stale_after_ms` must be more than"),
        ("session_silence_heartbeats = 26", "", "[pair] `ack_timeout_ms` must be more than"),
        ("session_silence_heartbeats = 3", "", "`session_silence_heartbeats` is 3"),
        ("fault_pause_ms = 600001", "", "`fault_pause_ms` must not be more than"),
        ("room_pause_ms = 999", "", "`room_pause_ms` is 999"),
        ("lease_ms = 91", "", "[pair] `lease_ms` and a tenth of it must be less than"),
        ("", "advert_ms = 20", "[pair] `nap_ms` does not fit the adverts"),
    ] {
        let shown = message(&file(pair, vrrp));
        assert!(shown.contains(expected), "{pair} {vrrp} shows {shown}");
    }
    let timers = |vrrp| parse(&file("", vrrp)).unwrap().pair.unwrap().timers();
    assert_eq!(timers("").nap, Duration::from_millis(200));
    assert!(timers("advert_ms = 50").nap < Duration::from_millis(130));
    let set = "session_silence_heartbeats = 12\nfault_hold_ms = 300\nfault_pause_ms = 7000\n\
               room_pause_ms = 900000";
    let timers = parse(&file(set, "")).unwrap().pair.unwrap().timers();
    assert_eq!(timers.session_silence, Duration::from_millis(300));
    let pauses = (timers.fault_hold, timers.fault_pause, timers.room_pause);
    let ms = Duration::from_millis;
    assert_eq!(pauses, (ms(300), ms(7_000), ms(900_000)));
}

#[test]
fn vrrp_bounds_are_those_of_the_rfc() {
    let vrrp = |rest: &str| {
        format!(
            "hostname = \"a\"\n[[vrrp]]\ninterface = \"eth0\"\naddress = [\"10.0.0.1/24\"]\n{rest}"
        )
    };
    for (rest, expected) in [
        ("vrid = 0", "[[vrrp]] `vrid` is 0: it must be 1 to 255"),
        ("vrid = 256", "`vrid` is 256"),
        ("vrid = 1\nadvert_ms = 9", "`advert_ms` is 9: it must be 10 to 40950 milliseconds"),
        ("vrid = 1\nadvert_ms = 40960", "`advert_ms` is 40960"),
        ("vrid = 1\nadvert_ms = 15", "must be a multiple of 10"),
        ("vrid = 1\nadvert_ms = -1", "`advert_ms` is -1"),
        ("vrid = 1\nversion = 2", "must be whole seconds in version 2"),
        ("vrid = 1\nversion = 4", "`version` is 4: it must be 2 to 3"),
        ("vrid = 1\npassword = \"x\"", "`password` is for version 2"),
        (
            "vrid = 1\nversion = 2\nadvert_ms = 1000\npassword = \"123456789\"",
            "`password` must be 1 to 8 ASCII",
        ),
        ("vrid = 1\nunicast = [\"fe80::2\"]", "not as `address` is"),
        ("vrid = 1\nunicast = [\"10.0.0.2\", \"10.0.0.2\"]", "names 10.0.0.2 twice"),
        ("vrid = 1\nttl_min = 0", "`ttl_min` is 0"),
        ("vrid = 1\ntrack = [\"true\"]", "write its whole path"),
        ("vrid = 1\nkind = \"guest\"", "must be \"pair\" or \"origin\""),
        ("vrid = 1\ntakeover = \"maybe\"", "`takeover` is \"maybe\""),
        ("vrid = 1\npriority = 255", "`priority` is 255"),
        ("vrid = 1\nname = \"a b\"", "without spaces"),
    ] {
        let shown = message(&vrrp(rest));
        assert!(shown.contains(expected), "{rest:?} shows {shown}");
    }
    let second = "vrid = 1\n[[vrrp]]\ninterface = \"eth0\"\nvrid = 1\naddress = [\"10.0.0.1/24\"]";
    let shown = message(&vrrp(second));
    assert!(
        shown.contains("line 8, column 1: [[vrrp]] `vrid` is 1, which another group"),
        "{shown}"
    );
    assert!(shown.contains("10.0.0.1, which another group has"), "{shown}");
    assert!(parse(&vrrp("vrid = 255\nadvert_ms = 40950")).is_ok());
    assert!(parse(&vrrp("vrid = 1\nversion = 2\nadvert_ms = 255000")).is_ok());
    // One id in each family, and one word for both.
    let both = "vrid = 1\nsync = \"front\"\n[[vrrp]]\ninterface = \"eth0\"\nvrid = 1\n\
                address = [\"2001:db8::100/64\", \"fe80::100/128\"]\nsync = \"front\"";
    let config = parse(&vrrp(both)).unwrap();
    assert_eq!(config.vrrp[1].addresses[0].prefix, 64);
    assert_eq!((config.vrrp[0].name.as_str(), config.vrrp[0].origin.is_none()), ("eth0.1", true));
    let other = format!("{both}\nkind = \"origin\"");
    assert!(message(&vrrp(&other)).contains("`sync` names a group of another `kind`"));
    let origin = "vrid = 1\nkind = \"origin\"\ntakeover = \"automatic\"\ntenant = \"a.example\"";
    let config = parse(&vrrp(origin)).unwrap();
    let origin = config.vrrp[0].origin.as_ref().unwrap();
    assert_eq!((origin.priority, origin.takeover), (50, VrrpTakeover::Automatic));
    assert!(
        message(&vrrp("vrid = 1").replace("\"10.0.0.1/24\"", "\"10.0.0.1/24\", \"::2/64\""))
            .contains("write two groups")
    );
}

#[test]
fn all_problems_are_reported_at_once_up_to_a_bound() {
    let text: String = (0..50).map(|i| format!("k{i} = 1\n")).collect();
    let shown = message(&text);
    assert_eq!(shown.lines().count(), 21);
    assert!(shown.ends_with("… and 30 more"), "{shown}");
}

proptest! {
    #[test]
    fn no_text_panics(text in "\\PC{0,200}") {
        drop(parse(&text));
    }

    #[test]
    fn no_damaged_example_panics(at in any::<prop::sample::Index>(), with in "\\PC{0,3}") {
        let text = example::render();
        let at = at.index(text.len());
        let mut damaged: String = text.get(..at).unwrap_or_default().to_owned();
        damaged.push_str(&with);
        damaged.push_str(text.get(at + 1..).unwrap_or_default());
        drop(parse(&damaged));
    }
}
