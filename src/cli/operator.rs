//! `understudy operator`: who may use the console.

use super::credential::read_secret;
use super::error::CliError;
use super::{client, output};
use crate::ops::request::{Answer, Named, OperatorPassword, Request};
use std::io::{self, IsTerminal};
use std::path::Path;

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// Let somebody use the console, and show their password once.
    Add {
        /// Their name: 1 to 32 of a-z, 0-9, `.`, `_` and `-`.
        name: String,
    },
    /// List who may use the console.
    List,
    /// Take the console away from somebody; their sessions end at once.
    Remove {
        /// Their name.
        name: String,
    },
    /// Set somebody's password, read from the terminal or from stdin; their sessions end at once.
    Password {
        /// Their name.
        name: String,
    },
}

pub(super) fn perform(command: Command, config: &Path) -> Result<(), CliError> {
    match command {
        Command::Add { name } => add(config, name),
        Command::List => list(config),
        Command::Remove { name } => client::tell(config, &Request::OperatorRemove(Named { name })),
        Command::Password { name } => {
            let password = read_secret("Password")?;
            client::tell(config, &Request::OperatorPassword(OperatorPassword { name, password }))
        }
    }
}

fn add(config: &Path, name: String) -> Result<(), CliError> {
    match client::ask(config, &Request::OperatorAdd(Named { name }))? {
        Answer::OperatorPassword(made) => {
            if io::stdout().is_terminal() {
                output::complain("the password is shown once, and kept nowhere:");
            }
            output::say(&format!("{}\n", made.password.expose()))
        }
        other => Err(client::strange(&other)),
    }
}

fn list(config: &Path) -> Result<(), CliError> {
    let operators = match client::ask(config, &Request::OperatorList)? {
        Answer::Operators(operators) => operators,
        other => return Err(client::strange(&other)),
    };
    let row = |o: crate::ops::request::OperatorEntry| vec![o.name, output::time(o.created_ms)];
    let rows: Vec<Vec<String>> = operators.into_iter().map(row).collect();
    let empty = "Nobody may use the console yet. Let somebody: understudy operator add NAME";
    output::table(&["NAME", "ADDED (UTC)"], &rows, empty)
}
