//! `understudy address`: floating addresses, and those of origins that this pair stands in for.

use super::error::CliError;
use super::{client, output};
use crate::ops::request::{AddressClaim, Answer, Named, Request};
use std::path::Path;

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// List all groups of addresses.
    List,
    /// Take the addresses of an origin that is gone.
    Claim {
        /// The group's name, as `address list` shows it.
        group: String,
        /// Take them although somebody answers for them.
        #[arg(long)]
        force: bool,
    },
    /// Give the addresses of an origin back.
    Release {
        /// The group's name.
        group: String,
    },
}

pub(super) fn perform(command: Option<Command>, config: &Path) -> Result<(), CliError> {
    match command {
        None | Some(Command::List) => list(config),
        Some(Command::Claim { group, force }) => {
            let claim = AddressClaim { name: group, force };
            client::tell(config, &Request::AddressClaim(claim))
        }
        Some(Command::Release { group }) => {
            client::tell(config, &Request::AddressRelease(Named { name: group }))
        }
    }
}

fn list(config: &Path) -> Result<(), CliError> {
    let groups = match client::ask(config, &Request::AddressList)? {
        Answer::Addresses(groups) => groups,
        other => return Err(client::strange(&other)),
    };
    let rows: Vec<Vec<String>> = groups
        .into_iter()
        .map(|g| {
            vec![
                g.name,
                g.tenant.map_or(g.kind.clone(), |tenant| format!("{} {tenant}", g.kind)),
                g.addresses.join(" "),
                format!("{} {}", g.interface, g.vrid),
                g.state,
                g.holder.unwrap_or_else(|| "nobody".to_owned()),
                g.priority.to_string(),
                g.since_ms.map(output::time).unwrap_or_default(),
                g.claim.unwrap_or_default(),
                g.problem.unwrap_or_default(),
            ]
        })
        .collect();
    let head = [
        "GROUP",
        "KIND",
        "ADDRESSES",
        "LINK",
        "STATE",
        "HOLDER",
        "PRIORITY",
        "SINCE (UTC)",
        "CLAIM",
        "PROBLEM",
    ];
    output::table(&head, &rows, "There are no floating addresses.")
}
