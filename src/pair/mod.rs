//! The two appliances as one: how they are formed, linked, and how the log reaches the other.
//!
//! `proto::pair` decides; this room drives. Invariants: the [`PrimaryLease`](crate::store) is made
//! here and nowhere else; what a decision must survive is durable before the decision acts; only the
//! pinned peer speaks on the link. Absent on purpose: a witness and merging (later issues).

pub mod formation;
pub mod link;
