//! When which certificate is asked for. Pure: time and chance are arguments.
//!
//! Invariants: a certificate is renewed from the middle of its life, and by then at the latest after
//! [`JITTER_PART`] more of it; failures are followed by pauses that double up to [`PAUSE_MAX`], so that no
//! authority is ever asked more than a few times an hour; a clock that is wrong asks for nothing that
//! another try would not mend. Absent: how a certificate is got.

use std::time::Duration;
use understudy_proto::time::UnixMs;

/// Pause after the first failure; doubles with each.
const PAUSE_MIN: Duration = Duration::from_secs(120);
/// Longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(6 * 3_600);
/// The same when the certificate has less than a day left, or there is none.
const PAUSE_URGENT: Duration = Duration::from_secs(3_600);
/// Renewals are spread over this part of a life, so that not all appliances come at once.
const JITTER_PART: u64 = 10;
const DAY_MS: u64 = 86_400_000;
/// A certificate that holds for no longer is short-lived.
const SHORT_LIVED_MS: u64 = 10 * DAY_MS;
/// An alarm is due when a short-lived one has less than this left,
const ALARM_SHORT_MS: u64 = 3 * DAY_MS;
/// and any other less than this.
const ALARM_MS: u64 = 14 * DAY_MS;
/// Without any certificate an alarm is due after so many failures.
const FAILURES_ALARM: u32 = 3;

/// From when until when a certificate holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    /// From.
    pub from: UnixMs,
    /// Until.
    pub until: UnixMs,
}

impl Life {
    fn len(self) -> u64 {
        self.until.0.saturating_sub(self.from.0)
    }
}

/// What is known of one certificate that is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The one that is held, for just what is wanted.
    held: Option<Life>,
    failures: u32,
    /// When the last attempt failed.
    failed: Option<UnixMs>,
    /// The authority asked to be left alone for so long.
    asked: Duration,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Get one now.
    Obtain,
    /// Nothing for so long.
    Wait(Duration),
}

/// What an operator should know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alarm {
    /// Several attempts, and there is none.
    Missing,
    /// It is about to expire.
    Expires {
        /// What is left.
        left: Duration,
    },
    /// It has expired.
    Expired,
}

impl Plan {
    /// A certificate is held, or none that is as wanted.
    pub fn hold(&mut self, held: Option<Life>) {
        if held.is_some() && held != self.held {
            (self.failures, self.failed, self.asked) = (0, None, Duration::ZERO);
        }
        self.held = held;
    }

    /// An attempt failed at `now`; the authority may have said how long to wait (RFC 8555 6.6).
    pub fn failed(&mut self, now: UnixMs, retry_after: Option<Duration>) {
        self.failures = self.failures.saturating_add(1);
        self.failed = Some(now);
        self.asked = retry_after.unwrap_or_default().min(PAUSE_MAX);
    }

    /// How often it failed since it last worked.
    #[must_use]
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// What to do at `now`; `chance` is any number, the same for the life of one certificate.
    #[must_use]
    pub fn next(&self, now: UnixMs, chance: u64) -> Next {
        let due = self.held.map_or(0, |life| {
            let spread = life.len() / JITTER_PART;
            let jitter = if spread == 0 { 0 } else { chance % spread };
            life.from.0.saturating_add(life.len() / 2).saturating_add(jitter)
        });
        let again = self.failed.map_or(0, |failed| {
            // A failure that lies ahead was dated by another clock.
            let pause = u64::try_from(self.pause(now).as_millis()).unwrap_or(u64::MAX);
            failed.0.min(now.0).saturating_add(pause)
        });
        match due.max(again).saturating_sub(now.0) {
            0 => Next::Obtain,
            ms => Next::Wait(Duration::from_millis(ms)),
        }
    }

    fn pause(&self, now: UnixMs) -> Duration {
        let urgent = self.left(now).is_none_or(|left| left < DAY_MS);
        let most = if urgent { PAUSE_URGENT } else { PAUSE_MAX };
        let doubled = 1_u32.checked_shl(self.failures.saturating_sub(1)).unwrap_or(u32::MAX);
        PAUSE_MIN.saturating_mul(doubled).min(most).max(self.asked)
    }

    fn left(&self, now: UnixMs) -> Option<u64> {
        self.held.map(|life| life.until.0.saturating_sub(now.0))
    }

    /// What an operator should know at `now`.
    #[must_use]
    pub fn alarm(&self, now: UnixMs) -> Option<Alarm> {
        let Some(life) = self.held else {
            return (self.failures >= FAILURES_ALARM).then_some(Alarm::Missing);
        };
        let least = if life.len() <= SHORT_LIVED_MS { ALARM_SHORT_MS } else { ALARM_MS };
        match self.left(now).unwrap_or_default() {
            0 => Some(Alarm::Expired),
            left if left < least => Some(Alarm::Expires { left: Duration::from_millis(left) }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: UnixMs = UnixMs(1_790_000_000_000);
    const HOUR: u64 = 3_600_000;

    fn life(hours: u64) -> Life {
        Life { from: NOW, until: UnixMs(NOW.0 + hours * HOUR) }
    }

    fn at(hours: u64) -> UnixMs {
        UnixMs(NOW.0 + hours * HOUR)
    }

    #[test]
    fn what_is_missing_is_got_at_once_and_the_rest_in_the_middle_of_its_life() {
        let mut plan = Plan::default();
        assert_eq!(plan.next(NOW, 7), Next::Obtain);
        plan.hold(Some(life(160)));
        assert_eq!(plan.next(NOW, 0), Next::Wait(Duration::from_millis(80 * HOUR)));
        assert_eq!(plan.next(at(80), 0), Next::Obtain);
        assert_eq!(plan.next(at(80), HOUR), Next::Wait(Duration::from_millis(HOUR)));
        assert_eq!(plan.next(at(96), u64::MAX), Next::Obtain, "the spread has an end");
        plan.hold(None);
        assert_eq!(plan.next(NOW, 7), Next::Obtain, "other names are wanted now");
    }

    #[test]
    fn failures_are_followed_by_longer_pauses_until_it_works() {
        let mut plan = Plan::default();
        plan.hold(Some(life(1_000)));
        let mut pauses = Vec::new();
        for _ in 0..40 {
            plan.failed(at(600), None);
            let Next::Wait(pause) = plan.next(at(600), 0) else { panic!("no pause") };
            pauses.push(pause.as_secs());
        }
        assert_eq!(pauses[..4], [120, 240, 480, 960]);
        assert_eq!(pauses[39], PAUSE_MAX.as_secs());
        let Next::Wait(urgent) = plan.next(at(990), 0) else { return };
        assert!(urgent <= PAUSE_URGENT);
        plan.failed(at(990), Some(Duration::from_secs(5 * 3_600)));
        assert_eq!(plan.next(at(990), 0), Next::Wait(Duration::from_secs(5 * 3_600)));
        plan.hold(Some(Life { from: at(990), until: at(2_000) }));
        assert_eq!(plan.failures(), 0);
    }

    #[test]
    fn the_alarm_comes_in_time() {
        let mut plan = Plan::default();
        assert_eq!(plan.alarm(NOW), None);
        for _ in 0..FAILURES_ALARM {
            plan.failed(NOW, None);
        }
        assert_eq!(plan.alarm(NOW), Some(Alarm::Missing));
        plan.hold(Some(life(160)));
        assert_eq!(plan.alarm(at(88)), None);
        assert!(matches!(plan.alarm(at(89)), Some(Alarm::Expires { .. })));
        assert_eq!(plan.alarm(at(160)), Some(Alarm::Expired));
        plan.hold(Some(life(90 * 24)));
        assert_eq!(plan.alarm(at(75 * 24)), None);
        assert!(matches!(plan.alarm(at(77 * 24)), Some(Alarm::Expires { .. })));
    }

    proptest! {
        #[test]
        fn it_never_asks_again_at_once_and_never_waits_for_long(
            from in 0..u64::MAX, len in 0..u64::MAX, now in 0..u64::MAX,
            failed in 0..u64::MAX, failures in 1..100u32, chance: u64,
        ) {
            let mut plan = Plan::default();
            plan.hold(Some(Life { from: UnixMs(from), until: UnixMs(from.saturating_add(len)) }));
            for _ in 0..failures {
                plan.failed(UnixMs(failed), None);
            }
            if let Next::Obtain = plan.next(UnixMs(now), chance) {
                prop_assert!(now.saturating_sub(failed) >= 120_000 || now == u64::MAX);
            }
            plan.hold(None);
            if let Next::Wait(pause) = plan.next(UnixMs(now), chance) {
                prop_assert!(pause <= PAUSE_URGENT);
            }
        }
    }
}
