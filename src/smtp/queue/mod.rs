//! The way out: drains the durable queue to the configured relay or to the recipients' hosts.
//!
//! ```text
//! due item -> who lives here: delivered like mail that arrives
//!          -> by domain: route (relay | MX | address) -> hosts in order -> client machine
//!          -> delivered | refused: bounce | deferred: again later, at last bounce
//! ```
//!
//! Invariants: runs under a lease and ends with it; a recipient leaves the queue only after the
//! host's 2xx or after its bounce is committed; a null reverse-path never bounces. A copy is
//! possible (the host took it, we died before noting it), a loss is not.
//! Absent: DSN of delay, per-host connection reuse, MTA-STS, DANE.

mod connect;
mod route;
#[cfg(test)]
mod tests;

use super::Smtp;
use crate::base::{clock, metric, secret, task};
use crate::directory::Resolved;
use crate::mail::{self, MailError};
use crate::store::PrimaryLease;
use connect::Cargo;
use log::{debug, info, warn};
use route::{Route, Router};
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use understudy_proto::id::{AccountId, TenantId};
use understudy_proto::queue::{Item, Settle};
use understudy_proto::smtp::client::Outcome;
use understudy_proto::smtp::{address, bounce, outgoing, trace};
use understudy_proto::time::UnixMs;

/// Deliveries that are under way at once.
const DELIVERIES_MAX: usize = 20;
/// Deliveries to those who live here that are under way at once: they have places of their own, so
/// that they wait for no tarpit.
const NEAR_MAX: usize = 4;
/// Longest wait between two looks at the queue.
const POLL: Duration = Duration::from_secs(5);
/// Longest pause between two attempts.
const RETRY_MAX: Duration = Duration::from_hours(6);
/// Octets read from a body at once.
const READ_MAX: u64 = 262_144;

/// Longest time for one domain of one item: a tarpit holds its place no longer.
const DOMAIN_TIME_MAX: Duration = Duration::from_mins(30);
/// Pause before an outcome that could not be recorded is recorded again; ends with the lease.
const SETTLE_PAUSE: Duration = Duration::from_secs(1);

/// A recipient here, or what became of one who is not.
type Local = Result<(TenantId, AccountId), Outcome>;

/// Room for attempts.
struct Places {
    near: Arc<Semaphore>,
    far: Arc<Semaphore>,
}

impl Smtp {
    /// Drains the queue until the lease is revoked. Call it once for each lease.
    pub async fn drain_queue(self, lease: PrimaryLease) {
        let places = Places {
            near: Arc::new(Semaphore::new(NEAR_MAX)),
            far: Arc::new(Semaphore::new(DELIVERIES_MAX)),
        };
        let drain = async {
            loop {
                let pause = match self.drain_once(&lease, &places).await {
                    Ok(next) => next.min(POLL),
                    Err(e) => {
                        warn!(err:% = e; "the queue cannot be read");
                        POLL
                    }
                };
                tokio::select! {
                    () = self.0.mail.queued() => {}
                    () = tokio::time::sleep(pause) => {}
                }
            }
        };
        tokio::select! {
            () = lease.revoked() => {}
            () = drain => {}
        }
    }

    /// Starts all attempts that are due; gives the time until the next one is.
    async fn drain_once(
        &self,
        lease: &PrimaryLease,
        places: &Places,
    ) -> Result<Duration, MailError> {
        let now = clock::now_ms();
        let ours = self.0.directory.domains().unwrap_or_default();
        let ours: HashSet<String> = ours.into_iter().map(|(domain, _)| domain).collect();
        let near = |item: &Item| {
            let domains = item.to.iter().map(|to| address::split(to).map(|(_, domain)| domain));
            domains.flatten().any(|domain| ours.contains(&domain.to_lowercase()))
        };
        let items = self.0.mail.queue(usize::MAX)?;
        metric::QUEUE_DEPTH.set(u64::try_from(items.len()).unwrap_or(u64::MAX));
        let (mut router, mut pause, mut due) = (None, POLL, Vec::new());
        for (tenant, item) in items {
            if item.next > now && !self.0.mail.queue_is_wanted(tenant, item.id) {
                // What is held is sent at its time, not some seconds after.
                pause = pause.min(Duration::from_millis(item.next.0.saturating_sub(now.0)));
            } else {
                due.push((near(&item), tenant, item.id));
            }
        }
        due.sort_by_key(|(near, ..)| !near);
        for (near, tenant, id) in due {
            let Some(claim) = self.0.mail.queue_claim(tenant, id) else { continue };
            let free = Arc::clone(if near { &places.near } else { &places.far });
            let place = tokio::select! {
                place = free.acquire_owned() => place,
                // What is new may be for those who live here, and goes first.
                () = self.0.mail.queued(), if !near => return Ok(Duration::ZERO),
                () = tokio::time::sleep(pause), if !near => return Ok(Duration::ZERO),
            };
            let Ok(place) = place else { return Ok(pause) };
            let is_wanted = self.0.mail.queue_take_wanted(tenant, id);
            // It may have been settled by the attempt whose place this is.
            let Some(item) = self.0.mail.queue_item(tenant, id)? else { continue };
            if item.next > now && !is_wanted {
                continue;
            }
            let router = router.get_or_insert_with(|| Router::new(&self.0)).clone();
            let (smtp, lease) = (self.clone(), lease.clone());
            // The attempt ends by itself, with its last timeout or with the lease.
            drop(task::spawn("smtp::queue", async move {
                let held = (claim, place);
                tokio::select! {
                    () = lease.revoked() => {}
                    () = smtp.attempt(&lease, &router, (tenant, item), near) => {}
                }
                drop(held);
                if near {
                    smtp.0.mail.queue_again();
                }
            }));
        }
        Ok(pause)
    }

    /// One attempt for one item: all its recipients, and what follows. `near`: first those who live
    /// here; the others have their turn at once, in a place that they may hold for long.
    async fn attempt(
        &self,
        lease: &PrimaryLease,
        router: &Router,
        (tenant, item): (TenantId, Item),
        near: bool,
    ) {
        let deferred = |to: &[String], why: &str| {
            to.iter().map(|to| (to.clone(), Outcome::Deferred(why.to_owned()))).collect()
        };
        let (here, remote) = self.divide(&item.to);
        if !here.is_empty() {
            let outcomes = self.bring_here(lease, tenant, &item, here).await;
            let waits = outcomes.iter().any(|(_, outcome)| matches!(outcome, Outcome::Deferred(_)));
            self.record(lease, tenant, &item, outcomes, waits || remote.is_empty()).await;
            if near || waits {
                return;
            }
        }
        let mut domains = by_domain(&remote, router.relays()).into_iter().peekable();
        // Each domain's outcome is recorded at once: what is delivered is not delivered again when
        // the next one hangs, or the lease ends.
        while let Some((domain, to)) = domains.next() {
            let all = to.clone();
            let outcomes = match self.cargo(tenant, &item) {
                Ok(cargo) => {
                    let bring = bring(router, &domain, to, &cargo);
                    tokio::time::timeout(DOMAIN_TIME_MAX, bring)
                        .await
                        .unwrap_or_else(|_| deferred(&all, "the attempt took too long"))
                }
                Err(e) => deferred(&all, &e.to_string()),
            };
            let over = domains.peek().is_none();
            self.record(lease, tenant, &item, outcomes, over).await;
        }
    }

    /// Who of the recipients lives here (or cannot be looked up), and who does not. Here are those of
    /// a message that its sender submitted by JMAP, and those whose domain came to us since.
    fn divide(&self, to: &[String]) -> (Vec<(String, Local)>, Vec<String>) {
        let (mut here, mut remote) = (Vec::new(), Vec::new());
        for to in to {
            match self.resolve(to) {
                Ok(Resolved::Account { tenant, account }) => {
                    here.push((to.clone(), Ok((tenant, account))));
                }
                Ok(Resolved::UnknownAccount) => {
                    let why = Outcome::Refused("550 5.1.1 nobody here has this address".to_owned());
                    here.push((to.clone(), Err(why)));
                }
                Ok(Resolved::NotLocal) => remote.push(to.clone()),
                Err(e) => here.push((to.clone(), Err(Outcome::Deferred(e.to_string())))),
            }
        }
        (here, remote)
    }

    /// Delivers to those who live here, in all tenants, like mail that arrives. Should we die before
    /// it is recorded, the repetition is recognised ([`crate::mail::Mail::deliver`]).
    async fn bring_here(
        &self,
        lease: &PrimaryLease,
        tenant: TenantId,
        item: &Item,
        to: Vec<(String, Local)>,
    ) -> Vec<(String, Outcome)> {
        let local: Vec<_> = to.iter().filter_map(|(_, at)| at.as_ref().ok().copied()).collect();
        let deliver = async {
            if local.is_empty() {
                return Ok(());
            }
            let cargo = self.cargo(tenant, item)?;
            let tenants: Vec<TenantId> = local.iter().map(|(tenant, _)| *tenant).collect();
            let mut ingest = self.0.mail.begin(lease, &tenants).await?;
            ingest.trace(&trace::return_path(&item.from)).await?;
            for piece in cargo.reads() {
                ingest.write(&cargo.read(piece)?).await?;
            }
            let from = item.from.clone();
            let envelope = mail::Envelope { from, local, ..mail::Envelope::default() };
            self.0.mail.deliver(lease, &envelope, ingest.finish()).await
        };
        let delivered: Result<(), MailError> = deliver.await;
        let outcome = |at: Local| match (at, &delivered) {
            (Err(outcome), _) => outcome,
            (Ok(_), Ok(())) => Outcome::Delivered,
            (Ok(_), Err(e)) => Outcome::Deferred(e.to_string()),
        };
        to.into_iter().map(|(to, at)| (to, outcome(at))).collect()
    }

    /// Records outcomes until it works or the lease ends.
    async fn record(
        &self,
        lease: &PrimaryLease,
        tenant: TenantId,
        item: &Item,
        outcomes: Vec<(String, Outcome)>,
        over: bool,
    ) {
        while let Err(e) = self.settle(lease, tenant, item, outcomes.clone(), over).await {
            warn!(tenant:% = tenant, queue_id:% = item.id, err:% = e; "attempt cannot be recorded, trying again");
            tokio::time::sleep(SETTLE_PAUSE).await;
        }
    }

    /// The message as it leaves.
    fn cargo(&self, tenant: TenantId, item: &Item) -> Result<Cargo, MailError> {
        let header = u64::try_from(outgoing::HEADER_MAX).unwrap_or(0);
        let start = self.0.mail.read_queued(tenant, &item.body, 0..item.size.min(header))?;
        Ok(Cargo {
            smtp: self.clone(),
            tenant,
            from: item.from.clone(),
            body: item.body.clone(),
            pieces: outgoing::pieces(&start, item.size, &self.0.hostname, item.created),
        })
    }

    async fn settle(
        &self,
        lease: &PrimaryLease,
        tenant: TenantId,
        item: &Item,
        outcomes: Vec<(String, Outcome)>,
        over: bool,
    ) -> Result<(), MailError> {
        let now = clock::now_ms();
        let give_up = item.created.0.saturating_add(millis(self.0.config.queue_give_up)) <= now.0;
        let mut verdict = sort(outcomes, give_up);
        for to in &verdict.delivered {
            metric::QUEUE_DELIVERED.inc();
            info!(tenant:% = tenant, queue_id:% = item.id, to = to.as_str(); "message sent");
        }
        for (to, why) in &verdict.failed {
            info!(tenant:% = tenant, queue_id:% = item.id, to = to.as_str(),
                reason = why.as_str(); "message bounces");
        }
        let mut done = verdict.delivered;
        if !verdict.failed.is_empty() {
            match self.bounce(lease, tenant, item, &verdict.failed).await {
                Ok(()) => done.extend(verdict.failed.into_iter().map(|(to, _)| to)),
                // Whoever is not told stays in the queue.
                Err(e) => verdict.reason = format!("the bounce cannot be stored: {e}"),
            }
        }
        if done.len() < item.to.len() {
            metric::QUEUE_DEFERRED.inc();
            debug!(tenant:% = tenant, queue_id:% = item.id, reason = verdict.reason.as_str();
                "message deferred");
        }
        let pause = retry_after(self.0.config.queue_retry, item.attempts);
        let next = UnixMs(now.0.saturating_add(millis(pause)));
        let settle = Settle { id: item.id, done, next, reason: verdict.reason, over };
        self.0.mail.queue_settle(lease, tenant, settle).await
    }

    /// Tells the sender. RFC 5321 4.5.5: nobody is told of a bounce that bounces.
    async fn bounce(
        &self,
        lease: &PrimaryLease,
        tenant: TenantId,
        item: &Item,
        failed: &[(String, String)],
    ) -> Result<(), MailError> {
        let Some(account) = item.account.filter(|_| !item.from.is_empty()) else { return Ok(()) };
        let cargo = self.cargo(tenant, item)?;
        let mut original = Vec::new();
        for piece in cargo.reads() {
            if original.len() >= bounce::HEADER_MAX {
                break;
            }
            original.extend(cargo.read(piece)?);
        }
        original.truncate(bounce::HEADER_MAX);
        let unique: String = secret::random::<12>().iter().map(|b| format!("{b:02x}")).collect();
        let message = bounce::message(&bounce::Bounce {
            hostname: &self.0.hostname,
            to: &item.from,
            failed,
            arrived: item.created,
            at: clock::now_ms(),
            original: &original,
            unique: &unique,
        });
        let mut ingest = self.0.mail.begin(lease, &[tenant]).await?;
        ingest.trace(&trace::return_path("")).await?;
        ingest.write(&message).await?;
        let envelope =
            mail::Envelope { local: vec![(tenant, account)], ..mail::Envelope::default() };
        self.0.mail.deliver(lease, &envelope, ingest.finish()).await
    }
}

/// Recipients that one connection can serve together; all of them where a relay takes everything.
fn by_domain(to: &[String], relay: bool) -> BTreeMap<String, Vec<String>> {
    let mut domains: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for to in to {
        let domain = match address::split(to) {
            Some((_, domain)) if !relay => domain.to_lowercase(),
            _ => String::new(),
        };
        domains.entry(domain).or_default().push(to.clone());
    }
    domains
}

/// Brings the message to one domain's recipients, by whichever of its hosts takes it.
async fn bring(
    router: &Router,
    domain: &str,
    to: Vec<String>,
    cargo: &Cargo,
) -> Vec<(String, Outcome)> {
    let all = |outcome: Outcome| to.iter().map(|to| (to.clone(), outcome.clone())).collect();
    let hosts = match router.route(domain).await {
        Route::Hosts(hosts) => hosts,
        Route::Refused(why) => return all(Outcome::Refused(why)),
        Route::Later(why) => return all(Outcome::Deferred(why)),
    };
    let mut last = all(Outcome::Deferred("450 4.4.4 no host has an address".to_owned()));
    for at in hosts {
        let (outcomes, next) = cargo.bring(at, to.clone()).await;
        last = outcomes;
        if !next {
            break;
        }
    }
    last
}

/// What an attempt comes to.
struct Verdict {
    delivered: Vec<String>,
    failed: Vec<(String, String)>,
    /// What was said of the last recipient that stays.
    reason: String,
}

fn sort(outcomes: Vec<(String, Outcome)>, give_up: bool) -> Verdict {
    let mut verdict = Verdict { delivered: Vec::new(), failed: Vec::new(), reason: String::new() };
    for (to, outcome) in outcomes {
        match outcome {
            Outcome::Delivered => verdict.delivered.push(to),
            Outcome::Refused(why) => verdict.failed.push((to, why)),
            Outcome::Deferred(why) if give_up => {
                verdict.failed.push((to, format!("{why} (given up, too old)")));
            }
            Outcome::Deferred(why) => verdict.reason = why,
        }
    }
    verdict
}

/// Doubles from the first pause up to [`RETRY_MAX`].
fn retry_after(first: Duration, attempts: u32) -> Duration {
    first.saturating_mul(1 << attempts.min(20)).min(RETRY_MAX.max(first))
}

fn millis(d: Duration) -> u64 {
    u64::try_from(d.as_millis()).unwrap_or(u64::MAX)
}
