//! The one clock. Everything else gets time as an argument.
//!
//! Invariants: [`mono`] never goes back and counts time spent suspended (`CLOCK_BOOTTIME`), so that
//! an appliance that slept knows that its leases are over. [`now_ms`] may jump and is for people and
//! protocols' dates only.

use nix::time::{ClockId, clock_gettime};
use std::time::Duration;
use understudy_proto::time::{Mono, UnixMs};

/// Wall-clock time. Zero if the machine's clock stands before 1970 (a dead clock battery).
#[must_use]
pub fn now_ms() -> UnixMs {
    let now = read(ClockId::CLOCK_REALTIME);
    UnixMs(u64::try_from(now.as_millis()).unwrap_or(u64::MAX))
}

/// Time since boot in microseconds, suspension included.
#[must_use]
pub fn mono() -> Mono {
    let now = read(ClockId::CLOCK_BOOTTIME);
    Mono(u64::try_from(now.as_micros()).unwrap_or(u64::MAX))
}

/// Waits until `at`; returns at once when it has passed. Resolution: the runtime's millisecond.
pub async fn sleep_until(at: Mono) {
    tokio::time::sleep(at.since(mono())).await;
}

/// `2026-07-27T12:00:00.123Z` (RFC 3339, UTC).
#[must_use]
pub fn rfc3339(at: UnixMs) -> String {
    let (seconds, ms) = (at.0 / 1_000, at.0 % 1_000);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    let (h, m, s) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}.{ms:03}Z")
}

/// Days since 1970-01-01 as year, month, day of the Gregorian calendar: years of 400 and eras that
/// begin on 1 March, so that the leap day comes last.
fn civil(days: u64) -> (u64, u64, u64) {
    let z = days.saturating_add(719_468);
    let (era, of_era) = (z / 146_097, z % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let m = (5 * of_year + 2) / 153;
    let day = of_year - (153 * m + 2) / 5 + 1;
    let month = if m < 10 { m + 3 } else { m - 9 };
    let year = era.saturating_mul(400) + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

fn read(clock: ClockId) -> Duration {
    match clock_gettime(clock) {
        Ok(t) => Duration::from(t),
        // Both clocks exist on every Linux since 2.6.39. A process without a clock would hold
        // leases for ever; its death is noticed by the peer.
        Err(_) => std::process::abort(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_passes() {
        let (a, wall) = (mono(), now_ms());
        std::thread::sleep(Duration::from_millis(2));
        assert!(mono().since(a) >= Duration::from_millis(2));
        assert!(now_ms() >= wall);
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_709_251_200_000, "2024-03-01T00:00:00.000Z"),
            (4_107_542_399_001, "2100-02-28T23:59:59.001Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (1_785_153_600_123, "2026-07-27T12:00:00.123Z"),
        ] {
            assert_eq!(rfc3339(UnixMs(ms)), text);
        }
    }
}
