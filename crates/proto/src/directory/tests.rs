use super::*;
use crate::id::{AccountId, Epoch, Lsn, TenantId};
use crate::keys::MemKeys;
use crate::mailbox;
use crate::rule::{Apply, Command, DecideError, Moment, Position};
use crate::time::UnixMs;

fn run<C: Command>(keys: &mut MemKeys, command: &C) -> Result<C::Answer, C::Refusal> {
    let moment = Moment { now: UnixMs(1_700_000_000_000), random: [0; 32], fork: Epoch(0) };
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
