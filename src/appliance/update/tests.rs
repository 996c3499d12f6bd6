//! Histories of updates: a loader as `image/grub.cfg` has it, disks that lose power, images that are
//! bad in every way, operators who install, go back and restart. Seeded.
//!
//! `SIM_SEEDS` gives how many histories, `SIM_FROM` the first.

use super::install::{HEAD_LEN, InstallError, Machine, behead, install};
use super::record::{Condition, Records};
use super::rules::{self, Booted, Facts, Refusal, Standing, Wishes};
use super::trial::{Health, Policy, Trial, Verdict};
use super::{TRIES, record};
use crate::appliance::report::{Slot, Trouble};
use crate::appliance::slot::digest::Digest;
use crate::appliance::slot::env::{Env, LEN};
use crate::appliance::slot::keys::{SigningKey, TrustedKeys};
use crate::appliance::slot::package::{self, tests as packages};
use std::collections::BTreeMap;
use std::io;
use understudy_proto::time::{Mono, UnixMs};

/// Histories of a test run.
const SEEDS: u64 = 1_000;
/// Events of a history.
const EVENTS: usize = 14;
/// Room in a slot, in bytes.
const ROOM: usize = 16 * 1024;
/// Starts after which a machine without faults must have settled.
const STARTS_MAX: usize = 8;

/// What becomes of an image that starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// It is healthy, as long as there is a data disk.
    Good,
    /// It starts, and is never healthy for long.
    Unhealthy,
    /// Its kernel panics.
    Panics,
    /// The loader finds no kernel in it.
    Unreadable,
}

struct Image {
    kind: Kind,
    bytes: Vec<u8>,
    package: Vec<u8>,
    digest: Digest,
    version: String,
}

/// The images of all histories, and the key that signed them.
struct Images {
    all: Vec<Image>,
    trusted: TrustedKeys,
}

impl Images {
    fn new() -> Self {
        let (key, _) = SigningKey::generate().unwrap();
        let kinds = [Kind::Good, Kind::Good, Kind::Unhealthy, Kind::Panics, Kind::Unreadable];
        let all = (0..10_u8).map(|n| {
            let kind = kinds[usize::from(n) % kinds.len()];
            let mut bytes = vec![n + 1; 9000 + usize::from(n)];
            bytes[8000] = 0xff;
            let version = format!("1.{n}.0");
            let package = packages::packed(packages::about(&version), &bytes, &key);
            let digest = Digest(*blake3::hash(&bytes).as_bytes());
            Image { kind, bytes, package, digest, version }
        });
        Self { all: all.collect(), trusted: TrustedKeys::of(vec![key.public()]) }
    }

    /// The image whose head stands in `slot`: what the loader finds; and whether all of it is there.
    fn in_slot(&self, slot: &[u8]) -> Option<(&Image, bool)> {
        let image = self.all.iter().find(|i| slot[..HEAD_LEN] == i.bytes[..HEAD_LEN])?;
        Some((image, slot.starts_with(&image.bytes)))
    }
}

/// xorshift64*.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(high).unwrap() % n
    }
}

/// The disks, with what is on its way to them.
struct Disks {
    env: [u8; LEN],
    records: Records,
    slots: [Vec<u8>; 2],
    /// Writes into slots that no sync has made durable.
    loose: Vec<(Slot, usize, Vec<u8>)>,
    /// Steps until the power goes.
    power: Option<usize>,
    steps: usize,
    /// A bit of the slot that does not keep what is written to it.
    rotten: Option<usize>,
    dice: Dice,
    running: Slot,
}

fn number(slot: Slot) -> usize {
    usize::from(slot == Slot::B)
}

fn put(slot: &mut [u8], at: usize, bytes: &[u8]) {
    slot[at..at + bytes.len()].copy_from_slice(bytes);
}

impl Disks {
    fn new(seed: u64, image: &[u8]) -> Self {
        let mut first = vec![0; ROOM];
        put(&mut first, 0, image);
        Self {
            env: Env::default().write(),
            records: Records::default(),
            slots: [first, vec![0; ROOM]],
            loose: Vec::new(),
            power: None,
            steps: 0,
            rotten: None,
            dice: Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1),
            running: Slot::A,
        }
    }

    /// One step; an error once the power is off. `true` when it goes off during this one.
    fn step(&mut self) -> io::Result<bool> {
        self.steps += 1;
        match &mut self.power {
            Some(0) => Err(io::Error::other("the power is off")),
            Some(left) => {
                *left -= 1;
                Ok(*left == 0)
            }
            None => Ok(false),
        }
    }

    fn still_on(&self) -> io::Result<()> {
        if self.power == Some(0) { Err(io::Error::other("the power is off")) } else { Ok(()) }
    }

    /// The power is back: of what was loose, each write is there, or a part of it, or nothing.
    fn lose_power(&mut self) {
        self.power = None;
        for (slot, at, bytes) in std::mem::take(&mut self.loose) {
            let kept = match self.dice.below(3) {
                0 => 0,
                1 => self.dice.below(bytes.len() + 1),
                _ => bytes.len(),
            };
            put(&mut self.slots[number(slot)], at, &bytes[..kept]);
        }
    }
}

impl Machine for Disks {
    fn write_env(&mut self, block: &[u8; LEN]) -> io::Result<()> {
        // Two sectors; either may be the one that is written first.
        let half = self.dice.below(4) * 256;
        let kept = match (self.step()?, half) {
            (false, _) => 0..LEN,
            (true, 0) => 0..0,
            (true, 256) => 0..512,
            (true, 512) => 512..LEN,
            (true, _) => 0..LEN,
        };
        self.env[kept.clone()].copy_from_slice(&block[kept]);
        self.still_on()
    }

    fn write_records(&mut self, records: &Records) -> io::Result<()> {
        if !self.step()? || self.dice.below(2) == 0 {
            self.records = Records::read(&records.write()).unwrap();
        }
        self.still_on()
    }

    fn slot_len(&mut self, _slot: Slot) -> io::Result<u64> {
        Ok(u64::try_from(ROOM).unwrap())
    }

    fn write_slot(&mut self, slot: Slot, offset: u64, bytes: &[u8]) -> io::Result<()> {
        assert_ne!(slot, self.running, "the running slot is never written");
        self.step()?;
        self.loose.push((slot, usize::try_from(offset).unwrap(), bytes.to_vec()));
        self.still_on()
    }

    fn sync_slot(&mut self, _slot: Slot) -> io::Result<()> {
        if !self.step()? {
            for (slot, at, bytes) in std::mem::take(&mut self.loose) {
                put(&mut self.slots[number(slot)], at, &bytes);
            }
        }
        self.still_on()
    }

    fn read_slot(&mut self, slot: Slot, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut seen = self.slots[number(slot)].clone();
        for (loose, at, bytes) in &self.loose {
            if *loose == slot {
                put(&mut seen, *at, bytes);
            }
        }
        if let Some(at) = self.rotten {
            seen[at] ^= 1;
        }
        let at = usize::try_from(offset).unwrap();
        out.copy_from_slice(&seen[at..at + out.len()]);
        Ok(())
    }
}

/// A machine and its history.
struct World<'a> {
    images: &'a Images,
    disks: Disks,
    booted: Booted,
    boots: usize,
    has_data: bool,
    /// Trial starts of an image since it was installed.
    trials: BTreeMap<Digest, u8>,
    now: u64,
}

/// What ends a boot.
type Ended = Result<(), ()>;

impl<'a> World<'a> {
    fn new(images: &'a Images, seed: u64) -> Self {
        let disks = Disks::new(seed, &images.all[0].bytes);
        let booted = Booted::default();
        Self { images, disks, booted, boots: 0, has_data: true, trials: BTreeMap::new(), now: 0 }
    }

    fn readable(&self, slot: Slot) -> bool {
        let found = self.images.in_slot(&self.disks.slots[number(slot)]);
        found.is_some_and(|(image, _)| image.kind != Kind::Unreadable)
    }

    /// `image/grub.cfg`: which slot starts, with which arguments.
    fn load(&mut self) -> Booted {
        let block = Env::read(&self.disks.env);
        let mut env = block.clone().unwrap_or_default();
        let save = |disks: &mut Disks, env: &Env| disks.env = env.write();
        if let Some(slot) = env.trial {
            let trial = (1..=3).contains(&env.tries);
            if trial {
                env.tries -= 1;
            } else {
                env = Env { trial: None, tries: 0, failed: Some(slot), ..env };
            }
            save(&mut self.disks, &env);
            if trial && self.readable(slot) {
                return Booted { slot: Some(slot), trial, failed: env.failed };
            }
            if trial {
                env = Env { trial: None, tries: 0, failed: Some(slot), ..env };
                save(&mut self.disks, &env);
            }
        }
        let slot = [env.active, env.active.other()].into_iter().find(|slot| self.readable(*slot));
        assert!(slot.is_some(), "no slot can be started");
        Booted { slot, trial: false, failed: env.failed }
    }

    fn image(&self) -> Option<&'a Image> {
        let (image, whole) = self.images.in_slot(&self.disks.slots[number(self.disks.running)])?;
        whole.then_some(image)
    }

    fn facts(&self) -> Facts {
        self.facts_of(self.image().unwrap())
    }

    fn facts_of(&self, image: &Image) -> Facts {
        Facts {
            booted: self.booted.clone(),
            env: Env::read(&self.disks.env),
            records: self.has_data.then(|| self.disks.records.clone()),
            running: image.version.parse().unwrap(),
            boot: self.boots.to_string(),
            now: UnixMs(self.now),
        }
    }

    /// One boot, from the loader to its end; `events` are what operators do in it.
    fn boot(&mut self, mut events: usize, faults: bool) -> usize {
        self.disks.lose_power();
        self.boots += 1;
        self.booted = self.load();
        self.disks.running = self.booted.slot.unwrap();
        self.has_data = !faults || self.disks.dice.below(8) != 0;
        let image = self.image().expect("what starts is whole");
        let records = &self.disks.records;
        let failure = records.failure(image.digest);
        // The same image may be good in the other slot, where it was flashed.
        let place = records.place(self.disks.running);
        let is_good = place.is_some_and(|place| place.condition == Condition::Good);
        assert!(
            failure.is_none() || is_good,
            "a bad image is not retried: {:?} {records:?}",
            self.booted
        );
        if self.booted.trial {
            let trials = self.trials.entry(image.digest).or_default();
            *trials += 1;
            assert!(*trials <= TRIES, "no more trials than were asked for");
        }
        if image.kind == Kind::Panics {
            return events;
        }
        if faults && self.disks.dice.below(3) == 0 {
            self.disks.power = Some(self.disks.dice.below(12));
        }
        if self.settle(image).is_err() {
            return events;
        }
        while events > 0 {
            events -= 1;
            if self.operate(faults).is_err() {
                return events;
            }
        }
        0
    }

    /// As `driver::write` does it.
    fn keep(&mut self, env: Option<&Env>, wipe: Option<Slot>, records: Option<&Records>) -> Ended {
        if let Some(env) = env {
            self.disks.write_env(&env.write()).map_err(|_off| ())?;
        }
        if let Some(slot) = wipe {
            behead(&mut self.disks, slot, 16 * 1024).map_err(|_off| ())?;
        }
        match records {
            Some(records) => self.disks.write_records(records).map_err(|_off| ()),
            None => Ok(()),
        }
    }

    /// As `driver::settle` does it.
    fn settle(&mut self, image: &Image) -> Ended {
        let review = rules::review(&self.facts());
        self.keep(review.env.as_ref(), review.wipe, review.records.as_ref())?;
        let again = rules::review(&self.facts());
        assert_eq!((again.env, again.wipe, again.records), (None, None, None), "it is settled");
        assert_eq!(again.troubles, review.troubles, "and says the same");
        let Standing::Trial(slot) = review.standing else { return Ok(()) };
        let mut trial = Trial::new(Policy::default(), Mono(0));
        let end = u64::try_from(self.disks.dice.below(400)).unwrap();
        for look in 1_u64.. {
            if self.disks.power.is_some() && look == end {
                self.disks.power = Some(0);
                return Err(());
            }
            let healthy = match image.kind {
                Kind::Good => self.has_data,
                _ => self.disks.dice.below(8) != 0 && look % 19 != 0,
            };
            let health = if healthy { Health::Healthy } else { Health::Unhealthy };
            match trial.look(health, Mono(look * 3_000_000)) {
                Verdict::Wait => {}
                Verdict::Good => {
                    assert_eq!(image.kind, Kind::Good, "only what is healthy is good");
                    let (env, records) = rules::settled(&self.facts(), slot);
                    return self.keep(Some(&env), None, records.as_ref());
                }
                Verdict::Late => {
                    let records = rules::late(&self.facts(), slot, "late");
                    self.keep(None, None, records.as_ref())?;
                    return Err(());
                }
            }
        }
        Ok(())
    }

    /// Something that an operator, or fate, does.
    fn operate(&mut self, faults: bool) -> Ended {
        self.now += 1;
        if faults && self.disks.power.is_none() && self.disks.dice.below(3) == 0 {
            self.disks.power = Some(self.disks.dice.below(14));
        }
        match self.disks.dice.below(10) {
            0..=4 => self.install(),
            5 => {
                if let Ok(back) = rules::back(&self.facts()) {
                    self.trials.clear();
                    self.keep(Some(&back.env), back.wipe, Some(&back.records))?;
                }
                Ok(())
            }
            6 if faults => self.fate(),
            _ => Err(()),
        }
    }

    fn install(&mut self) -> Ended {
        let image = &self.images.all[self.disks.dice.below(self.images.all.len())];
        let package = package::open(&*image.package, &self.images.trusted).unwrap();
        let wishes = Wishes { downgrade: true, again: false };
        let facts = self.facts();
        match install(&mut self.disks, &facts, package, wishes, &mut |_| ()) {
            Ok(slot) => {
                self.trials.insert(image.digest, 0);
                assert_eq!(slot, self.disks.running.other());
                Ok(())
            }
            Err(InstallError::Refused(Refusal::FailedBefore { .. })) => {
                assert!(self.disks.records.failure(image.digest).is_some());
                Ok(())
            }
            Err(InstallError::Refused(refusal)) => {
                assert!(matches!(refusal, Refusal::NoRecords | Refusal::OnTrial), "{refusal}");
                Ok(())
            }
            Err(_) => {
                self.trials.insert(image.digest, 0);
                Err(())
            }
        }
    }

    /// The loader's block is lost, or the slot that should start. Two windows are more than is promised,
    /// since a loader without its block starts slot A and can count nothing: while an image waits for
    /// its trial in slot A, and while no data disk says what is where.
    fn fate(&mut self) -> Ended {
        let slot = |world: &Self, slot| world.disks.records.place(slot).map(|p| p.condition);
        let other = self.disks.running.other();
        let both_good = self.readable(other) && slot(self, other) == Some(Condition::Good);
        let waits = |env: Env| env.trial == Some(Slot::A) || (env.trial.is_some() && both_good);
        if Env::read(&self.disks.env).is_none_or(waits) || !self.has_data {
            return Ok(());
        }
        match self.disks.dice.below(2) {
            0 => self.disks.env = [0; LEN],
            _ if both_good => self.disks.slots[number(self.disks.running)][..512].fill(0),
            _ => {}
        }
        Err(())
    }
}

fn setting(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(otherwise)
}

#[test]
fn a_good_slot_runs_in_the_end() {
    let images = Images::new();
    let (from, seeds) = (setting("SIM_FROM", 1), setting("SIM_SEEDS", SEEDS));
    let (mut updated, mut cut, mut failed) = (0, 0, 0);
    for seed in from..from + seeds {
        let ran = std::panic::catch_unwind(|| {
            let mut world = World::new(&images, seed);
            let mut events = EVENTS;
            while events > 0 {
                events = world.boot(events, true);
                // An image that panics, or whose trial goes on, uses no event up.
                let text = String::from_utf8_lossy(&world.disks.env[25..90]).into_owned();
                let records = &world.disks.records;
                assert!(world.boots < 200, "it restarts for ever: {text} {records:?}");
            }
            let cuts = usize::from(world.disks.power.is_some());
            for _ in 0..STARTS_MAX {
                world.boot(0, false);
            }
            let image = world.image().unwrap();
            assert_eq!(image.kind, Kind::Good, "a good slot runs in the end");
            let facts = world.facts();
            assert!(matches!(facts.standing(), Standing::Settled(_) | Standing::Fallback(_)));
            assert_eq!(facts.env.unwrap().trial, None);
            (
                usize::from(image.digest != images.all[0].digest),
                cuts,
                world.disks.records.failed.len(),
            )
        });
        let Ok(counts) = ran else { panic!("history {seed} breaks a promise (SIM_FROM={seed})") };
        updated += counts.0;
        cut += counts.1;
        failed += counts.2;
    }
    // Otherwise these histories show nothing.
    assert!(updated > 0 && cut > 0 && failed > 0, "{updated} {cut} {failed}");
}

#[test]
fn a_power_cut_at_any_step_leaves_the_running_slot() {
    let images = Images::new();
    let good = &images.all[1];
    let wishes = Wishes::default();
    let mut steps = None;
    for (cut, seed) in (0..40_usize).flat_map(|cut| (1..20).map(move |seed| (cut, seed))) {
        let mut world = World::new(&images, seed);
        world.boot(0, false);
        world.disks.power = Some(cut);
        world.disks.steps = 0;
        let facts = world.facts();
        let package = package::open(&*good.package, &images.trusted).unwrap();
        let made = install(&mut world.disks, &facts, package, wishes, &mut |_| ());
        if world.disks.power == Some(0) {
            assert!(made.is_err());
        } else {
            steps = steps.or(Some(world.disks.steps));
        }
        world.disks.lose_power();
        let booted = world.load();
        let named = Env::read(&world.disks.env).unwrap().trial;
        match named {
            None => assert_eq!(booted.slot, Some(Slot::A), "step {cut}"),
            // Only what was compared is tried.
            Some(slot) => assert_eq!(
                (booted.slot, &world.disks.slots[1][..good.bytes.len()]),
                (Some(slot), &good.bytes[..])
            ),
        }
    }
    assert_eq!(steps, Some(9));
}

#[test]
fn a_disk_that_does_not_keep_what_it_is_given_is_noticed() {
    let images = Images::new();
    let mut world = World::new(&images, 1);
    world.boot(0, false);
    world.disks.rotten = Some(5000);
    let package = package::open(&*images.all[1].package, &images.trusted).unwrap();
    let facts = world.facts();
    let made = install(&mut world.disks, &facts, package, Wishes::default(), &mut |_| ());
    assert!(matches!(made, Err(InstallError::Unlike(Slot::B))));
    assert!(!world.readable(Slot::B));
    assert_eq!(Env::read(&world.disks.env).unwrap().trial, None);
}

/// The world after its first start.
fn started(images: &Images) -> World<'_> {
    let mut world = World::new(images, 1);
    world.boot(0, false);
    world
}

#[test]
fn what_may_not_be_installed_is_refused() {
    let images = Images::new();
    let world = started(&images);
    let manifest = |n: usize| {
        let package = package::open(&*images.all[n].package, &images.trusted).unwrap();
        package.manifest().clone()
    };
    let none = Wishes::default();
    let facts = world.facts();
    assert_eq!(rules::judge(&facts, &manifest(1), none).unwrap().0, Slot::B);
    // The same version once more: a slot may have to be mended.
    assert_eq!(rules::judge(&facts, &manifest(0), none).unwrap().0, Slot::B);
    let newer = Facts { running: "1.5.0".parse().unwrap(), ..facts.clone() };
    let refused = rules::judge(&newer, &manifest(1), none);
    assert!(matches!(refused, Err(Refusal::Older { .. })));
    let downgrade = Wishes { downgrade: true, again: false };
    assert!(rules::judge(&newer, &manifest(1), downgrade).is_ok());
    let mut records = facts.records.clone().unwrap();
    records.data_format = 2;
    let data = Facts { records: Some(records.clone()), ..facts.clone() };
    let refused = rules::judge(&data, &manifest(1), downgrade);
    assert!(matches!(refused, Err(Refusal::DataFormat { format: 2, most: 1, .. })));
    let absent = Facts { records: None, ..facts.clone() };
    assert_eq!(rules::judge(&absent, &manifest(1), none), Err(Refusal::NoRecords));
    let network = Facts { booted: Booted::default(), ..facts.clone() };
    assert_eq!(rules::judge(&network, &manifest(1), none), Err(Refusal::NoSlot));
    let booted = Booted { slot: Some(Slot::B), trial: true, failed: None };
    let trial = Facts { booted, ..facts.clone() };
    assert_eq!(rules::judge(&trial, &manifest(1), none), Err(Refusal::OnTrial));
    for refusal in [Refusal::NoSlot, Refusal::NoRecords, Refusal::OnTrial] {
        assert!(!refusal.advice().is_empty());
    }
}

/// The story of an update that goes wrong, as staff see it.
#[test]
fn a_bad_update_is_said_and_not_taken_again() {
    let images = Images::new();
    let mut world = started(&images);
    let bad = &images.all[2];
    let open = || package::open(&*bad.package, &images.trusted).unwrap();
    let facts = world.facts();
    install(&mut world.disks, &facts, open(), Wishes::default(), &mut |_| ()).unwrap();
    for starts in 1..=2 {
        world.boot(0, false);
        assert_eq!((world.disks.running, world.booted.trial), (Slot::B, true), "start {starts}");
    }
    world.boot(0, false);
    assert_eq!(world.disks.running, Slot::A);
    let failed = Trouble::UpdateFailed { version: Some(bad.version.clone()) };
    assert_eq!(rules::review(&world.facts()).troubles, std::slice::from_ref(&failed));
    assert!(!world.readable(Slot::B), "whatever happens, it does not start again");
    let facts = world.facts();
    let refused = install(&mut world.disks, &facts, open(), Wishes::default(), &mut |_| ());
    assert!(matches!(refused, Err(InstallError::Refused(Refusal::FailedBefore { .. }))));
    world.boot(0, false);
    assert_eq!(rules::review(&world.facts()).troubles, [failed], "until the next update");
    let again = Wishes { again: true, downgrade: false };
    let facts = world.facts();
    install(&mut world.disks, &facts, open(), again, &mut |_| ()).unwrap();
    assert_eq!(rules::review(&world.facts()).troubles, []);
}

#[test]
fn the_way_back_is_a_trial_too() {
    let images = Images::new();
    let mut world = started(&images);
    assert_eq!(rules::back(&world.facts()), Err(Refusal::NothingBack(Slot::B)));
    let package = package::open(&*images.all[1].package, &images.trusted).unwrap();
    let facts = world.facts();
    install(&mut world.disks, &facts, package, Wishes::default(), &mut |_| ()).unwrap();
    assert_eq!(rules::back(&world.facts()).unwrap().to, None, "an update that waits is called off");
    assert_eq!(rules::back(&world.facts()).unwrap().wipe, Some(Slot::B));
    world.boot(0, false);
    let env = Env::read(&world.disks.env).unwrap();
    assert_eq!((env.active, env.trial, world.disks.running), (Slot::B, None, Slot::B));
    let back = rules::back(&world.facts()).unwrap();
    assert_eq!((back.to, back.env.trial, back.env.tries), (Some(Slot::A), Some(Slot::A), TRIES));
    world.keep(Some(&back.env), None, Some(&back.records)).unwrap();
    world.boot(0, false);
    let records = &world.disks.records;
    assert_eq!((world.disks.running, records.good), (Slot::A, Some(Slot::A)));
    assert!(records.failed.is_empty());
    // Newer data than the other slot can read closes the way.
    let mut records = world.disks.records.clone();
    records.data_format = 2;
    let facts = Facts { records: Some(records), ..world.facts() };
    assert!(matches!(rules::back(&facts), Err(Refusal::DataFormat { .. })));
}

#[test]
fn a_lost_block_is_written_anew_and_a_dead_slot_said() {
    let images = Images::new();
    let mut world = started(&images);
    world.disks.env = [0; LEN];
    let review = rules::review(&world.facts());
    assert_eq!((review.env.unwrap().active, review.notes.len()), (Slot::A, 1));
    // The second slot was good last; the loader has forgotten it and starts the first.
    world.disks.records.good = Some(Slot::B);
    world.disks.records.b = Some(record::Place {
        image: record::Image::flashed("1.9.0".parse().unwrap()),
        condition: Condition::Good,
        boot: "x".into(),
        at: UnixMs(0),
    });
    let review = rules::review(&world.facts());
    assert_eq!(review.env.unwrap().active, Slot::B);
    assert_eq!(review.standing, Standing::Fallback(Slot::A));
    assert_eq!(review.troubles, [Trouble::SlotDead(Slot::B)]);
}
