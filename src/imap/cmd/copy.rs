//! COPY and MOVE.

use super::super::answer::{Done, Failure};
use super::super::session::Session;
use super::expunged_some;
use understudy_proto::imap::response::{self, Code, Status};
use understudy_proto::imap::sequence::Target;

/// RFC 9051 6.4.7 and 6.4.8, RFC 4315 3. The EXPUNGE responses of a MOVE are told as news.
pub(super) async fn run(
    s: &mut Session,
    target: &Target,
    name: &str,
    remove: bool,
) -> Result<Done, Failure> {
    let view = s.selected()?;
    let from = view.mailbox;
    let (uids, any_gone) = view.uids(&view.positions(target));
    let to = s.mailbox(name)?;
    let (mail, login) = (&s.service.mail, s.login()?);
    let pairs = if uids.is_empty() {
        Vec::new()
    } else if remove {
        mail.mv(&s.lease, login, from, &uids, to.id).await?
    } else {
        mail.copy(&s.lease, login, from, &uids, to.id).await?
    };
    let what = if remove { "Moved" } else { "Copied" };
    if !pairs.is_empty() {
        // RFC 6851 4.3: untagged, ahead of the EXPUNGE responses. For COPY it may stand there, too,
        // but clients look for it in the tagged answer.
        let code = Code::CopyUid(to.uid_validity, pairs);
        if !remove {
            return Ok(Done::ok_with(code, what));
        }
        response::status(&mut s.wire.out, "*", Status::Ok, Some(&code), what);
    }
    Ok(if any_gone && !target.is_uid() {
        expunged_some("Some of the messages are gone")
    } else {
        Done::ok(what)
    })
}
