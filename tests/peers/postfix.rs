//! Debian's Postfix, with a configuration and a queue of its own, brings mail and takes mail.

use crate::smtp::appliance::{ALICE, Appliance, BOB, LONG, PASSWORD, free_ports};
use crate::smtp::wire::{Lines, tls};
use base64::prelude::{BASE64_STANDARD, Engine};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Only what a sending and relaying Postfix needs; nothing in a chroot.
const MASTER: &str = "\
{port} inet n - n - - smtpd
pickup unix n - n 1 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
";

struct Postfix {
    dir: TempDir,
    port: u16,
}

impl Postfix {
    /// Sends everything to 127.0.0.1:`relay`, over TLS or not at all.
    fn start(relay: u16) -> Self {
        assert!(Path::new("/usr/sbin/postfix").exists(), "install postfix for this test");
        let dir = tempfile::tempdir().unwrap();
        let [port] = free_ports();
        // Postfix' own user must get in.
        let open = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(dir.path(), open).unwrap();
        for sub in ["etc", "queue", "data"] {
            std::fs::create_dir(dir.path().join(sub)).unwrap();
        }
        let owned = Command::new("chown").arg("postfix").arg(dir.path().join("data")).status();
        assert!(owned.unwrap().success());
        let at = dir.path().display();
        let certificate = dir.path().join("etc/tls.pem");
        let made = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=relay"])
            .arg("-keyout")
            .arg(&certificate)
            .arg("-out")
            .arg(dir.path().join("etc/cert.pem"))
            .stderr(Stdio::null())
            .status();
        assert!(made.unwrap().success());
        let main = format!(
            "compatibility_level = 3.6\nqueue_directory = {at}/queue\ndata_directory = {at}/data\n\
             maillog_file = {at}/etc/log\nmaillog_file_prefixes = /tmp, {at}\n\
             myhostname = relay.far.example\nmydestination =\nlocal_transport = error:no\n\
             inet_interfaces = 127.0.0.1\ninet_protocols = ipv4\nmynetworks = 127.0.0.0/8\n\
             alias_maps =\nalias_database =\nsmtputf8_enable = no\n\
             virtual_alias_maps = inline:{{dan@far.example={BOB}}}\n\
             relayhost = [127.0.0.1]:{relay}\nsmtp_tls_security_level = encrypt\n\
             smtp_tls_loglevel = 1\nsmtpd_tls_security_level = encrypt\n\
             smtpd_tls_cert_file = {at}/etc/cert.pem\nsmtpd_tls_key_file = {at}/etc/tls.pem\n\
             smtpd_tls_loglevel = 1\n"
        );
        std::fs::write(dir.path().join("etc/main.cf"), main).unwrap();
        let master = MASTER.replace("{port}", &format!("127.0.0.1:{port}"));
        std::fs::write(dir.path().join("etc/master.cf"), master).unwrap();
        let postfix = Self { dir, port };
        assert!(postfix.control("start"), "postfix does not start:\n{}", postfix.log());
        postfix
    }

    fn control(&self, verb: &str) -> bool {
        let status = Command::new("/usr/sbin/postfix")
            .arg("-c")
            .arg(self.etc())
            .arg(verb)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        status.is_ok_and(|status| status.success())
    }

    fn etc(&self) -> PathBuf {
        self.dir.path().join("etc")
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("etc/log")).unwrap_or_default()
    }

    fn sendmail(&self, from: &str, to: &[&str], message: &str) {
        let mut child = Command::new("/usr/sbin/sendmail")
            .arg("-C")
            .arg(self.etc())
            .args(["-i", "-f", from, "--"])
            .args(to)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(message.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success(), "{}", self.log());
    }

    /// Waits for log lines that contain all of `words`, and gives the first.
    fn logged(&self, words: &[&str]) -> String {
        let end = Instant::now() + LONG;
        loop {
            let log = self.log();
            if let Some(line) = log.lines().find(|l| words.iter().all(|word| l.contains(word))) {
                return line.to_owned();
            }
            assert!(Instant::now() < end, "{words:?} is not in\n{log}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Postfix {
    fn drop(&mut self) {
        // `stop` ends the master that this configuration directory names, no other.
        if !self.control("stop") {
            eprintln!("postfix did not stop:\n{}", self.log());
        }
    }
}

#[test]
fn postfix_delivers_through_starttls() {
    let appliance = Appliance::start();
    let postfix = Postfix::start(appliance.smtp);
    let long = "long ".repeat(1_000);
    let message = format!("Subject: from postfix\n\n.dot\n..\n8 bit: \u{f6}\n{long}\nend\n");
    postfix.sendmail("carol@far.example", &[BOB, ALICE, "nobody@here.example"], &message);
    postfix.logged(&["Untrusted TLS connection established to 127.0.0.1"]);
    for to in [BOB, ALICE] {
        postfix.logged(&[&format!("to=<{to}>"), "status=sent (250 2.0.0 Accepted as "]);
    }
    postfix.logged(&["to=<nobody@here.example>", "dsn=5.1.1", "status=bounced"]);
    // Postfix wraps lines beyond 998 octets itself.
    for account in [BOB, ALICE] {
        let inbox = appliance.wait_for(account, 1);
        assert!(inbox[0].starts_with("Return-Path: <carol@far.example>\r\n"), "{}", inbox[0]);
        assert!(inbox[0].contains("from relay.far.example ([127.0.0.1])\r\n"), "{}", inbox[0]);
        assert!(inbox[0].contains(" with ESMTPS (TLSv1.3 "), "{}", inbox[0]);
        assert!(inbox[0].contains("\r\n\r\n.dot\r\n..\r\n8 bit: \u{f6}\r\nlong "), "{}", inbox[0]);
        assert!(inbox[0].ends_with("\r\nend\r\n"), "{}", inbox[0]);
    }
}

#[test]
fn postfix_takes_what_our_queue_sends() {
    let [port] = free_ports();
    // The appliance must know the relay's port before Postfix can know the appliance's.
    let appliance = Appliance::with(&format!("relay = \"127.0.0.1:{port}\"\nqueue_retry_ms = 500"));
    let postfix = Postfix::start(appliance.smtp);
    let bridge = Bridge::start(port, postfix.port);
    let mut lines = Lines::over(tls(appliance.submissions));
    lines.expect("220 ");
    lines.ask("EHLO laptop", "250 ");
    let plain = BASE64_STANDARD.encode(format!("\0{ALICE}\0{PASSWORD}"));
    lines.ask(&format!("AUTH PLAIN {plain}"), "235 ");
    lines.ask(&format!("MAIL FROM:<{ALICE}>"), "250 ");
    // Postfix sends Dan's mail back to Bob; for Eve our port 25 is no relay, so it bounces.
    lines.ask("RCPT TO:<dan@far.example>", "250 ");
    lines.ask("RCPT TO:<eve@far.example>", "250 ");
    lines.ask("DATA", "354 ");
    lines.ask("Subject: round trip\r\n\r\n\u{f6}\r\n..x\r\n.", "250 2.0.0");

    postfix.logged(&["TLS connection established from", "127.0.0.1"]);
    let inbox = appliance.wait_for(BOB, 1);
    assert!(inbox[0].contains("\r\nSubject: round trip\r\n"), "{}", inbox[0]);
    assert!(inbox[0].ends_with("\r\n\r\n\u{f6}\r\n.x\r\n"), "{}", inbox[0]);
    assert_eq!(inbox[0].matches("Return-Path:").count(), 1, "{}", inbox[0]);
    let bounce = appliance.wait_for(ALICE, 1).remove(0);
    assert!(bounce.starts_with("Return-Path: <>\r\n"), "{bounce}");
    assert!(bounce.contains("eve@far.example") && bounce.contains("5.7.1"), "{bounce}");
    drop(bridge);
}

/// Passes connections on from one port to another.
struct Bridge;

impl Bridge {
    fn start(from: u16, to: u16) -> Self {
        use std::net::{Ipv4Addr, TcpListener, TcpStream};
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, from)).unwrap();
        std::thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                let far = TcpStream::connect((Ipv4Addr::LOCALHOST, to)).unwrap();
                let pairs = [(near.try_clone().unwrap(), far.try_clone().unwrap()), (far, near)];
                for (mut source, mut sink) in pairs {
                    std::thread::spawn(move || {
                        let copied = std::io::copy(&mut source, &mut sink);
                        let closed = sink.shutdown(std::net::Shutdown::Write);
                        (copied.is_ok(), closed.is_ok())
                    });
                }
            }
        });
        Self
    }
}
