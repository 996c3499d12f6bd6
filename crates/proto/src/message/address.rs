//! RFC 5322 3.4 address lists, with the obsolete forms of 4.4 and what senders make of them.
//!
//! Tolerant: any bytes give a list. Groups are flattened with markers as RFC 9051 7.5.2 wants them;
//! source routes (`adl`) are dropped. Names keep their encoded words: [`super::header::decode_words`]
//! makes them readable. Deliberately absent: judging whether an address can receive mail.

use super::header;

/// Most entries of one list, markers included; more are dropped.
pub const ADDRESSES_MAX: usize = 2_000;
/// Longest encoded word in bytes that may hold characters which would otherwise end a phrase.
const ENCODED_WORD_LEN_MAX: usize = 1_024;

/// Longest domain literal in bytes that may hold characters which would otherwise end an address.
const DOMAIN_LITERAL_LEN_MAX: usize = 128;

/// One entry of a list. RFC 9051 7.5.2: without a `host` it marks where a group starts (`mailbox` is
/// the group's name) or, without a `mailbox` too, where it ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Address {
    /// The display name, quoting removed; or the comment that stands in for it.
    pub name: Option<Vec<u8>>,
    /// The local part, quoting removed.
    pub mailbox: Option<Vec<u8>>,
    /// The domain; empty when the address has none.
    pub host: Option<Vec<u8>>,
}

impl Address {
    /// `Name <mailbox@host>` as a person reads it; `None` for a group's markers.
    #[must_use]
    pub fn display(&self) -> Option<String> {
        let (mailbox, host) = (self.mailbox.as_ref()?, self.host.as_ref()?);
        let mut address = header::decode_words(mailbox);
        if !host.is_empty() {
            address.push('@');
            address.push_str(&header::decode_words(host));
        }
        Some(match &self.name {
            Some(name) => format!("{} <{address}>", header::decode_words(name)),
            None => address,
        })
    }
}

/// Reads the raw value of an address field.
#[must_use]
pub fn parse(value: &[u8]) -> Vec<Address> {
    let mut parser = Parser { rest: value, ..Parser::default() };
    while parser.list.len() < ADDRESSES_MAX && parser.step() {}
    parser.end_group();
    parser.list
}

/// A run of characters between the specials of a list.
#[derive(Debug)]
struct Word {
    bytes: Vec<u8>,
    /// White space or a comment stood before it.
    apart: bool,
    /// It is an unquoted `@`.
    at: bool,
    quoted: bool,
}

#[derive(Debug, Default)]
struct Parser<'a> {
    rest: &'a [u8],
    list: Vec<Address>,
    words: Vec<Word>,
    comment: Option<Vec<u8>>,
    apart: bool,
    /// One of `words` is an `@`.
    seen_at: bool,
    in_group: bool,
    /// A quote without an end was seen: quotes behind it have none either.
    quotes_end: bool,
}

impl Parser<'_> {
    /// Takes one token; `false` at the end.
    fn step(&mut self) -> bool {
        let Some(b) = self.rest.first().copied() else {
            self.end_address();
            return false;
        };
        match b {
            b',' => {
                self.advance(1);
                self.end_address();
            }
            b';' => {
                self.advance(1);
                self.end_address();
                // Outside a group it is how some senders separate addresses.
                self.end_group();
            }
            b':' if !self.in_group && !self.seen_at => {
                self.advance(1);
                let name = phrase(&self.words);
                self.clear();
                self.in_group = true;
                self.list.push(Address { mailbox: Some(name), ..Address::default() });
            }
            b'<' => {
                self.advance(1);
                self.angle();
            }
            _ => self.word(),
        }
        true
    }

    fn advance(&mut self, n: usize) {
        self.rest = self.rest.get(n..).unwrap_or_default();
    }

    fn clear(&mut self) {
        self.words.clear();
        self.comment = None;
        self.apart = false;
        self.seen_at = false;
    }

    fn end_group(&mut self) {
        if std::mem::take(&mut self.in_group) {
            self.list.push(Address::default());
        }
    }

    /// Takes white space, a comment, a quoted string, a domain literal, an `@` or an atom.
    fn word(&mut self) {
        let Some(b) = self.rest.first().copied() else { return };
        if b.is_ascii_whitespace() || b == 0 {
            self.apart = true;
            return self.advance(1);
        }
        if let Some(len) = header::comment_len(self.rest) {
            let text = self.rest.get(1..len).unwrap_or_default();
            let text = text.strip_suffix(b")").unwrap_or(text);
            self.comment = Some(unescape(text));
            self.apart = true;
            return self.advance(len);
        }
        let mut quoted = false;
        let (bytes, len) = match b {
            b'"' if !self.quotes_end => {
                let (text, len) = header::quoted(self.rest);
                quoted = len > 1 && self.rest.get(len - 1) == Some(&b'"');
                if quoted {
                    (text, len)
                } else {
                    self.quotes_end = true;
                    (b"\"".to_vec(), 1)
                }
            }
            b'[' => {
                let near = self.rest.get(..DOMAIN_LITERAL_LEN_MAX).unwrap_or(self.rest);
                let end = memchr::memchr3(b']', b',', b'>', near);
                let len = match end {
                    Some(end) if self.rest.get(end) == Some(&b']') => end + 1,
                    _ => 1,
                };
                (self.rest.get(..len).unwrap_or_default().to_vec(), len)
            }
            b'@' => (vec![b'@'], 1),
            _ => {
                let len = encoded_word_len(self.rest).unwrap_or_else(|| atom_len(self.rest));
                (self.rest.get(..len).unwrap_or_default().to_vec(), len)
            }
        };
        let apart = std::mem::take(&mut self.apart);
        self.seen_at |= b == b'@';
        self.words.push(Word { bytes, apart, at: b == b'@', quoted });
        self.advance(len);
    }

    /// RFC 5322 3.4 angle-addr, after its `<`; what was read before is the name.
    fn angle(&mut self) {
        let name = (!self.words.is_empty()).then(|| phrase(&self.words));
        self.words.clear();
        self.apart = false;
        // RFC 5322 4.4: a route of domains may stand before the address.
        self.rest = self.rest.trim_ascii_start();
        if self.rest.first() == Some(&b'@') {
            let mut near = self.rest.iter().take(DOMAIN_LITERAL_LEN_MAX);
            let end = near.position(|b| matches!(b, b':' | b'>')).unwrap_or(0);
            self.advance(if self.rest.get(end) == Some(&b':') { end + 1 } else { 1 });
        }
        while let Some(b) = self.rest.first() {
            match b {
                b'>' => {
                    self.advance(1);
                    break;
                }
                b',' | b';' | b'<' => break,
                _ => self.word(),
            }
        }
        let (_, mailbox, host) = split(&self.words);
        self.clear();
        // A comment right behind is the name of an address that has none before it.
        let name = name.or_else(|| {
            while self.rest.first().is_some_and(|b| b.is_ascii_whitespace() || *b == b'(') {
                self.word();
            }
            self.comment.take()
        });
        self.clear();
        let name = name.filter(|n| !n.is_empty());
        self.list.push(Address { name, mailbox: Some(mailbox), host: Some(host) });
    }

    /// An address without angle brackets ended, or nothing did.
    fn end_address(&mut self) {
        if !self.words.is_empty() {
            let (name, mailbox, host) = split(&self.words);
            let name = if name.is_empty() { self.comment.take() } else { Some(name) };
            let name = name.filter(|n| !n.is_empty());
            self.list.push(Address { name, mailbox: Some(mailbox), host: Some(host) });
        }
        self.clear();
    }
}

/// Words as a display name: one space where there was any.
fn phrase(words: &[Word]) -> Vec<u8> {
    let mut out = Vec::new();
    for (i, word) in words.iter().enumerate() {
        if i > 0 && word.apart {
            out.push(b' ');
        }
        out.extend_from_slice(&word.bytes);
    }
    out
}

/// Words as what stands before an address, its local part and its domain.
fn split(words: &[Word]) -> (Vec<u8>, Vec<u8>, Vec<u8>) {
    let Some(at) = words.iter().rposition(|w| w.at) else {
        return (Vec::new(), phrase(words), Vec::new());
    };
    let (before, after) = words.split_at_checked(at).unwrap_or((words, &[]));
    // RFC 5322 4.4: white space may stand around the dots of a local part and of a domain.
    let mut first = before.len().saturating_sub(1);
    while let Some([left, right]) = first.checked_sub(1).and_then(|i| before.get(i..i + 2)) {
        let dotted = !left.quoted && left.bytes.ends_with(b".")
            || !right.quoted && right.bytes.starts_with(b".");
        if right.apart && !dotted {
            break;
        }
        first -= 1;
    }
    let (name, local) = before.split_at_checked(first).unwrap_or((before, &[]));
    let join = |words: &[Word]| words.iter().flat_map(|w| w.bytes.iter().copied()).collect();
    let host: Vec<u8> = join(after.get(1..).unwrap_or_default());
    (phrase(name), join(local), host)
}

fn atom_len(bytes: &[u8]) -> usize {
    let ends = |b: &u8| b.is_ascii_whitespace() || b"\0,;:<@(\"[".contains(b);
    // A special that has no meaning where it stands is taken as an atom of its own, as is `>`.
    bytes.iter().skip(1).position(|b| ends(b) || *b == b'>').map_or(bytes.len(), |i| i + 1)
}

/// Length of the encoded word that `bytes` starts with. Senders leave commas and the like in them.
fn encoded_word_len(bytes: &[u8]) -> Option<usize> {
    let bytes = bytes.get(..ENCODED_WORD_LEN_MAX).unwrap_or(bytes);
    if !bytes.starts_with(b"=?") {
        return None;
    }
    let mut marks = bytes.iter().enumerate().skip(2).filter(|(_, b)| **b == b'?').map(|(i, _)| i);
    let text = marks.nth(1)? + 1;
    let end = text + memchr::memmem::find(bytes.get(text..)?, b"?=")? + 2;
    let word = bytes.get(..end)?;
    (!word.iter().any(u8::is_ascii_whitespace)).then_some(end)
}

fn unescape(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut escaped = false;
    for b in text {
        if *b == b'\\' && !escaped {
            escaped = true;
        } else if !matches!(b, b'\r' | b'\n') {
            out.push(*b);
            escaped = false;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// `name|mailbox|host`, with `-` for what is absent.
    fn check(value: &str, expected: &[&str]) {
        let show = |b: &Option<Vec<u8>>| {
            b.as_ref().map_or_else(|| "-".to_owned(), |b| String::from_utf8_lossy(b).into_owned())
        };
        let list: Vec<_> = parse(value.as_bytes())
            .iter()
            .map(|a| format!("{}|{}|{}", show(&a.name), show(&a.mailbox), show(&a.host)))
            .collect();
        assert_eq!(list, expected, "{value}");
    }

    #[test]
    fn the_examples_of_rfc_5322() {
        // Appendix A.1.2, A.1.3, A.5, A.6.1, A.6.3.
        check(
            "\"Joe Q. Public\" <john.q.public@example.com>",
            &["Joe Q. Public|john.q.public|example.com"],
        );
        check(
            "Mary Smith <mary@x.test>, jdoe@example.org, Who? <one@y.test>",
            &["Mary Smith|mary|x.test", "-|jdoe|example.org", "Who?|one|y.test"],
        );
        check(
            "<boss@nil.test>, \"Giant; \\\"Big\\\" Box\" <sysservices@example.net>",
            &["-|boss|nil.test", "Giant; \"Big\" Box|sysservices|example.net"],
        );
        check(
            "A Group:Ed Jones <joe@where.test>,joe@where.test,John <jdoe@one.test>;",
            &[
                "-|A Group|-",
                "Ed Jones|joe|where.test",
                "-|joe|where.test",
                "John|jdoe|one.test",
                "-|-|-",
            ],
        );
        check("Undisclosed recipients:;", &["-|Undisclosed recipients|-", "-|-|-"]);
        check(
            "Pete(A nice \\) chap) <pete(his account)@silly.test(his host)>",
            &["Pete|pete|silly.test"],
        );
        check(
            "A Group(Some people)\r\n :Chris Jones <c@(Chris's host.)public.example>,\r\n \
             joe@example.org,\r\n John <jdoe@one.test> (my dear friend); (the end of the group)",
            &[
                "-|A Group|-",
                "Chris Jones|c|public.example",
                "-|joe|example.org",
                "John|jdoe|one.test",
                "-|-|-",
            ],
        );
        check(
            "(Empty list)(start)Hidden recipients  :(nobody(that I know))  ;",
            &["-|Hidden recipients|-", "-|-|-"],
        );
        check(
            "Joe Q. Public <john.q.public@example.com>",
            &["Joe Q. Public|john.q.public|example.com"],
        );
        check(
            "Mary Smith <@node.test:mary@example.net>, , jdoe@test  . example",
            &["Mary Smith|mary|example.net", "-|jdoe|test.example"],
        );
        check("John Doe <jdoe@machine(comment).  example>", &["John Doe|jdoe|machine.example"]);
    }

    #[test]
    fn what_senders_make_of_it() {
        check("jdoe@example.org (John Doe)", &["John Doe|jdoe|example.org"]);
        check("<jdoe@example.org> (John (the) Doe)", &["John (the) Doe|jdoe|example.org"]);
        check("John Doe jdoe@example.org", &["John Doe|jdoe|example.org"]);
        check("\"john doe\"@example.org", &["-|john doe|example.org"]);
        check("a@b.example; c@d.example", &["-|a|b.example", "-|c|d.example"]);
        check("root", &["-|root|"]);
        check("<>", &["-||"]);
        check("\"John <a@b.example>", &["\"John|a|b.example"]);
        check("John (oops <a@b.example>", &["oops <a@b.example>|John|"]);
        check("a@[IPv6:2001:db8::1], b@[1.2.3.4]", &["-|a|[IPv6:2001:db8::1]", "-|b|[1.2.3.4]"]);
        check("=?utf-8?Q?Doe,_John?= <j@x.example>", &["=?utf-8?Q?Doe,_John?=|j|x.example"]);
        check(
            "J\u{fc}rgen <j\u{fc}@b\u{fc}cher.example>",
            &["J\u{fc}rgen|j\u{fc}|b\u{fc}cher.example"],
        );
        check("A <a@x.example> B <b@x.example>", &["A|a|x.example", "B|b|x.example"]);
        check("A <a@x.example, B <b@x.example", &["A|a|x.example", "B|b|x.example"]);
        check("<@a.example,@b.example:u@h.example>", &["-|u|h.example"]);
        check("open: a@b.example", &["-|open|-", "-|a|b.example", "-|-|-"]);
        check(", ,\t,", &[]);
        check("", &[]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_list(v in prop::collection::vec(prop_oneof![
            prop::sample::select(b"<>@,;:\"\\()[]. =?a\r\n".to_vec()), any::<u8>()], 0..80)) {
            let list = parse(&v);
            let starts = list.iter().filter(|a| a.host.is_none() && a.mailbox.is_some()).count();
            let ends = list.iter().filter(|a| a.mailbox.is_none()).count();
            prop_assert_eq!(starts, ends);
        }
    }
}
