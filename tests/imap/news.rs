use super::support::Server;

async fn server(messages: usize) -> Server {
    let server = Server::start().await;
    for i in 0..messages {
        server.deliver(format!("Subject: {i}\r\n\r\n{i}\r\n").as_bytes()).await;
    }
    server
}

/// RFC 9051 7.5.1: "An EXPUNGE response MUST NOT be sent … while responding to a FETCH, STORE, or
/// SEARCH command."
#[tokio::test(flavor = "multi_thread")]
async fn a_number_keeps_its_meaning_while_it_is_used() {
    let server = server(4).await;
    let (mut a, mut b) = (server.inbox().await, server.inbox().await);
    b.ok("STORE 2 +FLAGS (\\Deleted)").await;
    b.ok("EXPUNGE").await;
    server.deliver(b"Subject: new\r\n\r\n").await;
    let reply = a.ok("FETCH 3 UID").await;
    assert_eq!(reply.lines, ["* 3 FETCH (UID 3)", "* 5 EXISTS", "* 0 RECENT"]);
    // The message is gone, its number is not.
    let reply = a.no("FETCH 2 BODY.PEEK[]").await;
    assert!(reply.lines.is_empty() && reply.end.contains("[EXPUNGEISSUED]"), "{reply:?}");
    assert!(a.no("STORE 2 +FLAGS (\\Seen)").await.lines.is_empty());
    let reply = a.ok("SEARCH ALL").await;
    assert_eq!(reply.lines, ["* SEARCH 1 3 4 5"]);
    let reply = a.ok("STORE 3 +FLAGS (\\Flagged)").await;
    assert_eq!(reply.lines, ["* 3 FETCH (UID 3 FLAGS (\\Flagged))"]);
    let reply = a.ok("UID FETCH 4 UID").await;
    assert_eq!(reply.lines, ["* 4 FETCH (UID 4)", "* 2 EXPUNGE"]);
    assert_eq!(a.ok("FETCH 3 UID").await.lines, ["* 3 FETCH (UID 4)"]);
    let reply = b.ok("NOOP").await;
    assert_eq!(reply.lines, ["* 4 EXISTS", "* 0 RECENT", "* 2 FETCH (UID 3 FLAGS (\\Flagged))"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_tells_at_once() {
    let server = server(2).await;
    let (mut a, mut b) = (server.inbox().await, server.inbox().await);
    a.send("i IDLE\r\n").await;
    assert!(a.response().await.unwrap().starts_with("+ "));
    b.ok("STORE 1 +FLAGS (\\Deleted $Later)").await;
    assert!(a.response().await.unwrap().starts_with("* FLAGS ("));
    assert!(a.response().await.unwrap().starts_with("* OK [PERMANENTFLAGS "));
    assert_eq!(a.response().await.unwrap(), "* 1 FETCH (UID 1 FLAGS (\\Deleted $Later))");
    b.ok("EXPUNGE").await;
    assert_eq!(a.response().await.unwrap(), "* 1 EXPUNGE");
    server.deliver(b"Subject: new\r\n\r\n").await;
    assert_eq!(a.response().await.unwrap(), "* 2 EXISTS");
    assert_eq!(a.response().await.unwrap(), "* 0 RECENT");
    a.send("done\r\n").await;
    assert!(a.reply("i").await.end.starts_with("OK"));
    a.send("i IDLE\r\nDONE\r\nj NOOP\r\n").await;
    assert!(a.response().await.unwrap().starts_with("+ "));
    assert!(a.reply("i").await.end.starts_with("OK"));
    assert!(a.reply("j").await.end.starts_with("OK"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mailbox_deleted_elsewhere_ends_the_session() {
    let server = server(0).await;
    let (mut a, mut b) = (server.client().await, server.client().await);
    a.ok("CREATE Short").await;
    a.ok("SELECT Short").await;
    b.ok("DELETE Short").await;
    a.send("x NOOP\r\n").await;
    assert!(a.response().await.unwrap().starts_with("* BYE"));
    assert_eq!(a.response().await, None);
}

/// Whether a change stays that was in the log when primacy ended, only the next primary knows: NO
/// would be as wrong as OK.
#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_outcome_is_not_told() {
    let server = server(1).await;
    let mut c = server.inbox().await;
    // As if the standby acknowledged nothing.
    server.store.log().commit_alone(false);
    let before = server.store.log().last().lsn;
    c.send("a STORE 1 +FLAGS (\\Flagged)\r\n").await;
    while server.store.log().last().lsn == before {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    server.control.revoke();
    assert_eq!(c.response().await, None);
}

/// DESIGN.md 3, 4: a node that is no longer primary acknowledges nothing.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_stored_without_a_lease() {
    let server = server(1).await;
    let mut c = server.inbox().await;
    server.control.revoke();
    let reply = c.no("STORE 1 +FLAGS (\\Flagged)").await;
    assert!(reply.end.contains("[UNAVAILABLE]") && reply.lines.is_empty(), "{reply:?}");
    c.send("a APPEND INBOX {10+}\r\n0123456789\r\n").await;
    assert!(c.reply("a").await.end.contains("[UNAVAILABLE]"));
    // Reading a message still gives it, though \Seen cannot be set.
    c.ok("FETCH 1 BODY[]").await.line("BODY[]");
}
