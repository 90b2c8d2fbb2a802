//! What a shim asks of a socket: calls that never wait.

use std::io::{self, IoSlice};
use std::os::fd::AsFd;

use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown};
use tokio::io::ReadBuf;

/// Compio's sockets that are streams: [`TcpStream`](compio::net::TcpStream) and
/// [`UnixStream`](compio::net::UnixStream).
///
/// Sealed: a stream that is no socket is wrapped with
/// [`CompioAsTokio::new`](super::super::CompioAsTokio::new). A clone of such a socket is another
/// reference to the same descriptor, without a system call.
pub trait CompioSocket: sealed::Kind + AsFd + Clone + Unpin + 'static {}

impl CompioSocket for compio::net::TcpStream {}
impl CompioSocket for compio::net::UnixStream {}

mod sealed {
    pub trait Kind {
        /// Whether a read that does not fill its buffer has left nothing behind. (Of TCP that does
        /// not hold at urgent data, where Tokio too waits until the peer does something more.)
        const SHORT_IS_ALL: bool;
    }

    impl Kind for compio::net::TcpStream {
        const SHORT_IS_ALL: bool = true;
    }

    impl Kind for compio::net::UnixStream {
        /// A read stops where descriptors or other credentials come with the bytes.
        const SHORT_IS_ALL: bool = false;
    }
}

/// The kernel takes no more slices in one call, and refuses a call with more.
const MOST_SLICES: usize = 1024;

/// Fills `buf` with what is there: how many bytes, 0 at the end of the stream, `WouldBlock` if
/// there is nothing yet.
pub(super) fn receive(socket: &impl AsFd, buf: &mut ReadBuf<'_>) -> io::Result<usize> {
    #[expect(unsafe_code, reason = "a `ReadBuf` may be uninitialised memory")]
    // SAFETY: nothing in it may become uninitialised. The kernel only writes there, which
    // `rustix::net::recv` upholds, and nobody else sees the slice.
    let room = unsafe { buf.unfilled_mut() };
    let ((filled, _), _) = rustix::net::recv(socket, room, RecvFlags::DONTWAIT)?;
    let count = filled.len();
    #[expect(unsafe_code, reason = "a `ReadBuf` is told what was initialised")]
    // SAFETY: the first `count` unfilled bytes are initialised: `rustix::net::recv` has returned
    // them as a slice of `u8`.
    unsafe {
        buf.assume_init(count);
    }
    buf.advance(count);
    Ok(count)
}

/// Hands the kernel as much of `bytes` as it takes now.
pub(super) fn send(socket: &impl AsFd, bytes: &[u8]) -> io::Result<usize> {
    Ok(rustix::net::send(socket, bytes, SEND)?)
}

/// The same for several slices.
pub(super) fn send_vectored(socket: &impl AsFd, slices: &[IoSlice<'_>]) -> io::Result<usize> {
    let slices = &slices[..slices.len().min(MOST_SLICES)];
    let mut nothing_beside = SendAncillaryBuffer::default();
    Ok(rustix::net::sendmsg(
        socket,
        slices,
        &mut nothing_beside,
        SEND,
    )?)
}

/// A peer that is gone is an error, not a signal.
const SEND: SendFlags = SendFlags::DONTWAIT.union(SendFlags::NOSIGNAL);

/// Sends the end of the stream. Of a socket that has lost its peer that is no error, as with
/// Compio.
pub(super) fn shut_down(socket: &impl AsFd) -> io::Result<()> {
    match rustix::net::shutdown(socket, Shutdown::Write) {
        Err(rustix::io::Errno::NOTCONN) => Ok(()),
        result => Ok(result?),
    }
}
