//! Messages: what is known of one, and its bytes.

use super::{Mail, MailError};
use crate::directory::Login;
use std::ops::Range;
use understudy_proto::id::{AccountId, EmailId, TenantId};
use understudy_proto::keys::BodyAddress;
use understudy_proto::mailbox::{self, Email, Quota};

impl Mail {
    /// What is known of a message; `None` when it is gone.
    pub fn email(&self, login: &Login, id: EmailId) -> Result<Option<Email>, MailError> {
        Ok(mailbox::email(&self.store.read(login.tenant)?, login.account, id)?)
    }

    /// What an account's messages take and may take.
    pub fn quota_of(&self, tenant: TenantId, account: AccountId) -> Result<Quota, MailError> {
        Ok(mailbox::quota(&self.store.read(tenant)?, account)?)
    }

    /// Bytes of a message. At most 256 KiB a call, so that nobody holds a large one.
    pub fn read(
        &self,
        login: &Login,
        body: &BodyAddress,
        range: Range<u64>,
    ) -> Result<Vec<u8>, MailError> {
        self.read_body(login.tenant, body, range)
    }

    /// The same for whoever acts for a tenant rather than for an account.
    pub(super) fn read_body(
        &self,
        tenant: TenantId,
        body: &BodyAddress,
        range: Range<u64>,
    ) -> Result<Vec<u8>, MailError> {
        Ok(self.store.read_body(tenant, body, range)?)
    }
}
