use super::*;
use crate::directory::Directory;
use crate::store::disk::RealDisk;
use crate::store::{LeaseControl, Store, StoreOptions};
use proptest::prelude::*;
use std::net::IpAddr;
use std::sync::Arc;
use understudy_proto::directory::{AddAppPassword, DirectoryRules};
use understudy_proto::id::{Epoch, NodeId};
use understudy_proto::mailbox::MailboxRules;
use understudy_proto::rule::Registry;
use understudy_proto::time::UnixMs;

const ADA: &str = "ada@acme.example";
const PASSWORD: &str = "correct horse";

/// A node that reigns alone.
struct Node {
    directory: Directory,
    store: Store,
    lease: PrimaryLease,
    _control: LeaseControl,
    _dir: tempfile::TempDir,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.store.close();
    }
}

fn text(text: &str) -> Secret<String> {
    Secret::new(text.to_owned())
}

fn here() -> Source {
    Source::of(IpAddr::from([192, 0, 2, 7]))
}

impl Node {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut options = StoreOptions::new(dir.path(), NodeId(0));
        options.segment_len = 1 << 20;
        options.fatal = Arc::new(|_why| ());
        let registry = Registry::default().with(DirectoryRules).with(MailboxRules);
        let store = Store::open(Arc::new(RealDisk), options, registry).unwrap();
        store.log().begin_epoch(Epoch(1)).await.unwrap();
        store.log().commit_alone(true);
        store.keyring().mark_replicated(u64::MAX);
        let (lease, control) = PrimaryLease::mint(Epoch(1));
        let directory = Directory::new(store.clone());
        for (tenant, domain) in [("acme", "acme.example"), ("beta", "beta.example")] {
            let tenant = directory.create_tenant(&lease, tenant).await.unwrap();
            directory.add_domain(&lease, tenant, domain).await.unwrap();
            let address = format!("ada@{domain}");
            directory.create_account(&lease, &address, "Ada").await.unwrap();
            directory.set_password(&lease, &address, text(PASSWORD)).await.unwrap();
        }
        Self { directory, store, lease, _control: control, _dir: dir }
    }

    async fn sign_in(
        &self,
        name: &str,
        password: &str,
        code: Option<&str>,
    ) -> Result<SignedIn, SignInError> {
        let password = &text(password);
        let (source, label, own_device) = (here(), "Firefox, Linux", false);
        let who = WebSignIn { name, password, code, source, label, own_device };
        self.directory.sign_in_web(&self.lease, who).await
    }

    fn opens(&self, session: &SignedIn) -> bool {
        self.directory.session(session.token.expose()).unwrap().is_some()
    }

    /// Turns the second factor on, as if a while ago: codes of now are not used up. Its key.
    async fn with_totp(&self, login: &Login) -> [u8; 20] {
        let (key, account) = ([7; 20], login.account);
        let tenant = login.tenant;
        self.directory.write(&self.lease, tenant, BeginTotp { account, key }).await.unwrap();
        self.directory.write(&self.lease, tenant, ConfirmTotp { account, key }).await.unwrap();
        key
    }
}

fn code(key: &[u8; 20]) -> String {
    totp::code_of(key, clock::now_ms())
}

#[tokio::test]
async fn a_session_opens_what_its_person_may_and_ends_when_it_is_ended() {
    let node = Node::new().await;
    for (name, password) in [(ADA, "wrong horse"), ("nobody@acme.example", PASSWORD), ("x", "")] {
        assert!(matches!(node.sign_in(name, password, None).await, Err(SignInError::Wrong)));
    }
    let mut first = node.sign_in("Ada@ACME.example", PASSWORD, None).await.unwrap();
    let second = node.sign_in(ADA, PASSWORD, None).await.unwrap();
    let found = node.directory.session(first.token.expose()).unwrap().unwrap();
    assert_eq!((&found.login, found.id, found.touch), (&first.login, first.id, false));
    assert_eq!(found.login.address, ADA);
    let sessions = node.directory.own_credentials(&found.login, CredentialKind::Session).unwrap();
    assert_eq!(sessions.len(), 2);
    let name = &sessions.iter().find(|(_, h)| h.credential.id == first.id).unwrap().0;
    let (kind, login) = (CredentialKind::Session, &found.login);
    // Neither as something else nor by somebody else.
    let app = CredentialKind::AppPassword;
    assert!(!node.directory.revoke_own(&node.lease, login, app, name).await.unwrap());
    let other = node.sign_in("ada@beta.example", PASSWORD, None).await.unwrap();
    assert_eq!(other.login.account, login.account, "numbers are each tenant's own");
    assert!(!node.directory.revoke_own(&node.lease, &other.login, kind, name).await.unwrap());
    assert!(!first.standing.is_lost());
    assert!(node.directory.revoke_own(&node.lease, login, kind, name).await.unwrap());
    assert!(!node.directory.revoke_own(&node.lease, login, kind, name).await.unwrap());
    first.standing.lost().await;
    assert!(!node.opens(&first) && node.opens(&second) && node.opens(&other));
}

#[tokio::test]
async fn an_app_password_opens_programs_only_and_ends() {
    let node = Node::new().await;
    let made = node.directory.add_app_password(&node.lease, ADA, "phone", Some(1)).await.unwrap();
    let signed_in = node.sign_in(ADA, made.plain.expose(), None).await;
    assert!(matches!(signed_in, Err(SignInError::Wrong)));
    let opened = node.directory.authenticate(ADA, &made.plain, here()).await.unwrap();
    let (login, standing) = opened.unwrap();
    assert!(standing.stands());
    let all = node.directory.own_credentials(&login, CredentialKind::AppPassword).unwrap();
    let ends = all[0].1.ends.unwrap();
    assert!(ends.0.abs_diff(clock::now_ms().0 + 86_400_000) < 60_000);
    // One that has ended opens nothing and is swept; what was opened with it ends by itself.
    let (plain, secret) =
        crate::directory::password::new_app_password(Some(UnixMs(clock::now_ms().0 + 700)));
    let command = AddAppPassword { account: login.account, label: "short".into(), secret };
    node.directory.write(&node.lease, login.tenant, command).await.unwrap();
    let (_, mut short) =
        node.directory.authenticate(ADA, &plain, here()).await.unwrap().expect("not over yet");
    short.lost().await;
    assert!(node.directory.authenticate(ADA, &plain, here()).await.unwrap().is_none());
    assert_eq!(node.directory.credentials(ADA).unwrap().len(), 3);
    assert_eq!(node.directory.sweep_credentials(&node.lease).await.unwrap(), 1);
    assert_eq!(node.directory.credentials(ADA).unwrap().len(), 2);
}

#[tokio::test]
async fn a_new_password_ends_all_sessions_but_the_one_that_asked() {
    let node = Node::new().await;
    let mine = node.sign_in(ADA, PASSWORD, None).await.unwrap();
    let mut other = node.sign_in(ADA, PASSWORD, None).await.unwrap();
    let phone = node.directory.add_app_password(&node.lease, ADA, "phone", None).await.unwrap();
    let change = async |old: &str, new: &str| {
        let (session, old) = ((&mine.login, mine.id), text(old));
        node.directory.change_password(&node.lease, session, (&old, text(new)), here()).await
    };
    assert!(matches!(change("wrong horse", "battery staple").await, Err(SignInError::Wrong)));
    assert!(matches!(
        change(PASSWORD, "short").await,
        Err(SignInError::Directory(DirectoryError::PasswordLength { .. }))
    ));
    let next = change(PASSWORD, "battery staple").await.unwrap();
    other.standing.lost().await;
    assert!(!node.opens(&other) && !node.opens(&mine) && node.opens(&next));
    assert!(node.sign_in(ADA, PASSWORD, None).await.is_err());
    let opened = node.directory.authenticate(ADA, &phone.plain, here()).await.unwrap();
    assert!(opened.is_some(), "app passwords stay");
    // An operator who sets it ends this one, too.
    node.directory.set_password(&node.lease, ADA, text(PASSWORD)).await.unwrap();
    assert!(!node.opens(&next));
}

#[tokio::test]
async fn a_code_is_wanted_once_it_was_shown_and_opens_once() {
    let node = Node::new().await;
    let session = node.sign_in(ADA, PASSWORD, None).await.unwrap();
    let login = &session.login;
    let (lease, directory) = (&node.lease, &node.directory);
    let by_password = directory.authenticate(ADA, &text(PASSWORD), here()).await.unwrap();
    let (_, mut by_password) = by_password.unwrap();
    let wrong = directory.begin_totp(lease, login, &text("wrong horse"), here()).await;
    assert!(matches!(wrong, Err(SignInError::Wrong)));
    let fresh = directory.begin_totp(lease, login, &text(PASSWORD), here()).await.unwrap();
    assert!(fresh.uri.expose().contains(fresh.secret.expose()));
    assert!(!directory.has_totp(login).unwrap());
    node.sign_in(ADA, PASSWORD, None).await.unwrap();
    assert!(matches!(directory.confirm_totp(lease, login, "12345").await, Err(SignInError::Wrong)));
    let held = directory.credentials(ADA).unwrap();
    let key = totp_key(&held, false).unwrap();
    assert_eq!(totp::written(&key), *fresh.secret.expose());
    let shown = code(&key);
    directory.confirm_totp(lease, login, &shown).await.unwrap();
    assert!(directory.has_totp(login).unwrap() && node.opens(&session));
    // Programs cannot ask for codes: theirs are app passwords.
    by_password.lost().await;
    assert!(directory.authenticate(ADA, &text(PASSWORD), here()).await.unwrap().is_none());
    let phone = directory.add_app_password(lease, ADA, "phone", None).await.unwrap();
    assert!(directory.authenticate(ADA, &phone.plain, here()).await.unwrap().is_some());
    assert!(matches!(node.sign_in(ADA, PASSWORD, None).await, Err(SignInError::CodeNeeded)));
    assert!(matches!(node.sign_in(ADA, "wrong horse", None).await, Err(SignInError::Wrong)));
    let again = node.sign_in(ADA, PASSWORD, Some(&shown)).await;
    assert!(matches!(again, Err(SignInError::Wrong)), "it was used to confirm");
    assert!(matches!(
        directory.begin_totp(lease, login, &text(PASSWORD), here()).await,
        Err(SignInError::Directory(DirectoryError::Refused(DirectoryRefusal::Exists(_))))
    ));
    directory.reset_totp(lease, ADA).await.unwrap();
    assert!(directory.reset_totp(lease, ADA).await.is_err());
    node.sign_in(ADA, PASSWORD, None).await.unwrap();
}

#[tokio::test]
async fn wrong_codes_are_few_and_a_right_one_forgives() {
    let node = Node::new().await;
    let session = node.sign_in(ADA, PASSWORD, None).await.unwrap();
    let key = node.with_totp(&session.login).await;
    let wrong = format!("{:06}", (code(&key).parse::<u32>().unwrap() + 7) % 1_000_000);
    for _ in 0..4 {
        let tried = node.sign_in(ADA, PASSWORD, Some(&wrong)).await;
        assert!(matches!(tried, Err(SignInError::Wrong)));
    }
    node.sign_in(ADA, PASSWORD, Some(&code(&key))).await.unwrap();
    for _ in 0..5 {
        let tried = node.sign_in(ADA, PASSWORD, Some(&wrong)).await;
        assert!(matches!(tried, Err(SignInError::Wrong)));
    }
    let paused = node.sign_in(ADA, PASSWORD, Some(&code(&key))).await;
    assert!(matches!(paused, Err(SignInError::Busy(left)) if left > Duration::from_secs(60)));
    // Whoever does not know the password learns nothing of it.
    assert!(matches!(node.sign_in(ADA, "wrong horse", Some("1")).await, Err(SignInError::Wrong)));
    // The account's other doors stay open.
    assert!(node.opens(&session));
}

#[test]
fn a_token_says_whose_it_is_and_nothing_about_its_hash() {
    let login = Login { tenant: TenantId(7), account: AccountId(9), address: String::new() };
    let (token, proof) = fresh(&login, (true, None));
    assert_eq!(token.expose().len(), 54);
    let (tenant, account, bytes) = parse(token.expose()).unwrap();
    assert_eq!((tenant, account), (login.tenant, login.account));
    let Proof::Session { hash: kept, own_device: true } = proof else { panic!("{proof:?}") };
    assert_eq!(hash(&bytes), blake3::Hash::from(kept));
    assert_ne!(blake3::hash(&bytes), blake3::Hash::from(kept), "under a key of its own");
}

proptest! {
    #[test]
    fn any_text_is_a_token_or_none(token in "[a-zA-Z0-9_=+/ -]{0,60}") {
        if let Some((_, _, bytes)) = parse(&token) {
            prop_assert_eq!(URL_SAFE_NO_PAD.encode(bytes), token);
        }
    }

    #[test]
    fn any_forty_bytes_are_a_token(bytes in any::<[u8; 32]>(), whose in any::<(u32, u32)>()) {
        let mut all = [whose.0.to_be_bytes(), whose.1.to_be_bytes()].concat();
        all.extend_from_slice(&bytes);
        let (tenant, account, read) = parse(&URL_SAFE_NO_PAD.encode(&all)).unwrap();
        prop_assert_eq!((tenant, account), (TenantId(whose.0), AccountId(whose.1)));
        prop_assert_eq!(read.to_vec(), all);
    }
}

mod passkeys;
