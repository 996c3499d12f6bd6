//! CREATE, DELETE, RENAME, SUBSCRIBE, UNSUBSCRIBE.

use super::super::answer::{Done, Failure};
use super::super::session::Session;
use crate::mail::MailError;
use understudy_proto::imap::name::DELIMITER;
use understudy_proto::imap::response::{self, Code, Status};
use understudy_proto::mailbox::{MailboxRefusal, Role};

/// RFC 9051 6.3.4, RFC 6154 3.
pub(super) async fn create(
    s: &mut Session,
    name: &str,
    role: Option<Role>,
) -> Result<Done, Failure> {
    // RFC 9051 6.3.4: a delimiter at the end says that names below it will follow; it is no part
    // of the name.
    let name = name.strip_suffix(DELIMITER).unwrap_or(name);
    s.service.mail.create(&s.lease, s.login()?, name, role).await?;
    Ok(Done::ok("Created"))
}

/// RFC 9051 6.3.5.
pub(super) async fn delete(s: &mut Session, name: &str) -> Result<Done, Failure> {
    let mailbox = s.mailbox(name)?.id;
    s.service.mail.delete(&s.lease, s.login()?, mailbox).await?;
    if s.view.as_ref().is_some_and(|v| v.mailbox == mailbox) {
        s.view = None;
        response::status(&mut s.wire.out, "*", Status::Ok, Some(&Code::Plain("CLOSED")), "Closed");
    }
    Ok(Done::ok("Deleted"))
}

/// RFC 9051 6.3.6.
pub(super) async fn rename(s: &mut Session, from: &str, to: &str) -> Result<Done, Failure> {
    let mailbox = s.mailbox(from)?.id;
    let to = to.strip_suffix(DELIMITER).unwrap_or(to);
    s.service.mail.rename(&s.lease, s.login()?, mailbox, to).await?;
    Ok(Done::ok("Renamed"))
}

/// RFC 9051 6.3.7 and 6.3.8.
pub(super) async fn subscribe(
    s: &mut Session,
    name: &str,
    subscribed: bool,
) -> Result<Done, Failure> {
    let mailbox = match s.mailbox(name) {
        Ok(mailbox) => mailbox.id,
        // There is nothing to unsubscribe from: the client has what it wants.
        Err(Failure::Mail(MailError::Refused(MailboxRefusal::NoSuchMailbox))) if !subscribed => {
            return Ok(Done::ok("Not subscribed"));
        }
        Err(why) => return Err(why),
    };
    s.service.mail.subscribe(&s.lease, s.login()?, mailbox, subscribed).await?;
    Ok(Done::ok(if subscribed { "Subscribed" } else { "Unsubscribed" }))
}
