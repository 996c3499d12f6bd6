//! IDLE.

use super::super::answer::{Done, End, Failure};
use super::super::session::{MOVING, SIGNED_OUT, Session};
use crate::base::clock;
use tokio::time::sleep;
use understudy_proto::imap::input::Event;
use understudy_proto::imap::response::{self, Status};

/// What happens to an idling session.
enum Wake {
    /// The client sent something.
    Input,
    /// The account changed.
    Change,
    /// Nothing for a while.
    Silence,
}

/// RFC 2177. Ends with DONE, or with the autologout: clients renew before 29 minutes are over.
pub(super) async fn run(s: &mut Session) -> Result<Done, Failure> {
    let mut changes = s.service.mail.watch(s.login()?);
    let until = clock::mono().after(s.service.config.idle_timeout);
    response::go_on(&mut s.wire.out, "idling");
    s.input.expect_line();
    loop {
        match s.input.poll_output() {
            Some(Event::Line(line)) if line.eq_ignore_ascii_case(b"DONE") => {
                return Ok(Done::ok("Idled"));
            }
            Some(Event::Line(_)) => return Ok(Done::bad("IDLE ends with DONE")),
            Some(Event::Close(why)) => return Err(End::Bye(why).into()),
            Some(_) => return Err(End::Bye("Out of step").into()),
            None => {}
        }
        changes.mark_unchanged();
        s.sync()?;
        s.tell(true).await?;
        s.wire.flush().await?;
        let left = until.since(clock::mono());
        if left.is_zero() {
            return Err(End::Bye("Autologout; idle for too long").into());
        }
        let pause = s.service.config.keepalive.min(left);
        let wake = tokio::select! {
            () = s.notice.given() => return Err(MOVING.into()),
            read = s.wire.read() => {
                let Some(bytes) = read? else { return Err(SIGNED_OUT.into()) };
                if bytes.is_empty() {
                    return Err(End::Gone.into());
                }
                s.input.handle_input(bytes);
                Wake::Input
            }
            changed = changes.changed() => match changed {
                Ok(()) => Wake::Change,
                Err(_closed) => return Err(End::Bye("The server is stopping").into()),
            },
            () = sleep(pause) => Wake::Silence,
        };
        if matches!(wake, Wake::Silence) {
            // Tells gateways on the way, and the client, that the connection lives.
            response::status(&mut s.wire.out, "*", Status::Ok, None, "Still here");
        }
    }
}
