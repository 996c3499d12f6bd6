//! Whether the two appliances' files agree: said by both, compared by both, before anything else.
//!
//! Absent on purpose: which settings these are (`config` knows), and any repair.

/// Most differences that are told at once.
const SHOWN_MAX: usize = 8;
/// Longest name or value that is shown of the peer's, in characters.
const TEXT_LEN_MAX: usize = 100;

/// Settings that must be equal, as names and values.
pub type Agreement = Vec<(String, String)>;

/// The sentence that says where `ours` and `theirs` differ, and what to do; `None` where they agree.
pub(super) fn disagreement(
    ours: &[(String, String)],
    theirs: &[(String, String)],
) -> Option<String> {
    let mut differences = Vec::new();
    for (name, value) in ours {
        match theirs.iter().find(|(theirs, _)| theirs == name) {
            Some((_, other)) if other == value => {}
            Some((_, other)) => {
                differences.push(format!("{name} is {value} here and {} there", short(other)));
            }
            None => differences.push(format!("{name} is {value} here and missing there")),
        }
    }
    for (name, value) in theirs {
        if !ours.iter().any(|(ours, _)| ours == name) {
            let (name, value) = (short(name), short(value));
            differences.push(format!("{name} is missing here and {value} there"));
        }
    }
    if differences.is_empty() {
        // The same name twice with other values: `[[vrrp]]` groups of two families share a vrid.
        let sorted = |settings: &[(String, String)]| {
            let mut settings = settings.to_vec();
            settings.sort_unstable();
            settings
        };
        if sorted(ours) == sorted(theirs) {
            return None;
        }
        differences.push("a section stands there another number of times than here".to_owned());
    }
    let more = differences.len().saturating_sub(SHOWN_MAX);
    differences.truncate(SHOWN_MAX);
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    Some(format!(
        "the configuration files of the two appliances disagree: {}{more}; make them equal and \
         start both anew",
        differences.join("; ")
    ))
}

/// What comes from the peer is shown shortened, without control characters.
fn short(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(TEXT_LEN_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(list: &[(&str, &str)]) -> Agreement {
        list.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn every_difference_is_named_from_both_sides() {
        let ours = settings(&[("lease_ms", "75"), ("vrid 7", "10.0.0.1/24"), ("pin", "none")]);
        assert_eq!(disagreement(&ours, &ours), None);
        let turned: Agreement = ours.iter().rev().cloned().collect();
        assert_eq!(disagreement(&ours, &turned), None, "the order does not matter");
        let theirs = settings(&[("lease_ms", "80"), ("vrid 8", "10.0.0.1/24"), ("pin", "none")]);
        let text = disagreement(&ours, &theirs).unwrap();
        for part in [
            "lease_ms is 75 here and 80 there",
            "vrid 7 is 10.0.0.1/24 here and missing there",
            "vrid 8 is missing here and 10.0.0.1/24 there",
            "make them equal",
        ] {
            assert!(text.contains(part), "{text}");
        }
        assert!(disagreement(&theirs, &ours).unwrap().contains("80 here and 75 there"));
    }

    #[test]
    fn a_peer_cannot_flood_the_screen() {
        let theirs: Agreement =
            (0..1_000).map(|n| (format!("{n}\u{1b}[2J"), "x".repeat(9_999))).collect();
        let text = disagreement(&[], &theirs).unwrap();
        assert!(text.len() < 3_000 && !text.contains('\u{1b}'), "{text}");
        assert!(text.contains("and 992 more"));
    }

    #[test]
    fn the_same_section_twice_is_a_difference() {
        let (once, twice) =
            (settings(&[("vrid 7", "a")]), settings(&[("vrid 7", "a"), ("vrid 7", "a")]));
        assert!(disagreement(&once, &twice).is_some());
    }
}
