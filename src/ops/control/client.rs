//! The other end of the socket: one question, one answer.

use super::{REPLY_LEN_MAX, REQUEST_LEN_MAX};
use crate::ops::request::{Reply, Request};
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// Asks the appliance that serves `socket`; each step may take `wait`.
///
/// Errors: those of connecting; `InvalidInput` for a request that is too long, `InvalidData` for an
/// answer that is not understood; those of the connection.
pub fn ask(socket: &Path, request: &Request, wait: Duration) -> io::Result<Reply> {
    let invalid = |e| io::Error::new(io::ErrorKind::InvalidData, e);
    let mut line = serde_json::to_vec(request).map_err(invalid)?;
    line.push(b'\n');
    if u64::try_from(line.len()).unwrap_or(u64::MAX) > REQUEST_LEN_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "an argument is too long"));
    }
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(wait))?;
    stream.set_write_timeout(Some(wait))?;
    stream.write_all(&line)?;
    let mut text = String::new();
    stream.take(REPLY_LEN_MAX).read_to_string(&mut text)?;
    if text.is_empty() {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it closed the connection"));
    }
    serde_json::from_str(&text).map_err(invalid)
}
