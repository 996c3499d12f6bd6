use super::support::{Client, Server};
use understudy_proto::time::Mono;

async fn hears_bye(mut client: Client) {
    let bye = client.response().await.unwrap();
    assert!(bye.starts_with("* BYE The server is moving"), "{bye}");
    assert_eq!(client.response().await, None);
}

/// RFC 9051 7.1.5: a server that goes away says so, whatever the session waits for.
#[tokio::test(flavor = "multi_thread")]
async fn sessions_hear_that_the_server_moves() {
    let server = Server::start().await;
    let (anonymous, at_rest) = (server.plain().await, server.inbox().await);
    let mut idle = server.inbox().await;
    idle.send("i IDLE\r\n").await;
    assert!(idle.response().await.unwrap().starts_with("+ "));
    let mut appends = server.client().await;
    appends.send("a APPEND INBOX {100}\r\n").await;
    assert!(appends.response().await.unwrap().starts_with("+ "));
    appends.send("Subject: half\r\n").await;
    server.control.give_notice(true);
    for client in [anonymous, at_rest, idle, appends] {
        hears_bye(client).await;
    }
    // Whoever gave notice learns that nobody is left.
    server.control.all_gone().await;
}

/// A process that was frozen may not say goodbye either: somebody else may lead by now.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_fresh_lease_nobody_says_goodbye() {
    let server = Server::start().await;
    let mut client = server.inbox().await;
    server.control.extend(Mono(0));
    server.control.give_notice(true);
    let heard = tokio::time::timeout(std::time::Duration::from_millis(100), client.response());
    assert!(heard.await.is_err(), "nothing, and the connection stays");
    server.control.revoke();
    assert_eq!(client.response().await, None);
}
