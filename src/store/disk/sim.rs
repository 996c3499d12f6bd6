//! A disk in memory whose power can be cut: for tests of whatever stands on the store.
//!
//! Invariants: a write or a change of length survives a cut whole, not at all, or torn at 512
//! bytes unless `sync_data` came after it; a name that was made, removed or changed survives or not
//! unless `sync_dir` came after it. `lie` makes every sync do nothing: the control that must fail.
//! A recording keeps every event, so that one run gives an image for a cut at each of them.
//!
//! A disk may also be slow to sync, fail to, or be full. Deliberately absent: bit rot.

use super::{Disk, DiskFile, Lock, Open};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use understudy_proto::id::Lsn;

/// Unsynced writes are torn at multiples of this many bytes.
const SECTOR: usize = 512;

/// What happened to the disk.
#[derive(Clone, Debug)]
pub enum Event {
    /// Bytes were written to a file.
    Write(u64, u64, Arc<[u8]>),
    /// A file's length was set.
    Len(u64, u64),
    /// A file was synced.
    Sync(u64),
    /// A name was made for a new, empty file.
    Link(PathBuf, u64),
    /// A name was removed.
    Unlink(PathBuf),
    /// A name was changed, that of a folder with all that is in it.
    Rename(PathBuf, PathBuf),
    /// An empty folder was removed.
    Rmdir(PathBuf),
    /// A folder was made.
    Mkdir(PathBuf),
    /// A folder was synced.
    SyncDir(PathBuf),
    /// Writers up to this lsn got their answer.
    Acknowledged(Lsn),
}

/// How unsynced changes fare when the power goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// All are lost.
    Lost,
    /// All are kept.
    Kept,
    /// Each is lost, kept or torn, by this seed.
    Torn(u64),
}

/// What a disk holds after a power cut: all of it durable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    /// Files.
    pub files: BTreeMap<PathBuf, Arc<Vec<u8>>>,
    /// Folders.
    pub dirs: BTreeSet<PathBuf>,
}

/// Follows events and knows at each what a power cut would leave.
#[derive(Clone, Debug, Default)]
pub struct Replay {
    durable: BTreeMap<u64, Arc<Vec<u8>>>,
    unsynced: BTreeMap<u64, Vec<Event>>,
    names: Names,
    unsynced_names: BTreeMap<PathBuf, Vec<Event>>,
}

#[derive(Clone, Debug, Default)]
struct Names {
    files: BTreeMap<PathBuf, u64>,
    dirs: BTreeSet<PathBuf>,
}

impl Names {
    fn apply(&mut self, event: &Event) {
        match event {
            Event::Link(path, inode) => {
                self.files.insert(path.clone(), *inode);
            }
            Event::Unlink(path) => {
                self.files.remove(path);
            }
            Event::Rename(from, to) => {
                if let Some(inode) = self.files.remove(from) {
                    self.files.insert(to.clone(), inode);
                }
                self.move_folder(from, to);
            }
            Event::Rmdir(path) => {
                // It was empty: what is still known in it had been removed before.
                self.dirs.retain(|dir| !dir.starts_with(path));
            }
            Event::Mkdir(path) => {
                self.dirs.insert(path.clone());
            }
            _ => {}
        }
    }

    fn move_folder(&mut self, from: &Path, to: &Path) {
        if !self.dirs.contains(from) {
            return;
        }
        let moved = |path: &Path| path.strip_prefix(from).ok().map(|rest| join(to, rest));
        self.files = std::mem::take(&mut self.files)
            .into_iter()
            .map(|(path, inode)| (moved(&path).unwrap_or(path), inode))
            .collect();
        self.dirs = std::mem::take(&mut self.dirs)
            .into_iter()
            .map(|path| moved(&path).unwrap_or(path))
            .collect();
    }
}

/// [`Path::join`] without a slash at the end where nothing is added.
fn join(dir: &Path, rest: &Path) -> PathBuf {
    if rest.as_os_str().is_empty() { dir.to_owned() } else { dir.join(rest) }
}

impl Replay {
    /// A disk that holds `image`.
    #[must_use]
    pub fn new(image: &Image) -> Self {
        let mut replay = Self::default();
        for (inode, (path, bytes)) in (0..).zip(&image.files) {
            replay.durable.insert(inode, Arc::clone(bytes));
            replay.names.files.insert(path.clone(), inode);
        }
        replay.names.dirs.clone_from(&image.dirs);
        replay
    }

    /// Takes in the next event.
    pub fn follow(&mut self, event: &Event) {
        match event {
            Event::Write(inode, ..) | Event::Len(inode, _) => {
                self.unsynced.entry(*inode).or_default().push(event.clone());
            }
            Event::Sync(inode) => {
                let pending = self.unsynced.remove(inode).unwrap_or_default();
                let bytes = Arc::make_mut(self.durable.entry(*inode).or_default());
                for event in &pending {
                    change(bytes, event);
                }
            }
            Event::Link(path, _)
            | Event::Unlink(path)
            | Event::Rename(path, _)
            | Event::Rmdir(path)
            | Event::Mkdir(path) => {
                let dir = path.parent().unwrap_or_else(|| Path::new("")).to_owned();
                self.unsynced_names.entry(dir).or_default().push(event.clone());
            }
            Event::SyncDir(dir) => {
                for event in self.unsynced_names.remove(dir).unwrap_or_default() {
                    match &event {
                        // Between two folders: both must be synced, the new one last.
                        Event::Rename(_, to) if to.parent() != Some(dir) => {
                            let dir = to.parent().unwrap_or_else(|| Path::new("")).to_owned();
                            self.unsynced_names.entry(dir).or_default().push(event);
                        }
                        // A rename that is durable before the file's first name was: the file is
                        // there.
                        _ => self.names.apply(&event),
                    }
                }
            }
            Event::Acknowledged(_) => {}
        }
    }

    /// What is left when the power goes now.
    #[must_use]
    pub fn cut(&self, how: Cut) -> Image {
        let mut dice = Dice::new(how);
        let mut names = self.names.clone();
        for events in self.unsynced_names.values() {
            let mut live = self.names.clone();
            for event in events {
                let renamed = match event {
                    Event::Rename(from, to) => live.files.get(from).map(|i| (to.clone(), *i)),
                    _ => None,
                };
                live.apply(event);
                if dice.keep() {
                    names.apply(event);
                    // The new name can be durable although the old one never was.
                    if let Some((to, inode)) = renamed {
                        names.files.insert(to, inode);
                    }
                }
            }
        }
        let mut image = Image::default();
        for (path, inode) in names.files {
            // A file in a folder that is gone is gone.
            if path.parent().is_some_and(|dir| names.dirs.contains(dir)) {
                image.files.insert(path, self.content(inode, &mut dice));
            }
        }
        image.dirs = names.dirs;
        image
    }

    fn content(&self, inode: u64, dice: &mut Dice) -> Arc<Vec<u8>> {
        let mut bytes = self.durable.get(&inode).cloned().unwrap_or_default();
        for event in self.unsynced.get(&inode).into_iter().flatten() {
            match event {
                Event::Write(_, at, data) if dice.keep() => {
                    if dice.tear() {
                        tear(Arc::make_mut(&mut bytes), *at, data, dice);
                    } else {
                        change(Arc::make_mut(&mut bytes), event);
                    }
                }
                Event::Len(..) if dice.keep() => change(Arc::make_mut(&mut bytes), event),
                _ => {}
            }
        }
        bytes
    }
}

fn change(bytes: &mut Vec<u8>, event: &Event) {
    match event {
        Event::Write(_, at, data) => write(bytes, *at, data),
        Event::Len(_, len) => bytes.resize(usize::try_from(*len).unwrap_or(usize::MAX), 0),
        _ => {}
    }
}

fn write(bytes: &mut Vec<u8>, at: u64, data: &[u8]) {
    let at = usize::try_from(at).unwrap_or(usize::MAX);
    let end = at.saturating_add(data.len());
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    if let Some(slot) = bytes.get_mut(at..end) {
        slot.copy_from_slice(data);
    }
}

/// Writes some of `data`'s sectors.
fn tear(bytes: &mut Vec<u8>, at: u64, data: &[u8], dice: &mut Dice) {
    let mut at = usize::try_from(at).unwrap_or(usize::MAX);
    let mut rest = data;
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(rest.len().min(SECTOR - at % SECTOR));
        if dice.keep() {
            write(bytes, at as u64, piece);
        }
        at = at.saturating_add(piece.len());
        rest = after;
    }
}

/// Decides what survives.
struct Dice {
    how: Cut,
    state: u64,
}

impl Dice {
    fn new(how: Cut) -> Self {
        let seed = if let Cut::Torn(seed) = how { seed } else { 0 };
        Self { how, state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1 }
    }

    fn next(&mut self) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state >> 11
    }

    fn keep(&mut self) -> bool {
        match self.how {
            Cut::Lost => false,
            Cut::Kept => true,
            Cut::Torn(_) => !self.next().is_multiple_of(3),
        }
    }

    fn tear(&mut self) -> bool {
        matches!(self.how, Cut::Torn(_)) && self.next().is_multiple_of(2)
    }
}

/// The disk in memory. Clones are the same disk.
#[derive(Clone, Debug)]
pub struct SimDisk(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    replay: Replay,
    names: Names,
    live: BTreeMap<u64, Vec<u8>>,
    next_inode: u64,
    recording: Option<Vec<Event>>,
    /// Operations until the power goes; `None` for never.
    budget: Option<u64>,
    dead: bool,
    operations: u64,
    sync_fails: bool,
    sync_takes: Duration,
    full: bool,
    /// What it says is free, where that is not much.
    free: Option<u64>,
    lie: bool,
    locked: BTreeSet<PathBuf>,
}

impl State {
    /// Counts a changing operation; an error once the power is gone.
    fn tick(&mut self) -> io::Result<()> {
        if let Some(left) = self.budget {
            if left == 0 {
                self.dead = true;
            }
            self.budget = Some(left.saturating_sub(1));
        }
        self.alive()?;
        self.operations += 1;
        Ok(())
    }

    fn alive(&self) -> io::Result<()> {
        if self.dead { Err(io::Error::other("the power is gone")) } else { Ok(()) }
    }

    /// An error where a file would grow to `len` on a full disk.
    fn room(&self, inode: u64, len: u64) -> io::Result<()> {
        let has = self.live.get(&inode).map_or(0, |bytes| bytes.len() as u64);
        if self.full && len > has {
            return Err(io::Error::from_raw_os_error(28));
        }
        Ok(())
    }

    fn happen(&mut self, event: Event) {
        self.replay.follow(&event);
        if let Some(recording) = &mut self.recording {
            recording.push(event);
        }
    }

    fn sync(&mut self, event: Event) -> io::Result<()> {
        self.tick()?;
        if self.sync_fails {
            return Err(io::Error::from_raw_os_error(5));
        }
        if !self.lie {
            self.happen(event);
        }
        Ok(())
    }
}

impl SimDisk {
    /// A disk that holds `image`.
    #[must_use]
    pub fn new(image: &Image) -> Self {
        let replay = Replay::new(image);
        let live = replay.durable.iter().map(|(i, bytes)| (*i, bytes.to_vec())).collect();
        Self(Arc::new(Mutex::new(State {
            names: replay.names.clone(),
            next_inode: replay.durable.len() as u64,
            live,
            replay,
            ..State::default()
        })))
    }

    /// An empty disk with the folder `dir`.
    #[must_use]
    pub fn empty(dir: &Path) -> Self {
        Self::new(&Image { dirs: BTreeSet::from([dir.to_owned()]), ..Image::default() })
    }

    /// Keeps every event from now on.
    pub fn record(&self) {
        self.state().recording = Some(Vec::new());
    }

    /// The events so far.
    #[must_use]
    pub fn recording(&self) -> Vec<Event> {
        self.state().recording.clone().unwrap_or_default()
    }

    /// Cuts the power after `operations` more changing operations; `None` takes it back.
    pub fn cut_after(&self, operations: Option<u64>) {
        self.state().budget = operations;
    }

    /// How many events the recording has.
    #[must_use]
    pub fn recorded(&self) -> usize {
        self.state().recording.as_ref().map_or(0, Vec::len)
    }

    /// Changing operations so far.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    /// Whether the power is gone.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.state().dead
    }

    /// Makes every sync fail, as a drive that lost its medium does.
    pub fn fail_syncs(&self, fail: bool) {
        self.state().sync_fails = fail;
    }

    /// Makes every sync take so long.
    pub fn slow_syncs(&self, takes: Duration) {
        self.state().sync_takes = takes;
    }

    /// From now on it says that so many bytes are free; it takes more all the same.
    pub fn say_free(&self, free: Option<u64>) {
        self.state().free = free;
    }

    /// Lets no file grow.
    pub fn fill(&self, full: bool) {
        self.state().full = full;
    }

    /// Makes every sync do nothing and say that it did.
    pub fn lie(&self) {
        self.state().lie = true;
    }

    /// Cuts the power now and says what is left.
    #[must_use]
    pub fn cut(&self, how: Cut) -> Image {
        let mut state = self.state();
        state.dead = true;
        state.replay.cut(how)
    }

    fn sync(&self, event: Event) -> io::Result<()> {
        let takes = self.state().sync_takes;
        if !takes.is_zero() {
            std::thread::sleep(takes);
        }
        self.state().sync(event)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Disk for SimDisk {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state();
        state.alive()?;
        let known = state.names.files.get(path).copied();
        let inode = match (known, how) {
            (Some(inode), Open::Existing) => inode,
            (Some(inode), Open::Create) => {
                state.tick()?;
                state.live.insert(inode, Vec::new());
                state.happen(Event::Len(inode, 0));
                inode
            }
            (None, Open::Existing) => return Err(io::ErrorKind::NotFound.into()),
            (None, Open::Create) => {
                if !path.parent().is_some_and(|dir| state.names.dirs.contains(dir)) {
                    return Err(io::ErrorKind::NotFound.into());
                }
                state.tick()?;
                let inode = state.next_inode;
                state.next_inode += 1;
                state.live.insert(inode, Vec::new());
                let event = Event::Link(path.to_owned(), inode);
                state.names.apply(&event);
                state.happen(event);
                inode
            }
        };
        Ok(Arc::new(SimFile { disk: self.clone(), inode }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.tick()?;
        let known = state.names.files.contains_key(from) || state.names.dirs.contains(from);
        let room = to.parent().is_some_and(|dir| state.names.dirs.contains(dir));
        if !known || !room {
            return Err(io::ErrorKind::NotFound.into());
        }
        if state.names.dirs.contains(to) {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        let event = Event::Rename(from.to_owned(), to.to_owned());
        state.names.apply(&event);
        state.happen(event);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.tick()?;
        if !state.names.files.contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let event = Event::Unlink(path.to_owned());
        state.names.apply(&event);
        state.happen(event);
        Ok(())
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.tick()?;
        let mut all = state.names.files.keys().chain(&state.names.dirs);
        if all.any(|p| p.parent() == Some(path)) {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        if !state.names.dirs.contains(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let event = Event::Rmdir(path.to_owned());
        state.names.apply(&event);
        state.happen(event);
        Ok(())
    }

    fn is_dir(&self, path: &Path) -> io::Result<bool> {
        let state = self.state();
        state.alive()?;
        Ok(state.names.dirs.contains(path))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        if state.names.dirs.contains(path) {
            return state.alive();
        }
        state.tick()?;
        if !path.parent().is_some_and(|dir| state.names.dirs.contains(dir)) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let event = Event::Mkdir(path.to_owned());
        state.names.apply(&event);
        state.happen(event);
        Ok(())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let state = self.state();
        state.alive()?;
        if !state.names.dirs.contains(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let all = state.names.files.keys().chain(&state.names.dirs);
        let mut names: Vec<String> = all
            .filter(|p| p.parent() == Some(path))
            .filter_map(|p| p.file_name().and_then(|n| n.to_str()).map(str::to_owned))
            .collect();
        names.sort_unstable();
        Ok(names)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.sync(Event::SyncDir(path.to_owned()))
    }

    fn free(&self, _path: &Path) -> io::Result<u64> {
        let state = self.state();
        Ok(if state.full { 0 } else { state.free.unwrap_or(1 << 40) })
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>> {
        let mut state = self.state();
        if !state.locked.insert(path.to_owned()) {
            return Ok(None);
        }
        Ok(Some(Box::new(SimLock { disk: self.clone(), path: path.to_owned() })))
    }

    fn acknowledging(&self, lsn: Lsn) {
        let mut state = self.state();
        if !state.dead {
            state.happen(Event::Acknowledged(lsn));
        }
    }
}

struct SimLock {
    disk: SimDisk,
    path: PathBuf,
}

impl Lock for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        self.disk.state().locked.remove(&self.path);
    }
}

#[derive(Debug)]
struct SimFile {
    disk: SimDisk,
    inode: u64,
}

impl SimFile {
    fn set(&self, state: &mut State, len: u64) {
        let bytes = state.live.entry(self.inode).or_default();
        bytes.resize(usize::try_from(len).unwrap_or(usize::MAX), 0);
        state.happen(Event::Len(self.inode, len));
    }
}

impl DiskFile for SimFile {
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.disk.state();
        state.alive()?;
        let at = usize::try_from(offset).unwrap_or(usize::MAX);
        let bytes = state.live.get(&self.inode).map(Vec::as_slice).unwrap_or_default();
        match bytes.get(at..at.saturating_add(out.len())) {
            Some(found) => {
                out.copy_from_slice(found);
                Ok(())
            }
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.disk.state();
        state.room(self.inode, offset.saturating_add(data.len() as u64))?;
        let powered = state.tick();
        // The write that the power cut hits may reach the medium, too.
        if powered.is_ok() || state.budget == Some(0) {
            write(state.live.entry(self.inode).or_default(), offset, data);
            state.happen(Event::Write(self.inode, offset, data.into()));
        }
        powered
    }

    fn len(&self) -> io::Result<u64> {
        let state = self.disk.state();
        state.alive()?;
        Ok(state.live.get(&self.inode).map_or(0, |b| b.len() as u64))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        state.room(self.inode, len)?;
        state.tick()?;
        self.set(&mut state, len);
        Ok(())
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        if state.live.get(&self.inode).map_or(0, |b| b.len() as u64) >= len {
            return state.alive();
        }
        state.room(self.inode, len)?;
        state.tick()?;
        self.set(&mut state, len);
        Ok(())
    }

    fn zero(&self, from: u64, to: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        let len = state.live.get(&self.inode).map_or(0, |b| b.len() as u64);
        if to < len {
            drop(state);
            let zeros = usize::try_from(to.saturating_sub(from)).unwrap_or(usize::MAX);
            return self.write_at(from, &vec![0; zeros]);
        }
        state.room(self.inode, to)?;
        state.tick()?;
        self.set(&mut state, from.min(len));
        self.set(&mut state, to);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk.sync(Event::Sync(self.inode))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_synced_is_sure_to_survive() {
        let dir = Path::new("/d");
        let disk = SimDisk::empty(dir);
        let path = dir.join("f");
        let file = disk.open(&path, Open::Create).unwrap();
        file.write_at(0, &[1; 2000]).unwrap();
        file.sync_data().unwrap();
        let lost = disk.0.lock().unwrap().replay.cut(Cut::Lost);
        assert!(lost.files.is_empty(), "the name was not synced");
        disk.sync_dir(dir).unwrap();
        file.write_at(0, &[2; 2000]).unwrap();
        let replay = disk.0.lock().unwrap().replay.clone();
        assert_eq!(*replay.cut(Cut::Lost).files[&path], [1; 2000]);
        assert_eq!(*replay.cut(Cut::Kept).files[&path], [2; 2000]);
        let torn = (0..50).any(|seed| {
            let bytes = replay.cut(Cut::Torn(seed)).files[&path].clone();
            bytes.contains(&1) && bytes.contains(&2)
        });
        assert!(torn);
    }

    #[test]
    fn a_lying_disk_loses_what_it_said_it_kept() {
        let dir = Path::new("/d");
        let disk = SimDisk::empty(dir);
        disk.lie();
        let file = disk.open(&dir.join("f"), Open::Create).unwrap();
        file.write_at(0, b"gone").unwrap();
        file.sync_data().unwrap();
        disk.sync_dir(dir).unwrap();
        assert!(disk.cut(Cut::Lost).files.is_empty());
    }

    #[test]
    fn a_renamed_file_has_one_of_its_names() {
        let dir = Path::new("/d");
        let disk = SimDisk::empty(dir);
        let (old, new) = (dir.join("old"), dir.join("new"));
        disk.open(&new, Open::Create).unwrap();
        disk.open(&old, Open::Create).unwrap().write_at(0, b"x").unwrap();
        disk.sync_dir(dir).unwrap();
        disk.rename(&old, &new).unwrap();
        let replay = disk.0.lock().unwrap().replay.clone();
        for seed in 0..20 {
            let image = replay.cut(Cut::Torn(seed));
            assert!(image.files.contains_key(&new));
        }
        assert!(!replay.cut(Cut::Kept).files.contains_key(&old));
        assert!(replay.cut(Cut::Lost).files.contains_key(&old));
    }
}
