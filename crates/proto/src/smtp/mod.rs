//! SMTP without the world: the server's session, the client's, and the trace that mail carries.
//!
//! [`Session`] is one connection to us (port 25, 465 or 587), [`client::Client`] one from us.
//! Commands are parsed by smtp-proto; framing, message content and everything that decides is
//! here, because smtp-proto passes bare CR and LF through (the smuggling trap) and accepts lines
//! that RFC 5321 does not.
//! Invariants: a 250 for a message is written only after [`Answer::Committed`]; a message ends only
//! at CRLF.CRLF or with the last chunk; nothing that a peer sends is echoed in a reply or reaches a
//! header unfiltered; every buffer is bounded by a named constant.
//! Deliberately absent: DNS, SPF/DKIM/DMARC, DSN parameters, BINARYMIME, address literals.

pub mod address;
pub mod away;
mod base64;
pub mod bounce;
pub mod client;

mod content;
pub mod outgoing;
mod reply;
mod session;
pub mod trace;

pub use content::Fault;
pub use session::{
    Answer, Envelope, Event, INPUT_MAX, Limits, NO_PLACE, Options, Output, Password, Question,
    Service, Session, Tls, explore,
};
