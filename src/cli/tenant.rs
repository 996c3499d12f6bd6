//! `understudy tenant`: customer organisations.

use super::credential::read_secret;
use super::error::CliError;
use super::{client, output, quota};
use crate::base::secret::Secret;
use crate::ops::request::{Answer, Export, Import, Named, Request};
use std::path::{Path, PathBuf};
use std::time::Duration;

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// Create a tenant.
    Create {
        /// Its name: a short word for operators.
        name: String,
    },
    /// List all tenants.
    List,
    /// Show or set the limit of accounts of which nothing else is said.
    Quota {
        /// Its name.
        name: String,
        #[command(flatten)]
        args: quota::Args,
    },
    /// Write a tenant into one encrypted file, while it is served.
    Export {
        /// Its name.
        name: String,
        /// The file to be made; the appliance's user must be able to write there.
        file: PathBuf,
        /// A file with the passphrase in one line; without it, stdin is read.
        #[arg(long)]
        passphrase_file: Option<PathBuf>,
    },
    /// Make a tenant from such a file. Given the same file again, it goes on where it stopped.
    Import {
        /// The file.
        file: PathBuf,
        /// A file with the passphrase in one line; without it, stdin is read.
        #[arg(long)]
        passphrase_file: Option<PathBuf>,
        /// Another name than the tenant had.
        #[arg(long = "as")]
        name: Option<String>,
        /// Beside the tenant that has its domains: a@b.example becomes a@b.example.tenantID.invalid,
        /// for sign-in too. No mail for its domains reaches it.
        #[arg(long)]
        without_domains: bool,
    },
}

/// Between two looks at how far it is.
const LOOK_EVERY: Duration = Duration::from_millis(500);

pub(super) fn perform(command: Command, config: &Path) -> Result<(), CliError> {
    match command {
        Command::Create { name } => client::tell(config, &Request::TenantCreate(Named { name })),
        Command::List => list(config),
        Command::Quota { name, args } => quota::of_tenant(config, name, &args),
        Command::Export { name, file, passphrase_file } => {
            let (file, passphrase) = (whole(&file)?, passphrase(passphrase_file.as_deref())?);
            follow(config, &Request::TenantExport(Export { tenant: name, file, passphrase }))
        }
        Command::Import { file, passphrase_file, name, without_domains } => {
            let (file, passphrase) = (whole(&file)?, passphrase(passphrase_file.as_deref())?);
            let import = Import { file, passphrase, name, without_domains };
            follow(config, &Request::TenantImport(import))
        }
    }
}

/// The path as the appliance, which has another working directory, needs it.
fn whole(file: &Path) -> Result<PathBuf, CliError> {
    std::path::absolute(file).map_err(|source| CliError::Input { what: "the file's path", source })
}

fn passphrase(file: Option<&Path>) -> Result<Secret<String>, CliError> {
    let Some(file) = file else { return read_secret("Passphrase of the file") };
    let text = std::fs::read_to_string(file)
        .map_err(|source| CliError::Input { what: "the passphrase's file", source })?;
    let text = Secret::new(text);
    let line = text.expose().trim_end_matches(['\n', '\r']);
    if line.is_empty() || line.contains('\n') {
        return Err(CliError::Usage("the passphrase's file must hold one line".into()));
    }
    Ok(Secret::new(line.to_owned()))
}

/// Begins it and shows how far it is until it is over.
fn follow(config: &Path, request: &Request) -> Result<(), CliError> {
    let mut answer = client::ask(config, request)?;
    let mut shown = None;
    loop {
        let Answer::Carried(carried) = answer else { return Err(client::strange(&answer)) };
        if let Some(said) = carried.finished {
            return output::say(&format!("{said}\n"));
        }
        let percent = carried.done.saturating_mul(100).checked_div(carried.total);
        if percent != shown {
            shown = percent;
            let (done, total) = (carried.done >> 20, carried.total >> 20);
            output::complain(&format!("{} %, {done} of {total} MiB", percent.unwrap_or(0)));
        }
        std::thread::sleep(LOOK_EVERY);
        answer = client::ask(config, &Request::TenantProgress)?;
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
