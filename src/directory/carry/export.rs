//! A tenant into a file: rows of one moment, then the bodies that they name. A body never moves, so
//! the moment need not be held while the bodies are read.

use super::file::Writer;
use super::{BODY_ROWS_MAX, CarryError, CarryProgress, Item, PART_LEN, ROWS_LEN, ROWS_MAX};
use crate::base::clock;
use crate::base::secret::Secret;
use crate::directory::{Directory, DirectoryError};
use crate::store::ReadView;
use crate::store::disk::Disk;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use understudy_proto::carry::{self, Row};
use understudy_proto::directory::{self, Tenant};
use understudy_proto::id::{Lsn, TenantId};
use understudy_proto::keys::{BodyAddress, Keys};

/// A body's first part, which names it, then its whole place and the rows that have it.
type Bodies = BTreeMap<(u32, u64), (BodyAddress, Vec<Vec<u8>>)>;

/// How often the store is asked for a moment between two rounds of changes, and the pause after each:
/// five seconds at the least.
const INSTANT_TRIES: usize = 1_000;
const INSTANT_PAUSE: Duration = Duration::from_millis(5);

/// A tenant as of one record.
pub(super) struct Instant {
    /// Everything up to it is in the others, nothing after.
    pub(super) lsn: Lsn,
    pub(super) domains: Vec<String>,
    pub(super) view: ReadView,
}

/// What an export has written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exported {
    /// Length of the file in bytes.
    pub len: u64,
    /// Everything up to this record is in it, and nothing after.
    pub lsn: Lsn,
}

impl Directory {
    /// Writes `tenant` into the file at `path` (absolute; it may not exist). Blocks for as long as it
    /// takes.
    pub fn export_tenant(
        &self,
        disk: Arc<dyn Disk>,
        tenant: &Tenant,
        path: &Path,
        passphrase: &Secret<String>,
        progress: &CarryProgress,
    ) -> Result<Exported, CarryError> {
        let mut writer = Writer::create(disk, path, passphrase)?;
        let Instant { lsn, domains, view } = self.instant(tenant.id)?;
        writer.item(&Item::Head {
            name: tenant.name.clone(),
            domains,
            lsn: lsn.0,
            exported_ms: clock::now_ms().0,
        })?;
        let (rows, bodies) = export_rows(&mut writer, &view)?;
        drop(view);
        let total: u64 = bodies.values().map(|(address, _)| address.len()).sum();
        let (mut done, mut count) = (0, 0);
        progress.set(0, total);
        for (address, rows) in bodies.into_values() {
            let size = address.len();
            for rows in rows.chunks(BODY_ROWS_MAX) {
                count += 1;
                writer.item(&Item::Body { rows: rows.to_vec(), size })?;
                let mut at = 0;
                while at < size {
                    let to = size.min(at.saturating_add(PART_LEN as u64));
                    let content = self.store.read_body(tenant.id, &address, at..to)?;
                    writer.item(&Item::Part(content))?;
                    at = to;
                }
            }
            done += size;
            progress.set(done, total);
        }
        writer.item(&Item::End { rows, bodies: count })?;
        Ok(Exported { len: writer.finish()?, lsn })
    }

    /// The tenant's rows and its domains as the same record left them.
    pub(super) fn instant(&self, tenant: TenantId) -> Result<Instant, CarryError> {
        for _ in 0..INSTANT_TRIES {
            if let Some((view, system, lsn)) = self.store.read_with_system(tenant)? {
                let domains = directory::domains(&system).map_err(DirectoryError::from)?;
                let ours = domains.into_iter().filter(|(_, owner)| *owner == tenant);
                let domains = ours.map(|(domain, _)| domain).collect();
                return Ok(Instant { lsn, domains, view });
            }
            std::thread::sleep(INSTANT_PAUSE);
        }
        Err(CarryError::NoInstant)
    }
}

fn export_rows(writer: &mut Writer, view: &ReadView) -> Result<(u64, Bodies), CarryError> {
    let (mut rows, mut bodies): (Vec<Row>, Bodies) = (Vec::new(), BTreeMap::new());
    let (mut bytes, mut count, mut failed) = (0, 0_u64, None);
    let mut visit = |key: &[u8], value: &[u8]| {
        if carry::is_local(key) {
            return ControlFlow::Continue(());
        }
        let row = carry::split(key, value).map_err(|_e| CarryError::Format).and_then(|found| {
            let value = match found {
                Some((bare, address)) => {
                    if let Some(first) = address.parts.first() {
                        let at = (first.pack, first.offset);
                        let (_, keys) = bodies.entry(at).or_insert_with(|| (address, Vec::new()));
                        keys.push(key.to_vec());
                    }
                    bare
                }
                None => value.to_vec(),
            };
            let len = key.len() + value.len();
            if !rows.is_empty() && (bytes + len > ROWS_LEN || rows.len() >= ROWS_MAX) {
                writer.item(&Item::Rows(std::mem::take(&mut rows)))?;
                bytes = 0;
            }
            bytes += len;
            count += 1;
            rows.push((key.to_vec(), value));
            Ok(())
        });
        match row {
            Ok(()) => ControlFlow::Continue(()),
            Err(e) => {
                failed = Some(e);
                ControlFlow::Break(())
            }
        }
    };
    view.scan(&[], &[0xff], &mut visit)
        .map_err(|e| CarryError::Directory(DirectoryError::Row(e.into())))?;
    if let Some(e) = failed {
        return Err(e);
    }
    if !rows.is_empty() {
        writer.item(&Item::Rows(rows))?;
    }
    Ok((count, bodies))
}
