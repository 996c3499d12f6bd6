use super::support::Server;

#[tokio::test(flavor = "multi_thread")]
async fn mailboxes_are_made_listed_renamed_and_deleted() {
    let server = Server::start().await;
    let mut c = server.client().await;
    assert_eq!(c.ok("LIST \"\" \"\"").await.lines, ["* LIST (\\Noselect) \"/\" \"\""]);
    let reply = c.ok("LIST \"\" \"*\" RETURN (SPECIAL-USE)").await;
    assert_eq!(reply.lines[0], "* LIST (\\HasNoChildren) \"/\" \"INBOX\"");
    assert_eq!(reply.line("Sent"), "* LIST (\\HasNoChildren \\Sent) \"/\" \"Sent\"");
    c.ok("CREATE Entw&APw-rfe/2026/").await;
    assert!(c.no("CREATE Entw&APw-rfe/2026").await.end.contains("[ALREADYEXISTS]"));
    let reply = c.ok("LIST Entw&APw-rfe/ %").await;
    assert_eq!(reply.lines, ["* LIST (\\HasNoChildren) \"/\" \"Entw&APw-rfe/2026\""]);
    c.ok("RENAME Entw&APw-rfe Drafts2").await;
    c.ok("SUBSCRIBE Drafts2/2026").await;
    assert!(c.ok("LSUB \"\" \"Drafts2/*\"").await.line("LSUB").ends_with("\"Drafts2/2026\""));
    c.ok("UNSUBSCRIBE Drafts2/2026").await;
    c.ok("UNSUBSCRIBE Nowhere").await;
    assert!(c.no("SUBSCRIBE Nowhere").await.end.contains("[NONEXISTENT]"));
    c.append("Drafts2/2026", b"Subject: x\r\n\r\n").await;
    let reply = c.ok("LIST \"\" \"Drafts2*\" RETURN (STATUS (MESSAGES))").await;
    assert_eq!(reply.lines[1], "* STATUS \"Drafts2\" (MESSAGES 0)");
    assert_eq!(reply.lines[3], "* STATUS \"Drafts2/2026\" (MESSAGES 1)");
    c.ok("SELECT Drafts2/2026").await;
    let reply = c.ok("DELETE Drafts2/2026").await;
    assert!(reply.line("CLOSED").starts_with("* OK [CLOSED]"));
    c.bad("FETCH 1 FLAGS").await;
    assert!(c.no("DELETE Drafts2/2026").await.end.contains("[NONEXISTENT]"));
    assert!(c.no("DELETE INBOX").await.end.contains("[CANNOT]"));
    assert!(c.no("SELECT Nowhere").await.end.contains("[NONEXISTENT]"));
    c.ok("CREATE \"Sent Items\" (USE (\\Archive))").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn small_commands_answer() {
    let server = Server::start().await;
    let mut c = server.client().await;
    assert_eq!(c.ok("NAMESPACE").await.lines, ["* NAMESPACE ((\"\" \"/\")) NIL NIL"]);
    assert!(c.ok("ID (\"name\" \"test\")").await.line("ID").contains("\"Understudy\""));
    c.ok("ENABLE CONDSTORE").await;
    assert!(c.ok("CAPABILITY").await.line("CAPABILITY").contains("APPENDLIMIT=67108864"));
    c.bad("CHECK").await;
    let reply = c.ok("SELECT INBOX").await;
    assert!(reply.end.starts_with("OK [READ-WRITE]"));
    for word in [
        "* FLAGS (",
        "* 0 EXISTS",
        "* 0 RECENT",
        "[PERMANENTFLAGS (",
        "[UIDVALIDITY ",
        "[UIDNEXT 1]",
    ] {
        reply.line(word);
    }
    c.ok("CHECK").await;
    c.ok("UNSELECT").await;
    c.bad("CLOSE").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_are_copied_moved_and_expunged() {
    let server = Server::start().await;
    for i in 0..5 {
        server.deliver(format!("Subject: {i}\r\n\r\n{i}\r\n").as_bytes()).await;
    }
    let mut c = server.inbox().await;
    let reply = c.ok("COPY 2:3 Archive").await;
    assert!(reply.end.contains("[COPYUID ") && reply.end.contains(" 2:3 1:2]"), "{reply:?}");
    assert!(c.no("COPY 1 Nowhere").await.end.contains("[TRYCREATE]"));
    let reply = c.ok("UID MOVE 1,4 Archive").await;
    assert!(
        reply.lines[0].contains("[COPYUID ") && reply.lines[0].contains(" 1,4 3:4]"),
        "{reply:?}"
    );
    assert_eq!(reply.lines[1..], ["* 1 EXPUNGE", "* 3 EXPUNGE"]);
    assert!(c.ok("UID COPY 1 Archive").await.lines.is_empty());
    // Left: uids 2, 3, 5.
    let reply = c.ok("STORE 1:3 +FLAGS.SILENT (\\Deleted)").await;
    assert!(reply.lines.is_empty(), "{reply:?}");
    assert_eq!(c.ok("UID EXPUNGE 3:4").await.lines, ["* 2 EXPUNGE"]);
    assert_eq!(c.ok("UID STORE 5 -FLAGS (\\Deleted)").await.lines, ["* 2 FETCH (UID 5 FLAGS ())"]);
    assert_eq!(c.ok("EXPUNGE").await.lines, ["* 1 EXPUNGE"]);
    c.ok("STORE 1 +FLAGS (\\Deleted)").await;
    assert!(c.ok("CLOSE").await.lines.is_empty());
    c.ok("SELECT INBOX").await.line("* 0 EXISTS");
    c.ok("SELECT Archive").await.line("* 4 EXISTS");
    let reply = c.ok("FETCH 1:* BODY.PEEK[TEXT]").await;
    let texts: Vec<&str> = reply.lines.iter().map(|l| l.split("}\r\n").nth(1).unwrap()).collect();
    assert_eq!(texts, ["1\r\n)", "2\r\n)", "0\r\n)", "3\r\n)"]);
}
