//! What the main process and its guardian say to each other.
//!
//! One message is one packet of a SOCK_SEQPACKET socket, so that none is ever half read. Invariants:
//! no message is longer than [`MESSAGE_LEN_MAX`]; what does not decode is an error, never a panic.
//! Deliberately absent: versions. Both ends are the same program; and no secret: the goodbye comes
//! signed.

use crate::vrrp::driver::ClaimOrder;
use crate::vrrp::{GroupConfig, GroupStatus, PeerGroup, Stand, VrrpEvent};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use understudy_proto::time::Mono;

/// The longest message in bytes: a status of all groups with all their addresses fits.
pub(super) const MESSAGE_LEN_MAX: usize = 128 << 10;

/// The most paths to the peer that a goodbye goes out on.
pub(super) const PATHS_MAX: usize = 16;

/// The longest goodbye in bytes.
pub(super) const GOODBYE_LEN_MAX: usize = 512;

/// Connections of one tickle message; a longer list goes in several.
pub(super) const TICKLE_CHUNK: usize = 1_024;

/// A TCP connection that the node which died held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// Our end: a floating address and a port that we serve.
    pub local: SocketAddr,
    /// The client's end.
    pub remote: SocketAddr,
}

/// What the peer is told when this process has ended, ready to be sent: the guardian holds no key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Goodbye {
    /// The signed datagram; at most 512 bytes.
    pub datagram: Vec<u8>,
    /// Own address (its port is not used) and the peer's, for each path; at most 16.
    pub paths: Vec<(SocketAddr, SocketAddr)>,
}

/// From the main process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Order {
    /// Begin anew with these groups. `run` comes back with everything that belongs to them.
    Start { run: u64, configs: Vec<GroupConfig> },
    /// Where the pair stands.
    Stand(Stand),
    /// The main process lives and may serve until then.
    Pulse { until: Mono },
    /// About an origin's addresses.
    Claim(ClaimOrder),
    /// What the other appliance says of its groups.
    Peer(Vec<PeerGroup>),
    /// What to say for it when it has ended; the last one counts.
    Goodbye(Goodbye),
    /// Connections to be woken once their addresses are here.
    Tickle(Vec<Connection>),
    /// See [`crate::vrrp::Vrrp::reunite`].
    Reunion,
    /// See [`crate::vrrp::Vrrp::hold_newcomers`].
    HoldNewcomers,
    /// Close or open the door of these many listeners, whose descriptors come along.
    Door { number: u64, closed: bool, listeners: usize },
    /// Remove the addresses, send priority 0.
    Stop { run: u64 },
}

/// From the guardian.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Report {
    /// The groups of that run are there.
    Started { run: u64 },
    /// They cannot be.
    Refused { run: u64, reason: String },
    /// Something happened.
    Event { run: u64, event: VrrpEvent },
    /// How things are.
    Status { run: u64, groups: Vec<GroupStatus> },
    /// What the door order of that number came to.
    Door { number: u64, refused: Option<String> },
    /// The addresses of that run are gone.
    Stopped { run: u64 },
    /// The guardian lives.
    Alive,
}

/// Why a message cannot be read or written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum MessageError {
    #[error("a message of {0} bytes; at most {MESSAGE_LEN_MAX} are allowed")]
    Length(usize),
    #[error("a message that cannot be read or written: {0}")]
    Form(#[from] postcard::Error),
}

pub(super) fn encode(message: &impl Serialize) -> Result<Vec<u8>, MessageError> {
    let bytes = postcard::to_allocvec(message)?;
    if bytes.len() > MESSAGE_LEN_MAX { Err(MessageError::Length(bytes.len())) } else { Ok(bytes) }
}

pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, MessageError> {
    if bytes.len() > MESSAGE_LEN_MAX {
        return Err(MessageError::Length(bytes.len()));
    }
    Ok(postcard::from_bytes(bytes)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vrrp::{
        ADDRESSES_PER_GROUP_MAX, Checksum, Claim, Errors, Event, GROUPS_MAX, GroupKind, Interval,
        Priority, State,
    };
    use proptest::prelude::*;
    use understudy_proto::time::UnixMs;

    fn addresses(count: usize) -> Vec<crate::vrrp::FloatingAddress> {
        (0..count).map(|n| format!("10.255.{}.{n}/24", n % 200).parse().unwrap()).collect()
    }

    fn status(addresses_count: usize) -> GroupStatus {
        GroupStatus {
            interface: "fifteen-letters".to_owned(),
            vrid: 255,
            state: State::Active,
            holder: Some([10, 0, 0, 1].into()),
            addresses: addresses(addresses_count),
            adverts_sent: u64::MAX,
            adverts_received: u64::MAX,
            errors: Errors::default(),
            send_errors: u64::MAX,
            fault: Some("x".repeat(500)),
            last_transition: Some(UnixMs(u64::MAX)),
            name: "x".repeat(32),
            kind: GroupKind::Pair,
            priority: u8::MAX,
            claim: Claim::default(),
            order: u64::MAX,
            refusal: Some("x".repeat(200)),
            problem: None,
            source: Some([10, 0, 0, 1].into()),
            word: None,
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let stand = Stand::Holder { priority: Priority::HOLDER };
        let config = GroupConfig {
            checksum: Checksum::MessageOnly,
            ..GroupConfig::new("eth0", 51, addresses(3), Interval::SECOND)
        };
        let end = "10.0.0.1:993".parse().unwrap();
        let six = "[2001:db8::1]:50000".parse().unwrap();
        for order in [
            Order::Start { run: 7, configs: vec![config] },
            Order::Stand(stand),
            Order::Pulse { until: Mono(u64::MAX) },
            Order::Claim(ClaimOrder { group: 3, claim: Some(true), number: 9 }),
            Order::Goodbye(Goodbye { datagram: vec![1; 100], paths: vec![(end, six)] }),
            Order::Tickle(vec![Connection { local: end, remote: six }]),
            Order::HoldNewcomers,
            Order::Reunion,
            Order::Door { number: 5, closed: true, listeners: 3 },
            Order::Stop { run: 7 },
        ] {
            assert_eq!(decode::<Order>(&encode(&order).unwrap()).unwrap(), order);
        }
        let event = VrrpEvent { group: 3, kind: Event::Entered(State::Backup), at: Mono(9) };
        for report in [
            Report::Started { run: 7 },
            Report::Refused { run: 7, reason: "no".to_owned() },
            Report::Event { run: 7, event },
            Report::Status { run: 7, groups: vec![status(2)] },
            Report::Door { number: 7, refused: Some("x".repeat(200)) },
            Report::Stopped { run: 7 },
            Report::Alive,
        ] {
            assert_eq!(decode::<Report>(&encode(&report).unwrap()).unwrap(), report);
        }
    }

    #[test]
    fn the_longest_messages_fit() {
        let groups = vec![status(ADDRESSES_PER_GROUP_MAX); GROUPS_MAX];
        encode(&Report::Status { run: u64::MAX, groups }).unwrap();
        let six = "[2001:db8:ffff:ffff:ffff:ffff:ffff:ffff]:65535".parse().unwrap();
        let connection = Connection { local: six, remote: six };
        encode(&Order::Tickle(vec![connection; TICKLE_CHUNK])).unwrap();
    }

    #[test]
    fn what_is_too_long_is_neither_written_nor_read() {
        let long = Order::Goodbye(Goodbye { datagram: vec![0; MESSAGE_LEN_MAX], paths: vec![] });
        assert!(matches!(encode(&long), Err(MessageError::Length(_))));
        let bytes = vec![0; MESSAGE_LEN_MAX + 1];
        assert_eq!(decode::<Order>(&bytes), Err(MessageError::Length(MESSAGE_LEN_MAX + 1)));
    }

    proptest! {
        #[test]
        fn nothing_that_arrives_is_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
            if let Ok(order) = decode::<Order>(&bytes) {
                prop_assert!(decode::<Order>(&encode(&order).unwrap()).unwrap() == order);
            }
            drop(decode::<Report>(&bytes));
        }

        #[test]
        fn a_cut_or_bent_message_is_refused_or_another(cut in 0_usize..200, bend in any::<u8>()) {
            let mut bytes = encode(&Report::Status { run: 1, groups: vec![status(4)] }).unwrap();
            if let Some(byte) = bytes.get_mut(cut) {
                *byte ^= bend;
            }
            bytes.truncate(bytes.len().saturating_sub(cut));
            drop(decode::<Report>(&bytes));
        }
    }
}
