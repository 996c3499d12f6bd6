//! A sender as mail servers are: it keeps a message until it is told 250, and tries again.

use crate::net::FLOATING;
use crate::{Context, Result, fail};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// How long a sender waits for an answer before it tries again. RFC 5321 4.5.3.2 says minutes;
/// nobody would watch that.
const PATIENCE: Duration = Duration::from_secs(4);
/// How long it waits for the answer to the end of the data. Whoever tries again while the first
/// attempt is still being stored makes a second copy, and RFC 5321 4.5.3.2.6 gives that 10 minutes.
pub(crate) const FINAL_PATIENCE: Duration = Duration::from_secs(20);
/// How long a sender waits for a connection and its banner.
const CONNECT: Duration = Duration::from_millis(250);
/// Longest line of an answer. RFC 5321 4.5.3.1.5 says 512.
const LINE_LEN_MAX: u64 = 2_048;

/// How a transaction ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// 250: from here on it is the receiver's.
    Accepted,
    /// A 4xx, or the connection ended before the end of the data: surely not taken.
    Later,
    /// A 5xx, in the receiver's words: a mail server would return the message to its author.
    Rejected(String),
    /// The end of the data was sent and no answer came: taken or not, nobody knows.
    Open,
}

/// A session that sends message after message.
#[derive(Debug)]
pub(crate) struct Sender {
    stream: BufReader<TcpStream>,
    /// How long the answer to the end of the data may take.
    last: Duration,
}

/// Connects to the floating address and reads the banner.
pub(crate) fn banner(port: u16, connect: Duration, read: Duration) -> Result<TcpStream> {
    let address = format!("{FLOATING}:{port}").parse().context("address")?;
    let stream = TcpStream::connect_timeout(&address, connect).context("connect")?;
    stream.set_read_timeout(Some(read)).context("timeout")?;
    let mut first = String::new();
    let mut reader = BufReader::new(&stream).take(LINE_LEN_MAX);
    reader.read_line(&mut first).context("banner")?;
    if first.starts_with("220 ") || first.starts_with("* OK") {
        Ok(stream)
    } else {
        fail(format!("no banner but {first:?}"))
    }
}

impl Sender {
    /// Waits so long for the answer to the end of the data.
    pub(crate) fn waiting(self, last: Duration) -> Self {
        Self { last, stream: self.stream }
    }

    /// Connects and says EHLO.
    pub(crate) fn connect() -> Result<Self> {
        let stream = banner(25, CONNECT, PATIENCE)?;
        stream.set_write_timeout(Some(PATIENCE)).context("timeout")?;
        stream.set_nodelay(true).context("nodelay")?;
        let mut sender = Self { stream: BufReader::new(stream), last: FINAL_PATIENCE };
        sender.write(b"EHLO mx.outside.example\r\n")?;
        match sender.reply() {
            Ok(line) if line.starts_with('2') => Ok(sender),
            Ok(line) => fail(format!("EHLO: {line}")),
            Err(e) => Err(e),
        }
    }

    /// Sends one message. After anything but [`Outcome::Accepted`] the session is of no more use.
    pub(crate) fn send(&mut self, to: &str, message: &str) -> Outcome {
        // RFC 2920 3.1: MAIL, RCPT and DATA in one go; three answers.
        let envelope = format!(
            "MAIL FROM:<juergen@outside.example> SIZE={} BODY=8BITMIME\r\nRCPT TO:<{to}>\r\nDATA\r\n",
            message.len()
        );
        if self.write(envelope.as_bytes()).is_err() {
            return Outcome::Later;
        }
        for class in ['2', '2', '3'] {
            match self.reply() {
                Ok(line) if line.starts_with(class) => {}
                Ok(line) => return refused(line),
                Err(_) => return Outcome::Later,
            }
        }
        if self.write(stuff(message).as_bytes()).is_err() {
            return Outcome::Later;
        }
        if self.write(b".\r\n").is_err() {
            return Outcome::Open;
        }
        if self.patience(self.last).is_err() {
            return Outcome::Open;
        }
        let reply = self.reply();
        // Whatever became of the socket, an answer that came counts.
        drop(self.patience(PATIENCE));
        match reply {
            Ok(line) if line.starts_with('2') => Outcome::Accepted,
            Ok(line) => refused(line),
            Err(_) => Outcome::Open,
        }
    }

    fn patience(&self, time: Duration) -> Result<()> {
        self.stream.get_ref().set_read_timeout(Some(time)).context("timeout")
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.get_mut().write_all(bytes).context("write")
    }

    /// The last line of a reply.
    fn reply(&mut self) -> Result<String> {
        loop {
            let mut line = String::new();
            let mut reader = self.stream.by_ref().take(LINE_LEN_MAX);
            reader.read_line(&mut line).context("read")?;
            if !line.ends_with('\n') {
                return fail("connection closed");
            }
            if line.as_bytes().get(3) != Some(&b'-') {
                return Ok(line.trim_end().to_owned());
            }
        }
    }
}

fn refused(line: String) -> Outcome {
    if line.starts_with('5') { Outcome::Rejected(line) } else { Outcome::Later }
}

/// Doubles the dot at the start of a line: RFC 5321 4.5.2.
fn stuff(message: &str) -> String {
    let stuffed = message.replace("\r\n.", "\r\n..");
    if stuffed.starts_with('.') { format!(".{stuffed}") } else { stuffed }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_are_stuffed() {
        assert_eq!(stuff(".a\r\n.\r\nb.\r\n..\r\n"), "..a\r\n..\r\nb.\r\n...\r\n");
    }

    #[test]
    fn a_5xx_is_final_and_the_rest_is_not() {
        assert_eq!(refused("451 later".into()), Outcome::Later);
        assert_eq!(refused("421 closing".into()), Outcome::Later);
        assert_eq!(refused("550 no".into()), Outcome::Rejected("550 no".into()));
    }
}
