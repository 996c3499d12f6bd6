//! Beacons: small UDP datagrams on every path, by which a node is heard when the session is not.
//!
//! `proto::pair::Beacon` is their form. Invariants: only the pair's key makes one; a node's own, a
//! reflected or a replayed one does not count. After a restart the peer counts anew under another
//! boot, which takes the old one's place when it answers what this process has said ([`Replay`]).
//! Beacons are evidence *against* a takeover: in doubt, one counts. The last one of a process, its goodbye, is signed at its start
//! and sent by its guardian.

use super::{Heard, LinkError, Options};
use crate::base::secret::{self, Secret};
use crate::base::{clock, task};
use crate::net;
use crate::pair::formation::PairIdentity;
use crate::vrrp::guardian::{Goodbye, Guardian};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;
use understudy_proto::id::{Epoch, Lsn, NodeId};
use understudy_proto::pair::frame::BEACON_LEN;
use understudy_proto::pair::{Beacon, Health, PhaseName, Saying};
use understudy_proto::time::Mono;

/// Pause after receiving failed.
const RECEIVE_PAUSE: Duration = Duration::from_millis(10);

/// Starts a sender and a receiver for each path.
pub(super) fn start(
    options: &Options,
    identity: &PairIdentity,
    key: &watch::Sender<Secret<[u8; 32]>>,
    say: &watch::Sender<Option<Saying>>,
    heard: &mpsc::Sender<Heard>,
) -> Result<Vec<JoinHandle<()>>, LinkError> {
    let (boot, stamps) = (secret::random(), Stamps::new());
    let mut tasks = Vec::new();
    if let Some(guardian) = &options.guardian {
        let last = Last {
            guardian: guardian.clone(),
            pair: identity.pair.0,
            node: identity.node,
            boot,
            paths: options.listen.iter().copied().zip(options.peer.iter().copied()).collect(),
        };
        let mut key = key.subscribe();
        last.say_with(key.borrow_and_update().expose());
        tasks.push(task::spawn("pair-goodbye", last.follow(key)));
    }
    for (path, (own, peer)) in options.listen.iter().zip(&options.peer).enumerate() {
        let socket = Arc::new(net::datagram(*own)?);
        let path = Path {
            socket,
            path,
            pair: identity.pair.0,
            node: identity.node,
            key: key.subscribe(),
            stamps,
            answer: Arc::default(),
        };
        let sending = send(path.clone(), *peer, options.heartbeat, boot, say.subscribe());
        tasks.push(task::spawn("pair-beacon-send", sending));
        tasks.push(task::spawn(
            "pair-beacon-receive",
            receive(path, options.silence, heard.clone()),
        ));
    }
    Ok(tasks)
}

/// The last beacon of this process, which its guardian sends.
struct Last {
    guardian: Guardian,
    pair: [u8; 16],
    node: NodeId,
    boot: [u8; 8],
    paths: Vec<(SocketAddr, SocketAddr)>,
}

impl Last {
    /// Signs it now: the guardian has no key. What else a beacon says is nobody's concern then.
    fn say_with(&self, key: &[u8; 32]) {
        let (phase, seen, durable) = (PhaseName::Gone, Epoch(0), Lsn(0));
        let health = Health::default();
        let says = Saying { phase, seen, durable, stamp: 0, echo: None, answer: None, health };
        let (pair, node, boot) = (self.pair, self.node, self.boot);
        let beacon = Beacon { pair, node, says, sequence: u64::MAX, boot };
        let datagram = beacon.encode(key);
        self.guardian.goodbye_with(Goodbye { datagram, paths: self.paths.clone() });
    }

    async fn follow(self, mut key: watch::Receiver<Secret<[u8; 32]>>) {
        while key.changed().await.is_ok() {
            self.say_with(key.borrow_and_update().expose());
        }
    }
}

#[derive(Clone)]
struct Path {
    socket: Arc<UdpSocket>,
    path: usize,
    pair: [u8; 16],
    node: NodeId,
    /// Every join makes a new one, so that a replaced node falls silent.
    key: watch::Receiver<Secret<[u8; 32]>>,
    stamps: Stamps,
    /// The peer's newest stamp; 0 before the first.
    answer: Arc<AtomicU64>,
}

async fn send(
    path: Path,
    peer: SocketAddr,
    heartbeat: Duration,
    boot: [u8; 8],
    mut say: watch::Receiver<Option<Saying>>,
) {
    let mut ticks = tokio::time::interval(heartbeat);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut sequence = 0;
    let mut fails = false;
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            changed = say.changed() => if changed.is_err() { return },
        }
        let Some(said) = *say.borrow_and_update() else { continue };
        let answer = Some(path.answer.load(Ordering::Relaxed)).filter(|stamp| *stamp > 0);
        let stamp = path.stamps.said(clock::mono());
        let says = Saying { stamp, answer: said.echo.or(answer), ..said };
        sequence += 1;
        let (pair, node) = (path.pair, path.node);
        let beacon = Beacon { pair, node, says, sequence, boot };
        let bytes = beacon.encode(path.key.borrow().expose());
        match path.socket.send_to(&bytes, peer).await {
            Ok(_) => fails = false,
            Err(e) if !fails => {
                fails = true;
                log::info!(peer:% = peer, err:% = e; "beacons cannot be sent on this path");
            }
            Err(_) => {}
        }
    }
}

async fn receive(path: Path, quiet: Duration, heard: mpsc::Sender<Heard>) {
    let mut replay = Replay::default();
    let mut buffer = [0; BEACON_LEN + 1];
    loop {
        let len = match path.socket.recv_from(&mut buffer).await {
            Ok((len, _)) => len,
            Err(e) => {
                // ECONNREFUSED and the like: what an earlier beacon of ours met.
                log::trace!(err:% = e; "beacon not received");
                tokio::time::sleep(RECEIVE_PAUSE).await;
                continue;
            }
        };
        let datagram = buffer.get(..len).unwrap_or_default();
        let beacon = Beacon::decode(datagram, path.key.borrow().expose())
            .filter(|b| b.pair == path.pair && b.node == path.node.peer());
        let Some(mut beacon) = beacon else {
            log::debug!("datagram at the pair's port is no beacon of the peer");
            continue;
        };
        let now = clock::mono();
        let when = |stamp: Option<u64>| stamp.and_then(|stamp| path.stamps.when(stamp, now));
        beacon.says.echo = when(beacon.says.echo);
        beacon.says.answer = when(beacon.says.answer);
        if replay.counts(&beacon, now, quiet) {
            path.answer.store(beacon.says.stamp, Ordering::Relaxed);
            // A driver that is behind will hear the next one.
            let event = Heard { path: path.path, beacon };
            if let Err(mpsc::error::TrySendError::Closed(_)) = heard.try_send(event) {
                return;
            }
        }
    }
}

/// This process's clock as it is said to the peer: from a random start, so that an answer to an
/// earlier process, or to this machine before it booted, fits no moment of it.
#[derive(Clone, Copy)]
struct Stamps(u64);

impl Stamps {
    fn new() -> Self {
        // Without its two highest bits: a stamp never overflows.
        Self(u64::from_be_bytes(secret::random()) >> 2)
    }

    fn said(self, at: Mono) -> u64 {
        at.0.saturating_add(self.0)
    }

    /// When this process said that stamp; `None` if it cannot have.
    fn when(self, stamp: u64, now: Mono) -> Option<u64> {
        stamp.checked_sub(self.0).filter(|at| *at <= now.0)
    }
}

/// Which beacons of a path count.
///
/// Whoever has recorded beacons can say them again to a process that has heard none yet. Only an
/// answer to a stamp of this process proves that a start of the peer lives; a later answer alone
/// takes that place. What proves nothing is heard only while nobody else is: in doubt, one counts.
#[derive(Default)]
struct Replay {
    /// The start that answers us, and the newest number of it.
    proven: Option<([u8; 8], u64)>,
    /// The newest of our stamps that was answered.
    answered: u64,
    /// When it was last heard.
    heard: Mono,
    /// Another start that has not answered.
    doubtful: Option<([u8; 8], u64)>,
}

impl Replay {
    /// Whether a beacon counts. A proven start that was silent for `quiet` does not silence others.
    fn counts(&mut self, beacon: &Beacon, now: Mono, quiet: Duration) -> bool {
        let (boot, sequence, answer) = (beacon.boot, beacon.sequence, beacon.says.answer);
        let known = self.proven.filter(|(proven, _)| *proven == boot);
        let new = match known {
            Some((_, newest)) => sequence > newest,
            None => answer.is_some_and(|answer| answer > self.answered),
        };
        if new {
            self.proven = Some((boot, sequence));
            self.answered = self.answered.max(answer.unwrap_or(0));
            self.heard = now;
            self.doubtful = None;
        }
        if new || known.is_some() || beacon.says.phase == PhaseName::Gone {
            return new; // A goodbye ends promises: only of whom is known to live.
        }
        if self.proven.is_some() && now.since(self.heard) < quiet {
            return false;
        }
        let doubtful = self.doubtful.is_none_or(|(b, newest)| b != boot || sequence > newest);
        if doubtful {
            self.doubtful = Some((boot, sequence));
        }
        doubtful
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUIET: Duration = Duration::from_millis(250);

    fn beacon(boot: u8, sequence: u64, answer: Option<u64>) -> Beacon {
        let phase = if sequence == u64::MAX { PhaseName::Gone } else { PhaseName::Primary };
        let (seen, durable, health) = (Epoch(1), Lsn(1), Health::default());
        let says = Saying { phase, seen, durable, stamp: 1, echo: None, answer, health };
        Beacon { pair: [0; 16], node: NodeId(0), says, sequence, boot: [boot; 8] }
    }

    fn hear(replay: &mut Replay, ms: u64, what: &[(u8, u64, Option<u64>)]) -> Vec<bool> {
        let count = |(boot, sequence, answer): &(u8, u64, Option<u64>)| {
            let beacon = beacon(*boot, *sequence, *answer);
            replay.counts(&beacon, Mono(ms * 1_000), QUIET)
        };
        what.iter().map(count).collect()
    }

    #[test]
    fn a_beacon_counts_once_and_a_start_that_answers_takes_the_others_place() {
        let mut replay = Replay::default();
        let said = [(1, 5, None), (1, 5, None), (1, 4, None), (1, 6, Some(10)), (1, 6, Some(10))];
        assert_eq!(hear(&mut replay, 1, &said), [true, false, false, true, false]);
        let restarted = [(2, 1, None), (2, 2, Some(11)), (1, 7, Some(10)), (2, 3, Some(11))];
        assert_eq!(hear(&mut replay, 2, &restarted), [false, true, false, true]);
    }

    /// The receiver restarts, hears the living peer, and is then told an old recording: the old
    /// start took the living one's place, which was never heard again on that path.
    #[test]
    fn recorded_beacons_do_not_mute_the_living_peer() {
        let mut replay = Replay::default();
        let told =
            [(1, 5, Some(10)), (9, 700, None), (1, 6, Some(11)), (9, 701, None), (1, 7, None)];
        assert_eq!(hear(&mut replay, 1, &told), [true, false, true, false, true]);
        // The recording comes first.
        let mut replay = Replay::default();
        let told = [(9, 700, None), (1, 5, None), (9, 701, None), (1, 6, Some(10)), (9, 702, None)];
        assert_eq!(hear(&mut replay, 1, &told), [true, true, true, true, false]);
        // Where nobody else is heard, in doubt it counts.
        assert_eq!(hear(&mut replay, 252, &[(9, 703, None), (1, 7, Some(11))]), [true, true]);
    }

    #[test]
    fn only_who_lives_says_goodbye() {
        let mut replay = Replay::default();
        assert_eq!(hear(&mut replay, 1, &[(1, 5, None), (1, u64::MAX, None)]), [true, false]);
        let told = [(1, 6, Some(10)), (2, u64::MAX, None), (1, u64::MAX, None), (1, 7, Some(12))];
        assert_eq!(hear(&mut replay, 2, &told), [true, false, true, false]);
    }

    #[test]
    fn a_stamp_of_another_process_is_no_answer() {
        let (one, two, now) = (Stamps::new(), Stamps::new(), Mono(90_000_000));
        assert_eq!(one.when(one.said(Mono(5)), now), Some(5));
        assert_eq!(one.when(one.said(Mono(now.0 + 1)), now), None, "not said yet");
        assert_eq!(two.when(one.said(Mono(5)), now), None);
    }
}
