use super::support::{ADDRESS, Client, PASSWORD, Server};
use understudy::base::secret::Secret;
use understudy_proto::time::Mono;

async fn hears_bye(mut client: Client) {
    hears(&mut client, "* BYE The server is moving").await;
}

async fn hears(client: &mut Client, start: &str) {
    let bye = client.response().await.unwrap();
    assert!(bye.starts_with(start), "{bye}");
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
    let mut client = server.held().await;
    server.control.extend(Mono(0));
    server.control.give_notice(true);
    let heard = tokio::time::timeout(std::time::Duration::from_millis(100), client.response());
    assert!(heard.await.is_err(), "nothing, and the connection stays");
    server.control.revoke();
    assert_eq!(client.response().await, None);
}

const SIGNED_OUT: &str = "* BYE The sign-in is no longer valid";

/// A stolen password must not go on reading once it is changed.
#[tokio::test(flavor = "multi_thread")]
async fn sessions_end_with_the_credential_that_they_rest_on() {
    let server = Server::start().await;
    let (directory, lease) = (&server.directory, &server.lease);
    let phone = directory.add_app_password(lease, ADDRESS, "phone", None).await.unwrap();
    let tablet = directory.add_app_password(lease, ADDRESS, "tablet", None).await.unwrap();
    let mut with_phone = server.client_with(phone.plain.expose()).await;
    let mut with_tablet = server.client_with(tablet.plain.expose()).await;
    let (mut at_rest, mut idle) = (server.inbox().await, server.inbox().await);
    idle.send("i IDLE\r\n").await;
    assert!(idle.response().await.unwrap().starts_with("+ "));

    let new = "another horse battery";
    directory.set_password(lease, ADDRESS, Secret::new(new.to_owned())).await.unwrap();
    hears(&mut at_rest, SIGNED_OUT).await;
    hears(&mut idle, SIGNED_OUT).await;
    // The old one is not remembered, though it was right a moment ago.
    let mut old = server.secure().await;
    old.no(&format!("LOGIN {ADDRESS} \"{PASSWORD}\"")).await;
    let mut with_new = server.client_with(new).await;

    // Each credential's sessions are its own; other changes to the account end none.
    server.deliver(b"Subject: new\r\n\r\n").await;
    directory.revoke_credential(lease, ADDRESS, phone.id).await.unwrap();
    hears(&mut with_phone, SIGNED_OUT).await;
    with_tablet.ok("NOOP").await;
    with_new.ok("NOOP").await;

    directory.close_account(lease, ADDRESS).await.unwrap();
    hears(&mut with_tablet, SIGNED_OUT).await;
    hears(&mut with_new, SIGNED_OUT).await;
}

/// Nor may it go on with a long answer that it does not take: there is no place for a word in it.
#[tokio::test(flavor = "multi_thread")]
async fn a_long_answer_ends_with_the_credential() {
    let server = Server::start().await;
    let mut thief = server.inbox().await;
    let big = vec![b'x'; 32 << 20];
    thief.append("INBOX", &big).await;
    thief.send("a FETCH 1 BODY[]\r\n").await;
    thief.starts("* 1 FETCH").await;
    let new = Secret::new("another horse battery".to_owned());
    server.directory.set_password(&server.lease, ADDRESS, new).await.unwrap();
    // What lies in the buffers of both kernels comes; the rest does not.
    assert!(thief.rest().await < big.len());
}

/// What a test leaves running must not miss its folder: the store takes that for a broken disk and ends
/// the process, without a word where nothing logs.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_dropped_writes_no_more() {
    let server = Server::start().await;
    let held = server.store.clone();
    server.deliver(b"Subject: the last\r\n\r\n").await;
    drop(server);
    // Longer than until the next checkpoint.
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    drop(held);
}
