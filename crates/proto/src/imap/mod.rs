//! IMAP4rev1 (RFC 3501) as RFC 9051 clarifies it, without I/O: bytes in, commands out; answers out.
//!
//! `input` frames and parses; `command`, `fetch`, `search` and `sequence` are what was parsed;
//! `session` holds a session's state and its view of the selected mailbox; `response`, `list`,
//! `name` and `date` write. Nothing here reads a clock, a socket or the store.
//!
//! imap-codec gives the framing (its Fragmentizer). Commands are parsed by `command` alone: the
//! codec refuses what iOS opens with (LIST … RETURN, SEARCH RETURN) and holds an APPEND's message
//! whole, so that it would need a second grammar beside it anyway. Tests use it as an oracle.
//!
//! Absent on purpose, until their issue: CONDSTORE/QRESYNC, IMAP4rev2, BINARY, SORT, THREAD.

/// Appends formatted text to a buffer of bytes.
macro_rules! put {
    ($out:expr, $($arg:tt)*) => { $out.extend_from_slice(format!($($arg)*).as_bytes()) };
}

pub mod command;
pub mod date;
pub mod fetch;
pub mod input;
pub mod list;
pub mod name;
pub mod response;
mod scan;
pub mod search;
pub mod sequence;
pub mod session;

#[cfg(test)]
mod tests;
