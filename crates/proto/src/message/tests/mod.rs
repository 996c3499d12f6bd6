mod corpus;

use super::header::Structured;
use super::*;
use crate::codec;
use corpus::CORPUS;
use proptest::prelude::*;

fn scan(bytes: &[u8]) -> Summary {
    let mut scanner = Scanner::new();
    scanner.feed(bytes);
    scanner.finish()
}

fn crlf(text: &str) -> Vec<u8> {
    text.replace('\n', "\r\n").into_bytes()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Reads one value of a parenthesised list; panics where it is not well formed.
#[derive(Debug, PartialEq)]
enum Value {
    List(Vec<Value>),
    Text(Vec<u8>),
    Nil,
    Number(u64),
}

fn value(b: &[u8]) -> (Value, &[u8]) {
    match b[0] {
        b'(' => {
            let mut rest = &b[1..];
            let mut list = Vec::new();
            loop {
                match rest[0] {
                    b')' => return (Value::List(list), &rest[1..]),
                    b' ' => rest = &rest[1..],
                    _ => {
                        let (v, more) = value(rest);
                        list.push(v);
                        rest = more;
                    }
                }
            }
        }
        b'"' => {
            let (v, len) = header::quoted(b);
            assert!(
                len >= 2 && b[len - 1] == b'"' && b[..len].iter().all(|b| (1..128).contains(b))
            );
            assert!(!b[..len].iter().any(|b| matches!(b, b'\r' | b'\n')));
            (Value::Text(v), &b[len..])
        }
        b'{' => {
            let end = b.iter().position(|b| *b == b'}').unwrap();
            let n: usize = std::str::from_utf8(&b[1..end]).unwrap().parse().unwrap();
            assert_eq!(&b[end..end + 3], b"}\r\n");
            let (v, rest) = b[end + 3..].split_at(n);
            assert!(!v.contains(&0));
            (Value::Text(v.to_vec()), rest)
        }
        b'N' => (Value::Nil, b.strip_prefix(b"NIL").unwrap()),
        _ => {
            let end = b.iter().position(|b| !b.is_ascii_digit()).unwrap();
            (Value::Number(std::str::from_utf8(&b[..end]).unwrap().parse().unwrap()), &b[end..])
        }
    }
}

/// Checks that a summary is what RFC 9051 9 calls `envelope` and `body`, and stays in its bounds.
fn check_form(s: &Summary) {
    let (envelope, rest) = value(&s.envelope);
    assert!(rest.is_empty());
    check_envelope(&envelope);
    for (bytes, extended) in [(&s.body, false), (&s.bodystructure, true)] {
        let (body, rest) = value(bytes);
        assert!(rest.is_empty());
        check_body(&body, extended);
    }
    assert!(codec::encode(s).len() <= SUMMARY_LEN_MAX, "{}", codec::encode(s).len());
    assert!(s.preview.len() <= PREVIEW_LEN_MAX);
    assert!(!s.parts.is_empty() && s.parts.len() <= PARTS_MAX);
    for part in &s.parts {
        assert_eq!(part.header.range().end, part.body.at);
        assert!(part.body.range().end <= s.size);
        let path: Vec<u32> = part.path.iter().map(|n| u32::from(*n)).collect();
        for what in [SectionPart::Whole, SectionPart::Header, SectionPart::Text, SectionPart::Mime]
        {
            if let Some(range) = s.section(&path, what) {
                assert!(range.start <= range.end && range.end <= s.size);
            }
        }
    }
}

fn check_envelope(v: &Value) {
    let Value::List(fields) = v else { panic!("{v:?}") };
    assert_eq!(fields.len(), 10);
    for (i, field) in fields.iter().enumerate() {
        match (i, field) {
            (2..=7, Value::List(list)) => {
                assert!(!list.is_empty());
                for a in list {
                    let Value::List(a) = a else { panic!("{a:?}") };
                    assert_eq!(a.len(), 4);
                    assert!(a.iter().all(|s| matches!(s, Value::Nil | Value::Text(_))));
                }
            }
            (0 | 1 | 8 | 9, Value::Text(_)) | (_, Value::Nil) => {}
            _ => panic!("{i} {field:?}"),
        }
    }
}

fn check_body(v: &Value, extended: bool) {
    let Value::List(f) = v else { panic!("{v:?}") };
    let extensions = if extended { 4 } else { 0 };
    if let Value::List(_) = f[0] {
        let children = f.iter().take_while(|v| matches!(v, Value::List(_))).count();
        f[..children].iter().for_each(|v| check_body(v, extended));
        assert!(matches!(f[children], Value::Text(_)));
        assert_eq!(f.len(), children + 1 + extensions);
        return;
    }
    let Value::Text(media) = &f[0] else { panic!("{v:?}") };
    let Value::Text(sub) = &f[1] else { panic!("{v:?}") };
    assert!(matches!(f[5], Value::Text(_)) && matches!(f[6], Value::Number(_)));
    let own = match (media.as_slice(), sub.as_slice()) {
        (b"text", _) => 1,
        (b"message", b"rfc822") => {
            check_envelope(&f[7]);
            check_body(&f[8], extended);
            3
        }
        (b"message", b"global") if matches!(f.get(7), Some(Value::List(_))) => 3,
        _ => 0,
    };
    assert_eq!(f.len(), 7 + own + extensions, "{v:?}");
}

#[test]
fn the_corpus_is_described_as_the_rfcs_say() {
    for case in CORPUS {
        let s = scan(&crlf(case.message));
        let lf = |b: &[u8]| text(b).replace("\r\n", "\n");
        assert_eq!(lf(&s.envelope), case.envelope, "{}", case.name);
        assert_eq!(lf(&s.bodystructure), case.bodystructure, "{}", case.name);
        check_form(&s);
        let encoded = codec::encode(&s);
        assert_eq!(codec::decode::<Summary>("summary", &encoded).unwrap(), s, "{}", case.name);
        let mut bytewise = Scanner::new();
        crlf(case.message).chunks(1).for_each(|b| bytewise.feed(b));
        assert_eq!(bytewise.finish(), s, "{}", case.name);
    }
}

#[test]
fn bare_lf_changes_sizes_only() {
    for case in CORPUS {
        let (lf, crlf) = (scan(case.message.as_bytes()), scan(&crlf(case.message)));
        check_form(&lf);
        assert_eq!(lf.preview, crlf.preview, "{}", case.name);
        let paths = |s: &Summary| s.parts.iter().map(|p| p.path.clone()).collect::<Vec<_>>();
        assert_eq!(paths(&lf), paths(&crlf), "{}", case.name);
    }
}

#[test]
fn body_has_no_extension_data() {
    let s = scan(&crlf(case("alternative")));
    assert_eq!(
        text(&s.body),
        "((\"text\" \"plain\" (\"charset\" \"utf-8\") NIL NIL \"quoted-printable\" 17 1)\
         (\"text\" \"html\" (\"charset\" \"utf-8\") NIL NIL \"base64\" 16 0) \"alternative\")"
    );
}

fn case(name: &str) -> &'static str {
    CORPUS.iter().find(|c| c.name == name).unwrap().message
}

/// What a section holds.
fn section(name: &str, path: &[u32], what: SectionPart) -> Option<String> {
    let bytes = crlf(case(name));
    let range = scan(&bytes).section(path, what)?;
    let range = usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap();
    Some(text(&bytes[range]).replace("\r\n", "\n"))
}

#[test]
fn sections_of_a_message_without_parts() {
    use SectionPart::*;
    let get = |path: &[u32], what| section("empty fields", path, what);
    assert_eq!(get(&[], Whole).unwrap(), case("empty fields"));
    assert_eq!(get(&[], Header).unwrap(), "From:\nTo: \nSubject:\nDate:\nMessage-ID:\n\n");
    assert_eq!(get(&[], Text).unwrap(), "x\n");
    assert_eq!(get(&[], Mime), None);
    assert_eq!(get(&[1], Whole).unwrap(), "x\n");
    assert_eq!(get(&[1], Mime), get(&[], Header));
    for (path, what) in [(&[1][..], Header), (&[1], Text), (&[2], Whole), (&[1, 1], Whole)] {
        assert_eq!(get(path, what), None);
    }
}

#[test]
fn sections_of_nested_multiparts() {
    use SectionPart::*;
    let get = |path: &[u32], what| section("nested", path, what);
    assert_eq!(get(&[1, 1, 1], Whole).unwrap(), "plain");
    assert_eq!(get(&[1, 1, 1], Mime).unwrap(), "\n");
    assert_eq!(get(&[1, 1, 2], Whole).unwrap(), "<b>html</b>");
    assert_eq!(get(&[1, 1, 2], Mime).unwrap(), "Content-Type: text/html\n\n");
    assert_eq!(get(&[1, 2], Whole).unwrap(), "iVBORw0KGgo=");
    assert!(get(&[1, 1], Whole).unwrap().starts_with("--inner\n\nplain\n--inner\n"));
    assert!(get(&[1, 1], Whole).unwrap().ends_with("--inner--"));
    assert_eq!(get(&[2], Whole).unwrap(), "JVBE");
    assert!(get(&[2], Mime).unwrap().starts_with("Content-Type: application/pdf;"));
    assert_eq!(get(&[1], Header), None);
    assert_eq!(get(&[3], Whole), None);
    assert_eq!(get(&[1, 1, 1, 1], Whole), None);
}

#[test]
fn sections_of_messages_in_messages() {
    use SectionPart::*;
    let get = |path: &[u32], what| section("attached message", path, what);
    assert_eq!(get(&[2, 1], Whole).unwrap(), "one\ntwo");
    assert_eq!(get(&[2, 2], Whole).unwrap(), "three");
    assert_eq!(get(&[2, 2], Mime).unwrap(), "Content-Type: text/plain\n\n");
    assert!(get(&[2], Header).unwrap().starts_with("From: inner@x.test\n"));
    assert!(get(&[2], Header).unwrap().ends_with("boundary=c\n\n"));
    assert!(get(&[2], Text).unwrap().starts_with("--c\n"));
    assert!(get(&[2], Text).unwrap().ends_with("--c--"));
    assert!(get(&[2], Mime).unwrap().starts_with("Content-Type: message/rfc822\n"));
    assert_eq!(get(&[2], Whole).unwrap(), get(&[2], Header).unwrap() + &get(&[2], Text).unwrap());
    let get = |path: &[u32], what| section("message that is a message", path, what);
    assert!(get(&[1], Whole).unwrap().starts_with("From: b@x.test\n"));
    assert!(get(&[1], Header).unwrap().starts_with("From: b@x.test\n"));
    assert!(get(&[1], Text).unwrap().starts_with("From: c@x.test\n"));
    assert!(get(&[1, 1], Header).unwrap().starts_with("From: c@x.test\n"));
    assert_eq!(get(&[1, 1], Text).unwrap(), "text\n");
    assert_eq!(get(&[1, 1, 1], Whole).unwrap(), "text\n");
}

#[test]
fn the_summary_is_what_people_read() {
    let s = scan(&crlf(case("encoded words")));
    assert_eq!(s.subject, "Gr\u{fc}\u{df}e aus M\u{fc}nchen");
    assert_eq!(s.from, "J\u{fc}rgen M\u{fc}ller <j@x.test>");
    assert_eq!(s.to, "M\u{fc}ller, Jan <m@x.test>");
    let s = scan(&crlf(case("plain")));
    assert_eq!(s.message_id.as_deref(), Some("5678.21-Nov-1997@example.com"));
    assert_eq!(s.in_reply_to, ["1234@local.machine.example"]);
    assert_eq!(s.date, Some(UnixMs(1_057_049_557_000)));
    assert_eq!(s.zone_minutes, 120);
    assert_eq!(s.preview, "Hi everyone. Bye.");
    assert_eq!(scan(&crlf(case("alternative"))).preview, "caf\u{e9} noir");
    assert_eq!(scan(&crlf(case("attached message"))).preview, "see below");
}

#[test]
fn a_common_mail_needs_a_kilobyte() {
    let mut message = crlf(
        "Return-Path: <billing@shop.example.com>\nFrom: \"Example Shop\" <billing@shop.example.com>\n\
         To: \"Mary Smith\" <mary.smith@customer.example.net>\nSubject: Your invoice 2026-11-4711\n\
         Date: Sun, 22 Nov 2026 13:00:00 +0100\n\
         Message-ID: <20261122130000.4711.abcdef@mail.shop.example.com>\nMIME-Version: 1.0\n\
         Content-Type: multipart/alternative; boundary=\"----=_Part_123_456.789\"\n\n\
         ------=_Part_123_456.789\nContent-Type: text/plain; charset=UTF-8\n\
         Content-Transfer-Encoding: quoted-printable\n\n",
    );
    message.extend(crlf(&"Dear customer, here comes the invoice for your order.\n".repeat(30)));
    message.extend(crlf(
        "------=_Part_123_456.789\nContent-Type: text/html; charset=UTF-8\n\
         Content-Transfer-Encoding: quoted-printable\n\n",
    ));
    message.extend(crlf(&"<p>Dear customer, here comes the invoice.</p>\n".repeat(30)));
    message.extend(crlf("------=_Part_123_456.789--\n"));
    let s = scan(&message);
    check_form(&s);
    let len = codec::encode(&s).len();
    assert!(len <= 1_300, "{len}");
    assert_eq!(s.preview.len(), PREVIEW_LEN_MAX.min(s.preview.len()));
}

#[test]
fn previews_of_html() {
    let preview = |html: &str| scan(&crlf(&format!("Content-Type: text/html\n\n{html}"))).preview;
    assert_eq!(
        preview(
            "<!DOCTYPE html><html><head><title>t</title><style>p > a {}</style></head>\
             <body><!-- a > b --><p title='x>y'>Fish &amp; chips&nbsp;&#8364;5</p>a<b>b</b><br/>c\
             <script>if (a<b) { '<p>' }</script> 1 < 2 &unknown; &amp</body></html>"
        ),
        "Fish & chips \u{20ac}5 ab c 1 < 2 &unknown; &amp"
    );
    assert_eq!(preview(&"wide \n".repeat(1_000)).len(), PREVIEW_LEN_MAX);
    assert_eq!(preview("&zwnj;&nbsp;\u{200b} seen"), "seen");
    let attached = "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Disposition: \
                    attachment\n\nnot this\n--b\n\n  \n--b\nContent-Type: text/html\n\n<p>this\n--b--";
    assert_eq!(scan(&crlf(attached)).preview, "this");
}

#[test]
fn nul_and_eight_bit_octets() {
    let message =
        b"From: \"a\0b\" <a@x.test>\r\nSubject: \xff\0\xfe \r\nContent-Type: text/plain; \
                    name=\"\xe9\"\r\n\r\n\0\0\r\n";
    let s = scan(message);
    check_form(&s);
    assert!(s.envelope.starts_with(b"(NIL {2}\r\n\xff\xfe ((\"ab\" NIL \"a\" \"x.test\"))"));
    assert!(s.bodystructure.starts_with(b"(\"text\" \"plain\" (\"name\" {1}\r\n\xe9) NIL"));
    assert_eq!(s.preview, "");
}

#[test]
fn a_huge_header_is_cut_in_the_summary_only() {
    let mut message = b"Subject: here\r\n".to_vec();
    let to: String = (0..40_000).map(|i| format!("user{i}@example.test,\r\n ")).collect();
    message.extend_from_slice(format!("To: {to}x@x.test\r\n").as_bytes());
    message.extend_from_slice(b"From: lost@x.test\r\n\r\nbody\r\n");
    let s = scan(&message);
    check_form(&s);
    assert_eq!(u64::from(s.header_len), s.size - 6);
    assert_eq!(s.section(&[], SectionPart::Text), Some(s.size - 6..s.size));
    assert_eq!(s.subject, "here");
    assert!(s.to.starts_with("user0@example.test, user1@example.test") && s.to.len() <= 1_024);
    assert_eq!(s.from, "");
    assert!(s.envelope.len() > 40_000);
    assert_eq!(s.preview, "body");
}

#[test]
fn long_lines_need_no_memory() {
    let mut scanner = Scanner::new();
    scanner.feed(b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n");
    for _ in 0..1_000 {
        scanner.feed(&[b'-'; 4_096]);
    }
    scanner.feed(b"--b--\r\n--b--");
    let s = scanner.finish();
    check_form(&s);
    assert_eq!(s.parts[1].body.len, 4_096_005);
}

#[test]
fn references_keep_the_first_and_the_last() {
    let ids: String = (0..100).map(|i| format!("<{i}@x.test>\r\n ")).collect();
    let s = scan(format!("References: {ids}\r\nMessage-ID: bare@x.test\r\n\r\n").as_bytes());
    assert_eq!(s.references.len(), 16);
    assert_eq!(s.references[0], "0@x.test");
    assert_eq!(s.references[1], "85@x.test");
    assert_eq!(s.references[15], "99@x.test");
    assert_eq!(s.message_id.as_deref(), Some("bare@x.test"));
    let s = scan(b"References: (<c@x>) <a\r\n b@x> <> <\x00open\r\n\r\n");
    assert_eq!(s.references, ["ab@x", "open"]);
}

#[test]
fn bombs_stay_small() {
    let deep_multiparts: String = (0..200)
        .map(|i| format!("Content-Type: multipart/mixed; boundary=b{i}x\n\n--b{i}x\n"))
        .collect();
    let s = scan(&crlf(&deep_multiparts));
    check_form(&s);
    assert_eq!(s.parts.len(), DEPTH_MAX + 1);
    assert_eq!(s.parts[DEPTH_MAX].kind, PartKind::Other);
    assert_eq!(s.parts[DEPTH_MAX].media, "application/octet-stream");

    let deep_messages = "Content-Type: message/rfc822\n\n".repeat(200);
    let s = scan(&crlf(&deep_messages));
    check_form(&s);
    assert_eq!(s.parts.len(), DEPTH_MAX + 1);

    let many =
        "Content-Type: multipart/mixed; boundary=b\n\n".to_owned() + &"--b\n\nx\n".repeat(2_000);
    let s = scan(&crlf(&many));
    check_form(&s);
    assert_eq!(s.parts.len(), PARTS_MAX);
    let last = s.parts.last().unwrap();
    assert_eq!((last.kind, last.body.range().end), (PartKind::Other, s.size));

    // As deep, as many, and as talkative as the bounds allow.
    let long = "y".repeat(1_500);
    let top: String = (0..40).map(|i| format!("user{i:0>900}@{long},")).collect();
    let mut worst = format!("To: {top}\nSubject: {long}\nFrom: {top}\n");
    for i in 0..DEPTH_MAX - 2 {
        worst += &format!("Content-Type: multipart/mixed; boundary=b{i}x\n\n--b{i}x\n");
    }
    for _ in 0..1_000 {
        worst += &format!(
            "Content-Type: message/rfc822; a=\"{long}\"\n\nFrom: {top}\nContent-Type: {}/x\n\n--b{}x\n",
            "w".repeat(60),
            DEPTH_MAX - 3
        );
    }
    check_form(&scan(&crlf(&worst)));
}

#[test]
fn fields_and_their_selection() {
    let raw = b"A: 1\r\njunk\r\nb : 2\r\n\t3\r\nA:4\n\r\nC: 5\r\n";
    let names: Vec<_> = header::fields(raw).map(|f| (text(f.name), text(f.value))).collect();
    let expected = [("A", " 1"), ("b", " 2\r\n\t3"), ("A", "4")];
    assert_eq!(names, expected.map(|(n, v)| (n.to_owned(), v.to_owned())));
    assert_eq!(text(&header::select(raw, &["a"], false)), "A: 1\r\nA:4\n\r\n");
    assert_eq!(text(&header::select(raw, &["a"], true)), "b : 2\r\n\t3\r\n\r\n");
    assert_eq!(text(&header::select(raw, &["x"], false)), "\r\n");
    assert_eq!(text(&header::select(b"A: 1", &["A"], false)), "A: 1\r\n\r\n");
    assert_eq!(header::find(raw, "B").map(header::unfold), Some(b"2\t3".to_vec()));
}

#[test]
fn encoded_words() {
    // RFC 2047 8.
    for (value, expected) in [
        ("=?ISO-8859-1?Q?a?=", "a"),
        ("=?ISO-8859-1?Q?a?= b", "a b"),
        ("=?ISO-8859-1?Q?a?= =?ISO-8859-1?Q?b?=", "ab"),
        ("=?ISO-8859-1?Q?a?=\r\n    =?ISO-8859-1?Q?b?=", "ab"),
        ("=?ISO-8859-1?Q?a_b?=", "a b"),
        ("=?ISO-8859-1?Q?a?= =?ISO-8859-2?Q?_b?=", "a b"),
        ("=?US-ASCII?Q?Keith_Moore?= <moore@cs.utk.edu>", "Keith Moore <moore@cs.utk.edu>"),
        ("=?utf-8*de?b?w7w=?= x", "\u{fc} x"),
        ("=?utf-8?Q?=C3?= =?utf-8?Q?=BC?=", "\u{fc}"),
        ("=?utf-8?Q?=41=0Ab?=", "A b"),
        ("=?utf-8?X?a?= =?utf-8?Q?open", "=?utf-8?X?a?= =?utf-8?Q?open"),
        ("=? =?", "=? =?"),
    ] {
        assert_eq!(header::decode_words(value.as_bytes()), expected);
    }
    assert_eq!(header::decode_words(b" caf\xe9 "), "caf\u{e9}");
}

#[test]
fn parameters_of_rfc_2231() {
    let parse = |v: &str| Structured::parse(v.as_bytes());
    let s = parse(
        "message/external-body; access-type=URL;\r\n URL*0=\"ftp://\";\r\n URL*1=\"cs.utk.edu\"",
    );
    assert_eq!(s.parameter("url").unwrap(), b"ftp://cs.utk.edu");
    let s = parse("x/y; title*=us-ascii'en-us'This%20is%20%2A%2A%2Afun%2A%2A%2A");
    assert_eq!(s.parameter("title").unwrap(), b"This is ***fun***");
    let s =
        parse("x/y; a*1=late; a*0=soon; b*5=alone; c=1; C=2; ; =; d; e = \"f\" g ; h=i (1).pdf");
    assert_eq!(s.parameter("a").unwrap(), b"soonlate");
    assert_eq!(s.parameter("b*5").unwrap(), b"alone");
    assert_eq!(s.parameter("c").unwrap(), b"1");
    assert_eq!(s.parameter("d"), None);
    assert_eq!(s.parameter("e").unwrap(), b"f");
    assert_eq!(s.parameter("h").unwrap(), b"i (1).pdf");
}

/// Messages made of what matters to the scanner, and of anything.
fn messages() -> impl Strategy<Value = Vec<u8>> {
    let pieces = prop_oneof![
        8 => prop::sample::select(vec![
            "\r\n", "\n", "\r", "--", "--b", "--b--", "--bc", "\r\n--b\r\n", "\r\n--bc\r\n",
            "\r\n--bc--\r\n", "Content-Type: multipart/mixed; boundary=b\r\n\r\n",
            "Content-Type: multipart/digest; boundary=\"bc\"\r\n\r\n",
            "Content-Type: message/rfc822\r\n\r\n", "Content-Type: text/html\r\n",
            "Content-Transfer-Encoding: base64\r\n", "Content-Transfer-Encoding: quoted-printable\r\n",
            "From: a <b@c>, \"d", "To: g: <x@y>;", "Subject: =?utf-8?Q?=C3", "<p>", "&amp", "=\r\n", "=C3",
            "Content-Disposition: attachment; a*0*=u'';a*1=\r\n", "\u{fc}", "\0", "(", ")", "\\", "\"",
        ]).prop_map(|s| s.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..20),
    ];
    prop::collection::vec(pieces, 0..40).prop_map(|p| p.concat())
}

proptest! {
    #[test]
    fn any_bytes_give_a_summary_however_they_are_cut(
        message in messages(),
        cuts in prop::collection::vec(1usize..50, 1..10),
    ) {
        let whole = scan(&message);
        check_form(&whole);
        prop_assert_eq!(whole.size, message.len() as u64);
        let mut scanner = Scanner::new();
        let mut rest = message.as_slice();
        for cut in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, more) = rest.split_at((*cut).min(rest.len()));
            scanner.feed(piece);
            rest = more;
        }
        prop_assert_eq!(scanner.finish(), whole);
    }

    #[test]
    fn selections_divide_the_fields(raw in messages()) {
        let with = header::select(&raw, &["Subject", "from"], false);
        let without = header::select(&raw, &["Subject", "from"], true);
        let fields = header::fields(&raw).count();
        prop_assert_eq!(header::fields(&with).count() + header::fields(&without).count(), fields);
        prop_assert!(with.ends_with(b"\r\n") && without.ends_with(b"\r\n"));
    }

    #[test]
    fn any_value_can_be_read(v in prop::collection::vec(prop_oneof![
        prop::sample::select(b"=?;*'\"\\()<> \r\nq01a%".to_vec()), any::<u8>()], 0..120)) {
        prop_assert!(!header::decode_words(&v).contains(char::is_control));
        prop_assert!(Structured::parse(&v).parameters.len() <= 64);
        prop_assert!(header::message_ids(&v).all(|id| id.len() <= header::MESSAGE_ID_LEN_MAX));
    }
}
