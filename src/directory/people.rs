//! The address list of a tenant: its open accounts and their aliases.

use super::{Directory, DirectoryError, Login};
use std::collections::BTreeMap;
use understudy_proto::directory;
use understudy_proto::id::{AccountId, TenantId};

/// Somebody of a tenant, by one of their addresses.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PersonFound {
    /// The person's name.
    pub name: String,
    /// The address.
    pub address: String,
}

impl Directory {
    /// The name of who is signed in.
    pub fn name_of_person(&self, login: &Login) -> Result<String, DirectoryError> {
        let row = directory::account(&self.store.read(login.tenant)?, login.account)?;
        Ok(row.map(|account| account.name).unwrap_or_default())
    }

    /// At most `max` of the tenant's addresses in which, or in whose person's name, there are all words
    /// of `query`, whatever their case. Names and addresses that begin with it come first.
    pub fn people(
        &self,
        tenant: TenantId,
        query: &str,
        max: usize,
    ) -> Result<Vec<PersonFound>, DirectoryError> {
        let view = self.store.read(tenant)?;
        let query = query.trim().to_lowercase();
        let words: Vec<&str> = query.split_whitespace().collect();
        let open = directory::accounts(&view)?.into_iter().filter(|account| !account.closed);
        let (mut names, mut all) = (BTreeMap::<AccountId, String>::new(), Vec::new());
        for account in open {
            names.insert(account.id, account.name.clone());
            all.push(PersonFound { name: account.name, address: account.address });
        }
        for (address, account) in directory::aliases(&view)? {
            let name = names.get(&account).cloned();
            all.extend(name.map(|name| PersonFound { name, address }));
        }
        let mut found: Vec<(bool, PersonFound)> = Vec::new();
        for person in all {
            let name = person.name.to_lowercase();
            if words.iter().all(|word| name.contains(word) || person.address.contains(word)) {
                let begins = name.starts_with(&query) || person.address.starts_with(&query);
                found.push((!begins, person));
            }
        }
        found.sort();
        found.truncate(max);
        Ok(found.into_iter().map(|(_, person)| person).collect())
    }
}
