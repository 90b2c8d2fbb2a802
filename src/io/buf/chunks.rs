//! A list of `Bytes` as one buffer.

use bytes::Bytes;
use compio_buf::{IntoInner, IoVectoredBuf};

/// A list of [`Bytes`], written as one buffer without joining them.
///
/// Any list whose reference iterates over `&Bytes`: a `Vec`, an array, a `VecDeque`. It has to give
/// the same chunks each time. Kernels take a limited number of chunks in one call (1024 on Linux);
/// a longer list is an error of the write there.
///
/// # Examples
///
/// ```
/// use bytes::Bytes;
/// use compio_io::AsyncWriteExt;
/// use landbridge::io::buf::Chunks;
///
/// # futures::executor::block_on(async {
/// let body = vec![Bytes::from_static(b"over "), Bytes::from_static(b"the bridge")];
/// let mut out = Vec::new();
/// let chunks = out.write_vectored_all(Chunks::new(body)).await.unwrap().1;
/// assert_eq!(out, b"over the bridge");
/// assert_eq!(chunks.into_inner().len(), 2);
/// # });
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Chunks<I>(I);

impl<I> Chunks<I> {
    /// Wraps `list`.
    #[must_use]
    pub const fn new(list: I) -> Self {
        Self(list)
    }

    /// The list.
    #[must_use]
    pub const fn get_ref(&self) -> &I {
        &self.0
    }

    /// The list.
    #[must_use]
    pub fn into_inner(self) -> I {
        self.0
    }
}

impl<I> IoVectoredBuf for Chunks<I>
where
    I: 'static,
    for<'a> &'a I: IntoIterator<Item = &'a Bytes>,
{
    fn iter_slice(&self) -> impl Iterator<Item = &[u8]> {
        (&self.0).into_iter().map(|chunk| &chunk[..])
    }
}

impl<I> IntoInner for Chunks<I> {
    type Inner = I;

    fn into_inner(self) -> I {
        self.0
    }
}
