//! Two real appliances of one pair on loopback, and what each says when it refuses the other: the
//! journal, and `understudy status` in both languages.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;
use understudy::base::clock::mono;

/// How long anything may take before the test gives up; the machine may be busy.
const LONG: Duration = Duration::from_secs(60);

/// An appliance: its folder outlives its process.
struct Appliance {
    dir: TempDir,
    at: SocketAddr,
    peer: SocketAddr,
    process: Option<Child>,
}

impl Appliance {
    fn new(at: SocketAddr, peer: SocketAddr, more: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("data")).unwrap();
        let appliance = Self { dir, at, peer, process: None };
        appliance.configure(more);
        appliance
    }

    /// Writes the file; `more` stands at the end of `[pair]`.
    fn configure(&self, more: &str) {
        let Self { at, peer, .. } = self;
        let ports: [u16; 8] = crate::smtp::appliance::free_ports();
        let [smtp, submission, submissions, imap, imaps, https, http, management] = ports;
        let text = format!(
            "data_dir = \"{data}\"\nhostname = \"mx.here.example\"\n\
             [listen]\naddresses = [\"127.0.0.1\"]\nsmtp = {smtp}\nsubmission = {submission}\n\
             submissions = {submissions}\nimap = {imap}\nimaps = {imaps}\n\
             https = {https}\nhttp = {http}\n\
             [management]\naddress = \"127.0.0.1:{management}\"\n\
             [store]\nsegment_mib = 16\nreserve_mib = 64\n\
             [pair]\nlisten = [\"{at}\"]\npeer = [\"{peer}\"]\nboot_wait_ms = 500\n\
             stability_ms = 200\n{more}\n",
            data = self.data().display(),
        );
        std::fs::write(self.dir.path().join("understudy.toml"), text).unwrap();
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn identity(&self) -> PathBuf {
        self.data().join("pair/identity.json")
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_understudy"));
        command.arg("--config").arg(self.dir.path().join("understudy.toml"));
        command
    }

    /// Starts it; again where its former process has not let go of everything yet.
    fn start(&mut self) {
        let end = mono().after(LONG);
        self.spawn();
        while self.tell(&["status"], "").is_none() {
            if let Some(Ok(Some(_ended))) = self.process.as_mut().map(Child::try_wait) {
                self.spawn();
            }
            assert!(mono() < end, "it does not start:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn spawn(&mut self) {
        let path = self.dir.path().join("log");
        let log = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
        let process = self.command().arg("run").stdin(Stdio::null()).stderr(log).spawn();
        self.process = Some(process.unwrap());
    }

    fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// Runs a subcommand, as an operator would; `None` where it says no.
    fn tell(&self, words: &[&str], input: &str) -> Option<String> {
        let mut child = self
            .command()
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        drop(child.stdin.take().unwrap().write_all(input.as_bytes()));
        let output = child.wait_with_output().unwrap();
        output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    fn screen(&self, language: &str) -> String {
        self.tell(&["status", "--lang", language], "").unwrap_or_default()
    }

    /// Waits until `see` shows every one of `parts`.
    fn until(&self, what: &str, see: impl Fn() -> String, parts: &[&str]) {
        let end = mono().after(LONG);
        loop {
            let seen = see();
            if parts.iter().all(|part| seen.contains(part)) {
                return;
            }
            assert!(mono() < end, "{what}: no {parts:?} in\n{seen}\n--- log\n{}", self.log());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Waits until the journal has one line with all of `parts`.
    fn logs(&self, parts: &[&str]) {
        let line = || {
            let log = self.log();
            let found = log.lines().find(|line| parts.iter().all(|part| line.contains(part)));
            found.map_or_else(|| log.clone(), |line| format!("{line}\nfound"))
        };
        self.until("journal", line, &["found"]);
    }

    /// Waits until the screens of both languages show these, and fit.
    fn shows(&self, english: &[&str], german: &[&str]) {
        for (language, parts) in [("en", english), ("de", german)] {
            // Sentences are broken into lines.
            let flat = || self.screen(language).split_whitespace().collect::<Vec<_>>().join(" ");
            self.until(language, flat, parts);
            let screen = self.screen(language);
            assert!(screen.lines().count() <= 24, "{screen}");
            assert!(screen.lines().all(|line| line.chars().count() <= 80), "{screen}");
        }
    }
}

impl Drop for Appliance {
    fn drop(&mut self) {
        self.stop();
    }
}

/// An address whose port is free for TCP and UDP.
fn free() -> SocketAddr {
    let [port] = crate::smtp::appliance::free_ports();
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// A formed pair that runs, in PAIR.
fn pair() -> (Appliance, Appliance) {
    let (a, b) = (free(), free());
    let mut zero = Appliance::new(a, b, "");
    zero.tell(&["pair", "init"], "").expect("formed");
    zero.start();
    zero.until("serves", || zero.screen("en"), &["primary"]);
    let mut one = Appliance::new(b, a, "");
    join(&zero, &one);
    one.start();
    paired(&zero, &one);
    (zero, one)
}

fn join(zero: &Appliance, one: &Appliance) {
    let token = zero.tell(&["pair", "token"], "").expect("a token");
    one.tell(&["pair", "join"], &token).expect("joined");
}

fn paired(zero: &Appliance, one: &Appliance) {
    for node in [zero, one] {
        node.until("in a pair", || node.screen("en"), &["PAIR", "RPO 0: yes"]);
    }
}

#[test]
fn both_show_one_certificate() {
    let (zero, one) = pair();
    let vault =
        |node: &Appliance| std::fs::read_to_string(node.data().join("tls/vault.json")).unwrap();
    let same = || (vault(&zero) == vault(&one)).to_string();
    zero.until("certificates of both", same, &["true"]);
    assert!(vault(&one).contains("BEGIN CERTIFICATE"));
}

#[test]
fn a_key_that_is_not_pinned_is_refused_and_both_sides_say_what_to_do() {
    let (mut zero, mut one) = pair();
    one.stop();
    // An appliance of another pair at the peer's address, with a key of its own.
    let (at, peer) = (free(), free());
    let mut other = Appliance::new(at, peer, "");
    other.tell(&["pair", "init"], "").unwrap();
    other.start();
    other.until("serves", || other.screen("en"), &["primary"]);
    let mut stranger = Appliance::new(one.at, zero.at, "");
    join(&other, &stranger);
    stranger.start();
    zero.logs(&["error", "the peer is refused", "sha256=", "shows key", "runbook=pair-refused"]);
    zero.shows(
        &["SOLO", "[pair-refused] the peer at 127.0.0.1 shows key", "understudy pair token"],
        &["SOLO", "[pair-refused] das andere Gerät auf 127.0.0.1 zeigt den Schlüssel"],
    );
    stranger.logs(&["error", "shows key", "runbook=pair-refused"]);
    stranger.stop();
    // The joined one is known again; now only one side has lost its pin.
    let text = std::fs::read_to_string(one.identity()).unwrap();
    let mut identity: serde_json::Value = serde_json::from_str(&text).unwrap();
    let foreign = std::fs::read_to_string(stranger.identity()).unwrap();
    let foreign: serde_json::Value = serde_json::from_str(&foreign).unwrap();
    identity["peer_certificate_pem"] = foreign["certificate_pem"].clone();
    std::fs::write(one.identity(), serde_json::to_string(&identity).unwrap()).unwrap();
    one.start();
    one.shows(&["shows key", "pinned is"], &["zeigt den Schlüssel"]);
    zero.logs(&["error", "the peer refuses us", "refuses our key", "runbook=pair-refused"]);
    zero.shows(&["refuses our key"], &["weist unseren Schlüssel"]);
    one.stop();
    std::fs::write(one.identity(), text).unwrap();
    one.start();
    paired(&zero, &one);
    for node in [&zero, &one] {
        node.shows(&["Problems none"], &["Probleme keine"]);
    }
    zero.stop();
}

#[test]
fn a_peer_of_an_unknown_pair_is_refused_and_both_sides_say_what_to_do() {
    let (zero, mut one) = pair();
    one.stop();
    let text = std::fs::read_to_string(one.identity()).unwrap();
    let mut identity: serde_json::Value = serde_json::from_str(&text).unwrap();
    let ours = identity["pair"].as_str().unwrap().to_owned();
    let theirs = "77".repeat(16);
    identity["pair"] = serde_json::Value::from(theirs.as_str());
    std::fs::write(one.identity(), serde_json::to_string(&identity).unwrap()).unwrap();
    one.start();
    for (node, own, other) in [(&zero, &ours, &theirs), (&one, &theirs, &ours)] {
        let english = format!("is of pair {other}, this one of pair {own}");
        let german = format!("gehört zum Paar {other}, dieses zum Paar {own}");
        node.logs(&["error", "the peer is refused", &english, "runbook=pair-refused"]);
        node.shows(&[&english], &[&german]);
    }
}

#[test]
fn files_that_disagree_are_refused_and_both_sides_say_where() {
    let (zero, mut one) = pair();
    one.stop();
    one.configure("lease_ms = 80");
    one.start();
    for (node, english, german) in [
        (&zero, "lease_ms is 75 here and 80 there", "lease_ms ist hier 75 und dort 80"),
        (&one, "lease_ms is 80 here and 75 there", "lease_ms ist hier 80 und dort 75"),
    ] {
        node.logs(&["error", "the peer is not admitted", english, "runbook=pair-config-differs"]);
        node.shows(&["[pair-config-differs]", english], &["[pair-config-differs]", german]);
    }
}

#[test]
fn an_expired_certificate_only_alarms() {
    let (mut zero, mut one) = pair();
    zero.stop();
    one.stop();
    let read = |node: &Appliance| -> serde_json::Value {
        serde_json::from_str(&std::fs::read_to_string(node.identity()).unwrap()).unwrap()
    };
    let (mut a, b) = (read(&zero), read(&one));
    let mut b = b;
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec!["old".to_owned()]).unwrap();
    params.not_after = rcgen::date_time_ymd(2001, 1, 1);
    let certificate = params.self_signed(&key).unwrap().pem();
    a["peer_certificate_pem"] = certificate.as_str().into();
    b["certificate_pem"] = certificate.as_str().into();
    b["key_pem"] = key.serialize_pem().into();
    std::fs::write(zero.identity(), a.to_string()).unwrap();
    std::fs::write(one.identity(), b.to_string()).unwrap();
    zero.start();
    one.start();
    paired(&zero, &one);
    for node in [&zero, &one] {
        node.logs(&["warn", "certificate", "expired", "runbook=pair-certificate"]);
        node.shows(
            &["PAIR", "[pair-certificate] a certificate of the pair's link has expired"],
            &["PAIR", "[pair-certificate] ein Zertifikat"],
        );
    }
}
