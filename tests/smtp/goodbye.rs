//! How sessions are ended that did nothing wrong: they are told why.

use super::appliance::{ALICE, Appliance, BOB, PASSWORD};
use super::submit::signed_in;
use super::wire::{Lines, tls};

/// RFC 5321 3.8, RFC 9051 7.1.5.
#[test]
fn sessions_hear_that_the_appliance_stops() {
    let mut appliance = Appliance::start();
    let mut at_rest = appliance.mx();
    let mut sends = appliance.mx();
    sends.ask("EHLO sender.far.example", "250 ");
    sends.ask("MAIL FROM:<carol@far.example>", "250 2.1.0");
    sends.ask(&format!("RCPT TO:<{BOB}>"), "250 2.1.5");
    sends.ask("DATA", "354 ");
    sends.write(b"Subject: half\r\n\r\nnot all of i");
    let mut submits = Lines::over(tls(appliance.submissions));
    submits.expect("220 ");
    let mut imap = Lines::over(tls(appliance.imaps));
    imap.expect("* OK");
    imap.say(&format!("a LOGIN {BOB} {PASSWORD}"));
    imap.until("a OK");
    imap.say("b IDLE");
    imap.expect("+ ");
    appliance.terminate();
    for lines in [&mut at_rest, &mut sends, &mut submits] {
        lines.expect("421 4.3.2 ");
        lines.expect_end();
    }
    imap.expect("* BYE ");
    imap.expect_end();
    assert!(appliance.wait().success(), "{}", appliance.log());
}

/// RFC 5321 3.8, also in the middle of a message: it was not accepted.
#[test]
fn a_changed_password_ends_the_sessions_that_it_opened() {
    let appliance = Appliance::start();
    let (mut at_rest, mut sends) = (signed_in(&appliance), signed_in(&appliance));
    let mut stranger = appliance.mx();
    sends.ask(&format!("MAIL FROM:<{ALICE}>"), "250 2.1.0");
    sends.ask(&format!("RCPT TO:<{BOB}>"), "250 2.1.5");
    sends.ask("DATA", "354 ");
    sends.write(b"Subject: half\r\n\r\nnot all of i");
    appliance.tell(&["credential", "password", ALICE], "another-horse-battery");
    for lines in [&mut at_rest, &mut sends] {
        lines.expect("421 4.7.0 ");
        lines.expect_end();
    }
    stranger.ask("NOOP", "250 ");
}
