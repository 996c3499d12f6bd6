//! How a flashed appliance gets into its pair by itself.
//!
//! Invariants: one that is in a pair stays as it is; none is made where the other appliance is in one
//! already, so that a machine that was flashed anew with its old file does not begin beside the mail.

use super::{failure, formed, make_data_dir, runtime};
use crate::base::clock;
use crate::cli::{FormBy, Formed};
use crate::config::Config;
use crate::ops::request::Failure;
use crate::pair::formation::{self, Invitation, PairIdentity, Patience, Token};
use crate::tls;

/// One attempt.
pub(super) fn pair_form(config: &Config, by: Option<&FormBy>) -> Result<Formed, Failure> {
    form(config, by, Patience::default())
}

fn form(config: &Config, by: Option<&FormBy>, patience: Patience) -> Result<Formed, Failure> {
    let known = PairIdentity::load(&config.data_dir)
        .map_err(|e| failure("the pair's file cannot be read", &e))?;
    if known.is_some() {
        if let Some(FormBy::Making(secret)) = by
            && let Err(e) = formation::renew(&config.data_dir, secret, clock::now_ms())
        {
            return Err(failure("the invitation of the other appliance was not renewed", &e));
        }
        return formed(config);
    }
    tls::install();
    make_data_dir(config)?;
    let runtime = runtime("form", 1)?;
    let peers = config.pair.as_ref().map_or(&[][..], |pair| &pair.peer);
    let invitation = match by {
        None => {
            return Err(Failure::new(
                "this appliance is in no pair, and site.toml has no secret or token for one",
                "Take the files of `understudy site-config make`, or a token of the other appliance.",
            ));
        }
        Some(FormBy::Making(secret)) => {
            if let Some(address) = runtime.block_on(formation::answers(peers, patience)) {
                return Err(Failure::new(
                    format!("the other appliance, at {address}, is in a pair already"),
                    "This one replaces a lost one? Run `understudy pair token` there, and write the \
                     token as `token` under [pair] in site.toml, instead of `secret`.",
                ));
            }
            formation::init_by_secret(&config.data_dir, secret, clock::now_ms())
                .map_err(|e| failure("the pair was not made", &e))?;
            return formed(config);
        }
        Some(FormBy::Joining(secret)) => Invitation::of_secret(secret, peers),
        Some(FormBy::Token(token)) => {
            let token = token.expose().parse::<Token>();
            Invitation::from(&token.map_err(|e| failure("the token cannot be used", &e))?)
        }
    };
    runtime
        .block_on(formation::join(&config.data_dir, invitation))
        .map_err(|e| failure("the pair was not joined yet", &e))?;
    formed(config)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, PairSecret};
    use std::time::Duration;

    const AT_ONCE: Patience = Patience { refused: Duration::ZERO, silent: Duration::ZERO };

    #[test]
    fn an_appliance_makes_its_pair_once_and_never_beside_another() {
        let dir = tempfile::tempdir().unwrap();
        let config = |name: &str| {
            let data = dir.path().join(name);
            let text = format!(
                "data_dir = {data:?}\nhostname = \"mx.example.net\"\n\
                 [pair]\nlisten = [\"127.0.0.2:1\"]\npeer = [\"127.0.0.1:1\"]\n"
            );
            config::parse(&text).unwrap()
        };
        let by = FormBy::Making(PairSecret::random());
        let first = form(&config("a"), Some(&by), AT_ONCE).unwrap();
        assert_eq!(first.node, 0);
        assert_eq!(form(&config("a"), Some(&by), AT_ONCE).unwrap(), first, "nothing is made twice");
        assert_eq!(
            form(&config("a"), None, AT_ONCE).unwrap(),
            first,
            "nor is an invitation needed"
        );
        let other = form(&config("b"), Some(&FormBy::Making(PairSecret::random())), AT_ONCE);
        assert_ne!(other.unwrap().pair, first.pair);
        assert!(form(&config("c"), None, AT_ONCE).unwrap_err().what.contains("in no pair"));
        let nobody = form(&config("c"), Some(&FormBy::Joining(PairSecret::random())), AT_ONCE);
        assert!(nobody.unwrap_err().what.contains("cannot be reached"));
    }
}
