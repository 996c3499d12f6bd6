//! `understudy account`: mailboxes of people.

use super::error::CliError;
use super::{client, output, quota};
use crate::ops::request::{AccountEntry, Administrator, Answer, Named, OfTenant, Request};
use std::path::Path;

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// Create an account. Its domain decides the tenant.
    Create {
        /// Its address.
        address: String,
    },
    /// List accounts.
    List {
        /// Only this tenant's.
        #[arg(long)]
        tenant: Option<String>,
    },
    /// Show how much an account's mail takes and may take, or set a limit.
    Quota {
        /// Its address.
        address: String,
        #[command(flatten)]
        args: quota::Args,
    },
    /// Make an account an administrator of its tenant, or none any more.
    Administrator {
        /// Its address.
        address: String,
        /// It is one from now on.
        #[arg(long, required_unless_present = "off", conflicts_with = "off")]
        on: bool,
        /// It is none any more.
        #[arg(long)]
        off: bool,
    },
    /// Close an account: nobody can open it and mail to it is refused; its mail is kept.
    Remove {
        /// Its address.
        address: String,
        /// Yes, close it.
        #[arg(long)]
        confirm: bool,
    },
}

pub(super) fn perform(command: Command, config: &Path) -> Result<(), CliError> {
    match command {
        Command::Create { address } => {
            client::tell(config, &Request::AccountCreate(Named { name: address }))
        }
        Command::Quota { address, args } => quota::of_account(config, address, &args),
        Command::List { tenant } => list(config, tenant),
        Command::Administrator { address, on, off: _ } => {
            let request = Request::AccountAdministrator(Administrator { account: address, on });
            client::tell(config, &request)
        }
        Command::Remove { address, confirm: true } => {
            client::tell(config, &Request::AccountRemove(Named { name: address }))
        }
        Command::Remove { address, confirm: false } => Err(CliError::Usage(format!(
            "this closes {address}: its addresses and passwords go, its mail is kept.\n  \
             If that is meant: understudy account remove {address} --confirm"
        ))),
    }
}

fn list(config: &Path, tenant: Option<String>) -> Result<(), CliError> {
    let accounts = match client::ask(config, &Request::AccountList(OfTenant { tenant }))? {
        Answer::Accounts(accounts) => accounts,
        other => return Err(client::strange(&other)),
    };
    let role = |administrator| if administrator { "administrator" } else { "" }.to_owned();
    let row = |a: AccountEntry| vec![a.address, a.tenant, role(a.administrator)];
    let rows: Vec<Vec<String>> = accounts.into_iter().map(row).collect();
    let empty = "There is no account yet. Create one with: understudy account create ADDRESS";
    output::table(&["ADDRESS", "TENANT", "ROLE"], &rows, empty)
}
