//! Replies of a host: RFC 5321 4.2, lenient in line ends, bounded in everything.

use super::Outcome;

/// Octets of one line that are kept; RFC 5321 4.5.3.1.5 has 512.
const LINE_MAX: usize = 1_024;
/// Lines of one reply.
const LINES_MAX: usize = 128;
/// Characters of a reply that are passed on into logs and bounces.
const TEXT_MAX: usize = 512;

/// One whole reply.
pub(super) struct Reply {
    pub(super) code: u16,
    lines: Vec<String>,
}

impl Reply {
    pub(super) fn is_ok(&self) -> bool {
        (200..300).contains(&self.code)
    }

    pub(super) fn is_transient(&self) -> bool {
        !self.is_ok() && !(500..600).contains(&self.code)
    }

    pub(super) fn outcome(&self) -> Outcome {
        if self.is_transient() {
            Outcome::Deferred(self.text())
        } else {
            Outcome::Refused(self.text())
        }
    }

    /// The lines' texts, without codes.
    pub(super) fn lines(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().map(String::as_str)
    }

    /// Code and text in one line, without control characters.
    pub(super) fn text(&self) -> String {
        let text = format!("{} {}", self.code, self.lines.join(" "));
        text.chars().take(TEXT_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect()
    }
}

/// Collects lines to replies.
#[derive(Default)]
pub(super) struct ReplyReader {
    line: Vec<u8>,
    lines: Vec<String>,
}

impl ReplyReader {
    /// Takes input up to the end of a reply; also what is left of it.
    pub(super) fn take<'a>(
        &mut self,
        input: &'a [u8],
    ) -> (Result<Option<Reply>, &'static str>, &'a [u8]) {
        let mut rest = input;
        while !rest.is_empty() {
            let end = memchr::memchr(b'\n', rest);
            let upto = end.map_or(rest.len(), |at| at.saturating_add(1));
            let (run, tail) = rest.split_at_checked(upto).unwrap_or((rest, &[]));
            rest = tail;
            let room = LINE_MAX.saturating_sub(self.line.len());
            self.line.extend(run.iter().take(room));
            if end.is_some() {
                match self.end_line() {
                    Ok(None) => {}
                    other => return (other, rest),
                }
            }
        }
        (Ok(None), rest)
    }

    fn end_line(&mut self) -> Result<Option<Reply>, &'static str> {
        let line = std::mem::take(&mut self.line);
        let line = line.trim_ascii_end();
        let (code, rest) = line.split_at_checked(3).ok_or("the host does not speak SMTP")?;
        let code: u16 = std::str::from_utf8(code)
            .ok()
            .and_then(|code| code.parse().ok())
            .filter(|code| (200..600).contains(code))
            .ok_or("the host does not speak SMTP")?;
        let (last, text) = match rest.split_first() {
            Some((b'-', text)) => (false, text),
            Some((b' ', text)) => (true, text),
            None => (true, rest),
            Some(_) => return Err("the host does not speak SMTP"),
        };
        if self.lines.len() >= LINES_MAX {
            return Err("the host's reply does not end");
        }
        self.lines.push(String::from_utf8_lossy(text).into_owned());
        Ok(last.then(|| Reply { code, lines: std::mem::take(&mut self.lines) }))
    }
}
