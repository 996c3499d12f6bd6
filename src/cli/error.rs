//! Why a command did not do what it was asked, with the exit code that scripts see.

use crate::config::ConfigError;
use crate::ops::request::Failure;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Exit code of a wrong command line, also clap's own.
pub(super) const USAGE: u8 = 2;

/// Each text says what happened and what to do.
#[derive(Debug, thiserror::Error)]
pub(super) enum CliError {
    #[error("{0}")]
    Refused(#[from] Failure),
    #[error("{0}")]
    Config(#[from] ConfigError),
    /// What is wrong with a site file, line by line.
    #[error("{0}")]
    Site(String),
    #[error("{0}")]
    Usage(String),
    #[error(
        "understudy is not running here (no socket at {socket}).\n  \
         Start it with: understudy run --config {config}\n  \
         or name its configuration with --config", socket = .socket.display(), config = .config.display()
    )]
    NotRunning { socket: PathBuf, config: PathBuf },
    #[error("{socket} may be opened by root and by understudy's own user only.\n  Try again with sudo", socket = .socket.display())]
    NotAllowed { socket: PathBuf },
    #[error(
        "understudy does not answer on {socket}: {source}.\n  \
         `understudy health` says whether it is stuck; its log says more (docs/runbook/runtime-stuck.md)", socket = .socket.display()
    )]
    NoAnswer { socket: PathBuf, source: io::Error },
    #[error(
        "understudy answered something that this program does not understand: {0}.\n  \
         Use the program of the running version: understudy --version"
    )]
    Strange(String),
    #[error("nothing answers on the management address {address}: {source}.\n  Start it with: understudy run --config {config}", config = .config.display())]
    NoHealth { address: SocketAddr, source: io::Error, config: PathBuf },
    #[error("this appliance is not healthy; docs/runbook/ has a page for each reason above")]
    Unhealthy,
    #[error("cannot write the result: {0}")]
    Output(io::Error),
    #[error("cannot read {what}: {source}")]
    Input { what: &'static str, source: io::Error },
}

impl CliError {
    /// The exit code; `understudy --help` documents them.
    pub(super) const fn code(&self) -> u8 {
        match self {
            Self::Refused(_) | Self::Strange(_) | Self::Output(_) | Self::Input { .. } => 1,
            Self::Usage(_) => USAGE,
            Self::NotRunning { .. }
            | Self::NotAllowed { .. }
            | Self::NoAnswer { .. }
            | Self::NoHealth { .. } => 3,
            Self::Config(_) | Self::Site(_) => 4,
            Self::Unhealthy => 5,
        }
    }
}
