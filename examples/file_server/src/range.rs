//! `Range: bytes=...` (RFC 9110, section 14), one range at a time.
//!
//! Copy as it is; nothing here knows a runtime.

use std::ops::Range;

/// A range as a client asks for it, before the length of the object is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// `a-b` and `a-`.
    From { first: u64, last: Option<u64> },
    /// `-n`: the last `n` bytes.
    Last(u64),
}

/// No byte of the object is in the range: 416.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unsatisfiable;

impl Wanted {
    /// `None` for what is no valid range, or several: to be ignored, as the RFC says and allows.
    pub(crate) fn parse(header: &str) -> Option<Self> {
        let (unit, range) = header.split_once('=')?;
        if !unit.trim().eq_ignore_ascii_case("bytes") {
            return None;
        }
        match range.trim().split_once('-')? {
            ("", count) => Some(Self::Last(number(count)?)),
            (first, "") => Some(Self::From {
                first: number(first)?,
                last: None,
            }),
            (first, last) => {
                let (first, last) = (number(first)?, number(last)?);
                (first <= last).then_some(Self::From {
                    first,
                    last: Some(last),
                })
            }
        }
    }

    /// The bytes to send of an object of `length` bytes; `None` for all, unranged.
    pub(crate) fn resolve(self, length: u64) -> Result<Option<Range<u64>>, Unsatisfiable> {
        match self {
            Self::From { first, .. } if first >= length => Err(Unsatisfiable),
            Self::From { first, last } => {
                let end = last.map_or(length, |last| last.saturating_add(1).min(length));
                Ok(Some(first..end))
            }
            Self::Last(0) => Err(Unsatisfiable),
            // Satisfiable, but a `Content-Range` of no bytes cannot be written.
            Self::Last(_) if length == 0 => Ok(None),
            Self::Last(count) => Ok(Some(length.saturating_sub(count)..length)),
        }
    }
}

/// Digits only; more than fits is as good as the largest number.
fn number(digits: &str) -> Option<u64> {
    let valid = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    valid.then(|| digits.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Off by one here is a corrupt download.
    #[test]
    fn ranges_resolve_to_the_bytes_that_the_rfc_says() {
        let huge = "bytes=0-99999999999999999999999999";
        for (header, length, expected) in [
            ("bytes=0-0", 10, Ok(Some(0..1))),
            ("bytes=0-9", 10, Ok(Some(0..10))),
            ("bytes=0-10", 10, Ok(Some(0..10))),
            ("bytes=9-9", 10, Ok(Some(9..10))),
            ("bytes=3-", 10, Ok(Some(3..10))),
            ("bytes=-3", 10, Ok(Some(7..10))),
            ("bytes=-10", 10, Ok(Some(0..10))),
            ("bytes=-11", 10, Ok(Some(0..10))),
            ("Bytes= 1-2 ", 10, Ok(Some(1..3))),
            (huge, 10, Ok(Some(0..10))),
            ("bytes=0-18446744073709551615", 10, Ok(Some(0..10))),
            ("bytes=10-", 10, Err(Unsatisfiable)),
            ("bytes=10-20", 10, Err(Unsatisfiable)),
            ("bytes=-0", 10, Err(Unsatisfiable)),
            ("bytes=0-", 0, Err(Unsatisfiable)),
            ("bytes=-5", 0, Ok(None)),
            ("bytes=99999999999999999999999999-", 10, Err(Unsatisfiable)),
        ] {
            let wanted = Wanted::parse(header).unwrap_or_else(|| panic!("{header} is valid"));
            assert_eq!(wanted.resolve(length), expected, "{header} of {length}");
        }
    }

    /// An invalid range is ignored, not refused: the client gets the whole object.
    #[test]
    fn what_is_no_single_range_is_ignored() {
        for header in [
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=a-b",
            "bytes=1",
            "bytes=2-1",
            "bytes=+1-2",
            "bytes=0-1,3-4",
            "bytes=0-1,",
            "items=0-1",
            "bytes=--1",
            "bytes=0-1-2",
            "bytes 0-1",
            "bytes=0x1-2",
        ] {
            assert_eq!(Wanted::parse(header), None, "{header}");
        }
    }
}
