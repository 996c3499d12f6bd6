//! The parser as a whole: real clients' openings, chunking, limits, and imap-codec as an oracle.

use super::command::{Command, ParseError, StatusItem};
use super::input::{COMMAND_LEN_MAX, COMMAND_LEN_MAX_BEFORE_LOGIN, Event, Input, Refusal};
use super::sequence::Target;
use crate::mailbox::{Flags, Role};
use crate::time::UnixMs;
use proptest::prelude::*;

const APPEND_LIMIT: u64 = 1_000_000;

/// What several real clients send, line by line; `corpus/README.md` says where each comes from.
const CORPUS: [(&str, &str); 6] = [
    ("thunderbird", include_str!("corpus/thunderbird.txt")),
    ("ios", include_str!("corpus/ios.txt")),
    ("outlook", include_str!("corpus/outlook.txt")),
    ("mutt", include_str!("corpus/mutt.txt")),
    ("mbsync", include_str!("corpus/mbsync.txt")),
    ("offlineimap", include_str!("corpus/offlineimap.txt")),
];

/// Runs `bytes` in chunks of the given sizes (repeated) through a session that accepts every APPEND.
/// Pieces of a message are joined, so that results compare.
fn run(bytes: &[u8], chunks: &[usize], authenticated: bool) -> Vec<Event> {
    let mut input = Input::new(APPEND_LIMIT);
    if authenticated {
        input.log_in();
    }
    let mut events = Vec::new();
    let mut rest = bytes;
    let mut sizes = chunks.iter().cycle();
    loop {
        while let Some(event) = input.poll_output() {
            match event {
                Event::AppendStart { .. } => {
                    events.push(event);
                    if input.accept_append() {
                        events.push(Event::Continue);
                    }
                }
                Event::AppendChunk(more) => match events.last_mut() {
                    Some(Event::AppendChunk(all)) => all.extend(more),
                    _ => events.push(Event::AppendChunk(more)),
                },
                Event::Command {
                    command: Command::Idle | Command::Authenticate { .. }, ..
                } => {
                    events.push(event);
                    input.expect_line();
                }
                event => events.push(event),
            }
        }
        if rest.is_empty() {
            return events;
        }
        let (now, later) = rest.split_at(rest.len().min(*sizes.next().unwrap()));
        input.handle_input(now);
        rest = later;
    }
}

fn one(line: &str) -> Event {
    let mut events = run(format!("{line}\r\n").as_bytes(), &[usize::MAX], true);
    assert_eq!(events.len(), 1, "{line}: {events:?}");
    events.remove(0)
}

fn command(line: &str) -> Command {
    match one(&format!("t {line}")) {
        Event::Command { command, .. } => command,
        other => panic!("{line}: {other:?}"),
    }
}

fn bad(line: &str) -> bool {
    matches!(one(line), Event::Refused { why: Refusal::Parse(ParseError::Bad(_)), .. })
}

#[test]
fn real_clients_are_understood() {
    for (client, text) in CORPUS {
        let bytes = text.replace('\n', "\r\n");
        let events = run(bytes.as_bytes(), &[usize::MAX], true);
        assert!(events.len() > 4, "{client}");
        for event in &events {
            assert!(
                !matches!(event, Event::Refused { .. } | Event::Close(_)),
                "{client}: {event:?}"
            );
        }
        assert_eq!(run(bytes.as_bytes(), &[1], true), events, "{client}");
        assert_eq!(run(bytes.as_bytes(), &[7, 3, 64], true), events, "{client}");
    }
}

#[test]
fn commands_mean_what_they_say() {
    let password = |p: &str| super::command::Password(p.into());
    let mailbox = |m: &str| m.to_owned();
    for (line, expected) in [
        ("login a \"b c\"", Command::Login { name: "a".into(), password: password("b c") }),
        (
            "AUTHENTICATE plain AGEAYg==",
            Command::Authenticate {
                mechanism: "PLAIN".into(),
                initial: Some(password("AGEAYg==")),
            },
        ),
        (
            "create \"Sent Items\" (USE (\\Sent))",
            Command::Create { mailbox: mailbox("Sent Items"), role: Some(Role::Sent) },
        ),
        ("select inbox", Command::Select { mailbox: mailbox("INBOX"), read_only: false }),
        ("EXAMINE Entw&APw-rfe", Command::Select { mailbox: mailbox("Entwürfe"), read_only: true }),
        (
            "STATUS INBOX (MESSAGES SIZE)",
            Command::Status {
                mailbox: mailbox("INBOX"),
                items: vec![StatusItem::Messages, StatusItem::Size],
            },
        ),
        ("id nil", Command::Id(vec![])),
        ("ID (\"name\" NIL)", Command::Id(vec![("name".into(), None)])),
        ("noop ", Command::Noop),
        ("ENABLE CONDSTORE", Command::Enable(vec!["CONDSTORE".into()])),
    ] {
        assert_eq!(command(line), expected, "{line}");
    }
    let Command::Store(store) = command("UID STORE 1:* +FLAGS.SILENT (\\Seen $Junk \\Recent)")
    else {
        panic!()
    };
    assert!(store.silent && matches!(store.target, Target::Uid(_)));
    assert_eq!(store.flags, Flags { bits: Flags::SEEN, keywords: vec!["$Junk".into()] });
}

#[test]
fn what_is_no_command_is_bad() {
    for line in [
        "t",
        "t ",
        "t FOO",
        "t FETCH",
        "t FETCH 1",
        "t FETCH 1 (FLAGS",
        "t FETCH 0 FLAGS",
        "t FETCH 1 BODY[1.FOO]",
        "t FETCH 1 BODY[]<0.0>",
        "t FETCH 1 BODY[0]",
        "t NOOP x",
        "t LOGIN a",
        "t STORE 1 FLAGS (\\Foo)",
        "t SELECT \"a",
        "t SELECT R&D",
        "+ NOOP",
        "t UID NOOP",
        "t UID EXPUNGE",
        "t STATUS x (FOO)",
        "t CREATE x (USE (\\All))",
        "t LIST (RECURSIVEMATCH) \"\" *",
        "t SEARCH RETURN (SAVE) ALL",
        "t FETCH 1 (ALL)",
        "t FETCH 1 BODY[HEADER.FIELDS ()]",
        "t FETCH 1 BODY[HEADER.FIELDS (a:b)]",
    ] {
        assert!(bad(line), "{line}");
    }
}

#[test]
fn an_append_is_streamed() {
    let text = "t APPEND {5}\r\nDra&-fts (\\Draft) \"17-Jul-1996 02:44:25 -0700\" {10+}\r\n0123\r\n6789\r\n";
    let text = text.replace("Dra&-fts", "Draft");
    for chunks in [&[usize::MAX][..], &[1], &[3, 5]] {
        let events = run(text.as_bytes(), chunks, true);
        let [
            Event::Continue,
            Event::AppendStart { tag, append, size: 10 },
            Event::AppendChunk(all),
            Event::AppendEnd,
        ] = events.as_slice()
        else {
            panic!("{events:?}");
        };
        assert_eq!((tag.as_str(), append.mailbox.as_str()), ("t", "Draft"));
        assert_eq!(append.date, Some(UnixMs(837_596_665_000)));
        assert_eq!(append.flags, Flags::system(Flags::DRAFT));
        assert_eq!(all, b"0123\r\n6789");
    }
}

#[test]
fn an_unwanted_message_is_never_taken_for_commands() {
    let message = "a LOGOUT\r\nb LOGOUT\r\n";
    let size = message.len();
    let after = "c NOOP\r\n";
    // Too big, non-synchronising: passed over.
    let mut input = Input::new(4);
    input.log_in();
    input.handle_input(format!("t APPEND x {{{size}+}}\r\n{message}\r\n{after}").as_bytes());
    assert_eq!(
        input.poll_output(),
        Some(Event::Refused { tag: Some("t".into()), why: Refusal::TooBig })
    );
    assert!(matches!(input.poll_output(), Some(Event::Command { command: Command::Noop, .. })));
    // Too big, synchronising: never sent.
    let mut input = Input::new(4);
    input.log_in();
    input.handle_input(format!("t APPEND x {{{size}}}\r\n{after}").as_bytes());
    assert_eq!(
        input.poll_output(),
        Some(Event::Refused { tag: Some("t".into()), why: Refusal::TooBig })
    );
    assert!(matches!(input.poll_output(), Some(Event::Command { command: Command::Noop, .. })));
    // Refused by the session.
    let mut input = Input::new(APPEND_LIMIT);
    input.log_in();
    input.handle_input(format!("t APPEND x {{{size}+}}\r\n{message}\r\n{after}").as_bytes());
    assert!(matches!(input.poll_output(), Some(Event::AppendStart { .. })));
    assert_eq!(input.poll_output(), None);
    input.refuse_append();
    assert!(matches!(input.poll_output(), Some(Event::Command { command: Command::Noop, .. })));
    // MULTIAPPEND: the second message aborts the command, its bytes are passed over.
    let events = run(
        format!("t APPEND x {{1+}}\r\nM {{{size}+}}\r\n{message}\r\n{after}").as_bytes(),
        &[usize::MAX],
        true,
    );
    assert!(matches!(events.get(2), Some(Event::AppendAborted(_))), "{events:?}");
    assert!(matches!(events.get(3), Some(Event::Command { command: Command::Noop, .. })));
    assert_eq!(events.len(), 4);
}

#[test]
fn limits_hold() {
    for (authenticated, limit) in [(false, COMMAND_LEN_MAX_BEFORE_LOGIN), (true, COMMAND_LEN_MAX)] {
        let fits = format!("t LOGIN a {}\r\n", "x".repeat(limit - 13));
        let events = run(fits.as_bytes(), &[1000], authenticated);
        assert!(matches!(events.as_slice(), [Event::Command { .. }]));
        for text in [format!("t LOGIN a {}\r\n", "x".repeat(limit)), "x".repeat(limit + 1)] {
            let events = run(text.as_bytes(), &[1000], authenticated);
            assert!(matches!(events.as_slice(), [Event::Close(_)]), "{authenticated}");
        }
        let events =
            run(format!("t LOGIN a {{{limit}}}\r\nu NOOP\r\n").as_bytes(), &[1000], authenticated);
        assert!(matches!(events.as_slice(), [Event::Refused { .. }, Event::Command { .. }]));
    }
}

#[test]
fn a_long_sequence_set_is_parsed() {
    // Thunderbird names every message of a large folder when they are not neighbours.
    let set: Vec<String> = (0..20_000).map(|i| (i * 3 + 1).to_string()).collect();
    let line = format!("UID FETCH {} FLAGS", set.join(","));
    assert!(line.len() < COMMAND_LEN_MAX);
    assert!(matches!(command(&line), Command::Fetch(_)));
}

/// What imap-codec accepts, we accept, apart from what is deliberately not supported.
#[test]
fn the_codec_agrees() {
    use imap_codec::{CommandCodec, decode::Decoder};
    let mut compared = 0;
    for (client, text) in CORPUS {
        for line in text.lines() {
            let wire = format!("{line}\r\n");
            if let Ok((rest, theirs)) = CommandCodec::default().decode(wire.as_bytes())
                && rest.is_empty()
            {
                let Event::Command { tag, .. } = one(line) else { panic!("{client}: {line}") };
                assert_eq!(tag, theirs.tag.inner());
                compared += 1;
            }
        }
    }
    assert!(compared > 30, "{compared}");
}

fn wire() -> impl Strategy<Value = Vec<u8>> {
    let words = prop::sample::select(vec![
        "a ",
        "LOGIN ",
        "APPEND ",
        "x ",
        "\r\n",
        "{3}\r\n",
        "{3+}\r\n",
        "{0+}\r\n",
        "{99999999+}\r\n",
        "abc",
        "\"",
        "\\",
        "(",
        ")",
        "FETCH 1 ",
        "BODY[",
        "]",
        "UID ",
        "SEARCH ",
        "OR ",
        "NOT ",
        "IDLE\r\n",
        "STORE 1 +FLAGS ",
        "LIST ",
        "RETURN ",
        "%",
        "*",
        "INBOX ",
        "1:*",
        "{",
        "}",
        " ",
        "\n",
        "NOOP\r\n",
        "DONE\r\n",
        "STATUS ",
        "HEADER.FIELDS ",
        "<0.5>",
        "&",
        "CHARSET ",
        "UTF-8 ",
    ]);
    let piece = prop_oneof![
        8 => words.prop_map(|w| w.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..6),
    ];
    prop::collection::vec(piece, 0..40).prop_map(|p| p.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]
    #[test]
    fn any_bytes_in_any_chunking_mean_the_same(bytes in wire(), chunks in prop::collection::vec(1usize..9, 1..5), authenticated in any::<bool>()) {
        let whole = run(&bytes, &[usize::MAX], authenticated);
        prop_assert_eq!(run(&bytes, &chunks, authenticated), whole);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..500)) {
        run(&bytes, &[100], true);
    }
}
