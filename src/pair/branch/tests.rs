//! What the branch's own node does when its data is merged, and what stays to be seen.

use super::*;
use crate::store::StoreOptions;
use crate::store::disk::RealDisk;
use std::sync::atomic::{AtomicBool, Ordering};
use tempfile::TempDir;
use understudy_proto::id::NodeId;
use understudy_proto::pair::{Status, Waiting};
use understudy_proto::rule::Registry;

struct Bench {
    job: Job,
    dir: TempDir,
    restarted: Arc<AtomicBool>,
    lease: watch::Sender<Option<PrimaryLease>>,
    status: watch::Sender<PairStatus>,
    merging: watch::Receiver<Option<MergeStatus>>,
}

fn branched() -> PairStatus {
    let pair = Status {
        node: NodeId(0),
        state: State::Branched,
        rpo_zero: false,
        role: Role::Standby,
        epoch: Epoch(0),
        linked: true,
        tail: Lsn(0),
        durable: Lsn(0),
        committed: Lsn(0),
        peer_durable: None,
        waiting: Waiting::Nothing,
        branch: Some(Lsn(0)),
        witness: Default::default(),
        peer: None,
    };
    PairStatus {
        pair,
        standalone: false,
        serving: false,
        applied: Lsn(0),
        insync: Vec::new(),
        paths: Vec::new(),
        unconfirmed: None,
        certificate_expires: None,
        problems: Vec::new(),
        last_promotion: None,
        witness: None,
        copy: None,
    }
}

fn bench() -> Bench {
    let dir = tempfile::tempdir().unwrap();
    let store_options = StoreOptions::new(dir.path(), NodeId(0));
    let store = Store::open(Arc::new(RealDisk), store_options, Registry::default()).unwrap();
    let restarted = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&restarted);
    let (merging_in, merging) = watch::channel(None);
    let (lease, lease_out) = watch::channel(None);
    let (status, status_out) = watch::channel(branched());
    let options = Options {
        store,
        disk: Arc::new(RealDisk),
        data_dir: dir.path().to_owned(),
        side: Side::new(),
        restart: Arc::new(move || seen.store(true, Ordering::Relaxed)),
        kinds: Kinds::default(),
        merging: merging_in,
        claim: Claim::default(),
    };
    let (up, stream, unanswered, leader) = (true, None, 0, None);
    let job = Job { options, status: status_out, lease: lease_out, up, stream, unanswered, leader };
    Bench { job, dir, restarted, lease, status, merging }
}

impl Bench {
    /// The peer says that it has merged this node's branch: whether the data is put away.
    async fn taken(&mut self) -> bool {
        self.restarted.store(false, Ordering::Relaxed);
        self.job.hear(Word::Taken(BranchId::default())).await;
        let ordered = self.dir.path().join("retire").exists();
        assert_eq!(self.restarted.load(Ordering::Relaxed), ordered);
        ordered
    }

    /// Whether an operator could tell this node to lead now.
    fn may_be_forced(&self) -> bool {
        let may = self.job.options.claim.take(Claimed::Forced);
        self.job.options.claim.leave(Claimed::Forced);
        may
    }
}

#[tokio::test]
async fn a_branch_is_not_put_away_under_an_operator_who_leads_with_it() {
    let mut bench = bench();
    // Told to lead, and not yet there.
    assert!(bench.job.options.claim.take(Claimed::Forced));
    assert!(!bench.taken().await);
    assert!(!bench.job.options.claim.take(Claimed::Branch), "it is the operator's still");
    bench.job.options.claim.leave(Claimed::Forced);
    // It leads.
    let (lease, _control) = PrimaryLease::mint(Epoch(2));
    bench.lease.send_replace(Some(lease));
    assert!(!bench.taken().await);
    assert!(bench.may_be_forced(), "it was given back");
    bench.lease.send_replace(None);
    bench.status.send_modify(|s| s.pair.role = Role::Primary);
    assert!(!bench.taken().await && bench.may_be_forced());
    bench.status.send_modify(|s| s.pair.role = Role::Standby);
    // The disk refuses.
    let dir = bench.dir.path().to_owned();
    bench.job.options.data_dir = dir.join("nowhere");
    assert!(!bench.taken().await && bench.may_be_forced());
    bench.job.options.data_dir = dir;
    assert!(bench.taken().await);
    assert!(!bench.may_be_forced(), "what it would lead with is put away at the next start");
}

#[tokio::test]
async fn why_a_merge_stands_still_stays_to_be_seen() {
    let mut bench = bench();
    let stopped = MergeStatus { stopped: Some("no fork".into()), ..MergeStatus::default() };
    bench.job.options.merging.send_replace(Some(stopped.clone()));
    // The leader's task said so and ended; what the branch sent meanwhile comes after.
    let (sender, words) = mpsc::channel(1);
    drop(words);
    bench.job.leader = Some((sender, task::spawn("ended", std::future::ready(()))));
    bench.job.hear(Word::Pieces(Vec::new())).await;
    bench.job.hear(Word::End).await;
    assert_eq!(*bench.merging.borrow(), Some(stopped));
    // One that is flooded is ended: the branch sends more than it may.
    let (sender, words) = mpsc::channel(1);
    let flooded = task::spawn("flooded", std::future::pending::<()>());
    bench.job.leader = Some((sender, flooded));
    bench.job.hear(Word::Pieces(Vec::new())).await;
    assert!(bench.job.leader.is_some());
    bench.job.hear(Word::End).await;
    assert!(bench.job.leader.is_none() && bench.merging.borrow().is_none());
    drop(words);
}
