//! `understudy pair`: how two appliances become a pair, and the way out when one is lost.
//!
//! `init` on the first, `token` on it once it runs, `join` on the second with that token; `show`
//! prints what a witness must know.

use super::credential::read_secret;
use super::error::CliError;
use super::{Formed, Program, client, output};
use crate::config::{self, Config};
use crate::ops::control::SOCKET_NAME;
use crate::ops::request::{Answer, Failure, ForceSolo, PairFacts, Request};
use std::os::unix::net::UnixStream;
use std::path::Path;

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// Make a new pair with this appliance as its first node.
    Init,
    /// Make a one-time token for the second appliance (this one must run).
    Token,
    /// Join a pair as its second node; the token is read from the terminal or from stdin.
    Join,
    /// Print the pair's id and pins, as a witness's configuration wants them.
    Show,
    /// Say that the peer is gone and let this appliance serve alone.
    ForceSolo {
        /// Yes, the peer does not run.
        #[arg(long)]
        confirm: bool,
    },
}

pub(super) fn perform(
    program: &dyn Program,
    command: Command,
    path: &Path,
) -> Result<(), CliError> {
    match command {
        Command::Init => {
            let config = stopped(path)?;
            report(&program.pair_init(&config)?)?;
            output::say(&format!(
                "Next: start it (understudy run --config {}), make a token here\n\
                 (understudy pair token) and use it on the other appliance (understudy pair join).\n",
                path.display()
            ))
        }
        Command::Join => {
            let config = stopped(path)?;
            let token = read_secret("Token")?;
            report(&program.pair_join(&config, &token)?)?;
            output::say(&format!("Next: understudy run --config {}\n", path.display()))
        }
        Command::Token => token(path),
        Command::Show => show(&facts(program, path)?),
        Command::ForceSolo { confirm } => {
            client::tell(path, &Request::PairForceSolo(ForceSolo { confirmed: confirm }))
        }
    }
}

/// The configuration of an appliance that does not run now and has a `[pair]`.
fn stopped(path: &Path) -> Result<Config, CliError> {
    let config = config::load(path)?;
    if UnixStream::connect(config.data_dir.join(SOCKET_NAME)).is_ok() {
        return Err(Failure::new(
            "understudy is running on this data directory",
            "Stop it, form the pair, and start it again.",
        )
        .into());
    }
    if config.pair.is_none() {
        return Err(Failure::new(
            format!("{} has no [pair] section", path.display()),
            "Write one: `understudy config example` shows it.",
        )
        .into());
    }
    Ok(config)
}

fn report(formed: &Formed) -> Result<(), CliError> {
    output::say(&format!("This appliance is node {} of pair {}.\n", formed.node, formed.pair))
}

/// From the program that runs, so that no file is to be read; else from its file.
fn facts(program: &dyn Program, path: &Path) -> Result<PairFacts, CliError> {
    match client::ask(path, &Request::PairShow) {
        Ok(Answer::Pair(facts)) => Ok(facts),
        Ok(other) => Err(client::strange(&other)),
        Err(CliError::NotRunning { .. }) => Ok(program.pair_show(&config::load(path)?)?),
        Err(e) => Err(e),
    }
}

fn show(facts: &PairFacts) -> Result<(), CliError> {
    let mut text = format!(
        "Pair    {}\nNode    {}\nPin     {}\nPeer    {}\n\nFor the witness's configuration:\n\n\
         [[pair]]\nid = \"{}\"\n",
        facts.pair,
        facts.node,
        facts.pin,
        facts.peer_pin.as_deref().unwrap_or("has not joined yet; show this again when it has"),
        facts.pair,
    );
    let pins: Vec<String> = std::iter::once(&facts.pin)
        .chain(&facts.peer_pin)
        .map(|pin| format!("  \"{pin}\",\n"))
        .collect();
    text.push_str(&format!("pins = [\n{}]\n", pins.concat()));
    output::say(&text)
}

fn token(path: &Path) -> Result<(), CliError> {
    match client::ask(path, &Request::PairToken)? {
        Answer::Token(token) => {
            output::complain(&format!("good once, for {} seconds:", token.valid_s));
            output::say(&format!("{}\n", token.token.expose()))
        }
        other => Err(client::strange(&other)),
    }
}
