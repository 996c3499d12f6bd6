//! What every room stands on: clock, tasks, secrets, limits, counters, log.
//!
//! Invariants: nothing here knows mail, the pair or the store. `clock` and `task` are the only
//! places that read a clock or start a task or a thread; clippy refuses both elsewhere.
//!
//! Deliberately absent: global state other than counters, limits and the logger; any configuration.

pub mod clock;
pub mod filter;
pub mod limit;
pub mod log;
pub mod metric;
pub mod notify;
pub mod privilege;
pub mod secret;
pub mod source;
pub mod task;
