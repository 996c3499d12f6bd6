//! Operators: people who run the appliance, with a name and a password for the console.
//!
//! They are system data, the same on both nodes; who signs in is checked against this node's own view,
//! so that a standby lets them in, too. Invariants: a wrong name costs as much time as a wrong
//! password; a new password, and a removal, end what was opened before ([`Directory::knows_operator`]).

use super::administer::hash_chosen;
use super::authenticate::hash_and_compare;
use super::{Directory, DirectoryError, password};
use crate::base::metric;
use crate::base::secret::Secret;
use crate::base::source::Source;
use crate::store::PrimaryLease;
use understudy_proto::directory::{
    self, AddOperator, Operator, RemoveOperator, Secret as Proof, SetOperatorPassword,
};
use understudy_proto::id::TenantId;

/// An operator who has shown the password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperatorLogin {
    /// The name.
    pub name: String,
    /// What the password was compared with.
    proof: Proof,
}

#[cfg(test)]
impl OperatorLogin {
    /// Somebody who has shown a password that nobody knows.
    pub(crate) fn of_test(name: &str) -> Self {
        Self { name: name.to_owned(), proof: Proof::Argon2id(String::new()) }
    }
}

impl Directory {
    /// Adds an operator. The answer is a password, shown once and kept by nobody.
    pub async fn add_operator(
        &self,
        lease: &PrimaryLease,
        name: &str,
    ) -> Result<Secret<String>, DirectoryError> {
        let plain = password::new_plain();
        let secret = hash_chosen(plain.clone(), None).await?;
        let command = AddOperator { name: name.to_owned(), secret };
        self.write(lease, TenantId::SYSTEM, command).await?;
        Ok(plain)
    }

    /// All operators.
    pub fn operators(&self) -> Result<Vec<Operator>, DirectoryError> {
        Ok(directory::operators(&self.store.read(TenantId::SYSTEM)?)?)
    }

    /// Removes an operator.
    pub async fn remove_operator(
        &self,
        lease: &PrimaryLease,
        name: &str,
    ) -> Result<(), DirectoryError> {
        self.write(lease, TenantId::SYSTEM, RemoveOperator { name: name.to_owned() }).await
    }

    /// Sets an operator's password.
    pub async fn set_operator_password(
        &self,
        lease: &PrimaryLease,
        name: &str,
        plain: Secret<String>,
    ) -> Result<(), DirectoryError> {
        let secret = hash_chosen(plain, None).await?;
        let command = SetOperatorPassword { name: name.to_owned(), secret };
        self.write(lease, TenantId::SYSTEM, command).await
    }

    /// Checks an operator's name and password, asked from `source`. `None` is "wrong", whatever was.
    pub async fn sign_in_operator(
        &self,
        name: &str,
        plain: &Secret<String>,
        source: Source,
    ) -> Result<Option<OperatorLogin>, DirectoryError> {
        let found = directory::operator(&self.store.read(TenantId::SYSTEM)?, name)?;
        let login = found.map(|found| OperatorLogin { name: found.name, proof: found.secret });
        // As long for a name that nobody has.
        let proof = login.as_ref().map(|login| login.proof.clone());
        let right = hash_and_compare(source, proof, plain.clone(), None).await?;
        let login = login.filter(|_| right);
        if login.is_some() { &metric::LOGINS } else { &metric::LOGINS_FAILED }.inc();
        Ok(login)
    }

    /// Whether the operator is still one, with the same password.
    pub fn knows_operator(&self, login: &OperatorLogin) -> Result<bool, DirectoryError> {
        let found = directory::operator(&self.store.read(TenantId::SYSTEM)?, &login.name)?;
        Ok(found.is_some_and(|found| found.secret == login.proof))
    }
}
