//! A node's own health, and when a primary hands over for it (invariants 8 and 12).
//!
//! Every beacon says whether the sender's service interface is fit and how much room its disk has above
//! the reserve. A primary in PAIR that is worse off than its standby hands over by the ordinary way:
//! revoke, drain, durable on both. Invariants: never to a standby that is as bad off; at most once in a
//! pause that begins with a reign or an attempt, so two bad nodes do not play ping-pong; a standby whose
//! log has hardly room to go on asks to be left (`standby`), long before a write fails, and comes back
//! when there is clearly more. Absent on purpose: a fault of a standby's network (`machine`).

use super::machine::{FORCED, Machine, Note, Timers};
use crate::time::Mono;
use serde::{Deserialize, Serialize};
use std::time::Duration;

const MIB: u64 = 1 << 20;
/// A standby is clearly roomier with this share of our own reserve above its own.
const ROOMIER_SHARE: u64 = 4;
/// A log that had no room has it again with so many times the room without which it had none.
const ROOM_AGAIN: u64 = 2;

const FOR_FAULT: &str = "handing over: the service network is in fault here and fit at the peer";
const FOR_ROOM: &str = "handing over: the disk is below its reserve here and roomier at the peer";

impl Note {
    /// Whether the node hands over for its own health.
    #[must_use]
    pub fn is_for_health(&self) -> bool {
        [FOR_FAULT, FOR_ROOM].contains(&self.reason)
    }

    /// Whether an operator's word made the node go on alone.
    #[must_use]
    pub fn is_forced(&self) -> bool {
        self.reason == FORCED
    }
}

/// What a node says of its own health.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// Its service interfaces are up and fit to hold the floating addresses.
    pub fit: bool,
    /// MiB that its disk has above its reserve, 0 at or below it; `None` while it does not know.
    pub spare_mib: Option<u32>,
    /// Its log has hardly room to go on: as a standby it takes no records.
    pub full: bool,
}

impl Default for Health {
    /// Well, as far as anybody knows.
    fn default() -> Self {
        Self { fit: true, spare_mib: None, full: false }
    }
}

/// What this node knows of itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Own {
    /// Since when its service interface is in fault.
    fault: Option<Mono>,
    /// Free bytes on its disk, and how many are reserved.
    disk: Option<(u64, u64)>,
    /// The log has hardly room to go on, or had, and has not clearly more now.
    full: bool,
    /// When it began to reign, or last tried to hand over for its health.
    rested: Mono,
    /// The last handover for a fault, and the pause before the next: longer each time, while they
    /// follow each other (an address that neither node can hold shows itself to the holder only).
    fled: Option<(Mono, Duration)>,
}

impl Own {
    pub(super) fn new(now: Mono) -> Self {
        Self { fault: None, disk: None, full: false, rested: now, fled: None }
    }

    /// The pause before a handover for a fault.
    fn fault_pause(&self, now: Mono, timers: &Timers) -> Duration {
        let fled = self.fled.filter(|(at, _)| now.since(*at) < timers.room_pause);
        fled.map_or(timers.fault_pause, |(_, pause)| pause)
    }

    /// Whether the log has hardly room to go on.
    pub(super) fn is_full(&self) -> bool {
        self.full
    }

    pub(super) fn has_fault(&self) -> bool {
        self.fault.is_some()
    }

    /// As it is told to the peer.
    pub(super) fn told(&self) -> Health {
        let spare = |(free, reserve): (u64, u64)| {
            u32::try_from(free.saturating_sub(reserve) / MIB).unwrap_or(u32::MAX)
        };
        let spare_mib = self.disk.map(spare);
        Health { fit: self.fault.is_none(), spare_mib, full: self.full }
    }

    /// Whether a standby with that much above its reserve is clearly roomier than this disk, which is
    /// below its own.
    fn yields_to(&self, spare_mib: Option<u32>) -> bool {
        let Some(((free, reserve), spare)) = self.disk.zip(spare_mib) else { return false };
        free < reserve && u64::from(spare) >= (reserve / ROOMIER_SHARE / MIB).max(1)
    }
}

impl Machine {
    pub(super) fn fault(&mut self, is: bool) {
        let since = self.health.fault.unwrap_or(self.now);
        self.health.fault = is.then_some(since);
    }

    /// How much room the disk has.
    pub(super) fn disk(&mut self, free: u64, reserve: u64) {
        self.health.disk = Some((free, reserve));
        let least = self.timers.log_room;
        let needed = if self.health.full { least.saturating_mul(ROOM_AGAIN) } else { least };
        self.health.full = free < needed;
    }

    /// A reign begins: the pauses count from here.
    pub(super) fn rested(&mut self) {
        self.health.rested = self.now;
    }

    /// The peer's health by its last beacon, while that is recent.
    pub(super) fn peer_health(&self) -> Option<Health> {
        let recent = self.heard.beacon.is_some_and(|at| self.now.since(at) < self.timers.silence);
        self.heard.health.filter(|_| recent)
    }

    /// Whether an operator's handover would put the addresses where nobody can be served.
    #[must_use]
    pub fn peer_is_less_fit(&self) -> bool {
        !self.health.has_fault() && self.peer_health().is_some_and(|peer| !peer.fit)
    }

    /// A primary in PAIR hands over to a standby that is better off.
    pub(super) fn hand_over_when_unwell(&mut self) {
        let Some(reason) = self.unwell() else { return };
        if !self.may_hand_over() {
            return;
        }
        self.rested();
        if self.health.has_fault() {
            let pause = self.health.fault_pause(self.now, &self.timers);
            let longer = pause.saturating_mul(2).min(self.timers.room_pause);
            self.health.fled = Some((self.now, longer));
        }
        self.remark(reason);
        self.handover();
    }

    /// Why the standby is better off, if it is and the time has come.
    fn unwell(&self) -> Option<&'static str> {
        let (own, timers) = (&self.health, &self.timers);
        let peer = self.peer_health().filter(|peer| peer.fit)?;
        let since = |at: Mono| self.now.since(at);
        let rested = |pause: Duration| since(own.rested) >= pause || self.never_rests();
        // A blip, or a switch that takes both interfaces one after the other, moves nothing.
        let pause = own.fault_pause(self.now, timers);
        if own.fault.is_some_and(|at| since(at) >= timers.fault_hold) && rested(pause) {
            return Some(FOR_FAULT);
        }
        let full = own.yields_to(peer.spare_mib) && own.fault.is_none();
        #[cfg(test)]
        let full = full && !self.broken(super::Mutant::FullStays);
        (full && rested(timers.room_pause)).then_some(FOR_ROOM)
    }

    fn never_rests(&self) -> bool {
        #[cfg(test)]
        if self.broken(super::Mutant::NeverRests) {
            return true;
        }
        false
    }
}
