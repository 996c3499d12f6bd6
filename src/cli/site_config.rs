//! `understudy site-config`: makes and checks the `site.toml` of flashed appliances, and confirms a
//! changed one on the appliance itself.
//!
//! Invariants: no file is overwritten; nothing is written before everything is right; a recovery code is
//! shown once. On a terminal what was not given is asked. Absent on purpose: the medium that the files
//! go to, which any computer writes.

use super::error::CliError;
use super::output;
use crate::appliance::boot::trial::{self, ConfirmError};
use crate::appliance::site::{self, Plan, PlanNode, Written};
use crate::ops::request::Failure;
use crate::ops::status::Language;
use std::fs::OpenOptions;
use std::io::{self, IsTerminal, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Longest answer to a question, in bytes.
const ANSWER_LEN_MAX: u64 = 4096;

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// Make site-a.toml and site-b.toml for a pair, or site.toml for one appliance; on a terminal,
    /// what is not given is asked.
    Make(Box<Make>),
    /// Check a site file, or that two of them make a pair.
    Check {
        /// One file, or both of a pair.
        #[arg(required = true, num_args = 1..=2)]
        files: Vec<PathBuf>,
    },
    /// On an appliance that tries a changed network: keep it. Takes no root.
    Confirm,
    /// Print a documented example.
    Example {
        /// "en" or "de".
        #[arg(long, value_parser = language)]
        language: Option<Language>,
    },
}

/// What is the same on both stands once; what has a `-b` is the second appliance's own.
#[derive(clap::Args)]
pub(super) struct Make {
    /// The language of the appliances, "en" or "de"; without it, that of this terminal.
    #[arg(long, value_parser = language)]
    language: Option<Language>,
    /// One appliance alone.
    #[arg(long)]
    single: bool,
    /// The name that mail clients use, such as mx.example.net.
    #[arg(long)]
    hostname: Option<String>,
    /// What the appliances are called: NAME-a and NAME-b, or just NAME.
    #[arg(long)]
    name: Option<String>,
    /// Network card or its MAC address; several make a bond.
    #[arg(long)]
    interface: Vec<String>,
    /// The second appliance's, where they differ.
    #[arg(long)]
    interface_b: Vec<String>,
    /// VLAN number of the service network.
    #[arg(long)]
    vlan: Option<u16>,
    /// Own address with prefix length, such as 10.0.0.1/24.
    #[arg(long)]
    address: Vec<String>,
    /// The second appliance's.
    #[arg(long)]
    address_b: Vec<String>,
    /// Router.
    #[arg(long)]
    gateway: Vec<String>,
    /// Name server.
    #[arg(long)]
    dns: Vec<String>,
    /// Network card of the cable between the two.
    #[arg(long)]
    crosslink: Option<String>,
    /// The second appliance's, where they differ.
    #[arg(long)]
    crosslink_b: Option<String>,
    /// Own address on that cable.
    #[arg(long, default_value = "192.168.74.1/30")]
    crosslink_address: String,
    /// The second appliance's.
    #[arg(long, default_value = "192.168.74.2/30")]
    crosslink_address_b: String,
    /// Floating address.
    #[arg(long)]
    floating: Vec<String>,
    /// VRRP number, one that nobody else in the network has.
    #[arg(long, default_value_t = 51)]
    vrid: u16,
    /// File with the public SSH key of somebody who may log in.
    #[arg(long)]
    ssh_key: Vec<PathBuf>,
    /// Time server.
    #[arg(long)]
    ntp: Vec<String>,
    /// Folder for the files.
    #[arg(long, default_value = ".")]
    out: PathBuf,
}

pub(super) fn perform(command: Command) -> Result<(), CliError> {
    match command {
        Command::Make(args) => make(*args),
        Command::Check { files } => check(&files),
        Command::Confirm => confirm(),
        Command::Example { language } => {
            output::say(&site::example(language.unwrap_or_else(of_terminal)))
        }
    }
}

fn language(text: &str) -> Result<Language, String> {
    match text {
        "en" => Ok(Language::En),
        "de" => Ok(Language::De),
        _ => Err("it must be \"en\" or \"de\"".to_owned()),
    }
}

fn of_terminal() -> Language {
    let names = ["LC_ALL", "LC_MESSAGES", "LANG"];
    let locale = names.iter().find_map(|n| std::env::var(n).ok().filter(|v| !v.is_empty()));
    Language::of_locale(&locale.unwrap_or_default())
}

fn pick(language: Language, en: &'static str, de: &'static str) -> &'static str {
    if language == Language::De { de } else { en }
}

fn check(files: &[PathBuf]) -> Result<(), CliError> {
    let (mut sites, mut faults) = (Vec::new(), Vec::new());
    for path in files {
        match site::read(&bytes_of(path)?) {
            Ok(site) => sites.push(site),
            Err(errors) => {
                faults.extend(errors.iter().map(|e| format!("{}, {e}", path.display())));
            }
        }
    }
    let language = sites.first().map_or_else(of_terminal, |s| s.language);
    if let [a, b] = sites.as_slice() {
        faults.extend(site::agree(a, b).iter().map(ToString::to_string));
    }
    if !faults.is_empty() {
        return Err(CliError::Site(faults.join("\n")));
    }
    let names: Vec<String> = files.iter().map(|f| f.display().to_string()).collect();
    let names = names.join(pick(language, " and ", " und "));
    output::say(&match (sites.len(), language) {
        (1, Language::En) => format!("{names} is right.\n"),
        (1, Language::De) => format!("{names} ist richtig.\n"),
        (_, Language::En) => format!("{names} are right and make a pair.\n"),
        (_, Language::De) => format!("{names} sind richtig und ergeben ein Paar.\n"),
    })
}

fn bytes_of(path: &Path) -> Result<Vec<u8>, CliError> {
    let most = u64::try_from(site::FILE_LEN_MAX).unwrap_or(u64::MAX);
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(most.saturating_add(1)).read_to_end(&mut bytes))
        .map_err(|e| CliError::Site(format!("{}: {e}", path.display())))?;
    Ok(bytes)
}

fn make(mut args: Make) -> Result<(), CliError> {
    let language = args.language.unwrap_or_else(of_terminal);
    ask_for_missing(&mut args, language)?;
    let out = args.out.clone();
    let single = args.single;
    let plan = plan(args, language)?;
    let made = site::make(&plan).map_err(|errors| {
        // The lines would be those of a file that was never written.
        let bare = errors.into_iter().map(|mut e| {
            e.line = None;
            e.to_string()
        });
        CliError::Site(bare.collect::<Vec<_>>().join("\n"))
    })?;
    let names: &[&str] = if single { &["site.toml"] } else { &["site-a.toml", "site-b.toml"] };
    let paths: Vec<PathBuf> = names.iter().map(|name| out.join(name)).collect();
    if let Some(path) = paths.iter().find(|path| path.exists()) {
        return Err(Failure::new(
            format!("{} {}", path.display(), pick(language, "is there already", "gibt es schon")),
            pick(
                language,
                "Move it away, or name another folder with --out.",
                "Beiseite legen, oder mit --out einen anderen Ordner nennen.",
            ),
        )
        .into());
    }
    for (path, written) in paths.iter().zip(&made) {
        write(path, written)?;
    }
    output::say(&told(language, &paths, &made))
}

fn write(path: &Path, written: &Written) -> Result<(), CliError> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    file.and_then(|mut file| {
        file.write_all(written.text.expose().as_bytes())?;
        file.sync_all()
    })
    .map_err(|e| CliError::Site(format!("{}: {e}", path.display())))
}

fn told(language: Language, paths: &[PathBuf], made: &[Written]) -> String {
    let mut text = String::new();
    for (path, written) in paths.iter().zip(made) {
        let code = written.recovery_code.expose();
        text.push_str(&match language {
            Language::En => {
                format!("{}   recovery code of {}: {code}\n", path.display(), written.name)
            }
            Language::De => {
                format!("{}   Notfallcode von {}: {code}\n", path.display(), written.name)
            }
        });
    }
    text.push_str(pick(
        language,
        "\nNote the codes now, away from the appliances: an appliance keeps only a hash, and they are not\n\
         shown again. Copy each file as site.toml onto the partition UNDERSTUDY of its boot disk. Keep the\n\
         files secret until both appliances have started.\n",
        "\nDie Codes jetzt notieren, nicht bei den Geräten: ein Gerät behält nur eine Prüfsumme, und sie\n\
         werden nicht noch einmal gezeigt. Jede Datei als site.toml auf die Partition UNDERSTUDY ihrer\n\
         Bootplatte kopieren. Die Dateien geheim halten, bis beide Geräte gestartet sind.\n",
    ));
    text
}

fn plan(args: Make, language: Language) -> Result<Plan, CliError> {
    let name = args.name.unwrap_or_default();
    let or = |own: Vec<String>, other: &[String]| if own.is_empty() { other.to_vec() } else { own };
    let node = |suffix: &str, cards, address, crosslink| PlanNode {
        name: if args.single { name.clone() } else { format!("{name}{suffix}") },
        cards,
        address,
        crosslink,
    };
    let (a, b) = (args.crosslink_address, args.crosslink_address_b);
    let card_b = args.crosslink_b.or_else(|| args.crosslink.clone()).map(|card| (card, b));
    let cards_b = or(args.interface_b, &args.interface);
    let card_a = args.crosslink.map(|card| (card, a)).filter(|_| !args.single);
    let mut nodes = vec![node("-a", args.interface, args.address, card_a)];
    if !args.single {
        nodes.push(node("-b", cards_b, args.address_b, card_b));
    }
    let mut authorized_keys = Vec::new();
    for path in &args.ssh_key {
        let text = String::from_utf8_lossy(&bytes_of(path)?).into_owned();
        authorized_keys.extend(text.lines().filter(|l| !l.trim().is_empty()).map(str::to_owned));
    }
    Ok(Plan {
        language,
        hostname: args.hostname.unwrap_or_default(),
        nodes,
        vlan: args.vlan,
        gateway: args.gateway,
        dns: args.dns,
        floating: args.floating,
        vrid: args.vrid,
        authorized_keys,
        ntp: args.ntp,
    })
}

fn confirm() -> Result<(), CliError> {
    trial::say_yes().map_err(|e| {
        let advice = match e {
            ConfirmError::NoTrial => {
                "Nothing needs to be done; understudy status says what is in force."
            }
            ConfirmError::Ask(_) => {
                "Come as the user operator, or confirm at the screen (r, then 4)."
            }
            ConfirmError::NoAnswer | ConfirmError::Keep(_) => {
                "Confirm at the screen (r, then 4), or see docs/runbook/site-trial.md."
            }
        };
        Failure::new(e.to_string(), advice)
    })?;
    output::say("The site.toml on trial is confirmed for good.\n")
}

/// Asks, on a terminal, for what an appliance cannot do without; with no flag at all, for the usual
/// rest too.
fn ask_for_missing(args: &mut Make, language: Language) -> Result<(), CliError> {
    if !io::stdin().is_terminal() {
        return Ok(());
    }
    let asks = |en, de| ask(pick(language, en, de));
    let all = args.hostname.is_none() && args.address.is_empty();
    if all && !args.single {
        let answer = asks("Two appliances as a pair? [Y/n]", "Zwei Geräte als Paar? [J/n]")?;
        args.single = matches!(answer.to_ascii_lowercase().as_str(), "n" | "no" | "nein");
    }
    if args.hostname.is_none() {
        let question = (
            "Name of the mail service, such as mx.example.net",
            "Name des Maildienstes, etwa mx.example.net",
        );
        args.hostname = Some(asks(question.0, question.1)?);
    }
    if args.name.is_none() {
        let answer = asks("What the appliances are called [mail]", "Wie die Geräte heißen [mail]")?;
        args.name = Some(if answer.is_empty() { "mail".to_owned() } else { answer });
    }
    if args.interface.is_empty() {
        let question = pick(
            language,
            "Network card, name or MAC address; two work as one",
            "Netzwerkkarte, Name oder MAC-Adresse; zwei arbeiten wie eine",
        );
        args.interface = list(&ask(question)?);
    }
    // Names may be the same on both machines, MAC addresses are not.
    let is_mac = |card: &String| card.contains([':', '-']);
    if !args.single && args.interface_b.is_empty() && args.interface.iter().any(is_mac) {
        args.interface_b = list(&asks("That of the second appliance", "Die des zweiten Geräts")?);
    }
    if args.address.is_empty() {
        args.address = list(&asks(
            "Own address of the (first) appliance, such as 10.0.0.1/24",
            "Eigene Adresse des (ersten) Geräts, etwa 10.0.0.1/24",
        )?);
    }
    if !args.single && args.address_b.is_empty() {
        args.address_b = list(&asks(
            "Own address of the second appliance, such as 10.0.0.2/24",
            "Eigene Adresse des zweiten Geräts, etwa 10.0.0.2/24",
        )?);
    }
    if !args.single && args.floating.is_empty() {
        args.floating = list(&asks(
            "Floating address, which clients use",
            "Bewegliche Adresse, die Mailprogramme benutzen",
        )?);
    }
    if all && args.gateway.is_empty() {
        args.gateway = list(&asks("Router", "Router")?);
    }
    if all && args.dns.is_empty() {
        args.dns = list(&asks("Name servers", "Nameserver")?);
    }
    if all && !args.single && args.crosslink.is_none() {
        let answer = asks(
            "Network card of the cable between the two; empty: none",
            "Netzwerkkarte des Kabels zwischen den beiden; leer: keines",
        )?;
        args.crosslink = Some(answer).filter(|card| !card.is_empty());
    }
    if !args.single && args.crosslink_b.is_none() && args.crosslink.as_ref().is_some_and(is_mac) {
        args.crosslink_b = Some(asks("That of the second appliance", "Die des zweiten Geräts")?);
    }
    if all && args.ntp.is_empty() {
        args.ntp = list(&asks("Time servers", "Zeitserver")?);
    }
    Ok(())
}

fn list(text: &str) -> Vec<String> {
    let parts = text.split([',', ' ']).filter(|part| !part.is_empty());
    parts.map(str::to_owned).collect()
}

fn ask(question: &str) -> Result<String, CliError> {
    let failed = |source| CliError::Input { what: "the answer", source };
    let mut out = io::stderr().lock();
    out.write_all(format!("{question}: ").as_bytes()).and_then(|()| out.flush()).map_err(failed)?;
    let mut line = String::new();
    let mut limited = io::BufReader::new(io::stdin().lock().take(ANSWER_LEN_MAX));
    io::BufRead::read_line(&mut limited, &mut line).map_err(failed)?;
    Ok(line.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(subcommand)]
        command: Command,
    }

    fn run(words: &[&str]) -> Result<(), CliError> {
        let line = std::iter::once("site-config").chain(words.iter().copied());
        perform(Line::try_parse_from(line).unwrap().command)
    }

    #[test]
    fn a_pair_is_made_and_checked() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().to_str().unwrap();
        let flags = [
            "make",
            "--language",
            "de",
            "--hostname",
            "mx.example.net",
            "--name",
            "mail",
            "--interface",
            "eth0",
            "--address",
            "10.0.0.1/24",
            "--address-b",
            "10.0.0.2/24",
            "--floating",
            "10.0.0.100",
            "--gateway",
            "10.0.0.254",
            "--crosslink",
            "eth1",
            "--out",
            out,
        ];
        run(&flags).unwrap();
        let (a, b) = (format!("{out}/site-a.toml"), format!("{out}/site-b.toml"));
        run(&["check", &a, &b]).unwrap();
        run(&["check", &b]).unwrap();
        let twice = run(&flags).unwrap_err().to_string();
        assert!(twice.contains("gibt es schon"), "{twice}");
        let same = run(&["check", &a, &a]).unwrap_err().to_string();
        assert!(same.contains("`node` ist in beiden gleich"), "{same}");
        std::fs::write(&b, "name = 5\n").unwrap();
        let wrong = run(&["check", &a, &b]).unwrap_err().to_string();
        assert!(wrong.contains("site-b.toml, line 1: `name` must be a text"), "{wrong}");
    }

    #[test]
    fn wrong_answers_write_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().to_str().unwrap();
        let wrong = run(&[
            "make",
            "--single",
            "--language",
            "en",
            "--hostname",
            "mx.example.net",
            "--name",
            "mail",
            "--interface",
            "eth0",
            "--address",
            "10.0.0.1",
            "--out",
            out,
        ]);
        let wrong = wrong.unwrap_err().to_string();
        assert!(wrong.starts_with("[service] `address` has \"10.0.0.1\""), "{wrong}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
