//! An origin's address: its own machine runs keepalived, or nothing at all, and we stand in for it.

use super::capture::Capture;
use super::guardian;
use super::keepalived::{A, B, Keepalived, LONG, Ours, Setup, VIP, VIP_V6, link, send_advert};
use std::time::Duration;
use understudy::vrrp::{Checksum, GroupKind, Priority, Takeover};

fn origin(mut setup: Setup, takeover: Takeover) -> Setup {
    setup.ours.kind = GroupKind::Origin {
        priority: Priority::new(50).unwrap(),
        takeover,
        tenant: "example.org".to_owned(),
    };
    setup
}

/// The origin goes and returns twice, over each family.
#[test]
fn automatic_takes_over_and_gives_back() {
    for (setup, vip) in [(Setup::v4(), VIP), (Setup::v6(), VIP_V6)] {
        let setup = origin(setup, Takeover::Automatic);
        let link = link();
        let mut ours = Ours::start(&link, A, std::slice::from_ref(&setup.ours));
        let mut peer = Keepalived::start(&link, B, 200, &setup);
        link.wait(B, vip, true, LONG);
        ours.tell("holder");
        ours.told("Claim(Idle)", LONG);
        for _ in 0..2 {
            peer.stop();
            link.wait(A, vip, true, LONG);
            ours.told("Claim(Held)", LONG);
            assert!(!link.has(B, vip));
            peer = Keepalived::start(&link, B, 200, &setup);
            link.wait(B, vip, true, LONG);
            link.wait(A, vip, false, LONG);
            ours.told("Claim(Idle)", LONG);
        }
        assert_eq!(ours.errors(), "0");
    }
}

#[test]
fn confirm_asks_and_waits_for_the_operator() {
    let setup = origin(Setup::v4(), Takeover::Confirm);
    let link = link();
    let mut ours = Ours::start(&link, A, std::slice::from_ref(&setup.ours));
    ours.tell("holder");
    let peer = Keepalived::start(&link, B, 200, &setup);
    link.wait(B, VIP, true, LONG);
    peer.stop();
    ours.told("Claim(Asked)", LONG);
    assert!(!link.has(A, VIP));
    ours.tell("claim");
    ours.told("Claim(Held)", LONG);
    link.wait(A, VIP, true, LONG);
    let _peer = Keepalived::start(&link, B, 200, &setup);
    link.wait(B, VIP, true, LONG);
    link.wait(A, VIP, false, LONG);
}

/// The origin lives and speaks no VRRP; somebody sends one advert of our own rank and falls silent.
#[test]
fn a_forged_advert_claims_nothing() {
    for takeover in [Takeover::Never, Takeover::Confirm] {
        let setup = origin(Setup::v4(), takeover);
        let link = link();
        link.give(B, &format!("{VIP}/24"));
        let mut ours = Ours::start(&link, A, std::slice::from_ref(&setup.ours));
        ours.tell("holder");
        ours.told("Claim(Idle)", LONG);
        // Master_Down and more, twice.
        std::thread::sleep(Duration::from_secs(1));
        send_advert(&link, 50, Checksum::WithPseudoHeader);
        std::thread::sleep(Duration::from_secs(1));
        assert!(!link.has(A, VIP), "{takeover:?}");
    }
}

/// An origin that speaks no VRRP: what answers is refused, by ARP and by neighbour discovery.
#[test]
fn what_answers_is_claimed_by_force_only() {
    for (setup, vip, fixed) in
        [(Setup::v4(), VIP, format!("{VIP}/24")), (Setup::v6(), VIP_V6, format!("{VIP_V6}/64"))]
    {
        let setup = origin(setup, Takeover::Never);
        let link = link();
        link.give(B, &fixed);
        let mut ours = Ours::start(&link, A, std::slice::from_ref(&setup.ours));
        ours.tell("holder");
        ours.tell("claim");
        ours.told("Claim(Refused)", LONG);
        assert!(!link.has(A, vip));
        ours.tell("force");
        ours.told("Claim(Held)", LONG);
        link.wait(A, vip, true, LONG);
        ours.tell("release");
        ours.told("Claim(Idle)", LONG);
        link.wait(A, vip, false, LONG);

        link.take(B, &fixed);
        ours.tell("claim");
        ours.told("Claim(Held)", LONG);
        link.wait(A, vip, true, LONG);
        // The pair's primary is elsewhere now.
        ours.tell("standby");
        link.wait(A, vip, false, LONG);
        ours.tell("claim");
        ours.told("Claim(Idle)", LONG);
    }
}

const ORIGIN: &str = "10.99.0.200";
const ORIGIN_V6: &str = "fd99::200";

/// An appliance and its operator, with an origin that speaks no VRRP and has both families.
#[test]
fn an_operator_claims_and_releases() {
    let link = link();
    let group = |address: &str| {
        format!(
            "[[vrrp]]\ninterface = \"e0\"\nvrid = 60\nname = \"old-mail\"\n\
             address = [\"{address}\"]\nadvert_ms = 100\nkind = \"origin\"\n\
             tenant = \"example.org\"\n"
        )
    };
    let addresses = [(ORIGIN, format!("{ORIGIN}/24")), (ORIGIN_V6, format!("{ORIGIN_V6}/64"))];
    let groups: String = addresses.iter().map(|(_, fixed)| group(fixed)).collect();
    let ours = guardian::Ours::start_with(&link, &groups);
    let listed = |claim: &str| {
        let (_, list) = ours.says(&link, &["address", "list"]);
        let rows: Vec<_> = list.lines().filter(|line| line.starts_with("old-mail")).collect();
        assert!(rows.len() == 2 && rows.iter().all(|row| row.contains(claim)), "{list}");
    };
    listed("idle");

    // Whoever answers keeps it.
    for (_, fixed) in &addresses {
        link.give(B, fixed);
    }
    let capture = Capture::start(&link, B);
    let (code, said) = ours.says(&link, &["address", "claim", "old-mail"]);
    assert_ne!(code, Some(0), "{said}");
    assert!(said.contains(&format!("{ORIGIN} is in use")), "{said}");
    let frames = capture.stop();
    assert!(frames.adverts().all(|advert| advert.vrid != 60), "nothing is said");
    assert!(addresses.iter().all(|(vip, _)| !link.has(A, vip)));
    listed("refused");

    // It has died.
    for (_, fixed) in &addresses {
        link.take(B, fixed);
    }
    let capture = Capture::start(&link, B);
    let (code, said) = ours.says(&link, &["address", "claim", "old-mail"]);
    assert_eq!(code, Some(0), "{said}");
    for (vip, _) in &addresses {
        assert!(link.has(A, vip), "{vip} is there once the command ends");
    }
    listed("held");
    std::thread::sleep(Duration::from_millis(300));
    let frames = capture.stop();
    for (vip, _) in &addresses {
        let vip = vip.parse().unwrap();
        assert_eq!(frames.probes_before_advert(vip, 60), 3, "{vip} is asked for first");
        let adverts: Vec<_> = frames.adverts_of(60, vip).collect();
        assert!(adverts.len() >= 3, "{vip}: {adverts:?}");
        assert!(adverts.iter().all(|a| a.is_ours && a.priority == 50), "{adverts:?}");
        assert!(frames.announced(vip, adverts[0].mac) >= 5);
    }

    let capture = Capture::start(&link, B);
    let (code, said) = ours.says(&link, &["address", "release", "old-mail"]);
    assert_eq!(code, Some(0), "{said}");
    for (vip, _) in &addresses {
        assert!(!link.has(A, vip), "{vip} is gone once the command ends");
    }
    assert!(link.has(A, VIP), "the pair's own stays");
    std::thread::sleep(Duration::from_millis(500));
    let frames = capture.stop();
    for (vip, _) in &addresses {
        let adverts = frames.adverts_of(60, vip.parse().unwrap());
        let priorities: Vec<u8> = adverts.map(|advert| advert.priority).collect();
        assert_eq!(priorities.iter().filter(|p| **p == 0).count(), 1, "{vip}: {priorities:?}");
        assert_eq!(priorities.last(), Some(&0), "{vip}: and nothing after it");
    }
    listed("idle");
}
