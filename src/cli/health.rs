//! `understudy health`: asks `/healthz` like monitoring does, without needing curl on an appliance.

use super::error::CliError;
use super::output;
use crate::config;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

/// How long an answer may take: the thread that gives it waits for nothing.
const WAIT: Duration = Duration::from_secs(3);
/// Longest answer read, in bytes.
const ANSWER_LEN_MAX: u64 = 64 * 1024;

pub(super) fn perform(path: &Path) -> Result<(), CliError> {
    let address = config::load(path)?.management.address;
    let text = fetch(address).map_err(|source| CliError::NoHealth {
        address,
        source,
        config: path.to_owned(),
    })?;
    let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    output::say(body)?;
    let healthy = text.split_whitespace().nth(1) == Some("200");
    if healthy { Ok(()) } else { Err(CliError::Unhealthy) }
}

fn fetch(mut address: SocketAddr) -> io::Result<String> {
    if address.ip().is_unspecified() {
        address.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
    }
    let mut stream = TcpStream::connect_timeout(&address, WAIT)?;
    stream.set_read_timeout(Some(WAIT))?;
    stream.write_all(b"GET /healthz HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
    let mut text = String::new();
    stream.take(ANSWER_LEN_MAX).read_to_string(&mut text)?;
    Ok(text)
}
