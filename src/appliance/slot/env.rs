//! GRUB's environment block: 1,024 bytes in which the loader and we agree on what starts.
//!
//! ```text
//! # GRUB Environment Block\n  active=a\n  try=b\n  tries=2\n  failed=\n  starts=0\n  ########…
//! ```
//!
//! Invariants: what is written has exactly the length that it had, so that the file stays where it
//! lies on the disk; our five variables come first and end within the first sector, so that a power
//! cut between two sectors leaves them as they were or as they are to be. A block that is no block
//! reads as the loader's own defaults. Deliberately absent: variables of others are kept as they
//! are, as far as they fit, and mean nothing to us.

use crate::appliance::report::Slot;

/// Length of the block, in bytes (`DEFAULT_ENVBLK_SIZE` of GRUB).
pub const LEN: usize = 1024;
/// What a block begins with (`GRUB_ENVBLK_SIGNATURE`).
const SIGNATURE: &[u8] = b"# GRUB Environment Block\n";
/// What fills a block up.
const PADDING: u8 = b'#';
/// Most trial boots that a block can ask for: the loader's script counts no further.
pub const TRIES_MAX: u8 = 3;

/// What the loader is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Env {
    /// The slot that starts.
    pub active: Slot,
    /// The slot that is to be tried, before `active`.
    pub trial: Option<Slot>,
    /// How often it may still be tried. The loader lowers it before each trial.
    pub tries: u8,
    /// The slot whose trials are used up; set by the loader, cleared by the next update.
    pub failed: Option<Slot>,
    /// How often `active` was started since it last came up. The loader raises it; whoever comes up clears
    /// it. After [`TRIES_MAX`] the other slot is started once.
    pub starts: u8,
    /// Lines of others, without their newline.
    pub(crate) others: Vec<Vec<u8>>,
}

impl Default for Env {
    /// What the loader's script assumes when there is no block.
    fn default() -> Self {
        Self { active: Slot::A, trial: None, tries: 0, failed: None, starts: 0, others: Vec::new() }
    }
}

impl Env {
    /// Reads a block; `None` when it is none (zeroed, for instance): the loader then goes by
    /// [`Env::default`], and cannot count. A value that we do not know reads as its default, too.
    #[must_use]
    pub fn read(block: &[u8]) -> Option<Self> {
        let mut rest = block.strip_prefix(SIGNATURE)?;
        let mut env = Self::default();
        while let Some((line, after)) = split_line(rest) {
            rest = after;
            let value_of = |name: &[u8]| line.strip_prefix(name)?.strip_prefix(b"=");
            if let Some(value) = value_of(b"active") {
                env.active = Slot::of_letter(value).unwrap_or(Slot::A);
            } else if let Some(value) = value_of(b"try") {
                env.trial = Slot::of_letter(value);
            } else if let Some(value) = value_of(b"tries") {
                env.tries = digit(value).filter(|n| *n <= TRIES_MAX).unwrap_or(0);
            } else if let Some(value) = value_of(b"failed") {
                env.failed = Slot::of_letter(value);
            } else if let Some(value) = value_of(b"starts") {
                env.starts = digit(value).filter(|n| *n <= TRIES_MAX).unwrap_or(0);
            } else if line.first().is_some_and(|first| *first != PADDING) {
                env.others.push(line.to_vec());
            }
        }
        Some(env)
    }

    /// The block that says this.
    #[must_use]
    pub fn write(&self) -> [u8; LEN] {
        let name = |slot: Option<Slot>| slot.map_or("", Slot::letter);
        let mut text = SIGNATURE.to_vec();
        text.extend_from_slice(
            format!(
                "active={}\ntry={}\ntries={}\nfailed={}\nstarts={}\n",
                self.active.letter(),
                name(self.trial),
                self.tries.min(TRIES_MAX),
                name(self.failed),
                self.starts.min(TRIES_MAX),
            )
            .as_bytes(),
        );
        for line in &self.others {
            if text.len() + line.len() < LEN {
                text.extend_from_slice(line);
                text.push(b'\n');
            }
        }
        let mut block = [PADDING; LEN];
        for (to, from) in block.iter_mut().zip(text) {
            *to = from;
        }
        block
    }
}

/// The first line and what is after it; `None` when no newline is left: what follows is padding. A
/// backslash takes the next byte with it, a newline, too (`grub_envblk_iterate`).
fn split_line(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut escaped = false;
    let end = text.iter().position(|byte| {
        let ends = *byte == b'\n' && !escaped;
        escaped = *byte == b'\\' && !escaped;
        ends
    })?;
    let (line, rest) = text.split_at_checked(end)?;
    Some((line, rest.get(1..)?))
}

fn digit(value: &[u8]) -> Option<u8> {
    match value {
        [digit @ b'0'..=b'9'] => Some(digit - b'0'),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::process::Command;

    fn slot() -> impl Strategy<Value = Slot> {
        prop_oneof![Just(Slot::A), Just(Slot::B)]
    }

    fn some() -> impl Strategy<Value = Env> {
        let maybe = || proptest::option::of(slot());
        let line = proptest::string::bytes_regex("[a-z_]{5,9}x=[a-z0-9 ]{0,60}").unwrap();
        let others = proptest::collection::vec(line, 0..9);
        (slot(), maybe(), 0..=TRIES_MAX, maybe(), 0..=TRIES_MAX, others).prop_map(
            |(active, trial, tries, failed, starts, others)| Env {
                active,
                trial,
                tries,
                failed,
                starts,
                others,
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(env in some()) {
            let block = env.write();
            prop_assert_eq!(Env::read(&block), Some(env.clone()));
            // A cut between the two sectors: ours are in the first.
            let mut torn = block.to_vec();
            torn.truncate(512);
            torn.resize(LEN, 0);
            let torn = Env::read(&torn).unwrap();
            prop_assert_eq!(
                (torn.active, torn.trial, torn.tries, torn.failed),
                (env.active, env.trial, env.tries, env.failed)
            );
        }

        #[test]
        fn any_bytes_are_read(bytes in proptest::collection::vec(any::<u8>(), 0..2 * LEN)) {
            for text in [bytes.clone(), [SIGNATURE, &bytes].concat()] {
                if let Some(env) = Env::read(&text) {
                    // What does not fit is left out; what is ours always fits.
                    let again = Env::read(&env.write()).unwrap();
                    prop_assert_eq!((again.active, again.trial), (env.active, env.trial));
                    prop_assert_eq!((again.tries, again.failed), (env.tries, env.failed));
                }
            }
        }
    }

    #[test]
    fn no_block_is_no_block() {
        assert_eq!(Env::read(&[0; LEN]), None);
        assert_eq!(Env::read(b""), None);
        let empty = [SIGNATURE, &[PADDING; 999][..]].concat();
        assert_eq!(Env::read(&empty), Some(Env::default()));
    }

    #[test]
    fn what_is_odd_reads_as_the_default() {
        let text = b"# GRUB Environment Block\n# WARNING\nactive=c\ntry=bb\ntries=12\nfailed=b\n##";
        let env = Env::read(text).unwrap();
        assert_eq!(env, Env { failed: Some(Slot::B), ..Env::default() });
        // The newline is part of the value, so the rest is, too.
        let text = b"# GRUB Environment Block\nother=1\\\nactive=b\ntry=b\n#";
        let env = Env::read(text).unwrap();
        assert_eq!((env.active, env.trial), (Slot::A, Some(Slot::B)));
        assert_eq!(env.others, [b"other=1\\\nactive=b".to_vec()]);
        assert_eq!(Env::read(&env.write()), Some(env));
    }

    /// GRUB's own program reads what we write, and we what it writes.
    #[test]
    fn it_agrees_with_grub_editenv() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("grubenv");
        let grub = |arguments: &[&str]| {
            let made = Command::new("grub-editenv").arg(&file).args(arguments).output();
            let made = made.expect("grub-editenv must be there: package grub-common");
            assert!(made.status.success(), "{made:?}");
            String::from_utf8(made.stdout).unwrap()
        };
        let env = Env {
            active: Slot::B,
            trial: Some(Slot::A),
            tries: 2,
            failed: None,
            starts: 1,
            others: vec![b"mine=1".to_vec()],
        };
        std::fs::write(&file, env.write()).unwrap();
        assert_eq!(grub(&["list"]), "active=b\ntry=a\ntries=2\nfailed=\nstarts=1\nmine=1\n");
        grub(&["set", "tries=0", "try=", "failed=a"]);
        let text = std::fs::read(&file).unwrap();
        assert_eq!(text.len(), LEN);
        let counted = Env { trial: None, tries: 0, failed: Some(Slot::A), ..env };
        assert_eq!(Env::read(&text), Some(counted.clone()));
        assert_eq!(counted.write().to_vec(), text, "byte for byte");
        std::fs::remove_file(&file).unwrap();
        grub(&["create"]);
        assert_eq!(Env::read(&std::fs::read(&file).unwrap()), Some(Env::default()));
    }
}
