//! One virtual router with its sockets: does what its instance says, and tells it of the world.
//!
//! Invariants: an origin's instance stands where its [`Origin`] says, and tells the pair nothing;
//! the interface is looked at every [`CHECK_EVERY`], and an unfit one is a fault until it is fit.
//! Deliberately absent: protocol rules, which are `understudy_proto::vrrp`'s.

use super::address::{AddressError, Addresses, Place};
use super::announce::Announcer;
use super::driver::{ClaimOrder, Tools};
use super::group::{GroupKind, Problem, Unicast};
use super::interface::{Interface, Source};
use super::link::{LinkError, Port, VirtualLink};
use super::probe::probe;
use super::quota::Quota;
use super::socket::{AdvertSocket, Buffer, Received};
use super::track::Tracker;
use super::{GroupConfig, GroupStatus, PeerGroup, VrrpEvent};
use crate::base::{clock, metric, task};
use log::{error, info, warn};
use nix::errno::Errno;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;
use understudy_proto::time::{Mono, UnixMs};
use understudy_proto::vrrp::{
    ADDRESS_LIFETIME, Claim, Config, Conflict, Event, Instance, Origin, Output, Priority, Stand,
    State, TTL,
};

/// How often an interface is looked at: the longest that a lost carrier goes unnoticed.
const CHECK_EVERY: Duration = Duration::from_millis(250);

/// Datagrams read in one round: more than a socket's default buffer holds, and an end under flood.
const RECEIVE_MAX: usize = 512;

/// Lines of the log in a minute about what others on the link send: each takes one datagram of
/// whoever is there, from an address of its own.
const LINES_OF_OTHERS_MAX: u32 = 20;

/// Lines of the log in a minute about ourselves.
const LINES_MAX: u32 = 60;

/// Lines of the log in a minute about the claim of an origin's address: no stranger uses them up with
/// something else.
const LINES_OF_CLAIMS_MAX: u32 = 20;

/// Times that an origin changes its stand in one go, far beyond what its rules can make.
const STANDS_MAX: usize = 8;

/// One virtual router.
pub(super) struct Router {
    number: usize,
    config: GroupConfig,
    /// The floating addresses of all groups: none of them is an interface's own.
    floating: Arc<[IpAddr]>,
    instance: Instance,
    origin: Option<Origin>,
    /// Where the instance was told to stand.
    stand: Stand,
    /// `None` while the interface is unfit.
    open: Option<Open>,
    /// The interface's number, as last seen: addresses are removed from an unfit one, too.
    index: Option<u32>,
    virtual_link: Option<VirtualLink>,
    tracker: Option<Tracker>,
    /// Whether `fault` is the tracker's.
    tracked_fault: bool,
    check_at: Mono,
    fault: Option<String>,
    send_errors: u64,
    last_transition: Option<UnixMs>,
    order: u64,
    refusal: Option<String>,
    /// Of the log's lines: about others, and about ourselves.
    quotas: [Quota; 3],
    /// When an address could not be removed, if that was so the last time.
    left_at: Option<Mono>,
}

/// What is open on a fit interface.
struct Open {
    interface: Interface,
    socket: AdvertSocket,
    announcer: Announcer,
}

impl Open {
    fn new(name: &str, interface: Interface, unicast: bool) -> io::Result<Self> {
        let socket = AdvertSocket::open(name, &interface, unicast)?;
        let announcer = Announcer::open(&Port::from(&interface))?;
        Ok(Self { interface, socket, announcer })
    }
}

impl Router {
    pub(super) fn new(
        number: usize,
        config: GroupConfig,
        floating: Arc<[IpAddr]>,
        now: Mono,
    ) -> Self {
        let none = if config.is_ipv6() {
            IpAddr::V6(Ipv6Addr::UNSPECIFIED)
        } else {
            IpAddr::V4(Ipv4Addr::UNSPECIFIED)
        };
        let unicast = config.unicast.clone();
        let machine = Config {
            vrid: config.vrid,
            version: config.version,
            interval: config.interval,
            source: none, // Until the interface is found.
            addresses: config.addresses.iter().map(|a| a.address).collect(),
            checksum: config.checksum,
            authentication: config.authentication,
            check_source: unicast.as_ref().is_none_or(|unicast| unicast.check_source),
            ttl_min: unicast.as_ref().map_or(TTL, |unicast| unicast.ttl_min),
            peers: unicast.map(|unicast| unicast.peers).unwrap_or_default(),
            synced: config.sync.is_some(),
        };
        let origin = match config.kind {
            GroupKind::Pair => None,
            GroupKind::Origin { priority, takeover, .. } => Some(Origin::new(priority, takeover)),
        };
        Self {
            number,
            floating,
            instance: Instance::new(machine, now),
            origin,
            stand: Stand::Silent,
            open: None,
            index: None,
            virtual_link: None,
            tracker: config.track.clone().map(Tracker::start),
            tracked_fault: false,
            check_at: now,
            fault: None,
            send_errors: 0,
            last_transition: None,
            order: 0,
            refusal: None,
            left_at: None,
            quotas: [LINES_OF_OTHERS_MAX, LINES_MAX, LINES_OF_CLAIMS_MAX]
                .map(|max| Quota::new(max, now)),
            config,
        }
    }

    pub(super) fn instance_mut(&mut self) -> &mut Instance {
        &mut self.instance
    }

    pub(super) fn socket(&self) -> Option<&AdvertSocket> {
        self.open.as_ref().map(|open| &open.socket)
    }

    /// When something is due.
    pub(super) fn next(&self) -> Mono {
        let origin = self.origin.as_ref().and_then(Origin::poll_timeout);
        [self.instance.poll_timeout(), origin].into_iter().flatten().fold(self.check_at, Mono::min)
    }

    // ---- Orders --------------------------------------------------------------------------------

    /// The pair's word. Drain with [`Router::perform`].
    pub(super) fn take_orders(&mut self, lease: Mono, stand: Option<Stand>, now: Mono) {
        self.instance.handle_pulse(lease, now);
        let Some(stand) = stand else { return };
        match &mut self.origin {
            Some(origin) => origin.set_here(matches!(stand, Stand::Holder { .. }), now),
            None => {
                self.stand = stand;
                self.instance.set_stand(stand, now);
            }
        }
    }

    /// The other appliance's word about a group.
    pub(super) fn take_peer(&mut self, said: &PeerGroup, now: Mono) {
        let ours = self.config.addresses.iter().map(|a| a.address).min() == Some(said.address);
        if !ours {
            return;
        }
        if let Some(source) = said.source {
            self.instance.set_peer(source);
        }
        if let Some(origin) = &mut self.origin {
            origin.handle_peer(said.source, said.word, now);
        }
    }

    /// A way to the other appliance is back.
    pub(super) fn take_reunion(&mut self, now: Mono) {
        self.instance.handle_reunion(now);
    }

    pub(super) fn take_claim(&mut self, order: ClaimOrder, now: Mono) {
        self.order = order.number;
        let Some(origin) = &mut self.origin else {
            self.refusal = Some("the group is the pair's own, not an origin's".to_owned());
            return;
        };
        self.refusal = match order.claim {
            Some(force) => origin.claim(force, now).err().map(|refusal| refusal.to_string()),
            None => {
                origin.release();
                None
            }
        };
    }

    pub(super) fn take_probe(&mut self, in_use: Option<String>, now: Mono) {
        if let Some(origin) = &mut self.origin {
            origin.handle_probe(in_use.is_some(), now);
            self.refusal = in_use;
        }
    }

    // ---- The world -----------------------------------------------------------------------------

    /// Reads all that waits.
    pub(super) fn receive(&mut self, buffer: &mut Buffer, tools: &mut Tools) {
        for _ in 0..RECEIVE_MAX {
            let Some(open) = &self.open else { return };
            let now = clock::mono();
            match open.socket.receive(buffer) {
                Ok(Received::Nothing) => return,
                Ok(Received::Noise) => {}
                Ok(Received::Datagram(arrival, bytes)) => {
                    metric::VRRP_RECEIVED.inc();
                    self.instance.handle_input(bytes, arrival, now);
                    self.perform(tools, now);
                }
                Err(error) => {
                    self.close(&error.to_string(), now);
                    self.perform(tools, now);
                }
            }
        }
    }

    pub(super) fn pass_time(&mut self, tools: &mut Tools) {
        let now = clock::mono();
        if self.instance.poll_timeout().is_some_and(|at| at <= now) {
            self.instance.handle_timeout(now);
            self.perform(tools, now);
        }
        if self.check_at <= now {
            self.check_at = now.after(CHECK_EVERY);
            self.check(tools, now);
            self.perform(tools, now);
        }
    }

    /// Looks at the interface: opens, closes or reopens what is on it. Then at the command.
    fn check(&mut self, tools: &mut Tools, now: Mono) {
        self.say_left_out(now);
        let wanted = self.source();
        let found = match Interface::find(&self.config.interface, &self.floating, wanted) {
            Ok(found) => found,
            Err(error) => return self.close(&error.to_string(), now),
        };
        if self.virtual_link.as_ref().is_some_and(|link| !link.is_whole()) {
            // Somebody has removed it or taken it down. Made anew, it gets its addresses back with
            // their next refresh.
            warn!(interface = self.config.interface.as_str(), vrid = self.config.vrid;
                "interface of a virtual MAC was changed by somebody else, made anew");
            self.drop_virtual_link(tools);
            self.open = None;
        }
        if self.open.as_ref().is_none_or(|open| open.interface != found)
            && let Err(why) = self.reopen(found, tools)
        {
            return self.close(&why, now);
        }
        match self.tracker.as_ref().and_then(Tracker::fault) {
            Some(why) => {
                self.tracked_fault = true;
                self.say_fault(&why);
                self.instance.handle_fault(now);
            }
            None if self.tracked_fault => {
                self.tracked_fault = false;
                self.fault = None;
            }
            None => {}
        }
    }

    fn source(&self) -> Source {
        let local = |peer: &IpAddr| match peer {
            IpAddr::V4(_) => false,
            IpAddr::V6(peer) => peer.is_unicast_link_local(),
        };
        match &self.config.unicast {
            _ if !self.config.is_ipv6() => Source::V4,
            Some(Unicast { peers, .. }) if !peers.iter().all(local) => Source::Global,
            _ => Source::LinkLocal,
        }
    }

    fn reopen(&mut self, found: Interface, tools: &mut Tools) -> Result<(), String> {
        let (index, source) = (found.index, found.source);
        let name = self.config.interface.clone();
        if self.config.virtual_mac && (self.index != Some(index) || self.virtual_link.is_none()) {
            self.drop_virtual_link(tools);
            let mac = self.config.virtual_mac_address();
            let made =
                VirtualLink::make(&mut tools.netlink, &mut tools.settings, &name, index, mac);
            self.virtual_link = Some(made.map_err(|error| error.to_string())?);
        }
        let open = Open::new(&name, found, self.config.unicast.is_some());
        let mut open = open.map_err(|error| error.to_string())?;
        if let Some(link) = self.virtual_link.as_ref().filter(|link| link.is_up()) {
            open.announcer = Announcer::open(&link.port).map_err(|errno| errno.to_string())?;
        }
        self.open = Some(open);
        info!(interface = name.as_str(), vrid = self.config.vrid;
            "virtual router is on the link");
        self.index = Some(index);
        self.fault = None;
        self.instance.set_source(source);
        if self.instance.state() != State::Active {
            // What an earlier process left behind, if it died less than its lifetime ago.
            self.remove_addresses(tools);
        }
        Ok(())
    }

    /// The interface is unfit. Said again at every check, as the instance wants it.
    fn close(&mut self, why: &str, now: Mono) {
        self.open = None;
        self.say_fault(why);
        self.instance.handle_fault(now);
    }

    fn say_fault(&mut self, why: &str) {
        if self.fault.as_deref() != Some(why) {
            warn!(interface = self.config.interface.as_str(), vrid = self.config.vrid,
                reason = why, runbook = "address-missing"; "virtual router cannot work");
            self.fault = Some(why.to_owned());
        }
    }

    /// The end: what was made on the interface goes.
    pub(super) fn clear(&mut self, tools: &mut Tools) {
        self.drop_virtual_link(tools);
    }

    /// Whether an address may still be here that is not to be: it could not be removed, and the
    /// kernel, which counts in seconds, has not ended it yet either.
    pub(super) fn has_left_address(&self, now: Mono) -> bool {
        self.left_at.is_some_and(|at| now.since(at) <= 2 * ADDRESS_LIFETIME)
    }

    fn drop_virtual_link(&mut self, tools: &mut Tools) {
        if let Some(link) = self.virtual_link.take() {
            link.remove(&mut tools.netlink, &mut tools.settings);
        }
    }

    // ---- Doing ---------------------------------------------------------------------------------

    /// Does what the instance says, and lets an origin answer; true when there was anything.
    pub(super) fn perform(&mut self, tools: &mut Tools, now: Mono) -> bool {
        let mut any = false;
        for _ in 0..STANDS_MAX {
            while let Some(output) = self.instance.poll_output() {
                any = true;
                self.carry_out(output, tools, now);
            }
            let Some(origin) = &mut self.origin else { break };
            let probes = origin.poll_probe(now);
            let stand = origin.stand();
            if probes {
                self.start_probe(tools);
            }
            if stand == self.stand {
                break;
            }
            self.stand = stand;
            self.instance.set_stand(stand, now);
        }
        any
    }

    fn carry_out(&mut self, output: Output, tools: &mut Tools, now: Mono) {
        match output {
            Output::AddAddresses { valid_for } | Output::RefreshAddresses { valid_for } => {
                self.hold_addresses(tools, valid_for, now);
            }
            Output::RemoveAddresses => self.remove_addresses(tools),
            Output::SendAdvert { to, bytes } => self.send(&bytes, to, now),
            Output::Announce { times } => self.announce(times),
            Output::Event(kind) => self.take_event(kind, tools, now),
        }
    }

    fn take_event(&mut self, kind: Event, tools: &mut Tools, now: Mono) {
        let Some(origin) = &mut self.origin else {
            self.log(kind);
            return tools.outbox.put(VrrpEvent { group: self.number, kind, at: now });
        };
        let before = origin.state();
        origin.handle_event(kind, now);
        let after = origin.state();
        self.log(kind);
        if after == before {
            return;
        }
        let [_, _, claims] = &mut self.quotas;
        if !claims.allows() {
            return;
        }
        let name = self.config.name.as_str();
        if after == Claim::Asked {
            error!(address = name, runbook = "origin-address"; "the origin is gone: claim its address?");
        } else {
            info!(address = name, from:? = before, to:? = after; "claim of an origin's address");
        }
    }

    fn start_probe(&mut self, tools: &Tools) {
        let number = self.number;
        let Some(open) = &self.open else {
            // An unfit interface asks nobody: not now.
            let unfit = Some("the interface is unfit".to_owned());
            return tools.shared.order(move |orders| orders.probes.push((number, unfit)));
        };
        let port = Port::from(&open.interface);
        let addresses: Vec<IpAddr> = self.config.addresses.iter().map(|a| a.address).collect();
        let shared = tools.shared.clone();
        drop(task::thread("vrrp-probe", move || {
            let in_use = match probe(&port, &addresses) {
                Ok(found) => found.map(|found| found.to_string()),
                Err(error) => Some(format!("the address cannot be probed: {error}")),
            };
            shared.order(move |orders| orders.probes.push((number, in_use)));
        }));
    }

    fn hold_addresses(&mut self, tools: &mut Tools, valid_for: Duration, now: Mono) {
        // While the interface is unfit its fault says why, and the instance knows.
        let Some(open) = &mut self.open else { return self.instance.handle_fault(now) };
        let place = match &mut self.virtual_link {
            Some(link) => raise(link, open, tools).map_err(|error| error.to_string()),
            None => Ok(Place::Shared(open.interface.index)),
        };
        let held = place.and_then(|place| {
            let mut addresses = self.config.addresses.iter();
            let held = addresses.try_for_each(|a| tools.netlink.hold(place, *a, valid_for));
            held.map_err(|error| error.to_string())
        });
        match held {
            Ok(()) => self.fault = None,
            Err(why) => {
                self.say_fault(&why);
                self.instance.handle_fault(now);
                // What is wrong with it is looked at now: it may be gone.
                self.check_at = now;
            }
        }
    }

    fn remove_addresses(&mut self, tools: &mut Tools) {
        let Some(index) = self.index else { return };
        let own = self.virtual_link.as_ref().map(|link| Place::Own(link.port.index));
        let place = own.unwrap_or(Place::Shared(index));
        let mut left = false;
        for address in &self.config.addresses {
            let again = |netlink: &mut Addresses, error| {
                // A socket that is out of step is no reason to keep an address.
                let Ok(fresh) = Addresses::open() else { return Err(error) };
                *netlink = fresh;
                netlink.remove(place, *address)
            };
            let removed = match tools.netlink.remove(place, *address) {
                Ok(()) | Err(AddressError::NoInterface(_)) => continue,
                Err(error) => again(&mut tools.netlink, error),
            };
            if let Err(error) = removed.or_else(AddressError::or_gone) {
                // Its lifetime ends it.
                left = true;
                error!(address:% = address, err:% = error, runbook = "address-left";
                    "floating address was not removed");
            }
        }
        if let Some(link) = &mut self.virtual_link
            && let Err(error) = link.raise(&mut tools.netlink, false)
        {
            left = true;
            error!(err:% = error, runbook = "address-left";
                "interface of a virtual MAC was not taken down");
        }
        self.left_at = left.then(clock::mono);
    }

    fn send(&mut self, advert: &[u8], to: IpAddr, now: Mono) {
        let Some(open) = &self.open else { return };
        // The farewell finds the virtual interface down: it leaves through the other.
        let virtually = self.virtual_link.as_ref().is_some_and(VirtualLink::is_up);
        let sent = if virtually && self.config.unicast.is_none() {
            open.announcer
                .advertise(advert, open.interface.source, to)
                .map_err(|errno| io::Error::from_raw_os_error(errno as i32))
        } else {
            open.socket.send(advert, to)
        };
        let Err(error) = sent else {
            metric::VRRP_SENT.inc();
            return;
        };
        self.send_errors = self.send_errors.saturating_add(1);
        match error.raw_os_error().map(Errno::from_raw) {
            // What the socket was bound to is gone: look now, not at the next check.
            Some(
                Errno::ENODEV
                | Errno::ENXIO
                | Errno::ENETDOWN
                | Errno::EADDRNOTAVAIL
                | Errno::EINVAL,
            ) => {
                self.close(&error.to_string(), now);
                self.check_at = now;
            }
            _ => {
                let [_, own, _] = &mut self.quotas;
                if own.allows() {
                    warn!(err:% = error, runbook = "address-missing"; "advert was not sent");
                }
            }
        }
    }

    fn announce(&mut self, times: u8) {
        let Some(open) = &self.open else { return };
        for _ in 0..times {
            for floating in &self.config.addresses {
                if let Err(error) = open.announcer.announce(floating.address) {
                    self.send_errors = self.send_errors.saturating_add(1);
                    let [_, own, _] = &mut self.quotas;
                    if own.allows() {
                        warn!(err:% = error, runbook = "address-missing";
                            "announcement of an address was not sent");
                    }
                    return;
                }
            }
        }
    }

    // ---- Telling -------------------------------------------------------------------------------

    fn may_write(&mut self, event: &Event) -> bool {
        let is_origin_s = self.origin.is_some();
        let [others, own, _] = &mut self.quotas;
        match event {
            Event::HeardActive { .. }
            | Event::ActiveReleased { .. }
            | Event::Outranked { .. }
            | Event::Conflict { .. } => others.allows(),
            // An origin that falls silent, or a stranger.
            Event::MasterDown if is_origin_s => others.allows(),
            Event::Entered(_)
            | Event::MasterDown
            | Event::Lapsed
            | Event::Fault
            | Event::FaultOver
            | Event::Held => own.allows(),
        }
    }

    fn say_left_out(&mut self, now: Mono) {
        let (interface, vrid) = (self.config.interface.as_str(), self.config.vrid);
        let [others, own, claims] = &mut self.quotas;
        if let Some(count) = others.end(now) {
            warn!(interface, vrid, count, runbook = "vrrp-foreign-router";
                "lines about other routers were left out in the last minute");
        }
        if let Some(count) = own.end(now) {
            warn!(interface, vrid, count, runbook = "address-missing";
                "lines about this virtual router were left out in the last minute");
        }
        if let Some(count) = claims.end(now) {
            warn!(interface, vrid, count, runbook = "origin-address";
                "lines about the claim of an origin's address were left out in the last minute");
        }
    }

    fn log(&mut self, event: Event) {
        if matches!(event, Event::Entered(_)) {
            self.last_transition = Some(clock::now_ms());
        }
        if !self.may_write(&event) {
            return;
        }
        let (interface, vrid) = (self.config.interface.as_str(), self.config.vrid);
        match event {
            Event::Entered(state) => {
                info!(interface, vrid, to:? = state; "virtual router changed its state");
            }
            Event::HeardActive { source, priority }
                if self.origin.as_ref().and_then(Origin::equal) == Some(source) =>
            {
                error!(interface, vrid, peer:% = source, priority, runbook = "origin-address";
                    "the origin's address is advertised with our own priority");
            }
            Event::HeardActive { source, priority } => {
                info!(interface, vrid, peer:% = source, priority; "active router heard");
            }
            Event::MasterDown => info!(interface, vrid; "active router is down"),
            Event::ActiveReleased { source } => {
                info!(interface, vrid, peer:% = source; "active router released its addresses");
            }
            Event::Outranked { source, priority } if self.origin.is_some() => {
                info!(interface, vrid, peer:% = source, priority; "the origin took its address back");
            }
            Event::Outranked { source, priority } => {
                error!(interface, vrid, peer:% = source, priority, runbook = "vrrp-foreign-router";
                    "yielded to a higher rank");
            }
            Event::Lapsed => {
                warn!(interface, vrid, runbook = "no-lease";
                    "lease not renewed in time, addresses removed");
            }
            Event::Fault => {
                warn!(interface, vrid, runbook = "address-missing"; "virtual router is unfit");
            }
            Event::FaultOver => info!(interface, vrid; "virtual router is fit again"),
            Event::Held => {
                warn!(interface, vrid, runbook = "address-missing";
                    "held: another of its sync group is unfit");
            }
            Event::Conflict { source, conflict } => {
                error!(interface, vrid, peer:% = source, reason = words(conflict),
                    runbook = "vrrp-address-conflict"; "another router uses our virtual router id");
            }
        }
    }

    fn problem(&self, now: Mono) -> Option<Problem> {
        let problem = |what, runbook: &str| Some(Problem { what, runbook: runbook.to_owned() });
        if let Some((source, conflict)) = self.instance.conflict(now) {
            let what = format!("{source} uses our vrid, too, but {}", words(conflict));
            return problem(what, "vrrp-address-conflict");
        }
        if self.origin.is_none()
            && let Some((source, priority)) = self.instance.outranked_by()
        {
            let what = format!("{source} advertises our addresses with priority {priority}");
            return problem(what, "vrrp-foreign-router");
        }
        let equal = self.origin.as_ref()?.equal();
        if let Some(source) = equal.filter(|source| self.instance.hears(*source)) {
            let what = format!("{source} advertises the origin's address with our own priority");
            return problem(what, "origin-address");
        }
        match self.origin.as_ref()?.state() {
            Claim::Asked => {
                let name = &self.config.name;
                let what = format!("the origin is gone: `understudy address claim {name}`?");
                problem(what, "origin-address")
            }
            Claim::Refused => problem(self.refusal.clone().unwrap_or_default(), "origin-address"),
            Claim::Idle | Claim::Probing | Claim::Held => None,
        }
    }

    fn priority(&self) -> u8 {
        match (&self.config.kind, self.stand) {
            (GroupKind::Origin { priority, .. }, _) => priority.get(),
            (GroupKind::Pair, Stand::Silent) => 0,
            (
                GroupKind::Pair,
                Stand::Standby { priority }
                | Stand::StandbyAnew { priority }
                | Stand::Holder { priority },
            ) => Priority::get(priority),
        }
    }

    pub(super) fn status(&self, now: Mono) -> GroupStatus {
        let counters = self.instance.counters();
        GroupStatus {
            interface: self.config.interface.clone(),
            vrid: self.config.vrid,
            state: self.instance.state(),
            holder: self.instance.holder(),
            addresses: self.config.addresses.clone(),
            adverts_sent: counters.sent,
            adverts_received: counters.received,
            errors: counters.errors,
            send_errors: self.send_errors,
            fault: self.fault.clone(),
            last_transition: self.last_transition,
            name: self.config.name.clone(),
            kind: self.config.kind.clone(),
            priority: self.priority(),
            claim: self.origin.as_ref().map(Origin::state).unwrap_or_default(),
            order: self.order,
            refusal: self.refusal.clone(),
            problem: self.problem(now),
            source: self.open.as_ref().map(|open| open.interface.source),
            word: self.origin.as_ref().and_then(Origin::word),
        }
    }
}

/// Takes the virtual interface up; a packet socket must be bound anew to one that was down.
fn raise(link: &mut VirtualLink, open: &mut Open, tools: &mut Tools) -> Result<Place, LinkError> {
    if link.raise(&mut tools.netlink, true)? {
        open.announcer = Announcer::open(&link.port).map_err(LinkError::Refused)?;
    }
    Ok(Place::Own(link.port.index))
}

fn words(conflict: Conflict) -> &'static str {
    match conflict {
        Conflict::Addresses => "for other addresses",
        Conflict::Version => "in the other version of the protocol",
        Conflict::Interval => "with another pause between adverts",
        Conflict::Authentication => "with another password",
    }
}
