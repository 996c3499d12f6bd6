//! One session: reads events, runs each command to its answer, tells the news.

use super::answer::{Done, End, Failure, refused};
use super::wire::{PIECE_LEN, Wire};
use super::{Inner, LOGIN_TIMEOUT, NONSENSE_MAX, NONSENSE_MAX_BEFORE_LOGIN, cmd};
use crate::base::{clock, metric};
use crate::directory::{Login, Standing};
use crate::mail::MailError;
use crate::net::{Notice, Session as Connection};
use crate::store::PrimaryLease;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::time::timeout;
use understudy_proto::imap::command::{Command, ParseError};
use understudy_proto::imap::input::{Event, Input, Refusal};
use understudy_proto::imap::response::{self, Code, Status};
use understudy_proto::imap::session::{Misfit, State, View, may_expunge};
use understudy_proto::mailbox::{Mailbox, MailboxRefusal};
use understudy_proto::time::Mono;

/// RFC 9051 7.1.5. Of a command that is not answered yet it says nothing.
pub(super) const MOVING: End = End::Bye("The server is moving; connect again");

/// What the client signed in with is not valid any more.
pub(super) const SIGNED_OUT: End = End::Bye("The sign-in is no longer valid; sign in again");

/// Everything that a command works on.
pub(super) struct Session {
    pub(super) service: Arc<Inner>,
    pub(super) lease: PrimaryLease,
    pub(super) notice: Notice,
    pub(super) wire: Wire,
    pub(super) input: Input,
    pub(super) who: Option<Login>,
    pub(super) view: Option<View>,
    pub(super) login_failures: u32,
    pub(super) peer: SocketAddr,
    /// Names the session in the log.
    pub(super) id: u64,
    /// When the log-in must be done.
    deadline: Mono,
    nonsense: u32,
}

/// Serves one connection to its end.
pub(super) async fn run(
    service: Arc<Inner>,
    connection: Connection<PrimaryLease>,
    implicit_tls: bool,
) {
    static LAST_ID: AtomicU64 = AtomicU64::new(0);
    let id = LAST_ID.fetch_add(1, Ordering::Relaxed) + 1;
    let append_limit = service.append_limit;
    let mut session = Session {
        service,
        lease: connection.pass,
        notice: connection.notice,
        wire: Wire::new(connection.stream),
        input: Input::new(append_limit),
        who: None,
        view: None,
        login_failures: 0,
        peer: connection.peer,
        id,
        deadline: clock::mono().after(LOGIN_TIMEOUT),
        nonsense: 0,
    };
    let end = session.serve(implicit_tls).await;
    match &end {
        End::Bye(text) => response::status(&mut session.wire.out, "*", Status::Bye, None, text),
        End::Broken(why) => log::warn!(session = id, err:% = why; "an IMAP response broke off"),
        End::LoggedOut | End::Gone | End::Io(_) => {}
    }
    log::debug!(session = id, peer:% = session.peer, reason:% = end; "IMAP session ended");
    if !matches!(end, End::Broken(_) | End::Io(_)) {
        session.wire.close().await;
    }
}

impl Session {
    async fn serve(&mut self, implicit_tls: bool) -> End {
        if implicit_tls && let Err(e) = self.wire.upgrade(&self.service.tls).await {
            return End::Io(e);
        }
        let code = Code::Capability(self.capability());
        response::status(&mut self.wire.out, "*", Status::Ok, Some(&code), "Understudy");
        loop {
            let event = match self.next_event().await {
                Ok(event) => event,
                Err(end) => return end,
            };
            if let Err(end) = self.handle(event).await {
                return end;
            }
        }
    }

    /// What the client may use now.
    pub(super) fn capability(&self) -> String {
        let limit = self.service.append_limit;
        response::capability(self.wire.is_tls(), self.who.is_some(), limit)
    }

    /// The next event, after everything buffered is sent. Here, between two responses, is where a
    /// session can be told that it ends.
    pub(super) async fn next_event(&mut self) -> Result<Event, End> {
        loop {
            self.may_stay()?;
            if let Some(event) = self.input.poll_output() {
                return Ok(event);
            }
            self.wire.flush().await?;
            // RFC 9051 5.4: the autologout timer is for who is logged in; before the log-in one
            // deadline holds for all of it.
            let patience = if self.who.is_some() {
                self.service.config.idle_timeout
            } else {
                self.deadline.since(clock::mono())
            };
            let read = tokio::select! {
                biased;
                () = self.notice.given() => return Err(MOVING),
                read = timeout(patience, self.wire.read()) => read,
            };
            match read {
                Ok(Ok(None)) => return Err(SIGNED_OUT),
                Ok(Ok(Some([]))) => return Err(End::Gone),
                Ok(Ok(Some(bytes))) => self.input.handle_input(bytes),
                Ok(Err(e)) => return Err(End::Io(e)),
                Err(_elapsed) => return Err(End::Bye("Autologout; idle for too long")),
            }
        }
    }

    /// Whether the session may go on. Asked between two responses only: then its end can be told.
    pub(super) fn may_stay(&mut self) -> Result<(), End> {
        if self.notice.is_given() {
            return Err(MOVING);
        }
        if self.wire.standing.is_lost() {
            return Err(SIGNED_OUT);
        }
        Ok(())
    }

    async fn handle(&mut self, event: Event) -> Result<(), End> {
        match event {
            Event::Command { tag, command } => {
                self.nonsense = 0;
                metric::IMAP_COMMANDS.inc();
                self.command(&tag, command).await
            }
            Event::AppendStart { tag, append, size } => {
                metric::IMAP_COMMANDS.inc();
                let ended = cmd::append::run(self, append, size).await;
                self.finish(&tag, ended, "TRYCREATE", true).await
            }
            Event::Continue => {
                response::go_on(&mut self.wire.out, "go on");
                Ok(())
            }
            Event::Refused { tag, why } => self.refuse(tag.as_deref().unwrap_or("*"), why),
            Event::Close(why) => Err(End::Bye(why)),
            // These follow only on what the handlers above ask for.
            Event::Line(_) | Event::AppendChunk(_) | Event::AppendEnd | Event::AppendAborted(_) => {
                Err(End::Bye("Out of step"))
            }
        }
    }

    fn refuse(&mut self, tag: &str, why: Refusal) -> Result<(), End> {
        let (status, code) = match why {
            Refusal::Parse(ParseError::Bad(_)) => (Status::Bad, None),
            Refusal::Parse(ParseError::BadCharset) => (Status::No, Some(Code::BadCharset)),
            Refusal::TooBig => (Status::No, Some(Code::Plain("TOOBIG"))),
        };
        response::status(&mut self.wire.out, tag, status, code.as_ref(), &why.to_string());
        self.nonsense += 1;
        let max = if self.who.is_some() { NONSENSE_MAX } else { NONSENSE_MAX_BEFORE_LOGIN };
        if self.nonsense >= max { Err(End::Bye("Too many commands that are none")) } else { Ok(()) }
    }

    async fn command(&mut self, tag: &str, command: Command) -> Result<(), End> {
        if let Err(misfit) = self.state().admits(&command, self.wire.is_tls()) {
            let (status, code) = match misfit {
                Misfit::Bad(_) => (Status::Bad, None),
                Misfit::NeedsTls => (Status::No, Some(Code::Plain("PRIVACYREQUIRED"))),
                Misfit::ReadOnly => (Status::No, Some(Code::Plain("READ-ONLY"))),
            };
            let out = &mut self.wire.out;
            response::status(out, tag, status, code.as_ref(), &misfit.to_string());
            return Ok(());
        }
        match command {
            Command::StartTls => return cmd::auth::start_tls(self, tag).await,
            Command::Logout => {
                response::status(&mut self.wire.out, "*", Status::Bye, None, "Goodbye");
                response::status(&mut self.wire.out, tag, Status::Ok, None, "Logged out");
                return Err(End::LoggedOut);
            }
            _ => {}
        }
        let expunge = may_expunge(&command);
        let missing = match &command {
            Command::Copy { .. } | Command::Move { .. } => "TRYCREATE",
            _ => "NONEXISTENT",
        };
        // What others did before this command began is known to it.
        let ended = match self.sync() {
            Ok(()) => cmd::run(self, tag, command).await,
            Err(failure) => Err(failure),
        };
        self.finish(tag, ended, missing, expunge).await
    }

    /// Tells the news, then the command's end.
    async fn finish(
        &mut self,
        tag: &str,
        ended: Result<Done, Failure>,
        missing: &'static str,
        expunge: bool,
    ) -> Result<(), End> {
        let done = match ended {
            Ok(done) => done,
            Err(Failure::End(end)) => return Err(end),
            // NO would say that it was not done. Closing says what is true: nothing.
            Err(Failure::Mail(why @ MailError::Unknown(_))) => return Err(End::Broken(why)),
            Err(Failure::Mail(why)) => refused(&why, missing),
            Err(Failure::Directory(why)) => {
                log::warn!(session = self.id, err:% = why; "a sign-in could not be checked");
                Done::no("UNAVAILABLE", "This cannot be done right now; try again in a moment")
            }
        };
        match self.sync() {
            Ok(()) => self.tell(expunge).await?,
            Err(Failure::End(end)) => return Err(end),
            // The command is done whatever the news: they come with the next one.
            Err(why) => log::warn!(session = self.id, err:% = why; "news could not be read"),
        }
        let out = &mut self.wire.out;
        response::status(out, tag, done.status, done.code.as_ref(), &done.text);
        self.wire.relieve().await?;
        Ok(())
    }

    fn state(&self) -> State {
        match (&self.who, &self.view) {
            (None, _) => State::NotAuthenticated,
            (Some(_), None) => State::Authenticated,
            (Some(_), Some(view)) => State::Selected { read_only: view.read_only },
        }
    }

    /// Who is logged in. Commands that need it run only when somebody is.
    pub(super) fn login(&self) -> Result<&Login, End> {
        self.who.as_ref().ok_or(End::Bye("Not logged in"))
    }

    /// The selected mailbox. Commands that need it run only when there is one.
    pub(super) fn selected(&mut self) -> Result<&mut View, End> {
        self.view.as_mut().ok_or(End::Bye("No mailbox is selected"))
    }

    /// Finds a mailbox by name.
    pub(super) fn mailbox(&self, name: &str) -> Result<Mailbox, Failure> {
        let all = self.service.mail.mailboxes(self.login()?)?;
        all.into_iter()
            .find(|m| m.name == name)
            .ok_or(Failure::Mail(MailError::Refused(MailboxRefusal::NoSuchMailbox)))
    }

    /// Takes what changed in the selected mailbox into the view. Nothing is told yet.
    pub(super) fn sync(&mut self) -> Result<(), Failure> {
        let (Some(view), Some(who)) = (&mut self.view, &self.who) else { return Ok(()) };
        match self.service.mail.changes(who, view.mailbox, view.modseq) {
            Ok(changes) => {
                view.apply(changes.changed, &changes.expunged, changes.mailbox.modseq);
                Ok(())
            }
            // RFC 9051 7.1.5 leaves no other way to say that the open mailbox is no more.
            Err(MailError::Refused(MailboxRefusal::NoSuchMailbox)) => {
                Err(End::Bye("The selected mailbox was deleted").into())
            }
            Err(why) => Err(why.into()),
        }
    }

    /// Tells the client what the view knows and the client does not.
    pub(super) async fn tell(&mut self, expunge: bool) -> Result<(), End> {
        let Some(view) = &mut self.view else { return Ok(()) };
        let mut news = view.news(expunge);
        while !news.write(view, &mut self.wire.out, PIECE_LEN) {
            self.wire.flush().await?;
        }
        Ok(())
    }

    /// Somebody logged in.
    pub(super) fn log_in(&mut self, login: Login, standing: Standing) {
        log::info!(
            session = self.id,
            tenant = login.tenant.0,
            account = login.account.0,
            peer:% = self.peer;
            "signed in to IMAP"
        );
        metric::LOGINS.inc();
        self.who = Some(login);
        self.wire.standing.begin(standing);
        self.input.log_in();
    }
}
