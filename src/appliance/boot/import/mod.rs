//! Which site file is in force: the one that was taken in, until a person confirms another.
//!
//! Invariants: pure but for [`Kept::read`] and [`Kept::write`]. A file that is wrong never replaces
//! what is in force; one that was changed waits. What is kept holds no recovery code in clear, and is
//! durable before the file on the FAT loses the code.

use super::fat::replace;
use crate::appliance::report::{SiteOutcome, Trouble};
use crate::appliance::site::{self, Site};
use crate::ops::status::Language;
use std::fs;
use std::io;
use std::path::Path;

/// The site file that is in force, in `/data/appliance`.
const KEPT: &str = "site.toml";
/// Digests of the forms in which it may lie on the FAT, one a line.
const SEEN: &str = "site.seen";

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

/// What to do about the site file.
#[derive(Clone, Debug)]
pub struct Decision {
    /// In one word.
    pub outcome: SiteOutcome,
    /// What is in force.
    pub in_force: Option<Site>,
    /// The language in which to speak where nothing is in force.
    pub language: Language,
    /// What is wrong.
    pub troubles: Vec<Trouble>,
    /// What to keep in `/data/appliance`, first.
    pub keep: Option<Kept>,
    /// What to write to the FAT, then.
    pub put_back: Option<String>,
}

/// Decides; `found` is the file on the FAT, `kept` what was taken in, if that can be known.
#[must_use]
pub fn decide(found: Result<Option<Vec<u8>>, String>, kept: Option<Kept>) -> Decision {
    let mut decision = Decision {
        outcome: SiteOutcome::Missing,
        in_force: None,
        language: Language::En,
        troubles: Vec::new(),
        keep: None,
        put_back: None,
    };
    // A later version may refuse what an earlier one took: then the FAT's file has to do.
    let kept = kept.and_then(|kept| Some((site::read(kept.text.as_bytes()).ok()?, kept)));
    match (found, kept) {
        (Err(why), kept) => {
            decision.troubles.push(Trouble::SiteUnreachable(why));
            in_force(&mut decision, kept.map(|(site, _)| site));
        }
        (Ok(None), Some((site, kept))) => {
            in_force(&mut decision, Some(site));
            decision.put_back = Some(kept.text);
        }
        (Ok(None), None) => decision.troubles.push(Trouble::SiteMissing),
        (Ok(Some(bytes)), Some((site, kept))) => known(&mut decision, &bytes, site, kept),
        (Ok(Some(bytes)), None) => first(&mut decision, &bytes),
    }
    decision
}

fn in_force(decision: &mut Decision, site: Option<Site>) {
    if let Some(site) = site {
        decision.outcome = SiteOutcome::Applied;
        decision.language = site.language;
        decision.in_force = Some(site);
    }
}

/// Something was taken in before.
fn known(decision: &mut Decision, bytes: &[u8], site: Site, kept: Kept) {
    in_force(decision, Some(site));
    let found = digest(bytes);
    if kept.seen.contains(&found) {
        // The power went before the code was taken out of it.
        if found != digest(kept.text.as_bytes()) {
            decision.put_back = Some(kept.text);
        }
        return;
    }
    match site::read(bytes) {
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
        Ok(site) => {
            let kept = Kept::of(bytes, &site);
            if digest(bytes) != digest(kept.text.as_bytes()) {
                decision.put_back = Some(kept.text.clone());
            }
            decision.keep = Some(kept);
            in_force(decision, Some(site));
        }
        Err(errors) => refused(decision, &errors),
    }
}

#[cfg(test)]
mod tests;
