//! Tokio streams behind Compio's traits.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll};

use compio_buf::{BufResult, IntoInner, IoBuf, IoBufMut, IoVectoredBuf, IoVectoredBufMut};
use compio_io::util::Splittable;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, ReadHalf, WriteHalf};

/// A Tokio stream that speaks Compio's [`AsyncRead`](compio_io::AsyncRead) and
/// [`AsyncWrite`](compio_io::AsyncWrite).
///
/// For any Tokio stream, and for one that only reads or only writes. No copy and no allocation:
/// reads land in the owned buffer from its start, uninitialised part included, and the length of
/// the buffer grows to what was read, if it was shorter. A buffer of no capacity reads nothing.
/// Vectored reads and writes go on to the next slice while the stream is ready for more. No read makes
/// a buffer shorter, but for those in a tuple behind one that it has made longer and not filled: Compio's tuples
/// are told one length, for all.
///
/// It is `Send` and `Sync` if the stream is. `AsFd`, `AsRawFd` and their Windows counterparts are
/// passed through.
///
/// As [`Splittable`] it splits with [`tokio::io::split`], whose halves take a lock for each poll.
/// A tuple `(TokioAsCompio<R>, TokioAsCompio<W>)` over the stream's own halves is splittable too,
/// and has no lock.
///
/// The guide: [streams and buffers](crate::guide::io).
///
/// # Where it runs
///
/// Wherever its stream may be polled: for Tokio's sockets, anywhere as long as their runtime runs.
///
/// # Cancel safety
///
/// Nothing is in flight between polls. A read that is dropped has read nothing, and a write that
/// is dropped has written nothing; the buffer goes with it.
///
/// # Errors
///
/// Those of the stream, with the buffer. One that a vectored read meets after its first bytes is told
/// by the next read, and one that a vectored write meets there by the next write, flush or shutdown;
/// [`into_inner`](Self::into_inner) leaves them behind.
///
/// # Panics
///
/// Only if the stream panics, or if it fills a buffer other than the one it was given.
///
/// # Examples
///
/// ```
/// use compio_io::{AsyncReadExt, AsyncWriteExt};
/// use landbridge::io::TokioAsCompio;
///
/// # futures::executor::block_on(async {
/// let (left, right) = tokio::io::duplex(64);
/// let mut left = TokioAsCompio::new(left);
/// let mut right = TokioAsCompio::new(right);
///
/// left.write_all("over the bridge").await.0?;
/// let buffer = right.read_exact(Vec::with_capacity(15)).await.unwrap().1;
/// assert_eq!(buffer, b"over the bridge");
/// # std::io::Result::Ok(()) }).unwrap();
/// ```
#[derive(Debug, Default)]
pub struct TokioAsCompio<S> {
    stream: S,
    /// What a vectored call met after its first bytes: the stream may say it only once.
    late_read: Option<io::Error>,
    late_write: Option<io::Error>,
}

impl<S> TokioAsCompio<S> {
    /// Wraps a stream, or one half of it.
    #[must_use]
    pub const fn new(stream: S) -> Self {
        Self {
            stream,
            late_read: None,
            late_write: None,
        }
    }

    /// The error that the last read left for this one, if this one has room at all.
    fn late_read(&mut self, has_room: bool) -> Option<io::Error> {
        if has_room {
            self.late_read.take()
        } else {
            None
        }
    }

    /// The stream. What is read from it or written to it there is in order with what is here.
    #[must_use]
    pub const fn get_ref(&self) -> &S {
        &self.stream
    }

    /// The stream, mutably.
    pub const fn get_mut(&mut self) -> &mut S {
        &mut self.stream
    }

    /// The stream; nothing is buffered here.
    #[must_use]
    pub fn into_inner(self) -> S {
        self.stream
    }
}

impl<S> IntoInner for TokioAsCompio<S> {
    type Inner = S;

    fn into_inner(self) -> S {
        self.stream
    }
}

impl<S: AsyncRead + Unpin> compio_io::AsyncRead for TokioAsCompio<S> {
    async fn read<B: IoBufMut>(&mut self, mut buf: B) -> BufResult<usize, B> {
        if let Some(error) = self.late_read(buf.buf_capacity() > 0) {
            return BufResult(Err(error), buf);
        }
        let result = poll_fn(|cx| poll_read_into(&mut self.stream, cx, buf.as_uninit())).await;
        if let Ok(count) = result {
            grow_to(&mut buf, count);
        }
        BufResult(result, buf)
    }

    async fn read_vectored<V: IoVectoredBufMut>(&mut self, mut buf: V) -> BufResult<usize, V> {
        let has_room = buf.iter_uninit_slice().any(|slice| !slice.is_empty());
        if let Some(error) = self.late_read(has_room) {
            return BufResult(Err(error), buf);
        }
        let result = poll_fn(|cx| {
            let slices = buf.iter_uninit_slice().filter(|slice| !slice.is_empty());
            poll_read_into_each(&mut self.stream, &mut self.late_read, cx, slices)
        })
        .await;
        if let Ok(count) = result {
            grow_all_to(&mut buf, count);
        }
        BufResult(result, buf)
    }
}

impl<S: AsyncWrite + Unpin> compio_io::AsyncWrite for TokioAsCompio<S> {
    async fn write<B: IoBuf>(&mut self, buf: B) -> BufResult<usize, B> {
        if let Some(error) = self.late_write.take() {
            return BufResult(Err(error), buf);
        }
        let stream = &mut self.stream;
        let result = poll_fn(|cx| Pin::new(&mut *stream).poll_write(cx, buf.as_init())).await;
        BufResult(result, buf)
    }

    async fn write_vectored<V: IoVectoredBuf>(&mut self, buf: V) -> BufResult<usize, V> {
        if let Some(error) = self.late_write.take() {
            return BufResult(Err(error), buf);
        }
        let (stream, late) = (&mut self.stream, &mut self.late_write);
        let result = poll_fn(|cx| poll_write_each(stream, late, cx, buf.iter_slice())).await;
        BufResult(result, buf)
    }

    async fn flush(&mut self) -> io::Result<()> {
        self.late_write.take().map_or(Ok(()), Err)?;
        poll_fn(|cx| Pin::new(&mut self.stream).poll_flush(cx)).await
    }

    async fn shutdown(&mut self) -> io::Result<()> {
        self.late_write.take().map_or(Ok(()), Err)?;
        poll_fn(|cx| Pin::new(&mut self.stream).poll_shutdown(cx)).await
    }
}

impl<S: AsyncRead + AsyncWrite> Splittable for TokioAsCompio<S> {
    type ReadHalf = TokioAsCompio<ReadHalf<S>>;
    type WriteHalf = TokioAsCompio<WriteHalf<S>>;

    fn split(self) -> (Self::ReadHalf, Self::WriteHalf) {
        let (reader, writer) = tokio::io::split(self.stream);
        let mut reader = TokioAsCompio::new(reader);
        let mut writer = TokioAsCompio::new(writer);
        reader.late_read = self.late_read;
        writer.late_write = self.late_write;
        (reader, writer)
    }
}

/// One read into memory that may be uninitialised: how many of its first bytes were filled.
fn poll_read_into<S: AsyncRead + Unpin>(
    stream: &mut S,
    cx: &mut Context<'_>,
    memory: &mut [MaybeUninit<u8>],
) -> Poll<io::Result<usize>> {
    if memory.is_empty() {
        return Poll::Ready(Ok(0));
    }
    let start = memory.as_ptr().cast::<u8>();
    let mut buffer = ReadBuf::uninit(memory);
    Pin::new(stream).poll_read(cx, &mut buffer).map_ok(|()| {
        // A stream may put another `ReadBuf` in the place of this one.
        assert_eq!(
            start,
            buffer.filled().as_ptr(),
            "the stream filled another buffer"
        );
        buffer.filled().len()
    })
}

/// Fills slice after slice, until one is not filled or the stream has nothing more at hand.
///
/// Once there is something, an error is kept for the next read: a socket that was reset says so once,
/// and then that it has ended. The end itself is met again.
fn poll_read_into_each<'a, S: AsyncRead + Unpin>(
    stream: &mut S,
    late: &mut Option<io::Error>,
    cx: &mut Context<'_>,
    slices: impl Iterator<Item = &'a mut [MaybeUninit<u8>]>,
) -> Poll<io::Result<usize>> {
    let mut total = 0;
    for slice in slices {
        match poll_read_into(stream, cx, slice) {
            Poll::Ready(Ok(count)) => {
                total += count;
                if count < slice.len() {
                    break;
                }
            }
            other if total == 0 => return other,
            Poll::Ready(Err(error)) => {
                *late = Some(error);
                break;
            }
            Poll::Pending => break,
        }
    }
    Poll::Ready(Ok(total))
}

/// As many slices as the stack holds, in one call, if the stream takes slices; else one by one, and
/// then an error after the first bytes is kept for the next call.
fn poll_write_each<'a, S: AsyncWrite + Unpin>(
    stream: &mut S,
    late: &mut Option<io::Error>,
    cx: &mut Context<'_>,
    slices: impl Iterator<Item = &'a [u8]>,
) -> Poll<io::Result<usize>> {
    const AT_ONCE: usize = 64;
    let mut batch = [IoSlice::new(&[]); AT_ONCE];
    let mut count = 0;
    // By name: a plain `is_empty` would be that of `IoBuf`, for `'static` slices only.
    let slices = slices.filter(|slice| !<[u8]>::is_empty(slice));
    for (place, slice) in batch.iter_mut().zip(slices) {
        *place = IoSlice::new(slice);
        count += 1;
    }
    let batch = &batch[..count];
    if stream.is_write_vectored() {
        return Pin::new(stream).poll_write_vectored(cx, batch);
    }
    let mut total = 0;
    for slice in batch {
        match Pin::new(&mut *stream).poll_write(cx, slice) {
            Poll::Ready(Ok(count)) => {
                total += count;
                if count < slice.len() {
                    break;
                }
            }
            other if total == 0 => return other,
            Poll::Ready(Err(error)) => {
                *late = Some(error);
                break;
            }
            Poll::Pending => break,
        }
    }
    Poll::Ready(Ok(total))
}

#[expect(
    unsafe_code,
    reason = "Compio's buffers are told their length by an unsafe call"
)]
fn grow_to<B: IoBufMut>(buf: &mut B, count: usize) {
    // SAFETY: the first `count` bytes of `as_uninit()` are initialised. `poll_read_into` took the
    // count from a `ReadBuf` over exactly that memory, which only counts bytes that were written.
    unsafe { buf.advance_to(count) };
}

/// Grows the lengths of a vectored buffer whose first `count` bytes, by capacity, were filled.
fn grow_all_to<V: IoVectoredBufMut>(buf: &mut V, count: usize) {
    if count == 0 || lengths_cover(buf, count) {
        return;
    }
    #[expect(
        unsafe_code,
        reason = "Compio's buffers are told their length by an unsafe call"
    )]
    // SAFETY: as in `grow_to`, slice by slice: `poll_read_into_each` fills each slice to its
    // capacity before it goes on, so the first `count` bytes by capacity are initialised; the bytes
    // beyond them are in the slices' lengths already (`total_with`).
    unsafe {
        let total = total_with(buf, count);
        buf.set_len(total);
    }
}

/// The length by capacity that `count` bytes make, and whatever is initialised right behind them: a length
/// that ended with them would make a slice shorter than it was.
fn total_with<V: IoVectoredBufMut>(buf: &mut V, count: usize) -> usize {
    let (mut total, mut left) = (0, count);
    for index in 0.. {
        let Some(capacity) = buf.iter_uninit_slice().nth(index).map(|slice| slice.len()) else {
            break;
        };
        let length = buf.iter_slice().nth(index).map_or(0, <[u8]>::len);
        let filled = left.min(capacity);
        left -= filled;
        total += filled.max(length);
        if filled.max(length) < capacity {
            break;
        }
    }
    total
}

/// Whether each slice is already at least as long as what was read into it.
///
/// Compio's own sockets compare the sums only, and then hide what was read into an empty slice
/// before a long one.
fn lengths_cover<V: IoVectoredBufMut>(buf: &mut V, count: usize) -> bool {
    if count > buf.total_len() {
        return false;
    }
    let mut left = count;
    let mut index = 0;
    while left > 0 {
        let Some(capacity) = buf.iter_uninit_slice().nth(index).map(|slice| slice.len()) else {
            return false;
        };
        let length = buf.iter_slice().nth(index).map_or(0, <[u8]>::len);
        let filled = left.min(capacity);
        if length < filled {
            return false;
        }
        left -= filled;
        index += 1;
    }
    true
}

#[cfg(unix)]
mod os {
    use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

    use super::TokioAsCompio;

    impl<S: AsFd> AsFd for TokioAsCompio<S> {
        fn as_fd(&self) -> BorrowedFd<'_> {
            self.stream.as_fd()
        }
    }

    impl<S: AsRawFd> AsRawFd for TokioAsCompio<S> {
        fn as_raw_fd(&self) -> RawFd {
            self.stream.as_raw_fd()
        }
    }
}

#[cfg(windows)]
mod os {
    use std::os::windows::io::{
        AsHandle, AsRawHandle, AsRawSocket, AsSocket, BorrowedHandle, BorrowedSocket, RawHandle,
        RawSocket,
    };

    use super::TokioAsCompio;

    impl<S: AsSocket> AsSocket for TokioAsCompio<S> {
        fn as_socket(&self) -> BorrowedSocket<'_> {
            self.stream.as_socket()
        }
    }

    impl<S: AsRawSocket> AsRawSocket for TokioAsCompio<S> {
        fn as_raw_socket(&self) -> RawSocket {
            self.stream.as_raw_socket()
        }
    }

    impl<S: AsHandle> AsHandle for TokioAsCompio<S> {
        fn as_handle(&self) -> BorrowedHandle<'_> {
            self.stream.as_handle()
        }
    }

    impl<S: AsRawHandle> AsRawHandle for TokioAsCompio<S> {
        fn as_raw_handle(&self) -> RawHandle {
            self.stream.as_raw_handle()
        }
    }
}
