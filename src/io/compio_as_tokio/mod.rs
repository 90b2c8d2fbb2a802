//! Compio streams behind Tokio's traits.

mod parts;
mod read;
mod window;
mod write;

use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use compio_io::util::Splittable;
use tokio::io::ReadBuf;

pub use parts::{InFlight, Parts};
pub use read::CompioReadAsTokio;
pub use write::{CompioWriteAsTokio, DROP_GRACE};

use crate::io::state::LARGE;

/// A Compio stream that speaks Tokio's [`AsyncRead`](tokio::io::AsyncRead),
/// [`AsyncWrite`](tokio::io::AsyncWrite) and [`AsyncBufRead`](tokio::io::AsyncBufRead).
///
/// For any stream that reads and writes owned buffers and whose halves are independent; a tuple
/// `(reader, writer)` is such a stream too.
///
/// - A poll that returned `Pending` may be repeated with other bytes, another buffer or another
///   waker: nothing is duplicated, lost or attributed to the wrong call.
/// - A read returns as soon as there is something. The end of the stream is sticky; a read error
///   is told once.
/// - What a write has accepted is on its way to the stream, without a flush and though nobody polls
///   the shim any more. A stream with a buffer of its own still needs the flush, before a drop too.
///   Vectored writes take more than the first slice.
/// - A flush returns when everything accepted is with the stream and flushed there. Errors that
///   arrive late are told once, by the next write, flush or shutdown. Accepted bytes were lost
///   then if it was a write that failed, so later writes are refused with
///   [`BrokenPipe`](io::ErrorKind::BrokenPipe); flush and shutdown stay open. After a failed flush
///   the next flush, or shutdown, tries again.
/// - A shutdown flushes and closes the sending direction. It may be repeated, and a flush after it
///   is `Ok`. Reading goes on.
/// - Dropping the shim lets accepted bytes go out, for [`DROP_GRACE`] at most, then closes.
///
/// One copy each way, through buffers that belong to the thread while nobody's bytes are in them.
/// Idle, it holds at most 1 KiB more than the stream would. A thread keeps at most 4.75 MiB of buffers for all its
/// shims. No allocation per operation beyond what the stream makes itself.
///
/// The guide: [streams and buffers](crate::guide::io).
///
/// # Where it runs
///
/// On the thread that made it, within the Compio runtime that the stream belongs to: the shim is
/// not `Send`. The first write starts one helper task there, which ends with the shim.
///
/// # Cancel safety
///
/// Dropping a read, a write, a flush or a shutdown loses nothing: bytes that arrive late are given
/// to the next read, and what was accepted goes out as long as the runtime is driven. A pool's
/// shutdown waits for that; before a runtime of your own is dropped, flush.
///
/// # Errors
///
/// Those of the stream; `InvalidData` if it claims more bytes than there were. Whatever has to ask the
/// stream fails outside of a Compio runtime, on another one than what is in flight was begun on, and
/// once that one is gone. What is buffered can be read anywhere.
///
/// # Panics
///
/// Only if the stream panics.
///
/// # Examples
///
/// ```
/// use landbridge::io::CompioAsTokio;
/// use tokio::io::{AsyncReadExt, AsyncWriteExt};
///
/// # compio::runtime::Runtime::new().unwrap().block_on(async {
/// let mut stream = CompioAsTokio::new((&b"ping"[..], Vec::new()));
/// let mut request = [0; 4];
/// stream.read_exact(&mut request).await?;
/// stream.write_all(b"pong").await?;
/// stream.flush().await?;
///
/// let parts = stream.into_parts().expect("nothing is in flight");
/// assert_eq!(&request, b"ping");
/// assert_eq!(parts.writer, b"pong");
/// # std::io::Result::Ok(()) }).unwrap();
/// ```
pub struct CompioAsTokio<S: Splittable> {
    read: CompioReadAsTokio<S::ReadHalf>,
    write: CompioWriteAsTokio<S::WriteHalf>,
}

impl<S> CompioAsTokio<S>
where
    S: Splittable,
    S::ReadHalf: compio_io::AsyncRead + 'static,
    S::WriteHalf: compio_io::AsyncWrite + 'static,
{
    /// Wraps a stream with buffers of at most 64 KiB.
    #[must_use]
    pub fn new(stream: S) -> Self {
        Self::with_capacity(stream, LARGE)
    }

    /// Wraps a stream with buffers of at most `capacity` bytes, and of at least one: one for
    /// reading, two for writing.
    #[must_use]
    pub fn with_capacity(stream: S, capacity: usize) -> Self {
        let (reader, writer) = stream.split();
        Self {
            read: CompioReadAsTokio::with_capacity(reader, capacity),
            write: CompioWriteAsTokio::with_capacity(writer, capacity),
        }
    }
}

impl<S: Splittable> CompioAsTokio<S> {
    /// Splits into halves without a lock between them, as `tokio::io::split` has one.
    #[must_use]
    pub fn into_split(
        self,
    ) -> (
        CompioReadAsTokio<S::ReadHalf>,
        CompioWriteAsTokio<S::WriteHalf>,
    ) {
        (self.read, self.write)
    }

    /// The bytes that have been read from the stream and not yet from here.
    #[must_use]
    pub fn buffer(&self) -> &[u8] {
        self.read.buffer()
    }
}

impl<S: Splittable> tokio::io::AsyncRead for CompioAsTokio<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().read).poll_read(cx, buf)
    }
}

impl<S: Splittable> tokio::io::AsyncBufRead for CompioAsTokio<S> {
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        Pin::new(&mut self.get_mut().read).poll_fill_buf(cx)
    }

    fn consume(self: Pin<&mut Self>, amount: usize) {
        Pin::new(&mut self.get_mut().read).consume(amount);
    }
}

impl<S> tokio::io::AsyncWrite for CompioAsTokio<S>
where
    S: Splittable,
    S::WriteHalf: compio_io::AsyncWrite + 'static,
{
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().write).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().write).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.write.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().write).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().write).poll_shutdown(cx)
    }
}

/// The stream is never pinned in its own right: boxes that own its halves are.
impl<S: Splittable> Unpin for CompioAsTokio<S> {}

impl<S: Splittable> fmt::Debug for CompioAsTokio<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CompioAsTokio")
            .field("read", &self.read)
            .field("write", &self.write)
            .finish()
    }
}
