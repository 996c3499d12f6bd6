//! Copying a view: its rows as of one moment, its packs' bytes, and building one from them.
//!
//! Invariants: a snapshot is one committed state of the rows together with the position, the packs'
//! ends and the open uploads of that moment. Rows and frames travel as they lie on the disk, sealed. A
//! built view has its index under its name only when all of it is durable.

use super::engine::Backend;
use super::pack::{PACK_HEADER_LEN, PacksEnd, path as pack_path};
use super::{
    CHECKPOINT, META, ROWS, UPLOADS, View, ViewSettings, encode_meta, folder, load, open_db,
};
use crate::store::disk::{Disk, DiskFile, Open};
use crate::store::error::{Context, StoreError, lock};
use crate::store::swap;
use redb::{Database, Durability, ReadOnlyTable, ReadableDatabase};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use understudy_proto::codec;
use understudy_proto::id::{Lsn, TenantId};

/// Packs that are received are synced whenever so many bytes are in them: after a power cut
/// everything up to a multiple of it is there.
const SYNC_EVERY: u64 = 8 << 20;

/// A row as it lies in the index: its key, and its value sealed.
pub type SealedRow = (Vec<u8>, Vec<u8>);

/// One committed state of a tenant. It keeps pages of the index from being reused: let it go soon.
pub struct Snapshot {
    view: Arc<View>,
    lsn: Lsn,
    end: PacksEnd,
    uploads: Vec<SealedRow>,
    table: ReadOnlyTable<&'static [u8], &'static [u8]>,
}

impl Snapshot {
    /// `applied`: every view holds everything up to there.
    pub(in crate::store) fn new(view: Arc<View>, applied: Lsn) -> Result<Self, StoreError> {
        let bad = |e: &dyn std::fmt::Display| StoreError::view(view.tenant, &e);
        // The viewer holds this for as long as it writes: nothing moves between the four.
        let state = lock(&view.state);
        let tx = view.db.begin_read().map_err(|e| bad(&e))?;
        let (lsn, end) = (state.applied.max(applied), state.packs.end());
        let uploads =
            state.uploads.all().map(|(id, upload)| (id.0.to_vec(), codec::encode(upload)));
        let uploads = uploads.collect();
        drop(state);
        let table = tx.open_table(ROWS).map_err(|e| bad(&e))?;
        Ok(Self { view, lsn, end, uploads, table })
    }

    /// Everything of the tenant up to here is in it, and nothing after.
    #[must_use]
    pub fn lsn(&self) -> Lsn {
        self.lsn
    }

    /// The packs and how long each is.
    pub fn packs(&self) -> Result<Vec<(u32, u64)>, StoreError> {
        self.view.packs(self.end)
    }

    /// Bodies that no row names yet: opaque to all but [`Builder`].
    #[must_use]
    pub fn uploads(&self) -> &[SealedRow] {
        &self.uploads
    }

    /// The rows after `after`, ascending, as many as fit into `max_bytes` but at least one.
    pub fn rows(
        &self,
        after: Option<&[u8]>,
        max_bytes: usize,
    ) -> Result<Vec<SealedRow>, StoreError> {
        let bad = |e: &dyn std::fmt::Display| StoreError::view(self.view.tenant, &e);
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let range = self.table.range::<&[u8]>((from, Bound::Unbounded)).map_err(|e| bad(&e))?;
        let (mut rows, mut bytes) = (Vec::new(), 0);
        for row in range {
            let (key, value) = row.map_err(|e| bad(&e))?;
            bytes += key.value().len() + value.value().len();
            if bytes > max_bytes && !rows.is_empty() {
                break;
            }
            rows.push((key.value().to_vec(), value.value().to_vec()));
        }
        Ok(rows)
    }
}

impl View {
    /// The packs up to `end` and how long each is.
    fn packs(&self, end: PacksEnd) -> Result<Vec<(u32, u64)>, StoreError> {
        let mut packs = Vec::new();
        for pack in 1..=end.pack {
            let path = pack_path(&self.packs_dir, pack);
            let len = if pack == end.pack {
                end.len
            } else {
                let file = self.disk.open(&path, Open::Existing).context("open", &path)?;
                file.len().context("measure", &path)?
            };
            packs.push((pack, len));
        }
        Ok(packs)
    }

    /// The packs as they are now.
    pub(in crate::store) fn packs_now(&self) -> Result<Vec<(u32, u64)>, StoreError> {
        let end = lock(&self.state).packs.end();
        self.packs(end)
    }

    /// Bytes of a pack. What lies below a length that was shown never changes.
    pub(in crate::store) fn read_pack(
        &self,
        pack: u32,
        offset: u64,
        len: usize,
    ) -> Result<Vec<u8>, StoreError> {
        let path = pack_path(&self.packs_dir, pack);
        let file = self.disk.open(&path, Open::Existing).context("open", &path)?;
        let mut bytes = vec![0; len];
        file.read_at(offset, &mut bytes).context("read", &path)?;
        Ok(bytes)
    }
}

/// How far the copy of a tenant has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// It is complete and holds everything up to here.
    pub done: Option<Lsn>,
    /// Packs and how many bytes of each are durable.
    pub packs: Vec<(u32, u64)>,
}

/// Builds one tenant's view in a folder that nobody has opened.
pub(in crate::store) struct Builder {
    disk: Arc<dyn Disk>,
    tenant: TenantId,
    dir: PathBuf,
    cache_bytes: usize,
    packs: BTreeMap<u32, (Arc<dyn DiskFile>, u64)>,
    index: Option<(Database, Arc<dyn DiskFile>)>,
}

impl Builder {
    /// `settings.dir`: where the copy lies.
    pub(in crate::store) fn new(
        settings: &ViewSettings,
        tenant: TenantId,
    ) -> Result<Self, StoreError> {
        let (disk, dir) = (Arc::clone(&settings.disk), folder(&settings.dir, tenant));
        swap::make_dirs(disk.as_ref(), &settings.dir, &dir.join("packs"))?;
        let cache_bytes = settings.cache_bytes;
        Ok(Self { disk, tenant, dir, cache_bytes, packs: BTreeMap::new(), index: None })
    }

    /// What an earlier attempt left.
    pub(in crate::store) fn progress(&self) -> Result<Progress, StoreError> {
        let (disk, dir) = (&self.disk, self.dir.join("packs"));
        let mut progress = Progress::default();
        for name in disk.list(&dir).context("list", &dir)? {
            let number = name.strip_suffix(".pack").and_then(|s| u32::from_str_radix(s, 16).ok());
            let Some(pack) = number else { continue };
            let path = dir.join(name);
            let file = disk.open(&path, Open::Existing).context("open", &path)?;
            let len = file.len().context("measure", &path)?;
            // Only a byte beyond a multiple proves that the sync at that multiple was done.
            let sure = len.saturating_sub(1);
            progress.packs.push((pack, sure - sure % SYNC_EVERY));
        }
        if swap::exists(disk.as_ref(), &self.dir, "index.redb")? {
            let path = self.dir.join("index.redb");
            let file = disk.open(&path, Open::Existing).context("open", &path)?;
            let db = self.open_index(&file)?;
            progress.done = Some(load(&db, self.tenant, &path)?.0);
        }
        Ok(progress)
    }

    /// Takes in bytes of a pack; they must continue what is there.
    pub(in crate::store) fn pack(
        &mut self,
        pack: u32,
        offset: u64,
        bytes: &[u8],
    ) -> Result<(), StoreError> {
        let path = pack_path(&self.dir.join("packs"), pack);
        let (file, len) = match self.packs.get(&pack) {
            Some((file, len)) => (Arc::clone(file), *len),
            None => self.open_pack(&path, offset)?,
        };
        if offset != len {
            let what = format!("bytes from {offset} on were sent, it ends at {len}");
            return Err(StoreError::damaged(&path, len, what));
        }
        let (mut at, mut rest) = (offset, bytes);
        while !rest.is_empty() {
            let room = usize::try_from(SYNC_EVERY - at % SYNC_EVERY).unwrap_or(usize::MAX);
            let (now, later) = rest.split_at(rest.len().min(room));
            file.write_at(at, now).context("write", &path)?;
            at += now.len() as u64;
            if at.is_multiple_of(SYNC_EVERY) {
                file.sync_data().context("sync", &path)?;
            }
            rest = later;
        }
        self.packs.insert(pack, (file, at));
        Ok(())
    }

    fn open_pack(&self, path: &Path, len: u64) -> Result<(Arc<dyn DiskFile>, u64), StoreError> {
        let how = if len == 0 { Open::Create } else { Open::Existing };
        let file = self.disk.open(path, how).context("open", path)?;
        if len == 0 {
            let dir = self.dir.join("packs");
            self.disk.sync_dir(&dir).context("sync", &dir)?;
        }
        let known = file.len().context("measure", path)?;
        Ok((file, known.min(len)))
    }

    /// Takes in rows; the first call begins the index anew.
    pub(in crate::store) fn rows(&mut self, rows: &[SealedRow]) -> Result<(), StoreError> {
        let tenant = self.tenant;
        let bad = |e: &dyn std::fmt::Display| StoreError::view(tenant, &e);
        let (db, _) = match self.index.take() {
            Some(index) => self.index.insert(index),
            None => {
                let index = self.begin_index()?;
                self.index.insert(index)
            }
        };
        let mut tx = db.begin_write().map_err(|e| bad(&e))?;
        tx.set_durability(Durability::None).map_err(|e| bad(&e))?;
        {
            let mut table = tx.open_table(ROWS).map_err(|e| bad(&e))?;
            for (key, value) in rows {
                table.insert(key.as_slice(), value.as_slice()).map_err(|e| bad(&e))?;
            }
        }
        tx.commit().map_err(|e| bad(&e))
    }

    fn begin_index(&self) -> Result<(Database, Arc<dyn DiskFile>), StoreError> {
        self.forget_rows()?;
        let path = self.dir.join("index.tmp");
        let file = self.disk.open(&path, Open::Create).context("create", &path)?;
        Ok((self.open_index(&file)?, file))
    }

    fn open_index(&self, file: &Arc<dyn DiskFile>) -> Result<Database, StoreError> {
        let backend = Backend { file: Arc::clone(file), frozen: Arc::default() };
        open_db(backend, self.cache_bytes).map_err(|e| StoreError::view(self.tenant, &e))
    }

    /// Takes a finished index back: its rows are too old by now.
    pub(in crate::store) fn forget_rows(&self) -> Result<(), StoreError> {
        if swap::exists(self.disk.as_ref(), &self.dir, "index.redb")? {
            let path = self.dir.join("index.redb");
            self.disk.remove(&path).context("remove", &path)?;
            self.disk.sync_dir(&self.dir).context("sync", &self.dir)?;
        }
        Ok(())
    }

    /// Makes the view complete: everything up to `lsn` is in its rows, its packs end with `packs`.
    pub(in crate::store) fn finish(
        mut self,
        lsn: Lsn,
        packs: &[(u32, u64)],
        uploads: &[SealedRow],
    ) -> Result<(), StoreError> {
        self.rows(&[])?;
        let tenant = self.tenant;
        let bad = |e: &dyn std::fmt::Display| StoreError::view(tenant, &e);
        let dir = self.dir.join("packs");
        for (pack, len) in packs {
            let path = pack_path(&dir, *pack);
            let file = self.disk.open(&path, Open::Existing).context("open", &path)?;
            let found = file.len().context("measure", &path)?;
            if found < *len || *len < PACK_HEADER_LEN {
                let what = format!("it ends at {found}, the copy says {len}");
                return Err(StoreError::damaged(&path, found, what));
            }
            file.sync_data().context("sync", &path)?;
        }
        self.disk.sync_dir(&dir).context("sync", &dir)?;
        let (pack, len) = packs.last().copied().unwrap_or_default();
        let end = PacksEnd { pack, len };
        let Some((db, file)) = self.index.take() else { return Ok(()) };
        let mut tx = db.begin_write().map_err(|e| bad(&e))?;
        tx.set_durability(Durability::Immediate).map_err(|e| bad(&e))?;
        tx.set_two_phase_commit(true);
        tx.set_quick_repair(true);
        {
            let mut meta = tx.open_table(META).map_err(|e| bad(&e))?;
            meta.insert(CHECKPOINT, encode_meta(lsn, end).as_slice()).map_err(|e| bad(&e))?;
            let mut table = tx.open_table(UPLOADS).map_err(|e| bad(&e))?;
            for (id, upload) in uploads {
                let id = id.first_chunk::<16>().copied().unwrap_or_default();
                table.insert(&id, upload.as_slice()).map_err(|e| bad(&e))?;
            }
        }
        tx.commit().map_err(|e| bad(&e))?;
        drop(db);
        let (temporary, path) = (self.dir.join("index.tmp"), self.dir.join("index.redb"));
        file.sync_data().context("sync", &temporary)?;
        self.disk.rename(&temporary, &path).context("rename", &temporary)?;
        self.disk.sync_dir(&self.dir).context("sync", &self.dir)
    }
}
