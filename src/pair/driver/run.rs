//! The one task that holds the machine.

use super::tasks::{self, Done, LogQueue};
use super::{
    Command, CommandError, Entry, Options, PairStatus, PathStatus, Problem, Reply, Unconfirmed,
    journal,
};
use crate::base::{clock, task};
use crate::pair::agreement::disagreement;
use crate::pair::formation::PairIdentity;
use crate::pair::link::{Event, Heard, Link, Queue, SessionId};
use crate::pair::resync::{Claim, Claimed, CopyStatus};
use crate::pair::vital::{DISK_HANG_MAX, Hang};
use crate::pair::witness::Client;
use crate::store::{LeaseControl, Log, PrimaryLease, Room, StoreError};
use crate::tls;
use crate::vrrp::{self, Priority, Stand, VrrpEvent};
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use understudy_proto::id::{Epoch, Lsn, NodeId};
use understudy_proto::pair::witness::{WitnessAnswer, WitnessAsk};
use understudy_proto::pair::{
    Frame, Health, History, Input, LogState, Machine, Note, Operator, Output, Register, Role,
    Sorry, State, Timers, VERSION, VrrpNews, VrrpStand, Waiting,
};
use understudy_proto::record;
use understudy_proto::time::Mono;

/// Pause between two pulses.
const PULSE_EVERY: Duration = Duration::from_millis(20);
/// How long one pulse lets the addresses stay where no lease limits them.
const PULSE_LEAST: Duration = vrrp::PULSE_MAX;
/// Heartbeats between a standby's silence and the witness's word that this node leads alone.
const WORD_HEARTBEATS: u32 = 4;
/// A timer that fires later than this tells that the process stood still.
const STALL: Duration = Duration::from_millis(50);
/// After a standstill, what has arrived meanwhile is heard for so long before time counts.
const STALL_GRACE: Duration = Duration::from_millis(20);
/// A path on which nothing was heard for so long was lost: ten of the slowest heartbeats.
const PATH_LOST: Duration = Duration::from_secs(1);
/// Least time between two timeouts of the machine: a deadline in the past must not spin.
const TIMEOUT_PAUSE: Duration = Duration::from_millis(2);
/// How long a handover waits for those who have begun to connect: until they are greeted, at most a
/// far client's round trips, so that one who says nothing holds up nobody for long.
const DOORSTEP_MIN: Duration = Duration::from_millis(2);
const DOORSTEP_MAX: Duration = Duration::from_millis(100);
/// How long the door stays closed on a node that does not lead afterwards: nobody's knock is kept
/// longer.
const DOOR_MAX: Duration = Duration::from_secs(3);
/// Pause before the door is opened again that did not open.
const DOOR_AGAIN: Duration = Duration::from_secs(1);
/// Pause between two looks at the doorstep.
const DOORSTEP_LOOK: Duration = Duration::from_millis(1);
/// Pause before the log is read again where it had nothing.
const READ_PAUSE: Duration = Duration::from_millis(5);
/// Most time for an operator's word beyond the machine's own limit.
const COMMAND_GRACE: Duration = Duration::from_secs(2);
/// Most time that sessions have for their goodbye before the lease is revoked in good order.
const FAREWELL_MAX: Duration = Duration::from_millis(5);
/// The same where nobody waits for the lead, nor for the addresses.
const FAREWELL_ALONE_MAX: Duration = Duration::from_secs(1);
/// Most time for the last frames to leave at an orderly stop.
const FLUSH_TIMEOUT: Duration = Duration::from_millis(200);
/// A loss of the session longer ago than this did not bring a promotion about.
const CAUSE_AGE_MAX: Duration = Duration::from_secs(60);

/// Bytes of records that may wait for the standby's log, in windows of the primary. It may send one,
/// and the last frame of it may go beyond.
const LOG_QUEUE_WINDOWS: usize = 2;

/// What the world follows.
pub(super) struct Watches {
    pub(super) lease: watch::Receiver<Option<PrimaryLease>>,
    pub(super) status: watch::Receiver<PairStatus>,
    pub(super) journal: watch::Receiver<Arc<Vec<Entry>>>,
}

pub(super) struct Driver {
    options: Options,
    pub(super) log: Log,
    pub(super) machine: Machine,
    timers: Timers,
    tick: Duration,
    link: Option<Link>,
    pub(super) certificate_expires: Option<understudy_proto::time::UnixMs>,
    session: Option<Session>,
    /// A session on which the peer has not said yet what its file says, or says something else.
    meeting: Option<Session>,
    /// A session that waits until the log's queue is empty.
    coming: Option<Session>,
    /// The peer's keyring is being taken in: frames after it wait.
    importing: bool,
    /// Inputs that follow from outputs.
    inputs: VecDeque<Input>,
    jobs: LogQueue,
    done: mpsc::Sender<Done>,
    done_out: mpsc::Receiver<Done>,
    commands: mpsc::Receiver<(Command, Reply)>,
    asked: Option<(Command, Reply, Mono)>,
    /// The last word that was followed, until the change that it asked for is noted: a forced start
    /// may come about after its time was over.
    followed: Option<Command>,
    /// Since when the listeners' door is closed.
    door_closed: Option<Mono>,
    /// When it was last to be opened, until it is known to be.
    door_opens: Option<Mono>,
    registers: watch::Sender<Option<(u64, Register)>>,
    /// The newest register that is on its way to the disk, and since when any has been.
    writing: Option<(u64, Mono)>,
    control: Option<LeaseControl>,
    leaving: Option<Leaving>,
    lease: watch::Sender<Option<PrimaryLease>>,
    /// Until when readers may be answered; the machine says so before and after it leads.
    lease_until: Mono,
    witness: Option<Client>,
    status: watch::Sender<PairStatus>,
    journal: watch::Sender<Arc<Vec<Entry>>>,
    copy: watch::Receiver<Option<CopyStatus>>,
    claim: Claim,
    vrrp_events: Option<mpsc::Receiver<VrrpEvent>>,
    groups: Vec<Group>,
    stand: VrrpStand,
    pulsed: Mono,
    /// When a beacon last arrived, per path.
    heard: Vec<Option<Mono>>,
    /// What keeps this node from making progress.
    hang: Option<Hang>,
    lost_at: Option<Mono>,
    role: Role,
    unconfirmed: Option<Unconfirmed>,
    /// The reign that begins was another's until now.
    taken_over: bool,
    pub(super) problems: BTreeMap<&'static str, String>,
    /// What the peer is told when the session is closed next.
    pub(super) last_word: Option<Sorry>,
    /// When a reign that is over was last refused, by either.
    pub(super) refused_at: Option<Mono>,
    /// Whether it was said that an operator is waited for.
    waits: bool,
    /// When the peer was last refused for its release.
    pub(super) other_release_at: Option<Mono>,
    /// When it was last said that a certificate has expired.
    pub(super) expiry_said: Option<Mono>,
    workers: Vec<JoinHandle<()>>,
}

struct Session {
    id: SessionId,
    peer: SocketAddr,
    queue: Queue,
    /// The newest version of our keyring that went out on it.
    keyring_sent: u64,
}

/// What is known of a virtual router.
struct Group {
    down: bool,
    origin: bool,
    /// Our own interface is down or unfit.
    fault: bool,
    adverts: u64,
}

impl Drop for Driver {
    fn drop(&mut self) {
        for worker in &self.workers {
            worker.abort();
        }
    }
}

impl Driver {
    #[expect(clippy::too_many_arguments, reason = "called once, by the one who owns all of them")]
    pub(super) fn new(
        options: Options,
        machine: Machine,
        link: Option<(Link, PairIdentity)>,
        witness: Option<Client>,
        dir: PathBuf,
        entries: Vec<Entry>,
        commands: mpsc::Receiver<(Command, Reply)>,
        tick: Duration,
        timers: Timers,
        (copy, claim): (watch::Receiver<Option<CopyStatus>>, Claim),
    ) -> (Self, Watches) {
        let log = options.store.log().clone();
        let (done, done_out) = mpsc::channel(tasks::DONE_MAX);
        let jobs = LogQueue::new(timers.window.saturating_mul(LOG_QUEUE_WINDOWS));
        let (registers, registers_out) = watch::channel(None);
        let (journal, journal_out) = watch::channel(Arc::new(entries));
        let (lease, lease_out) = watch::channel(None);
        let disk = Arc::clone(&options.disk);
        let workers = vec![
            tasks::log_worker(jobs.clone(), log.clone(), done.clone()),
            tasks::register_worker(registers_out, disk, dir.clone(), done.clone()),
            tasks::journal_worker(journal_out.clone(), dir),
            tasks::room_worker(options.store.clone(), timers.log_room, done.clone()),
        ];
        let vrrp = options.vrrp.as_ref();
        // An origin's group says nothing about the peer: it counts as down for good.
        let groups = vrrp.map(|v| v.status()).unwrap_or_default();
        let groups = groups.iter().map(|g| Group {
            down: g.kind.is_origin(),
            origin: g.kind.is_origin(),
            fault: false,
            adverts: 0,
        });
        let paths = options.pair.as_ref().map_or(0, |pair| pair.peer.len());
        let (link, certificate_expires) = match link {
            Some((link, id)) => (Some(link), certificate_expires(&id)),
            None => (None, None),
        };
        let first = PairStatus {
            pair: machine.status(),
            standalone: link.is_none(),
            serving: false,
            applied: log.applied(),
            insync: Vec::new(),
            paths: Vec::new(),
            unconfirmed: None,
            certificate_expires,
            problems: Vec::new(),
            last_promotion: None,
            witness: witness.as_ref().map(Client::status),
            copy: None,
        };
        let (status, status_out) = watch::channel(first);
        let driver = Self {
            vrrp_events: vrrp.and_then(|v| v.events()),
            groups: groups.collect(),
            options,
            log,
            machine,
            timers,
            tick,
            link,
            certificate_expires,
            session: None,
            meeting: None,
            coming: None,
            importing: false,
            inputs: VecDeque::new(),
            jobs,
            done,
            done_out,
            commands,
            asked: None,
            followed: None,
            door_closed: None,
            door_opens: None,
            registers,
            writing: None,
            control: None,
            leaving: None,
            lease,
            lease_until: Mono(0),
            witness,
            status,
            journal,
            copy,
            claim,
            stand: VrrpStand::Silent,
            pulsed: Mono(0),
            heard: vec![None; paths],
            hang: None,
            lost_at: None,
            role: Role::None,
            unconfirmed: None,
            taken_over: false,
            problems: BTreeMap::new(),
            last_word: None,
            refused_at: None,
            waits: false,
            other_release_at: None,
            expiry_said: None,
            workers,
        };
        (driver, Watches { lease: lease_out, status: status_out, journal: journal_out })
    }

    /// Runs until the process ends.
    pub(super) async fn run(mut self) {
        let mut durable = self.log.durable();
        let mut appended = self.log.appended();
        let mut applied = self.log.watch_applied();
        let mut keyring = self.options.store.keyring().newest();
        let mut ticks = tokio::time::interval(self.tick);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut timeout_at = clock::mono();
        // What the store did before we looked counts, too.
        self.feed(Input::Durable(*durable.borrow_and_update()));
        self.feed(Input::Applied(*applied.borrow_and_update()));
        loop {
            self.settle();
            if self.stop_is_through() {
                return self.finish().await;
            }
            let deadline = self.machine.poll_timeout().map(|at| at.max(timeout_at));
            let quiet = self.coming.is_none() && !self.importing;
            // What has arrived is heard before the clock: hence the order, and `biased`.
            tokio::select! {
                biased;
                Some(done) = self.done_out.recv() => self.done(done),
                Some((command, reply)) = self.commands.recv() => self.command(command, reply),
                Ok(()) = durable.changed() => {
                    let lsn = *durable.borrow_and_update();
                    self.feed(Input::Durable(lsn));
                }
                Ok(()) = appended.changed() => {
                    let lsn = *appended.borrow_and_update();
                    self.feed(Input::Appended(lsn));
                }
                Ok(()) = applied.changed() => {
                    let lsn = *applied.borrow_and_update();
                    self.feed(Input::Applied(lsn));
                }
                news = next_of_link(&mut self.link, quiet) => match news {
                    News::Event(event) => self.event(event),
                    News::Beacon(heard) => self.beacon(heard),
                },
                Some((number, answer)) = next_answer(&mut self.witness) => {
                    self.feed(Input::Witness { number, answer });
                }
                Some(event) = next_vrrp(&mut self.vrrp_events) => self.vrrp_event(event),
                () = gone(self.leaving.as_ref(), self.control.as_ref()) => self.leave(),
                Ok(()) = keyring.changed() => { keyring.borrow_and_update(); }
                _ = ticks.tick() => self.on_tick(),
                () = sleep_until(deadline) => timeout_at = self.timeout(deadline),
            }
        }
    }

    fn feed(&mut self, input: Input) {
        self.inputs.push_back(input);
    }

    /// Feeds what waits and carries out what follows, until nothing is left; then tells the world.
    fn settle(&mut self) {
        self.drain();
        while let Some(input) = self.inputs.pop_front() {
            self.machine.handle(clock::mono(), input);
            self.drain();
        }
        if self.log.is_stopped() && !self.problems.contains_key("store") {
            let why = "the store has stopped: a disk failed; see the log";
            self.problems.insert("store", why.to_owned());
            self.revoke();
            self.take_stand(VrrpStand::Silent);
        }
        self.settle_keyring();
        if let Some(link) = &self.link {
            link.say(self.machine.beacon(clock::mono()));
        }
        if self.control.is_some() {
            self.open_door(); // The machine did not follow.
        }
        self.answer_command();
        self.publish(false);
    }

    fn drain(&mut self) {
        // Invariant 13: whoever gets an answer that rests on a new state can also see that state.
        self.publish(false);
        while let Some(output) = self.machine.poll_output() {
            self.carry_out(output);
        }
    }

    fn carry_out(&mut self, output: Output) {
        match output {
            Output::Send(frame) => {
                if let Frame::Refuse { seen } = frame {
                    self.refuse_reign(seen);
                }
                self.send(&frame);
            }
            Output::CloseSession(reason) => self.close_session(reason),
            Output::Read { from, max } => self.read(from, max),
            Output::Append(bytes) => self.take_records(bytes),
            Output::SetAside(from) => self.jobs.set_aside(from),
            Output::Persist { number, register } => {
                self.registers.send_replace(Some((number, register)));
                let since = self.writing.map_or_else(clock::mono, |(_, since)| since);
                self.writing = Some((number, since));
            }
            Output::BeginEpoch(epoch) => self.begin_epoch(epoch),
            Output::Commit(lsn) => self.log.commit(lsn),
            Output::Unconfirmed { after, tail } => {
                let unconfirmed = Unconfirmed { after, last: tail, at: clock::now_ms() };
                self.unconfirmed = (tail > after).then_some(unconfirmed);
                // Before the epoch's own first record: whose reign was it until now?
                let before = self.log.last().epoch;
                let taken_over = before.0 & 1 != u64::from(self.machine.status().node.0);
                self.taken_over = taken_over && before.0 > 0;
                // Before the lease: nobody may repeat a transaction that is not yet remembered.
                (self.options.promoted)(tail);
            }
            Output::Lead(epoch) => {
                self.mark_fork(epoch);
                if !self.log.is_stopped() {
                    let (lease, control) = PrimaryLease::mint(epoch);
                    control.extend(self.lease_until);
                    self.open_door();
                    self.control = Some(control);
                    self.lease.send_replace(Some(lease));
                    self.pulse(clock::mono());
                }
            }
            Output::Revoke => {
                self.revoke();
                self.jobs.tail();
            }
            Output::Vrrp(stand) => self.take_stand(stand),
            Output::Lease(until) => {
                self.lease_until = until;
                if let Some(control) = &self.control {
                    control.extend(until);
                }
                self.pulse(clock::mono());
            }
            Output::Witness { number, ask } => self.ask_witness(number, ask),
            Output::Note(note) => self.note(&note),
        }
    }

    /// A primary keeps to its window: whoever does not is not waited for, and fills no memory here.
    fn take_records(&mut self, bytes: Vec<u8>) {
        if let Err(e) = self.jobs.append(bytes) {
            log::error!(err:% = e, runbook = "pair-refused"; "the peer sends more than may wait");
            self.lose_session("the peer sends more than may wait");
        }
    }

    fn ask_witness(&mut self, number: u64, ask: WitnessAsk) {
        if !self.witness.as_ref().is_some_and(|witness| witness.ask(number, ask)) {
            self.feed(Input::Witness { number, answer: WitnessAnswer::Lost });
        }
    }

    /// A node that leads alone in another's place may have a rival: its UIDs leave a gap, durably
    /// known before the first one is given. Without a witness epochs tell whose they were: node 0
    /// opens even ones, node 1 odd ones.
    fn mark_fork(&mut self, epoch: Epoch) {
        let alone = self.machine.status().state == State::Solo && self.options.pair.is_some();
        if !std::mem::take(&mut self.taken_over) || !alone {
            return;
        }
        if let Err(e) = self.log.set_fork(epoch) {
            log::error!(err:% = e, runbook = "disk-failure"; "a possible fork cannot be noted");
            (self.options.fatal)("a possible fork cannot be noted durably");
        }
    }

    fn revoke(&mut self) {
        // The next reign says anew how long its readers may be served.
        self.lease_until = Mono(0);
        if let Some(control) = self.control.take() {
            control.revoke();
        }
        self.lease.send_replace(None);
    }

    fn send(&mut self, frame: &Frame) {
        // The keys of records go before them on the same stream, and the standby takes keys in
        // durably before it reads on: whatever it acknowledges, it can open.
        if matches!(frame, Frame::Join { .. } | Frame::Records { .. }) {
            self.send_keyring();
        }
        let Some(session) = &self.session else { return };
        if let Err(e) = session.queue.send(frame) {
            log::warn!(err:% = e; "a frame cannot be sent to the peer");
            self.lose_session("a frame could not be sent");
        }
    }

    fn send_keyring(&mut self) {
        let keyring = self.options.store.keyring();
        let version = keyring.version();
        let Some(session) = self.session.as_mut().filter(|s| s.keyring_sent < version) else {
            return;
        };
        let frame = Frame::Keyring { version, keys: keyring.export() };
        session.keyring_sent = version;
        if let Err(e) = session.queue.send(&frame) {
            log::warn!(err:% = e, runbook = "pair-keyring"; "the keyring cannot be sent to the peer");
            self.lose_session("the keyring could not be sent");
        }
    }

    /// Tells who waits for a key that it is durable wherever it must be.
    fn settle_keyring(&mut self) {
        if self.role != Role::Primary {
            return;
        }
        if self.machine.status().state == State::Pair {
            self.send_keyring();
        } else {
            let keyring = self.options.store.keyring();
            keyring.mark_replicated(keyring.version());
        }
    }

    /// The machine has ended it already.
    fn close_session(&mut self, reason: &'static str) {
        let Some(session) = self.session.take() else { return };
        self.options.side.down();
        log::info!(reason; "pair session closed");
        self.lost_at = Some(clock::mono());
        if let Some(sorry) = self.last_word.take() {
            session.queue.end_with(&Frame::Sorry(sorry));
        } else if let Some(link) = &self.link {
            link.close(session.id);
        }
    }

    /// It is over for us: the machine is told.
    pub(super) fn lose_session(&mut self, reason: &'static str) {
        if self.session.is_some() {
            self.close_session(reason);
            self.feed(Input::SessionDown);
        }
    }

    fn read(&mut self, from: Lsn, max: usize) {
        if self.log.has_in_memory(from) {
            match read(&self.log, from, max) {
                Ok(input) if !is_empty(&input) => {
                    self.problems.remove("log");
                    self.feed(input);
                }
                Ok(input) => self.feed_later(input),
                Err(e) => self.unreadable(&e),
            }
            return;
        }
        let (log, done) = (self.log.clone(), self.done.clone());
        self.helper(async move {
            let answer = match tokio::task::spawn_blocking(move || read(&log, from, max)).await {
                Ok(Ok(input)) => Done::Input(input),
                Ok(Err(e)) => Done::Unreadable(e),
                Err(e) => Done::Fatal(e.to_string()),
            };
            // The driver is gone only when the process ends.
            done.send(answer).await.unwrap_or_default();
        });
    }

    fn feed_later(&mut self, input: Input) {
        let done = self.done.clone();
        self.helper(async move {
            tokio::time::sleep(READ_PAUSE).await;
            done.send(Done::Input(input)).await.unwrap_or_default();
        });
    }

    /// The peer needs what the log does not hold: on the next session the machine sees so.
    fn unreadable(&mut self, e: &StoreError) {
        log::error!(err:% = e, runbook = "pair-full-copy"; "the log cannot be read for the peer");
        self.problems.insert("log", format!("the log cannot be read for the peer: {e}"));
        self.lose_session("the log cannot be read");
    }

    fn begin_epoch(&mut self, epoch: Epoch) {
        let (log, done) = (self.log.clone(), self.done.clone());
        // The call queues the record when first polled: that must happen before the lease is
        // minted, so here, not in the task.
        let mut begun = Box::pin(async move { log.begin_epoch(epoch).await });
        let mut waker = std::task::Context::from_waker(std::task::Waker::noop());
        if let std::task::Poll::Ready(outcome) = begun.as_mut().poll(&mut waker) {
            return self.epoch_begun(epoch, outcome);
        }
        self.helper(async move {
            match begun.await {
                Ok(lsn) => {
                    let input = Input::EpochBegun { epoch, lsn };
                    done.send(Done::Input(input)).await.unwrap_or_default();
                }
                Err(e) => log::error!(err:% = e, runbook = "disk-failure"; "no epoch can begin"),
            }
        });
    }

    fn epoch_begun(&mut self, epoch: Epoch, outcome: Result<Lsn, StoreError>) {
        match outcome {
            Ok(lsn) => self.feed(Input::EpochBegun { epoch, lsn }),
            Err(e) => log::error!(err:% = e, runbook = "disk-failure"; "no epoch can begin"),
        }
    }

    /// A short task whose answer comes as [`Done`].
    fn helper(&mut self, future: impl Future<Output = ()> + Send + 'static) {
        self.workers.retain(|worker| !worker.is_finished());
        self.workers.push(task::spawn("pair-helper", future));
    }

    fn done(&mut self, done: Done) {
        match done {
            Done::Input(input) => {
                if matches!(input, Input::Records { .. }) && !is_empty(&input) {
                    self.problems.remove("log");
                }
                if let Input::Persisted(done) = input {
                    // One more may have been asked for meanwhile: it begins now.
                    let newer = self.writing.filter(|(number, _)| *number > done);
                    self.writing = newer.map(|(number, _)| (number, clock::mono()));
                }
                self.feed(input);
            }
            Done::DoorClosed => self.bid_farewell(),
            Done::Log(input) => {
                if matches!(input, Input::AppendFailed) {
                    self.refuse_log();
                }
                self.feed(input);
                self.jobs.answered();
                self.welcome();
            }
            Done::Unreadable(e) => self.unreadable(&e),
            Done::Room(room) => self.room(room),
            Done::Keyring(version, Ok(())) => {
                self.importing = false;
                self.problems.remove("keyring");
                self.send(&Frame::KeyringAck { version });
            }
            Done::Keyring(_, Err(e)) => {
                self.importing = false;
                log::error!(err:% = e, runbook = "pair-keyring"; "the peer's keyring is refused");
                self.problems.insert("keyring", format!("the peer's keyring is refused: {e}"));
                self.last_word = Some(Sorry::Keyring);
                self.lose_session("the peer's keyring is refused");
            }
            Done::Fatal(why) => {
                // Invariant 11: what could not be made durable is not tried again.
                log::error!(reason = why, runbook = "disk-failure"; "the pair must stop");
                self.revoke();
                self.take_stand(VrrpStand::Silent);
                self.problems.insert("register", why.clone());
                (self.options.fatal)(&why);
            }
        }
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Up { session: id, peer, queue } => {
                self.lose_session("a newer session took its place");
                log::info!(peer:% = peer; "pair session up");
                self.meet(Session { id, peer, queue, keyring_sent: 0 });
            }
            Event::Frame { session, frame } => {
                if self.session.as_ref().is_some_and(|s| s.id == session) {
                    self.frame(frame);
                } else if self.meeting.as_ref().is_some_and(|s| s.id == session) {
                    self.first_frame(frame);
                }
            }
            Event::Down { session, reason } => {
                self.meeting.take_if(|s| s.id == session);
                self.coming.take_if(|s| s.id == session);
                if self.session.take_if(|s| s.id == session).is_some() {
                    self.options.side.down();
                    log::warn!(reason, runbook = "peer-lost"; "pair session lost");
                    self.lost_at = Some(clock::mono());
                    self.feed(Input::SessionDown);
                }
            }
            Event::Joined(id) => {
                log::info!(node = id.node.peer().0; "a new peer is admitted");
                self.certificate_expires = certificate_expires(&id);
            }
        }
    }

    /// Says what our file says, before anything else; the peer does the same.
    fn meet(&mut self, session: Session) {
        let settings = self.options.agreement.clone();
        if let Err(e) = session.queue.send(&Frame::Config { settings }) {
            log::debug!(err:% = e; "a session ended before it began");
        }
        (self.meeting, self.coming) = (Some(session), None);
    }

    /// A peer whose file disagrees is not admitted. The session stays, so that both say why; a new
    /// file comes with a new session.
    fn first_frame(&mut self, frame: Frame) {
        let Frame::Config { settings } = frame else { return self.refuse_release() };
        self.problems.remove("release");
        let Some(why) = disagreement(&self.options.agreement, &settings) else {
            self.problems.remove("config");
            self.coming = self.meeting.take();
            return self.welcome();
        };
        if self.problems.get("config") != Some(&why) {
            log::error!(reason = why, runbook = "pair-config-differs"; "the peer is not admitted");
        }
        self.problems.insert("config", why);
    }

    /// Whether a peer is there that was not admitted yet.
    pub(super) fn is_meeting(&self) -> bool {
        self.meeting.is_some()
    }

    /// Lets a session in once the log's queue is empty: what an earlier one brought is in the log.
    fn welcome(&mut self) {
        if self.jobs.is_idle()
            && let Some(session) = self.coming.take()
        {
            self.options.side.up(session.queue.clone());
            self.session = Some(session);
            self.feed(Input::SessionUp(log_state(&self.log)));
        }
    }

    fn frame(&mut self, frame: Frame) {
        match frame {
            Frame::Keyring { version, keys } => {
                self.importing = true;
                let (store, done) = (self.options.store.clone(), self.done.clone());
                self.helper(async move {
                    let import = move || store.keyring().import(&keys).map(drop);
                    let answer = match tokio::task::spawn_blocking(import).await {
                        Ok(outcome) => Done::Keyring(version, outcome),
                        Err(e) => Done::Fatal(e.to_string()),
                    };
                    done.send(answer).await.unwrap_or_default();
                });
            }
            Frame::KeyringAck { version } => {
                if self.session.as_ref().is_some_and(|s| version <= s.keyring_sent) {
                    self.problems.remove("keyring there");
                    self.options.store.keyring().mark_replicated(version);
                }
            }
            Frame::Side { topic, bytes } => {
                if !self.options.side.arrived(topic, bytes) {
                    self.lose_session("what came beside the log was not taken in time");
                }
            }
            Frame::Sorry(sorry) => self.refused(sorry),
            Frame::Hello(hello) if hello.version != VERSION => self.refuse_version(hello.version),
            Frame::Refuse { seen } => {
                self.reign_refused(seen);
                self.feed(Input::Frame(Frame::Refuse { seen }));
            }
            other => self.feed(Input::Frame(other)),
        }
    }

    fn beacon(&mut self, heard: Heard) {
        let now = clock::mono();
        if let Some(slot) = self.heard.get_mut(heard.path) {
            let back = slot.is_none_or(|at| now.since(at) >= PATH_LOST);
            *slot = Some(now);
            if let Some(vrrp) = self.options.vrrp.as_ref().filter(|_| back) {
                vrrp.reunite();
            }
        }
        self.feed(Input::Beacon(heard.beacon));
    }

    fn vrrp_event(&mut self, event: VrrpEvent) {
        let Some(group) = self.groups.get_mut(event.group).filter(|group| !group.origin) else {
            return; // An origin's.
        };
        match event.kind {
            vrrp::Event::MasterDown => {
                group.down = true;
                if self.groups.iter().all(|g| g.down) {
                    self.feed(Input::Vrrp(VrrpNews::MasterDown));
                }
            }
            vrrp::Event::HeardActive { .. } | vrrp::Event::Outranked { .. } => {
                group.down = false;
                self.feed(Input::Vrrp(VrrpNews::HeardActive));
            }
            vrrp::Event::Lapsed => {
                log::warn!(group = event.group, runbook = "no-lease";
                    "the addresses lapsed: this node was too slow");
            }
            // Who is deaf knows nothing of the Active; a MasterDown of its own follows the fault.
            vrrp::Event::Fault => {
                group.fault = true;
                group.down = false;
                self.feed(Input::Vrrp(VrrpNews::Fault));
            }
            vrrp::Event::FaultOver => {
                group.fault = false;
                group.down = false;
                if self.groups.iter().all(|g| !g.fault) {
                    self.feed(Input::Vrrp(VrrpNews::FaultOver));
                }
            }
            vrrp::Event::Entered(_)
            | vrrp::Event::ActiveReleased { .. }
            | vrrp::Event::Held
            | vrrp::Event::Conflict { .. } => {}
        }
    }

    fn room(&mut self, Room { free, reserve }: Room) {
        self.feed(Input::Disk { free, reserve });
        let (left, kept) = (free >> 20, reserve >> 20);
        if free >= reserve {
            if self.problems.remove("room").is_some() {
                log::info!("the disk has room again");
            }
            return;
        }
        let why = format!(
            "the disk has {left} MiB left and {kept} MiB are reserved: new mail is put off, and the \
             other appliance takes over where it is roomier"
        );
        if !self.problems.contains_key("room") {
            log::error!(reason = why, runbook = "own-health"; "the disk is below its reserve");
        }
        self.problems.insert("room", why);
    }

    /// Whether the other appliance could take over, for people.
    fn watch_peer(&mut self, peer: Option<Health>) {
        let Some(Health { fit, spare_mib, full }) = peer else { return };
        let mut tell = |kind, is: bool, what: &str| {
            if !is {
                self.problems.remove(kind);
            } else if self.problems.insert(kind, what.to_owned()).is_none() {
                log::warn!(reason = what, runbook = "own-health"; "the peer is not well");
            }
        };
        tell("unfit", !fit, "the other appliance's service network is in fault");
        let tight = spare_mib == Some(0) && !full;
        tell("tight", tight, "the other appliance's disk is below its reserve");
        tell(
            "full there",
            full,
            "the other appliance's disk is full: its copy is left until that has clearly more room",
        );
    }

    /// A standby without room takes no records, and says why it is left.
    fn watch_own_room(&mut self) {
        let full = self.machine.beacon(clock::mono()).health.full;
        if !full || self.role == Role::Primary {
            self.problems.remove("full");
        } else if !self.problems.contains_key("full") {
            let again = self.timers.log_room.saturating_mul(2) >> 20;
            let why = format!(
                "the disk is full but for what a log needs to stay whole: this copy is left, and \
                 goes on once {again} MiB are free"
            );
            log::error!(reason = why, runbook = "own-health"; "this copy is left for want of room");
            self.problems.insert("full", why);
        }
    }

    fn take_stand(&mut self, stand: VrrpStand) {
        let before = std::mem::replace(&mut self.stand, stand);
        if stand == VrrpStand::Standby {
            if before == stand {
                return;
            }
            // What was not heard before says nothing: Master_Down_Timer runs anew.
            for group in self.groups.iter_mut().filter(|group| !group.origin) {
                group.down = false;
            }
        }
        if let Some(vrrp) = &self.options.vrrp {
            vrrp.stand(match stand {
                VrrpStand::Silent => Stand::Silent,
                VrrpStand::Standby => Stand::StandbyAnew { priority: Priority::STANDBY },
                VrrpStand::Holder => Stand::Holder { priority: Priority::HOLDER },
            });
        }
        // The word alone brings no address: at once, where we can serve.
        self.pulsed = Mono(0);
        self.pulse(clock::mono());
    }

    fn on_tick(&mut self) {
        let now = clock::mono();
        self.watch_progress(now);
        self.pulse(now);
        // Whoever does not lead answers at its own addresses, too; nobody's knock is kept any more.
        if self.door_closed.is_some_and(|at| now.since(at) > DOOR_MAX) {
            self.open_door();
        }
        self.let_newcomers_in_again(now);
        self.hear_adverts();
        self.ask_again(now);
        self.forget_refusals(now);
        self.watch_certificate(now);
        self.watch_waiting();
        let status = self.machine.status();
        let peer = status.peer_durable.filter(|_| status.linked);
        self.log.keep_for_peer(peer);
        self.watch_peer(status.peer);
        self.watch_own_room();
        self.publish(true);
    }

    /// Only an operator can end it: said once, whenever it begins.
    fn watch_waiting(&mut self) {
        let waits = self.machine.status().waiting == Waiting::Operator;
        if waits && !self.waits {
            log::warn!(runbook = "force-solo"; "this appliance waits for an operator");
        }
        self.waits = waits;
    }

    /// Invariant 8: the addresses stay only while this node can serve, and with a witness not much
    /// longer than its lease, see [`pulse_end`]. Without one a primary whose lease has run out keeps
    /// its adverts for as long as it runs: they tell a standby that hears nothing else that it must not
    /// take over. Nothing is read or acknowledged there meanwhile.
    fn pulse(&mut self, now: Mono) {
        let arbitrated = self.machine.status().witness.in_force;
        let can = self.control.is_some()
            && self.stand == VrrpStand::Holder
            && *self.options.listening.borrow()
            && !self.log.is_stopped()
            && self.hang.is_none()
            && (now < self.lease_until || !arbitrated);
        // A renewed lease is passed on at once: it does not reach far.
        if can && (arbitrated || now.since(self.pulsed) >= PULSE_EVERY) {
            self.pulsed = now;
            if let Some(vrrp) = &self.options.vrrp {
                let lease = arbitrated.then_some(self.lease_until);
                let noticed = self.timers.silence.saturating_sub(self.timers.lease);
                let word = noticed + self.tick.saturating_mul(WORD_HEARTBEATS);
                vrrp.serving_pulse(pulse_end(lease, word, now));
            }
        }
    }

    /// A node that only looks alive must not keep the addresses, nor its peer from serving.
    fn watch_progress(&mut self, now: Mono) {
        let register = self.writing.map(|(_, since)| since);
        let disk = [self.log.disk_since(), register].into_iter().flatten().min();
        let hang = self.options.services.hang(disk, now);
        // What hangs counts, not since when: one hang may turn into the other.
        let kind = |hang: Option<Hang>| hang.map(|hang| std::mem::discriminant(&hang));
        if kind(hang) == kind(self.hang) {
            return self.end_if_hung_for_good(now);
        }
        self.hang = hang;
        self.problems.remove("hang");
        self.problems.remove("disk");
        match hang {
            None => log::info!("this node makes progress again"),
            Some(Hang::Disk(_)) => {
                let why = "the disk hangs: nothing is acknowledged, and the addresses are let go";
                self.problems.insert("disk", why.to_owned());
                log::error!(runbook = "disk-failure"; "the disk hangs, the addresses are let go");
            }
            Some(Hang::Services(_)) => {
                let why = "the services hang: the addresses are let go";
                self.problems.insert("hang", why.to_owned());
                log::error!(runbook = "runtime-stuck"; "the services hang, the addresses are let go");
                // The pair itself is well: a standby that has everything takes over at once.
                if self.role == Role::Primary && self.machine.status().state == State::Pair {
                    self.feed(Input::Operator(Operator::Handover));
                }
            }
        }
    }

    /// With a hung disk no handover can be recorded. Where the standby has everything, this process
    /// ends, as it would had the disk said no (invariant 11), and the standby takes over.
    fn end_if_hung_for_good(&mut self, now: Mono) {
        if let Some(Hang::Disk(since)) = self.hang
            && now.since(since) > DISK_HANG_MAX
            && self.role == Role::Primary
            && self.machine.status().state == State::Pair
            && !self.problems.contains_key("register")
        {
            self.done(Done::Fatal("the disk hangs, and the standby has everything".to_owned()));
        }
    }

    /// An Active is reported once when it is first heard. A standby whose session is gone must know
    /// whether it is *still* heard: adverts are counted, those of before the loss set apart.
    fn hear_adverts(&mut self) {
        let Some(vrrp) = &self.options.vrrp else { return };
        let mut more = false;
        for (group, status) in self.groups.iter_mut().zip(vrrp.status()) {
            // After a MasterDown, an Active that is heard again is an event of its own.
            more |= !group.down && !group.origin && status.adverts_received > group.adverts;
            group.adverts = status.adverts_received;
        }
        if more && self.session.is_none() && self.role != Role::Primary {
            self.feed(Input::Vrrp(VrrpNews::HeardActive));
        }
    }

    /// Returns the earliest moment for the next timeout.
    fn timeout(&mut self, deadline: Option<Mono>) -> Mono {
        let now = clock::mono();
        if deadline.is_some_and(|at| now.since(at) > STALL) {
            log::warn!("the process stood still; what came meanwhile is heard first");
            return now.after(STALL_GRACE);
        }
        self.feed(Input::Timeout);
        now.after(TIMEOUT_PAUSE)
    }

    fn note(&mut self, note: &Note) {
        let now = clock::mono();
        let took = self.lost_at.map(|at| now.since(at)).filter(|age| *age <= CAUSE_AGE_MAX);
        let asked_by = self.asked_by(note);
        let entry = Entry {
            at: clock::now_ms(),
            node: self.machine.status().node,
            from: note.from,
            to: note.to,
            role_from: std::mem::replace(&mut self.role, note.role),
            role: note.role,
            epoch: note.epoch,
            reason: note.reason.to_owned(),
            took_ms: took.and_then(|age| u64::try_from(age.as_millis()).ok()),
            asked_by,
        };
        let (from, to, role) = (note.from, note.to, note.role);
        let (epoch, reason) = (note.epoch, note.reason);
        if to == State::Branched {
            log::error!(from:? = from, to:? = to, role:? = role, epoch:% = epoch, reason, runbook = "branched"; "the pair has branched");
        } else if note.is_for_health() {
            log::warn!(reason, epoch:% = epoch, runbook = "own-health"; "this node hands over for its health");
        } else if let Some(runbook) = alarm(from, to).filter(|_| self.options.pair.is_some()) {
            log::warn!(from:? = from, to:? = to, role:? = role, epoch:% = epoch, reason, runbook; "the pair has changed");
        } else if from == State::Pair {
            log::warn!(from:? = from, to:? = to, role:? = role, epoch:% = epoch, reason; "the pair has changed");
        } else {
            log::info!(from:? = from, to:? = to, role:? = role, epoch:% = epoch, reason; "the pair has changed");
        }
        if let Some(uid) = asked_by {
            log::warn!(uid, epoch:% = epoch, reason; "the pair has changed by an operator's word");
        }
        self.journal.send_modify(|entries| {
            let mut new = entries.as_ref().clone();
            new.push(entry);
            journal::keep_newest(&mut new);
            *entries = Arc::new(new);
        });
    }

    /// The user whose word brought about what is noted.
    fn asked_by(&mut self, note: &Note) -> Option<u32> {
        let uid = match self.followed? {
            Command::ForceSolo { uid } if note.is_forced() => uid,
            Command::Handover { uid }
                if (self.role, note.role) == (Role::Primary, Role::Standby) =>
            {
                uid
            }
            _ => return None,
        };
        self.followed = None;
        Some(uid)
    }

    fn command(&mut self, command: Command, reply: Reply) {
        let status = self.machine.status();
        let now = clock::mono();
        let refusal = match command {
            Command::Stop => None,
            _ if self.asked.is_some() => Some(CommandError::Busy),
            Command::Handover { .. } if status.role != Role::Primary => {
                Some(CommandError::NotPrimary)
            }
            Command::Handover { .. } if !self.timers.has_peer => Some(CommandError::NoPeer),
            Command::Handover { .. } if status.state != State::Pair || !status.linked => {
                Some(CommandError::NoStandby(format!("{:?}", status.state).to_uppercase()))
            }
            Command::Handover { .. } if self.machine.peer_is_less_fit() => {
                Some(CommandError::PeerUnfit)
            }
            Command::ForceSolo { .. } if leads_alone(&status) => Some(CommandError::AlreadyPrimary),
            Command::ForceSolo { .. } if status.linked || self.peer_is_heard(now) => {
                Some(CommandError::PeerIsThere)
            }
            Command::ForceSolo { .. } if !self.claim.take(Claimed::Forced) => {
                Some(CommandError::CopyInPlace)
            }
            Command::Handover { .. } | Command::ForceSolo { .. } => None,
        };
        if let Some(refusal) = refusal {
            return tell(reply, Err(refusal));
        }
        log::info!(command:? = command; "an operator speaks");
        self.followed = Some(command);
        match command {
            Command::Handover { .. } => self.take_leave(Operator::Handover),
            Command::ForceSolo { .. } => self.feed(Input::Operator(Operator::ForceSolo)),
            Command::Stop => self.take_leave(Operator::Stop),
        }
        let deadline = now.after(self.timers.handover + COMMAND_GRACE);
        if let Some((_, earlier, _)) = self.asked.replace((command, reply, deadline)) {
            tell(earlier, Err(CommandError::Busy));
        }
    }

    /// A word that ends the lease in good order, in three steps: newcomers are held at the door and
    /// whoever is on the doorstep is let in; sessions hear of it while they may still answer; then
    /// the machine does. So nobody is turned away, and nobody is left without a word.
    fn take_leave(&mut self, word: Operator) {
        let ends = word == Operator::Stop || self.machine.may_hand_over();
        let leads = self.control.is_some() && clock::mono() < self.lease_until;
        match &mut self.leaving {
            // Whoever hands over and is told to stop meanwhile stops.
            Some(leaving) if word == Operator::Stop => leaving.word = word,
            Some(_) => {}
            None if ends && leads => {
                self.leaving = Some(Leaving { word, until: None });
                self.close_door();
            }
            None => self.feed(Input::Operator(word)),
        }
    }

    /// Where the addresses move, newcomers are held: the guardian remembers who knocks.
    fn close_door(&mut self) {
        let Some(vrrp) = self.options.vrrp.clone().filter(|_| self.is_in_pair()) else {
            return self.bid_farewell();
        };
        self.door_closed = Some(clock::mono());
        self.door_opens = None;
        let (doorstep, done) = (self.options.doorstep.clone(), self.done.clone());
        self.helper(async move {
            let closed = tokio::task::spawn_blocking(move || {
                vrrp.hold_newcomers(&doorstep.listeners());
                let since = clock::mono();
                std::thread::sleep(DOORSTEP_MIN);
                while !doorstep.is_quiet() && clock::mono().since(since) < DOORSTEP_MAX {
                    std::thread::sleep(DOORSTEP_LOOK);
                }
            });
            if let Err(e) = closed.await {
                log::warn!(err:% = e; "newcomers are not held during the handover");
            }
            // The driver is gone only when the process ends.
            done.send(Done::DoorClosed).await.unwrap_or_default();
        });
    }

    /// Sessions hear of the end before the machine does: what they say then leaves while readers may
    /// be answered, and before the addresses go.
    fn bid_farewell(&mut self) {
        let limit = if self.is_in_pair() { FAREWELL_MAX } else { FAREWELL_ALONE_MAX };
        let Some(leaving) = &mut self.leaving else { return };
        leaving.until = Some(clock::mono().after(limit));
        if let Some(control) = &self.control {
            control.give_notice(true);
        }
    }

    /// All sessions have said goodbye, or had their time for it.
    fn leave(&mut self) {
        let Some(Leaving { word, .. }) = self.leaving.take() else { return };
        self.feed(Input::Operator(word));
        self.settle();
        // It did not come about: the next sessions may come and stay.
        if let Some(control) = &self.control {
            control.give_notice(false);
        }
        if self.control.is_some() {
            self.open_door();
        }
    }

    fn peer_is_heard(&self, now: Mono) -> bool {
        let silence = self.timers.silence.max(Duration::from_secs(1));
        self.heard.iter().flatten().any(|at| now.since(*at) < silence)
    }

    /// Answers an operator whose word has come true, or whose time is over.
    fn answer_command(&mut self) {
        let Some((command, _, deadline)) = &self.asked else { return };
        let status = self.machine.status();
        let through = match command {
            Command::Handover { .. } => status.role == Role::Standby,
            Command::ForceSolo { .. } => leads_alone(&status) && self.control.is_some(),
            Command::Stop => return,
        };
        let over = clock::mono() >= *deadline;
        if (through || over)
            && let Some((command, reply, _)) = self.asked.take()
        {
            self.claim.leave(Claimed::Forced);
            let failed = match command {
                Command::ForceSolo { .. } => CommandError::NotLeading,
                Command::Handover { .. } | Command::Stop => {
                    // A later one is somebody else's.
                    self.followed = None;
                    CommandError::NotTaken
                }
            };
            tell(reply, if through { Ok(()) } else { Err(failed) });
        }
    }

    /// A standby that was just admitted may not have said so yet: then the machine does nothing.
    fn ask_again(&mut self, now: Mono) {
        let limit = self.timers.handover;
        if let Some((Command::Handover { .. }, _, deadline)) = &self.asked
            && now.after(limit) < *deadline
            && self.control.is_some()
        {
            self.take_leave(Operator::Handover);
        }
    }

    fn is_in_pair(&self) -> bool {
        self.machine.status().state == State::Pair
    }

    /// For who may serve, or after [`DOOR_MAX`]: then a standby says at once that it does not. (Not as
    /// soon as it is one: the addresses may still be here for a moment, and whoever was answered then
    /// would hear nothing any more.)
    fn open_door(&mut self) {
        if self.leaving.is_none() && self.door_closed.take().is_some() {
            self.let_newcomers_in();
        }
    }

    fn let_newcomers_in(&mut self) {
        if let Some(vrrp) = &self.options.vrrp {
            vrrp.welcome_newcomers(&self.options.doorstep.listeners());
            self.door_opens = Some(clock::mono());
        }
    }

    /// Nobody is served behind a door that stays closed: the word is said until it has come true.
    fn let_newcomers_in_again(&mut self, now: Mono) {
        if self.door_opens.is_none_or(|at| now.since(at) < DOOR_AGAIN) {
            return;
        }
        if self.options.vrrp.as_ref().is_none_or(|vrrp| vrrp.door_is_set()) {
            self.door_opens = None;
        } else {
            self.let_newcomers_in();
        }
    }

    fn stop_is_through(&self) -> bool {
        let Some((Command::Stop, _, deadline)) = &self.asked else { return false };
        self.machine.stopped() || clock::mono() >= *deadline
    }

    /// The end of an orderly stop. The task then only waits to be aborted: to return would mean
    /// that something critical ended by itself.
    async fn finish(mut self) {
        self.revoke();
        self.take_stand(VrrpStand::Silent);
        if let Some(session) = &self.session {
            let flushed = async {
                while !session.queue.is_empty() {
                    session.queue.drained().await;
                }
            };
            if tokio::time::timeout(FLUSH_TIMEOUT, flushed).await.is_err() {
                log::debug!("the last frames did not reach the peer");
            }
        }
        if let Some(link) = self.link.take() {
            link.stop().await;
        }
        self.publish(true);
        if let Some((_, reply, _)) = self.asked.take() {
            tell(reply, Ok(()));
        }
        std::future::pending().await
    }

    /// Tells the world where things stand: at once what matters, positions with `all`.
    fn publish(&self, all: bool) {
        let pair = self.machine.status();
        let serving = self.control.is_some();
        let urgent = {
            let old = self.status.borrow();
            let key = |s: &PairStatus| {
                let p = &s.pair;
                (p.state, p.role, p.epoch, p.linked, p.waiting, s.serving, s.problems.len())
            };
            let refusals = self.link.as_ref().map_or(0, Link::refusals_len);
            let problems = self.problems.len() + refusals;
            key(&old)
                != (pair.state, pair.role, pair.epoch, pair.linked, pair.waiting, serving, problems)
        };
        if !all && !urgent {
            return;
        }
        let insync = match (pair.state, pair.role) {
            (State::Pair, _) => vec![NodeId(0), NodeId(1)],
            (_, Role::Primary) => vec![pair.node],
            (_, Role::Standby) => vec![pair.node.peer()],
            (_, Role::None) => Vec::new(),
        };
        let peers = self.options.pair.as_ref().map_or(&[][..], |p| &p.peer);
        let over = self.session.as_ref().map(|s| s.peer.ip());
        let paths = peers.iter().zip(&self.heard).map(|(peer, heard)| PathStatus {
            peer: *peer,
            heard: *heard,
            session: over == Some(peer.ip()),
        });
        let last = self.journal.borrow().iter().rev().find(|e| e.is_move_here()).cloned();
        let status = PairStatus {
            pair,
            standalone: self.options.pair.is_none(),
            serving,
            applied: self.log.applied(),
            insync,
            paths: paths.collect(),
            unconfirmed: self.unconfirmed,
            certificate_expires: self.certificate_expires,
            problems: self.all_problems(),
            last_promotion: last,
            witness: self.witness.as_ref().map(Client::status),
            copy: self.copy.borrow().clone(),
        };
        self.status.send_if_modified(|old| {
            let new = *old != status;
            if new {
                *old = status;
            }
            new
        });
    }
}

impl Driver {
    fn all_problems(&self) -> Vec<Problem> {
        let refused = self.link.as_ref().map(Link::refusals).unwrap_or_default();
        let refused = refused.into_iter().map(|what| Problem { what, runbook: "pair-refused" });
        refused.chain(self.problems.iter().map(|(kind, what)| problem(kind, what))).collect()
    }
}

/// Until when a pulse of `now` lets the addresses stay, where a witness is in force with this lease.
/// The lease is renewed with every heartbeat; and whose standby vanishes has the witness's word `word`
/// after the lease's end, before the addresses go, and keeps them. A frozen primary loses them some
/// 80 ms after its standby, which needs the same word, has come (docs/design/vrrp.md).
fn pulse_end(lease: Option<Mono>, word: Duration, now: Mono) -> Mono {
    lease.map_or_else(|| now.after(PULSE_LEAST), |until| until.after(word))
}

/// Whether it leads and waits for nobody. In PAIR or JOINING a primary whose standby and witness are
/// both gone for good waits: only an operator can tell it so.
fn leads_alone(status: &understudy_proto::pair::Status) -> bool {
    status.role == Role::Primary && !matches!(status.state, State::Pair | State::Joining)
}

/// The page that helps where a change from one state to another is an alarm; `None` where it is
/// none, or the way back to PAIR.
fn alarm(from: State, to: State) -> Option<&'static str> {
    match (from, to) {
        (from, to) if from == to => None,
        (_, State::Solo) => Some("peer-lost"),
        (State::Pair, State::Joining) => Some("joining"),
        (_, State::Recovering) => Some("recovering"),
        _ => None,
    }
}

/// The page that helps with a problem of that kind.
fn problem(kind: &str, what: &str) -> Problem {
    let runbook = match kind {
        "config" => "pair-config-differs",
        "hang" => "runtime-stuck",
        "keyring" | "keyring there" => "pair-keyring",
        "epoch" | "version" | "release" => "pair-refused",
        "chain" | "chain there" => "branched",
        "log" => "pair-full-copy",
        "room" | "full" | "full there" | "tight" | "unfit" => "own-health",
        "disk" | "register" | "store" => "disk-failure",
        _ => "peer-lost",
    };
    Problem { what: what.to_owned(), runbook }
}

/// What the log holds, for the machine.
pub(in crate::pair) fn log_state(log: &Log) -> LogState {
    LogState {
        tail: log.last().lsn,
        durable: *log.durable().borrow(),
        committed: log.committed(),
        first: log.first(),
        history: History::new(log.epochs()),
    }
}

fn read(log: &Log, from: Lsn, max: usize) -> Result<Input, StoreError> {
    let bytes = log.read_from(from, max)?;
    let mut last = Lsn(from.0.saturating_sub(1));
    let mut rest = bytes.as_slice();
    while let Ok((header, _, whole)) = record::decode(rest) {
        last = header.lsn;
        rest = rest.get(whole..).unwrap_or_default();
    }
    Ok(Input::Records { from, last, bytes })
}

fn is_empty(input: &Input) -> bool {
    matches!(input, Input::Records { bytes, .. } if bytes.is_empty())
}

fn certificate_expires(id: &PairIdentity) -> Option<understudy_proto::time::UnixMs> {
    let peer = id.peer_certificate_pem.as_deref();
    [Some(id.certificate_pem.as_str()), peer]
        .into_iter()
        .flatten()
        .filter_map(tls::not_after_pem)
        .min()
}

fn tell(reply: Reply, answer: Result<(), CommandError>) {
    if reply.send(answer).is_err() {
        log::debug!("whoever asked the pair has gone");
    }
}

/// A reign that ends in good order.
struct Leaving {
    /// What the machine hears in the end.
    word: Operator,
    /// How long sessions have for their goodbye; `None` while the doors close.
    until: Option<Mono>,
}

/// Ends when a leave is being taken and all sessions are gone, or their time is over.
async fn gone(leaving: Option<&Leaving>, control: Option<&LeaseControl>) {
    let Some(at) = leaving.and_then(|l| l.until.as_ref()) else {
        return std::future::pending().await;
    };
    let Some(control) = control else { return };
    tokio::select! {
        () = control.all_gone() => {}
        () = clock::sleep_until(*at) => {}
    }
}

enum News {
    Event(Event),
    Beacon(Heard),
}

/// The next thing on the link; of its session only where `events` may be taken.
async fn next_of_link(link: &mut Option<Link>, events: bool) -> News {
    let Some(link) = link else { return std::future::pending().await };
    tokio::select! {
        biased;
        // Few, and leases rest on them: frames that come without end must not hold them up.
        Some(heard) = link.beacons.recv() => News::Beacon(heard),
        Some(event) = link.events.recv(), if events => News::Event(event),
        else => std::future::pending().await,
    }
}

async fn next_answer(witness: &mut Option<Client>) -> Option<(u64, WitnessAnswer)> {
    match witness {
        Some(witness) => witness.answer().await,
        None => std::future::pending().await,
    }
}

async fn next_vrrp(events: &mut Option<mpsc::Receiver<VrrpEvent>>) -> Option<VrrpEvent> {
    match events {
        Some(events) => events.recv().await,
        None => std::future::pending().await,
    }
}

async fn sleep_until(deadline: Option<Mono>) {
    match deadline {
        Some(at) => clock::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// However often it is said, with a witness a pulse ends with the lease and the time for its word.
    #[test]
    fn a_pulse_ends_with_the_lease_where_a_witness_decides() {
        let ms = |ms: u64| Mono(ms * 1_000);
        let word = Duration::from_millis(125);
        for now in [1_000, 1_050, 1_074] {
            assert_eq!(pulse_end(Some(ms(1_075)), word, ms(now)), ms(1_200));
        }
        assert_eq!(pulse_end(Some(Mono(u64::MAX)), word, ms(1)), Mono(u64::MAX), "alone");
        assert_eq!(pulse_end(None, word, ms(1_000)), ms(1_200));
    }
}
