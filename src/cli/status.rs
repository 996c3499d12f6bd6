//! `understudy status`: everything on one screen.

use super::error::CliError;
use super::{client, output};
use crate::ops::request::{Answer, Request};
use crate::ops::status::{Language, render};
use clap::ValueEnum;
use std::io::IsTerminal;
use std::path::Path;

#[derive(clap::Args)]
pub(super) struct Args {
    /// Print JSON for programs.
    #[arg(long)]
    json: bool,
    /// Language of the screen; otherwise that of the locale.
    #[arg(long)]
    lang: Option<Lang>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Lang {
    En,
    De,
}

pub(super) fn perform(args: &Args, config: &Path) -> Result<(), CliError> {
    let report = match client::ask(config, &Request::Status)? {
        Answer::Status(report) => report,
        other => return Err(client::strange(&other)),
    };
    if args.json {
        let json = serde_json::to_string_pretty(&report);
        let json = json.map_err(|e| CliError::Strange(e.to_string()))?;
        return output::say(&format!("{json}\n"));
    }
    let language = match args.lang {
        Some(Lang::En) => Language::En,
        Some(Lang::De) => Language::De,
        None => Language::of_locale(&locale()),
    };
    let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    output::say(&render(&report, language, colour))
}

/// POSIX: `LC_ALL` goes before `LC_MESSAGES`, that before `LANG`; empty counts as unset.
fn locale() -> String {
    let set = |name| std::env::var(name).ok().filter(|v| !v.is_empty());
    set("LC_ALL").or_else(|| set("LC_MESSAGES")).or_else(|| set("LANG")).unwrap_or_default()
}
