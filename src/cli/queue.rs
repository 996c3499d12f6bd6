//! `understudy queue`: mail that waits for delivery to others.

use super::error::CliError;
use super::{client, output};
use crate::ops::request::{Answer, Request};
use std::path::Path;

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// List what waits.
    List,
}

pub(super) fn perform(command: &Command, config: &Path) -> Result<(), CliError> {
    match command {
        Command::List => list(config),
    }
}

fn list(config: &Path) -> Result<(), CliError> {
    let queue = match client::ask(config, &Request::QueueList)? {
        Answer::Queue(queue) => queue,
        other => return Err(client::strange(&other)),
    };
    let rows: Vec<Vec<String>> = queue
        .into_iter()
        .map(|q| {
            vec![
                q.id.to_string(),
                q.tenant,
                format!("<{}>", q.from),
                format!("<{}>", q.to),
                q.size.to_string(),
                output::time(q.accepted_ms),
                q.attempts.to_string(),
                output::time(q.next_ms),
                q.last_answer.unwrap_or_default(),
            ]
        })
        .collect();
    let head =
        ["ID", "TENANT", "FROM", "TO", "BYTES", "ACCEPTED (UTC)", "TRIED", "NEXT (UTC)", "ANSWER"];
    output::table(&head, &rows, "Nothing waits.")
}
