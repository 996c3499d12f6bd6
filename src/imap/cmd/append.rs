//! APPEND: the message is streamed into the log as it comes.

use super::super::answer::{Done, End, Failure};
use super::super::session::Session;
use crate::mail::{Ingest, MailError};
use understudy_proto::id::TenantId;
use understudy_proto::imap::command::Append;
use understudy_proto::imap::input::Event;
use understudy_proto::imap::response::{self, Code};
use understudy_proto::mailbox::{Mailbox, MailboxRefusal};

/// RFC 9051 6.3.12, RFC 4315 3.
pub(in super::super) async fn run(
    s: &mut Session,
    append: Append,
    size: u32,
) -> Result<Done, Failure> {
    log::debug!(session = s.id, size; "a message is appended");
    let (mailbox, ingest) = match begin(s, &append, size).await {
        Ok(begun) => begun,
        Err(why) => {
            s.input.refuse_append();
            return Err(why);
        }
    };
    if s.input.accept_append() {
        response::go_on(&mut s.wire.out, "go on");
    }
    let ingest = match receive(s, ingest).await? {
        Received::Whole(ingest) => ingest,
        Received::Failed(why) => return Err(why.into()),
        Received::Aborted(why) => return Ok(Done::bad(why)),
    };
    let login = s.login()?;
    let mail = &s.service.mail;
    let staged = ingest.finish();
    let uid = mail.append(&s.lease, login, mailbox.id, staged, append.flags, append.date).await?;
    Ok(Done::ok_with(Code::AppendUid(mailbox.uid_validity, uid), "Appended"))
}

async fn begin(s: &mut Session, append: &Append, size: u32) -> Result<(Mailbox, Ingest), Failure> {
    let mailbox = s.mailbox(&append.mailbox)?;
    let login = s.login()?;
    let tenant: TenantId = login.tenant;
    // Before the message is sent for nothing; the rule looks again.
    if !s.service.mail.quota_of(tenant, login.account)?.has_room_for(size.into()) {
        return Err(MailError::Refused(MailboxRefusal::OverQuota).into());
    }
    Ok((mailbox, s.service.mail.begin(&s.lease, &[tenant]).await?))
}

enum Received {
    Whole(Box<Ingest>),
    /// Storing failed; the rest of the message has been passed over.
    Failed(MailError),
    /// The client did not end the command.
    Aborted(&'static str),
}

async fn receive(s: &mut Session, ingest: Ingest) -> Result<Received, End> {
    let mut ingest = Ok(ingest);
    loop {
        match s.next_event().await? {
            Event::AppendChunk(bytes) => {
                if let Ok(to) = &mut ingest
                    && let Err(why) = to.write(&bytes).await
                {
                    // The upload ends here; the client's bytes must still be taken.
                    ingest = Err(why);
                }
            }
            Event::AppendEnd => {
                return Ok(match ingest {
                    Ok(whole) => Received::Whole(Box::new(whole)),
                    Err(why) => Received::Failed(why),
                });
            }
            Event::AppendAborted(why) => return Ok(Received::Aborted(why)),
            Event::Close(why) => return Err(End::Bye(why)),
            _ => return Err(End::Bye("Out of step")),
        }
    }
}
