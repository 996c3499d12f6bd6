//! Where the hash of the recovery code is.
//!
//! Invariants: only a hash is ever taken. `site::code_fits` compares it with what was typed.

use std::io::Read;
use std::path::{Path, PathBuf};

/// Longest file that is read, in bytes.
const FILE_LEN_MAX: u64 = 256 * 1024;
/// How a hash begins; anything else is no hash, and a code in clear is never taken.
const HASH_PREFIX: &str = "$argon2";

/// The hash from the first of `files` that has one: a file that is nothing else, or a site file.
pub(super) fn hash(files: &[PathBuf]) -> Option<String> {
    files.iter().find_map(|file| find(&text_of(file)?))
}

fn text_of(path: &Path) -> Option<String> {
    let mut text = String::new();
    std::fs::File::open(path).ok()?.take(FILE_LEN_MAX).read_to_string(&mut text).ok()?;
    Some(text)
}

fn find(text: &str) -> Option<String> {
    let hash = if text.starts_with(HASH_PREFIX) {
        text.trim().to_owned()
    } else {
        let table: toml::Table = text.parse().ok()?;
        table.get("recovery_code")?.as_str()?.to_owned()
    };
    hash.starts_with(HASH_PREFIX).then_some(hash)
}

#[cfg(test)]
pub(super) fn hash_of(code: &str) -> String {
    use argon2::{Argon2, PasswordHasher};
    let params = argon2::Params::new(64, 1, 1, None).unwrap();
    let argon = Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
    argon.hash_password_with_salt(code.as_bytes(), &[7; 16]).unwrap().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_found_as_a_hash_only() {
        let dir = tempfile::tempdir().unwrap();
        let (own, site) = (dir.path().join("own"), dir.path().join("site.toml"));
        let files = [own.clone(), site.clone()];
        assert_eq!(hash(&files), None);
        std::fs::write(&site, "name = \"a\"\nrecovery_code = \"1234-5678\"\n").unwrap();
        assert_eq!(hash(&files), None, "a code in clear is no hash");
        let made = hash_of("12345678");
        std::fs::write(&site, format!("recovery_code = \"{made}\"\n[pair]\n")).unwrap();
        assert_eq!(hash(&files).as_ref(), Some(&made));
        std::fs::write(&own, format!("{}\n", hash_of("other"))).unwrap();
        assert!(hash(&files).is_some_and(|h| h != made));
    }
}
