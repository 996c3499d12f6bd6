//! STARTTLS, LOGIN, AUTHENTICATE, ID.

use super::super::answer::{Done, End, Failure};
use super::super::session::Session;
use super::super::{LOGIN_FAILURE_DELAY, LOGIN_FAILURES_MAX};
use crate::base::metric;
use crate::base::secret::Secret;
use crate::base::source::Source;
use crate::directory::DirectoryError;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use understudy_proto::imap::input::{Event, Input};
use understudy_proto::imap::response::{self, Code, Status};

/// RFC 9051 6.2.1.
pub(in super::super) async fn start_tls(s: &mut Session, tag: &str) -> Result<(), End> {
    // Whatever came with the command was sent in the clear, perhaps by somebody else.
    if s.input.has_more() {
        return Err(End::Bye("Nothing may follow STARTTLS before TLS"));
    }
    response::status(&mut s.wire.out, tag, Status::Ok, None, "Begin TLS now");
    s.wire.flush().await?;
    s.wire.upgrade(&s.service.tls).await?;
    s.input = Input::new(s.service.append_limit);
    Ok(())
}

/// RFC 2971.
pub(super) fn id(s: &mut Session, pairs: &[(String, Option<String>)]) -> Done {
    let find = |field: &str| {
        let pair = pairs.iter().find(|(f, _)| f.eq_ignore_ascii_case(field));
        pair.and_then(|(_, v)| v.as_deref()).unwrap_or("")
    };
    let (name, version) = (find("name"), find("version"));
    log::debug!(session = s.id, client = name, version; "a client names itself");
    let out = &mut s.wire.out;
    out.extend_from_slice(b"* ID (\"name\" \"Understudy\" \"version\" ");
    response::string(out, env!("CARGO_PKG_VERSION").as_bytes());
    out.extend_from_slice(b")\r\n");
    Done::ok("Pleased to meet you")
}

/// RFC 9051 6.2.3.
pub(super) async fn login(s: &mut Session, name: String, password: &[u8]) -> Result<Done, Failure> {
    match std::str::from_utf8(password) {
        Ok(password) => check(s, &name, Secret::new(password.to_owned())).await,
        Err(_) => wrong(s).await,
    }
}

/// RFC 9051 6.2.2, RFC 4959, RFC 4616.
pub(super) async fn authenticate(
    s: &mut Session,
    mechanism: &str,
    initial: Option<Vec<u8>>,
) -> Result<Done, Failure> {
    if mechanism != "PLAIN" {
        return Ok(Done::no("CANNOT", "AUTHENTICATE knows PLAIN only"));
    }
    let response = if let Some(initial) = initial {
        initial
    } else {
        response::go_on(&mut s.wire.out, "");
        s.input.expect_line();
        match s.next_event().await? {
            Event::Line(line) => line,
            Event::Close(why) => return Err(End::Bye(why).into()),
            _ => return Err(End::Bye("Out of step").into()),
        }
    };
    if response == b"*" {
        return Ok(Done::bad("AUTHENTICATE cancelled"));
    }
    let Some((name, password)) = plain(&response) else {
        return Ok(Done::bad("that is no PLAIN response"));
    };
    check(s, &name, password).await
}

/// Reads `[authzid] NUL authcid NUL passwd`. Acting for another is not supported.
fn plain(base64: &[u8]) -> Option<(String, Secret<String>)> {
    let decoded = Secret::new(STANDARD.decode(base64).ok()?);
    let mut fields = decoded.expose().split(|&b| b == 0);
    let (authzid, name, password) = (fields.next()?, fields.next()?, fields.next()?);
    if fields.next().is_some() || (!authzid.is_empty() && authzid != name) {
        return None;
    }
    let text = |bytes: &[u8]| std::str::from_utf8(bytes).ok().map(str::to_owned);
    Some((text(name)?, Secret::new(text(password)?)))
}

async fn check(s: &mut Session, name: &str, password: Secret<String>) -> Result<Done, Failure> {
    let source = Source::of(s.peer.ip());
    let checked = s.service.directory.authenticate(name, &password, source).await;
    // RFC 5530 3: UNAVAILABLE where all are busy, LIMIT where it is the client's own doing. Late, so
    // that asking again at once is no better.
    let busy = match checked {
        Err(DirectoryError::SourceBusy) => "LIMIT",
        Err(DirectoryError::Busy) => "UNAVAILABLE",
        _ => "",
    };
    if !busy.is_empty() {
        tokio::time::sleep(LOGIN_FAILURE_DELAY).await;
        return Ok(Done::no(busy, "Too many sign-ins are being checked; try again in a moment"));
    }
    match checked? {
        Some((login, standing)) => {
            s.log_in(login, standing);
            Ok(Done::ok_with(Code::Capability(s.capability()), "Welcome"))
        }
        None => wrong(s).await,
    }
}

async fn wrong(s: &mut Session) -> Result<Done, Failure> {
    metric::LOGINS_FAILED.inc();
    s.login_failures += 1;
    log::info!(session = s.id, peer:% = s.peer, reason = "wrong name or password"; "IMAP sign-in failed");
    tokio::time::sleep(LOGIN_FAILURE_DELAY * s.login_failures).await;
    if s.login_failures >= LOGIN_FAILURES_MAX {
        return Err(End::Bye("Too many wrong passwords").into());
    }
    Ok(Done::no("AUTHENTICATIONFAILED", "Name or password is wrong"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_responses_are_read() {
        let read = |text: &[u8]| {
            plain(STANDARD.encode(text).as_bytes()).map(|(n, p)| (n, p.expose().clone()))
        };
        let ok = Some(("a@b".to_owned(), "pw".to_owned()));
        assert_eq!(read(b"\0a@b\0pw"), ok);
        assert_eq!(read(b"a@b\0a@b\0pw"), ok);
        for bad in [&b"other\0a@b\0pw"[..], b"a@b\0pw", b"", b"\0a\0b\0c", b"\0a\xff\0b"] {
            assert_eq!(read(bad), None);
        }
        assert!(plain(b"no base64!").is_none());
    }
}
