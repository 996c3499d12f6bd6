//! `understudy domain`: mail domains of tenants.

use super::error::CliError;
use super::{client, output};
use crate::ops::request::{Answer, DomainAdd, Named, OfTenant, Request};
use std::path::Path;

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// Give a tenant a domain.
    Add {
        /// The tenant's name.
        tenant: String,
        /// The domain.
        domain: String,
    },
    /// List domains.
    List {
        /// Only this tenant's.
        #[arg(long)]
        tenant: Option<String>,
    },
    /// Remove a domain that no account uses.
    Remove {
        /// The domain.
        domain: String,
    },
}

pub(super) fn perform(command: Command, config: &Path) -> Result<(), CliError> {
    match command {
        Command::Add { tenant, domain } => {
            client::tell(config, &Request::DomainAdd(DomainAdd { tenant, domain }))
        }
        Command::List { tenant } => list(config, tenant),
        Command::Remove { domain } => {
            client::tell(config, &Request::DomainRemove(Named { name: domain }))
        }
    }
}

fn list(config: &Path, tenant: Option<String>) -> Result<(), CliError> {
    let domains = match client::ask(config, &Request::DomainList(OfTenant { tenant }))? {
        Answer::Domains(domains) => domains,
        other => return Err(client::strange(&other)),
    };
    let rows: Vec<Vec<String>> = domains.into_iter().map(|d| vec![d.domain, d.tenant]).collect();
    let empty = "There is no domain yet. Add one with: understudy domain add TENANT DOMAIN";
    output::table(&["DOMAIN", "TENANT"], &rows, empty)
}
