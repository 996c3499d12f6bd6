//! swaks, the SMTP tester, does what decent clients do not. Without TLS, for which it needs a
//! further package: Postfix and our own client do that.

use crate::smtp::appliance::{ALICE, Appliance, BOB, PASSWORD};
use std::path::Path;
use std::process::Command;

/// Runs swaks against a port of the appliance: its transcript, and whether it was content.
fn swaks(port: u16, arguments: &[&str]) -> (String, bool) {
    assert!(Path::new("/usr/bin/swaks").exists(), "install swaks for this test");
    let output = Command::new("/usr/bin/swaks")
        .args(["--server", "127.0.0.1", "--port", &port.to_string()])
        .args(["--helo", "odd.far.example", "--timeout", "60", "--from", "carol@far.example"])
        .args(arguments)
        .output()
        .unwrap();
    let transcript = [output.stdout, output.stderr].concat();
    (String::from_utf8_lossy(&transcript).into_owned(), output.status.success())
}

#[track_caller]
fn check(port: u16, arguments: &[&str], content: bool, said: &[&str]) {
    let (transcript, success) = swaks(port, arguments);
    assert_eq!(success, content, "{arguments:?}\n{transcript}");
    for words in said {
        assert!(transcript.contains(words), "{words:?} is not in\n{transcript}");
    }
}

#[test]
fn odd_clients_get_right_answers() {
    let appliance = Appliance::start();
    let mx = appliance.smtp;
    let both = format!("{BOB},{ALICE}");
    let mixed = format!("nobody@here.example,{BOB},dan@elsewhere.example");
    check(mx, &["--to", BOB], true, &["<-  250 2.0.0 Accepted as "]);
    check(mx, &["--to", BOB, "--protocol", "SMTP"], true, &["<-  250 mx.here.example", "Accepted"]);
    check(mx, &["--to", &both, "--pipeline"], true, &["Accepted as "]);
    check(
        mx,
        &["--to", &mixed, "--pipeline"],
        true,
        &["550 5.1.1", "250 2.1.5", "554 5.7.1", "Accepted as "],
    );
    check(mx, &["--to", "nobody@here.example"], false, &["550 5.1.1"]);
    check(mx, &["--to", "nobody@here.example", "--pipeline"], false, &["550 5.1.1", "554 5.5.1"]);
    check(mx, &["--to", BOB, "--from", "<>"], true, &["Accepted as "]);
    check(mx, &["--to", BOB, "--from", "a@b c"], false, &["<** 501 5."]);
    check(mx, &["--to", BOB, "--body", &"x".repeat(70_000)], false, &["<** 550 5.6.0"]);
    check(mx, &["--to", BOB, "--body", &"line\n".repeat(2_000)], true, &["Accepted as "]);
    check(mx, &["--to", BOB, "--quit-after", "RCPT"], true, &["221 2.0.0"]);
    check(mx, &["--to", BOB, "--drop-after-send", "DATA"], true, &[]);
    let login = ["--auth", "PLAIN", "--auth-user", ALICE, "--auth-password", PASSWORD];
    for port in [mx, appliance.submission] {
        let arguments = [&["--to", BOB], login.as_slice()].concat();
        check(port, &arguments, false, &["Host did not advertise authentication"]);
    }
    // Accepted is there, nothing else is: six for Bob, one for Alice.
    appliance.wait_for(BOB, 6);
    appliance.wait_for(ALICE, 1);
}
