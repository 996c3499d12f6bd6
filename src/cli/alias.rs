//! `understudy alias`: further addresses of accounts.

use super::error::CliError;
use super::{client, output};
use crate::ops::request::{AliasAdd, Answer, Named, OfTenant, Request};
use std::path::Path;

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// Give an account another address.
    Add {
        /// The new address.
        alias: String,
        /// The account's address.
        account: String,
    },
    /// Remove an alias.
    Remove {
        /// The alias.
        alias: String,
    },
    /// List aliases.
    List {
        /// Only this tenant's.
        #[arg(long)]
        tenant: Option<String>,
    },
}

pub(super) fn perform(command: Command, config: &Path) -> Result<(), CliError> {
    match command {
        Command::Add { alias, account } => {
            client::tell(config, &Request::AliasAdd(AliasAdd { alias, account }))
        }
        Command::Remove { alias } => {
            client::tell(config, &Request::AliasRemove(Named { name: alias }))
        }
        Command::List { tenant } => list(config, tenant),
    }
}

fn list(config: &Path, tenant: Option<String>) -> Result<(), CliError> {
    let aliases = match client::ask(config, &Request::AliasList(OfTenant { tenant }))? {
        Answer::Aliases(aliases) => aliases,
        other => return Err(client::strange(&other)),
    };
    let rows: Vec<Vec<String>> = aliases.into_iter().map(|a| vec![a.alias, a.account]).collect();
    let empty = "There is no alias yet. Add one with: understudy alias add ALIAS ACCOUNT";
    output::table(&["ALIAS", "ACCOUNT"], &rows, empty)
}
