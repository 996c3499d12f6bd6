//! Merging the directory: tenants, domains, accounts, aliases and credentials of both sides.
//!
//! Union; what both sides created under one name is one, with the leader's attributes; a revocation
//! and a closing always win; of two new passwords the later one counts. What lost is noted.
//!
//! Invariants: what the branch took away of what both sides knew goes before what it made comes, as
//! it was done there; account ids of the branch are compared with ours after translation only.

use super::apply::{Change, DirectoryRules};
use super::rows::{self, Account, Credential, PASSWORD, Tenant};
use super::{CreateTenant, split_address};
use crate::codec::{self, DecodeError};
use crate::id::{AccountId, Lsn, TenantId};
use crate::mailbox::ACCOUNTS;
use crate::merge::{Known, Merging};
use crate::record::Kind;
use crate::rule::{Apply, ApplyError, Merge, Planner, Side};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Table of the merge's map, in the system's view: tenant of the branch to ours.
pub const TENANTS: u8 = b't';
/// Most numbers that are tried behind an address or a name.
const SUFFIXES_MAX: u32 = 10_000;

/// What one side did.
#[derive(Default)]
struct Trace {
    tenants: Vec<(Lsn, Tenant)>,
    domains: BTreeMap<String, (Lsn, Option<TenantId>)>,
    accounts: BTreeMap<AccountId, (Lsn, Account)>,
    closed: BTreeSet<AccountId>,
    aliases: BTreeMap<String, (Lsn, Option<AccountId>)>,
    /// New or changed; `None` when revoked.
    credentials: BTreeMap<(AccountId, u32), (Lsn, Option<Credential>)>,
    /// Credentials that both sides knew and that this one revoked.
    revoked: BTreeSet<(AccountId, u32)>,
    /// Credentials that came on this side.
    made: BTreeSet<(AccountId, u32)>,
}

impl Trace {
    fn fold(&mut self, at: Lsn, change: Change) {
        match change {
            Change::CreateTenant(tenant) => self.tenants.push((at, tenant)),
            Change::SetDomain { domain, owner } => {
                self.domains.insert(domain, (at, owner));
            }
            Change::CreateAccount(account) => {
                self.accounts.insert(account.id, (at, account));
            }
            Change::CloseAccount(id) => {
                self.closed.insert(id);
                // They went with it, without a change of their own.
                self.credentials.retain(|(account, _), _| *account != id);
                for alias in self.aliases.values_mut().filter(|(_, owner)| *owner == Some(id)) {
                    *alias = (at, None);
                }
            }
            Change::SetAlias { address, account } => {
                self.aliases.insert(address, (at, account));
            }
            Change::SetCredential { account, credential } => {
                let key = (account, credential.id);
                if credential.id != PASSWORD {
                    self.made.insert(key);
                }
                self.credentials.insert(key, (at, Some(credential)));
            }
            Change::RevokeCredential { account, id } => {
                let key = (account, id);
                // Numbers may be given again: what came here and went again is nobody else's.
                if !self.made.remove(&key) {
                    self.revoked.insert(key);
                }
                self.credentials.insert(key, (at, None));
            }
        }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
enum Task {
    Tenant {
        at: Lsn,
        tenant: Tenant,
        highest: TenantId,
    },
    Domain {
        at: Lsn,
        domain: String,
        owner: Option<TenantId>,
        ours: Option<Option<TenantId>>,
    },
    /// `over`: the branch closed it, and gave its address to another account.
    Account {
        at: Lsn,
        account: Account,
        highest: AccountId,
        over: bool,
    },
    Credential {
        at: Lsn,
        account: AccountId,
        credential: Credential,
    },
    Password {
        at: Lsn,
        account: AccountId,
        credential: Credential,
        ours: bool,
        revoked: bool,
    },
    Revoke {
        account: AccountId,
        id: u32,
    },
    Alias {
        at: Lsn,
        address: String,
        account: Option<AccountId>,
        ours: Option<bool>,
    },
    Close {
        account: AccountId,
    },
}

#[derive(Default)]
struct Plan {
    ours: Trace,
    theirs: Trace,
}

impl Planner for Plan {
    fn fold(&mut self, side: Side, at: Lsn, kind: Kind, change: &[u8]) -> Result<(), DecodeError> {
        if kind != DirectoryRules.kind() {
            return Ok(());
        }
        let change = codec::decode("change of the directory", change)?;
        match side {
            Side::Ours => self.ours.fold(at, change),
            Side::Theirs => self.theirs.fold(at, change),
        }
        Ok(())
    }

    fn plan(self: Box<Self>, _known: &Known<'_>) -> Result<Vec<Vec<u8>>, ApplyError> {
        let Self { ours, theirs } = *self;
        let mut tasks = Vec::new();
        let highest = theirs.tenants.iter().map(|(_, t)| t.id).max().unwrap_or_default();
        for (at, tenant) in &theirs.tenants {
            tasks.push(Task::Tenant { at: *at, tenant: tenant.clone(), highest });
        }
        for (domain, (at, owner)) in &theirs.domains {
            let ours = ours.domains.get(domain).map(|(_, owner)| *owner);
            tasks.push(Task::Domain { at: *at, domain: domain.clone(), owner: *owner, ours });
        }
        plan_accounts(&ours, &theirs, &mut tasks);
        plan_credentials(&ours, &theirs, &mut tasks);
        for (address, (at, account)) in theirs.aliases {
            if account.is_some() {
                let ours = ours.aliases.get(&address).map(|(_, account)| account.is_some());
                tasks.push(Task::Alias { at, address, account, ours });
            }
        }
        Ok(tasks.iter().map(codec::encode).collect())
    }
}

/// Addresses are given again: what made room on the branch makes room here first.
fn plan_accounts(ours: &Trace, theirs: &Trace, tasks: &mut Vec<Task>) {
    let close = |account: &AccountId| Task::Close { account: *account };
    tasks.extend(theirs.closed.iter().filter(|id| !theirs.accounts.contains_key(id)).map(close));
    let created: BTreeSet<&str> =
        theirs.accounts.values().map(|(_, account)| account.address.as_str()).collect();
    for (address, (at, account)) in &theirs.aliases {
        if account.is_none() || created.contains(address.as_str()) {
            let ours = ours.aliases.get(address).map(|(_, account)| account.is_some());
            tasks.push(Task::Alias { at: *at, address: address.clone(), account: None, ours });
        }
    }
    let highest = theirs.accounts.keys().max().copied().unwrap_or_default();
    let mut last = BTreeMap::new();
    for (id, (_, account)) in &theirs.accounts {
        last.insert(account.address.as_str(), *id);
    }
    for (id, (at, account)) in &theirs.accounts {
        let over = last.get(account.address.as_str()) != Some(id);
        tasks.push(Task::Account { at: *at, account: account.clone(), highest, over });
        if theirs.closed.contains(id) {
            tasks.push(close(id));
        }
    }
}

fn plan_credentials(ours: &Trace, theirs: &Trace, tasks: &mut Vec<Task>) {
    // Before new ones: numbers are given again.
    for &(account, id) in &theirs.revoked {
        // A password that was set anew after it was revoked counts.
        let last = theirs.credentials.get(&(account, id)).is_none_or(|(_, c)| c.is_none());
        let now = if id == PASSWORD { last } else { !ours.made.contains(&(account, id)) };
        if now {
            tasks.push(Task::Revoke { account, id });
        }
    }
    // Both sides give the same numbers: an account that came on the branch is the one of ours that
    // came under its address.
    let came: BTreeMap<&str, AccountId> =
        ours.accounts.iter().map(|(id, (_, a))| (a.address.as_str(), *id)).collect();
    for (&(account, id), (at, credential)) in &theirs.credentials {
        let (at, Some(credential)) = (*at, credential.clone()) else { continue };
        if id != PASSWORD {
            tasks.push(Task::Credential { at, account, credential });
            continue;
        }
        let here = match theirs.accounts.get(&account) {
            Some((_, new)) => came.get(new.address.as_str()).copied(),
            None => Some(account),
        };
        let other = here.and_then(|here| ours.credentials.get(&(here, PASSWORD)));
        let other = other.map(|(_, c)| c.is_some());
        let (revoked, ours) = (other == Some(false), other == Some(true));
        tasks.push(Task::Password { at, account, credential, ours, revoked });
    }
}

impl Merge for DirectoryRules {
    fn planner(&self, _stage: u8) -> Box<dyn Planner> {
        Box::new(Plan::default())
    }

    fn merge(&self, on: &mut Merging<'_>, task: &[u8]) -> Result<(), ApplyError> {
        match codec::decode("task of a merge", task)? {
            Task::Tenant { at, tenant, highest } => merge_tenant(on, at, tenant, highest),
            Task::Domain { at, domain, owner, ours } => merge_domain(on, at, domain, owner, ours),
            Task::Account { at, account, highest, over } => {
                merge_account(on, (at, highest), account, over)
            }
            Task::Credential { at, account, credential } => {
                add_credential(on, at, account, credential)
            }
            Task::Password { at, account, credential, ours, revoked } => {
                set_password(on, (at, account), credential, (ours, revoked))
            }
            Task::Revoke { account, id } => {
                let account = here(on, account)?;
                if rows::credentials(on.keys(), account)?.iter().any(|c| c.id == id) {
                    make(on, &Change::RevokeCredential { account, id })?;
                }
                Ok(())
            }
            Task::Alias { at, address, account, ours } => {
                merge_alias(on, at, address, account, ours)
            }
            Task::Close { account } => {
                let account = here(on, account)?;
                match rows::account(on.keys(), account)? {
                    Some(row) if !row.closed => make(on, &Change::CloseAccount(account)),
                    _ => Ok(()),
                }
            }
        }
    }
}

/// The branch's tenant, as the leader knows it.
pub fn merged_tenant(known: &Known<'_>, id: TenantId) -> Result<TenantId, ApplyError> {
    Ok(TenantId(known.number(TENANTS, &id.0.to_be_bytes(), id.0)?))
}

/// The tenant that a change creates.
#[must_use]
pub fn created_tenant(change: &[u8]) -> Option<TenantId> {
    match codec::decode("change of the directory", change) {
        Ok(Change::CreateTenant(tenant)) => Some(tenant.id),
        _ => None,
    }
}

fn make(on: &mut Merging<'_>, change: &Change) -> Result<(), ApplyError> {
    on.change(&DirectoryRules, codec::encode(change))
}

fn here(on: &Merging<'_>, account: AccountId) -> Result<AccountId, ApplyError> {
    Ok(AccountId(on.known().number(ACCOUNTS, &account.0.to_be_bytes(), account.0)?))
}

fn is_open(on: &Merging<'_>, account: AccountId) -> Result<bool, ApplyError> {
    Ok(rows::account(on.keys(), account)?.is_some_and(|a| !a.closed))
}

fn merge_tenant(
    on: &mut Merging<'_>,
    at: Lsn,
    tenant: Tenant,
    highest: TenantId,
) -> Result<(), ApplyError> {
    let all = rows::tenants(on.keys())?;
    let same = all.iter().find(|t| t.name.to_lowercase() == tenant.name.to_lowercase());
    let id = match same {
        Some(found) => {
            let what = format!("tenant {}", found.name);
            on.note(what, "created on both sides: one tenant", "its own id".into(), at);
            found.id
        }
        None => {
            // Never an id that the branch gave to another, nor one that it has a key for.
            let next = rows::last_tenant(on.keys())?.max(highest).next();
            let id = CreateTenant::id_of(next, on.node());
            make(on, &Change::CreateTenant(Tenant { id, ..tenant.clone() }))?;
            id
        }
    };
    on.map(TENANTS, &tenant.id.0.to_be_bytes(), &id.0.to_be_bytes())
}

fn merge_domain(
    on: &mut Merging<'_>,
    at: Lsn,
    domain: String,
    owner: Option<TenantId>,
    ours: Option<Option<TenantId>>,
) -> Result<(), ApplyError> {
    let owner = owner.map(|id| merged_tenant(&on.known(), id)).transpose()?;
    let now = rows::domain_owner(on.keys(), &domain)?;
    if now == owner {
        return Ok(());
    }
    match (owner, ours) {
        // Given here since: ours stays. A domain that only the branch touched is where it put it.
        (_, Some(Some(_))) => {
            on.note(format!("domain {domain}"), "both sides: the leader's", say(owner), at);
            Ok(())
        }
        _ => make(on, &Change::SetDomain { domain, owner }),
    }
}

fn say(owner: Option<TenantId>) -> String {
    owner.map_or_else(|| "its removal".to_owned(), |id| format!("tenant {id}"))
}

fn merge_account(
    on: &mut Merging<'_>,
    (at, highest): (Lsn, AccountId),
    account: Account,
    over: bool,
) -> Result<(), ApplyError> {
    let theirs = account.id;
    let found = rows::address(on.keys(), &account.address)?;
    let id = match found {
        // One that is over is not the one that has the address here: that is its successor.
        Some(row) if !row.alias && !over => {
            let what = format!("account {}", account.address);
            on.note(what, "created on both sides: one account", account.name.clone(), at);
            row.account
        }
        taken => {
            let id = rows::last_account(on.keys())?.max(highest).next();
            let mut address = account.address.clone();
            if taken.is_some() {
                address = free_address(on, &address)?;
                let what = format!("account {address}");
                on.note(what, "same name twice: the leader's", account.address.clone(), at);
            }
            make(on, &Change::CreateAccount(Account { id, address, closed: false, ..account }))?;
            id
        }
    };
    on.map(ACCOUNTS, &theirs.0.to_be_bytes(), &id.0.to_be_bytes())
}

fn free_address(on: &Merging<'_>, address: &str) -> Result<String, ApplyError> {
    let (local, domain) = split_address(address).unwrap_or((address, "invalid"));
    for n in 2..SUFFIXES_MAX {
        let tried = format!("{local}.{n}@{domain}");
        if rows::address(on.keys(), &tried)?.is_none() {
            return Ok(tried);
        }
    }
    Err(ApplyError::Missing("a free address for an account"))
}

fn add_credential(
    on: &mut Merging<'_>,
    at: Lsn,
    account: AccountId,
    credential: Credential,
) -> Result<(), ApplyError> {
    let account = here(on, account)?;
    if !is_open(on, account)? {
        let what = format!("account {account}: credential");
        on.note(what, "a closing always wins", credential.label, at);
        return Ok(());
    }
    let held = rows::credentials(on.keys(), account)?;
    if held.iter().any(|c| c.secret == credential.secret) {
        return Ok(());
    }
    let id = held.last().map_or(1, |c| c.id.saturating_add(1)).max(1);
    make(on, &Change::SetCredential { account, credential: Credential { id, ..credential } })
}

fn set_password(
    on: &mut Merging<'_>,
    (at, account): (Lsn, AccountId),
    credential: Credential,
    (ours_too, revoked): (bool, bool),
) -> Result<(), ApplyError> {
    let came = on.known().mapped(ACCOUNTS, &account.0.to_be_bytes())?.is_some();
    let account = here(on, account)?;
    let what = format!("account {account}: password");
    if revoked || !is_open(on, account)? {
        on.note(what, "a revocation always wins", "a new password".into(), at);
        return Ok(());
    }
    let held = rows::credentials(on.keys(), account)?;
    let now = held.into_iter().find(|c| c.id == PASSWORD);
    if let Some(now) = now.filter(|_| ours_too || came) {
        let order = |c: &Credential| (c.created, codec::encode(&c.secret));
        if order(&now) >= order(&credential) {
            on.note(what, "set on both sides: the later one", "the earlier one".into(), at);
            return Ok(());
        }
    }
    make(on, &Change::SetCredential { account, credential })
}

fn merge_alias(
    on: &mut Merging<'_>,
    at: Lsn,
    address: String,
    account: Option<AccountId>,
    ours: Option<bool>,
) -> Result<(), ApplyError> {
    let now = rows::address(on.keys(), &address)?;
    match (account, now) {
        // Ours was set since: add beats remove.
        (None, Some(row)) if row.alias && ours != Some(true) => {
            make(on, &Change::SetAlias { address, account: None })
        }
        (Some(theirs), row) => {
            let account = here(on, theirs)?;
            let what = format!("alias {address}");
            match row {
                Some(row) if row.account == account => {}
                // An alias that only the branch touched leads where it let it lead.
                Some(row) if !row.alias || ours.is_some() => {
                    on.note(what, "both sides: the leader's", format!("account {account}"), at);
                }
                _ if is_open(on, account)? => {
                    return make(on, &Change::SetAlias { address, account: Some(account) });
                }
                _ => on.note(what, "a closing always wins", String::new(), at),
            }
            Ok(())
        }
        _ => Ok(()),
    }
}
