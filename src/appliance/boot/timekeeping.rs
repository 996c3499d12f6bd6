//! The clock, before a time server answers: never before the day on which this image was built, nor
//! before the newest thing on the data disk.
//!
//! A machine whose clock battery is dead must neither refuse every certificate nor date mail 1970.

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
/// A time stamp this much later than the build is none either: the clock was wrong then.
const OLDEST_IMAGE: Duration = Duration::from_secs(15 * 366 * 24 * 60 * 60);
/// Most files whose time stamps are read, and how deep folders are followed.
const STAMPS_MAX: usize = 4096;
const DEPTH_MAX: usize = 3;

/// What the clock was found to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    built: UnixMs,
    wrong: bool,
}

/// The time that it must be at least, if the clock says less.
fn at_least(clock: UnixMs, floor: UnixMs) -> Option<UnixMs> {
    (clock < floor).then_some(floor)
}

/// The floor that a newest time stamp is proof of; `None` where it proves nothing.
fn proof(built: UnixMs, newest: UnixMs) -> Option<UnixMs> {
    let latest = UnixMs(built.0.saturating_add(millis(OLDEST_IMAGE)));
    (built == UnixMs(0) || newest < latest).then(|| UnixMs(newest.0.saturating_sub(millis(DRIFT))))
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Before anything is written: not before the image was built.
pub(super) fn at_start() -> Found {
    let built = built();
    // systemd sets a clock forward by itself; the machine's own clock still says what it said.
    let rtc = fs::read_to_string(RTC).ok().and_then(|t| t.trim().parse::<u64>().ok());
    let rtc_wrong = rtc.is_some_and(|s| UnixMs(s.saturating_mul(1000)) < built);
    let behind = at_least(clock::now_ms(), built);
    if let Some(at) = behind {
        set(at);
    }
    Found { built, wrong: rtc_wrong || behind.is_some() }
}

/// Once the data disk is there: not before the newest thing on it.
pub(super) fn after_data(found: Found, mounted: bool) -> Option<Trouble> {
    let newest = if mounted { newest(Path::new(scan::DATA)) } else { None };
    let floor = newest.and_then(|newest| proof(found.built, newest));
    let behind = floor.and_then(|floor| at_least(clock::now_ms(), floor));
    if let Some(at) = behind {
        set(at);
    }
    (found.wrong || behind.is_some()).then(|| Trouble::ClockWrong(clock::now_ms()))
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

/// The newest time stamp of what programs write there.
fn newest(data: &Path) -> Option<UnixMs> {
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
                newest = newest.max(modified(&entry.path()));
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

    #[test]
    fn a_stamp_far_in_the_future_proves_nothing() {
        let built = UnixMs(1_785_153_600_000);
        let later = UnixMs(built.0 + 86_400_000);
        assert_eq!(proof(built, later), Some(UnixMs(later.0 - 3_600_000)));
        assert_eq!(proof(built, UnixMs(4_107_542_399_000)), None);
        assert_eq!(proof(UnixMs(0), later), Some(UnixMs(later.0 - 3_600_000)));
    }

    #[test]
    fn the_newest_file_counts_wherever_it_lies() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("understudy/log");
        fs::create_dir_all(&deep).unwrap();
        assert_eq!(newest(folder.path()), None);
        for (name, seconds) in [("a", 1_000), ("understudy/log/b", 3_000), ("understudy/c", 2_000)]
        {
            let file = fs::File::create(folder.path().join(name)).unwrap();
            file.set_modified(UNIX_EPOCH + Duration::from_secs(seconds)).unwrap();
        }
        assert_eq!(newest(folder.path()), Some(UnixMs(3_000_000)));
    }
}
