//! mutt reads and keeps mail over IMAPS, checking our certificate.

use crate::imap::support::{ADDRESS, PASSWORD, Server};
use std::path::Path;
use std::process::{Output, Stdio};
use tokio::process::Command;

/// Runs mutt without a terminal's user: `-e` commands, keys pushed, then quit.
async fn mutt(server: &Server, home: &Path, commands: &[&str]) -> Output {
    let port = server.imaps.port();
    let name = ADDRESS.replace('@', "%40");
    let mut mutt = Command::new("mutt");
    mutt.args(["-n", "-F", "/dev/null", "-e"]);
    let mut settings = vec![
        format!("set imap_pass='{PASSWORD}'"),
        format!("set certificate_file='{}'", server.ca.display()),
        format!("set folder='imaps://{name}@localhost:{port}/'"),
        "set ssl_verify_host=no ssl_starttls=no confirmappend=no delete=yes quit=yes".to_owned(),
        "set move=no wait_key=no sleep_time=0 mark_old=no timeout=1 header_cache=''".to_owned(),
        "set pipe_decode=no prompt_after=no sort=mailbox-order".to_owned(),
    ];
    settings.extend(commands.iter().map(|c| (*c).to_owned()));
    mutt.arg(settings.join("; "));
    mutt.args(["-f", &format!("imaps://{name}@localhost:{port}/INBOX")]);
    // mutt wants a terminal for its screen; script(1) gives it one.
    let line: Vec<String> =
        std::iter::once("mutt".to_owned()).chain(args(&mutt)).map(|a| quote(&a)).collect();
    let mut script = Command::new("script");
    script.args(["-qec", &line.join(" "), "/dev/null"]);
    script.env("HOME", home).env("TERM", "xterm").env("LC_ALL", "C.UTF-8").current_dir(home);
    script.stdin(Stdio::null()).kill_on_drop(true);
    let run = script.output();
    tokio::time::timeout(std::time::Duration::from_secs(60), run).await.expect("mutt ends").unwrap()
}

fn args(command: &Command) -> Vec<String> {
    command.as_std().get_args().map(|a| a.to_string_lossy().into_owned()).collect()
}

fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[tokio::test(flavor = "multi_thread")]
async fn mutt_reads_flags_files_and_expunges() {
    let server = Server::start().await;
    for i in 1..=4 {
        let text = format!("From: b@example.net\r\nSubject: number {i}\r\n\r\nbody {i}\r\n");
        server.deliver(text.as_bytes()).await;
    }
    let home = tempfile::tempdir().unwrap();
    // Message 1 to a file; 2 flagged; 3 deleted; 4 saved into another mailbox (copied, deleted).
    let read = "push '<jump>1<enter><display-message><pipe-message>cat > one.txt<enter><exit>\
        <jump>2<enter><flag-message><jump>3<enter><delete-message>\
        <jump>4<enter><save-message>=Archive<enter><sync-mailbox><quit>'";
    let out = mutt(&server, home.path(), &[read]).await;
    let screen = String::from_utf8_lossy(&out.stdout);
    let one = std::fs::read_to_string(home.path().join("one.txt")).unwrap_or_default();
    assert!(one.contains("Subject: number 1") && one.contains("body 1"), "{one:?}\n{screen}");
    let mut c = server.inbox().await;
    let reply = c.ok("FETCH 1:* (FLAGS BODY.PEEK[HEADER.FIELDS (Subject)])").await;
    assert_eq!(reply.lines.len(), 2, "{reply:?}\n{screen}");
    assert!(
        reply.lines[0].contains("\\Seen") && reply.lines[0].contains("number 1"),
        "{reply:?}\n{screen}"
    );
    assert!(reply.lines[1].contains("\\Flagged") && reply.lines[1].contains("number 2"));
    c.ok("SELECT Archive").await.line("* 1 EXISTS");
    c.ok("FETCH 1 BODY.PEEK[TEXT]").await.line("body 4");
}
