//! Ordered keys of one tenant: what a rule reads, and what applying a change writes.
//!
//! The store gives three of them: a snapshot for readers, an [`Overlay`] for the decider (committed
//! rows plus what is decided but not yet applied) and a write transaction for the view. Rules see no
//! difference; that is what makes them simulable.

use crate::id::UploadId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::ControlFlow;

/// The view could not be read: disk or damage. Always temporary to the outside, never "not found".
#[derive(Debug, Clone, thiserror::Error)]
#[error("the tenant's view cannot be read: {0}")]
pub struct KeysError(pub String);

/// Called for each row of a scan; `Break` ends it.
pub type Visit<'a> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'a;

/// Read access to one tenant's rows.
pub trait Keys {
    /// The value under `key`.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, KeysError>;

    /// Visits the rows of `[from, to)` in ascending order.
    fn scan(&self, from: &[u8], to: &[u8], visit: &mut Visit<'_>) -> Result<(), KeysError>;

    /// Visits the rows of `[from, to)` in descending order.
    fn scan_back(&self, from: &[u8], to: &[u8], visit: &mut Visit<'_>) -> Result<(), KeysError>;

    /// Where the finished upload `id` lies; `None` when no such upload is known.
    fn body(&self, id: UploadId) -> Result<Option<BodyAddress>, KeysError>;
}

/// Write access while a change is applied.
pub trait KeysMut: Keys {
    /// Sets `key` to `value`.
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), KeysError>;

    /// Removes `key`; nothing happens when it is absent.
    fn delete(&mut self, key: &[u8]) -> Result<(), KeysError>;

    /// The upload has been linked for the last time: the store may forget its id (not its bytes).
    fn body_done(&mut self, id: UploadId) -> Result<(), KeysError>;

    /// Whoever follows `topic` (an account's number, or one of its others) is woken once this change is visible.
    fn wake(&mut self, topic: u64);
}

/// Where a body lies in the tenant's packs. Opaque to rules: they keep it in their rows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct BodyAddress {
    /// The parts, in order. Empty for a body of zero bytes, or while it is still on its way.
    pub parts: Vec<BodyPart>,
}

/// One part of a body in a pack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct BodyPart {
    /// Number of the pack file.
    pub pack: u32,
    /// Byte offset of the part's frame in it.
    pub offset: u64,
    /// Length of the frame in the pack, in bytes.
    pub stored_len: u32,
    /// Length of the content, in bytes.
    pub len: u32,
}

impl BodyAddress {
    /// Length of the whole content in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.parts.iter().map(|p| u64::from(p.len)).sum()
    }

    /// Whether there is no content.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A finished upload, as a command names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct BodyRef {
    /// The upload.
    pub upload: UploadId,
    /// Length in bytes.
    pub size: u64,
    /// BLAKE3 of the content.
    pub hash: [u8; 32],
}

/// Rows that are written but not yet in `base`: reads see them, `base` stays untouched.
pub struct Overlay<'a> {
    base: &'a dyn Keys,
    /// Key to new value; `None` is a deletion.
    writes: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    topics: Vec<u64>,
}

impl<'a> Overlay<'a> {
    /// An empty overlay over `base`.
    #[must_use]
    pub fn new(base: &'a dyn Keys) -> Self {
        Self { base, writes: BTreeMap::new(), topics: Vec::new() }
    }

    /// What was written: key to new value, `None` for a deletion.
    #[must_use]
    pub fn into_writes(self) -> BTreeMap<Vec<u8>, Option<Vec<u8>>> {
        self.writes
    }

    /// How many rows were written.
    #[must_use]
    pub fn len(&self) -> usize {
        self.writes.len()
    }

    /// Whether nothing was written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    /// The topics that were woken.
    #[must_use]
    pub fn topics(&self) -> &[u64] {
        &self.topics
    }
}

/// Merges `base`'s rows of `[from, to)` with `writes` over them, ascending or descending.
/// Shared by every layered [`Keys`].
pub fn scan_layered(
    base: &dyn Keys,
    writes: &BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    (from, to): (&[u8], &[u8]),
    descending: bool,
    visit: &mut Visit<'_>,
) -> Result<(), KeysError> {
    if from >= to {
        return Ok(());
    }
    let mut over: Vec<(&[u8], Option<&[u8]>)> = writes
        .range::<[u8], _>((std::ops::Bound::Included(from), std::ops::Bound::Excluded(to)))
        .map(|(k, v)| (k.as_slice(), v.as_deref()))
        .collect();
    if descending {
        over.reverse();
    }
    let mut over = over.into_iter().peekable();
    let mut stopped = false;
    {
        let mut each = |key: &[u8], value: &[u8]| -> ControlFlow<()> {
            // Overlay rows that come before this base row go first.
            while let Some(&(k, v)) = over.peek() {
                let before = if descending { k > key } else { k < key };
                if !before {
                    break;
                }
                over.next();
                if let Some(v) = v
                    && visit(k, v).is_break()
                {
                    stopped = true;
                    return ControlFlow::Break(());
                }
            }
            let flow = match over.peek() {
                Some(&(k, v)) if k == key => {
                    over.next();
                    v.map_or(ControlFlow::Continue(()), |v| visit(k, v))
                }
                _ => visit(key, value),
            };
            stopped = flow.is_break();
            flow
        };
        if descending {
            base.scan_back(from, to, &mut each)?;
        } else {
            base.scan(from, to, &mut each)?;
        }
    }
    if !stopped {
        for (k, v) in over {
            if let Some(v) = v
                && visit(k, v).is_break()
            {
                break;
            }
        }
    }
    Ok(())
}

impl Keys for Overlay<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, KeysError> {
        match self.writes.get(key) {
            Some(v) => Ok(v.clone()),
            None => self.base.get(key),
        }
    }

    fn scan(&self, from: &[u8], to: &[u8], visit: &mut Visit<'_>) -> Result<(), KeysError> {
        scan_layered(self.base, &self.writes, (from, to), false, visit)
    }

    fn scan_back(&self, from: &[u8], to: &[u8], visit: &mut Visit<'_>) -> Result<(), KeysError> {
        scan_layered(self.base, &self.writes, (from, to), true, visit)
    }

    fn body(&self, id: UploadId) -> Result<Option<BodyAddress>, KeysError> {
        // On the decider's side the parts may still be on their way to the pack; the view applies
        // the change again with the real address.
        Ok(Some(self.base.body(id)?.unwrap_or_default()))
    }
}

impl KeysMut for Overlay<'_> {
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), KeysError> {
        self.writes.insert(key.to_vec(), Some(value.to_vec()));
        Ok(())
    }

    fn delete(&mut self, key: &[u8]) -> Result<(), KeysError> {
        self.writes.insert(key.to_vec(), None);
        Ok(())
    }

    fn body_done(&mut self, _id: UploadId) -> Result<(), KeysError> {
        Ok(())
    }

    fn wake(&mut self, topic: u64) {
        if !self.topics.contains(&topic) {
            self.topics.push(topic);
        }
    }
}

/// Rows in memory: for tests and simulations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemKeys {
    /// All rows.
    pub rows: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Finished uploads.
    pub bodies: BTreeMap<UploadId, BodyAddress>,
    /// Topics woken, in order, with repeats.
    pub woken: Vec<u64>,
}

impl Keys for MemKeys {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, KeysError> {
        Ok(self.rows.get(key).cloned())
    }

    fn scan(&self, from: &[u8], to: &[u8], visit: &mut Visit<'_>) -> Result<(), KeysError> {
        if from < to {
            for (k, v) in self.rows.range(from.to_vec()..to.to_vec()) {
                if visit(k, v).is_break() {
                    break;
                }
            }
        }
        Ok(())
    }

    fn scan_back(&self, from: &[u8], to: &[u8], visit: &mut Visit<'_>) -> Result<(), KeysError> {
        if from < to {
            for (k, v) in self.rows.range(from.to_vec()..to.to_vec()).rev() {
                if visit(k, v).is_break() {
                    break;
                }
            }
        }
        Ok(())
    }

    fn body(&self, id: UploadId) -> Result<Option<BodyAddress>, KeysError> {
        Ok(self.bodies.get(&id).cloned())
    }
}

impl KeysMut for MemKeys {
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), KeysError> {
        self.rows.insert(key.to_vec(), value.to_vec());
        Ok(())
    }

    fn delete(&mut self, key: &[u8]) -> Result<(), KeysError> {
        self.rows.remove(key);
        Ok(())
    }

    fn body_done(&mut self, id: UploadId) -> Result<(), KeysError> {
        self.bodies.remove(&id);
        Ok(())
    }

    fn wake(&mut self, topic: u64) {
        self.woken.push(topic);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(keys: &dyn Keys, back: bool) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut rows = Vec::new();
        let mut visit = |k: &[u8], v: &[u8]| {
            rows.push((k.to_vec(), v.to_vec()));
            ControlFlow::Continue(())
        };
        let (from, to) = ([].as_slice(), [0xff; 8].as_slice());
        if back {
            keys.scan_back(from, to, &mut visit).unwrap();
        } else {
            keys.scan(from, to, &mut visit).unwrap();
        }
        rows
    }

    proptest! {
        #[test]
        fn an_overlay_reads_like_the_rows_it_would_leave(
            base in prop::collection::btree_map(prop::collection::vec(0u8..4, 1..3), prop::collection::vec(any::<u8>(), 0..3), 0..20),
            writes in prop::collection::vec((prop::collection::vec(0u8..4, 1..3), prop::option::of(prop::collection::vec(any::<u8>(), 0..3))), 0..20),
        ) {
            let base = MemKeys { rows: base, ..MemKeys::default() };
            let mut expected = base.clone();
            let mut overlay = Overlay::new(&base);
            for (k, v) in &writes {
                match v {
                    Some(v) => { overlay.put(k, v).unwrap(); expected.put(k, v).unwrap(); }
                    None => { overlay.delete(k).unwrap(); expected.delete(k).unwrap(); }
                }
            }
            prop_assert_eq!(all(&overlay, false), all(&expected, false));
            prop_assert_eq!(all(&overlay, true), all(&expected, true));
        }
    }
}
