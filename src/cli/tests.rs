//! The arguments are consistent, and every command that a document names is one.
//!
//! A command is what stands after `understudy` in a code span, or in a line of a fenced block where a
//! shell would look for a program: after a prompt (`first  $ `) and `sudo -u NAME`. `…` stands for
//! arguments that are left out. Absent: commands in texts of the program itself, and the changelog's,
//! which may be of an earlier release.

use super::*;
use clap::CommandFactory;
use clap::error::ErrorKind;
use std::fs;

/// What stands for a value in a document, and one that is plausible.
const PLACEHOLDERS: [(&str, &str); 7] = [
    ("ADDRESS", "anna@acme.example"),
    ("DIR", "/var/lib/understudy-witness"),
    ("DOMAIN", "acme.example"),
    ("FILE", "/var/lib/understudy/acme.tenant"),
    ("GROUP", "shop"),
    ("ID", "3"),
    ("NAME", "acme"),
];
/// Words between which a shell begins a new command.
const BETWEEN: [&str; 4] = ["|", "||", "&&", ";"];

#[test]
fn the_arguments_are_consistent() {
    Args::command().debug_assert();
}

#[test]
fn every_command_in_the_documents_is_one() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = vec![root.join("README.md"), root.join("CONTRIBUTING.md")];
    markdown(&root.join("docs"), &mut files);
    let (mut findings, mut count) = (Vec::new(), 0);
    for file in files {
        let name = file.strip_prefix(root).unwrap().to_str().unwrap();
        // Whoever follows these types what is written; elsewhere a command may just be named.
        let is_typed = name == "README.md" || name.starts_with("docs/runbook/");
        for words in commands(&fs::read_to_string(&file).unwrap()) {
            count += 1;
            if let Some(fault) = fault(&words, is_typed) {
                findings.push(format!("{name}: {}: {fault}", words.join(" ")));
            }
        }
    }
    assert!(findings.is_empty(), "\nno command of this release:\n  {}\n", findings.join("\n  "));
    assert!(count > 80, "only {count} commands were found: are they still recognised?");
}

#[test]
fn commands_are_found_and_faults_seen() {
    let text = "\
Say `understudy status`, or `understudy\npair join`, not `systemctl stop understudy`.

```
first  $ sudo -u understudy understudy pair init      # understudy no-comment
understudy config example | sudo tee /etc/a | understudy health
sudo useradd --system understudy && understudy tenant import FILE \\
  --as \"a b\"
```
`understudy run … --guarded`, `understudy` and `sudo understudy …`
";
    let found: Vec<String> = commands(text).iter().map(|words| words.join("_")).collect();
    let wanted = [
        "understudy_status",
        "understudy_pair_join",
        "understudy_pair_init",
        "understudy_config_example",
        "understudy_health",
        "understudy_tenant_import_FILE_--as_a b",
        "understudy_run_--guarded",
    ];
    assert_eq!(found, wanted);
    for (line, typed, named) in [
        ("understudy status", true, true),
        ("understudy statsu", false, false),
        ("understudy status --jsno", false, false),
        ("understudy pair", false, true),
        ("understudy domain remove", false, true),
        ("understudy domain remove DOMAIN", true, true),
        ("understudy domain remove DOMIAN", false, false),
        ("understudy account remove ADDRESS", false, true),
        ("understudy account remove ADDRESS --confirm", true, true),
        ("understudy credential revoke ADDRESS ID", true, true),
        ("understudy credential revoke ADDRESS three", false, false),
    ] {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        assert_eq!(fault(&words, true).is_none(), typed, "{line}");
        assert_eq!(fault(&words, false).is_none(), named, "{line}");
    }
}

/// What is wrong with a command. One that is only named, and not to be typed, may lack arguments.
fn fault(words: &[String], is_typed: bool) -> Option<String> {
    let mut filled = Vec::new();
    for word in words {
        let is_placeholder = word.len() > 1 && word.chars().all(|c| c.is_ascii_uppercase());
        filled.push(match PLACEHOLDERS.iter().find(|(name, _)| name == word) {
            Some((_, value)) => *value,
            None if is_placeholder => return Some(format!("no placeholder is called {word}")),
            None => word.as_str(),
        });
    }
    let mut command = Args::command();
    match command.try_get_matches_from_mut(&filled) {
        Ok(_) => {}
        Err(e) => match e.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {}
            ErrorKind::MissingRequiredArgument
            | ErrorKind::MissingSubcommand
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
                if !is_typed => {}
            _ => return e.to_string().lines().next().map(str::to_owned),
        },
    }
    // It parses, and then only says what it would do.
    let of = filled.iter().skip(1).try_fold(&command, |c, word| c.find_subcommand(word).ok_or(c));
    let (Ok(leaf) | Err(leaf)) = of;
    let asks = leaf.get_arguments().any(|a| a.get_long() == Some("confirm"));
    (is_typed && asks && !filled.contains(&"--confirm")).then(|| "lacks --confirm".to_owned())
}

/// The commands in a document, as words.
fn commands(text: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    // Odd pieces are fenced blocks.
    for (n, piece) in text.split("\n```").enumerate() {
        if n % 2 == 1 {
            let block = piece.split_once('\n').map_or("", |(_, lines)| lines);
            found.extend(block.replace("\\\n", " ").lines().flat_map(of_line));
            continue;
        }
        for paragraph in piece.split("\n\n") {
            let spans = paragraph.split('`').skip(1).step_by(2);
            found.extend(spans.flat_map(of_line));
        }
    }
    found
}

fn of_line(line: &str) -> Vec<Vec<String>> {
    let mut words = words(line);
    if let Some(prompt) = words.iter().take(2).position(|w| w == "$") {
        words.drain(..=prompt);
    }
    let parts = words.split(|w| BETWEEN.contains(&w.as_str()));
    parts.filter_map(of_part).collect()
}

/// `sudo -u NAME understudy …` without what stands before the program; `None` for other programs.
fn of_part(part: &[String]) -> Option<Vec<String>> {
    let mut rest = part;
    while let [first, more @ ..] = rest {
        rest = match (first.as_str(), more) {
            ("sudo", _) => more,
            ("-u", [_, more @ ..]) => more,
            ("understudy", [_, ..]) => break,
            _ => return None,
        };
    }
    let kept: Vec<String> = rest.iter().filter(|w| *w != "…").cloned().collect();
    (kept.len() > 1).then_some(kept)
}

/// Words as a shell splits them; a comment ends them.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted) = (Vec::new(), String::new(), false);
    for c in line.chars() {
        match c {
            '"' => quoted = !quoted,
            '#' if !quoted && word.is_empty() => break,
            c if c.is_whitespace() && !quoted => words.push(std::mem::take(&mut word)),
            c => word.push(c),
        }
    }
    words.push(word);
    words.retain(|w| !w.is_empty());
    words
}

fn markdown(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            markdown(&path, files);
        } else if path.extension().is_some_and(|e| e == "md") {
            files.push(path);
        }
    }
}
