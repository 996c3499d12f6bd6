//! A witness's process: one thread, and those that wait for its disk.

use super::{failure, wait_for_signal};
use crate::config;
use crate::ops::request::{Failure, PairFacts};
use crate::pair::formation::{PairId, PairIdentity};
use crate::pair::witness::{PairEntry, Server, ServerOptions};
use crate::store::disk::RealDisk;
use crate::tls::Pin;
use std::path::Path;
use std::sync::Arc;
use tokio::runtime::Builder;

/// Threads that wait for the disk: pairs that change their reign at the same moment.
const DISK_THREADS: usize = 4;

/// Serves until a signal comes, or a register cannot be made durable.
pub(super) fn run(config: config::Witness) -> Result<(), Failure> {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(DISK_THREADS)
        .build()
        .map_err(|e| failure("the system gives no threads", &e))?;
    runtime.block_on(serve(config))
}

async fn serve(config: config::Witness) -> Result<(), Failure> {
    let pairs = config.pairs.iter().map(|pair| PairEntry {
        id: PairId(pair.id),
        pins: pair.pins.iter().copied().map(Pin).collect(),
    });
    let server = Server::start(ServerOptions {
        listen: config.listen,
        dir: config.dir,
        disk: Arc::new(RealDisk),
        pairs: pairs.collect(),
        idle_timeout: config.idle_timeout,
    })
    .map_err(|e| failure("the witness cannot start", &e))?;
    log::info!(
        addr:% = server.address(), count = config.pairs.len(), sha256:% = server.pin();
        "the witness runs"
    );
    tokio::select! {
        signal = wait_for_signal() => signal?,
        why = server.failed() => {
            return Err(Failure::new(
                format!("the witness has stopped: {why}"),
                "Repair the disk (docs/runbook/disk-failure.md) and start it again.",
            ));
        }
    }
    log::info!("stopped");
    Ok(())
}

/// Who this appliance is in its pair.
pub(super) fn pair_facts(data_dir: &Path) -> Result<PairFacts, Failure> {
    let identity = PairIdentity::load(data_dir)
        .map_err(|e| failure("the pair's file cannot be read", &e))?
        .ok_or_else(|| {
            Failure::new(
                "this appliance is in no pair yet",
                "Form one: understudy pair init here, understudy pair join on the other.",
            )
        })?;
    let pin = Pin::of_pem(&identity.certificate_pem).ok_or_else(|| {
        Failure::new("the pair's file holds no certificate", "Form the pair again.")
    })?;
    Ok(PairFacts {
        pair: identity.pair.to_string(),
        node: identity.node.0,
        pin: pin.to_string(),
        peer_pin: identity.peer_pin().map(|pin| pin.to_string()),
    })
}
