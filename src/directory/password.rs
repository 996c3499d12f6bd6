//! Making and checking secrets. Pure work, no store.

use crate::base::secret::{self, Secret};
use argon2::password_hash::phc::{Output, ParamsString, Salt};
use argon2::{Algorithm, Argon2, Block, Params, PasswordHash, Version};
use understudy_proto::directory::Secret as Proof;
use understudy_proto::time::UnixMs;

/// Random bytes of an app password: 160 bits, 32 characters.
const APP_PASSWORD_BYTES: usize = 20;
/// RFC 4648 base32, lower case: no letter is mistaken for a digit.
const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// A fresh password, in groups that a person can copy.
pub(super) fn new_plain() -> Secret<String> {
    let random: [u8; APP_PASSWORD_BYTES] = secret::random();
    Secret::new(random.chunks(5).map(base32).collect::<Vec<_>>().join("-"))
}

/// A fresh app password, in groups that a person can copy, and its proof; it ends with `until`.
pub(super) fn new_app_password(until: Option<UnixMs>) -> (Secret<String>, Proof) {
    let plain = new_plain();
    let salt = secret::random();
    let hash = app_hash(&salt, plain.expose());
    let proof = match until {
        Some(until) => Proof::Blake3Until { salt, hash, until },
        None => Proof::Blake3 { salt, hash },
    };
    (plain, proof)
}

/// Eight letters for five bytes.
pub(super) fn base32(five: &[u8]) -> String {
    let bits = five.iter().fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte));
    let letter = |shift: u32| {
        let index = usize::try_from(bits >> (shift * 5) & 31).unwrap_or_default();
        char::from(ALPHABET.get(index).copied().unwrap_or(b'a'))
    };
    (0..8).rev().map(letter).collect()
}

/// Case, spaces and dashes are how people copy, not what they know.
fn app_hash(salt: &[u8; 32], plain: &str) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_keyed(salt);
    for byte in plain.bytes().filter(u8::is_ascii_alphanumeric) {
        hasher.update(&[byte.to_ascii_lowercase()]);
    }
    hasher.finalize().into()
}

/// The memory that a hash takes, kept from one to the next.
#[derive(Default)]
pub(super) struct Bench(Vec<Block>);

impl Bench {
    fn hash(
        &mut self,
        argon: &Argon2<'_>,
        plain: &Secret<String>,
        salt: &[u8],
        out: &mut [u8],
    ) -> argon2::Result<()> {
        let blocks = argon.params().block_count();
        let plain = plain.expose().as_bytes();
        if blocks > Argon2::default().params().block_count() {
            // Made elsewhere, and dearer than ours: not for keeping.
            return argon.hash_password_into(plain, salt, out);
        }
        if self.0.len() < blocks {
            self.0.resize(blocks, Block::new());
        }
        let memory = self.0.get_mut(..blocks).unwrap_or_default();
        argon.hash_password_into_with_memory(plain, salt, out, memory)
    }
}

/// Hashes a person's password: argon2id, 19 MiB, two passes (OWASP's recommendation). Takes tens of
/// milliseconds of a core: never on an async thread.
pub(super) fn hash(
    bench: &mut Bench,
    plain: &Secret<String>,
) -> Result<Proof, argon2::password_hash::Error> {
    let salt: [u8; 16] = secret::random();
    let mut out = [0; Params::DEFAULT_OUTPUT_LEN];
    let argon = Argon2::default();
    bench.hash(&argon, plain, &salt, &mut out)?;
    let phc = PasswordHash {
        algorithm: Algorithm::default().ident(),
        version: Some(Version::default().into()),
        params: ParamsString::try_from(argon.params())?,
        salt: Some(Salt::new(&salt)?),
        hash: Some(Output::new(&out)?),
    };
    Ok(Proof::Argon2id(phc.to_string()))
}

/// Whether `plain` is the app password that `proof` was made from; no other proof is one.
pub(super) fn is_app_password(proof: &Proof, plain: &Secret<String>) -> bool {
    let (Proof::Blake3 { salt, hash } | Proof::Blake3Until { salt, hash, .. }) = proof else {
        return false;
    };
    // blake3::Hash compares in constant time.
    blake3::Hash::from(app_hash(salt, plain.expose())) == blake3::Hash::from(*hash)
}

/// Whether `plain` is the person's password that `proof` was made from; no other proof is one. As
/// slow as [`hash`].
pub(super) fn verify(bench: &mut Bench, proof: &Proof, plain: &Secret<String>) -> bool {
    let Proof::Argon2id(phc) = proof else { return false };
    matches(bench, phc, plain).unwrap_or(false)
}

/// `None` for what cannot be read.
fn matches(bench: &mut Bench, phc: &str, plain: &Secret<String>) -> Option<bool> {
    let phc = PasswordHash::new(phc).ok()?;
    let (salt, expected) = (phc.salt?, phc.hash?);
    let algorithm = Algorithm::try_from(phc.algorithm.as_str()).ok()?;
    let version = phc.version.map(Version::try_from).transpose().ok()?.unwrap_or_default();
    let argon = Argon2::new(algorithm, version, Params::try_from(&phc).ok()?);
    let mut out = vec![0; expected.len()];
    bench.hash(&argon, plain, salt.as_ref(), &mut out).ok()?;
    // Output compares in constant time.
    Some(Output::new(&out).ok()? == expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_app_password_is_long_and_forgives_how_it_is_typed() {
        let (plain, proof) = new_app_password(None);
        assert_eq!(plain.expose().len(), 32 + 3);
        assert!(is_app_password(&proof, &plain));
        let typed = plain.expose().replace('-', " ").to_uppercase();
        assert!(is_app_password(&proof, &Secret::new(typed)));
        let (other, until) = new_app_password(Some(UnixMs(5)));
        assert!(is_app_password(&until, &other) && !is_app_password(&until, &plain));
        assert!(!is_app_password(&proof, &other));
        assert!(!is_app_password(&proof, &Secret::new(String::new())));
    }

    #[test]
    fn a_password_is_proved_by_itself_alone() {
        let plain = Secret::new("correct horse".to_owned());
        let mut bench = Bench::default();
        let proof = hash(&mut bench, &plain).unwrap();
        assert!(matches!(&proof, Proof::Argon2id(phc) if phc.starts_with("$argon2id$")));
        assert!(verify(&mut bench, &proof, &plain));
        assert!(!verify(&mut bench, &proof, &Secret::new("Correct horse".to_owned())));
        assert!(!verify(&mut bench, &Proof::Argon2id("damaged".to_owned()), &plain));
        assert!(!is_app_password(&proof, &plain));
    }

    /// What others made, and what releases before this one wrote, is read alike.
    #[test]
    fn the_memory_that_is_kept_changes_no_hash() {
        use argon2::{CustomizedPasswordHasher, PasswordHasher, PasswordVerifier};
        let plain = Secret::new("correct horse".to_owned());
        let mut bench = Bench::default();
        let ours = hash(&mut bench, &plain).unwrap();
        let Proof::Argon2id(ours) = ours else { unreachable!("a person's") };
        let parsed = PasswordHash::new(&ours).unwrap();
        assert!(Argon2::default().verify_password(b"correct horse", &parsed).is_ok());
        let theirs = Argon2::default().hash_password_with_salt(b"correct horse", &[7; 16]).unwrap();
        assert!(verify(&mut bench, &Proof::Argon2id(theirs.to_string()), &plain));
        for (m, t, p) in [(64, 1, 1), (64, 3, 2), (32_768, 1, 1)] {
            let params = Params::new(m, t, p, Some(24)).unwrap();
            let other = Argon2::default()
                .hash_password_customized(b"correct horse", &[7; 16], Some("argon2i"), None, params)
                .unwrap();
            let other = Proof::Argon2id(other.to_string());
            assert!(verify(&mut bench, &other, &plain), "{m} {t} {p}");
            assert!(!verify(&mut bench, &other, &Secret::new("wrong".to_owned())));
        }
    }
}
