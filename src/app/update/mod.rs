//! Updates that an operator asks for without being root: of this appliance, or of the pair.
//!
//! The rules are `appliance::update::roll`'s; here they meet the world: the file on the data disk, the
//! peer on the side channel, orders for root, the pair's role. Invariants: one roll at a time; what it
//! has come to is durable before its next step is done, so that it goes on after any restart; whoever is
//! asked by the peer to restart looks for itself whether it may. Deliberately absent: slots. Only root
//! writes them (`understudy appliance update`), and only what is signed.

mod drive;
#[cfg(test)]
mod tests;
mod words;

use crate::appliance::slot::keys::TRUSTED_DIR;
use crate::appliance::update::offer::{self, Offer, OfferError, Offers};
use crate::appliance::update::order::{self, Act, ORDERS, Order, PUBLISHED, Published};
use crate::appliance::update::roll::{self, Node, Roll, State, Task, Why};
use crate::appliance::update::rules::Standing;
use crate::base::{clock, secret, task};
use crate::config::Listen;
use crate::ops::request::{
    Failure, Outcome, UpdateInstall, UpdatePiece, UpdateReport, UpdateRollback,
};
use crate::ops::status::{RollReport, RollStep};
use crate::pair::Pair;
use crate::pair::side::{Side, SideEvent, Topic};
use crate::vrrp::Vrrp;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use understudy_proto::pair as machine;

/// How long root may take for the way back.
const ROLLBACK_WAIT: Duration = Duration::from_secs(45);
/// How often a roll is looked at.
const TICK: Duration = Duration::from_secs(1);
/// How often is looked whether it is done.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Where the files lie.
#[derive(Clone, Debug)]
struct Places {
    /// Orders for root.
    orders: PathBuf,
    /// What root says.
    published: PathBuf,
    /// Keys that may sign.
    trusted: PathBuf,
}

impl Default for Places {
    fn default() -> Self {
        Self { orders: ORDERS.into(), published: PUBLISHED.into(), trusted: TRUSTED_DIR.into() }
    }
}

/// The pair, as far as a roll needs it.
trait Duo: Clone + Send + Sync + 'static {
    /// Whether everything acknowledged is on both, and who is primary.
    fn stands(&self) -> (bool, Option<Node>);
    /// Whether this one, as primary, answers at the floating addresses; `None` where there is nothing to ask.
    fn serves(&self) -> impl Future<Output = Option<bool>> + Send;
    /// Moves the primary role to the peer.
    fn hand_over(&self, uid: u32) -> impl Future<Output = Result<(), String>> + Send;
}

/// What of this process a roll goes by.
pub(super) struct Seat {
    pub(super) pair: Pair,
    pub(super) vrrp: Option<Arc<Vrrp>>,
    pub(super) listen: Listen,
}

/// How long a greeting may take.
const GREETING_MAX: Duration = Duration::from_secs(3);

/// Whether mail is greeted at `address`, as a client sees it. RFC 5321 3.1.
async fn greets(address: SocketAddr) -> bool {
    let greeting = async {
        let mut stream = TcpStream::connect(address).await?;
        let mut code = [0; 3];
        stream.read_exact(&mut code).await?;
        stream.write_all(b"QUIT\r\n").await?;
        std::io::Result::Ok(code)
    };
    let greeting = tokio::time::timeout(GREETING_MAX, greeting).await;
    matches!(greeting, Ok(Ok(code)) if &code == b"220")
}

impl Duo for Arc<Seat> {
    fn stands(&self) -> (bool, Option<Node>) {
        let status = self.pair.status();
        let status = status.borrow();
        let primary = match status.pair.role {
            machine::Role::Primary => Some(Node::Here),
            machine::Role::Standby => Some(Node::Peer),
            machine::Role::None => None,
        };
        let pair = status.pair.state == machine::State::Pair && status.pair.linked;
        (pair && !status.standalone, primary)
    }

    async fn serves(&self) -> Option<bool> {
        if self.stands().1 != Some(Node::Here) {
            return None;
        }
        let port = self.listen.smtp?;
        let listens =
            |at: &IpAddr| self.listen.addresses.iter().any(|own| own == at || own.is_unspecified());
        let groups = self.vrrp.as_ref()?.status();
        let floating = groups.iter().filter(|group| !group.kind.is_origin());
        let addresses: Vec<IpAddr> = floating
            .flat_map(|group| group.addresses.iter().map(|floating| floating.address))
            .filter(listens)
            .collect();
        for address in &addresses {
            if !greets((*address, port).into()).await {
                return Some(false);
            }
        }
        (!addresses.is_empty()).then_some(true)
    }

    async fn hand_over(&self, uid: u32) -> Result<(), String> {
        self.pair.handover(uid).await.map_err(|e| e.to_string())
    }
}

/// The way to the peer.
#[derive(Clone)]
enum Wire {
    Side(Side),
    #[cfg(test)]
    Channel(mpsc::Sender<SideEvent>),
}

impl Wire {
    async fn send(&self, bytes: Vec<u8>) -> bool {
        match self {
            Self::Side(side) => side.send(Topic::Update, bytes).await.is_ok(),
            #[cfg(test)]
            Self::Channel(channel) => channel.send(SideEvent::Message(bytes)).await.is_ok(),
        }
    }
}

/// Updates of this appliance. Clones are the same.
#[derive(Clone)]
pub(super) struct Updates(Arc<Shared>);

struct Shared {
    places: Places,
    offers: Offers,
    /// How often a roll is looked at.
    tick: Duration,
    /// Whether there is a peer to update, too.
    paired: bool,
    now: Mutex<Now>,
}

#[derive(Default)]
struct Now {
    roll: Option<Roll>,
    /// What the peer said last, while a roll is under way.
    peer: Option<Published>,
    /// Bytes of the file that the peer has.
    shipped: u64,
    /// A hand-over of a file is being looked at: no other may begin.
    beginning: bool,
}

impl Now {
    fn is_rolling(&self) -> bool {
        self.roll.as_ref().is_some_and(Roll::is_under_way)
    }
}

/// Goes on with what was under way, and does what operators and the peer ask from now on.
pub(super) fn start(data_dir: &Path, paired: bool, seat: Seat, side: &Side) -> Updates {
    let updates = Updates::new(data_dir, paired, Places::default(), TICK);
    match side.subscribe(Topic::Update) {
        Some(events) => updates.drive(Arc::new(seat), events, Wire::Side(side.clone())),
        None => log::error!(runbook = "update-roll"; "nobody listens to the peer about updates"),
    }
    updates
}

impl Updates {
    fn new(data_dir: &Path, paired: bool, places: Places, tick: Duration) -> Self {
        let offers = Offers::new(data_dir, &places.trusted);
        offers.forget_upload();
        let roll = match offers.load_roll() {
            Ok(None) => None,
            Ok(Some(text)) => {
                let roll = Roll::read(&text);
                if roll.is_none() {
                    log::warn!(runbook = "update-roll"; "what was kept of an update is not understood");
                }
                roll
            }
            Err(e) => {
                log::warn!(err:% = e, runbook = "update-roll"; "what was kept of an update cannot be read");
                None
            }
        };
        let now = Mutex::new(Now { roll, ..Now::default() });
        Self(Arc::new(Shared { places, offers, tick, paired, now }))
    }

    fn drive<D: Duo>(&self, duo: D, events: mpsc::Receiver<SideEvent>, wire: Wire) {
        drop(task::spawn("updates", drive::Driver::new(self.0.clone(), duo, wire).run(events)));
    }

    /// The roll of late, for reports.
    pub(super) fn report(&self) -> Option<RollReport> {
        let now = self.0.lock();
        let roll = now.roll.as_ref()?;
        let (why, advice) = match &roll.state {
            State::Stopped(why) => {
                let (why, advice) = why.words();
                (Some(why), Some(advice.to_owned()))
            }
            State::UnderWay | State::Done => (None, None),
        };
        let written = |published: Option<&Published>| {
            let working = published?.working.as_ref()?;
            Some((working.written.saturating_add(working.compared), 2 * roll.task.slot_len))
        };
        let bytes = match roll.step {
            RollStep::Shipping => Some((now.shipped, roll.task.len)),
            RollStep::InstallingHere => written(self.0.published().as_ref()),
            RollStep::InstallingThere => written(now.peer.as_ref()),
            _ => None,
        };
        Some(RollReport {
            id: roll.task.id.clone(),
            version: roll.task.version.clone(),
            only_here: roll.task.only_here.is_some(),
            began: roll.task.began,
            state: roll.reported(),
            step: roll.step,
            bytes: bytes.filter(|_| roll.is_under_way()),
            why,
            advice,
            peer_running: now.peer.as_ref().map(|peer| peer.status.running.clone()),
        })
    }

    /// The version of an update that was stopped, and why; what an operator called off is no trouble.
    pub(super) fn trouble(&self) -> Option<(String, String)> {
        let now = self.0.lock();
        let roll = now.roll.as_ref()?;
        match &roll.state {
            State::UnderWay | State::Done | State::Stopped(Why::ByOperator) => None,
            State::Stopped(why) => Some((roll.task.version.clone(), why.words().0)),
        }
    }

    pub(super) fn progress(&self) -> UpdateReport {
        UpdateReport { roll: self.report() }
    }

    pub(super) fn piece(&self, piece: &UpdatePiece) -> Outcome<u64> {
        self.0.idle()?;
        let bytes = STANDARD.decode(&piece.bytes).map_err(|e| {
            Failure::new(format!("the piece is no base64: {e}"), "Use the command line.")
        })?;
        self.0.offers.put(offer::UPLOAD, piece.offset, &bytes).map_err(|e| refused(&e))
    }

    /// Looks at what was handed over, and begins.
    pub(super) async fn install(&self, install: UpdateInstall, uid: u32) -> Outcome<()> {
        self.0.begin()?;
        let shared = self.0.clone();
        let begun = tokio::task::spawn_blocking(move || shared.task(install, uid)).await;
        let mut now = self.0.lock();
        now.beginning = false;
        let roll = Roll::new(begun.map_err(|e| super::failure("the update was not begun", &e))??);
        self.0.offers.save_roll(&roll.write()).map_err(|e| refused(&OfferError::Io(e)))?;
        log::info!(version = roll.task.version.as_str(), uid; "an update begins");
        (now.roll, now.peer, now.shipped) = (Some(roll), None, 0);
        Ok(())
    }

    pub(super) async fn rollback(&self, rollback: UpdateRollback) -> Outcome<()> {
        self.0.appliance()?;
        self.0.end(Why::ByOperator);
        let id = new_id();
        let order = Order { id: id.clone(), act: Act::Rollback { restart: rollback.restart } };
        order::leave(&self.0.places.orders, &order)
            .map_err(|e| super::failure("root cannot be told", &e))?;
        let begun = clock::mono();
        while clock::mono().since(begun) < ROLLBACK_WAIT {
            clock::sleep_until(clock::mono().after(LOOK_EVERY)).await;
            let outcome = self.0.published().and_then(|p| p.order).filter(|o| o.id == id);
            if let Some(outcome) = outcome {
                return outcome.failed.map_or(Ok(()), Err);
            }
        }
        Err(Failure::new(
            "nothing has obeyed the order yet",
            "See: journalctl -u understudy-update; understudy update status",
        ))
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn published(&self) -> Option<Published> {
        order::published(&self.places.published)
    }

    fn idle(&self) -> Outcome<()> {
        let now = self.lock();
        if now.beginning || now.is_rolling() {
            return Err(Failure::new(
                "an update is under way",
                "See how far: understudy update status; call it off: understudy update rollback",
            ));
        }
        Ok(())
    }

    fn begin(&self) -> Outcome<()> {
        self.idle()?;
        self.lock().beginning = true;
        Ok(())
    }

    fn appliance(&self) -> Outcome<Published> {
        let published = self.published().filter(|p| p.status.standing != Standing::NoSlot);
        published.ok_or_else(|| {
            Failure::new(
                "this system did not start from a slot of a flashed disk",
                "Update what it was started from instead.",
            )
        })
    }

    /// What the file that was handed over asks for.
    fn task(&self, install: UpdateInstall, uid: u32) -> Outcome<Task> {
        let published = self.appliance()?;
        let Offer { manifest, len, file } =
            self.offers.examine(offer::UPLOAD).map_err(|e| refused(&e))?;
        if len != install.len {
            return Err(refused(&OfferError::Unlike));
        }
        let known = roll::facts_of(&published, manifest.blake3);
        if let Some(why) = known.failed.filter(|_| !install.again) {
            let (what, advice) = Why::FailedBefore(Node::Here, why).words();
            return Err(Failure::new(what, advice));
        }
        self.offers.accept(offer::UPLOAD).map_err(|e| refused(&e))?;
        Ok(Task {
            id: new_id(),
            version: manifest.about.version.to_string(),
            image: manifest.blake3,
            len,
            file,
            slot_len: manifest.slot_len,
            downgrade: install.downgrade,
            again: install.again,
            only_here: (install.only_here || !self.paired).then_some(install.restart),
            uid,
            began: clock::now_ms(),
        })
    }

    /// Ends the roll that is under way, if one is.
    fn end(&self, why: Why) {
        let mut now = self.lock();
        if let Some(roll) = now.roll.as_mut().filter(|roll| roll.is_under_way()) {
            roll.stop(why);
            if let Err(e) = self.offers.save_roll(&roll.write()) {
                log::warn!(err:% = e, runbook = "update-roll"; "how far an update is cannot be kept");
            }
        }
    }
}

fn new_id() -> String {
    secret::random::<8>().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn refused(e: &OfferError) -> Failure {
    let advice = match e {
        OfferError::Io(_) => "The log of this appliance says more; see docs/runbook/data-disk.md.",
        OfferError::Gap { .. } | OfferError::Unlike => "Give it again, one at a time.",
        _ => "Nothing was touched.",
    };
    Failure::new(e.to_string(), advice)
}
