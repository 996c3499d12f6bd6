//! Envelope addresses after smtp-proto took their quoting off, and back onto the wire.
//!
//! Inside, an address is `local@domain` without quotes, split at its last `@`; [`on_wire`] puts
//! the quotes back. Deliberately absent: case folding and IDNA, which are the directory's.

use std::borrow::Cow;

/// Longest domain, RFC 5321 4.5.3.1.2, in octets.
pub const DOMAIN_MAX: usize = 255;

/// Longest label, RFC 1035 2.3.4, in octets.
const LABEL_MAX: usize = 63;

/// Splits at the last `@`; `None` when there is none or a side is empty.
#[must_use]
pub fn split(address: &str) -> Option<(&str, &str)> {
    address.rsplit_once('@').filter(|(local, domain)| !local.is_empty() && !domain.is_empty())
}

/// True for `local@domain` whose domain is a host name and that has no control characters.
#[must_use]
pub fn is_mailbox(address: &str) -> bool {
    split(address)
        .is_some_and(|(local, domain)| !local.chars().any(char::is_control) && is_domain(domain))
}

/// True for a host name: labels of letters, digits, hyphen, underscore or UTF-8 letters.
#[must_use]
pub fn is_domain(domain: &str) -> bool {
    let label_is_fine = |label: &str| {
        (1..=LABEL_MAX).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(|c| c.is_alphanumeric() || c == '-' || c == '_' || is_mark(c))
    };
    domain.len() <= DOMAIN_MAX && domain.split('.').all(label_is_fine)
}

/// Non-ASCII that is no letter but part of words (combining marks); never white space or control.
fn is_mark(c: char) -> bool {
    !c.is_ascii() && !c.is_whitespace() && !c.is_control()
}

/// The address as it stands between `<` and `>`: RFC 5321 4.1.2, quoted where it must be.
/// Control characters, which no accepted address has, become `?`.
#[must_use]
pub fn on_wire(address: &str) -> Cow<'_, str> {
    let Some((local, domain)) = address.rsplit_once('@') else {
        return if is_dot_string(address) || address.is_empty() {
            Cow::Borrowed(address)
        } else {
            Cow::Owned(quoted(address))
        };
    };
    let clean_domain = domain.chars().all(|c| is_atext(c) || c == '.');
    if is_dot_string(local) && clean_domain {
        return Cow::Borrowed(address);
    }
    let local = if is_dot_string(local) { local.to_owned() } else { quoted(local) };
    let domain: String =
        domain.chars().map(|c| if is_atext(c) || c == '.' { c } else { '?' }).collect();
    Cow::Owned(format!("{local}@{domain}"))
}

fn is_dot_string(local: &str) -> bool {
    local.split('.').all(|atom| !atom.is_empty() && atom.chars().all(is_atext))
}

/// RFC 5321 4.1.2 atext with RFC 6531 3.3's UTF8-non-ascii.
fn is_atext(c: char) -> bool {
    c.is_ascii_alphanumeric()
        || "!#$%&'*+-/=?^_`{|}~".contains(c)
        || (!c.is_ascii() && !c.is_control() && !c.is_whitespace())
}

fn quoted(local: &str) -> String {
    let mut out = String::with_capacity(local.len().saturating_add(2));
    out.push('"');
    for c in local.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => out.push('?'),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::{is_domain, is_mailbox, on_wire};

    #[test]
    fn quotes_return_where_rfc_5321_4_1_2_wants_them() {
        for (inside, wire) in [
            ("bob@example.net", "bob@example.net"),
            ("", ""),
            ("postmaster", "postmaster"),
            ("a b@example.net", "\"a b\"@example.net"),
            ("a@b@example.net", "\"a@b\"@example.net"),
            ("a\"b\\@example.net", "\"a\\\"b\\\\\"@example.net"),
            (".a@example.net", "\".a\"@example.net"),
            ("j\u{f6}rg@b\u{fc}cher.example", "j\u{f6}rg@b\u{fc}cher.example"),
            ("a\r\nX: y@example.net", "\"a??X: y\"@example.net"),
            ("a@example.net>\r\nX: y", "a@example.net???X??y"),
        ] {
            assert_eq!(on_wire(inside), wire, "{inside:?}");
        }
    }

    #[test]
    fn domains() {
        for good in ["a", "example.net", "xn--bcher-kva.example", "_dmarc.a", "b\u{fc}cher.example"]
        {
            assert!(is_domain(good), "{good}");
        }
        for bad in ["", ".", "a..b", "a.", "-a", "a-", "a b", "a>", "[192.0.2.1]", "a\u{85}b"] {
            assert!(!is_domain(bad), "{bad}");
        }
        assert!(!is_mailbox("bob"));
        assert!(!is_mailbox("@a"));
        assert!(!is_mailbox("a\u{1}@b"));
        assert!(is_mailbox("a b@c"));
    }
}
