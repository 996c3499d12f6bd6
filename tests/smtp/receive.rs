//! Port 25: mail from anywhere for those who live here.

use super::appliance::{ALICE, Appliance, BOB};
use super::wire::Lines;

fn envelope(lines: &mut Lines, to: &[&str]) {
    lines.ask("EHLO sender.far.example", "250 ");
    lines.ask("MAIL FROM:<carol@far.example> SIZE=100 BODY=8BITMIME", "250 2.1.0");
    for to in to {
        lines.ask(&format!("RCPT TO:<{to}>"), "250 2.1.5");
    }
}

#[test]
fn a_message_arrives_as_it_was_sent_with_its_trace() {
    let appliance = Appliance::start();
    let mut lines = appliance.mx();
    envelope(&mut lines, &[BOB]);
    lines.ask("DATA", "354 ");
    lines.write(b"Subject: one\r\n\r\n..dot\r\n8 bit: \xc3\xb6\r\n");
    let accepted = lines.ask(".", "250 2.0.0 Accepted as ");
    let id = accepted.rsplit(' ').next().unwrap();
    // Two recipients, by BDAT, pipelined: RFC 3030.
    lines.write(
        format!(
            "MAIL FROM:<>\r\nRCPT TO:<{BOB}>\r\nRCPT TO:<nobody@here.example>\r\n\
             RCPT TO:<ALICE@Here.Example>\r\nBDAT 14\r\nSubject: two\r\nBDAT 8 LAST\r\n\r\n.\r\nx\r\n"
        )
        .as_bytes(),
    );
    for reply in ["250 2.1.0", "250 2.1.5", "550 5.1.1", "250 2.1.5", "250 2.0.0 14", "250 2.0.0 A"]
    {
        lines.expect(reply);
    }
    lines.ask("QUIT", "221 2.0.0");
    lines.expect_end();

    let inbox = appliance.wait_for(BOB, 2);
    let (head, body) = inbox[0].split_once("Subject: one\r\n").unwrap();
    assert_eq!(body, "\r\n.dot\r\n8 bit: \u{f6}\r\n");
    let (path, received) = head.split_once("\r\n").unwrap();
    assert_eq!(path, "Return-Path: <carol@far.example>");
    let wanted = format!(
        "Received: from sender.far.example ([127.0.0.1])\r\n\tby mx.here.example with ESMTP\r\n\
         \tid {id}\r\n\tfor <{BOB}>;\r\n\t"
    );
    assert!(received.starts_with(&wanted), "{received}");
    assert!(inbox[1].ends_with("Subject: two\r\n\r\n.\r\nx\r\n"), "{}", inbox[1]);
    assert!(inbox[1].starts_with("Return-Path: <>\r\n") && !inbox[1].contains("\tfor "));
    assert_eq!(appliance.wait_for(ALICE, 1), inbox[1..]);
}

/// A machine that was just set up, or took the place of another, does not know yet whose mail it takes.
#[test]
fn before_the_first_customer_senders_keep_their_mail() {
    let appliance = Appliance::empty("");
    let mut lines = appliance.mx();
    lines.ask("EHLO sender.far.example", "250 ");
    lines.ask("MAIL FROM:<carol@far.example>", "250 2.1.0");
    lines.ask(&format!("RCPT TO:<{BOB}>"), "451 4.3.0");
    appliance.tell(&["tenant", "create", "acme"], "");
    lines.ask(&format!("RCPT TO:<{BOB}>"), "554 5.7.1");
}

#[test]
fn what_must_not_come_in_does_not() {
    let appliance = Appliance::start();
    let mut lines = appliance.mx();
    lines.ask("EHLO sender.far.example", "250 ");
    lines.ask("MAIL FROM:<carol@far.example> SIZE=1048577", "552 5.3.4");
    lines.ask("MAIL FROM:<carol@far.example>", "250 2.1.0");
    lines.ask("RCPT TO:<nobody@here.example>", "550 5.1.1");
    lines.ask("RCPT TO:<dan@elsewhere.example>", "554 5.7.1");
    lines.ask("DATA", "554 5.5.1");
    // RFC 5321 4.5.1: there is always a postmaster.
    lines.ask("RCPT TO:<postmaster>", "250 2.1.5");
    lines.ask(&format!("RCPT TO:<{BOB}>"), "250 2.1.5");
    lines.ask("DATA", "354 ");
    // SMTP smuggling: CVE-2023-51764 and its kin.
    lines.write(b"Subject: x\r\n\r\nhello\n.\nMAIL FROM:<evil@far.example>\r\n");
    lines.write(format!("RCPT TO:<{ALICE}>\r\nDATA\r\nsmuggled\r\n").as_bytes());
    lines.ask(".", "550 5.6.11");
    lines.ask("RSET", "250 2.0.0");
    for (text, reply) in [
        (format!("{}\r\n", "x".repeat(65_537)), "550 5.6.0"),
        ("nul\0\r\n".to_owned(), "554 5.6.0"),
        ("0123456789abcdef\r\n".repeat(60_000), "552 5.3.4"),
        ("Received: loop\r\n".repeat(101), "554 5.4.6"),
    ] {
        envelope(&mut lines, &[BOB]);
        lines.ask("DATA", "354 ");
        lines.write(text.as_bytes());
        lines.ask(".", reply);
    }
    lines.ask(&format!("NOOP {}", "x".repeat(3_000)), "500 5.5.2");
    lines.write(b"NOOP\nNOOP\r\n");
    lines.expect("500 5.5.2");
    lines.expect_end();
    assert!(appliance.inbox(BOB).is_empty() && appliance.inbox(ALICE).is_empty());
}

// RFC 3207 6; CVE-2011-0411.
#[test]
fn plaintext_behind_starttls_is_not_taken_for_tls() {
    let appliance = Appliance::start();
    let mut lines = appliance.mx();
    envelope(&mut lines, &[BOB]);
    lines.write(b"STARTTLS\r\nRSET\r\nMAIL FROM:<evil@far.example>\r\n");
    lines.expect("220 2.0.0");
    let mut lines = lines.start_tls();
    lines.ask("MAIL FROM:<carol@far.example>", "503 5.5.1");
    lines.say("EHLO sender.far.example");
    assert!(lines.until("250 ").iter().all(|line| !line.contains("STARTTLS")));
    lines.ask("STARTTLS", "503 5.5.1");
    lines.ask("MAIL FROM:<carol@far.example>", "250 2.1.0");
    lines.ask(&format!("RCPT TO:<{BOB}>"), "250 2.1.5");
    lines.ask("DATA", "354 ");
    lines.ask("Subject: tls\r\n\r\nx\r\n.", "250 2.0.0");
    let inbox = appliance.wait_for(BOB, 1);
    assert!(inbox[0].contains(" with ESMTPS (TLSv1.3 TLS_"), "{}", inbox[0]);
}

#[test]
fn a_big_message_streams_through() {
    let appliance = Appliance::with("message_size_max = 33554432");
    let mut lines = appliance.mx();
    envelope(&mut lines, &[BOB]);
    lines.ask("DATA", "354 ");
    let line = format!("{}\r\n", "0123456789".repeat(7));
    let text = line.repeat(200_000);
    lines.write(b"Subject: big\r\n\r\n");
    lines.write(text.as_bytes());
    lines.ask(".", "250 2.0.0");
    let inbox = appliance.wait_for(BOB, 1);
    assert!(inbox[0].ends_with(&text));
}

#[test]
fn mail_for_a_full_mailbox_waits_at_its_sender_until_there_is_room() {
    let appliance = Appliance::start();
    appliance.tell(&["account", "quota", BOB, "--limit", "1KiB"], "");
    let mut lines = appliance.mx();
    envelope(&mut lines, &[BOB]);
    lines.ask("DATA", "354 ");
    let text = "x".repeat(900);
    lines.ask(&format!("Subject: fills\r\n\r\n{text}\r\n."), "250 2.0.0");
    appliance.wait_for(BOB, 1);

    // RFC 5321 4.2.3: whoever is told 452 tries again; others of the same message get theirs.
    lines.ask("MAIL FROM:<carol@far.example>", "250 2.1.0");
    lines.ask(&format!("RCPT TO:<{BOB}>"), "452 4.2.2");
    lines.ask(&format!("RCPT TO:<{ALICE}>"), "250 2.1.5");
    lines.ask("DATA", "354 ");
    lines.ask("Subject: on\r\n\r\nhi\r\n.", "250 2.0.0");
    appliance.wait_for(ALICE, 1);
    assert_eq!(appliance.inbox(BOB).len(), 1);

    appliance.tell(&["account", "quota", BOB, "--limit", "none"], "");
    envelope(&mut lines, &[BOB]);
    lines.ask("DATA", "354 ");
    lines.ask("Subject: again\r\n\r\nhi\r\n.", "250 2.0.0");
    appliance.wait_for(BOB, 2);
}
