//! How much a virtual router may write into the log: what others on the link send must not fill it.
//!
//! Invariant: in one minute at most the named number of lines, and at its end one that counts what
//! was left out. Deliberately absent: which lines matter more; that is two quotas.

use std::time::Duration;
use understudy_proto::time::Mono;

/// What a quota is counted in.
const SPAN: Duration = Duration::from_secs(60);

/// Lines of one kind.
#[derive(Debug)]
pub(super) struct Quota {
    max: u32,
    since: Mono,
    used: u32,
    left_out: u64,
}

impl Quota {
    /// `max` lines in a minute; the first one begins at `now`.
    pub(super) fn new(max: u32, now: Mono) -> Self {
        Self { max, since: now, used: 0, left_out: 0 }
    }

    /// Whether a line may be written; one that may not is counted.
    pub(super) fn allows(&mut self) -> bool {
        if self.used < self.max {
            self.used += 1;
            return true;
        }
        self.left_out = self.left_out.saturating_add(1);
        false
    }

    /// At the end of a minute: how many lines were left out, if any. To be asked now and then.
    pub(super) fn end(&mut self, now: Mono) -> Option<u64> {
        if now.since(self.since) < SPAN {
            return None;
        }
        let left_out = self.left_out;
        *self = Self::new(self.max, now);
        (left_out > 0).then_some(left_out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_has_so_many_lines_and_a_count_of_the_rest() {
        let start = Mono(1);
        let mut quota = Quota::new(3, start);
        let written = (0..1_000).filter(|_| quota.allows()).count();
        assert_eq!((written, quota.end(start.after(SPAN / 2))), (3, None));
        assert!(!quota.allows(), "the minute goes on");
        assert_eq!(quota.end(start.after(SPAN)), Some(998));
        assert!(quota.allows());
        assert_eq!(quota.end(start.after(SPAN * 2)), None, "nothing was left out");
    }
}
