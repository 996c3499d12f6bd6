//! Beacons: small UDP datagrams on every path, by which a node is heard when the session is not.
//!
//! `proto::pair::Beacon` is their form. Invariants: only the pair's key makes one; a node's own, a
//! reflected or a replayed one does not count. After a restart the peer counts anew under another
//! boot; a boot that has been replaced by another does not come back. Beacons are evidence *against*
//! a takeover: in doubt, one counts. The last one of a process, its goodbye, is signed at its start
//! and sent by its guardian.

use super::{Heard, LinkError, Options};
use crate::base::secret::{self, Secret};
use crate::base::{clock, task};
use crate::net;
use crate::pair::formation::PairIdentity;
use crate::vrrp::guardian::{Goodbye, Guardian};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;
use understudy_proto::id::{Epoch, Lsn, NodeId};
use understudy_proto::pair::frame::BEACON_LEN;
use understudy_proto::pair::{Beacon, Health, PhaseName, Saying};

/// Boots of the peer that are remembered as over.
const BOOTS_MAX: usize = 16;
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
    let boot = secret::random();
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
        let path =
            Path { socket, path, pair: identity.pair.0, node: identity.node, key: key.subscribe() };
        let sending = send(path.clone(), *peer, options.heartbeat, boot, say.subscribe());
        tasks.push(task::spawn("pair-beacon-send", sending));
        tasks.push(task::spawn("pair-beacon-receive", receive(path, heard.clone())));
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
        let says = Saying { phase, seen, durable, stamp: 0, echo: None, health };
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
        let says = Saying { stamp: clock::mono().0, ..said };
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

async fn receive(path: Path, heard: mpsc::Sender<Heard>) {
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
        let Some(beacon) = beacon else {
            log::debug!("datagram at the pair's port is no beacon of the peer");
            continue;
        };
        if replay.is_new(beacon.boot, beacon.sequence) {
            // A driver that is behind will hear the next one.
            let event = Heard { path: path.path, beacon };
            if let Err(mpsc::error::TrySendError::Closed(_)) = heard.try_send(event) {
                return;
            }
        }
    }
}

/// Which beacons of a path have been heard.
#[derive(Default)]
struct Replay {
    boot: Option<[u8; 8]>,
    sequence: u64,
    over: VecDeque<[u8; 8]>,
}

impl Replay {
    fn is_new(&mut self, boot: [u8; 8], sequence: u64) -> bool {
        if self.boot == Some(boot) {
            let new = sequence > self.sequence;
            self.sequence = self.sequence.max(sequence);
            return new;
        }
        if self.over.contains(&boot) {
            return false;
        }
        if let Some(old) = self.boot.replace(boot) {
            if self.over.len() >= BOOTS_MAX {
                self.over.pop_front();
            }
            self.over.push_back(old);
        }
        self.sequence = sequence;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beacon_counts_once_and_a_boot_does_not_return() {
        let mut replay = Replay::default();
        let heard: Vec<bool> = [(1, 5), (1, 5), (1, 4), (1, 6), (2, 1), (1, 7), (2, 2)]
            .into_iter()
            .map(|(boot, sequence)| replay.is_new([boot; 8], sequence))
            .collect();
        assert_eq!(heard, [true, false, false, true, true, false, true]);
    }
}
