//! `understudy branches`: what two branches of the pair came to, and what lost when they met.

use super::error::CliError;
use super::{client, output};
use crate::ops::request::{Answer, BranchEntry, LostEntry, Request};
use std::path::Path;

#[derive(clap::Args)]
pub(super) struct Args {
    /// As JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn perform(args: &Args, config: &Path) -> Result<(), CliError> {
    let branches = match client::ask(config, &Request::Branches)? {
        Answer::Branches(branches) => branches,
        other => return Err(client::strange(&other)),
    };
    if args.json {
        let json = serde_json::to_string_pretty(&branches);
        let json = json.map_err(|e| CliError::Strange(e.to_string()))?;
        return output::say(&format!("{json}\n"));
    }
    let head = ["BRANCH", "TENANT", "BEGAN (UTC)", "STATE", "LOST"];
    let rows: Vec<Vec<String>> = branches.iter().map(row).collect();
    output::table(&head, &rows, "No branch was ever merged here.")?;
    let mut lost: Vec<Vec<String>> = Vec::new();
    for branch in &branches {
        lost.extend(branch.lost.iter().map(|l| {
            vec![
                branch.branch.clone(),
                output::time(l.when_ms),
                l.object.clone(),
                l.rule.clone(),
                l.lost.clone(),
                original(l),
            ]
        }));
    }
    if lost.is_empty() {
        return Ok(());
    }
    let head = ["BRANCH", "WHEN (UTC)", "OBJECT", "RULE", "WHAT LOST", "ORIGINAL"];
    output::table(&head, &lost, "")
}

fn row(b: &BranchEntry) -> Vec<String> {
    let state = match (b.finished_ms, b.stage) {
        (Some(at), _) => format!("merged {}", output::time(at)),
        (None, 0) => format!("taking records, at {}", b.taken),
        (None, stage) => format!("merging {stage}/{}, {} done", b.stages, b.tasks_done),
    };
    vec![
        b.branch.clone(),
        b.tenant.clone().unwrap_or_else(|| "(system)".to_owned()),
        output::time(b.began_ms),
        state,
        b.lost.len().to_string(),
    ]
}

fn original(l: &LostEntry) -> String {
    match l.original {
        Some(record) => format!("record {record}"),
        None if l.kept => "kept with this entry".to_owned(),
        None => "as said".to_owned(),
    }
}
