//! Making and checking secrets. Pure work, no store.

use crate::base::secret::{self, Secret};
use argon2::{Argon2, PasswordHash, PasswordHasher, PasswordVerifier};
use understudy_proto::directory::Secret as Proof;

/// Random bytes of an app password: 160 bits, 32 characters.
const APP_PASSWORD_BYTES: usize = 20;
/// RFC 4648 base32, lower case: no letter is mistaken for a digit.
const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// A fresh app password, in groups that a person can copy, and its proof.
pub(super) fn new_app_password() -> (Secret<String>, Proof) {
    let random: [u8; APP_PASSWORD_BYTES] = secret::random();
    let mut plain = String::new();
    for (i, chunk) in random.chunks(5).enumerate() {
        let bits = chunk.iter().fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte));
        if i > 0 {
            plain.push('-');
        }
        for shift in (0..8).rev() {
            let index = usize::try_from(bits >> (shift * 5) & 31).unwrap_or_default();
            plain.push(char::from(ALPHABET.get(index).copied().unwrap_or(b'a')));
        }
    }
    let salt = secret::random();
    let hash = app_hash(&salt, &plain);
    (Secret::new(plain), Proof::Blake3 { salt, hash })
}

/// Case, spaces and dashes are how people copy, not what they know.
fn app_hash(salt: &[u8; 32], plain: &str) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_keyed(salt);
    for byte in plain.bytes().filter(u8::is_ascii_alphanumeric) {
        hasher.update(&[byte.to_ascii_lowercase()]);
    }
    hasher.finalize().into()
}

/// Hashes a person's password: argon2id, 19 MiB, two passes (OWASP's recommendation). Takes tens of
/// milliseconds of a core: never on an async thread.
pub(super) fn hash(plain: &Secret<String>) -> Result<Proof, argon2::password_hash::Error> {
    let salt: [u8; 16] = secret::random();
    let phc = Argon2::default().hash_password_with_salt(plain.expose().as_bytes(), &salt)?;
    Ok(Proof::Argon2id(phc.to_string()))
}

/// Whether `plain` is what `proof` was made from. As slow as [`hash`] for a person's password.
pub(super) fn verify(proof: &Proof, plain: &Secret<String>) -> bool {
    match proof {
        Proof::Blake3 { salt, hash } => {
            // blake3::Hash compares in constant time.
            blake3::Hash::from(app_hash(salt, plain.expose())) == blake3::Hash::from(*hash)
        }
        Proof::Argon2id(phc) => PasswordHash::new(phc).is_ok_and(|phc| {
            Argon2::default().verify_password(plain.expose().as_bytes(), &phc).is_ok()
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_app_password_is_long_and_forgives_how_it_is_typed() {
        let (plain, proof) = new_app_password();
        assert_eq!(plain.expose().len(), 32 + 3);
        assert!(verify(&proof, &plain));
        let typed = plain.expose().replace('-', " ").to_uppercase();
        assert!(verify(&proof, &Secret::new(typed)));
        let (other, _) = new_app_password();
        assert!(!verify(&proof, &other));
        assert!(!verify(&proof, &Secret::new(String::new())));
    }

    #[test]
    fn a_password_is_proved_by_itself_alone() {
        let plain = Secret::new("correct horse".to_owned());
        let proof = hash(&plain).unwrap();
        assert!(matches!(&proof, Proof::Argon2id(phc) if phc.starts_with("$argon2id$")));
        assert!(verify(&proof, &plain));
        assert!(!verify(&proof, &Secret::new("Correct horse".to_owned())));
        assert!(!verify(&Proof::Argon2id("damaged".to_owned()), &plain));
    }
}
