use super::support::{Client, Server};

async fn found(c: &mut Client, program: &str) -> String {
    let reply = c.ok(&format!("SEARCH {program}")).await;
    reply.line("* SEARCH").strip_prefix("* SEARCH").unwrap().trim().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_are_found_as_a_person_reads_them() {
    let server = Server::start().await;
    for message in [
        "From: Ada <ada@example.org>\r\nSubject: =?iso-8859-1?q?Gr=FC=DFe?=\r\nDate: Sat, 1 Jan 2000 00:00:00 +0000\r\n\r\nplain words\r\n",
        // "Käse ist gut" in latin-1, base64.
        "From: Bob <bob@example.net>\r\nTo: Ada <ada@example.org>\r\nSubject: two\r\n\
         Content-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: base64\r\n\r\nS+RzZSBpc3QgZ3V0\r\n",
        "Subject: three\r\nX-TUID: QWERTY\r\nContent-Type: text/plain; charset=utf-8\r\n\
         Content-Transfer-Encoding: quoted-printable\r\n\r\nsplit=\r\nword K=C3=A4se\r\n",
    ] {
        server.deliver(message.as_bytes()).await;
    }
    let mut c = server.inbox().await;
    c.ok("STORE 3 +FLAGS.SILENT (\\Seen $Work)").await;
    for (program, expected) in [
        ("ALL", "1 2 3"),
        ("UNSEEN", "1 2"),
        ("KEYWORD $work", "3"),
        ("FROM ada", "1"),
        ("TO ada", "2"),
        ("OR TO ada FROM ada", "1 2"),
        ("SENTBEFORE 2-Jan-2000", "1"),
        ("CHARSET UTF-8 SUBJECT {7+}\r\ngrüße", "1"),
        ("CHARSET UTF-8 BODY {5+}\r\nkäse", "2 3"),
        ("BODY splitword", "3"),
        ("TEXT bob", "2"),
        ("HEADER X-TUID qwerty", "3"),
        ("HEADER X-TUID \"\"", "3"),
        ("NOT HEADER X-TUID \"\" 2:*", "2"),
        ("BODY nothing", ""),
        ("UID 2:* LARGER 10", "2 3"),
        ("SINCE 1-Jan-2020", "1 2 3"),
        ("BEFORE 1-Jan-2020", ""),
    ] {
        assert_eq!(found(&mut c, program).await, expected, "{program}");
    }
    let reply = c.ok("UID SEARCH RETURN (MIN MAX COUNT ALL) UNSEEN").await;
    let line = reply.line("ESEARCH");
    assert!(line.starts_with("* ESEARCH (TAG \"t"), "{line}");
    assert!(line.ends_with("\") UID MIN 1 MAX 2 ALL 1:2 COUNT 2"), "{line}");
    let reply = c.no("SEARCH CHARSET KOI8-R ALL").await;
    assert!(reply.end.contains("[BADCHARSET (UTF-8 US-ASCII)]"));
    c.bad("SEARCH").await;
}
