//! The thread that drives the instances: sockets in, orders in, time in; packets, addresses and
//! events out.
//!
//! Invariants: each round reads the sockets before it looks at the clock, so that a thread that was
//! late does not call an Active down whose adverts wait unread. Nothing here waits for the async
//! runtime; an event that its channel does not take is kept. Deliberately absent: protocol rules,
//! which are `understudy_proto::vrrp`'s.

use super::address::{AddressError, Addresses};
use super::announce::Announcer;
use super::interface::Interface;
use super::socket::{AdvertSocket, Buffer, Received};
use super::{GroupConfig, GroupStatus, VrrpEvent, lock};
use crate::base::{clock, metric};
use log::{info, warn};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::eventfd::EventFd;
use nix::sys::time::TimeSpec;
use std::collections::VecDeque;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use understudy_proto::time::{Mono, UnixMs};
use understudy_proto::vrrp::{Config, Event, Instance, Output, Stand, State};

/// How often an interface is looked at: the longest that a lost carrier goes unnoticed.
const CHECK_EVERY: Duration = Duration::from_millis(250);

/// Datagrams read in one round: more than a socket's default buffer holds, and an end under flood.
const RECEIVE_MAX: usize = 512;

/// How soon an event is offered again that the channel did not take.
const OFFER_AGAIN: Duration = Duration::from_millis(5);

/// What the thread shares with everybody else.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) orders: Mutex<Orders>,
    pub(super) wake: EventFd,
    pub(super) status: Mutex<Vec<GroupStatus>>,
}

/// What the thread is told; the latest word of each kind.
#[derive(Debug, Default)]
pub(super) struct Orders {
    pub(super) stand: Option<Stand>,
    pub(super) lease: Mono,
    pub(super) stop: bool,
}

impl Shared {
    /// Changes the orders and wakes the thread.
    pub(super) fn order(&self, change: impl FnOnce(&mut Orders)) {
        change(&mut lock(&self.orders));
        // A full counter has woken the thread already.
        if let Err(error) = self.wake.write(1)
            && error != Errno::EAGAIN
        {
            warn!(err:% = error; "the vrrp thread could not be woken");
        }
    }
}

pub(super) struct Driver {
    shared: Arc<Shared>,
    netlink: Addresses,
    groups: Vec<Group>,
    outbox: Outbox,
    buffer: Buffer,
}

impl Driver {
    pub(super) fn new(
        configs: Vec<GroupConfig>,
        shared: Arc<Shared>,
        netlink: Addresses,
        events: mpsc::Sender<VrrpEvent>,
        now: Mono,
    ) -> Self {
        let floating: Arc<[Ipv4Addr]> =
            configs.iter().flat_map(|config| &config.addresses).map(|a| a.address).collect();
        let groups = configs
            .into_iter()
            .enumerate()
            .map(|(n, config)| Group::new(n, config, floating.clone(), now))
            .collect();
        let outbox = Outbox::new(events);
        let driver = Self { shared, netlink, groups, outbox, buffer: Buffer::default() };
        driver.publish();
        driver
    }

    pub(super) fn run(mut self) {
        // The sockets are open before the first order is read: it is not to meet a fault that is
        // only our beginning.
        self.pass_time();
        loop {
            for group in &mut self.groups {
                group.receive(&mut self.buffer, &mut self.netlink, &mut self.outbox);
            }
            let stop = self.obey();
            self.pass_time();
            self.outbox.flush();
            self.publish();
            if stop {
                return;
            }
            self.wait();
        }
    }

    fn pass_time(&mut self) {
        for group in &mut self.groups {
            group.pass_time(&mut self.netlink, &mut self.outbox);
        }
    }

    /// Takes the orders; true when they are to stop.
    fn obey(&mut self) -> bool {
        // A read fails when nobody woke us; both are fine.
        let woken = self.shared.wake.read().is_ok();
        if !woken {
            return false;
        }
        let (stand, lease, stop) = {
            let mut orders = lock(&self.shared.orders);
            (orders.stand.take(), orders.lease, orders.stop)
        };
        let stand = if stop { Some(Stand::Silent) } else { stand };
        for group in &mut self.groups {
            let now = clock::mono();
            group.instance.handle_pulse(lease, now);
            if let Some(stand) = stand {
                group.instance.set_stand(stand, now);
            }
            group.perform(&mut self.netlink, &mut self.outbox, now);
        }
        stop
    }

    /// Sleeps until a datagram, an order or a timer.
    fn wait(&self) {
        let now = clock::mono();
        let timers = self.groups.iter().flat_map(|group| {
            [Some(group.check_at), group.instance.poll_timeout()].into_iter().flatten()
        });
        let again = (!self.outbox.waiting.is_empty()).then(|| now.after(OFFER_AGAIN));
        let wait = timers.chain(again).min().map(|next| TimeSpec::from(next.since(now)));
        let mut fds = vec![PollFd::new(self.shared.wake.as_fd(), PollFlags::POLLIN)];
        let ports = self.groups.iter().filter_map(|group| group.port.as_ref());
        fds.extend(ports.map(|port| PollFd::new(port.socket.as_fd(), PollFlags::POLLIN)));
        match ppoll(&mut fds, wait, None) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => {
                warn!(err:% = error; "the vrrp thread cannot wait");
                std::thread::sleep(Duration::from_millis(1)); // Out of memory: no busy loop.
            }
        }
    }

    fn publish(&self) {
        let mut status = lock(&self.shared.status);
        status.clear();
        status.extend(self.groups.iter().map(Group::status));
    }
}

/// One virtual router with its sockets.
struct Group {
    number: usize,
    config: GroupConfig,
    /// The floating addresses of all groups: none of them is an interface's own.
    floating: Arc<[Ipv4Addr]>,
    instance: Instance,
    /// `None` while the interface is unfit.
    port: Option<Port>,
    /// The interface's number, as last seen: addresses are removed from an unfit one, too.
    index: Option<u32>,
    check_at: Mono,
    fault: Option<String>,
    send_errors: u64,
    last_transition: Option<UnixMs>,
}

/// What is open on a fit interface.
struct Port {
    interface: Interface,
    socket: AdvertSocket,
    announcer: Announcer,
}

impl Port {
    fn open(name: &str, interface: Interface) -> io::Result<Self> {
        let socket = AdvertSocket::open(name, &interface)?;
        let announcer = Announcer::open(&interface)?;
        Ok(Self { interface, socket, announcer })
    }
}

impl Group {
    fn new(number: usize, config: GroupConfig, floating: Arc<[Ipv4Addr]>, now: Mono) -> Self {
        let machine = Config {
            vrid: config.vrid,
            interval: config.interval,
            source: Ipv4Addr::UNSPECIFIED, // Until the interface is found.
            addresses: config.addresses.iter().map(|a| a.address).collect(),
            checksum: config.checksum,
        };
        Self {
            number,
            config,
            floating,
            instance: Instance::new(machine, now),
            port: None,
            index: None,
            check_at: now,
            fault: None,
            send_errors: 0,
            last_transition: None,
        }
    }

    /// Reads all that waits.
    fn receive(&mut self, buffer: &mut Buffer, netlink: &mut Addresses, outbox: &mut Outbox) {
        for _ in 0..RECEIVE_MAX {
            let Some(port) = &self.port else { return };
            let now = clock::mono();
            match port.socket.receive(buffer) {
                Ok(Received::Nothing) => return,
                Ok(Received::Noise) => {}
                Ok(Received::Datagram(arrival, bytes)) => {
                    metric::VRRP_RECEIVED.inc();
                    self.instance.handle_input(bytes, arrival, now);
                    self.perform(netlink, outbox, now);
                }
                Err(error) => {
                    self.close(&error.to_string(), now);
                    self.perform(netlink, outbox, now);
                }
            }
        }
    }

    fn pass_time(&mut self, netlink: &mut Addresses, outbox: &mut Outbox) {
        let now = clock::mono();
        if self.instance.poll_timeout().is_some_and(|at| at <= now) {
            self.instance.handle_timeout(now);
            self.perform(netlink, outbox, now);
        }
        if self.check_at <= now {
            self.check_at = now.after(CHECK_EVERY);
            self.check(netlink, now);
            self.perform(netlink, outbox, now);
        }
    }

    /// Looks at the interface: opens, closes or reopens what is on it.
    fn check(&mut self, netlink: &mut Addresses, now: Mono) {
        let found = match Interface::find(&self.config.interface, &self.floating) {
            Ok(found) => found,
            Err(error) => return self.close(&error.to_string(), now),
        };
        if self.port.as_ref().is_some_and(|port| port.interface == found) {
            return;
        }
        let (index, source) = (found.index, found.source);
        match Port::open(&self.config.interface, found) {
            Ok(port) => self.port = Some(port),
            Err(error) => return self.close(&error.to_string(), now),
        }
        info!(interface = self.config.interface.as_str(), vrid = self.config.vrid;
            "virtual router is on the link");
        self.index = Some(index);
        self.fault = None;
        self.instance.set_source(source);
        if self.instance.state() != State::Active {
            // What an earlier process left behind, if it died less than its lifetime ago.
            self.remove_addresses(netlink);
        }
    }

    /// The interface is unfit. Said again at every check, as the instance wants it.
    fn close(&mut self, why: &str, now: Mono) {
        self.port = None;
        self.say_fault(why);
        self.instance.handle_fault(now);
    }

    fn say_fault(&mut self, why: &str) {
        if self.fault.as_deref() != Some(why) {
            warn!(interface = self.config.interface.as_str(), vrid = self.config.vrid,
                reason = why; "virtual router cannot work");
            self.fault = Some(why.to_owned());
        }
    }

    /// Does what the instance says.
    fn perform(&mut self, netlink: &mut Addresses, outbox: &mut Outbox, now: Mono) {
        while let Some(output) = self.instance.poll_output() {
            match output {
                Output::AddAddresses { valid_for } | Output::RefreshAddresses { valid_for } => {
                    self.hold_addresses(netlink, valid_for, now);
                }
                Output::RemoveAddresses => self.remove_addresses(netlink),
                Output::SendAdvert(bytes) => self.send(&bytes, now),
                Output::Announce { times } => self.announce(times),
                Output::Event(kind) => {
                    self.log(kind);
                    outbox.put(VrrpEvent { group: self.number, kind, at: now });
                }
            }
        }
    }

    fn hold_addresses(&mut self, netlink: &mut Addresses, valid_for: Duration, now: Mono) {
        // While the interface is unfit its fault says why, and the instance knows.
        let Some(port) = &self.port else { return self.instance.handle_fault(now) };
        let index = port.interface.index;
        let held: Result<(), AddressError> = self
            .config
            .addresses
            .iter()
            .try_for_each(|address| netlink.hold(index, *address, valid_for));
        match held {
            Ok(()) => self.fault = None,
            Err(error) => {
                self.say_fault(&error.to_string());
                self.instance.handle_fault(now);
            }
        }
    }

    fn remove_addresses(&self, netlink: &mut Addresses) {
        let Some(index) = self.index else { return };
        for address in &self.config.addresses {
            match netlink.remove(index, *address) {
                Ok(()) | Err(AddressError::NoInterface(_)) => {}
                // Its lifetime ends it.
                Err(error) => warn!(err:% = error; "floating address was not removed"),
            }
        }
    }

    fn send(&mut self, advert: &[u8], now: Mono) {
        let Some(port) = &self.port else { return };
        let Err(error) = port.socket.send(advert) else {
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
            _ => warn!(err:% = error; "advert was not sent"),
        }
    }

    fn announce(&mut self, times: u8) {
        let Some(port) = &self.port else { return };
        for _ in 0..times {
            for floating in &self.config.addresses {
                if let Err(error) = port.announcer.announce(floating.address) {
                    self.send_errors = self.send_errors.saturating_add(1);
                    warn!(err:% = error; "gratuitous ARP was not sent");
                    return;
                }
            }
        }
    }

    fn log(&mut self, event: Event) {
        let (interface, vrid) = (self.config.interface.as_str(), self.config.vrid);
        match event {
            Event::Entered(state) => {
                self.last_transition = Some(clock::now_ms());
                info!(interface, vrid, to:? = state; "virtual router changed its state");
            }
            Event::HeardActive { source, priority } => {
                info!(interface, vrid, peer:% = source, priority; "active router heard");
            }
            Event::MasterDown => info!(interface, vrid; "active router is down"),
            Event::ActiveReleased { source } => {
                info!(interface, vrid, peer:% = source; "active router released its addresses");
            }
            Event::Outranked { source, priority } => {
                warn!(interface, vrid, peer:% = source, priority; "yielded to a higher rank");
            }
            Event::Lapsed => warn!(interface, vrid; "lease not renewed in time, addresses removed"),
            Event::Fault => warn!(interface, vrid; "virtual router is unfit"),
            Event::FaultOver => info!(interface, vrid; "virtual router is fit again"),
        }
    }

    fn status(&self) -> GroupStatus {
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
        }
    }
}

/// Events on their way to the pair. A channel that is full loses nothing that matters: of each kind
/// and group the latest is kept here, in the order of their happening. Bounded by kinds and groups.
pub(super) struct Outbox {
    channel: mpsc::Sender<VrrpEvent>,
    waiting: VecDeque<VrrpEvent>,
}

impl Outbox {
    pub(super) fn new(channel: mpsc::Sender<VrrpEvent>) -> Self {
        Self { channel, waiting: VecDeque::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) fn put(&mut self, event: VrrpEvent) {
        let kind = std::mem::discriminant(&event.kind);
        self.waiting
            .retain(|old| old.group != event.group || std::mem::discriminant(&old.kind) != kind);
        self.waiting.push_back(event);
        self.flush();
    }

    pub(super) fn flush(&mut self) {
        while let Some(event) = self.waiting.pop_front() {
            match self.channel.try_send(event) {
                Ok(()) | Err(TrySendError::Closed(_)) => {}
                Err(TrySendError::Full(event)) => return self.waiting.push_front(event),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_reader_loses_repetitions_but_no_last_word() {
        let (channel, mut reader) = mpsc::channel(1);
        let mut outbox = Outbox::new(channel);
        let event = |group, kind, at| VrrpEvent { group, kind, at: Mono(at) };
        let heard = |n| Event::HeardActive { source: Ipv4Addr::new(10, 0, 0, n), priority: 200 };
        outbox.put(event(0, Event::Entered(State::Backup), 0));
        for n in 1..100 {
            outbox.put(event(0, heard(n), u64::from(n)));
            outbox.put(event(1, heard(n), u64::from(n)));
        }
        outbox.put(event(0, Event::MasterDown, 100));
        outbox.put(event(0, heard(200), 101));
        assert_eq!(outbox.waiting.len(), 3);
        let mut read = Vec::new();
        while let Ok(event) = reader.try_recv() {
            read.push(event);
            outbox.flush();
        }
        assert_eq!(
            read,
            [
                event(0, Event::Entered(State::Backup), 0),
                event(1, heard(99), 99),
                event(0, Event::MasterDown, 100),
                event(0, heard(200), 101),
            ]
        );
    }
}
