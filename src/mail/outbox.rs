//! The outbound queue, as whoever drains it sees it, and operators do.
//!
//! Invariant: an item that an attempt is under way for is claimed, and nobody else touches it. Claims and what
//! operators want tried now are lost with the process: the rows say when an item is tried anyhow.

use super::{Mail, MailError};
use crate::store::{PrimaryLease, WriteError};
use std::collections::HashSet;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;
use understudy_proto::directory;
use understudy_proto::id::{QueueId, TenantId};
use understudy_proto::keys::BodyAddress;
use understudy_proto::queue::{self, Item, NoSuchItem, Settle};
use understudy_proto::time::UnixMs;

/// Most items of one tenant that are looked at in one pass.
const ITEMS_MAX: usize = 10_000;
/// Most items that operators want tried now.
const WANTED_MAX: usize = 10_000;

type Key = (TenantId, QueueId);

/// What is known of the queue beside its rows.
#[derive(Default)]
pub(super) struct Outbox {
    /// Something was put into the queue.
    pub(super) queued: Notify,
    marks: Mutex<Marks>,
}

#[derive(Default)]
struct Marks {
    claimed: HashSet<Key>,
    wanted: HashSet<Key>,
}

impl Outbox {
    fn marks(&self) -> MutexGuard<'_, Marks> {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An item is its holder's alone.
pub struct Claim(Arc<Outbox>, Key);

impl Drop for Claim {
    fn drop(&mut self) {
        self.0.marks().claimed.remove(&self.1);
    }
}

/// Why an operator's wish about an item is not done.
#[derive(Debug, thiserror::Error)]
pub enum NotNow {
    /// It left the queue, or was never there.
    #[error("there is no such message in the queue")]
    NoSuchItem,
    /// An attempt is under way.
    #[error("the message is being delivered right now")]
    UnderWay,
    /// Its time, given by its sender, has not come: it is the sender's.
    #[error("the message is held until the time that its sender chose")]
    Held,
    /// More than [`WANTED_MAX`] are wanted.
    #[error("too many messages wait for an attempt that operators asked for")]
    TooMany,
    /// The store.
    #[error(transparent)]
    Mail(#[from] MailError),
}

impl Mail {
    /// Returns when something was put into the queue since the last call.
    pub async fn queued(&self) {
        self.outbox.queued.notified().await;
    }

    /// There is something to do in the queue at once.
    pub fn queue_again(&self) {
        self.outbox.queued.notify_one();
    }

    /// All items in all tenants' queues, oldest first within each, at most `limit` in all.
    pub fn queue(&self, limit: usize) -> Result<Vec<(TenantId, Item)>, MailError> {
        let mut all = Vec::new();
        for tenant in directory::tenants(&self.store.read(TenantId::SYSTEM)?)? {
            let left = limit.saturating_sub(all.len()).min(ITEMS_MAX);
            if left == 0 {
                break;
            }
            let items = queue::items(&self.store.read(tenant.id)?, left)?;
            all.extend(items.into_iter().map(|item| (tenant.id, item)));
        }
        Ok(all)
    }

    /// One item as it is now; `None` when it was settled.
    pub fn queue_item(&self, tenant: TenantId, id: QueueId) -> Result<Option<Item>, MailError> {
        Ok(queue::item(&self.store.read(tenant)?, id)?)
    }

    /// Whoever holds the claim deals with the item; `None` while somebody else does.
    #[must_use]
    pub fn queue_claim(&self, tenant: TenantId, id: QueueId) -> Option<Claim> {
        let is_free = self.outbox.marks().claimed.insert((tenant, id));
        is_free.then(|| Claim(Arc::clone(&self.outbox), (tenant, id)))
    }

    /// Whether an operator wants the item tried before its time.
    #[must_use]
    pub fn queue_is_wanted(&self, tenant: TenantId, id: QueueId) -> bool {
        self.outbox.marks().wanted.contains(&(tenant, id))
    }

    /// The same, for the attempt that follows now.
    #[must_use]
    pub fn queue_take_wanted(&self, tenant: TenantId, id: QueueId) -> bool {
        self.outbox.marks().wanted.remove(&(tenant, id))
    }

    /// The item is tried as soon as there is a place.
    pub fn queue_retry(&self, tenant: TenantId, id: QueueId, now: UnixMs) -> Result<(), NotNow> {
        drop(self.claim_waiting(tenant, id, now)?);
        let mut marks = self.outbox.marks();
        if marks.wanted.len() >= WANTED_MAX {
            return Err(NotNow::TooMany);
        }
        marks.wanted.insert((tenant, id));
        drop(marks);
        self.queue_again();
        Ok(())
    }

    /// Takes the item out, without a bounce; gives what it was.
    pub async fn queue_remove(
        &self,
        lease: &PrimaryLease,
        tenant: TenantId,
        id: QueueId,
        now: UnixMs,
    ) -> Result<Item, NotNow> {
        let (_claim, item) = self.claim_waiting(tenant, id, now)?;
        let (done, reason) = (item.to.clone(), String::new());
        let settle = Settle { id, done, next: item.next, reason, over: true };
        self.queue_settle(lease, tenant, settle).await?;
        Ok(item)
    }

    fn claim_waiting(
        &self,
        tenant: TenantId,
        id: QueueId,
        now: UnixMs,
    ) -> Result<(Claim, Item), NotNow> {
        let claim = self.queue_claim(tenant, id).ok_or(NotNow::UnderWay)?;
        let item = self.queue_item(tenant, id)?.ok_or(NotNow::NoSuchItem)?;
        if item.created > now {
            return Err(NotNow::Held);
        }
        Ok((claim, item))
    }

    /// Records what an attempt achieved. An item that is gone has been settled before.
    pub async fn queue_settle(
        &self,
        lease: &PrimaryLease,
        tenant: TenantId,
        settle: Settle,
    ) -> Result<(), MailError> {
        match self.store.write(lease, tenant, settle).await {
            Ok(written) => {
                self.store.applied(tenant, written.lsn).await?;
                Ok(())
            }
            Err(WriteError::Refused(NoSuchItem)) => Ok(()),
            Err(other) => Err(MailError::NotWritten(other.to_string())),
        }
    }

    /// Bytes of a queued message. At most 256 KiB a call.
    pub fn read_queued(
        &self,
        tenant: TenantId,
        body: &BodyAddress,
        range: Range<u64>,
    ) -> Result<Vec<u8>, MailError> {
        self.read_body(tenant, body, range)
    }
}
