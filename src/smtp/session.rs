//! One connection: drives the protocol machine over a stream.

use super::message::Message;
use super::{Port, Smtp};
use crate::base::secret::{self, Secret};
use crate::base::source::Source;
use crate::base::{clock, metric};
use crate::directory::{DirectoryError, Login, Resolved, Standing};
use crate::net::{self, Notice, Stream};
use crate::store::PrimaryLease;
use log::{debug, info, warn};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use understudy_proto::smtp::{Answer, Event, Options, Output, Question, Session, Tls};

/// Octets read at once.
const READ_MAX: usize = 16_384;
/// Longest wait for a client to take a reply.
const WRITE_TIMEOUT: Duration = Duration::from_mins(1);
/// Pause before a wrong password is answered: guessing is slow, mistyping is not.
const AUTH_PAUSE: Duration = Duration::from_secs(1);
/// How long what a client still sends is read before the connection is closed, so that the last
/// reply is not lost in a reset.
const LINGER: Duration = Duration::from_secs(2);

/// One session and what it knows besides the protocol.
struct Driver {
    smtp: Smtp,
    port: Port,
    lease: PrimaryLease,
    /// `None` once the client knows that the session ends: nobody waits for what follows.
    notice: Option<Notice>,
    peer: SocketAddr,
    id: String,
    /// `None` only while a handshake runs.
    stream: Option<Stream>,
    machine: Session,
    login: Option<Login>,
    /// What the login rests on.
    standing: Option<Standing>,
    message: Option<Message>,
    closed: bool,
}

impl Smtp {
    /// Serves one connection to its end. Dropping it closes the connection; a message that was not
    /// acknowledged is then open, as RFC 5321 has it.
    pub async fn session(self, port: Port, connection: net::Session<PrimaryLease>) {
        let net::Session { mut stream, peer, pass: lease, notice, .. } = connection;
        let mut options = Options::new(port.service(), &self.0.hostname, true);
        options.limits = self.session_limits();
        if port == Port::Submissions {
            match stream.upgrade(&self.0.tls).await {
                Ok(tls) => stream = tls,
                Err(e) => return debug!(peer:% = peer, err:% = e; "handshake failed"),
            }
            options.tls = facts(&stream);
        }
        let id: String = secret::random::<4>().iter().map(|b| format!("{b:02x}")).collect();
        let mut driver = Driver {
            smtp: self,
            port,
            lease,
            notice: Some(notice),
            peer,
            id,
            stream: Some(stream),
            machine: Session::new(options, clock::mono()),
            login: None,
            standing: None,
            message: None,
            closed: false,
        };
        debug!(session:% = driver.id, peer:% = peer; "session begins");
        if let Err(e) = driver.run().await {
            debug!(session:% = driver.id, err:% = e; "session broke");
        }
    }
}

impl Driver {
    async fn run(&mut self) -> io::Result<()> {
        let mut buffer = vec![0; READ_MAX];
        loop {
            while let Some(output) = self.machine.poll_output() {
                self.handle(output).await?;
            }
            if self.closed {
                self.notice = None;
                return self.linger(&mut buffer).await;
            }
            let end = self.machine.poll_timeout();
            let stream = self.stream.as_mut().ok_or(io::ErrorKind::NotConnected)?;
            tokio::select! {
                biased;
                // RFC 5321 3.8. No question is open here: of a message whose outcome is unknown
                // nothing is said.
                () = given(self.notice.as_ref()) => self.machine.handle_shutdown(),
                () = lost(self.standing.as_mut()) => {
                    info!(session:% = self.id, peer:% = self.peer; "the credential is no longer valid, session ended");
                    self.standing = None;
                    self.machine.handle_sign_out();
                }
                read = stream.read(&mut buffer) => {
                    let bytes = buffer.get(..read?).unwrap_or_default();
                    if bytes.is_empty() {
                        return Ok(());
                    }
                    self.machine.handle_input(bytes, clock::mono());
                }
                () = wait(end) => self.machine.handle_timeout(clock::mono()),
            }
        }
    }

    async fn handle(&mut self, output: Output) -> io::Result<()> {
        match output {
            Output::Send(bytes) => self.send(&bytes).await?,
            Output::StartTls => {
                let stream = self.stream.take().ok_or(io::ErrorKind::NotConnected)?;
                let stream = stream.upgrade(&self.smtp.0.tls).await?;
                self.machine.handle_tls(facts(&stream).unwrap_or_default(), clock::mono());
                self.stream = Some(stream);
            }
            Output::Ask(question) => {
                let answer = self.answer(question).await;
                self.machine.handle_answer(answer, clock::mono());
            }
            Output::Body(bytes) => {
                if let Some(message) = &mut self.message {
                    message.write(&bytes).await;
                }
            }
            Output::Abort => self.message = None,
            Output::Event(event) => self.note(event),
            Output::Close => self.closed = true,
        }
        Ok(())
    }

    async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let stream = self.stream.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        let write = async {
            stream.write_all(bytes).await?;
            stream.flush().await
        };
        timeout(WRITE_TIMEOUT, write).await?
    }

    async fn answer(&mut self, question: Question) -> Answer {
        match question {
            Question::Recipient { address } => self.recipient(&address),
            Question::SendAs { from } => self.send_as(&from),
            Question::Credentials { name, password } => {
                self.authenticate(&name, &Secret::new(password.into_inner())).await
            }
            Question::Begin(envelope) => {
                let login = self.login.as_ref();
                let peer = self.peer.ip();
                let begun = Message::begin(&self.smtp, &self.lease, &envelope, login, peer);
                match begun.await {
                    Ok(message) => {
                        self.message = Some(message);
                        Answer::Yes
                    }
                    Err(answer) => {
                        metric::SMTP_DEFERRED.inc();
                        answer
                    }
                }
            }
            Question::Commit => self.commit().await,
        }
    }

    fn recipient(&self, address: &str) -> Answer {
        match self.smtp.resolve(address) {
            // What was accepted is stored, whatever it comes to: here is where a full mailbox says so.
            Ok(Resolved::Account { tenant, account }) => {
                match self.smtp.0.mail.quota_of(tenant, account) {
                    Ok(quota) if quota.is_full() => Answer::OverQuota,
                    Ok(_) => Answer::Yes,
                    Err(e) => {
                        warn!(session:% = self.id, err:% = e; "a recipient's limit cannot be read");
                        Answer::Temporary
                    }
                }
            }
            Ok(Resolved::UnknownAccount) => Answer::Unknown,
            // Whom it serves is not said yet: a machine that was just set up, or took the place of another.
            // RFC 5321 4.2.1: the sender keeps the mail, and nothing is sent back.
            Ok(Resolved::NotLocal) if self.smtp.0.directory.serves_nobody() => Answer::Temporary,
            Ok(Resolved::NotLocal) => Answer::NotLocal,
            Err(e) => {
                warn!(session:% = self.id, err:% = e; "recipient cannot be looked up");
                Answer::Temporary
            }
        }
    }

    fn send_as(&self, from: &str) -> Answer {
        let Some(login) = &self.login else { return Answer::No };
        match self.smtp.0.directory.may_send_as(login, from) {
            Ok(true) => Answer::Yes,
            Ok(false) => Answer::No,
            Err(e) => {
                warn!(session:% = self.id, err:% = e; "sender cannot be looked up");
                Answer::Temporary
            }
        }
    }

    async fn authenticate(&mut self, name: &str, password: &Secret<String>) -> Answer {
        let source = Source::of(self.peer.ip());
        match self.smtp.0.directory.authenticate(name, password, source).await {
            Ok(Some((login, standing))) => {
                self.standing = Some(standing);
                metric::LOGINS.inc();
                info!(session:% = self.id, tenant:% = login.tenant, account:% = login.account;
                    "signed in");
                self.login = Some(login);
                Answer::Yes
            }
            Ok(None) => {
                tokio::time::sleep(AUTH_PAUSE).await;
                Answer::No
            }
            Err(DirectoryError::Busy | DirectoryError::SourceBusy) => {
                // 454 4.7.0, late, so that asking again at once is no better.
                tokio::time::sleep(AUTH_PAUSE).await;
                Answer::Temporary
            }
            Err(e) => {
                warn!(session:% = self.id, err:% = e; "sign-in cannot be checked");
                Answer::Temporary
            }
        }
    }

    async fn commit(&mut self) -> Answer {
        let Some(message) = self.message.take() else { return Answer::Temporary };
        let (begun, size) = (message.begun, message.size);
        let answer = message.commit(&self.smtp, &self.lease).await;
        if !self.lease.valid() {
            // It may have been committed, or not: whoever is primary now knows. No answer.
            self.machine.handle_shutdown();
        } else if let Answer::Committed { id } = &answer {
            match self.port {
                Port::Mx => metric::SMTP_ACCEPTED.inc(),
                Port::Submission | Port::Submissions => metric::SUBMISSION_ACCEPTED.inc(),
            }
            let elapsed = clock::mono().since(begun).as_millis();
            info!(session:% = self.id, queue_id:% = id, peer:% = self.peer.ip(), size = size,
                code = 250, elapsed_ms:% = elapsed; "message accepted");
        } else {
            metric::SMTP_DEFERRED.inc();
        }
        answer
    }

    fn note(&self, event: Event) {
        match event {
            Event::MessageRefused(fault) => {
                metric::SMTP_REFUSED.inc();
                info!(session:% = self.id, peer:% = self.peer.ip(), reason:? = fault;
                    "message refused");
            }
            Event::RecipientRefused { code } => {
                if code < 500 {
                    metric::SMTP_DEFERRED.inc();
                } else {
                    metric::SMTP_REFUSED.inc();
                }
                info!(session:% = self.id, peer:% = self.peer.ip(), code = code;
                    "recipient refused");
            }
            Event::AuthFailed => {
                metric::LOGINS_FAILED.inc();
                info!(session:% = self.id, peer:% = self.peer.ip(); "sign-in refused");
            }
            Event::Closed { code, reason } => {
                debug!(session:% = self.id, code = code, reason = reason; "session closed");
            }
        }
    }

    async fn linger(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        let Some(stream) = &mut self.stream else { return Ok(()) };
        let rest = async {
            stream.shutdown().await?;
            while stream.read(buffer).await? > 0 {}
            Ok(())
        };
        timeout(LINGER, rest).await.unwrap_or(Ok(()))
    }
}

async fn given(notice: Option<&Notice>) {
    match notice {
        Some(notice) => notice.given().await,
        None => std::future::pending().await,
    }
}

async fn lost(standing: Option<&mut Standing>) {
    match standing {
        Some(standing) => standing.lost().await,
        None => std::future::pending().await,
    }
}

async fn wait(end: Option<understudy_proto::time::Mono>) {
    match end {
        Some(end) => clock::sleep_until(end).await,
        None => std::future::pending().await,
    }
}

/// What TLS agreed on, in the words of its registry.
fn facts(stream: &Stream) -> Option<Tls> {
    stream.tls_facts().map(|facts| Tls {
        protocol: facts.version.replace('_', "."),
        cipher: facts.cipher.replace("TLS13_", "TLS_"),
    })
}
