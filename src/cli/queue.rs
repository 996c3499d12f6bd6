//! `understudy queue`: mail that waits for delivery to others.

use super::error::CliError;
use super::{client, output};
use crate::ops::request::{Answer, Queued, Request};
use std::path::Path;

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// List what waits.
    List,
    /// Try a message again now, not when its next attempt is due.
    Retry(One),
    /// Take a message out of the queue for good. Its sender is not told.
    Remove(One),
}

#[derive(clap::Args)]
pub(super) struct One {
    /// The tenant, as `queue list` shows it.
    tenant: String,
    /// Its number, as `queue list` shows it.
    id: u64,
}

impl One {
    fn named(self) -> Queued {
        Queued { tenant: self.tenant, id: self.id }
    }
}

pub(super) fn perform(command: Command, config: &Path) -> Result<(), CliError> {
    match command {
        Command::List => list(config),
        Command::Retry(one) => client::tell(config, &Request::QueueRetry(one.named())),
        Command::Remove(one) => client::tell(config, &Request::QueueRemove(one.named())),
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
