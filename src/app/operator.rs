//! What operators ask over the control socket, done with the real rooms.

use super::carry::{Jobs, Place};
use super::{Rooms, address, failure, report};
use crate::base::secret::Secret;
use crate::base::{clock, task};
use crate::directory::DirectoryError;
use crate::mail::NotNow;
use crate::net::Gate as _;
use crate::ops::audit::Audit;
use crate::ops::request::{
    self, AccountEntry, AddressEntry, AliasEntry, Ask, AuditEntry, BranchEntry, By, Carried,
    CertificateEntry, CredentialEntry, DomainEntry, Export, Failure, Import, LostEntry,
    MadeOperator, MadePassword, OperatorEntry, Outcome, PairFacts, QueueEntry, QuotaEntry, QuotaOf,
    Reply, SaidLimit, TenantEntry, Token, UpdateInstall, UpdatePiece, UpdateReport, UpdateRollback,
    answer,
};
use crate::ops::status::{State, StatusReport};
use crate::pair::formation;
use crate::store::PrimaryLease;
use crate::vrrp::Vrrp;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::oneshot;
use understudy_proto::directory::{CredentialKind, Operator, QuotaLimit, Tenant};
use understudy_proto::id::{QueueId, TenantId};
use understudy_proto::merge;

/// Most rows of a list.
const ROWS_MAX: usize = 10_000;

/// Where operators are served.
#[derive(Clone)]
pub(super) struct Desk(Rooms, Arc<Jobs>, Audit);

impl Desk {
    pub(super) fn new(rooms: &Rooms) -> Self {
        Self(rooms.clone(), Arc::default(), Audit::new(&rooms.config.data_dir))
    }

    /// The same for the administrators of a tenant: other tenants do not exist.
    fn confined(&self, tenant: TenantId) -> Self {
        let mut desk = self.clone();
        desk.0.directory = desk.0.directory.confined(tenant);
        desk
    }

    /// For who asks over the web.
    pub(super) fn ask(&self) -> Ask {
        let desk = self.clone();
        Arc::new(move |request, by| {
            let desk = match &by {
                By::User(_) | By::Console(_) => desk.clone(),
                By::Administrator { tenant, .. } => desk.confined(*tenant),
            };
            let (reply, answered) = oneshot::channel();
            drop(task::spawn("operator-ask", async move {
                // Nobody may wait for it.
                drop(reply.send(answer(&desk, &request, &by).await));
            }));
            Box::pin(async move {
                answered.await.unwrap_or_else(|_broken| {
                    Reply::Error(Failure::new(
                        "the command broke off",
                        "The log of this appliance says more.",
                    ))
                })
            })
        })
    }

    /// The lease: changes are made on the primary.
    fn lease(&self) -> Outcome<PrimaryLease> {
        self.0.pair.lease().ok_or_else(|| {
            Failure::new(
                "this appliance is not primary, so it changes nothing",
                "Give the command on the primary: `understudy status` says who it is.",
            )
        })
    }

    /// The named tenant, or all.
    fn tenants(&self, name: Option<&str>) -> Outcome<Vec<Tenant>> {
        match name {
            Some(name) => Ok(vec![self.0.directory.find_tenant(name).map_err(refused)?]),
            None => self.0.directory.tenants().map_err(refused),
        }
    }

    fn names(&self) -> Outcome<BTreeMap<TenantId, String>> {
        Ok(self.tenants(None)?.into_iter().map(|t| (t.id, t.name)).collect())
    }
}

fn refused(e: DirectoryError) -> Failure {
    let advice = match &e {
        DirectoryError::Refused(_)
        | DirectoryError::Address(_)
        | DirectoryError::DomainInUse(_)
        | DirectoryError::PasswordLength { .. } => "Nothing was changed. Correct it and try again.",
        DirectoryError::NotWritten(_)
        | DirectoryError::Busy
        | DirectoryError::SourceBusy
        | DirectoryError::Hash(_) => {
            "Try again; `understudy status` says whether this appliance may write."
        }
        DirectoryError::Store(_) | DirectoryError::Row(_) => {
            "The log of this appliance says more; see docs/runbook/disk-failure.md."
        }
    };
    Failure::new(e.to_string(), advice)
}

fn not_now(why: &NotNow) -> Failure {
    let advice = match why {
        NotNow::NoSuchItem => "`understudy queue list` shows what waits.",
        NotNow::UnderWay => "Look at the queue again in a minute.",
        NotNow::Held => "Its sender can send it at once, or cancel it, in the webmail.",
        NotNow::TooMany => "They are being tried; ask again later.",
        NotNow::Mail(_) => "Try again; the log of this appliance says more.",
    };
    Failure::new(why.to_string(), advice)
}

impl request::Operator for Desk {
    async fn status(&self) -> Outcome<StatusReport> {
        Ok(report::report(&self.0))
    }

    async fn tenant_create(&self, name: &str) -> Outcome<()> {
        self.0.directory.create_tenant(&self.lease()?, name).await.map_err(refused)?;
        Ok(())
    }

    async fn tenant_list(&self) -> Outcome<Vec<TenantEntry>> {
        let domains = self.0.directory.domains().map_err(refused)?;
        let mut entries = Vec::new();
        for tenant in self.tenants(None)?.into_iter().take(ROWS_MAX) {
            let accounts = self.0.directory.accounts(tenant.id).map_err(refused)?;
            entries.push(TenantEntry {
                id: tenant.id.0,
                domains: count(domains.iter().filter(|(_, owner)| *owner == tenant.id).count()),
                accounts: count(accounts.iter().filter(|a| !a.closed).count()),
                name: tenant.name,
            });
        }
        Ok(entries)
    }

    async fn tenant_export(&self, export: &Export) -> Outcome<Carried> {
        let tenant = self.0.directory.find_tenant(&export.tenant).map_err(refused)?;
        let (status, lease) = (self.0.pair.status(), self.0.pair.gate());
        let place = move || {
            let status = status.borrow().clone();
            let fresh = lease.current().is_some_and(|lease| lease.fresh(clock::mono()));
            // What the other branch acknowledged is not here before it is merged.
            let whole = status.pair.branch.is_none();
            let (role, state) = (report::role(status.pair.role), report::state(&status));
            Place { role, state, leads: fresh && whole && state != State::Branched }
        };
        self.1.export(&self.0.directory, tenant, export, place)
    }

    async fn tenant_import(&self, import: &Import) -> Outcome<Carried> {
        self.1.import(&self.0.directory, self.lease()?, import)
    }

    async fn tenant_progress(&self) -> Outcome<Carried> {
        self.1.progress()
    }

    async fn domain_add(&self, tenant: &str, domain: &str) -> Outcome<()> {
        let tenant = self.0.directory.find_tenant(tenant).map_err(refused)?;
        self.0.directory.add_domain(&self.lease()?, tenant.id, domain).await.map_err(refused)
    }

    async fn domain_list(&self, tenant: Option<&str>) -> Outcome<Vec<DomainEntry>> {
        let names: BTreeMap<TenantId, String> =
            self.tenants(tenant)?.into_iter().map(|t| (t.id, t.name)).collect();
        let domains = self.0.directory.domains().map_err(refused)?;
        Ok(domains
            .into_iter()
            .filter_map(|(domain, owner)| {
                Some(DomainEntry { domain, tenant: names.get(&owner)?.clone() })
            })
            .take(ROWS_MAX)
            .collect())
    }

    async fn domain_remove(&self, domain: &str) -> Outcome<()> {
        self.0.directory.remove_domain(&self.lease()?, domain).await.map_err(refused)
    }

    async fn account_create(&self, address: &str) -> Outcome<()> {
        let name = address.split_once('@').map_or(address, |(local, _)| local);
        self.0.directory.create_account(&self.lease()?, address, name).await.map_err(refused)?;
        Ok(())
    }

    async fn account_list(&self, tenant: Option<&str>) -> Outcome<Vec<AccountEntry>> {
        let mut entries = Vec::new();
        for tenant in self.tenants(tenant)? {
            let accounts = self.0.directory.accounts(tenant.id).map_err(refused)?;
            let administrators = self.0.directory.administrators(tenant.id).map_err(refused)?;
            let open = accounts.into_iter().filter(|a| !a.closed);
            entries.extend(open.map(|a| AccountEntry {
                administrator: administrators.contains(&a.id),
                address: a.address,
                tenant: tenant.name.clone(),
            }));
        }
        entries.truncate(ROWS_MAX);
        Ok(entries)
    }

    async fn account_remove(&self, address: &str) -> Outcome<()> {
        self.0.directory.close_account(&self.lease()?, address).await.map_err(refused)
    }

    async fn account_quota(&self, of: &QuotaOf) -> Outcome<QuotaEntry> {
        let directory = &self.0.directory;
        if let Some(limit) = of.limit {
            let limit = to_limit(limit);
            directory.set_account_quota(&self.lease()?, &of.name, limit).await.map_err(refused)?;
        }
        let (said, quota) = directory.account_quota(&of.name).map_err(refused)?;
        Ok(QuotaEntry { said: said_limit(said), used: Some(quota.used), limit: quota.limit })
    }

    async fn tenant_quota(&self, of: &QuotaOf) -> Outcome<QuotaEntry> {
        let directory = &self.0.directory;
        let tenant = directory.find_tenant(&of.name).map_err(refused)?.id;
        if let Some(limit) = of.limit {
            let limit = to_limit(limit);
            directory.set_tenant_quota(&self.lease()?, tenant, limit).await.map_err(refused)?;
        }
        let said = said_limit(directory.tenant_quota(tenant).map_err(refused)?);
        Ok(QuotaEntry { said, used: None, limit: None })
    }

    async fn alias_add(&self, alias: &str, account: &str) -> Outcome<()> {
        self.0.directory.add_alias(&self.lease()?, alias, account).await.map_err(refused)
    }

    async fn alias_remove(&self, alias: &str) -> Outcome<()> {
        self.0.directory.remove_alias(&self.lease()?, alias).await.map_err(refused)
    }

    async fn alias_list(&self, tenant: Option<&str>) -> Outcome<Vec<AliasEntry>> {
        let mut entries = Vec::new();
        for tenant in self.tenants(tenant)? {
            let aliases = self.0.directory.aliases(tenant.id).map_err(refused)?;
            entries
                .extend(aliases.into_iter().map(|(alias, account)| AliasEntry { alias, account }));
        }
        entries.truncate(ROWS_MAX);
        Ok(entries)
    }

    async fn credential_password(&self, account: &str, password: &Secret<String>) -> Outcome<()> {
        self.0
            .directory
            .set_password(&self.lease()?, account, password.clone())
            .await
            .map_err(refused)
    }

    async fn credential_app_password(
        &self,
        account: &str,
        label: &str,
        days: Option<u32>,
    ) -> Outcome<MadePassword> {
        let made = self
            .0
            .directory
            .add_app_password(&self.lease()?, account, label, days)
            .await
            .map_err(refused)?;
        Ok(MadePassword { id: made.id.into(), password: made.plain })
    }

    async fn credential_list(&self, account: &str) -> Outcome<Vec<CredentialEntry>> {
        let credentials = self.0.directory.credentials(account).map_err(refused)?;
        let now = clock::now_ms();
        Ok(credentials
            .into_iter()
            .filter(|held| !held.is_over(now))
            .map(|held| CredentialEntry {
                id: held.credential.id.into(),
                kind: match held.credential.kind() {
                    CredentialKind::Password => "password",
                    CredentialKind::AppPassword => "app-password",
                    CredentialKind::Session => "session",
                    CredentialKind::Totp => "totp",
                    CredentialKind::Passkey => "passkey",
                }
                .to_owned(),
                label: held.credential.label,
                created_ms: held.credential.created.0,
                ends_ms: held.ends.map(|ends| ends.0),
            })
            .collect())
    }

    async fn credential_revoke(&self, account: &str, id: u64) -> Outcome<()> {
        let id = u32::try_from(id).unwrap_or(u32::MAX);
        self.0.directory.revoke_credential(&self.lease()?, account, id).await.map_err(refused)
    }

    async fn credential_totp_reset(&self, account: &str) -> Outcome<()> {
        self.0.directory.reset_totp(&self.lease()?, account).await.map_err(refused)
    }

    async fn branches(&self) -> Outcome<Vec<BranchEntry>> {
        let unread = |e: &dyn std::fmt::Display| failure("the branches cannot be read", &e);
        let mut tenants: Vec<(TenantId, Option<String>)> = vec![(TenantId::SYSTEM, None)];
        tenants.extend(self.names()?.into_iter().map(|(id, name)| (id, Some(name))));
        let mut entries = Vec::new();
        for (id, tenant) in tenants {
            let view = self.0.store.read(id).map_err(|e| unread(&e))?;
            for (branch, progress) in merge::branches(&view).map_err(|e| unread(&e))? {
                let notes = merge::notes(&view, branch).map_err(|e| unread(&e))?;
                let mut lost = Vec::new();
                for (number, n) in (0..).zip(notes.into_iter().take(ROWS_MAX)) {
                    let kept = merge::original(&view, branch, number).map_err(|e| unread(&e))?;
                    lost.push(LostEntry {
                        when_ms: n.when.0,
                        object: n.object,
                        rule: n.rule,
                        lost: n.lost,
                        original: Some(n.original.0).filter(|lsn| *lsn > 0),
                        kept: kept.is_some(),
                    });
                }
                entries.push(BranchEntry {
                    branch: branch.to_string(),
                    tenant: tenant.clone(),
                    began_ms: progress.began.0,
                    finished_ms: progress.finished.map(|at| at.0),
                    taken: progress.taken.0,
                    stage: progress.stage,
                    stages: super::kinds().stages(),
                    tasks_done: progress.task,
                    lost,
                });
            }
        }
        Ok(entries)
    }

    async fn queue_list(&self) -> Outcome<Vec<QueueEntry>> {
        let names = self.names()?;
        let items =
            self.0.mail.queue(ROWS_MAX).map_err(|e| failure("the queue cannot be read", &e))?;
        let mut entries = Vec::new();
        for (tenant, item) in items {
            let tenant = names.get(&tenant).cloned().unwrap_or_else(|| tenant.to_string());
            entries.extend(item.to.iter().map(|to| QueueEntry {
                id: item.id.0,
                tenant: tenant.clone(),
                from: item.from.clone(),
                to: to.clone(),
                size: item.size,
                accepted_ms: item.created.0,
                attempts: item.attempts,
                next_ms: item.next.0,
                last_answer: Some(item.reason.clone()).filter(|r| !r.is_empty()),
            }));
        }
        entries.truncate(ROWS_MAX);
        Ok(entries)
    }

    async fn queue_retry(&self, tenant: &str, id: u64) -> Outcome<()> {
        // Where nothing is delivered, nothing is tried.
        self.lease()?;
        let tenant = self.0.directory.find_tenant(tenant).map_err(refused)?.id;
        self.0.mail.queue_retry(tenant, QueueId(id), clock::now_ms()).map_err(|e| not_now(&e))
    }

    async fn queue_remove(&self, tenant: &str, id: u64) -> Outcome<()> {
        let lease = self.lease()?;
        let tenant = self.0.directory.find_tenant(tenant).map_err(refused)?.id;
        let (id, now) = (QueueId(id), clock::now_ms());
        let item =
            self.0.mail.queue_remove(&lease, tenant, id, now).await.map_err(|e| not_now(&e))?;
        log::warn!(tenant:% = tenant, queue_id:% = id, from = item.from.as_str(), to = item.to.join(" ").as_str(),
            size = item.size; "an operator took a message out of the queue");
        Ok(())
    }

    async fn address_list(&self) -> Outcome<Vec<AddressEntry>> {
        Ok(address::list(self.0.vrrp.as_deref()))
    }

    async fn address_claim(&self, name: &str, force: bool) -> Outcome<()> {
        address::order(self.0.vrrp.as_deref(), name, |vrrp, n| vrrp.claim(n, force)).await
    }

    async fn address_release(&self, name: &str) -> Outcome<()> {
        address::order(self.0.vrrp.as_deref(), name, Vrrp::release).await
    }

    async fn handover(&self, by: &By) -> Outcome<()> {
        self.0
            .pair
            .handover(by.uid())
            .await
            .map_err(|e| Failure::new(e.to_string(), "`understudy status` says what is missing."))
    }

    fn pair_show(&self) -> Outcome<PairFacts> {
        super::witness::pair_facts(&self.0.config.data_dir)
    }

    async fn pair_token(&self) -> Outcome<Token> {
        let pair = self.0.config.pair.as_ref().ok_or_else(|| {
            Failure::new(
                "this appliance has no [pair] section",
                "`understudy config example` shows one; then: understudy pair init",
            )
        })?;
        let now = clock::now_ms();
        let token = formation::token(&self.0.config.data_dir, &pair.listen, now)
            .map_err(|e| failure("no token was made", &e))?;
        let valid_s = token.expires().0.saturating_sub(now.0) / 1_000;
        Ok(Token { token: Secret::new(token.to_string()), valid_s })
    }

    async fn update_piece(&self, piece: &UpdatePiece) -> Outcome<u64> {
        self.0.updates.piece(piece)
    }

    async fn update_install(&self, install: UpdateInstall, by: &By) -> Outcome<()> {
        self.0.updates.install(install, by.uid()).await
    }

    async fn update_rollback(&self, rollback: UpdateRollback) -> Outcome<()> {
        self.0.updates.rollback(rollback).await
    }

    async fn update_progress(&self) -> Outcome<UpdateReport> {
        Ok(self.0.updates.progress())
    }

    async fn pair_force_solo(&self, by: &By) -> Outcome<()> {
        log::warn!(by:%, runbook = "force-solo";
            "an operator says that the peer is gone: this appliance is to serve alone");
        let outcome = self.0.pair.force_solo(by.uid()).await;
        match &outcome {
            Ok(()) => log::warn!(by:%, runbook = "force-solo";
                "this appliance serves alone by an operator's word"),
            Err(e) => log::warn!(by:%, err:% = e, runbook = "force-solo";
                "the operator's word is not followed"),
        }
        outcome.map_err(|e| Failure::new(e.to_string(), "`understudy status` says more."))
    }

    async fn account_administrator(&self, account: &str, on: bool) -> Outcome<()> {
        self.0.directory.set_administrator(&self.lease()?, account, on).await.map_err(refused)
    }

    async fn operator_add(&self, name: &str) -> Outcome<MadeOperator> {
        let made = self.0.directory.add_operator(&self.lease()?, name).await;
        Ok(MadeOperator { password: made.map_err(refused)? })
    }

    async fn operator_list(&self) -> Outcome<Vec<OperatorEntry>> {
        let entry = |o: Operator| OperatorEntry { name: o.name, created_ms: o.created.0 };
        Ok(self.0.directory.operators().map_err(refused)?.into_iter().map(entry).collect())
    }

    async fn operator_remove(&self, name: &str) -> Outcome<()> {
        self.0.directory.remove_operator(&self.lease()?, name).await.map_err(refused)
    }

    async fn operator_password(&self, name: &str, password: &Secret<String>) -> Outcome<()> {
        self.0
            .directory
            .set_operator_password(&self.lease()?, name, password.clone())
            .await
            .map_err(refused)
    }

    async fn audit(&self, limit: usize) -> Outcome<Vec<AuditEntry>> {
        let (audit, only) = (self.2.clone(), self.0.directory.only());
        let wanted = move |entry: &AuditEntry| only.is_none_or(|t| entry.tenant == Some(t.0));
        let read = tokio::task::spawn_blocking(move || audit.latest(limit, wanted)).await;
        let unread = |e: &dyn std::fmt::Display| failure("the audit cannot be read", &e);
        read.map_err(|e| unread(&e))?.map_err(|e| unread(&e))
    }

    async fn keep(&self, entry: AuditEntry) {
        let audit = self.2.clone();
        let kept = tokio::task::spawn_blocking(move || audit.keep(entry)).await;
        let kept = kept.map_err(|e| e.to_string());
        if let Err(e) = kept.and_then(|kept| kept.map_err(|e| e.to_string())) {
            log::warn!(err = e; "a command is not kept in the audit");
        }
    }

    fn certificate_list(&self) -> Outcome<Vec<CertificateEntry>> {
        Ok(super::certificates::list(&self.0.tls))
    }
}

fn to_limit(said: SaidLimit) -> QuotaLimit {
    match said {
        SaidLimit::Default => QuotaLimit::Inherited,
        SaidLimit::None => QuotaLimit::Unlimited,
        SaidLimit::Bytes(n) => QuotaLimit::Octets(n),
    }
}

fn said_limit(limit: QuotaLimit) -> SaidLimit {
    match limit {
        QuotaLimit::Inherited => SaidLimit::Default,
        QuotaLimit::Unlimited => SaidLimit::None,
        QuotaLimit::Octets(n) => SaidLimit::Bytes(n),
    }
}

fn count(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}
