//! `understudy config`: whether a configuration is right, and one to start from.

use super::error::CliError;
use super::output;
use crate::config::{self, example};
use crate::ops::request::Failure;
use std::path::{Path, PathBuf};

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// Check a configuration file, and that the files that it names are there.
    Check {
        /// The file; otherwise that of --config.
        file: Option<PathBuf>,
    },
    /// Print a documented example.
    Example,
}

pub(super) fn perform(command: &Command, path: &Path) -> Result<(), CliError> {
    match command {
        Command::Example => output::say(&example::render()),
        Command::Check { file } => check(file.as_deref().unwrap_or(path)),
    }
}

fn check(path: &Path) -> Result<(), CliError> {
    let config = config::load(path)?;
    if let Some(own) = &config.tls.own {
        for (key, file) in [("certificate", &own.certificate), ("key", &own.key)] {
            std::fs::File::open(file).map_err(|e| {
                Failure::new(
                    format!("[tls] `{key}`: cannot open {}: {e}", file.display()),
                    "Put the file there, or leave both keys out for a certificate of the pair's CA.",
                )
            })?;
        }
    }
    for group in &config.vrrp {
        if !Path::new("/sys/class/net").join(&group.interface).exists() {
            return Err(Failure::new(
                format!("[[vrrp]] `interface`: this machine has no {}", group.interface),
                "`ip -brief link` lists its interfaces.",
            )
            .into());
        }
    }
    output::say(&format!("{} is right.\n", path.display()))
}
