//! Lines of text for a terminal of a given size, with one look for each line.
//!
//! Invariants: only characters that the font of a Linux console has ([`harmless`]), each one column
//! wide, none that steers the terminal; no line is longer than the canvas. Deliberately absent:
//! escape sequences, which the terminal's driver makes from the look.

/// Characters of a text that are looked at at most; whoever sends more is not read to the end.
const TEXT_MAX: usize = 4_000;
/// What a console font has besides ASCII: the part of Latin-1 that code page 437 shares, with `ß`.
const LATIN: &str = "äöüÄÖÜßéèêëáàâåÅæÆçÇñÑíìîïóòôúùûÿÉ·°§²½¼«»¿¡£¥µ÷±";

/// A blank at which no line is broken.
pub(super) const FIXED_BLANK: char = '\u{a0}';

/// How well things are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// All is well.
    Good,
    /// It is on its way; nothing is known to be wrong.
    Wait,
    /// It works, and somebody should look after it.
    Attention,
    /// It does not work.
    Bad,
}

/// How a line looks. Every look is told in words or signs, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// As usual.
    Plain,
    /// Bold.
    Strong,
    /// Something that somebody should look after.
    Warn,
    /// Something that does not work.
    Bad,
    /// On a coloured ground across the screen.
    Band(Level),
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// How it looks.
    pub style: Style,
    /// What it says: at most as many characters as the screen has columns.
    pub text: String,
}

/// What is to be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Screen {
    /// At most as many as the terminal has.
    pub lines: Vec<Line>,
}

/// A screen that is being written.
pub(super) struct Canvas {
    columns: usize,
    lines: Vec<Line>,
}

impl Canvas {
    pub(super) const fn new(columns: usize) -> Self {
        Self { columns, lines: Vec::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.lines.len()
    }

    /// Adds a line, cut to the screen.
    pub(super) fn push(&mut self, style: Style, text: &str) {
        let mut text = cut(&harmless(text), self.columns).replace(FIXED_BLANK, " ");
        if matches!(style, Style::Band(_)) {
            let missing = self.columns.saturating_sub(text.chars().count());
            text.extend(std::iter::repeat_n(' ', missing));
        } else {
            text.truncate(text.trim_end().len());
        }
        self.lines.push(Line { style, text });
    }

    pub(super) fn extend(&mut self, lines: impl IntoIterator<Item = (Style, String)>) {
        for (style, text) in lines {
            self.push(style, &text);
        }
    }

    /// Adds `text` on at most `lines` lines, broken between words, behind `indent` blanks.
    pub(super) fn paragraph(&mut self, style: Style, indent: usize, text: &str, lines: usize) {
        for line in wrap(text, self.columns.saturating_sub(indent), lines) {
            self.push(style, &format!("{:indent$}{line}", ""));
        }
    }

    /// Cuts what does not fit and puts `last` on the last of `lines` lines.
    pub(super) fn finish(mut self, lines: usize, last: &str) -> Screen {
        let body = lines.saturating_sub(1);
        self.lines.truncate(body);
        while self.lines.len() < body {
            self.push(Style::Plain, "");
        }
        if lines > 0 {
            self.push(Style::Strong, last);
        }
        Screen { lines: self.lines }
    }
}

/// `text` as a console can show it: what steers a terminal or is not in its font becomes `?`.
pub(super) fn harmless(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars().take(TEXT_MAX) {
        match c {
            ' '..='~' => out.push(c),
            '\n' | '\t' | '\r' => out.push(' '),
            // Kept so far as a blank that no line breaks at.
            FIXED_BLANK => out.push(c),
            '…' => out.push_str("..."),
            '–' | '—' | '‑' | '−' => out.push('-'),
            '„' | '“' | '”' => out.push('"'),
            '‘' | '’' | '‚' => out.push('\''),
            _ if LATIN.contains(c) => out.push(c),
            _ => out.push('?'),
        }
    }
    out
}

/// `text`, or its start and `...` where it is longer than `width`.
pub(super) fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let dots = width.min(3);
    let mut out: String = text.chars().take(width.saturating_sub(dots)).collect();
    out.extend(std::iter::repeat_n('.', dots));
    out
}

/// `text` on at most `lines` lines of `width`, broken between words; what is left out shows as `...`.
pub(super) fn wrap(text: &str, width: usize, lines: usize) -> Vec<String> {
    let text = harmless(text);
    let mut out: Vec<String> = Vec::new();
    let mut line = String::new();
    let mut words = text.split(' ').filter(|w| !w.is_empty());
    while let Some(word) = words.next() {
        let room = width.saturating_sub(line.chars().count());
        let gap = usize::from(!line.is_empty());
        let last = out.len() + 1 >= lines;
        if last {
            // The rest of the text stands on this line, cut.
            let rest: Vec<&str> = std::iter::once(word).chain(words.by_ref()).collect();
            line = format!("{line}{}{}", if gap > 0 { " " } else { "" }, rest.join(" "));
            break;
        }
        if word.chars().count() + gap <= room {
            if gap > 0 {
                line.push(' ');
            }
            line.push_str(word);
        } else {
            if gap > 0 {
                out.push(std::mem::take(&mut line));
            }
            line.push_str(word);
            if out.len() + 1 >= lines {
                let rest: Vec<&str> = std::iter::once(word).chain(words.by_ref()).collect();
                line = rest.join(" ");
                break;
            }
        }
    }
    if !line.is_empty() && lines > 0 {
        out.push(line);
    }
    out.into_iter().take(lines).map(|l| cut(&l, width)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_kept_whole_and_what_is_left_out_shows() {
        assert_eq!(wrap("one two three", 8, 9), ["one two", "three"]);
        assert_eq!(wrap("one two three four", 8, 2), ["one two", "three..."]);
        assert_eq!(wrap("one two three four", 10, 2), ["one two", "three four"]);
        assert_eq!(wrap("one two", 8, 1), ["one two"]);
        assert_eq!(wrap("x abcdefghijkl y", 8, 3), ["x", "abcde...", "y"]);
        assert!(wrap("", 8, 3).is_empty() && wrap("x", 8, 0).is_empty());
    }

    #[test]
    fn what_steers_a_terminal_does_not_pass() {
        assert_eq!(harmless("a\x1b[2Jb\u{9b}c\u{202e}d\u{7f}"), "a?[2Jb?c?d?");
        assert_eq!(harmless("Größe – „x“ …\n日本"), "Größe - \"x\" ... ??");
    }

    proptest::proptest! {
        #[test]
        fn nothing_is_longer_than_it_may_be(text in "\\PC{0,300}", width in 0_usize..90, lines in 0_usize..6) {
            let wrapped = wrap(&text, width, lines);
            proptest::prop_assert!(wrapped.len() <= lines);
            proptest::prop_assert!(wrapped.iter().all(|l| l.chars().count() <= width));
        }
    }
}
