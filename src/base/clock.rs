//! The one clock. Everything else gets time as an argument.
//!
//! Invariants: [`mono`] never goes back and counts time spent suspended (`CLOCK_BOOTTIME`), so that
//! an appliance that slept knows that its leases are over. [`now_ms`] may jump and is for people and
//! protocols' dates only.

use nix::time::{ClockId, clock_gettime};
use std::time::Duration;
pub use understudy_proto::time::rfc3339;
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
}
