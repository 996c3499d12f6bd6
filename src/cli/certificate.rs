//! `understudy certificate`: what clients are shown.

use super::error::CliError;
use super::{client, output};
use crate::ops::request::{Answer, Request};
use std::path::Path;

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// List the certificates.
    List,
}

pub(super) fn perform(command: &Command, config: &Path) -> Result<(), CliError> {
    match command {
        Command::List => list(config),
    }
}

fn list(config: &Path) -> Result<(), CliError> {
    let certificates = match client::ask(config, &Request::CertificateList)? {
        Answer::Certificates(certificates) => certificates,
        other => return Err(client::strange(&other)),
    };
    let rows: Vec<Vec<String>> = certificates
        .into_iter()
        .map(|c| {
            vec![
                c.names.join(" "),
                c.source,
                output::time(c.from_ms),
                output::time(c.until_ms),
                c.fingerprint,
                c.problem.unwrap_or_default(),
            ]
        })
        .collect();
    let head = ["FOR", "SOURCE", "FROM (UTC)", "UNTIL (UTC)", "SHA-256", "PROBLEM"];
    output::table(&head, &rows, "There is none.")
}
