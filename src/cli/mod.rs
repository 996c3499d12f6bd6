//! The command line: one file per subcommand.
//!
//! `run` is the appliance itself; most others ask the running appliance over its control socket.
//!
//! Invariants: every error says what to do; results go to stdout, everything else to stderr; exit
//! codes are those of [`error::CliError::code`]. Deliberately absent: what only `app` can do comes
//! in through [`Program`], so that the command line knows no room but `ops` and `config`.

mod account;
mod address;
mod alias;
mod appliance;
mod audit;
mod boot;
mod branches;
mod certificate;
mod client;
mod config;
mod credential;
mod domain;
mod error;
mod form;
mod handover;
mod health;
mod operator;
mod output;
mod pair;
mod queue;
mod quota;
mod run;
mod screen;
mod site_config;
mod status;
mod tenant;
mod update;
mod witness;

use crate::base::secret::Secret;
use crate::config::{Config, PairSecret, Witness};
use crate::ops::request::{Failure, PairFacts};
use clap::{Parser, Subcommand};
use error::CliError;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Where a witness keeps its configuration.
const WITNESS_CONFIG_DEFAULT: &str = "/etc/understudy/witness.toml";
/// Where an appliance keeps its configuration.
const CONFIG_DEFAULT: &str = "/etc/understudy/understudy.toml";

/// What the composition root does for the command line.
pub trait Program {
    /// Runs the appliance, or the part of it, until it is told to end.
    fn run(&self, config: Config, part: Part) -> Result<ExitCode, Failure>;
    /// Makes a new pair, with this appliance as its first node.
    fn pair_init(&self, config: &Config) -> Result<Formed, Failure>;
    /// Joins the pair whose running first node made `token`.
    fn pair_join(&self, config: &Config, token: &Secret<String>) -> Result<Formed, Failure>;
    /// Makes or joins a pair as the site file says, in one attempt; nothing where it is in one.
    fn pair_form(&self, config: &Config, by: Option<&FormBy>) -> Result<Formed, Failure>;
    /// Who this appliance is in its pair.
    fn pair_show(&self, config: &Config) -> Result<PairFacts, Failure>;
    /// Runs a witness until it is told to end.
    fn witness(&self, config: Witness) -> Result<(), Failure>;
    /// Makes the key of a witness in `dir`, or finds it there; returns its pin.
    fn witness_init(&self, dir: &Path) -> Result<String, Failure>;
}

/// How a flashed appliance gets into its pair.
#[derive(Clone, Debug)]
pub enum FormBy {
    /// It makes the pair of this secret.
    Making(PairSecret),
    /// It joins the pair of this secret.
    Joining(PairSecret),
    /// It joins by what the other appliance has made.
    Token(Secret<String>),
}

/// What of the appliance a process is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Everything, in as many processes as it takes.
    Whole,
    /// The main process; its guardian has started it.
    Guarded,
}

/// A pair that this appliance belongs to now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Formed {
    /// The pair's id.
    pub pair: String,
    /// This node: 0 or 1.
    pub node: u8,
}

/// Understudy: the mail system that stands in when a company's own fails.
///
/// Exit codes: 0 done; 1 refused or failed; 2 the command line is wrong; 3 understudy does not run
/// here; 4 the configuration is wrong; 5 not healthy (`health`).
#[derive(Parser)]
#[command(name = "understudy", version, arg_required_else_help = true)]
struct Args {
    /// The appliance's configuration file.
    #[arg(long, global = true, env = "UNDERSTUDY_CONFIG", default_value = CONFIG_DEFAULT)]
    config: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run this appliance.
    Run(run::Args),
    /// Show everything about this appliance on one screen.
    Status(status::Args),
    /// Say whether this appliance can do what its role demands (exit code 0 or 5).
    Health,
    /// Customer organisations.
    #[command(subcommand)]
    Tenant(tenant::Command),
    /// Mail domains of tenants.
    #[command(subcommand)]
    Domain(domain::Command),
    /// Mailboxes of people.
    #[command(subcommand)]
    Account(account::Command),
    /// Further addresses of accounts.
    #[command(subcommand)]
    Alias(alias::Command),
    /// Passwords that open accounts.
    #[command(subcommand)]
    Credential(credential::Command),
    /// Mail that waits for delivery to others.
    #[command(subcommand)]
    Queue(queue::Command),
    /// People who may use the web console of the appliance.
    #[command(subcommand)]
    Operator(operator::Command),
    /// What was done on this appliance, and by whom.
    Audit(audit::Args),
    /// Certificates that clients are shown.
    #[command(subcommand)]
    Certificate(certificate::Command),
    /// Floating addresses; without a word, a list of them.
    Address {
        #[command(subcommand)]
        command: Option<address::Command>,
    },
    /// What the pair's branches came to, and what lost when they were merged.
    Branches(branches::Args),
    /// Move the primary role to the peer.
    Handover,
    /// The two appliances of a pair.
    #[command(subcommand)]
    Pair(pair::Command),
    /// Run a witness for pairs, on a third machine.
    Witness(witness::Args),
    /// The configuration file.
    #[command(subcommand)]
    Config(config::Command),
    /// What a flashed appliance runs, and what it is to run next.
    #[command(subcommand)]
    Update(update::Command),
    /// The site.toml of flashed appliances.
    #[command(subcommand)]
    SiteConfig(site_config::Command),
    /// What the units of the flashable image run.
    #[command(subcommand, hide = true)]
    Appliance(appliance::Command),
}

/// The whole program: parses the arguments and does what they say.
#[must_use]
pub fn main(program: &dyn Program) -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(e) => {
            // Also `--help` and `--version`, which are no errors; clap knows the stream for each.
            let printed = e.print().is_ok();
            let code = u8::try_from(e.exit_code()).unwrap_or(error::USAGE);
            return if printed { ExitCode::from(code) } else { ExitCode::FAILURE };
        }
    };
    match args.perform(program) {
        Ok(code) => code,
        Err(e) => {
            output::complain(&e.to_string());
            ExitCode::from(e.code())
        }
    }
}

impl Args {
    fn perform(self, program: &dyn Program) -> Result<ExitCode, CliError> {
        let path = self.config;
        let done = match self.command {
            Command::Run(args) => return run::perform(program, args, &path),
            Command::Status(args) => status::perform(&args, &path),
            Command::Health => health::perform(&path),
            Command::Tenant(command) => tenant::perform(command, &path),
            Command::Domain(command) => domain::perform(command, &path),
            Command::Account(command) => account::perform(command, &path),
            Command::Alias(command) => alias::perform(command, &path),
            Command::Credential(command) => credential::perform(command, &path),
            Command::Queue(command) => queue::perform(command, &path),
            Command::Operator(command) => operator::perform(command, &path),
            Command::Audit(args) => audit::perform(&args, &path),
            Command::Certificate(command) => certificate::perform(&command, &path),
            Command::Address { command } => address::perform(command, &path),
            Command::Branches(args) => branches::perform(&args, &path),
            Command::Handover => handover::perform(&path),
            Command::Pair(command) => pair::perform(program, command, &path),
            Command::Witness(args) => witness::perform(program, args, &path),
            Command::Config(command) => config::perform(&command, &path),
            Command::Update(command) => update::perform(command, &path),
            Command::SiteConfig(command) => site_config::perform(command),
            Command::Appliance(command) => appliance::perform(program, command, &path),
        };
        done.map(|()| ExitCode::SUCCESS)
    }
}

#[cfg(test)]
mod tests;
