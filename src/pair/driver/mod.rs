//! Binds the pair's machine to the world: store, link, VRRP, register, operator.
//!
//! ```text
//!            link: sessions, frames, beacons ─┐        ┌─► link: frames, beacons
//!   store: appended, durable, applied ────────┤        ├─► store: append, commit, read, set aside
//!   vrrp: MasterDown, HeardActive ────────────┼─► one ─┼─► vrrp: stand, pulse
//!   register: durable ────────────────────────┤  task  ├─► register, journal
//!   operator: handover, force-solo, stop ─────┘        └─► lease: mint, revoke · status
//! ```
//!
//! Invariants: outputs are carried out in the machine's order; the lease is minted only on `Lead`
//! and revoked before anything else; nothing in the one task waits for a disk or for the peer
//! (workers do, and report). Absent on purpose: any decision.

mod refusals;
mod run;
mod tasks;
#[cfg(test)]
mod tests;

use super::agreement::Agreement;
use super::branch::{self, MergeStatus};
use super::formation::{FormationError, PairIdentity};
use super::journal::{self, Entry};
use super::link::{self, Link, LinkError};
use super::register::{self, RegisterError};
use super::resync::{self, Claim, CopyStatus};
use super::side::Side;
use super::vital::Vital;
use super::witness::{Client, ClientOptions, WitnessStatus};
use crate::base::{clock, task};
use crate::config;
use crate::net::{Doorstep, Gate, Leave, Notice, Pass};
use crate::store::disk::Disk;
use crate::store::{FatalHook, PrimaryLease, Store};
use crate::tls::Pin;
use crate::vrrp::Vrrp;
use crate::vrrp::guardian::Guardian;
use run::Driver;
pub(super) use run::log_state;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use understudy_proto::id::{Lsn, NodeId};
use understudy_proto::merge::Kinds;
use understudy_proto::pair::{Insync, Machine, Misfit, Register, Status, Timers};
use understudy_proto::time::{Mono, UnixMs};

/// Commands that wait for the driver.
const COMMANDS_MAX: usize = 8;
/// Between two looks at what needs looking at when there is no pair to heartbeat for.
const TICK_ALONE: Duration = Duration::from_millis(100);

/// What the driver is built from.
pub struct Options {
    /// The open store.
    pub store: Store,
    /// The disk that it lies on.
    pub disk: Arc<dyn Disk>,
    /// The data directory: `pair/` in it is the driver's.
    pub data_dir: PathBuf,
    /// The `[pair]` section; `None` for an appliance alone.
    pub pair: Option<config::Pair>,
    /// The floating addresses; `None` without any.
    pub vrrp: Option<Arc<Vrrp>>,
    /// Who says goodbye to the peer when this process has ended; `None` without a peer.
    pub guardian: Option<Guardian>,
    /// Whether the service listeners are up: the addresses are held only while they are.
    pub listening: watch::Receiver<bool>,
    /// Those listeners, whose door is closed while the lead is handed over.
    pub doorstep: Doorstep,
    /// Called when the pair must stop: the register cannot be made durable.
    pub fatal: FatalHook,
    /// Called at each promotion, before the lease, with the last record that is promoted.
    pub promoted: Promoted,
    /// What else travels on the session.
    pub side: Side,
    /// The settings that the peer must have alike; compared before it is talked to.
    pub agreement: Agreement,
    /// The services' sign of life: without it the addresses go.
    pub services: Vital,
    /// Starts the program anew, to use a copy of the peer's data that has become complete.
    pub restart: Restart,
    /// The kinds of change that are merged when both nodes went on alone.
    pub kinds: Kinds,
}

/// See [`Options::restart`]. Returns only in tests.
pub type Restart = Arc<dyn Fn() + Send + Sync>;

/// See [`Options::promoted`]. The takeover waits for it: milliseconds at most.
pub type Promoted = Arc<dyn Fn(Lsn) + Send + Sync>;

/// Why the pair could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// `[pair]` is there, the pair is not.
    #[error(
        "[pair] is configured, but this appliance is in no pair yet: run `understudy pair init` on \
         the first one and `understudy pair join` on the second, or leave [pair] out"
    )]
    NotFormed,
    /// The pair is there, `[pair]` is not.
    #[error(
        "this appliance is node {0} of a pair, but the config file has no [pair] section; alone it \
         could go on without its peer's changes"
    )]
    NotConfigured(NodeId),
    /// Times that do not fit together.
    #[error(transparent)]
    Timers(#[from] Misfit),
    /// Files of the formation.
    #[error(transparent)]
    Formation(#[from] FormationError),
    /// The register.
    #[error(transparent)]
    Register(#[from] RegisterError),
    /// The link.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The journal.
    #[error("the journal in {path} cannot be read: {source}")]
    Journal {
        /// Its folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// Why an operator's word was not followed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// A handover starts at the primary.
    #[error("this appliance is not primary; say it on the other one")]
    NotPrimary,
    /// There is no other appliance.
    #[error("this appliance stands alone: there is no [pair] to hand over to")]
    NoPeer,
    /// Nobody to hand over to.
    #[error("the standby does not have everything (the pair is {0}); wait until it does")]
    NoStandby(String),
    /// Its addresses could be held nowhere.
    #[error(
        "the other appliance's service network is in fault and this one's is well: nobody could be \
         served there (docs/runbook/own-health.md)"
    )]
    PeerUnfit,
    /// It was tried and did not come about.
    #[error("the other appliance did not take over in time; see the log of both")]
    NotTaken,
    /// A forced start was tried and did not come about.
    #[error(
        "this appliance could not lead in time: see `understudy status` (disk, witness), then say it \
         again"
    )]
    NotLeading,
    /// The peer lives: nobody needs to be forced.
    #[error("the other appliance is heard; stop it, or let the two settle it")]
    PeerIsThere,
    /// What it would lead with is about to be replaced.
    #[error(
        "this appliance's data is being replaced by the peer's, and it starts anew: wait for that, \
         then say it again"
    )]
    CopyInPlace,
    /// It leads already.
    #[error("this appliance leads already")]
    AlreadyPrimary,
    /// Too many words at once, or the process is stopping.
    #[error("the pair is busy or stopping; try again")]
    Busy,
}

/// What an operator asks, and which user of the system that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Command {
    Handover { uid: u32 },
    ForceSolo { uid: u32 },
    Stop,
}

type Reply = oneshot::Sender<Result<(), CommandError>>;

/// One path to the peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathStatus {
    /// The peer's address on it.
    pub peer: SocketAddr,
    /// When the last beacon arrived on it.
    pub heard: Option<Mono>,
    /// Whether the session runs over it.
    pub session: bool,
}

/// What a new primary promoted without knowing whether the old one had answered for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unconfirmed {
    /// Everything up to here was known to be committed.
    pub after: Lsn,
    /// The last record that was promoted.
    pub last: Lsn,
    /// When.
    pub at: UnixMs,
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What, in a sentence.
    pub what: String,
    /// `docs/runbook/<name>.md`
    pub runbook: &'static str,
}

/// The truth about the pair (invariant 13), as this node knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PairStatus {
    /// What the machine says.
    pub pair: Status,
    /// Whether no peer is configured.
    pub standalone: bool,
    /// Whether this node holds the lease: services run.
    pub serving: bool,
    /// Everything up to here is visible to readers.
    pub applied: Lsn,
    /// Nodes that every acknowledged change is durable on, as far as this node knows.
    pub insync: Vec<NodeId>,
    /// Paths to the peer, in the order of the configuration.
    pub paths: Vec<PathStatus>,
    /// What was promoted unconfirmed at the last takeover of this process.
    pub unconfirmed: Option<Unconfirmed>,
    /// When the peer's or our link certificate expires, whichever comes first. The pair does not
    /// mind; people may.
    pub certificate_expires: Option<UnixMs>,
    /// What is wrong.
    pub problems: Vec<Problem>,
    /// The newest move to this node that the journal knows.
    pub last_promotion: Option<Entry>,
    /// The third vote, where one is configured.
    pub witness: Option<WitnessStatus>,
    /// A full copy that is under way.
    pub copy: Option<CopyStatus>,
}

/// Which node this appliance is: to be asked before anything is opened, so that an appliance that
/// is still to join stays empty.
///
/// # Errors
/// The config file and the formation do not agree, or the latter cannot be read.
pub fn who(data_dir: &Path, config: Option<&config::Pair>) -> Result<NodeId, StartError> {
    identity(data_dir, config).map(|id| id.map_or(NodeId(0), |(_, id)| id.node))
}

fn identity<'a>(
    data_dir: &Path,
    config: Option<&'a config::Pair>,
) -> Result<Option<(&'a config::Pair, PairIdentity)>, StartError> {
    match (config, PairIdentity::load(data_dir)?) {
        (None, None) => Ok(None),
        (None, Some(id)) => Err(StartError::NotConfigured(id.node)),
        (Some(_), None) => Err(StartError::NotFormed),
        (Some(config), Some(id)) => Ok(Some((config, id))),
    }
}

/// The pair, running. Clones are the same; dropping the last one ends it like a power cut.
#[derive(Clone)]
pub struct Pair(Arc<Handle>);

struct Handle {
    commands: mpsc::Sender<(Command, Reply)>,
    lease: watch::Receiver<Option<PrimaryLease>>,
    status: watch::Receiver<PairStatus>,
    journal: watch::Receiver<Arc<Vec<Entry>>>,
    task: JoinHandle<()>,
    resync: Option<JoinHandle<()>>,
    branch: Option<JoinHandle<()>>,
    merging: watch::Receiver<Option<MergeStatus>>,
    upkeep: JoinHandle<()>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.task.abort();
        self.upkeep.abort();
        for helper in [&self.resync, &self.branch].into_iter().flatten() {
            helper.abort();
        }
    }
}

/// Opens services while this node holds the lease.
#[derive(Clone)]
pub struct LeaseGate(watch::Receiver<Option<PrimaryLease>>);

impl Gate for LeaseGate {
    type Pass = PrimaryLease;

    fn current(&self) -> Option<PrimaryLease> {
        self.0.borrow().clone().filter(PrimaryLease::valid)
    }
}

impl Pass for PrimaryLease {
    async fn revoked(&self) {
        Self::revoked(self).await;
    }

    fn leave(&self) -> Leave {
        // The clock is read for every write: a cached answer would outlive a freeze.
        match (self.valid(), self.fresh(clock::mono())) {
            (true, true) => Leave::Now,
            (true, false) => Leave::NotYet,
            (false, _) => Leave::Never,
        }
    }

    async fn decided(&self) {
        Self::decided(self).await;
    }

    fn notice(&self) -> Notice {
        Notice::new(Self::notice(self))
    }
}

impl Pair {
    /// Starts the driver; the node is RECOVERING until the machine says otherwise.
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn start(options: Options) -> Result<Self, StartError> {
        let dir = options.data_dir.join("pair");
        let found = register::read(options.disk.as_ref(), &dir)?;
        let mut witness = None;
        let (link, timers, node) = match identity(&options.data_dir, options.pair.as_ref())? {
            None => (None, timers_alone(), NodeId(0)),
            Some((config, id)) => {
                let log_room = options.store.log().segment_len().saturating_mul(LOG_ROOM_SEGMENTS);
                let timers = Timers { log_room, ..config.timers() };
                timers.check(config.advert)?;
                let node = id.node;
                if let Some(options) = witness_options(config) {
                    witness = Some(Client::start(options, &id).map_err(LinkError::Tls)?);
                }
                let link = Link::start(link_options(config, &options), id.clone())?;
                (Some((link, id)), timers, node)
            }
        };
        let log = options.store.log();
        let register = found.unwrap_or_else(|| {
            let founded = link.as_ref().is_none_or(|(_, id)| id.founded);
            first_register(node, founded, link.is_none() || log.last().lsn == Lsn(0))
        });
        let entries = journal::read(&dir)
            .map_err(|source| StartError::Journal { path: dir.clone(), source })?;
        let machine = Machine::new(node, timers, register, log_state(log), clock::mono());
        let (commands, commands_out) = mpsc::channel(COMMANDS_MAX);
        let tick = options.pair.as_ref().map_or(TICK_ALONE, |pair| pair.heartbeat);
        let (copy, copy_out) = watch::channel(None);
        let claim = Claim::default();
        let resync = resync_options(&options, copy, claim.clone());
        let (merge, merging) = watch::channel(None);
        let merge_options = branch_options(&options, merge, claim.clone());
        let store = options.store.clone();
        let data = (Arc::clone(&options.disk), options.data_dir.clone());
        let (driver, watches) = Driver::new(
            options,
            machine,
            link,
            witness,
            dir,
            entries,
            commands_out,
            tick,
            timers,
            (copy_out, claim),
        );
        let status = watches.status.clone();
        let resync = resync.and_then(|options| resync::start(options, status.clone()));
        let lease = watches.lease.clone();
        let upkeep = branch::upkeep(store, data, status.clone(), lease.clone());
        let upkeep = task::spawn("branch-upkeep", upkeep);
        let branch = merge_options.and_then(|options| branch::start(options, status, lease));
        let task = task::spawn_critical("pair", driver.run());
        Ok(Self(Arc::new(Handle {
            resync,
            branch,
            merging,
            upkeep,
            commands,
            lease: watches.lease,
            status: watches.status,
            journal: watches.journal,
            task,
        })))
    }

    /// For [`crate::net::serve`].
    #[must_use]
    pub fn gate(&self) -> LeaseGate {
        LeaseGate(self.0.lease.clone())
    }

    /// How far the merge of a branch is, while one is under way.
    #[must_use]
    pub fn merging(&self) -> Option<MergeStatus> {
        self.0.merging.borrow().clone()
    }

    /// The lease, while this node holds it.
    #[must_use]
    pub fn lease(&self) -> Option<PrimaryLease> {
        self.gate().current()
    }

    /// Follows the lease: `Some` while this node leads.
    #[must_use]
    pub fn watch_lease(&self) -> watch::Receiver<Option<PrimaryLease>> {
        self.0.lease.clone()
    }

    /// The pair's state: at once when it changes, positions within a heartbeat.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<PairStatus> {
        self.0.status.clone()
    }

    /// The last role changes, oldest first.
    #[must_use]
    pub fn journal(&self) -> Arc<Vec<Entry>> {
        Arc::clone(&self.0.journal.borrow())
    }

    /// Moves the primary role to the peer, as the user `uid` asks; returns when the peer has it.
    ///
    /// # Errors
    /// See [`CommandError`].
    pub async fn handover(&self, uid: u32) -> Result<(), CommandError> {
        self.command(Command::Handover { uid }).await
    }

    /// Leads with what is here, because an operator (the user `uid`) has confirmed that the peer is
    /// gone; returns when this node leads.
    ///
    /// # Errors
    /// See [`CommandError`].
    pub async fn force_solo(&self, uid: u32) -> Result<(), CommandError> {
        self.command(Command::ForceSolo { uid }).await
    }

    /// Stops in good order: the peer takes over at once where it can. The lease is revoked and the
    /// link closed when this returns; the store may be closed then.
    ///
    /// # Errors
    /// The driver is gone already.
    pub async fn stop(&self) -> Result<(), CommandError> {
        self.command(Command::Stop).await
    }

    async fn command(&self, command: Command) -> Result<(), CommandError> {
        let (reply, answer) = oneshot::channel();
        if self.0.commands.try_send((command, reply)).is_err() {
            return Err(CommandError::Busy);
        }
        answer.await.unwrap_or(Err(CommandError::Busy))
    }
}

/// What a node is taken for that has no register yet.
fn first_register(node: NodeId, founded: bool, fresh: bool) -> Register {
    let register = Register::formed(node);
    if founded && fresh {
        return Register { holder: node, insync: Insync::Only(node), stale: false, ..register };
    }
    // A node that joined has nothing; one that lost its register knows nothing.
    let holder = node.peer();
    Register { holder, insync: Insync::Only(holder), stale: true, ..register }
}

/// `None` for an appliance alone.
fn resync_options(
    options: &Options,
    copy: watch::Sender<Option<CopyStatus>>,
    claim: Claim,
) -> Option<resync::Options> {
    let pair = options.pair.as_ref()?;
    Some(resync::Options {
        store: options.store.clone(),
        disk: Arc::clone(&options.disk),
        data_dir: options.data_dir.clone(),
        side: options.side.clone(),
        bytes_per_s: pair.resync_bytes_per_s,
        restart: Arc::clone(&options.restart),
        copy,
        claim,
    })
}

/// `None` for an appliance alone.
fn branch_options(
    options: &Options,
    merging: watch::Sender<Option<MergeStatus>>,
    claim: Claim,
) -> Option<branch::Options> {
    options.pair.as_ref()?;
    Some(branch::Options {
        store: options.store.clone(),
        disk: Arc::clone(&options.disk),
        data_dir: options.data_dir.clone(),
        side: options.side.clone(),
        restart: Arc::clone(&options.restart),
        kinds: options.kinds.clone(),
        merging,
        claim,
    })
}

fn timers_alone() -> Timers {
    Timers { has_peer: false, solo_boot_wait: Duration::ZERO, vrrp: false, ..Timers::default() }
}

/// A standby asks to be left while its disk has room for so many segments of the log: one may be
/// begun at any time, and the others are more than arrives between two looks at the disk.
const LOG_ROOM_SEGMENTS: u64 = 4;
/// Pause between two questions to a witness that is not asked otherwise.
const WITNESS_KEEPALIVE: Duration = Duration::from_secs(1);

fn witness_options(config: &config::Pair) -> Option<ClientOptions> {
    config.witness.map(|witness| ClientOptions {
        address: witness.address,
        pin: Pin(witness.pin),
        connect_timeout: config.connect_timeout,
        answer_timeout: witness.answer_timeout,
        keepalive: WITNESS_KEEPALIVE,
    })
}

fn link_options(config: &config::Pair, options: &Options) -> link::Options {
    link::Options {
        listen: config.listen.clone(),
        peer: config.peer.clone(),
        heartbeat: config.heartbeat,
        silence: config.session_silence(),
        connect_timeout: config.connect_timeout,
        reconnect: config.reconnect,
        data_dir: options.data_dir.clone(),
        guardian: options.guardian.clone(),
    }
}
