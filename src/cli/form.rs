//! Forming the pair of `site.toml`: what the unit of the program runs before it.

use super::error::CliError;
use super::{FormBy, Program, output};
use crate::appliance::site::{INVITATION_PATH, Invitation};
use crate::config::{self, Config};
use crate::ops::request::Failure;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// First and longest pause between two attempts to join; it doubles.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(30);

#[derive(clap::Args)]
pub(super) struct Args {
    /// What site.toml invites by; there is none for an appliance alone.
    #[arg(default_value = INVITATION_PATH)]
    invitation: PathBuf,
}

pub(super) fn perform(program: &dyn Program, args: &Args, config: &Path) -> Result<(), CliError> {
    form(program, &config::load(config)?, &args.invitation)
}

fn form(program: &dyn Program, config: &Config, path: &Path) -> Result<(), CliError> {
    if config.pair.is_none() {
        return Ok(());
    }
    let by = read(path)?;
    let mut pause = PAUSE_MIN;
    loop {
        match program.pair_form(config, by.as_ref()) {
            Ok(formed) => {
                let (node, pair) = (formed.node, formed.pair);
                output::complain(&format!("this appliance is node {node} of pair {pair}"));
                return Ok(());
            }
            // Without an end: the other appliance may be switched on tomorrow. The service manager may
            // end this at any time; nothing is half done.
            Err(why) => {
                output::complain(&format!("{why}\n  Next attempt in {} s.", pause.as_secs()));
            }
        }
        std::thread::sleep(pause);
        pause = pause.saturating_mul(2).min(PAUSE_MAX);
    }
}

/// The invitation that the start of this machine has written; `None` where there is none, which is
/// enough for an appliance that is in its pair already.
fn read(path: &Path) -> Result<Option<FormBy>, CliError> {
    let failed = |e: &dyn std::fmt::Display| {
        Failure::new(
            format!("the invitation {} cannot be read: {e}", path.display()),
            "It is made from site.toml when the machine starts: restart it.",
        )
    };
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(failed(&e).into()),
    };
    // What toml says would show the line, and with it the secret.
    let found: Invitation = toml::from_str(&text).map_err(|e| failed(&shown(&e)))?;
    Ok(match (found.secret, found.token) {
        (_, Some(token)) => Some(FormBy::Token(token)),
        (Some(secret), None) => {
            let secret = secret.expose().parse().map_err(|e| failed(&e))?;
            Some(if found.node == "a" { FormBy::Making(secret) } else { FormBy::Joining(secret) })
        }
        (None, None) => None,
    })
}

fn shown(e: &toml::de::Error) -> String {
    e.message().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invitation_is_what_the_site_file_says() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("invitation.toml");
        assert!(read(&path).unwrap().is_none());
        let secret = config::PairSecret::random();
        let with = |text: String| {
            std::fs::write(&path, text).unwrap();
            read(&path)
        };
        let of = |node: &str| with(format!("node = \"{node}\"\nsecret = \"{secret}\"\n")).unwrap();
        assert!(matches!(of("a"), Some(FormBy::Making(_))));
        assert!(matches!(of("b"), Some(FormBy::Joining(s)) if s.expose() == secret.expose()));
        let token = with("node = \"a\"\ntoken = \"understudy-x\"\n".to_owned()).unwrap();
        assert!(matches!(token, Some(FormBy::Token(_))), "a token joins, whatever the letter");
        let broken = with(format!("node = \"a\"\nsecrets = \"{secret}\"\n")).unwrap_err();
        assert!(!broken.to_string().contains(&secret.to_string()), "{broken}");
    }
}
