//! When to stand in for an address whose Active is the origin's own machine.
//!
//! ```text
//!   Idle ── origin gone: automatic ──────────────► Held ── origin is back, release ──► Idle
//!    │  └── never heard: ► Probing ── no answer ────┘
//!    ├───── confirm: ────► Asked ── claim ──► Probing ── an answer ──► Refused
//!    └───── claim ──────────────────────────► Probing
//! ```
//!
//! Invariants: only the pair's holder claims, so two appliances never fight; nobody claims while the
//! origin advertises; an address that answers is claimed by force only. The machine gives a
//! [`Stand`] for the group's instance and says when to probe; it sends nothing itself.
//!
//! A claim outlives a takeover inside the pair without being written down: the standby hears its
//! peer advertise with our own priority, and goes on where that ends ([`CLAIM_INHERIT`]).
//!
//! Deliberately absent: any look at the origin but its adverts and the probe; health probes claim
//! and release from outside.

use super::instance::{Event, Priority, Stand};
use crate::time::Mono;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::time::Duration;

/// How long after our peer's last advert for the origin's address we go on with its claim when we
/// become the pair's holder.
pub const CLAIM_INHERIT: Duration = Duration::from_secs(10);

/// How soon an automatic takeover that met an answer probes again.
const PROBE_AGAIN: Duration = Duration::from_secs(10);

/// Who says that the origin's address is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Takeover {
    /// Only a claim that nobody asked for: the silence of the origin means nothing.
    #[default]
    Never,
    /// When the origin falls silent, an alarm asks the operator to claim.
    Confirm,
    /// When the origin falls silent.
    Automatic,
}

/// How far a claim has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Claim {
    /// Nobody wants the address here.
    #[default]
    Idle,
    /// The origin is gone; the operator has not spoken yet.
    Asked,
    /// Is the address in use?
    Probing,
    /// The address answered: it is in use.
    Refused,
    /// Ours, as long as this appliance may serve.
    Held,
}

/// Why a claim is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The other appliance decides.
    #[error("this appliance is not the pair's primary")]
    NotHere,
    /// The origin lives.
    #[error("{by} advertises the address with priority {priority}: the origin lives")]
    Alive {
        /// Its address.
        by: IpAddr,
        /// Its priority.
        priority: u8,
    },
}

/// The machine of one origin's group.
#[derive(Debug)]
pub struct Origin {
    priority: Priority,
    takeover: Takeover,
    here: bool,
    claim: Claim,
    /// Who advertises the address now, besides us.
    active: Option<(IpAddr, u8)>,
    /// Its adverts were heard at some time: it speaks VRRP, and silence says that it is gone.
    speaks: bool,
    /// Since the operator's release nobody was heard: silence claims nothing.
    released: bool,
    /// The peer's claim, when last heard.
    inherit: Option<Mono>,
    probe_at: Option<Mono>,
}

impl Origin {
    /// An origin that nobody has seen yet, on an appliance that is not the pair's holder yet.
    #[must_use]
    pub fn new(priority: Priority, takeover: Takeover) -> Self {
        Self {
            priority,
            takeover,
            here: false,
            claim: Claim::Idle,
            active: None,
            speaks: false,
            released: false,
            inherit: None,
            probe_at: None,
        }
    }

    /// Whether this appliance is the pair's holder.
    pub fn set_here(&mut self, here: bool, now: Mono) {
        if self.here && !here {
            if self.claim == Claim::Held {
                self.inherit = Some(now);
            }
            self.idle();
        }
        self.here = here;
    }

    /// Takes what the group's instance reports.
    pub fn handle_event(&mut self, event: Event, now: Mono) {
        match event {
            Event::HeardActive { source, priority } | Event::Outranked { source, priority } => {
                self.hear(source, priority, matches!(event, Event::Outranked { .. }), now);
            }
            Event::ActiveReleased { .. } => self.forget(now),
            Event::MasterDown => {
                self.forget(now);
                self.miss(now);
            }
            Event::Entered(_)
            | Event::Lapsed
            | Event::Fault
            | Event::FaultOver
            | Event::Held
            | Event::Conflict { .. } => {}
        }
    }

    fn hear(&mut self, source: IpAddr, priority: u8, outranked: bool, now: Mono) {
        self.active = Some((source, priority));
        if !self.here && priority == self.priority.get() {
            self.inherit = Some(now);
            return;
        }
        self.speaks = true;
        self.released = false;
        self.inherit = None;
        // A rival of lower rank is answered by the instance; it ends no claim.
        if self.claim != Claim::Held || outranked {
            self.idle();
        }
    }

    fn forget(&mut self, now: Mono) {
        let ours = self.active.take().is_some_and(|(_, priority)| priority == self.priority.get());
        if ours && !self.here {
            self.inherit = Some(now);
        }
    }

    /// Nobody advertises.
    fn miss(&mut self, now: Mono) {
        if !self.here || matches!(self.claim, Claim::Held | Claim::Probing) {
            return;
        }
        if self.inherit.take().is_some_and(|at| now.since(at) < CLAIM_INHERIT) {
            self.claim = Claim::Held;
            return;
        }
        match self.takeover {
            _ if self.released => {}
            Takeover::Never => {}
            Takeover::Confirm if self.speaks => self.claim = Claim::Asked,
            Takeover::Confirm => {}
            Takeover::Automatic if self.speaks => self.claim = Claim::Held,
            Takeover::Automatic => self.probe(now),
        }
    }

    /// Claims the address: the operator's word, or that of health probes.
    ///
    /// # Errors
    /// Why it cannot be claimed now; nothing has changed then.
    pub fn claim(&mut self, force: bool, now: Mono) -> Result<(), Refusal> {
        if !self.here {
            return Err(Refusal::NotHere);
        }
        if self.claim == Claim::Held {
            return Ok(());
        }
        // Whoever advertises would take it back at once, or fight for it.
        if let Some((source, priority)) = self.active {
            return Err(Refusal::Alive { by: source, priority });
        }
        self.released = false;
        if force {
            self.claim = Claim::Held;
            self.probe_at = None;
        } else {
            self.probe(now);
        }
        Ok(())
    }

    /// Gives the address back, or calls the claim off. Silence claims nothing until the origin was
    /// heard again.
    pub fn release(&mut self) {
        self.released = true;
        self.inherit = None;
        self.idle();
    }

    /// The answer to [`Origin::poll_probe`].
    pub fn handle_probe(&mut self, in_use: bool, now: Mono) {
        if self.claim != Claim::Probing {
            return;
        }
        self.claim = if in_use { Claim::Refused } else { Claim::Held };
        if in_use && self.takeover == Takeover::Automatic {
            self.probe_at = Some(now.after(PROBE_AGAIN));
        }
    }

    /// Whether the address is to be probed now; said once. Answer with [`Origin::handle_probe`].
    pub fn poll_probe(&mut self, now: Mono) -> bool {
        let due = self.probe_at.take_if(|at| *at <= now).is_some();
        if due {
            self.claim = Claim::Probing;
        }
        due
    }

    /// When [`Origin::poll_probe`] says yes.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Mono> {
        self.probe_at
    }

    /// Where the group's instance is to stand. The other appliance of the pair is silent.
    #[must_use]
    pub fn stand(&self) -> Stand {
        match (self.here, self.claim) {
            (false, _) => Stand::Silent,
            (true, Claim::Held) => Stand::Holder { priority: self.priority },
            (true, _) => Stand::Standby { priority: self.priority },
        }
    }

    /// How far the claim has come.
    #[must_use]
    pub fn state(&self) -> Claim {
        self.claim
    }

    fn probe(&mut self, now: Mono) {
        self.claim = Claim::Probing;
        self.probe_at = Some(now);
    }

    fn idle(&mut self) {
        self.claim = Claim::Idle;
        self.probe_at = None;
    }
}

#[cfg(test)]
mod tests {
    use super::super::instance::State;
    use super::*;
    use std::net::Ipv4Addr;

    const ORIGIN: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 9));
    const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));
    const OWN: u8 = 50;
    const NOW: Mono = Mono(1_000_000);

    fn origin(takeover: Takeover) -> Origin {
        let mut origin = Origin::new(Priority::new(OWN).unwrap(), takeover);
        origin.set_here(true, NOW);
        origin
    }

    fn hear(origin: &mut Origin, source: IpAddr, priority: u8) {
        origin.handle_event(Event::HeardActive { source, priority }, NOW);
    }

    fn heard_and_gone(takeover: Takeover) -> Origin {
        let mut origin = origin(takeover);
        hear(&mut origin, ORIGIN, 100);
        origin.handle_event(Event::MasterDown, NOW);
        origin
    }

    #[test]
    fn silence_means_what_the_tenant_chose() {
        assert_eq!(heard_and_gone(Takeover::Never).state(), Claim::Idle);
        assert_eq!(heard_and_gone(Takeover::Confirm).state(), Claim::Asked);
        let held = heard_and_gone(Takeover::Automatic);
        assert_eq!(held.state(), Claim::Held);
        assert_eq!(held.stand(), Stand::Holder { priority: Priority::new(OWN).unwrap() });
    }

    #[test]
    fn only_the_pair_s_holder_claims() {
        let mut origin = Origin::new(Priority::new(OWN).unwrap(), Takeover::Automatic);
        hear(&mut origin, ORIGIN, 100);
        origin.handle_event(Event::MasterDown, NOW);
        assert_eq!((origin.state(), origin.stand()), (Claim::Idle, Stand::Silent));
        assert_eq!(origin.claim(true, NOW), Err(Refusal::NotHere));
    }

    #[test]
    fn an_origin_that_was_never_heard_is_probed_first() {
        let mut origin = origin(Takeover::Automatic);
        origin.handle_event(Event::MasterDown, NOW);
        assert_eq!(origin.state(), Claim::Probing);
        assert!(origin.poll_probe(NOW) && !origin.poll_probe(NOW), "once");
        origin.handle_probe(true, NOW);
        assert_eq!(origin.state(), Claim::Refused);
        let again = origin.poll_timeout().unwrap();
        assert!(again > NOW && origin.poll_probe(again));
        origin.handle_probe(false, again);
        assert_eq!(origin.state(), Claim::Held);
    }

    #[test]
    fn the_operator_s_claim_is_probed_unless_forced() {
        let mut origin = heard_and_gone(Takeover::Confirm);
        origin.claim(false, NOW).unwrap();
        assert_eq!(origin.state(), Claim::Probing);
        assert!(origin.poll_probe(NOW));
        origin.handle_probe(true, NOW);
        assert_eq!((origin.state(), origin.poll_timeout()), (Claim::Refused, None));
        origin.claim(true, NOW).unwrap();
        assert_eq!(origin.state(), Claim::Held);
    }

    #[test]
    fn a_living_origin_is_not_claimed() {
        let mut origin = origin(Takeover::Confirm);
        hear(&mut origin, ORIGIN, 100);
        let alive = Refusal::Alive { by: ORIGIN, priority: 100 };
        assert_eq!(origin.claim(true, NOW), Err(alive));
    }

    #[test]
    fn an_origin_that_returns_gets_its_address() {
        let mut origin = heard_and_gone(Takeover::Automatic);
        hear(&mut origin, PEER, 10);
        assert_eq!(origin.state(), Claim::Held, "a lower rank takes nothing");
        origin.handle_event(Event::Outranked { source: ORIGIN, priority: 100 }, NOW);
        assert_eq!(origin.state(), Claim::Idle);
        origin.handle_event(Event::MasterDown, NOW);
        assert_eq!(origin.state(), Claim::Held, "and is stood in for again");
    }

    #[test]
    fn what_was_released_stays_released() {
        let mut origin = heard_and_gone(Takeover::Automatic);
        origin.release();
        assert_eq!(origin.state(), Claim::Idle);
        origin.handle_event(Event::MasterDown, NOW);
        assert_eq!(origin.state(), Claim::Idle);
        hear(&mut origin, ORIGIN, 100);
        origin.handle_event(Event::MasterDown, NOW);
        assert_eq!(origin.state(), Claim::Held);
    }

    /// The answer of a probe that was called off must not claim.
    #[test]
    fn a_late_probe_says_nothing() {
        let mut origin = heard_and_gone(Takeover::Confirm);
        origin.claim(false, NOW).unwrap();
        assert!(origin.poll_probe(NOW));
        hear(&mut origin, ORIGIN, 100);
        origin.handle_probe(false, NOW);
        assert_eq!(origin.state(), Claim::Idle);
    }

    #[test]
    fn a_claim_moves_with_the_pair() {
        for takeover in [Takeover::Never, Takeover::Confirm, Takeover::Automatic] {
            let mut standby = Origin::new(Priority::new(OWN).unwrap(), takeover);
            hear(&mut standby, PEER, OWN);
            standby.handle_event(Event::ActiveReleased { source: PEER }, NOW);
            standby.set_here(true, NOW);
            assert_eq!(standby.state(), Claim::Idle, "not before the peer is gone");
            standby.handle_event(Event::MasterDown, NOW.after(Duration::from_secs(1)));
            assert_eq!(standby.state(), Claim::Held, "{takeover:?}");
        }
        let mut late = Origin::new(Priority::new(OWN).unwrap(), Takeover::Never);
        hear(&mut late, PEER, OWN);
        late.handle_event(Event::MasterDown, NOW);
        late.set_here(true, NOW.after(CLAIM_INHERIT));
        late.handle_event(Event::MasterDown, NOW.after(CLAIM_INHERIT));
        assert_eq!(late.state(), Claim::Idle, "the peer released it long ago");
        late.handle_event(Event::Entered(State::Backup), NOW);
        assert_eq!(late.stand(), Stand::Standby { priority: Priority::new(OWN).unwrap() });
    }
}
