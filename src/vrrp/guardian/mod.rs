//! The guardian: a small process of the same binary that alone owns raw sockets, adverts and
//! addresses (DESIGN.md 3).
//!
//! ```text
//!  understudy run = guardian, parent ──── spawns, reaps, passes signals on ───► main process
//!    thread "vrrp" (Engine)  ◄── Start, Stand, Pulse, Goodbye, Tickle, Stop ──  thread "guardian"
//!    raw sockets, netlink    ──── Event, Status, Started, Stopped, Alive ────►  Vrrp's face
//!                              SOCK_SEQPACKET, the main process's standard input
//! ```
//!
//! Invariants: when the main process ends, for whatever reason, its addresses go at once, priority 0
//! and a signed goodbye follow, and the guardian ends with its status. When it merely stands still,
//! the addresses go with its last pulse. When the guardian ends, the kernel kills the main process
//! (`PR_SET_PDEATHSIG`) and removes the addresses a second after their last refresh. Deliberately
//! absent: a restart of either (the service manager's work), an async runtime, any secret.

mod channel;
mod client;
mod farewell;
mod message;
mod supervisor;
mod tickle;

pub use client::{AdoptError, Guardian};
pub use message::{Connection, Goodbye};
pub use supervisor::{GuardianError, supervise};

/// The longest goodbye in bytes.
pub const GOODBYE_LEN_MAX: usize = message::GOODBYE_LEN_MAX;

/// Connections that can wait to be tickled.
pub const CONNECTIONS_MAX: usize = 65_536;
