//! A reign that may have a rival leaves its gaps in UIDs at once, in every mailbox; and what is kept
//! for merges goes when no merge can need it: what was expunged, once both nodes hold
//! all; a branch's originals, 30 days after its merge.
//!
//! Those days are counted while somebody runs: a clock that is set right does not make them pass.

use crate::pair::driver::PairStatus;
use crate::store::disk::Disk;
use crate::store::{PrimaryLease, Store, swap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use understudy_proto::directory;
use understudy_proto::id::{Epoch, TenantId};
use understudy_proto::mailbox::{self, ForgetGraves, LeaveGaps, UIDS_PER_CHANGE_MAX};
use understudy_proto::merge::ForgetBranch;
use understudy_proto::pair::{Role, State};

/// Between two rounds.
const EVERY: Duration = Duration::from_secs(60);
/// So many rounds later the time that has passed is counted.
const COUNT_EVERY: u32 = 60;
/// Accounts of one change that leaves gaps.
const GAP_ACCOUNTS: usize = 100;
/// How long a merged branch's records are kept.
const KEPT: Duration = Duration::from_secs(30 * 24 * 3_600);

/// Runs for as long as the pair does.
pub(in crate::pair) async fn upkeep(
    store: Store,
    (disk, data_dir): (Arc<dyn Disk>, PathBuf),
    status: watch::Receiver<PairStatus>,
    mut lease: watch::Receiver<Option<PrimaryLease>>,
) {
    let mut rounds = 0_u32;
    // The fork for which gaps were left.
    let mut gaps = Epoch(0);
    let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + EVERY, EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    // Not in the rows yet: only the primary counts there.
    let mut uncounted = Duration::ZERO;
    loop {
        let ticked = tokio::select! {
            _ = ticks.tick() => true,
            changed = lease.changed() => if changed.is_ok() { false } else { return },
        };
        let (fork, leads) = (store.log().fork(), lease.borrow_and_update().clone());
        // With a witness in force nobody else goes on: what leaves a gap is the first message.
        let alone = !status.borrow().pair.witness.in_force;
        if let Some(lease) = leads.filter(|lease| lease.valid() && fork > gaps && alone) {
            match leave_gaps(&store, &lease).await {
                Ok(()) => gaps = fork,
                Err(e) => log::debug!(err = e; "the gaps in UIDs are left later"),
            }
        }
        if !ticked {
            continue;
        }
        rounds = rounds.saturating_add(1);
        if rounds >= COUNT_EVERY {
            let seen = EVERY.saturating_mul(rounds);
            (rounds, uncounted) = (0, seen);
            forget_folders(Arc::clone(&disk), data_dir.clone(), seen).await;
        }
        let Some(lease) = lease.borrow().clone().filter(PrimaryLease::valid) else {
            uncounted = Duration::ZERO;
            continue;
        };
        if let Err(e) = round(&store, &status, &lease, std::mem::take(&mut uncounted)).await {
            log::debug!(err = e; "what was kept for merges stays for now");
        }
    }
}

/// Whoever comes from the rival, before anything of its branch is known here, finds UIDNEXT above all
/// that they know.
pub(in crate::pair) async fn leave_gaps(store: &Store, lease: &PrimaryLease) -> Result<(), String> {
    let said = |e: &dyn std::fmt::Display| e.to_string();
    let tenants = {
        let view = store.read(TenantId::SYSTEM).map_err(|e| said(&e))?;
        directory::tenants(&view).map_err(|e| said(&e))?
    };
    let mut all = Ok(());
    for tenant in tenants {
        // One that does not follow keeps the gaps from no other.
        all = all.and(leave_gaps_of(store, lease, tenant.id).await);
    }
    all
}

async fn leave_gaps_of(
    store: &Store,
    lease: &PrimaryLease,
    tenant: TenantId,
) -> Result<(), String> {
    let said = |e: &dyn std::fmt::Display| e.to_string();
    let accounts = {
        let view = store.read(tenant).map_err(|e| said(&e))?;
        directory::accounts(&view).map_err(|e| said(&e))?
    };
    let open: Vec<_> = accounts.into_iter().filter(|a| !a.closed).map(|a| a.id).collect();
    for some in open.chunks(GAP_ACCOUNTS) {
        loop {
            let leave = LeaveGaps { accounts: some.to_vec() };
            let written = store.write(lease, tenant, leave).await.map_err(|e| said(&e))?;
            if !written.answer {
                break;
            }
        }
    }
    Ok(())
}

async fn forget_folders(disk: Arc<dyn Disk>, dir: PathBuf, seen: Duration) {
    let forget = move || swap::forget_branches(disk.as_ref(), &dir, seen, KEPT);
    match tokio::task::spawn_blocking(forget).await {
        Ok(Ok(_)) => {}
        Ok(Err(e)) => {
            log::warn!(err:% = e, runbook = "branched"; "the data of a merged branch cannot be removed");
        }
        Err(e) => {
            log::warn!(err:% = e, runbook = "branched"; "the data of a merged branch was not removed");
        }
    }
}

/// One round at the primary, which counts `seen` for the branches that are kept.
pub(in crate::pair) async fn round(
    store: &Store,
    status: &watch::Receiver<PairStatus>,
    lease: &PrimaryLease,
    seen: Duration,
) -> Result<(), String> {
    let said = |e: &dyn std::fmt::Display| e.to_string();
    let mut tenants = vec![TenantId::SYSTEM];
    {
        let view = store.read(TenantId::SYSTEM).map_err(|e| said(&e))?;
        let all = directory::tenants(&view).map_err(|e| said(&e))?;
        tenants.extend(all.into_iter().map(|t| t.id));
    }
    let log = store.log().clone();
    let fork = log.fork();
    // A status that was made before this node took over says nothing of the fork that this began.
    let known = status.borrow().pair.epoch >= fork;
    if fork > Epoch(0) && known && is_whole(status) {
        let cleared = tokio::task::spawn_blocking(move || log.clear_fork(fork));
        cleared.await.map_err(|e| said(&e))?.map_err(|e| said(&e))?;
    }
    for tenant in tenants {
        loop {
            let (graves, mailboxes) = {
                let view = store.read(tenant).map_err(|e| said(&e))?;
                mailbox::graves(&view, UIDS_PER_CHANGE_MAX).map_err(|e| said(&e))?
            };
            // What was visible before this was seen is on both nodes: before any later fork.
            if (graves.is_empty() && mailboxes.is_empty()) || !is_whole(status) {
                break;
            }
            let forget = ForgetGraves { graves, mailboxes };
            let written = store.write(lease, tenant, forget).await.map_err(|e| said(&e))?;
            store.applied(tenant, written.lsn).await.map_err(|e| said(&e))?;
        }
        let mut seen = seen;
        loop {
            let forget = ForgetBranch { seen: std::mem::take(&mut seen), kept: KEPT };
            let written = store.write(lease, tenant, forget).await.map_err(|e| said(&e))?;
            if written.answer == 0 {
                break;
            }
        }
    }
    Ok(())
}

/// Whether no other branch can exist: everything committed is on both nodes, or there is one only.
fn is_whole(status: &watch::Receiver<PairStatus>) -> bool {
    let status = status.borrow();
    let p = &status.pair;
    status.standalone || (p.role == Role::Primary && p.state == State::Pair && p.rpo_zero)
}
