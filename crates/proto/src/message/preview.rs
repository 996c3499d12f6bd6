//! The preview: the first text that a person would read, as one line.
//!
//! A text/plain part that is no attachment wins over text/html, which is stripped of its markup.
//! Only a bounded start of each part is looked at. Deliberately absent: any rendering.

use super::decode::TextDecoder;
use super::html::Html;
use super::{PREVIEW_LEN_MAX, Part, PartKind};

/// How much of a part's encoded body is looked at, in bytes.
const INPUT_LEN_MAX: usize = 64 * 1024;

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
                Some(html) => html.push(c, &mut |c| self.line.push(c)),
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
