//! Operators, and administrators of tenants, that one side or both have touched.

use super::*;
use crate::directory::{AddOperator, RemoveOperator, SetAdministrator, SetOperatorPassword};

fn secret_of(text: &str) -> Secret {
    Secret::Argon2id(text.into())
}

fn add(node: &mut Node, name: &str, password: &str) {
    node.run(&AddOperator { name: name.into(), secret: secret_of(password) }).unwrap();
}

fn set(node: &mut Node, password: &str) {
    node.run(&SetOperatorPassword { name: "anna".into(), secret: secret_of(password) }).unwrap();
}

fn remove(node: &mut Node) {
    node.run(&RemoveOperator { name: "anna".into() }).unwrap();
}

fn opens(node: &Node, name: &str) -> Option<Secret> {
    directory::operator(&node.keys, name).unwrap().map(|operator| operator.secret)
}

fn administer(node: &mut Node, account: AccountId, on: bool) {
    node.run(&SetAdministrator { account, on }).unwrap();
}

fn with_anna() -> Node {
    let mut base = Node::new();
    add(&mut base, "anna", "base");
    base
}

#[test]
fn operators_of_both_sides_are_operators() {
    let (mut a, mut b, fork) = split(&with_anna());
    add(&mut a, "ben", "ours");
    add(&mut b, "cleo", "theirs");
    let merged = merge(&a, &b, fork, None);
    for (name, password) in [("anna", "base"), ("ben", "ours"), ("cleo", "theirs")] {
        assert_eq!(opens(&merged, name), Some(secret_of(password)), "{name}");
    }
}

#[test]
fn of_two_passwords_the_later_one_counts() {
    for branch_is_later in [true, false] {
        let (mut a, mut b, fork) = split(&with_anna());
        let later = if branch_is_later { &mut b } else { &mut a };
        later.now += 1_000_000;
        set(&mut a, "ours");
        set(&mut b, "theirs");
        let merged = merge(&a, &b, fork, None);
        let wanted = if branch_is_later { "theirs" } else { "ours" };
        assert_eq!(opens(&merged, "anna"), Some(secret_of(wanted)));
    }
}

#[test]
fn whoever_was_removed_on_one_side_stays_removed() {
    let (mut a, mut b, fork) = split(&with_anna());
    remove(&mut a);
    set(&mut b, "theirs");
    assert_eq!(opens(&merge(&a, &b, fork, None), "anna"), None);
    let (mut a, mut b, fork) = split(&with_anna());
    set(&mut a, "ours");
    remove(&mut b);
    assert_eq!(opens(&merge(&a, &b, fork, None), "anna"), None);
    // Who came back there, and was not touched here, is back.
    let (a, mut b, fork) = split(&with_anna());
    remove(&mut b);
    add(&mut b, "anna", "anew");
    assert_eq!(opens(&merge(&a, &b, fork, None), "anna"), Some(secret_of("anew")));
}

#[test]
fn the_right_of_an_administrator_that_one_side_took_away_stays_away() {
    let mut base = Node::new();
    administer(&mut base, ADA, true);
    let is = |node: &Node, account| directory::is_administrator(&node.keys, account).unwrap();
    let (a, mut b, fork) = split(&base);
    administer(&mut b, BOB, true);
    administer(&mut b, ADA, false);
    let merged = merge(&a, &b, fork, None);
    assert!(is(&merged, BOB) && !is(&merged, ADA));
    for ours_takes in [true, false] {
        let (mut a, mut b, fork) = split(&base);
        let (takes, gives) = if ours_takes { (&mut a, &mut b) } else { (&mut b, &mut a) };
        administer(takes, ADA, false);
        administer(gives, ADA, false);
        administer(gives, ADA, true);
        assert!(!is(&merge(&a, &b, fork, None), ADA), "{ours_takes}");
    }
    // It goes with the account.
    let (mut a, mut b, fork) = split(&base);
    a.run(&CloseAccount { account: BOB }).unwrap();
    administer(&mut b, BOB, true);
    assert!(!is(&merge(&a, &b, fork, None), BOB));
    a.run(&CloseAccount { account: ADA }).unwrap();
    assert!(!is(&a, ADA));
}

#[test]
fn names_of_operators_are_short_and_they_are_not_many() {
    use crate::directory::{DirectoryRefusal, OPERATORS_MAX};
    let mut node = Node::new();
    for name in ["", "Anna", "a b", "a/b", "ä", &"x".repeat(33)] {
        let new = AddOperator { name: name.into(), secret: secret_of("x") };
        assert_eq!(node.run(&new), Err(DirectoryRefusal::OperatorName), "{name}");
    }
    for n in 0..OPERATORS_MAX {
        add(&mut node, &format!("op.{n}_-"), "x");
    }
    let more = AddOperator { name: "x".repeat(32), secret: secret_of("x") };
    assert_eq!(node.run(&more), Err(DirectoryRefusal::TooManyOperators));
    assert_eq!(directory::operators(&node.keys).unwrap().len(), OPERATORS_MAX);
}
