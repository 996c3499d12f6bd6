//! Beacons: small UDP datagrams on every path, by which a node is heard when the session is not.
//!
//! ```text
//! "USB1" ‖ node u8 ‖ path u8 ‖ boot [16] ‖ counter u64 ‖ payload ‖ keyed BLAKE3 [16]
//! ```
//! Invariants: only the pair's key makes one; a node's own, a reflected or a replayed one does not
//! count. After a restart the peer counts anew under another boot; a boot that has been replaced by
//! another does not come back. Beacons are evidence *against* a takeover: in doubt, one counts.

use super::{BEACON_LEN_MAX, Beacon, LinkError, Options};
use crate::base::secret::{self, Secret};
use crate::base::task;
use crate::net;
use crate::pair::formation::PairIdentity;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;
use understudy_proto::id::NodeId;

const MAGIC: &[u8; 4] = b"USB1";
const HEAD_LEN: usize = 30;
const MAC_LEN: usize = 16;
/// Boots of the peer that are remembered as over.
const BOOTS_MAX: usize = 16;
/// Pause after receiving failed.
const RECEIVE_PAUSE: Duration = Duration::from_millis(10);

/// Starts a sender and a receiver for each path.
pub(super) fn start(
    options: &Options,
    identity: &PairIdentity,
    key: &watch::Sender<Secret<[u8; 32]>>,
    say: &watch::Sender<Vec<u8>>,
    heard: &mpsc::Sender<Beacon>,
) -> Result<Vec<JoinHandle<()>>, LinkError> {
    let boot = secret::random();
    let mut tasks = Vec::new();
    for (path, (own, peer)) in options.listen.iter().zip(&options.peer).enumerate() {
        let socket = Arc::new(net::datagram(*own)?);
        let number = u8::try_from(path).unwrap_or(u8::MAX);
        let head = Head { node: identity.node, path: number, boot, counter: 0 };
        tasks.push(task::spawn(
            "pair-beacon-send",
            send(
                Arc::clone(&socket),
                *peer,
                options.heartbeat,
                head,
                key.subscribe(),
                say.subscribe(),
            ),
        ));
        let expected = Expected { node: identity.node.peer(), path: number, key: key.subscribe() };
        tasks.push(task::spawn(
            "pair-beacon-receive",
            receive(socket, expected, path, heard.clone()),
        ));
    }
    Ok(tasks)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Head {
    node: NodeId,
    path: u8,
    boot: [u8; 16],
    counter: u64,
}

struct Expected {
    node: NodeId,
    path: u8,
    /// Every join makes a new one, so that a replaced node falls silent.
    key: watch::Receiver<Secret<[u8; 32]>>,
}

async fn send(
    socket: Arc<UdpSocket>,
    peer: SocketAddr,
    heartbeat: Duration,
    mut head: Head,
    key: watch::Receiver<Secret<[u8; 32]>>,
    mut say: watch::Receiver<Vec<u8>>,
) {
    let mut ticks = tokio::time::interval(heartbeat);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut fails = false;
    loop {
        // News goes at once; the same again with every heartbeat.
        tokio::select! {
            _ = ticks.tick() => {}
            changed = say.changed() => if changed.is_err() { return },
        }
        head.counter += 1;
        let bytes = encode(head, &say.borrow_and_update(), key.borrow().expose());
        match socket.send_to(&bytes, peer).await {
            Ok(_) => fails = false,
            Err(e) if !fails => {
                fails = true;
                log::info!(peer:% = peer, err:% = e; "beacons cannot be sent on this path");
            }
            Err(_) => {}
        }
    }
}

async fn receive(
    socket: Arc<UdpSocket>,
    expected: Expected,
    path: usize,
    heard: mpsc::Sender<Beacon>,
) {
    let mut replay = Replay::default();
    let mut buffer = [0; HEAD_LEN + BEACON_LEN_MAX + MAC_LEN + 1];
    loop {
        let len = match socket.recv_from(&mut buffer).await {
            Ok((len, _)) => len,
            Err(e) => {
                // ECONNREFUSED and the like: what an earlier beacon of ours met.
                log::trace!(err:% = e; "beacon not received");
                tokio::time::sleep(RECEIVE_PAUSE).await;
                continue;
            }
        };
        let Some((head, payload)) = decode(buffer.get(..len).unwrap_or_default(), &expected) else {
            log::debug!("datagram at the pair's port is no beacon of the peer");
            continue;
        };
        if replay.is_new(head.boot, head.counter) {
            let beacon = Beacon { path, boot: head.boot, payload: payload.to_vec() };
            // A driver that is behind will hear the next one.
            if let Err(mpsc::error::TrySendError::Closed(_)) = heard.try_send(beacon) {
                return;
            }
        }
    }
}

fn encode(head: Head, payload: &[u8], key: &[u8; 32]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEAD_LEN + payload.len() + MAC_LEN);
    bytes.extend_from_slice(MAGIC);
    bytes.push(head.node.0);
    bytes.push(head.path);
    bytes.extend_from_slice(&head.boot);
    bytes.extend_from_slice(&head.counter.to_be_bytes());
    bytes.extend_from_slice(payload);
    let mac = mac(&bytes, key);
    bytes.extend_from_slice(&mac);
    bytes
}

fn decode<'a>(bytes: &'a [u8], expected: &Expected) -> Option<(Head, &'a [u8])> {
    let (body, found) = bytes.split_last_chunk::<MAC_LEN>()?;
    let right = mac(body, expected.key.borrow().expose());
    // Constant time: no branch on the bytes.
    let differing = right.iter().zip(found).fold(0, |sum, (a, b)| sum | (a ^ b));
    if differing != 0 {
        return None;
    }
    let rest = body.strip_prefix(MAGIC)?;
    let ([node, path], rest) = rest.split_first_chunk::<2>()?;
    let (boot, rest) = rest.split_first_chunk::<16>()?;
    let (counter, payload) = rest.split_first_chunk::<8>()?;
    let head = Head {
        node: NodeId(*node),
        path: *path,
        boot: *boot,
        counter: u64::from_be_bytes(*counter),
    };
    (head.node == expected.node && head.path == expected.path).then_some((head, payload))
}

fn mac(bytes: &[u8], key: &[u8; 32]) -> [u8; MAC_LEN] {
    let mut mac = [0; MAC_LEN];
    blake3::Hasher::new_keyed(key).update(bytes).finalize_xof().fill(&mut mac);
    mac
}

/// Which beacons of a path have been heard.
#[derive(Default)]
struct Replay {
    boot: Option<[u8; 16]>,
    counter: u64,
    over: VecDeque<[u8; 16]>,
}

impl Replay {
    fn is_new(&mut self, boot: [u8; 16], counter: u64) -> bool {
        if self.boot == Some(boot) {
            let new = counter > self.counter;
            self.counter = self.counter.max(counter);
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
        self.counter = counter;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KEY: [u8; 32] = [9; 32];
    const HEAD: Head = Head { node: NodeId(1), path: 2, boot: [3; 16], counter: 4 };

    fn expected() -> Expected {
        Expected { node: NodeId(1), path: 2, key: watch::Sender::new(Secret::new(KEY)).subscribe() }
    }

    proptest! {
        #[test]
        fn beacons_come_back_as_sent(payload in prop::collection::vec(any::<u8>(), 0..BEACON_LEN_MAX)) {
            let bytes = encode(HEAD, &payload, &KEY);
            prop_assert_eq!(decode(&bytes, &expected()), Some((HEAD, payload.as_slice())));
        }

        #[test]
        fn nothing_else_passes(mut bytes in prop::collection::vec(any::<u8>(), 0..100), at in any::<prop::sample::Index>(), bit in 0u8..8) {
            prop_assert!(decode(&bytes, &expected()).is_none());
            // Not even with the right key over nonsense, but never a panic.
            let right = mac(&bytes, &KEY);
            bytes.extend_from_slice(&right);
            prop_assert!(decode(&bytes, &expected()).is_none());
            let mut flipped = encode(HEAD, b"x", &KEY);
            let i = at.index(flipped.len());
            flipped[i] ^= 1 << bit;
            prop_assert!(decode(&flipped, &expected()).is_none());
        }
    }

    #[test]
    fn own_and_foreign_beacons_do_not_count() {
        for head in [Head { node: NodeId(0), ..HEAD }, Head { path: 1, ..HEAD }] {
            assert!(decode(&encode(head, b"", &KEY), &expected()).is_none());
        }
        assert!(decode(&encode(HEAD, b"", &[8; 32]), &expected()).is_none());
    }

    #[test]
    fn a_beacon_counts_once_and_a_boot_does_not_return() {
        let mut replay = Replay::default();
        let heard: Vec<bool> = [(1, 5), (1, 5), (1, 4), (1, 6), (2, 1), (1, 7), (2, 2)]
            .into_iter()
            .map(|(boot, counter)| replay.is_new([boot; 16], counter))
            .collect();
        assert_eq!(heard, [true, false, false, true, true, false, true]);
    }
}
