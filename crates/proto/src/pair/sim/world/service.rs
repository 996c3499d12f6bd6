//! The service network: a real VRRP instance on each node, and adverts between them.
//!
//! The instance lives where the guardian is: it goes on while the main process is frozen, and takes
//! its leave when that ends. What it says reaches the machine as `src/pair/driver` tells it.

use super::faults::Broken;
use super::{Event, Happening, MS, SERVICE, World};
use crate::pair::{Input, Role, VrrpNews, VrrpStand};
use crate::time::Mono;
use crate::vrrp::{
    Arrival, Config, Event as Said, GROUP_V4, Instance, Interval, Output, Priority, Stand, State,
    TTL,
};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

/// An advert of one address, version 3.
pub(super) type Advert = [u8; 12];

const PULSE_EVERY: Duration = Duration::from_millis(20);
const PULSE_LEAST: Duration = Duration::from_millis(200);
/// How long it takes at most until a node knows that its interface is down.
const NIC_SEEN: u64 = 600 * MS;

/// A node's part in the service network.
#[derive(Default)]
pub(in crate::pair::sim) struct Face {
    pub(in crate::pair::sim) instance: Option<Instance>,
    stand: Option<VrrpStand>,
    /// Nobody advertises, as the instance said last.
    down: bool,
    adverts: u64,
    pulsed: Mono,
    /// When the instance is to be called.
    timer_at: u64,
    /// When the machine last decided to lead alone.
    pub(in crate::pair::sim) decided: u64,
    /// Since when the machine knows of a fault.
    pub(in crate::pair::sim) fault: Option<u64>,
}

impl Face {
    pub(in crate::pair::sim) fn is_active(&self) -> bool {
        self.instance.as_ref().is_some_and(|i| i.state() == State::Active)
    }
}

fn address(n: usize) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 0, 0, u8::try_from(n + 1).unwrap()))
}

fn config(n: usize) -> Config {
    let interval = Interval::from_centis(10).unwrap();
    Config::new(51, interval, address(n), vec![IpAddr::V4(Ipv4Addr::new(10, 0, 0, 100))])
}

impl World {
    /// The instance of a process that starts.
    pub(super) fn start_face(&mut self, n: usize) {
        let instance = Instance::new(config(n), self.clock(n));
        self.nodes[n].face =
            Face { instance: Some(instance), timer_at: u64::MAX, ..Face::default() };
        self.face(n, |_, _| {});
        if !self.nic[n] {
            self.node_after(0, n, Happening::NicSeen);
        }
    }

    /// The main process ends; the guardian lets the addresses go, if there is one.
    pub(super) fn end_face(&mut self, n: usize, guarded: bool) {
        if guarded {
            self.face(n, |instance, now| instance.set_stand(Stand::Silent, now));
        }
        self.nodes[n].face = Face::default();
    }

    /// Does something to the instance, then what it wants done.
    fn face(&mut self, n: usize, what: impl FnOnce(&mut Instance, Mono)) {
        let now = self.clock(n);
        let Some(instance) = &mut self.nodes[n].face.instance else { return };
        what(instance, now);
        let mut outputs = Vec::new();
        while let Some(output) = instance.poll_output() {
            outputs.push(output);
        }
        let next = instance.poll_timeout().map(|at| self.nodes[n].clock.when(at));
        if let Some(at) = next
            && at < self.nodes[n].face.timer_at
        {
            self.nodes[n].face.timer_at = at;
            let life = self.nodes[n].life;
            self.at(at, Event::Node { n, life, what: Happening::FaceTimer });
        }
        for output in outputs {
            match output {
                Output::SendAdvert { bytes, .. } => self.send_advert(n, bytes),
                Output::Event(said) => {
                    self.say(|| format!("{n} vrrp: {said:?}"));
                    self.node_after(50, n, Happening::Face(said));
                }
                Output::AddAddresses { .. }
                | Output::RefreshAddresses { .. }
                | Output::RemoveAddresses
                | Output::Announce { .. } => {}
            }
        }
    }

    fn send_advert(&mut self, n: usize, bytes: Vec<u8>) {
        let to = 1 - n;
        if !self.carries(SERVICE, to) || !self.nodes[to].alive {
            return;
        }
        let advert: Advert = bytes.try_into().unwrap();
        let copies = match self.rng.range(0, 200) {
            0 => 0,
            1 => 2,
            _ => 1,
        };
        for _ in 0..copies {
            let late = self.rng.chance(10);
            let most = if late { 80 * MS } else { 3 * MS };
            let delay = self.rng.range(50, most);
            self.node_after(delay, to, Happening::Advert(advert));
        }
    }

    /// Whether the service network carries what one node says to the other, both ways.
    pub(super) fn serviced(&self) -> bool {
        self.service && self.nic == [true; 2] && self.one_way[SERVICE].is_none()
    }

    pub(super) fn advert(&mut self, n: usize, advert: Advert) {
        let arrival =
            Arrival { source: address(1 - n), destination: IpAddr::V4(GROUP_V4), ttl: TTL };
        self.face(n, |instance, now| instance.handle_input(&advert, arrival, now));
    }

    pub(super) fn face_timer(&mut self, n: usize) {
        let face = &mut self.nodes[n].face;
        if face.timer_at <= self.now {
            face.timer_at = u64::MAX;
            self.face(n, |instance, now| instance.handle_timeout(now));
        }
    }

    /// What was waiting is read before any timer is looked at.
    pub(super) fn face_thaws(&mut self, n: usize) {
        self.nodes[n].face.timer_at = u64::MAX;
        self.face(n, |instance, now| instance.handle_timeout(now));
    }

    /// The machine says where to stand.
    pub(super) fn take_stand(&mut self, n: usize, stand: VrrpStand) {
        let face = &mut self.nodes[n].face;
        let before = face.stand.replace(stand);
        if stand == VrrpStand::Standby {
            if before == Some(stand) {
                return;
            }
            face.down = false;
        }
        self.face(n, |instance, now| {
            let stand = match stand {
                VrrpStand::Silent => Stand::Silent,
                VrrpStand::Standby => Stand::StandbyAnew { priority: Priority::STANDBY },
                VrrpStand::Holder => Stand::Holder { priority: Priority::HOLDER },
            };
            instance.set_stand(stand, now);
        });
        self.nodes[n].face.pulsed = Mono(0);
        self.pulse(n);
    }

    /// Invariant 8: without a lease to write, no addresses; with a witness, none without readers'.
    pub(super) fn pulse(&mut self, n: usize) {
        let (now, node) = (self.clock(n), &self.nodes[n]);
        let until = Mono(node.lease_until);
        let can = node.lease
            && node.face.stand == Some(VrrpStand::Holder)
            && (now < until || !node.machine.status().witness.in_force);
        if can && now.since(node.face.pulsed) >= PULSE_EVERY {
            self.nodes[n].face.pulsed = now;
            let until = until.max(now.after(PULSE_LEAST));
            self.face(n, |instance, now| instance.handle_pulse(until, now));
        }
    }

    /// An Active is reported once; whether it is still heard, its adverts tell.
    pub(super) fn hear_adverts(&mut self, n: usize) {
        let node = &mut self.nodes[n];
        let Some(instance) = &node.face.instance else { return };
        let count = instance.counters().received;
        let more = count > std::mem::replace(&mut node.face.adverts, count) && !node.face.down;
        let linked = node.machine.status().linked;
        if more && !linked && node.machine.status().role != Role::Primary {
            self.feed(n, Input::Vrrp(VrrpNews::HeardActive));
        }
    }

    /// What the instance says, as the driver tells the machine.
    pub(super) fn face_said(&mut self, n: usize, said: Said) {
        let face = &mut self.nodes[n].face;
        match said {
            Said::MasterDown => {
                face.down = true;
                self.feed(n, Input::Vrrp(VrrpNews::MasterDown));
            }
            Said::HeardActive { .. } | Said::Outranked { .. } => {
                face.down = false;
                self.feed(n, Input::Vrrp(VrrpNews::HeardActive));
            }
            Said::Fault => {
                face.down = false;
                face.fault = Some(self.now);
                self.stats.nic_faults += 1;
                self.feed(n, Input::Vrrp(VrrpNews::Fault));
            }
            Said::FaultOver => {
                face.down = false;
                face.fault = None;
                self.feed(n, Input::Vrrp(VrrpNews::FaultOver));
            }
            Said::Entered(State::Active) => self.stats.actives += 1,
            Said::Entered(_)
            | Said::ActiveReleased { .. }
            | Said::Lapsed
            | Said::Held
            | Said::Conflict { .. } => {}
        }
    }

    // --- interfaces

    pub(super) fn nic_down(&mut self, n: usize) {
        self.say(|| format!("node {n}'s service interface is down"));
        self.nic[n] = false;
        let seen = self.rng.range(MS, NIC_SEEN);
        self.node_after(seen, n, Happening::NicSeen);
    }

    /// One after the other: the switch is worked on.
    pub(super) fn nic_next(&mut self, n: usize) {
        let served = self.serviced() && (self.crossed() || self.plan.splits);
        if served && self.faults_over.is_none() {
            self.nic_down(n);
            self.after(1500 * MS, Event::Mend(Broken::Nic(n)));
            self.notice_split();
        }
    }

    /// Said again while it lasts.
    pub(super) fn nic_seen(&mut self, n: usize) {
        if !self.nic[n] {
            self.face(n, |instance, now| instance.handle_fault(now));
            self.node_after(400 * MS, n, Happening::NicSeen);
        }
    }

    /// A node that knows itself deaf calls nobody dead.
    pub(super) fn check_deaf(&mut self, n: usize) {
        let decided = self.nodes[n].face.decided; // The disk may be slow.
        let deaf = self.nodes[n].face.fault.is_some_and(|at| decided > at + 50 * MS);
        let alive = self.nodes[1 - n].runs() && self.leads(1 - n);
        if deaf && alive && !self.nodes[n].machine.status().witness.in_force {
            self.oracle.fail(|| format!("node {n} takes over although its own interface is down"));
        }
    }
}
