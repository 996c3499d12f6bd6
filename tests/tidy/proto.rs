//! `crates/proto` decides without touching the world.

use super::lexer::{paths, words};
use super::{read, report, sources};

/// Words that would let the world in.
const WORLD: &[&str] = &[
    "tokio",
    "getrandom",
    "socket2",
    "nix",
    "Instant",
    "SystemTime",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "ToSocketAddrs",
    "thread_local",
    "println",
    "eprintln",
];

/// Modules of the standard library that touch it. `std::net` stays for its address types, and
/// `std::io::Write` for writing into a `Vec`.
const WORLD_STD: &[&str] = &["fs", "process", "thread", "env", "io"];

#[test]
fn proto_touches_nothing() {
    let mut findings = Vec::new();
    for source in sources(&["crates/proto/src"]) {
        let line = |at| format!("{}:{}", source.path, source.line_of(at));
        for word in WORLD {
            findings.extend(
                words(&source.code, word).into_iter().map(|at| format!("{}: {word}", line(at))),
            );
        }
        for (at, path) in paths(&source.code, "std") {
            let into_memory = path.iter().eq(["io", "Write"]);
            let module = path.first().filter(|m| WORLD_STD.contains(&m.as_str()));
            if let Some(module) = module.filter(|_| !into_memory) {
                findings.push(format!("{}: std::{module}", line(at)));
            }
        }
        for (at, _) in paths(&source.code, "log") {
            findings.push(format!("{}: log", line(at)));
        }
        for (at, word) in words(&source.code, "static").into_iter().map(|at| (at, "static")) {
            let rest = source.code.get(at..).unwrap_or_default();
            let lifetime = source.code.get(..at).is_some_and(|b| b.ends_with('\''));
            if !lifetime
                && rest.lines().next().is_some_and(|l| l.contains("Atomic") || l.contains(" mut "))
            {
                findings.push(format!("{}: {word} that changes", line(at)));
            }
        }
    }
    report(
        "proto takes time, random bytes and answers as arguments, gives output and events, and \
         neither reads, waits, logs nor remembers globally. Move this to the driver in src/:",
        &findings,
    );
}

#[test]
fn proto_depends_on_nothing_that_does() {
    let manifest = read("crates/proto/Cargo.toml");
    let dependencies = manifest.split("[dependencies]").nth(1).unwrap();
    let dependencies = dependencies.split("\n[").next().unwrap();
    let banned = ["tokio", "log", "getrandom", "socket2", "nix", "rustls", "redb", "rand"];
    let names = dependencies.lines().filter_map(|l| l.split(['=', '.', ' ']).next());
    let found: Vec<String> = names.filter(|n| banned.contains(n)).map(str::to_owned).collect();
    report("crates/proto/Cargo.toml names what proto must not use:", &found);
}
