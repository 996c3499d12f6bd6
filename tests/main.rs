//! The one integration-test binary: one link step, one place to look.
//!
//! [`tidy`] reads the source tree and holds its rules; [`fuzz`] runs every saved input of every
//! parser, and mutations of them, on the stable toolchain; [`peers`] lets Debian's own programs speak
//! to ours; [`imap`] drives the service with a client of our own.

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod imap;
#[cfg(test)]
mod peers;
#[cfg(test)]
mod tidy;
