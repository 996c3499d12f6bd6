//! GETQUOTA, GETQUOTAROOT (RFC 9208): one root, the account, with STORAGE in units of 1024 octets.
//!
//! An account without a limit has no root. Deliberately absent: SETQUOTA; limits are the operator's.

use super::super::answer::{Done, Failure};
use super::super::session::Session;
use understudy_proto::imap::response;
use understudy_proto::mailbox::Quota;

/// The one root: RFC 9208 3.2 leaves its name to us.
const ROOT: &str = "";

/// RFC 9208 4.1.1.
pub(super) fn get(s: &mut Session, root: &str) -> Result<Done, Failure> {
    let quota = quota(s)?;
    if root != ROOT || quota.limit.is_none() {
        return Ok(Done::no("NONEXISTENT", "There is no such quota root"));
    }
    row(s, quota);
    Ok(Done::ok("That is all"))
}

/// RFC 9208 4.1.2.
pub(super) fn get_root(s: &mut Session, mailbox: &str) -> Result<Done, Failure> {
    let mailbox = s.mailbox(mailbox)?;
    let quota = quota(s)?;
    let root = quota.limit.map(|_| ROOT);
    response::quota_root(&mut s.wire.out, &mailbox.name, root);
    row(s, quota);
    Ok(Done::ok("That is all"))
}

fn quota(s: &Session) -> Result<Quota, Failure> {
    let login = s.login()?;
    Ok(s.service.mail.quota_of(login.tenant, login.account)?)
}

fn row(s: &mut Session, quota: Quota) {
    if let Some(limit) = quota.limit {
        response::quota(&mut s.wire.out, ROOT, quota.used.div_ceil(1024), limit.div_ceil(1024));
    }
}
