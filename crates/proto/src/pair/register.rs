//! What a node knows for certain after a power cut: one small record, replaced atomically.

use super::history::LogState;
use crate::id::{Epoch, Lsn, NodeId};
use serde::{Deserialize, Serialize};

/// The set of nodes on which every acknowledged change is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Insync {
    /// Both.
    Both,
    /// One alone.
    Only(NodeId),
}

impl Insync {
    /// Whether `node` is in it.
    #[must_use]
    pub fn has(self, node: NodeId) -> bool {
        self == Self::Both || self == Self::Only(node)
    }
}

/// Who decides which reign holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Arbitration {
    /// The two nodes alone, by the evidence rules of docs/design/takeover.md.
    #[default]
    None,
    /// A witness: no reign begins, and no set shrinks, without its compare-and-swap.
    Witness,
    /// Neither: a standby whose primary is about to change from one to the other. It waits for the
    /// primary's word, and begins no reign without its peer's consent.
    Limbo,
}

/// The durable register of one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Register {
    /// The last reign that this node was part of.
    pub epoch: Epoch,
    /// Who held it.
    pub holder: NodeId,
    /// Who was insync in it.
    pub insync: Insync,
    /// The highest epoch that this node has ever seen; lower ones are refused.
    pub seen: Epoch,
    /// The peer may have gone on without this node: it never promotes by itself.
    pub stale: bool,
    /// Who decides, as both nodes agreed.
    pub arbitration: Arbitration,
}

impl Register {
    /// A pair that has just been formed: node 0 holds what there is, node 1 has nothing.
    #[must_use]
    pub fn formed(node: NodeId) -> Self {
        let first = NodeId(0);
        Self {
            epoch: Epoch(0),
            holder: first,
            insync: Insync::Only(first),
            seen: Epoch(0),
            stale: node != first,
            arbitration: Arbitration::None,
        }
    }

    /// Whether `node` could have acknowledged changes by itself in its last reign.
    #[must_use]
    pub fn solo(&self, node: NodeId) -> bool {
        self.holder == node && self.insync == Insync::Only(node)
    }

    /// Whether `node`, which has this register and `log`, may have acknowledged something after
    /// `fork` by itself. A record of a later epoch than its last reign is another's, which has not
    /// put it into insync: nobody rests on this copy of it.
    #[must_use]
    pub fn may_have_acknowledged(&self, node: NodeId, log: &LogState, fork: Lsn) -> bool {
        let theirs = log.history.epoch_of(fork.next()).is_some_and(|epoch| epoch > self.epoch);
        log.committed > fork || (self.solo(node) && log.tail > fork && !theirs)
    }
}
