//! IMAP over real sockets, with our own client, against a node in this process.

mod append;
mod fetch;
mod goodbye;
mod login;
mod mailboxes;
mod news;
mod search;
pub(crate) mod support;
