//! The one integration-test binary: one link step, one place to look.
//!
//! [`tidy`] reads the source tree and holds its rules; [`fuzz`] runs every saved input of every
//! parser, and mutations of them, on the stable toolchain; [`cli`] runs the program as people do;
//! [`pair`] lets two appliances refuse each other; [`smtp`] and [`imap`] drive the services with clients of our own, and [`web`] with curl; [`peers`]
//! lets Debian's own programs speak to ours.

#[cfg(test)]
mod cli;
#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod imap;
#[cfg(test)]
mod pair;
#[cfg(test)]
mod peers;
#[cfg(test)]
mod smtp;
#[cfg(test)]
mod tidy;
#[cfg(test)]
mod web;
