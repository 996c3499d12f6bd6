//! A running `understudy`, alone, on loopback ports of its own, with two accounts.

use super::wire::{Lines, tls};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;
use tempfile::TempDir;
use understudy::base::clock::mono;

/// How long anything may take before the test gives up; the machine may be busy.
pub(crate) const LONG: Duration = Duration::from_secs(60);

pub(crate) const HOSTNAME: &str = "mx.here.example";
pub(crate) const BOB: &str = "bob@here.example";
pub(crate) const ALICE: &str = "alice@here.example";
pub(crate) const PASSWORD: &str = "correct-horse-battery";

pub(crate) struct Appliance {
    dir: TempDir,
    process: Child,
    pub(crate) smtp: u16,
    pub(crate) submission: u16,
    pub(crate) submissions: u16,
    pub(crate) imaps: u16,
    pub(crate) https: u16,
    pub(crate) http: u16,
    pub(crate) console: u16,
}

impl Appliance {
    pub(crate) fn start() -> Self {
        Self::with("message_size_max = 1048576")
    }

    /// `smtp` is what stands in the configuration's `[smtp]`.
    pub(crate) fn with(smtp: &str) -> Self {
        let appliance = Self::empty(smtp);
        appliance.tell(&["tenant", "create", "acme"], "");
        appliance.tell(&["domain", "add", "acme", "here.example"], "");
        for account in [BOB, ALICE] {
            appliance.tell(&["account", "create", account], "");
            appliance.tell(&["credential", "password", account], PASSWORD);
        }
        appliance
    }

    /// Without a tenant.
    pub(crate) fn empty(smtp: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let ports: [u16; 9] = free_ports();
        let config = format!(
            "data_dir = \"{data}\"\nhostname = \"{HOSTNAME}\"\nlog_level = \"debug\"\n\
             [listen]\naddresses = [\"127.0.0.1\"]\nsmtp = {}\nsubmission = {}\n\
             submissions = {}\nimap = {}\nimaps = {}\nhttps = {}\nhttp = {}\n\
             [management]\naddress = \"127.0.0.1:{}\"\n\
             [console]\naddress = [\"127.0.0.1:{}\"]\n\
             [store]\nsegment_mib = 16\nreserve_mib = 64\n[smtp]\n{smtp}\n",
            ports[0],
            ports[1],
            ports[2],
            ports[3],
            ports[4],
            ports[5],
            ports[6],
            ports[7],
            ports[8],
            data = dir.path().join("data").display(),
        );
        std::fs::create_dir(dir.path().join("data")).unwrap();
        std::fs::write(dir.path().join("understudy.toml"), config).unwrap();
        let log = std::fs::File::create(dir.path().join("log")).unwrap();
        let process =
            command(dir.path()).arg("run").stdin(Stdio::null()).stderr(log).spawn().unwrap();
        let appliance = Self {
            dir,
            process,
            smtp: ports[0],
            submission: ports[1],
            submissions: ports[2],
            imaps: ports[4],
            https: ports[5],
            http: ports[6],
            console: ports[8],
        };
        appliance.wait_for_greeting();
        appliance
    }

    fn wait_for_greeting(&self) {
        let end = mono().after(LONG);
        loop {
            if let Ok(mut stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, self.smtp)) {
                stream.set_read_timeout(Some(LONG)).unwrap();
                let mut greeting = [0; 4];
                if stream.read_exact(&mut greeting).is_ok() && &greeting == b"220 " {
                    return;
                }
            }
            assert!(mono() < end, "no greeting:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Runs a subcommand, as an operator would.
    pub(crate) fn tell(&self, words: &[&str], input: &str) {
        self.hear(words, input);
    }

    /// The same; what it says.
    pub(crate) fn hear(&self, words: &[&str], input: &str) -> String {
        let mut child = command(self.dir.path())
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{words:?}: {output:?}\n{}", self.log());
        String::from_utf8(output.stdout).unwrap()
    }

    /// Asks it to stop in good order.
    pub(crate) fn terminate(&self) {
        let process = Pid::from_raw(self.process.id().try_into().unwrap());
        kill(process, Signal::SIGTERM).unwrap();
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        self.process.wait().unwrap()
    }

    /// Its own authority's certificate.
    pub(crate) fn authority(&self) -> std::path::PathBuf {
        self.dir.path().join("data/tls/ca.pem")
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// A connection to port 25, after its greeting.
    pub(crate) fn mx(&self) -> Lines {
        let mut lines = Lines::plain(self.smtp);
        lines.expect("220 mx.here.example ESMTP");
        lines
    }

    /// Everything in the account's INBOX, by IMAP.
    pub(crate) fn inbox(&self, account: &str) -> Vec<String> {
        let mut imap = Lines::over(tls(self.imaps));
        imap.expect("* OK");
        imap.say(&format!("a LOGIN {account} {PASSWORD}"));
        imap.until("a OK");
        imap.say("b SELECT INBOX");
        if !imap.until("b OK").iter().any(|line| line == "* 0 EXISTS") {
            imap.say("c FETCH 1:* BODY.PEEK[]");
            return imap.literals("c OK");
        }
        Vec::new()
    }

    /// Waits until the account's INBOX has `count` messages.
    pub(crate) fn wait_for(&self, account: &str, count: usize) -> Vec<String> {
        let end = mono().after(LONG);
        loop {
            let inbox = self.inbox(account);
            if inbox.len() >= count || mono() > end {
                assert_eq!(inbox.len(), count, "{inbox:#?}\n{}", self.log());
                return inbox;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Appliance {
    fn drop(&mut self) {
        // Both fail for a process that has ended; and a panic here would hide the one that led here.
        drop(self.process.kill());
        drop(self.process.wait());
        if std::thread::panicking() {
            eprintln!("--- log of the appliance\n{}", self.log());
        }
    }
}

fn command(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_understudy"));
    command.arg("--config").arg(dir.join("understudy.toml"));
    command
}

/// Ports that are free and are given out once: below those that the kernel gives to connections, so
/// that nobody takes one while its server is down.
pub(crate) fn free_ports<const N: usize>() -> [u16; N] {
    static NEXT: AtomicU16 = AtomicU16::new(20_000);
    std::array::from_fn(|_| {
        loop {
            let port = NEXT.fetch_add(1, Ordering::Relaxed);
            assert!(port < 32_000, "no more ports");
            let at = (Ipv4Addr::LOCALHOST, port);
            if TcpListener::bind(at).is_ok() && UdpSocket::bind(at).is_ok() {
                return port;
            }
        }
    })
}
