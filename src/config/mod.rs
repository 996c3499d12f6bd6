//! The appliance's one TOML file: read, checked as a whole, turned into types that cannot be wrong.
//!
//! [`file`] says what may be written (and documents it), [`check`] refuses what nobody meant, with
//! line, column and a suggestion, [`resolved`] is what the rest of the program sees, [`example`]
//! writes `configs/understudy.example.toml` from the same types.
//!
//! Invariants: all problems of a file are reported at once; a room gets its own section only; units
//! are in the types. Deliberately absent: tenants (they are data), secrets (they are in `data_dir`; the one
//! of a pair, which site files carry, has its form here).

mod agreement;
mod check;
pub mod example;
pub mod file;
mod pair_secret;
mod resolved;
#[cfg(test)]
mod tests;
mod timers;
mod witness;

pub use check::{ConfigError, Problem, similar};
pub use pair_secret::{NotAPairSecret, PairSecret};
pub use resolved::{
    Acme, Cidr, Config, Imap, Listen, Management, Pair, PairWitness, Relay, Smtp, Store, Tls,
    TlsFiles, Vrrp, VrrpChecksum, VrrpOrigin, VrrpTakeover, VrrpTrack, is_domain,
};
pub use witness::{Witness, WitnessPair};

use std::io::Read;
use std::path::Path;

/// Longest configuration file in bytes.
pub const FILE_LEN_MAX: u64 = 1024 * 1024;

/// Reads and checks the file at `path`.
pub fn load(path: &Path) -> Result<Config, ConfigError> {
    parse(&text_of(path)?).map_err(|e| e.in_file(path))
}

/// Reads and checks the file of a witness at `path`.
pub fn load_witness(path: &Path) -> Result<Witness, ConfigError> {
    witness::parse(&text_of(path)?).map_err(|e| e.in_file(path))
}

fn text_of(path: &Path) -> Result<String, ConfigError> {
    let read = |source| ConfigError::Read { path: path.to_owned(), source };
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(read)?;
    file.take(FILE_LEN_MAX + 1).read_to_string(&mut text).map_err(read)?;
    if u64::try_from(text.len()).unwrap_or(u64::MAX) > FILE_LEN_MAX {
        return Err(ConfigError::TooLong);
    }
    Ok(text)
}

/// Checks the text of a configuration file. Pure: touches neither disk nor network.
pub fn parse(text: &str) -> Result<Config, ConfigError> {
    if u64::try_from(text.len()).unwrap_or(u64::MAX) > FILE_LEN_MAX {
        return Err(ConfigError::TooLong);
    }
    let (file, places) = check::read(text)?;
    resolved::resolve(&file, &places)
}
