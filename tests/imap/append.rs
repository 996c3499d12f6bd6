use super::support::{APPEND_LIMIT, Server};

#[tokio::test(flavor = "multi_thread")]
async fn a_message_goes_in_and_comes_out_unchanged() {
    let server = Server::start().await;
    let mut c = server.inbox().await;
    let message = b"From: a@example.org\r\nSubject: hi\r\n\r\nHello\r\n";
    let reply = c.append("INBOX (\\Seen $Work) \"17-Jul-1996 02:44:25 -0700\"", message).await;
    assert!(reply.end.contains("[APPENDUID "), "{reply:?}");
    assert_eq!(reply.line("EXISTS"), "* 1 EXISTS");
    let reply = c.ok("FETCH 1 (FLAGS INTERNALDATE RFC822.SIZE UID BODY.PEEK[])").await;
    let expected = format!(
        "* 1 FETCH (FLAGS (\\Seen $Work) INTERNALDATE \"17-Jul-1996 09:44:25 +0000\" \
         RFC822.SIZE {n} UID 1 BODY[] {{{n}}}\r\n{})",
        String::from_utf8_lossy(message),
        n = message.len()
    );
    assert_eq!(reply.line("FETCH"), expected);
}

/// RFC 9051 6.3.12: "…the server MUST send the response code [TRYCREATE]"
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_stored_is_refused_before_it_is_sent() {
    let server = Server::start().await;
    let mut c = server.client().await;
    c.send("a APPEND Nowhere {10}\r\n").await;
    let reply = c.reply("a").await;
    assert!(reply.end.starts_with("NO [TRYCREATE]") && reply.lines.is_empty(), "{reply:?}");
    c.send(format!("b APPEND INBOX {{{}}}\r\n", APPEND_LIMIT + 1)).await;
    assert!(c.reply("b").await.end.starts_with("NO [TOOBIG]"));
    c.send("c APPEND Nowhere {9+}\r\nd LOGOUT\n\r\ne NOOP\r\n").await;
    assert!(c.reply("c").await.end.starts_with("NO [TRYCREATE]"));
    let reply = c.reply("e").await;
    assert!(reply.lines.is_empty(), "{reply:?}");
    c.send("f APPEND INBOX {3}\r\n").await;
    assert!(c.response().await.unwrap().starts_with('+'));
    c.send("abc {3}\r\n").await;
    assert!(c.reply("f").await.end.starts_with("BAD"));
    c.ok("NOOP").await;
    let reply = c.ok("STATUS INBOX (MESSAGES)").await;
    assert!(reply.line("STATUS").ends_with("(MESSAGES 0)"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_message_streams_both_ways() {
    let server = Server::start().await;
    let mut c = server.inbox().await;
    let mut message = b"Subject: large\r\n\r\n".to_vec();
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"seed");
    let mut noise = vec![0; 12 * 1024 * 1024];
    hasher.finalize_xof().fill(&mut noise);
    for line in noise.chunks(36) {
        use base64::Engine;
        let text = base64::engine::general_purpose::STANDARD.encode(line);
        message.extend_from_slice(text.as_bytes());
        message.extend_from_slice(b"\r\n");
    }
    c.append("INBOX", &message).await;
    let reply = c.ok("FETCH 1 BODY.PEEK[]").await;
    let line = reply.line("FETCH");
    let got = line.split_once("}\r\n").unwrap().1.strip_suffix(')').unwrap();
    assert!(got.as_bytes() == message, "the message differs");
    // By pieces, as phones do.
    let (mut at, mut got) = (0, Vec::new());
    while at < message.len() {
        let reply = c.ok(&format!("UID FETCH 1 BODY.PEEK[TEXT]<{at}.5000000>")).await;
        let piece = reply.line("FETCH").split_once("}\r\n").unwrap().1;
        got.extend_from_slice(piece.strip_suffix(')').unwrap().as_bytes());
        at += 5_000_000;
    }
    assert!(got == message[18..], "the text differs");
}

/// RFC 9208: "…the server MUST … OVERQUOTA"; what is used and may be used is told in units of 1024 octets.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_account_takes_no_more() {
    use understudy_proto::directory::QuotaLimit;
    let server = Server::start().await;
    let mut c = server.inbox().await;
    assert!(c.no("GETQUOTA \"\"").await.end.starts_with("NO [NONEXISTENT]"));
    assert_eq!(c.ok("GETQUOTAROOT INBOX").await.line("QUOTAROOT"), "* QUOTAROOT \"INBOX\"");
    let limit = QuotaLimit::Octets(2048);
    let (directory, lease) = (&server.directory, &server.lease);
    directory.set_account_quota(lease, super::support::ADDRESS, limit).await.unwrap();
    let message = [&b"Subject: x\r\n\r\n"[..], &[b'a'; 1200]].concat();
    assert!(c.append("INBOX", &message).await.end.starts_with("OK"));
    c.send(format!("z APPEND INBOX {{{}}}\r\n", message.len())).await;
    assert!(c.reply("z").await.end.starts_with("NO [OVERQUOTA]"));
    assert!(c.no("COPY 1 Archive").await.end.starts_with("NO [OVERQUOTA]"));
    let reply = c.ok("GETQUOTAROOT INBOX").await;
    assert_eq!(reply.line("QUOTAROOT"), "* QUOTAROOT \"INBOX\" \"\"");
    assert_eq!(reply.line("QUOTA \"\""), "* QUOTA \"\" (STORAGE 2 2)");
    c.ok("STORE 1 +FLAGS (\\Deleted)").await;
    let reply = c.ok("STATUS INBOX (DELETED-STORAGE)").await;
    assert!(reply.line("STATUS").contains("DELETED-STORAGE 2"), "{reply:?}");
    c.ok("EXPUNGE").await;
    assert!(c.append("INBOX", &message).await.end.starts_with("OK"));
}
