//! Compio's sockets behind Tokio's traits, without a copy where the socket is ready.

mod link;
mod parts;
mod reactor;
mod read;
mod slot;
mod socket;
mod write;

use std::fmt;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::io::ReadBuf;

use link::Link;
pub use parts::{ReuniteError, SocketParts};
use read::Reader;
pub use read::SocketReadAsTokio;
pub use socket::CompioSocket;
pub use write::SocketWriteAsTokio;
use write::Writer;

/// A TCP or Unix stream of Compio's that speaks Tokio's [`AsyncRead`](tokio::io::AsyncRead) and
/// [`AsyncWrite`](tokio::io::AsyncWrite).
///
/// A socket can do what other streams of Compio's cannot: take and give bytes at once. So nothing
/// is copied, no byte is ever held here and no operation is ever in flight; Compio's driver is only
/// asked to say when there is more, for all sockets of the runtime together.
///
/// - A write hands the caller's bytes to the kernel, in the call. What it says it took is on its
///   way, whatever becomes of the shim. If the socket is full, nothing is taken and the writer is
///   woken when there is room. An error is told by the call that met it. Vectored writes are one
///   call of the kernel's.
/// - A read returns what there is, at once. The end of the stream is sticky.
/// - A poll that returned `Pending` may be repeated with other bytes, another buffer or another
///   waker: nothing is duplicated, lost or attributed to the wrong call.
/// - A flush has nothing to do. A shutdown sends the end of the stream; it may be repeated, and a
///   flush after it is `Ok`. Reading goes on.
/// - Reads and writes make progress independently. [`into_split`](Self::into_split) makes halves
///   without a lock.
/// - After 128 reads or writes that did not have to wait, a task lets its neighbours run once.
///
/// Idle, it holds some 250 bytes, which is less than a read of Compio's that waits. No operation
/// allocates; the wait for all sockets does once for each batch of them that becomes ready.
///
/// On Linux only: it is an epoll instance that stands between the sockets and the driver, be that
/// io_uring or epoll. Elsewhere [`into_tokio_io`](super::IntoTokioIo::into_tokio_io) makes a
/// [`CompioAsTokio`](super::CompioAsTokio).
///
/// The guide: [streams and buffers](crate::guide::io).
///
/// # Where it runs
///
/// On the thread that made it, within the Compio runtime where it first has to wait: the shim is
/// not `Send`. What can be done without waiting can be done outside of the runtime too. One helper
/// task for each runtime wakes whoever waits; it ends with the last shim.
///
/// # Cancel safety
///
/// Dropping a read loses nothing: what was not received is in the socket. Dropping a write that has
/// not said how much it took has written nothing. A dropped shim closes its socket at once.
///
/// # Errors
///
/// Those of the socket, each told once. A read or a write that has to wait fails outside of a
/// Compio runtime, and also on another runtime than the one where the socket first had to wait,
/// whether that one is gone or not.
///
/// # Panics
///
/// Never.
///
/// # Examples
///
/// ```
/// use compio::net::{TcpListener, TcpStream};
/// use landbridge::io::SocketAsTokio;
/// use tokio::io::{AsyncReadExt, AsyncWriteExt};
///
/// # compio::runtime::Runtime::new().unwrap().block_on(async {
/// let listener = TcpListener::bind("127.0.0.1:0").await?;
/// let mut client = SocketAsTokio::new(TcpStream::connect(listener.local_addr()?).await?);
/// let mut server = SocketAsTokio::new(listener.accept().await?.0);
///
/// client.write_all(b"over the bridge").await?;
/// client.shutdown().await?;
/// let mut text = String::new();
/// server.read_to_string(&mut text).await?;
/// assert_eq!(text, "over the bridge");
///
/// let parts = server.into_parts();
/// assert!(parts.ended && !parts.shut_down);
/// parts.stream.close().await?;
/// # std::io::Result::Ok(()) }).unwrap();
/// ```
pub struct SocketAsTokio<S: CompioSocket> {
    link: Rc<Link<S>>,
    reader: Reader,
    writer: Writer,
}

impl<S: CompioSocket> SocketAsTokio<S> {
    /// Wraps a socket.
    #[must_use]
    pub fn new(socket: S) -> Self {
        Self {
            link: Rc::new(Link::new(socket)),
            reader: Reader::new(),
            writer: Writer::new(),
        }
    }

    /// The socket, for its options and addresses.
    #[must_use]
    pub fn get_ref(&self) -> &S {
        &self.link.socket
    }
}

impl<S: CompioSocket> tokio::io::AsyncRead for SocketAsTokio<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.reader.poll_read(&this.link, cx, buf)
    }
}

impl<S: CompioSocket> tokio::io::AsyncWrite for SocketAsTokio<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.writer.poll_write(&this.link, cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.writer.poll_write_vectored(&this.link, cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        Poll::Ready(this.writer.shut_down(&this.link))
    }
}

impl<S: CompioSocket> AsFd for SocketAsTokio<S> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.link.socket.as_fd()
    }
}

impl<S: CompioSocket> AsRawFd for SocketAsTokio<S> {
    fn as_raw_fd(&self) -> RawFd {
        self.link.socket.as_fd().as_raw_fd()
    }
}

impl<S: CompioSocket> fmt::Debug for SocketAsTokio<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SocketAsTokio")
            .field("fd", &self.as_raw_fd())
            .field("reader", &self.reader)
            .field("writer", &self.writer)
            .finish()
    }
}
