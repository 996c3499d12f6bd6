//! What is kept for merges goes when no merge can need it: what was expunged, once both nodes hold
//! all; a branch's originals, 30 days after its merge.

use crate::base::clock;
use crate::pair::driver::PairStatus;
use crate::store::disk::Disk;
use crate::store::{PrimaryLease, Store, swap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use understudy_proto::directory;
use understudy_proto::id::{Epoch, TenantId};
use understudy_proto::mailbox::{self, ForgetGraves, UIDS_PER_CHANGE_MAX};
use understudy_proto::merge::ForgetBranch;
use understudy_proto::pair::{Role, State};
use understudy_proto::time::UnixMs;

/// Between two rounds.
const EVERY: Duration = Duration::from_secs(60);
/// How long a merged branch's records are kept.
const KEPT: Duration = Duration::from_secs(30 * 24 * 3_600);

/// Runs for as long as the pair does.
pub(in crate::pair) async fn upkeep(
    store: Store,
    (disk, data_dir): (Arc<dyn Disk>, PathBuf),
    status: watch::Receiver<PairStatus>,
    lease: watch::Receiver<Option<PrimaryLease>>,
) {
    loop {
        tokio::time::sleep(EVERY).await;
        let (disk, dir) = (Arc::clone(&disk), data_dir.clone());
        let forget = move || swap::forget_branches(disk.as_ref(), &dir, clock::now_ms(), KEPT);
        match tokio::task::spawn_blocking(forget).await {
            Ok(Ok(_)) => {}
            Ok(Err(e)) => {
                log::warn!(err:% = e, runbook = "branched"; "the data of a merged branch cannot be removed")
            }
            Err(e) => {
                log::warn!(err:% = e, runbook = "branched"; "the data of a merged branch was not removed")
            }
        }
        let Some(lease) = lease.borrow().clone().filter(PrimaryLease::valid) else { continue };
        if let Err(e) = round(&store, &status, &lease, clock::now_ms()).await {
            log::debug!(err = e; "what was kept for merges stays for now");
        }
    }
}

/// One round at the primary.
pub(in crate::pair) async fn round(
    store: &Store,
    status: &watch::Receiver<PairStatus>,
    lease: &PrimaryLease,
    now: UnixMs,
) -> Result<(), String> {
    let said = |e: &dyn std::fmt::Display| e.to_string();
    let mut tenants = vec![TenantId::SYSTEM];
    {
        let view = store.read(TenantId::SYSTEM).map_err(|e| said(&e))?;
        let all = directory::tenants(&view).map_err(|e| said(&e))?;
        tenants.extend(all.into_iter().map(|t| t.id));
    }
    let log = store.log().clone();
    let seen = log.fork();
    // A status that was made before this node took over says nothing of the fork that this began.
    let known = status.borrow().pair.epoch >= seen;
    if seen > Epoch(0) && known && is_whole(status) {
        let cleared = tokio::task::spawn_blocking(move || log.clear_fork(seen));
        cleared.await.map_err(|e| said(&e))?.map_err(|e| said(&e))?;
    }
    let kept = u64::try_from(KEPT.as_millis()).unwrap_or(u64::MAX);
    let before = UnixMs(now.0.saturating_sub(kept));
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
        loop {
            let forget = ForgetBranch { before };
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
