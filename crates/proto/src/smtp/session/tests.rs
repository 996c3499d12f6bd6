//! Transcripts: what the client writes (`C:`), what the driver sees (`S:` replies, by prefix;
//! `Q:` questions; `E:` effects). One line of script per line on the wire.

use super::{Answer, Event, Limits, Options, Output, Question, Service, Session, Tls, explore};
use crate::time::Mono;
use proptest::prelude::*;
use std::time::Duration;

const NOW: Mono = Mono(1_000_000);

/// A session with a directory behind it: local parts say what is known of them.
struct Peer {
    session: Session,
    sent: Vec<u8>,
    seen: Vec<String>,
    body: Vec<u8>,
    closed: bool,
    /// While false, questions stay open.
    answers: bool,
    commit: Answer,
    begin: Answer,
}

impl Peer {
    fn new(options: Options) -> Self {
        let mut peer = Self {
            session: Session::new(options, NOW),
            sent: Vec::new(),
            seen: Vec::new(),
            body: Vec::new(),
            closed: false,
            answers: true,
            commit: Answer::Committed { id: "q1".into() },
            begin: Answer::Yes,
        };
        peer.drain();
        peer
    }

    fn answer(&self, question: &Question) -> Answer {
        match question {
            Question::Recipient { address } => {
                let (local, domain) = address.split_once('@').unwrap_or((address, "here"));
                match local {
                    _ if domain != "here" => Answer::NotLocal,
                    "nobody" => Answer::Unknown,
                    "later" => Answer::Temporary,
                    "full" => Answer::Full,
                    "over" => Answer::OverQuota,
                    _ => Answer::Yes,
                }
            }
            Question::SendAs { from } if from == "alice@here" => Answer::Yes,
            Question::SendAs { from } if from == "later@here" => Answer::Temporary,
            Question::SendAs { .. } => Answer::No,
            Question::Credentials { name, password } => {
                match (name.as_str(), password.clone().into_inner().as_str()) {
                    ("alice", "secret") => Answer::Yes,
                    ("later", _) => Answer::Temporary,
                    _ => Answer::No,
                }
            }
            Question::Begin(_) => self.begin.clone(),
            Question::Commit => self.commit.clone(),
        }
    }

    fn drain(&mut self) {
        while let Some(output) = self.session.poll_output() {
            match output {
                Output::Send(bytes) => {
                    assert!(!self.closed, "a reply after the end");
                    self.sent.extend(bytes);
                }
                Output::StartTls => {
                    self.flush();
                    self.seen.push("E: TLS".into());
                }
                Output::Ask(question) => {
                    self.seen.push(match &question {
                        Question::Begin(e) => format!("Q: Begin {} -> {}", e.from, e.to.join(",")),
                        other => format!("Q: {other:?}"),
                    });
                    if self.answers {
                        let answer = self.answer(&question);
                        self.session.handle_answer(answer, NOW);
                    }
                }
                Output::Body(bytes) => self.body.extend(bytes),
                Output::Abort => self.seen.push("E: Abort".into()),
                Output::Event(event) => self.seen.push(format!("E: {event:?}")),
                Output::Close => {
                    self.flush();
                    self.seen.push("E: Close".into());
                    self.closed = true;
                }
            }
        }
        self.flush();
    }

    fn flush(&mut self) {
        let sent = String::from_utf8(std::mem::take(&mut self.sent)).unwrap();
        assert!(sent.is_empty() || sent.ends_with("\r\n"), "{sent:?}");
        self.seen.extend(sent.lines().map(|line| format!("S: {line}")));
    }

    fn write(&mut self, bytes: &[u8]) {
        self.session.handle_input(bytes, NOW);
        self.drain();
    }

    /// Plays a script; `C:` lines are written with CRLF, `W:` ones as they stand (`\r`, `\n`, `\0`
    /// are escapes), `T:` completes the handshake. Everything seen must be in the script; a seen
    /// line matches by prefix.
    #[track_caller]
    fn play(&mut self, script: &str) {
        let mut wanted: Vec<&str> = Vec::new();
        for line in script.lines().map(str::trim_start).filter(|line| !line.is_empty()) {
            match line.split_at(2) {
                ("C:", text) => {
                    self.expect(&mut wanted);
                    let text = text.strip_prefix(' ').unwrap_or(text);
                    self.write(format!("{text}\r\n").as_bytes());
                }
                ("W:", text) => {
                    self.expect(&mut wanted);
                    let text = text.strip_prefix(' ').unwrap_or(text);
                    let text = text.replace("\\r", "\r").replace("\\n", "\n").replace("\\0", "\0");
                    self.write(text.as_bytes());
                }
                ("T:", _) => {
                    self.expect(&mut wanted);
                    self.session.handle_tls(some_tls(), NOW);
                    self.drain();
                }
                ("S:" | "Q:" | "E:", _) => wanted.push(line),
                _ => panic!("script: {line}"),
            }
        }
        self.expect(&mut wanted);
    }

    #[track_caller]
    fn expect(&mut self, wanted: &mut Vec<&str>) {
        let seen = std::mem::take(&mut self.seen);
        let same = seen.len() == wanted.len()
            && seen.iter().zip(wanted.iter()).all(|(seen, wanted)| seen.starts_with(wanted));
        assert!(same, "\nseen:\n  {}\nwanted:\n  {}", seen.join("\n  "), wanted.join("\n  "));
        wanted.clear();
    }
}

fn some_tls() -> Tls {
    Tls { protocol: "TLSv1.3".into(), cipher: "TLS_AES_128_GCM_SHA256".into() }
}

fn options(service: Service) -> Options {
    let limits = Limits { message: 1_000, line: 100, recipients: 3, ..Limits::default() };
    Options { limits, ..Options::new(service, "mx.here", true) }
}

fn mx() -> Peer {
    Peer::new(options(Service::Mx))
}

/// A submission session over TLS, greeted.
fn submission() -> Peer {
    let mut peer = Peer::new(Options { tls: Some(some_tls()), ..options(Service::Submission) });
    peer.write(b"EHLO c\r\n");
    peer.seen.clear();
    peer
}

/// A session that has EHLO, MAIL and RCPT behind it.
fn ready() -> Peer {
    let mut peer = mx();
    peer.write(b"EHLO c\r\nMAIL FROM:<a@far>\r\nRCPT TO:<bob@here>\r\n");
    peer.seen.clear();
    peer
}

#[test]
fn a_message_is_accepted_after_its_commit_only() {
    let mut peer = mx();
    peer.play(
        "S: 220 mx.here ESMTP
        C: EHLO client.far
        S: 250-mx.here
        S: 250-PIPELINING
        S: 250-SIZE 1000
        S: 250-8BITMIME
        S: 250-SMTPUTF8
        S: 250-ENHANCEDSTATUSCODES
        S: 250-CHUNKING
        S: 250 STARTTLS
        C: MAIL FROM:<alice@far> SIZE=500 BODY=8BITMIME
        S: 250 2.1.0
        C: RCPT TO:<bob@here>
        Q: Recipient { address: \"bob@here\" }
        S: 250 2.1.5
        C: DATA
        Q: Begin alice@far -> bob@here
        S: 354 Start",
    );
    peer.answers = false;
    peer.play("C: Subject: hi\nC:\nC: ..dot\nC: .\nQ: Commit");
    assert!(!peer.session.wants_input());
    assert_eq!(peer.session.poll_timeout(), None);
    assert_eq!(peer.body, b"Subject: hi\r\n\r\n.dot\r\n");
    peer.session.handle_answer(Answer::Committed { id: "q7\r\n250 x".into() }, NOW);
    peer.drain();
    peer.play(
        "S: 250 2.0.0 Accepted as q7250x
        C: QUIT
        S: 221 2.0.0
        E: Close",
    );
}

#[test]
fn every_answer_has_its_reply() {
    let temporary = Answer::Temporary;
    for (answer, reply) in [
        (Answer::No, "S: 554 5.7.1"),
        (Answer::Full, "S: 452 4.3.1"),
        (temporary.clone(), "S: 451 4.3.0"),
        (Answer::Yes, "S: 451 4.3.0"),
    ] {
        let mut peer = ready();
        peer.commit = answer;
        let script = format!(
            "C: DATA\nQ: Begin\nS: 354\nC: x\nC: .\nQ: Commit\n{reply}\nC: DATA\nS: 503 5.5.1"
        );
        peer.play(&script);
    }
    for (answer, reply) in [(Answer::Full, "S: 452 4.3.1"), (temporary, "S: 451 4.3.0")] {
        let mut peer = ready();
        peer.begin = answer.clone();
        peer.play(&format!("C: DATA\nQ: Begin\n{reply}\nC: DATA\nS: 503 5.5.1"));
        // RFC 3030 2: the chunk is consumed all the same.
        let mut peer = ready();
        peer.begin = answer;
        peer.play(&format!(
            "W: BDAT 6 LAST\\r\\nQUIT\\r\\nNOOP\\r\\n\nQ: Begin\n{reply}\nS: 250 2.0.0"
        ));
        assert!(peer.body.is_empty());
    }
}

#[test]
fn recipients() {
    let refused = |code| format!("E: RecipientRefused {{ code: {code} }}");
    let mut peer = mx();
    peer.write(b"EHLO c\r\nMAIL FROM:<>\r\n");
    peer.seen.clear();
    for (to, outcome) in [
        ("<nobody@here>", format!("Q: Recipient\n{}\nS: 550 5.1.1", refused(550))),
        ("<x@elsewhere>", format!("Q: Recipient\n{}\nS: 554 5.7.1", refused(554))),
        ("<later@here>", format!("Q: Recipient\n{}\nS: 451 4.3.0", refused(451))),
        ("<full@here>", format!("Q: Recipient\n{}\nS: 452 4.3.1", refused(452))),
        ("<>", "S: 501 5.1.3".into()),
        ("<bob>", "S: 501 5.1.3".into()),
        ("<bob@>", "S: 501 5.1.3".into()),
        ("<bob@[192.0.2.1]>", "S: 501 5.1.3".into()),
        ("<bob@he re>", "S: 501".into()),
        ("bob@here", "S: 501 5.5.4".into()),
        ("<bob@here", "S: 501".into()),
        ("<bob@here> NOTIFY=NEVER", "S: 555 5.5.4".into()),
        ("<bob@here> X=y", "S: 555 5.5.4".into()),
        ("<j\u{f6}rg@here>", "S: 553 5.6.7".into()),
        // RFC 5321 4.5.1, and appendix C: a source route is ignored.
        ("<Postmaster>", "Q: Recipient { address: \"postmaster\" }\nS: 250 2.1.5".into()),
        ("<@a,@b:bob@here>", "Q: Recipient { address: \"bob@here\" }\nS: 250 2.1.5".into()),
        ("<\"b \\\"c\"@here>", "Q: Recipient { address: \"b \\\"c@here\" }\nS: 250 2.1.5".into()),
        // The fourth is one too many here: RFC 5321 4.5.3.1.10.
        ("<dan@here>", "S: 452 4.5.3".into()),
    ] {
        peer.play(&format!("C: RCPT TO:{to}\n{outcome}"));
    }
    peer.play("C: DATA\nQ: Begin  -> postmaster,bob@here,b \"c@here\nS: 354");
}

#[test]
fn senders() {
    for (from, reply) in [
        ("FROM:<>", "250 2.1.0"),
        ("FROM: <a@far>", "250 2.1.0"),
        ("from:<a@far> body=7bit size=1000", "250 2.1.0"),
        ("FROM:<a@far> AUTH=<>", "250 2.1.0"),
        ("FROM:<a@far> SIZE=1001", "552 5.3.4"),
        ("FROM:<a@far> SIZE=99999999999999999999999999", "5"),
        ("FROM:<a@far> BODY=BINARYMIME", "555 5.5.4"),
        ("FROM:<a@far> RET=FULL", "555 5.5.4"),
        ("FROM:<a@far> FOO=bar", "555 5.5.4"),
        ("FROM:<a@far> SIZE=x", "501 5.5.4"),
        ("FROM:<j\u{f6}rg@far>", "553 5.6.7"),
        ("FROM:<j\u{f6}rg@far> SMTPUTF8", "250 2.1.0"),
        ("FROM:<postmaster>", "501 5.1.7"),
        ("FROM:<a@b..c>", "501 5.1.7"),
        ("FROM:<a>", "501 5.1.7"),
        ("FROM:a@far", "501 5.5.4"),
        ("FROM", "501 5.5.4"),
        ("", "501 5.5.4"),
    ] {
        let mut peer = mx();
        peer.write(b"EHLO c\r\n");
        peer.seen.clear();
        peer.play(&format!("C: MAIL {from}\nS: {reply}"));
    }
    // Octets that are not UTF-8 are no address either: RFC 6531 3.4.
    let mut peer = mx();
    peer.seen.clear();
    peer.write(b"MAIL FROM:<j\xf6rg@far>\r\n");
    peer.play("S: 553 5.6.7");
    peer.write(b"NOOP j\xf6rg\r\n");
    peer.play("S: 500 5.5.2");
}

#[test]
fn commands_out_of_order() {
    let mut peer = mx();
    peer.seen.clear();
    peer.play(
        "C: MAIL FROM:<a@far>
        S: 503 5.5.1
        C: RCPT TO:<bob@here>
        S: 503 5.5.1
        C: DATA
        S: 503 5.5.1
        C: HELO c
        S: 250 mx.here
        C: MAIL FROM:<a@far>
        S: 250
        C: MAIL FROM:<a@far>
        S: 503 5.5.1
        C: DATA
        S: 554 5.5.1
        C: RSET
        S: 250 2.0.0
        C: RCPT TO:<bob@here>
        S: 503 5.5.1
        C: MAIL FROM:<a@far>
        S: 250
        C: HELO c
        S: 250
        C: RCPT TO:<bob@here>
        S: 503 5.5.1",
    );
}

#[test]
fn other_commands() {
    let mut peer = mx();
    peer.seen.clear();
    peer.play(
        "C: NOOP hello there
        S: 250 2.0.0
        C: vrfy bob
        S: 252 2.5.0
        C: EXPN staff
        S: 502 5.5.1
        C: HELP
        S: 214 2.0.0
        C: LHLO c
        S: 502 5.5.1
        C: ETRN c
        S: 502 5.5.1
        C: EHLO
        S: 501 5.5.4
        C: DATA now
        S: 501 5.5.4
        C: RSET x
        S: 501 5.5.4
        C: XYZZY
        S: 500 5.5.1
        C:
        S: 500 5.5.1
        C: STARTTLSX
        S: 500 5.5.1
        W: NO\\0OP\\r\\n
        S: 500 5.5.2
        C: AUTH PLAIN
        S: 502 5.5.1",
    );
}

#[test]
fn a_bare_cr_or_lf_in_a_command_ends_the_session() {
    for line in ["NOOP\\nNOOP\\r\\n", "NOOP\\rNOOP\\r\\n", "\\n", "NOOP\\r\\r\\n"] {
        let mut peer = mx();
        peer.seen.clear();
        peer.play(&format!("W: {line}\nE: Closed {{ code: 500\nS: 500 5.5.2\nE: Close"));
    }
}

#[test]
fn over_long_commands_are_refused_whole() {
    let mut peer = mx();
    peer.seen.clear();
    let fits = "x".repeat(2_048 - 7);
    peer.play(&format!("C: NOOP {fits}\nS: 250\nC: NOOP {fits}x\nS: 500 5.5.2\nC: NOOP\nS: 250"));
    let flood = "x".repeat(60_000);
    peer.play(&format!("W: {flood}\nW: {flood}\nE: Closed {{ code: 500\nS: 500 5.5.2\nE: Close"));
}

#[test]
fn limits_end_the_session() {
    let mut peer = mx();
    peer.seen.clear();
    let errors = "C: XYZZY\nS: 500\n".repeat(20);
    peer.play(&format!("{errors}C: XYZZY\nE: Closed\nS: 500\nS: 421 4.7.0\nE: Close"));
    peer.write(b"NOOP\r\n");
    peer.play("");

    let mut peer = mx();
    peer.seen.clear();
    let noops = "C: NOOP\nS: 250\n".repeat(100);
    peer.play(&format!("{noops}C: NOOP\nE: Closed\nS: 421 4.7.0\nE: Close"));

    let mut peer = ready();
    let harvest = "C: RCPT TO:<nobody@here>\nQ: R\nE: R\nS: 550\n".repeat(100);
    peer.play(&format!(
        "{harvest}C: RCPT TO:<nobody@here>\nQ: R\nE: R\nE: Closed\nS: 550\nS: 421 4.7.0\nE: Close"
    ));

    let mut limited = options(Service::Mx);
    limited.limits.messages = 2;
    let mut peer = Peer::new(limited);
    peer.write(b"EHLO c\r\n");
    peer.seen.clear();
    let mails = "C: MAIL FROM:<>\nS: 250\nC: RSET\nS: 250\n".repeat(2);
    peer.play(&format!("{mails}C: MAIL FROM:<>\nE: Closed\nS: 421 4.7.0\nE: Close"));
}

// RFC 2920 3.1: order is kept, and a group is answered together.
#[test]
fn pipelined_commands_wait_for_answers_in_order() {
    let mut peer = mx();
    peer.write(b"EHLO c\r\n");
    peer.seen.clear();
    peer.answers = false;
    peer.write(b"MAIL FROM:<a@far>\r\nRCPT TO:<bob@here>\r\nRCPT TO:<nobody@here>\r\nDATA\r\n");
    peer.play("Q: Recipient { address: \"bob@here\" }");
    assert!(!peer.session.wants_input());
    peer.session.handle_answer(Answer::Yes, NOW);
    peer.drain();
    peer.play("Q: Recipient { address: \"nobody@here\" }");
    peer.session.handle_answer(Answer::Unknown, NOW);
    peer.drain();
    peer.play("E: RecipientRefused\nQ: Begin a@far -> bob@here");
    peer.session.handle_answer(Answer::Yes, NOW);
    peer.drain();
    peer.play("S: 250 2.1.0\nS: 250 2.1.5\nS: 550 5.1.1\nS: 354");
}

#[test]
fn input_behind_an_open_question_is_bounded() {
    let mut peer = mx();
    peer.write(b"EHLO c\r\nMAIL FROM:<>\r\n");
    peer.answers = false;
    peer.write(b"RCPT TO:<bob@here>\r\n");
    peer.seen.clear();
    peer.write(&[b'x'; super::INPUT_MAX]);
    peer.play("");
    peer.write(b"x");
    peer.play("E: Closed\nS: 421 4.7.0\nE: Close");
    peer.session.handle_answer(Answer::Yes, NOW);
    peer.drain();
    peer.play("");
}

#[test]
fn refused_messages_are_read_to_their_end() {
    let long = "x".repeat(101);
    let big = "C: 0123456789\n".repeat(90);
    for (text, fault, reply) in [
        ("W: a\\nb\\r\\n".to_owned(), "BareNewline", "550 5.6.11"),
        ("W: a\\rb\\r\\n".to_owned(), "BareNewline", "550 5.6.11"),
        (format!("C: {long}"), "LongLine", "550 5.6.0"),
        ("W: a\\0b\\r\\n".to_owned(), "Nul", "554 5.6.0"),
        (big, "TooBig", "552 5.3.4"),
    ] {
        let mut peer = ready();
        peer.play("C: DATA\nQ: Begin\nS: 354");
        for line in text.lines() {
            let wire = line.split_at(3).1.replace("\\r", "\r").replace("\\n", "\n");
            let end = if line.starts_with("C:") { "\r\n" } else { "" };
            peer.write(format!("{}{end}", wire.replace("\\0", "\0")).as_bytes());
        }
        peer.play("E: Abort");
        peer.play(&format!(
            "C: MAIL FROM:<smuggled@far>
            C: RCPT TO:<bob@here>
            C: .
            E: MessageRefused({fault})
            S: {reply}
            C: MAIL FROM:<a@far>
            S: 250 2.1.0"
        ));
    }
}

// What is dropped has a bound, too.
#[test]
fn a_message_without_end_is_cut_off() {
    let mut peer = ready();
    peer.play("C: DATA\nQ: Begin\nS: 354");
    for _ in 0..41 {
        peer.write(&[b'x'; 100]);
    }
    peer.play("E: Abort\nE: MessageRefused\nE: Closed\nS: 550 5.6.0\nE: Close");
}

#[test]
fn chunks() {
    let mut peer = ready();
    peer.play(
        "W: BDAT 3\\r\\na\\r\\n
        Q: Begin a@far -> bob@here
        S: 250 2.0.0 3 octets
        C: RCPT TO:<carol@here>
        S: 503 5.5.1
        C: DATA
        S: 503 5.5.1
        C: NOOP
        S: 250
        W: BDAT 0\\r\\nBDAT 5\\r\\n.\\r\\nb\\rBDAT 1 LAST\\r\\n\\n
        Q: Commit
        S: 250 2.0.0 0 octets
        S: 250 2.0.0 5 octets
        S: 250 2.0.0 Accepted as q1
        C: BDAT 0 LAST
        S: 503 5.5.1",
    );
    assert_eq!(peer.body, b"a\r\n.\r\nb\r\n");
}

// RFC 3030 2: chunks that cannot be taken are consumed, each with a reply of its own.
#[test]
fn refused_chunks_are_consumed() {
    let mut peer = mx();
    peer.write(b"EHLO c\r\nMAIL FROM:<a@far>\r\nRCPT TO:<nobody@here>\r\n");
    peer.seen.clear();
    peer.play("W: BDAT 6\\r\\nQUIT\\r\\nBDAT 6 LAST\\r\\nQUIT\\r\\n\nS: 554 5.5.1\nS: 554 5.5.1");

    let mut peer = ready();
    peer.write(b"BDAT 600\r\n");
    peer.write(&[b"0123456789\r\n".as_slice(); 50].concat());
    peer.play("Q: Begin\nS: 250 2.0.0 600 octets");
    peer.write(b"BDAT 600\r\n");
    peer.write(&[b"QUIT123456\r\n".as_slice(); 50].concat());
    peer.play("E: Abort\nE: MessageRefused(TooBig)\nS: 552 5.3.4\nC: BDAT 0 LAST\nS: 503 5.5.1");

    let mut peer = ready();
    peer.write(b"BDAT 1001 LAST\r\n");
    peer.write(&[b'x'; 1001]);
    peer.play("S: 552 5.3.4\nC: NOOP\nS: 250");

    let mut peer = ready();
    peer.play(
        "W: BDAT 3 LAST\\r\\na\\nb
        Q: Begin
        E: Abort
        E: MessageRefused(BareNewline)
        S: 550 5.6.11
        C: NOOP
        S: 250",
    );
    let mut peer = ready();
    peer.play("W: BDAT 2 LAST\\r\\na\\r\nQ: Begin\nE: Abort\nE: MessageRefused(B\nS: 550 5.6.11");
}

#[test]
fn chunks_whose_end_is_unknown_end_the_session() {
    for (bdat, reply) in [
        ("BDAT", "501"),
        ("BDAT x", "501"),
        ("BDAT 5 FIRST", "501"),
        ("BDAT -1", "501"),
        ("BDAT 4001", "552"),
        ("BDAT 18446744073709551615", "5"),
        ("BDAT 000000000000000000000000000000000000000000000001", "501"),
    ] {
        let mut peer = ready();
        peer.write(format!("{bdat}\r\n").as_bytes());
        peer.play(&format!("E: Closed\nS: {reply}\nE: Close"));
    }
}

#[test]
fn rset_ehlo_and_quit_forget_a_message_in_chunks() {
    for (command, after) in [("RSET", "S: 250"), ("HELO c", "S: 250"), ("QUIT", "S: 221\nE: Close")]
    {
        let mut peer = ready();
        peer.play(&format!("W: BDAT 1\\r\\nx\nQ: Begin\nS: 250\nC: {command}\nE: Abort\n{after}"));
    }
}

// RFC 3207 6: what came in plaintext behind STARTTLS must not be taken for TLS's.
#[test]
fn starttls_forgets_everything() {
    let mut peer = ready();
    peer.play(
        "W: STARTTLS\\r\\nMAIL FROM:<injected@far>\\r\\nNO
        S: 220 2.0.0
        E: TLS",
    );
    assert!(!peer.session.wants_input());
    peer.write(b"RCPT TO:<injected@far>\r\n");
    peer.play(
        "T:
        C: DATA
        S: 503 5.5.1
        C: MAIL FROM:<a@far>
        S: 503 5.5.1
        C: EHLO c
        S: 250-mx.here
        S: 250-PIPELINING
        S: 250-SIZE
        S: 250-8BITMIME
        S: 250-SMTPUTF8
        S: 250-ENHANCEDSTATUSCODES
        S: 250 CHUNKING
        C: STARTTLS
        S: 503 5.5.1
        C: STARTTLS now
        S: 501 5.5.4",
    );
    let mut peer = Peer::new(Options { starttls: false, ..options(Service::Mx) });
    peer.seen.clear();
    peer.play("C: STARTTLS\nS: 502 5.5.1");
}

#[test]
fn submission_needs_tls_and_a_login() {
    let mut peer = Peer::new(options(Service::Submission));
    peer.seen.clear();
    peer.play(
        "C: EHLO c
        S: 250-mx.here
        S: 250-PIPELINING
        S: 250-SIZE
        S: 250-8BITMIME
        S: 250-SMTPUTF8
        S: 250-ENHANCEDSTATUSCODES
        S: 250-CHUNKING
        S: 250 STARTTLS
        C: AUTH PLAIN AGFsaWNlAHNlY3JldA==
        S: 538 5.7.11
        C: MAIL FROM:<alice@here>
        S: 530 5.7.0 Must issue a STARTTLS
        C: STARTTLS
        S: 220
        E: TLS
        T:
        C: AUTH PLAIN AGFsaWNlAHNlY3JldA==
        S: 503 5.5.1
        C: EHLO c
        S: 250-mx.here
        S: 250-PIPELINING
        S: 250-SIZE
        S: 250-8BITMIME
        S: 250-SMTPUTF8
        S: 250-ENHANCEDSTATUSCODES
        S: 250-CHUNKING
        S: 250 AUTH PLAIN LOGIN
        C: MAIL FROM:<alice@here>
        S: 530 5.7.0 Authentication
        C: AUTH PLAIN AGFsaWNlAHNlY3JldA==
        Q: Credentials { name: \"alice\", password: Password(..) }
        S: 235 2.7.0
        C: AUTH PLAIN AGFsaWNlAHNlY3JldA==
        S: 503 5.5.1
        C: MAIL FROM:<bob@here>
        Q: SendAs
        S: 550 5.7.1
        C: MAIL FROM:<later@here>
        Q: SendAs
        S: 451 4.3.0
        C: MAIL FROM:<alice@here>
        Q: SendAs
        S: 250 2.1.0
        C: RCPT TO:<x@elsewhere>
        Q: Recipient
        S: 250 2.1.5
        C: RCPT TO:<nobody@here>
        Q: Recipient
        E: RecipientRefused
        S: 550 5.1.1
        C: DATA
        Q: Begin alice@here -> x@elsewhere
        S: 354
        C: .
        Q: Commit
        S: 250 2.0.0
        C: MAIL FROM:<>
        S: 250 2.1.0",
    );
}

// RFC 4954, RFC 4616.
#[test]
fn authentication() {
    for (script, name) in [
        ("C: AUTH PLAIN\nS: 334 \nC: AGFsaWNlAHNlY3JldA==\nQ: C\nS: 235", "plain"),
        ("C: AUTH PLAIN YWxpY2UAYWxpY2UAc2VjcmV0\nQ: C\nS: 235", "plain as oneself"),
        (
            "C: AUTH LOGIN\nS: 334 VXNlcm5hbWU6\nC: YWxpY2U=\nS: 334 UGFzc3dvcmQ6\nC: c2VjcmV0\n\
             Q: C\nS: 235",
            "login",
        ),
        ("C: auth login YWxpY2U=\nS: 334 UGFzc3dvcmQ6\nC: c2VjcmV0\nQ: C\nS: 235", "login initial"),
        ("C: AUTH PLAIN\nS: 334\nC: *\nS: 501 5.7.0\nC: NOOP\nS: 250", "cancelled"),
        ("C: AUTH PLAIN\nS: 334\nC: ???\nS: 501 5.5.2\nC: NOOP\nS: 250", "not base64"),
        ("C: AUTH PLAIN =\nS: 501 5.5.2", "empty initial response"),
        ("C: AUTH PLAIN YWJj\nS: 501 5.5.2", "no NUL"),
        ("C: AUTH PLAIN Ym9iAGFsaWNlAHNlY3JldA==\nE: AuthFailed\nS: 535 5.7.8", "as another"),
        ("C: AUTH PLAIN AABz\nE: AuthFailed\nS: 535 5.7.8", "no name"),
        ("C: AUTH CRAM-MD5\nS: 504 5.5.4", "mechanism"),
        ("C: AUTH NONESUCH x\nS: 504 5.5.4", "unknown mechanism"),
        ("C: AUTH\nS: 501 5.5.4", "no mechanism"),
        ("C: AUTH LOGIN bGF0ZXI=\nS: 334\nC: eA==\nQ: C\nS: 454 4.7.0", "temporary"),
    ] {
        let mut peer = submission();
        peer.play(script);
        assert!(!peer.closed, "{name}");
    }
    let mut peer = submission();
    let wrong = "C: AUTH PLAIN AGFsaWNlAHdyb25n\nQ: C\nE: AuthFailed\n";
    peer.play(&format!(
        "{wrong}S: 535 5.7.8\n{wrong}S: 535\n{wrong}E: Closed\nS: 535\nS: 421 4.7.0\nE: Close"
    ));
    let mut peer = submission();
    let long = "A".repeat(3_000);
    peer.play(&format!("C: AUTH PLAIN\nS: 334\nC: {long}\nS: 500 5.5.6\nC: NOOP\nS: 250"));
}

// RFC 5321 4.5.3.2.
#[test]
fn time_ends_what_stands_still() {
    let mut peer = mx();
    peer.seen.clear();
    let limits = Limits::default();
    let end = NOW.after(limits.command_timeout);
    assert_eq!(peer.session.poll_timeout(), Some(end));
    peer.session.handle_timeout(Mono(end.0 - 1));
    // Half a command does not buy time.
    peer.session.handle_input(b"NOO", Mono(end.0 - 1));
    peer.session.handle_timeout(end);
    peer.drain();
    peer.play("E: Closed\nS: 421 4.4.2\nE: Close");
    assert_eq!(peer.session.poll_timeout(), None);

    let mut peer = ready();
    peer.play("C: DATA\nQ: Begin\nS: 354");
    // Each octet buys time, but not without end.
    let mut at = NOW;
    let end = NOW.after(limits.message_timeout);
    while at < end {
        at = at.after(Duration::from_mins(4));
        peer.session.handle_timeout(at);
        peer.session.handle_input(b"x\r\n", at);
    }
    peer.drain();
    peer.play("E: Abort\nE: Closed\nS: 421 4.4.2\nE: Close");
}

#[test]
fn no_acknowledgement_follows_a_shutdown() {
    let mut peer = ready();
    peer.answers = false;
    peer.play("C: DATA\nQ: Begin");
    peer.session.handle_answer(Answer::Yes, NOW);
    peer.drain();
    peer.play("S: 354\nC: .\nQ: Commit");
    peer.session.handle_shutdown();
    peer.session.handle_answer(Answer::Committed { id: "q".into() }, NOW);
    peer.drain();
    peer.play("E: Abort\nE: Closed { code: 421\nS: 421 4.3.2\nE: Close");

    let mut peer = ready();
    peer.play("C: STARTTLS\nS: 220\nE: TLS");
    peer.session.handle_shutdown();
    peer.drain();
    peer.play("E: Closed\nE: Close");
}

#[test]
fn events_are_facts() {
    let event = Event::RecipientRefused { code: 550 };
    assert_eq!(format!("{event:?}"), "RecipientRefused { code: 550 }");
}

/// What a session does with `input` cut into pieces: everything seen, and the body.
fn play_cut(service: Service, input: &[u8], cuts: &[usize]) -> (Vec<String>, Vec<u8>) {
    let mut peer = Peer::new(options(service));
    let mut rest = input;
    let mut cuts = cuts.iter().cycle();
    while !rest.is_empty() {
        let cut = cuts.next().map_or(1, |n| (*n).clamp(1, rest.len()));
        let (piece, tail) = rest.split_at(cut);
        rest = tail;
        peer.write(piece);
        if peer.seen.last().is_some_and(|seen| seen == "E: TLS") {
            // The driver drops plaintext here; which of it had come is the network's choice.
            break;
        }
        assert!(peer.session.wants_input() || peer.closed);
    }
    // A body's octets before a fault may or may not have come out before Abort.
    if peer.seen.iter().any(|seen| seen == "E: Abort") {
        peer.body.clear();
    }
    // Replies of one group come together, so questions and replies interleave differently.
    peer.seen.sort_by_key(|seen| seen.starts_with("S: "));
    (peer.seen, peer.body)
}

fn fragment() -> impl Strategy<Value = Vec<u8>> {
    let words = prop::sample::select(vec![
        "EHLO c\r\n",
        "HELO c\r\n",
        "MAIL FROM:<a@far>\r\n",
        "RCPT TO:<bob@here>\r\n",
        "RCPT TO:<nobody@here>\r\n",
        "RCPT TO:<x@far>\r\n",
        "DATA\r\n",
        "Subject: x\r\n\r\n",
        "..\r\n",
        ".\r\n",
        "\r\n.\r\n",
        "\n.\n",
        "\r",
        "\n",
        "BDAT 4\r\nab\r\n",
        "BDAT 2 LAST\r\n\r\n",
        "BDAT 9\r\n",
        "BDAT 0 LAST\r\n",
        "RSET\r\n",
        "NOOP\r\n",
        "STARTTLS\r\n",
        "AUTH PLAIN\r\n",
        "AGFsaWNlAHNlY3JldA==\r\n",
        "QUIT\r\n",
        "MAIL FROM:<\"",
        "RCPT TO:<@",
        "BDAT ",
        "\0",
        "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    ]);
    prop_oneof![
        6 => words.prop_map(|word| word.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..40),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_cut_of_any_input_does_the_same(
        fragments in prop::collection::vec(fragment(), 0..40),
        cuts in prop::collection::vec(1_usize..60, 1..8),
        submission in any::<bool>(),
    ) {
        let input = fragments.concat();
        let service = if submission { Service::Submission } else { Service::Mx };
        let whole = play_cut(service, &input, &[usize::MAX]);
        prop_assert_eq!(&play_cut(service, &input, &cuts), &whole);
        prop_assert_eq!(&play_cut(service, &input, &[1]), &whole);
    }

    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..4_000)) {
        prop_assert!(explore(Service::Mx, &bytes) <= 60 + bytes.len() * 40);
        prop_assert!(explore(Service::Submission, &bytes) <= 60 + bytes.len() * 40);
    }
}
