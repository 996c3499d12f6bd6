//! What an update may do, and what a start means. Pure: facts in, the next state out.
//!
//! ```text
//! judge   may this image go into the idle slot?
//! review  what did this start come to? (each start, before anything else)
//! settled the trial was healthy         late    it was not
//! back    to the slot before
//! ```
//!
//! Invariants: a state that is given back is to be written in the order that its document says, and
//! every prefix of that order is a state that the next [`review`] understands. Deliberately absent:
//! writing it.

use super::TRIES;
use super::record::{Condition, Image, Place, Records};
use crate::appliance::report::{Slot, Trouble};
use crate::appliance::slot::env::Env;
use crate::appliance::slot::package::Manifest;
use crate::appliance::slot::version::Version;
use serde::{Deserialize, Serialize};
use understudy_proto::time::UnixMs;

/// What the loader told the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Booted {
    /// Where this system came from; `None` when no slot did (network, virtual media).
    pub slot: Option<Slot>,
    /// Whether this start is a trial.
    pub trial: bool,
    /// The slot whose trials are used up.
    pub failed: Option<Slot>,
}

/// What everything is decided by.
#[derive(Clone, Debug)]
pub struct Facts {
    /// What the loader told the kernel.
    pub booted: Booted,
    /// The loader's block; `None` when it cannot be read as one.
    pub env: Option<Env>,
    /// What is known of the images; `None` without the data disk.
    pub records: Option<Records>,
    /// The version that runs.
    pub running: Version,
    /// The id of this boot.
    pub boot: String,
    /// The wall clock.
    pub now: UnixMs,
}

/// How the system that runs stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// It came from no slot: there is nothing to settle or to update.
    NoSlot,
    /// It is the one that the loader starts.
    Settled(Slot),
    /// It is to be tried, and not good yet.
    Trial(Slot),
    /// It runs because the one that should start could not.
    Fallback(Slot),
}

/// What an operator asks for against the rules.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wishes {
    /// An older version than the running one.
    pub downgrade: bool,
    /// An image that failed here before.
    pub again: bool,
}

/// Why an update is not taken, or a way back not gone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// See [`Standing::NoSlot`].
    #[error("this system did not start from a slot of the disk")]
    NoSlot,
    /// See [`Standing::Trial`].
    #[error("this system is on trial itself")]
    OnTrial,
    /// The data disk, and with it the memory of what failed, is not there.
    #[error("the data disk is not there, and with it the list of images that failed")]
    NoRecords,
    /// It is older than what runs.
    #[error("{offered} is older than {running}, which runs")]
    Older {
        /// The version that is offered.
        offered: String,
        /// The version that runs.
        running: String,
    },
    /// It failed here.
    #[error("{version} was tried on this appliance and failed: {why}")]
    FailedBefore {
        /// The version.
        version: String,
        /// Why.
        why: String,
    },
    /// It could not read the data.
    #[error(
        "{version} reads data of formats {least} to {most}; the data here is of format {format}"
    )]
    DataFormat {
        /// The version.
        version: String,
        /// The oldest format that it reads.
        least: u32,
        /// The newest.
        most: u32,
        /// The format that the data has.
        format: u32,
    },
    /// There is no good image in the other slot.
    #[error("slot {0} holds no image that was good here")]
    NothingBack(Slot),
}

impl Refusal {
    /// What to do about it.
    #[must_use]
    pub fn advice(&self) -> &'static str {
        match self {
            Self::NoSlot => "Update what it was started from instead.",
            Self::OnTrial => {
                "Wait until it is settled (understudy update status), or go back now: \
                 understudy update rollback"
            }
            Self::NoRecords => "The screen says what is wrong with the disk; mend that first.",
            Self::Older { .. } => "If that is what you want: --downgrade",
            Self::FailedBefore { .. } => {
                "Take the next version. If the cause lay elsewhere: --again"
            }
            Self::DataFormat { .. } => "Take a version that reads it.",
            Self::NothingBack(_) => "Install the version that you want: understudy update install",
        }
    }
}

impl Facts {
    /// How the running system stands.
    #[must_use]
    pub fn standing(&self) -> Standing {
        let Some(slot) = self.booted.slot else { return Standing::NoSlot };
        let env = self.env.clone().unwrap_or_default();
        if env.active == slot {
            Standing::Settled(slot)
        } else if self.booted.trial {
            Standing::Trial(slot)
        } else {
            Standing::Fallback(slot)
        }
    }

    /// Whether `slot`, which runs, is still to be tried: an operator may have gone back meanwhile.
    #[must_use]
    pub fn is_tried(&self, slot: Slot) -> bool {
        self.standing() == Standing::Trial(slot)
            && self.env.as_ref().is_none_or(|env| env.trial == Some(slot))
    }

    /// Whether these trials are the last before the loader goes back.
    #[must_use]
    pub fn is_last_try(&self) -> bool {
        self.env.as_ref().is_none_or(|env| env.tries == 0)
    }
}

/// Whether the image of `manifest` may be installed now; the slot that it goes into and what is known.
///
/// # Errors
/// See [`Refusal`].
pub fn judge(
    facts: &Facts,
    manifest: &Manifest,
    wishes: Wishes,
) -> Result<(Slot, Records), Refusal> {
    let running = match facts.standing() {
        Standing::NoSlot => return Err(Refusal::NoSlot),
        Standing::Trial(_) => return Err(Refusal::OnTrial),
        Standing::Settled(slot) | Standing::Fallback(slot) => slot,
    };
    let records = facts.records.clone().ok_or(Refusal::NoRecords)?;
    let offered = &manifest.about.version;
    if let Some(failed) = records.failure(manifest.blake3)
        && !wishes.again
    {
        let (version, why) = (offered.to_string(), failed.why.clone());
        return Err(Refusal::FailedBefore { version, why });
    }
    let image = Image::from(manifest);
    reads(&image, &records)?;
    if offered.is_older_than(&facts.running) && !wishes.downgrade {
        let running = facts.running.to_string();
        return Err(Refusal::Older { offered: offered.to_string(), running });
    }
    Ok((running.other(), records))
}

fn reads(image: &Image, records: &Records) -> Result<(), Refusal> {
    if image.reads(records.data_format) {
        return Ok(());
    }
    Err(Refusal::DataFormat {
        version: image.version.to_string(),
        least: image.data_format_least,
        most: image.data_format,
        format: records.data_format,
    })
}

/// The block while slot `idle` is written: the other one starts, whatever comes.
#[must_use]
pub fn env_while_writing(env: Option<&Env>, idle: Slot) -> Env {
    let env = env.cloned().unwrap_or_default();
    Env { active: idle.other(), trial: None, tries: 0, failed: None, ..env }
}

/// The block that has slot `idle` tried.
#[must_use]
pub fn env_to_try(env: &Env, idle: Slot) -> Env {
    Env { active: idle.other(), trial: Some(idle), tries: TRIES, failed: None, ..env.clone() }
}

/// What a start came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Review {
    /// How the running system stands.
    pub standing: Standing,
    /// The block to be written first, where it must change.
    pub env: Option<Env>,
    /// The slot to be made unreadable then: it holds an image that never was good, and is not to be
    /// tried. Whatever the loader falls back to, it is not this.
    pub wipe: Option<Slot>,
    /// The records to be written last, where they must change.
    pub records: Option<Records>,
    /// What an operator must know.
    pub troubles: Vec<Trouble>,
    /// What else happened, for the log.
    pub notes: Vec<String>,
}

/// What this start came to. May be asked again at any time; then it changes nothing more.
#[must_use]
pub fn review(facts: &Facts) -> Review {
    let mut notes = Vec::new();
    let Some(slot) = facts.booted.slot else {
        let standing = Standing::NoSlot;
        let troubles = Vec::new();
        return Review { standing, env: None, wipe: None, records: None, troubles, notes };
    };
    let mut env = facts.env.clone().unwrap_or_else(|| {
        // The loader started slot A, or the other where there was none. What was last good counts.
        let good = facts.records.as_ref().and_then(|records| records.good).unwrap_or(slot);
        notes.push(format!("the loader's block could not be read; slot {good} starts from now on"));
        Env { active: good, ..Env::default() }
    });
    // The loader starts what is to be tried; where it did not, it could not read or not count.
    if let Some(passed) = env.trial.filter(|trial| *trial != slot)
        && chosen_before(facts, passed)
    {
        notes.push(format!("the loader could not start slot {passed}"));
        env = Env { trial: None, tries: 0, failed: Some(passed), ..env };
    }
    // What the kernel was told may be over: an update since then has cleared the block.
    let told = if facts.env.is_some() { env.failed } else { facts.booted.failed };
    let failed = told.filter(|failed| *failed != slot);
    let known = Facts { env: Some(env.clone()), ..facts.clone() };
    let standing = known.standing();
    let mut wipe = None;
    let records = facts.records.clone().map(|mut records| {
        if let Some(failed) = failed.filter(|failed| was_to_be_tried(&records, *failed)) {
            wipe = Some(failed).filter(|failed| never_was_good(&records, *failed));
            records.fail(failed, facts.now, "it was not healthy in time, or did not start");
        } else if is_stray(&records, &env, slot.other()) {
            notes.push(format!("slot {} held an update that was never tried", slot.other()));
            wipe = Some(slot.other());
            *records.place_mut(slot.other()) = None;
        }
        if standing == Standing::Settled(slot) {
            mark_good(&mut records, slot, facts);
        }
        records
    });
    let troubles = troubles(standing, failed, env.active, records.as_ref());
    Review {
        standing,
        env: Some(env).filter(|env| facts.env.as_ref() != Some(env)),
        wipe,
        records: records.filter(|records| facts.records.as_ref() != Some(records)),
        troubles,
        notes,
    }
}

/// Whether `slot` was chosen to start in an earlier boot than this one.
fn chosen_before(facts: &Facts, slot: Slot) -> bool {
    let place = facts.records.as_ref().and_then(|records| records.place(slot));
    place.is_some_and(|place| place.boot != facts.boot)
}

fn was_to_be_tried(records: &Records, slot: Slot) -> bool {
    let condition = records.place(slot).map(|place| place.condition);
    matches!(condition, Some(Condition::Ready | Condition::Good))
}

/// Whether `slot` holds an image that was cut off or called off: neither good nor to be tried. Where
/// the block is lost the loader would start it like any other.
fn is_stray(records: &Records, env: &Env, slot: Slot) -> bool {
    let condition = records.place(slot).map(|place| place.condition);
    matches!(condition, Some(Condition::Writing | Condition::Ready)) && env.trial != Some(slot)
}

fn never_was_good(records: &Records, slot: Slot) -> bool {
    records.place(slot).is_some_and(|place| place.condition == Condition::Ready)
}

/// What is said as long as it lasts: until the next update, or until the slot starts again.
fn troubles(
    standing: Standing,
    failed: Option<Slot>,
    active: Slot,
    records: Option<&Records>,
) -> Vec<Trouble> {
    let mut troubles = Vec::new();
    let running = match standing {
        Standing::NoSlot => return troubles,
        Standing::Fallback(slot) => {
            troubles.push(Trouble::SlotDead(active));
            slot
        }
        Standing::Settled(slot) | Standing::Trial(slot) => slot,
    };
    let place = records.and_then(|records| records.place(running.other()));
    let is_bad = place.is_some_and(|place| place.condition == Condition::Bad);
    if is_bad || failed.is_some() {
        let version = place.filter(|_| is_bad).map(|place| place.image.version.to_string());
        troubles.push(Trouble::UpdateFailed { version });
    }
    troubles
}

/// The running `slot` is good.
fn mark_good(records: &mut Records, slot: Slot, facts: &Facts) {
    let known = records.place(slot).filter(|place| place.image.version == facts.running);
    let image =
        known.map_or_else(|| Image::flashed(facts.running.clone()), |place| place.image.clone());
    if records.good == Some(slot) && known.is_some_and(|p| p.condition == Condition::Good) {
        return;
    }
    if let Some(blake3) = image.blake3 {
        records.forgive(blake3);
    }
    records.data_format = records.data_format.max(image.data_format);
    records.good = Some(slot);
    let boot = facts.boot.clone();
    *records.place_mut(slot) =
        Some(Place { image, condition: Condition::Good, boot, at: facts.now });
}

/// The trial of `slot` was healthy: the block, to be written first, and the records.
#[must_use]
pub fn settled(facts: &Facts, slot: Slot) -> (Env, Option<Records>) {
    let env = facts.env.clone().unwrap_or_default();
    let env = Env { active: slot, trial: None, tries: 0, failed: None, ..env };
    let records = facts.records.clone().map(|mut records| {
        mark_good(&mut records, slot, facts);
        records
    });
    (env, records)
}

/// The trial of `slot` was not healthy in time: the records to be written before the restart. After
/// the last try the image counts as failed; the loader goes back by itself.
#[must_use]
pub fn late(facts: &Facts, slot: Slot, why: &str) -> Option<Records> {
    let mut records = facts.records.clone().filter(|_| facts.is_last_try())?;
    records.note_failure(slot, facts.now, why);
    Some(records)
}

/// A way back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Back {
    /// The block, to be written first.
    pub env: Env,
    /// The slot to be made unreadable then: what it holds was called off.
    pub wipe: Option<Slot>,
    /// The records, to be written last.
    pub records: Records,
    /// The slot that starts next; `None` when the running one stays and an update that waited for
    /// its restart does not.
    pub to: Option<Slot>,
}

/// Back to the slot before: the trial ends as failed; an update that waits is called off; else the
/// other slot is tried like an update, so that it must be healthy, too.
///
/// # Errors
/// See [`Refusal`].
pub fn back(facts: &Facts) -> Result<Back, Refusal> {
    let mut records = facts.records.clone().ok_or(Refusal::NoRecords)?;
    let env = facts.env.clone().unwrap_or_default();
    let slot = match facts.standing() {
        Standing::NoSlot => return Err(Refusal::NoSlot),
        Standing::Trial(slot) => {
            records.note_failure(slot, facts.now, "an operator went back");
            let env = Env { trial: None, tries: 0, failed: Some(slot), ..env };
            return Ok(Back { env, wipe: None, records, to: Some(slot.other()) });
        }
        Standing::Settled(slot) | Standing::Fallback(slot) => slot,
    };
    let other = slot.other();
    if env.trial == Some(other) {
        let wipe = Some(other).filter(|other| never_was_good(&records, *other));
        if wipe.is_some() {
            *records.place_mut(other) = None;
        }
        let env = Env { active: slot, trial: None, tries: 0, ..env };
        return Ok(Back { env, wipe, records, to: None });
    }
    let format = records.data_format;
    let place = records.place_mut(other).as_mut();
    let place = place.filter(|place| place.condition == Condition::Good);
    let place = place.ok_or(Refusal::NothingBack(other))?;
    if !place.image.reads(format) {
        let image = place.image.clone();
        return Err(reads(&image, &records).err().unwrap_or(Refusal::NothingBack(other)));
    }
    place.boot.clone_from(&facts.boot);
    place.at = facts.now;
    Ok(Back { env: env_to_try(&env, other), wipe: None, records, to: Some(other) })
}
