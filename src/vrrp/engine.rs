//! The virtual routers in the process that calls: the thread "vrrp" and how it is told things.
//!
//! The guardian runs one; so does a process that needs no guardian (tests). Invariant: nothing here
//! waits, but for the start and the end of the thread.

use super::address::Addresses;
use super::driver::{ClaimOrder, Driver, Orders, Shared};
use super::relay::Relay;
use super::setting::Settings;
use super::socket::AdvertSocket;
use super::{GroupConfig, GroupStatus, PeerGroup, Stand, VrrpError, VrrpEvent, check, lock};
use crate::base::{self, clock, privilege, task};
use nix::sys::eventfd::{EfdFlags, EventFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use tokio::sync::mpsc;
use understudy_proto::time::Mono;

/// Adverts that are late cost a takeover: this thread goes first, and waits for no reader of the log.
pub(super) fn in_time() {
    base::log::never_wait();
    if let Err(errno) = privilege::realtime_alone() {
        log::debug!(err:% = errno; "no real-time priority for this thread");
    }
}

/// A running thread "vrrp". Dropping it is [`Engine::stop`].
#[derive(Debug)]
pub(super) struct Engine {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
    configs: Vec<GroupConfig>,
    relay: Mutex<Option<Relay>>,
}

impl Engine {
    /// `run_dir` is where it is written down what must be put back if this process is killed.
    pub(super) fn start(
        configs: Vec<GroupConfig>,
        events: mpsc::Sender<VrrpEvent>,
        run_dir: Option<&Path>,
    ) -> Result<Self, VrrpError> {
        check(&configs)?;
        AdvertSocket::probe().map_err(VrrpError::RawSocket)?;
        let system = |what| move |source| VrrpError::System { what, source };
        let addresses = Addresses::open().map_err(system("opening netlink"))?;
        let settings = run_dir.map(Settings::open).unwrap_or_default();
        let wake = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)
            .map_err(|errno| system("eventfd")(errno.into()))?;
        let shared = Arc::new(Shared {
            orders: Mutex::new(Orders::default()),
            wake,
            status: Mutex::new(Vec::new()),
            left: AtomicBool::new(false),
        });
        let driver = Driver::new(
            configs.clone(),
            shared.clone(),
            (addresses, settings),
            events,
            clock::mono(),
        );
        let thread = task::thread("vrrp", move || {
            in_time();
            driver.run();
        });
        Ok(Self { shared, thread: Mutex::new(Some(thread)), configs, relay: Mutex::default() })
    }

    /// See [`super::Vrrp::hold_newcomers`].
    pub(super) fn hold_newcomers(&self) {
        let relay = Relay::start(&self.configs);
        if let Err(error) = &relay {
            log::warn!(err:% = error; "connections that begin during the handover come late");
        }
        *lock(&self.relay) = relay.ok();
    }

    pub(super) fn stand(&self, stand: Stand) {
        if matches!(stand, Stand::Holder { .. }) {
            *lock(&self.relay) = None; // The addresses are here again.
        }
        self.shared.order(|orders| orders.stand = Some(stand));
    }

    pub(super) fn pulse(&self, until: Mono) {
        self.shared.order(|orders| orders.lease = orders.lease.max(until));
    }

    pub(super) fn claim(&self, claim: ClaimOrder) {
        self.shared.order(|orders| orders.put(claim));
    }

    pub(super) fn hear_peer(&self, words: Vec<PeerGroup>) {
        self.shared.order(|orders| orders.peer = Some(words));
    }

    pub(super) fn reunite(&self) {
        self.shared.order(|orders| orders.reunion = true);
    }

    pub(super) fn status(&self) -> Vec<GroupStatus> {
        lock(&self.shared.status).clone()
    }

    /// Removes the addresses, sends priority 0 and ends the thread.
    pub(super) fn stop(&self) {
        self.shared.order(|orders| orders.stop = true);
        let Some(thread) = lock(&self.thread).take() else { return };
        if thread.join().is_err() {
            log::error!(runbook = "process-abort"; "the vrrp thread ended with a panic");
        }
    }

    /// After the end: whether an address could not be removed, so that only its lifetime ends it.
    pub(super) fn left_address(&self) -> bool {
        self.shared.left.load(Ordering::SeqCst)
    }

    /// The same in good order: newcomers are sent on until the new Active has announced itself.
    pub(super) fn stop_in_order(&self) {
        self.stop();
        if let Some(relay) = lock(&self.relay).take() {
            relay.finish();
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.stop();
    }
}
