//! The hands of a roll, and the ear for the one that the peer drives.
//!
//! Invariants: one question to the peer at a time; each of its questions gets one answer. A tick is
//! counted as [`TICK_COUNTED_MAX`] at most, so that a machine that stood still has not waited.

use super::words::{Answer, Ask, Came, Message, PeerState, decode, encode};
use super::{Duo, Shared, Wire, order};
use crate::appliance::slot::digest::Digest;
use crate::appliance::update::offer::{INCOMING, OfferError, READY};
use crate::appliance::update::order::{Act, ORDER_NAME, Order, Outcome};
use crate::appliance::update::roll::{Facts, Node, Roll, State, Step, Task, Why, facts_of};
use crate::base::{clock, task};
use crate::ops::request::Failure;
use crate::pair::side::SideEvent;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;
use understudy_proto::time::Mono;

/// What a tick counts for at most.
const TICK_COUNTED_MAX: Duration = Duration::from_secs(10);
/// How long the peer may think about an answer: it may hash the whole file.
const ANSWER_MAX: Duration = Duration::from_secs(60);
/// What the peer said counts for so long.
const HEARD_MAX: Duration = Duration::from_secs(90);
/// Bytes of the file in one message.
const PIECE_LEN: usize = 256 * 1024;
/// Questions that wait.
const ASKS_MAX: usize = 8;

/// The last handover that did not come about.
type Refused = Arc<Mutex<Option<String>>>;

pub(super) struct Driver<D> {
    shared: Arc<Shared>,
    duo: D,
    wire: Wire,
    session: bool,
    /// The question that waits for its answer, and since when.
    asked: Option<(u64, Ask, Mono)>,
    number: u64,
    asks: VecDeque<Ask>,
    peer: Option<(PeerState, Mono)>,
    /// What the peer did not even begin.
    refused: Option<Outcome>,
    /// The roll whose file the peer has whole.
    whole: Option<String>,
    /// The file that the peer sends us.
    offered: Option<(u64, Digest)>,
    handover: Refused,
    looked: Mono,
}

impl<D: Duo> Driver<D> {
    pub(super) fn new(shared: Arc<Shared>, duo: D, wire: Wire) -> Self {
        Self {
            shared,
            duo,
            wire,
            session: false,
            asked: None,
            number: 0,
            asks: VecDeque::new(),
            peer: None,
            refused: None,
            whole: None,
            offered: None,
            handover: Refused::default(),
            looked: clock::mono(),
        }
    }

    pub(super) async fn run(mut self, mut events: mpsc::Receiver<SideEvent>) {
        let mut next = clock::mono();
        loop {
            tokio::select! {
                event = events.recv() => match event {
                    Some(SideEvent::Up) => (self.session, self.asked) = (true, None),
                    Some(SideEvent::Down) => (self.session, self.asked) = (false, None),
                    Some(SideEvent::Message(bytes)) => self.hear(&bytes).await,
                    None => return, // This reader stood still; the next start reads anew.
                },
                () = clock::sleep_until(next) => {
                    next = clock::mono().after(self.shared.tick);
                    self.tick().await;
                }
            }
        }
    }

    async fn tick(&mut self) {
        let now = clock::mono();
        let elapsed = now.since(self.looked).min(TICK_COUNTED_MAX);
        self.looked = now;
        if self.asked.as_ref().is_some_and(|(.., at)| now.since(*at) > ANSWER_MAX) {
            self.asked = None;
        }
        let roll = self.shared.lock().roll.clone().filter(Roll::is_under_way);
        if let Some(before) = roll {
            let serving = self.duo.serves().await;
            self.go_on(&before, elapsed, serving);
        }
        self.ask_next().await;
    }

    /// One look at the roll: what it becomes is kept, then its step is done.
    fn go_on(&mut self, before: &Roll, elapsed: Duration, serving: Option<bool>) {
        let facts = self.facts(&before.task, serving);
        let mut roll = before.clone();
        let step = roll.next(&facts, elapsed);
        let changed = roll.differs(before);
        if changed && let Err(e) = self.shared.offers.save_roll(&roll.write()) {
            log::warn!(err:% = e, runbook = "update-roll"; "how far an update is cannot be kept");
            return;
        }
        if roll.step != before.step || !roll.is_under_way() {
            let (version, state) = (roll.task.version.as_str(), &roll.step);
            match &roll.state {
                State::Stopped(why) => log::error!(
                    version, reason = why.words().0.as_str(), runbook = "update-roll";
                    "the update was stopped"
                ),
                State::Done => log::info!(version; "the update is through"),
                State::UnderWay => log::info!(version, state:? = state; "the update goes on"),
            }
        }
        let over = !roll.is_under_way();
        if over {
            // Before anybody sees that it is over, and hands over the next one.
            self.clear_up(&roll.task);
        }
        {
            let mut now = self.shared.lock();
            // An operator may have called it off meanwhile.
            if now.roll.as_ref() != Some(before) {
                return;
            }
            now.roll = Some(roll.clone());
            now.peer = self.peer.as_ref().and_then(|(peer, _)| peer.published.clone());
        }
        if !over {
            self.perform(step, &roll.task);
        }
    }

    fn facts(&self, task: &Task, serving: Option<bool>) -> Facts {
        let (pair, primary) = self.duo.stands();
        let fresh = |at: &Mono| clock::mono().since(*at) <= HEARD_MAX;
        let peer = self.peer.as_ref().filter(|(_, at)| self.session && fresh(at));
        let handover = match primary {
            Some(Node::Peer) => peer.and_then(|(state, _)| state.handover.clone()),
            _ => self.handover.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        };
        let serving = match primary {
            Some(Node::Here) => serving,
            Some(Node::Peer) => peer.and_then(|(state, _)| state.serving),
            None => None,
        };
        let mut there = peer
            .and_then(|(state, _)| state.published.as_ref())
            .map(|published| facts_of(published, task.image));
        if let (Some(there), Some(refused)) = (&mut there, &self.refused) {
            there.order = Some(refused.clone());
        }
        Facts {
            here: self.shared.published().map(|published| facts_of(&published, task.image)),
            peer: there,
            shipped: self.whole.as_ref() == Some(&task.id),
            pair,
            primary,
            serving,
            handover,
        }
    }

    fn perform(&mut self, step: Step, task: &Task) {
        match step {
            Step::Wait => {}
            Step::Ship => {
                let ships = |ask: &Ask| matches!(ask, Ask::Offer { .. } | Ask::Piece { .. });
                if !self.asked.as_ref().is_some_and(|(_, ask, _)| ships(ask))
                    && !self.asks.iter().any(ships)
                {
                    self.put(Ask::Offer { len: task.len, file: task.file });
                }
            }
            Step::Give(Node::Here, order) => {
                if let Err(e) = order::leave(&self.shared.places.orders, &order) {
                    log::warn!(err:% = e, runbook = "update-roll"; "root cannot be told of an update");
                }
            }
            Step::Give(Node::Peer, order) => {
                self.refused = None;
                self.put(Ask::Order(order));
            }
            Step::HandOver(Node::Here) => self.hand_over(task.uid),
            Step::HandOver(Node::Peer) => self.put(Ask::HandOver { uid: task.uid }),
        }
    }

    /// What is of no more use, here and there. Why the peer cannot be told is of no matter: its next
    /// offer takes the place of this one.
    fn clear_up(&mut self, task: &Task) {
        let path = self.shared.places.orders.join(ORDER_NAME);
        if let Err(e) = std::fs::remove_file(path)
            && e.kind() != std::io::ErrorKind::NotFound
        {
            log::debug!(err:% = e; "an order stays");
        }
        self.shared.offers.forget();
        self.asks.clear();
        self.refused = None;
        if task.only_here.is_none() {
            self.put(Ask::Forget);
        }
    }

    fn hand_over(&self, uid: u32) {
        let (duo, refused) = (self.duo.clone(), self.handover.clone());
        drop(task::spawn("update-handover", async move {
            let why = duo.hand_over(uid).await.err();
            if let Some(why) = &why {
                log::warn!(reason = why.as_str(), runbook = "update-roll"; "the handover of an update did not come about");
            }
            *refused.lock().unwrap_or_else(PoisonError::into_inner) = why;
        }));
    }

    fn put(&mut self, ask: Ask) {
        if self.asks.len() < ASKS_MAX {
            self.asks.push_back(ask);
        }
    }

    /// Sends the next question, when none is open.
    async fn ask_next(&mut self) {
        if self.asked.is_some() || !self.session {
            return;
        }
        let rolls = |roll: &Roll| roll.is_under_way() && roll.task.only_here.is_none();
        let ask = match self.asks.pop_front() {
            Some(ask) => ask,
            None if self.shared.lock().roll.as_ref().is_some_and(rolls) => Ask::State,
            None => return,
        };
        let bytes = match &ask {
            Ask::Piece { offset } => match self.shared.offers.piece(*offset, PIECE_LEN) {
                Ok(bytes) => bytes,
                Err(e) => {
                    let why = Failure::new(e.to_string(), "Give the update again.");
                    return self.stop(Why::Refused(Node::Here, why.to_string()));
                }
            },
            _ => Vec::new(),
        };
        self.number += 1;
        let message = Message { n: self.number, ask: Some(ask.clone()), answer: None };
        if self.wire.send(encode(&message, &bytes)).await {
            self.asked = Some((self.number, ask, clock::mono()));
        }
    }

    async fn hear(&mut self, bytes: &[u8]) {
        let (n, answer) = match decode(bytes) {
            Came::Ask { n, ask, bytes } => (n, self.answer(ask, bytes).await),
            Came::Strange { n } => {
                let version = env!("CARGO_PKG_VERSION");
                (n, Answer::Refused(format!("version {version} does not understand the question")))
            }
            Came::Answer { n, answer } => {
                if let Some((_, ask, _)) = self.asked.take_if(|(number, ..)| *number == n) {
                    self.learn(ask, answer);
                    // Pieces follow each other without a pause.
                    if !self.asks.is_empty() {
                        self.ask_next().await;
                    }
                }
                return;
            }
            Came::Nothing => {
                log::debug!("a message about updates is not understood");
                return;
            }
        };
        let message = Message { n, ask: None, answer: Some(answer) };
        // Without a session it is asked anew.
        self.wire.send(encode(&message, &[])).await;
    }

    /// Takes in what the peer answers.
    fn learn(&mut self, ask: Ask, answer: Answer) {
        if let Some((_, at)) = &mut self.peer {
            *at = clock::mono();
        }
        match (ask, answer) {
            (_, Answer::State(state)) => self.peer = Some((*state, clock::mono())),
            (Ask::Offer { .. } | Ask::Piece { .. }, Answer::Have(have)) => {
                self.shared.lock().shipped = have;
                self.put(Ask::Piece { offset: have });
            }
            (Ask::Offer { .. } | Ask::Piece { .. }, Answer::Whole) => {
                let now = self.shared.lock();
                self.whole = now.roll.as_ref().map(|roll| roll.task.id.clone());
            }
            (Ask::Order(order), Answer::Refused(what)) => {
                let failed = Some(Failure::new(what, "See the peer's log."));
                self.refused = Some(Outcome { id: order.id, failed });
            }
            (Ask::State | Ask::Offer { .. } | Ask::Piece { .. }, Answer::Refused(what)) => {
                self.stop(Why::Refused(Node::Peer, what));
            }
            (ask, Answer::NotNow(what) | Answer::Refused(what)) => {
                log::warn!(reason = what.as_str(), state:? = ask, runbook = "update-roll"; "the peer does not do what an update asks");
            }
            (_, Answer::Have(_) | Answer::Whole | Answer::Taken) => {}
        }
    }

    fn stop(&mut self, why: Why) {
        log::error!(reason = why.words().0.as_str(), runbook = "update-roll"; "the update was stopped");
        let task = self.shared.lock().roll.as_ref().map(|roll| roll.task.clone());
        if let Some(task) = task {
            self.clear_up(&task);
        }
        self.shared.end(why);
    }

    /// What the peer, which drives a roll, asks of this appliance.
    async fn answer(&mut self, ask: Ask, bytes: Vec<u8>) -> Answer {
        let (beginning, rolling) = {
            let now = self.shared.lock();
            (now.beginning, now.is_rolling())
        };
        if rolling && !matches!(ask, Ask::State | Ask::Forget) {
            return Answer::Refused("an update of its own is under way".to_owned());
        }
        if beginning && !matches!(ask, Ask::State) {
            return Answer::NotNow("another update is being looked at there".to_owned());
        }
        match ask {
            Ask::State => {
                let handover = self.handover.lock().unwrap_or_else(PoisonError::into_inner).clone();
                let mut published = self.shared.published();
                if let Some(published) = &mut published {
                    // Not asked for, and of kinds that an older version may not know.
                    published.status.troubles.clear();
                }
                let serving = self.duo.serves().await;
                Answer::State(Box::new(PeerState { published, handover, serving }))
            }
            Ask::Offer { len, file } => self.offered(len, file).await,
            Ask::Piece { offset } => self.arrived(offset, &bytes).await,
            Ask::Order(order) => self.ordered(&order),
            Ask::HandOver { uid } => {
                self.hand_over(uid);
                Answer::Taken
            }
            Ask::Forget => {
                let now = self.shared.lock(); // Until it is gone: none may become ready meanwhile.
                if !now.beginning && !now.is_rolling() {
                    self.shared.offers.forget();
                }
                drop(now);
                self.offered = None;
                Answer::Taken
            }
        }
    }

    async fn offered(&mut self, len: u64, file: Digest) -> Answer {
        let shared = self.shared.clone();
        let whole = blocking(move || Ok(shared.offers.examine(READY)?.file == file)).await;
        if whole.is_ok_and(|whole| whole) {
            return Answer::Whole;
        }
        // Pieces of another file do not go on; after a restart nobody knows which file it was.
        let again = self.offered == Some((len, file));
        self.offered = Some((len, file));
        Answer::Have(if again { self.shared.offers.have(INCOMING).min(len) } else { 0 })
    }

    async fn arrived(&mut self, offset: u64, bytes: &[u8]) -> Answer {
        let Some((len, file)) = self.offered else {
            return Answer::NotNow("no file was offered".to_owned());
        };
        let have = match self.shared.offers.put(INCOMING, offset, bytes) {
            Ok(have) => have,
            Err(OfferError::Gap { have, .. }) => have,
            Err(e) => return Answer::Refused(e.to_string()),
        };
        if have < len && !bytes.is_empty() {
            return Answer::Have(have);
        }
        self.offered = None;
        let shared = self.shared.clone();
        let taken = blocking(move || {
            if shared.offers.examine(INCOMING)?.file != file {
                return Err(OfferError::Unlike);
            }
            shared.offers.accept(INCOMING)
        });
        match taken.await {
            Ok(()) => Answer::Whole,
            Err(e) => Answer::Refused(e.to_string()),
        }
    }

    fn ordered(&self, order: &Order) -> Answer {
        if order.act == Act::Restart {
            // Looked at here, too: what the peer knows may be a second old.
            let (pair, primary) = self.duo.stands();
            if !pair || primary != Some(Node::Peer) {
                return Answer::NotNow("only a standby of a whole pair restarts".to_owned());
            }
        }
        let done = self.shared.published().and_then(|published| published.order);
        if done.is_some_and(|done| done.id == order.id) {
            return Answer::Taken;
        }
        match order::leave(&self.shared.places.orders, order) {
            Ok(()) => Answer::Taken,
            Err(e) => Answer::Refused(format!("root cannot be told: {e}")),
        }
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, OfferError> + Send + 'static,
) -> Result<T, OfferError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(e) => Err(OfferError::Io(std::io::Error::other(e))),
    }
}
