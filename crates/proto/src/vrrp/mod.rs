//! VRRP (RFC 9568, version 3 over IPv4): the packet, and a machine that is subordinate to the pair.
//!
//! VRRP never decides who may write: it moves an address. The pair tells an [`Instance`] where it
//! stands ([`Stand`]); the instance keeps the timers, says what to send and what to do with the
//! addresses, and reports what it hears.
//!
//! Deliberately absent so far: version 2, IPv6, unicast peers, authentication, virtual MAC
//! addresses. Each has its place: a version and a checksum form are decoded, not assumed.

mod instance;
mod packet;

pub use instance::{
    ADDRESS_LIFETIME, ADDRESS_REFRESH, Config, Counters, Errors, Event, FAULT_RETRY, GARP_BURST,
    GARP_DELAY, GARP_REFRESH, GARP_REPEAT_MIN, Instance, OUTPUTS_PER_CALL_MAX, Output, Priority,
    Stand, State,
};
pub use packet::{
    ADDRESSES_MAX, Advert, Arrival, Checksum, DecodeError, Decoded, GROUP, Interval, LEN_MAX,
    PROTOCOL, TTL, decode, encode, split_ip,
};
