//! The local control socket: `<data_dir>/control.sock`, for the command line on the same machine.
//!
//! Invariants: only root and the user that runs the appliance are heard (mode 0600), and the group of
//! `data_dir` where that has the mode 0710 (on the image: `operator`); the kernel says who connects. One request a connection, of at most [`REQUEST_LEN_MAX`] bytes, read within
//! [`REQUEST_WAIT`]; at most [`CONNECTIONS_MAX`] at once. Requests that change something are logged.
//!
//! Deliberately absent: passwords of operators, access over the network. That is the console's.

mod client;

pub use client::ask;

use crate::base::limit::Limit;
use crate::base::task;
use crate::ops::request::{By, Failure, Operator, Reply, Request, answer};
use log::{debug, warn};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};

/// Name of the socket in `data_dir`.
pub const SOCKET_NAME: &str = "control.sock";
/// Longest request in bytes.
pub const REQUEST_LEN_MAX: u64 = 64 * 1024;
/// Longest reply in bytes that a client reads.
pub const REPLY_LEN_MAX: u64 = 16 * 1024 * 1024;
/// How long a connection may take to say what it wants.
pub const REQUEST_WAIT: Duration = Duration::from_secs(10);
/// Connections served at once; more wait in the kernel's queue.
pub const CONNECTIONS_MAX: u32 = 16;
/// Pause after a failed accept (no file descriptors left, for instance).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

static CONNECTIONS: Limit = Limit::new("control_connections", CONNECTIONS_MAX);

/// Why there is no control socket.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Another process answers there.
    #[error("another understudy is running on this data directory (it answers at {}). Stop it first, or give this one its own `data_dir`", .0.display())]
    AlreadyRunning(PathBuf),
    /// The socket cannot be made.
    #[error("cannot make the control socket {}: {source}. Does `data_dir` exist, and may this user write there?", .path.display())]
    Bind {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// The socket, bound and not yet served.
#[derive(Debug)]
pub struct Control {
    listener: UnixListener,
    /// Whether the group of `data_dir` is heard, too: the kernel lets nobody else connect then.
    group: bool,
}

/// Makes the socket in `data_dir`, which must exist. A socket left by a dead process is replaced.
/// Must be called in the runtime.
pub fn bind(data_dir: &Path) -> Result<Control, ControlError> {
    let path = data_dir.join(SOCKET_NAME);
    if std::os::unix::net::UnixStream::connect(&path).is_ok() {
        return Err(ControlError::AlreadyRunning(path));
    }
    bind_at(data_dir, &path).map_err(|source| ControlError::Bind { path, source })
}

fn bind_at(data_dir: &Path, path: &Path) -> io::Result<Control> {
    remove_stale(path)?;
    let listener = UnixListener::bind(path)?;
    let group = std::fs::metadata(data_dir)?.permissions().mode() & 0o077 == 0o010;
    let mode = if group { 0o660 } else { 0o600 };
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    Ok(Control { listener, group })
}

fn remove_stale(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

impl Control {
    /// Answers requests for as long as it is polled.
    pub async fn serve<O: Operator>(self, operator: Arc<O>) {
        let (mut deaf, group) = (false, self.group);
        loop {
            let place = CONNECTIONS.enter().await;
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    deaf = false;
                    let operator = operator.clone();
                    // The handle is not needed: the connection ends by itself within its limits.
                    drop(task::spawn("control", async move {
                        if let Err(e) = connection(stream, group, operator.as_ref()).await {
                            debug!(err:% = e; "control connection ended");
                        }
                        drop(place);
                    }));
                }
                Err(e) => {
                    // Said once, whenever it begins.
                    if !std::mem::replace(&mut deaf, true) {
                        warn!(err:% = e, runbook = "listener-down"; "control socket cannot accept");
                    }
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

async fn connection<O: Operator>(
    mut stream: UnixStream,
    group: bool,
    operator: &O,
) -> io::Result<()> {
    let peer = stream.peer_cred()?;
    let own = peer.uid() == 0 || peer.uid() == nix::unistd::geteuid().as_raw();
    let reply = if !own && !group {
        warn!(uid = peer.uid(); "control request of another user refused");
        refuse("only root and the user that runs understudy may do that", "sudo understudy …")
    } else {
        let (reader, _) = stream.split();
        match tokio::time::timeout(REQUEST_WAIT, read_line(reader)).await {
            Ok(line) => reply_to(&line?, peer.uid(), operator).await,
            Err(_) => refuse("no request came in time", "Send one line of JSON."),
        }
    };
    let mut line = serde_json::to_vec(&reply)?;
    line.push(b'\n');
    stream.write_all(&line).await?;
    stream.shutdown().await
}

async fn read_line(reader: impl tokio::io::AsyncRead + Unpin) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    // One byte more than allowed tells a line that is too long from one that just fits.
    BufReader::new(reader.take(REQUEST_LEN_MAX + 1)).read_until(b'\n', &mut line).await?;
    Ok(line)
}

async fn reply_to<O: Operator>(line: &[u8], uid: u32, operator: &O) -> Reply {
    if u64::try_from(line.len()).unwrap_or(u64::MAX) > REQUEST_LEN_MAX {
        return refuse("the request is longer than 64 KiB", "Shorten it.");
    }
    let request = match serde_json::from_slice::<Request>(line) {
        Ok(request) => request,
        Err(e) => {
            // The text may quote a value: it goes back to who sent it, and not into the log.
            let what = format!("the request is not understood: {e}");
            return refuse(&what, "Use the command line of the same version: understudy --version");
        }
    };
    answer(operator, &request, &By::User(uid)).await
}

fn refuse(what: &str, advice: &str) -> Reply {
    Reply::Error(Failure::new(what, advice))
}

#[cfg(test)]
mod tests;
