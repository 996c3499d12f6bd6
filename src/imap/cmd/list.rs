//! LIST and LSUB.

use super::super::answer::{Done, Failure};
use super::super::session::Session;
use super::status;
use understudy_proto::imap::list::{Known, List};
use understudy_proto::imap::response;

/// RFC 9051 6.3.9, RFC 3501 6.3.9, RFC 5258, RFC 5819, RFC 6154.
pub(super) async fn run(s: &mut Session, list: &List) -> Result<Done, Failure> {
    if list.asks_delimiter() {
        let kind = if list.lsub { "LSUB" } else { "LIST" };
        response::untagged(&mut s.wire.out, &format!("{kind} (\\Noselect) \"/\" \"\""));
        return Ok(Done::ok("That is all"));
    }
    let all = s.service.mail.mailboxes(s.login()?)?;
    let known: Vec<Known<'_>> = all
        .iter()
        .map(|m| Known { name: &m.name, role: m.role, subscribed: m.subscribed })
        .collect();
    for row in list.rows(&known) {
        response::list_row(&mut s.wire.out, list, &row);
        if !list.return_status.is_empty()
            && row.exists
            && let Some(mailbox) = all.iter().find(|m| m.name == row.name)
        {
            status::row(s, mailbox, &list.return_status).await?;
        }
        s.wire.relieve().await?;
    }
    Ok(Done::ok("That is all"))
}
