//! The two appliances as one: how they are formed, linked, and how the log reaches the other.
//!
//! `proto::pair` decides; this room drives. Invariants: the primary's lease is made here and nowhere
//! else; what a decision must survive is durable before the decision acts; only the pinned peer
//! speaks on the link. Absent on purpose: what a change means, and how two of them merge (`proto`).

mod agreement;
mod branch;
mod driver;
pub mod formation;
mod journal;
pub mod link;
mod register;
mod resync;
pub mod side;
mod strangers;
#[cfg(test)]
mod testing;
mod vital;
pub mod witness;

pub use agreement::Agreement;
pub use branch::MergeStatus;
pub use driver::{
    CommandError, LeaseGate, Options, Pair, PairStatus, PathStatus, Problem, Promoted, Restart,
    StartError, Unconfirmed, who,
};
pub use journal::Entry;
pub use register::RegisterError;
pub use resync::CopyStatus;
pub use vital::{DISK_HANG, DISK_HANG_MAX, Hang, SERVICES_HANG, Vital};
