//! SELECT, EXAMINE, UNSELECT.

use super::super::answer::{Done, Failure};
use super::super::session::Session;
use super::blocking;
use understudy_proto::imap::response::{self, Code, Status};
use understudy_proto::imap::session::View;

/// RFC 9051 6.3.2 and 6.3.3.
pub(super) async fn run(s: &mut Session, name: &str, read_only: bool) -> Result<Done, Failure> {
    // RFC 9051 6.3.2: whatever becomes of this one, the old mailbox is closed.
    if s.view.take().is_some() {
        response::status(&mut s.wire.out, "*", Status::Ok, Some(&Code::Plain("CLOSED")), "Closed");
    }
    let id = s.mailbox(name)?.id;
    let (mail, login) = (s.service.mail.clone(), s.login()?.clone());
    let (mailbox, entries) = blocking(move || mail.entries(&login, id)).await?;
    let view = View::new(id, mailbox.uid_validity, read_only, mailbox.modseq, entries);
    let out = &mut s.wire.out;
    response::flags_known(out, view.keywords());
    response::untagged(out, &format!("{} EXISTS", view.exists()));
    response::untagged(out, "0 RECENT");
    let mut tell = |code: &Code<'_>, text: &str| {
        response::status(out, "*", Status::Ok, Some(code), text);
    };
    if let Some(seq) = view.first_unseen() {
        tell(&Code::Unseen(seq), "First unseen");
    }
    if read_only {
        tell(&Code::Plain("PERMANENTFLAGS ()"), "Nothing can be changed");
    } else {
        tell(&Code::PermanentFlags(view.keywords(), true), "Flags can be changed");
    }
    tell(&Code::UidValidity(mailbox.uid_validity), "UIDs are valid");
    tell(&Code::UidNext(mailbox.uid_next), "Next UID");
    s.view = Some(view);
    Ok(if read_only {
        Done::ok_with(Code::Plain("READ-ONLY"), "Opened for reading")
    } else {
        Done::ok_with(Code::Plain("READ-WRITE"), "Opened")
    })
}

/// RFC 3691: leaves the mailbox without expunging.
pub(super) fn leave(s: &mut Session) -> Done {
    s.view = None;
    Done::ok("Left")
}
