//! The one clock.

use nix::time::{ClockId, clock_gettime};
use std::time::Duration;
use understudy_proto::time::{Mono, UnixMs};

/// Wall-clock time. Zero if the machine's clock stands before 1970.
#[must_use]
pub fn now_ms() -> UnixMs {
    UnixMs(u64::try_from(read(ClockId::CLOCK_REALTIME).as_millis()).unwrap_or(u64::MAX))
}

/// Time since boot in microseconds, suspension included.
#[must_use]
pub fn mono() -> Mono {
    Mono(u64::try_from(read(ClockId::CLOCK_BOOTTIME).as_micros()).unwrap_or(u64::MAX))
}

fn read(clock: ClockId) -> Duration {
    clock_gettime(clock).map_or_else(|_| std::process::abort(), Duration::from)
}
