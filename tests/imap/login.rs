use super::support::{ADDRESS, Client, PASSWORD, Server};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::time::Duration;
use understudy::base::clock;
use understudy::config;

fn plain() -> String {
    STANDARD.encode(format!("\0{ADDRESS}\0{PASSWORD}"))
}

/// RFC 9051 6.2.3: "…the server MUST … LOGINDISABLED" as long as a password could be overheard.
#[tokio::test(flavor = "multi_thread")]
async fn a_password_needs_tls() {
    let server = Server::start().await;
    let mut c = server.plain().await;
    assert!(c.greeting.contains("STARTTLS LOGINDISABLED"), "{}", c.greeting);
    let reply = c.no(&format!("LOGIN {ADDRESS} \"{PASSWORD}\"")).await;
    assert!(reply.end.contains("[PRIVACYREQUIRED]"));
    c.bad("SELECT INBOX").await;
    c.ok("STARTTLS").await;
    let io = server.handshake(c.into_io()).await;
    let mut c = Client::wrap(io);
    let capability = c.ok("CAPABILITY").await;
    assert!(capability.line("CAPABILITY").contains("AUTH=PLAIN"));
    assert!(!capability.line("CAPABILITY").contains("LOGINDISABLED"));
    c.bad("STARTTLS").await;
    let reply = c.ok(&format!("LOGIN {ADDRESS} \"{PASSWORD}\"")).await;
    assert!(reply.end.contains("[CAPABILITY ") && reply.end.contains(" IDLE "), "{reply:?}");
    c.bad(&format!("LOGIN {ADDRESS} \"{PASSWORD}\"")).await;
}

/// What an attacker puts behind STARTTLS must not run inside TLS (CVE-2011-0411).
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_carried_over_into_tls() {
    let server = Server::start().await;
    let mut c = server.plain().await;
    c.send("a STARTTLS\r\nb NOOP\r\n").await;
    assert!(c.response().await.unwrap().starts_with("* BYE"));
    assert_eq!(c.response().await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn all_ways_to_log_in() {
    let server = Server::start().await;
    server.secure().await.ok(&format!("AUTHENTICATE PLAIN {}", plain())).await;
    let mut c = server.secure().await;
    c.send("a AUTHENTICATE PLAIN\r\n").await;
    assert!(c.response().await.unwrap().starts_with('+'));
    c.send(format!("{}\r\n", plain())).await;
    assert!(c.reply("a").await.end.starts_with("OK"));
    let mut c = server.secure().await;
    c.send("a AUTHENTICATE PLAIN\r\n*\r\n").await;
    assert!(c.response().await.unwrap().starts_with('+'));
    assert!(c.reply("a").await.end.starts_with("BAD"));
    c.no("AUTHENTICATE SCRAM-SHA-1").await;
    // Name and password as literals, as some clients send them.
    let (n, p) = (ADDRESS.len(), PASSWORD.len());
    c.send(format!("b LOGIN {{{n}}}\r\n")).await;
    assert!(c.response().await.unwrap().starts_with('+'));
    c.send(format!("{ADDRESS} {{{p}+}}\r\n{PASSWORD}\r\n")).await;
    assert!(c.reply("b").await.end.starts_with("OK"));
    let reply = c.ok("LOGOUT").await;
    assert!(reply.line("BYE").starts_with("* BYE"));
    assert_eq!(c.response().await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_passwords_cost_time_and_then_the_session() {
    let server = Server::start().await;
    let mut c = server.secure().await;
    let start = clock::mono();
    for name in [ADDRESS, "nobody@example.org", "nobody@elsewhere.example"] {
        let reply = c.no(&format!("LOGIN {name} wrong")).await;
        assert!(reply.end.contains("[AUTHENTICATIONFAILED]"), "{reply:?}");
    }
    assert!(clock::mono().since(start) >= Duration::from_secs(6));
    c.send("x LOGIN a b\r\n").await;
    assert!(c.response().await.unwrap().starts_with("* BYE"));
}

#[tokio::test(flavor = "multi_thread")]
async fn nonsense_gets_bad_and_then_bye() {
    let server = Server::start().await;
    let mut c = server.plain().await;
    for line in ["GET / HTTP/1.1", "\u{7}", "a FOO"] {
        c.send(format!("{line}\r\n")).await;
        assert!(c.response().await.unwrap().contains(" BAD "), "{line}");
    }
    c.ok("NOOP").await;
    for _ in 0..3 {
        c.send("x\r\n").await;
        assert!(c.response().await.unwrap().contains(" BAD "));
    }
    c.send("x\r\n").await;
    assert!(c.response().await.unwrap().contains(" BAD "));
    assert!(c.response().await.unwrap().starts_with("* BYE"));
    let mut c = server.plain().await;
    c.send(vec![b'x'; 20_000]).await;
    assert!(c.response().await.unwrap().starts_with("* BYE"));
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_ends_a_session() {
    let server = Server::with(config::Imap {
        idle_timeout: Duration::from_millis(900),
        keepalive: Duration::from_millis(300),
    })
    .await;
    let mut c = server.client().await;
    assert!(c.response().await.unwrap().starts_with("* BYE"));
    assert_eq!(c.response().await, None);
    let mut c = server.client().await;
    c.send("a IDLE\r\n").await;
    assert!(c.response().await.unwrap().starts_with('+'));
    assert!(c.response().await.unwrap().starts_with("* OK Still here"));
    assert!(c.response().await.unwrap().starts_with("* OK Still here"));
    while let Some(line) = c.response().await {
        assert!(line.starts_with("* OK Still here") || line.starts_with("* BYE"), "{line}");
    }
}
