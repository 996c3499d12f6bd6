//! Other people's software at the other end of the wire. A missing peer is a failure.

mod capture;
mod curl;
mod guardian;
mod keepalived;
mod keepalived_origin;
mod link;
mod mbsync;
mod mutt;
mod pebble;
mod postfix;
mod swaks;
