//! Versions of images, in the order of <https://semver.org> (2.0.0, 11).
//!
//! `1.4.0-rc.1+g12ab34`: three numbers, a pre-release that comes before the release, and a build
//! that does not count. Deliberately absent: ranges.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

/// Longest version, in bytes.
pub const LEN_MAX: usize = 64;

/// A version. Two that differ in their build only are in no order, but not the same text.
#[derive(Clone, PartialEq, Eq)]
pub struct Version {
    numbers: [u64; 3],
    /// Empty for a release.
    pre: Vec<Part>,
    text: String,
}

/// A part of a pre-release; numbers come before words.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Number(u64),
    Word(String),
}

/// Text that is no version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a version looks like 1.4.0, 1.4.0-rc.1 or 1.4.0+build")]
pub struct NotAVersion;

impl Version {
    /// Whether `self` comes before `other`.
    #[must_use]
    pub fn is_older_than(&self, other: &Self) -> bool {
        let released = |version: &Self| version.pre.is_empty();
        self.numbers
            .cmp(&other.numbers)
            .then_with(|| released(self).cmp(&released(other)))
            .then_with(|| self.pre.cmp(&other.pre))
            == Ordering::Less
    }
}

impl FromStr for Version {
    type Err = NotAVersion;

    fn from_str(text: &str) -> Result<Self, NotAVersion> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '+');
        if text.len() > LEN_MAX || !text.chars().all(plain) {
            return Err(NotAVersion);
        }
        let without_build = text.split_once('+').map_or(text, |(version, _)| version);
        let (core, pre) = match without_build.split_once('-') {
            Some((core, pre)) => (core, pre.split('.').map(part).collect::<Result<_, _>>()?),
            None => (without_build, Vec::new()),
        };
        let mut given = core.split('.').map(number);
        let mut numbers = [0; 3];
        for number in &mut numbers {
            *number = given.next().flatten().ok_or(NotAVersion)?;
        }
        if given.next().is_some() {
            return Err(NotAVersion);
        }
        Ok(Self { numbers, pre, text: text.to_owned() })
    }
}

fn part(text: &str) -> Result<Part, NotAVersion> {
    if text.is_empty() {
        return Err(NotAVersion);
    }
    Ok(number(text).map_or_else(|| Part::Word(text.to_owned()), Part::Number))
}

fn number(text: &str) -> Option<u64> {
    if text.bytes().all(|b| b.is_ascii_digit()) { text.parse().ok() } else { None }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Version {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> Version {
        text.parse().unwrap()
    }

    #[test]
    fn the_order_is_that_of_semver() {
        let rising = [
            "0.9.10",
            "1.0.0-alpha",
            "1.0.0-alpha.1",
            "1.0.0-alpha.beta",
            "1.0.0-beta",
            "1.0.0-beta.2",
            "1.0.0-beta.11",
            "1.0.0-rc.1",
            "1.0.0",
            "1.0.1",
            "1.2.0",
            "10.0.0",
        ];
        for (i, a) in rising.iter().enumerate() {
            for (j, b) in rising.iter().enumerate() {
                assert_eq!(version(a).is_older_than(&version(b)), i < j, "{a} {b}");
            }
        }
        let (a, b) = (version("1.0.0+a"), version("1.0.0+b"));
        assert!(!a.is_older_than(&b) && !b.is_older_than(&a) && a != b);
        assert_eq!(version("1.0.0-x-y.2+b-1").to_string(), "1.0.0-x-y.2+b-1");
    }

    #[test]
    fn other_text_is_no_version() {
        for text in [
            "",
            "1",
            "1.2",
            "1.2.3.4",
            "1..2",
            "v1.2.3",
            "1.2.3-",
            "1.2.3-a..b",
            "1.2.-3",
            "1.2.3 ",
            "+1.2.3",
            "99999999999999999999.0.0",
            &"1".repeat(65),
        ] {
            assert_eq!(text.parse::<Version>(), Err(NotAVersion), "{text}");
        }
    }
}
