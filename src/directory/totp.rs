//! Codes of a second factor (RFC 6238 with RFC 4226: HMAC-SHA-1, 30 s, six digits). Pure work, no
//! store. What every authenticator app can do is what is offered; there are no other parameters.

use super::password::base32;
use aws_lc_rs::hmac;
use understudy_proto::time::UnixMs;

/// RFC 6238 4.1: the time step.
const STEP_MS: u64 = 30_000;
/// RFC 6238 5.2: one step back and forth for clocks that differ.
const STEPS_OFF: u64 = 1;
const DIGITS: usize = 6;

fn step(now: UnixMs) -> u64 {
    now.0 / STEP_MS
}

/// RFC 4226 5.3: the last nibble says which four bytes count.
fn number(key: &[u8], step: u64) -> u32 {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, key);
    let tag = hmac::sign(&key, &step.to_be_bytes());
    let bytes = tag.as_ref();
    let at = bytes.last().map_or(0, |last| usize::from(last & 0x0f));
    let four = bytes.get(at..at + 4).and_then(|four| <[u8; 4]>::try_from(four).ok());
    u32::from_be_bytes(four.unwrap_or_default()) & 0x7fff_ffff
}

/// The step whose code this is, if it is one of now. Spaces are how people copy.
pub(super) fn step_of(key: &[u8], code: &str, now: UnixMs) -> Option<u64> {
    let digits: Vec<u8> = code.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
    if digits.len() != DIGITS || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let asked = digits.iter().fold(0_u32, |n, digit| n * 10 + u32::from(digit - b'0'));
    let now = step(now);
    // All of them are compared, so that time does not tell which was near.
    let mut found = None;
    for step in now.saturating_sub(STEPS_OFF)..=now.saturating_add(STEPS_OFF) {
        found = (number(key, step) % 1_000_000 == asked).then_some(step).or(found);
    }
    found
}

/// The secret as people type it: RFC 4648 6, without padding.
pub(super) fn written(key: &[u8; 20]) -> String {
    key.chunks(5).map(base32).collect::<String>().to_ascii_uppercase()
}

/// What authenticator apps read from a QR code (the Key Uri Format of Google Authenticator).
pub(super) fn uri(address: &str, secret: &str) -> String {
    let name: String = address.bytes().map(escaped).collect();
    format!("otpauth://totp/Understudy:{name}?secret={secret}&issuer=Understudy")
}

/// RFC 3986 2.1.
fn escaped(byte: u8) -> String {
    if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
        char::from(byte).to_string()
    } else {
        format!("%{byte:02X}")
    }
}

/// The code of now, as an authenticator app shows it.
#[cfg(test)]
pub(super) fn code_of(key: &[u8; 20], now: UnixMs) -> String {
    format!("{:06}", number(key, step(now)) % 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// RFC 6238 appendix B, SHA-1.
    const KEY: &[u8; 20] = b"12345678901234567890";
    const VECTORS: [(u64, u32); 6] = [
        (59, 94_287_082),
        (1_111_111_109, 7_081_804),
        (1_111_111_111, 14_050_471),
        (1_234_567_890, 89_005_924),
        (2_000_000_000, 69_279_037),
        (20_000_000_000, 65_353_130),
    ];

    #[test]
    fn codes_are_those_of_the_rfc() {
        for (seconds, eight) in VECTORS {
            let now = UnixMs(seconds * 1_000);
            assert_eq!(number(KEY, step(now)) % 100_000_000, eight, "{seconds}");
            let code = format!("{:06}", eight % 1_000_000);
            assert_eq!(step_of(KEY, &code, now), Some(seconds / 30));
            let (start, end) = code.split_at(3);
            assert_eq!(step_of(KEY, &format!(" {start} {end}\n"), now), Some(seconds / 30));
        }
    }

    #[test]
    fn a_code_counts_one_step_off_and_no_more() {
        let code = "287082"; // of step 1
        for (seconds, counts) in [(0, true), (30, true), (89, true), (90, false), (1_000, false)] {
            let found = step_of(KEY, code, UnixMs(seconds * 1_000));
            assert_eq!(found, counts.then_some(1), "{seconds}");
        }
        assert_eq!(step_of(KEY, "755224", UnixMs(0)), Some(0), "RFC 4226 appendix D");
    }

    #[test]
    fn the_secret_is_written_in_base32() {
        assert_eq!(written(KEY), "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ");
    }

    #[test]
    fn the_uri_names_the_account() {
        assert_eq!(
            uri("j\u{fc}r@b.example", "AB"),
            "otpauth://totp/Understudy:j%C3%BCr%40b.example?secret=AB&issuer=Understudy"
        );
    }

    proptest! {
        #[test]
        fn what_is_no_code_is_none(text in "\\PC{0,12}", now in any::<u64>()) {
            let digits: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
            let six = digits.len() == 6 && digits.bytes().all(|b| b.is_ascii_digit());
            let found = step_of(KEY, &text, UnixMs(now));
            prop_assert!(six || found.is_none());
        }

        #[test]
        fn the_code_of_now_is_right(key in any::<[u8; 20]>(), now in any::<u64>()) {
            let step = step(UnixMs(now));
            let code = format!("{:06}", number(&key, step) % 1_000_000);
            // Two steps may have one code.
            let found = step_of(&key, &code, UnixMs(now));
            prop_assert!(found.is_some_and(|found| found.abs_diff(step) <= STEPS_OFF));
        }
    }
}
