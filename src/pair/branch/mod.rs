//! A branch that is over: its records go to the leader, are durable there, and are merged.
//!
//! ```text
//! branch: Offer ─► leader: Pull(the system's, then all others) ─► Pieces ⇄ Ack … End
//!                  leader: merges as ordinary changes ─► Taken ─► branch: puts its data away
//! ```
//!
//! Invariants: a piece is durable in the leader's log before the next but [`UNANSWERED`] is sent;
//! `Taken` is said only when everything is merged and committed; whatever ends in between goes on
//! where it was. Absent: what merging means (`proto::merge`), and any memory of it here: progress is
//! in the views.

mod leader;
mod shipping;
mod upkeep;

#[cfg(test)]
mod tests;

#[cfg(test)]
pub(super) use self::upkeep::round as upkeep_round;
pub(super) use self::upkeep::upkeep;

use self::leader::Leader;
use super::driver::{PairStatus, Restart};
use super::resync::{Claim, Claimed};
use super::side::{Side, SideEvent, Topic};
use crate::base::task;
use crate::store::disk::Disk;
use crate::store::{PrimaryLease, Store, StoreError, swap};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use understudy_proto::codec::{self, DecodeError};
use understudy_proto::id::{Epoch, Lsn, TenantId, UploadId};
use understudy_proto::keys::KeysError;
use understudy_proto::mailbox::RowError;
use understudy_proto::merge::{BranchId, Kinds, MergeFault};
use understudy_proto::pair::{History, LogState, Role, State};
use understudy_proto::record::Kind;

/// Messages that are sent without an answer.
const UNANSWERED: usize = 8;
/// Words that wait for the leader's task: more than the branch may send without an answer.
const WORDS_MAX: usize = 32;
/// Between two offers.
const OFFER_EVERY: Duration = Duration::from_secs(2);
/// Time for the last answer to leave before the branch starts anew.
const FAREWELL: Duration = Duration::from_millis(200);

/// What is said over the side channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Word {
    /// Branch: this is my log; take what you lack.
    Offer(Offer),
    /// Leader: send what lies behind `after`, of the system or of everybody else.
    Pull { branch: BranchId, system: bool, after: Lsn },
    /// Branch: these.
    Pieces(Vec<Piece>),
    /// Branch: that was all.
    End,
    /// Branch: I cannot, because of this.
    Fault(String),
    /// Leader: the pieces are durable.
    Ack,
    /// Leader: all of the branch is merged.
    Taken(BranchId),
}

/// A branch's log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Offer {
    tail: Lsn,
    first: Lsn,
    epochs: Vec<(Epoch, Lsn)>,
}

/// A piece of what is shipped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Piece {
    /// Part of a body; all parts of it come before the change that links it.
    Body { tenant: TenantId, upload: UploadId, last: bool, bytes: Vec<u8> },
    /// A change, or part of one.
    Change {
        tenant: TenantId,
        lsn: Lsn,
        epoch: Epoch,
        kind: Kind,
        part: u32,
        last: bool,
        bytes: Vec<u8>,
        bodies: Vec<UploadId>,
    },
}

/// Why a branch is not merged now.
#[derive(Debug, thiserror::Error)]
enum BranchError {
    #[error("the session ended")]
    Gone,
    #[error("this node is not primary any more")]
    NotPrimary,
    #[error("the two logs reach back too little to say where they part")]
    NoFork,
    #[error("the log goes back to {first} only, the fork is at {fork}; keep the branch's data")]
    Trimmed { first: Lsn, fork: Lsn },
    #[error("the other appliance cannot ship its records: {0}")]
    Peer(String),
    #[error("tenant {0} of the branch is not here")]
    NoTenant(TenantId),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("a change of the merge was not made: {0}")]
    Write(String),
    #[error(transparent)]
    Decode(#[from] DecodeError),
    #[error(transparent)]
    Keys(#[from] KeysError),
    #[error(transparent)]
    Row(#[from] RowError),
    #[error("a plan of the merge cannot be made: {0}")]
    Plan(String),
}

impl From<crate::store::WriteError<MergeFault>> for BranchError {
    fn from(e: crate::store::WriteError<MergeFault>) -> Self {
        Self::Write(e.to_string())
    }
}

/// How far the merge of a branch is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MergeStatus {
    /// Which branch.
    pub branch: String,
    /// This node leads and takes the peer's branch; else the branch is its own.
    pub leading: bool,
    /// Records that went over.
    pub records_done: u64,
    /// Records of the branch.
    pub records_total: u64,
    /// Tenants that are merged, the system among them.
    pub tenants_done: u32,
    /// Tenants in all; 0 while records are taken.
    pub tenants_total: u32,
    /// Tasks that are done of the stage at hand.
    pub tasks_done: u64,
    /// Its tasks in all.
    pub tasks_total: u64,
    /// Why the last attempt ended, until the next goes on.
    pub stopped: Option<String>,
}

/// What it is made from.
pub(super) struct Options {
    pub(super) store: Store,
    pub(super) disk: Arc<dyn Disk>,
    pub(super) data_dir: PathBuf,
    pub(super) side: Side,
    /// Starts the program anew, to begin empty. Does not return, except in tests.
    pub(super) restart: Restart,
    /// The kinds that are merged.
    pub(super) kinds: Kinds,
    pub(super) merging: watch::Sender<Option<MergeStatus>>,
    pub(super) claim: Claim,
}

struct Job {
    options: Options,
    status: watch::Receiver<PairStatus>,
    lease: watch::Receiver<Option<PrimaryLease>>,
    up: bool,
    /// What the branch ships, and how much of it has no answer yet.
    stream: Option<mpsc::Receiver<Word>>,
    unanswered: usize,
    /// What the leader's task hears.
    leader: Option<(mpsc::Sender<Word>, JoinHandle<()>)>,
}

/// Starts it; `None` where somebody else reads the topic.
pub(super) fn start(
    options: Options,
    status: watch::Receiver<PairStatus>,
    lease: watch::Receiver<Option<PrimaryLease>>,
) -> Option<JoinHandle<()>> {
    let events = options.side.subscribe(Topic::Branch)?;
    let (up, stream, unanswered, leader) = (false, None, 0, None);
    let job = Job { options, status, lease, up, stream, unanswered, leader };
    Some(task::spawn("pair-branch", job.run(events)))
}

impl Drop for Job {
    fn drop(&mut self) {
        self.end();
    }
}

impl Job {
    async fn run(mut self, mut events: mpsc::Receiver<SideEvent>) {
        let mut offers = tokio::time::interval(OFFER_EVERY);
        offers.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut status = self.status.clone();
        loop {
            let may_send = self.unanswered < UNANSWERED;
            let next = async {
                match &mut self.stream {
                    Some(stream) if may_send => stream.recv().await,
                    _ => std::future::pending().await,
                }
            };
            tokio::select! {
                event = events.recv() => match event {
                    None => return,
                    Some(SideEvent::Up) => {
                        self.up = true;
                        self.offer().await;
                    }
                    Some(SideEvent::Down) => {
                        self.up = false;
                        self.end();
                    }
                    Some(SideEvent::Message(message)) => {
                        match codec::decode::<Word>("word about a branch", &message) {
                            Ok(word) => self.hear(word).await,
                            Err(e) => log::warn!(err:% = e, runbook = "branched"; "the peer says something about a branch that is not understood"),
                        }
                    }
                },
                word = next => match word {
                    Some(word) => {
                        self.unanswered += 1;
                        self.shipped(&word);
                        self.say(&word).await;
                    }
                    None => self.stream = None,
                },
                _ = offers.tick() => self.offer().await,
                changed = status.changed() => if changed.is_err() { return },
            }
        }
    }

    /// What is under way ends with the session; it goes on from the views' progress.
    fn end(&mut self) {
        (self.stream, self.unanswered) = (None, 0);
        self.options.merging.send_replace(None);
        if let Some((_, leader)) = self.leader.take() {
            leader.abort();
        }
    }

    async fn say(&self, word: &Word) {
        if let Err(e) = self.options.side.send(Topic::Branch, codec::encode(word)).await {
            log::debug!(err:% = e; "the peer does not hear of the branch");
        }
    }

    /// Shows how much of this node's branch went over.
    fn shipped(&self, word: &Word) {
        let Word::Pieces(pieces) = word else { return };
        let changes = pieces.iter().filter_map(|piece| match piece {
            Piece::Change { lsn, .. } => Some(lsn.0),
            Piece::Body { .. } => None,
        });
        let (Some(last), log) = (changes.max(), self.options.store.log()) else { return };
        let left = log.durable().borrow().0.saturating_sub(last);
        self.options.merging.send_if_modified(|merging| {
            let Some(m) = merging else { return false };
            m.records_done = m.records_total.saturating_sub(left);
            true
        });
    }

    async fn offer(&mut self) {
        let branched = self.status.borrow().pair.state == State::Branched;
        if !self.up || !branched || self.stream.is_some() || self.lease.borrow().is_some() {
            return;
        }
        let log = self.options.store.log();
        let tail = *log.durable().borrow();
        self.say(&Word::Offer(Offer { tail, first: log.first(), epochs: log.epochs() })).await;
    }

    async fn hear(&mut self, word: Word) {
        match word {
            Word::Offer(offer) => self.lead(offer),
            Word::Pull { branch, system, after } => {
                let (sender, stream) = mpsc::channel(UNANSWERED);
                (self.stream, self.unanswered) = (Some(stream), 0);
                let durable = *self.options.store.log().durable().borrow();
                self.options.merging.send_replace(Some(MergeStatus {
                    branch: branch.to_string(),
                    records_done: after.0.saturating_sub(branch.fork.0),
                    records_total: durable.0.saturating_sub(branch.fork.0),
                    ..MergeStatus::default()
                }));
                let (store, kinds) = (self.options.store.clone(), self.options.kinds.clone());
                drop(task::thread("pair-shipping", move || {
                    shipping::ship(&store, &kinds, (branch, system, after), &sender);
                }));
            }
            Word::Ack => self.unanswered = self.unanswered.saturating_sub(1),
            Word::Taken(branch) => self.retire(branch).await,
            Word::Fault(why) if self.stream.is_some() => {
                log::warn!(reason:% = why; "the leader could not take this branch; it is offered again");
                (self.stream, self.unanswered) = (None, 0);
                self.options.merging.send_if_modified(|merging| {
                    merging.as_mut().map(|m| m.stopped = Some(why)).is_some()
                });
            }
            word @ (Word::Pieces(_) | Word::End | Word::Fault(_)) => {
                let Some((leader, _)) = &self.leader else { return };
                match leader.try_send(word) {
                    // One that has ended said why: that stays to be seen. What was still under way
                    // is sent again after the next offer.
                    Ok(()) | Err(TrySendError::Closed(_)) => {}
                    Err(TrySendError::Full(_)) => self.end(),
                }
            }
        }
    }

    /// The peer has a branch: take it, if we lead.
    fn lead(&mut self, offer: Offer) {
        if self.leader.as_ref().is_some_and(|(_, task)| !task.is_finished()) {
            return;
        }
        let Some(lease) = self.lease.borrow().clone().filter(PrimaryLease::valid) else { return };
        let (sender, words) = mpsc::channel(WORDS_MAX);
        let leader = Leader {
            store: self.options.store.clone(),
            kinds: self.options.kinds.clone(),
            side: self.options.side.clone(),
            lease,
            words,
            merging: self.options.merging.clone(),
        };
        let task = task::spawn("pair-merge", leader.run(offer));
        self.leader = Some((sender, task));
    }

    /// Everything of this branch is the leader's: begin anew, empty.
    async fn retire(&mut self, branch: BranchId) {
        // From here on until the restart nobody may lead with what is here. Who leads is looked at
        // after that: whoever was told to before has the claim, or leads already.
        if !self.options.claim.take(Claimed::Branch) {
            log::warn!(branch:% = branch; "an operator has told this node to lead: its data is not put away");
            return;
        }
        if !self.is_over(branch) || !self.order(branch).await {
            self.options.claim.leave(Claimed::Branch);
            return;
        }
        log::warn!(branch:% = branch; "all of this branch is merged: starting anew, empty");
        tokio::time::sleep(FAREWELL).await;
        (self.options.restart)();
    }

    /// Whether that is what this node holds, and it does not lead with it.
    fn is_over(&self, branch: BranchId) -> bool {
        let log = self.options.store.log();
        let ours = log.epochs().last().map(|(epoch, _)| *epoch).unwrap_or_default();
        let (state, role) = {
            let status = self.status.borrow();
            (status.pair.state, status.pair.role)
        };
        let leads = role == Role::Primary || self.lease.borrow().is_some();
        let over = state == State::Branched && !leads && ours == branch.epoch;
        if !over {
            log::warn!(branch:% = branch, runbook = "branched"; "the peer took a branch that is not ours");
        }
        over
    }

    /// Orders, durably, that the next start puts this node's data away.
    async fn order(&self, branch: BranchId) -> bool {
        let (disk, dir) = (Arc::clone(&self.options.disk), self.options.data_dir.clone());
        let id = branch.to_string();
        let order = move || swap::retire(disk.as_ref(), &dir, &id);
        match tokio::task::spawn_blocking(order).await {
            Ok(Ok(())) => true,
            Ok(Err(e)) => {
                log::error!(err:% = e, runbook = "branched"; "this node's data cannot be put away");
                false
            }
            Err(e) => {
                log::error!(err:% = e, runbook = "branched"; "this node's data was not put away");
                false
            }
        }
    }
}

impl Offer {
    fn log_state(&self) -> LogState {
        LogState {
            tail: self.tail,
            durable: self.tail,
            committed: self.tail,
            first: self.first,
            history: History::new(self.epochs.clone()),
        }
    }

    /// Which branch this is, seen from our log.
    fn branch(&self, ours: &Offer) -> Option<BranchId> {
        let fork = History::fork(&ours.log_state(), &self.log_state())?;
        let epoch = self.epochs.last().map(|(epoch, _)| *epoch)?;
        Some(BranchId { fork, epoch })
    }
}
