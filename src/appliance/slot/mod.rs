//! The two places of the boot disk that hold a system, and what goes into them.
//!
//! [`env`] is how the boot loader and we agree on which one starts; [`package`] is the signed file
//! that an update comes in, [`keys`] who may sign it.
//!
//! Invariants: the running slot is never written; nothing unsigned reaches a slot. Deliberately
//! absent: the loader's own files (shim, GRUB, `grub.cfg`), which no update touches.

pub mod digest;
pub mod env;
pub mod keys;
pub mod package;
pub mod version;

use super::report::Slot;

impl Slot {
    /// `a` or `b`, as in GRUB's environment and in the kernel's arguments.
    #[must_use]
    pub const fn letter(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
        }
    }

    /// The slot that is called so; `None` for anything but `a` and `b`.
    #[must_use]
    pub fn of_letter(letter: &[u8]) -> Option<Self> {
        match letter {
            b"a" => Some(Self::A),
            b"b" => Some(Self::B),
            _ => None,
        }
    }
}

impl std::fmt::Display for Slot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::A => "A",
            Self::B => "B",
        })
    }
}
