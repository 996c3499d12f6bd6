//! What the two nodes say to each other: frames on the session, beacons beside it.
//!
//! A frame is `u32` length (big-endian, of what follows), `u8` type, body. Bodies are postcard, except
//! that of records, which are the log's own bytes. A session is an ordered, encrypted, mutually
//! authenticated stream; a beacon is one UDP datagram with a keyed BLAKE3 tag.

use super::health::Health;
use super::history::LogState;
use super::register::{Arbitration, Register};
use crate::codec;
use crate::id::{Epoch, Lsn, NodeId};
use serde::{Deserialize, Serialize};

/// Longest frame in bytes: two MiB of records and their head. Longer ones close the session.
pub const FRAME_LEN_MAX: usize = 2 * 1024 * 1024 + 1024;
/// The version that this release speaks. It goes up with every change of a frame, and of what a record
/// can hold: a peer that cannot read the log must not be let in.
pub const VERSION: u16 = 3;
/// Length of a beacon in bytes.
pub const BEACON_LEN: usize = 92;
const BEACON_MAGIC: &[u8; 4] = b"USB2";
const TAG_LEN: usize = 16;
const RECORDS: u8 = 1;
const OTHER: u8 = 2;
/// Length of the numbers before the records in a records frame.
const RECORDS_HEAD: usize = 16;

/// Which part a node plays, as it tells the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PhaseName {
    /// Plays none, and will play none without being asked.
    Recovering,
    /// Holds the epoch.
    Primary,
    /// Follows the holder.
    Standby,
    /// Has committed changes that the other lacks, and the other way round.
    Branched,
    /// Its main process has ended and its addresses are removed: the guardian's goodbye.
    Gone,
}

/// The first frame of each side on a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`VERSION`] of the sender.
    pub version: u16,
    /// Who speaks.
    pub node: NodeId,
    /// Its part.
    pub phase: PhaseName,
    /// Its durable register.
    pub register: Register,
    /// Its log.
    pub log: LogState,
}

/// A frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Frame {
    /// Who is there, and what it has.
    Hello(Hello),
    /// "I am alive"; carries nothing.
    Ping,
    /// Primary: be my standby. Your log equals mine up to `fork`; put aside what you have after it.
    Join {
        /// The reign.
        epoch: Epoch,
        /// Last record in common.
        fork: Lsn,
    },
    /// Standby: my log ends here and is durable; go on from it.
    Joined {
        /// The reign.
        epoch: Epoch,
        /// My last record.
        tail: Lsn,
    },
    /// Primary: whole encoded records, in order, and how far the log is committed.
    Records {
        /// The reign.
        epoch: Epoch,
        /// Committed so far.
        commit: Lsn,
        /// The log's bytes.
        bytes: Vec<u8>,
    },
    /// Standby: durable here up to `durable`.
    Ack {
        /// The reign.
        epoch: Epoch,
        /// Last durable record.
        durable: Lsn,
    },
    /// Primary: committed up to `lsn`.
    Commit {
        /// The reign.
        epoch: Epoch,
        /// Last committed record.
        lsn: Lsn,
    },
    /// Primary: you are insync from this epoch on; it is recorded here.
    Admit {
        /// The new reign.
        epoch: Epoch,
        /// Who decides about the next one.
        arbitration: Arbitration,
    },
    /// Standby: recorded here too.
    Admitted {
        /// The reign.
        epoch: Epoch,
    },
    /// Neither is primary: I lead, in this epoch, once you have recorded that you follow.
    Lead {
        /// The new reign.
        epoch: Epoch,
    },
    /// Recorded: I do not promote by myself any more.
    Follow {
        /// The reign.
        epoch: Epoch,
    },
    /// Primary: take over, in this epoch; I write nothing any more and you have everything.
    HandoverGo {
        /// The new reign.
        epoch: Epoch,
    },
    /// I hold this epoch, with both insync; follow me.
    Reign {
        /// The reign.
        epoch: Epoch,
    },
    /// Primary: who decides is about to change; record that you obey neither until you hear.
    Limbo {
        /// The reign.
        epoch: Epoch,
    },
    /// Standby: recorded here.
    InLimbo {
        /// The reign.
        epoch: Epoch,
    },
    /// I have seen a higher epoch than yours.
    Refuse {
        /// The highest that I have seen.
        seen: Epoch,
    },
    /// I stop in good order.
    Goodbye,
    /// Primary: you may have acknowledged changes after `fork` that I lack, and the other way round.
    Branched {
        /// The last record in common.
        fork: Lsn,
    },
    /// The sender's keyring. The machine does not see it.
    Keyring {
        /// Its version at the sender.
        version: u64,
        /// All keys; the session is encrypted.
        keys: Vec<u8>,
    },
    /// A keyring is durable here. The machine does not see it.
    KeyringAck {
        /// Of that version.
        version: u64,
    },
    /// What else travels between the two appliances (snapshots, branches, what makes clients come
    /// back quickly). The machine does not see it.
    Side {
        /// What it is about; the driver's table.
        topic: u8,
        /// Of that topic.
        bytes: Vec<u8>,
    },
    /// The sender's settings that must be equal on both nodes: the first frame of each side. The
    /// machine does not see it.
    Config {
        /// Names and values.
        settings: Vec<(String, String)>,
    },
    /// Why the sender ends the session right after this. The machine does not see it.
    Sorry(Sorry),
}

/// What the sender of [`Frame::Sorry`] refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Sorry {
    /// The records do not continue the sender's log, which ends with this one.
    Chain {
        /// The sender's last record.
        after: Lsn,
    },
    /// The keyring cannot be taken in.
    Keyring,
    /// The Hello is of another version than this one.
    Version {
        /// [`VERSION`] of the sender.
        version: u16,
    },
}

/// Bytes that are no frame. The session is closed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Longer than [`FRAME_LEN_MAX`], or empty.
    #[error("a frame of {0} bytes")]
    Length(usize),
    /// The body cannot be read.
    #[error("a frame that cannot be read: {0}")]
    Body(String),
}

impl Frame {
    /// The frame as bytes, length first.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let body = match self {
            Self::Records { epoch, commit, bytes } => {
                let mut body = Vec::with_capacity(bytes.len().saturating_add(RECORDS_HEAD + 5));
                body.push(RECORDS);
                body.extend_from_slice(&epoch.0.to_be_bytes());
                body.extend_from_slice(&commit.0.to_be_bytes());
                body.extend_from_slice(bytes);
                body
            }
            other => {
                let mut body = vec![OTHER];
                body.extend_from_slice(&codec::encode(other));
                body
            }
        };
        let mut out = Vec::with_capacity(body.len().saturating_add(4));
        out.extend_from_slice(&u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes());
        out.extend_from_slice(&body);
        out
    }

    /// How many bytes follow a length field, if that many are allowed.
    pub fn body_len(length: [u8; 4]) -> Result<usize, FrameError> {
        let len = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        if len == 0 || len > FRAME_LEN_MAX { Err(FrameError::Length(len)) } else { Ok(len) }
    }

    /// Reads what follows the length field.
    pub fn decode(body: &[u8]) -> Result<Self, FrameError> {
        let unreadable = |why: &str| FrameError::Body(why.to_owned());
        match body.split_first() {
            Some((&RECORDS, rest)) => {
                let (head, bytes) = rest
                    .split_at_checked(RECORDS_HEAD)
                    .ok_or_else(|| unreadable("records without a head"))?;
                let epoch = codec::u64_at(head, 0).unwrap_or_default();
                let commit = codec::u64_at(head, 8).unwrap_or_default();
                let (epoch, commit) = (Epoch(epoch), Lsn(commit));
                Ok(Self::Records { epoch, commit, bytes: bytes.to_vec() })
            }
            Some((&OTHER, rest)) => match codec::decode("frame", rest) {
                Ok(Self::Records { .. }) => Err(unreadable("records in a frame of another type")),
                Ok(frame) => Ok(frame),
                Err(e) => Err(FrameError::Body(e.to_string())),
            },
            Some((other, _)) => Err(FrameError::Body(format!("type {other}"))),
            None => Err(FrameError::Length(0)),
        }
    }
}

/// What a node says of itself in its beacons; [`super::Machine::beacon`] gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Saying {
    /// Its part.
    pub phase: PhaseName,
    /// The highest epoch that it has durably seen.
    pub seen: Epoch,
    /// Its last durable record.
    pub durable: Lsn,
    /// The sender's CLOCK_BOOTTIME at sending, in microseconds. A link that repeats a saying sets it
    /// anew each time.
    pub stamp: u64,
    /// A read lease: the newest stamp of the primary that this node has heard and stands by. It
    /// begins no reign before `lease` and a tenth have passed since it heard that stamp.
    pub echo: Option<u64>,
    /// The newest stamp of the peer that the sender has heard on that path, or the echo: whoever
    /// said that stamp knows that this beacon is no older. The link sets it.
    pub answer: Option<u64>,
    /// Its own health.
    pub health: Health,
}

/// "I am here": sent on every path, several times in the time that a takeover takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beacon {
    /// Which pair.
    pub pair: [u8; 16],
    /// Who speaks.
    pub node: NodeId,
    /// What it says.
    pub says: Saying,
    /// Counts up from the sender's start, so that an old datagram is known as such. A goodbye
    /// ([`PhaseName::Gone`]) carries [`u64::MAX`]: nothing of that start counts after it.
    pub sequence: u64,
    /// Random number of the sender's start.
    pub boot: [u8; 8],
}

/// The echo is there.
const ECHO: u8 = 1;
/// The service interface is in fault. Not set by releases that do not know of it.
const UNFIT: u8 = 2;
/// The disk's room is there, where such releases say zero.
const ROOM: u8 = 4;
/// The stamp is there, but grants nothing.
const ANSWER: u8 = 8;
/// The log has hardly room to go on. Not set by releases that do not know of it.
const FULL: u8 = 16;

impl Beacon {
    /// The datagram.
    #[must_use]
    pub fn encode(&self, key: &[u8; 32]) -> Vec<u8> {
        let says = &self.says;
        let mut out = Vec::with_capacity(BEACON_LEN);
        out.extend_from_slice(BEACON_MAGIC);
        out.extend_from_slice(&self.pair);
        out.push(self.node.0);
        out.push(match says.phase {
            PhaseName::Recovering => 0,
            PhaseName::Primary => 1,
            PhaseName::Standby => 2,
            PhaseName::Branched => 3,
            PhaseName::Gone => 4,
        });
        let Health { fit, spare_mib, full } = says.health;
        let flag = |is: bool, flag: u8| if is { flag } else { 0 };
        out.push(
            flag(says.echo.is_some(), ECHO)
                | flag(!fit, UNFIT)
                | flag(spare_mib.is_some(), ROOM)
                | flag(says.answer.is_some(), ANSWER)
                | flag(full, FULL),
        );
        out.push(0);
        out.extend_from_slice(&spare_mib.unwrap_or(0).to_be_bytes());
        for number in [says.seen.0, says.durable.0, self.sequence] {
            out.extend_from_slice(&number.to_be_bytes());
        }
        out.extend_from_slice(&self.boot);
        for number in [says.stamp, says.echo.or(says.answer).unwrap_or(0)] {
            out.extend_from_slice(&number.to_be_bytes());
        }
        let tag = blake3::keyed_hash(key, &out);
        out.extend_from_slice(tag.as_bytes().get(..TAG_LEN).unwrap_or_default());
        out
    }

    /// Reads a datagram; `None` for anything that is not a beacon under `key`.
    #[must_use]
    pub fn decode(bytes: &[u8], key: &[u8; 32]) -> Option<Self> {
        if bytes.len() != BEACON_LEN {
            return None;
        }
        let (content, tag) = bytes.split_at_checked(BEACON_LEN - TAG_LEN)?;
        let mut wanted = [0; 32];
        let mut given = [0; 32];
        let hash = blake3::keyed_hash(key, content);
        wanted.get_mut(..TAG_LEN)?.copy_from_slice(hash.as_bytes().get(..TAG_LEN)?);
        given.get_mut(..TAG_LEN)?.copy_from_slice(tag);
        // blake3::Hash compares in constant time.
        if blake3::Hash::from(wanted) != blake3::Hash::from(given) {
            return None;
        }
        let content = content.strip_prefix(BEACON_MAGIC)?;
        let phase = match content.get(17)? {
            0 => PhaseName::Recovering,
            1 => PhaseName::Primary,
            2 => PhaseName::Standby,
            3 => PhaseName::Branched,
            4 => PhaseName::Gone,
            _ => return None,
        };
        let flags = *content.get(18)?;
        let echo = codec::u64_at(content, 64)?;
        let spare = codec::u32_at(content, 20)?;
        let spare_mib = (flags & ROOM != 0).then_some(spare);
        let says = Saying {
            phase,
            seen: Epoch(codec::u64_at(content, 24)?),
            durable: Lsn(codec::u64_at(content, 32)?),
            stamp: codec::u64_at(content, 56)?,
            echo: (flags & ECHO != 0).then_some(echo),
            answer: (flags & (ECHO | ANSWER) != 0).then_some(echo),
            health: Health { fit: flags & UNFIT == 0, spare_mib, full: flags & FULL != 0 },
        };
        Some(Self {
            pair: content.get(..16)?.try_into().ok()?,
            node: NodeId(*content.get(16)?),
            says,
            sequence: codec::u64_at(content, 40)?,
            boot: content.get(48..56)?.try_into().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn beacon() -> Beacon {
        Beacon {
            pair: [7; 16],
            node: NodeId(1),
            says: Saying {
                phase: PhaseName::Standby,
                seen: Epoch(5),
                durable: Lsn(99),
                stamp: 17,
                echo: Some(16),
                answer: Some(16),
                health: Health { fit: false, spare_mib: Some(70_000), full: true },
            },
            sequence: 3,
            boot: [4; 8],
        }
    }

    #[test]
    fn a_beacon_is_known_by_its_key_alone() {
        let bytes = beacon().encode(&[1; 32]);
        assert_eq!(bytes.len(), BEACON_LEN);
        assert_eq!(Beacon::decode(&bytes, &[1; 32]), Some(beacon()));
        assert_eq!(Beacon::decode(&bytes, &[2; 32]), None);
    }

    proptest! {
        #[test]
        fn frames_come_back(epoch: u64, commit: u64, bytes: Vec<u8>) {
            let frames = [
                Frame::Records { epoch: Epoch(epoch), commit: Lsn(commit), bytes: bytes.clone() },
                Frame::Ack { epoch: Epoch(epoch), durable: Lsn(commit) },
                Frame::Keyring { version: epoch, keys: bytes },
                Frame::Goodbye,
            ];
            for frame in frames {
                let encoded = frame.encode();
                let (length, body) = encoded.split_at(4);
                prop_assert_eq!(Frame::body_len(length.try_into().unwrap()), Ok(body.len()));
                prop_assert_eq!(Frame::decode(body), Ok(frame));
            }
        }

        #[test]
        fn any_bytes_are_read_without_harm(bytes: Vec<u8>) {
            let _frame = Frame::decode(&bytes);
            let _beacon = Beacon::decode(&bytes, &[0; 32]);
        }
    }
}
