//! Disks: which one we started from, where the data lies, and what may be done to either.
//!
//! ```text
//! scan ─► Inventory ─► plan::next ─► Step ─► perform ─┐
//!            ▲─────────────── look again ─────────────┘   until there is nothing to do
//! ```
//!
//! Invariants: what decides is pure and sees the machine as it is now, so a power cut between (or
//! within) two steps is nothing but another start. Nothing is written to a disk that is not known for
//! sure, and nothing is formatted that does not look empty or is not our own unfinished work.

pub mod drive;
pub mod gpt;
pub mod inventory;
pub mod perform;
pub mod plan;
pub mod run;
pub mod scan;
