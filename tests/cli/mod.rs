//! The program as people and scripts meet it: exit codes, streams, and what an error says.

use std::io::Write;
use std::process::{Command, Stdio};

struct Run {
    code: i32,
    out: String,
    err: String,
}

fn run(arguments: &[&str], input: &str) -> Run {
    let mut child = Command::new(env!("CARGO_BIN_EXE_understudy"))
        .args(arguments)
        .env_remove("UNDERSTUDY_CONFIG")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that asks for nothing may be gone before it could read.
    drop(child.stdin.take().unwrap().write_all(input.as_bytes()));
    let output = child.wait_with_output().unwrap();
    Run {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// An appliance that does not run: its configuration file, and the folder that it lives in.
fn stopped(more: &str) -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().to_str().unwrap().to_owned();
    let path = format!("{data}/understudy.toml");
    // Port 9 on loopback: nobody answers there.
    let text = format!(
        "data_dir = {data:?}\nhostname = \"mx.example.net\"\n{more}\n[management]\naddress = \"127.0.0.1:9\"\n"
    );
    std::fs::write(&path, text).unwrap();
    (dir, path)
}

#[test]
fn an_appliance_that_does_not_run_is_said_so_with_the_way_to_start_it() {
    let (_dir, config) = stopped("");
    for arguments in [
        &["status"][..],
        &["tenant", "list"],
        &["handover"],
        &["queue", "list"],
        &["pair", "token"],
    ] {
        let run = run(&[arguments, &["--config", &config]].concat(), "");
        assert_eq!((run.code, run.out.as_str()), (3, ""), "{arguments:?}: {}", run.err);
        assert!(run.err.starts_with("understudy: understudy is not running here (no socket at "));
        assert!(run.err.contains(&format!("understudy run --config {config}")), "{}", run.err);
    }
    let health = run(&["health", "--config", &config], "");
    assert_eq!(health.code, 3, "{}", health.err);
}

#[test]
fn a_configuration_is_checked_with_place_and_suggestion() {
    let (_dir, config) = stopped("");
    let good = run(&["config", "check", &config], "");
    assert_eq!((good.code, good.out), (0, format!("{config} is right.\n")));

    let (_dir, config) = stopped("log_levle = \"info\"");
    let bad = run(&["config", "check", &config], "");
    assert_eq!((bad.code, bad.out.as_str()), (4, ""));
    assert_eq!(
        bad.err,
        format!(
            "understudy: {config}, line 3, column 1: unknown key `log_levle`; did you mean `log_level`?\n"
        )
    );

    let (_dir, config) =
        stopped("[[vrrp]]\ninterface = \"nosuch0\"\nvrid = 1\naddress = [\"10.0.0.1/24\"]");
    let bad = run(&["config", "check", &config], "");
    assert_eq!(bad.code, 1);
    assert!(bad.err.contains("this machine has no nosuch0\n  `ip -brief link`"), "{}", bad.err);
}

#[test]
fn the_example_that_is_printed_is_the_one_that_is_committed() {
    let printed = run(&["config", "example"], "");
    assert_eq!(printed.code, 0);
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let committed = std::fs::read_to_string(path.join("configs/understudy.example.toml")).unwrap();
    assert_eq!(printed.out, committed);
}

#[test]
fn passwords_are_checked_before_anything_is_asked() {
    let (_dir, config) = stopped("");
    let arguments = ["credential", "password", "a@acme.example", "--config", &config];
    for (input, code) in [("", 2), ("\n", 2), ("a\nb\n", 2), ("correct horse\n", 3)] {
        assert_eq!(run(&arguments, input).code, code, "{input:?}");
    }
    assert_eq!(run(&arguments, &"x".repeat(2_000)).code, 2);
}

#[test]
fn what_destroys_needs_a_confirmation() {
    let (_dir, config) = stopped("");
    let removed = run(&["account", "remove", "a@acme.example", "--config", &config], "");
    assert_eq!(removed.code, 2);
    assert!(removed.err.contains("account remove a@acme.example --confirm"), "{}", removed.err);
}

#[test]
fn help_and_version_are_no_errors_and_a_wrong_command_is_one() {
    let help = run(&["--help"], "");
    assert!(help.code == 0 && help.out.contains("Exit codes:") && help.err.is_empty());
    let version = run(&["--version"], "");
    assert_eq!(version.out, format!("understudy {}\n", env!("CARGO_PKG_VERSION")));
    let wrong = run(&["no-such-command"], "");
    assert!(wrong.code == 2 && wrong.out.is_empty() && !wrong.err.is_empty());
}
