//! Real mail, made to measure: text with umlauts, alternatives, attachments. The same number gives
//! the same message, so that what arrives can be compared with what was sent.

use std::fmt::Write;

/// The header by which the count recognises a message.
pub(crate) const ID_HEADER: &str = "X-Lab-Number";

/// Message number `n`, CRLF line ends, dot-stuffing not applied.
pub(crate) fn message(n: u32) -> String {
    let mut rng = Rng(u64::from(n).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let subject =
        ["Rechnung", "Protokoll der Sitzung", "Re: Angebot", "=?utf-8?Q?Gr=C3=BC=C3=9Fe?="]
            .get(usize::try_from(rng.below(4)).unwrap_or_default())
            .copied()
            .unwrap_or("Rechnung");
    let mut m = String::new();
    let mut line = |text: &str| {
        m.push_str(text);
        m.push_str("\r\n");
    };
    line("From: =?utf-8?Q?J=C3=BCrgen?= <juergen@outside.example>");
    line("To: Ada Lovelace <ada@customer.example>");
    line(&format!("Subject: {subject} {n}"));
    line("Date: Sun, 22 Nov 2026 09:14:00 +0100");
    line(&format!("Message-ID: <{n}.{:x}@outside.example>", rng.next()));
    line(&format!("{ID_HEADER}: {n}"));
    line("MIME-Version: 1.0");
    line("Content-Type: multipart/mixed; boundary=\"=_lab\"");
    line("");
    line("--=_lab");
    line("Content-Type: text/plain; charset=utf-8");
    line("Content-Transfer-Encoding: 8bit");
    line("");
    line("Sehr geehrte Damen und Herren,");
    line("");
    line(".this line begins with a dot, and the next is one:");
    line(".");
    for _ in 0..rng.below(20) {
        line("Schöne Grüße aus dem Rechenzentrum, alles läuft.");
    }
    // Most mail is small; some carries a file; a few carry a large one.
    let bytes = match rng.below(10) {
        0..6 => 0,
        6..9 => 2_000 + rng.below(60_000),
        _ => 300_000 + rng.below(500_000),
    };
    if bytes > 0 {
        line("--=_lab");
        line("Content-Type: application/pdf; name=\"Rechnung.pdf\"");
        line("Content-Disposition: attachment; filename=\"Rechnung.pdf\"");
        line("Content-Transfer-Encoding: base64");
        line("");
        let mut left = bytes;
        while left > 0 {
            line(&rng.base64_line());
            left = left.saturating_sub(57);
        }
    }
    line("--=_lab--");
    m
}

struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    /// 76 characters that look like base64 of something incompressible.
    fn base64_line(&mut self) -> String {
        const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut line = String::with_capacity(76);
        while line.len() < 76 {
            let mut bits = self.next();
            for _ in 0..8 {
                let index = usize::try_from(bits & 63).unwrap_or_default();
                line.push(char::from(ALPHABET.get(index).copied().unwrap_or(b'A')));
                bits >>= 6;
            }
        }
        line.truncate(76);
        line
    }
}

/// A short text for a count of bytes.
pub(crate) fn bytes(n: u64) -> String {
    let mut text = String::new();
    let result = match n {
        0..10_000 => write!(text, "{n} B"),
        10_000..10_000_000 => write!(text, "{} KB", n / 1_000),
        _ => write!(text, "{} MB", n / 1_000_000),
    };
    if result.is_err() {
        text.push('?');
    }
    text
}
