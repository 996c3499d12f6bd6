//! EXPUNGE, UID EXPUNGE, CLOSE.

use super::super::answer::{Done, Failure};
use super::super::session::Session;
use understudy_proto::imap::sequence::SequenceSet;

/// RFC 9051 6.4.3 and 6.4.9. The EXPUNGE responses are told as news.
pub(super) async fn run(s: &mut Session, only: Option<&SequenceSet>) -> Result<Done, Failure> {
    let view = s.selected()?;
    let mailbox = view.mailbox;
    let only = only.map(|set| view.uids_in(&set.resolve(view.last_uid().0)));
    s.service.mail.expunge(&s.lease, s.login()?, mailbox, only.as_deref()).await?;
    Ok(Done::ok("Expunged"))
}

/// RFC 9051 6.4.1: no EXPUNGE responses.
pub(super) async fn close(s: &mut Session) -> Result<Done, Failure> {
    let view = s.selected()?;
    let (mailbox, read_only) = (view.mailbox, view.read_only);
    if !read_only {
        s.service.mail.expunge(&s.lease, s.login()?, mailbox, None).await?;
    }
    s.view = None;
    Ok(Done::ok("Closed"))
}
