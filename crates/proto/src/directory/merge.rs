//! Merging the directory: tenants, domains, accounts, aliases and credentials of both sides.
//!
//! Union; what both sides created under one name is one; of what both sides set the later counts,
//! whoever leads; add beats remove, but a revocation and a closing always win. What lost is noted.
//!
//! Invariants: what the branch took away of what both sides knew goes before what it made comes, as
//! it was done there; account ids of the branch are compared with ours after translation only.

use super::apply::{Change, DirectoryRules};
use super::quota::{QuotaLimit, key_limit, quota_said};
use super::rows::{
    self, Account, Credential, Operator, Secret, TOTP, Tenant, is_single, key_address,
    key_administrator, key_credential, key_domain, key_operator,
};
use super::{CreateTenant, split_address};
use crate::codec::{self, DecodeError};
use crate::id::{AccountId, Lsn, TenantId};
use crate::mailbox::ACCOUNTS;
use crate::merge::{Known, Merging};
use crate::record::Kind;
use crate::rule::{Apply, ApplyError, Merge, Planner, Position, Side};
use crate::time::UnixMs;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Table of the merge's map, in the system's view: tenant of the branch to ours.
pub const TENANTS: u8 = b't';
/// Rules, as notes name them.
const LATER: &str = "set on both sides: the later one";
const ADDED: &str = "removed on one side, set on the other: set";
const ACCOUNT: &str = "an account and an alias of one name: the account";
const CLOSED: &str = "a closing always wins";
const REVOKED: &str = "a revocation always wins";
/// Most aliases of one task: each comes to three rows.
const ALIASES_MAX: usize = 200;
/// Most numbers that are tried behind an address or a name.
const SUFFIXES_MAX: u32 = 10_000;

/// To what one side set something last, and when; `None`: it removed it. Releases that did not say
/// when count as earlier than all that do.
type Last<T> = (UnixMs, Option<T>);

/// What one side did.
#[derive(Default)]
struct Trace {
    tenants: Vec<(Lsn, Tenant)>,
    domains: BTreeMap<String, (Lsn, Last<TenantId>)>,
    accounts: BTreeMap<AccountId, (Lsn, Account)>,
    closed: BTreeSet<AccountId>,
    aliases: BTreeMap<String, (Lsn, Last<AccountId>)>,
    /// New or changed; `None` when revoked.
    credentials: BTreeMap<(AccountId, u32), (Lsn, Option<Credential>)>,
    /// Credentials that both sides knew and that this one revoked.
    revoked: BTreeSet<(AccountId, u32)>,
    /// Credentials that came on this side.
    made: BTreeSet<(AccountId, u32)>,
    /// Last uses of credentials.
    used: BTreeMap<(AccountId, u32), u64>,
    /// Of nobody: the tenant's default.
    limits: BTreeMap<Option<AccountId>, (Lsn, UnixMs, QuotaLimit)>,
    operators: BTreeMap<String, (Lsn, Last<Operator>)>,
    administrators: BTreeMap<AccountId, (Lsn, bool)>,
}

impl Trace {
    fn fold(&mut self, at: Lsn, change: Change) {
        match change {
            Change::CreateTenant(tenant) => self.tenants.push((at, tenant)),
            Change::SetDomain { domain, owner } => {
                self.domains.insert(domain, (at, (UnixMs(0), owner)));
            }
            Change::SetDomainAt { domain, owner, when } => {
                self.domains.insert(domain, (at, (when, owner)));
            }
            Change::CreateAccount(account) => {
                self.accounts.insert(account.id, (at, account));
            }
            Change::CloseAccount(id) => {
                self.closed.insert(id);
                // They went with it, without a change of their own.
                self.credentials.retain(|(account, _), _| *account != id);
                self.used.retain(|(account, _), _| *account != id);
                self.administrators.remove(&id);
                for alias in self.aliases.values_mut().filter(|(_, last)| last.1 == Some(id)) {
                    *alias = (at, (UnixMs(0), None));
                }
            }
            Change::SetAlias { address, account } => {
                self.aliases.insert(address, (at, (UnixMs(0), account)));
            }
            Change::SetAliasAt { address, account, when } => {
                self.aliases.insert(address, (at, (when, account)));
            }
            Change::SetCredential { account, credential } => self.set(at, account, credential),
            Change::RevokeCredential { account, id } => self.revoke(at, account, id),
            Change::Turn { account, came, gone } => {
                gone.into_iter().for_each(|id| self.revoke(at, account, id));
                came.into_iter().for_each(|credential| self.set(at, account, credential));
            }
            Change::Used { account, id, last } => {
                self.used.insert((account, id), last);
            }
            Change::SetQuota { account, limit, when } => {
                self.limits.insert(account, (at, when, limit));
            }
            Change::SetOperatorAt { name, operator, when } => {
                self.operators.insert(name, (at, (when, operator)));
            }
            Change::SetAdministrator { account, on } => {
                self.administrators.insert(account, (at, on));
            }
            // Only ever inside a merge's step, which is nobody's own change.
            Change::Describe { .. } => {}
        }
    }

    fn set(&mut self, at: Lsn, account: AccountId, credential: Credential) {
        let key = (account, credential.id);
        if !is_single(credential.id) {
            self.made.insert(key);
        }
        self.credentials.insert(key, (at, Some(credential)));
    }

    fn revoke(&mut self, at: Lsn, account: AccountId, id: u32) {
        let key = (account, id);
        // Numbers may be given again: what came here and went again is nobody else's.
        if !self.made.remove(&key) {
            self.revoked.insert(key);
        }
        self.credentials.insert(key, (at, None));
        if id != TOTP {
            self.used.remove(&key);
        }
    }

    /// What came to an account here, and goes when it is closed.
    fn came_to(&self, account: AccountId) -> (Vec<String>, Vec<u32>) {
        let aliases = self.aliases.iter().filter(|(_, (_, last))| last.1 == Some(account));
        let credentials = self.credentials.iter();
        let credentials = credentials.filter(|((of, _), (_, c))| *of == account && c.is_some());
        let ids = credentials.map(|((_, id), _)| *id).collect();
        (aliases.map(|(address, _)| address.clone()).collect(), ids)
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
        theirs: Last<TenantId>,
        ours: Option<Last<TenantId>>,
    },
    /// `over`: the branch closed it. Whoever has its address is somebody else.
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
    /// Also a TOTP secret.
    Password {
        at: Lsn,
        account: AccountId,
        credential: Credential,
        ours: bool,
        revoked: bool,
    },
    /// `ours`: it was set here since the fork.
    Revoke {
        account: AccountId,
        id: u32,
        ours: bool,
    },
    Alias {
        at: Lsn,
        address: String,
        theirs: Last<AccountId>,
        ours: Option<Last<AccountId>>,
    },
    /// Some of the aliases that an account got here since the fork, before it is closed.
    Gone {
        account: AccountId,
        aliases: Vec<String>,
    },
    /// `credentials`: those that it got here since the fork.
    Close {
        account: AccountId,
        credentials: Vec<u32>,
    },
    /// `made`: it came on the branch, and has another number here.
    Used {
        account: AccountId,
        id: u32,
        made: Option<Secret>,
        last: u64,
    },
    /// `ours`: when it was set here since the fork.
    Limit {
        at: Lsn,
        account: Option<AccountId>,
        theirs: (UnixMs, QuotaLimit),
        ours: Option<UnixMs>,
    },
    Operator {
        at: Lsn,
        name: String,
        theirs: Last<Operator>,
        ours: Option<Last<Operator>>,
    },
    /// `ours`: what it was set to here since the fork.
    Administrator {
        at: Lsn,
        account: AccountId,
        on: bool,
        ours: Option<bool>,
    },
}

#[derive(Default)]
struct Plan {
    ours: Trace,
    theirs: Trace,
}

impl Planner for Plan {
    fn fold(
        &mut self,
        side: Side,
        at: Position,
        kind: Kind,
        change: &[u8],
    ) -> Result<(), DecodeError> {
        if kind != DirectoryRules.kind() {
            return Ok(());
        }
        let change = codec::decode("change of the directory", change)?;
        match side {
            Side::Ours => self.ours.fold(at.lsn, change),
            Side::Theirs => self.theirs.fold(at.lsn, change),
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
        for (domain, (at, last)) in &theirs.domains {
            let ours = ours.domains.get(domain).map(|(_, last)| *last);
            tasks.push(Task::Domain { at: *at, domain: domain.clone(), theirs: *last, ours });
        }
        for (name, (at, last)) in &theirs.operators {
            let ours = ours.operators.get(name).map(|(_, last)| last.clone());
            tasks.push(Task::Operator { at: *at, name: name.clone(), theirs: last.clone(), ours });
        }
        plan_accounts(&ours, &theirs, &mut tasks);
        plan_credentials(&ours, &theirs, &mut tasks);
        plan_limits(&ours, &theirs, &mut tasks);
        for (address, (at, last)) in theirs.aliases {
            if last.1.is_some() {
                let ours = ours.aliases.get(&address).map(|(_, last)| *last);
                tasks.push(Task::Alias { at, address, theirs: last, ours });
            }
        }
        Ok(tasks.iter().map(codec::encode).collect())
    }
}

/// Addresses are given again: what made room on the branch makes room here first.
fn plan_accounts(ours: &Trace, theirs: &Trace, tasks: &mut Vec<Task>) {
    for &account in theirs.closed.iter().filter(|id| !theirs.accounts.contains_key(id)) {
        let (aliases, credentials) = ours.came_to(account);
        for some in aliases.chunks(ALIASES_MAX) {
            tasks.push(Task::Gone { account, aliases: some.to_vec() });
        }
        tasks.push(Task::Close { account, credentials });
    }
    let open = theirs.accounts.iter().filter(|(id, _)| !theirs.closed.contains(id));
    let created: BTreeSet<&str> = open.map(|(_, (_, new))| new.address.as_str()).collect();
    for (address, (at, last)) in &theirs.aliases {
        if last.1.is_none() || created.contains(address.as_str()) {
            let ours = ours.aliases.get(address).map(|(_, last)| *last);
            let theirs = (last.0, None);
            tasks.push(Task::Alias { at: *at, address: address.clone(), theirs, ours });
        }
    }
    let highest = theirs.accounts.keys().max().copied().unwrap_or_default();
    let mut last = BTreeMap::new();
    for (id, (_, account)) in &theirs.accounts {
        last.insert(account.address.as_str(), *id);
    }
    for (id, (at, account)) in &theirs.accounts {
        let over = theirs.closed.contains(id) || last.get(account.address.as_str()) != Some(id);
        tasks.push(Task::Account { at: *at, account: account.clone(), highest, over });
        if theirs.closed.contains(id) {
            // It is kept apart: our side gave it nothing.
            tasks.push(Task::Close { account: *id, credentials: Vec::new() });
        }
    }
}

/// The accounts that came on our side, by address.
fn came_here(ours: &Trace) -> BTreeMap<&str, AccountId> {
    ours.accounts.iter().map(|(id, (_, a))| (a.address.as_str(), *id)).collect()
}

/// The account of ours that an account of theirs is, if it was known when the merge began. Both sides give
/// the same numbers: one that came on the branch is the one of its address here.
fn here_of<'a>(ours: &'a Trace, theirs: &'a Trace) -> impl Fn(AccountId) -> Option<AccountId> + 'a {
    let came = came_here(ours);
    move |account| match theirs.accounts.get(&account) {
        Some((_, new)) => came.get(new.address.as_str()).copied(),
        None => Some(account),
    }
}

fn plan_limits(ours: &Trace, theirs: &Trace, tasks: &mut Vec<Task>) {
    let here = here_of(ours, theirs);
    for (&account, &(at, when, limit)) in &theirs.limits {
        let known = match account {
            Some(account) => here(account).and_then(|here| ours.limits.get(&Some(here))),
            None => ours.limits.get(&None),
        };
        let ours = known.map(|(_, when, _)| *when);
        tasks.push(Task::Limit { at, account, theirs: (when, limit), ours });
    }
}

fn plan_credentials(ours: &Trace, theirs: &Trace, tasks: &mut Vec<Task>) {
    let here = here_of(ours, theirs);
    // Before new ones: numbers are given again.
    for &(account, id) in &theirs.revoked {
        // A password that was set anew after it was revoked counts.
        let last = theirs.credentials.get(&(account, id)).is_none_or(|(_, c)| c.is_none());
        let now = if is_single(id) { last } else { !ours.made.contains(&(account, id)) };
        if now {
            let set = here(account).and_then(|here| ours.credentials.get(&(here, id)));
            let set = set.is_some_and(|(_, c)| c.is_some());
            tasks.push(Task::Revoke { account, id, ours: set });
        }
    }
    for (&(account, id), last) in &theirs.used {
        let made = |trace: &Trace, account| trace.made.contains(&(account, id));
        if !made(theirs, account) && !here(account).is_some_and(|here| made(ours, here)) {
            tasks.push(Task::Used { account, id, made: None, last: *last });
        }
    }
    for (&(account, id), (at, credential)) in &theirs.credentials {
        let (at, Some(credential)) = (*at, credential.clone()) else { continue };
        if !is_single(id) {
            tasks.push(Task::Credential { at, account, credential });
            continue;
        }
        let other = here(account).and_then(|here| ours.credentials.get(&(here, id)));
        let other = other.map(|(_, c)| c.is_some());
        let (revoked, ours) = (other == Some(false), other == Some(true));
        tasks.push(Task::Password { at, account, credential, ours, revoked });
    }
    for (&(account, id), last) in &theirs.used {
        let made = theirs.credentials.get(&(account, id)).and_then(|(_, c)| c.as_ref());
        if let Some(made) = made.filter(|_| !is_single(id)) {
            let made = Some(made.secret.clone());
            tasks.push(Task::Used { account, id, made, last: *last });
        }
    }
    for (&account, &(at, on)) in &theirs.administrators {
        let ours = here(account).and_then(|here| ours.administrators.get(&here));
        tasks.push(Task::Administrator { at, account, on, ours: ours.map(|(_, on)| *on) });
    }
}

impl Merge for DirectoryRules {
    fn planner(&self, _stage: u8) -> Box<dyn Planner> {
        Box::new(Plan::default())
    }

    fn merge(&self, on: &mut Merging<'_>, task: &[u8]) -> Result<(), ApplyError> {
        match codec::decode("task of a merge", task)? {
            Task::Tenant { at, tenant, highest } => merge_tenant(on, at, tenant, highest),
            Task::Domain { at, domain, theirs, ours } => {
                merge_domain(on, at, domain, (theirs, ours))
            }
            Task::Account { at, account, highest, over } => {
                merge_account(on, (at, highest), account, over)
            }
            Task::Credential { at, account, credential } => {
                add_credential(on, at, account, credential)
            }
            Task::Password { at, account, credential, ours, revoked } => {
                set_password(on, (at, account), credential, (ours, revoked))
            }
            Task::Revoke { account, id, ours } => revoke(on, account, id, ours),
            Task::Alias { at, address, theirs, ours } => {
                merge_alias(on, at, address, (theirs, ours))
            }
            Task::Gone { account, aliases } => {
                let account = here(on, account)?;
                aliases.into_iter().try_for_each(|address| lose_alias(on, account, address))
            }
            Task::Close { account, credentials } => close(on, account, &credentials),
            Task::Used { account, id, made, last } => used(on, (account, id), made, last),
            Task::Limit { at, account, theirs, ours } => {
                merge_limit(on, (at, account), theirs, ours)
            }
            Task::Operator { at, name, theirs, ours } => {
                merge_operator(on, at, name, (theirs, ours))
            }
            Task::Administrator { at, account, on: wanted, ours } => {
                set_administrator(on, (at, account), wanted, ours)
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

/// What would bring back what ours lost.
fn undo(change: &Change) -> (Kind, Vec<u8>) {
    (DirectoryRules.kind(), codec::encode(change))
}

/// An account, as both sides call it.
fn say(on: &Merging<'_>, account: AccountId) -> Result<String, ApplyError> {
    let row = rows::account(on.keys(), account)?;
    Ok(row.map_or_else(|| format!("account {account}"), |row| row.address))
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
    ((when, owner), ours): (Last<TenantId>, Option<Last<TenantId>>),
) -> Result<(), ApplyError> {
    let owner = owner.map(|id| merged_tenant(&on.known(), id)).transpose()?;
    let now = rows::domain_owner(on.keys(), &domain)?;
    if now == owner {
        return Ok(());
    }
    let ours = on.changed(&key_domain(&domain))?.map(|when| (when, now)).or(ours);
    let what = format!("domain {domain}");
    let name = |on: &Merging<'_>, id| -> Result<String, ApplyError> {
        Ok(rows::tenant(on.keys(), id)?.map_or_else(String::new, |t| t.name))
    };
    let set = Change::SetDomainAt { domain: domain.clone(), owner, when };
    match (owner, now, ours) {
        (Some(theirs), Some(now), Some((our_when, Some(_)))) => {
            let (theirs, ours) = (name(on, theirs)?, name(on, now)?);
            // Ids differ by who leads; names are the same on both sides.
            let order = |when: UnixMs, name: &str| (when, name.to_lowercase());
            if order(our_when, &ours) >= order(when, &theirs) {
                on.note(what, LATER, format!("tenant {theirs}"), at);
                return Ok(());
            }
            let kept = Change::SetDomainAt { domain, owner: Some(now), when: our_when };
            on.note_ours(what, LATER, format!("tenant {ours}"), undo(&kept));
        }
        // Given here since.
        (None, Some(_), Some((_, Some(_)))) => {
            on.note(what, ADDED, "its removal".into(), at);
            return Ok(());
        }
        (Some(_), None, Some((our_when, None))) => {
            let kept = Change::SetDomainAt { domain, owner: None, when: our_when };
            on.note_ours(what, ADDED, "its removal".into(), undo(&kept));
        }
        // A domain that only the branch touched is where it put it.
        _ => {}
    }
    make(on, &set)
}

fn merge_operator(
    on: &mut Merging<'_>,
    at: Lsn,
    name: String,
    ((when, theirs), ours): (Last<Operator>, Option<Last<Operator>>),
) -> Result<(), ApplyError> {
    let now = rows::operator(on.keys(), &name)?;
    if now == theirs {
        return Ok(());
    }
    let changed = on.changed(&key_operator(&name))?;
    let ours = changed.map(|when| (when, now.clone())).or(ours);
    let what = format!("operator {name}");
    let kept = |operator, when| undo(&Change::SetOperatorAt { name: name.clone(), operator, when });
    match (&theirs, now, ours) {
        (Some(_), None, Some((_, None))) => {
            on.note(what, REVOKED, "what was set there".into(), at);
            return Ok(());
        }
        (None, now @ Some(_), Some((our_when, Some(_)))) => {
            on.note_ours(what, REVOKED, "what was set here".into(), kept(now, our_when));
        }
        (Some(other), Some(now), Some((our_when, Some(_)))) => {
            if (our_when, codec::encode(&now)) >= (when, codec::encode(other)) {
                on.note(what, LATER, "the earlier password".into(), at);
                return Ok(());
            }
            let lost = kept(Some(now), our_when);
            on.note_ours(what, LATER, "the earlier password".into(), lost);
        }
        // One that only the branch touched.
        _ => {}
    }
    make(on, &Change::SetOperatorAt { name, operator: theirs, when })
}

fn set_administrator(
    on: &mut Merging<'_>,
    (at, account): (Lsn, AccountId),
    wanted: bool,
    ours: Option<bool>,
) -> Result<(), ApplyError> {
    let account = here(on, account)?;
    let now = rows::is_administrator(on.keys(), account)?;
    if now == wanted || !is_open(on, account)? {
        return Ok(());
    }
    let changed = on.changed(&key_administrator(account))?;
    let ours = changed.map(|_| now).or(ours);
    let what = format!("{}: administrator", say(on, account)?);
    match (wanted, ours) {
        (true, Some(false)) => {
            on.note(what, REVOKED, "the right, given there".into(), at);
            return Ok(());
        }
        (false, Some(true)) => {
            let kept = undo(&Change::SetAdministrator { account, on: true });
            on.note_ours(what, REVOKED, "the right, given here".into(), kept);
        }
        _ => {}
    }
    make(on, &Change::SetAdministrator { account, on: wanted })
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
            describe(on, at, row.account, account)?;
            row.account
        }
        taken => {
            let id = rows::last_account(on.keys())?.max(highest).next();
            let mut address = account.address.clone();
            match taken {
                // Set here since, for the branch had room: people are reached before aliases.
                Some(row) if !over => {
                    let lost = say(on, row.account)?;
                    let (address, account) = (address.clone(), Some(row.account));
                    let kept = Change::SetAlias { address: address.clone(), account };
                    on.note_ours(format!("alias {address}"), ACCOUNT, lost, undo(&kept));
                    make(on, &Change::SetAlias { address, account: None })?;
                }
                Some(_) => {
                    address = free_address(on, &address)?;
                    let what = format!("account {address}");
                    on.note(what, "same name twice: suffix", account.address.clone(), at);
                }
                None => {}
            }
            make(on, &Change::CreateAccount(Account { id, address, closed: false, ..account }))?;
            id
        }
    };
    on.map(ACCOUNTS, &theirs.0.to_be_bytes(), &id.0.to_be_bytes())
}

/// Created on both sides: one account, with the attributes of the one that was created later.
fn describe(
    on: &mut Merging<'_>,
    at: Lsn,
    id: AccountId,
    theirs: Account,
) -> Result<(), ApplyError> {
    let ours = rows::account(on.keys(), id)?.ok_or(ApplyError::Missing("an account"))?;
    let what = format!("account {}", ours.address);
    let rule = "created on both sides: one account, as created later";
    if (ours.created, &ours.name) >= (theirs.created, &theirs.name) {
        on.note(what, rule, theirs.name, at);
        return Ok(());
    }
    let kept = Change::Describe { account: id, name: ours.name.clone(), created: ours.created };
    on.note_ours(what, rule, ours.name, undo(&kept));
    let Account { name, created, .. } = theirs;
    make(on, &Change::Describe { account: id, name, created })
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
        on.note(what, CLOSED, credential.label, at);
        return Ok(());
    }
    let held = rows::credentials(on.keys(), account)?;
    if held.iter().any(|c| c.secret == credential.secret) {
        return Ok(());
    }
    let id = rows::next_credential(&held);
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
    let (id, label) = (credential.id, &credential.label);
    let what = format!("account {account}: {label}");
    let held = rows::credentials(on.keys(), account)?;
    let now = held.into_iter().find(|c| c.id == id);
    let changed = on.changed(&key_credential(account, id))?.is_some();
    if revoked || (changed && now.is_none()) || !is_open(on, account)? {
        on.note(what, REVOKED, format!("a new {label}"), at);
        return Ok(());
    }
    if let Some(now) = now.filter(|_| ours_too || came || changed) {
        // One that waits to be confirmed does not take the place of one that is.
        let order = |c: &Credential| (c.is_confirmed_totp(), c.created, codec::encode(&c.secret));
        let lost = "the earlier one".to_owned();
        if order(&now) >= order(&credential) {
            on.note(what, LATER, lost, at);
            return Ok(());
        }
        on.note_ours(what, LATER, lost, undo(&Change::SetCredential { account, credential: now }));
    }
    make(on, &Change::SetCredential { account, credential })
}

/// The branch revoked a credential.
fn revoke(on: &mut Merging<'_>, account: AccountId, id: u32, ours: bool) -> Result<(), ApplyError> {
    let account = here(on, account)?;
    let held = rows::credentials(on.keys(), account)?.into_iter().find(|c| c.id == id);
    let Some(credential) = held else { return Ok(()) };
    let changed = on.changed(&key_credential(account, id))?;
    if !is_single(id) && changed.is_some_and(|when| when > UnixMs(0)) {
        return Ok(()); // Another one, made since under a number that is given again.
    }
    if ours || changed.is_some() {
        lose_credential(on, account, credential, REVOKED);
    }
    make(on, &Change::RevokeCredential { account, id })
}

/// The branch used a credential: the later use counts.
fn used(
    on: &mut Merging<'_>,
    (account, id): (AccountId, u32),
    made: Option<Secret>,
    last: u64,
) -> Result<(), ApplyError> {
    let account = here(on, account)?;
    let same = |c: &&Credential| match &made {
        Some(secret) => c.secret == *secret,
        None => c.id == id,
    };
    let held = rows::credentials(on.keys(), account)?;
    let held = held.iter().find(same).map(|c| c.id);
    // A step stays used, whatever becomes of its secret.
    let step = id == TOTP && is_open(on, account)?;
    let changed = on.changed(&key_credential(account, id))?;
    if made.is_none() && !step && changed.is_some_and(|when| when > UnixMs(0)) {
        return Ok(()); // Another one, as with [`revoke`].
    }
    let Some(id) = held.or_else(|| step.then_some(TOTP)) else { return Ok(()) };
    if rows::last_use(on.keys(), account, id)?.is_some_and(|ours| last <= ours) {
        return Ok(());
    }
    make(on, &Change::Used { account, id, last })
}

/// The branch set a limit: of what both sides set the later counts.
fn merge_limit(
    on: &mut Merging<'_>,
    (at, account): (Lsn, Option<AccountId>),
    (when, limit): (UnixMs, QuotaLimit),
    ours: Option<UnixMs>,
) -> Result<(), ApplyError> {
    let account = account.map(|account| here(on, account)).transpose()?;
    let now = quota_said(on.keys(), account)?;
    let what = match account {
        Some(account) => format!("account {}: limit", say(on, account)?),
        None => "limit of all accounts".to_owned(),
    };
    if let Some(ours) = on.changed(&key_limit(account))?.or(ours) {
        let lost = "the earlier one".to_owned();
        if (ours, now) >= (when, limit) {
            on.note(what, LATER, lost, at);
            return Ok(());
        }
        let kept = Change::SetQuota { account, limit: now, when: ours };
        on.note_ours(what, LATER, lost, undo(&kept));
    }
    make(on, &Change::SetQuota { account, limit, when })
}

fn lose_credential(on: &mut Merging<'_>, account: AccountId, credential: Credential, rule: &str) {
    let (what, lost) = (format!("account {account}: credential"), credential.label.clone());
    on.note_ours(what, rule, lost, undo(&Change::SetCredential { account, credential }));
}

/// An account that the branch closed loses an alias that it got here.
fn lose_alias(on: &mut Merging<'_>, account: AccountId, address: String) -> Result<(), ApplyError> {
    let row = rows::address(on.keys(), &address)?;
    if row.is_none_or(|row| !row.alias || row.account != account) {
        return Ok(());
    }
    let lost = say(on, account)?;
    let kept = Change::SetAlias { address: address.clone(), account: Some(account) };
    on.note_ours(format!("alias {address}"), CLOSED, lost, undo(&kept));
    make(on, &Change::SetAlias { address, account: None })
}

/// The branch closed an account: what it got here since goes, too.
fn close(on: &mut Merging<'_>, account: AccountId, ours: &[u32]) -> Result<(), ApplyError> {
    let account = here(on, account)?;
    if !is_open(on, account)? {
        return Ok(());
    }
    for (address, owner) in rows::aliases(on.keys())? {
        if owner == account && on.changed(&key_address(&address))?.is_some() {
            lose_alias(on, account, address)?;
        }
    }
    for credential in rows::credentials(on.keys(), account)? {
        let changed = on.changed(&key_credential(account, credential.id))?.is_some();
        if changed || ours.contains(&credential.id) {
            lose_credential(on, account, credential, CLOSED);
        }
    }
    make(on, &Change::CloseAccount(account))
}

fn merge_alias(
    on: &mut Merging<'_>,
    at: Lsn,
    address: String,
    ((when, theirs), ours): (Last<AccountId>, Option<Last<AccountId>>),
) -> Result<(), ApplyError> {
    let now = rows::address(on.keys(), &address)?;
    let alias = now.filter(|row| row.alias).map(|row| row.account);
    let ours = on.changed(&key_address(&address))?.map(|when| (when, alias)).or(ours);
    let what = format!("alias {address}");
    let Some(theirs) = theirs else {
        return match (now.filter(|row| row.alias), ours) {
            // Set here since.
            (Some(_), Some((_, Some(_)))) => {
                on.note(what, ADDED, "its removal".into(), at);
                Ok(())
            }
            (Some(_), _) => make(on, &Change::SetAlias { address, account: None }),
            (None, _) => Ok(()),
        };
    };
    let account = here(on, theirs)?;
    if now.is_some_and(|row| row.account == account) {
        return Ok(());
    }
    let said = say(on, account)?;
    if now.is_some_and(|row| !row.alias) {
        on.note(what, ACCOUNT, said, at);
        return Ok(());
    }
    if !is_open(on, account)? {
        on.note(what, CLOSED, said, at);
        return Ok(());
    }
    match (now, ours) {
        (Some(row), Some((our_when, _))) => {
            let ours = say(on, row.account)?;
            // Ids differ by who leads; addresses are the same on both sides.
            if (our_when, &ours) >= (when, &said) {
                on.note(what, LATER, said, at);
                return Ok(());
            }
            let (address, account) = (address.clone(), Some(row.account));
            let kept = Change::SetAliasAt { address, account, when: our_when };
            on.note_ours(what, LATER, ours, undo(&kept));
        }
        (None, Some((our_when, None))) => {
            let address = address.clone();
            let kept = Change::SetAliasAt { address, account: None, when: our_when };
            on.note_ours(what, ADDED, "its removal".into(), undo(&kept));
        }
        // An alias that only the branch touched leads where it let it lead.
        _ => {}
    }
    make(on, &Change::SetAliasAt { address, account: Some(account), when })
}
