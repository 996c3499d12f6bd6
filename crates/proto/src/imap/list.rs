//! LIST and LSUB: parsing (RFC 3501, RFC 5258, RFC 5819, RFC 6154), and which names answer them.
//!
//! Matching never backtracks exponentially: a pattern costs at most its length times the name's.

use super::command::{ParseError, StatusItem, status_items};
use super::name::{DELIMITER, INBOX};
use super::scan::{Parsed, Scanner};
use crate::mailbox::Role;
use std::collections::HashSet;

/// LIST or LSUB.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct List {
    /// LSUB: the answer is called so, and \Noselect stands for what is not subscribed itself.
    pub lsub: bool,
    /// What the patterns are appended to.
    pub reference: String,
    /// The patterns, `*` and `%` being wildcards; one at least.
    pub patterns: Vec<String>,
    /// Only subscribed names.
    pub subscribed: bool,
    /// Only names with a special use.
    pub special_use: bool,
    /// Also names that have a selected name below them.
    pub recursive: bool,
    /// Tell which names are subscribed.
    pub return_subscribed: bool,
    /// RFC 5819: a STATUS with each name.
    pub return_status: Vec<StatusItem>,
}

/// Most patterns of one LIST.
const PATTERNS_MAX: usize = 16;
/// Longest pattern in bytes, reference included.
const PATTERN_LEN_MAX: usize = 1024;

impl List {
    /// Parses what follows `LIST `.
    pub(crate) fn parse(s: &mut Scanner<'_>) -> Parsed<Self> {
        let mut list = Self::default();
        if s.eat(b'(') {
            list.selection(s)?;
        }
        list.reference = s.list_mailbox()?;
        s.sp()?;
        if s.eat(b'(') {
            loop {
                list.pattern(s)?;
                if s.eat(b')') {
                    break;
                }
                s.sp()?;
            }
        } else {
            list.pattern(s)?;
        }
        if s.eat(b' ') {
            list.returns(s)?;
        }
        Ok(list)
    }

    /// Parses what follows `LSUB `.
    pub(crate) fn parse_lsub(s: &mut Scanner<'_>) -> Parsed<Self> {
        let reference = s.list_mailbox()?;
        let mut list = Self { lsub: true, subscribed: true, reference, ..Self::default() };
        s.sp()?;
        list.pattern(s)?;
        Ok(list)
    }

    fn pattern(&mut self, s: &mut Scanner<'_>) -> Parsed<()> {
        let pattern = s.list_mailbox()?;
        if self.patterns.len() == PATTERNS_MAX
            || pattern.len() + self.reference.len() > PATTERN_LEN_MAX
        {
            return Err(ParseError::Bad("too many or too long patterns"));
        }
        self.patterns.push(pattern);
        Ok(())
    }

    fn selection(&mut self, s: &mut Scanner<'_>) -> Parsed<()> {
        while !s.eat(b')') {
            match s.word()?.as_str() {
                "SUBSCRIBED" => self.subscribed = true,
                "SPECIAL-USE" => self.special_use = true,
                "RECURSIVEMATCH" => self.recursive = true,
                "REMOTE" => {}
                _ => return Err(ParseError::Bad("that LIST selection is not supported")),
            }
            s.eat(b' ');
        }
        // RFC 5258 3.1: RECURSIVEMATCH alone is not allowed.
        if self.recursive && !self.subscribed && !self.special_use {
            return Err(ParseError::Bad("RECURSIVEMATCH needs another selection"));
        }
        self.return_subscribed = self.subscribed;
        s.sp()
    }

    fn returns(&mut self, s: &mut Scanner<'_>) -> Parsed<()> {
        if !s.eat_word("RETURN") {
            return Err(ParseError::Bad("LIST ends with RETURN or nothing"));
        }
        s.sp()?;
        s.expect(b'(', "RETURN takes a list")?;
        while !s.eat(b')') {
            match s.word()?.as_str() {
                "SUBSCRIBED" => self.return_subscribed = true,
                // Both are always told.
                "CHILDREN" | "SPECIAL-USE" => {}
                "STATUS" => {
                    s.sp()?;
                    self.return_status = status_items(s)?;
                }
                _ => return Err(ParseError::Bad("that LIST return is not supported")),
            }
            s.eat(b' ');
        }
        Ok(())
    }

    /// Whether only the delimiter is asked for (RFC 9051 6.3.9: an empty name).
    #[must_use]
    pub fn asks_delimiter(&self) -> bool {
        !self.subscribed && self.patterns.iter().all(String::is_empty)
    }

    /// The rows that answer, INBOX first, then by name.
    #[must_use]
    pub fn rows(&self, mailboxes: &[Known<'_>]) -> Vec<Row> {
        let patterns: Vec<Vec<char>> = self
            .patterns
            .iter()
            .map(|p| format!("{}{p}", self.reference).chars().collect())
            .collect();
        let matched = |name: &str| patterns.iter().any(|p| matches(p, name));
        let matched_level = |name: &str| {
            let last = |p: &[char]| self.recursive || p.last() == Some(&'%');
            patterns.iter().any(|p| last(p) && matches(p, name))
        };
        let chosen = |m: &Known<'_>| {
            (!self.subscribed || m.subscribed)
                && (!self.special_use || m.role.is_some_and(|r| r != Role::Inbox))
        };
        let names: HashSet<&str> = mailboxes.iter().map(|m| m.name).collect();
        let parents = above(mailboxes, |_| true);
        let parents_subscribed = above(mailboxes, |m| m.subscribed);
        let parents_chosen = above(mailboxes, chosen);
        let mut rows: Vec<Row> = Vec::new();
        let mut shown = HashSet::new();
        for m in mailboxes.iter().filter(|m| matched(m.name)) {
            if chosen(m) || self.recursive && parents_chosen.contains(m.name) {
                shown.insert(m.name);
                rows.push(Row {
                    name: m.name.to_owned(),
                    exists: true,
                    role: m.role.filter(|r| *r != Role::Inbox),
                    has_children: parents.contains(m.name),
                    subscribed: m.subscribed,
                    child_info: self.recursive
                        && self.subscribed
                        && parents_subscribed.contains(m.name),
                });
            }
        }
        // RFC 9051 6.3.9: levels of hierarchy that match a `%` at the end are returned, though they are no
        // mailboxes. LSUB tells so of levels that merely lie above a subscribed name, too.
        if !self.subscribed || self.lsub || self.recursive {
            for level in parents_chosen {
                let missing = !names.contains(level) || (self.lsub && !shown.contains(level));
                if missing && matched_level(level) {
                    rows.push(Row {
                        name: level.to_owned(),
                        exists: false,
                        role: None,
                        has_children: true,
                        subscribed: false,
                        child_info: self.recursive && self.subscribed,
                    });
                }
            }
        }
        rows.sort_by(|a, b| (a.name != INBOX, &a.name).cmp(&(b.name != INBOX, &b.name)));
        rows
    }
}

/// A mailbox, as far as LIST cares.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its special use.
    pub role: Option<Role>,
    /// Whether it is subscribed.
    pub subscribed: bool,
}

/// One LIST response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The name.
    pub name: String,
    /// Whether there is a mailbox of that name; else it is only a level above some.
    pub exists: bool,
    /// Its special use; INBOX has none in RFC 6154.
    pub role: Option<Role>,
    /// Whether there are mailboxes below it.
    pub has_children: bool,
    /// Whether it is subscribed.
    pub subscribed: bool,
    /// Whether a selected name lies below (RFC 5258 CHILDINFO).
    pub child_info: bool,
}

/// Every level above the names that `which` picks.
fn above<'a>(mailboxes: &[Known<'a>], which: impl Fn(&Known<'_>) -> bool) -> HashSet<&'a str> {
    let levels = |name: &'a str| name.match_indices(DELIMITER).filter_map(|(at, _)| name.get(..at));
    mailboxes.iter().filter(|m| which(m)).flat_map(|m| levels(m.name)).collect()
}

/// Whether `name` matches `pattern`: `*` is any text, `%` any text without a delimiter. INBOX
/// matches in any case (RFC 9051 5.1).
fn matches(pattern: &[char], name: &str) -> bool {
    let inbox = name == INBOX;
    // `reached[i]`: the pattern's first `i` characters match the name's characters so far.
    let mut reached = vec![false; pattern.len() + 1];
    let skip_wildcards = |reached: &mut Vec<bool>| {
        for (i, p) in pattern.iter().enumerate() {
            if matches!(p, '*' | '%')
                && reached.get(i) == Some(&true)
                && let Some(next) = reached.get_mut(i + 1)
            {
                *next = true;
            }
        }
    };
    if let Some(first) = reached.first_mut() {
        *first = true;
    }
    skip_wildcards(&mut reached);
    for c in name.chars() {
        let mut next = vec![false; pattern.len() + 1];
        for (i, &p) in pattern.iter().enumerate() {
            if reached.get(i) != Some(&true) {
                continue;
            }
            let stays = p == '*' || (p == '%' && c != DELIMITER);
            let steps = p == c || (inbox && p.eq_ignore_ascii_case(&c));
            if stays && let Some(slot) = next.get_mut(i) {
                *slot = true;
            }
            if !matches!(p, '*' | '%')
                && steps
                && let Some(slot) = next.get_mut(i + 1)
            {
                *slot = true;
            }
        }
        skip_wildcards(&mut next);
        reached = next;
    }
    reached.last() == Some(&true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn like(pattern: &str, name: &str) -> bool {
        matches(&pattern.chars().collect::<Vec<_>>(), name)
    }

    #[test]
    fn wildcards_know_the_delimiter() {
        for (pattern, name, expected) in [
            ("*", "a/b/c", true),
            ("%", "a", true),
            ("%", "a/b", false),
            ("%/%", "a/b", true),
            ("a/*", "a", false),
            ("a*", "a/b", true),
            ("*c", "a/b/c", true),
            ("%c", "a/b/c", false),
            ("inbox", "INBOX", true),
            ("in%", "INBOX", true),
            ("sent", "Sent", false),
            ("", "a", false),
            ("**%%*", "ab", true),
        ] {
            assert_eq!(like(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn a_hostile_pattern_costs_no_more_than_its_length() {
        let pattern = "*a".repeat(500);
        assert!(!like(&pattern, &"a".repeat(499)));
        assert!(like(&pattern, &"a".repeat(500)));
    }

    const MAILBOXES: [Known<'_>; 6] = [
        Known { name: "INBOX", role: Some(Role::Inbox), subscribed: true },
        Known { name: "Archive/2024", role: None, subscribed: true },
        Known { name: "Drafts", role: Some(Role::Drafts), subscribed: true },
        Known { name: "Sent", role: Some(Role::Sent), subscribed: false },
        Known { name: "Work", role: None, subscribed: false },
        Known { name: "Work/Acme", role: None, subscribed: true },
    ];

    fn names(list: &List) -> String {
        let rows = list.rows(&MAILBOXES);
        let text = |r: &Row| {
            let mark = |on: bool, c: &str| if on { c.to_owned() } else { String::new() };
            format!("{}{}{}", r.name, mark(!r.exists, "?"), mark(r.child_info, "+"))
        };
        rows.iter().map(text).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn lists_answer_as_the_rfcs_say() {
        for (args, expected) in [
            ("\"\" \"*\"", "INBOX Archive/2024 Drafts Sent Work Work/Acme"),
            ("\"\" %", "INBOX Archive? Drafts Sent Work"),
            ("Work/ *", "Work/Acme"),
            ("(SPECIAL-USE) \"\" \"*\"", "Drafts Sent"),
            ("(SUBSCRIBED) \"\" \"*\"", "INBOX Archive/2024 Drafts Work/Acme"),
            ("(SUBSCRIBED RECURSIVEMATCH) \"\" %", "INBOX Archive?+ Drafts Work+"),
            ("\"\" (Sent Drafts) RETURN (SPECIAL-USE)", "Drafts Sent"),
            (
                "\"\" \"*\" RETURN (SUBSCRIBED CHILDREN STATUS (MESSAGES))",
                "INBOX Archive/2024 Drafts Sent Work Work/Acme",
            ),
        ] {
            let list = List::parse(&mut Scanner::new(args.as_bytes())).unwrap();
            assert_eq!(names(&list), expected, "{args}");
        }
        let lsub = List::parse_lsub(&mut Scanner::new(b"\"\" %")).unwrap();
        assert_eq!(names(&lsub), "INBOX Archive? Drafts Work?");
        let lsub = List::parse_lsub(&mut Scanner::new(b"\"\" *")).unwrap();
        assert_eq!(names(&lsub), "INBOX Archive/2024 Drafts Work/Acme");
    }

    proptest! {
        #[test]
        fn matching_is_what_the_definition_says(pattern in "[ab/%*]{0,7}", name in "[ab/]{0,7}") {
            fn slow(p: &[char], n: &[char]) -> bool {
                match p.split_first() {
                    None => n.is_empty(),
                    Some((w @ ('*' | '%'), rest)) => (0..=n.len())
                        .take_while(|&i| *w == '*' || !n[..i].contains(&'/'))
                        .any(|i| slow(rest, &n[i..])),
                    Some((c, rest)) => n.first() == Some(c) && slow(rest, &n[1..]),
                }
            }
            let p: Vec<char> = pattern.chars().collect();
            let n: Vec<char> = name.chars().collect();
            prop_assert_eq!(matches(&p, &name), slow(&p, &n));
        }
    }
}
