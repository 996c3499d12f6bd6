//! Transcripts of the client: `C:` what it writes, `S:` what the host replies.

use super::{Client, Delivery, Outcome, Output};
use crate::smtp::{Answer, Options, Question, Service, Session, Tls};
use crate::time::Mono;
use proptest::prelude::*;

const NOW: Mono = Mono(5);

fn delivery() -> Delivery {
    Delivery {
        hostname: "mx.here".into(),
        from: "alice@here".into(),
        to: vec!["bob@far".into(), "carol@far".into()],
        size: 8,
        tls: true,
    }
}

fn drain(client: &mut Client) -> Vec<String> {
    let mut wire = String::new();
    while let Some(output) = client.poll_output() {
        match output {
            Output::Send(bytes) => wire.push_str(&String::from_utf8(bytes).unwrap()),
            Output::StartTls => {
                wire.push_str("=TLS\r\n");
                client.handle_tls(NOW);
            }
            Output::WantBody => {
                client.handle_body(b".a\r\nb", NOW);
                client.handle_body(b"\r\n.", NOW);
                client.handle_body_end(NOW);
            }
            Output::Close => wire.push_str("=CLOSE\r\n"),
        }
    }
    let line =
        |line: &str| line.strip_prefix('=').map_or_else(|| format!("C: {line}"), str::to_owned);
    wire.split_terminator("\r\n").map(line).collect()
}

#[track_caller]
fn play(delivery: Delivery, script: &str) -> Client {
    let mut client = Client::new(delivery, NOW);
    let mut wanted: Vec<&str> = Vec::new();
    let mut seen = Vec::new();
    for line in script.lines().map(str::trim) {
        if let Some(reply) = line.strip_prefix("S: ") {
            seen.extend(drain(&mut client));
            assert_eq!(seen, wanted);
            client.handle_input(format!("{reply}\r\n").as_bytes(), NOW);
        } else {
            wanted.push(line);
        }
    }
    seen.extend(drain(&mut client));
    assert_eq!(seen, wanted);
    client
}

#[test]
fn delivers_over_tls_when_offered() {
    let client = play(
        delivery(),
        "S: 220 hi
        C: EHLO mx.here
        S: 250-far
        S: 250-STARTTLS
        S: 250 size 99
        C: STARTTLS
        S: 220 go
        TLS
        C: EHLO mx.here
        S: 250-far
        S: 250-SIZE 99
        S: 250 8BITMIME
        C: MAIL FROM:<alice@here> SIZE=8 BODY=8BITMIME
        S: 250 ok
        C: RCPT TO:<bob@far>
        S: 250 ok
        C: RCPT TO:<carol@far>
        S: 550 5.1.1 no carol
        C: DATA
        S: 354 go
        C: ..a
        C: b
        C: ..
        C: .
        S: 250 taken
        C: QUIT
        S: 221 bye
        CLOSE",
    );
    assert_eq!(
        client.outcomes(),
        [
            ("bob@far".into(), Outcome::Delivered),
            ("carol@far".into(), Outcome::Refused("550 5.1.1 no carol".into())),
        ]
    );
    assert!(!client.try_next_host());
}

#[test]
fn what_is_not_known_is_deferred() {
    let refused = |text: &str| Outcome::Refused(text.into());
    let deferred = |text: &str| Outcome::Deferred(text.into());
    let helo = "S: 220 hi\nC: EHLO mx.here\nS: 502 no\nC: HELO mx.here\nS: 250 far\n\
                C: MAIL FROM:<alice@here>\n";
    let rcpt = "S: 250 ok\nC: RCPT TO:<bob@far>\nS: 250 ok\nC: RCPT TO:<carol@far>\nS: 250 ok\n\
                C: DATA\n";
    let body = "S: 354 go\nC: ..a\nC: b\nC: ..\nC: .\n";
    for (script, outcome, next) in [
        ("S: 554 go away\nCLOSE".to_owned(), deferred("554 go away"), true),
        ("S: hello\nCLOSE".to_owned(), deferred("the host does not speak SMTP"), true),
        (format!("{helo}S: 451 later\nC: QUIT"), deferred("451 later"), true),
        (format!("{helo}S: 550 never\nC: QUIT"), refused("550 never"), false),
        (format!("{helo}{rcpt}S: 452 full\nC: QUIT"), deferred("452 full"), false),
        (format!("{helo}{rcpt}S: 421 bye\nCLOSE"), deferred("421 bye"), true),
        (format!("{helo}{rcpt}{body}S: 552 big\nC: QUIT"), refused("552 big"), false),
        (format!("{helo}{rcpt}{body}S: 421 moving\nCLOSE"), deferred("421 moving"), false),
        (format!("{helo}{rcpt}{body}S: 250 x\nC: QUIT"), Outcome::Delivered, false),
    ] {
        let client = play(delivery(), &script);
        assert!(client.outcomes().iter().all(|(_, got)| *got == outcome), "{script}");
        assert_eq!(client.try_next_host(), next, "{script}");
    }
}

#[test]
fn what_a_host_cannot_take_is_not_sent() {
    let ehlo = "S: 220 hi\nC: EHLO mx.here\nS: 250-far\nS: 250 SIZE 7\nC: QUIT";
    let client = play(delivery(), ehlo);
    assert!(matches!(&client.outcomes()[0].1, Outcome::Refused(why) if why.contains("5.3.4")));
    let foreign = Delivery { to: vec!["j\u{f6}rg@far".into()], ..delivery() };
    let client = play(foreign, "S: 220 hi\nC: EHLO mx.here\nS: 250 far\nC: QUIT");
    assert!(matches!(&client.outcomes()[0].1, Outcome::Refused(why) if why.contains("5.6.7")));
}

#[test]
fn silence_and_endless_replies_end_the_attempt() {
    let mut client = Client::new(delivery(), NOW);
    client.handle_timeout(client.poll_timeout().unwrap());
    assert_eq!(drain(&mut client), ["CLOSE"]);
    assert!(client.try_next_host());
    let mut client = Client::new(delivery(), NOW);
    for _ in 0..129 {
        client.handle_input(b"220-more\r\n", NOW);
    }
    assert_eq!(drain(&mut client), ["CLOSE"]);
}

/// Our client against our server, in pieces of `cut` octets.
fn bring(body: &[u8], cut: usize) -> (Vec<(String, Outcome)>, Vec<u8>) {
    let mut client = Client::new(delivery(), NOW);
    let mut server = Session::new(Options::new(Service::Mx, "far", true), NOW);
    let mut stored = Vec::new();
    loop {
        let mut busy = false;
        while let Some(output) = server.poll_output() {
            busy = true;
            match output {
                super::super::Output::Send(bytes) => {
                    bytes.chunks(cut).for_each(|piece| client.handle_input(piece, NOW));
                }
                super::super::Output::Ask(Question::Commit) => {
                    server.handle_answer(Answer::Committed { id: "q".into() }, NOW);
                }
                super::super::Output::Ask(_) => server.handle_answer(Answer::Yes, NOW),
                super::super::Output::Body(bytes) => stored.extend(bytes),
                super::super::Output::Abort => stored.clear(),
                _ => {}
            }
        }
        while let Some(output) = client.poll_output() {
            busy = true;
            match output {
                Output::Send(bytes) => {
                    for piece in bytes.chunks(cut) {
                        server.handle_input(piece, NOW);
                    }
                }
                Output::StartTls => {
                    server.handle_tls(Tls::default(), NOW);
                    client.handle_tls(NOW);
                }
                Output::WantBody => {
                    body.chunks(cut).for_each(|piece| client.handle_body(piece, NOW));
                    client.handle_body_end(NOW);
                }
                Output::Close => return (client.outcomes(), stored),
            }
        }
        assert!(busy, "both wait");
    }
}

proptest! {
    #[test]
    fn what_the_client_sends_the_server_stores(
        lines in prop::collection::vec("[.a-z ]{0,6}", 0..30), cut in 1_usize..50,
    ) {
        let body: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
        let (outcomes, stored) = bring(body.as_bytes(), cut);
        prop_assert!(outcomes.iter().all(|(_, outcome)| *outcome == Outcome::Delivered));
        prop_assert_eq!(String::from_utf8(stored).unwrap(), body);
    }

    #[test]
    fn any_reply_is_survived(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut client = Client::new(delivery(), NOW);
        client.handle_input(b"220 hi\r\n", NOW);
        client.handle_input(&bytes, NOW);
        client.handle_trouble("closed");
        prop_assert!(drain(&mut client).last().is_some_and(|last| last == "CLOSE"));
    }
}
