//! A full copy of another node's data: given out, and received beside our own.
//!
//! Invariants: what is received lies in `incoming/` and touches nothing of this node's data; it takes
//! its place only by [`Incoming::complete`] and a restart ([`super::swap`]). A copy goes on where it
//! was interrupted only if the source is the same: packs of two nodes differ. The log of the copy
//! begins right after the lowest lsn of its views and reaches beyond the highest, so that no view is
//! ever ahead of its log.
//!
//! Deliberately absent: how it travels (`pair`), and when it is needed.

use super::disk::{Disk, Open};
use super::error::{Context, StoreError};
use super::keyring::Keyring;
use super::log::{self, Log, SegmentBase};
use super::swap::{self, Old};
use super::view::ViewSettings;
use super::view::copy::{Builder, Progress, SealedRow, Snapshot};
use super::view::folder;
use super::{Inner, Store};
use crate::base::secret;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use understudy_proto::id::{Epoch, Lsn, TenantId};
use understudy_proto::record::{self, Chain};

/// Names a node's data for as long as its packs only grow.
pub type Source = [u8; 16];

/// The file in the log's folder that holds the [`Source`].
const GENERATION: &str = "generation";
/// The file in `incoming/` that says of whom it is a copy.
const COPY: &str = "copy";

/// Where a copy's log begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogBase {
    /// Its first record.
    pub first: Lsn,
    /// The chain before that record.
    pub chain: Chain,
    /// The first record of each epoch before it, ascending.
    pub epochs: Vec<(Epoch, Lsn)>,
}

/// What a copy is made from.
impl Store {
    /// Names this node's data: another name after a full copy or a new beginning.
    pub fn source(&self) -> Result<Source, StoreError> {
        let inner = self.inner();
        let (disk, dir) = (inner.views.disk.as_ref(), inner.options.dir.join("log"));
        let path = dir.join(GENERATION);
        if !swap::exists(disk, &dir, GENERATION)? {
            swap::write_whole(disk, &path, &secret::random::<16>())?;
        }
        read_name(disk, &path)
    }

    /// Everything of `tenant` as of now.
    pub fn snapshot(&self, tenant: TenantId) -> Result<Snapshot, StoreError> {
        let inner = self.inner();
        let slot = inner.known_slot(tenant)?;
        // Asked before the view is looked at: all views hold what lies below.
        let applied = inner.log.applied();
        Snapshot::new(inner.view(&slot)?, applied)
    }

    /// The tenant's packs and how long each is at present.
    pub fn packs(&self, tenant: TenantId) -> Result<Vec<(u32, u64)>, StoreError> {
        let inner = self.inner();
        let slot = inner.known_slot(tenant)?;
        inner.view(&slot)?.packs_now()
    }

    /// Bytes of a pack below a length that [`Store::packs`] or a snapshot showed.
    pub fn read_pack(
        &self,
        tenant: TenantId,
        pack: u32,
        offset: u64,
        len: usize,
    ) -> Result<Vec<u8>, StoreError> {
        let inner = self.inner();
        let slot = inner.known_slot(tenant)?;
        inner.view(&slot)?.read_pack(pack, offset, len)
    }

    /// About how many bytes the tenant's view has on the disk.
    pub fn size(&self, tenant: TenantId) -> Result<u64, StoreError> {
        let inner = self.inner();
        let dir = folder(&inner.options.dir, tenant);
        let disk = inner.views.disk.as_ref();
        let mut size = 0;
        for dir in [dir.clone(), dir.join("packs")] {
            if !disk.is_dir(&dir).context("look for", &dir)? {
                continue;
            }
            for name in disk.list(&dir).context("list", &dir)? {
                if name.ends_with(".pack") || name.ends_with(".redb") {
                    let path = dir.join(name);
                    let file = disk.open(&path, Open::Existing).context("open", &path)?;
                    size += file.len().context("measure", &path)?;
                }
            }
        }
        Ok(size)
    }

    /// What a log that begins with record `first` must know.
    pub fn log_base(&self, first: Lsn) -> Result<LogBase, StoreError> {
        let log = self.log();
        let before = Lsn(first.0.saturating_sub(1));
        let chain = if before == Lsn(0) { Some(Chain::default()) } else { log.chain_at(before)? };
        let missing =
            StoreError::NotInLog { asked: before, first: log.first(), last: log.last().lsn };
        let chain = chain.ok_or(missing)?;
        let epochs = log.epochs().into_iter().filter(|(_, at)| *at < first).collect();
        Ok(LogBase { first, chain, epochs })
    }

    /// Committed records from `from` on, about `max_bytes` of them; and the next one's lsn.
    pub fn committed_from(
        &self,
        from: Lsn,
        max_bytes: usize,
    ) -> Result<(Vec<u8>, Lsn), StoreError> {
        let committed = self.log().committed();
        if from > committed {
            return Ok((Vec::new(), from));
        }
        let mut bytes = self.log().read_from(from, max_bytes)?;
        let (mut end, mut next) = (0, from);
        while let Some(Ok((header, _, whole))) = bytes.get(end..).map(record::decode) {
            if header.lsn > committed {
                break;
            }
            end += whole;
            next = header.lsn.next();
        }
        bytes.truncate(end);
        Ok((bytes, next))
    }

    /// Fails when the disk has no room left for what is kept for a copy.
    pub fn check_room(&self, more: u64) -> Result<(), StoreError> {
        self.inner().check_room_for(more)
    }

    /// Bytes of a copy that is not complete yet.
    pub fn incoming_len(&self) -> Result<u64, StoreError> {
        let inner = self.inner();
        tree_len(inner.views.disk.as_ref(), &inner.options.dir.join(swap::INCOMING))
    }

    /// Begins to receive a copy of `source`'s data, or goes on with one.
    pub fn incoming(&self, source: Source) -> Result<Incoming, StoreError> {
        Incoming::open(self.inner(), source)
    }
}

/// A copy that is being received. Its calls block.
pub struct Incoming {
    disk: Arc<dyn Disk>,
    data_dir: PathBuf,
    dir: PathBuf,
    keyring: Arc<Keyring>,
    views: ViewSettings,
    segment_len: u64,
    tenant: Option<(TenantId, Builder)>,
    log: Option<(Log, JoinHandle<()>)>,
}

impl Incoming {
    fn open(inner: &Inner, source: Source) -> Result<Self, StoreError> {
        let disk = Arc::clone(&inner.views.disk);
        let data_dir = inner.options.dir.clone();
        let dir = data_dir.join(swap::INCOMING);
        let path = dir.join(COPY);
        let there = disk.is_dir(&dir).context("look for", &dir)?;
        if there {
            // What is worked on is not complete, whatever was ordered before.
            swap::take_back_install(disk.as_ref(), &data_dir)?;
        }
        let same = there
            && swap::exists(disk.as_ref(), &dir, COPY)?
            && read_name(disk.as_ref(), &path)? == source;
        if !same {
            if there {
                swap::remove_tree(disk.as_ref(), &dir)?;
            }
            swap::make_dirs(disk.as_ref(), &data_dir, &dir)?;
            swap::write_whole(disk.as_ref(), &path, &source)?;
        }
        for part in ["system", "tenants"] {
            swap::make_dirs(disk.as_ref(), &dir, &dir.join(part))?;
        }
        let views =
            ViewSettings { dir: dir.clone(), disk: Arc::clone(&disk), ..inner.views.clone() };
        Ok(Self {
            disk,
            data_dir,
            dir,
            keyring: Arc::clone(&inner.keyring),
            views,
            segment_len: inner.options.segment_len,
            tenant: None,
            log: None,
        })
    }

    /// Turns to `tenant` and says what is there of it.
    pub fn tenant(&mut self, tenant: TenantId) -> Result<Progress, StoreError> {
        let builder = Builder::new(&self.views, tenant)?;
        let progress = builder.progress()?;
        self.tenant = Some((tenant, builder));
        Ok(progress)
    }

    /// Takes in bytes of a pack.
    pub fn pack(&mut self, pack: u32, offset: u64, bytes: &[u8]) -> Result<(), StoreError> {
        self.builder()?.pack(pack, offset, bytes)
    }

    /// Takes in rows, in the order of their keys.
    pub fn rows(&mut self, rows: &[SealedRow]) -> Result<(), StoreError> {
        self.builder()?.rows(rows)
    }

    /// Makes the tenant complete and durable.
    pub fn finish_tenant(
        &mut self,
        lsn: Lsn,
        packs: &[(u32, u64)],
        uploads: &[SealedRow],
    ) -> Result<(), StoreError> {
        let (_, builder) = self.tenant.take().ok_or(StoreError::Stopped)?;
        builder.finish(lsn, packs, uploads)
    }

    /// The tenant's rows are too old: they are sent again.
    pub fn forget_rows(&mut self) -> Result<(), StoreError> {
        self.builder()?.forget_rows()
    }

    fn builder(&mut self) -> Result<&mut Builder, StoreError> {
        // Whoever sends rows before a tenant does not speak our language.
        self.tenant.as_mut().map(|(_, builder)| builder).ok_or(StoreError::Stopped)
    }

    /// Begins the log, or goes on with it, and says which record it ends with.
    pub fn log_base(&mut self, base: &LogBase) -> Result<Lsn, StoreError> {
        self.close_log();
        let dir = self.dir.join("log");
        let header =
            SegmentBase { first: base.first, chain: base.chain, epochs: base.epochs.clone() };
        if self.disk.is_dir(&dir).context("look for", &dir)?
            && !log::begins_with(self.disk.as_ref(), &dir, &header)?
        {
            swap::remove_tree(self.disk.as_ref(), &dir)?;
        }
        swap::make_dirs(self.disk.as_ref(), &self.dir, &dir)?;
        log::begin_at(self.disk.as_ref(), &dir, &header, self.segment_len)?;
        let settings = log::Settings {
            dir,
            segment_len: self.segment_len,
            keep_bytes: u64::MAX,
            // This node's own data does not hang on it: the copy fails, the process goes on.
            fatal: Arc::new(
                |why| ::log::error!(reason = why, runbook = "pair-full-copy"; "the copy's log cannot be written"),
            ),
        };
        let recovered = log::recover(Arc::clone(&self.disk), settings)?;
        let log = recovered.log;
        let appender = log::spawn(&log, recovered.file, recovered.offset);
        let tail = log.last().lsn;
        self.log = Some((log, appender));
        Ok(tail)
    }

    /// Appends records and returns once they are durable.
    pub fn append(&mut self, records: Vec<u8>) -> Result<Lsn, StoreError> {
        let Some((log, _)) = &self.log else { return Err(StoreError::Stopped) };
        log.append_blocking(records)
    }

    /// Adds the keys and orders that the copy takes the place of this node's data at the next start.
    /// Returns once that is durable: the program then starts anew ([`swap::exec_self`]).
    pub fn complete(mut self, keys: &[u8], old: Old, id: &str) -> Result<(), StoreError> {
        self.close_log();
        let keyring = self.keyring.with(keys)?;
        let path = self.dir.join("system/keyring");
        swap::write_whole(self.disk.as_ref(), &path, &keyring)?;
        swap::order_install(self.disk.as_ref(), &self.data_dir, old, id)
    }

    fn close_log(&mut self) {
        if let Some((log, appender)) = self.log.take() {
            log.stop();
            if appender.join().is_err() {
                ::log::error!(runbook = "pair-full-copy"; "the copy's log ended in a panic");
            }
        }
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        self.close_log();
    }
}

impl std::fmt::Debug for Incoming {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Incoming").field("dir", &self.dir).finish_non_exhaustive()
    }
}

fn tree_len(disk: &dyn Disk, path: &Path) -> Result<u64, StoreError> {
    if !disk.is_dir(path).context("look for", path)? {
        return Ok(0);
    }
    let mut len = 0;
    for name in disk.list(path).context("list", path)? {
        let path = path.join(name);
        len += if disk.is_dir(&path).context("look for", &path)? {
            tree_len(disk, &path)?
        } else {
            disk.open(&path, Open::Existing).and_then(|f| f.len()).context("measure", &path)?
        };
    }
    Ok(len)
}

fn read_name(disk: &dyn Disk, path: &Path) -> Result<Source, StoreError> {
    let file = disk.open(path, Open::Existing).context("open", path)?;
    let mut name = [0; 16];
    file.read_at(0, &mut name).context("read", path)?;
    Ok(name)
}
