//! Whether this node makes progress: a primary that only looks alive must lose its addresses.
//!
//! Two things are watched from the pair's own thread: the disk under the log and the register, and the
//! services' runtime, which beats. Absent on purpose: what follows (the driver's business).

use crate::base::clock;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use understudy_proto::time::Mono;

/// A disk that works on one batch, or on the register, for longer hangs: nothing is acknowledged
/// meanwhile.
pub const DISK_HANG: Duration = Duration::from_secs(2);
/// A primary whose disk has hung for so long ends, where its standby has everything.
pub const DISK_HANG_MAX: Duration = Duration::from_secs(10);
/// Services that have not run for longer hang.
pub const SERVICES_HANG: Duration = Duration::from_secs(2);
/// Pause between two beats.
const BEAT_EVERY: Duration = Duration::from_millis(100);

/// The services' last sign of life. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Vital(Arc<AtomicU64>);

/// What hangs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hang {
    /// The disk, since then.
    Disk(Mono),
    /// The services, since then.
    Services(Mono),
}

impl Vital {
    /// Beats for as long as the runtime that it is spawned on runs tasks.
    pub async fn beat(self) {
        loop {
            self.0.store(clock::mono().0, Ordering::Relaxed);
            tokio::time::sleep(BEAT_EVERY).await;
        }
    }

    /// What hangs at `now`. Services that never began to beat are not watched.
    #[must_use]
    pub fn hang(&self, disk_since: Option<Mono>, now: Mono) -> Option<Hang> {
        if let Some(since) = disk_since.filter(|since| now.since(*since) > DISK_HANG) {
            return Some(Hang::Disk(since));
        }
        let beat = Mono(self.0.load(Ordering::Relaxed));
        (beat > Mono(0) && now.since(beat) > SERVICES_HANG).then_some(Hang::Services(beat))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disk_and_services_hang_each_by_its_own_bound() {
        let vital = Vital::default();
        let now = Mono(60_000_000);
        assert_eq!(vital.hang(None, now), None, "nobody beats: nobody is watched");
        vital.0.store(58_000_000, Ordering::Relaxed);
        assert_eq!(vital.hang(Some(Mono(58_000_000)), now), None);
        let (late, began) = (Mono(60_000_001), Mono(58_000_000));
        assert_eq!(vital.hang(None, late), Some(Hang::Services(began)));
        assert_eq!(vital.hang(Some(began), late), Some(Hang::Disk(began)));
    }
}
