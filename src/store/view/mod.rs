//! A tenant's view: its index (redb) and its packs.
//!
//! Invariants: only the viewer thread writes it, in log order, and only committed records. Commits
//! between checkpoints are not durable. A checkpoint syncs the packs, then commits durably (two
//! phases, quick repair) rows, position, packs' end and open uploads together; a view that is opened
//! is exactly one of its checkpoints. Values are sealed with the tenant's key, keys are not.
//!
//! Deliberately absent: compaction of the index, and any meaning of rows.

pub(super) mod copy;
mod engine;
mod keys;
pub(super) mod pack;
mod upload;
pub(super) mod viewer;

pub use keys::ReadView;

use self::engine::Backend;
use self::keys::TxKeys;
use self::pack::{LAST, PackReader, PackWriter, PacksEnd, Prefix};
use self::upload::{Upload, Uploads};
use super::disk::{Disk, Open};
use super::error::{Context, StoreError, lock};
use super::keyring::{Fields, Keyring};
use super::seal::record_aad;
use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use understudy_proto::codec;
use understudy_proto::id::{Lsn, TenantId, UploadId};
use understudy_proto::keys::BodyAddress;
use understudy_proto::record::{Header, Kind};
use understudy_proto::rule::{Position, Registry};

const ROWS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("rows");
const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
const UPLOADS: TableDefinition<'_, &[u8; 16], &[u8]> = TableDefinition::new("uploads");
const CHECKPOINT: &str = "checkpoint";
const META_VERSION: u16 = 1;

/// What views are opened with.
#[derive(Clone)]
pub(super) struct ViewSettings {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) dir: PathBuf,
    pub(super) keyring: Arc<Keyring>,
    pub(super) cache_bytes: usize,
    pub(super) pack_len: u64,
}

/// One tenant's open view.
pub(super) struct View {
    tenant: TenantId,
    keyring: Arc<Keyring>,
    disk: Arc<dyn Disk>,
    packs_dir: PathBuf,
    db: Database,
    frozen: Arc<AtomicBool>,
    reader: PackReader,
    state: Mutex<State>,
    dirty: AtomicBool,
    /// When it was last asked for, by a counter.
    pub(super) used: AtomicU64,
}

struct State {
    applied: Lsn,
    packs: PackWriter,
    uploads: Uploads,
}

/// A committed record, as the viewer hands it over.
pub(super) struct Committed<'a> {
    pub(super) header: Header,
    pub(super) payload: &'a [u8],
}

/// The tenant's folder.
pub(super) fn folder(dir: &Path, tenant: TenantId) -> PathBuf {
    if tenant == TenantId::SYSTEM {
        dir.join("system")
    } else {
        dir.join("tenants").join(tenant.to_string())
    }
}

impl View {
    /// Opens the view as of its last checkpoint; makes an empty one if there is none.
    pub(super) fn open(settings: &ViewSettings, tenant: TenantId) -> Result<Self, StoreError> {
        if !settings.keyring.has(tenant) {
            return Err(StoreError::UnknownTenant(tenant));
        }
        let disk = Arc::clone(&settings.disk);
        let dir = folder(&settings.dir, tenant);
        let packs_dir = dir.join("packs");
        let path = dir.join("index.redb");
        let parent = dir.parent().unwrap_or(&settings.dir);
        let here = disk.list(parent).context("list", parent)?;
        let name = dir.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        let exists = here.iter().any(|n| n == name)
            && disk.list(&dir).context("list", &dir)?.iter().any(|n| n == "index.redb");
        if !exists {
            create(settings, tenant, &dir, &path)?;
        }
        let frozen = Arc::new(AtomicBool::new(false));
        let file = disk.open(&path, Open::Existing).context("open", &path)?;
        let backend = Backend { file, frozen: Arc::clone(&frozen) };
        let db =
            open_db(backend, settings.cache_bytes).map_err(|e| StoreError::view(tenant, &e))?;
        let (applied, end, uploads) = load(&db, tenant, &path)?;
        let packs =
            PackWriter::open(Arc::clone(&disk), packs_dir.clone(), tenant, settings.pack_len, end)?;
        Ok(Self {
            tenant,
            keyring: Arc::clone(&settings.keyring),
            reader: PackReader::new(Arc::clone(&disk), packs_dir.clone()),
            disk,
            packs_dir,
            db,
            frozen,
            state: Mutex::new(State { applied, packs, uploads }),
            dirty: AtomicBool::new(false),
            used: AtomicU64::new(0),
        })
    }

    /// The last record in it.
    pub(super) fn applied(&self) -> Lsn {
        lock(&self.state).applied
    }

    /// Whether the last checkpoint does not hold all of it.
    pub(super) fn is_dirty(&self) -> bool {
        self.dirty.load(Ordering::Acquire)
    }

    /// Applies committed records in one transaction, skipping those that are in already. Returns
    /// the topics to wake.
    pub(super) fn apply(
        &self,
        registry: &Registry,
        records: &[Committed<'_>],
    ) -> Result<Vec<u64>, StoreError> {
        let mut state = lock(&self.state);
        let records: Vec<&Committed<'_>> =
            records.iter().filter(|r| r.header.lsn > state.applied).collect();
        let Some(last) = records.last().map(|r| r.header.lsn) else { return Ok(Vec::new()) };
        self.dirty.store(true, Ordering::Release);
        let mut topics = Vec::new();
        let mut rest = records.as_slice();
        // Parts touch no row: only what stands between them needs a transaction.
        while let Some((first, after)) = rest.split_first() {
            if is_ours(first.header.kind) {
                self.take_body_record(&mut state, first)?;
                rest = after;
                continue;
            }
            self.apply_rows(&mut state, registry, rest, &mut topics)?;
            break;
        }
        state.applied = last;
        Ok(topics)
    }

    fn apply_rows(
        &self,
        state: &mut State,
        registry: &Registry,
        records: &[&Committed<'_>],
        topics: &mut Vec<u64>,
    ) -> Result<(), StoreError> {
        let bad = |e: &dyn std::fmt::Display| StoreError::view(self.tenant, &e);
        let cipher = self.keyring.sealing_cipher(self.tenant)?;
        let mut tx = self.db.begin_write().map_err(|e| bad(&e))?;
        tx.set_durability(Durability::None).map_err(|e| bad(&e))?;
        {
            let table = tx.open_table(ROWS).map_err(|e| bad(&e))?;
            let uploads = std::mem::take(&mut state.uploads);
            let mut keys = TxKeys::new(table, Arc::clone(&cipher), uploads);
            for record in records {
                let (header, lsn) = (&record.header, record.header.lsn);
                if is_ours(header.kind) {
                    std::mem::swap(&mut state.uploads, &mut keys.uploads);
                    self.take_body_record(state, record)?;
                    std::mem::swap(&mut state.uploads, &mut keys.uploads);
                    continue;
                }
                let kind = header.kind;
                let rule = registry.get(kind).ok_or(StoreError::UnknownKind { lsn, kind })?;
                let aad = record_aad(header.tenant, kind, header.flags, &[]);
                let change = cipher.open(&header.nonce, &aad, record.payload)?;
                let at = Position { lsn, epoch: header.epoch };
                rule.apply(&mut keys, at, &change).map_err(|source| StoreError::Apply {
                    lsn,
                    tenant: self.tenant,
                    source,
                })?;
            }
            let (uploads, woken) = keys.finish();
            state.uploads = uploads;
            topics.extend(woken);
        }
        tx.commit().map_err(|e| bad(&e))
    }

    /// Moves a part from the log into the pack, or forgets an upload.
    fn take_body_record(
        &self,
        state: &mut State,
        record: &Committed<'_>,
    ) -> Result<(), StoreError> {
        let header = &record.header;
        if header.kind == Kind::BODY_ABORT {
            let id = record.payload.first_chunk::<16>();
            state.uploads.drop(UploadId(id.copied().unwrap_or_default()));
            return Ok(());
        }
        let damaged = StoreError::NoBody(self.tenant);
        let (prefix, _) = Prefix::decode(record.payload).ok_or(damaged)?;
        if !state.uploads.wants(prefix.upload, prefix.index) {
            return Ok(());
        }
        let part = if prefix.len == 0 {
            None
        } else {
            Some(state.packs.append(header.flags, &header.nonce, record.payload, prefix.len)?)
        };
        let last = header.flags & LAST != 0;
        state.uploads.part(prefix.upload, part, last, header.lsn);
        Ok(())
    }

    /// Makes everything applied so far durable.
    pub(super) fn checkpoint(&self) -> Result<(), StoreError> {
        let bad = |e: &dyn std::fmt::Display| StoreError::view(self.tenant, &e);
        let (applied, unsynced, uploads) = {
            let mut state = lock(&self.state);
            (state.applied, state.packs.take_unsynced(), state.uploads.take_changed())
        };
        // The packs first, outside the transaction: readers and the decider go on meanwhile.
        for (path, file) in unsynced.files {
            file.sync_data().context("sync", &path)?;
        }
        if unsynced.new_name {
            self.disk.sync_dir(&self.packs_dir).context("sync", &self.packs_dir)?;
        }
        let mut tx = self.db.begin_write().map_err(|e| bad(&e))?;
        tx.set_durability(Durability::Immediate).map_err(|e| bad(&e))?;
        tx.set_two_phase_commit(true);
        tx.set_quick_repair(true);
        {
            let mut meta = tx.open_table(META).map_err(|e| bad(&e))?;
            let value = encode_meta(applied, unsynced.end);
            meta.insert(CHECKPOINT, value.as_slice()).map_err(|e| bad(&e))?;
            let mut table = tx.open_table(UPLOADS).map_err(|e| bad(&e))?;
            for (id, upload) in uploads {
                match upload {
                    Some(upload) => {
                        let value = codec::encode(&upload);
                        table.insert(&id.0, value.as_slice()).map_err(|e| bad(&e))?;
                    }
                    None => {
                        table.remove(&id.0).map_err(|e| bad(&e))?;
                    }
                }
            }
        }
        tx.commit().map_err(|e| bad(&e))?;
        self.dirty.store(false, Ordering::Release);
        crate::base::metric::CHECKPOINTS.inc();
        Ok(())
    }

    /// Where a finished, not yet linked upload lies.
    pub(super) fn upload(&self, id: UploadId) -> Option<BodyAddress> {
        lock(&self.state).uploads.address(id).cloned()
    }

    /// Reads `range` of a body; less at its end.
    pub(super) fn read_body(
        &self,
        address: &BodyAddress,
        range: Range<u64>,
    ) -> Result<Vec<u8>, StoreError> {
        let cipher = self.keyring.cipher(self.tenant)?;
        let mut out = Vec::new();
        let mut start = 0_u64;
        for part in &address.parts {
            let end = start.saturating_add(u64::from(part.len));
            if end > range.start && start < range.end {
                let content = self.reader.read(&cipher, part)?;
                let from = usize::try_from(range.start.saturating_sub(start)).unwrap_or(usize::MAX);
                let to = range.end.min(end) - start;
                let to = usize::try_from(to).unwrap_or(usize::MAX);
                let wanted = content.get(from..to).ok_or(StoreError::NoBody(self.tenant))?;
                out.extend_from_slice(wanted);
            }
            start = end;
        }
        Ok(out)
    }
}

impl Drop for View {
    fn drop(&mut self) {
        // Without a checkpoint, what redb would write on closing must not become durable.
        self.frozen.store(self.is_dirty(), Ordering::Release);
    }
}

/// Whether the store itself knows the kind.
fn is_ours(kind: Kind) -> bool {
    kind == Kind::BODY_PART || kind == Kind::BODY_ABORT
}

fn open_db(backend: Backend, cache_bytes: usize) -> Result<Database, redb::DatabaseError> {
    Database::builder().set_cache_size(cache_bytes).create_with_backend(backend)
}

/// Makes an empty view. Its index gets its name once it is durable: a power cut while redb lays out
/// a file can leave one that redb refuses.
fn create(
    settings: &ViewSettings,
    tenant: TenantId,
    dir: &Path,
    path: &Path,
) -> Result<(), StoreError> {
    let bad = |e: &dyn std::fmt::Display| StoreError::view(tenant, &e);
    let disk = &settings.disk;
    let packs = dir.join("packs");
    let parent = dir.parent().unwrap_or(&settings.dir);
    disk.create_dir(dir).context("create", dir)?;
    disk.create_dir(&packs).context("create", &packs)?;
    disk.sync_dir(parent).context("sync", parent)?;
    disk.sync_dir(dir).context("sync", dir)?;
    let temporary = dir.join("index.tmp");
    let file = disk.open(&temporary, Open::Create).context("create", &temporary)?;
    let backend = Backend { file: Arc::clone(&file), frozen: Arc::default() };
    let db = open_db(backend, settings.cache_bytes).map_err(|e| bad(&e))?;
    let tx = db.begin_write().map_err(|e| bad(&e))?;
    {
        tx.open_table(ROWS).map_err(|e| bad(&e))?;
        tx.open_table(UPLOADS).map_err(|e| bad(&e))?;
        let mut meta = tx.open_table(META).map_err(|e| bad(&e))?;
        let value = encode_meta(Lsn(0), PacksEnd::default());
        meta.insert(CHECKPOINT, value.as_slice()).map_err(|e| bad(&e))?;
    }
    tx.commit().map_err(|e| bad(&e))?;
    drop(db);
    file.sync_data().context("sync", &temporary)?;
    disk.rename(&temporary, path).context("rename", &temporary)?;
    disk.sync_dir(dir).context("sync", dir)
}

fn encode_meta(applied: Lsn, end: PacksEnd) -> Vec<u8> {
    let mut out = META_VERSION.to_le_bytes().to_vec();
    out.extend_from_slice(&applied.0.to_le_bytes());
    out.extend_from_slice(&end.pack.to_le_bytes());
    out.extend_from_slice(&end.len.to_le_bytes());
    out
}

fn load(
    db: &Database,
    tenant: TenantId,
    path: &Path,
) -> Result<(Lsn, PacksEnd, Uploads), StoreError> {
    let bad = |e: &dyn std::fmt::Display| StoreError::view(tenant, &e);
    let tx = db.begin_read().map_err(|e| bad(&e))?;
    let meta = tx.open_table(META).map_err(|e| bad(&e))?;
    let value = meta.get(CHECKPOINT).map_err(|e| bad(&e))?;
    let value = value.ok_or_else(|| StoreError::damaged(path, 0, "it has no checkpoint"))?;
    let mut fields = Fields(value.value());
    let found = u16::from_le_bytes(fields.take());
    if found != META_VERSION {
        return Err(StoreError::Version { path: path.to_owned(), found, known: META_VERSION });
    }
    let applied = Lsn(u64::from_le_bytes(fields.take()));
    let pack = u32::from_le_bytes(fields.take());
    let end = PacksEnd { pack, len: u64::from_le_bytes(fields.take()) };
    let mut uploads = Vec::new();
    for row in tx.open_table(UPLOADS).map_err(|e| bad(&e))?.iter().map_err(|e| bad(&e))? {
        let (id, upload) = row.map_err(|e| bad(&e))?;
        let upload: Upload = codec::decode("an upload", upload.value()).map_err(|e| bad(&e))?;
        uploads.push((UploadId(*id.value()), upload));
    }
    Ok((applied, end, Uploads::load(uploads.into_iter())))
}
