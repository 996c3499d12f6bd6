use super::*;
use crate::vrrp::packet::{GROUP_V4, GROUP_V6, split_ip};
use proptest::prelude::*;
use std::net::{Ipv4Addr, Ipv6Addr};

const A: IpAddr = host(1);
const B: IpAddr = host(2);
const ROUTER: IpAddr = host(9);
const VIPS: [IpAddr; 2] = [host(100), host(101)];
const GROUP: IpAddr = IpAddr::V4(GROUP_V4);
const HOLDER: Stand = Stand::Holder { priority: Priority::HOLDER };
const STANDBY: Stand = Stand::Standby { priority: Priority::STANDBY };
const FOR_EVER: Mono = Mono(u64::MAX);

const fn host(n: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 0, 0, n))
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn at(ms: u64) -> Mono {
    Mono(ms * 1_000)
}

fn config(source: IpAddr) -> Config {
    Config::new(51, Interval::from_centis(10).unwrap(), source, VIPS.to_vec())
}

fn advert(priority: u8) -> Advert {
    Advert {
        version: Version::V3,
        vrid: 51,
        priority,
        interval: Interval::from_centis(10).unwrap(),
        addresses: VIPS.to_vec(),
        authentication: Authentication::None,
    }
}

fn from(source: IpAddr) -> Arrival {
    Arrival { source, destination: GROUP, ttl: 255 }
}

fn hear(instance: &mut Instance, source: IpAddr, priority: u8, now: Mono) -> Vec<Output> {
    hear_that(instance, source, &advert(priority), now)
}

fn hear_that(instance: &mut Instance, source: IpAddr, advert: &Advert, now: Mono) -> Vec<Output> {
    let bytes = encode(advert, source, GROUP, Checksum::WithPseudoHeader);
    instance.handle_input(&bytes, from(source), now);
    drain(instance)
}

fn drain(instance: &mut Instance) -> Vec<Output> {
    let outputs: Vec<Output> = std::iter::from_fn(|| instance.poll_output()).collect();
    assert!(outputs.len() <= OUTPUTS_PER_CALL_MAX);
    outputs
}

fn events(outputs: &[Output]) -> Vec<Event> {
    outputs
        .iter()
        .filter_map(|output| if let Output::Event(event) = output { Some(*event) } else { None })
        .collect()
}

/// Priorities of the adverts that were sent.
fn sent(outputs: &[Output]) -> Vec<u8> {
    outputs
        .iter()
        .filter_map(
            |o| if let Output::SendAdvert { bytes, .. } = o { Some(bytes[2]) } else { None },
        )
        .collect()
}

/// Runs the timers until `end` and gives what came out, with the moment.
fn run(instance: &mut Instance, end: Mono) -> Vec<(Mono, Output)> {
    let mut log = Vec::new();
    while let Some(now) = instance.poll_timeout().filter(|now| *now <= end) {
        instance.handle_timeout(now);
        log.extend(drain(instance).into_iter().map(|output| (now, output)));
        assert!(instance.poll_timeout().is_none_or(|next| next > now), "a timer stands still");
    }
    log
}

fn holder(source: IpAddr, now: Mono) -> Instance {
    let mut instance = Instance::new(config(source), now);
    instance.handle_pulse(FOR_EVER, now);
    instance.set_stand(HOLDER, now);
    drain(&mut instance);
    assert_eq!(instance.state(), State::Active);
    instance
}

fn standby(source: IpAddr, now: Mono) -> Instance {
    let mut instance = Instance::new(config(source), now);
    instance.set_stand(STANDBY, now);
    drain(&mut instance);
    assert_eq!(instance.state(), State::Backup);
    instance
}

#[test]
fn a_holder_becomes_active_at_once() {
    let mut instance = standby(A, at(0));
    hear(&mut instance, B, 200, at(10));
    instance.handle_pulse(FOR_EVER, at(11));
    instance.set_stand(HOLDER, at(12));
    let outputs = drain(&mut instance);
    let bytes = encode(&advert(200), A, GROUP, Checksum::WithPseudoHeader);
    assert_eq!(
        outputs,
        [
            Output::AddAddresses { valid_for: ADDRESS_LIFETIME },
            Output::Event(Event::Entered(State::Active)),
            Output::SendAdvert { to: GROUP, bytes },
            Output::Announce { times: 5 },
        ]
    );
    assert_eq!(instance.holder(), Some(A));
}

#[test]
fn without_a_pulse_nobody_is_active() {
    let mut instance = Instance::new(config(A), at(0));
    instance.set_stand(HOLDER, at(0));
    assert_eq!(instance.state(), State::Backup);
    assert!(sent(&drain(&mut instance)).is_empty());
    instance.handle_pulse(at(500), at(1));
    assert_eq!(instance.state(), State::Active);
}

#[test]
fn an_active_advertises_refreshes_and_announces_by_the_clock() {
    let mut instance = holder(A, at(0));
    let log = run(&mut instance, at(60_000));
    let times = |wanted: &dyn Fn(&Output) -> bool| -> Vec<u64> {
        log.iter().filter(|(_, o)| wanted(o)).map(|(now, _)| now.0 / 1_000).collect()
    };
    let adverts = times(&|o| matches!(o, Output::SendAdvert { .. }));
    assert_eq!(adverts, (1..=600).map(|n| n * 100).collect::<Vec<u64>>());
    let refreshes = times(&|o| matches!(o, Output::RefreshAddresses { .. }));
    assert_eq!(refreshes, (1..=240).map(|n| n * 250).collect::<Vec<u64>>());
    assert_eq!(times(&|o| *o == Output::Announce { times: 5 }), [5_000]);
    let log = run(&mut instance, at(130_000));
    let refresh: Vec<u64> = log
        .iter()
        .filter(|(_, o)| *o == Output::Announce { times: 1 })
        .map(|(now, _)| now.0 / 1_000)
        .collect();
    assert_eq!(refresh, [65_000, 125_000]);
}

#[test]
fn a_late_driver_does_not_send_adverts_in_a_burst() {
    let mut instance = holder(A, at(0));
    instance.handle_timeout(at(950));
    assert_eq!(sent(&drain(&mut instance)), [200]);
    assert_eq!(run(&mut instance, at(1_049)).iter().filter(is_advert).count(), 0);
    assert_eq!(run(&mut instance, at(1_050)).iter().filter(is_advert).count(), 1);
}

fn is_advert((_, output): &&(Mono, Output)) -> bool {
    matches!(output, Output::SendAdvert { .. })
}

#[test]
fn a_holder_that_steps_down_removes_then_releases() {
    for (stand, state) in [(STANDBY, State::Backup), (Stand::Silent, State::Initialize)] {
        let mut instance = holder(A, at(0));
        instance.set_stand(stand, at(50));
        let outputs = drain(&mut instance);
        assert_eq!(outputs[0], Output::RemoveAddresses);
        assert_eq!(sent(&outputs), [0]);
        assert_eq!(events(&outputs), [Event::Entered(state)]);
        assert_eq!(instance.state(), state);
        let log = run(&mut instance, at(10_000));
        assert_eq!(log.len(), 1, "{log:?}");
        assert_eq!(log[0].1, Output::Event(Event::MasterDown));
    }
}

#[test]
fn a_standby_reports_and_never_acts() {
    let mut instance = standby(A, at(0));
    let heard = Event::HeardActive { source: B, priority: 200 };
    assert_eq!(events(&hear(&mut instance, B, 200, at(10))), [heard]);
    assert_eq!(hear(&mut instance, B, 200, at(110)), [], "reported once");
    assert_eq!(instance.holder(), Some(B));
    let heard = Event::HeardActive { source: B, priority: 90 };
    assert_eq!(events(&hear(&mut instance, B, 90, at(210))), [heard], "lower rank is no reason");
    let log = run(&mut instance, at(100_000));
    // 3 * 100 ms + 156/256 * 100 ms
    assert_eq!(log, [(Mono(210_000 + 360_937), Output::Event(Event::MasterDown))]);
    assert_eq!((instance.state(), instance.holder()), (State::Backup, None));
    let heard = Event::HeardActive { source: B, priority: 200 };
    assert_eq!(events(&hear(&mut instance, B, 200, at(200_000))), [heard], "heard anew");
}

#[test]
fn a_silent_one_listens_and_reports() {
    let mut instance = Instance::new(config(A), at(0));
    instance.handle_pulse(FOR_EVER, at(0));
    let heard = Event::HeardActive { source: B, priority: 200 };
    assert_eq!(hear(&mut instance, B, 200, at(10)), [Output::Event(heard)]);
    let log = run(&mut instance, at(100_000));
    assert_eq!(log.len(), 1);
    assert_eq!(log[0].1, Output::Event(Event::MasterDown));
    assert_eq!(instance.state(), State::Initialize);
}

#[test]
fn a_new_stand_gets_its_own_master_down() {
    let mut instance = Instance::new(config(A), at(0));
    assert_eq!(run(&mut instance, at(1_000)).len(), 1);
    instance.set_stand(STANDBY, at(1_000));
    drain(&mut instance);
    let log = run(&mut instance, at(10_000));
    assert_eq!(log, [(Mono(1_360_937), Output::Event(Event::MasterDown))]);
}

#[test]
fn a_standby_adopts_the_active_s_interval() {
    let mut instance = standby(A, at(0));
    let slow = Advert { interval: Interval::SECOND, ..advert(200) };
    hear_that(&mut instance, B, &slow, at(10));
    let log = run(&mut instance, at(100_000));
    assert_eq!(log, [(Mono(10_000 + 3_609_375), Output::Event(Event::MasterDown))]);
}

#[test]
fn priority_zero_is_reported_at_once_and_times_the_skew() {
    let mut instance = standby(A, at(0));
    hear(&mut instance, B, 200, at(10));
    assert_eq!(hear(&mut instance, ROUTER, 0, at(20)), [], "not the Active's to release");
    let released = Event::ActiveReleased { source: B };
    assert_eq!(hear(&mut instance, B, 0, at(50)), [Output::Event(released)]);
    assert_eq!(instance.holder(), None);
    let log = run(&mut instance, at(10_000));
    assert_eq!(log, [(Mono(50_000 + 60_937), Output::Event(Event::MasterDown))]);
    assert_eq!(hear(&mut instance, B, 0, at(20_000)), [], "nothing left to release");
}

#[test]
fn a_lower_active_is_answered_at_once() {
    let mut instance = holder(A, at(0));
    assert_eq!(run(&mut instance, at(2_000)).iter().filter(is_advert).count(), 20);
    let outputs = hear(&mut instance, B, 100, at(2_010));
    assert_eq!(sent(&outputs), [200]);
    assert!(outputs.contains(&Output::Announce { times: 5 }));
    assert_eq!(events(&outputs), [Event::HeardActive { source: B, priority: 100 }]);
    let outputs = hear(&mut instance, B, 100, at(2_020));
    assert_eq!(sent(&outputs), [200]);
    assert_eq!(outputs.len(), 1, "one burst of gratuitous ARP a second is enough");
    // Equal priority: the higher address wins, and that is not B's when we are ROUTER.
    let mut instance = holder(ROUTER, at(0));
    assert_eq!(sent(&hear(&mut instance, B, 200, at(10))), [200]);
}

#[test]
fn a_release_is_answered_by_an_active() {
    let mut instance = holder(A, at(0));
    hear(&mut instance, B, 100, at(10));
    assert_eq!(sent(&hear(&mut instance, B, 0, at(20))), [200]);
    assert_eq!(instance.state(), State::Active);
}

#[test]
fn an_outranked_holder_yields_and_returns() {
    for (source, priority) in [(ROUTER, 200), (host(0), 255)] {
        let mut instance = holder(A, at(0));
        let outputs = hear(&mut instance, source, priority, at(10));
        assert_eq!(outputs[0], Output::RemoveAddresses);
        assert!(sent(&outputs).is_empty(), "yielding is no release");
        assert!(events(&outputs).contains(&Event::Outranked { source, priority }));
        assert_eq!((instance.state(), instance.holder()), (State::Backup, Some(source)));
        // A lower one does not keep us down: we preempt it.
        assert_eq!(hear(&mut instance, B, 100, at(200)), []);
        // The pair's pulse does not bring us back before the other is gone.
        instance.handle_pulse(FOR_EVER, at(210));
        assert_eq!(drain(&mut instance), []);
        let log = run(&mut instance, at(400));
        assert_eq!(log[0], (Mono(331_875), Output::AddAddresses { valid_for: ms(1_000) }));
        assert_eq!(instance.state(), State::Active);
    }
}

#[test]
fn an_outranked_holder_returns_early_when_released() {
    let mut instance = holder(A, at(0));
    hear(&mut instance, ROUTER, 250, at(10));
    hear(&mut instance, ROUTER, 0, at(20));
    let log = run(&mut instance, at(60));
    assert_eq!(log[0].0, Mono(20_000 + 21_875));
    assert_eq!(instance.state(), State::Active);
}

#[test]
fn a_lease_that_ends_ends_the_reign() {
    let mut instance = Instance::new(config(A), at(0));
    instance.handle_pulse(at(500), at(0));
    instance.set_stand(HOLDER, at(0));
    drain(&mut instance);
    let log = run(&mut instance, at(10_000));
    let lapsed: Vec<&Output> = log.iter().filter(|e| e.0 == at(500)).map(|e| &e.1).collect();
    assert_eq!(lapsed[0], &Output::RemoveAddresses);
    assert!(lapsed.contains(&&Output::Event(Event::Lapsed)));
    assert_eq!(log.last().unwrap().0, at(500), "then silence");
    instance.handle_pulse(at(20_500), at(20_000));
    assert_eq!(instance.state(), State::Active, "nobody else came");
}

/// A process that was stopped for a while: its adverts and refreshes are due, but so is its lease.
#[test]
fn a_thawed_holder_does_not_serve_beside_the_one_that_took_over() {
    let mut instance = Instance::new(config(ROUTER), at(0));
    instance.handle_pulse(at(500), at(0));
    instance.set_stand(HOLDER, at(0));
    drain(&mut instance);
    // What waited in the socket comes first; the lease is over before it is read.
    let outputs = hear(&mut instance, A, 200, at(5_000));
    assert_eq!(outputs[0], Output::RemoveAddresses);
    assert_eq!(sent(&outputs), [0], "no advert of an Active");
    instance.handle_timeout(at(5_000));
    assert_eq!(drain(&mut instance), []);
    // The main process was stopped, too, and pulses again before it learns better. Our address is
    // the higher one, but the other is Active now.
    for now in (5_010..8_000).step_by(100) {
        instance.handle_pulse(at(now + 500), at(now));
        hear(&mut instance, A, 200, at(now));
        run(&mut instance, at(now + 99));
        assert_eq!(instance.state(), State::Backup);
    }
}

#[test]
fn a_fault_withdraws_and_is_tried_again() {
    let mut instance = holder(A, at(0));
    instance.handle_fault(at(1));
    let outputs = drain(&mut instance);
    assert_eq!(outputs[0], Output::RemoveAddresses);
    assert_eq!(events(&outputs), [Event::Entered(State::Backup), Event::Fault]);
    instance.handle_pulse(FOR_EVER, at(2));
    assert_eq!(drain(&mut instance), []);
    instance.handle_fault(at(500));
    assert_eq!(drain(&mut instance), [], "it lasts");
    let log = run(&mut instance, at(1_500));
    assert_eq!(log[0], (at(1_500), Output::Event(Event::FaultOver)));
    assert_eq!(log[1].1, Output::AddAddresses { valid_for: ADDRESS_LIFETIME });
}

#[test]
fn a_reign_that_could_not_begin_is_not_advertised() {
    let mut instance = standby(A, at(0));
    instance.handle_pulse(FOR_EVER, at(0));
    instance.set_stand(HOLDER, at(0));
    assert_eq!(instance.poll_output(), Some(Output::AddAddresses { valid_for: ADDRESS_LIFETIME }));
    instance.handle_fault(at(0));
    assert_eq!(sent(&drain(&mut instance)), [0]);
    assert_eq!(instance.counters().sent, 1);
}

#[test]
fn a_standby_reports_its_fault_too() {
    let mut instance = standby(A, at(0));
    instance.handle_fault(at(1));
    instance.handle_fault(at(2));
    assert_eq!(drain(&mut instance), [Output::Event(Event::Fault)]);
    let log = run(&mut instance, at(2_000));
    assert!(log.contains(&(at(1_002), Output::Event(Event::FaultOver))));
}

/// Whoever is deaf hears no Active: that is no reason to call it down.
#[test]
fn a_deaf_standby_calls_nobody_down() {
    let mut instance = standby(A, at(0));
    hear(&mut instance, B, 200, at(10));
    for now in (100..5_000).step_by(250) {
        instance.handle_fault(at(now));
        let log = run(&mut instance, at(now + 249));
        assert!(!log.iter().any(|e| e.1 == Output::Event(Event::MasterDown)), "{log:?}");
        drain(&mut instance);
    }
    let log = run(&mut instance, at(20_000));
    // The last word of the fault came at 4,850 ms.
    let over = 5_850;
    assert_eq!(log[0], (at(over), Output::Event(Event::FaultOver)));
    assert_eq!(log[1..], [(Mono(over * 1_000 + 360_937), Output::Event(Event::MasterDown))]);
    // Even one that had called it down does so anew: its word was about the time before.
    instance.handle_fault(at(20_000));
    drain(&mut instance);
    assert_eq!(run(&mut instance, at(30_000)).len(), 2);
}

#[test]
fn a_standby_starts_anew_when_told_so() {
    let anew = Stand::StandbyAnew { priority: Priority::STANDBY };
    for before in [0, 200, 5_000] {
        let mut instance = standby(A, at(0));
        run(&mut instance, at(before));
        instance.set_stand(anew, at(before));
        assert_eq!(drain(&mut instance), []);
        let log = run(&mut instance, at(100_000));
        let down = Mono(before * 1_000 + 360_937);
        assert_eq!(log, [(down, Output::Event(Event::MasterDown))]);
    }
    let mut instance = holder(A, at(0));
    instance.set_stand(anew, at(50));
    let outputs = drain(&mut instance);
    assert_eq!((sent(&outputs), instance.state()), (vec![0], State::Backup));
    assert_eq!(run(&mut instance, at(10_000))[0].0, Mono(50_000 + 360_937));
}

// ---- Version 2, IPv6, unicast ------------------------------------------------------------------

fn config_v2() -> Config {
    Config {
        version: Version::V2,
        interval: Interval::SECOND,
        authentication: Authentication::password("secret").unwrap(),
        ..config(A)
    }
}

fn advert_v2(priority: u8) -> Advert {
    Advert {
        version: Version::V2,
        interval: Interval::SECOND,
        authentication: Authentication::password("secret").unwrap(),
        ..advert(priority)
    }
}

/// RFC 3768 6.1: the skew is of a second, whatever the interval.
#[test]
fn version_2_has_its_own_skew() {
    let three = Interval::from_seconds(3).unwrap();
    let mut instance = Instance::new(Config { interval: three, ..config_v2() }, at(0));
    instance.set_stand(STANDBY, at(0));
    drain(&mut instance);
    hear_that(&mut instance, B, &Advert { interval: three, ..advert_v2(200) }, at(0));
    let log = run(&mut instance, at(100_000));
    assert_eq!(log, [(Mono(9_000_000 + 609_375), Output::Event(Event::MasterDown))]);
}

#[test]
fn version_2_drops_and_reports_what_differs() {
    let mut instance = Instance::new(config_v2(), at(0));
    instance.set_stand(STANDBY, at(0));
    drain(&mut instance);
    let two = Interval::from_seconds(2).unwrap();
    let other = Authentication::password("other").unwrap();
    for (advert, conflict) in [
        (Advert { interval: two, ..advert_v2(200) }, Conflict::Interval),
        (Advert { authentication: other, ..advert_v2(200) }, Conflict::Authentication),
        (
            Advert { authentication: Authentication::None, ..advert_v2(200) },
            Conflict::Authentication,
        ),
        (advert_v3(), Conflict::Version),
    ] {
        let reported = instance.conflict(at(1)).map(|(_, known)| known) == Some(conflict);
        let outputs = hear_that(&mut instance, B, &advert, at(1));
        let expected = [Output::Event(Event::Conflict { source: B, conflict })];
        assert_eq!(outputs, if reported { &[][..] } else { &expected });
        assert_eq!(instance.conflict(at(1)), Some((B, conflict)));
        assert_eq!(hear_that(&mut instance, B, &advert, at(2)), [], "said once");
    }
    let errors = instance.counters().errors;
    assert_eq!((errors.interval, errors.authentication, errors.version), (2, 4, 2));
    assert_eq!(errors.total(), 8);
    assert_eq!(instance.conflict(at(20_000)), None, "over");
    assert_eq!(hear_that(&mut instance, B, &advert_v2(200), at(20_000)).len(), 1, "heard");
}

fn advert_v3() -> Advert {
    Advert { interval: Interval::SECOND, ..advert(200) }
}

#[test]
fn a_conflict_that_goes_on_is_repeated() {
    let mut instance = standby(A, at(0));
    let strange = Advert { addresses: vec![A], ..advert(200) };
    let said = (0..1_800)
        .filter(|n| !hear_that(&mut instance, ROUTER, &strange, at(n * 100)).is_empty())
        .count();
    // Three minutes; the standby's own MasterDown comes only with `run`.
    assert_eq!(said, 3);
}

#[test]
fn ipv6_speaks_from_link_local_to_its_group() {
    let source: IpAddr = "fe80::1".parse().unwrap();
    let vips: Vec<IpAddr> =
        ["2001:db8::100", "fe80::100"].iter().map(|a| a.parse().unwrap()).collect();
    let config = Config::new(51, Interval::SECOND, source, vips.clone());
    let mut instance = Instance::new(config, at(0));
    instance.handle_pulse(FOR_EVER, at(0));
    instance.set_stand(HOLDER, at(0));
    let group = IpAddr::V6(GROUP_V6);
    let advert =
        Advert { interval: Interval::SECOND, addresses: vec![vips[1], vips[0]], ..advert(200) };
    let bytes = encode(&advert, source, group, Checksum::WithPseudoHeader);
    assert!(drain(&mut instance).contains(&Output::SendAdvert { to: group, bytes }));
    // RFC 9568 6.4.3: the higher address wins among equals.
    let higher: IpAddr = "fe80::2".parse().unwrap();
    let theirs = Advert { addresses: vips, ..advert };
    let bytes = encode(&theirs, higher, group, Checksum::WithPseudoHeader);
    let arrival = Arrival { source: higher, destination: group, ttl: 255 };
    instance.handle_input(&bytes, Arrival { ttl: 254, ..arrival }, at(1));
    assert_eq!(instance.counters().errors.ttl, 1, "the hop limit is checked");
    instance.handle_input(&bytes, arrival, at(1));
    assert_eq!(instance.state(), State::Backup);
    assert_eq!(instance.outranked_by(), Some((higher, 200)));
    assert_eq!(Ipv6Addr::from([0; 16]), Ipv6Addr::UNSPECIFIED);
}

#[test]
fn unicast_speaks_to_peers_and_listens_to_them() {
    let unicast = |check_source, ttl_min| {
        let config = Config { peers: vec![B, ROUTER], check_source, ttl_min, ..config(A) };
        let mut instance = Instance::new(config, at(0));
        instance.handle_pulse(FOR_EVER, at(0));
        instance.set_stand(STANDBY, at(0));
        drain(&mut instance);
        instance
    };
    let arrives = |from: IpAddr, to: IpAddr, ttl| Arrival { source: from, destination: to, ttl };
    let mut instance = unicast(true, 250);
    for (from, to, ttl) in [(host(7), A, 255), (B, A, 249), (B, GROUP, 255), (B, A, 250)] {
        let bytes = encode(&advert(100), from, to, Checksum::WithPseudoHeader);
        instance.handle_input(&bytes, arrives(from, to, ttl), at(1));
    }
    let Counters { received, errors, .. } = *instance.counters();
    let expected = Errors { source: 1, ttl: 1, destination: 1, ..Errors::default() };
    assert_eq!((received, errors), (1, expected));
    drain(&mut instance);
    instance.set_stand(HOLDER, at(2));
    let outputs = drain(&mut instance);
    for to in [B, ROUTER] {
        // RFC 9568 5.2.8 with the real destination, as keepalived.
        let bytes = encode(&advert(200), A, to, Checksum::WithPseudoHeader);
        assert!(outputs.contains(&Output::SendAdvert { to, bytes }));
    }
    let mut open = unicast(false, 250);
    let bytes = encode(&advert(100), host(7), A, Checksum::WithPseudoHeader);
    open.handle_input(&bytes, arrives(host(7), A, 255), at(1));
    assert_eq!(open.counters().received, 1, "the source check is off");
}

// ---- Sync groups -------------------------------------------------------------------------------

struct Synced([Instance; 2]);

impl Synced {
    fn new() -> Self {
        Self([51, 52].map(|vrid| {
            let mut instance = Instance::new(Config { vrid, synced: true, ..config(A) }, at(0));
            instance.handle_pulse(FOR_EVER, at(0));
            instance
        }))
    }

    /// Does something to one, or all, then lets them move as one.
    fn act(&mut self, now: Mono, act: impl Fn(usize, &mut Instance)) -> [Vec<Output>; 2] {
        for (n, instance) in self.0.iter_mut().enumerate() {
            act(n, instance);
        }
        let [a, b] = &mut self.0;
        synchronise(&mut [a, b], now);
        self.0.each_mut().map(drain)
    }

    fn states(&self) -> [State; 2] {
        self.0.each_ref().map(Instance::state)
    }
}

#[test]
fn a_sync_group_moves_as_one() {
    let mut group = Synced::new();
    group.act(at(0), |_, instance| instance.set_stand(HOLDER, at(0)));
    assert_eq!(group.states(), [State::Active; 2]);

    // A fault of one.
    let [_, other] = group.act(at(1), |n, instance| {
        if n == 0 {
            instance.handle_fault(at(1));
        }
    });
    assert_eq!(group.states(), [State::Backup; 2]);
    assert_eq!(other[0], Output::RemoveAddresses);
    assert_eq!((sent(&other), events(&other)[1]), (vec![0], Event::Held));
    group.act(at(500), |_, instance| instance.handle_timeout(at(500)));
    assert_eq!(group.states(), [State::Backup; 2], "the fault lasts");
    group.act(at(1_001), |_, instance| instance.handle_timeout(at(1_001)));
    assert_eq!(group.states(), [State::Active; 2]);

    // One is outranked; both come back when the stranger is gone.
    group.act(at(1_100), |n, instance| {
        if n == 1 {
            let theirs = Advert { vrid: 52, ..advert(250) };
            let bytes = encode(&theirs, ROUTER, GROUP, Checksum::WithPseudoHeader);
            instance.handle_input(&bytes, from(ROUTER), at(1_100));
        }
    });
    assert_eq!(group.states(), [State::Backup; 2]);
    group.act(at(1_300), |_, instance| instance.handle_timeout(at(1_300)));
    assert_eq!(group.states(), [State::Backup; 2]);
    group.act(at(1_500), |_, instance| instance.handle_timeout(at(1_500)));
    assert_eq!(group.states(), [State::Active; 2]);

    let outputs = group.act(at(1_600), |_, instance| instance.set_stand(STANDBY, at(1_600)));
    assert_eq!(group.states(), [State::Backup; 2]);
    assert_eq!(outputs.each_ref().map(|o| sent(o)), [[0], [0]]);
}

#[test]
fn a_member_does_not_begin_before_the_others_can() {
    let mut group = Synced::new();
    group.act(at(0), |n, instance| {
        if n == 1 {
            instance.handle_fault(at(0));
        }
        instance.set_stand(HOLDER, at(0));
    });
    assert_eq!(group.states(), [State::Backup; 2]);
    assert_eq!(group.0[0].counters().sent, 0);
}

#[test]
fn a_changed_priority_is_advertised_at_once() {
    let mut instance = holder(A, at(0));
    instance.set_stand(Stand::Holder { priority: Priority::new(150).unwrap() }, at(10));
    assert_eq!(sent(&drain(&mut instance)), [150]);
    assert_eq!(instance.state(), State::Active);
}

#[test]
fn what_is_not_accepted_is_counted_and_resets_nothing() {
    let mut instance = standby(A, at(0));
    hear(&mut instance, B, 200, at(0));
    let good = encode(&advert(200), B, GROUP, Checksum::WithPseudoHeader);
    let now = at(300);
    hear_that(&mut instance, B, &Advert { vrid: 52, ..advert(200) }, now);
    hear_that(&mut instance, B, &Advert { addresses: vec![VIPS[0]], ..advert(200) }, now);
    hear_that(&mut instance, B, &Advert { addresses: vec![VIPS[0], A], ..advert(200) }, now);
    assert_eq!(instance.conflict(now), Some((B, Conflict::Addresses)));
    hear_that(&mut instance, A, &advert(200), now);
    instance.handle_input(&good, Arrival { ttl: 254, ..from(B) }, now);
    instance.handle_input(&good, Arrival { source: ROUTER, ..from(B) }, now);
    instance.handle_input(&good[..10], from(B), now);
    let unicast = encode(&advert(200), B, A, Checksum::WithPseudoHeader);
    instance.handle_input(&unicast, Arrival { destination: A, ..from(B) }, now);
    assert_eq!(drain(&mut instance), [], "the conflict was reported");
    let counters = *instance.counters();
    assert_eq!((counters.received, counters.other_vrid, counters.sent), (1, 1, 0));
    let expected = Errors {
        addresses: 2,
        own_source: 1,
        ttl: 1,
        checksum: 1,
        length: 1,
        destination: 1,
        ..Errors::default()
    };
    assert_eq!(counters.errors, expected);
    assert_eq!(counters.errors.total(), 7);
    let log = run(&mut instance, at(10_000));
    assert_eq!(log, [(Mono(360_937), Output::Event(Event::MasterDown))]);
    // The order of the addresses is free.
    let turned = Advert { addresses: vec![VIPS[1], VIPS[0]], ..advert(200) };
    assert_eq!(hear_that(&mut instance, B, &turned, at(11_000)).len(), 1);
}

#[test]
fn the_checksum_is_answered_in_kind() {
    let mut instance = standby(A, at(0));
    let bytes = encode(&advert(200), B, GROUP, Checksum::MessageOnly);
    instance.handle_input(&bytes, from(B), at(10));
    instance.handle_pulse(FOR_EVER, at(20));
    instance.set_stand(HOLDER, at(20));
    let outputs = drain(&mut instance);
    let answer = encode(&advert(200), A, GROUP, Checksum::MessageOnly);
    assert!(outputs.contains(&Output::SendAdvert { to: GROUP, bytes: answer }));
}

// ---- A network of two ---------------------------------------------------------------------------

/// Two instances on one link without loss; every advert arrives after a delay of its own.
struct Net {
    now: Mono,
    nodes: [Instance; 2],
    stands: [Stand; 2],
    /// Whether the kernel would have the addresses.
    has: [bool; 2],
    /// (arrives, to, bytes)
    wire: Vec<(Mono, usize, Vec<u8>)>,
    delays: Vec<u64>,
    step: usize,
    /// Since when both have the addresses.
    both_since: Option<Mono>,
    longest_both: Duration,
}

const SOURCES: [IpAddr; 2] = [A, B];
const DELAY_MAX_US: u64 = 20_000;

impl Net {
    fn new(delays: Vec<u64>) -> Self {
        Self {
            now: at(0),
            nodes: SOURCES.map(|source| Instance::new(config(source), at(0))),
            stands: [Stand::Silent; 2],
            has: [false; 2],
            wire: Vec::new(),
            delays,
            step: 0,
            both_since: None,
            longest_both: Duration::ZERO,
        }
    }

    fn stand(&mut self, node: usize, stand: Stand) {
        self.stands[node] = stand;
        self.nodes[node].handle_pulse(FOR_EVER, self.now);
        self.nodes[node].set_stand(stand, self.now);
        self.drain(node);
    }

    fn drain(&mut self, node: usize) {
        for output in drain(&mut self.nodes[node]) {
            match output {
                Output::AddAddresses { .. } => {
                    assert!(!self.has[node], "added twice");
                    assert!(matches!(self.stands[node], Stand::Holder { .. }), "by itself");
                    self.has[node] = true;
                }
                Output::RemoveAddresses => self.has[node] = false,
                Output::RefreshAddresses { .. } | Output::Announce { .. } => {
                    assert!(self.has[node]);
                }
                Output::SendAdvert { bytes, .. } => {
                    assert_eq!(self.has[node], bytes[2] > 0, "adverts only with the addresses");
                    let delay = self.delays[self.step % self.delays.len()];
                    self.step += 1;
                    self.wire.push((self.now.after(Duration::from_micros(delay)), 1 - node, bytes));
                }
                Output::Event(_) => {}
            }
        }
        assert_eq!(self.has[node], self.nodes[node].state() == State::Active);
        match (self.has == [true; 2], self.both_since) {
            (true, None) => self.both_since = Some(self.now),
            (false, Some(since)) => {
                self.longest_both = self.longest_both.max(self.now.since(since));
                self.both_since = None;
            }
            _ => {}
        }
    }

    fn run(&mut self, end: Mono) {
        loop {
            let timer = (0..2).filter_map(|n| Some((self.nodes[n].poll_timeout()?, n))).min();
            let packet = self.wire.iter().enumerate().map(|(n, w)| (w.0, n)).min();
            match (timer, packet) {
                (_, Some((arrives, n)))
                    if arrives <= end && timer.is_none_or(|t| arrives <= t.0) =>
                {
                    let (_, to, bytes) = self.wire.remove(n);
                    self.now = arrives;
                    self.nodes[to].handle_input(&bytes, from(SOURCES[1 - to]), arrives);
                    self.drain(to);
                }
                (Some((due, n)), _) if due <= end => {
                    self.now = due;
                    self.nodes[n].handle_timeout(due);
                    self.drain(n);
                }
                _ => break,
            }
        }
        self.now = end;
    }
}

proptest! {
    /// Whatever the pair says in whatever order: nobody becomes Active by itself; with one Holder
    /// exactly one is Active, and two Holders are one Active after one advert and its way.
    #[test]
    fn two_instances_agree(
        words in proptest::collection::vec((0usize..2, 0u8..3, 0u64..700), 1..40),
        delays in proptest::collection::vec(0..DELAY_MAX_US, 1..20),
    ) {
        let mut net = Net::new(delays);
        for (node, word, wait_ms) in words {
            net.stand(node, [Stand::Silent, STANDBY, HOLDER][usize::from(word)]);
            let end = net.now.after(ms(wait_ms));
            net.run(end);
        }
        // Healed: a handover to node 0 in the pair's order.
        net.stand(1, STANDBY);
        net.stand(0, HOLDER);
        let end = net.now.after(ms(1_000));
        net.run(end);
        prop_assert_eq!(net.nodes[0].state(), State::Active);
        prop_assert_eq!(net.nodes[1].state(), State::Backup);
        prop_assert_eq!(net.nodes[1].holder(), Some(A));
        let limit = ms(100) + Duration::from_micros(DELAY_MAX_US);
        prop_assert!(net.longest_both <= limit, "{:?}", net.longest_both);
    }

    /// RFC 9568 6.1, seen by a standby, for any interval, priority, delay and lateness of timers.
    #[test]
    fn master_down_keeps_its_window(
        centis in 1u16..=200, priority in 1u8..=254, adverts in 1u64..20, late_us in 0u64..5_000,
        delay_us in 0u64..9_000,
    ) {
        let interval = Interval::from_centis(centis).unwrap();
        let mut instance = Instance::new(config(A), at(0));
        let priority = Priority::new(priority).unwrap();
        instance.set_stand(Stand::Standby { priority }, at(0));
        drain(&mut instance);
        let theirs = Advert { interval, ..advert(200) };
        let mut last = at(0);
        for _ in 0..adverts {
            last = last.after(interval.duration());
            // The first may come after our own, shorter wait.
            let arrives = last.after(Duration::from_micros(delay_us));
            let outputs = hear_that(&mut instance, B, &theirs, arrives);
            prop_assert!(!events(&outputs).contains(&Event::MasterDown));
        }
        let due = instance.poll_timeout().unwrap();
        prop_assert!(run(&mut instance, Mono(due.0 - 1)).is_empty());
        let fires = due.after(Duration::from_micros(late_us));
        instance.handle_timeout(fires);
        prop_assert_eq!(events(&drain(&mut instance)), vec![Event::MasterDown]);
        let skew = interval.duration() * (256 - u32::from(priority.get())) / 256;
        let least = last.after(interval.duration() * 3);
        let most = least.after(skew + Duration::from_micros(delay_us + late_us));
        prop_assert!(least <= fires && fires <= most);
    }

    /// Arbitrary datagrams at arbitrary moments: no panic, bounded output, a timer never stuck.
    #[test]
    fn arbitrary_input_never_panics(
        datagrams in proptest::collection::vec(
            (proptest::collection::vec(any::<u8>(), 0..64), any::<u32>(), 0u64..10_000), 0..50
        ),
        stand in 0usize..3,
    ) {
        let mut instance = Instance::new(config(A), at(0));
        instance.handle_pulse(FOR_EVER, at(0));
        instance.set_stand([Stand::Silent, STANDBY, HOLDER][stand], at(0));
        let mut now = at(0);
        for (bytes, source, wait_us) in datagrams {
            now = now.after(Duration::from_micros(wait_us));
            if let Some((arrival, payload)) = split_ip(&bytes) {
                instance.handle_input(payload, arrival, now);
            }
            instance.handle_input(&bytes, from(IpAddr::V4(Ipv4Addr::from(source))), now);
            drain(&mut instance);
            run(&mut instance, now);
        }
        prop_assert_eq!(instance.counters().received, 0);
    }

    /// Well-formed adverts of anybody at any moment.
    #[test]
    fn arbitrary_adverts_never_panic(
        adverts in proptest::collection::vec(
            (any::<u8>(), 1u16..4096, 1u8..5, 0u64..500_000), 0..60
        ),
        stand in 0usize..3,
    ) {
        let mut instance = Instance::new(config(A), at(0));
        instance.handle_pulse(FOR_EVER, at(0));
        instance.set_stand([Stand::Silent, STANDBY, HOLDER][stand], at(0));
        drain(&mut instance);
        let mut now = at(0);
        for (priority, centis, number, wait_us) in adverts {
            now = now.after(Duration::from_micros(wait_us));
            run(&mut instance, now);
            let interval = Interval::from_centis(centis).unwrap();
            let advert = Advert { interval, ..advert(priority) };
            hear_that(&mut instance, host(number), &advert, now);
            if stand != 2 {
                prop_assert!(instance.state() != State::Active);
                prop_assert_eq!(instance.counters().sent, 0);
            }
        }
        run(&mut instance, now.after(Duration::from_secs(200)));
        prop_assert_eq!(instance.state() == State::Active, stand == 2);
    }
}

/// Two appliances on one link, each with the other's adverts, in steps of a millisecond.
fn exchange(one: &mut Instance, two: &mut Instance, from_ms: u64, to_ms: u64) -> [Vec<Output>; 2] {
    let mut log = [Vec::new(), Vec::new()];
    for now in (from_ms..to_ms).map(at) {
        one.handle_timeout(now);
        two.handle_timeout(now);
        for round in 0.. {
            assert!(round < 9, "they answer each other without end");
            let (said, answered) = (drain(one), drain(two));
            if said.is_empty() && answered.is_empty() {
                break;
            }
            let (first, second) = (one.config.source, two.config.source);
            for (outputs, source, hearer) in
                [(&said, first, &mut *two), (&answered, second, &mut *one)]
            {
                for output in outputs {
                    if let Output::SendAdvert { bytes, .. } = output {
                        hearer.handle_input(bytes, from(source), now);
                    }
                }
            }
            log[0].extend(said);
            log[1].extend(answered);
        }
    }
    log
}

fn announced(outputs: &[Output]) -> usize {
    outputs.iter().filter(|output| matches!(output, Output::Announce { .. })).count()
}

/// B, of the higher address, has given the pair away, but its guardian does not know it for 40 ms.
#[test]
fn the_later_reign_stays_whatever_its_address() {
    let (mut old, mut new) = (holder(B, at(0)), standby(A, at(0)));
    old.set_peer(A);
    new.set_peer(B);
    exchange(&mut old, &mut new, 1, 7_000);
    new.handle_pulse(FOR_EVER, at(7_000));
    new.set_stand(HOLDER, at(7_000));
    let [late, early] = exchange(&mut old, &mut new, 7_000, 7_040);
    assert_eq!((old.state(), new.state()), (State::Active, State::Active));
    assert_eq!(announced(&early), 1, "it has the addresses");
    assert_eq!(announced(&late), 0, "no client is called back");
    assert!(sent(&late).len() <= 1, "beyond its own interval nothing is said: {late:?}");
    assert!(!late.iter().chain(&early).any(|output| *output == Output::RemoveAddresses));
    old.set_stand(Stand::Silent, at(7_040));
    let [_, early] = exchange(&mut old, &mut new, 7_040, 7_060);
    assert_eq!(new.state(), State::Active);
    assert_eq!(announced(&early), 1, "whoever asked the old one is called");
}

/// A pair that is split again and again, and whose leader stays Active over all of it.
#[test]
fn clients_are_called_back_after_each_split() {
    let mut one = holder(A, at(0));
    one.set_peer(B);
    let mut calls = Vec::new();
    for split in [10_000, 20_000, 20_200, 30_000] {
        one.handle_pulse(FOR_EVER, at(split));
        one.handle_timeout(at(split));
        drain(&mut one);
        // The second time it has heard of us before it could say anything.
        if split != 20_000 {
            hear(&mut one, B, 200, at(split + 10));
        }
        calls.push(announced(&hear(&mut one, B, 0, at(split + 50))));
        assert_eq!(one.state(), State::Active);
    }
    // Not twice within a second: whoever can forge its adverts must not make us flood the link.
    assert_eq!(calls, [1, 1, 0, 1]);
}

/// The way is back before the other one has gone, and its farewell may get lost.
#[test]
fn clients_are_called_when_a_way_to_the_peer_is_back_and_a_second_later() {
    let mut one = holder(A, at(0));
    one.handle_pulse(FOR_EVER, at(10_000));
    one.handle_timeout(at(10_000));
    drain(&mut one);
    one.handle_reunion(at(10_000));
    assert_eq!(announced(&drain(&mut one)), 1);
    one.handle_reunion(at(10_010));
    one.handle_timeout(at(10_500));
    assert_eq!(announced(&drain(&mut one)), 0);
    one.handle_timeout(at(11_000));
    assert_eq!(announced(&drain(&mut one)), 1);
    one.handle_timeout(at(13_000));
    assert_eq!(announced(&drain(&mut one)), 0);
}

/// Two that lead alone and meet again: no handover, so the higher address stays, a moment later.
#[test]
fn two_reigns_that_go_on_end_with_one() {
    for later in [0, 500, 60_000] {
        let (mut one, mut two) = (holder(A, at(0)), holder(B, at(later)));
        one.handle_timeout(at(later));
        drain(&mut one);
        one.set_peer(B);
        two.set_peer(A);
        let end = later + 2_500;
        exchange(&mut one, &mut two, later, end);
        assert_eq!((one.state(), two.state()), (State::Backup, State::Active), "{later}");
    }
}

/// Somebody of a lower rank is heard in between, again and again.
#[test]
fn a_meeting_does_not_begin_anew_with_each_third_router() {
    let (mut one, mut two) = (holder(A, at(0)), holder(B, at(60_000)));
    one.handle_timeout(at(60_000));
    drain(&mut one);
    one.set_peer(B);
    two.set_peer(A);
    let third = encode(&advert(90), ROUTER, GROUP, Checksum::WithPseudoHeader);
    for begin in (60_000..62_500).step_by(100) {
        exchange(&mut one, &mut two, begin, begin + 100);
        for instance in [&mut one, &mut two] {
            instance.handle_input(&third, from(ROUTER), at(begin + 100));
        }
    }
    assert_eq!((one.state(), two.state()), (State::Backup, State::Active));
}

/// Of our rank, but not our peer: the higher address at once, as everybody else has it.
#[test]
fn a_stranger_of_our_rank_is_ranked_by_its_address() {
    let mut instance = holder(A, at(0));
    instance.set_peer(B);
    hear(&mut instance, ROUTER, 200, at(10));
    assert_eq!(instance.state(), State::Backup);
}
