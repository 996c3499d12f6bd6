//! Asks the running appliance over its control socket.

use super::error::CliError;
use crate::config;
use crate::ops::control::{REPLY_LEN_MAX, REQUEST_LEN_MAX, SOCKET_NAME};
use crate::ops::request::{Answer, Reply, Request};
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long an answer may take: a handover waits for the peer.
const ANSWER_WAIT: Duration = Duration::from_secs(60);

/// Sends `request` to the appliance that `config` describes and gives its answer.
pub(super) fn ask(config: &Path, request: &Request) -> Result<Answer, CliError> {
    let socket = config::load(config)?.data_dir.join(SOCKET_NAME);
    let mut line = serde_json::to_vec(request).map_err(|e| CliError::Strange(e.to_string()))?;
    line.push(b'\n');
    if u64::try_from(line.len()).unwrap_or(u64::MAX) > REQUEST_LEN_MAX {
        return Err(CliError::Usage("an argument is too long".into()));
    }
    let stream = connect(&socket, config)?;
    let text = exchange(stream, &line).map_err(|source| CliError::NoAnswer { socket, source })?;
    match serde_json::from_str(&text).map_err(|e| CliError::Strange(e.to_string()))? {
        Reply::Ok(answer) => Ok(answer),
        Reply::Error(failure) => Err(failure.into()),
    }
}

/// Sends a request whose only good answer is [`Answer::Done`].
pub(super) fn tell(config: &Path, request: &Request) -> Result<(), CliError> {
    match ask(config, request)? {
        Answer::Done => Ok(()),
        other => Err(strange(&other)),
    }
}

/// The answer to another question than the one that was asked.
pub(super) fn strange(answer: &Answer) -> CliError {
    // An answer's Debug shows no secret (base::secret).
    CliError::Strange(format!("{answer:?}").chars().take(200).collect())
}

fn connect(socket: &Path, config: &Path) -> Result<UnixStream, CliError> {
    let owned: PathBuf = socket.to_owned();
    UnixStream::connect(socket).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            CliError::NotRunning { socket: owned, config: config.to_owned() }
        }
        io::ErrorKind::PermissionDenied => CliError::NotAllowed { socket: owned },
        _ => CliError::NoAnswer { socket: owned, source },
    })
}

fn exchange(mut stream: UnixStream, line: &[u8]) -> io::Result<String> {
    stream.set_read_timeout(Some(ANSWER_WAIT))?;
    stream.set_write_timeout(Some(ANSWER_WAIT))?;
    stream.write_all(line)?;
    let mut text = String::new();
    stream.take(REPLY_LEN_MAX).read_to_string(&mut text)?;
    if text.is_empty() {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it closed the connection"));
    }
    Ok(text)
}
