//! Addresses, domains and passwords that change hands on one side or both.

use super::*;

const CAROL: &str = "carol@example.org";

fn create(node: &mut Node, address: &str) -> AccountId {
    node.run(&CreateAccount { address: address.into(), name: "new".into() }).unwrap()
}

fn alias(node: &mut Node, address: &str, account: AccountId) {
    node.run(&AddAlias { address: address.into(), account }).unwrap();
}

fn unalias(node: &mut Node, address: &str) {
    node.run(&RemoveAlias { address: address.into() }).unwrap();
}

fn close(node: &mut Node, account: AccountId) {
    node.run(&CloseAccount { account }).unwrap();
}

fn password(node: &mut Node, account: AccountId, text: &str) {
    node.run(&SetPassword { account, secret: Secret::Argon2id(text.into()) }).unwrap();
}

/// Whose an address is, and whether it is an alias.
fn owner(node: &Node, address: &str) -> Option<(AccountId, bool)> {
    let row = directory::address(&node.keys, address).unwrap()?;
    let account = directory::account(&node.keys, row.account).unwrap().unwrap();
    assert!(!account.closed, "{address} leads to a closed account");
    Some((row.account, row.alias))
}

/// The password of whoever has an address.
fn opens(node: &Node, address: &str) -> Option<String> {
    let (account, _) = owner(node, address)?;
    let all = directory::credentials(&node.keys, account).unwrap();
    all.iter().find(|c| c.id == 0).map(|c| secret(&c.secret))
}

fn lost(node: &Node, branch: &Node, fork: Lsn) -> Vec<String> {
    let id = BranchId { fork, epoch: branch.epoch };
    notes(&node.keys, id).unwrap().into_iter().map(|n| n.rule).collect()
}

#[test]
fn an_account_that_was_closed_and_made_anew_on_the_branch_is_open() {
    let (a, mut b, fork) = split(&Node::new());
    close(&mut b, ADA);
    let new = create(&mut b, "ada@example.org");
    password(&mut b, new, "new");
    let merged = merge(&a, &b, fork, None);
    let (account, alias) = owner(&merged, "ada@example.org").unwrap();
    assert!(account != ADA && !alias);
    assert_eq!(opens(&merged, "ada@example.org").as_deref(), Some("new"));
    assert!(directory::account(&merged.keys, ADA).unwrap().unwrap().closed);
    for stop in 1..10 {
        let half = merge(&a, &b, fork, Some(stop));
        let whole = merge(&half, &b, fork, None);
        assert_eq!(owner(&whole, "ada@example.org"), Some((account, false)), "{stop}");
    }
}

#[test]
fn an_address_that_changed_hands_on_the_branch_has_its_new_owner() {
    // An alias became an account.
    let (a, mut b, fork) = split(&Node::new());
    unalias(&mut b, "alias@example.org");
    create(&mut b, "alias@example.org");
    let merged = merge(&a, &b, fork, None);
    let (account, alias_now) = owner(&merged, "alias@example.org").unwrap();
    assert!(!alias_now && account != ADA);
    assert_eq!(lost(&merged, &b, fork), Vec::<String>::new());

    // An account became an alias.
    let (a, mut b, fork) = split(&Node::new());
    close(&mut b, ADA);
    alias(&mut b, "ada@example.org", BOB);
    let merged = merge(&a, &b, fork, None);
    assert_eq!(owner(&merged, "ada@example.org"), Some((BOB, true)));

    // An alias went with its account, and another got it.
    let (a, mut b, fork) = split(&Node::new());
    close(&mut b, ADA);
    create(&mut b, "alias@example.org");
    let merged = merge(&a, &b, fork, None);
    assert!(!owner(&merged, "alias@example.org").unwrap().1);

    // An account that came on the branch was closed there, and another took its address.
    let (mut a, mut b, fork) = split(&Node::new());
    let leaders = create(&mut a, CAROL);
    let first = create(&mut b, CAROL);
    b.deliver(first, 7, false, false);
    close(&mut b, first);
    let second = create(&mut b, CAROL);
    password(&mut b, second, "second");
    for base in [&a, &split(&Node::new()).0] {
        let merged = merge(base, &b, fork, None);
        let (account, _) = owner(&merged, CAROL).unwrap();
        assert_eq!(opens(&merged, CAROL).as_deref(), Some("second"));
        let open = directory::accounts(&merged.keys).unwrap().into_iter().filter(|x| !x.closed);
        assert_eq!(open.count(), 3);
        assert!(hashes(&merged).contains_key(&b.body(7).hash));
        if std::ptr::eq(base, &a) {
            assert_eq!(account, leaders);
        }
    }
}

#[test]
fn what_went_with_its_account_does_not_come_back() {
    let (mut a, mut b, fork) = split(&Node::new());
    alias(&mut b, CAROL, BOB);
    close(&mut b, BOB);
    let merged = merge(&a, &b, fork, None);
    assert_eq!(owner(&merged, CAROL), None);
    assert_eq!(lost(&merged, &b, fork), Vec::<String>::new());
    // The leader's own alias stays.
    alias(&mut a, CAROL, ADA);
    assert_eq!(owner(&merge(&a, &b, fork, None), CAROL), Some((ADA, true)));
}

#[test]
fn an_alias_that_only_the_branch_moved_is_where_it_moved_it() {
    let (mut a, mut b, fork) = split(&Node::new());
    unalias(&mut b, "alias@example.org");
    alias(&mut b, "alias@example.org", BOB);
    let merged = merge(&a, &b, fork, None);
    assert_eq!(owner(&merged, "alias@example.org"), Some((BOB, true)));
    assert_eq!(lost(&merged, &b, fork), Vec::<String>::new());
    // Moved on both sides: the later one, whoever leads.
    let carol = create(&mut a, CAROL);
    unalias(&mut a, "alias@example.org");
    for (ahead, owner_is) in [(5_000, carol), (0, BOB)] {
        let (mut a, mut b) = (a.clone(), b.clone());
        a.now += ahead;
        alias(&mut a, "alias@example.org", carol);
        b.now = a.now + 1_000 - ahead;
        unalias(&mut b, "alias@example.org");
        alias(&mut b, "alias@example.org", BOB);
        let (ab, ba) = (merge(&a, &b, fork, None), merge(&b, &a, fork, None));
        assert_eq!(owner(&ab, "alias@example.org"), Some((owner_is, true)));
        assert_eq!(differ(&content(&ab), &content(&ba)), "");
        let rule = ["set on both sides: the later one"];
        assert_eq!(
            (lost(&ab, &b, fork), lost(&ba, &a, fork)),
            (rule.map(String::from).into(), rule.map(String::from).into())
        );
    }
    // The leader made an account of it.
    let (mut a, _, _) = split(&Node::new());
    unalias(&mut a, "alias@example.org");
    let new = create(&mut a, "alias@example.org");
    let merged = merge(&a, &b, fork, None);
    assert_eq!(owner(&merged, "alias@example.org"), Some((new, false)));
}

#[test]
fn a_domain_that_only_the_branch_moved_is_where_it_moved_it() {
    let mut base = Node::empty();
    for (id, name) in [(2, "x"), (4, "y"), (6, "z")] {
        base.run(&CreateTenant { id: TenantId(id), name: name.into() }).unwrap();
    }
    let domain = || "example.org".to_owned();
    base.run(&AddDomain { tenant: TenantId(2), domain: domain() }).unwrap();
    let give = |node: &mut Node, tenant| {
        node.run(&RemoveDomain { domain: domain() }).unwrap();
        node.run(&AddDomain { tenant, domain: domain() }).unwrap();
    };
    let owner = |node: &Node| directory::domain_owner(&node.keys, "example.org").unwrap();
    let (mut a, mut b, fork) = split(&base);
    give(&mut b, TenantId(4));
    let merged = merge(&a, &b, fork, None);
    assert_eq!(owner(&merged), Some(TenantId(4)));
    assert_eq!(lost(&merged, &b, fork), Vec::<String>::new());
    a.now = b.now;
    give(&mut a, TenantId(6));
    for (a, b) in [(&a, &b), (&b, &a)] {
        let merged = merge(a, b, fork, None);
        assert_eq!(owner(&merged), Some(TenantId(6)), "the later one");
        assert_eq!(lost(&merged, b, fork), ["set on both sides: the later one"]);
    }
    b.now = a.now;
    give(&mut b, TenantId(4));
    for (a, b) in [(&a, &b), (&b, &a)] {
        assert_eq!(owner(&merge(a, b, fork, None)), Some(TenantId(4)), "the later one");
    }
}

#[test]
fn at_one_time_the_last_by_alphabet_has_it_and_records_without_a_time_are_earlier() {
    let mut base = Node::new();
    let carol = create(&mut base, CAROL);
    unalias(&mut base, "alias@example.org");
    let both = |a: &Node, b: &Node| {
        let fork = base.last();
        let (ab, ba) = (merge(a, b, fork, None), merge(b, a, fork, None));
        assert_eq!(differ(&content(&ab), &content(&ba)), "");
        owner(&ab, "alias@example.org").unwrap().0
    };
    let (mut a, mut b, _) = split(&base);
    alias(&mut a, "alias@example.org", carol);
    alias(&mut b, "alias@example.org", BOB);
    assert_eq!(both(&a, &b), carol);
    // As releases wrote it that did not say when: the fourth kind of change, from 0.
    let old = |node: &mut Node, account: AccountId| {
        let change = codec::encode(&(4_u32, "alias@example.org", Some(account)));
        let at = Position { lsn: node.last().next(), epoch: node.epoch };
        DirectoryRules.apply(&mut node.keys, at, &change).unwrap();
        node.log.push((at.lsn, Kind::DIRECTORY, change));
    };
    let (mut a, _, _) = split(&base);
    old(&mut a, carol);
    assert_eq!(both(&a, &b), BOB);
    let (_, mut b, _) = split(&base);
    old(&mut b, BOB);
    assert_eq!(both(&a, &b), carol);
}

#[test]
fn an_account_of_both_sides_has_the_attributes_of_the_later_and_beats_an_alias() {
    let (mut a, mut b, fork) = split(&Node::new());
    b.run(&CreateAccount { address: CAROL.into(), name: "Carol".into() }).unwrap();
    a.now = b.now;
    a.run(&CreateAccount { address: CAROL.into(), name: "Caroline".into() }).unwrap();
    unalias(&mut a, "alias@example.org");
    alias(&mut a, "alias@example.org", BOB);
    unalias(&mut b, "alias@example.org");
    create(&mut b, "alias@example.org");
    for (a, b) in [(&a, &b), (&b, &a)] {
        let merged = merge(a, b, fork, None);
        let (carol, _) = owner(&merged, CAROL).unwrap();
        let carol = directory::account(&merged.keys, carol).unwrap().unwrap();
        assert_eq!(carol.name, "Caroline");
        assert!(!owner(&merged, "alias@example.org").unwrap().1);
        check_uids(a, &merged).unwrap();
        check_uids(b, &merged).unwrap();
    }
}

#[test]
fn passwords_of_two_people_under_one_number_have_nothing_to_do_with_each_other() {
    let (mut a, mut b, fork) = split(&Node::new());
    let dave = create(&mut a, "dave@example.org");
    let carol = create(&mut b, CAROL);
    assert_eq!(dave, carol, "the same number for two");
    password(&mut b, carol, "carol's");
    password(&mut a, dave, "dave's");
    let merged = merge(&a, &b, fork, None);
    assert_eq!(opens(&merged, CAROL).as_deref(), Some("carol's"));
    assert_eq!(opens(&merged, "dave@example.org").as_deref(), Some("dave's"));
    a.run(&RevokeCredential { account: dave, id: 0 }).unwrap();
    let merged = merge(&a, &b, fork, None);
    assert_eq!(opens(&merged, CAROL).as_deref(), Some("carol's"));
    assert_eq!(opens(&merged, "dave@example.org"), None);
}

#[test]
fn passwords_of_one_person_under_two_numbers_are_compared() {
    for other in [false, true] {
        let (mut a, mut b, fork) = split(&Node::new());
        if other {
            create(&mut b, "dave@example.org");
        } else {
            create(&mut a, "dave@example.org");
        }
        let (ours, theirs) = (create(&mut a, CAROL), create(&mut b, CAROL));
        assert_ne!(ours, theirs);
        b.now = a.now + 10_000;
        password(&mut b, theirs, "branch");
        let merged = merge(&a, &b, fork, None);
        assert_eq!(opens(&merged, CAROL).as_deref(), Some("branch"));
        a.now = b.now - 5_000;
        password(&mut a, ours, "earlier");
        assert_eq!(opens(&merge(&a, &b, fork, None), CAROL).as_deref(), Some("branch"));
        a.now = b.now + 10_000;
        password(&mut a, ours, "later");
        assert_eq!(opens(&merge(&a, &b, fork, None), CAROL).as_deref(), Some("later"));
        a.run(&RevokeCredential { account: ours, id: 0 }).unwrap();
        let merged = merge(&a, &b, fork, None);
        assert_eq!(opens(&merged, CAROL), None, "a revocation always wins");
    }
}

#[test]
fn an_account_that_came_and_went_on_one_side_leaves_the_other_sides_alone() {
    let (mut a, mut b, fork) = split(&Node::new());
    let carol = create(&mut a, CAROL);
    password(&mut a, carol, "carol's");
    alias(&mut a, "rob@example.org", BOB);
    for address in [CAROL, "rob@example.org"] {
        let gone = create(&mut b, address);
        b.deliver(gone, 7, false, false);
        close(&mut b, gone);
    }
    for (a, b) in [(&a, &b), (&b, &a)] {
        let merged = merge(a, b, fork, None);
        assert_eq!(opens(&merged, CAROL).as_deref(), Some("carol's"));
        assert_eq!(owner(&merged, "rob@example.org"), Some((BOB, true)));
        assert!(hashes(&merged).contains_key(&a.clone().body(7).hash), "the closed one's mail");
    }
    // It went for an alias: of two aliases the later.
    alias(&mut b, "rob@example.org", ADA);
    for (a, b) in [(&a, &b), (&b, &a)] {
        let merged = merge(a, b, fork, None);
        assert_eq!(owner(&merged, "rob@example.org"), Some((ADA, true)));
    }
    assert!(
        !lost(&merge(&a, &b, fork, None), &b, fork).iter().any(|rule| rule.contains("removed"))
    );
}

#[test]
fn a_revoked_password_of_an_account_of_both_sides_is_kept() {
    let (mut a, mut b, fork) = split(&Node::new());
    create(&mut a, "dave@example.org");
    let (ours, theirs) = (create(&mut a, CAROL), create(&mut b, CAROL));
    assert_ne!(ours, theirs);
    password(&mut a, ours, "leader's");
    password(&mut b, theirs, "branch's");
    b.run(&RevokeCredential { account: theirs, id: 0 }).unwrap();
    let merged = merge(&a, &b, fork, None);
    assert_eq!(opens(&merged, CAROL), None);
    let id = BranchId { fork, epoch: b.epoch };
    let all = notes(&merged.keys, id).unwrap();
    let n = all.iter().position(|n| n.rule == "a revocation always wins").expect("noted");
    assert!(original(&merged.keys, id, u32::try_from(n).unwrap()).unwrap().is_some());
}

fn session(node: &Node, n: usize) -> Option<directory::Held> {
    let all = directory::held(&node.keys, ADA).unwrap();
    let mut sessions = all.into_iter().filter(|h| h.credential.kind() == CredentialKind::Session);
    sessions.nth(n)
}

fn is_over(node: &Node, held: Option<&directory::Held>) -> bool {
    held.is_none_or(|h| h.is_over(UnixMs(node.now)))
}

#[test]
fn sessions_of_both_sides_are_kept_with_their_later_use() {
    let (mut a, mut b, fork) = split(&Node::new());
    a.session(1);
    b.session(2);
    a.act(&Do::Touch(0), 1);
    b.now = a.now;
    b.act(&Do::Touch(1), 2);
    b.act(&Do::Touch(0), 2);
    for (a, b) in [(&a, &b), (&b, &a)] {
        let merged = merge(a, b, fork, None);
        let uses: Vec<_> = (0..3).map(|n| session(&merged, n).expect("kept").last).collect();
        assert_eq!(uses.iter().flatten().count(), 2, "{uses:?}");
        assert_eq!(uses[0], Some(a.now.max(b.now)), "both used it");
    }
}

#[test]
fn a_session_that_was_ended_on_one_side_is_ended() {
    let (mut a, mut b, fork) = split(&Node::new());
    let id = session(&a, 0).unwrap().credential.id;
    a.run(&RevokeCredential { account: ADA, id }).unwrap();
    b.act(&Do::Touch(0), 2);
    for (a, b) in [(&a, &b), (&b, &a)] {
        assert_eq!(session(&merge(a, b, fork, None), 0), None);
    }
}

#[test]
fn a_new_password_ends_the_other_sides_older_sessions() {
    let (mut a, mut b, fork) = split(&Node::new());
    a.session(1);
    b.now = a.now;
    password(&mut b, ADA, "new");
    b.session(2);
    for (a, b) in [(&a, &b), (&b, &a)] {
        let merged = merge(a, b, fork, None);
        let all = directory::held(&merged.keys, ADA).unwrap();
        let open = all.iter().filter(|h| h.credential.kind() == CredentialKind::Session);
        let open: Vec<_> = open.filter(|h| !is_over(&merged, Some(h))).collect();
        assert_eq!(open.len(), 1);
        assert!(secret(&open[0].credential.secret).starts_with("[0, 0, 0, 2"));
    }
}

fn passkey(node: &mut Node, n: u8) -> u32 {
    let (rp, algorithm) = ("mx.example.net".to_owned(), PasskeyAlgorithm::Es256);
    let passkey = Passkey { rp, id: vec![n; 16], algorithm, key: vec![n; 91] };
    node.run(&AddPasskey { account: ADA, label: "laptop".into(), passkey }).unwrap().id
}

fn passkeys(node: &Node) -> Vec<(u32, u8)> {
    let all = directory::credentials(&node.keys, ADA).unwrap();
    let passkeys = all.iter().filter_map(|c| Some((c.id, c.secret.passkey()?.id[0])));
    passkeys.collect()
}

#[test]
fn passkeys_of_both_sides_are_kept_and_their_challenges_stay_used() {
    let mut base = Node::new();
    passkey(&mut base, 1);
    let (mut a, mut b, fork) = split(&base);
    let ours = passkey(&mut a, 2);
    let theirs = passkey(&mut b, 3);
    assert_eq!(ours, theirs, "under one number");
    let issued = UnixMs(5_000);
    b.run(&UsePasskey { account: ADA, id: theirs, issued }).unwrap();
    for (a, b) in [(&a, &b), (&b, &a)] {
        let mut merged = merge(a, b, fork, None);
        let mut all = passkeys(&merged);
        all.sort_by_key(|(_, n)| *n);
        assert_eq!(all.iter().map(|(_, n)| *n).collect::<Vec<_>>(), [1, 2, 3]);
        let again = merged.run(&UsePasskey { account: ADA, id: all[2].0, issued });
        assert_eq!(again, Err(DirectoryRefusal::UsedCode));
        merged.run(&UsePasskey { account: ADA, id: all[1].0, issued }).unwrap();
    }
}

#[test]
fn a_passkey_that_was_revoked_on_one_side_ends_the_other_sides_sessions() {
    let mut base = Node::new();
    let id = passkey(&mut base, 1);
    let (mut a, mut b, fork) = split(&base);
    a.run(&RevokeCredential { account: ADA, id }).unwrap();
    let secret = Secret::PasskeySession { hash: [7; 32], own_device: true, passkey: vec![1; 16] };
    let session = AddSession { account: ADA, label: "Firefox".into(), secret: secret.clone() };
    b.run(&UsePasskey { account: ADA, id, issued: UnixMs(5_000) }).unwrap();
    b.run(&session).unwrap();
    for (a, b) in [(&a, &b), (&b, &a)] {
        let merged = merge(a, b, fork, None);
        assert_eq!(passkeys(&merged), []);
        let all = directory::held(&merged.keys, ADA).unwrap();
        let held = all.iter().find(|h| h.credential.secret == secret);
        assert!(is_over(&merged, held), "it rests on nothing");
    }
}

#[test]
fn a_second_factor_is_merged_as_a_password_is_and_its_steps_stay_used() {
    let totp = |node: &Node| {
        let all = directory::credentials(&node.keys, ADA).unwrap();
        all.into_iter().find(|c| c.id == directory::TOTP).map(|c| secret(&c.secret))
    };
    let key = |n: u8| [n; 20];
    let mut base = Node::new();
    base.run(&BeginTotp { account: ADA, key: key(1) }).unwrap();
    let (mut a, mut b, fork) = split(&base);
    a.run(&ConfirmTotp { account: ADA, key: key(1) }).unwrap();
    a.run(&UseStep { account: ADA, step: 70 }).unwrap();
    b.now = a.now + 5_000;
    b.run(&BeginTotp { account: ADA, key: key(2) }).unwrap();
    b.run(&UseStep { account: ADA, step: 60 }).unwrap();
    for (a, b) in [(&a, &b), (&b, &a)] {
        let mut merged = merge(a, b, fork, None);
        let confirmed = Secret::Totp { key: key(1), confirmed: true };
        assert_eq!(totp(&merged), Some(secret(&confirmed)), "the other one was never shown");
        assert!(merged.run(&UseStep { account: ADA, step: 70 }).is_err());
        merged.run(&UseStep { account: ADA, step: 71 }).unwrap();
    }
    b.run(&RevokeCredential { account: ADA, id: directory::TOTP }).unwrap();
    for (a, b) in [(&a, &b), (&b, &a)] {
        let mut merged = merge(a, b, fork, None);
        assert_eq!(totp(&merged), None, "a revocation always wins");
        assert!(merged.run(&UseStep { account: ADA, step: 70 }).is_err());
    }
}
