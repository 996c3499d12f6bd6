//! The truth about the pair, for people and programs (invariant 13).

use super::health::Health;
use crate::id::{Epoch, Lsn, NodeId};
use serde::{Deserialize, Serialize};

/// The pair as this node sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum State {
    /// Every acknowledged change is durable on both.
    Pair,
    /// A copy is being brought up to date.
    Joining,
    /// One node alone.
    Solo,
    /// No part is played yet.
    Recovering,
    /// Two histories: an operator, or the merge, must bring them together.
    Branched,
}

/// This node's data role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// May write.
    Primary,
    /// Follows.
    Standby,
    /// Neither.
    None,
}

/// What a node that plays no part is waiting for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Waiting {
    /// Nothing.
    Nothing,
    /// The peer, which may know more.
    Peer,
    /// The peer did not come, or knows what this node lacks: an operator's word
    /// (`understudy pair force-solo`).
    Operator,
    /// The peer lacks more of the log than is kept: a full copy.
    FullCopy,
}

/// The pair as this node sees it, whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Which node.
    pub node: NodeId,
    /// State of the pair.
    pub state: State,
    /// Whether losing this node, or the other, now would lose nothing that was acknowledged.
    pub rpo_zero: bool,
    /// This node's role.
    pub role: Role,
    /// The reign, as far as known here.
    pub epoch: Epoch,
    /// Whether the two nodes talk to each other.
    pub linked: bool,
    /// Last record here.
    pub tail: Lsn,
    /// Last durable record here.
    pub durable: Lsn,
    /// Last committed record, as far as known here.
    pub committed: Lsn,
    /// Last record that the peer is known to have durably; on the primary only.
    pub peer_durable: Option<Lsn>,
    /// What is missing.
    pub waiting: Waiting,
    /// In BRANCHED: the last record that both logs share. On the leading node, the other one's
    /// records after it are to be taken over; on the other, they wait for that.
    pub branch: Option<Lsn>,
    /// The witness, as far as known here.
    pub witness: WitnessStatus,
    /// What the peer says of its own health, while its beacons are heard.
    pub peer: Option<Health>,
}

/// The witness as this node sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WitnessStatus {
    /// One is configured.
    pub configured: bool,
    /// It decides. Without it in force, the evidence rules do.
    pub in_force: bool,
    /// It answered lately.
    pub reachable: bool,
    /// What it holds does not contradict what this node knows.
    pub trusted: bool,
}
