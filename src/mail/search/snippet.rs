//! RFC 8621 5: the lines of a message in which something was found, with marks.

use super::words::{Query, Word, Words};
use super::{Field, Leaf, Part, document};
use crate::directory::Login;
use crate::mail::{Mail, MailError};
use std::ops::Range;
use understudy_proto::id::EmailId;
use understudy_proto::mailbox;

/// RFC 8621 5: longest preview in octets, marks included.
const PREVIEW_LEN_MAX: usize = 255;
/// Longest subject in octets before marks, as in the message's row.
const SUBJECT_LEN_MAX: usize = 512;
/// What is shown before the first place, at most, in bytes.
const BEFORE_LEN_MAX: usize = 60;
const MARK: &str = "<mark>";
const END: &str = "</mark>";

/// What to show of a message that was found. HTML: text is escaped, `<mark>` is the only element.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snippet {
    /// The subject, where something was found in it.
    pub subject: Option<String>,
    /// The body around the first place, where something was found in it.
    pub preview: Option<String>,
}

impl Mail {
    /// Marks what `leaves` find in a message; leaves of other fields mark nothing. `None`: the message
    /// is gone. Blocks.
    ///
    /// # Errors
    /// Its row cannot be read.
    pub fn snippet(
        &self,
        login: &Login,
        id: EmailId,
        leaves: &[Leaf],
    ) -> Result<Option<Snippet>, MailError> {
        let view = self.store.read(login.tenant)?;
        let Some(email) = mailbox::email(&view, login.account, id)? else { return Ok(None) };
        drop(view);
        let queries = |field| -> Vec<Query> {
            let ours = leaves.iter().filter(|l| l.field == field || l.field == Field::Text);
            ours.map(|l| Query::parse(&l.text)).collect()
        };
        let document = document(&self.store, login.tenant, &email);
        let subject = document.texts(Part::Subject).first().and_then(|text| {
            let places = places(text, &queries(Field::Subject));
            (!places.is_empty()).then(|| marked(text, &places, 0, SUBJECT_LEN_MAX))
        });
        let of_body = queries(Field::Body);
        let preview = document.texts(Part::Body).iter().find_map(|text| {
            let places = places(text, &of_body);
            let first = places.first()?.start;
            Some(marked(text, &places, begin(text, first), PREVIEW_LEN_MAX))
        });
        Ok(Some(Snippet { subject, preview }))
    }
}

/// Where something is found, ascending and apart.
fn places(text: &str, queries: &[Query]) -> Vec<Range<usize>> {
    let words: Vec<Word> = Words::of(text).collect();
    let units = queries.iter().flat_map(|q| &q.units);
    let mut all: Vec<Range<usize>> = units.flat_map(|u| u.places(&words, true)).collect();
    all.sort_unstable_by_key(|at| (at.start, at.end));
    let mut apart: Vec<Range<usize>> = Vec::new();
    for place in all {
        match apart.last_mut() {
            Some(last) if place.start < last.end => last.end = last.end.max(place.end),
            _ => apart.push(place),
        }
    }
    apart
}

/// Where to begin so that `first` is seen with a little before it: at a word.
fn begin(text: &str, first: usize) -> usize {
    let mut from = first.saturating_sub(BEFORE_LEN_MAX);
    if from == 0 {
        return 0;
    }
    while !text.is_char_boundary(from) {
        from = from.saturating_sub(1);
    }
    let before = text.get(from..first).unwrap_or_default();
    before.find(char::is_whitespace).map_or(first, |space| from.saturating_add(space))
}

/// `text` from `from` on as HTML with white space folded, at most `most` bytes of it.
fn marked(text: &str, places: &[Range<usize>], from: usize, most: usize) -> String {
    let mut out = String::new();
    let mut places = places.iter().filter(|at| at.start >= from).peekable();
    let mut open = false;
    let mut space = false;
    for (i, c) in text.get(from..).unwrap_or_default().char_indices() {
        let at = from.saturating_add(i);
        if open && places.peek().is_some_and(|p| at >= p.end) {
            out.push_str(END);
            open = false;
            places.next();
        }
        if c.is_whitespace() || c.is_control() {
            space = !out.is_empty();
            continue;
        }
        let begins = !open && places.peek().is_some_and(|p| at >= p.start);
        let mut next = String::new();
        if std::mem::take(&mut space) {
            next.push(' ');
        }
        if begins {
            next.push_str(MARK);
        }
        match c {
            '&' => next.push_str("&amp;"),
            '<' => next.push_str("&lt;"),
            '>' => next.push_str("&gt;"),
            '"' => next.push_str("&quot;"),
            '\'' => next.push_str("&#39;"),
            c => next.push(c),
        }
        let rest = if open || begins { END.len() } else { 0 };
        if out.len().saturating_add(next.len()).saturating_add(rest) > most {
            break;
        }
        open |= begins;
        out.push_str(&next);
    }
    if open {
        out.push_str(END);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn show(text: &str, query: &str) -> String {
        let found = places(text, &[Query::parse(query)]);
        let from = found.first().map_or(0, |p| begin(text, p.start));
        marked(text, &found, from, PREVIEW_LEN_MAX)
    }

    #[test]
    fn what_was_found_is_marked_and_the_rest_is_escaped() {
        assert_eq!(
            show("Ihre <Rechnungen> & \"mehr\"\r\n  Text", "rechnung"),
            "Ihre &lt;<mark>Rechnungen</mark>&gt; &amp; &quot;mehr&quot; Text"
        );
        assert_eq!(show("a quick brown fox", "\"quick brown\""), "a <mark>quick brown</mark> fox");
        assert_eq!(show("fox fox", "fox"), "<mark>fox</mark> <mark>fox</mark>");
        assert_eq!(show("nothing here", "other"), "nothing here");
    }

    #[test]
    fn a_preview_begins_shortly_before_the_place_and_ends_in_time() {
        let text = format!("{} needle {}", "hay ".repeat(500), "straw ".repeat(500));
        let shown = show(&text, "needle");
        assert!(shown.contains("<mark>needle</mark>") && shown.len() <= PREVIEW_LEN_MAX, "{shown}");
        assert!(shown.starts_with("hay ") && shown.find("<mark>").unwrap() <= BEFORE_LEN_MAX);
    }

    proptest! {
        #[test]
        fn any_text_is_escaped_within_its_bound(text in "\\PC{0,40}[a-c<>&\u{e4} ]{0,400}", query in "[a-c\u{e4}\" ]{0,8}") {
            let shown = show(&text, &query);
            prop_assert!(shown.len() <= PREVIEW_LEN_MAX);
            let bare = shown.replace(MARK, "").replace(END, "");
            prop_assert!(!bare.contains(['<', '>', '"', '\'']));
            prop_assert_eq!(shown.matches(MARK).count(), shown.matches(END).count());
        }
    }
}
