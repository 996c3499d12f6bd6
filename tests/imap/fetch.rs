use super::support::Server;

const MESSAGE: &str = "From: \"Ada L.\" <ada@example.org>\r\n\
    To: bob@example.net\r\n\
    Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n\
    Date: Mon, 7 Feb 1994 21:52:25 -0800\r\n\
    Message-ID: <1@example.org>\r\n\
    MIME-Version: 1.0\r\n\
    Content-Type: multipart/mixed; boundary=\"b\"\r\n\
    \r\n\
    preamble\r\n\
    --b\r\n\
    Content-Type: text/plain; charset=utf-8\r\n\
    \r\n\
    Hello\r\n\
    --b\r\n\
    Content-Type: message/rfc822\r\n\
    \r\n\
    Subject: inner\r\n\
    \r\n\
    inside\r\n\
    --b--\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn every_item_is_answered() {
    let server = Server::start().await;
    server.deliver(MESSAGE.as_bytes()).await;
    let mut c = server.inbox().await;
    let reply = c.ok("FETCH 1 (UID ENVELOPE BODY BODYSTRUCTURE)").await;
    let line = reply.line("FETCH");
    assert!(
        line.starts_with("* 1 FETCH (UID 1 ENVELOPE (\"Mon, 7 Feb 1994 21:52:25 -0800\""),
        "{line}"
    );
    assert!(line.contains("((\"Ada L.\" NIL \"ada\" \"example.org\"))"), "{line}");
    assert!(line.contains(" BODYSTRUCTURE ((") && line.contains("\"mixed\""), "{line}");
    for (section, expected) in [
        ("1", "Hello"),
        ("1.MIME", "Content-Type: text/plain; charset=utf-8\r\n\r\n"),
        ("2.HEADER", "Subject: inner\r\n\r\n"),
        ("2.TEXT", "inside"),
        ("2.1", "inside"),
        (
            "HEADER.FIELDS (To Message-Id)",
            "To: bob@example.net\r\nMessage-ID: <1@example.org>\r\n\r\n",
        ),
        ("2.HEADER.FIELDS.NOT (Subject)", "\r\n"),
    ] {
        let reply = c.ok(&format!("FETCH 1 BODY.PEEK[{section}]")).await;
        let n = expected.len();
        let line = format!("* 1 FETCH (BODY[{section}] {{{n}}}\r\n{expected})");
        assert_eq!(reply.line("FETCH"), line);
    }
    for (partial, expected) in [("0.4", "From"), ("2.1", "o"), ("100000.5", "")] {
        let origin = partial.split_once('.').unwrap().0;
        let reply = c.ok(&format!("FETCH 1 BODY.PEEK[]<{partial}>")).await;
        let n = expected.len();
        assert_eq!(
            reply.line("FETCH"),
            format!("* 1 FETCH (BODY[]<{origin}> {{{n}}}\r\n{expected})")
        );
    }
    let reply = c.ok("FETCH 1 BODY.PEEK[7]").await;
    assert_eq!(reply.line("FETCH"), "* 1 FETCH (BODY[7] NIL)");
    // Nothing of all this set \Seen.
    assert!(c.ok("FETCH 1 FLAGS").await.line("FETCH").ends_with("FLAGS ())"));
    let reply = c.ok("FETCH 1 RFC822.HEADER").await;
    assert!(reply.line("FETCH").contains("RFC822.HEADER {"));
    let reply = c.ok("FETCH 1 RFC822.TEXT").await;
    assert_eq!(reply.lines.len(), 2, "{reply:?}");
    assert!(reply.lines[0].contains("RFC822.TEXT {"));
    assert_eq!(reply.lines[1], "* 1 FETCH (UID 1 FLAGS (\\Seen))");
    let reply = c.ok("UID FETCH 1 (FLAGS RFC822)").await;
    assert!(reply.line("FETCH").starts_with("* 1 FETCH (UID 1 FLAGS (\\Seen) RFC822 {"));
    c.ok("FETCH 1 FULL").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_fetched_is_seen() {
    let server = Server::start().await;
    for _ in 0..3 {
        server.deliver(MESSAGE.as_bytes()).await;
    }
    let mut c = server.client().await;
    c.ok("EXAMINE INBOX").await;
    let reply = c.ok("FETCH 1 (FLAGS BODY[1])").await;
    assert!(reply.line("FETCH").contains("FLAGS ()"));
    c.no("STORE 1 +FLAGS (\\Seen)").await;
    c.ok("SELECT INBOX").await;
    let reply = c.ok("FETCH 1:* (FLAGS BODY[1])").await;
    assert_eq!(reply.lines.len(), 3);
    assert!(reply.lines.iter().all(|l| l.contains("FLAGS (\\Seen) BODY[1] {5}")), "{reply:?}");
    let reply = c.ok("STATUS INBOX (MESSAGES UNSEEN UIDNEXT SIZE)").await;
    let size = 3 * MESSAGE.len();
    assert_eq!(
        reply.line("STATUS"),
        format!("* STATUS \"INBOX\" (MESSAGES 3 UNSEEN 0 UIDNEXT 4 SIZE {size})")
    );
}

/// A client that pipelines gets its answers in order, each complete.
#[tokio::test(flavor = "multi_thread")]
async fn pipelined_commands_are_answered_in_order() {
    let server = Server::start().await;
    for _ in 0..20 {
        server.deliver(MESSAGE.as_bytes()).await;
    }
    let mut c = server.inbox().await;
    let mut all = String::new();
    for i in 0..200 {
        let uid = i % 20 + 1;
        all +=
            &format!("f{i} UID FETCH {uid} BODY.PEEK[]\r\ns{i} UID STORE {uid} +FLAGS (k{i})\r\n");
    }
    c.send(all).await;
    for i in 0..200 {
        let reply = c.reply(&format!("f{i}")).await;
        assert!(reply.line("BODY[]").contains("Hello"));
        let reply = c.reply(&format!("s{i}")).await;
        assert!(reply.line("FETCH").contains(&format!("k{i}")));
    }
}
