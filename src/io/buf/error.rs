//! The error of an owned call, with the buffer.

use std::{error, fmt, io};

/// An I/O error that gives the buffer back where anybody still has it.
///
/// # Examples
///
/// ```
/// use landbridge::io::buf::BufError;
///
/// fn write(page: Vec<u8>) -> Result<(usize, Vec<u8>), BufError<Vec<u8>>> {
///     Err(BufError::new(std::io::ErrorKind::StorageFull.into(), Some(page)))
/// }
///
/// let (error, page) = write(vec![7; 3]).unwrap_err().into_parts();
/// assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
/// assert_eq!(page, Some(vec![7; 3]));
///
/// // Whoever does not want it back has `?`.
/// fn save(page: Vec<u8>) -> std::io::Result<usize> {
///     Ok(write(page)?.0)
/// }
/// # assert!(save(Vec::new()).is_err());
/// ```
pub struct BufError<B> {
    error: io::Error,
    buffer: Option<B>,
}

impl<B> BufError<B> {
    /// An error, with the buffer unless the kernel or a dead thread keeps it.
    #[must_use]
    pub const fn new(error: io::Error, buffer: Option<B>) -> Self {
        Self { error, buffer }
    }

    /// What went wrong.
    #[must_use]
    pub const fn error(&self) -> &io::Error {
        &self.error
    }

    /// The kind of what went wrong.
    #[must_use]
    pub fn kind(&self) -> io::ErrorKind {
        self.error.kind()
    }

    /// What went wrong, and the buffer. It is `None` only where the kernel or a dead thread keeps
    /// it.
    #[must_use]
    pub fn into_parts(self) -> (io::Error, Option<B>) {
        (self.error, self.buffer)
    }

    /// The same error, of an operation with the buffer that this one is a part of.
    #[cfg(all(feature = "fs", unix))]
    pub(crate) fn map_buffer<C>(self, f: impl FnOnce(B) -> C) -> BufError<C> {
        BufError::new(self.error, self.buffer.map(f))
    }
}

impl<B> From<BufError<B>> for io::Error {
    fn from(error: BufError<B>) -> Self {
        error.error
    }
}

impl<B> fmt::Display for BufError<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl<B> fmt::Debug for BufError<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BufError")
            .field("error", &self.error)
            .field("has_buffer", &self.buffer.is_some())
            .finish()
    }
}

impl<B> error::Error for BufError<B> {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        self.error.source()
    }
}
