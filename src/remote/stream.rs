//! What TCP and Unix streams have in common.

use std::{
    io::{self, IoSlice},
    net::Shutdown,
    os::fd::AsFd,
    task::{Context, Poll},
};

use socket2::SockRef;
use tokio::io::ReadBuf;

use super::{
    source::{Source, Try, Way},
    sys,
};

/// A stream that can be split: [`TcpStream`](super::TcpStream) and [`UnixStream`](super::UnixStream).
pub trait Stream: sealed::Stream {}

impl<S: sealed::Stream> Stream for S {}

pub(super) mod sealed {
    use std::{
        io::{self, IoSlice},
        task::{Context, Poll},
    };

    use tokio::io::ReadBuf;

    /// Both directions through `&self`, each with one waker for polls.
    pub trait Stream: Send + Sync + 'static {
        fn poll_read(&self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>)
        -> Poll<io::Result<()>>;

        fn poll_write(
            &self,
            cx: &mut Context<'_>,
            slices: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>>;

        fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize>;

        fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize>;

        fn shutdown_write(&self) -> io::Result<()>;
    }
}

/// What one call of the kernel's takes at most.
const MAX_SLICES: usize = 1024;

/// A peer that is gone is an error, not a signal.
#[cfg(not(target_vendor = "apple"))]
const FLAGS: i32 = libc::MSG_NOSIGNAL;
/// Set on the socket, there.
#[cfg(target_vendor = "apple")]
const FLAGS: i32 = 0;

/// Whether a read that brings less than there was room for has brought all that there was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Short {
    /// It has, or the watch has said that there may be more: TCP, where a read stops at urgent data.
    IsAll,
    /// It may have stopped before: Unix, where it stops at descriptors that were sent along.
    IsNothing,
}

/// Reads what there is, as soon as there is something.
pub(super) fn poll_read<S: AsFd + Send + Sync + 'static>(
    source: &Source<S>,
    short: Short,
    cx: &mut Context<'_>,
    buffer: &mut ReadBuf<'_>,
) -> Poll<io::Result<()>> {
    source.poll_io(Way::Read, cx, |attempt| {
        recv(&attempt, short, buffer).map(drop)
    })
}

/// The same without waiting.
pub(super) fn try_read<S: AsFd + Send + Sync + 'static>(
    source: &Source<S>,
    short: Short,
    buffer: &mut [u8],
) -> io::Result<usize> {
    let mut buffer = ReadBuf::new(buffer);
    source.try_io(Way::Read, |attempt| recv(&attempt, short, &mut buffer))
}

/// Gives the kernel what it takes.
pub(super) fn poll_write<S: AsFd + Send + Sync + 'static>(
    source: &Source<S>,
    cx: &mut Context<'_>,
    slices: &[IoSlice<'_>],
) -> Poll<io::Result<usize>> {
    source.poll_io(Way::Write, cx, |attempt| send(&attempt, slices))
}

/// The same without waiting.
pub(super) fn try_write<S: AsFd + Send + Sync + 'static>(
    source: &Source<S>,
    slices: &[IoSlice<'_>],
) -> io::Result<usize> {
    source.try_io(Way::Write, |attempt| send(&attempt, slices))
}

fn recv<S: AsFd + Send + Sync + 'static>(
    attempt: &Try<'_, S>,
    short: Short,
    buffer: &mut ReadBuf<'_>,
) -> io::Result<usize> {
    let room = buffer.remaining();
    let n = sys::recv(attempt.socket(), buffer)?;
    attempt.moved(Way::Read, n);
    if short == Short::IsAll && 0 < n && n < room {
        attempt.took_all(Way::Read);
    }
    Ok(n)
}

fn send<S: AsFd + Send + Sync + 'static>(
    attempt: &Try<'_, S>,
    slices: &[IoSlice<'_>],
) -> io::Result<usize> {
    if slices.is_empty() {
        // Unlike one empty slice it is not looked at, even if the direction has ended.
        return Ok(0);
    }
    let socket = SockRef::from(attempt.socket());
    let n = match slices {
        [slice] => socket.send_with_flags(slice, FLAGS),
        _ => {
            let slices = &slices[..slices.len().min(MAX_SLICES)];
            socket.send_vectored_with_flags(slices, FLAGS)
        }
    }?;
    attempt.moved(Way::Write, n);
    Ok(n)
}

/// Sends what there is and then FIN; again, it does nothing.
pub(super) fn shutdown_write(socket: &impl AsFd) -> io::Result<()> {
    match SockRef::from(socket).shutdown(Shutdown::Write) {
        // The peer has ended both directions before.
        Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
        result => result,
    }
}

/// What a stream has, given [`sealed::Stream`] and a field `source`.
macro_rules! stream {
    ($stream:ident) => {
        impl $stream {
            /// Waits until a read would not have to, as far as is known: somebody else may take what there
            /// is.
            ///
            /// # Cancel safety
            ///
            /// Takes nothing, so that nothing can be lost.
            ///
            /// # Errors
            ///
            /// [`JoinError`](crate::JoinError) inside if the worker is gone.
            pub async fn readable(&self) -> std::io::Result<()> {
                self.source.ready($crate::remote::source::Way::Read).await
            }

            /// Waits until a write would not have to, as far as is known.
            ///
            /// # Cancel safety
            ///
            /// Gives nothing, so that nothing can be lost.
            ///
            /// # Errors
            ///
            /// [`JoinError`](crate::JoinError) inside if the worker is gone.
            pub async fn writable(&self) -> std::io::Result<()> {
                self.source.ready($crate::remote::source::Way::Write).await
            }

            /// As [`readable`](Self::readable), for those who poll by hand: of several callers, and of those
            /// who poll a read, only the last one is woken.
            ///
            /// # Errors
            ///
            /// As [`readable`](Self::readable).
            pub fn poll_read_ready(
                &self,
                cx: &mut std::task::Context<'_>,
            ) -> std::task::Poll<std::io::Result<()>> {
                self.source
                    .poll_ready($crate::remote::source::Way::Read, cx)
            }

            /// As [`writable`](Self::writable), for those who poll by hand: of several callers, and of those
            /// who poll a write, only the last one is woken.
            ///
            /// # Errors
            ///
            /// As [`writable`](Self::writable).
            pub fn poll_write_ready(
                &self,
                cx: &mut std::task::Context<'_>,
            ) -> std::task::Poll<std::io::Result<()>> {
                self.source
                    .poll_ready($crate::remote::source::Way::Write, cx)
            }

            /// Reads what there is, without waiting: how many bytes, 0 at the end.
            ///
            /// # Errors
            ///
            /// What the operating system says; [`WouldBlock`](std::io::ErrorKind::WouldBlock) if there is
            /// nothing yet.
            pub fn try_read(&self, buffer: &mut [u8]) -> std::io::Result<usize> {
                $crate::remote::stream::sealed::Stream::try_read(self, buffer)
            }

            /// Writes what the kernel takes, without waiting: how many bytes.
            ///
            /// # Errors
            ///
            /// What the operating system says; [`WouldBlock`](std::io::ErrorKind::WouldBlock) if it takes
            /// nothing now.
            pub fn try_write(&self, bytes: &[u8]) -> std::io::Result<usize> {
                self.try_write_vectored(&[std::io::IoSlice::new(bytes)])
            }

            /// The same from several buffers.
            ///
            /// # Errors
            ///
            /// As [`try_write`](Self::try_write).
            pub fn try_write_vectored(
                &self,
                slices: &[std::io::IoSlice<'_>],
            ) -> std::io::Result<usize> {
                $crate::remote::stream::sealed::Stream::try_write(self, slices)
            }

            /// The two directions, to be used at once, in the same task.
            pub fn split(
                &mut self,
            ) -> (
                $crate::remote::ReadHalf<'_, Self>,
                $crate::remote::WriteHalf<'_, Self>,
            ) {
                $crate::remote::split::split(self)
            }

            /// The two directions, each of which may go to a task of its own. They do not get in each
            /// other's way: no lock is held.
            pub fn into_split(
                self,
            ) -> (
                $crate::remote::OwnedReadHalf<Self>,
                $crate::remote::OwnedWriteHalf<Self>,
            ) {
                $crate::remote::split::into_split(self)
            }
        }

        impl tokio::io::AsyncRead for $stream {
            fn poll_read(
                self: std::pin::Pin<&mut Self>,
                cx: &mut std::task::Context<'_>,
                buffer: &mut tokio::io::ReadBuf<'_>,
            ) -> std::task::Poll<std::io::Result<()>> {
                $crate::remote::stream::sealed::Stream::poll_read(&*self, cx, buffer)
            }
        }

        impl tokio::io::AsyncWrite for $stream {
            fn poll_write(
                self: std::pin::Pin<&mut Self>,
                cx: &mut std::task::Context<'_>,
                bytes: &[u8],
            ) -> std::task::Poll<std::io::Result<usize>> {
                self.poll_write_vectored(cx, &[std::io::IoSlice::new(bytes)])
            }

            fn poll_write_vectored(
                self: std::pin::Pin<&mut Self>,
                cx: &mut std::task::Context<'_>,
                slices: &[std::io::IoSlice<'_>],
            ) -> std::task::Poll<std::io::Result<usize>> {
                $crate::remote::stream::sealed::Stream::poll_write(&*self, cx, slices)
            }

            fn is_write_vectored(&self) -> bool {
                true
            }

            fn poll_flush(
                self: std::pin::Pin<&mut Self>,
                _: &mut std::task::Context<'_>,
            ) -> std::task::Poll<std::io::Result<()>> {
                // What was taken is with the kernel.
                std::task::Poll::Ready(Ok(()))
            }

            fn poll_shutdown(
                self: std::pin::Pin<&mut Self>,
                _: &mut std::task::Context<'_>,
            ) -> std::task::Poll<std::io::Result<()>> {
                std::task::Poll::Ready($crate::remote::stream::sealed::Stream::shutdown_write(
                    &*self,
                ))
            }
        }
    };
}

/// What every socket has, given where its [`Source`] is.
macro_rules! socket {
    ($socket:ident, $this:ident => $source:expr) => {
        impl std::os::fd::AsFd for $socket {
            fn as_fd(&$this) -> std::os::fd::BorrowedFd<'_> {
                $source.as_fd()
            }
        }

        impl std::os::fd::AsRawFd for $socket {
            fn as_raw_fd(&$this) -> std::os::fd::RawFd {
                std::os::fd::AsFd::as_fd($this).as_raw_fd()
            }
        }

        impl std::fmt::Debug for $socket {
            fn fmt(&$this, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_tuple(stringify!($socket)).field(&$source).finish()
            }
        }
    };
}

pub(super) use {socket, stream};
