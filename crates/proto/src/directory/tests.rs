use super::*;
use crate::id::{AccountId, Epoch, Lsn, TenantId};
use crate::keys::MemKeys;
use crate::mailbox;
use crate::rule::{Apply, Command, DecideError, Moment, Position};
use crate::time::UnixMs;

const NOW: u64 = 1_700_000_000_000;

fn run<C: Command>(keys: &mut MemKeys, command: &C) -> Result<C::Answer, C::Refusal> {
    run_at(keys, NOW, command)
}

fn run_at<C: Command>(keys: &mut MemKeys, now: u64, command: &C) -> Result<C::Answer, C::Refusal> {
    let moment = Moment { now: UnixMs(now), random: [0; 32], fork: Epoch(0) };
    match command.decide(keys, moment) {
        Ok(decision) => {
            if let Some(change) = decision.change {
                let at = Position { lsn: Lsn(1), epoch: Epoch(1) };
                DirectoryRules.apply(keys, at, &change).unwrap();
            }
            Ok(decision.answer)
        }
        Err(DecideError::Refused(why)) => Err(why),
        Err(e) => panic!("{e}"),
    }
}

#[test]
fn a_domain_has_one_owner() {
    let mut system = MemKeys::default();
    for (id, name) in [(1, "Alpha"), (2, "Beta")] {
        let id = TenantId(id);
        assert_eq!(run(&mut system, &CreateTenant { id, name: name.into() }), Ok(id));
    }
    let again = CreateTenant { id: TenantId(3), name: "ALPHA".into() };
    assert!(matches!(run(&mut system, &again), Err(DirectoryRefusal::Exists(_))));
    let add = |tenant, domain: &str| AddDomain { tenant: TenantId(tenant), domain: domain.into() };
    run(&mut system, &add(1, "Example.ORG.")).unwrap();
    assert_eq!(domain_owner(&system, "example.org").unwrap(), Some(TenantId(1)));
    assert!(matches!(run(&mut system, &add(2, "example.org")), Err(DirectoryRefusal::Exists(_))));
    assert!(matches!(run(&mut system, &add(9, "other.org")), Err(DirectoryRefusal::Missing(_))));
    run(&mut system, &RemoveDomain { domain: "EXAMPLE.org".into() }).unwrap();
    run(&mut system, &add(2, "example.org")).unwrap();
    assert_eq!(domains(&system).unwrap(), vec![("example.org".to_owned(), TenantId(2))]);
}

#[test]
fn an_account_is_born_with_its_mailboxes_and_leaves_its_mail() {
    let mut keys = MemKeys::default();
    let new = CreateAccount { address: "Ada@example.org".into(), name: "Ada".into() };
    let id = run(&mut keys, &new).unwrap();
    assert!(matches!(run(&mut keys, &new), Err(DirectoryRefusal::Exists(_))));
    let boxes = mailbox::mailboxes(&keys, id).unwrap();
    assert_eq!(boxes[0].name, "INBOX");
    assert_eq!(boxes.len(), 6);
    run(&mut keys, &AddAlias { address: "lovelace@example.org".into(), account: id }).unwrap();
    assert_eq!(address(&keys, "lovelace@example.org").unwrap().unwrap().account, id);
    let main = RemoveAlias { address: "ada@example.org".into() };
    assert_eq!(run(&mut keys, &main), Err(DirectoryRefusal::MainAddress));

    run(&mut keys, &CloseAccount { account: id }).unwrap();
    assert!(account(&keys, id).unwrap().unwrap().closed);
    assert_eq!(address(&keys, "ada@example.org").unwrap(), None);
    assert_eq!(address(&keys, "lovelace@example.org").unwrap(), None);
    assert_eq!(mailbox::mailboxes(&keys, id).unwrap().len(), 6);
    assert_eq!(run(&mut keys, &new), Ok(AccountId(2)), "an id is never given again");
}

#[test]
fn credentials_come_and_go_one_by_one() {
    let mut keys = MemKeys::default();
    let new = CreateAccount { address: "a@b".into(), name: "A".into() };
    let id = run(&mut keys, &new).unwrap();
    let secret = Secret::Blake3 { salt: [1; 32], hash: [2; 32] };
    let add = AddAppPassword { account: id, label: "phone".into(), secret: secret.clone() };
    assert_eq!(run(&mut keys, &add), Ok(1));
    assert_eq!(run(&mut keys, &add), Ok(2));
    run(&mut keys, &SetPassword { account: id, secret: secret.clone() }).unwrap();
    let held: Vec<u32> = credentials(&keys, id).unwrap().iter().map(|c| c.id).collect();
    assert_eq!(held, [PASSWORD, 1, 2]);
    run(&mut keys, &RevokeCredential { account: id, id: 1 }).unwrap();
    let gone = RevokeCredential { account: id, id: 1 };
    assert!(matches!(run(&mut keys, &gone), Err(DirectoryRefusal::Missing(_))));
    assert_eq!(format!("{secret:?}"), "(secret)");
}

/// An account with a password.
fn person(keys: &mut MemKeys) -> AccountId {
    let new = CreateAccount { address: "a@b".into(), name: "A".into() };
    let account = run(keys, &new).unwrap();
    run(keys, &SetPassword { account, secret: Secret::Argon2id("x".into()) }).unwrap();
    account
}

fn sign_in(keys: &mut MemKeys, now: u64, account: AccountId, n: u8, own_device: bool) -> u32 {
    let secret = Secret::Session { hash: [n; 32], own_device };
    run_at(keys, now, &AddSession { account, label: "Firefox".into(), secret }).unwrap().id
}

fn open_at(keys: &MemKeys, account: AccountId, now: u64) -> Vec<u32> {
    let all = held(keys, account).unwrap();
    all.iter().filter(|h| !h.is_over(UnixMs(now))).map(|h| h.credential.id).collect()
}

#[test]
fn a_session_ends_some_time_after_its_last_use() {
    let mut keys = MemKeys::default();
    let account = person(&mut keys);
    let (desk, own) =
        (sign_in(&mut keys, NOW, account, 1, false), sign_in(&mut keys, NOW, account, 2, true));
    let touch = |id| TouchSession { account, id };
    let before = keys.rows.clone();
    run_at(&mut keys, NOW + SESSION_TOUCH_MS - 1, &touch(desk)).unwrap();
    assert_eq!(keys.rows, before, "once an hour is enough");
    let used = NOW + SESSION_TOUCH_MS;
    run_at(&mut keys, used, &touch(desk)).unwrap();
    assert_eq!(open_at(&keys, account, used + SESSION_IDLE_MS - 1), [PASSWORD, desk, own]);
    let later = used + SESSION_IDLE_MS;
    assert_eq!(open_at(&keys, account, later), [PASSWORD, own]);
    let over = run_at(&mut keys, later, &touch(desk));
    assert!(matches!(over, Err(DirectoryRefusal::Missing(_))), "it does not come back");
    assert_eq!(open_at(&keys, account, NOW + SESSION_IDLE_OWN_MS), [PASSWORD]);
    assert_eq!(run_at(&mut keys, later, &Sweep { account }), Ok(1));
    assert_eq!(run_at(&mut keys, later, &Sweep { account }), Ok(0));
    assert_eq!(credentials(&keys, account).unwrap().len(), 2);
    assert_eq!(keys.rows.keys().filter(|key| key.first() == Some(&b'l')).count(), 0);
}

#[test]
fn too_many_sessions_end_the_one_that_was_unused_for_longest() {
    let mut keys = MemKeys::default();
    let account = person(&mut keys);
    let many = u8::try_from(SESSIONS_MAX).unwrap();
    let ids: Vec<u32> =
        (0..many).map(|n| sign_in(&mut keys, NOW + u64::from(n), account, n, true)).collect();
    let later = NOW + SESSION_TOUCH_MS * 2;
    run_at(&mut keys, later, &TouchSession { account, id: ids[0] }).unwrap();
    let new = sign_in(&mut keys, later, account, 99, true);
    let open = open_at(&keys, account, later);
    assert_eq!(open.len(), 1 + SESSIONS_MAX);
    assert!(open.contains(&ids[0]) && !open.contains(&ids[1]) && open.contains(&new));
}

#[test]
fn a_new_password_ends_every_session_and_no_app_password() {
    let mut keys = MemKeys::default();
    let account = person(&mut keys);
    // It began by a clock that is ahead of ours.
    sign_in(&mut keys, NOW + 5_000, account, 1, true);
    let secret = Secret::Blake3Until { salt: [1; 32], hash: [2; 32], until: UnixMs(NOW + 9_000) };
    let app = run(&mut keys, &AddAppPassword { account, label: "phone".into(), secret }).unwrap();
    run(&mut keys, &SetPassword { account, secret: Secret::Argon2id("y".into()) }).unwrap();
    assert_eq!(open_at(&keys, account, NOW), [PASSWORD, app]);
    let new = sign_in(&mut keys, NOW, account, 2, true);
    assert_eq!(
        open_at(&keys, account, NOW),
        [PASSWORD, app, new],
        "also by a clock that is behind"
    );
    assert_eq!(open_at(&keys, account, NOW + 9_000), [PASSWORD, new]);
    run(&mut keys, &RevokeCredential { account, id: PASSWORD }).unwrap();
    assert_eq!(open_at(&keys, account, NOW), [app]);
}

#[test]
fn a_second_factor_is_confirmed_and_each_step_used_once() {
    let mut keys = MemKeys::default();
    let account = person(&mut keys);
    let (first, second) = ([1; 20], [2; 20]);
    for key in [first, second] {
        run(&mut keys, &BeginTotp { account, key }).unwrap();
    }
    let old = run(&mut keys, &ConfirmTotp { account, key: first });
    assert!(matches!(old, Err(DirectoryRefusal::Missing(_))));
    let on = |keys: &MemKeys| {
        credentials(keys, account).unwrap().iter().any(Credential::is_confirmed_totp)
    };
    assert!(!on(&keys));
    run(&mut keys, &UseStep { account, step: 100 }).unwrap();
    run(&mut keys, &ConfirmTotp { account, key: second }).unwrap();
    assert!(on(&keys));
    let again = run(&mut keys, &BeginTotp { account, key: first });
    assert!(matches!(again, Err(DirectoryRefusal::Exists(_))));
    for (step, used) in [(100, true), (99, true), (101, false), (101, true)] {
        assert_eq!(run(&mut keys, &UseStep { account, step }).is_err(), used, "{step}");
    }
    // An app password is numbered as if there were none.
    assert!(sign_in(&mut keys, NOW, account, 1, false) < 10);
    run(&mut keys, &RevokeCredential { account, id: TOTP }).unwrap();
    assert!(!on(&keys));
    assert!(run(&mut keys, &UseStep { account, step: 101 }).is_err());
    run(&mut keys, &CloseAccount { account }).unwrap();
    assert!(!keys.rows.keys().any(|key| matches!(key.first(), Some(b'c' | b'l'))));
}

fn passkey(n: u8) -> Passkey {
    let (rp, algorithm) = ("mx.example.net".to_owned(), PasskeyAlgorithm::Es256);
    Passkey { rp, id: vec![n; 16], algorithm, key: vec![n; 91] }
}

#[test]
fn a_passkey_is_one_of_few_and_each_challenge_is_used_once() {
    let mut keys = MemKeys::default();
    let account = person(&mut keys);
    let add = |n| AddPasskey { account, label: "laptop".into(), passkey: passkey(n) };
    let first = run(&mut keys, &add(0)).unwrap();
    assert_eq!(first.kind(), CredentialKind::Passkey);
    assert!(matches!(run(&mut keys, &add(0)), Err(DirectoryRefusal::Exists(_))));
    for n in 1..u8::try_from(PASSKEYS_MAX).unwrap() {
        run(&mut keys, &add(n)).unwrap();
    }
    assert_eq!(run(&mut keys, &add(99)), Err(DirectoryRefusal::TooManyPasskeys));
    let challenge = |id, issued| UsePasskey { account, id, issued: UnixMs(issued) };
    for (issued, used) in [(500, false), (500, true), (499, true), (501, false)] {
        let run = run(&mut keys, &challenge(first.id, issued));
        assert_eq!(run, if used { Err(DirectoryRefusal::UsedCode) } else { Ok(()) }, "{issued}");
    }
    run(&mut keys, &challenge(first.id + 1, 1)).unwrap();
    let none = run(&mut keys, &challenge(PASSWORD, 502));
    assert!(matches!(none, Err(DirectoryRefusal::Missing(_))));
    run(&mut keys, &RevokeCredential { account, id: first.id }).unwrap();
    let gone = run(&mut keys, &challenge(first.id, 502));
    assert!(matches!(gone, Err(DirectoryRefusal::Missing(_))));
    run(&mut keys, &add(99)).unwrap();
}

#[test]
fn a_session_of_a_passkey_ends_with_it_and_with_a_new_password() {
    let mut keys = MemKeys::default();
    let account = person(&mut keys);
    let add = |n| AddPasskey { account, label: "laptop".into(), passkey: passkey(n) };
    let one = run(&mut keys, &add(1)).unwrap().id;
    let two = run(&mut keys, &add(2)).unwrap().id;
    let open = |keys: &mut MemKeys, n: u8| {
        let secret =
            Secret::PasskeySession { hash: [n; 32], own_device: true, passkey: vec![n; 16] };
        run(keys, &AddSession { account, label: "Firefox".into(), secret }).unwrap().id
    };
    let (first, second) = (open(&mut keys, 1), open(&mut keys, 2));
    assert_eq!(open_at(&keys, account, NOW), [PASSWORD, one, two, first, second]);
    run(&mut keys, &RevokeCredential { account, id: one }).unwrap();
    assert_eq!(open_at(&keys, account, NOW), [PASSWORD, two, second]);
    run(&mut keys, &SetPassword { account, secret: Secret::Argon2id("y".into()) }).unwrap();
    assert_eq!(open_at(&keys, account, NOW), [PASSWORD, two], "the passkey stays");
    let third = open(&mut keys, 2);
    assert_eq!(open_at(&keys, account, NOW + SESSION_IDLE_OWN_MS - 1), [PASSWORD, two, third]);
    // It needs no password.
    run(&mut keys, &RevokeCredential { account, id: PASSWORD }).unwrap();
    assert_eq!(open_at(&keys, account, NOW), [two, third]);
}

/// What releases before this one wrote, byte for byte.
#[test]
fn old_credentials_are_read() {
    #[derive(serde::Serialize)]
    enum Old {
        _Argon2id(String),
        Blake3 { salt: [u8; 32], hash: [u8; 32] },
    }
    let secret = Old::Blake3 { salt: [1; 32], hash: [2; 32] };
    let row = crate::codec::encode(&(7_u32, "phone", 5_u64, secret));
    let read: Credential = crate::codec::decode("credential", &row).unwrap();
    let secret = Secret::Blake3 { salt: [1; 32], hash: [2; 32] };
    assert_eq!(read, Credential { id: 7, label: "phone".into(), created: UnixMs(5), secret });
    assert_eq!(read.kind(), CredentialKind::AppPassword);
}
