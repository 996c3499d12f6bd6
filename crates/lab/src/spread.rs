//! Least, middle and most of some durations.

use serde_json::{Value, json};
use std::time::Duration;

/// In milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Spread {
    /// The least.
    pub(crate) least: f64,
    /// The median.
    pub(crate) middle: f64,
    /// The most.
    pub(crate) most: f64,
}

impl Spread {
    /// Of these; zeros when there are none.
    pub(crate) fn of(times: &[Duration]) -> Self {
        let mut sorted: Vec<f64> = times.iter().map(|t| millis(*t)).collect();
        sorted.sort_by(f64::total_cmp);
        let at = |i: usize| sorted.get(i).copied().unwrap_or_default();
        let n = sorted.len();
        let middle = if n.is_multiple_of(2) {
            f64::midpoint(at((n / 2).saturating_sub(1)), at(n / 2))
        } else {
            at(n / 2)
        };
        Self { least: at(0), middle, most: at(n.saturating_sub(1)) }
    }
}

/// The least time that so many per cent do not exceed; zero when there are none.
pub(crate) fn percentile(times: &[Duration], per_cent: usize) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    let rank = sorted.len().saturating_mul(per_cent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

/// Milliseconds, to a tenth.
pub(crate) fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 10_000.0).round() / 10.0
}

/// For machines.
pub(crate) fn figures(times: &[Duration]) -> Value {
    let spread = Spread::of(times);
    let all: Vec<f64> = times.iter().map(|t| millis(*t)).collect();
    json!({
        "min_ms": spread.least, "median_ms": spread.middle, "max_ms": spread.most, "all_ms": all,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_one_of_them() {
        let times: Vec<Duration> = (1..=200).rev().map(Duration::from_millis).collect();
        assert_eq!(percentile(&times, 50).as_millis(), 100);
        assert_eq!(percentile(&times, 99).as_millis(), 198);
        assert_eq!(percentile(&times[..3], 99).as_millis(), 200);
        assert_eq!(percentile(&[], 99).as_millis(), 0);
    }

    #[test]
    fn the_middle_is_the_median() {
        let spread = |ms: &[u64]| {
            let s = Spread::of(&ms.iter().map(|m| Duration::from_millis(*m)).collect::<Vec<_>>());
            (s.least, s.middle, s.most)
        };
        assert_eq!(spread(&[30, 10, 20]), (10.0, 20.0, 30.0));
        assert_eq!(spread(&[40, 10, 20, 30]), (10.0, 25.0, 40.0));
        assert_eq!(spread(&[7]), (7.0, 7.0, 7.0));
        assert_eq!(spread(&[]), (0.0, 0.0, 0.0));
    }
}
