//! The preview: the first text that a person would read, as one line.
//!
//! A text/plain part that is no attachment wins over text/html, which is stripped of its markup.
//! Only a bounded start of each part is looked at. Deliberately absent: any rendering.

use super::decode::TextDecoder;
use super::{PREVIEW_LEN_MAX, Part, PartKind};

/// How much of a part's encoded body is looked at, in bytes.
const INPUT_LEN_MAX: usize = 64 * 1024;
/// Longest character reference in HTML that is understood, in bytes.
const REFERENCE_LEN_MAX: usize = 10;
/// Longest element name in HTML that is told apart, in bytes.
const NAME_LEN_MAX: usize = 10;

/// Collects the preview while the message streams past.
#[derive(Default)]
pub(super) struct Preview {
    plain: String,
    html: String,
    active: Option<Active>,
}

struct Active {
    decoder: TextDecoder,
    html: Option<Html>,
    line: Line,
    left: usize,
    text: String,
}

impl Preview {
    /// A leaf's body begins.
    pub(super) fn begin(&mut self, part: &Part) {
        let html = part.media == "text/html";
        let wanted = part.kind == PartKind::Text
            && !part.attachment
            && self.plain.is_empty()
            && if html { self.html.is_empty() } else { part.media == "text/plain" };
        self.active = wanted.then(|| Active {
            decoder: TextDecoder::new(part.encoding, part.charset.as_deref()),
            html: html.then(Html::default),
            line: Line::default(),
            left: INPUT_LEN_MAX,
            text: String::new(),
        });
    }

    /// The body's next octets.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        let Some(active) = &mut self.active else { return };
        let bytes = bytes.get(..active.left).unwrap_or(bytes);
        active.left -= bytes.len();
        active.decoder.feed(bytes, &mut active.text);
        active.take_text();
        if active.left == 0 || active.line.full {
            self.end();
        }
    }

    /// The body ended, or enough of it was seen.
    pub(super) fn end(&mut self) {
        let Some(mut active) = self.active.take() else { return };
        let mut text = std::mem::take(&mut active.text);
        let decoder = std::mem::replace(
            &mut active.decoder,
            TextDecoder::new(super::Encoding::Identity, None),
        );
        decoder.finish(&mut text);
        active.text = text;
        active.take_text();
        let line = active.line.text;
        if active.html.is_some() { self.html = line } else { self.plain = line }
    }

    pub(super) fn finish(mut self) -> String {
        self.end();
        if self.plain.is_empty() { self.html } else { self.plain }
    }
}

impl std::fmt::Debug for Preview {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Preview").finish_non_exhaustive()
    }
}

impl Active {
    fn take_text(&mut self) {
        for c in self.text.drain(..) {
            match &mut self.html {
                Some(html) => html.push(c, &mut self.line),
                None => self.line.push(c),
            }
        }
    }
}

/// Text with every run of white space folded to one space.
#[derive(Default)]
struct Line {
    text: String,
    space: bool,
    full: bool,
}

impl Line {
    fn push(&mut self, c: char) {
        // Senders pad their previews with characters that show nothing.
        let invisible =
            matches!(c, '\u{ad}' | '\u{34f}' | '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}');
        if c.is_whitespace() || c.is_control() || invisible {
            self.space |= !self.text.is_empty() && !invisible;
            return;
        }
        let need = c.len_utf8() + usize::from(self.space);
        self.full |= self.text.len() + need > PREVIEW_LEN_MAX;
        if !self.full {
            if std::mem::take(&mut self.space) {
                self.text.push(' ');
            }
            self.text.push(c);
        }
    }
}

/// Leaves the text of HTML.
#[derive(Default)]
struct Html {
    state: Markup,
    /// The element whose text is not shown, until it ends.
    hidden: Option<&'static str>,
}

#[derive(Default)]
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
    fn push(&mut self, c: char, line: &mut Line) {
        match &mut self.state {
            Markup::Text => self.text(c, line),
            Markup::Reference(name) => {
                if c == ';' {
                    let known = reference(name);
                    let name = std::mem::take(name);
                    self.state = Markup::Text;
                    match known {
                        Some(c) => self.show(c, line),
                        None => format!("&{name};").chars().for_each(|c| self.show(c, line)),
                    }
                } else if name.len() < REFERENCE_LEN_MAX && (c.is_ascii_alphanumeric() || c == '#')
                {
                    name.push(c);
                } else {
                    let name = std::mem::take(name);
                    self.state = Markup::Text;
                    format!("&{name}").chars().for_each(|c| self.show(c, line));
                    self.text(c, line);
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
                    self.show('<', line);
                    self.text(c, line);
                } else if c == '>' || c.is_whitespace() || (c == '/' && !first) {
                    let name = std::mem::take(name);
                    self.element(&name, line);
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

    fn text(&mut self, c: char, line: &mut Line) {
        match c {
            '<' => self.state = Markup::Name(String::new()),
            '&' => self.state = Markup::Reference(String::new()),
            _ => self.show(c, line),
        }
    }

    fn show(&self, c: char, line: &mut Line) {
        if self.hidden.is_none() {
            line.push(c);
        }
    }

    /// A tag with this name begins or, behind a slash, ends an element.
    fn element(&mut self, name: &str, line: &mut Line) {
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
            line.push(' ');
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
