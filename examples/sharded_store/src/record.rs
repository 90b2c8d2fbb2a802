//! Records, as they are in a log. COPY: the file.
//!
//! ```text
//! crc: u32 | length of the body: u32 | body: tag: u8, length of the key: u32, key, value
//! ```
//!
//! All numbers are little-endian. The checksum is that of all that follows it, the length too: what a crash leaves
//! at the end of a file may be half a record, or zeros, or what was in those blocks before.
//!
//! Each group ends with a mark, which is a record, too. It says how much of the log was on the disk before the group
//! was written: no crash can have taken anything of that, so what is wrong in there is damage.

use crc32fast::Hasher;

/// Bytes in front of a body.
const HEAD: usize = 8;
/// Bytes of a body beside key and value.
const FIXED: usize = 5;
/// A longer body is none.
pub(crate) const MAX_BODY: usize = 2 << 20;

const SET: u8 = 1;
const DELETE: u8 = 2;
/// Has for its key where it is itself, and how much was on the disk.
const MARK: u8 = 3;
const MARK_BODY: usize = FIXED + 16;

/// What there is at the beginning of some bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next<'a> {
    /// A record, with its size. Without a value it is a deletion.
    Record(&'a [u8], Option<&'a [u8]>, usize),
    /// A mark, with its size.
    Mark(usize),
    /// The beginning of a record, or nothing at all.
    Short,
    /// No record, whatever follows.
    Bad,
}

/// Appends a record.
pub(crate) fn push(log: &mut Vec<u8>, key: &[u8], value: Option<&[u8]>) {
    let tag = if value.is_some() { SET } else { DELETE };
    push_tagged(log, tag, key, value.unwrap_or_default());
}

/// Appends a mark, which will be at `at` of its log: the first `durable` bytes of that are on the disk.
pub(crate) fn push_mark(log: &mut Vec<u8>, at: u64, durable: u64) {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&at.to_le_bytes());
    key[8..].copy_from_slice(&durable.to_le_bytes());
    push_tagged(log, MARK, &key, &[]);
}

/// How much of a log was on the disk, as far as a mark in `bytes` says so. They may begin anywhere, in the midst of
/// a record or of what is none; they are at `at` in the log. What is not where it says to be is no mark: a copy,
/// in somebody's value perhaps.
pub(crate) fn marked(bytes: &[u8], at: u64) -> u64 {
    let mut durable = 0;
    for (place, bytes) in (at..).zip(bytes.windows(HEAD + MARK_BODY)) {
        let key = &bytes[HEAD + FIXED..];
        if bytes[HEAD] == MARK
            && key[..8] == place.to_le_bytes()
            && matches!(next(bytes), Next::Mark(_))
        {
            durable = durable.max(u64_at(key, 8).unwrap_or(0));
        }
    }
    durable
}

fn push_tagged(log: &mut Vec<u8>, tag: u8, key: &[u8], value: &[u8]) {
    let body = FIXED + key.len() + value.len();
    let start = log.len();
    log.reserve(HEAD + body);
    log.extend_from_slice(&[0; 4]);
    // What a client may send at most is less than `MAX_BODY`.
    log.extend_from_slice(&(body as u32).to_le_bytes());
    log.push(tag);
    log.extend_from_slice(&(key.len() as u32).to_le_bytes());
    log.extend_from_slice(key);
    log.extend_from_slice(value);
    let sum = checksum(&log[start + 4..]);
    log[start..start + 4].copy_from_slice(&sum.to_le_bytes());
}

/// Reads the first record of `bytes`.
pub(crate) fn next(bytes: &[u8]) -> Next<'_> {
    let Some((head, rest)) = bytes.split_first_chunk::<HEAD>() else {
        return Next::Short;
    };
    let (Some(sum), Some(length)) = (u32_at(head, 0), u32_at(head, 4)) else {
        return Next::Short;
    };
    let length = length as usize;
    if !(FIXED..=MAX_BODY).contains(&length) {
        return Next::Bad;
    }
    let Some(body) = rest.get(..length) else {
        return Next::Short;
    };
    if checksum(&bytes[4..HEAD + length]) != sum {
        return Next::Bad;
    }
    let key_length = u32_at(body, 1).map_or(usize::MAX, |length| length as usize);
    let Some((key, value)) = body[FIXED..].split_at_checked(key_length) else {
        return Next::Bad;
    };
    match body[0] {
        SET => Next::Record(key, Some(value), HEAD + length),
        DELETE if value.is_empty() => Next::Record(key, None, HEAD + length),
        MARK if length == MARK_BODY && value.is_empty() => Next::Mark(HEAD + length),
        _ => Next::Bad,
    }
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u64::from_le_bytes(*bytes))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_le_bytes(*bytes))
}

fn checksum(bytes: &[u8]) -> u32 {
    let mut hasher = Hasher::new();
    hasher.update(bytes);
    hasher.finalize()
}
