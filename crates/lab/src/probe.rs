//! Is anybody there? A client that asks the floating address every 10 ms, and the arithmetic of
//! interruptions.

use crate::net::{self, Host};
use crate::{Result, lock, now, smtp};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Pause between two questions.
const PERIOD: Duration = Duration::from_millis(10);
/// How long a connection may take. A lost first packet is sent again only after a second: a new
/// attempt finds out earlier.
pub(crate) const CONNECT: Duration = Duration::from_millis(10);
/// How long the banner may take on an open connection.
pub(crate) const BANNER: Duration = Duration::from_millis(300);
/// Most successes that are kept: an hour of them.
const SUCCESSES_MAX: usize = 360_000;

#[derive(Default)]
struct Shared {
    stopping: AtomicBool,
    successes: Mutex<Vec<Instant>>,
}

/// The prober at work.
pub(crate) struct Prober {
    shared: Arc<Shared>,
    thread: JoinHandle<Result<()>>,
}

impl Prober {
    /// Starts to ask.
    pub(crate) fn start() -> Result<Self> {
        let shared = Arc::new(Shared::default());
        let its = Arc::clone(&shared);
        let thread = net::thread(Host::Client, "prober", move || ask(&its))?;
        Ok(Self { shared, thread })
    }

    /// The longest time without a banner around `from`, up to now.
    pub(crate) fn gap(&self, from: Instant) -> Duration {
        longest_gap(&lock(&self.shared.successes), from, now())
    }

    /// When the first banner after `from` came.
    pub(crate) fn first(&self, from: Instant) -> Option<Instant> {
        let successes = lock(&self.shared.successes);
        successes.get(successes.partition_point(|s| *s <= from)).copied()
    }

    /// Ends it.
    pub(crate) fn finish(self) -> Result<()> {
        self.shared.stopping.store(true, Relaxed);
        net::join(self.thread)
    }
}

fn ask(shared: &Shared) {
    while !shared.stopping.load(Relaxed) {
        if smtp::banner(25, CONNECT, BANNER).is_ok() {
            let mut successes = lock(&shared.successes);
            if successes.len() < SUCCESSES_MAX {
                successes.push(now());
            }
        }
        std::thread::sleep(PERIOD);
    }
}

/// The longest time between two successes in a row, from the last one before `from` until `until`.
/// `successes` ascend.
pub(crate) fn longest_gap(successes: &[Instant], from: Instant, until: Instant) -> Duration {
    let before = successes.partition_point(|s| *s <= from);
    let mut last = before.checked_sub(1).and_then(|i| successes.get(i)).copied().unwrap_or(from);
    let mut longest = Duration::ZERO;
    let during = successes.iter().skip(before).copied().take_while(|s| *s <= until);
    for success in during.chain([until]) {
        longest = longest.max(success.saturating_duration_since(last));
        last = success;
    }
    longest
}

/// `312 ms`, `1.32 s`.
pub(crate) fn ms(duration: Duration) -> String {
    if duration < Duration::from_secs(10) {
        format!("{} ms", duration.as_millis())
    } else {
        format!("{:.1} s", duration.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_gap_reaches_back_to_the_last_success() {
        let zero = now();
        let at = |ms| zero + Duration::from_millis(ms);
        let successes = [at(0), at(500), at(590), at(900), at(910)];
        let gap = |from, until| longest_gap(&successes, at(from), at(until)).as_millis();
        assert_eq!(gap(595, 920), 310);
        assert_eq!(gap(595, 800), 210);
        assert_eq!(gap(905, 1_000), 90);
        assert_eq!(gap(2_000, 2_500), 1_590);
        assert_eq!(longest_gap(&[], at(0), at(70)).as_millis(), 70);
    }
}
