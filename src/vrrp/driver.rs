//! The thread that drives the instances: sockets in, orders in, time in; packets, addresses and
//! events out.
//!
//! Invariants: each round reads the sockets before it looks at the clock, so that a thread that was
//! late does not call an Active down whose adverts wait unread. Nothing here waits for the async
//! runtime; an event that its channel does not take is kept. Deliberately absent: protocol rules,
//! which are `understudy_proto::vrrp`'s.

use super::address::Addresses;
use super::router::Router;
use super::setting::Settings;
use super::socket::Buffer;
use super::{GroupConfig, GroupStatus, PeerGroup, VrrpEvent, lock};
use crate::base::clock;
use log::warn;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::eventfd::EventFd;
use nix::sys::time::TimeSpec;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use understudy_proto::time::Mono;
use understudy_proto::vrrp::{Instance, Stand, synchronise};

/// Orders about origins that wait for the thread; the newest are kept.
pub(super) const CLAIMS_MAX: usize = 64;

/// How often the members of a sync group are looked at in one round: one that cannot do what it is
/// told holds the others.
const SYNC_ROUNDS_MAX: usize = 4;

/// How soon an event is offered again that the channel did not take.
const OFFER_AGAIN: Duration = Duration::from_millis(5);

/// What the thread shares with everybody else.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) orders: Mutex<Orders>,
    pub(super) wake: EventFd,
    pub(super) status: Mutex<Vec<GroupStatus>>,
    /// At the end: an address may still be here that was to be removed.
    pub(super) left: AtomicBool,
}

/// What the thread is told; the latest word of each kind.
#[derive(Debug, Default)]
pub(super) struct Orders {
    pub(super) stand: Option<Stand>,
    pub(super) lease: Mono,
    pub(super) stop: bool,
    /// About origins, in the order given.
    pub(super) claims: VecDeque<ClaimOrder>,
    /// What the other appliance says.
    pub(super) peer: Option<Vec<PeerGroup>>,
    /// A way to it is back.
    pub(super) reunion: bool,
    /// Probes that ended: the group, and who answers.
    pub(super) probes: Vec<(usize, Option<String>)>,
}

/// An order about an origin's group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ClaimOrder {
    /// The group's position in the configuration.
    pub(super) group: usize,
    /// Claim, by force or not; `None` to release.
    pub(super) claim: Option<bool>,
    /// Greater than that of every earlier order.
    pub(super) number: u64,
}

impl Orders {
    pub(super) fn put(&mut self, order: ClaimOrder) {
        if self.claims.len() >= CLAIMS_MAX {
            self.claims.pop_front();
        }
        self.claims.push_back(order);
    }
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
    tools: Tools,
    groups: Vec<Router>,
    /// Positions of the members of each sync group.
    syncs: Vec<Vec<usize>>,
    buffer: Buffer,
}

/// What all virtual routers use.
pub(super) struct Tools {
    pub(super) netlink: Addresses,
    pub(super) settings: Settings,
    pub(super) outbox: Outbox,
    pub(super) shared: Arc<Shared>,
}

impl Driver {
    pub(super) fn new(
        configs: Vec<GroupConfig>,
        shared: Arc<Shared>,
        (netlink, settings): (Addresses, Settings),
        events: mpsc::Sender<VrrpEvent>,
        now: Mono,
    ) -> Self {
        let floating: Arc<[IpAddr]> =
            configs.iter().flat_map(|config| &config.addresses).map(|a| a.address).collect();
        let syncs = sync_groups(&configs);
        let groups = configs
            .into_iter()
            .enumerate()
            .map(|(n, config)| Router::new(n, config, floating.clone(), now))
            .collect();
        let outbox = Outbox::new(events);
        let tools = Tools { netlink, settings, outbox, shared: shared.clone() };
        let driver = Self { shared, tools, groups, syncs, buffer: Buffer::default() };
        driver.publish();
        driver
    }

    pub(super) fn run(mut self) {
        // The sockets are open before the first order is read: it is not to meet a fault that is
        // only our beginning.
        self.pass_time();
        loop {
            for group in &mut self.groups {
                group.receive(&mut self.buffer, &mut self.tools);
            }
            let stop = self.obey();
            self.pass_time();
            self.synchronise();
            self.tools.outbox.flush();
            self.publish();
            if stop {
                for group in &mut self.groups {
                    group.clear(&mut self.tools);
                }
                let now = clock::mono();
                let left = self.groups.iter().any(|group| group.has_left_address(now));
                self.shared.left.store(left, Ordering::SeqCst);
                return;
            }
            self.wait();
        }
    }

    fn pass_time(&mut self) {
        for group in &mut self.groups {
            group.pass_time(&mut self.tools);
        }
    }

    /// Takes the orders; true when they are to stop.
    fn obey(&mut self) -> bool {
        // A read fails when nobody woke us; both are fine.
        let woken = self.shared.wake.read().is_ok();
        if !woken {
            return false;
        }
        let Orders { stand, lease, stop, claims, peer, reunion, probes } = {
            let mut orders = lock(&self.shared.orders);
            let Orders { lease, stop, .. } = *orders;
            std::mem::replace(&mut *orders, Orders { lease, stop, ..Orders::default() })
        };
        let stand = if stop { Some(Stand::Silent) } else { stand };
        // Whose word came before we were the holder counts before that.
        for word in peer.into_iter().flatten() {
            let now = clock::mono();
            for group in &mut self.groups {
                group.take_peer(&word, now);
            }
        }
        for group in &mut self.groups {
            let now = clock::mono();
            group.take_orders(lease, stand, now);
            if reunion {
                group.take_reunion(now);
            }
            group.perform(&mut self.tools, now);
        }
        for order in claims {
            self.claim(order);
        }
        for (group, in_use) in probes {
            let Some(group) = self.groups.get_mut(group) else { continue };
            let now = clock::mono();
            group.take_probe(in_use, now);
            group.perform(&mut self.tools, now);
        }
        self.synchronise();
        stop
    }

    /// An order about one group is one about its whole sync group.
    fn claim(&mut self, order: ClaimOrder) {
        let one = vec![order.group];
        let members = self.syncs.iter().find(|sync| sync.contains(&order.group)).unwrap_or(&one);
        for member in members {
            let Some(group) = self.groups.get_mut(*member) else { continue };
            let now = clock::mono();
            group.take_claim(order, now);
            group.perform(&mut self.tools, now);
        }
    }

    /// Lets the members of each sync group move as one.
    fn synchronise(&mut self) {
        for sync in &self.syncs {
            for _ in 0..SYNC_ROUNDS_MAX {
                let now = clock::mono();
                let mut members: Vec<&mut Instance> = self
                    .groups
                    .iter_mut()
                    .enumerate()
                    .filter(|(n, _)| sync.contains(n))
                    .map(|(_, group)| group.instance_mut())
                    .collect();
                synchronise(&mut members, now);
                let mut still = true;
                for member in sync {
                    let Some(group) = self.groups.get_mut(*member) else { continue };
                    still &= !group.perform(&mut self.tools, now);
                }
                if still {
                    break;
                }
            }
        }
    }

    /// Sleeps until a datagram, an order or a timer.
    fn wait(&self) {
        let now = clock::mono();
        let timers = self.groups.iter().map(Router::next);
        let again = (!self.tools.outbox.is_empty()).then(|| now.after(OFFER_AGAIN));
        let wait = timers.chain(again).min().map(|next| TimeSpec::from(next.since(now)));
        let mut fds = vec![PollFd::new(self.shared.wake.as_fd(), PollFlags::POLLIN)];
        let sockets = self.groups.iter().filter_map(Router::socket);
        fds.extend(sockets.map(|socket| PollFd::new(socket.as_fd(), PollFlags::POLLIN)));
        match ppoll(&mut fds, wait, None) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => {
                warn!(err:% = error; "the vrrp thread cannot wait");
                std::thread::sleep(Duration::from_millis(1)); // Out of memory: no busy loop.
            }
        }
    }

    fn publish(&self) {
        let now = clock::mono();
        let mut status = lock(&self.shared.status);
        status.clear();
        status.extend(self.groups.iter().map(|group| group.status(now)));
    }
}

/// The positions of groups with the same `sync`.
fn sync_groups(configs: &[GroupConfig]) -> Vec<Vec<usize>> {
    let mut found: Vec<(&str, Vec<usize>)> = Vec::new();
    for (n, config) in configs.iter().enumerate() {
        let Some(name) = config.sync.as_deref() else { continue };
        match found.iter_mut().find(|(known, _)| *known == name) {
            Some((_, members)) => members.push(n),
            None => found.push((name, vec![n])),
        }
    }
    found.into_iter().map(|(_, members)| members).collect()
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
    use std::net::Ipv4Addr;
    use understudy_proto::vrrp::{Event, State};

    #[test]
    fn a_slow_reader_loses_repetitions_but_no_last_word() {
        let (channel, mut reader) = mpsc::channel(1);
        let mut outbox = Outbox::new(channel);
        let event = |group, kind, at| VrrpEvent { group, kind, at: Mono(at) };
        let source = |n| IpAddr::V4(Ipv4Addr::new(10, 0, 0, n));
        let heard = |n| Event::HeardActive { source: source(n), priority: 200 };
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
