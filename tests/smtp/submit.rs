//! Ports 465 and 587: those who live here send.

use super::appliance::{ALICE, Appliance, BOB, PASSWORD};
use super::wire::{Lines, tls};
use base64::prelude::{BASE64_STANDARD, Engine};

pub(super) fn plain(name: &str, password: &str) -> String {
    BASE64_STANDARD.encode(format!("\0{name}\0{password}"))
}

/// A session on port 465 that is signed in as Alice.
pub(super) fn signed_in(appliance: &Appliance) -> Lines {
    let mut lines = Lines::over(tls(appliance.submissions));
    lines.expect("220 ");
    lines.ask("EHLO laptop", "250 AUTH PLAIN LOGIN");
    lines.ask(&format!("AUTH PLAIN {}", plain(ALICE, PASSWORD)), "235 2.7.0");
    lines
}

#[test]
fn submission_over_starttls_needs_tls_then_a_login() {
    let appliance = Appliance::start();
    let mut lines = Lines::plain(appliance.submission);
    lines.expect("220 ");
    lines.ask("EHLO laptop", "250 STARTTLS");
    lines.ask(&format!("AUTH PLAIN {}", plain(ALICE, PASSWORD)), "538 5.7.11");
    lines.ask(&format!("MAIL FROM:<{ALICE}>"), "530 5.7.0");
    lines.ask("STARTTLS", "220 ");
    let mut lines = lines.start_tls();
    lines.ask("EHLO laptop", "250 AUTH PLAIN LOGIN");
    lines.ask(&format!("MAIL FROM:<{ALICE}>"), "530 5.7.0");
    lines.ask("AUTH LOGIN", "334 ");
    lines.ask(&BASE64_STANDARD.encode(ALICE), "334 ");
    lines.ask(&BASE64_STANDARD.encode(PASSWORD), "235 2.7.0");
    lines.ask(&format!("MAIL FROM:<{BOB}>"), "550 5.7.1");
    lines.ask(&format!("MAIL FROM:<{ALICE}>"), "250 2.1.0");
    lines.ask(&format!("RCPT TO:<{BOB}>"), "250 2.1.5");
    lines.ask("DATA", "354 ");
    lines.ask("Subject: hi\r\n\r\nx\r\n.", "250 2.0.0");
    let inbox = appliance.wait_for(BOB, 1);
    assert!(inbox[0].contains(" with ESMTPSA ("), "{}", inbox[0]);
}

#[test]
fn guessing_is_slow_and_ends() {
    let appliance = Appliance::start();
    let mut lines = Lines::over(tls(appliance.submissions));
    lines.expect("220 ");
    lines.ask("EHLO laptop", "250 ");
    let begin = std::time::Instant::now();
    for guess in ["one", "two"] {
        lines.ask(&format!("AUTH PLAIN {}", plain(ALICE, guess)), "535 5.7.8");
    }
    assert!(begin.elapsed() >= std::time::Duration::from_secs(2));
    lines.ask(&format!("AUTH PLAIN {}", plain("nobody@here.example", "x")), "535 5.7.8");
    lines.expect("421 4.7.0");
    lines.expect_end();
}
