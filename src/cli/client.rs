//! Asks the running appliance over its control socket.

use super::error::CliError;
use crate::config;
use crate::ops::control::{self, SOCKET_NAME};
use crate::ops::request::{Answer, Reply, Request};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long an answer may take: a handover waits for the peer.
const ANSWER_WAIT: Duration = Duration::from_secs(60);

/// The appliance that a config describes: who asks it often reads that once.
pub(super) struct Client<'a> {
    config: &'a Path,
    socket: PathBuf,
}

impl<'a> Client<'a> {
    pub(super) fn of(config: &'a Path) -> Result<Self, CliError> {
        Ok(Self { config, socket: config::load(config)?.data_dir.join(SOCKET_NAME) })
    }

    /// Sends `request` and gives the answer.
    pub(super) fn ask(&self, request: &Request) -> Result<Answer, CliError> {
        let socket = || self.socket.clone();
        match control::ask(&self.socket, request, ANSWER_WAIT) {
            Ok(Reply::Ok(answer)) => Ok(answer),
            Ok(Reply::Error(failure)) => Err(failure.into()),
            Err(source) => Err(match source.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                    CliError::NotRunning { socket: socket(), config: self.config.to_owned() }
                }
                io::ErrorKind::PermissionDenied => CliError::NotAllowed { socket: socket() },
                io::ErrorKind::InvalidInput => CliError::Usage(source.to_string()),
                io::ErrorKind::InvalidData => CliError::Strange(source.to_string()),
                _ => CliError::NoAnswer { socket: socket(), source },
            }),
        }
    }
}

/// Sends one `request` to the appliance that `config` describes and gives its answer.
pub(super) fn ask(config: &Path, request: &Request) -> Result<Answer, CliError> {
    Client::of(config)?.ask(request)
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
