//! The clock, before a time server answers. A machine whose clock battery is dead must neither refuse
//! every certificate nor date mail 1970; one whose clock was once far ahead must not stay there.
//!
//! | the machine's clock | newest time stamp on the data disk | what is done |
//! |---|---|---|
//! | before the build of this image | up to [`OLDEST_IMAGE`] after it | set to the stamp: nothing better is known |
//! | before the build of this image | none, or later still | set to the build |
//! | behind the stamp | up to [`PLAUSIBLE`] after the build | set to the stamp |
//! | behind the stamp | later | left: the stamp is from a time when the clock was wrong |
//! | level with it, or ahead | any | left |
//!
//! Whatever comes of it, a clock that is more than [`PLAUSIBLE`] after the build is said to be
//! ([`Trouble::ClockFar`]). It is never set back: the image may be that old, and only people and time
//! servers know.

use crate::appliance::disk::scan;
use crate::appliance::report::Trouble;
use crate::base::clock;
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_settime};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};
use understudy_proto::time::UnixMs;

/// When this image was built, in seconds since 1970.
const BUILT: &str = "UNDERSTUDY_BUILT";
/// The machine's own clock, in seconds since 1970.
const RTC: &str = "/sys/class/rtc/rtc0/since_epoch";
/// A time stamp this much ahead of the clock is no proof: clocks drift.
const DRIFT: Duration = Duration::from_secs(60 * 60);
/// A time up to so much after the build is taken for granted. Images are renewed within months, and few
/// outlive three years; a firmware's clock that is wrong is mostly wrong by more.
const PLAUSIBLE: Duration = Duration::from_secs(3 * 366 * 24 * 60 * 60);
/// With a clock that says nothing, a time stamp up to so much after the build is the best that there is.
const OLDEST_IMAGE: Duration = Duration::from_secs(15 * 366 * 24 * 60 * 60);
/// A year, for people.
const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// Most files whose time stamps are read, and how deep folders are followed.
const STAMPS_MAX: usize = 4096;
const DEPTH_MAX: usize = 3;

/// What the clock was found to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// 0 where that is not known.
    built: UnixMs,
    /// The clock was before that: it says nothing at all.
    dead: bool,
}

/// The time that it must be at least, if the clock says less.
fn at_least(clock: UnixMs, floor: UnixMs) -> Option<UnixMs> {
    (clock < floor).then_some(floor)
}

/// The latest time stamp that is proof of anything.
fn latest_proof(found: Found) -> UnixMs {
    let most = match found {
        // There is nothing to measure it by.
        Found { built: UnixMs(0), .. } => return UnixMs(0),
        Found { dead: true, .. } => OLDEST_IMAGE,
        Found { dead: false, .. } => PLAUSIBLE,
    };
    UnixMs(found.built.0.saturating_add(millis(most)))
}

/// What the clock is set to, if anything, and what is said: the table above. `newest` is the newest time
/// stamp up to [`latest_proof`].
fn judge(found: Found, clock: UnixMs, newest: Option<UnixMs>) -> (Option<UnixMs>, Vec<Trouble>) {
    let floor = newest.filter(|at| *at <= latest_proof(found));
    let floor = floor.map(|at| UnixMs(at.0.saturating_sub(millis(DRIFT))));
    let behind = floor.and_then(|floor| at_least(clock, floor));
    let now = behind.unwrap_or(clock);
    let after = now.0.saturating_sub(found.built.0);
    let far = found.built != UnixMs(0) && after > millis(PLAUSIBLE);
    let mut troubles = Vec::new();
    troubles.extend((found.dead || behind.is_some()).then_some(Trouble::ClockWrong(now)));
    troubles.extend(far.then_some(Trouble::ClockFar { at: now, years: after / millis(YEAR) }));
    (behind, troubles)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Before anything is written: not before the image was built.
pub(super) fn at_start() -> Found {
    let built = built();
    // systemd sets a clock forward by itself; the machine's own clock still says what it said.
    let rtc = fs::read_to_string(RTC).ok().and_then(|t| t.trim().parse::<u64>().ok());
    let rtc_dead = rtc.is_some_and(|s| UnixMs(s.saturating_mul(1000)) < built);
    let behind = at_least(clock::now_ms(), built);
    if let Some(at) = behind {
        set(at);
    }
    Found { built, dead: rtc_dead || behind.is_some() }
}

/// Once the data disk is there: not before the newest thing on it, and what is wrong with the clock.
pub(super) fn after_data(found: Found, mounted: bool) -> Vec<Trouble> {
    let newest = if mounted { newest(Path::new(scan::DATA), latest_proof(found)) } else { None };
    let (set_to, troubles) = judge(found, clock::now_ms(), newest);
    if let Some(at) = set_to {
        set(at);
    }
    troubles
}

/// When this image was built: as its unit says, or by the date of this program.
fn built() -> UnixMs {
    let said = std::env::var(BUILT).ok().and_then(|t| t.trim().parse::<u64>().ok());
    let stamp = || modified(Path::new("/proc/self/exe")).unwrap_or(UnixMs(0));
    said.map_or_else(stamp, |seconds| UnixMs(seconds.saturating_mul(1000)))
}

fn modified(path: &Path) -> Option<UnixMs> {
    let at = fs::metadata(path).ok()?.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    Some(UnixMs(millis(at)))
}

/// The newest time stamp up to `latest` of what programs write there.
fn newest(data: &Path, latest: UnixMs) -> Option<UnixMs> {
    let mut newest = None;
    let mut left = STAMPS_MAX;
    let mut folders: Vec<(PathBuf, usize)> = vec![(data.to_owned(), 0)];
    while let Some((folder, depth)) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            if left == 0 {
                return newest;
            }
            left -= 1;
            let is_folder = entry.file_type().is_ok_and(|t| t.is_dir());
            if is_folder && depth < DEPTH_MAX {
                folders.push((entry.path(), depth + 1));
            } else if !is_folder {
                newest = newest.max(modified(&entry.path()).filter(|at| *at <= latest));
            }
        }
    }
    newest
}

fn set(at: UnixMs) {
    let set = clock_settime(ClockId::CLOCK_REALTIME, TimeSpec::from(Duration::from_millis(at.0)));
    match set {
        Ok(()) => log::warn!(to = clock::rfc3339(at); "the clock was wrong and is set forward"),
        Err(e) => log::warn!(err:% = e; "the clock is wrong and cannot be set"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_only_goes_forward() {
        let (early, late) = (UnixMs(1_000), UnixMs(2_000));
        assert_eq!(at_least(early, late), Some(late));
        assert_eq!(at_least(late, late), None);
        assert_eq!(at_least(late, early), None);
    }

    /// 2026-07-27.
    const BUILT: UnixMs = UnixMs(1_785_153_600_000);
    /// 2040-01-01.
    const IN_2040: UnixMs = UnixMs(2_208_988_800_000);
    const LIVE: Found = Found { built: BUILT, dead: false };
    const DEAD: Found = Found { built: BUILT, dead: true };
    const DAY: u64 = 86_400_000;

    fn days_on(days: u64) -> UnixMs {
        UnixMs(BUILT.0 + days * DAY)
    }

    fn floor(at: UnixMs) -> UnixMs {
        UnixMs(at.0 - 3_600_000)
    }

    #[test]
    fn a_right_clock_is_left_alone() {
        for newest in [None, Some(days_on(99)), Some(days_on(100)), Some(days_on(1))] {
            assert_eq!(judge(LIVE, days_on(100), newest), (None, vec![]), "{newest:?}");
        }
        let on_the_bound = UnixMs(BUILT.0 + millis(PLAUSIBLE));
        assert_eq!(judge(LIVE, on_the_bound, None), (None, vec![]));
    }

    #[test]
    fn with_a_dead_battery_the_newest_stamp_is_the_time() {
        // Set to the build already.
        assert_eq!(judge(DEAD, BUILT, None), (None, vec![Trouble::ClockWrong(BUILT)]));
        for days in [1, 2 * 365, 3 * 366] {
            let at = floor(days_on(days));
            let told = vec![Trouble::ClockWrong(at)];
            assert_eq!(judge(DEAD, BUILT, Some(days_on(days))), (Some(at), told), "{days}");
        }
    }

    #[test]
    fn an_image_that_is_years_old_keeps_its_time_and_says_how_old_it_is() {
        let at = floor(days_on(5 * 365 + 1));
        let told = vec![Trouble::ClockWrong(at), Trouble::ClockFar { at, years: 5 }];
        assert_eq!(judge(DEAD, BUILT, Some(days_on(5 * 365 + 1))), (Some(at), told));
        // Its battery lives: nothing is moved.
        let now = days_on(5 * 365 + 2);
        let told = vec![Trouble::ClockFar { at: now, years: 5 }];
        assert_eq!(judge(LIVE, now, Some(days_on(5 * 365 + 1))), (None, told));
        // Two years, and a firmware newer than the image that fell back to its own first day.
        let at = floor(days_on(2 * 365));
        let told = vec![Trouble::ClockWrong(at)];
        assert_eq!(judge(LIVE, days_on(60), Some(days_on(2 * 365))), (Some(at), told));
        // Nobody is that old.
        let told = vec![Trouble::ClockWrong(BUILT)];
        assert_eq!(judge(DEAD, BUILT, Some(days_on(16 * 366))), (None, told));
    }

    #[test]
    fn a_clock_that_was_once_far_ahead_does_not_stay_so() {
        let told = vec![Trouble::ClockFar { at: IN_2040, years: 13 }];
        assert_eq!(judge(LIVE, IN_2040, Some(days_on(30))), (None, told), "said, not set back");
        assert_eq!(judge(LIVE, days_on(100), Some(IN_2040)), (None, vec![]), "right again");
        assert_eq!(latest_proof(LIVE), UnixMs(BUILT.0 + millis(PLAUSIBLE)));
    }

    #[test]
    fn without_a_day_of_the_build_nothing_is_known() {
        let found = Found { built: UnixMs(0), dead: false };
        assert_eq!(judge(found, BUILT, Some(days_on(1))), (None, vec![]));
    }

    #[test]
    fn the_newest_file_counts_wherever_it_lies() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("understudy/log");
        fs::create_dir_all(&deep).unwrap();
        assert_eq!(newest(folder.path(), UnixMs(9_000_000)), None);
        for (name, seconds) in [("a", 1_000), ("understudy/log/b", 3_000), ("understudy/c", 2_000)]
        {
            let file = fs::File::create(folder.path().join(name)).unwrap();
            file.set_modified(UNIX_EPOCH + Duration::from_secs(seconds)).unwrap();
        }
        assert_eq!(newest(folder.path(), UnixMs(9_000_000)), Some(UnixMs(3_000_000)));
        assert_eq!(newest(folder.path(), UnixMs(2_500_000)), Some(UnixMs(2_000_000)), "no proof");
    }
}
