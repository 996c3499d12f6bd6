//! A pair with a witness: it decides, goes away, comes back, has forgotten; files that disagree.

use super::*;
use crate::pair::formation::PairIdentity;
use crate::pair::witness::{Held, PairEntry, Server, ServerOptions, init};
use understudy_proto::pair::witness::WitnessRegister;

/// The third machine: its folder and address outlive its process.
struct Third {
    dir: TempDir,
    at: SocketAddr,
    pin: Pin,
}

impl Third {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let pin = init(dir.path()).unwrap();
        Self { dir, at: free(), pin }
    }

    /// A pair that is told of it.
    fn pair(&self) -> (Appliance, Appliance) {
        let (mut zero, mut one) = Appliance::pair();
        (zero.witness, one.witness) = (Some((self.at, self.pin)), Some((self.at, self.pin)));
        (zero, one)
    }

    fn serve(&self, nodes: [&Appliance; 2]) -> Server {
        let identities = nodes.map(|node| PairIdentity::load(node.dir.path()).unwrap().unwrap());
        let pins = identities.iter().map(|id| Pin::of_pem(&id.certificate_pem).unwrap()).collect();
        Server::start(ServerOptions {
            listen: self.at,
            dir: self.dir.path().to_owned(),
            disk: Arc::new(RealDisk),
            pairs: vec![PairEntry { id: identities[0].pair, pins }],
            idle_timeout: Duration::from_secs(30),
        })
        .unwrap()
    }

    /// Where it keeps what it holds for the pair.
    fn file(&self, node: &Appliance) -> PathBuf {
        let id = PairIdentity::load(node.dir.path()).unwrap().unwrap();
        self.dir.path().join("registers").join(id.pair.to_string())
    }
}

/// Ends it; returns when its folder and port are free.
async fn end(server: Server) {
    drop(server);
    tokio::time::sleep(Duration::from_millis(100)).await;
}

fn held(status: &PairStatus) -> Option<WitnessRegister> {
    match status.witness.as_ref()?.held {
        Held::Register(register) => Some(register),
        Held::Unknown | Held::Nothing => None,
    }
}

impl Process {
    async fn witnessed(&self) {
        self.until("under a witness", |s| {
            let epoch = s.pair.epoch;
            let w = s.pair.witness;
            w.in_force && w.reachable && held(s).is_some_and(|held| held.epoch == epoch)
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_takeover_is_the_witnesss_word() {
    let third = Third::new();
    let (zero, a, one, b) = formed_with(third.pair()).await;
    let _server = third.serve([&zero, &one]);
    a.witnessed().await;
    b.witnessed().await;
    a.paired().await;
    a.set("before").await;
    let reign = a.pair.status().borrow().pair.epoch;
    a.kill().await;
    b.serving().await;
    b.shows("before").await;
    b.witnessed().await;
    let status = b.pair.status().borrow().clone();
    let now = held(&status).unwrap();
    assert!(now.epoch > reign && now.holder == NodeId(1), "{now:?}");
    assert!(status.witness.is_some_and(|w| w.reachable && w.round_trip.is_some()));
    b.set("meanwhile").await;
    let a = zero.boot();
    a.paired().await;
    a.shows("meanwhile").await;
    b.witnessed().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_witness_that_restarts_disturbs_nobody() {
    let third = Third::new();
    let (zero, a, one, b) = formed_with(third.pair()).await;
    let server = third.serve([&zero, &one]);
    a.witnessed().await;
    b.witnessed().await;
    end(server).await;
    a.until("without the witness", |s| !s.pair.witness.reachable).await;
    a.set("nobody asks it").await;
    assert_eq!(a.pair.status().borrow().pair.state, State::Pair);
    let problem = a.pair.status().borrow().witness.clone().and_then(|w| w.problem);
    assert!(problem.is_some());
    let _server = third.serve([&zero, &one]);
    a.witnessed().await;
    // And it decides again.
    a.kill().await;
    b.serving().await;
    b.shows("nobody asks it").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_witness_with_another_key_is_not_believed() {
    let third = Third::new();
    let (mut zero, mut one) = third.pair();
    (zero.witness, one.witness) = (Some((third.at, Pin([9; 32]))), Some((third.at, Pin([9; 32]))));
    let (zero, a, one, b) = formed_with((zero, one)).await;
    let _server = third.serve([&zero, &one]);
    a.until("told why", |s| {
        let problem = s.witness.as_ref().and_then(|w| w.problem.as_deref());
        problem.is_some_and(|text| text.contains("expects the pin 0909"))
    })
    .await;
    assert!(!a.pair.status().borrow().pair.witness.in_force);
    // The pair works by its own rules.
    a.set("here").await;
    b.shows("here").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_witness_that_was_rolled_back_is_seeded_anew() {
    let third = Third::new();
    let (zero, a, one, b) = formed_with(third.pair()).await;
    let server = third.serve([&zero, &one]);
    a.witnessed().await;
    b.witnessed().await;
    a.paired().await;
    let old = std::fs::read(third.file(&zero)).unwrap();
    a.pair.handover(OPERATOR).await.unwrap();
    b.serving().await;
    b.paired().await;
    b.witnessed().await;
    let reign = b.pair.status().borrow().pair.epoch;
    end(server).await;
    assert_ne!(std::fs::read(third.file(&zero)).unwrap(), old);
    std::fs::write(third.file(&zero), &old).unwrap();
    let _server = third.serve([&zero, &one]);
    b.until("seeded anew", |s| held(s).is_some_and(|held| held.epoch >= reign)).await;
    b.witnessed().await;
    b.paired().await;
    b.set("after").await;
    a.shows("after").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_disagree_are_named_on_both_and_nobody_is_admitted() {
    let (zero, a, mut one, b) = formed().await;
    b.kill().await;
    one.agreement = vec![("[pair] lease_ms".to_owned(), "80".to_owned())];
    let b = one.boot();
    for (node, said) in [(&a, "missing here and 80 there"), (&b, "80 here and missing there")] {
        node.until("told where they differ", |s| {
            let found = s.problems.iter().find(|p| p.runbook == "pair-config-differs");
            found.is_some_and(|p| p.what.contains(said))
        })
        .await;
    }
    // Whoever serves goes on; the other is not let in.
    a.set("alone").await;
    assert!(!a.pair.status().borrow().pair.linked && !b.pair.status().borrow().pair.linked);
    b.kill().await;
    one.agreement = Vec::new();
    let b = one.boot();
    a.paired().await;
    b.paired().await;
    a.until("content", |s| s.problems.is_empty()).await;
    drop(zero);
}
