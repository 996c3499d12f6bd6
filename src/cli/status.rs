//! `understudy status`: everything on one screen.

use super::error::CliError;
use super::{client, output};
use crate::appliance::report::Trouble;
use crate::appliance::screen::gather::{self, Places};
use crate::ops::request::{Answer, Request};
use crate::ops::status::{Language, StatusReport, render};
use clap::ValueEnum;
use serde_json::json;
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
    let machine = gather::troubles(&Places::of_image(config)).map(|(_, troubles)| troubles);
    let asked = client::ask(config, &Request::Status);
    if args.json {
        let report = match asked? {
            Answer::Status(report) => report,
            other => return Err(client::strange(&other)),
        };
        let json = json(&report, machine.as_deref());
        let json = json.map_err(|e| CliError::Strange(e.to_string()))?;
        return output::say(&format!("{json}\n"));
    }
    let language = match args.lang {
        Some(Lang::En) => Language::En,
        Some(Lang::De) => Language::De,
        None => Language::of_locale(&locale()),
    };
    let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    // The machine has its say also where the program does not answer.
    let machine = below(machine.as_deref().unwrap_or_default(), language);
    match asked {
        Ok(Answer::Status(report)) => {
            output::say(&format!("{}{machine}", render(&report, language, colour)))
        }
        Ok(other) => Err(client::strange(&other)),
        Err(e) => {
            output::say(&machine)?;
            Err(e)
        }
    }
}

/// The report, on an appliance of ours with what is wrong with the machine.
fn json(report: &StatusReport, machine: Option<&[Trouble]>) -> serde_json::Result<String> {
    let mut value = serde_json::to_value(report)?;
    if let (Some(fields), Some(troubles)) = (value.as_object_mut(), machine) {
        let entry = |trouble: &Trouble| {
            let (what, todo) = trouble.words(Language::En);
            json!({ "what": what, "do": todo, "runbook": trouble.runbook() })
        };
        fields.insert("machine".to_owned(), troubles.iter().map(entry).collect());
    }
    serde_json::to_string_pretty(&value)
}

/// What is wrong with the machine, as lines below the program's own.
fn below(troubles: &[Trouble], language: Language) -> String {
    let head = match language {
        Language::En => "This machine",
        Language::De => "Diese Maschine",
    };
    let mut text = String::new();
    for (trouble, head) in troubles.iter().zip(std::iter::once(head).chain(std::iter::repeat(""))) {
        if !head.is_empty() {
            text.push_str(&format!("\n{head}:\n"));
        }
        let (what, todo) = trouble.words(language);
        text.push_str(&format!(
            "  ! {what}\n    {todo}\n    docs/runbook/{}.md\n",
            trouble.runbook()
        ));
    }
    text
}

/// POSIX: `LC_ALL` goes before `LC_MESSAGES`, that before `LANG`; empty counts as unset.
fn locale() -> String {
    let set = |name| std::env::var(name).ok().filter(|v| !v.is_empty());
    set("LC_ALL").or_else(|| set("LC_MESSAGES")).or_else(|| set("LANG")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_has_its_say_below() {
        assert_eq!(below(&[], Language::En), "");
        let text = below(&[Trouble::ClockUnset, Trouble::SiteChanged], Language::De);
        assert!(text.starts_with("\nDiese Maschine:\n  ! kein Zeitserver"), "{text}");
        assert!(text.ends_with("docs/runbook/site-file.md\n"), "{text}");
        assert_eq!(text.matches("Diese Maschine").count(), 1);
    }
}
