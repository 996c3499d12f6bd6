//! What a terminal sends, as keys: the Linux console, vt100 and xterm agree on most.
//!
//! Invariants: any bytes give keys or nothing, never an error; what is begun and not ended is given
//! up after [`SEQUENCE_MAX`] bytes or by [`Keys::pause`]. Deliberately absent: keys that the page
//! does not use; they are [`Key::Other`].

use zeroize::Zeroize;

/// Longest sequence that is looked at, in bytes.
const SEQUENCE_MAX: usize = 16;

/// A key, or an answer of the terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// A character.
    Char(char),
    /// Return.
    Enter,
    /// Escape by itself.
    Escape,
    /// Backspace.
    Backspace,
    /// Cursor up.
    Up,
    /// Cursor down.
    Down,
    /// The second function key.
    F2,
    /// The terminal says where its cursor is, counted from 1.
    Cursor {
        /// Line.
        line: u16,
        /// Column.
        column: u16,
    },
    /// Another key.
    Other,
}

/// Makes keys of bytes.
#[derive(Default)]
pub(super) struct Keys {
    begun: Vec<u8>,
}

impl Keys {
    /// Takes the next byte.
    pub(super) fn feed(&mut self, byte: u8) -> Option<Key> {
        // An escape or a control character always begins anew.
        let key = match (self.begun.first(), byte) {
            (_, 0x1b) => {
                let lone = self.begun == [0x1b];
                self.forget();
                self.begun.push(byte);
                return lone.then_some(Key::Escape);
            }
            (_, b'\r' | b'\n') => Some(Key::Enter),
            (_, 0x08 | 0x7f) => Some(Key::Backspace),
            (_, 0..=0x1f) => Some(Key::Other),
            (None, 0x20..=0x7e) => Some(Key::Char(char::from(byte))),
            _ => {
                self.begun.push(byte);
                if self.begun.len() > SEQUENCE_MAX {
                    Some(Key::Other)
                } else {
                    complete(&self.begun)
                }
            }
        };
        if key.is_some() {
            self.forget();
        }
        key
    }

    /// Nothing came for a moment: what is begun is all there is.
    pub(super) fn pause(&mut self) -> Option<Key> {
        let key = match self.begun.as_slice() {
            [] => return None,
            [0x1b] => Key::Escape,
            _ => Key::Other,
        };
        self.forget();
        Some(key)
    }

    /// It may be a part of something secret.
    fn forget(&mut self) {
        self.begun.zeroize();
    }
}

/// The key that `bytes` are, once they are one.
fn complete(bytes: &[u8]) -> Option<Key> {
    match bytes {
        [0x1b, b'[', b'A'] | [0x1b, b'O', b'A'] => Some(Key::Up),
        [0x1b, b'[', b'B'] | [0x1b, b'O', b'B'] => Some(Key::Down),
        // The Linux console; vt100; vt220 and xterm.
        [0x1b, b'[', b'[', b'B'] | [0x1b, b'O', b'Q'] | [0x1b, b'[', b'1', b'2', b'~'] => {
            Some(Key::F2)
        }
        [0x1b] | [0x1b, b'[' | b'O'] | [0x1b, b'[', b'['] => None,
        [0x1b, b'[', b'[', _] | [0x1b, b'O', _] => Some(Key::Other),
        [0x1b, b'[', middle @ .., end @ 0x40..=0x7e] => {
            Some(cursor(middle).filter(|_| *end == b'R').unwrap_or(Key::Other))
        }
        [0x1b, b'[', ..] => None,
        [0x1b, ..] => Some(Key::Other),
        _ => character(bytes),
    }
}

/// `24;80`.
fn cursor(text: &[u8]) -> Option<Key> {
    let (line, column) = std::str::from_utf8(text).ok()?.split_once(';')?;
    Some(Key::Cursor { line: line.parse().ok()?, column: column.parse().ok()? })
}

/// A character beyond ASCII in UTF-8, once it is whole.
fn character(bytes: &[u8]) -> Option<Key> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Some(text.chars().next().map_or(Key::Other, Key::Char)),
        Err(e) if e.error_len().is_none() => None,
        Err(_) => Some(Key::Other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(bytes: &[u8]) -> Vec<Key> {
        let mut keys = Keys::default();
        let mut found: Vec<Key> = bytes.iter().filter_map(|b| keys.feed(*b)).collect();
        found.extend(keys.pause());
        found
    }

    #[test]
    fn terminals_are_understood() {
        for (bytes, expected) in [
            (&b"l\r"[..], &[Key::Char('l'), Key::Enter][..]),
            (b"\x1b[[B", &[Key::F2]),
            (b"\x1bOQ", &[Key::F2]),
            (b"\x1b[12~", &[Key::F2]),
            (b"\x1b[A\x1bOB", &[Key::Up, Key::Down]),
            (b"\x1b", &[Key::Escape]),
            (b"\x1b\x1b", &[Key::Escape, Key::Escape]),
            (b"\x1b[24;80R", &[Key::Cursor { line: 24, column: 80 }]),
            (b"\x1b[99999;80R", &[Key::Other]),
            (b"\x1b[15~x", &[Key::Other, Key::Char('x')]),
            ("ü".as_bytes(), &[Key::Char('ü')]),
            (b"\xc3\x1b[A", &[Key::Up]),
            (b"\xff\xffa", &[Key::Other, Key::Other, Key::Char('a')]),
            (b"\x7f\x08\x03", &[Key::Backspace, Key::Backspace, Key::Other]),
        ] {
            assert_eq!(all(bytes), expected, "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_are_kept_for_ever(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut keys = Keys::default();
            for byte in bytes {
                keys.feed(byte);
                prop_assert!(keys.begun.len() <= SEQUENCE_MAX);
            }
            keys.pause();
            prop_assert!(keys.begun.is_empty());
            prop_assert_eq!(keys.feed(b'l'), Some(Key::Char('l')));
        }
    }
}
