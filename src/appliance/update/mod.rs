//! Updates: a signed image into the slot that does not run, tried, and kept only when it is healthy.
//!
//! ```text
//! check ─► install: write idle slot, compare ─► try=b tries=2 ─► restart
//!                                                                  └─► settle: healthy for a minute?
//!                                    active=b, good ◄── yes ──┘   └── no ──► restart, tries falls,
//!                                                                            the loader goes back
//! ```
//!
//! [`rules`] and [`trial`] decide and touch nothing; [`install`] does the writing over a [`Machine`];
//! [`driver`] is this machine. The loader's block ([`super::slot::env`]) is the truth about what
//! starts, [`record::Records`] what is known about images; where they differ the records follow.
//!
//! Invariants: until an image was compared byte for byte nothing names it; a slot that is known to be
//! good is never restarted by us; an image whose trials failed is not taken again unless told so.
//! [`roll`]
//! decides how a pair updates itself; `app::update` drives it. Deliberately absent: fetching updates.

pub mod driver;
pub mod install;
pub mod machine;
pub mod offer;
pub mod order;
pub mod record;
pub mod roll;
pub mod rules;
#[cfg(test)]
mod tests;
pub mod trial;

pub use install::Machine;

/// The data format that this program writes, once its image was marked good. A later format means
/// that [`DATA_FORMAT_LEAST`] and the reader of the old one are looked at, too.
pub const DATA_FORMAT: u32 = 1;
/// The oldest data format that this program reads.
pub const DATA_FORMAT_LEAST: u32 = 1;
/// How often a new image may start before it must be healthy. One start may be lost to a machine
/// that is overloaded or cut off.
pub const TRIES: u8 = 2;

#[cfg(test)]
mod format_tests {
    use super::{DATA_FORMAT, DATA_FORMAT_LEAST};

    /// What the image says in its manifest of the formats is what the program in it does.
    #[test]
    fn image_and_program_name_the_same_data_formats() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/image/data-format");
        let text = std::fs::read_to_string(path).unwrap();
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let said: Vec<(&str, u32)> = lines
            .map(|line| {
                let (name, number) = line.split_once(' ').unwrap();
                (name, number.parse().unwrap())
            })
            .collect();
        assert_eq!(said, [("data_format", DATA_FORMAT), ("data_format_least", DATA_FORMAT_LEAST)]);
    }
}
