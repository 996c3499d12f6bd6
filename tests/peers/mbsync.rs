//! mbsync keeps a Maildir and our mailboxes equal, both ways.

use crate::imap::support::{ADDRESS, Client, PASSWORD, Server};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use tokio::process::Command;

struct Mirror {
    home: tempfile::TempDir,
}

impl Mirror {
    fn new(server: &Server) -> Self {
        let home = tempfile::tempdir().unwrap();
        let maildir = home.path().join("mail");
        std::fs::create_dir(&maildir).unwrap();
        let config = format!(
            "IMAPAccount us\nHost localhost\nPort {port}\nUser {ADDRESS}\nPass \"{PASSWORD}\"\n\
             SSLType IMAPS\nCertificateFile {ca}\n\n\
             IMAPStore us\nAccount us\n\n\
             MaildirStore here\nPath {mail}/\nInbox {mail}/INBOX\nSubFolders Verbatim\n\n\
             Channel all\nFar :us:\nNear :here:\nPatterns *\nCreate Both\nRemove Both\n\
             Expunge Both\nSyncState *\n",
            port = server.imaps.port(),
            ca = server.ca.display(),
            mail = maildir.display(),
        );
        std::fs::write(home.path().join("mbsyncrc"), config).unwrap();
        Self { home }
    }

    async fn sync(&self) {
        let mut mbsync = Command::new("mbsync");
        mbsync.arg("-c").arg(self.home.path().join("mbsyncrc")).arg("all");
        let run = mbsync.env("HOME", self.home.path()).kill_on_drop(true).output();
        let out = tokio::time::timeout(std::time::Duration::from_secs(60), run).await;
        let out = out.expect("mbsync ends").unwrap();
        let said = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success(), "{said}");
    }

    /// The messages of a mailbox: file and flags.
    fn messages(&self, mailbox: &str) -> Vec<(PathBuf, String)> {
        let dir = self.home.path().join("mail").join(mailbox);
        let mut all = Vec::new();
        for sub in ["cur", "new"] {
            for file in std::fs::read_dir(dir.join(sub)).unwrap() {
                let path = file.unwrap().path();
                let name = path.file_name().unwrap().to_string_lossy().into_owned();
                let flags = name.rsplit_once(":2,").map_or("", |(_, f)| f).to_owned();
                all.push((path, flags));
            }
        }
        all
    }

    fn find(&self, mailbox: &str, subject: &str) -> (PathBuf, String) {
        let wanted = format!("Subject: {subject}\n");
        let mut all = self.messages(mailbox).into_iter();
        all.find(|(path, _)| read(path).contains(&wanted)).expect(subject)
    }

    fn set_flags(&self, mailbox: &str, subject: &str, flags: &str) {
        let (path, _) = self.find(mailbox, subject);
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let base = name.split(":2,").next().unwrap();
        let to = self.home.path().join("mail").join(mailbox).join("cur");
        std::fs::rename(&path, to.join(format!("{base}:2,{flags}"))).unwrap();
    }
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(path).unwrap()).replace("\r\n", "\n")
}

fn message(subject: &str) -> String {
    format!("From: b@example.net\r\nSubject: {subject}\r\n\r\nThe body of {subject}.\r\n")
}

/// Subjects and flags of the selected mailbox.
async fn there(c: &mut Client) -> BTreeSet<String> {
    let reply = c.ok("FETCH 1:* (FLAGS BODY.PEEK[HEADER.FIELDS (SUBJECT)])").await;
    let text = |l: &String| {
        let flags = l.split("FLAGS (").nth(1).unwrap().split(')').next().unwrap();
        let subject = l.split("Subject: ").nth(1).unwrap().split("\r\n").next().unwrap();
        format!("{subject} {flags}").trim().to_owned()
    };
    reply.lines.iter().map(text).collect()
}

fn set(of: &[&str]) -> BTreeSet<String> {
    of.iter().map(|s| (*s).to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn mbsync_keeps_both_sides_equal() {
    let server = Server::start().await;
    for i in 1..=50 {
        server.deliver(message(&format!("m{i}")).as_bytes()).await;
    }
    let mirror = Mirror::new(&server);
    mirror.sync().await;
    assert_eq!(mirror.messages("INBOX").len(), 50);
    let (path, _) = mirror.find("INBOX", "m7");
    assert!(read(&path).contains("The body of m7."));
    for name in ["Drafts", "Sent", "Junk", "Trash", "Archive"] {
        assert!(mirror.messages(name).is_empty());
    }

    // Changes on both sides at once: flags, a deletion, new messages, a new mailbox.
    mirror.set_flags("INBOX", "m1", "FS");
    mirror.set_flags("INBOX", "m2", "ST");
    let new = mirror.home.path().join("mail/INBOX/cur/here.1:2,S");
    std::fs::write(new, message("from here").replace("\r\n", "\n")).unwrap();
    let mut c = server.inbox().await;
    c.ok("STORE 3 +FLAGS (\\Answered)").await;
    c.ok("STORE 4:49 +FLAGS (\\Deleted)").await;
    c.ok("EXPUNGE").await;
    c.ok("CREATE Work/K&APY-ln").await;
    c.append("Work/K&APY-ln (\\Flagged)", message("from there").as_bytes()).await;
    server.deliver(message("m51").as_bytes()).await;
    mirror.sync().await;
    c.ok("NOOP").await;
    let expected = ["m1 \\Flagged \\Seen", "m3 \\Answered", "m50", "m51", "from here \\Seen"];
    assert_eq!(there(&mut c).await, set(&expected));
    assert_eq!(mirror.messages("INBOX").len(), 5);
    assert_eq!(mirror.find("INBOX", "m3").1, "R");
    assert_eq!(mirror.find("Work/K&APY-ln", "from there").1, "F");

    // Nothing to do is nothing done: no message doubles, no UID changes.
    let uids = c.ok("UID SEARCH ALL").await.lines;
    mirror.sync().await;
    mirror.sync().await;
    c.ok("NOOP").await;
    assert_eq!(c.ok("UID SEARCH ALL").await.lines, uids);
    assert_eq!(mirror.messages("INBOX").len(), 5);
}
