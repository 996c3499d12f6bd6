//! What a virtual router may be besides its number and its addresses: the options of a `[[vrrp]]`
//! section, and the words of its status.
//!
//! Invariant: all of it can cross a process border, and a group that passed [`check`] can be driven.

use super::{ADDRESSES_PER_GROUP_MAX, FloatingAddress, GroupConfig, VrrpError};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::time::Duration;
use understudy_proto::vrrp::{
    Authentication, Checksum, Interval, PEERS_MAX, Priority, TTL, Takeover, Version,
};

/// Unicast in the place of multicast.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unicast {
    /// The peers, 1-8 of them, of the addresses' family.
    pub peers: Vec<IpAddr>,
    /// Whether adverts are accepted of the peers only.
    pub check_source: bool,
    /// The TTL or hop limit that an advert must have left; 255 for a peer on the same link.
    pub ttl_min: u8,
}

/// A command whose failure is a fault of the group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Track {
    /// The program with its arguments; no shell.
    pub command: Vec<String>,
    /// The pause between two runs.
    pub every: Duration,
    /// How long a run may take; then it is killed, and has failed.
    pub timeout: Duration,
}

/// Whose address it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum GroupKind {
    /// The pair's: it is where the primary is.
    #[default]
    Pair,
    /// A machine of the tenant's own has it, and the pair's primary stands in when that is gone.
    Origin {
        /// Below the origin's own.
        priority: Priority,
        /// Who says that it is gone.
        takeover: Takeover,
        /// Whose origin; shown, nothing else.
        tenant: String,
    },
}

impl GroupKind {
    /// Whether it is an origin's.
    #[must_use]
    pub fn is_origin(&self) -> bool {
        matches!(self, Self::Origin { .. })
    }
}

/// What is wrong beyond a fault, and where to read what to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// In words.
    pub what: String,
    /// `docs/runbook/<name>.md`.
    pub runbook: String,
}

impl GroupConfig {
    /// A group of the pair: version 3, multicast, alone.
    #[must_use]
    pub fn new(
        interface: &str,
        vrid: u8,
        addresses: Vec<FloatingAddress>,
        interval: Interval,
    ) -> Self {
        Self {
            interface: interface.to_owned(),
            vrid,
            addresses,
            interval,
            checksum: Checksum::default(),
            name: format!("{interface}.{vrid}"),
            version: Version::V3,
            authentication: Authentication::None,
            unicast: None,
            sync: None,
            virtual_mac: false,
            track: None,
            kind: GroupKind::Pair,
        }
    }

    /// Whether the group is one of IPv6 addresses.
    #[must_use]
    pub fn is_ipv6(&self) -> bool {
        self.addresses.first().is_some_and(|floating| floating.address.is_ipv6())
    }

    /// Addresses that other machines know the group by: its Ethernet address (RFC 9568 7.3).
    #[must_use]
    pub fn virtual_mac_address(&self) -> [u8; 6] {
        [0x00, 0x00, 0x5e, 0x00, if self.is_ipv6() { 0x02 } else { 0x01 }, self.vrid]
    }
}

/// Refuses what cannot be driven, in one group.
pub(super) fn check(config: &GroupConfig) -> Result<(), VrrpError> {
    let GroupConfig { vrid, addresses, .. } = config;
    if addresses.is_empty() || addresses.len() > ADDRESSES_PER_GROUP_MAX {
        return Err(VrrpError::AddressCount { vrid: *vrid, found: addresses.len() });
    }
    let option = |what| Err(VrrpError::Option { vrid: *vrid, what });
    let ipv6 = config.is_ipv6();
    if addresses.iter().any(|floating| floating.address.is_ipv6() != ipv6) {
        return option("has IPv4 and IPv6 addresses; write two groups with the same `sync`");
    }
    if config.version == Version::V2 {
        if ipv6 {
            return option("is version 2 with IPv6 addresses; use version 3");
        }
        if !config.interval.duration().as_millis().is_multiple_of(1_000) {
            return option("is version 2: its adverts come in whole seconds");
        }
    } else if config.authentication != Authentication::None {
        return option("has a password, which only version 2 knows");
    }
    if let Some(Unicast { peers, ttl_min, .. }) = &config.unicast {
        if peers.is_empty() || peers.len() > PEERS_MAX {
            return option("needs 1 to 8 unicast peers");
        }
        if peers.iter().any(|peer| peer.is_ipv6() != ipv6) {
            return option("has unicast peers of the other family");
        }
        if *ttl_min == 0 {
            return option("has a ttl_min of 0; write 1 to 255");
        }
    }
    if let Some(track) = &config.track
        && (track.command.is_empty() || track.every.is_zero() || track.timeout.is_zero())
    {
        return option("has a tracking command without program, pause or timeout");
    }
    Ok(())
}

/// The TTL that multicast adverts must have, as a default for unicast.
pub const TTL_MIN_DEFAULT: u8 = TTL;
