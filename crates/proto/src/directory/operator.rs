//! What can be asked about operators and administrators of tenants, and how each is decided.

use super::apply::Change;
use super::commands::{DirectoryRefusal, Refused, decided, open_account, refuse};
use super::rows::{self, Operator, Secret};
use crate::id::AccountId;
use crate::keys::Keys;
use crate::record::Kind;
use crate::rule::{Command, DecideError, Decision, Moment};

/// Most operators.
pub const OPERATORS_MAX: usize = 64;
/// Longest name of one, in bytes.
pub const OPERATOR_NAME_LEN_MAX: usize = 32;

fn is_name(name: &str) -> bool {
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b);
    (1..=OPERATOR_NAME_LEN_MAX).contains(&name.len()) && name.bytes().all(fits)
}

fn find(keys: &dyn Keys, name: &str) -> Result<Operator, DecideError<DirectoryRefusal>> {
    match rows::operator(keys, name)? {
        Some(operator) => Ok(operator),
        None => refuse(DirectoryRefusal::Missing(format!("operator {name}"))),
    }
}

/// System: somebody may use the console.
#[derive(Clone, Debug)]
pub struct AddOperator {
    /// The name.
    pub name: String,
    /// The password, already hashed.
    pub secret: Secret,
}

impl Command for AddOperator {
    const KIND: Kind = Kind::DIRECTORY;
    type Answer = ();
    type Refusal = DirectoryRefusal;

    fn decide(&self, keys: &dyn Keys, moment: Moment) -> Refused<()> {
        if !is_name(&self.name) {
            return refuse(DirectoryRefusal::OperatorName);
        }
        let all = rows::operators(keys)?;
        if all.iter().any(|operator| operator.name == self.name) {
            return refuse(DirectoryRefusal::Exists(format!("operator {}", self.name)));
        }
        if all.len() >= OPERATORS_MAX {
            return refuse(DirectoryRefusal::TooManyOperators);
        }
        let (name, secret, when) = (self.name.clone(), self.secret.clone(), moment.now);
        let operator = Some(Operator { name: name.clone(), created: when, secret });
        decided(&Change::SetOperatorAt { name, operator, when }, ())
    }
}

/// System: an operator's new password.
#[derive(Clone, Debug)]
pub struct SetOperatorPassword {
    /// Whose.
    pub name: String,
    /// The password, already hashed.
    pub secret: Secret,
}

impl Command for SetOperatorPassword {
    const KIND: Kind = Kind::DIRECTORY;
    type Answer = ();
    type Refusal = DirectoryRefusal;

    fn decide(&self, keys: &dyn Keys, moment: Moment) -> Refused<()> {
        let operator = Operator { secret: self.secret.clone(), ..find(keys, &self.name)? };
        let (name, when) = (self.name.clone(), moment.now);
        decided(&Change::SetOperatorAt { name, operator: Some(operator), when }, ())
    }
}

/// System: an operator goes.
#[derive(Clone, Debug)]
pub struct RemoveOperator {
    /// Who.
    pub name: String,
}

impl Command for RemoveOperator {
    const KIND: Kind = Kind::DIRECTORY;
    type Answer = ();
    type Refusal = DirectoryRefusal;

    fn decide(&self, keys: &dyn Keys, moment: Moment) -> Refused<()> {
        find(keys, &self.name)?;
        let (name, when) = (self.name.clone(), moment.now);
        decided(&Change::SetOperatorAt { name, operator: None, when }, ())
    }
}

/// Tenant: an account becomes an administrator of its tenant, or is none any more.
#[derive(Clone, Copy, Debug)]
pub struct SetAdministrator {
    /// Which account.
    pub account: AccountId,
    /// Whether it is one.
    pub on: bool,
}

impl Command for SetAdministrator {
    const KIND: Kind = Kind::DIRECTORY;
    type Answer = ();
    type Refusal = DirectoryRefusal;

    fn decide(&self, keys: &dyn Keys, _moment: Moment) -> Refused<()> {
        open_account(keys, self.account)?;
        if rows::is_administrator(keys, self.account)? == self.on {
            return Ok(Decision { change: None, answer: () });
        }
        decided(&Change::SetAdministrator { account: self.account, on: self.on }, ())
    }
}
