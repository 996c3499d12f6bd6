//! The outbound queue, as whoever drains it sees it.

use super::{Mail, MailError};
use crate::store::{PrimaryLease, WriteError};
use std::ops::Range;
use understudy_proto::directory;
use understudy_proto::id::{QueueId, TenantId};
use understudy_proto::keys::BodyAddress;
use understudy_proto::queue::{self, Item, NoSuchItem, Settle};

/// Most items of one tenant that are looked at in one pass.
const ITEMS_MAX: usize = 10_000;

impl Mail {
    /// Returns when something was put into the queue since the last call.
    pub async fn queued(&self) {
        self.queued.notified().await;
    }

    /// There is something to do in the queue at once.
    pub fn queue_again(&self) {
        self.queued.notify_one();
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
