use super::*;
use std::collections::BTreeSet;

const SITE: &str = "name = \"mail\"\nhostname = \"mx.example.net\"\nrecovery_code = \"CODE\"\n\
                    [service]\ninterface = \"eth0\"\naddress = \"10.0.0.1/24\"\n";

fn with_code() -> String {
    SITE.replace("CODE", site::new_code().expose())
}

fn found(text: &str) -> Result<Option<Vec<u8>>, String> {
    Ok(Some(text.as_bytes().to_vec()))
}

fn windows(text: &str) -> String {
    format!("\u{feff}{}\r\n\r\n", text.replace('\n', "\r\n"))
}

#[test]
fn the_same_lines_have_the_same_digest_however_they_are_saved() {
    assert_eq!(digest(SITE.as_bytes()), digest(windows(SITE).as_bytes()));
    assert_ne!(digest(SITE.as_bytes()), digest(SITE.replace("0.1", "0.2").as_bytes()));
    assert_ne!(digest(b"a\nb"), digest(b"ab"));
}

fn lying(found: Result<Option<Vec<u8>>, String>, kept: Option<Kept>) -> Lying {
    Lying { found, kept, trial: None, tried_now: false, installing: false }
}

fn keeps(decision: &Decision) -> Option<Kept> {
    decision.acts.iter().find_map(|act| match act {
        Act::Keep(kept) => Some(kept.clone()),
        _ => None,
    })
}

fn puts_back(decision: &Decision) -> Option<String> {
    decision.acts.iter().find_map(|act| match act {
        Act::PutBack(text) => Some(text.clone()),
        _ => None,
    })
}

/// The first time, the second time, and with the power cut after each thing that was made to last.
#[test]
fn a_file_is_taken_in_once_and_loses_its_code() {
    let original = with_code();
    let first = decide(lying(found(&original), None));
    assert_eq!((first.outcome, &first.troubles[..]), (SiteOutcome::Applied, &[][..]));
    let kept = keeps(&first).unwrap();
    let code = original.split('"').nth(5).unwrap();
    assert!(original.contains(code) && !kept.text.contains(code));
    assert_eq!(puts_back(&first).as_ref(), Some(&kept.text));
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(Kept::read(folder.path()), None);
    kept.write(folder.path()).unwrap();
    let read = Kept::read(folder.path()).unwrap();
    assert_eq!(read.text, kept.text);
    // Cut before the code left the FAT: what was kept is what goes there, not another salt.
    let again = decide(lying(found(&windows(&original)), Some(read.clone())));
    assert_eq!(
        (again.outcome, puts_back(&again).as_ref()),
        (SiteOutcome::Applied, Some(&kept.text))
    );
    assert!(keeps(&again).is_none());
    // And from then on nothing is written.
    let later = decide(lying(found(&windows(&kept.text)), Some(read)));
    assert_eq!((later.outcome, &later.acts[..]), (SiteOutcome::Applied, &[][..]));
    assert_eq!(later.in_force.unwrap().name, "mail");
}

#[test]
fn a_changed_file_waits_and_a_wrong_one_changes_nothing() {
    let original = with_code();
    let kept = decide(lying(found(&original), None));
    let kept = keeps(&kept).unwrap();
    let changed = kept.text.replace("\"mail\"", "\"post\"");
    let decision = decide(lying(found(&changed), Some(kept.clone())));
    assert_eq!(decision.outcome, SiteOutcome::Changed);
    assert_eq!(decision.troubles, [Trouble::SiteChanged]);
    assert_eq!(decision.in_force.unwrap().name, "mail");
    assert!(decision.acts.is_empty());
    let decision = decide(lying(found("name = 3"), Some(kept.clone())));
    assert_eq!(decision.outcome, SiteOutcome::Refused);
    assert!(matches!(&decision.troubles[..], [Trouble::SiteRefused(lines)] if !lines.is_empty()));
    assert_eq!(decision.in_force.unwrap().name, "mail");
    // Confirmed, it is in force.
    let site = site::read(changed.as_bytes()).unwrap();
    let decision = decide(lying(found(&changed), Some(Kept::of(changed.as_bytes(), &site))));
    assert_eq!(decision.outcome, SiteOutcome::Applied);
    assert_eq!(decision.in_force.unwrap().name, "post");
    // Gone, it is put back; out of reach, what was in force stays.
    let decision = decide(lying(Ok(None), Some(kept.clone())));
    assert_eq!(
        (decision.outcome, puts_back(&decision)),
        (SiteOutcome::Applied, Some(kept.text.clone()))
    );
    let decision = decide(lying(Err("broken".to_owned()), Some(kept)));
    assert_eq!(decision.outcome, SiteOutcome::Applied);
    assert_eq!(decision.troubles, [Trouble::SiteUnreachable("broken".to_owned())]);
}

/// What is left of a file by a power cut is no change, and costs nothing that was taken in before.
#[test]
fn an_empty_file_is_none() {
    let kept = keeps(&decide(lying(found(&with_code()), None))).unwrap();
    for empty in ["", "\u{feff}\r\n", "\0\0\0\0"] {
        let decision = decide(lying(found(empty), Some(kept.clone())));
        assert_eq!((decision.outcome, &decision.troubles[..]), (SiteOutcome::Applied, &[][..]));
        assert_eq!(puts_back(&decision).as_ref(), Some(&kept.text));
        let decision = decide(lying(found(empty), None));
        assert_eq!(decision.troubles, [Trouble::SiteMissing]);
    }
    // What was taken in can be damaged, too: then the FAT's file has to do.
    for text in ["", "name = \"ma"] {
        let damaged = Kept { text: text.to_owned(), ..kept.clone() };
        let decision = decide(lying(found(&kept.text), Some(damaged.clone())));
        assert_eq!((decision.outcome, keeps(&decision).is_some()), (SiteOutcome::Applied, true));
        let decision = decide(lying(Err("broken".to_owned()), Some(damaged)));
        assert_eq!(decision.troubles, [Trouble::SiteUnreachable("broken".to_owned())]);
        assert!(decision.in_force.is_none() && decision.acts.is_empty());
    }
}

#[test]
fn nothing_comes_of_nothing() {
    let decision = decide(lying(Ok(None), None));
    let missing = (SiteOutcome::Missing, vec![Trouble::SiteMissing]);
    assert_eq!((decision.outcome, decision.troubles), missing);
    let decision = decide(lying(found("language = \"de\"\nname = 3\n"), None));
    assert_eq!(decision.outcome, SiteOutcome::Refused);
    assert_eq!(decision.language, Language::De);
    assert!(decision.in_force.is_none() && decision.acts.is_empty());
}

#[test]
fn while_nothing_depends_on_it_a_changed_file_is_taken() {
    let first = decide(lying(found(&with_code()), None));
    let kept = keeps(&first).unwrap();
    let changed = kept.text.replace("0.0.1/24", "0.0.2/24");
    let again = || Lying { installing: true, ..lying(found(&changed), Some(kept.clone())) };
    let decision = decide(again());
    assert_eq!((decision.outcome, &decision.troubles[..]), (SiteOutcome::Taken, &[][..]));
    assert_eq!(keeps(&decision).unwrap().text, changed);
    let addresses = decision.in_force.unwrap().service.addresses;
    assert_eq!(addresses[0].address.to_string(), "10.0.0.2");
    // Wrong, it still changes nothing.
    let wrong = decide(Lying { found: found("name = 3"), ..again() });
    assert_eq!(wrong.outcome, SiteOutcome::Refused);
    assert_eq!(wrong.in_force.unwrap().service.addresses[0].address.to_string(), "10.0.0.1");
    assert!(wrong.acts.is_empty());
}

/// What outlives a power cut.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Disks {
    fat: Option<String>,
    aside: Option<String>,
    kept: Option<Kept>,
    trial: Option<Trial>,
}

impl Disks {
    fn act(&mut self, act: Act) {
        match act {
            Act::Keep(kept) => self.kept = Some(kept),
            Act::Try(trial) => self.trial = Some(trial),
            Act::EndTrial => self.trial = None,
            Act::SetAside(text) => self.aside = Some(text),
            Act::PutBack(text) => self.fat = Some(text),
        }
    }

    fn decide(&self, tried_now: bool) -> Decision {
        let found = Ok(self.fat.clone().map(String::into_bytes));
        let (kept, trial) = (self.kept.clone(), self.trial.clone());
        decide(Lying { found, kept, trial, tried_now, installing: false })
    }

    /// One start; the power goes after `cut` things were made to last.
    fn start(&mut self, cut: usize) -> (Decision, bool) {
        let decision = self.decide(false);
        let whole = decision.acts.len() <= cut;
        decision.acts.iter().take(cut).cloned().for_each(|act| self.act(act));
        (decision, whole)
    }
}

fn address(decision: &Decision) -> String {
    decision.in_force.as_ref().unwrap().service.addresses[0].address.to_string()
}

/// `10.0.0.1` was kept, `10.0.0.2` was accepted for a trial.
fn accepted() -> (Disks, String) {
    let kept = keeps(&decide(lying(found(&with_code()), None))).unwrap();
    let changed = kept.text.replace("0.0.1/24", "0.0.2/24");
    let site = site::read(changed.as_bytes()).unwrap();
    let trial = Trial::of(Kept::of(changed.as_bytes(), &site));
    let fat = Some(changed.clone());
    (Disks { fat, aside: None, kept: Some(kept), trial: Some(trial) }, changed)
}

#[test]
fn what_nobody_confirmed_is_tried_once() {
    let (mut disks, changed) = accepted();
    let former = disks.kept.clone().unwrap();
    let (decision, _) = disks.start(9);
    assert_eq!((decision.outcome, decision.on_trial), (SiteOutcome::Trial, true));
    assert_eq!((address(&decision), &decision.troubles[..]), ("10.0.0.2".to_owned(), &[][..]));
    // Asked again in the same start, it is the same.
    let again = disks.decide(true);
    assert!(again.on_trial && again.acts.is_empty(), "{:?}", again.acts);
    assert_eq!(address(&again), "10.0.0.2");
    // The time is over, or the power was cut.
    let (decision, _) = disks.start(9);
    assert_eq!((decision.outcome, decision.on_trial), (SiteOutcome::Applied, false));
    assert_eq!(decision.troubles, [Trouble::SiteReverted]);
    assert_eq!(address(&decision), "10.0.0.1");
    let after = Disks {
        fat: Some(former.text.clone()),
        aside: Some(changed),
        kept: Some(former),
        trial: None,
    };
    assert_eq!(disks, after);
    let (decision, _) = disks.start(9);
    assert!(decision.acts.is_empty() && decision.troubles.is_empty());
}

#[test]
fn what_was_confirmed_stays() {
    let (mut disks, changed) = accepted();
    disks.start(9);
    // As `confirm` does: kept, then no longer tried; the power goes between the two.
    disks.kept = disks.trial.as_ref().map(Trial::kept);
    let (decision, _) = disks.start(9);
    assert_eq!((decision.outcome, address(&decision).as_str()), (SiteOutcome::Applied, "10.0.0.2"));
    assert!(decision.troubles.is_empty() && disks.trial.is_none());
    assert_eq!(disks.fat.as_ref(), Some(&changed));
}

/// Whenever the power goes, and however often: a start is either the trial, of which there is at most
/// one, or it has the former file; and in the end the former file is everywhere.
#[test]
fn the_power_may_go_after_every_step_of_a_trial() {
    let mut seen = BTreeSet::new();
    for cuts in (0..4 * 4 * 4).map(|n| [n % 4, n / 4 % 4, n / 16]) {
        let (mut disks, changed) = accepted();
        let former = disks.kept.clone().unwrap();
        let mut tried = 0;
        for cut in cuts {
            let (decision, whole) = disks.start(cut);
            // Nothing is in force before its acts are.
            tried += usize::from(decision.on_trial && whole);
            assert!(decision.on_trial || address(&decision) == "10.0.0.1", "{cuts:?}");
            seen.insert(format!("{:?} {whole}", decision.outcome));
        }
        for _ in 0..3 {
            let (decision, _) = disks.start(9);
            tried += usize::from(decision.on_trial);
        }
        assert!(tried <= 1, "{cuts:?}: tried {tried} times");
        assert_eq!((disks.kept.as_ref(), disks.trial.as_ref()), (Some(&former), None), "{cuts:?}");
        assert_eq!((disks.fat, disks.aside), (Some(former.text), Some(changed)), "{cuts:?}");
    }
    assert!(seen.contains("Trial false") && seen.contains("Applied false"), "{seen:?}");
}

#[test]
fn a_file_that_was_changed_again_meanwhile_is_its_owners() {
    let (mut disks, changed) = accepted();
    disks.start(9);
    let third = changed.replace("0.0.2/24", "0.0.3/24");
    disks.fat = Some(third.clone());
    let during = disks.decide(true);
    assert_eq!((during.outcome, address(&during).as_str()), (SiteOutcome::Changed, "10.0.0.2"));
    let (after, _) = disks.start(9);
    assert_eq!(after.troubles, [Trouble::SiteReverted, Trouble::SiteChanged]);
    assert_eq!(address(&after), "10.0.0.1");
    assert_eq!((disks.fat, disks.aside, disks.trial), (Some(third), None, None));
}

#[test]
fn a_trial_without_a_former_file_or_that_nobody_can_read_is_none() {
    let (disks, _) = accepted();
    let mut lost = Disks { kept: None, ..disks.clone() };
    let (decision, _) = lost.start(9);
    assert_eq!((decision.outcome, decision.on_trial), (SiteOutcome::Applied, false));
    assert_eq!((address(&decision).as_str(), lost.trial), ("10.0.0.2", None));
    let mut strange = disks;
    strange.trial.as_mut().unwrap().text = "name = 3".to_owned();
    let (decision, _) = strange.start(9);
    assert_eq!((decision.outcome, address(&decision).as_str()), (SiteOutcome::Changed, "10.0.0.1"));
    assert_eq!(strange.trial, None);
}

#[test]
fn a_trial_comes_back_from_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let trial = accepted().0.trial.unwrap();
    assert_eq!(Trial::read(folder.path()), None);
    trial.write(folder.path()).unwrap();
    assert_eq!(Trial::read(folder.path()), Some(trial));
    fs::write(folder.path().join(TRIAL), "").unwrap();
    assert_eq!(Trial::read(folder.path()), None, "a file without content");
    Trial::forget(folder.path()).unwrap();
    Trial::forget(folder.path()).unwrap();
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}
