//! What is for others: the queue, a relay that misbehaves, and bounces.

use super::appliance::{ALICE, Appliance, BOB, LONG};
use super::submit::signed_in;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;
use understudy::base::clock::mono;

/// A relay that answers RCPT by the recipient's local part and hands over what it took.
fn relay() -> (u16, Receiver<String>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let (taken, takes) = sync_channel(16);
    std::thread::spawn(move || {
        let mut seen_later = 0;
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let mut text: Option<String> = None;
            let mut envelope = String::new();
            let mut reply = "220 relay\r\n".to_owned();
            loop {
                stream.get_mut().write_all(reply.as_bytes()).unwrap();
                let mut line = String::new();
                if stream.read_line(&mut line).unwrap_or(0) == 0 {
                    break;
                }
                reply = match (&mut text, line.as_str()) {
                    (Some(all), ".\r\n") => {
                        // The test may have ended.
                        drop(taken.send(format!("{envelope}{all}")));
                        text = None;
                        "250 taken\r\n".to_owned()
                    }
                    (Some(all), line) => {
                        all.push_str(line);
                        String::new()
                    }
                    (None, "DATA\r\n") => {
                        text = Some(String::new());
                        "354 go\r\n".to_owned()
                    }
                    (None, line) if line.starts_with("EHLO") => "250-relay\r\n250 SIZE\r\n".into(),
                    (None, line) if line.contains("<never@") => "550 5.7.9 not\r\n".into(),
                    (None, line) if line.contains("<full@") => "452 4.2.2 full\r\n".into(),
                    (None, line) if line.contains("<later@") && seen_later < 1 => {
                        seen_later += 1;
                        "451 4.2.0 greylisted\r\n".into()
                    }
                    (None, line) => {
                        if line.starts_with("MAIL") || line.starts_with("RCPT") {
                            envelope.push_str(line);
                        }
                        "250 ok\r\n".into()
                    }
                };
            }
        }
    });
    (port, takes)
}

#[test]
fn what_is_for_others_leaves_by_the_relay_or_comes_back() {
    let (port, takes) = relay();
    let appliance = Appliance::with(&format!("relay = \"127.0.0.1:{port}\"\nqueue_retry_ms = 500"));
    let mut lines = signed_in(&appliance);
    lines.ask(&format!("MAIL FROM:<{ALICE}>"), "250 2.1.0");
    for to in ["dan@far.example", BOB, "never@far.example", "later@other.example"] {
        lines.ask(&format!("RCPT TO:<{to}>"), "250 2.1.5");
    }
    lines.ask("DATA", "354 ");
    lines.ask("Subject: out\r\n\r\n..dot\r\n.", "250 2.0.0");

    assert!(appliance.wait_for(BOB, 1)[0].starts_with("Return-Path: <alice@here.example>\r\n"));
    let first = takes.recv_timeout(LONG).unwrap();
    let (envelope, text) = first.split_once("Received: ").unwrap();
    // RFC 5321 4.4: Return-Path is for the last host to add.
    assert!(envelope.starts_with("MAIL FROM:<alice@here.example> SIZE="), "{first}");
    assert!(envelope.ends_with("\r\nRCPT TO:<dan@far.example>\r\n"), "{first}");
    assert!(text.ends_with("Subject: out\r\n\r\n..dot\r\n"), "{first}");
    let second = takes.recv_timeout(LONG).unwrap();
    assert!(second.contains("\r\nRCPT TO:<later@other.example>\r\nReceived: "), "{second}");

    let bounce = appliance.wait_for(ALICE, 1).remove(0);
    for line in [
        "Return-Path: <>\r\n",
        "Content-Type: multipart/report; report-type=delivery-status;",
        "Final-Recipient: rfc822; never@far.example\r\nAction: failed\r\nStatus: 5.7.9\r\n",
        "Diagnostic-Code: smtp; 550 5.7.9 not\r\n",
        "Subject: out\r\n",
    ] {
        assert!(bounce.contains(line), "{line:?} is not in {bounce}");
    }
    assert!(takes.recv_timeout(Duration::from_secs(2)).is_err(), "sent twice");
    assert_eq!(appliance.inbox(ALICE).len(), 1);
}

/// `queue list` once it shows `what`.
fn queue_with(appliance: &Appliance, what: &str) -> String {
    let end = mono().after(LONG);
    loop {
        let queue = appliance.hear(&["queue", "list"], "");
        if queue.contains(what) {
            return queue;
        }
        assert!(mono() < end, "{what:?} is not in {queue}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn operators_try_what_waits_again_or_take_it_out() {
    let (port, takes) = relay();
    let retry = "queue_retry_ms = 3600000";
    let appliance = Appliance::with(&format!("relay = \"127.0.0.1:{port}\"\n{retry}"));
    let mut lines = signed_in(&appliance);
    for to in ["later@other.example", "full@other.example"] {
        lines.ask(&format!("MAIL FROM:<{ALICE}>"), "250 2.1.0");
        lines.ask(&format!("RCPT TO:<{to}>"), "250 2.1.5");
        lines.ask("DATA", "354 ");
        lines.ask("Subject: out\r\n\r\nhi\r\n.", "250 2.0.0");
    }
    queue_with(&appliance, "451 4.2.0");
    queue_with(&appliance, "452 4.2.2");
    assert!(takes.try_recv().is_err(), "its next attempt is due in an hour");

    appliance.tell(&["queue", "retry", "acme", "1"], "");
    let taken = takes.recv_timeout(LONG).unwrap();
    assert!(taken.contains("RCPT TO:<later@other.example>"), "{taken}");
    appliance.tell(&["queue", "retry", "acme", "2"], "");
    let tried = || {
        let queue = appliance.hear(&["queue", "list"], "");
        let row = queue.lines().find(|row| row.contains("<full@")).unwrap();
        row.split("  ").filter(|word| !word.is_empty()).nth(6).unwrap().trim().to_owned()
    };
    let end = mono().after(LONG);
    while tried() != "2" {
        assert!(mono() < end, "tried {} times", tried());
        std::thread::sleep(Duration::from_millis(50));
    }

    appliance.tell(&["queue", "remove", "acme", "2"], "");
    assert_eq!(appliance.hear(&["queue", "list"], ""), "Nothing waits.\n");
    let audit = appliance.hear(&["audit"], "");
    assert!(audit.contains("queue-remove") && audit.contains("acme 2"), "{audit}");
    assert!(takes.recv_timeout(Duration::from_secs(1)).is_err(), "sent twice, or after all");
    assert!(appliance.inbox(ALICE).is_empty(), "its sender is told");
}
