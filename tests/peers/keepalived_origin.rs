//! An origin's address: its own machine runs keepalived, or nothing at all, and we stand in for it.

use super::keepalived::{A, B, Keepalived, LONG, Ours, Setup, VIP, VIP_V6, link, send_advert};
use std::time::Duration;
use understudy::vrrp::{GroupKind, Priority, Takeover};

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
        send_advert(&link, 50);
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
