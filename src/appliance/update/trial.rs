//! Whether a slot on trial is good: healthy for a while in a row, and in time.
//!
//! Invariants: only health that was seen without a gap counts; time that a standby spends copying
//! (JOINING), or waits for a passphrase,
//! does not count against it, up to a bound of its own. Pure: time is an argument.
//! Deliberately absent: slots that are known to be good. Nothing here is asked about them.

use std::time::Duration;
use understudy_proto::time::Mono;

/// How a trial is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// How long it must be healthy in a row.
    pub healthy_for: Duration,
    /// How long it may take until then, copying not counted.
    pub within: Duration,
    /// How long it may be copying (a standby's JOINING), in all.
    pub joining_max: Duration,
    /// How long its data may stay locked, in all: who unlocks it may come tomorrow.
    pub locked_max: Duration,
    /// Pause between two looks.
    pub every: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            healthy_for: Duration::from_secs(60),
            within: Duration::from_secs(600),
            joining_max: Duration::from_secs(6 * 3600),
            locked_max: Duration::from_secs(7 * 24 * 3600),
            every: Duration::from_secs(3),
        }
    }
}

/// Looks that are further apart than this many pauses do not make a row.
const GAP_PAUSES: u32 = 5;

/// What the application says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// It does what its role demands.
    Healthy,
    /// It is a standby, linked to its primary, whose copy is not complete yet.
    Joining,
    /// Its data waits for a passphrase: that says nothing of the image.
    Locked,
    /// It does not do what its role demands, or does not answer.
    Unhealthy,
}

/// What a trial has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is too early to say.
    Wait,
    /// The slot is good.
    Good,
    /// It was not healthy in time.
    Late,
}

/// A trial that is going on.
#[derive(Clone, Debug)]
pub struct Trial {
    policy: Policy,
    /// Since when it has been healthy at every look.
    healthy_since: Option<Mono>,
    looked: Mono,
    waited: Duration,
    joined: Duration,
    locked: Duration,
}

impl Trial {
    /// A trial that begins at `now`.
    #[must_use]
    pub fn new(policy: Policy, now: Mono) -> Self {
        Self {
            policy,
            healthy_since: None,
            looked: now,
            waited: Duration::ZERO,
            joined: Duration::ZERO,
            locked: Duration::ZERO,
        }
    }

    /// What it comes to with this look at `now`.
    pub fn look(&mut self, health: Health, now: Mono) -> Verdict {
        let pause = now.since(self.looked);
        self.looked = now;
        match health {
            Health::Joining => self.joined = self.joined.saturating_add(pause),
            Health::Locked => self.locked = self.locked.saturating_add(pause),
            Health::Healthy | Health::Unhealthy => self.waited = self.waited.saturating_add(pause),
        }
        if health != Health::Healthy || pause > self.policy.every.saturating_mul(GAP_PAUSES) {
            self.healthy_since = None;
        }
        if health == Health::Healthy {
            let since = *self.healthy_since.get_or_insert(now);
            if now.since(since) >= self.policy.healthy_for {
                return Verdict::Good;
            }
        }
        // Who is healthy in time may end the row after it: the end of the row is bounded, too.
        let grace =
            if self.healthy_since.is_some() { self.policy.healthy_for } else { Duration::ZERO };
        if self.waited > self.policy.within.saturating_add(grace)
            || self.joined > self.policy.joining_max
            || self.locked > self.policy.locked_max
        {
            return Verdict::Late;
        }
        Verdict::Wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const S: u64 = 1_000_000;

    /// Looks each three seconds: the verdict, and after how many seconds it came.
    fn judged(health: impl Fn(u64) -> Health) -> (Verdict, u64) {
        let mut trial = Trial::new(Policy::default(), Mono(7));
        for at in (0..700_000).step_by(3) {
            let verdict = trial.look(health(at), Mono(7 + at * S));
            if verdict != Verdict::Wait {
                return (verdict, at);
            }
        }
        panic!("a trial must end");
    }

    #[test]
    fn a_minute_in_a_row_is_good() {
        assert_eq!(judged(|_| Health::Healthy), (Verdict::Good, 60));
        let flaps = |at| if at % 57 == 0 { Health::Unhealthy } else { Health::Healthy };
        assert_eq!(judged(flaps).0, Verdict::Late);
        let late = |at| if at < 599 { Health::Unhealthy } else { Health::Healthy };
        assert_eq!(judged(late), (Verdict::Good, 660));
        assert_eq!(judged(|_| Health::Unhealthy), (Verdict::Late, 603));
    }

    #[test]
    fn a_copy_takes_its_time_but_not_for_ever() {
        let copies = |at| if at < 7200 { Health::Joining } else { Health::Healthy };
        assert_eq!(judged(copies), (Verdict::Good, 7260));
        assert_eq!(judged(|_| Health::Joining), (Verdict::Late, 21_603));
        let never = |at| if at % 6 == 0 { Health::Joining } else { Health::Unhealthy };
        assert_eq!(judged(never).0, Verdict::Late);
    }

    #[test]
    fn a_passphrase_is_waited_for_but_not_for_ever() {
        let tomorrow = |at| if at < 86_400 { Health::Locked } else { Health::Healthy };
        assert_eq!(judged(tomorrow), (Verdict::Good, 86_460));
        assert_eq!(judged(|_| Health::Locked), (Verdict::Late, 604_803));
    }

    #[test]
    fn what_nobody_saw_does_not_count() {
        let mut trial = Trial::new(Policy::default(), Mono(0));
        for at in [0, 10, 20, 30, 90] {
            assert_eq!(trial.look(Health::Healthy, Mono(at * S)), Verdict::Wait, "{at}");
        }
        for at in [100, 110, 120, 130, 140] {
            assert_eq!(trial.look(Health::Healthy, Mono(at * S)), Verdict::Wait, "{at}");
        }
        assert_eq!(trial.look(Health::Healthy, Mono(150 * S)), Verdict::Good);
    }

    proptest! {
        /// Good only after a minute of looks that were all healthy; and every trial ends.
        #[test]
        fn good_means_healthy(looks in proptest::collection::vec((0..4_u8, 1..40_u64), 1..400)) {
            let mut trial = Trial::new(Policy::default(), Mono(0));
            let (mut now, mut row) = (0, None);
            for (health, pause) in looks {
                now += pause * S;
                let health = match health {
                    0 => Health::Unhealthy,
                    1 => Health::Joining,
                    2 => Health::Locked,
                    _ => Health::Healthy,
                };
                row = match (health, row) {
                    (Health::Healthy, None) => Some(now),
                    (Health::Healthy, since) if pause <= 15 => since,
                    (Health::Healthy, _) => Some(now),
                    _ => None,
                };
                let good = trial.look(health, Mono(now)) == Verdict::Good;
                prop_assert_eq!(good, row.is_some_and(|since| now - since >= 60 * S));
                if good {
                    break;
                }
            }
        }
    }
}
