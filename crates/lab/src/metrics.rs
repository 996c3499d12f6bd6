//! What an appliance counts, as its monitoring reads it.

use crate::net::{self, Host};
use crate::{Context, Result, fail};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Its management address, in its own host.
const MANAGEMENT: &str = "127.0.0.1:9100";
/// How long the answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A metric's value.
///
/// # Errors
/// The appliance does not answer, or does not know it.
pub(crate) fn read(host: Host, name: &'static str) -> Result<u64> {
    let thread = net::thread(host, "metrics", move || {
        let mut socket = TcpStream::connect(MANAGEMENT).context("metrics")?;
        socket.set_read_timeout(Some(PATIENCE)).context("metrics")?;
        let request = b"GET /metrics HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n";
        socket.write_all(request).context("metrics")?;
        let mut text = String::new();
        socket.read_to_string(&mut text).context("metrics")?;
        match number(&text, name) {
            Some(number) => Ok(number),
            None => fail(format!("metrics without {name}")),
        }
    })?;
    net::join(thread)?
}

fn number(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(' '))?;
    line.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_metric_is_found() {
        let text = "# TYPE understudy_password_hashes_total counter\n\
            understudy_password_hashes_total 17\n";
        assert_eq!(number(text, "understudy_password_hashes_total"), Some(17));
        assert_eq!(number("", "understudy_password_hashes_total"), None);
    }
}
