//! A reader at his desk: IMAP over TLS, one command at a time.
//!
//! Enough of a client for a server that may be wrong: it believes nothing that it has not read, and
//! gives up on a silent server. Absent on purpose: IDLE, and everything that changes a mailbox.

use crate::net::FLOATING;
use crate::{Context, LabError, Result, fail, mime};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
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

/// Trusts the authority whose certificate lies in `pem`, and nothing else.
pub(crate) fn trust(pem: &Path) -> Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    let certificate = CertificateDer::from_pem_file(pem).context(pem.display())?;
    roots.add(certificate).context(pem.display())?;
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    Ok(Arc::new(config))
}

impl Reader {
    /// Connects to the floating address, signs in and selects INBOX.
    pub(crate) fn open(
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
        let selected = reader.ask("SELECT INBOX")?;
        let validity = selected.iter().find_map(|l| number_after(&l.text, "[UIDVALIDITY "));
        reader.uid_validity =
            validity.ok_or_else(|| LabError("SELECT without UIDVALIDITY".into()))?;
        Ok(reader)
    }

    /// UIDVALIDITY of INBOX.
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
        self.tag = self.tag.saturating_add(1);
        let tag = format!("a{} ", self.tag);
        let text = format!("{tag}{command}\r\n");
        // A password is not for error messages.
        let verb = command.split(' ').next().unwrap_or_default();
        self.stream.get_mut().write_all(text.as_bytes()).context("write")?;
        self.stream.get_mut().flush().context("write")?;
        let mut lines = Vec::new();
        loop {
            let line = self.line()?;
            match line.text.strip_prefix(&tag) {
                Some(rest) if rest.starts_with("OK") => return Ok(lines),
                Some(rest) => return fail(format!("{verb}: {rest}")),
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
    fn numbers_are_found() {
        assert_eq!(number_after("* OK [UIDVALIDITY 17] x", "[UIDVALIDITY "), Some(17));
        assert_eq!(number_after("* OK", "[UIDVALIDITY "), None);
        assert_eq!(number_after("UID x", "UID "), None);
    }
}
