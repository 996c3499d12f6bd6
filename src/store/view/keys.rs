//! A tenant's rows as rules see them: a snapshot for readers, a transaction for the viewer.

use super::View;
use super::upload::Uploads;
use crate::store::error::{StoreError, lock};
use crate::store::seal::Cipher;
use redb::{ReadOnlyTable, ReadableDatabase, ReadableTable, Table};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;
use understudy_proto::id::{Lsn, UploadId};
use understudy_proto::keys::{BodyAddress, Keys, KeysError, KeysMut, Visit};

/// How often, and how far apart, it is looked whether the viewer's round is over while it is kept from
/// writing: two milliseconds in all.
const ROUND_LOOKS: usize = 10;
const ROUND_LOOK: Duration = Duration::from_micros(200);

/// One committed state of a tenant's rows. It does not change while it lives; it keeps pages of the
/// index from being reused, so it should not live long.
pub struct ReadView {
    table: ReadOnlyTable<&'static [u8], &'static [u8]>,
    cipher: Arc<Cipher>,
    view: Arc<View>,
}

impl ReadView {
    pub(in crate::store) fn new(view: Arc<View>) -> Result<Self, StoreError> {
        let bad = |e: &dyn std::fmt::Display| StoreError::view(view.tenant, &e);
        let tx = view.db.begin_read().map_err(|e| bad(&e))?;
        let table = tx.open_table(super::ROWS).map_err(|e| bad(&e))?;
        let cipher = view.keyring.cipher(view.tenant)?;
        Ok(Self { table, cipher, view })
    }

    /// Two views as the same record left them, and that record. `applied`: up to where all views have
    /// applied. `None` where the viewer has written the one and not yet the other.
    pub(in crate::store) fn of_one_record(
        one: &Arc<View>,
        other: &Arc<View>,
        applied: impl Fn() -> Lsn,
    ) -> Result<Option<(Self, Self, Lsn)>, StoreError> {
        // The viewer holds a view's state for as long as it writes: nothing moves in either. It never
        // holds two.
        let (of_one, of_other) = (lock(&one.state), lock(&other.state));
        let newest = of_one.applied.max(of_other.applied);
        let mut looks = 0;
        let all = loop {
            let all = applied();
            if all >= newest {
                break all;
            }
            if looks == ROUND_LOOKS {
                return Ok(None);
            }
            looks += 1;
            // It may only have to say so yet.
            std::thread::sleep(ROUND_LOOK);
        };
        let views = (Self::new(Arc::clone(one))?, Self::new(Arc::clone(other))?);
        Ok(Some((views.0, views.1, all)))
    }
}

impl std::fmt::Debug for ReadView {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReadView").field("tenant", &self.view.tenant).finish_non_exhaustive()
    }
}

fn bad(e: impl std::fmt::Display) -> KeysError {
    KeysError(e.to_string())
}

fn get(
    table: &impl ReadableTable<&'static [u8], &'static [u8]>,
    cipher: &Cipher,
    key: &[u8],
) -> Result<Option<Vec<u8>>, KeysError> {
    match table.get(key).map_err(bad)? {
        Some(value) => cipher.open_value(key, value.value()).map(Some).map_err(bad),
        None => Ok(None),
    }
}

fn scan(
    table: &impl ReadableTable<&'static [u8], &'static [u8]>,
    cipher: &Cipher,
    (from, to): (&[u8], &[u8]),
    descending: bool,
    visit: &mut Visit<'_>,
) -> Result<(), KeysError> {
    if from >= to {
        return Ok(());
    }
    let mut range = table.range::<&[u8]>(from..to).map_err(bad)?;
    while let Some(row) = if descending { range.next_back() } else { range.next() } {
        let (key, value) = row.map_err(bad)?;
        let value = cipher.open_value(key.value(), value.value()).map_err(bad)?;
        if let ControlFlow::Break(()) = visit(key.value(), &value) {
            break;
        }
    }
    Ok(())
}

impl Keys for ReadView {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, KeysError> {
        get(&self.table, &self.cipher, key)
    }

    fn scan(&self, from: &[u8], to: &[u8], visit: &mut Visit<'_>) -> Result<(), KeysError> {
        scan(&self.table, &self.cipher, (from, to), false, visit)
    }

    fn scan_back(&self, from: &[u8], to: &[u8], visit: &mut Visit<'_>) -> Result<(), KeysError> {
        scan(&self.table, &self.cipher, (from, to), true, visit)
    }

    fn body(&self, id: UploadId) -> Result<Option<BodyAddress>, KeysError> {
        Ok(self.view.upload(id))
    }
}

/// The rows while committed changes are applied.
pub(super) struct TxKeys<'tx> {
    table: Table<'tx, &'static [u8], &'static [u8]>,
    cipher: Arc<Cipher>,
    pub(super) uploads: Uploads,
    topics: Vec<u64>,
}

impl<'tx> TxKeys<'tx> {
    pub(super) fn new(
        table: Table<'tx, &'static [u8], &'static [u8]>,
        cipher: Arc<Cipher>,
        uploads: Uploads,
    ) -> Self {
        Self { table, cipher, uploads, topics: Vec::new() }
    }

    /// Gives back the uploads, and the topics that were woken.
    pub(super) fn finish(self) -> (Uploads, Vec<u64>) {
        (self.uploads, self.topics)
    }
}

impl Keys for TxKeys<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, KeysError> {
        get(&self.table, &self.cipher, key)
    }

    fn scan(&self, from: &[u8], to: &[u8], visit: &mut Visit<'_>) -> Result<(), KeysError> {
        scan(&self.table, &self.cipher, (from, to), false, visit)
    }

    fn scan_back(&self, from: &[u8], to: &[u8], visit: &mut Visit<'_>) -> Result<(), KeysError> {
        scan(&self.table, &self.cipher, (from, to), true, visit)
    }

    fn body(&self, id: UploadId) -> Result<Option<BodyAddress>, KeysError> {
        Ok(self.uploads.address(id).cloned())
    }
}

impl KeysMut for TxKeys<'_> {
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), KeysError> {
        let sealed = self.cipher.seal_value(key, value).map_err(bad)?;
        self.table.insert(key, sealed.as_slice()).map_err(bad)?;
        Ok(())
    }

    fn delete(&mut self, key: &[u8]) -> Result<(), KeysError> {
        self.table.remove(key).map_err(bad)?;
        Ok(())
    }

    fn body_done(&mut self, id: UploadId) -> Result<(), KeysError> {
        self.uploads.drop(id);
        Ok(())
    }

    fn wake(&mut self, topic: u64) {
        if self.topics.last() != Some(&topic) {
            self.topics.push(topic);
        }
    }
}
