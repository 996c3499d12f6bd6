//! Real mail, made to measure: text with umlauts, alternatives, attachments. The same number gives
//! the same message, so that what arrives can be compared with what was sent.

/// The header by which the count recognises a message.
pub(crate) const ID_HEADER: &str = "X-Lab-Number";

/// The people who get mail.
pub(crate) const PEOPLE: [Person; 2] = [
    Person { name: "Ada Lovelace", address: "ada@customer.example" },
    Person { name: "Grace Hopper", address: "grace@customer.example" },
];

/// Somebody with a mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Person {
    /// As mail says it.
    pub(crate) name: &'static str,
    /// Where mail goes, and how the person signs in.
    pub(crate) address: &'static str,
}

/// Who gets message `n`: every third is Grace's.
pub(crate) fn recipient(n: u32) -> Person {
    let [ada, grace] = PEOPLE;
    if n.is_multiple_of(3) { grace } else { ada }
}

/// Numbers from here on are of large messages, of 1 MiB of what cannot be compressed.
pub(crate) const BULK_FROM: u32 = 500_000_000;
/// Random bytes in a large message: a MiB once they are written in base64.
const BULK_BYTES: u64 = 1_048_576 / 78 * 57;

/// Message number `n`, CRLF line ends, dot-stuffing not applied.
pub(crate) fn message(n: u32) -> String {
    let person = recipient(n);
    let mut rng = Rng::new(u64::from(n));
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
    line(&format!("To: {} <{}>", person.name, person.address));
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
    let bytes = match rng.below(20) {
        _ if n >= BULK_FROM => BULK_BYTES,
        0..12 => 0,
        12..19 => 2_000 + rng.below(60_000),
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

/// A small message that a client files by itself.
pub(crate) fn note(n: u32) -> String {
    format!(
        "From: clerk@customer.example\r\nSubject: Note {n}\r\n\
         Date: Sun, 22 Nov 2026 09:14:00 +0100\r\nMessage-ID: <note.{n}@customer.example>\r\n\
         {ID_HEADER}: {n}\r\n\r\nA note.\r\n"
    )
}

/// [`note`], made so long.
pub(crate) fn note_of(n: u32, len: usize) -> String {
    let (mut note, mut rng) = (note(n), Rng::new(u64::from(n)));
    while note.len().saturating_add(78) <= len {
        note.push_str(&rng.base64_line());
        note.push_str("\r\n");
    }
    note
}

/// A short text for a count of bytes.
pub(crate) fn bytes(n: u64) -> String {
    match n {
        0..10_000 => format!("{n} B"),
        10_000..10_000_000 => format!("{} KB", n / 1_000),
        _ => format!("{} MB", n / 1_000_000),
    }
}

/// xorshift64: the same on every machine.
pub(crate) struct Rng(u64);

impl Rng {
    /// From a seed; near seeds give far streams.
    pub(crate) fn new(seed: u64) -> Self {
        let mut rng = Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        // The first numbers of near seeds are near.
        for _ in 0..8 {
            rng.next();
        }
        rng
    }

    /// The next number.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number below `n`.
    pub(crate) fn below(&mut self, n: u64) -> u64 {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_the_same_each_time_and_unlike_the_next() {
        assert_eq!(message(7), message(7));
        assert_ne!(message(7), message(8));
    }

    #[test]
    fn messages_are_mail() {
        for n in 0..200 {
            let m = message(n);
            assert!(m.contains(&format!("\r\n{ID_HEADER}: {n}\r\n")));
            assert!(m.contains(recipient(n).address));
            assert!(m.ends_with("\r\n--=_lab--\r\n"));
            // RFC 5322 2.1.1: lines of at most 998 bytes, and no bare CR or LF.
            let lines = m.split("\r\n");
            assert!(lines.into_iter().all(|l| l.len() <= 998 && !l.contains(['\r', '\n'])));
        }
    }

    #[test]
    fn some_messages_are_large_and_most_are_not() {
        let sizes: Vec<usize> = (0..400).map(|n| message(n).len()).collect();
        assert!(sizes.iter().any(|s| *s > 300_000));
        assert!(sizes.iter().filter(|s| **s < 3_000).count() > 200);
    }
}
