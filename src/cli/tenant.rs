//! `understudy tenant`: customer organisations.

use super::error::CliError;
use super::{client, output};
use crate::ops::request::{Answer, Named, Request};
use std::path::Path;

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// Create a tenant.
    Create {
        /// Its name: a short word for operators.
        name: String,
    },
    /// List all tenants.
    List,
}

pub(super) fn perform(command: Command, config: &Path) -> Result<(), CliError> {
    match command {
        Command::Create { name } => client::tell(config, &Request::TenantCreate(Named { name })),
        Command::List => list(config),
    }
}

fn list(config: &Path) -> Result<(), CliError> {
    let tenants = match client::ask(config, &Request::TenantList)? {
        Answer::Tenants(tenants) => tenants,
        other => return Err(client::strange(&other)),
    };
    let rows: Vec<Vec<String>> = tenants
        .into_iter()
        .map(|t| vec![t.id.to_string(), t.name, t.domains.to_string(), t.accounts.to_string()])
        .collect();
    let empty = "There is no tenant yet. Create one with: understudy tenant create NAME";
    output::table(&["ID", "NAME", "DOMAINS", "ACCOUNTS"], &rows, empty)
}
