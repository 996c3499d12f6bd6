//! A peer with the right key that says what it must not: our node refuses, and both can tell why.

use super::*;
use crate::pair::link::{Event, Link, Queue, SessionId};
use understudy_proto::pair::{Frame, Hello, LogState, PhaseName, Sorry, State, VERSION};
use understudy_proto::record::{self, Chain, Header};

/// The peer's identity in the hands of the test.
struct Fake {
    link: Link,
    session: Option<(SessionId, Queue)>,
}

impl Fake {
    fn of(appliance: &Appliance) -> Self {
        let identity = PairIdentity::load(appliance.dir.path()).unwrap().unwrap();
        let options = link::Options {
            listen: vec![appliance.at],
            peer: vec![appliance.peer],
            heartbeat: Duration::from_millis(25),
            silence: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(2),
            reconnect: Duration::from_millis(20),
            data_dir: appliance.dir.path().to_owned(),
            guardian: None,
        };
        Self { link: Link::start(options, identity).unwrap(), session: None }
    }

    /// A new session on which the files agree, up to the other side's Hello.
    async fn meet(&mut self) -> Hello {
        self.session = None;
        loop {
            match soon(self.link.events.recv()).await.unwrap() {
                Event::Up { session, queue, .. } => {
                    queue.send(&Frame::Config { settings: Vec::new() }).unwrap();
                    self.session = Some((session, queue));
                }
                Event::Frame { session, frame: Frame::Hello(hello) }
                    if self.session.as_ref().is_some_and(|(id, _)| *id == session) =>
                {
                    return hello;
                }
                _ => {}
            }
        }
    }

    fn say(&self, frame: &Frame) {
        self.session.as_ref().unwrap().1.send(frame).unwrap();
    }

    /// The next frame that `wanted` takes, whatever else comes.
    async fn hears(&mut self, wanted: impl Fn(&Frame) -> bool) -> Frame {
        soon(async {
            loop {
                match self.link.events.recv().await.unwrap() {
                    Event::Frame { frame, .. } if wanted(&frame) => return frame,
                    _ => {}
                }
            }
        })
        .await
    }

    /// A Hello of node 1 that leads in `epoch`, with the same log as `theirs`.
    fn leads(theirs: &Hello, epoch: Epoch) -> Frame {
        let register = Register {
            epoch,
            seen: epoch,
            holder: NodeId(1),
            insync: Insync::Only(NodeId(1)),
            stale: false,
            ..theirs.register
        };
        let log = LogState { history: theirs.log.history.clone(), ..theirs.log };
        let (version, node, phase) = (VERSION, NodeId(1), PhaseName::Primary);
        Frame::Hello(Hello { version, node, phase, register, log })
    }
}

/// A node 0 that runs, and its peer in the hands of the test.
async fn with_a_fake() -> (Appliance, Process, Appliance, Fake) {
    let (zero, a, one, b) = formed().await;
    b.kill().await;
    let fake = Fake::of(&one);
    (zero, a, one, fake)
}

async fn says(process: &Process, runbook: &str, sentence: &str) {
    process
        .until(sentence, |s| {
            s.problems.iter().any(|p| p.runbook == runbook && p.what.contains(sentence))
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lower_epoch_is_refused_in_a_sentence() {
    let (_zero, a, _one, mut fake) = with_a_fake().await;
    let hello = fake.meet().await;
    let seen = hello.register.seen;
    fake.say(&Frame::Hello(Hello { node: NodeId(1), ..hello }));
    fake.say(&Frame::Records { epoch: Epoch(seen.0 - 1), commit: Lsn(1), bytes: vec![0; 16] });
    let refused = fake.hears(|frame| matches!(frame, Frame::Refuse { .. })).await;
    assert!(matches!(refused, Frame::Refuse { seen: said } if said >= seen), "{refused:?}");
    says(&a, "pair-refused", "speaks for a reign that is over and is refused").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_refused_for_its_lower_epoch_says_so_and_steps_down() {
    let (_zero, a, _one, mut fake) = with_a_fake().await;
    let hello = fake.meet().await;
    a.serving().await;
    let seen = Epoch(hello.register.seen.0 + 7);
    fake.say(&Frame::Hello(Hello { node: NodeId(1), phase: PhaseName::Recovering, ..hello }));
    fake.say(&Frame::Refuse { seen });
    let sentence = format!("it has seen epoch {seen}");
    says(&a, "pair-refused", &sentence).await;
    a.until("out of office", |s| s.pair.epoch.0 > seen.0 || !s.serving).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_does_not_chain_is_refused_and_the_peer_told() {
    let (_zero, a, _one, mut fake) = with_a_fake().await;
    let hello = fake.meet().await;
    let epoch = Epoch(hello.register.seen.0 + 11);
    fake.say(&Fake::leads(&hello, epoch));
    // It steps down and asks anew.
    let hello = fake.meet().await;
    fake.say(&Fake::leads(&hello, epoch));
    fake.say(&Frame::Join { epoch, fork: a.store.log().last().lsn });
    let joined = fake.hears(|frame| matches!(frame, Frame::Joined { .. })).await;
    let Frame::Joined { tail, .. } = joined else { unreachable!() };
    let mut bytes = Vec::new();
    let header = Header {
        len: 1,
        kind: KIND,
        tenant: TenantId::SYSTEM,
        epoch,
        lsn: tail.next(),
        flags: 0,
        nonce: [0; 24],
        chain: Chain::default(),
    };
    // Well formed, but its predecessor is not our last record.
    record::encode(&mut bytes, Chain([9; 24]), &header, b"x");
    fake.say(&Frame::Records { epoch, commit: Lsn(0), bytes });
    let sorry = fake.hears(|frame| matches!(frame, Frame::Sorry(_))).await;
    assert_eq!(sorry, Frame::Sorry(Sorry::Chain { after: tail }));
    says(&a, "branched", &format!("does not continue ours after record {tail}")).await;
    a.until("branched", |s| s.pair.state == State::Branched && !s.serving).await;
    assert_eq!(a.store.log().last().lsn, tail, "nothing was taken");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_peer_says_it_refuses_is_told() {
    let (_zero, a, _one, mut fake) = with_a_fake().await;
    for (sorry, runbook, sentence) in [
        (Sorry::Chain { after: Lsn(4) }, "branched", "refuses our log: it does not continue"),
        (Sorry::Keyring, "pair-keyring", "cannot take our keyring in"),
        (Sorry::Version { version: 99 }, "pair-refused", "speaks version 99"),
    ] {
        fake.meet().await;
        fake.say(&Frame::Sorry(sorry));
        says(&a, runbook, sentence).await;
        fake.session.as_ref().unwrap().1.end_with(&Frame::Goodbye);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_of_another_release_is_refused_on_both_sides() {
    let (_zero, a, _one, mut fake) = with_a_fake().await;
    let hello = fake.meet().await;
    fake.say(&Frame::Hello(Hello { version: 77, node: NodeId(1), ..hello }));
    let sorry = fake.hears(|frame| matches!(frame, Frame::Sorry(_))).await;
    assert_eq!(sorry, Frame::Sorry(Sorry::Version { version: VERSION }));
    says(&a, "pair-refused", "speaks version 77").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_does_not_say_what_its_file_says_is_of_another_release() {
    let (_zero, a, _one, mut fake) = with_a_fake().await;
    loop {
        if let Event::Up { session, queue, .. } = soon(fake.link.events.recv()).await.unwrap() {
            queue.send(&Frame::Refuse { seen: Epoch(1) }).unwrap();
            fake.session = Some((session, queue));
            break;
        }
    }
    says(&a, "pair-refused", "runs another release").await;
    // On the next session it does.
    fake.session.as_ref().unwrap().1.end_with(&Frame::Goodbye);
    fake.meet().await;
    let gone = |s: &PairStatus| !s.problems.iter().any(|p| p.what.contains("another release"));
    a.until("settled", gone).await;
}
