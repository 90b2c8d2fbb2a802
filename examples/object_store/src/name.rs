//! Object names: what a client may call an object, and what its file is called.
//!
//! **Copy this file** if names from outside become file names. It replaces nothing of Tokio's.
//!
//! | a name | is |
//! |---|---|
//! | as a client sees it | any text but the empty one, `.`, `..`, and what holds a slash or a NUL |
//! | in a request | one path segment, percent-encoded once; decoded here, strictly, and once |
//! | on disk | `a-z 0-9 - _` as they are, `.` too but for the first and last character, `A-Z` as `^a`, every other byte as `%xx` |
//!
//! Every name is stored as itself or refused. The encoding of file names is one to one, never has an
//! upper-case letter, a separator or a character outside ASCII, and so means the same on file systems
//! that fold case or normalise Unicode. A file name has at most 255 bytes; a name whose encoding is
//! longer is refused.
//!
//! One thing cannot be seen from here: a client that sends a bare `#` in its request line, which HTTP
//! forbids, has it and all that follows cut off by the `http` crate before any handler runs.

use std::fmt;

/// The longest file name that Linux and most others take, in bytes.
const LONGEST_FILE_NAME: usize = 255;

/// A name that can be stored.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ObjectName(String);

/// Why a name is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NameError {
    #[error("the object name is empty")]
    Empty,
    #[error("an object cannot be called `.` or `..`")]
    Dots,
    #[error("an object name cannot hold a slash")]
    Slash,
    #[error("an object name cannot hold a NUL")]
    Nul,
    #[error("the object name is not UTF-8")]
    NotUtf8,
    #[error(
        "the object name is too long: its file name would have {0} bytes of at most {LONGEST_FILE_NAME}"
    )]
    TooLong(usize),
    #[error("`%` must be followed by two hexadecimal digits")]
    Escape,
    #[error("the path holds a character that must be percent-encoded")]
    Unescaped,
}

impl ObjectName {
    pub(crate) fn new(name: impl Into<String>) -> Result<Self, NameError> {
        let name = Self(name.into());
        match name.0.as_str() {
            "" => return Err(NameError::Empty),
            "." | ".." => return Err(NameError::Dots),
            text if text.contains('/') => return Err(NameError::Slash),
            text if text.contains('\0') => return Err(NameError::Nul),
            _ => {}
        }
        match name.to_file_name().len() {
            0..=LONGEST_FILE_NAME => Ok(name),
            length => Err(NameError::TooLong(length)),
        }
    }

    /// From the path of a request, as it was sent: neither decoded nor normalised by anybody before.
    pub(crate) fn from_raw_path(raw: &str) -> Result<Self, NameError> {
        let decoded = percent_decode(raw)?;
        Self::new(String::from_utf8(decoded).map_err(|_| NameError::NotUtf8)?)
    }

    pub(crate) fn to_file_name(&self) -> String {
        let bytes = self.0.as_bytes();
        let mut file_name = String::with_capacity(bytes.len());
        for (index, &byte) in bytes.iter().enumerate() {
            let at_an_end = index == 0 || index + 1 == bytes.len();
            match byte {
                b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => file_name.push(byte.into()),
                b'.' if !at_an_end => file_name.push('.'),
                b'A'..=b'Z' => file_name.extend(['^', byte.to_ascii_lowercase().into()]),
                _ => push_escape(&mut file_name, byte),
            }
        }
        file_name
    }

    /// `None` for a file that is not one of ours.
    pub(crate) fn from_file_name(file_name: &str) -> Option<Self> {
        let mut name = Vec::with_capacity(file_name.len());
        let mut rest = file_name.bytes();
        while let Some(byte) = rest.next() {
            name.push(match byte {
                b'^' => rest.next()?.to_ascii_uppercase(),
                b'%' => hex_pair(rest.next(), rest.next())?,
                _ => byte,
            });
        }
        let name = Self::new(String::from_utf8(name).ok()?).ok()?;
        // There is one file name for each name, so that nothing is listed twice.
        (name.to_file_name() == file_name).then_some(name)
    }

    /// As one path segment of a URL.
    pub(crate) fn to_path_segment(&self) -> String {
        let mut segment = String::with_capacity(self.0.len());
        for byte in self.0.bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                    segment.push(byte.into());
                }
                _ => push_escape(&mut segment, byte),
            }
        }
        segment
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

fn push_escape(out: &mut String, byte: u8) {
    let digit = |nibble: u8| char::from_digit(nibble.into(), 16).unwrap_or('0');
    out.extend(['%', digit(byte >> 4), digit(byte & 15)]);
}

fn hex_pair(high: Option<u8>, low: Option<u8>) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    u8::try_from(digit(high?)? * 16 + digit(low?)?).ok()
}

/// Decodes one path segment, once. What RFC 3986 does not allow there is an error, not a guess.
fn percent_decode(raw: &str) -> Result<Vec<u8>, NameError> {
    let mut decoded = Vec::with_capacity(raw.len());
    let mut rest = raw.bytes();
    while let Some(byte) = rest.next() {
        decoded.push(match byte {
            b'%' => hex_pair(rest.next(), rest.next()).ok_or(NameError::Escape)?,
            b'/' => return Err(NameError::Slash),
            // `pchar`: unreserved, sub-delims, `:` and `@`.
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => byte,
            _ if b"-._~!$&'()*+,;=:@".contains(&byte) => byte,
            _ => return Err(NameError::Unescaped),
        });
    }
    Ok(decoded)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn name(text: &str) -> ObjectName {
        ObjectName::new(text).unwrap()
    }

    /// What a client sends must never reach another directory, or another object.
    #[test]
    fn tricks_are_refused() {
        for (raw, error) in [
            ("", NameError::Empty),
            (".", NameError::Dots),
            ("..", NameError::Dots),
            ("%2e%2e", NameError::Dots),
            ("%2E.", NameError::Dots),
            ("a/b", NameError::Slash),
            ("../x", NameError::Slash),
            ("a%2fb", NameError::Slash),
            ("a%2Fb", NameError::Slash),
            ("%2e%2e%2fetc", NameError::Slash),
            ("%00", NameError::Nul),
            ("a%00b", NameError::Nul),
            ("%", NameError::Escape),
            ("%4", NameError::Escape),
            ("%zz", NameError::Escape),
            ("%+1", NameError::Escape),
            ("%ff", NameError::NotUtf8),
            // Over-long forms of `/` and `.`, and half a surrogate pair.
            ("%c0%af", NameError::NotUtf8),
            ("%c0%ae%c0%ae", NameError::NotUtf8),
            ("%ed%a0%80", NameError::NotUtf8),
            ("\u{fc}", NameError::Unescaped),
            ("a b", NameError::Unescaped),
            ("a?b", NameError::Unescaped),
            ("a\\b", NameError::Unescaped),
        ] {
            assert_eq!(ObjectName::from_raw_path(raw), Err(error), "{raw:?}");
        }
    }

    /// Decoding twice would let a client name what it may not name.
    #[test]
    fn a_path_is_decoded_once() {
        for (raw, text) in [
            ("%252e%252e", "%2e%2e"),
            ("%252fetc", "%2fetc"),
            ("%2500", "%00"),
            ("a+b", "a+b"),
            ("...", "..."),
            ("%5c..%5c", "\\..\\"),
        ] {
            assert_eq!(ObjectName::from_raw_path(raw), Ok(name(text)), "{raw:?}");
        }
    }

    /// The limit is that of the file system; one byte more would be an error of the disk.
    #[test]
    fn the_length_limit_is_that_of_the_file_name() {
        for (unit, cost) in [("a", 1), ("A", 2), ("%", 3), ("\u{fc}", 6), (".", 1)] {
            // Two dots at the ends cost two bytes more each.
            let ends = if unit == "." { 4 } else { 0 };
            let most = (LONGEST_FILE_NAME - ends) / cost;
            let longest = ObjectName::new(unit.repeat(most)).unwrap();
            assert!(longest.to_file_name().len() <= LONGEST_FILE_NAME);
            let error = ObjectName::new(unit.repeat(most + 1)).unwrap_err();
            assert!(
                matches!(error, NameError::TooLong(n) if n > LONGEST_FILE_NAME),
                "{unit}"
            );
        }
    }

    /// Two names that share a file would overwrite each other, also where case is folded.
    #[test]
    fn names_and_file_names_are_one_to_one() {
        let mut seen = HashMap::new();
        let mut check = |text: String| {
            let Ok(name) = ObjectName::new(text) else {
                return;
            };
            let file_name = name.to_file_name();
            assert!(
                file_name.bytes().all(
                    |b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'%' | b'^')
                ),
                "{file_name}"
            );
            assert!(!file_name.starts_with('.') && !file_name.ends_with('.'));
            assert_eq!(ObjectName::from_file_name(&file_name).as_ref(), Some(&name));
            let segment = name.to_path_segment();
            assert_eq!(ObjectName::from_raw_path(&segment).as_ref(), Ok(&name));
            if let Some(other) = seen.insert(file_name.to_lowercase(), name.clone()) {
                assert_eq!(other, name, "both are {file_name}");
            }
        };
        // Everything of up to four of the characters that could be mixed up.
        let alphabet = ['a', 'A', '%', '^', '.', '4', '1', '\u{e4}', '\0', '/'];
        let mut texts = vec![String::new()];
        for _ in 0..4 {
            texts = texts
                .iter()
                .flat_map(|text| alphabet.iter().map(move |c| format!("{text}{c}")))
                .collect();
            texts.iter().cloned().for_each(&mut check);
        }
        // And long random ones.
        let mut state = 1_u64;
        for _ in 0..20_000 {
            let mut text = String::new();
            loop {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                let random = (state >> 33) as u32;
                if random.is_multiple_of(16) {
                    break;
                }
                let bound = if random.is_multiple_of(3) {
                    0x11_0000
                } else {
                    0x80
                };
                text.extend(char::from_u32((random >> 4) % bound));
            }
            check(text);
        }
    }

    /// A foreign file in the directory is not an object.
    #[test]
    fn other_file_names_are_not_objects() {
        for file_name in [
            "A", "%41", "%61", "%E4", "^", "%", "%4", ".a", "a.", "^1", "%2f", "", "a b",
        ] {
            assert_eq!(ObjectName::from_file_name(file_name), None, "{file_name}");
        }
    }
}
