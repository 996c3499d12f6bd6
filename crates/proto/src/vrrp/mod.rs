//! VRRP (RFC 9568; version 2 of RFC 3768 for old routers): the packet, and a machine that is
//! subordinate to the pair.
//!
//! VRRP never decides who may write: it moves an address. The pair tells an [`Instance`] where it
//! stands ([`Stand`]); the instance keeps the timers, says what to send and what to do with the
//! addresses, and reports what it hears. An [`Origin`] stands in for a machine of somebody else.
//!
//! Deliberately absent: the IP authentication header, keepalived's HMAC trailer, adverts whose
//! priority is configured (docs/design/vrrp.md lists features and deviations).

mod instance;
mod origin;
mod packet;

pub use instance::{
    ADDRESS_LIFETIME, ADDRESS_REFRESH, CONFLICT_KEPT, CONFLICT_REPEAT, Config, Conflict, Counters,
    Errors, Event, FAULT_RETRY, GARP_BURST, GARP_DELAY, GARP_REFRESH, GARP_REPEAT_MIN, Instance,
    MEETING_MAX, OUTPUTS_PER_CALL_MAX, Output, PEERS_MAX, Priority, Stand, State, synchronise,
};
pub use origin::{CLAIM_INHERIT, Claim, ClaimWord, Origin, Refusal, Takeover};
pub use packet::{
    ADDRESSES_MAX, Advert, Arrival, Authentication, Checksum, DecodeError, Decoded, GROUP_V4,
    GROUP_V6, Interval, LEN_MAX, PASSWORD_LEN, PROTOCOL, TTL, Version, decode, encode, group_of,
    split_ip,
};
