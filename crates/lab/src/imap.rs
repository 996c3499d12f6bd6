//! A reader at his desk: IMAP over TLS, one command at a time.
//!
//! Enough of a client for a server that may be wrong: it believes nothing that it has not read, and
//! gives up on a silent server. A refusal (NO) is an answer; everything that leaves a command without
//! one is an error, and whether it was carried out is open. Absent on purpose: IDLE, pipelining.

use crate::net::FLOATING;
use crate::{Context, LabError, Result, fail, mime};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme,
    StreamOwned,
};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How long a connection may take.
const CONNECT: Duration = Duration::from_millis(100);
/// Largest literal that is read: twice the largest message of the lab.
const LITERAL_LEN_MAX: usize = 4_000_000;
/// Longest line that is read, without literals.
const LINE_LEN_MAX: u64 = 65_536;

/// An IMAP session.
pub(crate) struct Reader {
    stream: BufReader<StreamOwned<ClientConnection, TcpStream>>,
    tag: u32,
    uid_validity: u32,
}

/// A line of the server, and the literals that stood in it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Line {
    text: String,
    literals: Vec<Vec<u8>>,
}

/// A message as a mailbox shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Item {
    /// Its UID.
    pub(crate) uid: u32,
    /// The lab's number; `None` for mail that the lab did not send.
    pub(crate) number: Option<u32>,
}

/// A flag that the lab's clients set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Flag {
    /// `\Answered`
    Answered,
    /// `\Deleted`
    Deleted,
    /// `\Flagged`
    Flagged,
    /// `\Seen`
    Seen,
}

impl Flag {
    const ALL: [Self; 4] = [Self::Answered, Self::Deleted, Self::Flagged, Self::Seen];

    /// As IMAP writes it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Answered => "\\Answered",
            Self::Deleted => "\\Deleted",
            Self::Flagged => "\\Flagged",
            Self::Seen => "\\Seen",
        }
    }
}

/// A message with its flags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Marked {
    /// Which it is.
    pub(crate) item: Item,
    /// Those of [`Flag`] that it has.
    pub(crate) flags: BTreeSet<Flag>,
}

/// The tagged answer to a command.
#[derive(Debug)]
enum Reply {
    /// OK, with the untagged lines before it and the rest of its own.
    Ok(Vec<Line>, String),
    /// NO or BAD, in the server's words.
    Refused(String),
}

/// Whether a change was made. That nobody knows is an error instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// It was; the UID that a new message got, where there is one.
    Made(Option<u32>),
    /// It was not.
    Refused(String),
}

/// Trusts the authority whose certificate lies in `pem`, and nothing else.
pub(crate) fn trust(pem: &Path) -> Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    let certificate = CertificateDer::from_pem_file(pem).context(pem.display())?;
    roots.add(certificate).context(pem.display())?;
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    Ok(Arc::new(config))
}

/// Trusts whoever answers: for plays in which the authority's certificate cannot be read from a folder.
///
/// # Errors
/// No provider of cryptography is installed.
pub(crate) fn trust_anybody() -> Result<Arc<ClientConfig>> {
    let provider = CryptoProvider::get_default().cloned();
    let provider =
        provider.unwrap_or_else(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .context("TLS")?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// Believes every certificate, but no wrong signature.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

impl Reader {
    /// Connects to the floating address, signs in and selects INBOX.
    pub(crate) fn open(
        tls: &Arc<ClientConfig>,
        name: &str,
        password: &str,
        patience: Duration,
    ) -> Result<Self> {
        let mut reader = Self::sign_in(tls, name, password, patience)?;
        reader.select("INBOX")?;
        Ok(reader)
    }

    /// Connects to the floating address and signs in.
    pub(crate) fn sign_in(
        tls: &Arc<ClientConfig>,
        name: &str,
        password: &str,
        patience: Duration,
    ) -> Result<Self> {
        let address = format!("{FLOATING}:993").parse().context("address")?;
        let stream = TcpStream::connect_timeout(&address, CONNECT).context("connect")?;
        stream.set_read_timeout(Some(patience)).context("timeout")?;
        stream.set_write_timeout(Some(patience)).context("timeout")?;
        stream.set_nodelay(true).context("nodelay")?;
        let server = ServerName::try_from(FLOATING).context("server name")?;
        let session = ClientConnection::new(Arc::clone(tls), server).context("TLS")?;
        let stream = BufReader::new(StreamOwned::new(session, stream));
        let mut reader = Self { stream, tag: 0, uid_validity: 0 };
        let greeting = reader.line()?.text;
        if !greeting.starts_with("* OK") {
            return fail(format!("IMAP greeting: {greeting}"));
        }
        reader.ask(&format!("LOGIN \"{name}\" \"{password}\""))?;
        Ok(reader)
    }

    /// Selects a mailbox; gives its UIDVALIDITY.
    pub(crate) fn select(&mut self, mailbox: &str) -> Result<u32> {
        let selected = self.ask(&format!("SELECT {mailbox}"))?;
        let validity = selected.iter().find_map(|l| number_after(&l.text, "[UIDVALIDITY "));
        self.uid_validity =
            validity.ok_or_else(|| LabError("SELECT without UIDVALIDITY".into()))?;
        Ok(self.uid_validity)
    }

    /// Makes a mailbox.
    pub(crate) fn create(&mut self, mailbox: &str) -> Result<()> {
        self.ask(&format!("CREATE {mailbox}")).map(drop)
    }

    /// The UIDs of all messages.
    pub(crate) fn uids(&mut self) -> Result<BTreeSet<u32>> {
        let lines = self.ask("UID SEARCH ALL")?;
        let found = lines.iter().filter_map(|l| l.text.strip_prefix("* SEARCH"));
        found
            .flat_map(str::split_whitespace)
            .map(|uid| uid.parse().context(format!("UID {uid}")))
            .collect()
    }

    /// All messages with their flags.
    pub(crate) fn marked(&mut self) -> Result<Vec<Marked>> {
        let item = format!("FLAGS BODY.PEEK[HEADER.FIELDS ({})]", mime::ID_HEADER);
        let lines = self.ask(&format!("UID FETCH 1:* ({item})"))?;
        Ok(lines.iter().filter_map(marked_of).collect())
    }

    /// APPEND.
    ///
    /// # Errors
    /// No answer came: it may have been carried out, or may still be.
    pub(crate) fn append(&mut self, mailbox: &str, message: &str) -> Result<Change> {
        // RFC 7888: a literal that does not wait to be asked for.
        let command = format!("APPEND {mailbox} {{{}+}}\r\n{message}", message.len());
        self.change(&command, Some("[APPENDUID "))
    }

    /// UID STORE of one flag.
    ///
    /// # Errors
    /// As [`Self::append`].
    pub(crate) fn store(&mut self, uid: u32, flag: Flag, add: bool) -> Result<Change> {
        let sign = if add { '+' } else { '-' };
        self.change(&format!("UID STORE {uid} {sign}FLAGS ({})", flag.name()), None)
    }

    /// UID COPY, or UID MOVE.
    ///
    /// # Errors
    /// As [`Self::append`].
    pub(crate) fn transfer(&mut self, uid: u32, to: &str, remove: bool) -> Result<Change> {
        let verb = if remove { "MOVE" } else { "COPY" };
        self.change(&format!("UID {verb} {uid} {to}"), Some("[COPYUID "))
    }

    /// UID EXPUNGE (RFC 4315).
    ///
    /// # Errors
    /// As [`Self::append`].
    pub(crate) fn expunge(&mut self, uid: u32) -> Result<Change> {
        self.change(&format!("UID EXPUNGE {uid}"), None)
    }

    /// A command that changes something; the last number of `code` is the new UID.
    fn change(&mut self, command: &str, code: Option<&str>) -> Result<Change> {
        match self.command(command)? {
            Reply::Refused(why) => Ok(Change::Refused(why)),
            Reply::Ok(lines, done) => {
                let texts = lines.iter().map(|l| l.text.as_str()).chain([done.as_str()]);
                let mut uids = texts.filter_map(|t| last_number_of(t, code?));
                Ok(Change::Made(uids.next()))
            }
        }
    }

    /// UIDVALIDITY of what is selected.
    pub(crate) fn uid_validity(&self) -> u32 {
        self.uid_validity
    }

    /// NOOP.
    pub(crate) fn noop(&mut self) -> Result<()> {
        self.ask("NOOP").map(drop)
    }

    /// All messages from `uid` on; the last message, too, when there is none (RFC 9051 9,
    /// seq-range).
    pub(crate) fn items(&mut self, uid: u32) -> Result<Vec<Item>> {
        let item = format!("BODY.PEEK[HEADER.FIELDS ({})]", mime::ID_HEADER);
        let lines = self.ask(&format!("UID FETCH {uid}:* ({item})"))?;
        Ok(lines.iter().filter_map(item_of).collect())
    }

    /// The whole text of the message with that UID.
    pub(crate) fn body(&mut self, uid: u32) -> Result<Vec<u8>> {
        self.ask(&format!("UID FETCH {uid} (BODY.PEEK[])"))?
            .into_iter()
            .filter(|line| line.text.contains("BODY[]"))
            .find_map(|line| line.literals.into_iter().next())
            .ok_or_else(|| LabError(format!("no message with UID {uid}")))
    }

    /// Sends a command; gives the untagged lines.
    fn ask(&mut self, command: &str) -> Result<Vec<Line>> {
        match self.command(command)? {
            Reply::Ok(lines, _) => Ok(lines),
            Reply::Refused(why) => {
                // A password is not for error messages.
                let verb = command.split(' ').next().unwrap_or_default();
                fail(format!("{verb}: {why}"))
            }
        }
    }

    fn command(&mut self, command: &str) -> Result<Reply> {
        self.tag = self.tag.saturating_add(1);
        let tag = format!("a{} ", self.tag);
        let text = format!("{tag}{command}\r\n");
        self.stream.get_mut().write_all(text.as_bytes()).context("write")?;
        self.stream.get_mut().flush().context("write")?;
        let mut lines = Vec::new();
        loop {
            let line = self.line()?;
            match line.text.strip_prefix(&tag) {
                Some(rest) if rest.starts_with("OK") => {
                    return Ok(Reply::Ok(lines, rest.to_owned()));
                }
                Some(rest) => return Ok(Reply::Refused(rest.to_owned())),
                None if line.text.starts_with("* BYE") => return fail(line.text),
                None => lines.push(line),
            }
        }
    }

    fn line(&mut self) -> Result<Line> {
        read_line(&mut self.stream)
    }
}

/// One line, with the literals in it.
fn read_line(stream: &mut impl BufRead) -> Result<Line> {
    let mut line = Line::default();
    loop {
        let mut bytes = Vec::new();
        stream.take(LINE_LEN_MAX).read_until(b'\n', &mut bytes).context("read")?;
        if bytes.last() != Some(&b'\n') {
            return fail("connection closed");
        }
        let part = String::from_utf8_lossy(&bytes);
        let part = part.trim_end();
        let literal = part
            .strip_suffix('}')
            .and_then(|p| p.rsplit_once('{'))
            .and_then(|(_, n)| n.parse::<usize>().ok());
        line.text.push_str(part);
        let Some(n) = literal else { return Ok(line) };
        if n > LITERAL_LEN_MAX {
            return fail(format!("a literal of {n} bytes"));
        }
        let mut content = vec![0; n];
        stream.read_exact(&mut content).context("read")?;
        line.literals.push(content);
    }
}

fn item_of(line: &Line) -> Option<Item> {
    line.text.contains(" FETCH (").then_some(())?;
    let uid = number_after(&line.text, "UID ")?;
    let header = line.literals.first().map(|l| String::from_utf8_lossy(l));
    let number = header.and_then(|h| number_after(&h, &format!("{}: ", mime::ID_HEADER)));
    Some(Item { uid, number })
}

/// `None` for a message without a header: somebody else expunged it meanwhile (RFC 2180 4.1).
fn marked_of(line: &Line) -> Option<Marked> {
    let item = item_of(line).filter(|_| !line.literals.is_empty())?;
    let (_, flags) = line.text.split_once("FLAGS (")?;
    let (flags, _) = flags.split_once(')')?;
    let has = |flag: &Flag| flags.split(' ').any(|f| f == flag.name());
    Some(Marked { item, flags: Flag::ALL.into_iter().filter(has).collect() })
}

/// The last number inside the response code that begins with `code`.
fn last_number_of(text: &str, code: &str) -> Option<u32> {
    let (_, rest) = text.split_once(code)?;
    let (inside, _) = rest.split_once(']')?;
    inside.rsplit(' ').next()?.parse().ok()
}

/// The decimal number that follows `label`.
fn number_after(text: &str, label: &str) -> Option<u32> {
    let (_, rest) = text.split_once(label)?;
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    rest.get(..end)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_holds_its_literals() {
        let mut text: &[u8] = b"* 1 FETCH (UID 7 BODY[HEADER.FIELDS (X-Lab-Number)] \
            {20}\r\nX-Lab-Number: 42\r\n\r\n)\r\na1 OK done\r\n";
        let line = read_line(&mut text).unwrap();
        assert_eq!(item_of(&line), Some(Item { uid: 7, number: Some(42) }));
        assert_eq!(read_line(&mut text).unwrap().text, "a1 OK done");
        assert!(read_line(&mut text).is_err());
    }

    #[test]
    fn mail_of_others_has_no_number() {
        let mut text: &[u8] =
            b"* 9 FETCH (BODY[HEADER.FIELDS (X-Lab-Number)] {2}\r\n\r\n UID 12)\r\n";
        let line = read_line(&mut text).unwrap();
        assert_eq!(item_of(&line), Some(Item { uid: 12, number: None }));
    }

    #[test]
    fn flags_are_read() {
        let mut text: &[u8] = b"* 1 FETCH (UID 7 FLAGS (\\Seen \\Recent $x) \
            BODY[HEADER.FIELDS (X-Lab-Number)] {20}\r\nX-Lab-Number: 42\r\n\r\n)\r\n";
        let marked = marked_of(&read_line(&mut text).unwrap()).unwrap();
        assert_eq!(marked.item, Item { uid: 7, number: Some(42) });
        assert_eq!(marked.flags, BTreeSet::from([Flag::Seen]));
    }

    #[test]
    fn the_new_uid_is_found() {
        assert_eq!(last_number_of("OK [APPENDUID 17 5] done", "[APPENDUID "), Some(5));
        assert_eq!(last_number_of("* OK [COPYUID 17 5 9] x", "[COPYUID "), Some(9));
        assert_eq!(last_number_of("OK done", "[COPYUID "), None);
    }

    #[test]
    fn numbers_are_found() {
        assert_eq!(number_after("* OK [UIDVALIDITY 17] x", "[UIDVALIDITY "), Some(17));
        assert_eq!(number_after("* OK", "[UIDVALIDITY "), None);
        assert_eq!(number_after("UID x", "UID "), None);
    }
}
