//! What can be done to a pair, and what must not happen meanwhile.
//!
//! Every fault is done under load, waits until it has had its effect, and is undone; the pair must
//! then become whole by itself. Drawn from a shuffled deck: 25 rounds
//! without a witness meet every kind.

use crate::appliance::Part;
use crate::ghost::Ghost;
use crate::mime::Rng;
use crate::net::{self, Host};
use crate::stage::Stage;
use crate::witness::Witness;
use crate::{LabError, Result, fail, now, pause, wait_for};
use nix::sys::signal::Signal;
use std::time::Duration;

/// How long the other appliance may take to lead.
const TAKEOVER_MAX: Duration = Duration::from_secs(15);
/// How long a thawed or stale appliance is asked.
const HAUNT: Duration = Duration::from_millis(1_500);
/// How long a stale appliance is left alone: longer than it listens after a boot.
const STALE: Duration = Duration::from_millis(4_500);
/// How long a returning appliance may take to be let in.
const JOIN_MAX: Duration = Duration::from_secs(20);
/// What a disk at its reserve has left, in KiB: less than `reserve_mib`.
const RESERVE_KIB: u64 = 40 * 1024;
/// What a full disk has left, in KiB.
const FULL_KIB: u64 = 64;

/// What can be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// SIGKILL of the main process alone.
    Crash(Role),
    /// SIGKILL of everything of a node.
    Kill(Role),
    /// Power: both plugs out and SIGKILL of everything at once.
    Power(Role),
    /// Power of both; one is started first, alone, and must wait for the other.
    BothDie(Role),
    /// SIGSTOP until the other one leads, SIGCONT.
    Thaw(Part),
    /// SIGSTOP for a moment, SIGCONT.
    Nap(Role, Part),
    /// The cross-link is gone.
    CutLink,
    /// The service network is gone for both.
    CutService,
    /// One node's cable to the service network is out.
    Unplug(Role),
    /// The primary goes on alone and dies; the stale one is started alone.
    Stale,
    /// A planned handover.
    Handover,
    /// A planned handover, in which this one is killed.
    KillInHandover(Role),
    /// A standby comes back, and while it is joining this one is killed.
    KillWhileJoining(Role),
    /// Both networks of this one are gone; only with a witness, for without one both may go on.
    Isolate(Role),
    /// SIGKILL of the witness, and a start.
    Witness,
    /// SIGKILL of the witness, then of the primary; both come back.
    WitnessAndKill,
    /// The appliances hear everybody but each other; only with `--split`.
    Split,
    /// The same with a witness: only one may serve.
    Deaf,
    /// A disk at its reserve.
    Reserve,
    /// A disk that is full.
    FullDisk,
}

/// Whom it hits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    /// Who leads when it happens.
    Primary,
    /// The other one.
    Standby,
}

impl Role {
    fn of(self, primary: Host) -> Host {
        if self == Self::Primary { primary } else { primary.peer() }
    }

    fn word(self) -> &'static str {
        if self == Self::Primary { "primary" } else { "standby" }
    }
}

impl Fault {
    /// What it is called in lists.
    pub(crate) fn name(self) -> String {
        match self {
            Self::Crash(role) => format!("SIGKILL, main of the {}", role.word()),
            Self::Kill(role) => format!("SIGKILL, all of the {}", role.word()),
            Self::Power(role) => format!("power loss of the {}", role.word()),
            Self::BothDie(role) => format!("power loss of both, old {} first", role.word()),
            Self::Thaw(part) => format!("freeze, takeover, thaw: {} it", part.words()),
            Self::Nap(role, part) => format!("nap: {} the {}", part.words(), role.word()),
            Self::CutLink => "cross-link cut".into(),
            Self::CutService => "service network cut".into(),
            Self::Unplug(role) => format!("service cable of the {} out", role.word()),
            Self::Stale => "both dead, the stale one alone".into(),
            Self::Handover => "handover".into(),
            Self::KillInHandover(role) => format!("handover, {} killed in it", role.word()),
            Self::KillWhileJoining(role) => format!("joining, {} killed in it", role.word()),
            Self::Isolate(role) => format!("{} alone on both networks", role.word()),
            Self::Witness => "SIGKILL of the witness".into(),
            Self::WitnessAndKill => "SIGKILL of the witness, then the primary".into(),
            Self::Split => "split, clients on both sides".into(),
            Self::Deaf => "deaf pair, live clients, a witness".into(),
            Self::Reserve => "disk at its reserve".into(),
            Self::FullDisk => "disk full".into(),
        }
    }

    /// Whether it parts the appliances from each other and from nobody else.
    pub(crate) fn parts(self) -> bool {
        matches!(self, Self::Split | Self::Deaf)
    }

    /// Every kind once. Of a run with splits that is all that there is: what comes beside them is in
    /// the other runs.
    fn all(Extras { witness, split }: Extras) -> Vec<Self> {
        use Part::{All, Main};
        use Role::{Primary, Standby};
        if split {
            return vec![if witness { Self::Deaf } else { Self::Split }];
        }
        let mut all = Vec::new();
        for role in [Primary, Standby] {
            all.extend([Self::Crash(role), Self::Kill(role), Self::Power(role)]);
            all.extend([Self::KillInHandover(role), Self::KillWhileJoining(role)]);
            all.extend([Self::Unplug(role), Self::BothDie(role)]);
        }
        all.extend([Self::Thaw(Main), Self::Thaw(All), Self::Nap(Primary, All)]);
        all.extend([Self::Nap(Primary, Main), Self::Nap(Standby, All)]);
        all.extend([Self::CutLink, Self::CutService, Self::Stale, Self::Handover]);
        all.extend([Self::Reserve, Self::FullDisk]);
        if witness {
            all.extend([Self::Isolate(Primary), Self::Isolate(Standby)]);
            all.extend([Self::Witness, Self::WitnessAndKill]);
        }
        all
    }
}

/// What not every run draws from.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Extras {
    /// There is a witness.
    pub(crate) witness: bool,
    /// The pair is split, and nothing else is done to it.
    pub(crate) split: bool,
}

/// The faults still to come, in an order that the seed gives.
pub(crate) struct Deck {
    cards: Vec<Fault>,
    extras: Extras,
}

impl Deck {
    /// An empty one: it is filled when it is drawn from.
    pub(crate) fn new(extras: Extras) -> Self {
        Self { cards: Vec::new(), extras }
    }

    /// The next fault.
    pub(crate) fn draw(&mut self, rng: &mut Rng) -> Fault {
        if self.cards.is_empty() {
            let mut all = Fault::all(self.extras);
            while !all.is_empty() {
                let len = u64::try_from(all.len()).unwrap_or(1);
                let pick = usize::try_from(rng.below(len)).unwrap_or_default();
                self.cards.push(all.swap_remove(pick));
            }
        }
        self.cards.pop().unwrap_or(Fault::Handover)
    }
}

/// A time from the seed, in milliseconds.
fn span(rng: &mut Rng, from: u64, below: u64) -> Duration {
    Duration::from_millis(from + rng.below(below - from))
}

/// Does it to the pair, and undoes it. Gives what must not have been.
///
/// # Errors
/// The pair does not do what it must for the play to go on.
pub(crate) fn happen(stage: &mut Stage<'_>, fault: Fault, rng: &mut Rng) -> Result<Vec<String>> {
    let primary = stage.primary()?;
    stage.midst();
    match fault {
        Fault::Crash(role) => {
            stage.pair.of(role.of(primary)).crash()?;
            stage.pair.of_mut(role.of(primary)).bury()?;
            back_after(stage, role.of(primary), span(rng, 0, 3_000))?;
        }
        Fault::Kill(role) => {
            stage.pair.of_mut(role.of(primary)).kill()?;
            back_after(stage, role.of(primary), span(rng, 0, 3_000))?;
        }
        Fault::Power(role) => {
            let host = role.of(primary);
            let pids = stage.pair.of(host).pids()?;
            net::cut_off(host)?;
            stage.pair.of_mut(host).kill_these(&pids)?;
            let time = span(rng, 0, 3_000);
            pause(time)?;
            net::mend_all(host)?;
            stage.pair.of_mut(host).start()?;
        }
        Fault::BothDie(role) => return both_die(stage, role.of(primary), rng),
        Fault::Thaw(part) => return thaw(stage, primary, part, rng),
        Fault::Nap(role, part) => {
            let host = role.of(primary);
            stage.pair.of(host).signal(Signal::SIGSTOP, part)?;
            pause(span(rng, 20, 600))?;
            stage.pair.of(host).signal(Signal::SIGCONT, part)?;
        }
        Fault::CutLink => {
            net::cut(Host::A, "link")?;
            pause(span(rng, 50, 4_000))?;
            net::mend(Host::A, "link")?;
        }
        Fault::CutService => {
            for host in [Host::A, Host::B] {
                net::cut(host, "service")?;
            }
            pause(span(rng, 50, 3_000))?;
            for host in [Host::A, Host::B] {
                net::mend(host, "service")?;
            }
        }
        Fault::Unplug(role) => {
            net::unplug(role.of(primary), "service")?;
            pause(span(rng, 50, 4_000))?;
            net::plug_in(role.of(primary), "service")?;
        }
        Fault::Stale => return stale_alone(stage, primary, rng),
        Fault::Handover => {
            stage.pair.of(primary).cli(&["handover"])?;
            stage.pair.wait_primary(primary.peer())?;
        }
        Fault::KillInHandover(role) => {
            let mut typed = stage.pair.of(primary).type_in(&["handover"])?;
            drop(typed.stdin.take());
            std::thread::sleep(Duration::from_micros(rng.below(60_000)));
            stage.pair.of_mut(role.of(primary)).kill()?;
            // It may have been in time, or not, or have died with its appliance.
            drop(typed.wait());
            back_after(stage, role.of(primary), span(rng, 0, 2_000))?;
        }
        Fault::KillWhileJoining(role) => kill_while_joining(stage, primary, role, rng)?,
        Fault::Isolate(role) => {
            net::cut_off(role.of(primary))?;
            pause(span(rng, 50, 5_000))?;
            net::mend_all(role.of(primary))?;
        }
        Fault::Witness => {
            witness(stage)?.kill()?;
            pause(span(rng, 50, 4_000))?;
            witness(stage)?.start()?;
        }
        Fault::WitnessAndKill => {
            witness(stage)?.kill()?;
            pause(span(rng, 0, 500))?;
            stage.pair.of_mut(primary).kill()?;
            pause(span(rng, 0, 2_000))?;
            witness(stage)?.start()?;
            back_after(stage, primary, span(rng, 0, 2_000))?;
        }
        Fault::Split => return apart(stage, true, span(rng, 500, 6_000)),
        Fault::Deaf => return apart(stage, false, span(rng, 500, 6_000)),
        Fault::Reserve => squeeze(stage, RESERVE_KIB, span(rng, 1_500, 4_000))?,
        Fault::FullDisk => squeeze(stage, FULL_KIB, span(rng, 1_500, 4_000))?,
    }
    Ok(Vec::new())
}

/// Parts the two from each other, with clients on both sides, until `time` after all serve that may:
/// `both`, or one. Who does not may answer nobody.
fn apart(stage: &mut Stage<'_>, both: bool, time: Duration) -> Result<Vec<String>> {
    let mut sides =
        stage.sides.take().ok_or_else(|| LabError("nobody works on the sides".into()))?;
    sides.prepare()?;
    net::split(true)?;
    let clerks = sides.part()?;
    let served = clerks.served(both);
    let [a, b] = clerks.acknowledged();
    let mut wrong = Vec::new();
    let waited = served.and_then(|()| {
        if both {
            return pause(time);
        }
        let other = if a > b { Host::B } else { Host::A };
        let ghost = Ghost::haunt(other, false)?;
        ghost.count();
        let waited = pause(time);
        wrong = haunted(ghost, other, "deaf")?;
        waited
    });
    // Both end before anything is merged, so what they know is all of it.
    let ended = sides.end(clerks);
    net::split(false)?;
    waited?;
    let [a, b] = ended?;
    stage.sides = Some(sides);
    if !both && a.min(b) > 0 {
        wrong.push(format!("both sides acknowledged: {a} changes near A, {b} near B"));
    }
    Ok(wrong)
}

fn witness<'a>(stage: &'a mut Stage<'_>) -> Result<&'a mut Witness> {
    stage.pair.witness.as_mut().ok_or_else(|| LabError("there is no witness".into()))
}

fn back_after(stage: &mut Stage<'_>, host: Host, time: Duration) -> Result<()> {
    pause(time)?;
    stage.pair.of_mut(host).start()
}

/// Freezes the primary until the other one leads; thaws it; nobody may hear of it.
fn thaw(stage: &mut Stage<'_>, primary: Host, part: Part, rng: &mut Rng) -> Result<Vec<String>> {
    let ghost = Ghost::haunt(primary, true)?;
    stage.pair.of(primary).signal(Signal::SIGSTOP, part)?;
    let heir = primary.peer();
    let led = wait_for("the other one leads", TAKEOVER_MAX, || {
        Ok(stage.pair.of(heir).control().status().is_ok_and(|s| s.is_primary()))
    });
    let waited = led.and_then(|()| pause(span(rng, 0, 2_000)));
    ghost.count();
    stage.pair.of(primary).signal(Signal::SIGCONT, part)?;
    waited?;
    haunted(ghost, primary, "thawed")
}

fn haunted(ghost: Ghost, host: Host, word: &str) -> Result<Vec<String>> {
    pause(HAUNT)?;
    let found = ghost.finish()?;
    if found.attempts == 0 {
        return fail("the ghost asked nothing");
    }
    Ok(found.answers.into_iter().map(|a| format!("{word} {host} answered {a:?}")).collect())
}

/// The standby dies, the primary goes on alone and dies; the standby, which has not everything, is
/// started alone: it must wait. Then the other one comes.
fn stale_alone(stage: &mut Stage<'_>, primary: Host, rng: &mut Rng) -> Result<Vec<String>> {
    let stale = primary.peer();
    stage.pair.of_mut(stale).kill()?;
    let before = stage.accepted();
    wait_for("the primary goes on alone", TAKEOVER_MAX, || {
        let solo = stage.status(primary).is_ok_and(|s| s.state == "SOLO");
        Ok(solo && stage.accepted() > before.saturating_add(4))
    })?;
    pause(span(rng, 0, 1_000))?;
    stage.pair.of_mut(primary).kill()?;
    let wrong = must_wait(stage, stale, STALE)?;
    stage.pair.of_mut(primary).start()?;
    Ok(wrong)
}

/// Power of both goes; one is started alone. It was a member of a pair and, without a witness, cannot
/// know what the other one did, so it must wait, too.
fn both_die(stage: &mut Stage<'_>, first: Host, rng: &mut Rng) -> Result<Vec<String>> {
    for host in [Host::A, Host::B] {
        net::cut_off(host)?;
    }
    for host in [Host::A, Host::B] {
        stage.pair.of_mut(host).kill()?;
    }
    for host in [Host::A, Host::B] {
        net::mend_all(host)?;
    }
    let wrong = if stage.pair.witness.is_some() {
        // The witness knows that no later reign began: whoever was insync may lead at once.
        stage.pair.of_mut(first).start()?;
        pause(span(rng, 100, 4_500))?;
        Vec::new()
    } else {
        must_wait(stage, first, span(rng, 100, 4_500))?
    };
    stage.pair.of_mut(first.peer()).start()?;
    Ok(wrong)
}

/// Starts `host` alone and watches it wait.
fn must_wait(stage: &mut Stage<'_>, host: Host, time: Duration) -> Result<Vec<String>> {
    let ghost = Ghost::haunt(host, false)?;
    ghost.count();
    stage.pair.of_mut(host).start()?;
    let mut wrong = Vec::new();
    let end = now() + time;
    while now() < end && wrong.is_empty() {
        let status = stage.status(host)?;
        if status.is_primary() {
            wrong.push(format!("{host} leads, though it cannot have everything"));
        }
        pause(Duration::from_millis(20))?;
    }
    let found = ghost.finish()?;
    wrong.extend(found.answers.into_iter().map(|a| format!("waiting {host} answered {a:?}")));
    Ok(wrong)
}

fn kill_while_joining(
    stage: &mut Stage<'_>,
    primary: Host,
    role: Role,
    rng: &mut Rng,
) -> Result<()> {
    let standby = primary.peer();
    stage.pair.of_mut(standby).kill()?;
    // Long enough to be alone, or not.
    back_after(stage, standby, span(rng, 200, 3_500))?;
    wait_for("the standby is joining", JOIN_MAX, || {
        Ok(stage.status(standby).is_ok_and(|s| s.role == "standby"))
    })?;
    pause(span(rng, 0, 1_100))?;
    let host = role.of(primary);
    stage.pair.of_mut(host).kill()?;
    back_after(stage, host, span(rng, 0, 2_000))
}

/// Takes the room on one appliance's disk away for a while. An appliance that cannot write may
/// end: it is started again.
fn squeeze(stage: &mut Stage<'_>, left_kib: u64, time: Duration) -> Result<()> {
    let small = [Host::A, Host::B].into_iter().find(|h| stage.pair.of(*h).disk().is_some());
    let Some(small) = small else { return fail("no appliance has a small disk") };
    let disk = |stage: &Stage<'_>, left: Option<u64>| match (stage.pair.of(small).disk(), left) {
        (Some(disk), Some(left)) => disk.shrink(left),
        (Some(disk), None) => disk.grow(),
        (None, _) => Ok(()),
    };
    disk(stage, Some(left_kib))?;
    let waited = pause(time);
    disk(stage, None)?;
    waited?;
    // What could not write may need a moment to end.
    pause(Duration::from_millis(300))?;
    if !stage.pair.of_mut(small).runs()? {
        stage.pair.of_mut(small).start()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    const EXTRAS: Extras = Extras { witness: true, split: false };

    #[test]
    fn one_seed_is_one_story_with_every_kind() {
        let draw = |seed| {
            let (mut deck, mut rng) = (Deck::new(EXTRAS), Rng::new(seed));
            (0..Fault::all(EXTRAS).len()).map(|_| deck.draw(&mut rng)).collect::<Vec<_>>()
        };
        assert_eq!(draw(3), draw(3));
        assert_ne!(draw(3), draw(4));
        let kinds: BTreeSet<Fault> = draw(3).into_iter().collect();
        assert_eq!(kinds.len(), Fault::all(EXTRAS).len());
        let names: BTreeSet<String> = kinds.iter().map(|f| f.name()).collect();
        assert_eq!(names.len(), kinds.len());
    }

    #[test]
    fn a_run_of_splits_has_nothing_else() {
        for witness in [false, true] {
            let (mut deck, mut rng) = (Deck::new(Extras { witness, split: true }), Rng::new(1));
            let drawn: Vec<Fault> = (0..5).map(|_| deck.draw(&mut rng)).collect();
            assert_eq!(drawn, [if witness { Fault::Deaf } else { Fault::Split }; 5]);
            assert!(drawn.iter().all(|f| f.parts()));
        }
    }
}
