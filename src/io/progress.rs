//! What the counts of a stream are worth: anybody may have written it.

use std::io;

/// How a write of `len` bytes ends, or `None` if it goes on from `done`.
pub(super) fn after_write(
    result: io::Result<usize>,
    done: &mut usize,
    len: usize,
) -> Option<io::Result<()>> {
    match result {
        Ok(0) => return Some(Err(io::ErrorKind::WriteZero.into())),
        Ok(count) if count <= len - *done => *done += count,
        Ok(_) => {
            let error = "the stream says it wrote more than it was given";
            return Some(Err(io::Error::new(io::ErrorKind::InvalidData, error)));
        }
        Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
        Err(e) => return Some(Err(e)),
    }
    (*done == len).then_some(Ok(()))
}
