//! The one integration-test binary: one link step, one place to look.
//!
//! [`tidy`] reads the source tree and holds its rules; [`fuzz`] runs every saved input of every
//! parser, and mutations of them, on the stable toolchain; [`cli`] runs the program as people do;
//! [`imap`] drives that service with a client of our own; [`peers`] lets Debian's own programs speak
//! to ours.

#[cfg(test)]
mod cli;
#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod imap;
#[cfg(test)]
mod peers;
#[cfg(test)]
mod tidy;
