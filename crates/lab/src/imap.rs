//! A reader at his desk: IMAP over TLS, one command at a time.

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

const PATIENCE: Duration = Duration::from_secs(3);

/// An IMAP session.
pub(crate) struct Reader {
    stream: BufReader<StreamOwned<ClientConnection, TcpStream>>,
    tag: u32,
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
    pub(crate) fn open(tls: &Arc<ClientConfig>, name: &str, password: &str) -> Result<Self> {
        let address = format!("{FLOATING}:993").parse().context("address")?;
        let stream =
            TcpStream::connect_timeout(&address, Duration::from_millis(500)).context("connect")?;
        stream.set_read_timeout(Some(PATIENCE)).context("timeout")?;
        stream.set_write_timeout(Some(PATIENCE)).context("timeout")?;
        stream.set_nodelay(true).context("nodelay")?;
        let name_of_server = ServerName::try_from(FLOATING).context("server name")?;
        let session = ClientConnection::new(Arc::clone(tls), name_of_server).context("TLS")?;
        let stream = BufReader::new(StreamOwned::new(session, stream));
        let mut reader = Self { stream, tag: 0 };
        reader.line()?;
        reader.ask(&format!("LOGIN {name} {password}"))?;
        reader.ask("SELECT INBOX")?;
        Ok(reader)
    }

    /// Sends a command; gives the untagged lines (literals appended to theirs).
    pub(crate) fn ask(&mut self, command: &str) -> Result<Vec<String>> {
        self.tag = self.tag.saturating_add(1);
        let tag = format!("a{}", self.tag);
        let text = format!("{tag} {command}\r\n");
        self.stream.get_mut().write_all(text.as_bytes()).context("write")?;
        let mut lines = Vec::new();
        loop {
            let line = self.line()?;
            match line.strip_prefix(&tag) {
                Some(rest) if rest.starts_with(" OK") => return Ok(lines),
                Some(rest) => return fail(format!("{command}:{rest}")),
                None => lines.push(line),
            }
        }
    }

    /// All messages' numbers, as the lab gave them, with repeats.
    pub(crate) fn numbers(&mut self) -> Result<Vec<u32>> {
        let item = format!("BODY.PEEK[HEADER.FIELDS ({})]", mime::ID_HEADER);
        let lines = self.ask(&format!("UID FETCH 1:* ({item})"))?;
        let mut numbers = Vec::new();
        for line in lines {
            if let Some((_, rest)) = line.split_once(&format!("{}: ", mime::ID_HEADER)) {
                let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
                numbers.push(digits.parse().context(line)?);
            }
        }
        Ok(numbers)
    }

    /// The whole text of the message with that UID.
    pub(crate) fn body(&mut self, uid: u32) -> Result<String> {
        self.ask(&format!("UID FETCH {uid} (BODY.PEEK[])"))?
            .into_iter()
            .find(|line| line.contains("BODY[]"))
            .ok_or_else(|| LabError(format!("no message with UID {uid}")))
    }

    /// One line, with the literals in it.
    fn line(&mut self) -> Result<String> {
        let mut text = String::new();
        loop {
            let mut bytes = Vec::new();
            if self.stream.read_until(b'\n', &mut bytes).context("read")? == 0 {
                return fail("connection closed");
            }
            let part = String::from_utf8_lossy(&bytes).into_owned();
            let literal = part
                .trim_end()
                .strip_suffix('}')
                .and_then(|p| p.rsplit_once('{'))
                .and_then(|(_, n)| n.parse::<usize>().ok());
            text.push_str(&part);
            let Some(n) = literal else { return Ok(text) };
            let mut content = vec![0; n];
            self.stream.read_exact(&mut content).context("read")?;
            text.push_str(&String::from_utf8_lossy(&content));
        }
    }
}
