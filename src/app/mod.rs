//! The composition root: builds the rooms, wires them, starts and stops them in order.
//!
//! ```text
//! store ─► vrrp ─► pair ──lease──► listeners (smtp, imap), queue
//!                   │
//!                   └──status──► report ─► control socket, health, metrics
//! ```
//!
//! Stopping runs the other way: the role is handed over first, then listeners, addresses, store.

mod address;
mod carry;
mod certificates;
mod form;
mod operator;
mod report;
mod services;
mod shared;
mod update;
mod witness;

use crate::base::notify::Manager;
use crate::base::secret::Secret;
use crate::base::{clock, limit, log as logger, privilege, task};
use crate::cli::{FormBy, Formed, Part, Program};
use crate::config::{self, Config};
use crate::directory::Directory;
use crate::mail::Mail;
use crate::net::{Deaf, Doorstep};
use crate::ops::request::{Failure, PairFacts};
use crate::ops::{control, health};
use crate::pair::formation::{self, PairIdentity, Token};
use crate::pair::side::Side;
use crate::pair::{self, Pair, Vital};
use crate::store::disk::RealDisk;
use crate::store::{Store, StoreOptions, ballast, swap};
use crate::tls;
use crate::tls::acme::Acme;
use crate::vrrp::Vrrp;
use crate::vrrp::guardian::{self, Guardian};
use std::fmt::Display;
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, Once};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use understudy_proto::carry::ImportRules;
use understudy_proto::directory::DirectoryRules;
use understudy_proto::id::NodeId;
use understudy_proto::mailbox::MailboxRules;
use understudy_proto::merge::{Kinds, MergeRules};
use understudy_proto::objects::ObjectsRules;
use understudy_proto::queue::QueueRules;
use understudy_proto::rule::Registry;
use understudy_proto::time::Mono;

/// Threads of the services: the work is disk and network, and small appliances have two cores.
const WORKERS: usize = 2;

/// The appliance, as the command line sees it.
#[derive(Debug)]
pub struct Appliance;

impl Program for Appliance {
    fn run(&self, config: Config, part: Part) -> Result<ExitCode, Failure> {
        logger::init(config.log_level);
        let guardian = match part {
            Part::Whole if needs_guardian(&config) => return guard(&config),
            Part::Whole => None,
            Part::Guarded => {
                Some(Guardian::adopt().map_err(|e| failure("there is no guardian", &e))?)
            }
        };
        tls::install();
        // The pair answers within milliseconds whatever the services do: threads of its own.
        let (services, pair) = (runtime("services", WORKERS)?, pair_runtime()?);
        let result = services.block_on(run(config, guardian, pair.handle()));
        pair.shutdown_background();
        // The last lines of the pair's threads, which do not wait for it themselves.
        log::logger().flush();
        result.map(|()| ExitCode::SUCCESS)
    }

    fn pair_init(&self, config: &Config) -> Result<Formed, Failure> {
        let addresses = config.pair.as_ref().map(|p| p.listen.clone()).unwrap_or_default();
        tls::install();
        make_data_dir(config)?;
        formation::init(&config.data_dir, &addresses, clock::now_ms())
            .map_err(|e| failure("the pair was not made", &e))?;
        formed(config)
    }

    fn pair_join(&self, config: &Config, token: &Secret<String>) -> Result<Formed, Failure> {
        tls::install();
        make_data_dir(config)?;
        let token = token
            .expose()
            .trim()
            .parse::<Token>()
            .map_err(|e| failure("the token cannot be used", &e))?;
        runtime("join", 1)?
            .block_on(formation::join(&config.data_dir, &token))
            .map_err(|e| failure("the pair was not joined", &e))?;
        formed(config)
    }

    fn pair_form(&self, config: &Config, by: Option<&FormBy>) -> Result<Formed, Failure> {
        form::pair_form(config, by)
    }

    fn pair_show(&self, config: &Config) -> Result<PairFacts, Failure> {
        witness::pair_facts(&config.data_dir)
    }

    fn witness(&self, config: config::Witness) -> Result<(), Failure> {
        logger::init(config.log_level);
        tls::install();
        witness::run(config)
    }

    fn witness_init(&self, dir: &Path) -> Result<String, Failure> {
        tls::install();
        let pin = pair::witness::init(dir).map_err(|e| failure("no key was made", &e))?;
        Ok(pin.to_string())
    }
}

/// A guardian has floating addresses to remove, and a peer to tell: who has neither runs as one
/// process.
fn needs_guardian(config: &Config) -> bool {
    !config.vrrp.is_empty() || config.pair.is_some()
}

/// This process becomes the guardian of another that does the work.
fn guard(config: &Config) -> Result<ExitCode, Failure> {
    make_data_dir(config)?;
    let arguments = std::env::args_os().skip(1).chain(["--guarded".into()]);
    guardian::supervise(arguments, &config.data_dir.join("run"))
        .map(ExitCode::from)
        .map_err(|e| failure("the main process cannot be started", &e))
}

fn runtime(name: &str, workers: usize) -> Result<Runtime, Failure> {
    build(threads(name, workers))
}

/// The pair's: heartbeats and decisions must not wait behind a busy service. Its first thread is the
/// one that works; those that wait for disks come later and are ordinary.
fn pair_runtime() -> Result<Runtime, Failure> {
    let first = Once::new();
    let mut builder = threads("pair", 1);
    builder.on_thread_start(move || {
        first.call_once(|| {
            logger::never_wait();
            if let Err(e) = privilege::realtime_alone() {
                log::debug!(err:% = e; "no real-time priority for the pair, going on without");
            }
        });
    });
    build(builder)
}

fn threads(name: &str, workers: usize) -> Builder {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(workers).thread_name(name).enable_all();
    builder
}

fn build(mut builder: Builder) -> Result<Runtime, Failure> {
    builder.build().map_err(|e| failure("the system gives no threads", &e))
}

fn make_data_dir(config: &Config) -> Result<(), Failure> {
    std::fs::create_dir_all(&config.data_dir)
        .map_err(|e| failure(&format!("{} cannot be made", config.data_dir.display()), &e))?;
    let (segment, reserve) = (config.store.segment_len, config.store.reserve_bytes);
    match ballast::trim(&RealDisk, &config.data_dir, segment, reserve) {
        Ok(false) => {}
        Ok(true) => log::error!(data_dir:% = config.data_dir.display(), runbook = "data-disk-full";
            "something has filled the disk; the ballast was given up, so that this start has room"),
        // A start that has room all the same goes on.
        Err(e) => {
            log::warn!(err:% = e, runbook = "data-disk-full"; "the ballast is not what it should be")
        }
    }
    Ok(())
}

fn formed(config: &Config) -> Result<Formed, Failure> {
    match PairIdentity::load(&config.data_dir) {
        Ok(Some(id)) => Ok(Formed { pair: id.pair.to_string(), node: id.node.0 }),
        Ok(None) => Err(Failure::new("the pair's file is not there", "Form the pair again.")),
        Err(e) => Err(failure("the pair's file cannot be read", &e)),
    }
}

/// What the peer's file must say alike. An appliance alone is compared with nobody.
fn agreement(config: &Config) -> Result<pair::Agreement, Failure> {
    let id = PairIdentity::load(&config.data_dir)
        .map_err(|e| failure("the pair's file cannot be read", &e))?;
    Ok(config.agreement(id.map_or_else(Default::default, |id| id.pair.0)))
}

/// A failure whose text already says what to do, or leaves only one thing.
fn failure(what: &str, why: &impl Display) -> Failure {
    Failure::new(format!("{what}: {why}"), "See the log and docs/runbook for what to do.")
}

/// Everything that runs, for those who report and administer.
#[derive(Clone)]
struct Rooms {
    started: Mono,
    config: Arc<Config>,
    store: Store,
    vrrp: Option<Arc<Vrrp>>,
    pair: Pair,
    directory: Directory,
    mail: Mail,
    board: Arc<health::Board>,
    /// Of the services' listeners.
    doorstep: Doorstep,
    /// The services' listeners that cannot accept.
    deaf: Deaf,
    updates: update::Updates,
    /// What services show to clients.
    tls: tls::Service,
    /// What obtains certificates.
    acme: Option<Acme>,
}

/// Files that are open beside sessions: packs, the log, the link, the resolver, operators, health.
const OTHER_FILES: u64 = 4_096;

/// Makes sure that sessions never take the last file: who asks for health would get no answer, and
/// the log no next segment.
fn make_room_for_files() {
    let sessions: u64 = limit::ALL.iter().map(|l| u64::from(l.size())).sum();
    let wanted = sessions + OTHER_FILES;
    match privilege::open_files(wanted) {
        Ok(have) if have < wanted => log::warn!(
            count = have, runbook = "listener-down";
            "fewer files may be open than all sessions need: raise LimitNOFILE to 65536"
        ),
        Ok(_) => {}
        Err(e) => log::warn!(err:% = e, runbook = "listener-down";
            "the limit of open files is not known"),
    }
}

async fn run(config: Config, guardian: Option<Guardian>, threads: &Handle) -> Result<(), Failure> {
    make_room_for_files();
    let started = clock::mono();
    make_data_dir(&config)?;
    // A full copy that is complete takes its place before anything is opened.
    swap::at_boot(&RealDisk, &config.data_dir)
        .map_err(|e| failure("the copy of the peer's data cannot be put in place", &e))?;
    let node = pair::who(&config.data_dir, config.pair.as_ref())
        .map_err(|e| failure("this appliance cannot start", &e))?;
    let control = control::bind(&config.data_dir)
        .map_err(|e| failure("the control socket cannot be opened", &e))?;
    let store = open_store(&config, node)?;
    let vrrp = start_vrrp(&config, guardian.clone())?;
    let (directory, mail) = (Directory::new(store.clone()), Mail::new(store.clone()));
    let (listening, listening_out) = watch::channel(false);
    let (side, doorstep) = (Side::new(), Doorstep::default());
    let manager = Arc::new(Manager::of_this_process());
    // Beats on the services' runtime, not on the pair's: it says whether *they* live.
    let vital = Vital::default();
    drop(task::spawn_critical("vital", vital.clone().beat()));
    let pair_threads = threads.enter();
    let pair = Pair::start(pair::Options {
        store: store.clone(),
        disk: Arc::new(RealDisk),
        data_dir: config.data_dir.clone(),
        pair: config.pair.clone(),
        vrrp: vrrp.clone(),
        guardian,
        listening: listening_out,
        doorstep: doorstep.clone(),
        fatal: StoreOptions::new(&config.data_dir, node).fatal,
        promoted: {
            let mail = mail.clone();
            Arc::new(move |tail| mail.promoted(tail))
        },
        side: side.clone(),
        agreement: agreement(&config)?,
        services: vital.clone(),
        kinds: kinds(),
        restart: {
            let manager = manager.clone();
            Arc::new(move || restart(&manager))
        },
    })
    .map_err(|e| failure("the pair cannot be started", &e))?;
    drop(pair_threads);
    let config = Arc::new(config);
    let board = Arc::new(health::Board::default());
    let deaf = Deaf::default();
    let tls = certificates::service(&config)?;
    let acme = certificates::acme(&config, &tls)?;
    let seat =
        update::Seat { pair: pair.clone(), vrrp: vrrp.clone(), listen: config.listen.clone() };
    let updates = update::start(&config.data_dir, config.pair.is_some(), seat, &side);
    let rooms = Rooms {
        started,
        config,
        store,
        vrrp,
        pair,
        directory,
        mail,
        board,
        doorstep,
        deaf,
        updates,
        tls,
        acme,
    };

    let indexer = rooms.mail.start_indexer();
    let desk = operator::Desk::new(&rooms);
    let services = services::start(&rooms, &side, &desk)?;
    listening.send_replace(true);
    health::serve(rooms.config.management.address, rooms.board.clone())
        .map_err(|e| failure("health cannot be served", &e))?;
    drop(task::spawn_critical("heartbeat", health::heartbeat(rooms.board.clone())));
    keep_watch(threads, manager.clone(), rooms.board.clone());
    drop(task::spawn_critical("board", report::keep_board(rooms.clone())));
    drop(task::spawn_critical("control-socket", control.serve(Arc::new(desk))));
    log::info!(data_dir:% = rooms.config.data_dir.display(); "understudy runs");
    manager.ready();

    wait_for_signal().await?;
    manager.stopping();
    log::info!("stopping: handing over first");
    if let Err(e) = rooms.pair.stop().await {
        log::warn!(err:% = e; "the pair did not stop in good order");
    }
    services.stop();
    if let Some(vrrp) = &rooms.vrrp {
        vrrp.stop();
    }
    drop(indexer);
    rooms.store.close();
    log::info!("stopped");
    Ok(())
}

/// The service manager's watchdog is fed on the pair's threads, by who looks at the services': the word
/// stands for both.
fn keep_watch(threads: &Handle, manager: Arc<Manager>, board: Arc<health::Board>) {
    let _on = threads.enter();
    drop(task::spawn_critical("watchdog", async move {
        manager.keep_watch(|| board.beats(clock::mono())).await;
    }));
}

/// Puts a new image of the program in this process's place: a full copy is taken in at the start.
fn restart(manager: &Manager) -> ! {
    manager.pause();
    log::logger().flush();
    let e = swap::exec_self();
    log::error!(err:% = e, runbook = "pair-full-copy"; "the program cannot start itself anew, stopping");
    log::logger().flush();
    std::process::abort();
}

fn open_store(config: &Config, node: NodeId) -> Result<Store, Failure> {
    let mut options = StoreOptions::new(&config.data_dir, node);
    options.segment_len = config.store.segment_len;
    options.log_keep_bytes = config.store.log_keep_bytes;
    options.reserve_bytes = config.store.reserve_bytes;
    options.checkpoint_every = config.store.checkpoint_every;
    // One budget over all open indexes (DESIGN.md 2).
    let views = usize::try_from(config.store.cache_bytes).unwrap_or(usize::MAX)
        / options.cache_bytes.max(1);
    options.open_views_max = views.max(4);
    let registry = Registry::default()
        .with(DirectoryRules)
        .with(MailboxRules)
        .with(QueueRules)
        .with(ImportRules)
        .with(ObjectsRules)
        .with(MergeRules(kinds()));
    Store::open(Arc::new(RealDisk), options, registry)
        .map_err(|e| failure("the store cannot be opened", &e))
}

/// The kinds that are merged when both nodes of a pair went on alone, in this order.
fn kinds() -> Kinds {
    Kinds::new(vec![
        Box::new(ImportRules),
        Box::new(DirectoryRules),
        Box::new(MailboxRules),
        Box::new(QueueRules),
        Box::new(ObjectsRules),
    ])
}

fn start_vrrp(config: &Config, guardian: Option<Guardian>) -> Result<Option<Arc<Vrrp>>, Failure> {
    if config.vrrp.is_empty() {
        return Ok(None);
    }
    let groups = config.vrrp.iter().map(address::group).collect::<Result<Vec<_>, _>>()?;
    let vrrp = match guardian {
        Some(guardian) => Vrrp::start_guarded(guardian, groups),
        None => Vrrp::start(groups),
    };
    Ok(Some(Arc::new(vrrp.map_err(|e| failure("VRRP cannot be started", &e))?)))
}

async fn wait_for_signal() -> Result<(), Failure> {
    let open = |kind| signal(kind).map_err(|e| failure("signals cannot be received", &e));
    let (mut term, mut int) = (open(SignalKind::terminate())?, open(SignalKind::interrupt())?);
    let mut hangup = open(SignalKind::hangup())?;
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
        _ = hangup.recv() => {}
    }
    Ok(())
}
