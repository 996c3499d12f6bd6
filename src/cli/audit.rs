//! `understudy audit`: what was done on this appliance, and by whom.

use super::error::CliError;
use super::{client, output};
use crate::ops::request::{Answer, Latest, Request};
use std::path::Path;

#[derive(clap::Args)]
pub(super) struct Args {
    /// Show so many, the latest first.
    #[arg(long, default_value_t = 100)]
    limit: usize,
}

pub(super) fn perform(args: &Args, config: &Path) -> Result<(), CliError> {
    let request = Request::Audit(Latest { limit: Some(args.limit) });
    let entries = match client::ask(config, &request)? {
        Answer::Audit(entries) => entries,
        other => return Err(client::strange(&other)),
    };
    let rows: Vec<Vec<String>> = entries
        .into_iter()
        .map(|e| {
            let done = if e.ok { "done".to_owned() } else { format!("refused: {}", e.what) };
            vec![output::time(e.when_ms), e.by, e.command, e.about, done]
        })
        .collect();
    let head = ["WHEN (UTC)", "BY", "COMMAND", "ABOUT", "OUTCOME"];
    output::table(&head, &rows, "Nothing was done yet.")
}
