//! The bytes of a file that any editor of any computer may have saved, as text.
//!
//! A byte order mark goes, UTF-16 and the old Windows code page become UTF-8, line ends become `\n`.
//! Absent on purpose: any judgement of the content. What an editor did to a value is seen there.

/// The text of `bytes`.
pub(super) fn decode(bytes: &[u8]) -> String {
    let text = match bytes {
        [0xFF, 0xFE, rest @ ..] => utf16(rest, u16::from_le_bytes),
        [0xFE, 0xFF, rest @ ..] => utf16(rest, u16::from_be_bytes),
        [0xEF, 0xBB, 0xBF, rest @ ..] | rest => match std::str::from_utf8(rest) {
            Ok(text) => text.to_owned(),
            // An umlaut in a comment, saved as "ANSI": the lower half is ASCII, and that is what counts.
            Err(_) => rest.iter().map(|byte| char::from(*byte)).collect(),
        },
    };
    text.replace("\r\n", "\n")
}

fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> String {
    let (pairs, _odd) = bytes.as_chunks::<2>();
    let units = pairs.iter().map(|pair| unit(*pair));
    char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_editor_is_understood() {
        let wanted = "name = \"a\" # ü\nb\n";
        let text = "name = \"a\" # ü\r\nb\r\n";
        let with = |mark: &[u8], units: fn(u16) -> [u8; 2]| {
            let mut bytes = mark.to_vec();
            bytes.extend(text.encode_utf16().flat_map(units));
            bytes
        };
        assert_eq!(decode(text.as_bytes()), wanted);
        assert_eq!(decode(format!("\u{feff}{text}").as_bytes()), wanted);
        assert_eq!(decode(&with(&[0xFF, 0xFE], u16::to_le_bytes)), wanted);
        assert_eq!(decode(&with(&[0xFE, 0xFF], u16::to_be_bytes)), wanted);
        let ansi: Vec<u8> = text.chars().map(|c| u8::try_from(c).unwrap()).collect();
        assert_eq!(decode(&ansi), wanted);
    }

    proptest! {
        #[test]
        fn no_bytes_break_it(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            prop_assert!(!decode(&bytes).contains("\r\n"));
        }
    }
}
