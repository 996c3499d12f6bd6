//! The code that opens the recovery menu: made, hashed, compared.
//!
//! Invariants: what is kept is an Argon2id hash; case, spaces and dashes are how people copy a code,
//! not what they know. A code that is made has digits only, which every keyboard has in one place.

use super::reader::{At, Reader};
use crate::base::secret::{self, Secret};
use argon2::{Argon2, PasswordHash, PasswordHasher, PasswordVerifier};
use std::ops::Range;

/// Fewest letters and digits of a code.
const LEN_MIN: usize = 8;
/// Most characters of a code or its hash.
const LEN_MAX: usize = 256;
const HASH_PREFIX: &str = "$argon2";
/// A code has 16 digits.
const CODES: u64 = 10_000_000_000_000_000;

/// A new code, in groups that a person can copy: 16 digits.
#[must_use]
pub fn new_code() -> Secret<String> {
    let digits = format!("{:016}", u64::from_be_bytes(secret::random()) % CODES);
    let mut code = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && i.is_multiple_of(4) {
            code.push('-');
        }
        code.push(digit);
    }
    Secret::new(code)
}

/// Whether `typed` is the code that `hash` was made from. Takes tens of milliseconds.
#[must_use]
pub fn code_fits(hash: &str, typed: &Secret<String>) -> bool {
    let Ok(hash) = PasswordHash::new(hash) else { return false };
    let plain = plain(typed.expose());
    typed.expose().len() <= LEN_MAX
        && Argon2::default().verify_password(plain.expose().as_bytes(), &hash).is_ok()
}

/// What is wrong with a code or its hash, in both languages.
pub(super) fn fault(code: &str) -> Option<(String, String)> {
    let is_hash = code.starts_with(HASH_PREFIX);
    let fits = if is_hash {
        PasswordHash::new(code).is_ok()
    } else {
        plain(code).expose().len() >= LEN_MIN
    };
    (!fits || code.len() > LEN_MAX).then(|| {
        (
            format!(
                "`recovery_code` must have at least {LEN_MIN} letters or digits; a hash must be whole"
            ),
            format!(
                "`recovery_code` muss mindestens {LEN_MIN} Buchstaben oder Ziffern haben; eine \
                 Prüfsumme muss vollständig sein"
            ),
        )
    })
}

/// The hash of a code; a hash stays what it is.
pub(super) fn hashed(r: &mut Reader<'_>, code: &At<String>) -> Option<String> {
    if code.value.starts_with(HASH_PREFIX) {
        return Some(code.value.clone());
    }
    let salt: [u8; 16] = secret::random();
    let hash =
        Argon2::default().hash_password_with_salt(plain(&code.value).expose().as_bytes(), &salt);
    match hash {
        Ok(hash) => Some(hash.to_string()),
        Err(e) => {
            r.error(
                code.line,
                format!("`recovery_code` cannot be hashed ({e}): is there enough memory?"),
                format!("`recovery_code` ist nicht zu verarbeiten ({e}): reicht der Speicher?"),
            );
            None
        }
    }
}

/// `text` with `hash` in the place of the code.
pub(super) fn without(text: &str, code: Option<Range<usize>>, hash: Option<&str>) -> String {
    let mut text = text.to_owned();
    if let (Some(span), Some(hash)) = (code, hash)
        && text.get(span.clone()).is_some()
    {
        text.replace_range(span, &format!("\"{hash}\""));
    }
    text
}

fn plain(code: &str) -> Secret<String> {
    let letters = code.chars().filter(char::is_ascii_alphanumeric);
    Secret::new(letters.map(|c| c.to_ascii_lowercase()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_long_and_differ() {
        let (one, other) = (new_code(), new_code());
        assert_eq!(one.expose().len(), 16 + 3);
        assert_ne!(one.expose(), other.expose());
        assert!(fault(one.expose()).is_none());
        assert!(fault("12-34-56-7").is_some());
        assert!(fault("$argon2id$v=19$broken!").is_some());
    }
}
