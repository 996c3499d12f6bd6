//! STORE.

use super::super::answer::{Done, Failure};
use super::super::session::Session;
use super::expunged_some;
use understudy_proto::imap::command::Store;
use understudy_proto::mailbox::UIDS_PER_CHANGE_MAX;

/// RFC 9051 6.4.6. The FETCH responses are told as news, after each change of bounded size.
pub(super) async fn run(s: &mut Session, store: Store) -> Result<Done, Failure> {
    let view = s.selected()?;
    let mailbox = view.mailbox;
    let (uids, any_gone) = view.uids(&view.positions(&store.target));
    for uids in uids.chunks(UIDS_PER_CHANGE_MAX) {
        let (op, flags) = (store.op, store.flags.clone());
        let mail = &s.service.mail;
        let entries = mail.flags(&s.lease, s.login()?, mailbox, uids, op, flags).await?;
        let view = s.selected()?;
        for entry in entries {
            let expected =
                view.flags(entry.uid).filter(|_| store.silent).map(|old| op.on(old, &store.flags));
            view.stored(entry, expected.as_ref());
        }
        s.tell(false).await?;
    }
    Ok(if any_gone && !store.target.is_uid() {
        expunged_some("Some of the messages are gone")
    } else {
        Done::ok("Stored")
    })
}
