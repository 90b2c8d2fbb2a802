//! What is special about the errors of files.

use std::io;

use thiserror::Error;

use super::File;

/// There is no default pool: [`CompioPool::set_default`](crate::CompioPool::set_default) was never
/// called. Inside the [`io::Error`] of the free functions of [`fs`](super).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("there is no default pool: call `CompioPool::set_default` first, or use `fs::Fs::new`")]
#[non_exhaustive]
pub struct NoDefaultPool;

/// Why a file was not closed, or not without loss; from [`File::close`].
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CloseError {
    /// There are clones of it, so it stays open. Here it is back.
    #[error("the file has clones, which keep it open")]
    Shared(File),
    /// The descriptor is closed, but the file system reports that something went wrong.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl From<CloseError> for io::Error {
    fn from(error: CloseError) -> Self {
        match error {
            CloseError::Shared(_) => Self::new(io::ErrorKind::ResourceBusy, error.to_string()),
            CloseError::Io(error) => error,
        }
    }
}
