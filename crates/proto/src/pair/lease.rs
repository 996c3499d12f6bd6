//! Read leases (invariant 7): who may answer readers, and until when.
//!
//! A primary's beacon carries its clock; a standby echoes the newest stamp that it heard. That echo is
//! a promise: no reign of mine before `lease` and a tenth have passed since I heard it. So the primary
//! serves readers until stamp + `lease`, and no clock is compared with another's. A primary whose peer
//! cannot be promoted needs none. Acknowledging writes needs no lease: refusal fences (invariant 4).

#[cfg(test)]
use super::Mutant;
use super::frame::{Beacon, PhaseName, Saying};
use super::machine::{Machine, Output, Phase};
use super::register::Insync;
use crate::time::Mono;
use std::time::Duration;

/// A stamp of the peer as primary, and when it was heard here.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stamp {
    boot: [u8; 8],
    stamp: u64,
    at: Mono,
}

impl Machine {
    /// What to tell the peer on every path; the driver adds pair, sequence and boot.
    #[must_use]
    pub fn beacon(&self, now: Mono) -> Saying {
        Saying {
            phase: self.phase_name(),
            seen: self.durable_register.seen,
            durable: self.log.durable,
            stamp: now.0,
            echo: self.heard.stamp.filter(|_| self.gives_lease()).map(|s| s.stamp),
            health: self.health.told(),
        }
    }

    /// Whether this node has no thought of leading: then it may promise not to.
    fn gives_lease(&self) -> bool {
        match &self.phase {
            Phase::Standby(_) => {
                #[cfg(test)]
                if self.broken(Mutant::GrantWhilePromoting) {
                    return true;
                }
                !self.wants_to_lead() && !self.about_to_lead() && !self.suspects()
            }
            Phase::Primary(p) => p.handed_over(),
            Phase::Recovering | Phase::Branched { .. } => false,
        }
    }

    /// The peer's beacon: a stamp to echo, or an echo of ours.
    pub(super) fn lease_heard(&mut self, beacon: &Beacon) {
        let (now, says) = (self.now, &beacon.says);
        if says.phase == PhaseName::Primary {
            let newer = self
                .heard
                .stamp
                .is_none_or(|known| known.boot != beacon.boot || known.stamp < says.stamp);
            if newer {
                self.heard.stamp = Some(Stamp { boot: beacon.boot, stamp: says.stamp, at: now });
            }
        }
        let lease = self.timers.lease;
        // What was said in this reign was said to this boot of this clock.
        if let Phase::Primary(p) = &mut self.phase
            && let Some(echo) = says.echo
            && says.seen >= p.first
            && says.seen <= p.epoch
            && echo <= now.0
        {
            p.granted = p.granted.max(Mono(echo).after(lease));
        }
    }

    /// Remembers what was promised: called wherever the state may have changed.
    pub(super) fn keep_promise(&mut self) {
        if self.gives_lease()
            && let Some(heard) = self.heard.stamp
        {
            let end = heard.at.after(self.promise());
            self.promised = self.promised.max(end);
        }
    }

    /// A lease and a tenth: two clocks of one making differ by far less.
    pub(super) fn promise(&self) -> Duration {
        self.timers.lease.saturating_add(self.timers.lease / 10)
    }

    /// Whether this node's last promise is over.
    pub(super) fn is_free(&self) -> bool {
        #[cfg(test)]
        if self.broken(Mutant::GrantWhilePromoting) {
            return true;
        }
        self.now >= self.promised
    }

    /// Whether the peer could be promoted: then readers are served on its word only.
    pub(super) fn needs_lease(&self) -> bool {
        let both = |insync| insync == Insync::Both;
        self.timers.has_peer
            && (both(self.register.insync)
                || both(self.durable_register.insync)
                || self.court.may_hold_both())
    }

    /// Whether readers may be served now, or would be as soon as this node leads alone.
    pub(super) fn lease_is_fresh(&self) -> bool {
        matches!(&self.phase, Phase::Primary(p) if self.now < p.granted)
    }

    /// Tells the driver until when readers may be served, where that has changed.
    pub(super) fn tell_lease(&mut self) {
        let needed = self.needs_lease();
        #[cfg(test)]
        let needed = needed && !self.broken(Mutant::NoLease);
        let Phase::Primary(p) = &mut self.phase else { return };
        let until = if needed { p.granted } else { Mono(u64::MAX) };
        if p.serves() && p.lease_told != Some(until) {
            p.lease_told = Some(until);
            self.put(Output::Lease(until));
        }
    }
}
