//! What the witness keeps for a pair, and how the two talk about it.
//!
//! The witness holds one [`WitnessRegister`] per pair in one fsynced file and changes it only by
//! compare-and-swap on the epoch. It holds no mail and is outside the write path: it is asked to go
//! alone, to promote, to admit, and nothing else. What its answers mean is decided by the pair's
//! machine; how they travel is the driver's business.

use super::register::Insync;
use crate::id::{Epoch, NodeId};
use serde::{Deserialize, Serialize};

/// The third vote: which reign holds, who leads it, and who has everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WitnessRegister {
    /// The reign.
    pub epoch: Epoch,
    /// Who holds it.
    pub holder: NodeId,
    /// The set of nodes that every acknowledged change is durable on.
    pub insync: Insync,
}

/// What a node asks of the witness. One question at a time is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WitnessAsk {
    /// What do you hold?
    Read,
    /// If you hold the reign `expect`, hold `new` from now on. `expect` is `None` for a witness that
    /// holds nothing yet (seeding).
    Swap {
        /// The reign that must be there.
        expect: Option<Epoch>,
        /// What shall be there.
        new: WitnessRegister,
    },
    /// The pair, with both nodes agreed, replaces what a lost or rolled-back witness holds,
    /// whatever that is. Refused where the witness holds a higher epoch than `new`.
    Seed {
        /// What shall be there.
        new: WitnessRegister,
    },
}

/// What comes back, for the question of that number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WitnessAnswer {
    /// It holds this (`None`: nothing), and did what was asked: durable.
    Done(Option<WitnessRegister>),
    /// It holds this, and did nothing.
    Refused(Option<WitnessRegister>),
    /// No answer: unreachable, or too late. A swap may or may not have been done.
    Lost,
}
