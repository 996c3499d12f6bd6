//! Which site file is in force: the one that was taken in, until a person confirms another.
//!
//! ```text
//! FAT changed ─ accept ─► Accepted ─ start ─► Running ─ confirm ─► kept
//!                                                └─ any other start ─► what was kept before
//! ```
//! Invariants: [`decide`] is pure. A file that is wrong never replaces what is in force; a changed one
//! waits, unless nothing depends on this machine yet. What could cut the way to it is only tried: what
//! was kept stays kept until somebody confirms, so whatever ends the trial ends it with the former file.
//! What is kept holds no recovery code in clear, and is durable before the FAT's file loses the code.

mod fresh;

pub use fresh::installing;

use super::fat::replace;
use crate::appliance::report::{SiteOutcome, Trouble};
use crate::appliance::site::{self, Site};
use crate::ops::status::Language;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::path::Path;

/// The site file that is in force, in `/data/appliance`.
const KEPT: &str = "site.toml";
/// Digests of the forms in which it may lie on the FAT, one a line.
const SEEN: &str = "site.seen";
/// The one that is to be tried, beside it.
const TRIAL: &str = "site.trial.json";

/// What was taken in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Its text, with the hash of the recovery code instead of the code.
    pub text: String,
    /// Digests of the forms that mean the same.
    pub seen: Vec<String>,
}

impl Kept {
    /// What is kept of a file that was read as `site`.
    #[must_use]
    pub fn of(bytes: &[u8], site: &Site) -> Self {
        let text = site.applied();
        Self { seen: vec![digest(bytes), digest(text.as_bytes())], text }
    }

    /// Reads what was kept; `None` if nothing was, or it cannot be read.
    #[must_use]
    pub fn read(folder: &Path) -> Option<Self> {
        let text = fs::read_to_string(folder.join(KEPT)).ok()?;
        let seen = fs::read_to_string(folder.join(SEEN)).unwrap_or_default();
        let mut seen: Vec<String> = seen.lines().map(str::to_owned).collect();
        seen.push(digest(text.as_bytes()));
        Some(Self { text, seen })
    }

    /// Makes it last. The text comes last: with it the file counts as taken in.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self, folder: &Path) -> io::Result<()> {
        replace(folder, SEEN, (self.seen.join("\n") + "\n").as_bytes())?;
        replace(folder, KEPT, self.text.as_bytes())
    }
}

/// A changed site file that a person accepted, and that is kept only once it has proved itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trial {
    /// How far it is.
    pub stage: Stage,
    /// As in [`Kept`].
    pub text: String,
    /// As in [`Kept`].
    pub seen: Vec<String>,
}

/// How far a trial is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// The next start tries it.
    Accepted,
    /// A start tries it, or has tried it: the next one does not.
    Running,
}

impl Trial {
    /// Accepted now.
    #[must_use]
    pub fn of(kept: Kept) -> Self {
        Self { stage: Stage::Accepted, text: kept.text, seen: kept.seen }
    }

    /// What is kept once it is confirmed.
    #[must_use]
    pub fn kept(&self) -> Kept {
        Kept { text: self.text.clone(), seen: self.seen.clone() }
    }

    /// Reads it; `None` if there is none, or it cannot be read: then there is nothing to try.
    #[must_use]
    pub fn read(folder: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(folder.join(TRIAL)).ok()?).ok()
    }

    /// Makes it last.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self, folder: &Path) -> io::Result<()> {
        replace(folder, TRIAL, &serde_json::to_vec(self)?)
    }

    /// Forgets it.
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn forget(folder: &Path) -> io::Result<()> {
        match fs::remove_file(folder.join(TRIAL)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => fs::File::open(folder)?.sync_all(),
        }
    }
}

/// The same for all ways to save the same lines: with BOM or without, with either end of a line.
#[must_use]
pub fn digest(bytes: &[u8]) -> String {
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut hash = blake3::Hasher::new();
    for line in text.trim_ascii_end().split(|b| *b == b'\n') {
        hash.update(line.trim_ascii_end());
        hash.update(b"\n");
    }
    hash.finalize().to_hex().to_string()
}

/// What lies where, when it is decided.
#[derive(Clone, Debug)]
pub struct Lying {
    /// The file on the FAT.
    pub found: Result<Option<Vec<u8>>, String>,
    /// What was taken in, if that can be known.
    pub kept: Option<Kept>,
    /// What was accepted after that, for a trial.
    pub trial: Option<Trial>,
    /// Whether a trial that runs is that of this start.
    pub tried_now: bool,
    /// Whether nothing depends on this machine yet.
    pub installing: bool,
}

/// Something to make last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// In `/data/appliance`: this is taken in.
    Keep(Kept),
    /// There: this is being tried.
    Try(Trial),
    /// There: nothing is being tried.
    EndTrial,
    /// On the FAT: beside the site file, for whoever wants to correct it.
    SetAside(String),
    /// On the FAT: the site file.
    PutBack(String),
}

/// What to do about the site file.
#[derive(Clone, Debug)]
pub struct Decision {
    /// In one word.
    pub outcome: SiteOutcome,
    /// What is in force.
    pub in_force: Option<Site>,
    /// Whether that is only tried.
    pub on_trial: bool,
    /// The language in which to speak where nothing is in force.
    pub language: Language,
    /// What is wrong.
    pub troubles: Vec<Trouble>,
    /// What to make last, in this order; where one of `/data/appliance` fails, those after it wait for
    /// another start.
    pub acts: Vec<Act>,
}

/// Decides.
#[must_use]
pub fn decide(lying: Lying) -> Decision {
    let mut decision = Decision {
        outcome: SiteOutcome::Missing,
        in_force: None,
        on_trial: false,
        language: Language::En,
        troubles: Vec::new(),
        acts: Vec::new(),
    };
    let Lying { mut found, kept, trial, tried_now, installing } = lying;
    // What a power cut on another computer leaves of a file says nothing.
    if found.as_ref().is_ok_and(|f| f.as_deref().is_some_and(is_empty)) {
        found = Ok(None);
    }
    // A later version may refuse what an earlier one took: then the FAT's file has to do.
    let mut kept = kept.and_then(|kept| Some((site::read(kept.text.as_bytes()).ok()?, kept)));
    if let Some(trial) = trial {
        match kept.take() {
            // Without a former file there is none to come back.
            None => decision.acts.push(Act::EndTrial),
            Some(former) if installing || former.1.text == trial.text => {
                decision.acts.push(Act::EndTrial);
                kept = Some(former);
            }
            Some(former) => {
                kept = Some(tried(&mut decision, former, trial, tried_now, &mut found));
            }
        }
    }
    match (found, kept) {
        (Err(why), kept) => {
            decision.troubles.push(Trouble::SiteUnreachable(why));
            in_force(&mut decision, kept.map(|(site, _)| site));
        }
        (Ok(None), Some((site, kept))) => {
            in_force(&mut decision, Some(site));
            decision.acts.push(Act::PutBack(kept.text));
        }
        (Ok(None), None) => decision.troubles.push(Trouble::SiteMissing),
        (Ok(Some(bytes)), Some((site, kept))) => {
            known(&mut decision, &bytes, site, kept, installing);
        }
        (Ok(Some(bytes)), None) => first(&mut decision, &bytes),
    }
    // What was set back lies there before it is forgotten why.
    let (last, before): (Vec<_>, Vec<_>) =
        decision.acts.into_iter().partition(|act| *act == Act::EndTrial);
    decision.acts = before.into_iter().chain(last).collect();
    decision
}

fn is_empty(bytes: &[u8]) -> bool {
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    text.iter().all(|b| *b == 0 || b.is_ascii_whitespace())
}

/// What counts as kept at this start: what is tried, or what was there before.
fn tried(
    decision: &mut Decision,
    former: (Site, Kept),
    trial: Trial,
    tried_now: bool,
    found: &mut Result<Option<Vec<u8>>, String>,
) -> (Site, Kept) {
    let begins = trial.stage == Stage::Accepted;
    match site::read(trial.text.as_bytes()) {
        Ok(site) if begins || tried_now => {
            decision.on_trial = true;
            let kept = trial.kept();
            if begins {
                decision.acts.push(Act::Try(Trial { stage: Stage::Running, ..trial }));
            }
            return (site, kept);
        }
        // Of another version: it is judged anew as what lies on the FAT.
        Err(_) if begins => {}
        Ok(_) | Err(_) => {
            decision.troubles.push(Trouble::SiteReverted);
            // A file that was changed once more meanwhile is left to its owner.
            let still = |bytes: &[u8]| trial.seen.contains(&digest(bytes));
            if found.as_ref().is_ok_and(|f| f.as_deref().is_none_or(still)) {
                decision.acts.push(Act::SetAside(trial.text));
                decision.acts.push(Act::PutBack(former.1.text.clone()));
                *found = Ok(Some(former.1.text.clone().into_bytes()));
            }
        }
    }
    decision.acts.push(Act::EndTrial);
    former
}

fn in_force(decision: &mut Decision, site: Option<Site>) {
    if let Some(site) = site {
        decision.outcome =
            if decision.on_trial { SiteOutcome::Trial } else { SiteOutcome::Applied };
        decision.language = site.language;
        decision.in_force = Some(site);
    }
}

/// Something was taken in before.
fn known(decision: &mut Decision, bytes: &[u8], site: Site, kept: Kept, installing: bool) {
    in_force(decision, Some(site));
    let found = digest(bytes);
    if kept.seen.contains(&found) {
        // The power went before the code was taken out of it.
        if found != digest(kept.text.as_bytes()) {
            decision.acts.push(Act::PutBack(kept.text));
        }
        return;
    }
    match site::read(bytes) {
        Ok(changed) if installing => {
            take(decision, bytes, changed);
            decision.outcome = SiteOutcome::Taken;
        }
        Ok(_) => {
            decision.outcome = SiteOutcome::Changed;
            decision.troubles.push(Trouble::SiteChanged);
        }
        Err(errors) => refused(decision, &errors),
    }
}

fn refused(decision: &mut Decision, errors: &[site::SiteError]) {
    decision.outcome = SiteOutcome::Refused;
    if let (None, Some(first)) = (&decision.in_force, errors.first()) {
        decision.language = first.language;
    }
    let lines = errors.iter().map(|e| e.words(decision.language)).collect();
    decision.troubles.push(Trouble::SiteRefused(lines));
}

/// Nothing was, or the disk that would know is not there.
fn first(decision: &mut Decision, bytes: &[u8]) {
    match site::read(bytes) {
        Ok(site) => take(decision, bytes, site),
        Err(errors) => refused(decision, &errors),
    }
}

fn take(decision: &mut Decision, bytes: &[u8], site: Site) {
    let kept = Kept::of(bytes, &site);
    let as_kept = digest(bytes) == digest(kept.text.as_bytes());
    decision.acts.push(Act::Keep(kept.clone()));
    if !as_kept {
        decision.acts.push(Act::PutBack(kept.text));
    }
    in_force(decision, Some(site));
}

#[cfg(test)]
mod tests;
