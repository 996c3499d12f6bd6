//! What is kept for merges goes when no merge can need it: what was expunged, once both nodes hold
//! all; a branch's originals, 30 days after its merge.

use crate::base::clock;
use crate::pair::driver::PairStatus;
use crate::store::{PrimaryLease, Store};
use std::time::Duration;
use tokio::sync::watch;
use understudy_proto::directory;
use understudy_proto::id::{Epoch, TenantId};
use understudy_proto::mailbox::{self, ForgetGraves, UIDS_PER_CHANGE_MAX};
use understudy_proto::merge::ForgetBranch;
use understudy_proto::pair::State;
use understudy_proto::time::UnixMs;

/// Between two rounds.
const EVERY: Duration = Duration::from_secs(60);
/// How long a merged branch's records are kept.
const KEPT: Duration = Duration::from_secs(30 * 24 * 3_600);

/// Runs for as long as the pair does.
pub(in crate::pair) async fn upkeep(
    store: Store,
    status: watch::Receiver<PairStatus>,
    lease: watch::Receiver<Option<PrimaryLease>>,
) {
    loop {
        tokio::time::sleep(EVERY).await;
        let Some(lease) = lease.borrow().clone().filter(PrimaryLease::valid) else { continue };
        if let Err(e) = round(&store, &status, &lease).await {
            log::debug!(err = e; "what was kept for merges stays for now");
        }
    }
}

async fn round(
    store: &Store,
    status: &watch::Receiver<PairStatus>,
    lease: &PrimaryLease,
) -> Result<(), String> {
    let said = |e: &dyn std::fmt::Display| e.to_string();
    let mut tenants = vec![TenantId::SYSTEM];
    {
        let view = store.read(TenantId::SYSTEM).map_err(|e| said(&e))?;
        let all = directory::tenants(&view).map_err(|e| said(&e))?;
        tenants.extend(all.into_iter().map(|t| t.id));
    }
    if is_whole(status) {
        let log = store.log().clone();
        let cleared = tokio::task::spawn_blocking(move || log.set_fork(Epoch(0)));
        cleared.await.map_err(|e| said(&e))?.map_err(|e| said(&e))?;
    }
    let kept = u64::try_from(KEPT.as_millis()).unwrap_or(u64::MAX);
    let before = UnixMs(clock::now_ms().0.saturating_sub(kept));
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
    status.standalone || (status.pair.state == State::Pair && status.pair.rpo_zero)
}
