//! Passkeys through the store, with an authenticator in software.

use super::*;
use crate::directory::{Assertion, Authenticator, PasskeySignIn, Relying};
use understudy_proto::directory::{PASSKEYS_MAX, PasskeyAlgorithm};

fn relying() -> Relying {
    Relying { id: "mx.example.net".into(), origin: "https://mx.example.net".into() }
}

/// A passkey of who has signed in, and its name.
async fn added(node: &Node, session: &SignedIn) -> Result<(Authenticator, String), SignInError> {
    let (whose, password) = ((&session.login, session.id), text(PASSWORD));
    let options = node.directory.begin_passkey(whose, &password, here(), &relying()).await?;
    let device = Authenticator::new(PasskeyAlgorithm::Es256, &options.user);
    let said = device.register(&relying(), &options.challenge);
    let said = ("Laptop", &said);
    let name = node.directory.add_passkey(&node.lease, whose, said, &relying()).await?;
    Ok((device, name))
}

async fn show(node: &Node, assertion: Assertion) -> Result<SignedIn, SignInError> {
    let (source, label, own_device) = (here(), "Firefox, Linux", true);
    let relying = &relying();
    let who = PasskeySignIn { relying, assertion, source, label, own_device };
    node.directory.sign_in_passkey(&node.lease, who).await
}

async fn by_passkey(node: &Node, device: &Authenticator) -> Result<SignedIn, SignInError> {
    // Two challenges of one millisecond are one.
    tokio::time::sleep(Duration::from_millis(2)).await;
    let challenge = node.directory.passkey_challenge(&relying()).unwrap();
    show(node, device.assert(&relying(), &challenge)).await
}

fn is_wrong<T>(tried: Result<T, SignInError>) -> bool {
    matches!(tried, Err(SignInError::Wrong))
}

#[tokio::test]
async fn a_passkey_is_both_factors_and_outlives_the_password() {
    let node = Node::new().await;
    let session = node.sign_in(ADA, PASSWORD, None).await.unwrap();
    let whose = (&session.login, session.id);
    let wrong = text("wrong horse");
    assert!(is_wrong(node.directory.begin_passkey(whose, &wrong, here(), &relying()).await));
    let (device, name) = added(&node, &session).await.unwrap();
    node.with_totp(&session.login).await;
    let mut opened = by_passkey(&node, &device).await.unwrap();
    assert!(node.opens(&opened) && opened.login == session.login);
    // The program's doors stay as they are.
    assert!(node.directory.authenticate(ADA, &text(PASSWORD), here()).await.unwrap().is_none());
    // A new password ends the sessions, and not the passkey; the one that asked goes on, and rests on it.
    let passwords = (&text(PASSWORD), text("battery staple"));
    let asked = (&opened.login, opened.id);
    let next = node.directory.change_password(&node.lease, asked, passwords, here()).await.unwrap();
    opened.standing.lost().await;
    assert!(!node.opens(&session) && !node.opens(&opened) && node.opens(&next));
    let mut again = by_passkey(&node, &device).await.unwrap();
    let passkey = CredentialKind::Passkey;
    assert!(node.directory.revoke_own(&node.lease, &session.login, passkey, &name).await.unwrap());
    again.standing.lost().await;
    assert!(!node.opens(&again) && !node.opens(&next), "they rested on it");
    assert!(is_wrong(by_passkey(&node, &device).await));
    assert!(node.directory.own_credentials(&session.login, passkey).unwrap().is_empty());
}

#[tokio::test]
async fn a_challenge_opens_once() {
    let node = Node::new().await;
    let session = node.sign_in(ADA, PASSWORD, None).await.unwrap();
    let (device, _) = added(&node, &session).await.unwrap();
    let older = node.directory.passkey_challenge(&relying()).unwrap();
    tokio::time::sleep(Duration::from_millis(2)).await;
    let challenge = node.directory.passkey_challenge(&relying()).unwrap();
    let said = device.assert(&relying(), &challenge);
    show(&node, said.clone()).await.unwrap();
    assert!(is_wrong(show(&node, said).await), "overheard and sent again");
    assert!(is_wrong(show(&node, device.assert(&relying(), &challenge)).await));
    assert!(is_wrong(show(&node, device.assert(&relying(), &older)).await));
    by_passkey(&node, &device).await.unwrap();
}

#[tokio::test]
async fn a_passkey_opens_its_own_account_only() {
    let node = Node::new().await;
    let ada = node.sign_in(ADA, PASSWORD, None).await.unwrap();
    let eve = node.sign_in("ada@beta.example", PASSWORD, None).await.unwrap();
    let (mut hers, _) = added(&node, &eve).await.unwrap();
    assert_eq!(by_passkey(&node, &hers).await.unwrap().login, eve.login);
    let (device, _) = added(&node, &ada).await.unwrap();
    let (own, id) = (hers.user.clone(), hers.id.clone());
    // Eve names Ada's account, with her own id and with Ada's; nobody's; something that is no name.
    for (user, id) in [
        (device.user.clone(), id.clone()),
        (device.user.clone(), device.id.clone()),
        (vec![0; 8], id.clone()),
        (vec![9; 8], id.clone()),
        (Vec::new(), id.clone()),
        (vec![0; 90], id.clone()),
    ] {
        (hers.user, hers.id) = (user, id);
        assert!(is_wrong(by_passkey(&node, &hers).await), "{:?}", hers.user);
    }
    // She may give her own passkey the id of Ada's: it opens hers.
    let whose = (&eve.login, eve.id);
    let options = node.directory.begin_passkey(whose, &text(PASSWORD), here(), &relying()).await;
    (hers.user, hers.id) = (own, device.id.clone());
    let said = hers.register(&relying(), &options.unwrap().challenge);
    let said = ("Copy", &said);
    node.directory.add_passkey(&node.lease, whose, said, &relying()).await.unwrap();
    assert_eq!(by_passkey(&node, &hers).await.unwrap().login, eve.login);
    assert_eq!(by_passkey(&node, &device).await.unwrap().login, ada.login);
}

#[tokio::test]
async fn registering_needs_a_challenge_of_this_session_and_has_a_bound() {
    let node = Node::new().await;
    let session = node.sign_in(ADA, PASSWORD, None).await.unwrap();
    let other = node.sign_in(ADA, PASSWORD, None).await.unwrap();
    let whose = (&session.login, session.id);
    let begun = node.directory.begin_passkey(whose, &text(PASSWORD), here(), &relying()).await;
    let options = begun.unwrap();
    let device = Authenticator::new(PasskeyAlgorithm::EdDsa, &options.user);
    let said = device.register(&relying(), &options.challenge);
    let add = async |whose: (&Login, u32)| {
        node.directory.add_passkey(&node.lease, whose, ("Laptop", &said), &relying()).await
    };
    assert!(is_wrong(add((&other.login, other.id)).await));
    add(whose).await.unwrap();
    let exists = |e| {
        matches!(e, SignInError::Directory(DirectoryError::Refused(DirectoryRefusal::Exists(_))))
    };
    assert!(add(whose).await.is_err_and(exists));
    for _ in 1..PASSKEYS_MAX {
        added(&node, &session).await.unwrap();
    }
    let full = added(&node, &session).await;
    assert!(matches!(
        full,
        Err(SignInError::Directory(DirectoryError::Refused(DirectoryRefusal::TooManyPasskeys)))
    ));
    let known = node.directory.own_credentials(&session.login, CredentialKind::Passkey).unwrap();
    assert_eq!(known.len(), PASSKEYS_MAX);
}
