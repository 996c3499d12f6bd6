//! A sender as mail servers are: it keeps a message until it is told 250, and tries again.

use crate::net::FLOATING;
use crate::{Context, Result, fail};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;

/// How long a sender waits for an answer before it tries again. RFC 5321 4.5.3.2 says minutes;
/// nobody would watch that.
const PATIENCE: Duration = Duration::from_secs(4);
const CONNECT: Duration = Duration::from_millis(250);

/// How a transaction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// 250: from here on it is ours.
    Accepted,
    /// A 4xx or 5xx, or no connection: surely not taken.
    Refused,
    /// The end of data was sent and no answer came.
    Open,
}

/// A session that sends message after message.
#[derive(Debug)]
pub(crate) struct Sender {
    stream: BufReader<TcpStream>,
}

/// Connects to the floating address and reads the banner.
pub(crate) fn banner(port: u16, patience: Duration) -> Result<TcpStream> {
    let address = format!("{FLOATING}:{port}").parse().context("address")?;
    let stream = TcpStream::connect_timeout(&address, patience).context("connect")?;
    stream.set_read_timeout(Some(patience)).context("timeout")?;
    let mut first = String::new();
    BufReader::new(&stream).read_line(&mut first).context("banner")?;
    if first.starts_with("220 ") || first.starts_with("* OK") {
        Ok(stream)
    } else {
        fail(format!("no banner but {first:?}"))
    }
}

impl Sender {
    /// Connects and says EHLO.
    pub(crate) fn connect() -> Result<Self> {
        let stream = banner(25, CONNECT)?;
        stream.set_read_timeout(Some(PATIENCE)).context("timeout")?;
        stream.set_write_timeout(Some(PATIENCE)).context("timeout")?;
        stream.set_nodelay(true).context("nodelay")?;
        let mut sender = Self { stream: BufReader::new(stream) };
        sender.ask("EHLO mx.outside.example\r\n", '2')?;
        Ok(sender)
    }

    /// Sends one message.
    pub(crate) fn send(&mut self, to: &str, message: &str) -> Outcome {
        let envelope = format!(
            "MAIL FROM:<juergen@outside.example> SIZE={}\r\nRCPT TO:<{to}>\r\nDATA\r\n",
            message.len()
        );
        if self.ask(&envelope, '2').is_err() || self.reply('2').is_err() || self.reply('3').is_err()
        {
            return Outcome::Refused;
        }
        // RFC 5321 4.5.2.
        let stuffed = message.replace("\r\n.", "\r\n..");
        if self.stream.get_mut().write_all(stuffed.as_bytes()).is_err() {
            return Outcome::Refused;
        }
        if self.stream.get_mut().write_all(b".\r\n").is_err() {
            return Outcome::Open;
        }
        match self.answer() {
            Ok(line) if line.starts_with('2') => Outcome::Accepted,
            Ok(_) => Outcome::Refused,
            Err(_) => Outcome::Open,
        }
    }

    fn ask(&mut self, lines: &str, class: char) -> Result<()> {
        self.stream.get_mut().write_all(lines.as_bytes()).context("write")?;
        self.reply(class)
    }

    fn reply(&mut self, class: char) -> Result<()> {
        let line = self.answer()?;
        if line.starts_with(class) { Ok(()) } else { fail(line) }
    }

    /// The last line of a reply.
    fn answer(&mut self) -> Result<String> {
        loop {
            let mut line = String::new();
            if self.stream.read_line(&mut line).context("read")? == 0 {
                return fail("connection closed");
            }
            if line.as_bytes().get(3) != Some(&b'-') {
                return Ok(line);
            }
        }
    }
}
