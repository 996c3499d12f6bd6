//! Listeners and sessions: how a byte stream from outside reaches a service.
//!
//! Invariants: a session exists only while the pass (the primary's lease) that was current at accept
//! is not revoked, and sends only while that pass is fresh ([`held`]); every wait for a socket is bounded by the service above or by a named limit here;
//! a panic ends its session only. Absent on purpose: protocols, certificates (`tls`), and the lease
//! itself (`store` declares it, `pair` mints it): [`Gate`] is all that this room knows of it.

mod doorstep;
mod gate;
mod handshake;
pub mod held;
mod listen;
mod serve;
pub mod session;
pub mod table;

pub use doorstep::Doorstep;
pub use gate::{Gate, Leave, Notice, Open, Pass, Stop, StopControl, stop};
pub use listen::{BACKLOG, ListenError, Listener, datagram, listen, listen_at};
pub use serve::{Deaf, Limits, Place, Session, Sessions, serve};
pub use session::{Acceptor, Stream};
