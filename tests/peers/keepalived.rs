//! Our virtual router and Debian's keepalived on one link, each in its own namespace: every version,
//! family and way of sending, in both directions, checked on captured packets.
//!
//! Ours runs as a process of its own (this test binary, started again), so that it can be killed
//! and frozen. It prints what it reports; it is told where to stand through its standard input.

use super::capture::{Advert, Capture, Frames, verify};
use super::link::{INTERFACE, Link, OWN_V6, SECOND};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use socket2::{Domain, Protocol, Socket, Type};
use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;
use tempfile::TempDir;
use understudy::base::{clock::mono, task};
use understudy::vrrp::{
    Authentication, Checksum, GroupConfig, Interval, Priority, Stand, Track, Unicast, Version, Vrrp,
};
use understudy_proto::time::Mono;
use understudy_proto::vrrp;

pub(super) const A: usize = 0;
pub(super) const B: usize = 1;
pub(super) const VIP: &str = "10.99.0.100";
pub(super) const VIP_V6: &str = "fd99::100";
const VIP_LOCAL: &str = "fe80::99:100";
const OWN: [&str; 2] = ["10.99.0.1", "10.99.0.2"];

const INTERVAL: Duration = Duration::from_millis(100);
/// For whatever takes milliseconds, or a few seconds in version 2, on a machine that has other work.
pub(super) const LONG: Duration = Duration::from_secs(30);

const HOSTS: [&str; 2] = ["10.99.0.1/24", "10.99.0.2/24"];

pub(super) fn link() -> Link {
    Link::new(HOSTS)
}

/// How one virtual router is configured, on both sides.
#[derive(Clone)]
pub(super) struct Setup {
    pub(super) ours: GroupConfig,
    /// Lines of keepalived's `vrrp_instance`.
    theirs: String,
    /// What the adverts of both carry.
    form: Checksum,
}

impl Setup {
    pub(super) fn v4() -> Self {
        let interval = Interval::from_duration(INTERVAL).unwrap();
        let addresses = vec![format!("{VIP}/24").parse().unwrap()];
        Self {
            ours: GroupConfig::new(INTERFACE, 51, addresses, interval),
            theirs: format!("advert_int 0.1\nvirtual_ipaddress {{\n{VIP}/24\n}}\n"),
            form: Checksum::WithPseudoHeader,
        }
    }

    fn v2() -> Self {
        let mut setup = Self::v4();
        setup.ours.version = Version::V2;
        setup.ours.interval = Interval::SECOND;
        setup.theirs = setup.theirs.replace("advert_int 0.1", "version 2\nadvert_int 1");
        setup
    }

    fn with_password(mut self) -> Self {
        self.ours.authentication = Authentication::password("secret").unwrap();
        self.theirs += "authentication {\nauth_type PASS\nauth_pass secret\n}\n";
        self
    }

    pub(super) fn v6() -> Self {
        let interval = Interval::from_duration(INTERVAL).unwrap();
        let addresses = [VIP_V6, VIP_LOCAL].map(|vip| format!("{vip}/64").parse().unwrap());
        Self {
            ours: GroupConfig::new(INTERFACE, 51, addresses.to_vec(), interval),
            theirs: format!(
                "advert_int 0.1\nvirtual_ipaddress {{\n{VIP_LOCAL}/64\n{VIP_V6}/64\n}}\n"
            ),
            form: Checksum::WithPseudoHeader,
        }
    }

    /// The same on the second wire, where it is another virtual router of the same number.
    fn on_second(mut self) -> Self {
        self.ours.interface = SECOND.to_owned();
        let second = |text: &str| {
            [("10.99.", "10.98."), ("fd99:", "fd98:"), ("fe80::99:", "fe80::98:")]
                .iter()
                .fold(text.to_owned(), |text, (first, second)| text.replace(first, second))
        };
        for floating in &mut self.ours.addresses {
            *floating = second(&floating.to_string()).parse().unwrap();
        }
        self.theirs = second(&self.theirs);
        self
    }

    fn vip(&self) -> String {
        self.ours.addresses[0].address.to_string()
    }

    fn unicast(mut self, own: [&str; 2]) -> Self {
        self.ours.unicast = Some(Unicast {
            peers: vec![own[B].parse().unwrap()],
            check_source: true,
            ttl_min: 255,
        });
        self.theirs += &format!("unicast_src_ip {}\nunicast_peer {{\n{}\n}}\n", own[B], own[A]);
        self
    }
}

/// Takeover and give-back both ways: orders, farewells and deaths; what the capture saw of us.
fn exchange(setup: &Setup) -> Vec<Advert> {
    let vip = setup.vip();
    let link = link();
    let capture = Capture::start(&link, B);
    let peer = Keepalived::start(&link, B, 100, setup);
    link.wait(B, &vip, true, LONG);

    let mut ours = Ours::start(&link, A, std::slice::from_ref(&setup.ours));
    ours.told("HeardActive", LONG);
    ours.tell("holder");
    ours.told("Entered(Active)", LONG);
    link.wait(B, &vip, false, LONG);
    assert!(link.has(A, &vip));
    // Long enough for three intervals and the skew, so that silence would be noticed.
    std::thread::sleep(setup.ours.interval.duration() * 5);
    assert!(link.has(A, &vip) && !link.has(B, &vip), "and stays here");
    assert_eq!(ours.errors(), "0");

    // Priority 0.
    ours.stop();
    assert!(!link.has(A, &vip), "removed before we ended");
    link.wait(B, &vip, true, LONG);

    // A death.
    let mut ours = Ours::start(&link, A, std::slice::from_ref(&setup.ours));
    ours.told("HeardActive", LONG);
    ours.tell("holder");
    link.wait(A, &vip, true, LONG);
    link.wait(B, &vip, false, LONG);
    ours.kill();
    link.wait(B, &vip, true, LONG);
    link.wait(A, &vip, false, LONG);

    let frames = capture.stop();
    let mut ours = checked(&frames, setup);
    assert!(ours.iter().filter(|advert| advert.priority == 200).count() >= 5);
    assert_eq!(ours.iter().filter(|advert| advert.priority == 0).count(), 1, "one farewell");
    let announced = frames.announced(setup.ours.addresses[0].address, ours[0].mac);
    assert!(announced >= 5, "announced {announced} times");
    peer.stop();
    ours.append(&mut deaths(&link, setup));
    ours
}

/// The other's death is heard on both sides, without any word: we come back once its adverts are
/// missing, and it takes over when ours are.
fn deaths(link: &Link, setup: &Setup) -> Vec<Advert> {
    let floating = setup.ours.addresses[0];
    let vip = floating.address.to_string();
    // Several adverts: a capture that begins with them has seen who was Active before.
    let several = setup.ours.interval.duration() * 3;
    let mut ours = Ours::start(link, A, std::slice::from_ref(&setup.ours));
    let peer = Keepalived::start(link, B, 250, setup);
    ours.told("HeardActive", LONG);
    link.wait(B, &vip, true, LONG);
    ours.tell("holder");
    ours.told("Outranked", LONG);
    link.wait(A, &vip, false, LONG);

    let capture = Capture::start(link, B);
    std::thread::sleep(several);
    peer.kill();
    for left in &setup.ours.addresses {
        link.take(B, &left.to_string());
    }
    ours.told("Entered(Active)", LONG);
    link.wait(A, &vip, true, LONG);
    assert_eq!(ours.errors(), "0");
    let frames = capture.stop();
    assert_eq!(reigns(frames.adverts()), [(false, 250), (true, 200)], "silence, then we");
    let mut seen = checked(&frames, setup);
    assert!(frames.announced(floating.address, seen[0].mac) >= 2, "and announced");

    let _peer = Keepalived::start(link, B, 100, setup);
    std::thread::sleep(several * 2);
    assert!(link.has(A, &vip) && !link.has(B, &vip), "it stands by");
    let capture = Capture::start(link, B);
    std::thread::sleep(several);
    ours.kill();
    link.wait(B, &vip, true, LONG);
    link.wait(A, &vip, false, LONG);
    std::thread::sleep(several);
    let frames = capture.stop();
    assert_eq!(reigns(frames.adverts()), [(true, 200), (false, 100)], "silence, then it");
    seen.append(&mut checked(&frames, setup));
    seen
}

/// Who advertised, one after the other: whether it was we, and with which priority.
fn reigns(adverts: impl Iterator<Item = Advert>) -> Vec<(bool, u8)> {
    let mut reigns: Vec<_> = adverts.map(|advert| (advert.is_ours, advert.priority)).collect();
    reigns.dedup();
    reigns
}

/// The same of virtual router 51 with this address.
fn reigns_of(frames: &Frames, vip: &str) -> Vec<(bool, u8)> {
    reigns(frames.adverts_of(51, vip.parse().unwrap()))
}

/// Our adverts, after what must be so of all.
fn checked(frames: &Frames, setup: &Setup) -> Vec<Advert> {
    for advert in frames.adverts() {
        assert_eq!((advert.vrid, advert.class), (51, 0xc0), "{advert:?}");
        assert!(advert.ttl == 255 || !advert.is_ours, "{advert:?}");
        assert!(verify(&advert, setup.form), "the checksum holds: {advert:?}");
    }
    frames.adverts().filter(|advert| advert.is_ours).collect()
}

/// The golden packets of keepalived 2.2.7 with an interval of 10 centiseconds for 100: 0x5a less,
/// and a checksum that is 0x5a more.
#[test]
fn version_3_over_ipv4() {
    for advert in exchange(&Setup::v4()) {
        assert_eq!(advert.destination, "224.0.0.18".parse::<IpAddr>().unwrap());
        if advert.priority == 200 {
            assert_eq!(advert.hex(), "3133c801000a11070a630064");
        }
    }
}

/// What ours begins with, keepalived would not accept: it is answered as it speaks.
#[test]
fn version_3_without_pseudo_header_gives_way() {
    let mut setup = Setup::v4();
    setup.ours.checksum = Checksum::MessageOnly;
    exchange(&setup);
}

/// The form of keepalived before 1.3.6.
#[test]
fn version_3_over_ipv4_unicast_with_the_old_checksum() {
    let mut setup = Setup::v4().unicast(OWN);
    setup.theirs += "old_unicast_checksum\n";
    setup.form = Checksum::WithGroupHeader;
    exchange(&setup);
}

#[test]
fn version_3_over_ipv4_unicast() {
    for advert in exchange(&Setup::v4().unicast(OWN)) {
        if advert.priority == 200 {
            assert_eq!(advert.hex(), "3133c801000ae6b40a630064");
        }
    }
}

#[test]
fn version_3_over_ipv6() {
    for advert in exchange(&Setup::v6()) {
        assert_eq!(advert.destination, "ff02::12".parse::<IpAddr>().unwrap());
        assert!(advert.source.to_string().starts_with("fe80::"));
        // RFC 9568 5.2.9: the link-local address comes first.
        assert!(
            advert.hex().get(16..).is_some_and(|rest| rest.starts_with("fe80000000000000")),
            "{advert:?}"
        );
        assert_eq!(advert.payload.len(), 8 + 2 * 16);
    }
}

#[test]
fn version_3_over_ipv6_unicast() {
    let mut setup = Setup::v6().unicast(OWN_V6);
    // Keepalived 2.2.7 sends unicast over IPv6 with the kernel's hop limit.
    if let Some(unicast) = &mut setup.ours.unicast {
        unicast.ttl_min = 64;
    }
    for advert in exchange(&setup) {
        assert_eq!(advert.source.to_string(), OWN_V6[A]);
        assert_eq!(advert.destination.to_string(), OWN_V6[B]);
    }
}

#[test]
fn version_2() {
    for advert in exchange(&Setup::v2()) {
        if advert.priority == 200 {
            assert_eq!(advert.hex(), "2133c80100010c030a6300640000000000000000");
        }
    }
}

#[test]
fn version_2_unicast() {
    for advert in exchange(&Setup::v2().unicast(OWN)) {
        assert_eq!(advert.destination.to_string(), OWN[B]);
        assert_eq!(advert.hex().get(8..12), Some("0001"), "no password, one second");
        assert_eq!(advert.hex().get(24..), Some("0000000000000000"));
    }
}

#[test]
fn version_2_with_a_password() {
    for advert in exchange(&Setup::v2().with_password()) {
        assert_eq!(advert.destination, "224.0.0.18".parse::<IpAddr>().unwrap());
        assert_password(&advert);
    }
}

#[test]
fn version_2_with_a_password_unicast() {
    for advert in exchange(&Setup::v2().with_password().unicast(OWN)) {
        assert_eq!(advert.destination.to_string(), OWN[B]);
        assert_password(&advert);
    }
}

fn assert_password(advert: &Advert) {
    assert_eq!(advert.hex().get(8..12), Some("0101"), "password, one second");
    assert_eq!(advert.hex().get(24..), Some("7365637265740000"));
}

/// Each drops the other's adverts for their password, so both are Active: the one thing that is to
/// be seen is that it is said.
#[test]
fn a_wrong_password_is_an_alarm() {
    let link = link();
    let mut setup = Setup::v2().with_password();
    setup.theirs = setup.theirs.replace("secret", "other");
    let _peer = Keepalived::start(&link, B, 100, &setup);
    link.wait(B, VIP, true, LONG);
    let mut ours = Ours::start(&link, A, &[setup.ours]);
    ours.told("Conflict { source: 10.99.0.2, conflict: Authentication }", LONG);
}

#[test]
fn a_virtual_mac_moves_with_the_address() {
    let mac = [0, 0, 0x5e, 0, 1, 51];
    for advert in virtually(Setup::v4(), mac, "10.99.0.1") {
        assert_eq!(advert.hex(), "3133c801000a11070a630064");
    }
}

#[test]
fn a_virtual_mac_moves_with_the_address_over_ipv6() {
    for advert in virtually(Setup::v6(), [0, 0, 0x5e, 0, 2, 51], "fd99::1") {
        assert_eq!(advert.destination, "ff02::12".parse::<IpAddr>().unwrap());
    }
}

/// Our adverts but the farewell, which leaves after the addresses, from the interface's own.
fn virtually(mut setup: Setup, mac: [u8; 6], own: &str) -> Vec<Advert> {
    setup.ours.virtual_mac = true;
    let mut adverts = exchange(&setup);
    adverts.retain(|advert| advert.priority == 200);
    assert!(adverts.iter().all(|advert| advert.mac == mac), "{adverts:?}");

    let link = link();
    let vips: Vec<String> = setup.ours.addresses.iter().map(|a| a.address.to_string()).collect();
    let before = link.shell(A, SETTINGS);
    // Written without a prefix, it must be reached all the same.
    for floating in setup.ours.addresses.iter_mut().filter(|a| a.to_string().starts_with("fe80")) {
        floating.prefix_len = 128;
    }
    let mut ours = Ours::start(&link, A, &[setup.ours]);
    ours.tell("holder");
    for vip in &vips {
        link.wait(A, vip, true, LONG);
        // Nobody listens there: a refusal proves that packets go both ways.
        let zone = if vip.starts_with("fe80") { "%e0" } else { "" };
        let connect = format!("timeout 10 bash -c 'echo > /dev/tcp/{vip}{zone}/9'");
        let answer = link.shell(B, &connect);
        assert!(answer.contains("refused"), "{answer}");
        let known = link.shell(B, &format!("ip neigh show {vip}"));
        let expected = mac.map(|byte| format!("{byte:02x}")).join(":");
        assert!(known.contains(&expected), "{known}");
    }
    // The host's own address stays where it was.
    link.shell(B, &format!("timeout 10 bash -c 'echo > /dev/tcp/{own}/9'"));
    let known = link.shell(B, &format!("ip neigh show {own}"));
    assert!(known.contains("lladdr") && !known.contains("00:00:5e"), "{known}");
    ours.stop();
    assert_eq!(link.shell(A, "ip -o link show type macvlan"), "", "nothing is left");
    assert_eq!(link.shell(A, SETTINGS), before, "put back");
    adverts
}

/// What a virtual MAC changes on the interface below.
const SETTINGS: &str = "cd /proc/sys/net/ipv4/conf/e0 && head arp_ignore arp_announce";

/// IPv4 and IPv6 of one sync group; the fault is that of a tracking command of one of them.
#[test]
fn a_sync_group_moves_as_one() {
    let link = link();
    let dir = tempfile::tempdir().unwrap();
    let works = dir.path().join("works");
    std::fs::write(&works, "").unwrap();
    let (mut four, mut six) = (Setup::v4(), Setup::v6());
    for setup in [&mut four, &mut six] {
        setup.ours.sync = Some("front".to_owned());
    }
    six.ours.track = Some(Track {
        command: vec!["/usr/bin/test".into(), "-e".into(), works.to_str().unwrap().into()],
        every: Duration::from_millis(100),
        timeout: Duration::from_secs(10),
    });
    let _peers = [&four, &six].map(|setup| Keepalived::start(&link, B, 100, setup));
    let vips = [VIP, VIP_V6];
    let at = |host: usize| {
        for vip in vips {
            link.wait(host, vip, true, LONG);
            link.wait(1 - host, vip, false, LONG);
        }
    };
    let mut ours = Ours::start(&link, A, &[four.ours, six.ours]);
    ours.tell("holder");
    at(A);
    std::fs::remove_file(&works).unwrap();
    ours.told("Fault", LONG);
    ours.told("Held", LONG);
    at(B);
    std::fs::write(&works, "").unwrap();
    at(A);
}

#[test]
fn we_hear_keepalived_and_its_end() {
    let link = link();
    let setup = Setup::v4();
    let mut ours = Ours::start(&link, A, std::slice::from_ref(&setup.ours));
    ours.tell("standby");
    ours.told("MasterDown", LONG);
    let peer = Keepalived::start(&link, B, 150, &setup);
    ours.told("HeardActive { source: 10.99.0.2, priority: 150 }", LONG);
    link.wait(B, VIP, true, LONG);
    assert!(!link.has(A, VIP));

    // SIGTERM: priority 0, then the skew.
    peer.stop();
    ours.told("ActiveReleased { source: 10.99.0.2 }", LONG);
    ours.told("MasterDown", LONG);

    let _peer = Keepalived::start(&link, B, 150, &setup);
    ours.told("HeardActive { source: 10.99.0.2, priority: 150 }", LONG);
    link.wait(B, VIP, true, LONG);
    link.plug(B, false);
    ours.told("MasterDown", LONG);
    assert!(!link.has(A, VIP), "nobody told us to take over");
    assert_eq!(ours.errors(), "0");
}

/// One advert of B for the address of [`Setup::v4`], as anybody on the link can send it.
pub(super) fn send_advert(link: &Link, priority: u8, form: Checksum) {
    let sent = link.inside(B, move || {
        let (source, group) = (Ipv4Addr::new(10, 99, 0, 2), vrrp::GROUP_V4);
        let advert = vrrp::Advert {
            version: Version::V3,
            vrid: 51,
            priority,
            interval: Interval::from_duration(INTERVAL).unwrap(),
            addresses: vec![VIP.parse().unwrap()],
            authentication: Authentication::None,
        };
        let bytes = vrrp::encode(&advert, source.into(), group.into(), form);
        let protocol = Protocol::from(i32::from(vrrp::PROTOCOL));
        let socket = Socket::new(Domain::IPV4, Type::RAW, Some(protocol)).unwrap();
        socket.set_multicast_ttl_v4(255).unwrap();
        socket.bind(&SocketAddrV4::new(source, 0).into()).unwrap();
        socket.send_to(&bytes, &SocketAddrV4::new(group, 0).into()).unwrap();
    });
    sent.join().unwrap();
}

/// RFC 9568 6.4.3, and what a switch needs besides: whoever heard the other must hear us again.
#[test]
fn a_lower_rank_is_answered_and_the_address_announced_again() {
    let link = link();
    let setup = Setup::v4();
    let mut ours = Ours::start(&link, A, std::slice::from_ref(&setup.ours));
    ours.tell("holder");
    link.wait(A, VIP, true, LONG);
    // Past the first burst and the pause between two, well before the burst's repetition.
    std::thread::sleep(Duration::from_millis(1_500));
    let before = Capture::start(&link, B);
    std::thread::sleep(Duration::from_millis(300));
    let before = before.stop();
    let mac = before.adverts().find(|advert| advert.is_ours).unwrap().mac;
    let vip = VIP.parse().unwrap();
    assert_eq!(before.announced(vip, mac), 0, "in between nothing is announced");

    let after = Capture::start(&link, B);
    send_advert(&link, 100, Checksum::WithPseudoHeader);
    ours.told("HeardActive { source: 10.99.0.2, priority: 100 }", LONG);
    std::thread::sleep(Duration::from_millis(300));
    let after = after.stop();
    assert!(after.announced(vip, mac) >= 5, "{}", after.announced(vip, mac));
    assert!(link.has(A, VIP));
}

/// RFC 9568 5.2.8 without the pseudo-header, keepalived with it.
#[test]
fn each_form_of_checksum_is_answered_in_kind() {
    let link = link();
    let setup = Setup::v4();
    let mut ours = Ours::start(&link, A, std::slice::from_ref(&setup.ours));
    ours.tell("holder");
    link.wait(A, VIP, true, LONG);
    let forms = [Checksum::MessageOnly, Checksum::WithPseudoHeader, Checksum::MessageOnly];
    for (priority, form) in (100..).zip(forms) {
        let capture = Capture::start(&link, B);
        send_advert(&link, priority, form);
        ours.told(&format!("HeardActive {{ source: 10.99.0.2, priority: {priority} }}"), LONG);
        std::thread::sleep(INTERVAL * 3);
        let frames = capture.stop();
        let answers: Vec<_> = frames.adverts().skip_while(|a| a.is_ours).skip(1).collect();
        assert!(answers.len() >= 2, "{answers:?}");
        for answer in answers {
            assert!(answer.is_ours && answer.priority == 200, "{answer:?}");
            assert!(verify(&answer, form), "{form:?}: {answer:?}");
            if form == Checksum::MessageOnly {
                assert_eq!(answer.hex(), "3133c801000afbf90a630064");
            }
        }
    }
    assert_eq!(ours.errors(), "0");
    // The farewell, too.
    let capture = Capture::start(&link, B);
    ours.stop();
    std::thread::sleep(INTERVAL * 3);
    let last = capture.stop().adverts().last().unwrap();
    assert!(last.priority == 0 && verify(&last, Checksum::MessageOnly), "{last:?}");

    // An Active without it is heard, timed and answered in kind.
    let mut ours = Ours::start(&link, A, &[setup.ours]);
    ours.tell("standby");
    ours.told("MasterDown", LONG);
    send_advert(&link, 100, Checksum::MessageOnly);
    ours.told("HeardActive { source: 10.99.0.2, priority: 100 }", LONG);
    ours.told("MasterDown", LONG);
    let capture = Capture::start(&link, B);
    ours.tell("holder");
    link.wait(A, VIP, true, LONG);
    std::thread::sleep(INTERVAL * 3);
    let frames = capture.stop();
    assert!(frames.adverts().count() >= 2);
    assert!(frames.adverts().all(|a| a.is_ours && verify(&a, Checksum::MessageOnly)));
}

/// Two wires, on each a virtual router of the same number.
#[test]
fn a_lost_link_is_the_fault_of_its_own_group() {
    let link = Link::with_second(HOSTS);
    let setups = [Setup::v4(), Setup::v4().on_second()];
    let [first, second] = [setups[0].vip(), setups[1].vip()];
    let _peers = setups.each_ref().map(|setup| Keepalived::start(&link, B, 100, setup));
    let mut ours = Ours::start(&link, A, &setups.each_ref().map(|setup| setup.ours.clone()));
    for vip in [&first, &second] {
        link.wait(B, vip, true, LONG);
    }
    // Each is to hear the other wire's router, if it can.
    std::thread::sleep(INTERVAL * 3);
    ours.tell("holder");
    for (vip, interface) in [(&first, INTERFACE), (&second, SECOND)] {
        link.wait(A, vip, true, LONG);
        link.wait(B, vip, false, LONG);
        assert!(link.shell(A, &format!("ip address show dev {interface}")).contains(vip.as_str()));
    }
    assert_eq!(ours.errors(), "0", "neither hears the other wire");

    let capture = Capture::start(&link, B);
    std::thread::sleep(INTERVAL * 3);
    link.plug_second(A, false);
    ours.told("Fault of group 1", LONG);
    link.wait(A, &second, false, LONG);
    link.wait(B, &second, true, LONG);
    std::thread::sleep(INTERVAL * 5);
    assert!(link.has(A, &first) && !link.has(B, &first), "the other goes on");
    let frames = capture.stop();
    assert_eq!(reigns_of(&frames, &first), [(true, 200)]);
    assert_eq!(reigns_of(&frames, &second), [(true, 200), (false, 100)]);

    link.plug_second(A, true);
    ours.told("FaultOver of group 1", LONG);
    link.wait(A, &second, true, LONG);
    link.wait(B, &second, false, LONG);
    assert!(link.has(A, &first));
}

/// The same with one sync group over both wires and both families.
#[test]
fn a_lost_link_moves_its_whole_sync_group() {
    let link = Link::with_second(HOSTS);
    let mut setups = [Setup::v4(), Setup::v4().on_second(), Setup::v6().on_second()];
    for setup in &mut setups {
        setup.ours.sync = Some("front".to_owned());
    }
    let vips = setups.each_ref().map(Setup::vip);
    let _peers = setups.each_ref().map(|setup| Keepalived::start(&link, B, 100, setup));
    let mut ours = Ours::start(&link, A, &setups.each_ref().map(|setup| setup.ours.clone()));
    let at = |host: usize| {
        for vip in &vips {
            link.wait(host, vip, true, LONG);
            link.wait(1 - host, vip, false, LONG);
        }
    };
    ours.tell("holder");
    at(A);

    let capture = Capture::start(&link, B);
    std::thread::sleep(INTERVAL * 3);
    link.plug_second(A, false);
    ours.told("Held of group 0", LONG);
    at(B);
    std::thread::sleep(INTERVAL * 3);
    let frames = capture.stop();
    let released = [(true, 200), (true, 0), (false, 100)];
    assert_eq!(reigns_of(&frames, &vips[0]), released, "given away on the wire that works");
    for vip in &vips[1..] {
        assert_eq!(reigns_of(&frames, vip), [(true, 200), (false, 100)]);
    }

    link.plug_second(A, true);
    at(A);
}

#[test]
fn a_stuck_main_process_gives_the_address_away() {
    let link = link();
    let setup = Setup::v4();
    let mut ours = Ours::start(&link, A, std::slice::from_ref(&setup.ours));
    ours.tell("holder");
    link.wait(A, VIP, true, LONG);
    let _peer = Keepalived::start(&link, B, 100, &setup);
    std::thread::sleep(Duration::from_millis(700));
    assert!(link.has(A, VIP) && !link.has(B, VIP));
    ours.tell("stuck");
    ours.told("Lapsed", LONG);
    assert!(!link.has(A, VIP));
    link.wait(B, VIP, true, LONG);
}

/// The peer has our rank but the lower address: without the lapse we would preempt it.
#[test]
fn a_thawed_process_does_not_take_the_address_back() {
    let link = Link::new(["10.99.0.3/24", "10.99.0.2/24"]);
    let setup = Setup::v4();
    let mut ours = Ours::start(&link, A, std::slice::from_ref(&setup.ours));
    ours.tell("holder");
    link.wait(A, VIP, true, LONG);
    let _peer = Keepalived::start(&link, B, 200, &setup);
    std::thread::sleep(Duration::from_millis(700));
    assert!(link.has(A, VIP) && !link.has(B, VIP));
    ours.signal(Signal::SIGSTOP);
    link.wait(A, VIP, false, LONG);
    link.wait(B, VIP, true, LONG);
    ours.signal(Signal::SIGCONT);
    let end = mono().after(Duration::from_secs(2));
    while mono() < end {
        assert!(!link.has(A, VIP), "the thawed process serves beside the other");
        assert!(link.has(B, VIP));
    }
    ours.told("Lapsed", LONG);
    ours.told("HeardActive { source: 10.99.0.2, priority: 200 }", LONG);
}

#[test]
fn a_lost_carrier_withdraws_and_returns() {
    let link = link();
    let mut ours = Ours::start(&link, A, &[Setup::v4().ours]);
    ours.tell("holder");
    link.wait(A, VIP, true, LONG);
    link.plug(A, false);
    link.wait(A, VIP, false, LONG);
    ours.told("Fault", LONG);
    link.plug(A, true);
    ours.told("FaultOver", LONG);
    link.wait(A, VIP, true, LONG);
}

/// Debian's keepalived on one host. Stopped when dropped.
pub(super) struct Keepalived {
    child: Child,
    dir: TempDir,
}

impl Keepalived {
    pub(super) fn start(link: &Link, host: usize, priority: u8, setup: &Setup) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let config = format!(
            "global_defs {{\n  router_id peer\n  vrrp_version 3\n}}\n\
             vrrp_instance peer {{\nstate BACKUP\ninterface {interface}\n\
             virtual_router_id 51\npriority {priority}\n{theirs}}}\n",
            interface = setup.ours.interface,
            theirs = setup.theirs,
        );
        std::fs::write(path("keepalived.conf"), config).unwrap();
        // Pid files of its own: one that a killed keepalived left would stop the next.
        let child = link
            .command(host, "keepalived")
            .args(["--dont-fork", "--log-console", "--vrrp"])
            .arg("--use-file")
            .arg(path("keepalived.conf"))
            .arg("--pid")
            .arg(path("keepalived.pid"))
            .arg("--vrrp_pid")
            .arg(path("vrrp.pid"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("keepalived is installed");
        Self { child, dir }
    }

    pub(super) fn stop(mut self) {
        self.end();
    }

    /// Ends it as a power failure does: no farewell. Its kernel keeps the addresses.
    pub(super) fn kill(mut self) {
        let text = std::fs::read_to_string(self.dir.path().join("vrrp.pid")).unwrap();
        let speaker = Pid::from_raw(text.trim().parse().unwrap());
        // Its parent would start it again; the parent's death would let it end in good order.
        signal(&self.child, Signal::SIGSTOP);
        kill(speaker, Signal::SIGKILL).unwrap();
        signal(&self.child, Signal::SIGKILL);
        self.child.wait().unwrap();
    }

    fn end(&mut self) {
        if self.child.try_wait().unwrap().is_none() {
            signal(&self.child, Signal::SIGTERM);
            self.child.wait().unwrap();
        }
    }
}

impl Drop for Keepalived {
    fn drop(&mut self) {
        self.end();
    }
}

/// Our virtual router in a process of its own. Killed when dropped.
pub(super) struct Ours {
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
}

impl Ours {
    pub(super) fn start(link: &Link, host: usize, groups: &[GroupConfig]) -> Self {
        let binary = std::env::current_exe().unwrap();
        let mut child = link
            .command(host, binary.to_str().unwrap())
            .args(["peers::keepalived::our_process", "--exact", "--ignored", "--nocapture"])
            .env(OUR_PROCESS, serde_json::to_string(groups).unwrap())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = sync_channel(10_000);
        task::thread("our-output", move || {
            for line in output.lines().map_while(Result::ok) {
                println!("  {line}");
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let input = child.stdin.take();
        let mut ours = Self { child, input, lines };
        ours.told("started", LONG);
        ours
    }

    /// Gives a word; returns the time just before.
    pub(super) fn tell(&mut self, word: &str) -> Mono {
        let now = mono();
        writeln!(self.input.as_mut().unwrap(), "{word}").unwrap();
        now
    }

    /// Waits for a report that begins so, skipping everything else; returns when it happened.
    pub(super) fn told(&mut self, what: &str, limit: Duration) -> Mono {
        let end = mono().after(limit);
        loop {
            let line = match self.lines.recv_timeout(end.since(mono())) {
                Ok(line) => line,
                Err(RecvTimeoutError::Timeout) => panic!("not told of {what} within {limit:?}"),
                Err(RecvTimeoutError::Disconnected) => panic!("ended instead of telling of {what}"),
            };
            let mut words = line.splitn(3, ' ');
            if words.next() == Some("@")
                && let (Some(at), Some(found)) = (words.next(), words.next())
                && found.starts_with(what)
            {
                return Mono(at.parse().unwrap());
            }
        }
    }

    /// How many adverts it dropped.
    pub(super) fn errors(&mut self) -> String {
        self.tell("errors");
        loop {
            let line = self.lines.recv_timeout(LONG).unwrap();
            if let Some(count) = line.strip_prefix("errors ") {
                return count.to_owned();
            }
        }
    }

    fn signal(&self, which: Signal) {
        signal(&self.child, which);
    }

    pub(super) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Closes its input and waits for its end.
    pub(super) fn stop(mut self) {
        self.input = None;
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Ours {
    fn drop(&mut self) {
        // Both fail for a process that has ended.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn signal(child: &Child, which: Signal) {
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), which).unwrap();
}

const OUR_PROCESS: &str = "UNDERSTUDY_TEST_VRRP";

/// Not a test: what [`Ours`] starts.
#[test]
#[ignore = "not a test but the process that the tests of this module start"]
fn our_process() {
    let Ok(groups) = std::env::var(OUR_PROCESS) else { return };
    let vrrp = Vrrp::start(serde_json::from_str(&groups).unwrap()).unwrap();
    let mut events = vrrp.events().unwrap();
    task::thread("our-events", move || {
        while let Some(event) = events.blocking_recv() {
            println!("@ {} {:?} of group {}", event.at.0, event.kind, event.group);
        }
    });
    let (sender, words) = sync_channel(16);
    task::thread("our-input", move || {
        for word in std::io::stdin().lines().map_while(Result::ok) {
            sender.send(word).unwrap();
        }
    });
    println!("\n@ {} started", mono().0);
    let mut serving = true;
    let mut claim = None;
    loop {
        let status = vrrp.status();
        if claim != Some(status[0].claim) {
            claim = Some(status[0].claim);
            println!("@ {} Claim({:?}) {:?}", mono().0, status[0].claim, status[0].refusal);
        }
        if serving {
            vrrp.serving_pulse(mono().after(Duration::from_millis(500)));
        }
        match words.recv_timeout(Duration::from_millis(50)).as_deref() {
            Ok("holder") => vrrp.stand(Stand::Holder { priority: Priority::HOLDER }),
            Ok("standby") => vrrp.stand(Stand::Standby { priority: Priority::STANDBY }),
            Ok("stuck") => serving = false,
            Ok("claim") => assert!(vrrp.claim(0, false) > 0),
            Ok("force") => assert!(vrrp.claim(0, true) > 0),
            Ok("release") => assert!(vrrp.release(0) > 0),
            Ok("errors") => {
                let errors: u64 = vrrp.status().iter().map(|group| group.errors.total()).sum();
                println!("errors {errors}");
            }
            Ok(word) => panic!("what is {word}?"),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    vrrp.stop();
}
