//! Other people's software at the other end of the wire. A missing peer is a failure.

mod guardian;
mod keepalived;
mod link;
mod mbsync;
mod mutt;
mod postfix;
mod swaks;
