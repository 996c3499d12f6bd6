//! Two appliances in one process: an operator hands an update over, root is played, restarts are real
//! enough that the one that drives forgets everything but what it has kept.

use super::*;
use crate::appliance::report::Slot;
use crate::appliance::slot::keys::SigningKey;
use crate::appliance::slot::package::tests::{about, packed};
use crate::appliance::slot::package::{self, Manifest};
use crate::appliance::update::driver::Status;
use crate::appliance::update::order::Outcome as Became;
use crate::appliance::update::record::{Condition, FailedImage, Image, Place};
use crate::appliance::update::rules::Booted;
use crate::ops::status::RollState;
use std::fs;
use understudy_proto::time::UnixMs;

/// How an image does on a node, as the played root has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Runs {
    Old,
    Ready,
    Trial,
    New,
    WentBack,
}

struct Played {
    dir: tempfile::TempDir,
    boot: u32,
    runs: Runs,
    became: Option<Became>,
    /// The image is not healthy here.
    sick: bool,
    /// The image does not answer as primary.
    deaf: bool,
    installed: u32,
    updates: Option<Updates>,
}

struct Scene {
    nodes: [Played; 2],
    primary: usize,
    /// Who gets what the other sends.
    ears: [Option<mpsc::Sender<SideEvent>>; 2],
    handovers: u32,
}

type Shown = Arc<Mutex<Scene>>;

#[derive(Clone)]
struct Seat(Shown, usize);

fn lock(shown: &Shown) -> MutexGuard<'_, Scene> {
    shown.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Scene {
    fn paired(&self) -> bool {
        self.ears.iter().all(Option::is_some)
    }
}

impl Duo for Seat {
    fn stands(&self) -> (bool, Option<Node>) {
        let scene = lock(&self.0);
        let primary = if scene.primary == self.1 { Node::Here } else { Node::Peer };
        (scene.paired(), Some(primary))
    }

    async fn serves(&self) -> Option<bool> {
        let scene = lock(&self.0);
        let node = &scene.nodes[self.1];
        (scene.primary == self.1).then_some(!(node.deaf && node.runs == Runs::New))
    }

    async fn hand_over(&self, _: u32) -> Result<(), String> {
        let mut scene = lock(&self.0);
        if scene.primary != self.1 {
            return Err("not primary".to_owned());
        }
        scene.primary = 1 - self.1;
        scene.handovers += 1;
        Ok(())
    }
}

fn places(dir: &Path) -> Places {
    Places {
        orders: dir.join("orders"),
        published: dir.join("update.json"),
        trusted: dir.join("trusted"),
    }
}

fn tell(node: &Played, manifest: &Manifest) {
    let image = |manifest: &Manifest| Image::from(manifest);
    let place = |image, condition| {
        Some(Place { image, condition, boot: node.boot.to_string(), at: UnixMs(0) })
    };
    let old = place(Image::flashed("1.0.0".parse().unwrap()), Condition::Good);
    let (standing, condition) = match node.runs {
        Runs::Old => (Standing::Settled(Slot::A), None),
        Runs::Ready => (Standing::Settled(Slot::A), Some(Condition::Ready)),
        Runs::Trial => (Standing::Trial(Slot::B), Some(Condition::Ready)),
        Runs::New => (Standing::Settled(Slot::B), Some(Condition::Good)),
        Runs::WentBack => (Standing::Settled(Slot::A), Some(Condition::Bad)),
    };
    let new = matches!(node.runs, Runs::Trial | Runs::New);
    let status = Status {
        running: if new { "2.0.0" } else { "1.0.0" }.to_owned(),
        booted: Booted::default(),
        standing,
        active: Some(Slot::A),
        to_try: (node.runs == Runs::Ready).then_some(Slot::B),
        tries: 0,
        a: old,
        b: condition.and_then(|condition| place(image(manifest), condition)),
        data_format: Some(1),
        failed: (node.runs == Runs::WentBack)
            .then(|| FailedImage {
                blake3: manifest.blake3,
                version: manifest.about.version.clone(),
                at: UnixMs(0),
                why: "not healthy".to_owned(),
            })
            .into_iter()
            .collect(),
        troubles: Vec::new(),
    };
    let (at, boot, order) = (UnixMs(0), node.boot.to_string(), node.became.clone());
    let published = Published { at, boot, order, working: None, status };
    order::publish(&places(node.dir.path()).published, &published).unwrap();
}

/// Starts the program of a node.
fn power_on(shown: &Shown, who: usize) {
    let (own, out) = (mpsc::channel(64), mpsc::channel::<SideEvent>(64));
    let mut scene = lock(shown);
    let dir = scene.nodes[who].dir.path().to_owned();
    let updates = Updates::new(&dir, true, places(&dir), Duration::from_millis(10));
    scene.ears[who] = Some(own.0);
    if scene.paired() {
        for ear in scene.ears.iter().flatten() {
            ear.try_send(SideEvent::Up).unwrap();
        }
    }
    let (to, mut sent) = (shown.clone(), out.1);
    updates.drive(Seat(shown.clone(), who), own.1, Wire::Channel(out.0));
    scene.nodes[who].updates = Some(updates);
    drop(scene);
    drop(task::spawn("wire", async move {
        while let Some(event) = sent.recv().await {
            let ear = lock(&to).ears[1 - who].clone();
            if let Some(ear) = ear {
                drop(ear.send(event).await);
            }
        }
    }));
}

fn power_off(shown: &Shown, who: usize) {
    let mut scene = lock(shown);
    // Its ear is what keeps its program alive.
    (scene.ears[who], scene.nodes[who].updates) = (None, None);
    if let Some(ear) = &scene.ears[1 - who] {
        ear.try_send(SideEvent::Down).unwrap();
    }
}

/// What root and the loader do for a node, for ever.
async fn play_root(shown: Shown, who: usize, manifest: Manifest) {
    loop {
        tokio::time::sleep(Duration::from_millis(10)).await;
        let taken = order::take(&places(lock(&shown).nodes[who].dir.path()).orders).unwrap();
        let Some(order) = taken else { continue };
        let restarts = order.act == Act::Restart;
        {
            let mut scene = lock(&shown);
            let (paired, primary) = (scene.paired(), scene.primary == who);
            let node = &mut scene.nodes[who];
            match order.act {
                Act::Install { .. } => {
                    let offer = node.dir.path().join(offer::DIR).join(offer::READY);
                    let keys = node.dir.path().join("trusted");
                    let trusted = crate::appliance::slot::keys::TrustedKeys::load(&keys).unwrap();
                    let package = package::open(fs::File::open(offer).unwrap(), &trusted).unwrap();
                    package.unpack(1 << 20, &mut |_, _| Ok(())).unwrap();
                    (node.runs, node.installed) = (Runs::Ready, node.installed + 1);
                }
                Act::Restart => {
                    assert!(paired && !primary, "only a standby of a whole pair restarts");
                    assert_eq!(node.runs, Runs::Ready);
                }
                Act::Rollback { .. } => node.runs = Runs::Old,
            }
            node.became = Some(Became { id: order.id, failed: None });
            tell(node, &manifest);
        }
        if restarts {
            restart(&shown, who, &manifest).await;
        }
    }
}

async fn restart(shown: &Shown, who: usize, manifest: &Manifest) {
    power_off(shown, who);
    fs::remove_file(places(lock(shown).nodes[who].dir.path()).published).unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let turn = |runs| {
        let mut scene = lock(shown);
        let node = &mut scene.nodes[who];
        (node.runs, node.became) = (runs, None);
        node.boot += 1;
        tell(node, manifest);
        node.sick
    };
    let sick = turn(Runs::Trial);
    power_on(shown, who);
    tokio::time::sleep(Duration::from_millis(100)).await;
    if sick {
        power_off(shown, who);
        turn(Runs::WentBack);
        power_on(shown, who);
    } else {
        let mut scene = lock(shown);
        let node = &mut scene.nodes[who];
        node.runs = Runs::New;
        tell(node, manifest);
    }
}

fn updates(shown: &Shown, who: usize) -> Option<Updates> {
    lock(shown).nodes[who].updates.clone()
}

fn hand_over(updates: &Updates, bytes: &[u8]) -> Outcome<u64> {
    let mut at = 0;
    for piece in bytes.chunks(1000) {
        let piece = UpdatePiece { offset: at, bytes: STANDARD.encode(piece) };
        at = updates.piece(&piece)?;
    }
    Ok(at)
}

/// An update that an operator gives to `taker`, to the end; `sick` is where it is not healthy.
async fn update(taker: usize, primary: usize, sick: [bool; 2]) -> (Shown, RollReport) {
    update_of(taker, primary, sick, false).await
}

async fn update_of(
    taker: usize,
    primary: usize,
    sick: [bool; 2],
    deaf: bool,
) -> (Shown, RollReport) {
    let (key, _) = SigningKey::generate().unwrap();
    // So long that it goes in several messages.
    let image: Vec<u8> = (0..700_000_u32).flat_map(|i| i.wrapping_mul(i).to_le_bytes()).collect();
    let bytes = packed(about("2.0.0"), &image[..900_000], &key);
    let played = |sick| {
        let dir = tempfile::tempdir().unwrap();
        for name in ["orders", "trusted"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        fs::write(dir.path().join("trusted/a.pub"), key.public().to_pem()).unwrap();
        let (boot, runs, became) = (1, Runs::Old, None);
        Played { dir, boot, runs, became, sick, deaf, installed: 0, updates: None }
    };
    let nodes = sick.map(played);
    let scene = Scene { nodes, primary, ears: [None, None], handovers: 0 };
    let shown = Arc::new(Mutex::new(scene));
    let trusted = places(lock(&shown).nodes[0].dir.path()).trusted;
    let trusted = crate::appliance::slot::keys::TrustedKeys::load(&trusted).unwrap();
    let manifest = package::open(&bytes[..], &trusted).unwrap().manifest().clone();
    for who in [0, 1] {
        tell(&lock(&shown).nodes[who], &manifest);
        power_on(&shown, who);
        drop(task::spawn("root", play_root(shown.clone(), who, manifest.clone())));
    }
    let taking = updates(&shown, taker).unwrap();
    let len = hand_over(&taking, &bytes).unwrap();
    let (restart, only_here, downgrade, again) = (false, false, false, false);
    let install = UpdateInstall { len, only_here, restart, downgrade, again };
    let short = UpdateInstall { len: len - 1, ..install };
    assert!(taking.install(short, 1000).await.is_err(), "it must have come whole");
    taking.install(install, 1000).await.unwrap();
    assert!(taking.install(install, 1000).await.is_err(), "one at a time");
    assert!(hand_over(&taking, &bytes).is_err(), "and no other file meanwhile");
    drop(taking);
    let begun = clock::mono();
    loop {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let report = updates(&shown, taker).and_then(|updates| updates.report());
        match report {
            Some(report) if report.state != RollState::UnderWay => return (shown, report),
            other => assert!(clock::mono().since(begun) < Duration::from_secs(120), "{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pair_updates_itself_whoever_takes_the_order() {
    for (taker, primary) in [(0, 0), (0, 1)] {
        let (shown, report) = update(taker, primary, [false; 2]).await;
        assert_eq!(report.state, RollState::Done, "{report:?}");
        let scene = lock(&shown);
        assert!(scene.nodes.iter().all(|node| node.runs == Runs::New && node.installed == 1));
        assert_eq!((scene.primary, scene.handovers), (1 - primary, 1));
        let left = scene.nodes[taker].dir.path().join(offer::DIR).join(offer::READY);
        assert!(!left.exists(), "what is of no more use is gone");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_update_that_fails_on_the_standby_stops_there() {
    let (shown, report) = update(0, 0, [false, true]).await;
    assert_eq!(report.state, RollState::Stopped);
    assert!(report.why.unwrap().starts_with("the peer tried the image"));
    let scene = lock(&shown);
    assert_eq!((scene.nodes[0].installed, scene.nodes[0].boot, scene.handovers), (0, 1, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_update_that_fails_on_the_second_leaves_the_first_serving() {
    let (shown, report) = update(0, 0, [true, false]).await;
    assert_eq!(report.state, RollState::Stopped);
    assert!(report.why.unwrap().starts_with("this appliance tried the image"));
    let scene = lock(&shown);
    assert_eq!((scene.nodes[1].runs, scene.primary), (Runs::New, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_that_does_not_serve_gives_the_role_back() {
    for taker in [0, 1] {
        let (shown, report) = update_of(taker, 0, [false; 2], true).await;
        assert_eq!(report.state, RollState::Stopped);
        let why = report.why.unwrap();
        assert!(why.contains("did not answer mail as primary"), "{why}");
        let scene = lock(&shown);
        assert_eq!((scene.primary, scene.handovers), (0, 2), "there and back");
        assert_eq!((scene.nodes[0].boot, scene.nodes[0].installed), (1, 0), "nor was it touched");
    }
}
