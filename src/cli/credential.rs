//! `understudy credential`: passwords that open accounts.
//!
//! A password is read from the terminal without echo, or from stdin when that is no terminal; never
//! from an argument, which every process could see.

use super::error::CliError;
use super::{client, output};
use crate::base::secret::Secret;
use crate::ops::request::{Answer, AppPassword, Named, Password, Request, Revoke};
use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};
use std::io::{self, IsTerminal, Read};
use std::path::Path;

/// Longest password in bytes.
const PASSWORD_LEN_MAX: u64 = 1024;

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// Set an account's password, read from the terminal or from stdin.
    Password {
        /// The account's address.
        account: String,
    },
    /// Make a long random password for one device, and show it once.
    AppPassword {
        /// The account's address.
        account: String,
        /// What it is for.
        #[arg(long, default_value = "app")]
        label: String,
        /// After how many days it ends; without it, never.
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..=3_660))]
        days: Option<u32>,
    },
    /// List an account's credentials.
    List {
        /// The account's address.
        account: String,
    },
    /// Take an account's second factor away, for a person who has lost what shows the codes.
    ///
    /// While an account has one, mail programs sign in with app passwords only.
    TotpReset {
        /// The account's address.
        account: String,
    },
    /// Take a credential away.
    Revoke {
        /// The account's address.
        account: String,
        /// Its number, as `credential list` shows it.
        id: u64,
    },
}

pub(super) fn perform(command: Command, config: &Path) -> Result<(), CliError> {
    match command {
        Command::Password { account } => {
            let password = read_secret("Password")?;
            client::tell(config, &Request::CredentialPassword(Password { account, password }))
        }
        Command::AppPassword { account, label, days } => {
            app_password(config, AppPassword { account, label, days })
        }
        Command::List { account } => list(config, account),
        Command::TotpReset { account } => {
            client::tell(config, &Request::CredentialTotpReset(Named { name: account }))
        }
        Command::Revoke { account, id } => {
            client::tell(config, &Request::CredentialRevoke(Revoke { account, id }))
        }
    }
}

fn app_password(config: &Path, asked: AppPassword) -> Result<(), CliError> {
    let request = Request::CredentialAppPassword(asked);
    match client::ask(config, &request)? {
        Answer::AppPassword(made) => {
            if io::stdout().is_terminal() {
                output::complain(&format!(
                    "credential {}; this is shown once, and kept nowhere:",
                    made.id
                ));
            }
            output::say(&format!("{}\n", made.password.expose()))
        }
        other => Err(client::strange(&other)),
    }
}

fn list(config: &Path, account: String) -> Result<(), CliError> {
    let request = Request::CredentialList(Named { name: account });
    let credentials = match client::ask(config, &request)? {
        Answer::Credentials(credentials) => credentials,
        other => return Err(client::strange(&other)),
    };
    let rows: Vec<Vec<String>> = credentials
        .into_iter()
        .map(|c| {
            let ends = c.ends_ms.map_or_else(|| "-".to_owned(), output::time);
            vec![c.id.to_string(), c.kind, c.label, output::time(c.created_ms), ends]
        })
        .collect();
    let empty = "Nothing opens this account. Try: understudy credential password ADDRESS";
    output::table(&["ID", "KIND", "LABEL", "MADE (UTC)", "ENDS (UTC)"], &rows, empty)
}

/// Reads one secret: from the terminal without echo, or all of stdin.
pub(super) fn read_secret(prompt: &str) -> Result<Secret<String>, CliError> {
    let stdin = io::stdin();
    let secret = if stdin.is_terminal() {
        output::complain(&format!("{prompt} (it is not shown), then Enter:"));
        let _quiet = Quiet::new();
        let mut line = String::new();
        stdin.read_line(&mut line).map(|_| line)
    } else {
        let mut text = String::new();
        stdin.lock().take(PASSWORD_LEN_MAX + 2).read_to_string(&mut text).map(|_| text)
    };
    let secret = secret.map_err(|source| CliError::Input { what: "the password", source })?;
    let secret = Secret::new(secret);
    let line = secret.expose().strip_suffix('\n').unwrap_or(secret.expose());
    let line = line.strip_suffix('\r').unwrap_or(line);
    let fits = u64::try_from(line.len()).is_ok_and(|n| (1..=PASSWORD_LEN_MAX).contains(&n));
    if fits && !line.contains(['\n', '\0']) {
        Ok(Secret::new(line.to_owned()))
    } else {
        Err(CliError::Usage(format!(
            "that is no password: it must be one line of 1 to {PASSWORD_LEN_MAX} bytes"
        )))
    }
}

/// Turns the terminal's echo off until it is dropped.
struct Quiet(Option<Termios>);

impl Quiet {
    fn new() -> Self {
        let Ok(before) = tcgetattr(io::stdin()) else { return Self(None) };
        let mut quiet = before.clone();
        quiet.local_flags.remove(LocalFlags::ECHO);
        let changed = tcsetattr(io::stdin(), SetArg::TCSAFLUSH, &quiet).is_ok();
        Self(changed.then_some(before))
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        if let Some(before) = &self.0
            && tcsetattr(io::stdin(), SetArg::TCSAFLUSH, before).is_err()
        {
            output::complain("the terminal stays silent; `stty echo` brings it back");
        }
    }
}
