//! Just enough of Rust's grammar to tell code from comments and texts, and to read paths.

/// `text` with comments and the contents of literals blanked out; every line keeps its number.
pub(super) fn code(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while let Some(&c) = chars.get(at) {
        let len = blank_len(&chars, at);
        if len == 0 {
            out.push(c);
            at += 1;
            continue;
        }
        for c in &chars[at..(at + len).min(chars.len())] {
            out.push(if *c == '\n' { '\n' } else { ' ' });
        }
        at += len;
    }
    out
}

/// How many characters from `at` are a comment or a literal; 0 for code.
fn blank_len(chars: &[char], at: usize) -> usize {
    let rest = &chars[at..];
    match rest {
        ['/', '/', ..] => rest.iter().take_while(|c| **c != '\n').count(),
        ['/', '*', ..] => comment_len(rest),
        ['"', ..] => 1 + quoted_len(&rest[1..], '"'),
        ['r', ..] | ['b', 'r', ..] if !in_word(chars, at) => raw_len(rest),
        ['\'', '\\', ..] => 1 + quoted_len(&rest[1..], '\''),
        ['\'', _, '\'', ..] => 3,
        _ => 0,
    }
}

fn in_word(chars: &[char], at: usize) -> bool {
    at.checked_sub(1).and_then(|i| chars.get(i)).is_some_and(|c| c.is_alphanumeric() || *c == '_')
}

fn comment_len(rest: &[char]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        match rest[at..] {
            ['/', '*', ..] => (depth, at) = (depth + 1, at + 2),
            ['*', '/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn quoted_len(rest: &[char], end: char) -> usize {
    let mut at = 0;
    while at < rest.len() {
        match rest[at] {
            '\\' => at += 2,
            c if c == end => return at + 1,
            _ => at += 1,
        }
    }
    at
}

fn raw_len(rest: &[char]) -> usize {
    let start = rest.iter().position(|c| *c == 'r').unwrap() + 1;
    let hashes = rest[start..].iter().take_while(|c| **c == '#').count();
    if rest.get(start + hashes) != Some(&'"') {
        return 0;
    }
    let mut at = start + hashes + 1;
    while at < rest.len() {
        if rest[at] == '"'
            && rest[at + 1..].iter().take(hashes).filter(|c| **c == '#').count() == hashes
        {
            return at + 1 + hashes;
        }
        at += 1;
    }
    at
}

/// `code` with everything under `#[cfg(test)]` blanked out.
pub(super) fn without_tests(code: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let mut out = String::with_capacity(code.len());
    let mut rest = code;
    while let Some(at) = rest.find(MARK) {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        let len = item_len(from);
        let (item, after) = from.split_at(len);
        out.extend(item.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        rest = after;
    }
    out.push_str(rest);
    out
}

/// Bytes up to the end of the item: its closing brace, or the semicolon of one without a body.
fn item_len(code: &str) -> usize {
    let mut depth = 0_usize;
    for (at, c) in code.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return at + 1;
                }
            }
            ';' if depth == 0 => return at + 1,
            _ => {}
        }
    }
    code.len()
}

/// Every path that starts with the word `root`, with its place: groups are opened, so that
/// `crate::{a::B, c}` gives `[a, B]` and `[c]`.
pub(super) fn paths(code: &str, root: &str) -> Vec<(usize, Vec<String>)> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices(root) {
        let before = code.get(..at).and_then(|b| b.chars().next_back());
        let word = before.is_some_and(|c| c.is_alphanumeric() || matches!(c, '_' | ':'));
        let rest = code.get(at + root.len()..).unwrap_or_default();
        if let (false, Some(rest)) = (word, rest.trim_start().strip_prefix("::")) {
            let mut trees = Vec::new();
            tree(rest, &mut Vec::new(), &mut trees);
            found.extend(trees.into_iter().map(|path| (at, path)));
        }
    }
    found
}

/// Reads one path or group of a `use`; gives what follows it.
fn tree<'a>(mut rest: &'a str, prefix: &mut Vec<String>, found: &mut Vec<Vec<String>>) -> &'a str {
    let depth = prefix.len();
    loop {
        rest = rest.trim_start();
        if let Some(mut group) = rest.strip_prefix('{') {
            loop {
                group = tree(group, prefix, found).trim_start();
                match group.strip_prefix(',') {
                    Some(next) => group = next,
                    None => break,
                }
            }
            prefix.truncate(depth);
            return group.strip_prefix('}').unwrap_or(group);
        }
        let len = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        let (word, after) = rest.split_at(len);
        if !word.is_empty() {
            prefix.push(word.to_owned());
        }
        match after.strip_prefix("::") {
            Some(next) => rest = next,
            None => {
                if prefix.len() > depth {
                    found.push(prefix.clone());
                }
                prefix.truncate(depth);
                // `as name` and `*` end a path of a group, too.
                let end = after.find([',', '}', ';', ')', '(', '<', '>', '{', '\n']);
                return end.and_then(|end| after.get(end..)).unwrap_or_default();
            }
        }
    }
}

/// Whether `code` has `word` as a word of its own; gives the places.
pub(super) fn words(code: &str, word: &str) -> Vec<usize> {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    let apart = |at: usize| {
        let before = code.get(..at).and_then(|b| b.chars().next_back());
        let after = code.get(at + word.len()..).and_then(|a| a.chars().next());
        !before.is_some_and(part) && !after.is_some_and(part)
    };
    code.match_indices(word).map(|(at, _)| at).filter(|at| apart(*at)).collect()
}

#[test]
fn comments_and_texts_are_no_code() {
    let text =
        "a // crate::x\n/* b /* c */ d */ e \"f\\\"g\" 'h' '\\'' r#\"i\"j\"# br\"k\" 'l: &'m n";
    assert_eq!(code(text).split_whitespace().collect::<Vec<_>>(), ["a", "e", "'l:", "&'m", "n"]);
    let text = "a\n#[cfg(test)]\nmod tests;\nb\n#[cfg(test)]\nmod t { fn c() {} }\nd";
    let code = without_tests(&code(text));
    assert_eq!(code.split_whitespace().collect::<Vec<_>>(), ["a", "b", "d"]);
    assert_eq!(code.lines().count(), text.lines().count());
}

#[test]
fn paths_are_read_through_groups() {
    let code = "use crate::{base::{clock, task::spawn}, store}; let x = crate::mail::begin(1); use my_crate::no; crate::a::B as c;";
    let found: Vec<String> = paths(code, "crate").into_iter().map(|(_, p)| p.join("::")).collect();
    assert_eq!(found, ["base::clock", "base::task::spawn", "store", "mail::begin", "a::B"]);
}
