//! Other people's software at the other end of the wire. A missing peer is a failure.

mod capture;
mod guardian;
mod keepalived;
mod keepalived_origin;
mod link;
mod mbsync;
mod mutt;
mod postfix;
mod swaks;
