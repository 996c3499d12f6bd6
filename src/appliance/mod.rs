//! The machine under the program: what the flashable image needs beyond a mail system.
//!
//! ```text
//! power on ─► boot: boot disk, site.toml, data disk, files of the system ─► boot.json
//!               └─► systemd: network, understudy run, screen, settle (is this slot good?)
//! ```
//!
//! Invariants: nothing here runs inside `understudy run`; what cannot be known for sure is left
//! alone and said ([`report::Trouble`]), so that a machine with two candidates loses neither.
//! Deliberately absent: shell scripts. Each step is a program that answers for its errors.

pub mod boot;
pub mod disk;
pub mod report;
pub mod screen;
pub mod site;
pub mod slot;
mod systemd;
pub mod update;
