//! The store: one log that orders and keeps every change, one view per tenant that shows them.
//!
//! Invariants: nothing is acknowledged or visible before it is committed (`log`); each tenant's
//! changes are decided one after the other over everything decided before (`decider`); a view is
//! the log, applied (`view`); all bytes at rest are sealed with the tenant's key (`seal`,
//! `keyring`); every durability call goes through `disk`. Only this room names redb.
//!
//! Deliberately absent: what a change means (`understudy_proto::rule`), who is primary and what
//! `insync` is (`pair` mints the lease and calls [`Log::commit`]).

pub mod ballast;
mod body;
mod branch;
mod decider;
pub mod disk;
mod error;
mod incoming;
mod keyring;
mod lease;
mod log;
mod seal;
pub mod swap;
#[cfg(test)]
mod tests;
mod view;

pub use self::body::BodyWriter;
pub use self::branch::Plain;
pub use self::error::{Class, StoreError, WriteError};
pub use self::incoming::{Incoming, LogBase, Source};
pub use self::keyring::Keyring;
pub use self::lease::{LeaseControl, PrimaryLease};
pub use self::log::{FatalHook, Log, Pin, Tail};
pub use self::view::ReadView;
pub use self::view::copy::{Progress, SealedRow, Snapshot};

use self::decider::Pending;
use self::disk::{Disk, Lock};
use self::error::{Context, lock};
use self::view::viewer::{self, Viewer};
use self::view::{View, ViewSettings};
use crate::base::task;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::watch;
use understudy_proto::id::{Lsn, NodeId, TenantId};
use understudy_proto::merge;
use understudy_proto::record::{self, Kind};
use understudy_proto::rule::Registry;

/// How much of the log [`Store::changes`] reads at a time, in bytes.
const CHANGES_READ_LEN: usize = 1024 * 1024;
/// Topics of a tenant that may have followers before those without are forgotten.
const TOPICS_IDLE_MAX: usize = 1_024;

/// How a store works. [`StoreOptions::new`] has the defaults.
#[derive(Clone)]
pub struct StoreOptions {
    /// The data directory; it is made if its parent exists.
    pub dir: PathBuf,
    /// Which appliance of the pair this is: for the log line of a fatal error.
    pub node: NodeId,
    /// Length of a log segment in bytes.
    pub segment_len: u64,
    /// Bytes of log that are kept for an absent peer.
    pub log_keep_bytes: u64,
    /// Bytes of the disk that stay free: new bodies are refused before.
    pub reserve_bytes: u64,
    /// A view is checkpointed at the latest this long after its first change.
    pub checkpoint_every: Duration,
    /// A view is checkpointed at the latest after this many changes.
    pub checkpoint_changes: usize,
    /// redb's cache per open index, in bytes.
    pub cache_bytes: usize,
    /// Indexes that stay open.
    pub open_views_max: usize,
    /// A pack that is longer than this many bytes is not appended to any more.
    pub pack_len: u64,
    /// Called once when the store must stop. It should end the process: the standby takes over.
    pub fatal: FatalHook,
}

impl StoreOptions {
    /// The defaults for the store in `dir`; a fatal error aborts the process.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>, node: NodeId) -> Self {
        Self {
            dir: dir.into(),
            node,
            segment_len: 64 << 20,
            log_keep_bytes: 8 << 30,
            reserve_bytes: 1 << 30,
            checkpoint_every: Duration::from_millis(1_500),
            checkpoint_changes: 10_000,
            cache_bytes: 1 << 20,
            open_views_max: 128,
            pack_len: 256 << 20,
            fatal: Arc::new(move |why| {
                ::log::error!(node:% = node, reason = why, runbook = "store-stopped"; "the store must stop, aborting");
                ::log::logger().flush();
                std::process::abort()
            }),
        }
    }
}

impl std::fmt::Debug for StoreOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoreOptions").field("dir", &self.dir).finish_non_exhaustive()
    }
}

/// A command's outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written<A> {
    /// What the kind answers.
    pub answer: A,
    /// The change's position; for a command without a change, the last one that the answer rests
    /// on.
    pub lsn: Lsn,
}

/// The store. Clones are the same store; the last one stops its threads. [`Store::close`] also
/// leaves nothing to replay.
#[derive(Clone)]
pub struct Store(Arc<Handle>);

struct Handle {
    inner: Arc<Inner>,
    threads: Mutex<Vec<std::thread::JoinHandle<()>>>,
    _lock: Box<dyn Lock>,
}

struct Inner {
    options: StoreOptions,
    registry: Registry,
    keyring: Arc<Keyring>,
    log: Log,
    views: ViewSettings,
    slots: RwLock<BTreeMap<TenantId, Arc<Slot>>>,
    open_views: AtomicUsize,
    /// Counts uses of views, so that the least recently used is closed first.
    uses: AtomicU64,
    /// The lease that decides, and what must be applied before it does.
    reign: Mutex<Option<(PrimaryLease, Lsn)>>,
    closing: AtomicBool,
}

impl Inner {
    fn room(&self) -> Result<Room, StoreError> {
        let dir = &self.options.dir;
        let free = self.views.disk.free(dir).context("ask for the free space of", dir)?;
        Ok(Room { free, reserve: self.options.reserve_bytes })
    }

    /// DESIGN.md 3, invariant 12: new mail is put off while there is still room for all else.
    fn check_room(&self) -> Result<(), StoreError> {
        self.check_room_for(0)
    }

    /// Whether `more` bytes leave the reserve untouched.
    fn check_room_for(&self, more: u64) -> Result<(), StoreError> {
        let Room { free, reserve } = self.room()?;
        let reserve = reserve.saturating_add(more);
        if free < reserve { Err(StoreError::NoRoom { free, reserve }) } else { Ok(()) }
    }
}

/// How much room the disk has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Free bytes.
    pub free: u64,
    /// Bytes that new mail leaves free.
    pub reserve: u64,
}

/// What the store keeps of a tenant while it runs.
struct Slot {
    tenant: TenantId,
    view: Mutex<Option<Arc<View>>>,
    pending: Mutex<Pending>,
    applied: watch::Sender<Lsn>,
    topics: Mutex<BTreeMap<u64, watch::Sender<u64>>>,
}

impl Store {
    /// Opens the store, or makes one: finds the log's end, brings every view to the last lsn that is
    /// known to be committed, and starts the appender and the viewer.
    pub fn open(
        disk: Arc<dyn Disk>,
        options: StoreOptions,
        registry: Registry,
    ) -> Result<Self, StoreError> {
        let lock = prepare(disk.as_ref(), &options.dir)?;
        let settings = log::Settings {
            dir: options.dir.join("log"),
            segment_len: options.segment_len,
            keep_bytes: options.log_keep_bytes,
            fatal: Arc::clone(&options.fatal),
        };
        let recovered = log::recover(Arc::clone(&disk), settings)?;
        let log = recovered.log.clone();
        let unused = log.last().lsn == Lsn(0);
        let system = options.dir.join("system");
        let keyring = Arc::new(Keyring::open(Arc::clone(&disk), &system, unused)?);
        let views = ViewSettings {
            disk,
            dir: options.dir.clone(),
            keyring: Arc::clone(&keyring),
            cache_bytes: options.cache_bytes,
            pack_len: options.pack_len,
        };
        let inner = Arc::new(Inner {
            options,
            registry,
            keyring,
            log: log.clone(),
            views,
            slots: RwLock::default(),
            open_views: AtomicUsize::new(0),
            uses: AtomicU64::new(0),
            reign: Mutex::default(),
            closing: AtomicBool::new(false),
        });
        let mut viewer = Viewer::new(Arc::clone(&inner), recovered.floor);
        log.commit(inner.known_commit(&recovered)?);
        while viewer.round()? {}
        // Before anything is trimmed; the viewer keeps it so.
        inner.pin_for_merges()?;
        let appender = log::spawn(&log, recovered.file, recovered.offset);
        let viewer = task::thread("store-viewer", move || viewer.run());
        let threads = Mutex::new(vec![appender, viewer]);
        Ok(Self(Arc::new(Handle { inner, threads, _lock: lock })))
    }

    /// A snapshot of the tenant's committed rows.
    pub fn read(&self, tenant: TenantId) -> Result<ReadView, StoreError> {
        let inner = self.inner();
        let slot = inner.known_slot(tenant)?;
        ReadView::new(inner.view(&slot)?)
    }

    /// Snapshots of the tenant's rows and of the system's as the same record left them, and that
    /// record. `None`: changes are being applied just now, ask again. Blocks.
    pub fn read_with_system(
        &self,
        tenant: TenantId,
    ) -> Result<Option<(ReadView, ReadView, Lsn)>, StoreError> {
        let inner = self.inner();
        if tenant == TenantId::SYSTEM {
            return Err(StoreError::UnknownTenant(tenant));
        }
        let (slot, system) = (inner.known_slot(tenant)?, inner.known_slot(TenantId::SYSTEM)?);
        let (view, system) = (inner.view(&slot)?, inner.view(&system)?);
        ReadView::of_one_record(&view, &system, || inner.log.applied())
    }

    /// Waits until the tenant's change `lsn` is visible to [`Store::read`].
    pub async fn applied(&self, tenant: TenantId, lsn: Lsn) -> Result<(), StoreError> {
        let inner = self.inner();
        let slot = inner.known_slot(tenant)?;
        let mut ours = slot.applied.subscribe();
        // Views that were not opened since the start show nothing in their slot.
        let mut all = inner.log.watch_applied();
        loop {
            if *ours.borrow_and_update() >= lsn || *all.borrow_and_update() >= lsn {
                return Ok(());
            }
            if inner.log.is_stopped() {
                return Err(StoreError::Stopped);
            }
            let changed = tokio::select! {
                changed = ours.changed() => changed,
                changed = all.changed() => changed,
            };
            changed.map_err(|watch::error::RecvError { .. }| StoreError::Stopped)?;
        }
    }

    /// Counts the visible changes of the tenant that woke `topic` (an account's number).
    #[must_use]
    pub fn watch(&self, tenant: TenantId, topic: u64) -> watch::Receiver<u64> {
        self.inner().slot(tenant).follow(topic)
    }

    /// Gives `tenant` a data key unless it has one and returns the keyring's version that holds it.
    /// The pair makes that version durable on the peer before the tenant is used.
    pub fn add_tenant_key(&self, tenant: TenantId) -> Result<u64, StoreError> {
        self.inner().keyring.add(tenant)
    }

    /// The tenant's last change that became visible since the start; 0 before there was one.
    #[must_use]
    pub fn applied_to(&self, tenant: TenantId) -> Lsn {
        *self.inner().slot(tenant).applied.borrow()
    }

    /// The data directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.inner().options.dir
    }

    /// Which appliance of the pair this is.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.inner().options.node
    }

    /// The tenants' keys.
    #[must_use]
    pub fn keyring(&self) -> &Keyring {
        &self.inner().keyring
    }

    /// Shows the changes of one kind with `after < lsn <= last`, unsealed, as far as the log still
    /// has them and they open. For what a new primary must know of its predecessor's last moments.
    pub fn changes(
        &self,
        kind: Kind,
        after: Lsn,
        last: Lsn,
        mut show: impl FnMut(TenantId, &[u8]),
    ) -> Result<(), StoreError> {
        let inner = self.inner();
        let mut next = after.next().max(inner.log.first());
        while next <= last {
            let bytes = inner.log.read_from(next, CHANGES_READ_LEN)?;
            let mut rest = bytes.as_slice();
            while let Ok((header, payload, whole)) = record::decode(rest) {
                if header.kind == kind && header.lsn <= last {
                    let aad = seal::record_aad(header.tenant, kind, header.flags, &[]);
                    let cipher = inner.keyring.cipher(header.tenant);
                    if let Ok(plain) = cipher.and_then(|c| c.open(&header.nonce, &aad, payload)) {
                        show(header.tenant, &plain);
                    }
                }
                next = header.lsn.next();
                rest = rest.get(whole..).unwrap_or_default();
            }
            if bytes.is_empty() {
                break;
            }
        }
        Ok(())
    }

    /// How much room the disk has. May wait for the disk.
    ///
    /// # Errors
    /// The file system does not say.
    pub fn room(&self) -> Result<Room, StoreError> {
        self.inner().room()
    }

    /// The log. Only `pair` calls what changes it.
    #[must_use]
    pub fn log(&self) -> &Log {
        &self.inner().log
    }

    /// Stops the store: writers that wait get no answer, every view is checkpointed, both threads
    /// have ended. Blocks for as long as the checkpoints take.
    pub fn close(&self) {
        self.inner().closing.store(true, Ordering::Release);
        self.0.stop();
    }

    fn inner(&self) -> &Arc<Inner> {
        &self.0.inner
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("dir", &self.0.inner.options.dir).finish_non_exhaustive()
    }
}

impl Handle {
    fn stop(&self) {
        self.inner.log.stop();
        for thread in std::mem::take(&mut *lock(&self.threads)) {
            // A panic in it aborts the process; there is nothing to hear here.
            if thread.join().is_err() {
                ::log::error!(runbook = "store-stopped"; "a thread of the store panicked");
            }
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Inner {
    /// The highest lsn that this node knows to be committed: what the log says, and what is in a
    /// view's checkpoint, which holds nothing else.
    fn known_commit(&self, recovered: &log::Recovered) -> Result<Lsn, StoreError> {
        let mut committed = recovered.committed;
        for (tenant, last) in &recovered.tenants {
            if *last > committed {
                committed = committed.max(self.view(&self.slot(*tenant))?.applied());
            }
        }
        Ok(committed)
    }

    /// Keeps what merges that are not finished need of the log, by the system's rows; what is not
    /// there any more cannot be kept.
    fn pin_for_merges(self: &Arc<Self>) -> Result<(), StoreError> {
        let system = TenantId::SYSTEM;
        if !self.keyring.has(system) {
            return Ok(());
        }
        let view = ReadView::new(self.view(&self.slot(system))?)?;
        let needed = merge::needs_log_from(&view).map_err(|e| {
            let dir = self.options.dir.join("system");
            StoreError::damaged(&dir, 0, e.to_string())
        })?;
        self.log.pin(Pin::Merge, needed.filter(|lsn| *lsn >= self.log.first()));
        Ok(())
    }

    /// The slot of a tenant that has a key.
    fn known_slot(&self, tenant: TenantId) -> Result<Arc<Slot>, StoreError> {
        if !self.keyring.has(tenant) {
            return Err(StoreError::UnknownTenant(tenant));
        }
        Ok(self.slot(tenant))
    }

    fn slot(&self, tenant: TenantId) -> Arc<Slot> {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = slots.get(&tenant) {
            return Arc::clone(slot);
        }
        drop(slots);
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(slots.entry(tenant).or_insert_with(|| Arc::new(Slot::new(tenant))))
    }

    /// The tenant's view, opened if it is not.
    fn view(&self, slot: &Slot) -> Result<Arc<View>, StoreError> {
        let use_number = self.uses.fetch_add(1, Ordering::Relaxed);
        let mut open = lock(&slot.view);
        if let Some(view) = &*open {
            view.used.store(use_number, Ordering::Relaxed);
            return Ok(Arc::clone(view));
        }
        let view = Arc::new(View::open(&self.views, slot.tenant)?);
        let end = self.log.last().lsn;
        if view.applied() > end {
            let dir = self.options.dir.join("log");
            let what =
                format!("it ends at {end}, tenant {} was at {}", slot.tenant, view.applied());
            return Err(StoreError::damaged(&dir, 0, what));
        }
        view.used.store(use_number, Ordering::Relaxed);
        self.open_views.fetch_add(1, Ordering::Relaxed);
        *open = Some(Arc::clone(&view));
        Ok(view)
    }

    /// Closes the views that were not used the longest while too many are open.
    fn close_unused_views(&self) {
        let open = self.open_views.load(Ordering::Relaxed);
        let excess = open.saturating_sub(self.options.open_views_max);
        if excess == 0 {
            return;
        }
        let slots: Vec<Arc<Slot>> = {
            let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
            slots.values().cloned().collect()
        };
        let mut idle: Vec<(u64, Arc<Slot>)> = Vec::new();
        for slot in slots {
            let used = lock(&slot.view)
                .as_ref()
                .filter(|v| viewer::is_idle(v))
                .map(|v| v.used.load(Ordering::Relaxed));
            idle.extend(used.map(|used| (used, slot)));
        }
        idle.sort_unstable_by_key(|(used, _)| *used);
        for (_, slot) in idle.into_iter().take(excess) {
            let mut view = lock(&slot.view);
            if view.as_ref().is_some_and(viewer::is_idle) {
                *view = None;
                self.open_views.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }

    fn in_peace(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }
}

impl Slot {
    fn new(tenant: TenantId) -> Self {
        Self {
            tenant,
            view: Mutex::default(),
            pending: Mutex::default(),
            applied: watch::Sender::new(Lsn(0)),
            topics: Mutex::default(),
        }
    }

    fn follow(&self, topic: u64) -> watch::Receiver<u64> {
        let mut topics = lock(&self.topics);
        if topics.len() >= TOPICS_IDLE_MAX {
            topics.retain(|_, topic| topic.receiver_count() > 0);
        }
        topics.entry(topic).or_default().subscribe()
    }

    fn wake(&self, woken: &[u64]) {
        if woken.is_empty() {
            return;
        }
        let topics = lock(&self.topics);
        for topic in woken.iter().filter_map(|t| topics.get(t)) {
            topic.send_modify(|count| *count = count.wrapping_add(1));
        }
    }

    /// Drops pending rows that the view holds now, unless the decider is at work: it does so itself.
    fn forget_applied(&self, applied: Lsn) {
        if let Ok(mut pending) = self.pending.try_lock() {
            pending.forget(applied);
        }
    }
}

/// Makes the folders and takes the lock.
fn prepare(disk: &dyn Disk, dir: &Path) -> Result<Box<dyn Lock>, StoreError> {
    disk.create_dir(dir).context("create", dir)?;
    let path = dir.join("lock");
    let lock = disk.lock(&path).context("lock", &path)?.ok_or(StoreError::Locked(path))?;
    for name in ["log", "log/aside", "system", "tenants"] {
        let sub = dir.join(name);
        disk.create_dir(&sub).context("create", &sub)?;
    }
    let log = dir.join("log");
    disk.sync_dir(&log).context("sync", &log)?;
    disk.sync_dir(dir).context("sync", dir)?;
    // A relative folder's parent has an empty name.
    if let Some(parent) = dir.parent().filter(|p| !p.as_os_str().is_empty()) {
        disk.sync_dir(parent).context("sync", parent)?;
    }
    Ok(lock)
}
