//! Two nodes in one process: real stores, real links over loopback, no floating addresses; and
//! ([`witness`]) a real witness beside them.

mod refusals;
mod witness;

#[expect(clippy::disallowed_methods, reason = "a panic is what a history answers with")]
mod storm;

use super::*;
use crate::base::limit::Limit;
use crate::net::{self, Doorstep};
use crate::pair::branch::upkeep_round;
use crate::pair::formation;
use crate::pair::side::{MESSAGE_LEN_MAX, SideError, SideEvent, Topic};
use crate::pair::testing::{free, soon};
use crate::store::disk::{RealDisk, SimDisk};
use crate::store::{StoreOptions, WriteError, swap};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use understudy_proto::codec::DecodeError;
use understudy_proto::directory::{CreateAccount, CreateTenant, DirectoryRules};
use understudy_proto::id::TenantId;
use understudy_proto::id::{AccountId, Epoch, Uid};
use understudy_proto::keys::{BodyRef, Keys, KeysMut};
use understudy_proto::mailbox::{
    self, Deliver, Flags, FlagsOp, INBOX, MailboxRules, Recipient, SetFlags,
};
use understudy_proto::merge::{self, Known, MergeRules, Merging};
use understudy_proto::message::Summary;
use understudy_proto::objects::ObjectsRules;
use understudy_proto::pair::{Role, State};
use understudy_proto::queue::QueueRules;
use understudy_proto::record::Kind;
use understudy_proto::rule::{
    Apply, ApplyError, Command as Rule, DecideError, Decision, Merge, Moment, Planner, Position,
    Registry, Side as Of,
};

const KIND: Kind = Kind(900);
/// Whose word it is where an operator speaks.
const OPERATOR: u32 = 1_000;

/// "Set this key": the smallest kind of change.
struct Set(String);

impl Rule for Set {
    const KIND: Kind = KIND;
    type Answer = ();
    type Refusal = ();

    fn decide(&self, _: &dyn Keys, _: Moment) -> Result<Decision<()>, DecideError<()>> {
        Ok(Decision { change: Some(self.0.clone().into_bytes()), answer: () })
    }
}

struct Setting;

impl Apply for Setting {
    fn kind(&self) -> Kind {
        KIND
    }

    fn apply(&self, keys: &mut dyn KeysMut, _: Position, key: &[u8]) -> Result<(), ApplyError> {
        // Counted, so that a change that were applied twice would show.
        let times = keys.get(key)?.and_then(|v| v.first().copied()).unwrap_or(0);
        Ok(keys.put(key, &[times + 1])?)
    }
}

/// The door for kinds of change that come later: keys that only the branch has set.
impl Merge for Setting {
    fn planner(&self, _: u8) -> Box<dyn Planner> {
        Box::new(Sets::default())
    }

    fn merge(&self, on: &mut Merging<'_>, key: &[u8]) -> Result<(), ApplyError> {
        on.change(self, key.to_vec())
    }
}

#[derive(Default)]
struct Sets {
    ours: BTreeSet<Vec<u8>>,
    theirs: BTreeSet<Vec<u8>>,
}

impl Planner for Sets {
    fn fold(&mut self, side: Of, _: Position, kind: Kind, key: &[u8]) -> Result<(), DecodeError> {
        if kind == KIND {
            let set = if side == Of::Ours { &mut self.ours } else { &mut self.theirs };
            set.insert(key.to_vec());
        }
        Ok(())
    }

    fn plan(self: Box<Self>, _: &Known<'_>) -> Result<Vec<Vec<u8>>, ApplyError> {
        Ok(self.theirs.difference(&self.ours).cloned().collect())
    }
}

fn kinds() -> Kinds {
    Kinds::new(vec![
        Box::new(DirectoryRules),
        Box::new(MailboxRules),
        Box::new(QueueRules),
        Box::new(ObjectsRules),
        Box::new(Setting),
    ])
}

/// An appliance: its folder and addresses outlive its process.
struct Appliance {
    dir: TempDir,
    at: SocketAddr,
    peer: SocketAddr,
    fatal: Arc<AtomicBool>,
    /// It asked to be started anew.
    restart: Arc<AtomicBool>,
    /// Address and pin of the witness, where there is one.
    witness: Option<(SocketAddr, Pin)>,
    /// What its file says that both must have alike.
    agreement: Agreement,
    /// What new mail leaves free on its disk.
    reserve: u64,
    /// What it can merge.
    kinds: fn() -> Kinds,
}

/// Its process.
struct Process {
    store: Store,
    pair: Pair,
    side: Side,
    _listening: watch::Sender<bool>,
}

impl Appliance {
    fn pair() -> (Self, Self) {
        let (a, b) = (free(), free());
        let new = |at, peer| {
            let dir = tempfile::tempdir().unwrap();
            let (fatal, restart) = (Arc::default(), Arc::default());
            let agreement = Vec::new();
            let (witness, reserve) = (None, 1 << 20);
            Self { dir, at, peer, fatal, restart, witness, agreement, reserve, kinds }
        };
        (new(a, b), new(b, a))
    }

    fn config(&self) -> config::Pair {
        config::Pair {
            listen: vec![self.at],
            peer: vec![self.peer],
            heartbeat: Duration::from_millis(25),
            heartbeats_missed_max: 12,
            session_silence_heartbeats: 10,
            lease: Duration::from_millis(75),
            ack_timeout: Duration::from_millis(1_500),
            stability: Duration::from_millis(50),
            boot_wait: Duration::from_millis(300),
            solo_boot_wait: Duration::from_millis(300),
            stale_after: Duration::from_millis(350),
            solo_after: Duration::from_millis(250),
            nap: Duration::from_millis(200),
            handover: Duration::from_secs(2),
            fault_hold: Duration::from_millis(200),
            fault_pause: Duration::from_secs(5),
            room_pause: Duration::from_secs(600),
            connect_timeout: Duration::from_secs(1),
            reconnect: Duration::from_millis(20),
            resync_bytes_per_s: 1 << 30,
            advert: None,
            witness: self.witness.map(|(address, pin)| config::PairWitness {
                address,
                pin: pin.0,
                answer_timeout: Duration::from_millis(500),
                gone: Duration::from_secs(60),
                look: Duration::from_millis(100),
            }),
        }
    }

    fn boot(&self) -> Process {
        self.start(Some(self.config())).unwrap()
    }

    fn start(&self, pair: Option<config::Pair>) -> Result<Process, StartError> {
        self.start_on(Arc::new(RealDisk), pair)
    }

    fn start_on(
        &self,
        disk: Arc<dyn Disk>,
        pair: Option<config::Pair>,
    ) -> Result<Process, StartError> {
        let fatal = Arc::clone(&self.fatal);
        let fatal: FatalHook = Arc::new(move |_| fatal.store(true, Ordering::Relaxed));
        let mut options = StoreOptions::new(self.dir.path(), NodeId(0));
        options.segment_len = 1 << 20;
        options.log_keep_bytes = 2 << 20;
        options.pack_len = 3 << 20;
        options.reserve_bytes = self.reserve;
        options.checkpoint_every = Duration::from_millis(100);
        swap::at_boot(disk.as_ref(), self.dir.path()).unwrap();
        options.fatal = Arc::clone(&fatal);
        let registry = Registry::default()
            .with(Setting)
            .with(DirectoryRules)
            .with(MailboxRules)
            .with(QueueRules)
            .with(ObjectsRules)
            .with(MergeRules((self.kinds)()));
        let store = Store::open(disk.clone(), options, registry).unwrap();
        let (listening, listening_out) = watch::channel(true);
        let side = Side::new();
        let pair = Pair::start(Options {
            store: store.clone(),
            disk,
            data_dir: self.dir.path().to_owned(),
            pair,
            vrrp: None,
            guardian: None,
            listening: listening_out,
            doorstep: Doorstep::default(),
            fatal,
            promoted: Arc::new(|_last| ()),
            side: side.clone(),
            agreement: self.agreement.clone(),
            services: Vital::default(),
            kinds: (self.kinds)(),
            restart: {
                let restart = Arc::clone(&self.restart);
                Arc::new(move || restart.store(true, Ordering::Relaxed))
            },
        })?;
        Ok(Process { store, pair, side, _listening: listening })
    }
}

impl Process {
    async fn until(&self, what: &str, is: impl FnMut(&PairStatus) -> bool) {
        let mut status = self.pair.status();
        let waited =
            tokio::time::timeout(Duration::from_secs(20), status.wait_for(is)).await.is_ok();
        assert!(waited, "never {what}: {:#?}\n{:#?}", self.pair.status(), self.pair.journal());
    }

    async fn serving(&self) {
        self.until("serving", |s| s.serving).await;
    }

    async fn paired(&self) {
        self.until("in a pair", |s| s.pair.rpo_zero && s.pair.linked).await;
    }

    async fn set(&self, key: &str) {
        let lease = self.pair.lease().expect("primary");
        let set = self.store.write(&lease, TenantId::SYSTEM, Set(key.to_owned()));
        soon(set).await.unwrap();
    }

    async fn shows(&self, key: &str) {
        self.shows_in(TenantId::SYSTEM, key).await;
    }

    /// Waits until `key` is there, exactly once.
    async fn shows_in(&self, tenant: TenantId, key: &str) {
        soon(async {
            loop {
                let found = self.store.read(tenant).map(|view| view.get(key.as_bytes()));
                if let Ok(Ok(Some(times))) = found {
                    assert_eq!(times, [1], "{key}");
                    return;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }

    /// Ends it like SIGKILL: nobody says goodbye.
    async fn kill(self) {
        let Self { store, pair, .. } = self;
        let task = Arc::downgrade(&pair.0);
        drop(pair);
        while task.upgrade().is_some() {
            tokio::task::yield_now().await;
        }
        // Sockets close when the aborted tasks have gone.
        tokio::time::sleep(Duration::from_millis(50)).await;
        tokio::task::spawn_blocking(move || store.close()).await.unwrap();
    }
}

/// A formed pair whose first node has run alone.
async fn formed() -> (Appliance, Process, Appliance, Process) {
    formed_with(Appliance::pair()).await
}

async fn formed_with(
    (zero, one): (Appliance, Appliance),
) -> (Appliance, Process, Appliance, Process) {
    let token = formation::init(zero.dir.path(), &[zero.at], clock::now_ms()).unwrap();
    let a = zero.boot();
    a.serving().await;
    a.set("alone").await;
    soon(formation::join(one.dir.path(), &token)).await.unwrap();
    let b = one.boot();
    a.paired().await;
    b.paired().await;
    (zero, a, one, b)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_beside_the_log_arrive_in_order_or_the_session_is_over() {
    let (_zero, a, _one, b) = formed().await;
    let mut shared = b.side.subscribe(Topic::Shared).unwrap();
    assert!(b.side.subscribe(Topic::Shared).is_none(), "given out once");
    assert_eq!(shared.recv().await, Some(SideEvent::Up));
    for number in 0..100_u8 {
        soon(a.side.send(Topic::Branch, vec![number; 1_000])).await.unwrap(); // Nobody reads those.
        soon(a.side.send(Topic::Shared, vec![number; MESSAGE_LEN_MAX])).await.unwrap();
        let event = soon(shared.recv()).await;
        assert_eq!(event, Some(SideEvent::Message(vec![number; MESSAGE_LEN_MAX])));
    }
    a.set("beside the bulk").await;
    b.shows("beside the bulk").await;
    let refused = soon(a.side.send(Topic::Shared, vec![0; MESSAGE_LEN_MAX + 1])).await;
    assert_eq!(refused, Err(SideError::Length(MESSAGE_LEN_MAX + 1)));

    // A reader that stands still ends the session, and finds out.
    for number in 0..=u8::MAX {
        if a.side.send(Topic::Shared, vec![number]).await.is_err() {
            break;
        }
    }
    // Not read before its end: 48 messages, then the session is over.
    soon(async {
        while shared.len() < 49 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    let mut came = Vec::new();
    while came.last() != Some(&SideEvent::Down) {
        came.push(soon(shared.recv()).await.unwrap());
    }
    let expected = (0..).map(|number| SideEvent::Message(vec![number]));
    assert!(came.len() > 32 && came.iter().zip(expected).take(32).all(|(c, e)| *c == e));
    b.kill().await;
    soon(async {
        while a.side.send(Topic::Shared, vec![1]).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}

impl Appliance {
    /// With a copy that takes its time.
    fn boot_slow(&self) -> Process {
        let config = config::Pair { resync_bytes_per_s: 3 << 20, ..self.config() };
        self.start(Some(config)).unwrap()
    }

    async fn asks_for_a_restart(&self) {
        let asked = async {
            while !self.restart.swap(false, Ordering::Relaxed) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        assert!(tokio::time::timeout(Duration::from_secs(60), asked).await.is_ok());
    }
}

impl Process {
    /// Leaves a body of so many bytes, and gives what names it.
    async fn upload(&self, len: usize, seed: u8) -> (BodyRef, Vec<u8>) {
        let lease = self.pair.lease().expect("primary");
        let mut content = vec![0; len];
        blake3::Hasher::new().update(&[seed]).finalize_xof().fill(&mut content);
        let mut body = self.store.begin_body(&lease, TenantId::SYSTEM).await.unwrap();
        soon(body.write(&content)).await.unwrap();
        (soon(body.finish()).await.unwrap(), content)
    }

    fn has_body(&self, (body, content): &(BodyRef, Vec<u8>)) {
        let view = self.store.read(TenantId::SYSTEM).unwrap();
        let address = view.body(body.upload).unwrap().unwrap();
        let found = self.store.read_body(TenantId::SYSTEM, &address, 0..body.size).unwrap();
        assert!(found == *content, "a body of {} bytes differs", body.size);
    }
}

/// A standby that was away until the log that it lacks was trimmed, and what it lacks.
async fn far_behind() -> (Appliance, Process, Appliance, Vec<(BodyRef, Vec<u8>)>) {
    let (zero, a, one, b) = formed().await;
    a.set("together").await;
    b.shows("together").await;
    b.kill().await;
    let mut bodies = Vec::new();
    for n in 0..24 {
        a.set(&format!("away {n}")).await;
        bodies.push(a.upload(400_000, n).await);
    }
    soon(async {
        while a.store.log().first() <= Lsn(20) {
            a.set("again").await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    (zero, a, one, bodies)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_that_was_away_too_long_gets_a_full_copy() {
    let (zero, a, one, bodies) = far_behind().await;
    let tenant = TenantId(7);
    a.store.add_tenant_key(tenant).unwrap();
    let b = one.boot();
    // Writes go on meanwhile.
    let mut n = 0;
    while !one.restart.load(Ordering::Relaxed) {
        a.set(&format!("while {n}")).await;
        n += 1;
        assert!(n < 20_000, "{:#?} {:#?}", a.pair.status(), b.pair.status());
    }
    one.restart.store(false, Ordering::Relaxed);
    b.kill().await;
    a.set("before it is back").await;
    let b = one.boot();
    assert!(one.dir.path().join("retired").exists());
    a.paired().await;
    b.paired().await;
    a.set("after").await;
    for key in ["together", "away 0", "away 23", "while 0", "before it is back", "after"] {
        b.shows(key).await;
    }
    b.shows(&format!("while {}", n - 1)).await;
    for body in &bodies {
        a.has_body(body);
        b.has_body(body);
    }
    let gone = async {
        while one.dir.path().join("retired").exists() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    soon(gone).await;
    a.until("through with the copy", |s| s.copy.is_none()).await;
    // It counts: it takes over, and the other one follows it.
    a.kill().await;
    b.serving().await;
    b.set("led by the copy").await;
    let a = zero.boot();
    a.paired().await;
    a.shows("led by the copy").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_copy_goes_on_after_either_node_was_killed() {
    let (zero, a, one, bodies) = far_behind().await;
    a.kill().await;
    let (mut a, mut b) = (zero.boot_slow(), one.boot());
    let mut before = 0;
    for round in 0..4 {
        a.until("sending", |s| s.copy.as_ref().is_some_and(|c| c.bytes_done > before)).await;
        b.until("receiving", |s| s.copy.as_ref().is_some_and(|c| !c.sending)).await;
        before = (before + 1_500_000).min(4_000_000);
        a.set(&format!("round {round}")).await;
        if round % 2 == 0 {
            b.kill().await;
            assert!(!one.restart.load(Ordering::Relaxed));
            b = one.boot();
        } else {
            a.kill().await;
            a = zero.boot_slow();
            a.serving().await;
        }
    }
    one.asks_for_a_restart().await;
    b.kill().await;
    let b = one.boot();
    a.paired().await;
    b.paired().await;
    for key in ["alone", "away 23", "round 0", "round 3"] {
        b.shows(key).await;
    }
    for body in &bodies {
        b.has_body(body);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_appliance_alone_leads_and_leads_again() {
    let (alone, _) = Appliance::pair();
    for round in 0..2 {
        let process = alone.start(None).unwrap();
        process.serving().await;
        process.set(&format!("round {round}")).await;
        process.shows("round 0").await;
        let status = process.pair.status().borrow().clone();
        assert_eq!((status.pair.state, status.pair.rpo_zero), (State::Solo, false));
        assert!(status.standalone && status.insync == [NodeId(0)]);
        assert_eq!(
            process.pair.handover(OPERATOR).await.unwrap_err().to_string(),
            "this appliance stands alone: there is no [pair] to hand over to"
        );
        if round == 0 {
            process.pair.stop().await.unwrap();
            assert!(process.pair.lease().is_none());
        }
        process.kill().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn config_and_formation_must_agree() {
    let (zero, _) = Appliance::pair();
    assert!(matches!(zero.start(Some(zero.config())), Err(StartError::NotFormed)));
    formation::init(zero.dir.path(), &[zero.at], clock::now_ms()).unwrap();
    assert!(matches!(zero.start(None), Err(StartError::NotConfigured(NodeId(0)))));
    assert!(matches!(who(zero.dir.path(), Some(&zero.config())), Ok(NodeId(0))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_written_is_on_the_standby() {
    let (_zero, a, _one, b) = formed().await;
    b.shows("alone").await;
    for n in 0..50 {
        a.set(&format!("key {n}")).await;
        // Acknowledged means durable there, before it is visible there.
        let lsn = a.store.log().committed();
        assert!(*b.store.log().durable().borrow() >= lsn);
    }
    b.shows("key 49").await;
    assert!(b.pair.lease().is_none());
    assert_eq!(b.pair.handover(OPERATOR).await, Err(CommandError::NotPrimary));
    assert_eq!(b.pair.force_solo(OPERATOR).await, Err(CommandError::PeerIsThere));
    assert_eq!(a.pair.force_solo(OPERATOR).await, Err(CommandError::PeerIsThere));
    let status = b.pair.status().borrow().clone();
    assert_eq!((status.pair.role, status.insync.len()), (Role::Standby, 2));
    assert!(status.paths.iter().all(|p| p.heard.is_some() && p.session), "{status:?}");
    assert!(status.certificate_expires.is_some() && status.problems.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_standby_takes_over_and_the_dead_returns() {
    let (zero, a, _one, b) = formed().await;
    a.set("before").await;
    a.kill().await;
    b.serving().await;
    b.shows("before").await;
    b.set("meanwhile").await;
    let last = b.pair.status().borrow().last_promotion.clone().unwrap();
    assert_eq!((last.node, last.role_from), (NodeId(1), Role::Standby));
    assert!(last.took_ms.is_some());
    let a = zero.boot();
    a.paired().await;
    b.paired().await;
    for key in ["alone", "before", "meanwhile"] {
        a.shows(key).await;
    }
    b.set("after").await;
    a.shows("after").await;
    // And back again.
    b.kill().await;
    a.serving().await;
    a.shows("after").await;
    a.set("again").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_primary_goes_on_alone_and_the_standby_catches_up() {
    let (_zero, a, one, b) = formed().await;
    b.kill().await;
    // Stalls until SOLO is recorded, and is then acknowledged.
    a.set("stalled").await;
    assert_eq!(a.pair.status().borrow().pair.state, State::Solo);
    for n in 0..300 {
        a.set(&format!("alone {n}")).await;
    }
    let b = one.boot();
    a.paired().await;
    b.paired().await;
    b.shows("stalled").await;
    b.shows("alone 299").await;
}

/// A listener behind the node's lease whose sessions say goodbye when they are told to; every other
/// one does not listen to anybody.
fn polite(process: &Process) -> (SocketAddr, net::StopControl) {
    static ROOM: Limit = Limit::new("test", 10);
    static NEXT: AtomicBool = AtomicBool::new(false);
    let listener = net::listen(&["127.0.0.1".parse().unwrap()], 0).unwrap().remove(0);
    let (at, (control, stop)) = (listener.address(), net::stop());
    let limits = net::Limits { limit: &ROOM, per_source_max: 10, refusal: b"" };
    let handler = |mut s: net::Session<PrimaryLease>| async move {
        s.stream.write_all(b"hello").await.unwrap();
        if NEXT.fetch_xor(true, Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        s.notice.given().await;
        s.stream.write_all(b"bye").await.unwrap();
    };
    let sessions = net::Sessions::new(limits);
    task::spawn("accept", net::serve(listener, sessions, process.pair.gate(), stop, handler));
    (at, control)
}

async fn guest(at: SocketAddr) -> TcpStream {
    let mut tcp = TcpStream::connect(at).await.unwrap();
    soon(tcp.read_exact(&mut [0; 5])).await.unwrap();
    tcp
}

async fn last_word(mut tcp: TcpStream) -> Vec<u8> {
    let mut word = Vec::new();
    soon(tcp.read_to_end(&mut word)).await.unwrap();
    word
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_are_told_before_a_handover_and_waited_for_no_longer_than_they_may() {
    let (_zero, a, _one, b) = formed().await;
    let (at, _control) = polite(&a);
    let (polite_one, stubborn) = (guest(at).await, guest(at).await);
    soon(a.pair.handover(OPERATOR)).await.unwrap();
    b.serving().await;
    assert_eq!(last_word(polite_one).await, b"bye");
    assert_eq!(last_word(stubborn).await, b"");
    // The next reign's sessions are not told of the last one's end.
    soon(b.pair.handover(OPERATOR)).await.unwrap();
    a.serving().await;
    a.paired().await;
    let (again, _stubborn) = (guest(at).await, guest(at).await);
    soon(a.pair.stop()).await.unwrap();
    assert_eq!(last_word(again).await, b"bye");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handover_moves_the_role_and_loses_nothing() {
    let (_zero, a, _one, b) = formed().await;
    let lease = a.pair.lease().unwrap();
    a.set("here").await;
    a.pair.handover(OPERATOR).await.unwrap();
    b.serving().await;
    let asked_by = |entries: Arc<Vec<Entry>>| entries.last().unwrap().asked_by;
    assert_eq!(asked_by(a.pair.journal()), Some(OPERATOR));
    assert!(b.pair.journal().iter().all(|e| e.asked_by.is_none()), "nobody asked there");
    assert!(!lease.valid());
    let late = a.store.write(&lease, TenantId::SYSTEM, Set("late".to_owned())).await;
    assert!(matches!(late, Err(WriteError::NotPrimary)));
    b.set("there").await;
    a.shows("there").await;
    a.paired().await;
    b.pair.handover(OPERATOR).await.unwrap();
    a.serving().await;
    a.set("home").await;
    b.shows("home").await;
    // An orderly stop is a handover, too.
    a.pair.stop().await.unwrap();
    b.serving().await;
    b.shows("home").await;
}

/// Whatever its reason, a write that waits for the disk for long takes the addresses away.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_hangs_is_noticed_and_so_is_its_return() {
    let (zero, _) = Appliance::pair();
    let disk = SimDisk::empty(zero.dir.path());
    let a = zero.start_on(Arc::new(disk.clone()), None).unwrap();
    a.serving().await;
    let hangs = |s: &PairStatus| s.problems.iter().any(|p| p.what.starts_with("the disk hangs"));
    disk.slow_syncs(Duration::from_secs(4));
    let lease = a.pair.lease().unwrap();
    let write = a.store.write(&lease, TenantId::SYSTEM, Set("late".to_owned()));
    let watched = async {
        a.until("hung", hangs).await;
        disk.slow_syncs(Duration::ZERO);
        a.until("well again", |s| !hangs(s)).await;
    };
    let (written, ()) = tokio::join!(write, watched);
    written.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_below_its_reserve_is_known_on_both() {
    let (zero, mut one) = Appliance::pair();
    one.reserve = u64::MAX;
    let (_zero, a, _one, b) = formed_with((zero, one)).await;
    let says = |what: &'static str| {
        move |s: &PairStatus| {
            s.problems.iter().any(|p| p.runbook == "own-health" && p.what.contains(what))
        }
    };
    b.until("below its reserve", says("new mail is put off")).await;
    a.until("told so", says("the other appliance's disk")).await;
    assert_eq!(a.pair.status().borrow().pair.peer.and_then(|h| h.spare_mib), Some(0));
    assert_eq!(a.pair.status().borrow().pair.role, Role::Primary);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_standby_is_left_before_its_log_fails_and_comes_back() {
    let (zero, one) = Appliance::pair();
    let token = formation::init(zero.dir.path(), &[zero.at], clock::now_ms()).unwrap();
    let a = zero.boot();
    a.serving().await;
    soon(formation::join(one.dir.path(), &token)).await.unwrap();
    let disk = SimDisk::empty(one.dir.path());
    let b = one.start_on(Arc::new(disk.clone()), Some(one.config())).unwrap();
    a.paired().await;
    b.paired().await;
    let says =
        |what: &'static str| move |s: &PairStatus| s.problems.iter().any(|p| p.what.contains(what));
    // Below four segments.
    disk.say_free(Some((4 << 20) - 1));
    b.until("why it is left", says("this copy is left")).await;
    a.until("why it is alone", says("its copy is left")).await;
    a.until("alone", |s| s.pair.state == State::Solo).await;
    a.set("alone").await;
    disk.say_free(None);
    a.paired().await;
    b.shows("alone").await;
    assert!(!one.fatal.load(Ordering::Relaxed), "its store has not stopped");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_tenants_key_is_on_the_standby_before_its_data() {
    let (_zero, a, _one, b) = formed().await;
    let tenant = TenantId(7);
    let version = a.store.add_tenant_key(tenant).unwrap();
    soon(a.store.keyring().replicated(version)).await;
    assert!(b.store.keyring().has(tenant));
    let lease = a.pair.lease().unwrap();
    soon(a.store.write(&lease, tenant, Set("mine".to_owned()))).await.unwrap();
    b.shows_in(tenant, "mine").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_survivor_is_forced_to_lead() {
    let (zero, a, one, b) = formed().await;
    // The standby dies, the primary goes on alone, then dies, too: only the stale one returns.
    b.kill().await;
    a.set("only here").await;
    a.kill().await;
    let b = one.boot();
    b.until("waiting for the operator", |s| {
        s.pair.waiting == understudy_proto::pair::Waiting::Operator
    })
    .await;
    assert!(b.pair.lease().is_none());
    b.pair.force_solo(OPERATOR).await.unwrap();
    b.until("known whose word it was", |s| {
        s.last_promotion.as_ref().is_some_and(|m| m.asked_by == Some(OPERATOR))
    })
    .await;
    let forced = b.pair.status().borrow().last_promotion.clone().unwrap();
    b.set("forced").await;
    // Who said so is still known when the process is gone.
    let kept = async {
        while !journal::read(&one.dir.path().join("pair")).unwrap().contains(&forced) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    soon(kept).await;
    // The other one has what this one lacks: nobody discards anything.
    let a = zero.boot();
    a.until("branched", |s| s.pair.state == State::Branched).await;
    a.shows("only here").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forced_start_that_does_not_come_about_says_so_in_its_own_words() {
    let (zero, a, one, b) = formed().await;
    b.kill().await;
    a.kill().await;
    drop(zero);
    // Its register is lost with its disk: it knows nothing.
    let disk = SimDisk::empty(one.dir.path());
    let b = one.start_on(Arc::new(disk.clone()), Some(one.config())).unwrap();
    b.until("waiting for the operator", |s| {
        s.pair.waiting == understudy_proto::pair::Waiting::Operator
    })
    .await;
    disk.slow_syncs(Duration::from_secs(6));
    assert_eq!(soon(b.pair.force_solo(OPERATOR)).await, Err(CommandError::NotLeading));
    disk.slow_syncs(Duration::ZERO);
}

const ACME: TenantId = TenantId(1);
const ADA: AccountId = AccountId(1);

impl Process {
    async fn write<C: Rule>(&self, tenant: TenantId, command: C) -> C::Answer
    where
        C::Answer: Clone,
    {
        let lease = self.pair.lease().expect("primary");
        let written = soon(self.store.write(&lease, tenant, command)).await.unwrap();
        soon(self.store.applied(tenant, written.lsn)).await.unwrap();
        written.answer
    }

    async fn create_acme(&self) {
        let version = self.store.add_tenant_key(ACME).unwrap();
        soon(self.store.keyring().replicated(version)).await;
        self.write(TenantId::SYSTEM, CreateTenant { id: ACME, name: "Acme".into() }).await;
    }

    /// A message of `len` bytes for an account of ACME.
    async fn mail(&self, account: AccountId, len: usize, seed: u8) {
        let lease = self.pair.lease().expect("primary");
        let mut body = soon(self.store.begin_body(&lease, ACME)).await.unwrap();
        body.write(&vec![seed; len]).await.unwrap();
        self.deliver(account, body.finish().await.unwrap(), seed).await;
    }

    async fn deliver(&self, account: AccountId, body: BodyRef, seed: u8) {
        let to = vec![Recipient { account, mailbox: INBOX }];
        let (summary, transaction, flags) = (Summary::default(), [seed; 16], Flags::default());
        let deliver = Deliver { body, summary, transaction, to, outbound: None, flags, last: true };
        self.write(ACME, deliver).await;
    }

    async fn flag(&self, uid: Uid, bits: u8) {
        let (op, flags) = (FlagsOp::Add, Flags::system(bits));
        let set = SetFlags { account: ADA, mailbox: INBOX, uids: vec![uid], op, flags };
        self.write(ACME, set).await;
    }

    /// Every message of the account's INBOX: UID, flags, length and first byte.
    fn inbox(&self, account: AccountId) -> Vec<(Uid, u8, usize, u8)> {
        let view = self.store.read(ACME).unwrap();
        let all = (Uid(0), Uid(u32::MAX));
        let entries = mailbox::entries_range(&view, account, INBOX, all).unwrap();
        let show = |e: mailbox::Entry| {
            let email = mailbox::email(&view, account, e.email).unwrap().unwrap();
            let body = self.store.read_body(ACME, &email.body, 0..u64::MAX).unwrap();
            assert!(body.windows(2).all(|w| w[0] == w[1]), "bytes of another body");
            (e.uid, e.flags.bits, body.len(), body[0])
        };
        entries.into_iter().map(show).collect()
    }
}

/// Waits until it is so.
async fn comes(is_so: impl Fn() -> bool) {
    soon(async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_went_on_alone_and_everything_is_kept() {
    let new =
        |name: &str| CreateAccount { address: format!("{name}@acme.example"), name: name.into() };
    let (zero, a, one, b) = formed().await;
    a.create_acme().await;
    assert_eq!(a.write(ACME, new("ada")).await, ADA);
    a.mail(ADA, 10, 1).await;
    a.mail(ADA, 20, 2).await;
    // A message that takes long: it begins further before the fork than is looked at first.
    let lease = a.pair.lease().unwrap();
    let mut long = soon(a.store.begin_body(&lease, ACME)).await.unwrap();
    long.write(&[8; 300_000]).await.unwrap();
    for n in 0..40 {
        a.set(&format!("meanwhile {n}")).await;
    }
    // The branch: node 0 goes on alone.
    b.kill().await;
    a.set("only here").await;
    a.mail(ADA, 300_000, 3).await;
    a.mail(ADA, 31, 9).await;
    long.write(&[8; 100_000]).await.unwrap();
    a.deliver(ADA, long.finish().await.unwrap(), 8).await;
    a.flag(Uid(1), Flags::SEEN).await;
    let carol = a.write(ACME, new("carol")).await;
    a.mail(carol, 40, 4).await;
    for n in 0..50 {
        a.set(&format!("branch {n}")).await;
    }
    a.kill().await;
    // Node 1 does not know that and is told to lead.
    let b = one.boot();
    b.until("waiting for the operator", |s| {
        s.pair.waiting == understudy_proto::pair::Waiting::Operator
    })
    .await;
    b.pair.force_solo(OPERATOR).await.unwrap();
    b.serving().await;
    let fork = b.store.log().fork();
    assert!(fork > Epoch(0), "another may go on, too");
    // Before any mail comes: whoever comes from the other side finds UIDNEXT above all that they know.
    comes(|| {
        let view = b.store.read(ACME).unwrap();
        let inbox = mailbox::mailbox(&view, ADA, INBOX).unwrap().unwrap();
        inbox.uid_next == Uid(3 + mailbox::UID_JUMP)
    })
    .await;
    // It is known after a restart; and the later reign is the one that leads when they meet.
    b.kill().await;
    let b = one.boot();
    b.serving().await;
    assert_eq!(b.store.log().fork(), fork);
    b.set("only there").await;
    b.mail(ADA, 50, 5).await;
    b.mail(ADA, 31, 9).await; // The sender's retry.
    b.flag(Uid(1), Flags::FLAGGED).await;
    let dave = b.write(ACME, new("dave")).await;
    b.mail(dave, 60, 6).await;
    assert_eq!(b.inbox(ADA)[2].0, Uid(3 + mailbox::UID_JUMP));

    // The branch comes back, is killed on its way, and comes again.
    let a = zero.boot();
    a.until("branched", |s| s.pair.state == State::Branched).await;
    comes(|| !merge::branches(&b.store.read(TenantId::SYSTEM).unwrap()).unwrap().is_empty()).await;
    a.kill().await;
    zero.restart.store(false, Ordering::Relaxed);
    let a = if std::fs::exists(zero.dir.path().join("retire")).unwrap() {
        None
    } else {
        let a = zero.boot();
        zero.asks_for_a_restart().await;
        Some(a)
    };
    b.shows("only here").await;
    b.shows("only there").await;
    b.shows("branch 49").await;
    let jump = mailbox::UID_JUMP;
    let inbox = b.inbox(ADA);
    let mut content: Vec<_> = inbox.iter().map(|m| (m.2, m.3)).collect();
    content.sort_unstable();
    assert_eq!(content, [(10, 1), (20, 2), (31, 9), (50, 5), (300_000, 3), (400_000, 8)]);
    assert_eq!(inbox[0], (Uid(1), Flags::SEEN | Flags::FLAGGED, 10, 1));
    assert!(inbox.iter().skip(2).all(|m| m.0 >= Uid(3 + jump)), "{inbox:?}");
    let view = b.store.read(ACME).unwrap();
    let accounts = understudy_proto::directory::accounts(&view).unwrap();
    for (name, expected) in [("carol", (40, 4)), ("dave", (60, 6))] {
        let found = accounts.iter().find(|a| a.name == name).unwrap();
        let inbox = b.inbox(found.id);
        assert_eq!(inbox.iter().map(|m| (m.2, m.3)).collect::<Vec<_>>(), [expected], "{name}");
    }
    let (_, progress) = merge::branches(&view).unwrap()[0];
    assert!(progress.finished.is_some());

    // The branch's node begins anew, empty, and has everything again.
    if let Some(a) = a {
        a.kill().await;
    }
    let a = zero.boot();
    assert!(zero.dir.path().join("branches").exists(), "its data is kept");
    a.paired().await;
    b.paired().await;
    a.shows("only there").await;
    a.shows("branch 49").await;
    soon(a.store.applied(ACME, b.store.log().committed())).await.unwrap();
    assert_eq!(a.inbox(ADA), b.inbox(ADA));
    assert_eq!(b.pair.merging(), None);

    originals_go_after_their_time(&b).await;
}

/// Originals stay for 30 days, and not for longer.
async fn originals_go_after_their_time(b: &Process) {
    let (branch, progress) = merge::branches(&b.store.read(ACME).unwrap()).unwrap()[0];
    assert!(progress.finished.is_some());
    let lease = b.pair.lease().unwrap();
    for (day, kept) in [(1, true), (29, true), (0, true), (1, false)] {
        let seen = Duration::from_secs(day * 86_400);
        upkeep_round(&b.store, &b.pair.status(), &lease, seen).await.unwrap();
        soon(b.store.applied(ACME, b.store.log().committed())).await.unwrap();
        let mut count = 0;
        let view = b.store.read(ACME).unwrap();
        merge::records(&view, branch, |_, _, _| {
            count += 1;
            Ok(())
        })
        .unwrap();
        assert_eq!(count > 0, kept, "day {day}");
    }
    assert_eq!(b.store.log().fork(), Epoch(0), "no other node can go on from there");
}

#[test]
fn a_fork_that_was_just_noted_is_not_cleared() {
    let (zero, _one) = Appliance::pair();
    let options = StoreOptions::new(zero.dir.path(), NodeId(0));
    let store = Store::open(Arc::new(RealDisk), options, Registry::default()).unwrap();
    let log = store.log();
    log.set_fork(Epoch(3)).unwrap();
    log.set_fork(Epoch(5)).unwrap();
    log.clear_fork(Epoch(3)).unwrap();
    assert_eq!(log.fork(), Epoch(5));
    log.clear_fork(Epoch(5)).unwrap();
    assert_eq!(log.fork(), Epoch(0));
}
