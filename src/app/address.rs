//! Groups of floating addresses: from the configuration to `vrrp`, and an operator's orders about
//! origins' addresses.
//!
//! Deliberately absent: any rule about who may claim what, which is `understudy_proto::vrrp`'s.

use crate::base::clock;
use crate::config::{self, VrrpChecksum, VrrpTakeover};
use crate::ops::request::{AddressEntry, Failure, Outcome};
use crate::vrrp::{
    Authentication, Checksum, Claim, FloatingAddress, GroupConfig, GroupKind, GroupStatus,
    Interval, Priority, State, Takeover, Track, Unicast, Version, Vrrp,
};
use std::time::Duration;

/// How long an order may take: the probe of an address, with time to spare.
const ORDER_WAIT: Duration = Duration::from_secs(5);

/// How often the thread is asked whether the order is done.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What `vrrp` needs to know of a `[[vrrp]]` section.
pub(super) fn group(section: &config::Vrrp) -> Outcome<GroupConfig> {
    let refused = |what: &str| Failure::new(what, "Correct the [[vrrp]] section.");
    let interval = match u8::try_from(section.advert.as_secs()) {
        Ok(seconds) if section.version_2 => Interval::from_seconds(seconds),
        _ => Interval::from_duration(section.advert),
    };
    let interval = interval.ok_or_else(|| refused("advert_ms cannot be used"))?;
    let authentication = match &section.password {
        None => Authentication::None,
        Some(text) => Authentication::password(text)
            .ok_or_else(|| refused("password must be 1 to 8 bytes"))?,
    };
    let kind = match &section.origin {
        None => GroupKind::Pair,
        Some(origin) => GroupKind::Origin {
            priority: Priority::new(origin.priority)
                .ok_or_else(|| refused("priority must be 1 to 254"))?,
            takeover: match origin.takeover {
                VrrpTakeover::Never => Takeover::Never,
                VrrpTakeover::Confirm => Takeover::Confirm,
                VrrpTakeover::Automatic => Takeover::Automatic,
            },
            tenant: origin.tenant.clone(),
        },
    };
    Ok(GroupConfig {
        interface: section.interface.clone(),
        vrid: section.vrid,
        addresses: section
            .addresses
            .iter()
            .map(|a| FloatingAddress { address: a.address, prefix_len: a.prefix })
            .collect(),
        interval,
        checksum: match section.checksum {
            VrrpChecksum::Keepalived => Checksum::WithPseudoHeader,
            VrrpChecksum::Rfc9568 => Checksum::MessageOnly,
        },
        name: section.name.clone(),
        version: if section.version_2 { Version::V2 } else { Version::V3 },
        authentication,
        unicast: (!section.unicast.is_empty()).then(|| Unicast {
            peers: section.unicast.clone(),
            check_source: section.check_source,
            ttl_min: section.ttl_min,
        }),
        sync: section.sync.clone(),
        virtual_mac: section.virtual_mac,
        track: section.track.as_ref().map(|track| Track {
            command: track.command.clone(),
            every: track.every,
            timeout: track.timeout,
        }),
        kind,
    })
}

/// All groups, for `understudy address list`.
pub(super) fn list(vrrp: Option<&Vrrp>) -> Vec<AddressEntry> {
    vrrp.map(Vrrp::status).unwrap_or_default().iter().map(entry).collect()
}

fn entry(group: &GroupStatus) -> AddressEntry {
    let (kind, tenant) = match &group.kind {
        GroupKind::Pair => ("pair", None),
        GroupKind::Origin { tenant, .. } => ("origin", Some(tenant.clone())),
    };
    AddressEntry {
        name: group.name.clone(),
        kind: kind.to_owned(),
        tenant,
        addresses: group.addresses.iter().map(ToString::to_string).collect(),
        interface: group.interface.clone(),
        vrid: group.vrid,
        state: format!("{:?}", group.state),
        holder: match (group.state, group.holder) {
            (State::Active, _) => Some("here".to_owned()),
            (_, holder) => holder.map(|holder| holder.to_string()),
        },
        priority: group.priority,
        since_ms: group.last_transition.map(|at| at.0),
        claim: group.kind.is_origin().then(|| format!("{:?}", group.claim).to_lowercase()),
        problem: group.fault.clone().or_else(|| group.problem.as_ref().map(|p| p.what.clone())),
    }
}

/// Claims an origin's addresses, or releases them; returns when they are there, or gone.
pub(super) async fn order(
    vrrp: Option<&Vrrp>,
    name: &str,
    order: impl Fn(&Vrrp, usize) -> u64,
) -> Outcome<()> {
    let unknown = || {
        Failure::new(
            format!("there is no group of addresses `{name}`"),
            "`understudy address list` shows all.",
        )
    };
    let vrrp = vrrp.ok_or_else(unknown)?;
    let groups = vrrp.status().into_iter().enumerate().filter(|(_, group)| group.name == name);
    let numbers: Vec<(usize, u64)> = groups.map(|(n, _)| (n, order(vrrp, n))).collect();
    if numbers.is_empty() {
        return Err(unknown());
    }
    let end = clock::mono().after(ORDER_WAIT);
    let mut all = Ok(());
    for (n, number) in numbers {
        loop {
            let status = vrrp.status().into_iter().nth(n).ok_or_else(unknown)?;
            if status.order >= number && status.claim != Claim::Probing {
                all = all.and_then(|()| done(&status));
                break;
            }
            if clock::mono() >= end {
                return Err(Failure::new(
                    "the order was given, but its end was not seen in time",
                    "`understudy address list` shows what became of it.",
                ));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
    all
}

fn done(status: &GroupStatus) -> Outcome<()> {
    match &status.refusal {
        None => Ok(()),
        Some(why) => Err(Failure::new(
            format!("`{}` was not claimed: {why}", status.name),
            "That group was left as it is (`understudy address list` shows the others of its name). \
             docs/runbook/origin-address.md says what to do; --force claims an address that answers.",
        )),
    }
}
