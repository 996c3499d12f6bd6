//! A full copy for a standby that lacks more of the log than is kept.
//!
//! ```text
//! primary: snapshot of each tenant ─► log from the lowest position ─► "complete"
//! standby: incoming/ ─► durable ─► order ─► restart: swapped in ─► Hello ─► joined from the log
//! ```
//!
//! Invariants: it runs only while the machine says [`Waiting::FullCopy`]; nothing of it changes what
//! the pair decides: the standby returns as a node with a shorter log. It goes on where it was
//! interrupted. Deliberately absent: any of it surviving in memory.

mod receiving;
mod sending;
mod words;

use self::receiving::Receiving;
use self::sending::{Sending, Stop};
use self::words::Word;
use super::driver::{PairStatus, Restart};
use super::side::{Side, SideEvent, Topic};
use crate::base::{clock, task};
use crate::store::disk::Disk;
use crate::store::{Pin, Store, StoreError, swap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use understudy_proto::pair::{Role, State, Waiting};
use understudy_proto::time::Mono;

/// The log is kept for so long after the last attempt at a copy.
const PIN_TIME: Duration = Duration::from_secs(600);
/// A copy that failed is tried again after this, on the same session.
const RETRY_AFTER: Duration = Duration::from_secs(10);
/// Between two looks at what needs looking at.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Time for the last answer to leave before the standby starts anew.
const FAREWELL: Duration = Duration::from_millis(200);

/// How far a full copy has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CopyStatus {
    /// This node gives it; else it receives it.
    pub sending: bool,
    /// Bytes that went over, those of earlier attempts included.
    pub bytes_done: u64,
    /// Bytes of the whole, about.
    pub bytes_total: u64,
    /// Tenants that are complete.
    pub tenants_done: u32,
    /// Tenants in all, the system among them.
    pub tenants_total: u32,
    /// Bytes in the last second.
    pub bytes_per_s: u64,
    /// Why the last attempt ended early, until the next goes on.
    pub stopped: Option<String>,
}

impl CopyStatus {
    /// Seconds that are left at the present rate.
    #[must_use]
    pub fn eta_s(&self) -> Option<u64> {
        self.bytes_total.saturating_sub(self.bytes_done).checked_div(self.bytes_per_s)
    }
}

/// Who says what this node goes on with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Claimed {
    /// An operator: with what is here.
    Forced,
    /// The copy that is being put in its place.
    Copy,
    /// The peer, which has merged all of it: it is being put away.
    Branch,
}

/// One of them at a time: whoever leads with data that a restart replaces would lose what it
/// acknowledged meanwhile.
#[derive(Clone, Default)]
pub(super) struct Claim(Arc<Mutex<Option<Claimed>>>);

impl Claim {
    /// Whether it is had now.
    pub(super) fn take(&self, claim: Claimed) -> bool {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *held.get_or_insert(claim) == claim
    }

    /// Gives it back, where that one has it.
    pub(super) fn leave(&self, claim: Claimed) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.take_if(|held| *held == claim);
    }
}

/// What it is made from.
pub(super) struct Options {
    pub(super) store: Store,
    pub(super) disk: Arc<dyn Disk>,
    pub(super) data_dir: PathBuf,
    pub(super) side: Side,
    /// Most bytes a second that a copy takes of disk and link.
    pub(super) bytes_per_s: u64,
    /// Starts the program anew: the copy is complete. Does not return, except in tests.
    pub(super) restart: Restart,
    pub(super) copy: watch::Sender<Option<CopyStatus>>,
    pub(super) claim: Claim,
}

struct Job {
    store: Store,
    disk: Arc<dyn Disk>,
    data_dir: PathBuf,
    side: Side,
    bytes_per_s: u64,
    restart: Restart,
    status: watch::Receiver<PairStatus>,
    copy: watch::Sender<Option<CopyStatus>>,
    claim: Claim,
    receiving: Option<Receiving>,
}

/// Starts it; `None` where somebody else reads the topic.
pub(super) fn start(
    options: Options,
    status: watch::Receiver<PairStatus>,
) -> Option<JoinHandle<()>> {
    let events = options.side.subscribe(Topic::Snapshot)?;
    let Options { store, disk, data_dir, side, bytes_per_s, restart, copy, claim } = options;
    let job = Job {
        store,
        disk,
        data_dir,
        side,
        bytes_per_s,
        restart,
        status,
        copy,
        claim,
        receiving: None,
    };
    Some(task::spawn("pair-resync", job.run(events)))
}

impl Job {
    async fn run(mut self, mut events: mpsc::Receiver<SideEvent>) {
        let mut status = self.status.clone();
        let (mut up, mut retry_at, mut pinned, mut tidied) = (false, Mono(0), None, false);
        loop {
            if up && self.is_needed() && clock::mono() >= retry_at {
                let outcome = Sending::new(&self, &mut events).run().await;
                pinned = Some(clock::mono().after(PIN_TIME));
                retry_at = clock::mono().after(RETRY_AFTER);
                // After a complete copy the peer comes back on another session.
                up = self.sent(outcome);
            }
            tokio::select! {
                event = events.recv() => match event {
                    None => return,
                    Some(SideEvent::Up) => (up, retry_at) = (true, Mono(0)),
                    Some(SideEvent::Down) => {
                        up = false;
                        self.receiving = None;
                    }
                    Some(SideEvent::Message(message)) => self.hear(message).await,
                },
                changed = status.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            self.let_go(&mut pinned);
            self.tidy(&mut tidied).await;
        }
    }

    /// Whether this node is to give a copy.
    fn is_needed(&self) -> bool {
        let status = self.status.borrow();
        let p = &status.pair;
        p.role == Role::Primary && p.linked && p.waiting == Waiting::FullCopy
    }

    /// What a copy came to. Returns whether the session can still be used.
    fn sent(&self, outcome: Result<(), Stop>) -> bool {
        if let Err(Stop::Store(StoreError::NoRoom { .. })) = &outcome {
            // What is kept for the copy is what fills the disk.
            self.store.log().pin(Pin::Copy, None);
        }
        let (why, usable) = match outcome {
            Ok(()) => (None, false),
            Err(stop @ Stop::NoSession) => (Some(stop), false),
            Err(stop) => (Some(stop), true),
        };
        self.copy.send_modify(|copy| match (copy, &why) {
            (copy, None | Some(Stop::Over)) => *copy = None,
            (Some(copy), Some(why)) => {
                copy.bytes_per_s = 0;
                copy.stopped = Some(why.to_string());
            }
            (None, Some(_)) => {}
        });
        if let Some(why) = why {
            log::warn!(err:% = why, runbook = "pair-full-copy"; "the full copy for the peer was interrupted");
        }
        usable
    }

    async fn hear(&mut self, message: Vec<u8>) {
        if Word::decode(&message).is_ok_and(|(word, _)| word.is_answer()) {
            return; // To what was said before the copy ended.
        }
        let taken = self.take_in(message).await;
        self.receiving = taken.receiving;
        if let Word::Refused(why) = &taken.answer {
            self.copy.send_modify(|copy| {
                copy.get_or_insert_default().stopped = Some(why.clone());
            });
        }
        if let Err(e) = self.side.send(Topic::Snapshot, taken.answer.encode(&[])).await {
            log::debug!(err:% = e; "the primary does not hear the answer");
        }
        if taken.restart {
            log::warn!("a full copy of the peer's data is complete: starting anew to use it");
            tokio::time::sleep(FAREWELL).await;
            (self.restart)();
        }
    }

    /// The log is kept for the copy until the peer has joined, or nothing came of it for long.
    fn let_go(&self, pinned: &mut Option<Mono>) {
        let joined = {
            let status = self.status.borrow();
            status.pair.role != Role::Primary || status.pair.peer_durable.is_some()
        };
        if pinned.is_some_and(|until| joined || clock::mono() >= until) {
            *pinned = None;
            self.store.log().pin(Pin::Copy, None);
            self.copy.send_replace(None);
        }
    }

    /// Once this node counts again, what the copy replaced is not needed any more.
    async fn tidy(&self, tidied: &mut bool) {
        let admitted = {
            let status = self.status.borrow();
            status.pair.state == State::Pair && status.pair.role == Role::Standby
        };
        if !admitted || std::mem::replace(tidied, true) {
            return;
        }
        self.copy.send_replace(None);
        let (disk, dir) = (Arc::clone(&self.disk), self.data_dir.clone());
        let forget = move || swap::forget_retired(disk.as_ref(), &dir);
        match tokio::task::spawn_blocking(forget).await {
            Ok(Ok(true)) => log::info!("what the full copy replaced was removed"),
            Ok(Ok(false)) => {}
            Ok(Err(e)) => log::warn!(err:% = e, runbook = "pair-full-copy";
                "what the full copy replaced cannot be removed"),
            Err(e) => log::warn!(err:% = e, runbook = "pair-full-copy";
                "what the full copy replaced was not removed"),
        }
    }

    /// Reads from the store where it may wait for the disk.
    async fn blocking<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Stop> {
        let store = self.store.clone();
        match tokio::task::spawn_blocking(move || read(&store)).await {
            Ok(read) => Ok(read?),
            Err(e) => Err(Stop::Strange(e.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operator_and_a_copy_do_not_both_decide() {
        let claim = Claim::default();
        assert!(claim.take(Claimed::Copy) && claim.take(Claimed::Copy));
        assert!(!claim.take(Claimed::Forced), "the copy is being put in place");
        claim.leave(Claimed::Forced);
        assert!(!claim.take(Claimed::Forced), "it was not the operator's to give back");
        claim.leave(Claimed::Copy);
        assert!(claim.take(Claimed::Forced) && !claim.take(Claimed::Copy));
        assert!(!claim.take(Claimed::Branch));
    }
}
