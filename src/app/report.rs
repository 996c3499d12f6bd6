//! What is true now, gathered from the rooms: for `status`, health and metrics.
//!
//! Absent: remembering. Every report is made afresh from what the rooms publish.

use super::Rooms;
use crate::base::{clock, limit, metric};
use crate::ops::health::{Duty, Facts};
use crate::ops::status::{
    AddressReport, CopyReport, Holder, Lag, Move, MoveKind, PathReport, ProblemReport, Role,
    Sessions, State, StatusReport, VrrpState, WitnessReport,
};
use crate::pair::witness::{Held, WitnessStatus};
use crate::pair::{CopyStatus, PairStatus, PathStatus};
use crate::tls::acme::Alarm;
use crate::vrrp::GroupStatus;
use std::time::Duration;
use understudy_proto::pair::{self as machine, Waiting};
use understudy_proto::vrrp;

/// How often health's facts and the gauges are renewed.
const BOARD_EVERY: Duration = Duration::from_millis(100);
/// How often the queue is counted, for the gauge and `status`: it reads every tenant's.
const QUEUE_EVERY: u32 = 50;
/// A path on which nothing was heard for so long is shown as silent.
const PATH_SILENCE: Duration = Duration::from_secs(1);

/// The whole report.
pub(super) fn report(rooms: &Rooms) -> StatusReport {
    let pair = rooms.pair.status().borrow().clone();
    let now = clock::now_ms();
    let log = rooms.store.log();
    let groups = rooms.vrrp.as_ref().map(|v| v.status()).unwrap_or_default();
    let tenants = rooms.directory.tenants().map_or(0, |t| t.len());
    let m = &pair.pair;
    StatusReport {
        hostname: rooms.config.hostname.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        at: now,
        uptime_s: clock::mono().since(rooms.started).as_secs(),
        state: state(&pair),
        rpo_zero: m.rpo_zero,
        role: role(m.role),
        node: rooms.config.pair.as_ref().map(|_| m.node.0),
        epoch: m.epoch.0,
        insync: pair.insync.iter().map(|n| n.0).collect(),
        committed: log.committed().0,
        applied: log.applied().0,
        durable: log.durable().borrow().0,
        lag: m.peer_durable.map(|d| Lag { records: log.last().lsn.0.saturating_sub(d.0) }),
        paths: paths(&pair),
        copy: pair.copy.as_ref().map(copy),
        merge: rooms.pair.merging(),
        update: rooms.updates.report(),
        witness: pair.witness.as_ref().map(witness),
        addresses: groups.iter().flat_map(addresses).collect(),
        // Counting reads every tenant's queue, and the screen asks every other second.
        queue_depth: u64::try_from(metric::QUEUE_DEPTH.get()).unwrap_or_default(),
        sessions: Sessions {
            smtp: limit::SMTP_SESSIONS.used(),
            submission: limit::SUBMISSION_SESSIONS.used(),
            imap: limit::IMAP_SESSIONS.used(),
        },
        tenants: count(tenants),
        last_move: pair.last_promotion.as_ref().filter(|_| !pair.standalone).map(|entry| Move {
            at: entry.at,
            kind: if entry.reason == "handover" { MoveKind::Handover } else { MoveKind::Takeover },
            to: entry.node.0,
            epoch: entry.epoch.0,
            took_ms: entry.took_ms,
            reason: entry.reason.clone(),
            asked_by: entry.asked_by,
        }),
        waiting_for: waiting(&pair),
        problems: problems(rooms, &pair, &groups),
    }
}

pub(super) fn state(pair: &PairStatus) -> State {
    match pair.pair.state {
        _ if pair.standalone => State::Standalone,
        machine::State::Pair => State::Pair,
        machine::State::Joining => State::Joining,
        machine::State::Solo => State::Solo,
        machine::State::Recovering => State::Recovering,
        machine::State::Branched => State::Branched,
    }
}

pub(super) fn role(role: machine::Role) -> Role {
    match role {
        machine::Role::Primary => Role::Primary,
        machine::Role::Standby => Role::Standby,
        machine::Role::None => Role::None,
    }
}

fn paths(pair: &PairStatus) -> Vec<PathReport> {
    pair.paths
        .iter()
        .map(|path| PathReport {
            peer: path.peer.to_string(),
            reachable: age(path).is_some_and(|t| t < PATH_SILENCE),
            heard_ms_ago: age(path).map(|t| u64::try_from(t.as_millis()).unwrap_or(u64::MAX)),
            session: path.session,
        })
        .collect()
}

fn copy(copy: &CopyStatus) -> CopyReport {
    CopyReport {
        sending: copy.sending,
        bytes_done: copy.bytes_done,
        bytes_total: copy.bytes_total,
        tenants_done: copy.tenants_done,
        tenants_total: copy.tenants_total,
        bytes_per_s: copy.bytes_per_s,
        eta_s: copy.eta_s(),
        stopped: copy.stopped.clone(),
    }
}

fn witness(witness: &WitnessStatus) -> WitnessReport {
    let (epoch, holder) = match witness.held {
        Held::Unknown => (None, None),
        Held::Nothing => (Some(0), None),
        Held::Register(register) => (Some(register.epoch.0), Some(register.holder.0)),
    };
    let round_trip = witness.round_trip.map(|t| u64::try_from(t.as_micros()).unwrap_or(u64::MAX));
    WitnessReport {
        address: witness.address.to_string(),
        reachable: witness.reachable,
        round_trip_us: round_trip,
        epoch,
        holder,
    }
}

fn age(path: &PathStatus) -> Option<Duration> {
    path.heard.map(|at| clock::mono().since(at))
}

fn addresses(group: &GroupStatus) -> Vec<AddressReport> {
    let state = match group.state {
        vrrp::State::Initialize => VrrpState::Initialize,
        vrrp::State::Backup => VrrpState::Backup,
        vrrp::State::Active => VrrpState::Active,
    };
    let holder = match (group.state, group.holder) {
        (vrrp::State::Active, _) => Holder::Here,
        (_, Some(other)) => Holder::Other(other.to_string()),
        (_, None) => Holder::Nobody,
    };
    group
        .addresses
        .iter()
        .map(|address| AddressReport {
            address: address.to_string(),
            interface: group.interface.clone(),
            vrid: group.vrid,
            vrrp: state,
            holder: holder.clone(),
        })
        .collect()
}

fn waiting(pair: &PairStatus) -> Option<String> {
    let text = match pair.pair.waiting {
        Waiting::Nothing => return None,
        Waiting::Peer => "the peer, which may know more than this appliance",
        Waiting::Operator => {
            "an operator: choose who serves, stop the other, then here: \
             understudy pair force-solo --confirm"
        }
        Waiting::FullCopy => {
            "the peer, which lacks more of the log than is kept: a full copy is made for it"
        }
    };
    Some(text.to_owned())
}

fn problems(rooms: &Rooms, pair: &PairStatus, groups: &[GroupStatus]) -> Vec<ProblemReport> {
    let mut found = Vec::new();
    let mut add = |what: String, runbook: &str| {
        found.push(ProblemReport { what, runbook: runbook.to_owned() });
    };
    let m = &pair.pair;
    match m.state {
        machine::State::Branched => {
            let fork = m.branch.unwrap_or_default();
            add(
                format!(
                    "two histories after record {fork}: this appliance holds changes that the peer lacks"
                ),
                "branched",
            );
        }
        machine::State::Recovering => add("who may serve is not decided yet".into(), "recovering"),
        machine::State::Solo if !pair.standalone => {
            add(
                "the peer is missing: what is acknowledged now is on one disk only".into(),
                "peer-lost",
            );
        }
        machine::State::Joining => {
            add("the copy on the peer is not complete yet".into(), "joining")
        }
        machine::State::Solo | machine::State::Pair => {}
    }
    if m.waiting == Waiting::Operator {
        add("nothing is served until an operator says who serves".into(), "force-solo");
    }
    for path in pair.paths.iter().filter(|p| m.linked && age(p).is_none_or(|t| t >= PATH_SILENCE)) {
        add(format!("the path to {} is silent", path.peer), "peer-lost");
    }
    if let Some(why) = pair.copy.as_ref().and_then(|c| c.stopped.as_ref()) {
        add(format!("the full copy stands still: {why}"), "pair-full-copy");
    }
    if let Some(why) = rooms.pair.merging().and_then(|m| m.stopped) {
        add(format!("the merge of a branch stands still: {why}"), "branched");
    }
    if let Some((version, why)) = rooms.updates.trouble() {
        add(format!("the update to {version} was stopped: {why}"), "update-roll");
    }
    if let Some(witness) = pair.witness.as_ref().filter(|w| !w.reachable) {
        let why = witness.problem.as_deref().unwrap_or("it has not answered yet");
        add(format!("the witness {} is not reachable: {why}", witness.address), "witness-lost");
    }
    if m.witness.in_force && m.witness.reachable && !m.witness.trusted {
        let what = "the witness holds less than the pair knows: nothing rests on it until the two \
                    have seeded it anew";
        add(what.into(), "witness-distrusted");
    }
    if pair.certificate_expires.is_some_and(|at| at <= clock::now_ms()) {
        let what = "a certificate of the pair's link has expired; the link goes on, its keys count";
        add(what.into(), "pair-certificate");
    }
    for (whose, alarm) in rooms.acme.iter().flat_map(|acme| acme.alarms(clock::now_ms())) {
        let what = match alarm {
            Alarm::Missing => format!("no certificate can be obtained for {whose}: see the log"),
            Alarm::Expired => format!("the certificate for {whose} has expired"),
            Alarm::Expires { left } => {
                let hours = left.as_secs() / 3_600;
                format!("the certificate for {whose} ends in {hours} hours: see the log")
            }
        };
        add(what, "certificate-renewal");
    }
    for problem in &pair.problems {
        add(problem.what.clone(), problem.runbook);
    }
    for group in groups {
        if let Some(fault) = &group.fault {
            add(format!("vrid {} on {}: {fault}", group.vrid, group.interface), "address-missing");
        }
        if let Some(problem) = &group.problem {
            let what = &problem.what;
            add(format!("vrid {} on {}: {what}", group.vrid, group.interface), &problem.runbook);
        }
    }
    if rooms.deaf.count() > 0 {
        let what = "a service cannot accept connections: the system is out of files or memory";
        add(what.into(), "listener-down");
    }
    if rooms.store.log().is_stopped() {
        add("the store has stopped after a disk failure".into(), "disk-failure");
    }
    found
}

/// Keeps health's facts and the gauges true, for as long as the process runs.
pub(super) async fn keep_board(rooms: Rooms) {
    let mut round = 0_u32;
    loop {
        let pair = rooms.pair.status().borrow().clone();
        let groups = rooms.vrrp.as_ref().map(|v| v.status()).unwrap_or_default();
        rooms.board.set(facts(&rooms, &pair, &groups));
        gauges(&rooms, &pair, &groups);
        if round.is_multiple_of(QUEUE_EVERY)
            && let Ok(queue) = rooms.mail.queue(usize::MAX)
        {
            metric::QUEUE_DEPTH.set(count(queue.len()));
        }
        round = round.wrapping_add(1);
        tokio::time::sleep(BOARD_EVERY).await;
    }
}

fn facts(rooms: &Rooms, pair: &PairStatus, groups: &[GroupStatus]) -> Facts {
    let m = &pair.pair;
    // An origin's address is missing nowhere: its own machine has it.
    let ours = groups.iter().filter(|g| !g.kind.is_origin());
    let missing = ours.filter(|g| g.state != vrrp::State::Active).count();
    Facts {
        duty: match m.role {
            machine::Role::Primary => Duty::Primary,
            machine::Role::Standby => Duty::Standby,
            machine::Role::None => Duty::Recovering,
        },
        rpo_zero: m.rpo_zero,
        lease: rooms.pair.lease().is_some(),
        // A listener that ends takes the process along: what is left is one that cannot accept.
        listeners_up: rooms.deaf.count() == 0,
        addresses_missing: missing,
        linked: m.linked,
        insync: m.state == machine::State::Pair,
        sync_failed: rooms.store.log().is_stopped(),
    }
}

fn gauges(rooms: &Rooms, pair: &PairStatus, groups: &[GroupStatus]) {
    let (m, log) = (&pair.pair, rooms.store.log());
    metric::LSN_DURABLE.set(log.durable().borrow().0);
    metric::LSN_COMMITTED.set(log.committed().0);
    metric::LSN_APPLIED.set(log.applied().0);
    metric::EPOCH.set(m.epoch.0);
    metric::PRIMARY.set(u64::from(m.role == machine::Role::Primary));
    metric::RPO_ZERO.set(u64::from(m.rpo_zero));
    metric::INSYNC_NODES.set(count(pair.insync.len()));
    let lag = m.peer_durable.map_or(0, |d| log.last().lsn.0.saturating_sub(d.0));
    metric::PEER_LAG_RECORDS.set(lag);
    metric::WITNESS_REACHABLE.set(u64::from(pair.witness.as_ref().is_some_and(|w| w.reachable)));
    let held = groups.iter().filter(|g| g.state == vrrp::State::Active);
    metric::ADDRESSES_HELD.set(count(held.map(|g| g.addresses.len()).sum()));
}

fn count(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}
