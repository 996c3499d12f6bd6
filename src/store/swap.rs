//! Putting another node's data, or none, in the place of this node's: only at boot, before anything
//! is opened.
//!
//! Invariants: what is to be done is a durable order first (`incoming/complete`, `retire`), and is
//! carried out by [`at_boot`], however often the power goes meanwhile: each step is one rename, durable
//! before the next. Nothing of the old data is lost: it lies in `retired/` or `branches/` afterwards.
//!
//! ```text
//! incoming/{log,system,tenants}  ──►  log, system, tenants  ──►  retired/<id>/ or branches/<id>/
//! ```
//!
//! What rests on the old data without being part of it (the search index) goes before the first step.
//!
//! Deliberately absent: deciding when (`pair`), and how long a branch is kept. What was not merged is
//! never removed.

use super::disk::{Disk, Open};
use super::error::{Context, StoreError};
use std::path::Path;
use std::time::Duration;

/// The folders that make up a node's data.
const PARTS: [&str; 3] = ["log", "system", "tenants"];
/// What was made from the data: of no use beside other data, and made again.
const SEARCH: &str = "search";
/// Where a copy of another node's data is received.
pub(super) const INCOMING: &str = "incoming";
/// The order to swap it in; its content says where the old data goes.
const COMPLETE: &str = "complete";
/// Where data lies that is not needed once the node was admitted again.
const RETIRED: &str = "retired";
/// Where data lies that may hold what nobody else has.
const BRANCHES: &str = "branches";
/// The order to put this node's data away; its content is the branch's id.
const RETIRE: &str = "retire";
/// In a branch's folder: all of it is merged, and for how long it was kept since; 0 at first.
const MERGED: &str = "merged";
/// Before the milliseconds for which a branch was kept.
const COUNTED: &str = "kept-";
/// Longest order in bytes.
const ORDER_LEN_MAX: u64 = 256;

/// What [`at_boot`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Swapped {
    /// Nothing was ordered.
    Nothing,
    /// This node's data was put away: it starts empty.
    Retired,
    /// A full copy of the peer's data took its place.
    Installed,
}

/// What becomes of the data that a full copy replaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Old {
    /// The copy holds all of it: removed by [`forget_retired`].
    Held,
    /// It may hold records that nobody else has: kept as a branch.
    Branch,
}

/// Carries out what was ordered before the process ended. To be called before anything in `dir` is
/// opened.
///
/// # Errors
/// The disk refuses, or another process works on the same data. Calling again goes on.
pub fn at_boot(disk: &dyn Disk, dir: &Path) -> Result<Swapped, StoreError> {
    if !disk.is_dir(dir).context("look for", dir)? {
        return Ok(Swapped::Nothing);
    }
    let path = dir.join("lock");
    let _lock = disk.lock(&path).context("lock", &path)?.ok_or(StoreError::Locked(path))?;
    let mut done = Swapped::Nothing;
    if let Some(id) = read_order(disk, dir, RETIRE)? {
        put_away(disk, dir, &id)?;
        remove_order(disk, dir, RETIRE)?;
        log::warn!(branch = id; "the data of this node was put away; it starts empty");
        done = Swapped::Retired;
    }
    let incoming = dir.join(INCOMING);
    if disk.is_dir(&incoming).context("look for", &incoming)?
        && let Some(old) = read_order(disk, &incoming, COMPLETE)?
    {
        install(disk, dir, &old)?;
        log::warn!(branch = old; "a full copy of the peer's data is in place");
        done = Swapped::Installed;
    }
    Ok(done)
}

/// Orders that this node's log, rows and bodies go to `branches/<id>/` at the next start, and returns
/// once that is durable; the keyring stays, a copy of it goes along. Then call [`exec_self`].
///
/// # Errors
/// The disk refuses; then nothing is ordered.
pub fn retire(disk: &dyn Disk, dir: &Path, id: &str) -> Result<(), StoreError> {
    let id = unused(disk, &dir.join(BRANCHES), &clean(id))?;
    write_order(disk, dir, RETIRE, &id)
}

/// Orders that the copy in `incoming/` is swapped in at the next start; the old data goes to a folder
/// `id`. All of the copy must be durable.
pub(super) fn order_install(
    disk: &dyn Disk,
    dir: &Path,
    old: Old,
    id: &str,
) -> Result<(), StoreError> {
    let place = match old {
        Old::Held => RETIRED,
        Old::Branch => BRANCHES,
    };
    let id = unused(disk, &dir.join(place), &clean(id))?;
    write_order(disk, &dir.join(INCOMING), COMPLETE, &format!("{place}/{id}"))
}

/// Takes the order back: the copy is worked on again.
pub(super) fn take_back_install(disk: &dyn Disk, dir: &Path) -> Result<(), StoreError> {
    let incoming = dir.join(INCOMING);
    if exists(disk, &incoming, COMPLETE)? {
        remove_order(disk, &incoming, COMPLETE)
    } else {
        Ok(())
    }
}

/// Removes what a full copy replaced, and the rest of one that was not needed in the end: this node
/// was admitted again. `false`: there was nothing.
///
/// # Errors
/// The disk refuses. Calling again goes on.
pub fn forget_retired(disk: &dyn Disk, dir: &Path) -> Result<bool, StoreError> {
    let mut found = false;
    for name in [RETIRED, INCOMING] {
        let path = dir.join(name);
        if disk.is_dir(&path).context("look for", &path)? {
            found = true;
            if name == INCOMING {
                take_back_install(disk, dir)?;
            }
            remove_tree(disk, &path)?;
            disk.sync_dir(dir).context("sync", dir)?;
        }
    }
    Ok(found)
}

/// Removes the data of branches that were merged, once nodes ran with it for longer than `kept`; they
/// ran for `seen` since the last call. No clock says so: one that was wrong and is set right would
/// take all of the time away at once. What is wrong with one is logged and leaves the others alone.
/// Says how many went.
///
/// # Errors
/// The disk refuses to list them. Calling again goes on.
pub fn forget_branches(
    disk: &dyn Disk,
    dir: &Path,
    seen: Duration,
    kept: Duration,
) -> Result<usize, StoreError> {
    let branches = dir.join(BRANCHES);
    let mut gone = 0_usize;
    if !disk.is_dir(&branches).context("look for", &branches)? {
        return Ok(gone);
    }
    for name in disk.list(&branches).context("list", &branches)? {
        match forget_branch(disk, &branches, &name, (seen, kept)) {
            Ok(false) => {}
            Ok(true) => {
                log::info!(branch = name; "the data of a merged branch was kept long enough and is removed");
                gone = gone.saturating_add(1);
            }
            Err(e) => {
                log::warn!(branch = name, err:% = e, runbook = "branched"; "the data of a merged branch cannot be removed");
            }
        }
    }
    Ok(gone)
}

fn forget_branch(
    disk: &dyn Disk,
    branches: &Path,
    name: &str,
    (seen, kept): (Duration, Duration),
) -> Result<bool, StoreError> {
    let branch = branches.join(name);
    if !disk.is_dir(&branch).context("look for", &branch)? {
        return Ok(false);
    }
    let Some(note) = read_order(disk, &branch, MERGED)? else { return Ok(false) };
    let path = branch.join(MERGED);
    let number = note.strip_prefix(COUNTED).unwrap_or(&note);
    let number: u64 =
        number.parse().map_err(|_no_number| StoreError::damaged(&path, 0, "this is no time"))?;
    // A note of another form begins to count, or holds a date, which says nothing.
    let had =
        if note.starts_with(COUNTED) { Duration::from_millis(number) } else { Duration::ZERO };
    let counted = had.saturating_add(seen);
    if counted <= kept {
        let text = format!("{COUNTED}{}", counted.as_millis());
        if text != note {
            write_whole(disk, &path, text.as_bytes())?;
        }
        return Ok(false);
    }
    // What says that it may go goes last.
    for part in disk.list(&branch).context("list", &branch)? {
        if part != MERGED {
            remove_tree(disk, &branch.join(part))?;
        }
    }
    disk.sync_dir(&branch).context("sync", &branch)?;
    remove_tree(disk, &branch)?;
    disk.sync_dir(branches).context("sync", branches)?;
    Ok(true)
}

/// Removes a file, or a folder with all that is in it. Not durable before the parent is synced.
///
/// # Errors
/// The disk refuses. Calling again goes on.
pub fn remove_tree(disk: &dyn Disk, path: &Path) -> Result<(), StoreError> {
    if !disk.is_dir(path).context("look for", path)? {
        return disk.remove(path).context("remove", path);
    }
    for name in disk.list(path).context("list", path)? {
        remove_tree(disk, &path.join(name))?;
    }
    disk.remove_dir(path).context("remove", path)
}

/// Starts this program anew in place of itself: same process id, same arguments. Returns only when
/// the system refuses.
#[must_use]
pub fn exec_self() -> std::io::Error {
    use std::os::unix::process::CommandExt;
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_else(|| "understudy".into());
    std::process::Command::new("/proc/self/exe").arg0(name).args(arguments).exec()
}

/// The index of mail that is about to go says nothing of the mail that comes, even where numbers are
/// the same.
fn forget_search(disk: &dyn Disk, dir: &Path) -> Result<(), StoreError> {
    let path = dir.join(SEARCH);
    if disk.is_dir(&path).context("look for", &path)? {
        remove_tree(disk, &path)?;
        disk.sync_dir(dir).context("sync", dir)?;
    }
    Ok(())
}

fn install(disk: &dyn Disk, dir: &Path, old: &str) -> Result<(), StoreError> {
    forget_search(disk, dir)?;
    let (incoming, old) = (dir.join(INCOMING), dir.join(old));
    make_dirs(disk, dir, &old)?;
    // Tails that were set aside wait for the merge, whatever becomes of the log that they left.
    let (from, to) = (dir.join("log/aside"), incoming.join("log/aside"));
    if disk.is_dir(&from).context("look for", &from)?
        && disk.is_dir(&incoming.join("log")).context("look for", &incoming)?
        && !disk.is_dir(&to).context("look for", &to)?
    {
        move_to(disk, &from, &to)?;
    }
    for part in PARTS {
        let (new, here) = (incoming.join(part), dir.join(part));
        if !disk.is_dir(&new).context("look for", &new)? {
            continue; // In place already.
        }
        if disk.is_dir(&here).context("look for", &here)? {
            move_to(disk, &here, &old.join(part))?;
        }
        move_to(disk, &new, &here)?;
    }
    // The order goes last: all before it can be done again.
    for name in disk.list(&incoming).context("list", &incoming)? {
        if name != COMPLETE {
            remove_tree(disk, &incoming.join(name))?;
        }
    }
    disk.sync_dir(&incoming).context("sync", &incoming)?;
    remove_tree(disk, &incoming)?;
    disk.sync_dir(dir).context("sync", dir)
}

fn put_away(disk: &dyn Disk, dir: &Path, id: &str) -> Result<(), StoreError> {
    forget_search(disk, dir)?;
    let branch = dir.join(BRANCHES).join(id);
    let system = branch.join("system");
    make_dirs(disk, dir, &system)?;
    let (keyring, copy) = (dir.join("system/keyring"), system.join("keyring"));
    if exists(disk, &dir.join("system"), "keyring")? && !exists(disk, &system, "keyring")? {
        copy_file(disk, &keyring, &copy)?;
    }
    for name in ["system/index.redb", "system/packs", "tenants", "log"] {
        let (from, to) = (dir.join(name), branch.join(name));
        let parent = from.parent().unwrap_or(dir);
        let file = from.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        if disk.is_dir(parent).context("look for", parent)? && exists(disk, parent, file)? {
            move_to(disk, &from, &to)?;
        }
    }
    write_whole(disk, &branch.join(MERGED), b"0")
}

/// One durable step.
fn move_to(disk: &dyn Disk, from: &Path, to: &Path) -> Result<(), StoreError> {
    disk.rename(from, to).context("rename", from)?;
    for dir in [from.parent(), to.parent()].into_iter().flatten() {
        disk.sync_dir(dir).context("sync", dir)?;
    }
    Ok(())
}

fn copy_file(disk: &dyn Disk, from: &Path, to: &Path) -> Result<(), StoreError> {
    let file = disk.open(from, Open::Existing).context("open", from)?;
    let len = usize::try_from(file.len().context("measure", from)?).unwrap_or(0);
    let mut bytes = zeroize::Zeroizing::new(vec![0; len]);
    file.read_at(0, &mut bytes).context("read", from)?;
    write_whole(disk, to, &bytes)
}

/// Makes a file durable under its name, or leaves what was there.
pub(super) fn write_whole(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let temporary = path.with_extension("tmp");
    let file = disk.open(&temporary, Open::Create).context("create", &temporary)?;
    file.write_at(0, bytes).context("write", &temporary)?;
    file.sync_data().context("sync", &temporary)?;
    disk.rename(&temporary, path).context("rename", &temporary)?;
    let dir = path.parent().unwrap_or(path);
    disk.sync_dir(dir).context("sync", dir)
}

/// Makes `path`, which lies in `dir`, and all folders between them, durably.
pub(super) fn make_dirs(disk: &dyn Disk, dir: &Path, path: &Path) -> Result<(), StoreError> {
    let mut here = dir.to_owned();
    for name in path.strip_prefix(dir).unwrap_or(path) {
        let parent = here.clone();
        here.push(name);
        disk.create_dir(&here).context("create", &here)?;
        disk.sync_dir(&parent).context("sync", &parent)?;
    }
    Ok(())
}

pub(super) fn exists(disk: &dyn Disk, dir: &Path, name: &str) -> Result<bool, StoreError> {
    Ok(disk.list(dir).context("list", dir)?.iter().any(|found| found == name))
}

fn write_order(disk: &dyn Disk, dir: &Path, name: &str, text: &str) -> Result<(), StoreError> {
    write_whole(disk, &dir.join(name), text.as_bytes())
}

fn read_order(disk: &dyn Disk, dir: &Path, name: &str) -> Result<Option<String>, StoreError> {
    if !exists(disk, dir, name)? {
        return Ok(None);
    }
    let path = dir.join(name);
    let file = disk.open(&path, Open::Existing).context("open", &path)?;
    let len = file.len().context("measure", &path)?;
    let mut bytes = vec![0; usize::try_from(len.min(ORDER_LEN_MAX)).unwrap_or(0)];
    file.read_at(0, &mut bytes).context("read", &path)?;
    let text = String::from_utf8(bytes).ok().filter(|_| len <= ORDER_LEN_MAX);
    let text = text.filter(|t| !t.is_empty() && is_clean(t));
    text.map(Some).ok_or_else(|| StoreError::damaged(&path, 0, "this is no order"))
}

fn remove_order(disk: &dyn Disk, dir: &Path, name: &str) -> Result<(), StoreError> {
    let path = dir.join(name);
    disk.remove(&path).context("remove", &path)?;
    disk.sync_dir(dir).context("sync", dir)
}

/// A name like `id` that nothing in `dir` has: what was put away before stays what it is.
fn unused(disk: &dyn Disk, dir: &Path, id: &str) -> Result<String, StoreError> {
    if !disk.is_dir(dir).context("look for", dir)? {
        return Ok(id.to_owned());
    }
    let names = disk.list(dir).context("list", dir)?;
    let free = |name: &String| !names.contains(name);
    let later = (2_u32..).map(|n| format!("{id}-{n}"));
    Ok(std::iter::once(id.to_owned()).chain(later).find(free).unwrap_or_default())
}

/// A folder's name of what may be any text.
fn clean(id: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    id.chars().take(100).map(plain).collect()
}

/// Whether an order's text leads nowhere else.
fn is_clean(text: &str) -> bool {
    text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '/')
        && Path::new(text).components().all(|c| matches!(c, std::path::Component::Normal(_)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::disk::{Cut, Image, Replay, SimDisk};
    use std::collections::BTreeMap;
    use std::sync::Arc;

    const ROOT: &str = "/data";

    fn put(disk: &SimDisk, name: &str, text: &str) {
        let (dir, path) = (Path::new(ROOT), Path::new(ROOT).join(name));
        make_dirs(disk, dir, path.parent().unwrap()).unwrap();
        write_whole(disk, &path, text.as_bytes()).unwrap();
    }

    /// Two nodes' data: ours in place, the peer's in `incoming/`.
    fn node() -> SimDisk {
        let disk = SimDisk::empty(Path::new(ROOT));
        for name in ["log/1.seg", "log/aside/3-9.log", "system/keyring", "system/index.redb"] {
            put(&disk, name, "ours");
        }
        put(&disk, "system/packs/1.pack", "ours");
        put(&disk, "tenants/1/index.redb", "ours");
        put(&disk, "pair/register", "ours");
        put(&disk, "search/1/meta.json", "of ours");
        for name in ["log/7.seg", "system/keyring", "system/index.redb", "tenants/1/index.redb"] {
            put(&disk, &format!("incoming/{name}"), "theirs");
        }
        put(&disk, "incoming/copy", "theirs");
        disk
    }

    fn files(disk: &SimDisk) -> BTreeMap<String, String> {
        let image = disk.cut(Cut::Lost);
        let name = |p: &Path| p.strip_prefix(ROOT).unwrap().to_str().unwrap().to_owned();
        let text = |b: &Arc<Vec<u8>>| String::from_utf8(b.to_vec()).unwrap();
        image.files.iter().map(|(p, b)| (name(p), text(b))).collect()
    }

    /// Cuts the power at each event of `at_boot`, starts again, and shows what is there then.
    fn at_every_cut(start: &SimDisk, check: impl Fn(&BTreeMap<String, String>)) {
        let image: Image = start.cut(Cut::Lost);
        let disk = SimDisk::new(&image);
        disk.record();
        at_boot(&disk, Path::new(ROOT)).unwrap();
        let events = disk.recording();
        assert!(events.len() > 20);
        let mut replay = Replay::new(&image);
        for event in &events {
            replay.follow(event);
            let cuts = (0..6).map(Cut::Torn).chain([Cut::Lost, Cut::Kept]);
            for cut in cuts {
                let again = SimDisk::new(&replay.cut(cut));
                // A second cut, in the middle of going on.
                again.cut_after(Some(5));
                drop(at_boot(&again, Path::new(ROOT)));
                let again = SimDisk::new(&again.cut(cut));
                at_boot(&again, Path::new(ROOT)).unwrap();
                assert_eq!(at_boot(&again, Path::new(ROOT)).unwrap(), Swapped::Nothing);
                check(&files(&again));
            }
        }
    }

    #[test]
    fn a_copy_without_an_order_is_left_alone() {
        let disk = node();
        assert_eq!(at_boot(&disk, Path::new(ROOT)).unwrap(), Swapped::Nothing);
        assert_eq!(files(&disk)["system/index.redb"], "ours");
        assert_eq!(files(&disk)["search/1/meta.json"], "of ours");
    }

    #[test]
    fn a_complete_copy_is_swapped_in_whenever_the_power_goes() {
        for old in [Old::Held, Old::Branch] {
            let disk = node();
            order_install(&disk, Path::new(ROOT), old, "a/../b").unwrap();
            let place = if old == Old::Held { "retired/a----b" } else { "branches/a----b" };
            at_every_cut(&disk, |files| {
                let all: Vec<&str> = files.keys().map(String::as_str).collect();
                for name in ["log/7.seg", "system/keyring", "system/index.redb"] {
                    assert_eq!(files[name], "theirs", "{name} {all:?}");
                }
                assert_eq!(files["tenants/1/index.redb"], "theirs");
                assert_eq!(files["log/aside/3-9.log"], "ours", "{all:?}");
                assert_eq!(files["pair/register"], "ours");
                for name in ["log/1.seg", "system/keyring", "system/packs/1.pack"] {
                    assert_eq!(files[&format!("{place}/{name}")], "ours", "{name} {all:?}");
                }
                let gone = |n: &&str| n.starts_with("incoming") || n.starts_with("search");
                assert!(!all.iter().any(gone), "{all:?}");
                assert!(
                    !files.contains_key("log/1.seg") && !files.contains_key("system/packs/1.pack")
                );
            });
        }
    }

    #[test]
    fn data_is_put_away_whenever_the_power_goes() {
        let disk = node();
        retire(&disk, Path::new(ROOT), "77").unwrap();
        at_every_cut(&disk, |files| {
            let all: Vec<&str> = files.keys().map(String::as_str).collect();
            for name in ["log/1.seg", "log/aside/3-9.log", "system/keyring", "system/index.redb"] {
                assert_eq!(files[&format!("branches/77/{name}")], "ours", "{name} {all:?}");
            }
            assert_eq!(files["branches/77/tenants/1/index.redb"], "ours");
            assert_eq!((&*files["system/keyring"], &*files["pair/register"]), ("ours", "ours"));
            let gone = [
                "log/1.seg",
                "system/index.redb",
                "system/packs/1.pack",
                "search/1/meta.json",
                "retire",
            ];
            assert!(!gone.iter().any(|n| files.contains_key(*n)), "{all:?}");
        });
    }

    #[test]
    fn what_was_retired_is_removed() {
        let disk = node();
        order_install(&disk, Path::new(ROOT), Old::Held, "x").unwrap();
        assert_eq!(at_boot(&disk, Path::new(ROOT)).unwrap(), Swapped::Installed);
        assert!(forget_retired(&disk, Path::new(ROOT)).unwrap());
        assert!(!forget_retired(&disk, Path::new(ROOT)).unwrap());
        put(&disk, "incoming/system/index.redb", "half");
        assert!(forget_retired(&disk, Path::new(ROOT)).unwrap());
        let gone = |n: &String| !n.starts_with("retired") && !n.starts_with("incoming");
        assert!(files(&disk).keys().all(gone));
    }

    #[test]
    fn an_order_that_leads_elsewhere_is_refused() {
        let disk = node();
        for expected in ["77", "77-2"] {
            retire(&disk, Path::new(ROOT), "77").unwrap();
            at_boot(&disk, Path::new(ROOT)).unwrap();
            assert!(disk.is_dir(&Path::new(ROOT).join("branches").join(expected)).unwrap());
            put(&disk, "log/1.seg", "again");
        }
        for text in ["../x", "/etc", "a/../b", "", "a b"] {
            let disk = node();
            put(&disk, "incoming/complete", text);
            assert!(at_boot(&disk, Path::new(ROOT)).is_err(), "{text}");
        }
    }

    #[test]
    fn a_merged_branch_goes_after_its_time_and_others_never() {
        let (disk, dir) = (node(), Path::new(ROOT));
        put(&disk, "branches/unmerged/log/1.seg", "theirs");
        retire(&disk, dir, "5-3").unwrap();
        assert_eq!(at_boot(&disk, dir).unwrap(), Swapped::Retired);
        let days = |n: u64| Duration::from_secs(n * 86_400);
        let round = |seen| forget_branches(&disk, dir, seen, days(30)).unwrap();
        // A date, of a clock that was wrong or was not: the time counts from here.
        for note in ["0", "1000000", "1700000000000"] {
            put(&disk, "branches/5-3/merged", note);
            assert_eq!(round(days(29)), 0, "{note}");
        }
        // One that cannot be read does not hold up the others.
        for (name, note) in [("1-1", "../x"), ("1-2", "soon"), ("1-3", "kept-"), ("9-9", "kept-x")]
        {
            put(&disk, &format!("branches/{name}/merged"), note);
        }
        for seen in [days(1), days(0)] {
            assert_eq!(round(seen), 0);
            assert!(disk.is_dir(&dir.join("branches/5-3/log")).unwrap());
        }
        assert_eq!(round(Duration::from_millis(1)), 1);
        assert!(!disk.is_dir(&dir.join("branches/5-3")).unwrap());
        assert_eq!(round(days(999)), 0);
        for name in ["1-1", "1-2", "1-3", "9-9"] {
            assert!(disk.is_dir(&dir.join("branches").join(name)).unwrap(), "{name}");
        }
        assert!(disk.is_dir(&dir.join("branches/unmerged/log")).unwrap());
    }
}
