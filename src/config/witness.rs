//! The configuration of a witness: a file of its own, for a machine that is no appliance.
//!
//! ```toml
//! listen = "0.0.0.0:7401"
//! dir = "/var/lib/understudy-witness"
//!
//! [[pair]]
//! id = "…"                # what `understudy pair show` prints on a node
//! pins = ["…", "…"]
//! ```

use super::check::{ConfigError, Problem, invalid};
use super::resolved::hex;
use serde::Deserialize;
use std::net::{Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// Most pairs in one file.
const PAIRS_MAX: usize = 1_000;
/// Most pins of one pair: its two nodes, and two that are about to replace them.
const PINS_MAX: usize = 4;
/// A node that says nothing for so long has gone, unless the file says otherwise.
const IDLE_TIMEOUT_MS: i64 = 30_000;

/// A witness.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Witness {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Where it keeps its key and its registers.
    pub dir: PathBuf,
    /// How much is logged.
    pub log_level: log::LevelFilter,
    /// A node that says nothing for so long has gone.
    pub idle_timeout: Duration,
    /// Whom it serves.
    pub pairs: Vec<WitnessPair>,
}

/// A pair that a witness serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WitnessPair {
    /// Its id.
    pub id: [u8; 16],
    /// SHA-256 of its nodes' certificates; 1 to 4.
    pub pins: Vec<[u8; 32]>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default = "listen")]
    listen: String,
    dir: String,
    #[serde(default = "log_level")]
    log_level: String,
    #[serde(default = "idle_timeout")]
    idle_timeout_ms: i64,
    #[serde(default)]
    pair: Vec<Pair>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Pair {
    id: String,
    pins: Vec<String>,
}

fn listen() -> String {
    SocketAddr::from((Ipv6Addr::UNSPECIFIED, 7401)).to_string()
}

fn log_level() -> String {
    "info".to_owned()
}

fn idle_timeout() -> i64 {
    IDLE_TIMEOUT_MS
}

/// Checks the text of a witness's file.
pub(super) fn parse(text: &str) -> Result<Witness, ConfigError> {
    let file: File = toml::from_str(text).map_err(|e| {
        let place = e.span().and_then(|span| text.get(..span.start)).map(|before| {
            let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
            (before.matches('\n').count() + 1, column)
        });
        invalid(vec![Problem { place, text: e.message().replace('\n', "; ") }])
    })?;
    let mut problems = Vec::new();
    let mut problem = |text: String| problems.push(Problem { place: None, text });
    let listen = file.listen.parse().unwrap_or_else(|_| {
        let text = &file.listen;
        problem(format!("`listen` is {text:?}: write address and port, as in \"0.0.0.0:7401\""));
        SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0))
    });
    let log_level = file.log_level.parse().unwrap_or_else(|_| {
        problem("`log_level` must be error, warn, info, debug or trace".to_owned());
        log::LevelFilter::Info
    });
    let idle = u64::try_from(file.idle_timeout_ms).ok().filter(|n| (1_000..=3_600_000).contains(n));
    if idle.is_none() {
        problem("`idle_timeout_ms` must be 1000 to 3600000 milliseconds".to_owned());
    }
    if file.dir.is_empty() {
        problem("`dir` must be a path".to_owned());
    }
    if file.pair.len() > PAIRS_MAX {
        problem(format!("there may be at most {PAIRS_MAX} [[pair]]"));
    }
    let mut pairs: Vec<WitnessPair> = Vec::new();
    for Pair { id: text, pins } in file.pair.iter().take(PAIRS_MAX) {
        let Some(id) = hex(text) else {
            problem(format!("[[pair]] `id` is {text:?}: it must be 32 hexadecimal digits"));
            continue;
        };
        if pairs.iter().any(|pair| pair.id == id) {
            problem(format!("[[pair]] `id` {text} is there twice"));
        }
        if pins.is_empty() || pins.len() > PINS_MAX {
            problem(format!("[[pair]] {text}: `pins` must name 1 to {PINS_MAX} pins"));
        }
        let mut known = Vec::new();
        for pin in pins.iter().take(PINS_MAX) {
            match hex(pin) {
                Some(pin) => known.push(pin),
                None => problem(format!(
                    "[[pair]] {text}: the pin {pin:?} must be 64 hexadecimal digits"
                )),
            }
        }
        pairs.push(WitnessPair { id, pins: known });
    }
    let witness = Witness {
        listen,
        dir: file.dir.into(),
        log_level,
        idle_timeout: Duration::from_millis(idle.unwrap_or(1_000)),
        pairs,
    };
    if problems.is_empty() { Ok(witness) } else { Err(invalid(problems)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_witness_is_read_and_every_mistake_is_named() {
        let (id, pin) = ("ab".repeat(16), "cd".repeat(32));
        let text = format!("dir = \"/w\"\n[[pair]]\nid = \"{id}\"\npins = [\"{pin}\"]\n");
        let witness = parse(&text).unwrap();
        assert_eq!(witness.listen.port(), 7401);
        assert_eq!(witness.pairs, [WitnessPair { id: [0xab; 16], pins: vec![[0xcd; 32]] }]);
        let wrong = |text: &str| parse(text).unwrap_err().to_string();
        assert!(wrong("").contains("missing field `dir`"));
        assert!(wrong("dir = \"/w\"\nlisen = \"\"").contains("line 2, column 1: unknown field"));
        for (more, said) in [
            ("listen = \"7401\"".to_owned(), "as in \"0.0.0.0:7401\""),
            ("idle_timeout_ms = 1".to_owned(), "1000 to 3600000"),
            ("[[pair]]\nid = \"12\"\npins = []".to_owned(), "32 hexadecimal digits"),
            (format!("[[pair]]\nid = \"{id}\"\npins = []"), "1 to 4 pins"),
            (format!("[[pair]]\nid = \"{id}\"\npins = [\"12\"]"), "64 hexadecimal digits"),
        ] {
            let text = wrong(&format!("dir = \"/w\"\n{more}"));
            assert!(text.contains(said), "{text}");
        }
    }
}
