//! The main process's end of the guardian's socket.
//!
//! Invariants: a caller never waits for the guardian, but for the start and the stop of the groups;
//! what the socket does not take at once is kept, the latest word of each kind, and sent by the
//! thread "guardian". Without a guardian that speaks, this process ends: nobody else would take the
//! addresses away from it. Deliberately absent: any decision.

use super::channel::{Buffer, Channel, ChannelError, DESCRIPTORS_MAX};
use super::message::{Connection, Goodbye, Order, PATHS_MAX, Report, TICKLE_CHUNK};
use super::{CONNECTIONS_MAX, GOODBYE_LEN_MAX};
use crate::base::{clock, metric, privilege, secret, task};
use crate::vrrp::door;
use crate::vrrp::driver::Outbox;
use crate::vrrp::driver::{CLAIMS_MAX, ClaimOrder};
use crate::vrrp::{
    EVENTS_MAX, GroupConfig, GroupStatus, PeerGroup, Stand, VrrpError, VrrpEvent, lock,
};
use log::{error, warn};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::prctl::{set_name, set_pdeathsig};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::socket::{SockType, getsockopt, sockopt};
use nix::sys::time::TimeSpec;
use std::collections::VecDeque;
use std::io;
use std::os::fd::AsFd;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use understudy_proto::time::Mono;

/// How long the groups may take to begin or to end.
const ANSWER_WAIT: Duration = Duration::from_secs(2);

/// How long a handover waits for the guardian to get ready: it goes on without.
const HOLD_WAIT: Duration = Duration::from_millis(50);

/// Time without a word of the guardian, while we run, after which we end. It speaks twice a second.
const SILENCE_MAX: Duration = Duration::from_secs(3);

/// Longest sleep of the thread, and the most that one sleep adds to the guardian's silence: while we
/// ourselves were frozen, it was not silent.
const SLEEP_MAX: Duration = Duration::from_millis(500);

/// Pause before what did not go is sent again.
const RETRY: Duration = Duration::from_millis(1);

/// How soon an event is offered again that the pair did not take.
const OFFER_AGAIN: Duration = Duration::from_millis(5);

/// The guardian, as the main process sees it. Clones are the same.
#[derive(Clone, Debug)]
pub struct Guardian(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    channel: Channel,
    wake: EventFd,
    outgoing: Mutex<Outgoing>,
    incoming: Mutex<Incoming>,
    answered: Condvar,
}

/// What waits to be sent: the latest word of each kind.
#[derive(Debug, Default)]
struct Outgoing {
    start: Option<Order>,
    goodbye: Option<Goodbye>,
    peer: Option<Vec<PeerGroup>>,
    stand: Option<Stand>,
    pulse: Option<Mono>,
    /// The oldest go first where there are too many.
    claims: VecDeque<ClaimOrder>,
    tickles: VecDeque<Connection>,
    reunion: bool,
    hold: bool,
    doors: VecDeque<Door>,
    stop: Option<u64>,
}

/// Of some of the listeners.
#[derive(Debug)]
struct Door {
    number: u64,
    closed: bool,
    listeners: Vec<Arc<TcpListener>>,
}

/// The last word about the door.
#[derive(Default)]
struct DoorWord {
    number: u64,
    /// Its parts that have no answer yet.
    waits: usize,
    refused: bool,
}

/// What has come.
#[derive(Default)]
struct Incoming {
    /// Which groups count; 0 before the first.
    run: u64,
    started: Option<Result<(), String>>,
    door: DoorWord,
    stopped: bool,
    status: Vec<GroupStatus>,
    outbox: Option<Outbox>,
}

impl std::fmt::Debug for Incoming {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Incoming").field("run", &self.run).finish_non_exhaustive()
    }
}

/// Why this process has no guardian.
#[derive(Debug, thiserror::Error)]
pub enum AdoptError {
    /// `--guarded` was typed by somebody.
    #[error("the standard input is no guardian's socket; --guarded is not for people")]
    NoSocket,
    /// The kernel refuses what never fails.
    #[error("{what} failed: {source}; the system is out of something")]
    System {
        /// Which call.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
}

impl Guardian {
    /// Becomes the guarded main process: to be called first of all, while there is one thread. From
    /// then on this process dies with its guardian, dumps no core and cannot touch addresses.
    ///
    /// # Errors
    /// The process was not started by a guardian.
    pub fn adopt() -> Result<Self, AdoptError> {
        let system = |what| move |errno: Errno| AdoptError::System { what, source: errno.into() };
        // The guardian waits for signals in another way, and children inherit what is blocked.
        SigSet::empty().thread_set_mask().map_err(system("unblocking signals"))?;
        let stdin = io::stdin();
        if !getsockopt(&stdin, sockopt::SockType).is_ok_and(|found| found == SockType::SeqPacket) {
            return Err(AdoptError::NoSocket);
        }
        // It was started through /proc/self/exe, and would be called "exe".
        set_name(c"understudy").map_err(system("prctl"))?;
        // A guardian that died before this line is noticed by the end of its socket.
        set_pdeathsig(Signal::SIGKILL).map_err(system("prctl"))?;
        privilege::no_core().map_err(system("setrlimit"))?;
        privilege::drop_network_administration().map_err(system("capset"))?;
        // Standard input itself stays as it is: it survives an exec, and the new image finds it.
        let socket = stdin
            .as_fd()
            .try_clone_to_owned()
            .map_err(|source| AdoptError::System { what: "dup", source })?;
        Self::over(Channel::new(socket)).map_err(system("eventfd"))
    }

    pub(super) fn over(channel: Channel) -> Result<Self, Errno> {
        let shared = Arc::new(Shared {
            channel,
            wake: EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?,
            outgoing: Mutex::default(),
            incoming: Mutex::default(),
            answered: Condvar::new(),
        });
        let own = shared.clone();
        drop(task::thread("guardian", move || own.converse()));
        Ok(Self(shared))
    }

    /// What the peer is told when this process has ended and its addresses are gone; the last call
    /// counts. Sent by the guardian, on every path, several times.
    pub fn goodbye_with(&self, goodbye: Goodbye) {
        if goodbye.datagram.len() > GOODBYE_LEN_MAX || goodbye.paths.len() > PATHS_MAX {
            warn!(bytes = goodbye.datagram.len(), count = goodbye.paths.len();
                "a goodbye is too long and will not be said");
            return;
        }
        self.order(|outgoing| outgoing.goodbye = Some(goodbye));
    }

    /// Starts the groups and waits until they are there.
    pub(in crate::vrrp) fn start(
        &self,
        configs: Vec<GroupConfig>,
    ) -> Result<mpsc::Receiver<VrrpEvent>, VrrpError> {
        let (sender, receiver) = mpsc::channel(EVENTS_MAX);
        let run = u64::from_ne_bytes(secret::random());
        {
            let mut incoming = lock(&self.0.incoming);
            *incoming = Incoming { run, outbox: Some(Outbox::new(sender)), ..Incoming::default() };
        }
        self.order(|outgoing| {
            *outgoing = Outgoing { goodbye: outgoing.goodbye.take(), ..Outgoing::default() };
            outgoing.start = Some(Order::Start { run, configs });
        });
        match self.wait(ANSWER_WAIT, |incoming| incoming.started.take()) {
            Some(Ok(())) => Ok(receiver),
            Some(Err(reason)) => Err(VrrpError::Guardian(reason)),
            None => Err(VrrpError::Guardian("it does not answer".to_owned())),
        }
    }

    pub(in crate::vrrp) fn stand(&self, stand: Stand) {
        self.order(|outgoing| outgoing.stand = Some(stand));
    }

    pub(in crate::vrrp) fn pulse(&self, until: Mono) {
        self.order(|outgoing| outgoing.pulse = outgoing.pulse.max(Some(until)));
    }

    pub(in crate::vrrp) fn claim(&self, claim: ClaimOrder) {
        self.order(|outgoing| {
            if outgoing.claims.len() >= CLAIMS_MAX {
                outgoing.claims.pop_front();
            }
            outgoing.claims.push_back(claim);
        });
    }

    pub(in crate::vrrp) fn hear_peer(&self, words: Vec<PeerGroup>) {
        self.order(|outgoing| outgoing.peer = Some(words));
    }

    pub(in crate::vrrp) fn reunite(&self) {
        self.order(|outgoing| outgoing.reunion = true);
    }

    pub(in crate::vrrp) fn status(&self) -> Vec<GroupStatus> {
        lock(&self.0.incoming).status.clone()
    }

    pub(in crate::vrrp) fn tickle(&self, connections: Vec<Connection>) {
        self.order(|outgoing| {
            let room = CONNECTIONS_MAX.saturating_sub(outgoing.tickles.len());
            outgoing.tickles.extend(connections.into_iter().take(room));
        });
    }

    /// See [`crate::vrrp::Vrrp::hold_newcomers`]. Returns when the door is closed, or after a moment.
    pub(in crate::vrrp) fn hold_newcomers(&self, listeners: &[Arc<TcpListener>]) {
        self.order(|outgoing| outgoing.hold = true);
        self.set_door(listeners, true);
        if self.wait(HOLD_WAIT, |incoming| (incoming.door.waits == 0).then_some(())).is_none() {
            warn!("the guardian does not say that the door is closed");
        }
    }

    /// Closes or opens the door of `listeners`, in the order of these calls.
    pub(in crate::vrrp) fn set_door(&self, listeners: &[Arc<TcpListener>], closed: bool) {
        let number = u64::from_ne_bytes(secret::random());
        let mut parts: Vec<_> = listeners.chunks(DESCRIPTORS_MAX).collect();
        if parts.is_empty() {
            parts.push(&[]); // There is an answer to wait for all the same.
        }
        lock(&self.0.incoming).door = DoorWord { number, waits: parts.len(), refused: false };
        self.order(|outgoing| {
            let part = |part: &[_]| Door { number, closed, listeners: part.to_vec() };
            outgoing.doors = parts.into_iter().map(part).collect();
        });
    }

    /// Whether all listeners have followed the last word.
    pub(in crate::vrrp) fn door_is_set(&self) -> bool {
        let incoming = lock(&self.0.incoming);
        incoming.door.waits == 0 && !incoming.door.refused
    }

    pub(in crate::vrrp) fn stop(&self) {
        let run = lock(&self.0.incoming).run;
        self.order(|outgoing| outgoing.stop = Some(run));
        if self.wait(ANSWER_WAIT, |incoming| incoming.stopped.then_some(())).is_none() {
            warn!("the guardian does not say that the addresses are gone");
        }
    }

    /// Changes what is to be said and says what the socket takes, without waiting.
    fn order(&self, change: impl FnOnce(&mut Outgoing)) {
        let mut outgoing = lock(&self.0.outgoing);
        change(&mut outgoing);
        if !self.0.flush(&mut outgoing) {
            drop(outgoing);
            self.0.wake();
        }
    }

    /// Waits for what `answer` finds among the answers.
    fn wait<T>(
        &self,
        limit: Duration,
        mut answer: impl FnMut(&mut Incoming) -> Option<T>,
    ) -> Option<T> {
        let end = clock::mono().after(limit);
        let mut incoming = lock(&self.0.incoming);
        loop {
            if let Some(found) = answer(&mut incoming) {
                return Some(found);
            }
            let left = end.since(clock::mono());
            if left.is_zero() {
                return None;
            }
            incoming = self
                .0
                .answered
                .wait_timeout(incoming, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }
}

impl Shared {
    fn wake(&self) {
        // A full counter has woken the thread already.
        if let Err(errno) = self.wake.write(1)
            && errno != Errno::EAGAIN
        {
            warn!(err:% = errno; "the guardian's thread could not be woken");
        }
    }

    /// Sends what the socket takes; true when nothing is left.
    fn flush(&self, outgoing: &mut Outgoing) -> bool {
        while let Some((order, listeners)) = outgoing.next() {
            let descriptors: Vec<_> = listeners.iter().map(AsFd::as_fd).collect();
            match self.channel.try_send_with(&order, &descriptors) {
                Ok(true) => {}
                Ok(false) => {
                    outgoing.put_back(order, listeners);
                    return false;
                }
                // The thread hears of it, too, and does what there is to do.
                Err(ChannelError::Closed) => return true,
                Err(error) => warn!(err:% = error; "the guardian could not be told something"),
            }
        }
        true
    }

    /// The thread: reads what comes, sends what waits, and ends the process without a guardian.
    fn converse(&self) {
        let mut buffer = Buffer::default();
        let mut silence = Duration::ZERO;
        let mut looked = clock::mono();
        loop {
            self.sleep();
            match self.listen(&mut buffer) {
                Ok(true) => silence = Duration::ZERO,
                Ok(false) => silence += clock::mono().since(looked).min(SLEEP_MAX),
                Err(error) => abandoned(&error.to_string()),
            }
            looked = clock::mono();
            if silence >= SILENCE_MAX {
                abandoned("it does not speak");
            }
            let all = self.flush(&mut lock(&self.outgoing));
            if !all {
                // Out of memory the socket is writable all the time: no busy loop.
                std::thread::sleep(RETRY);
            }
        }
    }

    fn sleep(&self) {
        let writing = !lock(&self.outgoing).is_empty();
        let offering = lock(&self.incoming).outbox.as_ref().is_some_and(|o| !o.is_empty());
        let wanted =
            if writing { PollFlags::POLLIN | PollFlags::POLLOUT } else { PollFlags::POLLIN };
        let mut fds = [
            PollFd::new(self.channel.as_fd(), wanted),
            PollFd::new(self.wake.as_fd(), PollFlags::POLLIN),
        ];
        let limit = TimeSpec::from(if offering { OFFER_AGAIN } else { SLEEP_MAX });
        match ppoll(&mut fds, Some(limit), None) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => {
                warn!(err:% = errno; "the guardian's thread cannot wait");
                std::thread::sleep(OFFER_AGAIN); // Out of memory: no busy loop.
            }
        }
        // Nothing there is nothing to take.
        if let Err(errno) = self.wake.read()
            && errno != Errno::EAGAIN
        {
            warn!(err:% = errno; "the guardian's thread was woken strangely");
        }
    }

    /// Takes in what waits; whether there was anything.
    fn listen(&self, buffer: &mut Buffer) -> Result<bool, ChannelError> {
        let mut heard = false;
        while let Some(report) = self.channel.receive(buffer)? {
            heard = true;
            lock(&self.incoming).take(report);
            self.answered.notify_all();
        }
        if let Some(outbox) = lock(&self.incoming).outbox.as_mut() {
            outbox.flush();
        }
        Ok(heard)
    }
}

impl Outgoing {
    fn is_empty(&self) -> bool {
        self.start.is_none()
            && self.goodbye.is_none()
            && self.peer.is_none()
            && self.stand.is_none()
            && self.pulse.is_none()
            && self.claims.is_empty()
            && self.tickles.is_empty()
            && !self.reunion
            && !self.hold
            && self.doors.is_empty()
            && self.stop.is_none()
    }

    /// What is to be said first, and what goes along.
    fn next(&mut self) -> Option<(Order, Vec<Arc<TcpListener>>)> {
        if let Some(order) = self.next_alone() {
            return Some((order, Vec::new()));
        }
        if let Some(Door { number, closed, listeners }) = self.doors.pop_front() {
            return Some((Order::Door { number, closed, listeners: listeners.len() }, listeners));
        }
        self.stop.take().map(|run| (Order::Stop { run }, Vec::new()))
    }

    fn next_alone(&mut self) -> Option<Order> {
        if let Some(start) = self.start.take() {
            return Some(start);
        }
        if let Some(goodbye) = self.goodbye.take() {
            return Some(Order::Goodbye(goodbye));
        }
        // Before the stand: as holder it comes too late.
        if let Some(words) = self.peer.take() {
            return Some(Order::Peer(words));
        }
        if let Some(stand) = self.stand.take() {
            return Some(Order::Stand(stand));
        }
        if let Some(until) = self.pulse.take() {
            return Some(Order::Pulse { until });
        }
        if let Some(claim) = self.claims.pop_front() {
            return Some(Order::Claim(claim));
        }
        if !self.tickles.is_empty() {
            let chunk = self.tickles.len().min(TICKLE_CHUNK);
            return Some(Order::Tickle(self.tickles.drain(..chunk).collect()));
        }
        if std::mem::take(&mut self.reunion) {
            return Some(Order::Reunion);
        }
        std::mem::take(&mut self.hold).then_some(Order::HoldNewcomers)
    }

    /// It could not be said yet, and nothing else was put in between.
    fn put_back(&mut self, order: Order, listeners: Vec<Arc<TcpListener>>) {
        match order {
            Order::Start { .. } => self.start = Some(order),
            Order::Goodbye(goodbye) => self.goodbye = Some(goodbye),
            Order::Peer(words) => self.peer = Some(words),
            Order::Stand(stand) => self.stand = Some(stand),
            Order::Pulse { until } => self.pulse = Some(until),
            Order::Claim(claim) => self.claims.push_front(claim),
            Order::Tickle(chunk) => {
                for connection in chunk.into_iter().rev() {
                    self.tickles.push_front(connection);
                }
            }
            Order::Reunion => self.reunion = true,
            Order::HoldNewcomers => self.hold = true,
            Order::Door { number, closed, .. } => {
                self.doors.push_front(Door { number, closed, listeners });
            }
            Order::Stop { run } => self.stop = Some(run),
        }
    }
}

impl Incoming {
    fn take(&mut self, report: Report) {
        // What belongs to earlier groups (an exec of this process) is over.
        match report {
            Report::Started { run } if run == self.run => self.started = Some(Ok(())),
            Report::Refused { run, reason } if run == self.run => self.started = Some(Err(reason)),
            Report::Door { number, refused } => {
                let was_refused = refused.is_some();
                if let Some(reason) = refused {
                    door::stuck(&reason);
                }
                if number == self.door.number {
                    self.door.waits = self.door.waits.saturating_sub(1);
                    self.door.refused |= was_refused;
                }
            }
            Report::Stopped { run } if run == self.run => self.stopped = true,
            Report::Event { run, event } if run == self.run => {
                if let Some(outbox) = &mut self.outbox {
                    outbox.put(event);
                }
            }
            Report::Status { run, groups } if run == self.run => {
                let sum = |groups: &[GroupStatus], count: fn(&GroupStatus) -> u64| {
                    groups.iter().map(count).fold(0, u64::saturating_add)
                };
                for (metric, count) in COUNTED {
                    metric.add(sum(&groups, count).saturating_sub(sum(&self.status, count)));
                }
                self.status = groups;
            }
            Report::Started { .. }
            | Report::Refused { .. }
            | Report::Stopped { .. }
            | Report::Event { .. }
            | Report::Status { .. }
            | Report::Alive => {}
        }
    }
}

type Count = fn(&GroupStatus) -> u64;

/// What the guardian counts for our metrics.
static COUNTED: [(&metric::Counter, Count); 2] = [
    (&metric::VRRP_SENT, |group| group.adverts_sent),
    (&metric::VRRP_RECEIVED, |group| group.adverts_received),
];

/// Without a guardian nobody takes the addresses away: the peer takes over, the service manager
/// starts both anew.
fn abandoned(why: &str) -> ! {
    error!(reason = why, runbook = "guardian-gone"; "no guardian any more, aborting");
    std::process::abort()
}
