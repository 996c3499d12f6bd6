//! Mailbox names: modified UTF-7 on the wire (RFC 3501 5.1.3), UTF-8 with `/` between levels inside.

/// The separator of levels in a mailbox's name.
pub const DELIMITER: char = '/';

/// The name of the mailbox that always exists.
pub const INBOX: &str = "INBOX";

/// Decodes a name from the wire. INBOX in any case is `INBOX`, as is that first level of a deeper
/// name. `None` for a broken encoding or a control character.
#[must_use]
pub fn decode(wire: &[u8]) -> Option<String> {
    let name = decode_pattern(wire)?;
    let (head, rest) = name.split_at_checked(INBOX.len()).unwrap_or((&name, ""));
    if head.eq_ignore_ascii_case(INBOX) && (rest.is_empty() || rest.starts_with(DELIMITER)) {
        return Some(format!("{INBOX}{rest}"));
    }
    Some(name)
}

/// Decodes a LIST pattern or reference: as [`decode`], without touching INBOX.
#[must_use]
pub fn decode_pattern(wire: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(wire).ok()?;
    let mut name = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((plain, after)) = rest.split_once('&') {
        name.push_str(plain);
        let (encoded, after) = after.split_once('-')?;
        if encoded.is_empty() {
            name.push('&');
        } else {
            decode_run(encoded, &mut name)?;
        }
        rest = after;
    }
    name.push_str(rest);
    if name.chars().any(char::is_control) { None } else { Some(name) }
}

/// Encodes a name for the wire: printable ASCII, never longer than five times the UTF-8.
#[must_use]
pub fn encode(name: &str) -> String {
    let mut wire = String::with_capacity(name.len());
    let mut run: Vec<u16> = Vec::new();
    for c in name.chars() {
        if matches!(c, ' '..='~') {
            encode_run(&mut run, &mut wire);
            wire.push(c);
            if c == '&' {
                wire.push('-');
            }
        } else {
            run.extend_from_slice(c.encode_utf16(&mut [0; 2]));
        }
    }
    encode_run(&mut run, &mut wire);
    wire
}

/// RFC 3501 5.1.3: base64 with `,` for `/` and without padding.
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,";

fn encode_run(run: &mut Vec<u16>, wire: &mut String) {
    if run.is_empty() {
        return;
    }
    wire.push('&');
    let mut bits: u32 = 0;
    let mut held = 0u32;
    let push = |six: u32, wire: &mut String| {
        let at = usize::try_from(six & 63).unwrap_or(0);
        wire.push(char::from(ALPHABET.get(at).copied().unwrap_or(b'A')));
    };
    for unit in run.drain(..) {
        bits = (bits << 16) | u32::from(unit);
        held += 16;
        while held >= 6 {
            held -= 6;
            push(bits >> held, wire);
        }
        bits &= (1 << held) - 1;
    }
    if held > 0 {
        push(bits << (6 - held), wire);
    }
    wire.push('-');
}

fn decode_run(encoded: &str, name: &mut String) -> Option<()> {
    let mut units = Vec::new();
    let mut bits: u32 = 0;
    let mut held = 0u32;
    for b in encoded.bytes() {
        let six = ALPHABET.iter().position(|&a| a == b)?;
        bits = (bits << 6) | u32::try_from(six).ok()?;
        held += 6;
        if held >= 16 {
            held -= 16;
            units.push(u16::try_from((bits >> held) & 0xffff).ok()?);
            bits &= (1 << held) - 1;
        }
    }
    // What is left is padding: fewer than six bits, all zero.
    if held >= 6 || bits != 0 {
        return None;
    }
    for c in char::decode_utf16(units) {
        name.push(c.ok()?);
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_have_one_wire_form() {
        for (name, wire) in [
            ("INBOX", "INBOX"),
            ("Entwürfe", "Entw&APw-rfe"),
            ("R&D", "R&-D"),
            // RFC 3501 5.1.3's own example.
            ("~peter/mail/台北/日本語", "~peter/mail/&U,BTFw-/&ZeVnLIqe-"),
            ("😀", "&2D3eAA-"),
            ("a b", "a b"),
        ] {
            assert_eq!(encode(name), wire);
            assert_eq!(decode(wire.as_bytes()).as_deref(), Some(name));
        }
        assert_eq!(decode(b"inbox").as_deref(), Some("INBOX"));
        assert_eq!(decode(b"iNbOx/sub").as_deref(), Some("INBOX/sub"));
        assert_eq!(decode(b"inboxes").as_deref(), Some("inboxes"));
        for bad in ["R&D", "&APw", "&!-", "&A-", "a\rb", "&2D0-"] {
            assert_eq!(decode(bad.as_bytes()), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn every_name_comes_back(name in "[^\\x00-\\x1f\\x7f-\\x9f]{0,40}") {
            prop_assert_eq!(decode_pattern(encode(&name).as_bytes()), Some(name));
        }

        #[test]
        fn any_bytes_decode_or_not(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            drop(decode(&bytes));
        }
    }
}
