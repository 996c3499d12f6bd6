use super::*;

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

/// The first time, the second time, and with the power cut after each thing that was made to last.
#[test]
fn a_file_is_taken_in_once_and_loses_its_code() {
    let original = with_code();
    let first = decide(found(&original), None);
    assert_eq!((first.outcome, &first.troubles[..]), (SiteOutcome::Applied, &[][..]));
    let kept = first.keep.clone().unwrap();
    let code = original.split('"').nth(5).unwrap();
    assert!(original.contains(code) && !kept.text.contains(code));
    assert_eq!(first.put_back.as_ref(), Some(&kept.text));
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(Kept::read(folder.path()), None);
    kept.write(folder.path()).unwrap();
    let read = Kept::read(folder.path()).unwrap();
    assert_eq!(read.text, kept.text);
    // Cut before the code left the FAT: what was kept is what goes there, not another salt.
    let again = decide(found(&windows(&original)), Some(read.clone()));
    assert_eq!((again.outcome, again.put_back.as_ref()), (SiteOutcome::Applied, Some(&kept.text)));
    assert!(again.keep.is_none());
    // And from then on nothing is written.
    let later = decide(found(&windows(&kept.text)), Some(read));
    assert_eq!((later.outcome, later.put_back, later.keep), (SiteOutcome::Applied, None, None));
    assert_eq!(later.in_force.unwrap().name, "mail");
}

#[test]
fn a_changed_file_waits_and_a_wrong_one_changes_nothing() {
    let original = with_code();
    let kept = decide(found(&original), None).keep.unwrap();
    let changed = kept.text.replace("\"mail\"", "\"post\"");
    let decision = decide(found(&changed), Some(kept.clone()));
    assert_eq!(decision.outcome, SiteOutcome::Changed);
    assert_eq!(decision.troubles, [Trouble::SiteChanged]);
    assert_eq!(decision.in_force.unwrap().name, "mail");
    assert!(decision.keep.is_none() && decision.put_back.is_none());
    let decision = decide(found("name = 3"), Some(kept.clone()));
    assert_eq!(decision.outcome, SiteOutcome::Refused);
    assert!(matches!(&decision.troubles[..], [Trouble::SiteRefused(lines)] if !lines.is_empty()));
    assert_eq!(decision.in_force.unwrap().name, "mail");
    // Confirmed, it is in force.
    let site = site::read(changed.as_bytes()).unwrap();
    let decision = decide(found(&changed), Some(Kept::of(changed.as_bytes(), &site)));
    assert_eq!(decision.outcome, SiteOutcome::Applied);
    assert_eq!(decision.in_force.unwrap().name, "post");
    // Gone, it is put back; out of reach, what was in force stays.
    let decision = decide(Ok(None), Some(kept.clone()));
    assert_eq!(
        (decision.outcome, decision.put_back),
        (SiteOutcome::Applied, Some(kept.text.clone()))
    );
    let decision = decide(Err("broken".to_owned()), Some(kept));
    assert_eq!(decision.outcome, SiteOutcome::Applied);
    assert_eq!(decision.troubles, [Trouble::SiteUnreachable("broken".to_owned())]);
}

#[test]
fn nothing_comes_of_nothing() {
    let decision = decide(Ok(None), None);
    let missing = (SiteOutcome::Missing, vec![Trouble::SiteMissing]);
    assert_eq!((decision.outcome, decision.troubles), missing);
    let decision = decide(found("language = \"de\"\nname = 3\n"), None);
    assert_eq!(decision.outcome, SiteOutcome::Refused);
    assert_eq!(decision.language, Language::De);
    assert!(decision.in_force.is_none() && decision.keep.is_none());
}
