//! Requests as they come, and answers as they go, in Redis's protocol. COPY: the file.
//!
//! The coding is `redis-protocol`'s. It takes any frame, of any size and depth, by recursion; so that a client
//! cannot have this process run out of memory or stack, [`measure`] looks at the outside first.

use bytes::{Bytes, BytesMut};
use redis_protocol::{
    error::RedisProtocolError,
    resp2::{decode::decode_bytes_mut, encode::extend_encode, types::BytesFrame},
};

/// The most bytes of a request.
pub(crate) const MAX_REQUEST: usize = 1 << 20;
/// The most arguments of a request, its name included.
pub(crate) const MAX_ARGS: usize = 1024;
/// The most bytes of a line: of a number, and of a request that is typed by hand.
const MAX_LINE: usize = 4096;

/// What is not a request. Where the next one begins is not known then.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProtocolError {
    #[error("invalid multibulk length")]
    Arguments,
    #[error("invalid bulk length")]
    Length,
    #[error("too big request")]
    TooLarge,
    #[error("too big inline request")]
    LongLine,
    #[error("expected '{}', got '{}'", *.0 as char, .1.escape_ascii())]
    Unexpected(u8, u8),
    #[error("{0}")]
    Coding(#[from] RedisProtocolError),
}

/// Takes the first request from `input`: its arguments, which share `input`'s memory. `None`: the rest of it has
/// yet to come.
pub(crate) fn next(input: &mut BytesMut) -> Result<Option<Vec<Bytes>>, ProtocolError> {
    match input.first() {
        None => Ok(None),
        Some(b'*') => match measure(input)? {
            None => Ok(None),
            Some(_) => Ok(decode_bytes_mut(input)?.map(|(frame, ..)| strings(frame))),
        },
        // What is typed by hand into `nc`, and what `redis-benchmark` calls PING_INLINE.
        Some(_) => {
            let Some((line, size)) = line(input).map_err(|_| ProtocolError::LongLine)? else {
                return Ok(None);
            };
            let words: Vec<_> = line
                .split(u8::is_ascii_whitespace)
                .filter(|word| !word.is_empty())
                .map(Bytes::copy_from_slice)
                .collect();
            _ = input.split_to(size);
            if words.len() > MAX_ARGS {
                return Err(ProtocolError::Arguments);
            }
            Ok(Some(words))
        }
    }
}

/// Appends an answer.
pub(crate) fn push(output: &mut BytesMut, answer: &BytesFrame) -> Result<(), RedisProtocolError> {
    extend_encode(output, answer, false)?;
    Ok(())
}

/// Appends the beginning of an answer that consists of `parts` answers.
pub(crate) fn push_array(output: &mut BytesMut, parts: usize) {
    output.extend_from_slice(format!("*{parts}\r\n").as_bytes());
}

/// The size of the request at the beginning of `input` if all of it is there: an array of strings, and nothing else.
fn measure(input: &[u8]) -> Result<Option<usize>, ProtocolError> {
    let Some((arguments, mut at)) = head(input, b'*', ProtocolError::Arguments)? else {
        return Ok(None);
    };
    if !(-1..=MAX_ARGS as i64).contains(&arguments) {
        return Err(ProtocolError::Arguments);
    }
    for _ in 0..arguments {
        let Some((length, size)) = head(&input[at..], b'$', ProtocolError::Length)? else {
            return Ok(None);
        };
        let length = usize::try_from(length).map_err(|_| ProtocolError::Length)?;
        // As soon as it says so, and not when it has come.
        if length > MAX_REQUEST || at + size + length + 2 > MAX_REQUEST {
            return Err(ProtocolError::TooLarge);
        }
        at += size + length;
        match input.get(at..at + 2) {
            None => return Ok(None),
            Some(b"\r\n") => at += 2,
            Some(other) => return Err(ProtocolError::Unexpected(b'\r', other[0])),
        }
    }
    Ok(Some(at))
}

/// The number in a line that begins with `kind`, and the line's size.
fn head(
    input: &[u8],
    kind: u8,
    wrong: ProtocolError,
) -> Result<Option<(i64, usize)>, ProtocolError> {
    match input.first() {
        None => return Ok(None),
        Some(first) if *first != kind => {
            return Err(ProtocolError::Unexpected(kind, *first));
        }
        Some(_) => {}
    }
    match line(input) {
        Ok(None) => Ok(None),
        // Not a bare `\n`: the decoder would look further for its end.
        Ok(Some((line, size))) if size == line.len() + 2 => {
            match crate::shard::number(&line[1..]) {
                Some(number) => Ok(Some((number, size))),
                None => Err(wrong),
            }
        }
        Ok(Some(_)) | Err(TooLong) => Err(wrong),
    }
}

struct TooLong;

/// The first line, and its size with its end.
fn line(input: &[u8]) -> Result<Option<(&[u8], usize)>, TooLong> {
    let within = &input[..input.len().min(MAX_LINE)];
    match within.iter().position(|byte| *byte == b'\n') {
        Some(end) => {
            let line = &input[..end];
            Ok(Some((line.strip_suffix(b"\r").unwrap_or(line), end + 1)))
        }
        None if input.len() >= MAX_LINE => Err(TooLong),
        None => Ok(None),
    }
}

fn strings(frame: BytesFrame) -> Vec<Bytes> {
    let BytesFrame::Array(arguments) = frame else {
        // `*-1`: nothing is asked for.
        return Vec::new();
    };
    let string = |argument| match argument {
        BytesFrame::BulkString(string) => Some(string),
        _ => None,
    };
    arguments.into_iter().filter_map(string).collect()
}
