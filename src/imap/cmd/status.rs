//! STATUS.

use super::super::answer::{Done, Failure};
use super::super::session::Session;
use super::blocking;
use understudy_proto::imap::command::StatusItem;
use understudy_proto::imap::response;
use understudy_proto::mailbox::{Flags, Mailbox};

/// RFC 9051 6.3.11.
pub(super) async fn run(
    s: &mut Session,
    name: &str,
    items: &[StatusItem],
) -> Result<Done, Failure> {
    let mailbox = s.mailbox(name)?;
    row(s, &mailbox, items).await?;
    Ok(Done::ok("That is all"))
}

/// Writes one STATUS response.
pub(super) async fn row(
    s: &mut Session,
    mailbox: &Mailbox,
    items: &[StatusItem],
) -> Result<(), Failure> {
    let (mut size, mut deleted) = (0, 0);
    if items.contains(&StatusItem::Size) || items.contains(&StatusItem::DeletedStorage) {
        let (mail, login, id) = (s.service.mail.clone(), s.login()?.clone(), mailbox.id);
        let (_, entries) = blocking(move || mail.entries(&login, id)).await?;
        size = entries.iter().map(|e| e.size).sum();
        let marked = entries.iter().filter(|e| e.flags.has(Flags::DELETED));
        deleted = marked.map(|e| e.size).sum::<u64>();
    }
    let values: Vec<(StatusItem, u64)> = items
        .iter()
        .map(|&item| {
            let value = match item {
                StatusItem::Messages => u64::from(mailbox.exists),
                StatusItem::Recent => 0,
                StatusItem::UidNext => u64::from(mailbox.uid_next.0),
                StatusItem::UidValidity => u64::from(mailbox.uid_validity),
                StatusItem::Unseen => u64::from(mailbox.unseen),
                StatusItem::Deleted => u64::from(mailbox.deleted),
                StatusItem::Size => size,
                StatusItem::DeletedStorage => deleted.div_ceil(1024),
                StatusItem::AppendLimit => s.service.append_limit,
            };
            (item, value)
        })
        .collect();
    response::status_row(&mut s.wire.out, &mailbox.name, &values);
    Ok(())
}
