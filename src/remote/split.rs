//! The two directions of a stream, each by itself.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::stream::Stream;
use crate::error::ReuniteError;

/// What reads from a stream that is borrowed; from `split`.
#[derive(Debug)]
pub struct ReadHalf<'a, S>(&'a S);

/// What writes to a stream that is borrowed; from `split`.
#[derive(Debug)]
pub struct WriteHalf<'a, S>(&'a S);

/// What reads from a stream, by itself; from `into_split`.
#[derive(Debug)]
pub struct OwnedReadHalf<S> {
    stream: Arc<S>,
}

/// What writes to a stream, by itself; from `into_split`. Dropped, it [shuts down](AsyncWrite::poll_shutdown)
/// its direction.
#[derive(Debug)]
pub struct OwnedWriteHalf<S: Stream> {
    /// There until it is dropped or forgotten.
    stream: Option<Arc<S>>,
}

pub(super) fn split<S: Stream>(stream: &mut S) -> (ReadHalf<'_, S>, WriteHalf<'_, S>) {
    (ReadHalf(stream), WriteHalf(stream))
}

pub(super) fn into_split<S: Stream>(stream: S) -> (OwnedReadHalf<S>, OwnedWriteHalf<S>) {
    let stream = Arc::new(stream);
    let read = OwnedReadHalf {
        stream: Arc::clone(&stream),
    };
    let stream = Some(stream);
    (read, OwnedWriteHalf { stream })
}

impl<S> ReadHalf<'_, S> {
    fn stream(&self) -> &S {
        self.0
    }
}

impl<S> WriteHalf<'_, S> {
    fn stream(&self) -> &S {
        self.0
    }
}

impl<S> OwnedReadHalf<S> {
    fn stream(&self) -> &S {
        &self.stream
    }
}

impl<S: Stream> OwnedWriteHalf<S> {
    fn stream(&self) -> &S {
        self.stream.as_ref().expect("there until the end")
    }
}

macro_rules! streams {
    ($($half:ty),*) => {$(
        /// The whole stream: what it has besides reading and writing.
        impl<S: Stream> AsRef<S> for $half {
            fn as_ref(&self) -> &S {
                self.stream()
            }
        }
    )*};
}

streams!(
    ReadHalf<'_, S>,
    WriteHalf<'_, S>,
    OwnedReadHalf<S>,
    OwnedWriteHalf<S>
);

impl<S: Stream> OwnedReadHalf<S> {
    /// The stream, of its two halves.
    ///
    /// # Errors
    ///
    /// [`ReuniteError`] with the halves if they are of different streams.
    pub fn reunite(self, write: OwnedWriteHalf<S>) -> Result<S, ReuniteError<S>> {
        if !std::ptr::eq(self.stream(), write.stream()) {
            return Err(ReuniteError(self, write));
        }
        write.forget();
        Ok(Arc::into_inner(self.stream).expect("there are two halves, and this is the last"))
    }
}

impl<S: Stream> OwnedWriteHalf<S> {
    /// The stream, of its two halves.
    ///
    /// # Errors
    ///
    /// [`ReuniteError`] with the halves if they are of different streams.
    pub fn reunite(self, read: OwnedReadHalf<S>) -> Result<S, ReuniteError<S>> {
        read.reunite(self)
    }

    /// Drops it without shutting its direction down.
    pub fn forget(mut self) {
        self.stream = None;
    }
}

impl<S: Stream> Drop for OwnedWriteHalf<S> {
    fn drop(&mut self) {
        if let Some(stream) = self.stream.take() {
            // Nobody is there to be told.
            _ = stream.shutdown_write();
        }
    }
}

macro_rules! reads {
    ($($half:ty),*) => {$(
        impl<S: Stream> AsyncRead for $half {
            fn poll_read(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buffer: &mut ReadBuf<'_>,
            ) -> Poll<io::Result<()>> {
                self.stream().poll_read(cx, buffer)
            }
        }
    )*};
}

macro_rules! writes {
    ($($half:ty),*) => {$(
        impl<S: Stream> AsyncWrite for $half {
            fn poll_write(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                bytes: &[u8],
            ) -> Poll<io::Result<usize>> {
                self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
            }

            fn poll_write_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                slices: &[IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                self.stream().poll_write(cx, slices)
            }

            fn is_write_vectored(&self) -> bool {
                true
            }

            fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                // What was taken is with the kernel.
                Poll::Ready(Ok(()))
            }

            fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                Poll::Ready(self.stream().shutdown_write())
            }
        }
    )*};
}

reads!(ReadHalf<'_, S>, OwnedReadHalf<S>);
writes!(WriteHalf<'_, S>, OwnedWriteHalf<S>);
