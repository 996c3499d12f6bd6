//! The secret that two appliances are given beforehand, so that they become a pair by themselves.
//!
//! ```text
//! "pair-" base64url( secret [20] ‖ check [4] )
//! ```
//! The check is the first four bytes of BLAKE3 over the secret: it catches typing errors. Absent on
//! purpose: what is derived from it (the pair's formation).

use crate::base::secret::{self, Secret};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::fmt;
use std::str::FromStr;

const PREFIX: &str = "pair-";
const CHECK_LEN: usize = 4;

/// 160 random bits. `Debug` hides them, `Display` is for the file that carries them.
#[derive(Clone)]
pub struct PairSecret(Secret<[u8; 20]>);

/// Text that is no pair secret, or one with a letter missing or changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "this is no pair secret, or a letter of it is missing or changed: it is \"{PREFIX}\" and 32 letters, \
     the same in both files, and `understudy site-config make` makes it"
)]
pub struct NotAPairSecret;

impl PairSecret {
    /// A new one.
    #[must_use]
    pub fn random() -> Self {
        Self(Secret::new(secret::random()))
    }

    /// The bits.
    #[must_use]
    pub const fn expose(&self) -> &[u8; 20] {
        self.0.expose()
    }
}

impl fmt::Display for PairSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = self.expose().to_vec();
        bytes.extend_from_slice(&check(self.expose()));
        write!(f, "{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl fmt::Debug for PairSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PairSecret([secret])")
    }
}

impl FromStr for PairSecret {
    type Err = NotAPairSecret;

    fn from_str(text: &str) -> Result<Self, NotAPairSecret> {
        let text = text.trim().strip_prefix(PREFIX).ok_or(NotAPairSecret)?;
        let bytes = URL_SAFE_NO_PAD.decode(text).unwrap_or_default();
        let (secret, found) = bytes.split_first_chunk::<20>().ok_or(NotAPairSecret)?;
        if found != check(secret) {
            return Err(NotAPairSecret);
        }
        Ok(Self(Secret::new(*secret)))
    }
}

fn check(secret: &[u8; 20]) -> [u8; CHECK_LEN] {
    let mut check = [0; CHECK_LEN];
    blake3::Hasher::new().update(secret).finalize_xof().fill(&mut check);
    check
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn it_comes_back_as_written_and_shows_itself_to_nobody() {
        let made = PairSecret::random();
        let text = made.to_string();
        assert_eq!(text.len(), PREFIX.len() + 32);
        assert_eq!(text.parse::<PairSecret>().unwrap().expose(), made.expose());
        assert!(!format!("{made:?}").contains(&text));
    }

    proptest! {
        #[test]
        fn a_changed_letter_is_noticed(secret: [u8; 20], at in 5usize..37, letter in "[A-Za-z0-9_-]") {
            let text = PairSecret(Secret::new(secret)).to_string();
            let mut changed = text.clone();
            changed.replace_range(at..=at, &letter);
            prop_assert!(changed == text || changed.parse::<PairSecret>().is_err());
        }

        #[test]
        fn no_text_breaks_the_reader(text in ".{0,60}") {
            prop_assert!(text.parse::<PairSecret>().is_err());
        }
    }
}
