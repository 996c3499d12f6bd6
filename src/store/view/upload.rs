//! Uploads that are not linked yet: bodies whose parts lie in the packs but that no row names.
//!
//! Invariants: they are in memory while the index is open and in its `uploads` table as of the last
//! checkpoint; the replay brings them to where they were. Parts come in order; an upload that is
//! not known, because it was dropped, stays unknown whatever comes of it.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use understudy_proto::id::{Lsn, UploadId};
use understudy_proto::keys::{BodyAddress, BodyPart};

/// Uploads that a tenant may have open; the oldest are dropped above.
pub(super) const UPLOADS_MAX: usize = 8_192;

/// One of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Upload {
    /// Its first record.
    pub(super) since: Lsn,
    /// The next part's number.
    pub(super) next: u32,
    /// All parts are here.
    pub(super) finished: bool,
    /// Where they lie.
    pub(super) address: BodyAddress,
}

/// All of a tenant.
#[derive(Debug, Default)]
pub(super) struct Uploads {
    open: BTreeMap<UploadId, Upload>,
    by_age: BTreeMap<Lsn, UploadId>,
    /// Changed since the last checkpoint.
    changed: BTreeSet<UploadId>,
}

impl Uploads {
    /// As a checkpoint stored them.
    pub(super) fn load(stored: impl Iterator<Item = (UploadId, Upload)>) -> Self {
        let open: BTreeMap<_, _> = stored.collect();
        let by_age = open.iter().map(|(id, upload)| (upload.since, *id)).collect();
        Self { open, by_age, changed: BTreeSet::new() }
    }

    /// Whether part `index` is the one that `id` waits for.
    pub(super) fn wants(&self, id: UploadId, index: u32) -> bool {
        match self.open.get(&id) {
            Some(upload) => upload.next == index && !upload.finished,
            None => index == 0,
        }
    }

    /// Takes in a part that is [wanted](Self::wants); `None` for one without content.
    pub(super) fn part(&mut self, id: UploadId, part: Option<BodyPart>, last: bool, at: Lsn) {
        if !self.open.contains_key(&id) {
            while self.open.len() >= UPLOADS_MAX
                && let Some((_, oldest)) = self.by_age.pop_first()
            {
                self.open.remove(&oldest);
                self.changed.insert(oldest);
            }
            self.by_age.insert(at, id);
        }
        let upload =
            self.open.entry(id).or_insert_with(|| Upload { since: at, ..Upload::default() });
        upload.next += 1;
        upload.finished = last;
        upload.address.parts.extend(part);
        self.changed.insert(id);
    }

    /// Forgets an upload: it was linked or given up.
    pub(super) fn drop(&mut self, id: UploadId) {
        if let Some(upload) = self.open.remove(&id) {
            self.by_age.remove(&upload.since);
            self.changed.insert(id);
        }
    }

    /// Where a finished upload lies.
    pub(super) fn address(&self, id: UploadId) -> Option<&BodyAddress> {
        self.open.get(&id).filter(|u| u.finished).map(|u| &u.address)
    }

    /// All that are open.
    pub(super) fn all(&self) -> impl Iterator<Item = (&UploadId, &Upload)> {
        self.open.iter()
    }

    /// What the next checkpoint must store: the upload, or `None` if it is gone.
    pub(super) fn take_changed(&mut self) -> Vec<(UploadId, Option<Upload>)> {
        let changed = std::mem::take(&mut self.changed);
        changed.into_iter().map(|id| (id, self.open.get(&id).cloned())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_give_way() {
        let id = |n: u32| UploadId(std::array::from_fn(|i| n.to_be_bytes()[i % 4]));
        let mut uploads = Uploads::default();
        let most = u32::try_from(UPLOADS_MAX).unwrap();
        for n in 0..=most {
            assert!(uploads.wants(id(n), 0));
            uploads.part(id(n), None, true, Lsn(u64::from(n) + 1));
        }
        assert!(uploads.address(id(0)).is_none());
        assert!(uploads.address(id(1)).is_some() && uploads.address(id(most)).is_some());
        assert!(!uploads.wants(id(0), 1), "what was dropped stays unknown");
        uploads.drop(id(1));
        assert!(uploads.address(id(1)).is_none());
        assert_eq!(uploads.take_changed().len(), UPLOADS_MAX + 1);
    }
}
