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
//! A claim outlives a takeover inside the pair without being written down: the peer says so in its own
//! words, on the pair's session ([`Origin::handle_peer`]). What is heard on the link never makes a
//! claim of its own: an advert can be forged, and its rank says nothing about who sent it.
//!
//! Deliberately absent: any look at the origin but its adverts and the probe; health probes claim
//! and release from outside.

use super::instance::{Event, Priority, Stand};
use crate::time::Mono;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::time::Duration;

/// How long after our peer's last word of its claim we go on with it at once when we become the
/// pair's holder. An older one is probed first, like a claim of our own.
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

/// What the pair's holder says of an origin's address to the other appliance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClaimWord {
    /// It has no claim.
    Nothing,
    /// It has the address.
    Held,
    /// An operator gave it back: the origin's silence claims nothing.
    Released,
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
    /// The other appliance's own address on the link, as it says itself on the session.
    peer: Option<IpAddr>,
    /// Who advertises the address now, besides us.
    active: Option<(IpAddr, u8)>,
    /// Who was heard last but our peer: it speaks VRRP, and its silence says something.
    spoke: Option<(IpAddr, u8)>,
    /// Since the operator's release nobody was heard: silence claims nothing.
    released: bool,
    /// The pair has the claim, though not yet here: when that was last known.
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
            peer: None,
            active: None,
            spoke: None,
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

    /// The other appliance says, on the pair's session, which address its adverts come from (`None`:
    /// from none now) and, if it is the holder, how its claim stands.
    pub fn handle_peer(&mut self, source: Option<IpAddr>, word: Option<ClaimWord>, now: Mono) {
        self.peer = source.or(self.peer);
        // Its first adverts may have come before this word.
        self.spoke = self.spoke.filter(|(source, _)| Some(*source) != self.peer);
        // The word of one that was holder before us is late.
        let Some(word) = word.filter(|_| !self.here) else { return };
        self.inherit = (word == ClaimWord::Held).then_some(now);
        self.released = word == ClaimWord::Released;
    }

    /// What to say to the other appliance; nothing unless this one is the pair's holder.
    #[must_use]
    pub fn word(&self) -> Option<ClaimWord> {
        let word = match self.claim {
            Claim::Held => ClaimWord::Held,
            _ if self.inherit.is_some() => ClaimWord::Held,
            _ if self.released => ClaimWord::Released,
            Claim::Idle | Claim::Asked | Claim::Probing | Claim::Refused => ClaimWord::Nothing,
        };
        self.here.then_some(word)
    }

    /// Who advertises the origin's address with our own priority, though this is the pair's holder:
    /// an origin of equal rank, or a forger. Who ranks alike takes nothing back by rank.
    #[must_use]
    pub fn equal(&self) -> Option<IpAddr> {
        let (source, priority) = self.active.filter(|_| self.here && !self.is_peer_s())?;
        (priority == self.priority.get()).then_some(source)
    }

    /// Takes what the group's instance reports.
    pub fn handle_event(&mut self, event: Event, now: Mono) {
        match event {
            Event::HeardActive { source, priority } | Event::Outranked { source, priority } => {
                self.hear(source, priority, matches!(event, Event::Outranked { .. }));
            }
            Event::ActiveReleased { .. } => self.active = None,
            Event::MasterDown => {
                self.active = None;
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

    fn hear(&mut self, source: IpAddr, priority: u8, outranked: bool) {
        self.active = Some((source, priority));
        if self.is_peer_s() {
            return; // It is no origin: it neither ends a claim nor says that one lives.
        }
        self.spoke = self.active;
        self.released = false;
        if priority > self.priority.get() {
            self.inherit = None; // The origin is back.
        }
        // A rival of lower rank is answered by the instance; it ends no claim.
        if self.claim != Claim::Held || outranked {
            self.idle();
        }
    }

    /// Whether our peer advertises: nobody is known by rank.
    fn is_peer_s(&self) -> bool {
        self.active.is_some_and(|(source, _)| Some(source) == self.peer)
    }

    /// Nobody advertises.
    fn miss(&mut self, now: Mono) {
        if !self.here || matches!(self.claim, Claim::Held | Claim::Probing) {
            return;
        }
        if let Some(at) = self.inherit.take() {
            if now.since(at) < CLAIM_INHERIT {
                self.claim = Claim::Held;
            } else {
                self.probe(now); // Much may have happened since.
            }
            return;
        }
        // Below our rank nobody is the origin: it may be anybody's one advert.
        let origin = self.spoke.is_some_and(|(_, priority)| priority > self.priority.get());
        match self.takeover {
            _ if self.released => {}
            Takeover::Never => {}
            Takeover::Confirm if self.spoke.is_some() => self.claim = Claim::Asked,
            Takeover::Confirm => {}
            Takeover::Automatic if origin => self.claim = Claim::Held,
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

    fn standby(takeover: Takeover) -> Origin {
        let mut standby = Origin::new(Priority::new(OWN).unwrap(), takeover);
        standby.handle_peer(Some(PEER), Some(ClaimWord::Nothing), NOW);
        standby
    }

    const ALL: [Takeover; 3] = [Takeover::Never, Takeover::Confirm, Takeover::Automatic];

    #[test]
    fn a_claim_moves_with_the_pair() {
        // The two files may name other priorities.
        for (takeover, priority) in ALL.into_iter().zip([OWN, OWN - 10, OWN + 10]) {
            let mut standby = standby(takeover);
            hear(&mut standby, PEER, priority);
            standby.handle_peer(Some(PEER), Some(ClaimWord::Held), NOW);
            standby.handle_event(Event::ActiveReleased { source: PEER }, NOW);
            standby.set_here(true, NOW);
            assert_eq!(standby.state(), Claim::Idle, "not before the peer is gone");
            assert_eq!(standby.word(), Some(ClaimWord::Held), "but it is the pair's all the time");
            standby.handle_event(Event::MasterDown, NOW.after(Duration::from_secs(1)));
            assert_eq!(standby.state(), Claim::Held, "{takeover:?}");
            // A late word of the peer ends nothing.
            standby.handle_peer(Some(PEER), Some(ClaimWord::Nothing), NOW);
            assert_eq!(standby.word(), Some(ClaimWord::Held));
        }
        let mut released = standby(Takeover::Automatic);
        hear(&mut released, ORIGIN, 100);
        released.handle_peer(Some(PEER), Some(ClaimWord::Held), NOW);
        released.handle_peer(Some(PEER), Some(ClaimWord::Released), NOW);
        released.set_here(true, NOW);
        released.handle_event(Event::MasterDown, NOW);
        assert_eq!(released.state(), Claim::Idle, "the peer's operator released it");
        released.handle_event(Event::Entered(State::Backup), NOW);
        assert_eq!(released.stand(), Stand::Standby { priority: Priority::new(OWN).unwrap() });
    }

    #[test]
    fn an_old_word_is_probed_first() {
        let mut late = standby(Takeover::Never);
        late.handle_peer(Some(PEER), Some(ClaimWord::Held), NOW);
        let now = NOW.after(CLAIM_INHERIT);
        late.set_here(true, now);
        late.handle_event(Event::MasterDown, now);
        assert_eq!(late.state(), Claim::Probing);
        assert!(late.poll_probe(now));
        late.handle_probe(false, now);
        assert_eq!(late.state(), Claim::Held);
    }

    #[test]
    fn a_holder_that_steps_aside_goes_on_with_its_claim() {
        let mut origin = origin(Takeover::Never);
        origin.claim(true, NOW).unwrap();
        origin.set_here(false, NOW);
        assert_eq!(origin.word(), None);
        origin.set_here(true, NOW);
        origin.handle_event(Event::MasterDown, NOW);
        assert_eq!(origin.state(), Claim::Held);
    }

    /// Of our rank, of any rank, from any source: an advert and its end make no claim.
    #[test]
    fn no_advert_makes_a_claim() {
        for takeover in [Takeover::Never, Takeover::Confirm] {
            for (source, priority) in [(ORIGIN, OWN), (PEER, OWN), (ORIGIN, 255), (ORIGIN, 1)] {
                for here in [false, true] {
                    let mut origin = standby(takeover);
                    origin.set_here(here, NOW);
                    hear(&mut origin, source, priority);
                    origin.set_here(true, NOW);
                    origin.handle_event(Event::MasterDown, NOW);
                    assert_ne!(origin.state(), Claim::Held, "{takeover:?} {source} {priority}");
                }
            }
        }
        // Where silence does, it is that of a higher rank; who else was heard is asked first.
        let mut automatic = origin(Takeover::Automatic);
        hear(&mut automatic, ORIGIN, OWN);
        automatic.handle_event(Event::MasterDown, NOW);
        assert_eq!(automatic.state(), Claim::Probing);
    }

    #[test]
    fn an_equal_rank_is_an_alarm_unless_it_is_our_peer_s() {
        let mut origin = standby(Takeover::Never);
        hear(&mut origin, ORIGIN, OWN);
        assert_eq!(origin.equal(), None, "the other appliance sees it, too, and is asked");
        origin.set_here(true, NOW);
        assert_eq!(origin.equal(), Some(ORIGIN));
        hear(&mut origin, PEER, OWN);
        assert_eq!(origin.equal(), None);
    }

    /// The peer's word may come after its first advert.
    #[test]
    fn our_peer_is_no_origin() {
        let mut origin = Origin::new(Priority::new(OWN).unwrap(), Takeover::Confirm);
        hear(&mut origin, PEER, OWN + 1);
        origin.handle_peer(Some(PEER), Some(ClaimWord::Nothing), NOW);
        origin.set_here(true, NOW);
        origin.handle_event(Event::MasterDown, NOW);
        assert_eq!(origin.state(), Claim::Idle);
        origin.claim(true, NOW).unwrap();
        origin.handle_event(Event::Outranked { source: PEER, priority: OWN + 1 }, NOW);
        assert_eq!(origin.state(), Claim::Held, "its late adverts take nothing back");
    }
}
