//! The way out: drains the durable queue to the configured relay or to the recipients' hosts.
//!
//! ```text
//! due item -> by domain: route (relay | MX | address) -> hosts in order -> client machine
//!          -> delivered | refused: bounce | deferred: again later, at last bounce
//! ```
//!
//! Invariants: runs under a lease and ends with it; a recipient leaves the queue only after the
//! host's 2xx or after its bounce is committed; a null reverse-path never bounces. A copy is
//! possible (the host took it, we died before noting it), a loss is not.
//! Absent: DSN of delay, per-host connection reuse, MTA-STS, DANE.

mod connect;
mod route;

use super::Smtp;
use crate::base::{clock, metric, secret, task};
use crate::mail::{self, MailError};
use crate::store::PrimaryLease;
use connect::Cargo;
use log::{debug, info, warn};
use route::{Route, Router};
use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;
use understudy_proto::id::{QueueId, TenantId};
use understudy_proto::queue::{Item, Settle};
use understudy_proto::smtp::client::Outcome;
use understudy_proto::smtp::{address, bounce, trace};
use understudy_proto::time::UnixMs;

/// Deliveries that are under way at once.
const DELIVERIES_MAX: usize = 20;
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

/// Items that an attempt is under way for.
type Busy = Arc<Mutex<HashSet<(TenantId, QueueId)>>>;

/// Keeps an item from being tried twice at once.
struct Claim {
    busy: Busy,
    key: (TenantId, QueueId),
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

impl Smtp {
    /// Drains the queue until the lease is revoked. Call it once for each lease.
    pub async fn drain_queue(self, lease: PrimaryLease) {
        let places = Arc::new(Semaphore::new(DELIVERIES_MAX));
        let busy = Busy::default();
        let drain = async {
            loop {
                if let Err(e) = self.drain_once(&lease, &places, &busy).await {
                    warn!(err:% = e; "the queue cannot be read");
                }
                tokio::select! {
                    () = self.0.queued.notified() => {}
                    () = tokio::time::sleep(POLL) => {}
                }
            }
        };
        tokio::select! {
            () = lease.revoked() => {}
            () = drain => {}
        }
    }

    async fn drain_once(
        &self,
        lease: &PrimaryLease,
        places: &Arc<Semaphore>,
        busy: &Busy,
    ) -> Result<(), MailError> {
        let now = clock::now_ms();
        let items = self.0.mail.queue(usize::MAX)?;
        metric::QUEUE_DEPTH.set(u64::try_from(items.len()).unwrap_or(u64::MAX));
        let mut router = None;
        for (tenant, item) in items {
            let key = (tenant, item.id);
            if item.next > now || !claim(busy, key) {
                continue;
            }
            let claim = Claim { busy: Arc::clone(busy), key };
            let Ok(place) = Arc::clone(places).acquire_owned().await else { return Ok(()) };
            // It may have been settled by the attempt whose place this is.
            let Some(item) = self.0.mail.queue_item(tenant, item.id)? else { continue };
            if item.next > now {
                continue;
            }
            let router = router.get_or_insert_with(|| Router::new(&self.0)).clone();
            let (smtp, lease) = (self.clone(), lease.clone());
            // The attempt ends by itself, with its last timeout or with the lease.
            drop(task::spawn("smtp::queue", async move {
                let _held = (claim, place);
                tokio::select! {
                    () = lease.revoked() => {}
                    () = smtp.attempt(&lease, &router, tenant, item) => {}
                }
            }));
        }
        Ok(())
    }

    /// One attempt for one item: all its recipients, and what follows.
    async fn attempt(&self, lease: &PrimaryLease, router: &Router, tenant: TenantId, item: Item) {
        let deferred = |to: &[String], why: &str| {
            to.iter().map(|to| (to.clone(), Outcome::Deferred(why.to_owned()))).collect()
        };
        let mut domains = by_domain(&item.to, router.relays()).into_iter().peekable();
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
            while let Err(e) = self.settle(lease, tenant, &item, outcomes.clone(), over).await {
                warn!(tenant:% = tenant, queue_id:% = item.id, err:% = e; "attempt cannot be recorded, trying again");
                tokio::time::sleep(SETTLE_PAUSE).await;
            }
        }
    }

    /// The message as it leaves: without the `Return-Path:` that we wrote in front (RFC 5321 4.4).
    fn cargo(&self, tenant: TenantId, item: &Item) -> Result<Cargo, MailError> {
        let start = self.0.mail.read_queued(tenant, &item.body, 0..item.size.min(1_024))?;
        let skip = match start.windows(2).position(|pair| pair == b"\r\n") {
            Some(at) if start.starts_with(b"Return-Path:") => at.saturating_add(2),
            _ => 0,
        };
        Ok(Cargo {
            smtp: self.clone(),
            tenant,
            from: item.from.clone(),
            body: item.body.clone(),
            range: u64::try_from(skip).unwrap_or(0)..item.size,
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
        let header = u64::try_from(bounce::HEADER_MAX).unwrap_or(0);
        let end = cargo.range.end.min(cargo.range.start.saturating_add(header));
        let original = self.0.mail.read_queued(tenant, &item.body, cargo.range.start..end)?;
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

fn claim(busy: &Busy, key: (TenantId, QueueId)) -> bool {
    busy.lock().unwrap_or_else(PoisonError::into_inner).insert(key)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recipients_go_together_by_domain_or_all_by_a_relay() {
        let to = ["a@X.far", "b@y.far", "c@x.far"].map(str::to_owned);
        let domains = by_domain(&to, false);
        assert_eq!(domains["x.far"], ["a@X.far", "c@x.far"]);
        assert_eq!(domains.len(), 2);
        assert_eq!(by_domain(&to, true)[""].len(), 3);
    }

    #[test]
    fn pauses_double_up_to_six_hours() {
        let minutes = |n| Duration::from_mins(n);
        let pauses: Vec<_> = (0..9).map(|n| retry_after(minutes(5), n)).collect();
        assert_eq!(pauses[..4], [minutes(5), minutes(10), minutes(20), minutes(40)]);
        assert_eq!((pauses[7], pauses[8]), (RETRY_MAX, RETRY_MAX));
        assert_eq!(retry_after(minutes(5), u32::MAX), RETRY_MAX);
        assert_eq!(retry_after(Duration::from_hours(24), 3), Duration::from_hours(24));
    }

    #[test]
    fn only_what_is_too_old_or_refused_bounces() {
        let outcomes = || {
            vec![
                ("a".to_owned(), Outcome::Delivered),
                ("b".to_owned(), Outcome::Refused("550".to_owned())),
                ("c".to_owned(), Outcome::Deferred("451".to_owned())),
            ]
        };
        let young = sort(outcomes(), false);
        assert_eq!(young.delivered, ["a"]);
        assert_eq!(young.failed, [("b".to_owned(), "550".to_owned())]);
        assert_eq!(young.reason, "451");
        assert_eq!(sort(outcomes(), true).failed.len(), 2);
    }
}
