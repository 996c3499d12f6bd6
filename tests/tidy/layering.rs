//! Which room may call which. The table below is the one in `docs/architecture.md`, word for word.

use super::lexer::{paths, words};
use super::{Source, read, report, sources};
use std::collections::BTreeSet;

/// Rooms, and what they may call besides base, proto and their own section of config.
const MAY_CALL: &[(&str, &str)] = &[
    ("base", "only proto"),
    ("config, store, net, vrrp", "–"),
    ("tls", "store, net"),
    ("http", "net, tls"),
    ("directory", "store"),
    ("mail", "store, directory"),
    ("groupware", "store, directory, mail (outbox)"),
    ("continuity", "store, directory, mail, groupware, net, tls"),
    ("pair", "store, net, tls, vrrp"),
    ("smtp, imap", "mail, directory, net, tls"),
    ("dav", "groupware, directory, http"),
    ("web", "mail, groupware, directory, continuity, http, ops"),
    ("meet", "directory, net, http"),
    ("ops", "store, directory, mail, continuity, pair, vrrp, tls"),
    ("appliance", "ops, config whole"),
    ("cli", "ops, appliance, config whole"),
    ("app", "everything"),
];

/// What any room may name: the proof that this node is primary travels from the listener through
/// services and rules to the store, and means nothing to those who hand it on.
const NAMED_EVERYWHERE: &[&[&str]] = &[&["store", "PrimaryLease"]];

/// A room's own sections of the configuration (`config::resolved`).
const OWN_SECTION: &[(&str, &[&str])] = &[
    ("store", &["Store"]),
    ("net", &["Listen"]),
    ("vrrp", &["Vrrp", "VrrpChecksum", "Cidr"]),
    ("tls", &["Tls", "TlsFiles", "Acme"]),
    ("pair", &["Pair", "PairSecret"]),
    ("smtp", &["Smtp", "Relay"]),
    ("imap", &["Imap"]),
    ("ops", &["Management"]),
];

fn rooms_in(cell: &str) -> Vec<String> {
    cell.split(',').map(|r| r.split_whitespace().next().unwrap_or_default().to_owned()).collect()
}

fn all_rooms() -> BTreeSet<String> {
    MAY_CALL.iter().flat_map(|(rooms, _)| rooms_in(rooms)).collect()
}

/// What `room` may call; `None` for everything.
fn may_call(room: &str) -> Option<BTreeSet<String>> {
    let (_, cell) = MAY_CALL.iter().find(|(rooms, _)| rooms_in(rooms).iter().any(|r| r == room))?;
    match *cell {
        "everything" => None,
        "only proto" => Some(BTreeSet::new()),
        "–" => Some(BTreeSet::from(["base".to_owned(), "config".to_owned()])),
        cell => {
            let mut rooms: BTreeSet<String> = rooms_in(cell).into_iter().collect();
            rooms.extend(["base".to_owned(), "config".to_owned()]);
            Some(rooms)
        }
    }
}

/// Paths into the crate: from its root, or by climbing to it with `super`.
fn calls(source: &Source) -> Vec<(usize, Vec<String>)> {
    let mut found = paths(&source.code, "crate");
    let depth = source.path.trim_end_matches("/mod.rs").matches('/').count();
    let climb = vec!["super"; depth].join("::");
    found.extend(paths(&source.code, &climb));
    found
}

#[test]
fn rooms_call_only_whom_they_may() {
    let rooms = all_rooms();
    let mut findings = Vec::new();
    for source in sources(&["src"]) {
        let Some(room) = source.room().filter(|r| !matches!(*r, "lib" | "main")) else { continue };
        if !rooms.contains(room) {
            findings.push(format!(
                "{}: there is no room `{room}` in the table. Put the file in a room, or add one with an ADR",
                source.path
            ));
        }
        let Some(allowed) = may_call(room) else { continue };
        for (at, path) in calls(&source) {
            let called = path.first().map_or("", String::as_str);
            let travels = NAMED_EVERYWHERE.iter().any(|p| path == *p);
            if rooms.contains(called) && called != room && !allowed.contains(called) && !travels {
                findings.push(format!(
                    "{}:{}: {room} may not call {called}. Put what both need into a room that both may call, or change MAY_CALL with an ADR",
                    source.path,
                    source.line_of(at)
                ));
            }
        }
    }
    report("Rooms call only whom they may (docs/architecture.md):", &findings);
}

#[test]
fn a_room_sees_its_own_section_of_the_configuration_only() {
    let mut findings = Vec::new();
    for source in sources(&["src"]) {
        let Some(room) = source.room() else { continue };
        if matches!(room, "config" | "appliance" | "cli" | "app" | "lib" | "main") {
            continue;
        }
        let own = OWN_SECTION.iter().find(|(r, _)| *r == room).map_or(&[][..], |(_, own)| own);
        for (at, path) in calls(&source) {
            if let [config, section, ..] = path.as_slice()
                && config == "config"
                && !own.contains(&section.as_str())
            {
                findings.push(format!(
                    "{}:{}: {room} takes config::{section}. Let app hand it the one value it needs, or give it a section (OWN_SECTION)",
                    source.path,
                    source.line_of(at)
                ));
            }
        }
    }
    report("A room takes its own section of the configuration only:", &findings);
}

#[test]
fn the_architecture_document_shows_this_table() {
    let document = read("docs/architecture.md");
    let head = "| room | may call (besides base, proto and its own section of config) |";
    let shown: Vec<&str> = document
        .lines()
        .skip_while(|l| *l != head)
        .skip(2)
        .take_while(|l| l.starts_with('|'))
        .collect();
    let table: Vec<String> = MAY_CALL.iter().map(|(a, b)| format!("| {a} | {b} |")).collect();
    assert_eq!(shown, table, "docs/architecture.md must show MAY_CALL, row by row");
}

#[test]
fn only_the_store_names_its_index() {
    let mut findings = Vec::new();
    for source in sources(&["src"]) {
        if source.room() != Some("store") {
            for at in words(&source.code, "redb") {
                findings.push(format!("{}:{}", source.path, source.line_of(at)));
            }
        }
    }
    report("Only store names redb; ask the store for what you need:", &findings);
}

#[test]
fn only_the_pair_makes_a_primary() {
    let mut findings = Vec::new();
    for source in sources(&["src"]) {
        if source.room() != Some("pair") {
            for at in words(&source.code, "PrimaryLease::mint") {
                findings.push(format!("{}:{}", source.path, source.line_of(at)));
            }
        }
    }
    report("Only pair mints a PrimaryLease; services get one from their listener:", &findings);
}

#[test]
fn the_rules_see_what_they_are_for() {
    let wrong = Source {
        path: "src/imap/cmd/x.rs".into(),
        text: String::new(),
        code: "use crate::{mail::Mail, smtp::Reply}; super::super::super::pair::x();".into(),
    };
    let called: Vec<String> = calls(&wrong).into_iter().map(|(_, p)| p[0].clone()).collect();
    assert_eq!(called, ["mail", "smtp", "pair"]);
    let allowed = may_call("imap").unwrap();
    assert!(allowed.contains("mail") && !allowed.contains("smtp") && !allowed.contains("pair"));
    assert!(may_call("app").is_none() && may_call("base").unwrap().is_empty());
}
