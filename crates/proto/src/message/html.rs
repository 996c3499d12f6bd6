//! The text of HTML: markup, scripts and styles left out, character references resolved.
//!
//! A machine of one character at a time with bounded memory; damaged HTML gives what can be read of
//! it. Deliberately absent: rendering, and making HTML harmless (it is never shown from here).

/// Longest character reference in HTML that is understood, in bytes.
const REFERENCE_LEN_MAX: usize = 10;
/// Longest element name in HTML that is told apart, in bytes.
const NAME_LEN_MAX: usize = 10;

/// Leaves the text of HTML.
#[derive(Debug, Default)]
pub struct Html {
    state: Markup,
    /// The element whose text is not shown, until it ends.
    hidden: Option<&'static str>,
}

#[derive(Debug, Default)]
enum Markup {
    #[default]
    Text,
    /// `&` and what followed.
    Reference(String),
    /// `<` and the start of the name.
    Name(String),
    /// Behind the name; the quote that is open.
    Tag(Option<char>),
    /// Behind `<!--`; the hyphens just seen.
    Comment(u8),
}

impl Html {
    /// The next character of the HTML; `show` gets those that a person would read.
    pub fn push(&mut self, c: char, show: &mut impl FnMut(char)) {
        match &mut self.state {
            Markup::Text => self.text(c, show),
            Markup::Reference(name) => {
                if c == ';' {
                    let known = reference(name);
                    let name = std::mem::take(name);
                    self.state = Markup::Text;
                    match known {
                        Some(c) => self.show(c, show),
                        None => format!("&{name};").chars().for_each(|c| self.show(c, show)),
                    }
                } else if name.len() < REFERENCE_LEN_MAX && (c.is_ascii_alphanumeric() || c == '#')
                {
                    name.push(c);
                } else {
                    let name = std::mem::take(name);
                    self.state = Markup::Text;
                    format!("&{name}").chars().for_each(|c| self.show(c, show));
                    self.text(c, show);
                }
            }
            Markup::Name(name) => {
                let first = name.is_empty();
                // Scripts and styles may hold a `<` that begins no tag.
                let raw = matches!(self.hidden, Some("script" | "style"));
                let begins =
                    c == '/' || !raw && (c.is_ascii_alphabetic() || matches!(c, '!' | '?'));
                if first && !begins {
                    self.state = Markup::Text;
                    self.show('<', show);
                    self.text(c, show);
                } else if c == '>' || c.is_whitespace() || (c == '/' && !first) {
                    let name = std::mem::take(name);
                    self.element(&name, show);
                    self.state = if c == '>' { Markup::Text } else { Markup::Tag(None) };
                } else {
                    if name.len() < NAME_LEN_MAX {
                        name.push(c.to_ascii_lowercase());
                    }
                    if name == "!--" {
                        self.state = Markup::Comment(0);
                    }
                }
            }
            Markup::Tag(quote) => match (c, *quote) {
                ('>', None) => self.state = Markup::Text,
                ('"' | '\'', None) => *quote = Some(c),
                (_, Some(open)) if open == c => *quote = None,
                _ => {}
            },
            Markup::Comment(hyphens) => match c {
                '-' => *hyphens = hyphens.saturating_add(1),
                '>' if *hyphens >= 2 => self.state = Markup::Text,
                _ => *hyphens = 0,
            },
        }
    }

    fn text(&mut self, c: char, show: &mut impl FnMut(char)) {
        match c {
            '<' => self.state = Markup::Name(String::new()),
            '&' => self.state = Markup::Reference(String::new()),
            _ => self.show(c, show),
        }
    }

    fn show(&self, c: char, show: &mut impl FnMut(char)) {
        if self.hidden.is_none() {
            show(c);
        }
    }

    /// A tag with this name begins or, behind a slash, ends an element.
    fn element(&mut self, name: &str, show: &mut impl FnMut(char)) {
        const HIDDEN: [&str; 4] = ["head", "style", "script", "title"];
        const INLINE: [&str; 9] = ["a", "b", "i", "u", "em", "strong", "span", "font", "small"];
        let (ends, name) = name.strip_prefix('/').map_or((false, name), |name| (true, name));
        match self.hidden {
            None if !ends => self.hidden = HIDDEN.into_iter().find(|h| *h == name),
            // A body begins even where the head was never ended.
            Some(hidden) if (ends && hidden == name) || name == "body" => self.hidden = None,
            _ => {}
        }
        if !INLINE.contains(&name) {
            show(' ');
        }
    }
}

fn reference(name: &str) -> Option<char> {
    if let Some(number) = name.strip_prefix('#') {
        let code = match number.strip_prefix(['x', 'X']) {
            Some(digits) => u32::from_str_radix(digits, 16),
            None => number.parse(),
        };
        return code.ok().and_then(char::from_u32);
    }
    Some(match name {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        "nbsp" => '\u{a0}',
        "zwnj" => '\u{200c}',
        "shy" => '\u{ad}',
        "ndash" => '\u{2013}',
        "mdash" => '\u{2014}',
        "hellip" => '\u{2026}',
        "lsquo" => '\u{2018}',
        "rsquo" => '\u{2019}',
        "ldquo" => '\u{201c}',
        "rdquo" => '\u{201d}',
        "bull" => '\u{2022}',
        "euro" => '\u{20ac}',
        "copy" => '\u{a9}',
        "auml" => '\u{e4}',
        "ouml" => '\u{f6}',
        "uuml" => '\u{fc}',
        "Auml" => '\u{c4}',
        "Ouml" => '\u{d6}',
        "Uuml" => '\u{dc}',
        "szlig" => '\u{df}',
        "eacute" => '\u{e9}',
        "egrave" => '\u{e8}',
        "agrave" => '\u{e0}',
        "ccedil" => '\u{e7}',
        _ => return None,
    })
}
